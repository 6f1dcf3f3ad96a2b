"""Observers: who is told what happens to the calls of a client (OpenTelemetry, a log, metrics, kept calls).

What happens is a tree of activities (``Activity``), of four kinds:

    call    one request to a model, a knowledge base or an agent, retries included; a turn of a tool loop is one
    loop    a ``converse`` that runs tools or asks for typed output: its turns are calls and its tools are tools
    group   a call of several models: each one that is asked is a call
    tool    one function that is run for a model

An observer (``Observer``) is told when one begins and returns an ``Observation``, which is told of the rest: that an
attempt failed and another is made, that a group moved on, that the call waited for a limiter, the first event of a
stream, and how it ended, which is one of ``ended``, ``failed`` and ``left`` (its reader went, or it was cancelled).

A client without observers has none of this: one test of ``is None`` a call. An observer that raises changes no call:
that is told once in the log, by the exception's type alone, since its text may repeat a prompt.

``CURRENT`` is the activity that the running code belongs to. It is set only where nothing is yielded meanwhile, so that
no generator carries it into its reader's code; threads and tasks of tools have it by their copy of the context. What
stands deep in a call (the policy, a limiter) tells of itself by ``retrying`` and ``waited``, which find the activity
there. That a group moved on is seen from its members' calls.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextvars import Context, ContextVar, copy_context
from functools import partial
from random import getrandbits
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from msgspec.structs import replace

from awsllm.errors import StreamError
from awsllm.types import ConverseRequest, MessageStop, Metadata, ToolResult

if TYPE_CHECKING:
    from awsllm.models.knowledge import Knowledge
    from awsllm.models.references import Reference
    from awsllm.policy.groups import Group
    from awsllm.policy.tags import CallMarks
    from awsllm.stream import AsyncConverseStream, ConverseStream
    from awsllm.types import ToolUse

E = TypeVar("E")
R = TypeVar("R")

CURRENT: ContextVar[Activity | None] = ContextVar("awsllm_activity", default=None)


class Observation:
    """What one observer makes of one activity. Each method does nothing, until a subclass says what.

    ``enter`` and ``leave`` stand round the code that belongs to the activity, in its thread and task: what ``enter``
    returns is given to ``leave``. ``wants_events``: whether ``event`` is to be called for each event of a stream."""

    __slots__ = ()
    wants_events = False
    _enters = False

    def __init_subclass__(cls) -> None:
        cls._enters = cls.enter is not Observation.enter

    def enter(self) -> Any: ...

    def leave(self, token: Any) -> None: ...

    def retrying(self, error: BaseException, wait: float) -> None:
        """An attempt failed; another is made in ``wait`` seconds."""

    def moved(self, model: str, error: BaseException | None) -> None:
        """A member of a group failed (``error``), or withheld its answer, and the next is asked."""

    def went_on(self, how: str, error: BaseException | None) -> None:
        """Another attempt is made beside one that is late (``hedge``), or goes on with a stream that broke
        (``resume``)."""

    def waited(self, seconds: float, why: str) -> None:
        """The call waited before it was sent."""

    def first_event(self) -> None:
        """The first event of a stream has come (``Activity.first``)."""

    def event(self, event: Any) -> None: ...

    def ended(self, response: Any) -> None: ...

    def failed(self, error: BaseException) -> None: ...

    def left(self, error: BaseException) -> None:
        """Its reader went, or it was cancelled: nobody knows how it would have ended."""


class Observer(Protocol):
    """Who is told of the activities of a client. Safe to share between threads, and never slow: calls wait for it.

    One that is not always interested may have a method ``listens() -> bool``: while none of a client's observers
    listens, nothing is made ready for them."""

    def began(self, activity: Activity) -> Observation | None:
        """``None``: this one is not looked at."""

    def close(self) -> None: ...


class GivenObserver:
    """An observer that its giver closes: several clients may have it."""

    def __init__(self, given: Observer) -> None:
        self.given = given
        self.began = given.began
        if (listens := getattr(given, "listens", None)) is not None:
            self.listens: Callable[[], bool] = listens

    def close(self) -> None: ...


class Activity:
    """One thing that happens, from its beginning to its end.

    ``operation`` is the client's method (``converse``), or ``tool``; ``request`` what was asked: a ``Request``, the
    ``ToolUse`` of a tool, None for a group. ``reference`` is who was asked. ``tags`` are the client's and the call's.
    ``tenant`` is for whom it is made, where that was said.
    ``name`` is a tool's or those of a group's models. ``started`` and ``first`` (its first event, None before that)
    are instants of ``time.perf_counter()``, ``began_at`` is in seconds since 1970. At the end there are ``seconds``
    and ``cost`` (US dollars), and of a stream that was left the ``metadata`` with its usage, where that had come."""

    # Most of these stay what they are here: what is not set costs a call nothing.
    tags: Mapping[str, str]
    tenant: str | None = None
    name = ""
    streamed = False
    retries = 0
    waited_for = 0.0
    first: float | None = None
    seconds = 0.0
    cost: float | None = None
    metadata: Metadata | None = None
    error: BaseException | None = None
    """What a tool raised, which its model reads of; the tool itself has ended then."""
    is_over = False
    parent: Activity | None = None
    wants_events = False
    _context: Context | None = None
    _tokens: Any = None
    _id: str | None = None
    _told: tuple[Observation, ...] = ()
    _entering: tuple[Observation, ...] = ()
    _asked: tuple[str, BaseException | None] | None = None  # of a group: its member before, and how that ended

    def __init__(
        self,
        observers: Observers,
        kind: str,
        operation: str,
        reference: Reference | None,
        request: Any,
    ) -> None:
        self._observers = observers
        self.kind, self.operation, self.reference, self.request = kind, operation, reference, request
        self.tags = observers.tags

    @property
    def id(self) -> str:
        """A name of its own, of 16 hexadecimal digits."""
        if self._id is None:
            self._id = f"{getrandbits(64):016x}"
        return self._id

    @property
    def server(self) -> tuple[str, int] | None:
        """Host and port of who is asked; None in this process, and where it is not known."""
        return None if self.reference is None else self._observers.server(self.reference, self.operation)

    # --- beginning and ending ---

    def later(self) -> Self:
        """The activity itself, to begin when its stream is first read, and then where it was made: whoever reads a
        stream may be in another task than who asked for it."""
        self.streamed = True
        self._context = copy_context()
        return self

    def begin(self) -> Self:
        context, self._context = self._context, None
        if context is not None:
            context.run(self._begin)
        else:
            self._begin()
        return self

    def _begin(self) -> None:
        self.parent = group = CURRENT.get()
        if group is not None and group.kind == "group" and group._asked is not None:
            group.moved(*group._asked)
            group._asked = None
        self.began_at, self.started = time.time(), time.perf_counter()
        told, entering = [], []
        for observer in self._observers.observers:
            try:
                observation = observer.began(self)
            except Exception as error:
                _tell(observer, error)
                observation = None
            if observation is not None:
                told.append(observation)
                if observation._enters:
                    entering.append(observation)
                if observation.wants_events:
                    self.wants_events = True
        self._told, self._entering = tuple(told), tuple(entering)

    def ended(self, response: R) -> R:
        """It has ended well. Returns the response."""
        if not self.is_over:
            self._close(None)
            cost = getattr(response, "cost", None)
            if cost is None and self.kind == "call" and self.reference is not None:
                cost = self._observers.cost(self.reference, response, self.request)
            self.cost = cost
            for observation in self._told:
                try:
                    observation.ended(response)
                except Exception as error:
                    _tell(observation, error)
        return response

    def failed(self, error: BaseException) -> None:
        """It has ended with an error; what is no ``Exception`` (a closed generator, a cancelled task) has left it."""
        if self.is_over:
            return
        self._close(error)
        is_failure = isinstance(error, Exception)
        for observation in self._told:
            try:
                if is_failure:
                    observation.failed(error)
                else:
                    observation.left(error)
            except Exception as wrong:
                _tell(observation, wrong)

    def _close(self, error: BaseException | None) -> None:
        self.is_over = True
        self.seconds = time.perf_counter() - self.started
        if self.parent is not None and self.parent.kind == "group":  # which moves on, if another is asked
            self.parent._asked = (str(self.reference), error)

    def events(self, events: Iterator[E], whole: Callable[[list[E]], Any]) -> Iterator[E]:
        """The events of a stream that is no chat, told of by this activity; ``whole`` makes its response."""
        return watched(self.later(), events, whole=whole)

    def events_async(self, events: AsyncIterator[E], whole: Callable[[list[E]], Any]) -> AsyncGenerator[E, None]:
        """``events``, awaited."""
        return watched_async(self.later(), events, whole=whole)

    def reads(self, stream: ConverseStream) -> None:
        """Let the stream be told of by this activity."""
        told = self.later()
        stream.through(partial(watched, told), partial(finishing, told))

    def reads_async(self, stream: AsyncConverseStream) -> None:
        """``reads``, awaited."""
        told = self.later()
        stream.through(partial(watched_async, told), partial(finishing, told))

    # --- the code that belongs to it ---

    def enter(self) -> Any:
        """Make this the activity of the code that runs now, until ``leave`` of what is returned."""
        token = CURRENT.set(self)
        if not self._entering:
            return token, ()
        entered = []
        for observation in self._entering:
            try:
                entered.append(observation.enter())
            except Exception as error:
                _tell(observation, error)
                entered.append(None)
        return token, entered

    def leave(self, tokens: Any) -> None:
        token, entered = tokens
        try:
            CURRENT.reset(token)
        except ValueError:  # a generator that was thrown away in another context: that one is not ours to change
            return
        for observation, each in zip(self._entering, entered, strict=False):
            if each is not None:
                try:
                    observation.leave(each)
                except Exception as error:
                    _tell(observation, error)

    def __enter__(self) -> Self:
        """Begin and enter; the end of the ``with`` leaves it, and ends it where that is an error."""
        self.begin()
        self._tokens = self.enter()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.leave(self._tokens)
        if error is not None:
            self.failed(error)

    # --- what happens in it ---

    def retrying(self, error: BaseException, wait: float) -> None:
        self.retries += 1
        self._tell_each("retrying", error, wait)

    def moved(self, model: str, error: BaseException | None) -> None:
        self._tell_each("moved", model, error)

    def went_on(self, how: str, error: BaseException | None) -> None:
        self._tell_each("went_on", how, error)

    def waited(self, seconds: float, why: str) -> None:
        self.waited_for += seconds
        self._tell_each("waited", seconds, why)

    def _tell_each(self, what: str, *arguments: Any) -> None:
        for observation in self._told:
            try:
                getattr(observation, what)(*arguments)
            except Exception as wrong:
                _tell(observation, wrong)

    def first_event(self) -> None:
        self.first = time.perf_counter()
        for observation in self._told:
            try:
                observation.first_event()
            except Exception as error:
                _tell(observation, error)

    def event(self, event: Any) -> None:
        """For those who want events; whoever reads the stream asks ``wants_events`` first."""
        for observation in self._told:
            if observation.wants_events:
                try:
                    observation.event(event)
                except Exception as error:
                    _tell(observation, error)

    # --- what belongs to it ---

    def turn(self, request: ConverseRequest) -> Activity:
        """A model call of this loop."""
        made = self._inner("call", "converse", request)
        made.streamed = self.streamed
        return made

    def tool(self, call: ToolUse) -> Activity:
        """A tool of this loop."""
        made = self._inner("tool", "tool", call)
        made.name = call.name
        return made

    def watched_turn(self, request: ConverseRequest, events: Iterator[E]) -> tuple[Iterator[E], Activity]:
        """``turn``, and its events as they are told of."""
        made = self.turn(request)
        return watched(made, events), made

    def watched_turn_async(
        self, request: ConverseRequest, events: AsyncIterator[E]
    ) -> tuple[AsyncGenerator[E, None], Activity]:
        """``watched_turn``, awaited."""
        made = self.turn(request)
        return watched_async(made, events), made

    def watching(self, step: Any) -> Any:
        """A ``RunTools`` whose tools are told of as this loop's."""
        return replace(step, watch=self.tool)

    def _inner(self, kind: str, operation: str, request: Any) -> Activity:
        """One that begins within this one, whichever thread or reader's task runs the code."""
        made = Activity(self._observers, kind, operation, self.reference, request)
        made.tags, made.tenant = self.tags, self.tenant
        tokens = self.enter()
        try:
            made._context = copy_context()
        finally:
            self.leave(tokens)
        return made


class Observers:
    """Those of one client. ``prices`` say what a call cost whose response does not say it."""

    def __init__(
        self,
        observers: tuple[Observer, ...],
        prices: Knowledge,
        tags: Mapping[str, str],
        server: Callable[[Reference, str], tuple[str, int] | None] = lambda *_: None,
    ) -> None:
        self.observers, self.tags = observers, tags
        self._prices = prices
        listens = [getattr(observer, "listens", None) for observer in observers]
        self._listens: tuple[Callable[[], bool], ...] = () if None in listens else tuple(filter(None, listens))
        self.server = server
        """Host and port of who answers an operation, as far as that is known."""

    def listen(self) -> bool:
        """Whether anybody does now; who is about to make a call asks it first."""
        for listens in self._listens:
            if listens():
                return True
        return not self._listens

    def made(self, kind: str, operation: str, reference: Reference | None, request: Any) -> Activity:
        return Activity(self, kind, operation, reference, request)

    def call(self, reference: Reference, request: Any, marks: CallMarks | None = None) -> Activity:
        """One request to one place."""
        return self._marked(self.made("call", request.operation, reference, request), marks)

    def loop(self, reference: Reference, request: ConverseRequest, marks: CallMarks | None = None) -> Activity:
        return self._marked(self.made("loop", "converse", reference, request), marks)

    def group(self, group: Group, options: Mapping[str, Any], operation: str = "converse") -> Activity:
        """A call of a group of models, with these options."""
        made = self.made("group", operation, None, None)
        made.name = ", ".join(member.model for member in group.members)
        made.tenant = options.get("tenant")
        if tags := options.get("tags"):
            made.tags = {**self.tags, **tags}
        return made

    def _marked(self, made: Activity, marks: CallMarks | None) -> Activity:
        if marks is not None:
            made.tenant = marks.tenant or None
            if marks.tags:
                made.tags = {**self.tags, **marks.tags}
        return made

    def cost(self, reference: Reference, response: Any, request: Any) -> float | None:
        return self._prices.cost(reference, response, request) if hasattr(response, "usage") else None

    def close(self) -> None:
        for observer in self.observers:
            try:
                observer.close()
            except Exception as error:
                _tell(observer, error)


# --- streams ---------------------------------------------------------------------------------------------------------


def watched(told: Activity, events: Iterator[E], *, whole: Callable[[list[E]], Any] | None = None) -> Iterator[E]:
    """The events of a stream, told to its observers. Who makes the response of a chat's events ends the activity
    (``finishing``); of other streams ``whole`` makes it here."""
    seen: list[E] = []
    watch = _Watch(told.begin(), seen if whole is not None else None)
    try:
        tokens = told.enter()
        try:
            first = next(events, None)  # no event is None
        finally:
            told.leave(tokens)
        if first is not None:
            watch.first(first)
            yield first
        for event in events:
            watch.next(event)
            yield event
    except BaseException as error:
        told.failed(error)
        raise
    finally:
        if close := getattr(events, "close", None):
            close()
    watch.over(whole)


async def watched_async(
    told: Activity, events: AsyncIterator[E], *, whole: Callable[[list[E]], Any] | None = None
) -> AsyncGenerator[E, None]:
    """``watched``, awaited."""
    seen: list[E] = []
    watch = _Watch(told.begin(), seen if whole is not None else None)
    try:
        tokens = told.enter()
        try:
            first = await anext(events, None)
        finally:
            told.leave(tokens)
        if first is not None:
            watch.first(first)
            yield first
        async for event in events:
            watch.next(event)
            yield event
    except BaseException as error:
        told.failed(error)
        raise
    finally:
        if close := getattr(events, "aclose", None):
            await close()
    watch.over(whole)


class _Watch:
    """What ``watched`` knows of a stream."""

    __slots__ = ("_seen", "_stopped", "_told", "_wants")

    def __init__(self, told: Activity, seen: list[Any] | None) -> None:
        self._told, self._seen = told, seen
        self._wants = told.wants_events
        self._stopped = False

    def first(self, event: Any) -> None:
        self._told.first_event()
        self.next(event)

    def next(self, event: Any) -> None:
        kind = type(event)
        if kind is MessageStop:
            self._stopped = True
        elif kind is Metadata:
            self._told.metadata = event
        if self._seen is not None:
            self._seen.append(event)
        if self._wants:
            self._told.event(event)

    def over(self, whole: Callable[[list[Any]], Any] | None) -> None:
        if whole is not None and self._seen is not None:
            finishing(self._told, whole)(self._seen)
        elif not self._stopped:  # nobody will make a response of it
            self._told.failed(StreamError("the stream ended without messageStop: the answer was cut"))


def finishing(told: Activity, finish: Callable[[E], R]) -> Callable[[E], R]:
    """``finish``, which makes the response, and thereby ends the activity."""

    def finished(answer: E) -> R:
        try:
            response = finish(answer)
        except BaseException as error:
            told.failed(error)
            raise
        return told.ended(response)

    return finished


# --- from deep in a call ---------------------------------------------------------------------------------------------


def retrying(error: BaseException, wait: float) -> None:
    """An attempt of the current call failed, and another is made in ``wait`` seconds."""
    if (told := CURRENT.get()) is not None:
        told.retrying(error, wait)


def went_on(how: str, error: BaseException | None = None) -> None:
    """The current call has another attempt, beside one that is late or after a stream that broke."""
    if (told := CURRENT.get()) is not None:
        told.went_on(how, error)


def waited(seconds: float, why: str = "limit") -> None:
    """The current call waited before it was sent, for a limiter or a place."""
    if (told := CURRENT.get()) is not None:
        told.waited(seconds, why)


def raised(error: BaseException) -> None:
    """The current tool raised; what its model reads of that is its result."""
    if (told := CURRENT.get()) is not None and told.kind == "tool":
        told.error = error


def is_error_result(response: Any) -> bool:
    """Whether a tool has ended with a result that says it failed."""
    return isinstance(response, ToolResult) and response.status == "error"


_TOLD: set[type] = set()


def _tell(who: object, error: Exception) -> None:
    """Once for each kind of observer."""
    kind = type(who.given if isinstance(who, GivenObserver) else who)
    if kind in _TOLD:
        return
    _TOLD.add(kind)
    from awsllm import log

    names = kind.__name__, type(error).__name__
    log.logger("policy").warning("an observer (%s) raised %s: it misses calls", *names)
