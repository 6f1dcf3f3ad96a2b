"""Knowledge bases, agents and prompts as calls of bedrock-agent-runtime.

Routes are those of botocore's service model. That service signs as ``bedrock`` and takes no API key: with
``AWS_BEARER_TOKEN_BEDROCK`` alone its calls fail for want of credentials.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from awsllm.aws.call import Call, HttpRequest, HttpResponse, StreamCall
from awsllm.backends.bedrock.runtime import read_error
from awsllm.backends.remote import event_stream, read_as, write_json
from awsllm.errors import AwsllmError
from awsllm.types import JsonObject
from awsllm.types.agents import AgentEvent, InvokeAgentRequest, InvokeInlineAgentRequest
from awsllm.types.reranking import RerankRequest, RerankResponse
from awsllm.types.retrieval import (
    AgenticRetrieveEvent,
    AgenticRetrieveRequest,
    GenerateQueryRequest,
    GenerateQueryResponse,
    GenerationEvent,
    OptimizePromptEvent,
    OptimizePromptRequest,
    RetrieveAndGenerateRequest,
    RetrieveAndGenerateResponse,
    RetrieveRequest,
    RetrieveResponse,
    SessionStart,
)
from awsllm.wire.agents import agentic, generation, invocation, prompts, retrieval
from awsllm.wire.agents.events import EventsDecoder
from awsllm.wire.errors import SEARCHED
from awsllm.wire.reading import JSON

E = TypeVar("E")
R = TypeVar("R")

SERVICE = "bedrock-agent-runtime"

# What the service's sentence is about, and what to do about it.
_HINTS = (
    (
        r"knowledge ?base.{0,200}(does not exist|not found|could not be found|doesn't exist)",
        "list those of this region with boto3's bedrock-agent, list_knowledge_bases()",
    ),
    (
        r"agent.{0,200}(does not exist|not found|could not be found|doesn't exist)",
        "list those of this region with boto3's bedrock-agent, list_agents() and list_agent_aliases()",
    ),
    (
        r"s3.{0,200}(region|PermanentRedirect|301)|bucket.{0,200}region",
        "the object must lie in the region of the call: copy it there, or give its bytes",
    ),
)


def agents_error(response: HttpResponse) -> AwsllmError:
    error = read_error(response)
    for pattern, hint in _HINTS:
        if re.search(pattern, error.message[:SEARCHED], re.IGNORECASE | re.DOTALL):
            error.message = f"{error.message.rstrip('.')}; {hint}"
            error.args = (error.message,)
            break
    return error


def _post(path: str, wire: JsonObject, headers: Mapping[str, str] | None = None) -> HttpRequest:
    return HttpRequest(SERVICE, "POST", path, {"Content-Type": JSON, **(headers or {})}, write_json(wire))


def _call(http: HttpRequest, decode: Callable[[JsonObject, str | None], R]) -> Call[R]:
    return Call(http, read_as(decode), agents_error)


def _stream(
    http: HttpRequest,
    table: Mapping[str, Callable[[JsonObject], E]],
    *,
    first: Callable[[HttpResponse], E] | None = None,
    last: str | None = None,
) -> StreamCall[Any]:
    def decoder(head: HttpResponse) -> EventsDecoder[E]:
        return EventsDecoder(table, head.request_id, first=first(head) if first else None, last=last)

    return StreamCall(http, event_stream(decoder), agents_error)


# --- knowledge bases -------------------------------------------------------------------------------------------------


def retrieve_call(request: RetrieveRequest) -> Call[RetrieveResponse]:
    http = _post(f"/knowledgebases/{quote(request.model, safe='')}/retrieve", retrieval.encode_retrieve(request))
    return _call(http, lambda wire, request_id: retrieval.decode_response(wire, request_id=request_id))


def generate_call(request: RetrieveAndGenerateRequest) -> Call[RetrieveAndGenerateResponse]:
    http = _post("/retrieveAndGenerate", generation.encode_request(request))
    return _call(http, lambda wire, request_id: generation.decode_response(wire, request_id=request_id))


def generate_stream_call(request: RetrieveAndGenerateRequest) -> StreamCall[GenerationEvent]:
    http = _post("/retrieveAndGenerateStream", generation.encode_request(request))
    return _stream(
        http, generation.EVENTS, first=lambda head: SessionStart(head.headers.get(generation.SESSION), head.request_id)
    )


def agentic_stream_call(request: AgenticRetrieveRequest) -> StreamCall[AgenticRetrieveEvent]:
    http = _post("/agenticRetrieveStream", agentic.encode_request(request))
    return _stream(http, agentic.EVENTS, last=agentic.LAST)


def query_call(request: GenerateQueryRequest) -> Call[GenerateQueryResponse]:
    http = _post("/generateQuery", prompts.encode_query(request))
    return _call(http, lambda wire, request_id: prompts.decode_queries(wire, request_id=request_id))


def rerank_call(request: RerankRequest) -> Call[RerankResponse]:
    http = _post("/rerank", prompts.encode_rerank(request))
    return _call(http, lambda wire, request_id: prompts.decode_ranking(wire, request, request_id))


def optimize_stream_call(request: OptimizePromptRequest) -> StreamCall[OptimizePromptEvent]:
    return _stream(_post("/optimize-prompt", prompts.encode_optimize(request)), prompts.EVENTS, last=prompts.LAST)


# --- agents ----------------------------------------------------------------------------------------------------------


def agent_stream_call(request: InvokeAgentRequest) -> StreamCall[AgentEvent]:
    agent, alias, session = (quote(part, safe="") for part in (request.model, request.alias, request.session_id))
    path = f"/agents/{agent}/agentAliases/{alias}/sessions/{session}/text"
    headers = {"x-amz-source-arn": request.source_arn} if request.source_arn else {}
    http = _post(path, invocation.encode_request(request), headers)
    return _stream(http, invocation.events(), first=_session)


def inline_agent_stream_call(request: InvokeInlineAgentRequest) -> StreamCall[AgentEvent]:
    http = _post(f"/agents/{quote(request.session_id, safe='')}", invocation.encode_inline_request(request))
    return _stream(http, invocation.events(), first=_session)


def _session(head: HttpResponse) -> SessionStart:
    named = (invocation.SESSION, invocation.CONTENT_TYPE, invocation.MEMORY)
    session, content_type, memory = (head.headers.get(name) for name in named)
    return SessionStart(session, head.request_id, content_type, memory)


CALLS = {
    RetrieveRequest: retrieve_call,
    RetrieveAndGenerateRequest: generate_call,
    GenerateQueryRequest: query_call,
}
STREAMS = {
    RetrieveAndGenerateRequest: generate_stream_call,
    AgenticRetrieveRequest: agentic_stream_call,
    OptimizePromptRequest: optimize_stream_call,
    InvokeAgentRequest: agent_stream_call,
    InvokeInlineAgentRequest: inline_agent_stream_call,
}
