"""Answers of an asynchronous endpoint of SageMaker, as SNS tells of them.

    handler = callback_handler(lambda callback: store(callback.inference_id, callback.response))

A notification of success names the object with the answer, which is read and decoded by what the endpoint's container
speaks (``format``, AWSLLM_FORMAT: "openai", "tgi", …): ``response`` is then a ``ConverseResponse``. Without a format it
is the JSON value, or the bytes where they are none. A notification of failure says why.

Notifications come from SNS, or by SQS with SNS's envelope or without (raw delivery). Each is worked off once, by its
inference id. What ``process`` returns goes to AWSLLM_RESULT_QUEUE as ``{"inferenceId", "endpoint", "status":
"succeeded", "result"}``; without ``process`` the answer itself does. An answer that is gone or cannot be decoded is
told there with "status": "failed" and "error", as a failure of the endpoint is.

Where AWSLLM_OUTPUT_BUCKET is set, objects of no other bucket are read: whoever may publish to the topic names them.

The notification's form: sagemaker/latest/dg/async-inference-check-predictions, and recorded ones in public code (read
2026-11-26); where they differ on ``failureLocation`` both places are looked at.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from typing import Any, TypeAlias

from awsllm.aws.rpc import Rpc
from awsllm.aws.session import AwsSession
from awsllm.errors import ValidationError
from awsllm.lambdas import settings
from awsllm.lambdas.context import Handler, LambdaContext, seconds_left
from awsllm.lambdas.events.concurrency import check_all_done, run_each
from awsllm.lambdas.events.envelopes import json_or_none, sns_message, unwrapped
from awsllm.lambdas.events.errors import TransientError, is_permanent, told
from awsllm.lambdas.events.idempotency import lease_seconds, once, open_store, work_key
from awsllm.lambdas.events.queue_batches import batch_answer, queue_records
from awsllm.lambdas.events.result_queue import MAX_BYTES, QueueMessage, check_told, open_queue
from awsllm.lambdas.events.results import DEFAULT_PREFIX, LargeResults, answer_json
from awsllm.lambdas.events.s3_objects import ObjectGoneError, S3Objects, output_place, place_of
from awsllm.lambdas.logs import log, of_error
from awsllm.lambdas.snapstart import restorable_handler
from awsllm.types import ConverseRequest, ConverseResponse, JsonObject, JsonValue, Value
from awsllm.wire import endpoint
from awsllm.wire.body import Context, Payload

_ENVELOPE = 1_000  # bytes of a message beside the result in it
_MARGIN = 2.0


class AsyncCallback(Value, frozen=True, kw_only=True):
    """One answer. ``response`` is what the endpoint answered, ``failure`` why it did not; ``timeout`` is how many
    seconds its work may take, ``event`` the notification."""

    inference_id: str
    endpoint: str
    response: Any = None
    failure: str | None = None
    input_location: str | None = None
    output_location: str | None = None
    failure_location: str | None = None
    timeout: float
    event: JsonObject

    def __repr__(self) -> str:  # a traceback with the variables of its frames must not tell what was sent
        return f"AsyncCallback(inference_id={self.inference_id!r}, endpoint={self.endpoint!r}, …)"


Receive: TypeAlias = Callable[[AsyncCallback], JsonValue]


def callback_handler(process: Receive | None = None, *, format: str | None = None) -> Handler:
    """The handler of an endpoint's topics. Raises ``ConfigurationError``."""
    if process is None:
        check_told()
    return restorable_handler(lambda: _Callbacks(process or _answer, format or settings.text("AWSLLM_FORMAT")).handle)


def _answer(callback: AsyncCallback) -> JsonValue:
    """The answer as JSON."""
    response = callback.response
    if isinstance(response, ConverseResponse):
        return {"text": response.text, **answer_json(response)}
    if isinstance(response, bytes):
        raise ValidationError("the answer is no JSON: say with AWSLLM_FORMAT what the container speaks, or process=")
    return response


class _Callbacks:
    def __init__(self, process: Receive, format: str | None) -> None:
        session = AwsSession()
        rpc = Rpc(session)
        place = output_place(DEFAULT_PREFIX)
        self._process = process
        self._format = endpoint.named(format, "AWSLLM_FORMAT") if format else None
        self._body = endpoint.get(self._format.format) if self._format else None
        self._queue = open_queue(rpc)
        self._store = open_store(rpc)
        self._objects = S3Objects(session).connect()
        self._large = LargeResults(session, place)
        self._only = place.bucket
        self._limit = settings.whole("AWSLLM_MAX_OBJECT_BYTES") or 0

    def handle(self, event: Any, context: LambdaContext) -> JsonObject:
        records = queue_records(event)
        if records is not None:
            return batch_answer(
                records,
                lambda record: self._message(json_or_none(record.body), context, record.timeout),
                context,
                margin=_MARGIN,
            )
        messages = _messages(event)
        outcomes = run_each(
            messages, lambda message, left: self._message(message, context, left), context, margin=_MARGIN
        )
        check_all_done(outcomes, "notifications", context)
        return {"done": len(messages)}

    def _message(self, message: JsonValue, context: LambdaContext, left: float) -> JsonValue:
        notification = unwrapped(message)
        match notification:
            case {"invocationStatus": str(), "inferenceId": str(name)}:
                pass
            case _:
                log("WARNING", "a message that is no answer of an endpoint was acknowledged", context)
                return None
        key = work_key(context.function_name, "callback", name)
        result = once(self._store, key, lease_seconds(context), lambda: self._result(notification, context, left)).value
        if self._queue is not None:
            refused = self._queue.send([QueueMessage(name, result)], timeout=seconds_left(context))
            if refused:
                raise TransientError("the result queue did not take an answer", code=min(refused.values()))
        return None

    def _result(self, notification: JsonObject, context: LambdaContext, left: float) -> JsonObject:
        name = notification["inferenceId"]
        head = {"inferenceId": name, "endpoint": _member(notification, "requestParameters", "endpointName") or ""}
        try:
            callback = self._callback(notification, left)
            value = self._process(callback)
            if callback.failure is not None:
                error = {"type": "InferenceFailed", "message": callback.failure}
                return {**head, "status": "failed", "error": error}
            fitted = None if self._queue is None else self._large.fit(value, MAX_BYTES - _ENVELOPE, f"callback/{name}")
        except Exception as error:
            if self._queue is None or not (is_permanent(error) or isinstance(error, ObjectGoneError)):
                raise
            log("WARNING", "an answer can never be worked off", context, **(of_error(error) | {"item": name}))
            return {**head, "status": "failed", "error": told(error)}
        return {**head, "status": "succeeded", "result": fitted}

    def _callback(self, notification: JsonObject, left: float) -> AsyncCallback:
        answered = notification["invocationStatus"] == "Completed"
        reason = None if answered else str(notification.get("failureReason") or "the endpoint did not say why")
        failed_at = _member(notification, "responseParameters", "failureLocation") or notification.get(
            "failureLocation"
        )
        return AsyncCallback(
            inference_id=notification["inferenceId"],
            endpoint=_member(notification, "requestParameters", "endpointName") or "",
            response=self._response(notification) if answered else None,
            failure=reason,
            input_location=_member(notification, "requestParameters", "inputLocation"),
            output_location=_member(notification, "responseParameters", "outputLocation"),
            failure_location=failed_at if isinstance(failed_at, str) else None,
            timeout=left,
            event=notification,
        )

    def _response(self, notification: JsonObject) -> Any:
        payload = self._payload(notification)
        if self._body is None or self._format is None:
            decoded = json_or_none(payload.body)
            return payload.body if decoded is None and payload.body.strip() != b"null" else decoded
        request = ConverseRequest(model=_member(notification, "requestParameters", "endpointName") or "")
        context = Context(request=request, settings=self._format.settings, request_id=notification["inferenceId"])
        return self._body.codec(ConverseRequest).decode_response(payload, context)

    def _payload(self, notification: JsonObject) -> Payload:
        """The answer's bytes: a small one may be in the notification itself (IncludeInferenceResponseIn)."""
        kind = _member(notification, "responseParameters", "contentType") or "application/json"
        content = _member(notification, "responseBody", "content")
        if content is not None:
            if _member(notification, "responseBody", "encoding") != "BASE64":
                return Payload(content.encode(), kind)
            try:
                return Payload(b64decode(content, validate=True), kind)
            except ValueError:
                raise ValidationError("the answer in the notification is no base64") from None
        place = place_of(_member(notification, "responseParameters", "outputLocation"))
        if self._only not in (None, place.bucket):
            raise ValidationError("the answer lies in another bucket than AWSLLM_OUTPUT_BUCKET")
        return Payload(self._objects.read(place, self._limit).body, kind)


def _messages(event: Any) -> list[JsonValue]:
    """The notifications of an event of SNS, each as it was published; or the event itself."""
    match event:
        case {"Records": [*records]} if records:
            return [sns_message(record) for record in records]
        case _:
            return [event]


def _member(notification: JsonObject, part: str, name: str) -> str | None:
    found = notification.get(part)
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, str) else None


def __getattr__(name: str) -> Any:
    if name != "handler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = globals()["handler"] = callback_handler()
    return made
