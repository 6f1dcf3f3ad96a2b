"""What tells encoders apart, as one row of values that one encoder follows, read from ``config.json``.

``ENCODERS`` holds what is true of a family's every model; a key that would change the computation is honoured or
refused, as it is for decoders (``config_json``). A family goes by Hugging Face's ``model_type``.

This module also says which of a directory's three kinds it is, and imports no PyTorch for that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from awsllm.engine.described import Description

EncoderPrecision: TypeAlias = Literal["float32", "bfloat16"]
Kind: TypeAlias = Literal["chat", "embed", "rerank"]
Head: TypeAlias = Literal["pooler", "dense", "relu", "prediction"]
"""What a reranker puts on its first token: BERT's pooler and a classifier, RoBERTa's two layers in one classifier,
DistilBERT's, or ModernBERT's, which may take the mean of all tokens."""

MODULES: Final = "modules.json"
_MAX_JSON: Final = 1 << 24  # bytes
_MAX_SIZE: Final = 1 << 24


class EncoderError(ValueError):
    """The directory does not hold an encoder that can be run exactly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig:
    """The variants of the architecture. ``rope``: the angles' base where all tokens are seen, and in a window."""

    family: str
    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    positions: int  # rows of the table of positions, or the longest text where they turn
    norm_eps: float
    activation: str
    pad_id: int = 0
    after_pad: bool = False  # positions are counted from pad_id + 1, and padding is not counted
    typed: bool = False  # tokens of the second text have another type than those of the first
    rope: tuple[float, float] | None = None
    windowed: frozenset[int] = frozenset()  # layers whose tokens see only those near them
    reach: int = 0  # how far, to either side
    relative: bool = False  # MPNet: scores know how far apart two tokens are
    norms_before: bool = False  # and one at the end; else each norm stands behind what it belongs to
    gated: bool = False
    attention_bias: bool = True
    mlp_bias: bool = True
    norm_bias: bool = True
    head: Head = "pooler"
    head_activation: str = "tanh"
    head_bias: bool = True
    head_mean: bool = False

    def __post_init__(self) -> None:
        for name in ("vocab_size", "hidden_size", "layers", "heads", "positions"):
            if not 1 <= (value := getattr(self, name)) <= _MAX_SIZE:
                raise EncoderError(f"the configuration's {name} is {value}, not a number from 1 to {_MAX_SIZE}")
        if self.norm_eps <= 0 or self.reach < 0:
            raise EncoderError(f"norms with {self.norm_eps} or windows of {self.reach} tokens cannot be computed")
        if self.hidden_size % self.heads or (self.rope and self.hidden_size // self.heads % 2):
            raise EncoderError(f"{self.hidden_size} channels cannot be divided among {self.heads} heads")

    @property
    def max_tokens(self) -> int:
        """The longest text that has a position for each of its tokens."""
        return self.positions - (self.pad_id + 1 if self.after_pad else 0)


@dataclass(frozen=True, slots=True)
class EncoderTraits:
    """What is true of a family's every model: ``facts`` are values of ``EncoderConfig``, ``prefix`` is what stands
    before a tensor's name in the files of a model with a head, ``keys`` are the family's names of common keys."""

    prefix: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)


_ROBERTA: Final = EncoderTraits("roberta.", {"after_pad": True, "head": "dense"})
ENCODERS: Final[Mapping[str, EncoderTraits]] = {
    "bert": EncoderTraits("bert.", {"typed": True}),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "mpnet": EncoderTraits("mpnet.", {"after_pad": True, "relative": True, "head": "dense"}),
    "distilbert": EncoderTraits(
        "distilbert.",
        {"head": "relu", "norm_eps": 1e-12},
        {
            "hidden_size": "dim", "num_attention_heads": "n_heads", "num_hidden_layers": "n_layers",
            "hidden_act": "activation", "intermediate_size": "hidden_dim",
        },
    ),
    "modernbert": EncoderTraits(
        "model.",
        {"norms_before": True, "gated": True, "head": "prediction"},
        {"hidden_act": "hidden_activation", "layer_norm_eps": "norm_eps"},
    ),
}  # fmt: skip
_DEFAULTS: Final[Mapping[str, Any]] = {  # of transformers' configuration classes
    "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0, "max_position_embeddings": 512,
}  # fmt: skip
_OTHER_DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "roberta": {"pad_token_id": 1},
    "xlm-roberta": {"pad_token_id": 1},
    "modernbert": {"layer_norm_eps": 1e-5, "max_position_embeddings": 8192, "pad_token_id": 50283},
}
_EXPECTED: Final[Mapping[str, tuple[Any, ...]]] = {  # keys that would change the computation, were they other than this
    "is_decoder": (False,), "is_encoder_decoder": (False,), "add_cross_attention": (False,),
    "tie_encoder_decoder": (False,), "cross_attention_hidden_size": (), "pruned_heads": ({},),
    "quantization_config": (),
    "relative_attention_num_buckets": (32,),  # transformers takes 32 whatever it says
}  # fmt: skip
_WITHOUT_EFFECT: Final = frozenset((
    "architectures", "auto_map", "model_type", "torch_dtype", "dtype", "transformers_version", "_name_or_path",
    "name_or_path", "transformers.js_config", "language", "_attn_implementation", "_attn_implementation_autoset",
    "attn_implementation", "task_specific_params", "finetuning_task", "problem_type", "id2label", "label2id",
    "num_labels", "_num_labels", "tokenizer_class", "prefix", "adapters", "return_dict", "output_attentions",
    "output_hidden_states", "torchscript", "use_bfloat16", "use_cache", "output_past", "gradient_checkpointing",
    "keys_to_ignore_at_inference", "chunk_size_feed_forward", "bos_token_id", "eos_token_id", "sep_token_id",
    "cls_token_id", "mask_token_id", "unk_token_id", "decoder_start_token_id", "tie_word_embeddings", "tie_weights_",
    "initializer_range", "initializer_factor", "initializer_cutoff_factor", "hidden_dropout_prob",
    "attention_probs_dropout_prob", "classifier_dropout", "classifier_dropout_prob", "attention_dropout", "dropout",
    "qa_dropout", "seq_classif_dropout", "embedding_dropout", "mlp_dropout", "layerdrop", "decoder_bias",
    "sparse_prediction", "sparse_pred_ignore_index", "deterministic_flash_attn", "reference_compile",
    "repad_logits_with_grad", "directionality", "pooler_fc_size", "pooler_num_attention_heads",
    "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type", "sinusoidal_pos_embds", "summary_type",
    "summary_use_proj", "summary_activation", "summary_proj_to_labels", "summary_first_dropout", "model_max_length",
    "type_vocab_size", "vocab_size", "intermediate_size", "hidden_dim", "is_matryoshka", "matryoshka_dimensions",
    "sentence_transformers", "sbert_ce_default_activation_function", "max_length", "min_length", "do_sample",
    "num_beams", "temperature", "top_k", "top_p", "repetition_penalty", "num_return_sequences",
))  # fmt: skip


def read_config(source: Mapping[str, Any]) -> EncoderConfig:
    """``config.json`` as transformers 4 and 5 write it. Raises ``EncoderError``, or ``ModelError`` of a key."""
    family = source.get("model_type")
    if type(family) is not str or family not in ENCODERS:
        known = ", ".join(ENCODERS)
        raise EncoderError(f"model_type {str(family)[:60]!r} is no encoder that is supported; supported are {known}")
    traits = ENCODERS[family]
    defaults = {**_DEFAULTS, **_OTHER_DEFAULTS.get(family, {})}
    described = Description({**{traits.keys.get(k, k): v for k, v in defaults.items()}, **source}, "config.json")
    for name, only in _EXPECTED.items():
        described.expect(name, *only)

    def key(name: str) -> str:
        return traits.keys.get(name, name)

    values: dict[str, Any] = {
        "vocab_size": described.whole("vocab_size"),
        "hidden_size": described.whole(key("hidden_size")),
        "layers": described.whole(key("num_hidden_layers")),
        "heads": described.whole(key("num_attention_heads")),
        "positions": described.whole("max_position_embeddings"),
        "activation": described.text(key("hidden_act")),
        "norm_eps": described.number(key("layer_norm_eps")),
        # MPNet's own number of padding is 1, whatever its configuration says
        "pad_id": 1 if described.whole("pad_token_id") >= 0 and family == "mpnet" else described.whole("pad_token_id"),
    }
    if family == "modernbert":
        values |= _modernbert(described, values["layers"])
    described.expect("position_embedding_type", "absolute")
    described.finish(_WITHOUT_EFFECT)
    return EncoderConfig(**{"family": family, **values, **traits.facts})


def _modernbert(described: Description, layers: int) -> dict[str, Any]:
    described.number("layer_norm_eps", 0.0)  # written beside the key that counts
    every = described.whole("global_attn_every_n_layers", 3)
    kinds = described.items("layer_types", min(layers, _MAX_SIZE))
    if kinds is None:
        windowed = frozenset(n for n in range(layers) if n % max(every, 1))
    elif unknown := [kind for kind in kinds if kind not in ("full_attention", "sliding_attention")]:
        raise EncoderError(f"layer_types has {str(unknown[0])[:60]!r}, which is not supported")
    else:
        windowed = frozenset(n for n, kind in enumerate(kinds) if kind == "sliding_attention")
    pooling = described.text("classifier_pooling", "cls")
    if pooling not in ("cls", "mean"):
        raise EncoderError(f"classifier_pooling {pooling[:60]!r} is not supported; cls and mean are")
    return {
        "rope": _rope_bases(described),
        "windowed": windowed,
        "reach": described.whole("local_attention", 128) // 2,
        "attention_bias": described.flag("attention_bias", False),
        "mlp_bias": described.flag("mlp_bias", False),
        "norm_bias": described.flag("norm_bias", False),
        "head_activation": described.text("classifier_activation", "gelu"),
        "head_bias": described.flag("classifier_bias", False),
        "head_mean": pooling == "mean",
    }


def _rope_bases(described: Description) -> tuple[float, float]:
    """By transformers 5 in ``rope_parameters``, by kind of layer; by 4 in two keys, the local one of which may be
    null, for the global one's value."""
    described.expect("rope_scaling")
    whole = described.number("global_rope_theta", 160_000.0)
    bases = [whole, described.number("local_rope_theta", 10_000.0)]
    parameters = described.mapping("rope_parameters")
    if unknown := set(parameters) - {"full_attention", "sliding_attention"}:
        raise EncoderError(f"rope_parameters with {min(unknown)[:60]!r} are not supported")
    for n, kind in enumerate(("full_attention", "sliding_attention")):
        if (given := parameters.get(kind)) is not None:
            one = Description(given if isinstance(given, dict) else {}, f"config.json's rope_parameters.{kind}")
            one.expect("rope_type", "default")
            bases[n] = one.number("rope_theta", bases[n])
            one.finish(frozenset())
    if not all(base > 0 for base in bases):
        raise EncoderError(f"rope_theta is {min(bases)}, not a number above 0")
    return bases[0], bases[1]


# --- files -----------------------------------------------------------------------------------------------------------


def read_json(path: Path) -> Any:
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_JSON + 1)
        value = None if len(data) > _MAX_JSON else json.loads(data)
    except (OSError, ValueError, RecursionError) as error:
        raise EncoderError(f"{path} cannot be read: {str(error)[:200]}") from error
    if len(data) > _MAX_JSON:
        raise EncoderError(f"{path} has more than {_MAX_JSON:,} bytes")
    return value


def read_object(path: Path, *, optional: bool = False) -> dict[str, Any]:
    """A JSON object; with ``optional`` an empty one where there is no such file."""
    if optional and not path.is_file():
        return {}
    if not isinstance(value := read_json(path), dict):
        raise EncoderError(f"{path} is not a JSON object")
    return value


def kind_of(directory: Path) -> Kind:
    """Whether a directory holds a model that chats, one that makes vectors, or one that scores pairs of texts.

    What sentence-transformers writes says so itself. Else ``config.json`` does, by its architecture.
    """
    config = read_object(directory / "config.json", optional=True)
    named = config.get("architectures")
    architecture = str(named[0]) if isinstance(named, list) and named else ""
    if (directory / MODULES).is_file():
        saved = read_object(directory / "config_sentence_transformers.json", optional=True)
        return "rerank" if saved.get("model_type") == "CrossEncoder" else "embed"
    if architecture.endswith("ForSequenceClassification"):
        return "rerank"
    family = config.get("model_type")
    return "embed" if isinstance(family, str) and family in ENCODERS else "chat"
