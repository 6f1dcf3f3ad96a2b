"""Models of the Hugging Face hub, from a hub on this machine that huggingface_hub reads too."""

import errno
import hashlib
import json
import shutil
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError

import huggingface_hub
import msgspec
import pytest

from awsllm.errors import (
    AccessDeniedError,
    ConfigurationError,
    ConnectError,
    ModelNotFoundError,
    ServerError,
    ThrottlingError,
)
from awsllm.store import File, HubCommit, Model, Store, http, hub
from tests.support.fake_hub import TOKEN, FakeHub
from tests.support.loopback import Received, Response, serving

WEIGHTS = b"GGUF" + bytes(range(256)) * 8192  # 2 MiB: several blocks
OTHER = b"GGUF" + b"\1" * 5000
CONFIG = json.dumps({"model_type": "bert"}).encode()
SAFETENSORS = b"\x08" + b"\0" * 7 + b"{}      " + b"\0" * 2000
NAME = "hf/org/tiny-GGUF"
ENCODER = {
    "config.json": CONFIG,
    "tokenizer.json": b"{}",
    "vocab.txt": b"a",
    "modules.json": b"[]",
    "1_Pooling/config.json": b"{}",
    "model.safetensors": SAFETENSORS,
    "pytorch_model.bin": b"\x80\x04" * 900,
    "modeling_own.py": b"raise SystemExit",
    "onnx/model.onnx": b"\0" * 2000,
    "README.md": b"# A model",
}


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    for name in ("AWSLLM_MODELS", "AWSLLM_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no-home"))
    monkeypatch.setattr(http, "_WAITS", (0.0, 0.0))
    with FakeHub().serving() as made:
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        made.add("org/tiny-GGUF", {"tiny-Q8_0.gguf": WEIGHTS, "tiny-F16.gguf": OTHER, "mmproj-F16.gguf": OTHER})
        made.add("org/encoder", dict(ENCODER), task="sentence-similarity")
        yield made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def names(directory: Path) -> list[str]:
    found = (path for path in directory.rglob("*") if path.is_file() and not path.name.startswith("."))
    return sorted(path.relative_to(directory).as_posix() for path in found)


# --- the hub itself --------------------------------------------------------------------------------------------------


def test_the_hubs_own_client_reads_the_same(web: FakeHub) -> None:
    info = huggingface_hub.HfApi(endpoint=web.url).model_info("org/encoder", files_metadata=True)
    huggingface_hub.close_session()
    found = hub.listing("org/encoder")
    assert (found.commit, found.license, found.kind) == (info.sha, "apache-2.0", "embed")
    said = {one.rfilename: (one.size, one.lfs.sha256 if one.lfs else "") for one in info.siblings or ()}
    assert {file.path: (file.size, file.sha256) for file in found.files} == said
    listed = {file.path: file.blob for file in found.files if not file.sha256}
    assert listed == {one.rfilename: one.blob_id for one in info.siblings or () if not one.lfs}


@pytest.mark.parametrize(
    ("name", "repository", "revision", "file"),
    [
        ("hf/org/repo", "org/repo", "main", None),
        ("hf/org/repo:Q4_K_M", "org/repo", "main", "Q4_K_M"),
        ("hf/org/repo:sub/x.gguf", "org/repo", "main", "sub/x.gguf"),
        ("hf/o-r.g/re_po-1.5@v1.0:x.gguf", "o-r.g/re_po-1.5", "v1.0", "x.gguf"),
    ],
)
def test_names(name: str, repository: str, revision: str, file: str | None) -> None:
    assert hub.parse(name) == hub.HubName(repository, revision, file)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "hf/",
            "hf/org",
            "hf/org/repo/file.gguf",
            "hf/../repo",
            "hf/org/..",
            "hf/org/re--po",
            "hf/org/repo:../x.gguf",
        ),
        *("hf/org/repo:a\\b", "hf/org/repo@../..", "hf/org/repo:", "hf/org/repo?x=1", "hf/org/repo#x", "hf//repo"),
        *("hf/org/repo:/etc/passwd", "hf/org/r\u00e9po", "hf/-org/repo", f"hf/org/{'a' * 200}"),
    ],
)
def test_names_that_are_none(name: str, store: Store) -> None:
    for use in (store.check, store.pull, store.remove):
        with pytest.raises(ConfigurationError, match="is no model of the Hugging Face hub"):
            use(name)
    assert not store.cache_dir.exists()


@pytest.mark.parametrize(
    "document",
    [[], {}, {"sha": "x", "siblings": []}, {"sha": "0" * 40}, {"sha": "0" * 40, "siblings": {}}, "text", None, 3],
)
def test_a_listing_that_is_none(document: Any) -> None:
    with pytest.raises(ConnectError, match="has no commit or no files"):
        hub._listing("org/repo", document)


def test_files_that_no_hub_lists_are_left_out() -> None:
    siblings = [3, {}, {"rfilename": 3, "size": 1}, {"rfilename": "a"}, {"rfilename": "a", "size": -1}]
    siblings += [{"rfilename": "b", "size": 1, "blobId": "no", "lfs": {"sha256": "short"}}]
    listed = hub._listing("org/repo", {"sha": "0" * 40, "siblings": siblings, "cardData": 3, "tags": 4, "gguf": []})
    assert (listed.files, listed.license) == ((File("b", 1),), "unknown")


# --- fetching --------------------------------------------------------------------------------------------------------


def test_a_repository_by_name(web: FakeHub, store: Store) -> None:
    path = store.path(NAME)
    assert (path.name, path.read_bytes()) == ("tiny-Q8_0.gguf", WEIGHTS)
    found = store.described(NAME)
    assert found is not None
    assert (found.kind, found.license, found.chosen) == ("chat", "apache-2.0", "Q8_0")
    assert found.commit == web.repositories["org/tiny-GGUF"].commit
    assert store.list()[-1].name == NAME
    web.requests.clear()
    assert Store(store.cache_dir).path(NAME) == path
    assert not web.requests


def test_one_file_of_it_is_a_model_of_its_own(web: FakeHub, store: Store) -> None:
    first, second = store.path(NAME), store.path(f"{NAME}:f16")
    assert (second.name, second.read_bytes()) == ("tiny-F16.gguf", OTHER)
    assert store.path(f"{NAME}:tiny-F16.gguf").read_bytes() == OTHER
    assert store.remove(f"{NAME}:f16")
    assert (store.find(f"{NAME}:f16"), store.find(NAME)) == (None, first)


def test_of_a_directory_only_what_is_needed(web: FakeHub, store: Store) -> None:
    path = store.path("hf/org/encoder")
    needed = ["1_Pooling/config.json", "config.json", "model.safetensors", "modules.json", "tokenizer.json"]
    assert names(path) == sorted(needed)
    assert sorted(web.fetched()) == sorted(needed)
    found = store.described("hf/org/encoder")
    assert found is not None
    assert found.kind == "embed"
    assert all(file.is_pinned for file in found.files)


def test_a_revision(web: FakeHub, store: Store) -> None:
    commit = web.repositories["org/tiny-GGUF"].commit
    assert store.path(f"hf/org/tiny-GGUF@{commit}:Q8_0").read_bytes() == WEIGHTS
    with pytest.raises(ModelNotFoundError, match="has no such revision"):
        store.path("hf/org/tiny-GGUF@v2")


def test_a_split_file_is_fetched_whole(web: FakeHub, store: Store) -> None:
    parts = {f"big-Q4_K_M-0000{n}-of-00002.gguf": WEIGHTS for n in (1, 2)}
    web.add("org/big-GGUF", {**parts, "big-Q2_K.gguf": OTHER})
    path = store.path("hf/org/big-GGUF")
    assert path.name == "big-Q4_K_M-00001-of-00002.gguf"
    assert names(path.parent) == sorted(parts)


def test_a_broken_connection_is_resumed(web: FakeHub, store: Store) -> None:
    progress: list[int] = []

    def cut(done: int, _total: int) -> None:
        progress.append(done)
        if done > 1_000_000 and len(progress) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.pull(NAME, cut)
    assert store.find(NAME) is None
    (half,) = store.usage()
    assert (half.name.partition("@@@")[0], half.size) == (NAME, 0)
    assert half.partial > 0
    web.cut_after = 500_000
    assert store.pull(NAME).read_bytes() == WEIGHTS
    ranges = [wanted for path, wanted in web.requests if "/resolve/" in path]
    assert ranges[0] == ""
    assert all(wanted.startswith("bytes=") for wanted in ranges[1:])
    assert len(ranges) == 3
    assert not list((store.cache_dir / "staging").iterdir())


def test_an_answer_that_begins_elsewhere_than_asked_is_taken_from_the_beginning(tmp_path: Path) -> None:
    (tmp_path / "x.gguf.part").write_bytes(WEIGHTS[:100])

    def respond(request: Received) -> Response:
        return Response(WEIGHTS, 206, {"Content-Range": f"bytes 0-{len(WEIGHTS) - 1}/{len(WEIGHTS)}"})

    with serving(respond) as url:
        http.download(url, tmp_path / "x.gguf", File("x.gguf", len(WEIGHTS)), lambda _done, _total: None)
    assert (tmp_path / "x.gguf").read_bytes() == WEIGHTS


def test_a_server_that_gives_crumbs_is_given_up(tmp_path: Path) -> None:
    """A byte an attempt would be a request a byte."""
    requests: list[str] = []

    def respond(request: Received) -> Response:
        requests.append(wanted := request.header("Range"))
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        headers = {"Content-Range": f"bytes {start}-{len(WEIGHTS) - 1}/{len(WEIGHTS)}"}
        return Response(WEIGHTS[start : start + 1], 206 if wanted else 200, headers, length=len(WEIGHTS) - start)

    with serving(respond) as url, pytest.raises(ConnectError, match="ended after"):
        http.download(url, tmp_path / "x.gguf", File("x.gguf", len(WEIGHTS)), lambda _done, _total: None)
    assert len(requests) < 50


def test_an_answer_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time, and the whole never would."""
    gone = threading.Event()

    def endless() -> Iterator[bytes]:
        while not gone.wait(0.01):
            yield b" "

    monkeypatch.setattr(http, "_SLOWEST", 0.02)
    with serving(lambda _: Response(endless())) as url:
        try:
            with pytest.raises(ConnectError, match="was not there after"):
                http.read_json(url, timeout=10)
        finally:
            gone.set()


def test_a_listing_that_was_cut_is_none() -> None:
    with serving(lambda _: Response(b"[]", length=9)) as url, pytest.raises(ConnectError, match="ended too soon"):
        http.read_json(url)


def test_two_who_want_the_same_model_fetch_it_once(web: FakeHub, store: Store) -> None:
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(store.path(NAME))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 1
    assert len(paths) == 4
    assert web.fetched() == ["tiny-Q8_0.gguf"]


def test_an_overloaded_hub_is_asked_again(web: FakeHub, store: Store) -> None:
    commit = web.repositories["org/tiny-GGUF"].commit
    row = {"tiny": pinned(commit, File("tiny-F16.gguf", len(OTHER), hashlib.sha256(OTHER).hexdigest()))}
    web.faults = [503, 429]
    assert Store(store.cache_dir, models=row).path("tiny").read_bytes() == OTHER


# --- what is not believed --------------------------------------------------------------------------------------------


def test_other_bytes_than_listed_are_moved_aside(web: FakeHub, store: Store) -> None:
    web.spoiled["tiny-Q8_0.gguf"] = WEIGHTS[:-1] + b"!"
    with pytest.raises(ConfigurationError, match=r"SHA-256 differs\); it was moved to (.+\.rejected)"):
        store.path(NAME)
    (aside,) = (store.cache_dir / "staging").rglob("*.rejected")
    assert aside.read_bytes() == web.spoiled["tiny-Q8_0.gguf"]
    assert store.find(NAME) is None
    web.spoiled.clear()
    assert store.path(NAME).read_bytes() == WEIGHTS


def test_a_small_file_goes_by_gits_id(web: FakeHub, store: Store) -> None:
    web.spoiled["config.json"] = CONFIG[:-1] + b" "
    with pytest.raises(ConfigurationError, match=r"is not the file that the hub lists \(its git id differs\)"):
        store.path("hf/org/encoder")


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"<html>", "is no GGUF file"), (b"version https://git-lfs.github.com/spec/v1", "pointer of Git")],
)
def test_what_only_has_the_name_of_a_model(data: bytes, said: str, web: FakeHub, store: Store) -> None:
    web.add("org/odd", {"odd.gguf": data})
    with pytest.raises(ConfigurationError, match=said):
        store.path("hf/org/odd")


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("pytorch_model.bin", "is a pickle, which runs code"),
        ("README.md", "is no model file"),
        ("absent.gguf", "has no 'absent.gguf'; it has no GGUF file"),
    ],
)
def test_a_file_of_another_kind(wanted: str, said: str, web: FakeHub, store: Store) -> None:
    with pytest.raises((ConfigurationError, ModelNotFoundError), match=said):
        store.path(f"hf/org/encoder:{wanted}")


def test_pickles_alone_are_no_model(web: FakeHub, store: Store) -> None:
    web.add("org/old", {"config.json": CONFIG, "pytorch_model.bin": b"\x80\x04" * 900})
    with pytest.raises(ConfigurationError, match="its weights are pickles, which run code"):
        store.path("hf/org/old")


def test_paths_that_lead_out_are_no_files_of_a_model(web: FakeHub, store: Store) -> None:
    files = {"config.json": CONFIG, "../../model.safetensors": SAFETENSORS, "C:\\model.safetensors": SAFETENSORS}
    web.add("org/evil", files)
    with pytest.raises(ConfigurationError, match=r"holds neither a GGUF file nor config\.json with safetensors"):
        store.path("hf/org/evil")


# --- rows that leave something open ----------------------------------------------------------------------------------


def pinned(commit: str, *files: File, repository: str = "org/tiny-GGUF") -> Model:
    return Model(name="tiny", kind="chat", license="MIT", files=files, hub=HubCommit(repository, commit))


def encoder_row(web: FakeHub, **hashes: str) -> dict[str, Model]:
    paths = ("config.json", "tokenizer.json", "modules.json", "1_Pooling/config.json", "model.safetensors")
    files = tuple(File(path, 0, hashes.get(path.partition(".")[0], "")) for path in paths)
    return {"tiny": pinned(web.repositories["org/encoder"].commit, *files, repository="org/encoder")}


def test_what_a_row_leaves_open_the_hub_says_at_its_commit(web: FakeHub, store: Store) -> None:
    tiny = Store(store.cache_dir, models=encoder_row(web))
    path = tiny.path("tiny")
    assert (path / "model.safetensors").read_bytes() == SAFETENSORS
    found = tiny.described("tiny")
    assert found is not None
    assert all(file.is_pinned for file in found.files)
    web.requests.clear()
    assert tiny.find("tiny") == path
    (path / "config.json").write_bytes(CONFIG[:-1])
    assert tiny.find("tiny") is None
    assert not web.requests


def test_a_pinned_hash_stands_against_the_hubs_word(web: FakeHub, store: Store) -> None:
    tiny = Store(store.cache_dir, models=encoder_row(web, config="0" * 64))
    with pytest.raises(ConfigurationError, match=r"config\.json is not the pinned file \(SHA-256 differs\)"):
        tiny.path("tiny")


def test_what_was_fetched_first_is_trusted_and_nothing_else(web: FakeHub, store: Store) -> None:
    tiny = Store(store.cache_dir, models=encoder_row(web))
    tiny.pull("tiny")
    assert tiny.remove("tiny")
    commit = web.repositories["org/encoder"].commit
    changed = dict(ENCODER) | {"config.json": CONFIG + b" "}  # the hub lists other content at the same commit
    web.add("org/encoder", changed, commit=commit)
    with pytest.raises(ConfigurationError, match="is not what it was when it was first fetched at the same commit"):
        tiny.pull("tiny")
    assert tiny.find("tiny") is None
    web.add("org/encoder", dict(ENCODER), commit=commit)
    tiny.remove("tiny")
    assert tiny.pull("tiny").is_dir()


def test_a_row_whose_files_are_gone(web: FakeHub, store: Store) -> None:
    row = {"tiny": pinned(web.repositories["org/encoder"].commit, File("absent.json"), repository="org/encoder")}
    with pytest.raises(ModelNotFoundError, match=r"org/encoder has no absent\.json"):
        Store(store.cache_dir, models=row).path("tiny")


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_gated_repository_says_where_its_licence_is(
    web: FakeHub, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.add("meta/gated", {"gated.gguf": WEIGHTS}, gated="manual", card={"license": "other", "license_name": "own"})
    with pytest.raises(AccessDeniedError, match=r"accept its licence at https://huggingface\.co/meta/gated, then set"):
        store.path("hf/meta/gated")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert store.path("hf/meta/gated").read_bytes() == WEIGHTS
    found = store.described("hf/meta/gated")
    assert found is not None
    assert (found.license, found.license_url) == ("own", "https://huggingface.co/meta/gated")


def test_a_token_that_a_login_left(web: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "token").write_text(f"{TOKEN}\n")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    hub.listing("org/encoder")
    assert web.tokens == [f"Bearer {TOKEN}"]


def test_a_token_is_not_sent_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example.com")
    with pytest.raises(ConfigurationError, match="not sent to an HF_ENDPOINT without https"):
        hub.headers()
    for safe in ("https://hub.example.com/", "http://[::1]:8080/hf", "http://localhost"):
        monkeypatch.setenv("HF_ENDPOINT", safe)
        assert hub.headers() == {"Authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (403, AccessDeniedError, "org/encoder is gated"),
        (401, ModelNotFoundError, "the hub has no org/encoder, or it is private or gated"),
        (404, ModelNotFoundError, "the hub has no org/encoder"),
        (429, ThrottlingError, "no more requests now"),
        (500, ServerError, "answers with status 500"),
    ],
)
def test_what_the_hub_refuses(status: int, kind: type[Exception], said: str, web: FakeHub) -> None:
    web.faults = [status] * 3
    with pytest.raises(kind, match=said):
        hub.listing("org/encoder")


def test_a_token_that_is_not_taken(web: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    web.faults = [401]
    with pytest.raises(AccessDeniedError, match="does not take HF_TOKEN") as caught:
        hub.listing("org/encoder")
    assert "hf_secret" not in str(caught.value)


def test_an_unknown_repository(web: FakeHub, store: Store) -> None:
    with pytest.raises(ModelNotFoundError, match="the hub has no org/absent"):
        store.path("hf/org/absent")


def test_no_network(web: FakeHub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(ConnectError, match=r"http://127\.0\.0\.1:1 cannot be reached \(ConnectionRefusedError\)"):
        hub.listing("org/encoder")
    with pytest.raises(ConnectError, match=f"cannot be reached .* run: awsllm models pull {NAME}; HF_ENDPOINT"):
        store.path(NAME)


def test_no_network_for_a_model_with_a_name(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose row is known, so that the first request is that for its weights."""
    monkeypatch.setenv("HF_ENDPOINT", "http://user:secret@127.0.0.1:1")
    said = r"'qwen3-0.6b' is not on this machine, and http://127\.0\.0\.1:1 cannot be reached"
    with pytest.raises(ConnectError, match=said) as caught:
        Store(store.cache_dir).path("qwen3-0.6b")
    assert "URLError" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (URLError(socket.gaierror(-2, "Name or service not known")), "cannot be reached (no address is known for its"),
        (
            URLError(ssl.SSLCertVerificationError("self-signed")),
            "cannot be reached (its certificate is not trusted; AWS",
        ),
        (URLError("no host given"), "cannot be reached (unreachable)"),
        (TimeoutError("secret"), "does not answer (TimeoutError)"),
    ],
)
def test_what_is_not_reached_is_told_in_our_words(error: Exception, said: str) -> None:
    assert str(http.unreached("https://me:secret@huggingface.co/a", error)).startswith(f"https://huggingface.co {said}")


def test_offline_the_hub_is_left_alone(web: FakeHub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConnectError, match="HF_HUB_OFFLINE is set"):
        store.path(NAME)
    with pytest.raises(ConfigurationError, match=r"HF_HUB_OFFLINE is set.*awsllm models pull qwen3-0\.6b"):
        store.path("qwen3-0.6b")
    assert not web.requests


@pytest.mark.parametrize("body", [b"<html>", b"[" * 100_000, b"\xff"])
def test_a_hub_that_is_none(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda _request: Response(body)) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        with pytest.raises(ConnectError, match="is no JSON"):
            hub.listing("org/encoder")


def test_a_full_disk_is_seen_before(web: FakeHub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil.disk_usage(store.cache_dir.parent)._replace(free=65 << 20)
    monkeypatch.setattr("awsllm.store.fetch.shutil.disk_usage", lambda _place: full)
    with pytest.raises(ConfigurationError, match="the disk is too full"):
        store.path(NAME)
    assert not web.fetched()


def test_a_disk_that_fills_up_meanwhile(web: FakeHub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*_: Any, **__: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(http, "copy", fill)
    with pytest.raises(ConfigurationError, match="is full"):
        store.path(NAME)


def test_a_file_of_no_known_size_leaves_the_disk_some_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that lists no size may send without end."""
    full = shutil.disk_usage(tmp_path)._replace(free=http.SPARE)
    monkeypatch.setattr("awsllm.store.http.shutil.disk_usage", lambda _place: full)
    with serving(lambda _: Response(WEIGHTS)) as url, pytest.raises(ConfigurationError, match="disk is too full"):
        http.download(url, tmp_path / "x.gguf", File("x.gguf", 0), lambda _done, _total: None)
    assert not (tmp_path / "x.gguf").exists()


# --- redirects -------------------------------------------------------------------------------------------------------


def test_a_redirect_on_the_same_server_keeps_the_token(
    web: FakeHub, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    web.redirect = "/elsewhere"
    assert store.path(NAME).read_bytes() == WEIGHTS
    assert set(web.tokens) == {f"Bearer {TOKEN}"}


def test_a_redirect_to_another_server_without_https_is_not_followed(web: FakeHub, store: Store) -> None:
    reached: list[str] = []

    def other(request: Received) -> Response:
        reached.append(request.path)
        return Response(WEIGHTS)

    with serving(other) as url:
        web.redirect = url
        with pytest.raises(ConfigurationError, match="which is not https"):
            store.path(NAME)
    assert not reached


def test_a_redirect_to_https_loses_the_token() -> None:
    from email.message import Message
    from urllib.request import Request

    old = Request("http://127.0.0.1:1/a")
    old.add_unredirected_header("Authorization", "Bearer secret")
    old.add_header("Range", "bytes=5-")
    new = http._redirects().redirect_request(old, None, 302, "Found", Message(), "https://cdn.example.com/a")
    assert (new.get_header("Authorization"), new.get_header("Range")) == (None, "bytes=5-")


# --- search ----------------------------------------------------------------------------------------------------------


def test_search(web: FakeHub) -> None:
    web.add("org/tiny-pickles", {"pytorch_model.bin": b"\x80"})
    (found,) = hub.search("tiny")
    assert msgspec.to_builtins(found) == {
        "name": NAME,
        "kind": "chat",
        "license": "apache-2.0",
        "downloads": 1234,
        "format": "gguf",
    }
    assert [one.name for one in hub.search("org")] == [NAME, "hf/org/encoder"]
    assert not hub.search("nothing like it")


@pytest.mark.skipif(sys.platform == "win32", reason="file systems there have other names")
def test_a_name_never_leads_out_of_the_cache(store: Store) -> None:
    (store.cache_dir / "models").mkdir(parents=True)
    kept = store.cache_dir / "kept"
    kept.write_bytes(b"")
    for name in ("..", ".", "../kept", "/etc", "a/../..", "a\0b", ""):
        with pytest.raises((ModelNotFoundError, ConfigurationError, ValueError)):
            store.remove(name)
    assert kept.exists()
