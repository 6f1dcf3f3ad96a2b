"""Embeddings, images and rankings by InvokeModel, in the bodies that the families of models speak (``wire.invoke``).

Chat by the same way is ``invoke``'s, a module of its own so that chat does not load what it does not use.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

from msgspec.structs import replace

from awsllm.aws.call import Call, HttpResponse
from awsllm.backends.bedrock.invoke import counts_of, invocation_headers
from awsllm.backends.bedrock.runtime import post, read_error
from awsllm.backends.groups import CallGroup
from awsllm.backends.payloads import read_by
from awsllm.backends.remote import writable
from awsllm.types import Request
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.types.media import ImageEditRequest, ImageRequest
from awsllm.types.reranking import RerankRequest, RerankResponse
from awsllm.wire import invoke
from awsllm.wire.body import Body, Context, Settings
from awsllm.wire.vectors import merge_embeddings, split_embedding

R = TypeVar("R")


def body_call(request: Request[R]) -> Call[R]:
    return _call(request, invoke.body_of(request.model, request.family))


def rerank_call(request: RerankRequest) -> Call[RerankResponse]:
    if request.api == "agents":
        from awsllm.backends.bedrock.agents import rerank_call as through_agents

        return through_agents(request)
    return body_call(request)


def _call(request: Request[R], body: Body) -> Call[R]:
    """InvokeModel, in the body of the model's family."""
    codec, settings = body.codec(type(request)), Settings()
    with writable():
        payload = codec.encode_request(request, settings)
    metadata = invocation_headers(None, None, None, getattr(request, "request_metadata", None))
    headers = {"Content-Type": payload.content_type, "Accept": payload.accept, **metadata}
    context = Context(request=request, warnings=codec.warnings(request, settings))
    read = read_by(codec, context)

    def decode(response: HttpResponse) -> R:
        return _counted(read(response), response)

    return Call(post(request.model, "invoke", payload.body, headers), decode, read_error)


def _counted(response: R, http: HttpResponse) -> R:
    """The response with the tokens that the service counted, where its body counts none."""
    known: Any = response
    usage = getattr(known, "usage", None)
    counted = counts_of(http.headers).input_tokens
    if usage is None or counted is None or usage.input_tokens is not None:
        return response
    return cast("R", replace(known, usage=replace(usage, input_tokens=counted, total_tokens=counted)))


def embed_calls(request: EmbedRequest) -> CallGroup[EmbedResponse]:
    """As many calls as it takes: most families limit what one carries."""
    body = invoke.body_of(request.model, request.family)
    parts = split_embedding(request, body.embed) if body.embed else [request]
    return CallGroup(
        [_call(part, body) for part in parts], lambda responses: merge_embeddings(request, parts, responses)
    )


CALLS = {
    EmbedRequest: embed_calls,
    ImageRequest: body_call,
    ImageEditRequest: body_call,
    RerankRequest: rerank_call,
}
