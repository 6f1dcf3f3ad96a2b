"""What the docs site makes of docstrings: they are written to be read in a terminal, and Markdown reads some of it
otherwise. mkdocs.yml names this file; mkdocstrings calls it."""

from __future__ import annotations

import re
from typing import Any

import griffe

_OPTION = re.compile(r"([a-z_]\w*(?:, [a-z_]\w*)*): ")


class ReadableDocstrings(griffe.Extension):
    """Before a docstring is rendered."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text: str) -> str:
    return "\n\n".join(_paragraph(part) for part in text.split("\n\n"))


def _paragraph(text: str) -> str:
    """A list of options is a list, an example is Python, and in what is shown as it stands there are no backticks."""
    lines = text.split("\n")
    if lines[0].startswith(">>> "):
        return "\n".join(["```python", *(line[4:] for line in lines), "```"])
    if all(line.startswith("    ") for line in lines):
        return text.replace("``", "")
    if _OPTION.match(lines[0]) and all(_OPTION.match(line) or line.startswith("    ") for line in lines):
        return "\n".join(line if line.startswith("    ") else _OPTION.sub(r"- `\1`: ", line, count=1) for line in lines)
    return text
