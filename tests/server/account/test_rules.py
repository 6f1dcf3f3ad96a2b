"""Quotas."""

from __future__ import annotations

from awsllm.testing import mock_aws
from tests.support.sagemaker_account import host, refusal


def test_quotas() -> None:
    with mock_aws(reply="x", quotas={"ml.g5.2xlarge": 1}):
        sagemaker = host("e")
        code, message = refusal(host, name="f")
        assert code == "ResourceLimitExceeded"
        assert "'ml.g5.2xlarge for endpoint usage' is 1 Instances, with current utilization of 1" in message
        sagemaker.delete_endpoint(EndpointName="e")
        sagemaker.create_endpoint(EndpointName="f", EndpointConfigName="f")
