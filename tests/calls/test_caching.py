"""Cache points by the rules of a family, and points of the caller's own that break them."""

from __future__ import annotations

from typing import Any

import pytest

import awsllm
from awsllm import types as t
from awsllm.calls.caching import AutoCache, cache_points, with_cache_points
from awsllm.calls.prepare import prepare_count_tokens
from awsllm.errors import UnsupportedError, ValidationError
from awsllm.models.profiles import profile
from awsllm.testing import AsyncScriptedBackend, ScriptedBackend
from tests.support.requests import assert_botocore_takes

CLAUDE = "bedrock:us.anthropic.claude-sonnet-4-6"
NOVA = "bedrock:us.amazon.nova-pro-v1:0"
LLAMA = "bedrock:us.meta.llama3-3-70b-instruct-v1:0"
OPAQUE = "bedrock:arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"
LONG = "A long text. " * 1000
POINT = t.CachePoint()
TOOL = t.ToolSpec("look", {"type": "object", "properties": {}}, LONG)


def sent(model: str, messages: Any, **options: Any) -> t.ConverseRequest:
    backend = ScriptedBackend("Done.")
    awsllm.Client(backends={"bedrock": backend}).converse(model, messages, **{"cache": "auto", **options})
    request = backend.requests[0]
    assert isinstance(request, t.ConverseRequest)
    assert_botocore_takes(request)
    return request


def places(request: t.ConverseRequest) -> list[str]:
    return [place for place, _ in cache_points(request)]


# --- where they go ---------------------------------------------------------------------------------------------------


def test_points_stand_behind_tools_system_and_the_last_two_user_turns() -> None:
    turns = [t.Message.user("One"), t.Message.assistant("1"), t.Message.user("Two"), t.Message.assistant("2")]
    request = sent(CLAUDE, [*turns, t.Message.user("Three")], system=LONG, tools=[TOOL])
    assert places(request) == ["tools", "system", "messages", "messages"]
    assert [turn.content[-1] == POINT for turn in request.messages] == [False, False, True, False, True]
    assert request.system[-1] == POINT
    assert request.tools[-1] == POINT


def test_by_default_there_are_none() -> None:
    assert places(sent(CLAUDE, LONG, cache=None)) == []


def test_nova_has_none_among_tools_nor_behind_results() -> None:
    request = sent(NOVA, LONG, system=LONG, tools=[TOOL])
    assert places(request) == ["system", "messages"]
    use = t.Message.assistant(t.ToolUse("u1", "look", {}))
    result = t.Message.user(t.ToolResult("u1", (t.Text("There."),)))
    request = sent(NOVA, [t.Message.user(LONG), use, result], tools=[TOOL])
    assert [turn.content[-1] == POINT for turn in request.messages] == [True, False, False]
    request = sent(CLAUDE, [t.Message.user(LONG), use, result], tools=[TOOL])
    assert [turn.content[-1] == POINT for turn in request.messages] == [True, False, True]


def test_too_short_a_text_gets_none() -> None:
    assert places(sent(CLAUDE, "Hello", system="Be brief.")) == []
    assert places(sent(CLAUDE, "Hello", system=LONG)) == ["system", "messages"]


def test_points_of_the_callers_own_stay_and_count() -> None:
    turns = [t.Message.user(LONG, POINT), t.Message.assistant("1"), t.Message.user("Two")]
    request = sent(CLAUDE, turns, system=[LONG, POINT], tools=[TOOL])
    assert places(request) == ["tools", "system", "messages", "messages"]
    full = [t.Message.user(LONG, POINT, "b", POINT, "c", POINT), t.Message.assistant("1"), t.Message.user("Two")]
    request = sent(CLAUDE, full, system=[LONG, POINT])
    assert places(request) == ["system", "messages", "messages", "messages"]


def test_points_of_the_callers_own_say_how_long_the_others_live() -> None:
    hour = t.CachePoint(ttl="1h")
    for system, ttls in (([LONG, hour], ["1h", "1h"]), ([LONG, POINT], [None, None])):
        request = sent(CLAUDE, "Hello", system=system, cache_ttl="1h")
        assert [point.ttl for _, point in cache_points(request)] == ttls
    request = sent(CLAUDE, [LONG, POINT, "More."], system=[LONG, hour])
    assert [point.ttl for _, point in cache_points(request)] == ["1h", None]  # none of ours among them


def test_what_a_broken_loop_leaves_has_no_points() -> None:
    import asyncio

    def look() -> str:
        """Look."""
        return "There."

    def script() -> list[Any]:
        return [t.ToolUse("u1", "look", {}), t.ToolUse("u2", "look", {}), awsllm.ValidationError("no")]

    async def stream() -> None:
        async with awsllm.AsyncClient(backends={"bedrock": AsyncScriptedBackend(script())}) as client:
            await client.converse_stream(CLAUDE, LONG, tools=[look], cache="auto").response

    client = awsllm.Client(backends={"bedrock": ScriptedBackend(script())})
    for run in (
        lambda: client.converse(CLAUDE, LONG, tools=[look], cache="auto"),
        lambda: asyncio.run(stream()),
    ):
        with pytest.raises(awsllm.AwsllmError) as caught:
            run()
        assert len(caught.value.messages) == 4
        assert not any(isinstance(block, t.CachePoint) for turn in caught.value.messages for block in turn.content)


def test_the_most_useful_come_first() -> None:
    request = t.ConverseRequest(model="m", system=(t.Text(LONG),), tools=(TOOL,), messages=(t.Message.user("Hi"),))
    rules = AutoCache(frozenset(("system", "messages", "tools")), 1, 1024)
    assert places(with_cache_points(request, rules)) == ["messages"]
    assert places(with_cache_points(request, AutoCache(rules.places, 2, 1024))) == ["system", "messages"]


@pytest.mark.parametrize("streamed", [False, True])
def test_in_a_tool_loop_they_follow_the_end(streamed: bool) -> None:
    backend = ScriptedBackend([t.ToolUse("u1", "look", {}), t.ToolUse("u2", "look", {}), "Done."])
    client = awsllm.Client(backends={"bedrock": backend})

    def look() -> str:
        """Look."""
        return "There."

    if streamed:
        response = client.converse_stream(CLAUDE, LONG, tools=[look], cache="auto").response
    else:
        response = client.converse(CLAUDE, LONG, tools=[look], cache="auto")
    marked = [
        [index for index, turn in enumerate(request.messages) if turn.content[-1] == POINT]
        for request in backend.requests
        if isinstance(request, t.ConverseRequest)
    ]
    assert marked == [[0], [0, 2], [2, 4]]
    assert not any(isinstance(block, t.CachePoint) for turn in response.messages for block in turn.content)


def test_the_async_client_places_them_too() -> None:
    import asyncio

    backend = AsyncScriptedBackend("Done.")

    async def use() -> None:
        async with awsllm.AsyncClient(backends={"bedrock": backend}) as client:
            await client.converse(CLAUDE, LONG, cache="auto")
            await client.converse_stream(CLAUDE, LONG, cache="auto").response

    asyncio.run(use())
    assert [places(request) for request in backend.requests] == [["messages"], ["messages"]]  # type: ignore[arg-type]


def test_behind_an_opaque_arn_the_family_decides() -> None:
    assert places(sent(OPAQUE, LONG, family="claude")) == ["messages"]
    response = awsllm.Client(backends={"bedrock": ScriptedBackend("Done.")}).converse(OPAQUE, LONG, cache="auto")
    assert any("it is not known which model" in line for line in response.warnings)


def test_counting_counts_with_them() -> None:
    _, request = prepare_count_tokens(CLAUDE, LONG, {"cache": "auto"})
    assert places(request.converse) == ["messages"]


def test_a_repair_takes_them_out_again() -> None:
    no = awsllm.AccessDeniedError("You invoked an unsupported model or your request did not allow prompt caching.")
    backend = ScriptedBackend(lambda request: no if places(request) else "Done.")
    client = awsllm.Client(backends={"bedrock": backend})
    assert client.converse(CLAUDE, LONG, cache="auto").text == "Done."
    assert client.converse(CLAUDE, LONG, cache="auto").text == "Done."
    assert [len(places(request)) for request in backend.requests] == [1, 0, 0]  # type: ignore[arg-type]


# --- how long, and what cannot be ------------------------------------------------------------------------------------


def test_an_hour_where_the_model_has_it() -> None:
    request = sent(CLAUDE, LONG, cache_ttl="1h")
    assert [point.ttl for _, point in cache_points(request)] == ["1h"]
    request = sent(NOVA, LONG, cache_ttl="1h")
    assert [point.ttl for _, point in cache_points(request)] == [None]
    response = awsllm.Client(backends={"bedrock": ScriptedBackend("Done.")}).converse(
        NOVA, LONG, cache="auto", cache_ttl="1h"
    )
    assert "cache_ttl '1h' is not taken" in response.warnings[0]


def test_a_model_without_a_cache_gets_a_warning() -> None:
    response = awsllm.Client(backends={"bedrock": ScriptedBackend("Done.")}).converse(LLAMA, LONG, cache="auto")
    assert "take no cache points" in response.warnings[0]


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"cache": "always"}, "it is 'auto' or None"),
        ({"cache": "auto", "cache_ttl": "2h"}, "it is '5m' or '1h'"),
        ({"cache": None, "cache_ttl": "1h"}, "cache_ttl needs cache='auto'"),
    ],
)
def test_what_is_no_choice_is_named(options: dict[str, Any], fix: str) -> None:
    with pytest.raises(ValidationError, match=fix):
        sent(CLAUDE, LONG, **options)


@pytest.mark.parametrize(
    ("model", "options", "fix"),
    [
        (
            CLAUDE,
            {"system": ["a", POINT, "b", POINT, "c", POINT, "d", POINT, "e", POINT]},
            "takes 4 cache points, .*5",
        ),
        (NOVA, {"tools": [TOOL, POINT]}, "takes cache points in messages and system alone, and there is one in tools"),
        (LLAMA, {"system": ["a", POINT]}, "takes no cache points, and there is one in system"),
    ],
)
def test_own_points_beyond_the_familys_rules_are_named_before_sending(
    model: str, options: dict[str, Any], fix: str
) -> None:
    backend = ScriptedBackend("Done.")
    with pytest.raises(UnsupportedError, match=fix):
        awsllm.Client(backends={"bedrock": backend}).converse(model, "Hello", **options)
    assert backend.requests == []


# --- what it costs ---------------------------------------------------------------------------------------------------


def test_cached_tokens_are_counted_and_paid_once() -> None:
    usage = t.Usage(
        input_tokens=10, output_tokens=20, total_tokens=1430, cache_read_input_tokens=900, cache_write_input_tokens=500
    )
    answer = t.ConverseResponse(message=t.Message.assistant("Done."), stop_reason="end_turn", usage=usage)
    price = awsllm.Price(input=3.0, output=15.0, cache_read=0.3, cache_write=3.75)
    client = awsllm.Client(backends={"bedrock": ScriptedBackend(answer)}, prices={CLAUDE: price})
    response = client.converse(CLAUDE, LONG, cache="auto")
    assert response.usage == usage
    assert response.cost == pytest.approx((10 * 3.0 + 20 * 15.0 + 900 * 0.3 + 500 * 3.75) / 1e6)


def test_the_rules_are_those_of_the_profile() -> None:
    assert profile("bedrock", "anthropic.claude-sonnet-4-6").cache_minimum == 1024
    assert profile("bedrock", "amazon.nova-pro-v1:0").cache_points == {"system", "messages"}
