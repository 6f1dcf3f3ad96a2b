"""What models are asked, and what is expected of them: cases, from JSON Lines, JSON, CSV or dicts.

A record is a case. Its prompt stands in the column ``prompt``, ``input`` or ``question``, or is made by a template; or
it is a conversation (``messages``, as chat is kept for fine-tuning), whose last turn, if the assistant said it, is what
is expected. What is expected stands in ``expected``, ``referenceResponse``, ``completion`` or ``answer``; several
texts in a list are alternatives, of which the best match counts.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from awsllm.errors import ConfigurationError, ValidationError
from awsllm.types import JsonObject, Value

_PROMPT = ("prompt", "input", "question")
_EXPECTED = ("expected", "referenceResponse", "completion", "answer")
_COLUMN = re.compile(r"\{(\w+)\}")
_TOLD = 5  # of the bad records
_LONGEST = 1 << 24  # characters of a field of CSV

Dataset: TypeAlias = "str | Path | Iterable[Mapping[str, Any] | EvaluationCase]"
"""A path of .jsonl, .json or .csv, or the records themselves."""


class EvaluationCase(Value, frozen=True, kw_only=True):
    """One thing to ask. ``prompt`` is the text of the last user turn, ``messages`` the whole conversation where there
    is more than that, each as Converse has it. ``expected`` is JSON: a text, alternatives, what a tool call shall be.
    ``columns`` is the record that the case was made of."""

    id: str
    prompt: str
    expected: Any = None
    system: str | None = None
    messages: tuple[JsonObject, ...] = ()
    tools: tuple[JsonObject, ...] = ()
    columns: JsonObject = msgspec.field(default_factory=dict)

    @property
    def alternatives(self) -> tuple[str, ...]:
        """What is expected, as texts of which one shall be met."""
        found = self.expected if isinstance(self.expected, list | tuple) else [self.expected]
        return tuple(text(one) for one in found if one is not None)

    @property
    def key(self) -> str:
        """The same for cases that ask the same and expect the same, whatever their ids."""
        asked = [self.prompt, self.system, self.messages, self.tools, self.expected]
        return hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest()[:16]


def text(value: Any) -> str:
    """A value of a record as it stands in a prompt."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def read_cases(data: Dataset, *, prompt: str | None = None, expected: str | None = None) -> tuple[EvaluationCase, ...]:
    """The cases of a dataset, before anything is asked of a model.

    ``prompt`` and ``expected`` are templates over the columns (``"Translate: {text}"``); ``expected`` may be the name
    of one, whose value is taken as it is. ``ValidationError`` names the line of each bad record, the first ones.
    """
    found: list[EvaluationCase] = []
    faults: list[str] = []
    where = "line" if isinstance(data, str | Path) else "record"
    for number, record in _records(data):
        try:
            found.append(_case(number, record, prompt, expected))
        except ValueError as fault:
            faults.append(f"{where} {number}: {fault}")
    name = f"{Path(data).name}, " if isinstance(data, str | Path) else ""
    if faults:
        more = f"; and {len(faults) - _TOLD} more" if len(faults) > _TOLD else ""
        raise ValidationError(f"{name}{'; '.join(faults[:_TOLD])}{more}")
    if not found:
        raise ValidationError(f"{name}there is no case to evaluate")
    _check_ids(found)
    return tuple(found)


def _check_ids(cases: Iterable[EvaluationCase]) -> None:
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            raise ValidationError(f"two cases have the id {case.id!r:.60}")
        seen.add(case.id)


# --- files -----------------------------------------------------------------------------------------------------------


def _records(data: Dataset) -> Iterator[tuple[int, Any]]:
    """Each record with its line, counted from 1; what cannot be read is a ``ValueError`` in its place."""
    if not isinstance(data, str | Path):
        yield from enumerate(data, 1)
        return
    path = Path(data)
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValidationError(f"{path.name} is not UTF-8 (byte {error.start})") from None
    except OSError as error:
        raise ConfigurationError(f"the dataset {path} cannot be read: {error.strerror}") from None
    match path.suffix.lower():
        case ".jsonl" | ".ndjson":
            yield from _json_lines(content)
        case ".json":
            yield from _json_list(path.name, content)
        case ".csv" | ".tsv":
            yield from _csv_rows(content, "\t" if path.suffix.lower() == ".tsv" else ",")
        case other:
            raise ValidationError(f"a dataset is .jsonl, .json, .csv or .tsv, not {other or path.name!r}")


def _json_lines(content: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(content.split("\n"), 1):
        if line.strip():
            yield number, _decoded(line)


def _json_list(name: str, content: str) -> Iterator[tuple[int, Any]]:
    found = _decoded(content)
    if not isinstance(found, list):
        raise ValidationError(f"{name} is no list of records")
    yield from enumerate(found, 1)


def _decoded(content: str) -> Any:
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError) as error:
        return ValueError(f"is no JSON ({error})" if isinstance(error, msgspec.DecodeError) else "is nested too deep")


def _csv_rows(content: str, delimiter: str) -> Iterator[tuple[int, Any]]:
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST))
    reader = csv.DictReader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    try:
        names = list(reader.fieldnames or ())
        if len(set(names)) < len(names):
            raise ValidationError("line 1: two columns have one name")
        for row in reader:
            short = None in row or None in row.values()
            yield reader.line_num, ValueError("has other columns than the header") if short else row
    except csv.Error as error:
        raise ValidationError(f"line {reader.line_num}: {error}") from None


# --- records ---------------------------------------------------------------------------------------------------------


def _case(number: int, record: Any, prompt: str | None, expected: str | None) -> EvaluationCase:
    """Raises ``ValueError`` saying what is wrong with the record."""
    if isinstance(record, EvaluationCase):
        return record
    if isinstance(record, ValueError):
        raise record
    if not isinstance(record, Mapping):
        raise ValueError("is no object")  # noqa: TRY004 -- a fault of the record, gathered with the others
    columns = dict(record)
    wanted = _expected(columns, expected)
    system = columns.get("system")
    if prompt is None and columns.get("messages") is not None:
        messages, told, answer = _conversation(columns["messages"])
        asked, system = _last_text(messages), told if system is None else system
        wanted = answer if wanted is None else wanted
    else:
        messages, asked = (), _prompt(columns, prompt)
    if system is not None and not isinstance(system, str):
        raise ValueError("its system is no text")
    return EvaluationCase(
        id=text(columns["id"]) if columns.get("id") not in (None, "") else str(number),
        prompt=asked,
        expected=wanted,
        system=system,
        messages=messages if len(messages) > 1 or _is_more(messages) else (),
        tools=_tools(columns.get("tools")),
        columns=_plain(columns),
    )


def _tools(given: Any) -> tuple[JsonObject, ...]:
    if given in (None, ""):  # an empty field of CSV
        return ()
    if not isinstance(given, list | tuple) or not all(isinstance(one, Mapping) for one in given):
        raise ValueError("its tools are no list of specifications")
    return tuple(given)


def _plain(columns: dict[str, Any]) -> JsonObject:
    try:
        plain: JsonObject = msgspec.to_builtins(columns)
        msgspec.json.encode(plain)  # half a character is none of JSON's
    except (TypeError, ValueError, RecursionError):
        raise ValueError("holds what is no JSON") from None
    return plain


def _prompt(columns: Mapping[str, Any], template: str | None) -> str:
    if template is not None:
        return _filled(template, columns)
    name = next((name for name in _PROMPT if columns.get(name) not in (None, "")), None)
    if name is None:
        raise ValueError(f"has no {', '.join(_PROMPT)} or messages: give prompt= a template of {_named(columns)}")
    return text(columns[name])


def _expected(columns: Mapping[str, Any], template: str | None) -> Any:
    if template is None:
        return next((columns[name] for name in _EXPECTED if columns.get(name) is not None), None)
    return columns[template] if template in columns else _filled(template, columns)


def _filled(template: str, columns: Mapping[str, Any]) -> str:
    """The template with each ``{column}``. What a column says is text, whatever braces it has."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in columns:
            raise ValueError(f"has no column {found[1]!r}; it has {_named(columns)}")
        return text(columns[found[1]])

    return _COLUMN.sub(value, template)


def _named(columns: Mapping[str, Any]) -> str:
    return ", ".join(f"{{{name}}}" for name in list(columns)[:10]) or "no columns"


def _conversation(turns: Any) -> tuple[tuple[JsonObject, ...], str | None, Any]:
    """The turns to be sent, the system prompt, and what the assistant said at the end. Texts become blocks."""
    if not isinstance(turns, list | tuple) or not turns:
        raise ValueError("its messages are no list of turns")
    system: list[str] = []
    sent: list[JsonObject] = []
    for turn in turns:
        role, content = (turn.get("role"), turn.get("content")) if isinstance(turn, Mapping) else (None, None)
        if role not in ("system", "user", "assistant") or not isinstance(content, str | list) or not content:
            raise ValueError("a turn of its messages has a role (system, user, assistant) and content")
        blocks = [{"text": content}] if isinstance(content, str) else list(content)
        if role == "system":
            system += [one.get("text", "") for one in blocks if isinstance(one, Mapping)]
        else:
            sent.append({"role": role, "content": blocks})
    answer = _said(sent.pop()) if len(sent) > 1 and sent[-1]["role"] == "assistant" else None
    if not sent or sent[-1]["role"] != "user":
        raise ValueError("its messages ask nothing: the last turn before the answer is the user's")
    return tuple(sent), "\n".join(system) or None, answer


def _said(turn: JsonObject) -> Any:
    return "".join(str(block.get("text", "")) for block in turn["content"] if isinstance(block, Mapping))


def _last_text(messages: tuple[JsonObject, ...]) -> str:
    return str(_said(messages[-1]))


def _is_more(messages: tuple[JsonObject, ...]) -> bool:
    """Whether one turn says more than its text."""
    return any(set(block) != {"text"} for turn in messages for block in turn["content"] if isinstance(block, Mapping))
