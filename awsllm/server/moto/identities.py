"""Whose an access key is: a user's or an assumed role's of moto's IAM, with the policies that they have."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from awsllm.aws.authorization import Policies
from awsllm.server.permissions import Identity

_NOTHING = '{"Statement": []}'


def identity(access_key_id: str) -> Identity | None:
    """The user or assumed role with this key; None if nobody of any account has it. A role that is not there, any
    more or at all, and a key that is switched off may do nothing."""
    from moto.iam.models import iam_backends
    from moto.sts.models import sts_backends

    for session in (each for one in _backends(sts_backends) for each in one.assumed_roles):
        if session.access_key_id == access_key_id:
            return _of_session(session)
    for iam in _backends(iam_backends):
        for user in iam.users.values():
            for key in user.access_keys:
                if key.access_key_id == access_key_id:
                    return _of_user(iam, user, active=key.status == "Active")
    return None


def _backends(accounts: Any) -> Iterator[Any]:
    """moto's state of all accounts and partitions."""
    for partitions in list(accounts.values()):
        yield from list(partitions.values())


def _of_session(session: Any) -> Identity:
    from moto.iam.models import iam_backends

    _, partition, *_, account, name = session.role_arn.split(":", 5)
    arn = f"arn:{partition}:sts::{account}:assumed-role/{name.rpartition('/')[2]}/{session.session_name}"
    iam = iam_backends[account][partition]
    role = next((each for each in iam.roles.values() if each.arn == session.role_arn), None)
    if role is None:
        return Identity(arn, Policies([]), {})
    within = [each for each in (_boundary(role.permissions_boundary_arn), session.policy) if each]
    return _identity(arn, _documents(role), tuple(within), _tags(role.tags))


def _of_user(iam: Any, user: Any, *, active: bool) -> Identity:
    if not active:
        return Identity(user.arn, Policies([]), {})
    groups = [document for group in iam.get_groups_for_user(user.name) for document in _documents(group)]
    own = {"aws:username": user.name, **_tags(user.tags)}
    boundary = _boundary(getattr(user, "permissions_boundary", None))
    return _identity(user.arn, [*_documents(user), *groups], (boundary,) if boundary else (), own)


def _identity(arn: str, documents: Iterable[str], within: tuple[str, ...], context: Mapping[str, str]) -> Identity:
    """``within`` are what narrows the rights: a boundary, the policy of a session."""
    account = {"aws:PrincipalAccount": arn.split(":")[4]}
    return Identity(arn, _policies(tuple(documents), within), {**account, **context})


@lru_cache(maxsize=64)
def _policies(documents: tuple[str, ...], within: tuple[str, ...]) -> Policies:
    first, *rest = within or (None,)
    return Policies(documents, boundary=None if first is None else _policies((first,), tuple(rest)))


def _documents(principal: Any) -> list[str]:
    """The inline and the managed policies of a user, a group or a role."""
    inline = principal.policies.values() if isinstance(principal.policies, dict) else principal.policies
    attached = [_of_policy(policy) for policy in principal.managed_policies.values()]
    return [_text(each) for each in [*inline, *attached]]


def _text(policy: Any) -> str:
    """moto keeps a document as text, and one that CloudFormation gave a role as it was read."""
    return json.dumps(policy) if isinstance(policy, dict) else str(policy)


def _boundary(arn: str | None) -> str | None:
    """The document of a permissions boundary; one that is not there allows nothing."""
    from moto.iam.models import iam_backends

    if not arn:
        return None
    managed = {arn: policy for one in _backends(iam_backends) for arn, policy in one.managed_policies.items()}
    return _of_policy(managed[arn]) if arn in managed else _NOTHING


def _of_policy(policy: Any) -> str:
    """The version of a managed policy that holds."""
    return next(_text(version.document) for version in policy.versions if version.is_default)


def _tags(tags: Any) -> dict[str, str]:
    listed = tags.values() if isinstance(tags, dict) else tags or ()
    return {f"aws:PrincipalTag/{each['Key']}": each["Value"] for each in listed if isinstance(each, dict)}
