"""The OpenAI dialect: chat completions and embeddings. ``request``, ``response`` and ``stream`` map between neutral
values and JSON, ``embeddings`` and ``errors`` likewise; ``body`` makes a body of them, over payloads."""

from awsllm.wire.openai.errors import encode_error
from awsllm.wire.openai.request import decode_request, encode_request, warnings
from awsllm.wire.openai.response import decode_response, decode_usage, encode_response, encode_usage
from awsllm.wire.openai.stream import CompletionDecoder, CompletionEncoder, FramedCompletion

__all__ = [
    "CompletionDecoder",
    "CompletionEncoder",
    "FramedCompletion",
    "decode_request",
    "decode_response",
    "decode_usage",
    "encode_error",
    "encode_request",
    "encode_response",
    "encode_usage",
    "warnings",
]
