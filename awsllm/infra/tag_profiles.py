"""Application inference profiles made for a tag: one for each model, so that AWS's bill has what the tag's calls cost.

A profile has the tag itself, ``awsllm`` as what the template ``profiles`` makes has, and ``awsllm:model``, the model as
it was named: a profile over a geography's one does not say which that was. They cost nothing. The tag is to be
activated as a cost allocation tag in the billing console; it takes up to 24 hours until it is seen there
(docs.aws.amazon.com/bedrock/latest/userguide/cost-mgmt-inference-profiles.html, read 2026-11-27).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Unpack

from awsllm.aws import control
from awsllm.errors import ConfigurationError, ModelNotFoundError, ValidationError
from awsllm.infra.api import AccountOptions, arn_finder, session_of
from awsllm.models.references import parse_reference
from awsllm.policy.tags import checked_tags
from awsllm.types import Value

_MADE_BY = {"key": "awsllm", "value": "profiles"}
_MODEL = "awsllm:model"
_MOST_NAME = 64


class TagProfile(Value, frozen=True, kw_only=True):
    """``model`` is the reference that it is a profile of, where its tags say so; ``tags`` are without awsllm's own."""

    name: str
    arn: str
    model: str | None
    tags: dict[str, str]
    status: str


def create_profile(
    model: str, tags: Mapping[str, str], *, name: str | None = None, **where: Unpack[AccountOptions]
) -> TagProfile:
    """Make the profile of a model for tags. The one that is there for them already is given as it is."""
    tags = checked_tags(dict(tags))
    if not tags:
        raise ValidationError("a profile is made for a tag: give one, such as team=search")
    if reserved := [key for key in tags if key.partition(":")[0] in ("awsllm", "aws")]:
        raise ValidationError(f"the tag {reserved[0]!r} is reserved")
    session = session_of(where)
    client = control.client("bedrock", session)
    found = arn_finder(session).of(model)[0]
    if found.kind not in ("foundation", "profile") or found.application:
        raise ValidationError(
            f"{model}: a profile is made of a foundation model, or of a geography's or global profile"
        )
    reference = str(parse_reference(model))
    for made in _listed(client):
        if made.model == reference and made.tags == tags and name in (None, made.name):
            return made
    name = name or _name(reference, tags)
    own = [_MADE_BY, {"key": _MODEL, "value": reference}, *({"key": key, "value": tags[key]} for key in tags)]
    with control.translated():
        reply = client.create_inference_profile(
            inferenceProfileName=name, modelSource={"copyFrom": found.arn}, tags=own
        )
    return TagProfile(
        name=name, arn=reply["inferenceProfileArn"], model=reference, tags=tags, status=reply.get("status", "ACTIVE")
    )


def list_profiles(tags: Mapping[str, str] | None = None, **where: Unpack[AccountOptions]) -> tuple[TagProfile, ...]:
    """The application inference profiles of the region that have these tags among theirs, whoever made them."""
    wanted = (tags or {}).items()
    found = _listed(control.client("bedrock", session_of(where)))
    return tuple(each for each in found if wanted <= each.tags.items())


def delete_profile(name: str, **where: Unpack[AccountOptions]) -> TagProfile:
    """Delete a profile by its name or ARN. Calls that still go to it fail from then on."""
    client = control.client("bedrock", session_of(where))
    for each in _listed(client):
        if name in (each.name, each.arn):
            with control.translated():
                client.delete_inference_profile(inferenceProfileIdentifier=each.arn)
            return each
    raise ModelNotFoundError(f"there is no application inference profile {name!r:.100} in this region")


def profiles_by_tag(profiles: Iterable[TagProfile]) -> dict[str, dict[str, str]]:
    """What ``Client(profiles=…)`` and the tables ``[profiles."team=search"]`` of awsllm.toml take. Raises
    ``ConfigurationError`` where two profiles are of one model and tag."""
    found: dict[str, dict[str, str]] = {}
    for each in profiles:
        for name, value in each.tags.items() if each.model else ():
            models = found.setdefault(f"{name}={value}", {})
            if models.setdefault(str(each.model), each.arn) != each.arn:
                raise ConfigurationError(f"two profiles are of {each.model} for {name}={value}: delete one")
    return found


def as_toml(profiles: Iterable[TagProfile]) -> str:
    """The tables of awsllm.toml."""
    parts = []
    for tag, models in profiles_by_tag(profiles).items():
        parts.append(f'[profiles."{tag}"]\n' + "".join(f'"{model}" = "{arn}"\n' for model, arn in models.items()))
    return "\n".join(parts)


def _listed(client: Any) -> Iterator[TagProfile]:
    with control.translated():
        for page in client.get_paginator("list_inference_profiles").paginate(typeEquals="APPLICATION"):
            for each in page["inferenceProfileSummaries"]:
                pairs = client.list_tags_for_resource(resourceARN=each["inferenceProfileArn"])["tags"]
                tags = {pair["key"]: pair["value"] for pair in pairs}
                yield TagProfile(
                    name=each["inferenceProfileName"],
                    arn=each["inferenceProfileArn"],
                    model=tags.get(_MODEL),
                    tags={key: value for key, value in tags.items() if key.partition(":")[0] not in ("awsllm", "aws")},
                    status=each["status"],
                )


def _name(reference: str, tags: Mapping[str, str]) -> str:
    """Of letters, digits and single hyphens, 64 at most (botocore's model of CreateInferenceProfile)."""
    whose = "-".join(f"{key}-{value}" for key, value in tags.items())
    text = re.sub("[^0-9a-zA-Z]+", "-", f"{whose} {reference.removeprefix('bedrock:')}").strip("-")
    return text[:_MOST_NAME].strip("-")
