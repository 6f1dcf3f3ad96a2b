"""Model references, and what a model can do.

A reference says where a model runs and what that place calls it: ``bedrock:ID``, ``sagemaker:ENDPOINT[/COMPONENT]``,
``local:NAME``. A bare ARN is understood by its service. Anything else is an error that suggests what was meant.

A profile says what a model can do. It is data: ``RULES`` below, each with its reason, its source and the day that was
read. The rules that match a model apply in order, later ones over earlier ones. A model that no rule knows gets the
permissive default, since new models appear faster than tables: what it cannot do, the service will say. Nothing outside
this module looks at a model id.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from awsllm.errors import ConfigurationError
from awsllm.types import ConverseRequest, Value

SCHEMES = ("bedrock", "sagemaker", "local")

# Names the local store ships with, known here only to suggest the right scheme.
_LOCAL_HINTS = ("smollm2", "all-minilm")

# Providers whose ids Bedrock lists as PROVIDER.MODEL (ListFoundationModels, read 2026-11).
_PROVIDERS = frozenset(
    (
        *(
            "ai21",
            "amazon",
            "anthropic",
            "cohere",
            "deepseek",
            "google",
            "luma",
            "meta",
            "minimax",
            "mistral",
            "moonshot",
        ),
        *("moonshotai", "nvidia", "openai", "qwen", "stability", "twelvelabs", "writer", "xai", "zai"),
    )
)
# Geographies of cross-region inference profiles (userguide/inference-profiles-support, read 2026-11).
_GEOGRAPHIES = frozenset(("us", "eu", "apac", "us-gov", "jp", "au", "ca", "in", "sa", "global"))


class Reference(Value, frozen=True):
    """Where a model runs and what that place calls it.

    ``model`` is a Bedrock id or ARN, ENDPOINT or ENDPOINT/COMPONENT, or a local name or path. ``region`` is the one an
    ARN names, None otherwise.
    """

    scheme: str
    model: str
    region: str | None = None

    def __str__(self) -> str:
        return f"{self.scheme}:{self.model}"

    @property
    def component(self) -> str | None:
        """The inference component of a SageMaker endpoint, None for the endpoint as a whole."""
        return (self.model.partition("/")[2] or None) if self.scheme == "sagemaker" else None


def parse_reference(text: str) -> Reference:
    """Read a model reference; ``ConfigurationError`` with a suggestion when it is none."""
    text = getattr(text, "reference", text)  # a deployed model is its own reference
    if not isinstance(text, str) or not text.strip():  # callers are not all typed
        raise ConfigurationError(f"a model reference is a text such as {_FORMS}, not {text!r}")
    text = text.strip()
    if text.startswith("arn:"):
        return _parse_arn(text)
    scheme, colon, model = text.partition(":")
    if scheme not in SCHEMES:
        raise ConfigurationError(f"{text!r} is not a model reference: {_suggestion(text, scheme, bool(colon))}")
    model = model.strip()
    if not model.strip("/"):
        raise ConfigurationError(f"{text!r} names no model; write {_FORMS}")
    if scheme == "sagemaker":
        return _parse_endpoint(text, model)
    return Reference(scheme, model, region=_arn_region(model))


_FORMS = "bedrock:MODEL_ID, sagemaker:ENDPOINT or local:NAME"


def _parse_endpoint(text: str, model: str) -> Reference:
    if model.startswith("arn:"):
        return _parse_arn(model)
    endpoint, slash, component = model.partition("/")
    if not endpoint or (slash and not component) or "/" in component:
        raise ConfigurationError(
            f"{text!r} is not an endpoint: write sagemaker:ENDPOINT or sagemaker:ENDPOINT/COMPONENT"
        )
    return Reference("sagemaker", model)


def _parse_arn(arn: str) -> Reference:
    """``arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE``; the resource may hold colons and slashes."""
    parts = arn.split(":", 5)
    service, resource = (parts[2], parts[5]) if len(parts) == 6 else ("", "")
    kind, _, name = resource.partition("/")
    if service == "bedrock" and name:
        return Reference("bedrock", arn, region=parts[3] or None)
    if service == "sagemaker" and kind == "endpoint" and name:
        return Reference("sagemaker", name, region=parts[3] or None)
    if service == "sagemaker" and kind == "inference-component" and name:
        hint = f"an inference component is reached through its endpoint: write sagemaker:ENDPOINT/{name}"
        raise ConfigurationError(f"{arn!r} does not name the endpoint; {hint}")
    raise ConfigurationError(f"{arn!r} is not the ARN of a Bedrock model or of a SageMaker endpoint")


def _arn_region(model: str) -> str | None:
    parts = model.split(":", 5)
    return (parts[3] or None) if parts[0] == "arn" and len(parts) == 6 else None


def _suggestion(text: str, head: str, has_colon: bool) -> str:
    lowered = text.lower()
    if is_bedrock_id(lowered):
        return f"did you mean 'bedrock:{text}'?"
    if lowered.startswith(_LOCAL_HINTS) or lowered.endswith(".gguf"):
        return f"did you mean 'local:{text}'?"
    if not has_colon:
        return f"say where it runs: {_FORMS}"
    from difflib import get_close_matches

    near = get_close_matches(head.strip().lower(), SCHEMES, n=1)
    if near:
        return f"did you mean '{near[0]}:{text.partition(':')[2].strip()}'?"
    return f"unknown scheme {head!r}; known are {_FORMS}"


def is_bedrock_id(text: str) -> bool:
    """Whether ``text`` looks like an id that Bedrock lists, with or without a geography before it."""
    provider, dot, model = _without_geography(text).partition(".")
    return bool(dot and model) and provider in _PROVIDERS


def _without_geography(model: str) -> str:
    head, _, rest = model.partition(".")
    return rest if head in _GEOGRAPHIES and "." in rest else model


# --- what a model can do ---------------------------------------------------------------------------------------------

_ANY_CHOICE = frozenset(("auto", "any", "tool"))
_AUTO = frozenset(("auto",))
_NO_CHOICE: frozenset[str] = frozenset()
_CACHE_ALL = frozenset(("system", "messages", "tools"))


class Profile(Value, frozen=True):
    """What a model can do, as far as is documented.

    ``tool_choices`` is empty for a model without tools. ``thinking_forbids_forced_tools``: with extended thinking on,
    only tool choice auto is taken. ``native_json_schema``: ``outputConfig.textFormat`` is taken. ``strict_subset``: a
    native schema must keep to the service's subset (closed objects, no bounds, no recursion). ``cache_points`` says
    where cache points may stand. ``converse``: it chats. ``invoke_body`` is the InvokeModel body it takes, by its name
    in ``wire.invoke``. ``known`` is false for a model that no rule names. ``reasons`` says why it is what it
    is.
    """

    family: str = "unknown"
    provider: str = "unknown"
    tool_choices: frozenset[str] = _ANY_CHOICE
    thinking_forbids_forced_tools: bool = False
    native_json_schema: bool = False
    strict_subset: bool = True
    system_prompt: bool = True
    images: bool = True
    documents: bool = True
    cache_points: frozenset[str] = _CACHE_ALL
    converse: bool = True
    invoke_body: str | None = None
    known: bool = False
    reasons: tuple[str, ...] = ()

    def choices_for(self, request: ConverseRequest) -> frozenset[str]:
        """The tool choices that the model takes for this request: while it thinks there may be none that forces."""
        thinking = (request.extra or {}).get("thinking")
        thinks = isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive")
        return self.tool_choices & _AUTO if thinks and self.thinking_forbids_forced_tools else self.tool_choices


class Rule(NamedTuple):
    """What is true of the models that one of ``patterns`` matches (``fnmatch``, on ``scheme:id`` without geography)."""

    patterns: tuple[str, ...]
    changes: dict[str, Any]
    reason: str
    source: str
    read: str


_FEATURES = "docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference-supported-models-features.html"
_TOOL_CHOICE = "docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolChoice.html"
_STRUCTURED = "docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html"
# The page's list of models, as others copied it from there.
_STRUCTURED_LIST = "github.com/langchain-ai/langchain-aws/issues/883; github.com/anomalyco/models.dev/pull/1326"
_CACHING = "docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html"
_TITAN_EMBED = "docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html"
_READ = "2026-11-23"

RULES: tuple[Rule, ...] = (
    Rule(
        ("local:*",),
        {
            "family": "local",
            "provider": "local",
            "native_json_schema": True,
            "strict_subset": False,
            "images": False,
            "cache_points": _CACHE_ALL,
        },
        "answers and tool calls are decoded under a grammar, so any schema the grammar takes holds",
        "awsllm/engine/grammar.py",
        _READ,
    ),
    Rule(
        ("sagemaker:*",),
        {
            "family": "openai-chat",
            "provider": "sagemaker",
            "native_json_schema": True,
            "strict_subset": False,
            "cache_points": _NO_CHOICE,
        },
        "chat containers (vLLM, LMI, TGI, SGLang) take response_format json_schema and decode under it",
        "docs.djl.ai/master/docs/serving/serving/docs/lmi/user_guides/lmi_input_output_schema.html",
        _READ,
    ),
    # --- not chat models ---
    Rule(
        (
            *("bedrock:amazon.titan-embed-*", "bedrock:amazon.titan-image-*", "bedrock:amazon.nova-canvas-*"),
            *("bedrock:amazon.nova-reel-*", "bedrock:amazon.nova-sonic-*", "bedrock:amazon.nova-2-sonic-*"),
            *("bedrock:amazon.rerank-*", "bedrock:amazon.nova-2-multimodal-embeddings-*", "bedrock:cohere.embed-*"),
            *("bedrock:cohere.rerank-*", "bedrock:stability.*", "bedrock:luma.*", "bedrock:twelvelabs.*"),
        ),
        {"converse": False},
        "they embed, rank, draw or speak, and are not listed for Converse",
        _FEATURES,
        _READ,
    ),
    Rule(
        ("bedrock:amazon.titan-embed-text-v1*", "bedrock:amazon.titan-embed-g1-text-02*"),
        {"family": "titan-embed", "provider": "amazon", "invoke_body": "titan-embed-text-v1"},
        "titan-embed-g1-text-02 is the first release of v1",
        _TITAN_EMBED,
        _READ,
    ),
    Rule(
        ("bedrock:amazon.titan-embed-text-v2*",),
        {"family": "titan-embed", "provider": "amazon", "invoke_body": "titan-embed-text-v2"},
        "v2 takes dimensions and normalize",
        _TITAN_EMBED,
        _READ,
    ),
    # --- Anthropic ---
    Rule(
        ("bedrock:anthropic.*",),
        {"family": "claude", "provider": "anthropic", "thinking_forbids_forced_tools": True},
        "with extended thinking a forced tool choice is a ValidationException",
        "github.com/pydantic/pydantic-ai/issues/3092",
        _READ,
    ),
    Rule(
        ("bedrock:anthropic.claude-v2*", "bedrock:anthropic.claude-instant*"),
        {"tool_choices": _NO_CHOICE, "images": False, "cache_points": _NO_CHOICE},
        "Claude 2 and before have no tools and no vision",
        _FEATURES,
        _READ,
    ),
    Rule(
        ("bedrock:anthropic.claude-3-5-haiku*",),
        {"images": False},
        "Claude 3.5 Haiku has no vision on Bedrock",
        _FEATURES,
        _READ,
    ),
    Rule(
        (
            "bedrock:anthropic.claude-haiku-4-5*",
            "bedrock:anthropic.claude-sonnet-4-5*",
            "bedrock:anthropic.claude-sonnet-4-6*",
            "bedrock:anthropic.claude-opus-4-5*",
            "bedrock:anthropic.claude-opus-4-6*",
        ),
        {"native_json_schema": True},
        "listed for structured outputs on Converse",
        _STRUCTURED + "; " + _STRUCTURED_LIST,
        _READ,
    ),
    Rule(
        (
            "bedrock:anthropic.claude-opus-4-8*",
            "bedrock:anthropic.claude-sonnet-5*",
            "bedrock:anthropic.claude-fable-5*",
        ),
        {"thinking_forbids_forced_tools": False},
        "adaptive thinking goes together with any tool choice",
        "github.com/langchain-ai/langchain-aws/pull/1141",
        _READ,
    ),
    Rule(
        ("bedrock:anthropic.claude-opus-5-5*",),
        {"tool_choices": _AUTO},
        "a forced tool choice is a ValidationException, thinking or not",
        "github.com/vercel/ai/issues/21364",
        _READ,
    ),
    # --- Amazon ---
    Rule(
        ("bedrock:amazon.nova-*",),
        {"family": "nova", "provider": "amazon", "cache_points": frozenset(("system", "messages"))},
        "tool choice auto, any and tool; no cache points among tools",
        "docs.aws.amazon.com/nova/latest/userguide/tool-choice.html; " + _CACHING,
        _READ,
    ),
    Rule(
        ("bedrock:amazon.nova-micro-*",),
        {"images": False, "documents": False},
        "Nova Micro is text only",
        _FEATURES,
        _READ,
    ),
    Rule(
        ("bedrock:amazon.titan-text-*", "bedrock:amazon.titan-tg1-*"),
        {
            "family": "titan-text",
            "provider": "amazon",
            "tool_choices": _NO_CHOICE,
            "system_prompt": False,
            "images": False,
            "cache_points": _NO_CHOICE,
        },
        "Titan Text takes neither system prompts nor tools nor images",
        _FEATURES,
        _READ,
    ),
    Rule(
        ("bedrock:amazon.titan-text-premier-*",),
        {"documents": False},
        "Titan Text Premier: no documents",
        _FEATURES,
        _READ,
    ),
    # --- Meta ---
    Rule(
        ("bedrock:meta.*",),
        {"family": "llama", "provider": "meta", "tool_choices": _AUTO, "images": False, "cache_points": _NO_CHOICE},
        "Llama decides for itself whether to use a tool: only auto",
        _TOOL_CHOICE + "; github.com/langchain-ai/langchain-aws/issues/620",
        _READ,
    ),
    Rule(
        ("bedrock:meta.llama2-*", "bedrock:meta.llama3-8b-*", "bedrock:meta.llama3-70b-*"),
        {"tool_choices": _NO_CHOICE},
        "Llama before 3.1 has no tools",
        _FEATURES,
        _READ,
    ),
    Rule(
        ("bedrock:meta.llama3-2-11b-*", "bedrock:meta.llama3-2-90b-*", "bedrock:meta.llama4-*"),
        {"images": True},
        "the vision models of the family",
        _FEATURES,
        _READ,
    ),
    # --- Mistral ---
    Rule(
        ("bedrock:mistral.*",),
        {
            "family": "mistral",
            "provider": "mistral",
            "tool_choices": frozenset(("auto", "any")),
            "cache_points": _NO_CHOICE,
        },
        "Mistral takes auto and any, never one named tool",
        _TOOL_CHOICE,
        _READ,
    ),
    Rule(
        ("bedrock:mistral.mistral-7b-*", "bedrock:mistral.mixtral-8x7b-*"),
        {"tool_choices": _NO_CHOICE, "system_prompt": False, "images": False},
        "Mistral 7B and Mixtral take neither system prompts nor tools",
        _FEATURES,
        _READ,
    ),
    Rule(
        ("bedrock:mistral.mistral-large-24*", "bedrock:mistral.mistral-small-24*"),
        {"images": False},
        "text only",
        _FEATURES,
        _READ,
    ),
    Rule(
        (
            "bedrock:mistral.devstral-*",
            "bedrock:mistral.magistral-*",
            "bedrock:mistral.ministral-*",
            "bedrock:mistral.mistral-large-3-*",
            "bedrock:mistral.voxtral-*",
        ),
        {"native_json_schema": True},
        "listed for structured outputs on Converse",
        _STRUCTURED + "; " + _STRUCTURED_LIST,
        _READ,
    ),
    # --- others ---
    Rule(
        ("bedrock:cohere.command-r*",),
        {
            "family": "command-r",
            "provider": "cohere",
            "tool_choices": _AUTO,
            "images": False,
            "cache_points": _NO_CHOICE,
        },
        "Command R uses tools when it decides to",
        _TOOL_CHOICE,
        _READ,
    ),
    Rule(
        ("bedrock:ai21.jamba-*",),
        {"family": "jamba", "provider": "ai21", "tool_choices": _AUTO, "images": False, "cache_points": _NO_CHOICE},
        "Jamba uses tools when it decides to",
        _FEATURES,
        _READ,
    ),
    Rule(("bedrock:ai21.jamba-instruct*",), {"tool_choices": _NO_CHOICE}, "Jamba-Instruct: no tools", _FEATURES, _READ),
    Rule(
        ("bedrock:deepseek.*",),
        {
            "family": "deepseek",
            "provider": "deepseek",
            "tool_choices": _AUTO,
            "images": False,
            "cache_points": _NO_CHOICE,
        },
        "DeepSeek uses tools when it decides to",
        _TOOL_CHOICE,
        _READ,
    ),
    Rule(
        ("bedrock:deepseek.r1-*",),
        {"tool_choices": _NO_CHOICE},
        "DeepSeek-R1 has no tools on Converse",
        _FEATURES,
        _READ,
    ),
    Rule(
        (
            "bedrock:deepseek.v3*",
            "bedrock:google.gemma-*",
            "bedrock:minimax.minimax-m2*",
            "bedrock:moonshot*.kimi-*",
            "bedrock:nvidia.nemotron-*",
            "bedrock:openai.gpt-oss-*",
            "bedrock:qwen.qwen3-*",
        ),
        {"native_json_schema": True, "cache_points": _NO_CHOICE},
        "open-weight models listed for structured outputs on Converse",
        _STRUCTURED + "; " + _STRUCTURED_LIST,
        _READ,
    ),
)


@lru_cache(maxsize=512)
def profile(scheme: str, model: str) -> Profile:
    """What the model of a reference can do. Opaque ARNs and models of no rule get the permissive default."""
    from fnmatch import fnmatchcase

    model_id = _model_id(model) if scheme == "bedrock" else model
    key = f"{scheme}:{model_id}"
    matching = [rule for rule in RULES if any(fnmatchcase(key, pattern) for pattern in rule.patterns)]
    changes: dict[str, Any] = {}
    if scheme == "bedrock" and is_bedrock_id(model_id):
        provider = model_id.partition(".")[0]
        changes |= {"family": provider, "provider": provider}
    for rule in matching:
        changes |= rule.changes
    reasons = tuple(f"{rule.reason} ({rule.source}, {rule.read})" for rule in matching)
    return Profile(**changes, known=bool(matching), reasons=reasons)


def _model_id(model: str) -> str:
    """The foundation model's id behind a Bedrock id, a geography's profile, or the ARN of either."""
    if model.startswith("arn:"):
        kind, _, name = model.split(":", 5)[-1].partition("/")
        model = name if kind in ("foundation-model", "inference-profile") else ""
    return _without_geography(model.lower())
