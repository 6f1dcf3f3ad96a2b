"""``mock_aws``: plain boto3, and awsllm's own client, get answers in-process; moto stays as it is."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import unittest
from collections.abc import Iterator
from typing import Any

import boto3
import moto
import pytest
from botocore.exceptions import ClientError, EventStreamError
from moto.core.botocore_stubber import BotocoreStubber

from awsllm import Client
from awsllm.errors import ConfigurationError, ThrottlingError
from awsllm.server.moto import stubber as _moto
from awsllm.testing import Broken, ScriptedBackend, local, mock_aws
from awsllm.testing.scripted import ScriptExhaustedError
from awsllm.types import (
    ContentBlockDelta,
    ConverseRequest,
    Message,
    MessageStart,
    MessageStop,
    Metadata,
    StreamEvent,
    TextDelta,
    ToolUse,
    Usage,
)
from awsllm.types.embedding import EmbedRequest

pytest_plugins = ["pytester"]

CLAUDE = "anthropic.claude-3-haiku-20240307-v1:0"
TITAN = "amazon.titan-embed-text-v2:0"
HELLO: Any = [{"role": "user", "content": [{"text": "Hello"}]}]
CHAT = json.dumps({"messages": [{"role": "user", "content": "Hello"}]})
CHAT_STREAM = json.dumps({"messages": [{"role": "user", "content": "Hello"}], "stream": True})


def bedrock() -> Any:
    return boto3.client("bedrock-runtime", "us-east-1")


def sagemaker() -> Any:
    return boto3.client("sagemaker-runtime", "us-east-1")


def ask(client: Any = None) -> str:
    reply = (client or bedrock()).converse(modelId=CLAUDE, messages=HELLO)
    return str(reply["output"]["message"]["content"][0]["text"])


def error_of(call: Any, **arguments: Any) -> dict[str, Any]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return dict(caught.value.response)


# --- Bedrock ---------------------------------------------------------------------------------------------------------


def test_converse() -> None:
    with mock_aws(reply="Hi there.") as aws:
        reply = bedrock().converse(modelId=CLAUDE, messages=HELLO, inferenceConfig={"maxTokens": 1})
    assert reply["output"]["message"] == {"role": "assistant", "content": [{"text": "Hi"}]}
    assert reply["stopReason"] == "max_tokens"
    assert reply["usage"] == {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}
    assert len(reply["ResponseMetadata"]["RequestId"]) == 36
    assert [request.model for request in aws.requests] == [CLAUDE]
    request: Any = aws.requests[0]
    assert request.messages == (Message.user("Hello"),)


def test_converse_stream_gives_every_event() -> None:
    with mock_aws(reply=ToolUse(id="t1", name="weather", input={"city": "Oslo"})):
        tools: Any = {"tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": {"type": "object"}}}}]}
        reply = bedrock().converse_stream(modelId=CLAUDE, messages=HELLO, toolConfig=tools)
        events = list(reply["stream"])
    assert [next(iter(event)) for event in events] == [
        *("messageStart", "contentBlockStart"),
        *["contentBlockDelta"] * (len(events) - 5),
        *("contentBlockStop", "messageStop", "metadata"),
    ]
    assert events[1]["contentBlockStart"]["start"] == {"toolUse": {"toolUseId": "t1", "name": "weather"}}
    pieces = [event["contentBlockDelta"]["delta"]["toolUse"]["input"] for event in events[2:-3]]
    assert json.loads("".join(pieces)) == {"city": "Oslo"}


def test_a_stream_is_computed_as_it_is_read() -> None:
    made: list[str] = []

    def events(request: ConverseRequest) -> Iterator[StreamEvent]:
        yield MessageStart("assistant")
        for word in ("one", "two", "three"):
            made.append(word)
            yield ContentBlockDelta(0, TextDelta(word))
        yield MessageStop("end_turn")
        yield Metadata(usage=Usage(1, 3, 4))

    with mock_aws(reply=events):
        stream = iter(bedrock().converse_stream(modelId=CLAUDE, messages=HELLO)["stream"])
        next(stream)
        assert made == []
        assert next(stream)["contentBlockDelta"]["delta"] == {"text": "one"}
        assert made == ["one"]


def test_closing_a_stream_stops_its_computation() -> None:
    backend = ScriptedBackend("a b c d e f")
    with mock_aws(reply=backend):
        stream = bedrock().converse_stream(modelId=CLAUDE, messages=HELLO)["stream"]
        next(iter(stream))
        stream.close()
    assert backend.cancelled.is_set()


def test_a_stream_that_is_never_read_is_stopped_too() -> None:
    backend = ScriptedBackend("a b c d e f")
    with mock_aws(reply=backend):
        bedrock().converse_stream(modelId=CLAUDE, messages=HELLO)["stream"].close()
    assert backend.cancelled.is_set()


def test_a_failure_inside_a_stream_is_an_event_stream_error() -> None:
    with mock_aws(reply=Broken("a b c", after=2, error=ThrottlingError("slow down"))):
        stream = iter(bedrock().converse_stream(modelId=CLAUDE, messages=HELLO)["stream"])
        next(stream)
        next(stream)
        with pytest.raises(EventStreamError, match="slow down") as caught:
            next(stream)
    assert caught.value.response["Error"]["Code"] == "throttlingException"


def test_errors_are_those_of_the_service() -> None:
    with mock_aws(reply=[ThrottlingError("slow down")]):
        client = boto3.client(
            "bedrock-runtime", "us-east-1", config=boto3.session.Config(retries={"total_max_attempts": 1})
        )
        with pytest.raises(client.exceptions.ThrottlingException, match="slow down"):
            client.converse(modelId=CLAUDE, messages=HELLO)
        with pytest.raises(client.exceptions.ValidationException, match="must start with a user message"):
            client.converse(modelId=CLAUDE, messages=[{"role": "assistant", "content": [{"text": "x"}]}])
        with pytest.raises(client.exceptions.ValidationException, match="model identifier is invalid"):
            client.converse(modelId="no.such-model-v9:9", messages=HELLO)


PICTURE = {"image": {"format": "png", "source": {"bytes": b"\x89PNG\r\n\x1a\n"}}}
TOOLS = {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}]}
TWICE = [*HELLO, *HELLO]
ASSISTANT_FIRST = [{"role": "assistant", "content": [{"text": "x"}]}, *HELLO]


def looks(*blocks: Any) -> list[Any]:
    return [{"role": "user", "content": [{"text": "Look."}, *blocks]}]


@pytest.mark.parametrize(
    ("model", "request_", "says"),
    [
        ("us.amazon.nova-micro-v1:0", {"messages": looks(PICTURE)}, "doesn't support the image field"),
        ("openai.gpt-oss-20b-1:0", {"messages": looks(PICTURE)}, "doesn't support the image field"),
        (
            "amazon.titan-text-express-v1",
            {"messages": HELLO, "system": [{"text": "x"}]},
            "doesn't support system messages",
        ),
        ("meta.llama2-70b-chat-v1", {"messages": HELLO, "toolConfig": TOOLS}, "doesn't support tool use"),
        (CLAUDE, {"messages": TWICE}, "must alternate"),
    ],
)
def test_what_a_model_cannot_do_is_refused_in_the_services_words(model: str, request_: Any, says: str) -> None:
    with mock_aws(reply="x"):
        client = bedrock()
        with pytest.raises(client.exceptions.ValidationException, match=says):
            client.converse(modelId=model, **request_)
        with pytest.raises(client.exceptions.ValidationException, match=says):
            client.converse_stream(modelId=model, **request_)


@pytest.mark.parametrize(
    ("model", "messages"),
    [
        ("us.amazon.nova-lite-v1:0", TWICE),
        ("amazon.titan-text-lite-v1", TWICE),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", ASSISTANT_FIRST),
        (CLAUDE, looks({"text": " "})),
        (CLAUDE, looks({"document": {"name": "a_b", "format": "txt", "source": {"bytes": b"x"}}})),
    ],
)
def test_what_the_service_was_seen_to_take_is_taken(model: str, messages: Any) -> None:
    with mock_aws(reply="x"):
        assert bedrock().converse(modelId=model, messages=messages)["stopReason"] == "end_turn"


def test_a_tool_use_comes_back_with_the_type_that_the_model_gave_it() -> None:
    use = {"toolUse": {"toolUseId": "t", "name": "f", "input": {}, "type": "tool_use"}}
    result = {"toolResult": {"toolUseId": "t", "content": [{"text": ""}]}}
    turns = [*HELLO, {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    with mock_aws(reply="x"):
        assert bedrock().converse(modelId=CLAUDE, messages=turns, toolConfig=TOOLS)["stopReason"] == "end_turn"


def test_counting_tokens() -> None:
    with mock_aws(reply="x"):
        reply = bedrock().count_tokens(modelId=CLAUDE, input={"converse": {"messages": HELLO}})
    assert reply["inputTokens"] == 1


@pytest.mark.parametrize(("model", "body", "size"), [(TITAN, {}, 1024), (TITAN, {"dimensions": 256}, 256)])
def test_titan_embeddings(model: str, body: dict[str, Any], size: int) -> None:
    with mock_aws(reply="x") as aws:
        reply = bedrock().invoke_model(modelId=model, body=json.dumps({"inputText": "one two", **body}))
        wire = json.loads(reply["body"].read())
    assert len(wire["embedding"]) == size
    assert sum(x * x for x in wire["embedding"]) == pytest.approx(1.0)
    assert wire["inputTextTokenCount"] == 2
    assert reply["contentType"] == "application/json"
    assert aws.requests == [EmbedRequest(model=model, texts=("one two",))]


# --- SageMaker -------------------------------------------------------------------------------------------------------


def test_an_endpoint_answers_in_the_openai_format() -> None:
    with mock_aws(reply="Hi.", endpoints=["mine"]):
        reply = sagemaker().invoke_endpoint(EndpointName="mine", Body=CHAT, ContentType="application/json")
        wire = json.loads(reply["Body"].read())
    assert wire["choices"][0]["message"]["content"] == "Hi."
    assert reply["InvokedProductionVariant"] == "AllTraffic"


def test_an_endpoint_streams_server_sent_events() -> None:
    with mock_aws(reply="one two", endpoints="*"):
        reply = sagemaker().invoke_endpoint_with_response_stream(EndpointName="any", Body=CHAT_STREAM)
        text = b"".join(event["PayloadPart"]["Bytes"] for event in reply["Body"]).decode()
    assert reply["ContentType"] == "text/event-stream"
    *chunks, done = text.strip().split("\n\n")
    assert done == "data: [DONE]"
    deltas = [json.loads(chunk.removeprefix("data: "))["choices"][0]["delta"] for chunk in chunks]
    assert "".join(delta.get("content", "") for delta in deltas) == "one two"


def test_an_endpoint_that_streams_without_an_event_stream() -> None:
    with mock_aws(reply="one two", endpoints="*"):
        reply = sagemaker().invoke_endpoint(EndpointName="any", Body=CHAT_STREAM)
        assert reply["ContentType"] == "text/event-stream"
        assert reply["Body"].read(6) == b"data: "
        assert reply["Body"].read().endswith(b"data: [DONE]\n\n")


def test_an_endpoint_that_moto_knows_answers() -> None:
    with mock_aws(reply="Hi."):
        control = boto3.client("sagemaker", "us-east-1")
        control.create_model(ModelName="m", ExecutionRoleArn="arn:aws:iam::123456789012:role/r")
        variant = {"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
        control.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
        control.create_endpoint(EndpointName="made", EndpointConfigName="c")
        assert sagemaker().invoke_endpoint(EndpointName="made", Body=CHAT)["Body"].read()
        elsewhere = boto3.client("sagemaker-runtime", "eu-west-1")
        assert error_of(elsewhere.invoke_endpoint, EndpointName="made", Body=CHAT)["Error"]["Code"] == "ValidationError"


def test_an_unknown_endpoint_is_refused_as_aws_refuses_it() -> None:
    with mock_aws(reply="Hi."):
        error = error_of(sagemaker().invoke_endpoint, EndpointName="nobody", Body=b"\xff")
    assert error["Error"] == {
        "Code": "ValidationError",
        "Message": "Endpoint nobody of account 123456789012 not found.",
    }


def test_what_the_container_refuses_is_a_model_error() -> None:
    with mock_aws(reply="Hi.", endpoints="*"):
        error = error_of(sagemaker().invoke_endpoint, EndpointName="any", Body=b'{"messages": []}')
    assert error["Error"]["Code"] == "ModelError"
    assert error["OriginalStatusCode"] == 400
    assert json.loads(error["OriginalMessage"])["error"]["message"] == "messages: is required"


def test_an_endpoint_embeds() -> None:
    with mock_aws(reply="x", endpoints="*"):
        reply = sagemaker().invoke_endpoint(EndpointName="any", Body=json.dumps({"input": ["a", "b"]}))
    wire = json.loads(reply["Body"].read())
    assert [len(item["embedding"]) for item in wire["data"]] == [384, 384]


# --- scripts ---------------------------------------------------------------------------------------------------------


def test_a_list_is_used_in_turn_and_ends() -> None:
    with mock_aws(reply=["one", "two"]):
        client = bedrock()
        assert [ask(client), ask(client)] == ["one", "two"]
        why = r"call 3, but the script has 2 replies \(it was a converse of .*\); a reply that stands alone"
        with pytest.raises(ScriptExhaustedError, match=why):
            ask(client)


def test_a_script_that_ends_with_an_error_says_that_clients_try_again() -> None:
    with (
        mock_aws(reply=[ThrottlingError("slow down")]),
        pytest.raises(ScriptExhaustedError, match=r"call 2, but the script has 1 reply .* give one for each try"),
    ):
        ask()


def test_a_callable_sees_the_request_and_its_assertions_surface() -> None:
    def reply(request: ConverseRequest) -> str:
        assert request.messages[-1].text == "Hello", "what the test expects"
        return request.model

    with mock_aws(reply=reply):
        assert ask() == CLAUDE
        with pytest.raises(AssertionError, match="what the test expects"):
            bedrock().converse(modelId=CLAUDE, messages=[{"role": "user", "content": [{"text": "x"}]}])


# --- forms -----------------------------------------------------------------------------------------------------------


@mock_aws(reply="from the decorator")
def test_as_a_decorator() -> None:
    assert ask() == "from the decorator"


@mock_aws(reply=["first of each run"])
def twice(expected: str) -> str:
    assert ask() == "first of each run"
    return expected


def test_a_decorated_function_keeps_its_value_and_restarts_its_script() -> None:
    assert [twice("a"), twice(expected="b")] == ["a", "b"]


def test_as_a_decorator_of_a_coroutine() -> None:
    @mock_aws(reply="awaited")
    async def run() -> str:
        await asyncio.sleep(0)
        return await asyncio.to_thread(ask)

    assert asyncio.run(run()) == "awaited"
    assert not _moto._responders


@mock_aws(reply="in a class")
class TestDecoratedClass:
    def test_method(self) -> None:
        assert ask() == "in a class"


@mock_aws(reply="in a unittest")
class TestDecoratedUnittest(unittest.TestCase):
    def setUp(self) -> None:
        boto3.client("s3", "us-east-1").create_bucket(Bucket="kept")

    def test_set_up_is_seen(self) -> None:
        self.assertEqual(ask(), "in a unittest")  # noqa: PT009
        names = [bucket["Name"] for bucket in boto3.client("s3", "us-east-1").list_buckets()["Buckets"]]
        self.assertEqual(names, ["kept"])  # noqa: PT009


def test_as_a_fixture(pytester: pytest.Pytester, request: pytest.FixtureRequest) -> None:
    pytester.makepyfile(
        """
        import boto3

        def test_it(mock_aws):
            aws = mock_aws(reply="from the fixture")
            content = [{"text": "Hello"}]
            reply = boto3.client("bedrock-runtime").converse(
                modelId="amazon.nova-lite-v1:0", messages=[{"role": "user", "content": content}]
            )
            assert reply["output"]["message"]["content"] == [{"text": "from the fixture"}]
            assert len(aws.requests) == 1

        def test_it_has_been_left():
            from awsllm.server.moto import stubber as _moto
            assert not _moto._responders
        """
    )
    loaded = request.config.pluginmanager.hasplugin("awsllm")  # by its entry point, where awsllm is installed
    pytester.runpytest_inprocess(*([] if loaded else ["-p", "awsllm.testing.plugin"])).assert_outcomes(passed=2)


def test_the_fixture_keeps_a_test_that_does_not_call_it_off_aws(
    pytester: pytest.Pytester, request: pytest.FixtureRequest
) -> None:
    pytester.makepyfile(
        """
        import boto3

        def test_not_called(mock_aws):
            assert boto3.client("s3").list_buckets()["Buckets"] == []

        def test_called_later_and_twice(mock_aws):
            mock_aws(reply="one", config={"batch": {"use_docker": False}})
            with mock_aws(reply="two") as aws:
                boto3.client("bedrock-runtime").converse(modelId="amazon.nova-lite-v1:0", messages=[
                    {"role": "user", "content": [{"text": "Hello"}]}])
            assert len(aws.requests) == 1

        def test_all_have_been_left():
            from awsllm.server.moto import stubber as _moto
            from moto.core.config import default_user_config
            from moto.core.models import MockAWS
            assert not _moto._responders
            assert MockAWS._nested_count == 0
            assert default_user_config["batch"] == {"use_docker": True}
        """
    )
    loaded = request.config.pluginmanager.hasplugin("awsllm")
    pytester.runpytest_inprocess(*([] if loaded else ["-p", "awsllm.testing.plugin"])).assert_outcomes(passed=3)


def test_the_plugin_imports_next_to_nothing() -> None:
    code = (
        "import sys, awsllm.testing.plugin; print({'moto', 'boto3', 'botocore', 'torch', 'msgspec'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- what is left as it was ------------------------------------------------------------------------------------------


def test_the_rest_is_motos_own() -> None:
    with mock_aws(reply="x"):
        s3 = boto3.client("s3", "us-east-1")
        s3.create_bucket(Bucket="bucket")
        assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["bucket"]
        assert os.environ["AWS_ACCESS_KEY_ID"] == "FOOBARKEY"
        with pytest.raises(ClientError, match="Endpoint any of account 123456789012 not found"):
            sagemaker().invoke_endpoint_async(EndpointName="any", InputLocation="s3://b/k")
    with mock_aws(reply="x"):
        assert boto3.client("s3", "us-east-1").list_buckets()["Buckets"] == []


def test_it_undoes_itself() -> None:
    before, keys = BotocoreStubber.__call__, os.environ.get("AWS_ACCESS_KEY_ID")
    with pytest.raises(ZeroDivisionError), mock_aws(reply="x"):
        assert BotocoreStubber.__call__ is not before
        raise ZeroDivisionError
    assert BotocoreStubber.__call__ is before
    assert os.environ.get("AWS_ACCESS_KEY_ID") == keys
    with moto.mock_aws():
        assert bedrock().invoke_model(modelId=TITAN, body="{}")["body"].read() == b"{}"


def test_nested_mocks_answer_from_within() -> None:
    with mock_aws(reply="outer") as outer:
        client = bedrock()
        with mock_aws(reply="inner") as inner, moto.mock_aws():
            assert ask(client) == "inner"
        assert ask(client) == "outer"
    assert (len(outer.requests), len(inner.requests)) == (1, 1)


def test_a_client_made_before_is_answered() -> None:
    client = boto3.client("bedrock-runtime", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    with mock_aws(reply="x"):
        assert ask(client) == "x"


def test_threads_share_a_mock() -> None:
    barrier, answers = threading.Barrier(8), []

    def run(client: Any) -> None:
        barrier.wait()
        answers.append(ask(client))

    with mock_aws(reply="x") as aws:
        client = bedrock()
        threads = [threading.Thread(target=run, args=(client,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == ["x"] * 8
    assert len(aws.requests) == 8


def test_motos_passthrough_is_honoured() -> None:
    """Such a call goes to the network; what answers it there is another handler of the same event."""
    with mock_aws(reply="x", config={"core": {"passthrough": {"services": ["bedrockruntime"]}}}):
        client = bedrock()

        class Sent(Exception):
            pass

        def send(**kwargs: Any) -> None:
            raise Sent

        client.meta.events.register_last("before-send", send)
        with pytest.raises(Sent):
            ask(client)


@pytest.mark.parametrize("name", ["enabled", "__call__"])
def test_a_moto_that_has_changed_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    if name == "enabled":
        monkeypatch.setattr("moto.core.models.botocore_stubber.enabled", None)
    else:
        monkeypatch.setattr(_moto, "_original", lambda other, signature: None)
    with pytest.raises(ConfigurationError, match=rf"moto {moto.__version__} is not as .*BotocoreStubber.{name}"):
        mock_aws(reply="x").start()


def test_a_mock_needs_a_local_model_or_a_reply() -> None:
    with pytest.raises(ConfigurationError, match="Or give it a reply"):
        mock_aws(model="bedrock:" + CLAUDE)


# --- awsllm's own client ---------------------------------------------------------------------------------------------


def test_awsllms_client_goes_the_same_way() -> None:
    import awsllm

    with mock_aws(reply="Hi there.", endpoints=["mine"]), awsllm.Client(region="us-east-1") as client:
        assert client.converse("bedrock:" + CLAUDE, "Hello").text == "Hi there."
        with client.converse_stream("bedrock:" + CLAUDE, "Hello") as stream:
            assert list(stream.text_stream) == ["Hi", " there."]
        assert len(client.embed("bedrock:" + TITAN, ["a", "b"]).vectors) == 2
        assert client.converse("sagemaker:mine", "Hello").text == "Hi there."


def test_awsllms_asynchronous_client_too() -> None:
    import awsllm

    async def run() -> list[str]:
        async with awsllm.AsyncClient(region="us-east-1") as client:
            assert (await client.converse("bedrock:" + CLAUDE, "Hello")).text == "Hi there."
            async with client.converse_stream("bedrock:" + CLAUDE, "Hello") as stream:
                return [text async for text in stream.text_stream]

    with mock_aws(reply="Hi there."):
        assert asyncio.run(run()) == ["Hi", " there."]


def test_local_models_answer_from_the_script_too() -> None:
    """Without being there at all: no model of this name is known."""
    import awsllm

    call = awsllm.ToolUse("1", "f", {})
    with awsllm.Client() as client, mock_aws(reply=["Hi there.", [call], "Bye now."]) as aws:
        assert client.converse("local:none-such", "Hello").text == "Hi there."
        assert client.converse(
            "local:none-such", "Hello", tools=[awsllm.ToolSpec("f", {"type": "object"})]
        ).tool_uses == (call,)
        with client.converse_stream("local:none-such", "Hello") as stream:
            assert list(stream.text_stream) == ["Bye", " now."]
        assert len(client.embed("local:none-such", "a").vectors) == 1
        assert [request.model for request in aws.requests] == ["none-such"] * 4
        with pytest.raises(AssertionError, match="script"):
            client.converse("local:none-such", "Hello")
    with pytest.raises(awsllm.ModelNotFoundError):
        client.converse("local:none-such", "Hello")


def test_local_models_of_the_asynchronous_client_too() -> None:
    import awsllm

    async def run() -> list[str]:
        async with awsllm.AsyncClient() as client:
            assert (await client.converse("local:none-such", "Hello")).text == "Hi there."
            assert len((await client.embed("local:none-such", "a")).vectors) == 1
            async with client.converse_stream("local:none-such", "Hello") as stream:
                return [text async for text in stream.text_stream]

    with mock_aws(reply="Outer."), mock_aws(reply="Hi there."):
        assert asyncio.run(run()) == ["Hi", " there."]


def test_a_list_in_a_script_is_one_turn() -> None:
    import awsllm

    def double(n: int) -> int:
        return 2 * n

    calls = [awsllm.ToolUse(str(n), "double", {"n": n}) for n in (1, 2)]
    for model in ("bedrock:" + CLAUDE, "local:none-such"):
        with mock_aws(reply=[["Both.", *calls], "Done."]) as aws:
            reply = awsllm.Client(region="us-east-1").converse(model, "Go", tools=[double])
        assert reply.messages[0] == awsllm.Message.assistant("Both.", *calls)
        assert [result.content for result in reply.messages[1].content] == [
            (awsllm.Json({"result": 2}),),
            (awsllm.Json({"result": 4}),),
        ]
        assert len(aws.requests) == 2


LEAN = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

MISSING = {"torch", "numpy", "safetensors", "tokenizers", "jinja2", "llguidance", "granian", "typer", "rich"}
sys.meta_path.insert(0, Missing())

import awsllm, boto3
from awsllm.testing import mock_aws

turns = [{"role": "user", "content": [{"text": "Hello"}]}]

def ask():
    return boto3.client("bedrock-runtime", "us-east-1").converse(modelId="amazon.nova-lite-v1:0", messages=turns)

with mock_aws(reply="Hi.", endpoints="*"):
    assert ask()["output"]["message"]["content"] == [{"text": "Hi."}]
    client = awsllm.Client(region="us-east-1")
    for model in ("bedrock:amazon.nova-lite-v1:0", "sagemaker:mine", "local:smollm2-135m-instruct"):
        assert client.converse(model, "Hello").text == "Hi."
with mock_aws():
    for call in (ask, lambda: client.converse("bedrock:amazon.nova-lite-v1:0", "Hello")):
        try:
            call()
        except awsllm.ConfigurationError as error:
            assert "pip install 'awsllm[local]'" in str(error), error
            assert "mock_aws(reply=...)" in str(error.__notes__), error.__notes__
        else:
            raise SystemExit("nothing says what is missing")
"""


def test_a_script_answers_without_what_local_models_need() -> None:
    environment = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    subprocess.run([sys.executable, "-c", LEAN], check=True, env={**os.environ, **environment})


def test_a_generator_is_not_decorated() -> None:
    def fixture() -> Iterator[None]:
        yield

    with pytest.raises(TypeError, match="inside it"):
        mock_aws(fixture)


@pytest.mark.parametrize(
    ("reply", "hint"),
    [
        ([{"txt": "x"}], "none of Converse's content blocks"),
        ({"size": 1}, "none of Converse's content blocks.*JSON that the model shall write is a str"),
        (None, "give a str"),
    ],
)
def test_a_mistake_of_the_script_is_no_answer_of_the_service(reply: Any, hint: str) -> None:
    """A program that handles ClientError would hide it."""
    with mock_aws(reply=lambda request: reply) as aws:
        bedrock = boto3.client("bedrock-runtime", region_name="us-east-1")
        with pytest.raises(TypeError, match=f"is not a scripted reply.*{hint}"):
            bedrock.converse(modelId="us.amazon.nova-lite-v1:0", messages=HELLO)
    assert len(aws.requests) == 1


def test_blocks_of_a_script_may_have_boto3s_shape() -> None:
    content: list[dict[str, Any]] = [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
        {"text": "I look."},
        {"toolUse": {"toolUseId": "t", "name": "look", "input": {"at": "it"}}},
    ]
    with mock_aws(reply=[content, (*content, "and go on")]):
        bedrock = boto3.client("bedrock-runtime", region_name="us-east-1")
        first, second = (
            bedrock.converse(modelId="us.amazon.nova-lite-v1:0", messages=HELLO)["output"]["message"]["content"]
            for _ in range(2)
        )
    assert first == content
    assert second == [*content, {"text": "and go on"}]


@pytest.mark.parametrize(("option", "hint"), [("replies", "did you mean 'reply'"), ("x", "there are clock, config")])
def test_an_option_that_there_is_not_is_refused_where_it_is_written(option: str, hint: str) -> None:
    with pytest.raises(TypeError, match=f"mock_aws takes no '{option}'; {hint}"):
        mock_aws(**{option: "x"})  # type: ignore[call-overload]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["bedrock:us.amazon.nova-lite-v1:0", "local:smollm2-135m-instruct"])
def test_a_real_model_beside_a_script_answers_for_itself(model: str) -> None:
    with mock_aws(reply={"anthropic.*": "scripted", "*": local()}), Client(region="us-east-1") as client:
        reply = client.converse(model, "Hello", max_tokens=4)
        with client.converse_stream(model, "Hello", max_tokens=4, temperature=0) as stream:
            streamed = stream.response
        assert client.converse("bedrock:" + CLAUDE, "Hello").text == "scripted"
    assert reply.usage.output_tokens == streamed.usage.output_tokens == 4
