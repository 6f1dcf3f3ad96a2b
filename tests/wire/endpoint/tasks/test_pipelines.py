"""Pipelines that are no chat: bodies and replies as transformers' documentation shows them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from awsllm.errors import ServerError, UnsupportedError, ValidationError
from awsllm.types import ConverseRequest
from awsllm.types.embedding import EmbedRequest
from awsllm.types.predict import (
    Answer,
    Classification,
    Embedding,
    Entities,
    Entity,
    FoundObject,
    FoundObjects,
    LabelScore,
    MaskGuess,
    MaskGuesses,
    PredictedText,
    Prediction,
    PredictRequest,
)
from awsllm.wire import endpoint
from awsllm.wire.body import Context, Payload, Settings
from awsllm.wire.endpoint.tasks.pipelines import PipelinePredict

CODEC = PipelinePredict()
PNG = b"\x89PNG\r\n\x1a\n"
LABELS = Classification(label="POSITIVE", scores=(LabelScore("POSITIVE", 0.75),))


def ask(task: str, **members: Any) -> PredictRequest:
    return PredictRequest(model="ep", task=task, **members)


ROWS: list[tuple[str, dict[str, Any], Any, Any, Prediction]] = [
    (
        "text_classification",
        {"texts": ("I like it",), "count": 2},
        {"inputs": "I like it", "parameters": {"top_k": 2}},
        [{"label": "POSITIVE", "score": 0.75}],
        LABELS,
    ),
    (
        "sentence_pair_classification",
        {"texts": ("a", "b")},
        {"inputs": {"text": "a", "text_pair": "b"}},
        [{"label": "POSITIVE", "score": 0.75}],
        LABELS,
    ),
    (
        "question_answering",
        {"texts": ("Who?", "Sam.")},
        {"inputs": {"question": "Who?", "context": "Sam."}},
        {"score": 0.5, "start": 0, "end": 3, "answer": "Sam"},
        Answer(text="Sam", score=0.5, start=0, end=3),
    ),
    (
        "named_entity_recognition",
        {"texts": ("Wolfgang",), "extra": {"aggregation_strategy": "simple"}},
        {"inputs": "Wolfgang", "parameters": {"aggregation_strategy": "simple"}},
        [{"entity_group": "PER", "score": 0.9, "word": "Wolfgang", "start": 0, "end": 8}],
        Entities((Entity(text="Wolfgang", type="PER", score=0.9, start=0, end=8),)),
    ),
    (
        "zero_shot_classification",
        {"texts": ("a",), "labels": ("x", "y"), "multi_label": True},
        {"inputs": "a", "parameters": {"candidate_labels": ["x", "y"], "multi_label": True}},
        {"sequence": "a", "labels": ["y", "x"], "scores": [0.75, 0.25]},
        Classification(label="y", scores=(LabelScore("y", 0.75), LabelScore("x", 0.25))),
    ),
    (
        "fill_mask",
        {"texts": ("In [MASK].",)},
        {"inputs": "In [MASK]."},
        [{"score": 0.5, "token": 3, "token_str": "Paris", "sequence": "In Paris."}],
        MaskGuesses((MaskGuess(token="Paris", text="In Paris.", score=0.5),)),
    ),
    (
        "summarization",
        {"texts": ("Long.",), "extra": {"min_length": 5}},
        {"inputs": "Long.", "parameters": {"min_length": 5}},
        [{"summary_text": "S."}],
        PredictedText(("S.",)),
    ),
    (
        "text_embedding",
        {"texts": ("a", "b")},
        {"inputs": ["a", "b"]},
        [[[[1.0, 3.0], [3.0, 5.0]]], [[[1.0, 1.0]]]],
        Embedding([[2.0, 4.0], [1.0, 1.0]]),
    ),
]


@pytest.mark.parametrize(("task", "members", "wire", "reply", "result"), ROWS, ids=[row[0] for row in ROWS])
def test_a_pipeline_as_transformers_has_it(task: str, members: Any, wire: Any, reply: Any, result: Prediction) -> None:
    request = ask(task, **members)
    sent = CODEC.encode_request(request, Settings())
    assert sent.json() == wire
    assert CODEC.decode_request("ep", sent, Settings(task=task)) == request
    context = Context(request=request)
    response = CODEC.decode_response(Payload(json.dumps(reply).encode()), context)
    assert response.result == result
    assert CODEC.decode_response(CODEC.encode_response(response, context), context).result == result


def test_images_and_sounds_go_as_bytes() -> None:
    request = ask("object_detection", media=PNG, media_type="image/png")
    sent = CODEC.encode_request(request, Settings())
    assert (sent.body, sent.content_type) == (PNG, "image/png")
    assert CODEC.decode_request("ep", sent, Settings(task="object-detection")).media == PNG
    reply = [{"score": 0.9, "label": "cat", "box": {"xmin": 1, "ymin": 2, "xmax": 3, "ymax": 4}}]
    context = Context(request=request)
    response = CODEC.decode_response(Payload(json.dumps(reply).encode()), context)
    assert response.result == FoundObjects(
        (FoundObject(label="cat", score=0.9, box=(1.0, 2.0, 3.0, 4.0), in_pixels=True),)
    )
    assert CODEC.encode_response(response, context).json() == reply
    heard = ask("speech_recognition", media=b"RIFF", media_type="audio/wav")
    assert CODEC.encode_request(heard, Settings()).content_type == "audio/x-audio"
    spoken = CODEC.decode_response(Payload(b'{"text": "Hi"}'), Context(request=heard))
    assert spoken.result == PredictedText(("Hi",))


def test_the_server_reads_what_its_task_is_for() -> None:
    body = endpoint.get("huggingface")
    sent = Payload(b'{"inputs": "Hi"}')
    kinds = {
        "text-classification": PredictRequest,
        "token-classification": PredictRequest,
        "feature-extraction": EmbedRequest,
        "text-generation": ConverseRequest,
        "summarization": ConverseRequest,
        "translation_en_to_de": ConverseRequest,
        None: ConverseRequest,
    }
    for task, kind in kinds.items():
        assert isinstance(body.read("ep", sent, Settings(task=task))[0], kind), task


def test_what_a_pipeline_cannot_do_is_named() -> None:
    with pytest.raises(UnsupportedError, match="forecasting is not possible with what speaks the format of Hugging"):
        CODEC.encode_request(ask("forecasting"), Settings())
    with pytest.raises(ValidationError, match="labels="):
        CODEC.encode_request(ask("zero_shot_classification", texts=("a",)), Settings())
    assert CODEC.warnings(ask("translation", count=2), Settings()) == (
        "count was not sent: this pipeline has no such parameter",
    )
    with pytest.raises(ServerError, match="not a reply of the format of Hugging Face pipelines"):
        CODEC.decode_response(Payload(b'[{"label": 5}]'), Context(request=ask("text_classification")))
