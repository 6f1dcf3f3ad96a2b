"""What a client is made of: its AWS sessions, its backends, and what it has beside them by its options."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from awsllm.calls.prepare import Repairs
from awsllm.client_options import TRANSPORT_OPTIONS, ClientOptions, check_options, unknown_scheme
from awsllm.errors import AwsllmError, ConfigurationError
from awsllm.models.knowledge import Knowledge
from awsllm.models.references import Reference, parse_reference
from awsllm.policy.configuration_file import configured

if TYPE_CHECKING:
    from awsllm.aws.roles import AssumedRole
    from awsllm.aws.session import AwsSession
    from awsllm.aws.tokens import OpenAIRoute
    from awsllm.backend import AsyncBackend, Backend
    from awsllm.jobs.batch.caller import BatchCaller
    from awsllm.jumpstart.facade import JumpStart
    from awsllm.models.listing import AccountModels, ModelFilters
    from awsllm.policy.call_log.call_log import CallLog
    from awsllm.policy.layers import Layers
    from awsllm.policy.limiting.registry import ClientLimits
    from awsllm.policy.observers import Observer, Observers
    from awsllm.policy.routing import GroupRoutes

B = TypeVar("B")
Options = TypeVar("Options", bound=Mapping[str, Any])

QUESTIONS_SHARE = 0.5
"""Of a call's timeout, what may be spent on asking which model an ARN is."""
_LAYERED = ("response_cache", "semantic_cache", "ledger", "tags", "session_tags", "profiles")
TELEMETRY_VARIABLE = "AWSLLM_TELEMETRY"
LOG_VARIABLE = "AWSLLM_LOG"


class Backends(Generic[B]):
    """The backends of one client, made at first use, once: one a scheme, and one more for each region and role that
    references name, since an ARN is called where it says it is."""

    def __init__(self, make: Callable[[Reference], B], given: Mapping[str, B] | None) -> None:
        self._make = make
        self._given: dict[str, B] = dict(given or {})
        self._made: dict[tuple[Any, ...], B] = {}
        self._lock = threading.Lock()

    def __getitem__(self, reference: Reference) -> B:
        key = (reference.scheme, reference.region, reference.role, *reference.session_tags)
        backend = self._given.get(reference.scheme) or self._made.get(key)
        if backend is None:
            with self._lock:
                backend = self._made.get(key)
                if backend is None:
                    backend = self._made[key] = self._make(reference)
        return backend

    def drain(self) -> list[B]:
        """The backends to close: those made here. Given ones stay, open: they are the giver's, and what is called after
        a close must not go elsewhere."""
        with self._lock:
            made, self._made = self._made, {}
        return list(made.values())


class ClientSettings:
    """Where and how one client calls: its AWS session in a region (None: its own), and its transports' options."""

    def __init__(self, session: Callable[[str | None], AwsSession], options: ClientOptions) -> None:
        check_options(options)
        found = configured(options.get("configuration"))
        self.configuration = found
        own = {} if found is None else {str(parse_reference(m)): price for m, price in found.prices.items()}
        own |= {str(parse_reference(model)): price for model, price in options.get("prices", {}).items()}
        theirs = "bedrock" in options.get("backends", {})  # a given backend alone knows where it calls
        self.prices = Knowledge(own) if theirs else Knowledge(own, lambda: session(None).region, self._which)
        self.policy = found.policy if found is not None else None
        self._timeout = self.policy.timeout if self.policy else None
        self.store = options.get("store")
        self.local: dict[str, Any] = {name: options.get(name) for name in ("device", "encoder_precision")}
        self.formats = options.get("formats")
        self.transport: dict[str, Any] = {name: value for name, value in options.items() if name in TRANSPORT_OPTIONS}
        self.session = session
        self.renew: Callable[[], None] = getattr(session, "cache_clear", lambda: None)
        """Find credentials and configuration anew, in the transports that are made from now on."""
        self.repairs = Repairs()
        self._url: str | None = None
        self._who: Hashable = ()
        self._roles: dict[tuple[Any, ...], AssumedRole] = {}
        self._lock = threading.Lock()
        self._given = theirs
        self.given_schemes = frozenset(options.get("backends") or ())
        said = {} if found is None else found.tables
        self._options: Mapping[str, Any] = {**said, **options} if said else options

    def region(self) -> str | None:
        """Where calls go that name no region; None where a given backend alone knows it."""
        return None if self._given else self.session(None).region

    def session_of(self, reference: Reference) -> AwsSession:
        """Who calls a model, and where: the client's session, or one of the role that the reference names."""
        arn = self.role_of(reference)
        if arn is None:
            return self.session(reference.region)
        from awsllm.aws.roles import AssumedRole, AssumedSession

        with self._lock:
            role = self._roles.get((arn, reference.session_tags))
            if role is None:
                role = AssumedRole(self.session(None), arn, name="awsllm", tags=dict(reference.session_tags))
                self._roles[arn, reference.session_tags] = role
        return AssumedSession(role, region=reference.region or self.session(None).region, endpoint_url=self._url)

    def role_of(self, reference: Reference) -> str | None:
        """The role as which a model is called; None: the session's own rights."""
        return reference.role or self._options.get("role")

    def named(self, model: Any, *, is_endpoint: bool = False) -> Any:
        """Who is meant by what a caller gives as the model: a reference as it is, or a group. An endpoint needs no
        scheme."""
        if type(model) is str:
            if ":" in model:
                return model
            found = None if self.configuration is None else self.configuration.named(model)
            if found is None:
                return model if is_endpoint else self._unnamed(model)
            return found
        if self.configuration is None and hasattr(model, "models"):
            return model
        from awsllm.policy.groups import group_of

        group = group_of(model)
        if group is None:
            return model
        return group if self.configuration is None else self.configuration.resolved(group)

    def _unnamed(self, model: str) -> str:
        names = () if self.configuration is None else self.configuration.names()
        if names and "/" not in model and "." not in model:
            raise ConfigurationError(f"{model!r} is no name of {self.configuration.path}: there are {', '.join(names)}")  # type: ignore[union-attr]
        return model  # whose reader says what may be meant

    def one(self, model: Any, *, is_endpoint: bool = False) -> str:
        """``named``, for what one model alone can do: a reference, as a text or read."""
        found = self.named(model, is_endpoint=is_endpoint)
        if hasattr(found, "members"):
            if len(found.members) == 1:
                return cast("str", found.members[0].reference)
            raise ConfigurationError("this takes one model, and a group is several")
        return cast("str", found)

    def each(self, model: Any, options: Options) -> list[tuple[Any, Options]]:
        """Each of the models that may be meant, with its options."""
        found = self.named(model)
        if not hasattr(found, "members"):
            return [(found, options)]
        return [(one.reference, cast("Options", {**options, **one.options})) for one in found.members]

    def with_references(self, options: Options) -> Options:
        """A call's options, with references where those that are models are named by aliases."""
        if self.configuration is None:
            return options
        aliases, models = self.configuration.aliases, ("model", "rerank")
        meant = {key: aliases[name] for key in models if isinstance(name := options.get(key), str) and name in aliases}
        return cast("Options", {**options, **meant}) if meant else options

    @cached_property
    def routes(self) -> GroupRoutes:
        """What this client knows of the models of its groups."""
        from awsllm.policy.routing import GroupRoutes

        routes, shared = GroupRoutes(self._region_or_none), self._options.get("shared")
        if shared is None:
            return routes
        from awsllm.policy.shared_routes_stores import share

        return share(routes, shared)

    def close(self) -> None:
        """Close what is shared with other processes."""
        routes: GroupRoutes | None = self.__dict__.get("routes")
        if routes is not None and routes.shared is not None:
            routes.shared.close()

    def _region_or_none(self) -> str | None:
        try:
            return self.region()
        except ConfigurationError:  # none is configured
            return None

    def _which(self, reference: Reference) -> tuple[str | None, str | None]:
        from awsllm.backends.bedrock.models import resolve

        return resolve(self.session_of(reference), reference.model)

    def learn(self, model: str, options: Options) -> Options:
        """Ask which model an ARN is, for a share of the call's timeout at most, and give the options with what is
        left of it. A network that has Bedrock's runtime and not its control plane answers that question never."""
        timeout = options.get("timeout")
        bound = _Bound(self._timeout if timeout is None else timeout)
        if bound.seconds is None:
            self.prices.learn(model)
            return options
        from awsllm.aws.errand import within

        try:
            within(lambda: self.prices.learn(model), bound.seconds, self._question(model))
        except TimeoutError:
            self.prices.gave_up(model)
        return bound.left(options)

    async def learn_aside(self, model: str, options: Options) -> Options:
        """The same, awaited; boto3 blocks, so it asks in a thread."""
        import asyncio

        timeout = options.get("timeout")
        bound = _Bound(self._timeout if timeout is None else timeout)
        if bound.seconds is None:
            await asyncio.to_thread(self.prices.learn, model)
            return options
        from awsllm.aws.errand import aside

        try:
            await asyncio.wait_for(aside(lambda: self.prices.learn(model), self._question(model)), bound.seconds)
        except TimeoutError:
            self.prices.gave_up(model)
        return bound.left(options)

    def _question(self, model: str) -> Hashable:
        return ("which model", id(self.prices), model)

    def are_layered(self) -> bool:
        """Whether its options ask for something that stands round the client's backends."""
        return self._has_limits() or any(self._options.get(name) is not None for name in _LAYERED)

    def _has_limits(self) -> bool:
        return self._options.get("limits") is not None or bool(self.configuration and self.configuration.limits)

    def _limits(self) -> ClientLimits | None:
        """Those of the configuration, and over them the client's own."""
        if not self._has_limits():
            return None
        from awsllm.policy.limiting.limits import checked_limits
        from awsllm.policy.limiting.registry import ClientLimits, LimitsCaller

        rows, asks = checked_limits(self._options.get("limits"))
        configured = self.configuration.limits if self.configuration else {}
        rows |= {name: limits for name, limits in configured.items() if name not in rows}
        caller = LimitsCaller(self._scope, self.region, self.session_of, self.prices)
        return ClientLimits(rows, self._references, caller, asks_quotas=asks)

    def _references(self, name: str) -> list[str] | None:
        """What a name of the configuration stands for."""
        found = None if self.configuration is None else self.configuration.named(name)
        if isinstance(found, str) or found is None:
            return None if found is None else [found]
        return [str(member.reference) for member in found.members]

    @property
    def _scope(self) -> Hashable:
        """Whose quotas they are: those of the profile, session and endpoint that this client calls with, or of the
        backends that it was given, which nobody else knows."""
        return object() if self.given_schemes else self._who

    def batch_caller(self, model: Any, converse: Any) -> BatchCaller:
        """What a batch of ``model`` needs of the client whose ``converse`` that is."""
        from awsllm.jobs.batch.caller import BatchCaller

        formats = self.formats or {}
        return BatchCaller(self.named(model), converse, self.prices, self.session, formats)

    def layers(self, embed: Any, *, awaited: bool) -> Layers:
        """What stands there; ``embed`` is the client's method, ``awaited`` says of which kind it is."""
        from awsllm.policy.layers import Layers

        return Layers(self.prices, _Callers(self), self._options, embed, awaited=awaited, limits=self._limits())

    def observers(self) -> Observers | None:
        """Who is told what happens to calls; None, as nearly always: nobody."""
        wanted = self._options.get("telemetry")
        said = None if self.configuration is None else self.configuration.tables.get("telemetry")
        if wanted is None or wanted is said:
            wanted = os.environ.get(TELEMETRY_VARIABLE) or said
        if wanted is False or wanted == "off":
            wanted = None
        log = self._call_log()
        if log is None and wanted is None:
            return None
        from awsllm.policy.observers import Observers
        from awsllm.policy.tags import checked_tags

        found: tuple[Observer, ...] = () if log is None else (log,)
        if wanted is not None:
            from awsllm.telemetry.choice import chosen

            found = (*chosen(wanted, self._options.get("redact")), *found)
        tags = checked_tags(self._options.get("tags"))
        return Observers(found, self.prices, tags, self._server) if found else None

    def _server(self, reference: Reference, operation: str) -> tuple[str, int] | None:
        """Host and port of who answers, where a transport of this client's own calls it."""
        service = _RUNTIMES.get(reference.scheme)
        if service is None or reference.scheme in self.given_schemes:
            return None
        from urllib.parse import urlsplit

        service = "bedrock-agent-runtime" if operation in _AGENT_RUNTIME else service
        try:
            url = urlsplit(self.session_of(reference).endpoint(service).url)
        except AwsllmError:  # the call itself will say it
            return None
        return (url.hostname, url.port or (443 if url.scheme == "https" else 80)) if url.hostname else None

    def _call_log(self) -> CallLog | None:
        given, named = self._options.get("log"), os.environ.get(LOG_VARIABLE)
        if given is False or (given is None and not named):
            return None
        from awsllm.policy.call_log.call_log import log_of

        return log_of(given, named, self._options.get("redact"))

    def models(self, region: str | None, filters: ModelFilters) -> AccountModels:
        from awsllm.backends.bedrock.models import list_models

        return list_models(self.session(region), filters)

    def jumpstart(self, caller: Any) -> JumpStart:
        from awsllm.jumpstart.facade import JumpStart

        return JumpStart(self.session(None), caller=caller)

    def openai_route(self, endpoint: str, expires: int) -> OpenAIRoute:
        from awsllm.aws.tokens import openai_route

        endpoint = self.one(endpoint, is_endpoint=True)
        reference = parse_reference(endpoint if ":" in str(endpoint) else f"sagemaker:{endpoint}")
        return openai_route(self.session(reference.region), reference.model, expires=expires)


class _Callers:
    """Who calls: other keys, another endpoint or region is another caller."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._named: dict[int, tuple[Any, Reference, str]] = {}
        """By the id of a reference, which is kept: with which keys it is called, it, and who that is."""

    def of(self, reference: Reference) -> str:
        service = _RUNTIMES.get(reference.scheme)
        if service is None or reference.scheme in self._settings.given_schemes:
            return "whoever gave the backend"
        session = self._settings.session(reference.region)
        keys, known = session.get_ready(service), self._named.get(id(reference))
        if keys is not None and known is not None and known[0] is keys and known[1] is reference:
            return known[2]
        from awsllm.policy.layers import caller_name

        place = session.endpoint(service)
        name = session.bearer_token() if keys is None else keys.access_key
        name = caller_name(place.url, place.region, name, self._settings.role_of(reference) or "")
        if len(self._named) >= _MOST_NAMED:
            self._named.clear()
        self._named[id(reference)] = (keys, reference, name)
        return name

    def is_known(self, reference: Reference) -> bool:
        if not self._has_session(reference):
            return True
        return self._settings.session(reference.region).is_ready(_RUNTIMES[reference.scheme])

    def _has_session(self, reference: Reference) -> bool:
        """Not so local models, and what a given backend calls."""
        return reference.scheme in _RUNTIMES and reference.scheme not in self._settings.given_schemes


_MOST_NAMED = 256
_RUNTIMES = {"bedrock": "bedrock-runtime", "sagemaker": "sagemaker-runtime"}
_AGENT_RUNTIME = frozenset(
    (
        *("retrieve", "retrieve_and_generate", "agentic_retrieve", "generate_query", "optimize_prompt"),
        *("invoke_agent", "invoke_inline_agent"),
    )
)


class _Bound:
    """How long a call may wait to learn which model an ARN is; ``seconds`` is None without a timeout."""

    def __init__(self, timeout: Any) -> None:
        is_one = isinstance(timeout, int | float) and timeout > 0  # what is none is refused with the call
        self._end = time.monotonic() + timeout if is_one else 0.0
        self.seconds = timeout * QUESTIONS_SHARE if is_one else None

    def left(self, options: Options) -> Options:
        if options.get("timeout") is None:  # it is the policy's, which is not an option of every call
            return options
        return cast("Options", {**options, "timeout": self._end - time.monotonic()})


def client_settings(
    region: str | None, profile: str | None, session: Any, endpoint_url: str | None, options: ClientOptions
) -> ClientSettings:
    @cache
    def make(other: str | None) -> AwsSession:
        from awsllm.aws.session import AwsSession

        return AwsSession(region=other or region, profile=profile, session=session, endpoint_url=endpoint_url)

    settings = ClientSettings(make, options)
    settings._url = endpoint_url
    settings._who = (profile or os.environ.get("AWS_PROFILE"), session, endpoint_url)
    return settings


def make_backend(settings: ClientSettings, reference: Reference) -> Backend:
    """What answers the references of a scheme in a region, called with these settings."""
    scheme = reference.scheme
    if scheme == "local":
        from awsllm.backends.local.backend import LocalBackend

        return LocalBackend(settings.store, **settings.local)
    from awsllm.aws.http import HttpTransport

    transport = HttpTransport(settings.session_of(reference), **settings.transport)
    if scheme == "bedrock":
        from awsllm.backends.bedrock.backend import BedrockBackend

        return BedrockBackend(transport)
    if scheme == "sagemaker":
        from awsllm.backends.sagemaker.backend import SageMakerBackend

        return SageMakerBackend(transport, formats=settings.formats)
    raise unknown_scheme(scheme)


def make_async_backend(settings: ClientSettings, reference: Reference) -> AsyncBackend:
    """``make_backend``, awaited."""
    scheme = reference.scheme
    if scheme == "local":
        from awsllm.backends.local.backend import AsyncLocalBackend, LocalBackend

        return AsyncLocalBackend(LocalBackend(settings.store, **settings.local))
    from awsllm.aws.aio import AsyncHttpTransport

    transport = AsyncHttpTransport(settings.session_of(reference), **settings.transport)
    if scheme == "bedrock":
        from awsllm.backends.bedrock.backend import AsyncBedrockBackend

        return AsyncBedrockBackend(transport)
    if scheme == "sagemaker":
        from awsllm.backends.sagemaker.backend import AsyncSageMakerBackend

        return AsyncSageMakerBackend(transport, formats=settings.formats)
    raise unknown_scheme(scheme)
