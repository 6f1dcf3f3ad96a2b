"""The OpenAI format as a model's own, behind an operation that names the model and says whether the answer streams:
neither ``model`` nor ``stream`` is sent, and what is read of them is not obeyed.

Thinking comes in the text: ``<reasoning>…</reasoning>`` before the answer, in streams around each piece of it. There is
no documented place for thinking in a request, so that of earlier turns is left out.

OpenAI's own models from GPT-5 on refuse ``max_tokens`` and take ``max_completion_tokens`` (``openai-gpt``); the others,
whose own servers know ``max_tokens`` alone, take that (``openai-chat``).

Sources: docs.aws.amazon.com, OpenAI models, 2025; langchain-ai/langchain-aws 1.9 (the limit's two names);
BerriAI/litellm 1.110 (Kimi K2's tags); CherryHQ/cherry-studio#10225 (a recorded stream of gpt-oss);
traceloop/openllmetry (recorded answers of gpt-6 and gpt-oss), 2026.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import ClassVar

import msgspec

from awsllm.types import ConverseRequest, ConverseResponse, JsonObject, JsonValue, Reasoning, StreamEvent
from awsllm.wire.body import Body, ChunkDecoder, ChunkEncoder, Context, Payload, Settings
from awsllm.wire.openai.body import OpenAIChat, decode_chat, encode_error_payload, new_id
from awsllm.wire.openai.request import encode_request, warnings
from awsllm.wire.openai.response import decode_response, encode_response
from awsllm.wire.openai.stream import CompletionDecoder, FramedCompletion
from awsllm.wire.payloads import read_body, read_object, write
from awsllm.wire.text.thinking import ThinkingSplitter

_OPENS, _CLOSES = "<reasoning>", "</reasoning>"
_THINKING = "thinking of earlier turns was left out: the format has no documented place for it"


class NativeChat(OpenAIChat):
    """``limit`` is the member that limits the answer. ``tagged``: thinking comes in tags. What a family does otherwise
    is in ``write_request`` and ``read_request``, ``write_reply`` and ``read_reply``; the latter see whole replies and
    chunks alike."""

    title: ClassVar[str] = "the OpenAI format"
    limit: ClassVar[str] = "max_tokens"
    tagged: ClassVar[bool] = True

    def warnings(self, request: ConverseRequest, settings: Settings) -> tuple[str, ...]:
        thinks = any(isinstance(block, Reasoning) for message in request.messages for block in message.content)
        return (*warnings(request), *((_THINKING,) if thinks else ()))

    # --- what families override --------------------------------------------------------------------------------------

    def write_request(self, wire: JsonObject, request: ConverseRequest) -> JsonObject:
        """The body, from one in the OpenAI format. Raises ``UnsupportedError`` for what the family cannot take."""
        return wire

    def read_request(self, wire: JsonObject) -> JsonObject:
        return wire

    def write_reply(self, wire: JsonObject) -> JsonObject:
        return wire

    def read_reply(self, wire: JsonObject) -> JsonObject:
        return wire

    # --- the codec ---------------------------------------------------------------------------------------------------

    def encode_request(self, request: ConverseRequest, settings: Settings, *, stream: bool = False) -> Payload:
        wire = encode_request(request)
        if not wire["model"]:
            del wire["model"]
        if self.limit != "max_tokens" and (limit := wire.pop("max_tokens", None)) is not None:
            wire = {self.limit: limit, **wire}
        wire["messages"] = [_without_thinking(message) for message in wire["messages"]]
        return write(self.write_request(wire, request))

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[ConverseRequest, bool]:
        return decode_chat(model, self.read_request(read_body(payload)))

    def decode_response(self, payload: Payload, context: Context) -> ConverseResponse:
        wire = read_object(payload, context)
        reply = self.read_reply(wire)
        if self.tagged:
            splitter = ThinkingSplitter(_OPENS, _CLOSES)
            reply = _told_apart(reply, "message", splitter, ends=True)
        return msgspec.structs.replace(decode_response(reply, context), raw=wire)

    def encode_response(self, response: ConverseResponse, context: Context) -> Payload:
        wire = encode_response(response, id=new_id(context), created=int(time.time()), model=context.request.model)
        return write(self.write_reply(_tagged(wire, "message") if self.tagged else wire))

    def stream_decoder(self, context: Context) -> ChunkDecoder:
        return NativeDecoder(self, context)

    def stream_encoder(self, context: Context) -> ChunkEncoder:
        return NativeEncoder(self, context)


class NativeDecoder:
    """Chunks as a family writes them, to chunks of the OpenAI format, to events."""

    def __init__(self, chat: NativeChat, context: Context) -> None:
        self._read = chat.read_reply
        self._completion = CompletionDecoder(context)
        self._splitter = ThinkingSplitter(_OPENS, _CLOSES) if chat.tagged else None

    def push(self, chunk: JsonValue) -> Iterable[StreamEvent]:
        if isinstance(chunk, dict):
            chunk = self._read(chunk)
            if self._splitter is not None and not self._splitter.answers:
                chunk = _told_apart(chunk, "delta", self._splitter)
        return self._completion.push(chunk)

    def finish(self, *, done: bool = False) -> Iterator[StreamEvent]:
        if self._splitter is not None:  # no reason to finish came, so what is held back is still to be told
            rest = _told_apart({"choices": [{"delta": {}}]}, "delta", self._splitter, ends=True)
            yield from self._completion.push(rest) if done else ()
        yield from self._completion.finish(done=done)


class NativeEncoder(FramedCompletion):
    """Events to chunks of the OpenAI format, to those that a family writes."""

    def __init__(self, chat: NativeChat, context: Context) -> None:
        super().__init__(context, id=new_id(context), created=int(time.time()))
        self._chat = chat

    def _frame(self, chunk: JsonValue) -> bytes:
        if isinstance(chunk, dict) and "choices" in chunk:
            chunk = self._chat.write_reply(_tagged(chunk, "delta") if self._chat.tagged else chunk)
        return super()._frame(chunk)


def _without_thinking(message: JsonObject) -> JsonObject:
    return {name: value for name, value in message.items() if name != "reasoning_content"}


# --- thinking in tags ------------------------------------------------------------------------------------------------


def _told_apart(wire: JsonObject, member: str, splitter: ThinkingSplitter, *, ends: bool = False) -> JsonObject:
    """A reply or chunk with the thinking taken out of its text. What is malformed is left for the reader. ``ends``:
    no more text follows, which a chunk with a call or a reason to finish says, too."""
    choices = wire.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get(member) if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return wire
    content = message.get("content")
    parts = [*splitter.push(content)] if isinstance(content, str) else []
    if ends or choice.get("finish_reason") or message.get("tool_calls"):
        parts += splitter.rest()
    if not parts and not content:
        return wire
    thinking, answer = (
        "".join(part for is_thinking, part in parts if is_thinking is wanted) for wanted in (True, False)
    )
    told = {**message, "content": answer or None} | ({"reasoning_content": thinking} if thinking else {})
    return {**wire, "choices": [{**choice, member: told}]}


def _tagged(wire: JsonObject, member: str) -> JsonObject:
    """The inverse: thinking in tags before the text."""
    choice = wire["choices"][0] if wire["choices"] else {}
    message = dict(choice.get(member) or {})
    if (thinking := message.pop("reasoning_content", None)) is None:
        return wire
    message["content"] = f"{_OPENS}{thinking}{_CLOSES}{message.get('content') or ''}"
    return {**wire, "choices": [{**choice, member: message}]}


class GptChat(NativeChat):
    title = "the format of OpenAI's models"
    limit = "max_completion_tokens"


def native_body(name: str, chat: NativeChat) -> Body:
    return Body(name, chat.title, chat.decode_request, encode_error_payload, chat=chat)


BODIES: tuple[Body, ...] = (native_body("openai-chat", NativeChat()), native_body("openai-gpt", GptChat()))
