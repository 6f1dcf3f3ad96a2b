"""ARNs that do not say which model is behind them: what to ask of the control plane, and how to read the answer.

Pure: the asking is ``backends.bedrock.models``'s. A question is an operation of a boto3 client with its parameters, a
finding the base model's id (a geography's profile id where the price depends on it), the architecture of an imported
model, or the next ARN to ask about. Operations and members are those of botocore 1.44's service models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from awsllm.models.profiles import ARCHITECTURE
from awsllm.models.references import is_bedrock_id

Reply = Mapping[str, Any]

CHAT_SINCE = date(2025, 11, 11)
"""Models imported from this day on take OpenAI's chat format (userguide, Custom model import code samples)."""


class Question(NamedTuple):
    """One request: the boto3 service, its method, and the method's arguments."""

    service: str
    operation: str
    parameters: dict[str, str]


class Finding(NamedTuple):
    """What a reply says: ``family`` is what ``profiles.profile`` takes as such, ``next`` an ARN that says more. Both
    are None where the reply names no model."""

    family: str | None = None
    next: str | None = None


def _resource(arn: str) -> str:
    return arn.split(":", 5)[-1]


def opaque_kind(model: str) -> str | None:
    """The kind of resource ("imported-model" and the like) where ``model`` is the ARN of one that does not say which
    model it is; else None."""
    if not model.startswith("arn:"):
        return None
    kind = _resource(model).partition("/")[0]
    return kind if kind in _KINDS else None


def question(arn: str) -> Question:
    """What tells the model behind an ARN for which ``opaque_kind`` is not None."""
    kind = _KINDS[_resource(arn).partition("/")[0]]
    identifier, extra = arn, {}
    if kind.service == "bedrock-agent":  # ARN:VERSION, which the operation takes apart
        head, _, version = arn.rpartition(":")
        if version.isdecimal() and "/" in head:
            identifier, extra = head, {"promptVersion": version}
    return Question(kind.service, kind.operation, {kind.parameter: identifier, **extra})


def read(arn: str, reply: Reply) -> Finding:
    """What the answer to ``question(arn)`` says."""
    return _KINDS[_resource(arn).partition("/")[0]].read(reply)


def priced_as_its_model(model: str) -> bool:
    """Whether what an opaque ARN costs is what its model costs: not so for what is paid by the hour or the unit
    (custom, imported, provisioned, endpoints), nor where a router chooses."""
    return opaque_kind(model) in ("application-inference-profile", "prompt")


# --- how each kind is read -------------------------------------------------------------------------------------------


def _of_arn(arn: str | None) -> Finding:
    """A model by its ARN or id: found where that names a foundation model, else to be asked about in turn."""
    if not arn:
        return Finding()
    if opaque_kind(arn):
        return Finding(next=arn)
    name = _resource(arn).rpartition("/")[2] if arn.startswith("arn:") else arn
    return Finding(family=name) if is_bedrock_id(name) else Finding()


def _profile(reply: Reply) -> Finding:
    """The models of an application profile are its base model's ARN in each region that it may go to; the one without a
    region is a global profile's, which has a price of its own."""
    arns: Sequence[str] = [model.get("modelArn", "") for model in reply.get("models", ())]
    finding = _of_arn(arns[0] if arns else None)
    if finding.family and any(arn.split(":")[3:4] == [""] for arn in arns if arn.startswith("arn:")):
        return Finding(family=f"global.{finding.family}")
    return finding


def _imported(reply: Reply) -> Finding:
    """A model of unknown age is taken for a new one."""
    architecture, made = reply.get("modelArchitecture"), reply.get("creationTime")
    if not architecture:
        return Finding()
    old = isinstance(made, datetime) and made.date() < CHAT_SINCE
    return Finding(family=f"{ARCHITECTURE}{'' if old else 'chat/'}{architecture}")


def _router(reply: Reply) -> Finding:
    """The fallback model: a router chooses among models of one family."""
    models = [reply.get("fallbackModel") or {}, *reply.get("models", ())]
    return next((found for model in models if (found := _of_arn(model.get("modelArn"))) != Finding()), Finding())


def _prompt(reply: Reply) -> Finding:
    """The model of the default variant, or of the first."""
    variants = sorted(reply.get("variants", ()), key=lambda variant: variant["name"] != reply.get("defaultVariant"))
    return _of_arn(variants[0].get("modelId")) if variants else Finding()


def _endpoint(reply: Reply) -> Finding:
    """A marketplace endpoint's source is the ARN of a model of JumpStart's hub, whose name tells the architecture."""
    source = (reply.get("marketplaceModelEndpoint") or {}).get("modelSourceIdentifier", "")
    name = source.rstrip("/").rpartition("/")[2]
    return Finding(family=f"{ARCHITECTURE}{name}") if name else Finding()


class _Kind(NamedTuple):
    service: str
    operation: str
    parameter: str
    read: Callable[[Reply], Finding]


_KINDS: dict[str, _Kind] = {
    "application-inference-profile": _Kind("bedrock", "get_inference_profile", "inferenceProfileIdentifier", _profile),
    "imported-model": _Kind("bedrock", "get_imported_model", "modelIdentifier", _imported),
    "custom-model": _Kind(
        "bedrock", "get_custom_model", "modelIdentifier", lambda reply: _of_arn(reply.get("baseModelArn"))
    ),
    "custom-model-deployment": _Kind(
        "bedrock",
        "get_custom_model_deployment",
        "customModelDeploymentIdentifier",
        lambda reply: _of_arn(reply.get("modelArn")),
    ),
    "provisioned-model": _Kind(
        "bedrock",
        "get_provisioned_model_throughput",
        "provisionedModelId",
        lambda reply: _of_arn(reply.get("foundationModelArn") or reply.get("modelArn")),
    ),
    "prompt-router": _Kind("bedrock", "get_prompt_router", "promptRouterArn", _router),
    "default-prompt-router": _Kind("bedrock", "get_prompt_router", "promptRouterArn", _router),
    "prompt": _Kind("bedrock-agent", "get_prompt", "promptIdentifier", _prompt),
    "endpoint": _Kind("bedrock", "get_marketplace_model_endpoint", "endpointArn", _endpoint),
}
