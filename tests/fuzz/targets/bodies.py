"""What models and callers write: the bodies of InvokeModel and of containers, Converse, agents, speech."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec

from awsllm.errors import AwsllmError
from awsllm.stream import fold, replay
from awsllm.types import (
    Bytes,
    ConverseRequest,
    ConverseResponse,
    Image,
    InferenceConfig,
    Message,
    Reasoning,
    Request,
    Text,
    ToolSpec,
    ToolUse,
    Usage,
)
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.types.media import ImageRequest, ImageResponse
from awsllm.types.reranking import RankedDocument, RerankRequest, RerankResponse
from awsllm.wire import endpoint, invoke
from awsllm.wire.body import Body, Context, Payload, Settings
from awsllm.wire.framing import FramingDecoder
from tests.fuzz.harness import Target

_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d4944415478da63f8ffff3f0005fe02fea73581e40000000049454e44ae426082"
)
_TOOL = ToolSpec(name="weather", input_schema={"type": "object", "properties": {"city": {"type": "string"}}})
_USAGE = Usage(input_tokens=3, output_tokens=5, total_tokens=8)
_ASKED = (
    ConverseRequest(model="m", messages=(Message.user("Hi"),)),
    ConverseRequest(
        model="m",
        messages=(Message.user("Hi"),),
        system=(Text("Be brief."),),
        tools=(_TOOL,),
        inference_config=InferenceConfig(max_tokens=9, temperature=0.5, stop_sequences=("x",)),
    ),
)
_ANSWERS = (
    ConverseResponse(message=Message("assistant", (Text("Hello"),)), stop_reason="end_turn", usage=_USAGE),
    ConverseResponse(
        message=Message(
            "assistant",
            (Reasoning(text="hm", signature="s"), Text("Let me"), ToolUse("t1", "weather", {"city": "Oslo"})),
        ),
        stop_reason="tool_use",
        usage=_USAGE,
    ),
)
_OTHERS: dict[str, tuple[tuple[Request[Any], Any], ...]] = {
    "embed": (
        (EmbedRequest(model="m", texts=("a",)), EmbedResponse(vectors=[[0.5, 1.0]])),
        (EmbedRequest(model="m", texts=("a", "b")), EmbedResponse(vectors=[[0.5, 1.0], [1.0, 0.0]])),
    ),
    "images": ((ImageRequest(model="m", prompt="a cat"), ImageResponse(images=(Image("png", Bytes(_PNG)),))),),
    "rerank": (
        (
            RerankRequest(model="m", query="q", documents=("a", "b")),
            RerankResponse(results=(RankedDocument(index=1, score=0.9, document="b"),)),
        ),
    ),
}
_PAIRS: dict[str, tuple[tuple[Request[Any], Any], ...]] = {
    "chat": (*((_ASKED[1], answer) for answer in _ANSWERS), (_ASKED[0], _ANSWERS[0])),
    **_OTHERS,
}
_ACCEPT = "application/json;jpeg"  # what image models of SageMaker are asked for
_REFUSALS = (AwsllmError,)


def targets() -> Iterator[Target]:
    for kind, table, get in (("invoke", invoke.BODIES, invoke.get), ("endpoint", endpoint.BODIES, endpoint.get)):
        for name in table:
            yield from _of_body(f"{kind}-{name}", get(name))
    yield Target("converse-request", _converse_requests, _read_converse_request, _REFUSALS)
    yield Target("converse-response", _converse_responses, _read_converse_response, _REFUSALS)


def _of_body(name: str, body: Body) -> Iterator[Target]:
    settings = Settings(prompt="chatml") if body.chat is not None else Settings()
    asked: list[bytes] = []
    for member, pairs in _PAIRS.items():
        if (codec := getattr(body, member)) is None:
            continue
        seeds = [seed for request, answer in pairs if (seed := _seed(codec, request, answer, settings)) is not None]
        if not seeds:
            continue
        if member != "chat":
            seeds = seeds[:1]  # an answer of these is of its request alone
        asked += [seed.asked for seed in seeds]
        context = Context(request=seeds[0].request, settings=settings)
        yield Target(f"{name}-{member}", _given([seed.answered for seed in seeds]), _decoder(codec, context), _REFUSALS)
        if streams := [seed.streamed for seed in seeds if seed.streamed]:
            yield Target(f"{name}-stream", _given(streams), _stream_reader(codec, context), _REFUSALS)
    read = _request_reader(body, settings)
    if asked := [data for data in asked if _is_read(read, data)]:  # some need to be told what they are for
        yield Target(f"{name}-requests", _given(asked), read, _REFUSALS)


class _Seed(NamedTuple):
    """One exchange of a body, as bytes."""

    request: Request[Any]
    asked: bytes
    answered: bytes
    streamed: bytes


def _seed(codec: Any, request: Request[Any], response: Any, settings: Settings) -> _Seed | None:
    """None where the body cannot say it."""
    context = Context(request=request, settings=settings)
    try:
        asked = codec.encode_request(request, settings).body
        answered = codec.encode_response(response, context).body
    except (AwsllmError, ValueError):
        return None
    return _Seed(
        request, asked, answered, _streamed(codec, response, context) if getattr(codec, "streams", False) else b""
    )


def _streamed(chat: Any, response: Any, context: Context) -> bytes:
    encoder = chat.stream_encoder(context)
    return b"".join(map(encoder.event, replay(response))) + encoder.end()


def _given(seeds: list[bytes]) -> Callable[[], list[bytes]]:
    return lambda: seeds


def _request_reader(body: Body, settings: Settings) -> Callable[[bytes], Any]:
    return lambda data: body.read("m", Payload(data, accept=_ACCEPT), settings)


def _is_read(read: Callable[[bytes], Any], data: bytes) -> bool:
    try:
        read(data)
    except AwsllmError:
        return False
    return True


def _decoder(codec: Any, context: Context) -> Callable[[bytes], Any]:
    return lambda data: codec.decode_response(Payload(data), context)


def _stream_reader(chat: Any, context: Context) -> Callable[[bytes], Any]:
    def read(data: bytes) -> None:
        framing, decoder = FramingDecoder(), chat.stream_decoder(context)
        events = []
        for start in range(0, len(data), 97):
            for chunk in framing.feed(data[start : start + 97]):
                events += decoder.push(chunk)
        framing.close()
        events += decoder.finish(done=framing.done)
        fold(events)

    return read


# --- Converse --------------------------------------------------------------------------------------------------------


def _converse_requests() -> list[bytes]:
    from awsllm.wire.converse.requests import encode_request

    return [msgspec.json.encode(encode_request(request)) for request in _ASKED]


def _read_converse_request(data: bytes) -> None:
    from awsllm.wire.converse.requests import decode_request
    from awsllm.wire.payloads import read_body

    decode_request("m", read_body(Payload(data)))


def _converse_responses() -> list[bytes]:
    from awsllm.wire.converse.responses import encode_response

    return [msgspec.json.encode(encode_response(response)) for response in _ANSWERS]


def _read_converse_response(data: bytes) -> None:
    from awsllm.wire.converse.responses import decode_response
    from awsllm.wire.payloads import read_body

    decode_response(read_body(Payload(data)))
