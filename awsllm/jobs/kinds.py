"""All kinds of jobs, a row each: where they run, how they are spoken to, by which names they go, and which class of
handle is theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from awsllm.jobs.batch.bedrock import MODEL_INVOCATION
from awsllm.jobs.batch.known import LEDGERS, LedgerJob, ledger_at
from awsllm.jobs.bedrock.copying import COPY
from awsllm.jobs.bedrock.customization import CUSTOMIZATION, CustomizationJob
from awsllm.jobs.bedrock.evaluation import EVALUATION
from awsllm.jobs.bedrock.importing import IMPORT
from awsllm.jobs.bedrock.serving import DEPLOYMENT, PROVISIONED, ServingJob
from awsllm.jobs.endpoint_calls import EndpointCallJob, EndpointCalls
from awsllm.jobs.finetune import TRAINING
from awsllm.jobs.job import JobKind, ServiceJob
from awsllm.jobs.local.kind import LocalJob, LocalJobs
from awsllm.jobs.sessions.kind import SESSIONS
from awsllm.jobs.taken_up import TakenUpTraining
from awsllm.jobs.transform import TRANSFORM
from awsllm.jobs.video import VideoJob, video_invocations
from awsllm.jumpstart.deploy.progress import Listener
from awsllm.jumpstart.deploy.resources import Clients
from awsllm.types import JsonObject

PLACES = ("local", "bedrock", "sagemaker")

Make = Callable[[Clients, str, Listener | None, JsonObject], ServiceJob[Any]]
"""The handle of a job: by its name, and by the options that a saved one has."""


class KindRow(NamedTuple):
    """``mark`` is what the ARN of one has in it; ``named`` says of other names whether one can be of this kind."""

    place: str
    kind: Callable[[], JobKind[Any]]
    make: Make
    mark: str = ""
    named: Callable[[str], bool] = lambda name: "://" not in name

    @property
    def noun(self) -> str:
        return self.kind().noun

    def fits(self, name: str) -> bool:
        """Whether a job of that name can be of this kind."""
        return bool(self.mark) and f"{self.mark}/" in name if name.startswith("arn:") else self.named(name)


def _plain(kind: JobKind[Any], job: Callable[..., ServiceJob[Any]] = ServiceJob) -> Make:
    return lambda clients, name, listener, options: job(kind, clients, name, listener)


def _local(clients: Clients, name: str, listener: Listener | None, options: JsonObject) -> ServiceJob[Any]:
    return LocalJob(LocalJobs(), name, listener)


def _video(clients: Clients, name: str, listener: Listener | None, options: JsonObject) -> ServiceJob[Any]:
    return VideoJob(video_invocations(), clients, name, listener)


def _customization(clients: Clients, name: str, listener: Listener | None, options: JsonObject) -> ServiceJob[Any]:
    kept: Any = {member: options[member] for member in ("deploy", "units") if member in options}
    return CustomizationJob(clients, name, listener, **kept)


def _training(clients: Clients, name: str, listener: Listener | None, options: JsonObject) -> ServiceJob[Any]:
    return TakenUpTraining(clients, name, listener, kept=options)


def _endpoint_call(clients: Clients, name: str, listener: Listener | None, options: JsonObject) -> ServiceJob[Any]:
    kept: Any = {member: options.get(member) for member in ("failure", "endpoint")}
    return EndpointCallJob(clients, name, listener, **kept)


def _is_local(name: str) -> bool:
    return not set(name) & set("/\\")


def _row(place: str, kind: Any, mark: str, make: Make | None = None) -> KindRow:
    """Of a kind that is one value."""
    return KindRow(place, lambda: kind, make or _plain(kind), mark)


ROWS: tuple[KindRow, ...] = (
    KindRow("local", LocalJobs, _local, named=_is_local),
    KindRow("local", lambda: LEDGERS, _plain(LEDGERS, LedgerJob), named=lambda name: ledger_at(name) is not None),
    _row("bedrock", CUSTOMIZATION, ":model-customization-job", _customization),
    _row("bedrock", IMPORT, ":model-import-job"),
    _row("bedrock", COPY, ":model-copy-job"),
    _row("bedrock", EVALUATION, ":evaluation-job"),
    _row("bedrock", MODEL_INVOCATION, ":model-invocation-job"),
    _row("bedrock", DEPLOYMENT, ":custom-model-deployment", _plain(DEPLOYMENT, ServingJob)),
    _row("bedrock", PROVISIONED, ":provisioned-model", _plain(PROVISIONED, ServingJob)),
    KindRow("bedrock", video_invocations, _video, ":async-invoke", named=lambda name: False),
    _row("sagemaker", TRAINING, ":training-job", _training),
    _row("sagemaker", TRANSFORM, ":transform-job"),
    _row("sagemaker", SESSIONS, ":training-session"),
    KindRow("sagemaker", EndpointCalls, _endpoint_call, named=lambda name: name.startswith("s3://")),
)


def row_of(noun: str) -> KindRow | None:
    """None for a kind that this version does not know."""
    return next((row for row in ROWS if row.noun == noun), None)
