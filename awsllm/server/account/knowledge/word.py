"""The text of a Word document (.docx): the paragraphs of its main part."""

from __future__ import annotations

from collections.abc import Mapping

from awsllm.server.account.knowledge.office import Office

_NAMESPACE = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_BREAKS = {f"{_NAMESPACE} tab": "\t", f"{_NAMESPACE} br": "\n", f"{_NAMESPACE} cr": "\n"}


class _Paragraphs:
    def __init__(self) -> None:
        self.parts: list[str] = []
        self._in_text = False

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._in_text = name == f"{_NAMESPACE} t"
        if name in _BREAKS:
            self.parts.append(_BREAKS[name])

    def end(self, name: str) -> None:
        self._in_text = False
        if name == f"{_NAMESPACE} p":
            self.parts.append("\n\n")

    def characters(self, data: str) -> None:
        if self._in_text:
            self.parts.append(data)


def word_text(data: bytes) -> str:
    """Raises ``OfficeError``."""
    paragraphs = _Paragraphs()
    Office(data).read("word/document.xml", paragraphs)
    return "".join(paragraphs.parts).strip()
