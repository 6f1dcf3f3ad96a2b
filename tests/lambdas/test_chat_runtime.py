"""The chat handler as Lambda runs it: of the environment alone, under AWS's runtime client, and what it loads."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from typing import Any

import pytest

from awsllm.lambdas.context import LambdaContext
from awsllm.testing import mock_aws, server
from tests.support.lambdas import FakeContext, answered, event, new_sessions_table
from tests.support.runtime_api import AWS, PATIENCE, RuntimeApi, runtime

MODEL = "bedrock:amazon.nova-lite-v1:0"


def test_the_module_has_a_handler_made_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWSLLM_MODEL", MODEL)
    module = importlib.import_module("awsllm.lambdas.chat")
    monkeypatch.delitem(vars(module), "handler", raising=False)
    assert module.handler is module.handler
    with mock_aws(reply="Hi"):
        assert answered(module.handler(event("rest"), FakeContext()))[0] == 200
    monkeypatch.delitem(vars(module), "handler")
    with pytest.raises(AttributeError):
        _ = module.no_such_name


APP = """
from awsllm.lambdas.chat import chat_handler

handler = chat_handler("bedrock:amazon.nova-lite-v1:0", respond=lambda turn: f"You said: {turn.text}")
"""


def test_it_runs_under_awss_own_runtime_client(tmp_path: Any) -> None:
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    with RuntimeApi() as api, runtime(api, "app.handler", client=AWS, path=tmp_path):
        for name in ("rest", "url"):
            invoked = api.invoke(event(name)).wait(PATIENCE)
            status, told = answered(invoked.json())
            assert (invoked.outcome, status, told["text"]) == ("response", 200, "You said: Say hello.")
        stray = api.invoke({"Records": [{"eventSource": "aws:sqs"}]}).wait(PATIENCE)
        assert (stray.outcome, stray.json()["statusCode"]) == ("response", 400)


COLD = """
import sys
from awsllm.lambdas import chat_handler
from tests.support.lambdas import FakeContext, event

handler = chat_handler("bedrock:amazon.nova-lite-v1:0")
reply = handler(event("http_jwt"), FakeContext())
print(reply["statusCode"], *sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize("sessions", [False, True])
def test_a_first_answer_loads_no_botocore_and_no_pydantic(sessions: bool) -> None:
    with server(reply="Hello there.") as aws:
        environment = {**aws.env, "PYTHONPATH": os.pathsep.join(sys.path)}
        if sessions:
            keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
            new_sessions_table("sessions", endpoint_url=aws.url, **keys)
            environment["AWSLLM_SESSIONS_TABLE"] = "sessions"
        ran = subprocess.run([sys.executable, "-c", COLD], check=True, capture_output=True, text=True, env=environment)
    status, *loaded = ran.stdout.splitlines()[-1].split()
    assert status == "200"
    assert not set(loaded) & {"botocore", "boto3", "pydantic", "tenacity", "asyncio", "urllib3"}


def test_the_context_of_a_test_is_one_of_lambdas() -> None:
    context: LambdaContext = FakeContext()
    assert context.get_remaining_time_in_millis() > 0
