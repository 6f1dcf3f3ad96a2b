"""The Python of the README and of the docs runs, each page's in order, in an AWS whose model is SmolLM2 or, where the
page says so, a script; what they say of the project is true."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import awsllm
from awsllm.testing import mock_aws
from tools import reference

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = sorted((ROOT / "docs").rglob("*.md"))
_SCRIPTED = re.compile(r"<!-- answered by: (.*?) -->")


def python(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def run(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    scripted = _SCRIPTED.search(text)
    namespace: dict[str, object] = {"__name__": "docs"}
    with mock_aws(reply=lambda _: scripted[1]) if scripted else mock_aws():
        for number, block in enumerate(python(text)):
            exec(compile(block, f"{path.name}, block {number + 1}", "exec"), namespace)  # noqa: S102


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


RUNNING = [path for path in (ROOT / "README.md", *DOCS) if python(path.read_text(encoding="utf-8"))]


@pytest.mark.slow
@pytest.mark.parametrize("path", RUNNING, ids=name_of)
def test_a_page_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.chdir(tmp_path)  # files that a program writes beside itself
    run(path)


@pytest.mark.slow
def test_a_typed_answer_comes_from_the_local_model_too() -> None:
    """The page says that all does; small models get stuck in texts that a grammar would let go on."""
    page = (ROOT / "docs/applications.md").read_text(encoding="utf-8")
    (block,) = [text for text in python(page) if "output_type=Invoice" in text]
    with awsllm.Client() as client:
        exec(block[: block.index("vectors =")], {"client": client, "MODEL": "local:smollm2-135m-instruct"})  # noqa: S102


def test_the_reference_has_what_is_public() -> None:
    """``python tools/reference.py`` writes it."""
    for name, text in reference.pages():
        assert (ROOT / f"docs/reference/{name}.md").read_text(encoding="utf-8") == text, name
    assert (ROOT / "docs/llms.txt").read_text(encoding="utf-8") == reference.index()
    shown = {line for _, text in reference.pages() for line in text.splitlines()}
    assert {f"::: awsllm.{name}" for name in awsllm._HOME} <= shown


def test_every_page_is_reached() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))

    def leaves(nav: object) -> set[str]:
        match nav:
            case dict():
                return {leaf for value in nav.values() for leaf in leaves(value)}
            case list():
                return {leaf for value in nav for leaf in leaves(value)}
        return {str(nav)}

    assert leaves(settings["nav"]) == {path.relative_to(ROOT / "docs").as_posix() for path in DOCS}


def test_the_extras_are_those_of_the_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = settings["project"]
    named = set(re.findall(r"^\| `awsllm\[(\w+)\]`", README, re.MULTILINE))
    assert named | {"dev", "docs"} == set(project["optional-dependencies"])
    assert project["dynamic"] == ["version"]
    assert awsllm.__version__ in (ROOT / settings["tool"]["hatch"]["version"]["path"]).read_text(encoding="utf-8")


def test_relative_links_lead_somewhere() -> None:
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS):
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


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
        assert f"| {case.title}" in (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")


def test_docstrings_become_markdown() -> None:
    """What is written for a terminal is not read as quotations, and a list of options is no paragraph."""
    pytest.importorskip("griffe")
    from tools.docstrings import markdown

    assert markdown('Bold.\n\n>>> with open("x") as file:\n...     read(file)\n\nMore.').split("\n\n") == [
        "Bold.",
        '```python\nwith open("x") as file:\n    read(file)\n```',
        "More.",
    ]
    assert markdown("Options.\n\nsize, unit: how much,\n    at most\nname: a text") == (
        "Options.\n\n- `size, unit`: how much,\n    at most\n- `name`: a text"
    )
    assert markdown("    POST …   a turn (``turns``)") == "    POST …   a turn (turns)"
    assert markdown("name: a text\nthat goes on in ``code``") == "name: a text\nthat goes on in ``code``"
