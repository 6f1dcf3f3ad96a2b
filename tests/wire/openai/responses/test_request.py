"""Requests of the Responses API, both ways."""

from contextlib import suppress
from typing import Any

import pytest

from awsllm import errors
from awsllm.types import (
    SERVER_TOOL_USE,
    Audio,
    Bytes,
    CachePoint,
    Citation,
    Citations,
    ConverseRequest,
    Document,
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
    ServiceTier,
    SystemTool,
    Text,
    ToolChoice,
    ToolResult,
    ToolSpec,
    ToolUse,
    Unknown,
    Video,
    WebLocation,
)
from awsllm.wire.openai.responses.request import decode_request, encode_request, warnings
from tests.support.responses import CUSTOM, SEARCH, THOUGHT
from tests.support.spoiled import spoiled

PNG = b"\x89PNG\r\n"
LOOSE = {"type": "object", "properties": {"city": {"type": "string"}}}
SCHEMA = {**LOOSE, "required": ["city"], "additionalProperties": False}
USE = ToolUse("c", "weather", {"city": "Køln"})
THINKING = Reasoning(
    "First.\n\nThen, naïvely.",
    'openai-reasoning:{"id":"rs_1","summary":[6,14],"encrypted_content":"gAAAAABo"}',
)


def request(*messages: Message, **members: Any) -> ConverseRequest:
    return ConverseRequest(model="m", messages=messages or (Message.user("Hi"),), **members)


def body(*items: JsonObject, **members: Any) -> JsonObject:
    return {"model": "m", "input": list(items) or [said("user", "Hi")], **members}


def said(role: str, content: Any) -> JsonObject:
    return {"type": "message", "role": role, "content": content}


REQUESTS: dict[str, tuple[ConverseRequest, JsonObject]] = {
    "one text": (request(), body()),
    "knobs": (
        request(
            system=(Text("Be kind"),),
            inference_config=InferenceConfig(max_tokens=9, temperature=0.5, top_p=0.25),
            service_tier=ServiceTier("flex"),
        ),
        body(instructions="Be kind", max_output_tokens=9, temperature=0.5, top_p=0.25, service_tier="flex"),
    ),
    "parts": (
        request(Message.user("What?", Image("png", Bytes(PNG)), Image("jpeg", S3Location("s3://b/a.jpeg")))),
        body(
            said(
                "user",
                [
                    {"type": "input_text", "text": "What?"},
                    {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,iVBORw0K"},
                    {"type": "input_image", "detail": "auto", "image_url": "s3://b/a.jpeg"},
                ],
            )
        ),
    ),
    "a file": (
        request(Message.user(Document("report", Bytes(b"%PDF"), "pdf"), "Sum up")),
        body(
            said(
                "user",
                [
                    {
                        "type": "input_file",
                        "filename": "report.pdf",
                        "file_data": "data:application/pdf;base64,JVBERg==",
                    },
                    {"type": "input_text", "text": "Sum up"},
                ],
            )
        ),
    ),
    "thinking, parallel calls, their results": (
        request(
            Message.user("Weather?"),
            Message.assistant(THINKING, "One moment.", USE, ToolUse("d", "weather", {}, extra={"namespace": "n"})),
            Message.user(
                ToolResult("c", (Text("rain"),)),
                ToolResult("d", (Text("sun"), Image("png", Bytes(PNG)))),
                "And now?",
            ),
        ),
        body(
            said("user", "Weather?"),
            THOUGHT,
            said("assistant", "One moment."),
            {"type": "function_call", "call_id": "c", "name": "weather", "arguments": '{"city":"Køln"}'},
            {"type": "function_call", "call_id": "d", "name": "weather", "arguments": "{}", "namespace": "n"},
            {"type": "function_call_output", "call_id": "c", "output": "rain"},
            {
                "type": "function_call_output",
                "call_id": "d",
                "output": [
                    {"type": "input_text", "text": "sun"},
                    {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,iVBORw0K"},
                ],
            },
            said("user", "And now?"),
        ),
    ),
    "a custom tool, and one of the service": (
        request(
            Message.user("Run"),
            Message.assistant(
                ToolUse("ws_1", "web_search_call", SEARCH, SERVER_TOOL_USE),
                ToolUse("call_2", "run", {"input": "print()"}, "custom_tool_call"),
            ),
            Message.user(ToolResult("call_2", (Text("ok"),))),
        ),
        body(
            said("user", "Run"),
            SEARCH,
            {"type": "custom_tool_call", "call_id": "call_2", "name": "run", "input": "print()"},
            {"type": "custom_tool_call_output", "call_id": "call_2", "output": "ok"},
        ),
    ),
    "what only the service reads": (
        request(
            Message.user(Unknown("input_image", {"type": "input_image", "image_url": "https://e.example/a.png"})),
            Message.assistant("Hm"),
            Message.user(Unknown("mcp_approval_response", {"type": "mcp_approval_response", "approve": True})),
        ),
        body(
            said("user", [{"type": "input_image", "image_url": "https://e.example/a.png"}]),
            said("assistant", "Hm"),
            {"type": "mcp_approval_response", "approve": True},
        ),
    ),
    "tools": (
        request(
            tools=(ToolSpec("weather", SCHEMA, "What it is like", True), ToolSpec("now", {"type": "object"})),
            tool_choice=ToolChoice("tool", "weather"),
            extra={"tools": [{"type": "web_search"}], "parallel_tool_calls": False},
        ),
        body(
            tools=[
                {
                    "type": "function",
                    "name": "weather",
                    "description": "What it is like",
                    "parameters": SCHEMA,
                    "strict": True,
                },
                {"type": "function", "name": "now", "parameters": {"type": "object"}, "strict": False},
                {"type": "web_search"},
            ],
            tool_choice={"type": "function", "name": "weather"},
            parallel_tool_calls=False,
        ),
    ),
    "some tool": (
        request(tools=(ToolSpec("now", {"type": "object"}),), tool_choice=ToolChoice("any")),
        body(
            tools=[{"type": "function", "name": "now", "parameters": {"type": "object"}, "strict": False}],
            tool_choice="required",
        ),
    ),
    "a schema, an effort, and what else is of those members": (
        request(
            output_config=OutputConfig(JsonSchema(SCHEMA, "city", "Where"), "low"),
            extra={"text": {"verbosity": "low"}, "reasoning": {"summary": "auto"}},
        ),
        body(
            text={
                "format": {
                    "type": "json_schema",
                    "name": "city",
                    "description": "Where",
                    "schema": SCHEMA,
                    "strict": True,
                },
                "verbosity": "low",
            },
            reasoning={"effort": "low", "summary": "auto"},
        ),
    ),
    "a nameless schema": (
        request(output_config=OutputConfig(JsonSchema(SCHEMA))),
        body(text={"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True}}),
    ),
    "a schema that cannot be enforced": (
        request(output_config=OutputConfig(JsonSchema(LOOSE, "city"))),
        body(text={"format": {"type": "json_schema", "name": "city", "schema": LOOSE, "strict": False}}),
    ),
    "what the service keeps": (
        request(extra={"store": True, "previous_response_id": "resp_1", "include": ["reasoning.encrypted_content"]}),
        body(store=True, previous_response_id="resp_1", include=["reasoning.encrypted_content"]),
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_both_ways(name: str) -> None:
    neutral, wire = REQUESTS[name]
    assert encode_request(neutral) == wire
    assert decode_request("m", wire) == neutral


def test_a_stream_is_asked_for() -> None:
    assert encode_request(request(), stream=True) == body(stream=True)


WRITTEN: dict[str, tuple[Message, list[JsonObject]]] = {
    "texts of documents": (
        Message.user(Document("n", DocumentText("words"), "txt"), SearchResult("s", "t", ("p",))),
        [
            said(
                "user",
                [
                    {"type": "input_text", "text": '<document name="n">\nwords\n</document>'},
                    {"type": "input_text", "text": '<search_result source="s" title="t">\np\n</search_result>'},
                ],
            )
        ],
    ),
    "JSON in a result": (
        Message.user(ToolResult("c", (Json({"a": 1}),))),
        [{"type": "function_call_output", "call_id": "c", "output": '{"a": 1}'}],
    ),
    "an empty result": (
        Message.user(ToolResult("c", ())),
        [{"type": "function_call_output", "call_id": "c", "output": ""}],
    ),
    "what is said between results": (
        Message.user("a", ToolResult("c", (Text("x"),)), "b"),
        [said("user", "a"), {"type": "function_call_output", "call_id": "c", "output": "x"}, said("user", "b")],
    ),
    "citations": (
        Message.assistant(Citations((Text("Rain"),), (Citation(location=WebLocation("u")), Citation(title="x")))),
        [
            said(
                "assistant",
                [
                    {
                        "type": "output_text",
                        "text": "Rain",
                        "annotations": [
                            {"type": "url_citation", "start_index": 0, "end_index": 4, "title": "u", "url": "u"}
                        ],
                    }
                ],
            )
        ],
    ),
    "arguments that are no JSON": (
        Message.assistant(ToolUse("c", "f", '{"a')),
        [{"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a'}],
    ),
    "cache points": (Message.user("a", CachePoint()), [said("user", "a")]),
    "another model's thinking": (
        Message.assistant(Reasoning("Hm", "other=="), Reasoning(redacted=b"x"), Reasoning("Hm"), "Hello"),
        [said("assistant", "Hello")],
    ),
    "a signature that was spoiled": (
        Message.assistant(Reasoning("Hm", "openai-reasoning:{"), "x"),
        [said("assistant", "x")],
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written(name: str) -> None:
    message, items = WRITTEN[name]
    assert encode_request(request(message))["input"] == items


READ: dict[str, tuple[JsonObject, ConverseRequest]] = {
    "a text for the input": ({"input": "Hi"}, request()),
    "roles of the system": (
        {"instructions": "a", "input": [{"role": "developer", "content": "b"}, {"role": "user", "content": "Hi"}]},
        request(system=(Text("a"), Text("b"))),
    ),
    "a turn in several items": (
        {
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
                {"role": "user", "content": "b"},
                {"role": "assistant", "content": [{"type": "output_text", "text": "c", "annotations": []}]},
                CUSTOM,
            ]
        },
        request(
            Message.user("a", "b"),
            Message.assistant("c", ToolUse("call_2", "run", {"input": 'print("hé")\n'}, "custom_tool_call")),
        ),
    ),
    "no tool may be used": (
        {"input": "Hi", "tools": [{"type": "function", "name": "f"}], "tool_choice": "none"},
        request(),
    ),
    "a function without parameters": (
        {"input": "Hi", "tools": [{"type": "function", "name": "f"}], "tool_choice": "auto"},
        request(tools=(ToolSpec("f", {"type": "object", "properties": {}}),), tool_choice=ToolChoice("auto")),
    ),
    "any object": (
        {"input": "Hi", "text": {"format": {"type": "json_object"}}},
        request(output_config=OutputConfig(JsonSchema({"type": "object"}))),
    ),
    "plain text": ({"input": "Hi", "text": {"format": {"type": "text"}}, "service_tier": "auto"}, request()),
    "a file that only the service can read": (
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
        request(Message.user(Unknown("input_file", {"type": "input_file", "file_id": "f"}))),
    ),
}


@pytest.mark.parametrize("name", READ)
def test_what_is_read(name: str) -> None:
    wire, expected = READ[name]
    assert decode_request("m", wire) == expected


UNSUPPORTED: dict[str, ConverseRequest] = {
    "stop_sequences": request(inference_config=InferenceConfig(stop_sequences=("x",))),
    "guardrails": request(guardrail_config=GuardrailConfig("g", "1")),
    "prompt variables": request(prompt_variables={"a": "b"}),
    "Audio": request(Message.user(Audio("wav", Bytes(b"x")))),
    "Video": request(Message.user(Video("mp4", Bytes(b"x")))),
    "GuardContent": request(Message.user(GuardContent(GuardText("x")))),
    "guarded content": request(system=(GuardContent(GuardText("x")),)),
    "system block 'new'": request(system=(Unknown("new"),)),
    "content block 'new'": request(Message.user(Unknown("new"))),
    "tool of the kind 'new'": request(tools=(Unknown("new"),)),
    "media source 'new'": request(Message.user(Image("png", Unknown("new")))),
    "a video in a tool result": request(Message.user(ToolResult("c", (Video("mp4", Bytes(b"x")),)))),
    "'new' in a tool result": request(Message.user(ToolResult("c", (Unknown("new"),)))),
    "another service's": request(Message.assistant(ToolUse("c", "web", {"q": 1}, SERVER_TOOL_USE))),
    "Image in a turn of the assistant": request(Message.assistant(Image("png", Bytes(PNG)))),
}


@pytest.mark.parametrize("words", UNSUPPORTED)
def test_what_cannot_be_expressed_raises(words: str) -> None:
    with pytest.raises(errors.UnsupportedError) as caught:
        encode_request(UNSUPPORTED[words])
    assert words in caught.value.message


@pytest.mark.parametrize("message", [Message.user(USE), Message.user(), Message("system", (Reasoning("x"),))])
def test_what_stands_in_the_wrong_turn(message: Message) -> None:
    with pytest.raises(errors.ValidationError):
        encode_request(request(message))


def test_warnings() -> None:
    asked = request(
        Message.user(Document("n", DocumentText("x"), "txt", citations=True), CachePoint()),
        Message.assistant(Reasoning("Hm", "other==")),
        Message.user(ToolResult("c", (Text("x"),), "error")),
        performance_config=PerformanceConfig("optimized"),
        request_metadata={"a": "b"},
        additional_model_response_field_paths=("/a",),
    )
    subjects = [text.partition(":")[0].partition(" of")[0] for text in warnings(asked)]
    assert subjects == [
        *("performance_config", "request_metadata", "additional_model_response_field_paths", "cache points"),
        *("thinking", "citations", "tool results"),
    ]
    assert warnings(REQUESTS["thinking, parallel calls, their results"][0]) == ()


def test_tools_that_the_service_runs() -> None:
    wire = encode_request(request(tools=(SystemTool("web_search"), CachePoint(), Unknown("t", {"type": "mcp"}))))
    assert wire["tools"] == [{"type": "web_search"}, {"type": "mcp"}]


MALFORMED: list[tuple[JsonObject, str]] = [
    ({}, "input: is required"),
    ({"input": 7}, "input: must be a list"),
    ({"input": [{"role": "tool", "content": "x"}]}, "input.0.role: must be"),
    ({"input": [{"role": "user"}]}, "input.0.content: is required"),
    ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input.0.content.0.text: is required"),
    ({"input": [{"type": "function_call", "name": "f"}]}, "input.0.call_id: is required"),
    ({"input": "x", "tools": [{"type": "function"}]}, "tools"),
    ({"input": "x", "tools": [{"type": "function", "name": "f"}], "tool_choice": 7}, "tool_choice: must be"),
    ({"input": "x", "text": {"format": {"type": "json_schema"}}}, "schema: is required"),
]


@pytest.mark.parametrize(("wire", "words"), MALFORMED)
def test_malformed_bodies(wire: JsonObject, words: str) -> None:
    with pytest.raises(errors.ValidationError) as caught:
        decode_request("m", wire)
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"type": "item_reference", "id": "x"}, "item_reference"),
        ({"role": "user", "content": [{"type": "input_newer"}]}, "input_newer"),
    ],
)
def test_what_is_not_served(item: JsonObject, words: str) -> None:
    with pytest.raises(errors.UnsupportedError, match=words):
        decode_request("m", {"input": [item]})


@pytest.mark.parametrize("name", REQUESTS)
def test_a_spoiled_body_raises_nothing_else(name: str) -> None:
    for wire in spoiled(REQUESTS[name][1]):
        if isinstance(wire, dict):
            with suppress(errors.RequestError):
                decode_request("m", wire)
