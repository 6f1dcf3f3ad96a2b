"""A backend whose answers a test writes down: it satisfies the backend protocol without a model.

What a test gives is a *script*: one reply, used for every call, or a list of replies, used in turn. A list that has
run out raises ``ScriptExhaustedError`` (an assertion, not an error of any service), because a test that makes more
calls than it planned for is wrong. One reply is

    a str                       the whole text; cut after ``max_tokens`` words, as a model would be
    a content block, or a tuple of them, or a Message
    a ConverseResponse          as it is; so is a dict in the shape of boto3's answer
    an exception                raised by the call; by a stream before its first event
    Broken(reply, after=n)      a stream that raises after n events; a plain call raises at once
    an iterator of StreamEvents the stream itself, so that a test decides when each event comes (from a callable; for
                                the async twin it may be asynchronous)
    a callable                  given the ConverseRequest, returns any of these

Counts are honest for what this is: a token is a word between white space. Vectors come from a hash of the text, so
equal texts are equal, others nearly orthogonal, and nothing depends on the process. An image is one colour, from a hash
of the prompt and the seed; documents are ranked by the share of the query's words that they hold.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
import struct
import threading
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from msgspec.structs import replace

from awsllm.errors import ModelTimeoutError, ServerError
from awsllm.types import (
    Block,
    Bytes,
    ContentBlock,
    ContentBlockDelta,
    ConverseRequest,
    ConverseResponse,
    EmbedRequest,
    EmbedResponse,
    Image,
    ImageRequest,
    ImageResponse,
    Json,
    JsonObject,
    Message,
    RankedDocument,
    RerankRequest,
    RerankResponse,
    StreamEvent,
    Text,
    TextDelta,
    ToolResult,
    ToolSpec,
    ToolUse,
    ToolUseDelta,
    Usage,
)
from awsllm.wire.converse import decode_response

_WORD = re.compile(r"\s*\S+\s*$|\s*\S+")


class ScriptExhaustedError(AssertionError):
    """More calls than the script has replies."""


def _stream_broken() -> BaseException:
    return ServerError("the scripted stream broke", code="modelStreamErrorException", status=424)


@dataclass(frozen=True)
class Broken:
    """A stream that fails after ``after`` events of ``reply``."""

    reply: Reply
    after: int = 2
    error: BaseException = field(default_factory=_stream_broken)


Events: TypeAlias = Iterator[StreamEvent] | AsyncIterator[StreamEvent]
Content: TypeAlias = str | ContentBlock | tuple[ContentBlock, ...] | Message | ConverseResponse | JsonObject
Answer: TypeAlias = Content | BaseException | Broken | Events
Reply: TypeAlias = Answer | Callable[[ConverseRequest], Answer]
Script: TypeAlias = Reply | list[Any]
Request: TypeAlias = ConverseRequest | EmbedRequest | ImageRequest | RerankRequest


class ScriptedBackend:
    """Answers from a script (see above). ``requests`` has every request in order, embeddings included; ``cancelled`` is
    set once a stream has been closed before its end. Safe to share between threads."""

    def __init__(self, replies: Script = "Hello.", *, dimensions: int = 384) -> None:
        self.requests: list[Request] = []
        self.cancelled = threading.Event()
        self.dimensions = dimensions
        self._single = not isinstance(replies, list)
        self._replies: list[Any] = list(replies) if isinstance(replies, list) else [replies]
        self._used = 0
        self._lock = threading.Lock()

    def converse(self, request: ConverseRequest, *, deadline: float | None = None) -> ConverseResponse:
        from awsllm.stream import fold

        match self.next_answer(request, deadline):
            case BaseException() as error:
                raise error
            case Broken(error=error):
                raise error
            case Iterator() as events:
                return fold(events, model=request.model)
            case answer:
                return respond(cast("Content", answer), request)

    def converse_stream(self, request: ConverseRequest, *, deadline: float | None = None) -> Iterator[StreamEvent]:
        answer = self.next_answer(request, deadline)
        try:
            yield from answer if isinstance(answer, Iterator) else play(answer, request)
        except GeneratorExit:
            self.cancelled.set()
            raise

    def embed(self, request: EmbedRequest, *, deadline: float | None = None) -> EmbedResponse:
        _check(deadline)
        self._record(request)
        size = request.dimensions or self.dimensions
        words = sum(len(text.split()) for text in request.texts)
        return EmbedResponse(
            vectors=[unit_vector(text, size) for text in request.texts],
            usage=Usage(input_tokens=words, total_tokens=words),
            model=request.model,
        )

    def generate_image(self, request: ImageRequest, *, deadline: float | None = None) -> ImageResponse:
        _check(deadline)
        self._record(request)
        return ImageResponse(images=tuple(_picture(request, n) for n in range(request.count)), model=request.model)

    def rerank(self, request: RerankRequest, *, deadline: float | None = None) -> RerankResponse:
        _check(deadline)
        self._record(request)
        return rank(request)

    def count_tokens(self, request: ConverseRequest, *, deadline: float | None = None) -> int:
        _check(deadline)
        self._record(request)
        return count_words(request)

    def close(self) -> None:
        """Nothing to free."""

    def next_answer(self, request: ConverseRequest, deadline: float | None) -> Answer:
        """Record the request and take the reply that is due."""
        _check(deadline)
        with self._lock:
            self.requests.append(request)
            index, self._used = self._used, self._used + 1
        if self._single:
            index = 0
        elif index >= len(self._replies):
            raise ScriptExhaustedError(f"call {index + 1}, but the script has {len(self._replies)} replies")
        reply = self._replies[index]
        answer: Answer = reply(request) if callable(reply) else reply
        return answer

    def _record(self, request: Request) -> None:
        with self._lock:
            self.requests.append(request)


class AsyncScriptedBackend:
    """The same, awaited. Given a ScriptedBackend it shares its script and its record."""

    def __init__(self, replies: Script | ScriptedBackend = "Hello.", *, dimensions: int = 384) -> None:
        self.sync = replies if isinstance(replies, ScriptedBackend) else ScriptedBackend(replies, dimensions=dimensions)
        self.requests = self.sync.requests
        self.cancelled = self.sync.cancelled

    async def converse(self, request: ConverseRequest, *, deadline: float | None = None) -> ConverseResponse:
        return self.sync.converse(request, deadline=deadline)

    async def converse_stream(
        self, request: ConverseRequest, *, deadline: float | None = None
    ) -> AsyncIterator[StreamEvent]:
        answer = self.sync.next_answer(request, deadline)
        try:
            if isinstance(answer, AsyncIterator):
                async for event in answer:
                    yield event
            else:
                for event in answer if isinstance(answer, Iterator) else play(answer, request):
                    yield event
                    await asyncio.sleep(0)
        except (GeneratorExit, asyncio.CancelledError):
            self.cancelled.set()
            raise

    async def embed(self, request: EmbedRequest, *, deadline: float | None = None) -> EmbedResponse:
        return self.sync.embed(request, deadline=deadline)

    async def generate_image(self, request: ImageRequest, *, deadline: float | None = None) -> ImageResponse:
        return self.sync.generate_image(request, deadline=deadline)

    async def rerank(self, request: RerankRequest, *, deadline: float | None = None) -> RerankResponse:
        return self.sync.rerank(request, deadline=deadline)

    async def count_tokens(self, request: ConverseRequest, *, deadline: float | None = None) -> int:
        return self.sync.count_tokens(request, deadline=deadline)

    async def close(self) -> None:
        """Nothing to free."""


def respond(content: Content, request: ConverseRequest) -> ConverseResponse:
    """The response that ``content`` stands for, its counts and stop reason included."""
    match content:
        case ConverseResponse():
            return content
        case dict():
            return decode_response(content, model=request.model)
        case str():
            return _limited(content, request)
        case Message():
            message = content
        case Block():
            message = Message.assistant(content)
        case tuple():
            message = Message.assistant(*content)
        case _:
            raise TypeError(
                f"a {type(content).__name__} is not a scripted reply; give a str, blocks, a Message, a response, an "
                "exception, Broken(...), a list of these or a callable that returns one"
            )
    return _response(message, "tool_use" if message.tool_uses else "end_turn", request)


def play(answer: Answer, request: ConverseRequest) -> Iterator[StreamEvent]:
    """``answer`` as events, its text and tool arguments in pieces of a word."""
    from awsllm.stream import replay

    match answer:
        case BaseException():
            raise answer
        case Broken(reply, after, error):
            inner = reply(request) if callable(reply) else reply
            for _, event in zip(range(after), play(inner, request), strict=False):
                yield event
            raise error
        case _:
            for event in replay(respond(cast("Content", answer), request)):
                yield from _pieces(event)


def count_words(request: ConverseRequest) -> int:
    """The words in all texts, tool results and tool declarations of ``request``."""
    texts = [block.text for block in request.system if isinstance(block, Text)]
    texts += [str(tool) for tool in request.tools if isinstance(tool, ToolSpec)]
    for message in request.messages:
        texts += [_words_of(block) for block in message.content]
    return sum(len(text.split()) for text in texts)


def unit_vector(text: str, size: int) -> list[float]:
    """``size`` numbers of length 1 from a hash of ``text``."""
    numbers = struct.unpack(f"<{size}i", hashlib.shake_256(text.encode()).digest(4 * size))
    length = math.sqrt(math.fsum(n * n for n in numbers))
    return [n / length for n in numbers]


def rank(request: RerankRequest) -> RerankResponse:
    """The documents by the share of the query's words that each holds, in their own order where that is equal."""
    wanted = set(request.query.lower().split())
    scores = [len(wanted & set(text.lower().split())) / max(1, len(wanted)) for text in request.documents]
    order = sorted(range(len(scores)), key=lambda i: -scores[i])[: request.top_n]
    words = sum(len(text.split()) for text in (request.query, *request.documents))
    return RerankResponse(
        results=tuple(RankedDocument(i, scores[i], request.documents[i]) for i in order),
        usage=Usage(input_tokens=words, total_tokens=words),
        model=request.model,
    )


def _picture(request: ImageRequest, number: int) -> Image:
    seed = f"{request.prompt}|{request.negative_prompt}|{request.seed}|{number}"
    colour = hashlib.sha256(seed.encode()).digest()[:3]
    return Image(format="png", source=Bytes(png(request.width or 64, request.height or 64, colour)))


def png(width: int, height: int, colour: bytes) -> bytes:
    """A picture of ``width`` by ``height`` pixels, all of them ``colour`` (red, green and blue, a byte each)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + colour * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _limited(text: str, request: ConverseRequest) -> ConverseResponse:
    limit = request.inference_config.max_tokens
    words = _WORD.findall(text)
    if limit is None or len(words) <= limit:
        return _response(Message.assistant(text), "end_turn", request)
    return _response(Message.assistant("".join(words[:limit])), "max_tokens", request)


def _response(message: Message, stop_reason: str, request: ConverseRequest) -> ConverseResponse:
    words = sum(len(_words_of(block).split()) for block in message.content)
    spent = count_words(request)
    usage = Usage(input_tokens=spent, output_tokens=words, total_tokens=spent + words)
    return ConverseResponse(message=message, stop_reason=stop_reason, usage=usage, latency_ms=0, model=request.model)


def _words_of(block: Any) -> str:
    match block:
        case Text(text=text):
            return text
        case ToolUse(name=name, input=value):
            return f"{name} {value}"
        case Json(value=value):
            return str(value)
        case ToolResult(content=content):
            return " ".join(_words_of(part) for part in content)
        case _:
            return ""


def _pieces(event: StreamEvent) -> Iterator[StreamEvent]:
    match event:
        case ContentBlockDelta(delta=TextDelta(text)):
            for piece in _WORD.findall(text) or [text]:
                yield replace(event, delta=TextDelta(piece))
        case ContentBlockDelta(delta=ToolUseDelta(text)):
            for piece in _WORD.findall(text) or [text]:
                yield replace(event, delta=ToolUseDelta(piece))
        case _:
            yield event


def _check(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() >= deadline:
        raise ModelTimeoutError("the deadline has passed")
