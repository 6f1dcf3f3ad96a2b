"""Plans: the exact requests, judged by botocore's service models; names, tags, cost, rights, refusals, changes.

``AWSLLM_UPDATE_SNAPSHOTS=1 pytest tests/test_jumpstart_plan.py`` writes ``tests/data/plans`` anew.
"""

import fnmatch
import json
import os
import re
from typing import Any

import botocore.session
import msgspec
import pytest
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st

from awsllm.errors import ConfigurationError, EulaNotAcceptedError, ValidationError
from awsllm.jumpstart import names
from awsllm.jumpstart.deploy.preflight import refuse_missing
from awsllm.jumpstart.hub import spec
from awsllm.jumpstart.plan.options import Async, Autoscaling, Components, PlanOptions, Schedule, Variant, Vpc
from awsllm.jumpstart.plan.plan import Change, Plan, PlanContext
from awsllm.jumpstart.plan.planner import make_plan
from tests.support.data import DATA
from tests.support.jumpstart_documents import CONTEXT, NAMES, PRICES, REGION, ROLE, description, document, plan, private

SNAPSHOTS = DATA / "plans"
GATED, OPEN, CPU = "example-gated-lmi-chat", "example-open-tgi-instruct", "example-cpu-textclassification"
COHERE, DRAFT = "example-cohere-command", "example-open-gated-draft"
NIGHT = Schedule(name="night", expression="cron(0 22 * * ? *)", min=0, max=0, timezone="Europe/Berlin")
# Plans of every option, by the snapshot's name: the document and the options.
CASES: dict[str, tuple[str, PlanOptions]] = {
    **{name: (name, {}) for name in NAMES},
    "gated-accepted": (GATED, {"accept_eula": True, "instance_type": "ml.p4d.24xlarge"}),
    "components-to-zero": (
        GATED,
        {
            "accept_eula": True,
            "components": Components(copies=2, adapters={"poems": "s3://ours/poems.tar.gz"}),
            "autoscaling": Autoscaling(min=0, max=3, target=4, schedules=(NIGHT,)),
            "vpc": Vpc(subnets=("subnet-1", "subnet-2"), security_groups=("sg-1",)),
            "ttl": 3600,
        },
    ),
    "variants": (
        OPEN,
        {
            "variants": {
                "Small": {"weight": 3},
                "Large": {"instance_type": "ml.g5.12xlarge", "count": 2, "env": {"SIZE": "large"}},
            },
            "autoscaling": {"min": 1, "max": 4, "metric": "invocations"},
        },
    ),
    "asynchronous": (
        OPEN,
        {
            "async_": Async(
                output="s3://ours/answers/",
                failure="s3://ours/failures/",
                max_concurrent=4,
                success_topic="arn:aws:sns:us-east-1:111122223333:done",
            ),
            "autoscaling": {"min": 0, "max": 2},
            "kms": "11111111-2222-3333-4444-555555555555",
        },
    ),
    "serverless": (CPU, {"serverless": {"memory_mb": 3072, "provisioned_concurrency": 2}, "autoscaling": {"max": 4}}),
    "everything-real-time": (
        OPEN,
        {
            "name": "harbour",
            "instance_type": "ml.p3.2xlarge",
            "instance_count": 2,
            "kms": "arn:aws:kms:us-east-1:111122223333:key/11111111-2222-3333-4444-555555555555",
            "vpc": {"subnets": ["subnet-1"], "security_groups": ["sg-1"]},
            "data_capture": "s3://ours/captured/",
            "env": {"MAX_TOTAL_TOKENS": "8192"},
            "tags": {"team": "harbour"},
            "volume_size_gb": 100,
            "download_timeout": 600,
            "startup_timeout": 900,
            "enable_network_isolation": False,
            "role": "arn:aws:iam::111122223333:role/other",
        },
    ),
    "own-weights": (GATED, {"model_data": "s3://ours/tuned/model/"}),
    "own-package": (COHERE, {"model_package_arn": "arn:aws:sagemaker:us-east-1:111122223333:model-package/ours/3"}),
}


def case(name):
    found, options = CASES[name]
    return plan(found, **options)


# --- the judge -------------------------------------------------------------------------------------------------------


def _models():
    session = botocore.session.get_session()
    return {name: session.get_service_model(name) for name in ("sagemaker", "application-autoscaling", "cloudwatch")}


MODELS = _models()
# The service model's pattern of these has `[^/]` where it means one character or more; AWS takes any bucket.
LOOSE = ("(https|s3)://([^/])/?(.*)",)


def faults(shape, value, path=""):
    """What the service model's bounds, patterns and enums say against a value: botocore itself checks types, required
    members and lower bounds only."""
    about = shape.metadata
    if shape.type_name == "structure":
        for name, each in value.items():
            yield from faults(shape.members[name], each, f"{path}.{name}")
    elif shape.type_name == "list":
        yield from _outside(about, len(value), path)
        for each in value:
            yield from faults(shape.member, each, path + "[]")
    elif shape.type_name == "map":
        yield from _outside(about, len(value), path)
        for key, each in value.items():
            yield from faults(shape.key, key, path + "{}")
            yield from faults(shape.value, each, f"{path}.{key}")
    elif shape.type_name == "string":
        yield from _text_faults(shape, value, path)
    elif shape.type_name in ("integer", "float", "double", "long"):
        yield from _outside(about, value, path)


def _outside(about, value, path):
    if value < about.get("min", value) or value > about.get("max", value):
        yield f"{path}: {value} outside {about}"


def _text_faults(shape, value, path):
    yield from _outside(shape.metadata, len(value), path)
    enum, pattern = shape.enum, shape.metadata.get("pattern")
    if enum and value not in enum:
        yield f"{path}: {value} is no word of the enumeration"
    if pattern and pattern not in LOOSE and not re.search(r"\\[pu]", pattern) and not re.fullmatch(pattern, value):
        yield f"{path}: {value} does not match {pattern}"


def check_requests(made: Plan):
    for step in made.steps:
        shape = MODELS[step.service].operation_model(step.operation).input_shape
        report = ParamValidator().validate(step.request, shape)
        assert not report.has_errors(), f"{step.id}: {report.generate_report()}"
        assert list(faults(shape, step.request)) == [], step.id


@pytest.mark.parametrize("name", CASES)
def test_every_request_is_one_that_the_service_model_takes(name):
    check_requests(case(name))


@pytest.mark.parametrize("name", CASES)
def test_a_plan_is_the_same_each_time_and_survives_json(name):
    made = case(name)
    assert made == case(name)
    assert Plan.from_json(made.to_json()) == made
    assert Plan.from_json(made.to_json().decode()).to_json() == made.to_json()


@pytest.mark.parametrize("name", CASES)
def test_a_plan_is_as_it_was(name):
    made, path = case(name), SNAPSHOTS / f"{name}.json"
    told = {"text": str(made).splitlines(), "plan": json.loads(made.to_json())}
    if os.environ.get("AWSLLM_UPDATE_SNAPSHOTS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert told == json.loads(path.read_text(encoding="utf-8"))


def test_no_snapshot_is_left_over():
    assert {path.stem for path in SNAPSHOTS.glob("*.json")} == set(CASES)


def test_making_a_plan_changes_nothing_it_was_given():
    found, options = document(GATED), {"components": {"copies": 2}, "env": {"A": "1"}, "tags": {"a": "b"}}
    before = msgspec.json.encode([found, options])
    make_plan(found, options, CONTEXT)
    assert msgspec.json.encode([found, options]) == before


# --- requests --------------------------------------------------------------------------------------------------------


def request(made: Plan, id: str):
    return next(step.request for step in made.steps if step.id == id)


def container(made: Plan):
    return request(made, "model")["PrimaryContainer"]


def variant(made: Plan):
    return request(made, "endpoint-config")["ProductionVariants"][0]


def test_an_open_model():
    made = plan(OPEN)
    assert [step.operation for step in made.steps] == ["CreateModel", "CreateEndpointConfig", "CreateEndpoint"]
    assert request(made, "model")["ExecutionRoleArn"] == ROLE
    assert container(made)["ModelDataSource"] == {
        "S3DataSource": {
            "S3Uri": "s3://jumpstart-cache-prod-us-east-1/example/example-open-tgi-instruct/artifacts/inference-prepack/v1.0.0/",
            "S3DataType": "S3Prefix",
            "CompressionType": "None",
        }
    }
    assert variant(made) == {
        "VariantName": "AllTraffic",
        "ModelName": made.steps[0].resource,
        "InstanceType": "ml.g5.2xlarge",
        "InitialInstanceCount": 1,
        "InitialVariantWeight": 1.0,
        "ModelDataDownloadTimeoutInSeconds": 1200,
        "ContainerStartupHealthCheckTimeoutInSeconds": 1200,
    }
    assert made.steps[2].wait == "endpoint_in_service"
    assert made.reference == f"sagemaker:{made.endpoint}"


def test_the_licence_is_sent_only_when_it_was_accepted_and_only_for_gated_models():
    refused, accepted = plan(GATED), plan(GATED, accept_eula=True)
    source = container(refused)["ModelDataSource"]["S3DataSource"]
    assert "ModelAccessConfig" not in source
    assert refused.eula_url.endswith("/eula/v1.txt")
    assert not refused.eula_accepted
    assert any(str(refused.eula_url) in warning for warning in refused.warnings)
    assert container(accepted)["ModelDataSource"]["S3DataSource"]["ModelAccessConfig"] == {"AcceptEula": True}
    assert accepted.eula_accepted
    assert not any("licence" in warning for warning in accepted.warnings)
    open_model = plan(OPEN, accept_eula=True)
    assert open_model.eula_url is None
    assert not open_model.eula_accepted
    assert b"AcceptEula" not in open_model.to_json()


def test_every_licence_that_one_acceptance_covers_is_named():
    gated = {"GatedBucket": True, "HostingEulaUri": "s3://jumpstart-private-cache-prod-us-east-1/main-eula.txt"}
    refused = plan(document(DRAFT, **gated))
    main, draft = refused.eula_urls
    assert (refused.eula_url, main.endswith("/main-eula.txt"), "example-draft-gated" in draft) == (main, True, True)
    with pytest.raises(EulaNotAcceptedError) as caught:
        refuse_missing(refused)
    assert caught.value.url == main
    for url in (main, draft):
        assert url in str(caught.value)
        assert f"NOT accepted: {url}" in str(refused)
        assert any(url in warning for warning in refused.warnings)
        assert f" accepted: {url}" in str(plan(document(DRAFT, **gated), accept_eula=True))
    assert plan(OPEN).eula_urls == ()


def test_a_plan_that_names_one_licence_only_is_still_refused():
    before = msgspec.structs.replace(plan(GATED), eula_urls=())
    with pytest.raises(EulaNotAcceptedError, match=r"eula/v1\.txt"):
        refuse_missing(before)


def test_accepting_changes_no_name_of_the_endpoint():
    assert plan(GATED).endpoint == plan(GATED, accept_eula=True, ttl=60, tags={"a": "b"}).endpoint


def test_a_gated_draft_model_is_gated_by_its_own_licence():
    made = plan(DRAFT, accept_eula=True)
    (draft,) = container(made)["AdditionalModelDataSources"]
    assert draft["S3DataSource"]["ModelAccessConfig"] == {"AcceptEula": True}
    assert "ModelAccessConfig" not in container(made)["ModelDataSource"]["S3DataSource"]
    assert "example-draft-gated" in str(made.eula_url)


def test_without_the_draft_model_its_licence_and_environment_go_too():
    made = plan(DRAFT, draft_model=False)
    assert made.eula_url is None
    assert "AdditionalModelDataSources" not in container(made)
    assert "OPTION_SPECULATIVE_DRAFT_MODEL" not in container(made)["Environment"]


def test_a_package_is_named_and_nothing_else():
    made = plan(COHERE)
    assert list(container(made)) == ["ModelPackageName"]
    assert request(made, "model")["EnableNetworkIsolation"] is True
    assert "what the seller asks" in made.cost.note
    assert any("subscribe to the model first: https://aws.amazon.com/" in warning for warning in made.warnings)


def test_a_private_hub_lends_its_files():
    made = plan(private(GATED), accept_eula=True)
    source = container(made)["ModelDataSource"]["S3DataSource"]
    arn = "arn:aws:sagemaker:us-east-1:111122223333:hub-content/ours/ModelReference/example-gated-lmi-chat/1.0.0"
    assert source["HubAccessConfig"] == {"HubContentArn": arn}
    check_requests(made)
    archive = plan(private(CPU))
    assert "ModelDataUrl" not in container(archive)
    resources = next(each["Resource"] for each in archive.permissions["Statement"] if each["Sid"] == "Hub")
    assert "arn:aws:sagemaker:us-east-1:111122223333:hub/ours" in resources


def test_an_open_archive_goes_by_its_address():
    assert container(plan(CPU))["ModelDataUrl"].endswith(".tar.gz")
    gated = container(plan("example-llama2-dialogs"))  # an archive behind a licence needs the longer form
    assert gated["ModelDataSource"]["S3DataSource"]["S3DataType"] == "S3Object"


def test_weights_of_the_callers_own_are_not_gated():
    made = plan(GATED, model_data="s3://ours/tuned/")
    assert made.eula_url is None
    assert container(made)["ModelDataSource"]["S3DataSource"]["S3Uri"] == "s3://ours/tuned/"
    assert container(plan(OPEN, model_data="s3://ours/model.tar.gz"))["ModelDataUrl"] == "s3://ours/model.tar.gz"
    assert b"HubAccessConfig" not in plan(private(OPEN), model_data="s3://ours/tuned/").to_json()


def test_the_callers_environment_goes_over_the_documents():
    env = container(plan(OPEN, env={"SM_NUM_GPUS": "2", "NEW": "x"}))["Environment"]
    assert (env["SM_NUM_GPUS"], env["NEW"], env["HF_MODEL_ID"]) == ("2", "x", "/opt/ml/model")


def test_components():
    made = plan(GATED, components=True, accept_eula=True)
    config = request(made, "endpoint-config")
    assert "ModelName" not in variant(made)
    assert "ManagedInstanceScaling" not in variant(made)
    assert (config["ExecutionRoleArn"], config["EnableNetworkIsolation"]) == (ROLE, True)
    component = request(made, "component")
    assert component["Specification"]["ComputeResourceRequirements"] == {
        "MinMemoryRequiredInMb": 24576,
        "NumberOfAcceleratorDevicesRequired": 1,
    }
    assert component["Specification"]["ModelName"] == made.steps[0].resource
    assert made.reference == f"sagemaker:{made.endpoint}/{made.component}"


def test_components_that_the_document_does_not_expect():
    with pytest.raises(ValidationError, match="memory_mb"):
        plan("example-stable-diffusion", components=True)
    made = plan("example-stable-diffusion", components={"memory_mb": 4096, "cpus": 2, "accelerators": 1, "name": "art"})
    assert made.component == "art"
    assert any("does not say that the model can be an inference component" in warning for warning in made.warnings)


def test_adapters_are_components_without_needs_of_their_own():
    made = case("components-to-zero")
    adapter = request(made, "adapter-poems")
    assert adapter["Specification"] == {
        "BaseInferenceComponentName": made.component,
        "Container": {"ArtifactUrl": "s3://ours/poems.tar.gz"},
    }
    assert "RuntimeConfig" not in adapter
    mms = plan("example-tei-embedding", components={"adapters": {"a": "s3://b/c.tar.gz"}})
    assert any("loads LoRA adapters" in warning for warning in mms.warnings)


def test_scaling_to_zero_wakes_by_an_alarm_on_the_step_policy():
    made = case("components-to-zero")
    ids = [step.id for step in made.steps]
    assert ids[-5:] == ["scalable-target", "scaling-policy", "wake-policy", "wake-alarm", "schedule-night"]
    assert request(made, "wake-alarm")["AlarmActions"] == ["${wake-policy.PolicyARN}"]
    assert variant(made)["ManagedInstanceScaling"] == {
        "Status": "ENABLED",
        "MinInstanceCount": 0,
        "MaxInstanceCount": 3,
    }
    assert (made.cost.per_hour, made.cost.per_hour_max) == (0.0, 4.5)
    assert "scaled to zero" in made.cost.note


def test_a_schedule_to_zero_alone_needs_the_alarm_too():
    made = plan(OPEN, components=True, autoscaling={"min": 1, "max": 2, "schedules": [NIGHT]})
    assert "wake-alarm" in [step.id for step in made.steps]
    assert variant(made)["ManagedInstanceScaling"]["MinInstanceCount"] == 0


def test_an_asynchronous_endpoint_follows_its_backlog():
    made = case("asynchronous")
    followed = request(made, "scaling-policy")["TargetTrackingScalingPolicyConfiguration"]
    assert followed["CustomizedMetricSpecification"]["MetricName"] == "ApproximateBacklogSizePerInstance"
    assert request(made, "wake-alarm")["MetricName"] == "HasBacklogWithoutCapacity"
    output = request(made, "endpoint-config")["AsyncInferenceConfig"]["OutputConfig"]
    assert output["KmsKeyId"] == "11111111-2222-3333-4444-555555555555"
    assert "KmsKeyId" not in request(made, "endpoint-config")  # a g5 encrypts its own disks
    assert any("kms is not used for the disks" in warning for warning in made.warnings)


def test_each_variant_scales_and_shares_models_where_it_can():
    made = case("variants")
    assert [step.id for step in made.steps] == [
        "model-Small", "model-Large", "endpoint-config", "endpoint",
        "scalable-target-Small", "scaling-policy-Small", "scalable-target-Large", "scaling-policy-Large",
    ]  # fmt: skip
    alike = plan(OPEN, variants=[Variant(name="A"), Variant(name="B", count=2)])
    assert [step.operation for step in alike.steps].count("CreateModel") == 1
    assert (alike.cost.per_hour, alike.cost.per_hour_max) == (4.5, None)


def test_a_serverless_endpoint():
    made = plan(CPU, serverless=True)
    assert variant(made)["ServerlessConfig"] == {"MemorySizeInMB": 4096, "MaxConcurrency": 5}
    assert "InstanceType" not in variant(made)
    assert "EnableNetworkIsolation" not in request(made, "model")
    assert made.cost.note == "billed by the time of each request"
    metric = request(case("serverless"), "scaling-policy")["TargetTrackingScalingPolicyConfiguration"]
    assert metric["PredefinedMetricSpecification"] == {
        "PredefinedMetricType": "SageMakerVariantProvisionedConcurrencyUtilization"
    }


# --- names, tags, digests --------------------------------------------------------------------------------------------


@given(st.text(max_size=200), st.dictionaries(st.text(max_size=5), st.integers(), max_size=3), st.text(max_size=80))
def test_names_are_names(model_id, identity, adapter):
    endpoint = names.endpoint_name(model_id, identity)
    made = [endpoint, names.own_name(endpoint, identity), names.adapter_name(endpoint, adapter)]
    assert [names.check(each, "a name") for each in made] == made
    assert made[1].startswith(endpoint)  # nothing of an unnamed endpoint's name is lost in its models'


@given(st.from_regex(names.PATTERN, fullmatch=True).filter(lambda name: len(name) <= 63), st.text(max_size=80))
def test_given_names_make_names(endpoint, adapter):
    assert names.check(endpoint, "a name") == endpoint
    for made in (names.own_name(endpoint, {}), names.adapter_name(endpoint, adapter)):
        assert names.check(made, "a name") == made


@pytest.mark.parametrize("name", ["", "-a", "a-", "a_b", "é", "a" * 64])
def test_a_name_that_sagemaker_refuses_is_refused(name):
    with pytest.raises(ValidationError, match="the endpoint's name is"):
        plan(OPEN, name=name)


def test_long_names_with_one_beginning_have_models_of_their_own():
    one, other = (plan(OPEN, name="a" * 62 + end).steps[0].resource for end in "bc")
    assert one != other


def test_a_name_follows_from_what_is_asked_but_not_from_the_version():
    found = document(OPEN)
    newer = msgspec.structs.replace(found, version="9.0.0")
    assert plan(found).endpoint == plan(newer).endpoint
    assert plan(found).digest != plan(newer).digest
    assert plan(found).endpoint != plan(found, instance_type="ml.p3.2xlarge").endpoint
    assert plan(found, components=True).endpoint == plan(found, components={}).endpoint
    assert plan(found, env={"A": "1", "B": "2"}).endpoint == plan(found, env={"B": "2", "A": "1"}).endpoint


def test_a_changed_model_has_another_name_and_so_has_what_names_it():
    before, after = plan(OPEN, name="harbour"), plan(OPEN, name="harbour", env={"A": "1"})
    assert before.endpoint == after.endpoint == "harbour"
    assert before.steps[0].resource != after.steps[0].resource
    assert before.steps[1].resource != after.steps[1].resource
    retagged = plan(OPEN, name="harbour", tags={"a": "b"})
    assert before.steps[0].resource == retagged.steps[0].resource
    assert before.digest != retagged.digest


def tags_of(step):
    said = step.request.get("Tags")
    return said if isinstance(said, dict) or said is None else {tag["Key"]: tag["Value"] for tag in said}


def test_everything_that_takes_tags_is_tagged():
    made = plan(GATED, components=True, autoscaling={"min": 0, "max": 1}, tags={"team": "harbour"})
    expected = {
        "awsllm:format": "openai",
        "awsllm:model-id": GATED,
        "awsllm:model-version": "2.1.0",
        "awsllm:plan": made.digest,
        "sagemaker-sdk:jumpstart-inference-config-name": "lmi",
        "sagemaker-sdk:jumpstart-model-id": GATED,
        "sagemaker-sdk:jumpstart-model-version": "2.1.0",
        "team": "harbour",
    }
    for step in made.steps:
        taken = "Tags" in MODELS[step.service].operation_model(step.operation).input_shape.members
        assert tags_of(step) == (expected if taken else None), step.id


def test_the_prompt_style_is_a_tag():
    assert tags_of(plan(OPEN).steps[2])["awsllm:prompt"] == "mistral"


BAD_TAGS = [{"aws:x": "y"}, {"": "y"}, {"a": "x" * 257}, {"a": "{"}, {f"k{i}": "" for i in range(43)}]


@pytest.mark.parametrize("tags", BAD_TAGS)
def test_tags_that_aws_refuses_are_refused(tags):
    with pytest.raises(ValidationError, match="tags:"):
        plan(OPEN, tags=tags)


def test_as_many_tags_as_there_is_room_for():
    made = plan(OPEN, tags={f"k{number}": "" for number in range(41)})
    assert len(tags_of(made.steps[0])) == 48  # two more are written when the plan is applied


# --- format, cost, rights, words -------------------------------------------------------------------------------------

FORMATS = {
    "example-cohere-command": "cohere-command",
    "example-cohere-rerank": "cohere-rerank",
    "example-cpu-textclassification": "huggingface",
    "example-finetune-llm": "tgi",
    "example-gated-lmi-chat": "openai",
    "example-llama2-dialogs": "dialogs",
    "example-mms-embedding": "mms",
    "example-mms-text2text": "mms",
    "example-open-gated-draft": "openai",
    "example-open-tgi-instruct": "tgi",
    "example-stable-diffusion": "sdxl",
    "example-tei-embedding": "tei",
    "example-vllm-openai": "openai",
}


@pytest.mark.parametrize("name", NAMES)
def test_the_plan_knows_what_the_container_will_speak(name):
    assert plan(name).format.format == FORMATS[name]


def test_the_callers_format_counts_and_must_be_known():
    made = plan(OPEN, format="openai")
    assert (made.format.format, made.format.source) == ("openai", "caller")
    assert plan(OPEN, format="tgi").format.settings.prompt == "mistral"
    with pytest.raises(ConfigurationError):
        plan(OPEN, format="telegram")


def test_an_unknown_container_is_told():
    made = plan(document(OPEN, DefaultPayloads={}, HostingEcrUri="ours/server:1", HostingInstanceTypeVariants={}))
    assert made.format is None
    assert any("give format" in warning for warning in made.warnings)


def test_a_machine_without_a_price():
    made = plan(OPEN, instance_type="ml.p5.48xlarge")
    assert made.cost.per_hour is None
    assert made.cost.as_of == "2026-01-01"
    assert any("does not know all of ml.p5.48xlarge" in warning for warning in made.warnings)
    assert any("not among the instance types" in warning for warning in made.warnings)


def test_variants_that_speak_differently_leave_the_format_untold():
    silent = document(GATED, DefaultPayloads={})
    named = [Variant(name="A", env={"OPTION_ROLLING_BATCH": "disable"}), Variant(name="B")]
    for variants, told in ((named, False), (named[:1], True), (named[1:], True)):
        endpoint = request(plan(silent, variants=variants, accept_eula=True), "endpoint")
        assert ("awsllm:format" in {tag["Key"] for tag in endpoint["Tags"]}) is told


def test_cost_counts_instances():
    assert plan(OPEN, instance_count=3).cost.per_hour == 4.5
    scaled = plan(OPEN, autoscaling={"min": 2, "max": 5}).cost
    assert (scaled.per_hour, scaled.per_hour_max) == (3.0, 7.5)


def test_rights_are_narrow():
    made = case("components-to-zero")
    statements = {each["Sid"]: each for each in made.permissions["Statement"]}
    assert set(statements) == {
        "Deploy", "Untag", "Delete", "Invoke", "Find", "Logs", "PassExecutionRole", "Hub", "Catalogue", "Scale",
        "Alarms", "ScalingRole",
    }  # fmt: skip
    assert [sid for sid, each in statements.items() if each["Resource"] == ["*"]] == ["Find"]
    assert statements["PassExecutionRole"]["Resource"] == [ROLE]
    assert statements["PassExecutionRole"]["Condition"] == {
        "StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}
    }
    assert f"arn:aws:sagemaker:us-east-1:111122223333:model/{made.endpoint}-*" in statements["Deploy"]["Resource"]
    assert all("*" not in action for each in statements.values() for action in each["Action"])
    assert "Scale" not in {each["Sid"] for each in plan(OPEN).permissions["Statement"]}


@pytest.mark.parametrize("name", CASES)
def test_the_rights_cover_every_request(name):
    made = case(name)
    allowed = {action for each in made.permissions["Statement"] for action in each["Action"]}
    for step in made.steps:
        assert f"{step.service}:{step.operation}" in allowed
    assert len({each["Sid"] for each in made.permissions["Statement"]}) == len(made.permissions["Statement"])


@pytest.mark.parametrize("given", ["alias/ours", "arn:aws:kms:us-east-1:111122223333:alias/ours"])
def test_an_alias_is_a_condition_and_never_a_resource(given):
    statements = {each["Sid"]: each for each in plan(OPEN, kms=given).permissions["Statement"]}
    named = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/ours"}}
    for sid in ("Key", "KeyGrant"):
        assert statements[sid]["Resource"] == ["arn:aws:kms:us-east-1:111122223333:key/*"]
    assert statements["Key"]["Condition"] == named
    assert statements["KeyGrant"]["Condition"] == {**named, "Bool": {"kms:GrantIsForAWSResource": "true"}}


def test_grants_on_a_key_are_for_the_service_only():
    statements = {each["Sid"]: each for each in plan(OPEN, kms="1234").permissions["Statement"]}
    assert statements["Key"] | {"Action": []} == {
        "Sid": "Key", "Effect": "Allow", "Action": [], "Resource": ["arn:aws:kms:us-east-1:111122223333:key/1234"]
    }  # fmt: skip
    assert statements["KeyGrant"]["Action"] == ["kms:CreateGrant"]
    assert statements["KeyGrant"]["Condition"] == {"Bool": {"kms:GrantIsForAWSResource": "true"}}


def test_the_logs_are_those_of_the_endpoint_and_of_none_whose_name_begins_alike():
    statements = {each["Sid"]: each for each in plan(OPEN, name="chat").permissions["Statement"]}
    group = "arn:aws:logs:us-east-1:111122223333:log-group:/aws/sagemaker/Endpoints/chat"
    assert statements["Logs"]["Resource"] == [f"{group}:*"]
    assert not fnmatch.fnmatchcase(f"{group}2:log-stream:x", statements["Logs"]["Resource"][0])


def test_rights_in_another_partition_and_of_an_asynchronous_endpoint():
    region = "cn-north-1"
    found = msgspec.structs.replace(document(OPEN), region=region)
    made = make_plan(found, {"async_": "s3://ours/answers"}, PlanContext(region=region, prices=PRICES))
    text = json.dumps(made.permissions)
    assert "arn:aws:" not in text
    assert "arn:aws-cn:s3:::ours/answers/*" in text
    assert "arn:aws-cn:iam::*:role/*" in text
    assert "sagemaker:InvokeEndpointAsync" in text


def test_a_plan_without_a_role_can_be_read():
    made = plan(OPEN, context=PlanContext(region=REGION, prices=PRICES))
    assert "ExecutionRoleArn" not in request(made, "model")
    assert any("AWSLLM_SAGEMAKER_ROLE" in warning for warning in made.warnings)


def test_a_plan_reads_well():
    text = str(plan(GATED))
    for word in (GATED, "2.1.0", "ml.g5.2xlarge", "djl-inference:0.34.0", "$1.50 an hour", "NOT accepted", "warning: "):
        assert word in text


# --- refusals --------------------------------------------------------------------------------------------------------

REFUSED = [
    (OPEN, {"serverless": True}, "no GPU"),
    ("example-mms-embedding", {"serverless": True, "instance_type": "ml.m5.xlarge"}, "leave instance_type out"),
    (CPU, {"serverless": True, "components": True}, "leave components out"),
    (CPU, {"serverless": True, "variants": [{"name": "A"}]}, "leave variants out"),
    (CPU, {"serverless": True, "async_": "s3://a/b"}, "leave async_ out"),
    (CPU, {"serverless": True, "vpc": {"subnets": ["a"], "security_groups": ["b"]}}, "leave vpc out"),
    (CPU, {"serverless": True, "data_capture": "s3://a/b"}, "leave data_capture out"),
    (CPU, {"serverless": True, "model_data": "s3://a/b/"}, r"one open \.tar\.gz only"),
    (CPU, {"serverless": True, "autoscaling": {"max": 2}}, "give provisioned_concurrency"),
    (COHERE, {"serverless": True}, "Marketplace"),
    (OPEN, {"autoscaling": {"min": 0, "max": 2}}, "only inference components and asynchronous endpoints"),
    (OPEN, {"autoscaling": {"min": 1, "max": 2, "schedules": [NIGHT]}}, "scale to zero"),
    (OPEN, {"autoscaling": {"min": 3, "max": 2}}, "above autoscaling.max"),
    (OPEN, {"autoscaling": {"max": 2, "metric": "mood"}}, "concurrency or invocations"),
    (OPEN, {"autoscaling": {"max": 2, "target": 0}}, "above 0"),
    (OPEN, {"autoscaling": {"max": 2, "schedules": [{"name": "a", "expression": "daily", "max": 1}]}}, r"cron\(…\)"),
    (OPEN, {"autoscaling": {"max": 2, "schedules": [{"name": "a", "expression": "at(x)"}]}}, "changes nothing"),
    (OPEN, {"components": {"copies": 3}, "autoscaling": {"max": 2}}, "components.copies is 3"),
    (OPEN, {"components": True, "variants": [{"name": "A"}]}, "components or variants"),
    (OPEN, {"components": True, "async_": "s3://a/b"}, "components or async_"),
    (COHERE, {"components": True}, "cannot be an inference component"),
    (COHERE, {"env": {"A": "1"}}, "leave env out"),
    (COHERE, {"model_data": "s3://a/b/"}, "its own artifact"),
    (COHERE, {"enable_network_isolation": False}, "must be isolated"),
    (COHERE, {"instance_type": "ml.g6.12xlarge"}, "no Marketplace package on ml.g6.12xlarge"),
    (OPEN, {"env": {f"K{number}": "" for number in range(100)}}, "above 100"),
    (OPEN, {"variants": [{"name": "A"}, {"name": "A"}]}, "a name of its own"),
    (OPEN, {"variants": [{"name": "A", "weight": 0}]}, "one weight must be above 0"),
    (OPEN, {"variants": [{"name": "A", "count": 0}]}, "count from 1"),
    (OPEN, {"variants": [{"name": "A b"}]}, "a variant's name"),
    (OPEN, {"instance_count": 0}, "instance_count is 0"),
    (OPEN, {"download_timeout": 30}, "from 60 to 3600"),
    (OPEN, {"volume_size_gb": 513}, "from 1 to 512"),
    (OPEN, {"ttl": 0}, "ttl is 0"),
    (OPEN, {"vpc": {"subnets": [], "security_groups": ["b"]}}, "vpc.subnets has 0"),
    (OPEN, {"async_": "answers/"}, "s3:// URI"),
    (OPEN, {"async_": {"output": "s3://a/b", "outptu": 1}}, "no member outptu"),
    (OPEN, {"async_": 3}, "give Async"),
    (OPEN, {"components": {"copies": "two"}}, "components:"),
    (OPEN, {"instance_typ": "ml.g5.xlarge"}, "unknown options: instance_typ"),
    (OPEN, {"env": {"A": 1}}, "env"),
    (OPEN, {"components": {"name": "a b"}}, "the component's name"),
    (OPEN, {"config": "fast"}, "no hosting configuration 'fast'"),
]


@pytest.mark.parametrize(("name", "options", "told"), REFUSED)
def test_what_cannot_work_is_refused(name, options, told):
    with pytest.raises(ValidationError, match=told):
        plan(name, **options)


def test_a_document_of_another_region_is_refused():
    with pytest.raises(ValidationError, match="was read in us-east-1"):
        plan(OPEN, context=PlanContext(region="eu-west-1", prices=PRICES))


def test_a_document_without_image_or_machine_is_refused():
    with pytest.raises(ValidationError, match="no image"):
        plan(document(OPEN, HostingEcrUri=None, HostingInstanceTypeVariants={}))
    with pytest.raises(ValidationError, match="give instance_type"):
        plan(document(OPEN, DefaultInferenceInstanceType=None))


def test_what_is_no_plan_is_refused():
    for data in ("", "{}", "[" * 100_000, b"\xff"):
        with pytest.raises(ValidationError, match="not a plan"):
            Plan.from_json(data)


def test_options_may_be_none():
    options: dict[str, Any] = dict.fromkeys(PlanOptions.__annotations__)
    assert plan(OPEN, **options) == plan(OPEN)


# --- changes ---------------------------------------------------------------------------------------------------------


def test_nothing_exists():
    made = plan(OPEN)
    assert [(each.action, each.resource) for each in made.diff(())] == [
        ("create", step.resource) for step in made.steps
    ]


@pytest.mark.parametrize("name", CASES)
def test_what_exists_as_planned_is_kept(name):
    made = case(name)
    assert [each.action for each in made.diff(made.steps)] == ["keep"] * len(made.steps)


def test_a_changed_model_is_replaced_and_the_endpoint_updated():
    before, after = (
        plan(OPEN, name="harbour"),
        plan(OPEN, name="harbour", env={"A": "1"}, instance_type="ml.g5.12xlarge"),
    )
    found = after.diff(before.steps)
    model, config = after.steps[0].resource, after.steps[1].resource
    assert Change(action="replace", resource=model, before=before.steps[0].resource, after=model) in found
    assert Change(action="replace", resource=model, path="PrimaryContainer.Environment.A", after="1") in found
    path = "ProductionVariants[AllTraffic].InstanceType"
    changed = Change(action="replace", resource=config, path=path, before="ml.g5.2xlarge", after="ml.g5.12xlarge")
    assert changed in found
    moved = Change(
        action="update", resource="harbour", path="EndpointConfigName", before=before.steps[1].resource, after=config
    )
    assert moved in found
    assert {each.action for each in found} == {"replace", "update"}


def test_tags_are_compared_one_by_one_without_the_plans_own():
    before, after = plan(OPEN, name="harbour", tags={"team": "a"}), plan(OPEN, name="harbour", tags={"team": "b"})
    assert [(each.action, each.path, each.before, each.after) for each in after.diff(before.steps)] == [
        ("update", "Tags[team]", "a", "b")
    ] * len(after.steps)


def test_what_the_plan_does_not_have_any_more_is_deleted():
    before = plan(OPEN, name="harbour", components=True, autoscaling={"min": 0, "max": 2})
    after = plan(OPEN, name="harbour", components=True, autoscaling={"min": 1, "max": 2})
    gone = [each for each in after.diff(before.steps) if each.action == "delete"]
    assert [each.resource for each in gone] == ["harbour-wake", "harbour-wake"]
    bounds = [each for each in after.diff(before.steps) if each.path == "MinCapacity"]
    assert [(each.before, each.after) for each in bounds] == [(0, 1)]


def test_a_placeholder_equals_what_it_became():
    made = plan(OPEN, components=True, autoscaling={"min": 0, "max": 2})
    exists = [
        msgspec.structs.replace(step, request={**step.request, "AlarmActions": ["arn:aws:autoscaling:x"]})
        if step.id == "wake-alarm"
        else step
        for step in made.steps
    ]
    assert {each.action for each in made.diff(exists)} == {"keep"}


def test_both_schemas_of_one_model_make_one_plan():
    path = DATA / "jumpstart" / "specs" / f"{OPEN}.json"
    from awsllm.jumpstart.hub.document import read_spec

    found = read_spec(json.loads(path.read_text(encoding="utf-8")), region=REGION)
    assert plan(found).steps == plan(OPEN).steps
    assert spec.https_url("s3://a/b", "cn-north-1") == "https://a.s3.cn-north-1.amazonaws.com.cn/b"


def test_the_documents_are_as_the_hub_would_answer():
    shape = MODELS["sagemaker"].operation_model("DescribeHubContent").output_shape
    for name in NAMES:
        told = description(name)
        assert set(shape.required_members) <= set(told)
        assert set(told) <= set(shape.members)
        assert len(json.dumps(told["HubContentDocument"])) <= 327_680
