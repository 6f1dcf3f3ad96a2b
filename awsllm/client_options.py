"""What a client is made of: its options, its AWS sessions, its backends. What ``Client`` and ``AsyncClient`` share."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cache, cached_property, wraps
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, ParamSpec, TypedDict, TypeVar, Unpack, cast

from awsllm.calls.options import check_number
from awsllm.calls.prepare import Repairs
from awsllm.errors import AwsllmError, ConfigurationError
from awsllm.models.knowledge import Knowledge
from awsllm.models.prices import Price
from awsllm.models.references import SCHEMES, Reference, parse_reference
from awsllm.policy.attempts import Policy

if TYPE_CHECKING:
    from pathlib import Path

    from awsllm.aws.roles import AssumedRole
    from awsllm.aws.session import AwsSession
    from awsllm.aws.tokens import OpenAIRoute
    from awsllm.backend import AsyncBackend, Backend
    from awsllm.backends.local.encoders import EncoderPrecision
    from awsllm.calls.content import Prompt
    from awsllm.calls.prepare import Prepared, Sending
    from awsllm.calls.routed import ChatCall, ChatGroups
    from awsllm.jobs.batch.caller import BatchCaller
    from awsllm.jumpstart.facade import JumpStart
    from awsllm.models.listing import AccountModels, ModelFilters
    from awsllm.policy.answers.semantic import SemanticCache
    from awsllm.policy.answers.stores import ResponseCache
    from awsllm.policy.breakers import CircuitState
    from awsllm.policy.budgets import BudgetOptions, CallBudget
    from awsllm.policy.call_log.call_log import CallLog
    from awsllm.policy.configuration import Configuration
    from awsllm.policy.groups import Group
    from awsllm.policy.layers import Layers
    from awsllm.policy.limiting.limits import Limits
    from awsllm.policy.limiting.registry import ClientLimits
    from awsllm.policy.observers import Observer, Observers
    from awsllm.policy.redaction import Redaction, TextHook
    from awsllm.policy.routing import GroupRoutes
    from awsllm.policy.shared_routes import RoutesStore
    from awsllm.policy.tags import CallMarks
    from awsllm.policy.usage_ledger import UsageLedger
    from awsllm.store import Store

B = TypeVar("B")
P = ParamSpec("P")
R = TypeVar("R")
Options = TypeVar("Options", bound=Mapping[str, Any])

QUESTIONS_SHARE = 0.5
"""Of a call's timeout, what may be spent on asking which model an ARN is."""


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


class GroupCalls:
    """What both clients have for calls of groups of models."""

    _settings: ClientSettings
    _policy: Policy
    _backends: Backends[Any]

    _layers: Any
    _awaited: bool
    _observers: Observers | None

    @cached_property
    def _single(self) -> Any:
        """This client, making one attempt a call: what the calls of groups are made of."""
        from awsllm.calls.routed import single_attempt

        single: Any = object.__new__(type(self))
        single._settings, single._backends = self._settings, self._backends
        single._policy, single._layers = single_attempt(self._policy), self._layers
        single._observers = self._observers
        return single

    @cached_property
    def _groups(self) -> ChatGroups:
        from awsllm.calls.routed import ChatGroups

        return ChatGroups(self._routes, self._policy, self._single.converse)

    @cached_property
    def _routes(self) -> GroupRoutes:
        routes = self._settings.routes
        if self._layers is not None and self._layers.limits is not None:
            routes.waits = self._layers.would_wait
        return routes

    def _chat_call(self, group: Group, messages: Prompt, options: Mapping[str, Any]) -> ChatCall:
        from awsllm.calls.routed import ChatCall

        return ChatCall(group, self._routes, self._policy, ((messages,), options), streamed=True)

    def _group_call(self, operation: str, group: Group, given: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        """What ``operation`` with a group in the model's place gives, or what is awaited for it."""
        from awsllm.calls import routed
        from awsllm.calls.fitting import fitting

        streamed = operation.endswith("_stream")
        group = fitting(operation.removesuffix("_stream"), group, options)
        call = routed.GroupCall(group, self._routes, self._policy, (given, options), streamed=streamed)
        method = getattr(self._single, operation)
        told = None
        if self._observers is not None and self._observers.listen():
            told = self._observers.group(group, options, operation)
        if streamed:
            return (routed.stream_async if self._awaited else routed.stream)(call, method, told)
        if told is not None:
            return (routed.told_async if self._awaited else routed.told)(call, method, told)
        return (routed.ask_async if self._awaited else routed.ask)(call, method)

    def circuits(self) -> tuple[CircuitState, ...]:
        """The circuit breakers of the models that this client has called in groups."""
        return self._settings.routes.circuits()


def grouped(method: Callable[P, R]) -> Callable[P, R]:
    """Decorator of a client's operation: its first argument, a model, may be a name of the configuration, or a group
    of models (``calls.routed``)."""
    function: Any = method
    operation: str = function.__name__
    first: str = function.__code__.co_varnames[1]

    def called(self: GroupCalls, given: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if not given and first not in options:
            return function(self, **options)  # which says what is missing
        model, given = (given[0], given[1:]) if given else (options.pop(first), ())
        found = self._settings.named(model, is_endpoint=first == "endpoint")
        if hasattr(found, "members"):
            return self._group_call(operation, found, given, options)
        return function(self, found, *given, **options)

    if function.__code__.co_flags & _IS_COROUTINE:

        @wraps(function)
        async def awaited(self: GroupCalls, /, *given: Any, **options: Any) -> Any:
            return await called(self, given, options)

        return cast("Callable[P, R]", awaited)

    @wraps(function)
    def named(self: GroupCalls, /, *given: Any, **options: Any) -> Any:
        return called(self, given, options)

    return cast("Callable[P, R]", named)


_IS_COROUTINE = 0x80  # inspect.CO_COROUTINE, whose module a cold start does without


class ClientOptions(TypedDict, total=False):
    """What a client takes beside where and how to call AWS.

    prices: a Price for each model reference that shall not be paid by the shipped table, or is not in it.
    store: where the local models are kept.
    device: what computes the local models: "cpu", "cuda", "cuda:1", "mps" or "auto". Unless it is given, the variable
        AWSLLM_DEVICE says it, else it is the CPU.
    backends: what replaces a scheme's backend, by "bedrock", "sagemaker" or "local". Who gives one closes it.
    configuration: names of models, groups, prices and a policy: the path of an awsllm.toml, or a Configuration. Without
        it, that is AWSLLM_CONFIG, ./awsllm.toml or the one in the user's configuration folder, if there is any.
    formats: what SageMaker containers speak, by ENDPOINT/COMPONENT, ENDPOINT or "*". What is not said is found out at
        an endpoint's first call, which needs up to five requests more.
    encoder_precision: what local models compute in that make embeddings or rerank: "float32", or "bfloat16", which
        takes about half the time on processors that have it, for vectors that differ a little.
    connect_timeout: seconds for reaching the service.
    read_timeout: seconds of the longest silence.
    max_connections: how many connections are kept open at most.
    response_cache: answers that are kept and given to equal requests: a ResponseCache, or a file's path.
    semantic_cache: the same for questions that mean the same: a SemanticCache.
    ledger: an SQLite file in which it is counted what calls used; `awsllm usage` shows it.
    tags: names and texts by which that is told apart; of Bedrock's requests they are metadata too.
    role: the ARN of a role that calls are made as; references may name others.
    session_tags: what AWS's bill tells the role's calls apart by: tags of its sessions, or the names of those of a
        call's tags that its session has; a session is opened for each set of their values.
    profiles: application inference profiles by tag and model, as `awsllm profiles` lists them: calls with the tag
        "team=search" of a model go through the ARN that stands there for both.
    telemetry: who is told what happens to calls: "otel" (OpenTelemetry), "log" (a line of JSON a call), "emf"
        (CloudWatch's metrics, in Lambda), an Observer, or a list of these; False or "off": nobody. Without it, that is
        what AWSLLM_TELEMETRY says, with commas between several, and then the configuration's [telemetry].
    log: where each call is kept whole, for `awsllm log`: the path of an SQLite file, True for the user's own, a
        CallLog, or False. Without it, that is what AWSLLM_LOG says, and then the configuration's [log].
    redact: what is taken out of content before it leaves for a log or a span: names of patterns ("email", "phone",
        "card" …), a function from text to text, a Redaction, or True for all patterns. Models are sent none of it.
    limits: the quotas that calls keep to: Limits by model reference, by a name of the configuration (of a group: each
        of its members'), or by a pattern (such as "bedrock:*claude*", for each model that it fits); one Limits is for
        each model there is. "quotas": those that Service Quotas has of the models that are called.
    shared: where processes tell each other how the models of groups do, and where conversations are at home: a file's
        path, for those of one machine, or redis://….
    """

    prices: Mapping[str, Price]
    store: Store | None
    device: str
    backends: Mapping[str, Any]
    configuration: Configuration | str | os.PathLike[str] | None
    formats: Mapping[str, str]
    encoder_precision: EncoderPrecision
    connect_timeout: float
    read_timeout: float
    max_connections: int
    response_cache: ResponseCache | str | Path | None
    semantic_cache: SemanticCache | None
    ledger: UsageLedger | str | Path | None
    tags: Mapping[str, str] | None
    role: str | None
    session_tags: Mapping[str, str] | Sequence[str] | None
    profiles: Mapping[str, Mapping[str, str]] | None
    telemetry: str | Observer | Sequence[str | Observer] | bool | None
    log: CallLog | str | Path | bool | None
    redact: Redaction | str | TextHook | Sequence[str | TextHook] | bool | None
    limits: Mapping[str, Limits] | Limits | Literal["quotas"] | None
    shared: str | Path | RoutesStore | None


# What boto3 calls them.
_RENAMED = {"region_name": "region", "profile_name": "profile", "boto3_session": "session", "config": "policy"}


_LAYERED = ("response_cache", "semantic_cache", "ledger", "tags", "session_tags", "profiles")
_TRANSPORT = ("connect_timeout", "read_timeout", "max_connections")


def _check_options(options: ClientOptions) -> None:
    """``ConfigurationError`` for an option that there is not, or that is not what it is to be."""
    if unknown := options.keys() - ClientOptions.__annotations__.keys():
        name = min(unknown)
        hint = f": here it is {_RENAMED[name]!r}" if name in _RENAMED else ""
        raise ConfigurationError(f"unknown client option {name!r}{hint}")
    for name in _TRANSPORT:
        check_number(name, options.get(name), whole=name == "max_connections", kind=ConfigurationError)
    for name in ("prices", "formats", "backends"):
        if not isinstance(options.get(name) or {}, Mapping):
            raise ConfigurationError(f"{name} is a mapping, not a {type(options.get(name)).__name__}")
    for model, price in (options.get("prices") or {}).items():
        if not isinstance(price, Price):
            raise ConfigurationError(f"the price of {model} is {price!r:.40}; give awsllm.Price(input=…, output=…)")
    for scheme in options.get("backends") or {}:
        if scheme not in SCHEMES:
            raise unknown_scheme(scheme)
    if (role := options.get("role")) is not None:
        from awsllm.aws.iam import check_role

        check_role(role)
    if (redact := options.get("redact")) is not None:  # where nothing is told content, too: a wrong name is no guard
        from awsllm.policy.redaction import checked_redaction

        checked_redaction(redact)
    _check_local(options)


def _check_local(options: ClientOptions) -> None:
    if (device := options.get("device")) is not None:
        from awsllm.backends.local.device import wanted

        wanted(device)
    if (precision := options.get("encoder_precision")) is not None:
        from awsllm.backends.local.encoders import check_precision

        check_precision(precision)


CONFIGURATION = "awsllm.toml"
CONFIGURATION_VARIABLE = "AWSLLM_CONFIG"
TELEMETRY_VARIABLE = "AWSLLM_TELEMETRY"
LOG_VARIABLE = "AWSLLM_LOG"


def find_configuration() -> str | None:
    """Where the configuration is: what AWSLLM_CONFIG names (empty: nowhere), ``awsllm.toml`` in the working directory,
    or in the user's configuration folder; None where there is none."""
    named = os.environ.get(CONFIGURATION_VARIABLE)
    if named is not None:
        return named or None
    if os.path.isfile(CONFIGURATION):
        return CONFIGURATION
    if os.name == "nt":
        folder = os.environ.get("APPDATA") or os.path.expanduser("~/AppData/Roaming")
    else:
        folder = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    path = os.path.join(folder, "awsllm", CONFIGURATION)
    return path if os.path.isfile(path) else None


def is_configuration_named(path: str) -> bool:
    """Whether somebody chose the configuration that was found: one that only lies in the working directory may be of a
    stranger's repository. A function's is of its package."""
    if path != CONFIGURATION or os.environ.get(CONFIGURATION_VARIABLE) is not None:
        return True
    package = os.environ.get("LAMBDA_TASK_ROOT")
    return package is not None and os.path.realpath(package) == os.path.realpath(os.curdir)


def configured(given: Configuration | str | os.PathLike[str] | None) -> Configuration | None:
    """The configuration that is given, or found; what reads one is loaded where there is one."""
    if given is not None and not isinstance(given, str | os.PathLike):
        from awsllm.policy.configuration import Configuration

        if not isinstance(given, Configuration):
            raise ConfigurationError(f"configuration is a {type(given).__name__}; give a path, or a Configuration")
        return given
    path = find_configuration() if given is None else given
    if path is None:
        return None
    from awsllm.policy.configuration import read

    return read(path, is_named=given is not None or is_configuration_named(str(path)))


def model_named(name: str) -> Reference:
    """The model of a reference, or of an alias of the configuration."""
    found = configured(None) if ":" not in name else None
    stands = None if found is None else found.named(name)
    if stands is not None and not isinstance(stands, str):
        raise ConfigurationError(f"{name!r} is a group of {CONFIGURATION}: name one model here")
    return parse_reference(stands or name)


def logged_by_configuration() -> Any:
    """The configuration's [log]: what `awsllm log` looks at that is told nothing else."""
    found = configured(None)
    return None if found is None else found.tables.get("log")


def checked_policy(given: Policy | None) -> Policy:
    if given is not None and not isinstance(given, Policy):
        raise ConfigurationError(f"policy is a {type(given).__name__}; give awsllm.Policy(max_attempts=…)")
    return given or Policy()


class ClientSettings:
    """Where and how one client calls: its AWS session in a region (None: its own), and its transports' options."""

    def __init__(self, session: Callable[[str | None], AwsSession], options: ClientOptions) -> None:
        _check_options(options)
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
        self.transport: dict[str, Any] = {name: value for name, value in options.items() if name in _TRANSPORT}
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


_LAYERING = threading.Lock()


class Layered(Generic[B]):
    """What both clients have of caches, ledgers and budgets: nothing, until one is asked for."""

    _settings: ClientSettings
    _backends: Backends[B]
    _policy: Policy
    _layers: Layers | None = None

    def __reduce__(self) -> NoReturn:
        """Connections, locks and counts are a process's own."""
        raise TypeError(
            f"a client ({type(self).__name__}) cannot be pickled or copied: make one in each process, or fork"
        )

    _awaited: bool

    def _place(self, reference: Reference, marks: CallMarks | None = None) -> B:
        """The backend for a call, with what stands round it."""
        if self._layers is None:
            return self._backends[reference]
        return cast("B", self._layers.around(self._backends, reference, marks))

    def _hedged(self, backend: B, call: Prepared, sending: Sending) -> B:
        """The backend of a chat's request, where a second attempt may be made beside one that is late; a model on this
        machine would only be slower for it."""
        if call.reference.scheme == "local":
            return backend
        from awsllm.policy.hedging import AsyncHedgedBackend, HedgedBackend

        kind: Any = AsyncHedgedBackend if self._awaited else HedgedBackend
        return cast("B", kind(backend, self._policy.hedging, str(call.reference), sending.tried))

    def _layer(self) -> Layers:
        with _LAYERING:
            if self._layers is None:
                self._layers = self._settings.layers(cast("Any", self).embed, awaited=self._awaited)
                if (single := self.__dict__.get("_single")) is not None:
                    single._layers = self._layers
            return self._layers

    def _limits_of(self, reference: Reference) -> Limits | None:
        """What is said of a model's quotas."""
        limits = None if self._layers is None else self._layers.limits
        return None if limits is None else limits.limits_of(reference)

    def budget(
        self, usd: float | None = None, tokens: int | None = None, **options: Unpack[BudgetOptions]
    ) -> CallBudget:
        """What the calls within ``with client.budget(usd=1.00):`` may spend together: US dollars, tokens, or both.

        A call that might spend more than is left raises ``BudgetExceededError`` before it is sent. Budgets may stand
        within each other; asyncio tasks, threads and the functions of a tool loop are under them too. What is started
        and goes on by itself (videos, spoken conversations, jobs, endpoints) is not. Options: see ``BudgetOptions``.
        """
        return self._layer().budget(usd, tokens, options)


class _Callers:
    """Who calls: other keys, another endpoint or region is another caller."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._named: dict[Reference, tuple[Any, str]] = {}  # by which keys, and how they are called

    def of(self, reference: Reference) -> str:
        if not self._has_session(reference):
            return "whoever gave the backend"
        from awsllm.policy.layers import caller_name

        session, service = self._settings.session(reference.region), _RUNTIMES[reference.scheme]
        keys, known = session.get_ready(service), self._named.get(reference)
        if keys is not None and known is not None and known[0] is keys:
            return known[1]
        place = session.endpoint(service)
        name = session.bearer_token() if keys is None else keys.access_key
        name = caller_name(place.url, place.region, name, self._settings.role_of(reference) or "")
        if len(self._named) >= _MOST_NAMED:
            self._named.clear()
        self._named[reference] = (keys, name)
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


def unknown_scheme(scheme: str) -> ConfigurationError:
    return ConfigurationError(f"no backend for {scheme!r}: there are bedrock, sagemaker and local")


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
