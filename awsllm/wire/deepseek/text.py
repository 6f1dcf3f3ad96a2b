"""DeepSeek-R1: a prompt that opens the model's thinking, a text in which it ends with ``</think>``.

Source: docs.aws.amazon.com, DeepSeek models, 2025.
"""

from __future__ import annotations

from awsllm.wire.body import Body
from awsllm.wire.text.prompted import PromptChat, prompt_body


class DeepSeekText(PromptChat):
    title = "the format of DeepSeek-R1"
    answers = "choices"


BODIES: tuple[Body, ...] = (prompt_body("deepseek-text", DeepSeekText()),)
