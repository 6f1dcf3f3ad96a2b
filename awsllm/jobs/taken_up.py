"""A training job of SageMaker's that was taken up by its name or its handle, in any process.

What it is follows from what SageMaker says of it, and from its handle: a serverless customisation, a script of one's
own, a fine-tuning of JumpStart's, or a training job that somebody else made. With the handle of a job that was to be
deployed, ``result`` serves what was trained, as that job's own would have; by its name alone ``deploy`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from awsllm.errors import ConfigurationError, UnsupportedError, ValidationError
from awsllm.jobs.finetune import TRAINING, TrainedModel
from awsllm.jobs.job import JobState, ServiceJob
from awsllm.jobs.jumpstart_tuning import JumpStartTuningJob
from awsllm.jobs.script import OWN, ScriptJob
from awsllm.jobs.served import ServedBy, check_served, make_endpoint
from awsllm.jobs.serverless_job import ServerlessJob, hub_base
from awsllm.jumpstart.deploy.progress import Listener, Pace
from awsllm.jumpstart.deploy.resources import Clients
from awsllm.types import JsonObject

if TYPE_CHECKING:
    from awsllm.jobs.served import JumpStartLike
    from awsllm.jobs.tuned import FineTunedModel

_SERVERLESS = "ServerlessJobConfig"


class TakenUpTraining(ServiceJob[Any]):
    """``kept`` are the options of its handle. ``jumpstart`` is what makes endpoints."""

    def __init__(
        self,
        clients: Clients,
        name: str,
        on_progress: Listener | None = None,
        pace: Pace | None = None,
        *,
        kept: JsonObject,
    ) -> None:
        super().__init__(TRAINING, clients, name, on_progress, pace)
        self.jumpstart: Callable[[], JumpStartLike] | None = None
        self._options = dict(kept)

    def _kept(self) -> JsonObject:
        return self._options

    def deploy(self, way: ServedBy = True) -> FineTunedModel:
        """Have the trained model served: by an endpoint (True), which costs by the hour until it is deleted, or by
        Bedrock. Waits for both."""
        if way is False:
            raise ValidationError("deploy=False serves nothing: result() gives what was trained")
        self._options["deploy"] = way
        served: FineTunedModel = self.result()
        return served

    def _read(self, end: JobState) -> Any:
        if end.outcome != "completed":
            raise self.failure(end)
        way: ServedBy = self._options.get("deploy", False)
        if _SERVERLESS in end.description:
            check_served(hub_base(end.description), way)
            hosted = ServerlessJob(
                self._clients, self.name, pace=self._pace, served=way, host=lambda weights: self._host(end, weights)
            )
            return hosted._read(end)
        trained: TrainedModel = super()._read(end)
        tuned = self._options.get("tuned")
        if tuned == "script" or trained.model_version == OWN:
            return self._of_script(end, way)
        if not way and tuned is None:
            return trained
        return self._of_jumpstart(end, way)

    def _of_script(self, end: JobState, way: ServedBy) -> FineTunedModel:
        model = ScriptJob(self._clients, self.name, pace=self._pace)._read(end)
        if way:
            raise UnsupportedError(f"nothing is known here of what a script writes: {model.serve}")
        return model

    def _of_jumpstart(self, end: JobState, way: ServedBy) -> FineTunedModel:
        if way not in (True, False):
            raise UnsupportedError(f"{self.name} is served by an endpoint: deploy(True)")

        def serve(trained: TrainedModel) -> str:
            if trained.model_id is None:
                raise UnsupportedError(f"{self.name} does not say which model it trained: nothing here can serve it")
            return self._host(end, trained.model_data, trained.model_id)

        hosted = JumpStartTuningJob(self._clients, self.name, pace=self._pace, serve=serve if way else None)
        return hosted._read(end)

    def _host(self, end: JobState, weights: str, model: str | None = None) -> str:
        """An endpoint of weights in S3, and its reference. The licence was accepted for the training."""
        if self.jumpstart is None:
            raise ConfigurationError(f"nothing here can make an endpoint of {weights}")
        accepted = bool(self._options.get("accept_eula")) or any(_accepted(end.description))
        how = {"accept_eula": accepted, "role": end.description.get("RoleArn")}
        return make_endpoint(self.jumpstart(), model or hub_base(end.description), self.name, weights, how)


def _accepted(described: JsonObject) -> Iterator[bool]:
    """Each licence that the job's request accepted."""
    yield bool((described.get(_SERVERLESS) or {}).get("AcceptEula"))
    for channel in described.get("InputDataConfig") or ():
        source = channel["DataSource"].get("S3DataSource") or {}
        yield bool((source.get("ModelAccessConfig") or {}).get("AcceptEula"))
