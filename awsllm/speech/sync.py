"""``SpeechSession``: ``AsyncSpeechSession`` for programs without an event loop.

The session has a loop of its own on a thread; each method waits for what it does there. So a thread may send audio
while another reads the events.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from awsllm.errors import StreamError
from awsllm.speech.session import AsyncSpeechSession
from awsllm.types import Message, ToolError
from awsllm.types.speech import SpeechEvent, SpeechUsage

T = TypeVar("T")


class SpeechSession:
    """A spoken conversation with Nova Sonic; see ``AsyncSpeechSession``, of which it has every method.

    >>> with client.speech("bedrock:amazon.nova-2-sonic-v1:0") as session:
    ...     session.send_audio(recording)
    ...     for event in session.turn():
    ...         ...
    """

    def __init__(self, make: Callable[[], AsyncSpeechSession]) -> None:
        """``make`` is called on the session's loop."""
        self._make = make
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._session: AsyncSpeechSession | None = None

    def __enter__(self) -> Self:
        if self._session is not None:
            raise StreamError("a session is entered once: make another with client.speech(...)")
        loop = self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=_serve, args=(loop,), name="awsllm-speech", daemon=True)
        self._thread.start()
        try:
            self._session = self._wait(self._open())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def _open(self) -> AsyncSpeechSession:
        return await self._make().__aenter__()

    def send_audio(self, data: bytes | bytearray | memoryview) -> None:
        """See ``AsyncSpeechSession.send_audio``."""
        self._wait(self._opened.send_audio(data))

    def send_silence(self, seconds: float) -> None:
        """See ``AsyncSpeechSession.send_silence``."""
        self._wait(self._opened.send_silence(seconds))

    def send_text(self, text: str) -> None:
        """See ``AsyncSpeechSession.send_text``."""
        self._wait(self._opened.send_text(text))

    def send_tool_result(self, tool_use_id: str, content: str, *, status: str | None = None) -> None:
        """See ``AsyncSpeechSession.send_tool_result``."""
        self._wait(self._opened.send_tool_result(tool_use_id, content, status=status))

    def end(self) -> None:
        """See ``AsyncSpeechSession.end``."""
        self._wait(self._opened.end())

    def events(self) -> Iterator[SpeechEvent]:
        """See ``AsyncSpeechSession.events``."""
        return self._iterate(self._opened.events())

    def turn(self) -> Iterator[SpeechEvent]:
        """See ``AsyncSpeechSession.turn``."""
        return self._iterate(self._opened.turn())

    @property
    def messages(self) -> tuple[Message, ...]:
        """See ``AsyncSpeechSession.messages``."""
        return self._opened.messages

    @property
    def usage(self) -> SpeechUsage:
        """See ``AsyncSpeechSession.usage``."""
        return self._opened.usage

    @property
    def warnings(self) -> tuple[str, ...]:
        """See ``AsyncSpeechSession.warnings``."""
        return self._opened.warnings

    @property
    def tool_errors(self) -> tuple[ToolError, ...]:
        """See ``AsyncSpeechSession.tool_errors``."""
        return self._opened.tool_errors

    def close(self) -> None:
        """See ``AsyncSpeechSession.close``."""
        if self._session is None or self._thread is None:
            return
        try:
            self._wait(self._session.close())
        finally:
            self._stop()

    @property
    def _opened(self) -> AsyncSpeechSession:
        if self._session is None:
            raise StreamError("the session is not open: use it inside `with`")
        return self._session

    def _iterate(self, events: AsyncIterator[SpeechEvent]) -> Iterator[SpeechEvent]:
        while True:
            event = self._wait(_next(events))
            if event is None:
                return
            yield event

    def _wait(self, doing: Coroutine[Any, Any, T]) -> T:
        loop = self._loop
        if loop is None or loop.is_closed() or self._thread is None:
            doing.close()
            raise StreamError("the session is closed")
        return asyncio.run_coroutine_threadsafe(doing, loop).result()

    def _stop(self) -> None:
        loop, thread, self._thread = self._loop, self._thread, None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


async def _next(events: AsyncIterator[SpeechEvent]) -> SpeechEvent | None:
    return await anext(events, None)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()  # a tool that is still at work in a thread is not waited for
