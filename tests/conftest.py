"""What every test gets: an AWS configuration of its own, and no network beyond this machine."""

from __future__ import annotations

import gc
import ipaddress
import mmap
import os
import signal
import socket
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from tests.support.leaks import WATCH, watching

if TYPE_CHECKING:
    from tests.support.watched_aws import WatchedAws

settings.register_profile("awsllm", deadline=None)  # a busy machine is no failure
settings.load_profile("awsllm")

# A core for each worker: threads that wait for each other across two busy workers are many times slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Where the tests run in the background these are ignored, and so by the programs that they start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):  # not on Windows
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


# --- the collector ---------------------------------------------------------------------------------------------------
# Twenty thousand tests are three million objects, which live to the end. While they come into being none of them is
# garbage, and afterwards the collector need not look at them: a full collection takes seconds with them, milliseconds
# without. What comes later (services' models, moto's accounts) is many objects too, half a second to look through, so
# that memory rather than their number says when: of models' weights it is the better measure anyway.

_GROWTH = 256 * 2**20  # bytes
_SELDOM = (10_000, 10, 100)  # Python's own are 700, 10, 10
_after_collection = 0


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    gc.disable()
    gc.set_threshold(*_SELDOM)
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.collect()  # of few objects: how many those are decides when the next full collection comes
        gc.enable()


def pytest_runtest_logfinish() -> None:
    global _after_collection
    if resident() > _after_collection + _GROWTH:
        gc.collect()
        _after_collection = resident()


def resident() -> int:
    """Bytes of memory that this process holds; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * mmap.PAGESIZE
    except OSError:
        return 0


# --- what every test gets --------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def clean_aws_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of whoever runs the tests reaches them: no profile, region, key, endpoint, proxy or CA bundle."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy") or name in {"REQUESTS_CA_BUNDLE", "AWSLLM_MODEL"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWSLLM_CONFIG", "")  # no awsllm.toml
    monkeypatch.setenv("AWSLLM_JOBS", str(tmp_path.with_name(f"{tmp_path.name}-jobs")))


@pytest.fixture(autouse=True, scope="session")
def loopback_only() -> Iterator[None]:
    """A test that reaches for another machine fails and says so."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and isinstance(address, tuple):
            host = str(address[0])
            if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
                raise AssertionError(f"a test tried to reach {host}: tests are offline")
        connect(self, address)  # type: ignore[arg-type]

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", guarded)
    yield
    patch.undo()


@pytest.fixture(autouse=True, scope="session")
def service_models_are_read_once() -> Iterator[None]:
    from tests.support.service_models import reading_once

    with reading_once():
        yield


@pytest.fixture(autouse=True, scope="session")
def listening_for_secrets() -> Iterator[None]:
    with watching():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """A test that tells a secret fails, once all of it is over."""
    report = yield
    if call.when != "teardown":
        return report
    for name, text in report.sections:
        WATCH.hear(name, text)
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    if folder is not None:
        WATCH.hear_files(folder)
    leaks = [] if item.get_closest_marker("tells_secrets") else WATCH.leaks()
    WATCH.clear()
    if leaks and report.passed:
        report.outcome = "failed"
        report.longrepr = "a secret was told: " + "; ".join(leaks)
    return report


@pytest.fixture
def new_aws() -> Iterator[Callable[..., WatchedAws]]:
    """``tests.support.watched_aws``, entered for the rest of the test when called."""
    from tests.support.watched_aws import watched_aws

    with ExitStack() as stack:

        def enter(**options: Any) -> WatchedAws:
            made: WatchedAws = stack.enter_context(watched_aws(**options))
            return made

        yield enter
