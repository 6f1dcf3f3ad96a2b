"""What is not served raises no NotImplementedError and does not reach for the real AWS: AWS's words refuse it."""

from __future__ import annotations

from typing import Any

import boto3
import moto
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError

from awsllm.server.moto.stubber import is_aws
from awsllm.testing import mock_aws
from tests.support.sessions import new_client

ID = "a" * 36
CASES = [
    ("bedrock", "create_automated_reasoning_policy", {"name": "n"}, "UnknownOperationException"),
    ("bedrock-agent-runtime", "create_session", {}, "UnknownOperationException"),
    (
        "bedrock-agent-runtime",
        "delete_agent_memory",
        {"agentId": "A", "agentAliasId": "B"},
        "UnknownOperationException",
    ),
    ("bedrock-agent", "list_agent_versions", {"agentId": "AAAAAAAAAA"}, "UnknownOperationException"),
    ("sagemaker", "create_action", {"ActionName": "a", "Source": {"SourceUri": "s"}, "ActionType": "t"}, None),
    ("sagemaker", "list_lineage_groups", {}, "UnknownOperationException"),
    ("iam", "change_password", {"OldPassword": "a", "NewPassword": "b"}, "InvalidAction"),
    ("ec2", "describe_fleet_history", {"FleetId": ID, "StartTime": 0}, "InvalidAction"),
    ("route53", "list_cidr_collections", {}, "NotImplemented"),
    ("sns", "get_sms_sandbox_account_status", {}, "InvalidAction"),
    ("dynamodb", "list_global_tables", {}, "UnknownOperationException"),
    ("lambda", "list_code_signing_configs", {}, "UnknownOperationException"),
    ("cloudwatch", "describe_anomaly_detectors", {}, "UnknownOperationException"),
    ("cloudformation", "activate_organizations_access", {}, "InvalidAction"),
    # Services that moto has not at all, at addresses of amazonaws.com, api.aws and China.
    ("kendra", "list_indices", {}, "UnknownOperationException"),
    ("comprehend", "batch_detect_syntax", {"TextList": ["a"], "LanguageCode": "en"}, "UnknownOperationException"),
    ("apprunner", "list_services", {}, "UnknownOperationException"),
    ("qbusiness", "list_applications", {}, "UnknownOperationException"),
]


@pytest.mark.parametrize(
    ("service", "operation", "arguments", "code"), CASES, ids=[f"{case[0]}.{case[1]}" for case in CASES]
)
def test_in_the_words_of_the_service(service: str, operation: str, arguments: Any, code: str | None) -> None:
    with mock_aws(reply="x"):
        client = new_client(service)
        with pytest.raises(ClientError, match="is not served here") as caught:
            getattr(client, operation)(**arguments)
    assert caught.value.response["Error"]["Code"] == (code or "UnknownOperationException")
    named = operation.replace("_", "")
    assert named in caught.value.response["Error"]["Message"].partition(" of ")[0].lower()


def test_a_service_in_china_that_nobody_has() -> None:
    with mock_aws(reply="x"):
        client = boto3.client(
            "iotsitewise", "cn-north-1", endpoint_url="https://data.nowhere.cn-north-1.amazonaws.com.cn"
        )
        with pytest.raises(ClientError, match="is not served here"):
            client.list_portals()
    assert is_aws("bedrock.us-east-1.amazonaws.com")
    assert not is_aws("amazonaws.com.example.org")
    assert not is_aws("127.0.0.1")


def test_what_motos_configuration_lets_pass_is_let_pass() -> None:
    """To a place that does not answer."""
    url = "https://kendra.us-east-1.amazonaws.com"
    config: Any = {"core": {"passthrough": {"urls": [r".*kendra.*"], "services": []}}}
    with mock_aws(reply="x", config=config):
        client = boto3.client(
            "kendra", "us-east-1", config=Config(retries={"total_max_attempts": 1}, connect_timeout=1)
        )

        def sent(**kwargs: Any) -> None:
            raise EndpointConnectionError(endpoint_url=url)

        client.meta.events.register_last("before-send", sent)
        with pytest.raises(EndpointConnectionError):
            client.list_indices()


def test_moto_by_itself_is_as_it_was() -> None:
    with mock_aws(reply="x"):
        pass
    with moto.mock_aws(), pytest.raises(NotImplementedError):
        boto3.client("iam", "us-east-1").change_password(OldPassword="a", NewPassword="b")
