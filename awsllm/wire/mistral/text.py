"""Mistral 7B, Mixtral and the first Large: a prompt in, a text out.

The prompt begins with ``<s>``, as its callers are told to write it. Sources: docs.aws.amazon.com, Mistral AI text
completion, 2024; recorded calls of mistral-7b-instruct in open-telemetry/opentelemetry-python-contrib, 2025.
"""

from __future__ import annotations

from awsllm.wire.body import Body
from awsllm.wire.text.prompted import PromptChat, prompt_body


class MistralText(PromptChat):
    title = "the format of Mistral's text completion"
    answers = "outputs"


BODIES: tuple[Body, ...] = (prompt_body("mistral-text", MistralText()),)
