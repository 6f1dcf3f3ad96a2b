"""Faults on purpose: each is what boto3's and awsllm's retries and timeouts see of AWS, in-process and on a port."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import pytest
import urllib3
from botocore.config import Config
from botocore.eventstream import ChecksumMismatch
from botocore.exceptions import (
    ClientError,
    EventStreamError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)

import awsllm
from awsllm.errors import ConfigurationError, ModelTimeoutError, ServerError, StreamError, ThrottlingError
from awsllm.server.faults import Faults, decode_faults
from awsllm.server.work import Incoming
from awsllm.testing import mock_aws, server
from awsllm.testing.faults import Fault, cut, error, expired_credentials, garble, slow, stall, throttle
from tests.support.sessions import new_client
from tests.testing.test_mock import CHAT, CLAUDE, HELLO, TITAN

NOVA = "us.amazon.nova-lite-v1:0"
LONG = 60.0  # seconds that nobody waits
SOON = 0.3  # a client's patience where nothing comes
PATIENT = 1.0  # and where something comes first, on a busy machine

Enter = Callable[..., "Place"]


class Place:
    """AWS with faults, and clients of it."""

    def __init__(self, aws: Any, stack: ExitStack) -> None:
        self.aws, self._stack = aws, stack
        self.where: dict[str, Any] = {}
        if hasattr(aws, "url"):
            self.where = {"endpoint_url": aws.url}

    def client(self, service: str = "bedrock-runtime", attempts: int = 1, **config: Any) -> Any:
        chosen = Config(retries={"total_max_attempts": attempts, "mode": "standard"}, **config)
        made = new_client(service, config=chosen, **self.where)
        self._stack.callback(made.close)
        return made

    def awsllm(self, **options: Any) -> awsllm.Client:
        if self.where:
            options["endpoint_url"] = self.where["endpoint_url"]
        return self._stack.enter_context(awsllm.Client(region="us-east-1", **options))


@pytest.fixture(params=["in-process", "on a port"])
def enter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Enter]:
    with ExitStack() as stack:

        def enter(*faults: Fault, reply: Any = "one two three four", **options: Any) -> Place:
            form: Any = mock_aws if request.param == "in-process" else server
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
            return Place(stack.enter_context(form(reply=reply, faults=faults, **options)), stack)

        yield enter


def ask(client: Any, model: str = CLAUDE) -> Any:
    return client.converse(modelId=model, messages=HELLO)


def stream(client: Any, model: str = CLAUDE) -> Iterator[Any]:
    """The events, as a generator: the connection of a stream that breaks is closed."""
    events = client.converse_stream(modelId=model, messages=HELLO)["stream"]
    with contextlib.closing(events):
        yield from events


def refused(call: Callable[[], Any]) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"]), int(caught.value.response["ResponseMetadata"]["HTTPStatusCode"])


# --- refusals --------------------------------------------------------------------------------------------------------


def test_throttling_from_a_call_on(enter: Enter) -> None:
    place = enter(throttle(after=2), reply=["one", "two"])
    client = place.client()
    ask(client)
    ask(client)
    assert refused(lambda: ask(client)) == ("ThrottlingException", 429)
    assert refused(lambda: list(stream(client))) == ("ThrottlingException", 429)
    assert len(place.aws.requests) == 2  # no model sees them, and no reply is used up
    place.aws.assert_all_used()


def test_boto3_tries_a_throttled_call_again(enter: Enter) -> None:
    client = enter(throttle(times=1)).client(attempts=2)
    assert ask(client)["ResponseMetadata"]["RetryAttempts"] == 1


def test_awsllms_clients_do_too(enter: Enter) -> None:
    place = enter(throttle(times=1))
    assert (
        place.awsllm(policy=awsllm.Policy(max_attempts=2)).converse("bedrock:" + CLAUDE, "Hello").text
        == "one two three four"
    )
    place.aws.faults.add(throttle())
    with pytest.raises(ThrottlingError):
        place.awsllm(policy=awsllm.Policy(max_attempts=1)).converse("bedrock:" + CLAUDE, "Hello")


def test_each_service_refuses_in_its_own_words(enter: Enter) -> None:
    place = enter(throttle(), endpoints="*")
    calls: list[tuple[str, Callable[[Any], Any], tuple[str, int]]] = [
        ("sagemaker-runtime", lambda c: c.invoke_endpoint(EndpointName="e", Body=CHAT), ("ThrottlingException", 400)),
        ("sagemaker", lambda c: c.list_endpoints(), ("ThrottlingException", 400)),
        ("bedrock", lambda c: c.list_foundation_models(), ("ThrottlingException", 429)),
        ("s3", lambda c: c.list_buckets(), ("SlowDown", 503)),
        ("sts", lambda c: c.get_caller_identity(), ("Throttling", 400)),
        ("ec2", lambda c: c.describe_instances(), ("RequestLimitExceeded", 503)),
        ("dynamodb", lambda c: c.list_tables(), ("ThrottlingException", 400)),
    ]
    for name, call, expected in calls:
        assert (name, refused(functools.partial(call, place.client(name)))) == (name, expected)


def test_expired_credentials(enter: Enter) -> None:
    place = enter(expired_credentials())
    assert refused(lambda: ask(place.client())) == ("ExpiredTokenException", 403)
    assert refused(lambda: place.client("s3").list_buckets()) == ("ExpiredToken", 400)
    with pytest.raises(awsllm.AccessDeniedError, match="have expired"):
        place.awsllm().converse("bedrock:" + CLAUDE, "Hello")


def test_a_control_planes_operation(enter: Enter) -> None:
    place = enter(error("ResourceLimitExceeded", "no more", operation="CreateModel", times=1))
    control = place.client("sagemaker")
    role = "arn:aws:iam::123456789012:role/r"
    assert refused(lambda: control.create_model(ModelName="m", ExecutionRoleArn=role)) == ("ResourceLimitExceeded", 400)
    control.create_model(ModelName="m", ExecutionRoleArn=role)
    assert [model["ModelName"] for model in control.list_models()["Models"]] == ["m"]


def test_only_the_calls_that_it_means(enter: Enter) -> None:
    place = enter(throttle(model="anthropic.*", operation="ConverseStream"))
    client = place.client()
    ask(client)
    list(stream(client, NOVA))
    assert refused(lambda: list(stream(client))) == ("ThrottlingException", 429)
    assert (
        refused(lambda: next(stream(client, "us.anthropic.claude-sonnet-4-5-20250929-v1:0")))[0]
        == "ThrottlingException"
    )


def test_a_model_is_known_wherever_it_is_named() -> None:
    chat = json.dumps({"model": NOVA}).encode()
    arn = quote(f"arn:aws:bedrock:us-east-1::foundation-model/{CLAUDE}", safe="")
    for path, body, model in (
        (f"/model/{arn}/converse", b"{}", "anthropic.*"),
        ("/endpoints/mine/invocations", b"", "mine"),
        ("/endpoints/mine/async-invocations", b"", "mine"),
        ("/async-invoke", b'{"modelId": "amazon.nova-reel-v1:0"}', "amazon.nova-reel*"),
        ("/v1/chat/completions", chat, "amazon.nova*"),
        ("/v1/messages", chat, "amazon.nova*"),
    ):
        incoming = Incoming("POST", path, {}, body)
        assert Faults([throttle(model=model)]).hampering(incoming) is not None, path
        assert Faults([throttle(model="other*")]).hampering(incoming) is None, path
    assert Faults([throttle(operation="POST /v1/*")]).hampering(Incoming("POST", "/v1/messages", {}, b"{")) is not None


def test_modelled_errors_are_the_services_own(enter: Enter) -> None:
    client = enter(error("ModelNotReadyException", "warming up", times=1)).client()
    with pytest.raises(client.exceptions.ModelNotReadyException, match="warming up"):
        ask(client)
    ask(client)


# --- streams ---------------------------------------------------------------------------------------------------------


def test_a_stream_that_fails_midway(enter: Enter) -> None:
    place = enter(error("ThrottlingException", "slow down", mid_stream=True, after_events=3))
    seen: list[str] = []
    with pytest.raises(EventStreamError, match="slow down") as caught:
        seen.extend(next(iter(event)) for event in stream(place.client()))
    assert caught.value.response["Error"]["Code"] == "throttlingException"
    with (
        place.awsllm().converse_stream("bedrock:" + CLAUDE, "Hello") as events,
        pytest.raises(StreamError, match="slow down"),
    ):
        list(events)
    with place.awsllm().converse_stream("bedrock:" + CLAUDE, "Hello") as events:
        assert next(iter(events.text_stream)) == "one"
    assert refused(lambda: ask(place.client())) == ("ThrottlingException", 429)  # what is no stream fails at once


def test_a_stream_that_is_cut_inside_a_frame(enter: Enter) -> None:
    place = enter(cut(at="frame", after_events=2))
    seen: list[str] = []
    with pytest.raises(urllib3.exceptions.ProtocolError):
        seen.extend(next(iter(event)) for event in stream(place.client()))
    assert seen == ["messageStart", "contentBlockDelta"]
    with (
        place.awsllm().converse_stream("bedrock:" + CLAUDE, "Hello") as events,
        pytest.raises(StreamError, match="broke off"),
    ):
        list(events)


def test_a_stream_that_is_cut_after_so_many_bytes(enter: Enter) -> None:
    place = enter(cut(at=7))
    with pytest.raises(urllib3.exceptions.ProtocolError):
        list(stream(place.client()))
    with pytest.raises(urllib3.exceptions.ProtocolError):
        list(stream(place.client()))


def test_a_reply_that_is_cut(enter: Enter) -> None:
    place = enter(cut())
    assert "output" not in ask(place.client())  # botocore takes half a JSON text for no JSON, and says nothing
    for broken, size in ((ResponseStreamingError, None), (IncompleteReadError, 1_000_000)):
        body = place.client().invoke_model(modelId=TITAN, body=json.dumps({"inputText": "x"}))["body"]
        with pytest.raises(broken):
            while body.read(size):
                pass
    with pytest.raises(ServerError, match="before its answer was complete"):
        place.awsllm(policy=awsllm.Policy(max_attempts=1)).converse("bedrock:" + CLAUDE, "Hello")


def test_an_object_of_s3_that_is_cut(enter: Enter) -> None:
    place = enter(cut(at=40, operation="GetObject", times=1), stall(LONG, operation="HeadObject"))
    s3 = place.client("s3")
    s3.create_bucket(Bucket="bucket")
    with tempfile.TemporaryFile() as file:  # a fault leaves a file that is sent to whoever reads it
        file.write(b"x" * 100)
        file.seek(0)
        s3.put_object(Bucket="bucket", Key="key", Body=file)
    body = s3.get_object(Bucket="bucket", Key="key")["Body"]
    with pytest.raises(ResponseStreamingError):
        body.read()
    assert s3.get_object(Bucket="bucket", Key="key")["Body"].read() == b"x" * 100
    with pytest.raises(ReadTimeoutError):
        place.client("s3", read_timeout=SOON).head_object(Bucket="bucket", Key="key")


def test_a_byte_that_is_another(enter: Enter) -> None:
    with pytest.raises(ChecksumMismatch):
        list(stream(enter(garble(after_events=2)).client()))


def test_silence_before_the_reply(enter: Enter) -> None:
    place = enter(stall(LONG))
    with pytest.raises(ReadTimeoutError):
        ask(place.client(read_timeout=SOON))
    with pytest.raises(ReadTimeoutError):
        place.client("s3", read_timeout=SOON).list_buckets()
    with pytest.raises(ModelTimeoutError, match="deadline"):
        place.awsllm(policy=awsllm.Policy(max_attempts=1)).converse("bedrock:" + CLAUDE, "Hello", timeout=SOON)
    with pytest.raises(ModelTimeoutError, match="sent nothing"):
        place.awsllm(policy=awsllm.Policy(max_attempts=1), read_timeout=SOON).converse("bedrock:" + CLAUDE, "Hello")
    assert place.aws.requests == []


def test_a_timeout_is_tried_again(enter: Enter) -> None:
    client = enter(stall(LONG, after=1, times=1)).client(attempts=2, read_timeout=PATIENT)
    assert [ask(client)["ResponseMetadata"]["RetryAttempts"] for _ in range(2)] == [0, 1]


def test_silence_within_a_stream(enter: Enter) -> None:
    place = enter(stall(LONG, after=1, after_events=2))
    list(stream(place.client()))
    seen: list[str] = []
    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        seen.extend(next(iter(event)) for event in stream(place.client(read_timeout=PATIENT)))
    assert seen == ["messageStart", "contentBlockDelta"]


def test_a_pace(enter: Enter) -> None:
    place = enter(slow(tokens_per_second=20))
    for answer in (ask, lambda client: list(stream(client))):
        began = time.perf_counter()
        answer(place.client())
        assert time.perf_counter() - began >= 4 / 20


def test_the_asynchronous_client_sees_the_same(enter: Enter) -> None:
    place = enter(
        stall(LONG, operation="Converse", times=1),
        cut(operation="ConverseStream", times=1),
        stall(LONG, operation="ConverseStream", after=1, after_events=2, times=1),
        throttle(operation="Converse", after=1),
    )

    async def run() -> None:
        where = {"endpoint_url": place.where["endpoint_url"]} if place.where else {}
        async with awsllm.AsyncClient(
            region="us-east-1", policy=awsllm.Policy(max_attempts=1), read_timeout=SOON, **where
        ) as client:
            with pytest.raises(ModelTimeoutError):
                await client.converse("bedrock:" + CLAUDE, "Hello")
            for why in ("before its answer was complete", "sent nothing"):
                async with client.converse_stream("bedrock:" + CLAUDE, "Hello") as events:
                    with pytest.raises(StreamError, match=why):
                        [event async for event in events]
            with pytest.raises(ThrottlingError):
                await client.converse("bedrock:" + CLAUDE, "Hello")

    asyncio.run(run())


PROGRAM = """
import threading, boto3
from botocore.config import Config
from botocore.exceptions import ReadTimeoutError
from awsllm.testing import mock_aws, server
from awsllm.testing.faults import stall

MESSAGES = [{"role": "user", "content": [{"text": "Hello"}]}]

def ask(client):
    client.converse(modelId="us.amazon.nova-lite-v1:0", messages=MESSAGES)

def start(**config):
    client = boto3.client("bedrock-runtime", "us-east-1", config=Config(**config), **where)
    threading.Thread(target=ask, args=(client,), daemon=True).start()

where = {}
arrived = threading.Event()
def blocked(request):
    arrived.set()
    threading.Event().wait()  # for ever

with mock_aws(reply="x", faults=[stall(900)]):
    start(read_timeout=900)
with server(reply=blocked, faults=[stall(900, after=1)]) as aws:
    where = {"endpoint_url": aws.url, "aws_access_key_id": "a", "aws_secret_access_key": "b"}
    start(read_timeout=900)
    arrived.wait()
    start(read_timeout=900)
print("left")
"""


def test_nothing_hangs_at_exit() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout == "left\n"


# --- other vendors' clients ------------------------------------------------------------------------------------------


def test_other_vendors_routes_refuse_in_their_own_shapes() -> None:
    messages = {"model": NOVA, "max_tokens": 5, "messages": [{"role": "user", "content": "Hello"}]}
    with server(reply="x", faults=[throttle(model="amazon.nova*")]) as aws:
        http = urllib3.PoolManager()
        for path in ("/v1/chat/completions", "/v1/messages"):
            headers = {"anthropic-version": "2023-06-01"}
            reply = http.request("POST", aws.url + path, json=messages, headers=headers, retries=False)
            assert (reply.status, "Rate exceeded" in reply.json()["error"]["message"]) == (429, True)
        http.clear()


def test_curl_is_refused_in_json_though_it_says_that_it_sends_a_form() -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    incoming = Incoming("POST", f"/model/{CLAUDE}/converse", headers, b"{}")
    hampering = Faults([throttle(operation="Converse")]).hampering(incoming)
    assert hampering is not None
    reply = hampering.refusal(incoming)
    assert reply is not None
    assert (reply.status, reply.headers["x-amzn-ErrorType"]) == (429, "ThrottlingException")


# --- how often -------------------------------------------------------------------------------------------------------


def call(path: str = f"/model/{CLAUDE}/converse") -> Incoming:
    return Incoming("POST", path, {}, b"{}")


def happens(faults: Faults, calls: int) -> list[bool]:
    return [faults.hampering(call()) is not None for _ in range(calls)]


def test_chance_follows_the_seed() -> None:
    first, again = (happens(Faults([throttle(probability=0.3, seed=7)]), 200) for _ in range(2))
    assert first == again
    assert 30 < sum(first) < 90
    assert first != happens(Faults([throttle(probability=0.3, seed=8)]), 200)
    assert happens(Faults([throttle(probability=0)]), 3) == [False] * 3
    assert happens(Faults([throttle(after=1, times=2)]), 5) == [False, True, True, False, False]


def test_chance_is_counted_the_same_on_any_number_of_threads() -> None:
    faults = Faults([throttle(probability=0.5, seed=3), error("ServiceUnavailableException", after=10, times=50)])
    threads = [threading.Thread(target=happens, args=(faults, 50)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = sum(happens(Faults([throttle(probability=0.5, seed=3)]), 200))
    assert [count for _, count in faults.happened()] == [expected, 50]


def test_faults_of_one_entry_are_counted_anew_in_the_next() -> None:
    mock = mock_aws(reply="x", faults=[throttle(times=1)])
    for _ in range(2):
        with mock:
            client = new_client("bedrock-runtime", config=Config(retries={"total_max_attempts": 1}))
            assert refused(lambda: ask(client))[0] == "ThrottlingException"  # noqa: B023
            ask(client)
            mock.faults.add(throttle())
            assert refused(lambda: ask(client))[0] == "ThrottlingException"  # noqa: B023
            mock.faults.clear()
            ask(client)


@pytest.mark.parametrize(
    "made",
    [
        lambda: throttle(probability=1.5),
        lambda: throttle(after=-1),
        lambda: slow(0),
        lambda: stall(-1),
        lambda: cut(at=-1),
        lambda: decode_faults({"fault": "nothing"}),
        lambda: decode_faults({"fault": "throttle", "extra": 1}),
        lambda: decode_faults({"fault": "stall"}),
        lambda: decode_faults("throttle"),
    ],
)
def test_faults_that_mean_nothing(made: Callable[[], Any]) -> None:
    with pytest.raises(ConfigurationError, match="fault"):
        made()


def test_faults_from_json() -> None:
    assert decode_faults([{"fault": "cut", "at": 5}, {"fault": "stall", "seconds": 1, "model": "a*"}]) == [
        cut(at=5),
        stall(1, model="a*"),
    ]
    assert decode_faults({"fault": "error", "code": "X", "mid_stream": True}) == [error("X", mid_stream=True)]
