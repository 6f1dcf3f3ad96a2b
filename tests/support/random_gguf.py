"""The small random models as GGUF files, converted as llama.cpp's ``convert_hf_to_gguf.py`` does.

Names come from the ``gguf`` package's own map; what its converter does beyond renaming is repeated here: rows of
queries and keys in another order (Llama's kin), norms with their 1 (Gemma), gate and up apart (gpt-oss), experts in
stacks.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gguf
import torch

from tests.support import random_models

ARCHITECTURES = {
    "Llama": "llama", "Mistral": "llama", "Mixtral": "llama", "Qwen2": "qwen2", "Qwen3": "qwen3",
    "Qwen3Moe": "qwen3moe", "SmolLM3": "smollm3", "Gemma2": "gemma2", "Gemma3Text": "gemma3", "Phi3": "phi3",
    "Granite": "granite", "Olmo2": "olmo2", "GPT2": "gpt2", "GptOss": "gpt-oss",
}  # fmt: skip
PERMUTED = ("llama", "smollm3", "granite")
EXPERT = re.compile(r"(.*experts\.)\d+\.(.*)")


def write(name: str, path: Path, **more: Any) -> torch.Tensor:
    """A model of the variant in the file, with more metadata; transformers' logits of TOKENS, (T, V)."""
    net = random_models.make(name)
    write_net(net, path, ARCHITECTURES[random_models.VARIANTS[name][0]], {}, **more)
    return random_models.logits(net)


def write_net(net: Any, path: Path, architecture: str, packed: dict[str, torch.Tensor], **more: Any) -> None:
    """``packed``: MXFP4 blocks and scales of gpt-oss's experts, instead of what they mean. ``quantised`` in ``more``:
    the type of matrices."""
    quantised = more.pop("quantised", None)
    writer = gguf.GGUFWriter(path, architecture)
    _describe(writer, net.config, architecture)
    for key, value in more.items():
        writer.add_key_value(f"{architecture}.{key}", value, gguf.GGUFValueType.get_type(value))
    tensors = _tensors(net, architecture)
    for name, blocks in _mxfp4(packed).items():
        del tensors[name]
        writer.add_tensor(name, blocks.numpy(), raw_dtype=gguf.GGMLQuantizationType.MXFP4)
    for name, values in tensors.items():
        if quantised is None or values.dim() < 2 or name.startswith("position") or ".bias" in name:
            writer.add_tensor(name, values.contiguous().numpy())
        else:
            quants = gguf.quantize(values.contiguous().numpy(), quantised)
            writer.add_tensor(name, quants, raw_dtype=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _mxfp4(packed: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """In ggml's blocks: the scale, then sixteen bytes of which each holds a value of either half."""
    found = {}
    for name, blocks in packed.items():
        if name.endswith("_scales"):
            continue
        values = torch.stack((blocks & 15, blocks >> 4), -1).flatten(-2)  # (E, N, K / 32, 32)
        scales = packed[name.replace("_blocks", "_scales")][..., None]
        whole = torch.cat((scales, values[..., :16] | (values[..., 16:] << 4)), -1).flatten(-2)
        layer = f"blk.{name.split('.')[2]}.ffn"
        if "down" in name:
            found[f"{layer}_down_exps.weight"] = whole
        else:
            found |= {f"{layer}_gate_exps.weight": whole[:, ::2], f"{layer}_up_exps.weight": whole[:, 1::2]}
    return {name: values.contiguous() for name, values in found.items()}


def _describe(writer: gguf.GGUFWriter, config: Any, architecture: str) -> None:
    heads, hidden = config.num_attention_heads, config.hidden_size
    keys = getattr(config, "num_key_value_heads", heads)
    head_dim = getattr(config, "head_dim", None) or hidden // heads
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(hidden)
    writer.add_head_count(heads)
    writer.add_head_count_kv(keys)
    if architecture == "gpt2":
        writer.add_feed_forward_length(config.n_inner or 4 * hidden)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    _describe_rope(writer, config, head_dim)
    if architecture in ("gemma2", "gemma3", "phi3", "gpt-oss"):
        writer.add_sliding_window(config.sliding_window or 0)
    if architecture == "gemma3":
        writer.add_sliding_window_pattern([kind == "sliding_attention" for kind in config.layer_types])
    if architecture in ("gemma2", "gemma3") and config.final_logit_softcapping:
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if architecture == "granite":
        writer.add_attention_scale(config.attention_multiplier)
        writer.add_embedding_scale(config.embedding_multiplier)
        writer.add_residual_scale(config.residual_multiplier)
        writer.add_logit_scale(config.logits_scaling)
    if count := getattr(config, "num_local_experts", None):
        writer.add_expert_count(count)
        writer.add_expert_used_count(config.num_experts_per_tok)
        if architecture != "llama":
            writer.add_expert_feed_forward_length(getattr(config, "moe_intermediate_size", config.intermediate_size))


def _describe_rope(writer: gguf.GGUFWriter, config: Any, head_dim: int) -> None:
    rope = config.rope_parameters
    if "full_attention" in rope:
        writer.add_key_value(f"{writer.arch}.rope.freq_base_swa", rope["sliding_attention"]["rope_theta"],
                             gguf.GGUFValueType.FLOAT32)  # fmt: skip
        rope = rope["full_attention"]
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_rope_dimension_count(int(head_dim * rope.get("partial_rotary_factor", 1.0)))
    match rope["rope_type"]:
        case "linear":
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(rope["factor"])
        case "yarn":
            writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
            writer.add_rope_scaling_factor(rope["factor"])
            writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        case "longrope":
            original = config.original_max_position_embeddings
            scale = config.max_position_embeddings / original
            factor = (1 + torch.tensor(scale).log() / torch.tensor(original).log()).sqrt()
            writer.add_rope_scaling_attn_factors(float(factor))
            writer.add_rope_scaling_orig_ctx_len(original)


def _tensors(net: Any, architecture: str) -> dict[str, torch.Tensor]:
    config, found = net.config, {}
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    for name, values in net.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        for part, converted in _converted(name, values.float(), config, architecture).items():
            found[names.get_name(part, try_suffixes=(".weight", ".bias")) or part] = converted
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "llama3":
        base = torch.arange(0, config.head_dim, 2) / config.head_dim
        found["rope_freqs.weight"] = rope["rope_theta"] ** -base / net.model.rotary_emb.inv_freq
    if rope.get("rope_type") == "longrope":
        for length in ("short", "long"):
            found[f"rope_factors_{length}.weight"] = torch.tensor(rope[f"{length}_factor"])
    return found


def _converted(name: str, values: torch.Tensor, config: Any, architecture: str) -> dict[str, torch.Tensor]:
    """One tensor as the converter hands it to its map, by names that the map knows."""
    if architecture in PERMUTED and (found := re.search(r"([qk])_proj\.", name)):
        heads = config.num_attention_heads if found[1] == "q" else config.num_key_value_heads
        parts = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
        return {name: parts.swapaxes(1, 2).reshape(values.shape)}
    if architecture.startswith("gemma") and name.endswith("norm.weight"):
        return {name: values + 1}
    if architecture == "gpt2" and re.search(r"c_(attn|proj|fc)\.weight", name):
        return {name: values.T}
    if name.endswith(".sinks"):
        return {f"{name}.weight": values}
    if architecture == "gpt-oss" and ".experts." in name:
        return _gpt_oss(name, values)
    if name.endswith("experts.gate_up_proj"):
        gate, up = values.chunk(2, 1)
        prefix = name.removesuffix("gate_up_proj")
        return {f"{prefix}gate_proj.weight": gate, f"{prefix}up_proj.weight": up}
    if name.endswith("experts.down_proj"):
        return {f"{name}.weight": values}
    return {name: values}


def _gpt_oss(name: str, values: torch.Tensor) -> dict[str, torch.Tensor]:
    kind = "bias" if name.endswith("_bias") else "weight"
    name = name.removesuffix("_bias")
    values = values.transpose(-1, -2) if kind == "weight" else values
    if name.endswith("down_proj"):
        return {f"{name}.{kind}": values}
    prefix = name.removesuffix("gate_up_proj")
    return {f"{prefix}gate_proj.{kind}": values[:, ::2], f"{prefix}up_proj.{kind}": values[:, 1::2]}
