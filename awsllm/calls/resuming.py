"""A stream that broke after its first event, continued (``resume=True``): the answer so far is sent as the assistant's
last turn, and the model goes on with it, where it can (``Profile.continues``).

What is joined is text alone. A call of a tool of which a part was handed over cannot be finished by another answer, nor
can thoughts that are signed as a whole: there the stream breaks as ever, with a note that says so. Nor is anything sent
again once the model has said why it stopped: the answer is whole then, and only what it used is not known.

At the cut no word is shown twice or lost. Models refuse a turn that ends in white space, so it is not sent; the
continuation mostly begins with it, and as it was shown already it is left out there. ``max_tokens`` is what is left of
it. A part that broke never said what it used, so that is estimated, and the sum of all parts is marked as such.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, NoReturn

from msgspec.structs import replace

from awsllm.backend import Attempt
from awsllm.calls.prepare import Prepared, Sending
from awsllm.errors import AwsllmError, StreamError, UnsupportedError
from awsllm.models.profiles import profile
from awsllm.policy import observers
from awsllm.policy.attempts import Policy
from awsllm.types import (
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    ConverseRequest,
    InferenceConfig,
    Message,
    MessageStart,
    MessageStop,
    Metadata,
    StreamEvent,
    Text,
    TextDelta,
    Usage,
)

if TYPE_CHECKING:
    from awsllm.policy.observers import Activity

_BYTES_A_TOKEN = 4  # of English; other languages have fewer, so that rather too little is taken from max_tokens
_ONLY_TEXT = "it was not continued (resume): a call or a thought had begun, and only text can be gone on with"
_UNKNOWN_USE = "the stream broke behind the end of the answer, before it said what was used"


def resumable(call: Prepared) -> Prepared:
    """The call, whose stream is continued where it breaks; ``UnsupportedError`` where that could not be."""
    reference, request = call.reference, call.request
    can = profile(reference.scheme, reference.model, request.family)
    if not can.continues or request.api == "openai":
        raise UnsupportedError(
            f"{reference} is not known to go on with an answer that was begun: leave resume out, or take a model that "
            "does (Claude before 4.6, Nova 1, local models)"
        )
    if can.thinks(request):
        raise UnsupportedError(
            f"{reference} does not go on with an answer while it thinks: leave resume or thinking out"
        )
    if call.partial_output is not None or (request.output_config and request.output_config.json_schema):
        raise UnsupportedError("an answer of a given form begins anew or not at all: leave resume or output_type out")
    return replace(call, resume=True)


class _Shown:
    """A block of which something was handed over."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.is_text = True
        self.closed = False


class Resumption:
    """The answer of one call, whose parts come from several streams: their events in, one stream's events out."""

    def __init__(self) -> None:
        self.breaks: list[str] = []
        self.uses: list[int] = []  # tokens written by each part that broke, estimated
        self.shown = False
        self._stopped = self._told = self.loops = False
        self._goes_on = False  # whether a part begins that goes on with what was shown
        self._used: Usage | None = None  # what the last part says, where turns of a tool loop follow
        self._differs = False  # whether the white space that came is other than what was shown
        self._blocks: dict[int, _Shown] = {}
        self._open: int | None = None  # the block with which the part that comes may go on
        self._owed: str | None = ""  # white space that was shown, and that the part that comes may repeat
        self._places: dict[int, int] = {}  # of the part's blocks, in the whole
        self._seen = 0  # bytes of text until the last break
        self._activity: Activity | None = None

    # --- events ---

    def take(self, event: StreamEvent) -> list[StreamEvent]:
        """What is handed over of an event."""
        events: list[StreamEvent]
        match event:
            case ContentBlockDelta() | ContentBlockStart() | ContentBlockStop():
                events = self._placed(event) if self.breaks else [event]
                for each in events:
                    self._note(each)
            case MessageStart():
                events = [] if self._goes_on and self.shown else [event]
                if self._stopped or self.loops:  # a tool loop's next turn
                    self._begin_turn()
                self._goes_on = False
            case MessageStop():
                events = [*self._closing(), event]
                self._stopped = True
            case Metadata():
                events, self._told = [event if self.loops else self._summed(event)], True
            case _:
                events = [event]
        self.shown = self.shown or bool(events)
        return events

    def _begin_turn(self) -> None:
        """What follows is nothing of the answer that was continued, whose blocks it does not number on."""
        self.loops, self._stopped, self._told = True, False, False
        self._blocks, self._places = {}, {}
        self._open = self._owed = None

    def _note(self, event: StreamEvent) -> None:
        if isinstance(event, ContentBlockStart | ContentBlockDelta | ContentBlockStop):
            block = self._blocks.setdefault(event.index, _Shown())
            if isinstance(event, ContentBlockDelta) and isinstance(event.delta, TextDelta):
                block.text.append(event.delta.text)
            elif isinstance(event, ContentBlockStop):
                block.closed = True
            else:
                block.is_text = False

    def _placed(self, event: Any) -> list[StreamEvent]:
        """An event of a later part, with its block's place in the whole and without what was shown before."""
        delta = event.delta if isinstance(event, ContentBlockDelta) else None
        before: list[StreamEvent] = []
        if event.index not in self._places:
            goes_on = isinstance(delta, TextDelta) or isinstance(event, ContentBlockStop)
            if self._open is None and isinstance(event, ContentBlockStop):  # there was nothing left to say
                return []
            if self._open is not None and goes_on:
                self._places[event.index], self._open = self._open, None
            else:
                before = self._closing()
                self._places[event.index] = max(self._blocks, default=-1) + 1
                self._blocks[self._places[event.index]] = _Shown()
        event = replace(event, index=self._places[event.index])
        if not isinstance(delta, TextDelta):
            return [*before, event]
        text = self._without_owed(delta.text)
        return [*before, replace(event, delta=TextDelta(text))] if text else before

    def _closing(self) -> list[StreamEvent]:
        """What ends the block with which this part did not go on."""
        place, self._open = self._open, None
        if place is None:
            return []
        self._blocks[place].closed = True
        return [ContentBlockStop(place)]

    def _without_owed(self, text: str) -> str:
        """The text without the white space that stands before it already; other white space in its place is left out,
        too."""
        if self._owed is None:
            return text
        for at, character in enumerate(text):
            if not self._owed and not self._differs:
                self._owed = None
                return text[at:]
            if not character.isspace():
                self._owed = None
                return text[at:]
            if not self._differs and character == self._owed[0]:
                self._owed = self._owed[1:]
            else:
                self._differs = True
        return ""

    def parts(self, last: Usage) -> list[Usage]:
        """What each part used, the last as it says. Each had the whole prompt, and in it what those before had written;
        empty where that cannot be told."""
        whole = self._used or last
        if whole.input_tokens is None or whole.output_tokens is None:
            return []
        given = [max(0, whole.input_tokens - sum(self.uses[number:])) for number in range(len(self.uses))]
        cached = whole.cache_read_input_tokens
        return [
            *(
                Usage(one, written, one + written + (cached or 0), cached, estimated=True)
                for one, written in zip(given, self.uses, strict=True)
            ),
            last,
        ]

    def _summed(self, last: Metadata) -> Metadata:
        if self.uses:
            self._used = last.usage
        return replace(last, usage=self.total(last.usage))

    def total(self, last: Usage) -> Usage:
        """What all parts used; ``last`` is what the last one says, and the turns of a tool loop behind it."""
        parts = self.parts(last)
        if len(parts) < 2:
            return last
        names = ("input_tokens", "output_tokens", "total_tokens", "cache_read_input_tokens")
        counts = {name: [getattr(part, name) for part in parts] for name in names}
        sums = {name: None if None in found else sum(found) for name, found in counts.items()}
        return replace(last, **sums, estimated=True)

    # --- breaks ---

    def begin(self) -> Activity | None:
        """The stream begins: whom to tell that it was continued."""
        self._activity = observers.CURRENT.get()
        return self._activity

    def broke(self, error: AwsllmError) -> Message | None:
        """The turn to go on with; None: nothing that can be sent was shown, so that the call is made anew. Raises
        ``error`` where the answer cannot be continued."""
        if self.loops or not all(block.is_text for block in self._blocks.values()):
            error.add_note(_ONLY_TEXT)
            raise error
        texts = ["".join(self._blocks[place].text) for place in sorted(self._blocks)]
        size = sum(len(text.encode()) for text in texts)
        self.uses.append(-((self._seen - size) // _BYTES_A_TOKEN))
        self.breaks.append(error.code or type(error).__name__)
        if self._activity is not None:
            self._activity.went_on("resume", error)
        self._seen = size
        last = max(self._blocks, default=None)
        self._open = last if last is not None and not self._blocks[last].closed else None
        self._places, self._differs, self._goes_on = {}, False, True
        blocks = [text for text in texts if text.strip()]
        end = texts[-1] if texts else ""
        self._owed = end[len(end.rstrip()) :]
        if not blocks:
            return None
        return Message("assistant", tuple(Text(text) for text in (*blocks[:-1], blocks[-1].rstrip())))

    def finish(self) -> None:
        """A part has ended; raises ``StreamError`` where that was before the end of the answer."""
        if not self._stopped:
            raise StreamError("the stream ended without messageStop: the answer was cut")

    def ended_by(self, error: AwsllmError) -> bool:
        """Whether the answer was whole when the stream broke."""
        if self._stopped and not self._told:
            self._told = True
            self.breaks.append(error.code or type(error).__name__)
        return self._stopped

    @property
    def warnings(self) -> tuple[str, ...]:
        if not self.breaks:
            return ()
        told = ", ".join(self.breaks)
        if not self.uses:
            return (f"{_UNKNOWN_USE} ({told})",)
        note = f"the stream broke ({told}) and was continued; what was used until then is estimated"
        return (note,) if len(self.uses) == len(self.breaks) else (note, _UNKNOWN_USE)

    def left_of(self, most: int | None) -> int | None:
        """What of ``max_tokens`` the part that comes may write."""
        return None if most is None else max(1, most - sum(self.uses))


# --- calls of one model ----------------------------------------------------------------------------------------------


class ResumedSending:
    """What a stream that is continued does between its parts, whether it is awaited or not."""

    def __init__(self, policy: Policy, sending: Sending, timeout: float | None) -> None:
        self._policy, self._sending = policy, sending
        limit = policy.limit(timeout)
        self._deadline = None if limit is None else policy.clock() + limit
        self._request: ConverseRequest = sending.request
        self._first = len(sending.made)
        self.answer = Resumption()
        self.answer.begin()

    def part(self) -> tuple[Policy, float | None]:
        """The policy and the timeout of the part that comes."""
        made = len(self._sending.made) - self._first
        left = None if self._deadline is None else self._deadline - self._policy.clock()
        return (self._policy.with_attempts(self._policy.max_attempts - made) if made else self._policy), left

    def mend(self, error: AwsllmError) -> bool:
        """Of the first part only: what a repair makes of the others may be another answer."""
        if self.answer.shown or not self._sending.mend(error):
            return False
        self._request = self._sending.request
        return True

    def broke(self, error: AwsllmError, began: float) -> float | None:
        """The seconds to wait before the next part, for which ``sending.request`` is made ready; None: the answer was
        whole. Raises ``error`` where there is none."""
        sending, answer = self._sending, self.answer
        if not answer.shown:
            raise error
        if answer.ended_by(error):
            return None
        made = sending.made
        if made and made[-1].error is None:  # it was told that it had begun
            began, sending.made = made[-1].started, made[:-1]
        sending.tried(error, began)
        pause = self._policy.pause_to_resume(error, len(sending.made) - self._first, self._deadline)
        if pause is None:
            self._give_up(error)
        turn = answer.broke(error)
        request = self._request
        config: InferenceConfig = request.inference_config
        sending.request = replace(
            request,
            messages=(*request.messages, turn) if turn else request.messages,
            inference_config=replace(config, max_tokens=answer.left_of(config.max_tokens)),
        )
        return pause

    def _give_up(self, error: AwsllmError) -> NoReturn:
        error.attempts = self._sending.made
        raise error

    def end(self, began: float) -> None:
        sending = self._sending
        if self.answer.breaks:
            if sending.made and sending.made[-1].error is not None:
                sending.tried(None, began)
            sending.notes += self.answer.warnings


def resumed(
    stream: Callable[[ConverseRequest, Attempt], Iterator[StreamEvent]],
    policy: Policy,
    sending: Sending,
    timeout: float | None,
) -> Iterator[StreamEvent]:
    """The events of ``stream``, and of what it is continued with."""
    state = ResumedSending(policy, sending, timeout)
    pause: float | None = 0.0
    while pause is not None:
        part, left = state.part()
        began = time.time()
        try:
            with closing(
                part.iterate(lambda attempt: stream(sending.request, attempt), left, state.mend, sending)
            ) as events:
                for event in events:
                    yield from state.answer.take(event)
            state.answer.finish()
            pause = None
        except AwsllmError as error:
            pause = state.broke(error, began)
        if pause:
            policy.sleep(pause)
    state.end(began)


async def resumed_async(
    stream: Callable[[ConverseRequest, Attempt], AsyncIterator[StreamEvent]],
    policy: Policy,
    sending: Sending,
    timeout: float | None,
) -> AsyncGenerator[StreamEvent, None]:
    """``resumed``, awaited."""
    state = ResumedSending(policy, sending, timeout)
    pause: float | None = 0.0
    while pause is not None:
        part, left = state.part()
        began = time.time()
        try:
            async with aclosing(
                part.iterate_async(lambda attempt: stream(sending.request, attempt), left, state.mend, sending)
            ) as events:
                async for event in events:
                    for shown in state.answer.take(event):
                        yield shown
            state.answer.finish()
            pause = None
        except AwsllmError as error:
            pause = state.broke(error, began)
        if pause:
            await policy.sleep_awaited(pause)
    state.end(began)
