"""SageMaker's endpoints: the cases P1 to P6."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

import awsllm
from awsllm.testing import Broken, mock_aws
from awsllm.types import Text, ToolResult
from tests.support.cases import NOVA, ONCE, answering, asking, bedrock, boto, city, get_weather, last, turns
from tests.support.command_line import Run, runner

ROLE = "arn:aws:iam::123456789012:role/sagemaker"
WORDS = "naïve — 雨 🌧 façade, and then some more words to be cut"
OPENAI = {"choices": [{"message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}]}


def host(name: str = "ep", **config: Any) -> None:
    """An endpoint as boto3 makes one."""
    sagemaker = boto("sagemaker")
    sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "image"})
    variant = {"VariantName": "v", "ModelName": name, "InstanceType": "ml.g5.xlarge", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant], **config)
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)


@pytest.mark.parametrize(("form", "cuts"), [("openai", [1]), ("openai", [7, 2, 30]), ("tgi", [7, 2, 30]), ("lmi", [1])])
def test_p1_a_stream_is_read_over_the_boundaries_of_its_parts(form: str, cuts: list[int]) -> None:
    """Parts that are cut within a character, a word of JSON or a line give the text, and the stream ends."""
    with mock_aws(reply=WORDS, formats={"ep": form}, cuts=cuts), awsllm.Client(region="us-east-1") as client:
        host()
        with client.converse_stream("sagemaker:ep", "Go", max_tokens=99) as stream:
            assert "".join(stream.text_stream) == WORDS
        assert stream.response.stop_reason == "end_turn"


def test_p1_a_stream_that_is_cut_off_is_an_error() -> None:
    """What stops in the middle is not taken for the end."""
    broken = awsllm.ServerError("the container is gone")
    client = awsllm.Client(region="us-east-1", formats={"ep": "openai"})
    with mock_aws(reply=lambda _: Broken(WORDS, after=4, error=broken), endpoints="*"), client:
        stream = client.converse_stream("sagemaker:ep", "Go")
        with pytest.raises(awsllm.StreamError) as caught:
            list(stream)
    assert caught.value.partial is not None
    assert WORDS.startswith(caught.value.partial.text)


def test_p2_tools_and_chat_on_an_endpoint() -> None:
    """Turns, a system text and a loop of tools, whole and streamed, as on Bedrock."""
    history: list[Any] = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Weather?"},
    ]
    options: dict[str, Any] = {"tools": [get_weather], "system": "Be brief.", "max_tokens": 50}
    calls = (city("Oslo"), city("Rome"))
    client = awsllm.Client(region="us-east-1", formats={"ep": "openai"})
    with mock_aws(reply=[calls, "It rains.", calls, "It pours."], endpoints="*") as aws, client:
        assert client.converse("sagemaker:ep", history, **options).text == "It rains."
        with client.converse_stream("sagemaker:ep", history, **options) as stream:
            assert stream.response.text == "It pours."
    request = last(aws)
    assert turns(request) == ["user", "assistant", "user", "assistant", "user"]
    assert request.messages[3].tool_uses == calls
    results = [block.content for block in request.messages[4].content if isinstance(block, ToolResult)]
    assert results == [(Text("rain in Oslo"),), (Text("rain in Rome"),)]
    assert request.system == (Text("Be brief."),)


def test_p3_targets_are_spelled_as_boto3_spells_them() -> None:
    """The headers of component, variant, container and the rest are boto3's own, seen by a server."""
    options = {
        "variant": "v1",
        "target_container": "h1",
        "target_model": "m.tar.gz",
        "inference_id": "i1",
        "custom_attributes": "a=b",
        "session_id": "NEW_SESSION",
    }
    members = {"TargetVariant": "v1", "TargetContainerHostname": "h1", "TargetModel": "m.tar.gz"}
    more = {"InferenceId": "i1", "CustomAttributes": "a=b", "SessionId": "NEW_SESSION"}
    with bedrock(answering(OPENAI)) as (url, seen):
        client = awsllm.Client(region="us-east-1", endpoint_url=url, formats={"*": "openai"})
        with client:
            client.converse("sagemaker:ep/part", "Hi", endpoint=options)
        theirs = boto3.client("sagemaker-runtime", "us-east-1", endpoint_url=url)
        theirs.invoke_endpoint(EndpointName="ep", InferenceComponentName="part", Body=b"{}", **members, **more)

    def targets(index: int) -> dict[str, str]:
        own = {name.lower(): value for name, value in seen[index].headers.items()}
        return {name: value for name, value in own.items() if name.startswith("x-amzn-sagemaker")}

    assert targets(0) == targets(1)
    assert len(targets(0)) == 7
    assert seen[0].path == seen[1].path == "/endpoints/ep/invocations"


@pytest.mark.parametrize("model", ["sagemaker:ep", NOVA])
def test_p4_the_length_is_that_of_the_body(model: str) -> None:
    """Letters of several bytes are counted in bytes."""
    wire = {**OPENAI, "output": {"message": {"role": "assistant", "content": [{"text": "Hi."}]}}, "usage": {}}
    with asking(answering({**wire, "stopReason": "end_turn"}), formats={"*": "openai"}) as (client, seen):
        client.converse(model, WORDS)
    assert int(seen[0].header("Content-Length")) == len(seen[0].body)
    assert WORDS in json.dumps(json.loads(seen[0].body), ensure_ascii=False)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Run]:
    monkeypatch.setenv("AWSLLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AWSLLM_SAGEMAKER_ROLE", ROLE)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    with mock_aws(reply="Hi."):
        yield runner(monkeypatch, capsys)


def test_p5_idle_endpoints_are_seen_and_deleted(run: Run) -> None:
    """What runs is listed with its price; what has outlived its time is reaped, and all that was made with it."""
    sagemaker = boto("sagemaker")
    run("deploy", "example-open-tgi-instruct", "--ttl", "1e-6", "--name", "old")
    host("theirs")
    (listed,) = json.loads(run("endpoints", "list", "--json").out)
    assert listed["name"] == "old"
    assert {"age", "expires", "instances", "per_hour", "status"} <= listed.keys()
    assert run("endpoints", "reap").code == 0
    assert [each["EndpointName"] for each in sagemaker.list_endpoints()["Endpoints"]] == ["theirs"]
    assert [each["ModelName"] for each in sagemaker.list_models()["Models"]] == ["theirs"]


def test_p5_a_block_leaves_no_endpoint_behind() -> None:
    """Whatever ends the block."""
    with mock_aws(reply="Hi."), awsllm.Client(region="us-east-1") as client:
        with pytest.raises(RuntimeError), client.jumpstart.deployed("example-open-tgi-instruct", role=ROLE) as model:
            assert model.converse("Hello", max_tokens=9).text == "Hi."
            raise RuntimeError
        assert boto("sagemaker").list_endpoints()["Endpoints"] == []


def answer(request: Any) -> str:
    if "boom" in request.messages[-1].text:
        raise awsllm.ValidationError("the prompt must not be boom")
    return f"<{request.messages[-1].text}>"


def test_p6_the_stand_in_answers_what_the_test_says() -> None:
    """A function in the same process answers boto3, whole and streamed; an unknown endpoint is the service's error."""
    body = json.dumps({"messages": [{"role": "user", "content": "Hi"}]}).encode()
    with mock_aws(reply=answer):
        host()
        runtime = boto("sagemaker-runtime")
        reply = json.loads(runtime.invoke_endpoint(EndpointName="ep", Body=body)["Body"].read())
        assert reply["choices"][0]["message"]["content"] == "<Hi>"
        with pytest.raises(ClientError, match="other"):
            runtime.invoke_endpoint(EndpointName="other", Body=body)


@pytest.mark.parametrize("word", ["Hi", "boom"])
def test_p6_asynchronous_answers_and_failures_are_in_s3(word: str) -> None:
    """An asynchronous call gives both places, and the one that fits has the answer."""
    body = json.dumps({"messages": [{"role": "user", "content": word}]}).encode()
    outputs = {"S3OutputPath": "s3://mine/out", "S3FailurePath": "s3://mine/failed"}
    with mock_aws(reply=answer):
        s3 = boto("s3")
        s3.create_bucket(Bucket="mine")
        s3.put_object(Bucket="mine", Key="in.json", Body=body)
        host(AsyncInferenceConfig={"OutputConfig": outputs})
        runtime = boto("sagemaker-runtime")
        reply = runtime.invoke_endpoint_async(EndpointName="ep", InputLocation="s3://mine/in.json")
        place = reply["FailureLocation" if word == "boom" else "OutputLocation"]
        key = place.removeprefix("s3://mine/")
        written = s3.get_object(Bucket="mine", Key=key)["Body"].read().decode()
        assert len(s3.list_objects_v2(Bucket="mine")["Contents"]) == 2  # the input and this
    assert ("must not be boom" if word == "boom" else "<Hi>") in written


def test_p6_faults_are_set_by_the_test() -> None:
    """A container that fails on purpose is the service's ModelError."""
    client = awsllm.Client(region="us-east-1", formats={"ep": "openai"}, policy=ONCE)
    fails = mock_aws(reply=lambda _: awsllm.ServerError("out of memory"), endpoints="*")
    with fails, client, pytest.raises(awsllm.ServerError, match="out of memory"):
        client.converse("sagemaker:ep", "Hi")
