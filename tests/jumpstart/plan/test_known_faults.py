"""Documents of shapes that JumpStart has and that are planned wrongly, or were suspected to be.

Each document is made up, and small. It lies in a directory that ``AWSLLM_JUMPSTART_DIR`` names, and is planned by what
a user calls. What should be is what the SageMaker SDK does with such a document.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

import awsllm

REGION = "us-west-2"
ROLE = "arn:aws:iam::111122223333:role/r"
REGISTRY = f"111122223333.dkr.ecr.{REGION}.amazonaws.com"
PUBLIC = f"s3://jumpstart-cache-prod-{REGION}"
VARIANTS = {
    "regional_aliases": {REGION: {"image": f"{REGISTRY}/vllm:0.9"}},
    "variants": {"g5": {"regional_properties": {"image_uri": "$image"}}},
}
# A model in the form of JumpStart's S3 cache, and one in the form of its hub.
SPEC = {
    "model_id": "made-up", "version": "1.0.0", "default_inference_instance_type": "ml.g5.xlarge",
    "hosting_instance_type_variants": VARIANTS, "hosting_artifact_key": "m/model.tar.gz",
    "hosting_use_script_uri": False, "inference_environment_variables": [],
}  # fmt: skip
TRAINABLE = {
    **SPEC, "training_supported": True, "default_training_instance_type": "ml.g5.xlarge",
    "training_instance_type_variants": VARIANTS, "training_artifact_key": "m/train.tar.gz",
    "training_script_key": "s/plain.tar.gz",
}  # fmt: skip
DOCUMENT = {
    "HostingEcrUri": f"{REGISTRY}/vllm:0.9", "HostingArtifactUri": f"{PUBLIC}/m/a/",
    "DefaultInferenceInstanceType": "ml.g5.xlarge",
}  # fmt: skip

JumpStartOf = Callable[[Mapping[str, Any]], Any]


@pytest.fixture
def jumpstart_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JumpStartOf:
    """``Client.jumpstart`` that knows one document, as the model ``made-up``."""

    def make(document: Mapping[str, Any]) -> Any:
        directory = tmp_path / "documents"
        directory.mkdir()
        (directory / "made-up.json").write_text(json.dumps(document))
        monkeypatch.setenv("AWSLLM_JUMPSTART_DIR", str(directory))
        monkeypatch.setenv("AWSLLM_CACHE", str(tmp_path / "cache"))
        return awsllm.Client(region=REGION).jumpstart

    return make


def container(plan: Any) -> dict[str, Any]:
    """What CreateModel is asked to run."""
    found: dict[str, Any] = next(step for step in plan.steps if step.operation == "CreateModel").request
    return dict(found["PrimaryContainer"])


def channel(training: Any, name: str) -> str:
    """Where a channel of a training job's data lies."""
    [found] = [each for each in training.request["InputDataConfig"] if each["ChannelName"] == name]
    return str(found["DataSource"]["S3DataSource"]["S3Uri"])


# --- which artifact --------------------------------------------------------------------------------------------------


@pytest.mark.xfail(strict=True, reason="the prefix of the instance family is sent as the ModelDataUrl of an archive")
def test_the_artifact_of_an_instance_family_says_itself_whether_it_is_an_archive(jumpstart_of: JumpStartOf) -> None:
    properties = {"artifact_key": "m/g5/"}
    row = {"regional_properties": {"image_uri": "$image"}, "properties": properties}
    variants = {**VARIANTS, "variants": {"g5": row}}
    planned = container(jumpstart_of({**SPEC, "hosting_instance_type_variants": variants}).plan("made-up", role=ROLE))
    assert "ModelDataUrl" not in planned
    source = planned["ModelDataSource"]["S3DataSource"]
    assert (source["S3Uri"], source["S3DataType"]) == (f"{PUBLIC}/m/g5/", "S3Prefix")
    assert source["CompressionType"] == "None"


@pytest.mark.xfail(
    strict=True,
    reason="the packed artifact is passed over where hosting_use_script_uri is true; the SageMaker SDK takes it in any"
    " case (use_inference_script_uri of its specs), and only a model without one needs its script",
)
def test_a_packed_artifact_goes_first_even_where_a_script_could_be_used(jumpstart_of: JumpStartOf) -> None:
    document = {**SPEC, "hosting_use_script_uri": True, "hosting_prepacked_artifact_key": "m/packed/"}
    plan = jumpstart_of(document).plan("made-up", role=ROLE)
    assert container(plan)["ModelDataSource"]["S3DataSource"]["S3Uri"] == f"{PUBLIC}/m/packed/"
    assert not [warning for warning in plan.warnings if "script" in warning]


@pytest.mark.xfail(
    strict=True, reason="an absent hosting_use_script_uri is read as false; the SDK's default for it is true"
)
def test_a_script_that_is_used_unless_the_document_says_otherwise_is_warned_of(jumpstart_of: JumpStartOf) -> None:
    document = {name: value for name, value in SPEC.items() if name != "hosting_use_script_uri"}
    plan = jumpstart_of({**document, "hosting_script_key": "s/inference.tar.gz"}).plan("made-up", role=ROLE)
    assert [warning for warning in plan.warnings if "s/inference.tar.gz" in warning]


@pytest.mark.xfail(strict=True, reason="the plan warns of a script that is 'not deployed: None'")
def test_a_model_without_a_script_is_not_warned_of_one(jumpstart_of: JumpStartOf) -> None:
    plan = jumpstart_of({**SPEC, "hosting_use_script_uri": True}).plan("made-up", role=ROLE)
    assert not [warning for warning in plan.warnings if "script" in warning]


@pytest.mark.xfail(
    strict=True, reason="a package that is there in other regions only is left out in silence, and its image planned"
)
def test_a_package_of_other_regions_only_is_told(jumpstart_of: JumpStartOf) -> None:
    package = "arn:aws:sagemaker:us-east-1:111122223333:model-package/x"
    document = {**SPEC, "hosting_model_package_arns": {"us-east-1": package}}
    try:
        said = " ".join(jumpstart_of(document).plan("made-up", role=ROLE).warnings)
    except awsllm.AwsllmError as error:
        said = str(error)
    assert "us-east-1" in said


# --- what the container is told --------------------------------------------------------------------------------------


def speculative(mounted: str) -> dict[str, Any]:
    draft = {
        "channel_name": "eagle", "provider": {"name": "JumpStart", "classification": "non-gated"},
        "s3_data_source": {"s3_uri": "d/e/", "s3_data_type": "S3Prefix", "compression_type": "None"},
    }  # fmt: skip
    variable = {"name": "SM_VLLM_SPECULATIVE_CONFIG", "default": json.dumps({"model": mounted})}
    sources = {"speculative_decoding": [draft]}
    return {**SPEC, "inference_environment_variables": [variable], "hosting_additional_data_sources": sources}


MOUNTED = "/opt/ml/additional-model-data-sources/eagle"


def test_a_draft_model_is_mounted_where_its_variable_says(jumpstart_of: JumpStartOf) -> None:
    planned = container(jumpstart_of(speculative(MOUNTED)).plan("made-up", role=ROLE))
    [source] = planned["AdditionalModelDataSources"]
    assert (source["ChannelName"], source["S3DataSource"]["S3Uri"]) == ("eagle", f"{PUBLIC}/d/e/")
    assert json.loads(planned["Environment"]["SM_VLLM_SPECULATIVE_CONFIG"]) == {"model": MOUNTED}


@pytest.mark.xfail(
    strict=True,
    reason="a variable that holds the path within JSON stays: the container looks for what is not there",
)
def test_without_its_draft_model_a_container_is_not_told_of_it(jumpstart_of: JumpStartOf) -> None:
    planned = container(jumpstart_of(speculative(MOUNTED)).plan("made-up", role=ROLE, draft_model=False))
    assert "AdditionalModelDataSources" not in planned
    assert MOUNTED not in str(planned["Environment"])


@pytest.mark.xfail(strict=True, reason="the image's name alone is believed: the format is lmi, which is for chat")
def test_an_image_model_on_a_djl_image_is_no_chat_model(jumpstart_of: JumpStartOf) -> None:
    image = f"{REGISTRY}/djl-inference:0.21.0-deepspeed0.8.3-cu117"
    document = {
        **SPEC, "model_id": "made-up-depth2img",
        "hosting_instance_type_variants": {**VARIANTS, "regional_aliases": {REGION: {"image": image}}},
        "inference_environment_variables": [{"name": "SAGEMAKER_PROGRAM", "default": "inference.py"}],
    }  # fmt: skip
    plan = jumpstart_of(document).plan("made-up-depth2img", role=ROLE)
    assert plan.format is None or plan.format.format != "lmi"


# --- training --------------------------------------------------------------------------------------------------------

TRAINING = {"data": "s3://bkt/in", "output": "s3://bkt/out", "role": ROLE}


@pytest.mark.xfail(
    strict=True, reason="the plain script is taken, whose dependencies a job without a network cannot fetch"
)
def test_a_packed_training_script_goes_first(jumpstart_of: JumpStartOf) -> None:
    packed = {"training_prepacked_script_key": "s/packed.tar.gz", "training_enable_network_isolation": True}
    training = jumpstart_of({**TRAINABLE, **packed}).plan_fine_tuning("made-up", **TRAINING)
    assert channel(training, "code") == f"{PUBLIC}/s/packed.tar.gz"


@pytest.mark.xfail(
    strict=True, reason="the training artifact in the gated bucket is taken, which such a job may not read"
)
def test_the_weights_of_a_gated_model_of_packages_are_those_of_its_packages(jumpstart_of: JumpStartOf) -> None:
    weights = "s3://packages-of-the-region/weights"
    gated = {"gated_bucket": True, "training_model_package_artifact_uris": {REGION: weights}}
    training = jumpstart_of({**TRAINABLE, **gated}).plan_fine_tuning("made-up", **TRAINING, accept_eula=True)
    assert channel(training, "model") == weights


# --- example bodies --------------------------------------------------------------------------------------------------


@pytest.mark.xfail(strict=True, reason="only the example bodies of the document itself are read, not its components'")
def test_example_bodies_may_stand_in_a_configuration(jumpstart_of: JumpStartOf) -> None:
    hello = {"ContentType": "application/json", "Body": {"inputs": "hi"}}
    component = {"DefaultPayloads": {"hello": hello}}
    configured = {"InferenceConfigs": {"a": {"ComponentNames": ["a"]}}, "InferenceConfigComponents": {"a": component}}
    assert len(jumpstart_of({**DOCUMENT, **configured}).get("made-up").payloads) == 1


# --- values of the wrong type ----------------------------------------------------------------------------------------


def wrong(name: str, value: object, now: str | None = None, **more: object) -> Any:
    """A document whose member ``name`` has a value of another type than it should; ``now`` is what happens today."""
    marks = [pytest.mark.xfail(strict=True, reason=now)] if now else []
    return pytest.param({name: value, **more}, id=f"{name}={value}"[:70], marks=marks)


@pytest.mark.parametrize(
    "members",
    [
        wrong("ModelDataDownloadTimeout", "1200"),
        wrong("HostingResourceRequirements", {"MinMemoryMb": "8192"}),
        wrong("DefaultPayloads", {"a": {"Body": {"inputs": "x"}, "OutputKeys": ["y"]}}),
        wrong("DefaultPayloads", {"a": "b"}),
        wrong("HostingInstanceTypeVariants", {"Variants": {"g5": {"Properties": {"EnvironmentVariables": ["a"]}}}}),
        wrong("SupportedInferenceInstanceTypes", "ml.g5.xlarge"),
        wrong("HostingEulaUri", 5, GatedBucket=True),
        wrong("InferenceEnableNetworkIsolation", "true", "'true' is sent where the API takes true"),
        wrong("InferenceVolumeSize", "256", "'256' is sent as a number", DefaultInferenceInstanceType="ml.m5.large"),
        wrong("InferenceAmiVersion", 3, "3 is sent where the API takes text"),
        wrong("InferenceEnvironmentVariables", [{"Default": "1"}], "KeyError: 'Name'"),
        wrong("InferenceEnvironmentVariables", ["A"], "AttributeError: 'str' object has no attribute 'get'"),
        wrong("ContainerStartupHealthCheckTimeout", "soon", "ValueError: invalid literal for int()"),
        wrong(
            "InferenceConfigComponents", {"x": "y"}, "AttributeError: 'str' object has no attribute 'items'",
            InferenceConfigs={"a": {"ComponentNames": ["x"]}},
        ),
        wrong("HostingAdditionalDataSources", {"speculative_decoding": [{"ChannelName": "d"}]}, "KeyError: 'S3Uri'"),
        wrong("HostingArtifactUri", 7, "AttributeError: 'int' object has no attribute 'endswith'"),
        wrong("HostingEcrUri", 5, "AttributeError: 'int' object has no attribute 'rpartition'"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_type_is_read_or_refused(members: dict[str, Any], jumpstart_of: JumpStartOf) -> None:
    """Never an error of Python's own, and never a request that AWS must refuse."""
    jumpstart = jumpstart_of({**DOCUMENT, **members})
    try:
        plan = jumpstart.plan("made-up", role=ROLE)
    except awsllm.AwsllmError:
        return
    model = botocore.session.get_session().get_service_model("sagemaker")
    for step in plan.steps:
        report = ParamValidator().validate(step.request, model.operation_model(step.operation).input_shape)
        assert report.generate_report() == ""
