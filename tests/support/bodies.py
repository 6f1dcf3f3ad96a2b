"""Both ends of a body: what a server makes of a payload, what it streams, and what the client makes of that."""

import json

from awsllm.stream import fold, replay
from awsllm.types import ConverseRequest, ConverseResponse, JsonValue, Message, StreamEvent
from awsllm.wire.body import Body, Chat, Context, Payload, Settings
from awsllm.wire.framing import FramingDecoder

PLAIN = Settings()


def payload(value: JsonValue, **members: str) -> Payload:
    return Payload(json.dumps(value).encode(), **members)


def json_lines(*values: JsonValue) -> bytes:
    return b"".join(json.dumps(value, ensure_ascii=False).encode() + b"\n" for value in values)


def ask(text: str = "Hi", **members: object) -> ConverseRequest:
    return ConverseRequest(model="ep", messages=(Message.user(text),), **members)  # type: ignore[arg-type]


def received(body: Body, sent: Payload, settings: Settings = PLAIN) -> Context:
    """What a server makes of a payload."""
    request, _ = body.read("ep", sent, settings)
    return Context(request=request, settings=settings)


def written(chat: Chat, response: ConverseResponse, context: Context) -> bytes:
    """The bytes of ``response`` as a server streams it."""
    encoder = chat.stream_encoder(context)
    return b"".join(map(encoder.event, replay(response))) + encoder.end()


def streamed(chat: Chat, data: bytes, context: Context, cut: int = 1 << 30) -> ConverseResponse:
    """What the client makes of ``data`` that arrives in pieces of ``cut`` bytes."""
    framing, decoder = FramingDecoder(), chat.stream_decoder(context)
    events: list[StreamEvent] = []
    for start in range(0, len(data), cut):
        for chunk in framing.feed(data[start : start + cut]):
            events += decoder.push(chunk)
    framing.close()
    events += decoder.finish(done=framing.done)
    return fold(events)
