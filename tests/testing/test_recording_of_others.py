"""Files of vcrpy, as it and the projects that record Bedrock with it write them."""

import base64
import functools
import gzip
import json
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

import awsllm
from awsllm.testing import MissingRecordingError, recording, replay
from awsllm.wire.eventstream import EVENT_STREAM, encode_event_frame
from tests.support.loopback import Received, Response, serving

MODEL = "amazon.nova-micro-v1:0"
URL = "https://bedrock-runtime.us-east-1.amazonaws.com/model/amazon.nova-micro-v1%3A0"
REQUEST = {"messages": [{"role": "user", "content": [{"text": "Hello!"}]}], "system": [{"text": "You are a chatbot."}]}
REPLY = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Hello there, 999988887777!"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 7, "outputTokens": 39, "totalTokens": 46},
    "metrics": {"latencyMs": 300},
}
FRAMES = b"".join(
    encode_event_frame(kind, json.dumps(payload).encode())
    for kind, payload in {
        "messageStart": {"role": "assistant"},
        "contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "Hi"}},
        "messageStop": {"stopReason": "end_turn"},
    }.items()
)


def interaction(response: Any, *, path: str = "converse", body: Any = None, **request: Any) -> dict[str, Any]:
    """vcrpy's, with the headers that botocore gives it, in bytes."""
    return {
        "request": {
            "body": json.dumps(REQUEST) if body is None else body,
            "headers": {
                "amz-sdk-invocation-id": [b"452e6489-326c-4f05-8654-9fd39669f0af"],
                "Content-Type": [b"application/json"],
                "Authorization": ["AWS4-HMAC-SHA256 Credential=AKIAJ7TUJ6FQTSTLXYZQ/…, Signature=00ff"],
            },
            "method": "POST",
            "uri": f"{URL}/{path}",
            **request,
        },
        "response": {"status": {"code": 200, "message": "OK"}, **response},
    }


def write(path: Path, *interactions: Any) -> Path:
    path.write_text(yaml.dump({"interactions": list(interactions), "version": 1}, allow_unicode=True))
    return path


def headers(content_type: str, **more: str) -> dict[str, list[str]]:
    return {"Content-Type": [content_type], "content-length": ["348"], **{name: [each] for name, each in more.items()}}


@functools.cache
def client(service: str, url: str | None = None) -> Any:
    return boto3.Session("AKIAJ7TUJ6FQTSTLXYZQ", "made-up").client(service, "us-east-1", endpoint_url=url)


def converse() -> str:
    response = client("bedrock-runtime").converse(modelId=MODEL, **REQUEST)
    return str(response["output"]["message"]["content"][0]["text"])


JSON = headers("application/json")
TEXT = json.dumps(REPLY)
PLAIN = interaction({"body": {"string": TEXT}, "headers": JSON})


@pytest.mark.parametrize(
    "each",
    [
        PLAIN,
        interaction({"body": {"string": TEXT.encode()}, "headers": JSON}),
        interaction({"body": {"base64_string": base64.b64encode(TEXT.encode()).decode()}, "headers": JSON}),
        interaction({"body": {"string": gzip.compress(TEXT.encode())}, "headers": {"Content-Encoding": ["gzip"]}}),
        interaction({"parsed_body": REPLY, "headers": JSON}, body=None, parsed_body=REQUEST),
        interaction({"content": TEXT, "headers": {"content-type": "text/json"}, "status": None, "status_code": 200}),
        interaction(
            {"body": {"string": base64.b64encode(TEXT.encode()).decode()}, "headers": {**JSON, "x-vcr-base64": ["yes"]}}
        ),
        interaction({"body": {"string": TEXT}, "headers": JSON}, body=json.dumps(REQUEST).encode()),
        interaction({"body": {"string": TEXT}, "headers": JSON}, body={"string": json.dumps(REQUEST)}),
        interaction({"body": {"string": TEXT}, "headers": JSON}, headers=None),
    ],
    ids=["text", "bytes", "base64", "gzip", "pydantic-ai", "httpx", "opentelemetry", "request", "mapping", "bare"],
)  # fmt: skip
def test_every_shape(each: Any, tmp_path: Path) -> None:
    with replay(write(tmp_path / "a.yaml", each), strict=True):
        assert converse() == "Hello there, 123456789012!"


def test_a_stream(tmp_path: Path) -> None:
    """Each event is a chunk of its own."""
    path = write(
        tmp_path / "a.yaml",
        interaction({"body": {"string": FRAMES}, "headers": headers(EVENT_STREAM)}, path="converse-stream"),
    )
    with replay(path, repeats=True) as played:
        stream = client("bedrock-runtime").converse_stream(modelId=MODEL, **REQUEST)["stream"]
        assert [next(iter(event)) for event in stream] == ["messageStart", "contentBlockDelta", "messageStop"]
        with awsllm.Client(region="us-east-1") as own:
            events = own.converse_stream(
                f"bedrock:{MODEL}", "Hello!", system="You are a chatbot.", timeout=30, max_tokens=None
            )
            assert [type(event).__name__ for event in events] == ["MessageStart", "ContentBlockDelta", "MessageStop"]
    assert len(played.exchanges[0].response.body) == 3


def test_a_file_in_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(
        json.dumps({
            "version": 1,
            "interactions": [{
                "request": {"method": "POST", "uri": f"{URL}/converse", "body": json.dumps(REQUEST), "headers": {}},
                "response": {"status": {"code": 200, "message": "OK"}, "headers": JSON, "body": {"string": TEXT}},
            }],
        })
    )  # fmt: skip
    with replay(tmp_path / "a.json", strict=True):
        assert converse().startswith("Hello there")


def account(url: str | None = None) -> Any:
    return client("sts", url).get_caller_identity()["Account"]


def dashboards(url: str | None = None) -> Any:
    return client("cloudwatch", url).list_dashboards()["DashboardEntries"]


STS = "<R><GetCallerIdentityResult><Account>999988887777</Account></GetCallerIdentityResult></R>"


@pytest.mark.parametrize(
    ("host", "call", "body", "found"),
    [
        ("https://sts.us-east-1.amazonaws.com", account, STS, "123456789012"),
        ("https://sts.amazonaws.com", account, STS, "123456789012"),
        ("http://localhost:4566", account, STS, "123456789012"),
        ("https://monitoring.us-east-1.amazonaws.com", dashboards, '{"DashboardEntries": []}', []),
    ],
)
def test_services_by_their_hosts(host: str, call: Any, body: str, found: Any, tmp_path: Path) -> None:
    """vcrpy knows no service, but the host tells it; of a host that does not, any service may be meant."""
    sent: list[Received] = []

    def answer(request: Received) -> Response:
        sent.append(request)
        return Response(body.encode(), headers={"Content-Type": "application/json"})

    with serving(answer) as url:
        call(url)
    each = {
        "request": {
            "body": sent[0].body,
            "headers": {name: [value] for name, value in sent[0].headers.items()},
            "method": sent[0].method,
            "uri": f"{host}{sent[0].path}",
        },
        "response": {"status": {"code": 200, "message": "OK"}, "headers": {}, "body": {"string": body}},
    }
    with replay(write(tmp_path / "a.yaml", each), strict=True):
        assert call() == found


def test_what_differs_is_told_as_ever(tmp_path: Path) -> None:
    other = {**REQUEST, "system": [{"text": "You are a poet."}]}
    path = write(tmp_path / "a.yaml", interaction({"body": {"string": TEXT}, "headers": JSON}, body=json.dumps(other)))
    with replay(path), pytest.raises(MissingRecordingError) as caught:
        converse()
    assert r"body.system[0].text: recorded 'You are a poet.', sent 'You are a chatbot.'" in str(caught.value)


def test_adding_to_it_makes_it_a_recording(tmp_path: Path) -> None:
    """Without what its authors may have left in."""
    path = write(tmp_path / "a.yaml", PLAIN)
    reply = Response(TEXT.encode(), headers={"Content-Type": "application/json"})
    with serving(lambda request: reply) as url, recording(path, "new"):
        assert converse() == "Hello there, 123456789012!"
        client("bedrock-runtime", url).converse(modelId="other", **REQUEST)
    text = path.read_text()
    assert text.startswith("awsllm-recording: 1\n")
    assert "AKIA" not in text
    with replay(path, strict=True):
        converse()
        client("bedrock-runtime").converse(modelId="other", **REQUEST)
