"""``server``: the same answers on a port, for programs that cannot be intercepted; unplanned calls are found."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import EventStreamError

from awsllm.errors import ConfigurationError, ThrottlingError
from awsllm.server.http.app import _HttpExchange
from awsllm.server.moto import stubber
from awsllm.testing import AsyncScriptedBackend, Broken, ScriptedBackend, local, mock_aws, server
from awsllm.testing.scripted import ScriptExhaustedError
from awsllm.types import ConverseRequest, StreamEvent, ToolUse
from tests.support.sessions import new_client
from tests.testing.test_mock import CHAT, CLAUDE, HELLO, TITAN, ask, error_of

pytest_plugins = ["pytester"]

NOVA = "us.amazon.nova-lite-v1:0"


_clients: list[Any] = []


@pytest.fixture(autouse=True)
def closed_clients() -> Iterator[None]:
    yield
    while _clients:
        _clients.pop().close()


def client(aws: Any, service: str = "bedrock-runtime", **options: Any) -> Any:
    secret = aws.env["AWS_SECRET_ACCESS_KEY"]
    made = new_client(service, aws.env["AWS_REGION"], secret=secret, endpoint_url=aws.url, **options)
    _clients.append(made)
    return made


def said(stream: Any) -> str:
    deltas = [event["contentBlockDelta"]["delta"] for event in stream if "contentBlockDelta" in event]
    return "".join(delta.get("text", "") for delta in deltas)


def test_what_it_was_asked_can_be_looked_at() -> None:
    with server(reply=["Hi.", ToolUse("t1", "f", {"a": 1}), "one two"]) as aws:
        runtime = client(aws)
        assert ask(runtime) == "Hi."
        tools: Any = {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}]}
        reply = runtime.converse(modelId=NOVA, messages=HELLO, toolConfig=tools)
        assert reply["output"]["message"]["content"][0]["toolUse"]["input"] == {"a": 1}
        assert said(runtime.converse_stream(modelId=CLAUDE, messages=HELLO)["stream"]) == "one two"
        assert [request.model for request in aws.requests] == [CLAUDE, NOVA, CLAUDE]
        aws.assert_all_used()
    assert len(aws.requests) == 3
    with pytest.raises(RuntimeError, match="inside"):
        _ = aws.url


def test_the_account_is_there_and_its_states_move_by_the_tests_clock() -> None:
    now = [1000.0]
    with server(reply="Hi.", transitions={"endpoint": 60.0}, clock=lambda: now[0]) as aws:
        control = client(aws, "sagemaker")
        control.create_model(ModelName="m", ExecutionRoleArn="arn:aws:iam::123456789012:role/r")
        variant = {"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
        control.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
        control.create_endpoint(EndpointName="made", EndpointConfigName="c")
        assert control.describe_endpoint(EndpointName="made")["EndpointStatus"] == "Creating"
        now[0] += 61
        assert control.describe_endpoint(EndpointName="made")["EndpointStatus"] == "InService"
        runtime = client(aws, "sagemaker-runtime")
        assert runtime.invoke_endpoint(EndpointName="made", Body=CHAT)["Body"].read()
        assert error_of(runtime.invoke_endpoint, EndpointName="nobody", Body=CHAT)["Error"]["Code"] == "ValidationError"
        assert aws.plane.left("us-east-1") == ["endpoint/made", "endpoint-config/c", "model/m"]


def test_motos_scaling_is_completed_over_http_too() -> None:
    target: Any = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "inference-component/c",
        "ScalableDimension": "sagemaker:inference-component:DesiredCopyCount",
    }
    with server(reply="x") as aws:
        scaling = client(aws, "application-autoscaling")
        scaling.register_scalable_target(**target, MinCapacity=0, MaxCapacity=2)
        assert len(scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]) == 1


def test_other_programs_find_it_by_the_environment() -> None:
    code = (
        "import boto3; print(boto3.client('s3').list_buckets()['Buckets'], boto3.client('bedrock-runtime').converse("
        f"modelId='{CLAUDE}', messages=[{{'role': 'user', 'content': [{{'text': 'x'}}]}}])['stopReason'])"
    )
    with server(reply="Hi.", region="eu-west-1") as aws:
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **aws.env}, capture_output=True, text=True, check=True
        )
        assert done.stdout == "[] end_turn\n"
        body = json.dumps({"model": NOVA, "messages": [{"role": "user", "content": "Hello"}]}).encode()
        headers = {"content-type": "application/json", "authorization": f"Bearer {aws.env['OPENAI_API_KEY']}"}
        call = urllib.request.Request(aws.env["OPENAI_BASE_URL"] + "/chat/completions", body, headers)
        with urllib.request.urlopen(call) as reply:
            assert json.load(reply)["choices"][0]["message"]["content"] == "Hi."


def test_a_key_is_asked_of_every_call() -> None:
    with server(reply="Hi.", api_key="secret") as aws:
        assert ask(client(aws)) == "Hi."
        assert aws.env["AWS_SECRET_ACCESS_KEY"] == "secret"
        wrong = boto3.client(
            "bedrock-runtime", "us-east-1", endpoint_url=aws.url, aws_access_key_id="a", aws_secret_access_key="b"
        )
        _clients.append(wrong)
        assert error_of(wrong.converse, modelId=CLAUDE, messages=HELLO)["Error"]["Code"] == "InvalidSignatureException"
    assert len(aws.requests) == 1


# --- strict ----------------------------------------------------------------------------------------------------------


def test_a_call_too_many_is_refused_once_and_raised_at_the_end() -> None:
    with pytest.raises(ScriptExhaustedError, match="call 2, but the script has 1 reply"), server(reply=["one"]) as aws:
        runtime = client(aws)
        ask(runtime)
        error = error_of(runtime.converse, modelId=CLAUDE, messages=HELLO)
        assert error["Error"]["Code"] == "ValidationException"
        assert "No reply is scripted for this call" in error["Error"]["Message"]
        assert error["ResponseMetadata"]["RetryAttempts"] == 0
        stream = error_of(runtime.converse_stream, modelId=CLAUDE, messages=HELLO)
        assert (stream["Error"]["Code"], stream["ResponseMetadata"]["RetryAttempts"]) == ("ValidationException", 0)
        assert len(aws.unexpected) == 2
    assert len(aws.unexpected) == 2


def test_what_a_function_of_the_script_raises_names_its_line_and_is_raised_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def reply(request: ConverseRequest) -> str:
        raise AssertionError("what the test expects")

    with pytest.raises(AssertionError, match="what the test expects"), server(reply=reply) as aws:
        error = error_of(client(aws).converse, modelId=CLAUDE, messages=HELLO)
        assert error["Error"]["Code"] == "ValidationException"
        assert "AssertionError: what the test expects (test_loopback.py, line " in error["Error"]["Message"]
    assert "The script failed: AssertionError (test_loopback.py, line " in caplog.text  # without words of the request


def test_a_test_that_fails_by_itself_says_so() -> None:
    with pytest.raises(ZeroDivisionError), server(reply=[]) as aws:
        error_of(client(aws).converse, modelId=CLAUDE, messages=HELLO)
        raise ZeroDivisionError
    assert len(aws.unexpected) == 1


def test_replies_that_nobody_used() -> None:
    with server(reply=["one", "two"]) as aws:
        ask(client(aws))
        with pytest.raises(AssertionError, match="1 of the script's replies were not used: 'two'"):
            aws.assert_all_used()
    with mock_aws(reply=["one", "two"]) as mock:
        ask()
    with pytest.raises(AssertionError, match="'two'"):
        mock.assert_all_used()
    with mock_aws(reply={"anthropic.*": ["one"], "*": "for all"}) as mock:
        with pytest.raises(AssertionError, match=r"'anthropic\.\*': 'one'"):
            mock.assert_all_used()
        ask()
        mock.assert_all_used()


def test_an_error_of_the_script_is_the_services() -> None:
    with server(reply=[ThrottlingError("slow down"), "then"]) as aws:
        runtime = client(aws)
        reply = runtime.converse(modelId=CLAUDE, messages=HELLO)
        assert reply["ResponseMetadata"]["RetryAttempts"] == 1
    assert not aws.unexpected


def test_a_stream_that_breaks() -> None:
    with server(reply=Broken("a b c", after=2, error=ThrottlingError("slow down"))) as aws:
        stream = client(aws).converse_stream(modelId=CLAUDE, messages=HELLO)["stream"]
        with contextlib.closing(stream), pytest.raises(EventStreamError, match="slow down"):
            list(stream)


def test_a_reply_is_set_while_it_runs() -> None:
    with server(reply="one") as aws:
        runtime = client(aws)
        assert ask(runtime) == "one"
        aws.set_reply(["two"])
        assert ask(runtime) == "two"
    with server(reply=AsyncScriptedBackend("backend")) as aws:
        assert ask(client(aws)) == "backend"
        with pytest.raises(ConfigurationError, match="reply="):
            aws.set_reply("x")
    with server(reply=ScriptedBackend("sync")) as aws:
        assert ask(client(aws)) == "sync"
        assert said(client(aws).converse_stream(modelId=CLAUDE, messages=HELLO)["stream"]) == "sync"


def test_a_script_may_wait_without_holding_up_others() -> None:
    """More of its functions wait for each other than there are threads in asyncio's own pool."""
    together = threading.Barrier(40, timeout=60)

    def reply(request: ConverseRequest) -> str:
        together.wait()
        return "together"

    with server(reply=reply) as aws:
        answers: list[str] = []
        runtime = client(aws, config=Config(max_pool_connections=40))
        threads = [threading.Thread(target=lambda: answers.append(ask(runtime))) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == ["together"] * 40


def test_a_generator_of_events_is_read_as_the_client_reads() -> None:
    closed = threading.Event()

    def events(request: ConverseRequest) -> Iterator[StreamEvent]:
        from awsllm.stream import replay
        from awsllm.testing.scripted import respond

        try:
            yield from replay(respond("Hi.", request))
        finally:
            closed.set()

    with server(reply=events) as aws:
        assert said(client(aws).converse_stream(modelId=CLAUDE, messages=HELLO)["stream"]) == "Hi."
        assert closed.wait(30)


@pytest.mark.parametrize("reply", [[ThrottlingError("slow down")] * 9, Broken("a b", error=ThrottlingError("slow"))])
def test_what_failed_keeps_no_connection(reply: Any) -> None:
    """granian waits for whoever is still held at its end."""
    with server(reply=reply) as aws:
        runtime = client(aws, config=Config(retries={"total_max_attempts": 1}))
        error_of(runtime.converse, modelId=CLAUDE, messages=HELLO)
        runtime.close()
        exchanges = aws._latest.assembly.record.exchanges
    assert exchanges[0].error is not None
    gc.collect()
    assert [held for held in gc.get_objects() if type(held) is _HttpExchange] == []


# --- by model --------------------------------------------------------------------------------------------------------


def test_scripts_by_the_model() -> None:
    table = {
        "anthropic.*": ["claude"],
        "anthropic.claude-3-haiku*": "haiku",
        "amazon.nova*": lambda request: request.model,
        "amazon.titan-embed*": "x",
    }
    arn = f"arn:aws:bedrock:us-east-1::foundation-model/{CLAUDE}"
    sonnet = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
    with mock_aws(reply=table) as aws:
        runtime = boto3.client("bedrock-runtime", "us-east-1")

        def text(model: str) -> str:
            return str(runtime.converse(modelId=model, messages=HELLO)["output"]["message"]["content"][0]["text"])

        assert [text(model) for model in (CLAUDE, arn, sonnet, NOVA)] == ["haiku", "haiku", "claude", NOVA]
        assert said(runtime.converse_stream(modelId=CLAUDE, messages=HELLO)["stream"]) == "haiku"
        runtime.invoke_model(modelId=TITAN, body=json.dumps({"inputText": "x"}))
        with pytest.raises(ScriptExhaustedError, match=r"no pattern of the script means this converse of meta\."):
            text("meta.llama3-8b-instruct-v1:0")
        assert [request.model for request in aws.requests][:2] == [CLAUDE, arn]


@pytest.mark.slow
def test_a_real_model_answers_where_it_is_wanted() -> None:
    def reply(request: ConverseRequest) -> Any:
        return "scripted" if "Hello" in request.messages[-1].text else local()

    real: Any = [{"role": "user", "content": [{"text": "Say something."}]}]
    with server(reply={"anthropic.*": reply, "*": local()}) as aws:
        runtime = client(aws)
        assert ask(runtime) == "scripted"
        answer = runtime.converse(modelId=CLAUDE, messages=real, inferenceConfig={"maxTokens": 3})
        assert answer["usage"]["outputTokens"] == 3
        stream = runtime.converse_stream(modelId=NOVA, messages=real, inferenceConfig={"maxTokens": 3})["stream"]
        assert said(stream)
        wire = json.loads(runtime.invoke_model(modelId=TITAN, body=json.dumps({"inputText": "x"}))["body"].read())
        assert len(wire["embedding"]) == 1024


# --- forms -----------------------------------------------------------------------------------------------------------


def test_as_a_decorator_and_awaited() -> None:
    aws = server(reply=["once a run"])

    @aws
    def run() -> str:
        return ask(client(aws))

    @aws
    async def awaited() -> str:
        return await asyncio.to_thread(ask, client(aws))

    async def entered() -> str:
        async with server(reply="entered") as inner:
            return await asyncio.to_thread(ask, client(inner))

    assert [run(), run(), asyncio.run(awaited()), asyncio.run(entered())] == ["once a run"] * 3 + ["entered"]


def test_as_a_fixture(pytester: pytest.Pytester, request: pytest.FixtureRequest) -> None:
    pytester.makepyfile(
        program="""
        import boto3

        reply = boto3.client("bedrock-runtime").converse(
            modelId="amazon.nova-lite-v1:0", messages=[{"role": "user", "content": [{"text": "Hello"}]}]
        )
        print(reply["output"]["message"]["content"][0]["text"])
        """,
        test_it="""
        import os, subprocess, sys

        def run():
            done = subprocess.run([sys.executable, "program.py"], capture_output=True, text=True)
            return done.stdout.strip()

        def test_it(aws_server):
            aws = aws_server(reply="from the fixture")
            assert run() == "from the fixture"
            assert len(aws.requests) == 1

        def test_not_planned_for(aws_server):
            aws_server(reply=[])
            assert run() == ""

        def test_it_has_been_left():
            from awsllm.server.moto import stubber
            assert not stubber.is_kept()
            assert "AWS_ENDPOINT_URL" not in os.environ
        """,
    )
    loaded = request.config.pluginmanager.hasplugin("awsllm")
    result = pytester.runpytest_inprocess(*([] if loaded else ["-p", "awsllm.testing.plugin"]))
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*ScriptExhaustedError: call 1, but the script has 0 replies*"])


@pytest.mark.slow
def test_on_several_workers(pytester: pytest.Pytester, request: pytest.FixtureRequest) -> None:
    pytester.makepyfile(
        """
        import asyncio
        import boto3
        import pytest

        @pytest.mark.parametrize("n", range(6))
        def test_it(mock_aws, aws_server, n):
            aws = aws_server(reply=f"server {n}")
            mock = mock_aws(reply=f"mock {n}")
            keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}

            async def ask(**where):
                client = boto3.client("bedrock-runtime", "us-east-1", **where)
                messages = [{"role": "user", "content": [{"text": "Hello"}]}]
                reply = await asyncio.to_thread(client.converse, modelId="amazon.nova-lite-v1:0", messages=messages)
                client.close()
                return reply["output"]["message"]["content"][0]["text"]

            async def both():
                return await asyncio.gather(ask(endpoint_url=aws.url, **keys), ask(endpoint_url=None))

            import os
            del os.environ["AWS_ENDPOINT_URL"]
            assert asyncio.run(both()) == [f"server {n}", f"mock {n}"]
            os.environ["AWS_ENDPOINT_URL"] = aws.url
        """
    )
    loaded = request.config.pluginmanager.hasplugin("awsllm")
    result = pytester.runpytest_subprocess("-n", "2", *([] if loaded else ["-p", "awsllm.testing.plugin"]))
    result.assert_outcomes(passed=6)


def test_what_was_asked_is_not_shown_where_nobody_asked_for_it() -> None:
    with server(reply="x") as aws:
        ask(client(aws))
        [exchange] = aws._latest.assembly.record.exchanges
        assert repr(exchange).endswith("/converse, 200>")
        assert "Hello" not in repr(exchange)
        assert "Credential" not in repr(exchange)


def test_an_option_that_there_is_not() -> None:
    with pytest.raises(TypeError, match="server takes no 'transition'; did you mean 'transitions'"):
        server(reply="x", transition={})


# --- beside others ---------------------------------------------------------------------------------------------------


def test_two_servers_and_a_mock_at_once() -> None:
    with server(reply="first") as first, server(reply="second") as second:
        client(first, "s3").create_bucket(Bucket="kept")
        with mock_aws(reply="third") as mock:
            assert [ask(client(first)), ask(client(second)), ask()] == ["first", "second", "third"]
            names = [bucket["Name"] for bucket in boto3.client("s3", "us-east-1").list_buckets()["Buckets"]]
            assert names == ["kept"]  # moto's state is the process's; a mock within a server leaves it alone
        assert len(client(second, "s3").list_buckets()["Buckets"]) == 1
        assert first.plane is not second.plane
    assert (len(first.requests), len(second.requests), len(mock.requests)) == (1, 1, 1)
    with mock_aws(reply="outer"):
        boto3.client("s3", "us-east-1").create_bucket(Bucket="mocks")
        with server(reply="inner") as aws:
            assert len(client(aws, "s3").list_buckets()["Buckets"]) == 1
            assert [ask(client(aws)), ask()] == ["inner", "outer"]
    with server(reply="x") as aws:
        assert client(aws, "s3").list_buckets()["Buckets"] == []
    assert not stubber._responders
    assert not stubber.is_kept()


def test_servers_on_many_threads() -> None:
    answers = []

    def run(name: str) -> None:
        with server(reply=name) as aws:
            answers.append((name, ask(client(aws))))

    threads = [threading.Thread(target=run, args=(str(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [(str(n), str(n)) for n in range(4)]


def test_a_server_left_in_an_event_loop_leaves_nothing_running() -> None:
    async def run() -> set[str]:
        async with server(reply="x") as aws:
            await asyncio.to_thread(ask, client(aws))
        return {thread.name for thread in threading.enumerate() if thread.name == "awsllm-server"}

    assert asyncio.run(run()) == set()
