"""`awsllm jumpstart`, `deploy` and `endpoints` against an AWS that is mocked, from search to nothing left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from awsllm.testing import mock_aws
from tests.support.command_line import Run, runner
from tests.support.data import DATA

DOCUMENTS = DATA / "jumpstart"
GATED, OPEN = "example-gated-lmi-chat", "example-open-tgi-instruct"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Run]:
    monkeypatch.setenv("AWSLLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWSLLM_SAGEMAKER_ROLE", "arn:aws:iam::123456789012:role/sagemaker")
    with mock_aws(reply="Hello there.", documents=DOCUMENTS):
        yield runner(monkeypatch, capsys)


def remaining() -> dict[str, list[Any]]:
    sagemaker = boto3.client("sagemaker", region_name="us-east-1")
    scaling = boto3.client("application-autoscaling", region_name="us-east-1")
    return {
        "models": sagemaker.list_models()["Models"],
        "configs": sagemaker.list_endpoint_configs()["EndpointConfigs"],
        "endpoints": sagemaker.list_endpoints()["Endpoints"],
        "components": sagemaker.list_inference_components()["InferenceComponents"],
        "targets": scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"],
        "alarms": boto3.client("cloudwatch", region_name="us-east-1").describe_alarms()["MetricAlarms"],
    }


def test_search_lists_what_matches(run: Run) -> None:
    result = run("jumpstart", "search", "tgi")
    assert result.code == 0
    assert OPEN in result.out
    assert GATED not in result.out
    assert "MODEL" in result.out.splitlines()[0]


def test_search_gives_json(run: Run) -> None:
    found = json.loads(run("jumpstart", "search", "--gated", "--json").out)
    assert GATED in [model["model_id"] for model in found]
    assert OPEN not in [model["model_id"] for model in found]


def test_show_names_licence_instances_and_price(run: Run) -> None:
    out = run("jumpstart", "show", GATED).out
    assert "--accept-eula" in out
    assert "ml.g5.2xlarge" in out
    assert "/hour" in out
    assert "default" in out


def test_show_raw_is_the_document(run: Run) -> None:
    raw = json.loads(run("jumpstart", "show", GATED, "--raw").out)
    assert raw["HubContentName"] == GATED


def test_an_unknown_model_is_one_line_with_what_was_meant(run: Run) -> None:
    result = run("jumpstart", "show", "example-gated-lmi-chta")
    assert result.code == 1
    assert GATED in result.err
    assert "Traceback" not in result.err


def test_a_gated_model_is_refused_with_its_url(run: Run) -> None:
    result = run("deploy", GATED)
    assert result.code == 1
    assert "https://" in result.err
    assert not any(remaining().values())


def test_a_plan_makes_nothing(run: Run) -> None:
    result = run("deploy", GATED, "--plan", "--accept-eula")
    assert result.code == 0
    assert "CreateEndpoint" in result.out or "endpoint" in result.out
    assert not any(remaining().values())


def test_a_saved_plan_is_applied(run: Run, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(run("deploy", OPEN, "--plan", "--json").out)
    deployed = json.loads(run("deploy", str(plan), "--json").out)
    assert deployed["status"] == "InService"
    assert deployed["endpoint"] == json.loads(plan.read_text())["endpoint"]


def test_from_deployment_to_nothing_left(run: Run) -> None:
    deployed = run("deploy", GATED, "--accept-eula", "--components", "--min", "0", "--max", "2", "--name", "chat")
    assert deployed.code == 0, deployed.err
    assert "sagemaker:chat/" in deployed.out
    reference = deployed.out.split()[0]

    listed = json.loads(run("endpoints", "list", "--json").out)
    assert [endpoint["name"] for endpoint in listed] == ["chat"]
    assert "chat" in run("endpoints", "list").out

    described = run("endpoints", "describe", "chat")
    assert "format" in described.out
    assert "djl-inference" in described.out

    answer = run("chat", "--model", reference, "Hi")
    assert "Hello there." in answer.out, answer.err

    assert run("endpoints", "logs", "chat").code == 0
    assert run("endpoints", "scale", "chat", "--copies", "0").code == 0

    gone = run("endpoints", "delete", "chat", "--json")
    assert gone.code == 0
    assert json.loads(gone.out)[0]["deleted"]
    assert not any(remaining().values())


def test_deploying_twice_makes_nothing_twice(run: Run) -> None:
    assert run("deploy", OPEN).code == 0
    before = remaining()
    assert run("deploy", OPEN).code == 0
    after = remaining()
    assert {kind: len(found) for kind, found in before.items()} == {kind: len(found) for kind, found in after.items()}


def test_reap_deletes_what_has_expired(run: Run) -> None:
    run("deploy", OPEN, "--ttl", "1e-6", "--name", "old")
    run("deploy", OPEN, "--ttl", "1", "--name", "young")
    assert "old" in run("endpoints", "reap", "--dry-run").out
    assert run("endpoints", "reap").code == 0
    assert [endpoint["EndpointName"] for endpoint in remaining()["endpoints"]] == ["young"]


def test_nothing_to_scale_is_a_wrong_command_line(run: Run) -> None:
    assert run("endpoints", "scale", "chat").code == 2
