"""A state of Step Functions that asks a model.

    handler = step_handler("bedrock:amazon.nova-lite-v1:0")
    handler = step_handler(respond=lambda state: {"words": len(state.input["text"].split())})

Three forms of input:

    a request (``events.json_requests``)             the state's result is the answer
    {"taskToken": …, "input": …}       a task with ``.waitForTaskToken``: the answer or the failure goes to
                                       SendTaskSuccess or SendTaskFailure
    {"Items": […], "BatchInput": {…}}  a batch of a Distributed Map's ItemBatcher; what BatchInput says holds for each
                                       item that does not say it itself. The result is
                                       {"items": [{"status", "result" or "error"}, …], "failed": n}

An answer has at most 256 KiB; a larger one is written to AWSLLM_OUTPUT_BUCKET and the result is ``{"location", "bytes",
"etag"}``.

``Retry`` and ``Catch`` name exceptions by their class:

    ThrottlingError     too many requests or tokens            retry, slowly: IntervalSeconds 5, BackoffRate 2, jitter
    TransientError      an outage, a timeout, a model loading  retry
    PermanentError      the request is at fault                catch
    ConfigurationError, AccessDeniedError, ModelNotFoundError  catch: a person has to mend the function

What ``respond`` raises of its own keeps its class. Of a batch, an item that failed is in the result, and the batch
fails only where every item did and for a passing reason: doing a half-done batch again would pay for it twice. Items
for which no time was left have the error ``DeadlineError``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import msgspec

from awsllm.aws.rpc import Rpc
from awsllm.aws.session import AwsSession
from awsllm.errors import AccessDeniedError, AwsllmError, ConfigurationError, ModelNotFoundError, ThrottlingError
from awsllm.lambdas import settings
from awsllm.lambdas.context import DeadlineError, Handler, LambdaContext, seconds_left
from awsllm.lambdas.events.concurrency import CONCURRENCY, PieceOutcome, run_each
from awsllm.lambdas.events.errors import PermanentError, TransientError, is_permanent, told
from awsllm.lambdas.events.json_requests import Asker, ask_defaults
from awsllm.lambdas.events.results import DEFAULT_PREFIX, LargeResults
from awsllm.lambdas.events.s3_objects import output_place
from awsllm.lambdas.http.failures import explain
from awsllm.lambdas.logs import log, of_error
from awsllm.lambdas.snapstart import restorable_handler
from awsllm.types import JsonObject, JsonValue, Value

if TYPE_CHECKING:
    from awsllm.client import Client

MAX_RESULT = 250_000
"""Bytes of a result. A state's output has 262,144 (step-functions/latest/dg/service-quotas.html), and what invokes a
function wraps its result."""
_MAX_CAUSE = 32_768  # characters: ``SensitiveCause`` in botocore's model
_MAX_ERROR = 256
_MARGIN = 1.0
_TIMEOUT = 5.0  # seconds of telling a waiting state
_OVER = frozenset(("TaskTimedOut", "TaskDoesNotExist", "InvalidToken"))
"""Why a token is of no more use."""


class StateInput(Value, frozen=True, kw_only=True):
    """What a state is given: its input, or one item of a batch with what holds for all; and seconds that it may take.
    ``event`` is all that the state passed."""

    input: JsonValue
    timeout: float
    event: JsonObject = msgspec.field(default_factory=dict)

    def __repr__(self) -> str:  # a traceback with the variables of its frames must not tell what was sent
        return f"StateInput(timeout={self.timeout:g}, …)"


Respond: TypeAlias = Callable[[StateInput], JsonValue]


def step_handler(
    model: str | None = None,
    *,
    client: Client | None = None,
    respond: Respond | None = None,
    concurrency: int = CONCURRENCY,
) -> Handler:
    """The handler of a task state. ``respond`` returns the JSON result; without it, the input is a request for
    ``model``, AWSLLM_MODEL, or the model that it names. ``concurrency`` is how many items of a batch are worked off at
    once. Raises ``ConfigurationError``."""
    return restorable_handler(lambda: _Step(respond or _default_respond(model, client), concurrency).handle, client)


def _default_respond(model: str | None, client: Client | None) -> Respond:
    asker = Asker(settings.given_client(client), ask_defaults(model))
    return lambda state: asker.answer(state.input, state.timeout)


class _Step:
    def __init__(self, respond: Respond, concurrency: int) -> None:
        session = AwsSession()
        self._respond, self._concurrency = respond, concurrency
        self._rpc = Rpc(session)
        self._large = LargeResults(session, output_place(DEFAULT_PREFIX))

    def handle(self, event: Any, context: LambdaContext) -> JsonValue:
        token, given = _token_and_input(event)
        if token is None:
            return self._result(event, event, context)
        return self._report(token, event, given, context)

    def _result(self, given: JsonValue, event: Any, context: LambdaContext) -> JsonValue:
        """The result of a request or a batch. Raises the errors that a state machine tells apart."""
        try:
            if isinstance(given, dict) and isinstance(given.get("Items"), list):
                value: JsonValue = self._batch(given, event, context)
            else:
                value = self._one(given, event, seconds_left(context, _MARGIN))
            return self._large.fit(value, MAX_RESULT, context.aws_request_id)
        except AwsllmError as error:
            log("WARNING", "a state was not done", context, **of_error(error))
            _raise_for_states(error)

    def _one(self, given: JsonValue, event: Any, timeout: float) -> JsonValue:
        whole = event if isinstance(event, dict) else {}
        return self._respond(StateInput(input=given, timeout=timeout, event=whole))

    def _batch(self, given: JsonObject, event: Any, context: LambdaContext) -> JsonObject:
        shared = given.get("BatchInput")
        items = [_with_shared(item, shared) for item in given["Items"]]
        run: Any = {"concurrency": self._concurrency, "margin": _MARGIN}
        over = run_each(items, lambda item, left: self._one(item, event, left), context, **run)
        _check_any_done(over)
        answers = [_item_result(one) for one in over]
        return {"items": answers, "failed": sum(answer["status"] == "failed" for answer in answers)}

    def _report(self, token: str, event: Any, given: JsonValue, context: LambdaContext) -> JsonObject:
        """Tell the waiting state, and whoever tries the function out. Raises nothing of the work: what is raised here
        would be tried again by whoever invoked the function, while the state has its answer."""
        try:
            value = self._result(given, event, context)
        except Exception as error:
            if not isinstance(error, AwsllmError):
                log("ERROR", "a state was not done", context, **of_error(error))
            cause = f"{explain(error).message} (request {context.aws_request_id})"
            body = {"error": type(error).__name__[:_MAX_ERROR], "cause": cause[:_MAX_CAUSE]}
            return {**self._send("SendTaskFailure", token, body, context), **body}
        output = msgspec.json.encode(value).decode("utf-8")
        return {**self._send("SendTaskSuccess", token, {"output": output}, context), "output": value}

    def _send(self, operation: str, token: str, body: JsonObject, context: LambdaContext) -> JsonObject:
        try:
            self._rpc.call("stepfunctions", operation, {"taskToken": token, **body}, timeout=_TIMEOUT)
        except AwsllmError as error:
            if error.code not in _OVER:
                raise
            log("WARNING", "the state waits no longer", context, **of_error(error))
            return {"sent": None}
        return {"sent": operation}


def _check_any_done(over: list[PieceOutcome[JsonValue] | None]) -> None:
    """Raises what ended a batch of which no item was done, if it may pass."""
    if not over or any(one is not None and (one.error is None or is_permanent(one.error)) for one in over):
        return
    for one in over:
        if one is not None and one.error is not None:
            raise one.error
    raise DeadlineError("no time was left for any item: give the function more time", status=504)


def _token_and_input(event: Any) -> tuple[str | None, JsonValue]:
    """A task token and what is to be done, where the state passes one."""
    if not isinstance(event, dict):
        return None, event
    name = next((name for name in ("taskToken", "TaskToken") if isinstance(event.get(name), str)), None)
    if name is None:
        return None, event
    rest = {key: value for key, value in event.items() if key != name}
    given = next((rest[key] for key in ("input", "Input") if key in rest), rest)
    return event[name], given


def _with_shared(item: JsonValue, shared: JsonValue) -> JsonValue:
    return {**shared, **item} if isinstance(shared, dict) and isinstance(item, dict) else item


def _item_result(outcome: PieceOutcome[JsonValue] | None) -> JsonObject:
    if outcome is None:
        message = "no time was left for this item: give the batch fewer, or the function more time"
        return {"status": "failed", "error": {"type": "DeadlineError", "message": message}}
    if outcome.error is not None:
        return {"status": "failed", "error": told(outcome.error)}
    return {"status": "succeeded", "result": outcome.value}


_NAMED: tuple[type[AwsllmError], ...] = (
    *(ThrottlingError, ConfigurationError, AccessDeniedError, ModelNotFoundError, PermanentError, TransientError),
)


def _raise_for_states(error: AwsllmError) -> NoReturn:
    """Raise one of the few classes that a state machine tells apart."""
    other = PermanentError if is_permanent(error) else TransientError
    kind = next((one for one in _NAMED if isinstance(error, one)), other)
    raise kind(explain(error).message, code=error.code, status=error.status, request_id=error.request_id) from None


def __getattr__(name: str) -> Any:
    if name != "handler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = globals()["handler"] = step_handler()
    return made
