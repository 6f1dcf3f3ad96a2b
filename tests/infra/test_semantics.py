"""What AWS asks for and no schema says: keys that let their users in, machines that count, APIs that close."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.support.stacks import ACCOUNT, NAMES, document, filled, walk

_EVENTS_OF_AN_EXECUTION = 25_000
_EVENTS_OF_A_LOOK = 11  # two of the wait, five of the look, two each of the choice and of the longer wait
_EVENTS_OF_AN_ATTEMPT = 60  # the creation with its retries, the collection with its own, what lies between


def _statements(resource: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {part["Sid"]: part for part in walk(resource) if "Sid" in part}


# --- state machines ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_no_number_of_a_parameter_stands_in_a_definition(name: str) -> None:
    """``Ref`` makes it a text, and Step Functions refuses a text where it expects a number."""
    numbers = {key for key, each in document(name)["Parameters"].items() if each["Type"] == "Number"}
    for key, each in document(name)["Resources"].items():
        if each["Type"] == "AWS::StepFunctions::StateMachine":
            refs = {part["Ref"] for part in walk(each["Properties"]["Definition"]) if "Ref" in part}
            assert (key, refs & numbers) == (key, set())


def test_a_number_that_is_read_from_its_text_is_one() -> None:
    stack = filled("batch")
    texts = [json.dumps(stack.resources[each]["Properties"]["Definition"]) for each in ("Jobs", "Map")]
    read = [value for text in texts for value in re.findall(r"States\.StringToJson\('([^']*)'\)", text)]
    assert read == ["2", "24", "300", "300", "10", "5", "10"]


def test_the_longest_job_fits_into_the_history_of_an_execution() -> None:
    parameters = document("batch")["Parameters"]
    most = parameters["JobHours"]["MaxValue"] * 3600
    looks, waited, wait = 0, 0, parameters["PollSeconds"]["MinValue"]
    step = document("batch")["Resources"]["Jobs"]["Properties"]["Definition"]["States"]["Longer"]["Parameters"]
    more = int(re.fullmatch(r"States\.MathAdd\(\$\.wait\.seconds, (\d+)\)", step["seconds.$"])[1])  # type: ignore[index]
    while waited < most:
        looks, waited, wait = looks + 1, waited + wait, wait + more
    attempts = parameters["JobAttempts"]["MaxValue"]
    assert attempts * (looks * _EVENTS_OF_A_LOOK + _EVENTS_OF_AN_ATTEMPT) < _EVENTS_OF_AN_EXECUTION


def test_encrypted_machines_may_use_their_key_and_log() -> None:
    """step-functions/latest/dg/encryption-at-rest.html."""
    stack = filled("batch", most=True)
    machines = [stack.resources["MapPolicy"]["Properties"], stack.resources["MachineRole"]["Properties"]]
    key, logs = _statements(machines[0])["MachinesKey"], _statements(machines[1])["LogsKey"]
    assert key["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    assert key["Condition"]["StringEquals"] == {
        "kms:EncryptionContext:aws:states:stateMachineArn": [
            f"arn:aws:states:us-east-1:{ACCOUNT}:stateMachine:stack-{each}" for each in ("Jobs", "Map")
        ]
    }
    assert logs["Action"] == "kms:GenerateDataKey"
    assert "MachinesKey" not in _statements(filled("batch").resources["MapPolicy"])


# --- keys -------------------------------------------------------------------------------------------------------------


def test_the_key_lets_in_what_encrypts_for_the_other_stacks() -> None:
    policy = _statements(filled("shared", most=True).resources["Key"])
    services = {
        service
        for each in policy.values()
        for service in ([each["Principal"].get("Service")] if isinstance(each["Principal"].get("Service"), str) else [])
    }
    assert services >= {
        "bedrock.amazonaws.com",
        "delivery.logs.amazonaws.com",
        "events.amazonaws.com",
        "indexing.s3vectors.amazonaws.com",
        "logs.us-east-1.amazonaws.com",
    }


def test_eventbridge_is_asked_for_no_account_that_it_does_not_name() -> None:
    """sns/latest/dg/sns-key-management.html: with such a condition nothing is delivered, and nobody is told."""
    of_events = [
        each
        for each in _statements(filled("shared", most=True).resources["Key"]).values()
        if "events.amazonaws.com" in str(each["Principal"].get("Service"))
    ]
    contexts = {key for each in of_events for key in each["Condition"]["ArnLike"]}
    assert contexts == {"kms:EncryptionContext:aws:sqs:arn", "kms:EncryptionContext:aws:sns:topicArn"}
    assert not any("aws:Source" in str(each) for each in of_events)


@pytest.mark.parametrize("name", ["chat-api", "documents", "gateway"])
def test_whoever_uses_an_encrypted_guardrail_may_decrypt_it(name: str) -> None:
    stack = filled(name, most=True)
    found = {sid: each for resource in stack.resources.values() for sid, each in _statements(resource).items()}
    assert found["GuardrailKey"]["Action"] == "kms:Decrypt"
    assert found["GuardrailKey"]["Resource"] == stack.parameters["KeyArn"]


def test_readers_of_encrypted_logs_may_decrypt_them() -> None:
    key = _statements(filled("logging", most=True).resources["ReaderPolicy"])["Key"]
    assert key["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]


def test_encrypted_volumes_can_be_attached() -> None:
    """The execution role needs kms:CreateGrant (SageMaker's VolumeKmsKeyId), for AWS's own resources alone."""
    grant = _statements(filled("endpoint", most=True).resources["Role"])["Volumes"]
    assert grant["Action"] == "kms:CreateGrant"
    assert grant["Condition"] == {"Bool": {"kms:GrantIsForAWSResource": "true"}}


def test_a_knowledge_base_may_encrypt_by_itself() -> None:
    """kb-permissions-kms-ingestion: during an ingestion no other service stands between Bedrock and the key."""
    key = _statements(filled("knowledge-base", most=True).resources["Role"])["Key"]
    assert "Condition" not in key


# --- what an update must reach ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "changed"),
    [("chat-api", "Authorization"), ("chat-api", "Streaming"), ("gateway", "Authorization")],
)
def test_what_closes_an_api_is_deployed(name: str, changed: str) -> None:
    """A deployment is a copy: a stage that kept the old one would go on letting everybody in."""
    values = document(name)["Parameters"][changed]["AllowedValues"]
    stages = [filled(name, {"FrontDoor": "rest", changed: each}).resources["ApiStage"] for each in values]
    assert len({each["Properties"]["DeploymentId"] for each in stages}) == len(values)


@pytest.mark.parametrize("name", ["chat-api", "gateway"])
def test_a_url_has_no_deployment(name: str) -> None:
    kinds = {each["Type"] for each in filled(name, {"FrontDoor": "url"}).resources.values()}
    assert "AWS::ApiGateway::Deployment" not in kinds


def test_queries_reach_as_far_as_logs_are_kept() -> None:
    table = filled("logging", {"LogDays": "3650"}).resources["Invocations"]["Properties"]["TableInput"]
    assert table["Parameters"]["projection.hour.range"] == "NOW-3650DAYS,NOW"


def test_costs_count_records_alone() -> None:
    """Bedrock puts what is too large for a record into files beside it, under the same partition."""
    query = filled("logging").resources["CostView"]["Properties"]["QueryString"]
    assert "WHERE i.schematype = 'ModelInvocationLog'" in query


def test_a_record_that_is_lost_is_told() -> None:
    alarm = filled("logging", most=True).resources["DeliveryAlarm"]["Properties"]
    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/Bedrock", "ModelInvocationLogsS3DeliveryFailure")
    assert "Dimensions" not in alarm
