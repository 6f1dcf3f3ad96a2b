"""Thinking that is replayed as it came, and prompt caches: the cases R1 and K1 to K3."""

import json
import urllib.request
from typing import Any

import msgspec
import pytest

import awsllm
from awsllm.server import running
from awsllm.testing import AsyncScriptedBackend, mock_aws
from awsllm.types import CachePoint, ConverseRequest, ConverseResponse, Message, Reasoning, Text, ToolSpec, Usage
from tests.support.cases import CLAUDE, NOVA, PROFILE, answering, asking, city, get_weather, last

THOUGHT = Reasoning("Where is it?", signature="c2lnbmVk")
HIDDEN = Reasoning(redacted=b"b3BhcXVl")
SPEC = ToolSpec("get_weather", {"type": "object", "properties": {"city": {"type": "string"}}})


@pytest.mark.parametrize("api", ["converse", "invoke"])
@pytest.mark.parametrize("streamed", [False, True])
def test_r1_thinking_is_replayed_unchanged_in_a_tool_loop(api: str, streamed: bool) -> None:
    """Thinking, its signature and redacted blocks go back with the call that they led to, in their order."""
    options: dict[str, Any] = {"tools": [get_weather], "api": api, "max_tokens": 99}
    replies = [(THOUGHT, HIDDEN, city("Oslo")), "It rains."]
    with mock_aws(reply=replies) as aws, awsllm.Client(region="us-east-1") as client:
        if streamed:
            with client.converse_stream(CLAUDE, "Weather?", **options) as stream:
                assert stream.response.text == "It rains."
        else:
            client.converse(CLAUDE, "Weather?", **options)
    assert last(aws).messages[1] == Message("assistant", (THOUGHT, HIDDEN, city("Oslo")))


def test_r1_thinking_survives_save_and_load() -> None:
    """A conversation that was written to JSON and read again sends the same thinking."""
    with mock_aws(reply=[(THOUGHT, HIDDEN, "Oslo."), "Yes."]) as aws, awsllm.Client(region="us-east-1") as client:
        history = [Message.user("Where?"), *client.converse(CLAUDE, "Where?").messages]
        loaded = msgspec.json.decode(msgspec.json.encode(history), type=list[Message])
        assert [Message.from_dict(message.to_dict()) for message in history] == loaded
        client.converse(CLAUDE, [*loaded, Message.user("Sure?")])
    assert last(aws).messages[1] == Message("assistant", (THOUGHT, HIDDEN, Text("Oslo.")))


def test_k1_every_cache_point_is_sent_where_it_stands() -> None:
    """Marks in the system prompt, among the tools and in several turns all reach the wire, none moved or dropped."""
    history = [
        Message.user("a", CachePoint(ttl="1h")),
        Message("assistant", (Text("b"), city("Oslo"))),
        Message("user", (awsllm.ToolResult("call_Oslo", (Text("rain"),)), CachePoint())),
    ]
    with asking(answering()) as (client, seen):
        client.converse(CLAUDE, history, system=["Be brief.", CachePoint()], tools=[SPEC, CachePoint()])
    wire = json.loads(seen[0].body)
    mark = {"cachePoint": {"type": "default"}}
    assert wire["messages"][0]["content"][1] == {"cachePoint": {"type": "default", "ttl": "1h"}}
    assert (wire["messages"][2]["content"][1], wire["system"][1], wire["toolConfig"]["tools"][1]) == (mark, mark, mark)


def test_k1_cache_points_are_anthropic_s_marks_by_the_other_door() -> None:
    """InvokeModel's own body has ``cache_control`` on the block before; the server reads it back as a cache point."""
    with mock_aws(reply="Hi.") as aws, awsllm.Client(region="us-east-1") as client:
        prompt, system = Message.user("a", CachePoint(), "b"), ["Be brief.", CachePoint()]
        client.converse(CLAUDE, prompt, system=system, tools=[SPEC, CachePoint()], api="invoke", max_tokens=9)
    assert last(aws).messages == (prompt,)
    assert last(aws).system == (Text("Be brief."), CachePoint())
    assert last(aws).tools == (SPEC, CachePoint())


def test_k1_foreign_marks_are_translated_by_the_server_and_never_dropped_by_the_client() -> None:
    """Anthropic's ``cache_control`` is a cache point to the server; in boto3's shape it is an error that names it."""
    block = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
    body = {"model": CLAUDE.partition(":")[2], "max_tokens": 9, "messages": [{"role": "user", "content": [block]}]}
    backend = AsyncScriptedBackend("Hi.")
    with running(backend) as url:
        head = {"Content-Type": "application/json", "anthropic-version": "2023-06-01"}
        with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/messages", json.dumps(body).encode(), head)):
            pass
    (request,) = backend.requests
    assert isinstance(request, ConverseRequest)
    assert request.messages == (Message.user("a", CachePoint()),)
    stray = {"text": "a", "cache_control": {"type": "ephemeral"}}
    with mock_aws(reply="Hi.") as aws, awsllm.Client(region="us-east-1") as client:
        with pytest.raises(awsllm.ValidationError, match="cache_control"):
            client.converse(CLAUDE, [{"role": "user", "content": [stray]}])
        assert aws.requests == []


def test_k2_caching_stays_on_behind_a_profile_s_arn() -> None:
    """An application profile's ARN does not say "claude", and its cache points are sent all the same."""
    options: dict[str, Any] = {"system": ["s", CachePoint()], "family": "claude", "max_tokens": 9}
    own = {"role": "assistant", "content": [{"type": "text", "text": "Hi."}], "stop_reason": "end_turn", "usage": {}}
    replies = answering(), answering(own)
    with asking(*replies) as (client, seen):
        for api in ("converse", "invoke"):
            client.converse(PROFILE, Message.user("a", CachePoint()), api=api, **options)
    assert seen[0].body.count(b'"cachePoint"') == 2
    assert seen[1].body.count(b'"cache_control"') == 2


@pytest.mark.parametrize("api", ["converse", "invoke"])
def test_k3_cached_tokens_are_counted_apart(api: str) -> None:
    """Bedrock's inputTokens leave out what the cache held; both figures are kept, and each is paid at its own rate."""
    usage = Usage(100, 10, 2110, cache_read_input_tokens=2000, cache_write_input_tokens=0)
    answer = ConverseResponse(message=Message.assistant("Hi."), stop_reason="end_turn", usage=usage)
    prices = {NOVA: awsllm.Price(input=1.0, output=4.0, cache_read=0.1), CLAUDE: awsllm.Price(1.0, 4.0, cache_read=0.1)}
    with mock_aws(reply=lambda _: answer), awsllm.Client(region="us-east-1", prices=prices) as client:
        reply = client.converse(CLAUDE, "Hi", api=api, max_tokens=9)
        with client.converse_stream(CLAUDE, "Hi", api=api, max_tokens=9) as stream:
            streamed = stream.response
    for found in (reply, streamed):
        assert (found.usage.input_tokens, found.usage.cache_read_input_tokens) == (100, 2000)
        assert found.cost == pytest.approx((100 * 1.0 + 10 * 4.0 + 2000 * 0.1) / 1e6)
