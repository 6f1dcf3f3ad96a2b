"""Documents of shapes that JumpStart has and that are easily planned wrongly.

Each document is made up, and small. It lies in a directory that ``AWSLLM_JUMPSTART_DIR`` names, and is planned by what
a user calls. What should be is what the SageMaker SDK does with such a document.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

import awsllm
from awsllm.jobs.finetune import plan_fine_tuning
from awsllm.jumpstart.hub.document import read_description
from awsllm.jumpstart.plan.planner import make_plan
from tests.support.jumpstart_documents import CONTEXT, NAMES, description

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


def test_the_artifact_of_an_instance_family_says_itself_whether_it_is_an_archive(jumpstart_of: JumpStartOf) -> None:
    properties = {"artifact_key": "m/g5/"}
    row = {"regional_properties": {"image_uri": "$image"}, "properties": properties}
    variants = {**VARIANTS, "variants": {"g5": row}}
    planned = container(jumpstart_of({**SPEC, "hosting_instance_type_variants": variants}).plan("made-up", role=ROLE))
    assert "ModelDataUrl" not in planned
    source = planned["ModelDataSource"]["S3DataSource"]
    assert (source["S3Uri"], source["S3DataType"]) == (f"{PUBLIC}/m/g5/", "S3Prefix")
    assert source["CompressionType"] == "None"


def test_a_packed_artifact_goes_first_even_where_a_script_could_be_used(jumpstart_of: JumpStartOf) -> None:
    document = {**SPEC, "hosting_use_script_uri": True, "hosting_prepacked_artifact_key": "m/packed/"}
    plan = jumpstart_of(document).plan("made-up", role=ROLE)
    assert container(plan)["ModelDataSource"]["S3DataSource"]["S3Uri"] == f"{PUBLIC}/m/packed/"
    assert not [warning for warning in plan.warnings if "script" in warning]


def test_a_container_is_not_deployed_without_the_script_that_it_runs(jumpstart_of: JumpStartOf) -> None:
    """In the S3 cache's form a script is used unless the document says otherwise; the caller packs it."""
    document = {name: value for name, value in SPEC.items() if name != "hosting_use_script_uri"}
    jumpstart = jumpstart_of({**document, "hosting_script_key": "s/inference.tar.gz"})
    with pytest.raises(awsllm.ValidationError, match=r"s/inference\.tar\.gz.* model_data"):
        jumpstart.plan("made-up", role=ROLE)
    packed = jumpstart.plan("made-up", role=ROLE, model_data="s3://mine/packed/model.tar.gz")
    assert container(packed)["ModelDataUrl"] == "s3://mine/packed/model.tar.gz"


def test_the_hubs_form_uses_a_script_only_where_it_says_so(jumpstart_of: JumpStartOf) -> None:
    script = {"HostingScriptUri": f"{PUBLIC}/s/inference.tar.gz"}
    assert container(jumpstart_of({**DOCUMENT, **script}).plan("made-up", role=ROLE))["ModelDataSource"]


def test_the_hubs_form_may_say_that_it_uses_a_script(jumpstart_of: JumpStartOf) -> None:
    script = {"HostingScriptUri": f"{PUBLIC}/s/inference.tar.gz", "HostingUseScriptUri": True}
    with pytest.raises(awsllm.ValidationError, match="s/inference"):
        jumpstart_of({**DOCUMENT, **script}).plan("made-up", role=ROLE)


def test_a_components_plain_artifact_does_not_go_before_the_packed_one(jumpstart_of: JumpStartOf) -> None:
    configured = {
        "hosting_prepacked_artifact_key": "m/packed/", "inference_configs": {"a": {"component_names": ["a"]}},
        "inference_config_components": {"a": {"hosting_artifact_key": "m/a.tar.gz", "hosting_use_script_uri": True}},
    }  # fmt: skip
    plan = jumpstart_of({**SPEC, "hosting_script_key": "s/i.tar.gz", **configured}).plan("made-up", role=ROLE)
    assert container(plan)["ModelDataSource"]["S3DataSource"]["S3Uri"] == f"{PUBLIC}/m/packed/"


def test_the_artifact_of_a_component_says_itself_whether_it_is_an_archive(jumpstart_of: JumpStartOf) -> None:
    configured = {
        "HostingArtifactUri": f"{PUBLIC}/m/a.tar.gz", "HostingArtifactS3DataType": "S3Object",
        "HostingArtifactCompressionType": "Gzip", "InferenceConfigs": {"a": {"ComponentNames": ["a"]}},
        "InferenceConfigComponents": {"a": {"HostingArtifactUri": f"{PUBLIC}/m/b/"}},
    }  # fmt: skip
    planned = container(jumpstart_of({**DOCUMENT, **configured}).plan("made-up", role=ROLE))
    source = planned["ModelDataSource"]["S3DataSource"]
    assert (source["S3Uri"], source["S3DataType"], source["CompressionType"]) == (f"{PUBLIC}/m/b/", "S3Prefix", "None")


def test_a_model_without_a_script_is_not_warned_of_one(jumpstart_of: JumpStartOf) -> None:
    plan = jumpstart_of({**SPEC, "hosting_use_script_uri": True}).plan("made-up", role=ROLE)
    assert not [warning for warning in plan.warnings if "script" in warning]


def test_a_package_of_other_regions_only_is_refused(jumpstart_of: JumpStartOf) -> None:
    package = "arn:aws:sagemaker:us-east-1:111122223333:model-package/x"
    jumpstart = jumpstart_of({**SPEC, "hosting_model_package_arns": {"us-east-1": package}})
    with pytest.raises(awsllm.ValidationError, match="it is in us-east-1"):
        jumpstart.plan("made-up", role=ROLE)
    own = "arn:aws:sagemaker:us-west-2:111122223333:model-package/y"
    assert container(jumpstart.plan("made-up", role=ROLE, model_package_arn=own)) == {"ModelPackageName": own}


# --- what the container is told ---------------------------------------------------------------------------------------


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


def test_without_its_draft_model_a_container_is_not_told_of_it(jumpstart_of: JumpStartOf) -> None:
    planned = container(jumpstart_of(speculative(MOUNTED)).plan("made-up", role=ROLE, draft_model=False))
    assert "AdditionalModelDataSources" not in planned
    assert MOUNTED not in str(planned["Environment"])


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

TRAINING: dict[str, Any] = {"data": "s3://bkt/in", "output": "s3://bkt/out", "role": ROLE}


def test_a_packed_training_script_goes_first(jumpstart_of: JumpStartOf) -> None:
    packed = {"training_prepacked_script_key": "s/packed.tar.gz", "training_enable_network_isolation": True}
    training = jumpstart_of({**TRAINABLE, **packed}).plan_fine_tuning("made-up", **TRAINING)
    assert channel(training, "code") == f"{PUBLIC}/s/packed.tar.gz"


def test_the_weights_of_a_gated_model_of_packages_are_those_of_its_packages(jumpstart_of: JumpStartOf) -> None:
    weights = "s3://packages-of-the-region/weights"
    gated = {"gated_bucket": True, "training_model_package_artifact_uris": {REGION: weights}}
    training = jumpstart_of({**TRAINABLE, **gated}).plan_fine_tuning("made-up", **TRAINING, accept_eula=True)
    assert channel(training, "model") == weights


def test_weights_of_packages_of_other_regions_are_refused(jumpstart_of: JumpStartOf) -> None:
    elsewhere = {"training_model_package_artifact_uris": {"us-east-1": "s3://packages-of-the-region/weights"}}
    with pytest.raises(awsllm.UnsupportedError, match="it has in us-east-1"):
        jumpstart_of({**TRAINABLE, **elsewhere}).plan_fine_tuning("made-up", **TRAINING)


@pytest.mark.parametrize(("machine", "volume"), [("ml.g5.xlarge", 30), ("ml.m5.xlarge", 256)])
def test_the_volume_of_a_training_is_the_documents_where_the_machine_takes_one(
    machine: str, volume: int, jumpstart_of: JumpStartOf
) -> None:
    jumpstart = jumpstart_of({**TRAINABLE, "training_volume_size": "256", "training_ecr_uri": f"{REGISTRY}/train:1"})
    training = jumpstart.plan_fine_tuning("made-up", instance_type=machine, **TRAINING)
    assert training.request["ResourceConfig"]["VolumeSizeInGB"] == volume


# --- example bodies --------------------------------------------------------------------------------------------------


def test_example_bodies_may_stand_in_a_configuration(jumpstart_of: JumpStartOf) -> None:
    hello = {"ContentType": "application/json", "Body": {"inputs": "hi"}}
    component = {"DefaultPayloads": {"hello": hello}}
    configured = {"InferenceConfigs": {"a": {"ComponentNames": ["a"]}}, "InferenceConfigComponents": {"a": component}}
    assert len(jumpstart_of({**DOCUMENT, **configured}).get("made-up").payloads) == 1


# --- values of the wrong type ----------------------------------------------------------------------------------------


def wrong(name: str, value: object, **more: object) -> Any:
    """A document whose member ``name`` has a value of another type than it should."""
    return pytest.param({name: value, **more}, id=f"{name}={value}"[:70])


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
        wrong("InferenceEnableNetworkIsolation", "true"),
        wrong("InferenceVolumeSize", "256", DefaultInferenceInstanceType="ml.m5.large"),
        wrong("InferenceAmiVersion", 3),
        wrong("InferenceEnvironmentVariables", [{"Default": "1"}]),
        wrong("InferenceEnvironmentVariables", ["A"]),
        wrong("ContainerStartupHealthCheckTimeout", "soon"),
        wrong(
            "InferenceConfigComponents", {"x": "y"},
            InferenceConfigs={"a": {"ComponentNames": ["x"]}},
        ),
        wrong("HostingAdditionalDataSources", {"speculative_decoding": [{"ChannelName": "d"}]}),
        wrong("HostingArtifactUri", 7),
        wrong("HostingEcrUri", 5),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_type_is_read_or_refused(members: dict[str, Any], jumpstart_of: JumpStartOf) -> None:
    """Never an error of Python's own, and never a request that AWS must refuse."""
    jumpstart = jumpstart_of({**DOCUMENT, **members})
    try:
        plan = jumpstart.plan("made-up", role=ROLE)
    except awsllm.AwsllmError:
        return
    for step in plan.steps:
        check(step.operation, step.request)


def check(operation: str, request: Mapping[str, Any]) -> None:
    shape = service().operation_model(operation).input_shape
    assert ParamValidator().validate(request, shape).generate_report() == ""


@cache
def service() -> Any:
    return botocore.session.get_session().get_service_model("sagemaker")


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where the parts of a JSON value stand."""
    if path:
        yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        yield from places(part, (*path, name))


ODD: Any = [None, True, 0, -1, 7, 1.5, "", "x", "12", 10**400, [], ["a"], [1], [None], {}, {"a": 1}, {"a": {"b": []}}]


@pytest.mark.parametrize("name", NAMES)
def test_whatever_stands_in_a_document_is_planned_right_or_refused(name: str) -> None:
    """One member at a time of another type, wherever it stands; some of all, the same in every run."""
    chance = random.Random(name)
    for _ in range(60):
        described = description(name)
        path = chance.choice(list(places(described["HubContentDocument"])))
        part = described["HubContentDocument"]
        for step in path[:-1]:
            part = part[step]
        part[path[-1]] = chance.choice(ODD)
        read = read_description(described, region=CONTEXT.region)
        machine: dict[str, Any] = chance.choice(
            [{}, {"instance_type": "ml.m5.xlarge"}, {"instance_type": "ml.p4d.24xlarge"}]
        )
        with suppress(awsllm.AwsllmError):
            for each in make_plan(read, {"accept_eula": True, **machine}, CONTEXT).steps:
                check(each.operation, each.request)
        with suppress(awsllm.AwsllmError):
            check("CreateTrainingJob", plan_fine_tuning(read, accept_eula=True, **machine, **TRAINING).request)


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"HostingArtifactUri": 7}, "HostingArtifactUri is 7, which is not text"),
        ({"InferenceVolumeSize": "big"}, "InferenceVolumeSize is 'big', which is not a number"),
        ({"InferenceEnableNetworkIsolation": "maybe"}, "is 'maybe', which is not true or false"),
        ({"HostingResourceRequirements": {"NumAccelerators": -1}}, "NumAccelerators is -1, which is not at least 1"),
        ({"InferenceEnvironmentVariables": [{"Default": "1"}]}, "one without a Name"),
    ],
)
def test_the_member_is_named(members: dict[str, Any], named: str, jumpstart_of: JumpStartOf) -> None:
    with pytest.raises(awsllm.ValidationError, match=named):
        jumpstart_of({**DOCUMENT, "DefaultInferenceInstanceType": "ml.m5.large", **members}).plan("made-up", role=ROLE)


def test_words_for_values_are_read_as_the_values(jumpstart_of: JumpStartOf) -> None:
    members = {
        "DefaultInferenceInstanceType": "ml.m5.large", "InferenceVolumeSize": "256", "GatedBucket": "false",
        "InferenceEnableNetworkIsolation": "true",
        "InferenceEnvironmentVariables": [{"Name": "A", "Default": {"b": 1}}],
    }  # fmt: skip
    plan = jumpstart_of({**DOCUMENT, **members}).plan("made-up", role=ROLE)
    requests = {step.operation: step.request for step in plan.steps}
    assert requests["CreateEndpointConfig"]["ProductionVariants"][0]["VolumeSizeInGB"] == 256
    assert requests["CreateModel"]["EnableNetworkIsolation"] is True
    assert container(plan)["Environment"]["A"] == '{"b":1}'
    assert plan.licences == ()
