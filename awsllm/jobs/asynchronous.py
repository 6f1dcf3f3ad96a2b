"""Asynchronous inference: a request goes in at once, its answer appears in S3.

An asynchronous endpoint answers an invocation with two places: where the result will be, and where a failure's message
will be. Neither exists at first, and which of the two comes is the only news there is (but for SNS), so both are looked
at in turn. Without ``s3:ListBucket`` a missing object is 403, not 404: both are "not yet" here, and a wait that never
saw anything but 403 says so when it gives up.

A body of at most 128,000 bytes goes in the request itself; a larger one is put under ``upload`` first (1 GB at most).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from awsllm.aws.control import translated
from awsllm.errors import (
    AwsllmError,
    ConfigurationError,
    ConnectError,
    ModelTimeoutError,
    ServerError,
    ThrottlingError,
    ValidationError,
)
from awsllm.jobs.costs import JobCost, cost_of
from awsllm.jobs.job import Job, JobHandle
from awsllm.jumpstart import names
from awsllm.jumpstart.deploy.logs import LogLine, last_lines, newest_stream
from awsllm.jumpstart.deploy.progress import Pace
from awsllm.jumpstart.deploy.resources import Clients, call
from awsllm.jumpstart.plan.plan import Cost
from awsllm.types import JsonObject, Request
from awsllm.wire.body import Body, Context, Payload, Settings
from awsllm.wire.server_errors import find_error

T = TypeVar("T")

MAX_INLINE = 128_000
"""Bytes; ``BodyBlob`` of InvokeEndpointAsync in the service model."""

CALL = "asynchronous endpoint call"
"""Its noun, as of a kind of job."""
RUNTIME = "sagemaker-runtime"
_PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds before a throttled invocation is sent again
_FOREVER = 3600.0 + 900  # seconds: the longest invocation, and a quarter of an hour in the queue


class AsyncResult(Job[Payload | AwsllmError, T]):
    """An invocation's answer that is to come: a ``Job`` that ends when an object appears in S3. ``output`` and
    ``failure`` are the S3 URIs that are looked at, ``inference_id`` names the invocation in the endpoint's logs. Safe
    to keep: the places alone are enough (``AsyncInference.resume``)."""

    def __init__(
        self,
        clients: Clients,
        decode: Callable[[Payload], T],
        *,
        output: str,
        failure: str | None,
        inference_id: str | None,
        pace: Pace,
        endpoint: str | None = None,
    ) -> None:
        super().__init__(pace, longest=_FOREVER)
        self._clients, self._decode = clients, decode
        self.output, self.failure, self.inference_id = output, failure, inference_id
        self.endpoint = endpoint
        self._forbidden = False

    def __repr__(self) -> str:
        return f"AsyncResult(output={self.output!r}, inference_id={self.inference_id!r})"

    @property
    def cost(self) -> JobCost:
        """None, with the reason: an endpoint is paid by the hour."""
        return cost_of(CALL, Cost(per_hour=None, note="the endpoint's hours"), None, is_over=False)

    def logs(self, limit: int = 1000) -> tuple[LogLine, ...]:
        """The last lines of the endpoint's log, other calls' among them; none where it may not be read."""
        try:
            stream = newest_stream(self._clients, names.endpoint_logs(self.endpoint)) if self.endpoint else None
            return last_lines(self._clients, stream, limit) if stream else ()
        except AwsllmError:
            return ()

    def handle(self) -> JobHandle:
        """What another process needs to take it up: ``client.jobs.load``."""
        return JobHandle(noun=CALL, name=self.output, options={"failure": self.failure, "endpoint": self.endpoint})

    def to_json(self) -> bytes:
        """``handle`` as JSON."""
        return self.handle().to_json()

    def peek(self) -> Payload | AwsllmError | None:
        """What is there now: the answer, why there is none, or None. Looks once."""
        return self._end if self._end is not None else self._look()

    def payload(self, timeout: float | None = None) -> Payload:
        """The answer as the container gave it. Waits for it; raises the container's error."""
        return _or_raise(self._ended(timeout))

    def _read(self, end: Payload | AwsllmError) -> T:
        return self._decode(_or_raise(end))

    def _goes_on(self) -> str:
        hint = ""
        if self._forbidden:
            hint = "; S3 answered 403 throughout: is s3:GetObject allowed there? (with s3:ListBucket, missing is 404)"
        return f"there is no answer yet at {self.output}: the invocation goes on, ask for the result again{hint}"

    def _look(self) -> Payload | AwsllmError | None:
        if answer := self._fetch(self.output):
            return answer
        failed = self._fetch(self.failure) if self.failure else None
        return _failure(failed.body, self.inference_id) if failed else None

    def _fetch(self, uri: str) -> Payload | None:
        """The object at ``uri``; None where there is none, or none that may be seen."""
        bucket, key = _bucket_and_key(uri)
        try:
            response = call(self._clients, "s3", "get_object", Bucket=bucket, Key=key)
            with translated():
                body = response["Body"].read()
        except (ConnectError, ModelTimeoutError) as error:
            error.add_note(f"the invocation is not lost: its answer will be at {uri}; ask for the result again")
            raise
        except AwsllmError as error:
            if error.status not in (403, 404) or error.code == "NoSuchBucket":
                raise
            self._forbidden = error.status == 403
            return None
        return Payload(body, response.get("ContentType") or "application/json")


def _or_raise(end: Payload | AwsllmError) -> Payload:
    if isinstance(end, AwsllmError):
        raise end
    return end


class AsyncInference:
    """Invocations of one asynchronous endpoint.

    ``format`` encodes neutral requests and decodes answers; without one, bodies are bytes or JSON values and results
    are JSON values. ``upload`` is the ``s3://`` prefix for bodies that are too large to go inline. ``ttl`` is how long
    a request may wait in the queue, ``invocation_timeout`` how long the container may take, both in seconds.
    """

    def __init__(
        self,
        endpoint: str,
        clients: Clients,
        *,
        format: Body | None = None,
        settings: Settings | None = None,
        upload: str | None = None,
        ttl: int | None = None,
        invocation_timeout: int | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._endpoint = endpoint.removeprefix("sagemaker:")
        if "/" in self._endpoint:
            raise ValidationError("asynchronous endpoints have no inference components: name the endpoint alone")
        self._clients, self._format, self._settings = clients, format, settings or Settings()
        self._upload = upload
        bounds = {"RequestTTLSeconds": ttl, "InvocationTimeoutSeconds": invocation_timeout}
        self._options: JsonObject = {name: value for name, value in bounds.items() if value is not None}
        self._pace = pace or Pace(poll=5)

    def invoke(self, request: Request[Any] | Payload | bytes | str | JsonObject | list[Any]) -> AsyncResult[Any]:
        """Hand ``request`` to the endpoint. Returns at once; ``.result()`` waits.

        A neutral request needs ``format``. Texts and bytes go as they are, other values as JSON.
        """
        payload = self._payload(request)
        response = self._send(
            EndpointName=self._endpoint,
            ContentType=payload.content_type,
            Accept=payload.accept,
            **({"CustomAttributes": payload.attributes} if payload.attributes else {}),
            **self._body(payload.body),
            **self._options,
        )
        return AsyncResult(
            self._clients,
            self._decoder(request),
            output=response["OutputLocation"],
            failure=response.get("FailureLocation"),
            inference_id=response.get("InferenceId"),
            pace=self._pace,
            endpoint=self._endpoint,
        )

    def _send(self, **invocation: Any) -> JsonObject:
        """Throttled invocations were not taken and are sent again; nothing else is, for it would be paid for twice."""
        for pause in _PAUSES:
            try:
                return call(self._clients, RUNTIME, "invoke_endpoint_async", **invocation)
            except ThrottlingError:
                self._pace.sleep(pause)
        return call(self._clients, RUNTIME, "invoke_endpoint_async", **invocation)

    def resume(
        self, output: str, failure: str | None = None, *, request: Request[Any] | None = None
    ) -> AsyncResult[Any]:
        """An invocation that another process made, by its places."""
        decode = self._decoder(request)
        return AsyncResult(
            self._clients,
            decode,
            output=output,
            failure=failure,
            inference_id=None,
            pace=self._pace,
            endpoint=self._endpoint,
        )

    def map(
        self, requests: Iterable[Any], *, in_flight: int = 64, timeout: float | None = None
    ) -> Iterator[Any | AwsllmError]:
        """The answers to ``requests`` in their order, at most ``in_flight`` handed in and not yet yielded. A request
        that failed yields its error, so that one does not end the others. ``timeout`` is each answer's."""
        waiting: deque[AsyncResult[Any] | AwsllmError] = deque()
        for request in requests:
            try:
                waiting.append(self.invoke(request))
            except AwsllmError as error:
                waiting.append(error)
            if len(waiting) >= max(1, in_flight):
                yield _outcome(waiting.popleft(), timeout)
        while waiting:
            yield _outcome(waiting.popleft(), timeout)

    def _payload(self, request: Any) -> Payload:
        match request:
            case Payload():
                return request
            case bytes():
                return Payload(request)
            case str():
                return Payload(request.encode(), "text/plain")
            case Request():
                return self._known_format().codec(type(request)).encode_request(request, self._settings)
        try:
            return Payload(msgspec.json.encode(request))
        except (TypeError, ValueError) as error:
            raise ValidationError(f"a request of type {type(request).__name__} is no JSON value: {error}") from error

    def _known_format(self) -> Body:
        if self._format is None:
            raise ConfigurationError("a neutral request needs format=, which says what the container speaks")
        return self._format

    def _decoder(self, request: Any) -> Callable[[Payload], Any]:
        if not isinstance(request, Request):
            return plain_answer
        codec, context = self._known_format().codec(type(request)), Context(request=request, settings=self._settings)
        return lambda payload: codec.decode_response(payload, context)

    def _body(self, body: bytes) -> JsonObject:
        if len(body) <= MAX_INLINE:
            return {"Body": body}
        if self._upload is None:
            raise ValidationError(
                f"the request has {len(body):,} bytes; {MAX_INLINE:,} at most go inline: "
                "give upload='s3://BUCKET/PREFIX'"
            )
        uri = f"{self._upload.rstrip('/')}/{sha256(body).hexdigest()[:32]}-{time.time_ns():x}.in"
        bucket, key = _bucket_and_key(uri)
        call(self._clients, "s3", "put_object", Bucket=bucket, Key=key, Body=body)
        return {"InputLocation": uri}


def invoke_async(endpoint: str, request: Any, clients: Clients, **options: Any) -> AsyncResult[Any]:
    """One invocation; ``options`` are ``AsyncInference``'s."""
    return AsyncInference(endpoint, clients, **options).invoke(request)


def _outcome(waiting: AsyncResult[Any] | AwsllmError, timeout: float | None) -> Any:
    if isinstance(waiting, AwsllmError):
        return waiting
    try:
        return waiting.result(timeout)
    except AwsllmError as error:
        return error


def plain_answer(payload: Payload) -> Any:
    """A JSON value where the answer is one, else the bytes."""
    try:
        return msgspec.json.decode(payload.body)
    except (ValueError, RecursionError):
        return payload.body


def _failure(body: bytes, inference_id: str | None) -> AwsllmError:
    """What the failure object says: a container's JSON, or the service's words about it."""
    try:
        wire = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        wire = None
    text = body.decode("utf-8", "replace").strip()
    return find_error(wire, request_id=inference_id) or ServerError(
        text or "the invocation failed without a word", code="ModelError", request_id=inference_id, retryable=False
    )


def _bucket_and_key(uri: str) -> tuple[str, str]:
    """Both ways in which the service writes places: ``s3://BUCKET/KEY`` and ``https://s3.REGION.../BUCKET/KEY``."""
    parts = urlsplit(uri)
    path = parts.path.lstrip("/")
    if parts.scheme == "s3" and parts.netloc and path:
        return parts.netloc, path
    first, _, rest = parts.netloc.partition(".")
    if parts.scheme == "https" and first == "s3":
        bucket, _, key = path.partition("/")
        return bucket, key
    if parts.scheme == "https" and rest.startswith("s3"):
        return first, path
    raise ValidationError(f"{uri!r} names no object in S3: s3://BUCKET/KEY")
