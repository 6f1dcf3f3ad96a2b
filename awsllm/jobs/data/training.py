"""A data set to train on: read from files or values, each line checked, all of it told before anything is spent."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from awsllm.errors import ConfigurationError, ValidationError
from awsllm.jobs.data.examples import DataForm, TrainingExample
from awsllm.jobs.data.forms import DataFault, read_example
from awsllm.types import JsonObject

_MOST_EXAMPLES = 1 << 40
SHOWN = 5  # faults that are told whole; of the others, how many there are
_OTHERS = (
    (b"PAR1", "a Parquet file"),
    (b"\x1f\x8b", "a gzip file"),
    (b"PK\x03\x04", "a zip file"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (b"\xff\xfe", "a text in UTF-16"),
    (b"\xfe\xff", "a text in UTF-16"),
)
_NOUNS: Mapping[DataForm, str] = {
    "chat": "conversations",
    "preference": "pairs of answers",
    "text": "texts",
    "prompt": "questions without answers",
}


class TrainingDataError(ValidationError):
    """Lines that cannot be trained on. ``faults`` are the first of them, each a line's number and what is wrong;
    ``more`` is how many there are beside them."""

    def __init__(self, source: str, faults: list[tuple[int, str]], count: int) -> None:
        self.faults, self.more = tuple(faults[:SHOWN]), count - len(faults[:SHOWN])
        told = "; ".join(f"line {line}: {reason}" for line, reason in self.faults)
        more = f"; and {self.more} more" if self.more > 0 else ""
        super().__init__(f"{source} cannot be trained on: {told}{more}")


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Examples of one form. ``source`` is what to call it in messages."""

    examples: tuple[TrainingExample, ...]
    form: DataForm
    source: str

    def __len__(self) -> int:
        return len(self.examples)

    def __repr__(self) -> str:
        return f"TrainingData({self.source}: {len(self)} {_NOUNS[self.form]})"

    @cached_property
    def digest(self) -> str:
        """What tells it from other data: a hash of what its examples say, in their order."""
        hashed = hashlib.sha256()
        for example in self.examples:
            hashed.update(example.identity() + b"\n")
        return hashed.hexdigest()

    def check_form(self, *forms: DataForm, what: str) -> None:
        """Raise ``ValidationError`` unless it is of one of these, which ``what`` takes."""
        if self.form not in forms:
            wanted = " or ".join(_NOUNS[form] for form in forms)
            raise ValidationError(f"{what} takes {wanted}; {self.source} has {_NOUNS[self.form]}")

    def split(self, share: float) -> tuple[TrainingData, TrainingData | None]:
        """What is trained on, and what is held out to look at: every n-th example, none for a share of 0. Raises
        ``ValidationError`` for a share of which there is no whole example."""
        if not 0 <= share <= 0.5:
            raise ValidationError(f"evaluate={share!r} cannot be held out: it is a share from 0 to 0.5")
        if not share:
            return self, None
        each = round(min(1 / share, _MOST_EXAMPLES))
        if len(self) < each:
            raise ValidationError(f"evaluate={share!r} of {len(self)} examples holds out none: give a larger share")
        held = self.examples[each - 1 :: each]
        rest = tuple(one for number, one in enumerate(self.examples, 1) if number % each)
        return TrainingData(rest, self.form, self.source), TrainingData(held, self.form, self.source)


DataLike: TypeAlias = str | os.PathLike[str] | bytes | Iterable[JsonObject] | TrainingData
"""A file of JSON Lines, its bytes, or the objects that its lines would be."""


def read_training_data(data: DataLike) -> TrainingData:
    """Raises ``TrainingDataError`` with the numbers of bad lines, ``ConfigurationError`` for a file that is not
    there."""
    if isinstance(data, TrainingData):
        return data
    source, lines = _lines(data)
    examples: list[TrainingExample] = []
    faults: list[tuple[int, str]] = []
    count = 0
    for number, line in lines:
        try:
            example = read_example(_decoded(line), number)
            _check_plain(example)
            _check_same(example, examples[0] if examples else example)
        except DataFault as fault:
            count += 1
            if len(faults) < SHOWN:
                faults.append((number, str(fault)))
            continue
        examples.append(example)
    if count:
        raise TrainingDataError(source, faults, count)
    if not examples:
        raise ValidationError(f"{source} is empty: there is nothing to train on")
    return TrainingData(tuple(examples), examples[0].form, source)


def _check_same(example: TrainingExample, first: TrainingExample) -> None:
    if example.form != first.form:
        raise DataFault(f"it is of {_NOUNS[example.form]}, where line {first.line} is of {_NOUNS[first.form]}")


def _check_plain(example: TrainingExample) -> None:
    """Values that a program gave may be richer than lines."""
    try:
        example.identity()
    except (TypeError, ValueError, RecursionError, OverflowError):
        raise DataFault("it has a value that is not JSON") from None


def _decoded(line: Any) -> Any:
    if not isinstance(line, bytes):
        return line
    try:
        return msgspec.json.decode(line)
    except (ValueError, RecursionError):
        raise DataFault(_why_not(line)) from None


def _why_not(line: bytes) -> str:
    """What is wrong with a line that is not JSON. How it begins tells a file of another kind."""
    if kind := next((kind for start, kind in _OTHERS if line.startswith(start)), None):
        return f"this is {kind}, not JSON Lines: write it out as text, with one object a line"
    try:
        line.decode()
    except UnicodeDecodeError:
        return "it is not UTF-8: save the file in that encoding"
    return "it is not JSON: a file of JSON Lines has one object a line"


def _lines(data: Any) -> tuple[str, Iterator[tuple[int, Any]]]:
    """What to call the data, and its lines with their numbers; empty ones are left out."""
    if isinstance(data, bytes):
        return "the data", _of_bytes(data)
    if isinstance(data, str | os.PathLike):
        return os.fspath(data), _of_bytes(_content(os.fspath(data)))
    if isinstance(data, Iterable) and not isinstance(data, Mapping):
        return "the data", iter(list(enumerate(data, 1)))
    raise ValidationError(f"training data are a file's path or a list of objects, not a {type(data).__name__}")


def _content(name: str) -> bytes:
    """Raises ``ConfigurationError`` for what is no file that can be read."""
    shown = f"the training data {name!r:.200}"
    if not name or "://" in name:
        raise ConfigurationError(f"{shown} are no file of this machine and no s3:// URI: nothing else is fetched")
    try:
        return Path(name).expanduser().read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{shown} cannot be read: {error.strerror}") from error
    except (ValueError, RuntimeError):  # a name with a NUL, and a ~name of nobody
        raise ConfigurationError(f"{shown} cannot be read: no file has that name") from None


def _of_bytes(content: bytes) -> Iterator[tuple[int, bytes]]:
    content = content.removeprefix(b"\xef\xbb\xbf")  # a mark that some editors put there
    return ((number, line) for number, line in enumerate(content.split(b"\n"), 1) if line.strip())
