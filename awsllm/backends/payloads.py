"""Reading the responses of a service that hands a body's bytes through. A module of its own: Converse, which has no
such body, does not load ``wire.body``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from msgspec.structs import replace

from awsllm.aws.call import HttpResponse
from awsllm.wire.body import Codec, Context, Payload
from awsllm.wire.reading import JSON

R = TypeVar("R")


def read_payload(response: HttpResponse) -> Payload:
    return Payload(response.body, response.headers.get("content-type", JSON))


def read_by(codec: Codec[Any, R], context: Context) -> Callable[[HttpResponse], R]:
    """What decodes the responses to one request."""

    def read(response: HttpResponse) -> R:
        return codec.decode_response(read_payload(response), replace(context, request_id=response.request_id))

    return read
