"""What SageMaker's runtime says when something is wrong, as awsllm's errors.

The service itself has modelled errors, which ``wire.errors`` reads; two of them mean something else than their code
says (``_REREAD``). ``ModelError`` (424) wraps an answer of the container: its own status and body are what the caller
wants to know, and ``wire.server_errors`` reads them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from awsllm.errors import AwsllmError, ModelNotFoundError, ModelNotReadyError, ModelTimeoutError
from awsllm.types import JsonObject
from awsllm.wire import errors
from awsllm.wire.eventstream import Frame
from awsllm.wire.server_errors import error_for_status, message_of_body

# A ValidationError of the service whose text says that it is something else (reports of users; not in the model).
_REREAD = (
    (re.compile(r"has no capacity", re.IGNORECASE), ModelNotReadyError),
    (
        re.compile(r"(endpoint|inference component|variant)\b.* not found|could not find", re.IGNORECASE),
        ModelNotFoundError,
    ),
)


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> AwsllmError:
    """The error in a reply of sagemaker-runtime that is not 2xx; ``ModelError`` is unwrapped."""
    error = errors.decode_error(status, headers, body)
    if error.code == "ModelError":
        return _unwrap(error, _json_object(body))
    for pattern, kind in _REREAD:
        if error.code == "ValidationError" and pattern.search(error.message):
            reread = kind(error.message, code=error.code, status=error.status, request_id=error.request_id)
            reread.retry_after = error.retry_after
            if isinstance(reread, ModelNotReadyError):
                reread.scaled_to_zero = True
            return reread
    return error


_NEEDS_COMPONENT = re.compile(r"inference component name header is required", re.IGNORECASE)


def needs_component(error: AwsllmError) -> bool:
    """Whether the runtime says that the endpoint hosts inference components and that none was named (its words, as
    users report them; the body's ``ErrorCode`` is ``INFERENCE_COMPONENT_NAME_MISSING``)."""
    return error.code == "ValidationError" and bool(_NEEDS_COMPONENT.search(error.message))


def decode_frame_error(frame: Frame, *, request_id: str | None = None) -> AwsllmError:
    """The error in a frame that is no event. ``ModelStreamError`` says by its ``ErrorCode`` that the time was up."""
    name = frame.headers.get(":exception-type")
    if name is None:
        code, message = frame.headers.get(":error-code", ""), frame.headers.get(":error-message", "")
        return errors.error_for(str(code), str(message), request_id=request_id)
    if _json_object(frame.payload).get("ErrorCode") == "ModelInvocationTimeExceeded":
        message = _json_object(frame.payload).get("Message") or "the answer took longer than the service allows"
        return ModelTimeoutError(message, code="ModelInvocationTimeExceeded", request_id=request_id)
    return errors.decode_exception(str(name), frame.payload, request_id)


def _unwrap(error: AwsllmError, fields: JsonObject) -> AwsllmError:
    """The container's own failure; where its log is stands in a note."""
    status, original = fields.get("OriginalStatusCode"), fields.get("OriginalMessage")
    body = original if isinstance(original, str) else ""
    unwrapped = error_for_status(
        status if isinstance(status, int) else 500,
        message_of_body(body) or error.message,
        code=error.code,
        request_id=error.request_id,
        body=body,
    )
    unwrapped.retry_after = error.retry_after
    if log := fields.get("LogStreamArn"):
        unwrapped.add_note(f"the container's log: {log}")
    return unwrapped


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (ValueError, RecursionError):
        return {}
