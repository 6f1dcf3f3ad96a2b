"""The least that calls need of IAM, derived from the models that they name.

Each statement carries why it is there and the page that says so. Converse is ``bedrock:InvokeModel`` and
ConverseStream ``bedrock:InvokeModelWithResponseStream``: there is no action of their names. A profile needs itself and
every model that it may go to; the models are then usable through the profile alone
(``bedrock:InferenceProfileArn``). Held against documents that were simulated (shared facts, operations 2.5) and, in
tests, against an evaluator; never tried in a real account.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from awsllm.aws import iam
from awsllm.aws.iam import Arns, actions, region_of, statement
from awsllm.errors import ValidationError
from awsllm.infra.model_arns import ModelArns
from awsllm.models.references import without_geography
from awsllm.types import JsonObject, Value

_ASSUME = "https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_permissions-to-switch.html"
_GUIDE = "https://docs.aws.amazon.com/bedrock/latest/userguide"
_REFERENCE = "https://docs.aws.amazon.com/service-authorization/latest/reference"
_BEDROCK_ACTIONS = f"{_REFERENCE}/list_amazonbedrock.html"
_SAGEMAKER_ACTIONS = f"{_REFERENCE}/list_amazonsagemaker.html"
_ASYNC_ENDPOINTS = "https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-invoke-endpoint.html"


class Permit(Value, frozen=True, kw_only=True):
    """One statement of a policy, ``why`` it is there and the ``source`` that says so."""

    statement: JsonObject
    why: str
    source: str


class Permissions(Value, frozen=True, kw_only=True):
    """What a caller may, as ``policy``; for jobs also their role's ``role_policy`` and who may take it on, ``trust``.
    ``notes`` are what a policy cannot say."""

    permits: tuple[Permit, ...]
    role_permits: tuple[Permit, ...] = ()
    trust: JsonObject | None = None
    notes: tuple[str, ...] = ()

    @property
    def policy(self) -> JsonObject:
        """The policy document of the caller."""
        return iam.policy(*(permit.statement for permit in self.permits))

    @property
    def role_policy(self) -> JsonObject:
        """The policy document of the role that jobs run as."""
        return iam.policy(*(permit.statement for permit in self.role_permits))


class Uses(Value, frozen=True, kw_only=True):
    """What is done with the models beside asking for a whole answer. ``guardrails`` are ids or ARNs,
    ``guardrail_profile`` such as ``us.guardrail.v1:0``; ``knowledge_bases`` ids or ARNs, ``generate`` to have answers
    written from them; ``mantle`` is for Bedrock's OpenAI-shaped routes at ``bedrock-mantle``; ``async_output`` and the
    batch's places are ``s3://`` URIs; ``batch_role`` the ARN of the role that runs the jobs."""

    stream: bool = False
    count_tokens: bool = False
    rerank: bool = False
    generate: bool = False
    bearer: bool = False
    mantle: bool = False
    guardrails: tuple[str, ...] = ()
    guardrail_profile: str | None = None
    knowledge_bases: tuple[str, ...] = ()
    async_output: str | None = None
    batch: bool = False
    batch_role: str | None = None
    batch_input: str | None = None
    batch_output: str | None = None


def derive(models: Iterable[ModelArns], uses: Uses, arns: Arns, roles: tuple[str, ...] = ()) -> Permissions:
    """The permissions of a caller in ``arns``' account and region; ``roles`` are ARNs of those as which further models
    are called: what these need is theirs."""
    found = tuple(models)
    why = "a model that is called as this role"
    permits = [_permit("Assume", "sts:AssumeRole", role, why, _ASSUME) for role in roles]
    permits += [permit for model in found for permit in _calls(model, uses, arns)]
    permits += _beside(found, uses, arns)
    if uses.batch:
        permits += _batch(found, uses, arns)
    if not permits:
        raise ValidationError("name what is called: a model, an endpoint, a guardrail or a knowledge base")
    return Permissions(
        permits=tidy(permits),
        role_permits=tidy(_batch_role(found, uses, arns)) if uses.batch else (),
        trust=iam.trust("bedrock", arns, _JOBS) if uses.batch else None,
        notes=tuple(dict.fromkeys(_notes(found, uses, arns))),
    )


# --- calls of a model ------------------------------------------------------------------------------------------------


def _invoke(uses: Uses) -> list[str]:
    return actions("bedrock", "InvokeModel", *(["InvokeModelWithResponseStream"] if uses.stream else []))


def _calls(model: ModelArns, uses: Uses, arns: Arns) -> Iterator[Permit]:
    match model.kind:
        case "foundation":
            yield _permit("Invoke", _invoke(uses), model.arn, why="the model, in the region that is called")
        case "profile":
            yield from _through_profile(model, _invoke(uses))
        case "endpoint":
            yield from _endpoint(model, uses, arns)
        case "marketplace":
            yield from _marketplace(model, uses)
        case "custom":
            if not uses.batch:
                raise ValidationError(
                    f"{model.arn} cannot be called itself: name the ARN of its deployment or provisioned throughput"
                )
        case "prompt":
            why = "a stored prompt is filled in with the caller's rights"
            yield _permit("Prompt", "bedrock:RenderPrompt", model.arn, why, f"{_GUIDE}/inference-prereq.html")
        case _:
            yield _permit("InvokeOwn", _invoke(uses), model.arn, why="a model of the account's own, by its ARN")


def _through_profile(model: ModelArns, invoke: list[str]) -> Iterator[Permit]:
    source = f"{_GUIDE}/inference-profiles-prereq.html"
    through: JsonObject = {"bedrock:InferenceProfileArn": model.arn}
    if not model.is_global:
        yield _permit("Profile", invoke, model.arn, "the profile that the call names", source)
        why = "the model in every region that the profile may go to, through the profile alone"
        yield _permit("ModelThroughProfile", invoke, model.behind, why, source, {"StringEquals": through})
    else:
        source = f"{_GUIDE}/global-cross-region-inference.html"
        here: JsonObject = {"aws:RequestedRegion": region_of(model.arn)}
        placed = [arn for arn in model.behind if region_of(arn)]
        anywhere = [arn for arn in model.behind if not region_of(arn)]
        why = "the profile that the call names, from the region that is called"
        yield _permit("GlobalProfile", invoke, model.arn, why, source, {"StringEquals": here})
        why = "the model in the region that is called, through the profile alone"
        yield _permit("ModelInSourceRegion", invoke, placed, why, source, {"StringEquals": {**here, **through}})
        why = "the model wherever the profile sends the request: its ARN has no region, and the region asked for is "
        unplaced: JsonObject = {"aws:RequestedRegion": "unspecified", **through}
        yield _permit("ModelAnywhere", invoke, anywhere, f"{why}'unspecified'", source, {"StringEquals": unplaced})
    if model.application:
        why = "to find out which model the profile is of"
        yield _permit("ReadProfile", "bedrock:GetInferenceProfile", model.arn, why)


def _endpoint(model: ModelArns, uses: Uses, arns: Arns) -> Iterator[Permit]:
    if uses.async_output is not None:
        if model.behind:
            raise ValidationError(f"{model.reference}: inference components take no asynchronous calls")
        yield _permit(
            "InvokeAsync",
            "sagemaker:InvokeEndpointAsync",
            model.arn,
            "the endpoint, whose answers come through S3",
            _SAGEMAKER_ACTIONS,
        )
        yield from _answers(uses.async_output, arns, write=False)
        return
    names = ["InvokeEndpoint", *(["InvokeEndpointWithResponseStream"] if uses.stream else [])]
    why = "the endpoint" + (" and the component behind it" if model.behind else "")
    yield _permit("InvokeEndpoint", actions("sagemaker", *names), (model.arn, *model.behind), why, _SAGEMAKER_ACTIONS)


def _marketplace(model: ModelArns, uses: Uses) -> Iterator[Permit]:
    source = f"{_GUIDE}/setup-amazon-bedrock-marketplace.html"
    every = Arns(region_of(model.arn), iam.account_of(model.arn)).of("bedrock", "marketplace/model-endpoint/all-access")
    why = "Bedrock's right of its own to Marketplace's endpoints: there is one for all of them"
    yield _permit("Marketplace", _invoke(uses), every, why, source)
    names = ["InvokeEndpoint", *(["InvokeEndpointWithResponseStream"] if uses.stream else [])]
    called: JsonObject = {"StringEquals": {"aws:CalledViaLast": "bedrock.amazonaws.com"}}
    why = "the endpoint behind it, which Bedrock calls with the caller's rights"
    yield _permit("MarketplaceEndpoint", actions("sagemaker", *names), model.arn, why, source, called)


# --- what is called beside models ------------------------------------------------------------------------------------


def _beside(models: tuple[ModelArns, ...], uses: Uses, arns: Arns) -> Iterator[Permit]:
    if uses.count_tokens and (counted := _foundations_here(models, arns)):
        why = "counting takes the foundation model, never a profile"
        yield _permit("CountTokens", "bedrock:CountTokens", counted, why, f"{_GUIDE}/count-tokens.html")
    if uses.rerank:
        why = "the action knows no resource; the model that ranks has its own statement"
        yield _permit("Rerank", "bedrock:Rerank", "*", why, f"{_GUIDE}/rerank-prereq.html")
    if uses.bearer:
        why = "calls with an API key of Bedrock's; the action knows no resource"
        yield _permit("BearerToken", "bedrock:CallWithBearerToken", "*", why, f"{_GUIDE}/api-keys.html")
    if uses.mantle:
        project, why = (
            arns.of("bedrock-mantle", "project/default"),
            "the OpenAI-shaped routes ask by project, not by model",
        )
        yield _permit("Mantle", "bedrock-mantle:CreateInference", project, why, f"{_GUIDE}/inference.html")
    yield from _guardrails(uses, arns)
    yield from _knowledge(uses, arns)
    if uses.async_output is not None and any(model.kind != "endpoint" for model in models):
        yield from _async_invocations(uses, arns)


def _foundations_here(models: tuple[ModelArns, ...], arns: Arns) -> list[str]:
    every = [arn for model in models for arn in ((model.arn,) if model.kind == "foundation" else model.behind)]
    bedrock = [arn for arn in every if ":foundation-model/" in arn]
    names = dict.fromkeys(arn.rpartition("/")[2] for arn in bedrock)
    return [Arns(arns.region, "").of("bedrock", f"foundation-model/{name}") for name in names]


def _guardrails(uses: Uses, arns: Arns) -> Iterator[Permit]:
    if uses.guardrail_profile is not None and not uses.guardrails:
        raise ValidationError("a guardrail profile needs the guardrail that uses it: give guardrails= too")
    if not uses.guardrails:
        return
    resources = [_own(arns, "guardrail", name) for name in uses.guardrails]
    why = "the guardrail, within a conversation and by itself"
    if uses.guardrail_profile is not None:
        from awsllm.models.geographies import REGIONS

        place = uses.guardrail_profile.partition(".")[0]
        if place not in REGIONS:
            raise ValidationError(
                f"{uses.guardrail_profile!r} is no guardrail profile: they are named like us.guardrail.v1:0"
            )
        regions = sorted({arns.region, *REGIONS[place]})
        resources += [
            Arns(r, arns.account).of("bedrock", f"guardrail-profile/{uses.guardrail_profile}") for r in regions
        ]
        why += ", in every region that its profile may go to"
    yield _permit(
        "Guardrail", "bedrock:ApplyGuardrail", resources, why, f"{_GUIDE}/guardrail-profiles-permissions.html"
    )


def _knowledge(uses: Uses, arns: Arns) -> Iterator[Permit]:
    source = f"{_GUIDE}/kb-test-prereq.html"
    if uses.knowledge_bases:
        bases = [_own(arns, "knowledge-base", name) for name in uses.knowledge_bases]
        yield _permit("Retrieve", "bedrock:Retrieve", bases, "passages of the knowledge bases", source)
    if uses.generate:
        why = "the action knows no resource; the model that writes and the knowledge base have their own statements"
        yield _permit("RetrieveAndGenerate", "bedrock:RetrieveAndGenerate", "*", why, source)


def _async_invocations(uses: Uses, arns: Arns) -> Iterator[Permit]:
    jobs = arns.of("bedrock", "async-invoke/*")
    why = "an asynchronous invocation is made and read by its own ARN"
    yield _permit("AsyncInvoke", actions("bedrock", "InvokeModel", "GetAsyncInvoke"), jobs, why)
    yield from _answers(uses.async_output or "", arns, write=True)


def _answers(output: str, arns: Arns, *, write: bool) -> Iterator[Permit]:
    _check_place(output, "async_output")
    names = ["GetObject", *(["PutObject"] if write else [])]
    what = "written with the caller's rights and read by it" if write else "which the caller reads"
    source = f"{_GUIDE}/model-parameters-nova-video.html" if write else _ASYNC_ENDPOINTS
    yield _permit("Answers", actions("s3", *names), arns.folder(output), f"the answers, {what}", source)
    why = "an answer that is not there yet is then 404 and not 403"
    yield _permit("AnswersListed", "s3:ListBucket", arns.bucket(output), why, source)


# --- batch jobs ------------------------------------------------------------------------------------------------------

_BATCH = f"{_GUIDE}/batch-inference-permissions.html"
_JOBS = "model-invocation-job/*"
_QUOTAS = f"{_REFERENCE}/list_servicequotas.html"


def _batch(models: tuple[ModelArns, ...], uses: Uses, arns: Arns) -> list[Permit]:
    jobs = arns.of("bedrock", _JOBS)
    called = [each for model in models if model.kind != "endpoint" for each in _batch_models(model)]
    if not called:
        raise ValidationError("a batch job needs a model of Bedrock's: name one")
    role = iam.check_role(uses.batch_role) if uses.batch_role else arns.iam("role/*")
    passed: JsonObject = {"StringEquals": {"iam:PassedToService": "bedrock.amazonaws.com"}}
    follow = actions("bedrock", "GetModelInvocationJob", "StopModelInvocationJob", "ListTagsForResource")
    places = [place for place in (uses.batch_input, uses.batch_output) if place]
    why_role = "the role that the job runs with, for Bedrock alone"
    return [
        _permit("Create", "bedrock:CreateModelInvocationJob", [*called, jobs], "a job, of these models", _BATCH),
        _permit("Follow", follow, jobs, "to wait for jobs and to stop them", _BATCH),
        _permit("List", "bedrock:ListModelInvocationJobs", "*", "the action knows no resource", _BATCH),
        _permit("PassServiceRole", "iam:PassRole", role, why_role, _BATCH, passed),
        _permit("Tag", "bedrock:TagResource", jobs, "tags that come with a job (job_tags=)", _BATCH),
        _permit("Quotas", "servicequotas:ListServiceQuotas", "*", "how many records a job takes", _QUOTAS),
        *_batch_files(places, arns),
    ]


def _batch_files(places: list[str], arns: Arns) -> Iterator[Permit]:
    """What the caller puts there and reads."""
    if places:
        names = actions("s3", "GetObject", "PutObject", "AbortMultipartUpload")
        why = "the questions that are put there, and the answers that are read"
        yield _permit("JobFiles", names, [arns.folder(place) for place in places], why, _BATCH)
        yield _permit("ListJobFiles", "s3:ListBucket", [arns.bucket(place) for place in places], why, _BATCH)


def _batch_models(model: ModelArns) -> tuple[str, ...]:
    """A profile is named with its models: the service reference lists no profile as a resource of the action."""
    placed = tuple(arn for arn in model.behind if region_of(arn))
    return (model.arn, *placed) if model.kind == "profile" else (model.arn,)


def _batch_role(models: tuple[ModelArns, ...], uses: Uses, arns: Arns) -> Iterator[Permit]:
    places = {"batch_input": uses.batch_input, "batch_output": uses.batch_output}
    for name, place in places.items():
        _check_place(place or "", name)
    given, output = uses.batch_input or "", uses.batch_output or ""
    mine: JsonObject = {"StringEquals": {"aws:ResourceAccount": arns.account}} if arns.account != "*" else {}
    reading = actions("s3", "GetObject", "ListBucket")
    yield _permit("Input", reading, [arns.bucket(given), arns.objects(given)], "what is asked", _BATCH, mine)
    yield _permit("Output", "s3:PutObject", arns.folder(output), "where answers go", _BATCH, mine)
    for model in models:
        if model.kind == "profile":
            yield from _through_profile(model, ["bedrock:InvokeModel"])


# --- what a policy cannot say ----------------------------------------------------------------------------------------


def _notes(models: tuple[ModelArns, ...], uses: Uses, arns: Arns) -> Iterator[str]:
    if arns.account == "*":
        yield "the account is not known: ARNs say * in its place; give account= for exact ones"
    yield from (model.note for model in models if model.note)
    for model in models:
        if model.kind != "profile":
            continue
        if model.is_global:
            yield (
                "a service control policy that denies regions must let the region 'unspecified' through for "
                f"{model.arn.rpartition('/')[2]}: that is what it sees of a global profile's requests"
            )
        else:
            regions = ", ".join(region_of(arn) for arn in model.behind)
            yield (
                f"a service control policy that denies regions must let {regions} through: it sees the region that "
                f"{model.arn.rpartition('/')[2]} sends a request to"
            )
    foreign = sorted(set(_third_parties(models)))
    if foreign:
        yield (
            f"the first call of a model of {', '.join(foreign)} in an account subscribes to it, which needs "
            "aws-marketplace:Subscribe and ViewSubscriptions once, of whoever makes it"
        )
    if uses.batch and not uses.batch_role:
        yield "iam:PassRole names every role of the account: give batch_role= for the one that runs the jobs"


def _third_parties(models: tuple[ModelArns, ...]) -> Iterator[str]:
    for model in models:
        for arn in (model.arn, *model.behind):
            if ":foundation-model/" in arn:
                provider = without_geography(arn.rpartition("/")[2]).partition(".")[0]
                if provider != "amazon":
                    yield provider


# --- statements ------------------------------------------------------------------------------------------------------


def _permit(
    sid: str,
    allowed: str | Iterable[str],
    resources: str | Iterable[str],
    why: str,
    source: str = _BEDROCK_ACTIONS,
    condition: JsonObject | None = None,
) -> Permit:
    return Permit(statement=statement(sid, allowed, resources, condition), why=why, source=source)


def _own(arns: Arns, kind: str, name: str) -> str:
    """The ARN of a resource of the account, from its id; an ARN as it is."""
    if name.startswith("arn:"):
        return name
    if not name or not name.replace("-", "").isalnum():
        raise ValidationError(f"{name!r} is not the id of a {kind}")
    return arns.of("bedrock", f"{kind}/{name}")


def _check_place(uri: str, option: str) -> None:
    if not uri.startswith("s3://") or not uri.removeprefix("s3://").strip("/"):
        raise ValidationError(f"{option}= is an s3:// URI with a bucket, not {uri!r}")


def tidy(permits: Iterable[Permit]) -> tuple[Permit, ...]:
    """Grants that differ in their resources alone are one; those that share a name only are told apart by a number."""
    merged: dict[Any, Permit] = {}
    for permit in permits:
        made = permit.statement
        key = msgspec.json.encode([made["Sid"], made["Action"], made.get("Condition")], order="deterministic")
        if (same := merged.get(key)) is not None:
            both = sorted({*same.statement["Resource"], *made["Resource"]})
            permit = msgspec.structs.replace(permit, statement={**made, "Resource": both})
        merged[key] = permit
    seen: dict[str, int] = {}
    tidied = []
    for permit in merged.values():
        sid = str(permit.statement["Sid"])
        seen[sid] = seen.get(sid, 0) + 1
        numbered = {**permit.statement, "Sid": sid if seen[sid] == 1 else f"{sid}{seen[sid]}"}
        tidied.append(msgspec.structs.replace(permit, statement=numbered))
    return tuple(tidied)
