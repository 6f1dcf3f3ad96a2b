"""An MCP server over Lambda, judged by the official SDK's client in both eras of the protocol."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("mcp")

from hypothesis import given
from hypothesis import strategies as st
from mcp import Client, MCPError
from mcp_types import methods
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

import awsllm
from awsllm.errors import ConfigurationError, ThrottlingError
from awsllm.lambdas import mcp_handler
from awsllm.lambdas.mcp import HANDSHAKE_VERSIONS, MODERN_VERSIONS
from awsllm.testing import ScriptedBackend, mock_aws
from awsllm.tools.loop import RunTools, run_tools
from awsllm.types import Bytes, Document, Image, Text, ToolUse
from tests.support.front_door import function_url
from tests.support.lambdas import FakeContext, answered, event
from tests.support.runtime_api import AWS, PATIENCE, RuntimeApi, runtime

MODEL = "bedrock:amazon.nova-lite-v1:0"


def add(a: int, b: int = 2) -> int:
    """Add two numbers."""
    return a + b


def table() -> dict[str, Any]:
    return {"rows": [1, 2]}


def media() -> list[Any]:
    return [Text("Here."), Image("png", Bytes(b"\x89PNG")), Document("q 3", Bytes(b"%PDF-"), "pdf")]


async def later() -> str:
    await asyncio.sleep(0)
    return "done"


def broken() -> str:
    raise ValueError("password=hunter2")


TOOLS: list[Any] = [add, table, media, later, broken]


def scripted(reply: Any) -> awsllm.Client:
    return awsllm.Client(backends={"bedrock": ScriptedBackend(reply)}, policy=awsllm.Policy(max_attempts=1))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    handler = mcp_handler(MODEL, tools=TOOLS, client=scripted("Forty-two."), name="demo", instructions="Add things.")
    with function_url(handler) as address:
        yield address


# --- as the official client sees it ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["legacy", "auto", "2026-07-28"])
def test_the_official_client_uses_it(url: str, mode: Any) -> None:
    async def use() -> None:
        async with Client(f"{url}/mcp", mode=mode) as client:
            listed = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert list(listed) == ["add", "table", "media", "later", "broken", "ask_model"]
            assert listed["add"].description == "Add two numbers."
            assert listed["add"].input_schema["required"] == ["a"]
            summed = await client.call_tool("add", {"a": 40})
            assert (summed.is_error, summed.structured_content) == (False, {"result": 42})
            rows = await client.call_tool("table", {})
            assert rows.structured_content == {"rows": [1, 2]}
            assert json.loads(rows.content[0].text) == {"rows": [1, 2]}
            kinds = [part.type for part in (await client.call_tool("media", {})).content]
            assert kinds == ["text", "image", "resource"]
            assert (await client.call_tool("later", {})).content[0].text == "done"
            wrong = await client.call_tool("add", {"a": "many"})
            assert wrong.is_error
            assert "invalid arguments: a" in wrong.content[0].text
            failed = await client.call_tool("broken", {})
            assert (failed.is_error, failed.content[0].text) == (True, "ValueError")
            answered = await client.call_tool("ask_model", {"prompt": "What is it?"})
            assert answered.content[0].text == "Forty-two."
            with pytest.raises(MCPError, match="no such tool"):
                await client.call_tool("nothing", {})

    asyncio.run(use())


def test_awsllms_own_client_uses_it(url: str) -> None:
    with awsllm.mcp_tools(f"{url}/mcp") as tools:
        functions = {tool.spec.name: tool for tool in tools}
        (result,) = run_tools(RunTools((ToolUse("u", "add", {"a": 1}),), functions))
    assert result.content == (awsllm.Json({"result": 3}),)


def test_who_it_is_and_how_to_use_it(url: str) -> None:
    async def use(mode: Any) -> Any:
        async with Client(url, mode=mode) as client:
            return client.server_info.name, client.server_info.version, client.instructions, client.protocol_version

    assert asyncio.run(use("legacy")) == ("demo", awsllm.__version__, "Add things.", "2025-11-25")
    assert asyncio.run(use("auto")) == ("demo", awsllm.__version__, "Add things.", "2026-07-28")


def test_the_versions_are_those_of_the_sdk() -> None:
    assert set(HANDSHAKE_VERSIONS) == set(HANDSHAKE_PROTOCOL_VERSIONS)
    assert set(MODERN_VERSIONS) == set(MODERN_PROTOCOL_VERSIONS)


# --- message by message ----------------------------------------------------------------------------------------------

HANDLER = mcp_handler(MODEL, tools=TOOLS, client=scripted("Forty-two."))
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


def send(body: Any, handler: Any = HANDLER, *, method: str = "POST", **headers: str) -> tuple[int, Any]:
    """Status and JSON, None where there is none."""
    text = body if isinstance(body, str) else json.dumps(body)
    front = event("rest", body=text, httpMethod=method, multiValueHeaders=None, path="/mcp")
    front["headers"] = {name.replace("_", "-"): value for name, value in headers.items()}
    reply = handler(front, FakeContext())
    return reply["statusCode"], json.loads(reply["body"]) if reply["body"] else None


def rpc(method: str, params: Any = None, number: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, **({} if params is None else {"params": params})}


def modern(method: str, params: Any = None, **headers: str) -> tuple[int, Any]:
    body = rpc(method, {**(params or {}), "_meta": META})
    return send(body, **{"mcp_protocol_version": "2026-07-28", "mcp_method": method, **headers})


@pytest.mark.parametrize(
    ("asked", "given_out"), [*((version, version) for version in HANDSHAKE_VERSIONS), ("1999-01-01", "2025-11-25")]
)
def test_a_version_is_agreed_on(asked: str, given_out: str) -> None:
    params = {"protocolVersion": asked, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
    status, told = send(rpc("initialize", params))
    assert (status, told["result"]["protocolVersion"]) == (200, given_out)
    methods.validate_server_result("initialize", given_out, told["result"])


def test_results_are_those_of_each_eras_schema() -> None:
    for version in HANDSHAKE_VERSIONS[:2]:
        for method, params in (("tools/list", None), ("tools/call", {"name": "table"}), ("ping", None)):
            status, told = send(rpc(method, params), mcp_protocol_version=version)
            assert status == 200
            methods.validate_server_result(method, version, told["result"])
    for method, params, headers in (
        ("server/discover", None, {}),
        ("tools/list", None, {}),
        ("tools/call", {"name": "media"}, {"mcp_name": "media"}),
    ):
        status, told = modern(method, params, **headers)
        assert status == 200
        methods.validate_server_result(method, "2026-07-28", told["result"])
    assert send(rpc("ping"))[1]["result"] == {}


@pytest.mark.parametrize("version", [None, "2025-06-18", "2026-07-28"])
def test_a_notification_is_acknowledged(version: str | None) -> None:
    headers = {} if version is None else {"mcp_protocol_version": version}
    for method in ("notifications/initialized", "notifications/cancelled", "notifications/anything"):
        assert send({"jsonrpc": "2.0", "method": method}, **headers) == (202, None)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("", 400, -32700),
        ("{", 400, -32700),
        ("[" * 100_000, 400, -32700),
        ([], 400, -32600),
        ([rpc("ping"), rpc("ping")], 400, -32600),
        ("1", 400, -32600),
        ({"jsonrpc": "2.0", "id": 1, "result": {}}, 400, -32600),
        ({"id": 1, "method": "ping"}, 400, -32600),
        (rpc("ping", number=None), 400, -32600),
        (rpc("ping", number=1.5), 400, -32600),
        (rpc("ping", number=True), 400, -32600),
        (rpc("ping", []), 400, -32602),
        (rpc("tools/call", {"name": "nothing"}), 400, -32602),
        (rpc("tools/call", {"name": ["add"]}), 400, -32602),
        (rpc("tools/call"), 400, -32602),
        (rpc("tools/call", {"name": "add", "arguments": [1]}), 400, -32602),
        (rpc("prompts/list"), 200, -32601),
        (rpc("server/discover"), 200, -32601),
        (rpc("tools/list", {"_meta": META}), 400, -32020),  # of the new era, without its headers
    ],
)
def test_what_is_wrong_is_an_error_of_json_rpc(body: Any, status: int, code: int) -> None:
    answered, told = send(body)
    assert (answered, told["error"]["code"], told["jsonrpc"]) == (status, code, "2.0")
    assert told["id"] in (1, None)


def test_a_batch_is_refused_with_its_reason() -> None:
    assert "2025-06-18" in send([rpc("ping")])[1]["error"]["message"]


def test_the_new_eras_headers_say_what_the_body_says() -> None:
    assert modern("tools/list", mcp_method="tools/call")[1]["error"]["code"] == -32020
    assert modern("tools/call", {"name": "add", "arguments": {"a": 1}}, mcp_name="table")[1]["error"]["code"] == -32020
    assert modern("tools/call", {"name": "table"})[1]["error"]["code"] == -32020
    assert modern("tools/call", {"name": "table"}, mcp_name="=?base64?dGFibGU=?=")[0] == 200
    assert modern("tools/call", {"name": "table"}, mcp_name="=?base64?%%?=")[1]["error"]["code"] == -32020
    assert modern("tools/list", mcp_protocol_version="2025-06-18")[0] == 200  # of the old era: the envelope is extra


def test_a_version_of_neither_era_is_told_what_is_spoken() -> None:
    meta = {**META, "io.modelcontextprotocol/protocolVersion": "2030-01-01"}
    status, told = send(rpc("tools/list", {"_meta": meta}), mcp_protocol_version="2030-01-01", mcp_method="tools/list")
    assert (status, told["error"]["code"]) == (400, -32022)
    assert told["error"]["data"] == {"supported": ["2026-07-28"], "requested": "2030-01-01"}
    note = {"jsonrpc": "2.0", "method": "notifications/cancelled"}
    assert send(note, mcp_protocol_version="2030-01-01")[1]["error"]["code"] == -32022
    assert send(rpc("ping"), mcp_protocol_version="2026-07-28")[1]["error"]["code"] == -32602


def test_a_method_of_the_old_era_is_none_of_the_new() -> None:
    for method in ("initialize", "ping", "prompts/list"):
        status, told = modern(method)
        assert (status, told["error"]["code"]) == (404, -32601)


def test_there_are_no_streams_and_no_sessions() -> None:
    for method in ("GET", "DELETE", "PUT"):
        assert send("", method=method)[0] == 405
    assert send(rpc("ping"), accept="text/event-stream")[0] == 406
    assert send(rpc("ping"), accept="application/json, text/event-stream")[0] == 200
    front = event("rest", httpMethod="GET", path="/health")
    assert HANDLER(front, FakeContext())["statusCode"] == 200


def test_a_page_may_call_whose_origin_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert send(rpc("ping"), origin="https://evil.example")[0] == 403
    monkeypatch.setenv("AWSLLM_CORS_ORIGINS", "https://a.example")
    handler = mcp_handler(tools=[add])
    assert send(rpc("ping"), handler, origin="https://a.example")[0] == 200
    assert send(rpc("ping"), handler, origin="https://b.example")[0] == 403


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=2)))
def test_any_params_are_answered(value: Any) -> None:
    for body in (rpc("tools/call", value), rpc("tools/call", {"name": value, "arguments": value}), value, [value]):
        assert send(body)[0] in (200, 400)


# --- the model -------------------------------------------------------------------------------------------------------


def ask(handler: Any, milliseconds: int = 30_000, **arguments: Any) -> Any:
    front = event(
        "http", isBase64Encoded=False, body=json.dumps(rpc("tools/call", {"name": "ask_model", "arguments": arguments}))
    )
    return json.loads(handler(front, FakeContext(milliseconds))["body"])["result"]


def test_the_environment_alone_makes_a_server_with_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWSLLM_MODEL", MODEL)
    monkeypatch.setenv("AWSLLM_SYSTEM", "Be brief.")
    monkeypatch.setenv("AWSLLM_MAX_TOKENS", "50")
    monkeypatch.setenv("AWSLLM_GUARDRAIL", "abc:1")
    module = importlib.import_module("awsllm.lambdas.mcp")
    monkeypatch.delitem(vars(module), "handler", raising=False)
    with mock_aws(reply="Yes.") as aws:
        assert ask(module.handler, prompt="Well?", max_tokens=500)["content"] == [{"type": "text", "text": "Yes."}]
        assert ask(module.handler, prompt="Well?", max_tokens=5)["isError"] is False
    monkeypatch.delitem(vars(module), "handler")
    requests: list[Any] = aws.requests
    assert [request.inference_config.max_tokens for request in requests] == [50, 5]
    assert requests[0].system[0].text == "Be brief."
    assert requests[0].guardrail_config.guardrail_identifier == "abc"
    with pytest.raises(AttributeError):
        _ = module.no_such_name


def test_a_server_without_tools_says_what_is_missing() -> None:
    with pytest.raises(ConfigurationError, match="AWSLLM_MODEL"):
        mcp_handler()
    with pytest.raises(ConfigurationError, match="one name"):
        mcp_handler(tools=[add, add])


def test_what_the_model_is_asked_wrongly_is_told_the_client() -> None:
    for arguments in (
        {},
        {"prompt": " "},
        {"prompt": 1},
        {"prompt": "a", "max_tokens": 0},
        {"prompt": "a", "max_tokens": "5"},
    ):
        assert ask(HANDLER, **arguments)["isError"] is True


def test_a_model_that_fails_is_a_result_that_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    handler = mcp_handler(MODEL, client=scripted(ThrottlingError("Too many requests", status=429)))
    assert ask(handler, prompt="Well?") == {"content": [{"type": "text", "text": "Too many requests"}], "isError": True}
    late = ask(HANDLER, milliseconds=100, prompt="Well?")
    assert (late["isError"], "time is over" in late["content"][0]["text"]) == (True, True)
    assert [json.loads(line)["error"] for line in capsys.readouterr().out.splitlines()] == [
        "ThrottlingError",
        "DeadlineError",
    ]


APP = """
from awsllm.lambdas.mcp import mcp_handler

def add(a: int, b: int) -> int:
    return a + b

handler = mcp_handler(tools=[add])
"""


def test_it_runs_under_awss_own_runtime_client(tmp_path: Any) -> None:
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    body = json.dumps(rpc("tools/call", {"name": "add", "arguments": {"a": 40, "b": 2}}))
    with RuntimeApi() as api, runtime(api, "app.handler", client=AWS, path=tmp_path):
        invoked = api.invoke(event("url", body=body)).wait(PATIENCE)
    assert (invoked.outcome, answered(invoked.json())[1]["result"]["structuredContent"]) == ("response", {"result": 42})
