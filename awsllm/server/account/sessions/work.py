"""The operations of a session, one after another: training operations by their numbers, samples as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from awsllm.errors import AwsllmError
from awsllm.server.account.account import Region
from awsllm.server.account.jobs import JobFailure
from awsllm.server.account.sessions import packages
from awsllm.server.account.sessions.life import places, unblock
from awsllm.server.account.sessions.records import WORKING, SessionOperation, TrainingSessionRecord, operations
from awsllm.types import JsonObject
from awsllm.types.training import LOSS_METRIC
from awsllm.wire import training_sessions as wire
from awsllm.wire.reading import required

if TYPE_CHECKING:
    from awsllm.jobs.sessions.local import LocalSession


def pump(region: Region, record: TrainingSessionRecord) -> None:
    """Do what is due, unless somebody does."""
    if record.arn not in region.account.running and _next(region, record) is not None:
        region.account.perform(record.arn, partial(_drain, region, record))
    unblock(region, record)


def _next(region: Region, record: TrainingSessionRecord) -> SessionOperation | None:
    if record.status not in WORKING:
        return None
    waiting = (one for one in operations(region, record) if one.status == "Pending")
    return next((one for one in waiting if one.number in (0, record.done + 1)), None)


def _drain(region: Region, record: TrainingSessionRecord) -> None:
    while True:
        with region.account.lock:
            operation, place = _next(region, record), places(region.account).get(record.arn)
            if operation is None or place is None:
                unblock(region, record)
                return
            operation.status = "InProgress"
            record.done = operation.number or record.done
        status, result, reason = _outcome(region, record, place, operation)
        with region.account.lock:
            operation.status, operation.result, operation.reason = status, result, reason
            operation.config, record.used = {}, region.now()


def _outcome(
    region: Region, record: TrainingSessionRecord, place: LocalSession, operation: SessionOperation
) -> tuple[str, JsonObject | None, str | None]:
    """How it ends: its status, its result, why it failed."""
    [(kind, config)] = [(name, value) for name, value in operation.config.items() if value is not None]
    try:
        return "Completed", {kind: _DOES[kind](_Doing(region, record, place), config)}, None
    except AwsllmError as error:
        return "Failed", None, error.message
    except JobFailure as failure:
        return "Failed", None, str(failure)
    except Exception as error:
        return "Failed", None, f"InternalServerError: {type(error).__name__}"


class _Doing:
    """One operation of a session, at work."""

    def __init__(self, region: Region, record: TrainingSessionRecord, place: LocalSession) -> None:
        self.region, self.record, self.place = region, record, place

    def count(self, **tokens: int) -> None:
        """What is billed."""
        with self.region.account.lock:
            for name, number in tokens.items():
                self.record.tokens[name] = self.record.tokens.get(name, 0) + number

    # --- training ----------------------------------------------------------------------------------------------------

    def forward(self, config: JsonObject, *, backward: bool = False) -> JsonObject:
        data, loss, settings = wire.decode_pass(config)
        found = self.place.run(data, loss, settings, backward=backward)
        self.count(TrainingTokenCount=found.tokens)
        metrics = {LOSS_METRIC: found.metrics["loss:mean"], "global_token_num": float(found.tokens)}
        return {**wire.encode_pass_result(found), "metrics": metrics}

    def forward_backward(self, config: JsonObject) -> JsonObject:
        return self.forward(config, backward=True)

    def optimizer_step(self, config: JsonObject) -> JsonObject:
        adam = wire.decode_step(config)
        found = self.place.step(adam)
        return {"metrics": {"actor/lr": adam.learning_rate, "actor/grad_norm": found["gradient_norm"]}}

    def save_weights(self, config: JsonObject) -> JsonObject:
        return self._saved(config, checkpoint=False)

    def save_state(self, config: JsonObject) -> JsonObject:
        return self._saved(config, checkpoint=True)

    def _saved(self, config: JsonObject, *, checkpoint: bool) -> JsonObject:
        arn = packages.save(self.region, self.record, self.place, config, checkpoint=checkpoint)
        self.record.sampling = arn
        return {"modelPackageArn": arn}

    def load_state(self, config: JsonObject) -> JsonObject:
        with packages.fetched(self.region, config["modelPackageArn"], state=True) as folder:
            self.place.load_state(str(folder), with_optimizer=config["loadOptimizer"])
        return {}

    # --- samples -----------------------------------------------------------------------------------------------------

    def sample(self, config: JsonObject) -> JsonObject:
        prompt, settings, package = wire.decode_sample(config)
        with self._weights(package):
            drawn = self.place.sample(prompt, settings)
            told = wire.encode_sampled(drawn, len(prompt)) | dict(self._of_the_prompt(prompt, config))
        self.count(PrefillTokenCount=len(prompt), SampleTokenCount=sum(len(each.tokens) for each in drawn))
        return told

    def _of_the_prompt(self, prompt: tuple[int, ...], config: JsonObject) -> Iterator[tuple[str, list[object]]]:
        if config.get("includePromptLogprobs"):
            # Of all tokens but the first: unlike computeLogprobs', AWS's SDK takes no null among these.
            yield "promptLogprobs", list(self.place.logprobs(prompt))
        if (count := config.get("topkPromptLogprobs") or 0) > 0:
            rows = self.place.likeliest(prompt, count)
            told = [[{"tokenId": token, "logprob": logprob} for token, logprob in row] for row in rows]
            yield "topkPromptLogprobs", list(told)

    def compute_logprobs(self, config: JsonObject) -> JsonObject:
        tokens = wire.decode_tokens(required(config, "prompt", dict))
        with self._weights(config.get("modelPackageArn")):
            found = self.place.logprobs(tokens)
        self.count(PrefillTokenCount=len(tokens))
        return wire.encode_scored(found)

    def load_for_sampling(self, config: JsonObject) -> JsonObject:
        with packages.fetched(self.region, config["modelPackageArn"]):
            self.record.sampling = config["modelPackageArn"]
        return {}

    @contextmanager
    def _weights(self, package: str | None) -> Iterator[None]:
        """Those of a package; without one, those that the session last saved or loaded for this, or the base's."""
        package = package or self.record.sampling
        with ExitStack() as held:
            folder = None if package is None else held.enter_context(packages.fetched(self.region, package))
            held.enter_context(self.place.lent(folder))
            yield


_DOES: Mapping[str, Callable[[_Doing, JsonObject], JsonObject]] = {
    "forward": _Doing.forward,
    "forwardBackward": _Doing.forward_backward,
    "optimizerStep": _Doing.optimizer_step,
    "saveWeights": _Doing.save_weights,
    "saveState": _Doing.save_state,
    "loadState": _Doing.load_state,
    "sample": _Doing.sample,
    "computeLogprobs": _Doing.compute_logprobs,
    "loadWeightsForSampling": _Doing.load_for_sampling,
}
