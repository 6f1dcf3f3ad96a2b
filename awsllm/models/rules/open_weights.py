"""Open weights (DeepSeek, Gemma, Kimi, GLM, MiniMax, Nemotron, Qwen) and xAI's Grok, which is reached as they are."""

from __future__ import annotations

from typing import Any

from awsllm.models.rules import (
    AUTO,
    CHAT,
    EFFORT,
    FEATURES,
    GUIDE,
    LITELLM,
    MODALITIES,
    NOTHING,
    OPEN_WEIGHTS,
    READ,
    READ_LATER,
    STRUCTURED,
    TEXT_ONLY,
    TOOL_CHOICE,
    Rule,
)


def _family(family: str, provider: str, **changes: Any) -> dict[str, Any]:
    """A row's changes for a family that speaks as OpenAI's models do."""
    return {
        "family": family,
        "provider": provider,
        "invoke_body": "openai-chat",
        "routes": OPEN_WEIGHTS,
        "cache_points": NOTHING,
        "video": False,
        "audio": False,
        "thinking": NOTHING,
        **changes,
    }


_MANTLE = frozenset(("mantle_chat", "mantle_responses"))
_SPOKEN = "InvokeModel takes Chat Completions; the routes are those of the cards"
_WHERE = MODALITIES + "; " + LITELLM

RULES = (
    Rule(
        ("bedrock:deepseek.*",),
        _family("deepseek", "deepseek", tool_choices=AUTO, **TEXT_ONLY),
        "DeepSeek uses tools when it decides to",
        TOOL_CHOICE,
        READ,
    ),
    Rule(
        ("bedrock:deepseek.r1-*",),
        {"tool_choices": NOTHING, "invoke_body": "deepseek-text", "invoke_prompt": "deepseek", "routes": CHAT},
        "DeepSeek-R1 has no tools on Converse, and is invoked by one prompt",
        FEATURES + "; " + GUIDE + "model-parameters-deepseek.html",
        READ,
    ),
    Rule(("bedrock:google.gemma-3-*",), _family("gemma", "google"), _SPOKEN, _WHERE, READ_LATER),
    Rule(
        ("bedrock:google.gemma-4-*",),
        _family("gemma", "google", invoke_body=None, routes=_MANTLE, mantle_path="/openai/v1"),
        "Chat Completions and Responses on bedrock-mantle alone",
        GUIDE + "model-card-google-gemma-4-31b.html; github.com/strands-agents/harness-sdk/issues/3654; " + LITELLM,
        READ_LATER,
    ),
    Rule(("bedrock:minimax.*",), _family("minimax", "minimax"), _SPOKEN, _WHERE, READ_LATER),
    Rule(
        ("bedrock:moonshot*.kimi-*",),
        _family("kimi", "moonshotai", video=True),
        _SPOKEN + "; K2.5 and later see, and film is read on some routes",
        _WHERE,
        READ_LATER,
    ),
    Rule(
        ("bedrock:moonshot*.kimi-k2-thinking",),
        {"routes": CHAT | {"mantle_chat"}, "video": False},
        "its card shows no Chat Completions on bedrock-runtime",
        GUIDE + "model-card-moonshot-ai-kimi-k2-thinking.html",
        READ_LATER,
    ),
    Rule(
        ("bedrock:moonshotai.kimi-k3*",),
        {"routes": OPEN_WEIGHTS | {"openai_responses"}},
        "their cards show the Responses API on bedrock-runtime",
        GUIDE + "model-card-moonshot-ai-kimi-k3.html",
        READ_LATER,
    ),
    Rule(("bedrock:nvidia.nemotron-*",), _family("nemotron", "nvidia"), _SPOKEN, _WHERE, READ_LATER),
    Rule(("bedrock:qwen.*",), _family("qwen", "qwen"), _SPOKEN, _WHERE, READ_LATER),
    Rule(("bedrock:zai.*",), _family("glm", "zai"), _SPOKEN, _WHERE, READ_LATER),
    Rule(
        ("bedrock:xai.*",),
        _family(
            "grok",
            "xai",
            invoke_body=None,
            routes=_MANTLE | {"converse"},
            needs_geography=True,
            mantle_path="/openai/v1",
            thinking=EFFORT,
        ),
        "Grok answers Converse under profile ids, and Chat Completions and Responses on bedrock-mantle",
        GUIDE + "model-card-xai-grok-4-6.html; " + LITELLM,
        READ_LATER,
    ),
    Rule(
        ("bedrock:xai.grok-4.3*",),
        {"routes": _MANTLE},
        "bedrock-mantle alone",
        GUIDE + "model-card-xai-grok-4-3.html; github.com/strands-agents/harness-sdk/issues/3654; " + LITELLM,
        READ_LATER,
    ),
    Rule(
        (
            "bedrock:deepseek.v3*",
            "bedrock:google.gemma-*",
            "bedrock:minimax.minimax-m2*",
            "bedrock:moonshot*.kimi-*",
            "bedrock:nvidia.nemotron-*",
            "bedrock:qwen.qwen3-*",
        ),
        {"native_json_schema": True},
        "open-weight models listed for structured outputs on Converse",
        STRUCTURED,
        READ,
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
            *("bedrock:qwen.qwen3-32b*", "bedrock:qwen.qwen3-235b-a22b-2507*"),
            *("bedrock:qwen.qwen3-coder-*", "bedrock:qwen.qwen3-next-*"),
            *("bedrock:zai.glm-4.7*", "bedrock:zai.glm-5", "bedrock:zai.glm-5.3"),
        ),
        {"images": False},
        "they read text only",
        MODALITIES,
        READ_LATER,
    ),
)
