"""The functions of templates: handlers that there are, variables that they read, and code that stands in a template."""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import urllib.request
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from awsllm.lambdas.settings import VARIABLES
from awsllm.testing import mock_aws
from tests.support.stacks import CASES, FilledIn, filled

_LAMBDAS_OWN = {"AWS_LAMBDA_EXEC_WRAPPER"}


def _functions(stack: FilledIn) -> list[dict[str, Any]]:
    return [each["Properties"] for each in stack.resources.values() if each["Type"] == "AWS::Lambda::Function"]


@pytest.mark.parametrize(("name", "most"), CASES)
def test_functions_are_called_by_a_handler_that_there_is(name: str, most: bool) -> None:
    for function in _functions(filled(name, most=most)):
        if "ZipFile" not in function["Code"]:
            module, _, attribute = function["Handler"].rpartition(".")
            assert attribute == "handler"
            assert importlib.util.find_spec(module), module


@pytest.mark.parametrize(("name", "most"), CASES)
def test_functions_get_variables_that_handlers_read(name: str, most: bool) -> None:
    known = {variable.name for variable in VARIABLES} | _LAMBDAS_OWN
    for function in _functions(filled(name, most=most)):
        assert function.get("Environment", {"Variables": {}})["Variables"].keys() <= known


@pytest.mark.parametrize(("name", "most"), CASES)
def test_what_streams_is_wrapped(name: str, most: bool) -> None:
    """Lambda's own Python runtime cannot stream: whatever answers a stream starts by the wrapper of the package."""
    for function in _functions(filled(name, most=most)):
        wrapper = function.get("Environment", {"Variables": {}})["Variables"].get("AWS_LAMBDA_EXEC_WRAPPER")
        streams = function["Handler"] in ("awsllm.lambdas.stream.handler", "awsllm.lambdas.gateway.handler")
        assert wrapper == ("/var/task/awsllm-stream" if streams else None)


# --- the code that turns invocation logging on -----------------------------------------------------------------------


class Answers:
    """What a custom resource tells CloudFormation, in place of the PUT to a presigned address."""

    def __init__(self) -> None:
        self.given: list[dict[str, Any]] = []

    def __call__(self, request: urllib.request.Request, timeout: float) -> io.BytesIO:
        assert (request.full_url, request.method, timeout) == ("https://cloudformation.example/answer", "PUT", 30)
        assert isinstance(request.data, bytes)
        self.given.append(json.loads(request.data))
        return io.BytesIO()


def _asked(kind: str, stack: FilledIn) -> dict[str, Any]:
    return {
        "RequestType": kind,
        "ResponseURL": "https://cloudformation.example/answer",
        "StackId": "stack",
        "RequestId": "1",
        "LogicalResourceId": "Configuration",
        "ResourceProperties": stack.resources["Configuration"]["Properties"],
    }


@pytest.fixture
def turn(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the code that stands in the template, and gives what it answered."""
    answers = Answers()
    monkeypatch.setattr(urllib.request, "urlopen", answers)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")

    def run(kind: str, stack: FilledIn) -> dict[str, Any]:
        code: dict[str, Any] = {}
        exec(stack.resources["Function"]["Properties"]["Code"]["ZipFile"], code)  # noqa: S102 -- the template's own
        code["handler"](_asked(kind, stack), SimpleNamespace(log_stream_name="2026/11/26/[$LATEST]0a1b"))
        return answers.given[-1]

    return run


def _configuration() -> Any:
    return boto3.client("bedrock", "us-east-1").get_model_invocation_logging_configuration().get("loggingConfig")


def test_logging_is_turned_on_and_off(turn: Any) -> None:
    plain, with_prompts = filled("logging"), filled("logging", {"Prompts": "true"})
    with mock_aws(reply="x"):
        boto3.client("s3", "us-east-1").create_bucket(Bucket="stack-logs")
        assert turn("Create", plain)["Status"] == "SUCCESS"
        assert _configuration()["s3Config"] == {"bucketName": "stack-logs", "keyPrefix": "bedrock"}
        assert _configuration()["textDataDeliveryEnabled"] is False
        assert turn("Update", with_prompts)["PhysicalResourceId"] == "model-invocation-logging"
        assert _configuration()["textDataDeliveryEnabled"] is True
        assert turn("Delete", with_prompts)["Status"] == "SUCCESS"
        assert not _configuration()


def test_another_configuration_outlives_the_stack(turn: Any) -> None:
    with mock_aws(reply="x"):
        boto3.client("s3", "us-east-1").create_bucket(Bucket="another")
        bedrock = boto3.client("bedrock", "us-east-1")
        bedrock.put_model_invocation_logging_configuration(loggingConfig={"s3Config": {"bucketName": "another"}})
        assert turn("Delete", filled("logging"))["Status"] == "SUCCESS"
        assert _configuration()["s3Config"]["bucketName"] == "another"


def test_what_fails_is_told_without_its_words(turn: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with mock_aws(reply="x"):  # where there is no such bucket
        told = turn("Create", filled("logging"))
    assert told["Status"] == "FAILED"
    assert "2026/11/26" in told["Reason"]
    assert json.loads(capsys.readouterr().out)["type"] in told["Reason"]


def test_the_logs_lie_where_the_table_looks(turn: Any) -> None:
    """What Bedrock writes, by the offline account's records, is under the table's place, in its partition's form."""
    stack = filled("logging")
    table = stack.resources["Invocations"]["Properties"]["TableInput"]
    with mock_aws(reply="x"):
        s3 = boto3.client("s3", "us-east-1")
        s3.create_bucket(Bucket="stack-logs")
        turn("Create", stack)
        boto3.client("bedrock-runtime", "us-east-1").converse(
            modelId="amazon.nova-lite-v1:0", messages=[{"role": "user", "content": [{"text": "Hi"}]}]
        )
        found = [each["Key"] for each in s3.list_objects_v2(Bucket="stack-logs")["Contents"]]
        (key,) = (each for each in found if each.endswith(".json.gz"))
        folder, _, hour = f"s3://stack-logs/{key}".rpartition("/")[0].rpartition("/us-east-1/")
        assert table["StorageDescriptor"]["Location"] == f"{folder}/us-east-1"
        assert table["Parameters"]["storage.location.template"] == f"{folder}/us-east-1/${{hour}}"
        assert len(hour.split("/")) == len(table["Parameters"]["projection.hour.format"].split("/"))
        record = json.loads(gzip.decompress(s3.get_object(Bucket="stack-logs", Key=key)["Body"].read()))
    columns = {each["Name"]: each["Type"] for each in table["StorageDescriptor"]["Columns"]}
    assert {name.lower() for name in record} <= columns.keys()
    for side in ("input", "output"):
        members = {name.lower() for name in record[side] if not name.endswith(("BodyJson", "BodyS3Path"))}
        assert all(f"{name}:" in columns[side] for name in members)
