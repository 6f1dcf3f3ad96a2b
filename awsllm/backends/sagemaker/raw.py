"""InvokeEndpoint with the caller's own body: bytes in, bytes out, whatever the container speaks."""

from __future__ import annotations

from collections.abc import Iterator

from awsllm.aws.call import Call, HttpRequest, HttpResponse, StreamCall
from awsllm.backends.remote import event_stream
from awsllm.backends.sagemaker.target import invoke_request, read_error, read_target
from awsllm.types.raw import InvokeEndpointRequest, RawChunk, RawResponse
from awsllm.wire.body import Payload
from awsllm.wire.endpoint import Detected
from awsllm.wire.endpoint.errors import decode_frame_error
from awsllm.wire.eventstream import FrameDecoder
from awsllm.wire.reading import JSON

UNREAD = Detected(format="", source="caller", evidence="the body is the caller's own")
"""What is known of a container whose body nobody here reads."""


def invoke_endpoint_call(request: InvokeEndpointRequest, found: Detected = UNREAD) -> Call[RawResponse]:
    def decode(response: HttpResponse) -> RawResponse:
        return RawResponse(
            body=response.body,
            content_type=response.headers.get("content-type", JSON),
            headers={name: value for name, value in response.headers.items() if name.startswith("x-amzn-sagemaker-")},
            model=request.model,
            request_id=response.request_id,
        )

    return Call(_http(request, stream=False), decode, read_error)


def invoke_endpoint_stream_call(request: InvokeEndpointRequest) -> StreamCall[RawChunk]:
    return StreamCall(_http(request, stream=True), event_stream(lambda head: _Parts(head.request_id)), read_error)


class _Parts:
    """``PayloadPart`` events to their bytes."""

    def __init__(self, request_id: str | None) -> None:
        self._frames = FrameDecoder()
        self._request_id = request_id

    def feed(self, data: bytes) -> Iterator[RawChunk]:
        for frame in self._frames.feed(data):
            if frame.headers.get(":message-type", "event") != "event":
                raise decode_frame_error(frame, request_id=self._request_id)
            if frame.headers.get(":event-type") == "PayloadPart":
                yield RawChunk(frame.payload)
        if self._frames.damage:
            raise self._frames.damage

    def close(self) -> tuple[()]:
        self._frames.close()
        return ()


def _http(request: InvokeEndpointRequest, *, stream: bool) -> HttpRequest:
    target = read_target(request.model, request.endpoint)
    payload = Payload(request.body, request.content_type, request.accept)
    return invoke_request(target, request.endpoint, payload, stream=stream)
