"""The dashboard and the alarms of ``monitoring``, by CloudWatch's rules for them and the metrics that AWS documents.

The dashboard: AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html. Metrics of Bedrock:
bedrock/latest/userguide/monitoring-runtime-metrics.html; of endpoints: sagemaker/latest/dg/monitoring-cloudwatch.html;
of queues: AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html (read 2026-11-27).
"""

from __future__ import annotations

import json
import re
from typing import Any

import boto3
import pytest

from awsllm import infra
from awsllm.telemetry.emf import DIMENSIONS, NAMESPACE, UNITS
from awsllm.testing import mock_aws
from tests.support.stacks import FilledIn, filled

_DOCUMENTED = {
    ("AWS/Bedrock", ("ModelId",)): {
        *("Invocations", "InvocationLatency", "InvocationClientErrors", "InvocationServerErrors"),
        *("InvocationThrottles", "InputTokenCount", "OutputTokenCount", "TimeToFirstToken", "EstimatedTPMQuotaUsage"),
    },
    ("AWS/SageMaker", ("EndpointName", "VariantName")): {"Invocations", "Invocation5XXErrors", "ModelLatency"},
    ("AWS/SQS", ("QueueName",)): {"ApproximateNumberOfMessagesVisible"},
    (NAMESPACE, DIMENSIONS[0]): set(UNITS),
}
_SEARCH = re.compile(r"(?:SUM\()?SEARCH\('\{([^,}]+),([^}]+)\} MetricName=\"(\w+)\"', '(\w+)', (\d+)\)\)?")
_STATISTICS = re.compile(r"Sum|Average|Maximum|Minimum|SampleCount|p\d\d")


def body(stack: FilledIn) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(stack.resources["Dashboard"]["Properties"]["DashboardBody"])
    return found


def alarms(stack: FilledIn) -> dict[str, dict[str, Any]]:
    found = stack.resources.items()
    return {name: each["Properties"] for name, each in found if each["Type"] == "AWS::CloudWatch::Alarm"}


@pytest.mark.parametrize("most", [False, True])
def test_the_dashboard_is_one_by_the_rules(most: bool) -> None:
    found = body(filled("monitoring", most=most))
    assert found.keys() <= {"start", "end", "periodOverride", "variables", "widgets"}
    assert re.fullmatch(r"-P(T?\d+[MHDW])+", found["start"])
    taken: set[tuple[int, int]] = set()
    for widget in found["widgets"]:
        assert widget.keys() == {"type", "x", "y", "width", "height", "properties"}
        assert widget["type"] in ("metric", "alarm")
        assert 0 <= widget["x"] < widget["x"] + widget["width"] <= 24
        assert 1 <= widget["height"] <= 1000
        cells = {
            (x, y)
            for x in range(widget["x"], widget["x"] + widget["width"])
            for y in range(widget["y"], widget["y"] + widget["height"])
        }
        assert not cells & taken, "a widget lies over another"
        taken |= cells
        (_check_metric if widget["type"] == "metric" else _check_alarm)(widget["properties"])
    assert {widget["type"] for widget in found["widgets"]} == ({"metric", "alarm"} if most else {"metric"})


def _check_metric(properties: dict[str, Any]) -> None:
    assert properties.keys() <= {"title", "region", "view", "stacked", "period", "stat", "metrics"}
    assert (properties["view"], properties["region"]) == ("timeSeries", "us-east-1")
    assert properties["period"] % 60 == 0
    ids = []
    for metric in properties["metrics"]:
        if isinstance(metric[0], str):
            namespace, name, *dimensions = metric
            assert name in _DOCUMENTED[namespace, tuple(dimensions[::2])]
            continue
        (options,) = metric
        assert options.keys() <= {"expression", "id", "label"}
        assert re.fullmatch(r"[a-z][A-Za-z0-9_]*", options["id"])
        ids.append(options["id"])
        search = _SEARCH.fullmatch(options["expression"])
        assert search, options["expression"]
        assert search[3] in _DOCUMENTED[search[1], tuple(search[2].split(","))]
        assert _STATISTICS.fullmatch(search[4])
        assert int(search[5]) == properties["period"]
    assert len(ids) == len(set(ids))


def _check_alarm(properties: dict[str, Any]) -> None:
    assert properties.keys() == {"title", "alarms"}
    assert 1 <= len(properties["alarms"]) <= 100
    assert all(re.fullmatch(r"arn:aws:cloudwatch:us-east-1:\d{12}:alarm:.+", each) for each in properties["alarms"])


def test_every_alarm_is_on_the_dashboard() -> None:
    stack = filled("monitoring", most=True)
    shown = next(widget for widget in body(stack)["widgets"] if widget["type"] == "alarm")["properties"]["alarms"]
    assert sorted(arn.rpartition("-")[2] for arn in shown) == sorted(alarms(stack))


def test_alarms_look_at_documented_metrics_and_compute_with_what_they_have() -> None:
    for name, alarm in alarms(filled("monitoring", most=True)).items():
        if "MetricName" in alarm:
            dimensions = tuple(each["Name"] for each in alarm["Dimensions"])
            assert alarm["MetricName"] in _DOCUMENTED[alarm["Namespace"], dimensions], name
            assert alarm["Period"] * alarm["EvaluationPeriods"] <= 86_400
            continue
        queries = {each["Id"]: each for each in alarm["Metrics"]}
        assert len(queries) == len(alarm["Metrics"])
        assert [each["ReturnData"] for each in alarm["Metrics"]].count(True) == 1, name
        for each in queries.values():
            if "Expression" in each:
                words = set(re.findall(r"\b[a-z][a-z0-9]*\b", each["Expression"]))
                assert words <= queries.keys(), each["Expression"]
                continue
            metric = each["MetricStat"]["Metric"]
            dimensions = tuple(one["Name"] for one in metric["Dimensions"])
            assert metric["MetricName"] in _DOCUMENTED[metric["Namespace"], dimensions], name
            assert _STATISTICS.fullmatch(each["MetricStat"]["Stat"])
        used = {word for each in queries.values() for word in re.findall(r"\w+", each.get("Expression", ""))}
        unused = {key for key, each in queries.items() if key not in used and not each["ReturnData"]}
        assert not unused, name


def test_a_stack_watches_what_it_is_told_of_and_no_more() -> None:
    def names(**given: str) -> list[str]:
        return sorted(alarms(filled("monitoring", given)))

    assert names() == []
    assert names(ModelId="m") == ["ErrorAlarm", "FirstTokenAlarm", "ThrottleAlarm"]
    assert names(ModelId="m", TokensPerMinute="100") == ["ErrorAlarm", "FirstTokenAlarm", "QuotaAlarm", "ThrottleAlarm"]
    assert names(EndpointName="e") == ["EndpointErrorAlarm", "EndpointLatencyAlarm"]
    assert names(DeadLetterQueueName="q") == ["DeadLetterAlarm"]
    assert names(ServiceName="s") == []
    assert names(ServiceName="s", MostDailyUsd="5") == ["CostAlarm"]


def test_models_that_are_not_given_are_not_in_the_sums() -> None:
    def expression(**given: str) -> str:
        metrics = alarms(filled("monitoring", {"ModelId": "m", **given}))["ThrottleAlarm"]["Metrics"]
        return str(metrics[0]["Expression"])

    assert expression() == "SUM([FILL(t1,0)])"
    assert expression(ThirdModelId="n") == "SUM([FILL(t1,0),FILL(t3,0)])"
    quota = alarms(filled("monitoring", most=True))["QuotaAlarm"]
    assert [each.get("Expression") for each in quota["Metrics"][:4]] == [
        "MAX([p1,p2,p3])",
        *("100 * q1 / 200000", "100 * q2 / 100000", "100 * q3 / 400000"),
    ]
    assert quota["Threshold"] == "80"


def test_an_address_gets_a_topic_of_its_own_where_there_is_none() -> None:
    stack = filled("monitoring", {"ModelId": "m", "AlarmEmail": "ops@example.com"})
    topic = stack.outputs["TopicArn"]
    assert all(alarm["AlarmActions"] == [topic] == alarm["OKActions"] for alarm in alarms(stack).values())
    (statement,) = stack.resources["TopicPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert (statement["Action"], statement["Resource"]) == ("sns:Publish", topic)
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}
    given = {"AlarmEmail": "ops@example.com", "AlarmTopicArn": "arn:aws:sns:us-east-1:123456789012:alarms"}
    assert "Topic" not in filled("monitoring", given).resources
    assert "AlarmActions" not in alarms(filled("monitoring", {"ModelId": "m"}))["ErrorAlarm"]


def test_it_is_planned_and_deployed_offline() -> None:
    with mock_aws(reply="x"):
        given = {"ModelId": "us.amazon.nova-lite-v1:0"}
        plan = infra.plan("monitoring", stack="watch", parameters=given, region="us-east-1")
        assert {change.resource for change in plan.changes} == {
            *("Dashboard", "ErrorAlarm", "FirstTokenAlarm", "ThrottleAlarm")
        }
        deployed = infra.deploy("monitoring", stack="watch", parameters=given, region="us-east-1")
        assert deployed is not None
        name = deployed.outputs["Dashboard"]
        shown = boto3.client("cloudwatch", "us-east-1").get_dashboard(DashboardName=name)["DashboardBody"]
        assert len(json.loads(shown)["widgets"]) == 12
        more = {**given, "DeadLetterQueueName": "dead"}
        changes = infra.plan("monitoring", stack="watch", parameters=more, region="us-east-1").changes
        told = {(change.action, change.resource) for change in changes}
        assert told == {("add", "DeadLetterAlarm"), ("modify", "Dashboard")}
