"""The order of a group is kept and every move has its reason: hypothesis says what each member does, and the response
or the error tells exactly that, for calls and streams, awaited or not."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import awsllm
from awsllm.errors import (
    AwsllmError,
    ConnectError,
    ContextWindowError,
    ModelNotReadyError,
    ServerError,
    ThrottlingError,
    ValidationError,
)
from awsllm.testing import AsyncScriptedBackend, ScriptedBackend

MODELS = ("first", "second", "third", "fourth")
POLICY = awsllm.Policy(max_attempts=1, retries_a_second=1000.0)

MOVES = {  # what moves a call on, and how ``attempts`` names it
    "ThrottlingException": lambda: ThrottlingError("slow down", code="ThrottlingException", status=429),
    "ModelNotReadyException": lambda: ModelNotReadyError("loading", code="ModelNotReadyException", status=429),
    "ServiceUnavailableException": lambda: ServerError("down", code="ServiceUnavailableException", status=503),
    "ConnectError": lambda: ConnectError("no route"),
    "ContextWindowError": lambda: ContextWindowError("too long"),
}
STAYS = {"ValidationError": lambda: ValidationError("wrong")}
OUTCOMES = st.sampled_from([*MOVES, *STAYS, None])


def expected(outcomes: tuple[str | None, ...]) -> list[tuple[str, str | None]]:
    """Who is asked, in the order given, until one answers or an error ends the call."""
    asked: list[tuple[str, str | None]] = []
    for model, outcome in zip(MODELS, outcomes, strict=True):
        asked.append((f"bedrock:{model}", outcome))
        if outcome not in MOVES:
            break
    return asked


def backend(kind: type[Any], outcomes: tuple[str | None, ...]) -> Any:
    plan = dict(zip(MODELS, outcomes, strict=True))

    def reply(request: awsllm.ConverseRequest) -> Any:
        outcome = plan[request.model]
        return f"{request.model} answers." if outcome is None else {**MOVES, **STAYS}[outcome]()

    return kind(reply)


def tell(outcomes: tuple[str | None, ...], *, streamed: bool, awaited: bool) -> tuple[Any, Any]:
    """What the call gave, a response or an error, and the backend."""
    group = awsllm.Group([f"bedrock:{model}" for model in MODELS], sticky=0, breaker=None)
    options: dict[str, Any] = {"region": "us-east-1", "policy": POLICY}

    async def ask_async(made: Any) -> Any:
        async with awsllm.AsyncClient(backends={"bedrock": made}, **options) as client:
            if not streamed:
                return await client.converse(group, "Hi")
            async with client.converse_stream(group, "Hi") as stream:
                return await stream.response

    made = backend(AsyncScriptedBackend if awaited else ScriptedBackend, outcomes)
    try:
        if awaited:
            return asyncio.run(ask_async(made)), made
        with awsllm.Client(backends={"bedrock": made}, **options) as client:
            return client.converse_stream(group, "Hi").response if streamed else client.converse(group, "Hi"), made
    except AwsllmError as error:
        return error, made


@settings(max_examples=60, deadline=None)
@given(outcomes=st.tuples(*[OUTCOMES] * len(MODELS)), streamed=st.booleans(), awaited=st.booleans())
def test_the_order_is_kept_and_reasons_are_told(
    outcomes: tuple[str | None, ...], streamed: bool, awaited: bool
) -> None:
    wanted = expected(outcomes)
    end, made = tell(outcomes, streamed=streamed, awaited=awaited)
    assert [request.model for request in made.requests] == [model.partition(":")[2] for model, _ in wanted]
    assert [(attempt.model, attempt.error) for attempt in end.attempts] == wanted
    if wanted[-1][1] is None:
        assert end.text == f"{wanted[-1][0].partition(':')[2]} answers."
        assert sum("answered" in warning for warning in end.warnings) == (len(wanted) > 1)
    else:
        assert isinstance(end, AwsllmError)
