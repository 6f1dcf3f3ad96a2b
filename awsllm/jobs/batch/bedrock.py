"""Bedrock's batch inference jobs: records through S3 at about half the price, within a day.

Records are cut into jobs by the model's quotas. A job's name, token and records stand in the ledger before the service
is asked to make it: whatever is lost on the way, the job is found by its name, and made once. What a job wrote is
collected however it ended; what it did not answer goes into another one, a bounded number of times, or, where too few
are left for a job, is asked by single calls.

``MODEL_INVOCATION`` is the kind of job (``jobs.job``): any of the account's jobs can be followed by its name or ARN.
"""

from __future__ import annotations

import re
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from awsllm.aws.control import translated
from awsllm.errors import AwsllmError, DeploymentError, ServiceError
from awsllm.jobs.batch.answers import encode_answer
from awsllm.jobs.batch.bodies import TYPES, Prepare, decode_output, encode_line
from awsllm.jobs.batch.calls import may_pass
from awsllm.jobs.batch.ledger import BatchLedger, BatchPart, RecordOutcome, Waiting
from awsllm.jobs.batch.quotas import JobQuotas
from awsllm.jobs.batch.records import arguments_of
from awsllm.jobs.batch.tables import split_uri, upload
from awsllm.jobs.batch.values import RecordError
from awsllm.jobs.job import JobState, JobSummary
from awsllm.jobs.job import Outcome as JobOutcome
from awsllm.jumpstart.deploy.progress import looks
from awsllm.jumpstart.deploy.resources import Clients, call, is_missing, seconds
from awsllm.types import JsonObject, Value

BEDROCK = "bedrock"
_OUTCOMES: dict[str, JobOutcome] = {
    "Completed": "completed",
    "PartiallyCompleted": "failed",
    "Failed": "failed",
    "Expired": "failed",
    "Stopped": "stopped",
}
_REASONS = {"PartiallyCompleted": "its time was over before all was done", "Expired": "its time was over"}
_PAGE = 200
_CHUNK = 1 << 20  # bytes of a job's output that are read at once
_FULL = {"ServiceQuotaExceededException", "ThrottlingException"}
_RECORD = re.compile(r"R(\d{10,12})")


class BatchInference(Value, frozen=True, kw_only=True):
    """What a completed job says of itself; ``output`` is the folder of what it wrote."""

    arn: str
    status: str
    output: str
    records: int | None = None
    succeeded: int | None = None
    failed: int | None = None


class ModelInvocationJobs:
    """The kind of job. A ``name`` is a job's name or its ARN."""

    noun = "batch inference job"
    step = "batch"

    def create(self, clients: Clients, request: JsonObject) -> None:
        self.begin(clients, request)

    def begin(self, clients: Clients, request: JsonObject) -> str:
        """Make it, and give its ARN."""
        return str(call(clients, BEDROCK, "create_model_invocation_job", **request)["jobArn"])

    def find(self, clients: Clients, name: str) -> JobState | None:
        arn = name if name.startswith("arn:") else self.arn_of(clients, name)
        if arn is None:
            return None
        try:
            found = call(clients, BEDROCK, "get_model_invocation_job", jobIdentifier=arn)
        except AwsllmError as error:
            if is_missing(error):
                return None
            raise
        return self._state(name, {key: value for key, value in found.items() if key != "ResponseMetadata"})

    def arn_of(self, clients: Clients, name: str) -> str | None:
        """The newest job of that very name."""
        for one in self._listed(clients, nameContains=name):
            if one["jobName"] == name:
                return str(one["jobArn"])
        return None

    def stop(self, clients: Clients, name: str) -> None:
        arn = name if name.startswith("arn:") else self.arn_of(clients, name)
        call(clients, BEDROCK, "stop_model_invocation_job", jobIdentifier=arn or name)

    def list(self, clients: Clients, *, status: str | None = None, contains: str | None = None) -> Iterator[JobSummary]:
        wanted = {"statusEquals": status, "nameContains": contains}
        for one in self._listed(clients, **{key: value for key, value in wanted.items() if value}):
            yield JobSummary(
                name=one["jobName"],
                status=one["status"],
                created=seconds(one.get("submitTime")),
                ended=seconds(one.get("endTime")),
                reason=one.get("message"),
            )

    def tags(self, clients: Clients, state: JobState) -> dict[str, str]:
        found = call(clients, BEDROCK, "list_tags_for_resource", resourceARN=state.description["jobArn"])
        return {one["key"]: one["value"] for one in found.get("tags") or ()}

    def log(self, clients: Clients, name: str) -> None:
        """It has none."""

    def result(self, state: JobState, tags: Mapping[str, str]) -> BatchInference:
        found = state.description
        output = found["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"]
        return BatchInference(
            arn=found["jobArn"],
            status=state.status,
            output=f"{output.rstrip('/')}/{found['jobArn'].rpartition('/')[2]}/",
            records=found.get("totalRecordCount"),
            succeeded=found.get("successRecordCount"),
            failed=found.get("errorRecordCount"),
        )

    def _listed(self, clients: Clients, **wanted: Any) -> Iterator[JsonObject]:
        with translated():
            pages = clients(BEDROCK).get_paginator("list_model_invocation_jobs")
            for page in pages.paginate(sortBy="CreationTime", sortOrder="Descending", **wanted):
                yield from page.get("invocationJobSummaries") or ()

    def _state(self, name: str, found: JsonObject) -> JobState:
        status = str(found["status"])
        outcome = _OUTCOMES.get(status)
        done, total = found.get("processedRecordCount"), found.get("totalRecordCount")
        return JobState(
            name=name,
            status=status,
            phase=status,
            outcome=outcome,
            facts=(f"{done} of {total} records",) if total else (),
            message=str(found.get("message") or ""),
            reason=None if outcome == "completed" else found.get("message") or _REASONS.get(status),
            description=found,
        )


MODEL_INVOCATION = ModelInvocationJobs()


# --- the runner ------------------------------------------------------------------------------------------------------


class BedrockBatchJobs(Value, frozen=True, kw_only=True):
    """How jobs are made. ``s3`` is the prefix that they read and write under, ``id`` the batch's own folder in it.
    ``poll`` is the longest time between two looks, in seconds."""

    clients: Clients
    model: str
    role: str
    s3: str
    id: str
    quotas: JobQuotas
    prepare: Prepare
    attempts: int = 3
    hours: int = 24
    kms: str | None = None
    tags: Mapping[str, str] | None = None
    poll: float = 30.0

    @property
    def folder(self) -> str:
        return f"{self.s3.rstrip('/')}/{self.id}"

    def input(self, part: BatchPart) -> str:
        return f"{self.folder}/in/{part.name}.jsonl"

    def request(self, part: BatchPart) -> JsonObject:
        """CreateModelInvocationJob's."""
        output: JsonObject = {"s3Uri": f"{self.folder}/out/"}
        request: JsonObject = {
            "jobName": part.name,
            "clientRequestToken": part.token,
            "roleArn": self.role,
            "modelId": self.model,
            "modelInvocationType": TYPES[part.kind],
            "inputDataConfig": {"s3InputDataConfig": {"s3InputFormat": "JSONL", "s3Uri": self.input(part)}},
            "outputDataConfig": {"s3OutputDataConfig": output},
            "timeoutDurationInHours": self.hours,
        }
        if self.kms:
            output["s3EncryptionKeyId"] = self.kms
        if self.tags:
            request["tags"] = [{"key": key, "value": value} for key, value in self.tags.items()]
        return request


class BedrockRunner:
    """Runs what waits in a ledger as jobs, until what is left is too little for one. ``told`` hears what is waited
    for. One use."""

    def __init__(self, ledger: BatchLedger, jobs: BedrockBatchJobs, told: Callable[[str], None]) -> None:
        self._ledger, self._jobs, self._told = ledger, jobs, told
        self._left, self._stopped = threading.Event(), threading.Event()
        self._barren = 0  # jobs in a row that failed and wrote nothing

    def leave(self) -> None:
        """Look no more; the jobs go on."""
        self._left.set()

    def stop(self) -> None:
        """Ask the jobs to stop; what they wrote is collected once they have."""
        self._stopped.set()

    def run(self) -> None:
        """Raises ``DeploymentError`` where jobs fail and nothing of them can be read; records wait on then."""
        asked_to_stop = False
        for _ in looks(self._jobs.poll, self._left):
            if self._stopped.is_set() and not asked_to_stop:
                stop_parts(self._ledger, self._jobs.clients)
                asked_to_stop = True
            states = [self._look(part) for part in self._ledger.parts()]
            if not self._stopped.is_set():
                states += self._submit(len([state for state in states if state]))
            waiting = [state for state in states if state]
            self._told(", ".join(waiting))
            if not waiting:
                return

    # --- out ---

    def _submit(self, under_way: int) -> list[str]:
        """Make as many jobs as there are records for, and room."""
        self._ledger.give_up(self._jobs.attempts)
        made: list[str] = []
        for kind, count in sorted(self._ledger.kinds().items()):
            quotas, left = self._jobs.quotas, count
            while left >= quotas.least and under_way + len(made) < quotas.jobs:
                jobs = -(-left // quotas.most)
                taken = self._assign(kind, -(-left // jobs))
                if taken is None:
                    break
                left -= taken[1]
                made.append(self._begin(taken[0]))
        return made

    def _assign(self, kind: int, most: int) -> tuple[BatchPart, int] | None:
        """Give up to ``most`` records to a new part; how many it took. None where too few can go into a job."""
        numbers: list[int] = []
        size = 0
        for task in self._ledger.waiting(below=self._jobs.attempts, kind=kind):
            line = self._line(task, kind)
            if line is None:
                continue
            size += len(line)
            if numbers and size > self._jobs.quotas.size:
                break
            numbers.append(task.number)
            if len(numbers) == most:
                break
        if len(numbers) < self._jobs.quotas.least:
            return None
        number = 1 + max((part.part for part in self._ledger.parts(is_open=False)), default=0)
        name = f"awsllm-{self._jobs.id}-{number:04}"
        part = BatchPart(part=number, name=name, token=uuid.uuid4().hex, kind=kind)
        self._ledger.part_off(part, numbers)
        return part, len(numbers)

    def _line(self, task: Waiting, kind: int) -> bytes | None:
        """None for a record that no job can do, which is set aside."""
        try:
            return encode_line(record_id(task.number), self._jobs.prepare(*arguments_of(task.arguments)), kind)
        except AwsllmError as error:
            self._ledger.keep([RecordOutcome(number=task.number, error=RecordError.of(error))])
            return None

    def _begin(self, part: BatchPart) -> str:
        """Upload a part's records and make its job, if it is not there already: what was asked for and not heard of is
        looked for first. Gives the state to wait for."""
        jobs = self._jobs
        arn = MODEL_INVOCATION.arn_of(jobs.clients, part.name) if part.status == "asked" else None
        try:
            if arn is None:
                self._upload(part)
                self._ledger.note_part(part.part, status="asked")
                arn = MODEL_INVOCATION.begin(jobs.clients, jobs.request(part))
        except AwsllmError as error:
            if may_pass(error):  # whether it was made is not known, or there is no room: the next look finds out
                return f"{part.name} is not made yet"
            if error.code not in _FULL | {"ConflictException"}:
                self._ledger.close_part(part.part, None, counted=False)
                raise
            return f"{part.name} is not made yet"
        self._ledger.note_part(part.part, arn=arn, status="Submitted")
        return f"{part.name} Submitted"

    def _upload(self, part: BatchPart) -> None:
        with tempfile.TemporaryDirectory(prefix="awsllm-batch-") as folder:
            path = Path(folder) / "in.jsonl"
            with path.open("wb") as file:
                for task in self._ledger.waiting(below=self._jobs.attempts, part=part.part):
                    line = self._line(task, part.kind)
                    file.write(line or b"")
            upload(path, self._jobs.input(part), self._jobs.clients)

    # --- back ---

    def _look(self, part: BatchPart) -> str | None:
        """What a part waits for; None where it is over, and collected."""
        if part.arn is None:
            return None if self._stopped.is_set() else self._begin(part)
        try:
            state = MODEL_INVOCATION.find(self._jobs.clients, part.arn)
        except AwsllmError as error:
            if not may_pass(error):
                raise
            return f"{part.name} cannot be looked at"
        if state is not None and state.outcome is None:
            self._ledger.note_part(part.part, status=state.status)
            return " ".join([part.name, state.status, *state.facts])
        status = "gone" if state is None else state.status
        self._ledger.note_part(part.part, status=status)
        try:
            found = self._collect(part)
        except AwsllmError as error:  # what was read is kept, and read again
            if not may_pass(error):
                raise
            return f"{part.name} {status}, and what it wrote cannot be read yet"
        reason = f"the job {part.name} ended as {status}" + (f": {state.reason}" if state and state.reason else "")
        # A job that told of no record says nothing against its records; after some of these, against the batch.
        self._barren = self._barren + 1 if status != "Stopped" and not found else 0
        barren = self._barren >= self._jobs.attempts
        reason += "" if found else ", and told of no record"
        why = RecordError(type="ServerError", message=reason, code=status)
        self._ledger.close_part(part.part, why, counted=not self._barren and status != "Stopped")
        if barren:
            failure = DeploymentError(reason)
            failure.reason = state.reason if state else None
            raise failure
        return None

    def _collect(self, part: BatchPart) -> int:
        """Read all that a job wrote; how many records it told of."""
        lines, told = self._lines(part), 0
        while page := list(islice(lines, _PAGE)):
            told += len(page)
            tasks = self._ledger.tasks([number for number, _ in page])
            found = [self._outcome(tasks[number], part.kind, line) for number, line in page if number in tasks]
            self._ledger.keep(sorted(found, key=lambda one: one.answer is None))  # told of twice, the answer counts
            self._told("")
        return told

    def _lines(self, part: BatchPart) -> Iterator[tuple[int, JsonObject]]:
        """The lines of a job's output that name a record, in whatever order they come."""
        bucket, prefix = split_uri(f"{self._jobs.folder}/out/{str(part.arn).rpartition('/')[2]}/")
        s3 = self._jobs.clients("s3")
        with translated():
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                for one in page.get("Contents") or ():
                    if one["Key"].endswith(".jsonl.out"):
                        body = s3.get_object(Bucket=bucket, Key=one["Key"])["Body"]
                        yield from filter(None, map(_record_of, body.iter_lines(_CHUNK)))

    def _outcome(self, task: Waiting, kind: int, line: JsonObject) -> RecordOutcome:
        if isinstance(said := line.get("error"), dict):
            return self._failed(task, said)
        try:
            call_made = self._jobs.prepare(*arguments_of(task.arguments))
            response = decode_output(call_made, kind, line["modelOutput"])
        except AwsllmError as error:
            passing = may_pass(error) and task.attempts + 1 < self._jobs.attempts
            return RecordOutcome(number=task.number, error=RecordError.of(error), passing=passing)
        return RecordOutcome(number=task.number, answer=encode_answer(response), cost=response.cost)

    def _failed(self, task: Waiting, said: JsonObject) -> RecordOutcome:
        code = said.get("errorCode")
        status = code if isinstance(code, int) else 0
        passing = (status in (408, 429) or status >= 500) and task.attempts + 1 < self._jobs.attempts
        kind = "ServerError" if status >= 500 else "ThrottlingError" if status == 429 else "RequestError"
        error = RecordError(type=kind, message=str(said.get("errorMessage") or "no message"), code=str(code))
        return RecordOutcome(number=task.number, error=error, passing=passing)


def record_id(number: int) -> str:
    """Bedrock's examples have eleven letters and digits."""
    return f"R{number:010}"


def _record_of(line: bytes) -> tuple[int, JsonObject] | None:
    """Number and line; None for a line that is none of ours, or was cut."""
    try:
        found = msgspec.json.decode(line)
    except (ValueError, RecursionError):
        return None
    match = _RECORD.fullmatch(str(found.get("recordId"))) if isinstance(found, dict) else None
    if match is None or not ("error" in found or isinstance(found.get("modelOutput"), dict)):
        return None
    return int(match[1]), found


def stop_parts(ledger: BatchLedger, clients: Clients) -> int:
    """Ask the jobs of a batch to stop, from whichever process; how many."""
    asked = 0
    for part in ledger.parts():
        arn = part.arn or MODEL_INVOCATION.arn_of(clients, part.name)
        if arn is None:
            continue
        try:
            MODEL_INVOCATION.stop(clients, arn)
            asked += 1
        except AwsllmError as error:
            if isinstance(error, ServiceError) or not (is_missing(error) or error.code == "ConflictException"):
                raise
    return asked
