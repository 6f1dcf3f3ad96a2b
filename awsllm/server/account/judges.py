"""Functions that judge what a model wrote, while it is trained by reinforcement.

A function is one of Python's that a test gave (``Account.functions``, by the name or the ARN of the Lambda function or
the evaluator), called as Lambda calls a handler; else a Lambda function of the account's neighbour. It is given a list
of samples, each with ``id``, ``messages`` that end with what the model wrote, ``reference_answer`` and whatever else
the line of the data has, and gives for each ``id`` an ``aggregate_reward_score``, as a list or in a reply of HTTP's
form (docs.aws.amazon.com/sagemaker/latest/dg/nova-implementing-reward-functions; SageMaker SDK 3,
``rlvr_reward_verifier``; read 2026-11-27).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import msgspec

from awsllm.jumpstart import names
from awsllm.server.account.account import Region
from awsllm.server.account.jobs import JobFailure
from awsllm.types import JsonObject

_SECONDS = 900  # that a function may take at most (docs.aws.amazon.com/lambda/latest/dg/configuration-timeout)


def scores(region: Region, function: str, samples: Sequence[JsonObject]) -> list[float]:
    """A score for each sample. Raises ``JobFailure``, without a word of what was written."""
    answer = _unwrapped(_called(region, function, list(samples)))
    if isinstance(answer, dict):
        answer = [answer]
    if not isinstance(answer, list) or not all(isinstance(one, dict) for one in answer):
        raise JobFailure("The reward function returned no list of scores.")
    found = {str(one.get("id")): one.get("aggregate_reward_score") for one in answer}
    scored = [found.get(str(sample["id"])) for sample in samples]
    if not all(isinstance(one, int | float) and math.isfinite(one) for one in scored):
        raise JobFailure("The reward function returned no aggregate_reward_score for one of the samples, by its id.")
    return [float(one) for one in scored if one is not None]


def _called(region: Region, function: str, samples: list[JsonObject]) -> Any:
    for key in (function, _name(function)):
        if (handler := region.account.functions.get(key)) is not None:
            try:
                return handler(samples, _Context(_name(function), function))
            except Exception as error:
                raise JobFailure(f"The reward function {key} failed: {type(error).__name__}") from error
    payload = region.account.neighbours.invoke(region.name, function, msgspec.json.encode(samples))
    if payload is None:
        raise JobFailure(f"The reward function {function} does not exist, or cannot be invoked.")
    return _decoded(payload)


class _Context:
    """What Lambda hands a function beside its event: handlers read the time that is left, and log whose they are."""

    function_version, memory_limit_in_mb = "$LATEST", "1024"
    client_context = identity = None

    def __init__(self, function: str, arn: str) -> None:
        self.function_name = function
        self.aws_request_id = str(uuid4())
        self.log_group_name, self.log_stream_name = f"/aws/lambda/{function}", self.aws_request_id
        self.invoked_function_arn = arn
        self._ends = time.monotonic() + _SECONDS

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._ends - time.monotonic()) * 1000))


def _name(arn: str) -> str:
    """Of a Lambda function's ARN its name, of an evaluator's its own."""
    return names.hub_content(arn) or arn.partition(":function:")[2].partition(":")[0] or arn


def _unwrapped(answer: Any) -> Any:
    """What stands in the body of a reply of HTTP's form."""
    if not isinstance(answer, dict) or "statusCode" not in answer:
        return answer
    if answer["statusCode"] != 200:
        raise JobFailure("The reward function returned another status than 200.")
    body = answer.get("body")
    return _decoded(body) if isinstance(body, str | bytes) else body


def _decoded(text: str | bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        raise JobFailure("The reward function returned no JSON.") from None
