"""A worker's side of the conversation with ``contenders``. Runs in a judge's environment, too: the standard library."""

from __future__ import annotations

import json
import random
import sys
from typing import Any


def answer(worker: Any) -> None:
    """Do what the lines of standard input ask for: ``{"do": METHOD, …arguments}``; a line of JSON answers each. What
    libraries print goes elsewhere."""
    out, sys.stdout = sys.stdout, sys.stderr
    print(json.dumps(worker.describe()), file=out, flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        print(json.dumps(getattr(worker, task.pop("do"))(**task)), file=out, flush=True)


def random_tokens(count: int, seed: int = 0) -> list[int]:
    """The same for all contenders: what a text says changes nothing of how long it takes."""
    generator = random.Random(seed)  # noqa: S311 -- nothing secret
    return [generator.randrange(100, 40_000) for _ in range(count)]
