"""All of Bedrock's control plane that is served, by botocore's names of the operations."""

from __future__ import annotations

from collections.abc import Mapping

from awsllm.server.account.account import Operation
from awsllm.server.account.bedrock import (
    batch,
    copies,
    custom,
    customization,
    evaluation,
    foundation,
    imported,
    invocation_logs,
    profiles,
    provisioned,
    routers,
    tags,
)

OPERATIONS: Mapping[str, Operation] = {
    **foundation.OPERATIONS,
    **profiles.OPERATIONS,
    **custom.OPERATIONS,
    **imported.OPERATIONS,
    **copies.OPERATIONS,
    **provisioned.OPERATIONS,
    **routers.OPERATIONS,
    **customization.OPERATIONS,
    **batch.OPERATIONS,
    **evaluation.OPERATIONS,
    **invocation_logs.OPERATIONS,
    **tags.OPERATIONS,
}
