"""How to reach an origin: directly or through a proxy, and whom to trust; as botocore decides it.

Made once per transport. TLS contexts are built when the first https connection is: reading a CA bundle takes 30 ms.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

from awsllm.aws.call import Private
from awsllm.aws.signing import Origin, split_url
from awsllm.errors import ConfigurationError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from awsllm.aws.session import SessionConfig


class Route(Private, frozen=True):
    """The way to ``origin``. ``forwarded``: the proxy is sent whole URLs; otherwise it is to open a
    tunnel."""

    origin: Origin
    context: Callable[[], ssl.SSLContext]
    proxy_context: Callable[[], ssl.SSLContext]
    proxy_url: str | None = None
    forward_https: bool = False

    def __repr__(self) -> str:
        return f"Route({self.origin}, proxy={self.proxy})"  # the proxy's URL may hold a password

    @property
    def proxy(self) -> Origin | None:
        if not self.proxy_url:
            return None
        parts = urlsplit(self.proxy_url)
        # split_url remembers the URLs that it is given, and a password is not to stay there
        return split_url(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())[0]

    @property
    def first_hop(self) -> Origin:
        return self.proxy or self.origin

    @property
    def forwarded(self) -> bool:
        if self.proxy_url is None:
            return False
        return self.origin.scheme == "http" or (self.forward_https and self.proxy_url.startswith("https:"))

    @property
    def tunnel(self) -> bool:
        return self.proxy_url is not None and not self.forwarded

    @property
    def proxy_headers(self) -> Mapping[str, str]:
        parts = urlsplit(self.proxy_url or "")
        if not parts.username or not parts.password:
            return {}
        from base64 import b64encode

        userinfo = f"{unquote(parts.username)}:{unquote(parts.password)}"
        return {"Proxy-Authorization": f"Basic {b64encode(userinfo.encode()).decode()}"}


class Routes:
    """Routes to origins under one configuration."""

    def __init__(self, config: SessionConfig) -> None:
        self._config = config
        self._routes: dict[Origin, Route] = {}

    def to(self, origin: Origin) -> Route:
        route = self._routes.get(origin)
        if route is None:
            route = self._routes[origin] = self._find(origin)
        return route

    def _find(self, origin: Origin) -> Route:
        config, proxy = self._config, self._config.proxies_config
        return Route(
            origin,
            lambda: client_context(config.verify, config.client_cert),
            lambda: client_context(proxy.get("proxy_ca_bundle") or config.verify, proxy.get("proxy_client_cert")),
            _proxy_url(origin, config.proxies),
            bool(proxy.get("proxy_use_forwarding_for_https")),
        )


def _proxy_url(origin: Origin, configured: Mapping[str, str] | None) -> str | None:
    """The proxy for ``origin``, with a scheme. Proxies given in code are used without a look at NO_PROXY, as botocore
    does."""
    proxies = configured if configured is not None else environment_proxies(origin)
    url = proxies.get(origin.scheme)
    if not url:
        return None
    if url.startswith("//"):
        url = f"http:{url}"
    url = url if url.startswith(("http:", "https:")) else f"http://{url}"
    if not _can_be_reached(url):
        raise ConfigurationError(
            f"invalid proxy for {origin.scheme}: it needs a host and a port, as in 'http://host:port'; check "
            "HTTP_PROXY, HTTPS_PROXY and the session's proxies"
        )
    return url


def _can_be_reached(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, a bracket that is not closed
        return False


def environment_proxies(origin: Origin) -> Mapping[str, str]:
    """HTTP_PROXY, HTTPS_PROXY and NO_PROXY, or the system's settings on macOS and Windows."""
    if sys.platform not in ("darwin", "win32") and not any(name.lower().endswith("_proxy") for name in os.environ):
        return {}  # the usual case, without the import
    from urllib.request import getproxies, proxy_bypass

    return {} if proxy_bypass(origin.authority) else getproxies()


@lru_cache(maxsize=8)
def client_context(verify: str | bool, client_cert: str | tuple[str, str] | None = None) -> ssl.SSLContext:
    """A TLS context as botocore configures one. ``verify``: a bundle's path, True for the default bundle, False for
    none."""
    import ssl  # what plain HTTP does without

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.options |= ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    try:
        if verify is False:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            bundle = default_bundle() if verify is True else str(verify)
            is_folder = os.path.isdir(bundle)
            context.load_verify_locations(**{"capath" if is_folder else "cafile": bundle})
        if client_cert:
            context.load_cert_chain(*((client_cert,) if isinstance(client_cert, str) else client_cert))
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the CA bundle or client certificate ({verify}, {client_cert}): {error.strerror or error}; "
            "check ca_bundle, AWS_CA_BUNDLE and REQUESTS_CA_BUNDLE"
        ) from error
    return context


def default_bundle() -> str:
    """certifi's bundle where it is installed, else the one that botocore carries; the same choice as botocore's."""
    try:
        from certifi import where
    except ImportError:
        from importlib.util import find_spec

        spec = cast("Any", find_spec("botocore"))
        return os.path.join(spec.submodule_search_locations[0], "cacert.pem")
    return where()
