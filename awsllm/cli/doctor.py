"""`awsllm doctor`: what is configured, what is missing, how to fix it.

A check looks at this machine, and at a credential service only where botocore's chain would. Nothing secret is shown:
of keys and tokens only where they come from. Only what keeps every model from working is a failure (exit code 1); the
rest are warnings, since one can do without AWS, or without local models.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import msgspec
import typer

from awsllm._version import __version__
from awsllm.cli import flags, terminal
from awsllm.cli.options import Json, Profile, Region
from awsllm.errors import AwsllmError, ConfigurationError
from awsllm.models.references import CHAT_MODEL, EMBED_MODEL
from awsllm.store import Store

if TYPE_CHECKING:
    from awsllm.aws.session import AwsSession

_STYLES = {"ok": "green", "warning": "yellow", "failure": "bold red", "info": "dim"}

_ROOM = 30  # columns that a detail is worth a column of its own for


class Check(msgspec.Struct, frozen=True):
    """What was looked at and what was found. ``status`` is ok, info, warning or failure; ``fix`` says what to do about
    the last two."""

    name: str
    status: str
    detail: str
    fix: str | None = None


class CheckLike(Protocol):
    """What is shown of a check, whoever made it."""

    @property
    def name(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def detail(self) -> str: ...
    @property
    def fix(self) -> str | None: ...


def doctor(as_json: Json = False, region: Region = None, profile: Profile = None) -> None:
    """Show what is configured, what is missing and how to fix it."""
    checks = list(examine(region, profile))
    if as_json:
        terminal.write_json([msgspec.to_builtins(check) for check in checks])
    else:
        show(checks)
    if any(check.status == "failure" for check in checks):
        raise typer.Exit(1)


def examine(region: str | None, profile: str | None) -> Iterator[Check]:
    """Every check, in the order in which they are shown."""
    yield from _python()
    yield from _installed()
    yield from _aws(region, profile)
    yield from _proxies()
    yield from _servers()
    yield from _models()
    yield from _processor()
    yield from _kernels()
    yield _device()


def show(checks: Sequence[CheckLike]) -> None:
    """A line a check. On a terminal it goes on under itself, or under the name where little room is left beside it."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    columns = terminal.columns(sys.stdout) if sys.stdout.isatty() else None
    width = max(len(check.name) for check in checks)
    beside = columns is None or columns - width - 11 >= _ROOM
    indent = width + 11 if beside else 9

    def lines(text: str) -> list[str]:
        return [text] if columns is None else terminal.wrapped(text, columns - indent).split("\n")

    for check in checks:
        head = Text(f"{check.status:7}  ", style=_STYLES[check.status])
        head += Text(f"{check.name:{width}}  " if beside else check.name, style="bold")
        details = lines(check.detail)
        console.print(head + Text(details.pop(0), style="default") if beside else head)
        for line in details:
            console.print(Text(f"{'':{indent}}{line}", style="default"))
        for line in lines(check.fix) if check.fix else ():
            console.print(Text(f"{'':{indent}}{line}", style="cyan"))


# --- what is installed -----------------------------------------------------------------------------------------------


def _python() -> Iterator[Check]:
    version, new_enough = platform.python_version(), sys.version_info >= (3, 11)
    detail = f"{version} ({platform.system()} {platform.machine()})"
    yield Check("Python", "ok" if new_enough else "failure", detail, None if new_enough else "use Python 3.11 or newer")


def _packages() -> dict[str, list[str]]:
    """The names of the packages awsllm asks for, by extra; the core's under an empty name."""
    found: dict[str, list[str]] = {}
    for requirement in importlib.metadata.requires("awsllm") or ():
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        extra = re.search(r"""extra\s*==\s*["']([^"']+)["']""", requirement)
        if name and name.group() != "awsllm":  # an extra that includes another
            found.setdefault(extra.group(1) if extra else "", []).append(name.group())
    return found


def _installed() -> Iterator[Check]:
    try:
        packages = _packages()
    except importlib.metadata.PackageNotFoundError:
        yield Check("awsllm", "warning", "runs from source, not installed", "pip install -e '.[all]'")
        return
    yield Check("awsllm", "ok", __version__)
    for extra, names in packages.items():
        if extra in {"all", "dev"}:  # say nothing that the others do not
            continue
        versions = {name: _version(name) for name in names}
        present = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
        missing = ", ".join(name for name, version in versions.items() if version is None)
        if not missing:
            yield Check(f"[{extra}]" if extra else "core", "ok", present)
        elif extra:
            yield Check(f"[{extra}]", "warning", f"missing: {missing}", f"pip install 'awsllm[{extra}]'")
        else:
            yield Check("core", "failure", f"missing: {missing}", "pip install awsllm")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


# --- AWS -------------------------------------------------------------------------------------------------------------


def _aws(region: str | None, profile: str | None) -> Iterator[Check]:
    from awsllm.aws.endpoints import BEARER_VARIABLE
    from awsllm.aws.session import AwsSession

    session = AwsSession(region=region, profile=profile)
    yield _check("AWS region", lambda: session.region)
    yield _check("AWS credentials", lambda: _credentials(session))
    if os.environ.get(BEARER_VARIABLE):
        yield Check("AWS bearer token", "ok", f"set in {BEARER_VARIABLE}; Bedrock is called with it")
    for service in ("bedrock-runtime", "sagemaker-runtime"):
        check = _check(f"{service} URL", functools.partial(_custom_url, session, service))
        if check.detail:  # the usual URL is not worth a line
            yield check
    yield _check("TLS", lambda: _trust(session.config.verify))


def _check(name: str, look: Callable[[], str]) -> Check:
    """What ``look`` gives; what it raises is a warning, since local models need nothing of AWS."""
    try:
        return Check(name, "ok", look())
    except AwsllmError as error:
        what, _, fix = terminal.one_line(error).partition("; ")
        return Check(name, "warning", what, flags.spoken(fix) or None)
    except ImportError as error:
        return Check(name, "warning", f"{error.name} is missing", "pip install awsllm")


def _credentials(session: AwsSession) -> str:
    keys = session.credentials()
    chain = session.botocore
    source = "environment" if chain is None else chain.get_credentials().method
    return f"from {source}{', temporary' if keys.token else ''}"


def _custom_url(session: AwsSession, service: str) -> str:
    from awsllm.aws.failures import masked

    return masked(session.endpoint_url(service) or "")


def _trust(verify: str | bool) -> str:
    if isinstance(verify, str) and not Path(verify).exists():
        raise ConfigurationError(f"the CA bundle {verify} does not exist; correct or unset AWS_CA_BUNDLE")
    return f"CA bundle {verify}" if isinstance(verify, str) else "the certificates that come with botocore"


def _proxies() -> Iterator[Check]:
    from awsllm.aws.failures import masked

    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"):
        if value := os.environ.get(name):
            yield Check(name, "info", masked(value))


# --- servers ---------------------------------------------------------------------------------------------------------


def _servers() -> Iterator[Check]:
    """`awsllm serve` on this machine, and whether what AWS's clients read points at it."""
    from awsllm.aws.failures import masked
    from awsllm.server.instance import instances

    pointed = os.environ.get("AWS_ENDPOINT_URL", "").rstrip("/")
    running = instances()
    for one in running:
        detail = f"{one.url} (process {one.pid}{', with an API key' if one.key_needed else ''})"
        if one.url == pointed:
            yield Check("awsllm serve", "ok", f"{detail}, which AWS_ENDPOINT_URL points at")
        else:
            yield Check("awsllm serve", "info", detail, f'eval "$(awsllm env --url {one.url})" points clients at it')
    if pointed and pointed not in [one.url for one in running] and not _answers(pointed):
        fix = 'start it with `awsllm serve`, or eval "$(awsllm env --unset)"'
        yield Check("AWS_ENDPOINT_URL", "warning", f"nobody listens at {masked(pointed)}", fix)
    elif not running:
        yield Check("awsllm serve", "info", "no server runs here")


def _answers(url: str) -> bool:
    """Whether somebody listens there. Only this machine is asked; of others it is taken for granted."""
    from awsllm.server.http.auth import is_loopback

    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return False
    if not is_loopback(host):
        return True
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


# --- local models ----------------------------------------------------------------------------------------------------


def _models() -> Iterator[Check]:
    store = Store()
    place = next(place for place in (store.cache_dir, *store.cache_dir.parents) if place.exists())
    if os.access(place, os.W_OK):
        free = shutil.disk_usage(place).free
        yield Check("model cache", "ok", f"{store.cache_dir} ({free / 1e9:.1f} GB free)")
    else:
        yield Check("model cache", "warning", f"{store.cache_dir} is not writable", "set AWSLLM_CACHE to a directory")
    if models := os.environ.get("AWSLLM_MODELS"):
        if models.startswith("s3://") or Path(models).expanduser().is_dir():
            yield Check("AWSLLM_MODELS", "ok", models)
        else:
            yield Check("AWSLLM_MODELS", "warning", f"{models} is no directory", "correct or unset AWSLLM_MODELS")
    for entry in store.list():
        if entry.path:
            yield Check(f"local:{entry.name}", "ok", entry.path)
        elif f"local:{entry.name}" in (CHAT_MODEL, EMBED_MODEL):
            detail = f"not on this machine ({entry.size / 1e6:.0f} MB)"
            yield Check(f"local:{entry.name}", "info", detail, f"awsllm models pull {entry.name}")


_FEATURES = {
    *("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16"),  # x86
    *("asimddp", "i8mm", "bf16", "sve"),  # Arm
}


def _processor() -> Iterator[Check]:
    """Threads and the instruction sets that matrix products use."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limit = os.environ.get("OMP_NUM_THREADS")
    detail = f"{threads} threads" + (f" (OMP_NUM_THREADS={limit})" if limit else "")
    features = _cpu_features()
    if features:
        detail += f", {' '.join(sorted(features & _FEATURES)) or 'no vector extensions that matter'}"
    if features and platform.machine() in {"x86_64", "AMD64"} and "avx2" not in features:
        yield Check("processor", "warning", detail, "without AVX2 local models are slow: use a newer machine type")
    else:
        yield Check("processor", "ok", detail)


def _kernels() -> Iterator[Check]:
    """What computes local chat models."""
    from awsllm.backends.local import computing

    found = computing.here()
    if found.fault:
        yield Check("kernels", "warning", found.fault, f"correct or unset {computing.CHOICE}")
    elif found.kernel and found.is_stale:
        yield Check("kernels", "warning", f"{found.told}, built of an older source", _KERNELS_BUILT_AGAIN)
    elif found.kernel:
        yield Check("kernels", "ok", found.told)
    elif found.missing and not found.is_unsuited:
        yield Check("kernels", "warning", found.told, _KERNELS_BUILT_AGAIN if found.has_source else _KERNELS_FIX)
    else:
        yield Check("kernels", "info", found.told)


_KERNELS_BUILT_AGAIN = "pip install -e . builds it again, in the clone that it lies in"
_KERNELS_FIX = (
    "install a wheel of this machine's, or where there is a C compiler: pip install --no-binary awsllm awsllm"
)


def _device() -> Check:
    """What computes local models, and whether a GPU could."""
    from awsllm.backends.local.device import VARIABLE, seen

    said = bool(os.environ.get(VARIABLE))
    try:
        name, found, detail = seen()
    except AwsllmError as error:
        return Check("device", "warning", error.message, f"correct or unset {VARIABLE}")
    except ImportError as error:
        return Check("device", "warning", f"{error.name} is missing", "pip install 'awsllm[local]'")
    if said or found == name:
        return Check("device", "ok", f"{detail}, as {VARIABLE} says" if said else detail)
    return Check("device", "info", f"{name}; there is {detail}", f"export {VARIABLE}={found.partition(':')[0]} uses it")


def _cpu_features() -> set[str]:
    """The first processor's, by Linux; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return set()
    line = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return set(line.group(1).split()) if line else set()
