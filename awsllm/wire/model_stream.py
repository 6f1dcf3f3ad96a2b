"""InvokeModelWithResponseStream's events, both ways: ``chunk`` with the bytes that the model wrote, in base64.

To the last chunk the service adds its own figures under ``METRICS``. Facts of the wire: botocore's service model
(``ResponseStream``), and the AWS user guide, "Invoke a model with streaming".
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from awsllm.errors import StreamError
from awsllm.wire.errors import decode_frame_failure
from awsllm.wire.eventstream import FrameDecoder, encode_event_frame

GUARDRAIL_ACTION = "amazon-bedrock-guardrailAction"
GUARDRAIL_TRACE = "amazon-bedrock-trace"
METRICS = "amazon-bedrock-invocationMetrics"


class _Part(msgspec.Struct, rename={"data": "bytes"}):
    data: bytes = b""


_PART = msgspec.json.Decoder(_Part)


class ModelStreamDecoder:
    """Bytes in any cuts to what each chunk carries. An exception inside the stream is raised as its typed error."""

    def __init__(self, request_id: str | None = None) -> None:
        self._frames = FrameDecoder()
        self._request_id = request_id

    def feed(self, data: bytes) -> Iterator[bytes]:
        for frame in self._frames.feed(data):
            if frame.headers.get(":message-type", "event") != "event":
                raise decode_frame_failure(frame, self._request_id)
            if frame.headers.get(":event-type") == "chunk":
                yield read_part(frame.payload, self._request_id)
        if self._frames.damage:
            raise self._frames.damage

    def close(self) -> tuple[()]:
        """The body has ended. Raises ``StreamError`` where that was inside a frame."""
        self._frames.close()
        return ()


def read_part(payload: bytes, request_id: str | None = None) -> bytes:
    """What a ``chunk`` carries. Raises ``StreamError``."""
    try:
        return _PART.decode(payload).data
    except (ValueError, RecursionError) as error:
        raise StreamError(f"a chunk of the stream cannot be read: {error}", request_id=request_id) from error


def encode_chunk(data: bytes, padding: str = "") -> bytes:
    """``padding`` hides the size of what the model wrote, as the service does."""
    return encode_event_frame("chunk", msgspec.json.encode({"bytes": data, "p": padding}))


def encode_part(data: bytes) -> bytes:
    """A ``chunk`` as clients send it, without padding."""
    return encode_event_frame("chunk", msgspec.json.encode({"bytes": data}))
