"""Streams of the Messages API: recorded ones fold to what the whole reply says, wherever they are cut, and so does what
the server writes."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awsllm.errors import StreamError, ThrottlingError, UnsupportedError
from awsllm.stream import fold
from awsllm.types import (
    Citation,
    CitationDelta,
    Citations,
    ContentBlock,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    ConverseResponse,
    DocumentLocation,
    ImageStart,
    Json,
    JsonObject,
    Message,
    MessageStart,
    MessageStop,
    Metadata,
    Reasoning,
    ReasoningDelta,
    SearchResultLocation,
    StreamEvent,
    Text,
    TextDelta,
    ToolResult,
    ToolResultDelta,
    ToolUse,
    ToolUseDelta,
    ToolUseStart,
    Unknown,
    Usage,
    WebLocation,
)
from awsllm.wire.anthropic.body import MessagesChat
from awsllm.wire.anthropic.stream import MessageDecoder, MessageEncoder
from awsllm.wire.body import Context
from awsllm.wire.framing import FramingDecoder
from tests.support.bodies import ask, payload, streamed, written

CHAT = MessagesChat(names_model=False)
FEW = settings(max_examples=25)
USAGE = {"input_tokens": 377, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 1}


def head(**members: Any) -> JsonObject:
    message: JsonObject = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    message |= {"stop_reason": None, "stop_sequence": None, "usage": USAGE, **members}
    return {"type": "message_start", "message": message}


def block(index: int, start: JsonObject, *deltas: JsonObject) -> list[JsonObject]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def tail(reason: str = "end_turn", usage: JsonObject | None = None, **delta: Any) -> list[JsonObject]:
    delta = {"stop_reason": reason, "stop_sequence": None, **delta}
    return [
        {"type": "message_delta", "delta": delta, "usage": usage or {"output_tokens": 65}},
        {"type": "message_stop"},
    ]


def sse(*events: JsonObject) -> bytes:
    return b"".join(f"event: {e['type']}\ndata: {json.dumps(e, ensure_ascii=False)}\n\n".encode() for e in events)


def folded(*events: JsonObject) -> ConverseResponse:
    decoder = MessageDecoder(Context(request=ask()))
    return fold([event for wire in events for event in decoder.push(wire)] + list(decoder.finish(done=True)))


def json_deltas(*pieces: str) -> list[JsonObject]:
    return [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]


# Shapes and order as in the fixtures of Anthropic's Python SDK (tests/lib/streaming/fixtures, 2025 and 2026).
FOUND = [
    {"type": "web_search_result", "url": "https://e.org", "title": "E", "encrypted_content": "enc", "page_age": None}
]
RAN = {"type": "code_execution_result", "return_code": 0, "stdout": "hello", "stderr": "", "content": []}
CITED = {
    "type": "web_search_result_location",
    "cited_text": "c",
    "url": "https://e.org",
    "title": "E",
    "encrypted_index": "Eo8B",
}
CHAR = {
    "type": "char_location",
    "cited_text": "c",
    "document_index": 0,
    "document_title": "D",
    "start_char_index": 0,
    "end_char_index": 1,
}
RECORDED: dict[str, tuple[list[JsonObject], list[JsonObject], JsonObject]] = {
    "tool_use": (
        [
            head(),
            *block(
                0,
                {"type": "text", "text": ""},
                {"type": "text_delta", "text": "I"},
                {"type": "text_delta", "text": "'ll"},
            ),
            {"type": "ping"},
            *block(
                1,
                {"type": "tool_use", "id": "toolu_01", "name": "get", "caller": {"type": "direct"}, "input": {}},
                *json_deltas("", '{"locati', 'on": "P', "ar", 'is"}'),
            ),
            *tail("tool_use"),
        ],
        [
            {"type": "text", "text": "I'll"},
            {
                "type": "tool_use",
                "id": "toolu_01",
                "name": "get",
                "caller": {"type": "direct"},
                "input": {"location": "Paris"},
            },
        ],
        {"stop_reason": "tool_use", "usage": {**USAGE, "output_tokens": 65}},
    ),
    "thinking": (
        [
            head(),
            *block(
                0,
                {"type": "thinking", "thinking": "", "signature": ""},
                {"type": "thinking_delta", "thinking": "Let me "},
                {"type": "thinking_delta", "thinking": "see."},
                {"type": "signature_delta", "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk"},
            ),
            *block(1, {"type": "redacted_thinking", "data": "EmwKAhgBEgy3"}),
            *block(2, {"type": "text", "text": ""}, {"type": "text_delta", "text": "27"}),
            *tail(),
        ],
        [
            {
                "type": "thinking",
                "thinking": "Let me see.",
                "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk",
            },
            {"type": "redacted_thinking", "data": "EmwKAhgBEgy3"},
            {"type": "text", "text": "27"},
        ],
        {"stop_reason": "end_turn", "usage": {**USAGE, "output_tokens": 65}},
    ),
    "tools of the service": (
        [
            head(),
            *block(
                0, {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, *json_deltas('{"q":1}')
            ),
            *block(1, {"type": "web_search_tool_result", "tool_use_id": "s", "content": FOUND}),
            *block(2, {"type": "code_execution_tool_result", "tool_use_id": "x", "content": RAN}),
            *block(
                3,
                {"type": "text", "text": "", "citations": []},
                {"type": "citations_delta", "citation": CITED},
                {"type": "text_delta", "text": "It is"},
                {"type": "citations_delta", "citation": CHAR},
            ),
            *tail(usage={"output_tokens": 20, "server_tool_use": {"web_search_requests": 1}}),
        ],
        [
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": 1}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": FOUND},
            {"type": "code_execution_tool_result", "tool_use_id": "x", "content": RAN},
            {"type": "text", "text": "It is", "citations": [CITED, CHAR]},
        ],
        {
            "stop_reason": "end_turn",
            "usage": {**USAGE, "output_tokens": 20, "server_tool_use": {"web_search_requests": 1}},
        },
    ),
    "refusal": (
        [
            head(),
            *block(0, {"type": "text", "text": ""}),
            *tail("refusal", stop_details={"type": "refusal", "category": "cyber"}),
        ],
        [{"type": "text", "text": ""}],
        {
            "stop_reason": "refusal",
            "stop_details": {"type": "refusal", "category": "cyber"},
            "usage": {**USAGE, "output_tokens": 65},
        },
    ),
    "usage at the end only": (
        [
            head(usage=None),
            *block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hello"}),
            *tail(usage={"input_tokens": 12, "cache_creation_input_tokens": 4, "output_tokens": 6}),
        ],
        [{"type": "text", "text": "Hello"}],
        {
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 12, "cache_creation_input_tokens": 4, "output_tokens": 6},
        },
    ),
}


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_stream_folds_to_the_whole_reply_wherever_it_is_cut(name: str) -> None:
    events, content, end = RECORDED[name]
    context = Context(request=ask(), request_id="r", warnings=("w",))
    whole = CHAT.decode_response(payload({"type": "message", "role": "assistant", "content": content, **end}), context)
    data = sse(*events)
    for cut in (1, 7, 64, len(data)):
        back = streamed(CHAT, data, context, cut)
        assert back.message == whole.message
        assert (back.stop_reason, back.usage, back.extra) == (whole.stop_reason, whole.usage, whole.extra)
        assert (back.warnings, back.request_id) == (("w",), "r")


@pytest.mark.parametrize("name", RECORDED)
def test_a_whole_reply_in_place_of_a_stream_is_read(name: str) -> None:
    events, content, end = RECORDED[name]
    whole = {"type": "message", "role": "assistant", "content": content, **end}
    assert folded(whole) == folded(*events)


@pytest.mark.parametrize("name", RECORDED)
def test_what_the_server_writes_of_it_is_read_back(name: str) -> None:
    answer = folded(*RECORDED[name][0])
    back = streamed(CHAT, written(CHAT, answer, Context(request=ask())), Context(request=ask()))
    assert (back.message, back.stop_reason, back.extra) == (answer.message, answer.stop_reason, answer.extra)
    assert back.usage == answer.usage


def test_arguments_that_came_with_the_start_are_not_lost_nor_said_twice() -> None:
    start = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}
    assert folded(head(), *block(0, start), *tail()).tool_uses[0].input == {"a": 1}
    again = block(0, start, *json_deltas('{"a": 2}'))
    assert folded(head(), *again, *tail()).tool_uses[0].input == {"a": 2}


def test_parallel_tool_uses_keep_their_fragments_apart() -> None:
    start = {"type": "tool_use", "name": "f", "input": {}}
    one = block(0, {**start, "id": "a"}, *json_deltas('{"x":', "1}"))
    two = block(1, {**start, "id": "b"}, *json_deltas('{"y":', "2}"))
    mixed = [event for pair in zip(one, two, strict=True) for event in pair]
    uses = folded(head(), *mixed, *tail("tool_use")).tool_uses
    assert [(use.id, use.input) for use in uses] == [("a", {"x": 1}), ("b", {"y": 2})]


def test_what_is_newer_is_kept_or_passed_over() -> None:
    compaction = {"type": "compaction", "content": ""}
    delta = {"type": "compaction_delta", "content": "…"}
    image = {"type": "image", "source": {"type": "url", "url": "u"}}
    response = folded(
        head(context_management={"applied_edits": []}),
        {"type": "newer_event"},
        *block(0, compaction, delta),
        *block(1, image),
        *tail(),
    )
    assert response.message.content == (
        Unknown("compaction", [compaction, delta]),
        Unknown("image", [image]),
    )
    assert response.extra == {"context_management": {"applied_edits": []}}


def grows(delta: JsonObject, **more: Any) -> bytes:
    return json.dumps({"type": "content_block_delta", "index": 3, "delta": delta, **more}).encode()


TEXT = {"type": "text_delta", "text": "Hé\n"}


@pytest.mark.parametrize(
    "delta", [TEXT, {"type": "thinking_delta", "thinking": "Hm"}, {"type": "input_json_delta", "partial_json": '{"a'}]
)
def test_the_short_way_reads_what_the_long_one_does(delta: JsonObject) -> None:
    short, long = (MessageDecoder(Context(request=ask())) for _ in range(2))
    data = grows(delta)
    assert [short.grown(data)] == list(long.push(json.loads(data)))


@pytest.mark.parametrize(
    "data",
    [
        grows(TEXT, error={"type": "overloaded_error", "message": "m"}),
        grows({**TEXT, "citations": []}),
        grows(TEXT, index=None),
        grows({"type": "text_delta", "text": None}),
        grows({"type": "input_json_delta", "partial_json": ""}),
        grows({"type": "signature_delta", "signature": "s"}),
        grows({"type": "newer_delta", "text": "t"}),
        json.dumps(head()).encode(),
        b"[]",
        b"no JSON",
        b"[" * 100_000,
    ],
)
def test_the_short_way_leaves_all_else_to_the_long_one(data: bytes) -> None:
    assert MessageDecoder(Context(request=ask())).grown(data) is None


def test_pieces_by_the_short_way_stand_for_arguments_that_came_with_the_start() -> None:
    decoder = MessageDecoder(Context(request=ask()))
    use = {"type": "tool_use", "id": "t", "name": "n", "input": {"a": 1}}
    begun = list(decoder.push({"type": "content_block_start", "index": 3, "content_block": use}))
    piece = decoder.grown(grows({"type": "input_json_delta", "partial_json": '{"a": 2}'}))
    assert piece is not None
    ended = list(decoder.push({"type": "content_block_stop", "index": 3}))
    deltas = [event.delta for event in (*begun, piece, *ended) if isinstance(event, ContentBlockDelta)]
    assert deltas == [ToolUseDelta('{"a": 2}')]


def test_a_figure_that_makes_no_sense_is_a_warning() -> None:
    response = folded(head(usage={"input_tokens": "many"}), *tail())
    assert response.usage == Usage()
    assert "figure" in response.warnings[0]


# --- ends that are none ----------------------------------------------------------------------------------------------


def test_a_stream_without_a_stop_reason_was_cut() -> None:
    events = [head(), *block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "half"})]
    with pytest.raises(StreamError, match="cut"):
        folded(*events)
    with pytest.raises(StreamError, match="cut"):
        folded(*events, {"type": "message_stop"})
    assert folded(*events, tail()[0]).text == "half"  # all but the last event


def test_an_error_inside_a_stream_is_typed() -> None:
    """Anthropic's documentation of streaming, error events."""
    with pytest.raises(ThrottlingError, match="Overloaded"):
        folded(head(), {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})


@pytest.mark.parametrize(
    "event",
    [
        {"type": "message_start"},
        {"type": "content_block_start", "index": 0},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta"}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a"}},
        {"type": "message", "content": [7]},
    ],
)
def test_an_event_that_cannot_be_read_breaks_the_stream(event: JsonObject) -> None:
    with pytest.raises(StreamError, match="cannot be read"):
        folded(event)


# --- the server's half -----------------------------------------------------------------------------------------------

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)
RESULTS = VALUES.filter(lambda value: value is not None)  # a result has a content
SOURCES = st.builds(lambda text: (Text(text),), WORDS)
RANGES = st.integers(0, 9)
CITATIONS = (
    st.builds(
        lambda unit, n, text: Citation("D", None, text, DocumentLocation(unit, n, n, n + 1)),
        st.sampled_from(["char", "page", "chunk"]),
        RANGES,
        SOURCES,
    )
    | st.builds(lambda n, text: Citation("T", "S", text, SearchResultLocation(n, n, n + 1)), RANGES, SOURCES)
    | st.builds(lambda text: Citation("W", None, text, WebLocation("u"), {"encrypted_index": "E"}), SOURCES)
)
BLOCKS: st.SearchStrategy[ContentBlock] = st.one_of(
    st.builds(Text, WORDS),
    st.builds(Reasoning, WORDS, WORDS),
    st.builds(lambda text: Reasoning(redacted=text.encode()), WORDS),
    st.builds(
        ToolUse, WORDS, WORDS, st.dictionaries(WORDS, VALUES, max_size=3), st.none() | st.just("server_tool_use")
    ),
    st.builds(lambda use, value: ToolResult(use, (Json(value),), type="web_search_tool_result"), WORDS, RESULTS),
    st.builds(
        lambda text, cited: Citations((Text(text),), tuple(cited)), WORDS, st.lists(CITATIONS, min_size=1, max_size=3)
    ),
)


@FEW
@given(st.lists(BLOCKS, max_size=5), st.integers(0, 99), st.integers(0, 99), st.integers(1, 50))
def test_an_answer_is_read_back_whole_and_streamed(blocks: list[ContentBlock], read: int, wrote: int, cut: int) -> None:
    answer = ConverseResponse(
        message=Message("assistant", tuple(blocks)),
        stop_reason="end_turn",
        usage=Usage(read, wrote, read + wrote),
        extra={"stop_sequence": "END"},
    )
    context = Context(request=ask())
    for back in (
        CHAT.decode_response(CHAT.encode_response(answer, context), context),
        streamed(CHAT, written(CHAT, answer, context), context, cut),
    ):
        assert (back.message, back.stop_reason, back.usage) == (answer.message, "end_turn", answer.usage)
        assert back.extra == answer.extra


def encoded(*events: StreamEvent) -> list[JsonObject]:
    encoder = MessageEncoder(id="msg_1", model="m")
    return [wire for event in events for wire in encoder.push(event)] + encoder.finish()


def test_every_event_is_named_and_blocks_are_numbered_from_zero() -> None:
    encoder = CHAT.stream_encoder(Context(request=ask()))
    events: list[StreamEvent] = [
        MessageStart("assistant"),
        ContentBlockDelta(3, TextDelta("a")),
        ContentBlockStop(3),
        ContentBlockStart(7, ToolUseStart("t", "f")),
        ContentBlockDelta(7, ToolUseDelta("{}")),
        ContentBlockStop(7),
        MessageStop("tool_use"),
        Metadata(Usage(1, 2)),
    ]
    data = b"".join(map(encoder.event, events)) + encoder.end()
    wires = FramingDecoder().feed(data)
    names = [line.removeprefix(b"event: ").decode() for line in data.split(b"\n") if line.startswith(b"event: ")]
    assert names == [wire["type"] for wire in wires]
    assert [wire["index"] for wire in wires if "index" in wire] == [0, 0, 0, 1, 1, 1]
    assert wires[-2]["usage"] == {"input_tokens": 1, "output_tokens": 2}


def test_a_kind_that_follows_another_in_one_block_is_a_block_of_its_own() -> None:
    wires = encoded(
        MessageStart("assistant"),
        ContentBlockDelta(0, ReasoningDelta(text="hm")),
        ContentBlockDelta(0, ReasoningDelta(redacted=b"ab")),
        ContentBlockDelta(0, ReasoningDelta(redacted=b"cd")),
        ContentBlockDelta(0, TextDelta("a")),
        ContentBlockDelta(0, CitationDelta(Citation("another model's"))),
        MessageStop("end_turn"),
    )
    assert [wire["type"].removeprefix("content_block_") for wire in wires[1:-2]] == [
        *("start", "delta", "stop"),
        *("start", "stop"),
        *("start", "delta", "stop"),
    ]
    assert wires[4]["content_block"] == {"type": "redacted_thinking", "data": "abcd"}
    assert wires[-2]["usage"] == {"input_tokens": 0, "output_tokens": 0}


@pytest.mark.parametrize(
    "event",
    [
        ContentBlockStart(0, ImageStart("png")),
        ContentBlockStart(0, Unknown("new")),
        ContentBlockDelta(0, Unknown("new")),
    ],
)
def test_what_a_stream_cannot_hold_is_refused(event: StreamEvent) -> None:
    with pytest.raises(UnsupportedError, match="Anthropic Messages"):
        encoded(event)


def test_events_that_make_no_message_are_an_error() -> None:
    with pytest.raises(StreamError, match="before its message did"):
        encoded(MessageStart("assistant"), ContentBlockDelta(0, TextDelta("half")))
    with pytest.raises(StreamError, match="no start"):
        encoded(ContentBlockDelta(0, ToolResultDelta((Json(1),))))
