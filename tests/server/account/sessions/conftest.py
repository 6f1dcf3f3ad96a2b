"""The model that is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from awsllm.engine.train import decoder
from awsllm.engine.train.export import export
from tests.support import tiny_chat


@pytest.fixture(scope="package")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose head tells tokens apart, so that an adapter beneath it can choose one."""
    folder = tmp_path_factory.mktemp("base")
    still = Path(tiny_chat.write(folder / "still").removeprefix("local:"))
    torch.manual_seed(0)
    values = {name: each.detach() for name, each in decoder.load(still).named_parameters()}
    values = {name: torch.randn_like(each) * 0.2 if each.ndim > 1 else each for name, each in values.items()}
    return export(still, values, folder / "base")
