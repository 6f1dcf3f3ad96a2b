"""Several processes that serve at one address, and one that looks after them.

Each worker listens at the address by itself (SO_REUSEPORT, which granian sets), so the system shares connections out,
and no worker waits for another. The first process serves nothing: it keeps the port, starts a worker anew that has
died, hands signals on, and ends when all workers have. A worker whose first process is gone ends, too.

What workers share stands in files: keys, their use, the table of models. An account's state is in one process, so there
is none; nor are there responses for ``previous_response_id``, nor an administration. Each worker loads its own models.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, NamedTuple

from awsllm.errors import AwsllmError, ConfigurationError
from awsllm.server.assembly import Settings
from awsllm.server.http.tls import Certificates
from awsllm.server.run import Address, Running, certificates_of, check_exposure, free_address, serve_at
from awsllm.server.surfaces.openai import keep_nothing

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess
    from pathlib import Path

_PAUSE = 0.5  # seconds before a worker that died is started anew, doubled each time that it dies at once
_LONGEST_PAUSE = 10.0
_STABLE = 30.0  # a worker that lived so long did not die at once


class Serving(NamedTuple):
    """A server that answers at ``url``, and the certificate of the authority to trust, if it is this machine's."""

    url: str
    authority: Path | None


def supervise(
    count: int,
    host: str = "127.0.0.1",
    port: int = 8900,
    *,
    tls: bool | Certificates = False,
    ready: Callable[[Serving], None] = lambda server: None,
    **settings: Any,
) -> None:
    """Serve with ``count`` workers until SIGINT or SIGTERM, as ``run.serve`` does with one process. Raises
    ``ConfigurationError`` for settings that workers cannot share, and for a worker that cannot begin."""
    settings["admin_token"] = None
    chosen = Settings(**settings)
    _check(count, chosen)
    check_exposure(host, chosen)
    with certificates_of(tls) as certificates, _reserved(free_address(host, port, certificates)) as address:
        authority = certificates.authority if certificates else None
        _Workers(count, address, settings).run(lambda: ready(Serving(address.url, authority)))


def _check(count: int, settings: Settings) -> None:
    if count < 1:
        raise ConfigurationError(f"{count} workers serve nothing")
    if not hasattr(socket, "SO_REUSEPORT"):
        raise ConfigurationError("several workers at one port are not possible on this system")
    if settings.account:
        raise ConfigurationError("an account's state is in one process: several workers need --no-account")
    if settings.backend is not None:
        raise ConfigurationError("a backend of this process cannot be shared by several workers")
    if settings.keys is not None and settings.usage is None:
        raise ConfigurationError("several workers count the use of keys in one file: give --usage")


@contextlib.contextmanager
def _reserved(address: Address) -> Iterator[Address]:
    """The address with its port held, so that it stays this server's while no worker listens."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((address.host, address.port))
        yield replace(address, port=holder.getsockname()[1])


@dataclass(slots=True)
class _Worker:
    """A process. ``answers`` is what it tells: True once it listens, or the words of why it cannot."""

    process: SpawnProcess
    answers: Connection
    since: float = field(default_factory=time.monotonic)
    said: object = None

    def listens(self) -> bool:
        """Whether it is known to listen. Waits for nothing."""
        if self.said is None and self.answers.poll():
            with contextlib.suppress(EOFError):  # it has died
                self.said = self.answers.recv()
        return self.said is True


class _Workers:
    """The workers of one server. ``settings`` are plain values, which go to each; signals wake who waits, by a pipe."""

    def __init__(self, count: int, address: Address, settings: dict[str, Any]) -> None:
        self._count, self._address, self._settings = count, address, settings
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._ending = False
        self._pause = _PAUSE
        self._woken, self._wake = multiprocessing.Pipe(duplex=False)

    def run(self, ready: Callable[[], None]) -> None:
        with self._signals_taken():
            try:
                for _ in range(self._count):
                    self._start()
                if self._all_listen():
                    ready()
                while self._workers:
                    self._look()
            finally:
                for worker in self._workers:
                    worker.process.kill()

    def _start(self) -> None:
        answers, tell = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_work, args=(self._address, self._settings, tell), name="awsllm-worker", daemon=True
        )
        process.start()
        tell.close()  # the worker's end: so that its death is an end of file
        self._workers.append(_Worker(process, answers))
        if self._ending:  # the signal came while it began
            process.terminate()

    def _all_listen(self) -> bool:
        """Whether all workers listen; False when a signal has ended them before. Raises what keeps one from it."""
        for worker in self._workers:
            wait([worker.answers])
            if worker.listens():
                continue
            if self._ending:
                return False
            worker.process.join()
            ended = f"a worker ended with status {worker.process.exitcode} before it listened"
            raise ConfigurationError(str(worker.said or ended))
        return not self._ending

    def _look(self) -> None:
        """Wait for something to happen: a worker's end or beginning, a signal."""
        beginning = [worker for worker in self._workers if worker.said is None]
        sentinels = [worker.process.sentinel for worker in self._workers]
        wait([self._woken, *sentinels, *(worker.answers for worker in beginning)])
        for worker in beginning:
            worker.listens()
        while self._woken.poll():
            self._woken.recv_bytes()
        ended = [worker for worker in self._workers if not worker.process.is_alive()]
        for worker in ended:
            self._workers.remove(worker)
            worker.process.join()
            worker.answers.close()
            if not self._ending:
                self._revive(worker)

    def _revive(self, dead: _Worker) -> None:
        import logging

        lived = time.monotonic() - dead.since
        self._pause = _PAUSE if lived > _STABLE else min(self._pause * 2, _LONGEST_PAUSE)
        logging.getLogger(__name__).warning(
            "worker %s ended with status %s and is started anew", dead.process.pid, dead.process.exitcode
        )
        self._woken.poll(0 if lived > _STABLE else self._pause)  # a signal ends the wait
        if not self._ending:
            self._start()

    # --- signals -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signals_taken(self) -> Iterator[None]:
        taken = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
        before = {number: signal.signal(number, self._on_signal) for number in taken}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self._woken.close()
            self._wake.close()

    def _on_signal(self, number: int, frame: Any) -> None:
        """Handed on: a terminal's Ctrl-C reaches the workers too, which do not heed it. A worker that begins reads its
        files by itself, and would be ended by a SIGHUP."""
        again = number == signal.SIGHUP
        self._ending = self._ending or not again
        for worker in self._workers:
            if worker.process.pid is not None and (not again or worker.said is True):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.process.pid, signal.SIGHUP if again else signal.SIGTERM)
        self._wake.send_bytes(b"!")


def _work(address: Address, settings: dict[str, Any], tell: Connection) -> None:
    """A worker's whole work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="awsllm-parent", daemon=True).start()
    keep_nothing()

    def ready(running: Running) -> None:
        tell.send(True)
        tell.close()

    try:
        serve_at(address, Settings(**settings), ready, (signal.SIGTERM,))
    except AwsllmError as error:
        with contextlib.suppress(OSError):  # it listens already, and nobody waits for words
            tell.send(error.message)
        raise SystemExit(1) from None


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
