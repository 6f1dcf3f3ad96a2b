"""``predict`` before it is called: the caller's data as the members of a request, and its options.

What the data are follows from what they look like; which of them a task takes, its codec says. Nothing here knows what
the endpoint does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from awsllm.calls import media
from awsllm.calls.options import PredictOptions, check_names, check_number
from awsllm.calls.prepare import members_of
from awsllm.errors import ConfigurationError, ValidationError
from awsllm.models.references import Reference, parse_reference
from awsllm.types import Audio, Bytes, Image
from awsllm.types.predict import PredictRequest, Series, Tensor
from awsllm.wire.endpoint.tasks.names import TASKS, canonical

PredictData: TypeAlias = Any
"""A text, or a sequence of texts; a path, bytes, an ``Image`` or an ``Audio``; rows of a table (sequences, or what has
``to_csv``, as pandas' frames do); numbers, ``Series`` or dicts with a ``target``; a dict of names to tensors, or of
what the container takes as JSON."""

_SCALARS = (str, int, float, bool, type(None))


def prepare_predict(
    endpoint: str, data: PredictData, task: str | None, options: PredictOptions
) -> tuple[Reference, PredictRequest]:
    """Raises ``ValidationError`` for data of no known kind, for an unknown task or option."""
    check_names(options, PredictOptions)
    named = getattr(endpoint, "reference", endpoint)  # a deployed model is its own reference
    reference = parse_reference(named if ":" in str(named) else f"sagemaker:{named}")
    if reference.scheme == "bedrock":
        raise ConfigurationError(f"predict is for sagemaker: endpoints and local: models; {reference} is none")
    members = members_of(reference, options, PredictOptions)
    for name in ("count", "horizon"):
        check_number(name, members.get(name), whole=True)
    members |= {"labels": _labels(members.get("labels")), "quantiles": tuple(members.get("quantiles") or ())}
    known = canonical(task)
    if task is not None and known is None:
        raise ValidationError(f"unknown task {task!r}: it is one of {', '.join(TASKS)}")
    return reference, PredictRequest(task=known, **members, **read_data(data, known))


def _labels(given: Any) -> tuple[str, ...]:
    if isinstance(given, str) or not all(isinstance(label, str) for label in given or ()):
        raise ValidationError("labels is a list of texts")
    return tuple(given or ())


def read_data(data: PredictData, task: str | None = None) -> dict[str, Any]:
    """The members of a ``PredictRequest`` that hold the data."""
    if hasattr(data, "to_csv"):  # a frame of pandas or polars
        return {"texts": (_frame_text(data),)}
    if hasattr(data, "tolist"):  # an array of numpy or PyTorch
        data = data.tolist()
    match data:
        case str():
            return _text(data)
        case bytes() | bytearray() | memoryview():
            return _file(bytes(data), None)
        case os.PathLike():
            return _path(Path(data))
        case Image(source=Bytes(content)) | Audio(source=Bytes(content)):
            return _file(content, f"{'image' if isinstance(data, Image) else 'audio'}/{data.format}")
        case Tensor():
            return {"tensors": (data,)}
        case Series():
            return {"series": (data,)}
        case Mapping():
            return _mapping(data, task)
        case Sequence():
            return _sequence(data, task)
    raise ValidationError(f"data is a text, a file, rows, series, tensors or a dict, not a {type(data).__name__}")


def _frame_text(frame: Any) -> str:
    try:
        return str(frame.to_csv(header=False, index=False))
    except TypeError as cause:
        raise ValidationError(f"a {type(frame).__name__} cannot be written as CSV: pass its rows") from cause


def _text(text: str) -> dict[str, Any]:
    if not text.strip():
        raise ValidationError("the text is blank: there is nothing to predict")
    return {"texts": (text,)}


def _path(path: Path) -> dict[str, Any]:
    """A file of text or CSV is its text; others are what their first bytes say."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValidationError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    if path.suffix.lower() in (".txt", ".csv", ".md"):
        try:
            return _text(content.decode())
        except UnicodeDecodeError as error:
            raise ValidationError(f"{str(path)!r} is no text in UTF-8") from error
    return _file(content, None)


def _file(content: bytes, media_type: str | None) -> dict[str, Any]:
    if not content:
        raise ValidationError("the file is empty: there is nothing to predict")
    found = media_type or next(
        (f"{kind}/{form}" for kind in ("image", "audio") if (form := media.sniff(content, kind))), None
    )
    return {"media": content, "media_type": found}


def _mapping(data: Mapping[Any, Any], task: str | None) -> dict[str, Any]:
    """Tensors by name if there is a ``Tensor`` or an array among them, or that is the task; a series has a target;
    anything else is the container's own JSON."""
    arrays = any(isinstance(each, Tensor) or hasattr(each, "dtype") for each in data.values())
    if task == "tensors" or arrays:
        return {"tensors": tuple(_tensor(str(name), value) for name, value in data.items())}
    if "target" in data:
        return {"series": (_series(data),)}
    try:
        msgspec.json.encode(data)
    except (TypeError, ValueError, OverflowError, RecursionError) as cause:
        raise ValidationError(f"the body cannot be written as JSON: {cause}") from cause
    return {"body": dict(data)}


def _sequence(data: Sequence[Any], task: str | None) -> dict[str, Any]:
    items = list(data)
    if not items:
        raise ValidationError("the data are empty: there is nothing to predict")
    if all(isinstance(each, Series | Mapping) for each in items):
        return {"series": tuple(each if isinstance(each, Series) else _series(each) for each in items)}
    if all(isinstance(each, Tensor) for each in items):
        return {"tensors": tuple(items)}
    rows = [each.tolist() if hasattr(each, "tolist") else each for each in items]
    if all(isinstance(each, _SCALARS) for each in rows):
        if all(isinstance(each, str) for each in rows) and task not in ("tabular_classification", "tabular_regression"):
            return {"texts": tuple(rows)}
        return _table([rows], task)
    if all(isinstance(each, list | tuple) and all(isinstance(cell, _SCALARS) for cell in each) for each in rows):
        return _table(rows, task)
    raise ValidationError("a list holds texts, rows, series or tensors, all of one kind")


def _table(rows: list[Any], task: str | None) -> dict[str, Any]:
    """Rows of numbers are series where that is the task, and where nobody says what it is they are both."""
    numeric = all(isinstance(cell, int | float | None) and not isinstance(cell, bool) for row in rows for cell in row)
    series = tuple(Series(target=tuple(row)) for row in rows) if numeric and task in ("forecasting", None) else ()
    return {"series": series} if task == "forecasting" else {"rows": tuple(map(tuple, rows)), "series": series}


def _series(data: Mapping[Any, Any]) -> Series:
    known = {"target", "item_id", "start"}
    try:
        target = data["target"]
        values = target.tolist() if hasattr(target, "tolist") else target
        return msgspec.convert(
            {
                "target": list(values),
                "item_id": data.get("item_id"),
                "start": data.get("start"),
                "extra": {name: value for name, value in data.items() if name not in known} or None,
            },
            Series,
        )
    except (KeyError, TypeError, msgspec.ValidationError) as cause:
        raise ValidationError(f"a series is a dict with a target, a list of numbers: {cause}") from cause


# numpy's kinds, with the size of an element in bytes, as Triton names them.
_KINDS = {"b": "BOOL", "i": "INT{}", "u": "UINT{}", "f": "FP{}"}


def _tensor(name: str, value: Any) -> Tensor:
    """An array goes as its bytes; nested lists go as they are, with a type that holds them."""
    if isinstance(value, Tensor):
        return msgspec.structs.replace(value, name=name)
    if hasattr(value, "numpy"):  # PyTorch's
        value = value.numpy()
    if hasattr(value, "tobytes"):
        kind = _KINDS.get(value.dtype.kind)
        if kind is None:
            raise ValidationError(f"{name}: an array of {value.dtype} is no tensor that Triton takes; pass a Tensor")
        little = value.astype(value.dtype.newbyteorder("<"))
        datatype = kind.format(8 * value.dtype.itemsize)
        return Tensor(name=name, shape=tuple(value.shape), datatype=datatype, data=little.tobytes())
    shape, cells = _shape(value), tuple(_cells(value))
    return Tensor(name=name, shape=shape, datatype=_datatype(name, cells), data=cells)


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list | tuple):
        return ()
    inner = {_shape(each) for each in value}
    if len(inner) > 1:
        raise ValidationError("a tensor's lists must all be of one length")
    return (len(value), *(inner.pop() if inner else ()))


def _cells(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        yield value
        return
    for each in value:
        yield from _cells(each)


def _datatype(name: str, cells: tuple[Any, ...]) -> str:
    for kind, datatype in ((bool, "BOOL"), (str, "BYTES"), (int, "INT64")):
        if all(isinstance(cell, kind) for cell in cells):
            return datatype
    if all(isinstance(cell, int | float) for cell in cells):
        return "FP32"
    raise ValidationError(f"{name}: a tensor holds numbers, texts or truth values, all of one kind")
