"""Vectors by asynchronous invocation: boto3 starts them, the account's model makes them, S3 has the files."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from awsllm.server import running
from awsllm.testing import AsyncScriptedBackend, MockAws, mock_aws
from awsllm.types import Audio, Image, S3Location, Video
from awsllm.types.embedding import EmbedRequest, EmbedResponse, VectorSegment
from awsllm.wire.amazon.nova_embed import decode_segmented, segment_files
from awsllm.wire.twelvelabs.marengo import V3, V27

NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
MARENGO_27, MARENGO_3 = "twelvelabs.marengo-embed-2-7-v1:0", "twelvelabs.marengo-embed-3-0-v1:0"
CLIP = {"s3Location": {"uri": "s3://media/a.mp4"}}
PLACE = {"s3OutputDataConfig": {"s3Uri": "s3://media/out/"}}
WORDS = ("many words " * 200).strip()  # 2,199 characters


@pytest.fixture
def aws() -> Iterator[MockAws]:
    with mock_aws(reply="unused") as mock:
        client("s3").create_bucket(Bucket="media")
        for key in ("a.mp4", "a.png"):
            client("s3").put_object(Bucket="media", Key=key, Body=b"made up")
        client("s3").put_object(Bucket="media", Key="a.txt", Body=WORDS.encode())
        yield mock


def client(service: str, **options: Any) -> Any:
    return boto3.client(service, "us-east-1", aws_access_key_id="AKIAEXAMPLE", aws_secret_access_key="x", **options)


def nova(**params: Any) -> dict[str, Any]:
    params = {"embeddingPurpose": "GENERIC_INDEX", "embeddingDimension": 256, **params}
    return {"taskType": "SEGMENTED_EMBEDDING", "segmentedEmbeddingParams": params}


def text(**members: Any) -> dict[str, Any]:
    return {"truncationMode": "END", "segmentationConfig": {"maxLengthChars": 800}, **members}


def start(model: str, wire: Any) -> str:
    runtime = client("bedrock-runtime")
    arn: str = runtime.start_async_invoke(modelId=model, modelInput=wire, outputDataConfig=PLACE)["invocationArn"]
    return arn


def files(arn: str) -> dict[str, Any]:
    """What an invocation wrote, by its names."""
    found = client("bedrock-runtime").get_async_invoke(invocationArn=arn)
    assert found["status"] == "Completed", found
    folder = found["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"]
    assert folder == f"s3://media/out/{arn.rpartition('/')[2]}"
    prefix = folder.removeprefix("s3://media/") + "/"
    s3 = client("s3")
    read: dict[str, Any] = {}
    for listed in s3.list_objects_v2(Bucket="media", Prefix=prefix)["Contents"]:
        data = s3.get_object(Bucket="media", Key=listed["Key"])["Body"].read()
        lines = [json.loads(line) for line in data.splitlines()]
        read[listed["Key"].removeprefix(prefix)] = lines if ".jsonl" in listed["Key"] else lines[0]
    assert "awsllm" in read.pop("manifest.json")["by"]
    return read


@pytest.mark.parametrize("source", [{"value": WORDS}, {"source": {"s3Location": {"uri": "s3://media/a.txt"}}}])
def test_a_text_in_segments(aws: MockAws, source: dict[str, Any]) -> None:
    arn = start(NOVA, nova(text=text(**source)))
    read = files(arn)
    rows = read["embedding-text.jsonl"]
    folder = f"s3://media/out/{arn.rpartition('/')[2]}"
    assert read["segmented-embedding-result.json"] == {
        "sourceFileUri": "s3://media/a.txt" if "source" in source else "",
        "embeddingDimension": 256,
        "embeddingResults": [
            {"embeddingType": "TEXT", "status": "SUCCESS", "outputFileUri": f"{folder}/embedding-text.jsonl"}
        ],
    }
    assert [len(row["embedding"]) for row in rows] == [256] * 3
    assert [row["status"] for row in rows] == ["SUCCESS"] * 3
    places = [row["segmentMetadata"] for row in rows]
    assert [place["segmentIndex"] for place in places] == [0, 1, 2]
    cut = [WORDS[place["segmentStartCharPosition"] : place["segmentEndCharPosition"]] for place in places]
    assert "".join(cut) == WORDS
    assert all(piece.endswith(" ") and len(piece) <= 800 for piece in cut[:-1])
    (request,) = aws.requests
    assert isinstance(request, EmbedRequest)
    assert request.texts == tuple(cut)


@pytest.mark.parametrize("source", ["x", {"s3Location": "x"}, {"s3Location": {"uri": 7}}])
def test_what_stands_beside_a_text_does_not_matter(aws: MockAws, source: Any) -> None:
    read = files(start(NOVA, nova(text=text(value="a", source=source))))
    assert read["segmented-embedding-result.json"]["sourceFileUri"] == ""


def test_a_long_word_is_cut_all_the_same() -> None:
    request = decode_segmented(NOVA, nova(text=text(value="a" * 1700)))
    assert [len(piece) for piece in request.texts] == [800, 800, 100]


@pytest.mark.parametrize(
    ("mode", "names"),
    [
        ("AUDIO_VIDEO_COMBINED", ["embedding-audio-video.jsonl"]),
        ("AUDIO_VIDEO_SEPARATE", ["embedding-audio.jsonl", "embedding-video.jsonl"]),
    ],
)
def test_a_video_of_nova(aws: MockAws, mode: str, names: list[str]) -> None:
    video = {"format": "mp4", "source": CLIP, "embeddingMode": mode, "segmentationConfig": {"durationSeconds": 7}}
    read = files(start(NOVA, nova(video=video)))
    assert sorted(read) == [*names, "segmented-embedding-result.json"]
    for name in names:
        (row,) = read[name]
        assert row["segmentMetadata"] == {"segmentIndex": 0, "segmentStartSeconds": 0.0, "segmentEndSeconds": 7.0}
    (request,) = aws.requests
    assert isinstance(request, EmbedRequest)
    assert request.inputs == ((Video("mp4", S3Location("s3://media/a.mp4")),),)


def test_segments_of_the_model_are_told() -> None:
    """Who scripts vectors of segments finds them in the files."""
    audio = {"format": "mp3", "source": CLIP, "segmentationConfig": {}}
    segments = tuple(VectorSegment(start=each, end=each + 2.5) for each in (0.0, 2.5))
    made = EmbedResponse(vectors=[[0.1], [0.2]], segments=segments)
    (name, data), _ = segment_files(nova(audio=audio), made, "s3://media/out")
    rows = [json.loads(line) for line in data.splitlines()]
    assert (name, [row["embedding"] for row in rows]) == ("embedding-audio.jsonl", [[0.1], [0.2]])
    assert rows[1]["segmentMetadata"] == {"segmentIndex": 1, "segmentStartSeconds": 2.5, "segmentEndSeconds": 5.0}
    told = EmbedResponse(vectors=[[0.1]], segments=(VectorSegment(kind="audio", start=1.0, end=2.0),))
    clips = V27.encode_clips({"inputType": "video", "mediaSource": CLIP}, told).json()
    assert clips == {"data": [{"embedding": [0.1], "embeddingOption": "audio", "startSec": 1.0, "endSec": 2.0}]}


def test_an_image_of_nova(aws: MockAws) -> None:
    image = {"format": "png", "source": {"s3Location": {"uri": "s3://media/a.png"}}}
    read = files(start(NOVA, nova(image=image)))
    assert read["embedding-image.json"]["segmentMetadata"] == {"segmentIndex": 0}


def test_a_video_of_marengo_2_7(aws: MockAws) -> None:
    wire = {"inputType": "video", "mediaSource": CLIP, "startSec": 5, "lengthSec": 20}
    data = files(start(MARENGO_27, wire))["output.json"]["data"]
    assert [part.pop("embeddingOption") for part in data] == ["visual-text", "visual-image", "audio"]
    assert [len(part.pop("embedding")) for part in data] == [1024] * 3
    assert data == [{"startSec": 5.0, "endSec": 25.0}] * 3


def test_a_sound_of_marengo_3(aws: MockAws) -> None:
    inner = {
        "mediaSource": CLIP,
        "segmentation": {"method": "fixed", "fixed": {"durationSec": 5}},
        "embeddingType": ["separate_embedding", "fused_embedding"],
        "embeddingScope": ["clip", "asset"],
    }
    data = files(start(MARENGO_3, {"inputType": "audio", "audio": inner}))["output.json"]["data"]
    assert [(part["embeddingOption"], part["embeddingScope"]) for part in data] == [
        ([option], scope) for option in ("audio", "transcription", "fused") for scope in ("clip", "asset")
    ]
    assert {(part["startSec"], part["endSec"], len(part["embedding"])) for part in data} == {(0.0, 5.0, 512)}
    (request,) = aws.requests
    assert isinstance(request, EmbedRequest)
    assert request.inputs == ((Audio("mp4", S3Location("s3://media/a.mp4")),),)
    assert V3.encode_asynchronous(request) == {"inputType": "audio", "audio": inner}


@pytest.mark.parametrize("model", [MARENGO_27, MARENGO_3])
def test_a_text_of_marengo(aws: MockAws, model: str) -> None:
    wire = {"inputType": "text", "inputText": "a cat"}
    nested = {"inputType": "text", "text": {"inputText": "a cat"}}
    read = files(start(model, wire if model == MARENGO_27 else nested))
    (part,) = read["output.json"]["data"]
    assert list(part) == ["embedding"]


def test_states_are_those_of_every_invocation(aws: MockAws) -> None:
    aws.plane.transitions["async-invoke"] = 1
    wire = {"inputType": "text", "text": {"inputText": "a cat"}}
    arn, runtime = start(MARENGO_3, wire), client("bedrock-runtime")
    assert runtime.get_async_invoke(invocationArn=arn)["status"] == "InProgress"
    assert runtime.get_async_invoke(invocationArn=arn)["status"] == "Completed"
    aws.plane.transitions["async-invoke"] = 0
    aws.plane.fail(MARENGO_3, "no capacity")
    failed = runtime.get_async_invoke(invocationArn=start(MARENGO_3, wire))
    assert (failed["status"], failed["failureMessage"]) == ("Failed", "no capacity")


@pytest.mark.parametrize(
    ("model", "wire", "message"),
    [
        (NOVA, {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": {}}, "must be SEGMENTED_EMBEDDING"),
        (NOVA, nova(text={"truncationMode": "END", "value": "a"}), "text.segmentationConfig: is required"),
        (NOVA, nova(text=text(value="a", segmentationConfig={"maxLengthChars": 1})), "from 800 to 50000"),
        (NOVA, nova(text=text(source={"s3Location": {"uri": "s3://media/none"}})), "s3://media/none does not exist"),
        (NOVA, nova(text=text()), "text.value: is required"),
        (NOVA, nova(image={"format": "png", "source": {"bytes": "eA=="}}), "image.source: must have s3Location"),
        (NOVA, nova(), "exactly one of text, image, video, audio"),
        (MARENGO_3, {"inputType": "video", "mediaSource": CLIP}, "video: is required"),
        (MARENGO_3, {"inputType": "video", "video": {"mediaSource": {}}}, "s3Location: is required"),
        (MARENGO_27, {"inputType": "video", "mediaSource": CLIP, "startSec": "x"}, "startSec"),
        (
            MARENGO_27,
            {"inputType": "video", "mediaSource": {"s3Location": {"uri": "s3://nowhere/a"}}},
            "s3://nowhere/a does not exist",
        ),
        ("amazon.titan-embed-text-v2:0", {"inputText": "a"}, "not for amazon.titan-embed-text-v2:0"),
    ],
)
def test_what_is_refused(aws: MockAws, model: str, wire: Any, message: str) -> None:
    with pytest.raises(ClientError, match=message) as caught:
        start(model, wire)
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert aws.requests == []


def test_a_server_makes_them_in_the_background() -> None:
    backend = AsyncScriptedBackend("unused")
    with running(backend) as url:
        s3, runtime = client("s3", endpoint_url=url), client("bedrock-runtime", endpoint_url=url)
        s3.create_bucket(Bucket="media")
        arn = runtime.start_async_invoke(
            modelId=MARENGO_3,
            modelInput={"inputType": "text", "text": {"inputText": "a cat"}},
            outputDataConfig=PLACE,
        )["invocationArn"]
        while (found := runtime.get_async_invoke(invocationArn=arn))["status"] == "InProgress":
            pass
        assert found["status"] == "Completed"
        key = f"out/{arn.rpartition('/')[2]}/output.json"
        (part,) = json.loads(s3.get_object(Bucket="media", Key=key)["Body"].read())["data"]
        assert len(part["embedding"]) == 512
    assert [request.operation for request in backend.requests] == ["embed"]


def test_a_model_that_cannot_fails_the_invocation(aws: MockAws, monkeypatch: pytest.MonkeyPatch) -> None:
    from awsllm.errors import UnsupportedError

    def refuse(*_: Any) -> None:
        raise UnsupportedError("local models embed texts only")

    monkeypatch.setattr(aws.plane.backend, "ask", refuse)
    arn = start(MARENGO_3, {"inputType": "video", "video": {"mediaSource": CLIP}})
    found = client("bedrock-runtime").get_async_invoke(invocationArn=arn)
    assert (found["status"], found["failureMessage"]) == ("Failed", "local models embed texts only")


def test_images_of_marengo_stay_what_they_are() -> None:
    wire = {"inputType": "image", "image": {"mediaSource": {"s3Location": {"uri": "s3://media/a.png"}}}}
    assert V3.decode_asynchronous(MARENGO_3, wire).inputs == ((Image("png", S3Location("s3://media/a.png")),),)
