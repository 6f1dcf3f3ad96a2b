"""A GGUF file's metadata, as llama.cpp's converter writes it, as a ``Config``.

What the metadata leaves out is what llama.cpp takes for the architecture (its ``load_arch_hparams``). Llama, Mistral
and Mixtral are one architecture there; experts tell the last of them. Divisors of rotary frequencies are tensors of the
file, which are taken out of ``tensors`` here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from awsllm.engine import weights
from awsllm.engine.config import FAMILIES, MAX_LAYERS, Config, Experts, Rope, unsupported
from awsllm.engine.described import Description
from awsllm.engine.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awsllm.engine.quant import Stored

_FAMILY: Final = {family.gguf: name for name, family in reversed(list(FAMILIES.items()))}  # the first of each
_WITHOUT_EFFECT: Final = frozenset(("vocab_size", "tensor_data_layout"))
_EXPECTED: Final[Mapping[str, tuple[Any, ...]]] = {
    "attention.causal": (True,), "expert_weights_scale": (0, 1), "rope.scale_linear": (1,),
    "rope.scaling.yarn_ext_factor": (1,), "rope.scaling.yarn_attn_factor": (1,),
    "rope.scaling.yarn_log_multiplier": (0,),
}  # fmt: skip
_SOFTMAX: Final = (1, 3)  # llama.cpp's numbers of gating functions: over all experts, or over those used
_PERIODS: Final = {"gemma2": 2, "gemma3_text": 6, "gpt_oss": 2}  # every so many layers, one is without a window
_WINDOWED: Final = frozenset(("llama", "mixtral", "phi3"))
_LARGEST_GEMMA: Final = {"gemma2": 46, "gemma3_text": 62}  # layers of the models whose queries are scaled otherwise


def read(metadata: Mapping[str, Any], tensors: dict[str, Stored]) -> Config:
    architecture = metadata.get("general.architecture")
    if type(architecture) is not str or architecture not in _FAMILY:
        raise unsupported(architecture)
    described = Description(metadata, "the file's metadata", f"{architecture}.")
    family = _FAMILY[architecture]
    experts = described.whole("expert_count", 0)
    if family == "llama":
        family = "mixtral" if experts else family
    if not experts:
        described.expect("expert_used_count", 0)
    for name, only in _EXPECTED.items():
        described.expect(name, *only)
    heads, hidden = described.whole("attention.head_count"), described.whole("embedding_length")
    layers = described.whole("block_count")
    head_dim = described.whole("attention.key_length", hidden // max(heads, 1))
    for name in ("attention.value_length", "attention.key_length_swa", "attention.value_length_swa"):
        described.expect(name, head_dim)
    described.expect("rope.dimension_count_swa", head_dim)
    eps = "attention.layer_norm_epsilon" if family == "gpt2" else "attention.layer_norm_rms_epsilon"
    context = described.whole("context_length")
    values: dict[str, Any] = {
        "vocab_size": weights.require(tensors, "model.embed_tokens.weight").shape[0],
        "hidden_size": hidden,
        "intermediate_size": described.whole("feed_forward_length", 0 if experts == 0 else hidden),
        "layers": layers,
        "heads": heads,
        "kv_heads": described.whole("attention.head_count_kv", heads),
        "head_dim": head_dim,
        "context": context,
        "norm_eps": described.number(eps),
        "tied": "lm_head.weight" not in tensors,
        "rope": None if family == "gpt2" else _rope(described, family, (head_dim, context), tensors),
        **_biases(tensors),
        **_windows(described, family, layers),
        **_scales(described, family, (layers, hidden, heads, head_dim)),
    }
    if family == "gemma3_text":
        values["local_rope"] = Rope(described.number("rope.freq_base_swa", 10000.0), head_dim, context, {})
    if family == "smollm3":
        values["still"] = frozenset(range(3, min(layers, MAX_LAYERS), 4))
    if experts:
        values["experts"] = _experts(described, experts)
    described.finish(_WITHOUT_EFFECT)
    return Config(**{"family": family, **FAMILIES[family].facts, **values})


def _biases(tensors: Mapping[str, Stored]) -> dict[str, Any]:
    """Whether a Llama has biases is known by its tensors alone; a first layer that has not all is refused later."""
    found = {
        "qkv_bias": "self_attn.q_proj.bias", "output_bias": "self_attn.o_proj.bias", "mlp_bias": "mlp.down_proj.bias",
    }  # fmt: skip
    return {name: True for name, tensor in found.items() if f"model.layers.0.{tensor}" in tensors}


def _windows(described: Description, family: str, layers: int) -> dict[str, Any]:
    if family not in _WINDOWED and family not in _PERIODS:
        return {}
    window = described.whole("attention.sliding_window", 0) or None
    if family not in _PERIODS:
        return {"sliding_window": window}
    if type(described.get("attention.sliding_window_pattern")) is list:
        pattern = described.items("attention.sliding_window_pattern", layers) or []
        return {"sliding_window": window, "windowed": frozenset(n for n, windowed in enumerate(pattern) if windowed)}
    period = max(described.whole("attention.sliding_window_pattern", _PERIODS[family]), 1)
    windowed = frozenset(n for n in range(min(layers, MAX_LAYERS)) if n % period < period - 1)
    return {"sliding_window": window, "windowed": windowed}


def _scales(described: Description, family: str, sizes: tuple[int, int, int, int]) -> dict[str, Any]:
    layers, hidden, heads, head_dim = sizes
    if family == "granite":
        return {
            "attention_scale": described.number("attention.scale", 0.0) or None,
            "embedding_scale": described.number("embedding_scale", 0.0) or 1.0,
            "residual_scale": described.number("residual_scale", 0.0) or 1.0,
            "logit_scale": 1 / (described.number("logit_scale") or float("nan")),
        }
    if family not in _LARGEST_GEMMA:
        return {}
    scaled_by = hidden // max(heads, 1) if layers == _LARGEST_GEMMA[family] else head_dim
    scale = described.number("attention.scale", 0.0)
    caps = (50.0, 30.0) if family == "gemma2" else (0.0, 0.0)
    return {
        "attention_scale": scale or max(scaled_by, 1) ** -0.5,
        "attention_cap": described.number("attn_logit_softcapping", caps[0]) or None,
        "logit_cap": described.number("final_logit_softcapping", caps[1]) or None,
        "embedding_scale": max(hidden, 0) ** 0.5,
    }


def _experts(described: Description, count: int) -> Experts:
    described.expect("expert_gating_func", *_SOFTMAX)
    size = described.whole("expert_feed_forward_length", described.whole("feed_forward_length", 0))
    normalised = described.flag("expert_weights_norm", True)
    return Experts(count, described.whole("expert_used_count"), size, normalised)


def _rope(described: Description, family: str, sizes: tuple[int, int], tensors: dict[str, Stored]) -> Rope:
    """The scaling, as llama.cpp reads it: a factor without a type is linear."""
    head_dim, context = sizes
    channels = described.whole("rope.dimension_count", head_dim)
    if channels != head_dim and family != "phi3":
        raise ModelError(f"rope.dimension_count is {channels} of {head_dim} channels; only whole heads can be rotated")
    if not described.flag("rope.scaling.finetuned", True) and family == "granite":
        raise ModelError("granite without rotary positions is not supported")
    theta = described.number("rope.freq_base", 10000.0)
    kind, factor = described.text("rope.scaling.type", "linear"), described.number("rope.scaling.factor", 0.0) or 1.0
    amplitude = described.number("rope.scaling.attn_factor", 1.0)
    original = described.whole("rope.scaling.original_context_length", context)
    fast, slow = (described.number(f"rope.scaling.yarn_beta_{n}", 0.0) for n in ("fast", "slow"))
    short, long, divisors = (
        _divisors(tensors, name, channels // 2) for name in ("rope_factors_short", "rope_factors_long", "rope_freqs")
    )
    scaling: dict[str, Any] = {"rope_type": kind, "factor": factor}
    if kind == "longrope" or short is not None:
        scaling = {"rope_type": "longrope", "short_factor": short, "long_factor": long, "attention_factor": amplitude}
        scaling["original_max_position_embeddings"] = original
    elif amplitude != 1:
        raise ModelError(f"rope.scaling.attn_factor is {amplitude}, which is not supported; convert the model again")
    elif kind == "yarn":
        scaling |= {"original_max_position_embeddings": original, "beta_fast": fast or 32.0, "beta_slow": slow or 1.0}
        scaling["truncate"] = family != "gpt_oss"  # as the model was trained, whatever the file cannot say
    elif divisors is not None:
        scaling = {"rope_type": "divided", "divisors": divisors, "factor": 1.0 if kind == "none" else factor}
    elif kind == "none" or (kind == "linear" and factor == 1):
        scaling = {}
    return Rope(theta, channels, context, scaling)


def _divisors(tensors: dict[str, Stored], name: str, count: int) -> list[float] | None:
    if (stored := tensors.pop(f"{name}.weight", None)) is None:
        return None
    if stored.shape != (count,):
        raise ModelError(f"tensor {name!r} has shape {stored.shape}, not one number for each of {count} pairs")
    divisors: list[float] = stored.float().tolist()
    return divisors
