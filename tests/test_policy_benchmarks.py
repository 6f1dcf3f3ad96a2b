"""The soak, the simulated quota and the policy's cost: they run, and they notice what they are there to notice. What
the figures are is no test's business."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from benchmarks import policy, soak
from benchmarks.numbered import Seen, answer_text
from benchmarks.quota import __main__ as quotas
from benchmarks.quota.service import Service

# --- the soak --------------------------------------------------------------------------------------------------------


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")


@pytest.mark.slow
@pytest.mark.usefixtures("keys")
def test_a_short_soak_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    todo, tally, report = soak.soak(160, share=0.08, seed=1)
    assert soak.told(todo, tally, report), capsys.readouterr().out
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("calls 160, wrong 0, resent ")
    assert last.endswith(", lost 0")
    assert report["requests"] >= 160


def sound() -> tuple[list[soak.Phase], soak.Tally, dict[str, Any]]:
    """What a soak finds where all is well."""
    tally = soak.Tally(4)
    tally.done = 4
    return soak.phases(4), tally, {"requests": 4, "faults": {}, "ran": {}}


def wrong(todo: list[soak.Phase], tally: soak.Tally, report: dict[str, Any]) -> None:
    tally.wrong.append("3: another answer")


def lost(todo: list[soak.Phase], tally: soak.Tally, report: dict[str, Any]) -> None:
    tally.lost.append("3: KeyError")


def unmade(todo: list[soak.Phase], tally: soak.Tally, report: dict[str, Any]) -> None:
    tally.done = 3


def paid_twice(todo: list[soak.Phase], tally: soak.Tally, report: dict[str, Any]) -> None:
    report["ran"] = {"2": 2}


def grown(todo: list[soak.Phase], tally: soak.Tally, report: dict[str, Any]) -> None:
    todo[1].growth = 50.0


def left_open(todo: list[soak.Phase], tally: soak.Tally, report: dict[str, Any]) -> None:
    todo[2].left = "3 sockets"


@pytest.mark.parametrize("trouble", [wrong, lost, unmade, paid_twice, grown, left_open])
def test_a_soak_that_finds_trouble_fails(trouble: Any, capsys: pytest.CaptureFixture[str]) -> None:
    found = sound()
    assert soak.told(*found)
    trouble(*found)
    assert not soak.told(*found)


def test_what_was_asked_again_explains_a_second_generation() -> None:
    _, tally, report = sound()
    report["ran"] = {"2": 2, "3": 3}
    tally.resends[2] = tally.resends[3] = 1
    assert [line.partition(":")[0] for line in soak.doubled(report, tally)] == ["3"]
    tally.resumed[3] = 1
    assert not soak.doubled(report, tally)


def test_an_answer_to_another_number_is_seen() -> None:
    class Answer:
        text, stop_reason = answer_text(8), "end_turn"

    assert soak.check(8, Answer)
    assert not soak.check(12, Answer)


def test_faults_are_a_share_and_can_be_repeated() -> None:
    def drawn(seed: int) -> list[str]:
        seen = Seen(share=0.05, seed=seed)
        return [seen.fault(number, ("reset", "cut"))[0] for number in range(2000)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert 60 < sum(map(bool, drawn(1))) < 140


# --- the simulated quota ---------------------------------------------------------------------------------------------


def request(number: int, tokens: int, most: int) -> dict[str, Any]:
    text = f"#{number}# ".ljust(tokens * 4, "a")
    return {"messages": [{"content": [{"text": text}]}], "inferenceConfig": {"maxTokens": most}}


def test_the_service_reserves_and_settles_as_bedrock_does() -> None:
    service = Service(requests=10, tokens=1000, speed=1e-9)  # whose bucket does not fill within the test
    taken = service.answer(request(1, 300, 500))
    assert taken is not None
    assert service.answer(request(2, 300, 0)) is None  # 200 are left
    reply = json.loads(taken[1])
    wanted, read, output = taken[2]
    assert (wanted, read) == (800, 300)
    assert reply["usage"]["outputTokens"] == output <= 500
    service.settle(wanted, read, 20)
    assert service.answer(request(3, 600, 1)) is None  # 1000 - 300 - 5 * 20 = 600
    assert service.answer(request(4, 599, 1)) is not None
    assert service.report()["throttled"] == 2


def test_requests_a_minute_are_kept_too() -> None:
    service = Service(requests=2, tokens=1e9, speed=1e-9)
    assert [service.answer(request(number, 20, 1)) is not None for number in range(3)] == [True, True, False]


@pytest.mark.slow
def test_a_contender_runs_by_the_fast_clock() -> None:
    contender = next(each for each in quotas.CONTENDERS if each.title == "awsllm, one limit shared by a file")
    found = quotas.run(contender, sys.executable, minutes=0.15, speed=20)
    assert found["throttles"] == 0
    assert found["answered"] > 0
    assert quotas.table({"us": found}).count("\n") == 2


# --- the policy's cost -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("keys")
def test_each_part_is_measured() -> None:
    told = policy.ratios(policy.measure(rounds=2, calls=3))
    assert told["plain"][1:] == (1.0, 1.0, 1.0)
    assert {"group", "budget", "ledger", "cache, a miss", "limits", "telemetry, no SDK", "all"} < set(told)
    assert all(cost > 0 for cost, *_ in told.values())
    assert policy.table(told).count("\n") == len(told) + 1
