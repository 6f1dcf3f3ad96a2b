"""Names of ``awsllm.toml`` as models of a server: aliases, and groups behind which one of several answers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import awsllm
from awsllm.backend import Attempt
from awsllm.errors import ConfigurationError, ServerError, ThrottlingError
from awsllm.policy.configuration import parse
from awsllm.server.assembly import Settings, _models
from awsllm.server.groups import ServedGroups, check_members
from awsllm.server.mapping import Models, Table
from awsllm.server.places import BlockingPlaces, Places
from awsllm.stream import fold
from awsllm.testing import AsyncScriptedBackend, Broken, ScriptedBackend
from awsllm.types import ConverseRequest, Message

LITE, PRO = "amazon.nova-lite-v1:0", "amazon.nova-pro-v1:0"
FILE = f"""
[aliases]
fast = "bedrock:us-east-1/{LITE}"
[groups.chat]
models = ["fast", "bedrock:us-west-2/{PRO}"]
breaker = {{minimum = 2}}
[groups.capped]
models = [{{model = "fast", options = {{max_tokens = 7}}}}, "bedrock:us-west-2/{PRO}"]
"""
NAMES = parse(FILE)
TABLE = Table.of({"theirs*": "chat", "one": "fast"}, names={**NAMES.aliases, **NAMES.groups})


class Kept(dict[Any, Any]):
    """One backend, whatever the reference."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend

    def __missing__(self, key: Any) -> Any:
        return self.backend


def reply_of(*failing: str, error: Any = None) -> Any:
    return lambda request: (error or ThrottlingError("slow down")) if request.model in failing else request.model


def request_of(model: str) -> ConverseRequest:
    return ConverseRequest(model=model, messages=(Message.user("Hi"),))


def blocking(backend: ScriptedBackend) -> BlockingPlaces:
    return BlockingPlaces(Kept(backend), groups=lambda: TABLE.groups)  # type: ignore[arg-type]


def test_names_are_models_and_a_callers_own_marks_are_not() -> None:
    models = Models(table=TABLE, routed=True)
    assert {"fast", "chat", "capped", "one"} <= set(models.listed())
    assert models.rename(request_of("fast")).model == f"bedrock:us-east-1/{LITE}"
    assert models.rename(request_of("one")).model == f"bedrock:us-east-1/{LITE}"
    assert models.rename(request_of("theirs-too")).model == "group:theirs*"
    assert models.rename(request_of("chat")).model == "group:chat"
    assert [one.region for one in models.targets()].count("us-west-2") == 3
    assert models.answering(request_of("chat")) == (f"bedrock:us-east-1/{LITE}", f"bedrock:us-west-2/{PRO}")
    with pytest.raises(awsllm.ModelNotFoundError):
        models.rename(request_of("group:chat"))


@pytest.mark.parametrize("streamed", [False, True])
def test_a_request_of_a_group_goes_to_the_member_that_can_answer(streamed: bool) -> None:
    backend = ScriptedBackend(reply_of(LITE))
    places = blocking(backend)
    request = request_of("group:chat")
    if streamed:
        assert fold(places.stream(request)).text == PRO
    else:
        assert places.ask(request).text == PRO
    assert [made.model for made in backend.requests] == [LITE, PRO]


@pytest.mark.parametrize("streamed", [False, True])
def test_so_it_does_where_it_is_awaited(streamed: bool) -> None:
    asyncio.run(_ask_awaited(streamed))


async def _ask_awaited(streamed: bool) -> None:
    backend = ScriptedBackend(reply_of(LITE, error=ServerError("down", status=503)))
    places = Places(own=AsyncScriptedBackend(backend), groups=lambda: TABLE.groups)
    places._backends = Kept(AsyncScriptedBackend(backend))  # type: ignore[assignment]
    for _ in range(3):
        request = request_of("group:chat")
        if streamed:
            text = fold([event async for event in places.stream(request)]).text
        else:
            text = (await places.ask(request)).text
        assert text == PRO
    assert [made.model for made in backend.requests] == [LITE, PRO, LITE, PRO, PRO]  # then its circuit is open


def test_a_stream_that_has_shown_something_stays() -> None:
    backend = ScriptedBackend(lambda request: Broken("one two three", after=2))
    events = blocking(backend).stream(request_of("group:chat"))
    with pytest.raises(awsllm.AwsllmError):
        list(events)
    assert len(backend.requests) == 1


def test_what_a_member_says_for_itself_holds() -> None:
    backend = ScriptedBackend(reply_of(LITE))
    blocking(backend).ask(request_of("group:capped"))
    requests: list[Any] = backend.requests
    assert [request.inference_config.max_tokens for request in requests] == [7, None]
    wrong = awsllm.Group([awsllm.GroupMember("local:x", options={"tools": []})])
    with pytest.raises(ConfigurationError, match="of a member's options"):
        check_members("g", wrong)


def test_vectors_of_two_models_are_refused() -> None:
    from awsllm.types.embedding import EmbedRequest

    backend = ScriptedBackend("never")
    with pytest.raises(awsllm.UnsupportedError, match="several models"):
        blocking(backend).ask(EmbedRequest(model="group:chat", texts=("a",)))
    assert not backend.requests


def test_a_group_that_is_gone_is_no_model() -> None:
    served = ServedGroups(dict, awsllm.Client(region="us-east-1")._settings.routes, awsllm.Policy())
    with pytest.raises(awsllm.ModelNotFoundError):
        served.ask_blocking("gone", request_of("x"), Attempt(), lambda *_: None)


def test_the_server_lists_the_names_of_the_file_that_a_client_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "awsllm.toml"
    path.write_text('[aliases]\nsmall = "local:smollm2-135m-instruct"\n[groups.either]\nmodels = ["small"]\n')
    assert {"small", "either"} <= set(_models(Settings(configuration=path), []).listed())
    scripted = AsyncScriptedBackend(ScriptedBackend("x"))
    monkeypatch.setenv("AWSLLM_CONFIG", str(path))
    assert {"small", "either"} <= set(_models(Settings(), []).listed())
    assert _models(Settings(backend=scripted), []).listed() == []  # a test's server is what the test says
    path.write_text('[aliases]\nsmall = "local:nobody-knows"\n')
    with pytest.raises(ConfigurationError, match="the target of 'small'"):
        _models(Settings(), [])
