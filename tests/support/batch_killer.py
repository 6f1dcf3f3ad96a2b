"""A batch that is killed (SIGKILL, as ``kill -9``) at each of many points, and gone on with: run as a program, in a
process of its own, which forks one for each life of a batch.

A point is each statement of SQLite, each few steps within one (its progress handler), each call of the model before and
after its answer, and each time the output is to be synced. Nothing is synced here, which only a power cut would tell
from a kill. Prints what was wrong, and how many points there were.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from awsllm.jobs.batch import ledger
from awsllm.jobs.batch.caller import BatchCaller
from awsllm.jobs.batch.start import Placement, start
from awsllm.models.knowledge import Knowledge
from awsllm.types import ConverseResponse, Message

RECORDS = 24
_MODEL = "local:made-up"
_STEPS = 40  # of SQLite's machine, between two points


def source(folder: Path) -> Path:
    path = folder / "in.jsonl"
    path.write_text("".join(json.dumps({"id": f"k{n}", "text": f"word {n}"}) + "\n" for n in range(RECORDS)))
    return path


def live(folder: Path, point: Callable[[], None]) -> None:
    """One life of the batch; ``point`` is called at each, and may not return."""
    connect = sqlite3.connect
    ledger._SCHEMA = ledger._SCHEMA.replace("synchronous=FULL", "synchronous=OFF")

    def connected(*given: Any, **named: Any) -> sqlite3.Connection:
        base: sqlite3.Connection = connect(*given, **named)
        base.set_trace_callback(lambda _: point())
        base.set_progress_handler(lambda: point(), _STEPS)
        return base

    def synced(file: int) -> None:
        point()

    def converse(model: str, messages: str, **options: Any) -> ConverseResponse:
        with (folder / "calls").open("a") as file:
            file.write(f"{messages}\n")
        point()
        if messages.endswith("word 5"):
            raise ValueError("a record that nothing can answer")
        answer = ConverseResponse(message=Message.assistant(messages.upper()), stop_reason="end_turn", cost=0.25)
        point()
        return answer

    sqlite3.connect, os.fsync = connected, synced  # type: ignore[assignment]
    caller = BatchCaller(_MODEL, converse, Knowledge(), lambda region: None, pause=0.0)  # type: ignore[arg-type, return-value]
    placed = Placement(folder / "out.jsonl", "say {text}", "calls")
    start(caller, folder / "in.jsonl", placed, {"concurrency": 2}).result(30)


def in_a_child(work: Callable[[], None]) -> int:
    """What ended it: 0, or the signal."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:  # told to the parent by its status
            print(type(error).__name__, error, file=sys.stderr)
            os._exit(1)
    return os.waitpid(child, 0)[1]


def killed_at(number: int) -> Callable[[], None]:
    count = 0

    def point() -> None:
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return point


def wrong(folder: Path) -> str | None:
    """What is wrong with the output, if anything is."""
    rows = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    if [row["id"] for row in rows] != [f"k{n}" for n in range(RECORDS)]:
        return "records are lost, doubled or out of order"
    for number, row in enumerate(rows):
        if number == 5 and "answer" not in row and row["answer_error"].startswith("ValueError"):
            continue
        if row.get("answer") != f"SAY WORD {number}":
            return f"record {number} has another's answer, or none"
    calls = (folder / "calls").read_text().splitlines()
    return None if len(calls) <= RECORDS + 5 else f"{len(calls)} calls for {RECORDS} records"  # what was in flight


def points(folder: Path) -> int:
    """How many points a life without a kill has."""
    source(folder)
    counted = folder / "points"
    total = 0

    def point() -> None:
        nonlocal total
        total += 1

    def whole() -> None:
        live(folder, point)
        counted.write_text(str(total))

    assert in_a_child(whole) == 0
    return int(counted.read_text())


def killed(place: Path, number: int) -> tuple[Path, int]:
    """A life that ended at a point: ``number``, or one before where that life had fewer, for it made more at once."""
    while True:
        place.mkdir()
        source(place)
        if in_a_child(functools.partial(live, place, killed_at(number))) == signal.SIGKILL:
            return place, number
        place, number = place.with_name(f"{place.name}-again"), max(1, number * 9 // 10)


def main(folder: Path, lives: int) -> None:
    base = folder / "whole"
    base.mkdir()
    total = points(base)
    told, kills = wrong(base), 0
    for index in range(lives):
        if told is not None:
            break
        place, number = killed(folder / str(index), 1 + index * total // lives)
        kills += 1
        status = in_a_child(lambda place=place: live(place, lambda: None))  # type: ignore[misc]
        found = f"it ended with {status}" if status else wrong(place)
        told = None if found is None else f"killed at point {number} of {total}: {found}"
    print(json.dumps({"wrong": told, "points": total, "kills": kills}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
