"""``make sbom``: what a release is made of, as CycloneDX 1.6 in JSON.

It lies not beside the wheels, for all of ``dist/`` goes to the package index, which takes nothing else.

The wheels stand in it with their hashes, and what ``awsllm[all]`` installs at the versions of ``constraints.txt``
with the hash of each file, its licence and what needs it; what only extras need is optional. ``pip`` says which files
those are, here, where it is run: other systems have other files of the same versions. The same input gives the same
bytes: there is no time in it, and the serial number follows from the content.

    python tools/sbom.py [--dist dist] [--out build] [--report REPORT]

``--report`` is what ``pip install --report`` wrote; without one pip is asked, over the network.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.metadata
import json
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
EXTRA = "all"
_NAMESPACE = uuid.UUID("6a0f2d0e-7c1b-4b39-9d52-0f6a3c9f1e55")  # of this project's bills, so that numbers differ
_LONGEST = 120  # characters of a licence's name: some packages put its whole text there
_NO_LICENCE = "Other/Proprietary License"

Json = dict[str, Any]


def bill(report: Json, wheels: list[Path]) -> Json:
    """The bill of materials. ``report`` is pip's, of ``awsllm[all]``."""
    items = {canonicalize_name(item["metadata"]["name"]): item for item in report["install"]}
    ours = items.pop("awsllm")
    needed = _reached(items, _edges(ours, set()))
    components = [_component(name, item, optional=name not in needed) for name, item in sorted(items.items())]
    graph = {_ref(ours): sorted(_edges(ours, {EXTRA}) & items.keys())}
    graph |= {_ref(item): sorted(_edges(item, _extras(item)) & items.keys()) for item in items.values()}
    made: Json = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {**_component("awsllm", ours), "components": [_file(path) for path in sorted(wheels)]}
        },
        "components": components,
        "dependencies": [
            {"ref": ref, "dependsOn": [_ref(items[name]) for name in names]} for ref, names in sorted(graph.items())
        ],
    }
    content = json.dumps(made, sort_keys=True)
    return {**made, "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, content)}"}


def _component(name: str, item: Json, *, optional: bool = False) -> Json:
    metadata = item["metadata"]
    made: Json = {
        "type": "library",
        "bom-ref": _ref(item),
        "name": name,
        "version": metadata["version"],
        "purl": _ref(item),
        "licenses": list(_licences(metadata)),
    }
    if name != "awsllm":  # whose wheels stand there each
        made["scope"] = "optional" if optional else "required"
        hashes = item["download_info"].get("archive_info", {}).get("hashes", {})
        made["hashes"] = [{"alg": "SHA-256", "content": hashes["sha256"]}] if "sha256" in hashes else []
    if summary := metadata.get("summary"):
        made["description"] = summary
    return {key: value for key, value in made.items() if value != []}


def _file(path: Path) -> Json:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        "type": "file",
        "bom-ref": f"file:{path.name}",
        "name": path.name,
        "hashes": [{"alg": "SHA-256", "content": digest}],
    }


def _licences(metadata: Json) -> Iterator[Json]:
    """As the package says it: an SPDX expression, else its own words, else its classifiers."""
    if expression := metadata.get("license_expression"):
        yield {"expression": expression}
        return
    words = (metadata.get("license") or "").strip()
    if words and len(words) <= _LONGEST and "\n" not in words:
        yield {"license": {"name": words}}
        return
    for classifier in metadata.get("classifier", ()):
        if classifier.startswith("License :: ") and not classifier.endswith(_NO_LICENCE):
            yield {"license": {"name": classifier.rpartition(" :: ")[2]}}


# --- what needs what -------------------------------------------------------------------------------------------------


def _ref(item: Json) -> str:
    return f"pkg:pypi/{canonicalize_name(item['metadata']['name'])}@{item['metadata']['version']}"


def _extras(item: Json) -> set[str]:
    """Those that were asked for, as far as pip tells: of what is needed by others it does not, so all that lead to
    something which is there count."""
    return set(item.get("requested_extras", ())) or set(item["metadata"].get("provides_extra", ()))


def _edges(item: Json, extras: set[str]) -> set[str]:
    """What a package needs here, with these extras of its own; an extra that names others (``awsllm[local]``) has
    what those have."""
    own = canonicalize_name(item["metadata"]["name"])
    wanted, done, found = {"", *extras}, set[str](), set[str]()
    requirements = [Requirement(text) for text in item["metadata"].get("requires_dist", ())]
    while wanted - done:
        extra = min(wanted - done)
        done.add(extra)
        for requirement in requirements:
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
                continue
            name = canonicalize_name(requirement.name)
            if name == own:
                wanted |= requirement.extras
            else:
                found.add(name)
    return found


def _reached(items: Mapping[str, Json], first: set[str]) -> set[str]:
    """All that is needed by what is needed."""
    reached: set[str] = set()
    ahead = first & items.keys()
    while ahead:
        reached |= ahead
        ahead = {name for one in ahead for name in _edges(items[one], set())} & items.keys() - reached
    return reached


# --- pip, and the file -----------------------------------------------------------------------------------------------


def asked(wheel: Path) -> Json:
    """pip's report of what the wheel and its extras install, without installing it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        command += ["--disable-pip-version-check", "--report", str(path), "--constraint", str(ROOT / "constraints.txt")]
        subprocess.run([*command, f"awsllm[{EXTRA}] @ {wheel.resolve().as_uri()}"], check=True)
        report: Json = json.loads(path.read_text(encoding="utf-8"))
    for item in report["install"]:
        _add_licence(item["metadata"])
    return report


def _add_licence(metadata: Json) -> None:
    """pip before 24.3 leaves out what newer packages say of their licence: whoever has the same version installed
    knows it."""
    if "license_expression" not in metadata:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed = importlib.metadata.metadata(metadata["name"])
            if installed["Version"] == metadata["version"] and (expression := installed["License-Expression"]):
                metadata["license_expression"] = expression


def written(made: Json) -> bytes:
    return (json.dumps(made, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="where the wheels are")
    parser.add_argument("--out", type=Path, default=ROOT / "build", help="where the bill is put")
    parser.add_argument("--report", type=Path, help="what `pip install --report` wrote")
    arguments = parser.parse_args()
    wheels = sorted(arguments.dist.glob("awsllm-*.whl"))
    if not wheels:
        sys.exit(f"there is no wheel in {arguments.dist}: `make wheels` builds them")
    plain = next((wheel for wheel in wheels if wheel.name.endswith("-any.whl")), wheels[0])
    if arguments.report is None:
        report = asked(plain)
    else:
        report = json.loads(arguments.report.read_text(encoding="utf-8"))
    made = bill(report, wheels)
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"awsllm-{made['metadata']['component']['version']}.cdx.json"
    path.write_bytes(written(made))
    print(f"{path}: {len(made['components'])} components")
    return 0


if __name__ == "__main__":
    sys.exit(main())
