"""``make infra-checks``: the large checkers of the templates, each in an environment of its own under ``.cache/infra``.

checkov with a reviewed list of what it may find, SAM's validator, CDK, which synthesises two of them (it takes ten
seconds and more for each), Terraform's formatter, which reads the module (its providers cannot be had offline, so
nothing validates it). What is not to be had is left out with a line that says why. Exits with 1 if a check fails.

    python -m tests.infra.checks            all of them
    python -m tests.infra.checks checkov    one
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.support.stacks import MOST, NAMES, document

ROOT = Path(__file__).parents[2]
PLACE = ROOT / ".cache" / "infra"
_PATIENCE = 900  # seconds that an installation or a check may take

REVIEWED = {
    "CKV_AWS_18": "who reads a bucket is for CloudTrail to log, for the account as a whole",
    "CKV_AWS_19": "buckets are encrypted; checkov does not read the condition that says with which key",
    "CKV_AWS_28": "what the idempotency table knows is worth nothing a day later",
    "CKV_AWS_115": "functions that CloudFormation calls have no concurrency to limit; of the others it is a parameter",
    "CKV_AWS_116": "nothing calls these functions without waiting for them, and documents has its queue's dead letters",
    "CKV_AWS_117": "they reach AWS alone, and a VPC would cost every deployment its endpoints",
    "CKV_AWS_119": "a key of one's own is a parameter; checkov does not read the condition",
    "CKV_AWS_258": "the gateway has keys of its own, which the clients that it is for send without a signature",
}
"""What checkov may find, each with the reason why it stays."""


class LeftOutError(Exception):
    """The check cannot be made here."""


def main(names: list[str]) -> int:
    """The exit status."""
    failed = []
    for name in names or CHECKS:
        try:
            problems = CHECKS[name]()
        except LeftOutError as error:
            print(f"{name}: left out, {error}")
            continue
        print(f"{name}: {'passed' if not problems else 'failed'}", *problems, sep="\n  ")
        failed += [name] if problems else []
    return 1 if failed else 0


def _environment(name: str, *packages: str) -> Path:
    """The programs of an environment with these packages."""
    place = PLACE / name
    if not (place / ".installed").exists():
        _run([sys.executable, "-m", "venv", str(place)])
        done = _run([str(place / "bin/python"), "-m", "pip", "install", "--quiet", *packages], check=False)
        if done.returncode:
            raise LeftOutError(f"{', '.join(packages)} cannot be installed")
        (place / ".installed").touch()
    return place / "bin"


def _run(
    words: list[str],
    *,
    cwd: Path = ROOT,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    given: str | None = None,
) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, **(env or {})}
    return subprocess.run(
        words, cwd=cwd, env=variables, check=check, capture_output=True, text=True, timeout=_PATIENCE, input=given
    )


def checkov() -> list[str]:
    """What it finds that nobody has reviewed, and what was reviewed that it no longer finds."""
    program = _environment("checkov", "checkov>=3.3,<4") / "checkov"
    options = ["--framework", "cloudformation", "--skip-download", "--quiet", "--compact", "--output", "json"]
    done = _run([str(program), *options, "--directory", "infra", "--skip-path", "infra/serve"], check=False)
    report: Any = json.loads(done.stdout)
    if report["summary"]["parsing_errors"] or report["summary"]["resource_count"] < len(NAMES):
        return [f"it could not read the templates: {report['summary']}"]
    found = report["results"]["failed_checks"]
    new = [f"{each['check_id']} {each['check_name']}: {each['file_path']} {each['resource']}" for each in found]
    gone = REVIEWED.keys() - {each["check_id"] for each in found}
    return [each for each in new if each.split()[0] not in REVIEWED] + [f"{each} is no longer found" for each in gone]


def sam() -> list[str]:
    """Every template that SAM takes for no valid one."""
    program = _environment("sam", "aws-sam-cli>=1.150,<2") / "sam"
    quiet = {"SAM_CLI_TELEMETRY": "0"}
    problems = []
    for name in NAMES:
        words = [
            str(program),
            "validate",
            "--lint",
            "--region",
            "us-east-1",
            "--template",
            f"infra/{name}/template.yaml",
        ]
        done = _run(words, env=quiet, check=False)
        problems += [f"{name}: {(done.stderr or done.stdout).strip()[-500:]}"] if done.returncode else []
    return problems


_APPLICATION = """
import json, sys
import aws_cdk
from awsllm_stack import AwsllmTemplate
app = aws_cdk.App(outdir=sys.argv[1])
for name, parameters in json.load(sys.stdin).items():
    AwsllmTemplate(aws_cdk.Stack(app, name), "Included", template=name, parameters=parameters)
app.synth()
"""
"""A stack a template, for starting CDK takes longer than what it does."""


_INCLUDED = ("chat-api", "endpoint")


def cdk() -> list[str]:
    """Every template of these that CDK does not synthesise, or of which it loses a resource."""
    if shutil.which("node") is None:
        raise LeftOutError("there is no Node.js")
    python = _environment("cdk", "aws-cdk-lib>=2.275,<3", "constructs>=10") / "python"
    output = PLACE / "cdk.out"
    given = json.dumps({name: _typed(name) for name in _INCLUDED})
    words = [str(python), "-B", "-c", _APPLICATION, str(output)]
    done = _run(words, cwd=ROOT / "infra/cdk", check=False, given=given)
    if done.returncode:
        return [done.stderr.strip()[-2000:]]
    problems = []
    for name in _INCLUDED:
        made = json.loads((output / f"{name}.template.json").read_text(encoding="utf-8"))["Resources"]
        lost = document(name)["Resources"].keys() - made.keys()
        problems += [f"{name}: {', '.join(sorted(lost))} got lost"] if lost else []
    return problems


def _typed(name: str) -> dict[str, Any]:
    """The most of a template, lists as lists."""
    kinds = {key: each["Type"] for key, each in document(name)["Parameters"].items()}
    return {key: value.split(",") if kinds[key] == "CommaDelimitedList" else value for key, value in MOST[name].items()}


def terraform() -> list[str]:
    """What its formatter would write otherwise, or cannot read."""
    program = shutil.which("terraform")
    if program is None:
        raise LeftOutError("there is no Terraform")
    done = _run([program, "fmt", "-check", "-diff", "infra/terraform"], check=False)
    return [(done.stdout + done.stderr).strip()] if done.returncode else []


CHECKS: dict[str, Callable[[], list[str]]] = {"checkov": checkov, "sam": sam, "cdk": cdk, "terraform": terraform}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
