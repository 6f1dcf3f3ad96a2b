"""The benchmarks run: each case of awsllm and of raw boto3 gives its figure. What the figures are is no test's
business."""

import sys
from pathlib import Path

import pytest

from benchmarks import lambdas, server, speech
from benchmarks.__main__ import CASES, PEERS, measure, stub, table
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
    assert all("(1.00)" in line for line in lines[2:])  # boto3's ratio to itself


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
