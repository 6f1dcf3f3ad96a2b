"""Whether a version that is locked, or the lowest that is asked for, has a vulnerability that is known.

``tools/advisories.toml`` is the list. It is committed, and not asked for over the network, so that the check says the
same everywhere and a test can make it. Exits with what is wrong:

    python tools/advisories.py

What the list lacks is found online, and read at its source before it goes in. This asks OSV (https://osv.dev) about
each locked version and the lowest of each direct one, prints what it knows beyond the list, and changes nothing:

    python tools/advisories.py --update

Once a month, and before each release (RELEASING.md).
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
LIST = Path(__file__).with_suffix(".toml")
OSV = "https://api.osv.dev/v1"
_AT_ONCE = 500  # queries of a batch; OSV takes a thousand


@dataclass(frozen=True)
class Advisory:
    """A vulnerability, the versions that have it, and where that was read."""

    package: str
    affected: SpecifierSet
    ids: tuple[str, ...]
    date: date
    source: str
    what: str
    accepted: str = ""

    def concerns(self, package: str, version: Version) -> bool:
        return package == self.package and self.affected.contains(version, prereleases=True)


@dataclass(frozen=True)
class Used:
    """A version that is used, and where that is said."""

    package: str
    version: Version
    where: str


def read(path: Path = LIST) -> list[Advisory]:
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["advisory"]
    return [
        Advisory(
            **{**entry, "package": canonicalize_name(entry["package"]), "affected": SpecifierSet(entry["affected"])},
        )
        for entry in ({**entry, "ids": tuple(entry["ids"])} for entry in entries)
    ]


def locked(text: str) -> list[Used]:
    """What ``constraints.txt`` says."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    pairs = (line.split("==") for line in lines if line)
    return [Used(canonicalize_name(name), Version(version), "constraints.txt") for name, version in pairs]


def lowest(text: str) -> list[Used]:
    """The lowest versions that ``pyproject.toml`` asks for."""
    project = tomllib.loads(text)["project"]
    extras: Iterable[list[str]] = project.get("optional-dependencies", {}).values()
    asked = [*project["dependencies"], *(one for extra in extras for one in extra)]
    return sorted({used for one in asked for used in _lowest(Requirement(one))}, key=lambda used: used.package)


def _lowest(requirement: Requirement) -> Iterator[Used]:
    name = canonicalize_name(requirement.name)
    if name != "awsllm":
        for bound in requirement.specifier:
            if bound.operator in (">=", "==", "~="):
                yield Used(name, Version(bound.version), "pyproject.toml")


def faults(advisories: Iterable[Advisory], used: Iterable[Used]) -> list[str]:
    """What is known of what is used, each with its fix."""
    return [
        f"{one.where}: {one.package} {one.version} has {', '.join(advisory.ids)} ({advisory.what}); affected are "
        f"{advisory.affected}: raise it, or say in tools/advisories.toml why it is accepted. {advisory.source}"
        for one in used
        for advisory in advisories
        if advisory.concerns(one.package, one.version) and not advisory.accepted
    ]


# --- what else there is, online --------------------------------------------------------------------------------------


def unlisted(advisories: Iterable[Advisory], used: Iterable[Used], url: str = OSV) -> list[str]:
    """What OSV knows of what is used and the list does not."""
    known = {name for advisory in advisories for name in advisory.ids}
    found = []
    for one, name in _asked(list(used), url):
        entry = _fetched(f"{url}/vulns/{name}")
        names = {name, *entry.get("aliases", ())}
        if not names & known:
            found.append(
                f"{one.package} {one.version}: {', '.join(sorted(names))}, {entry.get('published', '')[:10]}, "
                f"{entry.get('summary', '')}\n  https://osv.dev/vulnerability/{name}"
            )
    return found


def _asked(used: list[Used], url: str) -> Iterator[tuple[Used, str]]:
    for first in range(0, len(used), _AT_ONCE):
        some = used[first : first + _AT_ONCE]
        queries = [{"package": {"name": one.package, "ecosystem": "PyPI"}, "version": str(one.version)} for one in some]
        results = _fetched(f"{url}/querybatch", {"queries": queries})["results"]
        for one, result in zip(some, results, strict=True):
            for entry in result.get("vulns", ()):
                yield one, entry["id"]


def _fetched(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310 -- OSV's
    with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
        return json.load(reply)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="ask OSV what else there is")
    arguments = parser.parse_args()
    advisories = read()
    used = locked((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    used += lowest((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = faults(advisories, used)
    if arguments.update:
        found += unlisted(advisories, used)
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
