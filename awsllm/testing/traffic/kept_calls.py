"""Kept calls (``policy.call_log``) as a recording: each is made once more, against an offline AWS that answers what was
kept, while a recording listens. So the file is what ``record`` would have written, whatever the operation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from awsllm import errors
from awsllm.backend import UNLIMITED, Attempt
from awsllm.client import Client
from awsllm.errors import AwsllmError, ConfigurationError
from awsllm.models.references import parse_reference
from awsllm.policy.attempts import Policy
from awsllm.policy.call_log.kept import KeptCall, KeptError, Media
from awsllm.stream import replay as replay_events
from awsllm.testing.mock import mock_aws
from awsllm.testing.traffic.recording import record
from awsllm.types import Request, Streamed

E = TypeVar("E")
R = TypeVar("R")


class KeptBackend:
    """Answers with what was kept of ``answer``, whatever it is asked."""

    def __init__(self) -> None:
        self.answer: Any = None
        self.events: tuple[Any, ...] = ()
        """Those of a stream, where they were kept."""

    def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        if isinstance(self.answer, AwsllmError):
            raise self.answer
        answer: R = self.answer
        return answer

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> Iterator[E]:
        if isinstance(self.answer, AwsllmError):
            raise self.answer
        events: Iterator[Any] = iter(self.events) if self.events else replay_events(self.answer)
        yield from events

    def close(self) -> None:
        """Nothing to free."""


def record_kept(path: str | Path, calls: Sequence[KeptCall], media: Media) -> tuple[int, dict[str, int]]:
    """Write a recording of the calls; how many that were, and why others are not in it."""
    backend, skipped, written = KeptBackend(), Counter[str](), 0
    policy = Policy(max_attempts=1)
    with mock_aws(reply=backend, endpoints="*"), Client("us-east-1", policy=policy, log=False) as client, record(path):
        for call in calls:
            why = _unfit(call)
            if why is None:
                try:
                    _make(client, backend, call, media)
                except ConfigurationError as error:
                    why = error.message
            if why is None:
                written += 1
            else:
                skipped[why] += 1
    return written, dict(skipped)


def _unfit(call: KeptCall) -> str | None:
    if parse_reference(call.model).scheme == "local":
        return "local models have no traffic with AWS"
    if call.outcome == "left":
        return "they were left before their end"
    if call.error is not None and call.error.status is None:
        return "they failed without an answer of the service"
    if call.streamed and call.response_type not in ("", "ConverseResponse"):
        return "streams that are no chat are not recorded"
    return None


def _make(client: Client, backend: KeptBackend, call: KeptCall, media: Media) -> None:
    reference, request = parse_reference(call.model), call.request_value(media)
    backend.answer = _failure(call.error) if call.error is not None else call.response_value(media)
    backend.events = call.stream_events(media) if call.streamed and call.response_type == "ConverseResponse" else ()
    try:
        if call.streamed and isinstance(request, Streamed):
            for _ in client._stream(reference, request, None):
                pass
        else:
            client._call((reference, request), {})
    except ConfigurationError:
        raise
    except AwsllmError:
        if call.error is None:
            raise


def _failure(kept: KeptError) -> AwsllmError:
    kind = getattr(errors, kept.type, None)
    if not (isinstance(kind, type) and issubclass(kind, AwsllmError)):
        kind = errors.ServerError
    return kind(kept.message, code=kept.code, status=kept.status)
