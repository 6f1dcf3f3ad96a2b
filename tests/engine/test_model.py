"""The decoder against transformers on the same weights; cached, batched and packed paths against the plain one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from awsllm.engine import model, weights
from awsllm.engine.model import Chunk, Decoder, KVCache

SMALL: dict[str, Any] = {
    "vocab_size": 128, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.3,
}  # fmt: skip
LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama-tied": ("Llama", {"tie_word_embeddings": True}),
    "llama-many-heads": ("Llama", {"num_key_value_heads": 4, "rms_norm_eps": 1e-3}),
    "llama3-rope": ("Llama", {"rope_parameters": LLAMA3_ROPE}),
    "llama-linear-rope": ("Llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}),
    "mistral": ("Mistral", {"sliding_window": None}),
    "mistral-window": ("Mistral", {"sliding_window": 7}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"head_dim": 32}),
}
TOKENS = list(range(3, 128, 4))


def reference(name: str, path: Path) -> torch.Tensor:
    """Write a random model of the variant as safetensors; transformers' logits of TOKENS, (T, V)."""
    import transformers

    kind, changes = VARIANTS[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SMALL | changes)
    net = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    for parameter_name, parameter in net.named_parameters():
        if parameter_name.endswith("bias") or "norm" in parameter_name:  # else all 0, or all 1
            torch.nn.init.normal_(parameter, mean=1.0, std=0.3)
    net.save_pretrained(path)
    with torch.inference_mode():
        return net(torch.tensor([TOKENS])).logits[0]


def every_logit(decoder: Decoder, tokens: list[int]) -> torch.Tensor:
    return decoder.forward([Chunk(tokens, decoder.new_cache(len(tokens)))], every_token=True)


@pytest.mark.parametrize("name", VARIANTS)
def test_logits_equal_transformers(name: str, tmp_path: Path) -> None:
    expected = reference(name, tmp_path)
    decoder = model.load(tmp_path, precision="float32")
    torch.testing.assert_close(every_logit(decoder, TOKENS), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["llama3-rope", "mistral-window", "qwen3"])
def test_chunks_and_neighbours_do_not_change_logits(name: str, tmp_path: Path) -> None:
    reference(name, tmp_path)
    decoder = model.load(tmp_path, precision="float32")
    expected = every_logit(decoder, TOKENS)
    first, second = decoder.new_cache(64), decoder.new_cache(64)
    decoder.forward([Chunk(TOKENS[:5], first)])
    mixed = decoder.forward([Chunk(TOKENS[5:6], first), Chunk(TOKENS[:20], second)])
    torch.testing.assert_close(mixed, expected[[5, 19]], rtol=1e-4, atol=1e-4)
    mixed = decoder.forward([Chunk(TOKENS[20:], second), Chunk(TOKENS[6:7], first)])
    torch.testing.assert_close(mixed, expected[[len(TOKENS) - 1, 6]], rtol=1e-4, atol=1e-4)


def test_copied_prefix_is_as_good_as_computed(tmp_path: Path) -> None:
    reference("llama", tmp_path)
    decoder = model.load(tmp_path, precision="float32")
    whole, copy = decoder.new_cache(64), decoder.new_cache(64)
    expected = decoder.forward([Chunk(TOKENS, whole)])
    copy.copy_prefix(whole, 10)
    torch.testing.assert_close(decoder.forward([Chunk(TOKENS[10:], copy)]), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("precision", ["packed", "bfloat16"])
def test_other_precisions_are_close(name: str, precision: Any, tmp_path: Path) -> None:
    expected = reference(name, tmp_path).log_softmax(-1)
    decoder = model.load(tmp_path, precision=precision)
    got = every_logit(decoder, TOKENS).log_softmax(-1)
    assert (got.exp() * (got - expected)).sum(-1).mean() < 0.05  # Kullback-Leibler, nats a token


def test_cache_that_is_full_is_an_error(tmp_path: Path) -> None:
    reference("llama", tmp_path)
    decoder = model.load(tmp_path, precision="float32")
    with pytest.raises(ValueError, match="5 tokens do not fit in a cache of 4"):
        decoder.forward([Chunk([1] * 5, decoder.new_cache(4))])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "mamba"}, "'mamba' is not supported; supported are llama"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope scaling .*yarn.* is not supported"),
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
    with pytest.raises(weights.WeightsError, match=r"give a \.gguf file"):
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
