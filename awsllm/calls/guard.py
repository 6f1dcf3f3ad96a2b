"""A guardrail over a stream that goes on: text waits until its window has been judged.

Windows overlap. Of a window that passed, all but its end is released; the end waits to be judged once more, with what
follows it, so what is no longer than the overlap is seen whole before any part of it is released. Text that is masked
takes the place of the window. Text that is blocked ends the stream: the guardrail's message stands in its place, the
stop reason is ``guardrail_intervened``, and nothing more of the model's answer is read, so what it used is not known.

Only text is judged, as Bedrock's own guardrails do: thinking and the arguments of tools pass, in their order. An
observer holds nothing back: the same windows are judged beside the stream, and its end waits for them.

``Guard`` does no I/O: ``push`` is a generator that yields a text to be judged, is sent the response, and returns the
events that may go on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from typing import Any, cast

from msgspec.structs import replace

from awsllm.calls.guardrails import guardrail
from awsllm.calls.options import GuardOptions, check_names, check_number
from awsllm.errors import AwsllmError, ValidationError
from awsllm.models.references import Reference
from awsllm.stream import AsyncConverseStream, ConverseStream
from awsllm.types import (
    CitationDelta,
    ContentBlockDelta,
    ContentBlockStop,
    ConverseResponse,
    GuardText,
    JsonObject,
    MessageStop,
    Metadata,
    StreamEvent,
    TextDelta,
)
from awsllm.types.guardrails import ApplyGuardrailRequest, GuardrailResponse

Judgement = Generator[str, GuardrailResponse, list[StreamEvent]]

_WINDOW = 1000  # characters: a text unit of ApplyGuardrail
_OVERLAP = 100
INTERVENED = "guardrail_intervened"


class Guard:
    """The state of one guarded stream. ``checks`` are the responses so far, ``stopped`` whether one has ended it."""

    def __init__(self, guardrail: str, window: int = _WINDOW, overlap: int = _OVERLAP) -> None:
        self.checks: list[GuardrailResponse] = []
        self.stopped = False
        self._guardrail, self._window, self._overlap = guardrail, window, overlap
        self._index: int | None = None  # the block whose text waits
        self._text = ""
        self._judged = 0  # how much of it has passed as the end of a window
        self._citations: list[StreamEvent] = []  # of that text; they follow it

    def push(self, event: StreamEvent) -> Judgement:
        """What may go on after ``event``."""
        if isinstance(event, ContentBlockDelta):
            if isinstance(event.delta, TextDelta):
                return (yield from self._push_text(event.index, event.delta.text))
            if isinstance(event.delta, CitationDelta) and event.index == self._index:
                self._citations.append(event)
                return []
        released = yield from self.flush()
        return released if self.stopped else [*released, self._completed(event)]

    def flush(self) -> Judgement:
        """The text that still waits, judged."""
        if self._index is None:
            return []
        released: list[StreamEvent] = []
        if len(self._text) > self._judged:
            released = yield from self._judge(keep=0)
        elif self._text:
            released, self._text = [self._delta(self._text)], ""
        if not self.stopped:
            released += self._citations
        self._index, self._text, self._judged, self._citations = None, "", 0, []
        return released

    def _push_text(self, index: int, text: str) -> Judgement:
        released = (yield from self.flush()) if self._index not in (None, index) else []
        if self.stopped:
            return released
        self._index = index
        self._text += text
        while len(self._text) >= self._window and not self.stopped:
            released += yield from self._judge(keep=self._overlap)
        return released

    def _judge(self, keep: int) -> Judgement:
        response = yield self._text
        self.checks.append(response)
        if response.intervened and not response.masked:
            return self._stop(response)
        passed = response.text if response.intervened else self._text
        cut = max(0, len(passed) - keep)
        self._text, self._judged = passed[cut:], len(passed) - cut
        return [self._delta(passed[:cut])] if cut else []

    def _delta(self, text: str) -> StreamEvent:
        return ContentBlockDelta(self._index or 0, TextDelta(text))

    def _stop(self, response: GuardrailResponse) -> list[StreamEvent]:
        self.stopped = True
        message = [self._delta(response.text)] if response.text else []
        return [
            *message,
            ContentBlockStop(self._index or 0),
            MessageStop(INTERVENED),
            Metadata(trace=self._trace(None)),
        ]

    def _completed(self, event: StreamEvent) -> StreamEvent:
        if isinstance(event, Metadata) and any(check.intervened for check in self.checks):
            return replace(event, trace=self._trace(event.trace))
        return event

    def _trace(self, trace: Any) -> JsonObject:
        """The findings where Converse has those of its own guardrails."""
        acted = [check for check in self.checks if check.intervened]
        assessments = [one.raw for check in acted for one in check.assessments if one.raw]
        found = {"outputAssessments": {self._guardrail: assessments}, "actionReason": acted[-1].reason}
        return {**(trace if isinstance(trace, dict) else {}), "guardrail": found}


class Windows:
    """The windows of a stream that is only observed."""

    def __init__(self, window: int, overlap: int) -> None:
        self._window, self._overlap = window, overlap
        self._index: int | None = None
        self._text = ""
        self._judged = 0

    def push(self, event: StreamEvent) -> list[str]:
        """The texts that are due to be judged after ``event``."""
        if not isinstance(event, ContentBlockDelta) or not isinstance(event.delta, TextDelta):
            return [] if isinstance(event, ContentBlockDelta) and event.index == self._index else self.flush()
        due = self.flush() if event.index != self._index else []
        self._index = event.index
        self._text += event.delta.text
        while len(self._text) >= self._window:
            due.append(self._text[: self._window])
            self._text = self._text[self._window - self._overlap :]
            self._judged = self._overlap
        return due

    def flush(self) -> list[str]:
        due = [self._text] if len(self._text) > self._judged else []
        self._index, self._text, self._judged = None, "", 0
        return due


def prepare_guard(
    name: str, options: GuardOptions
) -> tuple[Reference, Callable[[str], ApplyGuardrailRequest], Guard | Windows]:
    """Who judges, what it is asked of a text, and the state of the stream."""
    check_names(options, GuardOptions)
    reference, version = guardrail(name, options.get("version"))
    window, overlap = options.get("window", _WINDOW), options.get("overlap", _OVERLAP)
    check_number("window", window, whole=True)
    check_number("overlap", overlap, whole=True)
    if window < 1 or not 0 <= overlap < window:
        raise ValidationError(f"window is {window} and overlap {overlap}; overlap is at least 0, and less than window")

    def request(text: str) -> ApplyGuardrailRequest:
        content = (GuardText(text),)
        return ApplyGuardrailRequest(model=reference.model, version=version, content=content, source="OUTPUT")

    state = Windows(window, overlap) if options.get("observe") else Guard(reference.model, window, overlap)
    return reference, request, state


# --- the streams that a caller holds ---------------------------------------------------------------------------------


class _Guarded:
    """What the sync and the async stream share: everything but the waiting."""

    def _watch(self, state: Guard | Windows) -> None:
        self._state = state
        self._observed: list[GuardrailResponse] = []
        self._failures: list[str] = []

    @property
    def checks(self) -> tuple[GuardrailResponse, ...]:
        """What the guardrail said, window by window."""
        return tuple(self._state.checks if isinstance(self._state, Guard) else self._observed)

    def _failed(self, error: AwsllmError) -> None:
        reason = f"{type(error).__name__}, {error.message}"
        self._failures.append(f"the guardrail could not judge a part of the answer: {reason}")

    def _whole(self, folded: ConverseResponse, source: ConverseResponse) -> ConverseResponse:
        """What the guarded events fold to, with what the source's own end knows beside them (model, cost, warnings)."""
        if isinstance(self._state, Guard) and self._state.stopped:
            return folded
        if isinstance(self._state, Guard) and any(check.intervened for check in self.checks):
            kept = ("message", "messages", "stop_reason", "trace")
            return replace(source, **{name: getattr(folded, name) for name in kept})
        return replace(source, warnings=(*source.warnings, *self._failures)) if self._failures else source


class GuardedStream(_Guarded, ConverseStream):
    """A ``ConverseStream`` that a guardrail reads before its caller does. ``checks`` are what it said."""

    def __init__(
        self, source: ConverseStream, state: Guard | Windows, judge: Callable[[str], GuardrailResponse]
    ) -> None:
        self._watch(state)
        self._guarded, self._judge = source, judge
        events = self._guarded_events(state) if isinstance(state, Guard) else self._observed_events(state)
        ConverseStream.__init__(self, events, lambda folded: self._whole(folded, source.partial))

    def _guarded_events(self, guard: Guard) -> Iterator[StreamEvent]:
        with self._guarded as source:
            for event in source:
                yield from self._drive(guard.push(event))
                if guard.stopped:
                    return
            yield from self._drive(guard.flush())

    def _drive(self, judgement: Judgement) -> list[StreamEvent]:
        try:
            text = next(judgement)
            while True:
                text = judgement.send(self._judge(text))
        except StopIteration as done:
            return cast("list[StreamEvent]", done.value)

    def _observed_events(self, windows: Windows) -> Iterator[StreamEvent]:
        from concurrent.futures import Future, ThreadPoolExecutor

        futures: list[Future[GuardrailResponse]] = []
        pool = ThreadPoolExecutor(1, "awsllm-guard")
        try:
            with self._guarded as source:
                for event in source:
                    futures += [pool.submit(self._judge, text) for text in windows.push(event)]
                    yield event
            futures += [pool.submit(self._judge, text) for text in windows.flush()]
            for future in futures:
                try:
                    self._observed.append(future.result())
                except AwsllmError as error:
                    self._failed(error)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class AsyncGuardedStream(_Guarded, AsyncConverseStream):
    """``GuardedStream``, awaited."""

    def __init__(
        self,
        source: AsyncConverseStream,
        state: Guard | Windows,
        judge: Callable[[str], Awaitable[GuardrailResponse]],
    ) -> None:
        self._watch(state)
        self._guarded, self._judge = source, judge
        events = self._guarded_events(state) if isinstance(state, Guard) else self._observed_events(state)
        AsyncConverseStream.__init__(self, events, lambda folded: self._whole(folded, source.partial))

    async def _guarded_events(self, guard: Guard) -> AsyncIterator[StreamEvent]:
        async with self._guarded as source:
            async for event in source:
                for released in await self._drive(guard.push(event)):
                    yield released
                if guard.stopped:
                    return
            for released in await self._drive(guard.flush()):
                yield released

    async def _drive(self, judgement: Judgement) -> list[StreamEvent]:
        try:
            text = next(judgement)
            while True:
                text = judgement.send(await self._judge(text))
        except StopIteration as done:
            return cast("list[StreamEvent]", done.value)

    async def _observed_events(self, windows: Windows) -> AsyncIterator[StreamEvent]:
        import asyncio

        tasks: list[asyncio.Task[GuardrailResponse]] = []

        def start(texts: list[str]) -> None:
            tasks.extend(asyncio.ensure_future(self._judge(text)) for text in texts)

        try:
            async with self._guarded as source:
                async for event in source:
                    start(windows.push(event))
                    yield event
            start(windows.flush())
            for task in tasks:
                try:
                    self._observed.append(await task)
                except AwsllmError as error:
                    self._failed(error)
        finally:
            for task in tasks:
                task.cancel()
