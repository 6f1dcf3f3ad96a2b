"""Local models that write nothing: those that make vectors of texts, and those that rerank documents.

What the texts are for (``input_type``) chooses one of the prompts that a model was trained with, where its files have
any; ``extra={"prompt": …}`` or ``extra={"prompt_name": …}`` says which itself, for models whose files do not (E5's). A
reranker's scores are between 0 and 1; ``extra={"raw_scores": True}`` gives its logits. Importing this module loads no
torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

from awsllm.backends.local.models import late
from awsllm.errors import ConfigurationError, UnsupportedError, ValidationError
from awsllm.types import JsonObject, Usage
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.types.reranking import RankedDocument, RerankRequest, RerankResponse

if TYPE_CHECKING:
    from awsllm.engine.encoder import Encoder
    from awsllm.engine.encoder_pairs import PairEncoder

EncoderPrecision: TypeAlias = Literal["float32", "bfloat16"]
"""What encoders compute in: ``bfloat16`` takes about half the time, and moves vectors a little (cosine about 0.996)."""

_PROMPTS: Final = {  # what texts are for -> names that models have for the prompt, the first there counts
    "search_query": ("query", "search_query"),
    "search_document": ("document", "passage", "corpus", "search_document"),
    "classification": ("classification",),
    "clustering": ("clustering",),
}


def check_precision(precision: Any) -> EncoderPrecision:
    """The precision, which is float32 if none is given. Raises ``ConfigurationError`` for one that there is not."""
    if precision is None:
        return "float32"
    if precision not in (known := get_args(EncoderPrecision)):
        raise ConfigurationError(f"encoder_precision is {precision!r:.40}; write {' or '.join(known)}")
    chosen: EncoderPrecision = precision
    return chosen


def _deadline(due: float | None) -> Callable[[], None]:
    def check() -> None:
        if due is not None and time.monotonic() >= due:
            raise late()

    return check


def _unknown(extra: JsonObject, known: tuple[str, ...], what: str) -> list[str]:
    return [f"extra {name!r} is not known to local {what}" for name in sorted(extra) if name not in known]


@dataclass(eq=False)
class EmbeddingModel:
    """A loaded sentence encoder."""

    name: str
    encoder: Encoder

    @classmethod
    def load(cls, name: str, path: Path, device: str, precision: EncoderPrecision = "float32") -> EmbeddingModel:
        from awsllm.engine.encoder import Encoder

        return cls(name, Encoder.load(path, device=device, precision=precision))

    def embed(self, request: EmbedRequest, deadline: float | None) -> EmbedResponse:
        self._check_size(request.dimensions)
        prompt, warnings = self._prompt(request)
        limit = self.encoder.max_tokens
        rows = self.encoder.encode_all([prompt + text for text in request.texts] if prompt else request.texts)
        vectors = self.encoder.embed_ids(
            rows,
            prompt_tokens=self.encoder.prompt_tokens(prompt),
            size=request.dimensions,
            between=_deadline(deadline),
        )
        if request.normalize and not self.encoder.normalizes:
            vectors = vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        warnings += _unknown(request.extra or {}, ("prompt", "prompt_name"), "embedding models")
        if request.normalize is False and self.encoder.normalizes:
            warnings.append(f"{self.name} makes vectors of length one; normalize=False has no effect")
        warnings += [
            f"text {n} has {len(row)} tokens; {limit} were read" for n, row in enumerate(rows) if len(row) > limit
        ]
        tokens = sum(min(len(row), limit) for row in rows)
        return EmbedResponse(
            vectors=vectors.tolist(),
            usage=Usage(tokens, total_tokens=tokens),
            model=request.model,
            warnings=tuple(warnings),
        )

    def _check_size(self, wanted: int | None) -> None:
        size, sizes = self.encoder.dimensions, self.encoder.sizes
        if wanted is None or wanted == size:
            return
        if sizes is None and 0 < wanted <= size:
            return
        if sizes and wanted in sizes and wanted <= size:
            return
        if sizes is None:
            others = "fewer are possible, more are not"
        else:
            others = f"{', '.join(map(str, sizes))} are possible" if sizes else "it was trained for no others"
        raise UnsupportedError(f"{self.name} makes vectors of {size} dimensions, not {wanted}; {others}")

    def _prompt(self, request: EmbedRequest) -> tuple[str, list[str]]:
        """What is put before each text, and warnings."""
        extra, prompts = request.extra or {}, self.encoder.prompts
        own = extra.get("prompt")
        if own is not None:
            return _text("prompt", own), []
        if (name := extra.get("prompt_name")) is not None:
            if (name := _text("prompt_name", name)) not in prompts:
                known = f"it has {', '.join(sorted(prompts))}" if prompts else "its files have none"
                raise ValidationError(f"{self.name} has no prompt {name!r}; {known}")
            return prompts[name], []
        if request.input_type is None:
            return prompts.get(self.encoder.default_prompt or "", ""), []
        names = _PROMPTS.get(request.input_type, (request.input_type,))
        found = next((prompts[name] for name in names if prompts.get(name)), None)
        if found is None and request.input_type not in _PROMPTS and request.input_type not in prompts:
            return "", [f"{self.name} does not know the input_type {request.input_type!r}; it has no effect"]
        return found or "", []


@dataclass(eq=False)
class RerankModel:
    """A loaded reranker."""

    name: str
    encoder: PairEncoder

    @classmethod
    def load(cls, name: str, path: Path, device: str, precision: EncoderPrecision = "float32") -> RerankModel:
        from awsllm.engine.encoder_pairs import PairEncoder

        return cls(name, PairEncoder.load(path, device=device, precision=precision))

    def rerank(self, request: RerankRequest, deadline: float | None) -> RerankResponse:
        extra = request.extra or {}
        raw = extra.get("raw_scores", False)
        if not isinstance(raw, bool):
            raise ValidationError(f"extra 'raw_scores' is {raw!r}, not true or false")
        rows, cut = self.encoder.pairs(request.query, request.documents)
        logits = self.encoder.score_rows(rows, _deadline(deadline))
        scores: list[float] = (logits if raw else logits.double().sigmoid()).tolist()
        limit = self.encoder.max_tokens
        warnings = _unknown(extra, ("raw_scores",), "rerankers")
        warnings += [
            f"document {n} and the query have {limit + gone} tokens; {limit} were read"
            for n, gone in enumerate(cut)
            if gone
        ]
        tokens = sum(len(row) for row, _ in rows)
        usage = Usage(tokens, total_tokens=tokens)
        return ranked(request, scores, usage, tuple(warnings))


def ranked(request: RerankRequest, scores: list[float], usage: Usage, warnings: tuple[str, ...]) -> RerankResponse:
    """Documents of the same score keep their order."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])[: request.top_n]
    results = tuple(RankedDocument(i, scores[i], request.documents[i]) for i in order)
    return RerankResponse(results=results, usage=usage, model=request.model, warnings=warnings)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValidationError(f"extra {name!r} is {value!r}, not a text")
    return value
