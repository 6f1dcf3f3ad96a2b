"""Files of a training where the disk takes no more."""

from __future__ import annotations

import errno
import resource
import signal
from pathlib import Path

import pytest
import torch

from awsllm.engine.train.files import write_tensors


def test_a_disk_that_takes_no_more_is_said_to_be_one(tmp_path: Path) -> None:
    """And the file that was there stays."""
    where = tmp_path / "weights.safetensors"
    write_tensors(where, {"a": torch.zeros(4)})
    whole = where.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="large") as full:
            write_tensors(where, {"a": torch.zeros(1 << 16)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert full.value.errno == errno.EFBIG
    assert where.read_bytes() == whole
