"""One measurement of one client, in a process of its own: ``python worker.py PEER CASE``; prints a JSON object.

Runs inside the peer's environment, so it imports nothing but the standard library and ``peers/PEER.py``, which offers
``make()``, ``call(client)``, ``stream(client) -> number of events`` and ``many(client, calls, in_flight)``.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

WARMUP, CALLS, STREAMS, MANY, IN_FLIGHT = 20, 200, 3, 1500, 256


def first(peer: Any) -> dict[str, float]:
    peer.call(peer.make())
    return {"cpu_ms": time.process_time() * 1e3}  # of the whole process, interpreter included


def call(peer: Any) -> dict[str, float]:
    client = peer.make()
    for _ in range(WARMUP):
        peer.call(client)
    begin = time.process_time()
    for _ in range(CALLS):
        peer.call(client)
    return {"cpu_ms": (time.process_time() - begin) / CALLS * 1e3}


def stream(peer: Any) -> dict[str, float]:
    client = peer.make()
    peer.stream(client)
    begin = time.process_time()
    events = sum(peer.stream(client) for _ in range(STREAMS))
    return {"cpu_us": (time.process_time() - begin) / events * 1e6}


def many(peer: Any) -> dict[str, float]:
    client = peer.make()
    peer.many(client, IN_FLIGHT, IN_FLIGHT)
    begin, before = time.perf_counter(), time.process_time()
    peer.many(client, MANY, IN_FLIGHT)
    cpu = time.process_time() - before
    return {"calls_per_s": MANY / (time.perf_counter() - begin), "cpu_ms": cpu / MANY * 1e3}


def main() -> None:
    name, case = sys.argv[1:]
    sys.path.insert(0, str(Path(__file__).parent / "peers"))
    result = globals()[case](importlib.import_module(name))
    result["rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(result))


if __name__ == "__main__":
    main()
