"""What all handlers share: the context, the environment, errors for callers, log lines."""

from __future__ import annotations

import importlib
import json
import pydoc
import re
from pathlib import Path

import pytest

import awsllm.lambdas
from awsllm.errors import (
    AccessDeniedError,
    AwsllmError,
    ConfigurationError,
    ConnectError,
    ModelNotFoundError,
    ModelNotReadyError,
    ModelTimeoutError,
    OutputValidationError,
    ServerError,
    StreamError,
    ThrottlingError,
    ValidationError,
)
from awsllm.lambdas import settings
from awsllm.lambdas.context import DeadlineError, seconds_left
from awsllm.lambdas.http.events import UnknownEventError, read
from awsllm.lambdas.http.failures import TYPES, Refusal, failure, unknown_event
from awsllm.lambdas.logs import log, of_error, of_response
from awsllm.lambdas.packaging.closure import own_modules
from awsllm.types import ConverseResponse, GuardrailConfig, Message, Usage
from tests.support.lambdas import FakeContext, event

PACKAGE = Path(awsllm.lambdas.__file__).parent

# --- context ---------------------------------------------------------------------------------------------------------


def test_a_call_may_take_what_is_left_less_a_margin() -> None:
    assert seconds_left(FakeContext(10_000)) == pytest.approx(9.5)
    assert seconds_left(FakeContext(10_000), margin=2) == pytest.approx(8.0)
    with pytest.raises(DeadlineError) as caught:
        seconds_left(FakeContext(500))
    assert failure(caught.value, "r").status == 504


# --- settings --------------------------------------------------------------------------------------------------------


def test_what_the_environment_says_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWSLLM_MODEL": "bedrock:amazon.nova-lite-v1:0",
        "AWSLLM_MAX_TOKENS": "256",
        "AWSLLM_TEMPERATURE": "0.2",
        "AWSLLM_CORS_ORIGINS": "https://a.example, https://b.example,",
        "AWSLLM_GATEWAY_MODELS": "fast=bedrock:amazon.nova-lite-v1:0,own=sagemaker:my-llm",
        "AWSLLM_TASK": "classify",
        "AWSLLM_SCHEMA": '{"type": "object"}',
        "AWSLLM_GUARDRAIL": "arn:aws:bedrock:us-east-1:111122223333:guardrail/abc:2",
        "AWSLLM_SYSTEM": "",
    }.items():
        monkeypatch.setenv(name, value)
    assert settings.model(None) == "bedrock:amazon.nova-lite-v1:0"
    assert settings.model("local:mine") == "local:mine"
    assert settings.whole("AWSLLM_MAX_TOKENS") == 256
    assert settings.decimal("AWSLLM_TEMPERATURE") == 0.2
    assert settings.names("AWSLLM_CORS_ORIGINS") == ("https://a.example", "https://b.example")
    assert settings.mapping("AWSLLM_GATEWAY_MODELS")["own"] == "sagemaker:my-llm"
    assert settings.choice("AWSLLM_TASK") == "classify"
    assert settings.json_object("AWSLLM_SCHEMA") == {"type": "object"}
    arn = "arn:aws:bedrock:us-east-1:111122223333:guardrail/abc"
    assert settings.guardrail() == GuardrailConfig(guardrail_identifier=arn, guardrail_version="2")
    assert settings.text("AWSLLM_SYSTEM") is None


def test_what_is_not_set_has_its_default() -> None:
    assert settings.whole("AWSLLM_MAX_BODY_BYTES") == 6 * 2**20
    assert settings.whole("AWSLLM_SESSION_DAYS") == 30
    assert settings.decimal("AWSLLM_TEMPERATURE") is None
    assert settings.mapping("AWSLLM_GATEWAY_MODELS") == {}
    assert settings.json_object("AWSLLM_SCHEMA") is None
    assert settings.guardrail() is None


def test_a_mapping_may_be_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_GATEWAY_MODELS", '{"fast": "bedrock:amazon.nova-lite-v1:0"}')
    assert settings.mapping("AWSLLM_GATEWAY_MODELS") == {"fast": "bedrock:amazon.nova-lite-v1:0"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWSLLM_MODEL", "nova"),
        ("AWSLLM_MAX_TOKENS", "many"),
        ("AWSLLM_MAX_TOKENS", "-1"),
        ("AWSLLM_TEMPERATURE", "hot"),
        ("AWSLLM_TEMPERATURE", "nan"),
        ("AWSLLM_TEMPERATURE", "9"),
        ("AWSLLM_CORS_ORIGINS", "shop.example"),
        ("AWSLLM_CORS_ORIGINS", "https://a.example,https://shop.example/"),
        ("AWSLLM_CORS_ORIGINS", "https://Shop.example"),
        ("AWSLLM_CORS_ORIGINS", "https://*.shop.example"),
        ("AWSLLM_GUARDRAIL", "abc"),
        ("AWSLLM_GUARDRAIL", "abc:latest"),
        ("AWSLLM_GATEWAY_MODELS", "fast"),
        ("AWSLLM_GATEWAY_MODELS", '{"fast": 1}'),
        ("AWSLLM_TASK", "translate"),
        ("AWSLLM_SCHEMA", "{"),
    ],
)
def test_what_is_wrong_names_its_variable(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    readers = {
        "AWSLLM_MODEL": lambda: settings.model(None),
        "AWSLLM_MAX_TOKENS": lambda: settings.whole(name),
        "AWSLLM_TEMPERATURE": lambda: settings.decimal(name),
        "AWSLLM_CORS_ORIGINS": lambda: settings.origins(name),
        "AWSLLM_GUARDRAIL": settings.guardrail,
        "AWSLLM_GATEWAY_MODELS": lambda: settings.mapping(name),
        "AWSLLM_TASK": lambda: settings.choice(name),
        "AWSLLM_SCHEMA": lambda: settings.json_object(name),
    }
    with pytest.raises(ConfigurationError, match=name):
        readers[name]()


def test_what_is_needed_and_not_set_names_its_variable() -> None:
    with pytest.raises(ConfigurationError, match=r"AWSLLM_MODEL is not set: give the function the model"):
        settings.model(None)


def test_the_table_has_every_variable_that_handlers_read() -> None:
    named = {variable.name for variable in settings.VARIABLES}
    read_somewhere = {
        name for path in PACKAGE.rglob("*.py") for name in re.findall(r'"(AWSLLM_[A-Z_]+)"', path.read_text("utf-8"))
    }
    assert read_somewhere <= named


PLAIN = pydoc._PlainTextDoc()  # type: ignore[attr-defined]


def test_help_shows_the_table() -> None:
    told = pydoc.render_doc(settings, renderer=PLAIN)
    for variable in settings.VARIABLES:
        assert f"    {variable.name} " in told
        assert variable.meaning in told


ROOMS = ("http", "events", "packaging", "emulator")  # which have no help of their own
MODULES = ["awsllm.lambdas", *sorted(name for name in own_modules() if name.startswith("awsllm.lambdas."))]


@pytest.mark.parametrize("name", [name for name in MODULES if name.rpartition(".")[2] not in ROOMS])
def test_each_module_has_its_help(name: str) -> None:
    module = importlib.import_module(name)
    assert (module.__doc__ or "")[:40] in pydoc.render_doc(module, renderer=PLAIN)


# --- failures --------------------------------------------------------------------------------------------------------


def told(error: BaseException) -> tuple[int, str, str, dict[str, str]]:
    reply = failure(error, "req-1")
    body = json.loads(reply.body)
    assert set(body) == {"error"}
    assert set(body["error"]) == {"type", "message", "request_id"}
    assert body["error"]["request_id"] == "req-1"
    return reply.status, body["error"]["type"], body["error"]["message"], reply.headers


def from_service(error: AwsllmError) -> AwsllmError:
    return error.annotate(backend="bedrock", model="m", request_id="aws-1")


def cut_by(cause: Exception) -> StreamError:
    cut = StreamError("the stream broke")
    cut.__cause__ = cause
    return cut


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Refusal(413, "too long"), 413),
        (ValidationError("bad"), 400),
        (AccessDeniedError("no key", status=401), 401),
        (AccessDeniedError("not yours"), 403),
        (ModelNotFoundError("no such model"), 404),
        (ThrottlingError("slow down"), 429),
        (DeadlineError("over", status=504), 504),
        (from_service(ValidationError("bad", status=400)), 400),
        (from_service(AccessDeniedError("no", status=403)), 502),
        (from_service(ModelNotFoundError("no", status=404)), 502),
        (from_service(ThrottlingError("slow", status=429)), 429),
        (from_service(ModelNotReadyError("loading", status=429)), 503),
        (from_service(ModelTimeoutError("late")), 504),
        (from_service(ConnectError("gone")), 502),
        (from_service(ServerError("failed", status=500)), 502),
        (from_service(StreamError("cut")), 502),
        (cut_by(ModelTimeoutError("late")), 504),
        (cut_by(ThrottlingError("slow", status=429)), 429),
        (cut_by(OSError("gone")), 502),
        (OutputValidationError("no fit"), 502),
        (ConfigurationError("no region"), 502),
        (KeyError("anything"), 502),
    ],
)
def test_each_error_has_its_status(error: BaseException, status: int) -> None:
    answered, kind, _, headers = told(error)
    assert (answered, kind) == (status, TYPES[status])
    assert ("retry-after" in headers) == (status in (429, 503))


def test_a_caller_is_told_when_to_come_again() -> None:
    assert told(ThrottlingError("slow", retry_after=2.2))[3]["retry-after"] == "3"
    assert told(ThrottlingError("slow"))[3]["retry-after"] == "1"


def test_a_caller_is_told_no_secret() -> None:
    role = "arn:aws:sts::111122223333:assumed-role/App/fn"
    denied = from_service(AccessDeniedError(f"User: {role} is not authorized to perform: bedrock:InvokeModel"))
    foreign = RuntimeError("password=hunter2")
    refused = from_service(ValidationError(f"the profile {role} does not exist, {role}"))
    for error in (denied, foreign, refused):
        assert "111122223333" not in told(error)[2]
        assert "hunter2" not in told(error)[2]
    assert told(refused)[2].startswith("the profile (an ARN) does not exist")


def test_an_unknown_event_is_answered_in_the_shape_that_every_door_reads() -> None:
    with pytest.raises(UnknownEventError) as caught:
        read({"Records": []})
    answer = unknown_event(caught.value, "req-1")
    assert answer["statusCode"] == 400
    assert json.loads(answer["body"])["error"]["type"] == "invalid_request"


# --- logs ------------------------------------------------------------------------------------------------------------


def test_a_line_is_json_with_lambdas_own_members(capsys: pytest.CaptureFixture[str]) -> None:
    usage = Usage(input_tokens=3, output_tokens=5)
    answer = ConverseResponse(
        message=Message.assistant("secret"), stop_reason="end_turn", usage=usage, model="m", cost=0.1
    )
    log("INFO", "answered", FakeContext(), **of_response(answer, 0.5))
    line = json.loads(capsys.readouterr().out)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("timestamp"))
    assert line == {
        "level": "INFO",
        "message": "answered",
        "request_id": FakeContext.aws_request_id,
        "function": "chat",
        "model": "m",
        "stop_reason": "end_turn",
        "input_tokens": 3,
        "output_tokens": 5,
        "cost": 0.1,
        "seconds": 0.5,
    }


def test_the_level_is_the_least_that_is_logged(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log("DEBUG", "not by default", FakeContext())
    monkeypatch.setenv("AWSLLM_LOG_LEVEL", "ERROR")
    log("WARNING", "not now", FakeContext())
    log("ERROR", "this", FakeContext())
    assert [json.loads(line)["message"] for line in capsys.readouterr().out.splitlines()] == ["this"]


def test_an_error_is_logged_by_its_kind_and_place() -> None:
    served = from_service(ThrottlingError("the prompt was: secret", code="ThrottlingException"))
    assert of_error(served) == {
        "error": "ThrottlingError",
        "error_code": "ThrottlingException",
        "service_request_id": "aws-1",
        "model": "m",
    }
    with pytest.raises(ZeroDivisionError) as caught:
        1 / 0  # noqa: B018
    line = of_error(caught.value)
    assert line["error"] == "ZeroDivisionError"
    assert any(frame.endswith("test_an_error_is_logged_by_its_kind_and_place") for frame in line["where"])
    assert "division by zero" not in json.dumps(line)


# --- the room --------------------------------------------------------------------------------------------------------


def test_a_public_name_is_resolved_when_it_is_used() -> None:
    assert sorted(awsllm.lambdas._HOMES) == sorted(awsllm.lambdas.__all__)
    for name in awsllm.lambdas.__all__:
        home = importlib.import_module(f"awsllm.lambdas.{awsllm.lambdas._HOMES[name]}")
        assert getattr(awsllm.lambdas, name) is getattr(home, name)


def test_a_name_that_there_is_not() -> None:
    with pytest.raises(AttributeError, match="no_such_handler"):
        awsllm.lambdas.no_such_handler  # noqa: B018


def test_events_are_read_as_they_are() -> None:
    assert event("rest", path="/x")["path"] == "/x"
    assert event("rest")["path"] == "/chat"
