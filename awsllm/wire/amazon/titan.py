"""Amazon Titan text embeddings: InvokeModel bodies of version 1 and 2, both directions.

One call embeds one text. Version 1 takes ``inputText`` and nothing else, and its vectors have 1,536 numbers. Version 2
adds ``dimensions`` (256, 512 or 1024), ``normalize`` and ``embeddingTypes`` (float, binary), and repeats the vector by
type in ``embeddingsByType``. The service refuses members it does not know; so does ``decode_request``.
"""

from __future__ import annotations

import msgspec

from awsllm.errors import ServerError, UnsupportedError, ValidationError
from awsllm.types import EmbedRequest, EmbedResponse, JsonObject, Usage


class Titan(msgspec.Struct, frozen=True):
    """One version of the body. ``sizes`` are the lengths a vector can have, the default first."""

    version: int
    sizes: tuple[int, ...]
    members: frozenset[str]

    def encode_request(self, request: EmbedRequest) -> JsonObject:
        """The body for a request of one text. A length this version cannot give raises ``UnsupportedError``."""
        (text,) = request.texts
        wire: JsonObject = {"inputText": text}
        if request.dimensions is not None:
            self._check_size(request.dimensions)
            wire |= {"dimensions": request.dimensions} if "dimensions" in self.members else {}
        if request.normalize is not None and "normalize" in self.members:
            wire["normalize"] = request.normalize
        return wire | (request.extra or {})

    def warnings(self, request: EmbedRequest) -> tuple[str, ...]:
        """What this version cannot honour."""
        if request.normalize is None or "normalize" in self.members:
            return ()
        return (f"normalize: Titan text embeddings v{self.version} have no such setting",)

    def decode_request(self, model: str, wire: JsonObject) -> EmbedRequest:
        """Raises ``ValidationError`` for what the service would refuse."""
        if not isinstance(wire, dict):
            raise ValidationError("the body must be a JSON object")
        if unknown := sorted(wire.keys() - self.members):
            raise ValidationError(f"extraneous key [{unknown[0]}] is not permitted")
        text, size, normalize = wire.get("inputText"), wire.get("dimensions"), wire.get("normalize")
        if not isinstance(text, str) or not text:
            raise ValidationError("required key [inputText] must be a text that is not empty")
        if size is not None and size not in self.sizes:
            raise ValidationError(f"dimensions must be one of {_listed(self.sizes)}")
        if normalize is not None and not isinstance(normalize, bool):
            raise ValidationError("normalize must be true or false")
        kinds = wire.get("embeddingTypes")
        extra = {"embeddingTypes": kinds} if kinds is not None else None
        return EmbedRequest(model=model, texts=(text,), dimensions=size, normalize=normalize, extra=extra)

    def encode_response(self, response: EmbedResponse) -> JsonObject:
        """The body for a response of one vector; an unknown token count is left out."""
        (vector,) = response.vectors
        wire: JsonObject = {"embedding": vector}
        if self.version > 1:
            wire["embeddingsByType"] = {"float": vector}
        if response.usage.input_tokens is not None:
            wire["inputTextTokenCount"] = response.usage.input_tokens
        return wire

    def _check_size(self, size: int) -> None:
        if size not in self.sizes:
            raise UnsupportedError(
                f"Titan text embeddings v{self.version} have {_listed(self.sizes)} dimensions, not {size}"
            )


V1 = Titan(1, (1536,), frozenset({"inputText"}))
V2 = Titan(2, (1024, 512, 256), frozenset({"inputText", "dimensions", "normalize", "embeddingTypes"}))


def decode_response(wire: JsonObject, *, model: str | None = None, request_id: str | None = None) -> EmbedResponse:
    """The reply of either version. Where only the binary type was asked for, the vector is of zeros and ones."""
    by_type = wire.get("embeddingsByType") or {}
    vector = wire.get("embedding") or by_type.get("float") or by_type.get("binary")
    if not vector:
        raise ServerError("the reply carries no embedding", request_id=request_id)
    tokens = wire.get("inputTextTokenCount")
    usage = Usage(input_tokens=tokens, total_tokens=tokens)
    return EmbedResponse(vectors=[vector], usage=usage, model=model, request_id=request_id, raw=wire)


def _listed(sizes: tuple[int, ...]) -> str:
    return " or ".join(map(str, sizes))
