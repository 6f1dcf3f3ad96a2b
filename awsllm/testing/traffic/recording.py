"""``recording``, ``record`` and ``replay``: a block of code whose traffic with AWS comes from a file, or goes there."""

from __future__ import annotations

import asyncio
import difflib
import functools
import inspect
import os
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, ParamSpec, Self, TypeAlias, TypedDict, TypeVar, Unpack, cast, get_args

from awsllm.aws.endpoints import MANTLE
from awsllm.errors import ConfigurationError
from awsllm.testing.traffic import cassette, taps
from awsllm.testing.traffic.exchange import RecordedExchange, RecordedRequest, SentRequest
from awsllm.testing.traffic.matching import MissingRecordingError, Shelf
from awsllm.testing.traffic.reading import read_request
from awsllm.testing.traffic.scrub import scrub_exchange, secrets_of
from awsllm.testing.traffic.scrubber import Scrubber
from awsllm.testing.traffic.take import Take

P = ParamSpec("P")
T = TypeVar("T")

RecordMode: TypeAlias = Literal["once", "new", "all", "none"]

# What ends a test in its middle: what was recorded until then shall not take the place of what is whole.
_INTERRUPTIONS = (KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError)

ScrubExchange: TypeAlias = Callable[[RecordedExchange], RecordedExchange | None]


class RecordingOptions(TypedDict, total=False):
    """What ``recording`` takes beside its mode."""

    ignore: Collection[str]
    scrub: ScrubExchange | None
    only: Collection[str]
    timing: bool
    repeats: bool
    strict: bool


def recording(path: str | Path, mode: RecordMode = "once", **options: Unpack[RecordingOptions]) -> Recording:
    """Traffic with AWS from the file at ``path``, or to it: a context manager, and a decorator of functions and
    coroutine functions.

    ``mode``, as VCR has them: ``once`` is what is in the file, and everything if there is no file; ``new`` adds what is
    not in it; ``all`` is everything anew, and ``none`` what is in the file alone.

    ``ignore``: members that are not compared, by name (at any depth) or path (``messages[*].content``). ``scrub`` edits
    an exchange before it is written, in place, or returns another; it is given each request that looks for its answer
    too, with no response. ``only``: services, by boto3's names; others pass by. ``timing``: pieces come when they came.
    ``repeats``: the last of equal answers is given again and again. ``strict``: leaving the block raises
    ``AssertionError`` if something recorded was not used."""
    return Recording(path, mode, options)


def record(path: str | Path, **options: Unpack[RecordingOptions]) -> Recording:
    """Store what boto3's and awsllm's clients send and receive, in place of what the file holds. ``options`` are
    ``recording``'s."""
    return Recording(path, "all", options)


def replay(path: str | Path, **options: Unpack[RecordingOptions]) -> Recording:
    """Answer boto3's and awsllm's clients from a file, which may be a cassette of vcrpy. Nothing is sent: what is not
    recorded raises ``MissingRecordingError``. ``options`` are ``recording``'s."""
    return Recording(path, "none", options)


class Recording(AbstractContextManager["Recording"]):
    """What ``recording`` returns. Entered again, it begins anew."""

    def __init__(self, path: str | Path, mode: RecordMode, options: RecordingOptions) -> None:
        if mode not in get_args(RecordMode):
            raise ConfigurationError(f"there is no mode {mode!r}; there are {', '.join(get_args(RecordMode))}")
        if unknown := options.keys() - RecordingOptions.__annotations__.keys():
            there = ", ".join(RecordingOptions.__annotations__)
            raise TypeError(f"recording() takes no option {', '.join(sorted(unknown))}; there are {there}")
        self.path, self.mode = Path(path), mode
        self.timing = options.get("timing", False)
        self._options = options
        self._only = frozenset(_listed(options.get("only", ())))
        if self._only:
            _check_services(self._only)
        self._lock = threading.Lock()
        self._kept: list[RecordedExchange] = []
        self._shelf = Shelf(())
        self._takes: list[Take] = []
        self.sends = self._discarded = False
        self._left: ExitStack | None = None

    # --- what a test looks at ----------------------------------------------------------------------------------------

    @property
    def exchanges(self) -> list[RecordedExchange]:
        """What the file holds, and what was recorded since, without secrets."""
        return [*self._kept, *self._recorded()]

    @property
    def unused(self) -> list[RecordedExchange]:
        """What the file held and nobody asked for."""
        return self._shelf.unused

    def assert_all_used(self) -> None:
        """Raise ``AssertionError`` if something recorded was not asked for."""
        if left := self.unused:
            named = "\n".join(f"  {exchange.request!r}" for exchange in left[:10])
            raise AssertionError(f"{len(left)} of the exchanges in {self.path} were not used:\n{named}")

    def discard(self) -> None:
        """Leave the file as it is, whatever was recorded."""
        self._discarded = True

    # --- entering and leaving ----------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        if self._left is not None:
            raise RuntimeError(f"the recording {self.path} is entered already: make another")
        self.path = self.path.absolute()  # a test may go to another folder
        exists = self.path.exists()
        self.sends = self.mode in ("new", "all") or (self.mode == "once" and not exists)
        self._kept = self._load() if exists and self.mode != "all" else []
        self._shelf = Shelf(
            self._kept, _listed(self._options.get("ignore", ())), repeats=self._options.get("repeats", False)
        )
        self._takes, self._discarded = [], False
        with ExitStack() as stack:
            if not self.sends:
                stack.enter_context(_no_credentials())
            stack.enter_context(taps.tapped(self))
            self._left = stack.pop_all()
        return self

    def _load(self) -> list[RecordedExchange]:
        """As a request that looks for its answer will be: what others recorded, or a hand edited, is not."""
        file = cassette.load(self.path)
        if file.foreign:
            return [self._clean(exchange) for exchange in file.exchanges]
        scrubber = Scrubber()
        return [scrub_exchange(exchange, scrubber) for exchange in file.exchanges]

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        stack, self._left = self._left, None
        if stack is not None:
            stack.close()
        if not self._discarded and not (kind is not None and issubclass(kind, _INTERRUPTIONS)):
            self._save()
        if kind is None and self._options.get("strict", False):
            self.assert_all_used()

    def _save(self) -> None:
        recorded = self._recorded() if self.sends else []
        if recorded or (self.mode == "all" and self.path.exists()):
            cassette.save(self.path, [*self._kept, *recorded])

    def __call__(self, func: Callable[P, T]) -> Callable[P, T]:
        if inspect.isclass(func) or inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
            raise TypeError(f"a recording decorates functions and coroutine functions, and {func!r:.80} is neither")
        if inspect.iscoroutinefunction(func):

            @functools.wraps(func)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                with self._again():
                    return await func(*args, **kwargs)

            return cast("Callable[P, T]", awaited)

        @functools.wraps(func)
        def called(*args: P.args, **kwargs: P.kwargs) -> T:
            with self._again():
                return func(*args, **kwargs)

        return called

    def _again(self) -> Recording:
        """A function that is decorated may call itself, and run on several threads."""
        return Recording(self.path, self.mode, self._options)

    # --- what a tap asks ---------------------------------------------------------------------------------------------

    def concerns(self, service: str) -> bool:
        return not self._only or service in self._only

    def answer(self, sent: SentRequest) -> RecordedExchange | None:
        """The recorded exchange that answers ``sent``, or None: send it then. Raises ``MissingRecordingError``."""
        if self.mode == "all" or (self.sends and not self._kept):
            return None
        request = self._clean(RecordedExchange(read_request(sent)), sent).request
        found = self._shelf.take(request, sent.prefix)
        if found is not None or self.sends:
            return found
        raise MissingRecordingError(self._missing(request, sent.prefix))

    def take(self, sent: SentRequest) -> Take:
        """Begin to record ``sent``."""
        take = Take(sent)
        with self._lock:
            self._takes.append(take)
        return take

    def _missing(self, request: RecordedRequest, prefix: str) -> str:
        asked = f"{request.service} {request.operation or f'{request.method} {request.path}'}"
        if not self.path.exists():
            why = "There is no such file."
        else:
            why = self._shelf.explain(request, prefix)
        return (
            f"{self.path} has no answer to this request of {asked}.\n{why}\n"
            'To record what is missing: mode="new" (pytest --awsllm-record=new), or "all" for everything anew.'
        )

    def _recorded(self) -> list[RecordedExchange]:
        with self._lock:
            takes = list(self._takes)
        exchanges = [(exchange, take.sent) for take in takes if (exchange := take.exchange()) is not None]
        return [self._clean(exchange, sent) for exchange, sent in exchanges]

    def _clean(self, exchange: RecordedExchange, sent: SentRequest | None = None) -> RecordedExchange:
        """Without secrets: the user's come out first, so that he sees what there is, and nobody's come back in."""
        if (scrub := self._options.get("scrub")) is not None:
            exchange = scrub(exchange) or exchange
        return scrub_exchange(exchange, Scrubber(secrets_of(sent.headers) if sent is not None else ()))


def _listed(names: Collection[str]) -> Collection[str]:
    """One name may stand alone."""
    return [names] if isinstance(names, str) else names


def _check_services(names: Collection[str]) -> None:
    """What is misspelt would go by a recording, to AWS."""
    from botocore.loaders import create_loader

    known = {*create_loader().list_available_services("service-2"), MANTLE, "sagemaker-inference-router-runtime"}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ConfigurationError(f"there is no service {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))


@contextmanager
def _no_credentials() -> Iterator[None]:
    """Where nothing is sent, keys are needed all the same, and real ones should not be at hand; nor is a region that
    nobody has named. boto3's default session, which keeps what it found, is another while the block runs."""
    import boto3

    made_up = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"), "testing")
    if not os.environ.keys() & {"AWS_REGION", "AWS_DEFAULT_REGION"}:
        made_up["AWS_DEFAULT_REGION"] = "us-east-1"
    before = {name: os.environ.get(name) for name in made_up}
    session = boto3.DEFAULT_SESSION
    os.environ.update(made_up)
    boto3.DEFAULT_SESSION = None
    try:
        yield
    finally:
        boto3.DEFAULT_SESSION = session
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
