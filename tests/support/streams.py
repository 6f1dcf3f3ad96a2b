"""Server-sent events, read as OpenAI's client reads them."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from openai._streaming import SSEDecoder


class SentEvent(NamedTuple):
    """One event; ``data`` is its JSON, or the text that is none."""

    name: str
    data: Any


def sent_events(pieces: Iterable[bytes]) -> list[SentEvent]:
    """The events of a body, whose pieces may be cut anywhere; comments are none."""
    body = b"".join(pieces)
    read = SSEDecoder().iter_bytes(iter([body[i : i + 7] for i in range(0, len(body), 7)]))
    return [SentEvent(one.event or "", one.data if one.data == "[DONE]" else one.json()) for one in read]
