"""What an inspector shows is what transformers says of the same weights: attention, residual stream, likelihoods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from awsllm.engine import inspection, model, weights
from awsllm.engine.inspection import Inspector, Questions
from awsllm.engine.model import Decoder
from tests.support import random_models, random_vision
from tests.support.random_models import TOKENS

# A variant of every family, with windows, layers that do not turn, caps, sinks and experts among them.
FAMILIES = [
    "llama3-rope", "mistral-window", "mixtral", "qwen2-windows", "qwen3", "qwen3-moe", "smollm3-windows", "gemma2",
    "gemma3", "phi4-long", "granite", "olmo2", "gpt2", "gpt-oss",
]  # fmt: skip
Made = Callable[[str], tuple[Decoder, Any]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A model of ours, and what transformers' of the same weights gives."""
    known: dict[str, tuple[Decoder, Any]] = {}

    def make(name: str) -> tuple[Decoder, Any]:
        if name not in known:
            path = tmp_path_factory.mktemp(name)
            net = random_models.make(name)
            net.save_pretrained(path)
            with torch.inference_mode():
                expected = net(torch.tensor([TOKENS]), output_attentions=True, output_hidden_states=True)
            known[name] = model.load(path, precision="float32"), expected
        return known[name]

    return make


def close(got: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_attention_and_stream_are_those_of_transformers(name: str, made: Made) -> None:
    decoder, expected = made(name)
    layers = decoder.config.layers
    for layer in range(layers):
        inspector = Inspector(decoder, layer)
        cache = inspector.new_cache(len(TOKENS))
        first, second = inspector.see(TOKENS[:20], cache), inspector.see(TOKENS[20:], cache)
        close(first.attention, expected.attentions[layer][0, :, :20, :20])
        close(second.attention, expected.attentions[layer][0, :, 20:])
    streams = torch.cat((first.streams, second.streams), 1)
    hidden = torch.cat(expected.hidden_states[:layers])  # transformers' last has passed the norm
    close(streams[:layers] / hidden.abs().max(), hidden / hidden.abs().max())
    close(torch.cat((first.logits, second.logits)), expected.logits[0])
    close(inspector.lens(streams[layers]), expected.logits[0])


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_times_values_are_what_the_layer_gives_on(name: str, made: Made) -> None:
    decoder, _ = made(name)
    layer, groups = decoder.config.layers - 1, decoder.config.kv_heads
    given: list[torch.Tensor] = []
    inspector = Inspector(decoder, layer)
    output = inspector.layers[layer].output

    def watched(x: torch.Tensor) -> torch.Tensor:
        given.append(x)
        return output(x)

    inspector.layers[layer] = replace(inspector.layers[layer], output=watched)
    cache = inspector.new_cache(len(TOKENS))
    attention = inspector.see(TOKENS, cache).attention
    values = cache.data[layer, groups:, : len(TOKENS)].repeat_interleave(decoder.config.heads // groups, 0)
    close((attention @ values).transpose(0, 1).reshape(len(TOKENS), -1), given[0])
    sums = attention.sum(-1)
    if decoder.config.sinks:
        assert (sums < 1 - 1e-4).any()
    else:
        close(sums, torch.ones_like(sums))


def test_looking_changes_nothing(made: Made) -> None:
    decoder, _ = made("gemma2")
    before, layers = decoder.attention, list(decoder.layers)
    Inspector(decoder, 0).see(TOKENS, decoder.new_cache(len(TOKENS)))
    assert decoder.attention is before
    assert decoder.layers == layers


def asked(**changes: Any) -> Questions:
    return Questions(**{"layer": 1, "heads": [None], "top": 3, "max_tokens": 4, **changes})


def test_a_trace_tells_each_token_s_probability(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, expected = made("qwen3")
    monkeypatch.setattr(inspection, "_BLOCK", 7)
    traced = inspection.trace(decoder, TOKENS, asked())
    assert traced.tokens[: len(TOKENS)] == TOKENS
    assert len(traced.tokens) == len(TOKENS) + 4
    assert len(traced.guesses) == len(traced.tokens) - 1
    wanted = expected.logits[0].softmax(-1)
    for n, guess in enumerate(traced.guesses[: len(TOKENS) - 1]):
        assert guess.probability == pytest.approx(float(wanted[n, TOKENS[n + 1]]), rel=1e-3)
        assert [token for token, _ in guess.likeliest] == wanted[n].topk(3).indices.tolist()
        assert guess.entropy == pytest.approx(float(-(wanted[n] * wanted[n].log2()).sum()), rel=1e-3)
    chosen = traced.guesses[len(TOKENS) - 1]
    assert traced.tokens[len(TOKENS)] == chosen.likeliest[0][0] == int(wanted[-1].argmax())
    assert chosen.probability == chosen.likeliest[0][1]


def test_a_trace_has_the_attention_of_every_token_and_head(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, expected = made("mistral-window")
    monkeypatch.setattr(inspection, "_BLOCK", 7)
    weights = expected.attentions[1][0]
    traced = inspection.trace(decoder, TOKENS, asked(max_tokens=0, heads=[None, 2]))
    mean, second = traced.attention
    assert [len(row) for row in mean] == list(range(1, len(TOKENS) + 1))
    for n in range(len(TOKENS)):
        close(torch.tensor(mean[n]), weights.mean(0)[n, : n + 1])
        close(torch.tensor(second[n]), weights[2, n, : n + 1])
    habits = traced.habits[2]
    rows = torch.arange(1, len(TOKENS))
    assert habits.first == pytest.approx(float(weights[2, 1:, 0].mean()), abs=1e-4)
    assert habits.previous == pytest.approx(float(weights[2, rows, rows - 1].mean()), abs=1e-4)
    assert habits.itself == pytest.approx(float(weights[2, rows, rows].mean()), abs=1e-4)
    assert habits.sink == pytest.approx(0, abs=1e-4)
    entropies = -(weights[2, 1:] * weights[2, 1:].clamp(min=1e-9).log2()).sum(-1)
    assert habits.entropy == pytest.approx(float(entropies.mean()), rel=1e-3)


def test_the_last_layer_says_what_the_model_says(made: Made) -> None:
    for name in ("gemma2", "granite"):  # whose logits are capped, or scaled
        decoder, _ = made(name)
        traced = inspection.trace(decoder, TOKENS, asked())
        for layers, guess, token in zip(traced.layers, traced.guesses[-4:], traced.tokens[-4:], strict=True):
            assert len(layers) == decoder.config.layers + 1
            assert layers[-1].token == token
            assert layers[-1].probability == layers[-1].chosen == pytest.approx(guess.probability, rel=1e-4)


def test_an_answer_ends_with_its_end_and_has_no_forbidden_token(made: Made) -> None:
    decoder, expected = made("llama3-rope")
    best, second = expected.logits[0, -1].topk(2).indices.tolist()
    ended = inspection.trace(decoder, TOKENS, asked(stop_ids={best}))
    assert ended.tokens == [*TOKENS, best]
    assert inspection.trace(decoder, TOKENS, asked(max_tokens=1, never=(best,))).tokens == [*TOKENS, second]


def test_a_stop_token_within_the_prompt_ends_nothing(made: Made) -> None:
    decoder, _ = made("llama3-rope")
    traced = inspection.trace(decoder, TOKENS, asked(max_tokens=2, stop_ids={TOKENS[-1]}))
    assert len(traced.tokens) > len(TOKENS)


def test_a_prompt_of_one_token(made: Made) -> None:
    decoder, _ = made("gpt-oss")
    traced = inspection.trace(decoder, [5], asked(max_tokens=0))
    assert traced.guesses == []
    assert [len(rows) for rows in traced.attention] == [1]
    assert all(habit.first == 0 for habit in traced.habits)


def test_a_model_that_gives_no_numbers_is_no_model(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, _ = made("qwen3")
    monkeypatch.setattr(decoder, "head", lambda x: torch.full((len(x), 128), float("nan")))
    with pytest.raises(ValueError, match="not numbers"):
        inspection.trace(decoder, TOKENS, asked())


def test_neighbours_are_by_the_cosine_of_embeddings(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, _ = made("gemma2")
    monkeypatch.setattr(inspection, "_ROWS", 50)
    table = decoder.embedding.rows(torch.arange(128))
    cosines = torch.nn.functional.cosine_similarity(table, table[[3, 9]].mean(0)[None])
    cosines[[3, 9]] = -2
    expected = cosines.topk(5)
    found = inspection.neighbours(decoder, [3, 9], 5)
    assert [token for token, _ in found] == expected.indices.tolist()
    assert [cosine for _, cosine in found] == pytest.approx(expected.values.tolist(), abs=1e-5)
    assert len(inspection.neighbours(decoder, [3], 1000)) == 127


@pytest.mark.parametrize("name", ["llama-tied", "gpt2", "gpt-oss", "qwen3"])
def test_every_parameter_is_counted_where_it_works(name: str, tmp_path: Path) -> None:
    net = random_models.make(name)
    net.save_pretrained(tmp_path)
    counts = inspection.parameters(weights.read(tmp_path).tensors)
    assert sum(counts.values()) == sum(parameter.numel() for parameter in net.parameters())
    assert "other" not in counts
    named: dict[str, int] = {}
    for key, parameter in net.named_parameters():
        part = "norms" if "norm" in key or ".ln_" in key else "attention" if "attn" in key else None
        part = part or ("mlp" if "mlp" in key else "head" if "lm_head" in key else "embeddings")
        named[part] = named.get(part, 0) + parameter.numel()
    assert counts == named


def test_what_sees_is_counted_by_itself(tmp_path: Path) -> None:
    net = random_vision.write(tmp_path)
    counts = inspection.parameters(weights.read(tmp_path).tensors)
    text = sum(parameter.numel() for name, parameter in net.named_parameters() if "text_model" in name)
    head = net.lm_head.weight.numel()
    assert counts["images"] == sum(parameter.numel() for parameter in net.parameters()) - text - head
    assert sum(counts.values()) - counts["images"] == text + head
