"""Models behind SageMaker endpoints whose container speaks the OpenAI chat format.

As in ``backends.bedrock``: pure functions from requests to calls, two thin classes over a transport. The service hands
the container's bytes through. A stream is peeled in three layers: event-stream frames, whose ``PayloadPart`` carry the
container's bytes cut anywhere; SSE or JSON lines in those bytes; chat completion chunks in these. A stream is whole
when a chunk says why the model stopped, or the container declared the end.

``request.model`` is an endpoint's name, or ENDPOINT/COMPONENT for an inference component behind it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from urllib.parse import quote

from awsllm.aws.call import Call, HttpRequest, HttpResponse, StreamCall
from awsllm.backends.remote import AsyncTransport, Transport, closed_after, located, read_object, write_json
from awsllm.errors import AwsllmError, UnsupportedError, ValidationError
from awsllm.types import ConverseRequest, ConverseResponse, EmbedRequest, EmbedResponse, JsonObject, StreamEvent
from awsllm.wire.endpoint import openai
from awsllm.wire.endpoint.errors import decode_error, decode_frame_error
from awsllm.wire.endpoint.framing import FramingDecoder
from awsllm.wire.eventstream import FrameDecoder

MAX_BODY = 6_291_456
"""Bytes that the service takes (service model, ``BodyBlob``)."""

_NAME = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_MODEL = re.compile(f"(?:arn:[^/]*:endpoint/)?({_NAME})(?:/({_NAME}))?")


# --- requests to calls -----------------------------------------------------------------------------------------------


def converse_call(request: ConverseRequest) -> Call[ConverseResponse]:
    warnings = openai.warnings(request)

    def decode(response: HttpResponse) -> ConverseResponse:
        return openai.decode_response(
            read_object(response), model=request.model, request_id=response.request_id, warnings=warnings
        )

    return Call(_post(request.model, "invocations", openai.encode_request(request), _ACCEPT), decode, read_error)


def converse_stream_call(request: ConverseRequest) -> tuple[StreamCall[StreamEvent], PayloadDecoder]:
    """The call and its decoder, which has the last events once the stream has ended."""
    decoder = PayloadDecoder(warnings=openai.warnings(request))
    body = openai.encode_request(request, stream=True)
    http = _post(request.model, "invocations-response-stream", body)
    return StreamCall(http, decoder.begin, read_error), decoder


def embed_call(request: EmbedRequest) -> Call[EmbedResponse]:
    def decode(response: HttpResponse) -> EmbedResponse:
        return openai.decode_embed_response(read_object(response), request, request_id=response.request_id)

    return Call(_post(request.model, "invocations", openai.encode_embed_request(request), _ACCEPT), decode, read_error)


def read_error(response: HttpResponse) -> AwsllmError:
    return decode_error(response.status, response.headers, response.body)


_ACCEPT = {"Accept": "application/json"}


def _post(model: str, operation: str, body: JsonObject, headers: dict[str, str] | None = None) -> HttpRequest:
    target = _MODEL.fullmatch(model)
    if target is None:
        raise ValidationError(f"{model!r} is no endpoint: write ENDPOINT or ENDPOINT/COMPONENT, letters, digits and -")
    endpoint, component = target.groups()
    data = write_json(body)
    if len(data) > MAX_BODY:
        raise ValidationError(f"the request has {len(data):,} bytes; SageMaker takes at most {MAX_BODY:,}")
    headers = {"Content-Type": "application/json"} | (headers or {})
    if component:
        headers["X-Amzn-SageMaker-Inference-Component"] = component
    return HttpRequest("sagemaker-runtime", "POST", f"/endpoints/{quote(endpoint, safe='')}/{operation}", headers, data)


# --- the stream ------------------------------------------------------------------------------------------------------


class PayloadDecoder:
    """The bytes of one InvokeEndpointWithResponseStream reply to events.

    ``Metadata`` can be known to be the last event only when the stream has ended, if the container tells no usage:
    ``rest`` has it then.
    """

    def __init__(self, *, warnings: tuple[str, ...] = ()) -> None:
        self._warnings = warnings
        self._frames = FrameDecoder()
        self._framing = FramingDecoder()
        self._chunks = openai.ChunkDecoder(warnings=warnings)
        self._request_id: str | None = None
        self._rest: tuple[StreamEvent, ...] = ()

    def begin(self, head: HttpResponse) -> PayloadDecoder:
        self._request_id = head.request_id
        self._chunks = openai.ChunkDecoder(warnings=self._warnings, request_id=head.request_id)
        return self

    def feed(self, data: bytes) -> Iterator[StreamEvent]:
        for frame in self._frames.feed(data):
            if frame.headers.get(":message-type", "event") != "event":
                raise decode_frame_error(frame, request_id=self._request_id)
            if frame.headers.get(":event-type") == "PayloadPart":
                for chunk in self._framing.feed(frame.payload):
                    yield from self._chunks.push(chunk)
        if self._frames.damage:
            raise self._frames.damage

    def close(self) -> None:
        """Raises ``StreamError`` where one of the layers, or the answer itself, was cut."""
        self._frames.close()
        self._framing.close()
        self._rest = tuple(self._chunks.finish(done=self._framing.done))

    def rest(self) -> tuple[StreamEvent, ...]:
        """The events that remain after ``close``."""
        return self._rest


# --- backends --------------------------------------------------------------------------------------------------------


def _no_count(model: str) -> UnsupportedError:
    error = UnsupportedError("a SageMaker endpoint cannot count tokens; bedrock: and local: models can")
    error.annotate(backend="sagemaker", model=model)
    return error


class SageMakerBackend:
    """A ``Backend`` over SageMaker endpoints. Safe to share between threads if its transport is."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def converse(self, request: ConverseRequest, *, deadline: float | None = None) -> ConverseResponse:
        with located("sagemaker", request.model):
            return self._transport.send(converse_call(request), deadline=deadline)

    def converse_stream(self, request: ConverseRequest, *, deadline: float | None = None) -> Iterator[StreamEvent]:
        """What cannot be expressed raises here; the call is made when iteration begins."""
        with located("sagemaker", request.model):
            call, decoder = converse_stream_call(request)
        return self._iterate(call, decoder, request.model, deadline)

    def _iterate(
        self, call: StreamCall[StreamEvent], decoder: PayloadDecoder, model: str, deadline: float | None
    ) -> Iterator[StreamEvent]:
        with located("sagemaker", model):
            yield from self._transport.stream(call, deadline=deadline)
            yield from decoder.rest()

    def embed(self, request: EmbedRequest, *, deadline: float | None = None) -> EmbedResponse:
        with located("sagemaker", request.model):
            return self._transport.send(embed_call(request), deadline=deadline)

    def count_tokens(self, request: ConverseRequest, *, deadline: float | None = None) -> int:
        raise _no_count(request.model)

    def close(self) -> None:
        self._transport.close()


class AsyncSageMakerBackend:
    """The same, awaited."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def converse(self, request: ConverseRequest, *, deadline: float | None = None) -> ConverseResponse:
        with located("sagemaker", request.model):
            return await self._transport.send(converse_call(request), deadline=deadline)

    def converse_stream(self, request: ConverseRequest, *, deadline: float | None = None) -> AsyncIterator[StreamEvent]:
        """What cannot be expressed raises here; the call is made when iteration begins."""
        with located("sagemaker", request.model):
            call, decoder = converse_stream_call(request)
        return self._iterate(call, decoder, request.model, deadline)

    async def _iterate(
        self, call: StreamCall[StreamEvent], decoder: PayloadDecoder, model: str, deadline: float | None
    ) -> AsyncIterator[StreamEvent]:
        with located("sagemaker", model):
            async with closed_after(self._transport.stream(call, deadline=deadline)) as stream:
                async for event in stream:
                    yield event
            for event in decoder.rest():
                yield event

    async def embed(self, request: EmbedRequest, *, deadline: float | None = None) -> EmbedResponse:
        with located("sagemaker", request.model):
            return await self._transport.send(embed_call(request), deadline=deadline)

    async def count_tokens(self, request: ConverseRequest, *, deadline: float | None = None) -> int:
        raise _no_count(request.model)

    async def close(self) -> None:
        await self._transport.close()
