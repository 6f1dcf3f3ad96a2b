"""Keys in DynamoDB: what is written is read, and what is revoked stops within seconds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from moto import mock_aws
from msgspec.structs import replace

from awsllm.errors import ConfigurationError
from awsllm.policy.keys import create
from awsllm.policy.keys_dynamodb import LIFE, KeyTable
from tests.support.tables import KEYS, AtomicRpc, create_tables, table


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def rpc() -> Iterator[AtomicRpc]:
    with mock_aws():
        create_tables()
        yield AtomicRpc()


def test_a_key_goes_through_the_table(rpc: AtomicRpc) -> None:
    keys = KeyTable(table(KEYS, rpc))
    key, secret = create(
        name="the search team",
        team="search",
        expires=datetime(2030, 1, 1, tzinfo=UTC),
        models=("anthropic.*",),
        requests_per_minute=60,
        monthly_dollars=12.5,
    )
    other, signing = create(signs=True)
    for one in (key, other):
        keys.add(one)
    assert (keys.shown(secret), keys.shown("another"), keys.shown("")) == (key, None, None)
    assert (keys.signing(other.id), keys.signing(key.id), keys.signing("none")) == (other, None, None)
    assert sorted(keys, key=lambda one: one.id) == sorted([key, other], key=lambda one: one.id)
    assert secret not in str(list(table(KEYS, rpc).scan()))
    assert keys.shown(signing) == other
    item = table(KEYS, rpc).get({"id": key.sha256})
    assert item is not None
    assert item["expires"] == datetime(2030, 1, 1, tzinfo=UTC).timestamp()  # where TTL looks
    keys.add(key)  # a second attempt, where the answer to the first was lost
    with pytest.raises(ConfigurationError, match="already"):
        keys.add(replace(key, name="another"))


def test_what_is_changed_elsewhere_is_known_within_seconds(rpc: AtomicRpc) -> None:
    clock = Clock()
    here, elsewhere = KeyTable(table(KEYS, rpc), clock=clock), KeyTable(table(KEYS, rpc))
    key, secret = create(signs=True)
    assert here.shown(secret) is None
    elsewhere.add(key)
    assert here.shown(secret) is None  # for a moment: its absence is remembered
    clock.now += LIFE
    assert here.shown(secret) == here.signing(key.id) == key
    assert not here.stopped
    elsewhere.revoke(key.id)
    elsewhere.stop(None, True)
    clock.now += LIFE
    found = here.shown(secret)
    assert found is not None
    assert not found.is_valid(0)
    assert here.signing(key.id) is None
    assert KeyTable(table(KEYS, rpc)).stopped
    elsewhere.stop(None, False)
    clock.now += LIFE
    assert not here.stopped


def test_what_was_read_is_not_read_again(rpc: AtomicRpc) -> None:
    keys = KeyTable(table(KEYS, rpc))
    key, secret = create()
    keys.add(key)
    del rpc.calls[:]
    for _ in range(5):
        assert keys.shown(secret) == key
        assert not keys.stopped
        assert keys.shown("sk-invented") is None
    assert rpc.calls == ["GetItem"] * 3


def test_invented_secrets_fill_no_memory(rpc: AtomicRpc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("awsllm.policy.keys_dynamodb._MOST", 3)
    keys = KeyTable(table(KEYS, rpc))
    for number in range(10):
        keys.shown(f"sk-{number}")
    assert len(keys._read) == 3


def test_one_key_is_stopped(rpc: AtomicRpc) -> None:
    keys, (key, secret) = KeyTable(table(KEYS, rpc), life=0), create()
    keys.add(key)
    keys.stop(key.id, True)
    found: Any = keys.shown(secret)
    assert found.stopped
    assert not keys.stopped
    keys.stop(key.id, False)
    assert keys.shown(secret) == key
    for change in (lambda: keys.stop("none", True), lambda: keys.revoke("none")):
        with pytest.raises(ConfigurationError, match="no key 'none'"):
            change()


def test_an_item_that_is_no_key_lets_nobody_in(rpc: AtomicRpc, caplog: pytest.LogCaptureFixture) -> None:
    keys, (key, secret) = KeyTable(table(KEYS, rpc)), create()
    table(KEYS, rpc).put({"id": key.sha256, "key": key.id, "requests_per_minute": "many"})
    with caplog.at_level("WARNING", "awsllm.policy"):
        assert keys.shown(secret) is None
    assert key.id in caplog.text
    assert list(keys) == []


def test_who_revokes_and_who_stops_undo_nothing_of_each_others(rpc: AtomicRpc) -> None:
    keys, elsewhere = KeyTable(table(KEYS, rpc), life=0), KeyTable(table(KEYS, AtomicRpc()))
    key, secret = create(signs=True)
    keys.add(key)

    def revoke(operation: str) -> None:
        if operation != "Scan":  # between reading the key and writing it
            rpc.before = lambda operation: None
            elsewhere.revoke(key.id)

    rpc.before = revoke
    keys.stop(key.id, True)
    found: Any = keys.shown(secret)
    assert (found.disabled, found.stopped, found.secret) == (True, True, None)


def test_a_key_that_ended_meanwhile_is_not_made_anew(rpc: AtomicRpc) -> None:
    keys, (key, _) = KeyTable(table(KEYS, rpc)), create()
    keys.add(key)

    def end(operation: str) -> None:
        if operation != "Scan":
            rpc.before = lambda operation: None
            table(KEYS, AtomicRpc()).delete({"id": key.sha256})

    rpc.before = end
    with pytest.raises(ConfigurationError, match="no key"):
        keys.revoke(key.id)
    assert list(keys) == []


def test_an_end_in_milliseconds_lets_nobody_in_and_hides_no_other_key(rpc: AtomicRpc) -> None:
    keys, (key, secret), (other, _) = KeyTable(table(KEYS, rpc)), create(), create()
    keys.add(other)
    table(KEYS, rpc).put({"id": key.sha256, "key": key.id, "expires": 1_900_000_000_000})
    assert keys.shown(secret) is None
    assert list(keys) == [other]


def test_a_secret_that_is_no_text_is_nobodys(rpc: AtomicRpc) -> None:
    assert KeyTable(table(KEYS, rpc)).shown("sk-\ud800\udc80") is None
