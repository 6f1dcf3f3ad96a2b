"""The loop over the Runtime API: what it answers, streams, reports and survives; AWS's own client is the peer."""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from awsllm.errors import ThrottlingError
from awsllm.lambdas import runtime as module
from awsllm.lambdas.http.stream_head import CONTENT_TYPE, StreamHead, split_head
from awsllm.lambdas.runtime import Runtime, RuntimeApiError
from tests.support.runtime_api import AWS, OWN, PATIENCE, RuntimeApi, runtime

SCRIPT = Path(module.__file__).parent / "data" / "awsllm-stream"
Serve = Callable[[Any], RuntimeApi]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """A Runtime API whose invocations a handler of the test answers, in a loop on a thread."""
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
    threads = []
    with RuntimeApi() as api:

        def begin(handler: Any) -> RuntimeApi:
            made = types.ModuleType("awsllm_test_function")
            made.handler = handler  # type: ignore[attr-defined]
            monkeypatch.setitem(sys.modules, made.__name__, made)
            threads.append(threading.Thread(target=run, args=[f"{made.__name__}.handler"]))
            threads[-1].start()
            return api

        def run(name: str) -> None:
            with pytest.raises(RuntimeApiError):  # the API has closed
                Runtime(api.address).run(name)

        yield begin
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


# --- answers that come whole -----------------------------------------------------------------------------------------


def test_what_a_handler_returns_is_answered_as_json(serve: Serve) -> None:
    def handler(event: Any, context: Any) -> Any:
        return {"event": event, "left": context.get_remaining_time_in_millis(), "text": "é\ud800", "n": Decimal("1.5")}

    invoked = serve(handler).invoke({"a": [1]}, timeout=20).wait(PATIENCE)
    assert (invoked.outcome, invoked.headers["content-type"]) == ("response", "application/json")
    answer = invoked.json()
    assert 0 < answer.pop("left") <= 20_000
    assert answer == {"event": {"a": [1]}, "text": "é\ud800", "n": 1.5}


def test_the_context_is_lambdas(serve: Serve) -> None:
    def handler(event: Any, context: Any) -> Any:
        found = [context.aws_request_id, context.invoked_function_arn, os.environ["_X_AMZN_TRACE_ID"]]
        return [*found, context.function_name, context.client_context, context.identity]

    api = serve(handler)
    first = api.invoke({}, client_context='{"custom": {"a": 1}}', cognito_identity="no JSON").wait(PATIENCE)
    assert first.json() == [first.request_id, api.arn, first.trace_id, "f", {"custom": {"a": 1}}, None]
    second = api.invoke({}).wait(PATIENCE)
    assert second.json()[:3] == [second.request_id, api.arn, second.trace_id]
    assert first.trace_id != second.trace_id


def test_bytes_are_answered_as_they_are(serve: Serve) -> None:
    assert serve(lambda event, context: b"\0\1").invoke({}).wait(PATIENCE).body == b"\0\1"


def test_an_error_tells_its_class_and_places_and_no_foreign_words(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    def handler(event: Any, context: Any) -> Any:
        raise ValueError("secret prompt")

    invoked = serve(handler).invoke({"prompt": "secret prompt"}).wait(PATIENCE)
    assert (invoked.outcome, invoked.headers["lambda-runtime-function-error-type"]) == ("error", "Runtime.ValueError")
    error = invoked.json()
    assert (error["errorType"], error["requestId"]) == ("ValueError", invoked.request_id)
    assert "in handler" in error["stackTrace"][-1]
    logged = capsys.readouterr().out
    assert json.loads(logged)["error"] == "ValueError"
    assert "secret" not in logged + invoked.body.decode()


def test_an_error_of_awsllm_says_what_it_says(serve: Serve) -> None:
    def handler(event: Any, context: Any) -> Any:
        raise ThrottlingError("too many tokens", code="ThrottlingException")

    error = serve(handler).invoke({}).wait(PATIENCE).json()
    assert (error["errorType"], error["errorMessage"]) == ("ThrottlingError", "too many tokens")


@pytest.mark.parametrize(
    ("event", "answer", "kind"),
    [
        (b"{", None, "Runtime.UnmarshalError"),
        (b"{}", object(), "Runtime.MarshalError"),
        (b"{}", "x" * (6 * 1024 * 1024), "Runtime.OversizedError"),
    ],
    ids=["no JSON", "nothing that JSON has", "too long"],
)
def test_what_cannot_be_answered_is_told(serve: Serve, event: bytes, answer: Any, kind: str) -> None:
    api = serve(lambda event, context: answer if event == {} else "fine")
    invoked = api.invoke(event).wait(PATIENCE)
    assert (invoked.outcome, invoked.headers["lambda-runtime-function-error-type"]) == ("error", kind)
    assert api.invoke([]).wait(PATIENCE).json() == "fine"  # and the next is answered


def test_what_a_caller_nests_too_deeply_ends_no_process(serve: Serve) -> None:
    api = serve(lambda event, context: [event, context.client_context])
    deep = "[" * 50_000 + "]" * 50_000
    assert api.invoke(1, client_context=deep[:2600]).wait(PATIENCE).json() == [1, None]
    failed = api.invoke(deep.encode()).wait(PATIENCE)
    assert failed.headers["lambda-runtime-function-error-type"] == "Runtime.UnmarshalError"
    assert api.invoke(2).wait(PATIENCE).json() == [2, None]


class Ошибка(Exception):
    pass


@pytest.mark.parametrize("streams", [False, True])
def test_an_error_of_any_name_is_told(serve: Serve, streams: bool) -> None:
    def pieces() -> Iterator[str]:
        yield "a"
        raise Ошибка

    def handler(event: Any, context: Any) -> Any:
        if event == "well":
            return event
        if streams:
            return pieces()
        raise Ошибка

    api = serve(handler)
    told = api.invoke({}).wait(PATIENCE)
    assert (told.trailers if streams else told.headers)["lambda-runtime-function-error-type"] == "Runtime.Error"
    assert streams or told.json()["errorType"] == "Ошибка"
    assert api.invoke("well").wait(PATIENCE).json() == "well"


def test_a_process_that_is_to_end_ends_though_its_caller_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM comes amid a stream whose caller has gone: it must not be lost with him."""
    monkeypatch.setattr(module._Streaming, "end", _left)
    made = types.ModuleType("awsllm_test_function")

    def handler(event: Any, context: Any) -> Iterator[str]:
        yield "a"
        raise SystemExit(0)

    made.handler = handler  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, made.__name__, made)
    with RuntimeApi() as api:
        api.invoke({})
        with pytest.raises(SystemExit):
            Runtime(api.address).run(f"{made.__name__}.handler")


def _left(*_: Any) -> int:
    raise module.CallerLeftError


@pytest.mark.parametrize("answer", ["whole", iter(["streamed"]), ValueError()], ids=["whole", "streamed", "failed"])
def test_an_answer_carries_the_id_of_its_invocation(serve: Serve, answer: Any) -> None:
    def handler(event: Any, context: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    invoked = serve(handler).invoke({}).wait(PATIENCE)
    assert invoked.headers["lambda-runtime-invocation-id"] == invoked.invocation_id


def test_an_answer_that_comes_too_late_is_no_reason_to_stop(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    gate = threading.Event()
    api = serve(lambda event, context: gate.wait(PATIENCE))
    late = api.invoke({})
    while late.began is None:
        time.sleep(0.001)
    late.give_up("its time is over")
    gate.set()
    assert api.invoke({}).wait(PATIENCE).json() is True
    assert json.loads(capsys.readouterr().out)["status"] == 410


def test_a_refused_response_is_logged_and_the_next_is_answered(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "_MAX_BUFFERED", 1 << 30)
    api = serve(lambda event, context: "x" * event)
    assert api.invoke(7 << 20).wait(PATIENCE).reason == "Function.ResponseSizeTooLarge"
    assert api.invoke(1).wait(PATIENCE).json() == "x"
    assert json.loads(capsys.readouterr().out)["status"] == 413


# --- streams ---------------------------------------------------------------------------------------------------------


def test_a_stream_is_a_head_and_a_chunk_for_each_piece(serve: Serve) -> None:
    gates = {name: threading.Event() for name in ("first", "second")}

    def handler(event: Any, context: Any) -> Iterator[Any]:
        yield StreamHead(201, {"content-type": "text/plain"}, ("a=b",))
        gates["first"].wait(PATIENCE)
        yield "é"
        yield ""
        gates["second"].wait(PATIENCE)
        yield b"\xff"

    invoked = serve(handler).invoke({})
    chunks = invoked.stream(PATIENCE)
    head = split_head(next(chunks))  # it comes before the first piece is there
    assert head == (StreamHead(201, {"content-type": "text/plain"}, ("a=b",)), b"")
    gates["first"].set()
    assert next(chunks) == "é".encode()
    assert invoked.outcome is None
    gates["second"].set()
    assert list(chunks) == [b"\xff"]
    assert invoked.wait(PATIENCE).outcome == "response"
    assert invoked.trailers == {}
    headers = invoked.headers
    assert headers["content-type"] == CONTENT_TYPE
    assert headers["transfer-encoding"] == "chunked"
    assert headers["lambda-runtime-function-response-mode"] == "streaming"
    assert headers["trailer"] == "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body"


def test_a_stream_without_a_head_is_bytes(serve: Serve) -> None:
    invoked = serve(lambda event, context: iter(["a", "b"])).invoke({}).wait(PATIENCE)
    assert (invoked.headers["content-type"], [one.data for one in invoked.chunks]) == (
        "application/octet-stream",
        [b"a", b"b"],
    )


def test_an_empty_stream_is_an_answer_of_nothing(serve: Serve) -> None:
    assert serve(lambda event, context: iter(())).invoke({}).wait(PATIENCE).json() is None


def test_what_fails_before_the_first_piece_is_an_error_of_the_invocation(serve: Serve) -> None:
    def handler(event: Any, context: Any) -> Iterator[Any]:
        if event == {}:
            raise ThrottlingError("not now")
        yield

    invoked = serve(handler).invoke({}).wait(PATIENCE)
    assert (invoked.outcome, invoked.json()["errorType"]) == ("error", "ThrottlingError")


@pytest.mark.parametrize(
    ("error", "kind"),
    [(KeyError("secret prompt"), "KeyError"), (OSError("secret prompt"), "OSError")],
    ids=lambda value: type(value).__name__,
)
def test_what_fails_later_ends_the_stream_with_trailers(serve: Serve, error: Exception, kind: str) -> None:
    def handler(event: Any, context: Any) -> Iterator[Any]:
        yield StreamHead()
        yield "a"
        raise error

    api = serve(handler)
    invoked = api.invoke({}).wait(PATIENCE)
    assert (invoked.outcome, [one.data for one in invoked.chunks][1:]) == ("response", [b"a"])
    assert invoked.trailers["lambda-runtime-function-error-type"] == f"Runtime.{kind}"
    told = json.loads(base64.b64decode(invoked.trailers["lambda-runtime-function-error-body"]))
    assert (told["errorType"], told["requestId"]) == (kind, invoked.request_id)
    assert "secret" not in json.dumps(told)
    assert api.invoke({}).wait(PATIENCE).outcome == "response"  # on the same connection


def test_what_is_neither_text_nor_bytes_ends_the_stream(serve: Serve) -> None:
    invoked = serve(lambda event, context: iter(["a", 1])).invoke({}).wait(PATIENCE)
    assert invoked.trailers["lambda-runtime-function-error-type"] == "Runtime.TypeError"


def test_a_stream_over_the_limit_ends_with_trailers(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_STREAMED", 10)
    invoked = serve(lambda event, context: iter(["a" * 10, "b"])).invoke({}).wait(PATIENCE)
    assert invoked.body == b"a" * 10
    assert invoked.trailers["lambda-runtime-function-error-type"] == "Runtime.OversizedError"


def test_a_caller_that_leaves_closes_the_generator(serve: Serve) -> None:
    closed, gate = threading.Semaphore(0), threading.Event()

    def handler(event: Any, context: Any) -> Iterator[Any]:
        try:
            yield StreamHead()
            gate.wait(PATIENCE)
            while True:
                yield "more"
        finally:
            closed.release()

    api = serve(handler)
    invoked = api.invoke({})
    next(invoked.stream(PATIENCE))
    invoked.leave()
    assert invoked.wait(PATIENCE).outcome == "cut"
    gate.set()
    assert closed.acquire(timeout=PATIENCE)
    gate.clear()
    again = api.invoke({})  # on a new connection
    next(again.stream(PATIENCE))
    again.leave()
    gate.set()
    assert closed.acquire(timeout=PATIENCE)


# --- beginning and ending --------------------------------------------------------------------------------------------

FUNCTION = """
import logging, os, sys
from awsllm.lambdas.http.stream_head import StreamHead

def stream(event, context):
    try:
        yield StreamHead()
        while True:
            yield "."
            import time; time.sleep(0.01)
    finally:
        print("closed", flush=True)

def whole(event, context):
    return {"trace": os.environ["_X_AMZN_TRACE_ID"], "event": event, "arn": context.invoked_function_arn}

def logs(event, context):
    print("printed")
    logging.getLogger().info("told %s", event)

def fail(event, context):
    raise LookupError("x")
"""


@pytest.fixture
def function(tmp_path: Path) -> Path:
    (tmp_path / "function.py").write_text(FUNCTION)
    (tmp_path / "broken.py").write_text("def")
    (tmp_path / "needy.py").write_text("import there_is_no_such_module")
    return tmp_path


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_sigterm_ends_a_stream_with_trailers_and_the_process(function: Path) -> None:
    with RuntimeApi() as api, runtime(api, "function.stream", path=function) as process:
        invoked = api.invoke({})
        chunks = invoked.stream(PATIENCE)
        assert [next(chunks)[-8:], next(chunks)] == [b"\0" * 8, b"."]
        process.send_signal(signal.SIGTERM)
        assert invoked.wait(PATIENCE).trailers["lambda-runtime-function-error-type"] == "Runtime.SystemExit"
        output, _ = process.communicate(timeout=PATIENCE)
        assert (process.returncode, "closed" in output) == (0, True)


@pytest.mark.skipif(find_spec(AWS) is None, reason="AWS's client is for Linux")
def test_awss_client_and_the_own_loop_answer_alike(function: Path) -> None:
    answers = []
    for client in (AWS, OWN):
        with RuntimeApi() as api, runtime(api, "function.whole", client=client, path=function):
            invoked = api.invoke({"é": [1.5, None]}).wait(PATIENCE)
            assert invoked.json() == {"trace": invoked.trace_id, "event": {"é": [1.5, None]}, "arn": api.arn}
            assert invoked.headers["lambda-runtime-invocation-id"] == invoked.invocation_id
            answers.append((invoked.outcome, invoked.headers["content-type"]))
    assert answers[0] == answers[1]


@pytest.mark.skipif(sys.platform == "win32", reason="a shell's script")
def test_the_wrapper_script_starts_the_loop_in_place_of_the_managed_runtime(function: Path) -> None:
    """As Lambda starts it: with the interpreter's path, and the arguments of AWS's own runtime."""
    root = Path(module.__file__).parents[2]
    with RuntimeApi() as api:
        variables = {**os.environ, **api.environment("function.whole"), "LAMBDA_TASK_ROOT": str(function)}
        variables["PYTHONPATH"] = str(root)
        command = [str(SCRIPT), sys.executable, "/var/runtime/bootstrap.py"]
        with subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL) as process:
            assert api.invoke({}).wait(PATIENCE).outcome == "response"
            process.send_signal(signal.SIGTERM)  # the shell is gone: it was replaced
            assert process.wait(PATIENCE) == 0


def test_what_a_function_logs_is_heard(function: Path) -> None:
    with (
        RuntimeApi() as api,
        runtime(api, "function.logs", path=function, env={"AWS_LAMBDA_LOG_LEVEL": "INFO"}) as process,
    ):
        api.invoke(1).wait(PATIENCE)
        process.terminate()
        output, _ = process.communicate(timeout=PATIENCE)
    printed, logged = output.splitlines()
    assert (printed, logged.split("\t")[0::2]) == ("printed", ["[INFO]", "told 1"])


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        ("function.none", "Runtime.HandlerNotFound"),
        ("nowhere.handler", "Runtime.ImportModuleError"),
        ("needy.handler", "Runtime.ImportModuleError"),
        ("broken.handler", "Runtime.UserCodeSyntaxError"),
        ("handler", "Runtime.MalformedHandlerName"),
    ],
)
def test_a_function_that_cannot_begin_says_so(
    function: Path, handler: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(function))
    with RuntimeApi() as api:
        with pytest.raises(SystemExit) as left:
            Runtime(api.address).run(handler)
        assert left.value.code == 1
        assert api.init_error is not None
        assert (api.init_error["errorType"], api.init_error["header"]) == (kind, kind)


def test_hooks_run_around_the_snapshot(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    import snapshot_restore_py as hooks

    seen: list[Any] = []
    monkeypatch.setattr(hooks, "_before_snapshot_registry", [])
    monkeypatch.setattr(hooks, "_after_restore_registry", [])
    for n in (1, 2):
        hooks.register_before_snapshot(seen.append, f"before {n}")
        hooks.register_after_restore(seen.append, f"after {n}")
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    api = serve(lambda event, context: seen)
    api.restored.clear()
    invoked = api.invoke({})
    while "/2018-06-01/runtime/restore/next" not in api.calls:
        time.sleep(0.001)
    assert seen[:2] == ["before 2", "before 1"]
    api.restored.set()
    assert invoked.wait(PATIENCE).json() == ["before 2", "before 1", "after 1", "after 2"]


@pytest.mark.parametrize("when", ["before_snapshot", "after_restore"])
def test_a_hook_that_fails_is_reported(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import snapshot_restore_py as hooks

    monkeypatch.setattr(hooks, "_before_snapshot_registry", [])
    monkeypatch.setattr(hooks, "_after_restore_registry", [])
    getattr(hooks, f"register_{when}")({}.__getitem__, "a")
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    with RuntimeApi() as api:
        with pytest.raises(SystemExit):
            Runtime(api.address).run("json.dumps")
        told = api.init_error if when == "before_snapshot" else api.restore_error
    assert told is not None
    assert told["header"] == f"Runtime.{when.title().replace('_', '')}Error"
    assert told["errorType"] == "KeyError"


def test_without_a_runtime_api_the_loop_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_LAMBDA_RUNTIME_API", raising=False)
    monkeypatch.setattr(module, "_prepare_process", lambda: None)
    with pytest.raises(SystemExit, match="awsllm lambda invoke"):
        module.main(["a.b"])
