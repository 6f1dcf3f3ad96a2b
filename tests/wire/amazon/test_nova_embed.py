"""Nova's multimodal embeddings, both ways, and the segments of asynchronous calls."""

from base64 import b64encode
from typing import Any

import pytest

from awsllm.errors import ServerError, UnsupportedError, ValidationError
from awsllm.types import Audio, Bytes, Document, DocumentText, Image, S3Location, Text, Video
from awsllm.types.embedding import EmbedRequest, EmbedResponse, VectorSegment
from awsllm.wire import invoke
from awsllm.wire.amazon.nova_embed import encode_segmented, read_segments
from awsllm.wire.body import Context
from tests.support.bodies import PLAIN, json_lines, payload

ID = "amazon.nova-2-multimodal-embeddings-v1:0"
BODY = invoke.get("nova-embed")
assert BODY.embed is not None
EMBED = BODY.embed
DATA = b64encode(b"data").decode()
CLIP = Video("three_gp", S3Location("s3://b/v.3gp", "123456789012"))
CONTEXT = Context(request=EmbedRequest(model=ID, texts=("a",)), request_id="r", warnings=("w",))


def single(**params: object) -> dict[str, object]:
    """As docs.aws.amazon.com/nova/latest/userguide/embeddings-schema.html has it."""
    params = {"embeddingPurpose": "GENERIC_INDEX", "embeddingDimension": 1024, **params}
    return {
        "schemaVersion": "nova-multimodal-embed-v1",
        "taskType": "SINGLE_EMBEDDING",
        "singleEmbeddingParams": params,
    }


def ask(*blocks: Any, **members: Any) -> EmbedRequest:
    given: dict[str, Any] = {"dimensions": 1024, "input_type": "search_document", **members}
    return EmbedRequest(model=ID, inputs=(blocks,), **given)


TEXT = {"truncationMode": "END", "value": "Hello World!"}
REQUESTS: dict[str, tuple[EmbedRequest, dict[str, object]]] = {
    "text": (
        EmbedRequest(model=ID, texts=("Hello World!",), dimensions=1024, input_type="search_query"),
        single(embeddingPurpose="GENERIC_RETRIEVAL", text=TEXT),
    ),
    "image": (ask(Image("png", Bytes(b"data"))), single(image={"format": "png", "source": {"bytes": DATA}})),
    "detail": (
        ask(
            Image("png", Bytes(b"data")),
            input_type="DOCUMENT_RETRIEVAL",
            extra={"singleEmbeddingParams": {"image": {"detailLevel": "DOCUMENT_IMAGE"}}},
        ),
        single(
            embeddingPurpose="DOCUMENT_RETRIEVAL",
            image={"format": "png", "source": {"bytes": DATA}, "detailLevel": "DOCUMENT_IMAGE"},
        ),
    ),
    "audio": (
        ask(Audio("wav", S3Location("s3://b/a.wav"))),
        single(audio={"format": "wav", "source": {"s3Location": {"uri": "s3://b/a.wav"}}}),
    ),
    "video": (
        ask(CLIP, extra={"singleEmbeddingParams": {"video": {"embeddingMode": "AUDIO_VIDEO_SEPARATE"}}}),
        single(
            video={
                "format": "3gp",
                "source": {"s3Location": {"uri": "s3://b/v.3gp", "bucketOwner": "123456789012"}},
                "embeddingMode": "AUDIO_VIDEO_SEPARATE",
            }
        ),
    ),
}


@pytest.mark.parametrize(("neutral", "wire"), REQUESTS.values(), ids=REQUESTS)
def test_request_both_ways(neutral: EmbedRequest, wire: dict[str, object]) -> None:
    sent = EMBED.encode_request(neutral, PLAIN)
    assert sent.json() == wire
    read = EMBED.decode_request(ID, sent, PLAIN)
    assert (read.texts, read.inputs, read.dimensions) == (neutral.texts, neutral.inputs, 1024)
    assert read.input_type == neutral.input_type
    assert EMBED.encode_request(read, PLAIN).json() == wire


def test_what_is_left_to_the_model() -> None:
    sent = EMBED.encode_request(EmbedRequest(model=ID, inputs=((Video("mp4", Bytes(b"data")),),)), PLAIN)
    params = sent.json()["singleEmbeddingParams"]
    assert "embeddingDimension" not in params
    assert (params["embeddingPurpose"], params["video"]["embeddingMode"]) == ("GENERIC_INDEX", "AUDIO_VIDEO_COMBINED")
    assert EMBED.decode_request(ID, sent, PLAIN).dimensions == 3072


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (ask(Text("a"), Image("png", Bytes(b"x"))), "marengo-3"),
        (ask(Document("d", DocumentText("x"), "txt")), "as an image"),
        (EmbedRequest(model=ID, texts=("a",), dimensions=512), "3072 or 1024 or 384 or 256"),
        (EmbedRequest(model=ID, texts=("a", "b")), "at a time"),
    ],
)
def test_what_it_does_not_embed(request_: EmbedRequest, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        EMBED.encode_request(request_, PLAIN)


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        ({"taskType": "SEGMENTED_EMBEDDING"}, "asynchronous"),
        ({**single(text=TEXT), "x": 1}, r"extraneous key \[x\]"),
        (single(), "exactly one of"),
        (single(text=TEXT, image={}), "exactly one of"),
        (single(text=TEXT, embeddingDimension=512), "singleEmbeddingParams.embeddingDimension"),
        (single(text={"truncationMode": "END"}), "singleEmbeddingParams.text.value"),
        (single(image={"format": "png", "source": {"url": "x"}}), "bytes and s3Location"),
    ],
)
def test_malformed_requests(wire: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EMBED.decode_request(ID, payload(wire), PLAIN)


# --- responses -------------------------------------------------------------------------------------------------------


def test_one_vector() -> None:
    wire = {"embeddings": [{"embeddingType": "TEXT", "embedding": [0.1, 0.2]}]}
    response = EMBED.decode_response(payload(wire), CONTEXT)
    assert (response.vectors, response.segments, response.raw) == ([[0.1, 0.2]], (), wire)
    assert (response.request_id, response.warnings) == ("r", ("w",))
    assert EMBED.encode_response(response, CONTEXT).json() == wire


def test_a_text_that_was_cut_is_told() -> None:
    wire = {"embeddings": [{"embeddingType": "TEXT", "embedding": [0.1], "truncatedCharLength": 20}]}
    assert EMBED.decode_response(payload(wire), CONTEXT).warnings == ("w", "the text was cut after 20 characters")


def test_picture_and_sound_of_a_video_apart() -> None:
    wire = {
        "embeddings": [{"embeddingType": "VIDEO", "embedding": [0.1]}, {"embeddingType": "AUDIO", "embedding": [0.2]}]
    }
    context = Context(request=REQUESTS["video"][0])
    response = EMBED.decode_response(payload(wire), context)
    assert response.vectors == [[0.1], [0.2]]
    assert response.segments == (VectorSegment(kind="VIDEO"), VectorSegment(kind="AUDIO"))
    assert EMBED.encode_response(response, context).json() == wire
    alone = EMBED.encode_response(EmbedResponse(vectors=[[1.0]]), context).json()["embeddings"]
    assert [part["embedding"] for part in alone] == [[1.0], [1.0]]


@pytest.mark.parametrize("reply", [{}, {"embeddings": []}, {"embeddings": [7]}, {"embeddings": [{"embedding": "x"}]}])
def test_no_vectors(reply: object) -> None:
    with pytest.raises(ServerError, match="Nova multimodal embeddings"):
        EMBED.decode_response(payload(reply), CONTEXT)


# --- segments --------------------------------------------------------------------------------------------------------


def test_the_body_of_an_asynchronous_call() -> None:
    """The schema's page has this shape; ``segmentationConfig`` is required there, its members are not."""
    wire = encode_segmented(ask(CLIP), seconds=15)
    assert wire == {
        "schemaVersion": "nova-multimodal-embed-v1",
        "taskType": "SEGMENTED_EMBEDDING",
        "segmentedEmbeddingParams": {
            "embeddingPurpose": "GENERIC_INDEX",
            "embeddingDimension": 1024,
            "video": {
                "format": "3gp",
                "source": {"s3Location": {"uri": "s3://b/v.3gp", "bucketOwner": "123456789012"}},
                "embeddingMode": "AUDIO_VIDEO_COMBINED",
                "segmentationConfig": {"durationSeconds": 15},
            },
        },
    }
    long = encode_segmented(EmbedRequest(model=ID, texts=("a",)), characters=800)
    assert long["segmentedEmbeddingParams"]["text"]["segmentationConfig"] == {"maxLengthChars": 800}
    sound = encode_segmented(ask(Audio("mp3", S3Location("s3://b/k.mp3"))))
    assert sound["segmentedEmbeddingParams"]["audio"]["segmentationConfig"] == {}
    with pytest.raises(UnsupportedError, match="s3://"):
        encode_segmented(ask(Video("mp4", Bytes(b"x"))))


def test_a_file_of_segments() -> None:
    rows = [
        {"embedding": [0.1], "segmentMetadata": {"segmentIndex": 0, "segmentStartSeconds": 0, "segmentEndSeconds": 5}},
        {"segmentMetadata": {"segmentIndex": 1}, "status": "FAILURE", "failureReason": "INVALID_CONTENT"},
        {"embedding": [0.3], "segmentMetadata": {"segmentStartCharPosition": 0, "segmentEndCharPosition": 794}},
    ]
    response = read_segments(json_lines(*rows), CONTEXT, "VIDEO")
    assert response.vectors == [[0.1], [0.3]]
    assert response.segments == (
        VectorSegment(kind="VIDEO", start=0.0, end=5.0),
        VectorSegment(kind="VIDEO", start=0.0, end=794.0, unit="characters"),
    )
    assert response.raw == rows
    assert "INVALID_CONTENT" in response.warnings[-1]
    for lines in (b"<html>", b'{"embedding": "x"}'):
        with pytest.raises(ServerError, match="Nova multimodal embeddings"):
            read_segments(lines, CONTEXT)
