"""Mistral's models."""

from __future__ import annotations

from awsllm.models.rules import (
    CHAT,
    FEATURES,
    GUIDE,
    LITELLM,
    MODALITIES,
    NOTHING,
    READ,
    READ_LATER,
    STRUCTURED,
    TOOL_CHOICE,
    Rule,
)

RULES = (
    Rule(
        ("bedrock:mistral.*",),
        {
            "family": "mistral",
            "provider": "mistral",
            "invoke_body": "openai-chat",
            "routes": CHAT | {"mantle_chat"},
            "tool_choices": frozenset(("auto", "any")),
            "cache_points": NOTHING,
            "video": False,
            "audio": False,
            "thinking": NOTHING,
        },
        "Mistral takes auto and any, never one named tool; its newer models are spoken to as OpenAI's",
        TOOL_CHOICE + "; " + LITELLM,
        READ,
    ),
    Rule(
        ("bedrock:mistral.mistral-7b-*", "bedrock:mistral.mixtral-8x7b-*"),
        {"tool_choices": NOTHING, "system_prompt": False, "images": False},
        "Mistral 7B and Mixtral take neither system prompts nor tools",
        FEATURES,
        READ,
    ),
    Rule(
        (
            "bedrock:mistral.mistral-7b-*",
            "bedrock:mistral.mixtral-8x7b-*",
            "bedrock:mistral.mistral-large-2402-*",
            "bedrock:mistral.mistral-small-2402-*",
        ),
        {"invoke_body": "mistral-text", "invoke_prompt": "mistral", "routes": CHAT},
        "InvokeModel takes one prompt with [INST]",
        GUIDE + "model-parameters-mistral-text-completion.html",
        READ_LATER,
    ),
    Rule(
        ("bedrock:mistral.mistral-large-2407-*", "bedrock:mistral.pixtral-large-*"),
        {"invoke_body": "mistral-chat", "routes": CHAT},
        "InvokeModel takes messages",
        GUIDE + "model-parameters-mistral-chat-completion.html",
        READ_LATER,
    ),
    Rule(
        ("bedrock:mistral.mistral-large-24*", "bedrock:mistral.mistral-small-24*"),
        {"images": False},
        "text only",
        FEATURES,
        READ,
    ),
    Rule(
        ("bedrock:mistral.devstral-*", "bedrock:mistral.voxtral-*"),
        {"images": False},
        "Devstral reads text only, Voxtral text and sound",
        MODALITIES,
        READ_LATER,
    ),
    Rule(
        ("bedrock:mistral.voxtral-*",),
        {"audio": True},
        "Voxtral listens",
        MODALITIES,
        READ_LATER,
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
        STRUCTURED,
        READ,
    ),
)
