"""Whose calls these are on AWS's own bill: by the tags of the session that makes them, or by the profile they go to.

Bedrock notes for each request which IAM principal made it, and the billing data (Cost Explorer, CUR 2.0) has the tags
of that principal, those of its session among them, once they are activated as cost allocation tags of the type IAM
principal (docs.aws.amazon.com/bedrock/latest/userguide/cost-mgmt-iam-principal-tracking.html, read 2026-11-27). So a
client that calls as a role has a session for each set of values of the tags that it is told to pass, and renews it.

An application inference profile is a resource with tags of its own, over a model; what goes through it is billed to it.
All else about a call stays the model's: what it can do, what it costs, under what its answers are kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from msgspec.structs import replace

from awsllm.errors import ConfigurationError, ValidationError
from awsllm.models.opaque import opaque_kind
from awsllm.models.references import Reference, parse_reference
from awsllm.policy.tags import checked_tags

R = TypeVar("R")

MOST_SESSIONS = 1000
"""Sets of values that one client has sessions for."""

_MOST_SESSION_TAGS = 50
_THROUGH_PROFILES = frozenset(("converse", "embed", "generate_image", "edit_image", "invoke_model"))
_SIGNS = re.compile(r"[\w\s.:/=+\-@]*")


class Attribution:
    """That of one client. ``session_tags`` are tags for all its sessions, or the names of those of a call's tags that
    its session has; ``profiles`` are ARNs by tag ("team=search") and model."""

    def __init__(
        self,
        session_tags: Mapping[str, str] | Sequence[str] | None,
        profiles: Mapping[str, Mapping[str, str]] | None,
        *,
        has_role: bool,
    ) -> None:
        if session_tags and not has_role:
            raise ConfigurationError("session_tags are those of a role's session: give role=…, too")
        self._fixed, self._names = _session_tags(session_tags)
        self._profiles = checked_profiles(profiles or {})
        self._sessions: set[tuple[tuple[str, str], ...]] = set()

    def of(self, reference: Reference, tags: Mapping[str, str]) -> tuple[Reference, str | None]:
        """Where and as whom a call with these tags is made, and the profile that it goes through (None: none)."""
        if reference.scheme == "bedrock" and (profile := self._profile(reference, tags)):
            reference = replace(reference, region=profile.split(":")[3])
        else:
            profile = None
        if (self._names or self._fixed) and reference.scheme != "local":
            reference = replace(reference, session_tags=self._session(tags))
        return reference, profile

    def _profile(self, reference: Reference, tags: Mapping[str, str]) -> str | None:
        for pair in tags.items():
            if (found := self._profiles.get(pair)) is not None:
                arn = found.get(str(reference)) or found.get(reference.anywhere)
                if arn is not None and reference.region in (None, arn.split(":")[3]):
                    return arn
        return None

    def _session(self, tags: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        session = self._fixed or tuple((name, tags[name]) for name in self._names if name in tags)
        if session not in self._sessions:
            _check_session(session)
            if len(self._sessions) >= MOST_SESSIONS:
                raise ConfigurationError(
                    f"the tags {', '.join(self._names)} have more than {MOST_SESSIONS} sets of values, and each is a "
                    "session of the role: name fewer in session_tags"
                )
            self._sessions.add(session)
        return session


def through(request: R, profile: str) -> R:
    """The request as it goes to a profile over its model."""
    known: Any = request
    if known.operation not in _THROUGH_PROFILES or opaque_kind(known.model):
        return request
    changed: R = replace(known, model=profile, family=known.family or known.model)
    return changed


def checked_profiles(given: Any) -> dict[tuple[str, str], dict[str, str]]:
    """ARNs by tag and model. Raises ``ConfigurationError``."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for tag, models in _mapping(given, "profiles").items():
        name, equals, value = tag.partition("=")
        if not (name and equals):
            raise ConfigurationError(f"profiles are by tag, such as 'team=search', not {tag!r:.60}")
        pair = next(iter(checked_tags({name: value}).items()))
        for model, arn in _mapping(models, f"the profiles of {tag}").items():
            reference = parse_reference(model)
            if reference.scheme != "bedrock" or opaque_kind(reference.model):
                raise ConfigurationError(f"{model!r:.80} has no profiles of one's own: it is no model of Bedrock's")
            if not isinstance(arn, str) or opaque_kind(arn) != "application-inference-profile":
                raise ConfigurationError(f"the profile of {model} for {tag} is no application inference profile's ARN")
            found.setdefault(pair, {})[str(reference)] = arn
    return found


def profiles_table(said: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The table ``[profiles]`` of awsllm.toml. Raises ``ConfigurationError``."""
    checked_profiles(said)
    return {tag: dict(models) for tag, models in said.items()}


def _mapping(given: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise ConfigurationError(f"{what} are a mapping, not a {type(given).__name__}")
    return given


def _session_tags(given: Any) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """The tags of all sessions, or the names of those that a call's have."""
    if not given:
        return (), ()
    if isinstance(given, Mapping):
        fixed = tuple(given.items())
        _check_session(fixed)
        return fixed, ()
    if isinstance(given, str) or not all(isinstance(name, str) for name in given):
        raise ConfigurationError("session_tags are names of tags, such as ('team',), or tags")
    _check_session(tuple((name, "") for name in given))
    return (), tuple(given)


def _check_session(tags: tuple[tuple[Any, Any], ...]) -> None:
    """As STS takes them (botocore's model of AssumeRole). Raises ``ValidationError``."""
    if len(tags) > _MOST_SESSION_TAGS:
        raise ValidationError(f"{len(tags)} session tags: STS takes {_MOST_SESSION_TAGS} at most")
    if len({str(name).casefold() for name, _ in tags}) < len(tags):
        raise ValidationError("session tags are told apart by more than the case of their names")
    for name, value in tags:
        for text, most in ((name, 128), (value, 256)):
            if not isinstance(text, str) or len(text) > most or not _SIGNS.fullmatch(text):
                raise ValidationError(
                    f"the session tag {name!r:.60}: STS takes letters, digits, spaces and _ . : / = + - @, in names of "
                    "at most 128 and values of at most 256"
                )
        if not name or name.casefold().startswith("aws:"):
            raise ValidationError(f"the session tag {name!r:.60}: a name is not empty and does not begin with aws:")
