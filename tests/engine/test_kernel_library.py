"""The library of kernels: which of them computes, what happens where there is none, and its threads."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import awsllm
from awsllm.backends.local import computing
from awsllm.engine.interface import Chunk
from awsllm.engine.native import library, processors
from awsllm.engine.native.decoder import KernelDecoder
from tests.support.random_packed import packed, small

HERE = library.built()
KERNELS = pytest.mark.skipif(not HERE.names, reason="no kernel computes on this machine")


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """What was found out before is found out again."""
    monkeypatch.delenv(library.CHOICE, raising=False)
    library.built.cache_clear()
    library._kernels.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    library.built.cache_clear()
    library._kernels.cache_clear()


def decoder(kernel: str | None = None, threads: int = 2, bits: int = 4, **changes: object) -> KernelDecoder:
    found = library._kernels(kernel or "")
    assert found is not None
    return KernelDecoder(packed(small(**changes), bits), found, threads=threads)


def computed(model: KernelDecoder, count: int = 5) -> np.ndarray:
    cache = model.new_cache(64)
    chunks = [[1, 2, 3, 4, 5, 6, 7], *([n] for n in range(8, 8 + count))]
    return np.array([model.forward([Chunk(chunk, cache)])[0] for chunk in chunks])


# --- which kernel ----------------------------------------------------------------------------------------------------


@KERNELS
def test_the_fastest_kernel_computes_or_the_one_that_is_named(fresh: pytest.MonkeyPatch) -> None:
    names = [name for _, name in HERE.names]
    found = library.kernels()
    assert found is not None
    assert found.name == names[0]
    for name in names:
        fresh.setenv(library.CHOICE, name)
        found = library.kernels()
        assert found is not None
        assert found.name == name
        assert computing.here().told.startswith(f"{name} computes local chat models, in ")
    fresh.setenv(library.CHOICE, "none")
    assert library.kernels() is None
    assert computing.here().told.startswith("none: AWSLLM_KERNEL says so; PyTorch computes")
    assert not computing.here().missing


def test_a_kernel_that_cannot_be_had(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error names what can be had, also to whoever loads a model."""
    from tests.support import tiny_gguf

    fresh.setenv(library.CHOICE, "nonsense")
    choices = ", ".join([*(name for _, name in HERE.names), "none"])
    with pytest.raises(library.KernelChoiceError, match=f"'nonsense'; here it can be {choices}"):
        library.kernels()
    assert choices in computing.here().fault
    path = tiny_gguf.write(tmp_path / "tiny.gguf", tiny_gguf.metadata(), says=65)
    with pytest.raises(awsllm.ConfigurationError, match=f"here it can be {choices}"):
        awsllm.Client().converse(f"local:{path}", "Hello")


@KERNELS
@pytest.mark.parametrize("bits", [4, 8])
def test_every_kernel_gives_the_same_bits(bits: int) -> None:
    """On processors of one kind. A processor without the newest instructions gives the same answers."""
    results = [computed(decoder(name, bits=bits)) for _, name in HERE.names]
    assert all(np.array_equal(result, results[0]) for result in results)
    assert np.isfinite(results[0]).all()
    assert results[0].std() > 0.1


# --- no kernel -------------------------------------------------------------------------------------------------------


def test_no_library(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fresh.setattr(library, "PATH", tmp_path / "none.so")
    assert library.kernels() is None
    assert computing.here().missing == "this installation has no library for this machine"
    fresh.setenv(library.CHOICE, "avx2")
    with pytest.raises(library.KernelChoiceError, match="here it can be none, for this installation has no library"):
        library.kernels()


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"no library" * 1000], ids=["empty", "cut", "other"])
def test_a_library_that_cannot_be_loaded(fresh: pytest.MonkeyPatch, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.so"
    path.write_bytes(content)
    fresh.setattr(library, "PATH", path)
    assert library.kernels() is None
    assert computing.here().missing == "the library cannot be loaded"


@KERNELS
def test_a_library_of_another_layout(fresh: pytest.MonkeyPatch) -> None:
    fresh.setattr(library, "LAYOUT", library.LAYOUT + 1)
    assert library.kernels() is None
    found = computing.here()
    assert found.missing == "the library is another version's"
    assert found.has_source
    assert not found.is_unsuited


@KERNELS
def test_a_library_that_is_none_of_ours(fresh: pytest.MonkeyPatch) -> None:
    import _ctypes

    fresh.setattr(library, "PATH", Path(_ctypes.__file__))
    assert library.kernels() is None
    assert computing.here().missing == "the library cannot be loaded"


def test_where_there_is_no_kernel_pytorch_computes(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from awsllm.engine import choice
    from awsllm.engine.torch_model import TorchModel
    from tests.support import tiny_gguf

    fresh.setattr(library, "PATH", tmp_path / "none.so")
    path = tiny_gguf.write(tmp_path / "tiny.gguf", tiny_gguf.metadata(), says=65)
    keep = tmp_path / "kept"
    model = choice.open_model(path, "cpu", keep).model
    assert isinstance(model, TorchModel)
    assert not keep.exists()


@KERNELS
def test_a_library_that_is_older_than_its_source(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / library.PATH.name
    path.write_bytes(library.PATH.read_bytes())
    fresh.setattr(library, "PATH", path)
    assert not library.is_stale(), "a wheel has no source"
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "step.c").write_bytes(b"")
    os.utime(path, (5, 5))
    assert computing.here().is_stale


# --- threads ---------------------------------------------------------------------------------------------------------


TWO = "0::/outer/inner\n"
ONE = "4:memory:/a\n3:cpu,cpuacct:/docker/abc\n0::/\n"
OF_ONE = "cpu,cpuacct"


@pytest.mark.parametrize(
    ("groups", "files", "threads"),
    [
        (TWO, {"cpu.max": "max 100000"}, 3),
        (TWO, {"cpu.max": "150000 100000"}, 2),
        (TWO, {"cpu.max": "50000 100000"}, 1),
        (TWO, {"cpu.max": "800000 100000"}, 3),
        (TWO, {"cpu.max": "x"}, 3),
        (TWO, {"cpu.max": "100000 0"}, 3),
        (TWO, {"outer/cpu.max": "200000 100000", "outer/inner/cpu.max": "max 100000"}, 2),
        (TWO, {"outer/cpu.max": "200000 100000", "outer/inner/cpu.max": "100000 100000"}, 1),
        (ONE, {f"{OF_ONE}/cpu.cfs_quota_us": "-1", f"{OF_ONE}/cpu.cfs_period_us": "100000"}, 3),
        (ONE, {f"{OF_ONE}/cpu.cfs_quota_us": "200000", f"{OF_ONE}/cpu.cfs_period_us": "100000"}, 2),
        (
            ONE,
            {f"{OF_ONE}/docker/abc/cpu.cfs_quota_us": "90000", f"{OF_ONE}/docker/abc/cpu.cfs_period_us": "100000"},
            1,
        ),
        ("0::/../../elsewhere\n", {"cpu.max": "200000 100000"}, 2),
        ("", {"cpu.max": "200000 100000"}, 3),
    ],
)
def test_no_more_threads_than_a_container_grants(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, groups: str, files: dict[str, str], threads: int
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="ascii")
    (tmp_path / "self").write_text(groups, encoding="ascii")
    monkeypatch.delenv(processors.CHOICE, raising=False)
    monkeypatch.setattr(processors, "_cores", lambda: 3)
    monkeypatch.setattr(processors, "_GROUPS", tmp_path)
    monkeypatch.setattr(processors, "_MINE", tmp_path / "self")
    assert processors.usable() == threads


def test_a_core_is_one_however_many_threads_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    siblings = {0: "0,4", 1: "1,5", 4: "0,4", 5: "1,5"}
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 4}, raising=False)
    monkeypatch.setattr(Path, "read_text", lambda path: siblings[int(path.parts[5].removeprefix("cpu"))])
    assert processors._cores() == 2
    monkeypatch.setattr(Path, "read_text", lambda path: (_ for _ in ()).throw(FileNotFoundError(path)))
    assert processors._cores() == 3


@pytest.mark.parametrize(
    ("said", "threads"), [("3", 3), ("2,1", 2), ("1000", 64), ("0", None), ("-1", None), ("x", None)]
)
def test_how_many_threads_is_said_as_for_pytorch(
    monkeypatch: pytest.MonkeyPatch, said: str, threads: int | None
) -> None:
    monkeypatch.setenv(processors.CHOICE, said)
    monkeypatch.setattr(processors, "_cores", lambda: 7)
    monkeypatch.setattr(processors, "_quota", lambda: 64)
    assert processors.usable() == (threads or 7)


def helpers() -> int:
    import threading

    return sum(one.name == "awsllm-kernel" for one in threading.enumerate())


def helped() -> float:
    """Seconds of a processor that helpers have taken; of all threads, where a system does not tell them apart."""
    import threading

    if not hasattr(time, "pthread_getcpuclockid"):
        return time.process_time()
    threads = [one.ident for one in threading.enumerate() if one.name == "awsllm-kernel" and one.ident is not None]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(ident)) for ident in threads)


def until(condition: Callable[[], bool]) -> bool:
    """Within ten seconds, which is much more than it takes."""
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


@KERNELS
def test_a_model_that_is_let_go_lets_its_threads_go() -> None:
    before = helpers()
    for _ in range(5):
        models = [decoder(threads=3) for _ in range(4)]
        for model in models:
            computed(model, 1)
        assert helpers() > before
        models.clear()
        del model
        assert until(lambda: helpers() == before)


@KERNELS
def test_a_model_that_is_not_used_takes_no_time() -> None:
    """Processor time of its helpers: neither a busy machine nor other threads of these tests add to it."""
    model = decoder(threads=4)
    wanted = computed(model)
    time.sleep(0.2)
    began = helped()
    time.sleep(0.5)
    assert helped() - began < 0.1
    assert np.array_equal(computed(model), wanted), "helpers wake up again"


@KERNELS
@pytest.mark.parametrize("threads", [1, 3, 9])
def test_the_number_of_threads_changes_no_bit(threads: int) -> None:
    assert np.array_equal(computed(decoder(threads=threads)), computed(decoder(threads=2)))


PROGRAM = """
import os, signal, sys, threading, time
sys.path.insert(0, {root!r})
import numpy as np
from tests.engine.test_kernel_library import computed, decoder, helpers
model = decoder(threads=3)
wanted = computed(model)
"""

FORKED = """
for inside in (0, 1):
    model._team.struct.gate += inside  # as it is while a helper takes part in a step
    child = os.fork()
    model._team.struct.gate -= 0 if child == 0 else inside
    if child == 0:
        signal.alarm(20)
        same = all(np.array_equal(computed(model), wanted) for _ in range(3))
        sys.exit(0 if same and helpers() == 2 else 1)  # what a program does at its end is done, too
    assert os.waitpid(child, 0)[1] == 0
assert np.array_equal(computed(model), wanted)
print("the same")
"""

ENDS = """
threading.Thread(target=lambda: [computed(model) for _ in range(10**6)], daemon=True).start()
time.sleep(0.05)
print("the same")
"""


@KERNELS
@pytest.mark.parametrize("program", [FORKED, ENDS], ids=["forked", "ends while it computes"])
def test_a_process_that(program: str) -> None:
    if "fork" in program and not hasattr(os, "fork"):
        pytest.skip("this system does not fork")
    root = str(Path(__file__).parent.parent.parent)
    text = PROGRAM.format(root=root) + program
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "the same\n", "")
