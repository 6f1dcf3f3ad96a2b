"""Two processes, each with half of every weight, make the model that one makes."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from awsllm.engine.train import decoder, lora, recipe
from awsllm.engine.train.recipe import Hyperparameters, TrainingRecipe
from awsllm.engine.train.run import TrainingStep, checkpoints, train
from awsllm.engine.train.sample_files import write_samples
from awsllm.engine.train.samples import Batching, Sample
from tests.support import random_models

pytestmark = pytest.mark.slow
MAIN = """
from pathlib import Path
from awsllm.engine.train import distributed

sys.exit(distributed.main(Path(sys.argv[1])))
"""
STOPPING = f"""
import sys, time
from awsllm.engine.train import distributed

class Stopping(distributed.ShardedCrew):
    def dealt(self, objective):
        dealt = super().dealt(objective)
        real, seen = dealt.loss, []
        def loss(*given):
            seen.append(given)
            if len(seen) > 4 and self.steps() >= 3:
                time.sleep(600)
            return real(*given)
        dealt.loss = loss
        return dealt

    def steps(self):
        from pathlib import Path
        return 3 if list(Path(sys.argv[1]).glob("checkpoint-00000003*")) else 0

distributed.ShardedCrew = Stopping
{MAIN}
"""
SAMPLES = [Sample([3 + n, 50 + n, 60 + n, 70 + n, 2], [False, False, True, True, True]) for n in range(9)]


def together(folder: Path, planned: TrainingRecipe) -> list[float]:
    folder.mkdir(exist_ok=True)
    recipe.write(folder / "recipe.json", planned)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
               "awsllm.engine.train.distributed", str(folder)]  # fmt: skip
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    return [float(loss) for loss in re.findall(r"loss ([\d.]+)", done.stdout)]


def planned(folder: Path, method: recipe.Method) -> TrainingRecipe:
    """Of nine rows in pairs the last stands alone, so that one process has none."""
    random_models.write("llama-tied", folder / "base")
    write_samples(folder / "samples.jsonl", SAMPLES)
    return TrainingRecipe(
        method=method,
        base=str(folder / "base"),
        samples=str(folder / "samples.jsonl"),
        held_out=str(folder / "samples.jsonl"),
        batching=Batching(rows=2, length=12, packed=False),
        hyperparameters=Hyperparameters(
            steps=6, learning_rate=5e-3, save_every=3, evaluate_every=3, schedule="constant"
        ),
    )


def test_two_processes_are_as_one(tmp_path: Path) -> None:
    asked = planned(tmp_path, "full")
    steps: list[TrainingStep] = []
    alone = train(tmp_path / "alone", asked, steps.append)
    assert together(tmp_path / "two", asked) == pytest.approx([step.loss for step in steps], rel=1e-4)
    assert alone.model is not None
    expected, found = decoder.load(alone.model), decoder.load(tmp_path / "two" / "result" / "model")
    for name, value in expected.named_parameters():
        torch.testing.assert_close(found.get_parameter(name), value, rtol=2e-3, atol=2e-4)


def test_two_processes_go_on_with_what_one_began(tmp_path: Path) -> None:
    asked = planned(tmp_path, "lora")
    steps: list[TrainingStep] = []
    train(tmp_path / "alone", asked, steps.append)

    class Killed(BaseException):
        pass

    def kill(step: TrainingStep) -> None:
        if step.number == 4:  # what is told comes before its checkpoint
            raise Killed

    with pytest.raises(Killed):
        train(tmp_path / "two", asked, kill)
    assert [path.name for path in checkpoints(tmp_path / "two")] == ["checkpoint-00000003"]
    assert together(tmp_path / "two", asked) == pytest.approx([step.loss for step in steps[3:]], rel=1e-4)
    assert lora.read_config(tmp_path / "two" / "result" / "adapter")[0] == asked.lora


def test_a_process_that_dies_is_told_and_the_training_goes_on(tmp_path: Path) -> None:
    """One of two is killed between steps: the other says so and ends, and one alone finishes what both began."""
    asked = planned(tmp_path, "lora")
    steps: list[TrainingStep] = []
    train(tmp_path / "alone", asked, steps.append)
    folder = tmp_path / "two"
    folder.mkdir()
    recipe.write(folder / "recipe.json", asked)
    port = free_port()
    first, second = begun(folder, 0, port), begun(folder, 1, port)
    assert first.stdout is not None
    for line in first.stdout:
        if "step 3 of" in line:
            break
    until = time.monotonic() + 60
    while not checkpoints(folder) and time.monotonic() < until:
        time.sleep(0.05)
    second.kill()
    told = first.communicate(timeout=120)[1]
    second.communicate(timeout=60)
    assert first.returncode == 75, told
    assert "another process of this training is gone" in told
    assert "after step 3" in told
    rest: list[TrainingStep] = []
    train(folder, asked, rest.append)
    assert [step.loss for step in rest] == pytest.approx([step.loss for step in steps[-len(rest) :]], rel=1e-4)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def begun(folder: Path, number: int, port: int) -> subprocess.Popen[str]:
    """One of two processes, as torchrun begins them. The second pauses before its fourth step, to be killed there."""
    code = STOPPING if number else "import sys\n" + MAIN
    own = {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
           "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}  # fmt: skip
    command = [sys.executable, "-c", code, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | own)
