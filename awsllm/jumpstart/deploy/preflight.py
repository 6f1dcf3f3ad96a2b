"""What can be known before anything is created: what the plan itself lacks, quotas, and instance types that are not
offered.

SageMaker has a quota per instance type, "<type> for endpoint usage", which starts at 0 for most accelerators. It is
read from Service Quotas where the caller may (``servicequotas:ListServiceQuotas``). A region that does not offer a
type for endpoints has no such quota. Where neither can be read, nothing is claimed.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from awsllm.aws.iam import ROLE_VARIABLE
from awsllm.errors import AccessDeniedError, AwsllmError, ConfigurationError, DeploymentError
from awsllm.jumpstart.deploy.resources import SAGEMAKER, Clients, pages
from awsllm.jumpstart.plan.plan import Plan, licence_error
from awsllm.types import Value

QUOTAS = "service-quotas"
QUOTA_SUFFIX = " for endpoint usage"  # after an instance type, a quota's name


class PreflightIssue(Value, frozen=True, kw_only=True):
    """One thing to know before creation. ``fatal``: creating the endpoint is certain to fail."""

    resource: str
    text: str
    fatal: bool = False


def refuse_missing(plan: Plan) -> None:
    """What a plan can be read without and not applied, told before the first request: ``EulaNotAcceptedError`` for a
    gated model whose licence is not accepted, ``ConfigurationError`` where no execution role is known."""
    if plan.licences and not plan.eula_accepted:
        raise licence_error(plan.model_id, plan.licences)
    if any(step.operation == "CreateModel" and not step.request.get("ExecutionRoleArn") for step in plan.steps):
        raise no_role()


def no_role() -> ConfigurationError:
    return ConfigurationError(
        f"SageMaker needs an execution role: give role='arn:aws:iam::…:role/…' or set {ROLE_VARIABLE}"
    )


def wanted_instances(plan: Plan) -> Counter[str]:
    """How many instances of each type the plan's variants start with; serverless ones have none."""
    wanted: Counter[str] = Counter()
    for step in plan.steps:
        if step.operation == "CreateEndpointConfig":
            for variant in step.request.get("ProductionVariants", []):
                if variant.get("InstanceType"):
                    wanted[variant["InstanceType"]] += variant.get("InitialInstanceCount", 1)
    return wanted


def examine(plan: Plan, clients: Clients) -> tuple[PreflightIssue, ...]:
    """What the APIs can tell of a plan before it is applied; that quotas could not be read included."""
    wanted = wanted_instances(plan)
    if not wanted:
        return ()
    try:
        quotas = _endpoint_quotas(clients, set(wanted))
    except NotImplementedError:  # an emulator without Service Quotas
        quotas = None
    except AccessDeniedError:
        return (_unchecked("servicequotas:ListServiceQuotas is not allowed"),)
    except AwsllmError as error:
        return (_unchecked(str(error)),)
    if not quotas:
        return (_unchecked("Service Quotas does not know SageMaker's here"),)
    return tuple(issue for kind, count in sorted(wanted.items()) for issue in _judge(kind, count, plan, quotas))


def _unchecked(why: str) -> PreflightIssue:
    return PreflightIssue(resource=QUOTAS, text=f"quotas were not checked: {why}")


def check(plan: Plan, clients: Clients) -> tuple[PreflightIssue, ...]:
    """``examine``, raising ``DeploymentError`` with what to do where creation is certain to fail."""
    issues = examine(plan, clients)
    fatal = [issue.text for issue in issues if issue.fatal]
    if fatal:
        error = DeploymentError(f"{plan.endpoint} was not created: {' '.join(fatal)}")
        error.reason = " ".join(fatal)
        raise error
    return issues


def _judge(kind: str, count: int, plan: Plan, quotas: dict[str, float]) -> tuple[PreflightIssue, ...]:
    if kind not in quotas:
        missing = f"no quota {kind + QUOTA_SUFFIX!r} is listed in {plan.region}"
        return (PreflightIssue(resource=kind, text=f"{missing}: the type may not be offered for endpoints there."),)
    if quotas[kind] >= count:
        return ()
    text = (
        f"{plan.region} allows {quotas[kind]:g} of {kind} for endpoints, {count} are needed. Ask for the quota "
        f"{kind + QUOTA_SUFFIX!r} in the Service Quotas console (it can take days), or give another instance_type."
    )
    return (PreflightIssue(resource=kind, text=text, fatal=True),)


def _endpoint_quotas(clients: Clients, kinds: set[str]) -> dict[str, float]:
    """The quotas of endpoints by instance type. Stops when all ``kinds`` have been seen: there are thousands."""
    found: dict[str, float] = {}
    listed: Any = pages(clients, QUOTAS, "list_service_quotas", "Quotas", ServiceCode=SAGEMAKER, MaxResults=100)
    for quota in listed:
        name = str(quota.get("QuotaName", ""))
        if name.endswith(QUOTA_SUFFIX):
            found[name.removesuffix(QUOTA_SUFFIX)] = float(quota.get("Value", 0))
        if kinds <= found.keys():
            break
    return found
