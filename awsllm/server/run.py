"""Running the application: one process, one event loop, HTTP/1.1 and HTTP/2 without TLS on one port.

granian because of what was measured: the JavaScript SDK speaks HTTP/2 with prior knowledge to http:// addresses, and
of the servers that take both protocols on one port only granian both finishes its streams (hypercorn cuts them) and
tells the application when a client has left (gunicorn does not). Its embedded form runs in our event loop, so the
model's weights are in this process and signals are ours: the first SIGINT or SIGTERM lets requests end, for
``_GRACE`` seconds at most, the second does not. Leaving ``running``'s block gives them ``_BLOCK_GRACE`` seconds.

What is not yet a whole request when the server stops is not waited for. Requests that are under way when the time is
over are ended here, each at its place (``_Requests``), because granian waits for them without end and reports those
that the closing event loop cancels as failures. granian's own threads
outlive it by a moment in which they want the interpreter once more; one that exits in that moment is aborted ("panic in
a function that cannot unwind", github.com/emmett-framework/granian/issues/693), so their end is awaited, where the
system tells of it.

A connection costs a client nothing, so thousands are taken: granian's default is 128, after which everyone waits for
one to end. It ends a connection whose next head does not come within ``_HEAD_TIMEOUT``; one whose body does not come is
ended by ``http.bodies``.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from awsllm.errors import ConfigurationError
from awsllm.models.references import parse_reference
from awsllm.server.http.app import App, Send, create_app
from awsllm.server.http.auth import is_loopback, usable_key
from awsllm.server.http.bodies import AsgiMessage, Receive
from awsllm.server.resources import AsyncWithResources, Resources
from awsllm.server.work import Models
from awsllm.types import ConverseRequest, CountTokensRequest, Message

if TYPE_CHECKING:
    from awsllm.backend import AsyncBackend

CHAT_MODEL = "local:smollm2-135m-instruct"
EMBED_MODEL = "local:all-minilm-l6-v2"
_GRACE = 10.0  # seconds
_BLOCK_GRACE = 1.0  # seconds; a test that forgot a stream should not wait long
_START = 30.0  # seconds
_LEAVE = 2.0  # seconds for what was ended, and for threads, to be gone
_CONNECTIONS = 4096
_HEAD_TIMEOUT = 30_000  # milliseconds


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen, and with what. Port 0 is any free one. ``tls_key`` is PKCS#8."""

    host: str = "127.0.0.1"
    port: int = 0
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls_cert else 'http'}://{host}:{self.port}"


def serve(
    host: str = "127.0.0.1",
    port: int = 8900,
    *,
    backend: AsyncBackend | None = None,
    model: str = CHAT_MODEL,
    embed_model: str = EMBED_MODEL,
    tls_cert: str | Path | None = None,
    tls_key: str | Path | None = None,
    api_key: str | None = None,
    ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve ``backend``, or the local models named, until SIGINT or SIGTERM. ``ready`` is called with the URL once it
    answers. Raises ``ConfigurationError`` for an address that cannot be used: one that others can reach needs
    ``api_key``."""
    key = usable_key(api_key)
    _check_exposure(host, key)
    address = _address(host, port, tls_cert, tls_key)
    app = _application(backend, model, embed_model, key)
    asyncio.run(_serve(app, address, ready, asyncio.Event(), signals=True))


@contextlib.contextmanager
def running(
    backend: AsyncBackend | None = None,
    *,
    model: str = CHAT_MODEL,
    embed_model: str = EMBED_MODEL,
    tls_cert: str | Path | None = None,
    tls_key: str | Path | None = None,
    api_key: str | None = None,
) -> Iterator[str]:
    """A server on a free port of this machine while the block runs, on a thread of its own; gives its base URL. Over
    ``backend`` with the callers' own model ids, else over the local models named."""
    app = _application(backend, model, embed_model, usable_key(api_key))
    thread = _ServerThread(app, _address("127.0.0.1", 0, tls_cert, tls_key))
    thread.start()
    try:
        yield thread.url()
    finally:
        thread.stop()


def _application(backend: AsyncBackend | None, model: str, embed_model: str, api_key: str | None) -> App:
    """Over ``backend``, or over the local models. The chat model is loaded here: what is wrong with it shows before
    anything listens, and the first caller does not wait for it."""
    if backend is not None:
        own = isinstance(backend, AsyncWithResources)
        return create_app(backend if own else AsyncWithResources(backend, Resources()), api_key=api_key)
    chat, embed = parse_reference(model), parse_reference(embed_model)
    for reference in (chat, embed):
        if reference.scheme != "local":
            raise ConfigurationError(f"the server runs local models; {str(reference)!r} is not one")
    from awsllm.backends.local.backend import AsyncLocalBackend, LocalBackend
    from awsllm.store import Store

    local = LocalBackend()
    hello = ConverseRequest(model=chat.model, messages=(Message.user("Hello"),))
    local.ask(CountTokensRequest(model=chat.model, converse=hello))
    Store().path(embed.model)
    models = Models(chat.model, embed.model)
    resources = Resources(models, knowledge_bases={}, guardrails={})
    return create_app(AsyncWithResources(AsyncLocalBackend(local), resources), models, api_key=api_key)


class _ServerThread(threading.Thread):
    """An event loop with a server, beside the caller's own."""

    def __init__(self, app: App, address: Address) -> None:
        super().__init__(name="awsllm-server", daemon=True)
        self._app, self._address = app, address
        self._settled = threading.Event()
        self._url: str | None = None
        self._error: BaseException | None = None
        self._halt: Callable[[], object] = lambda: None

    def run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self._error = error
        finally:
            self._settled.set()

    def url(self) -> str:
        """The base URL, once the server answers. Raises what kept it from starting."""
        self._settled.wait()
        if self._url is None:
            raise self._error or RuntimeError("the server ended before it answered")
        return self._url

    def stop(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            self._halt()
        self.join()

    async def _main(self) -> None:
        halt = asyncio.Event()
        self._halt = functools.partial(asyncio.get_running_loop().call_soon_threadsafe, halt.set)
        await _serve(self._app, self._address, self._ready, halt)

    def _ready(self, url: str) -> None:
        self._url = url
        self._settled.set()


@dataclass(slots=True)
class _Requests:
    """The application, and its requests under way, which can be ended. ``unread`` are those that are not whole yet."""

    app: App
    unread: set[asyncio.Task[Any]] = field(default_factory=set)
    whole: set[asyncio.Task[Any]] = field(default_factory=set)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _ending: bool = False

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        if scope["type"] != "http" or task is None:
            await self.app(scope, receive, send)
            return

        async def read() -> AsgiMessage:
            message = await receive()
            if task in self.unread and not message.get("more_body", False):
                self.unread.discard(task)
                self.whole.add(task)
            return message

        self.unread.add(task)
        try:
            await self.app(scope, read, send)
        except asyncio.CancelledError:
            if not self._ending:
                raise
        finally:
            self.unread.discard(task)
            self.whole.discard(task)
            if self._ending and not self.whole:
                self.ended.set()

    def end_unread(self) -> None:
        """Nothing more is read; what is whole may end by itself, and ``ended`` is set when all of it has."""
        self._ending = True
        for task in self.unread:
            task.cancel()
        if not self.whole:
            self.ended.set()

    def end(self) -> None:
        """Their clients see a connection that closes early; nothing is computed for them any more."""
        self.end_unread()
        for task in self.whole:
            task.cancel()


async def _serve(
    app: App, address: Address, ready: Callable[[str], None], halt: asyncio.Event, *, signals: bool = False
) -> None:
    requests, earlier = _Requests(app), _native_threads()
    server = _granian(requests, address, _connections(raise_limit=signals))
    serving = asyncio.ensure_future(server.serve())
    if signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, _on_signal, halt, requests)
    await _until_listening(address, serving)
    threads = _native_threads() - earlier
    ready(address.url)
    halted = asyncio.ensure_future(halt.wait())
    await asyncio.wait((serving, halted), return_when=asyncio.FIRST_COMPLETED)
    halted.cancel()
    server.stop()
    requests.end_unread()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(requests.ended.wait(), _GRACE if signals else _BLOCK_GRACE)
    requests.end()
    await asyncio.wait((serving,), timeout=_LEAVE)
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    await _until_ended(threads)


def _on_signal(halt: asyncio.Event, requests: _Requests) -> None:
    if halt.is_set():
        requests.end()
    halt.set()


def _native_threads() -> set[str]:
    """The ids of this process's threads that are not Python's, where the system tells them (Linux)."""
    ours = {str(thread.native_id) for thread in threading.enumerate()}
    try:
        return set(os.listdir("/proc/self/task")) - ours
    except OSError:
        return set()


async def _until_ended(threads: set[str]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LEAVE):
            while threads & _native_threads():
                await asyncio.sleep(0.001)


async def _until_listening(address: Address, serving: asyncio.Future[Any]) -> None:
    async def connect() -> None:
        while not serving.done():
            try:
                _, writer = await asyncio.open_connection(address.host, address.port)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return

    await asyncio.wait_for(connect(), _START)
    if serving.done():
        await serving
        raise ConfigurationError(f"the server could not start at {address.url}")


def _granian(app: App, address: Address, connections: int) -> Any:
    try:
        from granian.constants import HTTPModes, Interfaces, SSLProtocols
        from granian.http import HTTP1Settings
        from granian.log import LogLevels
        from granian.server.embed import Server
    except ImportError as error:
        raise ConfigurationError("the server needs an extra: pip install 'awsllm[serve]'") from error
    return Server(
        app,
        address=address.host,
        port=address.port,
        interface=Interfaces.ASGI,
        http=HTTPModes.auto,
        websockets=False,
        backlog=_CONNECTIONS,
        backpressure=connections,
        http1_settings=HTTP1Settings(header_read_timeout=_HEAD_TIMEOUT),
        log_level=LogLevels.error,
        ssl_cert=address.tls_cert,
        ssl_key=address.tls_key,
        ssl_protocol_min=SSLProtocols.tls12,
    )


def _connections(*, raise_limit: bool = False) -> int:
    """How many connections are taken at once: thousands, and at most half of the files that this process may open. Its
    own limit is raised where the process is the server's."""
    try:
        from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit, setrlimit
    except ImportError:  # Windows has no such limit
        return _CONNECTIONS
    soft, hard = getrlimit(RLIMIT_NOFILE)
    wanted = 2 * _CONNECTIONS
    if raise_limit and soft != RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):  # macOS has a further limit
            setrlimit(RLIMIT_NOFILE, (soft, hard))
    soft = getrlimit(RLIMIT_NOFILE)[0]
    return _CONNECTIONS if soft == RLIM_INFINITY else max(64, min(_CONNECTIONS, soft // 2))


def _address(host: str, port: int, tls_cert: str | Path | None, tls_key: str | Path | None) -> Address:
    """An address that is free at this moment. Raises ``ConfigurationError`` if it is not."""
    if (tls_cert is None) != (tls_key is None):
        raise ConfigurationError("TLS needs both a certificate and its key")
    for path in (tls_cert, tls_key):
        if path is not None and not Path(path).is_file():
            raise ConfigurationError(f"there is no file {str(path)!r}")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, place = min(
            found, key=lambda entry: entry[0] != socket.AF_INET
        )  # IPv4 where there is a choice
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
            host, port = probe.getsockname()[:2]
    except OSError as error:
        raise ConfigurationError(f"cannot listen at {host} port {port}: {error.strerror or error}") from error
    return Address(host, port, Path(tls_cert) if tls_cert else None, Path(tls_key) if tls_key else None)


def _check_exposure(host: str, api_key: str | None) -> None:
    if api_key is None and not is_loopback(host):
        raise ConfigurationError(f"{host} can be reached from other machines: give an API key, or listen at 127.0.0.1")
