"""Which members of a group can stand for each other, for an operation that is no chat."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from msgspec.structs import replace

from awsllm.errors import ConfigurationError
from awsllm.models.profiles import profile
from awsllm.models.references import foundation_model
from awsllm.policy.groups import Group, GroupMember


def fitting(operation: str, group: Group, options: Mapping[str, Any]) -> Group:
    """The group for an operation that is no chat. Raises ``ConfigurationError`` where its members' answers cannot stand
    for each other: vectors of two models cannot be compared, and a body is of one family. Of ``count_tokens`` those
    members are left that count as the first does."""
    if len(group.members) == 1 or operation not in _ALIKE:
        return group
    kinds = [_ALIKE[operation](member, options) for member in group.members]
    if kinds.count(kinds[0]) == len(kinds):
        return group
    if operation == "count_tokens":
        alike = [member for member, kind in zip(group.members, kinds, strict=True) if kind == kinds[0]]
        return replace(group, models=tuple(alike), weighted=False)
    other = group.members[next(index for index, kind in enumerate(kinds) if kind != kinds[0])]
    raise ConfigurationError(f"{_WHY[operation]}, and this one has {group.members[0].model} and {other.model}")


def _model(member: GroupMember, options: Mapping[str, Any]) -> Hashable:
    """The model behind a member, wherever it is called."""
    reference = member.reference
    family = member.options.get("family") or options.get("family")
    if reference.scheme != "bedrock":
        return family or reference.anywhere
    return foundation_model(reference.model, family)


def _body(member: GroupMember, options: Mapping[str, Any]) -> Hashable:
    """What a member's bodies look like; of a model that is not known, the model."""
    model = str(_model(member, options))
    return profile("bedrock", model, options.get("family")).invoke_body or model


_ALIKE: Mapping[str, Callable[[GroupMember, Mapping[str, Any]], Hashable]] = {
    "count_tokens": _model,
    "embed": _model,
    "invoke_model": _body,
}
_WHY = {
    "embed": "vectors of two models cannot be compared: embed takes a group of one model, in several regions or "
    "accounts",
    "invoke_model": "a body is of one family of models: invoke_model takes a group of one family",
}
