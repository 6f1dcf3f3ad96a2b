"""Anthropic's models."""

from __future__ import annotations

from awsllm.models.rules import (
    ADAPTIVE,
    AUTO,
    BUDGET,
    BURNDOWN,
    CACHING,
    CHAT,
    FEATURES,
    GUIDE,
    LITELLM,
    NOTHING,
    ONE_HOUR,
    READ,
    READ_LATER,
    RECORDED,
    STRUCTURED,
    Rule,
)

_THINKING = GUIDE + "claude-messages-extended-thinking.html; " + GUIDE + "claude-messages-adaptive-thinking.html"
_EFFORT = "platform.claude.com/docs/en/build-with-claude/effort; " + GUIDE + "model-card-anthropic-claude-opus-5-5.html"
_EFFORTS = frozenset(("low", "medium", "high", "max"))
_READ_PREFILL = "2026-11-27"

RULES = (
    Rule(
        ("bedrock:anthropic.*",),
        {
            "family": "claude",
            "provider": "anthropic",
            "invoke_body": "anthropic-messages",
            "routes": CHAT,
            "thinking_forbids_forced_tools": True,
            "signed_thinking": True,
            "video": False,
            "audio": False,
            "thinking": ADAPTIVE,
        },
        "with extended thinking a forced tool choice is a ValidationException, and so is a thought without its "
        "signature, and a temperature; text and images alone are read",
        "github.com/pydantic/pydantic-ai/issues/3092; github.com/can1357/oh-my-pi/pull/333; " + FEATURES,
        READ,
    ),
    Rule(
        ("bedrock:anthropic.claude-v*", "bedrock:anthropic.claude-instant*"),
        {
            "invoke_body": "anthropic-text",
            "tool_choices": NOTHING,
            "images": False,
            "cache_points": NOTHING,
            "thinking": NOTHING,
        },
        "Claude 2 and before have no tools and no vision, and are invoked by the prompt of text completions",
        FEATURES + "; " + GUIDE + "model-parameters-anthropic-claude-text-completion.html",
        READ,
    ),
    Rule(
        ("bedrock:anthropic.claude-3-5-haiku*",),
        {"images": False},
        "Claude 3.5 Haiku has no vision on Bedrock",
        FEATURES,
        READ,
    ),
    # --- structured outputs, conversations, tool choice ---
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
        STRUCTURED,
        READ,
    ),
    Rule(
        ("bedrock:anthropic.claude-sonnet-4-5*",),
        {"assistant_first": True},
        "a conversation that began with the assistant was answered (one recording)",
        RECORDED,
        READ_LATER,
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
        READ,
    ),
    Rule(
        ("bedrock:anthropic.claude-opus-5-5*",),
        {"tool_choices": AUTO},
        "a forced tool choice is a ValidationException, thinking or not",
        "github.com/vercel/ai/issues/21364",
        READ,
    ),
    Rule(
        (
            "bedrock:anthropic.claude-3-*",
            "bedrock:anthropic.claude-haiku-4-5*",
            "bedrock:anthropic.claude-sonnet-4-2025*",
            "bedrock:anthropic.claude-sonnet-4-5*",
            "bedrock:anthropic.claude-opus-4-2025*",
            "bedrock:anthropic.claude-opus-4-1*",
            "bedrock:anthropic.claude-opus-4-5*",
        ),
        {"continues": True},
        "an assistant's last turn is continued (it must not end with white space, and not while the model thinks); "
        "from Claude 4.6 on it is a ValidationException",
        "docs.claude.com/en/docs/prefill-claudes-response; platform.claude.com/docs/en/about-claude/models/"
        "migration-guide; github.com/strands-agents/sdk-python/issues/1694; github.com/anomalyco/opencode/issues/29760",
        _READ_PREFILL,
    ),
    # --- thinking ---
    Rule(
        ("bedrock:anthropic.claude-3-*",),
        {"thinking": NOTHING},
        "Claude 3 and 3.5 do not think",
        _THINKING,
        READ_LATER,
    ),
    Rule(
        (
            "bedrock:anthropic.claude-3-7-sonnet*",
            "bedrock:anthropic.claude-sonnet-4-2025*",
            "bedrock:anthropic.claude-sonnet-4-5*",
            "bedrock:anthropic.claude-haiku-4-5*",
            "bedrock:anthropic.claude-opus-4-2025*",
            "bedrock:anthropic.claude-opus-4-1*",
        ),
        {"thinking": BUDGET},
        "they think by a budget of tokens (thinking.type enabled, budget_tokens), never adaptively",
        _THINKING,
        READ_LATER,
    ),
    Rule(
        ("bedrock:anthropic.claude-opus-4-5*",),
        {"thinking": BUDGET | {"effort"}, "efforts": frozenset(("low", "medium", "high"))},
        "a budget of tokens, and output_config.effort beside it",
        _THINKING + "; github.com/simstudioai/sim/pull/4771",
        READ_LATER,
    ),
    Rule(
        ("bedrock:anthropic.claude-opus-4-6*", "bedrock:anthropic.claude-sonnet-4-6*"),
        {"thinking": BUDGET | ADAPTIVE, "efforts": _EFFORTS},
        "adaptive thinking with an effort; a budget is taken too, and deprecated",
        _THINKING + "; " + _EFFORT,
        READ_LATER,
    ),
    Rule(
        (
            "bedrock:anthropic.claude-opus-5*",
            "bedrock:anthropic.claude-sonnet-5*",
            "bedrock:anthropic.claude-haiku-5*",
        ),
        {"efforts": _EFFORTS | {"xhigh"}},
        "the efforts of the fifth generation",
        _EFFORT,
        READ_LATER,
    ),
    Rule(
        (
            "bedrock:anthropic.claude-opus-4-7*",
            "bedrock:anthropic.claude-opus-5-5*",
            "bedrock:anthropic.claude-fable-5*",
            "bedrock:anthropic.claude-mythos-*",
        ),
        {"thinking_always": True},
        "thinking is always on: thinking.type enabled and disabled are HTTP 400",
        _THINKING + "; " + _EFFORT,
        READ_LATER,
    ),
    # --- prompt caching ---
    Rule(
        (
            "bedrock:anthropic.claude-3-haiku*",
            "bedrock:anthropic.claude-3-sonnet*",
            "bedrock:anthropic.claude-3-opus*",
            "bedrock:anthropic.claude-3-5-sonnet-20240620*",
        ),
        {"cache_points": NOTHING},
        "not listed for prompt caching",
        CACHING,
        READ_LATER,
    ),
    Rule(
        (
            "bedrock:anthropic.claude-3-5-sonnet-20241022*",
            "bedrock:anthropic.claude-3-7-sonnet*",
            "bedrock:anthropic.claude-sonnet-4*",
            "bedrock:anthropic.claude-opus-4-2025*",
            "bedrock:anthropic.claude-opus-4-1*",
            "bedrock:anthropic.claude-opus-4-8*",
            "bedrock:anthropic.claude-sonnet-5*",
        ),
        {"cache_minimum": 1024},
        "a cache point needs 1,024 tokens before it (an older copy of the page says 4,096 of Sonnet 4.5)",
        CACHING,
        READ_LATER,
    ),
    Rule(
        ("bedrock:anthropic.claude-3-5-haiku*",),
        {"cache_minimum": 2048},
        "a cache point needs 2,048 tokens before it",
        CACHING,
        READ_LATER,
    ),
    Rule(
        (
            "bedrock:anthropic.claude-opus-4-5*",
            "bedrock:anthropic.claude-opus-4-6*",
            "bedrock:anthropic.claude-opus-4-7*",
            "bedrock:anthropic.claude-haiku-4-5*",
            "bedrock:anthropic.claude-mythos-preview*",
        ),
        {"cache_minimum": 4096},
        "a cache point needs 4,096 tokens before it",
        CACHING,
        READ_LATER,
    ),
    Rule(
        (
            "bedrock:anthropic.claude-fable-5*",
            "bedrock:anthropic.claude-mythos-5*",
            "bedrock:anthropic.claude-opus-5*",
            "bedrock:anthropic.claude-sonnet-5-5*",
        ),
        {"cache_minimum": 512},
        "a cache point needs 512 tokens before it",
        CACHING,
        READ_LATER,
    ),
    Rule(
        (
            *("bedrock:anthropic.claude-opus-4-5*", "bedrock:anthropic.claude-opus-4-6*"),
            *("bedrock:anthropic.claude-opus-4-7*", "bedrock:anthropic.claude-opus-4-8*"),
            *("bedrock:anthropic.claude-sonnet-4-5*", "bedrock:anthropic.claude-sonnet-4-6*"),
            *("bedrock:anthropic.claude-haiku-4-5*", "bedrock:anthropic.claude-opus-5*"),
            *("bedrock:anthropic.claude-sonnet-5*", "bedrock:anthropic.claude-haiku-5*"),
            *("bedrock:anthropic.claude-fable-5*", "bedrock:anthropic.claude-mythos-*"),
        ),
        {"cache_ttls": ONE_HOUR},
        "listed with TTLs of five minutes and of one hour",
        CACHING,
        READ_LATER,
    ),
    # --- quotas ---
    Rule(
        ("bedrock:anthropic.*",),
        {"burndown": 5},
        "a token of the answer takes five of the quota, of versions to 4.7",
        BURNDOWN,
        "2026-11-27",
    ),
    Rule(
        ("bedrock:anthropic.claude-opus-4-8*",),
        {"burndown": 15},
        "a token of the answer takes fifteen of the quota, of version 4.8",
        BURNDOWN,
        "2026-11-27",
    ),
    Rule(
        (
            *("bedrock:anthropic.claude-opus-5*", "bedrock:anthropic.claude-sonnet-5*"),
            *("bedrock:anthropic.claude-haiku-5*", "bedrock:anthropic.claude-fable-5*"),
            "bedrock:anthropic.claude-mythos-5*",
        ),
        {"burndown": 10},
        "a token of the answer takes ten of the quota (the page names Opus 5 and 5.5, Sonnet 5 and Fable 5.1; of the "
        "others of that generation it says nothing)",
        BURNDOWN,
        "2026-11-27",
    ),
    # --- routes ---
    Rule(
        (
            "bedrock:anthropic.claude-haiku-4-5*",
            "bedrock:anthropic.claude-haiku-5-5*",
            "bedrock:anthropic.claude-opus-4-7*",
            "bedrock:anthropic.claude-opus-5-5*",
            "bedrock:anthropic.claude-sonnet-5-5*",
        ),
        {"routes": CHAT | {"mantle_messages"}},
        "their cards show the Messages API on bedrock-mantle (of Haiku 5.5 and Sonnet 5.5 litellm alone says so)",
        GUIDE + "model-card-anthropic-claude-haiku-4-5.html, …-opus-4-7.html, …-opus-5-5.html; " + LITELLM,
        READ_LATER,
    ),
)
