"""Requests of the Messages API: what is written is what Anthropic documents, and what is read can be written again."""

import json
from typing import Any

import pytest

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types import (
    Audio,
    Bytes,
    CachePoint,
    Citation,
    Citations,
    ContentBlock,
    ConverseRequest,
    Document,
    DocumentContent,
    DocumentLocation,
    DocumentText,
    GuardContent,
    GuardrailConfig,
    GuardText,
    Image,
    InferenceConfig,
    Json,
    JsonObject,
    JsonSchema,
    Message,
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
    Video,
    WebLocation,
)
from awsllm.wire import body as bodies
from awsllm.wire import invoke
from awsllm.wire.anthropic.body import BODIES, api_headers, decode_counted
from awsllm.wire.anthropic.request import DEFAULT_MAX_TOKENS, decode_request, encode_request, warnings
from tests.support.bodies import PLAIN, ask, payload

BODY = invoke.get("anthropic-messages")
EPHEMERAL = {"type": "ephemeral"}
FEW_TOKENS = InferenceConfig(max_tokens=64)
SPEC = ToolSpec("find", {"type": "object", "properties": {"q": {"type": "string"}}}, "Finds", strict=True)
SPEC_WIRE = {
    "name": "find",
    "description": "Finds",
    "input_schema": {"type": "object", "properties": {"q": {"type": "string"}}},
    "strict": True,
}


def turn(*blocks: ContentBlock, role: str = "user", **members: Any) -> ConverseRequest:
    return ConverseRequest(model="m", messages=(Message(role, blocks),), inference_config=FEW_TOKENS, **members)


def wire_of(*blocks: ContentBlock, role: str = "user") -> list[JsonObject]:
    content: list[JsonObject] = encode_request(turn(*blocks, role=role))["messages"][0]["content"]
    return content


# --- blocks ----------------------------------------------------------------------------------------------------------

PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}
SEARCH = {"type": "web_search_result", "url": "https://e.org", "title": "E", "encrypted_content": "x", "page_age": None}
BLOCKS: list[tuple[ContentBlock, JsonObject]] = [
    (Text("Hi"), {"type": "text", "text": "Hi"}),
    (
        Image("png", Bytes(b"abc")),
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "YWJj"}},
    ),
    (
        Document("d", Bytes(b"%PDF"), "pdf", "about", citations=True),
        {"type": "document", "source": PDF, "title": "d", "context": "about", "citations": {"enabled": True}},
    ),
    (
        Document("d", DocumentText("words")),
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}, "title": "d"},
    ),
    (
        Document("d", DocumentContent(("a", "b"))),
        {
            "type": "document",
            "source": {"type": "content", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            "title": "d",
        },
    ),
    (
        SearchResult("s", "t", ("p",), citations=False),
        {
            "type": "search_result",
            "source": "s",
            "title": "t",
            "content": [{"type": "text", "text": "p"}],
            "citations": {"enabled": False},
        },
    ),
    (Reasoning("hm", "sig=="), {"type": "thinking", "thinking": "hm", "signature": "sig=="}),
    (Reasoning(redacted=b"EmwKAhgB"), {"type": "redacted_thinking", "data": "EmwKAhgB"}),
    (
        ToolUse("t1", "find", {"q": 1}, extra={"caller": {"type": "direct"}}),
        {"type": "tool_use", "id": "t1", "name": "find", "input": {"q": 1}, "caller": {"type": "direct"}},
    ),
    (
        ToolUse("t1", "web_search", {"query": "x"}, "server_tool_use"),
        {"type": "server_tool_use", "id": "t1", "name": "web_search", "input": {"query": "x"}},
    ),
    (
        ToolResult("t1", (Text("a"), Image("gif", Bytes(b"abc")), Document("d", DocumentText("w"))), "error"),
        {
            "type": "tool_result",
            "tool_use_id": "t1",
            "content": [
                {"type": "text", "text": "a"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "YWJj"}},
                {
                    "type": "document",
                    "source": {"type": "text", "media_type": "text/plain", "data": "w"},
                    "title": "d",
                },
            ],
            "is_error": True,
        },
    ),
    (
        ToolResult("t1", (Text("a", extra={"cache_control": EPHEMERAL}),), "success"),
        {
            "type": "tool_result",
            "tool_use_id": "t1",
            "content": [{"type": "text", "text": "a", "cache_control": EPHEMERAL}],
            "is_error": False,
        },
    ),
    (
        ToolResult("t1", (Json([SEARCH]),), type="web_search_tool_result"),
        {"type": "web_search_tool_result", "tool_use_id": "t1", "content": [SEARCH]},
    ),
    (
        ToolResult(
            "t1",
            (Json({"type": "code_execution_tool_result_error", "error_code": "unavailable"}),),
            "error",
            "code_execution_tool_result",
        ),
        {
            "type": "code_execution_tool_result",
            "tool_use_id": "t1",
            "content": {"type": "code_execution_tool_result_error", "error_code": "unavailable"},
        },
    ),
    (
        Citations(
            (Text("cited"),),
            (
                Citation("D", None, (Text("src"),), DocumentLocation("char", 0, 1, 2), {"file_id": "f"}),
                Citation("D", None, (Text("src"),), DocumentLocation("page", 0, 1, 2)),
                Citation(None, None, (Text("src"),), DocumentLocation("chunk", 0, 1, 2)),
                Citation("T", "S", (Text("src"),), SearchResultLocation(0, 1, 2)),
                Citation("W", None, (Text("src"),), WebLocation("https://e.org"), {"encrypted_index": "Eo8B"}),
            ),
        ),
        {
            "type": "text",
            "text": "cited",
            "citations": [
                {
                    "type": "char_location",
                    "cited_text": "src",
                    "document_index": 0,
                    "document_title": "D",
                    "start_char_index": 1,
                    "end_char_index": 2,
                    "file_id": "f",
                },
                {
                    "type": "page_location",
                    "cited_text": "src",
                    "document_index": 0,
                    "document_title": "D",
                    "start_page_number": 1,
                    "end_page_number": 2,
                },
                {
                    "type": "content_block_location",
                    "cited_text": "src",
                    "document_index": 0,
                    "document_title": None,
                    "start_block_index": 1,
                    "end_block_index": 2,
                },
                {
                    "type": "search_result_location",
                    "cited_text": "src",
                    "search_result_index": 0,
                    "source": "S",
                    "title": "T",
                    "start_block_index": 1,
                    "end_block_index": 2,
                },
                {
                    "type": "web_search_result_location",
                    "cited_text": "src",
                    "url": "https://e.org",
                    "title": "W",
                    "encrypted_index": "Eo8B",
                },
            ],
        },
    ),
    (
        ToolAddition(ToolReference("tool_reference", "find")),
        {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "find"}},
    ),
    (
        ToolRemoval(ToolReference("mcp_tool_reference", "find", "s")),
        {"type": "tool_removal", "tool": {"type": "mcp_tool_reference", "name": "find", "server_name": "s"}},
    ),
]


@pytest.mark.parametrize(("block", "wire"), BLOCKS)
def test_a_block_is_written_as_documented_and_read_back(block: ContentBlock, wire: JsonObject) -> None:
    assert wire_of(block) == [wire]
    body = {"max_tokens": 64, "messages": [{"role": "user", "content": [wire]}]}
    assert decode_request("m", body) == turn(block)


def test_what_is_more_than_its_neutral_value_is_kept_as_it_came() -> None:
    nested = {"type": "content", "content": [{"type": "image", "source": {}}]}
    passages = [{"type": "text", "text": "p", "cache_control": EPHEMERAL}]
    search = {"type": "search_result", "source": "s", "title": "t", "content": passages}
    content = [
        {"type": "image", "source": {"type": "url", "url": "https://e.org/a.png"}},
        {"type": "document", "source": {"type": "file", "file_id": "f"}},
        {"type": "document", "source": nested, "title": "d"},
        search,
        {"type": "container_upload", "file_id": "f"},
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "tool_reference", "tool_name": "x"}]},
    ]
    request = decode_request("m", {"max_tokens": 1, "messages": [{"role": "user", "content": content}]})
    assert request.messages[0].content == (
        Image("", Unknown("url", {"type": "url", "url": "https://e.org/a.png"})),
        Document("document", Unknown("file", {"type": "file", "file_id": "f"})),
        Document("d", Unknown("content", nested)),
        Unknown("search_result", search),
        Unknown("container_upload", {"type": "container_upload", "file_id": "f"}),
        ToolResult("t", (Unknown("tool_reference", {"type": "tool_reference", "tool_name": "x"}),)),
    )
    for block in request.messages[0].content:
        with pytest.raises(UnsupportedError, match="Anthropic Messages"):
            wire_of(block)


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        (Audio("mp3", Bytes(b"a")), "an audio"),
        (Video("mp4", Bytes(b"a")), "a video"),
        (GuardContent(GuardText("a")), "guarded content"),
        (Image("png", S3Location("s3://b/k")), "not from S3"),
        (Document("d", S3Location("s3://b/k"), "pdf"), "not from S3"),
        (Document("d", Bytes(b"PK"), "docx"), "extract its text first"),
        (ToolResult("t", (Video("mp4", Bytes(b"a")),)), "in a tool result"),
        (ToolResult("t", (Text("a"),), type="web_search_tool_result"), "not one JSON value"),
        (Citations((Unknown("new"),)), "'new'"),
    ],
)
def test_what_has_no_place_is_refused(block: ContentBlock, problem: str) -> None:
    with pytest.raises(UnsupportedError, match=problem):
        wire_of(block)


def test_text_formats_of_documents_are_sent_as_text() -> None:
    (wire,) = wire_of(Document("d", Bytes("\ufeffaé".encode()), "csv"))
    assert wire["source"] == {"type": "text", "media_type": "text/plain", "data": "aé"}
    with pytest.raises(ValidationError, match="UTF-8"):
        wire_of(Document("d", Bytes(b"\xff"), "txt"))


def test_json_in_a_tool_result_is_sent_as_text_and_arguments_that_did_not_parse_as_an_object() -> None:
    (result,) = wire_of(ToolResult("t", (Json({"a": "é"}),)))
    assert result["content"] == [{"type": "text", "text": '{"a": "é"}'}]
    (use,) = wire_of(ToolUse("t", "f", '{"a": '), role="assistant")
    assert use["input"] == {"INVALID_JSON": '{"a": '}


def test_content_may_be_a_string() -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": "done"}
    messages = [{"role": "system", "content": "late"}, {"role": "user", "content": [result]}]
    request = decode_request("m", {"max_tokens": 1, "system": "sys", "messages": messages})
    assert request.system == (Text("sys"),)
    assert request.messages == (
        Message("system", (Text("late"),)),
        Message("user", (ToolResult("t", (Text("done"),)),)),
    )


# --- thinking and citations of other models --------------------------------------------------------------------------


def test_thinking_and_citations_of_another_model_are_left_out_with_a_warning() -> None:
    blocks = (Reasoning("unsigned"), Reasoning(redacted=b"\xff"), Citations((Text("a"),), (Citation("t"),)))
    request = turn(*blocks, role="assistant")
    assert encode_request(request)["messages"][0]["content"] == [{"type": "text", "text": "a"}]
    assert [text.split()[0] for text in warnings(request)] == ["thinking", "citations"]
    only = ConverseRequest(model="m", messages=(Message("assistant", blocks[:1]), Message.user("go")))
    assert [message["role"] for message in encode_request(only)["messages"]] == ["user"]


# --- cache points ----------------------------------------------------------------------------------------------------


def test_a_cache_point_marks_the_block_before_it_and_back() -> None:
    request = ConverseRequest(
        model="m",
        system=(Text("a"), Text("b"), CachePoint(ttl="1h")),
        messages=(Message("user", (Text("q"), CachePoint(), Text("r"))),),
        tools=(SPEC, CachePoint()),
        inference_config=FEW_TOKENS,
    )
    wire = encode_request(request)
    long = {"type": "ephemeral", "ttl": "1h"}
    assert wire["system"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": long}]
    assert wire["messages"][0]["content"][0] == {"type": "text", "text": "q", "cache_control": EPHEMERAL}
    assert wire["tools"] == [{**SPEC_WIRE, "cache_control": EPHEMERAL}]
    assert decode_request("m", wire) == request


@pytest.mark.parametrize("blocks", [(CachePoint(), Text("a")), (Reasoning("t", "s"), CachePoint(), Text("a"))])
def test_a_cache_point_with_nothing_to_mark_is_refused(blocks: tuple[ContentBlock, ...]) -> None:
    with pytest.raises(ValidationError, match="put it behind"):
        wire_of(*blocks)


# --- the whole body --------------------------------------------------------------------------------------------------


def test_a_request_becomes_the_documented_body_and_back() -> None:
    """AWS, inference parameters of Anthropic's Claude Messages; structured outputs by ``output_config.format``."""
    request = ConverseRequest(
        model="m",
        system=(Text("Be brief."),),
        messages=(Message.user("Hi"), Message.assistant("Well"), Message("system", (Text("Now."),))),
        inference_config=InferenceConfig(100, 0.5, 0.9, ("END",)),
        tools=(SPEC,),
        tool_choice=ToolChoice("tool", "find"),
        output_config=OutputConfig(JsonSchema({"type": "object"}), "low"),
        extra={"top_k": 5, "thinking": {"type": "adaptive"}, "anthropic_beta": ["b-1"], "metadata": {"user_id": "u"}},
    )
    sent = BODY.codec(ConverseRequest).encode_request(request, PLAIN)
    assert sent.json() == {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 100,
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Well"}]},
            {"role": "system", "content": [{"type": "text", "text": "Now."}]},
        ],
        "temperature": 0.5,
        "top_p": 0.9,
        "stop_sequences": ["END"],
        "tools": [SPEC_WIRE],
        "tool_choice": {"type": "tool", "name": "find"},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "top_k": 5,
        "thinking": {"type": "adaptive"},
        "anthropic_beta": ["b-1"],
        "metadata": {"user_id": "u"},
    }
    assert BODY.read("m", sent, PLAIN) == (request, False)


@pytest.mark.parametrize("stream", [False, True])
def test_the_api_itself_names_model_and_stream_in_the_body_and_betas_in_a_header(stream: bool) -> None:
    body = bodies.load("awsllm.wire.anthropic.body", "anthropic")
    assert body in BODIES
    request = turn(Text("Hi"), extra={"anthropic_beta": ["a", "b"], "top_k": 1})
    sent = body.chat.encode_request(request, PLAIN, stream=stream)
    wire = sent.json()
    assert (wire["model"], wire.get("stream")) == ("m", True if stream else None)
    assert not {"anthropic_version", "anthropic_beta"} & wire.keys()
    assert body.read("m", sent, PLAIN) == (turn(Text("Hi"), extra={"top_k": 1}), stream)
    assert api_headers(request) == {"anthropic-version": "2023-06-01", "anthropic-beta": "a,b"}
    assert api_headers(ask()) == {"anthropic-version": "2023-06-01"}


def test_tools_and_output_settings_in_extra_join_those_of_the_request() -> None:
    bash = {"type": "bash_20250124", "name": "bash"}
    request = turn(
        Text("Hi"),
        tools=(SPEC,),
        output_config=OutputConfig(effort="low"),
        extra={"tools": [bash], "output_config": {"task_budget": {"total": 1}}},
    )
    wire = encode_request(request)
    assert wire["tools"] == [SPEC_WIRE, bash]
    assert wire["output_config"] == {"effort": "low", "task_budget": {"total": 1}}
    assert decode_request("m", wire) == request
    assert request.extra == {"tools": [bash], "output_config": {"task_budget": {"total": 1}}}  # as the caller left it


def test_tool_choices_are_read_as_they_mean() -> None:
    def read(choice: JsonObject) -> ConverseRequest:
        return decode_request("m", {**encode_request(turn(Text("Hi"), tools=(SPEC,))), "tool_choice": choice})

    assert read({"type": "none"}) == turn(Text("Hi"))
    assert read({"type": "any"}).tool_choice == ToolChoice("any")
    one = {"type": "auto", "disable_parallel_tool_use": True}
    request = read(one)
    assert (request.tool_choice, request.extra) == (ToolChoice("auto"), {"tool_choice": one})
    assert encode_request(request)["tool_choice"] == one


def test_the_beta_of_structured_outputs_is_read() -> None:
    wire = {**encode_request(turn(Text("Hi"))), "output_format": {"type": "json_schema", "schema": {"a": 1}}}
    assert decode_request("m", wire).output_config == OutputConfig(JsonSchema({"a": 1}))


def test_a_limit_is_sent_because_it_must_be_and_said() -> None:
    request = ask()
    assert encode_request(request)["max_tokens"] == DEFAULT_MAX_TOKENS
    assert any(str(DEFAULT_MAX_TOKENS) in text for text in warnings(request))
    thinking = ask(extra={"thinking": {"type": "enabled", "budget_tokens": 2000}})
    assert encode_request(thinking)["max_tokens"] == DEFAULT_MAX_TOKENS + 2000


def test_what_only_tunes_is_a_warning_and_what_changes_the_answer_is_refused() -> None:
    tuned = turn(
        Text("Hi"),
        performance_config=PerformanceConfig("optimized"),
        service_tier=ServiceTier("flex"),
        request_metadata={"a": "b"},
        additional_model_response_field_paths=("/stop_sequence", "/usage/speed"),
    )
    found = [text.partition(":")[0] for text in warnings(tuned)]
    assert found == [
        "performance_config",
        "service_tier",
        "request_metadata",
        "additional_model_response_field_paths",
    ]
    for request in (
        turn(Text("Hi"), guardrail_config=GuardrailConfig("g", "1")),
        turn(Text("Hi"), prompt_variables={"a": "b"}),
        turn(Text("Hi"), tools=(SystemTool("nova_grounding"),)),
        turn(Text("Hi"), tools=(Unknown("new"),)),
        turn(Text("Hi"), system=(GuardContent(GuardText("a")),)),
    ):
        with pytest.raises(UnsupportedError):
            encode_request(request)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "base64"}}]}]},
            "messages.0.content.0.source.media_type",
        ),
        ({"tools": [{"name": "a", "input_schema": {}}, {"name": "b"}]}, "tools.1.input_schema"),
        ({"output_config": {"format": {"type": "xml"}}}, "format.type"),
        ({"anthropic_version": None}, "anthropic_version"),
    ],
)
def test_a_malformed_body_is_refused_with_its_path(change: JsonObject, path: str) -> None:
    wire = json.loads(BODY.codec(ConverseRequest).encode_request(turn(Text("Hi")), PLAIN).body)
    with pytest.raises(ValidationError, match=path):
        BODY.read("m", payload({**wire, **change}), PLAIN)


def test_a_message_without_content_is_refused() -> None:
    with pytest.raises(ValidationError, match="must have content"):
        encode_request(turn())


def test_a_body_that_is_only_counted_needs_no_limit() -> None:
    """The body in AWS's example of CountTokens has a limit, that of /v1/messages/count_tokens has none."""
    wire = {"messages": [{"role": "user", "content": "Hi"}]}
    assert decode_counted("m", payload(wire)) == ConverseRequest(model="m", messages=(Message.user("Hi"),))
