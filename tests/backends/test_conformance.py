"""Every backend keeps the protocol's promise: a stream folds to the answer, sync and async, whole or in events.

Bedrock and SageMaker are a server whose model follows a script; the local backend is SmolLM2.
"""

import asyncio
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import msgspec
import pytest

import awsllm
from awsllm import types as t
from awsllm.backends.bedrock import backend as bedrock
from awsllm.backends.local import backend as local
from awsllm.backends.sagemaker import backend as sagemaker
from awsllm.server import running
from awsllm.testing import AsyncScriptedBackend

BEDROCK, SAGEMAKER = "bedrock:us.amazon.nova-lite-v1:0", "sagemaker:an-endpoint"
LOCAL = "local:smollm2-135m-instruct"
WEATHER = t.ToolSpec(
    "get_weather",
    {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"]},
)


def script(request: t.ConverseRequest) -> str | t.Message:
    """An answer that depends on the request alone."""
    if request.tools:
        return t.Message("assistant", (t.Text("Let me see. "), t.ToolUse("call_1", "get_weather", {"city": "Køln"})))
    return f"You said {request.messages[-1].text!r}, and I say: naïve façade — 雨 🌧."


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running(AsyncScriptedBackend(script)) as url:
        yield url


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")


CASES: dict[str, dict[str, Any]] = {
    "text": {"messages": "Hello"},
    "system": {"messages": "Hello", "system": "Be brief.", "temperature": 0.0},
    "turns": {"messages": [t.Message.user("Hi"), t.Message.assistant("Hi!"), t.Message.user("Bye")], "max_tokens": 40},
    "cut": {"messages": "Count to one hundred.", "max_tokens": 3},
    "stop": {"messages": "Say a b c d", "stop_sequences": ["b"], "max_tokens": 40},
    "tool": {"messages": "Weather in Køln?", "tools": [WEATHER], "tool_choice": "get_weather", "max_tokens": 40},
}


def comparable(response: awsllm.ConverseResponse) -> awsllm.ConverseResponse:
    """Without what differs from call to call: time, ids, the provider's own form, and what the prompt cache held."""
    usage = response.usage
    whole = msgspec.structs.replace(
        usage,
        input_tokens=(usage.input_tokens or 0) + (usage.cache_read_input_tokens or 0),
        cache_read_input_tokens=None,
        extra=None,
    )
    content = tuple(
        msgspec.structs.replace(b, id="") if isinstance(b, t.ToolUse) else b for b in response.message.content
    )
    message = t.Message(response.message.role, content)
    return msgspec.structs.replace(
        response, usage=whole, message=message, messages=(), latency_ms=None, request_id=None, raw=None
    )


def four_ways(model: str, url: str, case: dict[str, Any]) -> list[awsllm.ConverseResponse]:
    options = {**case}
    messages = options.pop("messages")

    async def both() -> list[awsllm.ConverseResponse]:
        async with awsllm.AsyncClient(region="us-east-1", endpoint_url=url) as client:
            whole = await client.converse(model, messages, **options)
            async with client.converse_stream(model, messages, **options) as stream:
                return [whole, await stream.response]

    with awsllm.Client(region="us-east-1", endpoint_url=url) as client:
        whole = client.converse(model, messages, **options)
        with client.converse_stream(model, messages, **options) as stream:
            return [whole, stream.response, *asyncio.run(both())]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("model", [BEDROCK, SAGEMAKER, LOCAL])
def test_a_stream_folds_to_the_answer(model: str, case: str, server: str, credentials: None) -> None:
    first, *others = (comparable(response) for response in four_ways(model, server, CASES[case]))
    for other in others:
        assert other == first
    expected = {"cut": "max_tokens", "tool": "tool_use"}.get(case)
    assert first.stop_reason == (expected or first.stop_reason)
    if case == "tool":
        assert set(first.tool_uses[0].input) == {"city"}


@pytest.mark.parametrize("case", CASES)
def test_bedrock_and_sagemaker_carry_the_same_answer(case: str, server: str, credentials: None) -> None:
    bedrock, sagemaker = (comparable(four_ways(model, server, CASES[case])[0]) for model in (BEDROCK, SAGEMAKER))
    assert sagemaker.message == bedrock.message
    assert sagemaker.stop_reason == bedrock.stop_reason
    assert sagemaker.usage.output_tokens == bedrock.usage.output_tokens


def kinds_of_requests() -> Iterator[type[t.Request[Any]]]:
    """Those of every module of ``awsllm.types``."""
    for info in pkgutil.iter_modules(t.__path__, "awsllm.types."):
        yield from _requests_in(import_module(info.name))
    yield from _requests_in(t)


def _requests_in(module: Any) -> Iterator[type[t.Request[Any]]]:
    for kind in vars(module).values():
        if isinstance(kind, type) and issubclass(kind, t.Request) and kind.__module__ == module.__name__:
            yield kind


def has(backend: Any, kind: type[t.Request[Any]], *tables: str) -> bool:
    """Whether a backend's tables, or those of the module that it loads for the operation, have such requests."""
    module = backend.MODULES.get(kind.operation)
    rows = import_module(module) if module is not None else backend
    return any(kind in getattr(rows, table, ()) for table in tables)


def places_of(kind: type[t.Request[Any]]) -> set[str]:
    held = {
        "bedrock": has(bedrock, kind, "CALLS", "STREAMS"),  # whole, or as a stream alone
        "sagemaker": has(sagemaker, kind, "CALLS"),
        "local": has(local, kind, "OPERATIONS"),
    }
    return {place for place, holds in held.items() if holds}


def test_what_a_request_says_of_its_places_is_what_their_tables_hold() -> None:
    for kind in kinds_of_requests():
        if hasattr(kind, "operation"):
            named = {place for place in ("bedrock", "sagemaker", "local") if f"{place}:" in kind.served_by}
            assert named == places_of(kind), kind
            assert hasattr(awsllm.Client, kind.operation), kind
            assert hasattr(awsllm.AsyncClient, kind.operation), kind
