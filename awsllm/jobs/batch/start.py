"""What ``client.batch`` does: read and check all records, choose where they are answered, and begin."""

from __future__ import annotations

import math
import os
import tempfile
import uuid
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
from msgspec.structs import replace

from awsllm.aws import iam
from awsllm.calls.options import check_names, check_number
from awsllm.calls.prepare import prepare
from awsllm.errors import ConfigurationError, ValidationError
from awsllm.jobs.batch import tables
from awsllm.jobs.batch.access import BatchPlace
from awsllm.jobs.batch.bedrock import BedrockBatchJobs, BedrockRunner
from awsllm.jobs.batch.bodies import Prepare, checker
from awsllm.jobs.batch.caller import BatchCaller
from awsllm.jobs.batch.calls import CallsRunner, RecordAsking
from awsllm.jobs.batch.choice import Case, chosen, estimated, sampled
from awsllm.jobs.batch.intake import Intake, Shard, shard_of, take_in
from awsllm.jobs.batch.job import BatchJob, BatchRunner, Delivery
from awsllm.jobs.batch.known import remember
from awsllm.jobs.batch.ledger import BatchLedger, default_ledger
from awsllm.jobs.batch.options import AT_ONCE, ONCE, OWN, BatchOptions
from awsllm.jobs.batch.quotas import JobQuotas, job_quotas
from awsllm.jobs.batch.records import RecordReader
from awsllm.jobs.batch.values import BatchPlan
from awsllm.jobs.bedrock.roles import BEDROCK_ROLE_VARIABLE
from awsllm.jobs.bedrock.uploads import check_bucket, check_region
from awsllm.jobs.sagemaker import check_s3, machine_cost
from awsllm.models.references import Reference
from awsllm.types import ConverseResponse, JsonObject

_SAMPLE = 500  # records that an estimate is made of
_MAY_CHANGE = frozenset(("timeout", "tags", "tenant", "priority", "response_cache"))
"""Of a call's options, those that are not what is asked."""


_MOST: Mapping[str, int] = {"concurrency": 1_000, "attempts": 1_000, "job_hours": 168}
"""Of options that are whole numbers from 1. A call at once is a thread."""


class Placement(NamedTuple):
    """Where rows go, the template, and where the batch shall run."""

    output: str | os.PathLike[str] | None = None
    prompt: str | None = None
    where: str = "auto"


class AskedBatch(NamedTuple):
    """A caller's words: where rows go, the template, where it shall run, and the options, apart from the calls'."""

    output: str | None
    prompt: str | None
    where: str
    own: BatchOptions
    call: JsonObject

    @property
    def shard(self) -> Shard:
        return shard_of(self.own.get("shard"))


def start(caller: BatchCaller, records: Any, placed: Placement, options: Mapping[str, Any]) -> BatchJob:
    """Begin a batch, or go on with one. Raises what is wrong with it before anything is asked."""
    asked = _asked(records, placed, options)
    ledger = _ledger(asked)
    ledger.hold()
    try:
        job, stages = _planned(caller, records, asked, ledger)
    except BaseException:
        _let_go(ledger)
        raise
    if asked.own.get("dry_run"):
        ledger.release()
        return job
    if asked.output not in (None, tables.STANDARD) or asked.own.get("ledger") is not None:
        remember(ledger, ledger.facts()["id"])
    return job.begin(stages)


def _let_go(ledger: BatchLedger) -> None:
    """Of what was not begun; a ledger that has no records yet leaves nothing."""
    try:
        is_kept = bool(ledger.facts().get("read"))
    except ConfigurationError:  # it is damaged, which was told
        is_kept = True
    ledger.close() if is_kept else ledger.remove()


def _asked(records: Any, placed: Placement, options: Mapping[str, Any]) -> AskedBatch:
    output, prompt, where = placed
    check_names(options, BatchOptions)
    for name in _MOST:
        if (value := options.get(name)) is not None:
            check_number(name, value, whole=True)
            if not 1 <= value <= _MOST[name]:
                raise ValidationError(f"{name} is {value}; it is at least 1, and at most {_MOST[name]:,}")
    _check_words(options)
    if options.get("on_invalid", "raise") not in ("raise", "set_aside"):
        raise ValidationError("on_invalid is 'raise' or 'set_aside'")
    if options.get("s3"):
        check_s3("s3", options["s3"])
    own = cast("BatchOptions", {name: value for name, value in options.items() if name in OWN})
    if role := own.get("role") or os.environ.get(BEDROCK_ROLE_VARIABLE):
        own["role"] = iam.check_role(role)
    call = {name: value for name, value in options.items() if name not in OWN}
    where_to = None if output is None else shard_of(own.get("shard")).place(os.fspath(output))
    if where_to is not None:
        tables.check_output(where_to)
        if where_to != tables.STANDARD and _is_file(records, where_to):
            raise ValidationError("output is the input: answers would take its place")
    here = isinstance(records, str) and not records.startswith("s3://") and records != tables.STANDARD
    if here and not Path(records).is_file():
        folder = "it is a folder" if Path(records).is_dir() else "a single prompt is a list of one"
        raise ConfigurationError(f"there is no file {records!r:.100}; {folder}")
    return AskedBatch(where_to, prompt, where, own, call)


def _check_words(options: Mapping[str, Any]) -> None:
    for name in ("answer", "id"):
        if (value := options.get(name)) is not None and (not isinstance(value, str) or not value.strip()):
            raise ValidationError(f"{name} is the name of a column, not {value!r:.40}")
    check_number("deadline", deadline := options.get("deadline"))
    if deadline is not None and not 0 < deadline < math.inf:
        raise ValidationError(f"deadline is {deadline:g}; it is in seconds, above 0")


def _is_file(records: Any, path: str) -> bool:
    return isinstance(records, str | os.PathLike) and os.path.abspath(records) == os.path.abspath(path)


def _ledger(asked: AskedBatch) -> BatchLedger:
    place = _ledger_place(asked)
    if asked.own.get("dry_run") or place is None:
        folder = tempfile.TemporaryDirectory(prefix="awsllm-batch-")
        ledger = BatchLedger(Path(folder.name) / "batch.ledger")
        weakref.finalize(ledger, folder.cleanup)
        return ledger
    return BatchLedger(place)


def _ledger_place(asked: AskedBatch) -> str | None:
    """None where it lasts as long as the batch."""
    given = asked.own.get("ledger")
    if given is not None:
        return asked.shard.place(os.fspath(given))
    return None if asked.output in (None, tables.STANDARD) else default_ledger(str(asked.output))


def _planned(
    caller: BatchCaller, records: Any, asked: AskedBatch, ledger: BatchLedger
) -> tuple[BatchJob, Sequence[Callable[[], BatchRunner]]]:
    facts = _remembered(caller, records, asked, ledger)
    making, clients = _preparer(caller, asked.call), caller.clients()
    reader = RecordReader(asked.prompt, asked.own.get("id"), asked.own.get("answer", "answer"))
    sets_aside = asked.own.get("on_invalid") == "set_aside"
    intake = Intake(reader=reader, shard=asked.shard, sets_aside=sets_aside, check=checker(making))
    invalid = take_in(records, ledger, intake, lambda path: tables.fetched(path, clients))
    if asked.own.get("retry_failed"):
        ledger.revive()
    plan, quotas = _plan(caller, asked, ledger, making)
    plan = replace(plan, invalid=invalid)
    ledger.note(where=plan.where)
    own = asked.own
    delivery = Delivery(
        asked.output, own.get("answer", "answer"), own.get("id"), clients, asked.call.get("output_type")
    )
    job = BatchJob(plan, ledger, delivery, own.get("on_progress"))
    if own.get("dry_run"):
        return job, ()
    if asked.output is not None and tables.is_s3(asked.output):
        check_bucket(clients, asked.output)  # before answers are paid that it could not take
    if plan.where != "calls":  # before anything is made: a job would fail by it
        check_region(clients, str(own.get("s3")), str(caller.session(caller.references[0].region).region))
    return job, _stages(caller, asked, job, (facts["id"], making, quotas))


def _remembered(caller: BatchCaller, records: Any, asked: AskedBatch, ledger: BatchLedger) -> dict[str, Any]:
    """The facts of the batch. Raises ``ConfigurationError`` where the ledger is of another."""
    model = " ".join(map(str, caller.references))
    call, is_plain = _described({k: v for k, v in asked.call.items() if k not in _MAY_CHANGE})
    about = {
        "model": model,
        "prompt": asked.prompt,
        "call": call,
        "answer": asked.own.get("answer", "answer"),
        "id_column": asked.own.get("id"),
        "shard": asked.own.get("shard"),
    }
    facts = ledger.facts()
    if "id" not in facts:
        path = os.fspath(records) if isinstance(records, str | os.PathLike) else None
        found = {"id": uuid.uuid4().hex[:12], "output": asked.output, "records": path, "plain": is_plain}
        kept = {name: value for name, value in asked.own.items() if name not in ONCE and _described(value)[1]}
        ledger.note(**about, **found, own=kept)
        return {**about, **found}
    if records is None:
        about.pop("shard")
    if different := sorted(name for name, value in about.items() if facts.get(name) != value):
        raise ConfigurationError(
            f"the ledger {ledger.path} is of a batch with another {', '.join(different)}: give another output or "
            "ledger, or delete that file to begin anew"
        )
    return facts


def _described(value: Any) -> tuple[Any, bool]:
    """A value as JSON, and whether it is the value itself; functions and types are their names."""
    try:
        plain = msgspec.json.decode(msgspec.json.encode(value))
    except (TypeError, ValueError):
        plain = None
    if plain is not None or value is None:
        return plain, plain == value
    if isinstance(value, Mapping):
        return {str(key): _described(one)[0] for key, one in value.items()}, False
    if isinstance(value, list | tuple):
        return [_described(one)[0] for one in value], False
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}", False


def _preparer(caller: BatchCaller, call: JsonObject) -> Prepare:
    """``prepare`` for the batch's model; of a group, for its first."""
    model, own = str(caller.references[0]), {}
    if hasattr(caller.model, "members"):
        own = dict(caller.model.members[0].options)
    elif caller.prices.needs_asking(model, call):
        caller.prices.learn(model)

    def making(messages: Any, options: JsonObject) -> Any:
        merged: Any = {**call, **options, **own}
        return prepare(model, messages, caller.prices.identified(model, merged), caller.prices)

    return making


def _plan(
    caller: BatchCaller, asked: AskedBatch, ledger: BatchLedger, making: Prepare
) -> tuple[BatchPlan, JobQuotas | None]:
    references = caller.references
    single = references[0] if not hasattr(caller.model, "members") else None
    sample = sampled(ledger.some(_SAMPLE), making, references[0].model)
    counts = ledger.counts()
    family = caller.prices.identified(str(references[0]), {"family": asked.call.get("family")})["family"]
    price = caller.prices.price(references[0], family)
    waiting = counts.total - counts.succeeded - counts.failed
    found = estimated(waiting, sample, price, local=references[0].scheme == "local")
    quotas = _quotas(single, asked, caller)
    if ledger.parts():  # jobs are under way, whatever would be chosen now
        where = "transform" if single is not None and single.scheme == "sagemaker" else "bedrock-batch"
        reasons: tuple[str, ...] = ("jobs of this batch are under way",)
    else:
        before = ledger.facts().get("where") if asked.where == "auto" else None
        case = Case(single, asked.own, found, sample, quotas)
        where, reasons = chosen("calls" if before == "calls" or not waiting else asked.where, case)
    usd = found.usd_batch if where == "bedrock-batch" else found.usd_calls if where == "calls" else None
    region = str(caller.session(references[0].region).region) if references[0].scheme != "local" else ""
    hour = _an_hour(asked, region) if where == "transform" else None
    place = BatchPlace(
        where=where, references=references, region=region, read=ledger.facts().get("records"), written=asked.output
    )
    access = place.access(asked.own)
    plan = BatchPlan(
        model=" ".join(map(str, references)),
        where=where,
        reasons=reasons,
        estimate=replace(found, usd=usd, usd_per_hour=hour),
        output=asked.output,
        ledger=_ledger_place(asked) or ledger.path,
        permissions=access.caller,
        role_permissions=access.role,
        role_trust=access.trust,
    )
    return plan, quotas


def _an_hour(asked: AskedBatch, region: str) -> float | None:
    machines: JsonObject = {"InstanceType": asked.own.get("instance_type"), "InstanceCount": 1}
    return machine_cost(None, machines, region, "").per_hour


def _quotas(single: Reference | None, asked: AskedBatch, caller: BatchCaller) -> JobQuotas | None:
    """AskedBatch for where a job of Bedrock's may come of it."""
    if single is None or single.scheme != "bedrock" or asked.where in ("calls", "transform"):
        return None
    return job_quotas(single.model, caller.clients()) if asked.own.get("s3") and asked.own.get("role") else None


def _stages(
    caller: BatchCaller, asked: AskedBatch, job: BatchJob, made: tuple[str, Prepare, JobQuotas | None]
) -> Sequence[Callable[[], BatchRunner]]:
    """What runs, one after the other: what a service's jobs leave is asked by calls."""
    name, making, quotas = made
    own, ledger = asked.own, job._ledger
    attempts = own.get("attempts", 3)

    def ask(messages: Any, options: JsonObject) -> ConverseResponse:
        return caller.converse(caller.model, messages, **{**asked.call, **options})

    asking = RecordAsking(ask=ask, concurrency=own.get("concurrency", AT_ONCE), attempts=attempts, pause=caller.pause)
    calls: Callable[[], BatchRunner] = partial(CallsRunner, ledger, asking, job.tell)
    if job.plan.where == "bedrock-batch":
        jobs = BedrockBatchJobs(
            clients=caller.clients(),
            model=caller.references[0].model,
            role=str(own.get("role")),
            s3=str(own.get("s3")),
            id=name,
            quotas=quotas or JobQuotas(),
            prepare=making,
            attempts=attempts,
            hours=own.get("job_hours", 24),
            kms=own.get("kms"),
            tags=own.get("job_tags"),
            poll=caller.poll,
        )
        return [partial(BedrockRunner, ledger, jobs, job.tell), calls]
    if job.plan.where == "transform":
        from awsllm.jobs.batch.endpoints import transform_runner

        runner = transform_runner(caller, own, (ledger, name, making), job.tell)
        return [lambda: runner]
    return [calls]
