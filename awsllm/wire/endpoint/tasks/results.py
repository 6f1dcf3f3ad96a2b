"""What containers say for each task, both directions: JSON to a ``Prediction`` and back.

JumpStart's handlers answer with one object whose members are named for the task; where ``;verbose`` was accepted, with
labels beside the numbers. Other containers that serve the same tasks (transformers' pipelines, XGBoost's own) differ in
few ways, which are read here as well; what is written is JumpStart's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from awsllm.types import JsonObject, JsonValue
from awsllm.types.predict import (
    Answer,
    Classification,
    Embedding,
    Entities,
    Entity,
    Forecast,
    Forecasts,
    FoundObject,
    FoundObjects,
    LabelMap,
    LabelScore,
    MaskGuess,
    MaskGuesses,
    PredictedText,
    Prediction,
    RowClasses,
    RowValues,
)
from awsllm.wire.reading import MalformedError, elements, optional, required, without_none


class Output(NamedTuple):
    """``kind`` is the type of result that ``encode`` writes."""

    kind: type[Prediction]
    decode: Callable[[JsonValue], Prediction]
    encode: Callable[[Any], JsonValue]


# --- reading numbers -------------------------------------------------------------------------------------------------


def numbers(value: JsonValue, name: str) -> tuple[float, ...]:
    """A list of numbers; lists of one number each count as the number."""
    if not isinstance(value, list):
        raise MalformedError("must be a list of numbers", name)
    return tuple(_number(each[0] if isinstance(each, list) and len(each) == 1 else each, name) for each in value)


def _number(value: JsonValue, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MalformedError("must be a number", name)
    return float(value)


def _matrix(value: JsonValue, name: str) -> list[list[float]]:
    if not isinstance(value, list) or not all(isinstance(row, list) for row in value):
        raise MalformedError("must be a list of lists of numbers", name)
    return [[_number(each, name) for each in row] for row in value]


def _labels(wire: JsonObject, name: str) -> tuple[str, ...]:
    """Labels, which some models have as numbers."""
    return tuple(map(_label, optional(wire, name, list) or ()))


def _label(value: JsonValue) -> str:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _object(value: JsonValue) -> JsonObject:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        raise MalformedError("must be an object")
    return value


# --- classes ---------------------------------------------------------------------------------------------------------


def classification(pairs: Iterable[tuple[str, float]], label: str | None = None) -> Classification:
    scores = tuple(LabelScore(*pair) for pair in sorted(pairs, key=lambda pair: -pair[1]))
    if not scores and label is None:
        raise MalformedError("has no labels")
    return Classification(label=label if label is not None else scores[0].label, scores=scores)


def _named(labels: Sequence[str], values: Sequence[float]) -> list[tuple[str, float]]:
    """Values with the labels that they have, else with their places."""
    if labels and len(labels) != len(values):
        raise MalformedError(f"has {len(values)} values for {len(labels)} labels")
    return list(zip(labels or tuple(map(str, range(len(values)))), values, strict=True))


def decode_classification(wire: JsonValue) -> Classification:
    if isinstance(wire, list) and wire and isinstance(wire[0], list):  # a pipeline that gives all labels
        wire = wire[0]
    if isinstance(wire, list):
        pairs = elements(wire, "reply", lambda each: (required(each, "label", str), required(each, "score", float)))
        return classification(pairs)
    members = _object(wire)
    name = "scores" if "scores" in members else "probabilities"  # zero-shot says scores
    predicted = members.get("predicted_label")
    values = numbers(required(members, name, list), name)
    label = None if predicted is None else _label(predicted)
    return classification(_named(_labels(members, "labels"), values), label)


def encode_classification(result: Classification) -> JsonObject:
    return {
        "probabilities": [each.score for each in result.scores],
        "labels": [each.label for each in result.scores],
        "predicted_label": result.label,
    }


def encode_choice(result: Classification) -> JsonObject:
    return {"labels": [each.label for each in result.scores], "scores": [each.score for each in result.scores]}


def decode_row_classes(wire: JsonValue) -> RowClasses:
    if isinstance(wire, list):  # a reply of CSV
        return RowClasses(tuple(_row(values, ()) for values in _matrix(wire, "reply")))
    members = _object(wire)
    if "predictions" in members:  # linear learner's own
        return RowClasses(elements(required(members, "predictions", list), "predictions", _predicted))
    labels = _labels(members, "labels")
    rows = [_row(values, labels) for values in _matrix(required(members, "probabilities", list), "probabilities")]
    return RowClasses(tuple(rows))


def _row(values: list[float], labels: tuple[str, ...]) -> Classification:
    """A single value is the probability of the second of two classes (the notebooks on XGBoost and LightGBM)."""
    both = [1.0 - values[0], values[0]] if len(values) == 1 else values
    return classification(_named(labels, both))


def _predicted(wire: JsonObject) -> Classification:
    label, score = _label(required(wire, "predicted_label", float)), wire.get("score")
    values = numbers(score, "score") if isinstance(score, list) else None
    if values is not None:
        return classification(_named((), values), label)
    return Classification(label=label, scores=() if score is None else (LabelScore("1", _number(score, "score")),))


def encode_row_classes(result: RowClasses) -> JsonObject:
    """The classes in the order of their names in each row, so that a column is a class."""
    labels = sorted({each.label for row in result.rows for each in row.scores})
    by_row = [{each.label: each.score for each in row.scores} for row in result.rows]
    return {
        "probabilities": [[row.get(label, 0.0) for label in labels] for row in by_row],
        "labels": labels,
        "predicted_label": [row.label for row in result.rows],
    }


def decode_row_values(wire: JsonValue) -> RowValues:
    if isinstance(wire, list):
        return RowValues(numbers(wire, "reply"))
    members = _object(wire)
    if "predictions" in members:
        found = elements(
            required(members, "predictions", list), "predictions", lambda one: required(one, "score", float)
        )
        return RowValues(found)
    return RowValues(numbers(required(members, "prediction", list), "prediction"))


# --- texts -----------------------------------------------------------------------------------------------------------


def decode_answer(wire: JsonValue) -> Answer:
    members = _object(wire)
    return Answer(
        text=required(members, "answer", str),
        score=optional(members, "score", float),
        start=optional(members, "start", int),
        end=optional(members, "end", int),
    )


def encode_answer(result: Answer) -> JsonObject:
    return without_none(
        {"score": result.score, "start": result.start, "end": result.end, "answer": result.text},
    )


def decode_entities(wire: JsonValue) -> Entities:
    found = wire if isinstance(wire, list) else required(_object(wire), "predictions", list)
    if found and isinstance(found[0], list):  # one list a text
        found = found[0]
    return Entities(elements(found, "predictions", _entity))


def _entity(wire: JsonObject) -> Entity:
    return Entity(
        text=required(wire, "word", str),
        type=optional(wire, "entity_group", str) or required(wire, "entity", str),
        score=optional(wire, "score", float),
        start=optional(wire, "start", int),
        end=optional(wire, "end", int),
    )


def encode_entities(result: Entities) -> JsonObject:
    return {"predictions": [_write_entity(each) for each in result.entities]}


def _write_entity(entity: Entity) -> JsonObject:
    wire = {"entity": entity.type, "score": entity.score, "word": entity.text, "start": entity.start, "end": entity.end}
    return without_none(wire)


_TEXTS = ("summary_text", "translation_text", "generated_text", "text")


def decode_text(wire: JsonValue) -> PredictedText:
    """Whatever the member with the text is called; it may hold one, or a list of them."""
    replies = wire if isinstance(wire, list) else [wire]
    texts: list[str] = []
    for reply in replies:
        members = _object(reply)
        found = next((members[name] for name in _TEXTS if name in members), None)
        texts += found if isinstance(found, list) else [found]  # type: ignore[list-item]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise MalformedError(f"has no text ({', '.join(_TEXTS)})")
    return PredictedText(tuple(texts))


def decode_guesses(wire: JsonValue) -> MaskGuesses:
    """Transformers' list of guesses; one list a mask where there are several, of which the first counts."""
    found = wire if isinstance(wire, list) else required(_object(wire), "predictions", list)
    if found and isinstance(found[0], list):
        found = found[0]
    return MaskGuesses(elements(found, "reply", _guess))


def _guess(wire: JsonObject) -> MaskGuess:
    return MaskGuess(
        token=optional(wire, "token_str", str),
        text=optional(wire, "sequence", str),
        score=optional(wire, "score", float),
    )


def encode_guesses(result: MaskGuesses) -> JsonValue:
    return [
        without_none({"score": each.score, "token_str": each.token, "sequence": each.text}) for each in result.guesses
    ]


def decode_embedding(wire: JsonValue) -> Embedding:
    found = wire if isinstance(wire, list) else required(_object(wire), "embedding", list)
    if found and not isinstance(found[0], list):
        found = [found]
    return Embedding(_matrix(found, "embedding"))


def encode_embedding(result: Embedding) -> JsonObject:
    return {"embedding": result.vectors[0] if len(result.vectors) == 1 else result.vectors}


# --- images ----------------------------------------------------------------------------------------------------------


def decode_objects(wire: JsonValue) -> FoundObjects:
    """JumpStart's boxes are shares of the image, left, top, right and bottom; classes are indices of ``labels``. A
    pipeline gives a list of objects with boxes in pixels."""
    if isinstance(wire, list):
        return FoundObjects(elements(wire, "reply", _pipeline_object))
    members = _object(wire)
    boxes = required(members, "normalized_boxes", list)
    return FoundObjects(_found(members, boxes, "classes", in_pixels=False))


def decode_instances(wire: JsonValue) -> FoundObjects:
    members = _object(wire)
    return FoundObjects(_found(members, required(members, "bboxes", list), "ids", in_pixels=True))


def _found(wire: JsonObject, boxes: list[Any], classes: str, *, in_pixels: bool) -> tuple[FoundObject, ...]:
    kinds = [_label(kind) for kind in required(wire, classes, list)]
    scores, labels = numbers(required(wire, "scores", list), "scores"), _labels(wire, "labels")
    masks = optional(wire, "masks", list) or [None] * len(boxes)
    if not len(kinds) == len(scores) == len(boxes) == len(masks):
        raise MalformedError("has not as many boxes as classes, scores and masks")
    return tuple(
        FoundObject(
            label=_by_index(kind, labels),
            score=score,
            box=_box(box),
            in_pixels=in_pixels,
            mask=None if mask is None else _matrix(mask, "masks"),
        )
        for kind, score, box, mask in zip(kinds, scores, boxes, masks, strict=True)
    )


def _by_index(kind: str, labels: tuple[str, ...]) -> str:
    return labels[int(kind)] if kind.isdigit() and int(kind) < len(labels) else kind


def _box(value: JsonValue) -> tuple[float, float, float, float]:
    sides = numbers(value, "box")
    if len(sides) != 4:
        raise MalformedError("must have four sides", "box")
    return sides[0], sides[1], sides[2], sides[3]


def _pipeline_object(wire: JsonObject) -> FoundObject:
    box = optional(wire, "box", dict)
    sides = box and tuple(required(box, side, float) for side in ("xmin", "ymin", "xmax", "ymax"))
    return FoundObject(
        label=required(wire, "label", str),
        score=optional(wire, "score", float),
        box=sides or None,  # type: ignore[arg-type]
        in_pixels=True,
    )


def encode_objects(result: FoundObjects) -> JsonObject:
    labels, kinds = _classes(result)
    return {
        "normalized_boxes": [list(each.box or ()) for each in result.objects],
        "classes": kinds,
        "scores": [each.score or 0.0 for each in result.objects],
        "labels": labels,
    }


def encode_instances(result: FoundObjects) -> JsonObject:
    labels, kinds = _classes(result)
    wire: JsonObject = {
        "ids": kinds,
        "scores": [each.score or 0.0 for each in result.objects],
        "bboxes": [list(each.box or ()) for each in result.objects],
        "labels": labels,
    }
    masks = [each.mask for each in result.objects if each.mask is not None]
    return wire | ({"masks": masks} if len(masks) == len(result.objects) else {})


def _classes(result: FoundObjects) -> tuple[list[str], list[int]]:
    labels = list(dict.fromkeys(each.label for each in result.objects))
    return labels, [labels.index(each.label) for each in result.objects]


def decode_map(wire: JsonValue) -> LabelMap:
    members = _object(wire)
    rows = _matrix(required(members, "predictions", list), "predictions")
    return LabelMap(
        pixels=[[int(each) for each in row] for row in rows],
        labels=_labels(members, "labels"),
        present=_labels(members, "image_labels"),
    )


def encode_map(result: LabelMap) -> JsonObject:
    return {"predictions": result.pixels, "labels": list(result.labels), "image_labels": list(result.present)}


# --- series ----------------------------------------------------------------------------------------------------------


def decode_forecasts(wire: JsonValue) -> Forecasts:
    found = wire if isinstance(wire, list) else required(_object(wire), "predictions", list)
    return Forecasts(elements(found, "predictions", _forecast))


def _forecast(wire: JsonObject) -> Forecast:
    """Chronos has its quantiles beside the mean, DeepAR in an object of their own."""
    levels = optional(wire, "quantiles", dict) or {name: value for name, value in wire.items() if _is_level(name)}
    return Forecast(
        mean=numbers(wire["mean"], "mean") if "mean" in wire else (),
        quantiles={name: numbers(value, name) for name, value in levels.items()},
        item_id=optional(wire, "item_id", str),
        start=optional(wire, "start", str),
    )


def _is_level(name: str) -> bool:
    try:
        return 0.0 < float(name) < 1.0
    except ValueError:
        return False


def encode_forecasts(result: Forecasts) -> JsonObject:
    return {"predictions": [_write_forecast(each) for each in result.series]}


def _write_forecast(forecast: Forecast) -> JsonObject:
    levels = {name: list(values) for name, values in forecast.quantiles.items()}
    return without_none({"mean": list(forecast.mean), **levels, "item_id": forecast.item_id, "start": forecast.start})


# --- one a task ------------------------------------------------------------------------------------------------------

CLASSES = Output(Classification, decode_classification, encode_classification)
CHOICE = Output(Classification, decode_classification, encode_choice)
ROW_CLASSES = Output(RowClasses, decode_row_classes, encode_row_classes)
ROW_VALUES = Output(RowValues, decode_row_values, lambda result: {"prediction": list(result.values)})
ANSWER = Output(Answer, decode_answer, encode_answer)
ENTITIES = Output(Entities, decode_entities, encode_entities)
GUESSES = Output(MaskGuesses, decode_guesses, encode_guesses)
EMBEDDING = Output(Embedding, decode_embedding, encode_embedding)
OBJECTS = Output(FoundObjects, decode_objects, encode_objects)
INSTANCES = Output(FoundObjects, decode_instances, encode_instances)
MAP = Output(LabelMap, decode_map, encode_map)
FORECASTS = Output(Forecasts, decode_forecasts, encode_forecasts)
SPEECH = Output(PredictedText, decode_text, lambda result: {"text": list(result.texts)})


def text_output(member: str) -> Output:
    """A text in the member that is named for the task."""
    return Output(PredictedText, decode_text, lambda result: {member: result.text})
