"""OpenAI's and Anthropic's protocols in front of any model, for callers with keys.

    POST /v1/chat/completions, /v1/responses, /v1/completions, /v1/embeddings    as OpenAI's clients send them
    POST /v1/messages, /v1/messages/count_tokens                                as Anthropic's
    GET  /v1/models, /v1/models/NAME     the models that the key may call
    GET  /usage                          what the key has used, and what it may
    GET  /health                         200, for anybody

The same paths are answered below ``/openai`` and ``/anthropic``. What a client is told, in each protocol's own words,
is the server's (``server.surfaces``), and so are keys, limits and what they count (``server.metering``); here both
tables are in DynamoDB. A key is shown as a bearer token or in ``x-api-key``.

Under awsllm's own loop (``runtime``) a stream goes out as it comes; under AWS's client, and behind a front door that
does not stream, it is handed over when it is whole. A caller who leaves has used what was written until then. A
response is kept nowhere, so that ``previous_response_id`` is refused: another environment may be asked.

A function needs no code (``Handler: awsllm.lambdas.gateway.handler``), or one line, or a look at each request:

    from awsllm.lambdas.gateway import GatewayCall, gateway_handler

    def prepare(call: GatewayCall) -> Request:
        return replace(call.request, system=(Text(f"You answer {call.key.name}."),))

    handler = gateway_handler({"fast": "bedrock:amazon.nova-lite-v1:0"}, prepare=prepare)
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import replace as with_members
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, cast

from msgspec.structs import replace

from awsllm.aws.rpc import POLICY, Rpc, within
from awsllm.aws.session import AwsSession
from awsllm.backend import Attempt
from awsllm.client_settings import ClientSettings
from awsllm.errors import ConfigurationError, ServerError, ValidationError
from awsllm.lambdas import settings
from awsllm.lambdas.context import Handler, LambdaContext, seconds_left
from awsllm.lambdas.gateway_callers import Callers, GatewayGroups, marked, places_of
from awsllm.lambdas.http.background import Pump, SilenceError
from awsllm.lambdas.http.events import FrontReply, FrontRequest, is_too_long, write
from awsllm.lambdas.http.failures import Refusal
from awsllm.lambdas.http.handler import FrontLimits, behind_front_door, health, preflight
from awsllm.lambdas.http.sse import KEEP_ALIVE, SILENCE
from awsllm.lambdas.http.stream_head import StreamHead
from awsllm.lambdas.logs import LogMembers, log, of_error
from awsllm.lambdas.snapstart import Restorable, take_part
from awsllm.policy import stores
from awsllm.policy.configuration_file import configured
from awsllm.policy.keys import Key, KeyStore
from awsllm.policy.limits import Grant, Spent, UsageStore
from awsllm.policy.routing import GroupRoutes
from awsllm.server.account.refusals import UnauthenticatedError
from awsllm.server.exchanges import Exchange
from awsllm.server.mapping import Models, Table
from awsllm.server.metering import Meter, headers_of, stopped
from awsllm.server.places import BlockingPlaces
from awsllm.server.surfaces import dialects
from awsllm.server.work import Ask, Incoming, Reply, Stream, Work
from awsllm.types import ConverseRequest, GuardrailConfig, Request, Value

if TYPE_CHECKING:
    handler: Handler

_METHODS = ("POST", "GET")
_USAGE = "/usage"
_SILENT = object()
_OFF = ("0", "false", "no", "off")
_LOOKING_UP = 8.0  # seconds for one look into a table, all attempts together
_WRITING = 0.25  # seconds kept back for handing an answer over, once it is counted
_WRAPPER = "AWS_LAMBDA_EXEC_WRAPPER"


class GatewayCall(Value, frozen=True, kw_only=True):
    """A call that is about to be made: what is asked (its model is the caller's name of it), for whom, and the request
    of the front door."""

    request: Request[Any]
    key: Key
    front: FrontRequest


Prepare = Callable[[GatewayCall], Request[Any]]


def gateway_handler(
    models: Mapping[str, str] | None = None,
    *,
    client: Any = None,
    keys: KeyStore | None = None,
    usage: UsageStore | None = None,
    prepare: Prepare | None = None,
) -> Handler:
    """A handler that speaks OpenAI's and Anthropic's protocols.

    ``models`` are the names that callers may use, or patterns of names, with the references that answer them;
    ``prepare`` gives the request to make in a call's place, of a model that its key may call, and refuses one by
    raising an ``AwsllmError``. ``client``, ``keys`` and ``usage`` replace what the environment names. Raises
    ``ConfigurationError`` that names the variable.
    """
    streams = os.environ.get(_WRAPPER, "").endswith("awsllm-stream")

    def make() -> _Gateway:
        session, table = AwsSession(), _models(models)
        meter = _meter(table, keys, usage, session)
        return _Gateway(table, prepare or _as_it_is, meter, _callers(client, session, table), streams=streams)

    if client is not None:
        take_part(client)
    made = Restorable(make)

    def answer(front: FrontRequest, context: LambdaContext) -> Any:
        parts = made.value.parts(front, context)
        return parts if streams else _whole(front, parts, context)

    return behind_front_door(answer)


def _whole(front: FrontRequest, parts: Iterator[StreamHead | bytes], context: LambdaContext) -> Any:
    head: Any = next(parts)
    body = b"".join(part for part in parts if isinstance(part, bytes))
    headers = {name.lower(): value for name, value in head.headers.items()}
    written = write(front, FrontReply(head.status, headers, body, tuple(head.cookies)))
    if not is_too_long(written, front.door):
        return written
    log("ERROR", "the reply is longer than the front door passes on", context, door=front.door)
    why = ServerError(
        "The answer is longer than can be sent: ask for less.", code="InternalServerException", status=500
    )
    reply = dialects.failure(_incoming(front), why)
    theirs = {name.lower(): value for name, value in reply.headers.items()}
    return write(front, FrontReply(reply.status, {**headers, **theirs}, reply.body))


def _incoming(front: FrontRequest) -> Incoming:
    return Incoming(front.method, front.path, front.headers, front.body, peer=front.source_ip or "")


def _as_it_is(call: GatewayCall) -> Request[Any]:
    return call.request


def _models(given: Mapping[str, str] | None) -> Models:
    """The table of names, beside those of the function's awsllm.toml. Without one, all that Bedrock knows by its own
    ids: what may be called is then the function's role to say; or, where there is one model, that for every name."""
    table, names = dict(given or settings.mapping("AWSLLM_GATEWAY_MODELS")), settings.configured_names()
    if table:
        try:
            return Models(table=Table.of(table, strict=True, names=names), routed=True)
        except ConfigurationError as error:
            raise ConfigurationError(f"AWSLLM_GATEWAY_MODELS: {error.message}") from error
    everything = settings.model(None) if settings.text("AWSLLM_MODEL") else "bedrock:*"
    return Models(table=Table.of({"*": everything}, names=names), routed=True)


def _meter(models: Models, keys: KeyStore | None, usage: UsageStore | None, session: AwsSession) -> Meter:
    rpc = Rpc(session, policy=replace(POLICY, timeout=_LOOKING_UP))
    if keys is None:
        keys = stores.key_table(settings.required("AWSLLM_KEYS_TABLE"), rpc)
    if usage is None:
        usage = stores.usage_store(f"dynamodb:{settings.required('AWSLLM_USAGE_TABLE')}", rpc=rpc)
    return Meter(keys, usage, models, _region(session))


def _routes(session: AwsSession) -> GroupRoutes:
    """What is known of the members of groups; shared with the function's other processes, where its awsllm.toml says
    so."""
    routes, found = GroupRoutes(lambda: _region(session)), configured(None)
    if found is None or "shared" not in found.tables:
        return routes
    from awsllm.policy.shared_routes_stores import share

    return share(routes, found.tables["shared"])


def _callers(client: Any, session: AwsSession, models: Models) -> Callers:
    role = settings.text("AWSLLM_CALLER_ROLE")
    if client is not None:
        known = GatewayGroups(lambda: models.table.groups, client._settings.routes, client._observers)
        return Callers.together(BlockingPlaces(client._backends, client._policy, *known))
    observers = ClientSettings(lambda region: AwsSession(region=region) if region else session, {}).observers()
    groups = GatewayGroups(lambda: models.table.groups, _routes(session), observers)
    if role is not None:
        if not role.startswith("arn:"):
            raise ConfigurationError(f"AWSLLM_CALLER_ROLE is {role!r:.60}: it is the role's ARN")
        return Callers.assuming(role, session, groups)
    return Callers.together(places_of(lambda region: AwsSession(region=region) if region else session, groups=groups))


class _Gateway:
    """What all calls have in common. ``streams``: an answer goes out as it comes."""

    def __init__(self, models: Models, prepare: Prepare, meter: Meter, callers: Callers, *, streams: bool) -> None:
        self.models, self.prepare, self.meter, self.callers = models, prepare, meter, callers
        self.streams = streams
        self.limits = FrontLimits.of_environment()
        self.guardrail: GuardrailConfig | None = settings.guardrail()
        self.is_stopped = (settings.text("AWSLLM_KILL_SWITCH") or "0").lower() not in _OFF

    def parts(self, front: FrontRequest, context: LambdaContext) -> Iterator[StreamHead | bytes]:
        """The head of a reply, then its body, as it comes."""
        reply = self._without_key(front)
        if reply is not None:
            yield StreamHead(reply.status, reply.headers, reply.cookies)
            if reply.body and front.method != "HEAD":
                yield reply.body
            return
        yield from _Call(self, front, context).parts()

    def close(self) -> None:
        """Close idle connections; the next call opens new ones."""
        self.meter.close()
        self.callers.close()

    def _without_key(self, front: FrontRequest) -> FrontReply | None:
        if front.method == "OPTIONS":
            return preflight(front, self.limits, _METHODS)
        return health(front)


def _region(session: AwsSession) -> str:
    """Where models are priced."""
    try:
        return session.region
    except ConfigurationError:
        return "us-east-1"


class _Call:
    """One request and its reply."""

    def __init__(self, gateway: _Gateway, front: FrontRequest, context: LambdaContext) -> None:
        self._gateway, self._front, self._context = gateway, front, context
        self._seen = Exchange(_incoming(front))
        self._places: BlockingPlaces
        self._grant: Grant | None = None

    def parts(self) -> Iterator[StreamHead | bytes]:
        """Whatever becomes of it, what was used is counted before the last part has been taken: then Lambda may halt
        the function."""
        try:
            yield from filter(None, self._answered())
        finally:
            self._end()

    def _answered(self) -> Iterator[StreamHead | bytes]:
        try:
            with within(seconds_left(self._context)):
                work = self._begun()
            if isinstance(work, Stream):
                attempt = self._attempt()
                yield from self._streamed(work, attempt)
                return
            reply = work if isinstance(work, Reply) else self._asked(work, self._attempt())
        except Exception as error:
            reply = self._failed(error)
        yield self._head(reply.status, reply.headers)
        if self._front.method != "HEAD":
            yield reply.body

    # --- before a model is called ------------------------------------------------------------------------------------

    def _begun(self) -> Work:
        """What is asked for, once the caller may ask it. Raises the refusal."""
        gateway, front = self._gateway, self._front
        if gateway.is_stopped:
            raise stopped("All calls are")
        _check_body(gateway.limits, front)
        incoming = self._seen.incoming
        key, _ = gateway.meter.shown(incoming.headers)
        if key is None:
            raise UnauthenticatedError("The API key is missing or wrong.", code="AccessDeniedException", status=403)
        self._seen.caller = key.id
        if front.path.rstrip("/") == _USAGE and front.method == "GET":
            return gateway.meter.told(key)
        gateway.meter.check_running(key)
        incoming = with_members(incoming, models=gateway.models, allows=key.allows, keeps=False)
        self._seen.incoming = incoming
        work = self._prepared(dialects.plan(incoming), key)
        if not isinstance(work, Reply):
            self._seen.request = work.request
        self._places = gateway.callers.places(key)
        self._grant = gateway.meter.admit(key, work, incoming)
        return work

    def _prepared(self, work: Work, key: Key) -> Work:
        """The work with what the deployment adds to its request."""
        if isinstance(work, Reply):
            return work
        gateway = self._gateway
        request = gateway.prepare(GatewayCall(request=work.request, key=key, front=self._front))
        if isinstance(request, ConverseRequest) and gateway.guardrail is not None:
            request = replace(request, guardrail_config=gateway.guardrail)
        target = gateway.models.target(request) or ""
        told: Any = marked(request, target, key, self._context.aws_request_id)
        return with_members(work, request=told)

    def _attempt(self) -> Attempt:
        return Attempt(deadline=time.monotonic() + seconds_left(self._context))

    # --- the model ---------------------------------------------------------------------------------------------------

    def _asked(self, work: Ask[Any], attempt: Attempt) -> Reply:
        response = self._places.ask(self._gateway.models.rename(work.request), attempt)
        self._seen.response = response
        return work.encode(response)

    def _streamed(self, work: Stream[Any], attempt: Attempt) -> Iterator[StreamHead | bytes]:
        """The first event is awaited before the head is given, as long as nothing on the way would close the
        connection, so that what fails until then has a status. Raises that."""
        request: Any = self._gateway.models.rename(work.request)
        with closing(self._events(lambda: self._places.stream(request, attempt))) as events:
            first = list(islice(events, 1))
            yield self._head(200, work.headers)
            yield from self._pieces(work, chain(first, events))

    def _events(self, start: Callable[[], Iterator[Any]]) -> Generator[Any, None, None]:
        """The model's events, and where they go out as they come a ``_SILENT`` for each time in which there is none."""
        if not self._gateway.streams:
            with closing(cast("Generator[Any, None, None]", start())) as events:
                yield from events
            return
        pump: Pump[Any] = Pump(start)
        try:
            while True:
                try:
                    event = pump.next(SILENCE)
                except SilenceError:
                    event = _SILENT
                if event is None:
                    return
                yield event
        finally:
            pump.close()

    def _pieces(self, work: Stream[Any], events: Iterator[Any]) -> Iterator[bytes]:
        try:
            for event in events:
                if event is _SILENT:
                    yield KEEP_ALIVE
                    continue
                self._seen.saw(event)
                yield work.encoder.event(event)
            last = work.encoder.end()
        except Exception as error:
            self._seen.error = error
            last = work.encoder.failure(error)
        yield last

    # --- the reply ---------------------------------------------------------------------------------------------------

    def _head(self, status: int, headers: Mapping[str, str]) -> StreamHead:
        self._seen.status = status
        limits = headers_of(self._grant, self._front.path) if self._grant is not None else {}
        request = {"x-amzn-RequestId": self._context.aws_request_id}
        return StreamHead(status, {**request, **headers, **limits, **self._gateway.limits.cors(self._front)})

    def _failed(self, error: Exception) -> Reply:
        self._seen.error = error
        reply = dialects.failure(self._seen.incoming, error)
        return with_members(reply, status=413) if getattr(error, "status", None) == 413 else reply

    def _end(self) -> None:
        spent = self._settled()
        seen, error = self._seen, self._seen.error
        members: LogMembers = {"door": self._front.door, "method": self._front.method, "status": seen.status}
        if error is not None:
            members.update(of_error(error))
        if seen.caller is not None:
            members["item"] = f"key {seen.caller}"
        if seen.request is not None:
            members["model"] = seen.request.model[:200]
        if spent is not None:
            members["input_tokens"], members["output_tokens"] = spent.input + spent.cached, spent.output
            members["cost"] = spent.cost
        seen.end()
        members["seconds"] = round(seen.seconds or 0.0, 3)
        level = "INFO" if error is None else "ERROR" if seen.status >= 500 or seen.status == 200 else "WARNING"
        log(level, {"INFO": "answered", "WARNING": "refused"}.get(level, "failed"), self._context, **members)

    def _settled(self) -> Spent | None:
        """What was used, counted; None where nothing was taken. The answer has been given, and is not spoilt by what
        cannot be counted, which the log tells."""
        if self._grant is None:
            return None
        left = self._context.get_remaining_time_in_millis() / 1000 - _WRITING
        try:
            with within(left):
                return self._gateway.meter.settle(self._grant, self._seen)
        except Exception as error:
            log("ERROR", "a call could not be counted", self._context, **of_error(error))
            return None


def _check_body(limits: FrontLimits, front: FrontRequest) -> None:
    """Raise ``ValidationError`` for a body over the limit."""
    try:
        limits.check_body(front.body)
    except Refusal as error:
        raise ValidationError(error.message, code="RequestEntityTooLargeException", status=413) from None


def __getattr__(name: str) -> Any:
    """``handler``, made of the environment when Lambda looks for it."""
    if name != "handler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()["handler"] = made = gateway_handler()
    return made
