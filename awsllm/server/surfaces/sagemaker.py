"""SageMaker's runtime, spoken by the server: endpoints whose containers speak one of many formats.

The service hands the container's bytes through. What the container refuses, the caller sees as ``ModelError`` (424)
with the container's own status and body inside; a stream comes as ``PayloadPart`` events with raw bytes, cut anywhere.
Which operation was called and what the body asks for are two things: a body that asks for no stream on the streaming
operation gets its whole answer in parts, and one that does on the plain operation gets the container's stream as it
is.

``Incoming.container`` says which format answers; without one it is OpenAI's chat and embedding bodies, in parts as the
container writes them, unless the endpoint is named for a task that is no chat.

Facts of the wire: botocore's service model ``sagemaker-runtime``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar, cast
from urllib.parse import unquote

import msgspec

from awsllm.backends.sagemaker.target import MAX_BODY
from awsllm.errors import AccessDeniedError, AwsllmError, ModelNotReadyError, ServerError, ValidationError
from awsllm.server.container import PLAIN, Container, Cutter, model_error
from awsllm.server.shapes import check
from awsllm.server.surfaces.limits import check_limits
from awsllm.server.work import Ask, Incoming, Reply, Stream, Work
from awsllm.types import ConverseRequest, JsonObject, Request, StreamEvent
from awsllm.wire.body import Chat, Context, Payload, Settings
from awsllm.wire.endpoint import Detected
from awsllm.wire.endpoint.tasks.names import canonical, of_model_id
from awsllm.wire.eventstream import encode_event_frame, encode_exception_frame
from awsllm.wire.reading import JSON

SERVICE = "sagemaker-runtime"
_STREAM = "InvokeEndpointWithResponseStream"
_EVENT_STREAM = "application/vnd.amazon.eventstream"
_FRAMINGS = {"sse": "text/event-stream", "jsonlines": "application/jsonlines"}
Q = TypeVar("Q", bound=Request[Any])
# What concerns only how a reply is written; no model is given it.
_OF_THE_REPLY = (
    "stream_options",
    "encoding_format",
    "embedding_types",
    "details",
    "decoder_input_details",
    "return_full_text",
    "return_text",
)


def failure(incoming: Incoming, error: AwsllmError) -> Reply:
    """``error`` as a reply: the service's own, or the container's inside a ModelError."""
    body: JsonObject
    match error:
        case AccessDeniedError():
            status, kind, body = 403, "AccessDeniedException", {"Message": error.message}
        case AwsllmError(code="ValidationError"):
            status, kind, body = 400, "ValidationError", {"Message": error.message}
        case ModelNotReadyError():
            status, kind, body = 429, "ModelNotReadyException", {"Message": error.message}
        case _:
            status, kind, body = 424, "ModelError", model_error(container_of(incoming), error)
    return Reply(status, {"Content-Type": JSON, "x-amzn-ErrorType": kind}, msgspec.json.encode(body))


def _invoke(operation: str, endpoint: str, incoming: Incoming) -> Work:
    _check(operation, endpoint, incoming)
    return invoked(container_of(incoming), operation, endpoint, incoming)


def invoked(container: Container, operation: str, endpoint: str, incoming: Incoming) -> Work:
    """What a container is asked. On the streaming operation it answers in parts."""
    request, stream = container.body.read(endpoint, _payload(operation, incoming), container.settings)
    _check_licence(container, incoming)
    check_limits(request)
    context = Context(request=request, settings=container.settings)
    in_parts = operation == _STREAM
    if stream:
        return _stream(container, context, in_parts=in_parts)
    codec = container.body.codec(type(request))
    return Ask(
        _for_the_model(request, container),
        lambda response: _reply(container, codec.encode_response(response, context), in_parts=in_parts),
    )


OPERATIONS: dict[str, Callable[[str, Incoming], Work]] = {
    "invocations": partial(_invoke, "InvokeEndpoint"),
    "invocations-response-stream": partial(_invoke, _STREAM),
}


def container_of(incoming: Incoming) -> Container:
    """What answers an invocation."""
    found = incoming.container or _named_for_a_task(incoming.path) or PLAIN
    return found.for_payload(incoming.body, incoming.headers.get("content-type", JSON))


def _named_for_a_task(path: str) -> Container | None:
    """An endpoint that only has a name does what that says, if it is a task (``ner``) or names a model as JumpStart's
    ids do (``huggingface-ner-…``): there is nothing else by which a server could be told."""
    name = unquote(path.removeprefix("/endpoints/").partition("/")[0])
    task = canonical(name) or of_model_id(name)
    if task is None:
        return None
    evidence = "the endpoint's name"
    return Container(Detected(format="jumpstart", settings=Settings(task=task), source="caller", evidence=evidence))


def _check(operation: str, endpoint: str, incoming: Incoming) -> None:
    """What the service itself refuses has the code ``ValidationError``, by which ``failure`` tells it from what the
    container refuses."""
    try:
        check(SERVICE, operation, {"EndpointName": endpoint, "Body": ""})
    except ValidationError as error:
        raise ValidationError(error.message, code="ValidationError", status=400) from error
    if len(incoming.body) > MAX_BODY:
        raise ValidationError(f"Body has more than {MAX_BODY} bytes", code="ValidationError", status=400)


def _payload(operation: str, incoming: Incoming) -> Payload:
    headers = incoming.headers
    accept = headers.get("x-amzn-sagemaker-accept" if operation == _STREAM else "accept", JSON)
    attributes = headers.get("x-amzn-sagemaker-custom-attributes")
    return Payload(incoming.body, headers.get("content-type", JSON), accept, attributes)


def _check_licence(container: Container, incoming: Incoming) -> None:
    """Containers of dialogs (Llama 2, versions 1 and 2) want the licence accepted in every call."""
    attributes = incoming.headers.get("x-amzn-sagemaker-custom-attributes", "")
    if container.body.name == "dialogs" and "accept_eula=true" not in attributes.replace(" ", "").lower():
        raise ValidationError(
            "Need to pass custom_attributes='accept_eula=true' as part of header. This means you have read and accept "
            "the end-user license agreement (EULA) of the model.",
            status=424,
        )


def _for_the_model(request: Q, container: Container) -> Q:
    extra = {
        name: value for name, value in (getattr(request, "extra", None) or {}).items() if name not in _OF_THE_REPLY
    }
    meant: Any = {"model": container.model} if container.model else {}
    return msgspec.structs.replace(request, extra=extra or None, **meant)


def _stream(container: Container, context: Context, *, in_parts: bool) -> Work:
    content_type = _FRAMINGS.get(container.settings.framing, JSON)
    headers = {**_invoked(container), **_content_types(content_type, in_parts=in_parts)}
    request = _for_the_model(context.request_as(ConverseRequest), container)
    return Stream(request, headers, _Chunks(container, context, in_parts=in_parts))


class _Chunks:
    """The container's stream: in parts of an event stream, or as its bytes."""

    def __init__(self, container: Container, context: Context, *, in_parts: bool) -> None:
        self._in_parts = in_parts
        self._cutter = Cutter(container.cuts if in_parts else ())
        chat = cast("Chat", container.body.codec(ConverseRequest))
        self._chunks = chat.stream_encoder(context)

    def event(self, event: StreamEvent) -> bytes:
        return self._frames(self._cutter.push(self._chunks.event(event)))

    def end(self) -> bytes:
        return self._frames(self._cutter.push(self._chunks.end())) + self._frames(self._cutter.rest())

    def failure(self, error: Exception) -> bytes:
        known = error if isinstance(error, AwsllmError) else ServerError("internal failure")
        if not self._in_parts:  # outside event streams a container can only say it in its own
            return self._chunks.failure(known)
        body = {"Message": known.message, "ErrorCode": "StreamBroken"}
        broken = encode_exception_frame("ModelStreamError", msgspec.json.encode(body))
        return self._frames(self._cutter.rest()) + broken

    def _frames(self, parts: Iterator[bytes]) -> bytes:
        return b"".join(map(_part, parts) if self._in_parts else parts)


def _part(data: bytes) -> bytes:
    return encode_event_frame("PayloadPart", data, "application/octet-stream")


def _reply(container: Container, payload: Payload, *, in_parts: bool) -> Reply:
    headers = {**_invoked(container), **_content_types(payload.content_type, in_parts=in_parts)}
    if not in_parts:
        return Reply(200, headers, payload.body)
    cutter = Cutter(container.cuts)
    parts = [*cutter.push(payload.body), *cutter.rest()]
    return Reply(200, headers, b"".join(map(_part, parts)))


def _invoked(container: Container) -> dict[str, str]:
    return {"x-Amzn-Invoked-Production-Variant": container.variant}


def _content_types(content_type: str, *, in_parts: bool) -> dict[str, str]:
    if not in_parts:
        return {"Content-Type": content_type}
    return {"Content-Type": _EVENT_STREAM, "X-Amzn-SageMaker-Content-Type": content_type}
