"""What a package holds beside awsllm: wheels for Lambda's platform, fetched by pip and laid out as a path entry.

pip chooses and fetches (from its configured index, or a folder of wheels); nothing is built and nothing is run, for
what is fetched may be for another architecture than this machine's. What is pinned is what is installed here beside
awsllm, so that a package holds the versions that were tried.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path, PurePosixPath

import msgspec

from awsllm.errors import ConfigurationError

ARCHITECTURES = {"x86_64": "x86_64", "arm64": "aarch64"}
"""Lambda's names -> the wheels'."""
_GLIBC = {"3.11": 26}  # Amazon Linux 2; what is newer runs on Amazon Linux 2023
_GLIBC_2023 = 34
_OLDEST = {"x86_64": 5, "aarch64": 17}  # of the manylinux tags
_NAMED = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}  # what those tags were called before PEP 600
RUNTIME = frozenset(("boto3", "botocore", "s3transfer"))
"""What Lambda's managed runtimes have, each far larger than awsllm."""
_UNREACHABLE = re.compile(
    r"Retrying \(|Could not fetch URL|ConnectionError|NewConnectionError|Name or service|timed out"
)
_PYTHON = re.compile(r"3\.\d{1,2}")
_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^]]*\])?\s*($|[<>=!~;(,@ ])")


class LambdaPlatform(msgspec.Struct, frozen=True):
    """Where a package runs: ``arch`` in Lambda's words, ``python`` as in ``3.13``."""

    arch: str
    python: str

    def __post_init__(self) -> None:
        if self.arch not in ARCHITECTURES:
            raise ConfigurationError(f"no architecture {self.arch!r}: Lambda has {' and '.join(ARCHITECTURES)}")
        if not _PYTHON.fullmatch(self.python) or self.minor < (3, 11):
            raise ConfigurationError(
                f"python {self.python!r}: give 3.11 or later, as in 3.13 for the runtime python3.13"
            )

    @property
    def minor(self) -> tuple[int, int]:
        major, minor = self.python.split(".")
        return int(major), int(minor)

    def tags(self) -> list[str]:
        """The platform tags of wheels that run there, the best first."""
        machine = ARCHITECTURES[self.arch]
        found = []
        for glibc in range(_GLIBC.get(self.python, _GLIBC_2023), _OLDEST[machine] - 1, -1):
            found.append(f"manylinux_2_{glibc}_{machine}")
            if glibc in _NAMED:
                found.append(f"{_NAMED[glibc]}_{machine}")
        return [*found, f"linux_{machine}"]


class PackedWheel(msgspec.Struct, frozen=True):
    """A wheel in a package; ``size`` is of its files there, in bytes."""

    name: str
    version: str
    file: str
    sha256: str
    size: int


def normal(name: str) -> str:
    """A distribution's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(names: Iterable[str]) -> dict[str, str]:
    """Name -> requirement, of distributions and of what they need: the versions installed here. Of what is not
    installed, what awsllm asks for."""
    found: dict[str, str] = {}
    todo = list(names)
    while todo:
        name = normal(todo.pop())
        if name in found:
            continue
        try:
            installed = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            found[name] = _asked_for().get(name, name)
            continue
        found[name] = f"{name}=={installed.version}"
        # What another system or Python needs too is for the index to say.
        todo += [
            match[1] for line in installed.requires or () if ";" not in line and (match := _REQUIREMENT.match(line))
        ]
    return found


def _asked_for() -> dict[str, str]:
    """awsllm's own requirements, extras included, by name."""
    try:
        lines = metadata.requires("awsllm") or []
    except metadata.PackageNotFoundError:
        return {}
    plain = [line.partition(";")[0].strip() for line in lines]
    return {normal(match[1]): line for line in plain if (match := _REQUIREMENT.match(line))}


def check_requirement(text: str) -> str:
    """The name that a requirement is for. What pip would take for an option, a path or a URL is refused."""
    match = _REQUIREMENT.match(text.strip())
    if match is None or "://" in text or " @" in text:
        raise ConfigurationError(f"requirement {text!r} is no name with a version, such as 'requests>=2.34'")
    return normal(match[1])


def fetch(
    requirements: Iterable[str], platform: LambdaPlatform, folder: Path, find_links: Path | None = None
) -> list[Path]:
    """The wheels of the requirements and of all that they need, in ``folder``. With ``find_links`` from that folder
    alone. Raises ``ConfigurationError`` that says whether the index or a wheel is missing."""
    wanted = list(requirements)
    if not wanted:
        return []
    command = [sys.executable, "-P", "-m", "pip", "download", "--only-binary=:all:", "--dest", str(folder)]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    command += ["--implementation", "cp", "--python-version", platform.python]
    for tag in platform.tags():
        command += ["--platform", tag]
    dropped = {"PIP_TARGET", "PIP_REQUIRE_VIRTUALENV"}
    if find_links is not None:
        command += ["--no-index", "--find-links", str(find_links.resolve())]
        dropped.add("PIP_FIND_LINKS")
    elif "PIP_RETRIES" not in os.environ:
        command += ["--retries", "2"]
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    done = subprocess.run(  # noqa: S603 - our own interpreter; requirements were checked
        [*command, *wanted], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment
    )
    if done.returncode:
        raise _failed(done.stdout + done.stderr, platform, find_links)
    return sorted(folder.glob("*.whl"))


def _failed(said: str, platform: LambdaPlatform, find_links: Path | None) -> ConfigurationError:
    if "No module named pip" in said:
        return ConfigurationError(f"packages are made with pip, which this Python lacks: {sys.executable} -m ensurepip")
    missing = re.search(r"No matching distribution found for ([^\n(]+)", said)
    wheel = f"wheel of {missing[1].strip()} for Python {platform.python} on {platform.arch}" if missing else ""
    if find_links is not None and wheel:
        return ConfigurationError(f"{find_links} has no {wheel}: pip download one into it")
    if _UNREACHABLE.search(said):
        return ConfigurationError(
            "the package index cannot be reached: set PIP_INDEX_URL, or give a folder of wheels with --find-links"
        )
    if wheel:
        return ConfigurationError(
            f"there is no {wheel}, and nothing is built here: choose a version that has one, or build it on that "
            "platform and give its folder with --find-links"
        )
    reasons = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR")]
    return ConfigurationError(f"pip: {' '.join(reasons) or 'failed without a reason'}")


def unpack(wheel: Path, into: Path) -> PackedWheel:
    """Lay a wheel's modules and its metadata out in ``into``: no scripts, no stubs, no record of an installation."""
    size = 0
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name, target in _layout(archive.namelist()):
                content = archive.read(name)
                path = into / target
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                size += len(content)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        raise ConfigurationError(f"{wheel.name} cannot be unpacked ({type(error).__name__}): fetch it anew") from error
    name, version = wheel.name.split("-")[:2]
    return PackedWheel(normal(name), version, wheel.name, hashlib.sha256(wheel.read_bytes()).hexdigest(), size)


def _layout(names: Iterable[str]) -> Iterator[tuple[str, PurePosixPath]]:
    for name in names:
        path = PurePosixPath(name)
        if name.endswith(("/", ".pyi", ".pyc")) or path.is_absolute() or ".." in path.parts:
            continue
        top = path.parts[0]
        if top.endswith(".data"):
            if path.parts[1] not in {"purelib", "platlib"}:
                continue
            path = PurePosixPath(*path.parts[2:])
        elif top.endswith(".dist-info") and path.name in {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}:
            continue
        yield name, path


def provided(folder: Path) -> Mapping[str, Path]:
    """The top-level modules in a folder that is on the path."""
    found = {path.name.partition(".")[0]: path for path in folder.iterdir() if path.suffix in {".py", ".so"}}
    return found | {path.name: path for path in folder.iterdir() if path.is_dir() and path.suffix != ".dist-info"}
