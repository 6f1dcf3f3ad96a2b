"""Knowledge bases and agents as calls: what is sent is what boto3 sends, what comes is what botocore reads."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from awsllm.aws.call import Call, HttpResponse, StreamCall
from awsllm.backends.bedrock import agents
from awsllm.errors import (
    AccessDeniedError,
    ModelNotFoundError,
    ServerError,
    StreamError,
    ThrottlingError,
    ValidationError,
)
from awsllm.server.shapes import service_model
from awsllm.types import Bytes, GuardrailConfig, Image
from awsllm.types.agents import (
    AgentFile,
    AgentInvocation,
    AgentParameter,
    AgentSession,
    InvokeAgentRequest,
    InvokeInlineAgentRequest,
)
from awsllm.types.reranking import RerankRequest
from awsllm.types.retrieval import (
    AgenticRetrieveRequest,
    AgenticTrace,
    ExternalSource,
    GenerateQueryRequest,
    ImplicitFilter,
    OptimizedPrompt,
    OptimizePromptRequest,
    OutputCitation,
    OutputGuardrail,
    OutputText,
    PromptAnalysis,
    Reranking,
    RetrievalConfig,
    RetrieveAndGenerateRequest,
    Retriever,
    RetrieveRequest,
    SessionStart,
    attribute,
)
from awsllm.wire.agents import agentic, generation, invocation, prompts, retrieval
from awsllm.wire.agents.events import encode_failure
from awsllm.wire.eventstream import FrameDecoder, encode_event_frame, encode_exception_frame
from tests.support.boto3_requests import sent_by_boto3

KB = "ABCDEFGHIJ"
MODEL = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"
RERANKER = "arn:aws:bedrock:us-east-1::foundation-model/cohere.rerank-v3-5:0"
GUARDRAIL = GuardrailConfig("gr1abc", "2")
ANIMALS = (attribute("animal") == "cat") & (attribute("year") > 1989)
ANIMALS_WIRE = {
    "andAll": [{"equals": {"key": "animal", "value": "cat"}}, {"greaterThan": {"key": "year", "value": 1989}}]
}
PNG = Image("png", Bytes(b"\x89PNG"))
CITY = AgentInvocation(
    action_group="weather", function="forecast", parameters=(AgentParameter("city", "Ulm", "string"),)
)
ROAD = AgentInvocation(action_group="roads", api_path="/roads/{id}", method="GET", agent_id="AGENT12345")
RERANKED = {
    "type": "BEDROCK_RERANKING_MODEL",
    "bedrockRerankingConfiguration": {
        "modelConfiguration": {"modelArn": RERANKER},
        "numberOfRerankedResults": 3,
        "metadataConfiguration": {
            "selectionMode": "SELECTIVE",
            "selectiveModeConfiguration": {"fieldsToInclude": [{"fieldName": "year"}]},
        },
    },
}

CASES: list[tuple[Any, Any, str, dict[str, Any]]] = [
    (
        agents.retrieve_call,
        RetrieveRequest(model=KB, text="cats"),
        "retrieve",
        {"knowledgeBaseId": KB, "retrievalQuery": {"text": "cats"}},
    ),
    (
        agents.retrieve_call,
        RetrieveRequest(
            model=f"arn:aws:bedrock:us-east-1:123456789012:knowledge-base/{KB}",
            text="cats",
            image=PNG,
            config=RetrievalConfig(
                number_of_results=7,
                search_type="HYBRID",
                filter=ANIMALS | attribute("tags").has_member("x"),
                implicit_filter=ImplicitFilter(
                    model_arn=MODEL, attributes=({"key": "year", "type": "NUMBER", "description": "Published"},)
                ),
                reranking=Reranking(model_arn=RERANKER, number_of_results=3, include=("year",)),
            ),
            guardrail_config=GUARDRAIL,
            user_id="kim",
            next_token="t",
        ),
        "retrieve",
        {
            "knowledgeBaseId": f"arn:aws:bedrock:us-east-1:123456789012:knowledge-base/{KB}",
            "retrievalQuery": {
                "text": "cats",
                "type": "IMAGE",
                "image": {"format": "png", "inlineContent": b"\x89PNG"},
            },
            "retrievalConfiguration": {
                "vectorSearchConfiguration": {
                    "numberOfResults": 7,
                    "overrideSearchType": "HYBRID",
                    "filter": {"orAll": [ANIMALS_WIRE, {"listContains": {"key": "tags", "value": "x"}}]},
                    "implicitFilterConfiguration": {
                        "metadataAttributes": [{"key": "year", "type": "NUMBER", "description": "Published"}],
                        "modelArn": MODEL,
                    },
                    "rerankingConfiguration": RERANKED,
                }
            },
            "guardrailConfiguration": {"guardrailId": "gr1abc", "guardrailVersion": "2"},
            "userContext": {"userId": "kim"},
            "nextToken": "t",
        },
    ),
    (
        agents.retrieve_call,
        RetrieveRequest(model=KB, text="cats", config=RetrievalConfig(managed=True, reranking_type="MANAGED")),
        "retrieve",
        {
            "knowledgeBaseId": KB,
            "retrievalQuery": {"text": "cats"},
            "retrievalConfiguration": {"managedSearchConfiguration": {"rerankingModelType": "MANAGED"}},
        },
    ),
    (
        agents.generate_call,
        RetrieveAndGenerateRequest(
            model=KB,
            text="Why?",
            generator=MODEL,
            config=RetrievalConfig(filter=attribute("animal") == "cat"),
            session_id="s-1",
            kms_key_arn="arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012",
            prompt_template="Use $search_results$",
            guardrail_config=GUARDRAIL,
            inference_config={"maxTokens": 100, "temperature": 0.5, "topP": 0.5, "stopSequences": ["X"]},
            extra={"top_k": 5},
            latency="optimized",
            orchestration={"queryTransformationConfiguration": {"type": "QUERY_DECOMPOSITION"}},
            user_id="kim",
        ),
        "retrieve_and_generate",
        {
            "input": {"text": "Why?"},
            "retrieveAndGenerateConfiguration": {
                "type": "KNOWLEDGE_BASE",
                "knowledgeBaseConfiguration": {
                    "knowledgeBaseId": KB,
                    "modelArn": MODEL,
                    "retrievalConfiguration": {
                        "vectorSearchConfiguration": {"filter": {"equals": {"key": "animal", "value": "cat"}}}
                    },
                    "generationConfiguration": {
                        "promptTemplate": {"textPromptTemplate": "Use $search_results$"},
                        "guardrailConfiguration": {"guardrailId": "gr1abc", "guardrailVersion": "2"},
                        "inferenceConfig": {
                            "textInferenceConfig": {
                                "maxTokens": 100,
                                "temperature": 0.5,
                                "topP": 0.5,
                                "stopSequences": ["X"],
                            }
                        },
                        "additionalModelRequestFields": {"top_k": 5},
                        "performanceConfig": {"latency": "optimized"},
                    },
                    "orchestrationConfiguration": {"queryTransformationConfiguration": {"type": "QUERY_DECOMPOSITION"}},
                },
            },
            "sessionId": "s-1",
            "sessionConfiguration": {
                "kmsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012"
            },
            "userContext": {"userId": "kim"},
        },
    ),
    (
        agents.generate_stream_call,
        RetrieveAndGenerateRequest(
            model="",
            text="Why?",
            generator=MODEL,
            sources=(ExternalSource(data=b"%PDF", content_type="application/pdf", identifier="a.pdf"),),
        ),
        "retrieve_and_generate_stream",
        {
            "input": {"text": "Why?"},
            "retrieveAndGenerateConfiguration": {
                "type": "EXTERNAL_SOURCES",
                "externalSourcesConfiguration": {
                    "modelArn": MODEL,
                    "sources": [
                        {
                            "sourceType": "BYTE_CONTENT",
                            "byteContent": {"identifier": "a.pdf", "contentType": "application/pdf", "data": b"%PDF"},
                        }
                    ],
                },
            },
        },
    ),
    (
        agents.generate_call,
        RetrieveAndGenerateRequest(
            model="", text="Why?", generator=MODEL, sources=(ExternalSource(uri="s3://bucket/a.pdf"),)
        ),
        "retrieve_and_generate",
        {
            "input": {"text": "Why?"},
            "retrieveAndGenerateConfiguration": {
                "type": "EXTERNAL_SOURCES",
                "externalSourcesConfiguration": {
                    "modelArn": MODEL,
                    "sources": [{"sourceType": "S3", "s3Location": {"uri": "s3://bucket/a.pdf"}}],
                },
            },
        },
    ),
    (
        agents.agentic_stream_call,
        AgenticRetrieveRequest(
            model=KB,
            messages=(("user", "Why?"),),
            retrievers=(Retriever(knowledge_base=KB, description="animals", filter=ANIMALS, number_of_results=4),),
            configuration={"foundationModelType": "MANAGED", "maxAgentIteration": 3},
            generate=True,
            guardrail_config=GUARDRAIL,
            user_id="kim",
            next_token="t",
        ),
        "agentic_retrieve_stream",
        {
            "messages": [{"role": "user", "content": {"text": "Why?"}}],
            "retrievers": [
                {
                    "configuration": {
                        "knowledgeBase": {
                            "knowledgeBaseId": KB,
                            "retrievalOverrides": {"filter": ANIMALS_WIRE, "maxNumberOfResults": 4},
                        }
                    },
                    "description": "animals",
                }
            ],
            "agenticRetrieveConfiguration": {"foundationModelType": "MANAGED", "maxAgentIteration": 3},
            "generateResponse": True,
            "policyConfiguration": {
                "bedrockGuardrailConfiguration": {"guardrailId": "gr1abc", "guardrailVersion": "2"}
            },
            "userContext": {"userId": "kim"},
            "nextToken": "t",
        },
    ),
    (
        agents.query_call,
        GenerateQueryRequest(model=f"arn:aws:bedrock:us-east-1:123456789012:knowledge-base/{KB}", text="How many?"),
        "generate_query",
        {
            "queryGenerationInput": {"type": "TEXT", "text": "How many?"},
            "transformationConfiguration": {
                "mode": "TEXT_TO_SQL",
                "textToSqlConfiguration": {
                    "type": "KNOWLEDGE_BASE",
                    "knowledgeBaseConfiguration": {
                        "knowledgeBaseArn": f"arn:aws:bedrock:us-east-1:123456789012:knowledge-base/{KB}"
                    },
                },
            },
        },
    ),
    (
        agents.optimize_stream_call,
        OptimizePromptRequest(model="amazon.nova-lite-v1:0", text="Do it"),
        "optimize_prompt",
        {"input": {"textPrompt": {"text": "Do it"}}, "targetModelId": "amazon.nova-lite-v1:0"},
    ),
    (
        agents.rerank_call,
        RerankRequest(model=RERANKER, query="q", documents=("a", "b"), top_n=1, extra={"x": 1}, api="agents"),
        "rerank",
        {
            "queries": [{"type": "TEXT", "textQuery": {"text": "q"}}],
            "sources": [
                {"type": "INLINE", "inlineDocumentSource": {"type": "TEXT", "textDocument": {"text": text}}}
                for text in ("a", "b")
            ],
            "rerankingConfiguration": {
                "type": "BEDROCK_RERANKING_MODEL",
                "bedrockRerankingConfiguration": {
                    "modelConfiguration": {"modelArn": RERANKER, "additionalModelRequestFields": {"x": 1}},
                    "numberOfResults": 1,
                },
            },
        },
    ),
    (
        agents.agent_stream_call,
        InvokeAgentRequest(
            model="AGENT12345",
            alias="ALIAS12345",
            session_id="s:1",
            text="Hello",
            trace=True,
            end_session=False,
            memory_id="m-1",
            source_arn="arn:aws:bedrock:us-east-1:123456789012:agent/AGENT12345",
            stream_text=True,
            guardrail_interval=50,
            session=AgentSession(
                attributes={"a": "b"},
                prompt_attributes={"c": "d"},
                files=(
                    AgentFile(name="a.csv", data=b"1,2", media_type="text/csv"),
                    AgentFile(name="b.csv", uri="s3://bucket/b.csv", use_case="CHAT"),
                ),
                invocation_id="i-1",
                results=(CITY.result("sunny"), ROAD.result({"ok": True}, state="REPROMPT", confirmation="CONFIRM")),
                extra={"conversationHistory": {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}},
            ),
            extra={"promptCreationConfigurations": {"excludePreviousThinkingSteps": True}},
        ),
        "invoke_agent",
        {
            "agentId": "AGENT12345",
            "agentAliasId": "ALIAS12345",
            "sessionId": "s:1",
            "inputText": "Hello",
            "enableTrace": True,
            "endSession": False,
            "memoryId": "m-1",
            "sourceArn": "arn:aws:bedrock:us-east-1:123456789012:agent/AGENT12345",
            "streamingConfigurations": {"streamFinalResponse": True, "applyGuardrailInterval": 50},
            "promptCreationConfigurations": {"excludePreviousThinkingSteps": True},
            "sessionState": {
                "sessionAttributes": {"a": "b"},
                "promptSessionAttributes": {"c": "d"},
                "files": [
                    {
                        "name": "a.csv",
                        "source": {
                            "sourceType": "BYTE_CONTENT",
                            "byteContent": {"mediaType": "text/csv", "data": b"1,2"},
                        },
                        "useCase": "CODE_INTERPRETER",
                    },
                    {
                        "name": "b.csv",
                        "source": {"sourceType": "S3", "s3Location": {"uri": "s3://bucket/b.csv"}},
                        "useCase": "CHAT",
                    },
                ],
                "invocationId": "i-1",
                "returnControlInvocationResults": [
                    {
                        "functionResult": {
                            "actionGroup": "weather",
                            "function": "forecast",
                            "responseBody": {"TEXT": {"body": "sunny"}},
                        }
                    },
                    {
                        "apiResult": {
                            "actionGroup": "roads",
                            "agentId": "AGENT12345",
                            "apiPath": "/roads/{id}",
                            "httpMethod": "GET",
                            "confirmationState": "CONFIRM",
                            "responseState": "REPROMPT",
                            "responseBody": {"application/json": {"body": '{"ok":true}'}},
                        }
                    },
                ],
                "conversationHistory": {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]},
            },
        },
    ),
    (
        agents.inline_agent_stream_call,
        InvokeInlineAgentRequest(
            model="amazon.nova-lite-v1:0",
            instruction="You are an agent that tells the weather of cities.",
            session_id="s-1",
            text="Hello",
            session=AgentSession(attributes={"a": "b"}),
            extra={"actionGroups": [{"actionGroupName": "weather"}]},
        ),
        "invoke_inline_agent",
        {
            "sessionId": "s-1",
            "foundationModel": "amazon.nova-lite-v1:0",
            "instruction": "You are an agent that tells the weather of cities.",
            "inputText": "Hello",
            "inlineSessionState": {"sessionAttributes": {"a": "b"}},
            "actionGroups": [{"actionGroupName": "weather"}],
        },
    ),
]


@pytest.mark.parametrize(
    ("make", "request_", "operation", "members"), CASES, ids=lambda value: getattr(value, "__name__", "")
)
def test_what_is_sent_is_what_boto3_sends(make: Any, request_: Any, operation: str, members: dict[str, Any]) -> None:
    theirs = sent_by_boto3("bedrock-agent-runtime", operation, **members)
    ours = make(request_).request
    assert (ours.service, ours.method) == ("bedrock-agent-runtime", "POST")
    assert theirs.url.endswith(ours.path)
    assert msgspec.json.decode(ours.body) == msgspec.json.decode(theirs.body)
    sent = {name.lower(): value for name, value in theirs.headers.items()}
    for name, value in ours.headers.items():
        assert (
            str(sent[name.lower()], "ascii") if isinstance(sent[name.lower()], bytes) else sent[name.lower()] == value
        )


def decoded(request: Any, wire: dict[str, Any]) -> Any:
    """What the server makes of the body."""
    match request:
        case RetrieveRequest():
            return retrieval.decode_retrieve(request.model, wire)
        case RetrieveAndGenerateRequest():
            return generation.decode_request(wire)
        case AgenticRetrieveRequest():
            return agentic.decode_request(wire)
        case GenerateQueryRequest():
            return prompts.decode_query(wire)
        case OptimizePromptRequest():
            return prompts.decode_optimize(wire)
        case RerankRequest():
            return replace(prompts.decode_rerank(wire), api="agents")
        case InvokeAgentRequest():
            found = invocation.decode_request(request.model, request.alias, request.session_id, wire)
            return replace(found, source_arn=request.source_arn)
        case InvokeInlineAgentRequest():
            return invocation.decode_inline_request(request.session_id, wire)


@pytest.mark.parametrize(
    ("make", "request_"), [case[:2] for case in CASES], ids=lambda value: getattr(value, "__name__", "")
)
def test_the_server_reads_what_is_sent(make: Any, request_: Any) -> None:
    call = make(request_)
    read = decoded(request_, msgspec.json.decode(call.request.body))
    # A result that is sent back names its invocation by less than the invocation is, and its kind of body.
    assert make(read).request.body == call.request.body
    if not isinstance(request_, InvokeAgentRequest):
        assert read == request_


# --- what comes ------------------------------------------------------------------------------------------------------

HEAD = {
    "content-type": "application/vnd.amazon.eventstream",
    "x-amzn-requestid": "r-1",
    "x-amzn-bedrock-knowledge-base-session-id": "s-1",
    "x-amz-bedrock-agent-session-id": "s-2",
    "x-amz-bedrock-agent-memory-id": "m-1",
    "x-amzn-bedrock-agent-content-type": "application/json",
}
CITATION = {  # the user guide's shape ("Query a knowledge base and generate responses"), shortened
    "generatedResponsePart": {"textResponsePart": {"span": {"end": 3, "start": 0}, "text": "Cats"}},
    "retrievedReferences": [
        {
            "content": {"text": "Cats sleep.", "type": "TEXT"},
            "location": {"s3Location": {"uri": "s3://zoo/cats.txt"}, "type": "S3"},
            "metadata": {"x-amz-bedrock-kb-source-uri": "s3://zoo/cats.txt", "page": 3},
        }
    ],
}
GENERATION = [
    ("output", {"text": "Ca"}),
    ("output", {"text": "ts"}),
    ("citation", {"citation": CITATION, **CITATION}),
    ("guardrail", {"action": "NONE"}),
]
AGENT = [
    (
        "trace",
        {"agentId": "A", "eventTime": "2026-01-01", "trace": {"orchestrationTrace": {"rationale": {}}}},
    ),
    ("trace", {"trace": {"aTraceOfTomorrow": {"x": 1}}}),
    ("chunk", {"bytes": base64.b64encode("Grü".encode()[:-1]).decode()}),
    ("chunk", {"bytes": base64.b64encode("Grü".encode()[-1:]).decode(), "attribution": {"citations": [CITATION]}}),
    ("files", {"files": [{"name": "a.png", "type": "image/png", "bytes": "iVBORw=="}]}),
    (
        "returnControl",
        {
            "invocationId": "i-1",
            "invocationInputs": [
                {
                    "functionInvocationInput": {
                        "actionGroup": "weather",
                        "function": "forecast",
                        "parameters": [{"name": "city", "type": "string", "value": "Ulm"}],
                    }
                },
                {"inputOfTomorrow": {"x": 1}},
            ],
        },
    ),
    ("eventOfTomorrow", {"x": 1}),
]


def frames(events: Sequence[tuple[str, Any]]) -> bytes:
    return b"".join(encode_event_frame(kind, msgspec.json.encode(payload)) for kind, payload in events)


def received(call: StreamCall[Any], *pieces: bytes) -> list[Any]:
    decoder = call.decoder(HttpResponse(200, HEAD))
    return [event for piece in pieces for event in decoder.feed(piece)] + list(decoder.close())


def test_an_answer_is_its_stream_wherever_it_is_cut() -> None:
    call, data = agents.generate_stream_call(CASES[4][1]), frames(GENERATION)
    whole = received(call, data)
    assert whole[0] == SessionStart("s-1", "r-1")
    assert whole[1:3] == [OutputText("Ca"), OutputText("ts")]
    assert isinstance(whole[3], OutputCitation)
    assert whole[4] == OutputGuardrail("NONE")
    for cut in range(len(data)):
        assert received(call, data[:cut], data[cut:]) == whole
    response = generation.whole(whole)
    assert (response.text, response.session_id, response.guardrail_action) == ("Cats", "s-1", "NONE")
    assert response.references[0].uri == "s3://zoo/cats.txt"
    assert response.references[0].metadata["page"] == 3


def test_a_citation_of_the_older_shape_alone_is_read() -> None:
    (_, event) = received(agents.generate_stream_call(CASES[4][1]), frames([("citation", {"citation": CITATION})]))
    assert event.citation.text == "Cats"


def test_an_agent_s_turn_is_its_stream_wherever_it_is_cut() -> None:
    request, data = CASES[-2][1], frames(AGENT)
    whole = received(agents.agent_stream_call(request), data)
    for cut in range(0, len(data), 3):
        assert received(agents.agent_stream_call(request), data[:cut], data[cut:]) == whole
    response = invocation.whole(whole)
    assert response.text == "Grü"
    assert (response.session_id, response.memory_id, response.request_id) == ("s-2", "m-1", "r-1")
    assert response.citations[0].text == "Cats"
    assert response.files == (AgentFile(name="a.png", data=b"\x89PNG", media_type="image/png"),)
    assert [trace.type for trace in response.traces] == ["orchestrationTrace", "aTraceOfTomorrow"]
    assert response.return_control is not None
    assert response.return_control.invocations[0].arguments == {"city": "Ulm"}
    assert len(response.return_control.invocations) == 2


def test_an_agentic_retrieval_and_a_prompt_are_their_streams() -> None:
    item = {
        "content": {"mimeType": "image/png", "byteContent": "iVBORw=="},
        "metadata": {"a": 1},
        "sourceRetriever": {"identifier": KB},
    }
    attributes = {"step": "Retrieval", "status": "SUCCEEDED", "message": "found", "retrievalResponse": [item], "x": 1}
    citation = {"startIndex": 0, "endIndex": 2, "references": [{"resultIndex": 0}, {"resultIndex": 9}]}
    events = [
        ("traceEvent", {"id": "1", "timestamp": 1, "attributes": attributes}),
        ("responseEvent", {"text": "No"}),
        ("result", {"results": [item], "generatedResponse": {"answer": "No.", "citations": [citation]}}),
    ]
    call = agents.agentic_stream_call(CASES[6][1])
    response = agentic.whole(received(call, frames(events)))
    assert response.text == "No."
    assert response.results[0].image == Image("png", Bytes(b"\x89PNG"))
    assert response.results[0].source == KB
    assert response.citations[0].text == "No"
    assert response.citations[0].references == response.results
    assert isinstance(response.traces[0], AgenticTrace)
    assert response.traces[0].attributes == {"x": 1}
    with pytest.raises(StreamError, match="ended without result"):
        received(call, frames(events[:2]))
    optimize = agents.optimize_stream_call(CASES[8][1])
    improved = [
        ("analyzePromptEvent", {"message": "Vague."}),
        ("optimizedPromptEvent", {"optimizedPrompt": {"textPrompt": {"text": "Better."}}}),
    ]
    assert received(optimize, frames(improved)) == [PromptAnalysis("Vague."), OptimizedPrompt("Better.")]
    with pytest.raises(StreamError, match="ended without optimizedPromptEvent"):
        received(optimize, frames(improved[:1]))


def test_an_exception_inside_a_stream_is_its_typed_error() -> None:
    call = agents.generate_stream_call(CASES[4][1])
    for name, kind in (
        ("throttlingException", ThrottlingError),
        ("accessDeniedException", AccessDeniedError),
        ("dependencyFailedException", ServerError),
        ("badGatewayException", ServerError),
    ):
        decoder = call.decoder(HttpResponse(200, HEAD))
        with pytest.raises(kind, match="no more"):
            list(decoder.feed(encode_exception_frame(name, b'{"message": "no more"}')))
    with pytest.raises(StreamError, match="the event citation cannot be read: citation: is required"):
        received(call, frames([("citation", {})]))


@pytest.mark.parametrize(
    "stream",
    [
        *("RetrieveAndGenerateStreamResponseOutput", "AgenticRetrieveStreamResponseOutput", "ResponseStream"),
        "InlineAgentResponseStream",
    ],
)
def test_what_the_server_can_raise_in_a_stream_is_modelled(stream: str) -> None:
    members = service_model("bedrock-agent-runtime").shape_for(stream).members
    for error in (
        *(ThrottlingError("x"), AccessDeniedError("x"), ModelNotFoundError("x"), ServerError("x"), StreamError("x")),
        ServerError("x", code="ServiceUnavailableException"),
    ):
        (frame,) = FrameDecoder().feed(encode_failure(error))
        assert frame.headers[":exception-type"] in members


@pytest.mark.parametrize(
    ("code", "status", "message", "kind", "hint"),
    [
        (
            *("ResourceNotFoundException", 404, "Knowledge Base with id X does not exist"),
            *(ModelNotFoundError, "list_knowledge_bases"),
        ),
        (
            "ResourceNotFoundException",
            404,
            "Agent A not found",
            ModelNotFoundError,
            "list_agents",
        ),
        ("DependencyFailedException", 424, "The vector store did not answer", ServerError, "vector store and role"),
        ("ValidationException", 400, "The S3 bucket is in another region", ValidationError, "give its bytes"),
        ("BadGatewayException", 502, "Bad gateway", ServerError, ""),
    ],
)
def test_refusals_name_the_fix(code: str, status: int, message: str, kind: type, hint: str) -> None:
    headers = {"x-amzn-errortype": code, "x-amzn-requestid": "r-1"}
    error = agents.agents_error(HttpResponse(status, headers, msgspec.json.encode({"message": message})))
    assert type(error) is kind
    assert hint in str(error)
    assert message in str(error)
    assert (error.code, error.status, error.request_id) == (code, status, "r-1")


def test_a_reply_that_is_none_is_the_service_s_fault() -> None:
    call: Call[Any] = agents.retrieve_call(CASES[0][1])
    with pytest.raises(ServerError, match="retrievalResults: must be a list"):
        call.decode(HttpResponse(200, {}, b'{"retrievalResults": 1}'))
