"""A session that is read and written at once, over one request: HTTP/2, where the reply begins before the request ends.

Nothing of it is held: events are taken as they come, and the head of the reply goes out before the first. The end of
the connection ends the session, and with it the model's answer.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from urllib.parse import unquote

from awsllm.errors import AwsllmError, ServerError
from awsllm.log import without_words
from awsllm.server.http.bodies import Receive
from awsllm.server.surfaces.catalog import check_speech_model
from awsllm.server.surfaces.speech import (
    OPERATION,
    Ask,
    Conversation,
    Envelopes,
    Send,
    failure_frame,
)
from awsllm.server.work import Incoming
from awsllm.wire.sonic.inputs import InputEvent, SessionEnd

_log = logging.getLogger(__name__)


class SpeechExchange:
    """One session over a connection. Making it raises what the head alone is refused with."""

    def __init__(self, head: Incoming, secret: str | None, ask: Ask) -> None:
        self._model = unquote(head.path.removeprefix("/model/").removesuffix("/" + OPERATION))
        check_speech_model(self._model, head.models)
        self._envelopes = Envelopes(head, secret)
        self._ask = ask

    async def run(self, receive: Receive, send: Send) -> bool:
        """``send`` takes the bytes of the reply's body, whose head has been sent. Whether there is still somebody who
        reads its end."""
        try:
            await Conversation(self._model, self._ask, send).run(self._events(receive))
        except ConnectionAbortedError:
            return False  # the client has left
        except Exception as error:
            if not isinstance(error, AwsllmError):
                _log.error("a session failed\n%s", without_words(error))
            await send(failure_frame(error if isinstance(error, AwsllmError) else ServerError("internal failure")))
        return True

    async def _events(self, receive: Receive) -> AsyncIterator[InputEvent]:
        """Whoever has said everything may still leave, so it is read on; the end of a body is the end of a session."""
        while (message := await receive())["type"] != "http.disconnect":
            for event in self._envelopes.feed(message.get("body", b"")):
                yield event
            if not message.get("more_body", False):
                yield SessionEnd()
        raise ConnectionAbortedError
