"""`awsllm usage reconcile`: a ledger against what Bedrock's invocation log has."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from awsllm.cli import tables, terminal
from awsllm.cli.log_text import dollars
from awsllm.cli.options import EndpointUrl, Json, Profile, Region
from awsllm.errors import ConfigurationError, ValidationError
from awsllm.policy.usage_ledger import UsageLedger
from awsllm.policy.usage_reconciliation import ReconciledRow, Reconciler, Reconciliation, Unmatched, read_records

_DAY = ["%Y-%m-%d"]


def reconcile(
    logs: Annotated[
        list[str],
        typer.Option("--logs", "-l", help="s3://BUCKET/PREFIX, cloudwatch:GROUP, files, folders; repeatable."),
    ],
    ledger: Annotated[
        str, typer.Option("--ledger", envvar="AWSLLM_LEDGER", help="The file of Client(ledger=…).")
    ] = "usage.db",
    by: Annotated[
        str, typer.Option("--by", "-b", help="What is added up apart: day, month, model, tag:NAME, with commas.")
    ] = "day,model",
    since: Annotated[datetime | None, typer.Option(formats=_DAY, help="From this day (UTC) on.")] = None,
    until: Annotated[datetime | None, typer.Option(formats=_DAY, help="To this day, included.")] = None,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Compare what AWS logged with what the ledger counted: calls, tokens, cost."""
    if not Path(ledger).exists():
        raise ConfigurationError(f"there is no {ledger}: it is what awsllm.Client(ledger={ledger!r}) writes")
    from awsllm.aws.session import AwsSession
    from awsllm.backends.bedrock.invocation_logs import log_lines

    days = (since.strftime(_DAY[0]) if since else "", until.strftime(_DAY[0]) if until else "9999")
    session = AwsSession(region=region, profile=profile, endpoint_url=endpoint_url)
    lost: list[None] = []
    with closing(UsageLedger(ledger)) as opened:
        try:
            reconciler = Reconciler(opened, [name.strip() for name in by.split(",") if name.strip()], days, _profiles())
        except ValidationError as error:
            raise typer.BadParameter(f"--by: {error}") from error
        for place in logs:
            for record in read_records(log_lines(place, session, days), lambda: lost.append(None)):
                reconciler.take(record)
        found = reconciler.result()
    if lost:
        found = msgspec.structs.replace(
            found, notes=(*found.notes, f"{len(lost):,} lines are no records of invocations and were passed over")
        )
    if as_json:
        terminal.write_json(_whole(found))
    else:
        _show(found)


def _whole(value: Any) -> Any:
    """A value as JSON with all its members, those at their defaults too."""
    if isinstance(value, msgspec.Struct):
        return {name: _whole(getattr(value, name)) for name in value.__struct_fields__}
    return [_whole(each) for each in value] if isinstance(value, tuple) else value


def _profiles() -> dict[str, str]:
    """The models behind the profiles that awsllm.toml names."""
    from awsllm.policy.configuration_file import configured

    found = configured(None)
    profiles = {} if found is None else found.tables.get("profiles", {})
    return {arn: model for models in profiles.values() for model, arn in models.items()}


def _show(found: Reconciliation) -> None:
    headings = [name.removeprefix("tag:").upper() for name in found.by]
    headings += ["AWS CALLS", "LEDGER", "AWS INPUT", "LEDGER", "AWS OUTPUT", "LEDGER", "AWS COST", "LEDGER", ""]
    rows = [(*row.key, *_figures(row)) for row in found.rows]
    tables.show(*tables.aligned(headings, rows, len(found.by)))
    if found.by_id:
        terminal.write(f"\n{found.matched:,} requests are on both sides.\n")
        _tell("AWS alone has", found.only_aws)
        _tell("The ledger alone has", found.only_ledger)
        _tell("Counted otherwise by AWS (by so much more):", found.differing)
    if found.refused:
        terminal.note(f"{found.refused:,} records are of calls that AWS refused or that failed there.")
    if found.repeated:
        terminal.note(f"{found.repeated:,} records came again and count once.")
    for note in found.notes:
        terminal.note(f"Note: {note}.")


def _figures(row: ReconciledRow) -> tuple[str, ...]:
    mine, theirs = row.ledger, row.aws
    pairs = ((theirs.calls, mine.calls), (theirs.input, mine.input), (theirs.output, mine.output))
    costs = tuple(dollars(side.cost) + ("+?" if side.unpriced else "") for side in (theirs, mine))
    return (*(f"{number:,}" for pair in pairs for number in pair), *costs, "" if row.is_equal else "differs")


def _tell(what: str, some: Unmatched) -> None:
    if not some.calls:
        return
    shown = ", ".join(some.ids[:3]) + (", …" if some.calls > 3 else "")
    terminal.write(
        f"{what} {some.calls:,} requests: {some.input:,} tokens in, "
        f"{some.output:,} out, {dollars(some.cost)} ({shown})\n"
    )
