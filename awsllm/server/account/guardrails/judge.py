"""A guardrail reading texts, whole or as they come.

``Judge`` reads one side of an exchange: what was found in all its texts, and what is told of it. A ``Reading`` is one
of those texts. What it releases is certain: whatever stands in it that is to be masked is masked, and nothing that
would block was in it, however the text was cut into pieces; a text that came whole is read in the same way.

Neither does I/O: they yield what the encoder is to be asked (``meaning.Steps``).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from awsllm.server.account.guardrails import filters, topics
from awsllm.server.account.guardrails.grounding import Grounding
from awsllm.server.account.guardrails.meaning import Meaning, Steps, Vector
from awsllm.server.account.guardrails.patterns import PatternBudget
from awsllm.server.account.guardrails.rules import ContentFilter, SideRules, Spot
from awsllm.server.account.guardrails.units import rest, units
from awsllm.types.guardrails import GuardrailFinding

UNIT = 1000
"""Characters of a text unit, which is what is billed."""


class Judge:
    """``masks`` is false where nothing may be masked, as in an asynchronous stream: it is told of, and passes."""

    def __init__(
        self, rules: SideRules, meaning: Meaning, grounding: Grounding | None = None, *, masks: bool = True
    ) -> None:
        self.rules, self.meaning, self.grounding, self._masks = rules, meaning, grounding, masks
        self.findings: list[GuardrailFinding] = []
        self.confidences: dict[str, str] = {}
        self.characters = 0
        self._started = time.perf_counter()

    @property
    def blocked(self) -> bool:
        return any(finding.action == "BLOCKED" for finding in self.findings)

    @property
    def masked(self) -> bool:
        return any(finding.action == "ANONYMIZED" for finding in self.findings)

    @property
    def milliseconds(self) -> int:
        return round(1000 * (time.perf_counter() - self._started))

    @property
    def units(self) -> int:
        return math.ceil(self.characters / UNIT)

    def read(self, text: str) -> Steps[str]:
        """A whole text, masked."""
        reading = Reading(self)
        reading.add(text)
        return (yield from reading.settle(final=True))

    def end(self) -> None:
        """No more is to be read: what can only be told of the whole."""
        if self.grounding is not None and self.characters:
            self._check_grounding("RELEVANCE")

    def tell(self, finding: GuardrailFinding) -> None:
        """Keep what was found; once, if it is found again."""
        if finding.action == "ANONYMIZED" and not self._masks:
            finding = replace(finding, action="NONE")
        if finding not in self.findings:
            self.findings.append(finding)

    @property
    def means(self) -> bool:
        """Whether it judges what texts mean."""
        return bool(self.rules.topics or self.rules.filters or self.grounding)

    def judge_units(self, texts: Sequence[str]) -> Steps[None]:
        """The meaning of units."""
        vectors = yield from self.meaning.of(texts, keep=False)
        for text, vector in zip(texts, vectors, strict=True):
            yield from self._judge_unit(text, vector)

    def _judge_unit(self, text: str, vector: Vector) -> Steps[None]:
        rules = self.rules
        for topic in (yield from topics.found(self.meaning, rules.topics, text, vector)):
            self.tell(topic.rule.finding())
        categories = [str(one.rule.type) for one in rules.filters]
        found = yield from filters.found(self.meaning, categories, vector)
        for one in rules.filters:
            self._tell_filter(one, found[str(one.rule.type)])
        if self.grounding is not None:
            yield from self.grounding.read(text)
            self._check_grounding("GROUNDING")

    def _tell_filter(self, one: ContentFilter, confidence: str) -> None:
        """The highest confidence of a category is told."""
        category, ranks = str(one.rule.type), filters.CONFIDENCES.index
        known = self.confidences.get(category, "NONE")
        if ranks(confidence) <= ranks(known):
            return
        self.confidences[category] = confidence
        if filters.blocks(confidence, one.strength):
            self.findings = [f for f in self.findings if (f.policy, f.type) != ("content", category)]
            self.findings.append(one.rule.finding(confidence=confidence))

    def _check_grounding(self, type: str) -> None:
        assert self.grounding is not None  # noqa: S101
        for check in self.rules.thresholds:
            score = self.grounding.score(type)
            if check.rule.type == type and score < check.threshold:
                self.findings = [f for f in self.findings if (f.policy, f.type) != ("contextual_grounding", type)]
                self.findings.append(check.rule.finding(score=score, threshold=check.threshold))


class Reading:
    """One text."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._text = ""
        self._released = 0  # as far as the text has been let go on
        self._judged = 0  # as far as its units have been
        self._places = [0] * len(judge.rules.spotters)  # where each looks on
        self._spots: list[Spot] = []  # to be masked, and not released yet

    def add(self, text: str) -> None:
        self._text += text
        self._judge.characters += len(text)

    @property
    def waiting(self) -> int:
        """How many characters have not been released."""
        return len(self._text) - self._released

    def settle(self, *, final: bool) -> Steps[str]:
        """What may go on now, masked; all that is left, where no more will come. Nothing, once the judge has
        blocked."""
        budget = PatternBudget()
        certain = len(self._text)
        for index in range(len(self._places)):
            certain = min(certain, self._look(index, budget, final=final))
        if self._judge.means:
            found = units(self._text, self._judged, final=final)
            if found:
                yield from self._judge.judge_units([self._text[begin:end] for begin, end in found])
                self._judged = found[-1][1]
            certain = certain if final else min(certain, rest(self._text, self._judged))
        return "" if self._judge.blocked else self._release(certain)

    def _look(self, index: int, budget: PatternBudget, *, final: bool) -> int:
        """Let one spotter look on; how far it is certain of what there is."""
        spotter, text, place = self._judge.rules.spotters[index], self._text, self._places[index]
        certain = len(text) if final else spotter.opening(text, place, budget)
        for spot in spotter.spots(text, place, budget):
            if spot.at >= certain:
                break
            place = spot.onward
            self._judge.tell(spot.rule.finding(match=spot.match))
            if spot.rule.action == "ANONYMIZED":
                self._spots.append(spot)
        self._places[index] = max(place, certain)
        return certain

    def _release(self, certain: int) -> str:
        spots = sorted(self._spots, key=lambda spot: (spot.start, -spot.end))
        while straddling := [spot for spot in spots if spot.start < certain < spot.end]:
            certain = straddling[0].start
        inside = [spot for spot in spots if spot.end <= certain]
        self._spots = [spot for spot in spots if spot.end > certain]
        passed = "".join(_masked(self._text, self._released, certain, inside))
        self._released = max(self._released, certain)
        return passed


def _masked(text: str, start: int, end: int, spots: Sequence[Spot]) -> Iterator[str]:
    """The text with a mark in place of each thing. Things that overlap have the mark of the first."""
    for spot in spots:
        if spot.start >= start:
            yield text[start : spot.start]
            yield f"{{{spot.rule.type or spot.rule.name}}}"
        start = max(start, spot.end)
    yield text[start:end]
