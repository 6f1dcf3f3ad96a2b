"""The log of calls as the page shows it: what the journal keeps, in the callers' own words.

A request is shown as it arrived and a reply as it was sent, without headers: a key or a signature is not shown. A
stream is shown put together. Long texts within them (pictures, mostly) are cut: the page shows a log, it is no archive.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import msgspec

from awsllm.errors import AwsllmError
from awsllm.server.exchanges import Exchange, Journal, Watcher
from awsllm.server.metrics import PATHS
from awsllm.server.services import meant
from awsllm.server.surfaces.playground.page import API, PREFIX, is_page
from awsllm.server.surfaces.routes import HEALTH, find
from awsllm.server.work import Incoming
from awsllm.stream import fold
from awsllm.types import ConverseRequest, JsonObject, JsonValue
from awsllm.wire.converse import encode_response

_LONGEST = 4000  # characters of one text within a request or reply
_LARGEST = 1_000_000  # bytes of a body that is looked into
_OWN = {API + "converse": ("playground", "ConverseStream")}
RUNTIMES = {
    "/model/": (
        "bedrock-runtime",
        {
            "converse": "Converse",
            "converse-stream": "ConverseStream",
            "count-tokens": "CountTokens",
            "invoke": "InvokeModel",
            "invoke-with-response-stream": "InvokeModelWithResponseStream",
            "invoke-with-bidirectional-stream": "InvokeModelWithBidirectionalStream",
        },
    ),
    "/endpoints/": (
        "sagemaker-runtime",
        {
            "invocations": "InvokeEndpoint",
            "invocations-response-stream": "InvokeEndpointWithResponseStream",
            "async-invocations": "InvokeEndpointAsync",
        },
    ),
}
"""Services and operations by how a path begins and ends. The others' are looked up in botocore's models, which takes a
moment where they were not needed for the call itself."""
_SIGNATURE = re.compile("x-amz-|awsaccesskeyid=|signature=", re.IGNORECASE)
"""How the parameters of an address begin that was signed in advance."""
_WATCHING = (*HEALTH, *PATHS)
_FORMATS = (("/v1/messages", "Anthropic's format"), ("/anthropic/", "Anthropic's format"), ("/v1/", "OpenAI's format"))


def others_calls(journal: Journal) -> Watcher:
    """Fills the journal, but for what the page asks to show itself, and for health checks: who looks for his calls
    would find none among them."""

    def watch(exchange: Exchange) -> None:
        head = exchange.incoming
        if not (head.path in _WATCHING or is_page(head) or (head.path.startswith(PREFIX) and head.path not in _OWN)):
            journal(exchange)

    return watch


class Calls:
    """The journal, for the page."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._names: dict[int, tuple[str | None, str | None]] = {}

    def after(self, position: int) -> JsonObject:
        """The calls that ended since, and what to ask for next. A position from before a restart is the beginning."""
        kept, total = self._journal.since(position)
        return {"calls": [self._summary(exchange) for exchange in kept], "next": total}

    def one(self, number: int) -> JsonObject | None:
        """The call with what was asked and answered; None if it is no longer kept."""
        found = next((one for one in self._journal.after(number - 1) if one.number == number), None)
        if found is None:
            return None
        return {**self._summary(found), "request": _request(found.incoming), "reply": _reply(found)}

    def _summary(self, exchange: Exchange) -> JsonObject:
        service, operation = self._named(exchange)
        return {
            "id": exchange.number,
            "time": exchange.began,
            "method": exchange.incoming.method,
            "path": exchange.incoming.path[:300],
            "service": service,
            "operation": operation,
            "model": _model(exchange),
            "status": exchange.status,
            "seconds": exchange.seconds or 0.0,
            "error": exchange.error.message if isinstance(exchange.error, AwsllmError) else None,
        }

    def _named(self, exchange: Exchange) -> tuple[str | None, str | None]:
        """Service and operation: found out once a call, for it takes botocore's models."""
        if exchange.number not in self._names:
            kept = {one.number for one in self._journal.after()}
            self._names = {number: name for number, name in self._names.items() if number in kept}
            self._names[exchange.number] = _name(exchange.incoming)
        return self._names[exchange.number]


def _name(incoming: Incoming) -> tuple[str | None, str | None]:
    if own := _OWN.get(incoming.path):
        return own
    for prefix, title in _FORMATS:
        if incoming.path.startswith(prefix):
            return title, None
    for prefix, (runtime, operations) in RUNTIMES.items():
        if incoming.path.startswith(prefix) and (named := operations.get(incoming.path.rpartition("/")[2])):
            return runtime, named
    service, operation = meant(incoming)
    return service.name if service else None, operation


def _model(exchange: Exchange) -> str | None:
    """The model as its caller named it."""
    incoming = exchange.incoming
    if incoming.path.startswith(("/model/", "/endpoints/")) and (found := find(incoming)):
        return found[1]
    if incoming.path.startswith(("/model/", "/endpoints/")):
        return unquote(incoming.path.split("/")[2])
    body = _readable(incoming.body)
    named = body.get("model") if isinstance(body, dict) else None
    return named if isinstance(named, str) and named else getattr(exchange.request, "model", None)


# --- bodies ----------------------------------------------------------------------------------------------------------


def _request(incoming: Incoming) -> JsonValue:
    shown = [part for part in incoming.query.split("&") if part and not _SIGNATURE.match(part)]
    query = f"?{'&'.join(shown)}" if shown else ""  # without the signature of an address that was signed in advance
    return _readable(incoming.body) or (f"{incoming.method} {incoming.path}{query}"[:_LONGEST])


def _reply(exchange: Exchange) -> JsonValue:
    if exchange.reply is not None:
        return _readable(exchange.reply.body)
    whole = _put_together(exchange)
    if exchange.error is not None:
        message = exchange.error.message if isinstance(exchange.error, AwsllmError) else "internal failure"
        return {"error": {"type": type(exchange.error).__name__, "message": message}, "before": whole}
    return whole


def _put_together(exchange: Exchange) -> JsonValue:
    """What a stream's events make; of one that was cut, what had come."""
    if not exchange.events:
        return None
    if not isinstance(exchange.request, ConverseRequest):
        return _listed(exchange.events)
    try:
        return _shortened(_plain(encode_response(fold(exchange.events))))
    except AwsllmError as error:
        return _listed(exchange.events) if error.partial is None else _shortened(_plain(encode_response(error.partial)))


def _listed(events: Sequence[Any]) -> JsonValue:
    return _shortened(_plain(list(events[:200])))


def _plain(value: Any) -> JsonValue:
    plain: JsonValue = msgspec.json.decode(msgspec.json.encode(value))
    return plain


def _readable(body: bytes) -> JsonValue:
    """A body as JSON or text; what is neither is told by its size."""
    if not body:
        return None
    if len(body) > _LARGEST:
        return f"{len(body):,} bytes"
    try:
        return _shortened(msgspec.json.decode(body))
    except (ValueError, RecursionError):
        pass
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return f"{len(body):,} bytes"
    return _cut(text) if re.search(r"[\x00-\x08\x0e-\x1f]", text) is None else f"{len(body):,} bytes"


def _shortened(value: JsonValue) -> JsonValue:
    """``value`` with its long texts cut. Bodies were held to a depth when they were read; what was not is cut, too."""
    try:
        return _walked(value)
    except RecursionError:
        return "nested too deeply to be shown"


def _walked(value: JsonValue) -> JsonValue:
    match value:
        case str():
            return _cut(value)
        case list():
            return [_walked(item) for item in value]
        case dict():
            return {name: _walked(item) for name, item in value.items()}
        case _:
            return value


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 10]}… ({len(text):,} characters)"
