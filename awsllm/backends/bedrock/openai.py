"""Bedrock's OpenAI- and Anthropic-shaped routes as a door of chat.

Two endpoints have them. bedrock-runtime, which AWS recommends, has the Responses API and Chat Completions, and takes
neither answers in the background nor tools that the service runs, nor images by http URL. bedrock-mantle has those, the
Messages API, and models that nothing else has. Which routes a model has is its profile's (``Profile.routes``); the
first that can express the request is taken, bedrock-runtime's before bedrock-mantle's.

Nothing is kept by the service unless the caller says so: the Responses API would keep every response for 30 days, so
``store`` is sent as false, and thinking is asked for in the encrypted form that can be sent back.

Sources: docs.aws.amazon.com/bedrock/latest/userguide/inference-responses-api.html, …/inference-chat-completions.html
(guardrails as headers) and …/endpoints.html, 2026; BerriAI/litellm 1.110 (which tools and images each endpoint takes).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, cast

from msgspec.structs import replace

from awsllm.aws.call import Call, HttpRequest, HttpResponse, StreamCall
from awsllm.aws.endpoints import MANTLE
from awsllm.backends.bedrock.invoke import (
    GUARDRAIL_CONFIG,
    GUARDRAIL_MODES,
    invocation_headers,
    invoked,
)
from awsllm.backends.payloads import read_payload
from awsllm.backends.remote import event_stream, writable
from awsllm.errors import AwsllmError, UnsupportedError
from awsllm.models.profiles import Profile, profile
from awsllm.models.references import geography
from awsllm.types import (
    ContentBlock,
    ConverseRequest,
    ConverseResponse,
    CountTokensRequest,
    JsonValue,
    MessageStop,
    StreamEvent,
    SystemTool,
    ToolResult,
    ToolResultContent,
    Unknown,
)
from awsllm.wire import body as bodies
from awsllm.wire.body import Chat, ChunkDecoder, Context, Settings
from awsllm.wire.converse.foreign import without_responses
from awsllm.wire.converse.history import Notes
from awsllm.wire.framing import FramingDecoder
from awsllm.wire.model_stream import GUARDRAIL_ACTION
from awsllm.wire.openai.errors import decode_error
from awsllm.wire.reading import JSON

SSE = "text/event-stream"
_RUNTIME = "bedrock-runtime"
_PLAIN = Settings()
# What says that the service shall keep a response, or go on from one that it kept.
_STATEFUL = frozenset(("store", "previous_response_id", "conversation", "background"))
_ENCRYPTED = ["reasoning.encrypted_content"]


class _Route(NamedTuple):
    """``path`` is under the model's own path where it begins without a slash; ``body`` is a module and a name."""

    service: str
    path: str
    body: tuple[str, str]

    @property
    def chat(self) -> Chat:
        return cast("Chat", bodies.load(*self.body).chat)


_RESPONSES = ("awsllm.wire.openai.responses.body", "openai-responses")
_CHAT = ("awsllm.wire.openai.hosted", "openai-hosted")
_MESSAGES = ("awsllm.wire.anthropic.body", "anthropic")
_ROUTES: dict[str, _Route] = {  # in the order in which they are tried
    "openai_responses": _Route(_RUNTIME, "/openai/v1/responses", _RESPONSES),
    "openai_chat": _Route(_RUNTIME, "/openai/v1/chat/completions", _CHAT),
    "mantle_responses": _Route(MANTLE, "responses", _RESPONSES),
    "mantle_chat": _Route(MANTLE, "chat/completions", _CHAT),
    "mantle_messages": _Route(MANTLE, "/anthropic/v1/messages", _MESSAGES),
}
# Tools that bedrock-runtime takes, by the words of its own refusal.
_RUNTIME_TOOLS = frozenset(("function", "mcp", "custom", "apply_patch", "namespace", "tool_search", "computer"))


def converse_call(request: ConverseRequest) -> Call[ConverseResponse]:
    http, chat, context = _prepared(request, stream=False)

    def decode(response: HttpResponse) -> ConverseResponse:
        own = replace(context, request_id=_request_id(response))
        return invoked(chat.decode_response(read_payload(response), own), response)

    return Call(http, decode, read_error)


def converse_stream_call(request: ConverseRequest) -> StreamCall[StreamEvent]:
    http, chat, context = _prepared(request, stream=True)
    is_guarded = request.guardrail_config is not None

    def decoder(head: HttpResponse) -> _Events:
        own = replace(context, request_id=_request_id(head))
        return _Events(chat.stream_decoder(own), is_guarded=is_guarded)

    return StreamCall(http, event_stream(decoder, SSE), read_error)


def read_error(response: HttpResponse) -> AwsllmError:
    return decode_error(response.status, response.headers, response.body)


def check_counted(request: CountTokensRequest) -> None:
    """Raise ``UnsupportedError`` for a model that Converse's counting does not know: the routes have none."""
    if "converse" not in profile("bedrock", request.model, request.family).routes_of(request.model):
        raise UnsupportedError(
            f"tokens of {request.model} are not counted before a call: its routes have no such operation; "
            "response.usage tells them after it"
        )


def _request_id(response: HttpResponse) -> str | None:
    return response.request_id or response.headers.get("x-request-id") or response.headers.get("request-id")


# --- which route -----------------------------------------------------------------------------------------------------


def _prepared(request: ConverseRequest, *, stream: bool) -> tuple[HttpRequest, Chat, Context]:
    """What is sent, by the first route that can express it. Raises what the first of them lacks."""
    can = profile("bedrock", request.model, request.family)
    refusals: list[UnsupportedError] = []
    for name in _candidates(request, can):
        route = _ROUTES[name]
        chat, notes = route.chat, Notes()
        try:
            own = _for_route(request, route, can, notes)
            with writable():
                payload = chat.encode_request(own, _PLAIN, stream=stream)
        except UnsupportedError as error:
            refusals.append(error)
            continue
        path = route.path if route.path.startswith("/") else f"{can.mantle_path}/{route.path}"
        headers = {"Content-Type": payload.content_type, "Accept": SSE if stream else JSON}
        headers |= _headers(request, route)
        http = HttpRequest(route.service, "POST", path, headers, payload.body)
        return http, chat, Context(request=own, warnings=(*notes.lines(), *chat.warnings(own, _PLAIN)))
    raise refusals[0]


def _headers(request: ConverseRequest, route: _Route) -> Mapping[str, str]:
    if route.body == _MESSAGES:
        from awsllm.wire.anthropic.body import api_headers

        return api_headers(request)
    return invocation_headers(request.guardrail_config, None, None, None)


def _candidates(request: ConverseRequest, can: Profile) -> list[str]:
    """The model's routes. One that nobody knows is asked by Chat Completions, which most models have."""
    known = can.routes_of(request.model)
    found = [name for name in _ROUTES if name in known]
    if found:
        return found
    if not can.known or request.model.startswith("arn:"):
        return ["openai_chat"]
    elsewhere = sorted(name for name in _ROUTES if name in can.routes)
    hint = f"leave api out, or take {can.doors_of(request.model)}"
    if elsewhere:
        hint = f"the model has {', '.join(elsewhere)}, under its id {_other_id(request.model)} a geography before it"
    raise UnsupportedError(f"no OpenAI-shaped route takes this id: {hint}")


def _other_id(model: str) -> str:
    return "without" if geography(model) else "with"


def _for_route(request: ConverseRequest, route: _Route, can: Profile, notes: Notes) -> ConverseRequest:
    """The request as the route's codec takes it, and ``notes`` of what was left out. Raises ``UnsupportedError`` for
    what the endpoint refuses."""
    guardrail = request.guardrail_config
    if route.service == _RUNTIME:
        _check_runtime(request)
    elif guardrail is not None:
        raise UnsupportedError("guardrails: bedrock-mantle has none; call a model that bedrock-runtime has")
    if route.body != _RESPONSES:
        request = replace(request, messages=without_responses(request.messages, notes))
    extra = dict(request.extra or {})
    if route.body == _CHAT and guardrail is not None:  # headers say the rest
        if mode := guardrail.stream_processing_mode:
            extra[GUARDRAIL_CONFIG] = {"streamProcessingMode": GUARDRAIL_MODES.get(mode, mode)}
        return replace(request, guardrail_config=None, extra=extra or None)
    if route.body == _RESPONSES:
        if _STATEFUL.isdisjoint(extra):
            extra["store"] = False
        if extra.get("store") is False and can.known and can.thinking:
            extra.setdefault("include", _ENCRYPTED)
    return replace(request, extra=extra or None)


def _check_runtime(request: ConverseRequest) -> None:
    extra = request.extra or {}
    if extra.get("background"):
        raise _mantle_only("background answers", request)
    given = extra.get("tools")
    wires: list[JsonValue] = [*given] if isinstance(given, list) else []
    wires += [{"type": tool.name} for tool in request.tools if isinstance(tool, SystemTool)]
    for tool in wires:
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind not in _RUNTIME_TOOLS:
            raise _mantle_only(f"the tool {kind!r}, which the service runs,", request)
    for block in (block for message in request.messages for block in message.content):
        if any(map(_is_http_image, block.content if isinstance(block, ToolResult) else (block,))):
            raise UnsupportedError("an image by http URL is refused by bedrock-runtime: pass its bytes, or s3://…")


def _mantle_only(what: str, request: ConverseRequest) -> UnsupportedError:
    way = "the model's id without its geography" if geography(request.model) else "a model that it has"
    return UnsupportedError(f"{what} are bedrock-mantle's alone: name {way}, or leave it out")


def _is_http_image(block: ContentBlock | ToolResultContent) -> bool:
    value = block.value if isinstance(block, Unknown) else None
    url = value.get("image_url") if isinstance(value, dict) else None
    url = url.get("url") if isinstance(url, dict) else url
    return isinstance(url, str) and url.startswith(("http://", "https://"))


# --- what comes back -------------------------------------------------------------------------------------------------


class _Events:
    """The bytes of server-sent events to events, by the route's own decoder."""

    def __init__(self, chunks: ChunkDecoder, *, is_guarded: bool) -> None:
        self._framing = FramingDecoder()
        self._chunks = chunks
        self._is_guarded = is_guarded
        self._intervened = False

    def feed(self, data: bytes) -> Iterator[StreamEvent]:
        for value in self._framing.feed(data):
            yield from self._guarded(value) if self._is_guarded else self._chunks.push(value)

    def close(self) -> Iterator[StreamEvent]:
        self._framing.close()
        yield from self._chunks.finish(done=self._framing.done)

    def _guarded(self, value: JsonValue) -> Iterator[StreamEvent]:
        """What the guardrail did stands in a chunk beside the model's words."""
        if isinstance(value, dict) and value.get(GUARDRAIL_ACTION) == "INTERVENED":
            self._intervened = True
        for event in self._chunks.push(value):
            is_stop = self._intervened and isinstance(event, MessageStop)
            yield replace(event, stop_reason="guardrail_intervened") if is_stop else event
