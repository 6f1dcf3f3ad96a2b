"""OpenAI's models: GPT, and the open weights gpt-oss."""

from __future__ import annotations

from awsllm.models.rules import (
    BURNDOWN,
    CACHING,
    EFFORT,
    GUIDE,
    LITELLM,
    NOTHING,
    OPEN_WEIGHTS,
    READ,
    READ_LATER,
    STRUCTURED,
    TEXT_ONLY,
    Rule,
)

_RESPONSES = frozenset(("openai_responses", "mantle_responses"))

RULES = (
    Rule(
        ("bedrock:openai.*",),
        {
            "family": "gpt",
            "provider": "openai",
            "routes": _RESPONSES | {"converse"},
            "cache_points": NOTHING,
            "video": False,
            "audio": False,
            "thinking": EFFORT,
            "efforts": frozenset(("none", "low", "medium", "high", "xhigh", "max")),
        },
        "GPT is not on InvokeModel; Converse takes profile ids (us., global.) alone; points for the prompt cache are "
        "the Responses API's",
        f"{GUIDE}model-card-openai-gpt-6-astra.html; {CACHING}; {LITELLM}",
        READ_LATER,
    ),
    Rule(
        ("bedrock:openai.gpt-5.6-luna*", "bedrock:openai.gpt-5.6-sol*", "bedrock:openai.gpt-5.6-terra*"),
        {"routes": _RESPONSES | {"converse", "openai_chat"}},
        "their cards show Chat Completions on bedrock-runtime",
        GUIDE + "model-card-openai-gpt-56-luna.html",
        READ_LATER,
    ),
    Rule(
        (
            *("bedrock:openai.gpt-5.6-luna*", "bedrock:openai.gpt-5.6-sol*", "bedrock:openai.gpt-5.6-terra*"),
            *("bedrock:openai.gpt-6*",),
        ),
        {"burndown": 10},
        "a token of the answer takes ten of the quota on bedrock-runtime (the page names GPT-5.6; of GPT-6 it says "
        "nothing)",
        BURNDOWN,
        "2026-11-27",
    ),
    Rule(
        ("bedrock:openai.gpt-6*",),
        {"routes": _RESPONSES | {"converse", "openai_chat"}},
        "their cards show Chat Completions on bedrock-runtime",
        f"{GUIDE}model-card-openai-gpt-6-astra.html; {GUIDE}model-card-openai-gpt-6-sol.html",
        READ_LATER,
    ),
    Rule(
        ("bedrock:openai.gpt-5.6-cyber*", "bedrock:openai.gpt-daybreak-*"),
        {"routes": frozenset(("mantle_responses",))},
        "the Responses API of bedrock-mantle alone",
        f"{GUIDE}model-card-openai-gpt-56-cyber.html; {LITELLM}",
        READ_LATER,
    ),
    Rule(
        ("bedrock:openai.gpt-*",),
        {"needs_geography": True, "mantle_path": "/openai/v1"},
        "bedrock-runtime has them under profile ids alone, bedrock-mantle under their own and at /openai/v1",
        GUIDE + "model-card-openai-gpt-55.html; github.com/strands-agents/harness-sdk/pull/3280; " + LITELLM,
        READ_LATER,
    ),
    Rule(
        ("bedrock:openai.gpt-oss-*",),
        {
            "family": "gpt-oss",
            "needs_geography": False,
            "mantle_path": "/v1",
            "invoke_body": "openai-chat",
            "routes": OPEN_WEIGHTS | {"mantle_responses"},
            "efforts": frozenset(("low", "medium", "high")),
            **TEXT_ONLY,
        },
        "they take text input only",
        GUIDE + "model-parameters-openai.html",
        READ_LATER,
    ),
    Rule(
        ("bedrock:openai.gpt-oss-*",),
        {"native_json_schema": True},
        "open-weight models listed for structured outputs on Converse",
        STRUCTURED,
        READ,
    ),
)
