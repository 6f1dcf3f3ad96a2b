"""Who may do what in an offline AWS that judges by IAM: a role with one policy, and what was judged of its calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import pytest

from awsllm.aws.authorization import Policies, Right
from awsllm.server import permissions
from awsllm.testing import mock_aws
from awsllm.types import JsonObject
from tests.support.sagemaker_account import client as boto_client

REGION = "us-east-1"
TRUST = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:*"}]}
SPARE = frozenset(("s3:AbortMultipartUpload",))
"""Of an upload that goes wrong half way."""


@dataclass(frozen=True)
class Clients:
    """Boto3's clients of a role, and the session they are of."""

    session: boto3.Session

    def __call__(self, service: str) -> Any:
        return self.session.client(service)


def role_of(document: JsonObject, region: str = REGION) -> Clients:
    """Clients of a role that has one policy."""
    iam = boto3.client("iam", REGION)
    arn = iam.create_role(RoleName="caller", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    iam.put_role_policy(RoleName="caller", PolicyName="plan", PolicyDocument=json.dumps(document))
    keys = boto3.client("sts", REGION).assume_role(RoleArn=arn, RoleSessionName="run")["Credentials"]
    session = boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], region)
    return Clients(session)


@contextmanager
def judged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Right]]:
    """The rights that were judged meanwhile."""
    seen: list[Right] = []
    real = permissions.rights

    def spy(*given: Any, **options: Any) -> Iterator[Any]:
        for right in real(*given, **options):
            seen.append(right)
            yield right

    monkeypatch.setattr(permissions, "rights", spy)
    yield seen
    monkeypatch.undo()


def check_rights(
    monkeypatch: pytest.MonkeyPatch,
    document: JsonObject,
    live: Callable[[Clients], object],
    spare: frozenset[str] = SPARE,
    **account: Any,
) -> None:
    """That ``document`` is enough for ``live``, and nothing of it too much: each action is judged on the way, and
    without any one statement something is refused. ``account`` is the offline AWS's."""
    with judged(monkeypatch) as seen, mock_aws(**{"reply": "x", **account}, iam=True):
        boto_client("s3").create_bucket(Bucket="data")
        clients = role_of(document)
        seen.clear()
        live(clients)
    check_all_needed(document, seen, spare)


def check_all_needed(document: JsonObject, seen: list[Right], spare: frozenset[str] = SPARE) -> None:
    """That what was judged (``seen``) took each action of a policy, and each of its statements."""
    assert Policies([document]).first_missing(seen) is None
    used = {right.action for right in seen}
    for statement in document["Statement"]:
        given = statement["Action"]
        named = {given} if isinstance(given, str) else set(given)
        assert named <= used | spare, sorted(named - used)
        fewer = [one for one in document["Statement"] if one != statement]
        less: JsonObject = {**document, "Statement": fewer}
        assert Policies([less]).first_missing(seen) is not None or named <= spare, statement
