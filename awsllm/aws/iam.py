"""IAM as values: partitions, ARNs, statements and policy documents. Pure, no boto3.

Statements are rendered one way: actions and resources as sorted lists, so that equal rights read equal. A policy names
actions one by one and resources as narrowly as the caller knows them; an account that is not known is ``*``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from awsllm.errors import ValidationError
from awsllm.types import JsonObject

# --- partitions and ARNs ---------------------------------------------------------------------------------------------

_PARTITIONS = {
    "cn-": ("aws-cn", "amazonaws.com.cn"),
    "us-gov-": ("aws-us-gov", "amazonaws.com"),
    "us-iso-": ("aws-iso", "c2s.ic.gov"),
    "us-isob-": ("aws-iso-b", "sc2s.sgov.gov"),
    "eu-isoe-": ("aws-iso-e", "cloud.adc-e.uk"),
    "us-isof-": ("aws-iso-f", "csp.hci.ic.gov"),
    "eusc-": ("aws-eusc", "amazonaws.eu"),
}
"""Name in ARNs and DNS suffix, by the prefix of the regions (botocore's ``partitions.json``, 1.44)."""
_COMMERCIAL = ("aws", "amazonaws.com")


def partition(region: str) -> str:
    """The partition of a region, as ARNs name it."""
    return _of_region(region)[0]


def dns_suffix(region: str) -> str:
    """What the names of a region's public services end in."""
    return _of_region(region)[1]


def _of_region(region: str) -> tuple[str, str]:
    """Of ``aws-iso-global``, too, as the region of what is everywhere in a partition is called, and of names that ask
    for FIPS."""
    for prefix, found in _PARTITIONS.items():
        if region.removeprefix("fips-").startswith(prefix) or region == f"{found[0]}-global":
            return found
    return _COMMERCIAL


class Arns(NamedTuple):
    """The ARNs of one account in one region; ``account`` is ``*`` where it is not known."""

    region: str
    account: str = "*"

    @property
    def partition(self) -> str:
        return partition(self.region)

    def of(self, service: str, resource: str) -> str:
        """``resource`` is ``KIND/NAME``, or what else the service has in its place."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"

    def iam(self, resource: str) -> str:
        """IAM is everywhere, and its ARNs name no region."""
        return f"arn:{self.partition}:iam::{self.account}:{resource}"

    def log_group(self, name: str) -> str:
        """A group of CloudWatch Logs with its streams."""
        return self.of("logs", f"log-group:{name}:*")

    def bucket(self, uri: str) -> str:
        """The bucket of an ``s3://`` URI. Buckets belong to a partition, not to a region or account."""
        return f"arn:{self.partition}:s3:::{urlsplit(uri).netloc}"

    def objects(self, uri: str) -> str:
        """Every object whose key begins like ``uri``: what SageMaker reads of an ``S3Prefix``, a single file too."""
        return f"{self.bucket(uri)}/{urlsplit(uri).path.lstrip('/')}*"

    def folder(self, uri: str) -> str:
        """Every object under ``uri``, taken as a folder: where services write what they name themselves."""
        path = urlsplit(uri).path.strip("/")
        return f"{self.bucket(uri)}/{path + '/' if path else ''}*"


def account_of(arn: str) -> str:
    """The account that an ARN names; ``*`` where it is no ARN."""
    parts = arn.split(":")
    return parts[4] if len(parts) > 5 else "*"


def region_of(arn: str) -> str:
    """The region that an ARN names; empty where it names none."""
    parts = arn.split(":")
    return parts[3] if len(parts) > 5 else ""


_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/?[a-zA-Z0-9+=,.@_/-]+")  # SageMaker's service model, ``RoleArn``


ROLE_VARIABLE = "AWSLLM_SAGEMAKER_ROLE"
"""The environment variable that names SageMaker's execution role, where the caller does not."""


def check_role(role: str) -> str:
    """``role``, if it is the ARN of a role. Raises ``ValidationError``."""
    if not _ROLE.fullmatch(role):
        raise ValidationError(
            f"role={role!r} is not the ARN of a role, such as arn:aws:iam::123456789012:role/sagemaker"
        )
    return role


# --- statements and documents ----------------------------------------------------------------------------------------


def statement(
    sid: str, actions: str | Iterable[str], resources: str | Iterable[str], condition: JsonObject | None = None
) -> JsonObject:
    """What is allowed. Equal actions and resources are named once."""
    made: JsonObject = {"Sid": sid, "Effect": "Allow", "Action": _sorted(actions), "Resource": _sorted(resources)}
    return {**made, "Condition": condition} if condition else made


def _sorted(given: str | Iterable[str]) -> list[str]:
    return [given] if isinstance(given, str) else sorted(set(given))


def policy(*statements: JsonObject) -> JsonObject:
    """A policy document."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def actions(service: str, *names: str) -> list[str]:
    """Actions of one service by their names."""
    return [f"{service}:{name}" for name in names]


def pass_role(role: str) -> JsonObject:
    """To hand an execution role to SageMaker, and to no other service."""
    condition: JsonObject = {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
    return statement("PassExecutionRole", "iam:PassRole", role, condition)


def trust(service: str, arns: Arns, resource: str) -> JsonObject:
    """Who may be a role: ``service``, for what ``arns``' account has there of ``resource`` alone. So AWS has it against
    confused deputies: docs.aws.amazon.com/sagemaker/latest/dg/security-confused-deputy-prevention.html, and the pages
    of Bedrock's user guide on the role of each job."""
    source: JsonObject = {"aws:SourceArn": arns.of(service, resource)}
    mine: JsonObject = {"StringEquals": {"aws:SourceAccount": arns.account}, "ArnEquals": source}
    condition = {"ArnLike": source} if arns.account == "*" else mine
    principal = {"Service": f"{service}.amazonaws.com"}
    return policy({"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", "Condition": condition})


def use_key(key: str | None, names: Iterable[str], arns: Arns) -> Iterator[JsonObject]:
    """To use a KMS key through AWS's services; nothing without one. ``names`` are actions of KMS. ``key`` is an id, an
    ARN or an alias: of an alias, whatever key it stands for is meant, for IAM takes no alias as a resource of these
    actions."""
    if key is None:
        return
    found = key if key.startswith("arn:") else arns.of("kms", key if key.startswith("alias/") else f"key/{key}")
    base, _, alias = found.partition(":alias/")
    resource = f"{base}:key/*" if alias else found
    named: JsonObject = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": f"alias/{alias}"}} if alias else {}
    yield statement("Key", actions("kms", *names), resource, named)
    yield statement("KeyGrant", "kms:CreateGrant", resource, {**named, "Bool": {"kms:GrantIsForAWSResource": "true"}})
