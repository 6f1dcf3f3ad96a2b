"""Tags."""

from __future__ import annotations

from contextlib import suppress

from botocore.exceptions import ClientError

from awsllm.testing import mock_aws
from tests.support.sagemaker_account import ARN, client, host


def test_tags() -> None:
    with mock_aws(reply="x"):
        sagemaker = host("e")
        arn = f"{ARN}:endpoint/e"
        sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "awsllm:plan", "Value": "x é"}])
        sagemaker.delete_tags(ResourceArn=arn, TagKeys=["a"])
        assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "awsllm:plan", "Value": "x é"}]


def test_tags_go_with_their_hub() -> None:
    with mock_aws(reply="x") as aws:
        sagemaker = client("sagemaker")
        sagemaker.create_hub(HubName="ours", HubDescription="x", Tags=[{"Key": "a", "Value": "1"}])
        assert aws.plane.state("us-east-1").tags == {f"{ARN}:hub/ours": {"a": "1"}}
        sagemaker.delete_hub(HubName="ours")
        assert aws.plane.state("us-east-1").tags == {}


def test_tags_of_bedrocks_are_not_sagemakers() -> None:
    with mock_aws(reply="x") as aws:
        source = {"copyFrom": "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"}
        made = client("bedrock").create_inference_profile(inferenceProfileName="p", modelSource=source)
        arn = made["inferenceProfileArn"]
        with suppress(ClientError):
            client("sagemaker").add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}])
        with suppress(ClientError):
            client("bedrock-agent").tag_resource(resourceArn=arn, tags={"a": "1"})
        assert aws.plane.state("us-east-1").tags == {arn: {}}
