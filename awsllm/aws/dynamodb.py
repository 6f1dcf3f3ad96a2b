"""DynamoDB's items as Python values, and the few calls of one table that are made here.

Numbers are decimal there and written as Python shows them, so that an int stays exact and a float comes back as it was;
a number without a point or an exponent comes back as an int. Expressions are DynamoDB's own, their values Python's.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict, Unpack

from awsllm.aws.rpc import RefusedError, Rpc
from awsllm.errors import AwsllmError, ValidationError
from awsllm.types import JsonObject

CONDITION_FAILED = "ConditionalCheckFailedException"
CANCELED = "TransactionCanceledException"
CONFLICT = "TransactionConflictException"


class Expressions(TypedDict, total=False):
    """``names`` are what stands for attributes (``#name``), ``values`` for values (``:value``), in any expression."""

    condition: str
    names: Mapping[str, str]
    values: Mapping[str, Any]


class ItemTable:
    """One table. Safe to share between threads. ``timeout`` is in seconds, of each call with its attempts."""

    def __init__(self, name: str, rpc: Rpc, *, timeout: float | None = None) -> None:
        self.name, self._rpc, self._timeout = name, rpc, timeout

    def get(self, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The item as it is now, whatever was written last included; None where there is none."""
        found: Any = self._call("GetItem", {"Key": written(key), "ConsistentRead": True})
        return read(found["Item"]) if "Item" in found else None

    def put(self, item: Mapping[str, Any], **expressions: Unpack[Expressions]) -> None:
        """Write the whole item. Raises ``RefusedError`` with the code ``CONDITION_FAILED``."""
        self._call("PutItem", {"Item": written(item), **_expressed(expressions)})

    def update(self, key: Mapping[str, Any], update: str, **expressions: Unpack[Expressions]) -> dict[str, Any]:
        """Change the item, and give all of it as it is then. Raises ``RefusedError`` with the code
        ``CONDITION_FAILED``, of which ``refused_item`` knows how the item is."""
        body = {
            "Key": written(key),
            "UpdateExpression": update,
            "ReturnValues": "ALL_NEW",
            **_expressed(expressions),
        }
        if "condition" in expressions:
            body["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        found: Any = self._call("UpdateItem", body)
        return read(found.get("Attributes", {}))

    def delete(self, key: Mapping[str, Any], **expressions: Unpack[Expressions]) -> None:
        """Without complaint where there is no such item."""
        self._call("DeleteItem", {"Key": written(key), **_expressed(expressions)})

    def query(self, keys: str, **expressions: Unpack[Expressions]) -> Iterator[dict[str, Any]]:
        """The items of one partition that a key condition means, in their order."""
        return self._pages("Query", {"KeyConditionExpression": keys, **_expressed(expressions)})

    def scan(self) -> Iterator[dict[str, Any]]:
        """All items, a page at a time."""
        return self._pages("Scan", {})

    def updating(self, key: Mapping[str, Any], update: str, **expressions: Unpack[Expressions]) -> JsonObject:
        """An update as a part of a transaction (``transact``)."""
        inner = {"TableName": self.name, "Key": written(key), "UpdateExpression": update, **_expressed(expressions)}
        return {"Update": inner}

    def transact(self, parts: Sequence[JsonObject], token: str) -> None:
        """All of the parts or none. Within ten minutes the same ``token`` (of at most 36 characters) changes nothing
        again. Raises ``RefusedError`` with the code ``CANCELED``."""
        body = {"TransactItems": list(parts), "ClientRequestToken": token}
        self._rpc.call("dynamodb", "TransactWriteItems", body, timeout=self._timeout)

    def close(self) -> None:
        """Close idle connections; the next call opens new ones."""
        self._rpc.close()

    def _pages(self, operation: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        start: Any = None
        while True:
            more = {"ExclusiveStartKey": start} if start else {}
            found: Any = self._call(operation, {**body, "ConsistentRead": True, **more})
            yield from map(read, found["Items"])
            start = found.get("LastEvaluatedKey")
            if not start:
                return

    def _call(self, operation: str, body: dict[str, Any]) -> JsonObject:
        return self._rpc.call("dynamodb", operation, {"TableName": self.name, **body}, timeout=self._timeout)


def refused_item(error: RefusedError) -> dict[str, Any] | None:
    """The item on which a condition failed; None where there is none."""
    item: Any = (error.reply or {}).get("Item")
    return read(item) if item else None


def has_conflict(error: AwsllmError) -> bool:
    """Whether nothing was done since another transaction was at work on the same item: it is worth trying again."""
    if error.code == CONFLICT:
        return True
    if error.code != CANCELED or not isinstance(error, RefusedError):
        return False
    reasons: Any = (error.reply or {}).get("CancellationReasons") or ()
    codes = {reason.get("Code") for reason in reasons}
    return bool(codes & {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})


def _expressed(expressions: Expressions) -> JsonObject:
    found: dict[str, Any] = {}
    if "condition" in expressions:
        found["ConditionExpression"] = expressions["condition"]
    if names := expressions.get("names"):
        found["ExpressionAttributeNames"] = dict(names)
    if values := expressions.get("values"):
        found["ExpressionAttributeValues"] = written(values)
    return found


# --- values ----------------------------------------------------------------------------------------------------------


def written(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item as it goes over the wire."""
    return {name: _written(value) for name, value in item.items()}


def read(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item as it came."""
    return {name: _read(value) for name, value in item.items()}


def _written(value: Any) -> JsonObject:
    """Raises ``ValidationError`` for what no attribute can be."""
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": value}
        case int() | float():
            return {"N": _number(value)}
        case bytes() | bytearray():
            return {"B": base64.b64encode(value).decode("ascii")}
        case list() | tuple():
            return {"L": [_written(one) for one in value]}
        case Mapping():
            return {"M": written(value)}
    raise ValidationError(f"a {type(value).__name__} is no value of an item of DynamoDB")


def _number(value: float) -> str:
    text = repr(value)
    if text in ("inf", "-inf", "nan"):
        raise ValidationError(f"{text} is no number to DynamoDB")
    # 6e-08 is a number to DynamoDB as well, but to moto one of those that have no point and are read as integers.
    return text if "." in text else text.replace("e", ".0e")


def _read(attribute: Mapping[str, Any]) -> Any:
    """Sets come as lists."""
    ((kind, value),) = attribute.items()
    match kind:
        case "S" | "BOOL" | "SS":
            return value
        case "N":
            return _read_number(value)
        case "NULL":
            return None
        case "B":
            return base64.b64decode(value)
        case "L":
            return [_read(one) for one in value]
        case "M":
            return read(value)
        case "NS":
            return [_read_number(one) for one in value]
        case "BS":
            return [base64.b64decode(one) for one in value]
    raise ValidationError(f"{kind!r:.20} is no type of DynamoDB that is known")


def _read_number(text: str) -> float:
    return int(text) if text.lstrip("-").isdigit() else float(text)
