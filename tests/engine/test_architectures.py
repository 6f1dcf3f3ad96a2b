"""Every architecture against transformers, from directories and from GGUF; cached, batched and packed as by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from awsllm.engine import model, quant
from awsllm.engine.build import Biased
from awsllm.engine.interface import Chunk
from awsllm.engine.mlp import Mixture
from awsllm.engine.model import Decoder
from tests.support import random_gguf, random_models
from tests.support.random_models import TOKENS, VARIANTS

Written = Callable[[str], tuple[Path, torch.Tensor]]
IN_GGUF = [  # the others say what GGUF cannot, or no file of llama.cpp's does
    "llama", "llama-tied", "llama-biases", "llama3-rope", "llama-linear-rope", "llama-yarn", "mistral", "qwen2",
    "qwen3", "gemma2", "gemma3", "gemma3-linear", "phi3", "phi3-window", "phi4-short", "phi4-long", "granite", "olmo2",
    "gpt2", "mixtral", "qwen3-moe-norm", "gpt-oss",
]  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A model's directory and its logits by transformers; each is made once."""
    made: dict[str, tuple[Path, torch.Tensor]] = {}

    def write(name: str) -> tuple[Path, torch.Tensor]:
        if name not in made:
            path = tmp_path_factory.mktemp(name)
            made[name] = path, random_models.write(name, path)
        return made[name]

    return write


def every_logit(decoder: Decoder, tokens: list[int]) -> torch.Tensor:
    return decoder.forward([Chunk(tokens, decoder.new_cache(len(tokens)))], every_token=True)


def close(got: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", VARIANTS)
def test_logits_equal_transformers(name: str, written: Written) -> None:
    path, expected = written(name)
    decoder = model.load(path, precision="float32")
    close(every_logit(decoder, TOKENS), expected)
    first, second = decoder.new_cache(64), decoder.new_cache(64)  # in chunks, and beside others
    decoder.forward([Chunk(TOKENS[:5], first)])
    mixed = decoder.forward([Chunk(TOKENS[5:6], first), Chunk(TOKENS[:20], second)])
    if name != "phi4-short":  # which turns otherwise in caches with more room
        close(mixed, expected[[5, 19]])
        mixed = decoder.forward([Chunk(TOKENS[20:], second), Chunk(TOKENS[6:7], first)])
        close(mixed, expected[[len(TOKENS) - 1, 6]])


@pytest.mark.parametrize("name", IN_GGUF)
def test_logits_of_gguf_equal_transformers(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    extra = {"attention.scale": 24**-0.5} if name.startswith("gemma") else {}
    expected = random_gguf.write(name, path, **extra)
    close(every_logit(model.load(path, precision="float32"), TOKENS), expected)


@pytest.mark.parametrize("name", VARIANTS)
def test_packed_logits_are_close_and_do_not_depend_on_neighbours(name: str, written: Written) -> None:
    path, expected = written(name)
    expected = expected.log_softmax(-1)
    decoder = model.load(path)
    alone = every_logit(decoder, TOKENS)
    got = alone.log_softmax(-1)
    mixture = decoder.config.experts is not None  # where rounding may lead to another expert
    assert (got.exp() * (got - expected)).sum(-1).mean() < (0.3 if mixture else 0.1)  # Kullback-Leibler, nats a token
    room = len(TOKENS)
    caches = [decoder.new_cache(room) for _ in range(3)]
    chunks = [Chunk(TOKENS[::-1], caches[0]), Chunk(TOKENS, caches[1]), Chunk(TOKENS[7:], caches[2])]
    assert torch.equal(decoder.forward(chunks, every_token=True)[room : 2 * room], alone)


@pytest.mark.parametrize("name", ["llama", "phi4-long", "gpt2", "gemma2", "olmo2", "granite", "mixtral", "gpt-oss"])
def test_matrices_of_four_bits_stay_so_in_every_layout(name: str, tmp_path: Path) -> None:
    """Rows in another order, projections apart, experts out of their stacks: all on the quantised bytes."""
    path = tmp_path / "model.gguf"
    random_gguf.write(name, path, quantised=gguf.GGMLQuantizationType.Q4_0)
    exact, packed = model.load(path, precision="float32"), model.load(path)
    layer = packed.layers[0]
    mlps = layer.mlp.experts if isinstance(layer.mlp, Mixture) else [layer.mlp]
    linears = [layer.qkv, layer.output, *(linear for mlp in mlps for linear in vars(mlp).values() if callable(linear))]
    kinds = [type(linear.linear if isinstance(linear, Biased) else linear) for linear in linears]
    assert kinds.count(quant.Int4) == 2 + 2 * len(mlps)
    expected, got = (every_logit(decoder, TOKENS).log_softmax(-1) for decoder in (exact, packed))
    mixture = exact.config.experts is not None
    assert (got.exp() * (got - expected)).sum(-1).mean() < (0.3 if mixture else 0.05)


@pytest.mark.parametrize(
    "name", ["llama", "qwen3", "smollm3", "gemma2", "gemma3", "phi4-long", "granite", "olmo2", "gpt2", "gpt-oss"]
)
def test_bfloat16_is_close(name: str, written: Written) -> None:
    path, expected = written(name)
    decoder = model.load(path, precision="bfloat16")
    got, expected = every_logit(decoder, TOKENS).log_softmax(-1), expected.log_softmax(-1)
    mixture = decoder.config.experts is not None
    assert (got.exp() * (got - expected)).sum(-1).mean() < (0.3 if mixture else 0.1)


def test_longrope_decides_by_the_room_in_the_cache(written: Written) -> None:
    path, expected = written("phi4-short")
    decoder = model.load(path, precision="float32")
    assert not decoder.new_cache(64).long
    roomy = decoder.new_cache(65)
    assert roomy.long
    together = decoder.forward([Chunk(TOKENS, roomy), Chunk(TOKENS, decoder.new_cache(64))], every_token=True)
    close(together[len(TOKENS) :], expected)
    assert (together[: len(TOKENS)] - expected).abs().max() > 0.1


# --- how files lay out the same weights -------------------------------------------------------------------------------


def rewritten(name: str, path: Path, rename: Callable[[str], str], **more: torch.Tensor) -> torch.Tensor:
    """The model with the names that a dictionary of its own tensors has, changed, and with more tensors beside them."""
    net = random_models.make(name)
    net.save_pretrained(path)
    tensors = {rename(key): value.contiguous() for key, value in net.state_dict().items() if key != "lm_head.weight"}
    if not net.config.tie_word_embeddings:
        tensors[rename("lm_head.weight")] = net.lm_head.weight.detach()
    save_file(tensors | more, path / "model.safetensors")
    return random_models.logits(net)


def test_experts_in_one_stack(tmp_path: Path) -> None:
    expected = rewritten("qwen3-moe", tmp_path, lambda name: name)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert "model.layers.0.mlp.experts.gate_up_proj" in file.keys()  # noqa: SIM118 -- it is no mapping
    close(every_logit(model.load(tmp_path, precision="float32"), TOKENS), expected)


@pytest.mark.parametrize("prefix", ["language_model.model.", "model.language_model."])
def test_gemma_3_with_a_picture_encoder(prefix: str, tmp_path: Path) -> None:
    more = {"vision_tower.a.weight": torch.ones(2, 2), "multi_modal_projector.b": torch.ones(2)}
    more = more if prefix.startswith("language") else {f"model.{name}": value for name, value in more.items()}
    expected = rewritten("gemma3", tmp_path, lambda name: name.replace("model.", prefix, 1), **more)
    described = json.loads((tmp_path / "config.json").read_text())
    whole = {"model_type": "gemma3", "text_config": described, "vision_config": {"hidden_size": 8}}
    (tmp_path / "config.json").write_text(json.dumps(whole))
    close(every_logit(model.load(tmp_path, precision="float32"), TOKENS), expected)


def test_gpt_2_as_it_was_first_published(tmp_path: Path) -> None:
    masks = {f"h.{n}.attn.bias": torch.ones(1, 1, 4, 4) for n in range(3)}
    expected = rewritten("gpt2", tmp_path, lambda name: name.removeprefix("transformer."), **masks)
    close(every_logit(model.load(tmp_path, precision="float32"), TOKENS), expected)


@pytest.mark.parametrize("in_gguf", [False, True])
def test_mxfp4_experts(in_gguf: bool, tmp_path: Path) -> None:
    """gpt-oss's own weights: blocks of four-bit values that transformers takes apart."""
    net, packed = random_models.write_mxfp4(tmp_path)
    path = tmp_path / "model.gguf" if in_gguf else tmp_path
    if in_gguf:
        random_gguf.write_net(net, path, "gpt-oss", packed)
    close(every_logit(model.load(path, precision="float32"), TOKENS), random_models.logits(net))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"model.layers.0.mlp.experts.gate_up_proj": torch.ones(3, 64, 64)}, "is no stack of 4 experts"),
        ({"model.layers.0.mlp.experts.7.up_proj.weight": torch.ones(32, 64)}, "not those of 4 experts"),
        ({"model.layers.0.mlp.experts.other": torch.ones(4, 32, 64)}, "does not use"),
        ({"model.layers.0.mlp.experts.down_proj": torch.ones(4, 64)}, r"down_proj.weight' has shape \(64,\)"),
        ({"model.layers.0.mlp.experts.up_proj_blocks": torch.ones(4, 32, 2, 16)}, "MXFP4 blocks"),
        ({"model.layers.0.mlp.experts.down_proj": torch.ones(4, 0, 32)}, "is no stack of 4 experts"),
        ({"model.layers.0.mlp.router.weight": torch.ones(4, 64)}, "is there by two names"),
        ({"model.norm.weight": torch.ones(64, dtype=torch.uint8)}, "holds bytes, not numbers"),
    ],
)
def test_experts_that_are_not_as_they_should_be(more: dict[str, torch.Tensor], message: str, tmp_path: Path) -> None:
    rewritten("qwen3-moe", tmp_path, lambda name: name, **more)
    with pytest.raises(ValueError, match=message):
        model.load(tmp_path)
