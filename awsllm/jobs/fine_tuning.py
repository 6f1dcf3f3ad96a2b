"""``client.fine_tune``: one call, three places.

    job = client.fine_tune("local:smollm2-135m-instruct", "chats.jsonl")
    model = job.result().model

The data are read and checked, then the place makes its plan, and nothing is begun before both are good. Where the base
is says where it is trained: nobody else has its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from awsllm.aws import control
from awsllm.errors import ConfigurationError, UnsupportedError, ValidationError
from awsllm.jobs.data.training import DataLike, TrainingData, read_training_data
from awsllm.jobs.job import JobPlan, ServiceJob, follow
from awsllm.jobs.options import FineTuningOptions
from awsllm.jobs.tuned import FineTunedModel, Where
from awsllm.jumpstart.deploy.resources import Clients
from awsllm.models.references import SCHEMES, Reference, parse_reference

if TYPE_CHECKING:
    from awsllm.aws.session import AwsSession
    from awsllm.jobs.jumpstart_tuning import JumpStartLike
    from awsllm.store import Store

Tuning: TypeAlias = ServiceJob[FineTunedModel]

_WHY: Mapping[str, str] = {
    "local": "on this machine, where the weights of {model} are",
    "bedrock": "in Bedrock, which alone has the weights of {model}",
    "sagemaker": "in SageMaker, as a training job of JumpStart's {model}",
}
_INSTEAD: Mapping[tuple[str, str], str] = {
    ("bedrock", "local"): "its weights are not to be had: take an open model, such as local:smollm2-135m-instruct",
    ("sagemaker", "local"): "name it local:jumpstart/MODEL_ID, where its licence lets it be fetched",
    ("local", "bedrock"): "train it with where='local', then client.jobs.import_model(result) has Bedrock serve it",
    ("sagemaker", "bedrock"): "Bedrock tunes the foundation models that it has: name one, as bedrock:MODEL_ID",
    ("local", "sagemaker"): "name JumpStart's model, as sagemaker:MODEL_ID",
    ("bedrock", "sagemaker"): "name JumpStart's model, as sagemaker:MODEL_ID",
}


def place_of_training(base: str, where: str) -> tuple[Reference, Where, str]:
    """The base, where it is trained, and why there. Raises ``ValidationError`` or ``UnsupportedError``."""
    reference = parse_reference(base)
    if where not in ("auto", *SCHEMES):
        raise ValidationError(f"where={where!r} is none of 'auto', {', '.join(map(repr, SCHEMES))}")
    if where not in ("auto", reference.scheme):
        raise UnsupportedError(f"{base} is not trained with where={where!r}: {_INSTEAD[reference.scheme, where]}")
    return reference, cast("Where", reference.scheme), _WHY[reference.scheme].format(model=reference.model)


class FineTunings:
    """Those of one client. ``sessions`` gives the session of a region (None: the client's own)."""

    def __init__(
        self,
        sessions: Callable[[str | None], AwsSession],
        store: Callable[[], Store | None],
        jumpstart: Callable[[], JumpStartLike],
    ) -> None:
        self._sessions, self._store, self._jumpstart = sessions, store, jumpstart

    def start(self, base: str, data: DataLike, where: str, options: FineTuningOptions) -> Tuning:
        """Begin a fine-tuning, or take up the one that this call began before."""
        return self._prepared(base, data, where, options)[1]()

    def plan(self, base: str, data: DataLike, where: str, options: FineTuningOptions) -> JobPlan:
        """What it would be; nothing is begun, and nothing is put anywhere."""
        return self._prepared(base, data, where, options)[0]

    def _prepared(
        self, base: str, data: DataLike, where: str, options: FineTuningOptions
    ) -> tuple[JobPlan, Callable[[], Tuning]]:
        reference, place, why = place_of_training(base, where)
        clients = self.clients(reference.region)
        wanted: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        if "validation" in wanted:
            wanted["validation"] = self.read(wanted["validation"], clients)
        found = self.read(data, clients)
        prepare = {"local": self._local, "bedrock": self._bedrock, "sagemaker": self._sagemaker}[place]
        plan, begin = prepare(reference, found, wanted)

        def begun() -> Tuning:
            job = begin()
            job.why = why
            return job

        return plan, begun

    def read(self, data: DataLike, clients: Clients) -> TrainingData:
        """The data, from S3 too."""
        if isinstance(data, str) and data.startswith("s3://"):
            from awsllm.jobs.bedrock.uploads import read_object

            found = read_training_data(read_object(clients, data))
            return TrainingData(found.examples, found.form, data)
        return read_training_data(data)

    def region(self, region: str | None) -> str:
        """The one that is meant. Raises ``ConfigurationError`` where none is configured."""
        return self._sessions(region).region

    def clients(self, region: str | None) -> Clients:
        """The boto3 clients of a region."""
        return lambda service: control.client(service, self._sessions(region))

    def _local(
        self, reference: Reference, data: TrainingData, options: dict[str, Any]
    ) -> tuple[JobPlan, Callable[[], Tuning]]:
        from awsllm.jobs.local.kind import LocalJob, LocalJobs
        from awsllm.jobs.local.planning import lay_out, plan_local, training_of
        from awsllm.store import Store

        on_progress = options.pop("on_progress", None)
        named = {name: options.pop(name) for name in ("name", "attempt") if name in options}
        if "batch_size" in options:
            options["rows"] = options.pop("batch_size")
        training, path = training_of(options), (self._store() or Store()).path(reference.model)
        plan, jobs = plan_local(str(reference), str(path.absolute()), data, training, **named), LocalJobs()

        def begin() -> Tuning:
            lay_out(jobs, plan, data)
            return follow(LocalJob(jobs, plan.name, on_progress), plan)

        return plan, begin

    def _bedrock(
        self, reference: Reference, data: TrainingData, options: dict[str, Any]
    ) -> tuple[JobPlan, Callable[[], Tuning]]:
        from awsllm.jobs.bedrock.customization import CustomizationJob, lay_down, plan_customization

        on_progress = options.pop("on_progress", None)
        given: Any = options
        plan = plan_customization(reference.model, data, self.region(reference.region), given)
        clients = self.clients(reference.region)

        def begin() -> Tuning:
            lay_down(clients, plan, data, given)
            return follow(CustomizationJob(clients, plan.name, on_progress, deploy=plan.deploy, units=plan.units), plan)

        return plan, begin

    def _sagemaker(
        self, reference: Reference, data: TrainingData, options: dict[str, Any]
    ) -> tuple[JobPlan, Callable[[], Tuning]]:
        from awsllm.jobs.jumpstart_tuning import plan_jumpstart

        if "deploy" not in options:
            raise ConfigurationError(
                "fine-tuning in SageMaker needs deploy=: True has an endpoint serve the result, which costs by the "
                "hour for as long as it is there; False leaves it in S3"
            )
        jumpstart, clients = self._jumpstart(), self.clients(reference.region)
        return plan_jumpstart(jumpstart, clients, reference.model, data, options)
