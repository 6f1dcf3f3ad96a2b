"""What a function's docstring says of it and of its parameters, in the three ways that are common."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence

_SECTION = re.compile(
    r"^(args|arguments|parameters|params|returns?|yields?|raises|examples?|notes?|attributes|see also|warnings?)\s*:?$",
    re.IGNORECASE,
)
_PARAMETER_SECTIONS = ("args", "arguments", "parameters", "params")
_GOOGLE = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_NUMPY = re.compile(r"^(\w+)\s*(?::.*)?$")
_SPHINX = re.compile(r"^:(?:param|parameter|arg)\s+(?:[^:]*\s)?(\w+)\s*:\s*(.*)$")


def parse_docstring(text: str | None) -> tuple[str | None, dict[str, str]]:
    """What a docstring says of its function (None: nothing), and of each parameter: Google's, NumPy's, Sphinx's way."""
    lines = inspect.cleandoc(text or "").splitlines()
    end = next((i for i, line in enumerate(lines) if _begins_section(line)), len(lines))
    summary = "\n".join(lines[:end]).strip() or None
    return summary, _google_or_numpy(lines[end:]) | _sphinx(lines[end:])


def _begins_section(line: str) -> bool:
    return bool(_SECTION.match(line) or re.match(r"^:\w+", line))


def _google_or_numpy(lines: Sequence[str]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    inside = numpy = False
    current: list[str] | None = None
    indent = 0
    for position, line in enumerate(lines):
        if section := _SECTION.match(line):
            inside, current = section[1].lower() in _PARAMETER_SECTIONS, None
            numpy = position + 1 < len(lines) and set(lines[position + 1].strip()) == {"-"}
            indent = 0 if numpy else -1
            continue
        if not inside or not line.strip() or set(line.strip()) == {"-"}:
            continue
        depth = len(line) - len(line.lstrip())
        indent = depth if indent < 0 else indent
        head = (_NUMPY if numpy else _GOOGLE).match(line.strip()) if depth == indent else None
        if head:
            current = found.setdefault(head[1], [] if numpy else [head[2]])
        elif current is not None and depth > indent:
            current.append(line.strip())
    return {name: " ".join(parts).strip() for name, parts in found.items() if "".join(parts).strip()}


def _sphinx(lines: Sequence[str]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in lines:
        if head := _SPHINX.match(line):
            current = found.setdefault(head[1], [head[2]])
        elif line.startswith(":") or not line.strip():
            current = None
        elif current is not None:
            current.append(line.strip())
    return {name: " ".join(parts).strip() for name, parts in found.items() if "".join(parts).strip()}
