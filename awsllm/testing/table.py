"""Scripts by the model that is asked, and real models among them.

    reply = {"anthropic.*": ["First.", "Second."], "amazon.nova*": "Hi.", "*": local()}

The pattern that says most decides (``models.patterns``). ``local()`` stands for what a local model really answers, as a
script of a pattern, as one of a list's replies, or as what a function of the request returns.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, cast

from awsllm.backend import UNLIMITED, Attempt, Backend
from awsllm.errors import ConfigurationError
from awsllm.models.patterns import closest
from awsllm.models.references import CHAT_MODEL, EMBED_MODEL, parse_reference
from awsllm.server.work import Models
from awsllm.testing.scripted import Script, ScriptedBackend, ScriptExhaustedError
from awsllm.types import Request, Streamed

E = TypeVar("E")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A real model where a reply could stand."""

    models: Models

    def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        return local_backend().ask(self.models.rename(request), attempt)

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> Iterator[E]:
        return local_backend().stream(self.models.rename(request), attempt)

    def close(self) -> None:
        """The models stay for the next."""


def local(chat: str = CHAT_MODEL, embed: str = EMBED_MODEL) -> LocalModel:
    """What the local models ``chat`` and ``embed`` answer."""
    return LocalModel(Models(local_name(chat), local_name(embed)))


def local_name(reference: str) -> str:
    parsed = parse_reference(reference)
    if parsed.scheme != "local":
        raise ConfigurationError(f"local models answer here; {reference!r} is not one. Or give it a reply.")
    return parsed.model


@functools.cache
def local_backend() -> Backend:
    """The local models, loaded once a process: those that a script names as ``local()``, so no script answers for
    them."""
    from awsllm.backends.local.backend import LocalBackend

    real = LocalBackend()
    real.replaceable = False
    return real


class ScriptTable:
    """A script for each pattern. ``requests`` has every request in order, those that no pattern means among them."""

    def __init__(self, scripts: Mapping[str, Script]) -> None:
        self.requests: list[Request[Any]] = []
        self._scripts = {pattern: ScriptedBackend(script) for pattern, script in scripts.items()}

    def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        self.requests.append(request)
        return self.script_for(request).ask(request, attempt)

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> Iterator[E]:
        self.requests.append(request)
        return self.script_for(request).stream(request, attempt)

    def script_for(self, request: Request[Any]) -> ScriptedBackend:
        """The script that answers ``request``. Raises ``ScriptExhaustedError``."""
        pattern = closest(self._scripts, request.model)
        if pattern is None:
            raise ScriptExhaustedError(
                f"no pattern of the script means this {request.operation} of {request.model}: there are "
                f"{', '.join(map(repr, self._scripts))}; '*' means every model"
            )
        return self._scripts[pattern]

    def unused(self) -> list[str]:
        return [f"{pattern!r}: {reply}" for pattern, script in self._scripts.items() for reply in script.unused()]

    def close(self) -> None:
        """Nothing to free."""


Scripted: TypeAlias = ScriptedBackend | ScriptTable


def is_table(script: Any) -> bool:
    """Whether a script is a dict with patterns of models for its keys. boto3's answer is a dict, too, with members such
    as ``output``, in which no pattern's ``.``, ``*`` or ``:`` occurs."""
    return (
        isinstance(script, dict)
        and bool(script)
        and all(isinstance(key, str) for key in script)
        and any(mark in key for key in script for mark in ".*:")
    )


def scripted(script: Script) -> Scripted:
    """The backend of a script."""
    return ScriptTable(cast("Mapping[str, Script]", script)) if is_table(script) else ScriptedBackend(script)


def check_used(script: Backend | None) -> None:
    """Raise ``AssertionError`` for replies of a list that no call has used."""
    unused = script.unused() if isinstance(script, (ScriptedBackend, ScriptTable)) else []
    if unused:
        raise AssertionError(f"{len(unused)} of the script's replies were not used: {'; '.join(unused[:5])}")
