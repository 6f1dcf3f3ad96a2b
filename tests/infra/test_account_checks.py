"""What a deployment meets in an account."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from awsllm import infra
from awsllm.errors import ConfigurationError
from awsllm.infra.account_checks import AccountCheck, examine
from awsllm.testing import mock_aws
from tests.support.command_line import Run, runner
from tests.support.data import DATA
from tests.support.scripted_aws import ACCOUNT, REGION, ScriptedAws, refusal

WORKER = infra.template(DATA / "infra" / "worker.yaml")
AVAILABLE = {
    "modelId": "amazon.nova-lite-v1:0",
    "agreementAvailability": {"status": "AVAILABLE"},
    "authorizationStatus": "AUTHORIZED",
    "entitlementAvailability": "AVAILABLE",
    "regionAvailability": "AVAILABLE",
}
LIMITS: dict[str, Any] = {"AccountLimit": {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 900}}


def good(**answers: Any) -> ScriptedAws:
    known = {
        "sts.get_caller_identity": {"Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:user/me"},
        "cloudformation.describe_stacks": {"Stacks": []},
        "lambda.get_account_settings": LIMITS,
        "s3.head_bucket": {},
        "bedrock.get_foundation_model_availability": AVAILABLE,
    }
    return ScriptedAws({**known, **{name.replace("__", "."): answer for name, answer in answers.items()}})


def checks(aws: ScriptedAws, *models: str, template: Any = WORKER) -> dict[str, AccountCheck]:
    return {check.name: check for check in examine(aws.clients, lambda: REGION, template, models)}


def test_everything_that_matters_is_looked_at() -> None:
    found = checks(good(), "bedrock:amazon.nova-lite-v1:0")
    assert {name: check.status for name, check in found.items()} == {
        "region": "ok",
        "credentials": "ok",
        "CloudFormation": "ok",
        "Lambda concurrency": "ok",
        "capabilities": "info",
        "worker needs": "info",
        "code bucket": "ok",
        "access to bedrock:amazon.nova-lite-v1:0": "ok",
    }
    assert "CAPABILITY_IAM" in found["capabilities"].detail


def test_without_a_region_nothing_else_is_tried() -> None:
    def region() -> str:
        raise ConfigurationError("no region; pass region=")

    aws = good()
    (only,) = examine(aws.clients, region)
    assert (only.status, only.fix) == ("failure", "pass region=")
    assert aws.sent == []


def test_expired_credentials_end_it_with_their_fix() -> None:
    expired = refusal("ExpiredToken", "The security token included in the request is expired", 403)
    found = checks(good(sts__get_caller_identity=expired))
    assert found["credentials"].status == "failure"
    assert found["credentials"].fix is not None
    assert "renew" in found["credentials"].fix
    assert "CloudFormation" not in found


def test_a_look_that_is_not_allowed_names_its_action_and_the_rest_goes_on() -> None:
    denied = refusal("AccessDeniedException", "not authorized to perform: lambda:GetAccountSettings", 403)
    found = checks(good(lambda__get_account_settings=denied))
    assert found["Lambda concurrency"].status == "warning"
    assert "lambda:GetAccountSettings" in str(found["Lambda concurrency"].fix)
    assert found["code bucket"].status == "ok"


def test_a_broken_stack_is_pointed_at() -> None:
    broken = {"StackName": "old", "StackStatus": "UPDATE_ROLLBACK_FAILED", "CreationTime": datetime.now(UTC)}
    found = checks(good(cloudformation__describe_stacks={"Stacks": [broken]}))
    assert found["CloudFormation"].fix == "awsllm infra status old"


def test_too_little_concurrency_to_reserve_is_told() -> None:
    few = {"AccountLimit": {"ConcurrentExecutions": 10, "UnreservedConcurrentExecutions": 10}}
    found = checks(good(lambda__get_account_settings=few))["Lambda concurrency"]
    assert found.status == "warning"
    assert "reserve nothing" in str(found.fix)


def test_a_template_without_functions_needs_no_concurrency() -> None:
    queue = infra.template("shared")
    assert "Lambda concurrency" not in checks(good(), template=queue)


@pytest.mark.parametrize(
    ("member", "value", "fix"),
    [
        ("authorizationStatus", "NOT_AUTHORIZED", "Model access"),
        ("entitlementAvailability", "NOT_AVAILABLE", "Model access"),
        ("regionAvailability", "NOT_AVAILABLE", "another region"),
    ],
)
def test_a_model_that_may_not_be_called(member: str, value: str, fix: str) -> None:
    aws = good(bedrock__get_foundation_model_availability={**AVAILABLE, member: value})
    found = checks(aws, "bedrock:amazon.nova-lite-v1:0")["access to bedrock:amazon.nova-lite-v1:0"]
    assert found.status == "failure"
    assert f"{member} is {value}" in found.detail
    assert fix in str(found.fix)


def test_a_profile_and_a_model_that_there_are_not() -> None:
    missing = refusal("ResourceNotFoundException", "no such thing", 404)
    aws = good(bedrock__get_inference_profile=missing, bedrock__get_foundation_model_availability=missing)
    found = checks(aws, "bedrock:us.amazon.nova-lite-v9:0")
    assert found["bedrock:us.amazon.nova-lite-v9:0"].status == "failure"
    assert "awsllm models bedrock --kind profile" in str(found["bedrock:us.amazon.nova-lite-v9:0"].fix)
    assert found["access to bedrock:us.amazon.nova-lite-v9:0"].status == "failure"


def test_an_endpoint_is_looked_at() -> None:
    times = {"CreationTime": datetime.now(UTC), "LastModifiedTime": datetime.now(UTC)}
    where = {"EndpointName": "chat", "EndpointArn": "arn:aws:sagemaker:us-east-1:123456789012:endpoint/chat"}
    aws = good(sagemaker__describe_endpoint={**where, **times, "EndpointStatus": "Creating"})
    assert checks(aws, "sagemaker:chat/part")["sagemaker:chat/part"].status == "warning"


def test_the_command_line_shows_it_and_fails_where_something_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run: Run = runner(monkeypatch, capsys)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made-up")
    with mock_aws(reply="hi"):
        words = ("infra", "doctor", "shared", "--region", REGION, "--model", "bedrock:us.amazon.nova-lite-v1:0")
        found = json.loads(run(*words, "--json").out)
        assert {check["status"] for check in found} <= {"ok", "info"}
        assert any("goes to us-east-1, us-east-2, us-west-2" in check["detail"] for check in found)
        assert run("infra", "doctor", "--region", REGION, "--model", "bedrock:us.no.such-v1:0").code == 1
    result = run("infra", "doctor")
    assert result.code == 1
    assert "region" in result.out
