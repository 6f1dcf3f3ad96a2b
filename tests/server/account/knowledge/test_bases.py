"""Knowledge bases and data sources as boto3 sees them: their lives, names, pages, tags, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from awsllm.testing import mock_aws
from tests.support.knowledge import (
    CUSTOM,
    ROLE,
    S3,
    STORE,
    VECTOR,
    agent,
    base,
    found,
    ingest,
    ingested,
    runtime,
    source,
    texts,
)
from tests.support.sagemaker_account import refusal

TOKEN = "t" * 40
UNKNOWN = "AAAAAAAAAA"


def test_a_base_lives_as_its_transitions_say() -> None:
    now = [1_000.0]
    with mock_aws(reply="x", transitions={"knowledge-base": 2}, clock=lambda: now[0]):
        made = agent().create_knowledge_base(
            name="b", roleArn=ROLE, knowledgeBaseConfiguration=VECTOR, storageConfiguration=STORE, description="Books."
        )["knowledgeBase"]
        ids = {"knowledgeBaseId": made["knowledgeBaseId"]}
        assert made["status"] == "CREATING"
        assert (
            refusal(agent().create_data_source, **ids, name="s", dataSourceConfiguration=S3)[0] == "ValidationException"
        )
        now[0] = 1_060.0
        states = [agent().get_knowledge_base(**ids)["knowledgeBase"]["status"] for _ in range(3)]
        assert states == ["CREATING", "CREATING", "ACTIVE"]
        shown = agent().get_knowledge_base(**ids)["knowledgeBase"]
        assert (shown["name"], shown["description"], shown["roleArn"]) == ("b", "Books.", ROLE)
        assert (
            shown["knowledgeBaseArn"]
            == f"arn:aws:bedrock:us-east-1:123456789012:knowledge-base/{ids['knowledgeBaseId']}"
        )
        assert shown["storageConfiguration"] == STORE
        assert (shown["createdAt"].timestamp(), shown["updatedAt"].timestamp()) == (1_000.0, 1_060.0)
        assert agent().delete_knowledge_base(**ids)["status"] == "DELETING"
        assert refusal(agent().delete_knowledge_base, **ids)[0] == "ConflictException"
        states = [agent().get_knowledge_base(**ids)["knowledgeBase"]["status"] for _ in range(2)]
        assert states == ["DELETING", "DELETING"]
        assert refusal(agent().get_knowledge_base, **ids)[0] == "ResourceNotFoundException"


def test_a_creation_that_fails_says_why() -> None:
    with mock_aws(reply="x", transitions={"knowledge-base": 1}) as aws:
        aws.plane.fail("base", "The collection does not exist.")
        made = base()
        agent().get_knowledge_base(knowledgeBaseId=made)
        shown = agent().get_knowledge_base(knowledgeBaseId=made)["knowledgeBase"]
    assert (shown["status"], shown["failureReasons"]) == ("FAILED", ["The collection does not exist."])


def test_names_are_unique_and_a_token_makes_one_thing() -> None:
    with mock_aws(reply="x"):
        first = base("b", clientToken=TOKEN)
        assert base("b", clientToken=TOKEN) == first
        request: dict[str, Any] = {"roleArn": ROLE, "knowledgeBaseConfiguration": VECTOR, "storageConfiguration": STORE}
        code, message = refusal(agent().create_knowledge_base, name="b", **request)
        assert (code, message) == ("ConflictException", "KnowledgeBase with name b already exists.")
        ids = source(first, CUSTOM, clientToken=TOKEN)
        assert source(first, CUSTOM, clientToken=TOKEN) == ids
        again = refusal(agent().create_data_source, knowledgeBaseId=first, name="source", dataSourceConfiguration=S3)
        assert again == ("ConflictException", "DataSource with name source already exists.")
        other = base("c")
        assert source(other, CUSTOM)["dataSourceId"] != ids["dataSourceId"]


def test_pages() -> None:
    with mock_aws(reply="x"):
        made = [base(f"b{number}") for number in range(12)]
        listed = agent().get_paginator("list_knowledge_bases").paginate(PaginationConfig={"PageSize": 5})
        pages = [[one["knowledgeBaseId"] for one in page["knowledgeBaseSummaries"]] for page in listed]
        assert [len(page) for page in pages] == [5, 5, 2]
        assert [one for page in pages for one in page] == made
        assert len(agent().list_knowledge_bases()["knowledgeBaseSummaries"]) == 10
        assert refusal(agent().list_knowledge_bases, nextToken="x")[0] == "ValidationException"
        for number in range(3):
            source(made[0], CUSTOM, f"s{number}")
        page = agent().list_data_sources(knowledgeBaseId=made[0], maxResults=2)
        assert [one["name"] for one in page["dataSourceSummaries"]] == ["s0", "s1"]
        last = agent().list_data_sources(knowledgeBaseId=made[0], nextToken=page["nextToken"])
        assert [one["name"] for one in last["dataSourceSummaries"]] == ["s2"]
        assert "nextToken" not in last


def test_regions_are_apart() -> None:
    with mock_aws(reply="x"):
        made = base()
        assert refusal(agent("eu-west-1").get_knowledge_base, knowledgeBaseId=made)[0] == "ResourceNotFoundException"
        assert agent("eu-west-1").list_knowledge_bases()["knowledgeBaseSummaries"] == []


def test_updates_change_what_may_change() -> None:
    with mock_aws(reply="x"):
        made = base()
        base("other")
        keep: dict[str, Any] = {
            "knowledgeBaseId": made,
            "roleArn": ROLE,
            "knowledgeBaseConfiguration": VECTOR,
            "storageConfiguration": STORE,
        }
        updated = agent().update_knowledge_base(**keep, name="renamed")["knowledgeBase"]
        assert (updated["name"], updated["status"]) == ("renamed", "UPDATING")
        assert agent().get_knowledge_base(knowledgeBaseId=made)["knowledgeBase"]["status"] == "ACTIVE"
        assert refusal(agent().update_knowledge_base, **keep, name="other")[0] == "ConflictException"
        pinecone = {"type": "S3_VECTORS", "s3VectorsConfiguration": {"indexName": "abc"}}
        code, message = refusal(agent().update_knowledge_base, **{**keep, "storageConfiguration": pinecone}, name="n")
        assert (code, message) == (
            "ValidationException",
            "storageConfiguration cannot be changed after the knowledge base was created.",
        )


def test_updates_of_data_sources() -> None:
    none = {"chunkingConfiguration": {"chunkingStrategy": "NONE"}}
    with mock_aws(reply="x"):
        ids = source(base(), vectorIngestionConfiguration=none)
        updated = agent().update_data_source(**ids, name="renamed", dataSourceConfiguration=S3)["dataSource"]
        assert (updated["name"], updated["vectorIngestionConfiguration"]) == ("renamed", none)
        assert (updated["status"], updated["dataDeletionPolicy"]) == ("AVAILABLE", "DELETE")
        fixed = {
            "chunkingStrategy": "FIXED_SIZE",
            "fixedSizeChunkingConfiguration": {"maxTokens": 9, "overlapPercentage": 9},
        }
        changed = {"vectorIngestionConfiguration": {"chunkingConfiguration": fixed}, "dataSourceConfiguration": S3}
        assert "chunkingConfiguration cannot" in refusal(agent().update_data_source, **ids, name="n", **changed)[1]
        moved = refusal(agent().update_data_source, **ids, name="n", dataSourceConfiguration=CUSTOM)
        assert moved == ("ValidationException", "The type of a data source cannot be changed.")


def test_tags() -> None:
    with mock_aws(reply="x"):
        made = base(tags={"team": "a"})
        arn = agent().get_knowledge_base(knowledgeBaseId=made)["knowledgeBase"]["knowledgeBaseArn"]
        agent().tag_resource(resourceArn=arn, tags={"stage": "b"})
        agent().untag_resource(resourceArn=arn, tagKeys=["team"])
        assert agent().list_tags_for_resource(resourceArn=arn)["tags"] == {"stage": "b"}
        many = {f"k{number}": "v" for number in range(50)}
        assert refusal(agent().tag_resource, resourceArn=arn, tags=many)[0] == "ServiceQuotaExceededException"
        agent().delete_knowledge_base(knowledgeBaseId=made)
        assert refusal(agent().list_tags_for_resource, resourceArn=arn)[0] == "ResourceNotFoundException"  # moto's


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"knowledgeBaseConfiguration": {"type": "VECTOR"}}, "vectorKnowledgeBaseConfiguration is required"),
        ({"storageConfiguration": {"type": "RDS"}}, "rdsConfiguration is required"),
        ({"storageConfiguration": None}, "storageConfiguration is required"),
    ],
)
def test_a_base_that_cannot_be_is_refused(request_: Any, words: str) -> None:
    given = {
        "name": "b",
        "roleArn": ROLE,
        "knowledgeBaseConfiguration": VECTOR,
        "storageConfiguration": STORE,
        **request_,
    }
    given = {name: value for name, value in given.items() if value is not None}
    with mock_aws(reply="x"):
        code, message = refusal(agent().create_knowledge_base, **given)
    assert code == "ValidationException"
    assert words in message


HIERARCHICAL = {"levelConfigurations": [{"maxTokens": 10}, {"maxTokens": 20}], "overlapTokens": 1}


@pytest.mark.parametrize(
    ("chunking", "words"),
    [
        ({"chunkingStrategy": "SEMANTIC"}, "semanticChunkingConfiguration is required"),
        (
            {"chunkingStrategy": "NONE", "fixedSizeChunkingConfiguration": {"maxTokens": 9, "overlapPercentage": 9}},
            "NONE has no configuration",
        ),
        ({"chunkingStrategy": "HIERARCHICAL", "hierarchicalChunkingConfiguration": HIERARCHICAL}, "must be smaller"),
    ],
)
def test_a_way_to_cut_that_cannot_be_is_refused(chunking: Any, words: str) -> None:
    with mock_aws(reply="x"):
        how = {"vectorIngestionConfiguration": {"chunkingConfiguration": chunking}}
        refused = refusal(
            agent().create_data_source, knowledgeBaseId=base(), name="s", dataSourceConfiguration=S3, **how
        )
    assert refused[0] == "ValidationException"
    assert words in refused[1]


def test_what_does_not_exist_is_not_found() -> None:
    with mock_aws(reply="x"):
        made = base()
        other = source(base("other"), CUSTOM)
        for call in (agent().get_knowledge_base, agent().delete_knowledge_base, agent().list_data_sources):
            assert refusal(call, knowledgeBaseId=UNKNOWN)[0] == "ResourceNotFoundException"
        for call in (agent().get_data_source, agent().delete_data_source, agent().start_ingestion_job):
            assert refusal(call, knowledgeBaseId=made, dataSourceId=UNKNOWN)[0] == "ResourceNotFoundException"
            assert refusal(call, **{**other, "knowledgeBaseId": made})[0] == "ResourceNotFoundException"
        assert refusal(agent().get_knowledge_base, knowledgeBaseId="not an id")[0] == "ValidationException"


@pytest.mark.parametrize(("policy", "left"), [("DELETE", []), ("RETAIN", ["A cat."])])
def test_what_a_data_source_leaves_when_it_is_deleted(policy: str, left: list[str]) -> None:
    with mock_aws(reply="x"):
        ids = ingested({"a.txt": "A cat."})
        agent().update_data_source(**ids, name="s", dataSourceConfiguration=S3, dataDeletionPolicy=policy)
        assert agent().delete_data_source(**ids)["status"] == "DELETING"
        assert refusal(agent().get_data_source, **ids)[0] == "ResourceNotFoundException"
        assert texts(found(ids, "cat")) == left


def test_a_base_goes_with_all_it_has() -> None:
    with mock_aws(reply="x") as aws:
        ids = ingested({"a.txt": "A cat."})
        agent().delete_knowledge_base(knowledgeBaseId=ids["knowledgeBaseId"])
        tables = aws.plane.state("us-east-1").tables
        assert {kind: len(table) for kind, table in tables.items() if table and kind != "had"} == {}


def test_a_source_that_is_being_ingested_is_not_deleted() -> None:
    with mock_aws(reply="x", transitions={"ingestion": 5}):
        ids = source(base())
        ingest(ids)
        assert refusal(agent().delete_data_source, **ids)[0] == "ConflictException"
        assert refusal(agent().delete_knowledge_base, knowledgeBaseId=ids["knowledgeBaseId"])[0] == "ConflictException"


def test_the_last_base_that_is_deleted_is_not_found() -> None:
    with mock_aws(reply="x"):
        made = base()
        agent().delete_knowledge_base(knowledgeBaseId=made)
        query = {"knowledgeBaseId": made, "retrievalQuery": {"text": "x"}}
        assert refusal(runtime().retrieve, **query)[0] == "ResourceNotFoundException"
        assert refusal(runtime("eu-west-1").retrieve, **query)[0] == "ResourceNotFoundException"
