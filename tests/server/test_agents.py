"""Knowledge bases, agents and guardrails offline: boto3 and both clients against ``mock_aws`` and a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

import awsllm
from awsllm.server import running
from awsllm.server.resources import Resources, WithResources
from awsllm.server.work import Models
from awsllm.testing import AsyncScriptedBackend, ScriptedBackend, mock_aws
from awsllm.types import ConverseRequest
from awsllm.types.agents import (
    AgentFile,
    AgentFiles,
    AgentInvocation,
    AgentParameter,
    AgentResponse,
    AgentText,
    AgentTrace,
    InvokeAgentRequest,
    InvokeInlineAgentRequest,
    ReturnControl,
)
from awsllm.types.embedding import EmbedRequest
from awsllm.types.retrieval import (
    AgenticRetrieveResponse,
    AgenticTrace,
    GeneratedQuery,
    GenerateQueryResponse,
    OptimizePromptResponse,
    OutputText,
    RetrievalCitation,
    RetrievalLocation,
    RetrievalResult,
    RetrieveAndGenerateResponse,
    RetrievedColumn,
    RetrieveRequest,
    RetrieveResponse,
    SessionStart,
)

KB = "ABCDEFGHIJ"
KB_ARN = f"arn:aws:bedrock:us-east-1:123456789012:knowledge-base/{KB}"
NOVA = "bedrock:amazon.nova-lite-v1:0"
NOVA_ARN = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"
DOCUMENTS: list[Any] = [
    "Cats sleep most of the day.",
    {"text": "Dogs bark at night.", "uri": "https://dogs.example/", "metadata": {"year": 2001, "tags": ["dog"]}},
    {"text": "Dogs and cats fight.", "uri": "s3://zoo/fights.txt", "metadata": {"year": 1990, "genre": "essay"}},
]
GUARDRAILS = {
    "gr1": {
        "blockedInputMessaging": "Not in.",
        "blockedOutputsMessaging": "Not out.",
        "topicPolicyConfig": {
            "topicsConfig": [{"name": "Stocks", "type": "DENY", "definition": "…", "examples": ["what to buy"]}]
        },
        "wordPolicyConfig": {
            "wordsConfig": [{"text": "acme"}],
            "managedWordListsConfig": [{"type": "PROFANITY"}],
        },
        "sensitiveInformationPolicyConfig": {
            "piiEntitiesConfig": [
                {"type": "EMAIL", "action": "ANONYMIZE"},
                {"type": "CREDIT_DEBIT_CARD_NUMBER", "action": "BLOCK"},
            ],
            "regexesConfig": [{"name": "ticket", "pattern": r"T-\d+", "action": "ANONYMIZE"}],
        },
    }
}
CITY = AgentInvocation(
    action_group="weather", function="forecast", parameters=(AgentParameter("days", "3", "integer"),), type="RESULT"
)
ROAD = AgentInvocation(
    action_group="roads",
    api_path="/roads",
    method="POST",
    body={"application/json": (AgentParameter("open", "true", "boolean"), AgentParameter("name", "A8", "string"))},
)
AGENT = AgentResponse(
    text="It is sunny.",
    citations=(RetrievalCitation(text="sunny", start=6, end=11, references=(RetrievalResult(text="sun"),)),),
    files=(AgentFile(name="a.png", data=b"\x89PNG", media_type="image/png"),),
    traces=(AgentTrace("orchestrationTrace", {"rationale": {"text": "look"}}, {"agentId": "AGENT12345"}),),
    return_control=ReturnControl("i-1", (CITY, ROAD)),
)


@pytest.fixture
def aws() -> Iterator[Any]:
    with mock_aws(reply="They bark.", knowledge_bases={KB: DOCUMENTS}, guardrails=GUARDRAILS) as aws:
        yield aws


@pytest.fixture
def client() -> Iterator[awsllm.Client]:
    with awsllm.Client(region="us-east-1") as client:
        yield client


def agents() -> Any:
    return boto3.client("bedrock-agent-runtime", "us-east-1")


# --- knowledge bases -------------------------------------------------------------------------------------------------


def test_retrieve(aws: Any, client: awsllm.Client) -> None:
    theirs = agents().retrieve(knowledgeBaseId=KB, retrievalQuery={"text": "dogs bark"})["retrievalResults"]
    response = client.retrieve(KB, "dogs bark")
    texts = ["Dogs bark at night.", "Dogs and cats fight.", "Cats sleep most of the day."]  # the nearest, however far
    assert [result.text for result in response.results] == texts
    assert [result.text for result in response.results] == [one["content"]["text"] for one in theirs]
    assert response.results[0].uri == theirs[0]["location"]["webLocation"]["url"] == "https://dogs.example/"
    assert response.results[1].location == RetrievalLocation("S3", "s3://zoo/fights.txt")
    assert response.results[0].score == pytest.approx(theirs[0]["score"])
    assert 1 > theirs[0]["score"] > theirs[1]["score"] > theirs[2]["score"] == 0
    assert response.results[0].metadata["year"] == 2001
    assert client.retrieve(KB_ARN, "dogs bark").results == response.results


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        (awsllm.attribute("year") > 2000, 1),
        (awsllm.attribute("year") <= 2001, 2),
        ((awsllm.attribute("year") < 2000) & (awsllm.attribute("genre") == "essay"), 1),
        ((awsllm.attribute("year") > 2000) | (awsllm.attribute("year") < 1991), 2),
        (awsllm.attribute("genre") != "essay", 2),
        (awsllm.attribute("year").is_in(2001, 2002), 1),
        (awsllm.attribute("year").is_not_in(2001), 2),
        (awsllm.attribute("genre").starts_with("es"), 1),
        (awsllm.attribute("genre").contains("ss"), 1),
        (awsllm.attribute("tags").has_member("dog"), 1),
        ({"equals": {"key": "year", "value": 1990}}, 1),
    ],
)
def test_filters(aws: Any, client: awsllm.Client, condition: Any, found: int) -> None:
    assert len(client.retrieve(KB, "dogs cats", filter=condition).results) == found


def test_pages(aws: Any, client: awsllm.Client) -> None:
    first = client.retrieve(KB, "dogs cats", number_of_results=2)
    assert first.next_token is not None
    second = client.retrieve(KB, "dogs cats", number_of_results=2, next_token=first.next_token)
    assert len(first.results + second.results) == 3
    assert second.next_token is None


@pytest.mark.parametrize("token", ["x", "-1", "9" * 5000])
def test_a_token_that_no_page_gave_is_refused(aws: Any, client: awsllm.Client, token: str) -> None:
    with pytest.raises(awsllm.ValidationError):
        client.retrieve(KB, "dogs", next_token=token)


def test_an_answer_with_citations_whole_and_streamed(aws: Any, client: awsllm.Client) -> None:
    response = client.retrieve_and_generate(NOVA, "Do dogs bark?", knowledge_base=KB)
    assert response.text == "They bark."
    assert response.session_id is not None
    assert [result.uri for result in response.references] == ["https://dogs.example/"]
    assert response.citations[0].text == "They bark."
    session = response.session_id
    with client.retrieve_and_generate_stream(NOVA, "Do dogs bark?", knowledge_base=KB, session_id=session) as stream:
        events = list(stream)
    assert isinstance(events[0], SessionStart)
    assert events[1] == OutputText("They bark.")
    assert (stream.response.text, stream.response.citations) == (response.text, response.citations)
    assert stream.response.session_id == session
    request = aws.requests[0]
    assert request.generator == NOVA_ARN
    assert request.model == KB


def test_boto3_reads_the_answer_and_its_stream(aws: Any) -> None:
    base = {"knowledgeBaseId": KB, "modelArn": NOVA_ARN}
    how = {"type": "KNOWLEDGE_BASE", "knowledgeBaseConfiguration": base}
    asked: dict[str, Any] = {"input": {"text": "Do dogs bark?"}, "retrieveAndGenerateConfiguration": how}
    response = agents().retrieve_and_generate(**asked)
    assert response["output"]["text"] == "They bark."
    assert len(response["citations"][0]["retrievedReferences"]) == 1
    streamed = agents().retrieve_and_generate_stream(**asked)
    assert len(streamed["sessionId"]) == len(response["sessionId"]) == 36
    events = list(streamed["stream"])
    assert events[0] == {"output": {"text": "They bark."}}
    assert events[1]["citation"]["retrievedReferences"] == response["citations"][0]["retrievedReferences"]


def test_an_answer_from_a_document_of_the_caller(aws: Any, client: awsllm.Client, tmp_path: Path) -> None:
    path = tmp_path / "dogs.txt"
    path.write_text("Dogs bark.")
    response = client.retrieve_and_generate(NOVA, "Do they?", sources=path, max_tokens=1)
    assert response.text == "They"
    assert response.references[0].text == "Dogs bark."
    source = aws.requests[0].sources[0]
    assert (source.content_type, source.identifier, source.data) == ("text/plain", "dogs.txt", b"Dogs bark.")


def test_agentic_retrieval(aws: Any, client: awsllm.Client) -> None:
    response = client.agentic_retrieve([KB], "dogs", generate=False)
    assert [result.source for result in response.results] == [KB, KB, KB]
    events = list(
        agents().agentic_retrieve_stream(
            messages=[{"role": "user", "content": {"text": "dogs"}}],
            retrievers=[{"configuration": {"knowledgeBase": {"knowledgeBaseId": KB}}}],
            agenticRetrieveConfiguration={"foundationModelType": "MANAGED"},
        )["stream"]
    )
    steps = [event["traceEvent"]["attributes"]["step"] for event in events[:-1]]
    assert steps == ["Planning", "Retrieval"]
    assert len(events[-1]["result"]["results"]) == 3


def test_rerank_by_the_door_of_knowledge_bases(aws: Any, client: awsllm.Client) -> None:
    response = client.rerank("bedrock:cohere.rerank-v3-5:0", "a dog", ["cat", "dog"], top_n=1, api="agents")
    assert [(rank.index, rank.document) for rank in response.results] == [(1, "dog")]
    assert response.model == "bedrock:cohere.rerank-v3-5:0"
    assert aws.requests[-1].model == "cohere.rerank-v3-5:0"


def test_an_embedding_model_orders_what_is_found() -> None:
    """Equal texts have equal vectors in a script; no word of the query is in the document that is not found first."""
    scripted = ScriptedBackend()
    resources = Resources(Models(embed="embedder"), knowledge_bases={KB: ["Shares fell.", "A cat sat down."]})
    backend = WithResources(scripted, resources)
    for _ in range(2):
        response = backend.ask(RetrieveRequest(model=KB, text="A cat sat down."))
        assert response.results[0].text == "A cat sat down."
        assert response.results[0].score == pytest.approx(1)
    asked = [request.texts for request in scripted.requests if isinstance(request, EmbedRequest)]
    assert asked == [("A cat sat down.", "Shares fell.", "A cat sat down."), ("A cat sat down.",)]


# --- what a script answers -------------------------------------------------------------------------------------------

FOUND = RetrievalResult(
    text="A passage.",
    type="TEXT",
    score=0.5,
    location=RetrievalLocation("CUSTOM", "doc-1"),
    metadata={"page": 8.0},
    document_id="d-1",
)


@pytest.mark.parametrize(
    "result",
    [
        FOUND,
        RetrievalResult(type="IMAGE", data_uri="data:image/png;base64,iVBORw=="),
        RetrievalResult(
            type="ROW", row=(RetrievedColumn("n", "1", "LONG"),), location=RetrievalLocation("SQL", "SELECT 1")
        ),
        RetrievalResult(type="AUDIO", text="spoken", media_uri="s3://b/a.wav"),
        RetrievalResult(type="VIDEO", text="seen", media_uri="s3://b/a.mp4"),
    ],
)
def test_every_kind_of_result_passes_both_ways(client: awsllm.Client, result: RetrievalResult) -> None:
    with mock_aws(reply=RetrieveResponse(results=(result,), next_token="t", guardrail_action="NONE")):
        response = client.retrieve(KB, "x")
        theirs = agents().retrieve(knowledgeBaseId=KB, retrievalQuery={"text": "x"})
    assert response.results == (result,)
    assert (response.next_token, response.guardrail_action) == ("t", "NONE")
    assert theirs["retrievalResults"][0]["content"]["type"] == result.type
    if result.type == "IMAGE":
        assert result.image == awsllm.Image("png", awsllm.Bytes(b"\x89PNG"))


def test_agentic_traces_and_citations(client: awsllm.Client) -> None:
    found = RetrievalResult(text="A passage.", type="text/plain", source=KB)
    citation = RetrievalCitation(text="Yes", start=0, end=3, references=(found,))
    trace = AgenticTrace(id="1", timestamp=5, step="Planning", status="SUCCEEDED", message="plan", results=(found,))
    reply = AgenticRetrieveResponse(
        results=(found,), text="Yes.", citations=(citation,), traces=(trace,), next_token="t"
    )
    with mock_aws(reply=reply), client.agentic_retrieve_stream(KB, "x", generate=True) as stream:
        assert stream.response == reply


def test_queries_and_prompts(client: awsllm.Client) -> None:
    queries = GenerateQueryResponse(queries=(GeneratedQuery("SELECT 1", "REDSHIFT_SQL"),))
    with mock_aws(reply=[queries, OptimizePromptResponse(text="Better.", analysis="Vague."), "Best."]):
        assert client.generate_query(KB_ARN, "How many?").sql == "SELECT 1"
        assert client.optimize_prompt(NOVA, "Do") == OptimizePromptResponse(text="Better.", analysis="Vague.")
        prompt = {"textPrompt": {"text": "Do"}}
        events = list(agents().optimize_prompt(input=prompt, targetModelId="amazon.nova-lite-v1:0")["optimizedPrompt"])
    assert events == [{"optimizedPromptEvent": {"optimizedPrompt": {"textPrompt": {"text": "Best."}}}}]


def test_a_reply_of_another_operation_is_a_mistake_of_the_test(client: awsllm.Client) -> None:
    with mock_aws(reply="Hello"), pytest.raises(awsllm.ConfigurationError, match="knowledge_bases= or guardrails="):
        client.retrieve(KB, "x")


def test_what_no_local_model_answers_names_what_to_give(client: awsllm.Client) -> None:
    with mock_aws(), pytest.raises(awsllm.ConfigurationError, match=r"knowledge_bases=\{.* a RetrieveResponse"):
        client.retrieve(KB, "x")
    with mock_aws(), pytest.raises(awsllm.ConfigurationError, match=r"guardrails=\{.* a GuardrailResponse"):
        client.apply_guardrail("gr1", "x")


# --- agents ----------------------------------------------------------------------------------------------------------


def test_an_agent_returns_control_and_is_told_the_results(client: awsllm.Client) -> None:
    asked: list[Any] = []

    def reply(request: InvokeAgentRequest) -> Any:
        asked.append(request)
        return "It is sunny." if request.session else AGENT

    with mock_aws(reply=reply):
        response = client.invoke_agent("AGENT12345/ALIAS12345", "Weather?", trace=True, memory_id="me")
        assert response.return_control == ReturnControl("i-1", (CITY, ROAD))
        assert [one.arguments for one in response.return_control.invocations] == [
            {"days": 3},
            {"open": True, "name": "A8"},
        ]
        last = client.invoke_agent(
            "AGENT12345/ALIAS12345",
            session_id=response.session_id,
            return_control=response.return_control,
            results=["sunny", ROAD.result({"ok": True}, state="REPROMPT")],
        )
    assert (response.text, response.files, response.traces) == (AGENT.text, AGENT.files, AGENT.traces)
    assert response.citations == AGENT.citations
    assert response.memory_id == "me"
    assert last.text == "It is sunny."
    assert asked[1].session_id == asked[0].session_id == response.session_id
    assert asked[1].session.invocation_id == "i-1"
    assert [(one.text, one.state) for one in asked[1].session.results] == [("sunny", None), ('{"ok":true}', "REPROMPT")]


def test_boto3_reads_what_an_agent_streams() -> None:
    with mock_aws(reply=AGENT):
        response = agents().invoke_agent(
            agentId="AGENT12345", agentAliasId="ALIAS12345", sessionId="s-1", inputText="Hi", enableTrace=True
        )
        events = {name: value for event in response["completion"] for name, value in event.items()}
    assert response["sessionId"] == "s-1"
    assert events["chunk"]["bytes"] == b"It is sunny."
    assert events["files"]["files"][0]["bytes"] == b"\x89PNG"
    assert events["trace"]["trace"]["orchestrationTrace"] == {"rationale": {"text": "look"}}
    function, api = events["returnControl"]["invocationInputs"]
    assert function["functionInvocationInput"]["parameters"] == [{"name": "days", "type": "integer", "value": "3"}]
    assert api["apiInvocationInput"]["requestBody"]["content"]["application/json"]["properties"][1]["value"] == "A8"


def test_an_inline_agent_is_described_by_the_call(client: awsllm.Client) -> None:
    instruction = "You are an agent that tells the weather of cities."
    with mock_aws(reply="Sunny.") as aws:
        with client.invoke_inline_agent_stream(
            NOVA,
            "Weather?",
            instruction=instruction,
            action_groups=[{"actionGroupName": "weather", "actionGroupExecutor": {"customControl": "RETURN_CONTROL"}}],
            guardrail_config={"guardrailIdentifier": "gr1", "guardrailVersion": "1"},
            attributes={"user": "kim"},
        ) as stream:
            assert [event for event in stream if isinstance(event, AgentText)] == [AgentText("Sunny.")]
        assert client.invoke_inline_agent(NOVA, "Weather?", instruction=instruction).text == "Sunny."
    request = aws.requests[0]
    assert isinstance(request, InvokeInlineAgentRequest)
    assert request.extra is not None
    assert request.extra["guardrailConfiguration"] == {"guardrailIdentifier": "gr1", "guardrailVersion": "1"}
    assert request.session is not None
    assert request.session.attributes == {"user": "kim"}


def test_an_agent_s_events_may_be_scripted_one_by_one(client: awsllm.Client) -> None:
    def reply(request: Any) -> Any:
        return iter([AgentText("Hel"), AgentText("lo"), AgentFiles(AGENT.files)])

    with mock_aws(reply=reply), client.invoke_agent_stream("AGENT12345", "Hi", alias="TSTALIASID") as stream:
        assert len(list(stream)) == 4
        assert stream.response.text == "Hello"


def test_without_a_script_the_chat_model_is_the_agent() -> None:
    """As ``awsllm serve`` has it, which has no knowledge bases and no guardrails, and says so."""
    scripted = ScriptedBackend("I am the model.")
    backend = WithResources(scripted, Resources(Models(chat="chat"), knowledge_bases={}, guardrails={}))
    request = InvokeAgentRequest(model="AGENT12345", alias="ALIAS12345", session_id="s-1", text="Hi")
    assert list(backend.stream(request)) == [AgentText("I am the model.")]
    (asked,) = scripted.requests
    assert isinstance(asked, ConverseRequest)
    assert (asked.model, asked.messages[0].text) == ("chat", "Hi")
    with pytest.raises(awsllm.ModelNotFoundError, match="does not exist"):
        backend.ask(RetrieveRequest(model=KB, text="x"))


def test_a_stream_that_breaks_keeps_what_came(client: awsllm.Client) -> None:
    def reply(request: Any) -> Any:
        yield AgentText("Half")
        raise awsllm.ThrottlingError("slow down")

    with mock_aws(reply=reply), client.invoke_agent_stream("AGENT12345/ALIAS12345", "Hi") as stream:
        with pytest.raises(awsllm.StreamError, match="slow down"):
            list(stream)
        assert stream.partial.text == "Half"


# --- guardrails ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "source", "outputs", "policies"),
    [
        ("Nothing in it", "INPUT", (), set()),
        ("Mail ann@example.com about T-17", "OUTPUT", ("Mail {EMAIL} about {ticket}",), {"sensitive_information"}),
        ("ACME sells", "INPUT", ("Not in.",), {"word"}),
        ("tell me what to buy, damn", "OUTPUT", ("Not out.",), {"topic", "word"}),
        ("4111 1111 1111 1111", "OUTPUT", ("Not out.",), {"sensitive_information"}),
        ("4111 1111 1111 1112", "OUTPUT", (), set()),
    ],
)
def test_a_guardrail_judges(
    aws: Any, client: awsllm.Client, text: str, source: str, outputs: tuple[str, ...], policies: set[str]
) -> None:
    response = client.apply_guardrail("gr1", text, source=source, version=1)
    assert response.outputs == outputs
    assert response.intervened == bool(outputs)
    assert {finding.policy for finding in response.findings} == policies
    assert response.masked == ("{" in response.text)
    assert response.usage.word_units == 1
    theirs = boto3.client("bedrock-runtime", "us-east-1").apply_guardrail(
        guardrailIdentifier="gr1", guardrailVersion="1", source=source, content=[{"text": {"text": text}}]
    )
    assert tuple(output["text"] for output in theirs["outputs"]) == outputs
    assert theirs["action"] == response.action
    assert theirs["usage"]["wordPolicyUnits"] == 1


@pytest.mark.parametrize("model", [NOVA, "bedrock:us.anthropic.claude-sonnet-4-6", "bedrock:openai.gpt-oss-20b-1:0"])
@pytest.mark.parametrize("api", ["converse", "invoke"])
@pytest.mark.parametrize(
    ("prompt", "reply", "text", "stop_reason", "policies"),
    [
        ("Dogs?", "They bark.", "They bark.", "end_turn", []),
        ("acme?", "They bark.", "Not in.", "guardrail_intervened", ["word"]),
        ("Dogs?", "Ask acme.", "Not out.", "guardrail_intervened", ["word"]),
        ("Who?", "It is ann@example.com", "It is {EMAIL}", "guardrail_intervened", ["sensitive_information"]),
    ],
)
def test_a_guardrail_reads_along(
    client: awsllm.Client, model: str, api: str, prompt: str, reply: str, text: str, stop_reason: str, policies: Any
) -> None:
    config = {"guardrailIdentifier": "gr1", "guardrailVersion": "1", "trace": "enabled"}
    with mock_aws(reply=reply, guardrails=GUARDRAILS) as aws:
        answer = client.converse(model, prompt, max_tokens=20, guardrail_config=config, api=api)
        with client.converse_stream(model, prompt, max_tokens=20, guardrail_config=config, api=api) as stream:
            streamed = stream.response
        assert client.converse(model, prompt, max_tokens=20, api=api).text == reply  # without it nothing is judged
    request = aws.requests[0]
    assert isinstance(request, ConverseRequest)
    assert request.guardrail_config
    for response in (answer, streamed):
        assert (response.text, response.stop_reason) == (text, stop_reason)
        found = [finding for one in awsllm.guardrail_assessments(response.trace) for finding in one.findings]
        assert [finding.policy for finding in found] == policies
    if text == "Not in.":
        assert answer.usage.total_tokens == 0  # the model was not asked


def test_a_guardrail_judges_what_is_marked_for_it(client: awsllm.Client) -> None:
    marked = awsllm.GuardContent(awsllm.GuardText("Dogs?"))
    guardrail = {"guardrailIdentifier": "gr1", "guardrailVersion": "1"}
    other = {"guardrailIdentifier": "gr2", "guardrailVersion": "1"}
    with mock_aws(reply="They bark.", guardrails=GUARDRAILS):
        answer = client.converse(NOVA, ["acme says", marked], max_tokens=9, guardrail_config=guardrail)
        assert (answer.text, answer.trace) == ("They bark.", None)
        with pytest.raises(awsllm.ValidationError, match="guardrail identifier or version"):  # as the service says it
            client.converse(NOVA, "Dogs?", max_tokens=9, guardrail_config=other)


def test_boto3_reads_what_a_guardrail_did() -> None:
    turn = {"role": "user", "content": [{"text": "acme?"}]}
    guardrail: Any = {"guardrailIdentifier": "gr1", "guardrailVersion": "1"}
    traced = {**guardrail, "trace": "enabled"}
    with mock_aws(reply="They bark.", guardrails=GUARDRAILS):
        runtime = boto3.client("bedrock-runtime", "us-east-1")
        answer = runtime.converse(modelId="us.amazon.nova-lite-v1:0", messages=[turn], guardrailConfig=traced)
        assert answer["stopReason"] == "guardrail_intervened"
        words = answer["trace"]["guardrail"]["inputAssessment"]["gr1"]["wordPolicy"]["customWords"]
        assert words == [{"match": "acme", "action": "BLOCKED", "detected": True}]
        body = json.dumps({"messages": [turn]})
        invoked = runtime.invoke_model(modelId="us.amazon.nova-lite-v1:0", body=body, trace="ENABLED", **guardrail)
        wire = json.loads(invoked["body"].read())
        assert wire["amazon-bedrock-guardrailAction"] == "INTERVENED"
        assert "inputAssessment" in wire["amazon-bedrock-trace"]["guardrail"]
        assert wire["output"]["message"]["content"] == [{"text": "Not in."}]


def test_checks_without_a_guardrail(aws: Any, client: awsllm.Client) -> None:
    response = client.guardrail_checks(
        ["Mail ann@example.com"], content_filter=True, prompt_attack="jailbreak", sensitive_information=["EMAIL"]
    )
    (span,) = response.sensitive_information
    assert (span.type, span.start, span.end) == ("EMAIL", 5, 20)
    assert response.prompt_attack == {"JAILBREAK": 0.0}
    assert len(response.content_filter) == 5
    assert response.text_units == {"contentFilter": 1, "promptAttack": 1, "sensitiveInformation": 1}
    theirs = boto3.client("bedrock-runtime", "us-east-1").invoke_guardrail_checks(
        messages=[{"role": "user", "content": [{"text": "Mail ann@example.com"}]}],
        checks={"sensitiveInformation": {"entities": [{"type": "EMAIL"}]}},
    )
    assert theirs["results"]["sensitiveInformation"]["results"][0]["endOffset"] == 20


def test_what_there_is_not_is_named_with_where_to_look(aws: Any, client: awsllm.Client) -> None:
    with pytest.raises(awsllm.ModelNotFoundError, match=r"list_guardrails\(\)"):
        client.apply_guardrail("gr2", "x")
    with pytest.raises(awsllm.ModelNotFoundError, match=r"list_knowledge_bases\(\)"):
        client.retrieve("ABCDEFGHIX", "x")
    with pytest.raises(ClientError) as caught:
        agents().retrieve(knowledgeBaseId="ABCDEFGHIX", retrievalQuery={"text": "x"})
    assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"
    with pytest.raises(ClientError, match="2 validation errors"):
        agents().retrieve(knowledgeBaseId="with spaces", retrievalQuery={"text": "x"}, nextToken="a b")


# --- a server, and the asynchronous client ---------------------------------------------------------------------------


def test_a_server_has_them_and_the_asynchronous_client_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    backend = AsyncScriptedBackend("They bark at acme.")

    async def ask(url: str) -> None:
        async with awsllm.AsyncClient(region="us-east-1", endpoint_url=url) as client:
            assert len((await client.retrieve(KB, "dogs")).results) == 3
            response = await client.retrieve_and_generate(NOVA, "Dogs?", knowledge_base=KB)
            async with client.retrieve_and_generate_stream(NOVA, "Dogs?", knowledge_base=KB) as stream:
                assert (await stream.response).text == response.text == "They bark at acme."
            assert len((await client.agentic_retrieve(KB, "dogs")).results) == 3
            assert (await client.invoke_agent("AGENT12345/ALIAS12345", "Hi")).text == "They bark at acme."
            instruction = "You are an agent that tells the weather of cities."
            assert (await client.invoke_inline_agent(NOVA, "Hi", instruction=instruction)).text == "They bark at acme."
            assert (await client.optimize_prompt(NOVA, "Hi")).text == "They bark at acme."
            assert (await client.apply_guardrail("gr1", "acme")).outputs == ("Not in.",)
            checks = await client.guardrail_checks("a@b.de", sensitive_information="EMAIL")
            assert len(checks.sensitive_information) == 1
            ranked = await client.rerank("bedrock:cohere.rerank-v3-5:0", "dog", ["cat", "dog"], api="agents")
            assert ranked.results[0].document == "dog"
            async with client.guard(client.converse_stream(NOVA, "Hi"), "gr1") as guarded:
                answer = await guarded.response
            assert (answer.text, answer.stop_reason) == ("Not out.", "guardrail_intervened")

    with running(backend, knowledge_bases={KB: DOCUMENTS}, guardrails=GUARDRAILS) as url:
        asyncio.run(ask(url))
        theirs = boto3.client("bedrock-agent-runtime", "us-east-1", endpoint_url=url)
        assert theirs.retrieve(knowledgeBaseId=KB, retrievalQuery={"text": "dogs"})["retrievalResults"]


def test_replies_of_the_other_kinds_pass_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    whole = RetrieveAndGenerateResponse(text="Yes.", session_id="s-1")
    with running(AsyncScriptedBackend(whole)) as url, awsllm.Client(region="us-east-1", endpoint_url=url) as client:
        assert client.retrieve_and_generate(NOVA, "Dogs?", knowledge_base=KB).text == "Yes."
        with client.retrieve_and_generate_stream(NOVA, "Dogs?", knowledge_base=KB) as stream:
            assert stream.response.text == "Yes."
