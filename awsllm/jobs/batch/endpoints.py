"""SageMaker's batch transform: the model behind an endpoint answers records through S3, on a machine of its own.

A transform writes an object only if each of its records was answered, in their order, and knows no ids: so records go
in small objects and are joined by their place. Of objects that failed, each record gets one of its own in the next
round, so that those are found that fail it.

A job's name and records stand in the ledger before the service hears of it, and names can be used once: whatever ends
the process, the next one finds the job or makes it, of the same objects.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from awsllm.aws.control import translated
from awsllm.errors import AwsllmError, ConfigurationError, DeploymentError, ValidationError
from awsllm.jobs.batch.answers import encode_answer
from awsllm.jobs.batch.bodies import Prepare, completed, first_request
from awsllm.jobs.batch.caller import BatchCaller
from awsllm.jobs.batch.calls import may_pass
from awsllm.jobs.batch.ledger import BatchLedger, BatchPart, RecordOutcome, Waiting
from awsllm.jobs.batch.options import BatchOptions
from awsllm.jobs.batch.records import arguments_of
from awsllm.jobs.batch.tables import split_uri, upload
from awsllm.jobs.batch.values import RecordError
from awsllm.jobs.job import JobState
from awsllm.jobs.transform import TRANSFORM, describe_model, plan_transform
from awsllm.jumpstart.deploy.progress import looks
from awsllm.jumpstart.deploy.resources import SAGEMAKER, Clients, call, is_missing
from awsllm.types import Value
from awsllm.wire import endpoint
from awsllm.wire.body import Context, Payload, Settings

_AN_OBJECT = 50  # records, in the first round
"""What fails with one that cannot be answered."""
_GROUPS = "records.json"
_LARGEST = 6_000_000  # bytes of a record: ``MaxPayloadInMB``, of which the service counts 6 where nothing is said
_FULL = {"ResourceLimitExceeded", "ThrottlingException"}


class TransformJobs(Value, frozen=True, kw_only=True):
    """How jobs are made. ``format`` is what the container speaks, ``model`` DescribeModel's answer."""

    clients: Clients
    model: Any
    region: str
    format: str
    instance_type: str
    s3: str
    id: str
    prepare: Prepare
    attempts: int = 3
    poll: float = 30.0

    def folder(self, part: BatchPart) -> str:
        return f"{self.s3.rstrip('/')}/{self.id}/{part.name}"


class TransformRunner:
    """Runs what waits in a ledger as transform jobs, one after the other. One use."""

    def __init__(self, ledger: BatchLedger, jobs: TransformJobs, told: Callable[[str], None]) -> None:
        self._ledger, self._jobs, self._told = ledger, jobs, told
        self._left, self._stopped = threading.Event(), threading.Event()

    def leave(self) -> None:
        """Look no more; the job goes on."""
        self._left.set()

    def stop(self) -> None:
        """Ask the job to stop."""
        self._stopped.set()
        for part in self._ledger.parts():
            try:
                TRANSFORM.stop(self._jobs.clients, part.name)
            except AwsllmError as error:
                if not is_missing(error):  # it is not made yet, and will not be
                    raise

    def run(self) -> None:
        """Raises ``DeploymentError`` where jobs answer nothing at all."""
        while not self._left.is_set():
            parts = self._ledger.parts()
            if parts:
                self._follow(parts[0])
                continue
            self._ledger.give_up(self._jobs.attempts)
            count, asked_before = self._ledger.waits(self._jobs.attempts)
            if self._stopped.is_set() or not count:
                return
            number = 1 + len(self._ledger.parts(is_open=False))
            name = f"awsllm-{self._jobs.id}-{number:04}"
            part = BatchPart(part=number, name=name, token=uuid4().hex, kind=1 if asked_before else _AN_OBJECT)
            self._ledger.part_off_all(part, self._jobs.attempts)

    # --- one job ---

    def _follow(self, part: BatchPart) -> None:
        """Make it, unless it is there, wait for it, and collect what it wrote."""
        for _ in looks(self._jobs.poll, self._left):
            status = "is being made"
            try:
                state = TRANSFORM.find(self._jobs.clients, part.name)
                if state is None and (self._stopped.is_set() or not self._make(part)):
                    self._ledger.close_part(part.part, None, counted=False)  # nothing of it is there, nor will be
                    return
                if state is not None and state.outcome is not None:
                    self._end(part, state, self._collect(part))
                    return
                status = status if state is None else state.status
            except AwsllmError as error:  # the next look finds out what became of it
                if not (may_pass(error) or error.code in _FULL):
                    raise
            self._told(f"{part.name} {status}")

    def _end(self, part: BatchPart, state: JobState, found: int) -> None:
        """``found`` objects were read. Raises where the jobs answer nothing, however their records are put."""
        reason = f"the transform job {part.name} {state.outcome}: {state.reason or 'it tells no reason'}"
        stopped = state.outcome == "stopped"
        if not (found or stopped or part.kind > 1 or self._ledger.counts().succeeded):
            self._ledger.close_part(part.part, None, counted=False)
            raise DeploymentError(reason)
        why = RecordError(type="ServerError", message=f"its object was not written; {reason}")
        self._ledger.close_part(part.part, None if stopped else why, counted=not stopped)

    def _make(self, part: BatchPart) -> bool:
        """Upload the records, and beside them which of them are in which object: what is joined by its place is joined
        by what was true when it was sent. False where there is no record to send."""
        jobs = self._jobs
        groups: list[list[int]] = []
        with tempfile.TemporaryDirectory(prefix="awsllm-batch-") as folder:
            path = Path(folder) / "in.jsonl"
            tasks = self._ledger.waiting(below=jobs.attempts, part=part.part)
            while group := list(islice(tasks, part.kind)):
                made = [(task.number, line) for task in group if (line := self._line(task)) is not None]
                if not made:
                    continue
                path.write_bytes(b"".join(line for _, line in made))
                upload(path, f"{jobs.folder(part)}/in/{len(groups):08}.jsonl", jobs.clients)
                groups.append([number for number, _ in made])
            if not groups:
                return False
            path.write_bytes(msgspec.json.encode(groups))
            upload(path, f"{jobs.folder(part)}/{_GROUPS}", jobs.clients)
        plan = plan_transform(
            jobs.model,
            region=jobs.region,
            name=part.name,
            input=f"{jobs.folder(part)}/in/",
            output=f"{jobs.folder(part)}/out/",
            instance_type=jobs.instance_type,
        )
        TRANSFORM.create(jobs.clients, plan.request)
        return True

    def _line(self, task: Waiting) -> bytes | None:
        """None for a record that the container does not take, which is set aside."""
        try:
            request = first_request(self._jobs.prepare(*arguments_of(task.arguments)))
            body = endpoint.get(self._jobs.format).codec(type(request)).encode_request(request, Settings()).body
            if len(body) > _LARGEST:
                raise ValidationError(f"it is {len(body):,} bytes, and a record of a transform at most {_LARGEST:,}")
        except AwsllmError as error:
            self._ledger.keep([RecordOutcome(number=task.number, error=RecordError.of(error))])
            return None
        return body.replace(b"\n", b" ") + b"\n"  # within JSON, a line's end is no more than a space

    def _collect(self, part: BatchPart) -> int:
        """Read the objects that were written; how many there are."""
        found, folder = 0, self._jobs.folder(part)
        groups = msgspec.json.decode(self._read(f"{folder}/{_GROUPS}") or b"[]", type=list[list[int]])
        for index, numbers in enumerate(groups):
            lines = [line for line in (self._read(f"{folder}/out/{index:08}.jsonl.out") or b"").splitlines() if line]
            if len(lines) != len(numbers):
                continue
            found += 1
            tasks = self._ledger.tasks(numbers)
            pairs = [(tasks[number], line) for number, line in zip(numbers, lines, strict=True) if number in tasks]
            self._ledger.keep([self._outcome(task, line) for task, line in pairs])
        return found

    def _read(self, uri: str) -> bytes | None:
        """None where there is no such object."""
        bucket, key = split_uri(uri)
        try:
            found = call(self._jobs.clients, "s3", "get_object", Bucket=bucket, Key=key)
        except AwsllmError as error:
            if error.status in (403, 404) or is_missing(error):  # without the right to list, a missing one is a 403
                return None
            raise
        with translated():
            return bytes(found["Body"].read())

    def _outcome(self, task: Waiting, line: bytes) -> RecordOutcome:
        made = self._jobs.prepare(*arguments_of(task.arguments))
        request = first_request(made)
        try:
            codec = endpoint.get(self._jobs.format).codec(type(request))
            response = completed(made, codec.decode_response(Payload(line), Context(request=request)))
        except AwsllmError as error:
            passing = may_pass(error) and task.attempts + 1 < self._jobs.attempts
            return RecordOutcome(number=task.number, error=RecordError.of(error), passing=passing)
        return RecordOutcome(number=task.number, answer=encode_answer(response), cost=response.cost)


def transform_runner(
    caller: BatchCaller, own: BatchOptions, made: tuple[BatchLedger, str, Prepare], told: Callable[[str], None]
) -> TransformRunner:
    """For the model behind the batch's endpoint. Raises ``ConfigurationError`` where it is not known what that
    speaks, ``UnsupportedError`` for a model that cannot be transformed with."""
    ledger, batch, prepare = made
    clients, reference = caller.clients(), caller.references[0]
    name = reference.model.rpartition("endpoint/")[2].partition("/")[0]
    spoken = own.get("format") or next(
        (caller.formats[key] for key in (reference.model, name, "*") if key in caller.formats), None
    )
    if spoken is None:
        raise ConfigurationError("a batch transform has to know what the container speaks: give format=, such as 'tgi'")
    endpoint.get(spoken)
    config = call(clients, SAGEMAKER, "describe_endpoint", EndpointName=name)["EndpointConfigName"]
    variants = call(clients, SAGEMAKER, "describe_endpoint_config", EndpointConfigName=config)["ProductionVariants"]
    if not variants or "ModelName" not in variants[0]:
        raise ConfigurationError(f"the endpoint {name} has components, not a model of its own, to transform with")
    jobs = TransformJobs(
        clients=clients,
        model=describe_model(variants[0]["ModelName"], clients),
        region=str(caller.session(reference.region).region),
        format=spoken,
        instance_type=str(own.get("instance_type")),
        s3=str(own.get("s3")),
        id=batch,
        prepare=prepare,
        attempts=own.get("attempts", 3),
        poll=caller.poll,
    )
    return TransformRunner(ledger, jobs, told)
