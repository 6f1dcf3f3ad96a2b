"""T5 and its kin against transformers: what the encoder makes of a text, and the decoder's logits token by token."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from awsllm.engine import t5
from awsllm.engine.errors import ModelError, WeightsError
from awsllm.engine.interface import Chunk
from awsllm.engine.t5 import T5
from tests.support import random_t5
from tests.support.random_t5 import ANSWER, TEXT, VARIANTS

Written = Callable[[str], tuple[Path, torch.Tensor, torch.Tensor]]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A model's directory, the encoder's states and the decoder's logits by transformers; each is made once."""
    made: dict[str, tuple[Path, torch.Tensor, torch.Tensor]] = {}

    def write(name: str) -> tuple[Path, torch.Tensor, torch.Tensor]:
        if name not in made:
            path = tmp_path_factory.mktemp(name)
            made[name] = path, *random_t5.write(name, path)
        return made[name]

    return write


def token_by_token(model: T5, text: list[int], answer: list[int]) -> np.ndarray:
    cache = model.new_cache(len(text) + len(answer))
    rows = [model.forward([Chunk([*text, answer[0]], cache)])[0]]
    rows += [model.forward([Chunk([token], cache)])[0] for token in answer[1:]]
    return np.stack(rows)


def close(got: Any, expected: Any) -> None:
    torch.testing.assert_close(torch.as_tensor(got), torch.as_tensor(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", VARIANTS)
def test_states_and_logits_equal_transformers(name: str, written: Written) -> None:
    path, states, logits = written(name)
    model = t5.load(path, precision="float32")
    close(model.encode(TEXT), states)
    close(token_by_token(model, TEXT, ANSWER), logits)


def test_several_tokens_at_once_are_as_one_by_one(written: Written) -> None:
    path, _, logits = written("flan-t5")
    model = t5.load(path, precision="float32")
    cache = model.new_cache(len(TEXT) + len(ANSWER))
    first = model.forward([Chunk([*TEXT, *ANSWER[:1]], cache)])
    close(first[0], logits[0])
    close(model.forward([Chunk(ANSWER[1:9], cache)])[0], logits[8])
    close(model.forward([Chunk(ANSWER[9:], cache)])[0], logits[-1])
    assert cache.length == len(TEXT) + len(ANSWER)


def test_sequences_in_one_step_are_as_each_by_itself(written: Written) -> None:
    """One begins while another goes on; with packed weights the logits are the same to the last bit."""
    model = t5.load(written("flan-t5")[0])
    alone = {length: token_by_token(model, TEXT[:length], ANSWER[:4]) for length in (5, 40, 300)}
    caches = {length: model.new_cache(length + 4) for length in alone}
    rows: dict[int, list[np.ndarray]] = {length: [] for length in alone}
    for step in range(6):
        begun = [length for n, length in enumerate(alone) if 0 <= step - n < 4]
        tokens = {length: ANSWER[len(rows[length]) : len(rows[length]) + 1] for length in begun}
        chunks = [Chunk(tokens[n] if rows[n] else [*TEXT[:n], *tokens[n]], caches[n]) for n in begun]
        for length, row in zip(begun, model.forward(chunks), strict=True):
            rows[length].append(row)
    for length, expected in alone.items():
        np.testing.assert_array_equal(np.stack(rows[length]), expected)


def test_packed_weights_say_nearly_the_same(written: Written) -> None:
    path, _, logits = written("flan-t5")
    got = token_by_token(t5.load(path), TEXT, ANSWER)
    likeness = np.corrcoef(got.ravel(), logits.numpy().ravel())[0, 1]
    assert likeness > 0.995


def test_a_head_in_the_file_counts_whatever_the_configuration_says_of_it(written: Written, tmp_path: Path) -> None:
    """transformers 4 wrote ``tie_word_embeddings: false`` for the models with a head of their own, and nothing of
    ``scale_decoder_outputs``."""
    path, _, logits = written("flan-t5")
    described = json.loads((path / "config.json").read_text())
    assert described.pop("scale_decoder_outputs") is False
    (tmp_path / "config.json").write_text(json.dumps(described | {"tie_word_embeddings": False}))
    (tmp_path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes())
    close(token_by_token(t5.load(tmp_path, precision="float32"), TEXT, ANSWER), logits)


def test_embeddings_that_stand_in_the_file_three_times(written: Written, tmp_path: Path) -> None:
    path, states, _ = written("t5")
    tensors = load_file(path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((path / "config.json").read_bytes())
    shared = tensors["shared.weight"]
    unused = torch.ones(32, 4)
    again = {
        "encoder.embed_tokens.weight": shared.clone(),
        "decoder.embed_tokens.weight": shared.clone(),
        "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight": unused,  # as T5's first files
    }
    save_file(tensors | again, tmp_path / "model.safetensors")
    close(t5.load(tmp_path, precision="float32").encode(TEXT), states)
    save_file(tensors | {"decoder.embed_tokens.weight": shared + 1}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="the decoder has embeddings of its own"):
        t5.load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"feed_forward_proj": "gated-tanh"}, "activation 'tanh' is not supported"),
        ({"num_heads": 0}, "heads is 0"),
        ({"num_layers": 1 << 40}, "layers is"),
        ({"num_layers": 4}, "no tensor 'encoder.block.3"),
        ({"d_kv": 13}, "has shape"),
        ({"relative_attention_num_buckets": 0}, "buckets"),
        ({"relative_attention_max_distance": 1 << 40}, "buckets"),
        ({"relative_attention_num_buckets": 32, "relative_attention_max_distance": 16}, "buckets"),
        ({"d_model": "32"}, "not a whole number"),
        ({"new_norm": True}, "has new_norm = True, which is not supported"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
        ({"feed_forward_proj": "gated-gelu"}, "no tensor"),
    ],
)
def test_what_is_not_computed_is_refused(changes: dict[str, Any], says: str, written: Written, tmp_path: Path) -> None:
    path, _, _ = written("t5")
    described = json.loads((path / "config.json").read_text())
    if "feed_forward_proj" in changes:
        del described["dense_act_fn"], described["is_gated_act"]  # transformers takes these where they are said
    (tmp_path / "config.json").write_text(json.dumps(described | changes))
    (tmp_path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes())
    with pytest.raises((ModelError, WeightsError), match=says):
        t5.load(tmp_path)


def test_a_tensor_that_nothing_uses_is_refused(written: Written, tmp_path: Path) -> None:
    path, _, _ = written("t5")
    tensors = load_file(path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((path / "config.json").read_bytes())
    save_file(tensors | {"encoder.adapter.weight": torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"encoder\.adapter\.weight"):
        t5.load(tmp_path)


def test_a_cache_has_the_room_it_was_given(written: Written) -> None:
    model = t5.load(written("t5")[0])
    cache = model.new_cache(6)
    assert cache.nbytes == 0
    model.forward([Chunk([5, 6, 7, 0], cache)])
    layer = 3 * 2 * 4 * 12 * 2  # layers, keys and values, heads, channels, bytes
    assert cache.nbytes == (3 + 1) * layer
    model.forward([Chunk([5, 6], cache)])
    assert cache.nbytes == model.cache_bytes(6)
    with pytest.raises(ValueError, match="7 tokens do not fit in a cache of 6"):
        model.forward([Chunk([7], cache)])
    with pytest.raises(ValueError, match="a prompt is a text"):
        model.forward([Chunk([0], model.new_cache(6))])


JUNK: list[Any] = [None, True, 0, 1, -1, 2**31, 2**63, 1.5, "", "gelu", [], {}, [1], {"x": 1}]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), junk=st.sampled_from(JUNK))
def test_a_spoiled_configuration_is_read_or_refused(written: Written, tmp_path: Path, place: float, junk: Any) -> None:
    path, _, _ = written("flan-t5")
    described = json.loads((path / "config.json").read_text())
    described[sorted(described)[int(place * len(described))]] = junk
    (tmp_path / "config.json").write_text(json.dumps(described))
    (tmp_path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes())
    try:
        model = t5.load(tmp_path)
    except (ModelError, WeightsError):
        return
    assert np.isfinite(model.forward([Chunk([5, 6, 0], model.new_cache(8))])).all()
