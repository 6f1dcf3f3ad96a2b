"""What the offline account lists before anything is made: foundation models, and who may use them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from awsllm.models.catalogue import row
from awsllm.testing import mock_aws
from tests.support.bedrock_account import CLAUDE, FOUNDATION, NOVA, bedrock
from tests.support.sagemaker_account import refusal


def test_the_list_is_of_its_day() -> None:
    """Probe 14."""
    then, later = (datetime(2026, month, 1, tzinfo=UTC).timestamp() for month in (4, 11))
    with mock_aws(reply="x", clock=lambda: then):
        models = {model["modelId"]: model for model in bedrock().list_foundation_models()["modelSummaries"]}
    haiku = models[CLAUDE]
    assert haiku["modelArn"] == FOUNDATION + CLAUDE
    assert (haiku["modelName"], haiku["providerName"]) == ("Claude 3 Haiku", "Anthropic")
    assert haiku["inputModalities"] == ["TEXT", "IMAGE"]
    assert haiku["outputModalities"] == ["TEXT"]
    assert haiku["responseStreamingSupported"] is True
    assert haiku["customizationsSupported"] == ["FINE_TUNING"]
    assert haiku["inferenceTypesSupported"] == ["ON_DEMAND", "PROVISIONED"]
    assert haiku["modelLifecycle"]["status"] == "LEGACY"
    assert haiku["modelLifecycle"]["endOfLifeTime"] == datetime(2026, 9, 10, tzinfo=UTC)
    assert models[NOVA]["modelLifecycle"] == {"status": "ACTIVE"}
    assert models["amazon.titan-embed-text-v2:0"]["outputModalities"] == ["EMBEDDING"]
    assert models["amazon.titan-embed-text-v2:0"]["responseStreamingSupported"] is False
    with mock_aws(reply="x", clock=lambda: later):
        assert CLAUDE not in [one["modelId"] for one in bedrock().list_foundation_models()["modelSummaries"]]
        assert bedrock().get_foundation_model(modelIdentifier=CLAUDE)["modelDetails"]["modelLifecycle"]["status"] == (
            "LEGACY"
        )


@pytest.mark.parametrize(
    ("filters", "member", "value"),
    [
        ({"byProvider": "Mistral AI"}, "providerName", "Mistral AI"),
        ({"byProvider": "amazon"}, "providerName", "Amazon"),
        ({"byOutputModality": "EMBEDDING"}, "outputModalities", "EMBEDDING"),
        ({"byCustomizationType": "FINE_TUNING"}, "customizationsSupported", "FINE_TUNING"),
        ({"byInferenceType": "PROVISIONED"}, "inferenceTypesSupported", "PROVISIONED"),
    ],
)
def test_filters(filters: dict[str, str], member: str, value: str) -> None:
    with mock_aws(reply="x"):
        found = bedrock().list_foundation_models(**filters)["modelSummaries"]
        assert found
        assert all(value in model[member] for model in found)
        assert len(found) < len(bedrock().list_foundation_models()["modelSummaries"])


@pytest.mark.parametrize("identifier", [NOVA, FOUNDATION + NOVA, f"{NOVA}:300k"])
def test_one_model(identifier: str) -> None:
    with mock_aws(reply="x"):
        details = bedrock().get_foundation_model(modelIdentifier=identifier)["modelDetails"]
        assert details["modelId"] == NOVA
        assert details["inputModalities"] == ["TEXT", "IMAGE", "VIDEO"]


def test_an_unknown_model() -> None:
    with mock_aws(reply="x"):
        for call, member in (
            (bedrock().get_foundation_model, "modelIdentifier"),
            (bedrock().get_foundation_model_availability, "modelId"),
            (bedrock().list_foundation_model_agreement_offers, "modelId"),
        ):
            code, message = refusal(call, **{member: "no.such-model-v9:9"})
            assert code == "ResourceNotFoundException"
            assert "no.such-model-v9:9" in message
        of_a_geography = {"modelIdentifier": f"us.{NOVA}"}
        assert refusal(bedrock().get_foundation_model, **of_a_geography)[0] == "ResourceNotFoundException"
        assert refusal(bedrock().list_foundation_models, byOutputModality="SMELL")[0] == "ValidationException"


def test_an_agreement() -> None:
    with mock_aws(reply="x"):
        client = bedrock()
        offer = client.list_foundation_model_agreement_offers(modelId=NOVA)["offers"][0]
        prices = (row(NOVA) or {})["prices"][""]
        assert [rate["price"] for rate in offer["termDetails"]["usageBasedPricingTerm"]["rateCard"]] == [
            str(prices["input"]),
            str(prices["output"]),
        ]
        availability = client.get_foundation_model_availability(modelId=NOVA)
        assert availability["authorizationStatus"] == "AUTHORIZED"
        assert availability["agreementAvailability"]["status"] == "AVAILABLE"
        client.delete_foundation_model_agreement(modelId=NOVA)
        assert client.get_foundation_model_availability(modelId=NOVA)["entitlementAvailability"] == "NOT_AVAILABLE"
        assert refusal(client.create_foundation_model_agreement, modelId=NOVA, offerToken="made-up")[0] == (
            "ValidationException"
        )
        client.create_foundation_model_agreement(modelId=NOVA, offerToken=offer["offerToken"])
        assert client.get_foundation_model_availability(modelId=NOVA)["entitlementAvailability"] == "AVAILABLE"


def test_the_use_case() -> None:
    with mock_aws(reply="x"):
        client = bedrock()
        assert refusal(client.get_use_case_for_model_access)[0] == "ResourceNotFoundException"
        client.put_use_case_for_model_access(formData=b'{"companyName": "A"}')
        assert client.get_use_case_for_model_access()["formData"] == b'{"companyName": "A"}'
