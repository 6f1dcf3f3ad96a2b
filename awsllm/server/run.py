"""Running the application: one process, one event loop, HTTP/1.1 and HTTP/2 without TLS on one port.

granian because of what was measured: the JavaScript SDK speaks HTTP/2 with prior knowledge to http:// addresses, and
of the servers that take both protocols on one port only granian both finishes its streams (hypercorn cuts them) and
tells the application when a client has left (gunicorn does not). Its embedded form runs in our event loop, so the
model's weights are in this process and signals are ours: the first SIGINT or SIGTERM lets requests end, for
``Settings.grace`` seconds at most, the second does not. Leaving ``running``'s block gives them ``_BLOCK_GRACE``
seconds.

While they end the server still listens: ``/ready`` says 503, so that nobody sends more, and what comes all the same is
refused (``Load.draining``). The account's jobs are waited for within the same time. What is not yet a whole request
when the server stops is not waited for. Requests that are under way when the time is
over are ended here, each at its place (``_Requests``), because granian waits for them without end and reports those
that the closing event loop cancels as failures. It also waits for clients that say nothing, an HTTP/2 preface without
an end among them; so connections that are still there after ``_FLUSH`` seconds, in which what was answered is written
out, are shut here. granian's own threads
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
import logging
import os
import signal
import socket
import stat
import threading
from collections.abc import Callable, Collection, Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from awsllm.errors import ConfigurationError
from awsllm.server.assembly import Assembly, Settings, assemble
from awsllm.server.http.app import App, Send
from awsllm.server.http.auth import is_loopback, usable_key
from awsllm.server.http.bodies import AsgiMessage, Receive
from awsllm.server.http.tls import Certificates, local_certificates
from awsllm.server.places import check_not_itself

if TYPE_CHECKING:
    from awsllm.backend import AsyncBackend

_BLOCK_GRACE = 1.0  # seconds; a test that forgot a stream should not wait long
_START = 30.0  # seconds
_FLUSH = 0.5  # seconds
_LEAVE = 2.0  # seconds for connections that were shut, and for threads, to be gone
_LOOK = 0.02  # seconds between two looks at the account's jobs
_CONNECTIONS = 4096
_HEAD_TIMEOUT = 30_000  # milliseconds
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen, and with what. Port 0 is any free one."""

    host: str = "127.0.0.1"
    port: int = 0
    certificates: Certificates | None = None

    @property
    def url(self) -> str:
        """Where clients of this machine reach it: an address that stands for all of them is none to connect to."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        host = f"[{host}]" if ":" in host else host
        return f"{'https' if self.certificates else 'http'}://{host}:{self.port}"


def serve(
    host: str = "127.0.0.1",
    port: int = 8900,
    *,
    tls: bool | Certificates = False,
    ready: Callable[[Running], None] = lambda server: None,
    **settings: Any,
) -> None:
    """Serve until SIGINT or SIGTERM. ``tls`` is a certificate and its key, or True: one of a certificate authority of
    this machine. ``settings`` are those of ``Settings``; ``ready`` is called once the server answers. Raises
    ``ConfigurationError`` for an address that cannot be used: one that others can reach needs an API key."""
    chosen = Settings(**settings)
    check_exposure(host, chosen)
    with certificates_of(tls) as certificates:
        serve_at(free_address(host, port, certificates), chosen, ready)


def serve_at(
    address: Address,
    settings: Settings,
    ready: Callable[[Running], None],
    signals: Collection[signal.Signals] = (signal.SIGINT, signal.SIGTERM),
) -> None:
    """Serve at an address until one of ``signals``, as the whole work of this process."""
    assembly = assemble(settings)

    def listening(url: str) -> None:
        ready(Running(url, assembly, address.certificates.authority if address.certificates else None))

    with contextlib.closing(assembly):
        host = urlsplit(address.url).hostname or address.host
        check_not_itself(host, address.port, assembly.models.targets(), calls_aws=settings.in_dynamodb)
        life = _Life.of(assembly, settings.grace, signals)
        asyncio.run(_serve(assembly.app, address, listening, asyncio.Event(), life))


@contextlib.contextmanager
def running(backend: AsyncBackend | None = None, *, tls: bool | Certificates = False, **settings: Any) -> Iterator[str]:
    """A server on a free port of this machine while the block runs, on a thread of its own; gives its base URL. Over
    ``backend`` with the callers' own model ids, else over local models. ``tls`` and ``settings`` are those of
    ``serve``."""
    with started(Settings(backend=backend, **settings), tls=tls) as server:
        yield server.url


@contextlib.contextmanager
def started(settings: Settings, *, tls: bool | Certificates = False) -> Iterator[Running]:
    """The same, with its parts."""
    with certificates_of(tls) as certificates, contextlib.closing(assemble(settings)) as assembly:
        thread = _ServerThread(assembly.app, free_address("127.0.0.1", 0, certificates), _Life.of(assembly))
        thread.start()
        try:
            yield Running(thread.url(), assembly, certificates.authority if certificates else None)
        finally:
            thread.stop()


class Running(NamedTuple):
    """A server that answers: its base URL, its parts, and the certificate of the authority to trust, if it is this
    machine's."""

    url: str
    assembly: Assembly
    authority: Path | None


@contextlib.contextmanager
def certificates_of(tls: bool | Certificates) -> Iterator[Certificates | None]:
    """What to listen with, while the block runs."""
    if tls is True:
        with local_certificates() as made:
            yield made
    else:
        yield tls or None


def _nothing() -> None:
    """Nobody wants to know."""


def _none() -> list[str]:
    """Nothing runs."""
    return []


@dataclass(frozen=True, slots=True)
class _Life:
    """How a server begins and ends. ``begun`` is called in the event loop before anything listens, ``ending`` when
    nothing new is taken any more, and ``reload`` on SIGHUP, where there is something to read anew; ``jobs`` are those
    of the account that run. What is under way has ``grace`` seconds to end. With ``signals`` the process is the
    server's, and they end it."""

    begun: Callable[[], None] = _nothing
    ending: Callable[[], None] = _nothing
    reload: Callable[[], None] | None = None
    jobs: Callable[[], list[str]] = _none
    grace: float = _BLOCK_GRACE
    signals: Collection[signal.Signals] = ()

    @classmethod
    def of(cls, assembly: Assembly, grace: float = _BLOCK_GRACE, signals: Collection[signal.Signals] = ()) -> _Life:
        aws, reload = assembly.aws, assembly.reload if assembly.files else None
        jobs = (lambda: list(aws.account.running)) if aws is not None else _none
        return cls(assembly.blocking.begin, assembly.load.drain, reload, jobs, grace, signals)


class _ServerThread(threading.Thread):
    """An event loop with a server, beside the caller's own."""

    def __init__(self, app: App, address: Address, life: _Life | None = None) -> None:
        super().__init__(name="awsllm-server", daemon=True)
        self._app, self._address, self._life = app, address, life or _Life()
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
        await _serve(self._app, self._address, self._ready, halt, self._life)

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
    given_up: bool = False
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
        self.given_up = True
        self.end_unread()
        for task in self.whole:
            task.cancel()


async def _serve(app: App, address: Address, ready: Callable[[str], None], halt: asyncio.Event, life: _Life) -> None:
    life.begun()
    requests, earlier = _Requests(app), _native_threads()
    server = _granian(requests, address, _connections(raise_limit=bool(life.signals)))
    serving = asyncio.ensure_future(server.serve())
    for number in life.signals:
        asyncio.get_running_loop().add_signal_handler(number, _on_signal, halt, requests)
    if life.signals and life.reload is not None and hasattr(signal, "SIGHUP"):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, life.reload)
    await _until_listening(address, serving)
    threads = _native_threads() - earlier
    ready(address.url)
    halted = asyncio.ensure_future(halt.wait())
    await asyncio.wait((serving, halted), return_when=asyncio.FIRST_COMPLETED)
    halted.cancel()
    await _let_end(requests, life)
    server.stop()
    await asyncio.wait((serving,), timeout=_FLUSH)
    _shut_connections(address.port)
    await asyncio.wait((serving,), timeout=_LEAVE)
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    await _until_ended(threads)


async def _let_end(requests: _Requests, life: _Life) -> None:
    """Wait for what is under way, at most for the grace; end what is left of the requests and tell of the jobs."""
    life.ending()
    requests.end_unread()
    waits = len(requests.whole) + len(life.jobs())
    if life.signals and waits:  # else whoever pressed Ctrl-C would wonder
        words = "requests and jobs under way have %g seconds to end (%d); another signal ends them now"
        _log.warning(words, life.grace, waits)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(life.grace):
            await requests.ended.wait()
            while life.jobs() and not requests.given_up:
                await asyncio.sleep(_LOOK)
    requests.end()
    if left := life.jobs():
        _log.warning("the server ends before %s", ", ".join(left))


def _shut_connections(port: int) -> None:
    """Shut the connections that clients have with this process at ``port``, where the system tells of them (Linux)."""
    with contextlib.suppress(OSError):
        for number in map(int, os.listdir("/proc/self/fd")):
            with contextlib.suppress(OSError):
                if not stat.S_ISSOCK(os.fstat(number).st_mode):
                    continue
                with socket.socket(fileno=os.dup(number)) as found:
                    internet = found.family in (socket.AF_INET, socket.AF_INET6)
                    if internet and found.getpeername() and found.getsockname()[1] == port:
                        found.shutdown(socket.SHUT_RDWR)


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
        ssl_cert=address.certificates.certificate if address.certificates else None,
        ssl_key=address.certificates.key if address.certificates else None,
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


def free_address(host: str, port: int, certificates: Certificates | None = None) -> Address:
    """An address that is free at this moment. Raises ``ConfigurationError`` if it is not."""
    if certificates:
        _check_certificates(certificates)
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
    return Address(host, port, certificates)


def _check_certificates(certificates: Certificates) -> None:
    """Raise ``ConfigurationError`` for files that no TLS can be spoken with."""
    import ssl

    for path in (certificates.certificate, certificates.key):
        if not path.is_file():
            raise ConfigurationError(f"there is no file {str(path)!r}")
    try:  # a key that wants a password is refused: nobody is asked for one
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.certificate, certificates.key, password=lambda: "")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or "the key may be encrypted, or a file may be no PEM"
        names = f"certificate {str(certificates.certificate)!r} with key {str(certificates.key)!r}"
        raise ConfigurationError(f"the {names} cannot be used: {reason}") from error


def check_exposure(host: str, settings: Settings) -> None:
    """Raise ``ConfigurationError`` where other machines would reach a server that asks for no key."""
    if usable_key(settings.api_key) is None and settings.keys is None and not is_loopback(host):
        raise ConfigurationError(f"{host} can be reached from other machines: give an API key, or listen at 127.0.0.1")
