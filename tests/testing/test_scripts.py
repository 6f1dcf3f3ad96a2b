"""What a script may be made of, as a test author writes it down."""

from __future__ import annotations

from typing import Any

import boto3
import pytest

from awsllm.testing import ScriptedBackend, mock_aws
from awsllm.types import ConverseRequest, Message

NOVA = "us.amazon.nova-lite-v1:0"
HELLO: Any = [{"role": "user", "content": [{"text": "Hello there"}]}]
ANSWER = {"output": {"message": {"role": "assistant", "content": [{"text": "Hi."}]}}}
USE = {"toolUse": {"name": "get_weather", "input": {"city": "Oslo"}}}


def converse() -> Any:
    return boto3.client("bedrock-runtime", "us-east-1").converse(modelId=NOVA, messages=HELLO)


@pytest.mark.parametrize(
    "reply",
    [
        ANSWER,
        {**ANSWER, "usage": {}},
        {"role": "assistant", "content": [{"text": "Hi."}]},
        {"content": [{"text": "Hi."}]},
        {"text": "Hi."},
        [{"text": "Hi."}],
    ],
)
def test_boto3s_shapes_are_replies_and_what_a_test_leaves_out_is_filled_in(reply: Any) -> None:
    with mock_aws(reply=reply):
        answer = converse()
    assert answer["output"] == ANSWER["output"]
    assert answer["stopReason"] == "end_turn"
    assert answer["usage"] == {"inputTokens": 2, "outputTokens": 1, "totalTokens": 3}


def test_what_an_answer_says_of_itself_is_kept() -> None:
    usage = {"inputTokens": 7, "outputTokens": 8, "totalTokens": 15}
    with mock_aws(reply={**ANSWER, "stopReason": "max_tokens", "usage": usage, "metrics": {"latencyMs": 9}}):
        answer = converse()
    assert (answer["stopReason"], answer["usage"], answer["metrics"]) == ("max_tokens", usage, {"latencyMs": 9})


def test_an_answer_without_a_stop_reason_streams_to_its_end() -> None:
    with mock_aws(reply=ANSWER):
        stream = boto3.client("bedrock-runtime", "us-east-1").converse_stream(modelId=NOVA, messages=HELLO)["stream"]
        stops = [event["messageStop"] for event in stream if "messageStop" in event]
    assert stops == [{"stopReason": "end_turn"}]


@pytest.mark.parametrize(
    ("reply", "ids"),
    [
        (USE, ["tooluse_get_weather"]),
        ([[USE, {"text": "and"}, USE]], ["tooluse_get_weather", "tooluse_get_weather_2"]),
        ({"output": {"message": {"role": "assistant", "content": [USE]}}}, ["tooluse_get_weather"]),
        ({"toolUse": {**USE["toolUse"], "toolUseId": "mine"}}, ["mine"]),
    ],
)
def test_a_tool_use_needs_no_id(reply: Any, ids: list[str]) -> None:
    with mock_aws(reply=reply):
        answer = converse()
    uses = [block["toolUse"] for block in answer["output"]["message"]["content"] if "toolUse" in block]
    assert [use["toolUseId"] for use in uses] == ids
    assert answer["stopReason"] == "tool_use"


@pytest.mark.parametrize("streams", [False, True])
def test_replies_in_turn_are_a_list_and_no_iterator(streams: bool) -> None:
    backend = ScriptedBackend(iter(["One.", "Two."]))
    request = ConverseRequest(model=NOVA, messages=(Message.user("Hello"),))
    with pytest.raises(TypeError, match=r"'One\.' is no event of a stream.*are a list"):
        list(backend.stream(request)) if streams else backend.ask(request)


def test_a_body_of_invoke_model_is_made_of_the_reply() -> None:
    body = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "Hi."}]}
    with mock_aws(reply=body), pytest.raises(TypeError, match="a body of InvokeModel is made of the reply"):
        converse()
