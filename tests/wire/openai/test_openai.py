"""SageMaker containers' OpenAI chat format: requests, answers, chunks, embeddings, errors, each in both directions."""

import json
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from awsllm import errors
from awsllm.errors import StreamError, UnsupportedError, ValidationError
from awsllm.stream import fold, replay
from awsllm.types import (
    Audio,
    Bytes,
    CachePoint,
    Citation,
    Citations,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    ConverseRequest,
    ConverseResponse,
    Document,
    DocumentContent,
    DocumentText,
    EmbedRequest,
    EmbedResponse,
    GuardContent,
    GuardrailConfig,
    GuardText,
    Image,
    InferenceConfig,
    Json,
    JsonSchema,
    Message,
    MessageStart,
    MessageStop,
    Metadata,
    OutputConfig,
    PerformanceConfig,
    Reasoning,
    ReasoningDelta,
    S3Location,
    SearchResult,
    StreamEvent,
    SystemTool,
    Text,
    TextDelta,
    ToolChoice,
    ToolResult,
    ToolSpec,
    ToolUse,
    ToolUseDelta,
    ToolUseStart,
    Unknown,
    Usage,
    Video,
)
from awsllm.wire import openai
from awsllm.wire.endpoint.errors import decode_error
from awsllm.wire.framing import DONE, FramingDecoder, encode_sse

PNG = b"\x89PNG\r\n"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def request(*messages: Message, **members: object) -> ConverseRequest:
    return ConverseRequest(model="ep", messages=messages or (Message.user("Hi"),), **members)  # type: ignore[arg-type]


def body(*messages: dict[str, object], **members: object) -> dict[str, object]:
    return {"model": "", "messages": list(messages) or [{"role": "user", "content": "Hi"}], **members}


def call(id: str, name: str, arguments: str) -> dict[str, object]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


# --- requests --------------------------------------------------------------------------------------------------------

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
    asked = request(*(message for pair in pairs for message in pair), last)
    assert openai.decode_request("ep", json.loads(json.dumps(openai.encode_request(asked)))) == asked


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
    assert message["content"][0] == {"type": "text", "text": '{"t":21}'}
    assert message["content"][1]["text"].startswith("<document")


INEXPRESSIBLE = {
    "video": request(Message.user(Video(format="mp4", source=Bytes(b"v")))),
    "pdf": request(Message.user("q", Document(name="d", format="pdf", source=Bytes(b"%PDF")))),
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


@pytest.mark.parametrize("asked", INEXPRESSIBLE.values(), ids=INEXPRESSIBLE)
def test_what_cannot_be_expressed_raises(asked: ConverseRequest) -> None:
    with pytest.raises(UnsupportedError):
        openai.encode_request(asked)


def test_misplaced_and_empty_turns() -> None:
    with pytest.raises(ValidationError, match="content"):
        openai.encode_request(request(Message("user", ())))
    with pytest.raises(ValidationError, match="belong"):
        openai.encode_request(request(Message.user(ToolUse(id="a", name="b", input={}))))


def test_what_only_tunes_is_a_warning() -> None:
    asked = request(
        Message.user("q", CachePoint(), Document(name="d", source=DocumentText("x"), citations=True)),
        Message.assistant(
            Reasoning(text="t", signature="s"), Reasoning(redacted=b"r"), ToolUse(id="a", name="n", input={})
        ),
        Message.user(ToolResult(tool_use_id="a", content=(Text(text="boom"),), status="error")),
        performance_config=PerformanceConfig("optimized"),
        request_metadata={"team": "x"},
        tools=(ToolSpec("n", SCHEMA), CachePoint()),
    )
    told = openai.warnings(asked)
    for word in ("performance_config", "request_metadata", "cache points", "signatures", "citations", "as an error"):
        assert any(word in text for text in told), word
    assert len(told) == 6
    wire = openai.encode_request(asked)
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


# --- answers ---------------------------------------------------------------------------------------------------------


def completion(message: dict[str, object], finish: str, usage: object = None, **choice: object) -> dict[str, object]:
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, **choice}],
        "usage": usage,
    }


def response(*blocks: object, stop: str = "end_turn", **members: object) -> ConverseResponse:
    message = Message.assistant(*blocks)  # type: ignore[arg-type]
    return ConverseResponse(message=message, stop_reason=stop, messages=(message,), **members)  # type: ignore[arg-type]


COUNTED = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
ANSWERS = {
    "text": (
        completion({"content": "Hello"}, "stop", COUNTED),
        response("Hello", usage=Usage(10, 2, 12)),
    ),
    "usage unknown": (completion({"content": "Hello"}, "stop"), response("Hello")),
    "cached": (
        completion({"content": "Hello"}, "length", COUNTED | {"prompt_tokens_details": {"cached_tokens": 4}}),
        response("Hello", stop="max_tokens", usage=Usage(6, 2, 12, 4)),
    ),
    "more in the usage": (
        completion({"content": "x"}, "stop", COUNTED | {"completion_tokens_details": {"reasoning_tokens": 1}}),
        response("x", usage=Usage(10, 2, 12, extra={"completion_tokens_details": {"reasoning_tokens": 1}})),
    ),
    "thinking and tools": (
        completion(
            {
                "content": "One moment.",
                "reasoning_content": "Hm",
                "tool_calls": [call("a", "w", '{"city":"Köln"}'), call("b", "w", "{}")],
            },
            "tool_calls",
        ),
        response(
            Reasoning(text="Hm"),
            "One moment.",
            ToolUse(id="a", name="w", input={"city": "Köln"}),
            ToolUse(id="b", name="w", input={}),
            stop="tool_use",
        ),
    ),
    "arguments cut": (
        completion({"content": None, "tool_calls": [call("a", "w", '{"ci')]}, "length"),
        response(ToolUse(id="a", name="w", input='{"ci'), stop="max_tokens"),
    ),
    "filtered": (completion({"content": "x"}, "content_filter"), response("x", stop="content_filtered")),
    "empty": (completion({"content": None}, "stop"), response()),
    "newer reason": (completion({"content": "x"}, "repetition"), response("x", stop="repetition")),
}


@pytest.mark.parametrize(("wire", "neutral"), ANSWERS.values(), ids=ANSWERS)
def test_answer_both_ways(wire: dict[str, object], neutral: ConverseResponse) -> None:
    decoded = openai.decode_response(json.loads(json.dumps(wire)))
    assert decoded.raw == wire
    assert decoded == ConverseResponse(**{name: getattr(neutral, name) for name in FIELDS}, raw=wire)
    assert openai.encode_response(neutral, id="c1", created=5, model="m") == wire


FIELDS = ("message", "messages", "stop_reason", "usage", "model", "request_id", "warnings")
READ = {
    "TGI's end": (completion({"content": "x"}, "eos_token"), response("x")),
    "TGI's stop": (completion({"content": "x"}, "stop_sequence"), response("x", stop="stop_sequence")),
    "vLLM's stop": (completion({"content": "x"}, "stop", stop_reason="END"), response("x", stop="stop_sequence")),
    "vLLM's stop token": (completion({"content": "x"}, "stop", stop_reason=128009), response("x")),
    "SGLang's stop": (completion({"content": "x"}, "stop", matched_stop="END"), response("x", stop="stop_sequence")),
    "forced tool": (
        completion({"tool_calls": [call("a", "w", "{}")]}, "stop"),
        response(ToolUse(id="a", name="w", input={}), stop="tool_use"),
    ),
    "TGI's tools": (
        completion({"tool_calls": {"id": 0, "function": {"name": "w", "arguments": {"a": 1}}}}, "eos_token"),
        response(ToolUse(id="0", name="w", input={"a": 1}), stop="tool_use"),
    ),
    "no id, no arguments": (
        completion({"tool_calls": [{"function": {"name": "w"}}]}, "tool_calls"),
        response(ToolUse(id="call_0", name="w", input={}), stop="tool_use"),
    ),
    "newer name of thinking": (
        completion({"reasoning": "Hm", "content": "x"}, "stop"),
        response(Reasoning(text="Hm"), "x"),
    ),
}


@pytest.mark.parametrize(("wire", "neutral"), READ.values(), ids=READ)
def test_answers_of_other_servers(wire: dict[str, object], neutral: ConverseResponse) -> None:
    decoded = openai.decode_response(wire, model="ep", request_id="r", warnings=("w",))
    assert (decoded.message, decoded.stop_reason) == (neutral.message, neutral.stop_reason)
    assert (decoded.model, decoded.request_id, decoded.warnings) == ("ep", "r", ("w",))


def test_stop_sequence_survives_our_own_server() -> None:
    for extra in (None, {"stop_sequence": "END"}):
        wire = openai.encode_response(response("x", stop="stop_sequence", extra=extra), id="i", created=1, model="m")
        assert wire["choices"][0]["finish_reason"] == "stop"
        assert openai.decode_response(wire).stop_reason == "stop_sequence"


def test_blocks_an_answer_cannot_hold() -> None:
    cited = Citations(content=(Text(text="so"),), citations=(Citation(title="t"),))
    wire = openai.encode_response(response("It is ", cited), id="i", created=1, model="m")
    assert wire["choices"][0]["message"]["content"] == "It is so"
    with pytest.raises(UnsupportedError, match="Image"):
        openai.encode_response(response(Image(format="png", source=Bytes(PNG))), id="i", created=1, model="m")


@pytest.mark.parametrize(
    "wire",
    [{}, {"choices": []}, {"choices": [{"message": "x"}]}, {"choices": "x"}, [[{"generated_text": "x"}]]][:4],
)
def test_not_a_completion(wire: dict[str, object]) -> None:
    with pytest.raises(errors.ServerError, match="not a chat completion"):
        openai.decode_response(wire)


# --- chunks ----------------------------------------------------------------------------------------------------------


def chunk(delta: dict[str, object], finish: str | None = None, **choice: object) -> dict[str, object]:
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish, **choice}]}


def calls(*pieces: tuple[int, str | None, str | None, str]) -> dict[str, object]:
    made = []
    for index, call_id, name, arguments in pieces:
        function = {"arguments": arguments} | ({"name": name} if name else {})
        made.append({"index": index, "function": function} | ({"id": call_id} if call_id else {}))
    return chunk({"tool_calls": made})


USAGE_CHUNK = {"id": "c", "choices": [], "usage": COUNTED}


def events_of(chunks: list[dict[str, object]], *, done: bool = True) -> list[object]:
    decoder = openai.ChunkDecoder(warnings=("w",))
    events = [event for one in chunks for event in decoder.push(one)]
    return [*events, *decoder.finish(done=done)]


def test_chunks_in_converse_order() -> None:
    assert events_of(
        [
            chunk({"role": "assistant", "content": ""}),
            chunk({"reasoning_content": "Hm"}),
            chunk({"content": "Hel"}),
            chunk({"content": "lo"}),
            calls((0, "a", "w", "")),
            calls((0, None, None, '{"x":')),
            calls((1, "b", "w", "{}"), (0, None, None, "1}")),
            chunk({}, "tool_calls"),
            USAGE_CHUNK,
        ]
    ) == [
        MessageStart("assistant"),
        ContentBlockDelta(0, ReasoningDelta(text="Hm")),
        ContentBlockStop(0),
        ContentBlockDelta(1, TextDelta("Hel")),
        ContentBlockDelta(1, TextDelta("lo")),
        ContentBlockStop(1),
        ContentBlockStart(2, ToolUseStart("a", "w")),
        ContentBlockDelta(2, ToolUseDelta('{"x":')),
        ContentBlockStart(3, ToolUseStart("b", "w")),
        ContentBlockDelta(3, ToolUseDelta("{}")),
        ContentBlockDelta(2, ToolUseDelta("1}")),
        ContentBlockStop(2),
        ContentBlockStop(3),
        MessageStop("tool_use"),
        Metadata(Usage(10, 2, 12), warnings=("w",)),
    ]


TWO_CALLS = (ToolUse(id="a", name="w", input={"x": 1}), ToolUse(id="b", name="v", input={}))
STREAMED = {
    "every piece a new id (early vLLM)": (
        [calls((0, "a", "w", "")), calls((0, "z", None, '{"x":1}')), calls((1, "b", "v", ""))],
        TWO_CALLS,
    ),
    "name and id repeated (TGI)": ([calls((0, "a", "w", '{"x"')), calls((0, "a", "w", ":1}"))], TWO_CALLS[:1]),
    "every call is number 0": ([calls((0, "a", "w", '{"x":1}')), calls((0, "b", "v", ""))], TWO_CALLS),
    "no index": (
        [chunk({"tool_calls": [call("a", "w", '{"x":1}'), call("b", "v", "")]})],
        TWO_CALLS,
    ),
    "arguments before the name": ([calls((0, "a", None, '{"x"')), calls((0, None, "w", ":1}"))], TWO_CALLS[:1]),
    "an object in place of a list (TGI)": (
        [chunk({"tool_calls": {"index": 0, "id": "a", "function": {"name": "w", "arguments": {"x": 1}}}})],
        TWO_CALLS[:1],
    ),
}


@pytest.mark.parametrize(("pieces", "blocks"), STREAMED.values(), ids=STREAMED)
def test_streamed_tool_calls(pieces: list[dict[str, object]], blocks: tuple[ToolUse, ...]) -> None:
    folded = fold(events_of([*pieces, chunk({}, "stop")]))  # type: ignore[arg-type]
    assert folded.message.content == blocks
    assert folded.stop_reason == "tool_use"


@pytest.mark.parametrize(("wire", "neutral"), (ANSWERS | READ).values(), ids=ANSWERS | READ)
def test_a_whole_completion_in_a_stream(wire: dict[str, object], neutral: ConverseResponse) -> None:
    """A server that does not stream; and the fold of a stream equals the answer that comes whole."""
    folded = fold(events_of([wire], done=False))  # type: ignore[arg-type]
    assert (folded.message, folded.stop_reason, folded.usage) == (
        neutral.message,
        neutral.stop_reason,
        openai.decode_response(wire).usage,
    )


@pytest.mark.parametrize("name", sorted(ANSWERS.keys() - {"arguments cut"}))  # replay writes whole arguments only
def test_events_to_chunks_and_back(name: str) -> None:
    _, neutral = ANSWERS[name]
    encoder = openai.ChunkEncoder(id="c1", created=5, model="m", include_usage=True)
    chunks = [made for event in replay(neutral) for made in encoder.push(event)]
    assert all(made["object"] == "chat.completion.chunk" and made["created"] == 5 for made in chunks)
    assert chunks[-1]["choices"] == []
    decoder = openai.ChunkDecoder()
    events = [event for made in json.loads(json.dumps(chunks)) for event in decoder.push(made)]
    assert fold([*events, *decoder.finish()]) == neutral


def test_chunks_without_usage_unless_asked() -> None:
    encoder = openai.ChunkEncoder(id="c1", created=5, model="m")
    assert encoder.push(Metadata(Usage(1, 2, 3))) == []
    with pytest.raises(UnsupportedError):
        encoder.push(ContentBlockStart(0, Unknown("hologram")))


def test_metadata_once_and_last() -> None:
    running = [chunk({"content": "a"}) | {"usage": COUNTED}, chunk({}, "stop") | {"usage": COUNTED}, USAGE_CHUNK]
    assert [type(event) for event in events_of(running)][-2:] == [MessageStop, Metadata]
    assert sum(isinstance(event, Metadata) for event in events_of(running)) == 1
    silent = events_of([chunk({"content": "a"}), chunk({}, "stop")], done=False)
    assert silent[-1] == Metadata(warnings=("w",))


def test_streams_that_end_early() -> None:
    with pytest.raises(StreamError, match="cut"):
        events_of([chunk({"content": "a"})], done=False)
    with pytest.raises(StreamError, match="cut"):
        events_of([], done=True)
    assert MessageStop("end_turn") in events_of([chunk({"content": "a"})], done=True)
    with pytest.raises(StreamError, match="name"):
        events_of([calls((0, "a", None, "{}")), chunk({}, "tool_calls")])
    with pytest.raises(StreamError, match=r"choices\.0\.delta|choices"):
        events_of([{"choices": "x"}])


def test_other_choices_are_left_out() -> None:
    other = {"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": None}]}
    assert fold(events_of([chunk({"content": "yes"}), other, chunk({}, "stop")])).text == "yes"  # type: ignore[arg-type]


# --- errors ----------------------------------------------------------------------------------------------------------

REPORTED = {
    "vLLM": ({"error": {"message": "bad", "type": "BadRequestError", "code": 400}}, errors.ValidationError, 400),
    "older vLLM": (
        {"object": "error", "message": "gone", "type": "NotFoundError", "code": 404},
        errors.ModelNotFoundError,
        404,
    ),
    "TGI overloaded": ({"error": "Model is overloaded", "error_type": "overloaded"}, errors.ThrottlingError, 429),
    "TGI validation": (
        {"error": "`temperature` must be positive", "error_type": "validation"},
        errors.ValidationError,
        422,
    ),
    "TGI generation": ({"error": "oom", "error_type": "generation"}, errors.ServerError, 424),
    "LMI": ({"error": "oom", "code": 424}, errors.ServerError, 424),
    "words only": ({"error": {"message": "boom"}}, errors.ServerError, 500),
    "too long": (
        {"error": {"message": "This model's maximum context length is 4096 tokens.", "code": 400}},
        errors.ContextWindowError,
        400,
    ),
    "too long, by code": (
        {"error": {"message": "no", "type": "invalid_request_error", "code": "context_length_exceeded"}},
        errors.ContextWindowError,
        400,
    ),
}


@pytest.mark.parametrize(("wire", "kind", "status"), REPORTED.values(), ids=REPORTED)
def test_an_error_with_status_200(wire: dict[str, object], kind: type[Exception], status: int) -> None:
    decoder = openai.ChunkDecoder()
    assert list(decoder.push(chunk({"content": "a"})))
    with pytest.raises(kind) as caught:
        list(decoder.push(wire))
    assert type(caught.value) is kind
    assert caught.value.status == status  # type: ignore[attr-defined]
    with pytest.raises(kind):
        openai.decode_response(wire)


def test_lmi_ends_with_an_error() -> None:
    with pytest.raises(errors.ServerError):
        events_of([chunk({"content": "a"}), chunk({}, "error")])
    with pytest.raises(errors.ServerError):
        openai.decode_response(completion({"content": "a"}, "error"))


def model_error(status: int, original: str) -> errors.AwsllmError:
    fields = {
        "Message": f"Received client error ({status}) from primary with message …",
        "OriginalStatusCode": status,
        "OriginalMessage": original,
        "LogStreamArn": "arn:log",
    }
    headers = {"x-amzn-errortype": "ModelError", "x-amzn-requestid": "r1"}
    return decode_error(424, headers, json.dumps(fields).encode())


WRITTEN = [
    errors.ContextWindowError("four words, no hint"),
    errors.AccessDeniedError("no"),
    errors.ModelNotFoundError("no"),
    errors.ValidationError("no"),
    errors.ThrottlingError("no"),
    errors.ModelNotReadyError("no"),
    errors.ModelTimeoutError("no"),
    errors.ServerError("no"),
]


@pytest.mark.parametrize("error", WRITTEN, ids=lambda error: type(error).__name__)
def test_errors_survive_our_own_server(error: errors.AwsllmError) -> None:
    status, wire = openai.encode_error(error)
    read = model_error(status, json.dumps(wire))
    assert type(read) is type(error)
    assert (read.message, read.status, read.code, read.request_id) == (error.message, status, "ModelError", "r1")
    assert read.retryable == (status in (429, 503))
    assert read.__notes__ == ["the container's log: arn:log"]


UNWRAPPED = [
    (400, '{"detail":[{"loc":["body"],"msg":"field required"}]}', errors.ValidationError, "field required"),
    (
        422,
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096",
        errors.ContextWindowError,
        "Input",
    ),
    (424, '{"error":"Input length 9 exceeds","code":424}', errors.ContextWindowError, "Input length"),
    (500, "<html>oops</html>", errors.ServerError, "<html>oops</html>"),
    (503, "", errors.ModelNotReadyError, "Received client error"),
]


@pytest.mark.parametrize(("status", "original", "kind", "message"), UNWRAPPED)
def test_model_error_is_unwrapped(status: int, original: str, kind: type[Exception], message: str) -> None:
    read = model_error(status, original)
    assert type(read) is kind
    assert read.message.startswith(message)
    assert read.status == status


# --- whatever comes --------------------------------------------------------------------------------------------------

JUNK = [None, True, 7, -1.5, "", "x", [], [None], ["x"], {}, {"x": 1}, [{"x": [1]}]]
WHOLE = completion(
    {"content": "x", "reasoning_content": "y", "tool_calls": [call("a", "w", "{}")]},
    "stop",
    COUNTED | {"prompt_tokens_details": {"cached_tokens": 4}},
    stop_reason="END",
)
PIECES = [chunk({"content": "x", "reasoning_content": "y"}), calls((0, "a", "w", "{}")), chunk({}, "stop"), USAGE_CHUNK]
EVERY_REQUEST = [wire for _, wire in REQUESTS.values()]


def spoiled(wire: object) -> Iterator[object]:
    """The value with each of its parts in turn replaced by junk."""
    yield from JUNK
    items = wire.items() if isinstance(wire, dict) else enumerate(wire) if isinstance(wire, list) else ()
    for place, inner in items:
        for junk in spoiled(inner):
            copy = wire.copy()  # type: ignore[attr-defined]
            copy[place] = junk
            yield copy


def test_spoiled_answers_and_requests_give_typed_errors() -> None:
    for wire in spoiled(WHOLE):
        if isinstance(wire, dict):
            with suppress(errors.AwsllmError):
                read = openai.decode_response(wire)
                assert msgspec.json.decode(msgspec.json.encode(read), type=ConverseResponse) == read
    for good in EVERY_REQUEST:
        for wire in spoiled(good):
            if isinstance(wire, dict):
                with suppress(errors.AwsllmError):
                    asked = openai.decode_request("ep", wire)
                    assert msgspec.json.decode(msgspec.json.encode(asked), type=ConverseRequest) == asked


def test_spoiled_chunks_give_typed_errors() -> None:
    for chunks in spoiled(PIECES):
        if isinstance(chunks, list):
            with suppress(errors.AwsllmError):
                for event in events_of(chunks):
                    assert msgspec.json.decode(msgspec.json.encode(event), type=StreamEvent) == event


def test_spoiled_embeddings_give_typed_errors() -> None:
    asked = EmbedRequest(model="ep", texts=("a",))
    for wire in spoiled({"data": [{"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": 1}}):
        if isinstance(wire, dict):
            with suppress(errors.AwsllmError):
                openai.decode_embed_response(wire, asked)


def test_spoiled_model_errors() -> None:
    headers = {"x-amzn-errortype": "ModelError"}
    for fields in spoiled({"OriginalStatusCode": 400, "OriginalMessage": "{}", "Message": "m"}):
        assert isinstance(decode_error(424, headers, json.dumps(fields).encode()), errors.AwsllmError)


# --- embeddings ------------------------------------------------------------------------------------------------------


def test_embeddings_both_ways() -> None:
    asked = EmbedRequest(model="ep", texts=("a", "b"), dimensions=2, extra={"user": "u"})
    wire = {"model": "", "input": ["a", "b"], "dimensions": 2, "user": "u"}
    assert openai.encode_embed_request(asked) == wire
    assert openai.decode_embed_request("ep", wire) == asked
    assert openai.decode_embed_request("ep", {"input": "a"}) == EmbedRequest(model="ep", texts=("a",))
    answer = EmbedResponse(vectors=[[0.5, 1.0], [2.0, -1.5]], usage=Usage(input_tokens=3, total_tokens=3))
    for encoding in ("float", "base64"):
        reply = openai.encode_embed_response(answer, model="m", encoding_format=encoding)
        read = openai.decode_embed_response(json.loads(json.dumps(reply)), asked, request_id="r")
        assert (read.vectors, read.usage, read.model, read.request_id) == (answer.vectors, answer.usage, "ep", "r")


def test_embeddings_in_order_and_complete() -> None:
    asked = EmbedRequest(model="ep", texts=("a", "b"), normalize=True)
    data = [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}]
    read = openai.decode_embed_response({"data": data}, asked)
    assert read.vectors == [[1.0], [2.0]]
    assert read.usage == Usage()
    assert "normalize" in read.warnings[0]
    for wrong in ({"data": data[:1]}, {"embedding": [1.0]}, {"data": [{"index": 0, "embedding": "?"}] * 2}):
        with pytest.raises(errors.ServerError, match="OpenAI-style"):
            openai.decode_embed_response(wrong, asked)
    with pytest.raises(errors.ThrottlingError):
        openai.decode_embed_response({"error": "busy", "error_type": "overloaded"}, asked)


@pytest.mark.parametrize("wire", [{}, {"input": []}, {"input": [""]}, {"input": [1]}, {"input": {"a": 1}}])
def test_malformed_embedding_requests(wire: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="input"):
        openai.decode_embed_request("ep", wire)


# --- framing ---------------------------------------------------------------------------------------------------------


def dumped(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def sse_lines(value: object) -> bytes:
    """One value over several ``data:`` lines."""
    return b"".join(b"data: " + line + b"\n" for line in json.dumps(value, indent=1).encode().split(b"\n")) + b"\n"


FRAMINGS = {
    "SSE": lambda values: b"".join(encode_sse(v) for v in values) + DONE,
    "SSE, tight": lambda values: b"".join(b"data:" + dumped(v) + b"\n\n" for v in values) + b"data:[DONE]",
    "SSE, CRLF and company": lambda values: (
        b": hi {\r\n" + b"".join(b"event: x\r\nid: 1\r\ndata: " + dumped(v) + b"\r\n\r\n: ping\r\n\r\n" for v in values)
    ),
    "SSE, CR": lambda values: b"".join(b": [\rdata: " + dumped(v) + b"\r\r" for v in values),
    "SSE, several lines": lambda values: b"".join(map(sse_lines, values)),
    "JSON lines": lambda values: b"".join(dumped(v) + b"\n" for v in values),
    "JSON lines, last without end": lambda values: b"\n".join(map(dumped, values)),
    "glued": lambda values: b"".join(map(dumped, values)),
    "pretty": lambda values: b" \n".join(json.dumps(v, indent=2).encode() for v in values),
}
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text()
    | st.sampled_from(["\\", '"', "data:", "]}", "日本", "[DONE]"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
streamable = st.dictionaries(st.text(), json_values, max_size=3) | st.lists(json_values, max_size=3)


@given(st.sampled_from(sorted(FRAMINGS)), st.lists(streamable, max_size=4), st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_framing_in_any_cuts(framing: str, values: list[object], data: st.DataObject) -> None:
    stream = FRAMINGS[framing](values)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    decoder = FramingDecoder()
    places = [0, *sorted(cuts), len(stream)]
    found = [value for start, end in pairwise(places) for value in decoder.feed(stream[start:end])]
    decoder.close()
    assert found == values
    assert decoder.done == (framing in ("SSE", "SSE, tight"))


SAMPLE = [{"a": 'é"{\\"}'}, [1, {"b": []}], {"日本": "x" * 20}, {}]


@pytest.mark.parametrize("framing", FRAMINGS)
def test_framing_at_every_cut_size(framing: str) -> None:
    stream = FRAMINGS[framing](SAMPLE)
    for size in range(1, len(stream) + 1):
        decoder = FramingDecoder()
        found = [v for at in range(0, len(stream), size) for v in decoder.feed(stream[at : at + size])]
        decoder.close()
        assert found == SAMPLE, size


@pytest.mark.parametrize("framing", ["SSE", "JSON lines", "glued", "pretty"])
def test_framing_cut_short(framing: str) -> None:
    """Whatever is left when the bytes end is an error, unless a whole value has just ended."""
    stream = FRAMINGS[framing](SAMPLE)
    for end in range(len(stream)):
        decoder = FramingDecoder()
        found = [value for at in range(end) for value in decoder.feed(stream[at : at + 1])]
        assert found == SAMPLE[: len(found)]
        if stream[:end].rstrip()[-1:] not in (b"}", b"]", b":", b"") and not stream[:end].endswith(b"data"):
            with pytest.raises(StreamError, match="ended inside"):
                decoder.close()


@pytest.mark.parametrize(
    "garbage",
    [b"Internal Server Error\n", b"<html>\n", b'{"a":}\n', b'{"a":1]\n', b'{"a":"\xff"}\n', b"[" * 9000 + b"]" * 9000],
)
def test_framing_of_what_is_no_json(garbage: bytes) -> None:
    decoder = FramingDecoder()
    with pytest.raises(StreamError):
        decoder.feed(garbage)
    with pytest.raises(StreamError):
        decoder.close()
    later = FramingDecoder()
    assert later.feed(b'{"ok":1}\n' + garbage) == [{"ok": 1}]
    with pytest.raises(StreamError):
        later.feed(b"")


def test_framing_of_garbage_without_a_line_end() -> None:
    decoder = FramingDecoder()
    assert decoder.feed(b"upstream connect error") == []
    with pytest.raises(StreamError, match="upstream connect error"):
        decoder.close()
