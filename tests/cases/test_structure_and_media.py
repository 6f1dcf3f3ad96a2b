"""Typed answers, documents and pictures, system texts, images and videos made: the cases O1, D1, D2 and B2."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import awsllm
from awsllm.testing import mock_aws
from awsllm.types import Bytes, Document, Image, Message, Reasoning, S3Location, Text, ToolUse
from tests.support.cases import CLAUDE, NOVA, answering, asking, boto, last
from tests.support.media import PIXELS

TITAN = "bedrock:amazon.titan-text-express-v1"


class Invoice(BaseModel):
    number: str
    total: float


GOOD, BAD = '{"number": "A-17", "total": 99.5}', '{"number": "A-17"}'
THOUGHT = Reasoning('Is it {"number": "B-1", "total": 1}?', signature="c2ln")


@pytest.mark.parametrize(
    ("model", "good", "bad"),
    [
        (CLAUDE, (THOUGHT, GOOD), (THOUGHT, BAD)),
        (NOVA, ToolUse("1", "Invoice", json.loads(GOOD)), ToolUse("1", "Invoice", json.loads(BAD))),
        (TITAN, f"Here it is:\n{GOOD}", f"Here it is:\n{BAD}"),
    ],
    ids=["native", "by a tool", "by a prompt"],
)
def test_o1_typed_answers_by_each_way(model: str, good: Any, bad: Any) -> None:
    """The answer is validated whatever way the model has, thinking and prose beside it, and asked for once more."""
    with mock_aws(reply=[good, bad, good]) as aws, awsllm.Client(region="us-east-1") as client:
        replies = [client.converse(model, "Read it.", output_type=Invoice, max_tokens=2000) for _ in range(2)]
    assert [reply.output for reply in replies] == [Invoice(number="A-17", total=99.5)] * 2
    assert len(aws.requests) == 3
    native = last(aws).output_config
    assert (native is not None and native.json_schema is not None) == (model == CLAUDE)
    assert (last(aws).tool_choice is not None) == (model == NOVA)
    assert "total" in str(last(aws).messages[-1].content)


def test_o1_a_second_bad_answer_is_an_error_with_the_answer() -> None:
    """Whoever asked can see what the model said."""
    with mock_aws(reply=[BAD, BAD]) as aws, awsllm.Client(region="us-east-1") as client:
        with pytest.raises(awsllm.OutputValidationError) as caught:
            client.converse(CLAUDE, "Read it.", output_type=Invoice)
        assert len(aws.requests) == 2
    assert caught.value.response is not None
    assert caught.value.response.text == BAD


def test_d1_pictures_and_documents_from_everywhere(tmp_path: Path) -> None:
    """Bytes, paths, S3 and ``data:`` URLs become blocks of the right format, whatever their name or label says."""
    mislabelled = tmp_path / "cat.jpg"
    mislabelled.write_bytes(PIXELS)
    report = tmp_path / "report.pdf"
    report.write_bytes(b"%PDF-1.7 x")
    url = "data:image/jpeg;base64," + base64.b64encode(PIXELS).decode()
    picture = Image("png", Bytes(PIXELS))
    pieces: list[Any] = [mislabelled, awsllm.image(PIXELS), awsllm.image(str(mislabelled)), awsllm.image(url), report]
    with mock_aws(reply="Seen.") as aws, awsllm.Client(region="us-east-1") as client:
        client.converse(NOVA, [*pieces, "What is it?"])
    assert last(aws).messages[0].content[:4] == (picture,) * 4
    assert last(aws).messages[0].content[4] == Document("report", Bytes(b"%PDF-1.7 x"), "pdf")
    assert awsllm.image("s3://bucket/cat.jpg") == Image("jpeg", S3Location("s3://bucket/cat.jpg"))


@pytest.mark.parametrize(
    ("mime", "format"),
    [
        ("application/pdf", "pdf"),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
        ("application/vnd.ms-excel", "xls"),
        ("text/markdown", "md"),
        ("text/plain;charset=utf-8", "txt"),
        ("text/csv", "csv"),
    ],
)
def test_d1_media_types_are_formats(mime: str, format: str) -> None:
    """The media type of a ``data:`` URL says which of the service's formats it is."""
    url = f"data:{mime};base64,{base64.b64encode(b'x,y').decode()}"
    assert awsllm.document(url, name="it") == Document("it", Bytes(b"x,y"), format)


def test_d1_what_is_elsewhere_is_not_fetched() -> None:
    """A URL that a stranger may have chosen is not called from this machine: the error says what to pass."""
    with pytest.raises(awsllm.ValidationError, match="pass the bytes"):
        awsllm.image("https://example.com/cat.png?signature=secret")


@pytest.mark.parametrize("model", [NOVA, CLAUDE, "bedrock:mistral.mistral-large-2407-v1:0"])
def test_d2_system_text_anywhere(model: str) -> None:
    """System turns, at the beginning and given beside the messages, reach the model in the order they stand in."""
    history: list[Any] = [
        {"role": "system", "content": "One."},
        {"role": "system", "content": [{"text": "Two."}]},
        {"role": "user", "content": "Hello"},
    ]
    with asking(answering()) as (client, seen):
        client.converse(model, history, system="Zero.")
    wire = json.loads(seen[0].body)
    assert wire["system"] == [{"text": "Zero."}, {"text": "One."}, {"text": "Two."}]
    assert wire["messages"] == [{"role": "user", "content": [{"text": "Hello"}]}]


def test_d2_system_text_within_a_conversation_is_kept_in_its_place() -> None:
    """A system turn later on is sent where it stands, as newer models take it, and is not dropped or moved."""
    history = [
        Message.user("a"),
        Message.assistant("b"),
        Message("system", (Text("Now be brief."),)),
        Message.user("c"),
    ]
    with mock_aws(reply="Hi.") as aws, awsllm.Client(region="us-east-1") as client:
        client.converse(CLAUDE, history)
    assert last(aws).messages == tuple(history)


def test_b2_images_and_videos_are_made(tmp_path: Path) -> None:
    """A picture is in the reply; a video is a job that writes to S3."""
    with mock_aws(reply="unused"), awsllm.Client(region="us-east-1") as client:
        boto("s3").create_bucket(Bucket="films")
        reply = client.generate_image("bedrock:amazon.nova-canvas-v1:0", "a cat", width=320, height=320)
        (image,) = reply.images
        assert isinstance(image.source, Bytes)
        assert image.source.data.startswith(b"\x89PNG")
        job = client.generate_video("bedrock:amazon.nova-reel-v1:1", "waves", output="s3://films/made/")
        assert job.download(tmp_path / "waves.mp4").read_bytes()[4:8] == b"ftyp"
