"""``client.jobs``: all jobs, of all kinds, in all places: listed, taken up by their names, stopped.

What a place does not let one list is a warning where no place was named, for whoever has no AWS has jobs here still.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from awsllm.errors import AwsllmError, ConfigurationError, ValidationError
from awsllm.jobs.bedrock.copying import COPY, plan_copy
from awsllm.jobs.bedrock.customization import CUSTOMIZATION, CustomizationJob
from awsllm.jobs.bedrock.evaluation import EVALUATION
from awsllm.jobs.bedrock.importing import IMPORT, lay_files, plan_import
from awsllm.jobs.data.training import DataLike
from awsllm.jobs.fine_tuning import FineTunings
from awsllm.jobs.finetune import TRAINING
from awsllm.jobs.job import JobHandle, JobKind, JobPlan, JobSummary, ServiceJob, start
from awsllm.jobs.local.kind import LocalJob, LocalJobs, nowhere
from awsllm.jobs.options import FineTuningOptions
from awsllm.jobs.transform import TRANSFORM
from awsllm.jobs.tuned import FineTunedModel
from awsllm.jumpstart.deploy.progress import Listener
from awsllm.jumpstart.deploy.resources import Clients
from awsllm.types import Value

_KINDS: Mapping[str, tuple[JobKind[Any], ...]] = {
    "bedrock": (CUSTOMIZATION, IMPORT, COPY, EVALUATION),
    "sagemaker": (TRAINING, TRANSFORM),
}
PLACES = ("local", *_KINDS)


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
        their name."""
        if where not in (None, *PLACES):
            raise ValidationError(f"where={where!r} is none of {', '.join(map(repr, PLACES))}")
        found: list[ListedJob] = []
        warnings: list[str] = []
        for place, kind, clients in self._kinds(where):
            try:
                found += [
                    _listed(place, kind.noun, one) for one in kind.list(clients, status=status, contains=contains)
                ]
            except AwsllmError as error:
                if where is not None:
                    raise
                warnings.append(f"{kind.noun}s are not listed: {error}")
        return JobList(tuple(found), tuple(warnings))

    def get(self, name: str, *, on_progress: Listener | None = None) -> ServiceJob[Any]:
        """A job by its name, wherever it is. Raises ``ConfigurationError`` where there is none."""
        failed: AwsllmError | None = None
        for _, kind, clients in self._kinds(None):
            try:
                if kind.find(clients, name) is not None:
                    return self._job(kind.noun, name, None, on_progress)
            except AwsllmError as error:
                failed = failed or error
        missing = ConfigurationError(f"there is no job {name}")
        if failed is not None:
            missing.add_note(f"not every place could be asked: {failed}")
        raise missing

    def load(
        self, saved: str | os.PathLike[str] | bytes | JobHandle, *, on_progress: Listener | None = None
    ) -> ServiceJob[Any]:
        """A job that ``save`` wrote, by the file's path, its bytes, or the handle."""
        if isinstance(saved, JobHandle):
            handle = saved
        else:
            handle = JobHandle.from_json(saved if isinstance(saved, bytes) else Path(saved).read_bytes())
        job = self._job(handle.noun, handle.name, handle.region or None, on_progress)
        job.cost = handle.cost
        job.state()
        return job

    def plan_fine_tune(
        self, base: str, data: DataLike, *, where: str = "auto", options: FineTuningOptions | None = None
    ) -> JobPlan:
        """What ``client.fine_tune`` with the same arguments would do and cost, and which rights that takes."""
        return self._tunings.plan(base, data, where, options or {})

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

    def _kinds(self, where: str | None) -> Iterator[tuple[str, JobKind[Any], Clients]]:
        if where in (None, "local"):
            yield "local", LocalJobs(), nowhere
        clients = self._tunings.clients(None)
        for place, kinds in _KINDS.items():
            if where in (None, place):
                yield from ((place, kind, clients) for kind in kinds)

    def _job(self, noun: str, name: str, region: str | None, on_progress: Listener | None) -> ServiceJob[Any]:
        if noun == LocalJobs.noun:
            return LocalJob(LocalJobs(), name, on_progress)
        clients = self._tunings.clients(region)
        if noun == CUSTOMIZATION.noun:
            return CustomizationJob(clients, name, on_progress)
        for kinds in _KINDS.values():
            for kind in kinds:
                if kind.noun == noun:
                    return ServiceJob(kind, clients, name, on_progress)
        raise ValidationError(f"{noun!r} is no kind of job that this version knows")


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
