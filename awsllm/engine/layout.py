"""The layouts in which families keep their weights, turned into one.

Names and shapes are those of a Llama by Hugging Face; beyond them, what no Llama has:

    model.positions.weight                           learned positions, a row each
    model.layers.N.self_attn.sinks.weight            one a head
    model.layers.N.mlp.router.weight, .bias          a row an expert
    model.layers.N.mlp.experts.E.gate_proj.weight …  an MLP each; ``experts`` finds them in whatever stack they lie

Nothing is dequantised, and nothing but what must be is copied.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import torch

from awsllm.engine.errors import ModelError
from awsllm.engine.formats import MXFP4
from awsllm.engine.quant import Stored

if TYPE_CHECKING:
    from collections.abc import Iterator

    from awsllm.engine.config import Config

_Tensors = dict[str, Stored]
_GPT2: Final = {
    "ln_1": "input_layernorm", "attn.c_attn": "self_attn.qkv_proj", "attn.c_proj": "self_attn.o_proj",
    "ln_2": "post_attention_layernorm", "mlp.c_fc": "mlp.up_proj", "mlp.c_proj": "mlp.down_proj",
}  # fmt: skip
_GPT2_LAYER: Final = re.compile(r"(?:transformer\.)?h\.(\d+)\.(.+)\.(weight|bias)")
_GPT2_BEYOND: Final = {
    "wte.weight": "model.embed_tokens.weight", "wpe.weight": "model.positions.weight",
    "ln_f.weight": "model.norm.weight", "ln_f.bias": "model.norm.bias",
}  # fmt: skip
_NONE: Final = re.compile(r"(?!)")
_MIXTRAL: Final = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}


def from_huggingface(tensors: _Tensors, family: str) -> _Tensors:
    """The tensors of a directory by the names above."""
    found: _Tensors = {}
    for name, stored in tensors.items():
        if (ours := renamed(name, family)) is None:
            continue
        if ours in found:
            raise ModelError(f"tensor {ours!r} is there by two names")
        found[ours] = _transposed(stored) if is_turned(name, stored, family) else stored
    return found


def renamed(name: str, family: str) -> str | None:
    """A directory's name of a tensor by those above; None for one that this decoder leaves aside."""
    rename, unused = _RENAMED.get(family, (str, _NONE))
    return None if unused.search(name) else rename(name)


def is_turned(name: str, stored: Stored, family: str) -> bool:
    """Whether the file has the matrix as (inputs, outputs)."""
    return family == "gpt2" and len(stored.shape) == 2 and _GPT2_LAYER.fullmatch(name) is not None


def _gpt2(name: str) -> str:
    if (found := _GPT2_LAYER.fullmatch(name)) and found[2] in _GPT2:
        return f"model.layers.{found[1]}.{_GPT2[found[2]]}.{found[3]}"
    return _GPT2_BEYOND.get(name.removeprefix("transformer."), name)


def _without_pictures(name: str) -> str:
    name = name.removeprefix("language_model.")
    return "model." + name.removeprefix("model.language_model.") if name.startswith("model.language_model.") else name


def _within_qwen(name: str) -> str:
    name = name.removeprefix("model.language_model.") if name.startswith("model.language_model.") else name
    return f"model.{name}" if name.startswith(("layers.", "embed_tokens.", "norm.")) else name


def _beside_images(name: str) -> str:
    return name.replace("model.text_model.", "model.", 1) if name.startswith("model.text_model.") else name


def _mixtral(name: str) -> str:
    """``block_sparse_moe.experts.3.w1.weight`` -> ``mlp.experts.3.gate_proj.weight``."""
    name = name.replace(".block_sparse_moe.gate.", ".mlp.router.").replace(".mlp.gate.", ".mlp.router.")
    name = name.replace(".block_sparse_moe.", ".mlp.")
    return re.sub(r"(?<=\.)w[123](?=\.weight$)", lambda found: _MIXTRAL[found[0]], name)


def _qwen3_moe(name: str) -> str:
    return name.replace(".mlp.gate.", ".mlp.router.")


def _gpt_oss(name: str) -> str:
    return re.sub(r"\.sinks$", ".sinks.weight", name)


_RENAMED: Final[dict[str, tuple[Callable[[str], str], re.Pattern[str]]]] = {  # and what is left aside
    "gpt2": (_gpt2, re.compile(r"\.attn\.(masked_)?bias$")),  # the causal mask, which early checkpoints hold
    "llama": (_beside_images, re.compile(r"^model\.(vision_model|connector)\.")),  # Idefics 3, SmolVLM: ``vision``
    "gemma3_text": (_without_pictures, re.compile(r"^(model\.)?(vision_tower|multi_modal_projector)\.")),
    "qwen2": (_within_qwen, re.compile(r"^(model\.)?visual\.")),  # Qwen 2-VL: ``vision``
    "mixtral": (_mixtral, _NONE),
    "qwen3_moe": (_qwen3_moe, _NONE),
    "gpt_oss": (_gpt_oss, _NONE),
}


def split(tensors: _Tensors, config: Config) -> None:
    """Take fused projections apart, in place."""
    queries, keys, size = config.heads * config.head_dim, config.kv_heads * config.head_dim, config.intermediate_size
    parts = {
        "self_attn.qkv_proj": {"self_attn.q_proj": queries, "self_attn.k_proj": keys, "self_attn.v_proj": keys},
        "mlp.gate_up_proj": {"mlp.gate_proj": size, "mlp.up_proj": size},
    }
    for layer in range(config.layers):
        for fused, names in parts.items():
            for kind in ("weight", "bias"):
                if (stored := tensors.pop(f"model.layers.{layer}.{fused}.{kind}", None)) is None:
                    continue
                if not stored.shape or stored.shape[0] != sum(names.values()):
                    raise ModelError(f"{fused} has shape {stored.shape}, not {sum(names.values())} rows")
                start = 0
                for name, rows in names.items():
                    tensors[f"model.layers.{layer}.{name}.{kind}"] = stored.rows(slice(start, start + rows))
                    start += rows


# --- experts ----------------------------------------------------------------------------------------------------------


def experts(tensors: _Tensors, prefix: str, count: int) -> Iterator[_Tensors]:
    """The tensors of one expert after another, by ``gate_proj.weight`` and the like, taken out of ``tensors``."""
    alone: dict[str, _Tensors] = {}
    stacks: _Tensors = {}
    for name in [name for name in tensors if name.startswith(prefix)]:
        stored, (index, _, part) = tensors.pop(name), name.removeprefix(prefix).partition(".")
        if index.isdecimal():
            alone.setdefault(index, {})[part] = stored
        elif stored.shape[:1] != (count,) or not 2 <= len(stored.shape) <= 4 or 0 in stored.shape:
            raise ModelError(f"tensor {name!r} of shape {stored.shape} is no stack of {count} experts")
        else:
            stacks[name.removeprefix(prefix)] = stored
    if alone and (stacks or len(alone) != count or alone.keys() != set(map(str, range(count)))):
        raise ModelError(f"{prefix} holds tensors that are not those of {count} experts")
    for number in range(count):
        yield alone[str(number)] if alone else _expert(stacks, number)


def _expert(stacks: _Tensors, index: int) -> _Tensors:
    """One expert of the stacks that transformers, gpt-oss and GGUF keep."""
    expert: _Tensors = {}
    for name, stack in stacks.items():
        match name.split("_"):
            case ["gate", "up", "proj"]:
                expert |= _halved(stack.entry(index), gpt_oss="gate_up_proj_bias" in stacks)
            case ["down", "proj"]:
                down = stack.entry(index)
                expert["down_proj.weight"] = _transposed(down) if "down_proj_bias" in stacks else down
            case [*_, "proj", "bias"]:
                parts = {"down_proj": stack.entry(index)}
                parts = parts if name == "down_proj_bias" else _interleaved(stack.entry(index))
                expert |= {f"{part}.bias": stored for part, stored in parts.items()}
            case [*_, "proj", "blocks"]:
                stored = _mxfp4(stack, stacks.get(name.replace("_blocks", "_scales")), index)
                parts = {"down_proj": stored} if name == "down_proj_blocks" else _interleaved(stored)
                expert |= {f"{part}.weight": stored for part, stored in parts.items()}
            case [*_, "proj", "scales"]:
                pass  # read with the blocks that they scale
            case _:  # GGUF's, by their own names
                expert[name] = stack.entry(index)
    return expert


def _halved(gate_up: Stored, *, gpt_oss: bool) -> _Tensors:
    if gpt_oss:
        return {f"{part}.weight": stored for part, stored in _interleaved(_transposed(gate_up)).items()}
    gate, up = gate_up.split(max(gate_up.shape[0] // 2, 1))
    return {"gate_proj.weight": gate, "up_proj.weight": up}


def _interleaved(gate_up: Stored) -> _Tensors:
    """gpt-oss keeps a row of one beside a row of the other."""
    return {"gate_proj": gate_up.rows(slice(0, None, 2)), "up_proj": gate_up.rows(slice(1, None, 2))}


def _mxfp4(blocks: Stored, scales: Stored | None, index: int) -> Stored:
    """Blocks (E, N, K / 32, 16), two values a byte, and scales (E, N, K / 32), as a matrix in ggml's blocks."""
    if scales is None or blocks.shape != (*scales.shape, 16) or len(scales.shape) != 3:
        raise ModelError(f"MXFP4 blocks of shape {blocks.shape} do not go with their scales")
    _, rows, groups = scales.shape
    pairs = blocks.data[index].view(rows, groups, 16)
    values = torch.stack((pairs & 15, pairs >> 4), -1).view(rows, groups, 2, 16)
    packed = values[:, :, 0] | (values[:, :, 1] << 4)  # ggml: the first half low, the second high
    data = torch.cat((scales.data[index].view(rows, groups, 1), packed), -1)
    return Stored((rows, groups * 32), MXFP4, data.view(rows, -1))


def _transposed(stored: Stored) -> Stored:
    if len(stored.shape) != 2 or 0 in stored.shape or stored.type.block != 1:
        raise ModelError(f"a {stored.type.name} tensor of shape {stored.shape} cannot be transposed")
    rows, columns = stored.shape
    data = stored.data.view(rows, columns, stored.type.nbytes).transpose(0, 1)
    return Stored((columns, rows), stored.type, data.reshape(columns, -1))
