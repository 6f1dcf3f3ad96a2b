"""Small random models of every architecture, written by transformers, whose logits are what ours shall be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

SMALL: dict[str, Any] = {
    "vocab_size": 128, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.3, "pad_token_id": None,
    "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip
LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 64}
LONG = {
    "rope_type": "longrope", "rope_theta": 500.0, "short_factor": [1.0 + n / 10 for n in range(6)],
    "long_factor": [2.0 + n for n in range(6)], "partial_rotary_factor": 0.75,
}  # fmt: skip
GEMMA = {"head_dim": 32, "sliding_window": 7, "query_pre_attn_scalar": 24, "tie_word_embeddings": True}
GPT2 = {
    "vocab_size": 128, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 512, "initializer_range": 0.3,
    "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip
EXPERTS = {"head_dim": 32, "moe_intermediate_size": 32}
WINDOWS = {"use_sliding_window": True, "sliding_window": 7}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama-tied": ("Llama", {"tie_word_embeddings": True}),
    "llama-many-heads": ("Llama", {"num_key_value_heads": 4, "rms_norm_eps": 1e-3}),
    "llama-biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "llama-gelu": ("Llama", {"hidden_act": "gelu"}),
    "llama-gelu-tanh": ("Llama", {"hidden_act": "gelu_new"}),
    "llama3-rope": ("Llama", {"rope_parameters": LLAMA3_ROPE}),
    "llama-linear-rope": ("Llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}),
    "llama-dynamic-rope": ("Llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}}),
    "llama-yarn": ("Llama", {"rope_parameters": YARN}),
    "llama-yarn-all": (
        "Llama",
        {"rope_parameters": {**YARN, "beta_fast": 8.0, "beta_slow": 2.0, "truncate": False, "mscale": 0.7,
                             "mscale_all_dim": 0.3}},
    ),
    "llama-yarn-factor": ("Llama", {"rope_parameters": {**YARN, "attention_factor": 1.3}}),
    "mistral": ("Mistral", {"sliding_window": None}),
    "mistral-window": ("Mistral", {"sliding_window": 7}),
    "qwen2": ("Qwen2", {}),
    "qwen2-windows": ("Qwen2", {**WINDOWS, "max_window_layers": 1}),
    "qwen3": ("Qwen3", {"head_dim": 32}),
    "qwen3-windows": ("Qwen3", {"head_dim": 32, **WINDOWS, "max_window_layers": 2, "attention_bias": True}),
    "smollm3": ("SmolLM3", {"no_rope_layer_interval": 2}),
    "smollm3-windows": ("SmolLM3", {**WINDOWS, "no_rope_layers": [0, 1, 0], "tie_word_embeddings": False}),
    "gemma2": ("Gemma2", {**GEMMA, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0}),
    "gemma3": ("Gemma3Text", {**GEMMA, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}),
    "gemma3-linear": (
        "Gemma3Text",
        {**GEMMA, "num_hidden_layers": 6, "rope_parameters": {
            "full_attention": {"rope_type": "linear", "rope_theta": 1e4, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
        }},
    ),
    "phi3": ("Phi3", {}),
    "phi3-window": ("Phi3", {"sliding_window": 7}),
    "phi4-short": ("Phi3", {"rope_parameters": LONG, "original_max_position_embeddings": 64}),
    "phi4-long": ("Phi3", {"rope_parameters": LONG, "original_max_position_embeddings": 16}),
    "granite": (
        "Granite",
        {"embedding_multiplier": 3.0, "residual_multiplier": 0.4, "attention_multiplier": 0.2, "logits_scaling": 5.0},
    ),
    "olmo2": ("Olmo2", {}),
    "gpt2": ("GPT2", GPT2),
    "gpt2-odd": ("GPT2", {**GPT2, "n_inner": 96, "activation_function": "relu", "scale_attn_weights": False}),
    "mixtral": ("Mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen3-moe": ("Qwen3Moe", {**EXPERTS, "num_experts": 4, "num_experts_per_tok": 2}),
    "qwen3-moe-norm": ("Qwen3Moe", {**EXPERTS, "num_experts": 6, "num_experts_per_tok": 3, "norm_topk_prob": True}),
    "gpt-oss": (
        "GptOss",
        {"head_dim": 32, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 7, "rope_parameters": {
            **YARN, "truncate": False}},
    ),
}  # fmt: skip
TOKENS = list(range(3, 128, 4))


def write(name: str, path: Path) -> torch.Tensor:
    """A model of the variant in the directory; transformers' logits of TOKENS, (T, V)."""
    net = make(name)
    net.save_pretrained(path)
    return logits(net)


def make(name: str) -> Any:
    import transformers

    kind, changes = VARIANTS[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**changes if kind == "GPT2" else SMALL | changes)
    config._attn_implementation = "eager"  # the only one that knows caps and sinks
    model = {"Gemma3Text": "Gemma3ForCausalLM", "GPT2": "GPT2LMHeadModel"}.get(kind, f"{kind}ForCausalLM")
    net = getattr(transformers, model)(config).eval()
    for parameter_name, parameter in net.named_parameters():
        if "bias" in parameter_name or "norm" in parameter_name or ".ln_" in parameter_name:  # else all 0, or all 1
            mean = 0.0 if kind.startswith("Gemma") else 1.0
            torch.nn.init.normal_(parameter, mean=mean, std=0.3)
        if "router" in parameter_name or "sinks" in parameter_name:
            torch.nn.init.normal_(parameter, std=1.0)
    return net


def logits(net: Any) -> torch.Tensor:
    with torch.inference_mode():
        result: torch.Tensor = net(torch.tensor([TOKENS])).logits[0]
    return result


def write_mxfp4(path: Path) -> tuple[Any, dict[str, torch.Tensor]]:
    """A gpt-oss as OpenAI wrote it, experts in blocks of four-bit values: the net as transformers takes these apart,
    and the blocks with their scales."""
    from safetensors.torch import save_file
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    net, random = make("gpt-oss"), torch.Generator().manual_seed(0)
    packed: dict[str, torch.Tensor] = {}
    for number, layer in enumerate(net.model.layers):
        for name in ("gate_up_proj", "down_proj"):
            weight = getattr(layer.mlp.experts, name)  # (E, K, N)
            experts, columns, rows = weight.shape
            blocks = torch.randint(0, 256, (experts, rows, columns // 32, 16), generator=random, dtype=torch.uint8)
            scales = torch.randint(122, 126, blocks.shape[:3], generator=random, dtype=torch.uint8)
            weight.data = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
            packed |= {f"model.layers.{number}.mlp.experts.{name}_blocks": blocks}
            packed |= {f"model.layers.{number}.mlp.experts.{name}_scales": scales}
    net.save_pretrained(path)
    kept = {
        name: value.contiguous()
        for name, value in net.state_dict().items()
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj"))
    }
    save_file(kept | packed, path / "model.safetensors")
    return net, packed
