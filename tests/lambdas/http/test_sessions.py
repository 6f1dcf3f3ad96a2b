"""Conversations in DynamoDB: kept whole, found by their owner alone, one turn at a time. moto is the table."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from awsllm.aws.dynamodb import ItemTable
from awsllm.aws.rpc import Rpc
from awsllm.aws.session import AwsSession
from awsllm.lambdas.http.failures import Refusal
from awsllm.lambdas.http.sessions import MAX_BYTES, Sessions
from awsllm.testing import mock_aws
from awsllm.types import Bytes, Image, Message, Reasoning, Text
from tests.support.lambdas import new_sessions_table

TURN = (Message.user("Hello"), Message.assistant("Hi"))
NOW = [1_000_000.0]


@pytest.fixture(scope="module")
def aws() -> Iterator[Any]:
    with mock_aws(reply="unused"):
        yield boto3.client("dynamodb", "us-east-1")


@pytest.fixture
def sessions(aws: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sessions]:
    NOW[0] = 1_000_000.0
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    new_sessions_table("sessions")
    yield Sessions(ItemTable("sessions", Rpc(AwsSession(region="us-east-1"))), days=2, clock=lambda: NOW[0])
    aws.delete_table(TableName="sessions")


def refused(status: int, match: str) -> Any:
    return pytest.raises(Refusal, match=match, check=lambda refusal: refusal.status == status)


def test_a_conversation_comes_back_whole(sessions: Sessions) -> None:
    thought = Reasoning("hm", signature="sig", made_by="claude")
    rich = (
        Message.user("What is this?", Image("png", Bytes(b"\x89PNG\xff"))),
        Message("assistant", (thought, Text("A cat. Ünïcødé."))),
    )
    kept = sessions.save(sessions.begin("ann"), rich)
    again = sessions.load(kept.id, "ann")
    assert again.messages == rich
    assert sessions.save(again, TURN).version == 2
    assert sessions.load(kept.id, "ann").messages == rich + TURN


def test_another_callers_session_is_not_there(sessions: Sessions) -> None:
    kept = sessions.save(sessions.begin("ann"), TURN)
    for other in ("bob", None, "", "Ann"):
        with refused(404, "no such session"):
            sessions.load(kept.id, other)
    sessions.forget(kept.id, "bob")
    assert sessions.load(kept.id, "ann").messages == TURN


def test_what_is_no_id_reaches_no_table() -> None:
    nowhere = Sessions(ItemTable("none", Rpc(AwsSession(region="us-east-1"))), days=1)
    for session in ("", "short", "a" * 65, "x#y" * 8, "../../../../etc/passwd", "é" * 20):
        with refused(404, "no such session"):
            nowhere.load(session, "ann")
        nowhere.forget(session, "ann")


def test_an_id_cannot_be_guessed_or_chosen(sessions: Sessions) -> None:
    assert len({sessions.begin("ann").id for _ in range(50)}) == 50
    with refused(404, "no such session"):
        sessions.load("abcdefghijklmnopqrstuvwx", "ann")


def test_of_two_turns_at_once_one_is_kept(sessions: Sessions) -> None:
    first = sessions.begin("ann")
    one = sessions.save(first, TURN)
    other = (Message.user("Hello?"), Message.assistant("Yes"))
    with refused(409, "one turn at a time"):
        sessions.save(first, other)
    sessions.save(one, TURN)
    with refused(409, "one turn at a time"):
        sessions.save(one, other)
    assert len(sessions.load(first.id, "ann").messages) == 4


def test_a_turn_whose_write_was_answered_to_nobody_is_kept(sessions: Sessions) -> None:
    first = sessions.begin("ann")
    sessions.save(first, TURN)
    again = sessions.save(first, TURN)  # as the client's second attempt, which finds the first one's work
    assert (again.version, sessions.load(again.id, "ann").messages) == (1, TURN)


def test_a_session_lives_as_long_as_it_has_turns(sessions: Sessions, aws: Any) -> None:
    kept = sessions.save(sessions.begin("ann"), TURN)
    NOW[0] += 86_400
    kept = sessions.save(sessions.load(kept.id, "ann"), TURN)
    (item,) = aws.scan(TableName="sessions")["Items"]
    assert item["expires"] == {"N": str(int(NOW[0]) + 2 * 86_400)}
    NOW[0] += 2 * 86_400
    with refused(404, "expired"):
        sessions.load(kept.id, "ann")


def test_the_table_does_not_tell_owners_or_words(sessions: Sessions, aws: Any) -> None:
    sessions.save(sessions.begin("ann@example.com"), TURN)
    (item,) = aws.scan(TableName="sessions")["Items"]
    assert "ann" not in repr(item)
    assert b"Hello" not in item["messages"]["B"]


def test_a_session_that_is_full_says_so(sessions: Sessions) -> None:
    noise = random.Random(0).randbytes(MAX_BYTES)
    long = (Message.user("Look", Image("png", Bytes(noise))),)
    with refused(413, "full"):
        sessions.check_room(sessions.begin("ann"), long)
    with refused(413, "full"):
        sessions.save(sessions.begin("ann"), long)
    sessions.check_room(sessions.begin("ann"), (Message.user("x" * 1_000_000),))  # which a text is, compressed


def test_a_session_is_forgotten(sessions: Sessions) -> None:
    kept = sessions.save(sessions.begin("ann"), TURN)
    sessions.forget(kept.id, "ann")
    with refused(404, "no such session"):
        sessions.load(kept.id, "ann")
