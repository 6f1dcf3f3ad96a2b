"""``server``: what ``mock_aws`` answers, on a port, for clients that cannot be intercepted.

A program in another process or another language, curl, an SDK of OpenAI's or Anthropic's: whoever takes the variables
of ``env`` is answered.

    with server(reply="Hello") as aws:
        subprocess.run(["node", "app.mjs"], env={**os.environ, **aws.env}, check=True)
        assert aws.requests[0].model == …

It is strict. A call that the script has no reply for, and one at which a function of the script fails, gets an AWS
error that no SDK tries again; and leaving the block raises what failed, unless the test fails anyway.

moto's state is this process's: the first server begins with fresh state, unless a ``mock_aws`` is active, and those
that are there at once share it, S3's objects among it. The account of ``plane`` is each server's own.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar, Unpack, cast

from awsllm.backend import AsyncBackend
from awsllm.errors import ConfigurationError
from awsllm.models.references import CHAT_MODEL, EMBED_MODEL
from awsllm.server.account.account import Account
from awsllm.server.account.knowledge.search import DocumentLike
from awsllm.server.assembly import Assembly, Settings
from awsllm.server.exchanges import Exchange, Journal
from awsllm.server.faults import Fault, Faults, listed
from awsllm.server.instance import environment
from awsllm.server.mapping import Table
from awsllm.server.moto import stubber
from awsllm.server.places import check_local
from awsllm.server.run import started
from awsllm.testing.mock import Control, known
from awsllm.testing.scripted import Script
from awsllm.testing.served import ServedScript
from awsllm.testing.table import check_used
from awsllm.types import JsonObject, Request

_RECORDED = 10_000  # requests
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class _Entered:
    """One entry of one server."""

    stack: ExitStack
    assembly: Assembly
    script: ServedScript | None
    url: str
    authority: Path | None


class AwsServer(AbstractContextManager["AwsServer"]):
    """What ``server`` is: a context manager, ``async with`` too, and a decorator of functions and coroutine
    functions. What it was asked can be read after the block as well."""

    def __init__(
        self,
        *,
        reply: Script | AsyncBackend | None = None,
        model: str = CHAT_MODEL,
        embed_model: str = EMBED_MODEL,
        models: Mapping[str, str] | None = None,
        endpoints: Collection[str] = (),
        knowledge_bases: Mapping[str, Iterable[DocumentLike]] | None = None,
        guardrails: Mapping[str, JsonObject] | None = None,
        faults: Fault | Iterable[Fault] = (),
        region: str = "us-east-1",
        api_key: str | None = None,
        tls: bool = False,
        iam: bool = False,
        **control: Unpack[Control],
    ) -> None:
        documents: Any = known(control, AwsServer).get("documents")
        if isinstance(documents, (str, dict)) or hasattr(documents, "__fspath__"):
            documents = [documents]
        check_local(Table.of(models or {}).targets)
        self._options: dict[str, Any] = {
            "model": model,
            "embed_model": embed_model,
            "models": models or {},
            "endpoints": [endpoints] if isinstance(endpoints, str) else endpoints,
            "knowledge_bases": knowledge_bases,
            "guardrails": guardrails,
            "region": region,
            "api_key": api_key,
            "iam": iam,
            **control,
            "documents": documents,
        }
        self._reply = reply
        self._faults = listed(faults)
        self._token = secrets.token_urlsafe(24)
        self._region, self._api_key, self._tls = region, api_key, tls
        self._entered: list[_Entered] = []
        self._last: _Entered | None = None

    # --- what it is, and was asked -----------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The address, inside the block."""
        return self._inside.url

    @property
    def env(self) -> dict[str, str]:
        """The variables that point a process at the server: AWS's SDKs and CLI, OpenAI's and Anthropic's clients, and
        the token of its admin route. Real credentials among a process's variables are replaced."""
        authority = self._inside.authority
        found = environment(
            self.url,
            key=self._api_key or "testing",
            region=self._region,
            authority=str(authority) if authority else None,
        )
        return {
            **found,
            "AWS_SESSION_TOKEN": "testing",
            "AWSLLM_ADMIN_TOKEN": self._token,
        }

    @property
    def requests(self) -> list[Request[Any]]:
        """What the models were asked, in order, with the ids that the callers used."""
        return self._latest.assembly.record.requests

    @property
    def unexpected(self) -> list[Exchange]:
        """The calls that the script has no reply for, and those it failed at."""
        return self._latest.assembly.record.unexpected

    @property
    def journal(self) -> Journal:
        """The last exchanges that are over, with their replies and times: each is there a moment after its caller has
        the reply."""
        return self._latest.assembly.journal

    @property
    def plane(self) -> Account:
        """The account behind the control planes: what exists, and ``fail`` and ``refuse``."""
        aws = self._inside.assembly.aws
        if aws is None:
            raise RuntimeError("there is no account")
        return aws.account

    @property
    def faults(self) -> Faults:
        """Those that may happen; more can be added."""
        return self._inside.assembly.faults

    def set_reply(self, reply: Script) -> None:
        """Answer from this script from now on."""
        script = self._inside.script
        if script is None:
            raise ConfigurationError("models answer here, no script: server(reply=...)")
        script.set_reply(reply)

    def assert_all_used(self) -> None:
        """Raise ``AssertionError`` for replies of the script that no call has used, inside the block or after it."""
        check_used(self._latest.script.script if self._latest.script is not None else None)

    # --- entering and leaving ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen on a free port of this machine."""
        script = None
        backend = self._reply
        if backend is not None and not hasattr(backend, "ask"):
            script = backend = ServedScript(lambda: self._reply)
        elif backend is not None and not inspect.iscoroutinefunction(cast("AsyncBackend", backend).ask):
            script = backend = ServedScript(lambda: {"*": self._reply})
        settings = Settings(
            backend=cast("Any", backend),
            faults=Faults(self._faults),
            admin_token=self._token,
            recorded=_RECORDED,
            **self._options,
        )
        with ExitStack() as stack:
            stubber.check()
            stubber.keep()
            stack.callback(stubber.give_up)
            found = stack.enter_context(started(settings, tls=self._tls))
            self._last = _Entered(stack.pop_all(), found.assembly, script, found.url, found.authority)
            self._entered.append(self._last)

    def stop(self) -> None:
        """Leave what ``start`` entered last."""
        self._entered.pop().stack.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        left = self._inside
        self.stop()
        if kind is None:
            _raise_first(left.script)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        await asyncio.to_thread(self.__exit__, kind)

    def __call__(self, func: Callable[P, T]) -> Callable[P, T]:
        if inspect.isclass(func) or inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
            raise TypeError(
                f"server decorates functions and coroutine functions, not {func!r}: enter it in a fixture "
                "(aws_server), or call its start in setUp and give its stop to addCleanup"
            )
        if inspect.iscoroutinefunction(func):

            @functools.wraps(func)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                async with self:
                    return await func(*args, **kwargs)

            return cast("Callable[P, T]", awaited)

        @functools.wraps(func)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
            with self:
                return func(*args, **kwargs)

        return wrapper

    @property
    def _inside(self) -> _Entered:
        if not self._entered:
            raise RuntimeError("the server runs inside `with server(...)` only")
        return self._entered[-1]

    @property
    def _latest(self) -> _Entered:
        if self._last is None:
            raise RuntimeError("the server has not run yet")
        return self._last


def _raise_first(script: ServedScript | None) -> None:
    if script is not None and script.failures:
        first, *others = script.failures
        if others:
            first.add_note(f"and {len(others)} more calls were unexpected")
        raise first


def server(*unnamed: Any, **options: Any) -> AwsServer:
    """A server on a free port; see the top of this module.

    ``reply``, ``model``, ``embed_model``, ``models``, ``endpoints``, ``knowledge_bases``, ``guardrails``, ``faults``,
    ``iam`` and the account's options are ``mock_aws``'s. ``api_key`` is one that every call must show or sign with;
    ``tls`` serves https, by an authority that ``env`` names.
    """
    if unnamed:
        raise TypeError(f"server takes its options by name: server(reply={unnamed[0]!r:.40})")
    return AwsServer(**options)
