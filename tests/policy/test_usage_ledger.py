"""What calls used is counted by day, model and tags, whoever makes them; no prompt is."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import awsllm
from awsllm import AsyncClient, Client, ResponseCache, UsageLedger
from awsllm.errors import ConfigurationError, ModelTimeoutError, ThrottlingError, ValidationError
from awsllm.policy import write_behind
from awsllm.policy.tags import checked_tags, with_metadata
from awsllm.policy.usage_ledger import LedgerCounts, grouped
from awsllm.testing import AsyncScriptedBackend, Broken, ScriptedBackend, mock_aws

MODEL = "bedrock:amazon.nova-lite-v1:0"
QUIET: dict[str, Any] = {"temperature": 0, "max_tokens": 50}
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usage.db"


def rows_of(path: Path) -> list[awsllm.LedgerRow]:
    with closing(UsageLedger(path)) as ledger:
        return ledger.rows()


def test_calls_are_counted_by_model_and_tags(path: Path) -> None:
    backend = ScriptedBackend("one two three")
    with Client(backends={"bedrock": backend, "local": backend}, ledger=path, tags={"team": "a"}) as client:
        first = client.converse(MODEL, "hi there")
        client.converse(MODEL, "hi there", tags={"job": "nightly"})
        client.converse_stream(MODEL, "hi there", tags={"team": "b"}).response  # noqa: B018
        client.embed("bedrock:amazon.titan-embed-text-v2:0", ["some words"])
        client.converse("local:any", "hi")
        client.count_tokens(MODEL, "hi")
    found = {(row.model, tuple(row.tags.items())): row.counts for row in rows_of(path)}
    assert found[MODEL, (("team", "a"),)] == LedgerCounts(calls=1, input=2, output=3, cost=first.cost or 0.0)
    assert found[MODEL, (("job", "nightly"), ("team", "a"))].calls == 1
    assert found[MODEL, (("team", "b"),)] == LedgerCounts(calls=1, input=2, output=3, cost=first.cost or 0.0)
    assert found["bedrock:amazon.titan-embed-text-v2:0", (("team", "a"),)].input == 2
    assert found["local:any", (("team", "a"),)].unpriced == 0
    assert sum(counts.calls for counts in found.values()) == 5


def test_awaited_calls_are_counted_too(path: Path) -> None:
    async def run() -> None:
        backend = AsyncScriptedBackend("one two three")
        async with AsyncClient(backends={"bedrock": backend}, ledger=str(path)) as client:
            await client.converse(MODEL, "hi", tags={"a": "b"})
            async with client.converse_stream(MODEL, "hi", tags={"a": "b"}) as stream:
                await stream.response

    asyncio.run(run())
    (row,) = rows_of(path)
    assert (row.tags, row.counts.calls, row.counts.output) == ({"a": "b"}, 2, 6)


def test_kept_answers_are_counted_apart(path: Path) -> None:
    backend = ScriptedBackend("one two three")
    with Client(backends={"bedrock": backend}, ledger=path, response_cache=ResponseCache()) as client:
        cost = client.converse(MODEL, "hi", **QUIET).cost
        client.converse(MODEL, "hi", **QUIET)
        client.converse_stream(MODEL, "hi", **QUIET).response  # noqa: B018
    (row,) = rows_of(path)
    assert (row.counts.calls, row.counts.hits, row.counts.cost) == (1, 2, cost)
    assert row.counts.saved == pytest.approx(2 * (cost or 0))


def test_what_may_have_run_is_counted_as_failed_and_what_was_refused_is_not(path: Path) -> None:
    script = [ThrottlingError("slow"), ModelTimeoutError("late"), Broken("one two three", after=2)]
    policy = awsllm.Policy(max_attempts=1)
    with Client(backends={"bedrock": ScriptedBackend(script)}, ledger=path, policy=policy) as client:
        for _ in range(2):
            with pytest.raises(awsllm.ServiceError):
                client.converse(MODEL, "hi")
        with pytest.raises(awsllm.StreamError):
            client.converse_stream(MODEL, "hi").response  # noqa: B018
    (row,) = rows_of(path)
    assert row.counts == LedgerCounts(failed=2, unpriced=2)


def test_threads_and_processes_write_to_one_file(path: Path) -> None:
    program = (
        "import sys; from awsllm import Client; from awsllm.testing import ScriptedBackend\n"
        "with Client(backends={'bedrock': ScriptedBackend('one')}, ledger=sys.argv[1]) as client:\n"
        f"    for _ in range(20): client.converse({MODEL!r}, 'hi')"
    )
    running = subprocess.Popen([sys.executable, "-c", program, str(path)])
    with Client(backends={"bedrock": ScriptedBackend("one")}, ledger=path) as client, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: client.converse(MODEL, "hi"), range(100)))
    assert running.wait(60) == 0
    (row,) = rows_of(path)
    assert (row.counts.calls, row.counts.output) == (120, 120)


ENDINGS = {
    "at its end": "pass",
    "by SIGTERM": "import signal; os.kill(os.getpid(), signal.SIGTERM)",
    "by SIGTERM while it writes": "import signal\nwith ledger._turn: os.kill(os.getpid(), signal.SIGTERM)",
    "by an error": "raise ValueError",
    "in the child of a fork": "child = os.fork()\nif child: os.waitpid(child, 0)\nelse: client.converse(MODEL, 'hi')",
    "in a process of multiprocessing": "import multiprocessing\nchild = multiprocessing.get_context('fork').Process("
    "target=client.converse, args=(MODEL, 'hi'))\nchild.start(); child.join()",
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("ending", ENDINGS)
def test_no_count_is_lost_when_a_process_ends(path: Path, ending: str) -> None:
    program = (
        "import os, sys, time; from awsllm import Client, UsageLedger; from awsllm.policy import write_behind\n"
        "from awsllm.testing import ScriptedBackend\n"
        f"MODEL = {MODEL!r}; write_behind.DELAY = 3600; ledger = UsageLedger(sys.argv[1])\n"
        "client = Client(backends={'bedrock': ScriptedBackend('one')}, ledger=ledger); client.converse(MODEL, 'hi')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program + ENDINGS[ending], str(path)], check=False, stderr=subprocess.DEVNULL, timeout=60
    )
    assert done.returncode == (-15 if "SIGTERM" in ending else "error" in ending)
    (row,) = rows_of(path)
    assert row.counts.calls == (2 if ending.startswith("in ") else 1)


def test_a_program_that_handles_sigterm_goes_on_doing_so(path: Path) -> None:
    program = (
        "import os, signal, sys; from awsllm import Client; from awsllm.testing import ScriptedBackend\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('mine'))\n"
        "client = Client(backends={'bedrock': ScriptedBackend('one')}, ledger=sys.argv[1])\n"
        f"client.converse({MODEL!r}, 'hi'); os.kill(os.getpid(), signal.SIGTERM)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=True, capture_output=True, timeout=60)
    assert done.stdout == b"mine\n"
    assert rows_of(path)[0].counts.calls == 1


def test_calls_are_written_soon_and_a_function_of_lambdas_writes_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_behind, "DELAY", 0.01)
    with Client(backends={"bedrock": ScriptedBackend("x")}, ledger=path) as client:
        client.converse(MODEL, "hi")
        until = time.monotonic() + 30
        while not rows_of(path) and time.monotonic() < until:
            time.sleep(0.01)
        assert rows_of(path)[0].counts.calls == 1
    monkeypatch.setattr(write_behind, "DELAY", 3600)
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
    with Client(backends={"bedrock": ScriptedBackend("x")}, ledger=path) as client:
        client.converse(MODEL, "hi")
        assert rows_of(path)[0].counts.calls == 2


def test_what_cannot_be_written_is_written_later(path: Path) -> None:
    with closing(UsageLedger(path)) as ledger:
        with ledger._base.transaction() as base:
            base.execute("ALTER TABLE ledger RENAME TO elsewhere")
        ledger.count("m", {}, LedgerCounts(calls=1))
        ledger.flush()
        with ledger._base.transaction() as base:
            base.execute("ALTER TABLE elsewhere RENAME TO ledger")
        ledger.count("m", {}, LedgerCounts(calls=1))
    assert rows_of(path)[0].counts.calls == 2


def test_ids_of_requests_are_kept_where_asked_for(path: Path) -> None:
    with (
        mock_aws(reply="one two"),
        closing(UsageLedger(path, request_ids=True)) as ledger,
        Client(region="us-east-1", ledger=ledger, tags={"team": "a"}) as client,
    ):
        first = client.converse(MODEL, "hi")
        stream = client.converse_stream(MODEL, "hi")
        ids = {first.request_id, stream.response.request_id}
        kept = list(ledger.requests())
        assert {request.id for request in kept} == ids
        assert {(request.tags["team"], request.output, request.model) for request in kept} == {("a", 2, MODEL)}
        assert ledger.forget_requests("2000-01-01") == 0
        assert ledger.forget_requests("9999") == 2
        assert list(ledger.requests()) == []


def test_no_words_are_in_the_ledger(path: Path) -> None:
    with Client(backends={"bedrock": ScriptedBackend("an answer of canaries")}, ledger=path) as client:
        client.converse(MODEL, "a prompt of canaries")
    assert not any(b"canaries" in each.read_bytes() for each in path.parent.iterdir())


def test_a_ledger_that_cannot_be_written_fails_no_call(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = UsageLedger(path)
    with ledger._base.transaction() as base:
        base.execute("DROP TABLE ledger")
    with (
        caplog.at_level(logging.WARNING, "awsllm.policy"),
        Client(backends={"bedrock": ScriptedBackend("x")}, ledger=ledger) as client,
    ):
        for _ in range(2):
            assert client.converse(MODEL, "hi").text == "x"
            ledger.flush()
    assert [record.getMessage() for record in caplog.records] == [
        "the ledger cannot be written: OperationalError; calls are made"
    ]
    ledger.close()


def test_a_file_that_is_no_ledger_is_told_at_once(path: Path) -> None:
    path.write_text("notes, and no database at all" * 20)
    with pytest.raises(ConfigurationError, match=r"usage\.db cannot be used"):
        Client(ledger=path)


# --- sums ------------------------------------------------------------------------------------------------------------


def test_rows_are_chosen_by_day_and_tag_and_added_up(path: Path) -> None:
    now = [NOON]
    with closing(UsageLedger(path, clock=lambda: now[0])) as ledger:
        for day in range(3):
            now[0] = NOON + 86_400 * day
            for team in ("a", "b"):
                ledger.count("m", {"team": team}, LedgerCounts(calls=1, cost=0.5))
            ledger.count("n", {}, LedgerCounts(calls=1, unpriced=1))
        assert len(ledger.rows()) == 9
        assert {row.day for row in ledger.rows("2026-12-01", "2026-12-01")} == {"2026-12-01"}
        assert len(ledger.rows(tags={"team": "a"})) == 3
        rows = ledger.rows()
    assert grouped(rows, ["month"])["2026-12",] == LedgerCounts(calls=6, cost=2.0, unpriced=2)
    assert grouped(rows, ["tag:team"]) == {
        ("-",): LedgerCounts(calls=3, unpriced=3),
        ("a",): LedgerCounts(calls=3, cost=1.5),
        ("b",): LedgerCounts(calls=3, cost=1.5),
    }
    assert next(iter(grouped(rows, ["model", "day"]))) == ("m", "2026-11-30")
    assert grouped(rows, []) == {(): LedgerCounts(calls=9, cost=3.0, unpriced=3)}
    with pytest.raises(ValidationError, match="'week' is none of"):
        grouped(rows, ["week"])


# --- tags ------------------------------------------------------------------------------------------------------------


def test_tags_are_metadata_of_bedrocks_requests() -> None:
    backend = ScriptedBackend("x")
    with Client(backends={"bedrock": backend, "sagemaker": backend}, tags={"team": "a", "env": "prod"}) as client:
        client.converse(MODEL, "hi", request_metadata={"team": "mine", "id": "7"}, tags={"job": "j"})
        client.converse("sagemaker:e", "hi")
        client.converse("bedrock:openai.gpt-oss-20b-1:0", "hi", api="openai")
    metadata = [request.request_metadata for request in backend.requests]  # type: ignore[attr-defined]
    assert metadata == [{"team": "mine", "id": "7", "env": "prod", "job": "j"}, None, None]


def _headers_of(request: Any) -> list[Any]:
    from awsllm.backends.bedrock.families import CALLS

    calls_of: Any = CALLS
    made: Any = calls_of[type(request)](request)
    return [call.request.headers for call in getattr(made, "calls", (made,))]


def test_tags_are_metadata_of_what_is_invoked() -> None:
    """Judged by botocore's model: the header is InvokeModel's requestMetadata."""
    import botocore.session

    from awsllm.types.embedding import EmbedRequest
    from awsllm.types.media import ImageRequest
    from awsllm.types.reranking import RerankRequest

    service = botocore.session.get_session().get_service_model("bedrock-runtime")
    header = service.operation_model("InvokeModel").input_shape.members["requestMetadata"].serialization["name"]
    titan, tags = "amazon.titan-embed-text-v2:0", {"team": "a"}
    requests = (
        EmbedRequest(model=titan, texts=("a",)),
        RerankRequest(model="cohere.rerank-v3-5:0", query="q", documents=("a", "b")),
        ImageRequest(model="amazon.nova-canvas-v1:0", prompt="a cat"),
    )
    for request in requests:
        assert [sent[header] for sent in _headers_of(with_metadata(request, tags))] == ['{"team":"a"}']
        assert header not in _headers_of(request)[0]
    through_agents = RerankRequest(model="m", query="q", documents=("a",), api="agents")
    assert with_metadata(through_agents, tags) is through_agents


def test_metadata_never_passes_bedrocks_bound() -> None:
    backend = ScriptedBackend("x")
    theirs = {str(number): "x" for number in range(15)}
    with Client(backends={"bedrock": backend}, tags={"a": "1", "b": "2"}) as client:
        client.converse(MODEL, "hi", request_metadata=theirs)
    assert backend.requests[0].request_metadata == {**theirs, "a": "1"}  # type: ignore[attr-defined]


def test_tags_reach_the_service() -> None:
    seen: list[Any] = []

    def reply(request: Any) -> str:
        seen.append(request.request_metadata)
        return "x"

    with mock_aws(reply=reply), Client(region="us-east-1", tags={"team": "a"}) as client:
        client.converse(MODEL, "hi", tags={"job": "7"})
    assert seen == [{"team": "a", "job": "7"}]


@pytest.mark.parametrize(
    "tags",
    [
        ["a"],
        {"a": 1},
        {1: "a"},
        {"": "a"},
        {"a" * 257: "b"},
        {"a": "b" * 257},
        {"a": "line\x00"},
        {"ä": "b"},
        dict.fromkeys(map(str, range(17)), "x"),
    ],
)
def test_tags_are_such_as_bedrock_takes(tags: Any) -> None:
    with pytest.raises(ValidationError, match="tag"):
        checked_tags(tags)
    with pytest.raises(ValidationError, match="tag"):
        Client(backends={"bedrock": ScriptedBackend("x")}).converse(MODEL, "hi", tags=tags)
