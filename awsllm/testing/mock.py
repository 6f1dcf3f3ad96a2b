"""``mock_aws``: moto's, with models that answer.

Inside, boto3 (and awsllm, and whatever else is built on botocore) gets real answers from Bedrock's and SageMaker's
runtimes without a socket: Converse, ConverseStream as it is computed, CountTokens, InvokeModel for Titan embeddings,
asynchronous invocations of video models (a scripted video in moto's S3), InvokeEndpoint and
InvokeEndpointWithResponseStream; and, for awsllm's own clients, spoken conversations. The answers are the local
model's, or a script's. SageMaker's control plane is awsllm's own as far as it hosts models and runs jobs
(``server.account``): JumpStart's hub, models, endpoints and inference components that become InService when a test says
so. Everything else is moto's, and a Python exception raised by a script surfaces as itself.

With a script, awsllm's own clients get its replies from ``local:`` models, too, without torch; so a program can be
tested that names one.

    with mock_aws(reply="Hello") as aws:
        boto3.client("bedrock-runtime", "us-east-1").converse(modelId=…, messages=…)
        assert aws.requests[0].model == …

A SageMaker endpoint answers if the test has created it, or has named it in ``endpoints``; any other name is the
ValidationError that AWS gives. ``endpoints="*"`` takes every name. One that was created answers in the format of its
container, in parts cut at hostile sizes; one that only has a name, or that CloudFormation has made, in OpenAI's.

A knowledge base has what the account has ingested of S3, or the documents that ``knowledge_bases`` gives it, a
guardrail the policies that ``guardrails`` does. Those that are not given, and agents, answer what the script says: a
``RetrieveResponse``, a ``GuardrailResponse``, an ``AgentResponse`` or its events.

As with moto itself: a boto3 client made before moto was imported is not answered (``moto.core.patch_client`` mends
it), nor is one with an ``endpoint_url`` of its own, and leaving the block does not stop a stream that is still being
read.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, ParamSpec, Self, TypedDict, TypeVar, Unpack, cast, overload
from urllib.parse import urlsplit

from awsllm.aws import duplex
from awsllm.backend import UNLIMITED, Attempt, Backend
from awsllm.backends.local.backend import STAND_INS
from awsllm.errors import AwsllmError, ConfigurationError
from awsllm.models.references import CHAT_MODEL, EMBED_MODEL
from awsllm.server.account.account import Account
from awsllm.server.account.clock import MovableClock
from awsllm.server.account.documents import EXAMPLES
from awsllm.server.account.knowledge.search import DocumentLike
from awsllm.server.faults import Fault, Faults, Hampered, listed
from awsllm.server.mapping import Table
from awsllm.server.moto import quotas
from awsllm.server.moto import stubber as moto
from awsllm.server.moto.identities import identity
from awsllm.server.moto.neighbours import Objects, Services
from awsllm.server.moto.requests import incoming_of, response_of
from awsllm.server.offline import OfflineAws
from awsllm.server.places import SyncPlaces, check_local
from awsllm.server.resources import WithResources
from awsllm.server.services import region_of
from awsllm.server.work import Incoming, Models, Reply
from awsllm.testing.bad_days import BadDay
from awsllm.testing.replies import LazyReply, refuse, respond
from awsllm.testing.scripted import Script, ScriptedBackend
from awsllm.testing.speech import SpeechStandIn
from awsllm.testing.table import Scripted, ScriptTable, check_used, local_backend, local_name, scripted
from awsllm.types import JsonObject, Request, Streamed

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E")
R = TypeVar("R")

_DOMAINS = r"(amazonaws\.com(\.cn)?|api\.aws)"
# Host, and botocore's name of the service.
_HOSTS = (
    (r"bedrock-runtime(-fips)?\.", "bedrock-runtime"),
    (r"bedrock-mantle\.", "bedrock-runtime"),
    (r"bedrock-agent-runtime(-fips)?\.", "bedrock-agent-runtime"),
    (r"bedrock(-fips)?\.", "bedrock"),
    (r"bedrock-agent(-fips)?\.", "bedrock-agent"),
    (r"api(-fips)?\.sagemaker(-fips)?\.", "sagemaker"),
    (r"training-session-runtime\.sagemaker(-fips)?\.", "sagemakertrainingsessionruntime"),
    (r"inferencerouter-runtime\.sagemaker(-fips)?\.", "sagemaker-inferencerouter-runtime"),
    (r"runtime(-fips)?\.sagemaker(-fips)?\.", "sagemaker-runtime"),
)
_PATTERNS = [
    (re.compile(rf"(vpce-[a-z0-9-]+\.)?{host}(?P<region>[a-z0-9-]+)\.(vpce\.)?{_DOMAINS}"), service)
    for host, service in _HOSTS
]
_OF_MOTO = {service: service.replace("-", "") for _, service in _HOSTS}
"""moto's names of the services."""


class Control(TypedDict, total=False):
    """What ``mock_aws`` takes for SageMaker's control plane; see ``Account``."""

    documents: JsonObject | str | Path | Iterable[JsonObject | str | Path]
    transitions: Mapping[str, float]
    clock: Callable[[], float]
    quotas: Mapping[str, int]
    formats: Mapping[str, str]
    cuts: Sequence[int]
    strict_models: bool


class MockAws(AbstractContextManager["MockAws"]):
    """What ``mock_aws`` returns: a context manager, ``async with`` too, and a decorator of functions, coroutine
    functions and test classes.

    ``requests`` has what the models were asked, in order, with the ids that the caller used. ``faults`` are those that
    may happen; more can be added inside the block.
    """

    def __init__(
        self,
        *,
        reply: Script | Backend | None = None,
        model: str = CHAT_MODEL,
        embed_model: str = EMBED_MODEL,
        models: Mapping[str, str] | None = None,
        endpoints: Collection[str] = (),
        config: Any = None,
        knowledge_bases: Mapping[str, Iterable[DocumentLike]] | None = None,
        guardrails: Mapping[str, JsonObject] | None = None,
        faults: Fault | Iterable[Fault] = (),
        iam: bool = False,
        **control: Unpack[Control],
    ) -> None:
        self.requests: list[Request[Any]] = []
        self.faults = Faults(listed(faults))
        self._script: Backend | None = None
        self._control = known(control)
        self._reply = reply
        table = Table.of(models or {})
        check_local(table.targets)
        names = () if reply is not None else (local_name(model), local_name(embed_model))
        self.models = Models(*names, table=table, routed=bool(models))
        self._endpoints = frozenset([endpoints] if isinstance(endpoints, str) else endpoints)
        self._config = config
        self._given: Mapping[str, Any] = {
            "knowledge_bases": knowledge_bases,
            "guardrails": guardrails,
            "identities": identity if iam else None,
        }
        self._entered: list[tuple[Any, _Responder, list[Backend], SpeechStandIn]] = []
        self._kept: tuple[Backend, OfflineAws] | None = None

    @property
    def plane(self) -> Account:
        """The account behind SageMaker's control plane, inside the block: what exists, and ``fail`` and ``refuse`` for
        faults."""
        if not self._entered:
            raise RuntimeError("there is a control plane inside `with mock_aws(...)` only")
        return self._entered[-1][1].plane

    def assert_all_used(self) -> None:
        """Raise ``AssertionError`` for replies of the script that no call has used, inside the block or after it."""
        check_used(self._script)

    def start(self, reset: bool = True) -> None:
        """Enter. ``reset`` begins anew: script, account and faults, and moto's own state, unless a mock or a server is
        active already. Without it they go on as they were left, as for the tests of a class after its ``setUp``."""
        moto.check()
        mock = moto.mock(self._config)
        backend, aws = self._kept = self._fresh() if reset or self._kept is None else self._kept
        responder = _Responder(self, backend, aws)
        stand_ins: list[Backend] = (
            [_LocalStandIn(backend, self.requests)] if isinstance(backend, (ScriptedBackend, ScriptTable)) else []
        )
        mock.start(reset=reset and not moto.is_kept())
        moto.install(responder)
        STAND_INS.extend(stand_ins)
        speech = SpeechStandIn(backend, self.models, self.requests, responder.denied)
        duplex.STAND_INS.append(speech)
        quotas.stand(aws.account)
        self._entered.append((mock, responder, stand_ins, speech))

    def stop(self, remove_data: bool = True) -> None:
        """Leave what ``start`` entered last."""
        if not self._entered:
            raise RuntimeError("this mock_aws is not entered: there is no start for this stop")
        mock, responder, stand_ins, speech = self._entered.pop()
        if remove_data:
            self._kept = None
        duplex.STAND_INS.remove(speech)
        quotas.leave(responder.plane)
        for stand_in in stand_ins:
            STAND_INS.remove(stand_in)
        moto.uninstall(responder)
        mock.stop(remove_data=remove_data and not moto.is_kept())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        self.__exit__(*exc_info)

    def __call__(self, func: Callable[P, T], reset: bool = True, remove_data: bool = True) -> Callable[P, T]:
        if inspect.isclass(func):
            return cast("Callable[P, T]", moto.decorate_class(self, func))
        if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):  # its body would run outside the mock
            raise TypeError(
                f"mock_aws cannot decorate the generator {func.__name__}: use `with mock_aws(...)` inside it"
            )
        if inspect.iscoroutinefunction(func):
            return cast("Callable[P, T]", self._decorate_coroutine(func, reset, remove_data))

        @functools.wraps(func)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
            self.start(reset)
            try:
                return func(*args, **kwargs)
            finally:
                self.stop(remove_data)

        return wrapper

    def _decorate_coroutine(self, func: Callable[..., Any], reset: bool, remove_data: bool) -> Callable[..., Any]:
        @functools.wraps(func)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            self.start(reset)
            try:
                return await func(*args, **kwargs)
            finally:
                self.stop(remove_data)

        return wrapper

    def _fresh(self) -> tuple[Backend, OfflineAws]:
        backend = self._script = self._backend()
        self.faults.reset()
        if not self._entered:
            self.requests = []
        account = _plane(self._control, backend, self.models)
        return backend, OfflineAws(account, self.models, endpoints=self._endpoints, **self._given)

    def _backend(self) -> Backend:
        """A fresh script each time the mock is entered; the local models are loaded once a process."""
        if self._reply is None:
            own = local_backend()
        elif hasattr(self._reply, "ask"):
            own = cast("Backend", self._reply)
        else:
            own = scripted(self._reply)
        return SyncPlaces(local_backend(), own) if self.models.routed else own


class _LocalStandIn:
    """A script in place of local models."""

    def __init__(self, backend: Scripted, requests: list[Request[Any]]) -> None:
        self._backend, self._requests = backend, requests

    def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        self._requests.append(request)
        return self._backend.ask(request, attempt)

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> Iterator[E]:
        self._requests.append(request)
        return self._backend.stream(request, attempt)

    def close(self) -> None:
        """Nothing to free."""


class _Responder:
    """Answers botocore's requests, one entry of one mock."""

    def __init__(self, mock: MockAws, backend: Backend, aws: OfflineAws) -> None:
        self._mock, self._backend, self._aws = mock, backend, aws

    @property
    def plane(self) -> Account:
        return self._aws.account

    def __call__(self, request: Any) -> Any:
        """An AWSResponse, or None for what moto is to answer."""
        host = urlsplit(request.url).hostname or ""
        service, region = _service(host)
        if service is not None and moto.passed_through(_OF_MOTO[service], request.url):
            return None
        if moto.is_aws(host) and (denied := self._denied(request, service, region)) is not None:
            return response_of(request.url, denied)
        bad_day = BadDay.of(self._mock.faults, request) if self._mock.faults and moto.is_aws(host) else None
        if bad_day is not None and (refused := bad_day.begin()) is not None:
            return response_of(request.url, refused)
        reply = None if service is None else self._answer(incoming_of(request), service, region, bad_day)
        if bad_day is not None:
            reply = bad_day.passed(reply) if reply is not None else bad_day.passed_on(moto.answer(request))
        return None if reply is None else response_of(request.url, reply)

    def denied(self, incoming: Incoming) -> Reply | None:
        """What IAM refuses of a call of a model, where it judges."""
        return self._aws.refusal(incoming, region_of(incoming) or "us-east-1")

    def _denied(self, request: Any, service: str | None, region: str) -> Reply | None:
        """What IAM refuses, where it judges. A body that is a file is an object of S3, and not looked at."""
        if not self._aws.judges:
            return None
        incoming = incoming_of(request, reads=False)
        within = region_of(incoming) or region or "us-east-1"
        return self._aws.refusal(incoming, within, modelled=service is not None)

    def _answer(self, incoming: Incoming, service: str, region: str, bad_day: BadDay | None) -> LazyReply | None:
        try:
            incoming = self._aws.located(replace(incoming, models=self._mock.models), region)
            work = self._aws.plan(incoming, region, service, self._mock.requests.append)
            if work is None:
                return None
            if not isinstance(work, Reply):
                self._mock.requests.append(work.request)
            backend: Backend = WithResources(self._backend, self._aws.resources(region))
            if bad_day is not None:
                backend = Hampered(backend, bad_day.hampering)
            return respond(incoming, work, backend, self._mock.models)
        except ConfigurationError as error:
            error.add_note("mock_aws answers by a local model unless it is given what to answer: mock_aws(reply=...)")
            raise
        except AwsllmError as error:
            return refuse(incoming, error)


@overload
def mock_aws(func: Callable[P, T]) -> Callable[P, T]: ...
@overload
def mock_aws(
    *,
    reply: Script | Backend | None = None,
    model: str = CHAT_MODEL,
    embed_model: str = EMBED_MODEL,
    models: Mapping[str, str] | None = None,
    endpoints: Collection[str] = (),
    config: Any = None,
    knowledge_bases: Mapping[str, Iterable[DocumentLike]] | None = None,
    guardrails: Mapping[str, JsonObject] | None = None,
    faults: Fault | Iterable[Fault] = (),
    iam: bool = False,
    **control: Unpack[Control],
) -> MockAws: ...
def mock_aws(func: Callable[..., Any] | None = None, **options: Any) -> Any:
    """moto's ``mock_aws`` with models that answer; see the top of this module.

    ``reply`` is a script (``awsllm.testing.scripted``): a text, a list of replies used in turn, a callable given the
    request; or a backend. Without it the local models named by ``model`` and ``embed_model`` answer. ``models`` are
    patterns of ids with the ``local:`` models that answer them, whatever else does (``server.mapping``). ``config`` is
    moto's. ``knowledge_bases`` are documents by the id of a knowledge base: texts, or dicts of text, uri and metadata.
    ``guardrails`` are guardrails by their ids, as CreateGuardrail takes them; ``server.account.guardrails`` says what
    of them is judged offline. Without these two, the script answers. ``documents`` (hub documents, files, a directory),
    ``transitions``, ``clock``, ``quotas``, ``formats``, ``cuts`` and ``strict_models`` are those of ``Account``, which
    is ``aws.plane`` inside the block; ``aws.plane.clock.advance(60)`` puts its clock forward unless ``clock`` is given.
    ``faults`` (``awsllm.testing.faults``) happen to calls of any service. With ``iam``, whoever signs as a user or an
    assumed role that the test has made may do what their policies allow (``server.permissions``).
    """
    if func is not None and not callable(func):
        raise TypeError(f"mock_aws takes its options by name: mock_aws(reply={func!r:.40})")
    mock = MockAws(**options)
    return mock if func is None else mock(func)


def known(control: Control, taker: type | None = None) -> Control:
    """The options as they are. One that there is not is refused where it is written."""
    for name in control:
        if name not in Control.__annotations__:
            taken = inspect.signature(taker or MockAws).parameters.keys() - {"control"}
            names = [*taken, *Control.__annotations__]
            near = difflib.get_close_matches(name, names, n=1)
            meant = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(names))}"
            raise TypeError(f"{'server' if taker else 'mock_aws'} takes no {name!r}; {meant}")
    return control


def _plane(control: Control, backend: Backend, models: Models) -> Account:
    """A fresh account each time the mock is entered. ``documents`` may be one document, path or directory."""
    documents: Any = control.get("documents", EXAMPLES)
    if isinstance(documents, (str, Path, dict)):
        documents = [documents]
    options: Any = {"clock": MovableClock(), **control, "documents": documents}
    plane = Account(objects=Objects(), neighbours=Services(), **options)
    plane.backend, plane.models = backend, models
    return plane


def _service(host: str) -> tuple[str | None, str]:
    for pattern, service in _PATTERNS:
        if match := pattern.fullmatch(host):
            return service, match["region"]
    return None, ""
