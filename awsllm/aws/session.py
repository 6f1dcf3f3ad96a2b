"""Who calls, from where and to where: credentials, region, endpoints, TLS and proxies, resolved as botocore would.

Two ways lead to the same values:

* **From the environment alone** (Lambda, containers, CI): keys in the environment, no profile chosen, no shared config
  or credentials file. botocore would find nothing but environment variables, so they are read here and nothing of
  botocore is imported: its session costs more than everything else between process start and first reply.
* **From a botocore session**, the caller's own or a new one, in every other case: the whole credential chain with
  refresh, profiles, SSO, roles, config files, default client configurations.

The configuration is resolved at first use, not when an ``AwsSession`` is made, so that a client for local models needs
no region. It is then kept, as a boto3 client keeps it; the one exception is a bearer token, which boto3 reads anew for
each call.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TypeVar

from awsllm.aws import endpoints
from awsllm.aws.call import Private
from awsllm.aws.endpoints import BEARER_VARIABLE, Endpoint
from awsllm.errors import ConfigurationError

T = TypeVar("T")

# Around a key, as files and Kubernetes secrets leave it: white space, control characters, a byte order mark.
_EDGES = "".join(map(chr, range(0x21))) + "\x7f\x85\xa0\ufeff"


class Credentials(Private, frozen=True):
    """One consistent set of keys, good for one signature. Its repr does not show the secrets, and it is no tuple, for
    what reports errors shows the items of those."""

    access_key: str
    secret_key: str
    token: str | None = None

    def __repr__(self) -> str:
        return f"Credentials(access_key={self.access_key[:4]}…)"

    def checked(self) -> Credentials:
        """These, if each can stand in a header; else ConfigurationError. A line break would begin another header."""
        for name, variable in _VARIABLES.items():
            if not _is_plain(getattr(self, name) or ""):
                raise ConfigurationError(
                    f"the AWS {name.replace('_', ' ')} has a line break or another character inside that no key has; "
                    f"copy it again into {variable} or the profile"
                )
        return self


_VARIABLES = {
    "access_key": "AWS_ACCESS_KEY_ID",
    "secret_key": "AWS_SECRET_ACCESS_KEY",
    "token": "AWS_SESSION_TOKEN",
}


def _is_plain(value: str) -> bool:
    return value.isascii() and value.isprintable()


def _stripped(keys: Any) -> Credentials:
    """``keys`` without what surrounds them; they may be botocore's."""
    token = (keys.token or "").strip(_EDGES)
    return Credentials(keys.access_key.strip(_EDGES), keys.secret_key.strip(_EDGES), token or None)


class SessionConfig(Private, frozen=True, kw_only=True):
    """What the environment and the config files say. ``verify`` is a CA bundle's path, or whether to verify at all."""

    region: str | None = None
    fips: bool = False
    dual_stack: bool = False
    ignore_configured_urls: bool = False
    verify: str | bool = True
    client_cert: str | tuple[str, str] | None = None
    proxies: Mapping[str, str] | None = None
    proxies_config: Mapping[str, Any] = {}
    profile_config: Mapping[str, Any] = {}
    service_configs: Mapping[str, Any] = {}
    bearer_allowed: bool = True

    def __repr__(self) -> str:
        return f"SessionConfig(region={self.region!r})"  # profiles hold keys, and proxies passwords


class AwsSession:
    """AWS's side of a client. Safe to share between threads.

    ``session`` is a ``boto3.Session`` or botocore session to use as it is; ``endpoint_url`` goes before any configured
    one.
    """

    def __init__(
        self,
        *,
        region: str | None = None,
        profile: str | None = None,
        session: Any = None,
        endpoint_url: str | None = None,
    ) -> None:
        if session is not None and profile is not None:
            raise ConfigurationError("give either session= or profile=; a session has its profile already")
        self._region = region
        self._profile = profile
        self._given = session
        self._endpoint_url = endpoint_url
        self._endpoints: dict[str, Endpoint] = {}
        self._source: Any = None
        self._boto3: Any = None
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"AwsSession(region={self._region!r}, profile={self._profile!r})"

    @cached_property
    def botocore(self) -> Any:
        """The botocore session behind this one, or None where the environment says everything."""
        with self._lock:
            if self._given is not None:
                return getattr(self._given, "_session", self._given)  # what a boto3.Session wraps
            if self._profile is None and _environment_suffices():
                return None
            return _new_botocore_session(self._profile)

    def boto3_client(self, service: str, config: Any = None) -> Any:
        """A new boto3 client that calls as this session does; ``control.client`` keeps them. ``config`` is botocore's,
        over the session's own."""
        region, url = self._region_or_none(), self._endpoint_url
        with self._lock:  # making clients is not thread-safe in boto3, using them is
            make = self.boto3().client
            made = _translated(lambda: make(service, region_name=region, endpoint_url=url, config=config))
        made.meta.events.register_first("before-send", _refuse_headers)
        return made

    def boto3(self) -> Any:
        """A ``boto3.Session`` with the same credentials: the caller's, or one that is made once, since boto3 registers
        its handlers on the botocore session each time and S3's fail the second time."""
        from boto3.session import Session

        if isinstance(self._given, Session):
            return self._given
        with self._lock:
            if self._boto3 is None:
                core = self.botocore
                if core is None:
                    core = _new_botocore_session(None)
                    if os.environ.get("AWS_ACCESS_KEY_ID"):  # else there is a bearer token
                        keys = self.credentials()
                        core.set_credentials(keys.access_key, keys.secret_key, keys.token)
                self._boto3 = Session(botocore_session=core)
            return self._boto3

    @cached_property
    def config(self) -> SessionConfig:
        return _environment_config() if self.botocore is None else _translated(lambda: _session_config(self.botocore))

    @property
    def region(self) -> str:
        """The region to call; ConfigurationError where none is configured. There is no default on purpose."""
        region = self._region_or_none()
        if not region:
            from awsllm.aws.chain import NO_REGION

            raise ConfigurationError(NO_REGION)
        return region

    def _region_or_none(self) -> str | None:
        """boto3 does not read AWS_REGION, every other SDK does: it decides where boto3 would find nothing."""
        return self._region or self.config.region or os.environ.get("AWS_REGION") or None

    def endpoint(self, service: str) -> Endpoint:
        """Where to send calls of ``service`` (botocore's name of it) and how to authenticate them now."""
        known = self._endpoints.get(service)
        if known is None:
            known = self._endpoints[service] = self._resolve(service)
        if self._takes_bearer(service):
            return Endpoint(service, known.url, known.region, known.signing_name, "bearer")
        return known

    def endpoint_url(self, service: str) -> str | None:
        """The custom URL of ``service``, if there is one: as in botocore, the argument, then the environment, then the
        profile, and in each the service's own before the general one."""
        if self._endpoint_url:
            return self._endpoint_url
        if self.config.ignore_configured_urls:
            return None
        name = endpoints.service_id(service).replace("-", "_")
        own = self.config.service_configs.get(name)
        return (
            os.environ.get(f"AWS_ENDPOINT_URL_{name.upper()}")
            or (_mantle_url() if service == endpoints.MANTLE else None)
            or os.environ.get("AWS_ENDPOINT_URL")
            or (own.get("endpoint_url") if isinstance(own, Mapping) else None)
            or self.config.profile_config.get("endpoint_url")
            or None
        )

    def _resolve(self, service: str) -> Endpoint:
        custom = self.endpoint_url(service)
        variant = endpoints.normalize_region(self.region, fips=self.config.fips, dual_stack=self.config.dual_stack)
        loader = self.botocore.get_component("data_loader") if self.botocore is not None else None
        url = endpoints.resolve_url(service, variant, custom, loader)
        return Endpoint(service, url, variant.region, endpoints.signing_name(service, loader))

    def _takes_bearer(self, service: str) -> bool:
        if not endpoints.is_bearer_service(service) or not os.environ.get(BEARER_VARIABLE):
            return False
        return self.config.bearer_allowed

    def bearer_token(self) -> str:
        """The API key of Bedrock, read anew as it may be short-lived."""
        if not _bearer():  # never in a variable here: what reports errors shows those
            raise ConfigurationError(f"{BEARER_VARIABLE} is not set any more, or to nothing")
        if not _is_plain(_bearer()):
            raise ConfigurationError(
                f"{BEARER_VARIABLE} has a line break or another character inside that no key has; copy it again"
            )
        return _bearer()

    def credentials(self) -> Credentials:
        """Keys for one signature. May read files or ask a credential service, when first called and to refresh.

        Raises ConfigurationError where there are none and AccessDeniedError where they expired and cannot be renewed.
        """
        source = self._credential_source()
        if isinstance(source, Credentials):
            return source
        keys = _translated(lambda: _stripped(source.get_frozen_credentials()))
        if not keys.access_key or not keys.secret_key:
            raise _no_credentials()
        return keys.checked()

    def get_ready(self, service: str) -> Credentials | None:
        """Resolve all that a call of ``service`` needs, which may take as long as credentials take to come; the keys to
        sign it with, or None where it takes a bearer token."""
        known = self._endpoints.get(service) or self.endpoint(service)
        if known.auth == "bearer" or self._takes_bearer(service):
            return None
        source = self._source
        return source if type(source) is Credentials else self.credentials()

    def is_ready(self, service: str) -> bool:
        """Whether a call of ``service`` can be signed at once; if not, an event loop should not wait for it."""
        if service not in self._endpoints:
            return False
        source = self._source
        if isinstance(source, Credentials) or self._takes_bearer(service):
            return True
        if source is None:
            return False
        refresh_needed = getattr(source, "refresh_needed", None)
        return refresh_needed is None or not refresh_needed()

    def _credential_source(self) -> Any:
        if self._source is None:
            with self._lock:
                if self._source is None:
                    self._source = self._find_credentials()
        return self._source

    def _find_credentials(self) -> Any:
        """``Credentials`` that never change, or botocore's object that refreshes itself."""
        if self.botocore is None:
            return _environment_credentials()
        source = _translated(self.botocore.get_credentials)
        if source is None:
            raise _no_credentials()
        return source


def _translated(read: Callable[[], T]) -> T:
    """What ``read`` gets from botocore, its errors as awsllm's. Where the environment suffices none of that is needed,
    and not imported."""
    from awsllm.aws.chain import translated

    return translated(read)


def _no_credentials() -> ConfigurationError:
    from awsllm.aws.chain import no_credentials

    return ConfigurationError(no_credentials())


def _environment_suffices() -> bool:
    """Whether botocore would learn nothing more than ``_environment_config`` reads."""
    variables = os.environ
    identified = variables.get("AWS_ACCESS_KEY_ID") or variables.get(BEARER_VARIABLE)
    elsewhere = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CREDENTIAL_EXPIRATION", "AWS_DATA_PATH")
    if not identified or any(variables.get(name) for name in elsewhere):
        return False
    files = (
        variables.get("AWS_CONFIG_FILE", "~/.aws/config"),
        variables.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
    )
    return not any(os.path.exists(os.path.expanduser(os.path.expandvars(path))) for path in files)


def _environment_config() -> SessionConfig:
    return SessionConfig(
        region=os.environ.get("AWS_DEFAULT_REGION"),
        fips=_flag(os.environ.get("AWS_USE_FIPS_ENDPOINT")),
        dual_stack=_flag(os.environ.get("AWS_USE_DUALSTACK_ENDPOINT")),
        ignore_configured_urls=_flag(os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")),
        verify=_ca_bundle(os.environ.get("AWS_CA_BUNDLE")),
    )


def _environment_credentials() -> Credentials:
    get = os.environ.get
    # The order of the last two names is botocore's.
    keys = _stripped(
        Credentials(
            get("AWS_ACCESS_KEY_ID") or "",
            get("AWS_SECRET_ACCESS_KEY") or "",
            get("AWS_SECURITY_TOKEN") or get("AWS_SESSION_TOKEN"),
        )
    )
    if not keys.access_key:
        raise _no_credentials()
    if not keys.secret_key:
        raise ConfigurationError("AWS_ACCESS_KEY_ID is set but AWS_SECRET_ACCESS_KEY is not: set both")
    return keys.checked()


def _mantle_url() -> str | None:
    """What the variables say that openai's and anthropic's clients for Bedrock read."""
    for name in ("AWS_BEDROCK_BASE_URL", "ANTHROPIC_BEDROCK_MANTLE_BASE_URL"):
        if (url := os.environ.get(name, "").strip()) and (base := endpoints.mantle_base(url)):
            return base
    return None


def _bearer() -> str:
    return (os.environ.get(BEARER_VARIABLE) or "").strip(_EDGES)


def _refuse_headers(request: Any, **_: Any) -> None:
    """What http.client would refuse while quoting it: a header of boto3's that is more than one line."""
    for name, value in request.headers.items():
        text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
        if not text.isprintable():
            raise ConfigurationError(
                f"the header {name} would hold a line break or control character: check the AWS keys and tokens"
            )


def _new_botocore_session(profile: str | None) -> Any:
    from botocore.session import Session

    session = Session(profile=profile)
    _translated(session.get_scoped_config)
    return session


def _session_config(session: Any) -> SessionConfig:
    """Read a botocore session; its default client config, if it has one, wins over environment and files."""
    default = session.get_default_client_config()

    def variable(name: str) -> Any:
        return session.get_config_variable(name)

    return SessionConfig(
        region=getattr(default, "region_name", None) or variable("region"),
        fips=_chosen(default, "use_fips_endpoint", variable),
        dual_stack=_chosen(default, "use_dualstack_endpoint", variable),
        ignore_configured_urls=_chosen(default, "ignore_configured_endpoint_urls", variable),
        verify=_ca_bundle(variable("ca_bundle")),
        client_cert=getattr(default, "client_cert", None),
        proxies=getattr(default, "proxies", None),
        proxies_config=getattr(default, "proxies_config", None) or {},
        profile_config=session.get_scoped_config(),
        service_configs=_services_section(session),
        bearer_allowed=getattr(default, "signature_version", None) is None,
    )


def _services_section(session: Any) -> Mapping[str, Any]:
    """``[services NAME]`` of the config file, where the profile names one."""
    name = session.get_scoped_config().get("services")
    if name is None:
        return {}
    section = session.full_config.get("services", {}).get(name)
    if not section:
        raise ConfigurationError(
            f"the profile names the services section {name!r}, which the config file does not have"
        )
    return dict(section)


def _chosen(default: Any, name: str, variable: Any) -> bool:
    in_code = getattr(default, name, None)
    return bool(variable(name) if in_code is None else in_code)


def _flag(value: str | None) -> bool:
    return value is not None and value.lower() == "true"


def _ca_bundle(configured: str | None) -> str | bool:
    chosen = configured if configured is not None else os.environ.get("REQUESTS_CA_BUNDLE")
    if chosen is None:
        return True
    if not chosen.strip():
        raise ConfigurationError(
            "the CA bundle (ca_bundle, AWS_CA_BUNDLE or REQUESTS_CA_BUNDLE) is set to nothing: give a path, or unset it"
        )
    return chosen
