"""What the policy reads back: kept calls, what processes share of a quota, AWS's log of invocations, content that is
redacted, what is searched for."""

from __future__ import annotations

import json
import tempfile
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec

from awsllm.errors import AwsllmError
from awsllm.policy.call_log.kept import KeptCall, Plain
from awsllm.policy.call_log.store import CallEntry, CallQuery, CallStore, _call
from awsllm.policy.limiting.shared import QueueTicket, QuotaAsk, document, settled, taken
from awsllm.policy.redaction import ContentScreen, Redaction
from awsllm.policy.usage_ledger import UsageLedger
from awsllm.policy.usage_reconciliation import Reconciler, read_records
from awsllm.types import ConverseRequest, ConverseResponse, Message, Text, ToolUse, Usage
from tests.fuzz.harness import Target

_REFUSALS = (AwsllmError,)
_NOW = 1_800_000_000.0
_ASKS = (QuotaAsk("tokens_per_minute", 100, 60.0, 40, 30), QuotaAsk("requests_per_minute", 10, 60.0, 1, 1))
_USED = tuple((ask.what, ask.period, 5) for ask in _ASKS)
_CONTENT = (
    "card 4111 1111 1111 1111, ann@example.com, +49 30 901820, DE89 3704 0044 0532 0130 00, 123-45-6789, 10.0.0.1",
    "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY AKIAABCDEFGHIJKLMNOP Bearer abc123def456",
    'x\\n{"Authorization": "Basic dXNlcjpwYXNz1"} https://u:p@host/?X-Amz-Signature=abcdef0123456789abcdef',
    "\u00a04111\u20111111\u200b1111\u20111111 ann\uff20example.com",
)
_INVOCATION = {
    "schemaType": "ModelInvocationLog",
    "timestamp": "2026-11-27T10:00:00Z",
    "region": "us-east-1",
    "requestId": "r-1",
    "operation": "Converse",
    "modelId": "amazon.nova-lite-v1:0",
    "requestMetadata": {"team": "search"},
    "input": {"inputTokenCount": 5, "cacheReadInputTokenCount": 1, "cacheWriteInputTokenCount": 2},
    "output": {"outputTokenCount": 7},
}


def targets() -> Iterator[Target]:
    yield Target("kept-call", _kept_calls, _read_kept, _REFUSALS)
    yield Target("quota-document", _documents, _read_document, ())
    yield Target("invocation-log", lambda: [json.dumps(_INVOCATION).encode() + b"\n{}\n"], _reconcile, _REFUSALS)
    yield Target("redaction", lambda: [text.encode() for text in _CONTENT], _redact, ())
    yield Target("search", lambda: [b'say "x" OR 100% NEAR(a b) -c words:* ^d', "é\0ß".encode()], _search, ())


def _request() -> ConverseRequest:
    use = ToolUse("use-1", "look", {"n": 4111111111111111, "list": [1.5, "a"], "text": "b"})
    return ConverseRequest(model="m", messages=(Message("user", (Text("Hi"),)), Message("assistant", (use,))))


def _kept(name: str) -> KeptCall:
    answer = ConverseResponse(
        message=Message("assistant", (Text("Hello"),)),
        stop_reason="end_turn",
        usage=Usage(input_tokens=1, output_tokens=2),
    )
    plain = Plain(ContentScreen(), keeps_media=True)
    return KeptCall(
        id=name,
        at=_NOW,
        operation="converse",
        model="bedrock:m",
        outcome="answered",
        duration=1.0,
        request_type="ConverseRequest",
        request=plain.value(_request()),
        response_type="ConverseResponse",
        response=plain.value(answer),
        events=((0.1, {"kind": "message_start", "role": "assistant"}),),
        usage=answer.usage,
        tags={"team": "search"},
    )


def _kept_calls() -> list[bytes]:
    return [msgspec.json.encode(_kept("0123456789abcdef"))]


def _read_kept(data: bytes) -> None:
    """As the column has it, and as JSON within it; what is read is shown and made again."""
    from awsllm.cli import log_text

    for whole in (data, zlib.compress(data, 1)):
        try:
            call = _call(whole)
        except AwsllmError:
            continue
        log_text.whole(call)
        for read in (call.request_value, call.response_value, call.stream_events):
            try:
                read(lambda digest: b"x" if len(digest) > 3 else None)
            except AwsllmError:
                continue


def _documents() -> list[bytes]:
    state = {
        "used": {"tokens_per_minute": {"30000000": 20}, "requests_per_minute": {"30000000": 1}},
        "held": {
            "a": [_NOW + 60, {"tokens_per_minute": [30_000_000, 10, 5], "requests_per_minute": [30_000_000, 1, 1]}]
        },
        "queue": {"other": [_NOW - 9, _NOW + 9, {"tokens_per_minute": 10}], "mine": [_NOW, _NOW + 9, {}]},
    }
    return [json.dumps(state).encode(), b"{}"]


def _read_document(data: bytes) -> None:
    """Whatever it is: a call knows whether it may go, and what it took is settled."""
    state = document(data)
    seconds = taken(state, _ASKS, "mine", QueueTicket("mine", 1.0), _NOW)
    assert seconds >= 0
    settled(state, "mine", _USED, _NOW + 1)
    assert document(json.dumps(state)) is not None


def _reconcile(data: bytes) -> None:
    reconciler = Reconciler(_ledger(), ("day", "model", "tag:team"))
    for record in read_records(data.splitlines(), lambda: None):
        reconciler.take(record)
    reconciler.result()


def _redact(data: bytes) -> None:
    """Nothing raises, and what is clean stays as it is."""
    text = data.decode("utf-8", "surrogatepass" if data.startswith(b"\xed") else "replace")
    screen = ContentScreen(Redaction())
    clean = screen.text(text)
    assert "4111111111111111" not in clean or "4111111111111111" in text
    pieces = screen.series([text[start : start + 9] for start in range(0, len(text), 9)] or [""])
    assert "".join(pieces) == clean


@cache
def _ledger() -> UsageLedger:
    return UsageLedger(Path(tempfile.mkdtemp()) / "usage.db")


@cache
def _store() -> CallStore:
    store = CallStore(Path(tempfile.mkdtemp()) / "calls.db")
    store.add([CallEntry(call=_kept("0123456789abcdef"), begins="Hi", words='say "x" OR 100%', media={})])
    return store


def _search(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    assert isinstance(_store().find(CallQuery(text=text, model=text)), list)
