"""`awsllm models`: search, show, pull, import, rm, du."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from awsllm.store import MODELS
from tests.support import random_encoders, random_models, tiny_gguf
from tests.support.command_line import Run, runner
from tests.support.fake_hub import FakeHub


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    monkeypatch.setenv("AWSLLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no-home"))
    for name in ("AWSLLM_MODELS", "HF_TOKEN", "HF_HUB_OFFLINE", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    return runner(monkeypatch, capsys)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    data = tiny_gguf.write(tmp_path / "made.gguf", tiny_gguf.metadata(), says=256).read_bytes()
    with FakeHub().serving() as made:
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        gguf = {"architecture": "llama", "context_length": 512}
        made.add("org/tiny-GGUF", {"tiny-Q4_K_M.gguf": data, "tiny-F16.gguf": data}, gguf=gguf)
        yield made


def test_search_finds_rows_and_the_hub(run: Run, web: FakeHub) -> None:
    web.add("someone/Qwen3-0.6B-tuned", {"model.safetensors": b"\0" * 2000, "config.json": b"{}"})
    found = json.loads(run("models", "search", "qwen3", "0.6b", "--json").out)
    assert [one["name"] for one in found["named"]] == ["qwen3-0.6b"]
    assert [one["name"] for one in found["hub"]] == ["hf/someone/Qwen3-0.6B-tuned"]
    assert found["hub_error"] is None
    shown = run("models", "search", "qwen3", "0.6b")
    assert "tools and reasoning at the smallest size" in shown.out
    assert "hf/someone/Qwen3-0.6B-tuned" in shown.out


def test_search_without_the_hub(run: Run, web: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    offline = run("models", "search", "rerank", "--offline")
    assert {name for name in MODELS if f"\n{name} " in offline.out} == {"ms-marco-minilm-l6-v2", "bge-reranker-v2-m3"}
    assert not web.requests
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    unreached = run("models", "search", "gemma")
    assert "gemma-3-1b-it" in unreached.out
    assert "the hub was not searched: http://127.0.0.1:1 cannot be reached" in unreached.err
    assert "nothing was found" in run("models", "search", "no such thing", "--offline").err
    assert len(json.loads(run("models", "search", "--json").out)["named"]) == len(MODELS)


def test_show_a_row_that_is_not_here(run: Run, web: FakeHub) -> None:
    shown = " ".join(run("models", "show", "local:gemma-3-1b-it").out.split())
    for said in ("https://ai.google.dev/gemma/terms", "806 MB", "32,768 tokens", "computed yes", "models pull gemma-3"):
        assert said in shown
    assert "kept from the first fetch on" in run("models", "show", "gte-large").out
    assert json.loads(run("models", "show", "bge-reranker-v2-m3", "--json").out)["computed"] is True
    assert not web.requests


def test_show_a_repository_of_the_hub(run: Run, web: FakeHub) -> None:
    found = json.loads(run("models", "show", "hf/org/tiny-GGUF", "--json").out)
    assert (found["computed"], found["context"], found["chosen"], found["path"]) == (True, 512, "Q4_K_M", None)
    assert web.repositories["org/tiny-GGUF"].commit[:12] in found["source"]
    web.add("org/odd-GGUF", {"odd.gguf": b"GGUF" + b"\0" * 2000}, gguf={"architecture": "mamba"}, gated="auto")
    shown = run("models", "show", "hf/org/odd-GGUF").out
    assert "no: the engine has no architecture 'mamba'" in shown
    assert "accept its licence" in shown
    assert not web.fetched()


def test_show_a_directory_of_the_hub_asks_for_its_configuration(run: Run, web: FakeHub) -> None:
    files = {"config.json": b'{"model_type": "mamba2"}', "model.safetensors": b"\0" * 2000}
    web.add("org/plain", files)
    found = json.loads(run("models", "show", "hf/org/plain", "--json").out)
    assert (found["computed"], found["family"]) == (None, "mamba2")
    assert "by transformers, if that knows it" in run("models", "show", "hf/org/plain").out
    assert set(web.fetched()) == {"config.json"}
    config = {"model_type": "mpnet", "vocab_size": 99, "hidden_size": 8, "num_attention_heads": 2}
    config |= {"num_hidden_layers": 1, "intermediate_size": 8, "architectures": ["MPNetModel"]}
    files["config.json"] = json.dumps(config | {"max_position_embeddings": 40}).encode()
    web.add("org/plain", files, task="feature-extraction")
    found = json.loads(run("models", "show", "hf/org/plain", "--json").out)
    assert (found["computed"], found["family"], found["kind"]) == (True, "mpnet", "embed")


def test_pull_says_what_was_chosen(run: Run, web: FakeHub) -> None:
    pulled = run("models", "pull", "local:hf/org/tiny-GGUF")
    assert Path(pulled.out.strip()).name == "tiny-Q4_K_M.gguf"
    assert "hf/org/tiny-GGUF: Q4_K_M was chosen" in pulled.err
    found = json.loads(run("models", "show", "hf/org/tiny-GGUF", "--json").out)
    assert (found["computed"], found["family"], found["path"]) == (True, "llama", pulled.out.strip())
    assert "hf/org/tiny-GGUF" in run("models", "list", "--here").out
    assert [one["name"] for one in json.loads(run("models", "list", "--here", "--json").out)] == ["hf/org/tiny-GGUF"]
    sizes = json.loads(run("models", "du", "--json").out)
    assert [one["name"] for one in sizes] == ["hf/org/tiny-GGUF"]
    assert "in all" in run("models", "du").out
    assert run("models", "rm", "hf/org/tiny-GGUF").out == "hf/org/tiny-GGUF: removed\n"
    assert json.loads(run("models", "du", "--json").out) == []


def test_list_tells_sizes_as_the_others_do(run: Run) -> None:
    lines = run("models", "list").out.splitlines()
    assert lines[0].split() == ["NAME", "KIND", "SIZE", "LICENCE", "PATH"]
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in lines[1:]}
    assert rows["qwen3-4b"] == "chat 2.50 GB Apache-2.0 not here"
    assert rows["gte-large"] == "embed - MIT not here"  # the hub says how large it is
    assert len({line.rindex("not here") for line in lines[1:]}) == 1  # a column
    assert (
        run("models", "list").err
        == "awsllm: what is not here is fetched at first use, or by: awsllm models pull NAME\n"
    )
    assert run("models", "list", "--here") == (0, "NAME  KIND  SIZE  LICENCE  PATH\n", "")


def test_rm_of_what_is_not_there(run: Run) -> None:
    absent = run("models", "rm", "--yes", "nonsense")
    assert (absent.code, absent.out) == (1, "")
    assert absent.err == "awsllm: no local model 'nonsense': `awsllm models du` lists what is here\n"
    assert run("models", "rm", "--yes", "qwen3-4b").out == "qwen3-4b: was not in the cache\n"


def test_errors_are_one_line(run: Run, web: FakeHub) -> None:
    web.add("meta/gated", {"gated.gguf": b"GGUF" + b"\0" * 2000}, gated="manual")
    gated = run("models", "pull", "hf/meta/gated")
    assert (gated.code, gated.out) == (1, "")
    assert "accept its licence at https://huggingface.co/meta/gated" in gated.err
    absent = run("models", "pull", "hf/org/absent")
    assert (absent.code, absent.err.count("\n")) == (1, 1)
    assert "is no model of the Hugging Face hub: write hf/ORG/REPO" in run("models", "show", "hf/org").err


def test_import_and_chat(run: Run, tmp_path: Path) -> None:
    own = tiny_gguf.write(tmp_path / "own.gguf", tiny_gguf.metadata(), says=256)
    imported = run("models", "import", str(own), "mine")
    assert Path(imported.out.strip()).samefile(own)
    assert run("chat", "--model", "local:mine", "--max-tokens", "3", "Hello").out == "HiHiHi\n"
    assert json.loads(run("models", "import", str(own), "other", "--json").out)["other"]
    again = run("models", "import", str(own), "mine")
    assert (again.code, "there is a model 'mine'" in again.err) == (1, True)


def test_chat_with_a_repository_of_the_hub(run: Run, web: FakeHub) -> None:
    answered = run("chat", "--model", "local:hf/org/tiny-GGUF:F16", "--max-tokens", "2", "Hello")
    assert (answered.code, answered.out) == (0, "HiHi\n")
    assert web.fetched() == ["tiny-F16.gguf"]


def test_show_a_path(run: Run, tmp_path: Path) -> None:
    own = tiny_gguf.write(tmp_path / "own.gguf", tiny_gguf.metadata(), says=256)
    found = json.loads(run("models", "show", str(own), "--json").out)
    assert (found["path"], found["size"], found["computed"]) == (str(own), own.stat().st_size, True)
    assert "SHA-256" not in run("models", "show", str(own)).out  # no table of nothing
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    assert "no: " in run("models", "show", str(tmp_path / "broken.gguf")).out


@pytest.mark.parametrize(
    ("architecture", "kind"), [("Model", "embed"), ("ForSequenceClassification", "rerank"), ("ForMaskedLM", "embed")]
)
def test_show_a_directory_says_what_it_is_for(run: Run, tmp_path: Path, architecture: str, kind: str) -> None:
    more = {"num_labels": 1} if kind == "rerank" else {}
    random_encoders.write(tmp_path, "bert", architecture, **more)
    found = json.loads(run("models", "show", str(tmp_path), "--json").out)
    assert (found["kind"], found["family"], found["computed"]) == (kind, "bert", True)


def test_without_a_tokenizer_it_is_not_computed(run: Run, tmp_path: Path) -> None:
    random_models.write("llama", tmp_path)
    found = json.loads(run("models", "show", str(tmp_path), "--json").out)
    assert found["computed"] is False
    assert "AutoTokenizer.from_pretrained(…).save_pretrained(…)" in found["why"]
    assert "has neither tokenizer.json nor" in run("models", "import", str(tmp_path), "mine").err


def test_rm_asks_on_a_terminal(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tiny_gguf.write(tmp_path / "own.gguf", tiny_gguf.metadata(), says=256)
    run("models", "import", str(own), "mine")
    asked: list[str] = []

    def decline(question: str) -> bool:
        asked.append(question)
        return False

    monkeypatch.setattr("awsllm.cli.terminal.is_agreed", decline)
    assert run("models", "rm", "mine").code == 1
    assert len(asked) == 1
    assert asked[0].startswith("Delete mine (")
    assert run("models", "rm", "mine", "--yes").out == "mine: removed\n"
    assert "no local model 'mine'" in run("models", "rm", "mine").err
    assert len(asked) == 1
