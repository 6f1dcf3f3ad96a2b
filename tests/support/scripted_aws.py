"""boto3 clients whose operations answer from a script; requests and answers are both held against botocore's models.

For what moto cannot show: change sets of stacks that are there, failures, drift. ``Stacks`` is CloudFormation's part:
a stack whose events come as they are told, one step a look.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.exceptions import ClientError
from botocore.stub import Stubber

Answer = Callable[[dict[str, Any]], Any]
REGION, ACCOUNT = "us-east-1", "123456789012"
_TIME = datetime(2026, 11, 26, 12, tzinfo=UTC)
_SESSION = boto3.Session("AKIAEXAMPLE", "made-up", region_name=REGION)


@functools.cache
def _client(service: str) -> Any:
    return _SESSION.client(service)


@functools.cache
def mocked_session() -> boto3.Session:
    """A session for moto, to be asked for within ``mock_aws`` alone; one for all tests, for it keeps service models."""
    return boto3.Session("AKIAEXAMPLE", "made-up", region_name=REGION)


def refusal(code: str, text: str, status: int = 400) -> ClientError:
    """What boto3 raises for a refusal."""
    response: Any = {"Error": {"Code": code, "Message": text}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "Operation")


class ScriptedAws:
    """``answers`` are by ``service.operation`` in boto3's words: a response, an exception, or what is given the
    request. ``sent`` has every operation with its request."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def clients(self, service: str) -> Any:
        return _Scripted(self, service)

    def requests(self, operation: str) -> list[dict[str, Any]]:
        return [request for name, request in self.sent if name == operation]

    def operations(self) -> list[str]:
        return [name for name, _ in self.sent]


class _Scripted:
    def __init__(self, aws: ScriptedAws, service: str) -> None:
        self._aws, self._service = aws, service

    def close(self) -> None:
        """There is nothing to close."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(**request: Any) -> Any:
            operation = f"{self._service}.{name}"
            self._aws.sent.append((operation, request))
            answer = self._aws.answers[operation]
            answer = answer(request) if callable(answer) else answer
            if isinstance(answer, BaseException):
                raise answer
            client = _client(self._service)
            with Stubber(client) as stub:  # which holds the answer and the request against the service's model
                stub.add_response(name, answer)
                return getattr(client, name)(**request)

        return call


class Stacks:
    """CloudFormation with one stack. ``steps`` are what happens after a request (executing, deleting, going on with a
    rollback): events as (resource, status, reason), those of the stack itself under its name; one step a look."""

    def __init__(
        self,
        *,
        name: str = "chat",
        status: str | None = None,
        steps: Sequence[Sequence[tuple[str, str, str]]] = (),
        changes: Sequence[dict[str, Any]] = (),
        change_set: tuple[str, str] = ("CREATE_COMPLETE", ""),
        **stack: Any,
    ) -> None:
        self.name, self.status, self.changes, self.change_set = name, status, list(changes), change_set
        self.id = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{name}/1"
        self.arn = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:changeSet/awsllm-x/1"
        self.stack, self.resources, self.template = stack, [], "Resources: {}"  # type: tuple[Any, list[Any], Any]
        self._steps = [list(step) for step in steps]
        self._running = False
        self._events: list[dict[str, Any]] = []
        if status is not None:
            self._add(name, status, "")
        self.aws = ScriptedAws(
            {
                "cloudformation.describe_stacks": self._describe,
                "cloudformation.describe_stack_events": self._listed,
                "cloudformation.create_change_set": self._create,
                "cloudformation.describe_change_set": self._described,
                "cloudformation.execute_change_set": self._run,
                "cloudformation.delete_change_set": {},
                "cloudformation.list_change_sets": {"Summaries": []},
                "cloudformation.delete_stack": self._delete,
                "cloudformation.continue_update_rollback": self._run,
                "cloudformation.update_termination_protection": self._protect,
                "cloudformation.list_stack_resources": lambda _: {"StackResourceSummaries": self.resources},
                "cloudformation.get_template": lambda _: {"TemplateBody": self.template},
                "sts.get_caller_identity": {"Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:user/me"},
            }
        )

    def _add(self, resource: str, status: str, reason: str) -> None:
        of_stack = resource == self.name
        event = {
            "StackId": self.id,
            "StackName": self.name,
            "EventId": str(len(self._events)),
            "Timestamp": _TIME,
            "LogicalResourceId": resource,
            "PhysicalResourceId": self.id if of_stack else f"made-{resource}",
            "ResourceType": "AWS::CloudFormation::Stack" if of_stack else self.type_of(resource),
            "ResourceStatus": status,
        }
        self._events.append({**event, **({"ResourceStatusReason": reason} if reason else {})})
        if of_stack:
            self.status = status
            self._running = self._running and status.endswith("_IN_PROGRESS")

    def runs(self) -> None:
        """Somebody else began what the steps tell."""
        self._running = True

    def type_of(self, resource: str) -> str:
        return {"Function": "AWS::Lambda::Function", "Role": "AWS::IAM::Role"}.get(resource, "AWS::SQS::Queue")

    def _describe(self, request: dict[str, Any]) -> Any:
        by_id = request.get("StackName") == self.id
        if self.status is None or (self.status == "DELETE_COMPLETE" and not by_id):
            return refusal("ValidationError", f"Stack with id {request['StackName']} does not exist")
        known = {"StackName": self.name, "StackId": self.id, "CreationTime": _TIME, "StackStatus": self.status}
        return {"Stacks": [{**known, **self.stack}]}

    def _listed(self, request: dict[str, Any]) -> Any:
        if self._running and self._steps:
            for event in self._steps.pop(0):
                self._add(*event)
        return {"StackEvents": self._events[::-1]}

    def _create(self, request: dict[str, Any]) -> Any:
        if self.status in (None, "DELETE_COMPLETE"):
            self._add(self.name, "REVIEW_IN_PROGRESS", "")
        return {"Id": self.arn, "StackId": self.id}

    def _described(self, request: dict[str, Any]) -> Any:
        status, reason = self.change_set
        answer = {"ChangeSetId": self.arn, "Status": status, "StatusReason": reason, "Changes": self.changes}
        return {key: value for key, value in answer.items() if value != ""}

    def _run(self, request: dict[str, Any]) -> Any:
        self._running = True
        return {}

    def _delete(self, request: dict[str, Any]) -> Any:
        if self.status == "REVIEW_IN_PROGRESS":
            self.status = None
        self._running = True
        return {}

    def _protect(self, request: dict[str, Any]) -> Any:
        self.stack = {**self.stack, "EnableTerminationProtection": request["EnableTerminationProtection"]}
        return {"StackId": self.id}
