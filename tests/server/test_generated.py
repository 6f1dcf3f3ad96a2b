"""Requests and replies that botocore's service models allow, made up. Each request is answered by what botocore reads
whole, or refused with a code that the operation has, never by a failure of the server's own; each reply that a script
gives is what botocore reads.

``AWSLLM_TEST_EXAMPLES`` says how many of each operation are tried."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from botocore.model import OperationModel
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from awsllm.server.shapes import service_model
from awsllm.testing import mock_aws
from awsllm.types import ConverseRequest
from awsllm.types.agents import AgentResponse, InvokeAgentRequest, InvokeInlineAgentRequest
from awsllm.types.predict import Entities
from awsllm.types.retrieval import (
    GeneratedQuery,
    GenerateQueryRequest,
    GenerateQueryResponse,
    OptimizePromptRequest,
    OptimizePromptResponse,
)
from tests.support import generated
from tests.support.honest import answer
from tests.support.media import PIXELS

MODELS = (
    "anthropic.claude-3-5-sonnet-20240620-v1:0",
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "us.amazon.nova-lite-v1:0",
    "us.meta.llama3-3-70b-instruct-v1:0",
    "mistral.mistral-large-2402-v1:0",
    "cohere.command-r-v1:0",
    "amazon.titan-text-express-v1",
    "openai.gpt-oss-20b-1:0",
    "amazon.titan-embed-text-v2:0",
    "cohere.embed-english-v3",
    "stability.sd3-5-large-v1:0",
    "amazon.nova-canvas-v1:0",
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123def456",
    "arn:aws:bedrock:us-east-1:123456789012:prompt/ABCDEFGHIJ:1",
    "no.such-model",
)
CLAUDES: Any = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": []}
BODIES: tuple[Any, ...] = (
    {**CLAUDES, "messages": [{"role": "user", "content": "Hello"}]},
    {**CLAUDES, "messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "x"}}]}]},
    {**CLAUDES, "messages": [{"role": "user", "content": "Hello"}], "tools": [{"name": "t", "input_schema": {}}]},
    CLAUDES,
    {"schemaVersion": "messages-v1", "messages": [{"role": "user", "content": [{"text": "Hello"}]}]},
    {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 9, "stream": True},
    {"inputText": "Hello", "dimensions": 256},
    {"texts": ["a", "b"], "input_type": "search_query"},
    {"prompt": "Hello", "max_gen_len": 9},
    {"message": "Hello", "chat_history": [{"role": "USER", "message": "Hi"}]},
    {"inputs": "Hello", "parameters": {"max_new_tokens": 3}},
    {"taskType": "TEXT_IMAGE", "textToImageParams": {"text": "a cat"}},
    {"query": "a", "documents": ["b", "c"], "api_version": 2},
    [],
    "Hello",
    {"messages": None},
    {"prompt": 7},
)
OWN: tuple[tuple[str, Any], ...] = (
    (MODELS[0], BODIES[0]),
    (MODELS[0], BODIES[1]),
    (MODELS[0], {**BODIES[0], "stop_sequences": [" mild"], "thinking": {"type": "enabled", "budget_tokens": 1024}}),
    (MODELS[2], BODIES[4]),
    (MODELS[3], {"prompt": "Hello", "max_gen_len": 9}),
    ("mistral.mistral-7b-instruct-v0:2", {"prompt": "<s>[INST] Hello [/INST]", "max_tokens": 9}),
    (MODELS[5], {"message": "Hello", "chat_history": [{"role": "USER", "message": "Hi"}]}),
    (MODELS[6], {"inputText": "Hello", "textGenerationConfig": {"maxTokenCount": 9}}),
    (MODELS[7], BODIES[5]),
    (MODELS[8], {"inputText": "Hello", "dimensions": 256}),
    (MODELS[9], {"texts": ["a", "b"], "input_type": "search_query", "embedding_types": ["int8"]}),
    ("cohere.rerank-v3-5:0", {"query": "a", "documents": ["b", "c"], "api_version": 2}),
    (MODELS[10], {"prompt": "a cat"}),
    (MODELS[11], {"taskType": "TEXT_IMAGE", "textToImageParams": {"text": "a cat"}}),
)
COMMON: dict[str, st.SearchStrategy[Any]] = {
    "modelId": st.sampled_from(MODELS),
    "body": st.sampled_from(BODIES).map(generated.json_bytes) | st.binary(max_size=20),
    "bytes": st.just(PIXELS) | st.binary(min_size=1, max_size=20),
    "EndpointName": st.sampled_from(("any", "ner", "huggingface-ner-model")),
    "Body": st.sampled_from(BODIES).map(generated.json_bytes) | st.binary(max_size=20),
    "ContentType": st.sampled_from(("application/json", "text/plain", "application/x-image")),
    "Accept": st.sampled_from(("application/json", "text/plain", "*/*")),
    "TargetContainerHostname": st.just("first"),
    "guardrailIdentifier": st.sampled_from(("wordsfilter1", "nosuchguardr")),
    "guardrailVersion": st.sampled_from(("1", "DRAFT")),
    "knowledgeBaseId": st.sampled_from(("KNOWLEDGE1", "NOSUCHBASE")),
    "modelArn": st.sampled_from(MODELS),
    "foundationModel": st.sampled_from(MODELS),
    "agentId": st.just("ABCDEFGHIJ"),
    "agentAliasId": st.just("ABCDEFGHIJ"),
    "nextToken": st.sampled_from(("10", "abc", "eyJ9")),
    "additionalModelRequestFields": st.sampled_from(({}, {"top_k": 5}, {"thinking": {"type": "enabled"}}, {"a": None})),
}
CALLED: Any = {"toolUse": {"toolUseId": "t1", "name": "look", "input": {"at": 1}}}
RESULT: Any = {"toolResult": {"toolUseId": "t1", "content": [{"text": "seen"}]}}
TOOLS: Any = {"tools": [{"toolSpec": {"name": "look", "inputSchema": {"json": {"type": "object"}}}}]}
TALKS: tuple[Any, ...] = (
    {},
    {"messages": [{"role": "user", "content": [CALLED]}]},
    {"messages": [{"role": "assistant", "content": [{"text": "Hi"}]}]},
    {
        "messages": [
            {"role": "user", "content": [{"text": "Look."}]},
            {"role": "assistant", "content": [CALLED]},
            {"role": "user", "content": [RESULT]},
        ],
        "toolConfig": TOOLS,
    },
)
BLOCKS = service_model("bedrock-runtime").shape_for("ContentBlocks")


def talk(made: Any, data: st.DataObject) -> Any:
    """A conversation that mostly has what the service wants of one."""
    given = data.draw(st.sampled_from(TALKS))
    blocks = data.draw(generated.requests(BLOCKS, COMMON))
    turn = {"role": "user", "content": [{"text": "Hello."}, *blocks]}
    tools = {"toolConfig": TOOLS} if data.draw(st.booleans()) else {}
    return {**made, "modelId": data.draw(st.sampled_from(MODELS[:8])), **(given or {"messages": [turn], **tools})}


def body_of(made: Any, data: st.DataObject) -> Any:
    """A model and a body of its family, the rest as it was made."""
    model, body = data.draw(st.sampled_from(OWN))
    return {"modelId": model, "body": json.dumps(body), **({"trace": made["trace"]} if "trace" in made else {})}


FITTED: dict[str, Callable[[Any, st.DataObject], Any]] = {
    "Converse": talk,
    "ConverseStream": talk,
    "InvokeModel": body_of,
    "InvokeModelWithResponseStream": body_of,
}
"""Where the service wants more than its model says, every other request is made to have it."""
RUNTIMES = [
    *(("bedrock-runtime", name) for name in service_model("bedrock-runtime").operation_names if "Bidirect" not in name),
    *(("sagemaker-runtime", name) for name in service_model("sagemaker-runtime").operation_names),
    *(
        ("bedrock-agent-runtime", name)
        for name in ("Retrieve", "RetrieveAndGenerate", "RetrieveAndGenerateStream", "Rerank", "GenerateQuery")
    ),
    *(
        ("bedrock-agent-runtime", name)
        for name in ("AgenticRetrieveStream", "OptimizePrompt", "InvokeAgent", "InvokeInlineAgent")
    ),
]
EXAMPLES = int(os.environ.get("AWSLLM_TEST_EXAMPLES", "10"))
ANYWHERE = {"ValidationException", "AccessDeniedException", "ThrottlingException", "UnknownOperationException"}


def reply(request: Any) -> Any:
    """What the models say; an operation that is no chat has its own response."""
    match request:
        case ConverseRequest():
            return answer(request)
        case OptimizePromptRequest():
            return OptimizePromptResponse(text="Say hello.")
        case GenerateQueryRequest():
            return GenerateQueryResponse(queries=(GeneratedQuery("SELECT 1"),))
        case InvokeAgentRequest() | InvokeInlineAgentRequest():
            return AgentResponse(text="Hello.")
        case _:  # a task: what the endpoint's name says
            return Entities(())


@pytest.fixture(scope="module")
def clients() -> Iterator[dict[str, Any]]:
    words = {"wordPolicyConfig": {"wordsConfig": [{"text": "drat"}]}, "blockedInputMessaging": "no"}
    with mock_aws(
        reply=reply,
        endpoints="*",
        knowledge_bases={"KNOWLEDGE1": ["The sky is blue.", "Grass is green."]},
        guardrails={"wordsfilter1": {**words, "blockedOutputsMessaging": "no"}},
    ):
        keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
        options = Config(retries={"total_max_attempts": 1})
        made = {name: boto3.client(name, "us-east-1", config=options, **keys) for name, _ in RUNTIMES}
        yield made
        for client in made.values():
            client.close()


@pytest.mark.parametrize(("service", "operation"), RUNTIMES, ids=[name for _, name in RUNTIMES])
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_requests_that_the_model_allows(
    clients: dict[str, Any], service: str, operation: str, data: st.DataObject
) -> None:
    model = service_model(service).operation_model(operation)
    request = data.draw(generated.requests(model.input_shape, COMMON))
    if operation in FITTED and data.draw(st.booleans()):
        request = FITTED[operation](request, data)
    assert list(faults(clients[service], model, request)) == []


def faults(client: Any, model: OperationModel, request: Any) -> Iterator[Any]:
    """What is wrong with the answer to ``request``."""
    try:
        response = client._make_api_call(model.name, request)
        yield from generated.read(model.output_shape, response)
        event("answered")
    except EventStreamError as error:
        if error.response["Error"]["Code"] == "internalServerException":
            yield error
    except ClientError as error:
        known = error.response["Error"]["Code"] in ANYWHERE | {shape.name for shape in model.error_shapes}
        if not known or error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
            yield error
        event("refused")


ANSWERS = {**COMMON, "role": st.just("assistant"), "error": st.just({"message": "no"})}
MADE: list[Any] = []


@pytest.fixture(scope="module")
def repeating() -> Iterator[Any]:
    """A client that is answered by the last of ``MADE``."""
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
    with (
        mock_aws(reply=lambda request: MADE[-1]),
        closing(boto3.client("bedrock-runtime", "us-east-1", **keys)) as made,
    ):
        yield made


@settings(max_examples=2 * EXAMPLES, suppress_health_check=list(HealthCheck))
@given(made=generated.requests(service_model("bedrock-runtime").shape_for("ConverseResponse"), ANSWERS))
def test_replies_that_the_model_allows(repeating: Any, made: Any) -> None:
    MADE[:] = [made]
    turns = [{"role": "user", "content": [{"text": "Hello."}]}]
    response = repeating.converse(modelId=MODELS[0], messages=turns)
    del response["ResponseMetadata"]
    assert lean(response) == lean(made)


def lean(value: Any) -> Any:
    """Without members that are empty lists: one that is absent says the same."""
    if isinstance(value, dict):
        return {name: lean(member) for name, member in value.items() if member != []}
    return [lean(item) for item in value] if isinstance(value, list) else value
