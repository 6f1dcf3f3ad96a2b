"""An attack on the file of a recording: secrets go in by every way that traffic has, and none comes out."""

import base64
import contextlib
import functools
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import moto.core  # noqa: F401 - a session that is older than this is not mocked
import pytest
from botocore import UNSIGNED
from botocore.config import Config

import awsllm
from awsllm.policy.redaction import KEY_ID, SCRUBBED
from awsllm.testing import mock_aws, record, replay
from awsllm.testing.traffic.exchange import RecordedExchange, SentRequest
from awsllm.testing.traffic.reading import read_request
from awsllm.testing.traffic.scrub import scrub_exchange
from awsllm.testing.traffic.scrubber import ACCOUNT, Scrubber
from awsllm.wire.eventstream import EVENT_STREAM, encode_event_frame
from tests.support.loopback import Received, Response, serving

# All made up, in the shapes of the real ones.
KEY = "AKIAJ7TUJ6FQTSTLXYZQ"
TEMPORARY = "ASIAQ3EGRTOXWYZ7ABCD"
SECRET = "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"
TOKEN = "IQoJb3JpZ2luX2VjEJr//////////wEaCXVzLWVhc3QtMSJHMEUCIQD" + "x7" * 120 + "=="
BEARER = "ABSKQmVkcm9ja0FQSUtleS1hYmNkLWF0LTk5OTk4ODg4Nzc3Nzphc2RmZ2hqa2w="
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"
HUGGING = "hf_aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH"
ACCOUNT_ID = "999988887777"
PASSWORD = "correct-horse-9-battery"
SECRETS = (KEY, TEMPORARY, SECRET, TOKEN, BEARER, JWT, HUGGING, ACCOUNT_ID, PASSWORD)
MODEL = "amazon.nova-lite-v1:0"
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", TEMPORARY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


def check(path: Path) -> str:
    """The file's text, once nothing secret was found in it: neither as it is, nor in base64, nor within it."""
    text = path.read_text(encoding="utf-8")
    unpacked = [text, text.replace("\n", "")]
    for word in text.split():
        for cut in range(4):
            with contextlib.suppress(ValueError):
                unpacked.append(base64.b64decode(word.strip("'\"")[cut:], validate=True).decode("latin-1"))
    for secret in SECRETS:
        assert not [each for each in unpacked if secret in each], secret
        assert base64.b64encode(secret.encode()).decode().rstrip("=")[:-1] not in text
    assert "AWS4-HMAC-SHA256 Cred" not in text
    assert "et-cookie" not in text
    assert not re.search(r"Signature=(?!scrubbed)", text)
    return text


def echoing(body: bytes, **headers: str) -> Any:
    return serving(lambda request: Response(body, headers={"Content-Type": "application/json", **headers}))


@functools.cache
def session() -> boto3.Session:
    """One for all tests: each would load the same models."""
    return boto3.Session(TEMPORARY, SECRET, TOKEN, "us-east-1")


@functools.cache
def client(service: str, url: str | None = None) -> Any:
    return session().client(service, endpoint_url=url)


def converse(url: str, text: str) -> Any:
    return client("bedrock-runtime", url).converse(
        modelId=MODEL, messages=[{"role": "user", "content": [{"text": text}]}]
    )


# --- requests --------------------------------------------------------------------------------------------------------


def test_who_signed(tmp_path: Path) -> None:
    """The headers of a signed request never are in the file, in whichever client's it was."""
    sent: list[Received] = []

    def answer(request: Received) -> Response:
        sent.append(request)
        return Response(b"{}", headers={"Content-Type": "application/json", "Set-Cookie": f"session={JWT}"})

    with serving(answer) as url, record(tmp_path / "a.yaml"):
        converse(url, "Hi")
        with awsllm.Client(region="us-east-1", endpoint_url=url) as client, contextlib.suppress(awsllm.AwsllmError):
            client.converse(f"bedrock:{MODEL}", "Hi")
    assert all(TEMPORARY in request.header("Authorization") for request in sent)
    assert all(request.header("X-Amz-Security-Token") == TOKEN for request in sent)
    text = check(tmp_path / "a.yaml").lower()
    assert "authorization" not in text
    assert "security-token" not in text


def test_what_a_server_echoes(tmp_path: Path) -> None:
    """A gateway's error page that quotes the request."""

    def echo(request: Received) -> Response:
        quoted = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
        return Response(json.dumps({"message": quoted}).encode(), 403, {"Content-Type": "application/json"})

    with serving(echo) as url, record(tmp_path / "a.yaml"), pytest.raises(Exception, match=r"403|AWS4"):
        converse(url, "Hi")
    check(tmp_path / "a.yaml")


def test_a_bearer_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", BEARER)

    def send(url: str, headers: dict[str, str]) -> RecordedExchange:
        sent = SentRequest(service="bedrock-runtime", method="POST", url=url, headers=headers, body=b"")
        return scrub_exchange(RecordedExchange(read_request(sent)), Scrubber())

    kept = send(f"https://h/x?api_key={PASSWORD}&a=1", {"Authorization": f"Bearer {BEARER}", "x-api-key": PASSWORD})
    assert kept.request.headers == {}
    assert kept.request.query == {"api_key": [SCRUBBED], "a": ["1"]}
    reply = json.dumps({"output": {"message": {"content": [{"text": f"your key {BEARER}"}]}}}).encode()
    with echoing(reply) as url, record(tmp_path / "a.yaml"):
        session().client("bedrock-runtime", endpoint_url=url, config=Config(signature_version="v4")).converse(
            modelId=MODEL, messages=[{"role": "user", "content": [{"text": BEARER}]}]
        )
    check(tmp_path / "a.yaml")


def test_keys_that_the_credential_chain_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A role that is assumed for the first call is no part of the test's traffic: who replays it has made-up keys."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text(
        f"[profile base]\naws_access_key_id={KEY}\naws_secret_access_key={SECRET}\n"
        f"[default]\nrole_arn=arn:aws:iam::{ACCOUNT_ID}:role/r\nsource_profile=base\nregion=us-east-1\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    assumed: list[bytes] = []

    def answer(request: Received) -> Response:
        if b"AssumeRole" not in request.body:
            assert TEMPORARY in request.header("Authorization")
            return Response(b"{}", headers={"Content-Type": "application/json"})
        assumed.append(request.body)
        keys = f"<AccessKeyId>{TEMPORARY}</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey>"
        more = f"<SessionToken>{TOKEN}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>"
        body = f"<R><AssumeRoleResult><Credentials>{keys}{more}</Credentials></AssumeRoleResult></R>"
        return Response(body.encode(), headers={"Content-Type": "text/xml"})

    def ask() -> None:
        boto3.Session().client("bedrock-runtime").invoke_model(modelId=MODEL, body=b"{}")

    with serving(answer) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with record(tmp_path / "a.yaml") as recorded:
            ask()
    assert len(assumed) == 1
    assert [exchange.request.operation for exchange in recorded.exchanges] == ["InvokeModel"]
    check(tmp_path / "a.yaml")
    with replay(tmp_path / "a.yaml", strict=True):
        ask()


def test_presigned_requests(tmp_path: Path) -> None:
    """In the URL that is asked, and in what speaks of such URLs."""
    for version in ("s3v4", "s3"):
        signer = session().client("s3", config=Config(signature_version=version))
        url = signer.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "k"})
        assert TEMPORARY in url
        sent = SentRequest(service="s3", method="GET", url=url, headers={}, body=b"")
        assert read_request(sent).query == {}
        with mock_aws(reply="unused"):
            s3 = client("s3")
            s3.create_bucket(Bucket="bucket")
            with record(tmp_path / "a.yaml"):
                s3.put_object(Bucket="bucket", Key="k", Body=f"fetch {url} now".encode(), Metadata={"link": url})
                s3.get_object(Bucket="bucket", Key="k")["Body"].read()
        check(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    "text",
    [
        f"I use {KEY} and arn:aws:iam::{ACCOUNT_ID}:role/x",
        f'{{"AccessKeyId": "{KEY}", "SecretAccessKey": "{SECRET}", "SessionToken": "{TOKEN}"}}',
        f"credentials: aws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n",
        f"export AWS_SECRET_ACCESS_KEY='{SECRET}' HF_TOKEN={HUGGING}",
        f'the reply was {{"SecretAccessKey": "{SECRET}"}} and then \\"SessionToken\\": \\"{TOKEN}\\"',
        f"curl -H 'Authorization: Bearer {JWT}' https://user:{PASSWORD}@example.com/?password={PASSWORD}&b=1",
        f'db: {{"password": "{PASSWORD}"}}',
        base64.b64encode(f'{{"password": "{PASSWORD}"}}'.encode()).decode(),
        f"{ACCOUNT_ID}.dkr.ecr.us-east-1.amazonaws.com/image and sagemaker-us-east-1-{ACCOUNT_ID}",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
        f"aws configure set aws_session_token {TOKEN}",
        f"aws configure set aws_secret_access_key {SECRET}",
        f"{KEY},{SECRET}",
        f"the request had\nCookie: a={JWT}; b={PASSWORD}\nAuthorization: Digest {PASSWORD}",
        f"see https://h/?next=https%3A%2F%2Fb%2Fk%3Fa%3Db%26password%3D{PASSWORD}",
        f"bucket myapp{ACCOUNT_ID} and log-{ACCOUNT_ID}-x",
        f"my key is {SECRET}.",  # told by the environment alone
    ],
)
def test_in_a_prompt(text: str, tmp_path: Path) -> None:
    """Whole, and the same request finds its answer."""
    with (
        echoing(
            json.dumps({"output": {"message": {"role": "assistant", "content": [{"text": text}]}}}).encode()
        ) as url,
        record(tmp_path / "a.yaml"),
    ):
        converse(url, text)
    check(tmp_path / "a.yaml")
    with replay(tmp_path / "a.yaml") as played:
        found = converse(NOWHERE, text.replace(SECRET, "scrubbed") if text.startswith("my") else text)
    assert (
        found["output"]["message"]["content"][0]["text"]
        == played.exchanges[0].request.body["messages"][0]["content"][0]["text"]
    )


@pytest.mark.parametrize("service", ["sagemaker-runtime", "bedrock-runtime"])
def test_bytes_that_are_no_text(service: str, tmp_path: Path) -> None:
    body = b"\xff\xfe\x00" + "\x00".join((KEY, ACCOUNT_ID, TOKEN, SECRET)).encode() + b"\x00\x80"
    kind = {"Content-Type": "application/octet-stream"}
    with serving(lambda request: Response(request.body, headers=kind)) as url, record(tmp_path / "a.yaml"):
        if service == "sagemaker-runtime":
            answer = client(service, url).invoke_endpoint(EndpointName="e", Body=body)["Body"].read()
        else:
            answer = client(service, url).invoke_model(modelId=MODEL, body=body)["body"].read()
    assert answer == body
    check(tmp_path / "a.yaml")
    with replay(tmp_path / "a.yaml") as played:
        assert played.exchanges[0].response.form == "base64"


def test_a_compressed_body(tmp_path: Path) -> None:
    body = gzip.compress(json.dumps({"password": PASSWORD, "account": ACCOUNT_ID}).encode())
    with echoing(body, **{"Content-Encoding": "gzip"}) as url, record(tmp_path / "a.yaml"):
        client("sagemaker-runtime", url).invoke_endpoint(EndpointName="e", Body=b"{}")["Body"].read()
    assert "password: scrubbed" in check(tmp_path / "a.yaml")


# --- replies that are secrets ----------------------------------------------------------------------------------------


def test_services_that_give_secrets(tmp_path: Path) -> None:
    """STS's keys, in XML; Secrets Manager's and SSM's values; KMS's plaintext; ECR's password; IAM's keys."""
    with mock_aws(reply="unused"):
        secrets, ssm, kms = client("secretsmanager"), client("ssm"), client("kms")
        iam, sts = client("iam"), client("sts")
        key = kms.create_key()["KeyMetadata"]["KeyId"]
        iam.create_user(UserName="u")
        with record(tmp_path / "a.yaml"):
            role = sts.assume_role(RoleArn=f"arn:aws:iam::{ACCOUNT_ID}:role/r", RoleSessionName="session")[
                "Credentials"
            ]
            made = iam.create_access_key(UserName="u")["AccessKey"]
            secrets.create_secret(Name="s", SecretString=PASSWORD)
            assert secrets.get_secret_value(SecretId="s")["SecretString"] == PASSWORD
            secrets.create_secret(Name="t", SecretBinary=PASSWORD.encode())
            ssm.put_parameter(Name="p", Value=PASSWORD, Type="SecureString")
            assert ssm.get_parameter(Name="p", WithDecryption=True)["Parameter"]["Value"] == PASSWORD
            data = kms.generate_data_key(KeyId=key, NumberOfBytes=32)["Plaintext"]
            ecr = client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
        text = check(tmp_path / "a.yaml")
        for secret in (
            role["SecretAccessKey"],
            role["SessionToken"],
            made["SecretAccessKey"],
            made["AccessKeyId"],
            ecr,
        ):
            assert secret not in text
        assert base64.b64encode(data).decode() not in text
    with replay(tmp_path / "a.yaml"):
        role = client("sts").assume_role(RoleArn=f"arn:aws:iam::{ACCOUNT_ID}:role/r", RoleSessionName="session")
        assert role["Credentials"]["SecretAccessKey"] == SCRUBBED
        assert role["Credentials"]["AccessKeyId"] == KEY_ID
        assert role["AssumedRoleUser"]["Arn"].startswith(f"arn:aws:sts::{ACCOUNT}:")
        assert client("secretsmanager").create_secret(Name="s", SecretString="another")["Name"] == "s"


def test_sso_and_models_with_tokens(tmp_path: Path) -> None:
    """Tokens in the query and headers of requests that nobody signs, and in the environment of a container."""
    unsigned = Config(signature_version=UNSIGNED)
    reply = json.dumps({"accessToken": JWT, "refreshToken": PASSWORD, "clientSecret": PASSWORD, "roleCredentials": {
        "accessKeyId": KEY, "secretAccessKey": SECRET, "sessionToken": TOKEN, "expiration": 1}}).encode()  # fmt: skip
    with echoing(reply) as url, record(tmp_path / "a.yaml"):
        session().client("sso", endpoint_url=url, config=unsigned).get_role_credentials(
            roleName="r", accountId=ACCOUNT_ID, accessToken=JWT
        )
        session().client("sso-oidc", endpoint_url=url, config=unsigned).create_token(
            clientId="c", clientSecret=PASSWORD, grantType="refresh_token", refreshToken=PASSWORD, deviceCode=PASSWORD
        )
        client("sagemaker", url).create_model(
            ModelName="m",
            ExecutionRoleArn=f"arn:aws:iam::{ACCOUNT_ID}:role/r",
            PrimaryContainer={"Environment": {"HF_TOKEN": HUGGING, "API_KEY": PASSWORD, "N": "1"}},
        )
        client("ecs", url).register_task_definition(
            family="f",
            containerDefinitions=[{"name": "c", "environment": [{"name": "DB_PASSWORD", "value": PASSWORD}]}],
        )
    assert "N: '1'" in check(tmp_path / "a.yaml")


# --- streams ---------------------------------------------------------------------------------------------------------


def pieces(text: str, size: int) -> Iterator[str]:
    for at in range(0, len(text), size):
        yield text[at : at + size]


@pytest.mark.parametrize("size", [1, 3, 7, 500])
def test_a_model_writes_secrets_in_pieces(size: int, tmp_path: Path) -> None:
    text = f"Role arn:aws:iam::{ACCOUNT_ID}:role/x, key {KEY}, password={PASSWORD}, token {TOKEN} and no more."
    frames = [
        encode_event_frame("contentBlockDelta", json.dumps({"contentBlockIndex": 0, "delta": {"text": part}}).encode())
        for part in pieces(text, size)
    ]
    with (
        serving(lambda request: Response(frames, headers={"Content-Type": EVENT_STREAM})) as url,
        record(tmp_path / "a.yaml"),
    ):
        converse_stream(url)
    check(tmp_path / "a.yaml")
    with replay(tmp_path / "a.yaml"):
        events = converse_stream()
    written = "".join(each["contentBlockDelta"]["delta"]["text"] for each in events)
    assert len(events) == len(frames)
    assert not [secret for secret in SECRETS if secret in written]
    assert f"arn:aws:iam::{ACCOUNT}:role/x" in written
    assert written.endswith("and no more.")


def converse_stream(url: str = NOWHERE) -> list[Any]:
    messages = [{"role": "user", "content": [{"text": "Hi"}]}]
    return list(client("bedrock-runtime", url).converse_stream(modelId=MODEL, messages=messages)["stream"])


@pytest.mark.parametrize("size", [1, 5, 13])
@pytest.mark.parametrize(
    "kind", ["chunk", "sse", "payload", "raw", "tool", "sse in payload", "lines", "cut characters"]
)
def test_in_pieces_of_every_kind(kind: str, size: int) -> None:
    """By the functions alone: what no client of this process could stream too."""
    from awsllm.testing.traffic.exchange import RecordedRequest, TimedBytes
    from awsllm.testing.traffic.reading import read_response

    text = f'{{"key": "{KEY}", "password": "{PASSWORD}", "account": "{ACCOUNT_ID}"}}'
    parts = list(pieces(text, size))
    if kind == "sse in payload":
        data = "".join(f"data: {json.dumps({'token': {'text': part}})}\n\n" for part in parts).encode()
        frames = [
            encode_event_frame("PayloadPart", data[at : at + 29], "application/octet-stream")
            for at in range(0, len(data), 29)
        ]
    elif kind == "lines":
        frames = [f"{json.dumps({'outputText': part})}\n".encode() for part in parts]
    elif kind == "cut characters":
        data = text.replace("{", "é{").encode()
        frames = [data[:1], data[1:20], data[20:]]
    elif kind == "sse":
        frames = [f"data: {json.dumps({'choices': [{'delta': {'content': part}}]})}\n\n".encode() for part in parts]
    elif kind == "raw":
        frames = [part.encode() for part in parts]
    elif kind == "chunk":
        inner = [json.dumps({"delta": {"text": part}}).encode() for part in parts]
        wrapped = [json.dumps({"bytes": base64.b64encode(each).decode()}).encode() for each in inner]
        frames = [encode_event_frame("chunk", each) for each in wrapped]
    elif kind == "payload":
        frames = [encode_event_frame("PayloadPart", part.encode(), "application/octet-stream") for part in parts]
    else:
        frames = [
            encode_event_frame("contentBlockDelta", json.dumps({"delta": {"toolUse": {"input": part}}}).encode())
            for part in parts
        ]
    names = ("chunk", "contentBlockDelta", "PayloadPart", "application/octet-stream")
    content_type = {"sse": "text/event-stream", "raw": "text/plain", "lines": "", "cut characters": ""}.get(
        kind, EVENT_STREAM
    )
    request = RecordedRequest(service="x")
    response = read_response(
        request, 200, {"content-type": content_type}, [TimedBytes(0, each) for each in frames], streamed=True
    )
    clean = scrub_exchange(RecordedExchange(request, response), Scrubber()).response
    assert clean is not None
    assert len(clean.body) == len(frames)
    written = "".join(text for text in leaves(clean.body) if text not in names)
    joined = re.sub(r'"\}+\n+(data: )?\{("token":\{)?"\w+":"', "", written)  # as who reads the lines would
    assert not [secret for secret in (KEY, PASSWORD, ACCOUNT_ID) if secret in joined]
    assert KEY_ID in joined.replace("\\", "")


def test_frames_that_are_not_written_as_events() -> None:
    """One with a header of another type keeps its length and gets its checksums anew; of one that was cut, nothing is
    kept but its lengths."""
    from awsllm.testing.traffic.exchange import RecordedRequest, TimedBytes
    from awsllm.testing.traffic.reading import read_response
    from awsllm.testing.traffic.streams import write_stream
    from awsllm.wire.eventstream import FrameDecoder, encode_date, encode_signed_frame

    odd = encode_signed_frame(encode_date(0), b"s", f"key {KEY} of {ACCOUNT_ID}".encode())
    cut = encode_event_frame("chunk", f'{{"password": "{PASSWORD}"}}'.encode())[:-9]
    request = RecordedRequest(service="x")
    response = read_response(request, 200, {"content-type": EVENT_STREAM}, [TimedBytes(0, odd + cut)], streamed=True)
    clean = scrub_exchange(RecordedExchange(request, response), Scrubber()).response
    assert clean is not None
    data = b"".join(piece.data for piece in write_stream(clean.body))
    assert len(data) == len(odd + cut)
    assert not [secret for secret in (KEY, ACCOUNT_ID, PASSWORD) if secret.encode() in data]
    assert FrameDecoder().feed(data)[0].payload == f"key {'*' * len(KEY)} of {ACCOUNT}".encode()


def leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    if isinstance(value, dict) and "base64" in value:
        value = {"text": base64.b64decode(value["base64"]).decode("latin-1")}
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from leaves(each)


# --- what is no secret -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        {"usage": {"inputTokens": 3, "totalTokens": 123456789013}, "nextToken": "abc", "clientToken": "c"},
        {"logprobs": {"content": [{"token": "Hello", "logprob": -0.1}]}},
        {"reasoningText": {"text": "t", "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3h"}},
        {"eos_token": "</s>", "stop_token": "<|im_end|>"},
        "A basic understanding of bearer instruments; the next token: Paris. Password: required.",
        "550e8400-e29b-41d4-a716-446655440000 and 550e8400-e29b-41d4-a716-123456123456",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 b999988887777",
        "0.123456789013 and 1234567890123 and 20240501123000",
        {"schema": {"properties": {"password": {"type": "string"}}, "required": ["password"]}},
        "https://example.com/a?b=c&d=e",
        "sk-learn, a secret garden, key value stores",
    ],
)
def test_what_is_no_secret_stays(value: Any) -> None:
    assert Scrubber().value(value) == value


@pytest.mark.parametrize("part", ["ab=", "AWS4-HMAC-SHA256 ", "a:'b:'", "[", "://a:", "<a>", "eyJ", "ab: ", 'k="'])
def test_text_that_was_made_to_take_long(part: str) -> None:
    """No pattern goes over a text again and again, nor into itself."""
    assert Scrubber().text(part * 100_000) is not None


def test_scrubbing_twice_is_scrubbing_once() -> None:
    """A file that is read again, and the request that looks for its answer there, are alike."""
    value = {"a": " ".join(SECRETS), "password": PASSWORD, "text": f"password={PASSWORD} arn:aws:iam::{ACCOUNT_ID}:x"}
    once = Scrubber().value(value)
    assert Scrubber().value(once) == once
