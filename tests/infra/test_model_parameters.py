"""The parameters of awsllm's templates that say which model is meant: from a reference to a role that may call it."""

from __future__ import annotations

from typing import Any

import pytest

from awsllm import infra
from awsllm.aws.authorization import Policies, Right
from awsllm.aws.iam import Arns
from awsllm.infra.model_arns import ModelArnFinder
from awsllm.infra.model_parameters import model_parameters
from awsllm.infra.permissions import Uses, derive
from tests.support.stacks import ACCOUNT, filled

REGION = "us-east-1"
ARNS = Arns(REGION, ACCOUNT)
REST = {"CodeBucket": "code", "CodeKey": "chat.zip"}
REFERENCES = ["amazon.nova-lite-v1:0", "us.amazon.nova-lite-v1:0", "global.amazon.nova-2-lite-v1:0"]


def rights(document: dict[str, Any]) -> list[Right]:
    """Every right that a document gives, with what its conditions ask for."""
    return [
        Right(
            action, resource, {key: value for keys in each.get("Condition", {}).values() for key, value in keys.items()}
        )
        for each in document["Statement"]
        for action in each["Action"]
        for resource in each["Resource"]
    ]


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("name", ["chat-api", "documents", "gateway"])
def test_a_templates_role_may_call_the_model_and_no_other(name: str, reference: str) -> None:
    finder = ModelArnFinder(ARNS)
    given = model_parameters(infra.template(name), (f"bedrock:{reference}",), {}, finder)
    stack = filled(name, REST | given)
    roles = Policies(stack.policies("CallerRole" if name == "gateway" else "Role"))
    wanted = rights(derive(finder.of(f"bedrock:{reference}"), Uses(), ARNS).policy)
    assert wanted
    assert [right for right in wanted if not roles.allow(right)] == []
    others = rights(derive(finder.of(f"bedrock:{reference}".replace("lite", "pro")), Uses(), ARNS).policy)
    assert [right for right in others if roles.allow(right)] == []
