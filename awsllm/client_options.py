"""What a client is made of: its options, its AWS sessions, its backends. What ``Client`` and ``AsyncClient`` share."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar, Unpack, cast

from awsllm.calls.options import check_number
from awsllm.calls.prepare import Repairs
from awsllm.errors import ConfigurationError
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
    from awsllm.calls.routed import GroupCall
    from awsllm.jumpstart.facade import JumpStart
    from awsllm.models.listing import AccountModels, ModelFilters
    from awsllm.policy.answers.semantic import SemanticCache
    from awsllm.policy.answers.stores import ResponseCache
    from awsllm.policy.breakers import CircuitState
    from awsllm.policy.budgets import BudgetOptions, CallBudget
    from awsllm.policy.configuration import Configuration
    from awsllm.policy.groups import Group
    from awsllm.policy.layers import Layers
    from awsllm.policy.routing import GroupRoutes
    from awsllm.policy.tags import CallMarks
    from awsllm.policy.usage_ledger import UsageLedger
    from awsllm.store import Store

B = TypeVar("B")
Options = TypeVar("Options", bound=Mapping[str, Any])

QUESTIONS_SHARE = 0.5
"""Of a call's timeout, what may be spent on asking which model an ARN is."""


class Backends(Generic[B]):
    """The backends of one client, made at first use, once: one a scheme, and one more for each region and role that
    references name, since an ARN is called where it says it is."""

    def __init__(self, make: Callable[[Reference], B], given: Mapping[str, B] | None) -> None:
        self._make = make
        self._given: dict[str, B] = dict(given or {})
        self._made: dict[tuple[str, str | None, str | None], B] = {}
        self._lock = threading.Lock()

    def __getitem__(self, reference: Reference) -> B:
        key = (reference.scheme, reference.region, reference.role)
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

    @property
    def _single(self) -> Any:
        """This client, making one attempt a call: what the calls of groups are made of."""
        single = self._one_attempt
        single._layers = self._layers  # which may have been asked for meanwhile
        return single

    @cached_property
    def _one_attempt(self) -> Any:
        from awsllm.calls.routed import single_attempt

        single = object.__new__(type(self))
        single._settings, single._backends = self._settings, self._backends
        single._policy = single_attempt(self._policy)
        return single

    def _group_call(self, group: Group, messages: Prompt, options: Mapping[str, Any]) -> GroupCall:
        from awsllm.calls.routed import GroupCall

        return GroupCall(group, self._settings.routes, self._policy, messages, options)

    def circuits(self) -> tuple[CircuitState, ...]:
        """The circuit breakers of the models that this client has called in groups."""
        return self._settings.routes.circuits()


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


# What boto3 calls them.
_RENAMED = {"region_name": "region", "profile_name": "profile", "boto3_session": "session", "config": "policy"}


_LAYERED = ("response_cache", "semantic_cache", "ledger", "tags")
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
    if (device := options.get("device")) is not None:
        from awsllm.backends.local.device import wanted

        wanted(device)
    if (precision := options.get("encoder_precision")) is not None:
        from awsllm.backends.local.encoders import check_precision

        check_precision(precision)


CONFIGURATION = "awsllm.toml"
CONFIGURATION_VARIABLE = "AWSLLM_CONFIG"


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


def _configured(given: Configuration | str | os.PathLike[str] | None) -> Configuration | None:
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

    return read(path)


def checked_policy(given: Policy | None) -> Policy:
    if given is not None and not isinstance(given, Policy):
        raise ConfigurationError(f"policy is a {type(given).__name__}; give awsllm.Policy(max_attempts=…)")
    return given or Policy()


class ClientSettings:
    """Where and how one client calls: its AWS session in a region (None: its own), and its transports' options."""

    def __init__(self, session: Callable[[str | None], AwsSession], options: ClientOptions) -> None:
        _check_options(options)
        configured = _configured(options.get("configuration"))
        self.configuration = configured
        own = {} if configured is None else {str(parse_reference(m)): price for m, price in configured.prices.items()}
        own |= {str(parse_reference(model)): price for model, price in options.get("prices", {}).items()}
        theirs = "bedrock" in options.get("backends", {})  # a given backend alone knows where it calls
        self.prices = Knowledge(own) if theirs else Knowledge(own, lambda: session(None).region, self._which)
        self.policy = configured.policy if configured is not None else None
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
        self._roles: dict[str, AssumedRole] = {}
        self._lock = threading.Lock()
        self._given = theirs
        self.given_schemes = frozenset(options.get("backends") or ())
        self._options: Mapping[str, Any] = options

    def region(self) -> str | None:
        """Where calls go that name no region; None where a given backend alone knows it."""
        return None if self._given else self.session(None).region

    def session_of(self, reference: Reference) -> AwsSession:
        """Who calls a model, and where: the client's session, or one of the role that the reference names."""
        if reference.role is None:
            return self.session(reference.region)
        from awsllm.aws.roles import AssumedRole, AssumedSession

        with self._lock:
            role = self._roles.get(reference.role)
            if role is None:
                role = AssumedRole(self.session(None), reference.role, name="awsllm", tags={})
                self._roles[reference.role] = role
        return AssumedSession(role, region=reference.region or self.session(None).region, endpoint_url=self._url)

    def named(self, model: Any) -> Any:
        """Who is meant by what a caller gives as the model: a reference as it is, or a group."""
        if type(model) is str:
            if ":" in model:
                return model
            found = None if self.configuration is None else self.configuration.named(model)
            return self._unnamed(model) if found is None else found
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

    def one(self, model: Any) -> Any:
        """``named``, for what one model alone can do."""
        found = self.named(model)
        if hasattr(found, "members"):
            if len(found.members) == 1:
                return found.members[0].reference
            raise ConfigurationError(
                "this takes one model, and a group is several: only chat moves from one to another"
            )
        return found

    @cached_property
    def routes(self) -> GroupRoutes:
        """What this client knows of the models of its groups."""
        from awsllm.policy.routing import GroupRoutes

        return GroupRoutes(self._region_or_none)

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
        return any(self._options.get(name) is not None for name in _LAYERED)

    def layers(self, embed: Any, *, awaited: bool) -> Layers:
        """What stands there; ``embed`` is the client's method, ``awaited`` says of which kind it is."""
        from awsllm.policy.layers import Layers

        return Layers(self.prices, _Callers(self), self._options, embed, awaited=awaited)

    def models(self, region: str | None, filters: ModelFilters) -> AccountModels:
        from awsllm.backends.bedrock.models import list_models

        return list_models(self.session(region), filters)

    def jumpstart(self, caller: Any) -> JumpStart:
        from awsllm.jumpstart.facade import JumpStart

        return JumpStart(self.session(None), caller=caller)

    def openai_route(self, endpoint: str, expires: int) -> OpenAIRoute:
        from awsllm.aws.tokens import openai_route

        reference = parse_reference(endpoint if ":" in endpoint else f"sagemaker:{endpoint}")
        return openai_route(self.session(reference.region), reference.model, expires=expires)


_LAYERING = threading.Lock()


class Layered(Generic[B]):
    """What both clients have of caches, ledgers and budgets: nothing, until one is asked for."""

    _settings: ClientSettings
    _backends: Backends[B]
    _layers: Layers | None = None
    _awaited: bool

    def _place(self, reference: Reference, marks: CallMarks | None = None) -> B:
        """The backend for a call, with what stands round it."""
        backend = self._backends[reference]
        return backend if self._layers is None else cast("B", self._layers.around(backend, reference, marks))

    def _layer(self) -> Layers:
        with _LAYERING:
            if self._layers is None:
                self._layers = self._settings.layers(cast("Any", self).embed, awaited=self._awaited)
            return self._layers

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

    def of(self, reference: Reference) -> str:
        if not self._has_session(reference):
            return "whoever gave the backend"
        from awsllm.policy.layers import caller_name

        session, service = self._settings.session(reference.region), _RUNTIMES[reference.scheme]
        keys, place = session.get_ready(service), session.endpoint(service)
        return caller_name(place.url, place.region, session.bearer_token() if keys is None else keys.access_key)

    def is_known(self, reference: Reference) -> bool:
        if not self._has_session(reference):
            return True
        return self._settings.session(reference.region).is_ready(_RUNTIMES[reference.scheme])

    def _has_session(self, reference: Reference) -> bool:
        """Not so local models, and what a given backend calls."""
        return reference.scheme in _RUNTIMES and reference.scheme not in self._settings.given_schemes


_RUNTIMES = {"bedrock": "bedrock-runtime", "sagemaker": "sagemaker-runtime"}


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
