"""Metrics, systems, datasets and files that misbehave: what was paid for is kept, and no gate opens by itself."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import awsllm
from awsllm import EvaluatedAnswer, EvaluationCase, EvaluationResult
from awsllm.errors import BudgetExceededError, ConfigurationError, ValidationError
from awsllm.evaluation import statistics
from awsllm.evaluation.cases import read_cases
from awsllm.testing import mock_aws

CASES = [{"prompt": str(n), "expected": str(n)} for n in range(30)]


def evaluated(metric: Any, data: Any = CASES, **models: Any) -> EvaluationResult:
    return awsllm.evaluate(models or {"echo": str}, data, metric, concurrency=2)


# --- metrics ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [float("nan"), "much", 10**400, ZeroDivisionError("secret")])
def test_a_metric_that_fails_at_one_answer_loses_no_other(said: Any) -> None:
    def odd(answer: EvaluatedAnswer, case: EvaluationCase) -> Any:
        if case.prompt != "7":
            return 1
        if isinstance(said, Exception):
            raise said
        return said

    found = evaluated(odd)
    assert (found.summary("echo", "odd").scored, found.summary("echo", "odd").unscored) == (29, 1)
    told = found.rows[7].answers[0].faults["odd"]
    assert told in ("ZeroDivisionError", "ValidationError: the metric odd returned no number")
    assert EvaluationResult.from_json(found.to_json()) == found


def test_a_metric_that_never_works_ends_it_soon() -> None:
    asked: list[str] = []

    def wrong(answer: EvaluatedAnswer, case: EvaluationCase) -> float:
        asked.append(case.id)
        raise KeyError(case.id)

    with pytest.raises(KeyError):
        evaluated(wrong, [{"prompt": str(n)} for n in range(2_000)])
    assert len(asked) < 600


def test_a_metric_that_ceased_to_speak_opens_no_gate() -> None:
    def graded(answer: EvaluatedAnswer, case: EvaluationCase) -> float | None:
        return 1.0 if speaks else None

    speaks = True
    before = evaluated(graded)
    speaks = False
    with pytest.raises(ConfigurationError, match="graded of echo has no score now"):
        awsllm.assert_no_regression(evaluated(graded), before)


def test_a_margin_that_is_no_number_opens_no_gate() -> None:
    good, bad = evaluated("exact"), evaluated("exact", echo=lambda prompt: "?")
    with pytest.raises(ConfigurationError, match="margin"):
        awsllm.assert_no_regression(bad, good, margin=float("nan"))


def test_one_case_shows_no_difference() -> None:
    """Nor do five: that all fell is likely enough by chance."""
    for cases in (1, 2, 5):
        found = statistics.difference([0.8] * cases, [0.5] * cases)
        assert found.low < 0 <= found.high
        assert found.p_value > 0.05
    shown = statistics.difference([0.8] * 12, [0.5] * 12)
    assert shown.high < 0


# --- what is evaluated -----------------------------------------------------------------------------------------------


def test_a_system_that_says_nothing_is_an_error_of_its_case() -> None:
    found = evaluated("exact", echo=lambda prompt: None)
    assert found.totals[0].errors == 30
    assert found.rows[0].answers[0].answer.error == "the function returned nothing"


def test_half_a_character_in_an_answer_can_be_saved(tmp_path: Path) -> None:
    found = evaluated("exact", echo=lambda prompt: "a\ud800")
    for ending in (".json", ".html", ".md"):
        found.save(tmp_path / f"result{ending}")
    assert EvaluationResult.load(tmp_path / "result.json").rows[0].answers[0].answer.text == "a?"


def test_names_steer_no_terminal_in_markdown() -> None:
    said = evaluated("exact", **{"\x1b[2J\u202eone": str}).to_markdown()
    assert not set(said) & {"\x1b", "\u202e"}


@pytest.mark.parametrize("models", [None, 5])
def test_what_is_no_model_is_told(models: Any) -> None:
    with pytest.raises(ConfigurationError, match="model reference"):
        awsllm.evaluate(models, CASES, "exact")


def test_a_budget_holds_for_what_is_evaluated_in_it() -> None:
    with (
        mock_aws(),
        awsllm.Client(region="us-east-1") as client,
        client.budget(usd=1e-9, threads=False),
        pytest.raises(BudgetExceededError),
    ):
        awsllm.evaluate("bedrock:amazon.nova-lite-v1:0", CASES, "exact", client=client, max_tokens=5)


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"prompt": "a", "tools": 5}, "no list of specifications"),
        ({"prompt": "a", "tools": "abc"}, "no list of specifications"),
        ({"prompt": "\ud800"}, "holds what is no JSON"),
    ],
)
def test_records_that_are_none(record: Any, told: str) -> None:
    with pytest.raises(ValidationError, match=f"record 2: .*{told}"):
        read_cases([{"prompt": "fine"}, record])


def test_columns_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "twice.csv").write_text("prompt,prompt\na,b\n")
    with pytest.raises(ValidationError, match="two columns have one name"):
        read_cases(tmp_path / "twice.csv")


def test_a_document_in_a_field(tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_text(f"prompt\n{'a' * 200_000}\n")
    assert len(read_cases(tmp_path / "long.csv")[0].prompt) == 200_000


def test_a_result_that_lacks_answers() -> None:
    told = json.loads(evaluated("exact").to_json())
    told["rows"][3]["answers"] = []
    with pytest.raises(ValidationError, match="not an answer of each model"):
        EvaluationResult.from_json(json.dumps(told))


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def full(file: int, data: bytes) -> int:
        if data.startswith(b'{"key"'):
            raise OSError(28, "No space left on device")
        return write(file, data)

    monkeypatch.setattr(os, "write", full)
    with (
        mock_aws(),
        awsllm.Client(region="us-east-1") as client,
        pytest.raises(ConfigurationError, match="answers cannot be kept: No space left"),
    ):
        awsllm.evaluate("bedrock:amazon.nova-lite-v1:0", CASES, "exact", client=client, folder=tmp_path)


def test_a_baseline_is_there_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "baseline.json"
    evaluated("exact").save(path)
    before, write = path.read_bytes(), Path.write_bytes

    def half(place: Path, data: bytes) -> int:
        write(place, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(ConfigurationError, match="No space left"):
        evaluated("exact", echo=lambda prompt: "?").save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
