"""Models that make or read pictures and films: Stability, Luma, TwelveLabs."""

from __future__ import annotations

from awsllm.models.rules import FEATURES, GUIDE, INVOKE, NO_CHAT, READ, READ_LATER, Rule

_STABILITY = {**NO_CHAT, "provider": "stability", "routes": INVOKE, "video": False, "audio": False}

RULES = (
    Rule(
        ("bedrock:stability.*",),
        {**_STABILITY, "family": "stability-edit", "invoke_body": "stability-edit"},
        "the edit services: an image and what shall become of it",
        GUIDE + "stable-image-services.html; " + FEATURES,
        READ_LATER,
    ),
    Rule(
        ("bedrock:stability.stable-diffusion-xl-*",),
        {"family": "stability-sdxl", "invoke_body": "stability-sdxl"},
        "SDXL 1.0 and before: text_prompts and artifacts",
        GUIDE + "model-parameters-diffusion-1-0-text-image.html",
        READ_LATER,
    ),
    Rule(
        (
            "bedrock:stability.sd3-*",
            "bedrock:stability.stable-image-core-*",
            "bedrock:stability.stable-image-ultra-*",
        ),
        {"family": "stability-core", "invoke_body": "stability-core"},
        "SD3, 3.5, Core and Ultra: prompt and images",
        GUIDE + "model-parameters-stability-diffusion.html",
        READ_LATER,
    ),
    Rule(
        ("bedrock:luma.*",),
        {
            **NO_CHAT,
            "family": "luma-ray",
            "provider": "luma",
            "invoke_body": "luma-ray",
            "routes": frozenset(("async_invoke",)),
            "video": False,
            "audio": False,
        },
        "it films by asynchronous invocation alone",
        GUIDE + "model-parameters-luma.html; " + FEATURES,
        READ,
    ),
    Rule(
        ("bedrock:twelvelabs.pegasus-*",),
        {
            **NO_CHAT,
            "converse": True,
            "native_json_schema": True,
            "family": "pegasus",
            "provider": "twelvelabs",
            "invoke_body": "pegasus",
            "routes": INVOKE | {"invoke_stream"},
            "images": False,
            "documents": False,
        },
        "it answers what is asked of one film, in one turn, by InvokeModel; responseFormat takes a schema",
        GUIDE + "model-parameters-pegasus.html; " + FEATURES,
        READ,
    ),
    Rule(
        ("bedrock:twelvelabs.marengo-*",),
        {
            **NO_CHAT,
            "family": "marengo",
            "provider": "twelvelabs",
            "invoke_body": "marengo-3",
            "routes": INVOKE | {"async_invoke"},
            "documents": False,
        },
        "it embeds: texts and images by InvokeModel, films and sound by asynchronous invocation",
        GUIDE + "model-parameters-marengo-3.html; " + FEATURES,
        READ,
    ),
    Rule(
        ("bedrock:twelvelabs.marengo-embed-2-7-*",),
        {"invoke_body": "marengo"},
        "version 2.7 has a body of its own",
        GUIDE + "model-parameters-marengo.html",
        READ_LATER,
    ),
)
