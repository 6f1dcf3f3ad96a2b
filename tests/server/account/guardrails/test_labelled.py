"""Each policy against its labelled set (tests/data/guardrails): the figures that the package states, and their floors.

``pytest -s`` prints them. A case is a text, and what the policy shall find in it, which often enough is nothing. A set
was written by hand together with its policy; what is called unseen was written afterwards, to be hard, and the policy
was not changed for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from awsllm.backends.local.backend import LocalBackend
from awsllm.server.account import guardrails
from awsllm.server.account.guardrails.grounding import Grounding
from awsllm.server.account.guardrails.judge import Judge
from awsllm.server.account.guardrails.meaning import Meaning, Steps
from awsllm.server.account.guardrails.private import PRIVATE, private_spans
from awsllm.server.account.guardrails.rules import SideRules

DATA = Path(__file__).parents[3] / "data" / "guardrails"
ENCODER = "all-minilm-l6-v2"


class Figures(NamedTuple):
    cases: int
    precision: float
    recall: float


def cases(name: str) -> list[Any]:
    return [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text("utf-8").splitlines()]


@cache
def backend() -> LocalBackend:
    return LocalBackend()


def result_of(steps: Steps[Any]) -> Any:
    try:
        request = next(steps)
        while True:
            request = steps.send(backend().ask(request))
    except StopIteration as done:
        return done.value


def judged(config: dict[str, Any], text: str, meaning: Meaning, grounding: Grounding | None = None) -> Judge:
    judge = Judge(SideRules.of(config, "OUTPUT" if grounding else "INPUT"), meaning, grounding)
    result_of(judge.read(text))
    judge.end()
    return judge


def measured(name: str, find: Callable[[Any], set[Any]]) -> Figures:
    right = wrong = missed = 0
    rows = cases(name)
    for row in rows:
        wanted = {tuple(one) if isinstance(one, list) else one for one in row["found"]}
        got = find(row)
        right, wrong, missed = right + len(got & wanted), wrong + len(got - wanted), missed + len(wanted - got)
    figures = Figures(len(rows), round(right / (right + wrong), 2), round(right / (right + missed), 2))
    print(f"\n{name}: {figures.cases} cases, precision {figures.precision}, recall {figures.recall}")
    return figures


def private(row: Any) -> set[tuple[str, str]]:
    return {(kind, row["text"][start:end]) for kind, start, end in private_spans(row["text"], PRIVATE)}


def words(row: Any) -> set[str]:
    config = {
        "wordPolicyConfig": {
            "wordsConfig": [{"text": "acme"}, {"text": "project x"}, {"text": "C++"}],
            "managedWordListsConfig": [{"type": "PROFANITY"}],
        }
    }
    return {str(finding.match) for finding in judged(config, row["text"], Meaning(None)).findings}


def patterns(row: Any) -> set[tuple[str, str]]:
    regexes = [
        {"name": "ticket", "pattern": r"\b[A-Z]{2,5}-\d{1,6}\b", "action": "NONE"},
        {"name": "policy", "pattern": r"(?i)policy\s+no\.?\s*\d{6,}", "action": "NONE"},
        {"name": "hash", "pattern": r"\b[0-9a-f]{64}\b", "action": "NONE"},
    ]
    config = {"sensitiveInformationPolicyConfig": {"regexesConfig": regexes}}
    judge = judged(config, row["text"], Meaning(None))
    return {(str(finding.name), str(finding.match)) for finding in judge.findings}


@cache
def learned() -> Meaning:
    return Meaning(ENCODER)


def topics(row: Any) -> set[str]:
    config = {"topicPolicyConfig": {"topicsConfig": json.loads((DATA / "topics.json").read_text("utf-8"))}}
    return {str(finding.name) for finding in judged(config, row["text"], learned()).findings}


def content(row: Any) -> set[str]:
    kinds = ("HATE", "INSULTS", "SEXUAL", "VIOLENCE", "MISCONDUCT", "PROMPT_ATTACK")
    filters = [{"type": kind, "inputStrength": "HIGH", "outputStrength": "NONE"} for kind in kinds]
    config = {"contentPolicyConfig": {"filtersConfig": filters}}
    return {str(finding.type) for finding in judged(config, row["text"], learned()).findings}


def grounded(row: Any) -> set[str]:
    checks = [{"type": kind, "threshold": 0.7} for kind in ("GROUNDING", "RELEVANCE")]
    config = {"contextualGroundingPolicyConfig": {"filtersConfig": checks}}
    grounding = Grounding(learned(), [row["source"]], row["query"])
    return {str(finding.type) for finding in judged(config, row["text"], learned(), grounding).findings}


@pytest.mark.parametrize(
    ("name", "find", "precision", "recall"),
    [
        ("words", words, 0.95, 1.0),
        ("regexes", patterns, 1.0, 1.0),
        ("sensitive_information", private, 0.95, 0.95),
        ("sensitive_information_unseen", private, 0.7, 0.6),
        ("topics", topics, 0.85, 0.85),
        ("topics_unseen", topics, 0.8, 0.6),
        ("content", content, 0.85, 0.9),
        ("content_unseen", content, 0.6, 0.4),
        ("grounding", grounded, 0.9, 0.8),
        ("grounding_unseen", grounded, 0.6, 0.9),
    ],
)
def test_a_policy_finds_what_it_should(
    name: str, find: Callable[[Any], set[Any]], precision: float, recall: float
) -> None:
    figures = measured(name, find)
    assert figures.cases >= (10 if name.endswith("unseen") else 40)
    assert figures.precision >= precision
    assert figures.recall >= recall
    said = stated()[name]
    assert said.cases == figures.cases
    assert said[1:] == pytest.approx(figures[1:], abs=0.02)  # another machine's arithmetic may turn a case


def stated() -> dict[str, Figures]:
    """The rows of the package's table."""
    rows = re.findall(r"^ +(\w+) +(\d+) +(\d\.\d\d) +(\d\.\d\d)$", str(guardrails.__doc__), re.MULTILINE)
    return {name: Figures(int(cases), float(precision), float(recall)) for name, cases, precision, recall in rows}


def test_every_kind_of_private_thing_has_cases() -> None:
    assert {kind for row in cases("sensitive_information") for kind, _ in row["found"]} == set(PRIVATE)
