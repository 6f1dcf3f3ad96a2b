"""Amazon's models: Nova and Titan."""

from __future__ import annotations

from awsllm.models.rules import (
    CACHING,
    CHAT,
    EFFORT,
    FEATURES,
    GUIDE,
    INVOKE,
    NO_CHAT,
    NOTHING,
    READ,
    READ_LATER,
    RECORDED,
    TEXT_ONLY,
    Rule,
)

_NOVA = "docs.aws.amazon.com/nova/latest/userguide/"
_NOVA_2 = "docs.aws.amazon.com/nova/latest/nova2-userguide/"
_TITAN_EMBED = GUIDE + "model-parameters-titan-embed-text.html"

RULES = (
    # --- Nova that chats ---
    Rule(
        ("bedrock:amazon.nova-*",),
        {
            "family": "nova",
            "provider": "amazon",
            "invoke_body": "nova",
            "routes": CHAT,
            "cache_points": frozenset(("system", "messages")),
            "cache_minimum": 1000,
            "audio": False,
            "thinking": NOTHING,
        },
        "tool choice auto, any and tool; no cache points among tools; images and video are read",
        f"{_NOVA}tool-choice.html; {_NOVA}using-invoke-api.html; {CACHING}",
        READ,
    ),
    Rule(
        ("bedrock:amazon.nova-micro-*",),
        {**TEXT_ONLY, "documents": False},
        "Nova Micro is text only",
        FEATURES,
        READ,
    ),
    Rule(
        ("bedrock:amazon.nova-2-lite-*", "bedrock:amazon.nova-2-pro-*"),
        {"thinking": EFFORT, "efforts": frozenset(("low", "medium", "high"))},
        "reasoningConfig with maxReasoningEffort; off by default",
        _NOVA_2 + "extended-thinking.html",
        READ_LATER,
    ),
    Rule(
        (
            "bedrock:amazon.nova-micro-*",
            "bedrock:amazon.nova-lite-*",
            "bedrock:amazon.nova-pro-*",
            "bedrock:amazon.nova-premier-*",
        ),
        {"continues": True},
        "with a last message of the assistant's the model goes on from it; of Nova 2 the guide says nothing",
        "docs.aws.amazon.com/nova/latest/userguide/invoke.html",
        "2026-11-27",
    ),
    # --- Titan Text ---
    Rule(
        ("bedrock:amazon.titan-text-*", "bedrock:amazon.titan-tg1-*"),
        {
            "family": "titan-text",
            "provider": "amazon",
            "invoke_body": "titan-text",
            "invoke_prompt": "titan",
            "routes": CHAT,
            "tool_choices": NOTHING,
            "system_prompt": False,
            "cache_points": NOTHING,
            "thinking": NOTHING,
            **TEXT_ONLY,
        },
        "Titan Text takes neither system prompts nor tools nor images",
        FEATURES + "; " + GUIDE + "model-parameters-titan-text.html",
        READ,
    ),
    Rule(
        ("bedrock:amazon.nova-*", "bedrock:amazon.titan-text-*"),
        {"neighbouring_turns": True},
        "several user turns in a row were answered (three recordings, of Nova and of Titan Text)",
        RECORDED,
        READ_LATER,
    ),
    Rule(
        ("bedrock:amazon.titan-text-premier-*",),
        {"documents": False},
        "Titan Text Premier: no documents",
        FEATURES,
        READ,
    ),
    # --- embeddings ---
    Rule(
        ("bedrock:amazon.titan-embed-*",),
        {"family": "titan-embed", "provider": "amazon", "routes": INVOKE, **NO_CHAT},
        "they embed, and are not listed for Converse",
        FEATURES,
        READ,
    ),
    Rule(
        ("bedrock:amazon.titan-embed-text-v1*", "bedrock:amazon.titan-embed-g1-text-02*"),
        {"invoke_body": "titan-embed-text-v1", **TEXT_ONLY},
        "titan-embed-g1-text-02 is the first release of v1",
        _TITAN_EMBED,
        READ,
    ),
    Rule(
        ("bedrock:amazon.titan-embed-text-v2*",),
        {"invoke_body": "titan-embed-text-v2", **TEXT_ONLY},
        "v2 takes dimensions and normalize",
        _TITAN_EMBED,
        READ,
    ),
    Rule(
        ("bedrock:amazon.titan-embed-image-v1*",),
        {"invoke_body": "titan-embed-image", "video": False, "audio": False},
        "a text, an image, or both in one vector",
        GUIDE + "model-parameters-titan-embed-mm.html",
        READ_LATER,
    ),
    Rule(
        ("bedrock:amazon.nova-2-multimodal-embeddings-*",),
        {
            **NO_CHAT,
            "family": "nova-embed",
            "invoke_body": "nova-embed",
            "audio": True,
            "routes": INVOKE | {"async_invoke"},
        },
        "texts, documents, images, video and audio; long ones by asynchronous invocation",
        _NOVA + "nova-embeddings.html",
        READ_LATER,
    ),
    # --- images, video, ranking, speech ---
    Rule(
        ("bedrock:amazon.titan-image-*",),
        {
            **NO_CHAT,
            "family": "titan-image",
            "provider": "amazon",
            "invoke_body": "titan-image",
            "routes": INVOKE,
            "video": False,
            "audio": False,
        },
        "it draws, and is not listed for Converse",
        GUIDE + "model-parameters-titan-image.html; " + FEATURES,
        READ,
    ),
    Rule(
        ("bedrock:amazon.nova-canvas-*",),
        {**NO_CHAT, "family": "nova-canvas", "invoke_body": "nova-canvas", "routes": INVOKE, "video": False},
        "it draws, and is not listed for Converse",
        _NOVA + "image-generation.html; " + FEATURES,
        READ,
    ),
    Rule(
        ("bedrock:amazon.nova-reel-*",),
        {
            **NO_CHAT,
            "family": "nova-reel",
            "invoke_body": "nova-reel",
            "routes": frozenset(("async_invoke",)),
            "video": False,
        },
        "it films by asynchronous invocation alone",
        _NOVA + "video-generation.html; " + FEATURES,
        READ,
    ),
    Rule(
        ("bedrock:amazon.nova-sonic-*", "bedrock:amazon.nova-2-sonic-*", "bedrock:amazon.nova-2-5-sonic*"),
        {
            **NO_CHAT,
            "family": "nova-sonic",
            "invoke_body": None,
            "routes": frozenset(("bidirectional",)),
            "images": False,
            "video": False,
            "audio": True,
        },
        "it speaks over InvokeModelWithBidirectionalStream alone",
        GUIDE + "model-card-amazon-nova-2-sonic.html",
        READ_LATER,
    ),
    Rule(
        ("bedrock:amazon.rerank-*",),
        {
            **NO_CHAT,
            **TEXT_ONLY,
            "family": "amazon-rerank",
            "provider": "amazon",
            "invoke_body": "amazon-rerank",
            "routes": INVOKE,
        },
        "it ranks, and is not listed for Converse",
        GUIDE + "rerank-supported.html; " + FEATURES,
        READ,
    ),
)
