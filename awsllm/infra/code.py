"""The code of a stack's functions: a package in S3, named by its content.

A template takes it by its parameters ``CodeBucket`` and ``CodeKey``. The key has the package's digest, so that changed
code is a changed parameter, which CloudFormation deploys, and equal code is nothing to deploy. awsllm's own bucket is
named by account and region; whoever made a bucket of that name first could give another's code to functions, so every
request says whose bucket is meant (``ExpectedBucketOwner``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from awsllm.errors import AccessDeniedError, AwsllmError, ModelNotFoundError, ValidationError
from awsllm.infra.stacks import account_id
from awsllm.infra.templates import Template
from awsllm.jumpstart.deploy.resources import Clients, call
from awsllm.types import Value

BUCKET, KEY = "CodeBucket", "CodeKey"
"""The parameters by which a template takes its code."""
ARCHITECTURE = "Architecture"
"""The parameter that says what the functions run on, where there is one."""
_DIGITS = 32


class CodePackage(Value, frozen=True, kw_only=True):
    """A package on this machine, and where it goes. ``own`` is whether the bucket is awsllm's."""

    path: str
    bucket: str
    key: str
    account: str
    own: bool

    @property
    def parameters(self) -> dict[str, str]:
        return {BUCKET: self.bucket, KEY: self.key}


def takes_code(template: Template) -> bool:
    return {BUCKET, KEY} <= {parameter.name for parameter in template.parameters}


def place(clients: Clients, template: Template, path: str | Path, bucket: str | None, region: str) -> CodePackage:
    """Where a package will go. Only asks who calls; ``upload`` brings it there."""
    file = Path(path).expanduser()
    if not takes_code(template):
        raise ValidationError(f"{template.name} takes no code: it has no parameters {BUCKET} and {KEY}")
    try:
        with file.open("rb") as opened:
            begins = opened.read(4)
            opened.seek(0)
            digest = hashlib.file_digest(opened, "sha256").hexdigest()[:_DIGITS]
    except OSError as error:
        raise ValidationError(f"{path} cannot be read: {error.strerror}") from error
    if begins != b"PK\x03\x04":
        raise ValidationError(f"{path} is no ZIP file: make one with `awsllm lambda package --output {file.name}`")
    return _placed(clients, template, str(file), digest, bucket, region)


def build(
    template: Template,
    values: Mapping[str, Any],
    folder: Path,
    tell: Callable[[str], None],
    configuration: str | None = None,
) -> Path:
    """The package of the template's handlers, for its architecture, made in ``folder``; with the ``configuration`` (an
    awsllm.toml) whose names it shall know."""
    from awsllm.lambdas.packaging.build import build as build_package

    known = {parameter.name: parameter.default for parameter in template.parameters}
    arch = str(values.get(ARCHITECTURE) or known.get(ARCHITECTURE) or "arm64")
    return build_package(
        folder / f"{template.name}.zip",
        handlers=template.handlers,
        arch=arch,
        configuration=configuration,
        progress=tell,
    ).path


def unbuilt(clients: Clients, template: Template, bucket: str | None, region: str) -> CodePackage:
    """The place of a package that is built only when it is deployed: a plan needs none."""
    return _placed(clients, template, "", "built-when-deployed", bucket, region)


def _placed(clients: Clients, template: Template, path: str, name: str, bucket: str | None, region: str) -> CodePackage:
    account = account_id(clients)
    where, key = bucket or own_bucket(account, region), f"awsllm/{template.name}/{name}.zip"
    return CodePackage(path=path, bucket=where, key=key, account=account, own=bucket is None)


def own_bucket(account: str, region: str) -> str:
    return f"awsllm-code-{account}-{region}"


def upload(clients: Clients, package: CodePackage, region: str) -> bool:
    """Bring the package to its place, the own bucket made where there is none. False where it was there already."""
    whose: Mapping[str, Any] = {"ExpectedBucketOwner": package.account} if package.own else {}
    if package.own:
        _ensure_bucket(clients, package, region)
    try:
        call(clients, "s3", "head_object", Bucket=package.bucket, Key=package.key, **whose)
        return False
    except (ModelNotFoundError, AccessDeniedError):  # 403 where listing is not allowed
        pass
    with open(package.path, "rb") as body:
        call(clients, "s3", "put_object", Bucket=package.bucket, Key=package.key, Body=body, **whose)
    return True


def _ensure_bucket(clients: Clients, package: CodePackage, region: str) -> None:
    name = package.bucket
    try:
        call(clients, "s3", "head_bucket", Bucket=name, ExpectedBucketOwner=package.account)
        return
    except ModelNotFoundError:
        pass
    except AccessDeniedError as error:
        raise AccessDeniedError(
            f"the bucket {name} is not this account's, or may not be read (s3:ListBucket): give another with bucket=",
            code=error.code,
            status=error.status,
        ) from error
    where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    try:
        call(clients, "s3", "create_bucket", Bucket=name, **where)
    except AwsllmError as error:
        if error.code != "BucketAlreadyOwnedByYou":
            raise
    closed = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
    call(clients, "s3", "put_public_access_block", Bucket=name, PublicAccessBlockConfiguration=closed)
