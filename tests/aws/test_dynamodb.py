"""Items as values, judged by boto3's own serializer, and the calls of a table, judged by moto."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Context, Decimal
from typing import Any

import boto3
import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from awsllm.aws import dynamodb
from awsllm.aws.dynamodb import ItemTable, has_conflict, read, refused_item, written
from awsllm.aws.rpc import RefusedError, Rpc
from awsllm.aws.session import AwsSession
from awsllm.errors import ValidationError

SCALARS = (
    st.none()
    | st.booleans()
    | st.text()
    | st.binary(max_size=20)
    | st.integers(-(10**37), 10**37)
    | st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False).filter(
        lambda x: x == 0 or 1e-120 < abs(x) < 1e120
    )
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)


def _decimal(value: Any) -> Any:
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, list):
        return [_decimal(one) for one in value]
    if isinstance(value, dict):
        return {name: _decimal(one) for name, one in value.items()}
    return value


@given(st.dictionaries(st.text(min_size=1), VALUES, max_size=5))
def test_values_are_written_as_boto3_writes_them_and_come_back(item: dict[str, Any]) -> None:
    theirs = {name: TypeSerializer().serialize(_decimal(value)) for name, value in item.items()}
    assert _comparable(written(item)) == _comparable(theirs)
    back = read(written(item))
    assert back == item
    assert all(type(back[name]) is type(value) for name, value in item.items() if not isinstance(value, float))


def _comparable(value: Any) -> Any:
    """boto3 writes numbers another way, and leaves Base64 to botocore."""
    import base64

    if isinstance(value, dict):
        if set(value) == {"N"} and isinstance(value["N"], str):
            return {"N": Context(prec=38).create_decimal(value["N"])}
        if set(value) == {"B"} and not isinstance(value["B"], dict):
            raw = value["B"]
            return {"B": raw if isinstance(raw, str) else base64.b64encode(bytes(raw)).decode()}
        return {name: _comparable(one) for name, one in value.items()}
    return [_comparable(one) for one in value] if isinstance(value, list) else value


def test_what_is_no_value_is_refused() -> None:
    for wrong in (object(), float("nan"), float("inf"), {1, 2}):
        with pytest.raises(ValidationError):
            written({"a": wrong})
    assert read({"s": {"SS": ["a"]}, "n": {"NS": ["1", "2.5"]}, "b": {"BS": ["YQ=="]}}) == {
        "s": ["a"],
        "n": [1, 2.5],
        "b": [b"a"],
    }


@pytest.fixture
def table() -> Iterator[ItemTable]:
    with mock_aws():
        boto3.client("dynamodb", "us-east-1").create_table(
            TableName="t",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in ("pk", "sk")],
            KeySchema=[
                {"AttributeName": "pk", "KeyType": "HASH"},
                {"AttributeName": "sk", "KeyType": "RANGE"},
            ],
        )
        yield ItemTable("t", Rpc(AwsSession(region="us-east-1")))


def test_the_calls_of_a_table(table: ItemTable) -> None:
    key = {"pk": "a", "sk": "1"}
    assert table.get(key) is None
    table.put({**key, "n": 1.5, "list": [None, True]}, condition="attribute_not_exists(pk)")
    with pytest.raises(RefusedError) as refused:
        table.put(key, condition="attribute_not_exists(pk)")
    assert refused.value.code == dynamodb.CONDITION_FAILED
    assert table.update({"pk": "c", "sk": "1"}, "ADD n :n", values={":n": 6e-08})["n"] == 6e-08
    table.delete({"pk": "c", "sk": "1"})
    changed = table.update(
        *(key, "ADD #n :one"), condition="#n < :most", names={"#n": "n"}, values={":one": 1, ":most": 2}
    )
    assert changed == {**key, "n": 2.5, "list": [None, True]}
    with pytest.raises(RefusedError) as refused:
        table.update(key, "ADD n :one", condition="n < :most", values={":one": 1, ":most": 2})
    assert refused_item(refused.value) == changed
    theirs: Any = boto3.client("dynamodb", "us-east-1").get_item(TableName="t", Key=written(key))["Item"]
    assert {name: TypeDeserializer().deserialize(value) for name, value in theirs.items()} == changed
    table.put({"pk": "a", "sk": "2"})
    table.put({"pk": "b", "sk": "1"})
    assert [one["sk"] for one in table.query("pk = :pk AND sk > :sk", values={":pk": "a", ":sk": "1"})] == ["2"]
    assert len(list(table.scan())) == 3
    table.delete(key)
    assert table.get(key) is None


def test_pages_are_followed(table: ItemTable, monkeypatch: pytest.MonkeyPatch) -> None:
    pages: list[Any] = [{"Items": [{"a": {"N": "1"}}], "LastEvaluatedKey": {"a": {"N": "1"}}}, {"Items": []}]
    asked: list[Any] = []

    def call(service: str, operation: str, body: Any, timeout: float | None) -> Any:
        asked.append(body)
        return pages.pop(0)

    monkeypatch.setattr(table._rpc, "call", call)
    assert list(table.scan()) == [{"a": 1}]
    assert [body.get("ExclusiveStartKey") for body in asked] == [None, {"a": {"N": "1"}}]


def test_a_transaction_is_all_or_nothing(table: ItemTable) -> None:
    def parts(condition: str) -> list[Any]:
        return [
            table.updating({"pk": "a", "sk": "1"}, "ADD n :one", values={":one": 1}),
            table.updating({"pk": "a", "sk": "2"}, "ADD n :one", condition=condition, values={":one": 1}),
        ]

    table.transact(parts("attribute_not_exists(n)"), "first")
    with pytest.raises(RefusedError) as refused:
        table.transact(parts("attribute_not_exists(n)"), "second")
    assert refused.value.code == dynamodb.CANCELED
    assert not has_conflict(refused.value)
    assert [one["n"] for one in table.query("pk = :pk", values={":pk": "a"})] == [1, 1]


@pytest.mark.parametrize(
    ("code", "reply", "is_one"),
    [
        (dynamodb.CONFLICT, {}, True),
        (dynamodb.CANCELED, {"CancellationReasons": [{"Code": "None"}, {"Code": "TransactionConflict"}]}, True),
        (dynamodb.CANCELED, {"CancellationReasons": [{"Code": "ConditionalCheckFailed"}]}, False),
        (dynamodb.CONDITION_FAILED, {}, False),
    ],
)
def test_what_another_transaction_is_to_blame_for(code: str, reply: Any, is_one: bool) -> None:
    error = RefusedError("no", code=code)
    error.reply = reply
    assert has_conflict(error) is is_one
