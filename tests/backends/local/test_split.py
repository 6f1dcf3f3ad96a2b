"""A model that is split over files is one model."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import gguf
import pytest

import awsllm
from awsllm.backends.local.backend import _size
from tests.support import tiny_gguf


@pytest.fixture
def split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The first of the files, as the ``gguf`` package splits it."""
    monkeypatch.setattr(gguf, "GGUFWriter", partial(gguf.GGUFWriter, split_max_tensors=5))
    tiny_gguf.write(tmp_path / "m.gguf", tiny_gguf.metadata(), says=65)
    return tmp_path / "m-00001-of-00003.gguf"


def test_any_of_its_files_is_the_model(split: Path) -> None:
    for part in (split, split.with_name("m-00002-of-00003.gguf")):
        assert awsllm.Client().converse(f"local:{part}", "Hi", max_tokens=3).text == "AAA"


def test_its_parts_are_found_beside_a_link_to_it(split: Path, tmp_path: Path) -> None:
    """As in the cache of the Hugging Face hub: names are links, what they lead to has a hash for its name."""
    (tmp_path / "blobs").mkdir()
    for number, file in enumerate(sorted(tmp_path.glob("*.gguf"))):
        (tmp_path / file.name).rename(tmp_path / "blobs" / str(number))
        file.symlink_to(tmp_path / "blobs" / str(number))
    assert awsllm.Client().converse(f"local:{split}", "Hi", max_tokens=2).text == "AA"


def test_its_size_is_that_of_all_its_files(split: Path) -> None:
    files = list(split.parent.glob("*.gguf"))
    assert len(files) == 3
    assert _size(split) == sum(file.stat().st_size for file in files)
    assert _size(files[0].rename(split.parent / "one.gguf")) < _size(split.parent)
