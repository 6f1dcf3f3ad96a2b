"""Templates as text: CloudFormation's YAML read safely, and written so that CloudFormation reads the same."""

from pathlib import Path
from typing import Any

import pytest

from awsllm import infra
from awsllm.errors import ConfigurationError, ValidationError
from awsllm.infra.parameters import HIDDEN, TemplateParameter, as_text
from awsllm.infra.template_text import MOST_BYTES, read_document, write_json, write_yaml
from awsllm.infra.templates import read_template
from tests.support.command_line import Run, runner
from tests.support.data import DATA
from tests.support.stacks import NAMES

WORKER = str(DATA / "infra" / "worker.yaml")
NEEDED = {"CodeBucket": "b", "CodeKey": "k", "ModelId": "m", "ModelArns": "arn:x"}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(monkeypatch, capsys)


# --- reading ---------------------------------------------------------------------------------------------------------

FORMS: list[tuple[str, Any]] = [
    ("!Ref X", {"Ref": "X"}),
    ("!GetAtt A.B.C", {"Fn::GetAtt": ["A", "B.C"]}),
    ("!GetAtt [A, B]", {"Fn::GetAtt": ["A", "B"]}),
    ("!Sub '${A}-x'", {"Fn::Sub": "${A}-x"}),
    ("!If [C, !Ref A, !Ref 'AWS::NoValue']", {"Fn::If": ["C", {"Ref": "A"}, {"Ref": "AWS::NoValue"}]}),
    ("!Join ['-', [a, !Ref B]]", {"Fn::Join": ["-", ["a", {"Ref": "B"}]]}),
    ("!Condition C", {"Condition": "C"}),
    ("!Transform {Name: N}", {"Fn::Transform": {"Name": "N"}}),
    ("2012-10-17", "2012-10-17"),
    ("'true'", "true"),
]


@pytest.mark.parametrize(("text", "value"), FORMS)
def test_short_forms_are_read_as_long_ones(text: str, value: Any) -> None:
    assert read_document(f"X: {text}") == {"X": value}


@pytest.mark.parametrize(("_", "value"), FORMS)
def test_what_is_written_is_read_again(_: str, value: Any) -> None:
    document = {"X": value, "Y": "two\nlines", "Z": [1, 2.5, True, None, {}]}
    assert read_document(write_yaml(document)) == document
    assert read_document(write_json(document)) == document


@pytest.mark.parametrize("name", NAMES)
def test_awsllms_templates_survive(name: str) -> None:
    document = infra.template(name).document
    assert read_document(write_yaml(document)) == document


HOSTILE = [
    ("X: !!python/object/apply:os.system ['false']", "could not determine a constructor"),
    ("X: !!python/name:os.system", "could not determine a constructor"),
    ("X: &a [1]\nY: *a", "line 2: CloudFormation knows no YAML aliases"),
    ("X: 1\nX: 2", "line 2: 'X' stands twice"),
    ("X: [1", "line 1"),
    ("- a", "no mapping"),
    ("just text", "no mapping"),
    ("", "no mapping"),
    ("{" * 1500, "nested too deeply|did not find"),
    ("[" * 2000, "nested too deeply"),
    ("X: " + "a" * MOST_BYTES, "CloudFormation takes"),
    ("X: {[a]: b}", "a key is no text"),
]


@pytest.mark.parametrize(("text", "match"), HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_are_refused(text: str, match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        read_document(text)


def test_without_pyyaml_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'awsllm\[infra\]'"):
        read_document("X: 1")


# --- templates -------------------------------------------------------------------------------------------------------


def test_awsllms_templates_are_found_by_name() -> None:
    found = infra.list_templates()
    assert [each.name for each in found] == NAMES
    for each in found:
        assert each.title
        assert each.idle_cost.usd_per_month is not None
        assert each.idle_cost.date


def test_a_template_says_what_it_is() -> None:
    worker = infra.template(WORKER)
    assert (worker.name, worker.title) == ("worker", "Worker")
    assert worker.idle_cost.usd_per_month == 1.1
    assert [item.usd_per_month for item in worker.idle_cost.items] == [1.0, 0.1]
    assert worker.needs == ("a package",)
    assert worker.handlers == ("awsllm.lambdas.sqs.handler", "awsllm.lambdas.documents.handler")
    assert worker.capabilities() == ("CAPABILITY_IAM",)


@pytest.mark.parametrize(
    ("resource", "capabilities"),
    [
        ("{Type: AWS::SQS::Queue}", ()),
        ("{Type: AWS::IAM::Role, Properties: {RoleName: x}}", ("CAPABILITY_NAMED_IAM",)),
        ("{Type: AWS::IAM::Policy}", ("CAPABILITY_IAM",)),
        ("{Type: AWS::CloudFormation::Stack}", ("CAPABILITY_AUTO_EXPAND", "CAPABILITY_NAMED_IAM")),
    ],
)
def test_capabilities_follow_from_the_resources(resource: str, capabilities: tuple[str, ...]) -> None:
    assert read_template(f"Resources: {{A: {resource}}}", name="t").capabilities() == capabilities
    macro = read_template(f"Transform: AWS::Serverless-2016-10-31\nResources: {{A: {resource}}}", name="t")
    assert "CAPABILITY_AUTO_EXPAND" in macro.capabilities()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("Parameters: {}", "no Resources"),
        ("Resources: {}", "no Resources"),
        ("Resources: {A: {Type: X}}\nParameters: [a]", "Parameters is no mapping"),
        ("Resources: {A: {Type: X}}\nMetadata: {awsllm: {idle_cost: {usd_per_month: much}}}", "Metadata.awsllm"),
    ],
)
def test_what_is_no_template_is_told(text: str, match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        read_template(text, name="t")


def test_an_unknown_name_suggests_the_likest() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'chat-api'"):
        infra.template("chat-ap")
    with pytest.raises(ConfigurationError, match=r"there are batch, chat-api, .*\. A file is named"):
        infra.template("zzz")
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        infra.template("nowhere/template.yaml")


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "template.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        infra.template(path)


# --- parameters ------------------------------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"Type": "Number", "MinValue": 1, "MaxValue": 5}, "6", "is above 5"),
    ({"Type": "Number", "MinValue": 1, "MaxValue": 5}, "0", "is below 1"),
    ({"Type": "Number"}, "many", "is no number"),
    ({"Type": "List<Number>"}, "1,x", "is no number"),
    ({"Type": "String", "AllowedValues": ["a", "b"]}, "c", "is none of 'a', 'b'"),
    ({"Type": "CommaDelimitedList", "AllowedValues": ["a", "b"]}, "a,c", "is none of"),
    ({"Type": "String", "AllowedPattern": "[a-z]+"}, "abc1", "does not fit the pattern"),
    ({"Type": "String", "AllowedPattern": "[a-z]+", "ConstraintDescription": "is no word"}, "1", "is no word"),
    ({"Type": "String", "MinLength": 2}, "a", "is shorter than 2"),
    ({"Type": "String", "MaxLength": 2}, "abc", "is longer than 2"),
]


@pytest.mark.parametrize(("declared", "value", "match"), WRONG)
def test_a_value_that_does_not_fit_is_told(declared: dict[str, Any], value: str, match: str) -> None:
    problem = TemplateParameter.read("P", declared).problem(value)
    assert problem is not None
    assert problem.startswith(f"P='{value}' ")
    assert match in problem


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        ({"Type": "Number", "MinValue": 1}, "2.5"),
        ({"Type": "List<Number>"}, "1, 2"),
        ({"Type": "CommaDelimitedList", "AllowedPattern": "[a-z]+"}, "a, b"),
        ({"Type": "String", "AllowedPattern": "[a-z&&[^x]](?<=y"}, "anything"),  # Java's, which Python cannot read
        ({"Type": "AWS::EC2::VPC::Id"}, "vpc-1"),
        ({"Type": "AWS::SSM::Parameter::Value<String>"}, "/a/b"),
    ],
)
def test_a_value_that_fits_has_no_problem(declared: dict[str, Any], value: str) -> None:
    assert TemplateParameter.read("P", declared).problem(value) is None


def test_values_are_texts() -> None:
    assert [as_text(value) for value in (True, 3, 1.5, ["a", 2], "x")] == ["true", "3", "1.5", "a,2", "x"]
    with pytest.raises(ValidationError, match="a parameter's value is"):
        as_text({"a": 1})


def test_everything_that_is_wrong_is_told_at_once() -> None:
    given = {"QueueNam": "x", "Size": 11, "Secret": "abc", "CodeKey": "k", "ModelId": "m", "ModelArns": "a"}
    with pytest.raises(ValidationError) as caught:
        infra.render(WORKER, given)
    told = caught.value.message
    assert "no parameter QueueNam (did you mean QueueName?)" in told
    assert "Size='11' is above 10" in told
    assert "CodeBucket is missing" in told
    assert f"Secret={HIDDEN} is none that may be used" in told
    assert "abc" not in told


# --- rendering -------------------------------------------------------------------------------------------------------


def test_values_become_defaults_and_secrets_stay_out() -> None:
    made = infra.render(WORKER, {**NEEDED, "Size": 3, "Secret": "very secret"})
    assert made.document["Parameters"]["Size"]["Default"] == "3"
    assert made.document["Parameters"]["Secret"]["Default"] == "none"
    assert made.values["Size"] == "3"
    assert made.values["Secret"] == HIDDEN
    assert made.values["Level"] == "low"
    for form in ("yaml", "json"):
        assert "very secret" not in made.text(form)
        assert read_document(made.text(form)) == made.document
    with pytest.raises(ValidationError, match="yaml or json"):
        made.text("toml")


def test_the_rendering_is_valid_cloudformation() -> None:
    from cfnlint.api import ManualArgs, lint

    text = infra.render(
        WORKER, {**NEEDED, "CodeBucket": "code", "ModelArns": "arn:aws:bedrock:us-east-1::foundation-model/m"}
    ).text()
    ignored = ["W2001", "W2506"]  # the test's template uses not all its parameters
    found = lint(text, None, None, ManualArgs(regions=["us-east-1"], ignore_checks=ignored))
    assert [match.message for match in found] == []


def test_the_command_line_renders(run: Run, tmp_path: Path) -> None:
    words = ["infra", "render", WORKER, *(f"--parameter={name}={value}" for name, value in NEEDED.items())]
    assert read_document(run(*words).out)["Parameters"]["CodeKey"]["Default"] == "k"
    path = tmp_path / "out.json"
    result = run(*words, "--format", "json", "--output", str(path))
    assert read_document(path.read_text())["Parameters"]["ModelId"]["Default"] == "m"
    assert f"--template-file {path} --capabilities CAPABILITY_IAM --parameter-overrides Secret=..." in result.err
    assert run(*words, "--format", "xml").code == 1
    assert run("infra", "render", WORKER, "--parameter", "nothing").code == 2
    assert "cannot be written" in run(*words, "--output", str(tmp_path / "no" / "x")).err


@pytest.mark.parametrize(
    "text",
    [
        "CodeBucket: b\nCodeKey: k\nModelId: m\nModelArns: [a, b]\n",
        '{"Parameters": {"CodeBucket": "b", "CodeKey": "k", "ModelId": "m", "ModelArns": "a,b"}}',
        '[{"ParameterKey": "CodeBucket", "ParameterValue": "b"}, {"ParameterKey": "CodeKey", "ParameterValue": "k"},'
        ' {"ParameterKey": "ModelId", "ParameterValue": "m"}, {"ParameterKey": "ModelArns", "ParameterValue": "a,b"}]',
    ],
)
def test_parameters_come_from_a_file_too(run: Run, tmp_path: Path, text: str) -> None:
    path = tmp_path / "parameters"
    path.write_text(text)
    result = run("infra", "render", WORKER, "--parameters", str(path), "-p", "CodeKey=over")
    found = read_document(result.out)["Parameters"]
    assert (found["CodeKey"]["Default"], found["ModelArns"]["Default"]) == ("over", "a,b")


def test_a_bad_file_of_parameters_is_told(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "parameters"
    path.write_text('[{"Key": "a"}]')
    assert "without ParameterKey" in run("infra", "render", WORKER, "--parameters", str(path)).err
    assert "cannot be read" in run("infra", "render", WORKER, "--parameters", str(tmp_path / "none")).err


# --- listing ---------------------------------------------------------------------------------------------------------


def test_the_list_shows_titles_and_costs(run: Run) -> None:
    import json

    lines = run("infra", "list").out.splitlines()
    assert lines[0].split("  ")[0] == "TEMPLATE"
    assert len(lines) == len(NAMES) + 1
    assert "$" in lines[1]
    found = json.loads(run("infra", "list", "--json").out)
    assert [each["name"] for each in found] == NAMES


def test_one_template_is_shown_in_full(run: Run) -> None:
    out = run("infra", "list", WORKER).out
    assert "A queue, its worker, and a bucket that stays" in out
    assert "$1.10/month (https://aws.amazon.com/kms/pricing/, 2026-11)" in out
    assert "CAPABILITY_IAM" in out
    assert "low, high" in out


@pytest.mark.parametrize(
    "text",
    [
        "a: !!binary SGk=",
        "a: !!set {x}",
        "a: !!omap [x: 1]",
        "a: !!timestamp 2012-10-17",
        "a: !!python/name:os.system",
        "a: !!int zz",
        "a: !!bool zz",
        "a: {<<: {b: 1}, c: 2}",
        'a: "\\ud800"',
        "a: \x00",
        "a: " + "é" * (MOST_BYTES // 2),
    ],
)
def test_what_cloudformation_does_not_know_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        read_document(text)


@pytest.mark.parametrize(
    "text", ["012345670123", "1:30", "1_000", "0x1f", ".nan", "-.inf", "9" * 5000, "1:59" * 3000, "+1"]
)
def test_a_number_that_json_would_not_write_is_text(text: str) -> None:
    assert read_document(f"a: {text}\n{text}: b" if len(text) < 99 else f"a: {text}")["a"] == text


def test_keys_are_texts_as_they_are_written_and_escapes_are_characters() -> None:
    assert read_document('{true: 1, "x": "\\ud83d\\ude00", 2: 1.5}') == {"true": 1, "x": "\U0001f600", "2": 1.5}


@pytest.mark.parametrize(
    "given",
    [
        {"AllowedPattern": {"x": 1}},
        {"MinLength": "x"},
        {"MinValue": "x"},
        {"AllowedValues": 7},
        {"AllowedValues": "xyz"},
        {"Default": {"Ref": "x"}},
    ],
)
def test_a_parameter_that_makes_no_sense_is_told(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TemplateParameter.read("A", {"Type": "String", **given})


@pytest.mark.parametrize("resource", ["null", "[1]", "{Properties: [1]}"])
def test_a_resource_that_is_none_is_told(resource: str) -> None:
    with pytest.raises(ValidationError, match="the resource R is no mapping"):
        read_template(f"Resources: {{R: {resource}}}", name="t")
    looped = read_template("Resources: {'Fn::ForEach::X': [a], R: {Type: 'AWS::SNS::Topic'}}", name="t")
    assert [*looped.resources] == ["R"]
