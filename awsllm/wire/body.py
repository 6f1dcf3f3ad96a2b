"""What a body is: how one family of models is spoken to, both directions, by whichever service carries the bytes.

Bedrock's InvokeModel and SageMaker's InvokeEndpoint hand bytes through and say nothing of what they mean. A ``Body``
says it: a record of codecs, one for each operation that the family has, and what it serves follows from which codecs
are there. A codec is stateless, pure, and has two halves. The client's half writes requests and reads responses; the
server's half, which the offline AWS answers with, does the opposite: each proves the other.

What a *deployment* adds to its body (a prompt style, a framing) is ``Settings``, handed to every method. What reading a
response needs beside the payload is ``Context``. A codec never says which service carries it: whoever calls it adds
that to an error.

    Payload    bytes with their content type
    Codec      one operation's: encode_request, decode_response | decode_request, encode_response
    Chat       Converse's, which streams as well
    Body       the record; the tables ``wire.invoke`` and ``wire.endpoint`` name them, and load one when it is asked for
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, TypeVar, cast

import msgspec

from awsllm.errors import AwsllmError, UnsupportedError, ValidationError
from awsllm.types import ConverseRequest, ConverseResponse, JsonValue, Request, StreamEvent, Value
from awsllm.wire.reading import JSON

if TYPE_CHECKING:
    from awsllm.types.embedding import EmbedRequest, EmbedResponse  # noqa: F401  # a base names them, in quotes
    from awsllm.types.media import ImageRequest, ImageResponse
    from awsllm.types.reranking import RerankRequest, RerankResponse

R = TypeVar("R")
Q = TypeVar("Q", bound=Request[Any])


class Settings(Value, frozen=True, kw_only=True):
    """What one deployment adds to its body.

    ``prompt`` names the style in which a conversation becomes one text (``text.prompts.STYLES``), for bodies that take
    a text; None: only a single user turn can be sent, as it is. ``framing`` is how streams are framed, sse or jsonlines
    (reading takes both). ``is_list`` says that a TGI-like server answers with a list of one object. ``task`` is the
    Hugging Face task or the like, where a server has one of several. ``batch`` is how many texts one call may carry,
    where the deployment says so; None: as many as the body's default.
    """

    prompt: str | None = None
    framing: str = "sse"
    is_list: bool = False
    task: str | None = None
    batch: int | None = None


_VALUE = msgspec.json.Decoder()  # made once: each reply goes through it


class Payload(Value, frozen=True):
    """Bytes with what must be said of them. ``accept`` and ``attributes`` (SageMaker's ``CustomAttributes``) are the
    request's."""

    body: bytes
    content_type: str = JSON
    accept: str = JSON
    attributes: str | None = None

    def json(self) -> JsonValue:
        """The JSON value of the body. Raises ``ValidationError``."""
        try:
            return cast("JsonValue", _VALUE.decode(self.body))
        except (ValueError, RecursionError) as cause:
            raise ValidationError(
                f"the body is not JSON but {len(self.body):,} bytes of {self.content_type[:100]}"
            ) from cause


class Context(Value, frozen=True, kw_only=True):
    """What decoding needs beside a payload: the request that is answered and the service's id of the call."""

    request: Request[Any]
    settings: Settings = Settings()
    request_id: str | None = None
    warnings: tuple[str, ...] = ()

    def request_as(self, kind: type[Q]) -> Q:
        """The request, which must be a ``kind``."""
        if not isinstance(self.request, kind):
            raise TypeError(f"a response to a {kind.__name__} needs one, not a {type(self.request).__name__}")
        return self.request


class ChunkDecoder(Protocol):
    """The JSON values of one stream, as ``framing.FramingDecoder`` gives them, to events.

    A decoder may have ``grown(data: bytes) -> StreamEvent | None`` besides, a short way for the bytes of one chunk: the
    event of a chunk that does no more than let a block grow, None for any other, which then goes through ``push``.
    """

    def push(self, chunk: JsonValue) -> Iterable[StreamEvent]:
        """Raises the server's error if the chunk is one."""

    def finish(self, *, done: bool = False) -> Iterable[StreamEvent]:
        """The events left at the end. ``done``: ``[DONE]`` was seen. Raises ``StreamError`` if the answer was cut."""


class ChunkEncoder(Protocol):
    """The events of one answer to a stream's bytes, framing included."""

    def event(self, event: StreamEvent) -> bytes: ...

    def end(self) -> bytes:
        """Raises ``StreamError`` if the events were cut."""

    def failure(self, error: AwsllmError) -> bytes:
        """How an error is reported after the stream began."""


class Codec(Protocol[Q, R]):
    """One operation in one body."""

    def warnings(self, request: Q, settings: Settings) -> tuple[str, ...]:
        """The tuning knobs that the body cannot carry."""

    def encode_request(self, request: Q, settings: Settings) -> Payload:
        """Raises ``UnsupportedError`` for what the body cannot express."""

    def decode_response(self, payload: Payload, context: Context) -> R:
        """Raises the server's error if the payload is one, ``ServerError`` if it is neither."""

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> Q:
        """``ValidationError`` for a malformed payload."""

    def encode_response(self, response: R, context: Context) -> Payload: ...


class Embed(Codec["EmbedRequest", "EmbedResponse"], Protocol):
    """``max_texts`` is how many texts one payload can carry; None: as many as one likes. ``max_inputs`` is the same for
    inputs that are more than a text; 0: such cannot be embedded."""

    @property
    def max_texts(self) -> int | None: ...

    @property
    def max_inputs(self) -> int: ...


Images: TypeAlias = "Codec[ImageRequest, ImageResponse]"
Rerank: TypeAlias = "Codec[RerankRequest, RerankResponse]"


class Chat(Protocol):
    """Converse in one body: a codec whose response can be streamed. ``streams``: the body has streams; without them
    ``stream_decoder`` and ``stream_encoder`` raise ``UnsupportedError``."""

    @property
    def streams(self) -> bool: ...

    def warnings(self, request: ConverseRequest, settings: Settings) -> tuple[str, ...]: ...

    def encode_request(self, request: ConverseRequest, settings: Settings, *, stream: bool = False) -> Payload: ...

    def decode_response(self, payload: Payload, context: Context) -> ConverseResponse: ...

    def stream_decoder(self, context: Context) -> ChunkDecoder: ...

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[ConverseRequest, bool]:
        """The request, and whether it asks for a stream."""

    def encode_response(self, response: ConverseResponse, context: Context) -> Payload: ...

    def stream_encoder(self, context: Context) -> ChunkEncoder: ...


Read: TypeAlias = Callable[[str, Payload, Settings], tuple[Request[Any], bool]]
"""The server's: the request that a payload is, and whether it asks for a stream. Given model, payload and settings."""

EncodeError: TypeAlias = Callable[[AwsllmError], tuple[int, Payload]]
"""The status and payload with which a server that speaks the body reports an error."""


class Body(NamedTuple):
    """How one family of models is spoken to. ``title`` names it in messages."""

    name: str
    title: str
    read: Read
    encode_error: EncodeError
    chat: Chat | None = None
    embed: Embed | None = None
    images: Images | None = None
    rerank: Rerank | None = None
    edit: Codec[Any, ImageResponse] | None = None
    video: Codec[Any, Any] | None = None
    predict: Codec[Any, Any] | None = None

    @property
    def hint(self) -> str:
        """What to do where the body has not what is asked of it."""
        return "" if self.predict is None or self.chat is not None else ": ask it with predict"

    def codec(self, kind: type[Request[R]]) -> Codec[Any, R]:
        """The codec of one operation. Raises ``UnsupportedError`` where the body has none."""
        found = getattr(self, MEMBERS.get(kind.operation, ""), None)
        if found is None:
            fix = self.hint or f"; it is with {kind.served_by}"
            raise UnsupportedError(f"{kind.operation} is not possible with what speaks {self.title}{fix}")
        return cast("Codec[Any, R]", found)


MEMBERS: dict[str, str] = {
    "converse": "chat",
    "embed": "embed",
    "generate_image": "images",
    "edit_image": "edit",
    "generate_video": "video",
    "rerank": "rerank",
    "predict": "predict",
}
"""Which member of a body is the codec of an operation. By the operation's name, so that chat does not load the types of
the others."""


def reads(codec: Codec[Any, Any]) -> Read:
    """``Body.read`` of a body with one codec, which is no chat."""
    return lambda model, payload, settings: (codec.decode_request(model, payload, settings), False)


def load(module: str, name: str) -> Body:
    """The body of that name in a module's ``BODIES``. The module is imported when its body is first asked for, so that
    a call pays for one dialect."""
    return _bodies(module)[name]


@cache
def _bodies(module: str) -> dict[str, Body]:
    return {body.name: body for body in import_module(module).BODIES}
