"""Converse, ConverseStream and CountTokens as calls, and what every call of Bedrock's runtime has.

Routes and headers are those of botocore's service model; the model id is one path segment, percent-encoded as botocore
does it (``:`` and ``/`` too, for ids may be ARNs).

A chat request may name another door than Converse (``ConverseRequest.api``); the doors' modules are loaded when they
are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import TypeVar
from urllib.parse import quote

from awsllm.aws.call import Call, HttpRequest, HttpResponse, StreamCall
from awsllm.backends.remote import event_stream, read_object, write_json
from awsllm.errors import AwsllmError, UnsupportedError
from awsllm.models.references import foundation_model
from awsllm.types import ConverseRequest, ConverseResponse, CountTokensRequest, StreamEvent
from awsllm.wire import converse
from awsllm.wire.reading import JSON

R = TypeVar("R")

_DOORS = {"invoke": "awsllm.backends.bedrock.invoke", "openai": "awsllm.backends.bedrock.openai"}


def converse_call(request: ConverseRequest) -> Call[ConverseResponse]:
    if request.api is not None:
        call: Call[ConverseResponse] = _door(request.api).converse_call(request)
        return call

    def decode(response: HttpResponse) -> ConverseResponse:
        return converse.decode_response(read_object(response), model=request.model, request_id=response.request_id)

    return Call(post(request.model, "converse", write_json(converse.encode_request(request))), decode, read_error)


def converse_stream_call(request: ConverseRequest) -> StreamCall[StreamEvent]:
    if request.api is not None:
        call: StreamCall[StreamEvent] = _door(request.api).converse_stream_call(request)
        return call
    body = write_json(converse.encode_request(request, stream=True))
    decoder = event_stream(lambda head: converse.EventDecoder(head.request_id))
    return StreamCall(post(request.model, "converse-stream", body), decoder, read_error)


def count_tokens_call(request: CountTokensRequest) -> Call[int]:
    """Counted of the model behind a profile: the operation takes foundation models alone ("The provided model doesn't
    support counting tokens": pydantic/pydantic-ai 3367 and 4001, and the API reference's modelId; read 2026-11-26)."""
    if request.converse.api == "invoke":
        body = write_json({"input": {"invokeModel": {"body": _door("invoke").encode_body(request.converse)}}})
    else:
        if request.converse.api == "openai":
            _door("openai").check_counted(request)
        body = write_json(converse.encode_count_tokens(request))
    counted = post(foundation_model(request.model, request.family), "count-tokens", body)
    return Call(counted, lambda response: converse.decode_count_tokens(read_object(response)), read_error)


@lru_cache(maxsize=len(_DOORS))  # each call comes this way, and an import costs even where nothing is left to load
def _door(api: str) -> ModuleType:
    if api not in _DOORS:
        raise UnsupportedError(f"api={api!r} is none of bedrock's doors: converse, {', '.join(_DOORS)}")
    return import_module(_DOORS[api])


def read_error(response: HttpResponse) -> AwsllmError:
    return converse.decode_error(response.status, response.headers, response.body)


def post(model: str, operation: str, body: bytes, headers: Mapping[str, str] | None = None) -> HttpRequest:
    """``operation`` is the last segment of the path."""
    return HttpRequest(
        service="bedrock-runtime",
        method="POST",
        path=_path(model, operation),
        headers=headers or {"Content-Type": JSON},
        body=body,
    )


@lru_cache(maxsize=256)  # a program asks few models, and quoting costs more than building the rest
def _path(model: str, operation: str) -> str:
    return f"/model/{quote(model, safe='')}/{operation}"
