"""What llama.cpp itself makes of numbers and texts, as files here keep it: ``make`` writes them.

``blocks.json``  rows as its quantiser stores them, and a checksum of what it reads from them again
``tokens.json``  checksums of token ids, for each rule of cutting text, and for ``bpe.model`` and ``unigram.model``
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from awsllm.engine import sentencepiece

HERE = Path(__file__).parent
ROW = 512  # values of a row in ``blocks.json``
TEXTS = [
    "",
    " ",
    "Hello, world! It's we'll I'D 'tis",
    "  leading and   inner    spaces \t tabs\n\n\nnewlines \r\n end ",
    "Grüße naïve café — “quotes” … 東京タワー 한국어 العربية हिन्दी ไทย",
    "e\u0301 combining, ﬁ ligature, Å Å, \u200b zero width, \ufeff bom",
    "👋👩\u200d👩\u200d👧\u200d👦🏳️\u200d🌈 emoji 🇩🇪",
    "def f(x: int) -> str:\n\treturn f'{x!r}' if x >= 10_000 else \"<b>\"\n",
    "3.14159 1234567 0x1F 12:30 2024-01-02 ²³ ½ ٣",
    "    42 indented\n        7",
    "CamelCaseWORDSandHTTPServer/path\\to/file.txt?q=1&b=%20",
    "$5 + 3 = 8 `code` a|b ~x^y <tag/>",
    "\x01 control \x7f, \u2581 and <0x0A>",
    "ἀρχή Привет МИР ǅ",
    "<s>hi</s> there <s> a<|user|>b",
]


def kept(name: str) -> Any:
    return json.loads((HERE / name).read_text())


def checksum(ids: Sequence[int]) -> str:
    return f"{crc32(array('i', ids).tobytes()):08x}"


def row() -> NDArray[np.float32]:
    """Numbers such as weights are, the same everywhere."""
    n = np.arange(ROW, dtype=np.float64)
    return (np.sin(n * n * 0.37) * np.exp(-((n % 71) / 40.0)) * 0.05).astype(np.float32)


def described(name: str) -> dict[str, Any]:
    """A SentencePiece model as GGUF metadata, as llama.cpp's converter writes it."""
    model = sentencepiece.read(HERE / f"{name}.model")
    metadata = {
        "tokenizer.ggml.model": model.kind,
        "tokenizer.ggml.tokens": model.tokens,
        "tokenizer.ggml.scores": model.scores,
        "tokenizer.ggml.token_type": model.types,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_space_prefix": model.prefix,
    }
    if model.kind == "t5":
        metadata["tokenizer.ggml.remove_extra_whitespaces"] = model.collapse
        metadata["tokenizer.ggml.precompiled_charsmap"] = list(model.charsmap)
    return metadata
