"""The decoder that is trained computes what the decoder that answers computes, in every variant."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from awsllm.engine.train import decoder
from awsllm.engine.train.decoder import NOT_TRAINED, Batch, DecoderPast
from tests.support import random_models
from tests.support.random_models import TOKENS


def rows(*sequences: list[int]) -> Batch:
    tokens = torch.tensor(sequences)
    positions = torch.arange(tokens.shape[1]).expand_as(tokens)
    return Batch(tokens, tokens, positions)


@pytest.mark.parametrize("name", random_models.VARIANTS)
def test_logits_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    expected = random_models.write(name, tmp_path)
    made = decoder.load(tmp_path)
    with torch.inference_mode():
        logits = made.logits(made(rows(TOKENS))[0])
    torch.testing.assert_close(logits, expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", random_models.VARIANTS)
def test_tokens_behind_a_past_are_computed_as_in_one_go(name: str, tmp_path: Path) -> None:
    random_models.write(name, tmp_path)
    made, tokens = decoder.load(tmp_path), torch.tensor([TOKENS])
    past = DecoderPast(made.config)
    with torch.inference_mode():
        for end in (5, 8, *range(9, len(TOKENS) + 1)):  # several at first, several behind them, then one by one
            past.make_way(end)
            some = tokens[:, past.count : end]
            found = made(Batch(some, some, torch.arange(past.count, end)[None]), past)[:, -1]
            assert past.count == end
            torch.testing.assert_close(found, made(rows(TOKENS[:end]))[:, -1], rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2", "gpt-oss", "phi4-short", "mixtral", "smollm3-windows"])
def test_sequences_in_one_row_do_not_see_each_other(name: str, tmp_path: Path) -> None:
    random_models.write(name, tmp_path)
    made = decoder.load(tmp_path)
    first, second = TOKENS[:10], TOKENS[10:17]
    tokens = torch.tensor([first + second])
    labels = tokens.clone()
    labels[0, len(first)] = NOT_TRAINED  # nothing before it is of its sequence
    segments = torch.tensor([[0] * len(first) + [1] * len(second)])
    positions = torch.tensor([[*range(len(first)), *range(len(second))]])
    together = made.log_probabilities(Batch(tokens, labels, positions, segments))
    apart = torch.cat([made.log_probabilities(rows(first)), made.log_probabilities(rows(second))])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-4)


def test_gradients_are_the_same_where_activations_are_computed_again(tmp_path: Path) -> None:
    random_models.write("qwen3", tmp_path)
    gradients = []
    for checkpointed in (False, True):
        made = decoder.load(tmp_path, checkpointed=checkpointed).train()
        made.log_probabilities(rows(TOKENS)).sum().backward()
        gradients.append({name: parameter.grad for name, parameter in made.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)
