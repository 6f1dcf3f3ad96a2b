"""How model servers that share no scheme report an error: a status by the error's kind, and a body of their own."""

from __future__ import annotations

from collections.abc import Callable

from awsllm.errors import AwsllmError, ContextWindowError
from awsllm.types import JsonObject
from awsllm.wire.body import Payload
from awsllm.wire.openai.errors import encode_error as encode_openai_error
from awsllm.wire.payloads import write


def encode_error(error: AwsllmError, write_body: Callable[[int, str], JsonObject]) -> tuple[int, Payload]:
    """The status, which is the one OpenAI's servers give, and the payload. ``write_body`` takes status and message."""
    status, _ = encode_openai_error(error)
    return status, write(write_body(status, error.message))


def error_message(error: AwsllmError) -> str:
    """An error's message as servers write it whose status does not say that the input is too long."""
    return f"input is too long: {error.message}" if isinstance(error, ContextWindowError) else error.message
