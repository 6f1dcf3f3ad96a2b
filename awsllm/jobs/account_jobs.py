"""``client.jobs``: all jobs, of all kinds, in all places: listed, taken up by their names, followed, stopped.

What a place does not let one list is a warning where no place was named, for whoever has no AWS has jobs here still.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from awsllm.aws.iam import region_of
from awsllm.errors import AwsllmError, ConfigurationError, RequestError, ValidationError
from awsllm.jobs.batch.known import ledger_at
from awsllm.jobs.bedrock.copying import COPY, plan_copy
from awsllm.jobs.bedrock.importing import IMPORT, lay_files, plan_import
from awsllm.jobs.data.statistics import DataStatistics, statistics
from awsllm.jobs.data.training import DataLike
from awsllm.jobs.fine_tuning import FineTunings
from awsllm.jobs.invocation import arn_of
from awsllm.jobs.job import JobHandle, JobPlan, JobSummary, ServiceJob, start
from awsllm.jobs.kinds import PLACES, ROWS, row_of
from awsllm.jobs.options import FineTuningOptions
from awsllm.jobs.tuned import FineTunedModel
from awsllm.jobs.video import video_invocations
from awsllm.jumpstart.deploy.progress import Listener
from awsllm.types import Value

Saved: TypeAlias = str | os.PathLike[str] | bytes | JobHandle
"""A job that was kept: a file's path, what ``to_json`` gave, or the handle."""


class ListedJob(Value, frozen=True, kw_only=True):
    """A line of ``client.jobs.list``. Times are in seconds since the epoch."""

    name: str
    where: str
    noun: str
    status: str
    created: float | None = None
    ended: float | None = None
    reason: str | None = None


class JobList(NamedTuple):
    """Jobs, the newest first of each kind, and what could not be listed."""

    jobs: tuple[ListedJob, ...]
    warnings: tuple[str, ...]


class Jobs:
    """The jobs of one client's account and machine."""

    def __init__(self, tunings: FineTunings) -> None:
        self._tunings = tunings

    def list(self, where: str | None = None, *, status: str | None = None, contains: str | None = None) -> JobList:
        """Those in a place ("local", "bedrock", "sagemaker"), or in all; those in ``status``, with ``contains`` in
        their name. Calls of asynchronous endpoints are not among them: SageMaker lists none."""
        if where not in (None, *PLACES):
            raise ValidationError(f"where={where!r} is none of {', '.join(map(repr, PLACES))}")
        found: list[ListedJob] = []
        unlisted: dict[str, list[str]] = {}  # by the reason: a missing region is one for all of AWS
        clients = self._tunings.clients(None)
        for row in ROWS:
            if where not in (None, row.place):
                continue
            kind = row.kind()
            try:
                listed = kind.list(clients, status=status, contains=contains)
                found += [_listed(row.place, kind.noun, one) for one in listed]
            except AwsllmError as error:
                if status is not None and isinstance(error, RequestError) and error.code == "ValidationException":
                    continue  # a status that jobs of this kind do not have
                if where is not None:
                    raise
                unlisted.setdefault(str(error), []).append(f"{kind.noun}s")
        warnings = tuple(f"{', '.join(nouns)} are not listed: {error}" for error, nouns in unlisted.items())
        return JobList(tuple(found), warnings)

    def get(self, name: str, *, on_progress: Listener | None = None) -> ServiceJob[Any]:
        """A job by its name or ARN, wherever it is: a batch also by its output or ledger, a call of an asynchronous
        endpoint by where its answer will be. Raises ``ConfigurationError`` where there is none."""
        name = name.removeprefix("bedrock:") if name.startswith("bedrock:arn:") else name
        clients = self._tunings.clients(region_of(name) if name.startswith("arn:") else None)
        failed: AwsllmError | None = None
        for row in ROWS:
            if not row.fits(name):
                continue
            try:
                if row.kind().find(clients, name) is not None:
                    return self._tunings.hosting(row.make(clients, name, on_progress, {}))
            except AwsllmError as error:
                failed = failed or error
        missing = ConfigurationError(f"there is no job {name}")
        if failed is not None:
            missing.add_note(f"not every place could be asked: {failed}")
        raise missing

    def load(self, saved: Saved, *, on_progress: Listener | None = None) -> ServiceJob[Any]:
        """A job that ``save`` wrote or ``to_json`` gave, in this process or another."""
        handle = _handle(saved)
        row = row_of(handle.noun)
        if row is None:
            raise ValidationError(f"{handle.noun!r} is no kind of job that this version knows")
        clients = self._tunings.clients(handle.region or None)
        job = self._tunings.hosting(row.make(clients, handle.name, on_progress, handle.options))
        job.estimate, job.region = handle.cost, handle.region
        job.state()
        return job

    def attach(self, job: Saved, *, on_progress: Listener | None = None) -> ServiceJob[Any]:
        """``load`` for what was saved, ``get`` for a name; a path of a batch's output or ledger is its name."""
        if not isinstance(job, str) or job.lstrip().startswith("{"):
            return self.load(job, on_progress=on_progress)
        if Path(job).is_file() and ledger_at(job) is None:
            return self.load(job, on_progress=on_progress)
        return self.get(job, on_progress=on_progress)

    def watch(self, job: Saved, *, on_progress: Listener | None = None, timeout: float | None = None) -> Any:
        """Follow a job to its end. Returns what came of it, or raises why nothing did; a timeout leaves it running."""
        return self.attach(job, on_progress=on_progress).result(timeout)

    def stop(self, job: Saved) -> bool:
        """Ask a job to stop; False where it has ended already."""
        return self.attach(job).stop()

    def plan_fine_tune(
        self,
        base: str | Sequence[str],
        data: DataLike,
        *,
        where: str = "auto",
        options: FineTuningOptions | None = None,
    ) -> JobPlan:
        """What ``client.fine_tune`` with the same arguments would do and cost, and which rights that takes."""
        return self._tunings.plan(base, data, where, options or {})

    def inspect_data(self, data: DataLike) -> DataStatistics:
        """What is in training data, here or in S3, and what is wrong with them; nothing is begun."""
        return statistics(self._tunings.read(data, self._tunings.clients(None)))

    def import_model(
        self,
        model: FineTunedModel | str | os.PathLike[str],
        *,
        output: str | None = None,
        role: str | None = None,
        name: str | None = None,
        region: str | None = None,
    ) -> ServiceJob[FineTunedModel]:
        """Have Bedrock serve a model that was trained elsewhere: a folder of safetensors, what a fine-tuning gave, or
        an ``s3://`` prefix. Files on this machine go to S3 under ``output`` first."""
        source = model.artifacts if isinstance(model, FineTunedModel) else os.fspath(model)
        if not source:
            raise ConfigurationError("this model has no files to be imported: train it with merged=True")
        clients = self._tunings.clients(region)
        plan = plan_import(source, self._tunings.region(region), output=output, role=role, name=name)
        lay_files(clients, plan)
        return start(IMPORT, plan, clients)

    def copy_model(
        self, model: str, *, region: str, name: str | None = None, kms: str | None = None
    ) -> ServiceJob[FineTunedModel]:
        """A custom model of another region in ``region``, by its ARN."""
        return start(COPY, plan_copy(model, region, name=name, kms=kms), self._tunings.clients(region))


def _handle(saved: Saved) -> JobHandle:
    if isinstance(saved, JobHandle):
        return saved
    if isinstance(saved, str) and saved.lstrip().startswith("{"):
        saved = saved.encode()
    content = saved if isinstance(saved, bytes) else Path(saved).read_bytes()
    if b"invocationArn" in content:
        arn, _ = arn_of(content)
        return JobHandle(noun=video_invocations().noun, name=arn, region=region_of(arn))
    return JobHandle.from_json(content)


def _listed(place: str, noun: str, one: JobSummary) -> ListedJob:
    return ListedJob(
        name=one.name,
        where=place,
        noun=noun,
        status=one.status,
        created=one.created,
        ended=one.ended,
        reason=one.reason,
    )
