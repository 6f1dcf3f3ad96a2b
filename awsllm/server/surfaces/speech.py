"""Nova Sonic, spoken by the server: a conversation over InvokeModelWithBidirectionalStream.

``Envelopes`` opens what a client sends, ``Conversation`` takes the events and says the model's. Words are those of the
model that stands behind the server; ears and voice are ``voice``'s, and every event that is theirs says so in
``additionalModelFields``. Neither knows how bytes come and go: ``server.http.duplex`` drives them over a connection,
``awsllm.testing`` in the client's own process.

The order of the events is the guide's (nova/latest/userguide/output-events.html): the user's words, tool uses, then
for each sentence its text as planned, its audio, and its text as said. Audio is sent up to ``_LEAD`` seconds before it
is to be heard, and whoever speaks before it has been heard interrupts it.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any, assert_never

import msgspec
from msgspec.structs import replace

from awsllm.aws.event_signing import DIGEST, sign_event, signature_of
from awsllm.aws.signing import Scope
from awsllm.errors import AwsllmError, ModelTimeoutError, StreamError
from awsllm.server.account.refusals import denied
from awsllm.server.surfaces.voice import PAUSES, Ear, pieces, scripted_audio, sentences, silence
from awsllm.server.work import Incoming
from awsllm.types import (
    ContentBlock,
    ConverseRequest,
    ConverseResponse,
    InferenceConfig,
    Json,
    Message,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from awsllm.types.speech import SAMPLE_BYTES
from awsllm.wire.converse import encode_error_frame
from awsllm.wire.converse.tools import decode_tool_choice
from awsllm.wire.eventstream import Frame, FrameDecoder, encode_date, encode_exception_frame
from awsllm.wire.model_stream import encode_chunk, read_part
from awsllm.wire.sonic.inputs import (
    AudioInput,
    InputEnd,
    InputEvent,
    InputStart,
    PromptEnd,
    PromptStart,
    SessionEnd,
    SessionStart,
    TextInput,
    ToolResultInput,
    decode_input,
    malformed_input,
)
from awsllm.wire.sonic.outputs import (
    AudioOutput,
    CompletionEnd,
    CompletionStart,
    OutputEnd,
    OutputEvent,
    OutputStart,
    TextOutput,
    TokenCounts,
    TokenDetails,
    TokenFlow,
    ToolUseOutput,
    UsageReport,
    encode_output,
)
from awsllm.wire.sonic.prompt import decode_inference, decode_tools
from awsllm.wire.sonic.reader import SYNTHETIC

OPERATION = "invoke-with-bidirectional-stream"
SESSION = 480.0
"""Seconds that a session may last, as the service's."""
_LEAD = 2.0  # seconds
_MAX_PART = 1_000_000  # bytes (service model, PartBody)
_INTERRUPTED = '{ "interrupted" : true }'  # as the service writes it

Ask = Callable[[ConverseRequest], Awaitable[ConverseResponse]]
Send = Callable[[bytes], Awaitable[None]]


def failure_frame(error: AwsllmError) -> bytes:
    """The frame that ends a session with an error. Its union has one exception more than other streams'."""
    if isinstance(error, ModelTimeoutError):
        return encode_exception_frame("modelTimeoutException", msgspec.json.encode({"message": error.message}))
    return encode_error_frame(error)


# --- what a client sends ---------------------------------------------------------------------------------------------


class Envelopes:
    """Bytes in any cuts to events. With ``secret``, which is the server's API key, the signature of each envelope is
    verified, from that of the head on, which ``check_head`` has. A client with a bearer token signs nothing and sends
    no envelopes. Raises ``AccessDeniedError`` for a head that is signed for another body."""

    def __init__(self, incoming: Incoming, secret: str | None = None) -> None:
        self._frames = FrameDecoder()
        authorization = incoming.headers.get("authorization", "")
        signed = incoming.headers.get("x-amz-content-sha256") == DIGEST
        if secret is not None and not signed and authorization.startswith("AWS4-"):
            # With another digest the signature would be one of a body that nobody verifies.
            raise denied(f"a session that is signed says so: x-amz-content-sha256 is {DIGEST}.")
        self._secret = secret if signed else None
        self._prior = signature_of(authorization)
        self._scope = authorization.partition("Credential=")[2].partition(",")[0].split("/")[1:4] if signed else []
        self.ended = False

    def feed(self, data: bytes) -> Iterator[InputEvent]:
        """Raises ``ValidationError`` for what is no event, ``AccessDeniedError`` for a signature that is not one."""
        try:
            for frame in self._frames.feed(data):
                yield from self._open(frame)
            if self._frames.damage:
                raise self._frames.damage
        except StreamError as error:
            raise malformed_input(error.message) from error

    def _open(self, frame: Frame) -> Iterator[InputEvent]:
        signature = frame.headers.get(":chunk-signature")
        if signature is None:
            if self._secret is not None:
                raise denied("an event without a signature.")
            yield self._event(frame)
            return
        self._verify(frame, signature)
        if not frame.payload:
            self.ended = True
        for inner in FrameDecoder().feed(frame.payload):
            yield self._event(inner)

    def _verify(self, frame: Frame, signature: Any) -> None:
        if self._secret is None:
            return
        try:
            milliseconds = frame.headers[":date"]
            _, region, service = self._scope
            scope = Scope.at(milliseconds // 1000, region, service)
        except (KeyError, TypeError, ValueError) as error:
            raise denied("an envelope that cannot be read.") from error
        expected = sign_event(self._secret, scope, self._prior, encode_date(milliseconds), frame.payload)
        if signature != expected:
            raise denied("the signature of an event does not match.")
        self._prior = expected.hex()

    def _event(self, frame: Frame) -> InputEvent:
        if frame.headers.get(":event-type") != "chunk" or len(frame.payload) > 2 * _MAX_PART:
            raise malformed_input(f"an event is a chunk of at most {_MAX_PART} bytes")
        return decode_input(read_part(frame.payload))


# --- what is said ----------------------------------------------------------------------------------------------------


class _Block(msgspec.Struct):
    """A block of the client's that is open."""

    start: InputStart
    texts: list[str] = []


class Mouth:
    """Writes the model's events: blocks with ids of their own, as chunks."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._ids = {"session_id": str(uuid.uuid4()), "completion_id": str(uuid.uuid4())}
        self._total = TokenFlow()
        self.prompt_name = ""

    async def say(self, event: OutputEvent) -> None:
        named = replace(event, prompt_name=self.prompt_name, **self._ids)
        await self._send(encode_chunk(encode_output(named)))

    async def text(self, role: str, text: str, stage: str, stop: str, synthetic: str | None) -> None:
        """A text block; ``stage`` is FINAL or SPECULATIVE, ``stop`` its stop reason."""
        block = str(uuid.uuid4())
        fields = {"generationStage": stage, **({SYNTHETIC: synthetic} if synthetic else {})}
        await self.say(
            OutputStart(
                content_id=block,
                type="TEXT",
                role=role,
                additional_model_fields=msgspec.json.encode(fields).decode(),
                text_output_configuration={"mediaType": "text/plain"},
            )
        )
        if text:
            await self.say(TextOutput(content_id=block, content=text, role=role))
        await self.say(OutputEnd(content_id=block, type="TEXT", stop_reason=stop))

    async def audio_start(self, rate: int, synthetic: str) -> str:
        """Open a block of audio; its id."""
        block = str(uuid.uuid4())
        await self.say(
            OutputStart(
                content_id=block,
                type="AUDIO",
                role="ASSISTANT",
                additional_model_fields=msgspec.json.encode({SYNTHETIC: synthetic}).decode(),
                audio_output_configuration={
                    "mediaType": "audio/lpcm",
                    "sampleRateHertz": rate,
                    "sampleSizeBits": 16,
                    "encoding": "base64",
                    "channelCount": 1,
                },
            )
        )
        return block

    async def tool_use(self, use: ToolUse) -> None:
        block = str(uuid.uuid4())
        configuration = {"mediaType": "application/json"}
        await self.say(
            OutputStart(content_id=block, type="TOOL", role="TOOL", tool_use_output_configuration=configuration)
        )
        content = msgspec.json.encode(use.input).decode()
        await self.say(ToolUseOutput(content_id=block, content=content, tool_name=use.name, tool_use_id=use.id))
        await self.say(OutputEnd(content_id=block, type="TOOL", stop_reason="TOOL_USE"))

    async def usage(self, response: ConverseResponse) -> None:
        """Texts only: where nothing hears or speaks, no speech is counted."""
        delta = TokenFlow(
            input=TokenCounts(text_tokens=response.usage.input_tokens or 0),
            output=TokenCounts(text_tokens=response.usage.output_tokens or 0),
        )
        self._total = TokenFlow(
            input=TokenCounts(text_tokens=self._total.input.text_tokens + delta.input.text_tokens),
            output=TokenCounts(text_tokens=self._total.output.text_tokens + delta.output.text_tokens),
        )
        spent, made = self._total.input.text_tokens, self._total.output.text_tokens
        await self.say(
            UsageReport(
                details=TokenDetails(delta=delta, total=self._total),
                total_input_tokens=spent,
                total_output_tokens=made,
                total_tokens=spent + made,
            )
        )


class Conversation:
    """One session. ``ask`` is the model that stands in for Nova Sonic's, ``send`` takes the bytes of the response."""

    def __init__(self, model: str, ask: Ask, send: Send, *, session: float = SESSION) -> None:
        self._model, self._ask, self._limit = model, ask, session
        self._mouth = Mouth(send)
        self._blocks: dict[str, _Block] = {}
        self._turns: list[Message] = []
        self._system: list[str] = []
        self._config = InferenceConfig()
        self._tools: tuple[Tool, ...] = ()
        self._choice: ToolChoice | None = None
        self._ear: Ear | None = None
        self._pause = PAUSES["HIGH"]
        self._rate = 24000
        self._opened = False
        self._closing = asyncio.Event()
        self._wanted: set[str] = set()  # tool uses without a result
        self._answer: asyncio.Task[None] | None = None
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._heard_until = 0.0  # when what was said will have been heard

    async def run(self, events: AsyncIterator[InputEvent]) -> None:
        """Until the session has ended. Raises what it is to be ended with, and what ``events`` raise."""
        taking, ending = asyncio.ensure_future(self._take_all(events)), asyncio.ensure_future(self._end())
        tasks: tuple[asyncio.Future[None], ...] = (self._broken, taking, ending)
        try:
            done, _ = await asyncio.wait(tasks, timeout=self._limit, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                message = "Model has timed out in processing the request. Try your request again."
                raise ModelTimeoutError(message, code="ModelTimeoutException", status=408)
            for task in tasks:
                if task in done:
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await self._stop()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _take_all(self, events: AsyncIterator[InputEvent]) -> None:
        """Ends by an error alone: that of a client who has left is one, whatever there is still to say."""
        async for event in events:
            await self._take(event)
        self._closing.set()
        await asyncio.Event().wait()

    async def _end(self) -> None:
        await self._closing.wait()
        if self._answer is not None:
            await asyncio.gather(self._answer, return_exceptions=True)
        if self._mouth.prompt_name:
            await self._mouth.say(CompletionEnd(stop_reason="END_TURN"))

    async def _take(self, event: InputEvent) -> None:
        self._check_order(event)
        match event:
            case SessionStart():
                self._opened, self._config = True, decode_inference(event)
                if event.turn_detection_configuration:
                    self._pause = PAUSES[event.turn_detection_configuration.endpointing_sensitivity]
            case PromptStart():
                await self._start_prompt(event)
            case InputStart():
                self._blocks[event.content_name] = _Block(event)
                if event.audio_input_configuration:
                    self._ear = Ear(event.audio_input_configuration.sample_rate_hertz, self._pause)
            case TextInput() | ToolResultInput():
                self._block(event.content_name).texts.append(event.content)
            case AudioInput():
                self._block(event.content_name)
                await self._listen(event.content)
            case InputEnd():
                await self._end_block(self._block(event.content_name, last=True))
            case SessionEnd():
                self._closing.set()
            case PromptEnd():
                pass
            case _:
                assert_never(event)

    def _check_order(self, event: InputEvent) -> None:
        if isinstance(event, SessionStart) is self._opened:
            raise malformed_input("a session has one sessionStart, which is its first event")
        name = getattr(event, "prompt_name", None)
        if isinstance(event, PromptStart) and self._mouth.prompt_name:
            raise malformed_input("a session has one promptStart")
        if not isinstance(event, PromptStart) and name is not None and name != self._mouth.prompt_name:
            raise malformed_input("promptName is not that of the session's promptStart")

    def _block(self, name: str, *, last: bool = False) -> _Block:
        block = self._blocks.pop(name, None) if last else self._blocks.get(name)
        if block is None:
            raise malformed_input("contentName is not that of an open contentStart")
        return block

    async def _start_prompt(self, event: PromptStart) -> None:
        self._mouth.prompt_name = event.prompt_name
        self._tools = decode_tools(event)
        if event.audio_output_configuration:
            self._rate = event.audio_output_configuration.sample_rate_hertz
        if event.tool_configuration and event.tool_configuration.tool_choice:
            self._choice = decode_tool_choice(event.tool_configuration.tool_choice)
        await self._mouth.say(CompletionStart())

    async def _listen(self, data: bytes) -> None:
        ear = self._ear
        if ear is None:
            raise malformed_input("audioInput needs the audioInputConfiguration of its contentStart")
        ended = ear.hear(data)
        if ear.hears_speech:
            await self._interrupt()
        if ended:
            await self._hear(ear.end_turn())

    async def _hear(self, seconds: float) -> None:
        text = f"({seconds:.1f} s of speech)"
        note = "no speech recognition here: the words of the user are not known"
        await self._mouth.text("USER", text, "FINAL", "END_TURN", note)
        self._said_by_user(text)

    async def _end_block(self, block: _Block) -> None:
        start, text = block.start, "".join(block.texts)
        match start.type, start.role:
            case "AUDIO", _:
                if self._ear is not None and self._ear.hears_speech:
                    await self._hear(self._ear.end_turn())
                self._ear = None
            case "TEXT", "SYSTEM" | "SYSTEM_SPEECH":
                self._system.append(text)
            case "TEXT", "USER" if start.interactive:
                await self._interrupt()
                await self._mouth.text("USER", text, "FINAL", "END_TURN", None)
                self._said_by_user(text)
            case "TEXT", "USER" | "ASSISTANT":
                self._add(start.role.lower(), Text(text))
            case "TOOL", "TOOL" if start.tool_result_input_configuration:
                self._take_result(start.tool_result_input_configuration.tool_use_id, text)
            case kind, role:
                raise malformed_input(f"a contentStart of the type {kind!r:.20} and the role {role!r:.20}")

    def _take_result(self, tool_use_id: str, text: str) -> None:
        if tool_use_id not in self._wanted:
            raise malformed_input("toolUseId is not that of a tool use without a result")
        self._wanted.discard(tool_use_id)
        try:
            value = msgspec.json.decode(text)
        except ValueError:
            value = text
        content = Json(value) if isinstance(value, dict) else Text(text)
        results = [ToolResult(tool_use_id, (content,))]
        if self._turns[-1].role == "user":  # results go before what was said meanwhile
            last = self._turns.pop()
            kept = [block for block in last.content if isinstance(block, ToolResult)]
            self._add("user", *kept, *results, *(b for b in last.content if not isinstance(b, ToolResult)))
        else:
            self._add("user", *results)
        self._go_on()

    # --- answering ---

    def _add(self, role: str, *blocks: ContentBlock) -> None:
        if self._turns and self._turns[-1].role == role:
            blocks = (*self._turns.pop().content, *blocks)
        self._turns.append(Message(role, blocks))

    def _said_by_user(self, text: str) -> None:
        self._add("user", Text(text))
        self._go_on()

    def _said_by_model(self, sentence: str) -> None:
        turn = self._turns[-1]
        if turn.role == "assistant" and isinstance(last := turn.content[-1], Text):
            self._turns[-1] = Message("assistant", (*turn.content[:-1], Text(f"{last.text} {sentence}")))
        else:
            self._add("assistant", Text(sentence))

    def _go_on(self) -> None:
        """Answer what has been said, unless a tool is still at work."""
        if not self._wanted:
            self._answer = asyncio.ensure_future(self._respond())
            self._answer.add_done_callback(self._answered)

    def _answered(self, answer: asyncio.Task[None]) -> None:
        if not answer.cancelled() and (error := answer.exception()) and not self._broken.done():
            self._broken.set_exception(error)

    async def _stop(self) -> bool:
        """Stop answering; whether an answer was under way."""
        answer, self._answer = self._answer, None
        if answer is None or answer.done():
            return False
        answer.cancel()
        with suppress(asyncio.CancelledError):
            await answer
        return True

    async def _interrupt(self) -> None:
        """The user speaks. What the model says ends here, if it has been heard to say something."""
        speaking = time.monotonic() < self._heard_until
        await self._stop()
        if speaking:
            self._heard_until = 0.0
            await self._mouth.text("ASSISTANT", _INTERRUPTED, "FINAL", "INTERRUPTED", None)

    async def _respond(self) -> None:
        response = await self._ask(
            ConverseRequest(
                model=self._model,
                messages=tuple(self._turns),
                system=tuple(Text(text) for text in self._system),
                inference_config=self._config,
                tools=self._tools,
                tool_choice=self._choice,
            )
        )
        await self._mouth.usage(response)
        self._choice = None  # what was forced once is not forced again
        note = f"words of the model that stands in for {self._model} here"
        text, uses = response.text, response.message.tool_uses
        if text or not uses:
            await self._speak(text, note, scripted_audio(response.message.content))
        if uses:
            self._wanted = {use.id for use in uses}
            self._add("assistant", *uses)
            # Whoever interrupts stops no tool: a use that were not told of would be waited for without end.
            await asyncio.shield(self._use(uses))

    async def _use(self, uses: tuple[ToolUse, ...]) -> None:
        for use in uses:
            await self._mouth.tool_use(use)

    async def _speak(self, text: str, note: str, audio: bytes | None) -> None:
        """Sentence by sentence, so that what was said is known when it is cut."""
        parts = [text] if audio is not None else sentences(text)
        if not parts:
            await self._mouth.text("ASSISTANT", "", "FINAL", "END_TURN", note)
        for index, sentence in enumerate(parts):
            stop = "END_TURN" if index == len(parts) - 1 else "PARTIAL_TURN"
            await self._mouth.text("ASSISTANT", sentence, "SPECULATIVE", "PARTIAL_TURN", note)
            kind = "silence, as long as the words would take" if audio is None else "audio of a script"
            await self._voice(silence(sentence, self._rate) if audio is None else audio, stop, kind)
            self._said_by_model(sentence)
            await self._mouth.text("ASSISTANT", sentence, "FINAL", stop, note)

    async def _voice(self, audio: bytes, stop: str, kind: str) -> None:
        block = await self._mouth.audio_start(self._rate, kind)
        for piece in pieces(audio, self._rate):
            while not self._closing.is_set() and (early := self._heard_until - time.monotonic() - _LEAD) > 0:
                await asyncio.sleep(early)
            await self._mouth.say(AudioOutput(content_id=block, content=piece))
            seconds = len(piece) / SAMPLE_BYTES / self._rate
            self._heard_until = max(self._heard_until, time.monotonic()) + seconds
        await self._mouth.say(OutputEnd(content_id=block, type="AUDIO", stop_reason=stop))
