"""Where a text ends, whole and as it streams: stop sequences, and the search that any mark in streaming text needs.

Some servers leave the stop sequence at the end of the text, some cut it off, some cannot stop at all. So the text is
always cut here, at the first sequence that is complete, whole (``Stops.cut``) or as it streams (``StopCutter``, which
holds back whatever may become one). Those of the prompt's style end a turn; the caller's are a reason of their own.
"""

from __future__ import annotations

from awsllm.types import ConverseRequest
from awsllm.wire.body import Context
from awsllm.wire.text.prompts import STYLES

STOP_REASONS = {
    "length": "max_tokens",
    "eos_token": "end_turn",
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
}
"""TGI's and LMI's reasons to finish as neutral ones; those not listed pass through."""

FINISH_REASONS = {"max_tokens": "length", "end_turn": "eos_token", "stop_sequence": "stop_sequence"}
"""The inverse."""


def first_mark(text: str, marks: tuple[str, ...]) -> tuple[int, str] | None:
    """The mark that was whole first, however the text was cut, and the place where it begins; None where there is
    none."""
    found = [(at + len(mark), at, mark) for mark in marks if (at := text.find(mark)) >= 0]
    if not found:
        return None
    _, at, mark = min(found)
    return at, mark


def half_mark(text: str, marks: tuple[str, ...]) -> int:
    """How many characters at the end may be the beginning of a mark."""
    longest = max(map(len, marks), default=1) - 1
    sizes = range(min(longest, len(text)), 0, -1)
    return next((size for size in sizes if any(mark.startswith(text[-size:]) for mark in marks)), 0)


class Stops:
    """The sequences at which the answer to one request ends."""

    def __init__(self, context: Context) -> None:
        request = context.request_as(ConverseRequest)
        style = STYLES.get(context.settings.prompt or "")
        self._own = request.inference_config.stop_sequences
        self.all = tuple(stop for stop in (*self._own, *(style.stop_sequences if style else ())) if stop)

    def cut(self, text: str) -> tuple[str, str | None]:
        """The text before the first sequence that is complete, and that sequence; None where there is none."""
        found = first_mark(text, self.all)
        return (text, None) if found is None else (text[: found[0]], found[1])

    def reason(self, finish_reason: str | None, matched: str | None) -> str:
        """Why the answer ended: ``finish_reason`` is the server's word, ``matched`` what the text was cut at."""
        if matched is not None:
            return "stop_sequence" if matched in self._own else "end_turn"
        reason = STOP_REASONS.get(finish_reason, finish_reason) if finish_reason else "end_turn"
        return "end_turn" if reason == "stop_sequence" and not self._own else reason


class StopCutter:
    """The same cut, on a text that comes in pieces."""

    def __init__(self, stops: Stops) -> None:
        self._stops = stops
        self._held = ""
        self.matched: str | None = None

    def push(self, piece: str) -> str:
        """What may be shown now."""
        if self.matched is not None:
            return ""
        text, self.matched = self._stops.cut(self._held + piece)
        keep = 0 if self.matched is not None else half_mark(text, self._stops.all)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> str:
        """What was held back and is no stop sequence, now that nothing follows."""
        held, self._held = self._held, ""
        return held
