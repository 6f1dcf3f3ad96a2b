"""boto3 clients whose calls are made again while the service is throttled or failing.

For what may be repeated without harm, and must not stop half-way: looking, and deleting. boto3's own retries take
seconds; a control plane that throttles an account does so for a minute or two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from awsllm.aws.control import translated
from awsllm.errors import ServiceError
from awsllm.jumpstart.deploy.progress import Pace
from awsllm.jumpstart.deploy.resources import Clients

_TRIES = 9  # at the usual pace, a minute and a half


def patient(clients: Clients, pace: Pace) -> Clients:
    """``clients`` whose calls outlast a failure that passes; what they raise at last is awsllm's."""
    return lambda service: _Patient(clients(service), pace)


class _Patient:
    def __init__(self, client: Any, pace: Pace) -> None:
        self._client, self._pace = client, pace

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        return self._repeated(found) if callable(found) else found

    def _repeated(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(**request: Any) -> Any:
            for tries, _ in enumerate(self._pace.ticks(None), 1):
                try:
                    with translated():
                        return method(**request)
                except ServiceError:
                    if tries == _TRIES:
                        raise
            raise AssertionError("ticks do not end")

        return call
