"""The text of an Excel workbook (.xlsx): a line for each row, a tab between its cells; formulas by their results."""

from __future__ import annotations

import re
from collections.abc import Mapping

from awsllm.server.account.knowledge.office import Office, OfficeError

_NAMESPACE = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_STRINGS = "xl/sharedStrings.xml"
_SHEET = re.compile(r"xl/worksheets/sheet([0-9]{1,6})\.xml")


class _Strings:
    """The texts that cells share, in order; how they are pronounced (``rPh``) is none of them."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._in_text = self._spoken = False

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        match name.removeprefix(f"{_NAMESPACE} "):
            case "si":
                self.texts.append("")
            case "rPh":
                self._spoken = True
            case "t":
                self._in_text = not self._spoken

    def end(self, name: str) -> None:
        self._in_text = False
        if name == f"{_NAMESPACE} rPh":
            self._spoken = False

    def characters(self, data: str) -> None:
        if self._in_text and self.texts:
            self.texts[-1] += data


class _Rows:
    def __init__(self, strings: list[str]) -> None:
        self.lines: list[str] = []
        self._strings = strings
        self._cells: list[str] = []
        self._is_shared = self._in_value = False
        self._value = ""

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        match name.removeprefix(f"{_NAMESPACE} "):
            case "c":
                self._is_shared, self._value = attributes.get("t") == "s", ""
            case "v" | "t":
                self._in_value = True

    def end(self, name: str) -> None:
        match name.removeprefix(f"{_NAMESPACE} "):
            case "v" | "t":
                self._in_value = False
            case "c":
                self._cells.append(self._shared() if self._is_shared else self._value)
            case "row":
                self.lines.append("\t".join(self._cells).rstrip())
                self._cells = []

    def characters(self, data: str) -> None:
        if self._in_value:
            self._value += data

    def _shared(self) -> str:
        if not self._value.isdecimal() or not int(self._value[:9]) < len(self._strings):
            raise OfficeError("refers to a text that it does not have")
        return self._strings[int(self._value[:9])]


def sheets_text(data: bytes) -> str:
    """Raises ``OfficeError``."""
    office = Office(data)
    strings = _Strings()
    if _STRINGS in office.names:
        office.read(_STRINGS, strings)
    sheets = sorted((int(found[1]), found[0]) for name in set(office.names) if (found := _SHEET.fullmatch(name)))
    texts = []
    for _, name in sheets:
        rows = _Rows(strings.texts)
        office.read(name, rows)
        texts.append("\n".join(rows.lines).strip())
    return "\n\n".join(filter(None, texts))
