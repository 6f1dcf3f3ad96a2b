"""The call log: what is kept of a call, how it is bounded, who may read it, and that nothing is lost."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from awsllm import AsyncClient, CallLog, CallQuery, CallStore, Client, KeptCall, ResponseCache, UsageLedger, image
from awsllm.errors import ConfigurationError, ServerError, ThrottlingError, ValidationError
from awsllm.policy.call_log import store as store_module
from awsllm.policy.call_log import writer
from awsllm.testing import AsyncScriptedBackend, Broken, ScriptedBackend
from awsllm.types import ConverseRequest, ConverseResponse, Message, Text, ToolResult, ToolSpec, ToolUse, Usage

MODEL = "bedrock:us.amazon.nova-lite-v1:0"
PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489") + bytes(300)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls.db"


def client(path: Path | CallLog, *replies: Any, **options: Any) -> Client:
    return Client("us-east-1", log=path, backends={"bedrock": ScriptedBackend(list(replies))}, **options)


def kept(path: Path, query: CallQuery | None = None) -> list[KeptCall]:
    store = CallStore(path)
    try:
        return [store.get(row.id) for row in store.find(query or CallQuery())]
    finally:
        store.close()


def media(path: Path) -> Callable[[str], bytes | None]:
    return CallStore(path).media


def test_nothing_is_kept_unless_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Client("us-east-1", backends={"bedrock": ScriptedBackend("Hi")}) as quiet:
        assert quiet._observers is None
        quiet.converse(MODEL, "Hello")
    assert not list(tmp_path.iterdir())


def test_a_call_is_kept_whole(path: Path) -> None:
    with client(path, "Hi there", tags={"app": "shop"}) as asked:
        answer = asked.converse(MODEL, "Hello", system="Be brief.", max_tokens=20, tags={"team": "a"})
    (call,) = kept(path)
    assert (call.operation, call.model, call.outcome, call.streamed) == ("converse", MODEL, "answered", False)
    assert dict(call.tags) == {"app": "shop", "team": "a"}
    assert call.cost == answer.cost
    assert call.usage == answer.usage
    assert call.duration > 0
    assert not call.redacted
    request = call.request_value(media(path))
    assert isinstance(request, ConverseRequest)
    assert (request.messages[-1].text, request.inference_config.max_tokens) == ("Hello", 20)
    response = call.response_value(media(path))
    assert isinstance(response, ConverseResponse)
    assert response.text == "Hi there"


def test_a_failed_call_is_kept_with_its_error_and_attempts(path: Path) -> None:
    busy = ThrottlingError("slow down", code="ThrottlingException", status=429)
    with client(path, busy, "at last", ValidationError("no", code="ValidationException", status=400)) as asked:
        asked.converse(MODEL, "Hello")
        with pytest.raises(ValidationError):
            asked.converse(MODEL, "Hello again")
    failed, answered = kept(path)
    assert [attempt.error for attempt in answered.attempts] == ["ThrottlingException", None]
    assert (failed.outcome, failed.response) == ("failed", None)
    assert failed.error is not None
    assert (failed.error.type, failed.error.code, failed.error.status) == (
        "ValidationError",
        "ValidationException",
        400,
    )


def test_streams_are_kept_with_their_events_if_asked(path: Path) -> None:
    broken = Broken("one two three", after=2, error=ServerError("cut", code="x", status=500))
    log = CallLog(path, events=True)
    with client(log, "Hello you", "a long answer", broken) as asked:
        with asked.converse_stream(MODEL, "Hello") as stream:
            events = list(stream)
        with asked.converse_stream(MODEL, "Go") as stream:
            next(iter(stream))
        with pytest.raises(Exception, match="cut"), asked.converse_stream(MODEL, "Break") as stream:
            list(stream)
    cut, left, whole = kept(path)
    assert whole.streamed
    assert whole.first is not None
    assert 0 < whole.first <= whole.duration
    assert list(whole.stream_events(media(path))) == events
    times = [at for at, _ in whole.events]
    assert times == sorted(times)
    assert left.outcome == "left"
    assert cut.outcome == "failed"
    assert cut.error is not None


def test_async_calls_and_turns_of_a_loop_are_calls(path: Path) -> None:
    def double(number: int) -> int:
        """Twice the number."""
        return 2 * number

    use = {"toolUse": {"name": "double", "input": {"number": 2}}}

    async def ask() -> None:
        backend = AsyncScriptedBackend([use, "four"])
        async with AsyncClient("us-east-1", log=path, backends={"bedrock": backend}) as asked:
            await asked.converse(MODEL, "What is twice two?", tools=[double])

    asyncio.run(ask())
    last, first = kept(path)
    assert first.parent == last.parent
    assert first.parent is not None
    assert "toolResult" in str(last.request) or "tool_result" in str(last.request)


def test_redaction_is_for_the_log_and_not_for_the_model(path: Path) -> None:
    backend = ScriptedBackend("bob@example.com it is")
    with Client("us-east-1", log=path, redact=["email"], backends={"bedrock": backend}) as asked:
        answer = asked.converse(MODEL, "Is it ann@example.com?", tools=[{"toolSpec": _LOOKUP}])
    assert backend.requests[0].messages[-1].text == "Is it ann@example.com?"  # type: ignore[attr-defined]
    assert answer.text == "bob@example.com it is"
    (call,) = kept(path)
    assert call.redacted
    assert b"example.com" not in path.read_bytes()
    assert call.request["messages"][-1]["content"][0]["text"] == "Is it [email]?"
    assert call.request["tools"][0]["name"] == "lookup"


_LOOKUP = {
    "name": "lookup",
    "description": "Of carl@example.com.",
    "inputSchema": {"json": {"type": "object", "properties": {"id": {"type": "string"}}}},
}


def test_a_streams_pieces_are_redacted_joined(path: Path) -> None:
    pieces = ScriptedBackend(["write to ann@example.com today"])
    log = CallLog(path, events=True, redact="email")
    asked = Client("us-east-1", log=log, backends={"bedrock": pieces})
    with asked, asked.converse_stream(MODEL, "Whom?") as stream:
        list(stream)
    (call,) = kept(path)
    assert "example" not in str(call.events)
    text = "".join(event["delta"]["text"] for _, event in call.events if event["kind"] == "content_block_delta")
    assert text == "write to [email] today"


def test_ids_in_a_tools_input_are_content(path: Path) -> None:
    use = {"toolUse": {"name": "lookup", "input": {"id": "ann@example.com", "type": "bob@example.com"}}}
    with client(path, use, redact="email") as asked:
        asked.converse(MODEL, "Look it up", tools=[{"toolSpec": _LOOKUP}])
    (call,) = kept(path)
    assert call.response["message"]["content"][0]["input"] == {"id": "[email]", "type": "[email]"}


def test_a_hook_that_raises_withholds_and_breaks_no_call(path: Path) -> None:
    def hook(text: str) -> str:
        raise RuntimeError(text)

    with client(path, "secret answer", redact=hook) as asked:
        assert asked.converse(MODEL, "secret question").text == "secret answer"
    (call,) = kept(path)
    assert "secret" not in str(call)
    assert call.request["messages"][0]["role"] == "user"


def test_credentials_are_never_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = "plantedSecretKeyOfFortyCharacters0123456"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", planted)
    with client(path, f"{planted} AKIAABCDEFGHIJKLMNOP", redact=lambda text: text) as asked:
        asked.converse(MODEL, f"my key is {planted}")
    for file in path.parent.iterdir():
        assert planted.encode() not in file.read_bytes()
    assert planted not in str(kept(path))
    assert "AKIAABCDEFGHIJKLMNOP" not in str(kept(path))


def test_media_stand_once_and_go_with_their_last_call(path: Path) -> None:
    with client(path, "a", "b") as asked:
        for _ in range(2):
            asked.converse(MODEL, [image(PNG), "What is it?"])
    with sqlite3.connect(path) as base:
        assert base.execute("SELECT COUNT(*), LENGTH(MAX(data)) FROM media").fetchone() == (1, len(PNG))
    request = kept(path)[0].request_value(media(path))
    assert request.messages[0].content[0].source.data == PNG  # type: ignore[attr-defined]
    store = CallStore(path)
    assert store.prune(max_age=0) == 2
    with sqlite3.connect(path) as base:
        assert base.execute("SELECT COUNT(*) FROM media").fetchone() == (0,)


def test_media_that_a_redaction_cannot_see_are_left_out(path: Path) -> None:
    with client(path, "a", redact="email") as asked:
        asked.converse(MODEL, [image(PNG), "What is it?"])
    (call,) = kept(path)
    assert call.redacted
    with pytest.raises(ConfigurationError, match="were not kept"):
        call.request_value(media(path))


def test_the_file_is_its_owners_alone(path: Path) -> None:
    with client(path, "a") as asked:
        asked.converse(MODEL, "x")
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_the_oldest_go_when_there_is_too_much(path: Path) -> None:
    log = CallLog(path, max_bytes=400_000)
    noise = os.urandom(6_000).hex()
    with client(log, *["x"] * 60) as asked:
        for number in range(60):
            asked.converse(MODEL, f"{number} {noise[number:]}")
    calls = kept(path, CallQuery(limit=100))
    assert 5 < len(calls) < 60
    assert calls[0].request["messages"][0]["content"][0]["text"].startswith("59 ")
    assert CallStore(path).size() < 520_000
    for _ in range(5):  # what is dropped makes room for what comes
        with client(log, *["x"] * 20) as asked:
            for number in range(20):
                asked.converse(MODEL, f"{number} {noise[number:]}")
    assert CallStore(path).size() < 520_000


def test_what_is_too_old_goes(path: Path) -> None:
    with client(CallLog(path, max_age=0.000001), "a", "b") as asked:
        asked.converse(MODEL, "x")
    assert kept(path) == []


@pytest.mark.parametrize("indexed", [True, False])
def test_search_finds_words_with_and_without_an_index(
    path: Path, indexed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not indexed:
        monkeypatch.setattr(store_module, "_make_index", lambda base: False)
    with client(path, "The capital is Paris.", "Grüße aus Köln", "100% of it") as asked:
        for question in ("France?", "Deutschland?", "How much?"):
            asked.converse(MODEL, question)
    store = CallStore(path)

    def found(text: str) -> list[str]:
        return [row.begins for row in store.find(CallQuery(text=text))]

    assert found("capital paris") == ["France?"]
    assert found("deutsch") == ["Deutschland?"]
    assert found("apita") == ["France?"]  # the middle of a word
    assert found("100%") == ["How much?"]
    assert found('"quoted" OR') == []


def test_a_query_chooses(path: Path) -> None:
    failure = ValidationError("no", code="ValidationException", status=400)
    with client(path, "a", "b", failure) as asked:
        asked.converse(MODEL, "one", tags={"team": "a"})
        asked.converse("bedrock:us.amazon.nova-pro-v1:0", "two", tags={"team": "b"})
        with pytest.raises(ValidationError):
            asked.converse(MODEL, "three")
    store = CallStore(path)

    def begins(**members: Any) -> list[str]:
        return [row.begins for row in store.find(CallQuery(**members))]

    assert begins(model="nova-pro") == ["two"]
    assert begins(model="nova_pro") == []  # no wildcard
    assert begins(tags={"team": "a"}) == ["one"]
    assert begins(errors=True) == ["three"]
    assert begins(slow=60) == []
    assert begins(limit=2) == ["three", "two"]


def test_ids_are_known_by_how_they_begin(path: Path) -> None:
    with client(path, "a") as asked:
        asked.converse(MODEL, "x")
    store = CallStore(path)
    (row,) = store.find(CallQuery())
    assert store.get(row.id[:5]).id == row.id
    for prefix, why in (("abc", "4 characters"), ("zzzz", "no call"), ("%%%%", "4 characters")):
        with pytest.raises(ConfigurationError, match=why):
            store.get(prefix)


# --- written behind --------------------------------------------------------------------------------------------------


def test_a_call_does_not_wait_for_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, gate = CallLog(path), threading.Event()
    real = log.store.add

    def stalled(entries: Any) -> None:
        gate.wait(30)
        real(entries)

    monkeypatch.setattr(log.store, "add", stalled)
    asked = client(log, "a", "b")
    asked.converse(MODEL, "x")
    assert asked.converse(MODEL, "y").text == "b"
    assert kept(path) == []
    gate.set()
    asked.close()
    assert len(kept(path)) == 2


def test_a_disk_that_refuses_fails_no_call(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = CallLog(path)

    def full(entries: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full: my prompt")

    monkeypatch.setattr(log.store, "add", full)
    with caplog.at_level(logging.WARNING, "awsllm.policy"), client(log, "a", "b") as asked:
        asked.converse(MODEL, "x")
        log.flush()
        asked.converse(MODEL, "y")
    assert [record.getMessage() for record in caplog.records] == [
        "the call log cannot be written (OperationalError); calls are made"
    ]


def test_a_queue_that_is_full_drops_and_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_MOST_WAITING", 3)
    gate, written = threading.Event(), []

    def write(items: list[Any]) -> None:
        gate.wait(30)
        written.extend(items)

    behind = writer.BehindWriter(write)
    with caplog.at_level(logging.WARNING, "awsllm.policy"):
        for number in range(400):
            behind.put(number)
        gate.set()
        behind.stop()
    assert behind.dropped > 0
    assert len(written) == 400 - behind.dropped
    assert len(caplog.records) == 1


def test_a_closed_log_begins_anew(path: Path) -> None:
    log = CallLog(path)
    with client(log, "a") as asked:
        asked.converse(MODEL, "x")
    with client(log, "b") as asked:
        asked.converse(MODEL, "y")
    assert len(kept(path)) == 2


_PROGRAM = """
import sys, time
from awsllm import Client
from awsllm.testing import ScriptedBackend
client = Client("us-east-1", log=sys.argv[1], backends={"bedrock": ScriptedBackend("Hi")})
for number in range(20):
    client.converse("bedrock:us.amazon.nova-lite-v1:0", f"question {number}")
print("made", flush=True)
if sys.argv[2] == "wait":
    time.sleep(60)
"""


def _program(path: Path, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", _PROGRAM, path, how], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("how", ["exit", "wait"])
def test_nothing_is_lost_at_the_end_of_a_program(path: Path, how: str) -> None:
    """It ends by itself without closing, or by SIGTERM, of which it dies as it would have."""
    program = _program(path, how)
    assert program.stdout is not None
    assert program.stdout.readline() == "made\n"
    if how == "wait":
        program.terminate()
    program.communicate(timeout=60)
    assert program.returncode == (0 if how == "exit" else -signal.SIGTERM)
    assert len(kept(path, CallQuery(limit=100))) == 20


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no such end")
def test_a_killed_program_leaves_a_whole_file(path: Path) -> None:
    """What was written stays, and others go on writing."""
    endless = _PROGRAM.replace("range(20)", "iter(int, 1)").replace(
        "client.converse", "print(flush=True); client.converse"
    )
    program = subprocess.Popen([sys.executable, "-c", endless, path, "exit"], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    while not path.exists() or not CallStore(path).find(CallQuery()):
        assert program.stdout.readline() == "\n"
    program.kill()
    program.communicate(timeout=60)
    with sqlite3.connect(path) as base:
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        before = base.execute("SELECT COUNT(*) FROM calls").fetchone()[0]
    with client(path, "a") as asked:
        asked.converse(MODEL, "x")
    assert len(kept(path, CallQuery(limit=100_000))) == before + 1


def test_an_answer_from_a_cache_says_so(path: Path) -> None:
    with client(path, "a", response_cache=ResponseCache()) as asked:
        for _ in range(2):
            asked.converse(MODEL, "x", temperature=0)
    again, first = kept(path)
    assert (first.cached, again.cached) == (None, "exact")
    assert again.cost == 0


def _ask_in_child(asked: Client) -> None:
    asked.converse(MODEL, "from the child")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_forked_processes_write_beside_each_other(path: Path) -> None:
    log = CallLog(path)
    with client(log, *["x"] * 10) as asked:
        asked.converse(MODEL, "from the parent")
        log.flush()
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=_ask_in_child, args=(asked,)) for _ in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join(60)
        assert [child.exitcode for child in children] == [0, 0, 0]
        asked.converse(MODEL, "from the parent again")
    begins = sorted(row.begins for row in CallStore(path).find(CallQuery()))
    assert begins == ["from the child"] * 3 + ["from the parent", "from the parent again"]


# --- where it is asked for -------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _where(**options: Any) -> Path | None:
    with Client("us-east-1", backends={"bedrock": ScriptedBackend("x")}, **options) as asked:
        observers = asked._observers
        return None if observers is None else observers.observers[0].path  # type: ignore[attr-defined]


def test_the_option_goes_before_the_variable_and_that_before_the_file(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _where() is None
    assert _where(log=True) == home / "state" / "awsllm" / "calls.db"
    settings = home / "awsllm.toml"
    settings.write_text('[log]\npath = "calls.db"\nevents = true\nredact = ["email"]\n')
    assert _where(configuration=settings) == Path("calls.db")
    monkeypatch.setenv("AWSLLM_LOG", str(home / "named.db"))
    assert _where() == _where(configuration=settings) == home / "named.db"
    monkeypatch.setenv("AWSLLM_LOG", "1")
    assert _where() == home / "state" / "awsllm" / "calls.db"
    assert _where(configuration=settings) == Path("calls.db")
    monkeypatch.setenv("AWSLLM_LOG", "off")
    assert _where() is None
    assert _where(configuration=settings) is None
    assert _where(log=home / "given.db") == home / "given.db"
    assert _where(log=False, configuration=settings) is None


def test_a_log_that_is_wrong_is_told(home: Path) -> None:
    with pytest.raises(ConfigurationError, match="a path, True, False or a CallLog"):
        _where(log=3)
    with pytest.raises(ConfigurationError, match="above 0"):
        CallLog(home / "x.db", max_bytes=0)
    (home / "text.db").write_text("this is no database, whatever its name says" * 100)
    with pytest.raises(ConfigurationError, match="cannot be used as a database"):
        _where(log=home / "text.db")
    settings = home / "awsllm.toml"
    settings.write_text('[log]\npath = "a.db"\nmax_byte = 3\n')
    with pytest.raises(ConfigurationError, match=r"line 3, log.max_byte: .*max_bytes"):
        _where(configuration=settings)
    settings.write_text('[log]\nmax_bytes = "many"\n')
    with pytest.raises(ConfigurationError, match=r"line 2, log.max_bytes: .*int"):
        _where(configuration=settings)


def test_a_call_that_cannot_be_written_down_harms_no_other(path: Path) -> None:
    """Half a surrogate pair is no UTF-8, a count of a thousand digits no number of SQLite's."""
    many = ConverseResponse(
        message=Message("assistant", (Text("much"),)),
        stop_reason="end_turn",
        usage=Usage(input_tokens=10**30, output_tokens=10**30),
    )
    log = CallLog(path)
    with client(log, "one", "two", many, "four") as made:
        for question in ("first", "half \ud800 a pair", "third", "fourth"):
            made.converse(MODEL, question, max_tokens=10)
            log.flush()
        assert log._writer._thread is not None
        assert log._writer._thread.is_alive()
    log.close()
    store = CallStore(path)
    assert [row.begins for row in store.find(CallQuery())] == ["fourth", "third", "half ? a pair", "first"]
    assert store.find(CallQuery(text="third"))[0].output == 2**63 - 1
    store.close()


def test_a_call_that_the_store_refuses_is_missed_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    insert = CallStore._insert

    def refusing(self: CallStore, base: Any, entry: Any) -> None:
        if entry.begins == "bad":
            raise OverflowError("the words of the call")
        insert(self, base, entry)

    monkeypatch.setattr(CallStore, "_insert", refusing)
    with client(path, "a", "b", "c") as made:
        for question in ("good", "bad", "better"):
            made.converse(MODEL, question, max_tokens=10)
    assert {call.request["messages"][0]["content"][0]["text"] for call in kept(path)} == {"good", "better"}
    assert "misses a call that cannot be written down (OverflowError)" in caplog.text
    assert "the words" not in caplog.text


def test_nothing_that_is_searched_for_is_syntax(path: Path) -> None:
    with client(path, "a") as made:
        made.converse(MODEL, 'say "x" OR 100% [it]', max_tokens=10)
    store = CallStore(path)
    for text in (
        '"',
        "*",
        "a\0b",
        "\0",
        "x" * 200_000,
        "y " * 5000,
        "NEAR(",
        "words:",
        "-a",
        "\ud800",
        "\\",
        "^a",
        "'",
    ):
        assert isinstance(store.find(CallQuery(text=text)), list)
    for text in ('"x"', "OR", "100%", "[it]"):
        assert store.find(CallQuery(text=text)), text
    assert not store.find(CallQuery(text="1_0"))
    store.close()


def test_a_text_among_numbers_is_content(path: Path) -> None:
    use = ToolUse("use-1", "look", {"row": [1.5, "ann@example.com", "AKIAABCDEFGHIJKLMNOP"], "card": 4111111111111111})
    with client(path, "a", redact=True) as made:
        turns = [Message("user", (Text("Hi"),)), Message("assistant", (use,))]
        result = Message("user", (ToolResult("use-1", (Text("ok"),)),))
        made.converse(
            MODEL, [*turns, result], max_tokens=10, tools=[ToolSpec(name="look", input_schema={"type": "object"})]
        )
    (call,) = kept(path)
    assert "ann@" not in str(call)
    assert "AKIAABCDEFGHIJKLMNOP" not in str(call)
    assert "4111111111111111" not in str(call)


@pytest.mark.skipif(os.name != "posix", reason="rights of files are POSIX's")
def test_a_link_to_nothing_makes_a_file_of_its_owner(tmp_path: Path) -> None:
    (tmp_path / "calls.db").symlink_to(tmp_path / "elsewhere.db")
    with client(tmp_path / "calls.db", "a") as made:
        made.converse(MODEL, "Hi", max_tokens=10)
    assert stat.S_IMODE((tmp_path / "elsewhere.db").stat().st_mode) == 0o600


@pytest.mark.skipif(os.name != "posix", reason="rights of files are POSIX's")
def test_prompts_are_not_put_into_a_file_that_another_made(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever makes a file in a folder of everybody's first may read it."""
    path.touch(mode=0o666)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    mine, roots = path.stat().st_uid, path.stat().st_uid == 0
    if not roots:  # a file of root's is no stranger's
        with pytest.raises(ConfigurationError, match="belongs to another user"):
            CallLog(path)
    monkeypatch.setattr(os, "stat", lambda *_, **__: os.stat_result((0o100666, 0, 0, 1, 4242, 0, 0, 0, 0, 0)))
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        CallLog(path)
    monkeypatch.undo()
    assert mine == path.stat().st_uid
    CallLog(path).close()


def test_a_call_that_swells_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes of a file of somebody else's may stand for all memory that there is."""
    monkeypatch.setattr(store_module, "_LONGEST_CALL", 100_000)
    with client(path, "a") as made:
        made.converse(MODEL, "Hi", max_tokens=10)
    store = CallStore(path)
    (row,) = store.find(CallQuery())
    for whole in (zlib.compress(b'{"id": "' + b" " * 200_000), zlib.compress(b"[" * 50_000), zlib.compress(b"{}")[:-5]):
        with store._base.transaction() as base:
            base.execute("UPDATE calls SET whole = ?", (whole,))
        with pytest.raises(ConfigurationError, match="damaged"):
            store.get(row.id)
    store.close()


@pytest.mark.skipif(os.name != "posix", reason="no SIGTERM")
@pytest.mark.parametrize("options", ['ledger="u.db", log="c.db"', 'log="c.db", ledger="u.db"'])
def test_sigterm_ends_a_log_and_a_ledger_alike(options: str, tmp_path: Path) -> None:
    program = f"""
import os, signal, awsllm
from awsllm.testing import ScriptedBackend
client = awsllm.Client(backends={{"bedrock": ScriptedBackend("hi")}}, region="us-east-1", {options})
for _ in range(5):
    client.converse("bedrock:amazon.nova-lite-v1:0", "Hi", max_tokens=5)
os.kill(os.getpid(), signal.SIGTERM)
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False)
    assert ended.returncode == -signal.SIGTERM
    assert len(list(CallStore(tmp_path / "c.db").calls(CallQuery()))) == 5
    assert sum(row.counts.calls for row in UsageLedger(tmp_path / "u.db").rows()) == 5
