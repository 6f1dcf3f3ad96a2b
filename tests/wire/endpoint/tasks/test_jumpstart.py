"""JumpStart's handlers: what the notebooks of aws/amazon-sagemaker-examples send and read, and both halves together."""

from __future__ import annotations

import io
import json
import wave
from typing import Any

import pytest

from awsllm.errors import ServerError, UnsupportedError, ValidationError
from awsllm.types.predict import (
    Answer,
    Classification,
    Embedding,
    Entities,
    Entity,
    Forecast,
    Forecasts,
    FoundObject,
    FoundObjects,
    LabelMap,
    LabelScore,
    MaskGuess,
    MaskGuesses,
    PredictedText,
    Prediction,
    PredictRequest,
    PredictResponse,
    RowClasses,
    RowValues,
    Series,
    Tensors,
)
from awsllm.wire import endpoint
from awsllm.wire.body import Context, Payload, Settings
from awsllm.wire.endpoint.tasks.jumpstart import HandlerPredict
from awsllm.wire.endpoint.tasks.names import TASKS, canonical, of_model_id

CODEC = HandlerPredict()
PNG = b"\x89PNG\r\n\x1a\n"
JSON, VERBOSE = "application/json", "application/json;verbose"


def ask(task: str, **members: Any) -> PredictRequest:
    return PredictRequest(model="ep", task=task, **members)


def wav(frames: bytes = b"\x01\x00\xff\xff", channels: int = 1) -> bytes:
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(frames)
    return data.getvalue()


TEXT, PAIR = {"texts": ("Hi there",)}, {"texts": ("Who?", "It was Sam.")}
IMAGE = {"media": PNG, "media_type": "image/png"}
SENT = [
    ("text_classification", TEXT, b"Hi there", "application/x-text", VERBOSE),
    ("sentence_pair_classification", PAIR, b'["Who?","It was Sam."]', "application/list-text", VERBOSE),
    ("question_answering", PAIR, b'["Who?","It was Sam."]', "application/list-text", VERBOSE),
    ("named_entity_recognition", TEXT, b"Hi there", "application/x-text", JSON),
    ("summarization", TEXT, b"Hi there", "application/x-text", JSON),
    ("translation", TEXT, b"Hi there", "application/x-text", JSON),
    (
        "zero_shot_classification",
        {**TEXT, "labels": ("a", "b")},
        b'{"sequences":"Hi there","candidate_labels":["a","b"]}',
        JSON,
        JSON,
    ),
    ("fill_mask", TEXT, b"Hi there", "application/x-text", JSON),
    ("text_embedding", TEXT, b"Hi there", "application/x-text", JSON),
    ("image_classification", IMAGE, PNG, "application/x-image", VERBOSE),
    ("image_embedding", IMAGE, PNG, "application/x-image", JSON),
    ("object_detection", {**IMAGE, "count": 20}, PNG, "application/x-image", f"{VERBOSE};n_predictions=20"),
    ("semantic_segmentation", IMAGE, PNG, "application/x-image", VERBOSE),
    ("instance_segmentation", {**IMAGE, "count": 2}, PNG, "application/x-image", f"{VERBOSE};n_predictions=2"),
    ("tabular_classification", {"rows": ((1, "a b"), (2.5, "c,d"))}, b'1,a b\n2.5,"c,d"\n', "text/csv", VERBOSE),
    ("tabular_regression", {"rows": ((1, 2),)}, b"1,2\n", "text/csv", JSON),
    ("speech_recognition", {"media": wav(), "media_type": "audio/wav"}, wav(), "audio/wav", JSON),
    (
        "forecasting",
        {"series": (Series(target=(1.0, None)),), "horizon": 12, "quantiles": (0.1, 0.9)},
        b'{"inputs":[{"target":[1.0,null]}],"parameters":{"prediction_length":12,"quantile_levels":[0.1,0.9]}}',
        JSON,
        JSON,
    ),
]


@pytest.mark.parametrize(("task", "members", "body", "content_type", "accept"), SENT, ids=[row[0] for row in SENT])
def test_what_is_sent_and_what_the_server_makes_of_it(
    task: str, members: Any, body: bytes, content_type: str, accept: str
) -> None:
    sent = CODEC.encode_request(ask(task, **members), Settings())
    assert sent == Payload(body, content_type, accept)
    back, streams = endpoint.get("jumpstart").read("ep", sent, Settings(task=task))
    kind = {"media_type": members["media_type"].partition("/")[0]} if "media_type" in members else {}
    assert (back, streams) == (ask(task, **{**members, **kind}), False)


def test_every_task_but_tensors_has_a_row() -> None:
    assert {row[0] for row in SENT} == set(TASKS) - {"tensors"}


def classes(*pairs: tuple[str, float], label: str | None = None) -> Classification:
    return Classification(label=label or pairs[0][0], scores=tuple(LabelScore(*pair) for pair in pairs))


BOX = (0.1, 0.2, 0.3, 0.4)
# What the notebooks read out of a reply; the values are made up.
REPLIES: list[tuple[str, Any, Prediction]] = [
    (
        "text_classification",
        {"probabilities": [0.1, 0.9], "labels": ["LABEL_0", "LABEL_1"], "predicted_label": "LABEL_1"},
        classes(("LABEL_1", 0.9), ("LABEL_0", 0.1)),
    ),
    (
        "sentence_pair_classification",
        {"probabilities": [0.8, 0.2], "labels": ["entailment", "no-entailment"], "predicted_label": "entailment"},
        classes(("entailment", 0.8), ("no-entailment", 0.2)),
    ),
    (
        "question_answering",
        {"score": 0.5, "start": 7, "end": 10, "answer": "Sam"},
        Answer(text="Sam", score=0.5, start=7, end=10),
    ),
    (
        "named_entity_recognition",
        {"predictions": [{"entity": "B-PER", "score": 0.9, "word": "Wolfgang", "start": 11, "end": 19}]},
        Entities((Entity(text="Wolfgang", type="B-PER", score=0.9, start=11, end=19),)),
    ),
    ("summarization", {"summary_text": "Short."}, PredictedText(("Short.",))),
    ("translation", {"translation_text": "Hallo"}, PredictedText(("Hallo",))),
    ("zero_shot_classification", {"labels": ["b", "a"], "scores": [0.7, 0.3]}, classes(("b", 0.7), ("a", 0.3))),
    (
        "fill_mask",
        [{"score": 0.6, "token_str": "Paris", "sequence": "In Paris."}],
        MaskGuesses((MaskGuess(token="Paris", text="In Paris.", score=0.6),)),
    ),
    ("text_embedding", {"embedding": [0.5, 1.0]}, Embedding([[0.5, 1.0]])),
    (
        "image_classification",
        {"probabilities": [0.2, 0.8], "labels": ["cat", "dog"], "predicted_label": "dog"},
        classes(("dog", 0.8), ("cat", 0.2)),
    ),
    ("image_embedding", {"embedding": [0.5, 1.0]}, Embedding([[0.5, 1.0]])),
    (
        "object_detection",
        {"normalized_boxes": [list(BOX)], "classes": [0], "scores": [0.9], "labels": ["table"]},
        FoundObjects((FoundObject(label="table", score=0.9, box=BOX),)),
    ),
    (
        "semantic_segmentation",
        {"predictions": [[0, 1], [1, -1]], "labels": ["sky", "man"], "image_labels": ["man"]},
        LabelMap(pixels=[[0, 1], [1, -1]], labels=("sky", "man"), present=("man",)),
    ),
    (
        "instance_segmentation",
        {"ids": [0], "scores": [0.9], "bboxes": [[1.0, 2.0, 3.0, 4.0]], "labels": ["man"], "masks": [[[0.0, 1.0]]]},
        FoundObjects(
            (FoundObject(label="man", score=0.9, box=(1.0, 2.0, 3.0, 4.0), in_pixels=True, mask=[[0.0, 1.0]]),)
        ),
    ),
    (
        "tabular_classification",
        {"probabilities": [[0.25, 0.75], [0.5, 0.5]], "labels": ["0", "1"], "predicted_label": ["1", "0"]},
        RowClasses((classes(("1", 0.75), ("0", 0.25)), classes(("0", 0.5), ("1", 0.5)))),
    ),
    ("tabular_regression", {"prediction": [9.5, 7.0]}, RowValues((9.5, 7.0))),
    ("speech_recognition", {"text": ["He said so."]}, PredictedText(("He said so.",))),
    (
        "forecasting",
        {"predictions": [{"mean": [1.0, 2.0], "0.1": [0.5, 1.0], "item_id": "a"}]},
        Forecasts((Forecast(mean=(1.0, 2.0), quantiles={"0.1": (0.5, 1.0)}, item_id="a"),)),
    ),
]


@pytest.mark.parametrize(("task", "wire", "result"), REPLIES, ids=[row[0] for row in REPLIES])
def test_what_a_reply_means_and_how_it_is_written(task: str, wire: Any, result: Prediction) -> None:
    context = Context(request=ask(task), settings=Settings(), request_id="r-1")
    response = CODEC.decode_response(Payload(json.dumps(wire).encode()), context)
    assert (response.result, response.task, response.raw) == (result, task, wire)
    written = CODEC.encode_response(response, context)
    assert names(written.json()) == names(wire)
    assert CODEC.decode_response(written, context).result == result


def names(wire: Any) -> Any:
    """The members of a reply at every level."""
    if isinstance(wire, dict):
        return {name: names(value) for name, value in wire.items()}
    return [names(each) for each in wire if isinstance(each, dict)] if isinstance(wire, list) else None


OTHERS: list[tuple[str, Any, Prediction]] = [
    # without ;verbose there are no labels
    ("image_classification", {"probabilities": [0.2, 0.8]}, classes(("1", 0.8), ("0", 0.2))),
    # two classes have one column (XGBoost, LightGBM): the probability of the second
    (
        "tabular_classification",
        {"probabilities": [[0.75], [0.25]]},
        RowClasses((classes(("1", 0.75), ("0", 0.25)), classes(("0", 0.75), ("1", 0.25)))),
    ),
    # linear learner's own
    (
        "tabular_classification",
        {"predictions": [{"score": 0.5, "predicted_label": 1.0}]},
        RowClasses((classes(("1", 0.5)),)),
    ),
    ("tabular_regression", {"predictions": [{"score": 3.5}]}, RowValues((3.5,))),
    ("tabular_regression", {"prediction": [[3.5], [1.0]]}, RowValues((3.5, 1.0))),
    # ids of GluonCV are nested
    (
        "instance_segmentation",
        {"ids": [[1.0]], "scores": [[0.9]], "bboxes": [[1, 2, 3, 4]], "labels": ["a", "b"]},
        FoundObjects((FoundObject(label="b", score=0.9, box=(1.0, 2.0, 3.0, 4.0), in_pixels=True),)),
    ),
    # DeepAR's quantiles stand in an object
    (
        "forecasting",
        {"predictions": [{"quantiles": {"0.5": [1.0]}}]},
        Forecasts((Forecast(quantiles={"0.5": (1.0,)}),)),
    ),
    ("question_answering", {"answer": "Sam"}, Answer(text="Sam")),
]


@pytest.mark.parametrize(("task", "wire", "result"), OTHERS)
def test_other_words_for_the_same(task: str, wire: Any, result: Prediction) -> None:
    context = Context(request=ask(task))
    assert CODEC.decode_response(Payload(json.dumps(wire).encode()), context).result == result


def test_an_algorithm_s_own_container_answers_in_csv() -> None:
    reply = Payload(b"1.5\n2.5\n", "text/csv; charset=utf-8")
    assert CODEC.decode_response(reply, Context(request=ask("tabular_regression"))).result == RowValues((1.5, 2.5))
    rows = CODEC.decode_response(Payload(b"0.25,0.75\n", "text/csv"), Context(request=ask("tabular_classification")))
    assert rows.result == RowClasses((classes(("1", 0.75), ("0", 0.25)),))
    with pytest.raises(ServerError, match="no table of numbers"):
        CODEC.decode_response(Payload(b"<html>", "text/csv"), Context(request=ask("tabular_regression")))


def test_the_parameters_of_speech_go_with_its_samples() -> None:
    """As the notebook on Whisper writes them."""
    request = ask("speech_recognition", media=wav(), language="french", extra={"task": "translate"})
    sent = CODEC.encode_request(request, Settings())
    wire = {"audio_input": {"sampling_rate": 16000, "raw": "[1, -1]"}, "language": "french", "task": "translate"}
    assert (sent.json(), sent.content_type) == (wire, JSON)
    back = CODEC.decode_request("ep", sent, Settings(task="asr"))
    assert (back.body, back.language) == (wire, "french")
    for data in (b"RIFF", wav(b"\0" * 8, channels=2)):
        with pytest.raises(ValidationError, match="WAV"):
            CODEC.encode_request(ask("speech_recognition", media=data, language="french"), Settings())


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (ask("text_classification"), "takes one text, not nothing"),
        (ask("text_classification", texts=("a", "b")), "takes one text, not 2 text"),
        (ask("question_answering", texts=("a",)), "takes a pair of texts"),
        (ask("image_classification", texts=("a",)), "takes an image"),
        (ask("image_classification", media=b"x", media_type="audio/wav"), "takes an image, not audio/wav"),
        (ask("forecasting", texts=("a",)), "takes series of numbers"),
        (ask("tabular_regression", media=b"x"), "takes rows of a table"),
        (ask("zero_shot_classification", texts=("a",)), "labels="),
        (ask("zero_shot_classification", texts=("a",), labels=("b",), multi_label=True), "multi_label"),
        (ask("summarization", texts=("a",), extra={"max_length": 5}), "no place for max_length"),
        (PredictRequest(model="ep", texts=("a",)), "give task=, one of"),
        (ask("tensors", texts=("a",)), "tensors is not possible"),
    ],
)
def test_what_a_task_does_not_take_is_named(request_: PredictRequest, words: str) -> None:
    with pytest.raises((UnsupportedError, ValidationError), match=words):
        CODEC.encode_request(request_, Settings())


def test_a_limit_that_cannot_be_sent_is_a_warning() -> None:
    assert CODEC.warnings(ask("image_classification", count=3), Settings()) == (
        "count was not sent: this container gives all results",
    )
    assert CODEC.warnings(ask("object_detection", count=3), Settings()) == ()


def test_a_body_of_the_caller_s_own_is_sent_as_it_is() -> None:
    sent = CODEC.encode_request(ask("forecasting", body={"instances": []}), Settings())
    assert (sent.json(), sent.content_type) == ({"instances": []}, JSON)


@pytest.mark.parametrize("task", ["text_classification", "question_answering", "image_embedding", "tabular_regression"])
def test_a_handler_refuses_a_content_type_that_it_does_not_know(task: str) -> None:
    with pytest.raises(UnsupportedError, match="application/json is not supported"):
        CODEC.decode_request("ep", Payload(b'{"messages": []}'), Settings(task=task))


@pytest.mark.parametrize(
    ("task", "wire"),
    [
        ("text_classification", {"probabilities": [0.5]} | {"labels": ["a", "b"]}),
        ("text_classification", []),
        ("question_answering", {"score": 1.0}),
        ("summarization", {"summary_text": 5}),
        ("object_detection", {"normalized_boxes": [[0, 0, 1]], "classes": [0], "scores": [1.0]}),
        ("object_detection", {"normalized_boxes": [], "classes": [0], "scores": [1.0]}),
        ("semantic_segmentation", {"predictions": [1]}),
        ("forecasting", {"predictions": [{"mean": "x"}]}),
        ("text_embedding", {"embedding": ["x"]}),
    ],
)
def test_what_is_no_reply_is_a_server_error(task: str, wire: Any) -> None:
    with pytest.raises(ServerError):
        CODEC.decode_response(Payload(json.dumps(wire).encode()), Context(request=ask(task)))


def test_a_result_of_another_task_is_not_written() -> None:
    with pytest.raises(ServerError, match="Classification is what this task answers with, not a Tensors"):
        CODEC.encode_response(PredictResponse(result=Tensors(())), Context(request=ask("image_classification")))


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("ner", "named_entity_recognition"),
        ("od1", "object_detection"),
        ("Image Classification", "image_classification"),
        ("token-classification", "named_entity_recognition"),
        ("translation_en_to_de", "translation"),
        ("Tabular Regression", "tabular_regression"),
        ("zstc", "zero_shot_classification"),
        ("automatic-speech-recognition", "speech_recognition"),
        ("text-generation", None),
        ("", None),
        (None, None),
    ],
)
def test_names_of_tasks(text: str | None, task: str | None) -> None:
    assert canonical(text) == task


@pytest.mark.parametrize(
    ("model_id", "task"),
    [
        ("huggingface-tc-bert-base-cased", "text_classification"),
        ("pytorch-od1-fasterrcnn-resnet50-fpn", "object_detection"),
        ("mxnet-is-mask-rcnn-fpn-resnet50-v1b-coco", "instance_segmentation"),
        ("lightgbm-classification-model", "tabular_classification"),
        ("pytorch-tabtransformerregression-model", "tabular_regression"),
        ("autogluon-forecasting-chronos-bolt-base", "forecasting"),
        ("huggingface-asr-whisper-large-v2", "speech_recognition"),
        ("meta-textgeneration-llama-2-7b-f", None),
        ("huggingface-llm-mistral-7b", None),
        ("classifier", None),
    ],
)
def test_a_model_s_id_states_its_task(model_id: str, task: str | None) -> None:
    assert of_model_id(model_id) == task
