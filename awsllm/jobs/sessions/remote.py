"""A training session of SageMaker: made, spoken to by operations that are submitted and then asked for, and ended.

Facts: the API reference of SageMaker Training Session and of SageMaker (CreateTrainingSession …), botocore's models of
both, and AWS's own SDK (sagemaker-train 1.27, PyPI, ``sagemaker.train.training_session``, read 2026-11-27). Operations
are numbered; the service runs them in their order.

The service samples the weights that were saved last and loaded for that, not those that are in training. So that
``sample`` means the weights as they are, here as on this machine, they are saved before, if they have changed: each is
a model package, which stays.
"""

from __future__ import annotations

import time
import uuid
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from awsllm import log
from awsllm.aws import control
from awsllm.aws.session import AwsSession
from awsllm.errors import ConfigurationError, ModelTimeoutError, ServerError, ValidationError
from awsllm.jobs.sessions.session import SessionTokens
from awsllm.types import JsonObject, Value
from awsllm.types.training import AdamSettings, SampledSequence, SampleSettings, TrainingDatum, TrainingPass
from awsllm.wire import training_sessions as wire

RUNTIME: Final = "sagemakertrainingsessionruntime"
_READY: Final = ("Running",)
_WAITING: Final = ("Created", "Scheduled")
_LIVE: Final = (*_READY, *_WAITING, "Blocked")
_FIRST, _LONGEST = 0.05, 5.0  # seconds between two looks
_START: Final = 3600.0
_LEAST: Final = 512  # of maxTokens, as botocore's service model has it


class SessionPlan(Value, frozen=True, kw_only=True):
    """What CreateTrainingSession is told. ``output`` is an S3 prefix; ``group`` the ARN of the model package group in
    which what is saved is registered."""

    base: str
    role: str
    output: str
    rank: int = 16
    alpha: int = 32
    name: str = ""
    group: str | None = None
    accept_eula: bool = False
    tags: Mapping[str, str] = {}

    def request(self) -> JsonObject:
        made: JsonObject = {
            "TrainingSessionName": self.name or f"awsllm-{uuid.uuid4().hex[:12]}",
            "LoraConfig": {"Rank": self.rank, "Alpha": self.alpha},
            "RoleArn": self.role,
            "ModelConfig": {"BaseModelArn": self.base, "AcceptEula": self.accept_eula},
            "OutputConfig": {"S3Location": {"Path": self.output}},
        }
        if self.group is not None:
            made["ModelPackageGroupArn"] = self.group
        if self.tags:
            made["Tags"] = [{"Key": key, "Value": value} for key, value in self.tags.items()]
        return made


class RemoteSession:
    """A ``SessionPlace`` in SageMaker. ``owned``: it was made here, and is stopped and deleted when it is closed."""

    def __init__(
        self,
        session: AwsSession,
        name: str,
        *,
        owned: bool,
        tokens: SessionTokens | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name, self.tokens = name, tokens
        self._control, self._runtime = control.client("sagemaker", session), control.client(RUNTIME, session)
        self._owned, self._sleep = owned, sleep
        self._number = 0
        self._saved_as: str | None = None  # the package with the weights as they are
        self._changed = False  # from those of the base
        self._sampled_from: str | None = None
        self._forgotten = weakref.finalize(self, _warn, name) if owned else None

    @classmethod
    def start(cls, session: AwsSession, plan: SessionPlan, **options: Any) -> RemoteSession:
        """Make one and wait until it runs. Whatever ends the wait stops it, or says that it runs."""
        request = plan.request()
        made = cls(session, request["TrainingSessionName"], owned=True, **options)
        with control.translated():
            made._control.create_training_session(**request)
        log.logger("jobs").info("the training session %s is made, and costs until it is stopped", made.name)
        try:
            made.wait()
        except BaseException as error:
            made._end_for(error)
            raise
        return made

    def _end_for(self, error: BaseException) -> None:
        try:
            self.close()
        except Exception as failed:
            for note in getattr(failed, "__notes__", ()):
                error.add_note(note)

    def wait(self, timeout: float = _START) -> None:
        """Return when it runs. Raises ``ModelTimeoutError``, or why it never will."""
        until, pause = time.monotonic() + timeout, 1.0
        while True:
            detail = self.describe()
            status = detail["TrainingSessionStatus"]
            if status in _READY:
                self._number = max(self._number, detail.get("LastReceivedSequenceNumber") or 0)
                self._changed = self._number > 0
                return
            if status not in _WAITING:
                reason = detail.get("ErrorDetails") or "no reason is given"
                raise ServerError(f"the training session {self.name} is {status}: {reason}")
            if time.monotonic() + pause > until:
                raise ModelTimeoutError(f"after {timeout:g} s the training session {self.name} is still {status}")
            self._sleep(pause)
            pause = min(pause * 1.5, 30.0)

    def describe(self) -> JsonObject:
        with control.translated():
            found: JsonObject = self._control.describe_training_session(TrainingSessionName=self.name)
        detail: JsonObject = found["TrainingSessionDetail"]
        return detail

    # --- operations --------------------------------------------------------------------------------------------------

    def run(
        self, data: Sequence[TrainingDatum], loss: str, settings: Mapping[str, float], *, backward: bool
    ) -> TrainingPass:
        result = self._train(wire.encode_pass(data, loss, settings, backward=backward))
        return wire.decode_pass_result(result)

    def step(self, adam: AdamSettings) -> Mapping[str, float]:
        self._changed, self._saved_as = True, None
        return wire.decode_metrics(self._train(wire.encode_step(adam)))

    def sample(self, prompt: Sequence[int], settings: SampleSettings) -> tuple[SampledSequence, ...]:
        """The service draws ``_LEAST`` tokens at least, unless the model ends before; more than were wanted are cut."""
        wanted = replace(settings, max_tokens=max(settings.max_tokens, _LEAST))
        drawn = wire.decode_sampled(self._sampled(wire.encode_sample(prompt, wanted, self._weights())))
        return tuple(_cut(each, settings.max_tokens) for each in drawn)

    def logprobs(self, tokens: Sequence[int]) -> tuple[float, ...]:
        return wire.decode_scored(self._sampled(wire.encode_scoring(tokens, self._weights())))

    def _weights(self) -> str | None:
        """The package with the weights as they are, made if need be; None while they are the base's."""
        if not self._changed:
            return None
        if self._saved_as is None:
            self._saved_as = self._saved("saveWeights", {"description": "for samples"})
        if self._sampled_from != self._saved_as:
            self._sampled({"loadWeightsForSampling": {"modelPackageArn": self._saved_as}})
            self._sampled_from = self._saved_as
        return self._saved_as

    def save(self, name: str | None) -> str:
        """The ARN of a model package, which has the whole model, too; ``name`` describes it."""
        self._saved_as = self._saved("saveWeights", {"mergeWeights": True, **_description(name)})
        return self._saved_as

    def save_state(self, name: str | None) -> str:
        return self._saved("saveState", _description(name))

    def _saved(self, kind: str, config: JsonObject) -> str:
        result = self._train({kind: config})
        arn = result.get("modelPackageArn")
        if not isinstance(arn, str):
            raise ServerError(f"the training session {self.name} saved, and did not say where")
        return arn

    def load_state(self, state: str, *, with_optimizer: bool) -> None:
        self._changed, self._saved_as = True, None
        self._train({"loadState": {"modelPackageArn": state, "loadOptimizer": with_optimizer}})

    def _train(self, config: JsonObject) -> JsonObject:
        self._number += 1
        submitted = {"sequenceNumber": self._number, "clientToken": uuid.uuid4().hex, "operationConfig": config}
        with control.translated():
            given = self._runtime.execute_training_operation(trainingSessionName=self.name, **submitted)
        return self._result(self._runtime.get_training_operation_result, given["operationId"], config)

    def _sampled(self, config: JsonObject) -> JsonObject:
        with control.translated():
            given = self._runtime.execute_sampling_operation(trainingSessionName=self.name, operationConfig=config)
        return self._result(self._runtime.get_sampling_operation_result, given["operationId"], config)

    def _result(self, ask: Callable[..., JsonObject], operation: str, config: JsonObject) -> JsonObject:
        [kind] = config
        pause = _FIRST
        while True:
            with control.translated():
                found = ask(trainingSessionName=self.name, operationId=operation)
            match found["status"]:
                case "Completed":
                    result: JsonObject = (found.get("operationResult") or {}).get(kind) or {}
                    return result
                case "Failed" | "Skipped" as status:
                    reason = found.get("errorDetails") or "no reason is given"
                    raise ValidationError(f"{kind} of the training session {self.name}: {status}: {reason}")
            self._sleep(pause)
            pause = min(pause * 1.5, _LONGEST)

    def close(self) -> None:
        """Stop and delete a session that was made here."""
        if not self._owned:
            return
        self._owned = False
        try:
            self._end()
        except BaseException as error:
            error.add_note(f"the training session {self.name} may still run, and cost: stop and delete it")
            raise
        finally:
            if self._forgotten is not None:
                self._forgotten.detach()

    def _end(self) -> None:
        if self.describe()["TrainingSessionStatus"] in _LIVE:
            try:
                with control.translated():
                    self._control.stop_training_session(TrainingSessionName=self.name)
            except ValidationError:  # of one that ends already
                if self.describe()["TrainingSessionStatus"] in _LIVE:
                    raise
        pause = _FIRST
        while (status := self.describe()["TrainingSessionStatus"]) == "Stopping":
            self._sleep(pause)
            pause = min(pause * 1.5, _LONGEST)
        try:
            with control.translated():
                self._control.delete_training_session(TrainingSessionName=self.name)
        except ValidationError:
            if status != "Expired":  # which is over, and perhaps cannot be deleted
                raise


def _cut(sequence: SampledSequence, most: int) -> SampledSequence:
    if len(sequence.tokens) <= most:
        return sequence
    tokens, logprobs = sequence.tokens[:most], sequence.logprobs[:most]
    return replace(sequence, tokens=tokens, logprobs=logprobs, stop_reason="length")


def _description(name: str | None) -> JsonObject:
    return {"description": name} if name else {}


def _warn(name: str) -> None:
    """Of a session that nobody closed."""
    log.logger("jobs").warning(
        "the training session %s was not closed: it runs, and costs, until it is stopped or has been idle for too long",
        name,
    )


def checked_plan(base: str, options: Mapping[str, Any]) -> SessionPlan:
    """Raises ``ConfigurationError`` that names what is missing."""
    lacking = [name for name in ("role", "output") if not options.get(name)]
    if lacking:
        raise ConfigurationError(
            f"a session of SageMaker needs {' and '.join(lacking)}=: an IAM role's ARN, an s3:// prefix"
        )
    try:
        return SessionPlan(base=base, **options)
    except TypeError as error:
        names = ", ".join(name for name in SessionPlan.__struct_fields__ if name != "base")
        raise ConfigurationError(f"a session's options are {names}") from error
