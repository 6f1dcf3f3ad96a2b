"""What a model can do.

A profile is put together from the rows of ``models.rules``. A model that no row knows gets the permissive default,
since new models appear faster than tables: what it cannot do, the service will say. Nothing outside ``models`` looks at
a model id.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from awsllm.errors import ConfigurationError
from awsllm.models.references import geography, is_bedrock_id, without_geography
from awsllm.models.rules import ADAPTIVE, ANY_CHOICE, AUTO, BUDGET, CACHE_ALL, CHAT, FIVE_MINUTES, NOTHING, rules_for
from awsllm.types import ConverseRequest, Value

# The name of a family -> a model id that the rows of the family as a whole match, and none of a single model.
_FAMILIES = {
    "claude": "anthropic.claude",
    "nova": "amazon.nova-",
    "titan-text": "amazon.titan-text-",
    "llama": "meta.llama",
    "mistral": "mistral.mistral",
    "jamba": "ai21.jamba-",
    "command-r": "cohere.command-r",
    "deepseek": "deepseek.v",
    "gemma": "google.gemma-3-",
    "minimax": "minimax.minimax",
    "kimi": "moonshotai.kimi-",
    "nemotron": "nvidia.nemotron-",
    "gpt": "openai.gpt",
    "gpt-oss": "openai.gpt-oss-",
    "qwen": "qwen.qwen",
    "palmyra": "writer.palmyra",
    "grok": "xai.grok",
    "glm": "zai.glm",
}
ARCHITECTURE = "architecture:"
"""What begins the family of an imported model: its architecture follows."""


MANTLE = "mantle_"
"""What begins the names of bedrock-mantle's routes."""


class Profile(Value, frozen=True):
    """What a model can do, as far as is documented.

    ``tool_choices`` is empty for a model without tools. ``thinking_forbids_forced_tools``: with extended thinking on,
    only tool choice auto is taken. ``native_json_schema``: ``outputConfig.textFormat`` is taken. ``strict_subset``: a
    native schema must keep to the service's subset (closed objects, no bounds, no recursion). ``images``,
    ``documents``, ``video`` and ``audio`` are what it reads. ``neighbouring_turns``: the service takes several turns of
    one role in a row, ``assistant_first``: and a conversation that the assistant begins. ``converse``: it chats.
    ``continues``: an assistant's turn that ends the conversation is gone on with, not answered.

    ``cache_points`` says where cache points may stand: at most ``cache_limit`` in a request, each after at least
    ``cache_minimum`` tokens (None: not known), living as long as one of ``cache_ttls``. ``thinking`` says how it is
    made to think: by a budget of tokens (``budget``), by itself (``adaptive``), by an effort (``effort``, one of
    ``efforts`` where those are known); empty, nothing can be said. ``thinking_always``: it cannot be turned off.
    ``signed_thinking``: it takes thoughts back with their signature alone, and no sampling knobs while it thinks.

    ``routes`` are the ways to call it: converse, invoke, invoke_stream, openai_chat, openai_responses, mantle_chat,
    mantle_responses, mantle_messages, async_invoke, bidirectional. ``needs_geography``: those of bedrock-runtime take
    the id of a geography's profile alone (those of bedrock-mantle take the model's own); ``mantle_path`` is where
    bedrock-mantle has its OpenAI-shaped routes. ``invoke_body`` is the InvokeModel body it takes, by its name in
    ``wire.invoke``, and ``invoke_prompt`` the prompt template of that body, where it has one.

    ``burndown`` is how many tokens of a quota one token of the answer takes.

    ``known`` is false for a model that no rule names. ``reasons`` says why it is what it is.
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
    video: bool = True
    audio: bool = True
    cache_points: frozenset[str] = CACHE_ALL
    cache_limit: int = 4
    cache_minimum: int | None = None
    cache_ttls: frozenset[str] = FIVE_MINUTES
    thinking: frozenset[str] = BUDGET | ADAPTIVE
    thinking_always: bool = False
    signed_thinking: bool = False
    efforts: frozenset[str] = NOTHING
    neighbouring_turns: bool = False
    assistant_first: bool = False
    continues: bool = False
    converse: bool = True
    routes: frozenset[str] = CHAT
    needs_geography: bool = False
    mantle_path: str = "/v1"
    invoke_body: str | None = None
    invoke_prompt: str | None = None
    burndown: int = 1
    known: bool = False
    reasons: tuple[str, ...] = ()

    def choices_for(self, request: ConverseRequest) -> frozenset[str]:
        """The tool choices that the model takes for this request: while it thinks there may be none that forces."""
        forbidden = self.thinking_forbids_forced_tools and self.thinks(request)
        return self.tool_choices & AUTO if forbidden else self.tool_choices

    def thinks(self, request: ConverseRequest) -> bool:
        """Whether the request says that the model shall think, in the words of Claude."""
        thinking = (request.extra or {}).get("thinking")
        return isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive")

    def routes_of(self, model: str) -> frozenset[str]:
        """The routes that take ``model``, an id or ARN of this profile. A geography's profile is bedrock-runtime's."""
        if geography(model):
            return frozenset(route for route in self.routes if not route.startswith(MANTLE))
        if self.needs_geography and not model.startswith("arn:"):
            return frozenset(route for route in self.routes if route.startswith(MANTLE))
        return self.routes

    def doors_of(self, model: str) -> str:
        """What ``api`` may be for ``model``, in words."""
        routes = self.routes_of(model)
        shaped = any(route.startswith((MANTLE, "openai")) for route in routes)
        found = {"converse": "converse" in routes, "openai": shaped, "invoke": "invoke" in routes}
        return " or ".join(f"api={name!r}" for name, has in found.items() if has) or "none"


@lru_cache(maxsize=512)
def profile(scheme: str, model: str, family: str | None = None) -> Profile:
    """What the model of a reference can do. ``family`` says of an opaque ARN which model it is: the name of a family
    ("claude"), a foundation model's id, or ``architecture:NAME``; without it, such an ARN and a model of no rule get
    the permissive default. ``ConfigurationError`` for a family that is none of these."""
    key = _family_key(family) if family else f"{scheme}:{_model_id(model) if scheme == 'bedrock' else model}"
    matching = [rule for rule in rules_for(key) if any(_matches(key, pattern) for pattern in rule.patterns)]
    changes: dict[str, Any] = {}
    if key.startswith("bedrock:") and is_bedrock_id(key[8:]):
        provider = key[8:].partition(".")[0]
        changes |= {"family": provider, "provider": provider}
    for rule in matching:
        changes |= rule.changes
    reasons = tuple(f"{rule.reason} ({rule.source}, {rule.read})" for rule in matching)
    return Profile(**changes, known=bool(matching), reasons=reasons)


def _family_key(family: str) -> str:
    if family.startswith(ARCHITECTURE):
        return family.lower()
    model = _FAMILIES.get(family.lower()) or _model_id(family)
    if not is_bedrock_id(model):
        raise ConfigurationError(
            f"family={family!r} is no family of models: give a foundation model's id, or one of {', '.join(_FAMILIES)}"
        )
    return f"bedrock:{model}"


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
