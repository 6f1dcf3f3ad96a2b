"""Diagnostics: what awsllm has to say of its work beside what it answers.

They go to ``logging.getLogger("awsllm")`` and the loggers below it:

    logging.basicConfig()
    logging.getLogger("awsllm").setLevel(logging.INFO)

    awsllm.policy      INFO     an attempt failed and another is made: which model, which error, after how long
                       WARNING  kept answers or the ledger cannot be read or written, so calls are made without
                       WARNING  a file of keys or of models was changed and cannot be used, or a table's item is no key
    awsllm.tools       WARNING  a tool raised: its exception and traceback
                       INFO     a typed answer did not fit and is asked for again
    awsllm.local       INFO     a model was loaded, and how long that took; how far its weights are packed, where that
                                takes more than a few seconds
    awsllm.jumpstart   WARNING  what deployed endpoints do that costs money, and what could not be deleted
    awsllm.server      ERROR    an exception that is no refusal: where it was raised, without its words
                       WARNING  what AWS refused, by its code and request id; a worker that died

A call says nothing until a program listens. The last two are heard all the same, since logging itself writes warnings
that nobody handles to stderr.

No prompt, answer, header or key is among them. A tool's exception says what its author put into it.

logging is imported when the first of these is written, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from logging import Logger


def logger(room: str) -> Logger:
    """``awsllm.ROOM``, silent where nobody listens: with a handler that does nothing, logging prints nothing itself."""
    import logging

    found = logging.getLogger(f"awsllm.{room}")
    if not found.handlers:
        found.addHandler(logging.NullHandler())
    return found


def without_words(error: BaseException) -> str:
    """Where an exception was raised and of which types it and its causes are. What it says may be a caller's words, or
    a secret: of a foreign exception nobody knows."""
    import traceback

    lines: list[str] = []
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        kind = type(error)
        frames = traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__))
        lines += ["Traceback (most recent call last):\n", *frames.format(), f"{kind.__module__}.{kind.__qualname__}\n"]
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is None:
            break
        error = cause
        lines.append("\nwhich came of:\n\n")
    return "".join(lines).rstrip("\n")
