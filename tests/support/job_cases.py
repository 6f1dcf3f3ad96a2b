"""A job of each kind, begun as its user would, over the offline AWS: what the test of the whole life goes through.

``begin`` may be called twice and means one job; ``creates`` is the operation that makes it, and may be performed once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from awsllm.aws import control
from awsllm.aws.session import AwsSession
from awsllm.client import Client
from awsllm.jobs.asynchronous import AsyncInference
from awsllm.jobs.batch.bedrock import MODEL_INVOCATION
from awsllm.jobs.bedrock import serving
from awsllm.jobs.bedrock.evaluation import EVALUATION
from awsllm.jobs.job import JobPlan, ServiceJob, start
from awsllm.jobs.sessions.kind import SESSIONS
from awsllm.jobs.transform import TRANSFORM, plan_transform
from awsllm.jumpstart.plan.plan import Cost
from awsllm.jumpstart.tags import PLAN_TAG
from tests.support import tiny_chat
from tests.support.bedrock_account import CLAUDE, CLAUDE_BODY, NOVA, ROLE
from tests.support.sagemaker_account import client as boto

CHATS = [{"prompt": f"Where? {n}", "completion": "Merrow"} for n in range(6)]
IN_AWS: Any = {"output": "s3://data/out", "role": ROLE}
REGION = "us-east-1"
TAG = [{"key": PLAN_TAG, "value": "d1"}]


HUB_MODEL = "arn:aws:sagemaker:us-east-1:aws:hub-content/SageMakerPublicHub/Model/a-model/1.0.0"
SESSION = AwsSession(region=REGION)


def clients(service: str) -> Any:
    return control.client(service, SESSION)


def planned(name: str, request: dict[str, Any]) -> JobPlan:
    """Of a kind whose plans another room makes."""
    return JobPlan(region=REGION, name=name, request=request, digest="d1", cost=Cost(per_hour=None), permissions={})


def put(key: str, *records: Any) -> str:
    boto("s3").put_object(Bucket="data", Key=key, Body="\n".join(map(json.dumps, records)).encode())
    return f"s3://data/{key}"


def local(client: Client, folder: Path) -> ServiceJob[Any]:
    base = folder / "base"
    base.mkdir(exist_ok=True)
    name = f"local:{base / 'model.gguf'}" if (base / "model.gguf").exists() else tiny_chat.write(base)
    return client.fine_tune(name, CHATS, steps=3, rank=2, batch_size=3)


def customization(client: Client, folder: Path) -> ServiceJob[Any]:
    return client.fine_tune(f"bedrock:{NOVA}", CHATS, **IN_AWS)


def trained(client: Client) -> str:
    return str(client.fine_tune(f"bedrock:{NOVA}", CHATS, deploy=False, name="trained", **IN_AWS).result().artifacts)


def imported(client: Client, folder: Path) -> ServiceJob[Any]:
    model = folder / "model"
    model.mkdir(exist_ok=True)
    for name in ("config.json", "tokenizer.json"):
        (model / name).write_text('{"model_type": "llama"}')
    (model / "model.safetensors").write_text("weights")
    return client.jobs.import_model(model, **IN_AWS)


def copied(client: Client, folder: Path) -> ServiceJob[Any]:
    return client.jobs.copy_model(trained(client), region="us-west-2", name="copied")


def served(way: serving.Serving) -> Callable[[Client, Path], ServiceJob[Any]]:
    def begin(client: Client, folder: Path) -> ServiceJob[Any]:
        reference = serving.serve(clients, trained(client), "mine", way)
        return client.jobs.get(reference)

    return begin


def evaluated(client: Client, folder: Path) -> ServiceJob[Any]:
    uri = put("capitals.jsonl", {"prompt": "Capital of France?", "referenceResponse": "Paris"})
    dataset = {"name": "capitals", "datasetLocation": {"s3Uri": uri}}
    one = {"taskType": "QuestionAndAnswer", "dataset": dataset, "metricNames": ["Builtin.Accuracy"]}
    request = {
        "jobName": "judged",
        "roleArn": ROLE,
        "evaluationConfig": {"automated": {"datasetMetricConfigs": [one]}},
        "inferenceConfig": {"models": [{"bedrockModel": {"modelIdentifier": NOVA}}]},
        "outputDataConfig": {"s3Uri": "s3://data/out/"},
        "jobTags": TAG,
        "clientRequestToken": "judged" * 8,
    }
    return start(EVALUATION, planned("judged", request), clients)


def batch(client: Client, folder: Path) -> ServiceJob[Any]:
    """Run here, by single calls."""
    client.batch(f"bedrock:{NOVA}", ["a", "b", "c"], output=str(folder / "out.jsonl"), where="calls").wait()
    return client.jobs.get(str(folder / "out.jsonl"))


def invoked(client: Client, folder: Path) -> ServiceJob[Any]:
    """Bedrock's batch inference."""
    uri = put("in.jsonl", {"recordId": "R0000000001", "modelInput": CLAUDE_BODY})
    request = {
        "jobName": "nightly",
        "roleArn": ROLE,
        "modelId": CLAUDE,
        "inputDataConfig": {"s3InputDataConfig": {"s3Uri": uri}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://data/out/"}},
        "tags": TAG,
        "clientRequestToken": "nightly",
    }
    return start(MODEL_INVOCATION, planned("nightly", request), clients)


def transformed(client: Client, folder: Path) -> ServiceJob[Any]:
    chat = {"messages": [{"role": "user", "content": "Hello"}]}
    put("records/a.jsonl", chat)
    image = "763104351884.dkr.ecr.us-east-1.amazonaws.com/vllm:0.11.0-gpu-py312"
    container = {"Image": image, "ModelDataUrl": "s3://data/model.tar.gz"}
    model: Any = {"ModelName": "served", "ExecutionRoleArn": ROLE, "PrimaryContainer": container}
    with suppress(Exception):  # it is there already
        boto("sagemaker").create_model(**model)
    options: Any = {"input": "s3://data/records/", "output": "s3://data/answers", "instance_type": "ml.g5.2xlarge"}
    return start(TRANSFORM, plan_transform(model, region=REGION, **options), clients)


def filmed(client: Client, folder: Path) -> ServiceJob[Any]:
    reel = "bedrock:amazon.nova-reel-v1:1"
    return client.generate_video(reel, "a cat", output="s3://data/films", token="one-film")


def called(client: Client, folder: Path) -> ServiceJob[Any]:
    """A call of an asynchronous endpoint, as another process takes it up; the second is told of the first."""
    note = folder / "call.json"
    if not note.exists():
        sagemaker = boto("sagemaker")
        sagemaker.create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "image"})
        variant: Any = {"VariantName": "AllTraffic", "ModelName": "m", "InstanceType": "ml.g5.xlarge"}
        sagemaker.create_endpoint_config(
            EndpointConfigName="c",
            ProductionVariants=[{**variant, "InitialInstanceCount": 1}],
            AsyncInferenceConfig={"OutputConfig": {"S3OutputPath": "s3://data/answered"}},
        )
        sagemaker.create_endpoint(EndpointName="ep", EndpointConfigName="c")
        result = AsyncInference("ep", clients).invoke({"messages": [{"role": "user", "content": "Hello"}]})
        note.write_bytes(result.to_json())
    return client.jobs.load(note)


def tuned(client: Client, folder: Path) -> ServiceJob[Any]:
    """A training job of SageMaker's."""
    options: Any = {**IN_AWS, "accept_eula": True, "deploy": False}
    return client.fine_tune("sagemaker:example-finetune-llm", CHATS, **options)


def session(client: Client, folder: Path) -> ServiceJob[Any]:
    """A training session, which is over when somebody stops it."""
    request = {
        "TrainingSessionName": "mine",
        "LoraConfig": {"Rank": 4, "Alpha": 8},
        "RoleArn": ROLE,
        "ModelConfig": {"BaseModelArn": HUB_MODEL, "AcceptEula": True},
        "OutputConfig": {"S3Location": {"Path": "s3://data/sessions/"}},
        "Tags": [{"Key": PLAN_TAG, "Value": "d1"}],
    }
    job = start(SESSIONS, planned("mine", request), clients)
    job.stop()
    return job


class JobCase(NamedTuple):
    """``ends`` is what the result shows of itself, ``ended`` what ``stop`` answers once it is over."""

    begin: Callable[[Client, Path], ServiceJob[Any]]
    noun: str
    creates: str | None
    ends: Callable[[Any], bool]
    ended: bool | type[Exception] = False
    is_listed: bool = True
    actual: float | None = None


def _reference(part: str) -> Callable[[Any], bool]:
    return lambda made: part in str(made.reference)


def _of_sagemaker(made: Any) -> bool:
    return made.where == "sagemaker" and str(made.artifacts).startswith("s3://data/out/")


CASES: Mapping[str, JobCase] = {
    "local": JobCase(local, "local training", None, _reference("local:/"), actual=0.0),
    "customization": JobCase(
        customization, "customization job", "CreateModelCustomizationJob", _reference(":custom-model-deployment/")
    ),
    "import": JobCase(imported, "import job", "CreateModelImportJob", _reference(":imported-model/")),
    "copy": JobCase(copied, "copy job", "CreateModelCopyJob", lambda made: ":us-west-2:" in str(made.artifacts)),
    "deployment": JobCase(
        served("on-demand"), "custom model deployment", "CreateCustomModelDeployment",
        _reference(":custom-model-deployment/"), ended=True,
    ),
    "provisioned": JobCase(
        served("provisioned"), "provisioned throughput", "CreateProvisionedModelThroughput",
        _reference(":provisioned-model/"), ended=True,
    ),
    "evaluation": JobCase(evaluated, "evaluation job", "CreateEvaluationJob", lambda made: made.name == "judged"),
    "batch": JobCase(batch, "batch", None, lambda made: (made.succeeded, made.total) == (3, 3)),
    "batch inference": JobCase(
        invoked, "batch inference job", "CreateModelInvocationJob", lambda made: made.succeeded == 1
    ),
    "transform": JobCase(
        transformed, "transform job", "CreateTransformJob", lambda made: made.output == "s3://data/answers"
    ),
    "video": JobCase(filmed, "asynchronous invocation", "StartAsyncInvoke", lambda made: made.uri.endswith(".mp4")),
    "endpoint call": JobCase(
        called, "asynchronous endpoint call", "InvokeEndpointAsync", lambda made: "choices" in made, is_listed=False
    ),
    "session": JobCase(session, "training session", "CreateTrainingSession", lambda made: made.base == HUB_MODEL),
    "training": JobCase(tuned, "training job", "CreateTrainingJob", _of_sagemaker),
}  # fmt: skip
