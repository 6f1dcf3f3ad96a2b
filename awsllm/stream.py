"""Streams: events folded into a response, a response replayed as events, and the stream object that a caller holds.

``fold`` is the only accumulator of awsllm. What the wire gives in pieces is put together like this, by block index:

- text deltas are joined to one ``Text``; with citation deltas in the same block they are a ``Citations``;
- thinking and its signature are joined to one ``Reasoning``, redacted thinking to another;
- a tool's input is parsed once its fragments are joined; an empty one is ``{}``. One that is not JSON, because the
  answer was cut in the middle, stays the raw text, so nothing of it is lost;
- a tool result's items are gathered; an image's bytes are joined.
- a block or delta newer than this version is an ``Unknown`` whose value lists what came.

A stream may carry several messages, one after the other, where a tool loop runs behind it: the response's ``message``
is the last answer, its ``messages`` are all of them. Between two answers stands the user turn with the tools' results:
it starts and has blocks, and no ``MessageStop``, since that says why a model stopped.

Once a caller has seen an event, whatever goes wrong is a ``StreamError`` that carries the partial response.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, TypeAlias, TypeVar, assert_never

import msgspec
from msgspec.structs import replace

from awsllm.errors import AwsllmError, StreamError, UnsupportedError
from awsllm.types import (
    BlockDelta,
    BlockStart,
    Bytes,
    Citation,
    CitationDelta,
    Citations,
    ContentBlock,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    ConverseResponse,
    Image,
    ImageDelta,
    ImageStart,
    Json,
    JsonValue,
    MediaSource,
    Message,
    MessageStart,
    MessageStop,
    Metadata,
    Reasoning,
    ReasoningDelta,
    StreamEvent,
    Text,
    TextDelta,
    ToolResult,
    ToolResultContent,
    ToolResultDelta,
    ToolResultStart,
    ToolUse,
    ToolUseDelta,
    ToolUseStart,
    Unknown,
)

E = TypeVar("E")
R = TypeVar("R")

Finish: TypeAlias = Callable[[ConverseResponse], ConverseResponse]


# --- fold ------------------------------------------------------------------------------------------------------------


class _Text:
    """Text, or text with citations."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.citations: list[Citation] = []

    def build(self) -> ContentBlock:
        text = Text("".join(self.pieces))
        if not self.citations:
            return text
        return Citations((text,) if self.pieces else (), tuple(self.citations))


class _Reasoning:
    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.signatures: list[str] = []

    def build(self) -> ContentBlock:
        return Reasoning("".join(self.pieces), "".join(self.signatures) if self.signatures else None)


class _Redacted:
    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def build(self) -> ContentBlock:
        return Reasoning(redacted=b"".join(self.pieces))


class _ToolUse:
    def __init__(self, start: ToolUseStart) -> None:
        self.start = start
        self.pieces: list[str] = []

    def build(self) -> ContentBlock:
        start = self.start
        return ToolUse(start.id, start.name, _parse_input("".join(self.pieces)), start.type, extra=start.extra)


class _ToolResult:
    def __init__(self, start: ToolResultStart) -> None:
        self.start = start
        self.content: list[ToolResultContent] = []

    def build(self) -> ContentBlock:
        start = self.start
        return ToolResult(start.tool_use_id, tuple(self.content), start.status, start.type, extra=start.extra)


class _Image:
    def __init__(self, start: ImageStart) -> None:
        self.start = start
        self.pieces: list[bytes] = []
        self.elsewhere: MediaSource | None = None
        self.error: str | None = None

    def push(self, delta: ImageDelta) -> None:
        if isinstance(delta.source, Bytes):
            self.pieces.append(delta.source.data)
        elif delta.source is not None:
            self.elsewhere = delta.source
        if delta.error is not None:
            self.error = delta.error

    def build(self) -> ContentBlock:
        """A failed image has no bytes."""
        source = Bytes(b"".join(self.pieces)) if self.elsewhere is None else self.elsewhere
        return Image(self.start.format, source, self.error)


class _Newer:
    """A block that this version does not know."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.values: list[JsonValue] = []

    def build(self) -> ContentBlock:
        return Unknown(self.tag, self.values[:])


_Open: TypeAlias = _Text | _Reasoning | _Redacted | _ToolUse | _ToolResult | _Image | _Newer
_O = TypeVar("_O", _Text, _Reasoning, _Redacted, _ToolUse, _ToolResult, _Image, _Newer)
_NO_TOOL_USE = ToolUseStart("", "")
_NO_TOOL_RESULT = ToolResultStart("")
_NO_IMAGE = ImageStart("")


def _parse_input(text: str) -> JsonValue:
    if not text.strip():
        return {}
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return text


class Fold:
    """Events in, one response out; ``partial`` may be asked for at any time. ``made_by`` is that of its thoughts."""

    def __init__(self, *, model: str | None = None, request_id: str | None = None) -> None:
        self.made_by: str | None = None
        self._model = model
        self._request_id = request_id
        self._earlier: list[Message] = []
        self._role = "assistant"
        self._between_answers = False
        self._blocks: dict[int, list[_Open]] = {}
        self._stop: MessageStop | None = None
        self._metadata = Metadata()

    def push(self, event: StreamEvent) -> None:
        match event:
            case ContentBlockDelta(index, delta):
                self._grow(index, delta)
            case ContentBlockStart(index, start):
                self._blocks.setdefault(index, []).append(_open(start))
            case MessageStart():
                self._begin(event)
            case MessageStop():
                self._stop = event
            case Metadata():
                self._metadata = event
            case ContentBlockStop() | Unknown():
                pass
            case _:
                assert_never(event)

    def partial(self) -> ConverseResponse:
        """The response so far; ``stop_reason`` is None until the message has stopped."""
        turn = self._message()
        stop, metadata = self._stop, self._metadata
        return ConverseResponse(
            message=self._earlier[-1] if self._between_answers else turn,
            stop_reason=stop.stop_reason if stop else None,
            usage=metadata.usage,
            latency_ms=metadata.latency_ms,
            extra=stop.extra if stop else None,
            trace=metadata.trace,
            performance_config=metadata.performance_config,
            service_tier=metadata.service_tier,
            model=self._model,
            request_id=self._request_id,
            warnings=metadata.warnings,
            from_cache=metadata.from_cache,
            attempts=metadata.attempts,
            messages=(*self._earlier, turn),
        )

    def finish(self) -> ConverseResponse:
        """The whole response. Raises ``StreamError`` with the partial one where ``MessageStop`` never came."""
        if self._stop is None:
            error = StreamError("the stream ended without messageStop: the answer was cut", request_id=self._request_id)
            error.partial = self.partial()
            raise error
        return self.partial()

    def _message(self) -> Message:
        indices = sorted(self._blocks)
        content = [block.build() for index in indices for block in self._blocks[index]]
        if self.made_by:
            content = [replace(x, made_by=self.made_by) if isinstance(x, Reasoning) else x for x in content]
        return Message(self._role, tuple(content))

    def _begin(self, start: MessageStart) -> None:
        if self._stop is not None:  # a tool loop's next turn
            self._earlier.append(self._message())
            self._blocks = {}
            self._between_answers = start.role == "user"
            if not self._between_answers:
                self._stop = None
        self._role = start.role
        self._request_id = start.request_id or self._request_id

    def _grow(self, index: int, delta: BlockDelta) -> None:
        match delta:
            case TextDelta(text):
                self._at(index, _Text, _Text).pieces.append(text)
            case ToolUseDelta(input):
                self._at(index, _ToolUse, lambda: _ToolUse(_NO_TOOL_USE)).pieces.append(input)
            case ReasoningDelta():
                self._grow_reasoning(index, delta)
            case CitationDelta(citation):
                self._at(index, _Text, _Text).citations.append(citation)
            case ToolResultDelta(content):
                self._at(index, _ToolResult, lambda: _ToolResult(_NO_TOOL_RESULT)).content.extend(content)
            case ImageDelta():
                self._at(index, _Image, lambda: _Image(_NO_IMAGE)).push(delta)
            case Unknown(tag, value):
                self._at(index, _Newer, lambda: _Newer(tag)).values.append(value)
            case _:
                assert_never(delta)

    def _grow_reasoning(self, index: int, delta: ReasoningDelta) -> None:
        if delta.redacted is not None:
            self._at(index, _Redacted, _Redacted).pieces.append(delta.redacted)
            return
        block = self._at(index, _Reasoning, _Reasoning)
        if delta.text is not None:
            block.pieces.append(delta.text)
        if delta.signature is not None:
            block.signatures.append(delta.signature)

    def _at(self, index: int, kind: type[_O], new: Callable[[], _O]) -> _O:
        """The open block of that kind at the index; a stream that mixes kinds in one block gets one block of each."""
        for block in self._blocks.get(index, ()):
            if isinstance(block, kind):
                return block
        self._blocks.setdefault(index, []).append(opened := new())
        return opened


def _open(start: BlockStart) -> _Open:
    match start:
        case ToolUseStart():
            return _ToolUse(start)
        case ToolResultStart():
            return _ToolResult(start)
        case ImageStart():
            return _Image(start)
        case Unknown(tag, value):
            newer = _Newer(tag)
            newer.values.append(value)
            return newer
        case _:
            assert_never(start)


def fold(events: Iterable[StreamEvent], *, model: str | None = None, request_id: str | None = None) -> ConverseResponse:
    """The response that the events make up. Raises ``StreamError`` with the partial one where the stream was cut."""
    state = Fold(model=model, request_id=request_id)
    for event in events:
        state.push(event)
    return state.finish()


# --- replay ----------------------------------------------------------------------------------------------------------


def replay(response: ConverseResponse) -> Iterator[StreamEvent]:
    """The events that fold to the response; one without a stop reason is replayed as it was: cut. Raises
    ``UnsupportedError`` where a stream has no event for a block."""
    yield MessageStart(response.message.role, response.request_id)
    for index, block in enumerate(response.message.content):
        yield from _replay_block(index, block)
        yield ContentBlockStop(index)
    if response.stop_reason is None:
        return
    yield MessageStop(response.stop_reason, response.extra)
    yield Metadata(
        response.usage,
        response.latency_ms,
        response.trace,
        response.performance_config,
        response.service_tier,
        response.warnings,
        response.from_cache,
        response.attempts,
    )


def result_events(turn: Message) -> Iterator[StreamEvent]:
    """The events of the user turn with which a tool loop goes on: its tools' results, if it has any."""
    results = [block for block in turn.content if isinstance(block, ToolResult)]
    if results:
        yield MessageStart(turn.role)
    for index, result in enumerate(results):
        start = ToolResultStart(result.tool_use_id, result.type, result.status, result.extra)
        yield ContentBlockStart(index, start)
        yield ContentBlockDelta(index, ToolResultDelta(result.content))
        yield ContentBlockStop(index)


def _replay_block(index: int, block: ContentBlock) -> Iterator[StreamEvent]:
    if block_extra := not isinstance(block, (Unknown, ToolUse, ToolResult)) and block.extra:
        raise UnsupportedError(f"a stream cannot carry the members {', '.join(block_extra)} of a block")
    match block:
        case ToolUse(id, name, input, type):
            yield ContentBlockStart(index, ToolUseStart(id, name, type, block.extra))
            yield ContentBlockDelta(index, ToolUseDelta(msgspec.json.encode(input).decode()))
        case ToolResult(tool_use_id, _, status, type):
            yield ContentBlockStart(index, ToolResultStart(tool_use_id, type, status, block.extra))
            yield ContentBlockDelta(index, ToolResultDelta(_streamable(block)))
        case Image(format, source, error):
            yield ContentBlockStart(index, ImageStart(format))
            yield ContentBlockDelta(index, ImageDelta(source, error))
        case _:
            for delta in _deltas(block):
                yield ContentBlockDelta(index, delta)


def _deltas(block: ContentBlock) -> Iterator[BlockDelta]:
    """The deltas of a block that has no start event."""
    match block:
        case Text(text):
            yield TextDelta(text)
        case Reasoning(redacted=bytes() as redacted):
            yield ReasoningDelta(redacted=redacted)
        case Reasoning(text, signature):
            yield ReasoningDelta(text=text)
            if signature is not None:
                yield ReasoningDelta(signature=signature)
        case Citations(content, citations):
            for item in content:
                if isinstance(item, Unknown):
                    raise UnsupportedError(f"a stream cannot carry the cited content {item.tag!r}")
                yield TextDelta(item.text)
            for citation in citations:
                yield CitationDelta(citation)
        case _:
            raise UnsupportedError(f"a stream cannot carry a block of the kind {type(block).__name__}")


def _streamable(block: ToolResult) -> tuple[ToolResultContent, ...]:
    for item in block.content:
        if not isinstance(item, (Text, Json)):
            raise UnsupportedError(f"a stream cannot carry {type(item).__name__} in a tool result")
    return block.content


# --- the stream that a caller holds ----------------------------------------------------------------------------------


class _Progress:
    """What the sync and the async stream share: everything but the waiting."""

    def __init__(
        self,
        events: Iterable[StreamEvent] | AsyncIterator[StreamEvent],
        finish: Finish | None = None,
        *,
        model: str | None = None,
        request_id: str | None = None,
    ) -> None:
        """``finish`` is given the folded response and returns the one that ``response`` shall be."""
        self._source: Any = iter(events) if isinstance(events, Iterable) else events
        self._finish = finish
        self._fold = Fold(model=model, request_id=request_id)
        self._read_output: Callable[[ConverseResponse], object] | None = None
        self._begun = self._closed = False
        self._error: AwsllmError | None = None
        self._response: ConverseResponse | None = None

    def knowing(self, made_by: str | None, read_output: Callable[[ConverseResponse], object] | None) -> Self:
        """The stream itself, told whose thoughts it carries, and what makes ``partial_output`` of ``partial``."""
        self._fold.made_by, self._read_output = made_by, read_output
        return self

    def through(self, events: Callable[[Any], Any], finish: Callable[[Finish], Finish]) -> None:
        """Read the events, and make the response, through these from now on."""
        self._source = events(self._source)
        self._finish = finish(self._finish or (lambda answer: answer))

    @property
    def partial(self) -> ConverseResponse:
        """The response so far, whatever became of the stream."""
        return self._fold.partial() if self._response is None else self._response

    @property
    def partial_output(self) -> Any:
        """The typed output so far, for showing it: of ``output_type`` once it satisfies it, before that a pydantic
        model with the members that are there, or plain JSON. None where there is nothing yet, or no such type."""
        if self._response is not None:
            return self._response.output
        return None if self._read_output is None else self._read_output(self._fold.partial())

    def _going_on(self) -> bool:
        """Whether there may be more events. Raises what broke the stream, or that it was closed."""
        if self._response is not None:
            return False
        if self._error is not None:
            raise self._error
        if self._closed:
            self._fail(closed_early())
        return True

    def _push(self, event: StreamEvent) -> StreamEvent:
        self._fold.push(event)
        self._begun = True
        return event

    def _end(self) -> None:
        """The events have ended."""
        try:
            response = self._fold.finish()
            self._response = self._finish(response) if self._finish else response
        except AwsllmError as error:
            self._error = error
            raise

    def _fail(self, error: AwsllmError) -> NoReturn:
        """Remember and raise the error; once an event was seen, as a ``StreamError`` caused by it."""
        if not self._begun:
            self._error = error
            raise error
        broken = error if isinstance(error, StreamError) else broken_by(error)
        broken.partial = self._fold.partial()  # of every turn; what a loop's own fold knew was one turn
        self._error = broken
        if broken is error:
            raise broken
        raise broken from error

    def _interrupted(self, error: BaseException) -> None:
        """Remember that something else (Ctrl-C, a cancelled task) ended the events: that is no end of the answer."""
        self._error = interrupted_by(error)
        self._error.partial = self._fold.partial()


def closed_early() -> StreamError:
    return StreamError("the stream was closed before its end; nothing more can be read from it")


def interrupted_by(error: BaseException) -> StreamError:
    broken = StreamError(f"the stream was interrupted by {type(error).__name__}; nothing more can be read")
    broken.__cause__ = error
    return broken


def broken_by(error: AwsllmError) -> StreamError:
    """What an error is once an event was seen."""
    message = f"the stream broke after it began: {error.message}"
    broken = StreamError(
        message, code=error.code, status=error.status, request_id=error.request_id, retry_after=error.retry_after
    )
    broken.annotate(backend=error.backend, model=error.model)
    broken.messages, broken.usage, broken.cost = error.messages, error.usage, error.cost
    broken.attempts = error.attempts
    for note in getattr(error, "__notes__", ()):
        broken.add_note(note)
    return broken


class _Waiting(Generic[E, R]):
    """The half of a stream that waits: iteration, the whole response, closing. The other half, which stands before it
    among the bases, keeps what has come (``_Progress``, ``event_stream``) and has these members."""

    _source: Any
    _closed: bool

    if TYPE_CHECKING:

        @property
        def partial(self) -> R: ...
        def _going_on(self) -> bool: ...
        def _push(self, event: E) -> E: ...
        def _end(self) -> None: ...
        def _fail(self, error: AwsllmError) -> NoReturn: ...
        def _interrupted(self, error: BaseException) -> None: ...


class Iterated(_Waiting[E, R]):
    """The half that waits, for ``for``."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> E:
        if not self._going_on():
            raise StopIteration
        try:
            return self._push(next(self._source))
        except StopIteration:
            self._end()
            raise
        except AwsllmError as error:
            self._fail(error)
        except BaseException as error:
            self._interrupted(error)
            raise

    @property
    def response(self) -> R:
        """The whole response; reads what is left of the stream."""
        for _ in self:
            pass
        return self.partial

    def close(self) -> None:
        """Stop, wherever the stream is. May be called twice."""
        self._closed = True
        close = getattr(self._source, "close", None)
        if close is not None:
            close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncIterated(_Waiting[E, R]):
    """``Iterated``, awaited."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E:
        if not self._going_on():
            raise StopAsyncIteration
        try:
            return self._push(await anext(self._source))
        except StopAsyncIteration:
            self._end()
            raise
        except AwsllmError as error:
            self._fail(error)
        except BaseException as error:
            self._interrupted(error)
            raise

    @property
    def response(self) -> Awaitable[R]:
        """The whole response; reads what is left of the stream."""
        return self._read()

    async def _read(self) -> R:
        async for _ in self:
            pass
        return self.partial

    async def close(self) -> None:
        """Stop, wherever the stream is. May be called twice."""
        self._closed = True
        close = getattr(self._source, "aclose", None)
        if close is not None:
            await close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


class ConverseStream(_Progress, Iterated[StreamEvent, ConverseResponse]):
    """An answer while it comes: iterate its events, or its ``text_stream``, then read ``response``. As a context
    manager it closes itself, which frees the connection and stops a local model. For one thread at a time."""

    @property
    def text_stream(self) -> Iterator[str]:
        """The pieces of the answer's text, without thinking."""
        for event in self:
            if isinstance(event, ContentBlockDelta) and isinstance(event.delta, TextDelta) and event.delta.text:
                yield event.delta.text


class AsyncConverseStream(_Progress, AsyncIterated[StreamEvent, ConverseResponse]):
    """``ConverseStream``, awaited: ``async for event in stream``; ``await`` its ``response`` and its ``close()``."""

    @property
    async def text_stream(self) -> AsyncIterator[str]:
        """The pieces of the answer's text, without thinking."""
        async for event in self:
            if isinstance(event, ContentBlockDelta) and isinstance(event.delta, TextDelta) and event.delta.text:
                yield event.delta.text
