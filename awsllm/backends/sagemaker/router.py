"""SageMaker's inference routers: a body through one of them, at once or by way of S3.

Facts of the wire: botocore's service model ``sagemaker-inference-router-runtime``.
"""

from __future__ import annotations

from urllib.parse import quote

from awsllm.aws.call import Call, HttpRequest, HttpResponse
from awsllm.backends.remote import read_object
from awsllm.backends.sagemaker.target import MAX_BODY, ROUTER_SERVICE, read_error, routed_to
from awsllm.errors import ValidationError
from awsllm.types.router import RouterAsyncRequest, RouterAsyncResponse, RouterRequest, RouterResponse
from awsllm.wire.endpoint import Detected
from awsllm.wire.reading import JSON, optional

_PREFIX = "X-Amzn-SageMaker-"


def router_call(request: RouterRequest, found: Detected) -> Call[RouterResponse]:
    if not request.body:
        raise ValidationError("the body is empty, which the service does not take")
    if len(request.body) > MAX_BODY:
        raise ValidationError(f"the request has {len(request.body):,} bytes; SageMaker takes at most {MAX_BODY:,}")
    headers = {
        "Content-Type": request.content_type,
        "Accept": request.accept,
        f"{_PREFIX}Routing-Target-Name": request.target,
        f"{_PREFIX}Inference-Id": request.inference_id,
        f"{_PREFIX}Prefix-Aware-Id": request.prefix_aware_id,
        f"{_PREFIX}Custom-Attributes": request.custom_attributes,
    }
    return Call(_http(request.model, "invocations", headers, request.body), _decode, read_error)


def router_async_call(request: RouterAsyncRequest, found: Detected) -> Call[RouterAsyncResponse]:
    headers = {
        f"{_PREFIX}Routing-Target-Name": request.target,
        f"{_PREFIX}InputLocation": request.input,
        f"{_PREFIX}Content-Type": request.content_type,
        f"{_PREFIX}Accept": request.accept,
        f"{_PREFIX}Inference-Id": request.inference_id,
        f"{_PREFIX}Custom-Attributes": request.custom_attributes,
        f"{_PREFIX}S3OutputPathExtension": request.output_extension,
        f"{_PREFIX}Filename": request.filename,
        f"{_PREFIX}RequestTTLSeconds": _text(request.ttl),
        f"{_PREFIX}InvocationTimeoutSeconds": _text(request.invocation_timeout),
    }
    return Call(_http(request.model, "async-invocations", headers, b""), _decode_async, read_error)


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def _http(model: str, operation: str, headers: dict[str, str | None], body: bytes) -> HttpRequest:
    name = model.removeprefix("router/")
    given = {header: value for header, value in headers.items() if value is not None}
    return HttpRequest(ROUTER_SERVICE, "POST", f"/inference-routers/{quote(name, safe='')}/{operation}", given, body)


def _decode(response: HttpResponse) -> RouterResponse:
    arn, reason = routed_to(response)
    return RouterResponse(
        body=response.body,
        content_type=response.headers.get("content-type", JSON),
        resource_arn=arn,
        reason=reason,
        variant=response.headers.get("x-amzn-invoked-production-variant"),
        custom_attributes=response.headers.get("x-amzn-sagemaker-custom-attributes"),
        request_id=response.request_id,
    )


def _decode_async(response: HttpResponse) -> RouterAsyncResponse:
    return RouterAsyncResponse(
        inference_id=optional(read_object(response), "InferenceId", str),
        output_location=response.headers.get("x-amzn-sagemaker-outputlocation"),
        failure_location=response.headers.get("x-amzn-sagemaker-failurelocation"),
        request_id=response.request_id,
    )


CALLS = {RouterRequest: router_call, RouterAsyncRequest: router_async_call}
