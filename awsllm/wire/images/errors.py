"""How models without an error format of their own report one: by the service's status, and its words."""

from __future__ import annotations

from awsllm.errors import AwsllmError
from awsllm.wire import errors
from awsllm.wire.body import Payload
from awsllm.wire.payloads import write


def encode_error(error: AwsllmError) -> tuple[int, Payload]:
    status, _, wire = errors.encode_error(error)
    return status, write(wire)
