"""What holds for every template: it is valid, says what it is and costs, keeps data, and names nothing by itself."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
from cfnlint.api import lint
from cfnlint.config import ManualArgs

from tests.support.stacks import CASES, NAMES, ROOT, document, filled, text, walk

_REGIONS = ["us-east-1", "eu-central-1"]
_DATA = {
    "AWS::DynamoDB::Table",
    "AWS::KMS::Key",
    "AWS::Logs::LogGroup",
    "AWS::S3::Bucket",
    "AWS::S3Vectors::Index",
    "AWS::S3Vectors::VectorBucket",
    "AWS::SQS::Queue",
}
_KEPT_FOR_NOTHING = {
    ("documents", "IdempotencyTable"),  # what it knows is worth nothing without the queue
    ("documents", "Queue"),  # CloudFormation cannot stop what fills it, so it is emptied with the stack
    *((name, "Log") for name in NAMES if name != "shared"),  # how long logs are kept is a parameter
}
"""Data that goes with its stack, reviewed."""
_NAMES_OF_TYPES = re.compile(
    r"^(Name|.*(Function|Role|Table|Bucket|Queue|Topic|Group|Profile|Policy|Rule|Machine)Name)$"
)


def _properties(name: str) -> list[tuple[str, str, dict[str, Any]]]:
    return [(key, each["Type"], each.get("Properties", {})) for key, each in document(name)["Resources"].items()]


@pytest.mark.parametrize("name", NAMES)
def test_cfn_lint_has_nothing_to_say(name: str) -> None:
    config = ManualArgs(include_checks=["I"], regions=_REGIONS)
    found = lint(text(name), config=config)
    assert [f"{match.rule.id} line {match.linenumber}: {match.message}" for match in found] == []


def test_cfn_lint_is_heard() -> None:
    wrong = text("chat-api").replace("bedrock:InvokeModel,", "bedrock:Converse,", 1)
    assert [match.rule.id for match in lint(wrong, config=ManualArgs(regions=["us-east-1"]))] == ["W3037"]


@pytest.mark.parametrize("name", NAMES)
def test_a_template_says_what_it_is_and_costs(name: str) -> None:
    """As ``awsllm infra list`` shows it."""
    own = document(name)["Metadata"]["awsllm"]
    assert own["title"]
    assert own["summary"]
    assert isinstance(own["needs"], list)
    cost = own["idle_cost"]
    assert sum(float(each["usd_per_month"]) for each in cost["items"]) == pytest.approx(float(cost["usd_per_month"]))
    assert re.fullmatch(r"20\d\d-\d\d", cost["date"])
    assert all(each.startswith("https://aws.amazon.com/") for each in cost["source"].split())


@pytest.mark.parametrize("name", NAMES)
def test_its_idle_cost_counts_its_alarms(name: str) -> None:
    """0.10 US dollars each, 0.30 below a minute (CloudWatch's prices): what is made by default is what is told."""
    cost = sum(map(_cost_of_alarms, filled(name).resources.values()))
    told = document(name)["Metadata"]["awsllm"]["idle_cost"]["items"]
    counted = sum(float(each["usd_per_month"]) for each in told if "alarm" in each["what"])
    assert counted == pytest.approx(cost)


def _cost_of_alarms(resource: dict[str, Any]) -> float:
    """Application Auto Scaling makes two alarms of its own for a policy that tracks a target."""
    match resource["Type"]:
        case "AWS::CloudWatch::Alarm":
            return 0.3 if int(resource["Properties"].get("Period", 60)) < 60 else 0.1
        case "AWS::ApplicationAutoScaling::ScalingPolicy":
            return 0.6 if "HighResolution" in str(resource["Properties"]) else 0.0
        case _:
            return 0.0


@pytest.mark.parametrize("name", NAMES)
def test_it_says_which_rights_its_stack_needs(name: str) -> None:
    own = document(name)["Metadata"]["awsllm"]
    made = {kind for _, kind, _ in _properties(name)}
    assert own["capabilities"] == (["CAPABILITY_IAM"] if any(kind.startswith("AWS::IAM::") for kind in made) else [])


@pytest.mark.parametrize("name", NAMES)
def test_the_parameters_it_tells_of_exist(name: str) -> None:
    """Where the package goes, and which model is meant: what ``awsllm infra`` may fill in itself."""
    own, declared = document(name)["Metadata"]["awsllm"], document(name)["Parameters"]
    assert {*own.get("code", {}).values(), *own.get("model", {}).values()} <= declared.keys()
    assert bool(own.get("code")) == ("CodeBucket" in declared)
    assert all(each.get("Description") for each in declared.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_parameter_that_is_wrong_is_told_in_words(name: str) -> None:
    for parameter, declared in document(name)["Parameters"].items():
        assert ("AllowedPattern" in declared) == ("ConstraintDescription" in declared), parameter


@pytest.mark.parametrize("name", NAMES)
def test_nothing_has_a_name_of_its_own(name: str) -> None:
    """Names are generated, parameters or made of the stack's, so that two stacks stand side by side."""
    fixed = [
        f"{key}.{member}"
        for key, _, properties in _properties(name)
        for member, value in properties.items()
        if _NAMES_OF_TYPES.match(member) and isinstance(value, str)
    ]
    assert sorted(fixed) == _FIXED.get(name, [])


_FIXED = {
    "batch": ["MapPolicy.PolicyName"],  # within its role
    "chat-api": ["Live.Name"],  # an alias, within its function
    "knowledge-base": ["Documents.Name"],  # within its knowledge base
    "logging": ["CostByCaller.Name", "CostByDay.Name", "CostView.Name", "Failures.Name"],  # within their work group
    "gateway": ["AssumePolicy.PolicyName", "ModelPolicy.PolicyName"],  # within their role
}


@pytest.mark.parametrize("name", NAMES)
def test_no_partition_account_or_region_is_written_out(name: str) -> None:
    assert not re.search(
        r"arn:aws[:-]|\d{12}|us-east-\d", re.sub(r"(?m)^ *(#|Description:|source:).*$", "", text(name))
    )


@pytest.mark.parametrize("name", NAMES)
def test_data_outlives_its_stack(name: str) -> None:
    for key, each in document(name)["Resources"].items():
        if each["Type"] in _DATA and (name, key) not in _KEPT_FOR_NOTHING:
            assert (key, each.get("DeletionPolicy")) == (key, "RetainExceptOnCreate")
            assert (key, each.get("UpdateReplacePolicy")) == (key, "Retain")


@pytest.mark.parametrize(("name", "most"), CASES)
def test_what_can_be_encrypted_with_a_key_is(name: str, most: bool) -> None:
    stack = filled(name, most=most)
    key = stack.parameters.get("KeyArn")
    for logical, each in stack.resources.items():
        wanted = _ENCRYPTED.get(each["Type"])
        if key and wanted:
            assert any(part.get(wanted) == key for part in walk(each)), logical


_ENCRYPTED = {
    "AWS::DynamoDB::Table": "KMSMasterKeyId",
    "AWS::Lambda::Function": "KmsKeyArn",
    "AWS::Logs::LogGroup": "KmsKeyId",
    "AWS::S3::Bucket": "KMSMasterKeyID",
    "AWS::SQS::Queue": "KmsMasterKeyId",
    "AWS::SageMaker::EndpointConfig": "KmsKeyId",
}


@pytest.mark.parametrize(("name", "most"), CASES)
def test_logs_end_and_functions_are_traced_and_watched(name: str, most: bool) -> None:
    stack = filled(name, most=most)
    kinds = [each["Type"] for each in stack.resources.values()]
    for each in stack.resources.values():
        properties = each.get("Properties", {})
        if each["Type"] == "AWS::Logs::LogGroup":
            assert properties["RetentionInDays"]
        if each["Type"] == "AWS::Lambda::Function":
            assert properties["TracingConfig"] == {"Mode": "Active"}
            assert properties["LoggingConfig"]["LogGroup"]
            assert properties["Runtime"] == "python3.13"
            assert "AWS::CloudWatch::Alarm" in kinds
        if each["Type"] == "AWS::CloudWatch::Alarm" and most:
            assert properties["AlarmActions"] == [stack.parameters["AlarmTopicArn"]]


@pytest.mark.parametrize("name", NAMES)
def test_every_role_takes_a_boundary(name: str) -> None:
    for each in filled(name, most=True).resources.values():
        if each["Type"] == "AWS::IAM::Role":
            assert each["Properties"]["PermissionsBoundary"].endswith("policy/boundary")


@pytest.mark.parametrize("name", NAMES)
def test_everything_that_takes_tags_says_whose_it_is(name: str) -> None:
    from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

    for key, kind, properties in _properties(name):
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
        if "Tags" in schema["properties"] and kind not in _UNTAGGED:
            tags = properties.get("Tags")
            found = {each["Key"]: each["Value"] for each in tags} if isinstance(tags, list) else tags
            assert (key, found and found.get("awsllm")) == (key, name)


_UNTAGGED = {
    "AWS::CloudWatch::Alarm",  # found by the stack's own tags, which CloudFormation hands on
    "AWS::Events::Rule",
}


def test_the_package_carries_every_template() -> None:
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text(encoding="utf-8"))
    carried = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    file = "template.yaml"
    assert carried == {f"infra/{name}/{file}": f"awsllm/infra/templates/{name}/{file}" for name in NAMES}
    assert "/infra" in project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
