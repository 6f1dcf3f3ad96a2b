"""A training session of SageMaker: made, spoken to by operations that are submitted and then asked for, and ended.

Facts: the API reference of SageMaker Training Session and of SageMaker (CreateTrainingSession …), and botocore's models
of both. Operations are numbered; the service runs them in their order.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from awsllm.aws import control
from awsllm.aws.session import AwsSession
from awsllm.errors import ConfigurationError, ModelTimeoutError, ServerError, ValidationError
from awsllm.jobs.sessions.session import SessionTokens
from awsllm.types import JsonObject, Value
from awsllm.types.training import AdamSettings, SampledSequence, SampleSettings, TrainingDatum, TrainingPass
from awsllm.wire import training_sessions as wire

RUNTIME: Final = "sagemakertrainingsessionruntime"
_READY: Final = ("Running",)
_WAITING: Final = ("Created", "Scheduled", "Blocked")
_FIRST, _LONGEST = 0.05, 5.0  # seconds between two looks
_START: Final = 3600.0


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

    @classmethod
    def start(cls, session: AwsSession, plan: SessionPlan, **options: Any) -> RemoteSession:
        """Make one and wait until it runs. Whatever ends the wait stops it, or says that it runs."""
        request = plan.request()
        made = cls(session, request["TrainingSessionName"], owned=True, **options)
        with control.translated():
            made._control.create_training_session(**request)
        try:
            made.wait()
        except BaseException as error:
            made._end_for(error)
            raise
        return made

    def _end_for(self, error: BaseException) -> None:
        try:
            self.close()
        except Exception:
            error.add_note(f"the training session {self.name} may still run, and cost: stop and delete it")

    def wait(self, timeout: float = _START) -> None:
        """Return when it runs. Raises ``ModelTimeoutError``, or why it never will."""
        until, pause = time.monotonic() + timeout, 1.0
        while True:
            detail = self.describe()
            status = detail["TrainingSessionStatus"]
            if status in _READY:
                self._number = max(self._number, detail.get("LastReceivedSequenceNumber") or 0)
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
        return wire.decode_metrics(self._train(wire.encode_step(adam)))

    def sample(self, prompt: Sequence[int], settings: SampleSettings) -> tuple[SampledSequence, ...]:
        return wire.decode_sampled(self._sampled(wire.encode_sample(prompt, settings)))

    def logprobs(self, tokens: Sequence[int]) -> tuple[float, ...]:
        return wire.decode_scored(self._sampled(wire.encode_scoring(tokens)))

    def save(self, name: str | None) -> str:
        """The ARN of a model package; ``name`` describes it."""
        return self._saved("saveWeights", name)

    def save_state(self, name: str | None) -> str:
        return self._saved("saveState", name)

    def _saved(self, kind: str, description: str | None) -> str:
        result = self._train({kind: {"description": description} if description else {}})
        arn = result.get("modelPackageArn")
        if not isinstance(arn, str):
            raise ServerError(f"the training session {self.name} saved, and did not say where")
        return arn

    def load_state(self, state: str, *, with_optimizer: bool) -> None:
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
        with control.translated():
            if self.describe()["TrainingSessionStatus"] in (*_READY, *_WAITING):
                self._control.stop_training_session(TrainingSessionName=self.name)
        pause = _FIRST
        while self.describe()["TrainingSessionStatus"] == "Stopping":
            self._sleep(pause)
            pause = min(pause * 1.5, _LONGEST)
        with control.translated():
            self._control.delete_training_session(TrainingSessionName=self.name)


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
