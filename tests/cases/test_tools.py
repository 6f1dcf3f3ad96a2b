"""Tools: the cases T1 to T7 of what users of other libraries complain of."""

import json
from typing import Any

import pytest

import awsllm
from awsllm.testing import mock_aws
from awsllm.types import Document, Image, Text, ToolChoice, ToolResult, ToolSpec, ToolUse
from tests.support.cases import CLAUDE, NOVA, answering, asking, boto, city, get_weather, last, turns
from tests.support.media import PIXELS

PICK = ToolSpec("pick", {"type": "object", "properties": {"n": {"type": "integer"}}})
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}}


def test_t1_results_of_parallel_calls_share_one_user_turn() -> None:
    """Three calls at once are answered by one user turn that has the results in the order of the calls."""
    calls = (city("Oslo"), city("Rome"), city("Bern"))
    with mock_aws(reply=[calls, "It rains."]) as aws, awsllm.Client(region="us-east-1") as client:
        reply = client.converse(NOVA, "Weather?", tools=[get_weather])
    assert turns(last(aws)) == ["user", "assistant", "user"]
    results = last(aws).messages[-1].content
    assert [block.tool_use_id for block in results if isinstance(block, ToolResult)] == [call.id for call in calls]
    assert [message.role for message in reply.messages] == ["assistant", "user", "assistant"]


def test_t1_results_that_come_as_turns_of_their_own_are_joined() -> None:
    """A history with one user turn for each result, as other libraries write it, is sent with one for all."""
    results = [{"role": "user", "content": [{"toolResult": {"toolUseId": i, "content": [{"text": i}]}}]} for i in "ab"]
    calls = [{"toolUse": {"toolUseId": i, "name": "pick", "input": {}}} for i in "ab"]
    history: list[Any] = [{"role": "user", "content": "Go"}, {"role": "assistant", "content": calls}, *results]
    with mock_aws(reply="Done.") as aws, awsllm.Client(region="us-east-1") as client:
        client.converse(NOVA, history, tools=[PICK])
    assert turns(last(aws)) == ["user", "assistant", "user"]


@pytest.mark.parametrize("api", ["converse", "invoke"])
def test_t2_streamed_calls_are_kept_apart(api: str) -> None:
    """Calls that are streamed at once, in fragments, keep their ids, names and arguments."""
    calls = (city("Oslo"), ToolUse("other", "pick", {"n": 3, "why": "it is the third of them"}), city("Rome"))
    with mock_aws(reply=calls), awsllm.Client(region="us-east-1") as client:
        with client.converse_stream(CLAUDE, "Go", tools=[PICK], api=api, max_tokens=99) as stream:
            deltas = [event for event in stream if "ToolUseDelta" in repr(event)]
        assert len(deltas) > len(calls)
        assert stream.response.tool_uses == calls


def test_t3_tools_are_sent_or_refused() -> None:
    """Every tool reaches the model; a model that has none is an error before anything is sent."""
    with mock_aws(reply="Hi.") as aws, awsllm.Client(region="us-east-1") as client:
        for api in ("converse", "invoke"):
            client.converse(CLAUDE, "Hi", tools=[PICK, get_weather], api=api, max_tokens=9)
            assert {tool.name for tool in last(aws).tools if isinstance(tool, ToolSpec)} == {"pick", "get_weather"}
        with pytest.raises(awsllm.UnsupportedError, match="has no tools"):
            client.converse("bedrock:amazon.titan-text-express-v1", "Hi", tools=[PICK])
        assert len(aws.requests) == 2


def test_t3_boto3_s_tools_reach_the_offline_model() -> None:
    """An emulator that leaves out tools answers a forced tool in words; this one is asked for it."""
    spec = {"toolSpec": {"name": "pick", "inputSchema": {"json": PICK.input_schema}}}
    with mock_aws(reply="Hi.") as aws:
        boto("bedrock-runtime").converse(
            modelId="amazon.nova-lite-v1:0",
            messages=[{"role": "user", "content": [{"text": "Hi"}]}],
            toolConfig={"tools": [spec], "toolChoice": {"tool": {"name": "pick"}}},
        )
    assert (last(aws).tools, last(aws).tool_choice) == ((PICK,), ToolChoice("tool", "pick"))


def test_t4_a_tool_choice_is_held_against_the_model() -> None:
    """A choice that the model takes is sent; one that it is known to refuse becomes its own, with a warning."""
    with mock_aws(reply="Hi.") as aws, awsllm.Client(region="us-east-1") as client:
        reply = client.converse(NOVA, "Hi", tools=[PICK], tool_choice="pick")
        assert not any("choice" in warning for warning in reply.warnings)
        assert last(aws).tool_choice == ToolChoice("tool", "pick")
        reply = client.converse("bedrock:us.anthropic.claude-opus-5-5", "Hi", tools=[PICK], tool_choice="any")
    assert last(aws).tool_choice is None
    assert "was left to choose" in reply.warnings[0]


def test_t5_a_forced_tool_gives_way_to_thinking() -> None:
    """Claude 4.5 refuses a forced tool while it thinks: the model is left to choose, and the caller is told."""
    with mock_aws(reply="Hi.") as aws, awsllm.Client(region="us-east-1") as client:
        reply = client.converse(CLAUDE, "Hi", tools=[PICK], tool_choice="pick", extra=THINKING, max_tokens=2000)
    assert (last(aws).tool_choice, last(aws).extra) == (None, THINKING)
    assert "not taken while thinking" in reply.warnings[0]


def test_t5_a_typed_answer_is_not_forced_while_thinking() -> None:
    """What needs a tool of its own for a typed answer does not force it on a model that thinks."""
    model = "bedrock:us.anthropic.claude-sonnet-4-20250514-v1:0"  # without native structured output
    with mock_aws(reply='{"n": 3}') as aws, awsllm.Client(region="us-east-1") as client:
        reply = client.converse(model, "Hi", output_type=dict[str, int], extra=THINKING, max_tokens=2000)
    assert reply.output == {"n": 3}
    assert last(aws).tool_choice is None


@pytest.mark.parametrize(
    ("schemas", "words"),
    [
        ([{"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "object"}}}], "'f0'"),
        ([{"type": "object", "properties": {"a": {"allOf": [{"type": "string"}]}}}], "'allOf' is not taken"),
        ([{"type": "object"}], "name its properties"),
        ([{"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(13)}}] * 2, "26 optional"),
    ],
)
def test_t6_a_strict_schema_beyond_the_service_is_named(schemas: list[dict[str, Any]], words: str) -> None:
    """What the service cannot compile is an error that names the tool and the feature, and nothing is sent."""
    tools = [ToolSpec(f"f{n}", schema, strict=True) for n, schema in enumerate(schemas)]
    with mock_aws(reply="Hi.") as aws, awsllm.Client(region="us-east-1") as client:
        with pytest.raises(awsllm.UnsupportedError, match=words):
            client.converse(CLAUDE, "Hi", tools=tools)
        assert aws.requests == []
        lax = [ToolSpec(tool.name, tool.input_schema) for tool in tools]
        assert client.converse(CLAUDE, "Hi", tools=lax).text == "Hi."


def test_t6_a_strict_schema_is_brought_within_the_service() -> None:
    """Open objects are closed; ``oneOf`` and bounds, which the service refuses, loosened, and the caller is told."""
    members = {"a": {"oneOf": [{"type": "string"}, {"type": "integer"}]}, "b": {"type": "integer", "maximum": 9}}
    tool = ToolSpec("f", {"type": "object", "properties": members, "required": ["a"]}, strict=True)
    with asking(answering()) as (client, seen):
        reply = client.converse(CLAUDE, "Hi", tools=[tool])
        client.converse(CLAUDE, "Hi", tools=[awsllm.function_tool(get_weather, strict=True)])
    first, second = (json.loads(request.body)["toolConfig"]["tools"][0]["toolSpec"] for request in seen)
    assert first["strict"] is True
    assert first["inputSchema"]["json"] == {
        "type": "object",
        "properties": {
            "a": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            "b": {"type": "integer", "description": "(maximum 9)"},
        },
        "required": ["a"],
        "additionalProperties": False,
    }
    assert "tool 'f' is strict, but the service does not hold to maximum, oneOf" in reply.warnings[0]
    assert second["inputSchema"]["json"]["additionalProperties"] is False


@pytest.mark.parametrize("api", ["converse", "invoke"])
def test_t7_images_and_documents_inside_tool_results(api: str) -> None:
    """A tool may return an image or a document, and the model is given it as one."""
    found: list[Any] = [awsllm.image(PIXELS), awsllm.document(b"rows", name="table", format="txt"), "both"]

    def look() -> list[Any]:
        """Look it up."""
        return found

    with mock_aws(reply=[ToolUse("c", "look", {}), "Seen."]) as aws, awsllm.Client(region="us-east-1") as client:
        client.converse(CLAUDE, "Look.", tools=[look], api=api, max_tokens=9)
    (result,) = last(aws).messages[-1].content
    assert isinstance(result, ToolResult)
    assert [type(part) for part in result.content] == [Image, Document, Text]
