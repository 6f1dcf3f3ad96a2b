"""A chat model of one layer in a GGUF file of a few kilobytes: it writes one token for ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

PRINTABLE = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
CONTROL = ["<|im_start|>", "<|im_end|>"]
HIDDEN, HEADS, KEY_HEADS = 32, 4, 2
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}<|im_start|>"


def byte_tokens() -> list[str]:
    """GPT-2's spelling of the 256 bytes, in their order."""
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in PRINTABLE else chr(next(others)) for byte in range(256)]


def metadata(extra_tokens: tuple[str, ...] = ()) -> dict[str, Any]:
    tokens = [*byte_tokens(), "Hi", *CONTROL, *extra_tokens]
    return {
        "llama.block_count": 1,
        "llama.context_length": 512,
        "llama.embedding_length": HIDDEN,
        "llama.feed_forward_length": HIDDEN,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": KEY_HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.freq_base": 10000.0,
        "llama.rope.dimension_count": HIDDEN // HEADS,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [1] * 257 + [3] * len(CONTROL) + [1] * len(extra_tokens),
        "tokenizer.ggml.merges": ["H i"],
        "tokenizer.ggml.eos_token_id": tokens.index("<|im_end|>"),
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": TEMPLATE,
    }


def write(path: Path, described: dict[str, Any], *, says: int, rows: int | None = None) -> Path:
    """``says`` is the token that it writes; ``rows``: how many the embedding has, by default one a token."""
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in described.items():
        _add(writer, key, value)
    rows = rows or len(metadata()["tokenizer.ggml.tokens"])
    head = np.zeros((rows, HIDDEN), np.float32)
    head[says] = 1
    ones, keys = np.ones(HIDDEN, np.float32), HIDDEN // HEADS * KEY_HEADS
    writer.add_tensor("token_embd.weight", np.full((rows, HIDDEN), 0.1, np.float32))
    writer.add_tensor("output_norm.weight", ones)
    writer.add_tensor("output.weight", head)
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", ones)
    shapes = {"attn_q": HIDDEN, "attn_k": keys, "attn_v": keys, "attn_output": HIDDEN}
    for name, count in {**shapes, "ffn_gate": HIDDEN, "ffn_up": HIDDEN, "ffn_down": HIDDEN}.items():
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((count, HIDDEN), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_int64(key, value)
        case float():
            writer.add_float64(key, value)
        case str():
            writer.add_string(key, value)
        case list():
            writer.add_array(key, value)
