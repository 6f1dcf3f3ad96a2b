"""The OpenAI chat format of SageMaker containers: requests in ``openai_request``, answers in ``openai_reply``, both as
a ``Format`` in ``openai_format``."""

from awsllm.wire.openai.body import FORMATS, OpenAI
from awsllm.wire.openai.request import decode_request, encode_request, warnings
from awsllm.wire.openai.response import (
    ChunkDecoder,
    ChunkEncoder,
    decode_embed_request,
    decode_embed_response,
    decode_response,
    decode_usage,
    embed_warnings,
    encode_embed_request,
    encode_embed_response,
    encode_error,
    encode_response,
    encode_usage,
)

__all__ = [
    "FORMATS",
    "ChunkDecoder",
    "ChunkEncoder",
    "OpenAI",
    "decode_embed_request",
    "decode_embed_response",
    "decode_request",
    "decode_response",
    "decode_usage",
    "embed_warnings",
    "encode_embed_request",
    "encode_embed_response",
    "encode_error",
    "encode_request",
    "encode_response",
    "encode_usage",
    "warnings",
]
