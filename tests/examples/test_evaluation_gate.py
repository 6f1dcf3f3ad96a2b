"""The example of a regression gate, collected here too, and that its baseline is what it writes."""

from pathlib import Path

import awsllm
from awsllm import EvaluationResult
from examples.evaluation_gate import test_quality as gate
from examples.evaluation_gate.test_quality import *  # noqa: F403


def test_the_baseline_is_what_is_written(tmp_path: Path, mock_aws: gate.Enter) -> None:
    mock_aws(reply=gate.reply)
    with awsllm.Client(region="us-east-1") as made:
        gate.evaluated(made).save(tmp_path / "baseline.json")
    written, kept = EvaluationResult.load(tmp_path / "baseline.json"), EvaluationResult.load(gate.BASELINE)
    assert written.summaries == kept.summaries
    assert [row.case for row in written.rows] == [row.case for row in kept.rows]
