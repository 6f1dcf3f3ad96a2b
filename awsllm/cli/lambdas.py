"""`awsllm lambda`: packages for Lambda functions, and what runs them here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from awsllm.cli import lambda_invoke, tables, terminal
from awsllm.cli.options import Json

if TYPE_CHECKING:
    from awsllm.lambdas.packaging.build import BuiltPackage

app = typer.Typer(no_args_is_help=True, help="Package Lambda functions, and try them out here.")
app.command("invoke")(lambda_invoke.invoke)
app.command("events")(lambda_invoke.events)

_CONTENTS = "Contents"
_PLATFORM = "Platform"


@app.command("package")
def package(
    output: Annotated[Path, typer.Option("--output", "-o", help="The zip to write.")],
    handlers: Annotated[
        list[str] | None,
        typer.Option(
            "--handler",
            help="What Lambda calls, as MODULE.FUNCTION; repeatable. Without one and without --source, every handler "
            "of awsllm.lambdas.",
            rich_help_panel=_CONTENTS,
        ),
    ] = None,
    source: Annotated[
        Path | None, typer.Option(help="A folder of your own modules and files.", rich_help_panel=_CONTENTS)
    ] = None,
    configuration: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="An awsllm.toml: its aliases and groups are models of the function.",
            rich_help_panel=_CONTENTS,
        ),
    ] = None,
    requirements: Annotated[
        list[str] | None,
        typer.Option("--requirement", "-r", help="A distribution beside awsllm's own.", rich_help_panel=_CONTENTS),
    ] = None,
    extras: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            help="tools (pydantic, for tools and typed output; added where your code is seen to use them), boto3 "
            "(which Lambda's managed runtimes have), pdf, async; repeatable.",
            rich_help_panel=_CONTENTS,
        ),
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(
            help="A module of awsllm that your code reaches by a name it computes.", rich_help_panel=_CONTENTS
        ),
    ] = None,
    layer: Annotated[bool, typer.Option("--layer", help="A layer, to be shared by functions.")] = False,
    arch: Annotated[str, typer.Option(help="arm64 or x86_64.", rich_help_panel=_PLATFORM)] = "arm64",
    python: Annotated[str, typer.Option(help="The runtime's version.", rich_help_panel=_PLATFORM)] = "3.13",
    find_links: Annotated[
        Path | None, typer.Option(help="A folder of wheels, instead of the package index.", rich_help_panel=_PLATFORM)
    ] = None,
    interpreter: Annotated[
        Path | None,
        typer.Option(help="A Python of the runtime's version, to compile with.", rich_help_panel=_PLATFORM),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
    as_json: Json = False,
) -> None:
    """Make the zip of a function, or a layer: what the handlers need of awsllm, wheels for Lambda, bytecode. The same
    inputs give the same bytes."""
    from awsllm.lambdas.packaging.build import build

    built = build(
        output,
        handlers=handlers or (),
        source=source,
        configuration=configuration,
        requirements=requirements or (),
        extras=extras or (),
        include=include or (),
        layer=layer,
        arch=arch,
        python=python,
        find_links=find_links,
        interpreter=interpreter,
        replace=force,
        progress=terminal.note,
    )
    if as_json:
        terminal.write_json(described(built))
        return
    _show(built)


def described(built: BuiltPackage) -> dict[str, object]:
    """A package as JSON has it."""
    import msgspec

    document: dict[str, object] = msgspec.to_builtins(built, enc_hook=str)
    return document


def _show(built: BuiltPackage) -> None:
    from awsllm.lambdas.packaging.build import MAX_UNZIPPED

    unzipped = f"{_size(built.unzipped)} unzipped of {_size(MAX_UNZIPPED)} that Lambda takes"
    terminal.write(
        f"{built.path}: {_size(built.size)}, {unzipped}\n"
        f"python{built.python} on {built.arch}, CodeSha256 {built.code_sha256}\n\n"
    )
    rows: list[tuple[str, str, str]] = [("awsllm", f"{built.modules} modules", _size(built.awsllm_size))]
    rows += [(one.name, one.version, _size(one.size)) for one in built.wheels]
    tables.show(("PACKED", "VERSION", "SIZE"), rows)
    for text in built.notes:
        terminal.note(f"note: {text}")


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 50_000 else f"{size / 1e3:.0f} kB"
