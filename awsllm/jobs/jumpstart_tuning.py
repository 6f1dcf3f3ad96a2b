"""A fine-tuning in SageMaker: data to a training job of a JumpStart model, and what it made to an endpoint.

JumpStart's scripts for language models read ``train.jsonl`` beside ``template.json``, which says how a line's members
make a prompt and an answer (docs.aws.amazon.com/sagemaker/latest/dg/jumpstart-foundation-models-fine-tuning, its
instruction-based form; from memory, unproved).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from awsllm.errors import ConfigurationError
from awsllm.jobs.bedrock.uploads import check_region, place_of, put
from awsllm.jobs.data.training import TrainingData
from awsllm.jobs.data.written import JUMPSTART_TEMPLATE, jumpstart_lines
from awsllm.jobs.finetune import TRAINING, TrainedModel, TrainingPlan
from awsllm.jobs.job import JobState, ServiceJob, follow
from awsllm.jobs.tuned import FineTunedModel
from awsllm.jumpstart.deploy.progress import Listener, Pace
from awsllm.jumpstart.deploy.resources import Clients

_COMMON = {"epochs": "epoch", "learning_rate": "learning_rate", "batch_size": "per_device_train_batch_size"}
"""Our words for hyperparameters, and those of JumpStart's scripts."""


class JumpStartLike(Protocol):
    """What is needed of ``client.jumpstart``."""

    @property
    def plan_fine_tuning(self) -> Callable[..., TrainingPlan]: ...

    @property
    def deploy(self) -> Callable[..., Any]: ...


class JumpStartTuningJob(ServiceJob[Any]):
    """A training job whose result is a fine-tuned model; with ``serve``, one that an endpoint serves."""

    def __init__(
        self,
        clients: Clients,
        name: str,
        on_progress: Listener | None = None,
        pace: Pace | None = None,
        *,
        serve: Callable[[TrainedModel], str] | None = None,
    ) -> None:
        super().__init__(TRAINING, clients, name, on_progress, pace)
        self._serve = serve

    def _read(self, end: JobState) -> FineTunedModel:
        trained: TrainedModel = super()._read(end)
        return FineTunedModel(
            name=trained.name,
            base=f"sagemaker:{trained.model_id}",
            where="sagemaker",
            reference=self._serve(trained) if self._serve else None,
            artifacts=trained.model_data,
            metrics=trained.metrics,
            seconds=trained.seconds,
            serve=f"client.jumpstart.deploy({trained.model_id!r}, model_data={trained.model_data!r})",
        )


def plan_jumpstart(
    jumpstart: JumpStartLike, clients: Clients, model: str, data: TrainingData, options: dict[str, Any]
) -> tuple[TrainingPlan, Callable[[], ServiceJob[Any]]]:
    """The plan, and what begins it. ``options`` are those of ``fine_tune``."""
    on_progress, deploy = options.pop("on_progress", None), options.pop("deploy")
    output = options.get("output")
    if not output:
        raise ConfigurationError("fine-tuning in SageMaker needs output=, an s3:// prefix")
    learned, held_out = data.split(options.pop("evaluate", 0.0))
    channels = _files(output, learned, "training") | (_files(output, held_out, "validation") if held_out else {})
    given = {_COMMON[name]: options.pop(name) for name in tuple(_COMMON) if name in options}
    options["hyperparameters"] = {**given, **(options.get("hyperparameters") or {})}
    prefixes = {name: next(iter(files)).rpartition("/")[0] + "/" for name, files in channels.items()}
    plan = jumpstart.plan_fine_tuning(model, data=prefixes, **options)

    def serve(trained: TrainedModel) -> str:
        return str(
            jumpstart.deploy(
                model,
                model_data=trained.model_data,
                accept_eula=bool(options.get("accept_eula")),
                role=options.get("role"),
            ).reference
        )

    def begin() -> ServiceJob[Any]:
        plan.check()
        check_region(clients, output, plan.region)
        for files in channels.values():
            for uri, content in files.items():
                put(clients, uri, content)
        job = JumpStartTuningJob(clients, plan.name, on_progress, serve=serve if deploy else None)
        return follow(job, plan)

    return plan, begin


def _files(output: str, data: TrainingData, channel: str) -> dict[str, dict[str, bytes]]:
    """What goes to S3, of one channel."""
    lines = jumpstart_lines(data)
    where = place_of(output, lines, channel)
    template = msgspec.json.encode(JUMPSTART_TEMPLATE)
    return {channel: {f"{where}/train.jsonl": lines, f"{where}/template.json": template}}
