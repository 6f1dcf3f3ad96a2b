"""What Bedrock will count of a request, before it is sent and once it is over.

At its start a call is charged its input and the longest answer that it allows, at its end the input without what came
from the prompt cache, and each token of the answer ``burndown`` times
(docs.aws.amazon.com/bedrock/latest/userguide/quotas-token-burndown.html, read 2026-11-27):

    start   input + cache reads + cache writes + max_tokens
    end     input + cache writes + answer * burndown

So with a burndown of five a long answer ends up with more than it began with, and what is taken here is what is likely
to be counted in the end, where that is more: the answers of each model are remembered for it.

A token of text is taken for four characters, or three bytes where it is not ASCII, times what this client has seen of
the model: a ratio that rises at once and falls slowly, for what is taken too low is throttled.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from awsllm.models import catalogue
from awsllm.types import (
    Bytes,
    ConverseRequest,
    Document,
    Image,
    Request,
    Text,
    ToolSpec,
    Usage,
)

NOTABLE = 0.25
"""Of a quota a minute, what one call takes that its caller is told of."""

A_TURN = 4
CHARACTERS_A_TOKEN = 4
LONG = 1000  # tokens of an answer from which on it is worth telling
_TOOLS = 300  # what models are told of tools at all
_A_TOOL = 30
_AN_IMAGE = 1600
_UNKNOWN_ANSWER = 8192
_MARGIN = 1.1  # until something is known of a model
_UP, _DOWN = 0.5, 0.05
_FEW = 4
EARLY = 16  # answers, each of which is much of what is known
_NEWS = 8  # answers after which it is added up anew how long they are
_LATELY = 64  # calls
_LEAST_RATIO, _MOST_RATIO = 0.05, 8.0  # beyond which a service's counts are of something else
_MOST_TOKENS = 10**12  # so are those


class ModelUsage:
    """What calls of one model used: learned as they end. A change that is lost to another thread's is no loss."""

    __slots__ = (
        *("_answers", "_deviation", "_long", "_mean", "_taken", "_typical"),
        *("answers", "burndown", "longest", "ratio"),
    )

    def __init__(self, model: str, burndown: int) -> None:
        self.burndown = burndown
        self.longest = (catalogue.row(model) or {}).get("max_output_tokens") or _UNKNOWN_ANSWER
        self.ratio = _MARGIN
        self.answers = 0
        self._mean = self._deviation = self._typical = 0.0
        self._long = math.inf
        self._answers: deque[int] = deque(maxlen=_LATELY)
        self._taken: deque[int] = deque(maxlen=_LATELY)
        """What answers had, and what calls took, until it is added up: what is older hardly counts."""

    @property
    def typical(self) -> float:
        """What a call takes."""
        for taken in _drained(self._taken):
            self._typical += (taken - self._typical) * (0.2 if self._typical else 1.0)
        return self._typical

    def long_answer(self) -> float:
        """More than nearly all answers."""
        for answer in _drained(self._answers):
            if not (self._mean or self._deviation):
                self._mean, self._deviation = float(answer), answer / 2
            else:
                self._deviation += (abs(answer - self._mean) - self._deviation) / 4
                self._mean += (answer - self._mean) / 8
        long = self._mean + 4 * self._deviation
        if self.answers >= _FEW:
            self._long = long
        return long

    def needs(self, estimate: int, most: int) -> tuple[int, int]:
        """What a call is charged at its start, and what it is to take here; ``most`` is its max_tokens."""
        given = int(estimate * self.ratio)
        charged = taken = given + most
        if self.burndown > 1:
            if len(self._answers) >= _NEWS or self.answers < EARLY:
                self.long_answer()
            likely = self._long
            taken = given + (most if likely > most else int(likely)) * self.burndown
            if taken < charged:
                taken = charged
        self._taken.append(taken)
        return charged, taken

    def used(self, usage: Usage, estimate: int) -> int | None:
        """What a call that is over is counted as; None: it does not say."""
        if usage.input_tokens is None:
            return None
        given, read = _counted(usage.input_tokens), _counted(usage.cache_read_input_tokens)
        written = _counted(usage.cache_write_input_tokens)
        return self.learn(given + written, _counted(usage.output_tokens), (given + written + read, estimate))

    def learn(self, given: int, answer: int, seen: tuple[int, int]) -> int:
        """What a call is counted as that was given and answered so many tokens; ``seen`` are those of its prompt, and
        those that were estimated."""
        if seen[1]:
            share, ratio = seen[0] / seen[1], self.ratio
            if not _LEAST_RATIO <= share <= _MOST_RATIO:
                share = _LEAST_RATIO if share < _LEAST_RATIO else _MOST_RATIO
            self.ratio = ratio + (share - ratio) * (_UP if share > ratio else _DOWN)
        self.answers += 1
        self._answers.append(answer)
        return given + answer * self.burndown


def _drained(kept: deque[int]) -> Iterator[int]:
    with suppress(IndexError):
        while True:
            yield kept.popleft()


def _counted(tokens: int | None) -> int:
    """What a service says, if that can be."""
    return max(0, min(tokens, _MOST_TOKENS)) if tokens else 0


def estimate(request: Request[Any], usage: ModelUsage) -> tuple[int, int]:
    """The input's tokens as characters tell, and the longest answer."""
    if type(request) is ConverseRequest:
        tokens = 0
        for turn in request.messages:
            tokens += A_TURN
            for block in turn.content:
                if type(block) is Text:
                    text = block.text
                    tokens += (
                        len(text) // CHARACTERS_A_TOKEN + 1
                        if text.isascii()
                        else len(text.encode("utf-8", "replace")) // 3 + 1
                    )
                else:
                    tokens += _size(block)
        if request.system:
            tokens += sum(map(_size, request.system))
        if request.tools:
            tokens += _TOOLS + sum(_of_tool(tool) for tool in request.tools)
        if request.extra:
            tokens += _size(request.extra)
        most = request.inference_config.max_tokens
        return tokens, usage.longest if most is None else most
    if request.operation in ("embed", "rerank"):
        return _size(request), 0
    body = getattr(request, "body", None)
    return (_size(body) if isinstance(body, bytes | str) else 0), 0


def _of_tool(tool: Any) -> int:
    return _A_TOOL + _size(tool) if isinstance(tool, ToolSpec) else 0


def _size(value: Any) -> int:
    if isinstance(value, str):
        return (
            len(value) // CHARACTERS_A_TOKEN + 1 if value.isascii() else len(value.encode("utf-8", "replace")) // 3 + 1
        )
    if isinstance(value, Image):
        return _AN_IMAGE
    if isinstance(value, Document):
        return _size(value.source) + _size(value.name)
    if isinstance(value, bytes | Bytes):
        return len(value.data if isinstance(value, Bytes) else value) // 4 + 1
    if isinstance(value, dict):
        return sum(_size(key) + _size(member) for key, member in value.items())
    if isinstance(value, list | tuple):
        return sum(map(_size, value))
    if hasattr(value, "__struct_fields__"):
        return sum(_size(getattr(value, name)) for name in value.__struct_fields__)
    return 0 if value is None or isinstance(value, bool) else 1
