"""Texts that come in pieces: what goes on is what a whole text would have given, wherever it was cut."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awsllm.errors import ValidationError
from awsllm.server.account.guardrails.judge import Judge, Reading
from awsllm.server.account.guardrails.meaning import Meaning, Steps
from awsllm.server.account.guardrails.patterns import Pattern, PatternBudget
from awsllm.server.account.guardrails.private import PRIVATE
from awsllm.server.account.guardrails.rules import SideRules
from awsllm.server.account.guardrails.units import rest, units

REGEXES = (
    {"name": "ticket", "pattern": r"[A-Z]{2,5}-\d+", "action": "ANONYMIZE"},
    {"name": "note", "pattern": r"BEGIN.*END", "action": "ANONYMIZE"},
    {"name": "either", "pattern": r"(ab.*z|ab)", "action": "ANONYMIZE"},
    {"name": "end", "pattern": r"last$", "action": "ANONYMIZE"},
    {"name": "word", "pattern": r"(?i)\bsecret\s+\w+\b", "action": "ANONYMIZE"},
)
KINDS = sorted(PRIVATE)
MASKING: dict[str, Any] = {
    "sensitiveInformationPolicyConfig": {
        "piiEntitiesConfig": [{"type": kind, "action": "ANONYMIZE"} for kind in KINDS],
        "regexesConfig": list(REGEXES),
    }
}
BLOCKING: dict[str, Any] = {
    "wordPolicyConfig": {"wordsConfig": [{"text": "a b"}, {"text": "b c"}, {"text": "acme corp"}, {"text": "X++"}]},
    "topicPolicyConfig": {
        "topicsConfig": [{"name": "buying shares", "definition": "Buying.", "examples": ["buy shares of Acme"]}]
    },
}
PIECES = (
    *("ann@example.com", "4111 1111 1111 1111", "my PIN is 1234", "10.0.0.1", "https://example.com/x?y=1", "ABC-12345"),
    *("BEGIN it END", "BEGIN", "END", "abcz", "ab", "z", "last", "secret plan", "SECRET", "536-90-4399", "John Smith"),
    *("DE89 3704 0044 0532 0130 00", "+1 415 555 2671", "password: hunter2!", "123 Main Street, Springfield, IL 62704"),
    *(" ", ". ", "\n", ",", "12", "A", "the cat sat", "1.2.3.4.5", "aged 40", "@", "-", ":", "fe80::1"),
)
PHRASES = ("a b", "b c", "a", "b", "c", " ", "acme ", "corp", "x++", "so ")
TEXTS = st.lists(st.sampled_from(PIECES) | st.text("ab1@.- AB\n:+", max_size=6), max_size=12).map("".join)


def done(steps: Steps[Any]) -> Any:
    """A reading that asks no model."""
    with pytest.raises(StopIteration) as end:
        next(steps)
    return end.value.value


def read(config: dict[str, Any], pieces: list[str]) -> tuple[str, Judge]:
    judge = Judge(SideRules.of(config, "OUTPUT"), Meaning(None))
    reading, passed = Reading(judge), ""
    for piece in pieces:
        reading.add(piece)
        passed += done(reading.settle(final=False))
    return passed + done(reading.settle(final=True)), judge


def cut(text: str, places: list[int]) -> list[str]:
    bounds = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[begin:end] for begin, end in pairwise(bounds)]


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.lists(st.integers(0, 400), max_size=12))
def test_a_text_in_pieces_is_masked_as_it_is_whole(text: str, places: list[int]) -> None:
    whole, judge = read(MASKING, [text])
    pieces, other = read(MASKING, cut(text, places))
    assert pieces == whole
    key = repr
    assert sorted(other.findings, key=key) == sorted(judge.findings, key=key)


@pytest.mark.parametrize("row", PIECES[:21])
def test_a_text_in_single_characters_is_masked_as_it_is_whole(row: str) -> None:
    text = f"Well, {row} it is, and {row}. Then more text follows"
    assert read(MASKING, list(text))[0] == read(MASKING, [text])[0]


@settings(max_examples=100, deadline=None)
@given(st.text("ab \n.", max_size=60), st.lists(st.integers(0, 400), max_size=8))
def test_a_secret_never_goes_on(around: str, places: list[int]) -> None:
    secret = "ann.lee@example.com"
    text = f"{around} {secret} {around}"
    passed, _ = read(MASKING, cut(text, places))
    assert secret not in passed
    assert "example" not in passed
    assert "{EMAIL}" in passed


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(PHRASES), max_size=12).map("".join),
    st.lists(st.integers(0, 60), max_size=8),
)
def test_what_blocks_blocks_wherever_it_is_cut(text: str, places: list[int]) -> None:
    _, whole = read(BLOCKING, [text])
    passed, pieces = read(BLOCKING, cut(text, places))
    assert pieces.blocked == whole.blocked
    if whole.blocked:
        assert not any(phrase in passed for phrase in ("a b", "b c", "acme corp", "x++"))


def test_a_topic_stops_its_sentence_and_not_the_one_before() -> None:
    text = "The weather is nice today. You should buy shares of Acme now. It will rise."
    passed, judge = read(BLOCKING, list(text))
    assert judge.blocked
    assert passed == "The weather is nice today. "


def test_text_that_is_certain_does_not_wait() -> None:
    judge = Judge(SideRules.of(MASKING, "OUTPUT"), Meaning(None))
    reading = Reading(judge)
    reading.add("Nothing is private here, and then comes ann@exam")
    assert done(reading.settle(final=False)) == "Nothing is private here, and then comes "
    reading.add("ple.com, you see")
    assert done(reading.settle(final=False)) == "{EMAIL}, you "


@settings(max_examples=100, deadline=None)
@given(st.text('abc. \n!"', max_size=1200), st.integers(0, 1200))
def test_units_follow_from_what_stands_before_their_end(text: str, place: int) -> None:
    known = units(text[:place], 0, final=False)
    assert units(text, 0, final=True)[: len(known)] == known
    assert rest(text[:place], 0) <= place


def test_things_that_overlap_are_masked_together() -> None:
    config = {
        "sensitiveInformationPolicyConfig": {
            "regexesConfig": [
                {"name": "one", "pattern": "bcd", "action": "ANONYMIZE"},
                {"name": "two", "pattern": "cdef", "action": "ANONYMIZE"},
            ]
        }
    }
    assert read(config, ["abcdefg"])[0] == "a{one}g"
    assert read(config, list("abcdefg"))[0] == "a{one}g"


@pytest.mark.parametrize("pieces", [["a" * 60 + "b"], ["a" * 30, "a" * 30 + "b"]])
def test_a_pattern_that_takes_for_ever_refuses_and_does_not_hang(pieces: list[str]) -> None:
    regexes = [{"name": "slow", "pattern": "(a|aa)+$", "action": "BLOCK"}]
    with pytest.raises(ValidationError, match="'slow' of the guardrail takes longer"):
        read({"sensitiveInformationPolicyConfig": {"regexesConfig": regexes}}, pieces)


def test_awsllm_s_own_patterns_are_not_bounded() -> None:
    assert Pattern("b").first("aab", 0, PatternBudget(0))


@pytest.mark.parametrize(
    ("phrase", "text", "is_there"),
    [
        ("\u0130stanbul", "in \u0130stanbul, today", True),
        ("\u0130stanbul", "in istanbul", True),
        ("istanbul", "\u0130STANBUL", True),
        ("stra\u00dfe", "die STRA\u1e9eE", True),
        ("\u03bf\u03b4\u03cc\u03c2", "\u039f\u0394\u038c\u03a3", True),
        ("cafe", "cafe\u0301", False),  # the accent is of the word
        ("\u0939\u093f\u0928", "\u0939\u093f\u0928\u094d\u0926\u0940", False),
        ("\u0939\u093f\u0928\u094d\u0926\u0940", "\u0939\u093f\u0928\u094d\u0926\u0940", True),
    ],
)
def test_a_word_is_found_whole_and_in_any_case_of_any_script(phrase: str, text: str, is_there: bool) -> None:
    _, judge = read({"wordPolicyConfig": {"wordsConfig": [{"text": phrase}]}}, [text])
    assert judge.blocked is is_there
