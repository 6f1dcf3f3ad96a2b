"""Tools of real MCP servers, written with the official SDK, beside functions."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp")

import awsllm
from awsllm import types as t
from awsllm.errors import ConfigurationError, ConnectError
from awsllm.testing import AsyncScriptedBackend, ScriptedBackend
from awsllm.tools.function import ToolFunction
from awsllm.tools.loop import RunTools, run_tools, run_tools_async
from tests.support.mcp_server import PNG, server

COMMAND = [sys.executable, str(Path(__file__).parent.parent / "support" / "mcp_server.py")]
MODEL = "bedrock:us.amazon.nova-lite-v1:0"

Tools = tuple[ToolFunction, ...]


@pytest.fixture(scope="module")
def stdio() -> Iterator[Tools]:
    """The tools of a server in a process of its own."""
    with awsllm.mcp_tools(COMMAND) as tools:
        yield tools


def run(tools: Tools, name: str, /, **arguments: Any) -> t.ToolResult:
    functions = {tool.spec.name: tool for tool in tools}
    return run_tools(RunTools((t.ToolUse("u1", name, arguments),), functions))[0]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def text(result: t.ToolResult) -> str:
    return "".join(item.text for item in result.content if isinstance(item, t.Text))


# --- what the model is offered ---------------------------------------------------------------------------------------


def test_names_are_made_legal_and_schemas_plain(stdio: Tools) -> None:
    specs = {tool.spec.name: tool.spec for tool in stdio}
    assert specs["add"].description == "Add two numbers."
    assert specs["add"].input_schema == {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "default": 2}},
        "required": ["a"],
    }
    assert specs["list_all_names"].input_schema == {"type": "object", "properties": {}}
    assert specs["list_all_names"].description is None
    assert run(stdio, "list_all_names") == t.ToolResult("u1", (t.Text("Ann, Bob"),), "success")


def test_a_prefix_tells_servers_apart() -> None:
    with awsllm.mcp_tools(server, prefix="demo_") as tools:  # in this process
        assert all(tool.spec.name.startswith("demo_") for tool in tools)
        assert run(tools, "demo_add", a=1).content == (t.Json({"result": 3}),)


# --- what comes back -------------------------------------------------------------------------------------------------


def test_results_become_what_a_tool_result_holds(stdio: Tools) -> None:
    assert run(stdio, "add", a=1, b=4) == t.ToolResult("u1", (t.Json({"result": 5}),), "success")
    assert run(stdio, "picture").content == (t.Image("png", t.Bytes(PNG)),)
    assert run(stdio, "report").content == (t.Text("Here."), t.Document("q3 report", t.Bytes(b"%PDF-"), "pdf"))


def test_what_no_result_can_hold_is_told_in_words(stdio: Tools) -> None:
    assert [item.text for item in run(stdio, "mixture").content if isinstance(item, t.Text)] == [
        "A text.",
        "(3 bytes of an unknown kind, which cannot be handed over)",
        "plan: file:///plan.md",
        "(3 bytes of audio/wav, which cannot be handed over)",
    ]
    assert run(stdio, "nothing").content == (t.Text("(no output)"),)


def test_failures_are_results_that_the_model_reads(stdio: Tools) -> None:
    failed = run(stdio, "fail")
    assert (failed.tool_use_id, failed.status) == ("u1", "error")
    assert "Error executing tool fail" in text(failed)
    wrong = run(stdio, "add", a="x")
    assert wrong.status == "error"
    assert "valid integer" in text(wrong)


def test_a_server_sees_no_more_variables_than_it_is_given(stdio: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with awsllm.mcp_tools(COMMAND, env={"GIVEN": "yes"}) as tools:
        assert run(tools, "variable", name="GIVEN").content == (t.Json({"result": "yes"}),)
        assert run(tools, "variable", name="AWS_SECRET_ACCESS_KEY").content == (t.Json({"result": "unset"}),)


def test_a_server_that_does_not_answer_in_time_and_one_that_dies() -> None:
    with awsllm.mcp_tools(COMMAND, timeout=0.5) as tools:
        late = run(tools, "wait")
        assert late.status == "error"
        assert "timed out" in text(late)
        for name in ("die", "list_all_names"):
            gone = run(tools, name)
            assert gone.status == "error"
            assert "Connection closed" in text(gone)


def test_a_context_that_was_left_says_so() -> None:
    with awsllm.mcp_tools(server) as tools:
        assert run(tools, "add", a=1).status == "success"
    result = run(tools, "add", a=1)
    assert result.status == "error"


# --- in a conversation -----------------------------------------------------------------------------------------------


def today() -> str:
    """The day."""
    return "Monday"


def test_they_stand_beside_functions(stdio: Tools) -> None:
    calls = [t.ToolUse("u1", "add", {"a": 1}), t.ToolUse("u2", "today", {})]
    backend = ScriptedBackend([calls, "Done."])
    response = awsllm.Client(backends={"bedrock": backend}).converse(MODEL, "Hi", tools=[*stdio, today])
    assert response.text == "Done."
    assert response.messages[1] == t.Message.user(
        t.ToolResult("u1", (t.Json({"result": 3}),), "success"), t.ToolResult("u2", (t.Text("Monday"),), "success")
    )


def test_approval_holds_for_them_too(stdio: Tools) -> None:
    backend = ScriptedBackend([t.ToolUse("u1", "die", {}), "Done."])
    client = awsllm.Client(backends={"bedrock": backend})
    response = client.converse(MODEL, "Hi", tools=list(stdio), approve=lambda call: call.name != "die")
    assert response.text == "Done."
    assert run(stdio, "add", a=1).status == "success"  # it lives


def test_the_async_client_opens_and_calls_them_without_stopping_its_loop() -> None:
    async def main() -> awsllm.ConverseResponse:
        backend = AsyncScriptedBackend([t.ToolUse("u1", "add", {"a": 1}), "Done."])
        async with (
            awsllm.mcp_tools(server) as tools,
            awsllm.AsyncClient(backends={"bedrock": backend}) as client,
        ):
            return await client.converse(MODEL, "Hi", tools=list(tools))

    assert asyncio.run(main()).messages[1].content == (t.ToolResult("u1", (t.Json({"result": 3}),), "success"),)


def test_a_call_that_is_cancelled_is_cancelled_at_the_server(stdio: Tools) -> None:
    functions = {tool.spec.name: tool for tool in stdio}

    def until(count: str) -> None:
        deadline = time.monotonic() + 30
        while run(stdio, count).content == (t.Json({"result": 0}),) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert run(stdio, count).content == (t.Json({"result": 1}),)

    async def main() -> None:
        task = asyncio.create_task(run_tools_async(RunTools((t.ToolUse("u1", "wait", {}),), functions)))
        await asyncio.to_thread(until, "waits")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    until("cancellations")


# --- over HTTP, and what cannot be reached ---------------------------------------------------------------------------


def test_streamable_http() -> None:
    port = free_port()
    process = subprocess.Popen([*COMMAND, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}/mcp"
        deadline = time.monotonic() + 60
        while True:
            try:
                with awsllm.mcp_tools(url, headers={"Authorization": "Bearer x"}) as tools:
                    assert run(tools, "add", a=1).content == (t.Json({"result": 3}),)
                break
            except ConnectError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        with awsllm.mcp_tools(url) as tools:
            assert run(tools, "picture").content == (t.Image("png", t.Bytes(PNG)),)
    finally:
        process.kill()
        process.wait()


def test_what_cannot_be_reached_is_named_without_what_may_be_secret() -> None:
    with pytest.raises(ConfigurationError, match="the MCP server /nonexistent/server cannot be started"):
        awsllm.mcp_tools("/nonexistent/server --token s3cret").__enter__()
    with pytest.raises(ConnectError) as caught:
        awsllm.mcp_tools(f"http://127.0.0.1:{free_port()}/mcp?key=s3cret").__enter__()
    assert "s3cret" not in str(caught.value)
    with pytest.raises(ConnectError, match="does not answer"):
        awsllm.mcp_tools([sys.executable, "-c", "raise SystemExit(2)"]).__enter__()
    with pytest.raises(ConfigurationError, match="this is empty"):
        awsllm.mcp_tools([])
