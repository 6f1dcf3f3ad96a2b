"""Invocations that the account makes itself: of a transform job's records, and asynchronous ones.

An asynchronous invocation is answered at once into the endpoint's output path, or its failure path.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

import msgspec

from awsllm.errors import AwsllmError, ServerError
from awsllm.jobs.asynchronous import MAX_INLINE
from awsllm.server.account import containers
from awsllm.server.account.account import Account, Region
from awsllm.server.account.jobs import JobFailure, objects, write
from awsllm.server.account.refusals import invalid_invocation
from awsllm.server.container import Container, model_error
from awsllm.server.shapes import check
from awsllm.server.work import Incoming, Reply
from awsllm.types import JsonObject
from awsllm.wire.body import Context, Payload


def invoke(account: Account, container: Container, name: str, payload: Payload) -> Payload:
    """What a container answers to one payload, whole. Raises awsllm's errors."""
    if account.backend is None:
        raise ServerError("no model answers behind this control plane")
    container = container.for_payload(payload.body)
    request, _ = container.body.read(name, payload, container.settings)
    codec, context = container.body.codec(type(request)), Context(request=request, settings=container.settings)
    return codec.encode_response(account.backend.ask(account.models.rename(request)), context)


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
    inference_id = incoming.headers.get("x-amzn-sagemaker-inference-id") or secrets.token_hex(16)
    output, failure = _places(config["OutputConfig"], incoming.headers, inference_id)
    try:
        payload = _async_payload(region, incoming)
        try:
            write(region, output, invoke(region.account, container, endpoint, payload).body)
        except AwsllmError as error:
            if failure:
                write(region, failure, model_error(container.for_payload(payload.body), error)["Message"].encode())
    except JobFailure as error:  # of S3: there is nowhere to tell it but here
        raise invalid_invocation(str(error)) from None
    headers = {"Content-Type": "application/json", "X-Amzn-SageMaker-OutputLocation": output}
    if failure:
        headers["X-Amzn-SageMaker-FailureLocation"] = failure
    return Reply(202, headers, msgspec.json.encode({"InferenceId": inference_id}))


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
