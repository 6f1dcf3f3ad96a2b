"""Scores of texts and structures."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from awsllm.errors import ConfigurationError, UnsupportedError, ValidationError
from awsllm.evaluation import structure, texts
from awsllm.evaluation.cases import EvaluationCase
from awsllm.evaluation.metrics import EvaluatedAnswer, Metric, metric
from awsllm.evaluation.structure import MetricScore
from tests.support.data import DATA


class NoModels:
    """For metrics that ask nobody."""

    def converse(self, model: str, prompt: str, **options: Any) -> EvaluatedAnswer:
        raise AssertionError

    def embed(self, model: str, texts: Any) -> list[list[float]]:
        return [[float(len(text)), 1.0, -1.0] for text in texts]


def score(name: str | Metric, answer: str, expected: Any = None, **more: Any) -> MetricScore:
    case = EvaluationCase(id="1", prompt="p", expected=expected, columns=more.pop("columns", {}))
    found = metric(name).score(EvaluatedAnswer(text=answer, **more), case, NoModels())
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "answer", "expected", "value"),
    [
        ("exact", " Paris\n", "Paris", 1),
        ("exact", "paris", "Paris", 0),
        ("exact", "ﬁne", ["no", "fine"], 1),
        ("normalized", "The Paris!", "paris", 1),
        ("contains", "It is PARIS.", "Paris", 1),
        ("contains", "It is Rome.", ["Paris", "Bonn"], 0),
        ("regex", "Number 42", r"\d+", 1),
        (r"regex:^\w+$", "one two", None, 0),
        ("f1", "the cat sat", "a cat sat down", 0.8),
        ("f1", "", "", 1),
        ("f1", "the", "a", 1),  # nothing is left of either
        ("f1", "a b", "", 0),
        ("f1", "cat cat", ["cat", "dog"], 2 / 3),
        ("rouge1", "the cat was under the bed", "the cat was found under the bed", 12 / 13),
        ("rouge2", "the cat was under the bed", "the cat was found under the bed", 8 / 11),
        ("rougeL", "police kill the gunman", "police killed the gunman", 0.75),
        ("rougeL", "the gunman kill police", "police killed the gunman", 0.5),
        ("rouge1", "猫が好き", "犬が好き", 0.75),
        ("json", '{"a": 1}', None, 1),
        ("json", "```json\n{}\n```", None, 0),
        ("json", "[" * 100_000, None, 0),
        ("json_equal", '{"b": [1.0], "a": true}', {"a": True, "b": [1]}, 1),
        ("json_equal", '{"a": 1}', '{"a": true}', 0),
        ("embedding", "abc", "abc", 1),
        ("embedding", " ", "abc", 0),
    ],
)
def test_scores(name: str, answer: str, expected: Any, value: float) -> None:
    assert score(name, answer, expected).value == pytest.approx(value)


def test_rouge_as_its_package_has_it() -> None:
    """Pairs of texts with what rouge-score 0.1.2 gave for them."""
    for first, second, *told in json.loads((DATA / "evaluation/rouge.json").read_text()):
        found = [score(name, first, second).value for name in ("rouge1", "rouge2", "rougeL")]
        assert found == pytest.approx(told, abs=1e-6), (first, second)


def test_the_longest_common_subsequence() -> None:
    """By the table that everybody knows."""

    def slow(a: list[str], b: list[str]) -> int:
        row = [0] * (len(b) + 1)
        for x in a:
            new = [0]
            for at, y in enumerate(b):
                new.append(row[at] + 1 if x == y else max(row[at + 1], new[at]))
            row = new
        return row[-1]

    draw = random.Random(4)
    for _ in range(100):
        a, b = (draw.choices("abcd", k=draw.randrange(90)) for _ in range(2))
        assert texts._common(a, b) == slow(a, b)


def test_schemas() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]}
    fits: Callable[[str], MetricScore] = lambda text: score(metric("json_schema", argument=schema), text)  # noqa: E731
    assert fits('{"n": 2}').value == 1
    assert (fits('{"n": 0}').passed, "less than 1" in fits('{"n": 0}').reason) == (False, True)
    assert fits("n").reason == "it is no JSON"
    assert score("json_schema", '"x"', columns={"schema": {"type": "string"}}).value == 1
    case = EvaluationCase(id="1", prompt="p")
    assert metric("json_schema").check(case) == "it has no column schema"
    with pytest.raises(UnsupportedError, match="dependentRequired"):
        metric("json_schema", argument={"dependentRequired": {}})


def test_a_schema_in_a_file(tmp_path: Any) -> None:
    path = tmp_path / "s.json"
    path.write_text(json.dumps({"type": "array"}))
    assert score(f"json_schema:{path}", "[]").value == 1
    with pytest.raises(ConfigurationError, match="cannot be read"):
        metric("json_schema:/none/there.json")


WEATHER = {"name": "weather", "arguments": {"city": "Oslo", "days": 2}}


@pytest.mark.parametrize(
    ("made", "expected", "fault"),
    [
        ([WEATHER], WEATHER, None),
        ([WEATHER], [{"toolUse": {"name": "weather", "input": {"days": 2.0, "city": "Oslo"}}}], None),
        ([WEATHER], {"function": {"name": "weather", "arguments": '{"city": "Oslo", "days": 2}'}}, None),
        ([WEATHER], "weather", None),
        ([WEATHER, {"name": "time", "arguments": {}}], ["time", "weather"], None),
        ([], [], None),
        ([], WEATHER, "weather was not called"),
        ([WEATHER], [], "weather was called, too"),
        ([WEATHER, WEATHER], [WEATHER], "weather was called, too"),
        (
            [WEATHER],
            {"name": "weather", "arguments": {"city": "Bonn"}},
            "weather was called with other arguments: city, days",
        ),
    ],
)
def test_tool_calls(made: list[Any], expected: Any, fault: str | None) -> None:
    found = score("tool_call", "", expected, tool_uses=tuple(made))
    assert (found.value, found.reason) == (float(fault is None), fault or "")


def test_an_expected_call_that_is_none() -> None:
    with pytest.raises(ValidationError, match="an expected tool call is"):
        metric("tool_call").check(EvaluationCase(id="1", prompt="p", expected={"arguments": {}}))
    assert "shall be called" in str(metric("tool_call").check(EvaluationCase(id="1", prompt="p")))


def test_bounds() -> None:
    assert score("f1>=0.5", "cat dog", "cat").passed is True
    assert score("f1>=0.9", "cat dog", "cat").passed is False
    assert score("f1", "cat dog", "cat").passed is None
    assert score("latency<=2", "", latency=1.5).passed is True
    assert score("regex:>=1>=1", ">=1").passed is True  # the last one is the bound
    assert metric("cost").score(EvaluatedAnswer(), EvaluationCase(id="1", prompt=""), NoModels()) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("f2", "there is no metric 'f2'; there are contains"),
        ("f1<=0.5", "of f1, more is better"),
        ("latency>=1", "of latency, less is better"),
        ("f1>=1.2.3", "is no number"),
        (3, "a name or a function"),
    ],
)
def test_names_that_are_none(name: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        metric(name)


def test_a_bad_pattern_is_told_before() -> None:
    with pytest.raises(ValidationError, match="no regular expression"):
        metric("regex:(")
    with pytest.raises(ValidationError, match="no regular expression"):
        metric("regex").check(EvaluationCase(id="1", prompt="p", expected="("))


def test_functions() -> None:
    def is_short(answer: EvaluatedAnswer, case: EvaluationCase) -> bool:
        return len(answer.text) < len(case.prompt) + 3

    assert score(metric(is_short), "abc").value == 1
    assert score(metric(is_short, passes=1), "abcd").passed is False
    half: Any = Fraction(1, 2)  # a number of another kind, as numpy's
    assert score(metric(lambda answer, case: half), "").value == 0.5
    for said in ("x", float("nan"), 10**400, MetricScore(value=float("inf"))):
        with pytest.raises(ValidationError, match="<lambda> returned no number"):
            score(metric(lambda answer, case, said=said: said), "")  # type: ignore[misc]


def test_equality_of_json() -> None:
    assert structure.is_same({"a": [1, None]}, {"a": [1.0, None]})
    assert not structure.is_same(True, 1)
    assert not structure.is_same([1, 2], [2, 1])
    assert not structure.is_same({"a": 1}, [1])
