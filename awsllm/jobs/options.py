"""The options of ``fine_tune``, wherever it runs."""

from __future__ import annotations

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
    method: (local) "lora", "full" or "dpo".
    steps: (local) instead of epochs.
    schedule: (local) of the learning rate: "cosine", "wsd", "linear" or "constant".
    length: (local) tokens of a row; what is longer is cut.
    rank: (local) of the adapter.
    alpha: (local) what the adapter gives is multiplied by alpha / rank; 2 * rank by itself.
    dropout: (local) of the adapter's input.
    accumulation: (local) batches of a step.
    save_every: (local) steps between checkpoints.
    seed: (local) of order, adapter and dropout.
    device: (local) "cpu", "cuda" and so on.
    checkpointed: (local) less memory, for a third more time.
    merged: (local) whether a model is written beside the adapter.
    output: (AWS) the s3:// prefix under which data are put and the job writes.
    role: (AWS) the ARN of the role that the job has; else AWSLLM_BEDROCK_ROLE or AWSLLM_SAGEMAKER_ROLE.
    deploy: (AWS) how what was trained is served: in Bedrock "on-demand" (paid by the token; so by itself),
        "provisioned" (by the hour) or False; in SageMaker True (an endpoint, by the hour) or False, to be said.
    hyperparameters: (AWS) further ones, by the service's names.
    tags: (AWS) of the job and the model.
    kms: (AWS) the key that encrypts what is made.
    customization: (Bedrock) "fine-tuning", "continued-pre-training", "distillation" or "reinforcement"; it follows
        from the data, a teacher or a grader where it is not said.
    validation: (Bedrock) data that are only looked at.
    teacher: (Bedrock) the model that answers, of distillation.
    max_response: (Bedrock) tokens of the teacher's answers.
    grader: (Bedrock) the ARN of the Lambda function that judges, of reinforcement.
    vpc: (AWS) where the job runs.
    units: (Bedrock) model units of provisioned throughput.
    instance_type: (SageMaker) the machine that trains.
    accept_eula: (SageMaker) the licence of a gated model.
    max_runtime: (SageMaker) seconds.
    spot: (SageMaker) capacity that may be taken away.
    """

    name: str | None
    attempt: int
    epochs: float | None
    learning_rate: float | None
    batch_size: int | None
    warm_up: int | None
    evaluate: float
    on_progress: Listener | None
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
    merged: bool
    output: str | None
    role: str | None
    deploy: Literal["on-demand", "provisioned"] | bool
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
