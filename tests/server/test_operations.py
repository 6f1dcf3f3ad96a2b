"""A server that is looked after: TLS of its own, metrics, readiness, a log of who asked for what, and where it is."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from awsllm.errors import ConfigurationError
from awsllm.server.access_log import AccessLog
from awsllm.server.assembly import Settings
from awsllm.server.exchanges import Exchange, Journal, tell
from awsllm.server.http.tls import local_certificates
from awsllm.server.instance import Instance, instances, registered
from awsllm.server.record import RequestRecord
from awsllm.server.run import Running, started
from awsllm.server.work import Incoming, Reply
from awsllm.testing import AsyncScriptedBackend, Broken

KEY = "a-key-of-this-server"
NOVA = "us.amazon.nova-lite-v1:0"
HELLO: list[Any] = [{"role": "user", "content": [{"text": "What nobody may log"}]}]


@pytest.fixture
def server() -> Iterator[Running]:
    with started(Settings(backend=AsyncScriptedBackend("One two three."))) as server:
        yield server


def client(url: str, service: str = "bedrock-runtime", **options: Any) -> Any:
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": KEY}
    config = Config(retries={"total_max_attempts": 1})
    return boto3.client(service, "us-east-1", endpoint_url=url, config=config, **{**keys, **options})


def read(url: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {})) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


# --- TLS -------------------------------------------------------------------------------------------------------------


def test_a_bearer_token_is_sent_and_taken_over_tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWSLLM_CACHE", str(tmp_path))
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", KEY)
    with started(Settings(backend=AsyncScriptedBackend("Hi."), api_key=KEY), tls=True) as server:
        assert server.url.startswith("https://127.0.0.1:")
        bedrock = client(server.url, verify=str(server.authority))
        assert bedrock.converse(modelId=NOVA, messages=HELLO)["stopReason"] == "end_turn"
        strict = ssl.create_default_context(cafile=server.authority)
        for host in ("127.0.0.1", "localhost"):
            port = server.url.rpartition(":")[2]
            urllib.request.urlopen(f"https://{host}:{port}/health", context=strict).close()
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(f"{server.url}/health")
    assert [path.name for path in (tmp_path / "tls").glob("server-*")] == []
    assert (tmp_path / "tls" / "ca.key").stat().st_mode & 0o777 == 0o600


def test_the_authority_is_made_once_and_again_when_its_files_are_broken(tmp_path: Path) -> None:
    def authority() -> bytes:
        with local_certificates(tmp_path) as made:
            assert made.authority is not None
            return made.authority.read_bytes()

    first = authority()
    assert authority() == first
    (tmp_path / "ca.key").write_bytes(b"broken")
    assert authority() != first
    with pytest.raises(ConfigurationError, match="cannot be written"), local_certificates(tmp_path / "ca.pem"):
        pass


def test_the_authority_vouches_for_nobody_else(tmp_path: Path) -> None:
    from cryptography import x509

    with local_certificates(tmp_path) as made:
        assert made.authority is not None
        certificate = x509.load_pem_x509_certificate(made.authority.read_bytes())
    limits = certificate.extensions.get_extension_for_class(x509.NameConstraints)
    assert limits.critical
    names = [str(one.value) for one in limits.value.permitted_subtrees or ()]
    assert names == ["localhost", "host.docker.internal", "127.0.0.1/32", "::1/128"]


# --- metrics and readiness -------------------------------------------------------------------------------------------


def test_metrics_count_requests_and_tokens(server: Running) -> None:
    bedrock = client(server.url)
    bedrock.converse(modelId=NOVA, messages=HELLO)
    for _ in bedrock.converse_stream(modelId=NOVA, messages=HELLO)["stream"]:
        pass
    with pytest.raises(ClientError):
        bedrock.converse(modelId="no.such-model", messages=HELLO)
    client(server.url, "sagemaker").list_models()
    status, text = read(f"{server.url}/metrics")
    assert status == 200
    counts = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    called = 'service="bedrock-runtime",'
    assert counts[f'awsllm_requests_total{{operation="converse",{called}status="200"}}'] == "2.0"
    assert counts[f'awsllm_requests_total{{operation="other",{called}status="400"}}'] == "1.0"
    assert counts['awsllm_requests_total{operation="ListModels",service="sagemaker",status="200"}'] == "1.0"
    assert counts[f'awsllm_tokens_total{{kind="output",model="{NOVA}"}}'] == "6.0"
    assert counts[f'awsllm_tokens_total{{kind="input",model="{NOVA}"}}'] == "8.0"
    assert counts["awsllm_requests_in_flight"] == "1.0"
    assert "nobody may log" not in text


def test_metrics_take_the_key_and_readiness_none() -> None:
    with started(Settings(backend=AsyncScriptedBackend("Hi."), api_key=KEY, account=False)) as server:
        assert read(f"{server.url}/ready") == (200, '{"status":"ready"}')
        assert read(f"{server.url}/metrics")[0] == 403
        assert read(f"{server.url}/metrics", {"Authorization": f"Bearer {KEY}"})[0] == 200
        server.assembly.load.drain()
        assert read(f"{server.url}/ready")[0] == 503


def test_labels_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("awsllm.server.metrics._MODELS", 2)
    with started(Settings(backend=AsyncScriptedBackend("Hi."), account=False)) as server:
        bedrock = client(server.url)
        for version in range(5):
            bedrock.converse(modelId=f"amazon.nova-lite-v{version}:0", messages=HELLO)
        text = read(f"{server.url}/metrics")[1]
    assert 'awsllm_tokens_total{kind="output",model="other"} 3.0' in text


# --- the log ---------------------------------------------------------------------------------------------------------


def test_a_line_a_request_and_no_prompt(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file, started(Settings(backend=AsyncScriptedBackend(Broken("a b c d", 3)))) as server:
        server.assembly.watchers.append(AccessLog(file))
        stream = client(server.url).converse_stream(modelId=NOVA, messages=HELLO)["stream"]
        with pytest.raises(ClientError):
            list(stream)
        stream.close()
        with pytest.raises(ClientError):
            client(server.url).converse(modelId=NOVA, messages=[])
        read(f"{server.url}/health?token=secret")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["status"], line.get("error")) for line in lines] == [
        (200, "modelStreamErrorException"),
        (400, "ValidationException"),
        (200, None),
    ]
    assert lines[0]["path"] == f"/model/{NOVA.replace(':', '%3A')}/converse-stream"
    assert {"request_id", "seconds", "first_byte_seconds", "bytes", "model", "time"} <= lines[0].keys()
    assert "log" not in path.read_text().replace("nova", "")
    assert "secret" not in path.read_text()


def test_a_log_that_nobody_reads_ends_without_the_server() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as file:
        log = AccessLog(file)
        for _ in range(3):
            tell([log], Exchange(Incoming("GET", "/health")))


def test_an_exchange_that_is_over_holds_no_connection() -> None:
    """Its error's traceback would hold the frames that answered it; the server then waits for them when it stops."""
    exchange = Exchange(Incoming("GET", "/"))
    try:
        try:
            int("a")
        except ValueError as inner:
            raise ConfigurationError("b") from inner
    except ConfigurationError as error:
        exchange.error = error
    tell([], exchange)
    assert exchange.error is not None
    assert exchange.error.__traceback__ is None
    assert exchange.error.__cause__ is not None
    assert exchange.error.__cause__.__traceback__ is None


def test_a_journal_has_an_end() -> None:
    journal = Journal(most=3, events=10)
    for number in range(5):
        exchange = Exchange(Incoming("GET", "/health"))
        exchange.events.extend(range(number))
        tell([journal], exchange)
    kept = journal.after()
    assert [len(one.events) for one in kept] == [2, 3, 4]
    assert journal.after(kept[1].number) == kept[2:]
    big = Exchange(Incoming("GET", "/health"))
    for event in range(10_000):
        big.saw(event)
    tell([journal], big)
    assert journal.after() == [big]
    journal = Journal(size=100)
    for size in (10, 90, 20, 200):
        exchange = Exchange(Incoming("POST", "/", body=bytes(size)))
        exchange.reply = Reply(200, {}, b"12345")
        tell([journal], exchange)
        sizes = [len(one.incoming.body) for one in journal.after()]
        assert sizes == {10: [10], 90: [90], 20: [20], 200: [200]}[size]
    journal.clear()
    tell([journal], Exchange(Incoming("GET", "/")))
    tell([journal], Exchange(Incoming("GET", "/")))
    assert len(journal.after()) == 2


def test_a_record_has_an_end() -> None:
    """Requests are kept with their bodies, which may be large."""
    record = RequestRecord(most=3, size=100)
    for size in (10, 20, 30, 40, 80, 200):
        record(Exchange(Incoming("POST", "/", body=bytes(size))))
        kept = [len(one.incoming.body) for one in record.exchanges]
        known = {10: [10], 20: [10, 20], 30: [10, 20, 30], 40: [20, 30, 40], 80: [80], 200: [200]}
        assert kept == known[size]
    record.clear()
    record(Exchange(Incoming("POST", "/", body=bytes(90))))
    record(Exchange(Incoming("POST", "/", body=bytes(10))))
    assert len(record.exchanges) == 2


# --- where servers are -----------------------------------------------------------------------------------------------


def test_a_server_is_found_while_it_runs(tmp_path: Path) -> None:
    with registered(Instance(url="http://127.0.0.1:1"), tmp_path):
        (found,) = instances(tmp_path)
        assert (found.url, found.pid) == ("http://127.0.0.1:1", os.getpid())
        (file,) = tmp_path.glob("*.json")
        assert file.stat().st_mode & 0o777 == 0o600
        gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
        (tmp_path / "2.json").write_text(json.dumps({"url": "http://127.0.0.1:2", "pid": int(gone.stdout)}))
        (tmp_path / "3.json").write_text("{broken")
        assert instances(tmp_path) == [found]
    assert [path.name for path in tmp_path.glob("*.json")] == ["3.json"]
    with registered(Instance(url="http://127.0.0.1:1"), tmp_path / "3.json"):  # no folder
        pass
