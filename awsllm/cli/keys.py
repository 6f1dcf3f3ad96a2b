"""`awsllm keys`: who may call a server or a gateway, how much, and what they have used.

The keys stand in a file or, for gateways of many processes, in a table of DynamoDB; both are changed here alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from awsllm.cli import tables, terminal
from awsllm.cli.options import Json
from awsllm.errors import ConfigurationError
from awsllm.policy import stores
from awsllm.policy.keys import Key, Keys, create, read_keys, revoked, stopped, write_keys
from awsllm.policy.limits import Row

if TYPE_CHECKING:
    from awsllm.policy.keys_dynamodb import KeyTable

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke the keys of `awsllm serve --keys`; show their use.")

Place = Annotated[str, typer.Option("--keys", envvar="AWSLLM_KEYS", help="The file of keys, or dynamodb:TABLE.")]
_FILE = "keys.toml"
_LIMITS = "Limits"


@app.command("create")
def create_key(
    keys: Place = _FILE,
    name: Annotated[str, typer.Option(help="For whom it is.")] = "",
    expires: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The day (UTC) it ends.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="A pattern of models it may call, such as `anthropic.*`; repeatable."),
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, rich_help_panel=_LIMITS)] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=1, rich_help_panel=_LIMITS)] = None,
    monthly_tokens: Annotated[int | None, typer.Option(min=1, rich_help_panel=_LIMITS)] = None,
    monthly_dollars: Annotated[float | None, typer.Option(rich_help_panel=_LIMITS)] = None,
    team: Annotated[str, typer.Option(help="Whose it is, a tag of its sessions where they have such.")] = "",
    sigv4: Annotated[
        bool, typer.Option("--sigv4", help="For AWS's clients, which sign: the file then holds the secret itself.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a key and show its secret, this once."""
    key, secret = create(
        signs=sigv4,
        name=name,
        expires=expires.replace(tzinfo=UTC) if expires else None,
        models=tuple(model) if model else None,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        monthly_tokens=monthly_tokens,
        monthly_dollars=monthly_dollars,
        team=team,
    )
    with _opened(keys) as known:
        known.add(key)
    if as_json:
        terminal.write_json({"id": key.id, "secret": secret})
        return
    terminal.note(f"The secret of {key.id}, which is shown this once:")
    terminal.write(f"{secret}\n")
    if sigv4:
        terminal.note(f"For AWS's clients: AWS_ACCESS_KEY_ID={key.id}, and the secret as AWS_SECRET_ACCESS_KEY.")


@app.command("list")
def list_keys(keys: Place = _FILE, as_json: Json = False) -> None:
    """Show the keys, without secrets."""
    with _opened(keys) as known:
        found, now = list(known), datetime.now(UTC).timestamp()
    if as_json:
        terminal.write_json([_public(key) for key in found])
        return
    rows = [
        (
            key.id,
            key.name or None,
            _state(key, now),
            key.expires.date().isoformat() if key.expires else None,
            ",".join(key.models) if key.models is not None else "any",
            *(key.requests_per_minute, key.tokens_per_minute, key.monthly_tokens, key.monthly_dollars),
        )
        for key in found
    ]
    headings = ("KEY", "NAME", "STATE", "ENDS", "MODELS", "REQUESTS/MIN", "TOKENS/MIN", "TOKENS/MONTH", "$/MONTH")
    tables.show(headings, rows)


@app.command("revoke")
def revoke_key(key: Annotated[str, typer.Argument(help="Its id.")], keys: Place = _FILE) -> None:
    """Disable a key. A server that runs refuses it within a second, a gateway within five."""
    with _opened(keys) as known:
        known.revoke(key)
    terminal.write(f"{key}: revoked\n")


@app.command("stop")
def stop_key(
    key: Annotated[str | None, typer.Argument(help="One key's id; everybody without it.")] = None,
    keys: Place = _FILE,
) -> None:
    """Refuse a key's calls, or everybody's, until `awsllm keys resume`. Nothing of the keys is lost."""
    with _opened(keys) as known:
        known.stop(key, True)
    terminal.write(f"{key or 'all keys'}: stopped\n")


@app.command("resume")
def resume_key(
    key: Annotated[str | None, typer.Argument(help="One key's id; everybody without it.")] = None,
    keys: Place = _FILE,
) -> None:
    """Take back `awsllm keys stop`."""
    with _opened(keys) as known:
        known.stop(key, False)
    terminal.write(f"{key or 'all keys'}: resumed\n")


@app.command("usage")
def show_usage(
    key: Annotated[str | None, typer.Argument(help="One key's id; all without it.")] = None,
    database: Annotated[
        str,
        typer.Option(
            "--usage", envvar="AWSLLM_USAGE", help="The database of `awsllm serve --usage`, or dynamodb:TABLE."
        ),
    ] = "usage.db",
    since: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="From this day (UTC) on.")] = None,
    as_json: Json = False,
) -> None:
    """Show what the keys have used, by model."""
    if stores.table_of(database) is None and not Path(database).exists():
        raise ConfigurationError(
            f"there is no {database}: it is what `awsllm serve --keys … --usage {database}` writes"
        )
    with closing(stores.usage_store(database)) as usage, _there(stores.table_of(database) or ""):
        rows = usage.rows(key, since.strftime("%Y-%m-%d") if since else "")
    if as_json:
        terminal.write_json([msgspec.to_builtins(row) for row in rows])
        return
    headings = ("KEY", "MODEL", "REQUESTS", "INPUT", "OUTPUT", "CACHED", "COST")
    tables.show(headings, _by_model(rows))


def _by_model(rows: list[Row]) -> list[tuple[object, ...]]:
    together: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        together[row.key, row.model].append(row)

    def cost(of: list[Row]) -> str:
        unpriced = sum(row.unpriced for row in of)
        return f"${sum(row.cost for row in of):,.4f}" + (
            f" and {unpriced} requests of unknown cost" if unpriced else ""
        )

    counts = ("requests", "input", "output", "cached")
    return [
        (*who, *(sum(getattr(row, name) for row in of) for name in counts), cost(of)) for who, of in together.items()
    ]


def _state(key: Key, now: float) -> str:
    if key.is_valid(now):
        return "stopped" if key.stopped else "valid"
    return "revoked" if key.disabled else "expired"


class _KeyFile:
    """The keys of a file, as ``policy.keys_dynamodb.KeyTable`` has those of a table."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[Key]:
        yield from self._read()

    def add(self, key: Key) -> None:
        known = self._read() if self._path.exists() else Keys()
        write_keys(self._path, Keys([*known, key], stopped=known.stopped))

    def revoke(self, id: str) -> None:
        write_keys(self._path, revoked(self._read(), id))

    def stop(self, id: str | None, is_so: bool) -> None:
        write_keys(self._path, stopped(self._read(), id, is_so))

    def _read(self) -> Keys:
        try:
            return read_keys(self._path)
        except FileNotFoundError:
            raise ConfigurationError(
                f"there is no {self._path}: `awsllm keys create` makes it, or give --keys"
            ) from None


@contextmanager
def _opened(place: str) -> Iterator[_KeyFile | KeyTable]:
    name = stores.table_of(place)
    if name is None:
        yield _KeyFile(Path(place))
        return
    with closing(stores.key_table(name)) as table, _there(name):
        yield table


@contextmanager
def _there(table: str) -> Iterator[None]:
    from awsllm.aws.rpc import RefusedError

    try:
        yield
    except RefusedError as error:
        if error.code != "ResourceNotFoundException":
            raise
        raise ConfigurationError(
            f"there is no table {table} in this account and region: the stack of the gateway makes it (awsllm infra), "
            "and its outputs name it"
        ) from error


def _public(key: Key) -> dict[str, Any]:
    known: dict[str, Any] = msgspec.to_builtins(key)
    return {name: value for name, value in known.items() if name not in ("sha256", "secret")}
