"""Small random models of T5's kind, written by transformers, whose states and logits are what ours shall be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizers
import torch
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors

SMALL: dict[str, Any] = {
    "vocab_size": 112, "d_model": 32, "d_kv": 12, "d_ff": 48, "num_layers": 3, "num_heads": 4,
    "decoder_start_token_id": 0, "initializer_factor": 1.5,
}  # fmt: skip
GATED = {"feed_forward_proj": "gated-gelu"}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "t5": ("T5", {}),
    "flan-t5": ("T5", {**GATED, "tie_word_embeddings": False}),
    "t5-few-distances": ("T5", {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 12}),
    "t5-odd": ("T5", {"feed_forward_proj": "gated-silu", "num_decoder_layers": 2, "layer_norm_epsilon": 1e-3}),
    "mt5": ("MT5", {**GATED, "tie_word_embeddings": False}),
    "mt5-relu": ("MT5", {"feed_forward_proj": "relu"}),
}
TEXT = [(7 * n + 3) % 107 + 3 for n in range(300)]
ANSWER = [0, *((5 * n + 2) % 107 + 3 for n in range(20))]


def make(name: str) -> Any:
    import transformers

    kind, changes = VARIANTS[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SMALL | changes)
    net = getattr(transformers, f"{kind}ForConditionalGeneration")(config).eval()
    for parameter_name, parameter in net.named_parameters():
        if "layer_norm" in parameter_name:  # else all 1
            torch.nn.init.normal_(parameter, mean=1.0, std=0.3)
        if "relative" in parameter_name:
            torch.nn.init.normal_(parameter, std=1.0)
    if changes.get("tie_word_embeddings") is False:
        net.lm_head.weight = torch.nn.Parameter(torch.randn_like(net.lm_head.weight) * 0.3)
        net.config.tie_word_embeddings = False
    return net


def write(name: str, path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """A model of the variant in the directory; the encoder's states of TEXT, and the logits of ANSWER after it."""
    net = make(name)
    net.save_pretrained(path)
    with torch.inference_mode():
        output = net(input_ids=torch.tensor([TEXT]), decoder_input_ids=torch.tensor([ANSWER]))
    return output.encoder_last_hidden_state[0], output.logits[0]


# --- text -------------------------------------------------------------------------------------------------------------

_WORDS = ["▁the", "▁and", "▁of", "ing", "tion"]
_CHARACTERS = "▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?'\"()-/&%"


def write_tokenizer(path: Path, *, braces: bool = True) -> tokenizers.Tokenizer:
    """T5's shape of a tokenizer: U+2581 before words, ``</s>`` behind a text. T5's own vocabulary has no braces."""
    characters = [*_CHARACTERS, *("{}[]\\\n" if braces else "")]
    pieces = [(word, -4.0) for word in _WORDS] + [(character, -6.0) for character in characters]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *pieces]
    tokenizer = tokenizers.Tokenizer(models.Unigram(vocabulary, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in ("<pad>", "</s>", "<unk>")])
    tokenizer.save(str(path / "tokenizer.json"))
    described = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    (path / "tokenizer_config.json").write_text(json.dumps(described))
    return tokenizer


def write_whole(name: str, path: Path, *, braces: bool = True) -> None:
    """A model of the variant and its tokenizer."""
    path.mkdir(exist_ok=True)
    net = make(name)
    net.save_pretrained(path)
    write_tokenizer(path, braces=braces)
