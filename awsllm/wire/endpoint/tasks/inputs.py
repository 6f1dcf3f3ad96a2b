"""How the data of a task travel to JumpStart's handlers, both directions: bytes with a content type.

text     application/x-text, the text itself
pair     application/list-text, a JSON list of two texts
choice   JSON with ``sequences`` and ``candidate_labels``
image    application/x-image, the file's bytes
table    text/csv without a header
sound    audio/wav, or JSON with the samples where there are parameters
series   JSON with ``inputs`` and ``parameters``
"""

from __future__ import annotations

import csv
import io
import sys
import wave
from array import array
from typing import Any, NamedTuple, Protocol

import msgspec

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types import JsonObject, JsonValue
from awsllm.types.predict import Cell, PredictRequest, Series
from awsllm.wire.body import Payload
from awsllm.wire.payloads import read_body
from awsllm.wire.reading import JSON, MalformedError, optional, required, strings, structures, unknown_members

TEXT = "application/x-text"
PAIR = "application/list-text"
IMAGE = "application/x-image"
TABLE = "text/csv"
SOUND = "audio/wav"


class Data(NamedTuple):
    """The bytes of a request, and what they are."""

    body: bytes
    content_type: str


class Input(Protocol):
    """``decode`` gives the members of a ``PredictRequest``. It raises what the container would refuse."""

    def encode(self, request: PredictRequest) -> Data: ...

    def decode(self, payload: Payload) -> dict[str, Any]: ...


def own_body(request: PredictRequest) -> Data | None:
    """What the caller wrote instead of data."""
    return None if request.body is None else Data(msgspec.json.encode(request.body), JSON)


def is_json(payload: Payload) -> bool:
    return payload.content_type.partition(";")[0].strip() == JSON


# --- taking what a task needs ----------------------------------------------------------------------------------------


def one_text(request: PredictRequest) -> str:
    if len(request.texts) != 1:
        raise _wrong(request, "one text")
    return request.texts[0]


def two_texts(request: PredictRequest, what: str = "a pair of texts") -> tuple[str, str]:
    if len(request.texts) != 2:
        raise _wrong(request, what)
    return request.texts[0], request.texts[1]


def file_bytes(request: PredictRequest, kind: str) -> bytes:
    """The bytes of the image or sound (``kind``)."""
    if request.media is None or not (request.media_type or kind).startswith(kind):
        raise _wrong(request, f"an {kind}" if kind == "image" else "a sound")
    return request.media


def chosen_labels(request: PredictRequest) -> tuple[str, ...]:
    if not request.labels:
        raise ValidationError("give the labels to choose from: labels=[...]")
    return request.labels


def _wrong(request: PredictRequest, wanted: str) -> UnsupportedError:
    members = {"texts": "text", "rows": "rows", "series": "series", "tensors": "tensors"}
    given = [f"{len(held)} {word}" for name, word in members.items() if (held := getattr(request, name))]
    given += [request.media_type or "a file"] if request.media is not None else []
    return UnsupportedError(f"this task takes {wanted}, not {' and '.join(given) or 'nothing'}")


def _refuse_extra(request: PredictRequest) -> None:
    if request.extra:
        names = ", ".join(sorted(request.extra))
        raise UnsupportedError(f"there is no place for {names} beside a body that is no JSON: send a dict of your own")


def _refuse_json(payload: Payload, takes: str) -> None:
    """A handler refuses a content type that it does not know."""
    if is_json(payload):
        raise UnsupportedError(f"the content type {JSON} is not supported here; {takes} is")


# --- the inputs ------------------------------------------------------------------------------------------------------


class TextInput:
    def encode(self, request: PredictRequest) -> Data:
        _refuse_extra(request)
        return Data(one_text(request).encode(), TEXT)

    def decode(self, payload: Payload) -> dict[str, Any]:
        _refuse_json(payload, TEXT)
        return {"texts": (_text(payload),)}


class PairInput:
    def encode(self, request: PredictRequest) -> Data:
        _refuse_extra(request)
        return Data(msgspec.json.encode(two_texts(request)), PAIR)

    def decode(self, payload: Payload) -> dict[str, Any]:
        _refuse_json(payload, PAIR)
        wire = payload.json()
        if not isinstance(wire, list) or len(wire) != 2 or not all(isinstance(text, str) for text in wire):
            raise MalformedError("the body must be a list of two texts")
        return {"texts": tuple(wire)}


class ChoiceInput:
    """``multi_label`` is no member that JumpStart documents: it goes through ``extra``."""

    def encode(self, request: PredictRequest) -> Data:
        if request.multi_label is not None:
            raise UnsupportedError(
                'this container documents no multi_label: extra={"multi_label": True} sends it anyway'
            )
        wire = {"sequences": one_text(request), "candidate_labels": list(chosen_labels(request))}
        return Data(msgspec.json.encode(wire | (request.extra or {})), JSON)

    def decode(self, payload: Payload) -> dict[str, Any]:
        wire = read_body(payload)
        return {
            "texts": (required(wire, "sequences", str),),
            "labels": strings(wire, "candidate_labels"),
            "extra": unknown_members(wire, {"sequences", "candidate_labels"}),
        }


class ImageInput:
    def encode(self, request: PredictRequest) -> Data:
        _refuse_extra(request)
        return Data(file_bytes(request, "image"), IMAGE)

    def decode(self, payload: Payload) -> dict[str, Any]:
        _refuse_json(payload, IMAGE)
        return {"media": payload.body, "media_type": "image"}


class TableInput:
    def encode(self, request: PredictRequest) -> Data:
        _refuse_extra(request)
        if len(request.texts) == 1 and not request.rows:
            return Data(request.texts[0].encode(), TABLE)
        if not request.rows:
            raise _wrong(request, "rows of a table")
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(request.rows)
        return Data(text.getvalue().encode(), TABLE)

    def decode(self, payload: Payload) -> dict[str, Any]:
        _refuse_json(payload, TABLE)
        return {"rows": tuple(tuple(map(_cell, row)) for row in csv.reader(io.StringIO(_text(payload))) if row)}


class SoundInput:
    """A file's bytes; with parameters (``language``, ``extra``) its samples, which a JSON body carries."""

    def encode(self, request: PredictRequest) -> Data:
        data = file_bytes(request, "audio")
        parameters = {**({"language": request.language} if request.language else {}), **(request.extra or {})}
        if not parameters:
            return Data(data, SOUND)
        return Data(msgspec.json.encode({"audio_input": _samples(data), **parameters}), JSON)

    def decode(self, payload: Payload) -> dict[str, Any]:
        if not is_json(payload):
            return {"media": payload.body, "media_type": "audio"}
        wire = read_body(payload)
        required(wire, "audio_input", dict)
        return {"body": wire, "language": optional(wire, "language", str)}


class SeriesInput:
    """Chronos' body."""

    def encode(self, request: PredictRequest) -> Data:
        if not request.series:
            raise _wrong(request, "series of numbers")
        parameters: JsonObject = {
            "prediction_length": request.horizon,
            "quantile_levels": list(request.quantiles) or None,
            "freq": request.frequency,
        }
        given = {name: value for name, value in parameters.items() if value is not None} | (request.extra or {})
        wire: JsonObject = {"inputs": [_series(each) for each in request.series]}
        return Data(msgspec.json.encode({**wire, **({"parameters": given} if given else {})}), JSON)

    def decode(self, payload: Payload) -> dict[str, Any]:
        wire = read_body(payload)
        required(wire, "inputs", list)
        parameters = optional(wire, "parameters", dict) or {}
        return {
            "series": structures(wire, "inputs", _read_series),
            "horizon": optional(parameters, "prediction_length", int),
            "quantiles": tuple(optional(parameters, "quantile_levels", list) or ()),
            "frequency": optional(parameters, "freq", str),
            "extra": unknown_members(parameters, {"prediction_length", "quantile_levels", "freq"}),
        }


def _text(payload: Payload) -> str:
    try:
        return payload.body.decode()
    except UnicodeDecodeError as cause:
        raise ValidationError("the body is no text in UTF-8") from cause


def _cell(text: str) -> Cell:
    """Numbers as numbers: a CSV file does not say which are."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _series(series: Series) -> JsonObject:
    named: JsonObject = {"target": list(series.target), "item_id": series.item_id, "start": series.start}
    return {name: value for name, value in named.items() if value is not None} | (series.extra or {})


def _read_series(wire: JsonObject) -> Series:
    return Series(
        target=tuple(map(_number, required(wire, "target", list))),
        item_id=optional(wire, "item_id", str),
        start=optional(wire, "start", str),
        extra=unknown_members(wire, {"target", "item_id", "start"}),
    )


def _number(value: JsonValue) -> float | None:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return None if value is None else float(value)
    raise MalformedError("must be a list of numbers", "target")


def _samples(data: bytes) -> JsonObject:
    """Rate and samples of a WAV file, as the notebook on Whisper writes them: the list as a text."""
    try:
        with wave.open(io.BytesIO(data)) as file:
            shape = file.getnchannels(), file.getsampwidth()
            rate, frames = file.getframerate(), file.readframes(file.getnframes())
    except (wave.Error, EOFError) as cause:
        raise ValidationError("with language= or extra= the sound must be a WAV file: its samples are sent") from cause
    if shape != (1, 2):
        raise ValidationError("with language= or extra= the sound must be WAV of one channel and 16 bits: convert it")
    samples = array("h", frames)
    if sys.byteorder == "big":
        samples.byteswap()
    return {"sampling_rate": rate, "raw": repr(samples.tolist())}
