"""What a client is made of: its options, its AWS sessions, its backends. What ``Client`` and ``AsyncClient`` share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar, cast

from awsllm.calls.options import check_number
from awsllm.calls.prepare import Repairs
from awsllm.errors import ConfigurationError
from awsllm.models.knowledge import Knowledge
from awsllm.models.prices import Price
from awsllm.models.references import SCHEMES, Reference, parse_reference
from awsllm.policy.attempts import Policy

if TYPE_CHECKING:
    from awsllm.aws.session import AwsSession
    from awsllm.aws.tokens import OpenAIRoute
    from awsllm.backend import AsyncBackend, Backend
    from awsllm.jumpstart.facade import JumpStart
    from awsllm.models.listing import AccountModels, ModelFilters
    from awsllm.store import Store

B = TypeVar("B")
Options = TypeVar("Options", bound=Mapping[str, Any])

QUESTIONS_SHARE = 0.5
"""Of a call's timeout, what may be spent on asking which model an ARN is."""


class Backends(Generic[B]):
    """The backends of one client, made at first use, once: one a scheme, and one more for each region that an ARN
    names, since an ARN is called where it says it is."""

    def __init__(self, make: Callable[[str, str | None], B], given: Mapping[str, B] | None) -> None:
        self._make = make
        self._given: dict[str, B] = dict(given or {})
        self._made: dict[tuple[str, str | None], B] = {}
        self._lock = threading.Lock()

    def __getitem__(self, reference: Reference) -> B:
        key = (reference.scheme, reference.region)
        backend = self._given.get(reference.scheme) or self._made.get(key)
        if backend is None:
            with self._lock:
                backend = self._made.get(key)
                if backend is None:
                    backend = self._made[key] = self._make(*key)
        return backend

    def drain(self) -> list[B]:
        """The backends to close: those made here. Given ones stay, open: they are the giver's, and what is called after
        a close must not go elsewhere."""
        with self._lock:
            made, self._made = self._made, {}
        return list(made.values())


class ClientOptions(TypedDict, total=False):
    """What a client takes beside where and how to call AWS.

    prices: a Price for each model reference that shall not be paid by the shipped table, or is not in it.
    store: where the local models are kept.
    backends: what replaces a scheme's backend, by "bedrock", "sagemaker" or "local". Who gives one closes it.
    formats: what SageMaker containers speak, by ENDPOINT/COMPONENT, ENDPOINT or "*". What is not said is found out at
        an endpoint's first call, which needs up to five requests more.
    connect_timeout: seconds for reaching the service.
    read_timeout: seconds of the longest silence.
    max_connections: how many connections are kept open at most.
    """

    prices: Mapping[str, Price]
    store: Store | None
    backends: Mapping[str, Any]
    formats: Mapping[str, str]
    connect_timeout: float
    read_timeout: float
    max_connections: int


# What boto3 calls them.
_RENAMED = {"region_name": "region", "profile_name": "profile", "boto3_session": "session", "config": "policy"}


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


def checked_policy(given: Policy | None) -> Policy:
    if given is not None and not isinstance(given, Policy):
        raise ConfigurationError(f"policy is a {type(given).__name__}; give awsllm.Policy(max_attempts=…)")
    return given or Policy()


class ClientSettings:
    """Where and how one client calls: its AWS session in a region (None: its own), and its transports' options."""

    def __init__(self, session: Callable[[str | None], AwsSession], options: ClientOptions) -> None:
        _check_options(options)
        own = {str(parse_reference(model)): price for model, price in options.get("prices", {}).items()}
        theirs = "bedrock" in options.get("backends", {})  # a given backend alone knows where it calls
        self.prices = Knowledge(own) if theirs else Knowledge(own, lambda: session(None).region, self._which)
        policy: Any = options.get("policy")
        self._timeout = policy.timeout if policy else None
        self.store = options.get("store")
        self.formats = options.get("formats")
        self.transport: dict[str, Any] = {name: value for name, value in options.items() if name in _TRANSPORT}
        self.session = session
        self.renew: Callable[[], None] = getattr(session, "cache_clear", lambda: None)
        """Find credentials and configuration anew, in the transports that are made from now on."""
        self.repairs = Repairs()
        self._given = theirs

    def region(self) -> str | None:
        """Where calls go that name no region; None where a given backend alone knows it."""
        return None if self._given else self.session(None).region

    def _which(self, reference: Reference) -> tuple[str | None, str | None]:
        from awsllm.backends.bedrock.models import resolve

        return resolve(self.session(reference.region), reference.model)

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

    return ClientSettings(make, options)


def unknown_scheme(scheme: str) -> ConfigurationError:
    return ConfigurationError(f"no backend for {scheme!r}: there are bedrock, sagemaker and local")


def make_backend(settings: ClientSettings, scheme: str, region: str | None) -> Backend:
    """What answers the references of a scheme, called with these settings."""
    if scheme == "local":
        from awsllm.backends.local.backend import LocalBackend

        return LocalBackend(settings.store)
    from awsllm.aws.http import HttpTransport

    transport = HttpTransport(settings.session(region), **settings.transport)
    if scheme == "bedrock":
        from awsllm.backends.bedrock.backend import BedrockBackend

        return BedrockBackend(transport)
    if scheme == "sagemaker":
        from awsllm.backends.sagemaker.backend import SageMakerBackend

        return SageMakerBackend(transport, formats=settings.formats)
    raise unknown_scheme(scheme)


def make_async_backend(settings: ClientSettings, scheme: str, region: str | None) -> AsyncBackend:
    """``make_backend``, awaited."""
    if scheme == "local":
        from awsllm.backends.local.backend import AsyncLocalBackend, LocalBackend

        return AsyncLocalBackend(LocalBackend(settings.store))
    from awsllm.aws.aio import AsyncHttpTransport

    transport = AsyncHttpTransport(settings.session(region), **settings.transport)
    if scheme == "bedrock":
        from awsllm.backends.bedrock.backend import AsyncBedrockBackend

        return AsyncBedrockBackend(transport)
    if scheme == "sagemaker":
        from awsllm.backends.sagemaker.backend import AsyncSageMakerBackend

        return AsyncSageMakerBackend(transport, formats=settings.formats)
    raise unknown_scheme(scheme)
