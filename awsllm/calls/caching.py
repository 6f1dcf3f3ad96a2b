"""Cache points, placed by the rules of a model's family (``cache="auto"``).

What is asked again and again stands at the beginning: tools, then the system prompt, then the conversation. A point at
the end of each lets the next request read up to there. In the conversation points follow its end: one behind the last
user turn, to be read by the next request, and one behind the user turn before, where the last request wrote. A tool
loop asks for new places at every turn.

A point before which there are too few tokens is ignored by the service (can1357/oh-my-pi 6409), and takes one of the
few that a request may have; so none is placed where the text is clearly too short. Points of the caller's own stay
where they are, count, and say how long the others live: points that live longer must stand before those that live
shorter (platform.claude.com/docs/en/build-with-claude/prompt-caching, read 2026-11-26). Pure, on neutral values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from awsllm.errors import ValidationError
from awsllm.models.profiles import profile
from awsllm.models.references import Reference
from awsllm.types import (
    Audio,
    CachePoint,
    ConverseRequest,
    Document,
    GuardContent,
    Image,
    Message,
    Reasoning,
    Text,
    ToolResult,
    Video,
)

# Fewer characters than a token has in most texts: where it is doubtful, a point is placed.
_CHARACTERS_A_TOKEN = 3
_MEDIA_TOKENS = 1600  # about those of one image of the largest size that is not scaled down


class AutoCache(msgspec.Struct, frozen=True):
    """Where points may stand (system, messages, tools), how many in a request, behind how many tokens, and how long
    they live (None: the model's default, five minutes)."""

    places: frozenset[str]
    limit: int
    minimum: int
    ttl: str | None = None


def auto_cache(
    reference: Reference, family: str | None, cache: str | None, ttl: str | None
) -> tuple[AutoCache | None, tuple[str, ...]]:
    """What the options ``cache`` and ``cache_ttl`` mean for this model, and what cannot be honoured of them. Places
    that are no Bedrock cache by themselves what they can."""
    if cache not in (None, "auto"):
        raise ValidationError(f"cache is {cache!r}; it is 'auto' or None (or place points of your own: CachePoint())")
    if ttl not in (None, "5m", "1h"):
        raise ValidationError(f"cache_ttl is {ttl!r}; it is '5m' or '1h'")
    if cache is None:
        if ttl is not None:
            raise ValidationError(
                "cache_ttl needs cache='auto'; points of your own say it themselves: CachePoint(ttl=…)"
            )
        return None, ()
    can = profile(reference.scheme, reference.model, family)
    if reference.scheme != "bedrock":
        return None, ()
    if not can.known:
        return None, (f"cache='auto' did nothing: it is not known which model {reference} is; family=… says it",)
    if not can.cache_points:
        return None, (f"cache='auto' did nothing: models of the family {can.family} take no cache points",)
    warnings: tuple[str, ...] = ()
    if ttl is not None and ttl not in can.cache_ttls:
        warnings = (f"cache_ttl {ttl!r} is not taken by {reference}: its cache lives for five minutes",)
        ttl = None
    return AutoCache(can.cache_points, can.cache_limit, can.cache_minimum or 0, None if ttl == "5m" else ttl), warnings


def with_cache_points(request: ConverseRequest, auto: AutoCache) -> ConverseRequest:
    """The request with as many points as it may have, the most useful ones first."""
    own = [point for _, point in cache_points(request)]
    ttls = {point.ttl or "5m" for point in own}
    if len(ttls) > 1:  # what lives longer must stand first: there may be no place between them
        return request
    left = auto.limit - len(own)
    point = CachePoint(ttl=own[0].ttl if own else auto.ttl)
    for place in _places(request, auto):
        if left <= 0:
            break
        left -= 1
        if place == "system":
            request = replace(request, system=(*request.system, point))
        elif place == "tools":
            request = replace(request, tools=(*request.tools, point))
        elif isinstance(place, int):
            turn = request.messages[place]
            marked = replace(turn, content=(*turn.content, point))
            request = replace(request, messages=(*request.messages[:place], marked, *request.messages[place + 1 :]))
    return request


def cache_points(request: ConverseRequest) -> Iterator[tuple[str, CachePoint]]:
    """The points of a request with the place they stand in: tools, system or messages."""
    for place, blocks in (
        ("tools", request.tools),
        ("system", request.system),
        ("messages", [block for message in request.messages for block in message.content]),
    ):
        for block in blocks:
            if isinstance(block, CachePoint):
                yield place, block


def _places(request: ConverseRequest, auto: AutoCache) -> Iterator[str | int]:
    """Where points do most: the index of a turn, or the name of a place. The conversation's end, the system prompt
    (what is read up to there holds the tools), the tools, the turn before."""
    tools = tokens_of(request.tools)
    system = tools + tokens_of(request.system)
    turns = list(_ends(request.messages, system, auto)) if "messages" in auto.places else []
    yield from turns[:1]
    if "system" in auto.places and system >= auto.minimum and _is_open(request.system):
        yield "system"
    if "tools" in auto.places and tools >= auto.minimum and _is_open(request.tools):
        yield "tools"
    yield from turns[1:2]


def _ends(messages: tuple[Message, ...], before: int, auto: AutoCache) -> Iterator[int]:
    """The user turns that a point can stand behind, the last first. Nova, which has no points among tools, takes none
    behind results either (earendil-works/pi 2053)."""
    totals = []
    for message in messages:
        before += tokens_of(message.content)
        totals.append(before)
    for index in range(len(messages) - 1, -1, -1):
        content = messages[index].content
        if messages[index].role != "user" or totals[index] < auto.minimum or not _is_open(content):
            continue
        if "tools" in auto.places or isinstance(content[-1], Text):
            yield index


def _is_open(blocks: tuple[Any, ...]) -> bool:
    """Whether there is something, and no point behind it yet."""
    return bool(blocks) and not isinstance(blocks[-1], CachePoint)


def tokens_of(blocks: Iterable[Any]) -> int:
    """How many tokens the blocks may be, rather too many than too few."""
    return sum(map(_size, blocks))


def _size(block: Any) -> int:
    match block:
        case Text(text) | Reasoning(text):
            return len(text) // _CHARACTERS_A_TOKEN
        case ToolResult(content=content):
            return tokens_of(content)
        case Image() | Document() | Video() | Audio() | GuardContent():
            return _MEDIA_TOKENS
        case CachePoint():
            return 0
        case _:
            return len(msgspec.json.encode(block)) // _CHARACTERS_A_TOKEN
