"""Handlers in a snapshot: all that they hold is made anew where it is restored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import snapshot_restore_py

import awsllm
from awsllm.lambdas import (
    batch_handler,
    callback_handler,
    documents_handler,
    grader_handler,
    sqs_handler,
    step_handler,
)
from awsllm.lambdas.snapstart import restorable_handler
from awsllm.testing import ScriptedBackend
from tests.support.lambdas import FakeContext

Hooks = dict[str, list[Any]]


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> Hooks:
    """What is registered with Lambda."""
    found: Hooks = {"before": [], "after": []}
    monkeypatch.setattr(snapshot_restore_py, "_before_snapshot_registry", found["before"])
    monkeypatch.setattr(snapshot_restore_py, "_after_restore_registry", found["after"])
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    return found


def restore(hooks: Hooks) -> None:
    for hook, given, named in [*hooks["before"], *hooks["after"]]:
        hook(*given, **named)


def test_a_handler_is_made_when_the_function_starts_and_when_it_is_restored(hooks: Hooks) -> None:
    made: list[int] = []

    def make() -> Callable[[Any, Any], Any]:
        number = len(made)
        made.append(number)
        return lambda event, context: number

    handler = restorable_handler(make)
    assert (made, handler(None, FakeContext())) == ([0], 0)
    restore(hooks)
    assert (made, handler(None, FakeContext())) == ([0, 1], 1)


@pytest.mark.usefixtures("in_aws")
def test_every_kind_takes_part(hooks: Hooks) -> None:
    handlers: list[Any] = [
        sqs_handler(process=lambda record: None),
        documents_handler(task=lambda source: None),
        step_handler(respond=lambda state: None),
        batch_handler(),
        callback_handler(lambda callback: None),
        grader_handler(grade=lambda sample: 1.0),
    ]
    assert len(hooks["after"]) == len(handlers)
    restore(hooks)
    for handler in handlers:
        handler({}, FakeContext())


@pytest.mark.usefixtures("in_aws")
def test_a_client_of_ones_own_takes_part_too(hooks: Hooks) -> None:
    client = awsllm.Client(region="us-east-1", backends={"bedrock": ScriptedBackend("Hello.")})
    step_handler("bedrock:amazon.nova-lite-v1:0", client=client)
    assert (client,) in [given for _, given, _ in hooks["before"]]
