"""Whether a tag may be released: ``python tools/release.py v1.2.3`` exits with what is wrong.

The tag is the package's version, the changelog has that version and no longer calls it unreleased. Standard library
alone, for the workflow that releases installs nothing before it has asked.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def faults(tag: str, version: str, changelog: str) -> list[str]:
    """What stands against a release, each with its fix."""
    found = []
    if tag != f"v{version}":
        found.append(
            f"the tag is {tag} and awsllm/_version.py says {version}: tag v{version}, or change the version first"
        )
    heading = re.search(r"^## (\S+)(.*)$", changelog, re.MULTILINE)
    if heading is None or heading[1] != version:
        first = heading[1] if heading else "nothing"
        found.append(f"CHANGELOG.md begins with {first}: write what {version} brings")
    elif "unreleased" in heading[2]:
        found.append(f"CHANGELOG.md calls {version} unreleased: write its day, as in ## {version} (2026-11-26)")
    return found


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python tools/release.py TAG", file=sys.stderr)
        return 2
    module = (ROOT / "awsllm/_version.py").read_text(encoding="utf-8")
    version = re.findall(r'^__version__ = "(.+)"$', module, re.MULTILINE)[0]
    found = faults(arguments[0], version, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    for text in found:
        print(text, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
