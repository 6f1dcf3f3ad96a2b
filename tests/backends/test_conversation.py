"""What a conversation can ask of Bedrock: from the caller's words to bytes that botocore's model takes, and back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from botocore.validate import validate_parameters

import awsllm
from awsllm import types as t
from awsllm.aws.call import HttpRequest, HttpResponse
from awsllm.backends.bedrock.backend import BedrockBackend
from awsllm.stream import fold, replay
from tests.support.requests import RUNTIME
from tests.support.transports import StubTransport

CLAUDE = "bedrock:us.anthropic.claude-sonnet-4-6"
NOVA = "bedrock:us.amazon.nova-2-lite-v1:0"
PROMPT = "bedrock:arn:aws:bedrock:us-east-1:123456789012:prompt/PROMPT1234:2"


def answer(*content: Any, stop: str = "end_turn", **members: Any) -> bytes:
    usage = {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}
    message = {"role": "assistant", "content": list(content)}
    body = {"output": {"message": message}, "stopReason": stop, "usage": usage, "metrics": {"latencyMs": 1}}
    return msgspec.json.encode({**body, **members})


class Bedrock:
    """A client, and what it sent."""

    def __init__(self, *replies: bytes) -> None:
        left = list(replies or (answer({"text": "Done."}),))

        def reply(request: HttpRequest) -> HttpResponse:
            return HttpResponse(200, {"content-type": "application/json"}, left.pop(0) if len(left) > 1 else left[0])

        self.transport = StubTransport(reply)
        self.client = awsllm.Client(backends={"bedrock": BedrockBackend(self.transport)})

    def body(self, index: int = -1) -> dict[str, Any]:
        """The body of a request, which botocore would send as it is."""
        request = self.transport.requests[index]
        body: dict[str, Any] = msgspec.json.decode(request.body)
        operation = RUNTIME.operation_model("Converse")
        report = validate_parameters({"modelId": "m", **_with_bytes(body)}, operation.input_shape)
        assert report is None
        return body


def _with_bytes(value: Any) -> Any:
    """JSON as boto3 takes it: bytes where the wire has base64."""
    import base64

    if isinstance(value, dict):
        return {
            name: base64.b64decode(item) if name in ("bytes", "redactedContent") else _with_bytes(item)
            for name, item in value.items()
        }
    return [_with_bytes(item) for item in value] if isinstance(value, list) else value


# --- options ---------------------------------------------------------------------------------------------------------

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}


@pytest.mark.parametrize(
    ("model", "options", "member", "value"),
    [
        (CLAUDE, {"effort": "low"}, "outputConfig", {"effort": "low"}),
        (NOVA, {"effort": "low"}, "additionalModelRequestFields",
         {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}),
        (CLAUDE, {"thinking": "adaptive"}, "additionalModelRequestFields", {"thinking": {"type": "adaptive"}}),
        (CLAUDE, {"service_tier": "flex"}, "serviceTier", {"type": "flex"}),
        (CLAUDE, {"service_tier": {"type": "reserved"}}, "serviceTier", {"type": "reserved"}),
        (CLAUDE, {"performance_config": "optimized"}, "performanceConfig", {"latency": "optimized"}),
        (CLAUDE, {"request_metadata": {"team": "a"}}, "requestMetadata", {"team": "a"}),
        (CLAUDE, {"additional_model_response_field_paths": ["/stop_sequence"]}, "additionalModelResponseFieldPaths",
         ["/stop_sequence"]),
        (CLAUDE, {"tools": [t.SystemTool("nova_grounding")]}, "toolConfig",
         {"tools": [{"systemTool": {"name": "nova_grounding"}}]}),
    ],
)  # fmt: skip
def test_an_option_is_what_the_wire_has(model: str, options: dict[str, Any], member: str, value: Any) -> None:
    bedrock = Bedrock()
    bedrock.client.converse(model, "Hello", **options)
    assert bedrock.body()[member] == value


def test_a_schema_and_an_effort_share_their_place() -> None:
    bedrock = Bedrock(answer({"text": '{"a":1}'}))
    response = bedrock.client.converse(CLAUDE, "Hello", output_type=SCHEMA, effort="high")
    config = bedrock.body()["outputConfig"]
    assert response.output == {"a": 1}
    assert config["effort"] == "high"
    assert config["textFormat"]["type"] == "json_schema"


def test_tier_and_latency_are_told_as_they_came() -> None:
    bedrock = Bedrock(answer({"text": "."}, serviceTier={"type": "flex"}, performanceConfig={"latency": "standard"}))
    response = bedrock.client.converse(CLAUDE, "Hello", service_tier="flex", performance_config="optimized")
    assert response.service_tier == t.ServiceTier("flex")
    assert response.performance_config == t.PerformanceConfig("standard")


def test_a_managed_prompt_needs_no_messages() -> None:
    bedrock = Bedrock()
    response = bedrock.client.converse(PROMPT, [], prompt_variables={"city": "Bergen"}, family="claude")
    assert response.text == "Done."
    assert bedrock.body() == {"promptVariables": {"city": {"text": "Bergen"}}}
    assert bedrock.transport.requests[0].path.endswith("prompt%2FPROMPT1234%3A2/converse")
    found = bedrock.client.check(PROMPT, [], prompt_variables={"city": "Bergen"}, family="claude")
    assert found == ()
    with pytest.raises(awsllm.ValidationError, match="a managed prompt takes prompt_variables"):
        bedrock.client.converse(PROMPT, [], family="claude")


def test_points_of_the_cache_reach_the_wire_with_their_time() -> None:
    bedrock = Bedrock()
    bedrock.client.converse(CLAUDE, "A long text. " * 1000, system="A long text. " * 1000, cache="auto", cache_ttl="1h")
    body = bedrock.body()
    point = {"cachePoint": {"type": "default", "ttl": "1h"}}
    assert body["system"][-1] == point
    assert body["messages"][0]["content"][-1] == point


# --- tools that the service runs -------------------------------------------------------------------------------------

# In the shapes of botocore's model; what Nova fills in is told in maximhq/bifrost 3435 and langchain-aws' nova_tools.
SEARCH = {
    "toolUse": {
        "toolUseId": "tooluse_1",
        "name": "nova_grounding",
        "input": {"query": "Bergen"},
        "type": "server_tool_use",
    }
}
FOUND = {
    "toolResult": {
        "toolUseId": "tooluse_1",
        "content": [{"json": {}}],
        "status": "success",
        "type": "nova_grounding_result",
    }
}
CITED = {
    "citationsContent": {
        "content": [{"text": "Bergen lies in Norway."}],
        "citations": [{"location": {"web": {"url": "https://example.org/bergen", "domain": "example.org"}}}],
    }
}


def add(a: int, b: int) -> int:
    """The sum."""
    return a + b


OWN: list[Any] = [t.SystemTool("nova_grounding"), add]


def test_a_server_tool_answers_itself_and_its_citations_are_read_and_sent_back() -> None:
    bedrock = Bedrock(answer({"text": "I look."}, SEARCH, FOUND, CITED))
    response = bedrock.client.converse(NOVA, "Where is Bergen?", tools=OWN)
    assert response.text == "I look.Bergen lies in Norway."
    assert len(bedrock.transport.requests) == 1  # there is no call of the client's to run
    cited = response.message.content[-1]
    assert isinstance(cited, t.Citations)
    assert cited.citations[0].location == t.WebLocation("https://example.org/bergen", "example.org")
    history = [t.Message.user("Where is Bergen?"), *response.messages, t.Message.user("And Oslo?")]
    saved = [t.Message.from_dict(turn.to_dict()) for turn in history]
    assert saved == history
    bedrock.client.converse(NOVA, saved, tools=OWN)
    assert bedrock.body()["messages"][1]["content"] == [{"text": "I look."}, SEARCH, FOUND, CITED]


def test_a_server_tool_streams_to_the_same() -> None:
    response = Bedrock(answer({"text": "I look."}, SEARCH, FOUND, CITED)).client.converse(NOVA, "Where?")
    assert fold(replay(response)).message == response.message


def test_the_clients_own_tools_run_beside_it() -> None:
    own = {"toolUse": {"toolUseId": "tooluse_2", "name": "add", "input": {"a": 1, "b": 2}}}
    bedrock = Bedrock(answer(SEARCH, FOUND, own, stop="tool_use"), answer({"text": "Three."}))
    response = bedrock.client.converse(NOVA, "What?", tools=OWN)
    assert response.text == "Three."
    results = bedrock.body()["messages"][2]["content"]
    assert [result["toolResult"]["toolUseId"] for result in results] == ["tooluse_2"]
