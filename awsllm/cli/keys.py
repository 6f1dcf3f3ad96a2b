"""`awsllm keys`: who may call a server, how much, and what they have used."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from awsllm.cli import tables, terminal
from awsllm.cli.options import Json
from awsllm.errors import ConfigurationError
from awsllm.policy.keys import Key, Keys, create, read_keys, revoked, write_keys
from awsllm.policy.usage import KeyUsage, Row

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke the keys of `awsllm serve --keys`; show their use.")

File = Annotated[Path, typer.Option("--keys", envvar="AWSLLM_KEYS", help="The file of keys.")]
_FILE = Path("keys.toml")
_LIMITS = "Limits"


@app.command("create")
def create_key(
    file: File = _FILE,
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
    )
    write_keys(file, [*(_read(file) if file.exists() else ()), key])
    if as_json:
        terminal.write_json({"id": key.id, "secret": secret})
        return
    terminal.note(f"The secret of {key.id}, which is shown this once:")
    terminal.write(f"{secret}\n")
    if sigv4:
        terminal.note(f"For AWS's clients: AWS_ACCESS_KEY_ID={key.id}, and the secret as AWS_SECRET_ACCESS_KEY.")


@app.command("list")
def list_keys(file: File = _FILE, as_json: Json = False) -> None:
    """Show the keys, without secrets."""
    keys, now = _read(file), datetime.now(UTC).timestamp()
    if as_json:
        terminal.write_json([_public(key) for key in keys])
        return
    rows = [
        (
            key.id,
            key.name or None,
            "valid" if key.is_valid(now) else "revoked" if key.disabled else "expired",
            key.expires.date().isoformat() if key.expires else None,
            ",".join(key.models) if key.models is not None else "any",
            *(key.requests_per_minute, key.tokens_per_minute, key.monthly_tokens, key.monthly_dollars),
        )
        for key in keys
    ]
    headings = ("KEY", "NAME", "STATE", "ENDS", "MODELS", "REQUESTS/MIN", "TOKENS/MIN", "TOKENS/MONTH", "$/MONTH")
    tables.show(headings, rows)


@app.command("revoke")
def revoke_key(key: Annotated[str, typer.Argument(help="Its id.")], file: File = _FILE) -> None:
    """Disable a key. A server that runs refuses it within a second."""
    write_keys(file, revoked(_read(file), key))
    terminal.write(f"{key}: revoked\n")


@app.command("usage")
def show_usage(
    key: Annotated[str | None, typer.Argument(help="One key's id; all without it.")] = None,
    database: Annotated[
        Path, typer.Option("--usage", envvar="AWSLLM_USAGE", help="The database of `awsllm serve --usage`.")
    ] = Path("usage.db"),
    since: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="From this day (UTC) on.")] = None,
    as_json: Json = False,
) -> None:
    """Show what the keys have used, by model."""
    if not database.exists():
        raise ConfigurationError(
            f"there is no {database}: it is what `awsllm serve --keys … --usage {database}` writes"
        )
    usage = KeyUsage(database)
    try:
        rows = usage.rows(key, since.strftime("%Y-%m-%d") if since else "")
    finally:
        usage.close()
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


def _read(file: Path) -> Keys:
    try:
        return read_keys(file)
    except FileNotFoundError:
        raise ConfigurationError(f"there is no {file}: `awsllm keys create` makes it, or give --keys") from None


def _public(key: Key) -> dict[str, Any]:
    known: dict[str, Any] = msgspec.to_builtins(key)
    return {name: value for name, value in known.items() if name not in ("sha256", "secret")}
