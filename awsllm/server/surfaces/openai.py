"""OpenAI's APIs, spoken by the server: Chat Completions, Responses, embeddings, the list of models.

They stand where OpenAI serves them (``/v1``) and where Bedrock's two endpoints do (``/openai/v1``), so OpenAI's
clients, those for Bedrock too, need no more than a base URL. OpenAI's own names of models lack the provider that
Bedrock's begin with; both are answered, and local models by their own names.

A response is kept, for ``previous_response_id``, as long as the process runs and few others have come since, unless the
request says ``store: false``.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, cast

import msgspec
from msgspec.structs import replace

from awsllm.errors import AwsllmError, ModelNotFoundError, ServerError, UnsupportedError, ValidationError
from awsllm.models.profiles import Profile, profile
from awsllm.server.http.auth import UnauthenticatedError
from awsllm.server.surfaces.bedrock import read_json
from awsllm.server.surfaces.limits import check_limits
from awsllm.server.surfaces.vectors import resize
from awsllm.server.work import Ask, Incoming, Reply, Stream, Work
from awsllm.stream import Fold
from awsllm.types import ConverseRequest, ConverseResponse, JsonObject, Message, StreamEvent
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.wire import body as bodies
from awsllm.wire.body import Chat, ChunkEncoder, Context, Payload, Settings
from awsllm.wire.openai.errors import encode_error
from awsllm.wire.reading import JSON, required

PREFIXES = ("/openai/v1/", "/v1/chat/", "/v1/responses", "/v1/embeddings", "/v1/models")
"""Where the paths of this surface begin."""

_EVENT_STREAM = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
_CHAT = ("awsllm.wire.openai.body", "openai")
_RESPONSES = ("awsllm.wire.openai.responses.body", "openai-responses")
_PLAIN = Settings()
_PREVIOUS = "previous_response_id"
_MODELS = "/models"
# OpenAI's own names begin so; Bedrock's ids have a provider before them.
_OPENAI_NAMES = ("gpt-", "text-embedding-")


def failure(error: AwsllmError) -> Reply:
    """``error`` as a reply. For a wrong key OpenAI's clients look for a 401."""
    status, wire = encode_error(error)
    if isinstance(error, UnauthenticatedError):
        status = 401
        wire["error"] |= {"type": "invalid_request_error", "code": "invalid_api_key"}
    return Reply(status, _headers(), msgspec.json.encode(wire))


# --- chat ------------------------------------------------------------------------------------------------------------


def _completion(_: str, incoming: Incoming) -> Work:
    body = bodies.load(*_CHAT)
    model = _model(incoming, "chat")
    request, streams = cast("Chat", body.chat).decode_request(model, Payload(incoming.body), _PLAIN)
    return _answer(cast("Chat", body.chat), Context(request=request), streams=streams)


def _response(_: str, incoming: Incoming) -> Work:
    chat = cast("Chat", bodies.load(*_RESPONSES).chat)
    model = _model(incoming, "chat")
    turn, streams = chat.decode_request(model, Payload(incoming.body), _PLAIN)
    _check_served(turn.extra or {})
    request = replace(turn, messages=(*_KEPT.before(turn), *turn.messages))
    context = Context(request=request, request_id=secrets.token_hex(16))
    is_kept = (request.extra or {}).get("store") is not False and len(incoming.body) <= _Kept.LARGEST
    return _answer(chat, context, streams=streams, keep=_KEPT.keeper(context) if is_kept else None)


def _check_served(extra: JsonObject) -> None:
    if extra.get("background"):
        raise UnsupportedError("background: every response is computed while its caller waits; leave it out")
    for tool in extra.get("tools") or ():
        kind = tool.get("type") if isinstance(tool, dict) else None
        raise UnsupportedError(f"tools of the type {kind!r} are not run here; use those of the type function")


def _answer(chat: Chat, context: Context, *, streams: bool, keep: Callable[[Message], None] | None = None) -> Work:
    request = _for_the_model(context.request_as(ConverseRequest))
    if streams:
        return Stream(request, _EVENT_STREAM, _Events(chat.stream_encoder(context), keep))

    def encode(response: ConverseResponse) -> Reply:
        if keep is not None:
            keep(response.message)
        return Reply(200, _headers(), chat.encode_response(response, context).body)

    return Ask(request, encode)


def _for_the_model(request: ConverseRequest) -> ConverseRequest:
    """Without what concerns the reply, or who keeps it."""
    extra = {name: value for name, value in (request.extra or {}).items() if name not in _OF_THE_REPLY}
    return replace(request, extra=extra or None)


_OF_THE_REPLY = frozenset(("stream_options", "store", "metadata", "include", "user", "safety_identifier", _PREVIOUS))


class _Events:
    """A stream's bytes; what is not awsllm's own error is told without its details."""

    def __init__(self, encoder: ChunkEncoder, keep: Callable[[Message], None] | None) -> None:
        self._encoder = encoder
        self._keep = keep
        self._fold = Fold()

    def event(self, event: StreamEvent) -> bytes:
        if self._keep is not None:
            self._fold.push(event)
        return self._encoder.event(event)

    def end(self) -> bytes:
        if self._keep is not None:
            self._keep(self._fold.partial().message)
        return self._encoder.end()

    def failure(self, error: Exception) -> bytes:
        return self._encoder.failure(error if isinstance(error, AwsllmError) else ServerError("internal failure"))


class _Kept:
    """The conversations that led to the last responses, by the responses' ids, which nobody can guess."""

    MOST = 256
    LARGEST = 256 * 1024
    """Bytes of a request; of a larger one nothing is kept."""

    def __init__(self) -> None:
        self._turns: OrderedDict[str, tuple[Message, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def before(self, request: ConverseRequest) -> tuple[Message, ...]:
        """The turns that ``previous_response_id`` of the request means. Raises ``ValidationError``."""
        named = (request.extra or {}).get(_PREVIOUS)
        if named is None:
            return ()
        with self._lock:
            found = self._turns.get(str(named))
        if found is None:
            raise ValidationError(f"Previous response with id {str(named)[:100]!r} not found.", status=400)
        return found

    def keeper(self, context: Context) -> Callable[[Message], None]:
        """What keeps the answer to the request of ``context``."""
        request = context.request_as(ConverseRequest)

        def keep(answer: Message) -> None:
            with self._lock:
                self._turns[f"resp_{context.request_id}"] = (*request.messages, answer)
                while len(self._turns) > self.MOST:
                    self._turns.popitem(last=False)

        return keep


_KEPT = _Kept()


# --- embeddings, models ----------------------------------------------------------------------------------------------


def _embeddings(_: str, incoming: Incoming) -> Work:
    codec: Any = bodies.load(*_CHAT).codec(EmbedRequest)
    request = codec.decode_request(_model(incoming, "embed"), Payload(incoming.body), _PLAIN)
    check_limits(request)
    context = Context(request=request)

    def encode(response: EmbedResponse) -> Reply:
        """The model gives vectors of its own size; they are brought to the one that was asked for."""
        if size := request.dimensions:
            vectors = [resize(vector, size, normalize=True) for vector in response.vectors]
            response = replace(response, vectors=vectors)
        return Reply(200, _headers(), codec.encode_response(response, context).body)

    return Ask(EmbedRequest(model=request.model, texts=request.texts), encode)


def _models(_: str, incoming: Incoming) -> Work:
    """Those that Bedrock lists and that are answered here: one that chats, or makes vectors of texts."""
    from awsllm.models.entries import entries

    listed = [_listed(entry.id) for entry in entries() if {"text", "embedding"} & set(entry.output)]
    return Reply(200, _headers(), msgspec.json.encode({"object": "list", "data": listed}))


def one_model(name: str, incoming: Incoming) -> Work:
    """The model that a path names. Raises ``ValidationError`` for one that is not known."""
    _check_known(name)
    return Reply(200, _headers(), msgspec.json.encode(_listed(name)))


def _listed(id: str) -> JsonObject:
    owner = _profile(id).provider
    return {"id": id, "object": "model", "created": 0, "owned_by": owner}


OPERATIONS: dict[tuple[str, str], Callable[[str, Incoming], Work]] = {
    (method, f"{place}{path}"): operation
    for place in ("/v1", "/openai/v1")
    for method, path, operation in (
        ("POST", "/chat/completions", _completion),
        ("POST", "/responses", _response),
        ("POST", "/embeddings", _embeddings),
        ("GET", _MODELS, _models),
    )
}
"""By method and path."""

MODEL_PATHS = tuple(f"{place}{_MODELS}/" for place in ("/v1", "/openai/v1"))
"""What stands before the name of one model in a path."""


# --- who is asked ----------------------------------------------------------------------------------------------------


def _model(incoming: Incoming, use: str) -> str:
    """Raises ``ValidationError`` where the body names none, or one that Bedrock does not know for this use."""
    model = required(read_json(incoming.body), "model", str)
    if _is_local(model, use):
        return model
    can = _check_known(model)
    if use == "chat" and not can.converse:
        raise ValidationError(f"The model {model[:100]!r} does not chat.", status=400)
    return model


def _is_local(model: str, use: str) -> bool:
    """Whether it is a local model by its own name, with or without ``local:``."""
    from awsllm.store.catalogue import MODELS

    found = MODELS.get(model.removeprefix("local:"))
    return found is not None and found.kind == use


def _check_known(model: str) -> Profile:
    can = _profile(model)
    if can.provider == "unknown" and not model.startswith("arn:"):
        raise ModelNotFoundError(f"The model {model[:100]!r} does not exist.")
    return can


def _profile(model: str) -> Profile:
    return profile("bedrock", f"openai.{model}" if model.startswith(_OPENAI_NAMES) else model)


def _headers() -> dict[str, str]:
    return {"Content-Type": JSON, "x-request-id": f"req_{secrets.token_hex(16)}"}
