"""The decoder on one architecture: what it keeps, refuses, makes of a real model; ``test_architectures`` has all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from awsllm.engine import errors, model
from awsllm.engine.attention import KVCache
from awsllm.engine.interface import Chunk
from awsllm.engine.model import Decoder
from tests.support import random_models
from tests.support.random_models import TOKENS


def reference(name: str, path: Path) -> torch.Tensor:
    return random_models.write(name, path)


def every_logit(decoder: Decoder, tokens: list[int]) -> torch.Tensor:
    return decoder.forward([Chunk(tokens, decoder.new_cache(len(tokens)))], every_token=True)


def test_copied_prefix_is_as_good_as_computed(tmp_path: Path) -> None:
    reference("llama", tmp_path)
    decoder = model.load(tmp_path, precision="float32")
    whole, copy = decoder.new_cache(64), decoder.new_cache(64)
    expected = decoder.forward([Chunk(TOKENS, whole)])
    copy.copy_prefix(whole, 10)
    torch.testing.assert_close(decoder.forward([Chunk(TOKENS[10:], copy)]), expected, rtol=1e-4, atol=1e-4)


def test_cache_that_is_full_is_an_error(tmp_path: Path) -> None:
    reference("llama", tmp_path)
    decoder = model.load(tmp_path, precision="float32")
    with pytest.raises(ValueError, match="5 tokens do not fit in a cache of 4"):
        decoder.forward([Chunk([1] * 5, decoder.new_cache(4))])


def test_positions_that_were_not_learned_are_an_error(tmp_path: Path) -> None:
    reference("gpt2", tmp_path)
    decoder = model.load(tmp_path)
    with pytest.raises(ValueError, match="learned 512 positions, not 513"):
        decoder.new_cache(513)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "mamba"}, "'mamba' is not supported; supported are llama"),
        ({"rope_parameters": {"rope_type": "proportional"}}, "rope scaling 'proportional' is not supported"),
        ({"intermediate_size": 97}, "has shape"),
        ({"num_hidden_layers": 2}, "tensors that a llama model does not use"),
        ({"num_hidden_layers": 4}, "no tensor 'model.layers.3"),
        ({"rms_norm_eps": None}, "no 'rms_norm_eps'"),
        ({"num_attention_heads": 0}, "heads is 0, not a whole number"),
        ({"num_key_value_heads": 3}, "do not go with 3 key heads"),
        ({"vocab_size": 10**12}, "vocab_size is 1000000000000"),
        ({"rope_parameters": {"rope_type": "llama3", "factor": 2}}, "is not complete: 'low_freq_factor'"),
    ],
)
def test_what_is_not_understood_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    reference("llama", tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text()) | change
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    with pytest.raises(ValueError, match=message):
        model.load(tmp_path)


def test_neither_gguf_nor_directory(tmp_path: Path) -> None:
    with pytest.raises(errors.WeightsError, match=r"give a \.gguf file"):
        model.load(tmp_path / "model.bin")


@pytest.fixture(scope="session")
def smollm() -> Path:
    if path := os.environ.get("AWSLLM_TEST_GGUF"):
        return Path(path)
    from awsllm.store import Store

    return Path(Store().path("smollm2-135m-instruct"))


PROMPT = [1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28, 7018, 411, 407, 19712, 8182, 2]


def greedy(decoder: Decoder, count: int) -> list[int]:
    cache: KVCache = decoder.new_cache(len(PROMPT) + count)
    tokens, found = PROMPT, []
    for _ in range(count):
        tokens = [int(decoder.forward([Chunk(tokens, cache)]).argmax())]
        found += tokens
    return found


def transformers_logits(path: Path) -> torch.Tensor:
    """By transformers' own GGUF loader (its ``from_pretrained`` asks for accelerate, which adds nothing here)."""
    import transformers
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    config = transformers.LlamaConfig(**load_gguf_checkpoint(str(path))["config"])
    with torch.device("meta"):
        net = transformers.LlamaForCausalLM(config)
    loaded = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=net)["tensors"]
    net = net.to_empty(device="cpu").eval()
    missing, _ = net.load_state_dict(loaded, strict=False)
    assert set(missing) <= {"lm_head.weight"}
    net.tie_weights()
    net.model.rotary_emb = type(net.model.rotary_emb)(config)  # its buffer was made on the meta device
    with torch.inference_mode():
        return net(torch.tensor([PROMPT])).logits[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_real_model_equals_transformers(smollm: Path) -> None:
    expected = transformers_logits(smollm)
    exact = model.load(smollm, precision="float32")
    torch.testing.assert_close(every_logit(exact, PROMPT), expected, rtol=1e-3, atol=1e-3)
    packed = model.load(smollm)
    got = every_logit(packed, PROMPT).log_softmax(-1)
    assert (got.exp() * (got - expected.log_softmax(-1))).sum(-1).mean() < 0.01  # Kullback-Leibler, nats a token
    assert greedy(packed, 8) == greedy(exact, 8)
