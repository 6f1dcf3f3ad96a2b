"""Packages: what is packed, that it lives alone, the same bytes each time, and what is refused."""

import json
import marshal
import os
import sys
import zipfile
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import Any

import pytest

from awsllm.errors import ConfigurationError
from awsllm.lambdas.packaging import wheels
from awsllm.lambdas.packaging.build import MANIFEST, BuiltPackage, build
from awsllm.lambdas.packaging.wheels import LambdaPlatform, PackedWheel, pins
from awsllm.testing import server
from awsllm.testing.faults import error, throttle
from awsllm.types import ToolUse
from tests.support.packages import ARCH, CORE, PYTHON, TOOLS, plain_wheel, run_alone, unpacked, wheelhouse

HERE: dict[str, Any] = {"arch": ARCH, "python": PYTHON}
CHAT = """
import awsllm

client = awsllm.Client(policy=awsllm.Policy(max_attempts=3, max_delay=0.01))


def handler(event, context):
    return client.converse(event["model"], event["text"]).text
"""
AGENT = """
import awsllm
from pydantic import BaseModel

client = awsllm.Client()


class Weather(BaseModel):
    city: str
    degrees: float


def degrees(city: str) -> float:
    "How warm it is."
    return 21.5


def handler(event, context):
    answer = client.converse(event["model"], "How warm is Rome?", tools=[degrees])
    typed = client.converse(event["model"], "Again, as data.", output_type=Weather)
    return [answer.text, len(answer.messages), typed.output.city, typed.output.degrees]
"""
SMALL = "import awsllm.errors\n\n\ndef handler(event, context): ...\n"
MODEL = "bedrock:us.amazon.nova-lite-v1:0"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheelhouse(tmp_path_factory.mktemp("wheels"), (*CORE, *TOOLS))


def source(folder: Path, text: str, name: str = "app.py") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory, house: Path) -> tuple[BuiltPackage, Path]:
    """A function that converses, and where it lies unpacked."""
    folder = tmp_path_factory.mktemp("chat")
    built = build(
        folder / "chat.zip", source=source(folder / "src", CHAT), handlers=["app.handler"], find_links=house, **HERE
    )
    return built, unpacked(folder / "chat.zip", folder / "task")


# --- what is packed --------------------------------------------------------------------------------------------------


def test_it_holds_what_is_needed_and_no_more(chat: tuple[BuiltPackage, Path]) -> None:
    built, task = chat
    assert [one.name for one in built.wheels] == list(CORE)
    rooms = {path.name for path in (task / "awsllm").iterdir()}
    assert {"client.py", "policy", "tools", "wire", "backends", "aws", "models"} <= rooms
    assert not rooms & {"server", "testing", "engine", "cli", "jumpstart", "jobs", "speech", "infra", "__main__.py"}
    assert (task / "awsllm/models/catalogue.jsonl").is_file()
    assert built.unzipped == sum(path.stat().st_size for path in task.rglob("*") if path.is_file())
    assert built.unzipped < 9_000_000
    assert built.size == built.path.stat().st_size < 4_000_000
    assert not list(built.path.parent.glob(".*"))


def test_the_manifest_says_what_lies_there(chat: tuple[BuiltPackage, Path]) -> None:
    built, task = chat
    manifest = json.loads((task / MANIFEST).read_bytes())
    assert manifest["handlers"] == ["app.handler"]
    assert manifest["architecture"] == ARCH
    assert [(one["name"], one["sha256"]) for one in manifest["wheels"]] == [
        (one.name, one.sha256) for one in built.wheels
    ]
    there = {path.relative_to(task).as_posix() for path in task.rglob("*") if path.is_file()}
    assert manifest["files"].keys() == there - {MANIFEST}


def test_bytecode_is_never_checked_against_its_source(chat: tuple[BuiltPackage, Path]) -> None:
    built, task = chat
    assert built.bytecode
    for path in [*task.rglob("awsllm/**/*.py"), task / "app.py"]:
        compiled = path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc"
        head = compiled.read_bytes()[:8]
        assert head[:4] == MAGIC_NUMBER
        assert int.from_bytes(head[4:], "little") == 0b01, path  # PEP 552: a hash, unchecked
    code = marshal.loads(compiled.read_bytes()[16:])  # noqa: S302 - the last one's, made above
    assert code.co_filename == "/var/task/app.py"


def test_the_same_inputs_give_the_same_bytes(chat: tuple[BuiltPackage, Path], house: Path, tmp_path: Path) -> None:
    built, _ = chat
    again = build(
        tmp_path / "again.zip",
        source=source(tmp_path / "elsewhere", CHAT),
        handlers=["app.handler"],
        find_links=house,
        **HERE,
    )
    assert again.sha256 == built.sha256
    assert (tmp_path / "again.zip").read_bytes() == built.path.read_bytes()
    with zipfile.ZipFile(built.path) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {entry.external_attr >> 16 for entry in archive.infolist()} <= {0o100644, 0o100755}
        assert archive.namelist() == sorted(archive.namelist())


# --- that it lives ---------------------------------------------------------------------------------------------------

LIVES = f"""
import json, awsllm, app
heavy = sorted({{"inspect", "tenacity", "asyncio", "email.policy"}} & set(sys.modules))
said = app.handler({{"model": {MODEL!r}, "text": "Hello"}}, None)            # a throttle, a retry and a reply
with app.client.converse_stream({MODEL!r}, "Go on") as stream:
    deltas = [getattr(event, "delta", None) for event in stream]
streamed = "".join(delta.text for delta in deltas if isinstance(delta, awsllm.TextDelta))
try:
    app.client.converse({MODEL!r}, "No")
except awsllm.AwsllmError as error:
    failed = type(error).__name__
try:
    app.client.converse("local:smollm2-135m-instruct", "Hello")
except awsllm.ConfigurationError as error:
    local = str(error)
spec = awsllm.ToolSpec("f", input_schema={{"type": "object"}})
called = app.client.converse({MODEL!r}, "Use it", tools=[spec]).tool_uses[0].name
files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
elsewhere = [file for file in files if "-packages" in file]
print(json.dumps([said, streamed, failed, local, called, elsewhere + heavy]))
"""


@pytest.mark.slow
def test_it_answers_retries_streams_and_fails_alone(chat: tuple[BuiltPackage, Path]) -> None:
    _, task = chat
    faults = [
        throttle(times=1, operation="Converse"),
        error("AccessDeniedException", status=403, operation="Converse", after=2, times=1),
    ]
    with server(reply=["Hi.", "one two", ToolUse("t1", "f", {})], faults=faults) as aws:
        said, streamed, failed, local, called, elsewhere = run_alone(task, LIVES, aws.env)
    assert (said, streamed, failed, called, elsewhere) == ("Hi.", "one two", "AccessDeniedError", "f", [])
    assert "pip install 'awsllm[local]'" in local


@pytest.mark.slow
def test_tools_and_typed_output_bring_what_they_need(
    house: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code that uses them is seen to."""
    monkeypatch.setattr(
        "awsllm.lambdas.packaging.contents.find_python", lambda _version, _given: None
    )  # which takes seconds
    built = build(tmp_path / "agent.zip", source=source(tmp_path / "src", AGENT), find_links=house, **HERE)
    assert {"pydantic", "pydantic-core", "regress"} <= {one.name for one in built.wheels}
    task = unpacked(tmp_path / "agent.zip", tmp_path / "task")
    replies = [ToolUse("t1", "degrees", {"city": "Rome"}), "It is warm.", '{"city": "Rome", "degrees": 21.5}']
    code = f"import json, app; print(json.dumps(app.handler({{'model': {MODEL!r}}}, None)))"
    with server(reply=replies) as aws:
        assert run_alone(task, code, aws.env) == ["It is warm.", 3, "Rome", 21.5]


# --- what is asked for -----------------------------------------------------------------------------------------------


@pytest.fixture
def laid_out(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """No pip and no compiler: what pip would be asked for."""
    asked: list[list[str]] = []

    def fetched(wanted: list[str], _platform: object, folder: Path, _links: object) -> list[Path]:
        asked.append(wanted)
        return [plain_wheel(folder, "boto3", "1.44.5"), plain_wheel(folder, "colours", "2.0")]

    monkeypatch.setattr("awsllm.lambdas.packaging.build.fetch", fetched)
    monkeypatch.setattr("awsllm.lambdas.packaging.contents.find_python", lambda _version, _given: None)
    return asked


def names(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def test_a_layer_lies_under_python_and_has_the_whole_client(laid_out: list[list[str]], tmp_path: Path) -> None:
    built = build(tmp_path / "layer.zip", layer=True)
    found = names(built.path)
    assert {name.partition("/")[0] for name in found} == {"python", "awsllm-stream"}
    assert {"python/awsllm/client.py", "python/awsllm/jumpstart/facade.py", "python/colours.py"} <= found
    assert not {
        name
        for name in found
        if name.startswith(("python/awsllm/engine/", "python/awsllm/cli/", "python/awsllm/testing/"))
    }
    with zipfile.ZipFile(built.path) as archive:
        assert archive.getinfo("awsllm-stream").external_attr >> 16 == 0o100755


def test_without_bytecode_it_is_said_what_that_costs(laid_out: list[list[str]], tmp_path: Path) -> None:
    built = build(tmp_path / "chat.zip", source=source(tmp_path / "src", SMALL), python="3.19")
    assert not built.bytecode
    assert any("no bytecode: no Python 3.19 is here" in note for note in built.notes)
    assert not [name for name in names(built.path) if name.endswith(".pyc")]


def test_boto3_is_left_to_the_runtime(laid_out: list[list[str]], tmp_path: Path) -> None:
    folder = source(tmp_path / "src", SMALL)
    built = build(tmp_path / "without.zip", source=folder)
    assert "boto3.py" not in names(built.path)
    assert any("boto3 is left to Lambda's runtime" in note for note in built.notes)
    built = build(tmp_path / "with.zip", source=folder, extras=["boto3"])
    assert "boto3.py" in names(built.path)
    assert any(one.startswith("boto3==") for one in laid_out[-1])


def test_a_requirement_stands_before_what_is_installed(laid_out: list[list[str]], tmp_path: Path) -> None:
    folder = source(tmp_path / "src", "import colours, absent\n")
    built = build(tmp_path / "a.zip", source=folder, requirements=["msgspec>=0.21", "colours"])
    assert laid_out[0][-2:] == ["msgspec>=0.21", "colours"]
    assert not [one for one in laid_out[0] if one.startswith("msgspec==")]
    assert any("app imports absent, which is not in the package: --requirement absent" in note for note in built.notes)
    assert not any("imports colours" in note for note in built.notes)


def test_a_library_of_ones_own_over_awsllm(
    laid_out: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a requirement needs of awsllm is packed; the awsllm that it may ask the index for is not."""
    library = "import awsllm\n\n\ndef hub(): return awsllm.Client().jumpstart\n"

    def fetched(_wanted: object, _platform: object, folder: Path, _links: object) -> list[Path]:
        return [plain_wheel(folder, "awsllm", "0.0.1", code="no code"), plain_wheel(folder, "ours", "1", code=library)]

    folder = source(tmp_path / "src", "import ours\n")
    build(tmp_path / "without.zip", source=folder)
    monkeypatch.setattr("awsllm.lambdas.packaging.build.fetch", fetched)
    build(tmp_path / "with.zip", source=folder, requirements=["ours"])
    assert "awsllm/jumpstart/facade.py" not in names(tmp_path / "without.zip")
    assert {"ours.py", "awsllm/jumpstart/facade.py"} <= names(tmp_path / "with.zip")
    assert "awsllm.py" not in names(tmp_path / "with.zip")


def test_what_is_hidden_stays_out(laid_out: list[list[str]], tmp_path: Path) -> None:
    folder = source(tmp_path / "src", SMALL)
    source(folder / ".git", "", "config")
    source(folder / "venv", "", "pyvenv.cfg")
    source(folder / "node_modules", "", "a.js")
    (folder / ".env").write_text("SECRET=1", encoding="utf-8")
    source(folder / "prompts", "Be brief.", "system.txt")
    built = build(folder / "out.zip", source=folder)
    found = names(built.path)
    assert {"app.py", "prompts/system.txt"} <= found
    assert not found & {".env", ".git/config", "venv/pyvenv.cfg", "node_modules/a.js", "out.zip"}
    assert any("what is hidden is left out: .env, .git" in note for note in built.notes)


def test_the_versions_are_those_that_are_here() -> None:
    found = pins(["pydantic", "no-such-distribution"])
    assert found["pydantic"].startswith("pydantic==")
    assert found["pydantic-core"].startswith("pydantic-core==")
    assert found["no-such-distribution"] == "no-such-distribution"


@pytest.mark.parametrize(
    ("arch", "python", "first", "last"),
    [
        ("arm64", "3.13", "manylinux_2_34_aarch64", "manylinux2014_aarch64"),
        ("x86_64", "3.12", "manylinux_2_34_x86_64", "manylinux1_x86_64"),
        ("x86_64", "3.11", "manylinux_2_26_x86_64", "manylinux1_x86_64"),
    ],
)
def test_wheels_fit_the_runtimes_glibc(arch: str, python: str, first: str, last: str) -> None:
    tags = LambdaPlatform(arch, python).tags()
    assert tags[0] == first
    assert tags[-2] == last


# --- what is refused: with its fix, and with nothing left behind ------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"handlers": ["app.handle"]}, "app defines no 'handle'; did you mean 'handler'"),
        ({"handlers": ["apps.handler"]}, "there is no module 'apps'; did you mean 'app'"),
        ({"handlers": ["awsllm.lambdas.chatt.handler"]}, "there is no module 'awsllm.lambdas.chatt'; did you mean"),
        ({"arch": "aarch64"}, "Lambda has x86_64 and arm64"),
        ({"handlers": "apps.handler"}, "there is no module 'apps'"),
        ({"handler": "app.handler"}, "a package takes no 'handler'; did you mean 'handlers'"),
        ({"python": "3.9"}, "give 3.11 or later"),
        ({"python": "../3"}, "give 3.11 or later"),
        ({"extras": ["tool"]}, "there are tools, boto3, pdf"),
        ({"include": ["awsllm.jumpstarts"]}, "no such module; did you mean 'awsllm.jumpstart'"),
        ({"requirements": ["--index-url=http://evil"]}, "is no name with a version"),
        ({"requirements": ["requests @ http://evil/x.whl"]}, "is no name with a version"),
        ({"interpreter": "/no/such/python"}, "is no Python 3.13"),
        ({"find_links": "/no/such/folder"}, "--find-links /no/such/folder is no folder"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_fetched(
    options: dict[str, Any], fix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("awsllm.lambdas.packaging.build.fetch", None)
    with pytest.raises(ConfigurationError, match=fix.replace("(", r"\(")):
        build(tmp_path / "a.zip", source=source(tmp_path / "src", SMALL), **options)
    assert not (tmp_path / "a.zip").exists()


def test_a_file_that_is_there_is_kept(laid_out: list[list[str]], tmp_path: Path) -> None:
    there = tmp_path / "a.zip"
    there.write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="exists: give another path, or --force"):
        build(there)
    assert there.read_text(encoding="utf-8") == "mine"
    with pytest.raises(ConfigurationError, match="is no folder: make it first"):
        build(tmp_path / "none" / "a.zip")


def test_code_that_does_not_parse(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"app\.py, line 2: "):
        build(tmp_path / "a.zip", source=source(tmp_path / "src", "import os\nx = = 1\n"))


def test_a_module_that_would_hide_awsllm(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"awsllm\.py would hide awsllm itself"):
        build(tmp_path / "a.zip", source=source(tmp_path / "src", "", "awsllm.py"))


def test_a_link_that_leads_out_of_the_source(laid_out: list[list[str]], tmp_path: Path) -> None:
    folder = source(tmp_path / "src", SMALL)
    (tmp_path / "secret").write_text("x", encoding="utf-8")
    (folder / "data").symlink_to(tmp_path / "secret")
    with pytest.raises(ConfigurationError, match="leads out of"):
        build(tmp_path / "a.zip", source=folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret", "src"]


@pytest.mark.parametrize("kind", ["folder", "broken", "pipe"])
def test_what_is_no_file_is_refused_by_name(kind: str, laid_out: list[list[str]], tmp_path: Path) -> None:
    folder = source(tmp_path / "src", SMALL)
    odd = folder / "odd"
    source(folder / "within", "x = 1")
    if kind == "pipe":
        os.mkfifo(odd)
    else:
        odd.symlink_to("within" if kind == "folder" else "nowhere")
    with pytest.raises(ConfigurationError, match=f"{folder}/odd is "):
        build(tmp_path / "a.zip", source=folder)


def test_what_looks_secret_is_told(laid_out: list[list[str]], tmp_path: Path) -> None:
    folder = source(tmp_path / "src", SMALL)
    source(folder, "-----BEGIN CERTIFICATE-----", "ca.pem")
    source(folder, "-----BEGIN RSA PRIVATE KEY-----", "own.pem")
    source(folder / "aws", "", "credentials")
    noted = [note for note in build(tmp_path / "a.zip", source=folder).notes if "look like secrets" in note]
    assert noted[0].endswith(": own.pem, aws/credentials")


def test_a_place_that_takes_no_file(laid_out: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **named: Any) -> None:
        raise OSError(28, "No space left on device", "/there")

    monkeypatch.setattr("awsllm.lambdas.packaging.build.tempfile.mkstemp", full)
    with pytest.raises(ConfigurationError, match="/there: No space left on device"):
        build(tmp_path / "a.zip", source=source(tmp_path / "src", SMALL))


def test_more_than_lambda_takes(laid_out: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = source(tmp_path / "src", SMALL)
    monkeypatch.setattr("awsllm.lambdas.packaging.build.MAX_UPLOAD", 1000)
    assert any("from S3 alone" in note for note in build(tmp_path / "a.zip", source=folder).notes)
    monkeypatch.setattr("awsllm.lambdas.packaging.build.MAX_UNZIPPED", 10_000)
    with pytest.raises(ConfigurationError, match=r"MB unzipped, and Lambda takes 0: .*colours"):
        build(tmp_path / "b.zip", source=folder)
    assert not (tmp_path / "b.zip").exists()


def test_a_folder_that_lacks_a_wheel(tmp_path: Path) -> None:
    """pip's own answer, of a folder with a source distribution alone."""
    (tmp_path / "colours-2.0.tar.gz").write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"has no wheel of colours==2\.0 for Python 3\.13 on arm64"):
        wheels.fetch(["colours==2.0"], LambdaPlatform("arm64", "3.13"), tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        ("WARNING: Retrying (Retry(total=4))\nERROR: No matching distribution found for x", "cannot be reached"),
        ("ERROR: No matching distribution found for docopt==0.6.2", "no wheel of docopt==0.6.2 .* nothing is built"),
        ("/usr/bin/python3: No module named pip", "ensurepip"),
        ("ERROR: Cannot install a==1 and b==2", "pip: Cannot install a==1 and b==2"),
    ],
)  # fmt: skip
def test_what_pip_says_becomes_a_fix(said: str, fix: str) -> None:
    with pytest.raises(ConfigurationError, match=fix):
        raise wheels._failed(said, LambdaPlatform("x86_64", "3.13"), None)


def test_a_hostile_wheel_writes_nowhere_else(tmp_path: Path) -> None:
    path = tmp_path / "bad-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("../outside.py", "")
        wheel.writestr("/rooted.py", "")
        wheel.writestr("bad-1.0.data/scripts/tool", "")
        wheel.writestr("bad-1.0.data/purelib/bad.py", "")
        wheel.writestr("bad-1.0.dist-info/RECORD", "")
    (tmp_path / "root").mkdir()
    assert wheels.unpack(path, tmp_path / "root") == PackedWheel(
        "bad", "1.0", path.name, wheels.unpack(path, tmp_path / "root").sha256, 0
    )
    assert [found.relative_to(tmp_path).as_posix() for found in tmp_path.rglob("*.py")] == ["root/bad.py"]
    path.write_bytes(b"no zip")
    with pytest.raises(ConfigurationError, match="fetch it anew"):
        wheels.unpack(path, tmp_path / "root")
