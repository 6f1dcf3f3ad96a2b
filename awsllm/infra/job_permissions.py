"""The least that jobs need of IAM: their caller, the role that they run as, and who may be that role.

The statements are those of the jobs' own plans (``jobs``, ``evaluation``), of every job of a kind instead of one: a
plan knows its data and its name, and says less still. Each carries why it is there. Tried against an evaluator in
tests, never in a real account.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from awsllm.aws import iam
from awsllm.aws.iam import Arns
from awsllm.errors import ValidationError
from awsllm.evaluation.bedrock import evaluation_rights, evaluation_role
from awsllm.infra.permissions import Permissions, Permit, tidy
from awsllm.jobs import access, serverless
from awsllm.jobs.bedrock import customization, roles
from awsllm.jobs.bedrock.importing import import_rights
from awsllm.jobs.bedrock.serving import Serving
from awsllm.jobs.finetune import TRAINING
from awsllm.jobs.sagemaker import check_s3
from awsllm.jobs.sessions.kind import SESSIONS
from awsllm.jobs.transform import transform_rights, transform_role
from awsllm.jumpstart.hub.spec import CONTENT_BUCKET, GATED_BUCKET
from awsllm.jumpstart.plan.permissions import reading_catalogue
from awsllm.models.references import Reference, parse_reference
from awsllm.types import JsonObject, Value

_BEDROCK = "https://docs.aws.amazon.com/bedrock/latest/userguide"
_SAGEMAKER = "https://docs.aws.amazon.com/sagemaker/latest/dg"
_SERVED: Final[Mapping[str, Serving | None]] = {"on-demand": "on-demand", "provisioned": "provisioned", "no": None}


class JobUses(Value, frozen=True, kw_only=True):
    """Which jobs. ``job`` is one of ``JOBS``. ``job_role`` is the ARN of the role that they run as; ``job_input`` and
    ``job_output`` are ``s3://`` prefixes, the first of data that are in S3 already. ``teacher`` (a model) is of
    distillation, ``grader`` (a function's ARN) of reinforcement, ``judge`` (a model) of evaluations. ``served`` is how
    what Bedrock fine-tunes is served: on-demand, provisioned or no. ``group`` is the model package group of serverless
    customisations and sessions, ``image`` the training image of a SageMaker job."""

    job: str = ""
    job_role: str | None = None
    job_input: str | None = None
    job_output: str | None = None
    teacher: str | None = None
    grader: str | None = None
    judge: str | None = None
    served: str = "on-demand"
    group: str = "*"
    image: str | None = None


class _Documents(NamedTuple):
    """The statements of caller and role, the role's trust policy, the page that tells of the role, and notes."""

    caller: Iterable[JsonObject]
    role: JsonObject
    trust: JsonObject
    source: str
    notes: tuple[str, ...] = ()


class _Wanted(NamedTuple):
    """What jobs are made of: models, and where."""

    models: tuple[Reference, ...]
    uses: JobUses
    arns: Arns

    @property
    def role(self) -> str:
        return iam.check_role(self.uses.job_role) if self.uses.job_role else self.arns.iam("role/*")

    @property
    def output(self) -> str:
        if not self.uses.job_output:
            raise ValidationError(f"job={self.uses.job!r} writes to S3: give job_output=, an s3:// prefix")
        return check_s3("job_output", self.uses.job_output).rstrip("/")

    @property
    def input(self) -> str | None:
        return check_s3("job_input", self.uses.job_input) if self.uses.job_input else None

    @property
    def uploads(self) -> str:
        """Where awsllm puts what it is given here (``jobs.bedrock.uploads``)."""
        return f"{self.output}/awsllm/"

    @property
    def read(self) -> list[str]:
        return [self.uploads, *([self.input] if self.input else [])]

    @property
    def groups(self) -> str:
        name = self.uses.group
        return name if name.startswith("arn:") else self.arns.of("sagemaker", f"model-package-group/{name}")

    def named(self, scheme: str) -> list[str]:
        """The models. Raises ``ValidationError`` for none, or one of another place."""
        if not self.models or any(one.scheme != scheme for one in self.models):
            raise ValidationError(f"job={self.uses.job!r} is of models of {scheme}: name one, as {scheme}:MODEL")
        return [one.model for one in self.models]


# --- the jobs --------------------------------------------------------------------------------------------------------


def _fine_tuning(wanted: _Wanted) -> _Documents:
    if wanted.models and wanted.models[0].scheme == "sagemaker":
        return _training(wanted)
    bases, uses, arns = wanted.named("bedrock"), wanted.uses, wanted.arns
    if uses.served not in _SERVED:
        raise ValidationError(f"served={uses.served!r} is none of {', '.join(_SERVED)}")
    way = _SERVED[uses.served]
    caller = [one for base in bases for one in customization.customization_rights(arns, base, wanted.role, way)]
    caller += customization.customization_files(arns, [wanted.uploads], wanted.output)
    named = {"teacher": uses.teacher, "grader": uses.grader}
    role = customization.customization_role(arns, wanted.read, wanted.output, **named)
    trust = roles.trust(arns, "model-customization-job")
    return _Documents(caller, role, trust, f"{_BEDROCK}/model-customization-iam-role.html")


def _training(wanted: _Wanted) -> _Documents:
    """A training job of a JumpStart model, or of a script of one's own."""
    arns, models = wanted.arns, wanted.named("sagemaker")
    kept = [f"s3://{bucket}{arns.region}/" for bucket in (CONTENT_BUCKET, GATED_BUCKET)]  # scripts and weights
    image = wanted.uses.image
    request = _as_request([*kept, *wanted.read], wanted.output, image or "")
    caller = [
        *TRAINING.rights("*", arns),
        iam.pass_role(wanted.role),
        *roles.uploading(arns, [wanted.uploads], wanted.output),
        *reading_catalogue(arns),
    ]
    notes = [
        "to have an endpoint serve the result takes rights of its own: those of "
        f"client.jumpstart.plan({models[0]!r}).permissions"
    ]
    role = access.role_permissions(request, arns, TRAINING.group)
    if image is None:
        role = iam.policy(*role["Statement"], *access.pulling(Arns(arns.region), "*"))
        notes.append("the role may pull any image of its region: give image= for the one that trains")
    return _Documents(caller, role, access.role_trust(arns), f"{_SAGEMAKER}/sagemaker-roles.html", tuple(notes))


def _serverless(wanted: _Wanted) -> _Documents:
    arns = wanted.arns
    wanted.named("sagemaker")
    caller = [
        *TRAINING.rights("*", arns),
        iam.pass_role(wanted.role),
        *serverless.package_rights(arns, wanted.groups, [wanted.uploads], wanted.output),
        *reading_catalogue(arns),
    ]
    found = access.role_permissions(_as_request(wanted.read, wanted.output), arns, TRAINING.group)
    more = serverless.package_making(arns, wanted.groups, judged=bool(wanted.uses.grader))
    role = iam.policy(*found["Statement"], *more)
    return _Documents(caller, role, access.role_trust(arns), f"{_SAGEMAKER}/sagemaker-roles.html")


def _as_request(sources: Iterable[str], output: str, image: str = "") -> JsonObject:
    """What ``role_permissions`` looks at of CreateTrainingJob's request."""
    channels = [{"DataSource": {"S3DataSource": {"S3Uri": uri}}} for uri in sources]
    algorithm = {"TrainingImage": image}
    return {
        "InputDataConfig": channels,
        "OutputDataConfig": {"S3OutputPath": output},
        "AlgorithmSpecification": algorithm,
    }


def _import(wanted: _Wanted) -> _Documents:
    """Of what is in S3 (``job_input``), or of files that go there first."""
    given, arns = wanted.input, wanted.arns
    source = given or wanted.uploads
    caller = import_rights(arns, wanted.role, source, lies_here=given is None)
    role = roles.role_rights(arns, [source], [])
    page = f"{_BEDROCK}/model-import-iam-role.html"
    return _Documents(caller, role, roles.trust(arns, "model-import-job"), page)


def _transform(wanted: _Wanted) -> _Documents:
    arns, models = wanted.arns, wanted.named("sagemaker")
    if wanted.input is None:
        raise ValidationError("job='transform' reads its records in S3: give job_input=, an s3:// prefix")
    caller = [one for model in models for one in transform_rights(arns, model, "*", wanted.output)]
    role = transform_role(arns, wanted.input, wanted.output)
    note = "a transform runs as the role that its model was made with: these are that role's rights for the job alone"
    return _Documents(caller, role, access.role_trust(arns), f"{_SAGEMAKER}/sagemaker-roles.html", (note,))


def _session(wanted: _Wanted) -> _Documents:
    arns = wanted.arns
    role = iam.policy(*access.moving(arns, [wanted.output], [wanted.output]), *_packages(wanted))
    note = "no page tells what the role of a training session needs: it is taken from serverless customisation's"
    page = f"{_SAGEMAKER}/security-confused-deputy-prevention.html"
    return _Documents(SESSIONS.rights(wanted.role, arns), role, access.role_trust(arns), page, (note,))


def _packages(wanted: _Wanted) -> Iterator[JsonObject]:
    return serverless.package_making(wanted.arns, wanted.groups)


def _evaluation(wanted: _Wanted) -> _Documents:
    arns, models = wanted.arns, wanted.named("bedrock")
    judged = [*models, *([parse_reference(wanted.uses.judge).model] if wanted.uses.judge else [])]
    places = (wanted.uploads, wanted.output)
    notes = () if wanted.uses.judge else ("metrics that a model judges need that model, too: give judge=",)
    return _Documents(
        evaluation_rights(arns, wanted.role, judged, places),
        evaluation_role(arns, judged, places),
        roles.trust(arns, "evaluation-job"),
        f"{_BEDROCK}/model-evaluation-security-service-roles.html",
        notes,
    )


JOBS: Final[Mapping[str, Callable[[_Wanted], _Documents]]] = {
    "fine-tuning": _fine_tuning,
    "serverless": _serverless,
    "import": _import,
    "transform": _transform,
    "session": _session,
    "evaluation": _evaluation,
}


def derive_job(models: Iterable[str], uses: JobUses, arns: Arns) -> Permissions:
    """The permissions of whoever makes such jobs in ``arns``' account and region, and of the role that they run as.
    Raises ``ValidationError``."""
    if uses.job not in JOBS:
        raise ValidationError(f"job={uses.job!r} is none of {', '.join(JOBS)}")
    if arns.account == "*" and uses.job_role:
        arns = arns._replace(account=iam.account_of(uses.job_role))
    wanted = _Wanted(tuple(map(parse_reference, models)), uses, arns)
    found = JOBS[uses.job](wanted)
    return Permissions(
        permits=_permits(found.caller, _CALLERS, found.source),
        role_permits=_permits(found.role["Statement"], _ROLES, found.source),
        trust=found.trust,
        notes=(*found.notes, *_open(wanted)),
    )


def _open(wanted: _Wanted) -> Iterator[str]:
    if not wanted.uses.job_role and wanted.uses.job != "transform":  # which passes none
        yield "iam:PassRole names every role of the account: give job_role= for the one that the jobs run as"
    if wanted.arns.account == "*":
        yield "the account is not known: ARNs say * in its place; give account= for exact ones"


# --- why -------------------------------------------------------------------------------------------------------------

_CALLERS: Final[Mapping[str, str]] = {
    "Create": "to make jobs, of these models",
    "Job": "to make jobs, follow, tag and stop them",
    "Session": "to make sessions, follow and end them",
    "Work": "to train and to sample in them",
    "Follow": "to wait for jobs and to stop them",
    "FollowServing": "what serves a result is waited for",
    "Tag": "jobs and models are tagged as they are made",
    "Recognize": "a job that is there is known by its tags",
    "List": "jobs are listed; the action knows no resource",
    "Pass": "the role that the jobs run as, for this service alone",
    "Serve": "a result is served as soon as it is there",
    "Logs": "what a job writes to its log is shown",
    "Model": "a job is made of a model",
    "Packages": "the group of the model's versions is made, and its versions are looked at",
    "Upload": "data and files go there before a job is made",
    "Parts": "a file that goes up in parts, where something goes wrong half way",
    "Bucket": "that the bucket is there, and in the region, is seen before anything is put into it",
    "Read": "what a job wrote is read",
    "Hub": "the model's document is read",
    "Catalogue": "the model's document is read",
}
_ROLES: Final[Mapping[str, str]] = {
    "Read": "what a job is made of",
    "List": "what is read and written is found by listing",
    "Write": "where a job writes",
    "WriteLogs": "its log",
    "Image": "the image that trains is pulled",
    "Metrics": "its metrics",
    "Hub": "the base, in the hub",
    "Package": "what is trained becomes a version of the group",
    "Judge": "the function or the model that judges answers",
    "Grade": "the function that grades answers",
    "Teach": "the model that teaches",
    "Invoke": "the models that are evaluated, and the one that judges",
}


def _why(sid: str, known: Mapping[str, str]) -> str:
    """By the longest beginning that is known."""
    return known[max((one for one in known if sid.startswith(one)), key=len)]


def _permits(statements: Iterable[JsonObject], known: Mapping[str, str], source: str) -> tuple[Permit, ...]:
    return tidy(Permit(statement=one, why=_why(one["Sid"], known), source=source) for one in statements)
