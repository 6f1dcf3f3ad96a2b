"""Tasks that are no chat, answered by local models: the arithmetic by a stand-in, one of each kind by the real ones."""

from __future__ import annotations

from typing import Any

import pytest

import awsllm
from awsllm.backend import UNLIMITED, Attempt
from awsllm.backends.local.predict import predict
from awsllm.testing import mock_aws
from awsllm.testing.scripted import ScriptedBackend
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.types.predict import Answer, Classification, Embedding, PredictedText, PredictRequest


class Vectors(ScriptedBackend):
    """Texts about animals point one way, others another."""

    def ask(self, request: Any, attempt: Attempt = UNLIMITED) -> Any:
        if not isinstance(request, EmbedRequest):
            return super().ask(request, attempt)
        return EmbedResponse(vectors=[[1.0, 0.0] if "dog" in text else [0.0, 1.0] for text in request.texts])


def ask(task: str, reply: str = "", **members: Any) -> Any:
    return predict(Vectors(reply), PredictRequest(model="m", task=task, **members), UNLIMITED)  # type: ignore[arg-type]


def test_the_nearest_label_is_the_class() -> None:
    response = ask("zero_shot_classification", texts=("A dog barks",), labels=("cooking", "dog"))
    assert isinstance(response.result, Classification)
    assert response.result.label == "dog"
    assert sum(each.score for each in response.result.scores) == pytest.approx(1.0)
    assert "stand-in" in response.warnings[0]
    several = ask("zero_shot_classification", texts=("A dog",), labels=("dog", "dogs"), multi_label=True)
    assert all(each.score > 0.99 for each in several.result.scores)


def test_pairs_and_sentiments_have_the_labels_of_their_models() -> None:
    assert ask("sentence_pair_classification", texts=("dog", "a dog")).result.label == "entailment"
    assert ask("sentence_pair_classification", texts=("dog", "car")).result.label == "no-entailment"
    sentiment = ask("text_classification", texts=("dog",)).result
    assert {each.label for each in sentiment.scores} == {"negative", "positive"}


def test_what_is_written_the_chat_model_writes() -> None:
    assert ask("summarization", " Short. ", texts=("Long.",)).result == PredictedText(("Short.",))
    assert ask("translation", "Hallo", texts=("Hello",)).result == PredictedText(("Hallo",))
    found = ask("question_answering", "Sam", texts=("Who?", "It was Sam."))
    assert found.result == Answer(text="Sam", start=7, end=10)
    assert ask("question_answering", "Tom", texts=("Who?", "It was Sam.")).result == Answer(text="Tom")


@pytest.mark.parametrize("task", ["object_detection", "forecasting", "tabular_regression", "speech_recognition", None])
def test_what_no_local_model_does_is_refused(task: str | None) -> None:
    with pytest.raises(awsllm.UnsupportedError, match="script the answers"):
        predict(Vectors(), PredictRequest(model="m", task=task), UNLIMITED)  # type: ignore[arg-type]


def test_the_local_models_answer_endpoints_offline() -> None:
    formats = {name: f"jumpstart/{name}" for name in ("zstc", "embedding", "summarization", "od")}
    formats["embedding"] = "jumpstart/tcembedding"
    with mock_aws(endpoints="*", formats=formats), awsllm.Client(region="us-east-1") as client:
        labels = ["sports", "cooking"]
        chosen = client.predict("zstc", "He scored two goals in the final.", labels=labels, task="zstc").result
        assert isinstance(chosen, Classification)
        assert chosen.label == "sports"
        vector = client.predict("embedding", "Hi", task="text_embedding").result
        assert isinstance(vector, Embedding)
        assert len(vector.vectors[0]) == 384
        summary = client.predict("summarization", "It rained. It rained all day.", task="summarization").result
        assert isinstance(summary, PredictedText)
        assert summary.text
        with pytest.raises(awsllm.RequestError, match="object_detection"):
            client.predict("od", b"\x89PNG\r\n\x1a\n", task="od")


def test_a_local_model_by_name() -> None:
    with awsllm.Client() as client:
        found = client.predict(
            "local:all-minilm-l6-v2", "Bake it for an hour.", task="zstc", labels=["oven", "bicycle"]
        )
        assert isinstance(found.result, Classification)
        assert found.result.label == "oven"
        assert found.model == "local:all-minilm-l6-v2"
