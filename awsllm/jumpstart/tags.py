"""Tags: what awsllm writes on all that it makes, and what others write on what they deploy from JumpStart.

A deployment has no state but AWS's, so its tags are its memory: whose a resource is (``awsllm:plan``), which endpoint a
model belongs to, when an endpoint may be reaped, what its container speaks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from awsllm.errors import ValidationError
from awsllm.types import JsonObject
from awsllm.wire.endpoint.detect import (
    FORMAT_TAG,
    PROMPT_TAG,
    SDK_CONFIG_TAG,
    SDK_HUB_TAG,
    SDK_MODEL_TAG,
    SDK_VERSION_TAG,
)

PLAN_TAG = "awsllm:plan"
"""The digest of the plan that made a resource: whatever carries it is awsllm's."""
ENDPOINT_TAG = "awsllm:endpoint"
"""Which endpoint a model or configuration belongs to; written when it is made."""
EXPIRES_TAG = "awsllm:expires"
"""After which instant ``reap`` may delete it (ISO 8601); written when it is made."""
MODEL_TAG = "awsllm:model-id"
VERSION_TAG = "awsllm:model-version"
SDK_TRAINING_CONFIG_TAG = "sagemaker-sdk:jumpstart-training-config-name"

MODEL_TAGS = (
    MODEL_TAG,
    SDK_MODEL_TAG,
    "sagemaker-studio:jumpstart-model-id",
    "sm-jumpstart-id",
    "sagemaker.amazonaws.com/model-source",
)
"""How the makers of JumpStart endpoints tag the model's id, the first found counts (their public sources)."""
VERSION_TAGS = (VERSION_TAG, SDK_VERSION_TAG)

OPTIONAL = (EXPIRES_TAG, FORMAT_TAG, PROMPT_TAG, SDK_CONFIG_TAG, SDK_HUB_TAG)
"""A plan without one of these means that there is none, and applying it takes it away: it would tell of the model that
ran before. Other tags are let be."""

LIMIT = 50  # tags of one resource
_TEXT = re.compile(r"[\w\s.:/=+\-@]*")  # the API's pattern of keys and values


def of_model(model_id: str, version: str, *, jumpstart: bool = True) -> dict[str, str]:
    """Which model it is, in awsllm's words and, of one of JumpStart's, in the SageMaker SDK's."""
    own = {MODEL_TAG: model_id, VERSION_TAG: version}
    return {**own, SDK_MODEL_TAG: model_id, SDK_VERSION_TAG: version} if jumpstart else own


def as_list(tags: Mapping[str, str]) -> list[JsonObject]:
    """As most operations take them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def as_dict(tags: Iterable[JsonObject]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}


def check(tags: Mapping[str, str], *, reserved: int = 0) -> None:
    """Raises ``ValidationError`` for what AWS would refuse. ``reserved`` more are added when the resource is made."""
    if len(tags) + reserved > LIMIT:
        more = f", and {reserved} more are added on creation" if reserved else ""
        raise ValidationError(f"tags: {len(tags)} with awsllm's own{more}; at most {LIMIT}")
    for key, value in tags.items():
        if not 1 <= len(key) <= 128 or key.lower().startswith("aws:") or not _TEXT.fullmatch(key):
            raise ValidationError(f"tags: {key!r} cannot be a tag's key")
        if len(value) > 256 or not _TEXT.fullmatch(value):
            raise ValidationError(f"tags: {value!r} cannot be the value of {key!r}")


__all__ = [
    "ENDPOINT_TAG",
    "EXPIRES_TAG",
    "FORMAT_TAG",
    "MODEL_TAG",
    "MODEL_TAGS",
    "OPTIONAL",
    "PLAN_TAG",
    "PROMPT_TAG",
    "SDK_CONFIG_TAG",
    "SDK_HUB_TAG",
    "SDK_MODEL_TAG",
    "SDK_TRAINING_CONFIG_TAG",
    "SDK_VERSION_TAG",
    "VERSION_TAG",
    "VERSION_TAGS",
    "as_dict",
    "as_list",
    "check",
    "of_model",
]
