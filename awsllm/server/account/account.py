"""One AWS account, offline: what it holds in all regions, and one region of it as operations see it.

An operation is a function of a ``Region`` and a request; it returns its response, or None to leave the request to
others: what was made elsewhere (``Neighbours.knows``) is theirs. ``dispatch`` finds the operation that a request means.

Time passes in two ways. A transition that is a whole number lasts for as many looks (a describe, or an invocation); one
that is a float lasts for as many seconds of ``clock``; 0, the default, is over at once. So a test decides when an
endpoint becomes InService without sleeping.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping, MutableSequence, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from awsllm.aws.iam import partition
from awsllm.backend import Backend
from awsllm.errors import ConfigurationError, RequestError
from awsllm.log import without_words
from awsllm.server.account.clock import MovableClock, system_clock
from awsllm.server.account.documents import load
from awsllm.server.account.neighbours import Neighbours, ObjectStore
from awsllm.server.account.refusals import refused
from awsllm.server.account.state import State, Wait
from awsllm.server.account.terms import check_quotas, check_transitions
from awsllm.server.work import Models
from awsllm.types import JsonObject

_log = logging.getLogger(__name__)

ACCOUNT_ID = "123456789012"
_CALLS = 10_000  # that are known; the oldest are forgotten
_REGIONS = 200  # which a request names as it likes; AWS has a fifth of it
_WORKERS = 64  # threads for what runs in the background; more of it waits
CUTS = (1, 3, 7, 64)
_HAD = "had"


class Account:
    """What one account holds, all regions. Safe to share between threads: whoever handles a request holds ``lock``.

    ``documents`` are what the public hub holds (``documents.load``). ``transitions`` says how long what lasts: endpoint
    (creating, and updating unless endpoint-update is given), endpoint-delete, component (component-update),
    component-delete, knowledge-base (knowledge-base-delete), data-source-delete, ingestion, training, transform;
    async-invoke; Bedrock's jobs (model-invocation, model-customization, model-import, model-copy), custom-model,
    custom-model-deployment, provisioned-throughput; guardrail; training-session (training-session-stop),
    training-session-delete. ``quotas`` maps an instance type, ``endpoints``, or what
    ``bedrock`` bounds, to how many an account may have; ``terms`` has the names of both. ``formats`` says what the
    container of an endpoint speaks, where that shall not follow from its model. ``cuts`` are the sizes of a stream's
    parts, in turn. ``backend`` and ``models``, set by whoever drives the account, answer for the containers of jobs and
    asynchronous invocations. ``functions`` are handlers by the names or ARNs of Lambda functions, of those that judge
    in reinforcement. ``calls`` are the operations that were performed, with their requests; a server keeps the
    last of them.

    What runs (jobs, asynchronous invocations) runs within the call that finds it due, so that a test knows when. With
    ``background`` it runs on a thread of its own, which takes ``lock`` for what it reads and writes of the account and
    not while a model computes; of much of it some waits for a thread. ``running`` has what runs or waits, by the ARN or
    id of it. With
    ``strict_models``, an ARN of Bedrock's that does not say its model must be the account's to be invoked.
    """

    def __init__(
        self,
        *,
        documents: Iterable[JsonObject | str | Path] = (),
        objects: ObjectStore | None = None,
        transitions: Mapping[str, float] | None = None,
        clock: Callable[[], float] = system_clock,
        account_id: str = ACCOUNT_ID,
        quotas: Mapping[str, int] | None = None,
        formats: Mapping[str, str] | None = None,
        cuts: Sequence[int] = CUTS,
        neighbours: Neighbours | None = None,
        strict_models: bool = False,
    ) -> None:
        check_transitions(transitions or {})
        check_quotas(quotas or {})
        if not callable(clock):
            raise ConfigurationError(
                f"a clock is a function that returns seconds, as time.time does; {clock!r} is none"
            )
        self.contents = load(documents)
        self.objects = objects
        self.transitions = dict(transitions or {})
        self._first_transitions = dict(self.transitions)
        self.clock = clock
        self.account_id = account_id
        self.quotas = dict(quotas or {})
        self.formats = dict(formats or {})
        self.cuts = tuple(cuts)
        self.neighbours = neighbours or Neighbours()
        self.backend: Backend | None = None
        # Answers beside models what a region's knowledge bases are asked; set by who serves these.
        self.backend_in: Callable[[str], Backend | None] = lambda region: self.backend
        self.models = Models()
        self.functions: dict[str, Callable[[Any, Any], Any]] = {}
        self.calls: MutableSequence[tuple[str, JsonObject]] = []
        self.lock = threading.RLock()
        self.background = False
        self.is_over = False  # nothing of it is asked for any more
        self.running: set[str] = set()
        self._waiting: deque[tuple[str, Callable[[], None]]] = deque()
        self._workers = 0
        self._over = threading.Condition(threading.Lock())
        self.strict_models = strict_models
        self._failures: dict[str, str] = {}
        self._refusals: dict[str, list[RequestError]] = {}
        self.states: dict[str, State] = {}
        self.ended: Callable[[], None] = lambda: None  # called when what ran in the background has ended
        self.kept_in: Path | None = None  # where files are that outlive it; None: they go with it
        self._folder: TemporaryDirectory[str] | None = None

    def region(self, name: str) -> Region:
        return Region(self, name)

    def state(self, region: str) -> State:
        """Raises ``RequestError`` for one more region than there could be."""
        if region not in self.states and len(self.states) >= _REGIONS:
            raise refused("ValidationException", f"The account has no more than {_REGIONS} regions.")
        return self.states.setdefault(region, State())

    def folder(self) -> Path:
        """Where models lie that were made here."""
        with self.lock:
            if self.kept_in is not None:
                return self.kept_in / "models"
            if self._folder is None:
                self._folder = TemporaryDirectory(prefix="awsllm-account-", ignore_cleanup_errors=True)
                weakref.finalize(self, self._folder.cleanup)  # without the warning that it was not said
            return Path(self._folder.name)

    def performed(self, operation: str, request: JsonObject) -> None:
        """Note it in ``calls``."""
        self.calls.append((operation, request))
        if len(self.calls) >= 2 * _CALLS:
            del self.calls[:-_CALLS]

    @property
    def regions(self) -> list[str]:
        """Those of which something is known."""
        return sorted(self.states)

    def perform(self, name: str, work: Callable[[], None]) -> None:
        """Do what runs, now or in the background."""
        if self.is_over:
            return
        self.running.add(name)
        if not self.background:
            try:
                work()
            finally:
                self.running.discard(name)
            return
        with self._over:
            self._waiting.append((name, work))
            if self._workers >= _WORKERS:
                return
            self._workers += 1
        threading.Thread(target=self._work, name="awsllm background", daemon=True).start()

    def _work(self) -> None:
        """Do what waits, until nothing does."""
        while True:
            with self._over:
                if not self._waiting:
                    self._workers -= 1
                    self._over.notify_all()
                    return
                name, work = self._waiting.popleft()
            try:
                self._perform(name, work)
            except Exception as error:  # on a thread that nobody waits for
                _log.error("what ran in the background failed\n%s", without_words(error))

    def _perform(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            with self.lock:
                self.running.discard(name)
            self.ended()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for what runs in the background; whether all of it has ended within so many seconds."""
        with self._over:
            return self._over.wait_for(lambda: self._workers == 0, timeout)

    def end(self, timeout: float) -> bool:
        """What waits is not begun, and what runs leaves off where it looks; what becomes of it is not told, so that a
        job that is kept goes on where it is read again. Whether all of it has ended within so many seconds."""
        self.is_over = True
        with self._over:
            self._waiting.clear()
        return self.join(timeout)

    # --- for tests ---------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """As new: nothing exists, and nothing is to fail."""
        with self.lock:
            self.states.clear()
            self._failures.clear()
            self._refusals.clear()
            self.calls.clear()
            self.transitions = dict(self._first_transitions)
            if isinstance(self.clock, MovableClock):
                self.clock.reset()

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

    def arn(self, kind: str, name: str, *, owner: str | None = None, service: str = "sagemaker") -> str:
        """The ARN of one of the account's resources, or of another ``owner``'s ("" for AWS's own)."""
        owner = self.account.account_id if owner is None else owner
        return f"arn:{partition(self.name)}:{service}:{self.name}:{owner}:{kind}/{name}"

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

    def begin(self, kind: str) -> None:
        """Remember that the account has had a resource of that kind."""
        self.state.table(_HAD)[kind] = True

    def has_begun(self, kind: str) -> bool:
        """Whether the account has had one, in any region: what is asked of one that is not there is then refused, and
        not a script's to answer."""
        states = list(self.account.states.values())
        return any(kind in state.tables.get(_HAD, ()) or state.tables.get(kind) for state in states)

    def elsewhere(self, kind: str, name: str) -> bool:
        """Whether the name was made elsewhere."""
        return self.account.neighbours.knows(self.name, kind, name)


Operation: TypeAlias = Callable[[Region, JsonObject], JsonObject | None]
"""A request to its response, or to None, which leaves it to others. Raises AWS's refusal."""
