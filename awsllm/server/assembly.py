"""What the parts of a server are, and how they are put together.

``Settings`` are what whoever starts one may choose; ``assemble`` makes the application of them. Nothing listens yet.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from awsllm.errors import ConfigurationError, ModelNotFoundError
from awsllm.fetching.rules import FetchUrls
from awsllm.models.references import CHAT_MODEL, EMBED_MODEL, parse_reference
from awsllm.policy import stores
from awsllm.policy.configuration_file import configured
from awsllm.policy.keys import KeyStore, read_keys
from awsllm.policy.watched import Watched
from awsllm.server import telemetry
from awsllm.server.access_log import AccessLog
from awsllm.server.account.account import CUTS, Account
from awsllm.server.account.clock import MovableClock
from awsllm.server.account.documents import EXAMPLES
from awsllm.server.admin import Admin, Administered, Scriptable
from awsllm.server.blocking import BlockingBackend
from awsllm.server.exchanges import Journal, Watcher
from awsllm.server.faults import Faults
from awsllm.server.gate import Gate, UsageRoute, WatchedKeys
from awsllm.server.groups import check_members
from awsllm.server.http.app import App, Extension, Load, Shared, application
from awsllm.server.http.auth import Auth, usable_key
from awsllm.server.mapping import Models, Table, read_table
from awsllm.server.memory import MemoryRoute
from awsllm.server.metering import Meter
from awsllm.server.metrics import Metrics
from awsllm.server.offline import OfflineAws
from awsllm.server.record import RequestRecord
from awsllm.server.services import is_region
from awsllm.server.surfaces.playground import Playground
from awsllm.server.surfaces.playground.calls import Calls, others_calls
from awsllm.server.urls import UrlInputs
from awsllm.store import Store
from awsllm.types import ConverseRequest, CountTokensRequest, JsonObject, Message

if TYPE_CHECKING:
    from awsllm.backend import AsyncBackend
    from awsllm.backends.local.backend import LocalBackend
    from awsllm.backends.local.encoders import EncoderPrecision
    from awsllm.policy.configuration import Configuration
    from awsllm.policy.groups import Group
    from awsllm.server.keeping import Keeper

GRACE = 8.0  # seconds; `docker stop` kills after ten
_CALLS = 200  # of the control planes that an account remembers
_ENDING = 5.0  # seconds that what an account runs has for leaving off


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a server is made of. Without ``backend`` ``model`` and ``embed_model`` answer, references of any place.

    ``models`` are patterns of ids with the references that answer them, and ``config`` a file of such
    (``server.mapping``); the names of ``configuration``, an awsllm.toml, are models too. With ``mapped_only`` nothing
    else is answered. ``device`` computes local models, those that
    make embeddings or rerank in ``encoder_precision``, and ``max_models`` and ``max_model_memory`` (in bytes) bound
    those in memory. ``keys`` is a file of callers' keys (``policy.keys``), whose use is counted in the database
    ``usage``, else in memory; both may be ``dynamodb:TABLE``.

    ``fetch_urls`` says from which hosts pictures and documents are fetched that callers name by URL (``server.urls``);
    without it nothing is.

    ``auth`` says which ways of showing a key are taken. ``grace`` is for how many seconds what is under way may end
    once the server is told to.

    ``account`` says whether there is an account: control planes, S3 and the rest of AWS; without one only the models'
    runtimes answer. With ``iam``, users and roles of the account may do what their policies allow
    (``server.permissions``). ``data`` is a directory in which it is kept. ``access_log`` writes a line a request to
    stderr.
    ``region`` is that of requests that name none. ``documents``, ``transitions``, ``clock``, ``quotas``, ``formats``
    and ``cuts`` are those of ``Account``; ``endpoints`` those of ``OfflineAws``. ``faults`` happen to calls of any
    kind. ``admin_token`` opens the administration, which is not there without one; ``recorded`` is how many requests it
    knows.
    """

    backend: AsyncBackend | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    config: str | Path | None = None
    configuration: Configuration | str | Path | None = None
    mapped_only: bool = False
    model: str = CHAT_MODEL
    embed_model: str = EMBED_MODEL
    device: str | None = None
    encoder_precision: EncoderPrecision | None = None
    max_models: int | None = None
    max_model_memory: int | None = None
    api_key: str | None = None
    keys: str | Path | None = None
    usage: str | Path | None = None
    auth: Auth | str = Auth.ANY
    fetch_urls: FetchUrls | None = None
    grace: float = GRACE
    account: bool = True
    iam: bool = False
    data: Path | None = None
    access_log: bool = False
    region: str = "us-east-1"
    endpoints: Collection[str] = ("*",)
    documents: Iterable[JsonObject | str | Path] | None = None
    transitions: Mapping[str, float] = field(default_factory=dict)
    clock: Callable[[], float] = field(default_factory=MovableClock)
    quotas: Mapping[str, int] = field(default_factory=dict)
    formats: Mapping[str, str] = field(default_factory=dict)
    knowledge_bases: Mapping[str, Iterable[Any]] | None = None
    guardrails: Mapping[str, Any] | None = None
    cuts: Sequence[int] = CUTS
    faults: Faults = field(default_factory=Faults)
    admin_token: str | None = None
    recorded: int = 200

    @property
    def in_dynamodb(self) -> bool:
        """Whether keys or their use are in a table of DynamoDB, which this process calls."""
        return any(stores.table_of(place) is not None for place in (self.keys, self.usage))


@dataclass(frozen=True, slots=True)
class Assembly:
    """A server's parts. ``blocking.begin`` is to be called in the event loop that the application runs in."""

    app: App
    blocking: BlockingBackend
    journal: Journal
    record: RequestRecord
    faults: Faults
    aws: OfflineAws | None
    load: Load
    watchers: list[Watcher]
    keeper: Keeper | None
    models: Models
    gate: Gate | None
    files: list[Watched[Any]]

    def reload(self) -> None:
        """Read the files anew that may change while the server runs."""
        for file in self.files:
            file.check(force=True)

    def close(self) -> None:
        """Once nothing is answered any more."""
        if self.keeper is not None:
            self.keeper.close()
        if self.gate is not None:
            self.gate.close()
        if self.aws is not None:
            from awsllm.server.moto import completed, hardening, quotas

            self.aws.account.end(_ENDING)
            quotas.leave(self.aws.account)
            completed.restore()
            hardening.soften()


def assemble(settings: Settings) -> Assembly:
    """The application. Loads the chat model where local ones answer: what is wrong with it shows before anything
    listens, and the first caller does not wait for it. Raises ``ConfigurationError``."""
    api_key = usable_key(settings.api_key)
    if not is_region(settings.region):
        raise ConfigurationError(f"{settings.region!r} is no region, such as us-east-1")
    files: list[Watched[Any]] = []
    models = _models(settings, files)
    local = _local(settings) if settings.backend is None else None
    backend = _backend(settings, models, local)
    blocking = BlockingBackend(backend)
    aws = _aws(settings, models, blocking) if settings.account else None
    journal, record = Journal(), RequestRecord(settings.recorded)
    load = Load()
    gate = None
    if settings.keys is not None:
        api_key = api_key or secrets.token_hex(32)  # a secret that nobody has: without a key of the file nobody may
        gate = _gate(settings, api_key, models, files)
    metrics = Metrics(api_key, lambda: load.in_flight, lambda: not load.draining)
    watchers: list[Watcher] = [others_calls(journal), metrics]
    if settings.access_log:
        watchers.append(AccessLog())
    if telemetry.wanted():
        watchers.append(telemetry.ServerTelemetry())
    account = aws.account if aws is not None else None
    extensions: list[Extension] = [metrics, Playground(models, api_key, Calls(journal), account)]
    extensions.append(MemoryRoute(local, api_key, settings.admin_token))
    if gate is not None:
        extensions.append(UsageRoute(gate))
    if settings.admin_token is not None:
        administered = Administered(record, journal, settings.faults, account, _script(settings), partial(_forget, aws))
        extensions.append(Admin(settings.admin_token, administered))
    shared = Shared(
        backend,
        models,
        api_key,
        gate=gate,
        auth=_auth(settings.auth, api_key),
        aws=aws,
        region=settings.region,
        extensions=extensions,
        watchers=watchers,
        recorders=(record,),
        faults=settings.faults,
        urls=UrlInputs(settings.fetch_urls) if settings.fetch_urls is not None else None,
        load=load,
    )
    keeper = _keeper(settings, aws)
    if aws is not None:
        from awsllm.server.moto import completed, hardening, quotas

        quotas.stand(aws.account)
        completed.complete()
        hardening.harden()
    app = application(shared)
    return Assembly(app, blocking, journal, record, settings.faults, aws, load, watchers, keeper, models, gate, files)


def _script(settings: Settings) -> Scriptable | None:
    """The backend, if its replies can be given."""
    chosen: Any = settings.backend
    return chosen if isinstance(chosen, Scriptable) else None


def _forget(aws: OfflineAws | None) -> None:
    """Empty moto's state, of which the account's is a part."""
    if aws is not None:
        from awsllm.server.moto import stubber

        stubber.forget()
        aws.changed()


def _auth(chosen: Auth | str, api_key: str | None) -> Auth:
    try:
        auth = Auth(chosen)
    except ValueError:
        raise ConfigurationError(f"auth is one of {', '.join(Auth)}, not {str(chosen)!r}") from None
    if auth is Auth.NONE and api_key is not None:
        raise ConfigurationError("there is an API key, and auth='none' asks nobody for it: leave one of them out")
    return auth


def _keeper(settings: Settings, aws: OfflineAws | None) -> Keeper | None:
    if settings.data is None:
        return None
    if aws is None:
        raise ConfigurationError("without an account there is nothing to keep: leave out --no-account or --data")
    from awsllm.server.keeping import Keeper

    keeper = Keeper(settings.data, aws.account)
    aws.changed = aws.account.ended = keeper.save
    aws.account.kept_in = settings.data
    return keeper


def _models(settings: Settings, files: list[Watched[Any]]) -> Models:
    """What answers which id. A file that is read is added to ``files``."""
    entries, strict = settings.models, settings.mapped_only
    names = _names(settings)
    table: Table | Callable[[], Table] = _checked(Table.of(entries, strict=strict, names=names))
    if settings.config is not None:
        watched = Watched(settings.config, lambda path: _checked(read_table(path, entries, strict=strict, names=names)))
        files.append(watched)
        table = lambda: watched.value  # noqa: E731 -- what it is at the time
    if settings.backend is not None:
        return Models(table=table, routed=bool(entries or settings.config or names))
    chat, embed = (str(parse_reference(model)) for model in (settings.model, settings.embed_model))
    return Models(chat, embed, table=table, own=(one.name for one in Store().list() if one.path), routed=True)


def _names(settings: Settings) -> dict[str, str | Group]:
    """The names of the configuration, which are models of the server: of the one that is given, or that a client finds;
    a server with a backend of its own finds none."""
    found = _configuration(settings)
    return {} if found is None else {**found.aliases, **found.groups}


def _configuration(settings: Settings) -> Configuration | None:
    given = settings.configuration
    return None if given is None and settings.backend is not None else configured(given)


def _checked(table: Table) -> Table:
    """Raises ``ConfigurationError`` for a local model that nobody knows: whoever wrote the table learns of it, and not
    the first caller."""
    store = Store()
    for name, group in table.groups.items():
        check_members(name, group)
    for target in table.reached():
        if target.scheme == "local":
            try:
                store.check(target.model)
            except ModelNotFoundError as error:
                named = next((name for name, one in table.targets.items() if one == target), str(target))
                raise ConfigurationError(f"the target of {named!r}: {error.message}") from error
    return table


def _local(settings: Settings) -> LocalBackend | None:
    """The local models. Those that answer by default are there before anything listens."""
    from awsllm.backends.local.backend import LocalBackend

    local = LocalBackend(
        device=settings.device,
        max_models=settings.max_models,
        max_memory=settings.max_model_memory,
        encoder_precision=settings.encoder_precision,
    )
    chat, embed = parse_reference(settings.model), parse_reference(settings.embed_model)
    if chat.scheme == "local":
        hello = ConverseRequest(model=chat.model, messages=(Message.user("Hello"),))
        local.ask(CountTokensRequest(model=chat.model, converse=hello))
    if embed.scheme == "local":
        Store().path(embed.model)
    return local


def _backend(settings: Settings, models: Models, local: LocalBackend | None) -> AsyncBackend:
    if not models.routed:
        return cast("AsyncBackend", settings.backend)
    from awsllm.backends.local.backend import AsyncLocalBackend
    from awsllm.server.places import Places

    places = Places(
        local=AsyncLocalBackend(local),
        own=settings.backend,
        groups=lambda: models.table.groups,
        configuration=_configuration(settings),
    )
    places.check(models.targets())
    return places


def _gate(settings: Settings, api_key: str, models: Models, files: list[Watched[Any]]) -> Gate:
    table, keys = stores.table_of(settings.keys), cast("str | Path", settings.keys)
    usage = stores.usage_store(settings.usage, clock=settings.clock)
    if table is not None:
        known: KeyStore = stores.key_table(table)
    else:
        file = Watched(keys, read_keys)
        files.append(file)
        known = WatchedKeys(file)
    return Gate(api_key, Meter(known, usage, models, settings.region), waits=settings.in_dynamodb)


def _aws(settings: Settings, models: Models, blocking: BlockingBackend) -> OfflineAws:
    from awsllm.server.moto import identities, neighbours, stubber

    stubber.check()
    account = Account(
        documents=[EXAMPLES] if settings.documents is None else settings.documents,
        objects=neighbours.Objects(),
        neighbours=neighbours.Services(),
        transitions=settings.transitions,
        clock=settings.clock,
        quotas=settings.quotas,
        formats=settings.formats,
        cuts=settings.cuts,
    )
    account.backend, account.models, account.background = blocking, models, True
    account.calls = deque(maxlen=_CALLS)
    local = settings.backend is None
    return OfflineAws(
        account,
        models,
        identities=identities.identity if settings.iam else None,
        endpoints=settings.endpoints,
        describes_any=False,
        knowledge_bases={} if settings.knowledge_bases is None and local else settings.knowledge_bases,
        guardrails={} if settings.guardrails is None and local else settings.guardrails,
    )
