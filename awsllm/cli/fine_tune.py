"""`awsllm fine-tune`: data and a base to a model of one's own, here or in AWS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from awsllm.cli import jobs, tables, terminal
from awsllm.cli.options import EndpointUrl, Json, Profile, Region, make_client, pairs
from awsllm.models.references import CHAT_MODEL

if TYPE_CHECKING:
    from awsllm.jobs.data.statistics import DataStatistics
    from awsllm.jobs.job import JobPlan


def fine_tune(
    data: Annotated[str, typer.Argument(help="A file of JSON Lines, or s3://...")],
    base: Annotated[
        list[str] | None,
        typer.Option(
            help="What is trained: local:NAME, bedrock:MODEL_ID, or a JumpStart model as sagemaker:ID. Repeated, one "
            f"of them is chosen by price, memory and time. Default: {CHAT_MODEL}."
        ),
    ] = None,
    where: Annotated[str, typer.Option(help="auto, local, bedrock or sagemaker.")] = "auto",
    name: Annotated[str | None, typer.Option(help="The job's name; default: it follows from what is done.")] = None,
    epochs: Annotated[float | None, typer.Option(help="How often each example is seen.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The largest.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples of a step.")] = None,
    output: Annotated[str | None, typer.Option(help="In AWS: the s3:// prefix for data and results.")] = None,
    role: Annotated[str | None, typer.Option(help="In AWS: ARN of the role that the job has.")] = None,
    deadline: Annotated[float | None, typer.Option(min=1, help="Seconds within which it shall be done.")] = None,
    max_cost: Annotated[float | None, typer.Option(min=0.01, help="US dollars that training may cost.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", help="NAME=VALUE of fine_tune, such as rank=8; repeatable.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Read the data, say what is in them, and do nothing.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be done and what it costs.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; off a terminal nothing is asked.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Begin it and return; `awsllm jobs watch` follows.")] = False,
    as_json: Json = False,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Train a model on your data, and print the reference that calls take."""
    client = make_client(region, profile, endpoint_url)
    if check:
        _show_data(client.jobs.inspect_data(data), as_json=as_json)
        return
    bases = base or [CHAT_MODEL]
    common = {"name": name, "epochs": epochs, "learning_rate": learning_rate, "batch_size": batch_size}
    limits = {"deadline": deadline, "max_cost": max_cost}
    given: dict[str, Any] = {**common, **limits, "output": output, "role": role, **_options(option)}
    options: Any = {key: value for key, value in given.items() if value is not None}
    if plan or not all(one.startswith("local:") for one in bases):
        planned = client.jobs.plan_fine_tune(bases, data, where=where, options=options)
        _show(planned, as_json=plan and as_json)
        if plan:
            return
        if not yes and not terminal.is_agreed("Begin this job?"):
            raise typer.Exit(1)
    job = client.fine_tune(bases, data, where=where, **options)
    terminal.note(f"awsllm: {job.kind.noun} {job.name}: {job.why}")
    if detach:
        terminal.write(f"{job.name}\n")
        return
    jobs.follow(job, None, as_json)


def _options(given: list[str] | None) -> dict[str, Any]:
    """Values are read as JSON where they are that, as text elsewhere."""
    found: dict[str, Any] = {}
    for name, text in pairs("--option", given).items():
        try:
            found[name] = msgspec.json.decode(text)
        except ValueError:
            found[name] = text
    return found


def _show_data(found: DataStatistics, *, as_json: bool) -> None:
    if as_json:
        terminal.write_json(msgspec.to_builtins(found))
        return
    terminal.write(found.text() + "\n")
    for example in found.preview:
        terminal.write("\n" + "\n".join(f"  {line}" for line in example.split("\n")) + "\n")


def _show(plan: JobPlan, *, as_json: bool) -> None:
    if as_json:
        terminal.write_json(msgspec.to_builtins(plan))
        return
    terminal.note(f"awsllm: {plan.name}")
    for line in filter(None, (plan.why, _how(plan.request.get("training")))):
        terminal.note(f"awsllm: {line}")
    price = tables.span(plan.cost.per_hour, plan.cost.per_hour_max) if plan.cost.per_hour is not None else ""
    total = "" if plan.cost.total is None else f"${plan.cost.total:.4f} at most,"
    cost = ("nothing,", plan.cost.note) if plan.cost.total == 0 else (total, price, plan.cost.note)
    terminal.note(f"awsllm: cost: {' '.join(filter(None, cost))}")
    for warning in plan.warnings:
        terminal.note(f"awsllm: {warning}")


def _how(training: Any) -> str:
    """A training on this machine: what was said, and what follows from the data."""
    if not isinstance(training, dict):
        return ""
    rank = f", rank {training['rank']}" if training["method"] != "full" else ""
    length = f"{training['steps']} steps" if training["steps"] else f"{training['epochs']:g} epochs"
    rate = f"learning rate {training['learning_rate']:g}, {training['schedule']}"
    return f"{training['method']}{rank}: {length}, {training['rows']} examples at once, {rate}"
