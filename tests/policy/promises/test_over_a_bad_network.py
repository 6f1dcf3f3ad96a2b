"""All promises at once, over a network that misbehaves, with numbers: nothing is lost, nothing is paid for twice that
the caller did not ask for twice, nothing outlives its deadline. ``-s`` shows the table; ``python -m
benchmarks.promises`` is the long form."""

from __future__ import annotations

import pytest

from benchmarks.promises import FAULTS, WAYS, applies, table, tried

CALLS = {"stalled": 4, "all of it": 6}
HARMLESS = {"none", "latency and jitter", "pieces of 7 bytes", "a slow line"}
PATIENCE = 2.0  # seconds over a deadline, on a machine that has much else to do; the table shows what it is


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_lost_or_doubled(fault: str) -> None:
    found = [tried(fault, way, CALLS.get(fault, 8)) for way in WAYS if applies(fault, way)]
    print("\n" + table(found))
    for row in found:
        assert not row.lost, row
        assert row.answered == row.made, row
        assert row.doubled == 0, row
        assert row.over < PATIENCE, row
        assert not (fault in HARMLESS and row.resent), row
    streamed = [row.resent for row in found if "stream" in row.way]
    assert fault in HARMLESS | {"a storm of 429"} or sum(streamed) > 0  # it did happen
