"""The offline account as boto3 sees it: from a hub document to an endpoint that answers, to nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import awsllm
from awsllm.server.account.account import Account
from awsllm.testing import MockAws, mock_aws
from tests.support.aws_bridge import bridge
from tests.support.sagemaker_account import (
    ARN,
    DOCUMENTS,
    GATED,
    STREAM,
    client,
    component,
    document,
    empty_endpoint,
    gated_model,
    host,
    parts,
    refusal,
    say,
    status,
)


def test_from_discovery_to_nothing_left() -> None:
    with mock_aws(reply="Grüße.", documents=DOCUMENTS, transitions={"endpoint": 1, "component": 1}) as aws:
        content = document(GATED)
        code, message = refusal(gated_model, content=content)
        assert code == "ValidationException"
        assert "AcceptEula" in message
        assert content["HostingArtifactUri"] in message
        gated_model(content, ModelAccessConfig={"AcceptEula": True})
        sagemaker = empty_endpoint()
        assert refusal(say, name="e", InferenceComponentName="ic")[0] == "ValidationError"
        assert [status("e"), status("e")] == ["InService", "InService"]  # the invocation was the first look
        component()
        seen = [sagemaker.describe_inference_component(InferenceComponentName="ic") for _ in range(2)]
        assert [one["InferenceComponentStatus"] for one in seen] == ["Creating", "InService"]
        image = seen[1]["Specification"]["Container"]["DeployedImage"]
        assert image["SpecifiedImage"] == content["HostingEcrUri"]
        assert say("e", InferenceComponentName="ic") == "Grüße."
        assert b"Gr\xc3\xbc\xc3\x9fe." in b"".join(parts(EndpointName="e", InferenceComponentName="ic", Body=STREAM))
        sagemaker.delete_inference_component(InferenceComponentName="ic")
        sagemaker.delete_endpoint(EndpointName="e")
        sagemaker.delete_endpoint_config(EndpointConfigName="c")
        sagemaker.delete_model(ModelName="m")
        assert aws.plane.left("us-east-1") == []
        assert refusal(status, name="e") == ("ValidationException", f'Could not find endpoint "{ARN}:endpoint/e".')


def test_awsllm_calls_what_was_deployed() -> None:
    with mock_aws(reply="Grüße aus Ulm.", documents=DOCUMENTS), awsllm.Client(region="us-east-1") as caller:
        gated_model(document(GATED), ModelAccessConfig={"AcceptEula": True})
        empty_endpoint()
        component()
        assert caller.converse("sagemaker:e/ic", "Hello").text == "Grüße aus Ulm."
        with caller.converse_stream("sagemaker:e/ic", "Hello") as stream:
            assert "".join(stream.text_stream) == "Grüße aus Ulm."


def test_regions_and_entries_are_apart() -> None:
    aws: MockAws = mock_aws(reply="x")
    with pytest.raises(RuntimeError, match="inside"):
        _ = aws.plane
    with aws:
        host("e")
        assert client("sagemaker", "eu-west-1").list_endpoints()["Endpoints"] == []
    with aws:
        assert aws.plane.left("us-east-1") == []


CHILD = """
import json, boto3
sagemaker, runtime = boto3.client("sagemaker"), boto3.client("sagemaker-runtime")
print(sagemaker.describe_endpoint(EndpointName="e")["EndpointStatus"])
body = json.dumps({"messages": [{"role": "user", "content": "Hello"}], "stream": True})
reply = runtime.invoke_endpoint_with_response_stream(EndpointName="e", Body=body)
print(len([event for event in reply["Body"]]) > 3)
s3 = boto3.client("s3")
s3.create_bucket(Bucket="bucket")
s3.put_object(Bucket="bucket", Key="a b", Body=b"data")
found = s3.get_object(Bucket="bucket", Key="a b")
print(found["Body"].read(), s3.head_object(Bucket="bucket", Key="a b")["ContentLength"])
print(boto3.client("sts").get_caller_identity()["Account"])
try:
    sagemaker.describe_endpoint(EndpointName="nope")
except Exception as error:
    print(error.response["Error"]["Code"])
"""


def test_another_process_reaches_the_account() -> None:
    with mock_aws(reply="Hello there."), bridge() as bridged:
        host("e")
        keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
        child = subprocess.run(
            [sys.executable, "-c", CHILD],
            env={**os.environ, **keys, "AWS_ENDPOINT_URL": bridged.url},
            capture_output=True,
            text=True,
            check=False,
        )
        assert client("s3").list_objects_v2(Bucket="bucket")["KeyCount"] == 1
    assert child.stdout.split("\n") == ["InService", "True", "b'data' 4", "123456789012", "ValidationException", ""], (
        child.stderr
    )
    assert bridged.arrivals[0][:2] == ("sagemaker", "DescribeEndpoint")


@pytest.mark.parametrize(
    ("region", "partition"), [("eu-west-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")]
)
def test_arns(region: str, partition: str) -> None:
    place = Account(account_id="111122223333").region(region)
    assert place.arn("model", "m") == f"arn:{partition}:sagemaker:{region}:111122223333:model/m"
    assert place.arn("hub", "h", owner="aws") == f"arn:{partition}:sagemaker:{region}:aws:hub/h"
