"""A Runtime API that tests hand invocations to, and the processes that take them: AWS's client or awsllm's loop."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from awsllm.lambdas.emulator.runtime_api import Invoked, RuntimeApi

PATIENCE = 60.0  # seconds; a busy machine is no failure
AWS = "awslambdaric"
OWN = "awsllm.lambdas.runtime"

__all__ = ["AWS", "OWN", "PATIENCE", "Invoked", "RuntimeApi", "runtime"]


@contextlib.contextmanager
def runtime(
    api: RuntimeApi, handler: str, *, client: str = OWN, path: Path | None = None, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A process that answers ``api``'s invocations with ``handler``, whose module may lie in ``path``."""
    paths = [str(place) for place in (path, os.environ.get("PYTHONPATH")) if place]
    variables = {**os.environ, **api.environment(handler), "PYTHONPATH": os.pathsep.join(paths), **(env or {})}
    process = subprocess.Popen(
        [sys.executable, "-m", client, handler],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
