"""The reward function of reinforcement fine-tuning: batches, samples, graders."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

import awsllm
from awsllm.errors import ConfigurationError, ServerError, ThrottlingError, ValidationError
from awsllm.lambdas import grader_handler
from awsllm.lambdas.events import grading as graders
from awsllm.lambdas.events.errors import TransientError
from awsllm.lambdas.events.grading import Grade, GradedSample
from awsllm.lambdas.grader import read_sample
from awsllm.testing import ScriptedBackend
from tests.support.lambdas import FakeContext, event
from tests.support.queues import Ticking

MODEL = "bedrock:amazon.nova-lite-v1:0"


def samples() -> list[dict[str, Any]]:
    """As the documentation has them."""
    found: list[dict[str, Any]] = event("grader")["samples"]
    return found


def sample(answer: str, reference: Any = None) -> GradedSample:
    return GradedSample(id="1", answer=answer, prompt="What?", reference=reference)


def scores(answer: list[dict[str, Any]]) -> list[float]:
    return [one["aggregate_reward_score"] for one in answer]


# --- batches ---------------------------------------------------------------------------------------------------------


def test_a_batch_is_graded_in_its_order() -> None:
    seen: list[GradedSample] = []

    def grade(one: GradedSample) -> Grade:
        seen.append(one)
        return Grade(0.85, {"accuracy": 0.9})

    answer = grader_handler(grade=grade, concurrency=1)(samples(), FakeContext())
    metrics = [{"name": "accuracy", "value": 0.9, "type": "Metric"}]
    assert answer == [
        {"id": name, "aggregate_reward_score": 0.85, "metrics_list": metrics} for name in ("123", "chem-001")
    ]
    math_sample, chemistry = seen
    assert math_sample.answer == "Subtract 5, halve: x = 4"
    assert math_sample.prompt == "Solve: 2x + 5 = 13"
    assert math_sample.reference == {"answer": "4"}
    assert math_sample.metadata == {"my_key": "sample-001"}
    assert chemistry.reference == {"donor_bond_counts": 2, "acceptor_bond_counts": 4}
    assert chemistry.metadata == {"difficulty_level": "easy"}
    assert len(math_sample.messages) == 3
    assert math_sample.event == samples()[0]
    assert 29 < math_sample.timeout < 30


def test_one_sample_is_a_batch_too() -> None:
    assert scores(grader_handler(grade=lambda one: 1)(samples()[0], FakeContext())) == [1.0]


@pytest.mark.parametrize("shape", [None, {}, "x", {"Records": []}, event("s3_put")])
def test_events_of_others_are_acknowledged(shape: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert grader_handler(grade=lambda one: 1)(shape, FakeContext()) == []
    assert "no batch of samples" in capsys.readouterr().out


def bad_samples() -> list[Any]:
    turn = {"role": "user", "content": "Hi"}
    return [{"id": "a"}, {"id": "b", "messages": []}, {"id": "c", "messages": [turn]}, 7, {"id": "e", "messages": "x"}]


def test_a_bad_sample_fails_alone() -> None:
    answer = grader_handler(grade=lambda one: 1.0)([*bad_samples(), *samples()], FakeContext())
    assert [one["id"] for one in answer] == ["a", "b", "c", "3", "e", "123", "chem-001"]
    assert scores(answer) == [0, 0, 0, 0, 0, 1, 1]
    assert answer[0]["metrics_list"] == [{"name": "grader_error", "value": 1.0, "type": "Metric"}]
    assert scores(grader_handler(grade=lambda one: 1.0)(bad_samples(), FakeContext())) == [0] * 5


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "1", Grade(1.0, {"x": math.nan})])
def test_what_is_no_score_fails_its_sample(value: Any) -> None:
    def grade(one: GradedSample) -> Any:
        return value if one.id == "123" else 0.5

    answer = grader_handler(grade=grade)(samples(), FakeContext())
    assert scores(answer) == [0.0, 0.5]
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer


def test_a_fault_of_grade_is_logged_without_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    def grade(one: GradedSample) -> float:
        raise KeyError("canary")

    assert scores(grader_handler(grade=grade)(samples()[:1], FakeContext())) == [0.0]
    out = capsys.readouterr().out
    assert "KeyError" in out
    assert "canary" not in out
    assert "halve" not in out


def test_a_batch_of_which_nothing_could_be_graded_is_no_lesson() -> None:
    def grade(one: GradedSample) -> float:
        raise ThrottlingError("slowly")

    with pytest.raises(TransientError):
        grader_handler(grade=grade)(samples(), FakeContext())
    with pytest.raises(TransientError):
        grader_handler(grade=lambda one: 1.0)(samples(), FakeContext(100))
    assert grader_handler(grade=grade)([], FakeContext()) == []


def test_samples_without_time_are_not_graded() -> None:
    context = Ticking(6_000)

    def grade(one: GradedSample) -> float:
        context.spend(5_000)
        return 1.0

    assert scores(grader_handler(grade=grade, concurrency=1)(samples(), context)) == [1.0, 0.0]


def test_parts_of_a_turn_are_read_as_its_text() -> None:
    parts = [{"type": "text", "text": "Hello, "}, {"type": "text", "text": "Ada."}, 7]
    wire = {"messages": [{"role": "user", "content": None}, {"role": "assistant", "content": parts}]}
    found = read_sample(wire)
    assert (found.answer, found.prompt, found.reference) == ("Hello, Ada.", "", None)


# --- graders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grade", "answer", "reference", "score"),
    [
        (graders.exact(), "  Paris\n", "paris", 1),
        (graders.exact(ignore_case=False), "Paris", "paris", 0),
        (graders.exact(), "It is Paris.", "Paris", 0),
        (graders.exact(), '{"a": 1, "b": 2}', {"a": 1, "b": 2}, 1),
        (graders.contains(), "It is Paris, I think.", "paris", 1),
        (graders.contains(), "Comparison", "paris", 0),
        (graders.contains(), "costs $4 (each)", "$4", 1),
        (graders.contains(), "anything", "", 0),
        (graders.number(), "so x = 4", {"answer": "x is 4"}, 1),
        (graders.number(), "1,234.5 dollars", 1234.5, 1),
        (graders.number(), "it has 1,234,567", "1234567", 1),
        (graders.number(), "half: .5", 0.5, 1),
        (graders.number(), "(1,2345)", "2345", 1),
        (graders.number(), "4.", "4", 1),
        (graders.number(), "4.01", "4", 0),
        (graders.number(tolerance=0.01), "4.01", "4", 1),
        (graders.number(tolerance=0.01), "1e-5", "0", 1),
        (graders.number(), "none at all", "4", 0),
        (graders.number(), "-3", "-3", 1),
        (graders.number(), "9" * 400, "4", 0),
        (graders.json_members(), 'Here: {"a": 1, "b": 3}', {"a": 1, "b": 2}, 0.5),
        (graders.json_members(fields=["b"]), '{"a": 0, "b": 2}', {"a": 1, "b": 2}, 1),
        (graders.json_members(), "no object", {"a": 1}, 0),
        (graders.json_members(), "[1]", {"a": 1}, 0),
        (graders.json_members(), "{" * 5000, {"a": 1}, 0),
        (graders.regex(r"\b\d{3}\b"), "call 123 now", None, 1),
        (graders.regex("^YES", ignore_case=True), "yes, ü", None, 1),
        (graders.regex("^YES"), "yes", None, 0),
    ],
)
def test_graders(grade: graders.GradeFunction, answer: str, reference: Any, score: float) -> None:
    assert grade(sample(answer, reference)) == score


@pytest.mark.parametrize(
    ("grade", "reference"),
    [(graders.exact(), None), (graders.contains(), None), (graders.number(), "x"), (graders.json_members(), "x")],
)
def test_a_sample_without_its_reference_cannot_be_graded(grade: graders.GradeFunction, reference: Any) -> None:
    with pytest.raises(ValidationError):
        grade(sample("4", reference))


def test_a_pattern_that_takes_for_ever_is_stopped() -> None:
    grade = graders.regex(r"^(a+)+$", seconds=1.0)
    with pytest.raises(ValidationError, match="longer than 1 s"):
        grade(sample("a" * 60 + "!"))


def test_a_judge_says_by_a_rubric() -> None:
    backend = ScriptedBackend(['{"reason": "nearly", "score": 7}', '{"reason": "wild", "score": 99}', "I like it."])
    client = awsllm.Client(region="us-east-1", backends={"bedrock": backend}, policy=awsllm.Policy(max_attempts=1))
    grade = graders.judge(client, MODEL, "Be strict about units.")
    assert grade(sample("4 m</answer>", {"answer": "4 m"})) == pytest.approx(0.7)
    assert grade(sample("4 m")) == 1.0
    with pytest.raises((ValidationError, ServerError, awsllm.OutputValidationError, AssertionError)):
        grade(sample("4 m"))
    request: Any = backend.requests[0]
    assert "Be strict about units." in request.system[0].text
    text = request.messages[0].content[0].text
    assert "<answer>\n4 m" in text
    assert "<reference>\n4 m" in text
    assert "<reference>" not in str(backend.requests[1].messages[0].content[0].text)  # type: ignore[attr-defined]


# --- settings --------------------------------------------------------------------------------------------------------


def test_the_environment_names_graders_and_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_MODEL", MODEL)
    chosen = {"number": {"tolerance": 0.1}, "judge": {"rubric": "Be kind.", "weight": 3}}
    monkeypatch.setenv("AWSLLM_GRADER", json.dumps(chosen))
    backend = ScriptedBackend('{"reason": "half", "score": 5}')
    client = awsllm.Client(region="us-east-1", backends={"bedrock": backend})
    answer = grader_handler(client=client)(samples()[:1], FakeContext())
    assert scores(answer) == [pytest.approx((1 + 0.5 * 3) / 4)]
    assert {one["name"]: one["value"] for one in answer[0]["metrics_list"]} == {"number": 1.0, "judge": 0.5}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "it names graders"),
        ("{", "JSON"),
        ('{"magic": {}}', "magic"),
        ('{"exact": 1}', "exact"),
        ('{"exact": {"weight": 0}}', "weight"),
        ('{"exact": {"nonsense": 1}}', "option"),
        ('{"regex": {"pattern": "("}}', "no regular expression"),
        ('{"regex": {}}', "option"),
        ('{"judge": {"rubric": "x"}}', "AWSLLM_MODEL"),
    ],
)
def test_what_is_wrong_is_told_when_the_function_starts(monkeypatch: pytest.MonkeyPatch, value: str, why: str) -> None:
    monkeypatch.setenv("AWSLLM_GRADER", value)
    with pytest.raises(ConfigurationError, match=why):
        grader_handler()
