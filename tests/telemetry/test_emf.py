"""CloudWatch's embedded metric format: lines held against the rules of its specification."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import awsllm
from awsllm.errors import ThrottlingError
from awsllm.telemetry import emf
from awsllm.telemetry.emf import EmbeddedMetrics
from awsllm.testing import ScriptedBackend

PRO = "bedrock:us.amazon.nova-pro-v1:0"
UNITS = (
    *("Seconds", "Microseconds", "Milliseconds", "Bytes", "Kilobytes", "Megabytes", "Gigabytes", "Terabytes", "Bits"),
    *("Kilobits", "Megabits", "Gigabits", "Terabits", "Percent", "Count", "Bytes/Second", "Kilobytes/Second"),
    *("Megabytes/Second", "Gigabytes/Second", "Terabytes/Second", "Bits/Second", "Kilobits/Second", "Megabits/Second"),
    *("Gigabits/Second", "Terabits/Second", "Count/Second", "None"),
)
NAME = {"type": "string", "minLength": 1, "maxLength": 255}
SCHEMA = {
    "type": "object",
    "required": ["_aws"],
    "properties": {
        "_aws": {
            "type": "object",
            "required": ["Timestamp", "CloudWatchMetrics"],
            "properties": {
                "Timestamp": {"type": "integer"},
                "CloudWatchMetrics": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["Namespace", "Dimensions", "Metrics"],
                        "additionalProperties": False,
                        "properties": {
                            "Namespace": NAME,
                            "Dimensions": {
                                "type": "array",
                                "minItems": 1,
                                "items": {"type": "array", "minItems": 1, "maxItems": 9, "items": NAME},
                            },
                            "Metrics": {
                                "type": "array",
                                "maxItems": 100,
                                "items": {
                                    "type": "object",
                                    "required": ["Name"],
                                    "additionalProperties": False,
                                    "properties": {"Name": NAME, "Unit": {"enum": list(UNITS)}},
                                },
                            },
                        },
                    },
                },
            },
        }
    },
}
"""The rules of CloudWatch_Embedded_Metric_Format_Specification (read 2026-11-27)."""


def valid(line: str) -> dict[str, Any]:
    """The line, if CloudWatch would make metrics of it."""
    assert line.endswith("\n")
    assert line.count("\n") == 1
    document: dict[str, Any] = json.loads(line)
    Draft202012Validator(SCHEMA).validate(document)
    for directive in document["_aws"]["CloudWatchMetrics"]:
        for dimensions in directive["Dimensions"]:
            assert all(isinstance(document[name], str) and document[name] for name in dimensions)
        for metric in directive["Metrics"]:
            value = document[metric["Name"]]
            assert isinstance(value, int | float)
            assert not isinstance(value, bool)
    assert len(line) < 256 * 1024
    return document


def client(script: Any, told: Any, **options: Any) -> awsllm.Client:
    policy = awsllm.Policy(sleep=lambda _: None, max_attempts=2)
    backends = {"bedrock": ScriptedBackend(script), "local": ScriptedBackend("Hi.")}
    return awsllm.Client(region="us-east-1", backends=backends, telemetry=told, policy=policy, **options)


def test_a_call_is_a_valid_line_with_its_metrics() -> None:
    written: list[str] = []
    caller = client(lambda _: "Hello there.", EmbeddedMetrics(written.append))
    with caller.converse_stream(PRO, "secret", tags={"user": "u1"}) as stream:
        cost = stream.response.cost
    document = valid(written[0])
    (directive,) = document["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "awsllm"
    assert directive["Dimensions"] == [["Service"], ["Service", "Model"]]
    units = {metric["Name"]: metric["Unit"] for metric in directive["Metrics"]}
    assert units.items() <= emf.UNITS.items()
    assert {"Calls", "Errors", "Latency", "TimeToFirstToken", "InputTokens", "OutputTokens", "CostUSD"} <= units.keys()
    assert (document["Service"], document["Model"]) == ("awsllm", "us.amazon.nova-pro-v1:0")
    assert (document["Calls"], document["Errors"], document["OutputTokens"]) == (1, 0, 2)
    assert document["CostUSD"] == cost
    assert document["tags"] == {"user": "u1"}
    assert "secret" not in written[0]


def test_errors_and_throttles_are_counted_with_every_model() -> None:
    written: list[str] = []
    error = ThrottlingError("secret", code="ThrottlingException", status=429)
    with pytest.raises(ThrottlingError):
        client(error, EmbeddedMetrics(written.append)).converse(PRO, "Hi")
    document = valid(written[0])
    assert (document["Errors"], document["Throttles"], document["Retries"]) == (1, 1, 1)
    assert document["error"] == "ThrottlingException"
    assert "TimeToFirstToken" not in document
    assert "secret" not in written[0]


def test_a_function_writes_to_its_output_by_its_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "chat")
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-5759e988-bd862e3fe1be46a994272793")
    client("Hi.", "emf").converse(PRO, "Hi")
    document = valid(capsys.readouterr().out)
    assert document["Service"] == "chat"
    assert document["xray_trace_id"].startswith("Root=1-")


def test_no_caller_makes_dimensions_without_end() -> None:
    written: list[str] = []
    caller = client("", EmbeddedMetrics(written.append))
    for number in range(60):
        caller.converse(f"local:model-{number}", "Hi")
    assert len({valid(line)["Model"] for line in written}) == 51
    assert valid(written[-1])["Model"] == "other"


def test_the_handlers_variable_turns_it_on(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from awsllm.lambdas import settings
    from awsllm.testing import mock_aws

    monkeypatch.setenv("AWSLLM_TELEMETRY", "emf")
    assert "AWSLLM_TELEMETRY" in {variable.name for variable in settings.VARIABLES}
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws(reply="Hi."):
        awsllm.Client().converse(PRO, "Hi")
    assert valid(capsys.readouterr().out)["Calls"] == 1
