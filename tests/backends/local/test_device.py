"""Where local models are computed: how a user says it, and what is said back. A GPU is played by the CPU, through the
model for devices."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import awsllm
from awsllm import types as t
from awsllm.backends.local.backend import LocalBackend
from awsllm.engine import device_model, devices, model
from awsllm.engine.device_memory import Room
from awsllm.engine.device_model import DeviceModel
from awsllm.errors import ConfigurationError, ServerError
from tests.support import tiny_gguf


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tiny_gguf.write(tmp_path / "m.gguf", tiny_gguf.metadata(), says=65))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> list[DeviceModel]:
    """A machine with a GPU; the models that were loaded there."""
    loaded: list[DeviceModel] = []

    def load(checkpoint: Any, device: str, bounds: Any) -> DeviceModel:
        assert device == "cuda:0"
        room = Room(bounds.max_sequences, 300, 1 << 20)
        loaded.append(DeviceModel(model.load(checkpoint, precision="float32"), room, ahead=True))
        return loaded[-1]

    monkeypatch.setattr(device_model, "load", load)
    monkeypatch.setattr(devices, "found", lambda name: name if name == "cpu" else "cuda:0")
    return loaded


@pytest.fixture
def backend(path: str) -> Iterator[LocalBackend]:
    backend = LocalBackend(device="cuda", max_sequences=3)
    yield backend
    backend.close()


def ask(path: str, **options: Any) -> t.ConverseRequest:
    knobs = t.InferenceConfig(6, **options)
    return t.ConverseRequest(model=path, messages=(t.Message.user("Hi"),), inference_config=knobs)


def test_an_answer_from_a_device(
    gpu: list[DeviceModel], backend: LocalBackend, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "awsllm"):
        answer = backend.ask(ask(path))
    assert answer.text == LocalBackend().ask(ask(path)).text == "A" * 6
    assert backend.ask(ask(path, temperature=0.01)).text == "A" * 6
    assert len(gpu) == 1
    assert f"{path}: 3 conversations at once, of 300 tokens each" in caplog.text
    scheduler = backend._chat_model(path).scheduler
    assert (scheduler.max_context, scheduler.bounds.max_sequences) == (300, 3)


def test_memory_that_ends_is_told(
    gpu: list[DeviceModel], backend: LocalBackend, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.ask(ask(path))

    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(gpu[0].decoder, "forward", fail)
    with pytest.raises(ServerError, match=r"no memory left for a step of .* tokens: lower max_sequences"):
        backend.ask(ask(path))


def test_the_environment_says_the_device(gpu: list[DeviceModel], path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_DEVICE", "auto")
    LocalBackend().ask(ask(path))
    assert gpu[0].room.slots == 64
    LocalBackend(device="cpu").ask(ask(path))
    assert len(gpu) == 1
    monkeypatch.setenv("AWSLLM_DEVICE", "gpu")
    with pytest.raises(ConfigurationError, match="AWSLLM_DEVICE is 'gpu'; write cpu, cuda"):
        LocalBackend()


def test_a_client_says_the_device(gpu: list[DeviceModel], path: str) -> None:
    with awsllm.Client(device="cuda") as client:
        assert client.converse(f"local:{path}", "Hi", max_tokens=3).text == "AAA"
    assert len(gpu) == 1
    with pytest.raises(ConfigurationError, match="device is 'gpu'; write cpu"):
        awsllm.Client(device="gpu")
    with pytest.raises(ConfigurationError, match="device is 1; write cpu"):
        awsllm.AsyncClient(device=1)  # type: ignore[arg-type]


def test_a_device_that_is_not_there(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None, raising=False)
    with pytest.raises(ConfigurationError, match=r"was built without CUDA.*pytorch\.org"):
        LocalBackend(device="cuda").ask(ask(path))
