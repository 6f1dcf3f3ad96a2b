"""Guardrails of a server: what boto3 creates, its runtimes apply, and no pattern stops the others."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import boto3
import pytest

import awsllm
from awsllm.server import running
from awsllm.server.account.guardrails.patterns import Pattern, PatternBudget
from awsllm.server.resources import AsyncWithResources, Resources
from awsllm.testing import AsyncScriptedBackend
from awsllm.types import ConverseRequest, GuardText, Message
from awsllm.types.guardrails import ApplyGuardrailRequest
from tests.support.guardrails import MESSAGES, NOVA, POLICIES, turn


def client(service: str, url: str) -> Any:
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
    return boto3.client(service, region_name="us-east-1", endpoint_url=url, **keys)


def test_a_server_creates_and_applies_them() -> None:
    with running(AsyncScriptedBackend("Write to ann@example.com, please.")) as url:
        control, runtime = client("bedrock", url), client("bedrock-runtime", url)
        guardrail = control.create_guardrail(name="g", **MESSAGES, **POLICIES)["guardrailId"]
        version = control.create_guardrail_version(guardrailIdentifier=guardrail)["version"]
        config = {"guardrailIdentifier": guardrail, "guardrailVersion": version}
        events = list(runtime.converse_stream(modelId=NOVA, messages=turn("Go"), guardrailConfig=config)["stream"])
        deltas = [event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event]
        assert "".join(deltas) == "Write to {EMAIL}, please."
        whole = runtime.converse(modelId=NOVA, messages=turn("acme?"), guardrailConfig=config)
        assert whole["stopReason"] == "guardrail_intervened"
        assert [one["id"] for one in control.list_guardrails()["guardrails"]] == [guardrail]


def test_patterns_are_not_tried_on_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes its second takes it from nobody else."""
    threads: set[threading.Thread] = set()
    first = Pattern.first

    def watched(self: Pattern, text: str, start: int, budget: PatternBudget) -> Any:
        threads.add(threading.current_thread())
        return first(self, text, start, budget)

    monkeypatch.setattr(Pattern, "first", watched)
    backend = AsyncWithResources(AsyncScriptedBackend("Hi. " * 50), Resources(guardrails={"gr1": POLICIES}))
    config = awsllm.GuardrailConfig("gr1", "1")
    request = ConverseRequest(model="m", messages=(Message.user("Go"),), guardrail_config=config)
    apply = ApplyGuardrailRequest(model="gr1", version="1", content=(GuardText("a@b.de"),))

    async def ask() -> None:
        assert (await backend.ask(apply)).masked
        await backend.ask(request)
        assert [event async for event in backend.stream(request)]

    asyncio.run(ask())
    assert threads
    assert threading.main_thread() not in threads
