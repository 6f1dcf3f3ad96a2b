"""Which recorded exchange answers a request, and what differs where none does.

A request is answered by one that is equal as a value: service, method, path, query, the headers that are members of the
operation, and the body, whatever the order of members and the bytes that carry them. Members that a client makes up
anew each time are left out. Of several equal ones the first that was not used yet answers, one of the same region
before others.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from awsllm.testing.traffic.exchange import RecordedExchange, RecordedRequest
from awsllm.testing.traffic.secret_names import plain

VOLATILE = (
    *("clientToken", "clientRequestToken", "idempotencyToken", "creatorRequestId", "callerReference"),
    *("requestToken", "creationToken"),
)
"""Members that are different each time, by the names that AWS gives them."""

_UNCOMPARED = ("accept", "content-type")
_SHOWN = 5  # differences
_WIDTH = 60  # characters of a value
_NOTHING = object()


class MissingRecordingError(AssertionError):
    """A request that no recording answers. It is no error of awsllm's tree, so no policy tries another model."""


class Shelf:
    """The exchanges of a file, each taken once. ``ignore`` has names of members, or their paths with ``[*]`` for any
    place in a list. ``repeats``: the last of equal ones answers as often as it is asked for."""

    def __init__(self, exchanges: Sequence[RecordedExchange], ignore: Iterable[str] = (), *, repeats: bool = False):
        ignored = (*VOLATILE, *ignore)
        self._names = frozenset(plain(each) for each in ignored if not _is_path(each))
        self._paths = tuple(_pattern(each) for each in ignored if _is_path(each))
        self._repeats = repeats
        self._lock = threading.Lock()
        self._exchanges = list(exchanges)
        self._used = [False] * len(self._exchanges)
        self._by_key: dict[str, list[int]] = {}
        for at, exchange in enumerate(self._exchanges):
            self._by_key.setdefault(self._key(exchange.request, exchange.request.service), []).append(at)

    @property
    def unused(self) -> list[RecordedExchange]:
        return [exchange for exchange, used in zip(self._exchanges, self._used, strict=True) if not used]

    def take(self, request: RecordedRequest, prefix: str = "") -> RecordedExchange | None:
        """The next exchange that answers ``request``. ``prefix`` is the other name that files of others may have for
        its service."""
        with self._lock:
            equal = self._equal(request, prefix)
            fresh = [at for at in equal if not self._used[at]]
            if not fresh and not (self._repeats and equal):
                return None
            here = [at for at in fresh if self._exchanges[at].request.region == request.region]
            at = (here or fresh or equal[-1:])[0]
            self._used[at] = True
            return self._exchanges[at]

    def explain(self, request: RecordedRequest, prefix: str = "") -> str:
        """Why ``take`` gave nothing: how often it is recorded, or what differs from the nearest."""
        if equal := self._equal(request, prefix):
            times = "once" if len(equal) == 1 else f"{len(equal)} times"
            return f"It is recorded {times}, and was asked for once more; repeats=True gives the last answer again."
        near = [
            (len(found), self._used[at], at, found)
            for at, exchange in enumerate(self._exchanges)
            if _is_akin(exchange.request, request, prefix)
            for found in [list(self._differences(exchange.request, request))]
        ]
        if not near:
            others = sorted({_named(exchange.request) for exchange in self._exchanges})
            return f"Nothing of its kind is recorded; there is {', '.join(others[:8]) or 'nothing'}."
        _, _, at, found = min(near)
        more = [f"  and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        return "\n".join([f"The nearest, exchange {at + 1}, differs in", *found[:_SHOWN], *more])

    def _equal(self, request: RecordedRequest, prefix: str) -> list[int]:
        keys = [self._key(request, name) for name in dict.fromkeys((request.service, prefix, ""))]
        return sorted(at for key in keys for at in self._by_key.get(key, ()))

    def _key(self, request: RecordedRequest, service: str) -> str:
        return json.dumps([service, self._parts(request)], sort_keys=True)

    def _parts(self, request: RecordedRequest) -> dict[str, Any]:
        """What is compared."""
        body = request.body
        if request.form in ("json", "pairs"):
            body = self._canonical(body, "")
        return {
            "method": request.method.upper(),
            "path": request.path,
            "query": {name: values for name, values in request.query.items() if plain(name) not in self._names},
            "headers": {name: each for name, each in request.headers.items() if name not in _UNCOMPARED},
            "body": body,
        }

    def _canonical(self, value: Any, path: str) -> Any:
        match value:
            case dict():
                return {
                    name: self._canonical(each, inner)
                    for name, each in value.items()
                    if not self._is_ignored(name, inner := f"{path}.{name}".lstrip("."))
                }
            case list():
                return [self._canonical(each, f"{path}[{at}]") for at, each in enumerate(value)]
            case float() if value.is_integer():
                return int(value)
            case _:
                return value

    def _is_ignored(self, name: str, path: str) -> bool:
        return plain(name) in self._names or any(pattern.fullmatch(path) for pattern in self._paths)

    def _differences(self, recorded: RecordedRequest, sent: RecordedRequest) -> Iterator[str]:
        for path, was, now in _differing(self._parts(recorded), self._parts(sent), ""):
            yield f"  {path}: recorded {_shown(was)}, sent {_shown(now)}"


def _is_path(ignored: str) -> bool:
    return "." in ignored or "[" in ignored


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.escape(path).replace(r"\[\*\]", r"\[\d+\]"))


def _is_akin(recorded: RecordedRequest, sent: RecordedRequest, prefix: str) -> bool:
    """Whether a difference between the two would tell something: they ask the same of the same service."""
    if recorded.service not in (sent.service, prefix, ""):
        return False
    if recorded.operation and sent.operation:
        return recorded.operation == sent.operation
    return recorded.method == sent.method


def _named(request: RecordedRequest) -> str:
    return f"{request.service} {request.operation or request.method + ' ' + request.path}".strip()


def _differing(was: Any, now: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Each place where two values differ. A list that is longer differs in its further items."""
    if isinstance(was, dict) and isinstance(now, dict):
        for name in dict.fromkeys((*was, *now)):
            yield from _differing(was.get(name, _NOTHING), now.get(name, _NOTHING), f"{path}.{name}".lstrip("."))
    elif isinstance(was, list) and isinstance(now, list):
        for at in range(max(len(was), len(now))):
            before = was[at] if at < len(was) else _NOTHING
            yield from _differing(before, now[at] if at < len(now) else _NOTHING, f"{path}[{at}]")
    elif was is not now and (type(was) is not type(now) or was != now):
        yield path, was, now


def _shown(value: Any) -> str:
    if value is _NOTHING:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = text if len(text) <= _WIDTH else f"{text[:_WIDTH]}… ({len(text)} characters)"
    return repr(text) if isinstance(value, str) else text
