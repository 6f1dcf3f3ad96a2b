"""A backend whose answers a test writes down: it satisfies the backend protocol without a model.

What a test gives is a *script*: one reply, used for every call, or a list of replies, used in turn. A list that has
run out raises ``ScriptExhaustedError`` (an assertion, not an error of any service), because a test that makes more
calls than it planned for is wrong. One reply is

    a str                       the whole text; cut after ``max_tokens`` words, as a model would be
    a content block, or a tuple of blocks and strings, or a Message
    a list within the list      the same as a tuple: one turn, such as several tool uses at once
    a ConverseResponse          as it is
    a dict                      a block, a message or an answer in boto3's shape, {"toolUse": {"name": …, "input": {}}},
                                {"role": "assistant", "content": […]}, {"output": {…}}; ids of tool uses, counts and
                                the stop reason may be left out
    an exception                raised by the call; by a stream before its first event
    Broken(reply, after=n)      a stream that raises after n events; a plain call raises at once
    an iterator of StreamEvents the stream itself, so that a test decides when each event comes (from a callable; for
                                the async twin it may be asynchronous)
    local()                     what a local model answers (``testing.table``)
    a callable                  given the request, returns any of these

Converse uses up replies; so does ``predict``, whose reply is the result (a ``Classification``, a text), and an
operation that is not named here, whose response the reply then is, as it stands.

Counts are honest for what this is: a token is a word between white space. Vectors come from a hash of the text, so
equal texts are equal, others nearly orthogonal, and nothing depends on the process. An image is one colour, from a hash
of what was asked, and one that is changed keeps its size; documents are ranked by the share of the query's
words that they hold.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
import struct
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar, cast

from msgspec.structs import replace

from awsllm.backend import UNLIMITED, Attempt
from awsllm.errors import AwsllmError, ModelTimeoutError, ServerError, ValidationError
from awsllm.server.surfaces.scripted_images import scripted_images
from awsllm.types import (
    Block,
    ContentBlock,
    ContentBlockDelta,
    ConverseRequest,
    ConverseResponse,
    CountTokensRequest,
    Json,
    JsonObject,
    Message,
    Request,
    Streamed,
    StreamEvent,
    Text,
    TextDelta,
    ToolResult,
    ToolSpec,
    ToolUse,
    ToolUseDelta,
    Unknown,
    Usage,
    Value,
)
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.types.media import ImageEditRequest, ImageRequest, ImageResponse
from awsllm.types.predict import PredictedText, PredictRequest, PredictResponse
from awsllm.types.reranking import RankedDocument, RerankRequest, RerankResponse
from awsllm.wire.converse import decode_message, decode_response
from awsllm.wire.converse.blocks import decode_block

E = TypeVar("E")
R = TypeVar("R")

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


Events: TypeAlias = Iterator[Any] | AsyncIterator[Any]
Turn: TypeAlias = tuple[str | ContentBlock | JsonObject, ...] | list[str | ContentBlock | JsonObject]
Content: TypeAlias = str | ContentBlock | Turn | Message | ConverseResponse | JsonObject
Made: TypeAlias = Content | BaseException | Broken | Events | Value
Reply: TypeAlias = Made | Callable[[Any], Made]
Script: TypeAlias = Reply | list[Any] | Mapping[str, Any]

_MOST = 10_000  # requests that are surely known: a server may answer from a script for days


class ScriptedBackend:
    """Answers from a script (see above). ``requests`` has every request in order, embeddings included, of very many the
    last; ``cancelled`` is set once a stream has been closed before its end. Safe to share between threads."""

    def __init__(self, replies: Script = "Hello.", *, dimensions: int = 384) -> None:
        self.requests: list[Request[Any]] = []
        self.cancelled = threading.Event()
        self.dimensions = dimensions
        self._single = not isinstance(replies, list)
        self._replies: list[Any] = list(replies) if isinstance(replies, list) else [replies]
        self._used = 0
        self._lock = threading.Lock()

    def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        _check(attempt)
        if self._single and _is_place(self._replies[0]):
            self._record(request)
            real: R = self._replies[0].ask(request, attempt)
            return real
        compute: Callable[[ScriptedBackend, Any], Any] = _OPERATIONS.get(type(request), ScriptedBackend._reply)
        response: R = compute(self, request)
        return response

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> Iterator[E]:
        _check(attempt)
        try:
            yield from self.events(self.next_reply(request), request)
        except GeneratorExit:
            self.cancelled.set()
            raise

    def events(self, reply: Any, request: Streamed[Any, Any]) -> Iterator[Any]:
        """The stream that ``reply``, taken by ``next_reply``, stands for."""
        if _is_place(reply):
            return cast("Iterator[Any]", reply.stream(request))
        return _only_events(reply) if isinstance(reply, Iterator) else play(reply, request)

    def _converse(self, request: ConverseRequest) -> ConverseResponse:
        from awsllm.stream import fold

        match self.next_reply(request):
            case place if _is_place(place):
                return cast("Any", place).ask(request)  # type: ignore[no-any-return]
            case BaseException() as error:
                raise error
            case Broken(error=error):
                raise error
            case Iterator() as events:
                return fold(_only_events(events), model=request.model)
            case reply:
                return respond(cast("Content", reply), request)

    def _embed(self, request: EmbedRequest) -> EmbedResponse:
        self._record(request)
        size = request.dimensions or self.dimensions
        words = sum(len(text.split()) for text in request.texts)
        return EmbedResponse(
            vectors=[unit_vector(str(item), size) for item in request.inputs or request.texts],
            usage=Usage(input_tokens=words, total_tokens=words),
            model=request.model,
        )

    def _make_images(self, request: ImageRequest | ImageEditRequest) -> ImageResponse:
        self._record(request)
        return scripted_images(request)

    def _rerank(self, request: RerankRequest) -> RerankResponse:
        self._record(request)
        return rank(request)

    def _count_tokens(self, request: CountTokensRequest) -> int:
        self._record(request)
        return count_words(request.converse)

    def _predict(self, request: PredictRequest) -> PredictResponse:
        """A text is a summary or the like, a value of a task is the result."""
        reply: Any = self._reply(request)
        if isinstance(reply, str):
            reply = PredictedText((reply,))
        return reply if isinstance(reply, PredictResponse) else PredictResponse(result=reply, task=request.task)

    def _reply(self, request: Request[Any]) -> Any:
        """An operation that is none of these: the reply that is due is its response, as it is."""
        reply = self.next_reply(request)
        if isinstance(reply, BaseException):
            raise reply
        return reply

    def close(self) -> None:
        """Nothing to free."""

    def next_reply(self, request: Request[Any]) -> Made:
        """Record the request and take the reply that is due, computed where it is a callable."""
        with self._lock:
            self._keep(request)
            index, self._used = self._used, self._used + 1
        if self._single:
            index = 0
        elif index >= len(self._replies):
            raise ScriptExhaustedError(_exhausted(index + 1, self._replies, request))
        reply = self._replies[index]
        made: Made = reply(request) if callable(reply) else reply
        return made

    def unused(self) -> list[str]:
        """The replies of a list that no call has used, in words. One that stands alone is for any number of calls."""
        with self._lock:
            return [] if self._single else [f"{reply!r:.80}" for reply in self._replies[self._used :]]

    def _record(self, request: Request[Any]) -> None:
        with self._lock:
            self._keep(request)

    def _keep(self, request: Request[Any]) -> None:
        self.requests.append(request)
        if len(self.requests) >= 2 * _MOST:
            del self.requests[:-_MOST]


_OPERATIONS: dict[type[Request[Any]], Callable[[ScriptedBackend, Any], Any]] = {
    ConverseRequest: ScriptedBackend._converse,
    CountTokensRequest: ScriptedBackend._count_tokens,
    EmbedRequest: ScriptedBackend._embed,
    ImageRequest: ScriptedBackend._make_images,
    ImageEditRequest: ScriptedBackend._make_images,
    PredictRequest: ScriptedBackend._predict,
    RerankRequest: ScriptedBackend._rerank,
}


class AsyncScriptedBackend:
    """The same, awaited. Given a ScriptedBackend it shares its script and its record."""

    def __init__(self, replies: Script | ScriptedBackend = "Hello.", *, dimensions: int = 384) -> None:
        self.sync = replies if isinstance(replies, ScriptedBackend) else ScriptedBackend(replies, dimensions=dimensions)
        self.requests = self.sync.requests
        self.cancelled = self.sync.cancelled

    async def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        return self.sync.ask(request, attempt)

    async def count_input(self, request: ConverseRequest) -> int:
        """As ``AsyncLocalBackend`` counts, in words. It is no request of anybody's, and not recorded."""
        return count_words(request)

    async def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> AsyncIterator[E]:
        _check(attempt)
        reply: Any = self.sync.next_reply(request)
        try:
            if isinstance(reply, AsyncIterator):
                async for event in reply:
                    yield event
            else:
                for event in self.sync.events(reply, request):
                    yield event
                    await asyncio.sleep(0)
        except (GeneratorExit, asyncio.CancelledError):
            self.cancelled.set()
            raise

    async def close(self) -> None:
        """Nothing to free."""


def _is_place(reply: Any) -> bool:
    """Whether a reply is a place where models run, to be asked itself."""
    return hasattr(reply, "ask") and hasattr(reply, "stream")


def _exhausted(call: int, replies: list[Any], request: Request[Any]) -> str:
    """What a test wants to know of the call that it did not plan for; not what was asked, which may be long."""
    count = f"{len(replies)} {'reply' if len(replies) == 1 else 'replies'}"
    text = f"call {call}, but the script has {count} (it was a {request.operation} of {request.model})"
    if replies and isinstance(replies[-1], AwsllmError) and replies[-1].retryable:
        return f"{text}; the last is an error after which boto3 and awsllm try again: give one for each try"
    return f"{text}; a reply that stands alone, not in a list, answers every call"


def respond(content: Content, request: ConverseRequest) -> ConverseResponse:
    """The response that ``content`` stands for, its counts and stop reason included. What stands for none is a mistake
    of the script, and no refusal that the program under test could take for the service's."""
    try:
        return _respond(content, request)
    except AwsllmError as error:
        hint = (
            "; a dict is boto3's answer to Converse, or a message or a block of one; JSON that the model shall write "
            "is a str; a body of InvokeModel is made of the reply"
        )
        because = f"{error.message}{hint if isinstance(content, dict) else ''}"
        raise TypeError(f"this {type(content).__name__} is not a scripted reply: {because}") from error


def _respond(content: Content, request: ConverseRequest) -> ConverseResponse:
    match content:
        case ConverseResponse():
            return content
        case dict():
            return _of_dict(content, request)
        case str():
            return _limited(content, request)
        case Message():
            message = content
        case Block():
            message = Message.assistant(content)
        case tuple() | list():
            message = Message.assistant(*map(_block, _identified(content)))
        case _:
            raise TypeError(
                f"{content!r:.60} is not a scripted reply; give a str, blocks, a Message, a response, an "
                "exception, Broken(...), a list of these or a callable that returns one"
            )
    return _response(message, _stop_reason(message), request)


def _of_dict(given: Any, request: ConverseRequest) -> ConverseResponse:
    """What boto3's shape of an answer, a message or a block stands for."""
    match given:
        case {"output": {"message": {"content": list(blocks)} as message}}:
            output = {"message": {"role": "assistant", **message, "content": [*_identified(blocks)]}}
            return _completed(decode_response({**given, "output": output}, model=request.model), request)
        case {"output": _}:
            return decode_response(given, model=request.model)
        case {"content": list(blocks)}:
            turn = decode_message({"role": "assistant", **given, "content": [*_identified(blocks)]})
        case _:
            turn = Message.assistant(*map(_block, _identified([given])))
    return _response(turn, _stop_reason(turn), request)


def _completed(response: ConverseResponse, request: ConverseRequest) -> ConverseResponse:
    """The response, with what a test need not write down of it."""
    stop_reason = response.stop_reason or _stop_reason(response.message)
    counted = _response(response.message, stop_reason, request).usage
    return replace(response, stop_reason=stop_reason, usage=response.usage if response.usage != Usage() else counted)


def _stop_reason(message: Message) -> str:
    return "tool_use" if message.tool_uses else "end_turn"


def _block(item: Any) -> Any:
    """A block as it is, or read from boto3's shape of it."""
    if not isinstance(item, dict):
        return item
    block = decode_block(item)
    if isinstance(block, Unknown):
        raise ValidationError(f"{item!r:.60} is none of Converse's content blocks, such as {{'text': 'Hello'}}")
    return block


def _identified(items: Iterable[Any]) -> Iterator[Any]:
    """The items, each tool use of boto3's shape that has no id with one of its name."""
    count: Counter[str] = Counter()
    for item in items:
        match item:
            case {"toolUse": {"name": str(name), **use}} if "toolUseId" not in use:
                count[name] += 1
                number = "" if count[name] == 1 else f"_{count[name]}"
                yield {"toolUse": {"toolUseId": f"tooluse_{name}{number}", "name": name, **use}}
            case _:
                yield item


def _only_events(events: Iterator[Any]) -> Iterator[Any]:
    """The events. Raises ``TypeError`` for replies among them."""
    try:
        for event in events:
            if isinstance(event, (str, dict, Message, BaseException, tuple)):
                raise TypeError(
                    f"{event!r:.60} is no event of a stream: an iterator is one stream, and replies to be used in turn "
                    "are a list"
                )
            yield event
    finally:
        close = getattr(events, "close", None)
        if close is not None:
            close()


def play(reply: Made, request: Request[Any]) -> Iterator[StreamEvent]:
    """``reply`` as events, its text and tool arguments in pieces of a word."""
    from awsllm.stream import replay

    match reply:
        case BaseException():
            raise reply
        case Broken(inner_reply, after, error):
            inner = inner_reply(request) if callable(inner_reply) else inner_reply
            for _, event in zip(range(after), play(inner, request), strict=False):
                yield event
            raise error
        case _:
            for event in replay(respond(cast("Content", reply), cast("ConverseRequest", request))):
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


def _check(attempt: Attempt) -> None:
    if attempt.deadline is not None and time.monotonic() >= attempt.deadline:
        raise ModelTimeoutError("the deadline has passed")
