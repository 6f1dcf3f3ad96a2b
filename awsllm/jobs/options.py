"""The options of ``fine_tune``, wherever it runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from awsllm.jobs.bedrock.customization import CustomizationType
    from awsllm.jobs.data.training import DataLike
    from awsllm.jumpstart.deploy.progress import Listener


class FineTuningOptions(TypedDict, total=False):
    """The options of ``fine_tune``.

    name: the job's and the model's. Unset: it follows from what is done, so that the same call is the same job.
    attempt: 2, 3 and so on: to do again what failed or was stopped.
    epochs: how often each example is seen.
    learning_rate: the largest.
    batch_size: examples, or rows of them, of a step.
    warm_up: steps until the learning rate is whole.
    evaluate: the share of the data that is held out, to be looked at only.
    on_progress: hears of each new state, as a Progress.
    deadline: seconds within which it shall be done: what is known to take longer is refused, or another base taken.
    max_cost: US dollars that training may cost: what costs more, or has no known price, is refused, too.
    method: "lora", "full" or "dpo", locally and in SageMaker's serverless customisation.
    steps: (local) instead of epochs.
    schedule: (local) of the learning rate: "cosine", "wsd", "linear" or "constant".
    length: tokens of a row (local; what is longer is cut), or of the longest example (SageMaker, serverless).
    rank: (local) of the adapter.
    alpha: (local) what the adapter gives is multiplied by alpha / rank; 2 * rank by itself.
    dropout: (local) of the adapter's input.
    accumulation: (local) batches of a step.
    save_every: (local) steps between checkpoints.
    seed: (local) of order, adapter and dropout.
    device: (local) "cpu", "cuda" and so on.
    checkpointed: (local) less memory, for a third more time.
    memory: (local) "ignore" tries what this machine seems to have no memory for; else it is refused before it begins.
    precision: (local) in which linear maps compute: "float32" or "bfloat16"; weights stay float32.
    merged: (local) whether a model is written beside the adapter.
    output: (AWS) the s3:// prefix under which data are put and the job writes.
    role: (AWS) the ARN of the role that the job has; else AWSLLM_BEDROCK_ROLE or AWSLLM_SAGEMAKER_ROLE.
    deploy: (AWS) how what was trained is served: in Bedrock "on-demand" (paid by the token; so by itself),
        "provisioned" (by the hour) or False; in SageMaker True (an endpoint, by the hour), "bedrock" (of a serverless
        customisation) or False, to be said.
    hyperparameters: (AWS) further ones, by the service's names.
    tags: (AWS) of the job and the model.
    kms: (AWS) the key that encrypts what is made.
    customization: (Bedrock) "fine-tuning", "continued-pre-training", "distillation" or "reinforcement"; it follows
        from the data, a teacher or a grader where it is not said.
    validation: (Bedrock) data that are only looked at.
    teacher: (Bedrock) the model that answers, of distillation.
    max_response: (Bedrock) tokens of the teacher's answers.
    grader: (AWS) what judges, of reinforcement: in Bedrock the ARN of a Lambda function, in SageMaker of an evaluator.
    vpc: (AWS) where the job runs.
    units: (Bedrock) model units of provisioned throughput.
    instance_type: (SageMaker) the machine that trains.
    accept_eula: (SageMaker) the licence of a gated model.
    max_runtime: (SageMaker) seconds.
    spot: (SageMaker) capacity that may be taken away.
    technique: (SageMaker) "sft", "dpo", "rlvr" or "rlaif": a serverless customisation, on machines that nobody chooses.
    model_package_group: (SageMaker, serverless) where the model becomes a version; made if it is not there.
    model_package: (SageMaker, serverless) the ARN of a version to go on with.
    mlflow: (SageMaker, serverless) the ARN of where metrics go.
    script: (SageMaker) a training script of one's own, or a folder with one, which image= runs.
    entry: (SageMaker, script) the file of the folder that is run; "train.py" by itself.
    image: (SageMaker, script) the container, whose toolkit runs the script: one of AWS's for PyTorch or Hugging Face.
    instance_count: (SageMaker, script) machines; of several, torchrun is told of all.
    checkpoints: (SageMaker, script) the s3:// prefix that /opt/ml/checkpoints is kept in; with spot= by itself.
    max_wait: (SageMaker, script) seconds, the run's too, that spot capacity is waited for.
    env: (SageMaker, script) variables of the container.
    metrics: (SageMaker, script) patterns by name: what they find in the log is a metric.
    """

    name: str | None
    attempt: int
    epochs: float | None
    learning_rate: float | None
    batch_size: int | None
    warm_up: int | None
    evaluate: float
    on_progress: Listener | None
    deadline: float | None
    max_cost: float | None
    method: Literal["lora", "full", "dpo"] | None
    steps: int | None
    schedule: Literal["cosine", "wsd", "linear", "constant"]
    length: int
    rank: int
    alpha: float | None
    dropout: float
    accumulation: int
    save_every: int
    seed: int
    device: str
    checkpointed: bool
    memory: Literal["check", "ignore"]
    precision: Literal["float32", "bfloat16"]
    merged: bool
    output: str | None
    role: str | None
    deploy: Literal["on-demand", "provisioned", "bedrock"] | bool
    hyperparameters: Mapping[str, Any] | None
    tags: Mapping[str, str] | None
    kms: str | None
    customization: CustomizationType | None
    validation: DataLike | None
    teacher: str | None
    max_response: int | None
    grader: str | None
    vpc: Mapping[str, Any] | None
    units: int
    instance_type: str | None
    accept_eula: bool
    max_runtime: int | None
    spot: bool
    technique: str | None
    model_package_group: str | None
    model_package: str | None
    mlflow: str | None
    script: str | os.PathLike[str] | None
    entry: str
    image: str | None
    instance_count: int
    checkpoints: str | None
    max_wait: int | None
    env: Mapping[str, str] | None
    metrics: Mapping[str, str] | None
