"""A conversation that a guardrail of the offline account reads along with (``guardrailConfig``).

Of the input the texts of all messages are judged, or, where messages have blocks of ``guardContent``, those alone; of
the system prompt such blocks only. Of the answer its texts are. Results and arguments of tools are not (user guide,
"Include a guardrail with the Converse API"). What is blocked is replaced by the guardrail's message, and the model is
not asked where that is the input; what is masked in the input goes to the model masked, what is masked in the answer to
the caller. An answer that is blocked or masked ends with guardrail_intervened.

A stream in the mode sync, the default, waits: text goes on when it is certain that nothing in it is blocked or to be
masked, which is looked at every 50 characters (``applyGuardrailInterval`` of agents has that default) and at the end of
a block. In the mode async it does not wait, and is not masked; once something is blocked, no more follows (user guide,
"Configure streaming response behavior").
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TypeVar, cast

from msgspec.structs import replace

from awsllm.server.account.guardrails.grounding import held_against, is_guarded
from awsllm.server.account.guardrails.guardrail import Guardrail
from awsllm.server.account.guardrails.judge import Judge, Reading
from awsllm.server.account.guardrails.meaning import Meaning, Steps
from awsllm.server.account.guardrails.report import Coverage, assessment, reason
from awsllm.types import (
    Citations,
    ContentBlock,
    ContentBlockDelta,
    ContentBlockStop,
    ConverseRequest,
    ConverseResponse,
    GuardContent,
    GuardrailConfig,
    GuardText,
    JsonObject,
    JsonValue,
    Message,
    MessageStart,
    MessageStop,
    Metadata,
    StreamEvent,
    SystemContentBlock,
    Text,
    TextDelta,
    Unknown,
    Usage,
)

T = TypeVar("T", bound="ContentBlock | SystemContentBlock")

INTERVENED = "guardrail_intervened"
_EVERY = 50  # characters of a stream
_NOTHING = Usage(input_tokens=0, output_tokens=0, total_tokens=0)  # the model was not asked


class GuardedConversation:
    """A request under a guardrail, and what the guardrail has found in it and in its answer."""

    def __init__(self, request: ConverseRequest, guardrail: Guardrail, meaning: Meaning) -> None:
        self.request, self.guardrail = request, guardrail
        self.config = request.guardrail_config or GuardrailConfig()
        self._meaning = meaning
        self._into = Judge(guardrail.rules("INPUT"), meaning)
        self._coverage = Coverage(0, 0)
        marked = [block.content for block in _blocks(request) if isinstance(block, GuardContent)]
        texts = [content for content in marked if isinstance(content, GuardText)]
        rules = guardrail.rules("OUTPUT")
        held = held_against(texts, meaning) if rules.thresholds else None
        self.out = Judge(rules, meaning, held, masks=self.config.stream_processing_mode != "async")
        self._said: list[str] = []

    def begin(self) -> Steps[ConverseRequest | None]:
        """What the model is to be asked; None where the input is blocked."""
        request = self.request
        is_chosen = any(isinstance(block, GuardContent) for message in request.messages for block in message.content)
        system: list[SystemContentBlock] = []
        for block in request.system:
            read = yield from self._read_block(block, is_chosen=True)
            system += [cast("SystemContentBlock", read)]
        messages = []
        for message in request.messages:
            content: list[ContentBlock] = []
            for part in message.content:
                content += [(yield from self._read_block(part, is_chosen=is_chosen))]
            messages.append(replace(message, content=tuple(content)))
        total = sum(map(_size, _blocks(request)))
        self._coverage = Coverage(self._into.characters, total)
        if self._into.blocked:
            return None
        return replace(request, system=tuple(system), messages=tuple(messages), guardrail_config=None)

    def _read_block(
        self, block: ContentBlock | SystemContentBlock, *, is_chosen: bool
    ) -> Steps[ContentBlock | SystemContentBlock]:
        match block:
            case Text(text=text) if not is_chosen:
                return replace(block, text=(yield from self._into.read(text)))
            case GuardContent(content=GuardText() as content) if is_guarded(content):
                return replace(block, content=replace(content, text=(yield from self._into.read(content.text))))
            case _:
                return block

    def refused(self) -> ConverseResponse:
        """The answer to an input that is blocked."""
        return ConverseResponse(
            message=Message.assistant(self.guardrail.message("INPUT")),
            stop_reason=INTERVENED,
            usage=_NOTHING,
            trace=self.trace(),
            model=self.request.model,
        )

    def judge(self, answer: ConverseResponse) -> Steps[ConverseResponse]:
        """The answer as the caller gets it."""
        content: list[ContentBlock] = []
        for block in answer.message.content:
            content += [(yield from self._read_answer(block))]
        self.out.end()
        answer = replace(answer, trace=self.trace(answer.trace))
        if not (self.out.blocked or self.out.masked):
            return answer
        blocked = Message.assistant(self.guardrail.message("OUTPUT"))
        message = blocked if self.out.blocked else replace(answer.message, content=tuple(content))
        return replace(answer, message=message, messages=(), stop_reason=INTERVENED)

    def _read_answer(self, block: T) -> Steps[T]:
        """A block of the answer, or of what a citation covers."""
        match block:
            case Text(text=text):
                self.say(text)
                return replace(block, text=(yield from self.out.read(text)))
            case Citations(content=content):
                parts: list[Text | Unknown] = []
                for part in content:
                    parts += [(yield from self._read_answer(part))]
                return replace(block, content=tuple(parts))
            case _:
                return block

    def say(self, text: str) -> None:
        """What the model says, for the trace."""
        self._said.append(text)

    def trace(self, trace: JsonValue = None) -> JsonValue:
        if self.config.trace not in ("enabled", "enabled_full"):
            return trace
        full = self.config.trace == "enabled_full"
        name = self.guardrail.id
        found: JsonObject = {
            "inputAssessment": {name: assessment(self.guardrail, self._into, self._coverage, full=full).raw}
        }
        acting = self._into
        if not self._into.blocked:
            coverage = Coverage(self.out.characters, self.out.characters)
            found["outputAssessments"] = {name: [assessment(self.guardrail, self.out, coverage, full=full).raw]}
            acting = self.out if self.out.blocked or self.out.masked else self._into
        if self.out.blocked or self.out.masked:
            found["modelOutput"] = ["".join(self._said)]
        found["actionReason"] = reason(acting)
        return {**(trace if isinstance(trace, dict) else {}), "guardrail": found}


def _blocks(request: ConverseRequest) -> Iterator[ContentBlock | SystemContentBlock]:
    return chain(request.system, *(message.content for message in request.messages))


def _size(block: ContentBlock | SystemContentBlock) -> int:
    match block:
        case Text(text=text) | GuardContent(content=GuardText(text=text)):
            return len(text)
        case _:
            return 0


class GuardedEvents:
    """The stream of a conversation. ``begin`` gives what the model is to be asked; then ``push`` is given its events,
    and gives those that may go on, and ``end`` those that are left. Once it has ``stopped``, no more is to be read."""

    def __init__(self, conversation: GuardedConversation) -> None:
        self._conversation = conversation
        self._waits = conversation.config.stream_processing_mode != "async"
        self._index: int | None = None  # the block that is read
        self._reading: Reading | None = None
        self._due = _EVERY
        self.stopped = False

    def begin(self) -> Steps[tuple[ConverseRequest | None, list[StreamEvent]]]:
        request = yield from self._conversation.begin()
        if request is not None:
            return request, []
        self.stopped = True
        refused = self._conversation.refused()
        return None, [
            MessageStart("assistant"),
            ContentBlockDelta(0, TextDelta(refused.text)),
            ContentBlockStop(0),
            MessageStop(INTERVENED),
            Metadata(usage=refused.usage, trace=refused.trace),
        ]

    def is_due(self, event: StreamEvent) -> bool:
        """Whether pushing it means to judge what has been said."""
        match event:
            case ContentBlockDelta(delta=TextDelta(text=text)):
                return len(text) >= self._due
            case _:
                return self._reading is not None

    def push(self, event: StreamEvent) -> Steps[list[StreamEvent]]:
        match event:
            case ContentBlockDelta(index=index, delta=TextDelta(text=text)):
                return (yield from self._push_text(event, index, text))
            case ContentBlockDelta(index=index) if index == self._index:
                return [event]
            case MessageStop():
                return (yield from self._stop(event))
            case Metadata():
                return [replace(event, trace=self._conversation.trace(event.trace))]
            case _:
                released = yield from self._finish()
                return released if self.stopped else [*released, event]

    def end(self) -> Steps[list[StreamEvent]]:
        """What is left of a stream that ended, with its message or without."""
        return (yield from self._finish())

    def _push_text(self, event: StreamEvent, index: int, text: str) -> Steps[list[StreamEvent]]:
        released = (yield from self._finish()) if self._index not in (None, index) else []
        if self.stopped:
            return released
        if self._reading is None:
            self._index, self._reading, self._due = index, Reading(self._conversation.out), _EVERY
        self._conversation.say(text)
        reading = self._reading
        reading.add(text)
        if not self._waits:
            released.append(event)
        self._due -= len(text)
        if self._due > 0:
            return released
        released += yield from self._settle(final=False)
        self._due = max(_EVERY, reading.waiting // 4)
        return released

    def _settle(self, *, final: bool) -> Steps[list[StreamEvent]]:
        assert self._reading is not None  # noqa: S101
        passed = yield from self._reading.settle(final=final)
        if self._conversation.out.blocked:
            return self._blocked()
        return [ContentBlockDelta(self._index or 0, TextDelta(passed))] if passed and self._waits else []

    def _finish(self) -> Steps[list[StreamEvent]]:
        """The block that was read is over."""
        if self._reading is None:
            return []
        released = yield from self._settle(final=True)
        self._reading = None
        return released

    def _stop(self, event: MessageStop) -> Steps[list[StreamEvent]]:
        released = yield from self._finish()
        if self.stopped:
            return released
        self._conversation.out.end()
        if self._conversation.out.blocked:
            return [*released, *self._blocked()]
        masked = self._conversation.out.masked
        return [*released, replace(event, stop_reason=INTERVENED) if masked else event]

    def _blocked(self) -> list[StreamEvent]:
        """The guardrail's message, and the end: what the model used is not known, for it was not read to its end."""
        self.stopped = True
        index = self._index or 0
        return [
            ContentBlockDelta(index, TextDelta(self._conversation.guardrail.message("OUTPUT"))),
            ContentBlockStop(index),
            MessageStop(INTERVENED),
            Metadata(usage=_NOTHING, trace=self._conversation.trace()),
        ]
