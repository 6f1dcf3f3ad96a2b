"""What the engine makes of models: where it is kept, what it counts for, and when it goes."""

from __future__ import annotations

import os
import time
from pathlib import Path

from awsllm.backends.local.backend import _size
from awsllm.backends.local.shown import details
from awsllm.store import Store, packed
from awsllm.store.usage import ELSEWHERE
from tests.support import tiny_gguf


def test_beside_a_model_of_the_cache_and_in_a_folder_for_others(tmp_path: Path) -> None:
    cache, home = tmp_path / "cache", tmp_path / "cache" / "models" / "mine"
    home.mkdir(parents=True)
    assert packed.place(cache, home) == home / "model.packed"
    assert packed.place(cache, home / "m.gguf") == home / "m.gguf.packed"
    other = tmp_path / "other.gguf"
    other.write_bytes(b"")
    (tmp_path / "link.gguf").symlink_to(other)
    place = packed.place(cache, other)
    assert place.parent == cache / "packed"
    assert packed.place(cache, tmp_path / "link.gguf") == place
    assert packed.place(cache, tmp_path / "third.gguf") != place


def test_what_is_kept_for_models_elsewhere_is_bounded(tmp_path: Path) -> None:
    folder = tmp_path / packed.FOLDER
    folder.mkdir()
    now = time.time()
    names = [folder / f"{n}{packed.SUFFIX}" for n in range(6)]
    for n, path in enumerate(names):
        path.write_bytes(b"")
        os.utime(path, (now - n * 86400, now - n * 86400))
    packed.used(tmp_path, names[5], most=5, days=3.5)
    assert [path.exists() for path in names] == [True, True, True, True, False, True]
    packed.used(tmp_path, names[3], most=2)
    assert {path.name[0] for path in folder.iterdir()} == {"5", "3"}
    packed.used(tmp_path, tmp_path / "models" / "m" / "m.gguf.packed", most=0)
    assert len(list(folder.iterdir())) == 2, "one beside its model has no part in this"


def test_it_counts_on_the_disk_and_not_as_the_model(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    path = tmp_path / "tiny.gguf"
    tiny_gguf.write(path, tiny_gguf.metadata(), says=65)
    place = store.import_model(path, "mine")
    alone = store.usage()[0].size
    packed.place(store.cache_dir, place).write_bytes(bytes(1000))
    (tmp_path / "cache" / packed.FOLDER).mkdir()
    packed.place(store.cache_dir, path).write_bytes(bytes(3))
    mine, others = store.usage()
    assert (mine.name, mine.size, mine.packed) == ("mine", alone + 1000, 1000)
    assert (others.name, others.size, others.packed) == (ELSEWHERE, 3, 3)
    assert _size(place) == path.stat().st_size
    assert details(store, "mine").size == path.stat().st_size
    store.remove("mine")
    assert [one.name for one in store.usage()] == [ELSEWHERE]


def test_a_directory_is_no_larger_for_what_was_made_of_it(tmp_path: Path) -> None:
    """Else the same model would be another one, once it was packed, and be loaded twice."""
    (tmp_path / "config.json").write_bytes(b"{}")
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "w.safetensors").write_bytes(bytes(5))
    assert _size(tmp_path) == 7
    packed.place(tmp_path, tmp_path).write_bytes(bytes(1000))
    assert _size(tmp_path) == 7
