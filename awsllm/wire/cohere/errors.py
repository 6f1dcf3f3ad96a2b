"""Errors as Cohere's servers report them: in place of a response, and as a line of a stream that has begun."""

from __future__ import annotations

from awsllm.wire.text.errors import encode_error_line
from awsllm.wire.text.errors import encode_message as encode_error

__all__ = ["encode_error", "encode_error_line"]
