"""A model from nothing: a tokenizer made of texts, and a small Llama whose weights are random.

What is written is a folder as Hugging Face's libraries keep one, so that this engine, transformers and llama.cpp's
converter read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, trainers
from torch import nn

from awsllm.engine import config_json
from awsllm.engine.config import Config
from awsllm.engine.errors import ModelError
from awsllm.engine.train.decoder import TrainableDecoder
from awsllm.engine.train.files import write_json, write_tensors
from awsllm.engine.train.samples import Sample

END: Final = "<|endoftext|>"
TURN, TURN_END = "<|im_start|>", "<|im_end|>"
TEMPLATE: Final = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_DEVIATION: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A small Llama: ``hidden`` channels, ``layers`` blocks, ``heads`` heads, each with ``hidden / heads`` channels."""

    hidden: int = 256
    layers: int = 6
    heads: int = 4
    key_heads: int = 2
    context: int = 512

    def described(self, vocabulary: int) -> dict[str, Any]:
        """``config.json``."""
        if self.hidden % self.heads:
            raise ModelError(f"{self.hidden} channels are not divided by {self.heads} heads")
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": vocabulary,
            "hidden_size": self.hidden,
            "intermediate_size": _multiple(self.hidden * 8 // 3, 32),
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.key_heads,
            "max_position_embeddings": self.context,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "hidden_act": "silu",
            "tie_word_embeddings": True,
            "torch_dtype": "float32",
        }


def _multiple(number: int, of: int) -> int:
    return -(-number // of) * of


def new_decoder(described: dict[str, Any], seed: int = 0, *, checkpointed: bool = False) -> TrainableDecoder:
    """Random weights: deviation 0.02, less where blocks add to the stream (GPT-2's, by the number of layers)."""
    torch.manual_seed(seed)
    config: Config = config_json.read(described)
    decoder = TrainableDecoder(config, checkpointed=checkpointed)
    for name, module in decoder.named_modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            adds = name.endswith(("o_proj", "down_proj"))
            nn.init.normal_(module.weight, std=_DEVIATION / (2 * config.layers) ** 0.5 if adds else _DEVIATION)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
    return decoder


def new_tokenizer(texts: Iterable[str], vocabulary: int = 4096) -> tokenizers.Tokenizer:
    """Byte pairs of the texts, with the marks of a conversation."""
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=[END, TURN, TURN_END],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return made


def save(folder: Path, decoder: TrainableDecoder, described: dict[str, Any], tokenizer: tokenizers.Tokenizer) -> None:
    """Everything that a model's folder has."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / "model.safetensors", dict(decoder.named_parameters()))
    ends = [_id(tokenizer, END), _id(tokenizer, TURN_END)]
    write_json(folder / "config.json", {**described, "eos_token_id": ends[0]})
    write_json(folder / "generation_config.json", {"eos_token_id": ends})
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {"eos_token": TURN_END, "pad_token": END, "chat_template": TEMPLATE}
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **named})


def read_tokenizer(folder: Path) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


def pieces(texts: Iterable[str], tokenizer: tokenizers.Tokenizer, length: int) -> Iterator[Sample]:
    """The texts one behind the other, cut to so many tokens each: every token is to be predicted."""
    end, held = _id(tokenizer, END), list[int]()
    for text in texts:
        held += [*tokenizer.encode(text, add_special_tokens=False).ids, end]
        while len(held) >= length:
            yield _piece(held[:length])
            held = held[length:]
    if len(held) > 1:
        yield _piece(held)


def _id(tokenizer: tokenizers.Tokenizer, name: str) -> int:
    if (number := tokenizer.token_to_id(name)) is None:
        raise ModelError(f"the tokenizer has no {name}")
    return number


def _piece(tokens: Sequence[int]) -> Sample:
    return Sample(tokens, [True] * len(tokens))
