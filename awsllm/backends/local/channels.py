"""Answers in channels, as gpt-oss writes them (OpenAI's harmony): the grammar that keeps one to its tools, and the
reader of its text. Pure.

An answer is a row of messages, each with a header and a body. Where it begins, ``<|start|>assistant`` stands already:

    <|channel|>analysis<|message|>…<|end|>                                               what it thinks
    <|start|>assistant<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{…}<|call|>    a call
    <|start|>assistant<|channel|>final<|message|>…<|return|>                             the answer

A recipient may also stand before its channel. Commentary without one is text for the user, before a call. ``<|call|>``
and ``<|return|>`` end the generation, so they are not seen. Source: github.com/openai/harmony, docs/format.md, read
2026-11-27.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from awsllm.backends.local.calls import GrammarTerms, answer_schema, arguments_schema, chosen, closed, goes_round, specs
from awsllm.backends.local.output import JsonEnd
from awsllm.backends.local.writer import BlockWriter, new_tool_id
from awsllm.errors import ValidationError
from awsllm.types import ConverseRequest, StreamEvent, ToolChoice, ToolSpec
from awsllm.wire.text.stops import first_mark, half_mark

_CHANNEL, _MESSAGE, _CONSTRAIN, _START, _END = "<|channel|>", "<|message|>", "<|constrain|>", "<|start|>", "<|end|>"
_OVER = (_END, "<|call|>", "<|return|>")
_ENDS = (*_OVER, _START, _CHANNEL)
_RECIPIENT = re.compile(r"to=functions\.([^\s<]{1,128})")
_HEADERS = (_CHANNEL, _START, _MESSAGE, "to=", "assistant")
_LONGEST_HEADER = 512


def channel_grammar(request: ConverseRequest, terms: GrammarTerms) -> str | None:
    """The grammar of an answer that may call tools, or that is JSON; None where any text will do."""
    tools, schema = specs(request), answer_schema(request)
    choice = request.tool_choice or ToolChoice("auto")
    if not tools and request.tool_choice is not None:
        raise ValidationError("tool_choice needs tools")
    if not tools and not schema:
        return None
    mark = terms.mark
    ends = _END in terms.tokens
    body = f"/(.|\\n)*/ {mark(_END)}" if ends else "body_end"
    more = f"{mark(_START + 'assistant')}"
    rules = [
        f"analysis: {mark(_CHANNEL + 'analysis' + _MESSAGE)} {body} {more}",
        f"preamble: {mark(_CHANNEL + 'commentary' + _MESSAGE)} {body} {more}",
        *([] if ends else [f"body_end[lazy]: /(.|\\n)*/ {mark(_END)}"]),
    ]
    said = "answer" if schema else "TEXT"
    json_mark = f"({mark(' ' + _CONSTRAIN + 'json')})? " if schema else ""
    final = f"final: {mark(_CHANNEL + 'final')} {json_mark}{mark(_MESSAGE)} {said}"
    rules += [final, f"answer: {terms.rule(closed(schema.schema))}" if schema else "TEXT: /(.|\\n)*/"]
    if not tools or (goes_round(request) and choice.type == "auto"):
        return "\n".join(["start: analysis* final", *rules]) + "\n"
    rules += _calls(chosen(tools, choice), terms)
    start = "start: analysis* (final | preamble? call)" if choice.type == "auto" else "start: analysis* call"
    return "\n".join([start, *rules]) + "\n"


def _calls(tools: list[ToolSpec], terms: GrammarTerms) -> Iterator[str]:
    yield "call: " + " | ".join(f"call_{n}" for n in range(len(tools)))
    kind = f"(/ ?/ {terms.mark(_CONSTRAIN + 'json')} | {terms.mark(' json')})?"
    for n, tool in enumerate(tools):
        to = f" to=functions.{tool.name}"
        heads = (f"{_CHANNEL}commentary{to}", f"{to}{_CHANNEL}commentary")
        head = " | ".join(map(terms.mark, heads))
        yield f"call_{n}: ({head}) {kind} {terms.mark(_MESSAGE)} {terms.rule(arguments_schema(tool))}"


class ChannelReader:
    """Pieces of text in, events out, as ``output.OutputReader``."""

    def __init__(self, stops: tuple[str, ...], *, tools: bool, new_id: Callable[[], str] = new_tool_id) -> None:
        self.stopped: str | None = None
        self._writer = BlockWriter(new_id)
        self._tools = tools
        self._stops = stops
        self._state: Callable[[bool], Iterator[StreamEvent]] = self._read_header
        self._held = ""
        self._header = ""
        self._name = ""
        self._arguments = JsonEnd()
        self._pieces: list[str] = []

    @property
    def calls(self) -> int:
        """How many whole calls there were."""
        return self._writer.calls

    @property
    def call_closed(self) -> bool:
        """The text ends in a whole call."""
        return self._state == self._read_rest and bool(self._writer.calls)

    def push(self, text: str) -> list[StreamEvent]:
        """The events that this piece completes; none once ``stopped``."""
        self._held += text
        return list(self._run(final=False))

    def finish(self, *, cut: bool = False) -> list[StreamEvent]:
        """The events of what was held back, and the end of the block that is open. ``cut``: there was to be more."""
        if cut and self._state in (self._read_header, self._read_call):
            self._held, self._state = "", self._read_rest
        elif cut and (half := half_mark(self._held, _ENDS)):
            self._held = self._held[:-half]
        return [*self._run(final=True), *self._writer.close()]

    def _run(self, *, final: bool) -> Iterator[StreamEvent]:
        while self.stopped is None:
            before = (self._state, len(self._held))
            yield from self._state(final)
            if before == (self._state, len(self._held)):
                return

    def _read_header(self, final: bool) -> Iterator[StreamEvent]:
        text = self._held.lstrip()
        at = self._held.find(_MESSAGE)
        is_header = any(text.startswith(mark) or mark.startswith(text) for mark in _HEADERS)
        if is_header and at >= 0:
            self._header, self._held = self._held[: at + len(_MESSAGE)], self._held[at + len(_MESSAGE) :]
            self._state = self._body_of(self._header)
        elif not is_header or final or len(self._held) > _LONGEST_HEADER:  # an answer without a header
            first, self._held = self._held[:1], self._held[1:]  # so that its mark, if it has one, is read no more
            self._state = self._read_text
            yield from self._writer.text(first, final=False)

    def _body_of(self, header: str) -> Callable[[bool], Iterator[StreamEvent]]:
        recipient = _RECIPIENT.search(header)
        if recipient and self._tools:
            self._name, self._pieces, self._arguments = recipient[1], [], JsonEnd()
            return self._read_call
        return self._read_thought if f"{_CHANNEL}analysis" in header else self._read_text

    def _read_thought(self, final: bool) -> Iterator[StreamEvent]:
        text = self._until(_ENDS, final)
        yield from self._writer.thought(text)
        if self._state == self._read_rest:
            yield from self._writer.end_thought()

    def _read_text(self, final: bool) -> Iterator[StreamEvent]:
        text = self._until((*self._stops, *_ENDS), final)
        over = final or self._state == self._read_rest or self.stopped is not None
        yield from self._writer.text(text, final=over)
        if self._state == self._read_rest:
            yield from self._writer.close()

    def _until(self, marks: tuple[str, ...], final: bool) -> str:
        """The text before the first mark, as far as it came; a mark ends the message, or as a stop sequence all."""
        found = first_mark(self._held, marks)
        if found is None:
            ready = len(self._held) if final else len(self._held) - half_mark(self._held, marks)
            text, self._held = self._held[:ready], self._held[ready:]
            return text
        at, mark = found
        text, self._held = self._held[:at], self._held[at:]
        if mark in self._stops:
            self.stopped, self._held = mark, ""
        else:
            self._state = self._read_rest
        return text

    def _read_call(self, final: bool) -> Iterator[StreamEvent]:
        began = bool(self._pieces) or self._held.lstrip().startswith("{")
        if began:
            end = self._arguments.end(self._held)
            self._pieces.append(self._held[:end])
            self._held = self._held[end:]
        if self._arguments.closed:
            yield from self._writer.call(self._name, self._pieces)
            self._state = self._read_rest
        elif final or (not began and self._held.strip()):
            self._state = self._read_text
            yield from self._writer.text(self._header + "".join(self._pieces), final=True)

    def _read_rest(self, final: bool) -> Iterator[StreamEvent]:
        """Behind a body: the mark that ends it, and then a header."""
        text = self._held.lstrip()
        mark = next((mark for mark in _OVER if text.startswith(mark)), "")
        if mark:
            self._held = text[len(mark) :]
        if mark or final or not any(one.startswith(text) for one in _OVER):
            self._state = self._read_header
        yield from ()
