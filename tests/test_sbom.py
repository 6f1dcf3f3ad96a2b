"""The bill of materials of a release: valid by CycloneDX's own schema, whole, and the same each time."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools import sbom

ROOT = Path(__file__).parent.parent


def item(name: str, version: str, *requires: str, **metadata: Any) -> dict[str, Any]:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return {
        "metadata": {"name": name, "version": version, "requires_dist": list(requires), **metadata},
        "download_info": {"url": "https://…", "archive_info": {"hashes": {"sha256": digest}}},
    }


REPORT = {
    "install": [
        item(
            "awsllm", "1.0", "boto3>=1.43", 'awsllm[local] ; extra == "all"', 'Torch>=2 ; extra == "local"',
            'nothing ; extra == "docs"', license_expression="Apache-2.0", summary="One client",
        ),
        item("Torch", "2.13", "Jinja2", license="x" * 500, classifier=["License :: OSI Approved :: BSD License"]),
        item("boto3", "1.44", "botocore", "crt ; extra == 'crt'", license="Apache-2.0", provides_extra=["crt"]),
        item("botocore", "1.44", license_expression="Apache-2.0"),
        item("Jinja2", "3.1.6"),
    ]
}  # fmt: skip


@pytest.fixture
def made(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "awsllm-1.0-py3-none-any.whl").write_bytes(b"a wheel")
    return sbom.bill(REPORT, list(tmp_path.glob("*.whl")))


def test_it_is_valid(made: dict[str, Any]) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(sbom.written(made).decode()) is None
    broken = {**made, "bomFormat": "another"}
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(broken)) is not None


def test_it_has_all_with_hashes_and_licences(made: dict[str, Any]) -> None:
    components = {one["name"]: one for one in made["components"]}
    assert components.keys() == {"boto3", "botocore", "jinja2", "torch"}
    assert {name for name, one in components.items() if one["scope"] == "required"} == {"boto3", "botocore"}
    assert components["boto3"]["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(b"boto3").hexdigest()}]
    assert components["boto3"]["licenses"] == [{"license": {"name": "Apache-2.0"}}]
    assert components["botocore"]["licenses"] == [{"expression": "Apache-2.0"}]
    assert components["torch"]["licenses"] == [{"license": {"name": "BSD License"}}]
    assert components["torch"]["purl"] == "pkg:pypi/torch@2.13"
    (wheel,) = made["metadata"]["component"]["components"]
    assert wheel["hashes"][0]["content"] == hashlib.sha256(b"a wheel").hexdigest()


def test_it_says_what_needs_what(made: dict[str, Any]) -> None:
    graph = {one["ref"]: one["dependsOn"] for one in made["dependencies"]}
    assert graph["pkg:pypi/awsllm@1.0"] == ["pkg:pypi/boto3@1.44", "pkg:pypi/torch@2.13"]
    assert graph["pkg:pypi/torch@2.13"] == ["pkg:pypi/jinja2@3.1.6"]
    assert graph["pkg:pypi/boto3@1.44"] == ["pkg:pypi/botocore@1.44"]


def test_it_is_the_same_each_time_and_another_for_another_wheel(made: dict[str, Any], tmp_path: Path) -> None:
    wheels = list(tmp_path.glob("*.whl"))
    turned = {"install": [*reversed(REPORT["install"])]}
    assert sbom.written(sbom.bill(turned, wheels)) == sbom.written(made)
    wheels[0].write_bytes(b"another wheel")
    assert sbom.bill(REPORT, wheels)["serialNumber"] != made["serialNumber"]


def test_a_release_has_one() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8"))
    runs = [step.get("run", "") for step in workflow["jobs"]["build"]["steps"]]
    assert any("tools/sbom.py" in run for run in runs)
    assert any("tools/advisories.py" in run for run in runs)
    assert "sbom:" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_without_wheels_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["sbom.py", "--dist", str(tmp_path)])
    with pytest.raises(SystemExit, match="make wheels"):
        sbom.main()
