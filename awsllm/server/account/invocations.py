"""Invocations that the account makes itself: of a transform job's records, and asynchronous ones.

An asynchronous invocation is answered into the endpoint's output path, or its failure path: at once, or in the
background (``Account.perform``).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import msgspec

from awsllm.backends.sagemaker.target import ROUTER_SERVICE
from awsllm.errors import AwsllmError, ServerError
from awsllm.jobs.asynchronous import MAX_INLINE
from awsllm.server.account import containers
from awsllm.server.account.account import Account, Region
from awsllm.server.account.jobs import JobFailure, objects, write
from awsllm.server.account.refusals import invalid_invocation
from awsllm.server.container import PLAIN, Container, model_error
from awsllm.server.mapping import named
from awsllm.server.shapes import check
from awsllm.server.work import Incoming, Reply
from awsllm.types import JsonObject
from awsllm.wire.body import Context, Payload

_OF_A_ROUTER = {
    "x-amzn-sagemaker-routing-target-name": "RoutingTargetName",
    "x-amzn-sagemaker-inputlocation": "InputLocation",
    "x-amzn-sagemaker-inference-id": "InferenceId",
    "x-amzn-sagemaker-s3outputpathextension": "S3OutputPathExtension",
    "x-amzn-sagemaker-filename": "Filename",
}
_SECONDS = {
    "x-amzn-sagemaker-requestttlseconds": "RequestTTLSeconds",
    "x-amzn-sagemaker-invocationtimeoutseconds": "InvocationTimeoutSeconds",
}
"""Headers of InvokeInferenceRouterAsync, and the members that they are."""


def invoke(account: Account, container: Container, name: str, payload: Payload) -> Payload:
    """What a container answers to one payload, whole. Raises awsllm's errors."""
    if account.backend is None:
        raise ServerError("no model answers behind this control plane")
    container = container.for_payload(payload.body)
    request, _ = container.body.read(name, payload, container.settings)
    codec, context = container.body.codec(type(request)), Context(request=request, settings=container.settings)
    asked = named(request, container.model) if container.model else request
    return codec.encode_response(account.backend.ask(account.models.rename(asked)), context)


# --- asynchronous ----------------------------------------------------------------------------------------------------


def invoke_async(region: Region, endpoint: str, incoming: Incoming) -> Reply | None:
    """InvokeEndpointAsync: a 202 that names two places in S3, one of which holds the response by then. None for an
    endpoint that was made elsewhere. Raises the runtime's refusal."""
    container = containers.find(region, endpoint)
    if container is None:
        return None
    config = region.state.table("endpoint")[endpoint].active["config"].get("AsyncInferenceConfig")
    if config is None:
        raise invalid_invocation(f"Endpoint {endpoint} does not have asynchronous inference configured.")
    check("sagemaker-runtime", "InvokeEndpointAsync", {"EndpointName": endpoint})
    return _accepted(region, endpoint, container, incoming, config["OutputConfig"])


def invoke_router_async(region: Region, router: str, incoming: Incoming) -> Reply:
    """InvokeInferenceRouterAsync: the same, of a router, which is no resource here. No endpoint's configuration says
    where its responses go, so they go into the bucket of the input, under the prefixes that SageMaker's own SDK uses.
    Raises the runtime's refusal."""
    headers = incoming.headers
    members = {"InferenceRouterName": router}
    members |= {member: headers[name] for name, member in _OF_A_ROUTER.items() if name in headers}
    seconds = {member: headers[name] for name, member in _SECONDS.items() if name in headers}
    check(ROUTER_SERVICE, "InvokeInferenceRouterAsync", {**members, **{name: _int(seconds[name]) for name in seconds}})
    scheme, _, place = members["InputLocation"].partition("://")
    if scheme != "s3":
        raise invalid_invocation("InputLocation: only s3://BUCKET/KEY is read here.")
    bucket = f"s3://{place.partition('/')[0]}"
    output = {"S3OutputPath": f"{bucket}/async-endpoint-outputs", "S3FailurePath": f"{bucket}/async-endpoint-failures"}
    return _accepted(region, router, PLAIN, replace(incoming, body=b""), output)


def _int(text: str) -> int | str:
    """What ``check`` names where it is none."""
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else text


def _accepted(region: Region, endpoint: str, container: Container, incoming: Incoming, places: JsonObject) -> Reply:
    """The 202. ``places`` is the wire's ``OutputConfig``."""
    inference_id = incoming.headers.get("x-amzn-sagemaker-inference-id") or secrets.token_hex(16)
    output, failure = _places(places, incoming.headers, inference_id)
    queued = _Queued(endpoint, container, output, failure)
    try:
        payload = _async_payload(region, incoming)
        region.account.perform(f"invocation {secrets.token_hex(16)}", partial(_answer, region, queued, payload))
    except JobFailure as error:  # of S3: there is nowhere to tell it but here
        raise invalid_invocation(str(error)) from None
    headers = {"Content-Type": "application/json", "X-Amzn-SageMaker-OutputLocation": output}
    if failure:
        headers["X-Amzn-SageMaker-FailureLocation"] = failure
    return Reply(202, headers, msgspec.json.encode({"InferenceId": inference_id}))


@dataclass(frozen=True, slots=True)
class _Queued:
    """Who answers an asynchronous invocation, and where its response and its failure go."""

    endpoint: str
    container: Container
    output: str
    failure: str


def _answer(region: Region, queued: _Queued, payload: Payload) -> None:
    try:
        try:
            write(region, queued.output, invoke(region.account, queued.container, queued.endpoint, payload).body)
        except AwsllmError as error:
            if queued.failure:
                told = model_error(queued.container.for_payload(payload.body), error)
                write(region, queued.failure, told["Message"].encode())
    except JobFailure as error:
        if not region.account.background:
            raise
        region.log(f"/aws/sagemaker/Endpoints/{queued.endpoint}", "async-inference", [str(error)])


def _places(output: JsonObject, headers: Mapping[str, str], inference_id: str) -> tuple[str, str]:
    """Where the response goes, and where a failure does ("" without a failure path)."""
    extension = headers.get("x-amzn-sagemaker-s3outputpathextension", "").strip("/")
    name = headers.get("x-amzn-sagemaker-filename") or f"{inference_id}.out"
    folder = f"{extension}/" if extension else ""
    failures = output.get("S3FailurePath", "").rstrip("/")
    response = f"{output['S3OutputPath'].rstrip('/')}/{folder}{name}"
    return response, f"{failures}/{folder}{name.removesuffix('.out')}-error.out" if failures else ""


def _async_payload(region: Region, incoming: Incoming) -> Payload:
    headers = incoming.headers
    return Payload(
        _async_input(region, incoming),
        headers.get("x-amzn-sagemaker-content-type", "application/json"),
        headers.get("x-amzn-sagemaker-accept", "application/json"),
        headers.get("x-amzn-sagemaker-custom-attributes"),
    )


def _async_input(region: Region, incoming: Incoming) -> bytes:
    location = incoming.headers.get("x-amzn-sagemaker-inputlocation")
    if bool(location) == bool(incoming.body):
        raise invalid_invocation("Provide either InputLocation or Body, and not both.")
    if not location:
        if len(incoming.body) > MAX_INLINE:
            raise invalid_invocation(f"Body has more than {MAX_INLINE} bytes.")
        return incoming.body
    try:
        return objects(region).read(location)
    except KeyError:
        raise invalid_invocation(f"Error reading input from S3: {location} does not exist.") from None
