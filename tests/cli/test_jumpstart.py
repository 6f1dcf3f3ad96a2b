"""`awsllm jumpstart`, `deploy` and `endpoints` against an AWS that is mocked, from search to nothing left."""

from __future__ import annotations

import io
import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from awsllm.cli.progress import Lines
from awsllm.jumpstart.deploy.progress import Progress
from awsllm.testing import MockAws, mock_aws
from tests.support.command_line import Run, runner
from tests.support.data import DATA

DOCUMENTS = DATA / "jumpstart"
ROLE = "arn:aws:iam::123456789012:role/sagemaker"
GATED, OPEN = "example-gated-lmi-chat", "example-open-tgi-instruct"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[MockAws]:
    monkeypatch.setenv("AWSLLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWSLLM_SAGEMAKER_ROLE", ROLE)
    with mock_aws(reply="Hello there.", documents=DOCUMENTS) as aws:
        yield aws


@pytest.fixture
def run(aws: MockAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(monkeypatch, capsys)


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


def test_a_saved_plan_refuses_every_option_that_would_change_it(run: Run, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(run("deploy", OPEN, "--plan", "--json").out)
    changing = (
        ("--instance-count", "1"), ("--accept-eula",), ("--min", "1"), ("--max", "2"), ("--role", ROLE), ("--ttl", "1"),
        ("--name", "other"), ("--format", "openai"), ("--hub", "mine"), ("--env", "A=B"), ("--async-output", "s3://b/o"),
    )  # fmt: skip
    for options in changing:
        refused = run("deploy", str(plan), *options)
        assert (refused.code, options[0] in refused.err) == (2, True)
        assert "plan again" in " ".join(refused.err.replace("│", " ").split())
    assert not any(remaining().values())


def test_what_is_no_plan_is_refused_by_its_name(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text("{}")
    refused = run("deploy", str(file))
    assert (refused.code, refused.out) == (1, "")
    assert f"{file}: this is not a plan" in refused.err


def test_the_plan_says_where_its_policy_is(run: Run) -> None:
    assert '"permissions" of --plan --json' in run("deploy", OPEN, "--plan").err
    assert json.loads(run("deploy", OPEN, "--plan", "--json").out)["permissions"]["Statement"]


def test_the_place_of_asynchronous_answers_is_named_as_its_option(run: Run) -> None:
    refused = run("deploy", OPEN, "--plan", "--async-output", "no-uri")
    assert (refused.code, refused.err) == (1, "awsllm: --async-output is 'no-uri'; it must be an s3:// URI\n")


def test_a_saved_plan_is_applied_in_its_own_region(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(run("deploy", OPEN, "--plan", "--json").out)
    assert run("deploy", str(plan), "--region", "eu-west-1").code == 2
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert json.loads(run("deploy", str(plan), "--json", "--keep-on-failure").out)["region"] == "us-east-1"


def test_a_plan_without_a_role_is_refused_before_anything_is_made(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWSLLM_SAGEMAKER_ROLE")
    result = run("deploy", OPEN, "--yes")
    assert (result.code, result.out, len(result.err.splitlines())) == (1, "", 1)
    assert "give --role ARN or set AWSLLM_SAGEMAKER_ROLE" in result.err
    assert not any(remaining().values())
    assert run("deploy", OPEN, "--plan").code == 0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("answer", "options", "made"), [("y", (), True), ("n", (), False), ("", (), False), ("", ("--yes",), True)]
)
def test_on_a_terminal_the_plan_is_shown_with_its_price_and_asked_about(
    run: Run, monkeypatch: pytest.MonkeyPatch, answer: str, options: tuple[str, ...], made: bool
) -> None:
    monkeypatch.setattr("io.StringIO", lambda text: Terminal(f"{answer}\n"))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    result = run("deploy", OPEN, *options)
    assert (result.code == 0, bool(remaining()["endpoints"])) == (made, made)
    assert "CreateEndpointConfig" in result.err
    assert "an hour" in result.err
    assert ("Make it, for $" in result.err) is (not options)


def test_what_runs_under_the_name_already_is_told(run: Run) -> None:
    assert "is there already" not in run("deploy", OPEN, "--name", "chat", "--components").err
    again = run("deploy", GATED, "--accept-eula", "--name", "chat", "--components")
    assert f"chat is there already and runs {OPEN}" in again.err
    assert "it is changed" in again.err
    same = run("deploy", GATED, "--accept-eula", "--name", "chat", "--components")
    assert "chat is there already as this plan made it" in same.err
    assert "it is changed" not in same.err
    without = run("deploy", GATED, "--accept-eula", "--name", "chat")
    assert without.code == 1
    assert "hosts inference components (chat), and this plan has none: give --components" in without.err


def test_the_tags_of_the_model_before_do_not_stay(run: Run) -> None:
    """GATED has configurations, and the SageMaker SDK reads from a tag which one it is."""
    run("deploy", GATED, "--accept-eula", "--name", "chat")
    before = json.loads(run("endpoints", "describe", "chat", "--json").out)["tags"]
    run("deploy", OPEN, "--name", "chat")
    after = json.loads(run("endpoints", "describe", "chat", "--json").out)["tags"]
    assert before["sagemaker-sdk:jumpstart-inference-config-name"] == "lmi"
    assert "sagemaker-sdk:jumpstart-inference-config-name" not in after
    assert after["sagemaker-sdk:jumpstart-model-id"] == OPEN


def test_a_deployment_that_is_terminated_says_what_it_leaves(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CI system that gives up sends SIGTERM."""
    write, before = Lines.__call__, signal.getsignal(signal.SIGTERM)

    def terminate(self: Lines, progress: Progress) -> None:
        write(self, progress)
        if (progress.resource, progress.state) == ("chat", "creating"):
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Lines, "__call__", terminate)
    result = run("deploy", OPEN, "--name", "chat")
    assert result.code == 128 + signal.SIGTERM
    assert "delete it with `awsllm endpoints delete chat`" in result.err
    assert signal.getsignal(signal.SIGTERM) == before


def test_logs_of_nothing_say_so(run: Run) -> None:
    nothing = run("endpoints", "logs", "nosuch")
    assert (nothing.code, nothing.out) == (1, "")
    assert "no endpoint 'nosuch'" in nothing.err


def test_a_question_that_nobody_would_see_is_not_asked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("io.StringIO", lambda text: Terminal("y\n"))
    result = run("deploy", OPEN)
    assert (result.code, "--yes" in result.err) == (2, True)
    assert not any(remaining().values())
    run("deploy", OPEN, "--name", "chat", "--yes")
    result = run("endpoints", "delete", "chat")
    assert (result.code, "--yes" in result.err) == (2, True)
    assert remaining()["endpoints"]


@pytest.mark.parametrize(("answer", "options", "gone"), [("y", (), True), ("n", (), False), ("", ("--yes",), True)])
def test_a_deletion_is_asked_about_on_a_terminal(
    run: Run, monkeypatch: pytest.MonkeyPatch, answer: str, options: tuple[str, ...], gone: bool
) -> None:
    run("deploy", OPEN, "--name", "chat", "--yes")
    monkeypatch.setattr("io.StringIO", lambda text: Terminal(f"{answer}\n"))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    result = run("endpoints", "delete", "chat", *options)
    assert (result.code == 0, not remaining()["endpoints"]) == (gone, gone)
    assert ("Delete chat" in result.err) is (not options)


def test_a_deployment_that_fails_says_what_became_of_it(run: Run) -> None:
    aws = run("deploy", OPEN, "--instance-type", "ml.nothing", "--name", "chat")
    assert aws.code == 1
    assert "removed again: model chat-" in aws.err


def test_an_endpoint_is_described_and_deleted_as_tables(run: Run, aws: MockAws) -> None:
    run("deploy", OPEN, "--components", "--min", "0", "--max", "2", "--name", "chat", "--env", "A_SECRET=x")
    described = run("endpoints", "describe", "chat").out
    tables = [table.splitlines() for table in described.split("\n\n")]
    assert [table[0].split()[0] for table in tables] == ["endpoint", "MODEL", "SCALES", "VARIABLE", "TAG"]
    assert [line.split() for line in tables[2][1:]] == [
        ["inference-component/chat", "0", "2", "chat-load,", "chat-wake"]
    ]
    assert ["chat", "A_SECRET", "****"] in [line.split() for line in tables[3]]

    aws.plane.refuse("DeleteEndpoint", "AccessDeniedException", "not yours")
    deleted = run("endpoints", "delete", "chat", "nothing")
    assert deleted.code == 1
    rows = [line.split() for line in deleted.out.splitlines()]
    assert rows[0] == ["RESOURCE", "OUTCOME", "WHY"]
    assert ["inference", "component", "chat", "deleted"] in rows
    assert ["endpoint", "chat", "failed", "not", "yours"] in [row[:5] for row in rows]
    assert {row[2] for row in rows if row[0] == "model"} == {"skipped"}
    assert rows[-1] == ["endpoint", "nothing", "not", "there"]

    aws.plane.refuse("ListModels", "AccessDeniedException", "not yours")
    unseen = run("endpoints", "delete", "chat")
    assert unseen.code == 1
    assert "models of earlier versions" in unseen.out
    assert run("endpoints", "delete", "chat").code == 0
    assert not any(remaining().values())


def test_one_that_cannot_be_deleted_keeps_no_other(run: Run) -> None:
    sagemaker = boto3.client("sagemaker", region_name="us-east-1")
    sagemaker.create_model(ModelName="theirs", PrimaryContainer={"Image": "i"}, ExecutionRoleArn=ROLE)
    variant = {"VariantName": "v", "ModelName": "theirs", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName="theirs", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="theirs", EndpointConfigName="theirs")
    run("deploy", OPEN, "--name", "chat")
    result = run("endpoints", "delete", "theirs", "chat")
    assert result.code == 1
    assert "give --foreign" in result.err
    assert [each["EndpointName"] for each in remaining()["endpoints"]] == ["theirs"]


def test_messages_speak_of_the_flags_of_the_command_line(run: Run) -> None:
    run("deploy", OPEN, "--name", "one", "--components", "--min", "0", "--max", "2")
    refusals = [
        (("deploy", GATED), "--accept-eula"),
        (("deploy", OPEN, "--min", "0"), "give --components or --async-output, or --min 1"),
        (("deploy", OPEN, "--role", "nonsense"), "--role 'nonsense'"),
        (("deploy", OPEN, "--components", "--async-output", "s3://b/o"), "give --components or --async-output"),
        (("endpoints", "scale", "one", "--copies", "9"), "give --min or --max"),
    ]
    for command, flag in refusals:
        result = run(*command)
        [line] = result.err.splitlines()
        assert (result.code, flag in line) == (1, True), line
        assert not re.search(r"\b[a-z]+_[a-z_]*|\b[a-z]+=", line.partition("https://")[0]), line


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


def test_any_container_is_deployed_and_deleted(run: Run) -> None:
    image = "763104351884.dkr.ecr.us-east-1.amazonaws.com/vllm:server-sagemaker-cuda"
    options = ("--image", image, "--instance-type", "ml.g5.2xlarge", "--name", "harbour")
    shown = run("deploy", "org/model", *options, "--plan")
    assert shown.code == 0
    assert "org/model server-sagemaker-cuda as sagemaker:harbour" in shown.out
    assert run("deploy", "org/model", *options, "--yes").code == 0
    assert run("endpoints", "delete", "harbour", "--yes").code == 0
    assert not any(remaining().values())
    nothing = run("deploy", "--plan")
    assert nothing.code == 2
    assert "--image" in nothing.err
