"""Requests of the OpenAI chat format, both ways."""

import json
from contextlib import suppress

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from awsllm import errors
from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types import (
    Audio,
    Bytes,
    CachePoint,
    ConverseRequest,
    Document,
    DocumentContent,
    DocumentText,
    GuardContent,
    GuardrailConfig,
    GuardText,
    Image,
    InferenceConfig,
    Json,
    JsonSchema,
    Message,
    OutputConfig,
    PerformanceConfig,
    Reasoning,
    S3Location,
    SearchResult,
    SystemTool,
    Text,
    ToolChoice,
    ToolResult,
    ToolSpec,
    ToolUse,
    Unknown,
    Video,
)
from awsllm.wire import openai
from tests.support.completions import call
from tests.support.spoiled import spoiled

PNG = b"\x89PNG\r\n"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def request(*messages: Message, **members: object) -> ConverseRequest:
    return ConverseRequest(model="ep", messages=messages or (Message.user("Hi"),), **members)  # type: ignore[arg-type]


def body(*messages: dict[str, object], **members: object) -> dict[str, object]:
    return {"model": "", "messages": list(messages) or [{"role": "user", "content": "Hi"}], **members}


# --- both ways -------------------------------------------------------------------------------------------------------

REQUESTS = {
    "one text": (request(), body()),
    "system": (
        request(system=(Text(text="Be kind"),)),
        body({"role": "system", "content": "Be kind"}, {"role": "user", "content": "Hi"}),
    ),
    "several texts stay apart": (
        request(Message.user("a", "b")),
        body({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}),
    ),
    "image and audio": (
        request(
            Message.user("What?", Image(format="png", source=Bytes(PNG)), Audio(format="wav", source=Bytes(b"RIFF")))
        ),
        body(
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0K"}},
                    {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
                ],
            }
        ),
    ),
    "parallel tool calls, their results in one turn": (
        request(
            Message.user("Weather?"),
            Message.assistant(
                Reasoning(text="Two cities."),
                "One moment.",
                ToolUse(id="a", name="weather", input={"city": "Köln"}),
                ToolUse(id="b", name="weather", input={"city": "Bonn"}),
            ),
            Message.user(
                ToolResult(tool_use_id="a", content=(Text(text="rain"),)),
                ToolResult(tool_use_id="b", content=(Text(text="sun"), Text(text="warm"))),
                "And now?",
            ),
        ),
        body(
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": "One moment.",
                "reasoning_content": "Two cities.",
                "tool_calls": [call("a", "weather", '{"city":"Köln"}'), call("b", "weather", '{"city":"Bonn"}')],
            },
            {"role": "tool", "tool_call_id": "a", "content": "rain"},
            {
                "role": "tool",
                "tool_call_id": "b",
                "content": [{"type": "text", "text": "sun"}, {"type": "text", "text": "warm"}],
            },
            {"role": "user", "content": "And now?"},
        ),
    ),
    "tool call without text": (
        request(Message.assistant(ToolUse(id="a", name="now", input={}))),
        body({"role": "assistant", "content": None, "tool_calls": [call("a", "now", "{}")]}),
    ),
    "system message in the middle": (
        request(Message.user("Hi"), Message("system", (Text(text="Be brief"),)), Message.user("Go")),
        body(
            {"role": "user", "content": "Hi"},
            {"role": "system", "content": "Be brief"},
            {"role": "user", "content": "Go"},
        ),
    ),
    "settings, and extra as it is": (
        request(
            inference_config=InferenceConfig(max_tokens=64, temperature=0.0, top_p=0.5, stop_sequences=("END", "\n\n")),
            extra={"seed": 7, "top_k": 40, "chat_template_kwargs": {"enable_thinking": False}},
        ),
        body(
            max_tokens=64,
            temperature=0.0,
            top_p=0.5,
            stop=["END", "\n\n"],
            seed=7,
            top_k=40,
            chat_template_kwargs={"enable_thinking": False},
        ),
    ),
    "tools, any": (
        request(
            tools=(ToolSpec("weather", SCHEMA, "Looks it up", strict=True), ToolSpec("now", SCHEMA)),
            tool_choice=ToolChoice("any"),
        ),
        body(
            tools=[
                {
                    "type": "function",
                    "function": {
                        "name": "weather",
                        "description": "Looks it up",
                        "parameters": SCHEMA,
                        "strict": True,
                    },
                },
                {"type": "function", "function": {"name": "now", "parameters": SCHEMA}},
            ],
            tool_choice="required",
        ),
    ),
    "tool choice auto": (request(tool_choice=ToolChoice("auto")), body(tool_choice="auto")),
    "one tool": (
        request(tool_choice=ToolChoice("tool", "weather")),
        body(tool_choice={"type": "function", "function": {"name": "weather"}}),
    ),
    "schema and effort": (
        request(output_config=OutputConfig(JsonSchema(SCHEMA, "place", "A place"), effort="low")),
        body(
            reasoning_effort="low",
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "place", "description": "A place", "schema": SCHEMA, "strict": True},
            },
        ),
    ),
    "schema without a name": (
        request(output_config=OutputConfig(JsonSchema(SCHEMA))),
        body(
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
            }
        ),
    ),
}


@pytest.mark.parametrize(("neutral", "wire"), REQUESTS.values(), ids=REQUESTS)
def test_request_both_ways(neutral: ConverseRequest, wire: dict[str, object]) -> None:
    assert openai.encode_request(neutral) == wire
    assert openai.decode_request("ep", json.loads(json.dumps(wire))) == neutral


def test_stream_asks_for_usage_and_extra_wins() -> None:
    assert openai.encode_request(request(), stream=True) == body(stream=True, stream_options={"include_usage": True})
    mine = request(extra={"stream_options": {"continuous_usage_stats": True}, "model": "tgi", "stream": False})
    wire = openai.encode_request(mine, stream=True)
    assert (wire["stream"], wire["model"], wire["stream_options"]) == (True, "tgi", {"continuous_usage_stats": True})


texts = st.text(min_size=1, max_size=5)
json_objects = st.dictionaries(texts, st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts, max_size=2)
tool_uses = st.builds(ToolUse, id=texts, name=texts, input=json_objects)
results = st.builds(
    ToolResult, tool_use_id=texts, content=st.lists(st.builds(Text, text=texts), min_size=1, max_size=2).map(tuple)
)
images = st.builds(Image, format=st.sampled_from(["png", "webp"]), source=st.builds(Bytes, st.binary()))
user_turns = st.tuples(
    st.lists(results, max_size=2), st.lists(st.builds(Text, text=texts) | images, min_size=1, max_size=2)
).map(lambda pair: Message.user(*pair[0], *pair[1]))
answers = st.tuples(
    st.lists(st.builds(Reasoning, text=texts), max_size=1),
    st.lists(st.builds(Text, text=texts), max_size=1),
    st.lists(tool_uses, max_size=2),
).map(lambda parts: Message.assistant(*(block for part in parts for block in part)))


@given(st.lists(st.tuples(user_turns, answers.filter(lambda m: m.content)), max_size=2), user_turns)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_conversations_survive(pairs: list[tuple[Message, Message]], last: Message) -> None:
    neutral = request(*(message for pair in pairs for message in pair), last)
    assert openai.decode_request("ep", json.loads(json.dumps(openai.encode_request(neutral)))) == neutral


def one_text(block: object) -> str:
    wire = openai.encode_request(request(Message.user(block)))  # type: ignore[arg-type]
    text = wire["messages"][0]["content"]
    assert isinstance(text, str)
    return text


def test_documents_and_passages_become_text() -> None:
    named = Document(name="Rules", source=DocumentText("No dogs."), context="House rules")
    assert one_text(named) == '<document name="Rules">\nHouse rules\n\nNo dogs.\n</document>'
    chunks = Document(name="d", source=DocumentContent(("a", "b")))
    assert one_text(chunks) == '<document name="d">\na\n\nb\n</document>'
    assert "é;1" in one_text(Document(name="d", format="csv", source=Bytes("é;1".encode())))
    assert "u:1" in one_text(SearchResult(source="u:1", title="t", content=("x",)))


def test_tool_results_as_json_and_documents() -> None:
    result = ToolResult(tool_use_id="a", content=(Json(value={"t": 21}), Document(name="d", source=DocumentText("x"))))
    (message,) = openai.encode_request(request(Message.user(result)))["messages"]
    assert message["content"][0] == {"type": "text", "text": '{"t": 21}'}
    assert message["content"][1]["text"].startswith("<document")


INEXPRESSIBLE = {
    "video": request(Message.user(Video(format="mp4", source=Bytes(b"v")))),
    "docx": request(Message.user("q", Document(name="d", format="docx", source=Bytes(b"PK")))),
    "document in S3": request(Message.user(Document(name="d", format="txt", source=S3Location("s3://b/k")))),
    "image in S3": request(Message.user(Image(format="png", source=S3Location("s3://b/k")))),
    "image in a tool result": request(
        Message.user(ToolResult(tool_use_id="a", content=(Image(format="png", source=Bytes(PNG)),)))
    ),
    "guarded text": request(Message.user(GuardContent(content=GuardText("x")))),
    "guarded system": request(system=(GuardContent(content=GuardText("x")),)),
    "unknown block": request(Message.user(Unknown("hologram"))),
    "guardrail": request(guardrail_config=GuardrailConfig("g", "1")),
    "prompt variables": request(prompt_variables={"a": "b"}),
    "system tool": request(tools=(SystemTool("search"),)),
    "several answers": request(extra={"n": 2}),
}


@pytest.mark.parametrize("neutral", INEXPRESSIBLE.values(), ids=INEXPRESSIBLE)
def test_what_cannot_be_expressed_raises(neutral: ConverseRequest) -> None:
    with pytest.raises(UnsupportedError):
        openai.encode_request(neutral)


def test_misplaced_and_empty_turns() -> None:
    with pytest.raises(ValidationError, match="content"):
        openai.encode_request(request(Message("user", ())))
    with pytest.raises(ValidationError, match="belong"):
        openai.encode_request(request(Message.user(ToolUse(id="a", name="b", input={}))))


def test_what_only_tunes_is_a_warning() -> None:
    neutral = request(
        Message.user("q", CachePoint(), Document(name="d", source=DocumentText("x"), citations=True)),
        Message.assistant(
            Reasoning(text="t", signature="s"), Reasoning(redacted=b"r"), ToolUse(id="a", name="n", input={})
        ),
        Message.user(ToolResult(tool_use_id="a", content=(Text(text="boom"),), status="error")),
        performance_config=PerformanceConfig("optimized"),
        request_metadata={"team": "x"},
        tools=(ToolSpec("n", SCHEMA), CachePoint()),
    )
    found = openai.warnings(neutral)
    for word in ("performance_config", "request_metadata", "cache points", "signatures", "citations", "as an error"):
        assert any(word in text for text in found), word
    assert len(found) == 6
    wire = openai.encode_request(neutral)
    assert len(wire["tools"]) == 1
    assert wire["messages"][1]["reasoning_content"] == "t"
    assert openai.warnings(request()) == ()


DECODED = {
    "developer is system": (
        body({"role": "developer", "content": "x"}, {"role": "user", "content": "Hi"}),
        request(system=(Text(text="x"),)),
    ),
    "one stop": (body(stop="END"), request(inference_config=InferenceConfig(stop_sequences=("END",)))),
    "newer limit wins": (
        body(max_tokens=1, max_completion_tokens=2),
        request(inference_config=InferenceConfig(max_tokens=2)),
    ),
    "no tools": (body(tools=[{"function": {"name": "x"}}], tool_choice="none"), request()),
    "json mode": (
        body(response_format={"type": "json_object"}),
        request(output_config=OutputConfig(JsonSchema({"type": "object"}))),
    ),
    "stream and nulls": (body(stream=True, stream_options={}, stop=None, seed=None, tools=None), request()),
    "parameters of no arguments": (
        body(tools=[{"type": "function", "function": {"name": "now"}}]),
        request(tools=(ToolSpec("now", {"type": "object", "properties": {}}),)),
    ),
    "jpg": (
        body({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/jpg;base64,QQ=="}}]}),
        request(Message.user(Image(format="jpeg", source=Bytes(b"A")))),
    ),
}


@pytest.mark.parametrize(("wire", "neutral"), DECODED.values(), ids=DECODED)
def test_requests_that_others_write(wire: dict[str, object], neutral: ConverseRequest) -> None:
    assert openai.decode_request("ep", wire) == neutral


MALFORMED = {
    "no messages": ({}, "messages: is required"),
    "role": (body({"role": "robot", "content": "x"}), "messages.0.role"),
    "content": (body({"role": "user", "content": 7}), "messages.0.content"),
    "part": (body({"role": "user", "content": [{"type": "text"}]}), "messages.0.content.0.text"),
    "part kind": (body({"role": "user", "content": [{"type": "file"}]}), "'file'"),
    "image by URL": (
        body({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/a.png"}}]}),
        "data URL",
    ),
    "base64": (
        body({"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "?", "format": "wav"}}]}),
        "messages.0.content.0.input_audio.data",
    ),
    "tool without id": (body({"role": "tool", "content": "x"}), "messages.0.tool_call_id"),
    "tool kind": (body(tools=[{"type": "retrieval"}]), "'retrieval'"),
    "choice": (body(tool_choice="maybe"), "tool_choice"),
    "temperature": (body(temperature="hot"), "temperature"),
    "several answers": (body(n=3), "n"),
}


@pytest.mark.parametrize(("wire", "message"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_requests_say_where(wire: dict[str, object], message: str) -> None:
    with pytest.raises(errors.RequestError, match=message):
        openai.decode_request("ep", wire)


def test_spoiled_requests_give_typed_errors() -> None:
    for good in (wire for _, wire in REQUESTS.values()):
        for wire in spoiled(good):
            if isinstance(wire, dict):
                with suppress(errors.AwsllmError):
                    read = openai.decode_request("ep", wire)
                    assert msgspec.json.decode(msgspec.json.encode(read), type=ConverseRequest) == read
