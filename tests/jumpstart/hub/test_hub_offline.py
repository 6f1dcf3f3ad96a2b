"""The offline hub of ``mock_aws`` on documents of shapes that are easily misread: made up, and small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import pytest

import awsllm
from awsllm.testing import mock_aws

REGION = "us-west-2"
ROLE = "arn:aws:iam::111122223333:role/r"
REGISTRY = f"111122223333.dkr.ecr.{REGION}.amazonaws.com"
CACHE = f"s3://jumpstart-cache-prod-{REGION}"
ACCEPT = "application/json;jpeg"  # else a Stable Diffusion container answers with pixels, which are not served
DOCUMENT = {
    "HostingEcrUri": f"{REGISTRY}/vllm:0.9", "HostingArtifactUri": f"{CACHE}/m/a/",
    "DefaultInferenceInstanceType": "ml.g5.xlarge",
}  # fmt: skip
# A model in the form of JumpStart's S3 cache.
SPEC = {
    "model_id": "made-up", "version": "1.0.0", "default_inference_instance_type": "ml.g5.xlarge",
    "hosting_instance_type_variants": {
        "regional_aliases": {REGION: {"image": f"{REGISTRY}/vllm:0.9"}},
        "variants": {"g5": {"regional_properties": {"image_uri": "$image"}}},
    },
    "hosting_artifact_key": "m/model.tar.gz", "hosting_use_script_uri": False, "inference_environment_variables": [],
}  # fmt: skip


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)


def described(name: str, **document: Any) -> dict[str, Any]:
    return {"HubContentName": name, "HubContentDocument": {**DOCUMENT, **document}}


def jumpstart(region: str = REGION) -> Any:
    return awsllm.Client(region=region).jumpstart


# --- one document in every region ------------------------------------------------------------------------------------


def test_a_document_is_served_in_another_region_with_its_places_moved() -> None:
    with mock_aws(reply="Hi", documents=[described("made-up")]):
        content = jumpstart("eu-west-1").get("made-up").content
    assert content["HostingArtifactUri"] == "s3://jumpstart-cache-prod-eu-west-1/m/a/"
    assert content["HostingEcrUri"] == "111122223333.dkr.ecr.eu-west-1.amazonaws.com/vllm:0.9"


@pytest.mark.parametrize("region", [REGION, "eu-west-1"])
def test_a_name_that_looks_like_a_region_is_left_alone(region: str) -> None:
    name = "made-up-xl-base-1-0"
    artifact = f"{CACHE}/img/{name}/a/"
    with mock_aws(
        reply="Hi", documents=[described(name, ResourceNameBase="made-up-us-west-2", HostingArtifactUri=artifact)]
    ):
        content = jumpstart(region).get(name).content
    assert content["HostingArtifactUri"] == artifact.replace(REGION, region)
    assert content["ResourceNameBase"] == "made-up-us-west-2"
    assert content["HostingEcrUri"] == DOCUMENT["HostingEcrUri"].replace(REGION, region)


# --- the same files offline and in a directory -----------------------------------------------------------------------


def test_the_form_of_the_s3_cache_is_read_in_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made-up.json").write_text(json.dumps(SPEC))
    monkeypatch.setenv("AWSLLM_JUMPSTART_DIR", str(tmp_path))
    [step] = [each for each in jumpstart().plan("made-up", role=ROLE).steps if each.operation == "CreateModel"]
    assert step.request["PrimaryContainer"]["ModelDataUrl"] == f"{CACHE}/m/model.tar.gz"


def test_the_form_of_the_s3_cache_is_read_offline_too(tmp_path: Path) -> None:
    (tmp_path / "made-up.json").write_text(json.dumps(SPEC))
    with mock_aws(reply="Hi", documents=tmp_path):
        plan = jumpstart().plan("made-up", role=ROLE)
    [step] = [each for each in plan.steps if each.operation == "CreateModel"]
    assert step.request["PrimaryContainer"]["ModelDataUrl"] == f"{CACHE}/m/model.tar.gz"


def test_a_document_of_the_s3_cache_is_hosted_offline(tmp_path: Path) -> None:
    """Its artifact is found by its packed form, its licence is asked for, and its container speaks what it is."""
    gated = {**SPEC, "gated_bucket": True, "hosting_prepacked_artifact_key": "m/packed/"}
    (tmp_path / "made-up.json").write_text(json.dumps(gated))
    with mock_aws(reply="Hi", documents=tmp_path):
        with pytest.raises(awsllm.EulaNotAcceptedError):
            jumpstart().deploy("made-up", role=ROLE)
        assert jumpstart().deploy("made-up", role=ROLE, accept_eula=True).converse("Hello").text == "Hi"


def test_a_directory_may_hold_both_forms_of_a_version(tmp_path: Path) -> None:
    """The answer of the hub goes first, as in a directory of documents."""
    below = tmp_path / "specs"
    below.mkdir()
    (tmp_path / "a.json").write_text(json.dumps({**described("made-up"), "HubContentVersion": "1.0.0"}))
    (below / "made-up.json").write_text(json.dumps(SPEC))
    with mock_aws(reply="Hi", documents=tmp_path):
        assert [found.model_id for found in jumpstart().search()] == ["made-up"]
        assert jumpstart().get("made-up").content["HostingArtifactUri"] == f"{CACHE}/m/a/"


def test_the_form_of_the_s3_cache_may_be_given_as_an_object() -> None:
    with mock_aws(reply="Hi", documents=[SPEC]):
        assert [(found.model_id, found.version) for found in jumpstart().search()] == [("made-up", "1.0.0")]


@pytest.mark.parametrize("offline", [False, True], ids=["directory", "mock_aws"])
def test_a_file_is_named_for_its_model(offline: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``ResourceNameBase`` is what resources are called, and is often not the id."""
    (tmp_path / "made-up-embedder@2.1.0.json").write_text(json.dumps({**DOCUMENT, "ResourceNameBase": "mu-embedder"}))
    if not offline:
        monkeypatch.setenv("AWSLLM_JUMPSTART_DIR", str(tmp_path))
    with mock_aws(reply="Hi", documents=tmp_path):
        assert [(found.model_id, found.version) for found in jumpstart().search()] == [("made-up-embedder", "2.1.0")]


# --- what answers behind a document's container ----------------------------------------------------------------------


def test_an_image_classifier_does_not_chat() -> None:
    classifier = described(
        "made-up-ic", Task="Image Classification", DefaultInferenceInstanceType="ml.m5.large",
        HostingEcrUri=f"{REGISTRY}/tensorflow-inference:2.8-gpu", HostingArtifactUri=f"{CACHE}/ic/a/",
    )  # fmt: skip
    with mock_aws(reply="I can chat", documents=[classifier]):
        model = jumpstart().deploy("made-up-ic", role=ROLE)
        with pytest.raises(awsllm.UnsupportedError, match="JumpStart's handlers: ask it with predict"):
            model.converse("Hi")


@pytest.mark.parametrize(
    ("image", "document"),
    [
        ("pytorch-inference:1.5", {"Task": "Object Detection"}),
        ("pytorch-inference:1.5", {}),
        ("huggingface-pytorch-inference:1.10", {"Task": "Question Answering"}),
        ("mxnet-inference:1.7", {"Task": "Semantic Segmentation"}),
        ("djl-inference:0.34.0-lmi16.0.0-cu128", {"Task": "Text To Image"}),
        ("autogluon-inference:0.4", {"Task": "Tabular Regression"}),
    ],
)
def test_what_is_known_to_do_something_else_does_not_chat(image: str, document: dict[str, str]) -> None:
    other = described("made-up", HostingEcrUri=f"{REGISTRY}/{image}", **document)
    with mock_aws(reply="I can chat", documents=[other]):
        model = jumpstart().deploy("made-up", role=ROLE)
        with pytest.raises(awsllm.AwsllmError):
            model.converse("Hi")


@pytest.mark.parametrize(
    "image", ["somebody/own:latest", "vllm:0.9", "djl-inference:0.34.0-lmi16.0.0-cu128", "tgi-inference:2.6-tgi3.2"]
)
def test_what_may_chat_does(image: str) -> None:
    with mock_aws(reply="I can chat", documents=[described("made-up", HostingEcrUri=f"{REGISTRY}/{image}")]):
        assert jumpstart().deploy("made-up", role=ROLE).converse("Hi").text == "I can chat"


@pytest.mark.parametrize(
    "artifacts",
    [
        pytest.param({"HostingArtifactUri": f"{CACHE}/sd/plain/"}, id="plain"),
        pytest.param(
            {"HostingArtifactUri": f"{CACHE}/sd/plain/", "HostingPrepackedArtifactUri": f"{CACHE}/sd/packed/"},
            id="packed",
        ),
    ],
)
def test_a_container_answers_its_documents_own_example(artifacts: dict[str, str]) -> None:
    body = {"prompt": "a dog", "num_inference_steps": 2}
    example = {"ContentType": "application/json", "Body": body, "OutputKeys": {}}
    image = f"{REGISTRY}/djl-inference:0.21.0-deepspeed0.8.3-cu117"
    document = described("made-up-sd", HostingEcrUri=image, DefaultPayloads={"a": example}, **artifacts)
    with mock_aws(reply="Hi", documents=[document]):
        model = jumpstart().deploy("made-up-sd", role=ROLE)
        runtime = boto3.client("sagemaker-runtime", region_name=REGION)
        answer = runtime.invoke_endpoint(
            EndpointName=model.endpoint, Body=json.dumps(body), ContentType="application/json", Accept=ACCEPT
        )
        assert "generated_images" in json.loads(answer["Body"].read())
