"""What callers and files do to a session: it stays what it was."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from awsllm.engine.errors import WeightsError
from awsllm.engine.train import decoder, memory
from awsllm.engine.train import session as sessions
from awsllm.engine.train.session import AdamStep, LossExample, TokenDrawing
from awsllm.errors import ConfigurationError
from awsllm.jobs.sessions import local
from tests.engine.train.test_session import TARGETS, TOKENS, example, folder, session

__all__ = ["folder"]  # the fixture


def gradients(one: sessions.LoraSession) -> list[torch.Tensor]:
    return [each.grad.clone() for each in one._trained.values() if each.grad is not None]


def test_a_pass_that_fails_amid_its_examples_adds_none(folder: Path) -> None:
    one = session(folder)
    one.forward_backward([example()], "cross_entropy")
    before = gradients(one)
    hot = LossExample(TOKENS, {"target_tokens": TARGETS, "weights": [3e38] * 4})
    with pytest.raises(ArithmeticError, match="the loss of example 1 is no number; no gradients were added"):
        one.forward_backward([example(), hot], "cross_entropy")
    assert all(torch.equal(old, new) for old, new in zip(before, gradients(one), strict=True))
    assert one.step(AdamStep(learning_rate=1e-3))["gradient_norm"] > 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weights", math.nan),
        ("weights", math.inf),
        ("weights", 10**400),
        ("temperature", 0.0),
        ("temperature", 1e-30),
        ("temperature", -1.0),
        ("advantages", -math.inf),
        ("target_tokens", math.nan),
        ("target_tokens", math.inf),
    ],
)
def test_numbers_that_are_none(folder: Path, name: str, value: float) -> None:
    given = example(**({"temperature": [1.0] * 4} if name == "temperature" else {}), advantages=[1.0] * 4)
    hostile = LossExample(TOKENS, {**given.inputs, name: [1.0, 1.0, 1.0, value]})
    with pytest.raises(ValueError, match=f"among its {name}"):
        session(folder).forward_backward([hostile], "cross_entropy")


@pytest.mark.parametrize("token", [math.nan, math.inf, 1.5, 10**400, -1])
def test_tokens_that_are_none(folder: Path, token: Any) -> None:
    one = session(folder)
    for ask in (one.logprobs, lambda tokens: one.sample(tokens, TokenDrawing(most=2))):
        with pytest.raises(ValueError, match="has the token"):
            ask([3, token])


def spoiled(path: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    tensors = load_file(path / name)
    key = next(key for key in tensors if "exp_avg_sq" in key or name == "weights.safetensors")
    save_file({**tensors, key: change(tensors[key]).contiguous()}, path / name)


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("moments.safetensors", lambda value: -value - 1, "holds what is no moment"),
        ("moments.safetensors", lambda value: value * math.nan, "holds what is no moment"),
        ("moments.safetensors", lambda value: value[:1], "is another adapter's"),
        ("weights.safetensors", lambda value: value + math.inf, "holds what is no number"),
        ("weights.safetensors", lambda value: value[:1], "has shape"),
        ("state.json", {"step": "9"}, "how many steps"),
        ("state.json", {"step": -1}, "how many steps"),
        ("state.json", {}, "how many steps"),
    ],
)
def test_a_state_that_was_tampered_with_changes_nothing(
    folder: Path, tmp_path: Path, file: str, change: Any, said: str
) -> None:
    one = session(folder)
    one.forward_backward([example()], "cross_entropy")
    one.step(AdamStep(learning_rate=1e-2))
    one.save_state(tmp_path)
    one.forward_backward([example()], "cross_entropy")
    one.step(AdamStep(learning_rate=1e-2))
    if isinstance(change, dict):
        (tmp_path / file).write_text(json.dumps(change))
    else:
        spoiled(tmp_path, file, change)
    before, memory = one.logprobs(TOKENS), dict(one._moments())
    with pytest.raises(WeightsError, match=said):
        one.load_state(tmp_path)
    assert one.logprobs(TOKENS) == before
    assert one.steps == 2
    assert dict(one._moments()).keys() == memory.keys()


def test_what_is_computed_ends_when_the_session_is_closed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, drawn = session(folder), [0]

    def draw(*_: Any) -> int:
        drawn[0] += 1
        if drawn[0] == 3:
            one.close()  # as another thread does
        return 5

    monkeypatch.setattr(sessions, "_drawn", draw)
    with pytest.raises(RuntimeError, match="the session was closed"):
        one.sample(TOKENS, TokenDrawing(most=400))
    assert drawn == [3]
    with pytest.raises(RuntimeError, match="the session was closed"):
        one.forward_backward([example()], "cross_entropy")
    assert gradients(one) == []


def test_a_session_for_which_there_is_no_memory_is_not_loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device: 1000)
    monkeypatch.setattr(decoder, "load", lambda path: pytest.fail("it was loaded"))
    with pytest.raises(ConfigurationError, match=r"takes .* of memory, and 0.00 GB is free: close another session"):
        local.LocalSession.start(folder)
