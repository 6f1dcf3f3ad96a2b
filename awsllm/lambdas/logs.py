"""Structured log lines: one JSON object a line on standard output, which Lambda takes to CloudWatch.

``level`` and ``timestamp`` are as Lambda's own filter of log levels wants them
(lambda/latest/dg/monitoring-cloudwatchlogs-logformat). What may stand in a line is a list, and neither prompt, answer,
header nor exception text is on it: of an exception the lines tell its type, its service's code and where it was raised.
``logging`` is not loaded for them.
"""

from __future__ import annotations

import sys
import time
from typing import TypedDict, Unpack

from msgspec.json import encode

from awsllm.errors import AwsllmError
from awsllm.lambdas import settings
from awsllm.lambdas.context import LambdaContext
from awsllm.types import ConverseResponse, JsonObject

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_FRAMES = 8  # of a traceback, the innermost


class LogMembers(TypedDict, total=False):
    """What a line may tell.

    ``front_request_id`` is the front door's; ``item`` names what was worked on: a message id, a bucket and key;
    ``count`` and ``failed`` are of a batch; ``where`` are the innermost frames of a traceback.
    """

    door: str
    method: str
    status: int
    front_request_id: str | None
    model: str | None
    stop_reason: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost: float | None
    seconds: float
    item: str
    count: int
    failed: int
    error: str
    error_code: str | None
    service_request_id: str | None
    where: list[str]


def log(level: str, message: str, context: LambdaContext, **members: Unpack[LogMembers]) -> None:
    """Write a line, unless AWSLLM_LOG_LEVEL asks for more important ones only. ``message`` is fixed words."""
    least = settings.text("AWSLLM_LOG_LEVEL")
    if least in _LEVELS and _LEVELS.index(level) < _LEVELS.index(least):
        return
    now = time.time()
    line: JsonObject = {
        "timestamp": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03}Z",
        "level": level,
        "message": message,
        "request_id": context.aws_request_id,
        "function": context.function_name,
        **{name: value for name, value in members.items() if value is not None},
    }
    try:
        written = encode(line)
    except UnicodeEncodeError:  # a name with half a surrogate pair, which an event's JSON can have
        written = encode(_without_surrogates(line))
    sys.stdout.write(written.decode("utf-8") + "\n")
    sys.stdout.flush()


def _without_surrogates(line: JsonObject) -> JsonObject:
    return {
        name: value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value
        for name, value in line.items()
    }


def of_response(response: ConverseResponse, seconds: float) -> LogMembers:
    """What a line tells of a model's answer, which took so long."""
    return {
        "seconds": round(seconds, 3),
        "model": response.model,
        "stop_reason": response.stop_reason,
        "input_tokens": response.usage.input_tokens,
        "output_tokens": response.usage.output_tokens,
        "cost": response.cost,
    }


def of_error(error: BaseException) -> LogMembers:
    """What a line tells of an error. Where awsllm raised it, its kind says enough; elsewhere the frames help."""
    told: LogMembers = {"error": type(error).__name__}
    if isinstance(error, AwsllmError):
        told["error_code"], told["service_request_id"], told["model"] = error.code, error.request_id, error.model
        return told
    frames = []
    at = error.__traceback__
    while at is not None:
        code = at.tb_frame.f_code
        frames.append(f"{code.co_filename}:{at.tb_lineno} {code.co_name}")
        at = at.tb_next
    told["where"] = frames[-_FRAMES:]
    return told
