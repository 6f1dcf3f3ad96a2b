"""What is fuzzed, and how one input is tried.

A ``Target`` reads foreign bytes. Whatever they are, it reads them or raises one of the errors that it promises
(``refusals``): another exception, more than ``SECONDS``, or the end of the process is a fault.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

SECONDS = 10.0  # of processor time: what takes longer hangs, as inputs are short, and each takes milliseconds
_ASLEEP = 30  # times as long may it take by the clock: another process has the processor, or it waits for something
FOUND = Path(__file__).with_name("found")
"""Inputs that showed a fault once, ``TARGET/NAME``: they are tried ever after."""


class Target(NamedTuple):
    """``seeds`` gives inputs that are read without an error; mutations begin there."""

    name: str
    seeds: Callable[[], list[bytes]]
    read: Callable[[bytes], Any]
    refusals: tuple[type[BaseException], ...]


class HangError(BaseException):
    """A target did not come to an end; no ``Exception``, so that no target takes it for one of its own."""


def try_input(target: Target, data: bytes) -> None:
    """Raises what a target must not raise."""
    with _ended_after(SECONDS), suppress(*target.refusals):
        target.read(data)


@contextmanager
def _ended_after(seconds: float) -> Iterator[None]:
    if not hasattr(signal, "setitimer"):  # Windows has none
        yield
        return

    def ring(*_: object) -> None:
        raise HangError(f"not read within {seconds:g} seconds")

    timers = ((signal.SIGPROF, signal.ITIMER_PROF, seconds), (signal.SIGALRM, signal.ITIMER_REAL, seconds * _ASLEEP))
    before = [signal.signal(number, ring) for number, _, _ in timers]
    for _, timer, least in timers:
        signal.setitimer(timer, least)
    try:
        yield
    finally:
        for (number, timer, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


def found(target: Target) -> list[Path]:
    return sorted((FOUND / target.name).glob("*"))
