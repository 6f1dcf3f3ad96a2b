"""What is known of the models: data, a row for each fact, with its reason, its source and the day that was read.

A file a provider, loaded when one of its models is asked for: a program calls few, and the rows of all cost more than a
call. The rows that match a model apply in order, later ones over earlier ones (``profiles.profile``). What is a figure
and not a quirk (sizes, prices, dates) stands in ``models/catalogue.jsonl``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import msgspec

ANY_CHOICE = frozenset(("auto", "any", "tool"))
AUTO = frozenset(("auto",))
NOTHING: frozenset[str] = frozenset()
CACHE_ALL = frozenset(("system", "messages", "tools"))
FIVE_MINUTES = frozenset(("5m",))
ONE_HOUR = frozenset(("5m", "1h"))

# Ways to call a model. On bedrock-runtime: Converse, InvokeModel and its stream, the OpenAI-shaped routes, asynchronous
# and bidirectional calls; on bedrock-mantle: OpenAI's Chat Completions and Responses, Anthropic's Messages.
CHAT = frozenset(("converse", "invoke", "invoke_stream"))
INVOKE = frozenset(("invoke",))
OPEN_WEIGHTS = CHAT | {"openai_chat", "mantle_chat"}

BUDGET = frozenset(("budget",))
ADAPTIVE = frozenset(("adaptive", "effort"))
EFFORT = frozenset(("effort",))

TEXT_ONLY = {"images": False, "video": False, "audio": False}
"""A row's changes for models that read text alone. Whether they read documents, whose text Converse takes out, is
another question."""
NO_CHAT = {"converse": False, "tool_choices": NOTHING, "cache_points": NOTHING, "thinking": NOTHING}
"""A row's changes for models that embed, rank, draw, film or speak."""


class Rule(msgspec.Struct, frozen=True):
    """What is true of the models that one of ``patterns`` matches (``fnmatch``, on ``scheme:id`` without geography)."""

    patterns: tuple[str, ...]
    changes: dict[str, Any]
    reason: str
    source: str
    read: str


# --- sources that several files name ---------------------------------------------------------------------------------

GUIDE = "docs.aws.amazon.com/bedrock/latest/userguide/"
FEATURES = GUIDE + "conversation-inference-supported-models-features.html"
TOOL_CHOICE = "docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolChoice.html"
# The page's list of models, as others copied it from there.
STRUCTURED = (
    GUIDE + "structured-output.html; github.com/langchain-ai/langchain-aws/issues/883; "
    "github.com/anomalyco/models.dev/pull/1326"
)
BURNDOWN = GUIDE + "quotas-token-burndown.html (as others quote it, September and October 2026)"
CACHING = GUIDE + "prompt-caching.html"
CARDS = GUIDE + "model-cards.html"
# What the cards say, as others copied it from there.
MODALITIES = (
    CARDS
    + "; github.com/anomalyco/models.dev providers/amazon-bedrock/models/*.toml; github.com/BerriAI/litellm 1.110.2"
)
LITELLM = "github.com/BerriAI/litellm 1.110.2 (routes of model_prices_and_context_window.json)"
RECORDED = "replies of bedrock-runtime.*.amazonaws.com that others recorded in their tests"
READ = "2026-11-23"
READ_LATER = "2026-11-26"

# What begins a key (``scheme:``, and for Bedrock the provider) -> the files with the rows about it, in order.
_FILES: dict[str, tuple[str, ...]] = {
    "local:": ("places",),
    "sagemaker:": ("places",),
    "architecture:": ("imported",),
    "bedrock:amazon": ("amazon",),
    "bedrock:anthropic": ("anthropic",),
    "bedrock:meta": ("meta",),
    "bedrock:mistral": ("mistral",),
    "bedrock:openai": ("openai",),
    **dict.fromkeys(("bedrock:ai21", "bedrock:cohere", "bedrock:writer"), ("enterprise",)),
    **dict.fromkeys(
        ("bedrock:deepseek", "bedrock:google", "bedrock:minimax", "bedrock:moonshot", "bedrock:moonshotai"),
        ("open_weights",),
    ),
    **dict.fromkeys(("bedrock:nvidia", "bedrock:qwen", "bedrock:xai", "bedrock:zai"), ("open_weights",)),
    **dict.fromkeys(("bedrock:luma", "bedrock:stability", "bedrock:twelvelabs"), ("media",)),
}


def rules_for(key: str) -> tuple[Rule, ...]:
    """The rows that may be about ``key``: a scheme, a colon and a model's id."""
    scheme, _, model = key.partition(":")
    files = _FILES.get(f"{scheme}:") or _FILES.get(f"{scheme}:{model.partition('.')[0]}", ())
    return tuple(rule for name in files for rule in import_module(f"{__name__}.{name}").RULES)


def all_rules() -> tuple[Rule, ...]:
    """Every row of every file."""
    names = dict.fromkeys(name for files in _FILES.values() for name in files)
    return tuple(rule for name in names for rule in import_module(f"{__name__}.{name}").RULES)
