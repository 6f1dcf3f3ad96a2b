"""The OpenAI format's text completions: a prompt in, ``choices`` of texts out.

Models that one brings oneself take it where their prompt comes with ``max_tokens``. Source: docs.aws.amazon.com, Invoke
your imported model, 2025; OpenAI's API reference, Completions; a recorded call in traceloop/openllmetry, 2025.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from awsllm.types import JsonObject
from awsllm.wire.body import Body, ChunkEncoder, Context
from awsllm.wire.framing import DONE, encode_sse
from awsllm.wire.openai.errors import encode_error
from awsllm.wire.openai.response import encode_usage
from awsllm.wire.text.generated import Generated
from awsllm.wire.text.pieces import PieceEncoder
from awsllm.wire.text.prompted import PromptChat, prompt_body, write_reason


class OpenAICompletion(PromptChat):
    """The server adds the token that a prompt begins with, as vLLM does."""

    title = "the OpenAI format's text completions"
    answers = "choices"
    begun = False

    def write_answer(self, whole: Generated, context: Context) -> JsonObject:
        return self.piece_writer(context)(whole.text, whole)

    def stream_encoder(self, context: Context) -> ChunkEncoder:
        """Server-sent events, as the OpenAI format has them."""
        write = self.piece_writer(context)
        return PieceEncoder(
            lambda text: encode_sse(write(text, None)),
            lambda whole: encode_sse(write("", whole)) + DONE,
            lambda error: encode_sse(encode_error(error)[1]),
            context,
        )

    def piece_writer(self, context: Context) -> Callable[[str, Generated | None], JsonObject]:
        head = {
            "id": f"cmpl-{context.request_id or secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
        }

        def write(text: str, whole: Generated | None) -> JsonObject:
            finish = whole and write_reason(whole.finish_reason)
            choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
            return {
                **head,
                "model": context.request.model,
                "choices": [choice],
                "usage": whole and encode_usage(whole.usage),
            }

        return write


BODIES: tuple[Body, ...] = (prompt_body("openai-completion", OpenAICompletion()),)
