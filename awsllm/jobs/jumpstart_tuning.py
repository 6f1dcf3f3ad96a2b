"""A fine-tuning in SageMaker: data to a training job of a JumpStart model, and what it made to an endpoint.

JumpStart's scripts for language models take instructions as pairs of prompt and response in JSON files of a folder
(docs.aws.amazon.com/sagemaker/latest/dg, jumpstart-foundation-models-fine-tuning-instruction-based, read 2026-11-27):
``train.jsonl``, and ``template.json``, which says how a line's members make a prompt and an answer. The form of these
two stands on pages that it links; it was not seen there, and is not proved against AWS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from awsllm.aws import iam
from awsllm.aws.iam import Arns
from awsllm.errors import ConfigurationError
from awsllm.jobs.bedrock import roles
from awsllm.jobs.bedrock.uploads import check_region, place_of, put
from awsllm.jobs.data.training import TrainingData
from awsllm.jobs.data.written import JUMPSTART_TEMPLATE, jumpstart_lines
from awsllm.jobs.finetune import TRAINING, TrainedModel, TrainingPlan
from awsllm.jobs.job import JobState, ServiceJob, follow, noting
from awsllm.jobs.served import JumpStartLike, make_endpoint, serving_rights, with_rights
from awsllm.jobs.tuned import FineTunedModel
from awsllm.jumpstart.deploy.progress import Listener, Pace
from awsllm.jumpstart.deploy.resources import Clients
from awsllm.types import JsonObject

_COMMON = {"epochs": "epoch", "learning_rate": "learning_rate", "batch_size": "per_device_train_batch_size"}
"""Our words for hyperparameters, and those of JumpStart's scripts."""


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
        accept_eula: bool = False,
    ) -> None:
        super().__init__(TRAINING, clients, name, on_progress, pace)
        self._serve, self._accepted = serve, accept_eula

    def _kept(self) -> JsonObject:
        return {"tuned": "jumpstart", "deploy": self._serve is not None, "accept_eula": self._accepted}

    def _way(self, trained: TrainedModel) -> str:
        """How what nothing serves is served."""
        return f"client.jobs.get({trained.name!r}).deploy() has an endpoint serve it"

    def _read(self, end: JobState) -> FineTunedModel:
        trained: TrainedModel = super()._read(end)
        with noting(self._trained()):
            reference = self._serve(trained) if self._serve else None
        return FineTunedModel(
            name=trained.name,
            base=f"sagemaker:{trained.model_id}",
            where="sagemaker",
            reference=reference,
            artifacts=trained.model_data,
            metrics=trained.metrics,
            seconds=trained.seconds,
            serve=self._way(trained),
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

    role, accepted = plan.request["RoleArn"], bool(options.get("accept_eula"))
    uris = [uri for files in channels.values() for uri in files]
    arns = Arns(plan.region, iam.account_of(role))
    job = {"name": plan.name, "output": output, "role": role}
    more = [
        *roles.uploading(arns, uris, output),
        *serving_rights(jumpstart, jumpstart.get(model), job, bool(deploy)),
    ]
    plan = msgspec.structs.replace(plan, permissions=with_rights(plan.permissions, more))

    def serve(trained: TrainedModel) -> str:
        return make_endpoint(
            jumpstart, model, trained.name, trained.model_data, {"accept_eula": accepted, "role": role}
        )

    def begin() -> ServiceJob[Any]:
        plan.check()
        check_region(clients, output, plan.region)
        for files in channels.values():
            for uri, content in files.items():
                put(clients, uri, content)
        served = serve if deploy else None
        return follow(JumpStartTuningJob(clients, plan.name, on_progress, serve=served, accept_eula=accepted), plan)

    return plan, begin


def _files(output: str, data: TrainingData, channel: str) -> dict[str, dict[str, bytes]]:
    """What goes to S3, of one channel."""
    lines = jumpstart_lines(data)
    where = place_of(output, lines, channel)
    template = msgspec.json.encode(JUMPSTART_TEMPLATE)
    return {channel: {f"{where}/train.jsonl": lines, f"{where}/template.json": template}}
