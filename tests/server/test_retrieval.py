"""What is asked of knowledge bases that the account has ingested: by boto3, and by awsllm's own client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest

import awsllm
from awsllm.errors import ValidationError
from awsllm.server import running
from awsllm.server.mapping import Table
from awsllm.server.resources import Resources, WithResources
from awsllm.server.work import Models
from awsllm.testing import AsyncScriptedBackend, ScriptedBackend, mock_aws
from awsllm.types import ConverseRequest, Text
from awsllm.types.embedding import EmbedRequest
from awsllm.types.reranking import RerankRequest
from awsllm.types.retrieval import RetrievalConfig, RetrieveAndGenerateRequest, RetrieveRequest
from tests.support.knowledge import (
    NOVA_ARN,
    ROLE,
    S3,
    STORE,
    VECTOR,
    agent,
    base,
    found,
    ingested,
    put,
    runtime,
    source,
    texts,
)
from tests.support.pdfs import pdf
from tests.support.sagemaker_account import refusal

NOVA = "bedrock:amazon.nova-lite-v1:0"
FILES: dict[str, bytes | str] = {
    "cats.txt": "Cats sleep most of the day.",
    "dogs.txt": "Dogs bark at night.",
    "fights.txt": "Dogs and cats fight.",
    "dogs.txt.metadata.json": '{"metadataAttributes": {"year": 2001, "genre": "essay", "tags": ["dog", "old"]}}',
}
GUARDRAILS = {
    "gr1": {
        "blockedInputMessaging": "Not in.",
        "blockedOutputsMessaging": "Not out.",
        "wordPolicyConfig": {"wordsConfig": [{"text": "acme"}]},
        "sensitiveInformationPolicyConfig": {"piiEntitiesConfig": [{"type": "EMAIL", "action": "ANONYMIZE"}]},
    }
}
GUARDED = {"guardrailId": "gr1", "guardrailVersion": "DRAFT"}


@pytest.fixture
def client() -> Iterator[awsllm.Client]:
    with awsllm.Client(region="us-east-1") as client:
        yield client


def ask(ids: Any, text: str, session: str | None = None, **how: Any) -> Any:
    configuration = {"knowledgeBaseId": ids["knowledgeBaseId"], "modelArn": NOVA_ARN, **how}
    return runtime().retrieve_and_generate(
        input={"text": text},
        retrieveAndGenerateConfiguration={
            "type": "KNOWLEDGE_BASE",
            "knowledgeBaseConfiguration": configuration,
        },
        **({"sessionId": session} if session else {}),
    )


def said(request: ConverseRequest) -> list[tuple[str, str]]:
    return [
        (message.role, "".join(block.text for block in message.content if isinstance(block, Text)))
        for message in request.messages
    ]


def test_what_was_ingested_is_found_by_both_clients(client: awsllm.Client) -> None:
    with mock_aws(reply="x"):
        ids = ingested(FILES)
        theirs = found(ids, "which dogs bark")
        ours = client.retrieve(ids["knowledgeBaseId"], "which dogs bark")
        assert texts(theirs) == ["Dogs bark at night.", "Dogs and cats fight.", "Cats sleep most of the day."]
        assert [result.text for result in ours.results] == texts(theirs)
        assert theirs[0]["location"] == {"type": "S3", "s3Location": {"uri": "s3://books/dogs.txt"}}
        assert ours.results[0].uri == "s3://books/dogs.txt"
        assert ours.results[0].metadata["year"] == 2001
        arn = agent().get_knowledge_base(knowledgeBaseId=ids["knowledgeBaseId"])["knowledgeBase"]["knowledgeBaseArn"]
        assert client.retrieve(arn, "which dogs bark").results == ours.results
        answer = client.retrieve_and_generate(NOVA, "Why?", knowledge_base=ids["knowledgeBaseId"])
        assert (answer.text, len(answer.references)) == ("x", 3)


def test_pages_of_what_is_found() -> None:
    with mock_aws(reply="x"):
        ids = ingested(FILES)
        request: dict[str, Any] = {
            "knowledgeBaseId": ids["knowledgeBaseId"],
            "retrievalQuery": {"text": "dogs"},
            "retrievalConfiguration": {"vectorSearchConfiguration": {"numberOfResults": 2}},
        }
        pages = list(runtime().get_paginator("retrieve").paginate(**request))
        assert [len(page["retrievalResults"]) for page in pages] == [2, 1]
        assert refusal(runtime().retrieve, **request, nextToken="x")[0] == "ValidationException"


def test_the_small_are_searched_and_the_large_are_shown() -> None:
    how = {"levelConfigurations": [{"maxTokens": 20}, {"maxTokens": 3}], "overlapTokens": 1}
    with mock_aws(reply="x"):
        story = "Cats sleep. Dogs bark. Cows moo."
        ids = ingested(
            {"a.txt": story, "b.txt": "Hens cluck."},
            {"chunkingStrategy": "HIERARCHICAL", "hierarchicalChunkingConfiguration": how},
        )
        assert texts(found(ids, "moo", numberOfResults=2)) == [story, "Hens cluck."]


def test_an_embedding_model_finds_what_has_no_word_in_common() -> None:
    """In a script equal texts have equal vectors, others have not."""
    scripted, models = ScriptedBackend("x"), Models(embed="encoder")
    with mock_aws(reply="x") as aws:
        aws.plane.backend, aws.plane.models = scripted, models
        ids = ingested({"a.txt": "Cats sleep", "b.txt": "Dogs bark"})
        backend = WithResources(scripted, Resources(models, region=aws.plane.region("us-east-1")))
        for kind in ("SEMANTIC", "HYBRID"):
            how = RetrievalConfig(search_type=kind)
            results = backend.ask(RetrieveRequest(model=ids["knowledgeBaseId"], text="Cats sleep", config=how)).results
            assert results[0].text == "Cats sleep"
            assert results[0].score == pytest.approx(1)
        asked = [request.texts for request in scripted.requests if isinstance(request, EmbedRequest)]
        assert asked == [("Cats sleep", "Dogs bark"), ("Cats sleep",), ("Cats sleep",)]
        other = WithResources(
            ScriptedBackend("x", dimensions=7), Resources(models, region=aws.plane.region("us-east-1"))
        )
        results = other.ask(RetrieveRequest(model=ids["knowledgeBaseId"], text="Dogs")).results
        assert results[0].text == "Dogs bark"  # by its words: the vectors are of another model


def test_nothing_is_found_in_a_base_without_documents() -> None:
    backend = WithResources(
        ScriptedBackend("x"), Resources(Models(embed="encoder"), knowledge_bases={"ABCDEFGHIJ": []})
    )
    assert backend.ask(RetrieveRequest(model="ABCDEFGHIJ", text="x")).results == ()


def test_what_a_vector_store_cannot_do_is_refused() -> None:
    vectors = {"type": "S3_VECTORS", "s3VectorsConfiguration": {"indexName": "books"}}
    starts = {"startsWith": {"key": "genre", "value": "es"}}
    with mock_aws(reply="x"):
        made = source(base("vectors", storageConfiguration=vectors))
        request: dict[str, Any] = {"knowledgeBaseId": made["knowledgeBaseId"], "retrievalQuery": {"text": "x"}}
        for search, words in (({"overrideSearchType": "HYBRID"}, "HYBRID"), ({"filter": starts}, "startsWith")):
            how = {"retrievalConfiguration": {"vectorSearchConfiguration": search}}
            code, message = refusal(runtime().retrieve, **request, **how)
            assert (code, words in message) == ("ValidationException", True)
        assert STORE["type"] == "OPENSEARCH_SERVERLESS"
        ids = ingested(FILES)
        assert texts(found(ids, "x", filter=starts, overrideSearchType="HYBRID")) == ["Dogs bark at night."]


@pytest.mark.parametrize(
    ("attribute", "question", "count"),
    [
        ({"key": "genre", "type": "STRING", "description": "d"}, "the essay on dogs", 1),
        ({"key": "genre", "type": "STRING", "description": "d"}, "the novel on dogs", 3),
        ({"key": "year", "type": "NUMBER", "description": "d"}, "dogs in 2001", 1),
        ({"key": "tags", "type": "STRING_LIST", "description": "d"}, "an old one", 1),
    ],
)
def test_a_filter_that_the_question_implies(attribute: Any, question: str, count: int) -> None:
    with mock_aws(reply="x"):
        ids = ingested(FILES)
        implicit = {"modelArn": NOVA_ARN, "metadataAttributes": [attribute]}
        assert len(found(ids, question, implicitFilterConfiguration=implicit)) == count


def test_a_reranker_orders_what_was_found_once_more() -> None:
    ranker = "arn:aws:bedrock:us-east-1::foundation-model/cohere.rerank-v3-5:0"
    how: dict[str, Any] = {"modelConfiguration": {"modelArn": ranker}, "numberOfRerankedResults": 1}
    how["metadataConfiguration"] = {
        "selectionMode": "SELECTIVE",
        "selectiveModeConfiguration": {"fieldsToInclude": [{"fieldName": "genre"}]},
    }
    reranking = {"type": "BEDROCK_RERANKING_MODEL", "bedrockRerankingConfiguration": how}
    backend = ScriptedBackend("x")
    with mock_aws(reply=backend):
        ids = ingested(FILES)
        results = found(ids, "dogs bark at", numberOfResults=2, rerankingConfiguration=reranking)
        assert texts(results) == ["Dogs bark at night."]
        request = next(one for one in backend.requests if isinstance(one, RerankRequest))
        assert request.model == "cohere.rerank-v3-5:0"
        assert request.documents == ("genre: essay\nDogs bark at night.", "Dogs and cats fight.")


# --- answers ---------------------------------------------------------------------------------------------------------


def test_an_answer_cites_what_its_sentences_rest_on() -> None:
    with mock_aws(reply="Dogs bark at night. Cats sleep most of the day."):
        response = ask(ingested(FILES), "What do they do?")
    parts = [one["generatedResponsePart"]["textResponsePart"] for one in response["citations"]]
    assert [(part["text"], part["span"]) for part in parts] == [
        ("Dogs bark at night. ", {"start": 0, "end": 20}),
        ("Cats sleep most of the day.", {"start": 20, "end": 47}),
    ]
    uris = [
        [reference["location"]["s3Location"]["uri"] for reference in one["retrievedReferences"]]
        for one in response["citations"]
    ]
    assert uris == [["s3://books/dogs.txt"], ["s3://books/cats.txt"]]


def test_the_model_that_writes_is_the_tables() -> None:
    scripted = ScriptedBackend("At night.")
    table = Table.of({"amazon.nova-*": "bedrock:us.*", "my-model": "local:x"}, strict=True)
    resources = Resources(
        Models("local:chat", table=table, routed=True), knowledge_bases={"ABCDEFGHIJ": ["Dogs bark at night."]}
    )
    backend = WithResources(scripted, resources)
    for generator in (NOVA_ARN, "my-model"):
        backend.ask(RetrieveAndGenerateRequest(model="ABCDEFGHIJ", text="When?", generator=generator))
    assert [request.model for request in scripted.requests] == ["bedrock:us.amazon.nova-lite-v1:0", "local:x"]
    with pytest.raises(ValidationError, match="model identifier is invalid"):
        backend.ask(RetrieveAndGenerateRequest(model="ABCDEFGHIJ", text="When?", generator="meta.llama3-8b-instruct"))


def test_a_session_goes_on_and_ends() -> None:
    now = [0.0]
    backend = ScriptedBackend(["At night.", "By day.", "Never."])
    with mock_aws(reply=backend, clock=lambda: now[0]):
        ids = ingested(FILES)
        first = ask(ids, "When do dogs bark?")
        second = ask(ids, "And cats?", first["sessionId"])
        assert second["sessionId"] == first["sessionId"]
        turns = said(backend.requests[1])  # type: ignore[arg-type]
        assert turns[:2] == [("user", "When do dogs bark?"), ("assistant", "At night.")]
        assert turns[2][1].endswith("Question: And cats?")
        assert ask(ids, "Who?")["sessionId"] != first["sessionId"]
        for session in (first["sessionId"], "mine"):
            now[0] = 24 * 3600.0
            code, message = refusal(lambda session=session: ask(ids, "x", session))
            assert (code, message) == (
                "ValidationException",
                f"Session with Id {session} is not valid. Please check and try again.",
            )


def test_templates_are_filled_in_one_pass() -> None:
    backend = ScriptedBackend("Yes.")
    template = "$conversation_history$|$search_results$|$query$|$current_time$|$output_format_instructions$|$other$"
    with mock_aws(reply=backend, clock=lambda: 0.0):
        ids = ingested({"a.txt": "A $query$ text."})
        ask(ids, "Why $search_results$?", generationConfiguration={"promptTemplate": {"textPromptTemplate": template}})
        parts = said(backend.requests[0])[0][1].split("|")  # type: ignore[arg-type]
        assert parts[:4] == ["", "[1] A $query$ text.", "Why $search_results$?", "1970-01-01T00:00:00+00:00"]
        assert "<answer_part>" in parts[4]
        assert parts[5] == "$other$"
        short = {"promptTemplate": {"textPromptTemplate": "Only $search_results$"}}
        ask(ids, "Why?", generationConfiguration=short)
        assert said(backend.requests[1]) == [("user", "Only [1] A $query$ text.\n\nWhy?")]  # type: ignore[arg-type]


def test_inference_parameters_reach_the_model() -> None:
    backend = ScriptedBackend("Yes.")
    inference = {"maxTokens": 7, "temperature": 0.5, "topP": 0.25, "stopSequences": ["end"]}
    with mock_aws(reply=backend):
        how = {"inferenceConfig": {"textInferenceConfig": inference}, "additionalModelRequestFields": {"topK": 3}}
        ask(ingested(FILES), "Why?", generationConfiguration=how)
    assert backend.requests[0].extra == {"topK": 3}  # type: ignore[attr-defined]
    config = backend.requests[0].inference_config  # type: ignore[attr-defined]
    assert (config.max_tokens, config.temperature, config.top_p, config.stop_sequences) == (7, 0.5, 0.25, ("end",))


def test_templates_without_what_they_need_are_refused() -> None:
    with mock_aws(reply="x"):
        ids = ingested(FILES)
        template: Any = {"promptTemplate": {"textPromptTemplate": "No variable"}}
        for member, variable in (("generation", "$search_results$"), ("orchestration", "$conversation_history$")):
            how: Any = {f"{member}Configuration": template}
            code, message = refusal(lambda how=how: ask(ids, "x", **how))
            assert code == "ValidationException"
            assert message == f"The {member} prompt template must include the variable {variable}."


def test_a_model_writes_the_query_where_a_template_asks_for_it() -> None:
    backend = ScriptedBackend(["cats sleep", "They do."])
    template = "$conversation_history$ $output_format_instructions$ $query$"
    with mock_aws(reply=backend):
        how: Any = {"promptTemplate": {"textPromptTemplate": template}}
        how |= {"inferenceConfig": {"textInferenceConfig": {"maxTokens": 9}}}
        limited = {"vectorSearchConfiguration": {"numberOfResults": 1}}
        response = ask(ingested(FILES), "Felines?", orchestrationConfiguration=how, retrievalConfiguration=limited)
    assert response["output"]["text"] == "They do."
    assert texts(response["citations"][0]["retrievedReferences"]) == ["Cats sleep most of the day."]
    assert said(backend.requests[0])[0][1].endswith(" Felines?")  # type: ignore[arg-type]
    assert backend.requests[0].inference_config.max_tokens == 9  # type: ignore[attr-defined]


def test_a_question_of_several_is_searched_one_by_one() -> None:
    backend = ScriptedBackend("Yes.")
    with mock_aws(reply=backend):
        how = {"queryTransformationConfiguration": {"type": "QUERY_DECOMPOSITION"}}
        limited = {"vectorSearchConfiguration": {"numberOfResults": 1}}
        question = "Who does bark at night? Who does sleep most of the day?"
        ask(ingested(FILES), question, orchestrationConfiguration=how, retrievalConfiguration=limited)
    prompt = said(backend.requests[0])[0][1]  # type: ignore[arg-type]
    assert "[1] Dogs bark at night.\n\n[2] Cats sleep most of the day." in prompt


def test_streams_carry_the_session_they_begin() -> None:
    with mock_aws(reply="Dogs bark at night."):
        ids = ingested(FILES)
        configuration = {"knowledgeBaseId": ids["knowledgeBaseId"], "modelArn": NOVA_ARN}
        streamed = runtime().retrieve_and_generate_stream(
            input={"text": "When?"},
            retrieveAndGenerateConfiguration={
                "type": "KNOWLEDGE_BASE",
                "knowledgeBaseConfiguration": configuration,
            },
        )
        events = list(streamed["stream"])
        assert "".join(event["output"]["text"] for event in events if "output" in event) == "Dogs bark at night."
        assert ask(ids, "And cats?", streamed["sessionId"])["sessionId"] == streamed["sessionId"]


# --- guardrails ------------------------------------------------------------------------------------------------------


def test_guardrails_stand_before_and_behind() -> None:
    replies = ["Mail a@b.de.", "The acme."]
    with mock_aws(reply=replies, guardrails=GUARDRAILS):
        ids = ingested(FILES)
        how: Any = {"generationConfiguration": {"guardrailConfiguration": GUARDED}}
        blocked = ask(ids, "What of acme?", **how)
        assert (blocked["output"]["text"], blocked["guardrailAction"], blocked["citations"]) == (
            "Not in.",
            "INTERVENED",
            [],
        )
        masked = ask(ids, "Where to?", **how)
        assert (masked["output"]["text"], masked["guardrailAction"]) == ("Mail {EMAIL}.", "INTERVENED")
        span = masked["citations"][0]["generatedResponsePart"]["textResponsePart"]["span"]
        assert span == {"start": 0, "end": len("Mail {EMAIL}.")}
        out = ask(ids, "Who?", **how)
        assert (out["output"]["text"], out["citations"]) == ("Not out.", [])


def test_guardrails_of_a_retrieval() -> None:
    with mock_aws(reply="x", guardrails=GUARDRAILS):
        ids = ingested(FILES)
        request: dict[str, Any] = {"knowledgeBaseId": ids["knowledgeBaseId"], "guardrailConfiguration": GUARDED}
        passed = runtime().retrieve(**request, retrievalQuery={"text": "dogs"})
        assert (passed["guardrailAction"], len(passed["retrievalResults"])) == ("NONE", 3)
        stopped = runtime().retrieve(**request, retrievalQuery={"text": "acme"})
        assert (stopped["guardrailAction"], stopped["retrievalResults"]) == ("INTERVENED", [])


# --- other sources, and what is not there ----------------------------------------------------------------------------


def test_documents_of_the_caller_and_of_s3() -> None:
    backend = ScriptedBackend("Yes.")
    with mock_aws(reply=backend):
        put({"a.html": "<p>A cat.", "b.bin": b"\0"})

        def answer(*sources: Any) -> Any:
            external = {"modelArn": NOVA_ARN, "sources": list(sources)}
            return runtime().retrieve_and_generate(
                input={"text": "What?"},
                retrieveAndGenerateConfiguration={
                    "type": "EXTERNAL_SOURCES",
                    "externalSourcesConfiguration": external,
                },
            )

        def s3(key: str) -> Any:
            return {"sourceType": "S3", "s3Location": {"uri": f"s3://books/{key}"}}

        content = {"identifier": "horse.pdf", "contentType": "application/pdf", "data": pdf("A horse.")}
        for one, text in (
            (s3("a.html"), "A cat."),
            ({"sourceType": "BYTE_CONTENT", "byteContent": content}, "A horse."),
        ):
            response = answer(one)
            assert f"[1] {text}\n\n" in said(backend.requests[-1])[0][1]  # type: ignore[arg-type]
            assert texts(response["citations"][0]["retrievedReferences"]) == [text]
        for key, words in (("nowhere.txt", "does not exist"), ("b.bin", "cannot be read")):
            code, message = refusal(lambda key=key: answer(s3(key)))
            assert (code, words in message) == ("ValidationException", True)


def test_an_agent_searches_answers_and_cites(client: awsllm.Client) -> None:
    with mock_aws(reply="Dogs bark at night."):
        ids = ingested(FILES)
        response = client.agentic_retrieve([ids["knowledgeBaseId"]], "When do dogs bark?", generate=True)
        assert response.text == "Dogs bark at night."
        assert [trace.step for trace in response.traces] == ["Planning", "Retrieval"]
        assert [one.text for one in response.citations[0].references] == ["Dogs bark at night."]


def test_a_guardrail_of_an_agent(client: awsllm.Client) -> None:
    with mock_aws(reply="The acme.", guardrails=GUARDRAILS):
        ids = ingested(FILES)
        for question, answer in (("What of acme?", "Not in."), ("Who?", "Not out.")):
            guardrail = {"guardrailIdentifier": "gr1", "guardrailVersion": "DRAFT"}
            bases = [ids["knowledgeBaseId"]]
            response = client.agentic_retrieve(bases, question, generate=True, guardrail_config=guardrail)
            assert (response.text, response.citations) == (answer, ())


def test_bases_that_cannot_be_asked_are_refused() -> None:
    sql = {
        "type": "KENDRA",
        "kendraKnowledgeBaseConfiguration": {
            "kendraIndexArn": "arn:aws:kendra:us-east-1:123456789012:index/12345678-1234-1234-1234-123456789012"
        },
    }
    with mock_aws(reply="x", transitions={"knowledge-base": 1}):
        request: dict[str, Any] = {"retrievalQuery": {"text": "x"}}
        made = base()
        code, message = refusal(runtime().retrieve, knowledgeBaseId=made, **request)
        assert (code, "CREATING" in message) == ("ValidationException", True)
        code, message = refusal(runtime().retrieve, knowledgeBaseId="AAAAAAAAAA", **request)
        assert (code, message) == ("ResourceNotFoundException", "Knowledge Base with id AAAAAAAAAA does not exist")
    with mock_aws(reply="x"):
        kendra = base("kendra", knowledgeBaseConfiguration=sql)
        assert "KENDRA" in refusal(runtime().retrieve, knowledgeBaseId=kendra, **request)[1]


def test_given_documents_are_found_beside_those_of_the_account_in_every_region() -> None:
    with mock_aws(reply="x", knowledge_bases={"ABCDEFGHIJ": ["Cows eat grass."]}):
        ids = ingested(FILES)
        for region in ("us-east-1", "eu-west-1"):
            response = runtime(region).retrieve(knowledgeBaseId="ABCDEFGHIJ", retrievalQuery={"text": "cows"})
            assert texts(response["retrievalResults"]) == ["Cows eat grass."]
        assert len(found(ids, "cats")) == 3
        missing = refusal(
            runtime("eu-west-1").retrieve, knowledgeBaseId=ids["knowledgeBaseId"], retrievalQuery={"text": "x"}
        )
        assert missing[0] == "ResourceNotFoundException"


def test_a_server_ingests_and_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    with running(AsyncScriptedBackend("Dogs bark at night.")) as url:

        def client(service: str) -> Any:
            return boto3.client(service, "eu-west-1", endpoint_url=url)

        location: Any = {"LocationConstraint": "eu-west-1"}
        client("s3").create_bucket(Bucket="books", CreateBucketConfiguration=location)
        client("s3").put_object(Bucket="books", Key="dogs.txt", Body=b"Dogs bark at night.")
        agents = client("bedrock-agent")
        made = agents.create_knowledge_base(
            name="b", roleArn=ROLE, knowledgeBaseConfiguration=VECTOR, storageConfiguration=STORE
        )["knowledgeBase"]["knowledgeBaseId"]
        ids = {"knowledgeBaseId": made}
        ids |= {
            "dataSourceId": agents.create_data_source(**ids, name="s", dataSourceConfiguration=S3)["dataSource"][
                "dataSourceId"
            ]
        }
        job = agents.start_ingestion_job(**ids)["ingestionJob"]["ingestionJobId"]
        status = ""
        while status not in ("COMPLETE", "FAILED"):
            status = agents.get_ingestion_job(**ids, ingestionJobId=job)["ingestionJob"]["status"]
        assert status == "COMPLETE"
        configuration = {"knowledgeBaseId": made, "modelArn": NOVA_ARN}
        response = client("bedrock-agent-runtime").retrieve_and_generate(
            input={"text": "When do dogs bark?"},
            retrieveAndGenerateConfiguration={
                "type": "KNOWLEDGE_BASE",
                "knowledgeBaseConfiguration": configuration,
            },
        )
        assert response["output"]["text"] == "Dogs bark at night."
        assert texts(response["citations"][0]["retrievedReferences"]) == ["Dogs bark at night."]
        text = {"text": {"text": "When do {{who}} bark?"}}
        variant = {"name": "v", "templateType": "TEXT", "templateConfiguration": text, "modelId": NOVA_ARN}
        prompt = agents.create_prompt(name="p", variants=[variant])
        said = client("bedrock-runtime").converse(modelId=prompt["arn"], promptVariables={"who": {"text": "dogs"}})
        assert said["output"]["message"]["content"] == [{"text": "Dogs bark at night."}]


@pytest.mark.slow
def test_local_models_embed_find_and_answer() -> None:
    files: dict[str, bytes | str] = {
        "cats.txt": "The kitten sleeps on the sofa.",
        "money.txt": "The bank raised its interest rates.",
        "sea.txt": "Waves broke on the shore.",
    }
    how = {"bufferSize": 0, "breakpointPercentileThreshold": 50, "maxTokens": 50}
    with mock_aws():
        ids = ingested(files, {"chunkingStrategy": "SEMANTIC", "semanticChunkingConfiguration": how})
        assert texts(found(ids, "a young feline is napping"))[0] == files["cats.txt"]
        assert texts(found(ids, "a loan costs more", overrideSearchType="HYBRID"))[0] == files["money.txt"]
        ranker = "arn:aws:bedrock:us-east-1::foundation-model/cohere.rerank-v3-5:0"
        reranked = {"modelConfiguration": {"modelArn": ranker}, "numberOfRerankedResults": 1}
        reranking = {"type": "BEDROCK_RERANKING_MODEL", "bedrockRerankingConfiguration": reranked}
        results = found(ids, "surf at the beach", numberOfResults=3, rerankingConfiguration=reranking)
        assert texts(results) == [files["sea.txt"]]
        response = ask(
            ids,
            "Where does the kitten sleep?",
            generationConfiguration={"inferenceConfig": {"textInferenceConfig": {"maxTokens": 16}}},
        )
        assert response["output"]["text"]
        assert response["citations"][0]["retrievedReferences"]


@pytest.mark.slow
def test_a_server_of_local_models_ingests_and_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job waits for the model, and the model for the event loop, which must not wait for the job."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    with running() as url:
        agents, runtime = (
            boto3.client(f"bedrock-agent{end}", "us-east-1", endpoint_url=url) for end in ("", "-runtime")
        )
        made = agents.create_knowledge_base(
            name="b", roleArn=ROLE, knowledgeBaseConfiguration=VECTOR, storageConfiguration=STORE
        )["knowledgeBase"]["knowledgeBaseId"]
        source = agents.create_data_source(knowledgeBaseId=made, name="s", dataSourceConfiguration={"type": "CUSTOM"})
        ids = {"knowledgeBaseId": made, "dataSourceId": source["dataSource"]["dataSourceId"]}
        documents = [
            {
                "content": {
                    "dataSourceType": "CUSTOM",
                    "custom": {
                        "customDocumentIdentifier": {"id": text[:5]},
                        "sourceType": "IN_LINE",
                        "inlineContent": {"type": "TEXT", "textContent": {"data": text}},
                    },
                }
            }
            for text in ("The kitten sleeps on the sofa.", "Banks raised interest rates.")
        ]
        agents.ingest_knowledge_base_documents(**ids, documents=documents)
        response = runtime.retrieve(knowledgeBaseId=made, retrievalQuery={"text": "a young feline is napping"})
        assert texts(response["retrievalResults"])[0] == "The kitten sleeps on the sofa."
