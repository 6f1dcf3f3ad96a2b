"""Folding, replaying, and the stream objects that callers hold."""

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsllm.errors import OutputValidationError, StreamError, ThrottlingError, UnsupportedError
from awsllm.stream import AsyncConverseStream, ConverseStream, Fold, fold, replay
from awsllm.types import (
    Bytes,
    Citation,
    CitationDelta,
    Citations,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    ConverseResponse,
    Document,
    DocumentText,
    Image,
    ImageDelta,
    ImageStart,
    Json,
    JsonObject,
    Message,
    MessageStart,
    MessageStop,
    Metadata,
    PerformanceConfig,
    Reasoning,
    ReasoningDelta,
    S3Location,
    SearchResult,
    ServiceTier,
    StreamEvent,
    Text,
    TextDelta,
    ToolResult,
    ToolResultDelta,
    ToolResultStart,
    ToolUse,
    ToolUseDelta,
    ToolUseStart,
    Unknown,
    Usage,
    WebLocation,
)
from awsllm.wire import converse
from awsllm.wire.eventstream import encode_event_frame


def delta(index, value):
    return ContentBlockDelta(index, value)


HELLO = [
    MessageStart("assistant"),
    delta(0, TextDelta("Hel")),
    delta(0, TextDelta("lo")),
    ContentBlockStop(0),
    MessageStop("end_turn"),
    Metadata(Usage(1, 2, 3), 40),
]


def content(*events):
    """What the events between start and stop fold to."""
    return fold([MessageStart("assistant"), *events, MessageStop("end_turn")]).message.content


# --- fold ------------------------------------------------------------------------------------------------------------


def test_a_whole_answer():
    message = Message.assistant("Hello")
    assert fold(HELLO, model="m", request_id="r") == ConverseResponse(
        message=message,
        stop_reason="end_turn",
        usage=Usage(1, 2, 3),
        latency_ms=40,
        model="m",
        request_id="r",
        messages=(message,),
    )


def test_everything_that_metadata_and_stop_say():
    trace: JsonObject = {"guardrail": {}}
    stop = MessageStop("stop_sequence", {"stop_sequence": "END"})
    metadata = Metadata(Usage(), 1, trace, PerformanceConfig("optimized"), ServiceTier("flex"), ("no seed",))
    response = fold([*HELLO[:-2], stop, metadata])
    assert response.extra == {"stop_sequence": "END"}
    assert (response.trace, response.warnings) == (trace, ("no seed",))
    assert (response.performance_config, response.service_tier) == (PerformanceConfig("optimized"), ServiceTier("flex"))


def test_metadata_may_be_missing():
    assert fold(HELLO[:-1]).usage == Usage()


@pytest.mark.parametrize(
    ("pieces", "value"),
    [
        ([], {}),
        ([""], {}),
        (["", '{"a"', ": [1,", "2]}"], {"a": [1, 2]}),
        (['{"a":1}'], {"a": 1}),
        (["null"], None),
        (['{"n":123456789012345678901234567890}'], {"n": 123456789012345678901234567890}),
        (['{"a": "cut in the mid'], '{"a": "cut in the mid'),
        (["[" * 100_000], "[" * 100_000),
    ],
)
def test_a_tools_input_is_joined_and_then_parsed(pieces, value):
    start = ContentBlockStart(1, ToolUseStart("id", "search", "server_tool_use"))
    found = content(start, *(delta(1, ToolUseDelta(piece)) for piece in pieces), ContentBlockStop(1))
    assert found == (ToolUse("id", "search", value, "server_tool_use"),)


def test_thinking_text_and_signature_are_one_block():
    deltas = [ReasoningDelta(text="hm"), ReasoningDelta(text=", yes"), ReasoningDelta(signature="sig")]
    assert content(*(delta(0, value) for value in deltas)) == (Reasoning("hm, yes", "sig"),)


def test_redacted_thinking():
    assert content(delta(0, ReasoningDelta(redacted=b"\x00"))) == (Reasoning(redacted=b"\x00"),)


def test_text_and_its_citations_are_one_block():
    first, second = Citation("a"), Citation("b", location=WebLocation("https://b"))
    events = [TextDelta("It is"), CitationDelta(first), TextDelta(" so."), CitationDelta(second)]
    assert content(*(delta(0, value) for value in events)) == (Citations((Text("It is so."),), (first, second)),)


def test_a_server_tools_result():
    start = ContentBlockStart(0, ToolResultStart("id", "kind", "success"))
    deltas = [ToolResultDelta((Text("a"),)), ToolResultDelta((Json([1]), Text("b")))]
    found = content(start, *(delta(0, value) for value in deltas))
    assert found == (ToolResult("id", (Text("a"), Json([1]), Text("b")), "success", "kind"),)


def test_an_image_in_pieces_elsewhere_and_failed():
    start = ContentBlockStart(0, ImageStart("png"))
    pieces = [delta(0, ImageDelta(Bytes(b"\x89P"))), delta(0, ImageDelta(Bytes(b"NG")))]
    assert content(start, *pieces) == (Image("png", Bytes(b"\x89PNG")),)
    assert content(start, delta(0, ImageDelta(S3Location("s3://b/k")))) == (Image("png", S3Location("s3://b/k")),)
    assert content(start, delta(0, ImageDelta(error="refused"))) == (Image("png", Bytes(b""), "refused"),)


def test_blocks_are_ordered_by_index_whatever_came_first():
    found = content(delta(1, TextDelta("b")), delta(0, ReasoningDelta(text="a")), delta(1, TextDelta("c")))
    assert found == (Reasoning("a"), Text("bc"))


def test_what_is_newer_than_this_version_is_kept():
    found = content(
        Unknown("newEvent", {}),
        ContentBlockStart(0, Unknown("newBlock", {"a": 1})),
        delta(0, Unknown("newBlock", {"b": 2})),
        delta(1, Unknown("newDelta", 3)),
    )
    assert found == (Unknown("newBlock", [{"a": 1}, {"b": 2}]), Unknown("newDelta", [3]))


def test_deltas_without_their_start_are_not_lost():
    found = content(
        delta(0, ToolUseDelta('{"a":1}')), delta(1, ToolResultDelta((Text("x"),))), delta(2, ImageDelta(Bytes(b"i")))
    )
    assert found == (ToolUse("", "", {"a": 1}), ToolResult("", (Text("x"),)), Image("", Bytes(b"i")))


def test_kinds_mixed_in_one_block_are_told_apart():
    deltas = [TextDelta("a"), ReasoningDelta(text="hm"), ReasoningDelta(redacted=b"r"), TextDelta("b")]
    assert content(*(delta(0, value) for value in deltas)) == (Text("ab"), Reasoning("hm"), Reasoning(redacted=b"r"))


def test_a_partial_response_at_any_time():
    state = Fold(model="m")
    assert state.partial().message == Message("assistant", ())
    texts = []
    for event in HELLO:
        state.push(event)
        texts.append((state.partial().text, state.partial().stop_reason))
    assert texts[:5] == [("", None), ("Hel", None), ("Hello", None), ("Hello", None), ("Hello", "end_turn")]
    assert state.finish() == state.partial()


def test_a_stream_without_a_stop_was_cut():
    with pytest.raises(StreamError, match="without messageStop") as caught:
        fold(HELLO[:3], model="m")
    assert caught.value.partial.text == "Hello"
    assert caught.value.partial.stop_reason is None
    assert caught.value.partial.model == "m"


def test_a_tool_loops_turns_follow_one_another():
    call: list[StreamEvent] = [
        MessageStart("assistant"),
        ContentBlockStart(0, ToolUseStart("id", "f")),
        MessageStop("tool_use", {"first": 1}),
        Metadata(Usage(1)),
    ]
    response = fold([*call, *HELLO])
    assert response.message == Message.assistant("Hello")
    assert response.messages == (Message.assistant(ToolUse("id", "f", {})), response.message)
    assert (response.stop_reason, response.extra) == ("end_turn", None)
    with pytest.raises(StreamError) as caught:
        fold([*call, *HELLO[:2]])
    assert caught.value.partial.messages == (Message.assistant(ToolUse("id", "f", {})), Message.assistant("Hel"))


# --- replay ----------------------------------------------------------------------------------------------------------

WORDS = st.text(max_size=10)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)
CITATIONS = st.lists(st.builds(Citation, title=WORDS), min_size=1, max_size=3).map(tuple)
STREAMABLE = st.one_of(
    st.builds(Text, WORDS),
    st.builds(Reasoning, WORDS, st.none() | WORDS),
    st.builds(Reasoning, redacted=st.binary(max_size=10)),
    st.builds(ToolUse, WORDS, WORDS, JSON, st.none() | WORDS),
    st.builds(
        ToolResult,
        WORDS,
        st.lists(st.builds(Text, WORDS) | st.builds(Json, JSON), max_size=3).map(tuple),
        st.none() | WORDS,
    ),
    st.builds(Image, WORDS, st.builds(Bytes, st.binary(max_size=10)) | st.builds(S3Location, WORDS), st.none() | WORDS),
    st.builds(Citations, st.just(()) | st.tuples(st.builds(Text, WORDS)), CITATIONS),
)


def respond(content, stop_reason="end_turn", **more):
    message = Message("assistant", tuple(content))
    return ConverseResponse(message=message, stop_reason=stop_reason, messages=(message,), **more)


@given(st.lists(STREAMABLE, max_size=5))
def test_a_replayed_response_folds_to_itself(blocks):
    response = respond(blocks, usage=Usage(1, 2, 3), latency_ms=4, extra={"a": 1}, warnings=("w",))
    assert fold(replay(response)) == response


def test_members_of_tomorrow_survive_where_a_tool_starts():
    extra = {"addedTomorrow": 1}
    response = respond([ToolUse("a", "b", {}, extra=extra), ToolResult("a", (Text("r"),), extra=extra)])
    assert fold(replay(response)) == response
    wires = [converse.encode_event(event) for event in replay(response)]
    assert fold(converse.decode_event(event_type, payload) for event_type, payload in wires) == response


@given(st.lists(STREAMABLE, max_size=4))
def test_a_replayed_response_survives_the_wire(blocks):
    response = respond(blocks, usage=Usage(1, 2, 3), latency_ms=4, service_tier=ServiceTier("flex"))
    decoder = converse.EventDecoder()
    events: list[StreamEvent] = []
    for event in replay(response):
        event_type, payload = converse.encode_event(event)
        events += decoder.feed(encode_event_frame(event_type, msgspec.json.encode(payload)))
    decoder.close()
    assert fold(events) == response


def test_a_cut_response_is_replayed_as_a_cut():
    with pytest.raises(StreamError) as caught:
        fold(replay(respond([Text("a")], None)))
    assert caught.value.partial.text == "a"


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        (Document("d", DocumentText("t")), "Document"),
        (Unknown("new"), "Unknown"),
        (Text("a", extra={"addedTomorrow": 1}), "addedTomorrow"),
        (ToolResult("a", (SearchResult("s", "t", ()),)), "SearchResult"),
        (Citations((Unknown("new"),), (Citation(),)), "'new'"),
    ],
)
def test_what_a_stream_has_no_event_for(block, problem):
    with pytest.raises(UnsupportedError, match=problem):
        list(replay(respond([block])))


# --- the stream that a caller holds ----------------------------------------------------------------------------------


class Source:
    """Events, then perhaps an error; knows whether it was closed."""

    def __init__(self, events, error=None):
        self.events, self.error, self.closed = iter(events), error, 0

    def __iter__(self):
        return self

    def __next__(self):
        for event in self.events:
            return event
        if self.error:
            raise self.error
        raise StopIteration

    def close(self):
        self.closed += 1

    def __aiter__(self):
        return self

    async def __anext__(self):
        try:
            return next(self)
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self):
        self.closed += 1


class Waited:
    """``AsyncConverseStream`` with the interface of ``ConverseStream``, so that one list of tests covers both."""

    def __init__(self, *args, **options):
        self._stream = AsyncConverseStream(*args, **options)
        self._loop = asyncio.new_event_loop()
        self._run = self._loop.run_until_complete

    def __iter__(self):
        return self

    def __next__(self):
        return self._next(anext(self._stream))

    def _next(self, step):
        async def once():
            return await step

        try:
            return self._run(once())
        except StopAsyncIteration:
            raise StopIteration from None

    @property
    def text_stream(self):
        texts = self._stream.text_stream
        while True:
            try:
                text = self._next(anext(texts))
            except StopIteration:
                return
            yield text

    @property
    def response(self):
        async def read():
            return await self._stream.response

        return self._run(read())

    @property
    def partial(self):
        return self._stream.partial

    def close(self):
        self._run(self._stream.close())

    def __enter__(self):
        self._run(self._stream.__aenter__())
        return self

    def __exit__(self, *what):
        self._run(self._stream.__aexit__(*what))

    def end(self):
        self.close()
        self._run(self._loop.shutdown_asyncgens())
        self._loop.close()


@pytest.fixture(params=[ConverseStream, Waited], ids=["sync", "async"])
def stream_of(request):
    """Makes a stream of either kind."""
    waited = []

    def make(*args, **options):
        stream = request.param(*args, **options)
        if isinstance(stream, Waited):
            waited.append(stream)
        return stream

    yield make
    for stream in waited:
        stream.end()


def test_events_then_the_response(stream_of):
    stream = stream_of(Source(HELLO), model="m", request_id="r")
    assert list(stream) == HELLO
    assert stream.response == fold(HELLO, model="m", request_id="r")
    assert list(stream) == []


def test_text_then_the_response(stream_of):
    thinking = delta(1, ReasoningDelta(text="hm"))
    stream = stream_of(Source([*HELLO[:3], thinking, delta(0, TextDelta("")), *HELLO[3:]]))
    assert list(stream.text_stream) == ["Hel", "lo"]
    assert stream.response.text == "Hello"


def test_the_response_reads_what_is_left(stream_of):
    stream = stream_of(Source(HELLO))
    next(iter(stream))
    assert stream.partial.stop_reason is None
    assert stream.response.text == "Hello"


def test_one_reading_goes_on_where_another_stopped(stream_of):
    stream = stream_of(Source(HELLO))
    assert next(iter(stream.text_stream)) == "Hel"
    assert next(iter(stream)) == HELLO[2]


def test_finish_completes_the_response_once(stream_of):
    calls = []

    def finish(response):
        calls.append(response)
        return msgspec.structs.replace(response, cost=0.5)

    stream = stream_of(Source(HELLO), finish)
    assert stream.response.cost == stream.response.cost == stream.partial.cost == 0.5
    assert calls == [fold(HELLO)]


def test_an_error_of_finish_stays(stream_of):
    def finish(response):
        raise OutputValidationError("no fit")

    stream = stream_of(Source(HELLO), finish)
    for _ in range(2):
        with pytest.raises(OutputValidationError, match="no fit"):
            _ = stream.response


def test_leaving_closes_the_source(stream_of):
    source = Source(HELLO)
    with stream_of(source) as stream:
        next(iter(stream))
        assert source.closed == 0
    assert source.closed == 1


def test_reading_after_an_early_close_is_an_error(stream_of):
    stream = stream_of(Source(HELLO))
    events = iter(stream)
    assert [next(events), next(events)] == HELLO[:2]
    stream.close()
    stream.close()
    with pytest.raises(StreamError, match="closed before its end") as caught:
        next(events)
    assert caught.value.partial.text == "Hel"
    with pytest.raises(StreamError, match="closed before its end"):
        _ = stream.response
    with pytest.raises(StreamError, match="closed before its end"):
        list(stream.text_stream)


def test_the_response_outlives_the_close(stream_of):
    stream = stream_of(Source(HELLO))
    assert stream.response.text == "Hello"
    stream.close()
    assert stream.response.text == "Hello"
    assert list(stream) == []


def test_an_error_before_the_first_event_comes_as_it_is(stream_of):
    error = ThrottlingError("slow down", code="ThrottlingException")
    stream = stream_of(Source([], error))
    for _ in range(2):
        with pytest.raises(ThrottlingError) as caught:
            _ = stream.response
        assert caught.value is error


def test_an_error_after_the_first_event_is_a_stream_error(stream_of):
    error = ThrottlingError("slow down", code="ThrottlingException", status=429, request_id="r", retry_after=2.0)
    error.annotate(backend="bedrock", model="m")
    stream = stream_of(Source(HELLO[:2], error))
    with pytest.raises(StreamError, match="slow down") as caught:
        list(stream)
    broken = caught.value
    assert broken.__cause__ is error
    assert (broken.code, broken.status, broken.request_id) == ("ThrottlingException", 429, "r")
    assert (broken.retry_after, broken.backend, broken.model) == (2.0, "bedrock", "m")
    assert not broken.retryable
    assert broken.partial.text == "Hel"
    with pytest.raises(StreamError) as again:
        _ = stream.response
    assert again.value is broken


def test_a_stream_error_gains_the_partial_response(stream_of):
    error = StreamError("cut inside a frame")
    with pytest.raises(StreamError) as caught:
        list(stream_of(Source(HELLO[:2], error)))
    assert caught.value is error
    assert error.partial.text == "Hel"


def test_a_source_that_ends_early_was_cut(stream_of):
    stream = stream_of(Source(HELLO[:3]))
    with pytest.raises(StreamError, match="without messageStop") as caught:
        list(stream)
    assert caught.value.partial.text == "Hello"
    with pytest.raises(StreamError):
        _ = stream.response


def test_a_plain_generator_is_stopped_by_close():
    ended = []

    def events():
        try:
            yield from HELLO
        finally:
            ended.append(True)

    with ConverseStream(events()) as stream:
        next(stream)
    assert ended == [True]


def test_a_list_of_events_is_a_source_too():
    with ConverseStream(HELLO) as stream:
        assert stream.response.text == "Hello"


def test_async_with_and_cancellation():
    async def main():
        source = Source(HELLO)
        started = asyncio.Event()

        class Stalled(Source):
            async def __anext__(self):
                started.set()
                await asyncio.Event().wait()

        async with AsyncConverseStream(source) as stream:
            assert [event async for event in stream] == HELLO
            assert (await stream.response).text == "Hello"
        assert source.closed == 1

        stalled = Stalled([])

        async def read():
            async with AsyncConverseStream(stalled) as stream:
                return await stream.response

        task = asyncio.create_task(read())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert stalled.closed == 1

    asyncio.run(main())
