"""InvokeModelWithBidirectionalStream as a connection: events of Nova Sonic in, neutral events out."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from awsllm.aws.duplex import Duplex, open_duplex
from awsllm.aws.session import AwsSession
from awsllm.backends.bedrock.runtime import post, read_error
from awsllm.backends.remote import located
from awsllm.types.speech import SpeechEvent, SpeechSetup
from awsllm.wire.model_stream import encode_part
from awsllm.wire.sonic.inputs import InputEvent, encode_input
from awsllm.wire.sonic.reader import SpeechReader

PLACE = "bedrock"


class BedrockSpeech:
    """An open session. Errors say where they come from."""

    def __init__(self, duplex: Duplex, setup: SpeechSetup) -> None:
        self._duplex, self._setup = duplex, setup
        self._reader: SpeechReader | None = None

    async def send(self, events: Iterable[InputEvent]) -> None:
        with located(PLACE, self._setup.model):
            frames = [encode_part(encode_input(event)) for event in events]  # all can be written, or none is sent
            await self._duplex.send(*frames)

    async def receive(self) -> list[SpeechEvent] | None:
        """The next events, none where their bytes are not whole yet; None at the end."""
        with located(PLACE, self._setup.model):
            if self._reader is None:
                head = await self._duplex.head()
                if head.status // 100 != 2:
                    raise read_error(replace(head, body=await self._rest()))
                self._reader = SpeechReader(self._setup.output_rate, head.request_id)
            data = await self._duplex.receive()
            if data is None:
                self._reader.close()
                return None
            return list(self._reader.feed(data))

    async def _rest(self) -> bytes:
        parts = []
        while (part := await self._duplex.receive()) is not None:
            parts.append(part)
        return b"".join(parts)

    async def finish(self) -> None:
        """Nothing more is sent."""
        with located(PLACE, self._setup.model):
            await self._duplex.finish()

    async def close(self) -> None:
        await self._duplex.close()


async def open_speech(session: AwsSession, setup: SpeechSetup, timeout: float) -> BedrockSpeech:
    """``timeout`` in seconds is for connecting."""
    with located(PLACE, setup.model):
        request = post(setup.model, "invoke-with-bidirectional-stream", b"")
        return BedrockSpeech(await open_duplex(session, request, timeout=timeout), setup)
