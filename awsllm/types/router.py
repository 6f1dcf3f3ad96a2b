"""Values of SageMaker's inference routers, which choose among endpoints in several regions."""

from __future__ import annotations

from typing import ClassVar

from awsllm.types import Request, Value
from awsllm.types.raw import RawResponse

_JSON = "application/json"


class RouterResponse(RawResponse, frozen=True, kw_only=True):
    """A destination's body as it came. ``resource_arn`` is the endpoint or component that served the request,
    ``reason`` why the router chose it: local-preferred, capacity-available, only-healthy or failover."""

    resource_arn: str | None = None
    reason: str | None = None
    variant: str | None = None
    custom_attributes: str | None = None


class RouterRequest(Request[RouterResponse], frozen=True, kw_only=True):
    """InvokeInferenceRouter with the caller's own body. ``model`` is the router, ``target`` which of its routing
    targets is meant."""

    operation: ClassVar[str] = "invoke_inference_router"
    served_by: ClassVar[str] = "sagemaker: inference routers"

    target: str
    body: bytes
    content_type: str = _JSON
    accept: str = _JSON
    inference_id: str | None = None
    prefix_aware_id: str | None = None
    custom_attributes: str | None = None


class RouterAsyncResponse(Value, frozen=True, kw_only=True):
    """Where the answer will lie in S3, or why there is none."""

    inference_id: str | None = None
    output_location: str | None = None
    failure_location: str | None = None
    model: str | None = None
    request_id: str | None = None


class RouterAsyncRequest(Request[RouterAsyncResponse], frozen=True, kw_only=True):
    """InvokeInferenceRouterAsync of what lies at ``input`` (``s3://``, in the router's region). ``ttl`` is how long it
    may wait for a destination, 60 to 21,600 seconds, ``invocation_timeout`` how long that may take, up to 3,600;
    ``output_extension`` is added to the target's output path, ``filename`` names the object there."""

    operation: ClassVar[str] = "invoke_inference_router_async"
    served_by: ClassVar[str] = "sagemaker: inference routers"

    target: str
    input: str
    content_type: str = _JSON
    accept: str | None = None
    inference_id: str | None = None
    custom_attributes: str | None = None
    output_extension: str | None = None
    filename: str | None = None
    ttl: int | None = None
    invocation_timeout: int | None = None
