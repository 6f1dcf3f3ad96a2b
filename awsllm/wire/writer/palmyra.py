"""Writer's Palmyra X4, X5 and Vision: the OpenAI format.

Where no limit is set the answer ends after 16 tokens, so one is always sent. A text may also come as an object with
``text``, as the documentation's example has it; streams end with the text ``[DONE]`` as a value.
Sources: docs.aws.amazon.com, Writer Palmyra X4 and X5, 2025-2026; langchain-ai/langchain-aws 1.9 (the streams' end).
"""

from __future__ import annotations

from awsllm.types import ConverseRequest, JsonObject, JsonValue
from awsllm.wire.body import Body, Settings
from awsllm.wire.openai.native import NativeChat, native_body
from awsllm.wire.text.request import limit_warnings, token_limit


class PalmyraChat(NativeChat):
    title = "the format of Writer's Palmyra"
    tagged = False

    def warnings(self, request: ConverseRequest, settings: Settings) -> tuple[str, ...]:
        return (*super().warnings(request, settings), *limit_warnings(request))

    def write_request(self, wire: JsonObject, request: ConverseRequest) -> JsonObject:
        return {"max_tokens": token_limit(request.inference_config), **wire}

    def read_request(self, wire: JsonObject) -> JsonObject:
        messages = wire.get("messages")
        return {**wire, "messages": list(map(_read_message, messages))} if isinstance(messages, list) else wire


def _read_message(message: JsonValue) -> JsonValue:
    content = message.get("content") if isinstance(message, dict) else None
    return {**message, "content": content["text"]} if isinstance(content, dict) and "text" in content else message


BODIES: tuple[Body, ...] = (native_body("writer", PalmyraChat()),)
