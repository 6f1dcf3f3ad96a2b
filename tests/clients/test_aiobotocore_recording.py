"""aiobotocore's clients, recorded and replayed."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest

from awsllm.testing import MissingRecordingError, record, replay
from awsllm.wire.eventstream import EVENT_STREAM, encode_event_frame
from tests.support.loopback import Received, Response, serving

session_module = pytest.importorskip("aiobotocore.session")

NOWHERE = "http://127.0.0.1:9"
MODEL = "amazon.nova-lite-v1:0"
REPLY = b'{"output":{"message":{"role":"assistant","content":[{"text":"Hi"}]}},"stopReason":"end_turn"}'
FRAMES = [
    encode_event_frame("messageStart", b'{"role":"assistant"}'),
    encode_event_frame("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":"Hi"}}'),
    encode_event_frame("messageStop", b'{"stopReason":"end_turn"}'),
]
DATA = bytes(range(256)) * 500


def answer(request: Received) -> Response:
    if request.path.endswith("converse"):
        return Response(REPLY, headers={"Content-Type": "application/json"})
    if request.path.endswith("converse-stream"):
        joined = b"".join(FRAMES)
        return Response([joined[:50], joined[50:]], headers={"Content-Type": EVENT_STREAM})
    if "endpoints" in request.path:
        return Response(request.body, headers={"Content-Type": "application/octet-stream"})
    if request.method == "PUT":
        return Response(b"", headers={"ETag": '"e"'})
    return Response(b'{"message":"no"}', 400, {"x-amzn-ErrorType": "ValidationException"})


def client(service: str, url: str) -> Any:
    return session_module.get_session().create_client(
        service, "us-east-1", endpoint_url=url, aws_access_key_id="k", aws_secret_access_key="s"
    )


async def calls(url: str) -> list[Any]:
    messages = [{"role": "user", "content": [{"text": "Hello"}]}]
    async with client("bedrock-runtime", url) as bedrock, client("sagemaker-runtime", url) as sagemaker:
        whole = await bedrock.converse(modelId=MODEL, messages=messages)
        stream = (await bedrock.converse_stream(modelId=MODEL, messages=messages))["stream"]
        events = [event async for event in stream]
        body = (await sagemaker.invoke_endpoint(EndpointName="e", Body=DATA))["Body"]
        first = await body.read(10)
        rest = await body.read()
        again = (await sagemaker.invoke_endpoint(EndpointName="e", Body=DATA))["Body"]
        chunks = b"".join([chunk async for chunk in again.iter_chunks()])
        with pytest.raises(Exception, match="ValidationException"):
            await bedrock.invoke_model(modelId=MODEL, body=b"{}")
    async with client("s3", url) as s3:
        await s3.put_object(Bucket="bucket", Key="k", Body=b"some bytes")
        await s3.put_object(Bucket="bucket", Key="k", Body=io.BytesIO(b"a file"))
    return [whole["output"], events, first, first + rest, chunks]


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[Path, list[Any]]:
    with serving(answer) as url, record(tmp_path / "a.yaml"):
        found = asyncio.run(calls(url))
    assert found[2:] == [DATA[: len(found[2])], DATA, DATA]
    return tmp_path / "a.yaml", found


def test_recorded_and_replayed(recorded: tuple[Path, list[Any]]) -> None:
    path, found = recorded
    with replay(path, strict=True) as played:
        assert [each.request.body for each in played.exchanges if each.request.service == "s3"] == [
            "some bytes",
            "a file",
        ]
        again = asyncio.run(calls(NOWHERE))
    assert again[:2] == found[:2]
    assert again[3:] == found[3:]


def test_what_is_missing_is_told(recorded: tuple[Path, list[Any]]) -> None:
    async def ask() -> None:
        async with client("bedrock-runtime", NOWHERE) as bedrock:
            await bedrock.converse(modelId=MODEL, messages=[{"role": "user", "content": [{"text": "Other"}]}])

    with replay(recorded[0]), pytest.raises(MissingRecordingError, match=r"recorded 'Hello', sent 'Other'"):
        asyncio.run(ask())
