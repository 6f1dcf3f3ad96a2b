"""`awsllm lambda package`: what it shows, as text and as JSON; what it packs is ``tests/lambdas``' business."""

import json
from pathlib import Path

import pytest

from tests.support.command_line import Run, runner
from tests.support.packages import plain_wheel


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """In a folder with a function, its wheels made up and no compiler at hand."""

    def fetched(_wanted: object, _platform: object, folder: Path, _links: object) -> list[Path]:
        return [plain_wheel(folder, "msgspec", "0.22.0")]

    monkeypatch.setattr("awsllm.lambdas.packaging.build.fetch", fetched)
    monkeypatch.setattr("awsllm.lambdas.packaging.contents.find_python", lambda _version, _given: None)
    monkeypatch.chdir(tmp_path)
    Path("src").mkdir()
    Path("src/app.py").write_text("import awsllm.errors\n\ndef handler(event, context): ...\n", encoding="utf-8")
    return runner(monkeypatch, capsys)


def test_a_package_is_shown_with_what_it_holds(run: Run) -> None:
    done = run("lambda", "package", "-o", "app.zip", "--source", "src", "--handler", "app.handler")
    assert done.code == 0
    first, second, *_ = done.out.splitlines()
    assert first.startswith("app.zip: ")
    assert first.endswith("unzipped of 262.1 MB that Lambda takes")
    assert second.startswith("python3.13 on arm64, CodeSha256 ")
    assert [line.split()[0] for line in done.out.splitlines()[3:]] == ["PACKED", "awsllm", "msgspec"]
    assert "fetching msgspec==" in done.err
    assert "note: no bytecode: no Python 3.13 is here" in done.err


def test_it_is_one_json_document(run: Run) -> None:
    done = run("lambda", "package", "-o", "app.zip", "--source", "src", "--arch", "x86_64", "--json")
    document = json.loads(done.out)
    assert (document["path"], document["arch"], document["bytecode"]) == ("app.zip", "x86_64", False)
    assert document["size"] == Path("app.zip").stat().st_size
    assert [wheel["name"] for wheel in document["wheels"]] == ["msgspec"]


def test_a_file_that_is_there_is_kept_unless_it_is_said(run: Run) -> None:
    command = ("lambda", "package", "-o", "app.zip", "--source", "src")
    assert run(*command).code == 0
    again = run(*command)
    assert again.code == 1
    assert "app.zip exists: give another path, or --force to replace it" in again.err
    assert run(*command, "--force").code == 0
