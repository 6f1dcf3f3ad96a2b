"""AI21's Jamba: the OpenAI format, of text alone, in which the model itself chooses its tools.

Sources: docs.aws.amazon.com, AI21 Labs Jamba models, 2024-2025; docs.ai21.com, Jamba 1.5, 2024.
"""

from __future__ import annotations

from awsllm.errors import UnsupportedError
from awsllm.types import ConverseRequest, JsonObject, JsonValue
from awsllm.wire.body import Body
from awsllm.wire.openai.native import NativeChat, native_body


class JambaChat(NativeChat):
    title = "the format of AI21's Jamba"
    tagged = False

    def write_request(self, wire: JsonObject, request: ConverseRequest) -> JsonObject:
        if request.tool_choice is not None and request.tool_choice.type != "auto":
            raise UnsupportedError(
                f"tool_choice {request.tool_choice.type}: {self.title} leaves the choice to the model; use auto"
            )
        if request.output_config is not None and request.output_config.json_schema is not None:
            raise UnsupportedError(f"a schema for the answer cannot be expressed in {self.title}; describe it in words")
        rest = {name: value for name, value in wire.items() if name != "tool_choice"}
        messages = [{**message, "content": self._text(message["content"])} for message in wire["messages"]]
        return {**rest, "messages": messages}

    def _text(self, content: JsonValue) -> JsonValue:
        if not isinstance(content, list):
            return content
        if any(part["type"] != "text" for part in content):
            raise UnsupportedError(f"{self.title} takes text alone; a model that sees or hears takes the rest")
        return "\n\n".join(part["text"] for part in content)


BODIES: tuple[Body, ...] = (native_body("jamba", JambaChat()),)
