"""A record to a line of a job's input, and a line of its output to an answer.

Bedrock's jobs take bodies of Converse or of InvokeModel, one form a job. Converse's are one for all models, but a
record with tools fails there, so that those go by InvokeModel, in the model's own body (``wire.invoke``). Source:
docs.aws.amazon.com/bedrock/latest/userguide/batch-inference.html, read 2026-11-27.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import replace

from awsllm.backends.bedrock.invoke import decode_body, encode_body
from awsllm.calls.prepare import Prepared, add_answer
from awsllm.errors import AwsllmError, OutputValidationError, ServerError, UnsupportedError
from awsllm.jobs.batch.records import arguments_of
from awsllm.types import ConverseRequest, ConverseResponse, JsonObject, ServiceTier
from awsllm.wire.converse.requests import encode_request
from awsllm.wire.converse.responses import decode_response

CONVERSE, INVOKE = 0, 1
TYPES = {CONVERSE: "Converse", INVOKE: "InvokeModel"}
"""The kinds of records, and what ``modelInvocationType`` calls them."""

Prepare: TypeAlias = Callable[[Any, JsonObject], Prepared]
"""``calls.prepare.prepare`` with the batch's model and options, given messages and the record's own options."""


def checker(prepare: Prepare) -> Callable[[bytes], tuple[str | None, int]]:
    """What says of a record why it cannot be asked, and of which kind it is."""

    def check(arguments: bytes) -> tuple[str | None, int]:
        messages, options = arguments_of(arguments)
        try:
            return None, kind_of(prepare(messages, options))
        except AwsllmError as error:
            return error.message, CONVERSE

    return check


def kind_of(call: Prepared) -> int:
    """By which body it would go in a job of Bedrock's."""
    if call.reference.scheme != "bedrock":
        return CONVERSE
    request = first_request(call)
    return INVOKE if request.tools or request.api is not None else CONVERSE


def first_request(call: Prepared) -> ConverseRequest:
    """What the model is asked first; of a job's record, that is all it is asked."""
    if call.loop is None:
        return call.request
    step = next(call.loop())
    return step if isinstance(step, ConverseRequest) else call.request


def why_not(call: Prepared) -> str | None:
    """What keeps a call out of a job, where it is not the body alone."""
    if call.tool_errors is not None:
        return "functions as tools run between turns, and a job asks each record once"
    request = call.request
    if request.performance_config is not None or request.service_tier is not None:
        return "a job has no latency and no service tier of its own"
    if request.guardrail_config is not None and kind_of(call) == INVOKE:
        return "a job with bodies of InvokeModel has no guardrail"
    return None


def encode_line(name: str, call: Prepared, kind: int) -> bytes:
    """A line of a job's input. Raises ``UnsupportedError`` for what no job does."""
    if reason := why_not(call):
        raise UnsupportedError(reason)
    request = first_request(call)
    body = encode_body(request) if kind == INVOKE else msgspec.json.encode(encode_request(request))
    return msgspec.json.encode({"recordId": name, "modelInput": msgspec.Raw(body)}) + b"\n"


def decode_output(call: Prepared, kind: int, output: JsonObject) -> ConverseResponse:
    """The answer that a job wrote, at its price. A typed output that does not fit is not asked for again here."""
    request = first_request(call)
    response = decode_body(request, msgspec.json.encode(output)) if kind == INVOKE else decode_response(output)
    return completed(call, replace(response, service_tier=ServiceTier("batch")))


def completed(call: Prepared, response: ConverseResponse) -> ConverseResponse:
    """What the call makes of its one answer."""
    return call.finish(response if call.loop is None else _read(call, response))


def _read(call: Prepared, response: ConverseResponse) -> ConverseResponse:
    """What the call's loop makes of it."""
    loop = call.loop()  # type: ignore[misc]
    next(loop)
    try:
        loop.send(add_answer(call, response))
    except StopIteration as done:
        if isinstance(done.value, ConverseResponse):
            return done.value
        raise ServerError("the answer is none") from done
    raise OutputValidationError("the answer does not fit the type, and a job asks each record once")
