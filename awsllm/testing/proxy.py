"""``FaultProxy``: a network that misbehaves, between any client and any server.

It carries TCP from a port of this machine to a server and knows nothing of what it carries, TLS included: what happens
to a connection happens to bytes. What a server itself does wrong is ``testing.faults``.

    from awsllm.testing.proxy import FaultProxy, latency, reset_peer

    with FaultProxy(aws.url, latency(0.05, jitter=0.02), reset_peer(at=(0, 4000), probability=0.05), seed=7) as proxy:
        client = awsllm.Client(endpoint_url=proxy.url)

The words are toxiproxy's, which is the precedent: a ``Toxic`` is what happens to one direction of a connection.

    latency(0.1, jitter=0.05)     each piece arrives so much later
    bandwidth(10_000)             bytes a second
    slicer(10, delay=0.01)        pieces of so many bytes at most
    slow_close(2)                 the end of the connection is told so much later
    timeout(5), timeout()         nothing arrives, and after so long the connection is closed; never
    stall(30, at=200)             silence after so many bytes, then it goes on
    limit_data(100)               the connection ends after so many bytes, as if that were all
    reset_peer(at=100)            it ends there with a reset
    half_close(at=100)            the server seems to say no more, and still listens
    flip(at=100)                  that byte is another: a checksum is wrong
    refusal(429, retry_after=1)   an HTTP reply in the server's place; ``connections=50`` of them are a storm

``at`` may be a range, from which the seed draws. Bytes are counted from the connection's beginning, and a client that
keeps connections sends many requests over one. Which connections a toxic happens to is a function of the seed and the
connection's number alone (``probability``, ``after``, ``connections``), so that a run can be repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias, TypeVar
from urllib.parse import urlsplit

import msgspec

from awsllm.errors import ConfigurationError

T = TypeVar("T")
Direction: TypeAlias = Literal["down", "up"]
_Kind: TypeAlias = Literal["latency", "bandwidth", "slicer", "slow_close", "timeout", "stall", "cut", "reset", "half"]
_PIECE = 65_536
_QUEUED = 64  # pieces between who reads and who writes: a peer that is held up is no reason to keep all it would get
_NEVER = float("inf")


class Toxic(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to one direction of a connection: ``down`` is what the server sends, ``up`` what the client does.
    ``after`` so many connections that go well it happens to ``connections`` of them at most, with a ``probability``."""

    kind: _Kind | Literal["flip", "refusal"]
    direction: Direction = "down"
    at: int | tuple[int, int] = 0
    seconds: float = 0.0
    jitter: float = 0.0
    amount: int = 0
    reply: bytes = b""
    probability: float = 1.0
    after: int = 0
    connections: int | None = None

    def __post_init__(self) -> None:
        low, high = self.at if isinstance(self.at, tuple) else (self.at, self.at)
        if not 0 <= low <= high or min(self.seconds, self.jitter, self.after) < 0 or not 0 <= self.probability <= 1:
            raise ConfigurationError(f"a toxic cannot have these figures: {self!r}")
        if self.kind in ("bandwidth", "slicer") and self.amount < 1:
            raise ConfigurationError(f"{self.kind} takes a number of bytes, 1 or more")


def latency(seconds: float, *, jitter: float = 0.0, **where: Any) -> Toxic:
    """Each piece arrives ``seconds`` later, give or take ``jitter``; their order is kept."""
    return Toxic(kind="latency", seconds=seconds, jitter=jitter, **where)


def bandwidth(bytes_per_second: int, **where: Any) -> Toxic:
    """A slow body."""
    return Toxic(kind="bandwidth", amount=bytes_per_second, **where)


def slicer(size: int, *, delay: float = 0.0, **where: Any) -> Toxic:
    """Pieces of ``size`` bytes at most, ``delay`` seconds apart."""
    return Toxic(kind="slicer", amount=size, seconds=delay, **where)


def slow_close(seconds: float, **where: Any) -> Toxic:
    """That the connection has ended is told later."""
    return Toxic(kind="slow_close", seconds=seconds, **where)


def timeout(seconds: float | None = None, **where: Any) -> Toxic:
    """Nothing arrives, and the connection is closed after ``seconds``; None is never."""
    return Toxic(kind="timeout", seconds=_NEVER if seconds is None else seconds, **where)


def stall(seconds: float, *, at: int | tuple[int, int] = 0, **where: Any) -> Toxic:
    """Silence for ``seconds`` after ``at`` bytes."""
    return Toxic(kind="stall", seconds=seconds, at=at, **where)


def limit_data(at: int | tuple[int, int], **where: Any) -> Toxic:
    """The connection is closed in good order after ``at`` bytes: a cut that only a protocol can tell from an end."""
    return Toxic(kind="cut", at=at, **where)


def reset_peer(*, at: int | tuple[int, int] = 0, **where: Any) -> Toxic:
    """A reset after ``at`` bytes."""
    return Toxic(kind="reset", at=at, **where)


def half_close(*, at: int | tuple[int, int] = 0, **where: Any) -> Toxic:
    """The end of this direction alone after ``at`` bytes."""
    return Toxic(kind="half", at=at, **where)


def flip(at: int | tuple[int, int], **where: Any) -> Toxic:
    """The byte at ``at`` arrives as another."""
    return Toxic(kind="flip", at=at, **where)


def refusal(
    status: int = 429, *, code: str = "ThrottlingException", retry_after: float | None = None, **where: Any
) -> Toxic:
    """An HTTP reply in AWS's shape to the connection's first request, which the server does not see. The connection is
    closed with it."""
    body = msgspec.json.encode({"message": "A fault that was asked for."})
    hint = "" if retry_after is None else f"Retry-After: {retry_after:g}\r\n"
    head = (
        f"HTTP/1.1 {status} Refused\r\nContent-Type: application/json\r\nx-amzn-ErrorType: {code}\r\n{hint}"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return Toxic(kind="refusal", reply=head.encode() + body, **where)


@dataclass(slots=True)
class ProxiedConnection:
    """One that a client made: what it met, and how many bytes each side was handed. ``ended`` is None while it is
    open, then closed, reset or refused."""

    number: int
    toxics: tuple[Toxic, ...]
    up: int = 0
    down: int = 0
    ended: str | None = None


class FaultProxy(contextlib.AbstractContextManager["FaultProxy"]):
    """A context manager; the proxy runs on a thread of its own, so that any client can be behind it."""

    def __init__(self, target: str, *toxics: Toxic, seed: int = 0) -> None:
        """``target`` is a URL or HOST:PORT."""
        parts = urlsplit(target if "//" in target else f"//{target}")
        if parts.hostname is None or not (parts.port or parts.scheme):
            raise ConfigurationError(f"a proxy's target is a URL or HOST:PORT, not {target!r}")
        self._host, self._scheme = parts.hostname, parts.scheme or "tcp"
        self._target_port = parts.port or (443 if parts.scheme == "https" else 80)
        self._toxics: tuple[Toxic, ...] = toxics
        self._seed = seed
        self._met: dict[int, int] = {}  # how often each toxic happened, by its identity: two may be equal
        self.connections: list[ProxiedConnection] = []
        self._port = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where clients find it, inside the block, with the target's scheme."""
        return f"{self._scheme}://127.0.0.1:{self._port}"

    @property
    def open(self) -> int:
        """How many connections are open."""
        return sum(connection.ended is None for connection in self.connections)

    def add(self, *toxics: Toxic) -> None:
        """To connections from now on."""
        self._toxics = (*self._toxics, *toxics)

    def clear(self) -> None:
        """New connections are carried as they should be."""
        self._toxics = ()
        self._met.clear()

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Within, connections are refused, and those that are open are reset."""
        self._do(self._stop_listening())
        try:
            yield
        finally:
            self._do(self._listen())

    # --- its thread --------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, *exc_info: object) -> None:
        loop, self._loop = self._loop, None
        if loop is None:
            return
        asyncio.run_coroutine_threadsafe(self._stop_listening(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise RuntimeError("the proxy runs inside `with FaultProxy(...)` only")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port, backlog=1024)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await asyncio.sleep(0)  # who was accepted a moment ago is told to ``_accept`` in the loop's next turn
        for link in list(self._links):
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)
        await asyncio.sleep(0)  # what a transport still closes is closed in the loop's next turn

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(self.connections)
        link = ProxiedConnection(number, tuple(self._happening(number)))
        self.connections.append(link)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a callback of a server is one
        self._links.add(task)
        try:
            await self._carry(link, reader, writer)
        except asyncio.CancelledError:
            _reset(writer)
            link.ended = link.ended or "reset"
        finally:
            self._links.discard(task)
            link.ended = link.ended or "closed"

    def _happening(self, number: int) -> Iterator[Toxic]:
        """What happens to this connection, with each ``at`` drawn."""
        for place, toxic in enumerate(self._toxics):
            drawn = random.Random(f"{self._seed}:{place}:{number}")  # noqa: S311 - a test's
            if number < toxic.after or drawn.random() >= toxic.probability:
                continue
            met = self._met.get(id(toxic), 0)
            if toxic.connections is not None and met >= toxic.connections:
                continue
            self._met[id(toxic)] = met + 1
            at = drawn.randint(*toxic.at) if isinstance(toxic.at, tuple) else toxic.at
            yield msgspec.structs.replace(toxic, at=at)

    async def _carry(self, link: ProxiedConnection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        refused = next((toxic for toxic in link.toxics if toxic.kind == "refusal"), None)
        if refused is not None:
            await _refuse(reader, writer, refused.reply)
            link.ended = "refused"
            return
        try:
            above, below = await asyncio.open_connection(self._host, self._target_port)
        except OSError:
            _reset(writer)
            link.ended = "reset"
            return
        pipes = [_Pipe(link, "up", reader, below, self._seed), _Pipe(link, "down", above, writer, self._seed)]
        running = [asyncio.create_task(pipe.run()) for pipe in pipes]
        for task, other in zip(running, reversed(pipes), strict=True):
            task.add_done_callback(lambda _, other=other: other.is_alone.set())  # type: ignore[misc]
        try:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            # Who has said all may still listen: the other direction ends by itself, unless this end was violent.
            if not any(task.result() for task in done):
                await asyncio.wait(running)
            if any(task.done() and task.result() == "reset" for task in running):
                _reset(writer)
                link.ended = "reset"
        except asyncio.CancelledError:  # the proxy is going down
            _reset(writer)
            raise
        finally:
            for each in (writer, below):
                each.close()
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


class _Pipe:
    """One direction of a connection."""

    def __init__(
        self,
        link: ProxiedConnection,
        direction: Direction,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        seed: int,
    ) -> None:
        mine = [toxic for toxic in link.toxics if toxic.direction == direction]
        self._link, self._direction = link, direction
        self._reader, self._writer = reader, writer
        self._marks = sorted((toxic for toxic in mine if toxic.kind in _MARKS), key=lambda toxic: int(_at(toxic)))
        self._lags = [toxic for toxic in mine if toxic.kind == "latency"]
        self._slices = [toxic for toxic in mine if toxic.kind == "slicer"]
        self._rate = min((toxic.amount for toxic in mine if toxic.kind == "bandwidth"), default=0)
        self._linger = sum(toxic.seconds for toxic in mine if toxic.kind == "slow_close")
        self._random = random.Random(f"{seed}:{direction}:{link.number}")  # noqa: S311 - a test's
        self._passed = 0
        self.is_alone = asyncio.Event()  # the other direction has ended

    async def run(self) -> str | None:
        """Carry all. None is an end in good order, else what ended the whole connection: closed or reset."""
        if not self._lags:
            return await self._write(self._read)
        queue: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue(_QUEUED)
        reading = asyncio.create_task(self._read_ahead(queue))

        async def later() -> bytes | None:
            due, piece = await queue.get()
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            return piece

        try:
            return await self._write(later)
        finally:
            reading.cancel()

    async def _read(self) -> bytes | None:
        """The next piece, empty at the end; None is a reset."""
        try:
            return await self._reader.read(_PIECE)
        except OSError:
            return None

    async def _read_ahead(self, queue: asyncio.Queue[tuple[float, bytes | None]]) -> None:
        loop, piece = asyncio.get_running_loop(), b" "
        while piece:
            piece = await self._read()  # type: ignore[assignment]
            lag = sum(toxic.seconds + self._random.uniform(-toxic.jitter, toxic.jitter) for toxic in self._lags)
            await queue.put((loop.time() + max(0.0, lag), piece))

    async def _write(self, read: Callable[[], Coroutine[Any, Any, bytes | None]]) -> str | None:
        try:
            while piece := await read():
                for part in self._parts(piece):
                    if ended := await self._pass(part):
                        return ended
        except OSError:  # who was to get it is gone
            return "closed"
        if piece is None:
            return "reset"
        await asyncio.sleep(self._linger)
        return self._end()

    def _end(self) -> str | None:
        try:
            self._writer.write_eof()
        except (OSError, RuntimeError):
            return "closed"
        return None

    def _parts(self, piece: bytes) -> Iterator[bytes]:
        size = min([len(piece), *(toxic.amount for toxic in self._slices)])
        if self._rate:
            size = min(size, max(1, self._rate // 20))  # twenty pieces a second look like a slow line
        return (piece[at : at + size] for at in range(0, len(piece), size))

    async def _pass(self, piece: bytes) -> str | None:
        """Hand on a piece, up to what happens within it."""
        while self._marks and _at(self._marks[0]) < self._passed + len(piece):
            mark = self._marks.pop(0)
            before, piece = piece[: _at(mark) - self._passed], piece[_at(mark) - self._passed :]
            await self._send(before)
            if mark.kind == "flip":
                piece = bytes((piece[0] ^ 0xFF,)) + piece[1:]
            elif ended := await self._happen(mark):
                return ended
        await self._send(piece)
        return None

    async def _happen(self, mark: Toxic) -> str | None:
        match mark.kind:
            case "stall":
                await asyncio.sleep(mark.seconds)
                return None
            case "timeout":
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.is_alone.wait(), None if mark.seconds == _NEVER else mark.seconds)
            case "half":
                self._end()
                await self.is_alone.wait()
        return "reset" if mark.kind == "reset" else "closed"

    async def _send(self, piece: bytes) -> None:
        if not piece:
            return
        self._writer.write(piece)
        await self._writer.drain()
        self._passed += len(piece)
        setattr(self._link, self._direction, self._passed)
        pause = sum(toxic.seconds for toxic in self._slices) + (len(piece) / self._rate if self._rate else 0.0)
        if pause:
            await asyncio.sleep(pause)


_MARKS = frozenset({"timeout", "stall", "cut", "reset", "half", "flip"})


def _at(toxic: Toxic) -> int:
    return toxic.at if isinstance(toxic.at, int) else toxic.at[0]


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection so that its other side reads a reset."""
    plain = writer.transport.get_extra_info("socket")
    if plain is not None:
        with contextlib.suppress(OSError):
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reply: bytes) -> None:
    """Answer one request in HTTP, once it was read whole: who is still sending would see a reset."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length or 0))
        writer.write(reply)
        await writer.drain()
    except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass
    finally:
        writer.close()
