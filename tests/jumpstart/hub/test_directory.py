"""A directory of documents: what is read of it, and how often."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from awsllm.aws.session import AwsSession
from awsllm.errors import ModelNotFoundError
from awsllm.jumpstart.hub import files
from awsllm.jumpstart.hub.catalogue import Catalogue

REGION = "us-west-2"
DOCUMENT = {"HostingEcrUri": "111122223333.dkr.ecr.us-west-2.amazonaws.com/vllm:0.9", "Task": "text-generation"}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was read, by its stem."""
    found: Counter[str] = Counter()
    load = files.load

    def counted(file: Path) -> Any:
        found[file.stem] += 1
        return load(file)

    monkeypatch.setattr(files, "load", counted)
    return found


def a_directory(place: Path, count: int) -> Catalogue:
    for number in range(count):
        members = {**DOCUMENT, "GatedBucket": number == 0, "TrainingSupported": number == 1}
        (place / f"model-{number}.json").write_text(json.dumps(members))
    return Catalogue(AwsSession(region=REGION), directory=place)


def test_every_file_is_read_once_however_much_is_looked_up(tmp_path: Path, reads: Counter[str]) -> None:
    catalogue = a_directory(tmp_path, 30)
    assert len(catalogue.search()) == 30
    assert [one.model_id for one in catalogue.search(gated=True)] == ["model-0"]
    assert [one.model_id for one in catalogue.search(trainable=True, task="llm")] == ["model-1"]
    assert set(reads.values()) == {1}
    assert sum(reads.values()) == 30


def test_a_document_that_is_wanted_is_the_only_one_that_is_read_again(tmp_path: Path, reads: Counter[str]) -> None:
    catalogue = a_directory(tmp_path, 10)
    catalogue.search()
    reads.clear()
    assert catalogue.get("model-3").model_id == "model-3"
    assert catalogue.get("model-4", version="1.0.0").model_id == "model-4"
    assert reads == {"model-3": 1, "model-4": 1}


def test_a_file_that_has_changed_is_read_again(tmp_path: Path, reads: Counter[str]) -> None:
    catalogue = a_directory(tmp_path, 3)
    catalogue.search()
    reads.clear()
    changed, removed = tmp_path / "model-1.json", tmp_path / "model-2.json"
    changed.write_text(json.dumps({**DOCUMENT, "License": "one of its own"}))
    os.utime(changed, ns=(1, 1))  # told by its time even where its size were the same
    removed.unlink()
    (tmp_path / "new.json").write_text(json.dumps(DOCUMENT))
    found = {one.model_id: one.license for one in catalogue.search()}
    assert found == {"model-0": None, "model-1": "one of its own", "new": None}
    assert reads == {"model-1": 1, "new": 1}


def test_a_version_whose_file_was_removed_is_not_there(tmp_path: Path) -> None:
    catalogue = a_directory(tmp_path, 2)
    catalogue.search()
    (tmp_path / "model-1.json").unlink()
    with pytest.raises(ModelNotFoundError):
        catalogue.get("model-1", version="1.0.0")
