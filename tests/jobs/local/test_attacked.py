"""Jobs of this machine amid what others do to them: damaged files, moved folders, two at once, no room, no memory."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from awsllm.errors import ConfigurationError, DeploymentError, ValidationError
from awsllm.jobs.data.training import read_training_data
from awsllm.jobs.job import follow
from awsllm.jobs.local import training, worker
from awsllm.jobs.local.folder import JobFolder, LocalState
from awsllm.jobs.local.kind import UNREADABLE, LocalJob, LocalJobs, nowhere
from awsllm.jobs.local.planning import LocalTraining, lay_out, plan_local
from awsllm.jumpstart.deploy.progress import Pace
from tests.jobs.local.test_kind import PATIENCE, allow, begin, jobs, plan, reached, until, worker_of

__all__ = ["jobs"]  # the fixture


def test_a_damaged_state_hides_no_other_job(jobs: LocalJobs) -> None:
    for name in ("good", "bad"):
        jobs.folder(name).path.mkdir(parents=True)
        jobs.folder(name).write_state(LocalState(status="Completed", created=1.0))
    (jobs.folder("bad").path / "state.json").write_text('{"status": "Comp')
    found = {one.name: one for one in jobs.list(nowhere)}
    assert found["good"].status == "Completed"
    assert found["bad"].status == UNREADABLE
    assert "does not hold a job's state" in str(found["bad"].reason)


def test_states_and_metrics_cut_at_any_byte(jobs: LocalJobs) -> None:
    folder = jobs.folder("mine")
    folder.path.mkdir(parents=True)
    folder.write_state(LocalState(status="InProgress", created=5.0, step=3, of=9, result={"model": "m"}))
    folder.add_metrics({"number": 1, "loss": 0.5}, first=True)
    folder.add_metrics({"number": 2, "loss": 0.25}, first=False)
    state, metrics = ((folder.path / name).read_bytes() for name in ("state.json", "metrics.jsonl"))
    for size in range(len(state)):
        (folder.path / "state.json").write_bytes(state[:size])
        with pytest.raises(ConfigurationError, match="does not hold a job's state"):
            LocalJob(jobs, "mine").done()
    for size in range(len(metrics)):
        (folder.path / "metrics.jsonl").write_bytes(metrics[:size])
        assert [one["number"] for one in folder.metrics()] == [1, 2][: metrics[:size].count(b"}")]
        folder.add_metrics({"number": 2, "loss": 0.25}, first=True)
        assert folder.metrics()[-1] == {"number": 2, "loss": 0.25}


def test_a_process_that_cannot_begin_is_not_begun_for_ever(jobs: LocalJobs, tmp_path: Path) -> None:
    began = tmp_path / "began"
    script = f"open({str(began)!r}, 'a').write('x'); raise ImportError"
    broken = LocalJobs(jobs.root, (sys.executable, "-S", "-c", script))
    with pytest.raises(DeploymentError, match="died 3 times without a step"):
        begin(broken).result(PATIENCE)
    assert began.read_text() == "xxx"


def test_a_python_that_is_gone_is_told(jobs: LocalJobs) -> None:
    with pytest.raises(DeploymentError, match=r"no process can be begun .*/nowhere/python \(No such file"):
        begin(LocalJobs(jobs.root, ("/nowhere/python",)))


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """What each of them gave, or raised."""
    barrier, ends = threading.Barrier(len(acts)), [None] * len(acts)

    def act(number: int) -> None:
        barrier.wait()
        try:
            ends[number] = acts[number]()
        except Exception as error:
            ends[number] = error  # type: ignore[call-overload]

    threads = [threading.Thread(target=act, args=(number,)) for number in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    return ends


def test_several_begin_one_job(jobs: LocalJobs) -> None:
    jobs.folder("mine").path.mkdir(parents=True)
    allow(jobs, 99)
    made = plan(name="mine")

    def start() -> Any:
        lay_out(jobs, made, read_training_data(ROWS))
        return follow(LocalJob(jobs, "mine", pace=Pace(poll=0.02)), made).result(PATIENCE)

    ends = at_once(*[start] * 6)
    assert [one.metrics for one in ends] == [{"loss": 0.2}] * 6
    folder = jobs.folder("mine")
    assert sum("begins" in line for line in folder.last_lines(999)) == 1
    assert not list(folder.path.glob("*.part"))


ROWS = [{"prompt": f"{n}?", "completion": f"{n}!"} for n in range(10)]


def test_two_trainings_under_one_name(jobs: LocalJobs) -> None:
    """One has it, with its own data; the other is told."""
    jobs.folder("mine").path.mkdir(parents=True)
    allow(jobs, 99)

    def starting(word: str) -> Callable[[], Any]:
        data = read_training_data([{"prompt": f"{n}?", "completion": word} for n in range(10)])
        made = plan_local("local:base", "/models/base.gguf", data, LocalTraining(), name="mine")

        def start() -> Any:
            lay_out(jobs, made, data)
            follow(LocalJob(jobs, "mine", pace=Pace(poll=0.02)), made).result(PATIENCE)
            return word

        return start

    ends = at_once(starting("red"), starting("blue"))
    [won] = [one for one in ends if isinstance(one, str)]
    [lost] = [one for one in ends if isinstance(one, Exception)]
    assert isinstance(lost, ConfigurationError)
    assert "another local training has the name mine" in str(lost)
    assert won in jobs.folder("mine").data.read_text()


def test_another_lays_out_between_the_two_halves_of_a_start(jobs: LocalJobs) -> None:
    other = read_training_data([{"prompt": "a", "completion": "b"}])
    mine = plan(name="mine")
    lay_out(jobs, mine, read_training_data(ROWS))
    lay_out(jobs, plan_local("local:base", "/models/base.gguf", other, LocalTraining(), name="mine"), other)
    with pytest.raises(ConfigurationError, match="another local training has the name mine"):
        follow(LocalJob(jobs, "mine"), mine)


def test_a_folder_that_was_moved_takes_its_result_along(jobs: LocalJobs, tmp_path: Path) -> None:
    begin(jobs).result(PATIENCE)
    jobs.root.rename(tmp_path / "elsewhere")
    moved = LocalJobs(tmp_path / "elsewhere")
    tuned = LocalJob(moved, "mine").result(PATIENCE)
    assert tuned.model == f"local:{tmp_path}/elsewhere/mine/result/model"
    assert tuned.adapter == f"{tmp_path}/elsewhere/mine/result/adapter"


def completed(jobs: LocalJobs, **state: Any) -> LocalJob:
    folder = jobs.folder("mine")
    folder.path.mkdir(parents=True)
    folder.write_plan(plan(name="mine").request)
    folder.write_state(LocalState(**{"status": "Completed", "created": 50.0, "result": {"model": "/m"}, **state}))
    return LocalJob(jobs, "mine")


@pytest.mark.parametrize(("ended", "seconds"), [(40.0, 0.0), (None, 0.0), (60.0, 10.0)])
def test_clocks_that_were_set_back(jobs: LocalJobs, ended: float | None, seconds: float) -> None:
    assert completed(jobs, ended=ended).result(PATIENCE).seconds == seconds


@pytest.mark.parametrize("content", [None, "", "[1]", '{"base": '])
def test_a_plan_that_is_none_any_more(jobs: LocalJobs, content: str | None) -> None:
    job = completed(jobs, ended=60.0)
    (job.folder.path / "plan.json").unlink() if content is None else (job.folder.path / "plan.json").write_text(content)
    with pytest.raises(ConfigurationError, match=r"plan.json is no plan that can be read"):
        job.result(PATIENCE)


def test_a_plan_of_a_newer_version(jobs: LocalJobs) -> None:
    """What it asks for and is not known here is not left out in silence."""
    folder = jobs.folder("mine")
    folder.path.mkdir(parents=True)
    made = plan(name="mine").request
    folder.write_plan({**made, "training": {**made["training"], "sparkling": True}})
    with pytest.raises(ValidationError, match="has no option sparkling"):
        training.train_in(folder, lambda step: None)
    folder.write_plan({"version": 9})
    with pytest.raises(ConfigurationError, match="does not say what is to be trained"):
        training.train_in(folder, lambda step: None)


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full")
def test_a_full_disk_is_said_in_the_state(jobs: LocalJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = jobs.folder("mine")
    folder.path.mkdir(parents=True)
    folder.write_state(LocalState(created=1.0))
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def full(folder: JobFolder, report: Any) -> Any:
        raise OSError(28, "No space left on device", "/x/weights")

    with io.TextIOWrapper(io.BufferedWriter(io.FileIO("/dev/full", "w"), 1), write_through=True) as log:
        monkeypatch.setattr(sys, "stderr", log)
        assert worker.main([str(folder.path)], full) == 0
        monkeypatch.undo()
    state = folder.state()
    assert state is not None
    assert (state.status, state.reason) == ("Failed", "No space left on device (/x/weights)")


def test_no_room_for_the_state_is_told_to_who_looks(jobs: LocalJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = jobs.folder("mine")
    folder.path.mkdir(parents=True)
    folder.write_state(LocalState(status="InProgress", created=1.0))

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigurationError, match=r"cannot be worked in \(No space left on device\)"):
        LocalJob(jobs, "mine").done()
    assert not list(folder.path.glob("*.part"))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried ..."),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_want_of_memory_whoever_says_it(error: Exception) -> None:
    assert worker.failure_of(error).startswith("there is not memory enough")
    assert worker.failure_of(RuntimeError("shapes")) == "RuntimeError; its log says where"


@pytest.mark.skipif(sys.platform != "linux", reason="the process is found in /proc")
def test_a_process_that_is_held_is_not_begun_beside(jobs: LocalJobs) -> None:
    job = begin(jobs, allowed=1)
    until(lambda: reached(job.folder, 1))
    held = worker_of(job.folder)
    os.kill(held, signal.SIGSTOP)
    try:
        assert not job.done()
        assert job.stop()
        assert job.state().status == "InProgress"  # it has not seen it
    finally:
        os.kill(held, signal.SIGCONT)
    with pytest.raises(DeploymentError, match="was stopped"):
        job.result(PATIENCE)
    assert msgspec.json.decode((job.folder.path / "state.json").read_bytes())["status"] == "Stopped"
