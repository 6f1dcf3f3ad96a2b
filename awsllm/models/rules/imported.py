"""Imported models, by the architecture that GetImportedModel tells: ``architecture:NAME``, in lower case.

What they can do depends on their weights, so little is ruled out; which body InvokeModel takes follows from the
architecture and the day. Whatever was imported since ``CHAT_SINCE`` (``architecture:chat/NAME``) also takes OpenAI's
chat format, in which the model's own template, which came with its files, makes the prompt: nothing is guessed. What
is older takes a prompt. Its style follows from the architecture only where all models of it share one; llama is Llama
2, 3 and what was distilled into them, so of such a model only a single user turn can be written.
"""

from __future__ import annotations

from typing import Any

from awsllm.models.rules import CHAT, GUIDE, NOTHING, READ_LATER, Rule

_IMPORT = GUIDE + "model-customization-import-model.html; " + GUIDE + "invoke-imported-model.html"


def _imported(family: str, body: str, prompt: str | None = None) -> dict[str, Any]:
    return {
        "family": family,
        "provider": "imported",
        "invoke_body": body,
        "invoke_prompt": prompt,
        "routes": CHAT,
        "cache_points": NOTHING,
    }


RULES = (
    Rule(
        ("architecture:*llama*",),
        _imported("llama", "llama"),
        "imported Llama takes the body of the Llama that Bedrock serves",
        _IMPORT,
        READ_LATER,
    ),
    Rule(
        ("architecture:*llama2*", "architecture:*llama-2*"),
        {"invoke_prompt": "llama2"},
        "Llama 2 marks turns by [INST]",
        _IMPORT,
        READ_LATER,
    ),
    Rule(
        ("architecture:*mllama*", "architecture:*llama3*", "architecture:*llama-3*"),
        {"invoke_prompt": "llama3"},
        "Llama 3 and its vision models have header tokens",
        _IMPORT,
        READ_LATER,
    ),
    Rule(
        ("architecture:*llama4*", "architecture:*llama-4*"),
        {"invoke_prompt": "llama4"},
        "Llama 4 has header tokens of its own",
        _IMPORT,
        READ_LATER,
    ),
    Rule(
        ("architecture:*mistral*", "architecture:*mixtral*"),
        _imported("mistral", "mistral-text", "mistral"),
        "imported Mistral and Mixtral take the prompt of the Mistral that Bedrock serves",
        _IMPORT,
        READ_LATER,
    ),
    Rule(
        ("architecture:*qwen*",),
        _imported("qwen", "llama", "chatml"),
        "Qwen writes its turns in ChatML",
        _IMPORT,
        READ_LATER,
    ),
    Rule(
        ("architecture:*bigcode*", "architecture:*flan*", "architecture:t5*"),
        _imported("text", "llama", "plain"),
        "GPTBigCode and Flan-T5 go on with a text",
        _IMPORT,
        READ_LATER,
    ),
    Rule(
        ("architecture:*gpt*oss*", "architecture:*gemma*", "architecture:*deepseek*"),
        _imported("openai-chat", "openai-chat"),
        "they take OpenAI's Chat Completions",
        _IMPORT,
        READ_LATER,
    ),
    Rule(
        ("architecture:chat/*",),
        _imported("openai-chat", "openai-chat"),
        "what was imported since 2025-11-11 takes OpenAI's Chat Completions, with its own template",
        _IMPORT + " (Custom model import code samples, 2025-11)",
        READ_LATER,
    ),
)
