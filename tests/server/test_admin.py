"""The administration: what was asked, and what happens next, by HTTP; for whoever has the token, and nobody else."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import EventStreamError

from awsllm.errors import AccessDeniedError, ConfigurationError
from awsllm.server import running
from awsllm.server.admin import Admin, Administered
from awsllm.server.exchanges import Journal
from awsllm.server.faults import Faults
from awsllm.server.record import RequestRecord
from awsllm.server.work import Incoming
from awsllm.testing import AsyncScriptedBackend, server
from tests.support.sessions import new_client
from tests.testing.test_mock import CLAUDE, HELLO, ask, error_of

TOKEN = "0123456789abcdef"


class Served:
    """A server, its clients, and its administration."""

    def __init__(self, aws: Any) -> None:
        self.aws = aws
        self.clients: list[Any] = []
        self.runtime = self.client("bedrock-runtime")

    def client(self, service: str) -> Any:
        config = Config(retries={"total_max_attempts": 1})
        secret = self.aws.env["AWS_SECRET_ACCESS_KEY"]
        made = new_client(service, secret=secret, endpoint_url=self.aws.url, config=config)
        self.clients.append(made)
        return made

    def close(self) -> None:
        for client in self.clients:
            client.close()

    def admin(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        token = {"authorization": f"Bearer {self.aws.env['AWSLLM_ADMIN_TOKEN']}", **headers}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.aws.url}/_awsllm/{path}", data, token, method=method)
        with urllib.request.urlopen(request) as reply:
            return json.loads(reply.read() or b"null")

    def refused(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
        with pytest.raises(urllib.error.HTTPError) as caught:
            self.admin(method, path, body, **headers)
        with caught.value as reply:
            return reply.code, json.loads(reply.read())["message"]


@pytest.fixture
def served() -> Iterator[Served]:
    with server(reply=["one"], transitions={"endpoint": 600.0}) as aws:
        made = Served(aws)
        yield made
        made.close()
        aws._entered[-1].script.failures.clear()  # calls that were not planned for are what some tests want


def test_what_was_asked(served: Served) -> None:
    ask(served.runtime)
    error_of(served.runtime.converse, modelId=CLAUDE, messages=HELLO)
    told = served.admin("GET", "requests")
    assert told["unexpected"] == 1
    first, second = told["requests"]
    assert first["body"] == {"messages": HELLO}
    assert (first["service"], first["path"]) == ("bedrock-runtime", f"/model/{CLAUDE.replace(':', '%3A')}/converse")
    assert first["request"]["operation"] == "converse"
    assert first["request"]["model"] == CLAUDE
    assert first["request"]["messages"][0]["role"] == "user"
    assert (first["status"], first["error"], first["unexpected"]) == (200, None, False)
    assert (second["status"], second["error"]["code"], second["unexpected"]) == (400, "ValidationException", True)
    assert served.admin("GET", "requests?unexpected=true")["requests"] == [second]
    assert "Signature" not in json.dumps(told)  # no header is told
    served.admin("DELETE", "requests")
    assert served.admin("GET", "requests") == {"requests": [], "unexpected": 0}
    served.admin("GET", "account")  # what the administration is asked is no request
    assert served.admin("GET", "requests")["requests"] == []


def test_a_script_in_json(served: Served) -> None:
    tool = {"toolUse": {"name": "f", "input": {"a": 1}}}
    script = ["text", tool, ["Both.", tool], {"error": "ThrottlingException", "message": "slow down"}]
    served.admin("PUT", "script", [*script, {"broken": "a b c", "after": 2, "error": "ThrottlingException"}])
    tools: Any = {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}]}

    def content() -> Any:
        return served.runtime.converse(modelId=CLAUDE, messages=HELLO, toolConfig=tools)["output"]["message"]["content"]

    assert content() == [{"text": "text"}]
    assert content() == [{"toolUse": {"toolUseId": "tooluse_f", "name": "f", "input": {"a": 1}}}]
    assert [next(iter(block)) for block in content()] == ["text", "toolUse"]
    error = error_of(served.runtime.converse, modelId=CLAUDE, messages=HELLO)
    assert error["Error"] == {"Code": "ThrottlingException", "Message": "slow down"}
    stream = served.runtime.converse_stream(modelId=CLAUDE, messages=HELLO)["stream"]
    with contextlib.closing(stream), pytest.raises(EventStreamError, match="throttlingException"):
        list(stream)
    answer = {"output": {"message": {"role": "assistant", "content": [{"text": "x"}]}}, "stopReason": "max_tokens"}
    served.admin("PUT", "script", {"anthropic.*": answer, "*": "others"})
    assert served.runtime.converse(modelId=CLAUDE, messages=HELLO)["stopReason"] == "max_tokens"
    assert served.refused("PUT", "script", [7])[1].startswith("7 is not a reply in JSON")
    assert served.refused("PUT", "script", {"broken": "x", "after": -1})[0] == 400


def test_faults_come_and_go(served: Served) -> None:
    told = served.admin("POST", "faults", {"fault": "throttle", "times": 1, "operation": "Converse"})
    assert [(fault["fault"], fault["happened"]) for fault in told["faults"]] == [("throttle", 0)]
    assert error_of(served.runtime.converse, modelId=CLAUDE, messages=HELLO)["Error"]["Code"] == "ThrottlingException"
    assert served.admin("GET", "faults")["faults"][0]["happened"] == 1
    served.admin("POST", "faults", [{"fault": "expired_credentials"}])
    served.admin("DELETE", "faults")
    ask(served.runtime)
    assert served.refused("POST", "faults", {"fault": "x"})[0] == 400


def make_endpoint(served: Served, name: str) -> Any:
    control = served.client("sagemaker")
    control.create_model(ModelName=name, ExecutionRoleArn="arn:aws:iam::123456789012:role/r")
    variant = {"VariantName": "v", "ModelName": name, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    control.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    control.create_endpoint(EndpointName=name, EndpointConfigName=name)
    return control


def test_time_passes_when_it_is_told_to(served: Served) -> None:
    control = make_endpoint(served, "made")

    def status(name: str) -> str:
        return str(control.describe_endpoint(EndpointName=name)["EndpointStatus"])

    assert status("made") == "Creating"
    before = served.admin("GET", "account")["now"]
    assert served.admin("POST", "clock", {"advance": 601})["now"] >= before + 601
    assert status("made") == "InService"
    assert served.admin("POST", "transitions", {"endpoint": 0})["endpoint"] == 0
    served.admin("POST", "account/fail", {"name": "broken", "reason": "no capacity"})
    make_endpoint(served, "broken")
    assert status("broken") == "Failed"
    served.admin("POST", "account/refuse", {"operation": "DeleteModel", "code": "ThrottlingException", "times": 1})
    assert error_of(control.delete_model, ModelName="made")["Error"]["Code"] == "ThrottlingException"
    control.delete_model(ModelName="made")
    account = served.admin("GET", "account")
    assert account["regions"]["us-east-1"]["endpoint"] == ["broken", "made"]
    assert account["calls"][-1] == {"operation": "DeleteModel", "request": {"ModelName": "made"}}
    assert served.refused("POST", "clock", {"advance": -1})[0] == 400
    assert served.refused("POST", "clock", {"advance": "x"})[0] == 400
    assert served.refused("POST", "transitions", {"endpoint": "x"})[0] == 400
    assert served.refused("POST", "account/refuse", {"operation": "X", "times": 10**9})[0] == 400


def test_all_of_it_as_at_the_start(served: Served) -> None:
    ask(served.runtime)
    served.client("s3").create_bucket(Bucket="bucket")
    make_endpoint(served, "made")
    served.admin("PUT", "script", ["two"])
    served.admin("POST", "faults", {"fault": "stall", "seconds": 0.1})
    served.admin("POST", "clock", {"advance": 10**9})
    served.admin("POST", "reset")
    assert ask(served.runtime) == "one"
    assert served.client("s3").list_buckets()["Buckets"] == []
    assert served.client("sagemaker").list_endpoints()["Endpoints"] == []
    account = served.admin("GET", "account")
    assert (account["transitions"], account["now"] < 2**32) == ({"endpoint": 600.0}, True)
    assert served.admin("GET", "faults")["faults"] == []


# --- who may ---------------------------------------------------------------------------------------------------------


def test_only_with_the_token(served: Served) -> None:
    assert served.refused("GET", "requests", authorization="")[0] == 403
    assert served.refused("GET", "requests", authorization="Bearer wrong")[0] == 403
    assert served.refused("GET", "requests", origin="http://127.0.0.1")[0] == 403
    token = served.aws.env["AWSLLM_ADMIN_TOKEN"]
    assert served.admin("GET", "faults", authorization="", **{"x-awsllm-token": token}) == {"faults": []}
    status, message = served.refused("GET", "nothing")
    assert (status, "GET /_awsllm/requests" in message) == (404, True)
    assert served.refused("PUT", "requests", {})[0] == 404
    assert served.refused("POST", "faults")[1].startswith("The body is not JSON")
    assert token not in message
    kept = [exchange.incoming.headers for exchange in served.aws.journal.after()]
    assert "host" in kept[0]
    assert token not in str(kept)  # which the server's pages may show


def test_beside_an_api_key() -> None:
    with server(reply="x", api_key="callers-key") as aws:
        served = Served(aws)
        assert ask(served.runtime) == "x"
        assert len(served.admin("GET", "requests")["requests"]) == 1
        assert served.refused("GET", "requests", authorization="Bearer callers-key")[0] == 403
        token = aws.env["AWSLLM_ADMIN_TOKEN"]
        body = json.dumps({"messages": HELLO}).encode()
        headers = {"authorization": f"Bearer {token}"}  # which is no caller's key
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(f"{aws.url}/model/{CLAUDE}/converse", body, headers))
        caught.value.close()
        assert caught.value.code == 403
        served.close()


def test_only_from_this_machine() -> None:
    admin = Admin(TOKEN, Administered(RequestRecord(), Journal(), Faults()))
    headers = {"authorization": f"Bearer {TOKEN}"}
    for peer in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        admin.admit(Incoming("GET", "/_awsllm/faults", headers, peer=peer))
    for peer in ("", "10.0.0.1", "::ffff:10.0.0.1", "localhost.example.com"):
        with pytest.raises(AccessDeniedError, match="this machine"):
            admin.admit(Incoming("GET", "/_awsllm/faults", headers, peer=peer))
    for token in ("short", "with white space in it", "ümlaut-ümlaut-ümlaut", ""):
        with pytest.raises(ConfigurationError, match="admin token"):
            Admin(token, Administered(RequestRecord(), Journal(), Faults()))


def test_a_server_without_a_token_has_none() -> None:
    with running(AsyncScriptedBackend("x"), account=False) as url:
        request = urllib.request.Request(f"{url}/_awsllm/faults", headers={"authorization": "Bearer x"})
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request)
        caught.value.close()
        assert caught.value.code == 404


def test_a_server_without_a_script_or_an_account_says_so() -> None:
    with running(AsyncScriptedBackend("x"), account=False, admin_token=TOKEN) as url:
        served = Served(SimpleNamespace(url=url, env={"AWSLLM_ADMIN_TOKEN": TOKEN, "AWS_SECRET_ACCESS_KEY": "b"}))
        assert "--script" in served.refused("PUT", "script", "x")[1]
        assert "no account" in served.refused("GET", "account")[1]
        ask(served.runtime)
        assert len(served.admin("GET", "requests")["requests"]) == 1
        served.admin("POST", "reset")
        assert served.admin("GET", "requests")["requests"] == []
        served.close()


def test_an_asynchronous_invocation_is_among_the_requests() -> None:
    with server(reply="x") as aws:
        served = Served(aws)
        served.client("s3").create_bucket(Bucket="bucket")
        text = {"taskType": "TEXT_VIDEO", "textToVideoParams": {"text": "A cat."}}
        place = {"s3OutputDataConfig": {"s3Uri": "s3://bucket"}}
        served.runtime.start_async_invoke(modelId="amazon.nova-reel-v1:0", modelInput=text, outputDataConfig=place)
        [request] = aws.requests
        assert request.operation == "generate_video"
        assert served.admin("GET", "requests")["requests"][-1]["request"]["operation"] == "generate_video"
        served.close()
