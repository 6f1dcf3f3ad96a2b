"""What a model can do.

A profile is put together from the rows of ``models.rules``. A model that no row knows gets the permissive default,
since new models appear faster than tables: what it cannot do, the service will say. Nothing outside ``models`` looks at
a model id.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from awsllm.models.references import is_bedrock_id, without_geography
from awsllm.models.rules import ANY_CHOICE, AUTO, CACHE_ALL, RULES
from awsllm.types import ConverseRequest, Value


class Profile(Value, frozen=True):
    """What a model can do, as far as is documented.

    ``tool_choices`` is empty for a model without tools. ``thinking_forbids_forced_tools``: with extended thinking on,
    only tool choice auto is taken. ``native_json_schema``: ``outputConfig.textFormat`` is taken. ``strict_subset``: a
    native schema must keep to the service's subset (closed objects, no bounds, no recursion). ``cache_points`` says
    where cache points may stand. ``neighbouring_turns``: the service takes several turns of one role in a row,
    ``assistant_first``: and a conversation that the assistant begins. ``converse``: it chats. ``invoke_body`` is the
    InvokeModel body it takes, by its name in ``wire.invoke``. ``known`` is false for a model that no rule names.
    ``reasons`` says why it is what it is.
    """

    family: str = "unknown"
    provider: str = "unknown"
    tool_choices: frozenset[str] = ANY_CHOICE
    thinking_forbids_forced_tools: bool = False
    native_json_schema: bool = False
    strict_subset: bool = True
    system_prompt: bool = True
    images: bool = True
    documents: bool = True
    cache_points: frozenset[str] = CACHE_ALL
    neighbouring_turns: bool = False
    assistant_first: bool = False
    converse: bool = True
    invoke_body: str | None = None
    known: bool = False
    reasons: tuple[str, ...] = ()

    def choices_for(self, request: ConverseRequest) -> frozenset[str]:
        """The tool choices that the model takes for this request: while it thinks there may be none that forces."""
        thinking = (request.extra or {}).get("thinking")
        thinks = isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive")
        return self.tool_choices & AUTO if thinks and self.thinking_forbids_forced_tools else self.tool_choices


@lru_cache(maxsize=512)
def profile(scheme: str, model: str) -> Profile:
    """What the model of a reference can do. Opaque ARNs and models of no rule get the permissive default."""
    model_id = _model_id(model) if scheme == "bedrock" else model
    key = f"{scheme}:{model_id}"
    matching = [rule for rule in RULES if any(_matches(key, pattern) for pattern in rule.patterns)]
    changes: dict[str, Any] = {}
    if scheme == "bedrock" and is_bedrock_id(model_id):
        provider = model_id.partition(".")[0]
        changes |= {"family": provider, "provider": provider}
    for rule in matching:
        changes |= rule.changes
    reasons = tuple(f"{rule.reason} ({rule.source}, {rule.read})" for rule in matching)
    return Profile(**changes, known=bool(matching), reasons=reasons)


def _matches(key: str, pattern: str) -> bool:
    """``*`` is any text. Most patterns end in their only one; to compile them all is a tenth of a first call."""
    start, star, rest = pattern.partition("*")
    if not rest:
        return key.startswith(start) if star else key == pattern
    if not key.startswith(start):
        return False
    from fnmatch import fnmatchcase

    return fnmatchcase(key, pattern)


def _model_id(model: str) -> str:
    """The foundation model's id behind a Bedrock id, a geography's profile, or the ARN of either."""
    if model.startswith("arn:"):
        kind, _, name = model.split(":", 5)[-1].partition("/")
        model = name if kind in ("foundation-model", "inference-profile") else ""
    return without_geography(model.lower())
