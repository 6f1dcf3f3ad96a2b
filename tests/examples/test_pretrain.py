"""The example that makes a model from nothing, in a short form."""

from __future__ import annotations

from pathlib import Path

import pytest

from awsllm.engine import model
from awsllm.engine.train.scratch import Size
from examples import pretrain


def test_a_model_learns_from_the_documentation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points = pretrain.pretrain(tmp_path, 12, Size(hidden=64, layers=1, heads=4, context=32))
    assert points[0].loss == pytest.approx(6.93, abs=0.3)  # that of a guess: log 1024
    assert points[-1].loss < points[0].loss - 0.4
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown[1:]] == ["0", "3", "6", "9", "12"]
    written = [line.partition("'")[2] for line in shown[1:]]
    assert all(text.startswith("The model") for text in written)
    assert len(set(written)) == 5  # each of the weights of its step
    assert model.load(tmp_path / "result" / "model").config.layers == 1
