"""An HTTP handler around the work that it does: what every one of them does before and after.

An event is read, a preflight answered, a body over the limit refused; the work is done; whatever it raises is told the
caller in one schema and the log by its kind; the reply is written as the door of the request expects. Nothing is raised
out of a handler: a front door would make a 502 of it without a word, and a queue or a schedule that was pointed at the
function by mistake would send it again and again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeAlias

from msgspec.structs import replace

from awsllm.lambdas import settings
from awsllm.lambdas.context import Handler, LambdaContext
from awsllm.lambdas.http.events import FrontReply, FrontRequest, UnknownEventError, is_too_long, json_reply, read, write
from awsllm.lambdas.http.failures import Refusal, failure, unknown_event
from awsllm.lambdas.logs import log, of_error
from awsllm.types import JsonObject, Value

Work: TypeAlias = Callable[[FrontRequest, LambdaContext], FrontReply]
"""What a handler does with a request. It raises what it refuses: a ``Refusal`` or another of awsllm's errors."""

# What a browser may send and read beyond what it always may: a key or a signature, and when to come again.
_SENT = (
    "authorization,content-type,x-api-key,x-amz-date,x-amz-security-token,x-amz-content-sha256,"
    "mcp-protocol-version,mcp-session-id,mcp-method,mcp-name,anthropic-version"
)
_READ = "retry-after"
_KEPT = "3600"  # seconds that a browser may remember a preflight's answer


class FrontLimits(Value, frozen=True):
    """Which web origins may call (``*``: any), and how long a body may be, in bytes."""

    origins: tuple[str, ...] = ()
    max_body: int = 6 * 2**20

    @classmethod
    def of_environment(cls) -> FrontLimits:
        return cls(settings.origins("AWSLLM_CORS_ORIGINS"), settings.whole("AWSLLM_MAX_BODY_BYTES") or cls().max_body)

    def check_body(self, body: bytes) -> None:
        if len(body) > self.max_body:
            raise Refusal(413, f"the body has {len(body):,} bytes; {self.max_body:,} is the most")

    def cors(self, front: FrontRequest) -> dict[str, str]:
        """The headers that let the page of an allowed origin read the reply; none for any other."""
        origin = front.headers.get("origin")
        if origin is None or not ("*" in self.origins or origin in self.origins):
            return {}
        allowed = "*" if "*" in self.origins else origin
        varies = {} if allowed == "*" else {"vary": "origin"}
        return {"access-control-allow-origin": allowed, "access-control-expose-headers": _READ, **varies}


def http_handler(work: Work, limits: FrontLimits, methods: tuple[str, ...] = ("POST",)) -> Handler:
    """The handler that does ``work`` behind any HTTP front door. ``methods`` are those that a preflight names."""

    def answer(front: FrontRequest, context: LambdaContext) -> JsonObject:
        began = time.monotonic()
        if front.method == "OPTIONS":
            return write(front, preflight(front, limits, methods))
        try:
            limits.check_body(front.body)
            reply = work(front, context)
        except Exception as error:
            reply = failure(error, context.aws_request_id)
            _log_failure(error, reply.status, front, context)
        else:
            seconds = round(time.monotonic() - began, 3)
            log("DEBUG", "replied", context, door=front.door, status=reply.status, seconds=seconds)
        written = _written(front, reply, limits)
        if is_too_long(written, front.door):
            log("ERROR", "the reply is longer than the front door passes on", context, door=front.door)
            reply = failure(Refusal(502, "the answer is longer than can be sent: ask for less"), context.aws_request_id)
            written = _written(front, reply, limits)
        return written

    return behind_front_door(answer)


def behind_front_door(answer: Callable[[FrontRequest, LambdaContext], Any]) -> Handler:
    """The handler that answers requests. An event of no front door, as one runtime saw after a stream's end, is
    acknowledged."""

    def handler(event: Any, context: LambdaContext) -> Any:
        try:
            front = read(event)
        except UnknownEventError as error:
            log("WARNING", "an event of no known front door", context, **of_error(error))
            return unknown_event(error, context.aws_request_id)
        return answer(front, context)

    return handler


def _written(front: FrontRequest, reply: FrontReply, limits: FrontLimits) -> JsonObject:
    return write(front, replace(reply, headers={**reply.headers, **limits.cors(front)}))


def preflight(front: FrontRequest, limits: FrontLimits, methods: tuple[str, ...]) -> FrontReply:
    """The answer to OPTIONS: what a page of an allowed origin may send."""
    cors = limits.cors(front)
    if cors:
        cors["access-control-allow-methods"] = ", ".join((*methods, "OPTIONS"))
        cors["access-control-allow-headers"] = _SENT
        cors["access-control-max-age"] = _KEPT
    return FrontReply(204, {"allow": ", ".join((*methods, "OPTIONS")), **cors})


def health(front: FrontRequest) -> FrontReply | None:
    """The reply to GET or HEAD of ``…/health``, which asks no model; None for any other request."""
    if front.method in ("GET", "HEAD") and front.path.rstrip("/").endswith("/health"):
        return json_reply(200, {"status": "ok"})
    return None


def _log_failure(error: Exception, status: int, front: FrontRequest, context: LambdaContext) -> None:
    """What the caller did wrong is a warning; what failed is an error, for an alarm to count."""
    level = "ERROR" if status >= 500 else "WARNING"
    members = of_error(error)
    members["status"], members["door"], members["front_request_id"] = status, front.door, front.request_id
    log(level, "refused" if level == "WARNING" else "failed", context, **members)
