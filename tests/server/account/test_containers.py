"""What answers an invocation: variants by weight, each container in its own format."""

from __future__ import annotations

import json
from typing import Any

import jmespath
import pytest
from botocore.exceptions import ClientError

from awsllm.testing import mock_aws
from tests.support.sagemaker_account import CHAT, DOCUMENTS, ROLE, VLLM, client, document, host, refusal, variant


def test_variants_share_the_traffic_by_weight() -> None:
    with mock_aws(reply="x"):
        sagemaker = client("sagemaker")
        sagemaker.create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=VLLM)
        shares = {"a": 3.0, "b": 1.0}
        variants = [
            variant(VariantName=name, ModelName="m", InitialVariantWeight=weight) for name, weight in shares.items()
        ]
        sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=variants)
        sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
        runtime = client("sagemaker-runtime")

        def served(**target: str) -> str:
            return str(runtime.invoke_endpoint(EndpointName="e", Body=CHAT, **target)["InvokedProductionVariant"])

        assert sorted(served() for _ in range(8)) == [*"aaaaaa", *"bb"]
        assert served(TargetVariant="b") == "b"
        assert refusal(served, TargetVariant="z")[0] == "ValidationError"


def deploy(name: str) -> dict[str, Any]:
    """The document's own image, environment and artifact, or its package, as an endpoint. Returns the document."""
    content = document(name)
    content |= next(iter(content.get("InferenceConfigComponents", {}).values()), {})
    package = content.get("HostingModelPackageArn") or next(iter(_packages(content)), None)
    if package:
        container: dict[str, Any] = {"ModelPackageName": package}
    else:
        access = {"ModelAccessConfig": {"AcceptEula": True}}
        uri = content["HostingArtifactUri"]
        source = {"S3Uri": uri, "S3DataType": "S3Prefix", "CompressionType": "None", **access}
        environment = {one["Name"]: str(one["Default"]) for one in content.get("InferenceEnvironmentVariables", ())}
        container = {
            "Image": content.get("HostingEcrUri") or VLLM["Image"],
            "Environment": environment,
            "ModelDataSource": {"S3DataSource": source},
        }
    host("e", container=container)
    return content


def _packages(content: dict[str, Any]) -> list[str]:
    variants = content.get("HostingInstanceTypeVariants", {}).get("Variants", {}).values()
    return [one["Properties"]["ModelPackageArn"] for one in variants if "ModelPackageArn" in one.get("Properties", {})]


TEXTUAL = sorted(path.stem for path in DOCUMENTS.glob("*.json") if "textclassification" not in path.stem)


@pytest.mark.parametrize("name", TEXTUAL)
def test_a_container_answers_its_documents_own_payloads(name: str) -> None:
    with mock_aws(reply="Hello.", documents=DOCUMENTS):
        content = deploy(name)
        for example in content["DefaultPayloads"].values():
            body = example["Body"] if isinstance(example["Body"], str) else json.dumps(example["Body"])
            headers = {"ContentType": example.get("ContentType", "application/json"), "Accept": "application/json"}
            if "dialogs" in name:
                headers["CustomAttributes"] = "accept_eula=true"
            reply = client("sagemaker-runtime").invoke_endpoint(EndpointName="e", Body=body, **headers)
            value = json.loads(reply["Body"].read())
            paths = [path for path in (example.get("OutputKeys") or {}).values() if "details" not in path]
            for path in paths:
                assert jmespath.search(path, value) is not None, (path, value)


def test_a_container_of_dialogs_wants_its_licence_accepted_in_every_call() -> None:
    with mock_aws(reply="x", formats={"e": "dialogs"}):
        host("e")
        body = json.dumps({"inputs": [[{"role": "user", "content": "Hello"}]]})
        runtime = client("sagemaker-runtime")
        code, message = refusal(runtime.invoke_endpoint, EndpointName="e", Body=body)
        assert code == "ModelError"
        assert "accept_eula=true" in message
        reply = runtime.invoke_endpoint(EndpointName="e", Body=body, CustomAttributes="accept_eula=true")
        assert json.loads(reply["Body"].read())[0]["generation"]["content"] == "x"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"messages": [{"role": "user", "content": "Hello"}]}, "choices[0].message.content"),
        ({"inputs": "Hello", "parameters": {"max_new_tokens": 5}}, "generated_text"),
    ],
)
def test_an_image_that_routes_by_body(body: dict[str, Any], path: str) -> None:
    image = {"Image": "763104351884.dkr.ecr.us-east-1.amazonaws.com/djl-inference:0.34.0-lmi16.0.0-cu128"}
    with mock_aws(reply="Hi."):
        host("e", container=image)
        reply = client("sagemaker-runtime").invoke_endpoint(EndpointName="e", Body=json.dumps(body))
        assert jmespath.search(path, json.loads(reply["Body"].read())) == "Hi."


def test_what_a_container_refuses_is_in_its_own_words() -> None:
    with mock_aws(reply="x", formats={"e": "tgi"}):
        host("e")
        with pytest.raises(ClientError) as caught:
            client("sagemaker-runtime").invoke_endpoint(EndpointName="e", Body=b"{}")
    response: Any = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert response["OriginalStatusCode"] == 422
    assert "error_type" in json.loads(response["OriginalMessage"])
