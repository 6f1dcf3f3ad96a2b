"""The text of an HTML document: what a browser would show, a line for each block. Nothing it refers to is fetched.

Markup is passed over from the left to the right in one pass: what is never closed ends with the file. (The standard
library's parser takes the square of the length for what is never closed, and raises on some of it.)
"""

from __future__ import annotations

import html
import re

_RAW = ("script", "style", "title", "noscript", "template", "svg")
"""Elements that are passed over with all that is in them, up to their end tag."""
_LINES = frozenset(
    (
        *("address", "aside", "blockquote", "br", "dd", "dl", "dt", "fieldset", "figure", "footer", "form", "header"),
        *("hr", "li", "main", "nav", "pre", "td", "th", "tr"),
    )
)
_PARAGRAPHS = frozenset(("p", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol", "section", "article", "div"))

_NAME = re.compile(r"</?([a-zA-Z][a-zA-Z0-9:-]*)")
_TAG_END = re.compile(r"""(?:[^"'>]|"[^"]*"|'[^']*')*+(>)?""")
_ENDS = {name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE) for name in _RAW}
_SPACE = re.compile(r"[ \t]*\n[ \t]*")


def markup_text(source: str) -> str:
    parts: list[str] = []
    place = 0
    while (start := source.find("<", place)) >= 0:
        parts.append(_shown(source[place:start]))
        place = _after(source, start, parts)
    parts.append(_shown(source[place:]))
    text = _SPACE.sub("\n", "".join(parts))
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _shown(text: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(text))


def _after(source: str, start: int, parts: list[str]) -> int:
    """Where what begins with ``<`` at ``start`` ends; the breaks that it makes are added to ``parts``."""
    if source.startswith("<!--", start):
        return _past(source, "-->", start + 4)
    if source.startswith(("<!", "<?"), start):
        return _past(source, ">", start)
    name = _NAME.match(source, start)
    if name is None:
        parts.append("<")
        return start + 1
    tag, opens = name[1].lower(), source[start + 1] != "/"
    if tag in _LINES or tag in _PARAGRAPHS:
        parts.append("\n\n" if tag in _PARAGRAPHS else "\n")
    end = _TAG_END.match(source, name.end())
    if end is None or end[1] is None:
        return len(source)
    if opens and tag in _ENDS:
        closing = _ENDS[tag].search(source, end.end())
        return len(source) if closing is None else closing.start()
    return end.end()


def _past(source: str, mark: str, start: int) -> int:
    found = source.find(mark, start)
    return len(source) if found < 0 else found + len(mark)
