"""A conversation as the table has it: what turns carry and ``sessions`` reads and writes."""

from __future__ import annotations

from awsllm.types import Message, Value


class KeptConversation(Value, frozen=True):
    """A session as it was read; ``version`` is 0 of one that is not kept yet."""

    id: str
    owner: str | None
    version: int = 0
    messages: tuple[Message, ...] = ()
    size: int = 0
