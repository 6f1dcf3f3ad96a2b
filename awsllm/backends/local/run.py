"""The next turn of a conversation as a local model makes it: the scheduler's steps in, events out.

Nothing here waits: who drives a run waits for the steps, in a thread or on an event loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from msgspec.structs import replace

from awsllm.backend import Attempt
from awsllm.backends.local.cache import terms_of
from awsllm.backends.local.calls import PARALLEL
from awsllm.backends.local.models import DEFAULT_MAX_TOKENS, ChatModel
from awsllm.backends.local.thinking import EXTRA, switches
from awsllm.errors import (
    ThrottlingError,
    UnsupportedError,
    ValidationError,
)
from awsllm.types import (
    ConverseRequest,
    Document,
    MessageStart,
    MessageStop,
    Metadata,
    SearchResult,
    StreamEvent,
    Usage,
)

if TYPE_CHECKING:
    from awsllm.engine.scheduler import Generation, TokenEvent

SHARED_PREFIX = "sharedPrefixTokens"
"""The member of ``Usage.extra`` that says how many tokens of the prompt were not computed again, as another prompt
began with them."""

_EXTRA = frozenset(("seed", "top_k", PARALLEL)) | EXTRA


class ConverseRun:
    """One conversation's next turn as it is made: the scheduler's steps in, events out. It waits for nothing.

    Making one does all that can go wrong before a token is computed, and looks at the images. ``ended``: ``finish`` is
    due.
    """

    def __init__(self, model: ChatModel, request: ConverseRequest, started: float, attempt: Attempt) -> None:
        self.ended = False
        self._model = model
        self._started = started
        thinks = switches(request, model.template.variables)
        self._warnings = (*_unheeded(request), *thinks.warnings, *model.unheeded(request))
        self._prompt = model.encode(request)
        self._sampling, self._squeezed = model.sampling(request, len(self._prompt))
        thinking = model.thinking(self._prompt)
        self._matcher = model.matcher(request, thinking)
        self._decoder = model.text_decoder(request)
        self._vectors = model.vectors(request, self._prompt, attempt.event_deadline(first=True))
        self._checkpoints, self._terms = model.checkpoints(request, self._prompt), terms_of(request)
        self._reader = model.reader(request, _stop_sequences(request), thinking)
        self._generation: Generation | None = None
        self._output_tokens = 0
        self._begun = False

    def submit(self, on_step: Callable[[TokenEvent], None] | None) -> Generation:
        from awsllm.engine.scheduler import QueueFullError, RoomError

        try:
            self._generation = self._model.scheduler.submit(
                self._prompt, self._sampling, self._matcher, on_step, self._vectors
            )
        except QueueFullError as error:
            raise ThrottlingError(str(error), code="ThrottlingException", status=429) from error
        except RoomError as error:
            raise ValidationError(str(error)) from error
        return self._generation

    def push(self, step: TokenEvent) -> list[StreamEvent]:
        """The events that this step completes. Raises what ended the generation, where that was an error."""
        if step.error is not None:
            raise step.error
        events: list[StreamEvent] = [] if self._begun else [MessageStart("assistant")]
        self._begun = True
        if step.token is None:
            self.ended = True
            return events
        self._output_tokens += 1
        events += self._reader.push(self._decoder.feed(step.token))
        self.ended = self._reader.stopped is not None
        return events

    def finish(self) -> list[StreamEvent]:
        """What was held back, why the answer ended, and what it used."""
        events = self._reader.push(self._decoder.flush()) + self._reader.finish(cut=self._was_cut())
        latency = round((time.monotonic() - self._started) * 1000)
        stop = MessageStop(self._stop_reason())
        return [*events, stop, Metadata(self._usage(), latency_ms=latency, warnings=self._warnings)]

    def _was_cut(self) -> bool:
        """Whether the tokens ran out before the answer was whole."""
        whole = self._matcher is not None and self._matcher.finished
        return self._generation is not None and self._generation.finish_reason == "length" and not whole

    def _stop_reason(self) -> str:
        if self._reader.stopped is not None:
            return "stop_sequence"
        if self._was_cut() and not self._reader.call_closed:
            return "model_context_window_exceeded" if self._squeezed else "max_tokens"
        return "tool_use" if self._reader.calls else "end_turn"

    def _usage(self) -> Usage:
        """What prefixes shared with other prompts saved is in ``extra``: only cache points move the counters."""
        from awsllm.engine.vectors import content_keys

        shared = self._generation.cached_tokens if self._generation else 0
        return replace(
            self._model.cache.count(content_keys(self._prompt, self._vectors), self._checkpoints, self._terms),
            output_tokens=self._output_tokens,
            total_tokens=len(self._prompt) + self._output_tokens,
            extra={SHARED_PREFIX: shared} if shared else None,
        )


# --- what a request asks of the model --------------------------------------------------------------------------------


def refuse_what_changes_meaning(request: ConverseRequest) -> None:
    if request.guardrail_config is not None:
        raise UnsupportedError("local models apply no guardrail; use a Bedrock model, or leave guardrail_config out")
    if request.prompt_variables:
        raise UnsupportedError("prompt variables fill a prompt kept in Bedrock; local models take messages")


def _unheeded(request: ConverseRequest) -> Iterator[str]:
    """The knobs that change nothing here, one line each."""
    for name in sorted((request.extra or {}).keys() - _EXTRA):
        yield f"extra {name!r} is not known to local models; {', '.join(sorted(_EXTRA))} are"
    if request.inference_config.max_tokens is None:
        yield f"max_tokens: not set, so at most {DEFAULT_MAX_TOKENS} are written"
    if request.performance_config and request.performance_config.latency not in (None, "standard"):
        yield f"performance_config latency {request.performance_config.latency!r} has no effect on local models"
    if request.service_tier and request.service_tier.type != "default":
        yield f"service_tier {request.service_tier.type!r} has no effect on local models"
    if request.additional_model_response_field_paths:
        yield "additional_model_response_field_paths has no effect: local models have no further response fields"
    if request.request_metadata:
        yield "request_metadata has no effect: local models keep no invocation log"
    if any(isinstance(b, Document | SearchResult) and b.citations for m in request.messages for b in m.content):
        yield "citations are not given by local models"


def _stop_sequences(request: ConverseRequest) -> tuple[str, ...]:
    stops = request.inference_config.stop_sequences
    if "" in stops:
        raise ValidationError("a stop sequence is empty")
    return stops
