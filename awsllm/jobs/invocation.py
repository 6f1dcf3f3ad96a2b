"""Asynchronous invocations of Bedrock's models: a request goes in at once, files appear in S3.

    start    StartAsyncInvoke, with a token: the same token and request give the same invocation, so that it can be
             sent again when its answer was lost
    watch    GetAsyncInvoke until it is Completed or Failed, each new state reported
    result   read from what the service says of it: where its files are
    resume   by its ARN, which is all there is to keep

There is no operation that stops one: it runs to its end and is paid for. Whoever stops waiting leaves it running. What
a model is sent and what its files mean is the body's; ``InvocationJob`` is given a function that reads a description.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import msgspec

from awsllm.aws.control import translated
from awsllm.errors import (
    AwsllmError,
    ModelTimeoutError,
    ServerError,
    ServiceError,
    UnsupportedError,
    ValidationError,
)
from awsllm.jobs.job import JobState, JobSummary, Outcome, ServiceJob
from awsllm.jobs.sagemaker import check_s3
from awsllm.jumpstart.deploy.progress import Listener, Pace
from awsllm.jumpstart.deploy.resources import Clients, call, is_missing, seconds
from awsllm.types import JsonObject, Value

R = TypeVar("R")

RUNTIME = "bedrock-runtime"
NO_STOP = (
    "an asynchronous invocation cannot be stopped, there is no operation for it: it runs to its end and is paid for; "
    "stop waiting (wait(timeout=...) returns by an error, and it goes on)"
)
_OUTCOMES: dict[str, Outcome] = {"Completed": "completed", "Failed": "failed"}
_CHUNK = 1 << 20  # bytes


class Output(Value, frozen=True, kw_only=True):
    """Where an invocation writes: ``uri`` is an ``s3://`` prefix in the region that it runs in, under which the service
    makes a folder of the invocation's id."""

    uri: str
    kms: str | None = None
    bucket_owner: str | None = None

    def encode(self) -> JsonObject:
        """The wire's ``outputDataConfig``. Raises ``ValidationError``."""
        members = {"s3Uri": check_s3("output", self.uri), "kmsKeyId": self.kms, "bucketOwner": self.bucket_owner}
        return {"s3OutputDataConfig": {name: value for name, value in members.items() if value is not None}}


@dataclass(frozen=True)
class Invocations(Generic[R]):
    """The kind of job (``job.JobKind``). ``read`` makes a result of a completed one's description."""

    read: Callable[[JsonObject], R]
    noun: str = "asynchronous invocation"
    step: str = "invoke"

    def create(self, clients: Clients, request: JsonObject) -> None:
        call(clients, RUNTIME, "start_async_invoke", **request)

    def find(self, clients: Clients, name: str) -> JobState | None:
        try:
            found = call(clients, RUNTIME, "get_async_invoke", invocationArn=name)
        except AwsllmError as error:
            if is_missing(error):
                return None
            raise
        description = _jsonable(found)
        status = str(description["status"])
        return JobState(
            name=name,
            status=status,
            phase=status,
            outcome=_OUTCOMES.get(status),
            message=str(description.get("failureMessage") or ""),
            reason=description.get("failureMessage"),
            description=description,
        )

    def stop(self, clients: Clients, name: str) -> None:
        raise UnsupportedError(NO_STOP)

    def list(self, clients: Clients, *, status: str | None = None, contains: str | None = None) -> Iterator[JobSummary]:
        """``contains`` looks into the ARNs of the invocation and its model, and into the token."""
        wanted = {"statusEquals": status} if status else {}
        newest = {"sortBy": "SubmissionTime", "sortOrder": "Descending"}
        for found in _paged(clients, RUNTIME, "list_async_invokes", "asyncInvokeSummaries", **newest, **wanted):
            names = (found["invocationArn"], found["modelArn"], found.get("clientRequestToken") or "")
            if contains is None or any(contains in name for name in names):
                yield JobSummary(
                    name=found["invocationArn"],
                    status=str(found.get("status") or ""),
                    created=seconds(found.get("submitTime")),
                    ended=seconds(found.get("endTime")),
                    reason=found.get("failureMessage"),
                )

    def tags(self, clients: Clients, state: JobState) -> dict[str, str]:
        return {}

    def log(self, clients: Clients, name: str) -> None:
        """It has none."""

    def result(self, state: JobState, tags: Mapping[str, str]) -> R:
        return self.read(state.description)


def _paged(clients: Clients, service: str, operation: str, member: str, **request: Any) -> Iterator[JsonObject]:
    """The items of a listing that boto3 has a paginator for, page after page."""
    with translated():
        for page in clients(service).get_paginator(operation).paginate(**request):
            yield from page.get(member) or ()


def _jsonable(description: JsonObject) -> JsonObject:
    """Without boto3's own member, and with times as texts."""
    members = {name: value for name, value in description.items() if name != "ResponseMetadata"}
    plain: JsonObject = msgspec.json.decode(msgspec.json.encode(members))
    return plain


# --- one invocation --------------------------------------------------------------------------------------------------


class InvocationJob(ServiceJob[R]):
    """An invocation by its ARN, which is its ``name``. ``token`` is what it was started with, where that is known,
    ``warnings`` what its model cannot honour of the request."""

    def __init__(
        self,
        kind: Invocations[R],
        clients: Clients,
        arn: str,
        on_progress: Listener | None = None,
        pace: Pace | None = None,
    ) -> None:
        super().__init__(kind, clients, arn, on_progress, pace or Pace(poll=10))
        self.token: str | None = None
        self.warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @property
    def arn(self) -> str:
        return self.name

    def stop(self) -> bool:
        """Bedrock has no operation that stops one: raises ``UnsupportedError``, which says what one can do; False where
        it has ended already."""
        return super().stop()

    def files(self) -> tuple[str, ...]:
        """The ``s3://`` URIs of what it has written, in order. Waits for nothing."""
        from awsllm.wire.images.videos import folder_of

        bucket, _, prefix = folder_of(self.state().description).removeprefix("s3://").partition("/")
        found = _paged(self._clients, "s3", "list_objects_v2", "Contents", Bucket=bucket, Prefix=f"{prefix}/")
        return tuple(f"s3://{bucket}/{each['Key']}" for each in found)

    def fetch(self, uri: str, path: str | os.PathLike[str]) -> Path:
        """One object of S3 as a file. What is at ``path`` is replaced once the whole has come."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        target = Path(path)
        part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
        response = call(self._clients, "s3", "get_object", Bucket=bucket, Key=key)
        try:
            with translated(), part.open("wb") as file:
                for chunk in response["Body"].iter_chunks(_CHUNK):
                    file.write(chunk)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return target

    def to_json(self) -> bytes:
        """What another process needs to take it up (``resume``): its ARN."""
        return msgspec.json.encode({"invocationArn": self.name, "clientRequestToken": self.token})

    def _read(self, end: JobState) -> R:
        if end.outcome != "completed":
            message = f"{self.kind.noun} {self.name} failed: {end.reason or 'it tells no reason'}"
            raise ServerError(message, code="ModelErrorException", retryable=False)
        return super()._read(end)

    def _goes_on(self) -> str:
        return f"{self.kind.noun} {self.name} goes on: wait again, or take it up later by its ARN"


J = TypeVar("J", bound=InvocationJob[Any])


def start_invocation(
    make: Callable[[str], J], clients: Clients, request: JsonObject, output: Output, *, token: str | None = None
) -> J:
    """Start one and hand over its job, which ``make`` makes of the ARN. ``request`` has the wire's ``modelId``,
    ``modelInput`` and, if any, ``tags``."""
    token = token or uuid.uuid4().hex
    where = output.encode()
    try:
        started = call(
            clients, RUNTIME, "start_async_invoke", clientRequestToken=token, outputDataConfig=where, **request
        )
    except ServiceError as error:  # whether it was started is not known
        error.add_note(f"started again with token={token!r}, it is no second one")
        raise
    job = make(str(started["invocationArn"]))
    job.token = token
    return job


def arn_of(saved: str | bytes) -> tuple[str, str | None]:
    """ARN and token of an ARN, or of what ``to_json`` gave. Raises ``ValidationError``."""
    text = saved.decode() if isinstance(saved, bytes) else saved
    found: Any = {"invocationArn": text}
    if not text.startswith("arn:"):
        try:
            found = msgspec.json.decode(text)
        except ValueError:
            found = None
    arn = found.get("invocationArn") if isinstance(found, dict) else None
    if not isinstance(arn, str) or ":async-invoke/" not in arn:
        raise ValidationError("an asynchronous invocation is taken up by its ARN, or by what to_json() gave")
    return arn, found.get("clientRequestToken")


# --- awaited ---------------------------------------------------------------------------------------------------------


class AsyncInvocationJob(Generic[R]):
    """The same, awaited: each look is a thread's, and between looks the event loop is free. ``job`` is the synchronous
    one."""

    def __init__(self, job: InvocationJob[R]) -> None:
        self.job = job

    def __repr__(self) -> str:
        return f"Async{self.job!r}"

    @property
    def arn(self) -> str:
        return self.job.arn

    async def done(self) -> bool:
        return await asyncio.to_thread(self.job.done)

    async def state(self) -> JobState:
        return await asyncio.to_thread(self.job.state)

    async def stop(self) -> bool:
        return await asyncio.to_thread(self.job.stop)

    async def wait(self, timeout: float | None = None) -> Self:
        """See ``Job.wait``. Cancelling it leaves the invocation running."""
        delay, end = 1.0, None if timeout is None else asyncio.get_running_loop().time() + timeout
        while not await self.done():
            left = None if end is None else end - asyncio.get_running_loop().time()
            if left is not None and left <= 0:
                raise ModelTimeoutError(f"after {timeout:g} seconds {self.job._goes_on()}")
            await asyncio.sleep(min(delay, self.job._pace.poll, *([] if left is None else [left])))
            delay *= 2
        return self

    async def result(self, timeout: float | None = None) -> R:
        await self.wait(timeout)
        return await asyncio.to_thread(self.job.result)

    async def files(self) -> tuple[str, ...]:
        return await asyncio.to_thread(self.job.files)

    async def fetch(self, uri: str, path: str | os.PathLike[str]) -> Path:
        return await asyncio.to_thread(partial(self.job.fetch, uri, path))

    def to_json(self) -> bytes:
        return self.job.to_json()
