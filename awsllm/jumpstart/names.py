"""Names of what plans make: they follow from what is wanted, so that wanting it twice makes nothing twice.

SageMaker's names have at most 63 characters: letters, digits and inner hyphens (botocore's service model). A model or
an endpoint configuration cannot change once made, so its name ends in a digest of its own request; so does that of a
job, which can be used once.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

from awsllm.errors import ValidationError
from awsllm.types import JsonValue

LIMIT = 63
PATTERN = re.compile(r"[a-zA-Z0-9](?:-*[a-zA-Z0-9]){0,62}")
OWN_DIGEST = 8
DEFAULT_DIGEST = 6
# What is left of an endpoint's name in the names of its models and configurations: "-" and a digest follow.
STEM = LIMIT - OWN_DIGEST - 1


def digest(value: Any, length: int) -> str:
    """The first hexadecimal digits of a hash of ``value``'s JSON, whatever the order of its members."""
    data = msgspec.json.encode(value, order="deterministic")
    return hashlib.sha256(data).hexdigest()[:length]


def client_token(digest_: str, given: str | None) -> str:
    """The token of a request that does what ``digest_`` stands for, so that the same call finds what it made. By a name
    that was ``given`` it makes another thing, of which the service has not heard by this token."""
    return f"awsllm-{digest([digest_, given], len(digest_)) if given else digest_}"


def check(name: str, what: str) -> str:
    """``name``, if SageMaker takes it. Raises ``ValidationError``."""
    if len(name) > LIMIT or not PATTERN.fullmatch(name):
        raise ValidationError(
            f"{what} is {name!r}; it must have at most {LIMIT} characters: letters, digits and inner hyphens"
        )
    return name


def hub_content(arn: str) -> str:
    """The name in ``…:hub-content/HUB/KIND/NAME[/VERSION]``, of a model or an evaluator; empty for any other ARN."""
    return next(iter(arn.partition(":hub-content/")[2].split("/")[2:3]), "")


def slug(text: str, length: int) -> str:
    """``text`` as a part of a name: lower case, at most ``length`` characters."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return plain[:length].strip("-") or "model"


def fitted(text: str, ending: str, limit: int = LIMIT) -> str:
    """``text`` as far as a name has room for it before ``ending``."""
    return re.sub(r"[^a-zA-Z0-9]+", "-", text)[: limit - len(ending)].strip("-") + ending


def endpoint_name(model_id: str, identity: JsonValue) -> str:
    """The name of an endpoint that the caller left unnamed: the same for the same model and ``identity``."""
    return f"{slug(model_id, STEM - DEFAULT_DIGEST - 1)}-{digest([model_id, identity], DEFAULT_DIGEST)}"


def own_name(endpoint: str, request: JsonValue) -> str:
    """The name of a model or configuration of ``endpoint``: it changes with ``request``."""
    return f"{stem(endpoint)}-{digest([endpoint, request], OWN_DIGEST)}"


def stem(endpoint: str) -> str:
    """What the names of an endpoint's models and configurations begin with."""
    return endpoint[:STEM].rstrip("-")


def adapter_name(component: str, adapter: str) -> str:
    """The name of the component of a LoRA adapter."""
    name = f"{component}-{slug(adapter, LIMIT)}"
    if len(name) <= LIMIT:
        return name
    return f"{name[:STEM].rstrip('-')}-{digest([component, adapter], OWN_DIGEST)}"


def job_name(base: str, digest: str, attempt: int) -> str:
    """The name of a job that the caller left unnamed. ``attempt`` tells runs of one plan apart, from 1."""
    return fitted(base, f"-{digest[:10]}" + (f"-{attempt}" if attempt > 1 else ""))


# --- log groups ------------------------------------------------------------------------------------------------------


def endpoint_logs(endpoint: str) -> str:
    """The group of CloudWatch Logs to which an endpoint's containers write."""
    return f"/aws/sagemaker/Endpoints/{endpoint}"


def component_logs(component: str) -> str:
    return f"/aws/sagemaker/InferenceComponents/{component}"
