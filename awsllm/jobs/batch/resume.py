"""A batch that any process began, by its ledger: how far it is, to go on with it, to stop it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from awsllm.errors import ConfigurationError
from awsllm.jobs.batch.bedrock import stop_parts
from awsllm.jobs.batch.ledger import BatchLedger
from awsllm.jobs.batch.options import ONCE
from awsllm.jobs.batch.values import BatchState
from awsllm.jumpstart.deploy.resources import Clients


class Begun(NamedTuple):
    """What a ledger says of its batch. ``options`` are those of ``batch``, which JSON kept; ``is_whole`` says whether
    that is all of them: functions and types are known to their program alone."""

    model: str
    records: str | None
    output: str | None
    prompt: str | None
    options: dict[str, Any]
    where: str | None
    is_whole: bool


def ledger_of(name: str) -> str:
    """The path of a ledger, by its own name or its output's."""
    return name if name.endswith(".ledger") or not Path(f"{name}.ledger").is_file() else f"{name}.ledger"


def opened(name: str) -> BatchLedger:
    """A ledger that is there. Raises ``ConfigurationError`` where there is none."""
    path = ledger_of(name)
    if not Path(path).is_file():
        raise ConfigurationError(f"there is no ledger {path}: a batch's stands beside its output, as OUTPUT.ledger")
    return BatchLedger(path)


def begun(ledger: BatchLedger) -> Begun:
    """Raises ``ConfigurationError`` for a database that is none of a batch."""
    facts = ledger.facts()
    if "id" not in facts or "model" not in facts:
        raise ConfigurationError(f"{ledger.path} is no ledger of a batch")
    own = {name: value for name, value in facts.get("own", {}).items() if name not in (*ONCE, "shard", "ledger")}
    return Begun(
        model=facts["model"],
        records=facts.get("records"),
        output=facts.get("output"),
        prompt=facts.get("prompt"),
        options={**facts.get("call", {}), **own, "ledger": ledger.path},
        where=facts.get("where"),
        is_whole=bool(facts.get("plain")),
    )


def state_of(ledger: BatchLedger) -> BatchState:
    """How far it is, seen from outside."""
    counts = ledger.counts()
    waiting = counts.total - counts.succeeded - counts.failed
    parts = [f"{part.name} {part.status or 'not made yet'}" for part in ledger.parts()]
    running = ledger.is_held()
    status = "running" if running else "completed" if ledger.facts().get("read") and not waiting else "stopped"
    return BatchState(
        status=status,
        total=counts.total,
        succeeded=counts.succeeded,
        failed=counts.failed,
        cost=counts.cost,
        unpriced=counts.unpriced,
        detail=", ".join(parts),
    )


def stop(ledger: BatchLedger, clients: Callable[[], Clients], patience: float = 30.0) -> bool:
    """Have the process that runs it stop, and with it jobs of Bedrock's; without such a process, those jobs alone.
    False where nothing was under way."""
    if not ledger.is_held():
        return bool(ledger.parts()) and stop_parts(ledger, clients()) > 0
    ledger.note(stop=True)
    end = time.monotonic() + patience
    while ledger.is_held() and time.monotonic() < end:
        time.sleep(0.1)
    return True
