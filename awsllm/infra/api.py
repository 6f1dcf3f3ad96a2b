"""What ``awsllm infra`` does, as functions: ``awsllm.infra.plan(...)`` and its neighbours.

All block, as CloudFormation takes minutes. Every function takes where to work by name: ``region``, ``profile``,
``session`` (boto3's or botocore's) and ``endpoint_url``, as ``Client`` does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, Unpack

from msgspec.structs import replace

from awsllm.aws import control
from awsllm.aws.iam import Arns, check_role
from awsllm.aws.session import AwsSession
from awsllm.errors import AwsllmError, ValidationError
from awsllm.infra import account_checks, code, deployment, drift, model_names, removal, stacks
from awsllm.infra.account_checks import AccountCheck
from awsllm.infra.change_sets import StackPlan, StackRequest
from awsllm.infra.deployment import Approve, Site
from awsllm.infra.drift import Drift
from awsllm.infra.model_arns import Ask, ModelArnFinder
from awsllm.infra.model_parameters import model_parameters
from awsllm.infra.parameters import checked
from awsllm.infra.permissions import Permissions, Uses, derive
from awsllm.infra.removal import Agree, Removal
from awsllm.infra.rendering import Rendering
from awsllm.infra.rendering import render as _render
from awsllm.infra.stacks import StackDescription
from awsllm.infra.template_text import read_document
from awsllm.infra.templates import Template, template
from awsllm.jumpstart.deploy.progress import Listener, Pace
from awsllm.models.opaque import Question

TemplateLike = str | Path | Template


class AccountOptions(TypedDict, total=False):
    """Which account and region. ``pace`` is how waiting passes time, ``timeout`` after how many seconds following a
    stack gives up (an hour and a half unless told; None: never), which ends nothing that CloudFormation does."""

    region: str | None
    profile: str | None
    session: Any
    endpoint_url: str | None
    pace: Pace
    timeout: float | None


class StackOptions(AccountOptions, total=False):
    """What a deployment takes beside its template.

    ``stack`` is the stack's name; without it that of the template, ``awsllm-`` before it. ``parameters`` are values by
    name; a stack that is there keeps those that are not given. ``models`` are references, from which the parameters
    follow that say which model may be called. ``code`` is the package of the template's functions (a ZIP file), built
    here for a new stack where it is not given, and for any with ``build``; ``bucket`` where it goes instead of awsllm's
    own. ``tags`` are the stack's, which CloudFormation gives to what it makes. ``role`` is the ARN of the role that
    CloudFormation works with, the caller's rights without it.
    """

    stack: str | None
    parameters: Mapping[str, Any]
    models: tuple[str, ...]
    code: str | Path | None
    build: bool
    bucket: str | None
    tags: Mapping[str, str]
    role: str | None


class PolicyOptions(AccountOptions, total=False):
    """What is done with the models of a policy, see ``Uses``; or which ``job`` is made of them, one of fine-tuning,
    serverless, import, transform, session and evaluation, see ``job_permissions.JobUses``. ``account`` is the caller's
    unless given; ``offline`` asks AWS nothing; ``behind`` says which model is behind an ARN that only Bedrock could
    tell of."""

    account: str | None
    offline: bool
    behind: Mapping[str, str]
    stream: bool
    count_tokens: bool
    rerank: bool
    generate: bool
    bearer: bool
    mantle: bool
    guardrails: tuple[str, ...]
    guardrail_profile: str | None
    knowledge_bases: tuple[str, ...]
    async_output: str | None
    batch: bool
    batch_role: str | None
    batch_input: str | None
    batch_output: str | None
    job: str
    job_role: str | None
    job_input: str | None
    job_output: str | None
    teacher: str | None
    grader: str | None
    judge: str | None
    served: str
    group: str
    image: str | None


# --- templates -------------------------------------------------------------------------------------------------------


def render(name: TemplateLike, parameters: Mapping[str, Any] | None = None) -> Rendering:
    """A template with its parameters filled in and checked."""
    return _render(template(name), parameters)


def read_parameters(path: str | Path) -> dict[str, Any]:
    """Parameters from a file, YAML or JSON: a mapping, one under ``Parameters``, or the list that AWS's command line
    takes (``ParameterKey``, ``ParameterValue``)."""
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValidationError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}") from error
    found: Any = read_document(f"Parameters: {text}" if text.lstrip().startswith("[") else text, str(path))
    found = found.get("Parameters", found)
    if isinstance(found, dict):
        return found
    try:
        return {each["ParameterKey"]: each["ParameterValue"] for each in found}
    except (TypeError, KeyError) as error:
        raise ValidationError(f"{path} has items without ParameterKey and ParameterValue") from error


# --- stacks ----------------------------------------------------------------------------------------------------------


def plan(name: TemplateLike, **options: Unpack[StackOptions]) -> StackPlan:
    """What deploying would change and cost. Nothing is made: the change set that tells it is deleted again."""
    site = _site(options)
    with _request(site, template(name), options, build=False) as (request, _):
        return deployment.plan(site, request)


def deploy(
    name: TemplateLike,
    *,
    approve: Approve | None = None,
    on_progress: Listener | None = None,
    protect: bool | None = None,
    recover: bool = False,
    **options: Unpack[StackOptions],
) -> StackDescription | None:
    """Make a stack or change it, and wait until it is done: the stack with its outputs.

    ``approve`` is shown the plan and says whether to go on; None is returned where it says no. ``protect`` sets or
    takes away protection from deletion. ``recover`` deletes what a failed creation left and goes on with a
    rollback that got stuck. Raises ``DeploymentError`` with the first cause where it fails.
    """
    site = _site(options, on_progress)
    with _request(site, template(name), options, build=True) as (request, package):
        made = deployment.deploy(site, request, approve=approve, package=package, recover=recover)
    if made is not None and protect is not None and made.protected != protect:
        try:
            deployment.protect(site, made.name, on=protect)
        except AwsllmError as error:
            error.add_note(f"{made.name} is in {made.status}; only its protection was not changed")
            raise
        made = stacks.get(site.clients, made.name)
    return made


def status(
    stack: str, *, wait: bool = False, on_progress: Listener | None = None, **where: Unpack[AccountOptions]
) -> StackDescription:
    """A stack with its resources, and why its last operation failed where it did; with ``wait``, once what goes on with
    it is over."""
    site = _site(where, on_progress)
    since = stacks.newest_event(site.clients, stack) if wait else None
    found = stacks.get(site.clients, stack)
    if wait and not found.settled and not found.in_review:
        with deployment.goes_on(stack):
            found, _ = site.follow(found.id or stack, since)
    parts = stacks.resources(site.clients, found.id or stack)
    bad = found.status.endswith("_FAILED") or "ROLLBACK" in found.status
    failure = stacks.last_failure(site.clients, found) if bad else None
    return replace(found, resources=parts, failure=failure)


def list_stacks(**where: Unpack[AccountOptions]) -> tuple[StackDescription, ...]:
    """The stacks that awsllm made here."""
    return stacks.list_stacks(_site(where).clients)


def detect_drift(stack: str, **where: Unpack[AccountOptions]) -> Drift:
    """What differs from the template because somebody changed it elsewhere."""
    site = _site(where)
    return drift.detect(site.clients, stack, site.pace)


def outputs(stack: str, **where: Unpack[AccountOptions]) -> dict[str, str]:
    """A stack's outputs by name."""
    return stacks.get(_site(where).clients, stack).outputs


def destroy(
    stack: str,
    *,
    approve: Agree | None = None,
    on_progress: Listener | None = None,
    delete_data: bool = False,
    unprotect: bool = False,
    role: str | None = None,
    **where: Unpack[AccountOptions],
) -> Removal | None:
    """Delete a stack and wait; see ``removal.destroy``."""
    site = _site(where, on_progress)
    how: dict[str, Any] = {"delete_data": delete_data, "unprotect": unprotect, "role": role}
    return removal.destroy(site, stack, approve=approve, **how)


def doctor(
    name: TemplateLike | None = None, *, models: tuple[str, ...] = (), **where: Unpack[AccountOptions]
) -> tuple[AccountCheck, ...]:
    """What a deployment meets in the account: credentials, quotas, access to models."""
    session = session_of(where)
    found = None if name is None else template(name)
    called = model_names.references(models)
    return tuple(
        account_checks.examine(lambda service: control.client(service, session), lambda: session.region, found, called)
    )


# --- policies --------------------------------------------------------------------------------------------------------


def policy(*models: str, **options: Unpack[PolicyOptions]) -> Permissions:
    """The least IAM permissions that calls of these models need; endpoints are models too (``sagemaker:NAME``). With
    ``job`` those of jobs that are made of them, instead, of the role that these run as, and who may be that role."""
    session = session_of(options)
    offline = options.get("offline", False)
    account = options.get("account") or ("*" if offline else _account(session))
    arns = Arns(session.region, account)
    if options.get("job"):
        return _job_policy(models, options, arns)
    if stray := [name for name in _OF_JOBS if options.get(name)]:
        raise ValidationError(f"{', '.join(stray)}: of jobs alone, and job= says which")
    finder = ModelArnFinder(arns, None if offline else _asking(session), options.get("behind"))
    uses = Uses(**{name: options[name] for name in Uses.__struct_fields__ if name in options})  # type: ignore[literal-required]
    called = model_names.members(models)
    found = [each for member in called if member.role is None for each in finder.of(member)]
    return derive(found, uses, arns, roles=tuple(dict.fromkeys(one.role for one in called if one.role)))


_OF_JOBS = ("job_role", "job_input", "job_output", "teacher", "grader", "judge", "image")


def _job_policy(models: tuple[str, ...], options: PolicyOptions, arns: Arns) -> Permissions:
    from awsllm.infra.job_permissions import JobUses, derive_job

    given = {name: value for name, value in options.items() if value}
    if others := sorted((set(Uses.__struct_fields__) | {"behind"}) & set(given)):
        raise ValidationError(f"job= is of jobs alone: ask for what calls need ({', '.join(others)}) by itself")
    fields: Any = {name: value for name, value in given.items() if name in JobUses.__struct_fields__}
    return derive_job(models, JobUses(**fields), arns)


def arn_finder(session: AwsSession) -> ModelArnFinder:
    """What finds the ARNs of models, asking Bedrock where it may be asked."""
    return ModelArnFinder(Arns(session.region, _account(session)), _asking(session))


def _account(session: AwsSession) -> str:
    """The caller's account; ``*`` where nobody can tell."""
    try:
        with control.translated():
            return str(control.brief("sts", session).get_caller_identity()["Account"])
    except (AwsllmError, NotImplementedError):
        return "*"


def _asking(session: AwsSession) -> Ask:
    """Asks Bedrock's control plane; what may not be asked has no answer, and what is behind it must be said."""

    def ask(question: Question) -> Mapping[str, Any] | None:
        try:
            with control.translated():
                asked = getattr(control.brief(question.service, session), question.operation)
                reply: Mapping[str, Any] = asked(**question.parameters)
        except (AwsllmError, NotImplementedError):
            return None
        return reply

    return ask


# --- where and what --------------------------------------------------------------------------------------------------


def session_of(where: Mapping[str, Any]) -> AwsSession:
    names = ("region", "profile", "session", "endpoint_url")
    return AwsSession(**{name: where[name] for name in names if where.get(name) is not None})


def _site(where: Mapping[str, Any], listener: Listener | None = None) -> Site:
    session = session_of(where)
    region = session.region  # told to be missing before anything else
    pace = where.get("pace") or Pace(poll=5.0)
    timeout = where.get("timeout", stacks.TIMEOUT)
    return Site(lambda service: control.client(service, session), region, pace, listener, timeout)


@contextmanager
def _request(
    site: Site, found: Template, options: StackOptions, *, build: bool
) -> Iterator[tuple[StackRequest, code.CodePackage | None]]:
    """The request, and the package that goes with it. One that is built here lasts as long as the block."""
    name = stacks.check_name(options.get("stack") or f"awsllm-{found.name}")
    role = options.get("role")
    given = dict(options.get("parameters") or {})
    given = {**_model_parameters(site, found, options, given), **given}
    existing = stacks.find(site.clients, name)
    kept = () if existing is None or existing.in_review else tuple(existing.parameters)
    checked(found.parameters, given, (*kept, code.BUCKET, code.KEY))  # told before anything is built
    with tempfile.TemporaryDirectory() as folder:
        keeps = existing is not None and not options.get("build") and not options.get("code")
        package = None if keeps else _package(site, found, options, given, Path(folder) if build else None)
        request = StackRequest(
            stack=name,
            template=found,
            parameters={**(package.parameters if package else {}), **given},
            tags=dict(options.get("tags") or {}),
            role=None if role is None else check_role(role),
            keeps_code=package is None and code.takes_code(found) and code.KEY not in given,
        )
        yield request, package


def _model_parameters(site: Site, found: Template, options: StackOptions, given: Mapping[str, Any]) -> dict[str, str]:
    models = model_names.references(options.get("models") or ())
    if not models and not (found.model.get("id") in given and found.model.get("arns") not in given):
        return {}
    session = session_of(options)
    arns = Arns(site.region, stacks.account_id(site.clients))
    return model_parameters(found, models, given, ModelArnFinder(arns, _asking(session)))


def _package(
    site: Site, found: Template, options: StackOptions, given: Mapping[str, Any], folder: Path | None
) -> code.CodePackage | None:
    """The code that is given, or is built into ``folder``; None where the template takes none, or its place is
    given."""
    path, bucket = options.get("code"), options.get("bucket")
    if path is None and (not code.takes_code(found) or code.KEY in given):
        return None
    if path is None:
        if folder is None:
            return code.unbuilt(site.clients, found, bucket, site.region)
        reporter = site.reporter
        tell = partial(reporter.tell, "code", "package", "building")
        names = model_names.configuration_of(options.get("models") or ())
        path = code.build(found, given, folder, tell, None if names is None else names.path)
    return code.place(site.clients, found, path, bucket, site.region)
