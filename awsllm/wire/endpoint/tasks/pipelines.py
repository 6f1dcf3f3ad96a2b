"""Pipelines of transformers that are no chat, in Hugging Face's own containers (``wire.endpoint.huggingface``).

A body is ``inputs`` with the pipeline's ``parameters``, or the bytes of an image or a sound under their own content
type. Replies are lists of objects where JumpStart's handlers give one object.

Source: transformers' documentation of pipelines; sagemaker-huggingface-inference-toolkit, decoder_encoder.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from awsllm.errors import UnsupportedError
from awsllm.types import JsonObject, JsonValue
from awsllm.types.predict import (
    Classification,
    Entities,
    FoundObjects,
    PredictedText,
    Prediction,
    PredictRequest,
    PredictResponse,
)
from awsllm.wire.body import Context, Payload, Settings
from awsllm.wire.endpoint.tasks import results
from awsllm.wire.endpoint.tasks.inputs import chosen_labels, file_bytes, is_json, one_text, own_body, two_texts
from awsllm.wire.endpoint.tasks.jumpstart import of_kind, response, task_of
from awsllm.wire.endpoint.tasks.names import canonical
from awsllm.wire.payloads import read_body, read_reply, reply_of, write
from awsllm.wire.reading import JSON, MalformedError, optional, required, strings, unknown_members, without_none
from awsllm.wire.vectors import pool

_TITLE = "the format of Hugging Face pipelines"
_IMAGES = frozenset(("image/jpeg", "image/png", "image/gif", "image/webp"))
_COUNTED = {"fill_mask": "top_k", "text_classification": "top_k", "image_classification": "top_k"}


class _Row(NamedTuple):
    """``encode`` gives the value of ``inputs``, and parameters that belong to it; ``decode`` the members of a request.
    ``media`` is the kind of the bytes that are sent instead."""

    output: results.Output
    encode: Callable[[PredictRequest], tuple[JsonValue, JsonObject]] = lambda request: (one_text(request), {})
    decode: Callable[[JsonObject], dict[str, Any]] = lambda wire: {"texts": (required(wire, "inputs", str),)}
    media: str | None = None


def _pair(first: str, second: str) -> Callable[[PredictRequest], tuple[JsonValue, JsonObject]]:
    return lambda request: (dict(zip((first, second), two_texts(request), strict=True)), {})


def _read_pair(first: str, second: str) -> Callable[[JsonObject], dict[str, Any]]:
    def read(wire: JsonObject) -> dict[str, Any]:
        pair = required(wire, "inputs", dict)
        return {"texts": (required(pair, first, str), required(pair, second, str))}

    return read


def _choice(request: PredictRequest) -> tuple[JsonValue, JsonObject]:
    labels = {"candidate_labels": list(chosen_labels(request)), "multi_label": request.multi_label}
    return one_text(request), without_none(labels)


def _read_choice(wire: JsonObject) -> dict[str, Any]:
    parameters = optional(wire, "parameters", dict) or {}
    return {
        "texts": (required(wire, "inputs", str),),
        "labels": strings(parameters, "candidate_labels"),
        "multi_label": optional(parameters, "multi_label", bool),
    }


def _texts(request: PredictRequest) -> tuple[JsonValue, JsonObject]:
    return list(request.texts), {}


def _read_texts(wire: JsonObject) -> dict[str, Any]:
    found = wire.get("inputs")
    return {"texts": (found,) if isinstance(found, str) else strings(wire, "inputs")}


def _pooled(wire: JsonValue) -> Prediction:
    if not isinstance(wire, list):
        raise MalformedError("must be a list of vectors")
    return results.decode_embedding([pool(each) for each in wire])


def _list_of(member: str) -> results.Output:
    return results.Output(PredictedText, results.decode_text, lambda result: [{member: text} for text in result.texts])


def _write_labels(result: Classification) -> JsonValue:
    return [{"label": each.label, "score": each.score} for each in result.scores]


def _write_objects(result: FoundObjects) -> JsonValue:
    sides = ("xmin", "ymin", "xmax", "ymax")
    return [
        without_none(
            {"label": each.label, "score": each.score, "box": each.box and dict(zip(sides, each.box, strict=True))}
        )
        for each in result.objects
    ]


def _write_entities(result: Entities) -> JsonValue:
    return results.encode_entities(result)["predictions"]


_LABELS = results.Output(Classification, results.decode_classification, _write_labels)
_ROWS: dict[str, _Row] = {
    "text_classification": _Row(_LABELS),
    "sentence_pair_classification": _Row(_LABELS, _pair("text", "text_pair"), _read_pair("text", "text_pair")),
    "question_answering": _Row(results.ANSWER, _pair("question", "context"), _read_pair("question", "context")),
    "named_entity_recognition": _Row(results.Output(Entities, results.decode_entities, _write_entities)),
    "summarization": _Row(_list_of("summary_text")),
    "translation": _Row(_list_of("translation_text")),
    "zero_shot_classification": _Row(results.CHOICE, _choice, _read_choice),
    "fill_mask": _Row(results.GUESSES),
    "text_embedding": _Row(results.EMBEDDING._replace(decode=_pooled), _texts, _read_texts),
    "image_classification": _Row(_LABELS, media="image"),
    "object_detection": _Row(results.Output(FoundObjects, results.decode_objects, _write_objects), media="image"),
    "speech_recognition": _Row(results.text_output("text"), media="audio"),
}


def answers(task: str | None) -> bool:
    """Whether a pipeline of this task is no chat's and no embedding's to answer."""
    name = canonical(task)
    return name in _ROWS and name not in ("summarization", "translation", "text_embedding")


def _row_of(task: str) -> _Row:
    if task not in _ROWS:
        raise UnsupportedError(f"{task} is not possible with what speaks {_TITLE}")
    return _ROWS[task]


class PipelinePredict:
    def warnings(self, request: PredictRequest, settings: Settings) -> tuple[str, ...]:
        if request.count is None or task_of(request, settings) in _COUNTED:
            return ()
        return ("count was not sent: this pipeline has no such parameter",)

    def encode_request(self, request: PredictRequest, settings: Settings) -> Payload:
        task = task_of(request, settings)
        row = _row_of(task)
        if (own := own_body(request)) is not None:
            return Payload(own.body, own.content_type)
        if row.media is not None:
            return Payload(file_bytes(request, row.media), _media_type(request, row.media))
        value, parameters = row.encode(request)
        if request.count is not None and task in _COUNTED:
            parameters = {**parameters, _COUNTED[task]: request.count}
        parameters |= request.extra or {}
        return write(without_none({"inputs": value, "parameters": parameters or None}))

    def decode_response(self, payload: Payload, context: Context) -> PredictResponse:
        task = task_of(context.request_as(PredictRequest), context.settings)
        wire = read_reply(payload, context)
        with reply_of(_TITLE, context):
            result = _row_of(task).output.decode(wire)
        return response(result, task, wire, context)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> PredictRequest:
        task = task_of(PredictRequest(model=model), settings)
        row = _row_of(task)
        if not is_json(payload):
            kind = payload.content_type.partition("/")[0]
            return PredictRequest(model=model, task=task, media=payload.body, media_type=kind)
        wire = read_body(payload)
        if row.media is not None:
            return PredictRequest(model=model, task=task, body=wire)
        parameters = optional(wire, "parameters", dict) or {}
        known = {"candidate_labels", "multi_label", *_COUNTED.values()}
        return PredictRequest(
            model=model,
            task=task,
            count=optional(parameters, "top_k", int),
            extra=unknown_members(parameters, known),
            **row.decode(wire),
        )

    def encode_response(self, response: PredictResponse, context: Context) -> Payload:
        task = task_of(context.request_as(PredictRequest), context.settings)
        output = _row_of(task).output
        value = output.encode(of_kind(response, output))
        if task == "text_embedding":  # each text as if it had one token
            value = [[vector] for vector in response.result.vectors]  # type: ignore[union-attr]
        return Payload(msgspec.json.encode(value), JSON)


def _media_type(request: PredictRequest, kind: str) -> str:
    """A type that every version of the toolkit knows. It decodes by content, so that of an image that says no more than
    that it is one any type does."""
    known = request.media_type or ""
    return "audio/x-audio" if kind == "audio" else known if known in _IMAGES else "image/jpeg"
