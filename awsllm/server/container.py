"""A container that runs behind an endpoint: which format it speaks, and how its streams are cut.

What answers an invocation (``Incoming.container``) is such a value: found by ``server.account.containers`` for an
endpoint of the offline account, ``PLAIN`` for one that only has a name.

SageMaker cuts a container's bytes into parts anywhere. ``Cutter`` does so too, at sizes that fall inside characters,
inside JSON and across events; what is left of a part waits for the bytes of the next event.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import msgspec

from awsllm.errors import AwsllmError
from awsllm.types import JsonObject
from awsllm.wire import endpoint
from awsllm.wire.body import Body, Settings
from awsllm.wire.endpoint import Detected, detect
from awsllm.wire.reading import JSON


@dataclass(frozen=True, slots=True)
class Container:
    """A container that runs. ``cuts`` are the sizes of a stream's parts in bytes, in turn; none: as it writes.
    ``image`` is its image, where that decides in which format a body is answered; ``handler`` is what answers a body
    that is no JSON, where that is another. ``model`` is what the models know by which it is to be answered, where that
    is not the endpoint's own name: what was trained for it."""

    detected: Detected
    variant: str = "AllTraffic"
    cuts: tuple[int, ...] = ()
    image: str | None = None
    handler: Detected | None = None
    model: str | None = None

    @property
    def body(self) -> Body:
        return endpoint.get(self.detected.format)

    @property
    def settings(self) -> Settings:
        return self.detected.settings

    def for_payload(self, payload: bytes, content_type: str = JSON) -> Container:
        """The container as it answers these bytes: some choose what they speak by them."""
        if self.handler is not None and content_type.partition(";")[0].strip() != JSON:
            return replace(self, detected=self.handler)
        if self.image is None:
            return self
        try:
            wire = msgspec.json.decode(payload)
        except (ValueError, RecursionError):
            return self
        return replace(self, detected=detect.for_body(self.detected, self.image, wire))


PLAIN = Container(
    Detected(format="openai", source="caller", evidence="an endpoint that only has a name"),
    image="huggingface-pytorch-tgi-inference:2.7.0-tgi3.3.4",
)
"""What has no format of its own: it answers OpenAI's bodies and, where they have ``inputs``, TGI's, as TGI does from
version 3 on."""


def model_error(container: Container, error: AwsllmError) -> JsonObject:
    """The members of the runtime's ModelError: what the container itself refuses, with its own status and body
    inside."""
    status, payload = container.body.encode_error(error)
    original = payload.body.decode(errors="replace")
    side = "client" if status < 500 else "server"
    message = f'Received {side} error ({status}) from primary with message "{original}"'
    return {"Message": message, "OriginalStatusCode": status, "OriginalMessage": original, "LogStreamArn": ""}


class Cutter:
    """Bytes to parts of the given sizes."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = itertools.cycle(sizes)
        self._size = next(self._sizes, 0)
        self._waiting = b""

    def push(self, data: bytes) -> Iterator[bytes]:
        if self._size == 0:
            if data:
                yield data
            return
        self._waiting += data
        while len(self._waiting) >= self._size:
            part, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
            self._size = next(self._sizes)
            yield part

    def rest(self) -> Iterator[bytes]:
        if self._waiting:
            yield self._waiting
            self._waiting = b""
