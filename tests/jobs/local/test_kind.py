"""Jobs of this machine: a process that outlives whoever began it, is taken up after a kill, stopped, and read."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from awsllm.errors import ConfigurationError, DeploymentError, UnsupportedError, ValidationError
from awsllm.jobs.data.training import read_training_data
from awsllm.jobs.job import JobPlan, follow
from awsllm.jobs.local.folder import JobFolder, LocalState
from awsllm.jobs.local.kind import INTERRUPTED, LocalJob, LocalJobs, nowhere
from awsllm.jobs.local.planning import LocalTraining, lay_out, plan_local, training_of
from awsllm.jobs.local.worker import failure_of
from awsllm.jumpstart.deploy.progress import Pace, Progress

DATA = read_training_data([{"prompt": f"{n}?", "completion": f"{n}!"} for n in range(10)])
PACE = Pace(poll=0.02)
PATIENCE = 60.0


@pytest.fixture
def jobs(tmp_path: Path) -> LocalJobs:
    return LocalJobs(tmp_path / "jobs", (sys.executable, "-m", "tests.support.stand_in_trainer"))


def plan(**options: Any) -> JobPlan:
    named = {name: options.pop(name) for name in ("name", "attempt") if name in options}
    return plan_local("local:base", "/models/base.gguf", DATA, LocalTraining(**options), **named)


def begin(jobs: LocalJobs, made: JobPlan | None = None, allowed: int = 99, **how: Any) -> LocalJob:
    made = made or plan(name="mine")
    lay_out(jobs, made, DATA)
    allow(jobs, allowed, made.name)
    return follow(LocalJob(jobs, made.name, pace=PACE, **how), made)


def allow(jobs: LocalJobs, steps: int, name: str = "mine") -> None:
    (jobs.folder(name).path / "allowed").write_text(str(steps))


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def reached(folder: JobFolder, step: int) -> bool:
    state = folder.state()
    return state is not None and state.step >= step


def worker_of(folder: JobFolder) -> int:
    """The process that holds the lock, by what the system says of it."""
    inode = (folder.path / "lock").stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if words[1] == "FLOCK" and words[5].endswith(f":{inode}"):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    told = (process / "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if os.fsencode(folder.path) in told:
                    return int(process.name)
    raise AssertionError("nobody works here")


def test_from_the_plan_to_the_result(jobs: LocalJobs) -> None:
    seen: list[Progress] = []
    job = begin(jobs, on_progress=seen.append)
    tuned = job.result(PATIENCE)
    assert tuned.model == f"local:{jobs.folder('mine').path}/result/model"
    assert (tuned.base, tuned.where, tuned.metrics) == ("local:base", "local", {"loss": 0.2})
    assert job.cost is not None
    assert job.cost.per_hour == 0
    assert [one["number"] for one in job.metrics()] == [1, 2, 3, 4, 5]
    assert seen[-1].detail.startswith("step 5 of 5; loss 0.2")
    assert any("step 3 of 5: loss 0.3333" in line.text for line in job.logs())
    assert begin(jobs).result(PATIENCE) == tuned  # found, not made again
    assert [one.name for one in jobs.list(nowhere)] == ["mine"]
    assert list(jobs.list(nowhere, status="Failed")) == list(jobs.list(nowhere, contains="other")) == []
    assert (jobs.folder("mine").path.stat().st_mode & 0o077) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the process is found in /proc")
def test_a_killed_process_is_taken_up_where_it_was(jobs: LocalJobs) -> None:
    job = begin(jobs, allowed=3)
    folder = job.folder
    until(lambda: reached(folder, 3))
    os.kill(worker_of(folder), signal.SIGKILL)
    until(lambda: not folder.is_worked_on)
    assert job.state().phase == INTERRUPTED
    with (folder.path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"number": 4, "lo')  # what a kill leaves of a line
    allow(jobs, 99)
    assert LocalJob(jobs, "mine", pace=PACE).result(PATIENCE).metrics == {"loss": 0.2}
    assert [one["number"] for one in folder.metrics()] == [1, 2, 3, 4, 5]


def test_one_process_works_whoever_looks(jobs: LocalJobs) -> None:
    job = begin(jobs, allowed=1)
    until(lambda: reached(job.folder, 1))
    for _ in range(3):
        jobs.revive("mine")
        assert not LocalJob(jobs, "mine", pace=PACE).done()
    assert sum("begins" in line.text for line in job.logs()) == 1
    allow(jobs, 99)
    job.wait(PATIENCE)


def test_stopped_and_gone_on_with(jobs: LocalJobs) -> None:
    job = begin(jobs, allowed=2)
    until(lambda: reached(job.folder, 2))
    assert job.stop()
    with pytest.raises(DeploymentError, match=r"was stopped: somebody asked for it; `awsllm jobs resume .*checkpoint"):
        job.result(PATIENCE)
    assert not [fact for fact in job.state().facts if "left" in fact]
    assert not job.stop()
    allow(jobs, 99)
    job.restart()
    assert job.result(PATIENCE).metrics == {"loss": 0.2}


def test_one_that_nobody_works_on_is_stopped_at_once(jobs: LocalJobs) -> None:
    folder = jobs.folder("other")
    folder.path.mkdir(parents=True)
    folder.write_state(LocalState(status="InProgress", created=1.0))
    assert LocalJob(jobs, "other").stop()
    assert LocalJob(jobs, "other").state().outcome == "stopped"


def test_a_process_that_always_dies_is_given_up(jobs: LocalJobs) -> None:
    made = plan(name="mine")
    lay_out(jobs, made, DATA)
    (jobs.folder("mine").path / "fault").write_text("kill")
    job = begin(jobs, made)
    with pytest.raises(DeploymentError, match="died 3 times without a step"):
        job.result(PATIENCE)


@pytest.mark.parametrize(
    ("fault", "said"),
    [("ours", "the base cannot be trained"), ("memory", "not memory enough"), ("a secret", "ValueError; its log says")],
)
def test_what_went_wrong_is_told(jobs: LocalJobs, fault: str, said: str) -> None:
    made = plan(name="mine")
    lay_out(jobs, made, DATA)
    (jobs.folder("mine").path / "fault").write_text(fault)
    with pytest.raises(DeploymentError, match=said) as caught:
        begin(jobs, made).result(PATIENCE)
    log = caught.value.__notes__[0]
    assert "stand_in_trainer" in log  # where it was raised
    assert "a secret" not in log + str(caught.value)


def test_reasons_of_the_system() -> None:
    assert failure_of(OSError(28, "No space left on device", "/x")) == "No space left on device (/x)"


@pytest.mark.parametrize("name", ["..", "a/b", "", "a\\b", "a\0b"])
def test_names_lead_nowhere_else(jobs: LocalJobs, name: str) -> None:
    with pytest.raises(ConfigurationError, match="is no name"):
        jobs.folder(name)


def test_a_folder_that_is_another_s(jobs: LocalJobs, tmp_path: Path) -> None:
    folder = jobs.folder("mine")
    folder.path.mkdir(parents=True)
    (folder.path / "state.json").write_text("[")
    with pytest.raises(ConfigurationError, match="does not hold a job's state"):
        LocalJob(jobs, "mine").state()
    with pytest.raises(ConfigurationError, match="there is no local training other"):
        LocalJob(jobs, "other").state()
    blocked = LocalJobs(tmp_path / "jobs" / "mine" / "state.json")
    with pytest.raises(ConfigurationError, match="set AWSLLM_JOBS"):
        lay_out(blocked, plan(), DATA)


# --- plans -----------------------------------------------------------------------------------------------------------


def test_what_follows_from_the_data() -> None:
    few = plan().request["training"]
    assert (few["method"], few["rows"], few["epochs"], few["learning_rate"]) == ("lora", 4, 10.0, 5e-4)
    many = read_training_data([{"prompt": str(n), "completion": "x"} for n in range(1000)])
    found = plan_local("local:base", "/b", many, LocalTraining(steps=7)).request["training"]
    assert (found["rows"], found["epochs"], found["steps"]) == (8, None, 7)
    pairs = read_training_data([{"prompt": "a", "chosen": "b", "rejected": "c"}])
    assert plan_local("local:base", "/b", pairs, LocalTraining()).request["training"]["method"] == "dpo"


def test_the_same_call_is_the_same_job_and_another_is_another() -> None:
    names = {plan().name, plan(epochs=2.0).name, plan(attempt=2).name, plan(seed=1).name}
    assert len(names) == 4
    assert plan().name == plan().name
    assert JobPlan.from_json(plan().to_json()) == plan()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epoch": 3}, r"has no option epoch: did you mean epochs\?"),
        ({"steps": 3, "epochs": 2}, "by steps= or by epochs=, not by both"),
        ({"x": 3}, "has no option x: it has method, epochs, "),
        ({"rows": 0}, "batch_size=0"),  # by the name under which it is given
        ({"rows": "many"}, "batch_size='many' is not a whole number$"),
        ({"schedule": "fast"}, "schedule='fast' is not 'cosine' or 'wsd' or 'linear' or 'constant'$"),
        ({"warm_up": 1.5}, "warm_up=1.5 is not a whole number$"),
        ({"checkpointed": "yes"}, "checkpointed='yes' is not true or false$"),
        ({"learning_rate": 0}, "learning_rate=0"),
        ({"epochs": -1.0}, "epochs=-1"),
        ({"method": "dpo"}, "takes pairs of answers; the data has conversations"),
        ({"method": "magic"}, "magic"),
        ({"evaluate": 2.0}, "evaluate=2.0 cannot be held out"),
    ],
)
def test_options_that_are_none(options: dict[str, Any], said: str) -> None:
    with pytest.raises((ValidationError, UnsupportedError), match=said):
        plan_local("local:base", "/b", DATA, training_of(options))


def test_a_part_is_held_out(jobs: LocalJobs) -> None:
    made = plan(name="mine", evaluate=0.2)
    lay_out(jobs, made, DATA)
    folder = jobs.folder("mine")
    assert [len(path.read_bytes().splitlines()) for path in (folder.data, folder.held_out)] == [8, 2]
    assert json.loads(folder.data.read_bytes().splitlines()[0])["turns"][1]["content"] == "0!"
