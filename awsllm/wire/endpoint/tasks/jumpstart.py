"""JumpStart's own handlers, behind images of PyTorch, TensorFlow, MXNet, Hugging Face and AutoGluon: one task each.

A handler tells by the content type what it is given, and by ``Accept`` how much to say: ``;verbose`` adds labels,
``;n_predictions=N`` limits objects. Which task it has stands in ``Settings.task``, which the hub document tells, or in
the request.

Source: aws/amazon-sagemaker-examples, introduction_to_amazon_algorithms/jumpstart_* and jumpStart_tabular_*; for series
the model cards of Chronos-Bolt. What a handler of fill-mask answers is not published: transformers' form is read.
"""

from __future__ import annotations

import csv
import io
import re
from typing import NamedTuple

from awsllm.errors import AwsllmError, ServerError, UnsupportedError, ValidationError
from awsllm.types import JsonValue
from awsllm.types.predict import Prediction, PredictRequest, PredictResponse
from awsllm.wire.body import Body, Context, Payload, Settings, reads
from awsllm.wire.endpoint.tasks import inputs, results
from awsllm.wire.endpoint.tasks.names import TASKS, canonical
from awsllm.wire.payloads import read_reply, reply_of, write
from awsllm.wire.reading import JSON
from awsllm.wire.text.errors import encode_error

_TITLE = "the formats of JumpStart's handlers"
_VERBOSE = f"{JSON};verbose"


class _Row(NamedTuple):
    """How one task is spoken: ``counts`` says that the number of results can be limited."""

    input: inputs.Input
    output: results.Output
    accept: str = JSON
    counts: bool = False


_TEXT, _PAIR, _IMAGE, _TABLE = inputs.TextInput(), inputs.PairInput(), inputs.ImageInput(), inputs.TableInput()
_ROWS: dict[str, _Row] = {
    "text_classification": _Row(_TEXT, results.CLASSES, _VERBOSE),
    "sentence_pair_classification": _Row(_PAIR, results.CLASSES, _VERBOSE),
    "question_answering": _Row(_PAIR, results.ANSWER, _VERBOSE),
    "named_entity_recognition": _Row(_TEXT, results.ENTITIES),
    "summarization": _Row(_TEXT, results.text_output("summary_text")),
    "translation": _Row(_TEXT, results.text_output("translation_text")),
    "zero_shot_classification": _Row(inputs.ChoiceInput(), results.CHOICE),
    "fill_mask": _Row(_TEXT, results.GUESSES),
    "text_embedding": _Row(_TEXT, results.EMBEDDING),
    "image_classification": _Row(_IMAGE, results.CLASSES, _VERBOSE),
    "image_embedding": _Row(_IMAGE, results.EMBEDDING),
    "object_detection": _Row(_IMAGE, results.OBJECTS, _VERBOSE, counts=True),
    "semantic_segmentation": _Row(_IMAGE, results.MAP, _VERBOSE),
    "instance_segmentation": _Row(_IMAGE, results.INSTANCES, _VERBOSE, counts=True),
    "tabular_classification": _Row(_TABLE, results.ROW_CLASSES, _VERBOSE),
    "tabular_regression": _Row(_TABLE, results.ROW_VALUES),
    "speech_recognition": _Row(inputs.SoundInput(), results.SPEECH),
    "forecasting": _Row(inputs.SeriesInput(), results.FORECASTS),
}


def task_of(request: PredictRequest, settings: Settings) -> str:
    """The task of the request, else the deployment's. Raises ``ValidationError`` where neither tells."""
    task = canonical(request.task) or canonical(settings.task)
    if task is None:
        raise ValidationError(f"nothing tells what the model does: give task=, one of {', '.join(TASKS)}")
    return task


def _row_of(task: str) -> _Row:
    if task not in _ROWS:
        raise UnsupportedError(f"{task} is not possible with what speaks {_TITLE}")
    return _ROWS[task]


class HandlerPredict:
    def warnings(self, request: PredictRequest, settings: Settings) -> tuple[str, ...]:
        if request.count is None or _row_of(task_of(request, settings)).counts:
            return ()
        return ("count was not sent: this container gives all results",)

    def encode_request(self, request: PredictRequest, settings: Settings) -> Payload:
        row = _row_of(task_of(request, settings))
        data = inputs.own_body(request) or row.input.encode(request)
        limit = f";n_predictions={request.count}" if row.counts and request.count is not None else ""
        return Payload(data.body, data.content_type, row.accept + limit)

    def decode_response(self, payload: Payload, context: Context) -> PredictResponse:
        task = task_of(context.request_as(PredictRequest), context.settings)
        wire = _read(payload, context)
        with reply_of(_TITLE, context):
            result = _row_of(task).output.decode(wire)
        return response(result, task, wire, context)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> PredictRequest:
        task = task_of(PredictRequest(model=model), settings)
        members = _row_of(task).input.decode(payload)
        limit = re.search(r";\s*n_predictions=(\d+)", payload.accept)
        return PredictRequest(model=model, task=task, count=int(limit[1]) if limit else None, **members)

    def encode_response(self, response: PredictResponse, context: Context) -> Payload:
        output = _row_of(task_of(context.request_as(PredictRequest), context.settings)).output
        return write(output.encode(of_kind(response, output)))


def response(result: Prediction, task: str, wire: JsonValue, context: Context) -> PredictResponse:
    return PredictResponse(
        result=result,
        task=task,
        model=context.request.model,
        request_id=context.request_id,
        warnings=context.warnings,
        raw=wire,
    )


def of_kind(response: PredictResponse, output: results.Output) -> Prediction:
    """The result to write, which must be of the task's type: a script may give any."""
    if not isinstance(response.result, output.kind):
        found = type(response.result).__name__
        raise ServerError(f"a {output.kind.__name__} is what this task answers with, not a {found}")
    return response.result


def _read(payload: Payload, context: Context) -> JsonValue:
    """JSON, or the CSV with which the algorithms' own containers answer."""
    if not payload.content_type.startswith(inputs.TABLE):
        return read_reply(payload, context)
    try:
        return [[float(cell) for cell in row] for row in csv.reader(io.StringIO(payload.body.decode())) if row]
    except ValueError as cause:  # no number, no UTF-8
        raise ServerError(f"not a reply of {_TITLE}: no table of numbers", request_id=context.request_id) from cause


def _encode_error(error: AwsllmError) -> tuple[int, Payload]:
    """As the model server of the images writes it."""
    kind = "InternalServerException"
    return encode_error(error, lambda status, message: {"code": status, "type": kind, "message": message})


_PREDICT = HandlerPredict()
BODIES: tuple[Body, ...] = (Body("jumpstart", _TITLE, reads(_PREDICT), _encode_error, predict=_PREDICT),)
