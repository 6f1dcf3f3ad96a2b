"""Cohere's Command R: one message with the history before it, tools and documents; JSON lines as its stream.

The system prompt is the ``preamble``; the rest of the conversation is ``conversation``'s, responses are
``chat_response``'s and ``chat_stream``'s.
Source: cohere-ai/cohere-aws, chat.py and examples/command_r_samples, 2024; docs.cohere.com, Chat API v1, 2024.
"""

from __future__ import annotations

from awsllm.errors import UnsupportedError
from awsllm.types import CachePoint, ConverseRequest, ConverseResponse, Text, ToolSpec
from awsllm.wire.body import Body, ChunkDecoder, ChunkEncoder, Context, Payload, Settings
from awsllm.wire.cohere.chat_response import decode_response, encode_response
from awsllm.wire.cohere.chat_stream import CommandRDecoder, CommandREncoder
from awsllm.wire.cohere.conversation import (
    decode_conversation,
    decode_tool,
    encode_conversation,
    encode_documents,
    encode_tool,
    is_flat,
)
from awsllm.wire.cohere.errors import encode_error
from awsllm.wire.payloads import read_body, read_object, reply_of, write
from awsllm.wire.reading import optional, structures, unknown_members, without_none
from awsllm.wire.text.prompts import text_of
from awsllm.wire.text.request import ConfigNames, check_request, text_warnings

TITLE = "the format of Cohere's Command R"
_NAMES = ConfigNames(max_tokens="max_tokens", temperature="temperature", top_p="p", stop_sequences="stop_sequences")
_KNOWN = _NAMES.all | {"message", "chat_history", "preamble", "tools", "tool_results", "documents", "stream"}
_FLAT = "tools: parameters are sent by name, type and description; what else their schema demands was left out"


class CommandRChat:
    """``says_stream``: the body says whether its answer streams (``native`` has the one that does not)."""

    streams = True

    def __init__(self, *, says_stream: bool = True) -> None:
        self._says_stream = says_stream

    def warnings(self, request: ConverseRequest, settings: Settings) -> tuple[str, ...]:
        found = text_warnings(request)
        flat = all(is_flat(tool) for tool in request.tools if isinstance(tool, ToolSpec))
        return found if flat else (*found, _FLAT)

    def encode_request(self, request: ConverseRequest, settings: Settings, *, stream: bool = False) -> Payload:
        check_request(request, TITLE, tools=True)
        if request.tool_choice is not None and request.tool_choice.type != "auto":
            raise UnsupportedError(f"tool_choice {request.tool_choice.type}: {TITLE} leaves the choice to the model")
        members = {
            **encode_conversation(request.messages),
            "preamble": text_of(request.system) or None,
            "tools": [encode_tool(tool) for tool in request.tools if not isinstance(tool, CachePoint)] or None,
            "documents": [document for turn in request.messages for document in encode_documents(turn)] or None,
            **_NAMES.encode(request.inference_config, request.inference_config.stop_sequences),
        }
        wire = without_none(members, request.extra)
        return write(wire | {"stream": stream} if self._says_stream else wire)

    def decode_response(self, payload: Payload, context: Context) -> ConverseResponse:
        wire = read_object(payload, context)
        with reply_of(TITLE, context):
            return decode_response(wire, context)

    def stream_decoder(self, context: Context) -> ChunkDecoder:
        return CommandRDecoder(context)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[ConverseRequest, bool]:
        wire = read_body(payload)
        preamble = optional(wire, "preamble", str)
        request = ConverseRequest(
            model=model,
            messages=decode_conversation(wire),
            system=(Text(preamble),) if preamble else (),
            inference_config=_NAMES.decode(wire),
            tools=structures(wire, "tools", decode_tool),
            extra=unknown_members(wire, _KNOWN),
        )
        return request, wire.get("stream") is True

    def encode_response(self, response: ConverseResponse, context: Context) -> Payload:
        return write(encode_response(response, context))

    def stream_encoder(self, context: Context) -> ChunkEncoder:
        return CommandREncoder(context)


_CHAT = CommandRChat()

BODIES: tuple[Body, ...] = (Body("cohere-chat", TITLE, _CHAT.decode_request, encode_error, chat=_CHAT),)
