"""What ``config.json`` says of a T5 model: T5, its version 1.1, Flan-T5 and mT5.

Version 1.1 and mT5 have gates in their MLPs and a head of their own; T5 gives its head the states of the decoder
divided by the root of their width, as it shares the head with the embeddings. What tells the two apart in files of
transformers 4 is ``tie_word_embeddings``, in those of 5 ``scale_decoder_outputs``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from awsllm.engine.config import MAX_LAYERS, Activation
from awsllm.engine.described import Description
from awsllm.engine.errors import ModelError

FAMILIES: Final = ("t5", "mt5")
CONTEXT: Final = 4096
"""Tokens of an input and its answer together. Nothing in the model ends there, as it learns distances and not places;
attention over a whole input has to end somewhere."""

_DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {  # of transformers' configuration classes
    "t5": {"vocab_size": 32128, "d_ff": 2048, "num_layers": 6, "num_heads": 8, "feed_forward_proj": "relu"},
    "mt5": {"vocab_size": 250112, "d_ff": 1024, "num_layers": 8, "num_heads": 6, "feed_forward_proj": "gated-gelu"},
}
_ACTIVATIONS: Final[Mapping[str, Activation]] = {
    "relu": "relu", "silu": "silu", "swish": "silu", "gelu": "gelu", "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}  # fmt: skip
_WITHOUT_EFFECT: Final = frozenset((
    "architectures", "auto_map", "model_type", "torch_dtype", "dtype", "transformers_version", "_name_or_path",
    "_attn_implementation", "_attn_implementation_autoset", "use_cache", "output_past", "n_positions", "dropout_rate",
    "classifier_dropout", "initializer_factor", "task_specific_params", "tokenizer_class", "eos_token_id",
    "decoder_start_token_id", "forced_bos_token_id",
    "bos_token_id", "unk_token_id", "pad_token_id", "tie_word_embeddings", "scale_decoder_outputs", "return_dict",
    "output_attentions", "output_hidden_states", "problem_type", "id2label", "label2id", "num_labels", "num_beams",
    "max_length", "min_length", "do_sample", "early_stopping", "length_penalty", "no_repeat_ngram_size",
    "repetition_penalty", "temperature", "top_k", "top_p", "chunk_size_feed_forward", "gradient_checkpointing",
    "finetuning_task", "prefix", "torchscript",
))  # fmt: skip
_MAX_DISTANCE: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class T5Config:
    """``scaled_head``: the head is given states divided by the root of ``hidden_size``."""

    family: str
    vocab_size: int
    hidden_size: int
    head_dim: int
    heads: int
    intermediate_size: int
    encoder_layers: int
    decoder_layers: int
    buckets: int
    max_distance: int
    norm_eps: float
    activation: Activation
    gated: bool
    scaled_head: bool
    context: int = CONTEXT


def read(source: Mapping[str, Any]) -> T5Config:
    """Raises ``ModelError`` for what is missing, or says something that is not computed."""
    if (family := source.get("model_type")) not in FAMILIES:
        raise ModelError(f"the model is {str(family)[:60]!r}; {', '.join(FAMILIES)} are read here")
    described = Description({**_DEFAULTS[family], **source}, "config.json")
    described.expect("is_encoder_decoder", True)
    described.expect("is_decoder", False)
    described.expect("quantization_config")
    activation, gated = _activation(described)
    layers = described.whole("num_layers")
    config = T5Config(
        family=family,
        vocab_size=described.whole("vocab_size"),
        hidden_size=described.whole("d_model", 512),
        head_dim=described.whole("d_kv", 64),
        heads=described.whole("num_heads"),
        intermediate_size=described.whole("d_ff"),
        encoder_layers=layers,
        decoder_layers=described.whole("num_decoder_layers", layers),
        buckets=described.whole("relative_attention_num_buckets", 32),
        max_distance=described.whole("relative_attention_max_distance", 128),
        norm_eps=described.number("layer_norm_epsilon", 1e-6),
        activation=activation,
        gated=gated,
        scaled_head=family == "t5" and _scales(described),
    )
    described.finish(_WITHOUT_EFFECT)
    _check(config)
    return config


def _activation(described: Description) -> tuple[Activation, bool]:
    """The words after ``gated-`` are the activation's name; "gated-gelu" alone means another gelu than "gelu" does."""
    whole = described.text("feed_forward_proj")
    named = "gelu_new" if whole == "gated-gelu" else whole.removeprefix("gated-")
    name = described.text("dense_act_fn", named)
    if (activation := _ACTIVATIONS.get(name)) is None:
        raise ModelError(f"config.json's activation {name[:60]!r} is not supported; {', '.join(_ACTIVATIONS)} are")
    return activation, described.flag("is_gated_act", whole.startswith("gated-"))


def _scales(described: Description) -> bool:
    return described.flag("scale_decoder_outputs", described.flag("tie_word_embeddings", True))


def _check(config: T5Config) -> None:
    for name in ("vocab_size", "hidden_size", "head_dim", "heads", "intermediate_size"):
        if not 0 < getattr(config, name) < 1 << 24:
            raise ModelError(f"the configuration's {name} is {getattr(config, name)}")
    for layers in (config.encoder_layers, config.decoder_layers):
        if not 0 < layers <= MAX_LAYERS:
            raise ModelError(f"the configuration's layers is {layers}, not a whole number from 1 to {MAX_LAYERS}")
    if config.norm_eps < 0:
        raise ModelError(f"layer_norm_epsilon is {config.norm_eps}, not a number from 0 up")
    # four buckets at least: half of an encoder's are of one direction, and half of those of exact distances
    if not 4 <= config.buckets <= 1 << 12 or not config.buckets // 2 < config.max_distance <= _MAX_DISTANCE:
        raise ModelError(f"{config.buckets} buckets for distances up to {config.max_distance} are not supported")
