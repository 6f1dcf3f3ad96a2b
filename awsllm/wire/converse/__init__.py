"""Bedrock's Converse, ConverseStream and CountTokens on the wire, both ways: the client encodes requests and decodes
answers, the server the other way round.

A wire value is the JSON of Bedrock's REST protocol as Python values, but binary content is raw ``bytes``
(``msgspec.json.encode`` writes it as base64; decoding takes either). The names of the whole codec can be imported from
here: ``requests`` and ``responses`` over ``blocks``, ``tools`` and ``metadata``; events in ``stream``; and
``count_tokens``. What Bedrock accepts as a conversation beyond its shape is ``rules``.

Reading a request raises ``ValidationError`` with the path of the malformed member; reading an answer that makes no
sense raises ``ServerError``, because the fault is not the caller's.
"""

from awsllm.wire.converse.blocks import (
    decode_block,
    decode_message,
    decode_system_block,
    encode_block,
    encode_message,
    encode_system_block,
)
from awsllm.wire.converse.count_tokens import (
    decode_count_tokens,
    decode_count_tokens_request,
    encode_count_tokens,
    encode_count_tokens_response,
)
from awsllm.wire.converse.requests import decode_request, encode_request
from awsllm.wire.converse.responses import decode_response, encode_response
from awsllm.wire.converse.stream import EventDecoder, decode_event, encode_error_frame, encode_event
from awsllm.wire.converse.tools import decode_tool, decode_tool_choice, encode_tool, encode_tool_choice
from awsllm.wire.errors import decode_error, encode_error, error_for
from awsllm.wire.reading import MalformedError

__all__ = [
    "EventDecoder",
    "MalformedError",
    "decode_block",
    "decode_count_tokens",
    "decode_count_tokens_request",
    "decode_error",
    "decode_event",
    "decode_message",
    "decode_request",
    "decode_response",
    "decode_system_block",
    "decode_tool",
    "decode_tool_choice",
    "encode_block",
    "encode_count_tokens",
    "encode_count_tokens_response",
    "encode_error",
    "encode_error_frame",
    "encode_event",
    "encode_message",
    "encode_request",
    "encode_response",
    "encode_system_block",
    "encode_tool",
    "encode_tool_choice",
    "error_for",
]
