"""`awsllm env`: what points a program's AWS, OpenAI and Anthropic clients at `awsllm serve`."""

from __future__ import annotations

import os
import shlex
from typing import Annotated

import typer

from awsllm.cli import terminal
from awsllm.cli.options import API_KEY, SERVER, Json
from awsllm.errors import ConfigurationError

# What would keep a client from the server: credentials, profiles and proxies of somewhere else.
UNSET = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_BEARER_TOKEN_BEDROCK",
    "OPENAI_ORG_ID",
    "ANTHROPIC_AUTH_TOKEN",
)
_SHELLS = ("sh", "fish", "powershell", "dotenv")


def env(
    url: Annotated[str | None, typer.Option(help="The server; the one that runs here unless given.")] = None,
    region: Annotated[str | None, typer.Option(help="AWS region.")] = None,
    access_key_id: Annotated[
        str | None, typer.Option(help="The key's id, at a server of --keys: AWS's clients sign with it.")
    ] = None,
    shell: Annotated[str, typer.Option(help=f"One of {', '.join(_SHELLS)}.")] = "sh",
    unset: Annotated[bool, typer.Option("--unset", help="Print what takes it back.")] = False,
    as_json: Json = False,
) -> None:
    """Print the variables that point clients at the server: `eval "$(awsllm env)"`.

    Boto3, the AWS CLI and the SDKs for JavaScript, Java, Go, Rust, .NET, Ruby and PHP read them, and so do OpenAI's
    and Anthropic's clients. The secret access key is the API key (AWSLLM_API_KEY), where the server has one.
    """
    if shell not in _SHELLS:
        raise ConfigurationError(f"--shell is one of {', '.join(_SHELLS)}, not {shell!r}")
    variables = _variables(url, region, access_key_id)
    if as_json:
        terminal.write_json({**dict.fromkeys(UNSET), **({} if unset else variables)})
        return
    if shell != "dotenv":
        terminal.write("".join(f"{_unsetting(shell, name)}\n" for name in (variables if unset else UNSET)))
    if not unset:
        terminal.write("".join(f"{_setting(shell, name, value)}\n" for name, value in variables.items()))


def _variables(url: str | None, region: str | None, access_key_id: str | None) -> dict[str, str]:
    from awsllm.server.instance import Instance, environment, instances

    running = [one for one in instances() if url is None or one.url == url]
    if not running and url is None:
        terminal.note(f"No server runs here; these are for {SERVER} (start it with `awsllm serve`).")
    found = running[0] if running else Instance(url=url or SERVER)
    key = os.environ.get(API_KEY)
    if found.key_needed and not key:
        what = "asks for a key (`awsllm keys create` makes one)" if found.gated else "has an API key"
        raise ConfigurationError(f"the server at {found.url} {what}: set {API_KEY}")
    if found.gated and access_key_id is None:
        terminal.note("Callers of this server have keys of their own. AWS's clients, which sign, need one of")
        terminal.note("`awsllm keys create --sigv4` and its id: `awsllm env --access-key-id ID` (`awsllm keys list`).")
    return environment(
        found.url,
        key=key or "awsllm",
        access_key_id=access_key_id or "awsllm",
        region=region or found.region,
        authority=found.authority,
    )


def _setting(shell: str, name: str, value: str) -> str:
    match shell:
        case "fish":
            return f"set -gx {name} {shlex.quote(value)};"
        case "powershell":
            doubled = value.replace("'", "''")
            return f"$env:{name} = '{doubled}'"
        case "dotenv":
            return f"{name}={value}"
        case _:
            return f"export {name}={shlex.quote(value)}"


def _unsetting(shell: str, name: str) -> str:
    match shell:
        case "fish":
            return f"set -e {name};"
        case "powershell":
            return f"Remove-Item Env:{name} -ErrorAction SilentlyContinue"
        case _:
            return f"unset {name}"
