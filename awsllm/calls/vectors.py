"""Embedding and reranking before they are asked for: the caller's words checked and turned into requests.

Loaded when one of them is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from awsllm.calls import content
from awsllm.calls.options import EmbedOptions, RerankOptions, check_number
from awsllm.calls.prepare import members_of, texts_of
from awsllm.errors import UnsupportedError, ValidationError
from awsllm.models.profiles import profile
from awsllm.models.references import Reference, parse_reference
from awsllm.types import Text
from awsllm.types.embedding import EmbedRequest
from awsllm.types.reranking import RerankRequest

if TYPE_CHECKING:
    from awsllm.calls.content import EmbedInput


def prepare_embed(
    model: str, texts: EmbedInput, dimensions: int | None, options: EmbedOptions
) -> tuple[Reference, EmbedRequest]:
    """Inputs that are no more than a text each are the request's ``texts``; if one is more, all are ``inputs``. Raises
    ``UnsupportedError`` where such cannot be embedded."""
    reference = parse_reference(model)
    inputs = content.embed_inputs(texts)
    if not inputs or not all(inputs):
        raise ValidationError("nothing to embed: pass at least one text, image or the like, and no empty list")
    for index, blocks in enumerate(inputs):
        if any(isinstance(block, Text) and not block.text.strip() for block in blocks):
            raise ValidationError(f"text {index} to embed is blank: leave it out or write something")
    check_number("dimensions", dimensions, whole=True)
    plain = tuple(blocks[0].text for blocks in inputs if len(blocks) == 1 and isinstance(blocks[0], Text))
    members = members_of(reference, options, EmbedOptions)
    if len(plain) == len(inputs):
        return reference, EmbedRequest(texts=plain, dimensions=dimensions, **members)
    if reference.scheme != "bedrock" or not profile(reference.scheme, reference.model).images:
        from awsllm.wire.vectors import MEDIA_MODELS

        raise UnsupportedError(f"{reference} embeds texts only, each alone; media are embedded by {MEDIA_MODELS}")
    return reference, EmbedRequest(inputs=inputs, dimensions=dimensions, **members)


def prepare_rerank(
    model: str, query: str, documents: Sequence[str], top_n: int | None, options: RerankOptions
) -> tuple[Reference, RerankRequest]:
    reference = parse_reference(model)
    if isinstance(documents, str) or not documents:
        raise ValidationError("nothing to rank: pass a list of at least one document")
    _refuse_blank(texts_of("the query", [query]), "query", "rank for")
    _refuse_blank(texts_of("documents", documents), "document", "rank")
    check_number("top_n", top_n, whole=True)
    if top_n is not None and top_n < 1:
        raise ValidationError(f"top_n is {top_n}; it is at least 1, or None for all")
    if (api := options.get("api")) not in (None, "invoke", "agents") or (api and reference.scheme != "bedrock"):
        raise ValidationError(f"api is {api!r}: it is 'invoke' or 'agents', the doors of bedrock: models")
    members = members_of(reference, options, RerankOptions)
    return reference, RerankRequest(query=query, documents=tuple(documents), top_n=top_n, **members)


def _refuse_blank(texts: Sequence[str], what: str, verb: str) -> None:
    for i, text in enumerate(texts):
        if not text.strip():
            raise ValidationError(f"{what} {i} to {verb} is blank: leave it out or write something")
