"""Thinking that models write into their text, told apart from the answer, whole and as it streams.

Two ways are known. A model whose prompt already opens the thinking begins in the middle of it and marks its end alone
(``text.prompts.Style.thinking``). Others write tags around it, in streams around each piece anew, before the answer
begins. What stands between the end of the thinking and the answer, up to two line breaks, belongs to the mark where the
prompt opened it, and is written back by ``marked``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from awsllm.types import Citations, ContentBlock, ConverseRequest, Reasoning, Text
from awsllm.wire.body import Context
from awsllm.wire.text.prompts import STYLES
from awsllm.wire.text.stops import half_mark

_BREAK = "\n\n"


class ThinkingSplitter:
    """Text that comes in pieces to pieces that are thinking (True) or the answer (False). ``opens`` None: the thinking
    has begun already, and what follows ``closes`` is the answer."""

    def __init__(self, opens: str | None, closes: str) -> None:
        self._opens = opens
        self._closes = closes
        self._inside = opens is None
        self._breaks = len(_BREAK) if opens is None else 0
        self.answers = False
        self._held = ""

    def push(self, piece: str) -> Iterator[tuple[bool, str]]:
        if self.answers:
            if piece:
                yield False, piece
            return
        self._held += piece
        while self._held and (shown := self._step()) is not None:
            if shown[1]:
                yield shown

    def rest(self) -> Iterator[tuple[bool, str]]:
        """What was held back and is no mark, now that nothing follows."""
        held, self._held = self._held, ""
        if held:
            yield self._inside, held

    def _step(self) -> tuple[bool, str] | None:
        """The next piece of what is held, which may be empty; None where more must come first."""
        if self._inside:
            return self._think()
        while self._breaks and self._held.startswith("\n"):
            self._held, self._breaks = self._held[1:], self._breaks - 1
        if self._opens is not None and self._held.startswith(self._opens):
            self._held, self._inside = self._held[len(self._opens) :], True
            return True, ""
        if not self._held or (self._opens is not None and self._opens.startswith(self._held)):
            return None
        text, self._held, self.answers = self._held, "", True
        return False, text

    def _think(self) -> tuple[bool, str] | None:
        text, mark, after = self._held.partition(self._closes)
        if mark:
            self._held, self._inside = after, False
            return True, text
        keep = half_mark(text, (self._closes,))
        self._held = text[len(text) - keep :]
        return (True, text[: len(text) - keep]) if keep < len(text) else None


def thinking_mark(context: Context) -> str | None:
    """The mark at which the thinking ends that the prompt opened; None where it opened none. An answer that goes on
    with an assistant's turn does not begin with thinking."""
    style = STYLES.get(context.settings.prompt or "")
    if style is None or style.thinking is None:
        return None
    messages = context.request_as(ConverseRequest).messages
    return None if messages and messages[-1].role == "assistant" else style.thinking


def split(text: str, splitter: ThinkingSplitter) -> tuple[ContentBlock, ...]:
    """A whole text as blocks: its thinking, and the answer, each only if it is there."""
    parts = [*splitter.push(text), *splitter.rest()]
    thinking, answer = (
        "".join(part for is_thinking, part in parts if is_thinking is wanted) for wanted in (True, False)
    )
    return (*((Reasoning(thinking),) if thinking else ()), *((Text(answer),) if answer else ()))


def marked(closes: str) -> str:
    """What stands between thinking and answer."""
    return closes + _BREAK


def first_answer(blocks: Sequence[ContentBlock]) -> int | None:
    """Which block begins the answer; None where there is none."""
    return next((at for at, block in enumerate(blocks) if isinstance(block, (Text, Citations))), None)
