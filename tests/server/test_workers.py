"""Several processes at one port."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from awsllm.errors import ConfigurationError
from awsllm.policy.keys import create, write_keys
from awsllm.server.workers import supervise

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SO_REUSEPORT")

PROGRAM = """
import sys
from awsllm.server.workers import supervise

if __name__ == "__main__":
    models = {"model": "bedrock:amazon.nova-lite-v1:0", "embed_model": "bedrock:amazon.titan-embed-text-v2:0"}
    files = {"keys": sys.argv[1], "usage": sys.argv[2]}
    supervise(2, port=0, account=False, ready=lambda server: print(server.url, flush=True), **models, **files)
    print("ended", flush=True)
"""


@contextmanager
def serving(folder: Path, keys: list[Any]) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    write_keys(folder / "keys.toml", keys)
    program = folder / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, str(program), str(folder / "keys.toml"), str(folder / "usage.db")]
    environment = {**os.environ, "AWS_REGION": "us-east-1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


def children(process: subprocess.Popen[str]) -> set[int]:
    """The workers: children of a process that serve, as Linux tells them."""
    found = set()
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        found |= {int(pid) for pid in (task / "children").read_text().split()}
    return {pid for pid in found if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()}


def until(true: Callable[[], Any]) -> Any:
    for _ in range(1200):
        try:
            if found := true():
                return found
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def models(url: str, secret: str) -> Any:
    request = urllib.request.Request(f"{url}/v1/models", headers={"Authorization": f"Bearer {secret}"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.loads(reply.read())


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc")
def test_a_worker_that_dies_is_started_anew_and_a_signal_ends_all(tmp_path: Path) -> None:
    key, secret = create()
    with serving(tmp_path, [key]) as (url, process):
        before = children(process)
        assert len(before) == 2
        assert models(url, secret)["object"] == "list"
        os.kill(min(before), signal.SIGKILL)
        until(lambda: len(children(process)) == 2 and min(before) not in children(process))
        for _ in range(20):
            assert until(lambda: models(url, secret))["object"] == "list"
        running = children(process)
        process.send_signal(signal.SIGHUP)  # files are read anew, and nobody ends
        for _ in range(10):
            assert models(url, secret)["object"] == "list"
        assert children(process) == running
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=60)[0] == "ended\n"
    assert process.returncode == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in before)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "--no-account"),
        ({"account": False, "backend": object()}, "cannot be shared"),
        ({"account": False, "keys": "keys.toml"}, "--usage"),
        ({"account": False, "host": "192.0.2.1"}, "other machines"),
    ],
)
def test_what_workers_cannot_share_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        supervise(2, **settings)


def test_what_is_wrong_with_a_worker_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    with pytest.raises(ConfigurationError, match=r"keys\.toml cannot be read"):
        supervise(
            2,
            port=0,
            account=False,
            model="bedrock:amazon.nova-lite-v1:0",
            embed_model="bedrock:x",
            keys=tmp_path / "keys.toml",
            usage=tmp_path / "usage.db",
        )
