"""What is known of the models: data, a row for each fact, with its reason, its source and the day that was read.

The rows that match a model apply in order, later ones over earlier ones (``profiles.profile``).
"""

from __future__ import annotations

from typing import Any, NamedTuple

ANY_CHOICE = frozenset(("auto", "any", "tool"))
AUTO = frozenset(("auto",))
NOTHING: frozenset[str] = frozenset()
CACHE_ALL = frozenset(("system", "messages", "tools"))


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
_CARDS = "docs.aws.amazon.com/bedrock/latest/userguide/model-cards.html"
# What each card says of modalities, as others copied it from there.
_MODALITIES = (
    "github.com/anomalyco/models.dev providers/amazon-bedrock/models/*.toml; github.com/BerriAI/litellm 1.110.2"
)
_RECORDED = "replies of bedrock-runtime.*.amazonaws.com that others recorded in their tests"
_TITAN_EMBED = "docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html"
_READ = "2026-11-23"
_READ_LATER = "2026-11-26"

RULES: tuple[Rule, ...] = (
    Rule(
        ("local:*",),
        {
            "family": "local",
            "provider": "local",
            "native_json_schema": True,
            "strict_subset": False,
            "images": False,
            "cache_points": CACHE_ALL,
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
            "cache_points": NOTHING,
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
        {"tool_choices": NOTHING, "images": False, "cache_points": NOTHING},
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
        ("bedrock:anthropic.claude-sonnet-4-5*",),
        {"assistant_first": True},
        "a conversation that began with the assistant was answered (one recording)",
        _RECORDED,
        _READ_LATER,
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
        {"tool_choices": AUTO},
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
            "tool_choices": NOTHING,
            "system_prompt": False,
            "images": False,
            "cache_points": NOTHING,
        },
        "Titan Text takes neither system prompts nor tools nor images",
        _FEATURES,
        _READ,
    ),
    Rule(
        ("bedrock:amazon.nova-*", "bedrock:amazon.titan-text-*"),
        {"neighbouring_turns": True},
        "several user turns in a row were answered (three recordings, of Nova and of Titan Text)",
        _RECORDED,
        _READ_LATER,
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
        {"family": "llama", "provider": "meta", "tool_choices": AUTO, "images": False, "cache_points": NOTHING},
        "Llama decides for itself whether to use a tool: only auto",
        _TOOL_CHOICE + "; github.com/langchain-ai/langchain-aws/issues/620",
        _READ,
    ),
    Rule(
        ("bedrock:meta.llama2-*", "bedrock:meta.llama3-8b-*", "bedrock:meta.llama3-70b-*"),
        {"tool_choices": NOTHING},
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
            "cache_points": NOTHING,
        },
        "Mistral takes auto and any, never one named tool",
        _TOOL_CHOICE,
        _READ,
    ),
    Rule(
        ("bedrock:mistral.mistral-7b-*", "bedrock:mistral.mixtral-8x7b-*"),
        {"tool_choices": NOTHING, "system_prompt": False, "images": False},
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
        ("bedrock:mistral.devstral-*", "bedrock:mistral.voxtral-*"),
        {"images": False},
        "Devstral reads text only, Voxtral text and sound",
        _CARDS + "; " + _MODALITIES,
        _READ_LATER,
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
            "tool_choices": AUTO,
            "images": False,
            "cache_points": NOTHING,
        },
        "Command R uses tools when it decides to",
        _TOOL_CHOICE,
        _READ,
    ),
    Rule(
        ("bedrock:ai21.jamba-*",),
        {"family": "jamba", "provider": "ai21", "tool_choices": AUTO, "images": False, "cache_points": NOTHING},
        "Jamba uses tools when it decides to",
        _FEATURES,
        _READ,
    ),
    Rule(
        ("bedrock:ai21.jamba-instruct*",),
        {"tool_choices": NOTHING, "documents": False},
        "Jamba-Instruct: no tools, no documents",
        _FEATURES,
        _READ_LATER,
    ),
    Rule(
        ("bedrock:cohere.command-text-*", "bedrock:cohere.command-light-text-*", "bedrock:ai21.j2-*"),
        {"tool_choices": NOTHING, "system_prompt": False, "images": False, "cache_points": NOTHING},
        "models of before Converse: neither system prompts nor tools nor images",
        _FEATURES,
        _READ_LATER,
    ),
    Rule(
        ("bedrock:cohere.command-light-text-*", "bedrock:ai21.j2-*"),
        {"documents": False},
        "Command Light and Jurassic-2: no documents",
        _FEATURES,
        _READ_LATER,
    ),
    Rule(
        ("bedrock:deepseek.*",),
        {
            "family": "deepseek",
            "provider": "deepseek",
            "tool_choices": AUTO,
            "images": False,
            "cache_points": NOTHING,
        },
        "DeepSeek uses tools when it decides to",
        _TOOL_CHOICE,
        _READ,
    ),
    Rule(
        ("bedrock:deepseek.r1-*",),
        {"tool_choices": NOTHING},
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
        {"native_json_schema": True, "cache_points": NOTHING},
        "open-weight models listed for structured outputs on Converse",
        _STRUCTURED + "; " + _STRUCTURED_LIST,
        _READ,
    ),
    Rule(
        ("bedrock:openai.gpt-oss-*",),
        {"images": False},
        "they take text input only",
        "docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-openai.html",
        _READ_LATER,
    ),
    Rule(
        (
            *("bedrock:minimax.minimax-m2", "bedrock:minimax.minimax-m2.1", "bedrock:minimax.minimax-m2.5"),
            *("bedrock:moonshot.kimi-k2-thinking", "bedrock:moonshotai.kimi-k2-thinking"),
            *(
                "bedrock:nvidia.nemotron-nano-9b-*",
                "bedrock:nvidia.nemotron-nano-3-*",
                "bedrock:nvidia.nemotron-super-3-*",
            ),
            *("bedrock:qwen.qwen3-32b-*", "bedrock:qwen.qwen3-235b-a22b-2507*"),
            *("bedrock:qwen.qwen3-coder-*", "bedrock:qwen.qwen3-next-*"),
            *("bedrock:writer.palmyra-x4-*", "bedrock:writer.palmyra-x5-*"),
            *("bedrock:zai.glm-4.7*", "bedrock:zai.glm-5", "bedrock:zai.glm-5.3"),
        ),
        {"images": False},
        "they read text only",
        _CARDS + "; " + _MODALITIES,
        _READ_LATER,
    ),
)
