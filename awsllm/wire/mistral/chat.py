"""Mistral Large (2407) and Pixtral: the OpenAI format with small differences.

The reason to stop is ``stop_reason``, where the OpenAI format has ``finish_reason``. A tool can be forced only as one
of all (``any``). Ids of calls are nine letters and digits: those of a conversation that another model began are
shortened to that, each always to the same.

Sources: docs.aws.amazon.com, Mistral AI chat completion, 2024-2025; mistralai/mistral-common (the ids), 2025.
"""

from __future__ import annotations

import hashlib
import re

from awsllm.errors import UnsupportedError
from awsllm.types import CachePoint, ConverseRequest, JsonObject
from awsllm.wire.body import Body
from awsllm.wire.openai.native import NativeChat, native_body

_ID = re.compile(r"[a-zA-Z0-9]{9}")


class MistralChat(NativeChat):
    title = "the format of Mistral's chat completion"
    tagged = False

    def write_request(self, wire: JsonObject, request: ConverseRequest) -> JsonObject:
        if (choice := request.tool_choice) is not None:
            if choice.type == "tool" and sum(not isinstance(tool, CachePoint) for tool in request.tools) > 1:
                raise UnsupportedError(
                    f"tool_choice {choice.name!r}: {self.title} cannot name one of several tools; pass that tool alone"
                )
            wire = {**wire, "tool_choice": "auto" if choice.type == "auto" else "any"}
        return {**wire, "messages": [_write_message(message) for message in wire["messages"]]}

    def read_request(self, wire: JsonObject) -> JsonObject:
        return {**wire, "tool_choice": "required"} if wire.get("tool_choice") == "any" else wire

    def write_reply(self, wire: JsonObject) -> JsonObject:
        choices = [{**choice, "stop_reason": choice.get("finish_reason")} for choice in wire["choices"]]
        return {**wire, "choices": choices}

    def read_reply(self, wire: JsonObject) -> JsonObject:
        choices = wire.get("choices")
        if not isinstance(choices, list):
            return wire
        return {**wire, "choices": [_read_choice(choice) if isinstance(choice, dict) else choice for choice in choices]}


def _read_choice(choice: JsonObject) -> JsonObject:
    rest = {name: value for name, value in choice.items() if name != "stop_reason"}
    return {**rest, "finish_reason": choice.get("finish_reason") or choice.get("stop_reason")}


def _write_message(message: JsonObject) -> JsonObject:
    if calls := message.get("tool_calls"):
        own = [{"id": _short(call["id"]), "function": call["function"]} for call in calls]
        return {**message, "content": message["content"] or "", "tool_calls": own}
    if "tool_call_id" in message:
        return {**message, "tool_call_id": _short(message["tool_call_id"])}
    return message


def _short(id: str) -> str:
    return id if _ID.fullmatch(id) else hashlib.sha256(id.encode()).hexdigest()[:9]


BODIES: tuple[Body, ...] = (native_body("mistral-chat", MistralChat()),)
