"""What a model's description says: published configurations are read, what is not computed is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from awsllm.engine import config_gguf, config_json, formats, model, quant, rope
from awsllm.engine.config import Config
from awsllm.engine.errors import ModelError
from awsllm.engine.interface import Chunk
from tests.support import random_models
from tests.support.random_models import TOKENS

LONG = {"long_factor": [1.0 + n for n in range(48)], "short_factor": [1.0] * 48, "type": "longrope"}
COMMON = {
    "bos_token_id": 1, "eos_token_id": [1, 106], "initializer_range": 0.02, "torch_dtype": "bfloat16",
    "use_cache": True, "transformers_version": "4.50.0", "attention_dropout": 0.0, "_attn_implementation_autoset": True,
}  # fmt: skip
PUBLISHED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # the keys of the hub's files, and what they mean
    "SmolLM2-1.7B": (
        {"model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24,
         "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 8192, "rms_norm_eps": 1e-05,
         "rope_scaling": None, "rope_theta": 130000, "tie_word_embeddings": True, "vocab_size": 49152,
         "attention_bias": False, "mlp_bias": False, "hidden_act": "silu", "pretraining_tp": 1,
         "rope_interleaved": False, "is_llama_config": True, "transformers.js_config": {"kv_cache_dtype": {}}},
        {"head_dim": 64, "context": 8192, "activation": "silu", "sliding_window": None},
    ),
    "SmolLM3-3B": (
        {"model_type": "smollm3", "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36,
         "num_attention_heads": 16, "num_key_value_heads": 4, "max_position_embeddings": 65536, "rms_norm_eps": 1e-06,
         "rope_theta": 5000000.0, "rope_scaling": None, "vocab_size": 128256, "hidden_act": "silu", "mlp_bias": False,
         "no_rope_layer_interval": 4, "no_rope_layers": [1, 1, 1, 0] * 9, "layer_types": ["full_attention"] * 36,
         "max_window_layers": 28, "sliding_window": None, "use_sliding_window": False, "pretraining_tp": 2},
        {"still": frozenset(range(3, 36, 4)), "tied": True, "sliding_window": None},
    ),
    "gemma-2-9b": (
        {"model_type": "gemma2", "hidden_size": 3584, "intermediate_size": 14336, "num_hidden_layers": 42,
         "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256, "max_position_embeddings": 8192,
         "rms_norm_eps": 1e-06, "rope_theta": 10000.0, "sliding_window": 4096, "sliding_window_size": 4096,
         "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "query_pre_attn_scalar": 256,
         "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh", "cache_implementation": "hybrid",
         "attention_bias": False, "vocab_size": 256000},
        {"windowed": frozenset(range(0, 42, 2)), "attention_scale": 1 / 16, "attention_cap": 50.0, "logit_cap": 30.0,
         "tied": True, "activation": "gelu_tanh"},
    ),
    "gemma-3-4b": (
        {"model_type": "gemma3", "boi_token_index": 255999, "image_token_index": 262144, "mm_tokens_per_image": 256,
         "vision_config": {"hidden_size": 1152, "model_type": "siglip_vision_model"},
         "text_config": {"hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
                         "num_hidden_layers": 34, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
                         "sliding_window": 1024}},
        {"family": "gemma3_text", "heads": 8, "kv_heads": 4, "head_dim": 256, "vocab_size": 262208, "context": 131072,
         "windowed": frozenset(n for n in range(34) if n % 6 != 5), "tied": True, "attention_cap": None,
         "logit_cap": None, "sliding_window": 1024},
    ),
    "gemma-3-1b": (
        {"model_type": "gemma3_text", "hidden_size": 1152, "intermediate_size": 6912, "num_hidden_layers": 26,
         "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256, "max_position_embeddings": 32768,
         "rms_norm_eps": 1e-06, "rope_theta": 1000000, "rope_local_base_freq": 10000, "rope_scaling": None,
         "sliding_window": 512, "sliding_window_pattern": 6, "query_pre_attn_scalar": 256, "vocab_size": 262144,
         "attn_logit_softcapping": None, "final_logit_softcapping": None, "hidden_activation": "gelu_pytorch_tanh",
         "cache_implementation": "hybrid", "attention_bias": False},
        {"embedding_scale": 1152**0.5, "norm_offset": 1.0, "norms": "around", "qk_norm": "head"},
    ),
    "Phi-3-mini-4k": (
        {"model_type": "phi3", "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32,
         "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 4096,
         "original_max_position_embeddings": 4096, "rms_norm_eps": 1e-05, "rope_scaling": None, "rope_theta": 10000.0,
         "sliding_window": 2047, "tie_word_embeddings": False, "vocab_size": 32064, "attention_bias": False,
         "embd_pdrop": 0.0, "resid_pdrop": 0.0, "hidden_act": "silu",
         "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"}},
        {"sliding_window": 2047, "windowed": None},
    ),
    "Phi-4-mini": (
        {"model_type": "phi3", "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32,
         "num_attention_heads": 24, "num_key_value_heads": 8, "max_position_embeddings": 131072,
         "original_max_position_embeddings": 4096, "partial_rotary_factor": 0.75, "rms_norm_eps": 1e-05,
         "rope_scaling": LONG, "rope_theta": 10000.0, "sliding_window": 262144, "tie_word_embeddings": True,
         "vocab_size": 200064, "mlp_bias": False, "attention_bias": False, "interpolate_factor": 1,
         "lm_head_bias": False},
        {"head_dim": 128, "tied": True},
    ),
    "granite-3.3-2b": (
        {"model_type": "granite", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 40,
         "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131072, "rms_norm_eps": 1e-05,
         "rope_theta": 10000000.0, "rope_scaling": None, "vocab_size": 49159, "attention_multiplier": 0.015625,
         "embedding_multiplier": 12.0, "logits_scaling": 8.0, "residual_multiplier": 0.22, "mlp_bias": False,
         "tie_word_embeddings": True, "attention_bias": False, "hidden_act": "silu"},
        {"attention_scale": 1 / 64, "embedding_scale": 12.0, "logit_scale": 1 / 8, "residual_scale": 0.22},
    ),
    "OLMo-2-1B": (
        {"model_type": "olmo2", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
         "num_attention_heads": 16, "num_key_value_heads": 16, "max_position_embeddings": 4096, "rms_norm_eps": 1e-06,
         "rope_theta": 500000, "rope_scaling": None, "vocab_size": 100352, "tie_word_embeddings": False,
         "attention_bias": False, "hidden_act": "silu"},
        {"norms": "after", "qk_norm": "projection"},
    ),
    "gpt2": (
        {"model_type": "gpt2", "activation_function": "gelu_new", "attn_pdrop": 0.1, "embd_pdrop": 0.1, "n_ctx": 1024,
         "layer_norm_epsilon": 1e-05, "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024,
         "resid_pdrop": 0.1, "summary_activation": None, "summary_first_dropout": 0.1, "summary_proj_to_labels": True,
         "summary_type": "cls_index", "summary_use_proj": True, "vocab_size": 50257,
         "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}}},
        {"intermediate_size": 3072, "tied": True, "rope": None, "activation": "gelu_tanh", "gated": False},
    ),
    "Qwen2.5-7B": (
        {"model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
         "num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings": 32768, "rms_norm_eps": 1e-06,
         "max_window_layers": 28, "rope_theta": 1000000.0, "sliding_window": 131072, "use_sliding_window": False,
         "tie_word_embeddings": False, "use_mrope": False, "vocab_size": 152064, "hidden_act": "silu",
         "rope_scaling": {"factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn"}},
        {"sliding_window": None, "qkv_bias": True, "output_bias": False},
    ),
    "Qwen3-30B-A3B": (
        {"model_type": "qwen3_moe", "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 48,
         "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "max_position_embeddings": 40960,
         "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "rope_scaling": None, "sliding_window": None,
         "use_sliding_window": False, "max_window_layers": 48, "vocab_size": 151936, "attention_bias": False,
         "decoder_sparse_step": 1, "mlp_only_layers": [], "moe_intermediate_size": 768, "norm_topk_prob": True,
         "num_experts": 128, "num_experts_per_tok": 8, "output_router_logits": False, "router_aux_loss_coef": 0.001,
         "tie_word_embeddings": False, "hidden_act": "silu"},
        {"qk_norm": "head"},
    ),
    "Mixtral-8x7B": (
        {"model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
         "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 32768, "rms_norm_eps": 1e-05,
         "rope_theta": 1000000.0, "sliding_window": None, "vocab_size": 32000, "num_local_experts": 8,
         "num_experts_per_tok": 2, "output_router_logits": False, "router_aux_loss_coef": 0.02,
         "tie_word_embeddings": False, "hidden_act": "silu"},
        {"sliding_window": None},
    ),
    "gpt-oss-20b": (
        {"model_type": "gpt_oss", "hidden_size": 2880, "intermediate_size": 2880, "num_hidden_layers": 24,
         "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64, "max_position_embeddings": 131072,
         "initial_context_length": 4096, "rms_norm_eps": 1e-05, "rope_theta": 150000, "sliding_window": 128,
         "rope_scaling": {"beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0, "rope_type": "yarn", "truncate": False,
                          "original_max_position_embeddings": 4096},
         "layer_types": ["sliding_attention", "full_attention"] * 12, "swiglu_limit": 7.0, "vocab_size": 201088,
         "num_local_experts": 32, "num_experts_per_tok": 4, "experts_per_token": 4, "attention_bias": True,
         "quantization_config": {"modules_to_not_convert": ["lm_head"], "quant_method": "mxfp4"},
         "output_router_logits": False, "router_aux_loss_coef": 0.9, "tie_word_embeddings": False,
         "hidden_act": "silu"},
        {"sinks": True, "activation": "clamped", "windowed": frozenset(range(0, 24, 2))},
    ),
}  # fmt: skip
LLAMA = PUBLISHED["SmolLM2-1.7B"][0]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configurations_are_read(name: str) -> None:
    described, facts = PUBLISHED[name]
    config = config_json.read(COMMON | described)
    assert {fact: getattr(config, fact) for fact in facts} == facts
    whole(config)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("SmolLM2-1.7B", {"hidden_act": "xielu"}, "hidden_act 'xielu' is not supported; supported are silu"),
        ("SmolLM2-1.7B", {"sliding_window": 4096}, "sliding_window = 4096, which is not supported"),
        ("SmolLM2-1.7B", {"layer_types": ["sliding_attention"] * 24}, "layer_types = .* is not supported"),
        ("SmolLM2-1.7B", {"embedding_multiplier": 12.0}, "embedding_multiplier = 12.0, which is not supported"),
        ("SmolLM2-1.7B", {"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
        ("SmolLM2-1.7B", {"rope_interleaved": True}, "rope_interleaved is True"),
        ("SmolLM2-1.7B", {"quantization_config": {"quant_method": "gptq"}}, "quantised by 'gptq'"),
        ("SmolLM2-1.7B", {"attention_bias": "yes"}, "attention_bias is 'yes', not true or false"),
        ("SmolLM2-1.7B", {"num_hidden_layers": 10**9}, "layers is 1000000000"),
        ("SmolLM2-1.7B", {"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "by layer"),
        ("Qwen2.5-7B", {"use_mrope": True}, "use_mrope is True"),
        ("Qwen2.5-7B", {"rope_scaling": {"type": "mrope", "mrope_section": [1, 2]}}, "mrope_section .1, 2. is not"),
        ("Qwen2.5-7B", {"rope_scaling": {"type": "mrope"}}, "'mrope' is not supported"),
        ("SmolLM2-1.7B", {"rope_scaling": {"type": "mrope", "mrope_section": [32]}}, "not supported for llama with"),
        ("Qwen2.5-7B", {"rope_scaling": {"rope_type": "default", "mrope_section": [1]}}, "mrope_section .1. is not"),
        ("Qwen3-30B-A3B", {"mlp_only_layers": [3]}, r"mlp_only_layers is \[3\]"),
        ("Qwen3-30B-A3B", {"num_experts_per_tok": 129}, "129 of 128 experts"),
        ("gemma-2-9b", {"use_bidirectional_attention": True}, "use_bidirectional_attention is True"),
        ("gemma-2-9b", {"layer_types": ["chunked_attention"] * 42}, "'chunked_attention', which is not supported"),
        ("gemma-2-9b", {"query_pre_attn_scalar": 0}, "attention_scale is 0"),
        ("gemma-2-9b", {"hidden_size": -4}, "hidden_size is -4"),
        ("gemma-2-9b", {"sliding_window_size": 5}, "sliding_window_size is 5"),
        ("gemma-3-1b", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping is 50.0"),
        ("gpt-oss-20b", {"swiglu_limit": 9.0}, "swiglu_limit is 9.0"),
        ("gpt-oss-20b", {"attention_bias": False}, "without biases"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True"),
        ("granite-3.3-2b", {"logits_scaling": 0}, "logit_scale is nan"),
        ("Phi-4-mini", {"rope_scaling": LONG | {"short_factor": [1.0] * 47}}, "needs short_factor, 48 numbers"),
        ("Phi-4-mini", {"rope_scaling": LONG | {"long_factor": [0.0] * 48}}, "needs long_factor, 48 numbers"),
        ("Phi-4-mini", {"lm_head_bias": True}, "lm_head_bias is True"),
    ],
)
def test_what_is_not_computed_is_refused_by_name(name: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        whole(config_json.read(PUBLISHED[name][0] | change))


def whole(config: Config) -> None:
    """Read its positions as well, which loading does."""
    for layer in range(config.layers):
        if (turned := config.layer_rope(layer)) is not None:
            rope.turning(turned, config.head_dim, torch.device("cpu"))


WRONG: list[Any] = [-1, 0, 1, 2**70, 10**400, 0.5, float("nan"), float("inf"), True, "", "x", [1], ["x"], {}, {"a": 1}]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_value_of_a_wrong_type_is_an_error_of_ours(name: str) -> None:
    described = PUBLISHED[name][0]
    described = described.get("text_config", described)
    for key in described:
        for value in WRONG:
            try:
                whole(config_json.read(described | {key: value}))
            except ModelError:
                continue


def test_the_same_in_a_ropes_description() -> None:
    for name in ("Phi-4-mini", "gpt-oss-20b", "Qwen2.5-7B"):
        described = PUBLISHED[name][0]
        for key in (*described["rope_scaling"], "rope_theta", "rope_type", "partial_rotary_factor"):
            for value in WRONG:
                try:
                    whole(config_json.read(described | {"rope_scaling": described["rope_scaling"] | {key: value}}))
                except ModelError:
                    continue


@pytest.mark.parametrize("family", ["llama", "gemma3", "phi3", "granite", "qwen3moe", "gpt-oss", "gpt2", "smollm3"])
def test_the_same_in_ggufs_metadata(family: str) -> None:
    keys = [
        "block_count", "context_length", "embedding_length", "feed_forward_length", "expert_count",
        "expert_used_count", "logit_scale", "expert_feed_forward_length", "attention.head_count",
        "attention.head_count_kv", "attention.key_length", "attention.scale", "attention.layer_norm_rms_epsilon",
        "attention.layer_norm_epsilon", "attention.sliding_window", "embedding_scale",
        "attention.sliding_window_pattern", "rope.freq_base", "rope.dimension_count", "rope.scaling.type",
        "rope.scaling.factor", "rope.scaling.original_context_length", "rope.scaling.attn_factor",
        "rope.freq_base_swa", "attn_logit_softcapping",
    ]  # fmt: skip
    plain = {
        "general.architecture": family, f"{family}.block_count": 2, f"{family}.context_length": 64,
        f"{family}.embedding_length": 8, f"{family}.feed_forward_length": 8, f"{family}.attention.head_count": 2,
        f"{family}.attention.layer_norm_rms_epsilon": 1e-5, f"{family}.attention.layer_norm_epsilon": 1e-5,
        f"{family}.logit_scale": 1.0,
    }  # fmt: skip
    wanted = {"gpt2": "layer_norm_rms_epsilon", "granite": "layer_norm_epsilon"}.get(family, "layer_norm_epsilon")
    del plain[f"{family}.attention.{wanted}"]
    if family != "granite":
        del plain[f"{family}.logit_scale"]
    config_gguf.read(plain, tensors())
    for key in keys:
        for value in WRONG:
            try:
                whole(config_gguf.read(plain | {f"{family}.{key}": value}, tensors()))
            except ModelError:
                continue


def tensors() -> dict[str, quant.Stored]:
    return {"model.embed_tokens.weight": quant.Stored((4, 8), formats.F32, torch.zeros(4, 32, dtype=torch.uint8))}


@pytest.mark.parametrize(
    ("name", "former"),
    [
        ("llama3-rope", {"rope_scaling": random_models.LLAMA3_ROPE | {"type": "llama3"}, "rope_theta": 500.0}),
        ("llama-yarn", {"rope_scaling": random_models.YARN, "rope_theta": 500.0}),
        (
            "gemma3-linear",
            {"rope_theta": 1e4, "rope_local_base_freq": 100.0, "rope_scaling": {"rope_type": "linear", "factor": 8.0},
             "sliding_window_pattern": 6, "layer_types": None},
        ),
        (
            "phi4-long",
            {"rope_theta": 500.0, "partial_rotary_factor": 0.75,
             "rope_scaling": {"type": "su", "short_factor": random_models.LONG["short_factor"],
                              "long_factor": random_models.LONG["long_factor"]}},
        ),
    ],
)  # fmt: skip
def test_what_transformers_4_wrote_means_the_same(name: str, former: dict[str, Any], tmp_path: Path) -> None:
    expected = random_models.write(name, tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rope_parameters": None} | former))
    decoder = model.load(tmp_path, precision="float32")
    got = decoder.forward([Chunk(TOKENS, decoder.new_cache(len(TOKENS)))], every_token=True)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
