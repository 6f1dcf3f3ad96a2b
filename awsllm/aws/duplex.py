"""A request whose body is still being written while its response is read: HTTP/2, through AWS's own awscrt.

Why awscrt: the AWS SDK for Python that has this operation (aws-sdk-bedrock-runtime) needs Python 3.12 and is itself
built on it for this; awscrt runs on every Python that awsllm does, and depends on nothing. It speaks HTTP/2 over TLS
only, so a plain ``http://`` endpoint is refused here with the fix.

awscrt calls back on threads of its own; what it hands over is put on the caller's event loop. Frames are signed in the
order in which they are written, since each signature is over the one before it.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from io import BytesIO
from typing import Any, Protocol

from awsllm.aws import failures
from awsllm.aws.call import HttpRequest, HttpResponse
from awsllm.aws.errand import aside
from awsllm.aws.event_signing import DIGEST, EventSigner, signature_of
from awsllm.aws.session import AwsSession, Credentials
from awsllm.aws.signing import Origin, SignedRequest, sign
from awsllm.aws.tls import Routes, client_context, default_bundle
from awsllm.errors import AwsllmError, ConfigurationError, ModelTimeoutError
from awsllm.wire.eventstream import EVENT_STREAM

_DIAGNOSIS = 5.0  # seconds


class Duplex(Protocol):
    """An open request. For one event loop; ``send`` may be called by several tasks."""

    async def head(self) -> HttpResponse:
        """The head of the response, when it comes. A service may wait for what is sent first."""

    async def send(self, *frames: bytes) -> None:
        """In one write: of several small ones the system holds the second back until the first has arrived."""

    async def receive(self) -> bytes | None:
        """The next bytes of the response's body, None at its end."""

    async def finish(self) -> None:
        """Nothing more is sent."""

    async def close(self) -> None: ...


STAND_INS: list[Callable[[SignedRequest, AwsSession], Duplex | None]] = []
"""What answers in the network's place, the last first: ``awsllm.testing.mock_aws`` puts itself here."""


async def open_duplex(session: AwsSession, request: HttpRequest, *, timeout: float) -> Duplex:
    """Connect and begin ``request``; ``timeout`` in seconds is for that alone. Raises ``ConfigurationError`` for an
    endpoint without TLS and without awscrt, and ``ConnectError``."""
    headers = {**request.headers, "Content-Type": EVENT_STREAM}
    keys = await aside(partial(session.get_ready, request.service), key=(id(session), request.service))
    if keys is not None:
        headers["X-Amz-Content-SHA256"] = DIGEST
    unsigned = HttpRequest(request.service, request.method, request.path, headers)
    signed = sign(unsigned, session, keys, digest=DIGEST if keys is not None else None)
    for stand_in in reversed(STAND_INS):
        if (answer := stand_in(signed, session)) is not None:
            return answer
    if signed.origin.scheme != "https":
        raise ConfigurationError(
            f"speech needs HTTP/2, which awscrt speaks over TLS only, and {signed.origin} has none: use an https "
            "endpoint (`awsllm serve --tls-cert … --tls-key …`, with AWS_CA_BUNDLE naming the certificate)"
        )
    connection = await _connect(session, signed.origin, timeout)
    return _Exchange(connection, signed, _signer(session, request.service, signed, keys))


def _signer(session: AwsSession, service: str, signed: SignedRequest, keys: Credentials | None) -> EventSigner | None:
    if keys is None:
        return None
    endpoint = session.endpoint(service)
    prior = signature_of(signed.headers["Authorization"])
    return EventSigner(keys.secret_key, endpoint.region, endpoint.signing_name, prior)


# --- connecting ------------------------------------------------------------------------------------------------------


async def _connect(session: AwsSession, origin: Origin, timeout: float) -> Any:
    http, crt_io = _import_awscrt()
    from awscrt.exceptions import AwsCrtError

    proxy = Routes(session.config).to(origin).proxy_url
    socket = crt_io.SocketOptions()
    socket.connect_timeout_ms = max(1, int(timeout * 1000))
    tls = await asyncio.to_thread(_tls, crt_io, session)
    options = tls.new_connection_options()
    options.set_server_name(origin.host)
    options.set_alpn_list(["h2"])
    making = http.Http2ClientConnection.new(
        origin.host,
        origin.port,
        socket_options=socket,
        tls_connection_options=options,
        proxy_options=_proxy(http, proxy) if proxy else None,
    )
    try:
        return await asyncio.wait_for(_settled(making), timeout)
    except TimeoutError as error:
        making.add_done_callback(_close_late)
        raise await _not_in_time(session, origin, timeout, proxy) from error
    except AwsCrtError as error:
        raise _cannot_connect(origin, error, proxy) from error


async def _settled(future: Any) -> Any:
    """The result of a future of awscrt's, which must not be cancelled: it would fail when it has one."""
    loop = asyncio.get_running_loop()
    mine: asyncio.Future[Any] = loop.create_future()

    def settle() -> None:
        if mine.done():
            return
        if error := future.exception():
            mine.set_exception(error)
        else:
            mine.set_result(future.result())

    def done(_: Any) -> None:
        with suppress(RuntimeError):  # the loop is gone, and whoever waited with it
            loop.call_soon_threadsafe(settle)

    future.add_done_callback(done)
    return await mine


def _close_late(making: Any) -> None:
    if making.exception() is None:
        making.result().close()


async def _not_in_time(session: AwsSession, origin: Origin, timeout: float, proxy: str | None) -> AwsllmError:
    """awscrt tells of a certificate that it does not trust after 10 to 30 seconds (s2n blinds what went wrong), so
    Python is asked whether it would."""
    if proxy is None:
        config = session.config
        context = await asyncio.to_thread(client_context, config.verify, config.client_cert)
        try:
            async with asyncio.timeout(_DIAGNOSIS):
                _, writer = await asyncio.open_connection(origin.host, origin.port, ssl=context)
                writer.close()
        except ssl.SSLError as error:
            return failures.tls_failed(origin, error)
        except OSError:  # TimeoutError is one
            pass
    return ModelTimeoutError(f"{origin} could not be reached within {timeout:g} s")


def _cannot_connect(origin: Origin, error: Any, proxy: str | None) -> AwsllmError:
    if error.name == "AWS_ERROR_HTTP_UNSUPPORTED_PROTOCOL":
        return ConfigurationError(f"{origin} speaks no HTTP/2, which speech needs")
    if "TLS" in error.name:
        return failures.tls_failed(origin, error)
    return failures.cannot_connect(origin, error, proxy)


def _tls(crt_io: Any, session: AwsSession) -> Any:
    """A TLS context that trusts what the session does. Reading a bundle takes tens of milliseconds."""
    config = session.config
    cert = config.client_cert
    if cert is None:
        options = crt_io.TlsContextOptions()
    else:
        paths: Sequence[str] = (cert, cert) if isinstance(cert, str) else cert
        options = crt_io.TlsContextOptions.create_client_with_mtls_from_path(*paths)
    if config.verify is False:
        options.verify_peer = False
    else:
        bundle = default_bundle() if config.verify is True else str(config.verify)
        folder = os.path.isdir(bundle)
        try:
            options.override_default_trust_store_from_path(bundle if folder else None, None if folder else bundle)
        except OSError as error:
            raise ConfigurationError(
                f"cannot read the CA bundle {bundle}: {error.strerror or error}; check ca_bundle and AWS_CA_BUNDLE"
            ) from error
    return crt_io.ClientTlsContext(options)


def _proxy(http: Any, url: str) -> Any:
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(url)
    if parts.scheme == "https":
        raise ConfigurationError("speech goes through proxies that are reached over http:// only")
    basic = parts.username and parts.password
    return http.HttpProxyOptions(
        parts.hostname or "",
        parts.port or 80,
        auth_type=http.HttpProxyAuthenticationType.Basic if basic else http.HttpProxyAuthenticationType.Nothing,
        auth_username=unquote(parts.username or "") if basic else None,
        auth_password=unquote(parts.password or "") if basic else None,
        connection_type=http.HttpProxyConnectionType.Tunneling,
    )


def _import_awscrt() -> tuple[Any, Any]:
    try:
        from awscrt import http, io
    except ImportError as error:
        raise ConfigurationError("speech needs awscrt: pip install 'awsllm[speech]'") from error
    return http, io


# --- an exchange -----------------------------------------------------------------------------------------------------


class _Exchange:
    """A ``Duplex`` over awscrt's connection, which is its own and is closed with it."""

    def __init__(self, connection: Any, signed: SignedRequest, signer: EventSigner | None) -> None:
        http, _ = _import_awscrt()
        self._loop = asyncio.get_running_loop()
        self._connection, self._signer, self._origin = connection, signer, signed.origin
        self._head: asyncio.Future[HttpResponse] = self._loop.create_future()
        self._pieces: asyncio.Queue[bytes | AwsllmError | None] = asyncio.Queue()
        self._writing = asyncio.Lock()
        self._finished = False
        headers = http.HttpHeaders([(name.lower(), value) for name, value in signed.headers.items()])
        self._stream = connection.request(
            http.HttpRequest(signed.method, signed.target, headers),
            on_response=self._on_response,
            on_body=self._on_body,
            manual_write=True,
        )
        self._stream.remote_end_stream_future.add_done_callback(self._on_end)
        self._stream.activate()

    async def head(self) -> HttpResponse:
        return await asyncio.shield(self._head)

    async def send(self, *frames: bytes) -> None:
        async with self._writing:
            signed = frames if self._signer is None else map(self._signer.sign, frames)
            await self._write(b"".join(signed), end=False)

    async def finish(self) -> None:
        async with self._writing:
            if self._finished:
                return
            if self._signer is not None:
                await self._write(self._signer.sign(b""), end=False)
            self._finished = True
            await self._write(None, end=True)

    async def _write(self, data: bytes | None, *, end: bool) -> None:
        from awscrt.exceptions import AwsCrtError

        try:
            writing = self._stream.write_data(None if data is None else BytesIO(data), end)
            await _settled(writing)
        except (AwsCrtError, RuntimeError) as error:
            raise failures.broken(self._origin, error) from error

    async def receive(self) -> bytes | None:
        piece = await self._pieces.get()
        if isinstance(piece, AwsllmError):
            raise piece
        return piece

    async def close(self) -> None:
        self._connection.close()
        if not self._head.done():
            self._head.cancel()

    # What awscrt calls, on a thread of its own; the loop may be gone by then.

    def _on_response(self, *, status_code: int, headers: Sequence[tuple[str, str]], **_: Any) -> None:
        named = {name.lower(): value for name, value in headers if not name.startswith(":")}
        self._hand_over(self._set_head, HttpResponse(status_code, named))

    def _on_body(self, *, chunk: bytes, **_: Any) -> None:
        self._hand_over(self._pieces.put_nowait, bytes(chunk))

    def _on_end(self, ending: Any) -> None:
        error = ending.exception()
        self._hand_over(self._end, failures.broken(self._origin, error) if error else None)

    def _hand_over(self, take: Callable[[Any], object], value: Any) -> None:
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(take, value)

    def _set_head(self, head: HttpResponse) -> None:
        if not self._head.done():
            self._head.set_result(head)

    def _end(self, error: AwsllmError | None) -> None:
        if not self._head.done():
            self._head.set_exception(error or failures.not_http(self._origin))
            self._head.exception()  # read here, so that nobody need await it
        self._pieces.put_nowait(error)
