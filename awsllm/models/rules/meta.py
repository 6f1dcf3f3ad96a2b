"""Meta's models. InvokeModel takes one prompt, in the template of the model's generation (``invoke_prompt``)."""

from __future__ import annotations

from awsllm.models.rules import AUTO, CHAT, FEATURES, GUIDE, NOTHING, READ, TEXT_ONLY, TOOL_CHOICE, Rule

RULES = (
    Rule(
        ("bedrock:meta.*",),
        {
            "family": "llama",
            "provider": "meta",
            "invoke_body": "llama",
            "invoke_prompt": "llama3",
            "routes": CHAT,
            "tool_choices": AUTO,
            "cache_points": NOTHING,
            "thinking": NOTHING,
            **TEXT_ONLY,
        },
        "Llama decides for itself whether to use a tool: only auto",
        f"{TOOL_CHOICE}; github.com/langchain-ai/langchain-aws/issues/620; {GUIDE}model-parameters-meta.html",
        READ,
    ),
    Rule(
        ("bedrock:meta.llama2-*", "bedrock:meta.llama3-8b-*", "bedrock:meta.llama3-70b-*"),
        {"tool_choices": NOTHING},
        "Llama before 3.1 has no tools",
        FEATURES,
        READ,
    ),
    Rule(
        ("bedrock:meta.llama2-*",),
        {"invoke_prompt": "llama2"},
        "Llama 2 marks turns by [INST]",
        GUIDE + "model-parameters-meta.html",
        READ,
    ),
    Rule(
        ("bedrock:meta.llama4-*",),
        {"invoke_prompt": "llama4"},
        "Llama 4 has header tokens of its own",
        GUIDE + "model-parameters-meta.html",
        READ,
    ),
    Rule(
        ("bedrock:meta.llama3-2-11b-*", "bedrock:meta.llama3-2-90b-*", "bedrock:meta.llama4-*"),
        {"images": True},
        "the vision models of the family",
        FEATURES,
        READ,
    ),
)
