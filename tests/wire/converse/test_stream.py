"""ConverseStream's events: one list of cases both ways, botocore's parser as the judge, failures inside the stream."""

from contextlib import suppress

import msgspec
import pytest
from botocore.eventstream import EventStreamBuffer
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import EventStreamJSONParser, ResponseParserError
from hypothesis import given
from hypothesis import strategies as st

from awsllm.errors import (
    AwsllmError,
    ContextWindowError,
    ServerError,
    StreamError,
    ThrottlingError,
    UnsupportedError,
    ValidationError,
)
from awsllm.stream import Fold, fold
from awsllm.types import (
    Bytes,
    CacheDetail,
    Citation,
    CitationDelta,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    DocumentLocation,
    ImageDelta,
    ImageStart,
    Json,
    MessageStart,
    MessageStop,
    Metadata,
    PerformanceConfig,
    ReasoningDelta,
    S3Location,
    SearchResultLocation,
    ServiceTier,
    Text,
    TextDelta,
    ToolResultDelta,
    ToolResultStart,
    ToolUseDelta,
    ToolUseStart,
    Unknown,
    Usage,
    WebLocation,
)
from awsllm.wire import converse
from awsllm.wire.eventstream import encode_event_frame, encode_exception_frame, encode_frame
from awsllm.wire.reading import MalformedError

OUTPUT = ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2")).shape_for("ConverseStreamOutput")


def start(wire):
    return {"contentBlockIndex": 1, "start": wire}


def delta(wire):
    return {"contentBlockIndex": 2, "delta": wire}


def block_delta(value):
    return ContentBlockDelta(2, value)


USAGE = {
    "inputTokens": 3,
    "outputTokens": 4,
    "totalTokens": 7,
    "cacheReadInputTokens": 5,
    "cacheWriteInputTokens": 6,
    "cacheDetails": [{"ttl": "1h", "inputTokens": 6}],
}
CITATION = Citation(
    title="t", source="s", source_content=(Text("c"),), location=DocumentLocation("page", index=0, start=1, end=2)
)
CASES = [
    (MessageStart("assistant"), "messageStart", {"role": "assistant"}),
    (
        ContentBlockStart(1, ToolUseStart("id", "search")),
        "contentBlockStart",
        start({"toolUse": {"toolUseId": "id", "name": "search"}}),
    ),
    (
        ContentBlockStart(1, ToolUseStart("id", "search", "server_tool_use")),
        "contentBlockStart",
        start({"toolUse": {"toolUseId": "id", "name": "search", "type": "server_tool_use"}}),
    ),
    (
        ContentBlockStart(1, ToolResultStart("id", "t", "success")),
        "contentBlockStart",
        start({"toolResult": {"toolUseId": "id", "type": "t", "status": "success"}}),
    ),
    (ContentBlockStart(1, ImageStart("png")), "contentBlockStart", start({"image": {"format": "png"}})),
    (block_delta(TextDelta("Grüße")), "contentBlockDelta", delta({"text": "Grüße"})),
    (block_delta(TextDelta("")), "contentBlockDelta", delta({"text": ""})),
    (block_delta(ToolUseDelta('{"a')), "contentBlockDelta", delta({"toolUse": {"input": '{"a'}})),
    (
        block_delta(ToolResultDelta((Text("x"), Json({"a": [1]})))),
        "contentBlockDelta",
        delta({"toolResult": [{"text": "x"}, {"json": {"a": [1]}}]}),
    ),
    (block_delta(ReasoningDelta(text="hm")), "contentBlockDelta", delta({"reasoningContent": {"text": "hm"}})),
    (block_delta(ReasoningDelta(signature="s")), "contentBlockDelta", delta({"reasoningContent": {"signature": "s"}})),
    (
        block_delta(ReasoningDelta(redacted=b"\xff\x00")),
        "contentBlockDelta",
        delta({"reasoningContent": {"redactedContent": b"\xff\x00"}}),
    ),
    (
        block_delta(CitationDelta(CITATION)),
        "contentBlockDelta",
        delta(
            {
                "citation": {
                    "title": "t",
                    "source": "s",
                    "sourceContent": [{"text": "c"}],
                    "location": {"documentPage": {"documentIndex": 0, "start": 1, "end": 2}},
                }
            }
        ),
    ),
    (
        block_delta(CitationDelta(Citation(location=WebLocation("https://a", "a")))),
        "contentBlockDelta",
        delta({"citation": {"location": {"web": {"url": "https://a", "domain": "a"}}}}),
    ),
    (
        block_delta(CitationDelta(Citation(location=SearchResultLocation(0, 1, 2)))),
        "contentBlockDelta",
        delta({"citation": {"location": {"searchResultLocation": {"searchResultIndex": 0, "start": 1, "end": 2}}}}),
    ),
    (
        block_delta(ImageDelta(Bytes(b"\x89PNG"))),
        "contentBlockDelta",
        delta({"image": {"source": {"bytes": b"\x89PNG"}}}),
    ),
    (
        block_delta(ImageDelta(S3Location("s3://b/k"), "bad")),
        "contentBlockDelta",
        delta({"image": {"source": {"s3Location": {"uri": "s3://b/k"}}, "error": {"message": "bad"}}}),
    ),
    (ContentBlockStop(3), "contentBlockStop", {"contentBlockIndex": 3}),
    (MessageStop("end_turn"), "messageStop", {"stopReason": "end_turn"}),
    (
        MessageStop("tool_use", {"stop": "x"}),
        "messageStop",
        {"stopReason": "tool_use", "additionalModelResponseFields": {"stop": "x"}},
    ),
    (
        Metadata(Usage(3, 4, 7, 5, 6, (CacheDetail("1h", 6),)), 12),
        "metadata",
        {"usage": USAGE, "metrics": {"latencyMs": 12}},
    ),
    (
        Metadata(
            Usage(1, 1, 2),
            1,
            {"promptRouter": {"invokedModelId": "m"}},
            PerformanceConfig("standard"),
            ServiceTier("flex"),
        ),
        "metadata",
        {
            "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
            "metrics": {"latencyMs": 1},
            "trace": {"promptRouter": {"invokedModelId": "m"}},
            "performanceConfig": {"latency": "standard"},
            "serviceTier": {"type": "flex"},
        },
    ),
]
WHOLE = [MessageStart("assistant"), block_delta(TextDelta("hi")), ContentBlockStop(2), MessageStop("end_turn")]


def frame(event_type, wire) -> bytes:
    return encode_event_frame(event_type, msgspec.json.encode(wire))


def stream(events) -> bytes:
    return b"".join(frame(*converse.encode_event(event)) for event in events)


def decode(data: bytes):
    decoder = converse.EventDecoder()
    events = list(decoder.feed(data))
    decoder.close()
    return events


def botocore_event(data: bytes) -> dict:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return EventStreamJSONParser().parse(next(iter(buffer)).to_response_dict(), OUTPUT)


@pytest.mark.parametrize(("event", "event_type", "wire"), CASES)
def test_both_ways(event, event_type, wire):
    assert converse.encode_event(event) == (event_type, wire)
    assert converse.decode_event(event_type, wire) == event
    assert converse.decode_event(event_type, msgspec.json.decode(msgspec.json.encode(wire))) == event


@pytest.mark.parametrize(("event", "event_type", "wire"), CASES)
def test_botocore_reads_what_we_write_and_we_read_what_it_read(event, event_type, wire):
    parsed = botocore_event(frame(event_type, wire))
    assert parsed == {event_type: wire}
    assert converse.decode_event(event_type, parsed[event_type]) == event


@pytest.mark.parametrize(("event", "event_type", "wire"), CASES)
def test_an_event_saves_and_loads(event, event_type, wire):
    assert msgspec.json.decode(msgspec.json.encode(event), type=type(event)) == event


def test_every_cut_gives_the_same_events():
    data = stream(WHOLE)
    for cut in range(len(data) + 1):
        decoder = converse.EventDecoder()
        assert [*decoder.feed(data[:cut]), *decoder.feed(data[cut:])] == WHOLE
        decoder.close()


def test_padding_is_ignored():
    data = frame("contentBlockDelta", {**delta({"text": "hi"}), "p": "abcdefgh"}) + stream([MessageStop("end_turn")])
    assert decode(data)[0] == block_delta(TextDelta("hi"))


def test_unknown_events_starts_and_deltas_are_kept():
    tomorrow = {"newThing": {"a": 1}}
    assert converse.decode_event("tomorrow", {"a": 1}) == Unknown("tomorrow", {"a": 1})
    assert converse.decode_event("contentBlockStart", start(tomorrow)).start == Unknown("newThing", {"a": 1})
    assert converse.decode_event("contentBlockDelta", delta(tomorrow)).delta == Unknown("newThing", {"a": 1})
    parsed = botocore_event(frame("contentBlockDelta", delta(tomorrow)))
    assert converse.decode_event("contentBlockDelta", parsed["contentBlockDelta"]).delta == Unknown("newThing")


def test_an_empty_union_is_kept():
    assert converse.decode_event("contentBlockStart", start({})).start == Unknown("", {})
    assert converse.decode_event("contentBlockDelta", delta({})).delta == Unknown("", {})
    assert converse.decode_event("contentBlockDelta", delta({"reasoningContent": {}})).delta == Unknown(
        "reasoningContent", {}
    )


def test_a_streamed_answer_knows_its_request():
    decoder = converse.EventDecoder("request-1")
    events = list(decoder.feed(stream(WHOLE)))
    assert fold(events).request_id == "request-1"
    cut = Fold()
    for event in events[:2]:
        cut.push(event)
    assert cut.partial().request_id == "request-1"


@pytest.mark.parametrize(
    "event",
    [Unknown("x"), ContentBlockStart(0, Unknown("x")), block_delta(Unknown("x"))],
)
def test_unknown_cannot_be_written(event):
    with pytest.raises(UnsupportedError, match="'x'"):
        converse.encode_event(event)


@pytest.mark.parametrize(
    ("event_type", "wire", "where"),
    [
        ("messageStart", {"messageStart": {"role": "assistant"}}, "role"),  # wrapped twice: botocore is silent
        ("contentBlockDelta", delta({"text": "a", "toolUse": {"input": ""}}), "delta: must have one and only one"),
        ("contentBlockDelta", {"delta": {"text": "a"}}, "contentBlockIndex: is required"),
        ("contentBlockDelta", delta({"reasoningContent": {"redactedContent": "%%"}}), "redactedContent: is not valid"),
        ("contentBlockDelta", delta({"toolResult": [{"text": 1}]}), "delta.toolResult.0.text: must be a string"),
        ("messageStop", {}, "stopReason: is required"),
    ],
)
def test_a_malformed_event_says_where(event_type, wire, where):
    with pytest.raises(MalformedError, match=where):
        converse.decode_event(event_type, wire)
    with pytest.raises(StreamError, match=where):
        decode(frame(event_type, wire))


@pytest.mark.parametrize("wire", [start({}), start({"image": {"format": "png"}, "toolUse": {}})])
def test_botocore_refuses_the_same_unions(wire):
    with pytest.raises(ResponseParserError):
        botocore_event(frame("contentBlockStart", wire))


def test_a_null_beside_the_value_is_dropped():
    wire = delta({"text": "a", "toolUse": None})
    assert botocore_event(frame("contentBlockDelta", wire)) == {"contentBlockDelta": delta({"text": "a"})}
    assert converse.decode_event("contentBlockDelta", wire) == block_delta(TextDelta("a"))


@pytest.mark.parametrize("payload", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"contentBlockIndex":1e400}'])
def test_a_payload_that_is_no_json_object(payload):
    with pytest.raises(StreamError, match="contentBlockDelta cannot be read"):
        decode(encode_event_frame("contentBlockDelta", payload))


def test_a_stream_without_message_stop_was_cut():
    with pytest.raises(StreamError, match="without messageStop") as caught:
        decode(stream(WHOLE[:-1]))
    assert not caught.value.retryable
    with pytest.raises(StreamError, match="without messageStop") as caught:
        decode(b"")
    assert caught.value.retryable  # nothing was handed over yet


def test_a_stream_cut_inside_a_frame():
    with pytest.raises(StreamError, match="inside a frame"):
        decode(stream(WHOLE)[:-1])


def test_metadata_may_be_missing():
    assert decode(stream(WHOLE)) == WHOLE


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("throttlingException", ThrottlingError, "ThrottlingException"),
        ("modelStreamErrorException", ServerError, "ModelStreamErrorException"),
        ("internalServerException", ServerError, "InternalServerException"),
        ("serviceUnavailableException", ServerError, "ServiceUnavailableException"),
        ("validationException", ValidationError, "ValidationException"),
        ("ModelStreamError", ServerError, "ModelStreamError"),  # SageMaker's spelling
        ("tomorrowException", ServerError, "tomorrowException"),
    ],
)
@pytest.mark.parametrize("key", ["message", "Message"])
def test_an_exception_comes_after_the_events_before_it(name, kind, code, key):
    decoder = converse.EventDecoder("request-1")
    data = stream(WHOLE[:2]) + encode_exception_frame(name, msgspec.json.encode({key: "because"}))
    events = decoder.feed(data)
    assert [next(events), next(events)] == [MessageStart("assistant", "request-1"), WHOLE[1]]
    with pytest.raises(kind, match="because") as caught:
        next(events)
    assert (caught.value.code, caught.value.request_id) == (code, "request-1")


def test_an_exception_is_read_by_its_message():
    payload = b'{"message":"Input is too long for requested model."}'
    with pytest.raises(ContextWindowError):
        decode(encode_exception_frame("validationException", payload))


@pytest.mark.parametrize("payload", [b"", b"null", b"{", b'{"message":1}'])
def test_an_exception_without_a_readable_body(payload):
    with pytest.raises(ThrottlingError):
        decode(encode_exception_frame("throttlingException", payload))


def test_an_unmodelled_error_says_it_in_its_headers():
    headers = {":message-type": "error", ":error-code": "ThrottlingException", ":error-message": "slow down"}
    with pytest.raises(ThrottlingError, match="slow down"):
        decode(encode_frame(headers, b""))
    with pytest.raises(ServerError):
        decode(encode_frame({":message-type": "error"}, b""))


def test_a_frame_without_an_event_type():
    with pytest.raises(StreamError, match="does not say what event"):
        decode(encode_frame({}, b"{}"))


def test_events_before_damage_are_handed_over():
    events = converse.EventDecoder().feed(stream(WHOLE[:1]) + b"\x00" * 20)
    assert next(events) == WHOLE[0]
    with pytest.raises(StreamError):
        next(events)


NAMES = st.sampled_from(
    [
        *("role", "contentBlockIndex", "start", "delta", "toolUse", "toolResult", "image", "text", "input", "error"),
        *("reasoningContent", "signature", "redactedContent", "citation", "sourceContent", "location", "web", "source"),
        *("bytes", "usage", "metrics", "trace", "serviceTier", "stopReason"),
    ]
)
SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=5)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
TYPES = st.sampled_from([event_type for _, event_type, _ in CASES])


@given(TYPES, st.dictionaries(NAMES, JSON, max_size=4))
def test_any_json_gives_an_event_or_a_stream_error(event_type, wire):
    with suppress(StreamError):
        assert decode(frame(event_type, wire) + stream(WHOLE[-1:]))


@given(st.binary(max_size=200))
def test_any_bytes_give_only_typed_errors(data):
    with suppress(AwsllmError):
        decode(data)
