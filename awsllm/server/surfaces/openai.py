"""OpenAI's APIs, spoken by the server: Chat Completions, Responses, text completions, embeddings, the list of models.

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
from awsllm.policy.limits import BudgetSpentError
from awsllm.server.account.refusals import UnauthenticatedError
from awsllm.server.surfaces.catalog import invoke_body
from awsllm.server.surfaces.input_tags import under_guardrail, without_config
from awsllm.server.surfaces.limits import check_limits, check_name, read_json
from awsllm.server.surfaces.vectors import resize
from awsllm.server.work import Ask, Incoming, Models, Reply, Stream, Work
from awsllm.stream import Fold
from awsllm.types import ConverseRequest, ConverseResponse, JsonObject, Message, StreamEvent
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.wire import body as bodies
from awsllm.wire.body import Chat, ChunkEncoder, Context, Payload, Settings
from awsllm.wire.openai.errors import encode_error
from awsllm.wire.reading import JSON, required
from awsllm.wire.text.request import check_single

PREFIXES = ("/openai/v1/", "/v1/chat/", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/models")
"""Where the paths of this surface begin."""

_EVENT_STREAM = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
_CHAT = ("awsllm.wire.openai.body", "openai")
_TEXTS = ("awsllm.wire.openai.completion", "openai-completion")
_RESPONSES = ("awsllm.wire.openai.responses.body", "openai-responses")
_PLAIN = Settings()
_PREVIOUS = "previous_response_id"
_MODELS = "/models"
# OpenAI's own names begin so; Bedrock's ids have a provider before them.
_OPENAI_NAMES = ("gpt-", "text-embedding-")


class UnsupportedParameterError(UnsupportedError):
    """A member of the body that would change the answer and is not honoured here; ``parameter`` is its name."""

    def __init__(self, parameter: str) -> None:
        super().__init__(f"Unsupported parameter: {parameter!r} is not supported with this model.", status=400)
        self.parameter = parameter


def failure(error: AwsllmError) -> Reply:
    """``error`` as a reply. For a wrong key OpenAI's clients look for a 401."""
    status, wire = encode_error(error)
    if isinstance(error, UnauthenticatedError):
        status = 401
        wire["error"] |= {"type": "invalid_request_error", "code": "invalid_api_key"}
    if isinstance(error, BudgetSpentError):
        wire["error"] |= {"type": "insufficient_quota", "code": "insufficient_quota"}
    if isinstance(error, UnsupportedParameterError):
        wire["error"] |= {"param": error.parameter, "code": "unsupported_parameter"}
    return Reply(status, _headers(), msgspec.json.encode(wire))


def is_meant(incoming: Incoming) -> bool:
    """Whether it is for OpenAI's API, served here or not: a service of AWS is signed for."""
    is_bearer = incoming.headers.get("authorization", "").lower().startswith("bearer ")
    return incoming.path.startswith(PREFIXES) or (is_bearer and incoming.path.startswith("/v1/"))


def unserved(incoming: Incoming) -> Reply:
    """The refusal of a request that no operation here is meant by, as OpenAI writes it."""
    served = ", ".join(f"{method} {path}" for method, path in OPERATIONS if path.startswith("/v1/"))
    message = f"Invalid URL ({incoming.method} {incoming.path[:200]}): it is not served here. Served are {served}."
    wire = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": "unknown_url"}}
    return Reply(404, _headers(), msgspec.json.encode(wire))


# --- chat ------------------------------------------------------------------------------------------------------------


def _completion(_: str, incoming: Incoming) -> Work:
    body = bodies.load(*_CHAT)
    model = _model(incoming, "chat")
    written, guardrail = without_config(incoming.body)
    request, streams = cast("Chat", body.chat).decode_request(model, Payload(written), _PLAIN)
    _check_parameters(request.extra or {})
    request = under_guardrail(request, incoming, guardrail)
    return _answer(cast("Chat", body.chat), Context(request=request), streams=streams)


def _text_completion(_: str, incoming: Incoming) -> Work:
    """A prompt and what follows it: the older API, which has no turns. A list may hold one prompt."""
    chat = cast("Chat", bodies.load(*_TEXTS).chat)
    model, wire = _model(incoming, "chat"), read_json(incoming.body)
    match wire.get("prompt"):
        case [str(prompt)]:
            wire["prompt"] = prompt
        case list():
            raise UnsupportedError("prompt: one text a call, and no token ids")
    if isinstance(wire.get("stop"), str):
        wire["stop"] = [wire["stop"]]
    check_single(wire, "n")
    _check_parameters(wire)
    request = chat.decode_request(model, Payload(msgspec.json.encode(wire)), _PLAIN)[0]
    return _answer(chat, Context(request=request), streams=wire.get("stream") is True)


def _response(_: str, incoming: Incoming) -> Work:
    chat = cast("Chat", bodies.load(*_RESPONSES).chat)
    model = _model(incoming, "chat")
    turn, streams = chat.decode_request(model, Payload(incoming.body), _PLAIN)
    _check_parameters(turn.extra or {})
    _check_served(turn.extra or {})
    request = replace(turn, messages=(*_KEPT.before(turn, keeps=incoming.keeps), *turn.messages))
    context = Context(request=request, request_id=secrets.token_hex(16))
    wanted = incoming.keeps and (request.extra or {}).get("store") is not False
    is_kept = wanted and len(incoming.body) <= _Kept.LARGEST
    return _answer(chat, context, streams=streams, keep=_KEPT.keeper(context) if is_kept else None)


def _check_parameters(members: JsonObject) -> None:
    """Raises ``UnsupportedParameterError`` where probabilities of tokens are asked for, which no answer here has."""
    for name in ("logprobs", "top_logprobs"):
        if members.get(name):
            raise UnsupportedParameterError(name)
    included = members.get("include")
    if isinstance(included, list) and "message.output_text.logprobs" in included:
        raise UnsupportedParameterError("include")


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


_OF_THE_REPLY = frozenset(
    ("model", "stream", "stream_options", "n", "store", "metadata", "include", "user", "safety_identifier", _PREVIOUS)
)


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
        self.is_one_of_several = False
        self._turns: OrderedDict[str, tuple[Message, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def before(self, request: ConverseRequest, *, keeps: bool) -> tuple[Message, ...]:
        """The turns that ``previous_response_id`` of the request means. Raises ``ValidationError``."""
        named = (request.extra or {}).get(_PREVIOUS)
        if named is None:
            return ()
        if self.is_one_of_several or not keeps:
            raise UnsupportedError(
                f"{_PREVIOUS}: several processes answer here, which share no responses; send the whole conversation"
            )
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


def keep_nothing() -> None:
    """Another worker may be asked for what this one keeps: ``previous_response_id`` is refused."""
    _KEPT.is_one_of_several = True


# --- embeddings, models ----------------------------------------------------------------------------------------------


def _embeddings(_: str, incoming: Incoming) -> Work:
    codec: Any = bodies.load(*_CHAT).codec(EmbedRequest)
    request = codec.decode_request(_model(incoming, "embed"), Payload(incoming.body), _PLAIN)
    check_limits(request)
    context, size = Context(request=request), request.dimensions or _size(request.model)

    def encode(response: EmbedResponse) -> Reply:
        """The model gives vectors of its own size; they are brought to the one that was asked for, or expected."""
        if size:
            vectors = [resize(vector, size, normalize=True) for vector in response.vectors]
            response = replace(response, vectors=vectors)
        return Reply(200, _headers(), codec.encode_response(response, context).body)

    if incoming.models is not None and incoming.models.remote(request):
        extra = {name: value for name, value in (request.extra or {}).items() if name not in _OF_THE_VECTORS}
        return Ask(replace(request, extra=extra or None), encode)
    return Ask(EmbedRequest(model=request.model, texts=request.texts), encode)


_OF_THE_VECTORS = frozenset(("model", "encoding_format", "user"))  # members that concern the reply, not the model


def _size(model: str) -> int | None:
    """How many numbers a vector of ``model`` has unless one asks for fewer: a program's index is made for as many."""
    if model in _SIZES:
        return _SIZES[model]
    body = invoke_body(model, {})[0] if _profile(model).invoke_body else None
    return next(iter(getattr(body and body.embed, "sizes", ())), None)


# Of OpenAI's own models (platform.openai.com/docs/guides/embeddings, 2026); what Bedrock has says it itself.
_SIZES = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}


def _models(_: str, incoming: Incoming) -> Work:
    """Those that the table names and the local ones, then those that Bedrock lists and that are answered here: one that
    chats, or makes vectors of texts. Of all, what the caller may call."""
    from awsllm.models.entries import entries

    models = incoming.models or Models()
    known = [entry.id for entry in entries() if {"text", "embedding"} & set(entry.output)]
    names = dict.fromkeys([*models.listed(), *(name for name in known if not models.refuses(name))])
    listed = [_listed(name) for name in names if incoming.allows is None or incoming.allows(name)]
    return Reply(200, _headers(), msgspec.json.encode({"object": "list", "data": listed}))


def one_model(name: str, incoming: Incoming) -> Work:
    """The model that a path names. Raises ``ModelNotFoundError`` for one that is not known, or not the caller's."""
    _check_known(name, incoming.models)
    if incoming.allows is not None and not incoming.allows(name):
        raise _no_model(name)
    return Reply(200, _headers(), msgspec.json.encode(_listed(name)))


def _listed(id: str) -> JsonObject:
    owner = _profile(id).provider
    owner = "awsllm" if owner == "unknown" else owner
    return {"id": id, "object": "model", "created": 0, "owned_by": owner}


OPERATIONS: dict[tuple[str, str], Callable[[str, Incoming], Work]] = {
    (method, f"{place}{path}"): operation
    for place in ("/v1", "/openai/v1")
    for method, path, operation in (
        ("POST", "/chat/completions", _completion),
        ("POST", "/completions", _text_completion),
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
    check_name(model)
    if _is_local(model, use, incoming.models) and not (incoming.models and incoming.models.refuses(model)):
        return model
    can = _check_known(model, incoming.models)
    if use == "chat" and not can.converse and not (incoming.models and incoming.models.knows(model)):
        raise ValidationError(f"The model {model[:100]!r} does not chat.", status=400)
    return model


def _is_local(model: str, use: str, models: Models | None) -> bool:
    """Whether it is a local model by its own name, with or without ``local:``. The two that come as wheels may stand
    for whatever answers; of the others those that are on this machine."""
    from awsllm.store.catalogue import MODELS

    found = MODELS.get(model.removeprefix("local:"))
    if found is None or found.kind != use:
        return False
    return found.wheel is not None or models is None or models.knows(model)


def _check_known(model: str, models: Models | None) -> Profile:
    can = _profile(model)
    known = can.provider != "unknown" or model.startswith("arn:")
    if models is not None:
        known = models.knows(model) or (known and not models.strict)
    if not known:
        raise _no_model(model)
    return can


def _no_model(name: str) -> ModelNotFoundError:
    return ModelNotFoundError(f"The model {name[:100]!r} does not exist.")


def _profile(model: str) -> Profile:
    return profile("bedrock", f"openai.{model}" if model.startswith(_OPENAI_NAMES) else model)


def _headers() -> dict[str, str]:
    return {"Content-Type": JSON, "x-request-id": f"req_{secrets.token_hex(16)}"}
