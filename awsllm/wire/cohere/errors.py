"""Errors as Cohere's servers report them: in place of a response, and as a line of a stream that has begun."""

from __future__ import annotations

from awsllm.errors import AwsllmError
from awsllm.wire.body import Payload
from awsllm.wire.text import errors


def encode_error(error: AwsllmError) -> tuple[int, Payload]:
    return errors.encode_error(error, lambda status, message: {"message": message})


def encode_error_line(error: AwsllmError) -> bytes:
    _, payload = errors.encode_error(error, lambda status, message: {"error": message, "code": status})
    return payload.body + b"\n"
