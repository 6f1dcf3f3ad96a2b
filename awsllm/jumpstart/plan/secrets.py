"""What is not shown of an environment: values whose names say that they are secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping

from awsllm.types import JsonValue

MASK = "****"
# Limits are called tokens, too: MAX_TOTAL_TOKENS.
_SECRET = re.compile(
    r"TOKEN(?!S)|SECRET|PASSWORD|PASSWD|(?:^|_)PASS(?:$|_)|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|AUTH",
    re.IGNORECASE,
)


def masked(env: Mapping[str, str]) -> dict[str, str]:
    """An environment without the values of what looks like a secret by its name."""
    return {name: MASK if _SECRET.search(name) and value else value for name, value in env.items()}


def without_secrets(value: JsonValue, path: str = "") -> JsonValue:
    """A request, or the part of one at ``path`` (members between dots), with its environments masked."""
    *_, above, name = ("", "", *path.split("."))
    if isinstance(value, dict):
        return {key: without_secrets(inner, f"{path}.{key}") for key, inner in value.items()}
    if isinstance(value, list):
        return [without_secrets(inner, path) for inner in value]
    return MASK if above == "Environment" and value and _SECRET.search(name) else value
