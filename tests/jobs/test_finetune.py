"""Fine-tuning: requests judged by botocore's model, hyperparameters by the document, runs by an offline account."""

import io
import json
import tarfile
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st

from awsllm.errors import (
    ConfigurationError,
    DeploymentError,
    EulaNotAcceptedError,
    ModelTimeoutError,
    UnsupportedError,
    ValidationError,
)
from awsllm.jobs import hyperparameters
from awsllm.jobs.finetune import TRAINING, TrainedModel, TrainingPlan, plan_fine_tuning
from awsllm.jobs.job import resume, start
from awsllm.jumpstart.deploy.progress import Pace, Progress
from awsllm.jumpstart.hub.document import read_spec
from awsllm.jumpstart.plan.options import Vpc
from awsllm.jumpstart.plan.plan import PlanContext
from awsllm.jumpstart.plan.planner import make_plan
from awsllm.jumpstart.prices import Prices
from tests.support.jumpstart_documents import document
from tests.support.pace import Time
from tests.support.plans import ACCOUNT, REGION, ROLE
from tests.support.watched_aws import WatchedAws

PRICES = Prices.default()
MODEL = "example-finetune-llm"
DATA, OUTPUT = "s3://my-data/train/", "s3://my-models/out"
NewAws = Callable[..., WatchedAws]
SERVICE = boto3.Session("a", "b", region_name=REGION).client("sagemaker").meta.service_model


def plan(model: str = MODEL, changed: dict[str, Any] | None = None, **options: Any) -> TrainingPlan:
    made = {"data": DATA, "output": OUTPUT, "role": ROLE, "accept_eula": True, "prices": PRICES, **options}
    return plan_fine_tuning(document(model, **(changed or {})), **made)


def check(request: dict[str, Any]) -> None:
    report = ParamValidator().validate(request, SERVICE.operation_model("CreateTrainingJob").input_shape)
    assert not report.has_errors(), report.generate_report()


def channel(plan: TrainingPlan, name: str) -> dict[str, Any]:
    return next(one for one in plan.request["InputDataConfig"] if one["ChannelName"] == name)


# --- the plan --------------------------------------------------------------------------------------------------------


def test_the_request() -> None:
    made = plan()
    check(made.request)
    algorithm = made.request["AlgorithmSpecification"]
    assert "huggingface-pytorch-training" in algorithm["TrainingImage"]
    assert algorithm["MetricDefinitions"][0] == {"Name": "tiny:train-loss", "Regex": "train_loss=([0-9.]+)"}
    assert made.hyperparameters["epoch"] == "1"
    assert made.hyperparameters["learning_rate"] == "0.0001"
    assert made.hyperparameters["sagemaker_program"] == "transfer_learning.py"  # container scope is kept
    assert [one["ChannelName"] for one in made.request["InputDataConfig"]] == ["training", "code", "model"]
    assert made.request["ResourceConfig"] == {
        "InstanceType": "ml.g5.12xlarge",
        "InstanceCount": 1,
        "VolumeSizeInGB": 30,  # the document's 256 are for machines that have no disks of their own
    }
    assert made.request["EnableNetworkIsolation"] is True
    assert made.request["Environment"] == {"NCCL_DEBUG": "WARN"}
    assert made.name == made.request["TrainingJobName"]
    assert made.name.endswith(made.digest[:10])


def test_only_the_model_channel_of_a_gated_model_carries_the_licence() -> None:
    made = plan()
    source = channel(made, "model")["DataSource"]["S3DataSource"]
    assert source["S3Uri"].endswith("/training/g5/v1.0.0/train.tar.gz")
    assert source["ModelAccessConfig"] == {"AcceptEula": True}
    assert channel(made, "model")["ContentType"] == "application/x-sagemaker-model"
    for name in ("training", "code"):
        assert "ModelAccessConfig" not in channel(made, name)["DataSource"]["S3DataSource"]
    assert made.eula_accepted


def test_without_acceptance_the_plan_can_be_read_but_not_run(new_aws: NewAws) -> None:
    made = plan(accept_eula=False)
    assert "ModelAccessConfig" not in json.dumps(made.request)
    assert (made.eula_required, made.eula_accepted) == (True, False)
    assert any("accept_eula=True" in warning for warning in made.warnings)
    aws = new_aws()
    with pytest.raises(EulaNotAcceptedError) as caught:
        run(made, aws.clients)
    assert caught.value.url == made.eula_url
    assert aws.sent == []


def test_acceptance_is_not_sent_for_open_models() -> None:
    made = plan(changed={"GatedBucket": False, "HostingEulaUri": None})
    assert "AcceptEula" not in json.dumps(made.request)
    assert not made.eula_required


def test_the_same_call_is_the_same_job_and_a_changed_one_another() -> None:
    assert plan() == plan()
    names = {plan().name, plan(hyperparameters={"epoch": 2}).name, plan(attempt=2).name, plan(output="s3://other").name}
    assert len(names) == 4
    assert plan(tags={"team": "a"}).name == plan().name
    assert TrainingPlan.from_json(plan().to_json()) == plan()


def test_variants_of_family_and_exact_type() -> None:
    made = plan(instance_type="ml.g5.24xlarge")
    assert made.hyperparameters["lora_r"] == "16"
    assert made.request["Environment"] == {"NCCL_DEBUG": "WARN", "NCCL_P2P_DISABLE": "1"}
    assert plan(instance_type="ml.p4d.24xlarge").hyperparameters["lora_r"] == "8"
    assert "/p4d/" in channel(plan(instance_type="ml.p4d.24xlarge"), "model")["DataSource"]["S3DataSource"]["S3Uri"]


def test_gated_weights_of_no_variant() -> None:
    with pytest.raises(UnsupportedError, match=r"no weights to train on ml\.g6\.12xlarge"):
        plan(instance_type="ml.g6.12xlarge")  # two places, one for each family
    one_place = plan("example-gated-lmi-chat", instance_type="ml.g6.12xlarge")
    assert "/training/g5/" in channel(one_place, "model")["DataSource"]["S3DataSource"]["S3Uri"]
    assert any("ml.g6.12xlarge is not among" in warning for warning in one_place.warnings)
    no_variants = plan(changed={"TrainingInstanceTypeVariants": None}, instance_type="ml.g6.12xlarge")
    assert "train-example-finetune-llm" in channel(no_variants, "model")["DataSource"]["S3DataSource"]["S3Uri"]


def test_every_option_reaches_the_request() -> None:
    made = plan(
        data={"training": DATA, "extra": {"S3Uri": "s3://my-data/chat", "S3DataType": "Converse"}},
        validation="s3://my-data/val",
        instance_type="ml.m5.xlarge",
        changed={"TrainingInstanceTypeVariants": None},
        instance_count=2,
        hyperparameters={"epoch": 3, "instruction_tuned": True},
        name="my-job",
        vpc=Vpc(subnets=("subnet-1",), security_groups=("sg-1",)),
        kms="1234abcd-12ab-34cd-56ef-1234567890ab",
        tags={"team": "a"},
        env={"X": "1"},
        max_runtime=3600,
        spot=True,
        max_wait=7200,
        checkpoints="s3://my-models/checkpoints",
        volume_size_gb=300,
        enable_network_isolation=False,
    )
    request = made.request
    check(request)
    assert request["TrainingJobName"] == "my-job"
    assert channel(made, "extra")["DataSource"]["S3DataSource"]["S3DataType"] == "Converse"
    assert channel(made, "validation")["DataSource"]["S3DataSource"]["S3Uri"] == "s3://my-data/val"
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200}
    assert request["EnableManagedSpotTraining"] is True
    assert request["CheckpointConfig"] == {"S3Uri": "s3://my-models/checkpoints"}
    assert request["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    assert request["OutputDataConfig"]["KmsKeyId"] == request["ResourceConfig"]["VolumeKmsKeyId"]
    assert request["ResourceConfig"]["VolumeSizeInGB"] == 300
    assert request["EnableNetworkIsolation"] is False
    assert (made.hyperparameters["epoch"], made.hyperparameters["instruction_tuned"]) == ("3", "True")
    assert {"Key": "team", "Value": "a"} in request["Tags"]
    assert made.cost.per_hour == pytest.approx(2 * (PRICES.per_hour("ml.m5.xlarge", REGION) or 0))
    text = json.dumps([made.permissions, made.role_permissions])
    for action in ("ec2:CreateNetworkInterface", "kms:GenerateDataKey", "iam:PassRole", "ecr:BatchGetImage"):
        assert action in text
    assert "arn:aws:s3:::my-data/train/*" in text


def test_rights_name_the_job_its_log_and_no_more() -> None:
    made = plan(name="Mine", kms="alias/ours", checkpoints="s3://my-models/checkpoints", spot=True)
    caller = {one["Sid"]: one for one in made.permissions["Statement"]}
    assert caller["Job"]["Resource"] == [f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/Mine"]
    assert caller["Logs"]["Resource"] == [f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/sagemaker/TrainingJobs:*"]
    assert caller["PassExecutionRole"]["Resource"] == [ROLE]
    role = {one["Sid"]: one for one in made.role_permissions["Statement"]}
    assert role["Write"]["Resource"] == ["arn:aws:s3:::my-models/checkpoints/*", "arn:aws:s3:::my-models/out/*"]
    assert role["Key"]["Resource"] == [f"arn:aws:kms:{REGION}:{ACCOUNT}:key/*"]
    assert role["Key"]["Condition"] == {"ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/ours"}}


def test_an_instance_with_its_own_storage_takes_no_key() -> None:
    made = plan(kms="1234abcd-12ab-34cd-56ef-1234567890ab")
    assert "VolumeKmsKeyId" not in made.request["ResourceConfig"]
    assert any("in hardware" in warning for warning in made.warnings)


def test_output_compression_and_encryption_follow_the_document() -> None:
    made = plan(changed={"DisableOutputCompression": True, "EncryptInterContainerTraffic": True})
    assert made.request["OutputDataConfig"]["CompressionType"] == "NONE"
    assert made.request["EnableInterContainerTrafficEncryption"] is True
    unsaid = plan(changed={"DisableOutputCompression": None})
    assert unsaid.request["OutputDataConfig"]["CompressionType"] == "GZIP"


def test_training_configurations() -> None:
    changed = {
        "TrainingConfigs": {"fast": {"ComponentNames": ["one"]}, "cheap": {"ComponentNames": ["two"]}},
        "TrainingConfigComponents": {
            "one": {"DefaultTrainingInstanceType": "ml.p4d.24xlarge", "TrainingSupported": False},
            "two": {"MaxRuntimeInSeconds": 99},
        },
        "TrainingConfigRankings": {"overall": {"Rankings": ["fast", "cheap"]}},
    }
    first = plan(changed=changed)
    assert first.request["ResourceConfig"]["InstanceType"] == "ml.p4d.24xlarge"
    assert {"Key": "sagemaker-sdk:jumpstart-training-config-name", "Value": "fast"} in first.request["Tags"]
    assert plan(changed=changed, config="cheap").request["StoppingCondition"] == {"MaxRuntimeInSeconds": 99}
    with pytest.raises(ValidationError, match="fast, cheap"):
        plan(changed=changed, config="best")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"hyperparameters": {"epochs": 2}}, ValidationError, "epochs is unknown to this model; it has epoch"),
        ({"hyperparameters": {"epoch": 0}}, ValidationError, "epoch=0 is below 1"),
        ({"hyperparameters": {"epoch": 1.5}}, ValidationError, "epoch=1.5 is no int"),
        ({"hyperparameters": {"epoch": True}}, ValidationError, "epoch=True is no int"),
        ({"hyperparameters": {"learning_rate": 2}}, ValidationError, "learning_rate=2 is above 1"),
        ({"hyperparameters": {"learning_rate": "nan"}}, ValidationError, "is no float"),
        ({"hyperparameters": {"instruction_tuned": "maybe"}}, ValidationError, "none of True, False"),
        ({"output": "my-bucket/out"}, ValidationError, "s3://BUCKET/PREFIX"),
        ({"data": {"training": "/home/data"}}, ValidationError, "channel training"),
        ({"data": {"model": "s3://abc/def"}}, ValidationError, "the document's own"),
        ({"role": "admin"}, ValidationError, "ARN of a role"),
        ({"role": None}, ConfigurationError, "role="),
        ({"name": "-bad-"}, ValidationError, "the training job's name is '-bad-'"),
        ({"learning_rate": 0.1}, ValidationError, "no option learning_rate"),
        ({"max_wait": 10}, ValidationError, "spot=True"),
        ({"spot": True, "max_wait": 10, "max_runtime": 20}, ValidationError, "at least max_runtime=20"),
        ({"attempt": 0}, ValidationError, "from 1"),
        ({"tags": {str(i): "x" for i in range(50)}}, ValidationError, "at most 50"),
    ],
)
def test_what_is_refused(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        plan(**options)


def test_a_document_of_the_s3_cache() -> None:
    """The other schema: keys in implied buckets, images as aliases of the region."""
    image = "763104351884.dkr.ecr.us-east-1.amazonaws.com/huggingface-pytorch-training:2.0.0"
    spec = {
        "model_id": "example-tuned", "version": "1.0.0", "gated_bucket": True, "training_supported": True,
        "training_artifact_key": "example/train/", "training_script_key": "example/sourcedir.tar.gz",
        "default_training_instance_type": "ml.g5.12xlarge", "supported_training_instance_types": ["ml.g5.12xlarge"],
        "training_volume_size": 100, "training_enable_network_isolation": True,
        "estimator_kwargs": {"encrypt_inter_container_traffic": True, "max_run": 7200},
        "hyperparameters": [{"name": "epoch", "type": "int", "default": 1, "min": 1, "scope": "algorithm"}],
        "training_instance_type_variants": {
            "regional_aliases": {REGION: {"gpu": image}},
            "variants": {
                "g5": {
                    "regional_properties": {"image_uri": "$gpu"},
                    "properties": {"gated_model_key_env_var_value": "example/g5/train.tar.gz"},
                },
            },
        },
    }  # fmt: skip
    made = plan_fine_tuning(
        read_spec(spec, region=REGION), data=DATA, output=OUTPUT, role=ROLE, accept_eula=True, prices=PRICES
    )
    check(made.request)
    assert made.request["AlgorithmSpecification"]["TrainingImage"] == image
    weights = channel(made, "model")["DataSource"]["S3DataSource"]
    assert weights["S3Uri"] == f"s3://jumpstart-private-cache-prod-{REGION}/example/g5/train.tar.gz"
    assert weights["ModelAccessConfig"] == {"AcceptEula": True}
    script = channel(made, "code")["DataSource"]["S3DataSource"]["S3Uri"]
    assert script == f"s3://jumpstart-cache-prod-{REGION}/example/sourcedir.tar.gz"
    assert made.request["StoppingCondition"]["MaxRuntimeInSeconds"] == 7200
    assert made.request["EnableInterContainerTrafficEncryption"] is True


def test_a_model_that_cannot_be_tuned() -> None:
    with pytest.raises(UnsupportedError, match="cannot be fine-tuned"):
        plan("example-cpu-textclassification")


@given(st.dictionaries(st.sampled_from(["epoch", "lora_r"]), st.integers(1, 1000)))
def test_values_within_their_bounds_are_taken(values: dict[str, int]) -> None:
    known = hyperparameters.declared(document(MODEL).content, ())
    resolved = hyperparameters.resolve(known, values)
    assert {name: int(resolved[name]) for name in values} == values


# --- the run ---------------------------------------------------------------------------------------------------------


def run(made: TrainingPlan, clients: Any, timeout: float | None = None, **how: Any) -> TrainedModel:
    return start(TRAINING, made, clients, **how).result(timeout)


@pytest.fixture
def with_data(new_aws: NewAws) -> NewAws:
    """An account with buckets and data to train on, when called with the options of ``mock_aws``."""

    def enter(**options: Any) -> WatchedAws:
        aws = new_aws(buckets=("my-data", "my-models"), **options)
        aws.objects.write("s3://my-data/train/a.jsonl", b'{"instruction":"a","response":"b"}\n' * 3)
        return aws

    return enter


@pytest.fixture
def pace() -> Pace:
    return Time().pace(1)


def test_a_job_runs_to_a_deployable_artifact(with_data: NewAws, pace: Pace) -> None:
    aws, seen = with_data(transitions={"training": 4}), list[Progress]()
    made = plan(changed={"DisableOutputCompression": True}, hyperparameters={"epoch": 2})
    trained = run(made, aws.clients, on_progress=seen.append, pace=pace)
    assert trained.status == "Completed"
    assert trained.model_data == f"{OUTPUT}/{made.name}/output/model/"
    assert trained.hyperparameters["epoch"] == "2"
    assert [one.state for one in seen] == ["starting", "downloading", "training", "uploading", "completed"]
    written = json.loads(aws.objects.read(f"{trained.model_data}hyperparameters.json"))
    assert written == made.hyperparameters
    read = json.loads(aws.objects.read(f"{trained.model_data}training.json"))["channels"]
    assert read["training"]["Lines"] == 3


def test_a_compressed_artifact_is_an_archive(with_data: NewAws, pace: Pace) -> None:
    aws = with_data()
    made = plan(changed={"DisableOutputCompression": None})
    trained = run(made, aws.clients, pace=pace)
    assert trained.model_data == f"{OUTPUT}/{made.name}/output/model.tar.gz"
    with tarfile.open(fileobj=io.BytesIO(aws.objects.read(trained.model_data))) as archive:
        names = set(archive.getnames())
    assert names == {"hyperparameters.json", "training.json"}


def test_metrics_are_those_that_the_log_shows(with_data: NewAws, pace: Pace) -> None:
    aws = with_data()
    metrics = [{"Name": "epochs", "Regex": "hyperparameter epoch=([0-9.]+)"}, {"Name": "loss", "Regex": "loss=(.*)"}]
    trained = run(plan(changed={"TrainingMetrics": metrics}), aws.clients, pace=pace)
    assert trained.metrics == {"epochs": 1.0}


def test_running_a_plan_again_makes_nothing_twice(with_data: NewAws, pace: Pace) -> None:
    aws = with_data()
    first = run(plan(), aws.clients, pace=pace)
    assert run(plan(), aws.clients, pace=pace) == first
    assert aws.operations().count("CreateTrainingJob") == 1


@pytest.mark.parametrize(("data", "words"), [(None, "No objects were found"), (b"", "is empty")])
def test_a_failed_job_says_why_and_shows_its_log(new_aws: NewAws, pace: Pace, data: bytes | None, words: str) -> None:
    aws = new_aws(buckets=("my-data", "my-models"))
    if data is not None:
        aws.objects.write("s3://my-data/train/a.jsonl", data)
    with pytest.raises(DeploymentError, match=words) as caught:
        run(plan(), aws.clients, pace=pace)
    assert words in str(caught.value.reason)
    assert str(caught.value.log_stream).startswith(plan().name)
    assert "Error:" in "\n".join(caught.value.__notes__)
    with pytest.raises(DeploymentError) as again:
        run(plan(), aws.clients, pace=pace)
    assert "attempt=2" in "\n".join(again.value.__notes__)
    assert aws.operations().count("CreateTrainingJob") == 1


def test_another_job_of_the_same_name(with_data: NewAws, pace: Pace) -> None:
    aws = with_data()
    run(plan(name="mine"), aws.clients, pace=pace)
    with pytest.raises(ConfigurationError, match="another training job has the name mine"):
        run(plan(name="mine", hyperparameters={"epoch": 9}), aws.clients, pace=pace)


def test_an_interrupted_wait_leaves_the_job_and_names_it(with_data: NewAws, pace: Pace) -> None:
    aws = with_data(transitions={"training": 3})

    def interrupt(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        run(plan(), aws.clients, on_progress=interrupt, pace=pace)
    assert plan().name in caught.value.__notes__[0]
    assert run(plan(), aws.clients, pace=pace).status == "Completed"
    assert aws.operations().count("CreateTrainingJob") == 1


def test_a_job_is_taken_up_by_its_name_alone(with_data: NewAws, pace: Pace) -> None:
    aws = with_data(transitions={"training": 3})
    start(TRAINING, plan(), aws.clients)
    taken = resume(TRAINING, plan().name, aws.clients, pace=pace)
    trained = taken.result()
    assert trained == run(plan(), aws.clients, pace=pace)
    assert (trained.model_id, trained.region) == (plan().model_id, REGION)


def test_a_timeout_leaves_the_job(with_data: NewAws, pace: Pace) -> None:
    aws = with_data(transitions={"training": 100})
    with pytest.raises(ModelTimeoutError, match="goes on"):
        run(plan(), aws.clients, timeout=5, pace=pace)
    assert start(TRAINING, plan(), aws.clients).state().status == "InProgress"


def test_listing_and_stopping(with_data: NewAws, pace: Pace) -> None:
    aws = with_data(transitions={"training": 50})
    start(TRAINING, plan(), aws.clients)
    start(TRAINING, plan(attempt=2), aws.clients)
    names = {one.name for one in TRAINING.list(aws.clients, status="InProgress")}
    assert names == {plan().name, plan(attempt=2).name}
    assert resume(TRAINING, plan().name, aws.clients).stop()
    with pytest.raises(DeploymentError, match="was stopped: somebody asked for it"):
        run(plan(), aws.clients, pace=pace)
    assert not resume(TRAINING, plan().name, aws.clients).stop()
    assert [one.status for one in TRAINING.list(aws.clients, contains=plan().name)][-1] == "Stopped"
    with pytest.raises(ConfigurationError, match="no training job"):
        resume(TRAINING, "unknown", aws.clients)


def test_a_licence_that_was_not_sent_is_refused_by_the_service(with_data: NewAws, pace: Pace) -> None:
    aws = with_data()
    request = plan(accept_eula=False).request
    with pytest.raises(aws.clients("sagemaker").exceptions.ClientError, match="AcceptEula"):
        aws.clients("sagemaker").create_training_job(**request)


def test_tune_then_plan_the_deployment_of_the_result(new_aws: NewAws, pace: Pace) -> None:
    """To the request that hosts what was trained."""
    aws, seen, made = new_aws(buckets=("my-data", "my-models"), transitions={"training": 3}), list[Progress](), plan()
    aws.objects.write("s3://my-data/train/a.jsonl", b'{"a": 1}\n')
    trained = run(made, aws.clients, on_progress=seen.append, pace=pace)
    assert seen[-1].state == "completed"
    assert trained.model_data == f"{OUTPUT}/{made.name}/output/model/"
    with pytest.raises(DeploymentError, match="No objects were found") as caught:
        run(plan(data="s3://my-data/nothing/"), aws.clients, pace=pace)
    assert "the end of its log" in "\n".join(caught.value.__notes__)
    with pytest.raises(DeploymentError, match="bucket does not exist"):
        run(plan(output="s3://no-such-bucket/out"), aws.clients, pace=pace)
    context = PlanContext(region=REGION, role=ROLE, prices=PRICES, account=None)
    deployment = make_plan(document(MODEL), {"model_data": trained.model_data, "accept_eula": True}, context)
    model = next(step.request for step in deployment.steps if step.operation == "CreateModel")
    assert model["PrimaryContainer"]["ModelDataSource"]["S3DataSource"]["S3Uri"] == trained.model_data


@pytest.mark.parametrize("raced", [False, True])
def test_a_job_without_the_tag_is_somebody_else_s(with_data: NewAws, pace: Pace, raced: bool) -> None:
    """Its weights are not ours to deploy, whether it was there before or came between the look and the request."""
    aws = with_data()
    wanted = plan(name="mine")
    untagged = {name: value for name, value in wanted.request.items() if name != "Tags"}
    aws.clients("sagemaker").create_training_job(**untagged)
    looks = iter(["none"] if raced else [])  # the first look does not see the job

    def late(operation: str, request: dict[str, Any]) -> None:
        if operation == "DescribeTrainingJob":
            request["TrainingJobName"] = next(looks, request["TrainingJobName"])

    aws.before = late
    with pytest.raises(ConfigurationError, match="another training job has the name mine"):
        run(wanted, aws.clients, pace=pace)
    assert aws.operations().count("CreateTrainingJob") == (2 if raced else 1)
