"""Why CloudFormation failed, in the words of who must mend it."""

from __future__ import annotations

import pytest

from awsllm.infra.failures import _CAUSES, StackEvent, StackFailure, cause_of, first_failure

REASONS = [
    (
        "User: arn:aws:sts::1:x is not authorized to perform: lambda:CreateFunction on resource: f",
        "lacks lambda:C",
    ),
    ("You are not authorized to perform iam:PassRole", "lacks iam:PassRole"),
    ("The security token included in the request is expired", "ran out"),
    ("Error occurred while GetObject. S3 Error Code: NoSuchKey. S3 Error Message: The specified key", "code="),
    ("Error occurred while GetObject. S3 Error Code: PermanentRedirect.", "another region"),
    ("The role defined for the function cannot be assumed by Lambda.", "deploy again"),
    (
        "ReservedConcurrentExecutions decreases account's UnreservedConcurrentExecution below its minimum",
        "reserve less",
    ),
    ("The account-level service limit 'ml.g5.xlarge for endpoint usage' is 0 Instances", "Service Quotas"),
    ("Resource handler returned message: 'work already exists'", "another name"),
    ("The bucket you tried to delete is not empty", "delete_data=True"),
    ("resource sg-1 has a dependent object", "still uses it"),
    ("Template format error: Unrecognized resource types: [AWS::Bedrock::X]", "take another region"),
    ("You don't have access to the model with the specified model ID.", "Model access"),
    ("Rate exceeded", "deploy again"),
]


@pytest.mark.parametrize(("reason", "meaning"), REASONS)
def test_common_causes_are_told_with_their_fix(reason: str, meaning: str) -> None:
    assert meaning in str(cause_of(reason))


def test_every_row_of_the_table_has_a_reason_here() -> None:
    first = [next(row for row in _CAUSES if row.pattern.search(reason)) for reason, _ in REASONS]
    assert set(map(id, first)) == set(map(id, _CAUSES))


def test_an_unknown_reason_stands_alone() -> None:
    assert cause_of("something else") is None
    assert str(StackFailure(resource="Q", type="", reason="")) == "Q failed: no reason was given"


def event(resource: str, status: str, reason: str = "", *, of_stack: bool = False) -> StackEvent:
    return StackEvent(id="1", resource=resource, type="T", status=status, reason=reason, of_stack=of_stack)


@pytest.mark.parametrize("told", ["Resource creation cancelled", "Resource update canceled"])
def test_what_was_cancelled_is_no_cause(told: str) -> None:
    found = first_failure((event("A", "CREATE_FAILED", told), event("B", "CREATE_FAILED", "full")))
    assert found is not None
    assert found.resource == "B"


def test_where_only_the_stack_failed_that_is_told() -> None:
    found = first_failure((event("A", "CREATE_COMPLETE"), event("chat", "UPDATE_FAILED", "no", of_stack=True)))
    assert found is not None
    assert (found.resource, found.reason) == ("chat", "no")
    assert first_failure((event("A", "CREATE_COMPLETE"),)) is None
