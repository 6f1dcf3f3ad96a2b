"""SageMaker's backends: the calls they make, judged by boto3, and what they do with answers, errors and streams."""

import asyncio
import math
import threading
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from botocore.eventstream import EventStreamBuffer
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import EventStreamJSONParser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from awsllm import errors
from awsllm.aws.call import Call, HttpRequest, HttpResponse
from awsllm.aws.session import AwsSession
from awsllm.backend import UNLIMITED, Attempt
from awsllm.backends.sagemaker import backend as sagemaker
from awsllm.backends.sagemaker.backend import AsyncSageMakerBackend, PayloadDecoder, SageMakerBackend
from awsllm.backends.sagemaker.target import read_error
from awsllm.stream import fold, replay
from awsllm.types import (
    Bytes,
    CachePoint,
    ConverseRequest,
    ConverseResponse,
    CountTokensRequest,
    Document,
    EndpointOptions,
    Image,
    InferenceConfig,
    Message,
    MessageStart,
    MessageStop,
    Metadata,
    Reasoning,
    Request,
    Streamed,
    ToolUse,
    Unknown,
    Usage,
)
from awsllm.types.embedding import EmbedRequest
from awsllm.types.media import ImageRequest, ImageResponse
from awsllm.types.reranking import RankedDocument, RerankRequest, RerankResponse
from awsllm.wire import endpoint as bodies
from awsllm.wire import openai
from awsllm.wire.body import Context
from awsllm.wire.endpoint import Detected
from awsllm.wire.eventstream import encode_event_frame, encode_exception_frame
from awsllm.wire.framing import DONE, encode_sse
from tests.support import boto3_requests
from tests.support.loopback import Received, Response, aws_session
from tests.support.transports import AsyncStubTransport, StubTransport

OPENAI = Detected(format="openai", source="caller", evidence="a test")
GIVEN = {"*": "openai"}
ASKED = ConverseRequest(
    model="my-endpoint", messages=(Message.user("Héllo"),), inference_config=InferenceConfig(max_tokens=9)
)
ANSWER = ConverseResponse(
    message=Message.assistant(
        Reasoning(text="Hm. ♥"),
        "日本 it is",
        ToolUse(id="a", name="map", input={"city": "Köln"}),
        ToolUse(id="b", name="map", input={"city": "Bonn"}),
    ),
    stop_reason="tool_use",
    usage=Usage(3, 2, 5),
)
ANSWER = msgspec.structs.replace(ANSWER, messages=(ANSWER.message,))


def chunks(*, usage: bool = True) -> list[dict[str, Any]]:
    encoder = openai.CompletionEncoder(id="c", created=1, model="m", include_usage=usage)
    return [chunk for event in replay(ANSWER) for chunk in encoder.push(event)]


SSE = b"".join(map(encode_sse, chunks())) + DONE
JSON_LINES = b"\n".join(map(msgspec.json.encode, chunks(usage=False)))  # LMI: no [DONE], no last line end


def part(data: bytes) -> bytes:
    return encode_event_frame("PayloadPart", data, "application/octet-stream")


# --- the calls, against boto3's --------------------------------------------------------------------------------------


sent_by_boto3 = partial(boto3_requests.sent_by_boto3, "sagemaker-runtime")


def assert_same(ours: HttpRequest, theirs: Any) -> None:
    assert (ours.service, ours.method, ours.path) == ("sagemaker-runtime", theirs.method, urlsplit(theirs.url).path)
    assert ours.body == theirs.body
    signing = (
        "user-agent",
        "content-length",
        "authorization",
        "x-amz-date",
        "amz-sdk-invocation-id",
        "amz-sdk-request",
    )
    wanted = {n.lower(): v if isinstance(v, str) else v.decode() for n, v in theirs.headers.items()}
    wanted = {name: value for name, value in wanted.items() if name not in signing}
    assert {name.lower(): value for name, value in ours.headers.items()} == wanted


TARGETS = {
    "my-endpoint": {"EndpointName": "my-endpoint"},
    "my-endpoint/part-1": {"EndpointName": "my-endpoint", "InferenceComponentName": "part-1"},
    "arn:aws:sagemaker:us-east-1:123456789012:endpoint/my-endpoint": {"EndpointName": "my-endpoint"},
}


@pytest.mark.parametrize(("model", "target"), TARGETS.items())
def test_calls_as_boto3_sends_them(model: str, target: dict[str, str]) -> None:
    asked = msgspec.structs.replace(ASKED, model=model)
    json = {"ContentType": "application/json"}
    whole = sagemaker.converse_call(asked, OPENAI).request
    theirs = sent_by_boto3("invoke_endpoint", Body=whole.body, Accept="application/json", **json, **target)
    assert_same(whole, theirs)
    streamed = sagemaker.converse_stream_call(asked, OPENAI).request
    members = {"Body": streamed.body, "Accept": "application/json", **json, **target}
    assert_same(streamed, sent_by_boto3("invoke_endpoint_with_response_stream", **members))
    assert msgspec.json.decode(whole.body) == openai.encode_request(asked)
    assert msgspec.json.decode(streamed.body) == openai.encode_request(asked, stream=True)
    embed = sagemaker.body_call(EmbedRequest(model=model, texts=("é",)), OPENAI).request
    assert_same(embed, sent_by_boto3("invoke_endpoint", Body=embed.body, Accept="application/json", **json, **target))


@pytest.mark.parametrize("model", ["", "/c", "ep/", "a/b/c", "../secret", "ep?x", "ep_1", "-ep", "e" * 64, "ép"])
def test_names_that_are_no_endpoint(model: str) -> None:
    with pytest.raises(errors.ValidationError, match="ENDPOINT/COMPONENT"):
        sagemaker.converse_call(msgspec.structs.replace(ASKED, model=model), OPENAI)


def test_bodies_that_the_service_would_refuse() -> None:
    limit = service_model().shape_for("BodyBlob").metadata["max"]
    asked = ConverseRequest(model="ep", messages=(Message.user("x" * limit),))
    with pytest.raises(errors.ValidationError, match="6,291,456"):
        sagemaker.converse_call(asked, OPENAI)


# --- answers, over a transport that has them -------------------------------------------------------------------------


def reply(value: object, status: int = 200, **headers: str) -> HttpResponse:
    return HttpResponse(status, {"x-amzn-requestid": "r1", **headers}, msgspec.json.encode(value))


def service_error(code: str, status: int, message: str, **members: object) -> HttpResponse:
    return reply({"Message": message, **members}, status, **{"x-amzn-errortype": code})


def streamed(*parts: bytes) -> HttpResponse:
    return HttpResponse(200, {"x-amzn-requestid": "r1"}, b"".join(parts))


ATTEMPT = Attempt(deadline=5.0)


def both(request: Request[Any], answer: HttpResponse) -> list[Callable[[], Any]]:
    """What the synchronous and the asynchronous backend give, as thunks: they must agree."""
    sync = SageMakerBackend(StubTransport(answer), formats=GIVEN)
    awaited = AsyncSageMakerBackend(AsyncStubTransport(answer), formats=GIVEN)
    return [lambda: sync.ask(request, ATTEMPT), lambda: asyncio.run(awaited.ask(request, ATTEMPT))]


def both_streams(request: Streamed[Any, Any], answer: HttpResponse) -> list[Callable[[], list[Any]]]:
    sync = SageMakerBackend(StubTransport(answer), formats=GIVEN)
    awaited = AsyncSageMakerBackend(AsyncStubTransport(answer), formats=GIVEN)

    async def all_of_it() -> list[Any]:
        return [event async for event in awaited.stream(request, ATTEMPT)]

    return [lambda: list(sync.stream(request, ATTEMPT)), lambda: asyncio.run(all_of_it())]


def test_converse() -> None:
    wire = openai.encode_response(ANSWER, id="c", created=1, model="m")
    asked = msgspec.structs.replace(ASKED, messages=(Message.user("Hi", CachePoint()),))
    for answer in both(asked, reply(wire)):
        response = answer()
        assert (response.message, response.stop_reason, response.usage) == (ANSWER.message, "tool_use", ANSWER.usage)
        assert (response.model, response.request_id, response.raw) == ("my-endpoint", "r1", wire)
        assert "cache points" in response.warnings[0]


def test_a_pdf_is_read_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    readers: list[str] = []

    def read(name: str, data: bytes) -> str:
        readers.append(threading.current_thread().name)
        return data.decode()

    monkeypatch.setattr("awsllm.wire.text.blocks.pdf_text", read)
    asked = msgspec.structs.replace(ASKED, messages=(Message.user(Document("d", Bytes(b"%PDF"), "pdf"), "Hi"),))
    wire = openai.encode_response(ANSWER, id="c", created=1, model="m")
    for answer in (*both(asked, reply(wire)), *both_streams(asked, streamed(part(SSE)))):
        assert answer()
    main = threading.current_thread().name
    assert [reader == main for reader in readers] == [True, False, True, False]


@pytest.mark.parametrize("body", [SSE, JSON_LINES], ids=["SSE", "JSON lines"])
def test_stream_folds_to_the_answer(body: bytes) -> None:
    usage = ANSWER.usage if body is SSE else Usage()
    expected = msgspec.structs.replace(ANSWER, usage=usage, request_id="r1")
    for answer in both_streams(ASKED, streamed(*(part(body[at : at + 7]) for at in range(0, len(body), 7)))):
        assert fold(answer()) == expected


@pytest.mark.parametrize("body", [SSE, JSON_LINES], ids=["usage told", "no usage"])
def test_warnings_end_the_stream(body: bytes) -> None:
    asked = msgspec.structs.replace(ASKED, messages=(Message.user("Hi", CachePoint()),))
    for answer in both_streams(asked, streamed(part(body))):
        last = answer()[-1]
        assert isinstance(last, Metadata)
        assert "cache points" in last.warnings[0]


@given(st.sampled_from([SSE, JSON_LINES]), st.lists(st.integers(1, 80), min_size=1), st.integers(1, 50))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_parts_in_any_cuts(body: bytes, sizes: list[int], piece: int) -> None:
    parts: list[bytes] = []
    at = 0
    while at < len(body):
        size = sizes[len(parts) % len(sizes)]
        parts.append(part(body[at : at + size]))
        at += size
    data = b"".join(parts)
    decoder = PayloadDecoder(lambda _: openai.CompletionDecoder(Context(request=ASKED))).begin(HttpResponse(200, {}))
    events = [event for at in range(0, len(data), piece) for event in decoder.feed(data[at : at + piece])]
    assert fold([*events, *decoder.close()]).message == ANSWER.message


def test_a_container_that_does_not_stream() -> None:
    wire = openai.encode_response(ANSWER, id="c", created=1, model="m")
    for answer in both_streams(ASKED, streamed(part(msgspec.json.encode(wire)))):
        assert fold(answer()) == msgspec.structs.replace(ANSWER, request_id="r1")


HALF = part(b"".join(map(encode_sse, chunks()[:3])))
CUT = {
    "before a finish reason": streamed(HALF),
    "inside a chunk": streamed(HALF, part(encode_sse(chunks()[4])[:-9])),
    "inside a frame": streamed(HALF, part(SSE)[:40]),
    "no JSON": streamed(HALF, part(b"upstream connect error\n")),
    "nothing": streamed(),
}


@pytest.mark.parametrize("answer", CUT.values(), ids=CUT)
def test_cut_streams(answer: HttpResponse) -> None:
    for read in both_streams(ASKED, answer):
        with pytest.raises(errors.StreamError) as caught:
            read()
        assert (caught.value.backend, caught.value.model) == ("sagemaker", "my-endpoint")


def test_done_is_an_end() -> None:
    for read in both_streams(ASKED, streamed(part(encode_sse(chunks()[1])), part(DONE))):
        assert MessageStop("end_turn") in read()


FAILING = {
    "ModelStreamError": (
        encode_exception_frame("ModelStreamError", b'{"Message":"lost it","ErrorCode":"StreamBroken"}'),
        errors.ServerError,
        "lost it",
    ),
    "too slow": (
        encode_exception_frame("ModelStreamError", b'{"Message":"","ErrorCode":"ModelInvocationTimeExceeded"}'),
        errors.ModelTimeoutError,
        "longer than",
    ),
    "InternalStreamFailure": (
        encode_exception_frame("InternalStreamFailure", b'{"Message":"sorry"}'),
        errors.ServerError,
        "sorry",
    ),
    "the container's error": (
        part(encode_sse({"error": {"message": "boom", "code": 429}})),
        errors.ThrottlingError,
        "boom",
    ),
}


@pytest.mark.parametrize(("frame", "kind", "message"), FAILING.values(), ids=FAILING)
def test_errors_inside_a_stream(frame: bytes, kind: type[errors.AwsllmError], message: str) -> None:
    stream = SageMakerBackend(StubTransport(streamed(HALF, frame)), formats=GIVEN).stream(ASKED, ATTEMPT)
    seen: list[Any] = []
    with pytest.raises(kind, match=message) as caught:
        seen.extend(stream)
    assert seen[0] == MessageStart("assistant", "r1")  # what came before the error was handed over
    assert type(caught.value) is kind
    assert (caught.value.backend, caught.value.request_id) == ("sagemaker", "r1")
    for read in both_streams(ASKED, streamed(HALF, frame)):
        with pytest.raises(kind, match=message):
            read()


REFUSALS = {
    "unknown endpoint": (
        service_error("ValidationError", 400, "Endpoint my-endpoint of account 111122223333 not found."),
        errors.ModelNotFoundError,
        400,
        False,
    ),
    "no capacity": (
        service_error("ValidationError", 400, "Inference Component has no capacity to process this request."),
        errors.ModelNotReadyError,
        400,
        True,
    ),
    "malformed": (service_error("ValidationError", 400, "Bad Accept"), errors.ValidationError, 400, False),
    "not ready": (service_error("ModelNotReadyException", 429, "warming"), errors.ModelNotReadyError, 429, True),
    "failure": (service_error("InternalFailure", 500, "oops"), errors.ServerError, 500, True),
    "unavailable": (service_error("ServiceUnavailable", 503, "later"), errors.ServerError, 503, True),
    "dependency": (service_error("InternalDependencyException", 530, "later"), errors.ServerError, 530, True),
    "denied": (service_error("AccessDeniedException", 403, "no"), errors.AccessDeniedError, 403, False),
    "container busy": (
        service_error("ModelError", 424, "Received …", OriginalStatusCode=429, OriginalMessage='{"error":"busy"}'),
        errors.ThrottlingError,
        429,
        True,
    ),
    "container starting": (
        service_error("ModelError", 424, "Received …", OriginalStatusCode=503, OriginalMessage="loading"),
        errors.ModelNotReadyError,
        503,
        True,
    ),
    "container broken": (
        service_error("ModelError", 424, "Received …", OriginalStatusCode=500, OriginalMessage="CUDA"),
        errors.ServerError,
        500,
        False,
    ),
    "too long": (
        service_error(
            "ModelError",
            424,
            "Received …",
            OriginalStatusCode=400,
            OriginalMessage='{"object":"error","message":"maximum context length is 4096 tokens","code":400}',
        ),
        errors.ContextWindowError,
        400,
        False,
    ),
    "no originals": (service_error("ModelError", 424, "Received …"), errors.ServerError, 500, False),
}


@pytest.mark.parametrize("call", ["converse", "converse_stream", "embed"])
@pytest.mark.parametrize(("answer", "kind", "status", "retryable"), REFUSALS.values(), ids=REFUSALS)
def test_refusals(answer: HttpResponse, kind: type[Exception], status: int, retryable: bool, call: str) -> None:
    asked: Any = EmbedRequest(model="my-endpoint", texts=("a",)) if call == "embed" else ASKED
    for attempt in both_streams(asked, answer) if call == "converse_stream" else both(asked, answer):
        with pytest.raises(errors.AwsllmError) as caught:
            attempt()
        error = caught.value
        assert type(error) is kind
        assert (error.status, error.retryable, error.request_id) == (status, retryable, "r1")
        assert (error.backend, error.model) == ("sagemaker", "my-endpoint")


def test_the_models_errors_are_all_known() -> None:
    """Every error shape of sagemaker-runtime makes an error of a class of its own meaning."""
    for shape in service_model().error_shapes:
        status = shape.metadata.get("error", {}).get("httpStatusCode", 500)
        error = read_error(service_error(shape.name, status, "x"))
        assert type(error) not in (errors.AwsllmError, errors.RequestError), shape.name


def test_other_formats_and_pages() -> None:
    for body in (b"<html>", b'[{"generated_text":"x"}]', b'{"generated_text":"x"}', b""):
        for attempt in both(ASKED, HttpResponse(200, {}, body)):
            with pytest.raises(errors.ServerError) as caught:
                attempt()
            assert caught.value.backend == "sagemaker"


def test_embed() -> None:
    wire = {"data": [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": 4}}
    for answer in both(EmbedRequest(model="my-endpoint", texts=("a", "b")), reply(wire)):
        response = answer()
        assert (response.vectors, response.usage.input_tokens) == ([[1.0], [2.0]], 4)
        assert (response.model, response.request_id) == ("my-endpoint", "r1")


def test_count_tokens_names_who_can() -> None:
    for attempt in both(CountTokensRequest(model=ASKED.model, converse=ASKED), reply({})):
        with pytest.raises(errors.UnsupportedError, match="bedrock: and local:"):
            attempt()


def test_what_cannot_be_expressed_raises_before_anything_is_sent() -> None:
    stub = StubTransport(reply({}))
    asked = msgspec.structs.replace(ASKED, messages=(Message.user(Unknown("hologram")),))
    backend = SageMakerBackend(stub, formats=GIVEN)
    for call in (backend.ask, lambda request: list(backend.stream(request))):
        with pytest.raises(errors.UnsupportedError, match="sagemaker:my-endpoint"):
            call(asked)
    assert stub.requests == []


def test_closing() -> None:
    stub = StubTransport(streamed(part(SSE)))
    backend = SageMakerBackend(stub, formats=GIVEN)
    stream = backend.stream(ASKED, ATTEMPT)
    assert next(stream) == MessageStart("assistant", "r1")
    assert stub.open_streams == 1
    stream.close()  # type: ignore[attr-defined]
    assert stub.open_streams == 0
    backend.close()
    assert stub.closed


def test_closing_awaited() -> None:
    stub = AsyncStubTransport(streamed(part(SSE)))

    async def run() -> None:
        backend = AsyncSageMakerBackend(stub, formats=GIVEN)
        stream = backend.stream(ASKED, ATTEMPT)
        assert await anext(stream) == MessageStart("assistant", "r1")
        assert stub.open_streams == 1
        await stream.aclose()  # type: ignore[attr-defined]
        assert stub.open_streams == 0
        await backend.close()
        assert stub.closed

    asyncio.run(run())


# --- the frames, against botocore's parser ---------------------------------------------------------------------------


@cache
def service_model() -> ServiceModel:
    return ServiceModel(Loader().load_service_model("sagemaker-runtime", "service-2"), "sagemaker-runtime")


def test_frames_as_botocore_reads_them() -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(part(SSE[:50]) + part(SSE[50:]) + FAILING["ModelStreamError"][0])
    shape = service_model().shape_for("ResponseStream")
    parsed = [EventStreamJSONParser().parse(event.to_response_dict(), shape) for event in buffer]
    assert b"".join(event["PayloadPart"]["Bytes"] for event in parsed[:2]) == SSE
    assert parsed[2]["Error"] == {"Code": "ModelStreamError", "Message": "lost it"}


# --- over real sockets -----------------------------------------------------------------------------------------------


def respond(request: Received) -> Response:
    """Answers a whole invocation with ANSWER and a streamed one with its chunks, one part at a time."""
    pieces = [msgspec.json.encode(openai.encode_response(ANSWER, id="c", created=1, model="m"))]
    if not request.path.endswith("/invocations"):
        pieces = [part(SSE[at : at + 100]) for at in range(0, len(SSE), 100)]
    return Response(pieces, headers={"x-amzn-requestid": "r9"})


@pytest.fixture
def session() -> Iterator[AwsSession]:
    with aws_session(respond) as session:
        yield session


def test_over_sockets(session: AwsSession) -> None:
    from awsllm.aws.http import HttpTransport

    backend = SageMakerBackend(HttpTransport(session), formats=GIVEN)
    assert backend.ask(ASKED).request_id == "r9"
    assert fold(backend.stream(ASKED)) == msgspec.structs.replace(ANSWER, request_id="r9")
    backend.close()


def test_over_sockets_awaited(session: AwsSession) -> None:
    from awsllm.aws.aio import AsyncHttpTransport

    async def run() -> None:
        backend = AsyncSageMakerBackend(AsyncHttpTransport(session), formats=GIVEN)
        assert (await backend.ask(ASKED)).request_id == "r9"
        streamed = fold([event async for event in backend.stream(ASKED)])
        assert streamed == msgspec.structs.replace(ANSWER, request_id="r9")
        await backend.close()

    asyncio.run(run())


# --- options of a call -----------------------------------------------------------------------------------------------

OPTIONS: dict[str, tuple[EndpointOptions, dict[str, str]]] = {
    "variant": (EndpointOptions(variant="blue"), {"TargetVariant": "blue"}),
    "container": (EndpointOptions(target_container="second"), {"TargetContainerHostname": "second"}),
    "session": (EndpointOptions(session_id="s-1"), {"SessionId": "s-1"}),
    "name": (EndpointOptions(inference_id="mine 1"), {"InferenceId": "mine 1"}),
    "prefix": (EndpointOptions(prefix_aware_id="chat-1"), {"PrefixAwareId": "chat-1"}),
    "attributes": (EndpointOptions(custom_attributes="a=b;c"), {"CustomAttributes": "a=b;c"}),
}


@pytest.mark.parametrize(("options", "members"), OPTIONS.values(), ids=OPTIONS)
def test_options_as_boto3_sends_them(options: EndpointOptions, members: dict[str, str]) -> None:
    asked = msgspec.structs.replace(ASKED, endpoint=options)
    told = {"EndpointName": "my-endpoint", "ContentType": "application/json", "Accept": "application/json", **members}
    whole = sagemaker.converse_call(asked, OPENAI).request
    assert_same(whole, sent_by_boto3("invoke_endpoint", Body=whole.body, **told))
    streamed = sagemaker.converse_stream_call(asked, OPENAI).request
    assert_same(streamed, sent_by_boto3("invoke_endpoint_with_response_stream", Body=streamed.body, **told))


def test_a_models_archive_as_boto3_sends_it() -> None:
    options = EndpointOptions(target_model="a/m.tar.gz", session_id="NEW_SESSION")
    request = sagemaker.converse_call(msgspec.structs.replace(ASKED, endpoint=options), OPENAI).request
    theirs = sent_by_boto3(
        "invoke_endpoint",
        EndpointName="my-endpoint",
        Body=request.body,
        ContentType="application/json",
        Accept="application/json",
        TargetModel="a/m.tar.gz",
        SessionId="NEW_SESSION",
    )
    assert_same(request, theirs)


@pytest.mark.parametrize("attributes", ["x" * 1025, "a=é"])
def test_attributes_that_the_service_would_refuse(attributes: str) -> None:
    asked = msgspec.structs.replace(ASKED, endpoint=EndpointOptions(custom_attributes=attributes))
    with pytest.raises(errors.ValidationError, match="1,024"):
        sagemaker.converse_call(asked, OPENAI)


def test_a_licence_is_accepted_beside_the_callers_attributes() -> None:
    options = EndpointOptions(accept_eula=True, custom_attributes="trace=1")
    found = Detected(format="dialogs", source="caller", evidence="a test")
    request = sagemaker.converse_call(msgspec.structs.replace(ASKED, endpoint=options), found).request
    assert request.headers["X-Amzn-SageMaker-Custom-Attributes"] == "accept_eula=true;trace=1"


UNSTREAMED = {
    "a format without streams": ("mms", EndpointOptions(), "has no streams"),
    "a multi-model endpoint": ("openai", EndpointOptions(target_model="m.tar.gz"), "multi-model"),
    "a new session": ("openai", EndpointOptions(session_id="NEW_SESSION"), "begins no session"),
}


@pytest.mark.parametrize(("speaks", "options", "words"), UNSTREAMED.values(), ids=UNSTREAMED)
def test_what_cannot_be_streamed_is_replayed(speaks: str, options: EndpointOptions, words: str) -> None:
    options = msgspec.structs.replace(options, format=speaks)
    asked = msgspec.structs.replace(ASKED, endpoint=options)
    said = ConverseResponse(message=Message.assistant("Hi!"), stop_reason="end_turn", usage=Usage(1, 1, 2))
    payload = bodies.get(speaks).chat.encode_response(said, Context(request=asked))
    session = {"x-amzn-sagemaker-new-session-id": "s-1; Expires=2030-01-01T00:00:00Z"}
    for read in both_streams(asked, HttpResponse(200, session, payload.body)):
        response = fold(read())
        assert response.text == "Hi!"
        assert words in response.warnings[-1]
        assert response.extra == {"NewSessionId": session["x-amzn-sagemaker-new-session-id"]}


def test_each_format_says_what_it_cannot_do() -> None:
    calls: dict[str, Request[Any]] = {
        "generate_image": ImageRequest(model="my-endpoint", prompt="a cat"),
        "rerank": RerankRequest(model="my-endpoint", query="a", documents=("b",)),
    }
    for name, asked in calls.items():
        for attempt in both(asked, reply({})):
            with pytest.raises(errors.UnsupportedError, match=f"sagemaker:my-endpoint: {name} is not possible"):
                attempt()


def test_images() -> None:
    asked = ImageRequest(model="my-endpoint", prompt="a cat", endpoint=EndpointOptions(format="sdxl"))
    made = ImageResponse(images=(Image(format="png", source=Bytes(b"\x89PNG...")),))
    payload = bodies.get("sdxl").images.encode_response(made, Context(request=asked))
    for answer in both(asked, HttpResponse(200, {"x-amzn-requestid": "r1"}, payload.body)):
        response = answer()
        assert response.images[0].source == Bytes(b"\x89PNG...")
        assert response.request_id == "r1"


def test_rankings() -> None:
    options = EndpointOptions(format="cohere-rerank")
    asked = RerankRequest(model="my-endpoint", query="a", documents=("x", "y"), endpoint=options)
    ranked = RerankResponse(results=(RankedDocument(1, 0.9), RankedDocument(0, 0.1)))
    payload = bodies.get("cohere-rerank").rerank.encode_response(ranked, Context(request=asked))
    for answer in both(asked, HttpResponse(200, {}, payload.body)):
        assert [(item.index, item.score) for item in answer().results] == [(1, 0.9), (0, 0.1)]


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("deadline", [math.inf, 1e300])
def test_a_deadline_that_never_comes_waits_as_long_as_can_be_waited(deadline: float, awaited: bool) -> None:
    """The search for the format of an endpoint that nothing is known of ends as the transport ends it."""

    class Away(StubTransport):
        def send(self, call: Call[Any], attempt: Attempt = UNLIMITED) -> Any:
            raise errors.ConnectError("away")

    class AsyncAway(AsyncStubTransport):
        async def send(self, call: Call[Any], attempt: Attempt = UNLIMITED) -> Any:
            raise errors.ConnectError("away")

    with pytest.raises(errors.AwsllmError, match="away"):
        if awaited:
            asyncio.run(AsyncSageMakerBackend(AsyncAway(reply({}))).ask(ASKED, Attempt(deadline=deadline)))
        else:
            SageMakerBackend(Away(reply({}))).ask(ASKED, Attempt(deadline=deadline))
