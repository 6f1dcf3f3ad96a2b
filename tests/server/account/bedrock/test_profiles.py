"""Inference profiles: the geographies', and applications'."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from awsllm.server.surfaces.routes import is_inline
from awsllm.server.work import Incoming
from awsllm.testing import mock_aws
from tests.support.bedrock_account import CLAUDE_BODY, FOUNDATION, MESSAGES, NOVA, WHERE, bedrock, names
from tests.support.sagemaker_account import client, refusal

SONNET = "anthropic.claude-sonnet-4-5-20250929-v1:0"


def create(name: str = "chat", source: str = FOUNDATION + NOVA, **more: Any) -> str:
    made = bedrock().create_inference_profile(
        inferenceProfileName=name, modelSource={"copyFrom": source}, **{"description": "for tests", **more}
    )
    return str(made["inferenceProfileArn"])


@pytest.mark.parametrize(
    ("region", "there"),
    [
        ("us-east-1", {"us", "global"}),
        ("eu-central-1", {"eu", "global"}),
        ("ap-northeast-1", {"apac", "jp", "global"}),
        ("ap-southeast-2", {"apac", "au", "global"}),
        ("us-gov-west-1", {"us-gov"}),
    ],
)
def test_a_region_has_the_profiles_of_its_geographies(region: str, there: set[str]) -> None:
    with mock_aws(reply="x"):
        pages = bedrock(region).get_paginator("list_inference_profiles").paginate(PaginationConfig={"PageSize": 7})
        found = [one for page in pages for one in page["inferenceProfileSummaries"]]
    assert {one["inferenceProfileId"].partition(".")[0] for one in found} == there
    assert {one["type"] for one in found} == {"SYSTEM_DEFINED"}
    assert names(found, "inferenceProfileId") == sorted(
        names(found, "inferenceProfileId"), key=lambda name: name.partition(".")[2]
    )


def test_one_of_a_geography() -> None:
    with mock_aws(reply="x"):
        found = bedrock().get_inference_profile(inferenceProfileIdentifier=f"us.{NOVA}")
        assert found["inferenceProfileArn"] == f"{WHERE}:inference-profile/us.{NOVA}"
        assert found["inferenceProfileName"] == "US Amazon Nova Lite"
        assert found["models"] == [
            {"modelArn": f"arn:aws:bedrock:{region}::foundation-model/{NOVA}"}
            for region in ("us-east-1", "us-east-2", "us-west-2")
        ]
        everywhere = bedrock().get_inference_profile(inferenceProfileIdentifier=f"global.{SONNET}")
        assert {"modelArn": f"arn:aws:bedrock:::foundation-model/{SONNET}"} in everywhere["models"]
        get, delete = bedrock().get_inference_profile, bedrock().delete_inference_profile
        assert refusal(get, inferenceProfileIdentifier=f"eu.{NOVA}")[0] == "ResourceNotFoundException"
        assert refusal(delete, inferenceProfileIdentifier=f"us.{NOVA}")[0] == "ValidationException"


def test_one_of_an_application() -> None:
    with mock_aws(reply="Hello.") as aws:
        arn = create(tags=[{"key": "team", "value": "a"}])
        found = bedrock().get_inference_profile(inferenceProfileIdentifier=arn)
        assert (found["type"], found["status"], found["description"]) == ("APPLICATION", "ACTIVE", "for tests")
        assert found["models"] == [{"modelArn": FOUNDATION + NOVA}]
        listed = bedrock().list_inference_profiles(typeEquals="APPLICATION")["inferenceProfileSummaries"]
        assert names(listed, "inferenceProfileArn") == [arn]
        assert bedrock().list_tags_for_resource(resourceARN=arn)["tags"] == [{"key": "team", "value": "a"}]
        reply = client("bedrock-runtime").converse(modelId=arn, messages=MESSAGES)
        assert reply["output"]["message"]["content"] == [{"text": "Hello."}]
        assert aws.requests[0].model == arn
        bedrock().delete_inference_profile(inferenceProfileIdentifier=arn)
        assert refusal(bedrock().get_inference_profile, inferenceProfileIdentifier=arn)[0] == (
            "ResourceNotFoundException"
        )
        assert refusal(bedrock().list_tags_for_resource, resourceARN=arn)[0] == "ResourceNotFoundException"


def test_what_its_model_cannot_do_is_refused() -> None:
    """The account knows what is behind an ARN, where the ARN does not say it."""
    with mock_aws(reply="x"):
        embed = create(source=FOUNDATION + "amazon.titan-embed-text-v2:0")
        code, message = refusal(client("bedrock-runtime").converse, modelId=embed, messages=MESSAGES)
        assert (code, "doesn't support the model" in message) == ("ValidationException", True)
        llama = create("llama", source=FOUNDATION + "meta.llama3-1-8b-instruct-v1:0")
        invoke = client("bedrock-runtime").invoke_model
        assert refusal(invoke, modelId=llama, body=json.dumps(CLAUDE_BODY)) == (
            "ValidationException",
            "prompt: is required",
        )
        another = llama[:-3] + "000"  # of nobody here: it is taken for a model that fits
        assert json.loads(invoke(modelId=another, body=json.dumps(CLAUDE_BODY))["body"].read())["type"] == "message"


def test_an_arn_of_nobody_where_the_account_is_strict() -> None:
    unknown = f"{WHERE}:application-inference-profile/abc123def456"
    with mock_aws(reply="x", strict_models=True):
        assert refusal(client("bedrock-runtime").converse, modelId=unknown, messages=MESSAGES) == (
            "ValidationException",
            "The provided model identifier is invalid.",
        )
        assert client("bedrock-runtime").converse(modelId=create(), messages=MESSAGES)["stopReason"] == "end_turn"


def test_the_server_waits_for_the_account_off_its_loop() -> None:
    arn = f"{WHERE}:application-inference-profile/abc123def456"
    assert is_inline(Incoming("POST", f"/model/{NOVA}/converse"))
    assert not is_inline(Incoming("POST", f"/model/{quote(arn, safe='')}/converse"))


def test_of_a_geography_s_profile() -> None:
    with mock_aws(reply="x"):
        arn = create(source=f"{WHERE}:inference-profile/us.{NOVA}")
        assert len(bedrock().get_inference_profile(inferenceProfileIdentifier=arn)["models"]) == 3


@pytest.mark.parametrize(
    ("source", "code"),
    [
        (FOUNDATION + "no.such-model-v9:9", "ResourceNotFoundException"),
        (f"{WHERE}:inference-profile/eu.{NOVA}", "ResourceNotFoundException"),
        (f"arn:aws:bedrock:us-west-2::foundation-model/{NOVA}", "ValidationException"),
        ("nova", "ValidationException"),
    ],
)
def test_sources_that_are_refused(source: str, code: str) -> None:
    with mock_aws(reply="x"):
        assert refusal(create, source=source)[0] == code


def test_names_tokens_and_quotas() -> None:
    with mock_aws(reply="x", quotas={"inference-profiles": 2}):
        arn = create(clientRequestToken="t1")
        assert create(clientRequestToken="t1") == arn
        assert refusal(create, name="other", clientRequestToken="t1")[0] == "ConflictException"
        router = bedrock().create_prompt_router(
            promptRouterName="r",
            models=[{"modelArn": FOUNDATION + NOVA}, {"modelArn": FOUNDATION + "amazon.nova-pro-v1:0"}],
            routingCriteria={"responseQualityDifference": 25},
            fallbackModel={"modelArn": FOUNDATION + NOVA},
            clientRequestToken="t1",
        )
        assert ":prompt-router/" in router["promptRouterArn"]  # a token is of its operation
        code, message = refusal(create)
        assert (code, "'chat'" in message) == ("ConflictException", True)
        create("second")
        assert refusal(create, name="third")[0] == "ServiceQuotaExceededException"


def test_pages() -> None:
    with mock_aws(reply="x"):
        made = [create(f"p{number}") for number in range(3)]
        first = bedrock().list_inference_profiles(typeEquals="APPLICATION", maxResults=2)
        assert names(first["inferenceProfileSummaries"], "inferenceProfileArn") == made[:0:-1]
        rest = bedrock().list_inference_profiles(typeEquals="APPLICATION", nextToken=first["nextToken"])
        assert names(rest["inferenceProfileSummaries"], "inferenceProfileArn") == made[:1]
        assert "nextToken" not in rest
        assert refusal(bedrock().list_inference_profiles, nextToken="made-up")[0] == "ValidationException"


def test_tags() -> None:
    with mock_aws(reply="x"):
        arn = create()
        bedrock().tag_resource(resourceARN=arn, tags=[{"key": f"k{n}", "value": "v"} for n in range(50)])
        assert refusal(bedrock().tag_resource, resourceARN=arn, tags=[{"key": "k", "value": "v"}])[0] == (
            "TooManyTagsException"
        )
        bedrock().untag_resource(resourceARN=arn, tagKeys=[f"k{n}" for n in range(1, 50)])
        assert bedrock().list_tags_for_resource(resourceARN=arn)["tags"] == [{"key": "k0", "value": "v"}]
        many = [{"key": f"k{n}", "value": "v"} for n in range(51)]
        assert refusal(create, name="other", tags=many)[0] == "TooManyTagsException"


def test_a_client_token_is_of_one_operation() -> None:
    with mock_aws(reply="x"):
        arn = create(clientRequestToken="t")
        assert create(clientRequestToken="t") == arn
        made = bedrock().create_provisioned_model_throughput(
            provisionedModelName="p", modelId=NOVA, modelUnits=1, clientRequestToken="t"
        )
    assert ":provisioned-model/" in made["provisionedModelArn"]
