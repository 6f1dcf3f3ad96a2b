"""Options of the policy that are not what they are to be: told where they are given, in words that name them."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import awsllm
from awsllm.policy.configuration import parse
from awsllm.policy.database import Database
from awsllm.testing import ScriptedBackend, failing

MODEL = "bedrock:us.amazon.nova-lite-v1:0"

WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: awsllm.Limits(shared="ftp://x"), r"shared is 'ftp://x'; it is redis://…, dynamodb:TABLE or a file's path"),
    (lambda: awsllm.Limits(shared=""), "shared is ''"),
    (lambda: awsllm.Limits(quota=5), "quota is 5"),  # type: ignore[arg-type]
    (lambda: awsllm.Policy(timeout=-1), "timeout is -1; it is a number of seconds above 0"),
    (lambda: awsllm.Policy(first_event_timeout=0), "first_event_timeout is 0"),
    (lambda: awsllm.Policy(event_timeout=0), "event_timeout is 0"),
    (lambda: awsllm.Policy(resend_lost="yes"), "resend_lost is 'yes'; it is True or False"),  # type: ignore[arg-type]
    (lambda: awsllm.Group(None), "models of a group are None"),  # type: ignore[arg-type]
    (lambda: awsllm.Group([MODEL], member_timeout=0), "member_timeout is 0"),
    (lambda: awsllm.Group([MODEL], breaker=5), "breaker is 5"),  # type: ignore[arg-type]
    (lambda: awsllm.ResponseCache(""), "path of a database is empty"),
    (lambda: awsllm.ResponseCache("redis://host:port"), "no URL of a Redis"),
    (lambda: awsllm.ResponseCache(5), "place is 5"),  # type: ignore[arg-type]
    (lambda: awsllm.ResponseCache(ttl="1d"), "ttl is '1d'"),  # type: ignore[arg-type]
    (lambda: awsllm.SemanticCache("nowhere:titan"), "not a model reference"),
    (lambda: awsllm.SemanticCache(None), "embed is None"),  # type: ignore[arg-type]
    (lambda: awsllm.SemanticCache(str, threshold="high"), "threshold is 'high'"),  # type: ignore[arg-type]
    (lambda: awsllm.SemanticCache(str, ttl=0), "ttl is 0"),
    (lambda: awsllm.SemanticCache(str, place=5, name="x"), "place is 5"),  # type: ignore[arg-type]
    (lambda: awsllm.CallLog(""), "path of a database is empty"),
    (lambda: awsllm.CallLog(max_bytes="1GB"), "max_bytes of a call log is '1GB'"),  # type: ignore[arg-type]
    (lambda: awsllm.UsageLedger("redis://localhost"), "redis://localhost is no file's path"),
    (lambda: awsllm.Client(redact="emial"), "redaction has no pattern 'emial'"),
    (lambda: awsllm.Client(ledger=5), r"ledger is 5; give a path or awsllm\.UsageLedger"),  # type: ignore[arg-type]
    (lambda: awsllm.Client(response_cache=5), "response_cache is 5"),  # type: ignore[arg-type]
    (lambda: awsllm.Client().budget(usd=1, file=""), "path of a database is empty"),
    (lambda: awsllm.Client().budget(tokens=1.5), "tokens is 1.5; it is a whole number"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("make", "told"), WRONG)
def test_what_is_wrong_is_told_where_it_is_given(make: Callable[[], Any], told: str) -> None:
    with pytest.raises(awsllm.ConfigurationError, match=told):
        make()


def test_a_file_that_cannot_be_one_is_told_when_the_client_is_made(tmp_path: Path) -> None:
    """And not at the first call that looks into it, which may be in the night after."""
    text = tmp_path / "text.db"
    text.write_text("no database at all" * 100)
    for place, why in ((tmp_path, "it is a folder"), (tmp_path / "a" / "b.db", f"there is no folder {tmp_path / 'a'}")):
        with pytest.raises(awsllm.ConfigurationError, match=why):
            Database(place, "").check()
    made: list[Callable[[], Any]] = [
        lambda: awsllm.Client(response_cache=text),
        lambda: awsllm.SemanticCache(str, 0.9, text, name="x"),
        lambda: awsllm.Client().budget(usd=1, file=text),
        lambda: awsllm.Client(ledger=text),
        lambda: awsllm.Client(log=text),
    ]
    for make in made:
        with pytest.raises(awsllm.ConfigurationError, match="not a database"):
            make()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"[limits.{MODEL}]\nrequests_per_minute = 5", f'line 1: this is not TOML: .*write "{MODEL}" in quotes'),
        (f"[aliases]\nfast = {MODEL}", f'line 2: this is not TOML: .*write "{MODEL}" in quotes'),
        (f'[limits."{MODEL}"]\ntokens_per_minute = 4e6', r"line 2, .*tokens_per_minute: Expected `int`, got `float`$"),
        ('[log]\npath = "a.db"\nredact = ["emial"]', "line 3, log.redact: redaction has no pattern 'emial'"),
        ('[telemetry]\nforms = ["otle"]', "line 2, telemetry.forms: .*'otle' is none of 'otel', 'log', 'emf'"),
        ("[policy]\ntimeout = -5", "line 2, policy.timeout: timeout is -5"),
    ],
)
def test_what_is_wrong_in_awsllm_toml(text: str, told: str) -> None:
    """`awsllm config check` says what a client would refuse."""
    with pytest.raises(awsllm.ConfigurationError, match=told):
        parse(text)


def test_text_in_quotes_gets_no_hint_about_quotes() -> None:
    with pytest.raises(awsllm.ConfigurationError) as told:
        parse(f'[aliases]\nfast = "{MODEL}" x')
    assert "in quotes" not in str(told.value)


@pytest.mark.parametrize(
    "value",
    [
        awsllm.Limits(requests_per_minute=5),
        awsllm.Limits(weights={"a": 2.0}),
        awsllm.GroupMember(MODEL, options={"max_tokens": 5}),
        awsllm.Group({MODEL: 2, "bedrock:us.amazon.nova-pro-v1:0": 1}),
        awsllm.Policy(hedge=awsllm.Hedge(after=0.5)),
        parse(f'[aliases]\nfast = "{MODEL}"\n[limits.fast]\nrequests_per_minute = 5'),
    ],
)
def test_settings_go_to_other_processes_and_can_be_copied(value: Any) -> None:
    copied = pickle.loads(pickle.dumps(value))  # noqa: S301  # made in this line
    assert copied == value == copy.deepcopy(value) == copy.copy(value)


@pytest.mark.parametrize("kind", [awsllm.Client, awsllm.AsyncClient])
def test_a_client_says_that_it_stays_in_its_process(kind: type) -> None:
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled or copied: make one in each process, or fork"):
            copied(kind())


def test_a_failure_that_cannot_be_made() -> None:
    with awsllm.Client(region="us-east-1") as client:
        for given, told in (({"error": "boom"}, "error is 'boom'; give an exception"), ({"times": -1}, "times is -1")):
            with pytest.raises(awsllm.ConfigurationError, match=told), failing(client, MODEL, **given):
                pass


def test_what_helps_against_a_limit_of_requests() -> None:
    """Shorter answers do not."""
    for limits, helps in (
        (awsllm.Limits(requests_per_minute=1), r"\(timeout=…\), or ask for"),
        (awsllm.Limits(tokens_per_minute=200), r"\(timeout=…\), lower max_tokens, or ask for"),
    ):
        backends = {"bedrock": ScriptedBackend("word " * 100)}
        with (
            awsllm.Client(region="us-east-1", limits={MODEL: limits}, backends=backends) as client,
            pytest.raises(awsllm.LimitExceededError, match=helps),
        ):
            for _ in range(2):
                client.converse(MODEL, "hi", max_tokens=150, timeout=1)
