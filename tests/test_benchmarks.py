"""The benchmarks run: each case of awsllm and of raw boto3 gives its figure. What the figures are is no test's
business."""

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from awsllm.engine import model, weights
from awsllm.engine.interface import Chunk
from awsllm.engine.native import library, packing
from awsllm.engine.native.decoder import KernelDecoder
from awsllm.store import Store
from benchmarks import gpu, lambdas, server, speech
from benchmarks.__main__ import CASES, PEERS, measure, stub, table
from benchmarks.local import __main__ as local
from benchmarks.local import contenders, phases, quality, report
from tests.support import random_models
from tests.support.packages import CORE, wheelhouse

OURS = {peer.name: peer for peer in PEERS if not peer.requirements}


@pytest.mark.slow
def test_every_case_runs() -> None:
    figures: dict[str, dict[str, float]] = {name: {} for name in OURS}
    with stub(0.0) as url:
        for worker in dict.fromkeys(case.worker for case in CASES):
            for name, peer in OURS.items():
                result = measure(sys.executable, peer, worker, url)
                figures[name] |= {case.key: result[case.figure] for case in CASES if case.worker == worker}
    assert all(figure > 0 for cases in figures.values() for figure in cases.values())
    lines = table(figures).splitlines()
    assert len(lines) == 2 + len(CASES)
    assert all("(1.00; " in line for line in lines[2:])  # boto3's ratio to itself
    assert all("; 1.00)" in line for line in lines[2:])  # and the floor's


def test_a_client_that_fails_is_named() -> None:
    with pytest.raises(RuntimeError, match="boto3 failed at first"):
        measure(sys.executable, OURS["boto3"], "first", "http://127.0.0.1:1")


@pytest.mark.slow
def test_a_spoken_conversation_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_CA_BUNDLE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "")  # which the benchmark sets, and which are to be as they were
    figures = speech.measure(rounds=1)
    assert list(figures) == list(speech.FIGURES)
    assert all(figure > 0 for figure in figures.values())


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="CPU and memory are read from /proc")
def test_every_request_to_the_server_is_measured() -> None:
    figures = server.measure(requests=8, moto=None)
    assert list(figures["cpu_us"]) == [case.title for case in server.CASES]
    assert all(size > 10 for size in figures["rss_mb"])
    assert len(server.table(figures).splitlines()) == 4 + len(server.CASES)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a package holds wheels for Linux")
def test_a_cold_start_in_lambda_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What both load is certain, however long it takes here: by hand, far more modules."""
    (tmp_path / "wheels").mkdir()
    house = wheelhouse(tmp_path / "wheels", CORE)
    monkeypatch.setattr(lambdas, "HOME", tmp_path)
    folders = lambdas.prepare(["boto3", "awsllm"], states=(lambdas.WITHOUT,), wheels=house)
    with stub(0.0) as url:
        loaded = {
            peer: lambdas.cold(folder, peer, url, Path(sys.executable))[2] for (peer, _), folder in folders.items()
        }
    assert loaded["boto3"] > loaded["awsllm"] + 100
    assert loaded["awsllm"] < 250
    figures = {lambdas.WITHOUT: {"boto3": [200.0, 220.0], "awsllm": [60.0, 55.0]}}
    assert lambdas.table(figures).splitlines()[-1] == "| without | 200 / 210 (1.00) | 55 / 58 (0.28) |"


def test_what_is_measured_on_a_gpu(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Here, of a tiny model on the CPU."""

    def peer(*_: Any) -> Iterator[tuple[int, float]]:
        yield 3, 5.0
        raise RuntimeError("it has enough")

    monkeypatch.setitem(gpu.PEERS, "transformers", peer)
    arguments = "--device cpu --sizes tiny --streams 1,3 --prompt 20 --tokens 6 --peers transformers,nothing --json"
    monkeypatch.setitem(gpu.PEERS, "nothing", lambda *_: iter((import_nothing(),)))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert gpu.main(arguments.split()) == 0
    finally:
        torch.set_num_threads(threads)
    printed = capsys.readouterr()
    found = {one["what"]: one for one in json.loads(printed.out.splitlines()[-1])["findings"]}
    assert found["answers equal to the CPU's, graphs False"]["ok"]
    whats = {"decode, 1 streams", "decode, 3 streams", "share of the bound, 1 streams", "prefill"}
    assert whats < found.keys()
    assert all(found[what]["figure"] > 0 for what in whats)
    assert found["served by transformers, 3 streams"]["figure"] == 5
    assert "transformers failed: RuntimeError: it has enough" in printed.err
    assert "nothing is not installed" in printed.err
    assert "pass" in printed.out


def import_nothing() -> tuple[int, float]:
    raise ImportError("no such peer")


@pytest.mark.slow
def test_transformers_is_measured_too() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = list(gpu.by_transformers(gpu.SHAPES["tiny"], "cpu", gpu.Work(8, 3, (1, 2))))
    finally:
        torch.set_num_threads(threads)
    assert [streams for streams, rate in found if rate > 0] == [1, 2]


def local_figures() -> report.Figures:
    return {
        "decode1": {"awsllm avx512": [30.0, 28.0, 10.0], "llama.cpp": [20.0, 20.0, 5.0], "llama.cpp, flash": [9.0] * 3},
        "start": {"awsllm avx512": [1.5, 1.5, 1.5], "llama.cpp": [1.0, 1.5, 2.0]},
    }


def test_the_engine_is_compared_in_pairs_with_the_judges_better_way() -> None:
    """One slow round meets both of its pair, and the judge's slower way does not count."""
    groups = {"llama.cpp": "llama.cpp", "llama.cpp, flash": "llama.cpp"}
    found = report.ratios(local_figures(), groups, "awsllm avx512")
    assert found["decode1"]["llama.cpp"] == report.Ratio(1.5, 1.4, 2.0)
    assert found["start"]["llama.cpp"] == report.Ratio(1.0, 0.75, 1.5)
    lines = report.table(local_figures(), groups, "awsllm avx512")
    assert lines[2] == "| one stream, tokens/s | 28 | 20 | 9 | 1.50 (1.40 to 2.00) | at least 1.3: met |"
    assert lines[6].startswith("| process start to first token, s | 1.50 | 1.50 |  | 1.00 (0.75 to 1.50) | at most 1.0")
    alone = report.table({"decode1": {"awsllm avx512": [30.0]}}, {}, "awsllm avx512")
    assert alone[2] == "| one stream, tokens/s | 30 |"


def test_agreement_with_float32_is_that_of_the_formula(tmp_path: Path) -> None:
    exact = np.log(np.array([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]])) + 3  # logits are known but for a constant
    other = np.log(np.array([[0.25, 0.5, 0.25], [0.2, 0.2, 0.6]]))
    quality.save(iter([exact]), tmp_path / "reference.npy")
    found = quality.beside(iter([other[:1], other[1:]]), tmp_path / "reference.npy")
    assert found["top1"] == 0.5
    assert found["kl"] == pytest.approx(0.5 * (0.5 * math.log(2) - 0.25 * math.log(2)), rel=1e-5)
    with pytest.raises(ValueError, match="has 2 tokens, not 1"):
        quality.beside(iter([other[:1]]), tmp_path / "reference.npy")


def test_a_worker_does_what_lines_ask_for_and_says_why_it_failed() -> None:
    program = (
        "from benchmarks.local.serving import answer\n"
        "class Double:\n"
        "    def describe(self): return {'name': 'double'}\n"
        "    def double(self, number): print('noise'); return 2 * number\n"
        "answer(Double())"
    )
    contender = contenders.Contender("double", "double", [sys.executable, "-c", program])
    with contenders.Worker(contender) as worker:
        assert worker.about == {"name": "double"}
        assert worker.do("double", number=21) == 42
        with pytest.raises(RuntimeError, match=r"(?s)double failed: .*no attribute 'halve'"):
            worker.do("halve", number=2)


@pytest.mark.skipif(library.kernels() is None, reason="no kernel for this processor, or no compiler")
@pytest.mark.parametrize("name", ["llama-tied", "olmo2", "gemma2", "qwen3-moe"])
@pytest.mark.parametrize("rows", [1, 16])
def test_the_profile_knows_every_phase_of_a_step(name: str, rows: int, tmp_path: Path) -> None:
    """Each phase that was gone through has chunks that are done, whether it is profiled or not."""
    random_models.write(name, tmp_path)
    config, tensors = model.configure(weights.read(tmp_path))
    found = library.kernels()
    assert found is not None
    decoder = KernelDecoder(packing.packed(config, tensors), found, threads=1)
    decoder.forward([Chunk([5], decoder.new_cache(8)) for _ in range(rows)])
    team = decoder._team.struct
    walked = (phases.Phase * team.phase_count).from_address(team.phases)
    assert sum(phase.done > 0 for phase in walked) == len(list(phases.names(decoder.config, rows)))


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_the_engine_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "TASKS", {"decode4": ("decode", {"streams": 4, "tokens": 2, "context": 4})})
    ours = contenders.own(Store().path("smollm2-135m-instruct"), 1)[0]
    with contenders.Worker(ours) as worker:
        figures, cpu = local.race([worker], rounds=2)
        quality_of = local.agreement(
            [worker], worker.do("tokens", text="It was a dark and stormy night. " * 9, count=60)
        )
    assert [len(values[ours.key]) for values in (figures["decode4"], cpu["decode4"])] == [2, 2]
    assert quality_of[ours.key]["tokens"] == 60
    assert quality_of[ours.key]["kl"] < 0.05
    started = contenders.start(ours)
    assert 0 < started["private_mb"] < started["peak_mb"]
