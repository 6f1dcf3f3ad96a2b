"""The role that a Bedrock job runs as: how it is named, what it needs, and who may hand it over."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Final

from awsllm.aws import iam
from awsllm.aws.iam import Arns, actions, statement
from awsllm.errors import ConfigurationError
from awsllm.models.references import geography, without_geography
from awsllm.types import JsonObject

BEDROCK_ROLE_VARIABLE: Final = "AWSLLM_BEDROCK_ROLE"
"""The environment variable that names it, where the caller does not."""
PRINCIPAL: Final = "bedrock.amazonaws.com"


def bedrock_role(given: str | None) -> str:
    """Raises ``ConfigurationError`` where nobody names one."""
    role = given or os.environ.get(BEDROCK_ROLE_VARIABLE)
    if not role:
        raise ConfigurationError(
            f"Bedrock's jobs read and write S3 as a role that trusts {PRINCIPAL}: give role=, or set "
            f"{BEDROCK_ROLE_VARIABLE}; the plan's role_permissions are what it needs"
        )
    return iam.check_role(role)


def handing_over(role: str) -> JsonObject:
    """What lets a caller give the role to Bedrock, and to no other service."""
    condition: JsonObject = {"StringEquals": {"iam:PassedToService": PRINCIPAL}}
    return statement("PassBedrockRole", "iam:PassRole", role, condition)


def role_rights(arns: Arns, read: Iterable[str], written: Iterable[str], more: Iterable[JsonObject] = ()) -> JsonObject:
    """The role's policy: to read under some ``s3://`` URIs, and to write under others."""
    return iam.policy(*_objects(arns, list(read), list(written)), *more)


def _objects(arns: Arns, read: list[str], written: list[str]) -> Iterator[JsonObject]:
    yield statement("Read", "s3:GetObject", [arns.objects(uri) for uri in read])
    yield statement("List", "s3:ListBucket", [arns.bucket(uri) for uri in (*read, *written)])
    if written:
        yield statement("Write", actions("s3", "PutObject", "GetObject"), [arns.folder(uri) for uri in written])


def model_resources(model: str, arns: Arns) -> list[str]:
    """The ARNs that policies name for a model: an id's foundation model, and a profile with the models behind it."""
    if model.startswith("arn:"):
        return [model]
    if geography(model) is None:
        return [f"arn:{arns.partition}:bedrock:{arns.region}::foundation-model/{model}"]
    foundation = f"arn:{arns.partition}:bedrock:*::foundation-model/{without_geography(model)}"
    return [arns.of("bedrock", f"inference-profile/{model}"), foundation]


def uploading(arns: Arns, uris: Iterable[str], output: str) -> Iterator[JsonObject]:
    """What the caller needs to put ``uris`` into the bucket of ``output``, unless they are there."""
    if put := [arns.objects(uri) for uri in uris]:
        yield statement("Upload", actions("s3", "PutObject", "GetObject"), put)
    yield statement("Bucket", "s3:ListBucket", arns.bucket(output))


def trust(arns: Arns, path: str) -> JsonObject:
    """Who may be the role: Bedrock, for this account's jobs alone."""
    return iam.trust("bedrock", arns, f"{path}/*")
