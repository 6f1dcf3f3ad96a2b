"""What a format is: how one family of SageMaker containers is asked and answers, both directions.

SageMaker hands a container's bytes through and says nothing of what they mean. A ``Format`` says it: one stateless
object a family, pure, with two halves. The client half turns neutral requests into payloads and payloads into neutral
responses. The container half does the opposite, and is what the offline AWS answers with: each proves the other.

Not every format does everything. ``serves`` names what it does; a method it lacks raises ``UnsupportedError`` naming
formats that can. What a *deployment* adds to its format (a prompt style, a framing) is ``Settings``: found with the
format (``detect``), handed to every method that needs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Protocol, TypeAlias

import msgspec

from awsllm.errors import AwsllmError, UnsupportedError, ValidationError
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    EmbedRequest,
    EmbedResponse,
    ImageRequest,
    ImageResponse,
    JsonValue,
    RerankRequest,
    RerankResponse,
    StreamEvent,
    Value,
)

JSON = "application/json"

Asked: TypeAlias = ConverseRequest | EmbedRequest | ImageRequest | RerankRequest


class Settings(Value, frozen=True, kw_only=True):
    """What one deployment adds to its format.

    ``prompt`` names the style in which a conversation becomes one text (``prompts.STYLES``), for formats that take a
    text; None: only a single user turn can be sent, as it is. ``framing`` is how the container frames its streams, sse
    or jsonlines (reading takes both). ``is_list`` says that a TGI-like container answers with a list of one object.
    ``task`` is the Hugging Face task or the like, where a container serves one of several.
    """

    prompt: str | None = None
    framing: str = "sse"
    is_list: bool = False
    task: str | None = None


class Payload(Value, frozen=True):
    """A body with what must be said of it. ``accept`` and ``attributes`` (``CustomAttributes``) are the request's."""

    body: bytes
    content_type: str = JSON
    accept: str = JSON
    attributes: str | None = None

    def json(self) -> JsonValue:
        """The JSON value of the body. Raises ``ValidationError``."""
        try:
            return msgspec.json.decode(self.body)
        except (ValueError, RecursionError) as cause:
            raise ValidationError(f"the body is not JSON: {self.body[:60]!r}") from cause


class ReplyContext(Value, frozen=True, kw_only=True):
    """What decoding a reply needs beside it: the request that it answers and the service's id of the call."""

    request: Asked
    settings: Settings = Settings()
    request_id: str | None = None
    warnings: tuple[str, ...] = ()


class ChunkDecoder(Protocol):
    """The JSON values of one stream, as ``framing.FramingDecoder`` gives them, to events."""

    def push(self, chunk: JsonValue) -> Iterable[StreamEvent]:
        """Raises the container's error if the chunk is one."""

    def finish(self, *, done: bool = False) -> Iterable[StreamEvent]:
        """The events left at the end. ``done``: ``[DONE]`` was seen. Raises ``StreamError`` if the answer was cut."""


class ChunkEncoder(Protocol):
    """The events of one answer to the container's bytes, framing included."""

    def event(self, event: StreamEvent) -> bytes: ...

    def end(self) -> bytes:
        """Raises ``StreamError`` if the events were cut."""

    def failure(self, error: AwsllmError) -> bytes:
        """How the container tells of an error after its stream began."""


class Format:
    """One family of containers. ``serves`` is a subset of converse, converse_stream, embed, generate_image, rerank.

    ``tools`` and ``json_schema`` say whether tools and a schema for the answer can be expressed."""

    name: ClassVar[str]
    title: ClassVar[str]
    serves: ClassVar[frozenset[str]]
    tools: ClassVar[bool] = False
    json_schema: ClassVar[bool] = False

    # --- client half -------------------------------------------------------------------------------------------------

    def warnings(self, request: ConverseRequest | EmbedRequest, settings: Settings) -> tuple[str, ...]:
        """The tuning knobs that the format cannot honour."""
        return ()

    def encode_converse(self, request: ConverseRequest, settings: Settings, *, stream: bool) -> Payload:
        """Raises ``UnsupportedError`` for what the format cannot express."""
        raise self.unsupported("converse")

    def decode_converse(self, payload: Payload, context: ReplyContext) -> ConverseResponse:
        """Raises the container's error if the payload is one, ``ServerError`` if it is neither."""
        raise self.unsupported("converse")

    def chunk_decoder(self, context: ReplyContext) -> ChunkDecoder:
        raise self.unsupported("converse_stream")

    def encode_embed(self, request: EmbedRequest, settings: Settings) -> Payload:
        raise self.unsupported("embed")

    def decode_embed(self, payload: Payload, context: ReplyContext) -> EmbedResponse:
        raise self.unsupported("embed")

    def encode_image(self, request: ImageRequest, settings: Settings) -> Payload:
        raise self.unsupported("generate_image")

    def decode_image(self, payload: Payload, context: ReplyContext) -> ImageResponse:
        raise self.unsupported("generate_image")

    def encode_rerank(self, request: RerankRequest, settings: Settings) -> Payload:
        raise self.unsupported("rerank")

    def decode_rerank(self, payload: Payload, context: ReplyContext) -> RerankResponse:
        raise self.unsupported("rerank")

    # --- container half ----------------------------------------------------------------------------------------------

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[Asked, bool]:
        """What a container is asked, and whether as a stream. ``ValidationError`` for a malformed body."""
        raise self.unsupported("a container's side")

    def encode_converse_response(self, response: ConverseResponse, asked: ReplyContext) -> Payload:
        raise self.unsupported("converse")

    def chunk_encoder(self, asked: ReplyContext) -> ChunkEncoder:
        raise self.unsupported("converse_stream")

    def encode_embed_response(self, response: EmbedResponse, asked: ReplyContext) -> Payload:
        raise self.unsupported("embed")

    def encode_image_response(self, response: ImageResponse, asked: ReplyContext) -> Payload:
        raise self.unsupported("generate_image")

    def encode_rerank_response(self, response: RerankResponse, asked: ReplyContext) -> Payload:
        raise self.unsupported("rerank")

    def encode_error(self, error: AwsllmError) -> tuple[int, Payload]:
        """The status and body with which the container answers."""
        raise self.unsupported("errors")

    def unsupported(self, operation: str) -> UnsupportedError:
        return UnsupportedError(f"{operation} is not possible with a container that speaks {self.title}")


class Detected(Value, frozen=True, kw_only=True):
    """Which format a deployment speaks, and how that is known.

    ``source`` is caller, tags, document, image, environment or probe; ``evidence`` says in words what was seen."""

    format: str
    settings: Settings = Settings()
    source: str
    evidence: str


Formats: TypeAlias = Mapping[str, Format]
