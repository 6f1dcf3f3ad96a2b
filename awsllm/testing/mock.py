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

A knowledge base has the documents that ``knowledge_bases`` gives it, a guardrail the policies that ``guardrails`` does.
Those that are not given, and agents, answer what the script says: a ``RetrieveResponse``, a ``GuardrailResponse``, an
``AgentResponse`` or its events.

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
from urllib.parse import unquote, urlsplit

import msgspec

from awsllm.aws import duplex
from awsllm.backend import UNLIMITED, Attempt, Backend
from awsllm.backends.local.backend import STAND_INS
from awsllm.errors import AwsllmError, ConfigurationError
from awsllm.models.references import parse_reference
from awsllm.server import moto
from awsllm.server.account import containers, dispatch
from awsllm.server.account.account import Account
from awsllm.server.account.invocations import invoke_async
from awsllm.server.account.knowledge import DocumentLike
from awsllm.server.account.refusals import no_endpoint
from awsllm.server.container import Container
from awsllm.server.resources import Resources, WithResources
from awsllm.server.run import CHAT_MODEL, EMBED_MODEL
from awsllm.server.surfaces.async_invoke import answer as async_invoke
from awsllm.server.surfaces.async_invoke import is_async_invoke
from awsllm.server.surfaces.routes import find
from awsllm.server.work import Incoming, Models, Reply, Work
from awsllm.testing.replies import LazyReply, refuse, respond, whole
from awsllm.testing.scripted import Script, ScriptedBackend
from awsllm.testing.speech import SpeechStandIn
from awsllm.types import JsonObject, Request, Streamed
from awsllm.wire.endpoint import named
from awsllm.wire.endpoint.detect import FORMAT_TAG

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E")
R = TypeVar("R")

_DOMAINS = r"(amazonaws\.com(\.cn)?|api\.aws)"
_BEDROCK = "bedrockruntime"
_RUNTIME = "sagemakerruntime"
_CONTROL = "sagemaker"
_ROUTER = "sagemakerinferencerouterruntime"  # moto has none; this would be its name
# Host, and moto's name of the service.
_HOSTS = (
    (re.compile(r"bedrock-runtime(-fips)?\.(?P<region>[a-z0-9-]+)\." + _DOMAINS), _BEDROCK),
    (re.compile(r"bedrock-mantle\.(?P<region>[a-z0-9-]+)\.api\.aws"), _BEDROCK),
    (re.compile(r"bedrock-agent-runtime(-fips)?\.(?P<region>[a-z0-9-]+)\." + _DOMAINS), "bedrockagentruntime"),
    (re.compile(r"api(-fips)?\.sagemaker(-fips)?\.(?P<region>[a-z0-9-]+)\." + _DOMAINS), _CONTROL),
    (re.compile(r"inferencerouter-runtime\.sagemaker(-fips)?\.(?P<region>[a-z0-9-]+)\." + _DOMAINS), _ROUTER),
    (re.compile(r"runtime(-fips)?\.sagemaker(-fips)?\.(?P<region>[a-z0-9-]+)\." + _DOMAINS), _RUNTIME),
)
_ASYNC = "/async-invocations"

EXAMPLES = Path(__file__).with_name("documents")
"""What the hub holds unless a test says otherwise: a gated chat model, an open one and an embedding model, made up."""
_VARIANT = "x-amzn-sagemaker-target-variant"


class Control(TypedDict, total=False):
    """What ``mock_aws`` takes for SageMaker's control plane; see ``Account``."""

    documents: JsonObject | str | Path | Iterable[JsonObject | str | Path]
    transitions: Mapping[str, float]
    clock: Callable[[], float]
    quotas: Mapping[str, int]
    formats: Mapping[str, str]
    cuts: Sequence[int]


class MockAws(AbstractContextManager["MockAws"]):
    """What ``mock_aws`` returns: a context manager and a decorator of functions, coroutine functions and test classes.

    ``requests`` has what the models were asked, in order, with the ids that the caller used.
    """

    def __init__(
        self,
        *,
        reply: Script | Backend | None = None,
        model: str = CHAT_MODEL,
        embed_model: str = EMBED_MODEL,
        endpoints: Collection[str] = (),
        config: Any = None,
        knowledge_bases: Mapping[str, Iterable[DocumentLike]] | None = None,
        guardrails: Mapping[str, JsonObject] | None = None,
        **control: Unpack[Control],
    ) -> None:
        self.requests: list[Request[Any]] = []
        self._control = _known(control)
        self._reply = reply
        self._models = Models() if reply is not None else Models(_local_name(model), _local_name(embed_model))
        self._endpoints = frozenset([endpoints] if isinstance(endpoints, str) else endpoints)
        self._config = config
        self._resources = Resources(self._models, knowledge_bases=knowledge_bases, guardrails=guardrails)
        self._entered: list[tuple[Any, _Responder, list[Backend], SpeechStandIn]] = []

    @property
    def plane(self) -> Account:
        """The account behind SageMaker's control plane, inside the block: what exists, and ``fail`` and ``refuse`` for
        faults."""
        if not self._entered:
            raise RuntimeError("there is a control plane inside `with mock_aws(...)` only")
        return self._entered[-1][1].plane

    def start(self, reset: bool = True) -> None:
        """Enter. ``reset`` empties moto's own state, unless a mock is active already."""
        moto.check()
        mock = moto.mock(self._config)
        backend = self._backend()
        plane = _plane(self._control, backend, self._models)
        runtime = WithResources(backend, self._resources)
        responder = _Responder(self, runtime, self._models, self._endpoints, plane)
        stand_ins: list[Backend] = (
            [_LocalStandIn(backend, self.requests)] if isinstance(backend, ScriptedBackend) else []
        )
        mock.start(reset=reset)
        moto.install(responder)
        STAND_INS.extend(stand_ins)
        speech = SpeechStandIn(backend, self._models, self.requests)
        duplex.STAND_INS.append(speech)
        self._entered.append((mock, responder, stand_ins, speech))

    def stop(self, remove_data: bool = True) -> None:
        """Leave what ``start`` entered last."""
        mock, responder, stand_ins, speech = self._entered.pop()
        duplex.STAND_INS.remove(speech)
        for stand_in in stand_ins:
            STAND_INS.remove(stand_in)
        moto.uninstall(responder)
        mock.stop(remove_data=remove_data)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

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

    def _backend(self) -> Backend:
        """A fresh script each time the mock is entered; the local models are loaded once a process."""
        if self._reply is None:
            return _local_backend()
        if hasattr(self._reply, "ask"):
            return cast("Backend", self._reply)
        return ScriptedBackend(self._reply)


class _LocalStandIn:
    """A script in place of local models."""

    def __init__(self, backend: ScriptedBackend, requests: list[Request[Any]]) -> None:
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
    """Answers botocore's requests to the two runtimes, one entry of one mock."""

    def __init__(
        self, mock: MockAws, backend: Backend, models: Models, endpoints: Collection[str], plane: Account
    ) -> None:
        self._mock, self._backend, self._models, self._endpoints = mock, backend, models, endpoints
        self.plane = plane

    def __call__(self, request: Any) -> Any:
        """An AWSResponse, or None for what moto is to answer."""
        url = urlsplit(request.url)
        service, region = _service(url.hostname or "")
        if service is None or moto.passed_through(service, request.url):
            return None
        headers = {name.lower(): _text(value) for name, value in request.headers.items()}
        incoming = Incoming(request.method, url.path, headers, _bytes(request.body), query=url.query)
        reply = self._controlled(incoming, region) if service == _CONTROL else self._invoked(incoming, service, region)
        if reply is None:
            return None
        from botocore.awsrequest import AWSResponse

        return AWSResponse(request.url, reply.status, reply.headers, reply.body)

    def _controlled(self, incoming: Incoming, region: str) -> LazyReply | None:
        reply = self._named(incoming, region) or dispatch.handle(self.plane.region(region), incoming)
        return None if reply is None else whole(reply)

    def _named(self, incoming: Incoming, region: str) -> Reply | None:
        """What the control plane says of an endpoint that a test has only named: that it speaks OpenAI's format, or the
        one that the test says. So whoever looks for the format need not try the endpoint out, which would use up a
        scripted reply."""
        operation = incoming.headers.get("x-amz-target", "").removeprefix("SageMaker.")
        if not self._endpoints or operation not in ("DescribeEndpoint", "ListTags"):
            return None
        request = msgspec.json.decode(incoming.body)
        name = str(request.get("EndpointName") or request.get("ResourceArn", "").rpartition(":endpoint/")[2])
        if (
            not {"*", name} & set(self._endpoints)
            or name in self.plane.state(region).table("endpoint")
            or self.plane.region(region).elsewhere("endpoint", name)
        ):
            return None
        arn = self.plane.region(region).arn("endpoint", name.lower())
        described = {
            "EndpointName": name,
            "EndpointArn": arn,
            "EndpointConfigName": name,
            "EndpointStatus": "InService",
        }
        spoken = self.plane.formats.get(name, "openai").partition("/")[0]
        tags = {"Tags": [{"Key": FORMAT_TAG, "Value": spoken}]}
        times = dict.fromkeys(("CreationTime", "LastModifiedTime"), 0.0)
        wire = tags if operation == "ListTags" else described | times
        return Reply(200, {"Content-Type": "application/x-amz-json-1.1"}, msgspec.json.encode(wire))

    def _invoked(self, incoming: Incoming, service: str, region: str) -> LazyReply | None:
        if service == _RUNTIME and incoming.path.endswith(_ASYNC):
            return self._invoked_later(incoming, region)
        if service == _BEDROCK and is_async_invoke(incoming):
            return whole(async_invoke(self.plane.region(region), incoming, self._mock.requests.append))
        found = find(incoming)
        if found is None:
            return None
        try:
            if service == _RUNTIME:
                incoming = replace(incoming, container=self._container(incoming, found[1], region))
        except AwsllmError as error:
            return refuse(incoming, error)
        try:
            return respond(incoming, self._backend, self._models, self._record)
        except ConfigurationError as error:
            error.add_note("mock_aws answers by a local model unless it is given what to answer: mock_aws(reply=...)")
            raise

    def _invoked_later(self, incoming: Incoming, region: str) -> LazyReply | None:
        name = unquote(incoming.path.removeprefix("/endpoints/").removesuffix(_ASYNC))
        try:
            reply = invoke_async(self.plane.region(region), name, incoming)
        except AwsllmError as error:
            return refuse(incoming, error)
        return None if reply is None else whole(reply)

    def _container(self, incoming: Incoming, name: str, region: str) -> Container | None:
        """What answers; None for an endpoint that only has a name, or is moto's. Raises the runtime's refusal."""
        component, variant = map(incoming.headers.get, ("x-amzn-sagemaker-inference-component", _VARIANT))
        container = containers.find(self.plane.region(region), name, component, variant)
        if container is None and not self._has_endpoint(name, region):
            raise no_endpoint(name, self.plane.account_id)
        if container is None and name in self.plane.formats:
            return Container(named(self.plane.formats[name], "named by the test"), cuts=self.plane.cuts)
        return container

    def _record(self, work: Work) -> None:
        if not isinstance(work, Reply):
            self._mock.requests.append(work.request)

    def _has_endpoint(self, name: str, region: str) -> bool:
        return (
            "*" in self._endpoints or name in self._endpoints or self.plane.region(region).elsewhere("endpoint", name)
        )


@overload
def mock_aws(func: Callable[P, T]) -> Callable[P, T]: ...
@overload
def mock_aws(
    *,
    reply: Script | Backend | None = None,
    model: str = CHAT_MODEL,
    embed_model: str = EMBED_MODEL,
    endpoints: Collection[str] = (),
    config: Any = None,
    knowledge_bases: Mapping[str, Iterable[DocumentLike]] | None = None,
    guardrails: Mapping[str, JsonObject] | None = None,
    **control: Unpack[Control],
) -> MockAws: ...
def mock_aws(func: Callable[..., Any] | None = None, **options: Any) -> Any:
    """moto's ``mock_aws`` with models that answer; see the top of this module.

    ``reply`` is a script (``awsllm.testing.scripted``): a text, a list of replies used in turn, a callable given the
    request; or a backend. Without it the local models named by ``model`` and ``embed_model`` answer. ``config`` is
    moto's. ``knowledge_bases`` are documents by the id of a knowledge base: texts, or dicts of text, uri and metadata.
    ``guardrails`` are guardrails by their ids, as CreateGuardrail takes them; ``server.account.guardrails`` says what
    of them is judged offline. Without these two, the script answers. ``documents`` (hub documents, files, a directory),
    ``transitions``, ``clock``, ``quotas``, ``formats`` and ``cuts`` are those of ``Account``, which is ``aws.plane``
    inside the block.
    """
    mock = MockAws(**options)
    return mock if func is None else mock(func)


def _local_name(reference: str) -> str:
    parsed = parse_reference(reference)
    if parsed.scheme != "local":
        raise ConfigurationError(f"mock_aws answers with local models; {reference!r} is not one. Or give it a reply.")
    return parsed.model


@functools.cache
def _local_backend() -> Backend:
    from awsllm.backends.local.backend import LocalBackend

    return LocalBackend()


def _known(control: Control) -> Control:
    """The options as they are. One that there is not is refused where it is written."""
    for name in control:
        if name not in Control.__annotations__:
            names = [*inspect.signature(MockAws).parameters.keys() - {"control"}, *Control.__annotations__]
            near = difflib.get_close_matches(name, names, n=1)
            meant = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(names))}"
            raise TypeError(f"mock_aws takes no {name!r}; {meant}")
    return control


def _plane(control: Control, backend: Backend, models: Models) -> Account:
    """A fresh account each time the mock is entered. ``documents`` may be one document, path or directory."""
    documents: Any = control.get("documents", EXAMPLES)
    if isinstance(documents, (str, Path, dict)):
        documents = [documents]
    options = {**control, "documents": documents}
    plane = Account(objects=moto.Objects(), neighbours=moto.Services(), **options)
    plane.backend, plane.models = backend, models
    return plane


def _service(host: str) -> tuple[str | None, str]:
    for pattern, service in _HOSTS:
        if match := pattern.fullmatch(host):
            return service, match["region"]
    return None, ""


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _bytes(body: Any) -> bytes:
    """A request's body: botocore also passes text and open files."""
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    return body if isinstance(body, bytes) else bytes(body.read() if hasattr(body, "read") else body)
