"""One AWS account, offline: what it holds in all regions, and one region of it as operations see it.

An operation is a function of a ``Region`` and a request; it returns its response, or None to leave the request to
others: what was made elsewhere (``Neighbours.knows``) is theirs. ``dispatch`` finds the operation that a request means.

Time passes in two ways. A transition that is a whole number lasts for as many looks (a describe, or an invocation); one
that is a float lasts for as many seconds of ``clock``; 0, the default, is over at once. So a test decides when an
endpoint becomes InService without sleeping.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from awsllm.aws.iam import partition
from awsllm.backend import Backend
from awsllm.errors import RequestError
from awsllm.server.account.documents import load
from awsllm.server.account.neighbours import Neighbours, ObjectStore
from awsllm.server.account.refusals import refused
from awsllm.server.account.state import State, Wait
from awsllm.server.work import Models
from awsllm.types import JsonObject

ACCOUNT_ID = "123456789012"


class Account:
    """What one account holds, all regions. Safe to share between threads: whoever handles a request holds ``lock``.

    ``documents`` are what the public hub holds (``documents.load``). ``transitions`` says how long what lasts: endpoint
    (creating, and updating unless endpoint-update is given), endpoint-delete, component (component-update),
    component-delete, training, transform. ``quotas`` maps an instance type, or ``endpoints``, to how many an account
    may have. ``formats`` says what the container of an endpoint speaks, where that shall not follow from its model.
    ``cuts`` are the sizes of a stream's parts, in turn. ``backend`` and ``models``, set by whoever drives the account,
    answer for the containers of jobs and asynchronous invocations. ``calls`` are the operations that were performed,
    with their requests.
    """

    def __init__(
        self,
        *,
        documents: Iterable[JsonObject | str | Path] = (),
        objects: ObjectStore | None = None,
        transitions: Mapping[str, float] | None = None,
        clock: Callable[[], float] = time.time,
        account_id: str = ACCOUNT_ID,
        quotas: Mapping[str, int] | None = None,
        formats: Mapping[str, str] | None = None,
        cuts: Sequence[int] = (1, 3, 7, 64),
        neighbours: Neighbours | None = None,
    ) -> None:
        self.contents = load(documents)
        self.objects = objects
        self.transitions = dict(transitions or {})
        self.clock = clock
        self.account_id = account_id
        self.quotas = dict(quotas or {})
        self.formats = dict(formats or {})
        self.cuts = tuple(cuts)
        self.neighbours = neighbours or Neighbours()
        self.backend: Backend | None = None
        self.models = Models()
        self.calls: list[tuple[str, JsonObject]] = []
        self.lock = threading.RLock()
        self._failures: dict[str, str] = {}
        self._refusals: dict[str, list[RequestError]] = {}
        self._states: dict[str, State] = {}

    def region(self, name: str) -> Region:
        return Region(self, name)

    def state(self, region: str) -> State:
        return self._states.setdefault(region, State())

    # --- for tests ---------------------------------------------------------------------------------------------------

    def fail(self, name: str, reason: str) -> None:
        """The next change of the endpoint or component ``name`` (its creation, an update), or the job, fails with
        ``reason``."""
        self._failures[name] = reason

    def refuse(self, operation: str, code: str, message: str, *, times: int = 1) -> None:
        """Refuse the next ``times`` requests of ``operation`` (``CreateModel``)."""
        self._refusals.setdefault(operation, []).extend([refused(code, message)] * times)

    def left(self, region: str) -> list[str]:
        """What exists in ``region`` and costs or clutters: ``KIND/NAME``."""
        kinds = ("endpoint", "inference-component", "endpoint-config", "model")
        return [f"{kind}/{name}" for kind in kinds for name in self.state(region).table(kind)]

    # --- what the tests wanted, once each ----------------------------------------------------------------------------

    def take_failure(self, name: str) -> str | None:
        """Why the change of ``name`` that ends now fails, if it does."""
        return self._failures.pop(name, None)

    def take_refusal(self, operation: str) -> RequestError | None:
        """What this request of ``operation`` is refused with, if it is."""
        refusals = self._refusals.get(operation)
        return refusals.pop(0) if refusals else None


@dataclass(frozen=True, slots=True)
class Region:
    """One region of an account: what an operation works on."""

    account: Account
    name: str

    @property
    def state(self) -> State:
        return self.account.state(self.name)

    def arn(self, kind: str, name: str, *, owner: str | None = None) -> str:
        """The ARN of one of the account's resources, or of another ``owner``'s."""
        return f"arn:{partition(self.name)}:sagemaker:{self.name}:{owner or self.account.account_id}:{kind}/{name}"

    def now(self) -> float:
        return self.account.clock()

    def wait(self, transition: str, default: str | None = None) -> Wait:
        """A transition that begins now."""
        transitions = self.account.transitions
        lasting = transitions.get(transition, transitions.get(default or "", 0))
        return Wait(looks=lasting) if isinstance(lasting, int) else Wait(until=self.now() + lasting)

    def log(self, group: str, stream: str, lines: Sequence[str]) -> None:
        """Write to the region's CloudWatch Logs."""
        self.account.neighbours.log(self.name, group, stream, lines)

    def elsewhere(self, kind: str, name: str) -> bool:
        """Whether the name was made elsewhere."""
        return self.account.neighbours.knows(self.name, kind, name)


Operation: TypeAlias = Callable[[Region, JsonObject], JsonObject | None]
"""A request to its response, or to None, which leaves it to others. Raises AWS's refusal."""
