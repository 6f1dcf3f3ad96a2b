"""What is released, and how: the workflows, the tag's check and the list of Pythons agree with the package."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import awsllm
from tests.pythons.__main__ import PYTHONS
from tools import release

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / ".github/workflows").glob("*.yml")}
LOADED: dict[str, Any] = {name: yaml.safe_load(text) for name, text in WORKFLOWS.items()}
JOBS = [pytest.param(name, job, id=f"{name}-{job}") for name, workflow in LOADED.items() for job in workflow["jobs"]]
SYSTEMS = {"ubuntu", "macos", "windows"}


def steps(name: str, job: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = LOADED[name]["jobs"][job]["steps"]
    return found


def test_the_pythons_are_those_of_the_package() -> None:
    prefix = "Programming Language :: Python :: 3."
    assert tuple(f"3.{one.removeprefix(prefix)}" for one in PROJECT["classifiers"] if one.startswith(prefix)) == PYTHONS
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"


@pytest.mark.parametrize(("name", "job"), [("ci", "test"), ("ci", "wheel"), ("release", "wheel")])
def test_each_system_and_python_is_tried(name: str, job: str) -> None:
    matrix = LOADED[name]["jobs"][job]["strategy"]["matrix"]
    assert tuple(matrix["python"]) == PYTHONS
    assert {system.partition("-")[0] for system in matrix["system"]} == SYSTEMS


@pytest.mark.parametrize(("name", "job"), JOBS)
def test_a_job_may_do_no_more_than_it_must(name: str, job: str) -> None:
    assert LOADED[name]["permissions"] == {}
    rights = LOADED[name]["jobs"][job]["permissions"]
    assert rights == ({"id-token": "write"} if job == "publish" else {"contents": "read"})
    assert LOADED[name]["jobs"][job]["timeout-minutes"] <= 90
    assert "secrets." not in WORKFLOWS[name]


@pytest.mark.parametrize("text", WORKFLOWS.values(), ids=WORKFLOWS)
def test_actions_are_pinned_by_commit(text: str) -> None:
    used = re.findall(r"uses: (.*)", text)
    assert used
    for one in used:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one), one
    assert text.count("actions/checkout@") == text.count("persist-credentials: false")


def test_one_commit_an_action() -> None:
    pins: dict[str, set[str]] = {}
    for text in WORKFLOWS.values():
        for action, pin in re.findall(r"uses: (\S+?)@(.*)", text):
            pins.setdefault(action, set()).add(pin)
    assert all(len(found) == 1 for found in pins.values()), pins


def test_what_is_published_is_what_was_tried() -> None:
    """The publishing job builds nothing, runs nothing of ours, and waits for the trial of the same files."""
    publish = LOADED["release"]["jobs"]["publish"]
    assert publish["needs"] == "wheel"
    assert LOADED["release"]["jobs"]["wheel"]["needs"] == "build"
    assert publish["environment"]["name"] == "pypi"
    assert [step["uses"].partition("@")[0] for step in publish["steps"]] == [
        "actions/download-artifact",
        "pypa/gh-action-pypi-publish",
    ]
    assert publish["steps"][1]["with"] == {"attestations": True}
    assert LOADED["release"][True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads `on` as true


@pytest.mark.parametrize(("name", "job"), JOBS)
def test_what_a_step_runs_is_there(name: str, job: str) -> None:
    for run in [step["run"] for step in steps(name, job) if "run" in step]:
        assert "${{" not in run, "an expression in a script is a way in"
        for path in re.findall(r"(?:tests|tools)/[\w/.]+|constraints\.txt", run):
            assert (ROOT / path).exists(), path
        for extra in re.findall(r"\.\[([\w,]+)\]", run):
            assert set(extra.split(",")) <= set(PROJECT["optional-dependencies"])
        for target in re.findall(r"make ([a-z]+)", run):
            assert re.search(rf"^{target}\b.*:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE), target


NOTES = "# Changelog\n\n## 1.2.0 (2026-11-26)\n\nMore.\n\n## 1.1.0\n"


@pytest.mark.parametrize(
    ("tag", "changelog", "fix"),
    [
        ("v1.2.0", NOTES, None),
        ("v1.2.1", NOTES, "tag v1.2.0"),
        ("1.2.0", NOTES, "tag v1.2.0"),
        ("v1.2.0", NOTES.replace("(2026-11-26)", "(unreleased)"), "write its day"),
        ("v1.2.0", NOTES.replace("1.2.0", "1.1.9"), "write what 1.2.0 brings"),
        ("v1.2.0", "", "begins with nothing"),
    ],
)
def test_a_tag_that_may_be_released(tag: str, changelog: str, fix: str | None) -> None:
    found = release.faults(tag, "1.2.0", changelog)
    assert (fix is None and not found) or (fix is not None and fix in found[0])


def test_the_check_reads_this_version() -> None:
    command = [sys.executable, str(ROOT / "tools/release.py"), "v0.0.0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"tag v{awsllm.__version__}" in done.stderr
