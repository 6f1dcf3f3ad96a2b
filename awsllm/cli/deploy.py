"""`awsllm deploy`: a JumpStart model, or any container, as an endpoint; or the plan of it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from awsllm.aws.iam import ROLE_VARIABLE
from awsllm.cli import flags, tables, terminal
from awsllm.cli.options import EndpointUrl, Hub, Json, Profile, Region, make_client, pairs
from awsllm.cli.progress import deployment_progress
from awsllm.errors import AccessDeniedError, ModelNotFoundError, ValidationError

if TYPE_CHECKING:
    from awsllm.jumpstart.facade import JumpStart
    from awsllm.jumpstart.plan.plan import Plan


def _positive(hours: float | None) -> float | None:
    if hours is not None and hours <= 0:
        raise typer.BadParameter(f"{hours:g} is not above 0")
    return hours


def deploy(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(
            help="A JumpStart model id, or a plan saved with --plan --json (FILE.json); with --image, ORG/NAME on "
            "Hugging Face's hub, s3://..., or nothing."
        ),
    ] = None,
    plan_only: Annotated[bool, typer.Option("--plan", help="Show what would be done and do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; off a terminal nothing is asked.")] = False,
    accept_eula: Annotated[bool, typer.Option("--accept-eula", help="Accept the model's licence, this once.")] = False,
    name: Annotated[str | None, typer.Option(help="The endpoint's name.")] = None,
    version: Annotated[str | None, typer.Option(help="The model's version, or a pattern such as `1.*`.")] = None,
    instance_type: Annotated[str | None, typer.Option(help="Such as ml.g5.2xlarge; default: the model's.")] = None,
    instance_count: Annotated[int, typer.Option(min=1, help="Instances at first.")] = 1,
    config: Annotated[str | None, typer.Option(help="A hosting configuration of the model.")] = None,
    components: Annotated[bool, typer.Option("--components", help="Host it as an inference component.")] = False,
    min_copies: Annotated[int | None, typer.Option("--min", help="Autoscale from; 0 scales to zero.")] = None,
    max_copies: Annotated[int | None, typer.Option("--max", help="Autoscale up to.")] = None,
    async_output: Annotated[str | None, typer.Option(help="Asynchronous inference with answers under s3://...")] = None,
    role: Annotated[str | None, typer.Option(help="ARN of the execution role.", envvar=ROLE_VARIABLE)] = None,
    ttl: Annotated[
        float | None, typer.Option(callback=_positive, help="Hours until `awsllm endpoints reap` may delete it.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; may be repeated.")] = None,
    env: Annotated[list[str] | None, typer.Option(help="KEY=VALUE for the container; may be repeated.")] = None,
    format: Annotated[str | None, typer.Option(help="What the container speaks, where nothing tells.")] = None,
    image: Annotated[str | None, typer.Option(help="The URI of a container that is none of JumpStart's.")] = None,
    hub: Hub = None,
    keep: Annotated[bool, typer.Option("--keep-on-failure", help="Leave what was made when it fails.")] = False,
    as_json: Json = False,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Deploy a model, or with --plan show what that would do, cost and need."""
    if model is None and image is None:
        raise typer.BadParameter("name a JumpStart model, or a container with --image")
    if model is not None and model.endswith(".json"):
        _refuse_options(context)
        plan = _saved(model)
        if region not in (None, plan.region):
            raise typer.BadParameter(f"the plan is for {plan.region}: leave --region out, or plan again")
        jumpstart = make_client(plan.region, profile, endpoint_url).jumpstart
    else:
        options: dict[str, Any] = {
            "accept_eula": accept_eula,
            "name": name,
            "version": version,
            "instance_type": instance_type,
            "instance_count": instance_count,
            "config": config,
            "components": components or None,
            "autoscaling": _autoscaling(min_copies, max_copies),
            "async_": {"output": async_output} if async_output else None,
            "role": role,
            "ttl": None if ttl is None else ttl * 3600,
            "tags": pairs("--tag", tag) or None,
            "env": pairs("--env", env) or None,
            "format": format,
            "image": image,
            "hub": hub,
        }
        jumpstart = make_client(region, profile, endpoint_url).jumpstart
        plan = jumpstart.plan(model, **{key: value for key, value in options.items() if value is not None})
    if plan_only:
        _show(plan, as_json)
        return
    _confirm(jumpstart, plan, yes=yes)
    _apply(jumpstart, plan, keep, as_json)


# What says how a plan is applied, and changes nothing of it.
_OF_ANY_PLAN = {"model", "plan_only", "yes", "keep", "as_json", "region", "profile", "endpoint_url"}


def _refuse_options(context: typer.Context) -> None:
    """A saved plan is applied as it is. What the environment says counts for plans that are made here only."""
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name not in _OF_ANY_PLAN
        and getattr(context.get_parameter_source(parameter.name or ""), "name", "") == "COMMANDLINE"
    ]
    if given:
        raise typer.BadParameter(f"a saved plan is applied as it is: leave {', '.join(given)} out, or plan again")


def _running(jumpstart: JumpStart, plan: Plan) -> str | None:
    """What runs already under the plan's name, and what becomes of it; None where nothing does, or may not be looked
    at."""
    from awsllm.jumpstart.tags import PLAN_TAG

    try:
        found = jumpstart.endpoints.describe(plan.endpoint)
    except (ModelNotFoundError, AccessDeniedError):
        return None
    if found.tags.get(PLAN_TAG) == plan.digest:
        return "is there already as this plan made it: what has changed since is brought back"
    summary = found.summary
    unknown = "a model that awsllm did not deploy" if found.tags else "a model whose tags tell nothing"
    model = " ".join(filter(None, (summary.model_id, summary.model_version))) or unknown
    return f"is there already and runs {model}: it is changed"


def _confirm(jumpstart: JumpStart, plan: Plan, *, yes: bool) -> None:
    """Show what will be made and what it costs, and on a terminal ask. What is missing is refused first."""
    from awsllm.jumpstart.deploy.preflight import refuse_missing

    refuse_missing(plan)
    terminal.note(flags.spoken(str(plan)))
    running = _running(jumpstart, plan)
    if running:
        terminal.note(f"awsllm: the endpoint {plan.endpoint} {running}")
    cost = tables.span(plan.cost.per_hour, plan.cost.per_hour_max)
    if not (yes or terminal.is_agreed(f"{'Change' if running else 'Make'} it, for {cost}?")):
        terminal.note("awsllm: nothing was made")
        raise typer.Exit(1)


@contextmanager
def notes_told() -> Iterator[None]:
    """What goes on in AWS, or is left there and costs money, is told however the block ends: by Ctrl-C, or by SIGTERM,
    which is how a CI system gives up."""
    try:
        with _ended_by_sigterm():
            yield
    except BaseException as error:
        for note in getattr(error, "__notes__", ()):
            terminal.note(f"awsllm: {flags.spoken(note)}")
        raise


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _apply(jumpstart: JumpStart, plan: Plan, keep: bool, as_json: bool) -> None:
    with notes_told(), deployment_progress(plan) as on_progress:
        deployed = jumpstart.apply(plan, on_progress=on_progress, keep_on_failure=keep)
    if as_json:
        terminal.write_json(msgspec.to_builtins(deployed.deployment))
        return
    terminal.write(f"{deployed.reference} is in service, {tables.span(plan.cost.per_hour, plan.cost.per_hour_max)}\n")
    terminal.note(f"  awsllm chat --model {deployed.reference}")
    terminal.note(f"  awsllm endpoints delete {deployed.endpoint}")


def _show(plan: Plan, as_json: bool) -> None:
    if as_json:
        terminal.write_json(msgspec.to_builtins(plan))
        return
    terminal.write(f"{flags.spoken(str(plan))}\n")
    terminal.note('awsllm: the IAM policy that it needs is "permissions" of --plan --json')


def _saved(path: str) -> Plan:
    from awsllm.jumpstart.plan.plan import Plan

    try:
        return Plan.from_json(Path(path).read_bytes())
    except OSError as error:
        raise ValidationError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise ValidationError(f"{path}: {error.message}") from error


def _autoscaling(low: int | None, high: int | None) -> dict[str, int] | None:
    if low is None and high is None:
        return None
    first = 1 if low is None else low
    return {"min": first, "max": max(first, 1) if high is None else high}
