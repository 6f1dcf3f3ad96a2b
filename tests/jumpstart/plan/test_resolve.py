"""A document's own rules: configurations, instance types, variants, images, environments, artifacts, licences."""

import json

import msgspec
import pytest

from awsllm.errors import ValidationError
from awsllm.jumpstart.hub.document import read_spec
from awsllm.jumpstart.plan.resolve import accelerated, overlay, resolve, takes_volume
from tests.support.jumpstart_documents import DIRECTORY, NAMES, REGION, document

GATED = "example-gated-lmi-chat"


@pytest.mark.parametrize("name", NAMES)
def test_every_document_hosts_its_model_on_its_default_machine(name):
    hosting = resolve(document(name))
    assert hosting.instance_type == document(name).default_instance_type
    assert hosting.supported
    assert (hosting.image and hosting.artifact) or hosting.package_arn
    assert hosting.env["SAGEMAKER_REGION"] == REGION
    assert hosting.env["SAGEMAKER_CONTAINER_LOG_LEVEL"] == "20"
    assert all(isinstance(value, str) for value in hosting.env.values())


# --- configurations --------------------------------------------------------------------------------------------------


def test_the_first_ranked_configuration_is_taken():
    hosting = resolve(document(GATED))
    assert (hosting.config, hosting.instance_type, hosting.additional) == ("lmi", "ml.g5.2xlarge", ())


def test_the_first_ranked_configuration_that_supports_the_instance_type_is_taken():
    hosting = resolve(document(GATED), instance_type="ml.p4d.24xlarge")
    assert hosting.config == "lmi-optimized"
    assert hosting.additional[0].channel == "draft_model"
    assert hosting.env["OPTION_SPECULATIVE_DRAFT_MODEL"].endswith("/draft_model")
    assert "SAGEMAKER_PROGRAM" not in hosting.env  # a component's list takes the place of the base's


def test_a_named_configuration_brings_its_own_instance_type():
    hosting = resolve(document(GATED), config="lmi-optimized")
    assert hosting.instance_type == "ml.p4d.24xlarge"
    assert (hosting.memory_mb, hosting.accelerators) == (524288, 8)


def test_an_unknown_configuration_is_an_error_that_names_the_known_ones():
    with pytest.raises(ValidationError, match="lmi, lmi-optimized"):
        resolve(document(GATED), config="fast")
    with pytest.raises(ValidationError, match="it has: none"):
        resolve(document("example-open-tgi-instruct"), config="fast")


def test_without_a_ranking_configurations_go_by_name():
    found = document("example-vllm-openai", InferenceConfigRankings=None)
    assert resolve(found).config == "eight-h100"


def test_a_machine_that_no_configuration_supports_leaves_the_base_if_that_can_host():
    assert resolve(document(GATED), instance_type="ml.g5.48xlarge").config is None
    only_components = resolve(document("example-vllm-openai"), instance_type="ml.g5.48xlarge")
    assert only_components.config == "four-l4"
    assert not only_components.supported
    assert "ml.g5.48xlarge is not among the instance types" in only_components.warnings[0]


def test_components_merge_leaf_by_leaf_and_leave_alone_what_belongs_to_the_model():
    base = {"Url": "a", "GatedBucket": True, "Deep": {"one": {"x": 1, "y": 2}}, "List": [1, 2]}
    first = {"Url": "b", "GatedBucket": False, "Deep": {"one": {"y": 3}}, "List": [3]}
    second = {"Deep": {"one": {"z": 4}, "two": 5}}
    merged = overlay(base, {"first": first, "second": second}, ["first", "second", "missing"])
    assert merged == {
        "Url": "a",
        "GatedBucket": True,
        "Deep": {"one": {"x": 1, "y": 3, "z": 4}, "two": 5},
        "List": [3],
    }
    assert base["Deep"] == {"one": {"x": 1, "y": 2}}


# --- variants --------------------------------------------------------------------------------------------------------


def test_family_and_exact_type_merge_their_environment_and_needs():
    variants = {
        "g5": {"Properties": {"EnvironmentVariables": {"A": 1, "B": 2}, "ResourceRequirements": {"NumCpus": 4}}},
        "ml.g5.12xlarge": {"Properties": {"EnvironmentVariables": {"B": 3}, "ImageUri": "exact"}},
    }
    found = document("example-open-tgi-instruct", HostingInstanceTypeVariants={"Variants": variants})
    hosting = resolve(found, instance_type="ml.g5.12xlarge")
    assert (hosting.env["A"], hosting.env["B"], hosting.image) == ("1", "3", "exact")
    assert (hosting.memory_mb, hosting.accelerators, hosting.cpus) == (24576, 1, 4)
    assert resolve(found, instance_type="ml.g5.2xlarge").image.startswith("763104351884.")


def test_an_image_may_be_an_alias():
    said = {"Aliases": {"gpu": "registry/image:1"}, "Variants": {"g5": {"Properties": {"ImageUri": "$gpu"}}}}
    found = document("example-open-tgi-instruct", HostingInstanceTypeVariants=said)
    assert resolve(found).image == "registry/image:1"


def test_another_image_for_processors_without_an_accelerator():
    gpu, cpu = (
        resolve(document("example-tei-embedding"), instance_type=kind) for kind in ("ml.g5.xlarge", "ml.c6i.2xlarge")
    )
    assert "tei-cpu" in str(cpu.image)
    assert "tei-cpu" not in str(gpu.image)
    assert (cpu.accelerators, cpu.cpus, gpu.accelerators) == (None, 2, 1)


def test_each_instance_family_has_its_own_package():
    found = document("example-cohere-command")
    assert "-g5-" in str(resolve(found).package_arn)
    assert "-p4d-" in str(resolve(found, instance_type="ml.p4d.24xlarge").package_arn)
    assert resolve(found, instance_type="ml.g6.12xlarge").package_arn is None
    assert "rerank" in str(resolve(document("example-cohere-rerank")).package_arn)


# --- artifacts and licences ------------------------------------------------------------------------------------------


def test_an_archive_and_a_prefix():
    archive = resolve(document("example-mms-text2text")).artifact  # the document does not say which it is
    assert (archive.data_type, archive.compression) == ("S3Object", "Gzip")
    prefix = resolve(document("example-open-tgi-instruct")).artifact
    assert (prefix.data_type, prefix.compression, prefix.gated) == ("S3Prefix", "None", False)


def test_the_packed_artifact_goes_first():
    base = {"HostingArtifactUri": "s3://b/plain/", "HostingPrepackedArtifactUri": "s3://b/packed/"}
    variants = {"Variants": {"g5": {"Properties": {"PrepackedArtifactUri": "s3://b/own/"}}}}
    name = "example-open-tgi-instruct"
    assert resolve(document(name, **base)).artifact.uri == "s3://b/packed/"
    own = resolve(document(name, **base, HostingInstanceTypeVariants=variants))
    assert own.artifact.uri == "s3://b/own/"
    scripted = resolve(document(name, **base, HostingInstanceTypeVariants=variants, HostingUseScriptUri=True))
    assert (scripted.artifact.uri, scripted.script) == ("s3://b/own/", None)


def test_gated_models_know_where_their_licence_is():
    artifact = resolve(document(GATED)).artifact
    assert artifact.gated
    assert artifact.eula_url == (
        "https://jumpstart-cache-prod-us-east-1.s3.us-east-1.amazonaws.com/example/example-gated-lmi-chat/eula/v1.txt"
    )
    assert not resolve(document("example-open-tgi-instruct")).artifact.gated


def test_a_gated_bucket_without_a_licence_text_is_gated_all_the_same():
    found = document("example-open-tgi-instruct", GatedBucket=True)
    assert resolve(found).artifact.eula_url == "https://example.com/example-open-tgi-instruct"


def test_a_draft_model_may_have_a_licence_of_its_own():
    hosting = resolve(document("example-open-gated-draft"))
    (draft,) = hosting.additional  # scripts, the other kind of additional data, are not the container's
    assert not hosting.artifact.gated
    assert (draft.channel, draft.gated) == ("draft_model", True)
    assert draft.eula_url.startswith("https://jumpstart-cache-prod-us-east-1.s3.us-east-1.amazonaws.com/")


def test_both_schemas_of_one_model_are_hosted_alike():
    spec = json.loads((DIRECTORY / "specs" / "example-open-tgi-instruct.json").read_text(encoding="utf-8"))
    for kind in ("ml.g5.2xlarge", "ml.g5.12xlarge", "ml.p3.2xlarge"):
        ours = resolve(read_spec(spec, region=REGION), instance_type=kind)
        theirs = resolve(document("example-open-tgi-instruct"), instance_type=kind)
        assert (ours.image, ours.env, ours.artifact, ours.memory_mb, ours.accelerators) == (
            theirs.image, theirs.env, theirs.artifact, theirs.memory_mb, theirs.accelerators,
        )  # fmt: skip
        assert (ours.download_timeout, ours.startup_timeout, ours.volume_gb) == (1200, 1200, theirs.volume_gb)


# --- machines and bounds ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "volume"),
    [
        ("ml.p3.2xlarge", True), ("ml.m5.xlarge", True), ("ml.c6i.2xlarge", True), ("ml.inf2.xlarge", True),
        ("ml.g4dn.xlarge", False), ("ml.p4d.24xlarge", False), ("ml.m5d.large", False), ("ml.g5.2xlarge", False),
        ("ml.g6e.2xlarge", False), ("ml.p5.48xlarge", False), ("ml.p6-b200.48xlarge", False),
        ("ml.trn1.2xlarge", False), ("ml.g7e.2xlarge", False), (None, False),
    ],
)  # fmt: skip
def test_only_machines_without_disks_of_their_own_take_a_volume(machine, volume):
    assert takes_volume(machine) is volume


def test_the_volume_goes_only_to_machines_that_take_one():
    found = document("example-open-tgi-instruct")
    assert resolve(found).volume_gb is None
    assert resolve(found, instance_type="ml.p3.2xlarge").volume_gb == 256


@pytest.mark.parametrize(
    ("machine", "expected"),
    [("ml.g5.xlarge", True), ("ml.p3.2xlarge", True), ("ml.inf2.xlarge", True), ("ml.trn1.2xlarge", True),
     ("ml.m5.large", False), ("ml.c5.large", False), ("ml.r5.large", False), ("", False)],
)  # fmt: skip
def test_which_machines_are_accelerated(machine, expected):
    assert accelerated(machine) is expected


def test_a_timeout_beyond_the_bounds_is_cut_and_told():
    hosting = resolve(document("example-open-tgi-instruct", ModelDataDownloadTimeout=36000))
    assert hosting.download_timeout == 3600
    assert "36000 s is beyond the API's bounds: 3600 s is sent" in hosting.warnings[0]


def test_a_deprecated_model_is_told():
    assert "is deprecated in JumpStart" in resolve(document("example-mms-text2text")).warnings[0]


def test_an_empty_document_is_read_leniently():
    found = document("example-open-tgi-instruct")
    hosting = resolve(msgspec.structs.replace(found, content={}, default_instance_type=None))
    assert (hosting.instance_type, hosting.image, hosting.artifact) == (None, None, None)
