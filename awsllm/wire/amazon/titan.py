"""Amazon Titan text embeddings: bodies of version 1 and 2, both directions.

One body carries one text. Version 1 takes ``inputText`` and nothing else, and its vectors have 1,536 numbers. Version 2
adds ``dimensions`` (256, 512 or 1024), ``normalize`` and ``embeddingTypes`` (float, binary), and repeats the vector by
type in ``embeddingsByType``. The model refuses members it does not know; so does ``decode_request``.
"""

from __future__ import annotations

from typing import NamedTuple

from awsllm.errors import AwsllmError, UnsupportedError, ValidationError
from awsllm.types import JsonObject, Usage
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.wire import errors
from awsllm.wire.body import Body, Context, Payload, Settings, reads
from awsllm.wire.payloads import read_body, read_object, reply_of, write
from awsllm.wire.reading import optional
from awsllm.wire.vectors import check_size, embed_response, embed_warnings, listed, read_vectors, refuse_media


class TitanEmbed(NamedTuple):
    """The codec of one version. ``sizes`` are the lengths a vector can have, the default first."""

    title: str
    sizes: tuple[int, ...]
    members: frozenset[str]
    max_texts: int | None = 1
    max_inputs: int = 0

    def warnings(self, request: EmbedRequest, settings: Settings) -> tuple[str, ...]:
        return embed_warnings(request, normalizes="normalize" in self.members)

    def encode_request(self, request: EmbedRequest, settings: Settings) -> Payload:
        """Raises ``UnsupportedError`` for a length that the version cannot give, and for more than one text."""
        refuse_media(request, self.title)
        if len(request.texts) != 1:
            raise UnsupportedError(f"{self.title} take one text at a time, not {len(request.texts)}")
        check_size(request, self.title, self.sizes)
        wire: JsonObject = {"inputText": request.texts[0]}
        if request.dimensions is not None:
            wire |= {"dimensions": request.dimensions} if "dimensions" in self.members else {}
        if request.normalize is not None and "normalize" in self.members:
            wire["normalize"] = request.normalize
        return write(wire | (request.extra or {}))

    def decode_response(self, payload: Payload, context: Context) -> EmbedResponse:
        """Where only the binary type was asked for, the vector is of zeros and ones."""
        wire = read_object(payload, context)
        with reply_of(self.title, context):
            by_type = optional(wire, "embeddingsByType", dict) or {}
            tokens = optional(wire, "inputTextTokenCount", int)
        vector = wire.get("embedding") or by_type.get("float") or by_type.get("binary") or wire
        vectors = read_vectors(vector, context, self.title)
        return embed_response(vectors, context, wire, Usage(input_tokens=tokens, total_tokens=tokens))

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> EmbedRequest:
        """``dimensions`` is set even where the body leaves it to the model: whoever answers must know the length.
        Raises ``ValidationError`` for what the model would refuse."""
        wire = read_body(payload)
        if unknown := sorted(wire.keys() - self.members):
            raise ValidationError(f"extraneous key [{unknown[0]}] is not permitted")
        text, size, normalize = wire.get("inputText"), wire.get("dimensions"), wire.get("normalize")
        if not isinstance(text, str) or not text:
            raise ValidationError("required key [inputText] must be a text that is not empty")
        if size is not None and size not in self.sizes:
            raise ValidationError(f"dimensions must be one of {listed(self.sizes)}")
        if normalize is not None and not isinstance(normalize, bool):
            raise ValidationError("normalize must be true or false")
        kinds = wire.get("embeddingTypes")
        return EmbedRequest(
            model=model,
            texts=(text,),
            dimensions=size or self.sizes[0],
            normalize=normalize,
            extra={"embeddingTypes": kinds} if kinds is not None else None,
        )

    def encode_response(self, response: EmbedResponse, context: Context) -> Payload:
        """An unknown token count is left out."""
        (vector,) = response.vectors
        wire: JsonObject = {"embedding": vector}
        if "embeddingTypes" in self.members:
            wire["embeddingsByType"] = {"float": vector}
        if response.usage.input_tokens is not None:
            wire["inputTextTokenCount"] = response.usage.input_tokens
        return write(wire)


def encode_error(error: AwsllmError) -> tuple[int, Payload]:
    """An error as the service itself reports it, which speaks for its own models."""
    status, _, wire = errors.encode_error(error)
    return status, write(wire)


V1 = TitanEmbed("Titan text embeddings v1", (1536,), frozenset({"inputText"}))
V2 = TitanEmbed(
    "Titan text embeddings v2",
    (1024, 512, 256),
    frozenset({"inputText", "dimensions", "normalize", "embeddingTypes"}),
)

BODIES: tuple[Body, ...] = (
    Body("titan-embed-text-v1", V1.title, reads(V1), encode_error, embed=V1),
    Body("titan-embed-text-v2", V2.title, reads(V2), encode_error, embed=V2),
)
