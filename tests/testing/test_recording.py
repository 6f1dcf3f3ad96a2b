"""Traffic with a server on this machine is recorded, read, compared, and answered again without it."""

import asyncio
import functools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

import awsllm
from awsllm.errors import ConfigurationError, ThrottlingError
from awsllm.server import running
from awsllm.testing import (
    AsyncScriptedBackend,
    MissingRecordingError,
    mock_aws,
    record,
    recording,
    replay,
)
from tests.support.loopback import Received, Response, serving

MODEL = "amazon.nova-lite-v1:0"
NOWHERE = "http://127.0.0.1:9"  # nothing listens there
ONCE = Config(retries={"total_max_attempts": 1})


@pytest.fixture(scope="module")
def bedrock() -> Iterator[str]:
    """A server that speaks Bedrock and says how often it was asked."""
    asked = iter(range(1, 1000))
    with running(AsyncScriptedBackend(lambda request: f"answer {next(asked)}")) as url:
        yield url


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAJ7TUJ6FQTSTLXYZQ")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "u9Zk0wq7VbJx3m5Nn8sRr2Tt6Yy4Ee1Ww0Qq9Pp")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@functools.cache  # a client takes longer to make than a test to run
def runtime(url: str = NOWHERE, region: str = "us-east-1") -> Any:
    return boto3.client("bedrock-runtime", region, endpoint_url=url, config=ONCE)


def ask(client: Any, text: str = "Hello", **options: Any) -> str:
    messages = [{"role": "user", "content": [{"text": text}]}]
    response = client.converse(modelId=MODEL, messages=messages, **options)
    return str(response["output"]["message"]["content"][0]["text"])


def stream(client: Any, text: str = "Hello") -> list[Any]:
    messages = [{"role": "user", "content": [{"text": text}]}]
    return list(client.converse_stream(modelId=MODEL, messages=messages)["stream"])


# --- every client ----------------------------------------------------------------------------------------------------


def test_boto3(bedrock: str, tmp_path: Path) -> None:
    with record(tmp_path / "a.yaml"):
        answers = [ask(runtime(bedrock)), stream(runtime(bedrock))]
    with replay(tmp_path / "a.yaml", strict=True):
        assert [ask(runtime()), stream(runtime())] == answers


def test_a_client_that_exists_already(bedrock: str, tmp_path: Path) -> None:
    client = runtime(bedrock)
    before = ask(client)
    with record(tmp_path / "a.yaml"):
        recorded = ask(client)
    with replay(tmp_path / "a.yaml"):
        assert ask(client) == recorded != before
    assert ask(client) not in (recorded, before)  # the server is asked again


def test_awsllm(bedrock: str, tmp_path: Path) -> None:
    def calls(url: str) -> list[Any]:
        with awsllm.Client(region="us-east-1", endpoint_url=url) as client:
            return [client.converse(f"bedrock:{MODEL}", "Hi"), list(client.converse_stream(f"bedrock:{MODEL}", "Hi"))]

    with record(tmp_path / "a.yaml"):
        answers = calls(bedrock)
    with replay(tmp_path / "a.yaml", strict=True):
        assert calls(NOWHERE) == answers


def test_awsllm_async(bedrock: str, tmp_path: Path) -> None:
    async def calls(url: str) -> list[Any]:
        async with awsllm.AsyncClient(region="us-east-1", endpoint_url=url) as client:
            events = [event async for event in client.converse_stream(f"bedrock:{MODEL}", "Hi")]
            return [await client.converse(f"bedrock:{MODEL}", "Hi"), events]

    with record(tmp_path / "a.yaml"):
        answers = asyncio.run(calls(bedrock))
    with replay(tmp_path / "a.yaml", strict=True):
        assert asyncio.run(calls(NOWHERE)) == answers


def test_what_one_client_recorded_answers_the_others(bedrock: str, tmp_path: Path) -> None:
    """The same request by another client has other bytes, headers and a path that is encoded otherwise."""
    with record(tmp_path / "a.yaml"):
        answer = ask(runtime(bedrock), "Hi")
    with replay(tmp_path / "a.yaml", repeats=True):
        client = awsllm.Client(region="us-east-1", endpoint_url=NOWHERE)
        assert client.converse(f"bedrock:{MODEL}", "Hi").text == answer

        async def call() -> str:
            async with awsllm.AsyncClient(region="us-east-1", endpoint_url=NOWHERE) as client:
                return (await client.converse(f"bedrock:{MODEL}", "Hi")).text

        assert asyncio.run(call()) == answer


def test_replaying_needs_no_keys_and_no_region(bedrock: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with record(tmp_path / "a.yaml"):
        answer = ask(runtime(bedrock))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    with replay(tmp_path / "a.yaml", repeats=True):
        assert ask(boto3.Session().client("bedrock-runtime")) == answer
        assert awsllm.Client().converse(f"bedrock:{MODEL}", "Hello").text == answer
    assert not os.environ.keys() & {"AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"}


def test_errors_come_back_as_they_came(tmp_path: Path) -> None:
    def refuse(request: Received) -> Response:
        body = b'{"message":"Too many tokens, please wait before trying again."}'
        return Response(body, 429, {"x-amzn-ErrorType": "ThrottlingException", "Content-Type": "application/json"})

    policy = awsllm.Policy(max_attempts=1)
    with serving(refuse) as url, record(tmp_path / "a.yaml"), pytest.raises(ClientError):
        ask(runtime(url))
    with replay(tmp_path / "a.yaml", repeats=True):
        with pytest.raises(ClientError, match="Too many tokens") as caught:
            ask(runtime())
        assert caught.value.response["Error"]["Code"] == "ThrottlingException"
        with pytest.raises(ThrottlingError, match="Too many tokens"):
            awsllm.Client(region="us-east-1", policy=policy).converse(f"bedrock:{MODEL}", "Hello")


def test_other_services(tmp_path: Path) -> None:
    """JSON's, the query and S3's protocols, answered by a mock and then from the file: uploads in chunks, downloads in
    pieces, headers that are an object's."""
    data = bytes(range(256)) * 600

    def calls() -> list[Any]:
        s3, tables = boto3.client("s3"), boto3.client("dynamodb")
        s3.create_bucket(Bucket="shelf")
        with open(tmp_path / "book", "rb") as book:
            s3.put_object(Bucket="shelf", Key="a/book", Body=book)
        s3.put_object(Bucket="shelf", Key="note", Body=b'{ "spaced":  1 }')
        tables.create_table(
            TableName="t",
            KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        return [
            s3.get_object(Bucket="shelf", Key="a/book")["Body"].read(),
            b"".join(s3.get_object(Bucket="shelf", Key="a/book")["Body"].iter_chunks(1000)),
            s3.get_object(Bucket="shelf", Key="note")["Body"].read(),
            s3.head_object(Bucket="shelf", Key="a/book")["ContentLength"],
            [each["Key"] for each in s3.list_objects_v2(Bucket="shelf")["Contents"]],
            boto3.client("sts").get_caller_identity()["Account"],
            tables.describe_table(TableName="t")["Table"]["TableStatus"],
        ]

    (tmp_path / "book").write_bytes(data)
    with mock_aws(reply="unused"), record(tmp_path / "a.yaml") as recorded:
        answers = calls()
    assert answers[0] == data
    assert '{ "spaced":  1 }' in (tmp_path / "a.yaml").read_text()
    operations = [exchange.request.operation for exchange in recorded.exchanges]
    assert operations[:4] == ["CreateBucket", "PutObject", "PutObject", "CreateTable"]
    with replay(tmp_path / "a.yaml", strict=True):
        assert calls() == answers


# --- what is compared ------------------------------------------------------------------------------------------------


def test_equal_requests_are_answered_in_their_order(bedrock: str, tmp_path: Path) -> None:
    with record(tmp_path / "a.yaml"):
        first, other, second = ask(runtime(bedrock)), ask(runtime(bedrock), "Other"), ask(runtime(bedrock))
    with replay(tmp_path / "a.yaml") as played:
        assert [ask(runtime(), "Other"), ask(runtime()), ask(runtime())] == [other, first, second]
        with pytest.raises(MissingRecordingError, match=r"recorded 2 times, and was asked for once more"):
            ask(runtime())
        assert played.unused == []
    with replay(tmp_path / "a.yaml", repeats=True):
        assert [ask(runtime()) for _ in range(4)] == [first, second, second, second]


def test_bodies_are_compared_as_values(tmp_path: Path) -> None:
    with empty() as url, record(tmp_path / "a.yaml"):
        invoke(url, b'{"a": 1, "b": [1.0, {"c": "d"}]}')
    with replay(tmp_path / "a.yaml"):
        invoke(NOWHERE, b'{"b":[1,{"c":"\\u0064"}],"a":1}')
    with replay(tmp_path / "a.yaml"), pytest.raises(MissingRecordingError, match=r"body\.a: recorded 1, sent true"):
        invoke(NOWHERE, b'{"a": true, "b": [1, {"c": "d"}]}')


def empty() -> Any:
    """A service that answers everything with an empty object."""
    return serving(lambda request: Response(b"{}", headers={"Content-Type": "application/json"}))


def invoke(url: str, body: bytes, **options: Any) -> Any:
    return runtime(url).invoke_model(modelId=MODEL, body=body, **options)["body"].read()


def test_members_in_headers_are_compared(tmp_path: Path) -> None:
    with empty() as url, record(tmp_path / "a.yaml"):
        invoke(url, b"{}", guardrailIdentifier="g1", guardrailVersion="1")
    with replay(tmp_path / "a.yaml"):
        with pytest.raises(MissingRecordingError, match=r"headers.x-amzn-bedrock-guardrailidentifier: recorded 'g1'"):
            invoke(NOWHERE, b"{}", guardrailIdentifier="g2", guardrailVersion="1")
        invoke(NOWHERE, b"{}", guardrailIdentifier="g1", guardrailVersion="1", accept="*/*")


def test_what_a_client_makes_up_is_not_compared(tmp_path: Path) -> None:
    def create() -> Any:
        return boto3.client("secretsmanager").create_secret(Name="n")["Name"]

    with mock_aws(reply="unused"), record(tmp_path / "a.yaml") as recorded:
        create()
    assert "ClientRequestToken" in recorded.exchanges[0].request.body  # which botocore adds
    with replay(tmp_path / "a.yaml"):
        assert create() == "n"


@pytest.mark.parametrize("ignore", ["inferenceConfig", "inferenceConfig.maxTokens", "max_tokens"])
def test_more_can_be_ignored(ignore: str, bedrock: str, tmp_path: Path) -> None:
    with record(tmp_path / "a.yaml"):
        ask(runtime(bedrock), inferenceConfig={"maxTokens": 5})
    with replay(tmp_path / "a.yaml", ignore=[ignore]):
        ask(runtime(), inferenceConfig={"maxTokens": 6})


def test_paths_of_lists_can_be_ignored(bedrock: str, tmp_path: Path) -> None:
    with record(tmp_path / "a.yaml"):
        ask(runtime(bedrock), "today is Monday")
    with replay(tmp_path / "a.yaml", ignore=["messages[*].content[*].text"]):
        ask(runtime(), "today is Tuesday")
        with pytest.raises(MissingRecordingError):
            ask(runtime(), "today is Tuesday", system=[{"text": "but"}])


def test_a_missing_recording_says_what_differs(bedrock: str, tmp_path: Path) -> None:
    with record(tmp_path / "a.yaml"):
        ask(runtime(bedrock), "One", inferenceConfig={"maxTokens": 5})
        ask(runtime(bedrock), "Two")
    with replay(tmp_path / "a.yaml"), pytest.raises(MissingRecordingError) as caught:
        ask(runtime(), "One", inferenceConfig={"maxTokens": 6, "temperature": 0.5})
    assert str(caught.value) == (
        f"{tmp_path / 'a.yaml'} has no answer to this request of bedrock-runtime Converse.\n"
        "The nearest, exchange 1, differs in\n"
        "  body.inferenceConfig.maxTokens: recorded 5, sent 6\n"
        "  body.inferenceConfig.temperature: recorded nothing, sent 0.5\n"
        'To record what is missing: mode="new" (pytest --awsllm-record=new), or "all" for everything anew.'
    )


def test_what_differs_has_no_secrets_and_is_short(bedrock: str, tmp_path: Path) -> None:
    with record(tmp_path / "a.yaml"):
        ask(runtime(bedrock), "One")
    with replay(tmp_path / "a.yaml"), pytest.raises(MissingRecordingError) as caught:
        ask(runtime(), "for arn:aws:iam::999988887777:role/x, password=hunter2hunter2 " + "long " * 1000)
    text = str(caught.value)
    assert "123456789012" in text
    assert "999988887777" not in text
    assert "hunter2" not in text
    assert len(text) < 600


def test_a_missing_recording_is_an_error_of_the_test(bedrock: str, tmp_path: Path) -> None:
    """No policy takes it for a fault of the service: nothing is tried again, no other model is asked."""
    with record(tmp_path / "a.yaml"):
        ask(runtime(bedrock))
    with replay(tmp_path / "a.yaml"):
        with pytest.raises(MissingRecordingError, match=r"there is bedrock-runtime Converse|Nothing of its kind"):
            stream(boto3.client("bedrock-runtime", endpoint_url=NOWHERE))  # with botocore's retries
        with pytest.raises(MissingRecordingError):
            awsllm.Client(region="us-east-1").converse(f"bedrock:{MODEL}", "Other")


def test_the_same_region_comes_first(bedrock: str, tmp_path: Path) -> None:
    with record(tmp_path / "a.yaml"):
        east, west = ask(runtime(bedrock)), ask(runtime(bedrock, "us-west-2"))
    with replay(tmp_path / "a.yaml"):
        assert [ask(runtime(region="us-west-2")), ask(runtime())] == [west, east]
    with replay(tmp_path / "a.yaml"):
        assert [ask(runtime(region="eu-west-1")), ask(runtime(region="eu-west-1"))] == [east, west]


# --- modes -----------------------------------------------------------------------------------------------------------


def test_once(bedrock: str, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.yaml"
    with recording(path):
        answer = ask(runtime(bedrock))
    with recording(path):
        assert ask(runtime(bedrock)) == answer
        with pytest.raises(MissingRecordingError):
            ask(runtime(bedrock), "Other")


def test_new(bedrock: str, tmp_path: Path) -> None:
    with recording(tmp_path / "a.yaml"):
        first = ask(runtime(bedrock))
    before = (tmp_path / "a.yaml").read_text()
    with recording(tmp_path / "a.yaml", mode="new"):
        assert ask(runtime(bedrock)) == first
        second = ask(runtime(bedrock), "Other")
    assert (tmp_path / "a.yaml").read_text().startswith(before)  # what was there is as it was
    with replay(tmp_path / "a.yaml", strict=True):
        assert [ask(runtime()), ask(runtime(), "Other")] == [first, second]


def test_all(bedrock: str, tmp_path: Path) -> None:
    with recording(tmp_path / "a.yaml"):
        ask(runtime(bedrock), "Old")
    with recording(tmp_path / "a.yaml", mode="all"):
        ask(runtime(bedrock), "New")
    with replay(tmp_path / "a.yaml", strict=True):
        ask(runtime(), "New")


def test_none(tmp_path: Path) -> None:
    with replay(tmp_path / "a.yaml"), pytest.raises(MissingRecordingError, match="There is no such file"):
        ask(runtime())
    assert not (tmp_path / "a.yaml").exists()


def test_a_mode_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there are once, new, all, none"):
        recording(tmp_path / "a.yaml", mode="new_episodes")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="ignored"):
        recording(tmp_path / "a.yaml", ignored=())  # type: ignore[call-arg]


def test_what_was_not_used_is_told(bedrock: str, tmp_path: Path) -> None:
    with record(tmp_path / "a.yaml"):
        ask(runtime(bedrock), "Used")
        ask(runtime(bedrock), "Unused")
    unused = pytest.raises(AssertionError, match=r"1 of the exchanges in .* were not used")
    with unused, replay(tmp_path / "a.yaml", strict=True) as played:
        ask(runtime(), "Used")
        assert [each.request.body["messages"][0]["content"][0]["text"] for each in played.unused] == ["Unused"]
    with pytest.raises(KeyError), replay(tmp_path / "a.yaml", strict=True):  # the test is told what went wrong inside
        raise KeyError


def test_a_block_that_fails_keeps_what_was_paid_for(bedrock: str, tmp_path: Path) -> None:
    with pytest.raises(KeyError), record(tmp_path / "a.yaml"):
        answer = ask(runtime(bedrock))
        raise KeyError
    with replay(tmp_path / "a.yaml"):
        assert ask(runtime()) == answer


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_a_block_that_is_interrupted_keeps_the_old_file(
    interruption: type[BaseException], bedrock: str, tmp_path: Path
) -> None:
    with record(tmp_path / "a.yaml"):
        ask(runtime(bedrock))
    before = (tmp_path / "a.yaml").read_bytes()
    with pytest.raises(interruption), record(tmp_path / "a.yaml"):
        ask(runtime(bedrock), "Other")
        raise interruption
    with record(tmp_path / "a.yaml") as recorded:
        ask(runtime(bedrock), "Other")
        recorded.discard()
    assert (tmp_path / "a.yaml").read_bytes() == before


def test_a_request_without_a_response_is_not_recorded(tmp_path: Path) -> None:
    with recording(tmp_path / "a.yaml") as recorded, pytest.raises(Exception, match="Could not connect"):
        ask(runtime())
    assert recorded.exchanges == []
    assert not (tmp_path / "a.yaml").exists()  # which would keep the next run from recording


def test_a_test_may_go_to_another_folder(bedrock: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with recording("a.yaml"):
        ask(runtime(bedrock))
        monkeypatch.chdir(tmp_path / "elsewhere")
    assert (tmp_path / "a.yaml").exists()


# --- as a decorator, and with others ---------------------------------------------------------------------------------


def test_functions_are_decorated(bedrock: str, tmp_path: Path) -> None:
    @recording(tmp_path / "sync.yaml")
    def once(url: str) -> str:
        return ask(runtime(url))

    @recording(tmp_path / "async.yaml")
    async def later(url: str) -> str:
        async with awsllm.AsyncClient(region="us-east-1", endpoint_url=url) as client:
            return (await client.converse(f"bedrock:{MODEL}", "Hi")).text

    assert once(bedrock) == once(NOWHERE)
    assert asyncio.run(later(bedrock)) == asyncio.run(later(NOWHERE))
    assert once.__name__ == "once"
    with pytest.raises(TypeError, match="decorates functions"):
        recording(tmp_path / "a.yaml")(int)


def test_a_recording_within_another(bedrock: str, tmp_path: Path) -> None:
    with record(tmp_path / "outer.yaml") as outer:
        with record(tmp_path / "inner.yaml"):
            answer = ask(runtime(bedrock))
        with replay(tmp_path / "inner.yaml"):
            assert ask(runtime()) == answer
    assert len(outer.exchanges) == 1


def test_a_recording_is_entered_once(tmp_path: Path) -> None:
    with record(tmp_path / "a.yaml") as recorded, pytest.raises(RuntimeError, match="entered already"):
        recorded.__enter__()


def test_within_a_mock(tmp_path: Path) -> None:
    """The mock is what is recorded; a replay answers before it does, and what the replay is not for is the mock's."""
    with mock_aws(reply="mocked"), record(tmp_path / "a.yaml"):
        assert ask(boto3.client("bedrock-runtime")) == "mocked"
        assert awsllm.Client().converse(f"bedrock:{MODEL}", "awsllm").text == "mocked"
    with mock_aws(reply="another") as aws:
        with replay(tmp_path / "a.yaml", only=["bedrock-runtime"], strict=True):
            assert ask(boto3.client("bedrock-runtime")) == "mocked"
            assert awsllm.Client().converse(f"bedrock:{MODEL}", "awsllm").text == "mocked"
            assert boto3.client("sts").get_caller_identity()["Account"]
        assert aws.requests == []
        assert ask(boto3.client("bedrock-runtime")) == "another"


def test_only_some_services(bedrock: str, tmp_path: Path) -> None:
    with record(tmp_path / "a.yaml", only="sagemaker-runtime") as recorded:
        ask(runtime(bedrock))
    assert recorded.exchanges == []
    with pytest.raises(ConfigurationError, match="did you mean 'bedrock-runtime'"):  # or it would be sent to AWS
        replay(tmp_path / "a.yaml", only="bedrock_runtime")


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    from botocore.endpoint import Endpoint

    from awsllm.aws import duplex
    from awsllm.aws.aio import AsyncHttpTransport
    from awsllm.aws.http import HttpTransport

    def places() -> list[Any]:
        return [Endpoint._do_get_response, HttpTransport._open, AsyncHttpTransport._open, *duplex.STAND_INS]

    before, variables = places(), dict(os.environ)
    with replay(tmp_path / "a.yaml"):
        assert places() != before
    assert places() == before
    assert dict(os.environ) == variables


def test_many_threads(bedrock: str, tmp_path: Path) -> None:
    client = runtime(bedrock)
    texts = [f"question {n}" for n in range(24)]
    with record(tmp_path / "a.yaml"):
        recorded = in_threads(lambda text: (ask(client, text), stream(client, text)), texts)
    with replay(tmp_path / "a.yaml", strict=True):
        quiet = runtime()
        assert in_threads(lambda text: (ask(quiet, text), stream(quiet, text)), texts) == recorded


def in_threads(call: Callable[[str], Any], texts: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    threads = [threading.Thread(target=lambda text=text: found.update({text: call(text)})) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_speech_is_not_begun_where_nothing_may_be_sent(tmp_path: Path) -> None:
    async def talk() -> None:
        async with (
            awsllm.AsyncClient(region="us-east-1") as client,
            client.speech("bedrock:amazon.nova-sonic-v1:0"),
        ):
            pass

    with replay(tmp_path / "a.yaml"), pytest.raises(MissingRecordingError, match="no spoken conversation"):
        asyncio.run(talk())
