"""Known vulnerabilities: none is in what is locked or asked for, and the list of them is what it says it is."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tests.support.loopback import Received, Response, serving
from tools import advisories

ROOT = Path(__file__).parent.parent
LISTED = advisories.read()
LOCKED = advisories.locked((ROOT / "constraints.txt").read_text(encoding="utf-8"))
LOWEST = advisories.lowest((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_what_is_used_has_no_known_vulnerability() -> None:
    assert advisories.faults(LISTED, [*LOCKED, *LOWEST]) == []


def test_what_is_used_is_read() -> None:
    assert {"boto3", "pillow", "torch", "jinja2", "moto", "pydantic"} <= {one.package for one in LOWEST}
    assert {one.package for one in LOWEST} <= {one.package for one in LOCKED} | {
        "awscrt", "llama-cpp-python", "sagemaker", "awslambdaric", "tzdata",  # which CI does not install everywhere
        "dask", "pandas", "pyspark", "ray",  # in environments of their own: tests/engines
    }  # fmt: skip


def test_an_affected_version_is_found_and_a_mended_one_is_not() -> None:
    for advisory in LISTED:
        bound = next(iter(advisory.affected))
        inside = Version(bound.version) if bound.operator in ("==", "<=", ">=") else None
        if inside is not None:
            used = advisories.Used(advisory.package, inside, "somewhere")
            found = advisories.faults([advisory], [used])
            assert bool(found) != bool(advisory.accepted), advisory
    old = advisories.Used("pillow", Version("12.2"), "pyproject.toml")
    (fault, *_) = advisories.faults(LISTED, [old])
    assert "pyproject.toml: pillow 12.2 has CVE-2026-59197" in fault
    assert "raise it" in fault
    assert not advisories.faults(LISTED, [advisories.Used("pillow", Version("12.3"), "pyproject.toml")])


@pytest.mark.parametrize("advisory", LISTED, ids=lambda one: f"{one.package}-{one.ids[0]}")
def test_an_advisory_says_where_it_is_from(advisory: advisories.Advisory) -> None:
    assert advisory.ids
    assert all(one.startswith(("CVE-", "GHSA-", "MAL-", "PYSEC-")) or "#" in one for one in advisory.ids)
    assert advisory.source.startswith("https://")
    assert date(2024, 1, 1) <= advisory.date <= date(2027, 12, 31)
    assert advisory.affected != SpecifierSet("")
    assert advisory.what


def test_no_advisory_stands_twice_or_out_of_order() -> None:
    named = [(one.package, str(one.affected), name) for one in LISTED for name in one.ids]
    assert len(named) == len(set(named))
    assert [one.package for one in LISTED] == sorted(one.package for one in LISTED)


def test_what_is_accepted_is_locked() -> None:
    """Else it need not be accepted any more."""
    for advisory in LISTED:
        if advisory.accepted:
            assert any(advisory.concerns(one.package, one.version) for one in [*LOCKED, *LOWEST]), advisory


def test_osv_is_asked_for_what_the_list_lacks() -> None:
    asked: list[Received] = []

    def respond(request: Received) -> Response:
        asked.append(request)
        if request.path.endswith("/querybatch"):
            names = [{"vulns": [{"id": "GHSA-known"}, {"id": "GHSA-new"}]}, {}]
            return Response(json.dumps({"results": names}).encode())
        name = request.path.rpartition("/")[2]
        entry = {"id": name, "aliases": ["CVE-2026-59200" if name == "GHSA-known" else "CVE-2030-1"], "summary": "Bad."}
        return Response(json.dumps({**entry, "published": "2030-01-02T00:00:00Z"}).encode())

    used = [advisories.Used(name, Version("1.0"), "here") for name in ("pillow", "boto3")]
    with serving(respond) as url:
        (found,) = advisories.unlisted(LISTED, used, url)
    assert found.startswith("pillow 1.0: CVE-2030-1, GHSA-new, 2030-01-02, Bad.")
    queries = json.loads(asked[0].body)["queries"]
    assert queries[0] == {"package": {"name": "pillow", "ecosystem": "PyPI"}, "version": "1.0"}
