"""``config.json``, as transformers 4 and 5 write it, as a ``Config``.

What a file leaves out is what transformers' class for the family takes (``_DEFAULTS``). Families differ in keys that
most of them do not have, so one reading serves all, but GPT-2's, whose keys have other names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from awsllm.engine.config import FAMILIES, MAX_LAYERS, Activation, Config, Experts, Rope, unsupported
from awsllm.engine.described import Description
from awsllm.engine.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

_GEMMA: Final = {
    "head_dim": 256, "num_attention_heads": 8, "num_key_value_heads": 4, "rms_norm_eps": 1e-6, "sliding_window": 4096,
    "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 256, "tie_word_embeddings": True,
}  # fmt: skip
_DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {  # of transformers' configuration classes
    "mistral": {"sliding_window": 4096},
    "mixtral": {"rope_theta": 1e6, "num_experts_per_tok": 2, "num_local_experts": 8},
    "qwen2": {"max_window_layers": 28, "sliding_window": 4096},
    "qwen3": {"max_window_layers": 28, "sliding_window": 4096, "head_dim": 128},
    "qwen3_moe": {"sliding_window": 4096, "num_experts_per_tok": 8, "num_experts": 128, "moe_intermediate_size": 768},
    "smollm3": {"rope_theta": 2e6, "tie_word_embeddings": True},
    "gemma2": {
        **_GEMMA, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "vocab_size": 256000,
        "max_position_embeddings": 8192,
    },
    "gemma3_text": {**_GEMMA, "rope_theta": 1e6, "vocab_size": 262208, "max_position_embeddings": 131072},
    "gpt2": {"n_positions": 1024, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new"},
    "gpt_oss": {
        "attention_bias": True, "sliding_window": 128, "num_experts_per_tok": 4, "rope_theta": 150000.0,
        "rms_norm_eps": 1e-5, "head_dim": 64,
    },
}  # fmt: skip
_ACTIVATIONS: Final[Mapping[str, Activation]] = {
    "silu": "silu", "swish": "silu", "relu": "relu", "gelu": "gelu", "gelu_python": "gelu", "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh", "gelu_accurate": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh",
}  # fmt: skip
WITHOUT_EFFECT: Final = frozenset((
    "architectures", "auto_map", "model_type", "torch_dtype", "dtype", "transformers_version", "_name_or_path",
    "name_or_path", "transformers.js_config", "unsloth_fixed", "unsloth_version", "is_llama_config", "language",
    "task_specific_params", "finetuning_task", "_attn_implementation", "_attn_implementation_autoset",
    "attn_implementation", "_experts_implementation", "use_cache", "cache_implementation", "return_dict",
    "output_attentions", "output_hidden_states", "output_router_logits", "torchscript", "use_bfloat16",
    "pretraining_tp", "problem_type", "id2label", "label2id", "num_labels", "tokenizer_class", "prefix",
    "sep_token_id", "decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id",
    "initializer_range", "initializer_factor", "attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop",
    "embed_pdrop", "attn_pdrop", "classifier_dropout", "router_aux_loss_coef", "router_jitter_noise", "summary_type",
    "summary_use_proj", "summary_activation", "summary_proj_to_labels", "summary_first_dropout",
    "summary_first_dropout_prob", "reorder_and_upcast_attn", "n_ctx", "keys_to_ignore_at_inference",
    "chunk_size_feed_forward", "pruned_heads", "_sliding_window_pattern", "initial_context_length",
    "experts_per_token", "suppress_tokens", "begin_suppress_tokens", "forced_bos_token_id", "forced_eos_token_id",
    "remove_invalid_values", "exponential_decay_length_penalty", "bad_words_ids", "do_sample", "early_stopping",
    "max_length", "min_length", "num_beams", "num_beam_groups", "diversity_penalty", "temperature", "top_k", "top_p",
    "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size",
    "num_return_sequences", "output_scores", "return_dict_in_generate", "n_special", "predict_special_tokens",
    "gradient_checkpointing", "_num_labels", "_flash_attn_2_enabled", "model_max_length", "max_sequence_length",
))  # fmt: skip
_EXPECTED: Final[Mapping[str, tuple[Any, ...]]] = {  # keys that would change the computation, were they other than this
    "is_decoder": (False, True), "is_encoder_decoder": (False,), "add_cross_attention": (False,), "use_mrope": (False,),
    "cross_attention_hidden_size": (), "tie_encoder_decoder": (False,), "rope_interleaved": (False,),
    "use_bidirectional_attention": (False,), "scale_attn_by_inverse_layer_idx": (False,), "decoder_sparse_step": (1,),
    "mlp_only_layers": ([],), "swiglu_alpha": (1.702,), "swiglu_limit": (7.0,), "clip_qkv": (),
    "lm_head_bias": (False,), "interpolate_factor": (1,), "qk_layer_norms": (False,),
}  # fmt: skip


def read(source: Mapping[str, Any]) -> Config:
    source = _text_part(source)
    family = source.get("model_type")
    if type(family) is not str or family not in FAMILIES:
        raise unsupported(family)
    described = Description({**_DEFAULTS.get(family, {}), **source}, "config.json")
    expect_what_is_computed(described)
    _expect_plain_weights(described, family)
    values = _gpt2(described) if family == "gpt2" else _llama_shaped(described, family)
    described.finish(WITHOUT_EFFECT)
    return Config(**{"family": family, **FAMILIES[family].facts, **values})


def _text_part(source: Mapping[str, Any]) -> Mapping[str, Any]:
    """The decoder's part of what describes it and an image encoder beside it (``vision``)."""
    kind, text = source.get("model_type"), source.get("text_config")
    part = dict(text) if isinstance(text, dict) else {}
    if kind == "gemma3":
        return {**part, "model_type": "gemma3_text"}
    if kind in ("qwen2_vl", "qwen2_5_vl"):
        return _qwen_text_part(source, part)
    if kind not in ("idefics3", "smolvlm"):
        return source
    for unread in _UNREAD_BESIDE_IMAGES:
        part.pop(unread, None)
    tied = source.get("tie_word_embeddings", False)  # the whole model's word counts, not the part's
    return {"model_type": "llama", "rms_norm_eps": 1e-5, **part, "tie_word_embeddings": tied}


def _qwen_text_part(source: Mapping[str, Any], part: dict[str, Any]) -> Mapping[str, Any]:
    """A Qwen 2 that sees. Published files say what is the decoder's beside what is the whole model's."""
    text = {key: value for key, value in (part or source).items() if key not in _OF_IMAGES}
    tied = bool(source.get("tie_word_embeddings") or part.get("tie_word_embeddings"))
    if not text.get("rope_scaling") and not text.get("rope_parameters"):
        text = {**text, "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}}
    return {**_QWEN_TEXT, **text, "model_type": "qwen2", "tie_word_embeddings": tied}


_OF_IMAGES: Final = frozenset((
    "text_config", "vision_config", "image_token_id", "video_token_id", "vision_token_id", "vision_start_token_id",
    "vision_end_token_id",
))  # fmt: skip
_QWEN_TEXT: Final = {
    "rope_theta": 1e6, "rms_norm_eps": 1e-5, "max_position_embeddings": 32768, "max_window_layers": 80,
}  # fmt: skip
_UNREAD_BESIDE_IMAGES: Final = (  # of those who trained SmolVLM; transformers' Llama reads none of them
    "neftune_noise_alpha", "perceiver_config", "pixel_shuffle_factor", "use_resampler",
)  # fmt: skip


def expect_what_is_computed(described: Description) -> None:
    """Refuse what no encoder or decoder here does."""
    for name, only in _EXPECTED.items():
        described.expect(name, *only)


def _expect_plain_weights(described: Description, family: str) -> None:
    kind = described.mapping("quantization_config").get("quant_method")
    if kind is not None and (family, kind) != ("gpt_oss", "mxfp4"):
        raise ModelError(
            f"weights quantised by {kind!r} are not supported; use the model's GGUF file, or float weights"
        )


def _llama_shaped(described: Description, family: str) -> dict[str, Any]:
    heads, hidden = described.whole("num_attention_heads"), described.whole("hidden_size")
    layers = described.whole("num_hidden_layers")
    if not 0 < layers <= MAX_LAYERS:
        raise ModelError(f"the configuration's layers is {layers}, not a whole number from 1 to {MAX_LAYERS}")
    head_dim = described.whole("head_dim", hidden // max(heads, 1))
    bias = described.flag("attention_bias", False)
    rope, local_rope = _ropes(described, family, head_dim)
    values: dict[str, Any] = {
        "vocab_size": described.whole("vocab_size"),
        "hidden_size": hidden,
        "intermediate_size": described.whole("intermediate_size"),
        "layers": layers,
        "heads": heads,
        "kv_heads": described.whole("num_key_value_heads", heads),
        "head_dim": head_dim,
        "context": described.whole("max_position_embeddings"),
        "norm_eps": described.number("rms_norm_eps"),
        "tied": described.flag("tie_word_embeddings", False),
        "rope": rope,
        "local_rope": local_rope,
        **({"qkv_bias": True, "output_bias": True} if bias else {}),
        **({"mlp_bias": True} if described.flag("mlp_bias", False) else {}),
        **_windows(described, family, layers),
    }
    if family in ("gemma2", "gemma3_text"):
        return values | _gemma(described, family, hidden)
    name = activation(described, "hidden_act", "silu")
    if family == "gpt_oss":
        if name != "silu" or not bias:
            raise ModelError("gpt_oss without biases, or with another activation than its own, is not supported")
    else:
        values["activation"] = name
    if family == "granite":
        values |= _granite(described)
    if family == "smollm3":
        values["still"] = _still(described, layers)
    if family in _EXPERTS:
        values["experts"] = _experts(described, family)
    return values


def activation(described: Description, key: str, default: str) -> Activation:
    name = described.text(key, default)
    if name not in _ACTIVATIONS:
        raise ModelError(f"{key} {name!r} is not supported; supported are {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name]


# --- positions and windows --------------------------------------------------------------------------------------------


def _ropes(described: Description, family: str, head_dim: int) -> tuple[Rope, Rope | None]:
    """How positions turn, and how in layers with a window, where that is otherwise (Gemma 3)."""
    parameters = described.mapping("rope_parameters")
    scaling = described.mapping("rope_scaling") or parameters
    theta = described.number("rope_theta", 10000.0)
    part = described.number("partial_rotary_factor", 1.0)
    context = described.whole("max_position_embeddings")
    original = described.whole("original_max_position_embeddings", 0) or None
    by_layer = {key: value for key, value in scaling.items() if isinstance(value, dict)}

    def rope(scaling: Mapping[str, Any], theta: float) -> Rope:
        return _rope(
            scaling, {"rope_theta": theta, "partial_rotary_factor": part}, family, (head_dim, context, original)
        )

    if family != "gemma3_text":
        if by_layer:
            raise ModelError(f"rope_parameters by layer ({', '.join(by_layer)}) are not supported for {family}")
        return rope(scaling, theta), None
    local = described.number("rope_local_base_freq", 10000.0)
    if not by_layer:
        return rope(scaling, theta), rope({}, local)
    if unknown := set(scaling) - {"full_attention", "sliding_attention"}:
        raise ModelError(f"rope_parameters with {min(unknown)!r} are not supported")
    return rope(by_layer.get("full_attention", {}), theta), rope(by_layer.get("sliding_attention", {}), local)


def _rope(
    scaling: Mapping[str, Any], defaults: Mapping[str, float], family: str, sizes: tuple[int, int, int | None]
) -> Rope:
    """``sizes``: channels of a head, context, and the context before it was stretched, where the file says so apart."""
    head_dim, context, original = sizes
    values = {**defaults, **{key: value for key, value in scaling.items() if value is not None}}
    former = values.pop("type", "default")
    if type(kind := values.setdefault("rope_type", former)) is not str:
        raise ModelError(f"rope_type is {kind!r}, not a text")
    if kind == "su" or (kind == "yarn" and "short_factor" in values):  # by their names in early files of Phi-3
        kind = values["rope_type"] = "longrope"
    if kind == "mrope" and "mrope_section" in values:
        kind = values["rope_type"] = "default"
    if "mrope_section" in values:
        _check_sections(values["mrope_section"], head_dim, f"{family} with {kind}")
    if kind in ("llama3", "yarn", "longrope"):
        values["original_max_position_embeddings"] = original or values.get("original_max_position_embeddings", context)
    theta, part = values.pop("rope_theta"), values.pop("partial_rotary_factor")
    numbers = [theta, part, values.get("original_max_position_embeddings", 1)]
    if not all(type(number) in (int, float) and 0 < number < 1e300 for number in numbers):
        raise ModelError(f"rope parameters {dict(scaling)} hold what is no number above 0")
    if part != 1 and family != "phi3":
        raise ModelError(f"partial_rotary_factor is {part}; only whole heads can be rotated in {family}")
    return Rope(float(theta), int(head_dim * part), context, {} if kind == "default" and len(values) == 1 else values)


def _check_sections(sections: Any, head_dim: int, where: str) -> None:
    """Of the pairs of a head's channels, how many turn by each axis in turn."""
    whole = type(sections) is list and all(type(pairs) is int and pairs > 0 for pairs in sections)
    if where != "qwen2 with default" or not whole or sum(sections) != head_dim // 2:
        raise ModelError(f"mrope_section {str(sections)[:60]} is not supported for {where}, heads of {head_dim}")


def _windows(described: Description, family: str, layers: int) -> dict[str, Any]:
    """The window, and which layers have it."""
    if family not in _WINDOWED:
        return {}  # what a file says of windows is left unread, and so refused
    window = described.whole("sliding_window", 0)
    described.expect("sliding_window_size", window)  # Gemma 2 has both
    first, pattern = 0, 6
    if family in ("qwen2", "qwen3", "qwen3_moe", "smollm3"):
        first = described.whole("max_window_layers", 0)
        window = window if described.flag("use_sliding_window", False) else 0
    if family == "gemma3_text":
        pattern = described.whole("sliding_window_pattern", pattern)
    kinds = described.items("layer_types", layers)
    if kinds is not None:
        windowed = _sliding(kinds)
    elif family in ("qwen2", "qwen3"):
        windowed = frozenset(range(first, layers))
    elif family in ("gemma2", "gpt_oss"):
        windowed = frozenset(range(0, layers, 2))
    elif family == "gemma3_text":
        windowed = frozenset(n for n in range(layers) if (n + 1) % max(pattern, 1))
    elif family == "smollm3":
        windowed = _still(described, layers)
    else:
        windowed = None
    if not window and windowed and kinds is not None:
        raise ModelError("layer_types has layers with a window, but the configuration has none")
    return {"sliding_window": window or None, "windowed": windowed if window else None}


_WINDOWED: Final = frozenset(
    ("mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe", "smollm3", "gemma2", "gemma3_text", "phi3", "gpt_oss")
)


def _sliding(kinds: list[Any]) -> frozenset[int]:
    if unknown := [kind for kind in kinds if kind not in ("full_attention", "sliding_attention")]:
        raise ModelError(f"layer_types has {str(unknown[0])[:60]!r}, which is not supported")
    return frozenset(layer for layer, kind in enumerate(kinds) if kind == "sliding_attention")


def _still(described: Description, layers: int) -> frozenset[int]:
    """SmolLM3's layers that do not turn their heads."""
    interval = described.whole("no_rope_layer_interval", 4)
    turned = described.items("no_rope_layers", layers)
    if turned is None:
        turned = [int((layer + 1) % max(interval, 1) != 0) for layer in range(layers)]
    return frozenset(layer for layer, turns in enumerate(turned) if not turns)


# --- families ---------------------------------------------------------------------------------------------------------


def _gemma(described: Description, family: str, hidden: int) -> dict[str, Any]:
    described.text("hidden_act", "")  # written beside the key that counts, and not read by transformers either
    if family == "gemma3_text":
        described.expect("attn_logit_softcapping")  # transformers has the key, and does not heed it
    return {
        "activation": activation(described, "hidden_activation", ""),
        "norm_offset": 1.0,
        "attention_scale": scale**-0.5 if (scale := described.number("query_pre_attn_scalar")) > 0 else 0.0,
        "attention_cap": described.number("attn_logit_softcapping", 0.0) or None,
        "logit_cap": described.number("final_logit_softcapping", 0.0) or None,
        "embedding_scale": max(hidden, 0) ** 0.5,
    }


def _granite(described: Description) -> dict[str, Any]:
    return {
        "attention_scale": described.number("attention_multiplier", 1.0),
        "embedding_scale": described.number("embedding_multiplier", 1.0),
        "residual_scale": described.number("residual_multiplier", 1.0),
        "logit_scale": 1 / (described.number("logits_scaling", 1.0) or float("nan")),
    }


_EXPERTS: Final[Mapping[str, tuple[str, str]]] = {  # the keys of their number, and of their size
    "mixtral": ("num_local_experts", "intermediate_size"),
    "qwen3_moe": ("num_experts", "moe_intermediate_size"),
    "gpt_oss": ("num_local_experts", "intermediate_size"),
}


def _experts(described: Description, family: str) -> Experts:
    count, size = _EXPERTS[family]
    if family == "qwen3_moe" and "num_local_experts" in described:  # by this name transformers 5 writes it
        count = "num_local_experts"
        described.whole("num_experts", 0)
    normalised = described.flag("norm_topk_prob", False) if family == "qwen3_moe" else True
    return Experts(described.whole(count), described.whole("num_experts_per_tok"), described.whole(size), normalised)


def _gpt2(described: Description) -> dict[str, Any]:
    heads, hidden = described.whole("n_head"), described.whole("n_embd")
    return {
        "vocab_size": described.whole("vocab_size"),
        "hidden_size": hidden,
        "intermediate_size": described.whole("n_inner", 4 * hidden),
        "layers": described.whole("n_layer"),
        "heads": heads,
        "kv_heads": heads,
        "head_dim": hidden // max(heads, 1),
        "context": described.whole("n_positions"),
        "norm_eps": described.number("layer_norm_epsilon"),
        "tied": described.flag("tie_word_embeddings", True),
        "rope": None,
        "activation": activation(described, "activation_function", ""),
        "attention_scale": None if described.flag("scale_attn_weights", True) else 1.0,
    }
