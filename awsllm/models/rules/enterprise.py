"""The models of AI21, Cohere and Writer."""

from __future__ import annotations

from awsllm.models.rules import (
    AUTO,
    CHAT,
    FEATURES,
    GUIDE,
    INVOKE,
    MODALITIES,
    NO_CHAT,
    NOTHING,
    READ,
    READ_LATER,
    TEXT_ONLY,
    TOOL_CHOICE,
    Rule,
)

_WITHOUT_EXTRAS = {"cache_points": NOTHING, "thinking": NOTHING, **TEXT_ONLY}

RULES = (
    # --- AI21 ---
    Rule(
        ("bedrock:ai21.jamba-*",),
        {
            **_WITHOUT_EXTRAS,
            "family": "jamba",
            "provider": "ai21",
            "invoke_body": "jamba",
            "routes": CHAT,
            "tool_choices": AUTO,
        },
        "Jamba uses tools when it decides to",
        FEATURES + "; " + GUIDE + "model-parameters-jamba.html",
        READ,
    ),
    Rule(
        ("bedrock:ai21.jamba-instruct*",),
        {"tool_choices": NOTHING, "documents": False},
        "Jamba-Instruct: no tools, no documents",
        FEATURES,
        READ_LATER,
    ),
    Rule(
        ("bedrock:ai21.j2-*",),
        {
            **_WITHOUT_EXTRAS,
            "family": "jurassic",
            "provider": "ai21",
            "invoke_body": "jurassic",
            "routes": INVOKE | {"converse"},
            "tool_choices": NOTHING,
            "system_prompt": False,
            "documents": False,
        },
        "of before Converse: neither chat nor streams, system prompts, tools, images nor documents",
        FEATURES + "; " + GUIDE + "model-parameters-jurassic2.html",
        READ_LATER,
    ),
    # --- Cohere ---
    Rule(
        ("bedrock:cohere.command-r*",),
        {
            **_WITHOUT_EXTRAS,
            "family": "command-r",
            "provider": "cohere",
            "invoke_body": "cohere-chat",
            "routes": CHAT,
            "tool_choices": AUTO,
        },
        "Command R uses tools when it decides to",
        TOOL_CHOICE + "; " + GUIDE + "model-parameters-cohere-command-r-plus.html",
        READ,
    ),
    Rule(
        ("bedrock:cohere.command-text-*", "bedrock:cohere.command-light-text-*"),
        {
            **_WITHOUT_EXTRAS,
            "family": "command",
            "provider": "cohere",
            "invoke_body": "cohere-command",
            "routes": CHAT,
            "tool_choices": NOTHING,
            "system_prompt": False,
        },
        "of before Converse: neither chat, system prompts, tools nor images",
        FEATURES + "; " + GUIDE + "model-parameters-cohere-command.html",
        READ_LATER,
    ),
    Rule(
        ("bedrock:cohere.command-light-text-*",),
        {"documents": False},
        "Command Light: no documents",
        FEATURES,
        READ_LATER,
    ),
    Rule(
        ("bedrock:cohere.embed-*",),
        {
            **NO_CHAT,
            "family": "cohere-embed",
            "provider": "cohere",
            "invoke_body": "cohere-embed",
            "routes": INVOKE,
            "video": False,
            "audio": False,
        },
        "they embed texts and images (version 3 too), and are not listed for Converse",
        FEATURES + "; " + GUIDE + "model-parameters-embed.html",
        READ,
    ),
    Rule(
        ("bedrock:cohere.embed-v4*",),
        {"invoke_body": "cohere-embed-v4"},
        "version 4 takes inputs that mix texts and images, and dimensions",
        GUIDE + "model-parameters-embed-v4.html",
        READ_LATER,
    ),
    Rule(
        ("bedrock:cohere.rerank-*",),
        {
            **NO_CHAT,
            **TEXT_ONLY,
            "family": "cohere-rerank",
            "provider": "cohere",
            "invoke_body": "cohere-rerank",
            "routes": INVOKE,
        },
        "it ranks, and is not listed for Converse",
        GUIDE + "rerank-supported.html; " + FEATURES,
        READ,
    ),
    # --- Writer ---
    Rule(
        ("bedrock:writer.*",),
        {**_WITHOUT_EXTRAS, "family": "palmyra", "provider": "writer", "invoke_body": "writer", "routes": CHAT},
        "Palmyra X4 and X5 read text only",
        GUIDE + "model-parameters-writer-palmyra.html; " + MODALITIES,
        READ_LATER,
    ),
    Rule(
        ("bedrock:writer.palmyra-vision-*",),
        {"images": True, "tool_choices": NOTHING},
        "Palmyra Vision sees, and has no tools",
        MODALITIES,
        READ_LATER,
    ),
)
