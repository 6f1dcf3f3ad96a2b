"""What names of awsllm.toml stand for, where templates and policies are made of models: all that may be called."""

from __future__ import annotations

from collections.abc import Iterable

from awsllm.errors import ConfigurationError
from awsllm.models.references import Reference, parse_reference
from awsllm.policy.configuration import Configuration
from awsllm.policy.configuration_file import configured


def configuration_of(models: Iterable[str]) -> Configuration | None:
    """The configuration by whose names some of the models are given; None where none is."""
    found = configured(None)
    return found if found is not None and any(found.named(model) is not None for model in models) else None


def members(models: Iterable[str]) -> tuple[Reference, ...]:
    """Each model that is called, once: behind a group's name each of its members."""
    models = tuple(models)
    named = configuration_of(models)
    found: list[Reference] = []
    for model in models:
        meant = named.named(model) if named is not None else None
        if meant is None or isinstance(meant, str):
            found.append(parse_reference(meant or model))
        else:
            found += [member.reference for member in meant.members]
    return tuple(dict.fromkeys(found))


def references(models: Iterable[str]) -> tuple[str, ...]:
    """``members`` as texts, for a template: its function has the rights of one role."""
    found = members(models)
    if elsewhere := [str(one) for one in found if one.role is not None]:
        raise ConfigurationError(
            f"{elsewhere[0]} is called as a role: let the function's role assume it, and give the template the others"
        )
    return tuple(map(str, found))
