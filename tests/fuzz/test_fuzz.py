"""A short run of every fuzzer, the same inputs each time; ``make fuzz`` goes on for as long as one likes."""

import time
from random import Random

import pytest

from tests.fuzz import harness
from tests.fuzz.harness import FOUND, HangError, Target, found, try_input
from tests.fuzz.mutations import mutated
from tests.fuzz.targets import TARGETS

_INPUTS = 120
each_target = pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)


@each_target
def test_seeds_are_read(target: Target) -> None:
    seeds = target.seeds()
    assert seeds
    for seed in seeds:
        target.read(seed)


@each_target
def test_whatever_comes_is_read_or_refused(target: Target) -> None:
    seeds, random = target.seeds(), Random(target.name)
    for _ in range(_INPUTS):
        data = mutated(random, seeds)
        try:
            try_input(target, data)
        except (Exception, HangError) as error:
            raise AssertionError(f"{target.name}: {type(error).__name__} of {data!r}") from error


@each_target
def test_what_was_a_fault_once_is_none_now(target: Target) -> None:
    for path in found(target):
        try_input(target, path.read_bytes())


def test_each_input_that_was_kept_has_its_target() -> None:
    assert {path.name for path in FOUND.iterdir() if path.is_dir()} <= TARGETS.keys()


def test_what_hangs_is_told_by_its_work_and_not_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine lets an input wait; an input that computes without end is a fault."""
    monkeypatch.setattr(harness, "SECONDS", 0.1)

    def spins(data: bytes) -> None:
        while True:
            pass

    with pytest.raises(HangError):
        try_input(Target("spins", lambda: [b"x"], spins, ()), b"")
    try_input(Target("waits", lambda: [b"x"], lambda data: time.sleep(0.3), ()), b"")


def test_a_fault_is_one() -> None:
    def divide(data: bytes) -> None:
        1 / len(data)

    target = Target("divide", lambda: [b"x"], divide, (ValueError,))
    with pytest.raises(ZeroDivisionError):
        try_input(target, b"")
    try_input(target, b"x")
    try_input(Target("refuses", lambda: [b"x"], divide, (ZeroDivisionError,)), b"")
