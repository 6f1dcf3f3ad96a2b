"""Documents of both schemas, whole and broken: one form comes out, and nothing is raised."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awsllm.jumpstart.hub.document import ModelDocument, keyword, read_content, read_description, read_spec
from awsllm.jumpstart.hub.spec import Buckets, https_url, pascal
from tests.support.data import DATA

DOCUMENTS = DATA / "jumpstart"
DESCRIPTIONS = sorted(DOCUMENTS.glob("*.json"))


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DOCUMENTS / name).read_text(encoding="utf-8"))
    return loaded


@pytest.mark.parametrize("path", DESCRIPTIONS, ids=lambda path: path.stem)
def test_every_description_is_read(path: Path) -> None:
    description = load(path.name)
    document = read_description(description, region="us-east-1")
    inner = description["HubContentDocument"]
    content = json.loads(inner) if isinstance(inner, str) else inner
    assert document.raw == description
    assert document.content == content
    assert (document.model_id, document.version) == (path.stem, description["HubContentVersion"])
    assert document.display_name == description["HubContentDisplayName"]
    assert document.gated == bool(content.get("GatedBucket") or content.get("HostingEulaUri"))
    assert (document.eula_url is not None) == bool(content.get("HostingEulaUri"))
    assert document.instance_types
    assert document.default_instance_type in document.instance_types
    assert not any(word.startswith("@") for word in document.keywords)
    own = {payload.name for payload in document.payloads if payload.config is None}
    assert own == set(content.get("DefaultPayloads", {}))
    assert msgspec.json.decode(msgspec.json.encode(document), type=ModelDocument) == document


def test_a_document_as_text_and_as_an_object_read_alike() -> None:
    description = load("example-gated-lmi-chat.json")
    inner = description["HubContentDocument"]
    other = json.dumps(inner) if isinstance(inner, dict) else json.loads(inner)
    one = read_description(description, region="us-east-1")
    two = read_description({**description, "HubContentDocument": other}, region="us-east-1")
    assert one.content == two.content
    assert one.configs == two.configs


def test_what_a_gated_model_says() -> None:
    document = read_description(load("example-gated-lmi-chat.json"), region="us-east-1")
    assert document.gated
    assert document.fine_tunable
    assert document.components_supported
    assert document.source == "hub"
    assert document.hub_name == "SageMakerPublicHub"
    assert document.eula_url == (
        "https://jumpstart-cache-prod-us-east-1.s3.us-east-1.amazonaws.com/example/example-gated-lmi-chat/eula/v1.txt"
    )
    ranking = document.content["InferenceConfigRankings"]["overall"]["Rankings"]
    assert [config.name for config in document.configs] == ranking
    assert [config.rank for config in document.configs] == list(range(len(ranking)))
    for config in document.configs:
        assert config.default_instance_type in config.instance_types
    hello = next(payload for payload in document.payloads if payload.name == "helloText")
    assert hello.prompt_key == "inputs"
    assert "generated_text" in hello.output_keys


# --- the S3 form -----------------------------------------------------------------------------------------------------


def test_both_schemas_come_to_the_same() -> None:
    """The two files tell of one model; what they do not share, only one of the schemas has."""
    hub = read_description(load("example-open-tgi-instruct.json"), region="us-east-1")
    spec = read_spec(load("specs/example-open-tgi-instruct.json"), region="us-east-1")
    shared = set(hub.content) & set(spec.content)
    assert {name: spec.content[name] for name in shared} == {name: hub.content[name] for name in shared}
    assert len(shared) > 20
    assert set(hub.content) - shared <= {
        "DataType", "Dependencies", "Framework", "HostingEcrUri", "License", "Provider", "Task"
    }  # fmt: skip
    assert spec.source == "cache"
    same = ("model_id", "version", "payloads", "configs", "instance_types", "gated", "fine_tunable", "eula_url")
    for name in same:
        assert getattr(spec, name) == getattr(hub, name), name


def test_images_are_those_of_the_region() -> None:
    spec = load("specs/example-open-tgi-instruct.json")
    variants = read_spec(spec, region="eu-west-1").content["HostingInstanceTypeVariants"]["Variants"]
    assert ".eu-west-1.amazonaws.com/" in variants["g5"]["Properties"]["ImageUri"]
    assert variants["ml.g5.12xlarge"]["Properties"]["EnvironmentVariables"] == {"SM_NUM_GPUS": "4"}
    elsewhere = read_spec(spec, region="mx-central-1").content["HostingInstanceTypeVariants"]["Variants"]
    assert "ImageUri" not in elsewhere["g5"]["Properties"]


def a_spec(**members: object) -> dict[str, Any]:
    return {"model_id": "one", "version": "1.0.0", "hosting_artifact_key": "one/model.tar.gz", **members}


def content_of(region: str = "us-east-1", **members: object) -> dict[str, Any]:
    return read_spec(a_spec(**members), region=region).content


def test_artifacts_lie_in_the_bucket_of_their_kind() -> None:
    public, gated = content_of(), content_of(gated_bucket=True, hosting_eula_key="one/eula.txt")
    assert public["HostingArtifactUri"] == "s3://jumpstart-cache-prod-us-east-1/one/model.tar.gz"
    assert (public["HostingArtifactS3DataType"], public["HostingArtifactCompressionType"]) == ("S3Object", "Gzip")
    assert gated["HostingArtifactUri"] == "s3://jumpstart-private-cache-prod-us-east-1/one/model.tar.gz"
    assert gated["HostingEulaUri"] == "s3://jumpstart-cache-prod-us-east-1/one/eula.txt"


@pytest.mark.parametrize("script", [True, False])
def test_the_prepacked_artifact_goes_first(script: bool) -> None:
    prepacked = content_of(hosting_prepacked_artifact_key="one/prepack/", hosting_use_script_uri=script)
    assert prepacked["HostingArtifactUri"].endswith("/one/prepack/")
    assert (prepacked["HostingArtifactS3DataType"], prepacked["HostingArtifactCompressionType"]) == ("S3Prefix", "None")


def test_overridden_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_JUMPSTART_CONTENT_BUCKET_OVERRIDE", "mine")
    monkeypatch.setenv("AWS_JUMPSTART_GATED_CONTENT_BUCKET_OVERRIDE", "mine-gated")
    assert Buckets.of("us-east-1") == Buckets(content="mine", gated="mine-gated")
    assert content_of(gated_bucket=True)["HostingArtifactUri"] == "s3://mine-gated/one/model.tar.gz"


@pytest.mark.parametrize(
    ("provider", "bucket"),
    [
        ({"name": "JumpStart", "classification": "gated"}, "jumpstart-private-cache-prod-eu-west-1"),
        ({"name": "JumpStart", "classification": "ga"}, "jumpstart-cache-prod-eu-west-1"),
        ({"name": "SageMaker", "classification": "gated"}, "sagemaker-sd-models-prod-eu-west-1"),
        (None, "sagemaker-sd-models-prod-eu-west-1"),
    ],
)
def test_where_draft_models_lie(provider: object, bucket: str) -> None:
    source = {"compression_type": "None", "s3_data_type": "S3Prefix", "s3_uri": "draft/v1/"}
    draft = {"channel_name": "draft_model", "s3_data_source": source, "provider": provider, "hosting_eula_key": "d.txt"}
    content = content_of("eu-west-1", hosting_additional_data_sources={"speculative_decoding": [draft]})
    (found,) = content["HostingAdditionalDataSources"]["speculative_decoding"]
    assert found["ChannelName"] == "draft_model"
    assert found["S3DataSource"] == {
        "CompressionType": "None",
        "S3DataType": "S3Prefix",
        "S3Uri": f"s3://{bucket}/draft/v1/",
    }
    assert found["HostingEulaUri"] == "s3://jumpstart-cache-prod-eu-west-1/d.txt"


def test_a_marketplace_model_has_the_package_of_its_region() -> None:
    arns = {"us-east-1": "arn:aws:sagemaker:us-east-1:865070037744:model-package/one", "eu-west-1": "arn:other"}
    document = read_spec(a_spec(hosting_model_package_arns=arns), region="us-east-1")
    assert document.proprietary
    assert document.content["HostingModelPackageArn"] == arns["us-east-1"]
    assert not read_spec(a_spec(hosting_model_package_arns=arns), region="sa-east-1").proprietary


def test_variants_of_packages_and_training() -> None:
    content = content_of(
        gated_bucket=True,
        hosting_instance_type_variants={
            "regional_aliases": {"us-east-1": {"package": "arn:package"}},
            "variants": {"p3": {"regional_properties": {"model_package_arn": "$package"}}, "g5": None},
        },
        training_instance_type_variants={
            "variants": {
                "g5": {
                    "properties": {
                        "gated_model_key_env_var_value": "one/training.tar.gz",
                        "hyperparameters": [{"name": "lora_r", "default": 16}],
                        "resource_requirements": {"min_memory_mb": 1},
                        "artifact_key": "one/g5.tar.gz",
                    }
                }
            }
        },
    )
    assert content["HostingInstanceTypeVariants"]["Variants"] == {
        "p3": {"Properties": {"ModelPackageArn": "arn:package"}},
        "g5": {"Properties": {}},
    }
    assert content["TrainingInstanceTypeVariants"]["Variants"]["g5"]["Properties"] == {
        "GatedModelEnvVarUri": "s3://jumpstart-private-cache-prod-us-east-1/one/training.tar.gz",
        "Hyperparameters": [{"name": "lora_r", "default": 16}],
        "ResourceRequirements": {"MinMemoryMb": 1},
        "ArtifactUri": "s3://jumpstart-private-cache-prod-us-east-1/one/g5.tar.gz",
    }


def test_configs_of_the_s3_form() -> None:
    document = read_spec(
        a_spec(
            supported_inference_instance_types=["ml.g5.xlarge"],
            inference_configs={
                "plain": {"component_names": ["plain"]},
                "tuned": {
                    "component_names": ["tuned"],
                    "benchmark_metrics": {"ml.p4d.24xlarge": [{"name": "latency", "value": "1", "unit": "sec"}]},
                },
            },
            inference_config_rankings={"overall": {"description": "default", "rankings": ["tuned"]}},
            inference_config_components={
                "tuned": {
                    "component_name": "tuned",
                    "hosting_prepacked_artifact_key": "one/tuned/",
                    "supported_inference_instance_types": ["ml.p4d.24xlarge"],
                    "default_inference_instance_type": "ml.p4d.24xlarge",
                    "deploy_kwargs": {"inference_ami_version": "al2"},
                },
                "plain": {"component_name": "plain"},
            },
        ),
        region="us-east-1",
    )
    tuned, plain = document.configs
    assert (tuned.name, tuned.rank, tuned.instance_types) == ("tuned", 0, ("ml.p4d.24xlarge",))
    assert tuned.benchmarks == {"ml.p4d.24xlarge": [{"Name": "latency", "Value": "1", "Unit": "sec"}]}
    assert (plain.name, plain.rank, plain.instance_types) == ("plain", None, ("ml.g5.xlarge",))
    component = document.content["InferenceConfigComponents"]["tuned"]
    assert component["HostingArtifactUri"] == "s3://jumpstart-cache-prod-us-east-1/one/tuned/"
    assert component["InferenceAmiVersion"] == "al2"


def test_what_is_unknown_is_kept() -> None:
    assert content_of(brand_new_thing={"inner_name": 1})["BrandNewThing"] == {"inner_name": 1}
    assert content_of(capabilities=["training", "brand_new"])["Capabilities"] == ["TRAINING", "BRAND_NEW"]
    assert "Absent" not in content_of(absent=None)
    assert pascal("hosting_artifact_s3_data_type") == "HostingArtifactS3DataType"


@pytest.mark.parametrize(
    ("uri", "region", "url"),
    [
        ("s3://bucket/a/b.txt", "us-east-1", "https://bucket.s3.us-east-1.amazonaws.com/a/b.txt"),
        ("s3://bucket/a/b.txt", "cn-north-1", "https://bucket.s3.cn-north-1.amazonaws.com.cn/a/b.txt"),
        ("https://example.com/eula", "us-east-1", "https://example.com/eula"),
        ("javascript:alert(1)", "us-east-1", None),
        ("", "us-east-1", None),
        (None, "us-east-1", None),
        (3, "us-east-1", None),
    ],
)
def test_addresses(uri: object, region: str, url: str | None) -> None:
    assert https_url(uri, region) == url


# --- anything at all -------------------------------------------------------------------------------------------------

INNER = [
    "variants", "regional_aliases", "aliases", "us-east-1", "g5", "properties", "regional_properties", "image_uri",
    "environment_variables", "resource_requirements", "speculative_decoding", "s3_data_source", "s3_uri", "provider",
    "overall", "Rankings", "ComponentNames", "component_names", "benchmark_metrics", "BenchmarkMetrics", "Body", "body",
    "OutputKeys", "SupportedInferenceInstanceTypes", "DefaultInferenceInstanceType", "deploy_kwargs", "Name", "one",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["$one", "one", "", "g5"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(INNER), inner, max_size=4),
    max_leaves=12,
)
CONTENT = load("example-gated-lmi-chat.json")["HubContentDocument"]
HUB_NAMES = sorted(CONTENT if isinstance(CONTENT, dict) else json.loads(CONTENT))
SPEC_NAMES = sorted(
    {
        *load("specs/example-open-tgi-instruct.json"), "inference_configs", "inference_config_components",
        "inference_config_rankings", "hosting_additional_data_sources", "training_instance_type_variants",
        "hosting_model_package_arns", "training_artifact_key",
    }
)  # fmt: skip


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(HUB_NAMES), JSON, max_size=8))
def test_no_content_is_too_odd(content: dict[str, Any]) -> None:
    document = read_content(content, model_id="one", version="1.0.0", region="us-east-1", source="hub")
    assert document.raw == content


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(SPEC_NAMES), JSON, max_size=8))
def test_no_spec_is_too_odd(spec: dict[str, Any]) -> None:
    assert read_spec(spec, region="us-east-1").raw == spec


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(["HubContentDocument", "HubContentName", "HubContentSearchKeywords"]), JSON))
def test_no_description_is_too_odd(description: dict[str, Any]) -> None:
    assert read_description(description, region="us-east-1").raw == description


def test_keywords() -> None:
    words = ("@task:text-generation", "@provider:", "llama")
    assert keyword(words, "task") == "text-generation"
    assert keyword(words, "provider") is None
    assert keyword(words, "framework") is None
