"""Pipelines of transformers: the prompt before the answer, vectors of tokens, one task a container."""

import pytest

from awsllm.errors import UnsupportedError
from awsllm.types import ConverseResponse, InferenceConfig, JsonValue, Message
from awsllm.types.embedding import EmbedRequest
from awsllm.wire import endpoint
from awsllm.wire.body import Context, Settings
from awsllm.wire.endpoint.huggingface import PipelineChat, PipelineEmbed
from tests.support.bodies import PLAIN, ask, payload, received

CHAT, EMBED = PipelineChat(), PipelineEmbed()
EXTRACT = Settings(task="feature-extraction")
TEXTS = EmbedRequest(model="ep", texts=("a", "b"))


def test_a_pipeline_repeats_the_prompt_unless_it_is_told_not_to() -> None:
    answer = ConverseResponse(message=Message.assistant("x"), stop_reason="end_turn")
    for parameters, expected in (({}, "Hix"), ({"return_full_text": False}, "x")):
        context = received(endpoint.get("huggingface"), payload({"inputs": "Hi", "parameters": parameters}))
        assert CHAT.encode_response(answer, context).json() == [{"generated_text": expected}]


def test_a_temperature_of_zero_is_no_sampling() -> None:
    request = ask(inference_config=InferenceConfig(temperature=0.0, top_p=0.9))
    assert CHAT.encode_request(request, PLAIN).json()["parameters"] == {"do_sample": False, "return_full_text": False}


def embed(reply: JsonValue, *texts: str, normalize: bool | None = None) -> list[list[float]]:
    request = EmbedRequest(model="ep", texts=texts or ("a",), normalize=normalize)
    return EMBED.decode_response(payload(reply), Context(request=request)).vectors


def test_token_vectors_are_pooled_in_every_nesting() -> None:
    tokens = [[1.0, 2.0], [3.0, 6.0]]
    for reply in ([tokens], [[tokens]], [[2.0, 4.0]]):
        assert embed(reply) == [[2.0, 4.0]]
    assert embed([tokens, [[5.0, 5.0]]], "a", "b") == [[2.0, 4.0], [5.0, 5.0]]
    assert embed([[[3.0, 4.0]]], normalize=True) == [[0.6, 0.8]]
    assert EMBED.warnings(TEXTS, EXTRACT) != ()


def test_a_container_of_one_task_refuses_the_other() -> None:
    with pytest.raises(UnsupportedError, match="does not converse"):
        CHAT.encode_request(ask(), EXTRACT)
    with pytest.raises(UnsupportedError, match="does not embed"):
        EMBED.encode_request(TEXTS, Settings(task="summarization"))
