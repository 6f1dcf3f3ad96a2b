"""Beside moto: what it makes answers too, and it stays as it was."""

from __future__ import annotations

import json

import pytest
from moto.sagemaker.models import sagemaker_backends

from awsllm.errors import ConfigurationError
from awsllm.testing import mock_aws
from tests.support.sagemaker_account import ROLE, VLLM, client, host, refusal, say, status

TEMPLATE = {
    "Resources": {
        "Model": {
            "Type": "AWS::SageMaker::Model",
            "Properties": {"ModelName": "cf", "ExecutionRoleArn": ROLE, "PrimaryContainer": VLLM},
        },
        "Config": {
            "Type": "AWS::SageMaker::EndpointConfig",
            "DependsOn": "Model",
            "Properties": {
                "EndpointConfigName": "cf",
                "ProductionVariants": [
                    {
                        "VariantName": "v",
                        "ModelName": {"Fn::GetAtt": ["Model", "ModelName"]},
                        "InitialInstanceCount": 1,
                        "InitialVariantWeight": 1,
                        "InstanceType": "ml.m5.large",
                    }
                ],
            },
        },
        "Endpoint": {
            "Type": "AWS::SageMaker::Endpoint",
            "DependsOn": "Config",
            "Properties": {
                "EndpointName": "cf",
                "EndpointConfigName": {"Fn::GetAtt": ["Config", "EndpointConfigName"]},
            },
        },
    }
}


def test_what_cloudformation_makes_is_motos_and_answers() -> None:
    with mock_aws(reply="Hi."):
        client("cloudformation").create_stack(StackName="s", TemplateBody=json.dumps(TEMPLATE))
        (endpoint,) = client("sagemaker").list_endpoints()["Endpoints"]
        name = endpoint["EndpointName"]
        assert say(name) == "Hi."
        assert status(name) == "InService"
        sagemaker = host("e")
        assert {one["EndpointName"] for one in sagemaker.list_endpoints()["Endpoints"]} == {name, "e"}
        assert len(sagemaker.list_models()["Models"]) == 2
        assert len(sagemaker.list_endpoint_configs()["EndpointConfigs"]) == 2
        sagemaker.delete_endpoint(EndpointName=name)
        assert refusal(status, name=name)[0] == "ValidationException"


def test_motos_list_of_dimensions_is_as_it_was() -> None:
    from moto.applicationautoscaling import models, responses

    before = models.ScalableDimensionValueSet
    with mock_aws(reply="x"), mock_aws(reply="y"):
        assert models.ScalableDimensionValueSet is not before
    assert models.ScalableDimensionValueSet is before is vars(responses)["ScalableDimensionValueSet"]


def test_a_stack_by_a_change_set_has_outputs_and_moto_is_as_it_was() -> None:
    from moto.cloudformation.models import ChangeSet
    from moto.sagemaker.models import FakeEndpoint

    before = vars(ChangeSet)["apply"], FakeEndpoint.cloudformation_name_type()
    template = {**TEMPLATE, "Outputs": {"What": {"Value": "that"}}}
    with mock_aws(reply="x"):
        formation = client("cloudformation")
        named = {"StackName": "s", "ChangeSetName": "c"}
        formation.create_change_set(**named, ChangeSetType="CREATE", TemplateBody=json.dumps(template))
        formation.execute_change_set(**named)
        (stack,) = formation.describe_stacks(StackName="s")["Stacks"]
        assert [one["OutputValue"] for one in stack["Outputs"]] == ["that"]
    assert (vars(ChangeSet)["apply"], FakeEndpoint.cloudformation_name_type()) == before


def test_a_moto_that_keeps_its_models_elsewhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with mock_aws(reply="x"):
        monkeypatch.delattr(sagemaker_backends["123456789012"]["us-east-1"], "_models")
        with pytest.raises(ConfigurationError, match=r"SageMakerModelBackend\._models"):
            client("sagemaker").list_models()
