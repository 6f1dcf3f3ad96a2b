"""``AsyncSpeechSession``: a spoken conversation, on an event loop.

Three things go on at once: what the caller sends, what the model says, and the tools that run. A task reads the
connection whether or not somebody iterates, so that tools run and turns are kept; what it reads waits in a queue, which
a session's eight minutes bound. Sends go out in order: a text or a tool result is several events, which nothing comes
between.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self

from awsllm.calls.speech import PreparedSpeech
from awsllm.errors import AwsllmError, ServerError, StreamError, ValidationError
from awsllm.speech.fold import SpeechFold
from awsllm.types import Message, Text, ToolError, ToolResult, ToolSpec, ToolUse
from awsllm.types.speech import SAMPLE_BYTES, SpeechEvent, SpeechUsage, TurnEnd
from awsllm.wire.sonic.inputs import InputEvent
from awsllm.wire.sonic.prompt import SonicPrompt

_GOODBYE = 2.0  # seconds for the service to end a session that the caller has left
_PIECE = 32_000  # bytes of one audioInput: a second at 16 kHz


class SpeechConnection(Protocol):
    """``backends.bedrock.speech.BedrockSpeech`` is one."""

    async def send(self, events: Iterable[InputEvent]) -> None: ...

    async def receive(self) -> list[SpeechEvent] | None: ...

    async def finish(self) -> None: ...

    async def close(self) -> None: ...


class AsyncSpeechSession:
    """A spoken conversation with Nova Sonic.

    >>> async with client.speech("bedrock:amazon.nova-2-sonic-v1:0", tools=[weather]) as session:
    ...     await session.send_audio(microphone.read())
    ...     async for event in session.events():
    ...         ...

    Audio is LPCM of 16 bits, little endian, one channel. Send it as it is recorded, in pieces of about 32 ms, silence
    included: the model tells by it that the user has finished, and the service ends a session whose audio stops. It
    ends every session after 8 minutes with a ``ModelTimeoutError``; go on in a new one with ``messages=``.
    """

    def __init__(self, prepared: PreparedSpeech, connect: Callable[[], Awaitable[SpeechConnection]]) -> None:
        self._prepared, self._connect = prepared, connect
        self._prompt = SonicPrompt(prepared.setup)
        self._fold = SpeechFold()
        self._events: asyncio.Queue[SpeechEvent | None] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sending = asyncio.Lock()
        self._connection: SpeechConnection | None = None
        self._reading: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._ending = False
        # Who answers these calls is the caller.
        named = {tool.name for tool in prepared.setup.tools if isinstance(tool, ToolSpec)}
        self._kept = named - prepared.functions.keys()

    async def __aenter__(self) -> Self:
        if self._connection is not None:
            raise StreamError("a session is entered once: make another with client.speech(...)")
        opening = list(self._prompt.opening())  # what cannot be expressed raises here
        self._connection = await self._connect()
        self._reading = asyncio.create_task(self._read(self._connection))
        try:
            await self._send(opening)
        except BaseException as error:
            self._fail(error)
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # --- what is sent ---

    async def send_audio(self, data: bytes | bytearray | memoryview) -> None:
        """What the user says: LPCM in ``input_rate``."""
        audio = bytes(data)
        if len(audio) % SAMPLE_BYTES:
            raise ValidationError(f"{len(audio)} bytes are no whole samples: audio is LPCM of 16 bits")
        for at in range(0, len(audio), _PIECE):
            await self._send(self._prompt.audio(audio[at : at + _PIECE]))

    async def send_silence(self, seconds: float) -> None:
        """As ``send_audio``, of a user who says nothing."""
        await self.send_audio(bytes(SAMPLE_BYTES * round(seconds * self._prepared.setup.input_rate)))

    async def send_text(self, text: str) -> None:
        """What the user writes instead of saying it (Nova 2 Sonic and later). The service wants audio all the same."""
        await self._send(self._prompt.text(text))
        self._fold.write(text)

    async def send_tool_result(self, tool_use_id: str, content: str, *, status: str | None = None) -> None:
        """The answer to a ``ToolUse`` of a tool that is a specification. ``status`` is success or error."""
        await self._answer(ToolResult(tool_use_id, (Text(content),), status))

    async def end(self) -> None:
        """The user has said everything: ``events`` ends once the model has, too. Tools that run are waited for."""
        if not self._ending:
            if self._tasks:
                await asyncio.wait(self._tasks)
            self._ending = True
            await self._send(self._prompt.closing(), last=True)

    async def _send(self, events: Iterable[InputEvent], *, last: bool = False) -> None:
        if self._error is not None:
            raise self._error
        if self._connection is None or (self._ending and not last):
            raise StreamError("the session is not open: use it inside `async with`, and before its end()")
        async with self._sending:
            try:
                await self._connection.send(events)
                if last:
                    await self._connection.finish()
            except ServerError:  # the service has ended the session, and what it said of that is being read
                if self._reading is not None:
                    await asyncio.wait((self._reading,), timeout=_GOODBYE)
                if self._error is not None:
                    raise self._error from None
                raise

    # --- what comes ---

    async def events(self) -> AsyncIterator[SpeechEvent]:
        """What the model says, hears and asks for, until the session ends. Raises what ended it."""
        while (event := await self._events.get()) is not None:
            yield event
        self._events.put_nowait(None)  # for whoever iterates again
        if self._error is not None:
            raise self._error

    async def turn(self) -> AsyncIterator[SpeechEvent]:
        """The events until the model has finished its turn, its ``TurnEnd`` included."""
        async for event in self.events():
            yield event
            if isinstance(event, TurnEnd):
                return

    @property
    def messages(self) -> tuple[Message, ...]:
        """The turns of the session as they were said, tools included; a new session takes them as ``messages=``."""
        return self._fold.messages

    @property
    def usage(self) -> SpeechUsage:
        return self._fold.usage

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(self._prompt.warnings)

    @property
    def tool_errors(self) -> tuple[ToolError, ...]:
        errors = self._prepared.tool_errors
        return errors.kept if errors else ()

    async def _read(self, connection: SpeechConnection) -> None:
        try:
            while (events := await connection.receive()) is not None:
                for event in events:
                    self._take(event)
        except Exception as error:
            self._fail(error)
        self._events.put_nowait(None)

    def _take(self, event: SpeechEvent) -> None:
        self._fold.push(event)
        self._events.put_nowait(event)
        if isinstance(event, ToolUse) and event.name not in self._kept:
            task = asyncio.create_task(self._run(event))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, use: ToolUse) -> None:
        """Run a tool while the conversation goes on; an interruption does not stop it."""
        from awsllm.tools.loop import RunTools, run_tools_async

        try:
            (result,) = await run_tools_async(RunTools((use,), self._prepared.functions))
            await self._answer(result)
        except Exception as error:  # on_tool_error="raise", or the connection's
            self._fail(error)
            self._events.put_nowait(None)

    async def _answer(self, result: ToolResult) -> None:
        await self._send(self._prompt.tool_result(result))
        self._fold.push(result)
        self._events.put_nowait(result)

    def _fail(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error

    async def close(self) -> None:
        """End the session and the connection, wherever the model is. May be called twice."""
        connection, reading = self._connection, self._reading
        if connection is None or reading is None:
            return
        self._reading = None
        if self._error is None and not reading.done():
            with suppress(AwsllmError, TimeoutError):
                async with asyncio.timeout(_GOODBYE):
                    await self.end()
                    await asyncio.shield(reading)
        for task in (reading, *self._tasks):
            task.cancel()
        await asyncio.gather(reading, *self._tasks, return_exceptions=True)
        await connection.close()
        self._events.put_nowait(None)
