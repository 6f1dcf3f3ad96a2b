"""Bedrock's backends: the calls they make, judged by boto3, and what they do with answers, errors and streams."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
import pytest

from awsllm import AsyncClient, Client, Policy, errors
from awsllm.aws.call import HttpRequest, HttpResponse
from awsllm.aws.session import AwsSession
from awsllm.backend import Attempt
from awsllm.backends.bedrock import families, runtime
from awsllm.backends.bedrock.backend import AsyncBedrockBackend, BedrockBackend
from awsllm.backends.groups import CONCURRENCY
from awsllm.stream import fold, replay
from awsllm.types import (
    Bytes,
    ConverseRequest,
    ConverseResponse,
    CountTokensRequest,
    GuardrailConfig,
    Image,
    InferenceConfig,
    Message,
    MessageStart,
    Request,
    Text,
    ToolSpec,
    Usage,
)
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.wire import converse
from awsllm.wire.amazon import titan
from awsllm.wire.body import Settings
from awsllm.wire.eventstream import encode_event_frame, encode_exception_frame
from tests.support import boto3_requests
from tests.support.loopback import Received, Response, aws_session
from tests.support.transports import AsyncStubTransport, Reply, StubTransport

MODELS = [
    "amazon.nova-lite-v1:0",
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123",
    "arn:aws:bedrock:us-east-1:123456789012:prompt/PROMPT1234:2",
]
TITAN = "amazon.titan-embed-text-v2:0"
ASKED = ConverseRequest(
    model=MODELS[0],
    messages=(Message.user("Héllo", Image(format="png", source=Bytes(b"\x89PNG"))),),
    system=(Text(text="Be kind"),),
    inference_config=InferenceConfig(max_tokens=9, temperature=0.5, stop_sequences=("END",)),
    tools=(ToolSpec("now", {"type": "object", "properties": {}}),),
    extra={"top_k": 3},
    request_metadata={"team": "x"},
)
COUNTED = CountTokensRequest(model=ASKED.model, converse=ASKED)
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123def456"
FOUNDATION = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"
ANSWER = ConverseResponse(
    message=Message.assistant("Hi there"),
    stop_reason="end_turn",
    usage=Usage(3, 2, 5),
    latency_ms=7,
    messages=(Message.assistant("Hi there"),),
)


# --- the calls, against boto3's --------------------------------------------------------------------------------------


sent_by_boto3 = partial(boto3_requests.sent_by_boto3, "bedrock-runtime")


def assert_same(ours: HttpRequest, theirs: Any) -> None:
    assert (ours.service, ours.method, ours.path) == ("bedrock-runtime", theirs.method, urlsplit(theirs.url).path)
    assert msgspec.json.decode(ours.body) == msgspec.json.decode(theirs.body)
    wanted = {name: theirs.headers[name] for name in ("Content-Type", "Accept") if name in theirs.headers}
    assert dict(ours.headers) == {name: v if isinstance(v, str) else v.decode() for name, v in wanted.items()}


@pytest.mark.parametrize("model", MODELS)
def test_converse_as_boto3_sends_it(model: str) -> None:
    asked = msgspec.structs.replace(ASKED, model=model)
    members = converse.encode_request(asked)
    assert_same(runtime.converse_call(asked).request, sent_by_boto3("converse", modelId=model, **members))
    assert_same(runtime.converse_stream_call(asked).request, sent_by_boto3("converse_stream", modelId=model, **members))


@pytest.mark.parametrize(
    "request_",
    [
        ConverseRequest(model="m", messages=(Message.user("\ud800"),)),
        msgspec.structs.replace(ASKED, extra={"a": object()}),
    ],
)
def test_what_json_cannot_carry_is_the_callers_fault(request_: ConverseRequest) -> None:
    with pytest.raises(errors.ValidationError, match="JSON"):
        runtime.converse_call(request_)


def test_count_tokens_as_boto3_sends_it() -> None:
    members = converse.encode_count_tokens(COUNTED)
    assert_same(
        runtime.count_tokens_call(COUNTED).request, sent_by_boto3("count_tokens", modelId=ASKED.model, **members)
    )


@pytest.mark.parametrize(
    ("model", "family", "counted"),
    [
        ("us.amazon.nova-lite-v1:0", None, "amazon.nova-lite-v1:0"),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova-lite-v1:0", None, "amazon.nova-lite-v1:0"),
        (PROFILE, "global.anthropic.claude-sonnet-4-6", "anthropic.claude-sonnet-4-6"),
        (PROFILE, "claude", PROFILE),
        (PROFILE, None, PROFILE),
        (FOUNDATION, None, FOUNDATION),
    ],
)
def test_tokens_are_counted_of_the_foundation_model(model: str, family: str | None, counted: str) -> None:
    """CountTokens refuses profiles, which newer models are called by."""
    request = CountTokensRequest(model=model, family=family, converse=ASKED)
    assert runtime.count_tokens_call(request).request.path == f"/model/{quote(counted, safe='')}/count-tokens"


def test_invoke_as_boto3_sends_it() -> None:
    body = {"inputText": "é", "dimensions": 256, "normalize": True}
    (call,) = families.embed_calls(EmbedRequest(model=TITAN, texts=("é",), dimensions=256, normalize=True)).calls
    theirs = sent_by_boto3(
        "invoke_model",
        modelId=TITAN,
        body=msgspec.json.encode(body),
        contentType="application/json",
        accept="application/json",
    )
    assert_same(call.request, theirs)


# --- answers, over a transport that has them -------------------------------------------------------------------------


def json_reply(value: object, status: int = 200, **headers: str) -> HttpResponse:
    return HttpResponse(status, {"x-amzn-requestid": "r1", **headers}, msgspec.json.encode(value))


def frames(response: ConverseResponse) -> list[bytes]:
    encoded = (converse.encode_event(event) for event in replay(response))
    return [encode_event_frame(name, msgspec.json.encode(payload)) for name, payload in encoded]


def stream_reply(*parts: bytes) -> HttpResponse:
    return HttpResponse(200, {"x-amzn-requestid": "r1"}, b"".join(parts))


REFUSED = json_reply({"message": "Too many tokens"}, 429, **{"x-amzn-errortype": "ThrottlingException:http://x"})


ATTEMPT = Attempt(deadline=5.0)


def both(request: Request[Any], reply: Reply) -> Iterator[tuple[Any, StubTransport]]:
    """What the synchronous and the asynchronous backend give, as thunks: they must agree."""
    stub = StubTransport(reply)
    yield lambda: BedrockBackend(stub).ask(request, ATTEMPT), stub
    async_stub = AsyncStubTransport(reply)
    yield lambda: asyncio.run(AsyncBedrockBackend(async_stub).ask(request, ATTEMPT)), async_stub


def test_converse() -> None:
    for answer, stub in both(ASKED, lambda _: json_reply(converse.encode_response(ANSWER))):
        response = answer()
        assert (response.text, response.stop_reason, response.usage) == ("Hi there", "end_turn", Usage(3, 2, 5))
        assert (response.model, response.request_id) == (ASKED.model, "r1")
        assert stub.attempts == [ATTEMPT]


def test_count_tokens() -> None:
    for answer, _ in both(COUNTED, lambda _: json_reply({"inputTokens": 42})):
        assert answer() == 42


@pytest.mark.parametrize("request_", [ASKED, COUNTED], ids=["converse", "count_tokens"])
def test_errors_say_where(request_: Request[Any]) -> None:
    for answer, _ in both(request_, lambda _: REFUSED):
        with pytest.raises(errors.ThrottlingError) as caught:
            answer()
        assert (caught.value.backend, caught.value.model) == ("bedrock", ASKED.model)
        assert (caught.value.code, caught.value.request_id) == ("ThrottlingException", "r1")


MISLABELLED = {
    "a page": ("text/html; charset=utf-8", b"<html>the model's words</html>", errors.ConfigurationError),
    "JSON": ("application/json", b'{"message": "the model\'s words"}', errors.ServerError),
    "a short text": ("text/plain", b"words", errors.ServerError),
    "nothing": ("text/plain", b"", errors.ServerError),
}


@pytest.mark.parametrize("name", MISLABELLED)
def test_an_answer_that_is_no_event_stream_says_what_it_is(name: str) -> None:
    kind, body, error = MISLABELLED[name]
    reply = HttpResponse(200, {"x-amzn-requestid": "r1", "content-type": kind}, body)
    for read in (
        lambda: list(BedrockBackend(StubTransport(lambda _: reply)).stream(ASKED)),
        lambda: collect(AsyncBedrockBackend(AsyncStubTransport(lambda _: reply)).stream(ASKED)),
    ):
        with pytest.raises(error, match=f"no event stream but {kind}") as caught:
            read()
        assert (caught.value.status, caught.value.request_id, caught.value.retryable) == (200, "r1", False)
        assert "words" not in str(caught.value)


@pytest.mark.parametrize("kind", [None, "application/octet-stream", "application/vnd.amazon.eventstream"])
def test_a_stream_is_judged_by_its_bytes_first(kind: str | None) -> None:
    """A gateway may label it otherwise; what is damaged is that, if it is labelled as a stream or not at all."""
    headers = {"x-amzn-requestid": "r1"} | ({"content-type": kind} if kind else {})
    whole = HttpResponse(200, headers, b"".join(frames(ANSWER)))
    assert fold(BedrockBackend(StubTransport(whole)).stream(ASKED)).request_id == "r1"
    damaged = HttpResponse(200, headers, b"x" * 20)
    with pytest.raises(errors.AwsllmError, match="octet-stream" if kind and "octet" in kind else "checksum"):
        list(BedrockBackend(StubTransport(damaged)).stream(ASKED))


def test_an_answer_that_is_no_json_does_not_show_the_models_words() -> None:
    reply = HttpResponse(200, {"content-type": "text/plain"}, b"the model's words")
    with pytest.raises(errors.ServerError, match=r"not a JSON object but text/plain, 17 bytes of it \(status 200\)"):
        BedrockBackend(StubTransport(reply)).ask(ASKED)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"output":', b'"\xff"', b"[" * 5000])
def test_answers_that_are_no_answers(body: bytes) -> None:
    for answer, _ in both(ASKED, lambda _: HttpResponse(200, {"x-amzn-requestid": "r1"}, body)):
        with pytest.raises(errors.ServerError) as caught:
            answer()
        assert (caught.value.backend, caught.value.request_id) == ("bedrock", "r1")


def collect(stream: AsyncIterator[Any]) -> list[Any]:
    async def all_of_it() -> list[Any]:
        return [event async for event in stream]

    return asyncio.run(all_of_it())


def identified(request_id: str) -> ConverseResponse:
    """The answer, with the id that the service gave the request."""
    return msgspec.structs.replace(ANSWER, request_id=request_id)


def test_stream_folds_to_the_answer() -> None:
    def reply(_: HttpRequest) -> HttpResponse:
        return stream_reply(*frames(ANSWER))

    assert fold(BedrockBackend(StubTransport(reply)).stream(ASKED)) == identified("r1")
    assert fold(collect(AsyncBedrockBackend(AsyncStubTransport(reply)).stream(ASKED))) == identified("r1")


BROKEN = {
    "refused": (REFUSED, errors.ThrottlingError),
    "exception in the stream": (
        stream_reply(*frames(ANSWER)[:2], encode_exception_frame("throttlingException", b'{"message":"slow"}')),
        errors.ThrottlingError,
    ),
    "cut between frames": (stream_reply(*frames(ANSWER)[:2]), errors.StreamError),
    "cut in a frame": (stream_reply(*frames(ANSWER)[:2], frames(ANSWER)[2][:20]), errors.StreamError),
}


@pytest.mark.parametrize(("reply", "kind"), BROKEN.values(), ids=BROKEN)
def test_broken_streams_say_where(reply: HttpResponse, kind: type[errors.AwsllmError]) -> None:
    for read in (
        lambda: list(BedrockBackend(StubTransport(lambda _: reply)).stream(ASKED)),
        lambda: collect(AsyncBedrockBackend(AsyncStubTransport(lambda _: reply)).stream(ASKED)),
    ):
        with pytest.raises(kind) as caught:
            read()
        assert (caught.value.backend, caught.value.model) == ("bedrock", ASKED.model)


def test_closing_a_stream_closes_the_transport_s() -> None:
    stub = StubTransport(lambda _: stream_reply(*frames(ANSWER)))
    stream = BedrockBackend(stub).stream(ASKED)
    assert next(stream) == MessageStart("assistant", "r1")
    assert stub.open_streams == 1
    stream.close()  # type: ignore[attr-defined]
    assert stub.open_streams == 0


def test_closing_an_async_stream_closes_the_transport_s() -> None:
    stub = AsyncStubTransport(lambda _: stream_reply(*frames(ANSWER)))

    async def begin_and_close() -> None:
        stream = AsyncBedrockBackend(stub).stream(ASKED)
        assert await anext(stream) == MessageStart("assistant", "r1")
        assert stub.open_streams == 1
        await stream.aclose()  # type: ignore[attr-defined]
        assert stub.open_streams == 0

    asyncio.run(begin_and_close())


def test_what_cannot_be_expressed_raises_before_anything_is_sent() -> None:
    from awsllm.types import Unknown

    asked = ConverseRequest(model="m", messages=(Message.user(Unknown("hologram")),))
    stub = StubTransport(lambda _: REFUSED)
    for call in (BedrockBackend(stub).ask, BedrockBackend(stub).stream):
        with pytest.raises(errors.UnsupportedError, match="bedrock:m"):
            call(asked)
    assert stub.requests == []


def test_close() -> None:
    stub, async_stub = StubTransport(lambda _: REFUSED), AsyncStubTransport(lambda _: REFUSED)
    BedrockBackend(stub).close()
    asyncio.run(AsyncBedrockBackend(async_stub).close())
    assert stub.closed
    assert async_stub.closed


# --- embeddings ------------------------------------------------------------------------------------------------------


def embed_reply(request: HttpRequest) -> HttpResponse:
    text = msgspec.json.decode(request.body)["inputText"]
    if text == "bad":
        return REFUSED
    return json_reply({"embedding": [float(text), 1.0], "inputTextTokenCount": int(text)})


def test_embeddings_keep_their_order() -> None:
    asked = EmbedRequest(model=TITAN, texts=tuple(map(str, range(3 * CONCURRENCY))))
    for answer, stub in both(asked, embed_reply):
        response = answer()
        assert response.vectors == [[float(n), 1.0] for n in range(3 * CONCURRENCY)]
        assert response.usage == Usage(input_tokens=276, total_tokens=276)
        assert (response.model, response.request_id, len(response.raw)) == (TITAN, "r1", 24)
        assert set(stub.attempts) == {ATTEMPT}
    assert stub.most_in_flight == CONCURRENCY


@pytest.mark.parametrize("texts", [(), ("7",)])
def test_embeddings_of_few(texts: tuple[str, ...]) -> None:
    for answer, _ in both(EmbedRequest(model=TITAN, texts=texts), embed_reply):
        assert answer().vectors == [[float(text), 1.0] for text in texts]


def test_embedding_fails_as_one() -> None:
    texts = ("bad", *map(str, range(200)))
    for answer, stub in both(EmbedRequest(model=TITAN, texts=texts), embed_reply):
        with pytest.raises(errors.ThrottlingError) as caught:
            answer()
        assert (caught.value.backend, caught.value.model) == ("bedrock", TITAN)
        assert stub.in_flight == 0
    assert len(stub.requests) < len(texts)


@dataclass
class Grudge:
    """Embeds, but refuses one text the first ``times``. ``sent`` counts what it was asked for."""

    text: str
    times: int
    refusal: HttpResponse = REFUSED
    sent: Counter[str] = field(default_factory=Counter)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        text = msgspec.json.decode(request.body)["inputText"]
        self.sent[text] += 1
        return self.refusal if text == self.text and self.sent[text] <= self.times else embed_reply(request)


def embedded(texts: Sequence[str], reply: Reply, policy: Policy) -> Iterator[Callable[[], EmbedResponse]]:
    """What both clients get, as thunks."""
    backend = BedrockBackend(StubTransport(reply))
    yield lambda: Client(policy=policy, backends={"bedrock": backend}).embed(f"bedrock:{TITAN}", texts)
    awaited = AsyncBedrockBackend(AsyncStubTransport(reply))
    client = AsyncClient(policy=policy, backends={"bedrock": awaited})
    yield lambda: asyncio.run(client.embed(f"bedrock:{TITAN}", texts))


@pytest.mark.parametrize("place", [0, 37, 199])
def test_one_text_that_is_throttled_is_tried_again_alone(place: int) -> None:
    texts = [str(number) for number in range(200)]
    for turn in range(2):
        reply = Grudge(str(place), times=2)
        answer = list(embedded(texts, reply, Policy(base_delay=0)))[turn]()
        assert [vector[0] for vector in answer.vectors] == [float(text) for text in texts]
        assert answer.usage.input_tokens == sum(range(200))
        assert answer.segments == ()
        assert reply.sent == {text: 3 if text == str(place) else 1 for text in texts}


def test_each_call_has_attempts_of_its_own() -> None:
    """Every text is refused once: that are more failures than one call may have, and none fails twice."""
    texts = [str(number) for number in range(30)]
    for turn in range(2):
        sent: Counter[str] = Counter()

        def reply(request: HttpRequest, sent: Counter[str] = sent) -> HttpResponse:
            text = msgspec.json.decode(request.body)["inputText"]
            sent[text] += 1
            return REFUSED if sent[text] == 1 else embed_reply(request)

        answer = list(embedded(texts, reply, Policy(max_attempts=2, base_delay=0)))[turn]()
        assert len(answer.vectors) == 30
        assert set(sent.values()) == {2}


@pytest.mark.parametrize("kind", [errors.ThrottlingError, errors.ValidationError])
def test_what_fails_in_the_end_carries_the_vectors_that_came(kind: type[errors.AwsllmError]) -> None:
    """Each is of the input that its segment names; nothing was asked for twice but what failed."""
    texts = [str(number) for number in range(40)]
    refused = json_reply({"message": "no"}, 400, **{"x-amzn-errortype": "ValidationException"})
    for turn in range(2):
        reply = Grudge("20", times=99, refusal=REFUSED if kind is errors.ThrottlingError else refused)
        with pytest.raises(kind) as caught:
            list(embedded(texts, reply, Policy(max_attempts=3, base_delay=0)))[turn]()
        partial = caught.value.partial
        assert isinstance(partial, EmbedResponse)
        assert [vector[0] for vector in partial.vectors] == [segment.input for segment in partial.segments]
        assert set(map(str, range(20))) <= {str(segment.input) for segment in partial.segments}
        assert partial.usage.input_tokens == sum(segment.input for segment in partial.segments)
        assert reply.sent.pop("20") == (3 if kind is errors.ThrottlingError else 1)
        assert set(reply.sent.values()) == {1}
        assert len(partial.vectors) == len(reply.sent)
        assert (caught.value.backend, caught.value.model) == ("bedrock", TITAN)
        assert "embedding" not in repr(Attempt(finished=caught.value.finished))  # tracebacks show no answers


def test_unknown_token_counts_stay_unknown() -> None:
    def reply(request: HttpRequest) -> HttpResponse:
        counted = {"inputTextTokenCount": 1} if b"1" in request.body else {}
        return json_reply({"embedding": [1.0], **counted})

    for answer, _ in both(EmbedRequest(model=TITAN, texts=("1", "2")), reply):
        assert answer().usage == Usage()


def test_what_does_not_embed() -> None:
    for answer, _ in both(EmbedRequest(model="cohere.command-r-v1:0", texts=("a",)), embed_reply):
        with pytest.raises(errors.UnsupportedError, match=r"bedrock:cohere.*embed is not possible"):
            answer()


def test_knobs_titan_lacks() -> None:
    asked = EmbedRequest(model="amazon.titan-embed-text-v1", texts=("1",), normalize=True)
    for answer, _ in both(asked, embed_reply):
        assert "normalize" in answer().warnings[0]
    assert titan.V2.warnings(asked, Settings()) == ()


# --- over real sockets -----------------------------------------------------------------------------------------------


def respond(request: Received) -> Response:
    """Answers Converse whole and streamed, and knows no other operation."""
    headers = {"x-amzn-requestid": "r9"}
    match request.path.rpartition("/")[2]:
        case "converse":
            return Response(msgspec.json.encode(converse.encode_response(ANSWER)), headers=headers)
        case "converse-stream":
            return Response(b"".join(frames(ANSWER)), headers=headers)
        case _:
            return Response(b'{"message":"no such model"}', 404, headers)


@pytest.fixture
def session() -> Iterator[AwsSession]:
    with aws_session(respond) as session:
        yield session


def test_over_sockets(session: AwsSession) -> None:
    from awsllm.aws.http import HttpTransport

    backend = BedrockBackend(HttpTransport(session))
    assert backend.ask(ASKED).request_id == "r9"
    assert fold(backend.stream(ASKED)) == identified("r9")
    with pytest.raises(errors.ModelNotFoundError, match="no such model"):
        backend.ask(COUNTED)
    backend.close()


def test_over_sockets_awaited(session: AwsSession) -> None:
    from awsllm.aws.aio import AsyncHttpTransport

    async def run() -> None:
        backend = AsyncBedrockBackend(AsyncHttpTransport(session))
        assert (await backend.ask(ASKED)).request_id == "r9"
        assert fold([event async for event in backend.stream(ASKED)]) == identified("r9")
        with pytest.raises(errors.ModelNotFoundError, match="no such model"):
            await backend.ask(COUNTED)
        await backend.close()

    asyncio.run(run())


def test_the_guardrail_of_a_stream_keeps_its_mode() -> None:
    config = GuardrailConfig("g", "1", stream_processing_mode="async")
    request = ConverseRequest(model="m", messages=(Message.user("Hello"),), guardrail_config=config)
    streamed = msgspec.json.decode(runtime.converse_stream_call(request).request.body)
    assert streamed["guardrailConfig"]["streamProcessingMode"] == "async"
    assert (
        "streamProcessingMode"
        not in msgspec.json.decode(runtime.converse_call(request).request.body)["guardrailConfig"]
    )
