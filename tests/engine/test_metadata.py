"""What a model file says about itself: by whichever name it is found, of whichever type, honoured or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from awsllm.engine import errors, formats, gguf, model, quant, weights
from awsllm.engine.errors import ModelError
from awsllm.engine.generate import Sampling
from awsllm.engine.scheduler import Scheduler
from awsllm.engine.template import ChatTemplate, TemplateError
from awsllm.engine.tokenizer import Tokenizer, TokenizerError
from awsllm.engine.torch_model import TorchModel
from tests.support import tiny_gguf

OURS = (gguf.GGUFError, ModelError, TemplateError, TokenizerError, errors.WeightsError)
WRONG: list[Any] = [-1, 0, 2**40, 0.5, float("nan"), float("inf"), True, "", "x", [1], [0.5], ["x"], [True]]


def load(path: Path) -> tuple[Tokenizer, model.Decoder]:
    checkpoint = weights.read(path)
    tokenizer = Tokenizer.from_gguf(checkpoint.source)
    ChatTemplate(gguf.text(checkpoint.source, "tokenizer.chat_template", ""))
    return tokenizer, model.load(checkpoint)


@pytest.mark.parametrize("name", ["5f3c0ffee", "model.GGUF", "model.bin"])
def test_a_file_is_judged_by_its_first_bytes(name: str, tmp_path: Path) -> None:
    path = tiny_gguf.write(tmp_path / name, tiny_gguf.metadata(), says=65)
    link = tmp_path / "link"
    link.symlink_to(path)
    assert load(link.resolve())[1].config.layers == 1


def test_what_is_no_gguf_says_what_it_begins_with(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"PK\x03\x04 a pickled checkpoint")
    with pytest.raises(gguf.GGUFError, match=r"not a GGUF file .*PK"):
        weights.read(path)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(gguf.GGUFError, match="git lfs pull"):
        weights.read(path)


@pytest.mark.parametrize("key", tiny_gguf.metadata())
def test_a_value_of_a_wrong_type_is_an_error_of_ours(key: str, tmp_path: Path) -> None:
    """Whatever stands there, the file loads or is refused."""
    refused = 0
    for number, value in enumerate(WRONG):
        path = tiny_gguf.write(tmp_path / str(number), {**tiny_gguf.metadata(), key: value}, says=65)
        try:
            load(path)
        except OURS:
            refused += 1
    assert refused >= 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"llama.rope.dimension_count": 4}, "4 of 8 channels"),
        ({"llama.rope.scale_linear": 4.0}, r"scale_linear is 4\.0"),
        ({"llama.rope.scaling.attn_factor": 1.2}, "attn_factor is 1.2"),
        ({"llama.rope.scaling.type": "ntk", "llama.rope.scaling.factor": 4.0}, "'ntk' is not supported"),
        ({"llama.rope.scaling.yarn_attn_factor": 1.2}, "yarn_attn_factor is 1.2"),
        ({"llama.rope.freq_base_swa": 1.0}, "freq_base_swa = 1.0, which is not supported"),
        ({"llama.rope.dimension_sections": [1, 2]}, r"dimension_sections = \[1, 2\], which is not supported"),
        ({"llama.attention.causal": False}, "causal is False"),
        ({"llama.logit_scale": 2.0}, "logit_scale = 2.0, which is not supported"),
        ({"llama.attention.value_length": 4}, "value_length is 4"),
        ({"llama.rope.scaling.factor": -2.0}, "not supported"),
    ],
)
def test_what_changes_the_rotation_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tiny_gguf.write(tmp_path / "m.gguf", {**tiny_gguf.metadata(), **changes}, says=65)
    with pytest.raises(ModelError, match=message):
        load(path)


def test_divisors_of_another_number_are_refused(tmp_path: Path) -> None:
    path = tiny_gguf.write(tmp_path / "m.gguf", {**tiny_gguf.metadata(), "llama.rope.dimension_count": 8}, says=65)
    checkpoint = weights.read(path)
    divisors = quant.Stored((5,), formats.F32, torch.ones(5).view(torch.uint8).view(5, 4))
    with pytest.raises(ModelError, match="not one number for each of 4 pairs"):
        model.load(weights.Checkpoint(checkpoint.source, True, {**checkpoint.tensors, "rope_freqs.weight": divisors}))


@pytest.mark.parametrize("kind", [{}, {"llama.rope.scaling.type": "linear"}])
def test_a_scaling_factor_is_linear_unless_it_says_otherwise(kind: dict[str, Any], tmp_path: Path) -> None:
    described = {**tiny_gguf.metadata(), "llama.rope.scaling.factor": 4.0, **kind}
    scaled = load(tiny_gguf.write(tmp_path / "scaled", described, says=65))[1]
    plain = load(tiny_gguf.write(tmp_path / "plain", tiny_gguf.metadata(), says=65))[1]
    assert (scaled.turnings[0].frequencies * 4).tolist() == plain.turnings[0].frequencies.tolist()


@pytest.mark.parametrize(
    ("pre", "adds"), [("llama-bpe", True), ("tekken", True), ("qwen2", False), ("smollm", False), ("llama4", False)]
)
def test_whether_a_prompt_begins_with_bos_is_the_pre_tokenizers_to_say(pre: str, adds: bool) -> None:
    """As llama.cpp has it (``llama-vocab.cpp``), where the file itself does not say."""
    described = {**tiny_gguf.metadata(), "tokenizer.ggml.pre": pre, "tokenizer.ggml.bos_token_id": 257}
    del described["tokenizer.ggml.add_bos_token"]
    assert (Tokenizer.from_gguf(described).encode_prompt(lambda guard: "a")[0] == 257) is adds
    said = Tokenizer.from_gguf({**described, "tokenizer.ggml.add_bos_token": not adds})
    assert (said.encode_prompt(lambda guard: "a")[0] == 257) is not adds


def test_a_token_that_is_not_there_is_not_named() -> None:
    assert Tokenizer.from_gguf({**tiny_gguf.metadata(), "tokenizer.ggml.bos_token_id": 2**32 - 1}).bos_id is None


def test_ids_without_a_text_of_their_own_are_known() -> None:
    described = tiny_gguf.metadata(("[PAD]", "[PAD]", "", "[unused]", "<x>"))
    described["tokenizer.ggml.token_type"][-2] = 5
    tokenizer = Tokenizer.from_gguf(described)
    assert tokenizer.vocab_size == 264
    assert tokenizer.silent_ids == {259, 261, 262}
    assert tokenizer.token_bytes(260) == b"[PAD]"
    ending = Tokenizer.from_gguf({**described, "tokenizer.ggml.eos_token_id": 259})
    assert 259 not in ending.silent_ids


def test_what_is_never_to_be_generated_is_not(tmp_path: Path) -> None:
    path = tiny_gguf.write(tmp_path / "m.gguf", tiny_gguf.metadata(), says=300, rows=320)
    _, decoder = load(path)
    scheduler = Scheduler(TorchModel(decoder), never=range(259, 320))
    try:
        assert list(scheduler.submit([65], Sampling(max_tokens=3))) == [0, 0, 0]
        assert list(scheduler.submit([65], Sampling(max_tokens=3, temperature=0.01, seed=1))) != [300] * 3
    finally:
        scheduler.close()
