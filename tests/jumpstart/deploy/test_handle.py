"""A body of the container's own: what is sent of it, and as what."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from awsllm.errors import ConfigurationError, ModelNotFoundError, ValidationError
from awsllm.jumpstart.deploy.apply import Deployment
from awsllm.jumpstart.deploy.handle import DeployedModel
from awsllm.jumpstart.hub.document import ModelDocument, read_content
from awsllm.jumpstart.plan.plan import Cost


class Runtime:
    """The boto3 client of SageMaker's runtime, which answers each invocation alike."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []

    def invoke_endpoint(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request)
        return {"Body": io.BytesIO(b'{"label": "cat"}'), "ContentType": "application/json"}


def document_of(*content_types: str, accepts: tuple[str, ...] = (), **content: Any) -> ModelDocument:
    specifications = {
        "DefaultContentType": content_types[0] if content_types else None,
        "SupportedContentTypes": list(content_types),
        "DefaultAcceptType": accepts[0] if accepts else None,
    }
    document = {"SageMakerSdkPredictorSpecifications": specifications, **content}
    return read_content(document, model_id="made-up", version="1.0.0", region="us-east-1", source="hub")


def model_of(runtime: Runtime, document: ModelDocument | None, component: str | None = None) -> DeployedModel:
    def read() -> ModelDocument:
        if document is None:
            raise ModelNotFoundError("no such model")
        return document

    deployment = Deployment(
        endpoint="e", reference="sagemaker:e", region="us-east-1", status="InService", component=component,
        cost=Cost(per_hour=None),
    )  # fmt: skip
    return DeployedModel(deployment, clients=lambda service: runtime, document=read)


TEXT, IMAGE, LISTED, JSON = "application/x-text", "application/x-image", "application/list-text", "application/json"


@pytest.mark.parametrize(
    ("types", "body", "kind", "sent"),
    [
        ((IMAGE,), b"\x89PNG", IMAGE, b"\x89PNG"),
        ((TEXT, JSON), "Grüße", TEXT, "Grüße".encode()),
        ((TEXT, JSON), {"text": "Hi"}, JSON, b'{"text":"Hi"}'),
        ((LISTED,), ["one", "two"], LISTED, b'["one","two"]'),
        (("text/csv",), "1,2\n3,4", "text/csv", b"1,2\n3,4"),
        (("text/csv",), [[1, 2]], JSON, b"[[1,2]]"),
        ((), {"inputs": "Hi"}, JSON, b'{"inputs":"Hi"}'),
    ],
)
def test_a_body_goes_as_what_the_document_names(types: tuple[str, ...], body: Any, kind: str, sent: bytes) -> None:
    runtime = Runtime()
    answer = model_of(runtime, document_of(*types)).invoke(body)
    assert answer.json() == {"label": "cat"}
    [request] = runtime.requests
    assert request == {"EndpointName": "e", "Body": sent, "ContentType": kind, "Accept": JSON}


def test_the_caller_says_otherwise() -> None:
    runtime = Runtime()
    model = model_of(runtime, document_of(IMAGE, accepts=("application/json;verbose",)), component="part")
    model.invoke(b"x", content_type="image/png", custom_attributes="a=b")
    model.invoke(b"x", "image/png", accept="text/plain")
    first, second = runtime.requests
    assert (first["ContentType"], first["Accept"]) == ("image/png", "application/json;verbose")
    assert (first["CustomAttributes"], first["InferenceComponentName"]) == ("a=b", "part")
    assert second["Accept"] == "text/plain"


def test_an_example_of_the_document_tells_the_type_too() -> None:
    runtime = Runtime()
    example = {"a": {"ContentType": TEXT, "Body": "Hi"}}
    model_of(runtime, document_of(DefaultPayloads=example)).invoke("Hello")
    assert runtime.requests[0]["ContentType"] == TEXT


def test_without_a_document_the_type_of_bytes_has_to_be_named() -> None:
    runtime = Runtime()
    model = model_of(runtime, None)
    with pytest.raises(ValidationError, match="give content_type"):
        model.invoke(b"x")
    model.invoke(b"x", content_type=IMAGE)
    model.invoke({"a": 1})
    assert [request["ContentType"] for request in runtime.requests] == [IMAGE, JSON]


@pytest.mark.parametrize(("body", "kind"), [({"a": 1}, IMAGE), ({"a": object()}, None)])
def test_what_cannot_be_sent_is_refused_before_it_is(body: Any, kind: str | None) -> None:
    runtime = Runtime()
    with pytest.raises(ValidationError, match="JSON"):
        model_of(runtime, document_of(JSON)).invoke(body, kind)
    assert runtime.requests == []


def test_a_deployment_without_a_client_cannot_be_invoked() -> None:
    deployed = model_of(Runtime(), None)
    with pytest.raises(ConfigurationError, match="no client"):
        DeployedModel(deployed.deployment).invoke(json.dumps({}))
