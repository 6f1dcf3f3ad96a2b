"""The rows of the catalogue as values."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import msgspec

from awsllm.models.catalogue import row, rows
from awsllm.models.prices import Price
from awsllm.types import Value


class Entry(Value, frozen=True, kw_only=True):
    """A row.

    ``input`` and ``output`` are modalities: text, image, video, audio, speech, embedding. Sizes are in tokens.
    ``legacy`` and ``end_of_life`` are days as AWS announced them, None where it did not; ``end_by_litellm`` is one that
    litellm's table alone has: an end, or the day before which AWS promises none. ``successor`` is the id of the model
    that AWS names, or of the current one of the line. ``prices`` are by where a call goes: "" is in the region
    that is called (by us-east-1's list), a geography ("us", "global") a cross-region profile, a region's name that
    region. ``litellm`` marks a row whose sizes are known from litellm's table alone.
    """

    id: str
    input: tuple[str, ...]
    output: tuple[str, ...]
    context_window: int | None = None
    max_output_tokens: int | None = None
    legacy: date | None = None
    end_of_life: date | None = None
    end_by_litellm: date | None = None
    successor: str | None = None
    prices: dict[str, Price] = msgspec.field(default_factory=dict)
    source: str
    read: str
    litellm: bool = False


def entry(model: str) -> Entry | None:
    """The row of a Bedrock id, a geography's profile of it, or the ARN of either; None where there is none."""
    found = row(model)
    return None if found is None else msgspec.convert(found, Entry)


def entries() -> Iterator[Entry]:
    """Every row, by id."""
    for line in rows().splitlines():
        yield msgspec.json.decode(line, type=Entry)
