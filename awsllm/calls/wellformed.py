"""Whether values are what they are declared to be. Constructors do not check, as a decoder makes thousands of them:
``Message("user", "Hello")`` exists, and its text is no tuple of blocks.

``has_strays`` looks at conversations that are more than texts, before anything is done with them; ``malformed`` says
what is wrong where something was, and is asked only then. Neither shows a value: it may be part of a prompt.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

import msgspec

from awsllm.errors import ValidationError
from awsllm.types import (
    Audio,
    ContentBlock,
    ConverseRequest,
    Document,
    DocumentSource,
    Image,
    MediaSource,
    Message,
    ToolResult,
    ToolResultContent,
    Video,
)

_BLOCKS = frozenset(get_args(ContentBlock))
_RESULTS = frozenset(get_args(ToolResultContent))
_SOURCES: dict[type, tuple[type, ...]] = {
    **dict.fromkeys((Image, Video, Audio), get_args(MediaSource)),
    Document: get_args(DocumentSource),
}


def has_strays(messages: Iterable[Message]) -> bool:
    """Whether anything in the turns is no block, or the source of an image or document no source."""
    for message in messages:
        for block in message.content:
            if _is_stray(block, _BLOCKS):
                return True
            if type(block) is ToolResult and any(_is_stray(item, _RESULTS) for item in block.content):
                return True
    return False


def _is_stray(block: Any, kinds: frozenset[type]) -> bool:
    kind = type(block)
    return kind not in kinds or (kind in _SOURCES and type(block.source) not in _SOURCES[kind])


def malformed(request: ConverseRequest) -> ValidationError | None:
    """What of the request is not what it is declared to be; None where that is nothing."""
    try:
        msgspec.convert(msgspec.to_builtins(request), type(request))
    except msgspec.ValidationError as error:
        reason, _, place = str(error).rstrip("`").partition(" - at `$.")
        return ValidationError(f"{place or 'the request'} is of the wrong type: {reason[:1].lower()}{reason[1:]}")
    except Exception:  # what JSON cannot hold is not what was looked for
        return None
    return None
