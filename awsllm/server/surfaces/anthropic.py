"""Anthropic's Messages API, spoken by the server: whole, streamed, and its counting of tokens.

It stands where Anthropic serves it (``/v1/messages``) and where Bedrock does (``/anthropic/v1/messages`` of the mantle
endpoint), so the SDK's clients for both need no more than a base URL. Anthropic's own names of models lack the
provider that Bedrock's begin with; both are answered.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import msgspec

from awsllm.errors import AwsllmError, ServerError
from awsllm.models.profiles import profile
from awsllm.server.account.refusals import UnauthenticatedError
from awsllm.server.surfaces.catalog import check_chat_model
from awsllm.server.surfaces.limits import check_name, read_json
from awsllm.server.work import Ask, Incoming, Reply, Stream, Work
from awsllm.types import ConverseRequest, ConverseResponse, CountTokensRequest, StreamEvent
from awsllm.wire import body as bodies
from awsllm.wire.body import Chat, ChunkEncoder, Context, Payload, Settings
from awsllm.wire.reading import JSON, required

if TYPE_CHECKING:
    from awsllm.wire.anthropic.stream import FramedMessage

PREFIXES = ("/anthropic/v1/", "/v1/messages")
"""Where the paths of this surface begin."""

_EVENT_STREAM = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}


def failure(error: AwsllmError) -> Reply:
    """``error`` as a reply. For a wrong key Anthropic's clients look for a 401."""
    if isinstance(error, UnauthenticatedError):
        wire = {"type": "error", "error": {"type": "authentication_error", "message": error.message}}
        return Reply(401, _headers(), msgspec.json.encode(wire))
    status, payload = _body().encode_error(error)
    return Reply(status, _headers(), payload.body)


def is_meant(incoming: Incoming) -> bool:
    """Whether it is for Anthropic's API, served here or not."""
    return incoming.path.startswith(PREFIXES) or "anthropic-version" in incoming.headers


def unserved(incoming: Incoming) -> Reply:
    """The refusal of a request that no operation here is meant by, as Anthropic writes it."""
    message = f"{incoming.method} {incoming.path[:200]} is not served here. Served are POST {', '.join(OPERATIONS)}."
    wire = {"type": "error", "error": {"type": "not_found_error", "message": message}}
    return Reply(404, _headers(), msgspec.json.encode(wire))


def _messages(_: str, incoming: Incoming) -> Work:
    model = _model(incoming)
    request, streams = _body().read(model, Payload(incoming.body), Settings())
    chat, context = cast("Chat", _body().chat), Context(request=request)
    if streams:
        encoder = cast("FramedMessage", chat.stream_encoder(context))
        asked = cast("ConverseRequest", request)
        return Stream(asked, _EVENT_STREAM, _Events(encoder), counted=encoder.counted)

    def encode(response: ConverseResponse) -> Reply:
        return Reply(200, _headers(), chat.encode_response(response, context).body)

    return Ask(request, encode)


def _count_tokens(_: str, incoming: Incoming) -> Work:
    from awsllm.wire.anthropic.body import decode_counted

    model = _model(incoming)
    request = CountTokensRequest(model=model, converse=decode_counted(model, Payload(incoming.body)))
    return Ask(request, lambda count: Reply(200, _headers(), msgspec.json.encode({"input_tokens": count})))


def _models(_: str, incoming: Incoming) -> Work:
    """Anthropic's models that Bedrock lists and that the caller may call, on one page. Of none a day of release is
    known, which the API writes as the beginning of its time."""
    from awsllm.models.entries import entries

    allows = incoming.allows or (lambda name: True)
    chats = [entry.id for entry in entries() if "text" in entry.output and allows(entry.id)]
    names = [name for name in chats if profile("bedrock", name).provider == "anthropic"]
    data = [{"type": "model", "id": name, "display_name": name, "created_at": _UNKNOWN_DAY} for name in names]
    first, last = (names[0], names[-1]) if names else (None, None)
    page = {"data": data, "has_more": False, "first_id": first, "last_id": last}
    return Reply(200, _headers(), msgspec.json.encode(page))


def find(incoming: Incoming) -> tuple[Callable[[str, Incoming], Work], str] | None:
    """The operation that a request means. The list of models stands where OpenAI's does: a header says whose is asked
    for."""
    if incoming.method == "GET" and incoming.path in _LISTS and is_meant(incoming):
        return _models, ""
    operation = OPERATIONS.get(incoming.path) if incoming.method == "POST" else None
    return None if operation is None else (operation, "")


_UNKNOWN_DAY = "1970-01-01T00:00:00Z"
_LISTS = ("/v1/models", "/anthropic/v1/models")
OPERATIONS: dict[str, Callable[[str, Incoming], Work]] = {
    f"{place}/v1/messages{suffix}": operation
    for place in ("", "/anthropic")
    for suffix, operation in (("", _messages), ("/count_tokens", _count_tokens))
}
"""By their paths."""


class _Events:
    """A stream's bytes; what is not awsllm's own error is told without its details."""

    def __init__(self, encoder: ChunkEncoder) -> None:
        self._encoder = encoder

    def event(self, event: StreamEvent) -> bytes:
        return self._encoder.event(event)

    def end(self) -> bytes:
        return self._encoder.end()

    def failure(self, error: Exception) -> bytes:
        return self._encoder.failure(error if isinstance(error, AwsllmError) else ServerError("internal failure"))


def _body() -> bodies.Body:
    return bodies.load("awsllm.wire.anthropic.body", "anthropic")


def _model(incoming: Incoming) -> str:
    """Raises ``ValidationError`` where the body names none, or one that Bedrock does not know as a chat model."""
    model = required(read_json(incoming.body), "model", str)
    check_name(model)
    known = "." in model or model.startswith("arn:") or (incoming.models is not None and incoming.models.knows(model))
    check_chat_model(model if known else f"anthropic.{model}", models=incoming.models)
    return model


def _headers() -> dict[str, str]:
    return {"Content-Type": JSON, "request-id": f"req_{secrets.token_hex(12)}"}
