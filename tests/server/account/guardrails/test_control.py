"""Bedrock's operations on guardrails, asked by boto3 inside ``mock_aws``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from awsllm.testing import mock_aws

WORDS: dict[str, Any] = {"wordPolicyConfig": {"wordsConfig": [{"text": "acme"}]}}
MESSAGES = {"blockedInputMessaging": "Not in.", "blockedOutputsMessaging": "Not out."}


@pytest.fixture
def aws() -> Iterator[Any]:
    with mock_aws(reply="Fine.") as aws:
        yield aws


@pytest.fixture
def bedrock(aws: Any) -> Any:
    return boto3.client("bedrock", "us-east-1")


@pytest.fixture(scope="module")
def refusing() -> Iterator[Any]:
    """One account for what changes nothing in it."""
    with mock_aws(reply="Fine."):
        yield boto3.client("bedrock", "us-east-1")


def made(bedrock: Any, name: str = "g", **policies: Any) -> Any:
    return bedrock.create_guardrail(name=name, **MESSAGES, **(policies or WORDS))


def code_of(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


def action(guardrail: str, text: str, version: str = "DRAFT", region: str = "us-east-1") -> str:
    runtime = boto3.client("bedrock-runtime", region)
    content = [{"text": {"text": text}}]
    answer = runtime.apply_guardrail(
        guardrailIdentifier=guardrail, guardrailVersion=version, source="INPUT", content=content
    )
    return str(answer["action"])


def test_one_is_created_shown_and_applied(bedrock: Any) -> None:
    created = made(bedrock)
    assert created["ResponseMetadata"]["HTTPStatusCode"] == 202
    guardrail, arn = created["guardrailId"], created["guardrailArn"]
    assert (arn, created["version"]) == (f"arn:aws:bedrock:us-east-1:123456789012:guardrail/{guardrail}", "DRAFT")
    for name in (guardrail, arn):
        shown = bedrock.get_guardrail(guardrailIdentifier=name)
        assert shown["guardrailId"] == guardrail
        assert (shown["name"], shown["version"], shown["status"]) == ("g", "DRAFT", "READY")
        assert shown["createdAt"] == shown["updatedAt"] == created["createdAt"]
        assert shown["wordPolicy"]["words"][0]["text"] == "acme"
        assert shown["blockedOutputsMessaging"] == "Not out."
        assert action(name, "ACME!") == "GUARDRAIL_INTERVENED"
        assert action(name, "ace") == "NONE"


def test_every_policy_is_shown_as_it_was_given(bedrock: Any) -> None:
    policies = {
        "topicPolicyConfig": {
            "topicsConfig": [{"name": "t", "definition": "d", "examples": ["e"], "type": "DENY"}],
            "tierConfig": {"tierName": "STANDARD"},
        },
        "contentPolicyConfig": {
            "filtersConfig": [{"type": "PROMPT_ATTACK", "inputStrength": "HIGH", "outputStrength": "NONE"}]
        },
        "wordPolicyConfig": {"managedWordListsConfig": [{"type": "PROFANITY", "inputAction": "NONE"}]},
        "sensitiveInformationPolicyConfig": {
            "piiEntitiesConfig": [{"type": "NAME", "action": "ANONYMIZE"}],
            "regexesConfig": [{"name": "r", "pattern": "x+", "action": "BLOCK"}],
        },
        "contextualGroundingPolicyConfig": {"filtersConfig": [{"type": "GROUNDING", "threshold": 0.5}]},
        "crossRegionConfig": {"guardrailProfileIdentifier": "us.guardrail.v1:0"},
    }
    shown = bedrock.get_guardrail(
        guardrailIdentifier=bedrock.create_guardrail(
            name="all", description="All.", kmsKeyId="alias/mine", **MESSAGES, **policies
        )["guardrailId"]
    )
    assert shown["topicPolicy"]["tier"] == {"tierName": "STANDARD"}
    assert shown["topicPolicy"]["topics"][0]["examples"] == ["e"]
    assert shown["contentPolicy"]["filters"][0]["inputStrength"] == "HIGH"
    assert shown["wordPolicy"]["managedWordLists"][0]["inputAction"] == "NONE"
    assert shown["sensitiveInformationPolicy"]["piiEntities"] == [{"type": "NAME", "action": "ANONYMIZE"}]
    assert shown["sensitiveInformationPolicy"]["regexes"][0]["pattern"] == "x+"
    assert shown["contextualGroundingPolicy"]["filters"] == [{"type": "GROUNDING", "threshold": 0.5}]
    assert shown["crossRegionDetails"] == {
        "guardrailProfileId": "us.guardrail.v1:0",
        "guardrailProfileArn": "arn:aws:bedrock:us-east-1:123456789012:guardrail-profile/us.guardrail.v1:0",
    }
    assert shown["kmsKeyArn"] == "arn:aws:kms:us-east-1:123456789012:alias/mine"
    assert shown["description"] == "All."


def test_a_version_never_changes(bedrock: Any) -> None:
    guardrail = made(bedrock)["guardrailId"]
    assert bedrock.create_guardrail_version(guardrailIdentifier=guardrail, description="first")["version"] == "1"
    other = {"wordPolicyConfig": {"wordsConfig": [{"text": "apex"}]}}
    updated = bedrock.update_guardrail(guardrailIdentifier=guardrail, name="renamed", **MESSAGES, **other)
    assert updated["version"] == "DRAFT"
    assert [action(guardrail, text) for text in ("acme", "apex")] == ["NONE", "GUARDRAIL_INTERVENED"]
    assert [action(guardrail, text, "1") for text in ("acme", "apex")] == ["GUARDRAIL_INTERVENED", "NONE"]
    assert bedrock.create_guardrail_version(guardrailIdentifier=guardrail)["version"] == "2"
    shown = bedrock.get_guardrail(guardrailIdentifier=guardrail, guardrailVersion="1")
    assert (shown["version"], shown["name"], shown["description"]) == ("1", "g", "first")
    listed = bedrock.list_guardrails(guardrailIdentifier=guardrail)["guardrails"]
    assert [one["version"] for one in listed] == ["DRAFT", "1", "2"]
    bedrock.delete_guardrail(guardrailIdentifier=guardrail, guardrailVersion="2")
    assert bedrock.create_guardrail_version(guardrailIdentifier=guardrail)["version"] == "3"
    assert (
        code_of(bedrock.get_guardrail, guardrailIdentifier=guardrail, guardrailVersion="2")
        == "ResourceNotFoundException"
    )
    bedrock.delete_guardrail(guardrailIdentifier=guardrail)
    assert bedrock.list_guardrails()["guardrails"] == []
    assert code_of(bedrock.get_guardrail, guardrailIdentifier=guardrail) == "ResourceNotFoundException"


def test_lists_have_pages_and_regions_have_their_own(bedrock: Any) -> None:
    for number in range(5):
        made(bedrock, f"g{number}")
    pages = bedrock.get_paginator("list_guardrails").paginate(PaginationConfig={"PageSize": 2})
    found = [[one["name"] for one in page["guardrails"]] for page in pages]
    assert [len(page) for page in found] == [2, 2, 1]
    assert sorted(name for page in found for name in page) == [f"g{number}" for number in range(5)]
    assert boto3.client("bedrock", "eu-west-1").list_guardrails()["guardrails"] == []
    assert code_of(bedrock.list_guardrails, nextToken="7") == "ValidationException"
    guardrail = bedrock.list_guardrails()["guardrails"][0]["id"]
    with pytest.raises(ClientError, match="guardrail identifier or version provided in the request does not exist"):
        made(boto3.client("bedrock", "eu-west-1"))  # one that is there makes the other unknown, not the script's
        action(guardrail, "acme", region="eu-west-1")


def test_a_token_says_that_a_request_is_the_same(bedrock: Any) -> None:
    once = bedrock.create_guardrail(name="a", clientRequestToken="t1", **MESSAGES, **WORDS)
    again = bedrock.create_guardrail(name="a", clientRequestToken="t1", **MESSAGES, **WORDS)
    assert once["guardrailId"] == again["guardrailId"]
    refused = code_of(bedrock.create_guardrail, name="b", clientRequestToken="t1", **MESSAGES, **WORDS)
    assert refused == "ConflictException"
    guardrail = once["guardrailId"]
    for _ in range(2):
        made_version = bedrock.create_guardrail_version(guardrailIdentifier=guardrail, clientRequestToken="v1")
        assert made_version["version"] == "1"


def test_a_guardrailis_given_once(bedrock: Any) -> None:
    made(bedrock)
    with pytest.raises(ClientError, match="Another guardrail in your account already has this name") as caught:
        made(bedrock)
    assert caught.value.response["Error"]["Code"] == "ConflictException"
    other = made(bedrock, "h")["guardrailId"]
    assert code_of(bedrock.update_guardrail, guardrailIdentifier=other, name="g", **MESSAGES, **WORDS) == (
        "ConflictException"
    )


@pytest.mark.parametrize(
    ("policies", "message"),
    [
        ({"description": "none"}, "at least one policy"),
        ({"wordPolicyConfig": {"wordsConfig": [{"text": "one two three four"}]}}, "one to 3 words"),
        (
            {"contextualGroundingPolicyConfig": {"filtersConfig": [{"type": "GROUNDING", "threshold": 1.0}]}},
            "less than 1",
        ),
        (
            {
                "contentPolicyConfig": {
                    "filtersConfig": [{"type": "PROMPT_ATTACK", "inputStrength": "HIGH", "outputStrength": "LOW"}]
                }
            },
            "outputStrength of PROMPT_ATTACK must be NONE",
        ),
        (
            {
                "topicPolicyConfig": {
                    "topicsConfig": [{"name": "t", "definition": "d", "type": "DENY"}],
                    "tierConfig": {"tierName": "STANDARD"},
                }
            },
            "requires crossRegionConfig",
        ),
        (
            {"topicPolicyConfig": {"topicsConfig": [{"name": "t", "definition": "d", "type": "DENY"}] * 2}},
            "'t' is given more than once",
        ),
        *(
            (
                {
                    "sensitiveInformationPolicyConfig": {
                        "regexesConfig": [{"name": "r", "pattern": pattern, "action": "BLOCK"}]
                    }
                },
                message,
            )
            for pattern, message in (
                ("(", "cannot be read"),
                ("a(?R)?", "refers to itself"),
                ("a(?=b)", "looks around"),
                ("(?<!a)b", "looks around"),
            )
        ),
        (
            {
                "automatedReasoningPolicyConfig": {
                    "policies": ["arn:aws:bedrock:us-east-1:123456789012:automated-reasoning-policy/abcdefghijkl"]
                }
            },
            "not served offline",
        ),
        ({"wordPolicyConfig": {"wordsConfig": [{"text": "x" * 101}]}}, "less than or equal to 100"),
        (
            {"sensitiveInformationPolicyConfig": {"piiEntitiesConfig": [{"type": "SHOE_SIZE", "action": "BLOCK"}]}},
            "enum value set",
        ),
    ],
)
def test_a_configuration_that_is_none_is_refused(refusing: Any, policies: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=message) as caught:
        made(refusing, **policies)
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert refusing.list_guardrails()["guardrails"] == []


def test_quotas(bedrock: Any) -> None:
    guardrail = made(bedrock)["guardrailId"]
    for _ in range(20):
        bedrock.create_guardrail_version(guardrailIdentifier=guardrail)
    assert code_of(bedrock.create_guardrail_version, guardrailIdentifier=guardrail) == "ServiceQuotaExceededException"
    for number in range(99):
        made(bedrock, f"g{number}")
    assert code_of(bedrock.create_guardrail, name="more", **MESSAGES, **WORDS) == "ServiceQuotaExceededException"
    many = [{"key": str(number), "value": ""} for number in range(51)]
    bedrock.delete_guardrail(guardrailIdentifier=guardrail)
    assert code_of(bedrock.create_guardrail, name="tagged", tags=many, **MESSAGES, **WORDS) == "TooManyTagsException"


def test_its_tags_are_the_account_s(aws: Any, bedrock: Any) -> None:
    created = bedrock.create_guardrail(name="g", tags=[{"key": "team", "value": "a"}], **MESSAGES, **WORDS)
    tags = aws.plane.state("us-east-1").tags
    assert tags[created["guardrailArn"]] == {"team": "a"}
    arn = {"resourceARN": created["guardrailArn"]}
    bedrock.tag_resource(**arn, tags=[{"key": "cost", "value": "7"}])
    bedrock.untag_resource(**arn, tagKeys=["team"])
    assert bedrock.list_tags_for_resource(**arn)["tags"] == [{"key": "cost", "value": "7"}]
    bedrock.delete_guardrail(guardrailIdentifier=created["guardrailId"])
    assert tags == {}


def test_what_takes_time_cannot_be_changed_meanwhile() -> None:
    with mock_aws(reply="Fine.", transitions={"guardrail": 2}):
        bedrock = boto3.client("bedrock", "us-east-1")
        guardrail = made(bedrock)["guardrailId"]
        assert code_of(bedrock.create_guardrail_version, guardrailIdentifier=guardrail) == "ConflictException"
        with pytest.raises(ClientError, match="does not exist"):
            action(guardrail, "acme")
        statuses = [bedrock.get_guardrail(guardrailIdentifier=guardrail)["status"] for _ in range(3)]
        assert statuses == ["CREATING", "CREATING", "READY"]
        assert action(guardrail, "acme") == "GUARDRAIL_INTERVENED"
        bedrock.update_guardrail(guardrailIdentifier=guardrail, name="g", **MESSAGES, **WORDS)
        assert bedrock.get_guardrail(guardrailIdentifier=guardrail)["status"] == "UPDATING"
        assert action(guardrail, "acme") == "GUARDRAIL_INTERVENED"


def test_a_version_or_an_id_that_is_not_there_is_one_refusal(bedrock: Any) -> None:
    guardrail = made(bedrock)["guardrailId"]
    for name, version in (
        (guardrail, "7"),
        ("abc123", "DRAFT"),
        (f"arn:aws:bedrock:eu-west-1:123456789012:guardrail/{guardrail}", "DRAFT"),
    ):
        with pytest.raises(ClientError, match="guardrail identifier or version provided in the request") as caught:
            action(name, "acme", version)
        assert caught.value.response["Error"]["Code"] == "ValidationException"
