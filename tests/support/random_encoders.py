"""Small random encoders of every family, written by transformers, and tokenizers of the kinds that they have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tokenizers
import torch
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [
    "A man is eating food. Someone eats pasta, and the plane landed late.",
    "the quick brown fox jumps over the lazy dog, naïve café — Grüße aus Zürich",
    "def f(x):\n    return x ** 2  # code",
    "how do I open an account? An account is opened at any branch, with a passport.",
]
TEXTS = [
    "A man is eating food.",
    "",
    "Grüße aus Zürich 👋, naïve café — 東京タワー",
    "word of the fox " * 40,
    "def f(x):\n    return x ** 2  # code\n",
    "[CLS] <s> looks like a token </s> [SEP] <pad> [PAD] and goes on",
    *(f"the fox number {n} eats " * n for n in range(0, 12, 3)),
]
SMALL: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 66, "initializer_range": 0.3,
}  # fmt: skip
DISTIL = {
    "dim": 64,
    "hidden_dim": 96,
    "n_layers": 3,
    "n_heads": 4,
    "max_position_embeddings": 66,
    "initializer_range": 0.3,
}
LOCAL = {
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
    "cls_token_id": None,
    "sep_token_id": None,
    "local_attention": 8,
    "max_position_embeddings": 64,
    "num_hidden_layers": 4,
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", {}),
    "bert-relu": ("Bert", {"hidden_act": "relu", "layer_norm_eps": 1e-5}),
    "bert-gelu-tanh": ("Bert", {"hidden_act": "gelu_new"}),
    "roberta": ("Roberta", {"pad_token_id": 1, "type_vocab_size": 1}),
    "roberta-pad": ("Roberta", {"pad_token_id": 3}),
    "xlm-roberta": ("XLMRoberta", {"pad_token_id": 1, "type_vocab_size": 1}),
    "mpnet": ("MPNet", {}),
    "distilbert": ("DistilBert", DISTIL),
    "modernbert": ("ModernBert", LOCAL),
    "modernbert-biases": (
        "ModernBert",
        {**LOCAL, "attention_bias": True, "mlp_bias": True, "norm_bias": True, "hidden_activation": "silu",
         "classifier_bias": True, "classifier_pooling": "mean", "classifier_activation": "relu"},
    ),
    "modernbert-layers": (
        "ModernBert",
        {**LOCAL, "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "sliding_attention"],
         "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 500.0},
                             "sliding_attention": {"rope_type": "default", "rope_theta": 70.0}}},
    ),
}  # fmt: skip


def write(directory: Path, variant: str, kind: str = "Model", **changed: Any) -> Any:
    """Write a model and its tokenizer; the model as transformers has it, in evaluation. ``kind``: what its class's name
    ends in."""
    import transformers

    name, settings = VARIANTS[variant]
    size = write_tokenizer(directory, name)
    values = {**({} if name == "DistilBert" else SMALL), **settings, **changed, "vocab_size": size}
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**values)
    model = getattr(transformers, f"{name}{kind}")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # biases of zero and norms of one would hide that they are left out
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(directory)
    return model


def write_tokenizer(directory: Path, name: str) -> int:
    """The tokenizer that models of this class have; how many tokens it knows."""
    import transformers

    hf = _TOKENIZERS.get(name, _word_pieces)()
    bert = name in ("Bert", "DistilBert", "ModernBert")
    names = ("[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]") if bert else ("<s>", "</s>", "<pad>", "<unk>", "<mask>")
    tokens = dict(zip(("cls_token", "sep_token", "pad_token", "unk_token", "mask_token"), names, strict=True))
    inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if name == "Bert" else [])]
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=hf, model_input_names=inputs, model_max_length=60, **tokens
    )
    fast.save_pretrained(directory)
    return hf.get_vocab_size()


def _word_pieces(special: tuple[str, ...] = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")) -> tokenizers.Tokenizer:
    unknown = next(token for token in special if "unk" in token.lower())
    hf = tokenizers.Tokenizer(models.WordPiece(unk_token=unknown))
    hf.normalizer = normalizers.BertNormalizer(lowercase=True)
    hf.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    hf.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=180, special_tokens=list(special)))
    if "[CLS]" in special:
        ends = [(token, hf.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
        hf.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ends)
    else:
        hf.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return hf


def _mpnet() -> tokenizers.Tokenizer:
    return _word_pieces(("<s>", "<pad>", "</s>", "<unk>", "<mask>"))


def _byte_level(special: tuple[str, ...] = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")) -> tokenizers.Tokenizer:
    hf = tokenizers.Tokenizer(models.BPE())
    hf.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    hf.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=list(special), initial_alphabet=alphabet)
    hf.train_from_iterator(CORPUS, trainer)
    hf.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return hf


def _modernbert() -> tokenizers.Tokenizer:
    hf = _byte_level(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))
    hf.normalizer = normalizers.NFC()
    ends = [(token, hf.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    hf.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]", ends)
    return hf


def _unigram() -> tokenizers.Tokenizer:
    """XLM-RoBERTa's shape: a space before each word, the first among them."""
    hf = tokenizers.Tokenizer(models.Unigram())
    hf.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(tokenizers.Regex(" {2,}"), " ")])
    hf.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    hf.decoder = decoders.Metaspace(prepend_scheme="always")
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="<unk>")
    hf.train_from_iterator(CORPUS, trainer)
    ends = [(token, hf.token_to_id(token)) for token in ("<s>", "</s>")]
    hf.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> </s> $B </s>", ends)
    return hf


_TOKENIZERS = {"MPNet": _mpnet, "Roberta": _byte_level, "XLMRoberta": _unigram, "ModernBert": _modernbert}
