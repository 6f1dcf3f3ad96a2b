"""What is called: an endpoint, or a part of it, and the request that invokes it.

``request.model`` is ENDPOINT, ENDPOINT/COMPONENT, the endpoint's ARN, or router/ROUTER/TARGET. Members of
``EndpointOptions`` become headers. Facts of the wire: botocore's service models ``sagemaker-runtime`` and
``sagemaker-inference-router-runtime``.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from awsllm.aws.call import HttpRequest, HttpResponse
from awsllm.errors import AwsllmError, ValidationError
from awsllm.models.references import ENDPOINT_NAME
from awsllm.types import EndpointOptions, Value
from awsllm.wire.body import Payload
from awsllm.wire.endpoint.errors import decode_error

MAX_BODY = 6_291_456
"""Bytes that the service takes (service model, ``BodyBlob``)."""

ROUTER_SERVICE = "sagemaker-inference-router-runtime"
_MODEL = re.compile(f"(?:arn:[^/]*:endpoint/)?({ENDPOINT_NAME})(?:/({ENDPOINT_NAME}))?")

_ROUTED = re.compile(f"router/({ENDPOINT_NAME})/({ENDPOINT_NAME})")


class Target(Value, frozen=True):
    """What one format is spoken by: an endpoint, or a component, variant or container of it; or the routing ``target``
    of an inference router, which then stands in ``endpoint``'s place."""

    endpoint: str
    component: str | None = None
    variant: str | None = None
    container: str | None = None
    target: str | None = None

    def __str__(self) -> str:
        if self.target:
            return f"router/{self.endpoint}/{self.target}"
        return f"{self.endpoint}/{self.component}" if self.component else self.endpoint


def read_target(model: str, options: EndpointOptions | None = None) -> Target:
    """``model`` is ENDPOINT, ENDPOINT/COMPONENT or the endpoint's ARN. Raises ``ValidationError``."""
    if routed := _ROUTED.fullmatch(model):
        return Target(routed[1], target=routed[2])
    found = _MODEL.fullmatch(model)
    if found is None:
        raise ValidationError(f"{model!r} is no endpoint: write ENDPOINT or ENDPOINT/COMPONENT, letters, digits and -")
    options = options or EndpointOptions()
    return Target(found[1], found[2], options.variant, options.target_container)


_OPTIONS = {
    "X-Amzn-SageMaker-Target-Variant": "variant",
    "X-Amzn-SageMaker-Target-Model": "target_model",
    "X-Amzn-SageMaker-Target-Container-Hostname": "target_container",
    "X-Amzn-SageMaker-Session-Id": "session_id",
    "X-Amzn-SageMaker-Inference-Id": "inference_id",
    "X-Amzn-SageMaker-Prefix-Aware-Id": "prefix_aware_id",
}
_MAX_ATTRIBUTES = 1024  # service model, CustomAttributesHeader


def invoke_request(
    target: Target, options: EndpointOptions | None, payload: Payload, *, stream: bool = False
) -> HttpRequest:
    """InvokeEndpoint, or InvokeEndpointWithResponseStream, which names what it accepts in a header of its own. Raises
    ``ValidationError`` for what the service would refuse."""
    if len(payload.body) > MAX_BODY:
        raise ValidationError(f"the request has {len(payload.body):,} bytes; SageMaker takes at most {MAX_BODY:,}")
    options = options or EndpointOptions()
    headers = {"Content-Type": payload.content_type, "X-Amzn-SageMaker-Accept" if stream else "Accept": payload.accept}
    if target.component:
        headers["X-Amzn-SageMaker-Inference-Component"] = target.component
    headers |= {header: value for header, name in _OPTIONS.items() if (value := getattr(options, name))}
    if target.target:
        _refuse_unrouted(headers)
        headers["X-Amzn-SageMaker-Routing-Target-Name"] = target.target
    if attributes := _attributes(payload.attributes, options.custom_attributes):
        headers["X-Amzn-SageMaker-Custom-Attributes"] = attributes
    operation = "invocations-response-stream" if stream else "invocations"
    place, service = ("inference-routers", ROUTER_SERVICE) if target.target else ("endpoints", "sagemaker-runtime")
    path = f"/{place}/{quote(target.endpoint, safe='')}/{operation}"
    return HttpRequest(service, "POST", path, headers, payload.body)


def _refuse_unrouted(headers: dict[str, str]) -> None:
    """Raises ``ValidationError`` for what a router does not hand on (service model)."""
    names = ("Target-Variant", "Target-Model", "Target-Container-Hostname", "Session-Id")
    if found := [name for name in names if f"X-Amzn-SageMaker-{name}" in headers]:
        raise ValidationError(f"an inference router takes no {found[0]}: leave it out, or call the endpoint itself")


def routed_to(response: HttpResponse) -> tuple[str | None, str | None]:
    """The ARN of what a router chose, and why."""
    names = ("x-amzn-sagemaker-invoked-routed-resource-arn", "x-amzn-sagemaker-invoked-routing-reason")
    return response.headers.get(names[0]), response.headers.get(names[1])


def _attributes(formats: str | None, callers: str | None) -> str | None:
    """Both, as JumpStart's containers read them: ``key=value`` pairs between semicolons; the last one holds."""
    attributes = ";".join(filter(None, (formats, callers)))
    if len(attributes) > _MAX_ATTRIBUTES or not attributes.isascii():
        raise ValidationError(f"custom attributes are at most {_MAX_ATTRIBUTES:,} ASCII characters")
    return attributes or None


def read_error(response: HttpResponse) -> AwsllmError:
    """Whatever is not 2xx, as sagemaker-runtime tells it."""
    return decode_error(response.status, response.headers, response.body)
