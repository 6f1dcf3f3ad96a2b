"""How values look in a notebook: small tables, every text of them escaped, no style and no script from elsewhere.

Loaded when a notebook first shows a value (``_repr_html_``, IPython's protocol).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_CELL = "text-align: left; vertical-align: top; white-space: pre-wrap"


def table(rows: Iterable[Sequence[object]], *, caption: str = "", header: Sequence[str] = ()) -> str:
    """An HTML table. Without a header the first cell of each row is the row's name."""
    head = f"<tr>{''.join(_cell('th', name) for name in header)}</tr>" if header else ""
    body = "".join(
        f"<tr>{_cell('td' if header else 'th', row[0])}{''.join(_cell('td', value) for value in row[1:])}</tr>"
        for row in rows
    )
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{above}{head}{body}</table>"


def _cell(tag: str, value: object) -> str:
    return f'<{tag} style="{_CELL}">{"" if value is None else escape(str(value))}</{tag}>'
