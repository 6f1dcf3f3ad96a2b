"""Names are unique and known."""

from __future__ import annotations

from awsllm.testing import mock_aws
from tests.support.sagemaker_account import ARN, ROLE, host, refusal


def test_names_are_unique_and_known() -> None:
    with mock_aws(reply="x"):
        sagemaker = host("e")
        code, message = refusal(sagemaker.create_endpoint, EndpointName="e", EndpointConfigName="e")
        assert (code, message) == (
            "ValidationException",
            f'Cannot create already existing endpoint "{ARN}:endpoint/e".',
        )
        missing = refusal(sagemaker.create_endpoint, EndpointName="f", EndpointConfigName="nope")
        assert missing[1] == f'Could not find endpoint configuration "{ARN}:endpoint-config/nope".'
        assert refusal(sagemaker.delete_model, ModelName="nope")[1] == f'Could not find model "{ARN}:model/nope".'
        assert refusal(sagemaker.delete_inference_component, InferenceComponentName="nope")[0] == "ValidationException"
        assert (
            refusal(sagemaker.create_model, ModelName="under_score", ExecutionRoleArn=ROLE)[0] == "ValidationException"
        )
