"""Streams keep their events, their chunks and, where asked, their times."""

import asyncio
import base64
import functools
import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import EventStreamError
from hypothesis import given
from hypothesis import strategies as st
from urllib3.exceptions import ProtocolError

import awsllm
from awsllm.errors import ModelTimeoutError, StreamError
from awsllm.testing import MissingRecordingError, RecordedExchange, record, replay
from awsllm.testing.traffic.bodies import read_body, write_body
from awsllm.testing.traffic.exchange import TimedBytes
from awsllm.testing.traffic.streams import read_stream, write_stream
from awsllm.wire.eventstream import EVENT_STREAM, FrameDecoder, encode_event_frame, encode_exception_frame, encode_frame
from tests.support.loopback import Received, Response, serving

MODEL = "amazon.nova-lite-v1:0"
NOWHERE = "http://127.0.0.1:9"
ONCE = Config(retries={"total_max_attempts": 1})
HEADERS = {"Content-Type": EVENT_STREAM}


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAJ7TUJ6FQTSTLXYZQ")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "u9Zk0wq7VbJx3m5Nn8sRr2Tt6Yy4Ee1Ww0Qq9Pp")


def event(kind: str, payload: object) -> bytes:
    return encode_event_frame(kind, json.dumps(payload).encode())


def delta(text: str) -> bytes:
    return event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}})


START = event("messageStart", {"role": "assistant"})
STOP = event("messageStop", {"stopReason": "end_turn"})
USAGE = event(
    "metadata", {"usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}, "metrics": {"latencyMs": 1}}
)


def streaming(*pieces: bytes) -> Any:
    return serving(lambda request: Response(pieces, headers=HEADERS))


@functools.cache
def runtime(url: str = NOWHERE) -> Any:
    return boto3.client("bedrock-runtime", "us-east-1", endpoint_url=url, config=ONCE)


def ask(url: str = NOWHERE) -> Any:
    """boto3's stream of events."""
    client = runtime(url)
    messages = [{"role": "user", "content": [{"text": "Hi"}]}]
    return client.converse_stream(modelId=MODEL, messages=messages)["stream"]


def ask_awsllm(url: str = NOWHERE, **options: Any) -> list[Any]:
    with awsllm.Client(region="us-east-1", endpoint_url=url, policy=awsllm.Policy(max_attempts=1)) as client:
        return list(client.converse_stream(f"bedrock:{MODEL}", "Hi", **options))


def chunks(exchange: RecordedExchange) -> list[dict[str, Any]]:
    assert exchange.response is not None
    assert exchange.response.form == "stream"
    return list(exchange.response.body)


# --- chunks ----------------------------------------------------------------------------------------------------------


def test_chunks_are_kept(tmp_path: Path) -> None:
    """Also those that end inside of an event, which is what finds clients that cannot wait for the rest."""
    joined = START + delta("Hello") + STOP + USAGE
    at = len(START) + 7
    with streaming(joined[:at], joined[at:-3], joined[-3:]) as url, record(tmp_path / "a.yaml") as recorded:
        events = list(ask(url))
    written = chunks(recorded.exchanges[0])
    assert [[each["event"] for each in chunk["events"]] for chunk in written] == [
        ["messageStart"],
        ["contentBlockDelta", "messageStop"],
        ["metadata"],
    ]
    assert [chunk.get("cut") for chunk in written] == [7, len(USAGE) - 3, None]
    with replay(tmp_path / "a.yaml", repeats=True) as played:
        assert list(ask()) == events
        pieces = write_stream(chunks(played.exchanges[0]))
    frames = FrameDecoder().feed(b"".join(piece.data for piece in pieces))
    assert [json.loads(frame.payload) for frame in frames] == [
        json.loads(frame.payload) for frame in FrameDecoder().feed(joined)
    ]
    assert len(pieces) == 3


def test_an_exception_in_a_stream(tmp_path: Path) -> None:
    broken = encode_exception_frame("throttlingException", b'{"message":"Too fast"}')
    with (
        streaming(START, delta("Hel"), broken) as url,
        record(tmp_path / "a.yaml") as recorded,
        closing(ask(url)) as stream,
        pytest.raises(EventStreamError, match="Too fast"),
    ):
        list(stream)
    assert chunks(recorded.exchanges[0])[-1]["events"] == [
        {"exception": "throttlingException", "json": {"message": "Too fast"}}
    ]
    with replay(tmp_path / "a.yaml", repeats=True):
        with pytest.raises(EventStreamError, match=r"throttlingException.*Too fast"):
            list(ask())
        with pytest.raises(awsllm.AwsllmError, match="Too fast"):
            ask_awsllm()


def test_a_connection_that_breaks_breaks_again(tmp_path: Path) -> None:
    def cut(request: Received) -> Response:
        def pieces() -> Iterator[bytes]:
            yield START
            yield delta("Hel")[:20]
            raise ConnectionError

        return Response(pieces(), headers=HEADERS)

    with serving(cut) as url, record(tmp_path / "a.yaml") as recorded:
        stream = iter(ask(url))
        next(stream)
        with pytest.raises(ProtocolError):
            next(stream)
        with pytest.raises(StreamError):
            ask_awsllm(url)
    assert [each.response.end for each in recorded.exchanges] == ["broken", "broken"]
    with replay(tmp_path / "a.yaml"):
        stream = iter(ask())
        next(stream)
        with pytest.raises(ProtocolError):
            next(stream)
        with pytest.raises(StreamError):
            ask_awsllm()


def test_a_stream_that_its_reader_left(tmp_path: Path) -> None:
    with (
        streaming(START, delta("Hello"), STOP) as url,
        record(tmp_path / "a.yaml") as recorded,
        closing(ask(url)) as stream,
    ):
        next(iter(stream))
    assert recorded.exchanges[0].response.end == "left"
    with replay(tmp_path / "a.yaml"):
        stream = iter(ask())
        next(stream)
        with pytest.raises(MissingRecordingError, match="its reader left then"):
            list(stream)


def test_a_models_own_json_can_be_read(tmp_path: Path) -> None:
    inner = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hé"}}
    wrapped = event("chunk", {"bytes": base64.b64encode(json.dumps(inner).encode()).decode(), "p": "abc"})

    def invoke(url: str) -> list[Any]:
        body = runtime(url).invoke_model_with_response_stream(modelId=MODEL, body=b"{}")["body"]
        return [json.loads(each["chunk"]["bytes"]) for each in body]

    with streaming(wrapped) as url, record(tmp_path / "a.yaml") as recorded:
        assert invoke(url) == [inner]
    assert chunks(recorded.exchanges[0])[0]["events"] == [{"event": "chunk", "bytes": inner, "json": {"p": "abc"}}]
    with replay(tmp_path / "a.yaml"):
        assert invoke(NOWHERE) == [inner]


def test_payload_parts_of_an_endpoint(tmp_path: Path) -> None:
    """SageMaker's are bytes, cut anywhere."""
    text = 'data: {"a": "é"}\n\n'.encode()
    parts = [
        encode_event_frame("PayloadPart", part, "application/octet-stream")
        for part in (text[:13], text[13:], b"\xff\xfe")
    ]

    def invoke(url: str) -> bytes:
        client = boto3.client("sagemaker-runtime", "us-east-1", endpoint_url=url, config=ONCE)
        body = client.invoke_endpoint_with_response_stream(EndpointName="e", Body=b"x")["Body"]
        return b"".join(each["PayloadPart"]["Bytes"] for each in body)

    with streaming(*parts) as url, record(tmp_path / "a.yaml"):
        assert invoke(url) == text + b"\xff\xfe"
    with replay(tmp_path / "a.yaml"):
        assert invoke(NOWHERE) == text + b"\xff\xfe"


# --- times -----------------------------------------------------------------------------------------------------------


def slow(path: Path, seconds: float) -> None:
    """Write a recording whose events come ``seconds`` apart."""
    with streaming(START, delta("Hello"), STOP) as url, record(path):
        list(ask(url))
    numbers = iter(range(1, 100))
    text = re.sub(r"(?m)^  - at: .*$", lambda found: f"  - at: {next(numbers) * seconds}", path.read_text())
    path.write_text(text)


def test_times_are_kept_on_request(tmp_path: Path) -> None:
    slow(tmp_path / "a.yaml", 0.05)
    with replay(tmp_path / "a.yaml", timing=True):
        before = time.monotonic()
        times = [time.monotonic() - before for _ in ask()]
    assert all(at >= number * 0.05 for number, at in enumerate(times, 1))  # never early; a busy machine may be late
    slow(tmp_path / "a.yaml", 3600)
    with replay(tmp_path / "a.yaml"):
        assert len(list(ask())) == 3


def test_a_deadline_holds_while_a_recording_waits(tmp_path: Path) -> None:
    slow(tmp_path / "a.yaml", 3600)
    with replay(tmp_path / "a.yaml", timing=True, repeats=True):
        with pytest.raises(ModelTimeoutError):
            ask_awsllm(timeout=0.05)

        async def call() -> None:
            async with awsllm.AsyncClient(region="us-east-1") as client:
                async for _ in client.converse_stream(f"bedrock:{MODEL}", "Hi", timeout=0.05):
                    pass

        with pytest.raises(ModelTimeoutError):
            asyncio.run(call())


# --- any bytes -------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FRAMES = st.one_of(
    st.builds(event, st.sampled_from(["chunk", "messageStart"]), JSON),
    st.builds(encode_event_frame, st.just("PayloadPart"), st.binary(max_size=20), st.just("application/octet-stream")),
    st.builds(encode_exception_frame, st.just("throttlingException"), st.just(b'{"message":"m"}')),
    st.builds(
        encode_frame,
        st.dictionaries(st.sampled_from([":message-type", "a", ":event-type"]), st.text(max_size=5)),
        st.binary(max_size=9),
    ),
)


def cut_at(data: bytes, ends: Sequence[int]) -> list[TimedBytes]:
    places = [0, *sorted(end % (len(data) + 1) for end in ends), len(data)]
    return [TimedBytes(0.5, data[start:end]) for start, end in pairwise(places) if end > start]


@given(st.lists(FRAMES, max_size=4), st.lists(st.integers(0, 10_000), max_size=6))
def test_frames_in_any_cuts(frames: list[bytes], ends: list[int]) -> None:
    pieces = cut_at(b"".join(frames), ends)
    again = write_stream(json.loads(json.dumps(read_stream(pieces, EVENT_STREAM))))
    assert [piece.at for piece in again] == [piece.at for piece in pieces]
    before = FrameDecoder().feed(b"".join(piece.data for piece in pieces))
    after = FrameDecoder().feed(b"".join(piece.data for piece in again))
    assert [plain(frame) for frame in after] == [plain(frame) for frame in before]
    assert len(after) == len(frames)


def plain(frame: Any) -> tuple[Any, ...]:
    """Its headers, and its payload as it is meant."""
    try:
        payload = json.loads(frame.payload)
        payload = {**payload, "bytes": json.loads(base64.b64decode(payload["bytes"]))}
    except (ValueError, TypeError, KeyError):
        payload = locals().get("payload", frame.payload)
    return dict(frame.headers), payload


@given(st.binary(max_size=60), st.lists(st.integers(0, 100), max_size=5))
@pytest.mark.parametrize("content_type", [EVENT_STREAM, "text/event-stream", "text/plain", ""])
def test_bytes_in_any_cuts(content_type: str, data: bytes, ends: list[int]) -> None:
    """What makes no sense comes back byte for byte."""
    pieces = cut_at(data, ends)
    assert write_stream(json.loads(json.dumps(read_stream(pieces, content_type)))) == pieces


@given(st.lists(st.tuples(st.sampled_from(["", "event: ping\n"]), JSON), max_size=4), st.lists(st.integers(0, 300)))
def test_server_sent_events_in_any_cuts(events: list[tuple[str, Any]], ends: list[int]) -> None:
    data = "".join(f"{name}data: {json.dumps(value)}\n\n" for name, value in events) + "data: [DONE]\n\n"
    written = read_stream(cut_at(data.encode(), ends), "text/event-stream")
    assert [each["data"] for chunk in written for each in chunk["events"] if "data" in each] == [v for _, v in events]
    again = b"".join(piece.data for piece in write_stream(written)).decode()
    lines = [line[6:] for line in again.split("\n") if line.startswith("data: ")]
    assert [json.loads(line) for line in lines[:-1]] == [value for _, value in events]
    assert again.endswith("data: [DONE]\n\n")


@given(
    st.one_of(st.binary(), JSON.map(lambda value: json.dumps(value).encode())),
    st.sampled_from(["", "application/json"]),
)
def test_any_body_comes_back(data: bytes, content_type: str) -> None:
    form, body = read_body(data, content_type)
    again = write_body(form, json.loads(json.dumps(body)))
    assert again == data or (form == "json" and json.loads(again) == json.loads(data))


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '{"a": "\\ud800"}', "{not json}", "[1"])
def test_json_that_would_not_come_back_stays_text(text: str) -> None:
    assert read_body(text.encode(), "application/json") == ("text", text)
