"""``client.fine_tune``: one call, three places.

    job = client.fine_tune("local:smollm2-135m-instruct", "chats.jsonl")
    model = job.result().model

The data are read and checked, then the place makes its plan, and nothing is begun before both are good. Where the base
is says where it is trained: nobody else has its weights. Of several bases ``training_choice`` takes one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

import msgspec

from awsllm.aws import control
from awsllm.errors import AwsllmError, ConfigurationError, UnsupportedError, ValidationError
from awsllm.jobs.data.training import DataLike, TrainingData, read_training_data
from awsllm.jobs.job import JobPlan, ServiceJob, follow
from awsllm.jobs.options import FineTuningOptions
from awsllm.jobs.training_choice import LEAST, TrainingCandidate, chosen
from awsllm.jobs.tuned import FineTunedModel, Where
from awsllm.jumpstart.deploy.resources import Clients
from awsllm.models.references import SCHEMES, Reference, parse_reference

if TYPE_CHECKING:
    from awsllm.aws.session import AwsSession
    from awsllm.jobs.served import JumpStartLike
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


BaseLike: TypeAlias = str | Sequence[str]
"""What is trained; several are a choice."""

_OPTIONS_OF: Mapping[str, frozenset[str]] = {
    "local": frozenset(
        ("method", "steps", "schedule", "length", "rank", "alpha", "dropout", "accumulation", "save_every", "seed",
         "device", "checkpointed", "memory", "precision", "merged")
    ),
    "aws": frozenset(("output", "role", "deploy", "hyperparameters", "tags", "kms", "vpc")),
    "bedrock": frozenset(("customization", "validation", "teacher", "max_response", "grader", "units")),
    "sagemaker": frozenset(
        ("instance_type", "accept_eula", "max_runtime", "spot", "technique", "model_package_group", "model_package",
         "mlflow", "script", "entry", "image", "instance_count", "checkpoints", "max_wait", "env", "metrics")
    ),
}  # fmt: skip
"""Those of some places alone: where several are weighed, each gets its own."""


def _of_place(place: Where, options: dict[str, Any]) -> dict[str, Any]:
    mine = (place,) if place == "local" else (place, "aws")
    others = frozenset().union(*(names for owner, names in _OPTIONS_OF.items() if owner not in mine))
    return {name: value for name, value in options.items() if name not in others}


def _limit(options: dict[str, Any], name: str) -> float | None:
    value = options.pop(name, None)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
        raise ValidationError(f"{name}={value!r} is no number above 0")
    return value


def places_of_training(bases: Sequence[str], where: str) -> list[tuple[Reference, Where, str]]:
    """Those of the bases that can be where it is wanted. Raises ``ValidationError`` or ``UnsupportedError``."""
    if not bases:
        raise ValidationError("there is no base to be trained: name one, such as local:smollm2-135m-instruct")
    if len(bases) == 1:
        return [place_of_training(bases[0], where)]
    fitting = [base for base in bases if where in ("auto", parse_reference(base).scheme)]
    return [place_of_training(base, where) for base in fitting or bases[:1]]


def place_of_training(base: str, where: str) -> tuple[Reference, Where, str]:
    """The base, where it is trained, and why there. Raises ``ValidationError`` or ``UnsupportedError``."""
    reference = parse_reference(base)
    if where not in ("auto", *SCHEMES):
        raise ValidationError(f"where={where!r} is none of 'auto', {', '.join(map(repr, SCHEMES))}")
    if where not in ("auto", reference.scheme):
        raise UnsupportedError(f"{base} is not trained with where={where!r}: {_INSTEAD[reference.scheme, where]}")
    return reference, cast("Where", reference.scheme), _WHY[reference.scheme].format(model=reference.model)


class _Prepared(NamedTuple):
    """A plan, and what begins it."""

    base: str
    place: Where
    plan: JobPlan
    begin: Callable[[], Tuning]

    def because(self, why: str) -> _Prepared:
        begin = self.begin

        def begun() -> Tuning:
            job = begin()
            job.why = why
            return job

        return self._replace(plan=msgspec.structs.replace(self.plan, why=why), begin=begun)


class FineTunings:
    """Those of one client. ``sessions`` gives the session of a region (None: the client's own)."""

    def __init__(
        self,
        sessions: Callable[[str | None], AwsSession],
        store: Callable[[], Store | None],
        jumpstart: Callable[[], JumpStartLike],
    ) -> None:
        self._sessions, self._store, self._jumpstart = sessions, store, jumpstart

    def start(self, base: BaseLike, data: DataLike, where: str, options: FineTuningOptions) -> Tuning:
        """Begin a fine-tuning, or take up the one that this call began before."""
        return self._prepared(base, data, where, options).begin()

    def plan(self, base: BaseLike, data: DataLike, where: str, options: FineTuningOptions) -> JobPlan:
        """What it would be; nothing is begun, and nothing is put anywhere."""
        return self._prepared(base, data, where, options).plan

    def _prepared(self, base: BaseLike, data: DataLike, where: str, options: FineTuningOptions) -> _Prepared:
        """The base that is chosen. Data are read once, and first: what is wrong with them is wrong everywhere."""
        wanted: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        deadline, most = _limit(wanted, "deadline"), _limit(wanted, "max_cost")
        bases = [base] if isinstance(base, str) else list(base)
        places = places_of_training(bases, where)
        clients = self.clients(places[0][0].region)
        if "validation" in wanted:
            wanted["validation"] = self.read(wanted["validation"], clients)
        kept = "script" in wanted and isinstance(data, str) and data.startswith("s3://")
        found: Any = data if kept else self.read(data, clients)  # a script reads what it likes
        if len(places) == 1:
            reference, place, why = places[0]
            prepared = self._at(place, reference, found, dict(wanted))
            candidate = self._candidate(prepared, found)
            chosen([candidate], deadline, most)
            return prepared.because(f"{why}: {candidate.takes()}" if candidate.memory else why)
        tried = [self._tried(place, reference, found, dict(wanted)) for reference, place, _ in places]
        number, why = chosen([candidate for candidate, _ in tried], deadline, most)
        prepared = cast("_Prepared", tried[number][1])
        return prepared.because(f"{places[number][2]}: {why}")

    def _tried(
        self, place: Where, reference: Reference, data: TrainingData, options: dict[str, Any]
    ) -> tuple[TrainingCandidate, _Prepared | None]:
        """Of several; what one refuses, another may take."""
        try:
            prepared = self._at(place, reference, data, _of_place(place, options))
            prepared.plan.check()
            return self._candidate(prepared, data), prepared
        except AwsllmError as error:
            return TrainingCandidate(base=str(reference), where=place, obstacle=error.message), None

    def _at(self, place: Where, reference: Reference, data: TrainingData, options: dict[str, Any]) -> _Prepared:
        prepare = {"local": self._local, "bedrock": self._bedrock, "sagemaker": self._sagemaker}[place]
        plan, begin = prepare(reference, data, options)
        return _Prepared(str(reference), place, plan, begin)

    def _candidate(self, prepared: _Prepared, data: TrainingData) -> TrainingCandidate:
        base, place, cost = prepared.base, prepared.place, prepared.plan.cost
        if place != "local":
            return TrainingCandidate(base=base, where=place, usd=cost.total, seconds=LEAST[place])
        from awsllm.jobs.local.kind import LocalJobs
        from awsllm.jobs.local.needs import needs_of
        from awsllm.jobs.local.planning import LocalTraining

        if LocalJobs().folder(prepared.plan.name).state() is not None:  # it has what it takes
            return TrainingCandidate(base=base, where="local", usd=0.0)
        request = prepared.plan.request
        training = msgspec.convert(request["training"], LocalTraining)
        found = needs_of(Path(request["path"]), data, training)
        if found is None:
            return TrainingCandidate(base=base, where="local", usd=0.0)
        found.check()
        free = None if training.memory == "ignore" else found.free
        return TrainingCandidate(
            base=base, where="local", usd=0.0, seconds=found.seconds, memory=found.memory, free=free
        )

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

    def hosting(self, job: ServiceJob[Any]) -> ServiceJob[Any]:
        """A job that was taken up, with what makes endpoints, where what it trained may need one."""
        from awsllm.jobs.taken_up import TakenUpTraining

        if isinstance(job, TakenUpTraining):
            job.jumpstart = self._jumpstart
        return job

    def clients(self, region: str | None) -> Clients:
        """The boto3 clients of a region."""
        return lambda service: control.client(service, self._sessions(region))

    def _local(
        self, reference: Reference, data: TrainingData, options: dict[str, Any]
    ) -> tuple[JobPlan, Callable[[], Tuning]]:
        from awsllm.jobs.local.bases import check_base
        from awsllm.jobs.local.kind import LocalJob, LocalJobs, nowhere
        from awsllm.jobs.local.needs import on_device
        from awsllm.jobs.local.planning import lay_out, plan_local, training_of
        from awsllm.store import Store

        on_progress = options.pop("on_progress", None)
        named = {name: options.pop(name) for name in ("name", "attempt") if name in options}
        if "batch_size" in options:
            options["rows"] = options.pop("batch_size")
        training, path = on_device(training_of(options)), (self._store() or Store()).path(reference.model)
        plan, jobs = plan_local(str(reference), str(path.absolute()), data, training, **named), LocalJobs()
        if jobs.find(nowhere, plan.name) is None:  # else it was good when it was begun
            check_base(str(reference), path, data, training.length)

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
        clients = self.clients(reference.region)
        if "script" in options:
            from awsllm.jobs.script import prepare_script

            options["role"] = options.get("role") or self._jumpstart().role()
            return prepare_script(clients, reference.model, data, self.region(reference.region), options)
        if "deploy" not in options:
            raise ConfigurationError(
                "fine-tuning in SageMaker needs deploy=: True has an endpoint serve the result, which costs by the "
                "hour for as long as it is there; False leaves it in S3"
            )
        if "technique" in options or data.form in ("preference", "prompt"):
            from awsllm.jobs.serverless_job import prepare_serverless

            return prepare_serverless(self._jumpstart(), clients, reference.model, data, options)
        from awsllm.jobs.jumpstart_tuning import plan_jumpstart

        return plan_jumpstart(self._jumpstart(), clients, reference.model, data, options)
