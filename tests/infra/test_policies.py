"""awsllm's own judgement of the rights that templates give: actions by name, resources exact, roles handed on warily.

A mutation of a template shows that each rule is heard.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.stacks import CASES, NAMES, FilledIn, document, filled, walk

_ANYTHING = {
    "cloudwatch:PutMetricData",  # its namespace is a condition
    "ecr:GetAuthorizationToken",
    "xray:GetSamplingRules",
    "xray:GetSamplingTargets",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
    # A region has one configuration of invocation logging.
    "bedrock:DeleteModelInvocationLoggingConfiguration",
    "bedrock:GetModelInvocationLoggingConfiguration",
    "bedrock:PutModelInvocationLoggingConfiguration",
    "bedrock:RetrieveAndGenerate",
    # What a state machine needs to log (step-functions/latest/dg/cw-logs.html).
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:DescribeLogGroups",
    "logs:DescribeResourcePolicies",
    "logs:GetLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:UpdateLogDelivery",
    # What containers in subnets need (sagemaker/latest/dg/sagemaker-roles.html).
    "ec2:CreateNetworkInterface",
    "ec2:CreateNetworkInterfacePermission",
    "ec2:DeleteNetworkInterface",
    "ec2:DeleteNetworkInterfacePermission",
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
}
"""Actions that know no resource (AWS's service authorization reference), or whose service asks for every one."""
_KEY_POLICY = "in the policy of a key, every resource is that key"
_ENDPOINT_POLICY = "a VPC endpoint lets through what the caller's own policies allow, of this account alone"
_OPEN = {
    ("shared", "Key"): _KEY_POLICY,
    ("shared", "BedrockRuntimeEndpoint"): _ENDPOINT_POLICY,
    ("shared", "SageMakerRuntimeEndpoint"): _ENDPOINT_POLICY,
}
"""Resources whose own policies say ``*``, each with its reason."""


def _statements(stack: FilledIn) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statement of every policy that the stack makes, with the resource that has it."""
    for key, each in stack.resources.items():
        for part in walk(each):
            if "Effect" in part:
                yield key, part


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def findings(name: str, stack: FilledIn) -> list[str]:
    """What is wrong with the rights that a stack gives."""
    found = []
    for key, statement in _statements(stack):
        if statement["Effect"] != "Allow":
            continue
        actions, resources = _listed(statement["Action"]), _listed(statement.get("Resource", []))
        found += [f"{key}: {action} is a wildcard" for action in actions if "*" in action]
        found += [f"{key}: Not… allows what is not named" for each in statement if each.startswith("Not")]
        open_here = "*" in resources and (name, key) not in _OPEN
        found += [f"{key}: {each} on everything" for each in actions if open_here and each not in _ANYTHING]
        found += [f"{key}: {each} is not exact" for each in resources if not _exact(each)]
        found += _of_roles(key, statement, actions)
        found += _of_principals(name, key, statement)
    return found


def _exact(resource: str) -> bool:
    return resource == "*" or "*" not in resource or any(re.fullmatch(each, resource) for each in _FAMILIES)


_FAMILIES = {
    r"arn:aws:logs:[^:*]+:\d{12}:log-group:[^*]+:\*",  # the streams of one group
    r"arn:aws:bedrock:[^:*]+:\d{12}:model-invocation-job/\*",  # whose ids Bedrock makes up
    r"arn:aws:glue:[^:*]+:\d{12}:table/[^/*]+/\*",  # the tables of one database
    r"arn:aws:s3:::[^/*]+/[^*]*\*",  # the objects of one bucket
    r"arn:aws:states:[^:*]+:\d{12}:execution:[^:/*]+[:/]\*",  # the runs of one map
    r"arn:aws:execute-api:[^:*]+:\d{12}:[^/*]+/[^/*]+/\*",  # the methods of one stage
}
"""Resources with a wildcard: what one resource that is named contains."""


def _of_roles(key: str, statement: dict[str, Any], actions: list[str]) -> Iterator[str]:
    if "iam:PassRole" in actions:
        condition = statement.get("Condition", {})
        if "iam:PassedToService" not in condition.get("StringEquals", {}):
            yield f"{key}: a role is passed to whatever service"


def _of_principals(name: str, key: str, statement: dict[str, Any]) -> Iterator[str]:
    """A service is trusted with this account's errands alone; nobody else is trusted at all."""
    principal = statement.get("Principal", {})
    if principal == "*" and (name, key) not in _OPEN:
        yield f"{key}: everybody"
    services = _listed(principal.get("Service", [])) if isinstance(principal, dict) else []
    if set(services) - _OF_ITS_OWN and "Condition" not in statement:
        yield f"{key}: {services} on anybody's behalf"


_OF_ITS_OWN = {"lambda.amazonaws.com"}
"""Services that take a role only by a function that this account made, so their trust needs no condition."""


@pytest.mark.parametrize(("name", "most"), CASES)
def test_rights_are_named_one_by_one(name: str, most: bool) -> None:
    assert findings(name, filled(name, most=most)) == []


@pytest.mark.parametrize("name", NAMES)
def test_what_a_parameter_opens_is_still_named(name: str) -> None:
    for parameter, declared in document(name)["Parameters"].items():
        for value in declared.get("AllowedValues", []):
            assert findings(name, filled(name, {parameter: str(value)})) == []


def test_everything_reviewed_is_there() -> None:
    stacks = {name: filled(name, most=True) for name in NAMES}
    assert all(key in stacks[name].resources for name, key in _OPEN)
    used = {
        action
        for stack in stacks.values()
        for _, statement in _statements(stack)
        if statement.get("Resource") == "*"
        for action in _listed(statement["Action"])
    }
    assert used >= _ANYTHING


def _mutants(name: str) -> Iterator[tuple[str, FilledIn]]:
    """The template with one right widened."""
    for number, (key, statement) in enumerate(list(_statements_of(document(name)))):
        for what, change in _WIDENED.items():
            template = copy.deepcopy(document(name))  # which is shared
            (_, mutated) = list(_statements_of(template))[number]
            if change(mutated):
                stack = FilledIn(template, filled(name, most=True).given)
                if key in stack.resources:
                    yield f"{key}.{statement.get('Sid')} {what}", stack


def _statements_of(template: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, each in template["Resources"].items():
        for part in walk(each):
            if part.get("Effect") == "Allow":
                yield key, part


def _any_action(statement: dict[str, Any]) -> bool:
    (first, *_) = _listed(statement["Action"])
    statement["Action"] = first.split(":")[0] + ":*"
    return True


def _any_resource(statement: dict[str, Any]) -> bool:
    if statement.get("Resource", "*") == "*":
        return False
    statement["Resource"] = "*"
    return True


def _any_service(statement: dict[str, Any]) -> bool:
    if statement["Action"] != "iam:PassRole":
        return False
    del statement["Condition"]
    return True


def _anybody(statement: dict[str, Any]) -> bool:
    if statement.get("Principal", "*") == "*":
        return False
    statement["Principal"] = "*"
    return True


_WIDENED = {
    "any action": _any_action,
    "any resource": _any_resource,
    "any service": _any_service,
    "anybody": _anybody,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_right_that_is_widened_is_found(name: str) -> None:
    """In every statement of every template."""
    missed = [what for what, stack in _mutants(name) if not findings(name, stack)]
    assert [each for each in missed if each.split(" ", 1)[0].split(".")[0] not in _widely_open(name)] == []


def _widely_open(name: str) -> set[str]:
    return {key for template, key in _OPEN if template == name}
