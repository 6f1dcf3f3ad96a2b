"""The command line as its users meet it: what it prints where, its exit codes, and a real terminal."""

import functools
import io
import json
import os
import pickle
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import getproxies, proxy_bypass

import boto3
import msgspec
import pytest
import typer

import awsllm
from awsllm.cli import doctor, main, prompting, rendering, terminal
from awsllm.cli.app import app
from awsllm.engine import devices
from awsllm.errors import AwsllmError, ConfigurationError, ThrottlingError
from awsllm.server.assembly import Settings
from awsllm.server.instance import Instance, registered
from awsllm.store import File, Model, Store, Wheel
from awsllm.testing.scripted import Broken, ScriptedBackend
from awsllm.types import Bytes, ConverseRequest, ConverseResponse, Document, Image, Message, Text, ToolUse, Usage
from awsllm.types.embedding import EmbedRequest
from tests.support.command_line import Result, Run, runner

REAL_CACHE = Store().cache_dir  # before any test has an environment of its own
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 16


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """What runs one command line in this process, with standard input piped."""
    monkeypatch.setenv("AWSLLM_CACHE", str(tmp_path / "cache"))
    for name in ("AWSLLM_MODELS", "AWSLLM_MODEL", "AWSLLM_EMBED_MODEL", "AWSLLM_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return runner(monkeypatch, capsys)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ScriptedBackend]:
    """Let clients talk to a scripted backend, whatever the scheme."""

    def use(*replies: Any) -> ScriptedBackend:
        backend = ScriptedBackend(list(replies))
        backends = dict.fromkeys(("local", "bedrock", "sagemaker"), backend)
        monkeypatch.setattr("awsllm.client.Client", functools.partial(awsllm.Client, backends=backends))
        return backend

    return use


def sent(backend: ScriptedBackend, index: int = -1) -> ConverseRequest:
    request = backend.requests[index]
    assert isinstance(request, ConverseRequest)
    return request


# --- chat with a prompt ----------------------------------------------------------------------------------------------


def test_a_prompt_is_answered_on_standard_output(run: Run, script: Any) -> None:
    backend = script("Blue, mostly.")
    assert run("chat", "What", "colour", "is the sky?") == (0, "Blue, mostly.\n", "")
    assert sent(backend).model == "smollm2-135m-instruct"
    assert sent(backend).messages == (Message.user("What colour is the sky?"),)
    assert sent(backend).inference_config.max_tokens == 1024


@pytest.mark.parametrize(
    ("prompt", "stdin", "text"),
    [((), "piped\n", "piped"), (("Sum up:",), "piped\n", "Sum up:\n\npiped"), (("asked",), "  \n", "asked")],
)
def test_piped_text_is_the_prompt_or_joins_it(
    run: Run, script: Any, prompt: tuple[str, ...], stdin: str, text: str
) -> None:
    backend = script("ok")
    assert run("chat", *prompt, stdin=stdin).code == 0
    assert sent(backend).messages == (Message.user(text),)


def test_options_reach_the_request(run: Run, script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "notes.txt").write_text("one")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("two")
    backend = script("ok")
    monkeypatch.setenv("AWSLLM_MODEL", "bedrock:amazon.nova-lite-v1:0")
    files = ["--image", str(tmp_path / "a.png")]
    files += ["--document", str(tmp_path / "notes.txt"), "--document", str(tmp_path / "other" / "notes.txt")]
    run("chat", "look", "--system", "be brief", "--max-tokens", "7", "--temperature", "0.5", *files)
    request = sent(backend)
    assert request.model == "amazon.nova-lite-v1:0"
    assert request.system == (Text("be brief"),)
    assert (request.inference_config.max_tokens, request.inference_config.temperature) == (7, 0.5)
    image, first, second, text = request.messages[0].content
    assert image == Image("png", Bytes(PNG))
    assert isinstance(first, Document)
    assert isinstance(second, Document)
    assert (first.source, second.source, text) == (Bytes(b"one"), Bytes(b"two"), Text("look"))
    assert first.name != second.name


def test_where_to_call_reaches_the_client(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    def client(**settings: Any) -> awsllm.Client:
        made.append(settings)
        return awsllm.Client(backends={"bedrock": ScriptedBackend("ok")})

    monkeypatch.setattr("awsllm.client.Client", client)
    where = ("--region", "eu-west-1", "--profile", "work", "--endpoint-url", "http://localhost:8900")
    assert run("chat", "hi", "-m", "bedrock:x", *where).code == 0
    assert made == [{"region": "eu-west-1", "profile": "work", "endpoint_url": "http://localhost:8900"}]


def test_json_is_one_document(run: Run, script: Any) -> None:
    script("Blue, mostly.")
    result = run("chat", "What colour?", "--json")
    document = json.loads(result.out)
    assert document.pop("latency_ms") >= 0
    assert document == {
        "text": "Blue, mostly.",
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 2, "output_tokens": 2, "total_tokens": 4},
        "model": "local:smollm2-135m-instruct",
        "cost": 0.0,
        "warnings": [],
        "request_id": None,
    }


def test_json_keeps_what_is_unknown_null(run: Run, script: Any) -> None:
    script(
        ConverseResponse(message=Message.assistant("é"), stop_reason="end_turn", usage=Usage(cache_read_input_tokens=3))
    )
    document = json.loads(run("chat", "hi", "--json").out)
    usage = {"input_tokens": None, "output_tokens": None, "total_tokens": None, "cache_read_input_tokens": 3}
    assert (document["text"], document["usage"]) == ("é", usage)


def test_without_streaming(run: Run, script: Any) -> None:
    script("Blue, mostly.")
    assert run("chat", "--no-stream", "What colour?") == (0, "Blue, mostly.\n", "")


def test_what_the_reader_should_know_stands_beside_the_answer(run: Run, script: Any) -> None:
    message = Message.assistant("half")
    script(ConverseResponse(message=message, stop_reason="max_tokens", warnings=("top_k is not known here",)))
    result = run("chat", "--no-stream", "hi")
    assert (result.code, result.out) == (0, "half\n")
    assert result.err.splitlines() == [
        "awsllm: top_k is not known here",
        "awsllm: the answer ended with max_tokens: it was cut; give --max-tokens more",
    ]


@pytest.mark.slow
def test_the_model_on_this_machine_answers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What so small a model says depends on the CPU's kernels: that it says words, the same both times, does not."""
    monkeypatch.setenv("AWSLLM_CACHE", str(REAL_CACHE))
    question = "What is the capital of France?"
    document = json.loads(run("chat", "--json", "--temperature", "0", "--max-tokens", "24", question).out)
    assert len(re.findall(r"[^\W\d_]{2,}", document["text"])) >= 3
    assert "<|" not in document["text"]  # no token of the template
    assert document["model"] == "local:smollm2-135m-instruct"
    assert document["usage"]["input_tokens"] > len(question.split())
    assert 1 < document["usage"]["output_tokens"] <= 24
    streamed = run("chat", "--temperature", "0", "--max-tokens", "24", stdin=question)
    assert (streamed.code, streamed.out) == (0, document["text"].rstrip("\n") + "\n")
    is_cut = document["stop_reason"] == "max_tokens"
    assert ("max_tokens" in streamed.err, streamed.err.count("\n")) == (is_cut, int(is_cut))


# --- errors ----------------------------------------------------------------------------------------------------------


def test_an_error_speaks_of_flags(run: Run, script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    fault = AwsllmError("no AWS region; pass region= (--region on the command line); or raise max_tokens")
    script(fault, fault)
    assert run("chat", "x").err == "awsllm: no AWS region; pass --region; or raise --max-tokens\n"
    converse(script(fault), "x")
    assert "pass --region; or raise --max-tokens" in capsys.readouterr().err


def test_an_error_is_one_line(run: Run, script: Any) -> None:
    script(ConfigurationError("no region;\n set one"))
    assert run("chat", "hi") == (1, "", "awsllm: no region; set one\n")


def test_a_stream_that_breaks_keeps_what_came(run: Run, script: Any) -> None:
    script(Broken("one two three", after=3))
    result = run("chat", "hi")
    assert result.code == 1
    assert result.out.startswith("one")
    assert result.out.endswith("\n")
    assert result.err.startswith("awsllm: ")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("where", [("--debug", "chat", "hi"), ("chat", "hi", "--debug")])
def test_debug_shows_the_traceback(script: Any, monkeypatch: pytest.MonkeyPatch, where: tuple[str, ...]) -> None:
    script(ThrottlingError("slow down", retryable=False))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(AwsllmError, match="slow down"):
        main(where)


def test_debug_after_two_dashes_is_a_word(run: Run, script: Any) -> None:
    backend = script("ok")
    run("chat", "--", "explain", "--debug")
    assert sent(backend).messages == (Message.user("explain --debug"),)


@pytest.mark.parametrize(
    "arguments",
    [
        ("chat",),
        ("chat", "--json"),
        ("chat", "hi", "--image", "absent.png"),
        ("chat", "hi", "--max-tokens", "0"),
        ("chta",),
        ("embed",),
        ("models", "pull"),
        ("chat", "local:some-model"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(run: Run, script: Any, arguments: tuple[str, ...]) -> None:
    script()
    result = run(*arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err


def test_a_bad_reference_names_the_fix(run: Run) -> None:
    result = run("chat", "hi", "-m", "smollm2-135m-instruct")
    assert result.code == 1
    assert "local:smollm2-135m-instruct" in result.err


def test_an_image_of_an_unknown_format(run: Run, script: Any, tmp_path: Path) -> None:
    script()
    (tmp_path / "a.bmp").write_bytes(b"BM....")
    result = run("chat", "hi", "--image", str(tmp_path / "a.bmp"))
    assert result.code == 1
    assert "png, jpeg, gif or webp" in result.err


# --- embed -----------------------------------------------------------------------------------------------------------


def test_embed_prints_a_vector_a_line(run: Run, script: Any) -> None:
    backend = script()
    result = run("embed", "one", "two", "--dimensions", "8")
    vectors = [json.loads(line) for line in result.out.splitlines()]
    assert [len(vector) for vector in vectors] == [8, 8]
    assert backend.requests[0] == EmbedRequest(model="all-minilm-l6-v2", texts=("one", "two"), dimensions=8)


def test_embed_reads_lines(run: Run, script: Any) -> None:
    backend = script()
    document = json.loads(run("embed", "--json", stdin="one\n\ntwo\n").out)
    assert isinstance(backend.requests[0], EmbedRequest)
    assert backend.requests[0].texts == ("one", "two")
    assert (document["model"], len(document["vectors"])) == ("local:all-minilm-l6-v2", 2)
    assert document["usage"] == {"input_tokens": 2, "total_tokens": 2}


# --- models ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The only model is of four bytes; its wheel lies in AWSLLM_MODELS once this path is written."""
    import hashlib
    import zipfile

    wheel = tmp_path / "place" / "tiny-1-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny/tiny.gguf", b"GGUF")
    data = wheel.read_bytes()
    model = Model(
        name="tiny",
        kind="chat",
        license="MIT",
        files=(File("tiny.gguf", 4, hashlib.sha256(b"GGUF").hexdigest()),),
        wheel=Wheel("tiny", "1", "tiny", len(data), hashlib.sha256(data).hexdigest()),
    )
    monkeypatch.setattr("awsllm.store.Store.__init__.__kwdefaults__", {"models": {"tiny": model}})
    return wheel.parent


def test_models_are_pulled_listed_and_removed(run: Run, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = run("models", "list")
    assert "tiny  chat  4 B   MIT      not here" in listed.out
    assert "awsllm models pull NAME" in listed.err
    monkeypatch.setenv("AWSLLM_MODELS", str(tiny))
    path = Path(run("models", "pull", "local:tiny").out.strip())
    assert path.read_bytes() == b"GGUF"
    assert json.loads(run("models", "pull", "tiny", "--json").out) == {"tiny": str(path)}
    entry = {"name": "tiny", "kind": "chat", "license": "MIT", "size": 4, "path": str(path)}
    assert json.loads(run("models", "list", "--json").out) == [entry]
    assert run("models", "list").out.splitlines()[1].split() == ["tiny", "chat", "4", "B", "MIT", str(path)]
    assert not run("models", "list").err
    assert run("models", "rm", "tiny").out == "tiny: removed\n"
    assert run("models", "rm", "tiny").out == "tiny: was not in the cache\n"
    assert json.loads(run("models", "rm", "tiny", "--json").out) == {"tiny": False}


def test_an_unknown_model_is_an_error(run: Run) -> None:
    result = run("models", "pull", "smollm2")
    assert (result.code, result.out) == (1, "")
    assert "did you mean 'smollm2-135m-instruct'" in result.err


# --- serve -----------------------------------------------------------------------------------------------------------


def test_an_empty_key_in_the_environment_does_not_open_the_server(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_API_KEY", "")
    result = run("serve", "--port", "0")
    assert result.code != 0
    assert "the API key is empty" in result.err


def test_serve_takes_a_script(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options: dict[str, Any] = {}

    def serve(host: str, port: int, *, ready: Callable[[Any], None], **given: Any) -> None:
        options.update(given)
        ready(SimpleNamespace(url="http://127.0.0.1:9000", authority=None))

    monkeypatch.setattr("awsllm.server.serve", serve, raising=False)
    script = tmp_path / "replies.py"
    script.write_text("reply = ['one']")
    result = run("serve", "--script", str(script))
    assert (result.code, options["backend"].script.unused()) == (0, ["'one'"])
    assert f"AWSLLM_ADMIN_TOKEN={options['admin_token']}" in result.err
    monkeypatch.setenv("AWSLLM_ADMIN_TOKEN", "0123456789abcdef")
    result = run("serve", "--script", str(script))
    assert options["admin_token"] == "0123456789abcdef"
    assert "0123456789abcdef" not in result.err
    script.write_text("reply = (")
    result = run("serve", "--script", str(script))
    assert (result.code, "replies.py, line 1" in result.err) == (1, True)
    assert "there is no script" in run("serve", "--script", "none.py").err


def test_serve_hands_its_options_over(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple[Any, ...]] = []
    shown: list[Result] = []  # by then, what was announced is there too

    def serve(host: str, port: int, *, ready: Callable[[Any], None], **options: Any) -> None:
        calls.append((host, port, options))
        ready(SimpleNamespace(url="http://127.0.0.1:9000", authority=None))
        shown.append(run("env"))

    monkeypatch.setattr("awsllm.server.serve", serve, raising=False)
    monkeypatch.setenv("AWSLLM_API_KEY", "s3cr3t")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    arguments = ["--tls-cert", "c.pem", "--tls-key", "k.pem", "--model", "local:mine", "--transition", "endpoint=3"]
    run("serve", "--port", "9000", *arguments, "--no-account", "--region", "eu-west-1")
    assert shown[0].out.splitlines()[-len(ENVIRONMENT) :] == ENVIRONMENT
    options = calls[0][2]
    assert (calls[0][:2], options["tls"][:2]) == (("127.0.0.1", 9000), (Path("c.pem"), Path("k.pem")))
    assert (options["model"], options["api_key"], options["account"]) == ("local:mine", "s3cr3t", False)
    assert options["transitions"] == {"endpoint": 3.0}
    assert 'eval "$(awsllm env)"' in shown[0].err
    assert "playground: http://127.0.0.1:" in shown[0].err
    assert "s3cr3t" not in shown[0].err
    assert "No server runs here" in run("env").err


ENVIRONMENT = [
    "export AWS_ENDPOINT_URL=http://127.0.0.1:9000",
    "export AWS_ACCESS_KEY_ID=awsllm",
    "export AWS_SECRET_ACCESS_KEY=s3cr3t",
    "export AWS_REGION=eu-west-1",
    "export AWS_DEFAULT_REGION=eu-west-1",
    "export AWS_EC2_METADATA_DISABLED=true",
    "export AWS_USE_FIPS_ENDPOINT=false",
    "export AWS_USE_DUALSTACK_ENDPOINT=false",
    "export AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=false",
    "export AWS_BEDROCK_RUNTIME_ENDPOINT=http://127.0.0.1:9000",
    "export OPENAI_BASE_URL=http://127.0.0.1:9000/v1",
    "export OPENAI_API_KEY=s3cr3t",
    "export ANTHROPIC_BASE_URL=http://127.0.0.1:9000",
    "export ANTHROPIC_API_KEY=s3cr3t",
    "export ANTHROPIC_BEDROCK_BASE_URL=http://127.0.0.1:9000",
    "export NO_PROXY=127.0.0.1,localhost,::1",
]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--transition", "endpoint"], "--transition is KIND=SECONDS"),
        (["--transition", "endpoint=-3"], "--transition is KIND=SECONDS"),
        (["--transition", "endpoint=nan"], "--transition is KIND=SECONDS"),
        (["--tls-cert", "c.pem"], "TLS needs both"),
        (["--port", "99999"], "--port"),
        (["--max-model-memory", "-4"], "--max-model-memory is a size"),
        (["--max-model-memory", "nanG"], "--max-model-memory is a size"),
        (["--usage", "usage.db"], "give --keys too"),
        (["--script", "replies.py", "--workers", "2", "--no-account"], "leave out --script or --workers"),
        (["--region", "eu west"], "'eu west' is no region"),
    ],
)
def test_serve_refuses_what_it_cannot_read(run: Run, wrong: list[str], said: str) -> None:
    result = run("serve", *wrong)
    assert (result.code != 0, "Traceback" in result.err) == (True, False)
    assert said in result.err


def test_workers_have_no_admin_route(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would tell of itself alone. What they are started with reaches their processes."""
    chosen: list[Settings] = []

    def supervise(count: int, *address: Any, tls: bool, ready: Callable[[Any], None], **options: Any) -> None:
        chosen.append(pickle.loads(pickle.dumps(Settings(**options))))  # noqa: S301 -- its own
        ready(SimpleNamespace(url="http://127.0.0.1:9000", authority=None))

    monkeypatch.setattr("awsllm.server.workers.supervise", supervise)
    result = run("serve", "--workers", "2", "--no-account")
    assert (result.code, "AWSLLM_ADMIN_TOKEN" in result.err, chosen[0].admin_token) == (0, False, None)


def test_env_overrules_what_would_lead_elsewhere(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore is the judge: a service's own endpoint, FIPS, a profile that is none, a proxy."""
    hostile = {
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "https://elsewhere.example",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
        "AWS_DEFAULT_PROFILE": "none-of-this-name",
        "http_proxy": "http://proxy.example:3128",
        "no_proxy": "inside.example",
    }
    for name, value in hostile.items():
        monkeypatch.setenv(name, value)
    url = "http://127.0.0.1:1"
    for name, value in json.loads(run("env", "--url", url, "--json").out).items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    client = boto3.Session().client("bedrock-runtime")
    assert (client.meta.endpoint_url, getproxies().get("no", "").split(",")[0]) == (url, "inside.example")
    assert proxy_bypass("127.0.0.1:1")
    presigned = client.generate_presigned_url("converse", {"modelId": "m", "messages": []})
    assert presigned.startswith(url)


def test_no_help_loses_what_it_shows(run: Run) -> None:
    """The text of help is Markdown, in which a pair of asterisks is emphasis and is gone."""
    shown = " ".join(run("serve", "--help").out.replace("│", " ").split())
    assert "anthropic.*=bedrock:us.*" in shown
    for parameter in parameters(typer.main.get_command(app)):
        written = getattr(parameter, "help", None) or ""
        assert "*" not in re.sub(r"`[^`]*`", "", written), f"{parameter.name}: put it between backticks"


def parameters(command: Any) -> Iterator[Any]:
    yield from command.params
    for one in getattr(command, "commands", {}).values():
        yield from parameters(one)


def test_env_in_the_words_of_each_shell(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWSLLM_API_KEY", raising=False)
    lines = {
        shell: run("env", "--url", "http://127.0.0.1:1", "--shell", shell).out for shell in ("sh", "fish", "dotenv")
    }
    assert lines["sh"].startswith("unset AWS_PROFILE\n")
    assert "set -e AWS_PROFILE;\n" in lines["fish"]
    assert "set -gx AWS_ENDPOINT_URL http://127.0.0.1:1;\n" in lines["fish"]
    assert lines["dotenv"].startswith("AWS_ENDPOINT_URL=http://127.0.0.1:1\n")
    power = run("env", "--url", "http://127.0.0.1:1", "--shell", "powershell").out
    assert "$env:AWS_ENDPOINT_URL = 'http://127.0.0.1:1'\n" in power
    undone = run("env", "--url", "http://127.0.0.1:1", "--unset").out
    assert undone.startswith("unset AWS_ENDPOINT_URL\n")
    assert "export" not in undone
    document = json.loads(run("env", "--url", "http://127.0.0.1:1", "--json").out)
    assert (document["AWS_ENDPOINT_URL"], document["AWS_PROFILE"]) == ("http://127.0.0.1:1", None)
    assert run("env", "--shell", "csh").code == 1


@pytest.mark.tells_secrets("`awsllm env` prints what a shell is to set")
def test_env_at_a_server_whose_callers_have_keys(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWSLLM_CACHE", str(tmp_path))
    monkeypatch.delenv("AWSLLM_API_KEY", raising=False)
    with registered(Instance(url="http://127.0.0.1:1", key_needed=True, gated=True)):
        assert "awsllm keys create" in run("env").err
        monkeypatch.setenv("AWSLLM_API_KEY", "sk-awsllm-secret")
        hinted = run("env", "--json")
        named = run("env", "--json", "--access-key-id", "AWSLLMX7")
    assert ("--access-key-id ID" in hinted.err, "--access-key-id" in named.err) == (True, False)
    variables = json.loads(named.out)
    assert variables["AWS_ACCESS_KEY_ID"] == "AWSLLMX7"
    assert variables["AWS_SECRET_ACCESS_KEY"] == variables["OPENAI_API_KEY"] == "sk-awsllm-secret"


# --- doctor ----------------------------------------------------------------------------------------------------------


def examined(run: Run, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    result = run("doctor", "--json", *arguments)
    return result.code, {finding["name"]: finding for finding in json.loads(result.out)}


def test_doctor_with_nothing_configured(run: Run) -> None:
    code, found = examined(run)
    assert code == 0
    assert found["AWS region"]["status"] == found["AWS credentials"]["status"] == "warning"
    assert "AWS_REGION" in found["AWS region"]["fix"]
    assert found["local:smollm2-135m-instruct"]["fix"] == "awsllm models pull smollm2-135m-instruct"


def test_doctor_says_what_computes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from awsllm.backends.local import computing

    assert examined(run)[1]["kernels"]["detail"] == computing.here().told
    monkeypatch.setenv(computing.CHOICE, "none")
    assert examined(run)[1]["kernels"]["status"] == "info"
    monkeypatch.setenv(computing.CHOICE, "nonsense")
    found = examined(run)[1]["kernels"]
    assert found["status"] == "warning"
    assert "here it can be" in found["detail"]
    assert computing.CHOICE in found["fix"]
    monkeypatch.setattr(computing, "here", lambda: computing.Computing(missing="it is not there"))
    found = examined(run)[1]["kernels"]
    assert found["status"] == "warning"
    assert "it is not there; PyTorch computes" in found["detail"]
    assert "C compiler" in found["fix"]
    monkeypatch.setattr(computing, "here", lambda: computing.Computing(missing="it is older", has_source=True))
    assert "pip install -e ." in examined(run)[1]["kernels"]["fix"]
    unsuited = computing.Computing(missing="the processor does not have it", is_unsuited=True)
    monkeypatch.setattr(computing, "here", lambda: unsuited)
    assert examined(run)[1]["kernels"]["status"] == "info"


def test_doctor_shows_no_secret(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAHUSH")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-key")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "hush-token")
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "hush-bearer")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "http://user:hush@localhost:8900")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:hush@proxy:3128")
    text = run("doctor").out
    assert "hush" not in text.lower()
    for shown in (
        "eu-west-1",
        "from environment, temporary",
        "***@localhost:8900",
        "***@proxy:3128",
        "AWS_BEARER_TOKEN",
    ):
        assert shown in text


@pytest.mark.parametrize(
    ("said", "likely", "status", "detail"),
    [
        (None, False, "ok", "cpu"),
        (None, True, "info", "cpu; there is cuda:0 (a GPU)"),
        ("auto", True, "ok", "cuda:0 (a GPU), as AWSLLM_DEVICE says"),
        ("cpu", True, "ok", "cpu, as AWSLLM_DEVICE says"),
        ("cuda:1", True, "warning", "there is only cuda:0"),
        ("gpu", True, "warning", "AWSLLM_DEVICE is 'gpu'; write cpu"),
    ],
)
def test_doctor_shows_the_device(
    run: Run, monkeypatch: pytest.MonkeyPatch, said: str | None, likely: bool, status: str, detail: str
) -> None:
    def found(name: str) -> str:
        if name == "cuda:1":
            raise devices.DeviceError("there is only cuda:0")
        return "cpu" if name == "cpu" or not likely else "cuda:0"

    monkeypatch.setattr(devices, "found", found)
    monkeypatch.setattr(devices, "gpu_is_likely", lambda: likely)
    monkeypatch.setattr(devices, "describe", lambda name: name if name == "cpu" else f"{name} (a GPU)")
    monkeypatch.delenv("AWSLLM_DEVICE", raising=False)
    if said is not None:
        monkeypatch.setenv("AWSLLM_DEVICE", said)
    code, checks = examined(run)
    device = checks["device"]
    assert (code, device["status"], device["detail"][: len(detail)]) == (0, status, detail)
    assert (device["fix"] is None) == (status == "ok")


def test_chat_and_embed_hand_the_device_over(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    class Asked(awsllm.Client):
        def __init__(self, **options: Any) -> None:
            given.append(options.get("device"))
            super().__init__(backends={"local": ScriptedBackend(["yes"])}, **options)

    monkeypatch.setattr("awsllm.client.Client", Asked)
    run("chat", "Hi", "--device", "cuda")
    run("embed", "Hi", "--device", "mps")
    run("chat", "Hi")
    assert given == ["cuda", "mps", None]
    assert "write cpu, cuda" in run("chat", "Hi", "--device", "gpu").err


def test_doctor_sees_a_ca_bundle_that_is_not_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/absent/ca.pem")
    code, found = examined(run)
    assert (code, found["TLS"]["status"]) == (0, "warning")
    assert "/absent/ca.pem" in found["TLS"]["detail"]


@pytest.mark.parametrize(("place", "status"), [("absent", "warning"), (".", "ok"), ("s3://bucket/models", "ok")])
def test_doctor_checks_the_models_directory(run: Run, monkeypatch: pytest.MonkeyPatch, place: str, status: str) -> None:
    monkeypatch.setenv("AWSLLM_MODELS", place)
    assert examined(run)[1]["AWSLLM_MODELS"]["status"] == status


def test_doctor_survives_a_broken_core(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    _, found = examined(run)
    assert found["AWS credentials"] == {
        "name": "AWS credentials",
        "status": "warning",
        "detail": "botocore.session is missing",
        "fix": "pip install awsllm",
    }


def test_doctor_fails_without_the_core(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        doctor,
        "_packages",
        lambda: {"": ["msgspec", "absent"], "local": ["absent"], "cli": ["msgspec"], "all": ["absent"]},
    )
    monkeypatch.setattr(doctor, "_version", {"msgspec": "1"}.get)
    found = {check.name: check for check in doctor._installed()}
    assert found["core"].status == "failure"
    assert found["core"].detail == "missing: absent"
    assert found["[local]"] == doctor.Check("[local]", "warning", "missing: absent", "pip install 'awsllm[local]'")
    assert found["[cli]"] == doctor.Check("[cli]", "ok", "msgspec 1")
    assert "[all]" not in found
    assert run("doctor").code == 1


def test_doctor_reads_requirements_by_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "msgspec>=0.21",
        "torch>=2; extra == 'local'",
        'moto[server]>=5,<6; extra == "serve"',
        "awsllm[local]; extra == 'all'",
    ]
    monkeypatch.setattr("importlib.metadata.requires", lambda _name: lines)
    assert doctor._packages() == {"": ["msgspec"], "local": ["torch"], "serve": ["moto"]}


# --- the program itself ----------------------------------------------------------------------------------------------


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"awsllm {awsllm.__version__}\n", "")


def test_without_typer_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit, match=r"pip install 'awsllm\[cli\]'"):
        main(["--help"])


@pytest.mark.parametrize("arguments", [["--help"], ["models", "list"], ["chat", "--help"]])
def test_a_quick_command_loads_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    code = f"""
import sys
from awsllm.cli import main
try:
    main({arguments})
except SystemExit as left:
    assert not left.code
print("LOADED", *sys.modules)
"""
    environment = os.environ | {"AWSLLM_CACHE": str(tmp_path)}
    out = subprocess.run(
        [sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True, env=environment
    ).stdout
    loaded = set(out.partition("LOADED")[2].split())
    assert not loaded & {
        "torch",
        "numpy",
        "boto3",
        "botocore",
        "moto",
        "granian",
        "tenacity",
        "transformers",
    }


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "awsllm.cli", "models", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"AWSLLM_CACHE": str(tmp_path)},
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr as errors:
        text = errors.read()
    process.wait()
    assert b"Traceback" not in text


def test_a_terminal_is_not_steered_by_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(io.StringIO):
        tty = True

        def isatty(self) -> bool:
            return self.tty

    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    terminal.write("a\x1b]0;title\x07\tb\r\x9bc\n")
    assert screen.getvalue() == "a]0;title\tbc\n"
    screen.tty = False
    terminal.write("\x1b")
    assert screen.getvalue().endswith("\x1b")  # a file gets what the model said


# --- a conversation on a real terminal -------------------------------------------------------------------------------

PROGRAM = """
import fcntl, functools, itertools, sys, termios, time
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C typed there is a signal here
import awsllm, awsllm.client
from awsllm.errors import ThrottlingError
from awsllm.testing.scripted import ScriptedBackend
from awsllm.types import ContentBlockDelta, MessageStart, TextDelta

def endless(request):
    def events():
        yield MessageStart("assistant")
        for n in itertools.count():
            yield ContentBlockDelta(0, TextDelta(f"word{n} "))
            while n == 2:
                time.sleep(0.01)
    return events()

def count(request):
    last = request.messages[-2].text if len(request.messages) > 1 else None
    return f"turns: {len(request.messages)}, last answer: {last}"

def answer(request):
    match request.messages[-1].text:
        case "endless":
            return endless(request)
        case "fail":
            return ThrottlingError("too many requests", retryable=False)
        case _:
            return count(request)

backend = ScriptedBackend(answer)
awsllm.client.Client = functools.partial(awsllm.client.Client, backends={"local": backend})
from awsllm.cli import main
main(sys.argv[1:])
"""


class Pty:
    """A program on a terminal of its own."""

    def __init__(self, code: str, arguments: list[str], environment: dict[str, str]) -> None:
        import pty
        import termios

        self.fd, child = pty.openpty()
        termios.tcsetwinsize(child, (50, 1000))  # no line is broken
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=child,
            stdout=child,
            stderr=child,
            start_new_session=True,
            env=environment,
        )
        os.close(child)
        self.seen = ""

    def expect(self, pattern: str, nudge: str | None = None) -> str:
        """Read until the pattern comes; a minute of silence fails. ``nudge`` is typed in each silence."""
        while not (found := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self.fd], [], [], 2 if nudge else 60)
            if nudge and not ready:
                self.send(nudge)
                continue
            assert ready, f"no {pattern!r} in {self.seen!r}"
            try:
                data = os.read(self.fd, 4096)
            except OSError:  # Linux: the other side is closed
                data = b""
            assert data, f"ended without {pattern!r}: {self.seen!r}"
            self.seen += data.decode()
        before, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return before

    def send(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def ended(self, nudge: str | None = None) -> int:
        """Read to the end, for a program may wait until it is read, and give the exit code. ``nudge`` is typed in each
        silence: what is typed before the line editor listens is lost."""
        for _ in range(30):
            ready, _, _ = select.select([self.fd], [], [], 2)
            try:
                data = os.read(self.fd, 4096) if ready else None
            except OSError:  # Linux: the other side is closed
                break
            if data == b"":
                break
            self.seen += (data or b"").decode()
            if data is None and nudge:
                self.send(nudge)
        return self.process.wait(60)

    def ask(self, text: str) -> None:
        self.expect("> $")
        self.send(f"{text}\r")
        self.expect(re.escape(text))


@pytest.fixture
def on_terminal(tmp_path: Path) -> Iterator[Callable[..., Pty]]:
    if sys.platform == "win32":
        pytest.skip("no pty")
    environment = os.environ | {"AWSLLM_CACHE": str(tmp_path / "cache"), "TERM": "dumb", "PYTHONIOENCODING": "utf-8"}
    environment["PROMPT_TOOLKIT_NO_CPR"] = "1"  # nobody here says where the cursor is
    environment.pop("AWSLLM_MODEL", None)
    programs: list[Pty] = []

    def start(*arguments: str, **variables: str) -> Pty:
        programs.append(Pty(PROGRAM, list(arguments), environment | variables))
        return programs[-1]

    yield start
    for program in programs:
        if program.process.poll() is None:
            program.process.send_signal(signal.SIGKILL)
        program.process.wait()
        os.close(program.fd)


@pytest.fixture
def talk(on_terminal: Callable[..., Pty]) -> Pty:
    return on_terminal("chat")


def test_ctrl_c_ends_the_answer_to_a_prompt(on_terminal: Callable[..., Pty]) -> None:
    program = on_terminal("chat", "endless")
    program.expect("word2 ")
    program.send("\x03")
    assert program.ended() == 130
    assert "Traceback" not in program.seen


def test_ctrl_c_stops_the_answer_and_not_the_program(talk: Pty) -> None:
    talk.ask("endless")
    talk.expect("word2 ")
    talk.send("\x03")
    talk.expect(r"\(stopped\)")
    talk.ask("again")
    talk.expect(r"turns: 3, last answer: word0 word1 word2")
    talk.expect("> $")
    talk.send("\x04")
    assert talk.ended("\x04") == 0


def test_ctrl_c_at_the_prompt_drops_the_line(talk: Pty) -> None:
    talk.expect("> $")
    talk.send("half a li")
    talk.expect("half a li")
    talk.send("\x03")
    # A signal that comes right before CPython's readline waits for a key is seen with the next one only.
    talk.expect("Ctrl-D or /exit leaves", nudge="\x03")
    talk.ask("whole")
    talk.expect("turns: 1")
    talk.ask("/exit")
    assert talk.ended() == 0


def test_an_error_leaves_the_conversation_as_it_was(talk: Pty) -> None:
    talk.ask("one")
    talk.expect("turns: 1")
    talk.ask("fail")
    talk.expect("awsllm: .*too many requests")
    talk.ask("two")
    talk.expect("turns: 3, last answer: turns: 1")


def test_a_conversation_is_saved_forgotten_and_loaded(talk: Pty, tmp_path: Path) -> None:
    saved = tmp_path / "talk.json"
    talk.ask("one")
    talk.expect("turns: 1")
    talk.ask(f"/save {saved}")
    talk.expect(r"\(2 messages: ")
    talk.ask("/clear")
    talk.expect(r"\(forgotten\)")
    talk.ask("two")
    talk.expect("turns: 1")
    talk.ask(f"/load {saved}")
    talk.expect(r"\(2 messages: ")
    talk.ask("three")
    talk.expect("turns: 3, last answer: turns: 1, last answer: None")
    theirs = tmp_path / "plan.json"
    theirs.write_text("theirs")
    talk.ask(f"/save {theirs}")
    talk.expect("choose another name")
    assert theirs.read_text() == "theirs"
    messages = msgspec.json.decode(saved.read_bytes(), type=list[Message])
    assert messages == [Message.user("one"), Message.assistant("turns: 1, last answer: None")]


def test_commands_help_and_forgive(talk: Pty, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{}")
    talk.ask("/help")
    for name in ("/help", "/clear", "/save", "/load", "/exit"):
        talk.expect(name)
    talk.ask("/sav x")
    talk.expect(r"did you mean /save\?")
    talk.ask("/load")
    talk.expect("name a file")
    talk.ask(f"/load {tmp_path / 'absent.json'}")
    talk.expect("No such file")
    talk.ask(f"/load {tmp_path / 'bad.json'}")
    talk.expect("Expected `array`")
    talk.ask(" /slash")
    talk.expect("turns: 1")


def test_what_was_asked_is_remembered_for_the_next_time(talk: Pty, tmp_path: Path) -> None:
    talk.ask("first question")
    talk.expect("turns: 1")
    talk.expect("> $")
    talk.send("\x04")
    talk.ended("\x04")
    history = tmp_path / "cache" / "chat_history"
    assert "first question" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0


def test_files_go_into_the_first_turn(script: Any) -> None:
    from awsllm.cli.conversation import Conversation

    backend = script("one", "two")
    client = awsllm.Client(backends={"bedrock": backend})
    model = "bedrock:us.amazon.nova-lite-v1:0"
    Conversation(client, model, {}, [Image("png", Bytes(PNG))], read=typed("look", "again")).run()
    assert sent(backend).messages == (
        Message.user(Image("png", Bytes(PNG)), "look"),
        Message.assistant("one"),
        Message.user("again"),
    )


def typed(*texts: str) -> Callable[[], str]:
    """What reads these texts, and then finds that the user has left."""
    left = iter(texts)

    def read() -> str:
        if text := next(left, None):
            return text
        raise EOFError

    return read


def converse(backend: ScriptedBackend, *texts: str, model: str = "local:x") -> Any:
    from awsllm.cli.conversation import Conversation

    backends = dict.fromkeys(("local", "bedrock"), backend)
    talk = Conversation(awsllm.Client(backends=backends), model, {}, read=typed(*texts))
    talk.run()
    return talk


def test_pasted_lines_are_one_message(on_terminal: Callable[..., Pty]) -> None:
    talk = on_terminal("chat", TERM="xterm")
    talk.expect(">")
    talk.send("\x1b[200~one\ntwo\x1b[201~")
    talk.expect("two")
    talk.send("\r")
    talk.expect("turns: 1")
    talk.send("second\x1b\rline")
    talk.expect("line")
    talk.send("\r")
    talk.expect("turns: 3")
    talk.send('"""a\r')
    talk.expect("a")
    talk.send('b"""\r')
    talk.expect("turns: 5")
    talk.send("\x04")
    assert talk.ended("\x04") == 0


@pytest.mark.parametrize(
    ("text", "open_", "inner"),
    [
        ("plain", False, "plain"),
        ('"""', True, ""),
        ('"""one', True, "one"),
        ('"""one\ntwo"""', False, "one\ntwo"),
        ('"""\n  kept\n"""\n', False, "  kept"),
        ('say """this""" now', False, 'say """this""" now'),
    ],
)
def test_quotes_hold_several_lines(text: str, open_: bool, inner: str) -> None:
    assert prompting.is_open(text) is open_
    assert prompting.unquoted(text) == inner


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("", ""),
        ("one line", ""),
        ("one\n\ntwo", "one\n\n"),
        ("a\n\nb\n\n", "a\n\nb\n\n"),
        ("```\ncode\n\nmore", ""),
        ("```\ncode\n\n```\n\nafter", "```\ncode\n\n```\n\n"),
        ("text\n\n~~~py\nx\n\n", "text\n\n"),
        ("half a blank line\n ", ""),
    ],
)
def test_a_block_of_markdown_is_whole_at_a_blank_line_outside_code(text: str, whole: str) -> None:
    assert text[: rendering.finished(text)] == whole


def test_markdown_is_rendered_and_wrapped_at_words() -> None:
    from rich.console import Console

    screen = io.StringIO()
    console = Console(file=screen, width=24, force_terminal=True, color_system=None, force_interactive=False)
    with rendering.MarkdownView(console) as view:
        for piece in (
            "# A he",
            "ad\n\nwords that are many and wrap, ",
            "**bold**\n\n",
            "[a link](https://x.test/y)\x1b]0;",
        ):
            view.write(piece)
    text = screen.getvalue()
    assert "**" not in text
    assert "#" not in text
    assert all(len(re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", line)) <= 24 for line in text.splitlines())
    assert "\x1b]" not in text  # neither a title nor a hyperlink
    assert "https://x.test/y" in text.replace("\n", "")


def test_the_model_and_the_system_prompt_change_on_the_way(script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    backend = script("one", "two", "three")
    other = "qwen3-0.6b"
    refused = ["/model nonsense", "/model local:qwen9", "/model local:bge-small-en-v1.5"]
    talk = converse(backend, "a", f"/model local:{other}", "/system Be brief.", "b", *refused, "/system -", "c")
    assert [sent(backend, n).model for n in range(3)] == ["x", other, other]
    assert [sent(backend, n).system for n in range(3)] == [(), (Text("Be brief."),), ()]
    assert len(talk.messages) == 6
    err = capsys.readouterr().err
    assert "say where it runs" in err
    assert "no local model 'qwen9'" in err
    assert "local:bge-small-en-v1.5 makes vectors of texts; chat with local:smollm2" in err


@pytest.mark.parametrize(
    ("text", "size"),
    [("500M", 500_000_000), ("4G", 4 * 10**9), ("1.5GB", 1_500_000_000), ("2 GiB", 2**31), ("800k", 800_000), ("7", 7)],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    from awsllm.cli.serve import _bytes

    assert _bytes(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1G", "abc", "4T", "1e9", "nan", "inf", "4 G B", "\u0664G", "1" * 400])
def test_what_is_no_size_is_refused(text: str) -> None:
    from awsllm.cli.serve import _bytes

    with pytest.raises(ConfigurationError, match="a size such as 500M, 4GB or 4GiB"):
        _bytes(text)


def test_a_conversation_with_no_chat_model_does_not_begin(on_terminal: Callable[..., Pty]) -> None:
    talk = on_terminal("chat", "--model", "local:qwen9", TERM="xterm")
    talk.expect("no local model 'qwen9'")


def test_files_join_the_next_turn(script: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").write_text(name)
    (tmp_path / "a.png").write_bytes(PNG)
    backend = script("one", "two")
    files = [f"/document {tmp_path}/a/notes.txt", f"/document {tmp_path}/b/notes.txt", f"/image {tmp_path}/a.png"]
    converse(backend, *files, "/image absent.png", "look", "again", model="bedrock:amazon.nova-lite-v1:0")
    first, second, image, text = sent(backend, 0).messages[0].content
    assert isinstance(first, Document)
    assert isinstance(second, Document)
    assert first.name != second.name
    assert (image, text) == (Image("png", Bytes(PNG)), Text("look"))
    assert sent(backend, 1).messages[-1] == Message.user("again")


def test_the_last_question_is_asked_again(script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    refused = ThrottlingError("slow down", retryable=False)
    backend = script("first", "second", refused)
    talk = converse(backend, "/retry", "hi", "/retry", "/retry")
    assert talk.messages == [Message.user("hi"), Message.assistant("second")]
    assert [len(request.messages) for request in backend.requests] == [1, 1, 1]
    assert "nothing was asked yet" in capsys.readouterr().err


def test_what_was_used_is_told(script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    converse(script("one two", "three"), "hi", "there", "/usage")
    assert "(5 tokens in, 3 out; 4 messages)" in capsys.readouterr().err


def test_a_tool_of_the_users_runs(run: Run, script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_tools.py").write_text('def double(n: int) -> int:\n    """Twice n."""\n    return 2 * n\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    backend = script(ToolUse("t1", "double", {"n": 21}), "It is 42.")
    assert run("chat", "--tool", "my_tools:double", "Double 21") == (0, "It is 42.\n", "")
    assert "42" in str(sent(backend).messages[-1].content)
    for wrong in ("my_tools", "my_tools:absent", "absent_module:f", "my_tools:__doc__"):
        assert run("chat", "--tool", wrong, "hi").code == 2
    for broken, why in (("def (", "SyntaxError"), ("raise RuntimeError('boom')", "RuntimeError: boom")):
        (tmp_path / f"{why[:3]}_tools.py").write_text(broken)
        result = run("chat", "--tool", f"{why[:3]}_tools:f", "hi")
        assert (result.code, why in result.err, "Traceback" in result.err) == (2, True, False)


def test_an_answer_that_satisfies_a_schema(run: Run, script: Any, tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    for given in (json.dumps(schema), str(tmp_path / "schema.json")):
        script('{"n": 3}')
        result = run("chat", "--schema", given, "How many?")
        assert (result.code, json.loads(result.out)) == (0, {"n": 3})
    script('{"n": 3}')
    described = json.loads(run("chat", "--json", "--schema", json.dumps(schema), "How many?").out)
    assert described["output"] == {"n": 3}
    script("Three.")
    assert "output" not in json.loads(run("chat", "--json", "How many?").out)
    assert run("chat", "--schema", "absent.json", "hi").code == 2
    assert run("chat", "--schema", "{", "hi").code == 2


def test_an_answer_cut_short_names_the_flag_that_helps(run: Run, script: Any) -> None:
    script("{ one two three")
    result = run("chat", "--max-tokens", "2", "--schema", '{"type": "object"}', "hi")
    assert result.code == 1
    assert "raise --max-tokens" in result.err


def test_piped_bytes_that_are_not_text_do_not_stop_it() -> None:
    command = [sys.executable, "-m", "awsllm.cli", "chat", "--max-tokens", "1"]
    done = subprocess.run(command, input=b"hi \xff\xfe", capture_output=True, timeout=100)
    assert done.returncode == 0, done.stderr
