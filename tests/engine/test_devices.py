"""Names of devices, and what is said where one is not there."""

from __future__ import annotations

from importlib import metadata

import pytest
import torch

from awsllm.engine import devices
from awsllm.engine.devices import DeviceError, describe, found


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two GPUs, as far as PyTorch tells."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (60 * 10**9, 80 * 10**9))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100")
    monkeypatch.setattr(devices, "gpu_is_likely", lambda: True)


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "cuda:0000", "cpu:0", "CUDA", "", "xpu"])
def test_names_that_are_none(name: str) -> None:
    assert not devices.is_name(name)
    with pytest.raises(DeviceError, match="write cpu, cuda, cuda:1"):
        found(name)


def test_the_device_that_is_meant(gpus: None) -> None:
    assert [found(name) for name in ("cpu", "cuda", "cuda:1", "auto")] == ["cpu", "cuda:0", "cuda:1", "cuda:0"]
    assert describe("cuda:1") == "cuda:1 (NVIDIA H100, 60.0 of 80.0 GB free)"
    assert describe("cpu") == "cpu"


def test_there_are_fewer_gpus(gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceError, match="device cuda:2: there is cuda:0 to cuda:1 on this machine"):
        found("cuda:2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(DeviceError, match="device cuda:1: there is only cuda:0"):
        found("cuda:1")


def test_no_driver(gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(DeviceError, match=r"sees no GPU\. nvidia-smi shows"):
        found("cuda")
    assert found("auto") == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_built", lambda: True)
    assert (found("auto"), found("mps")) == ("mps", "mps")


def test_pytorch_without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None, raising=False)
    monkeypatch.setattr(torch.backends.mps, "is_built", lambda: False)
    with pytest.raises(DeviceError, match=r"was built without CUDA. Install one .*pytorch\.org.*, or use device cpu"):
        found("cuda")
    with pytest.raises(DeviceError, match="was built without Metal"):
        found("mps")


def test_pytorch_is_not_imported_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "import_torch", lambda: pytest.fail("it was imported"))
    monkeypatch.setattr(metadata, "version", lambda _: "2.13.0+cpu")
    assert (found("cpu"), found("auto")) == ("cpu", "cpu")
    monkeypatch.setattr(metadata, "version", lambda _: "2.13.0")
    monkeypatch.setattr(devices, "_DRIVERS", ("/nowhere/nvidia",))
    monkeypatch.setattr("platform.system", lambda: "Linux")
    assert found("auto") == "cpu"
