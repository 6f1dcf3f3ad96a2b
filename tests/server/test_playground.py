"""The playground's half of the server: who gets the page, what it is told, and that the code it shows does the call."""

from __future__ import annotations

import contextlib
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import boto3
import pytest
from botocore.config import Config

from awsllm.errors import ServerError, ThrottlingError, ValidationError
from awsllm.models.entries import entries
from awsllm.server import running
from awsllm.server.account.account import Account
from awsllm.server.exchanges import Exchange, Journal
from awsllm.server.mapping import Table
from awsllm.server.shapes import service_model
from awsllm.server.surfaces.playground import account
from awsllm.server.surfaces.playground.calls import RUNTIMES
from awsllm.server.surfaces.playground.conversations import _conversation
from awsllm.server.surfaces.playground.page import _files, is_page, page
from awsllm.server.work import Incoming, Models
from awsllm.stream import fold
from awsllm.testing.scripted import AsyncScriptedBackend, Broken
from awsllm.types import ConverseRequest, JsonSchema, Text, ToolUse
from awsllm.wire.converse.stream import decode_event
from tests.support.media import PIXELS as PNG

NOVA = "amazon.nova-lite-v1:0"
HELLO: dict[str, Any] = {"model": NOVA, "messages": [{"role": "user", "content": [{"text": "Hello"}]}]}
API = "/playground/api/"
BROWSER = {"accept": "text/html,application/xhtml+xml"}
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/image:1"
CONFIG = Config(s3={"addressing_style": "path"})
KEYS = {"region_name": "us-east-1", "aws_access_key_id": "any", "aws_secret_access_key": "any"}


class Stage:
    """What the server's one backend says next."""

    reply: Any = "Hello."


stage = Stage()
backend = AsyncScriptedBackend(lambda request: stage.reply)


@pytest.fixture(autouse=True)
def _reset() -> None:
    stage.reply = "Hello."
    backend.requests.clear()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(backend) as url:
        yield url


def call(url: str, path: str, body: Any = None, method: str | None = None, **headers: str) -> tuple[int, Any, bytes]:
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url + path, data, named, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


@contextlib.contextmanager
def client(url: str, service: str, config: Config = CONFIG) -> Iterator[Any]:
    made = boto3.client(service, endpoint_url=url, config=config, **KEYS)
    with contextlib.closing(made):
        yield made


def got(url: str, path: str) -> Any:
    status, _, body = call(url, API + path)
    assert status == 200, body
    return json.loads(body)


def events(body: bytes) -> list[tuple[str, Any]]:
    """Server-sent events, read by the rules of their specification that are used here."""
    found = []
    for block in body.decode().split("\n\n")[:-1]:
        kind, data = block.split("\n")
        assert kind.startswith("event: ")
        assert data.startswith("data: ")
        found.append((kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


# --- the page --------------------------------------------------------------------------------------------------------


def test_a_browser_gets_the_page_and_asks_nobody_else(url: str) -> None:
    status, headers, body = call(url, "/", Accept="text/html")
    assert status == 200
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["x-content-type-options"] == "nosniff"
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'"
    for name in set(re.findall(r'(?:href|src)="(/playground/[^"]+)"', body.decode())):
        assert call(url, name)[0] == 200, name
    again = call(url, "/", Accept="text/html", If_None_Match=headers["etag"])
    assert again[0] == 304
    assert again[2] == b""


def test_the_page_is_whole_and_names_no_other_place() -> None:
    """No file of it leads elsewhere, each import is one of its files, and nothing parses HTML or runs text."""
    files = {name: data.decode() for name, (data, _) in _files().items()}
    assert {"index.html", "style.css", "main.js", "theme.js", "icon.svg"} <= files.keys()
    for name, text in files.items():
        elsewhere = set(re.findall(r"https?://[\w.-]+", text)) - {"http://www.w3.org", "https://github.com"}
        assert not elsewhere, name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            name
        )
        for imported in re.findall(r'from "\./([\w.]+)"', text):
            assert imported in files, f"{name} imports {imported}"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"accept": "*/*"},
        {"accept": "text/html", "authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request"},
        {"accept": "text/html", "x-amz-date": "20260101T000000Z"},
        {"accept": "text/html", "amz-sdk-invocation-id": "1"},
    ],
)
def test_what_sdks_send_to_the_root_is_not_the_pages(headers: dict[str, str]) -> None:
    assert is_page(Incoming("GET", "/", BROWSER))
    assert not is_page(Incoming("GET", "/", headers))
    assert not is_page(Incoming("GET", "/", BROWSER, query="X-Amz-Signature=a"))
    assert not is_page(Incoming("POST", "/", BROWSER))


def test_s3_still_lists_its_buckets_at_the_root(url: str) -> None:
    with client(url, "s3") as s3:
        s3.create_bucket(Bucket="playground-bucket")
        assert "playground-bucket" in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]


@pytest.mark.parametrize(
    "name", ["none.js", "../page.py", "%2e%2e/page.py", "..%2fpage.py", "/etc/passwd", "api", "assets/main.js"]
)
def test_no_path_leads_out_of_the_page(name: str) -> None:
    assert page(Incoming("GET", f"/playground/{name}")).status == 404


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out_from_its_ground(theme: str) -> None:
    """WCAG 2.2 AA: 4.5:1 for text, 3:1 for the borders of fields."""
    style = _files()["style.css"][0].decode()
    rule = style[style.index(":root {" if theme == "light" else ':root[data-theme="dark"] {') :]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", rule[: rule.index("}")]))
    grounds = ("ground", "surface", "sunken")
    pairs = [(text, ground) for text in ("text", "muted", "accent") for ground in grounds]
    pairs += [(text, ground) for text in ("key", "string", "number", "word", "bad") for ground in ("ground", "surface")]
    pairs += [(name, f"{name}-soft") for name in ("good", "poor", "bad", "accent")]
    pairs += [("text", "accent-soft"), ("text", "bad-soft"), ("muted", "accent-soft"), ("on-accent", "accent")]
    poor = {pair: contrast(*map(colours.__getitem__, pair)) for pair in pairs}
    assert {pair: ratio for pair, ratio in poor.items() if ratio < 4.5} == {}
    assert all(contrast(colours["line-strong"], colours[ground]) >= 3 for ground in ("ground", "surface"))


def contrast(one: str, other: str) -> float:
    """WCAG's ratio of two colours."""

    def luminance(colour: str) -> float:
        shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
        return sum(weight * share for weight, share in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


# --- conversations ---------------------------------------------------------------------------------------------------


def test_a_conversation_comes_in_the_words_of_converse(url: str) -> None:
    stage.reply = (Text("Let me look."), ToolUse("t1", "weather", {"city": "Rome"}))
    tools = {"tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": {"type": "object"}}}}]}
    status, headers, body = call(url, API + "converse", {**HELLO, "toolConfig": tools}, Origin=url)
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    found = events(body)
    response = fold([decode_event(kind, wire) for kind, wire in found if kind != "done"])
    assert response.message.text == "Let me look."
    assert response.message.tool_uses == (ToolUse("t1", "weather", {"city": "Rome"}),)
    kind, summary = found[-1]
    assert kind == "done"
    usage = response.usage
    assert usage.input_tokens is not None
    assert usage.output_tokens is not None
    assert summary["cost"] == pytest.approx((usage.input_tokens * 0.06 + usage.output_tokens * 0.24) / 1e6)
    assert summary["firstEventMs"] <= summary["latencyMs"]


def test_local_models_cost_nothing_and_keep_their_names(url: str) -> None:
    status, _, body = call(url, API + "converse", {**HELLO, "model": "local:smollm2-135m-instruct"})
    assert status == 200
    assert events(body)[-1][1]["cost"] == 0
    assert backend.requests[-1].model == "local:smollm2-135m-instruct"


def test_a_schema_reaches_the_model(url: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    stage.reply = '{"a": 1}'
    assert call(url, API + "converse", {**HELLO, "model": "local:any", "outputSchema": schema})[0] == 200
    request = backend.requests[-1]
    assert isinstance(request, ConverseRequest)
    assert request.output_config is not None
    assert request.output_config.json_schema == JsonSchema(schema, "answer")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, "model"),
        ({**HELLO, "model": 7}, "model"),
        ({**HELLO, "model": "no.such-model"}, "The provided model identifier is invalid"),
        ({**HELLO, "model": "amazon.titan-embed-text-v1"}, "doesn't support the model"),
        ({**HELLO, "model": "sagemaker:a/b/c"}, "is not an endpoint"),
        ({**HELLO, "model": "local:x\ny"}, "cannot be printed"),
        ({**HELLO, "messages": "Hello"}, "messages"),
        ({**HELLO, "outputSchema": "x"}, "outputSchema"),
        ({**HELLO, "inferenceConfig": {"temperature": 2}}, "temperature"),
        (b"{", "Malformed input request"),
        (b"[" * 100_000, "Malformed input request"),
    ],
)
@pytest.mark.parametrize("operation", ["converse", "code"])
def test_what_is_refused_has_code_and_message(url: str, operation: str, body: Any, expected: str) -> None:
    status, headers, data = call(url, API + operation, body)
    assert status == 400
    assert headers["content-type"] == "application/json"
    wire = json.loads(data)
    assert wire["code"] == "ValidationException"
    assert expected in wire["message"]
    assert backend.requests == []


def test_failures_before_and_within_the_answer(url: str) -> None:
    stage.reply = ThrottlingError("slow down")
    status, _, data = call(url, API + "converse", HELLO)
    assert (status, json.loads(data)) == (429, {"code": "ThrottlingException", "message": "slow down"})
    stage.reply = Broken("one two three", after=3, error=ServerError("gone", status=500))
    status, _, data = call(url, API + "converse", HELLO)
    assert status == 200
    assert [kind for kind, _ in events(data)][:2] == ["messageStart", "contentBlockDelta"]
    assert events(data)[-1] == ("error", {"code": "InternalServerException", "message": "gone"})


def test_a_fault_of_the_server_is_told_without_its_details(url: str, caplog: pytest.LogCaptureFixture) -> None:
    stage.reply = Broken("one two three", after=2, error=RuntimeError("secret"))
    _, _, data = call(url, API + "converse", HELLO)
    assert events(data)[-1][0] == "error"
    assert b"secret" not in data
    stage.reply = RuntimeError("secret")
    status, _, data = call(url, API + "converse", HELLO)
    assert status == 500
    assert b"secret" not in data
    caplog.clear()  # the log is the server's own, where details belong


@pytest.mark.parametrize(("method", "path"), [("GET", "converse"), ("POST", "models"), ("GET", "nothing"), ("PUT", "")])
def test_operations_that_there_are_not(url: str, method: str, path: str) -> None:
    body = HELLO if method != "GET" else None
    status, _, data = call(url, API + path, body, method=method)
    assert status == 404
    assert json.loads(data)["code"] == "ResourceNotFoundException"


# --- who may call ----------------------------------------------------------------------------------------------------


def test_a_page_of_another_origin_is_refused(url: str) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}):
        assert call(url, API + "converse", HELLO, **headers)[0] == 403, headers
        assert call(url, API + "calls", **headers)[0] == 403, headers
    assert call(url, API + "calls", Host="evil.example")[0] == 403
    assert backend.requests == []


def test_with_a_key_the_page_is_open_and_what_it_asks_is_not() -> None:
    with running(AsyncScriptedBackend("Hello."), api_key="open-sesame") as url:
        assert call(url, "/", Accept="text/html")[0] == 200
        assert call(url, "/playground/main.js")[0] == 200
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "AWS4-HMAC-SHA256 Credential=a"}):
            for path, body in (("models", None), ("converse", HELLO), ("calls", None), ("account", None)):
                status, _, data = call(url, API + path, body, **headers)
                assert status == 401, (path, headers)
                assert b"sesame" not in data
        assert call(url, API + "models", Authorization="Bearer open-sesame")[0] == 200
        assert call(url, API + "converse", HELLO, Authorization="Bearer open-sesame", Origin=url)[0] == 200


# --- what the server did, and has ------------------------------------------------------------------------------------


def test_every_call_of_others_shows_up(url: str) -> None:
    before = got(url, "calls")["next"]
    turns = [{"role": "user", "content": [{"text": "Hello"}]}]
    stage.reply = "one two three"
    with client(url, "bedrock-runtime") as runtime, client(url, "sts") as sts:
        list(runtime.converse_stream(modelId=NOVA, messages=turns)["stream"])
        with pytest.raises(runtime.exceptions.ValidationException):
            runtime.converse(modelId="no.such-model", messages=turns)
        sts.get_caller_identity()
    call(url, "/health")
    call(url, "/metrics")
    call(url, "/", Accept="text/html")
    got(url, "models")
    log = got(url, f"calls?after={before}")
    shown = [(one["service"], one["operation"], one["model"], one["status"]) for one in log["calls"]]
    assert shown == [
        ("bedrock-runtime", "ConverseStream", NOVA, 200),
        ("bedrock-runtime", "Converse", "no.such-model", 400),
        ("sts", "GetCallerIdentity", None, 200),
    ]
    assert log["next"] == before + 3
    assert got(url, f"calls?after={log['next']}")["calls"] == []
    assert len(got(url, "calls?after=999999")["calls"]) >= 3  # from a server that was there before
    streamed = got(url, f"calls?id={log['calls'][0]['id']}")
    assert streamed["request"]["messages"] == turns
    assert streamed["reply"]["output"]["message"]["content"] == [{"text": "one two three"}]
    assert "AWS4-HMAC" not in json.dumps(streamed)
    refused = got(url, f"calls?id={log['calls'][1]['id']}")
    assert "identifier is invalid" in refused["reply"]["message"]
    assert "identifier is invalid" in refused["error"]


@pytest.mark.parametrize("prefix", RUNTIMES)
def test_the_runtimes_operations_are_botocores(prefix: str) -> None:
    service, operations = RUNTIMES[prefix]
    model = service_model(service)
    paths = {name: model.operation_model(name).http["requestUri"] for name in model.operation_names}
    assert {name: path.rpartition("/")[2] for name, path in paths.items() if path.startswith(prefix)} == {
        name: ending for ending, name in operations.items()
    }


def test_a_call_that_broke_shows_what_had_come(url: str) -> None:
    stage.reply = Broken("one two three", after=3, error=ServerError("gone"))
    before = got(url, "calls")["next"]
    call(url, API + "converse", HELLO)
    (shown,) = got(url, f"calls?after={before}")["calls"]
    assert (shown["service"], shown["model"], shown["error"]) == ("playground", NOVA, "gone")
    reply = got(url, f"calls?id={shown['id']}")["reply"]
    assert reply["error"] == {"type": "ServerError", "message": "gone"}
    assert "one" in json.dumps(reply["before"])


def test_large_and_binary_bodies_are_cut_in_the_log(url: str) -> None:
    before = got(url, "calls")["next"]
    long = {**HELLO, "messages": [{"role": "user", "content": [{"text": "x" * 20_000}]}]}
    call(url, API + "converse", long)
    with client(url, "s3") as s3:
        s3.create_bucket(Bucket="cut-bucket")
        s3.put_object(Bucket="cut-bucket", Key="picture", Body=PNG)
    found = {one["operation"]: got(url, f"calls?id={one['id']}") for one in got(url, f"calls?after={before}")["calls"]}
    assert "20,000 characters" in found["ConverseStream"]["request"]["messages"][0]["content"][0]["text"]
    assert len(json.dumps(found["ConverseStream"])) < 3000
    assert re.fullmatch(r"[\d,]+ bytes", found["PutObject"]["request"])


def test_an_address_signed_in_advance_is_shown_without_its_signature(url: str) -> None:
    before = got(url, "calls")["next"]
    with client(url, "s3", CONFIG.merge(Config(signature_version="s3v4"))) as s3:
        s3.create_bucket(Bucket="signed-bucket")
        s3.put_object(Bucket="signed-bucket", Key="a", Body=b"text")
        address = s3.generate_presigned_url("get_object", Params={"Bucket": "signed-bucket", "Key": "a"})
    assert call(address, "")[2] == b"text"
    shown = got(url, f"calls?id={got(url, f'calls?after={before}')['calls'][-1]['id']}")
    assert shown["request"] == "GET /signed-bucket/a"
    assert shown["reply"] == "text"
    assert "ignature" not in json.dumps(shown)


@pytest.mark.parametrize("query", ["id=x", "after=-1", "after=9" + "9" * 30, "id=%C2%B2"])
def test_a_number_that_is_none_is_refused(url: str, query: str) -> None:
    assert call(url, f"{API}calls?{query}")[0] == 400
    assert call(url, API + "calls?id=0")[0] == 404


def test_the_journal_is_followed_without_gaps() -> None:
    """Calls are numbered as they begin and told of as they end."""
    journal = Journal(most=3)
    first, second = Exchange(Incoming("GET", "/")), Exchange(Incoming("GET", "/"))
    journal(second)
    seen, position = journal.since(0)
    journal(first)
    assert seen == [second]
    assert journal.since(position) == ([first], 2)
    for _ in range(5):
        journal(Exchange(Incoming("GET", "/")))
    kept, position = journal.since(1)
    assert (len(kept), position) == (3, 7)


def test_what_the_account_has_shows_up_with_its_state() -> None:
    waiting = running(AsyncScriptedBackend("Hello."), transitions={"endpoint": 2})
    with waiting as url, client(url, "sagemaker") as sagemaker:
        assert got(url, "account")["groups"] == []
        role = "arn:aws:iam::123456789012:role/r"
        sagemaker.create_model(ModelName="m", ExecutionRoleArn=role, PrimaryContainer={"Image": IMAGE})
        variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.g5.xlarge", "InitialInstanceCount": 1}
        sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
        sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
        for _ in range(5):  # to look at the page is not a look of the account's clock
            groups = {group["title"]: group["resources"] for group in got(url, "account")["groups"]}
        (endpoint,) = groups["Endpoints"]
        assert (endpoint["name"], endpoint["status"], endpoint["region"]) == ("e", "Creating", "us-east-1")
        assert endpoint["created"] > 0
        assert list(groups) == ["Endpoints", "Endpoint configs", "Models"]
        assert "sagemaker:e" not in [one["id"] for group in got(url, "models")["groups"] for one in group["models"]]
        while sagemaker.describe_endpoint(EndpointName="e")["EndpointStatus"] != "InService":
            pass
        listed = [one["id"] for group in got(url, "models")["groups"] for one in group["models"]]
        assert "sagemaker:e" in listed
        assert NOVA in listed


def test_what_takes_seconds_ends_though_no_program_looks() -> None:
    now = 1000.0
    guardrail = {"blockedInputMessaging": "no", "blockedOutputsMessaging": "no"}
    words = {"wordPolicyConfig": {"wordsConfig": [{"text": "secret"}]}}
    role = "arn:aws:iam::123456789012:role/r"
    embedding = {"embeddingModelArn": "arn:aws:bedrock:us-east-1::foundation-model/amazon.titan-embed-text-v2:0"}
    index = {"indexArn": "arn:aws:s3vectors:us-east-1:123456789012:bucket/b/index/i"}
    base = {
        "knowledgeBaseConfiguration": {"type": "VECTOR", "vectorKnowledgeBaseConfiguration": embedding},
        "storageConfiguration": {"type": "S3_VECTORS", "s3VectorsConfiguration": index},
    }
    lasting = dict.fromkeys(("endpoint", "guardrail", "knowledge-base"), 30.0)
    with running(AsyncScriptedBackend("Hello."), transitions=lasting, clock=lambda: now) as url:
        with client(url, "sagemaker") as sagemaker:
            sagemaker.create_model(ModelName="m", ExecutionRoleArn=role, PrimaryContainer={"Image": IMAGE})
            variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.g5.xlarge", "InitialInstanceCount": 1}
            sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
            sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
        with client(url, "bedrock") as bedrock, client(url, "bedrock-agent") as agent:
            bedrock.create_guardrail(name="g", **guardrail, **words)
            agent.create_knowledge_base(name="k", roleArn=role, **base)

        def states() -> dict[str, str]:
            found = (one for group in got(url, "account")["groups"] for one in group["resources"])
            return {one["name"]: one["status"] for one in found if one["status"]}

        assert states() == {"e": "Creating", "g": "CREATING", "k": "CREATING"}
        now = 1031.0
        assert states() == {"e": "InService", "g": "READY", "k": "ACTIVE"}


@dataclass
class Made:
    """A record of a kind that this test makes up."""

    shown: dict[str, Any]
    status: str = ""
    created: float = 0.0


@dataclass
class Versioned:
    """A record that shows what it is in its versions."""

    id: str
    versions: dict[str, Made]

    @property
    def name(self) -> str:
        return f"The guardrail {self.id}"


def test_guardrails_are_shown_and_offered() -> None:
    offline = Account()
    record = Versioned("gr1", {"DRAFT": Made({}, "READY", 4.0)})
    offline.state("us-east-1").table("guardrail")["gr1"] = record
    (group,) = account.resources(offline)["groups"]
    assert group["title"] == "Guardrails"
    assert [(one["name"], one["status"], one["created"]) for one in group["resources"]] == [
        ("The guardrail gr1", "READY", 4.0)
    ]
    assert account.models(Models(), offline)["guardrails"] == [{"id": "gr1", "name": "The guardrail gr1"}]
    assert account.models(Models(), None)["guardrails"] == []


def test_a_guardrail_of_the_account_reads_along() -> None:
    blocked = {"blockedInputMessaging": "No.", "blockedOutputsMessaging": "No."}
    words = {"wordPolicyConfig": {"wordsConfig": [{"text": "plutonium"}]}}
    with running(AsyncScriptedBackend("It is plutonium.")) as url, client(url, "bedrock") as bedrock:
        made = bedrock.create_guardrail(name="no-metals", **blocked, **words)["guardrailId"]
        assert got(url, "models")["guardrails"] == [{"id": made, "name": "no-metals"}]
        (group,) = got(url, "account")["groups"]
        assert (group["title"], group["resources"][0]["name"]) == ("Guardrails", "no-metals")
        config = {"guardrailConfig": {"guardrailIdentifier": made, "guardrailVersion": "DRAFT"}}
        _, _, body = call(url, API + "converse", {**HELLO, **config})
        assert ("messageStop", {"stopReason": "guardrail_intervened"}) in events(body)
        assert b"plutonium" not in body


def test_any_kind_of_record_is_shown_by_name_state_and_age() -> None:
    offline = Account()
    tables = offline.state("eu-west-1").tables
    tables["agent-flow"] = {"F1": Made({"name": "Manuals"}, "ACTIVE", 5.0)}
    tables["ingestion-job"] = {"J1": {"status": "FAILED", "startedAt": 1.0, "FailureReason": "no bucket"}}
    tables["guardrail-token"] = {"a-token": "a-secret"}
    tables["knowledge-base-document"] = {"d": Made({}, "INDEXED")}
    found = account.resources(offline)
    assert [group["title"] for group in found["groups"]] == ["Ingestion jobs", "Agent flows"]
    assert [group["resources"] for group in found["groups"]] == [
        [{"name": "J1", "status": "FAILED", "region": "eu-west-1", "created": None, "note": "no bucket"}],
        [{"name": "Manuals", "status": "ACTIVE", "region": "eu-west-1", "created": 5.0, "note": None}],
    ]
    assert account.resources(None)["groups"] == []


def test_the_servers_own_models_come_first() -> None:
    table = Table.of({"my-alias": "sagemaker:prod", "anthropic.*": "local:x", "vectors": "local:all-minilm-l6-v2"})
    own = ("smollm2-135m-instruct", "all-minilm-l6-v2", "mine")
    found = account.models(Models("local:smollm2-135m-instruct", "local:all-minilm-l6-v2", table=table, own=own), None)
    assert found["preferred"] == "local:smollm2-135m-instruct"
    assert [(one["id"], one["state"]) for one in found["groups"][0]["models"]] == [
        ("local:smollm2-135m-instruct", "answers by default"),
        ("my-alias", "is sagemaker:prod"),
        ("local:mine", "on this machine"),
    ]
    assert account.models(Models(), None)["preferred"] == NOVA
    assert not [one["id"] for group in found["groups"] for one in group["models"] if "embed" in one["id"]]


def test_a_name_of_the_servers_table_is_answered() -> None:
    script = AsyncScriptedBackend("Hello.")
    with running(script, models={"my-alias": "local:smollm2-135m-instruct"}) as url:
        status, _, body = call(url, API + "converse", {**HELLO, "model": "other-alias"})
        assert (status, "invalid" in body.decode()) == (400, True)
    models = Models(table=Table.of({"my-alias": "local:smollm2-135m-instruct"}))
    reference, request = _conversation({**HELLO, "model": "my-alias"}, models)
    assert (str(reference), request.model) == ("bedrock:my-alias", "my-alias")
    with pytest.raises(ValidationError, match="invalid"):
        _conversation({**HELLO, "model": "my-alias"}, Models(table=Table.of({})))


def test_models_that_have_ended_are_not_offered() -> None:
    def listed(day: date) -> set[str]:
        return {one["id"] for group in account._of_bedrock(day) for one in group["models"]}

    ends = {one.id: one.end_of_life for one in entries() if one.end_of_life is not None}
    gone = listed(date(2020, 1, 1)) - listed(date(2100, 1, 1))
    assert gone
    assert gone <= ends.keys()
