"""What a format is: the old form of ``wire.body``, a class from which a family opts out. It goes as families move."""

from __future__ import annotations

from typing import ClassVar, TypeAlias

from awsllm.errors import AwsllmError, UnsupportedError
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    EmbedRequest,
    EmbedResponse,
    ImageRequest,
    ImageResponse,
    RerankRequest,
    RerankResponse,
    Value,
)
from awsllm.wire.body import ChunkDecoder, ChunkEncoder, Context, Payload, Settings

ReplyContext = Context

Asked: TypeAlias = ConverseRequest | EmbedRequest | ImageRequest | RerankRequest


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
