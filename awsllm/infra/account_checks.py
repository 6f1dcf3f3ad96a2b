"""What a deployment meets in an account, looked at before anything is made: who calls, where, and what they may use.

Each look is one call; one that is not allowed is told with the action that it lacks, and the rest goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from awsllm.errors import AccessDeniedError, AwsllmError, ModelNotFoundError
from awsllm.infra.code import own_bucket, takes_code
from awsllm.infra.stacks import SERVICE, account_id
from awsllm.infra.templates import Template
from awsllm.jumpstart.deploy.resources import Clients, call
from awsllm.models.references import geography, parse_reference, without_geography
from awsllm.types import Value

_ENOUGH_CONCURRENCY = 100
"""Lambda keeps so many concurrent executions unreserved (Developer Guide, Reserved concurrency)."""


class AccountCheck(Value, frozen=True, kw_only=True):
    """``status`` is ok, info, warning or failure; ``fix`` says what to do about the last two."""

    name: str
    status: str
    detail: str
    fix: str | None = None


def examine(
    clients: Clients, region: Callable[[], str], template: Template | None = None, models: tuple[str, ...] = ()
) -> Iterator[AccountCheck]:
    """The checks in order; those of a template and of models where these are given."""
    where = _look("region", "", lambda: AccountCheck(name="region", status="ok", detail=region()))
    yield where
    if where.status == "failure":
        return
    caller = _look("credentials", "sts:GetCallerIdentity", lambda: _caller(clients))
    yield caller
    if caller.status == "failure":
        return
    yield _look("CloudFormation", "cloudformation:DescribeStacks", lambda: _cloudformation(clients))
    functions = template is None or any(r.get("Type") == "AWS::Lambda::Function" for r in template.resources.values())
    if functions:
        yield _look("Lambda concurrency", "lambda:GetAccountSettings", lambda: _concurrency(clients))
    if template is not None:
        yield from _template(clients, template, where.detail)
    for model in models:
        yield from _model(clients, model)


def _look(name: str, action: str, look: Callable[[], AccountCheck]) -> AccountCheck:
    try:
        return look()
    except AccessDeniedError as error:
        expired = "expired" in error.message.lower()
        fix = "renew the credentials (`aws sso login`, say)" if expired else f"allow {action}, or do without this check"
        status = "failure" if expired or name == "credentials" else "warning"
        return AccountCheck(name=name, status=status, detail=error.message, fix=fix)
    except AwsllmError as error:
        what, _, fix = error.message.partition("; ")
        return AccountCheck(name=name, status="failure", detail=what, fix=fix or None)
    except NotImplementedError:
        return AccountCheck(name=name, status="info", detail="this account is mocked, and without it")


def _caller(clients: Clients) -> AccountCheck:
    found = call(clients, "sts", "get_caller_identity")
    return AccountCheck(name="credentials", status="ok", detail=f"{found['Arn']} in account {found['Account']}")


def _cloudformation(clients: Clients) -> AccountCheck:
    found = call(clients, SERVICE, "describe_stacks")["Stacks"]
    broken = [each["StackName"] for each in found if each["StackStatus"].endswith("_FAILED")]
    if broken:
        return AccountCheck(
            name="CloudFormation",
            status="warning",
            detail=f"{', '.join(broken)}: the last operation failed",
            fix=f"awsllm infra status {broken[0]}",
        )
    return AccountCheck(name="CloudFormation", status="ok", detail="stacks can be read")


def _concurrency(clients: Clients) -> AccountCheck:
    limits = call(clients, "lambda", "get_account_settings")["AccountLimit"]
    free, all_ = int(limits["UnreservedConcurrentExecutions"]), int(limits["ConcurrentExecutions"])
    detail = f"{free} of {all_} concurrent executions are not reserved"
    if free <= _ENOUGH_CONCURRENCY:
        return AccountCheck(
            name="Lambda concurrency",
            status="warning",
            detail=f"{detail}, and Lambda keeps {_ENOUGH_CONCURRENCY} so: none can be reserved",
            fix="reserve nothing (leave the parameter at its default), or ask for the quota 'Concurrent executions'",
        )
    return AccountCheck(name="Lambda concurrency", status="ok", detail=detail)


def _template(clients: Clients, template: Template, region: str) -> Iterator[AccountCheck]:
    needed = template.capabilities()
    if needed:
        detail = f"{template.name} makes IAM resources: {', '.join(needed)} is acknowledged when it is deployed"
        yield AccountCheck(name="capabilities", status="info", detail=detail)
    for need in template.needs:
        yield AccountCheck(name=f"{template.name} needs", status="info", detail=need)
    if takes_code(template):
        yield _look("code bucket", "s3:ListBucket", lambda: _bucket(clients, region))


def _bucket(clients: Clients, region: str) -> AccountCheck:
    account = account_id(clients)
    name = own_bucket(account, region)
    try:
        call(clients, "s3", "head_bucket", Bucket=name, ExpectedBucketOwner=account)
    except ModelNotFoundError:
        detail = f"{name} does not exist yet: the first deployment with code makes it"
        return AccountCheck(name="code bucket", status="info", detail=detail)
    return AccountCheck(name="code bucket", status="ok", detail=name)


# --- models ----------------------------------------------------------------------------------------------------------


def _model(clients: Clients, text: str) -> Iterator[AccountCheck]:
    reference = parse_reference(text)
    if reference.scheme == "sagemaker":
        yield _look(text, "sagemaker:DescribeEndpoint", lambda: _endpoint(clients, text, reference.model))
    elif reference.scheme == "bedrock" and not reference.model.startswith("arn:"):
        if geography(reference.model):
            yield _look(text, "bedrock:GetInferenceProfile", lambda: _profile(clients, text, reference.model))
        name, foundation = f"access to {text}", without_geography(reference.model)
        action = "bedrock:GetFoundationModelAvailability"
        yield _look(name, action, lambda: _access(clients, name, foundation))


def _endpoint(clients: Clients, text: str, model: str) -> AccountCheck:
    status = call(clients, "sagemaker", "describe_endpoint", EndpointName=model.partition("/")[0])["EndpointStatus"]
    good = status == "InService"
    fix = None if good else "wait until it is in service, or deploy it"
    return AccountCheck(name=text, status="ok" if good else "warning", detail=f"the endpoint is {status}", fix=fix)


def _profile(clients: Clients, text: str, model: str) -> AccountCheck:
    try:
        found = call(clients, "bedrock", "get_inference_profile", inferenceProfileIdentifier=model)
    except ModelNotFoundError:
        return AccountCheck(
            name=text,
            status="failure",
            detail="no such inference profile in this region",
            fix=f"awsllm models bedrock --kind profile --name {without_geography(model).partition(':')[0]}",
        )
    regions = sorted({each["modelArn"].split(":")[3] or "anywhere" for each in found["models"]})
    return AccountCheck(name=text, status="ok", detail=f"{found['status'].lower()}, goes to {', '.join(regions)}")


def _access(clients: Clients, name: str, model: str) -> AccountCheck:
    try:
        found: Mapping[str, object] = call(clients, "bedrock", "get_foundation_model_availability", modelId=model)
    except ModelNotFoundError:
        fix = "awsllm models bedrock lists what there is"
        return AccountCheck(name=name, status="failure", detail="no such model in this region", fix=fix)
    wanting = [member for member, good in _AVAILABLE.items() if found.get(member) not in (None, good)]
    if not wanting:
        return AccountCheck(name=name, status="ok", detail="the account may call it")
    told = ", ".join(f"{member} is {found[member]}" for member in wanting)
    fix = "take another region or a profile" if wanting == ["regionAvailability"] else (
        "ask for access in Bedrock's console, Model access"
    )  # fmt: skip
    return AccountCheck(name=name, status="failure", detail=told, fix=fix)


_AVAILABLE = {
    "regionAvailability": "AVAILABLE",
    "entitlementAvailability": "AVAILABLE",
    "authorizationStatus": "AUTHORIZED",
}
