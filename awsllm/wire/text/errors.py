"""How model servers that share no scheme report an error: a status by the error's kind, and a body of their own."""

from __future__ import annotations

from collections.abc import Callable

from awsllm.errors import AwsllmError, ContextWindowError
from awsllm.types import JsonObject
from awsllm.wire.body import Payload
from awsllm.wire.framing import encode_line
from awsllm.wire.openai.errors import encode_error as encode_openai_error
from awsllm.wire.payloads import write


def encode_error(error: AwsllmError, write_body: Callable[[int, str], JsonObject]) -> tuple[int, Payload]:
    """The status, which is the one OpenAI's servers give, and the payload. ``write_body`` takes status and message."""
    status, _ = encode_openai_error(error)
    return status, write(write_body(status, error.message))


def error_message(error: AwsllmError) -> str:
    """An error's message as servers write it whose status does not say that the input is too long."""
    return f"input is too long: {error.message}" if isinstance(error, ContextWindowError) else error.message


def encode_message(error: AwsllmError) -> tuple[int, Payload]:
    """The status, and an object that has a message and no more."""
    return encode_error(error, lambda status, message: {"message": message})


def encode_error_line(error: AwsllmError) -> bytes:
    """An error as a line of a stream that has begun."""
    status, _ = encode_openai_error(error)
    return encode_line({"error": error.message, "code": status})
