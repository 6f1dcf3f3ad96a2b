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
    awsllm.server      ERROR    an exception that is no refusal
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
