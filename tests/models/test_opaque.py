"""ARNs that do not say which model they are: what is asked, and what is read of the answer.

The judge of operations and members is botocore's service model; the replies are shaped as it says.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore import xform_name
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from awsllm.models.opaque import Finding, opaque_kind, priced_as_its_model, question, read
from awsllm.models.profiles import profile

HERE = "arn:aws:bedrock:us-east-1:123456789012:"
SONNET = "anthropic.claude-sonnet-4-6"
FOUNDATION = f"arn:aws:bedrock:us-east-1::foundation-model/{SONNET}"
CUSTOM = f"{HERE}custom-model/amazon.nova-lite-v1:0:300k.abcdefghijkl/xyz123456789"

CASES: list[tuple[str, dict[str, Any], Finding]] = [
    (f"{HERE}application-inference-profile/a1b2c3", {"models": [{"modelArn": FOUNDATION}]}, Finding(SONNET)),
    (
        f"{HERE}application-inference-profile/a1b2c4",
        {"models": [{"modelArn": FOUNDATION}, {"modelArn": f"arn:aws:bedrock:::foundation-model/{SONNET}"}]},
        Finding(f"global.{SONNET}"),
    ),
    (f"{HERE}application-inference-profile/a1b2c5", {"models": []}, Finding()),
    (f"{HERE}imported-model/abcdefghijkl", {"modelArchitecture": "qwen2"}, Finding("architecture:chat/qwen2")),
    (
        f"{HERE}imported-model/abcdefghijkl",
        {"modelArchitecture": "qwen2", "creationTime": datetime(2025, 11, 10, tzinfo=UTC)},
        Finding("architecture:qwen2"),
    ),
    (f"{HERE}imported-model/abcdefghijkm", {}, Finding()),
    (CUSTOM, {"baseModelArn": FOUNDATION}, Finding(SONNET)),
    (f"{HERE}custom-model-deployment/abcdefghijkl", {"modelArn": CUSTOM}, Finding(next=CUSTOM)),
    (f"{HERE}provisioned-model/abcdefghijkl", {"foundationModelArn": FOUNDATION}, Finding(SONNET)),
    (
        f"{HERE}prompt-router/abcdefghijkl",
        {"fallbackModel": {"modelArn": f"{HERE}inference-profile/us.{SONNET}"}, "models": []},
        Finding(f"us.{SONNET}"),
    ),
    (f"{HERE}default-prompt-router/anthropic.claude:1", {"models": [{"modelArn": FOUNDATION}]}, Finding(SONNET)),
    (
        f"{HERE}prompt/ABCDEFGHIJ:7",
        {
            "variants": [{"name": "a", "modelId": "amazon.nova-lite-v1:0"}, {"name": "b", "modelId": SONNET}],
            "defaultVariant": "b",
        },
        Finding(SONNET),
    ),
    (f"{HERE}prompt/ABCDEFGHIK", {"variants": []}, Finding()),
    (
        "arn:aws:sagemaker:us-east-1:123456789012:endpoint/mine",
        {
            "marketplaceModelEndpoint": {
                "modelSourceIdentifier": "arn:aws:sagemaker:us-east-1:aws:hub-content/SageMakerPublicHub/Model/"
                "huggingface-llm-mistral-7b"
            }
        },
        Finding("architecture:huggingface-llm-mistral-7b"),
    ),
]


@pytest.mark.parametrize(("arn", "reply", "expected"), CASES)
def test_what_an_answer_says(arn: str, reply: dict[str, Any], expected: Finding) -> None:
    assert opaque_kind(arn)
    assert read(arn, reply) == expected
    if expected.family:
        assert profile("bedrock", arn, expected.family).known


@pytest.mark.parametrize(("arn", "reply"), [(case[0], case[1]) for case in CASES])
def test_botocore_knows_the_operation_and_its_members(arn: str, reply: dict[str, Any]) -> None:
    asked = question(arn)
    model = ServiceModel(Loader().load_service_model(asked.service, "service-2"), asked.service)
    operation = model.operation_model(
        next(name for name in model.operation_names if xform_name(name) == asked.operation)
    )
    assert not ParamValidator().validate(asked.parameters, operation.input_shape).generate_report()
    assert reply.keys() <= operation.output_shape.members.keys()


def test_a_prompts_version_is_asked_apart() -> None:
    assert question(f"{HERE}prompt/ABCDEFGHIJ:7").parameters == {
        "promptIdentifier": f"{HERE}prompt/ABCDEFGHIJ",
        "promptVersion": "7",
    }
    assert question(f"{HERE}prompt/ABCDEFGHIJ").parameters == {"promptIdentifier": f"{HERE}prompt/ABCDEFGHIJ"}


@pytest.mark.parametrize(
    "model", [SONNET, f"us.{SONNET}", FOUNDATION, f"{HERE}inference-profile/us.{SONNET}", "arn:aws:s3:::x"]
)
def test_what_says_its_model_is_not_opaque(model: str) -> None:
    assert opaque_kind(model) is None


def test_only_some_cost_what_their_model_costs() -> None:
    assert priced_as_its_model(f"{HERE}application-inference-profile/a")
    assert priced_as_its_model(f"{HERE}prompt/ABCDEFGHIJ:7")
    for kind in ("imported-model", "custom-model", "custom-model-deployment", "provisioned-model", "prompt-router"):
        assert not priced_as_its_model(f"{HERE}{kind}/a")
    assert not priced_as_its_model(SONNET)
