"""The README's Python runs, in order, in an AWS whose model is SmolLM2; what it says of the project is true."""

import re
import tomllib
from pathlib import Path

import pytest

import awsllm
from awsllm.testing import mock_aws

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.slow
def test_the_readme_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    namespace: dict[str, object] = {"__name__": "readme"}
    with mock_aws():
        for number, block in enumerate(PYTHON):
            exec(compile(block, f"README.md, block {number + 1}", "exec"), namespace)  # noqa: S102
    out = capsys.readouterr().out
    assert "did you mean 'smollm2-135m-instruct'?" in out


@pytest.mark.slow
def test_its_typed_answer_comes_from_the_local_model_too() -> None:
    """The README says that it does everywhere; small models get stuck in texts that a grammar would let go on."""
    (block,) = [text for text in PYTHON if "output_type=Invoice" in text]
    with awsllm.Client() as client:
        exec(block[: block.index("vectors =")], {"client": client, "MODEL": "local:smollm2-135m-instruct"})  # noqa: S102


def test_the_extras_are_those_of_the_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = settings["project"]
    named = set(re.findall(r"^\| `awsllm\[(\w+)\]`", README, re.MULTILINE))
    assert named | {"dev"} == set(project["optional-dependencies"])
    assert project["dynamic"] == ["version"]
    assert awsllm.__version__ in (ROOT / settings["tool"]["hatch"]["version"]["path"]).read_text(encoding="utf-8")


def test_relative_links_lead_somewhere() -> None:
    for text in (README, (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
            assert (ROOT / target).exists(), target


def test_the_house_is_described() -> None:
    """CONTRIBUTING shows each folder of the package, and each dialect, and no file that is not there."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = text.split("```")[1]
    for folder in [*(ROOT / "awsllm").glob("*/__init__.py"), *(ROOT / "awsllm/wire").glob("*/__init__.py")]:
        assert re.search(rf"\b{folder.parent.name}/", tree), f"CONTRIBUTING's tree does not show {folder.parent.name}/"
    for name in re.findall(r"`((?:backends|calls|cli|jobs|models|server|wire)/[\w/]*(?:\.\w+)?)`", text):
        assert (ROOT / "awsllm" / name).exists(), f"CONTRIBUTING names {name}"


def test_the_benchmarks_are_shown() -> None:
    from benchmarks.__main__ import CASES

    for case in CASES:
        assert f"| {case.title}" in README
