"""Tasks that are no chat, as far as a small chat model and a model of embeddings can stand in for their own models.

A class is the label whose meaning is nearest to the text's; what is written (summaries, translations, answers) the chat
model writes. Nothing here looks at images, hears or foretells: that is refused, and a test scripts the reply.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from awsllm.backend import Attempt
from awsllm.backends.local.backend import LocalBackend, cosine
from awsllm.errors import UnsupportedError
from awsllm.types import ConverseRequest, InferenceConfig, Message, Usage
from awsllm.types.embedding import EmbedRequest
from awsllm.types.predict import (
    Answer,
    Classification,
    Embedding,
    LabelScore,
    PredictedText,
    Prediction,
    PredictRequest,
    PredictResponse,
)
from awsllm.wire.endpoint.tasks.inputs import chosen_labels, one_text, two_texts

SENTIMENTS = ("negative", "positive")
"""The labels of a classifier that names none, as offline ones are."""
PAIR_LABELS = ("no-entailment", "entailment")
"""Those of JumpStart's classifiers of sentence pairs."""
_SHARPNESS = 20.0  # cosines of sentences lie close together: scaled, the nearest label stands out
_LONGEST = 200  # tokens of a summary or an answer
_ABOUT = (
    "a stand-in answered: the nearest label by embeddings, not the deployed model",
    "a stand-in answered: the local chat model, not the deployed one",
)


def predict(backend: LocalBackend, request: PredictRequest, attempt: Attempt) -> PredictResponse:
    compute = _TASKS.get(request.task or "")
    if compute is None or request.body is not None:
        task = request.task or "a task without a name"
        raise UnsupportedError(
            f"no local model can do this ({task}); offline, script the answers (awsllm.testing.mock_aws(reply=…))"
        )
    return compute(backend, request, attempt)


def _zero_shot(backend: LocalBackend, request: PredictRequest, attempt: Attempt) -> PredictResponse:
    return _nearest(backend, request, attempt, chosen_labels(request))


def _classify(backend: LocalBackend, request: PredictRequest, attempt: Attempt) -> PredictResponse:
    return _nearest(backend, request, attempt, request.labels or SENTIMENTS)


def _nearest(
    backend: LocalBackend, request: PredictRequest, attempt: Attempt, labels: tuple[str, ...]
) -> PredictResponse:
    texts = (one_text(request), *(f"This is {label}." for label in labels))
    vectors, usage = _vectors(backend, request, attempt, texts)
    nearness = [cosine(vectors[0], vector) for vector in vectors[1:]]
    if request.multi_label:
        scores = [1.0 / (1.0 + math.exp(-_SHARPNESS * each)) for each in nearness]
    else:
        scores = _softmax([_SHARPNESS * each for each in nearness])
    return _response(request, _classification(labels, scores), usage, _ABOUT[0])


def _pair(backend: LocalBackend, request: PredictRequest, attempt: Attempt) -> PredictResponse:
    vectors, usage = _vectors(backend, request, attempt, two_texts(request))
    alike = max(0.0, min(1.0, cosine(vectors[0], vectors[1])))
    return _response(request, _classification(PAIR_LABELS, [1.0 - alike, alike]), usage, _ABOUT[0])


def _embed(backend: LocalBackend, request: PredictRequest, attempt: Attempt) -> PredictResponse:
    vectors, usage = _vectors(backend, request, attempt, request.texts)
    return _response(request, Embedding(vectors), usage)


def _summarize(backend: LocalBackend, request: PredictRequest, attempt: Attempt) -> PredictResponse:
    return _written(backend, request, attempt, f"Summarize this text in one or two sentences:\n\n{one_text(request)}")


def _translate(backend: LocalBackend, request: PredictRequest, attempt: Attempt) -> PredictResponse:
    text = one_text(request)
    return _written(backend, request, attempt, f"Translate this text, and write the translation only:\n\n{text}")


def _answer(backend: LocalBackend, request: PredictRequest, attempt: Attempt) -> PredictResponse:
    question, context = two_texts(request, "a question and its context")
    prompt = f"{context}\n\nAnswer with words of this text only: {question}"
    written = _written(backend, request, attempt, prompt)
    text = written.result.text if isinstance(written.result, PredictedText) else ""
    start = context.find(text) if text else -1
    place = (start, start + len(text)) if start >= 0 else (None, None)
    return _response(request, Answer(text=text, start=place[0], end=place[1]), written.usage, _ABOUT[1])


_TASKS: dict[str, Callable[[LocalBackend, PredictRequest, Attempt], PredictResponse]] = {
    "zero_shot_classification": _zero_shot,
    "text_classification": _classify,
    "sentence_pair_classification": _pair,
    "text_embedding": _embed,
    "summarization": _summarize,
    "translation": _translate,
    "question_answering": _answer,
}


def _vectors(
    backend: LocalBackend, request: PredictRequest, attempt: Attempt, texts: tuple[str, ...]
) -> tuple[list[list[float]], Usage]:
    embedded = backend.ask(EmbedRequest(model=request.model, texts=texts), attempt)
    return embedded.vectors, embedded.usage


def _written(backend: LocalBackend, request: PredictRequest, attempt: Attempt, prompt: str) -> PredictResponse:
    limits = InferenceConfig(max_tokens=_LONGEST)
    chat = ConverseRequest(model=request.model, messages=(Message.user(prompt),), inference_config=limits)
    answer = backend.ask(chat, attempt)
    return _response(request, PredictedText((answer.text.strip(),)), answer.usage, _ABOUT[1])


def _response(request: PredictRequest, result: Prediction, usage: Usage, *warnings: str) -> PredictResponse:
    return PredictResponse(result=result, task=request.task, usage=usage, model=request.model, warnings=warnings)


def _classification(labels: tuple[str, ...], scores: list[float]) -> Classification:
    ranked = sorted(zip(labels, scores, strict=True), key=lambda pair: -pair[1])
    return Classification(label=ranked[0][0], scores=tuple(LabelScore(*pair) for pair in ranked))


def _softmax(values: list[float]) -> list[float]:
    most = max(values)
    weights = [math.exp(value - most) for value in values]
    return [weight / sum(weights) for weight in weights]


OPERATIONS = {PredictRequest: predict}
