"""The role that a Bedrock job runs as: how it is named, what it needs, and who may hand it over."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Final

from awsllm.aws import iam
from awsllm.aws.iam import Arns, actions, statement
from awsllm.errors import ConfigurationError
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


def trust(account: str, arns: Arns, path: str) -> JsonObject:
    """Who may be the role: Bedrock, for this account's jobs alone."""
    condition: JsonObject = {
        "StringEquals": {"aws:SourceAccount": account},
        "ArnEquals": {"aws:SourceArn": arns.of("bedrock", f"{path}/*")},
    }
    allowed: JsonObject = {"Effect": "Allow", "Principal": {"Service": PRINCIPAL}, "Action": "sts:AssumeRole"}
    return {"Version": "2012-10-17", "Statement": [{**allowed, "Condition": condition}]}
