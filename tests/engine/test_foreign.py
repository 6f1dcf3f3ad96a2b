"""Models that transformers computes in the engine's place: the same logits, and nothing of what strangers choose."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from awsllm.engine import foreign, weights
from awsllm.engine.errors import ModelError, WeightsError
from awsllm.engine.foreign import Foreign
from awsllm.engine.interface import Chunk
from tests.support import random_foreign
from tests.support.random_foreign import READERS, TOKENS, VARIANTS

Written = Callable[[str], tuple[Path, torch.Tensor]]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    made: dict[str, tuple[Path, torch.Tensor]] = {}

    def write(name: str) -> tuple[Path, torch.Tensor]:
        if name not in made:
            path = tmp_path_factory.mktemp(name)
            made[name] = path, random_foreign.write(name, path)
        return made[name]

    return write


def load(path: Path) -> Foreign:
    return foreign.load(weights.read(path))


@pytest.mark.parametrize("name", VARIANTS)
def test_logits_equal_transformers_cached_and_beside_others(name: str, written: Written) -> None:
    path, logits = written(name)
    model = load(path)
    assert model.cached == (name != "rwkv")
    first, second = model.new_cache(len(TOKENS)), model.new_cache(8)
    rows = [model.forward([Chunk(TOKENS[:20], first)])[0]]
    together = model.forward([Chunk(TOKENS[20:21], first), Chunk(TOKENS[:7], second)])
    rows += [together[0], *(model.forward([Chunk([token], first)])[0] for token in TOKENS[21:])]
    np.testing.assert_allclose(np.stack(rows), logits[19:], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(together[1], logits[6], rtol=1e-4, atol=1e-4)
    assert model.config.vocab_size == 320
    assert first.length == len(TOKENS)
    assert first.nbytes <= model.cache_bytes(len(TOKENS)) <= max(2 * first.nbytes, 100 * len(TOKENS))


@pytest.mark.parametrize("name", READERS)
def test_logits_of_a_model_with_an_encoder(name: str, tmp_path: Path) -> None:
    net = random_foreign.make_reader(name)
    net.save_pretrained(tmp_path)
    answer = [2, 5, *TOKENS[:8]]
    with torch.inference_mode():
        logits = net(input_ids=torch.tensor([TOKENS]), decoder_input_ids=torch.tensor([answer])).logits[0]
    model = foreign.load(weights.read(tmp_path), starts=2)
    assert model.cached
    cache = model.new_cache(len(TOKENS) + len(answer))
    rows = [model.forward([Chunk([*TOKENS, *answer[:2]], cache)])[0]]
    rows += [model.forward([Chunk([token], cache)])[0] for token in answer[2:]]
    np.testing.assert_allclose(np.stack(rows), logits[1:], rtol=1e-4, atol=1e-4)
    kept = 2 * (len(TOKENS) + len(answer)) * 2 * 32 * 4  # layers, tokens, keys and values, channels, bytes
    assert cache.nbytes == kept
    with pytest.raises(ValueError, match="a prompt is a text"):
        model.forward([Chunk([2, 5], model.new_cache(8))])


def test_a_cache_has_the_room_it_was_given(written: Written) -> None:
    model = load(written("stablelm")[0])
    cache = model.new_cache(4)
    model.forward([Chunk([1, 2, 3], cache)])
    assert cache.nbytes == 3 * 2 * 2 * 2 * 8 * 4  # tokens, layers, keys and values, heads, channels, bytes
    with pytest.raises(ValueError, match="5 tokens do not fit in a cache of 4"):
        model.forward([Chunk([1, 2], cache)])


def test_half_precision_is_computed_as_it_is_stored_or_finer(written: Written, tmp_path: Path) -> None:
    path, _ = written("stablelm")
    (tmp_path / "config.json").write_bytes((path / "config.json").read_bytes())
    for stored, computed in ((torch.float16, torch.float32), (torch.bfloat16, torch.bfloat16)):
        tensors = {name: tensor.to(stored) for name, tensor in load_file(path / "model.safetensors").items()}
        save_file(tensors, tmp_path / "model.safetensors")
        assert load(tmp_path).net.dtype == computed


def changed(path: Path, to: Path, **changes: Any) -> Path:
    """The model with another configuration."""
    (to / "config.json").write_text(json.dumps(json.loads((path / "config.json").read_text()) | changes))
    (to / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes())
    return to


def test_nothing_is_fetched_and_no_code_of_a_model_is_run(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*_: Any) -> NoReturn:
        raise AssertionError("something was to be fetched")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    path, logits = written("stablelm")
    hostile = changed(
        path,
        tmp_path,
        auto_map={"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"},
        _attn_implementation="attacker/kernels",
        _attn_implementation_internal="attacker/kernels",
        attn_implementation="attacker/kernels",
        _name_or_path="attacker/model",
        base_model_name_or_path="attacker/model",
        transformers_weights="../evil.bin",
        trust_remote_code=True,
        custom_generate="attacker/generate",
    )
    ran = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(ran)!r}, 'w').close()\nclass Config: pass\nclass Model: pass\n")
    adapter = {"base_model_name_or_path": "attacker/model", "peft_type": "LORA"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(adapter))
    model = load(hostile)
    got = model.forward([Chunk(TOKENS, model.new_cache(len(TOKENS)))])[0]
    np.testing.assert_allclose(got, logits[-1], rtol=1e-4, atol=1e-4)
    assert not ran.exists()


def test_the_hub_is_left_as_it_was(written: Written) -> None:
    from huggingface_hub import constants
    from transformers.integrations import hub_kernels

    before = constants.HF_HUB_OFFLINE, hub_kernels._kernels_enabled
    load(written("stablelm")[0])
    assert (constants.HF_HUB_OFFLINE, hub_kernels._kernels_enabled) == before


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_type": "made-up"}, "'made-up' is not one that transformers knows"),
        ({"model_type": None}, "'None' is not one"),
        ({"model_type": "resnet"}, "no model that writes for the architecture 'resnet'"),
        ({"model_type": "bart"}, "no model that writes for the architecture 'bart'"),
        ({"num_hidden_layers": 3}, r"missing: model\.layers\.2"),
        ({"num_hidden_layers": 1 << 40}, "num_hidden_layers is 1099511627776; at most 4,096"),
        ({"hidden_size": 1 << 16}, "weights, and the files hold"),
        ({"hidden_size": "32"}, "transformers refuses the configuration"),
        ({"hidden_act": "made-up"}, r"transformers cannot compute this model \(KeyError\)"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantised weights are not supported"),
    ],
)
def test_what_cannot_be_computed_is_refused(
    changes: dict[str, Any], says: str, written: Written, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=says):
        load(changed(written("stablelm")[0], tmp_path, **changes))


def test_pickled_weights_are_not_read(written: Written, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((written("stablelm")[0] / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(WeightsError, match="loading them can run code"):
        load(tmp_path)


JUNK: list[Any] = [True, 0, -1, 2**31, 2**63, 1.5, "", "gelu", [], {"x": 1}]


@pytest.mark.filterwarnings("ignore::UserWarning")  # of what torch makes of nothing
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), junk=st.sampled_from(JUNK))
def test_a_spoiled_configuration_is_read_or_refused(written: Written, tmp_path: Path, place: float, junk: Any) -> None:
    path, _ = written("stablelm")
    described = json.loads((path / "config.json").read_text())
    spoiled = sorted(described)[int(place * len(described))]
    try:
        model = load(changed(path, tmp_path, **{spoiled: junk}))
    except (ModelError, WeightsError):
        return
    assert model.forward([Chunk([5, 6], model.new_cache(8))]).shape == (1, 320)
