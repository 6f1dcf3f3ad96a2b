"""Converse and CountTokens: one list of cases both ways, judged by botocore's validator and parser."""

import base64
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st

from awsllm.errors import ServerError, UnsupportedError, ValidationError
from awsllm.types import (
    Audio,
    Bytes,
    CacheDetail,
    CachePoint,
    Citation,
    Citations,
    ContentBlock,
    ConverseRequest,
    ConverseResponse,
    CountTokensRequest,
    Document,
    DocumentContent,
    DocumentLocation,
    DocumentText,
    GuardContent,
    GuardImage,
    GuardrailConfig,
    GuardText,
    Image,
    InferenceConfig,
    Json,
    JsonSchema,
    Message,
    MessageStop,
    OutputConfig,
    PerformanceConfig,
    Reasoning,
    S3Location,
    SearchResult,
    SearchResultLocation,
    ServiceTier,
    SystemTool,
    Text,
    ToolAddition,
    ToolChoice,
    ToolReference,
    ToolRemoval,
    ToolResult,
    ToolSpec,
    ToolUse,
    Unknown,
    Usage,
    Video,
    WebLocation,
)
from awsllm.wire import converse

MODEL = ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2"))
RAW = b"\x00\x01\xfe\xff"


def validate(operation: str, body: dict) -> None:
    report = ParamValidator().validate({"modelId": "m", **body}, MODEL.operation_model(operation).input_shape)
    assert not report.has_errors(), report.generate_report()


def over_http(wire):
    """What the other side sees: base64 where there were bytes."""
    return msgspec.json.decode(msgspec.json.encode(wire))


BLOCKS: list[tuple[ContentBlock, Any]] = [
    (Text("Grüße, 世界 🌍"), {"text": "Grüße, 世界 🌍"}),
    (Text(""), {"text": ""}),
    (Image("png", Bytes(RAW)), {"image": {"format": "png", "source": {"bytes": RAW}}}),
    (
        Image("jpeg", S3Location("s3://b/k", "123456789012"), "too dark"),
        {
            "image": {
                "format": "jpeg",
                "source": {"s3Location": {"uri": "s3://b/k", "bucketOwner": "123456789012"}},
                "error": {"message": "too dark"},
            }
        },
    ),
    (
        Document("report", Bytes(RAW), "pdf", "about money", True),
        {
            "document": {
                "name": "report",
                "source": {"bytes": RAW},
                "format": "pdf",
                "context": "about money",
                "citations": {"enabled": True},
            }
        },
    ),
    (Document("note", DocumentText("t")), {"document": {"name": "note", "source": {"text": "t"}}}),
    (
        Document("parts", DocumentContent(("a", "b")), citations=False),
        {
            "document": {
                "name": "parts",
                "source": {"content": [{"text": "a"}, {"text": "b"}]},
                "citations": {"enabled": False},
            }
        },
    ),
    (
        Video("mp4", S3Location("s3://b/v")),
        {"video": {"format": "mp4", "source": {"s3Location": {"uri": "s3://b/v"}}}},
    ),
    (
        Audio("wav", Bytes(RAW), "silent"),
        {"audio": {"format": "wav", "source": {"bytes": RAW}, "error": {"message": "silent"}}},
    ),
    (
        ToolUse("t1", "search", {"q": "x", "n": [1, None]}),
        {"toolUse": {"toolUseId": "t1", "name": "search", "input": {"q": "x", "n": [1, None]}}},
    ),
    (
        ToolUse("t1", "search", {}, "server_tool_use"),
        {"toolUse": {"toolUseId": "t1", "name": "search", "input": {}, "type": "server_tool_use"}},
    ),
    (
        ToolResult(
            "t1",
            (
                Text("a"),
                Json({"b": 1}),
                Image("gif", Bytes(RAW)),
                Document("d", Bytes(RAW), "txt"),
                Video("webm", Bytes(RAW)),
                SearchResult("s", "t", ("c",)),
            ),
            "success",
            "kind",
        ),
        {
            "toolResult": {
                "toolUseId": "t1",
                "content": [
                    {"text": "a"},
                    {"json": {"b": 1}},
                    {"image": {"format": "gif", "source": {"bytes": RAW}}},
                    {"document": {"name": "d", "source": {"bytes": RAW}, "format": "txt"}},
                    {"video": {"format": "webm", "source": {"bytes": RAW}}},
                    {"searchResult": {"source": "s", "title": "t", "content": [{"text": "c"}]}},
                ],
                "status": "success",
                "type": "kind",
            }
        },
    ),
    (ToolResult("t1", ()), {"toolResult": {"toolUseId": "t1", "content": []}}),
    (
        Reasoning("hm", "c2lnbmF0dXJl"),
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2lnbmF0dXJl"}}},
    ),
    (Reasoning("hm"), {"reasoningContent": {"reasoningText": {"text": "hm"}}}),
    (Reasoning(redacted=RAW), {"reasoningContent": {"redactedContent": RAW}}),
    (CachePoint(), {"cachePoint": {"type": "default"}}),
    (CachePoint(ttl="1h"), {"cachePoint": {"type": "default", "ttl": "1h"}}),
    (
        GuardContent(content=GuardText("g", ("query", "guard_content"))),
        {"guardContent": {"text": {"text": "g", "qualifiers": ["query", "guard_content"]}}},
    ),
    (
        GuardContent(content=GuardImage("png", Bytes(RAW))),
        {"guardContent": {"image": {"format": "png", "source": {"bytes": RAW}}}},
    ),
    (
        Citations(
            (Text("cited"),),
            (
                Citation("t", "s", (Text("c"),), WebLocation("https://a", "a")),
                Citation(location=DocumentLocation("char", 0, 1, 2)),
                Citation(location=DocumentLocation("page", 0, 1, 2)),
                Citation(location=DocumentLocation("chunk", 0)),
                Citation(location=SearchResultLocation(0, 1, 2)),
                Citation(),
            ),
        ),
        {
            "citationsContent": {
                "content": [{"text": "cited"}],
                "citations": [
                    {
                        "title": "t",
                        "source": "s",
                        "sourceContent": [{"text": "c"}],
                        "location": {"web": {"url": "https://a", "domain": "a"}},
                    },
                    {"location": {"documentChar": {"documentIndex": 0, "start": 1, "end": 2}}},
                    {"location": {"documentPage": {"documentIndex": 0, "start": 1, "end": 2}}},
                    {"location": {"documentChunk": {"documentIndex": 0}}},
                    {"location": {"searchResultLocation": {"searchResultIndex": 0, "start": 1, "end": 2}}},
                    {},
                ],
            }
        },
    ),
    (
        SearchResult("https://a", "A", ("one", "two"), True),
        {
            "searchResult": {
                "source": "https://a",
                "title": "A",
                "content": [{"text": "one"}, {"text": "two"}],
                "citations": {"enabled": True},
            }
        },
    ),
    (
        ToolAddition(ToolReference("mcp", "n", "s")),
        {"toolAddition": {"tool": {"type": "mcp", "name": "n", "serverName": "s"}}},
    ),
    (ToolRemoval(ToolReference(name="n")), {"toolRemoval": {"tool": {"name": "n"}}}),
]

TOOL = ToolSpec("search", {"type": "object", "properties": {"q": {"type": "string"}}}, "Searches.", True)
TOOL_WIRE = {
    "toolSpec": {
        "name": "search",
        "description": "Searches.",
        "inputSchema": {"json": {"type": "object", "properties": {"q": {"type": "string"}}}},
        "strict": True,
    }
}
USER = Message.user("Hi")
USER_WIRE = {"role": "user", "content": [{"text": "Hi"}]}
REQUESTS: list[tuple[ConverseRequest, Any]] = [
    (ConverseRequest(model="m"), {}),
    (ConverseRequest(model="m", messages=(USER,)), {"messages": [USER_WIRE]}),
    (
        ConverseRequest(
            model="m",
            messages=(USER, Message.assistant("Ho"), Message("system", (Text("now"),))),
            system=(Text("Be brief."), CachePoint(), GuardContent(content=GuardText("g"))),
            inference_config=InferenceConfig(9, 0.5, 1.0, ("END",)),
            tools=(TOOL, SystemTool("nova_grounding"), CachePoint(ttl="5m")),
            tool_choice=ToolChoice("tool", "search"),
            guardrail_config=GuardrailConfig("abc", "1", "enabled", "async"),
            extra={"top_k": 5, "thinking": {"type": "enabled"}},
            prompt_variables={"x": "1", "text": "y"},
            additional_model_response_field_paths=("/stop_sequence",),
            request_metadata={"team": "a"},
            performance_config=PerformanceConfig("optimized"),
            service_tier=ServiceTier("flex"),
            output_config=OutputConfig(JsonSchema({"type": "object"}, "answer", "An answer."), "low"),
        ),
        {
            "messages": [
                USER_WIRE,
                {"role": "assistant", "content": [{"text": "Ho"}]},
                {"role": "system", "content": [{"text": "now"}]},
            ],
            "system": [
                {"text": "Be brief."},
                {"cachePoint": {"type": "default"}},
                {"guardContent": {"text": {"text": "g"}}},
            ],
            "inferenceConfig": {"maxTokens": 9, "temperature": 0.5, "topP": 1.0, "stopSequences": ["END"]},
            "toolConfig": {
                "tools": [
                    TOOL_WIRE,
                    {"systemTool": {"name": "nova_grounding"}},
                    {"cachePoint": {"type": "default", "ttl": "5m"}},
                ],
                "toolChoice": {"tool": {"name": "search"}},
            },
            "guardrailConfig": {
                "guardrailIdentifier": "abc",
                "guardrailVersion": "1",
                "trace": "enabled",
                "streamProcessingMode": "async",
            },
            "additionalModelRequestFields": {"top_k": 5, "thinking": {"type": "enabled"}},
            "promptVariables": {"x": {"text": "1"}, "text": {"text": "y"}},
            "additionalModelResponseFieldPaths": ["/stop_sequence"],
            "requestMetadata": {"team": "a"},
            "performanceConfig": {"latency": "optimized"},
            "serviceTier": {"type": "flex"},
            "outputConfig": {
                "textFormat": {
                    "type": "json_schema",
                    "structure": {
                        "jsonSchema": {"schema": '{"type":"object"}', "name": "answer", "description": "An answer."}
                    },
                },
                "effort": "low",
            },
        },
    ),
    *(
        (
            ConverseRequest(model="m", tools=(TOOL,), tool_choice=ToolChoice(kind)),
            {"toolConfig": {"tools": [TOOL_WIRE], "toolChoice": {kind: {}}}},
        )
        for kind in ("auto", "any")
    ),
]

ANSWER = Message.assistant("Hello")
ANSWER_WIRE = {"message": {"role": "assistant", "content": [{"text": "Hello"}]}}
RESPONSES = [
    (
        ConverseResponse(
            message=ANSWER, stop_reason="end_turn", usage=Usage(1, 2, 3), latency_ms=4, messages=(ANSWER,)
        ),
        {
            "output": ANSWER_WIRE,
            "stopReason": "end_turn",
            "usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3},
            "metrics": {"latencyMs": 4},
        },
    ),
    (
        ConverseResponse(
            message=ANSWER,
            stop_reason="a_reason_of_tomorrow",
            usage=Usage(1, 2, 3, 4, 5, (CacheDetail("5m", 4), CacheDetail("1h", 1))),
            latency_ms=4,
            extra={"stop_sequence": None},
            trace={"promptRouter": {"invokedModelId": "m"}},
            performance_config=PerformanceConfig("standard"),
            service_tier=ServiceTier("default"),
            messages=(ANSWER,),
        ),
        {
            "output": ANSWER_WIRE,
            "stopReason": "a_reason_of_tomorrow",
            "usage": {
                "inputTokens": 1,
                "outputTokens": 2,
                "totalTokens": 3,
                "cacheReadInputTokens": 4,
                "cacheWriteInputTokens": 5,
                "cacheDetails": [{"ttl": "5m", "inputTokens": 4}, {"ttl": "1h", "inputTokens": 1}],
            },
            "metrics": {"latencyMs": 4},
            "additionalModelResponseFields": {"stop_sequence": None},
            "trace": {"promptRouter": {"invokedModelId": "m"}},
            "performanceConfig": {"latency": "standard"},
            "serviceTier": {"type": "default"},
        },
    ),
]


# --- both ways -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("block", "wire"), BLOCKS)
def test_blocks(block, wire):
    assert converse.encode_block(block) == wire
    assert converse.decode_block(wire) == block
    assert converse.decode_block(over_http(wire)) == block
    validate("Converse", {"messages": [{"role": "user", "content": [wire]}]})


@pytest.mark.parametrize(("block", "wire"), BLOCKS)
def test_botocore_reads_our_blocks_and_we_read_what_it_read(block, wire):
    response = {**RESPONSES[0][1], "output": {"message": {"role": "assistant", "content": [wire]}}}
    answer = {"body": msgspec.json.encode(response), "headers": {}, "status_code": 200}
    parsed = create_parser("rest-json").parse(answer, MODEL.operation_model("Converse").output_shape)
    assert converse.decode_response(parsed).message.content == (block,)


@pytest.mark.parametrize(("request_", "wire"), REQUESTS)
def test_requests(request_, wire):
    assert converse.encode_request(request_, stream=True) == wire
    assert converse.decode_request("m", wire) == request_
    assert converse.decode_request("m", over_http(wire)) == request_
    validate("ConverseStream", wire)
    validate("Converse", converse.encode_request(request_))


@pytest.mark.parametrize(("response", "wire"), RESPONSES)
def test_responses(response, wire):
    assert converse.encode_response(response) == wire
    found = converse.decode_response(wire, model="m", request_id="r")
    assert found.raw is wire
    assert found == msgspec.structs.replace(response, model="m", request_id="r", raw=wire)
    assert found.messages == (found.message,)


def test_stream_processing_mode_belongs_to_the_stream_only():
    request = ConverseRequest(model="m", guardrail_config=GuardrailConfig("abc", stream_processing_mode="sync"))
    assert converse.encode_request(request) == {"guardrailConfig": {"guardrailIdentifier": "abc"}}
    assert converse.encode_request(request, stream=True)["guardrailConfig"]["streamProcessingMode"] == "sync"


def test_counting_takes_the_prompt_and_nothing_else():
    full, wire = REQUESTS[2]
    counted = converse.encode_count_tokens(CountTokensRequest(model="m", converse=full))
    prompt = {name: wire[name] for name in ("messages", "system", "toolConfig", "additionalModelRequestFields")}
    assert counted == {"input": {"converse": prompt}}
    validate("CountTokens", counted)
    again = converse.decode_count_tokens_request("m", over_http(counted))
    assert converse.encode_count_tokens(again) == counted
    assert (again.model, again.converse.model, again.converse.tools) == ("m", "m", full.tools)
    assert converse.decode_count_tokens(converse.encode_count_tokens_response(12)) == 12


def test_counting_a_native_body_is_not_converses_affair():
    with pytest.raises(UnsupportedError, match="invokeModel"):
        converse.decode_count_tokens_request("m", {"input": {"invokeModel": {"body": "e30="}}})


# --- open for what is new --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wire",
    [
        {"toolUse": {"toolUseId": "a", "name": "n", "input": 1, "addedTomorrow": {"b": [1]}}},
        {"reasoningContent": {"reasoningText": {"text": "a", "addedTomorrow": 1}}},
        {"cachePoint": {"type": "default", "addedTomorrow": 1}},
        {"image": {"format": "png", "source": {"bytes": RAW}, "addedTomorrow": 1}},
        {"video": {"format": "mp4", "source": {"bytes": RAW}, "addedTomorrow": 1}},
        {"audio": {"format": "wav", "source": {"bytes": RAW}, "addedTomorrow": 1}},
        {"document": {"name": "d", "source": {"text": "t"}, "addedTomorrow": 1}},
        {"toolResult": {"toolUseId": "a", "content": [], "addedTomorrow": 1}},
        {"searchResult": {"source": "s", "title": "t", "content": [], "addedTomorrow": 1}},
        {"citationsContent": {"content": [], "citations": [], "addedTomorrow": 1}},
        {"toolAddition": {"tool": {"name": "n"}, "addedTomorrow": 1}},
        {"toolRemoval": {"tool": {"name": "n"}, "addedTomorrow": 1}},
    ],
)
def test_unknown_members_of_known_blocks_are_sent_back(wire):
    block: Any = converse.decode_block(wire)
    assert "addedTomorrow" in block.extra
    assert converse.encode_block(block) == wire


@pytest.mark.parametrize(
    ("decode", "encode", "wire", "unknown"),
    [
        (converse.decode_block, converse.encode_block, {"new": {"a": 1}}, Unknown("new", {"a": 1})),
        (converse.decode_block, converse.encode_block, {"SDK_UNKNOWN_MEMBER": {"name": "new"}}, Unknown("new")),
        (
            converse.decode_block,
            converse.encode_block,
            {"reasoningContent": {"new": 1}},
            Unknown("reasoningContent", {"new": 1}),
        ),
        (converse.decode_system_block, converse.encode_system_block, {"image": {}}, Unknown("image", {})),
        (converse.decode_tool, converse.encode_tool, {"new": {}}, Unknown("new", {})),
    ],
)
def test_unknown_variants_are_readable_but_not_writable(decode, encode, wire, unknown):
    assert decode(wire) == unknown
    with pytest.raises(UnsupportedError, match=repr(unknown.tag)):
        encode(unknown)


@pytest.mark.parametrize(
    "block",
    [
        Image("png", Unknown("new")),
        GuardContent(content=Unknown("new")),
        ToolResult("a", (Unknown("new"),)),
        Citations((Unknown("new"),)),
        Citations(citations=(Citation(source_content=(Unknown("new"),)),)),
        Citations(citations=(Citation(location=Unknown("new")),)),
    ],
)
def test_unknown_variants_inside_a_block_are_not_writable(block):
    with pytest.raises(UnsupportedError, match="'new'"):
        converse.encode_block(block)


def test_values_that_converse_has_no_word_for():
    with pytest.raises(UnsupportedError, match="auto, any or tool"):
        converse.encode_tool_choice(ToolChoice("none"))
    with pytest.raises(UnsupportedError, match="char, page or chunk"):
        converse.encode_block(Citations(citations=(Citation(location=DocumentLocation("word")),)))
    assert converse.decode_tool_choice({"newChoice": {}}) == ToolChoice("newChoice")


def test_unknown_members_of_a_request_are_ignored():
    assert converse.decode_request("m", {"addedTomorrow": 1, "messages": [USER_WIRE]}).messages == (USER,)


def test_what_the_real_service_adds_to_usage():
    usage = {
        "inputTokens": 1,
        "outputTokens": 2,
        "totalTokens": 3,
        "cacheReadInputTokenCount": 4,
        "cacheWriteInputTokenCount": 0,
        "cacheReadInputTokens": 4,
        "serverToolUsage": {},
    }
    found = converse.decode_response({**RESPONSES[0][1], "usage": usage}).usage
    assert found == Usage(1, 2, 3, 4, 0, extra={"serverToolUsage": {}})


def answered(content, **members):
    wire = {"output": {"message": {"role": "assistant", "content": content}}, "stopReason": "end_turn", **members}
    return converse.decode_response(wire)


@pytest.mark.parametrize(
    ("wire", "kept"),
    [
        ({}, Unknown("", {})),
        ({"reasoningContent": {}}, Unknown("reasoningContent", {})),
        ({"text": 3}, Unknown("text", 3)),
        ({"toolUse": {"name": "x", "input": {}}}, Unknown("toolUse", {"name": "x", "input": {}})),
        ({"text": "a", "image": {}}, Unknown("", {"text": "a", "image": {}})),
        ("text", Unknown("", "text")),
    ],
)
def test_a_block_that_makes_no_sense_does_not_cost_the_answer(wire, kept):
    response = answered([{"text": "Paid for."}, wire])
    assert response.message.content == (Text("Paid for."), kept)
    assert "a block of the answer cannot be read and is kept as Unknown" in response.warnings[0]


@pytest.mark.parametrize("odd", [[1], "text", 3, {"a": 1}, False])
def test_additional_fields_and_trace_are_kept_as_they_came(odd):
    response = answered([{"text": "x"}], additionalModelResponseFields=odd, trace=odd)
    assert (response.extra, response.trace, response.warnings) == (odd, odd, ())
    stop = converse.decode_event("messageStop", {"stopReason": "end_turn", "additionalModelResponseFields": odd})
    assert stop == MessageStop("end_turn", odd)


@pytest.mark.parametrize(
    "wire", [{"usage": {"inputTokens": "many"}}, {"usage": 3}, {"metrics": []}, {"serviceTier": {}}]
)
def test_a_figure_that_makes_no_sense_does_not_cost_the_answer(wire):
    response = answered([{"text": "x"}], **wire)
    assert (response.text, response.usage, response.latency_ms) == ("x", Usage(), None)
    assert "a figure of the answer cannot be read" in response.warnings[0]
    assert response.raw.items() >= wire.items()
    assert converse.decode_event("metadata", wire).warnings == response.warnings


def test_only_the_services_own_type_of_a_tool_use_is_written():
    wire = {"toolUse": {"toolUseId": "t", "name": "f", "input": {}, "type": "tool_use"}}
    block = converse.decode_block(wire)
    assert block.type == "tool_use"
    assert converse.encode_block(block) == {"toolUse": {"toolUseId": "t", "name": "f", "input": {}}}


def test_a_json_null_of_a_tool_survives():
    block = ToolResult("a", (Json(None),))
    assert converse.decode_block(converse.encode_block(block)) == block


def test_an_answer_without_usage_metrics_and_stop_reason():
    found = converse.decode_response({"output": ANSWER_WIRE})
    assert (found.stop_reason, found.usage, found.latency_ms) == (None, Usage(), None)


# --- malformed -------------------------------------------------------------------------------------------------------


def content(block):
    return {"messages": [USER_WIRE, {"role": "user", "content": [{"text": "a"}, block]}]}


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        ([], "the body must be a JSON object"),
        (None, "the body must be a JSON object"),
        ({"messages": {}}, "messages: must be a list"),
        ({"messages": ["hi"]}, "messages.0: must be an object"),
        ({"messages": [{"content": []}]}, "messages.0.role: is required"),
        ({"messages": [{"role": "user"}]}, "messages.0.content: is required"),
        ({"messages": [{"role": "user", "content": "hi"}]}, "messages.0.content: must be a list"),
        (content({}), "messages.1.content.1: must have one and only one member set (found none)"),
        (content({"text": None}), "messages.1.content.1: must have one and only one member set (found none)"),
        (content({"__type": "x"}), "messages.1.content.1: must have one and only one member set (found none)"),
        (
            content({"text": "a", "image": {}}),
            "messages.1.content.1: must have one and only one member set (found image",
        ),
        (content({"text": 5}), "messages.1.content.1.text: must be a string"),
        (content({"image": "x"}), "messages.1.content.1.image: must be an object"),
        (content({"image": {"format": "png"}}), "messages.1.content.1.image.source: is required"),
        (
            content({"image": {"format": "png", "source": {"bytes": "not base64!"}}}),
            "messages.1.content.1.image.source.bytes: is not valid base64",
        ),
        (
            content({"image": {"format": "png", "source": {"bytes": "YQ"}}}),
            "messages.1.content.1.image.source.bytes: is not valid base64",
        ),
        (
            content({"image": {"format": "png", "source": {"bytes": 5}}}),
            "messages.1.content.1.image.source.bytes: must be bytes or a base64 string",
        ),
        (content({"toolUse": {"toolUseId": "a", "name": "b"}}), "messages.1.content.1.toolUse.input: is required"),
        (
            content({"document": {"name": "d", "source": {"text": "t"}, "citations": {"enabled": "yes"}}}),
            "messages.1.content.1.document.citations.enabled: must be true or false",
        ),
        (
            content({"toolResult": {"toolUseId": "a", "content": [{"json": 1}, {"text": 1}]}}),
            "messages.1.content.1.toolResult.content.1.text: must be a string",
        ),
        (
            content({"guardContent": {"text": {"text": "a", "qualifiers": [1]}}}),
            "messages.1.content.1.guardContent.text.qualifiers.0: must be a string",
        ),
        ({"inferenceConfig": {"maxTokens": "9"}}, "inferenceConfig.maxTokens: must be an integer"),
        ({"inferenceConfig": {"maxTokens": 9.5}}, "inferenceConfig.maxTokens: must be an integer"),
        ({"inferenceConfig": {"maxTokens": True}}, "inferenceConfig.maxTokens: must be an integer"),
        ({"inferenceConfig": {"temperature": "hot"}}, "inferenceConfig.temperature: must be a number"),
        ({"inferenceConfig": {"stopSequences": [None]}}, "inferenceConfig.stopSequences.0: must be a string"),
        (
            {"toolConfig": {"tools": [{"toolSpec": {"name": "n"}}]}},
            "toolConfig.tools.0.toolSpec.inputSchema: is required",
        ),
        (
            {"toolConfig": {"tools": [], "toolChoice": {"tool": {}}}},
            "toolConfig.toolChoice.tool.name: is required",
        ),
        ({"promptVariables": {"x": "1"}}, "promptVariables.x: must be an object"),
        ({"requestMetadata": {"x": 1}}, "requestMetadata.x: must be a string"),
        ({"serviceTier": {}}, "serviceTier.type: is required"),
        ({"additionalModelRequestFields": [1]}, "additionalModelRequestFields: must be an object"),
        ({"outputConfig": {"textFormat": {"type": "xml"}}}, "outputConfig.textFormat.type: must be json_schema"),
        (
            {"outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "{"}}}}},
            "outputConfig.textFormat.structure.jsonSchema.schema: must be the text of a JSON object",
        ),
    ],
)
def test_a_malformed_request_says_where(wire, message):
    with pytest.raises(ValidationError) as caught:
        converse.decode_request("m", wire)
    assert caught.value.message.startswith(message)
    assert str(caught.value).startswith(message)
    assert caught.value.code == "ValidationException"


def test_whole_floats_are_integers_and_integers_are_numbers():
    config = converse.decode_request("m", {"inferenceConfig": {"maxTokens": 9.0, "temperature": 1}}).inference_config
    assert config == InferenceConfig(9, 1.0)
    assert type(config.max_tokens) is int
    assert type(config.temperature) is float


@pytest.mark.parametrize("data", [RAW, bytearray(RAW), memoryview(RAW), base64.b64encode(RAW).decode()])
def test_binary_content_in_every_form(data):
    wire = {"image": {"format": "png", "source": {"bytes": data}}}
    assert converse.decode_block(wire) == Image("png", Bytes(RAW))


@pytest.mark.parametrize("wire", [None, [], {}, {"output": {}}, {"output": {"message": {"role": 1, "content": []}}}])
def test_a_malformed_answer_is_the_services_fault(wire):
    with pytest.raises(ServerError, match="cannot be read") as caught:
        converse.decode_response(wire, request_id="r")
    assert caught.value.request_id == "r"
    assert not caught.value.retryable


@pytest.mark.parametrize("wire", [None, {}, {"inputTokens": "5"}])
def test_a_malformed_count(wire):
    with pytest.raises(ServerError, match="cannot be read"):
        converse.decode_count_tokens(wire)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def places(value, path=()):
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*path, key))


def replaced(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], new)
    return copy


FULL = {**REQUESTS[2][1], "messages": [{"role": "user", "content": [wire for _, wire in BLOCKS]}]}


@given(st.sampled_from(list(places(FULL))), JSON)
def test_any_value_anywhere_gives_a_request_or_a_typed_error(path, value):
    with suppress(ValidationError):
        converse.decode_request("m", replaced(FULL, path, value))


@given(st.sampled_from(list(places(RESPONSES[1][1]))), JSON)
def test_any_value_anywhere_gives_an_answer_or_a_typed_error(path, value):
    with suppress(ServerError):
        converse.decode_response(replaced(RESPONSES[1][1], path, value))


# --- saved conversations ---------------------------------------------------------------------------------------------


def test_a_conversation_saves_and_loads_equal():
    conversation = (
        Message("user", tuple(block for block, _ in BLOCKS)),
        Message("assistant", (Unknown("new", {"a": 1}), ToolUse("a", "b", {}, extra={"addedTomorrow": 1}))),
    )
    saved = msgspec.json.encode(conversation)
    assert msgspec.json.decode(saved, type=tuple[Message, ...]) == conversation


TEXTS = st.text(max_size=20)
THOUGHTS = st.builds(Reasoning, TEXTS, st.none() | TEXTS) | st.builds(
    Reasoning, st.just(""), st.none(), st.binary(max_size=20)
)
KEPT = THOUGHTS | st.builds(Text, TEXTS) | st.builds(Image, TEXTS, st.builds(Bytes, st.binary(max_size=20)))


@given(st.lists(KEPT, max_size=5))
def test_thinking_survives_the_file_and_the_wire(blocks):
    message = Message("assistant", tuple(blocks))
    assert msgspec.json.decode(msgspec.json.encode(message), type=Message) == message
    assert converse.decode_message(over_http(converse.encode_message(message))) == message


@pytest.mark.parametrize(("response", "_"), RESPONSES)
def test_a_response_saves_and_loads_equal(response, _):
    assert msgspec.json.decode(msgspec.json.encode(response), type=ConverseResponse) == response


@pytest.mark.parametrize(("request_", "_"), REQUESTS)
def test_a_request_saves_and_loads_equal(request_, _):
    assert msgspec.json.decode(msgspec.json.encode(request_), type=ConverseRequest) == request_
