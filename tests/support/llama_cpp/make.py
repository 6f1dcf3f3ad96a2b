"""Writes ``blocks.json`` and ``tokens.json``, by llama.cpp as node-llama-cpp brings it ready built for Linux on x86-64:

    npm install --prefix DIRECTORY node-llama-cpp@3.22.1
    python -m tests.support.llama_cpp.make DIRECTORY [--train]

``--train`` first trains the two SentencePiece models anew, on the README.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import gguf as oracle
import numpy as np
import sentencepiece

from awsllm.engine import formats, gguf
from awsllm.engine.pretokenize import SPLITS
from awsllm.store import Store
from tests.support.llama_cpp import HERE, ROW, TEXTS, checksum, described, row

RULES = "9\t20\nA\t20\nD\t20\nA0\t20\n3000\t20\nFB01\t66 69\n212B\tC5\n65 301\tE9\nFF21\t41\n200B\t\n"
"""Normalisation for ``unigram.model``: what stands left becomes what stands right, in hexadecimal."""


def blocks(libraries: Path) -> dict[str, dict[str, str]]:
    ggml: Any = ctypes.CDLL(str(libraries / "libggml-base.so"))
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    source, weights = row(), np.ones(ROW, np.float32)
    floats = ctypes.POINTER(ctypes.c_float)
    found = {}
    for number, kind in formats.TYPES.items():
        if kind.block == 1:
            continue
        stored = (ctypes.c_uint8 * (ROW // kind.block * kind.nbytes))()
        place, importance = source.ctypes.data_as(floats), weights.ctypes.data_as(floats)
        size = (ctypes.c_int64(0), ctypes.c_int64(1), ctypes.c_int64(ROW))
        assert ggml.ggml_quantize_chunk(number, place, stored, *size, importance) == len(stored)
        read = np.zeros(ROW, np.float32)
        name = kind.name.replace("_K", "_k").lower().replace("_k", "_K")
        getattr(ggml, f"dequantize_row_{name}")(stored, read.ctypes.data_as(floats), ctypes.c_int64(ROW))
        data = base64.b85encode(bytes(stored)).decode()
        found[kind.name] = {"stored": data, "read": checksum(read.view(np.int32).tolist())}
    return found


def write(path: Path, metadata: dict[str, Any], architecture: str) -> str:
    """A file with a vocabulary and nothing else."""
    writer = oracle.GGUFWriter(path, architecture)
    for name in ("block_count", "context_length", "embedding_length", "feed_forward_length", "head_count"):
        getattr(writer, f"add_{name}")(2)
    writer.add_layer_norm_rms_eps(1e-5)
    for key, value in metadata.items():
        match value:
            case str():
                writer.add_string(key, value)
            case bool():
                writer.add_bool(key, value)
            case int():
                writer.add_uint32(key, value)
            case [int(), *_] if key.endswith("charsmap"):
                writer.add_key_value(key, value, oracle.GGUFValueType.ARRAY, sub_type=oracle.GGUFValueType.UINT8)
            case list():
                writer.add_array(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return str(path)


def ids(package: Path, files: list[str], *, special: bool) -> dict[str, list[list[int]]]:
    with tempfile.NamedTemporaryFile() as out:
        job = json.dumps({"files": files, "texts": TEXTS, "special": special})
        subprocess.run(["node", HERE / "judge.mjs", out.name, package], input=job, text=True, check=True)
        found: dict[str, list[list[int]]] = json.loads(out.read())
    return found


def tokens(package: Path) -> dict[str, Any]:
    """``rules``: for each name the place of its checksums in ``cuts``, where many have the same."""
    base = {k: v for k, v in gguf.read(Store().path("smollm2-135m-instruct")).metadata.items() if "tokenizer.g" in k}
    cuts: list[list[str]] = []
    rules = {}
    models: dict[str, dict[str, list[str]]] = {}
    with tempfile.TemporaryDirectory() as place:
        for name, rule in SPLITS.items():
            if rule.spaced:
                continue
            file = write(Path(place) / "rule.gguf", {**base, "tokenizer.ggml.pre": name}, "llama")
            found = [checksum(of_text) for of_text in ids(package, [file], special=False)[file]]
            if found not in cuts:
                cuts.append(found)
            rules[name] = cuts.index(found)
        for name, architecture in (("bpe", "llama"), ("unigram", "t5")):
            file = write(Path(place) / f"{name}.gguf", described(name), architecture)
            for special in (False, True):
                found = [checksum(of_text) for of_text in ids(package, [file], special=special)[file]]
                models.setdefault(name, {})["special" if special else "plain"] = found
    return {"rules": rules, "cuts": cuts, "models": models}


def train() -> None:
    """A model keeps the name of its file of rules as it was given, so that is a name without a folder."""
    lines = (HERE.parents[2] / "README.md").read_text().splitlines()
    common: dict[str, Any] = {"character_coverage": 0.98, "hard_vocab_limit": False, "num_threads": 1, "minloglevel": 2}
    kinds: dict[str, dict[str, Any]] = {
        "bpe": {"vocab_size": 460, "byte_fallback": True, "normalization_rule_name": "identity",
                "remove_extra_whitespaces": False, "allow_whitespace_only_pieces": True, "split_digits": True,
                "user_defined_symbols": ["<|user|>"]},
        "unigram": {"vocab_size": 320, "normalization_rule_tsv": "rules.tsv"},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        Path("rules.tsv").write_text(RULES)
        for kind, settings in kinds.items():
            model = io.BytesIO()
            source: dict[str, Any] = {"sentence_iterator": iter(lines), "model_writer": model, "model_type": kind}
            sentencepiece.SentencePieceTrainer.train(**source, **common, **settings)
            (HERE / f"{kind}.model").write_bytes(model.getvalue())


if __name__ == "__main__":
    modules = Path(sys.argv[1]) / "node_modules"
    if "--train" in sys.argv:
        train()
    libraries = modules / "@node-llama-cpp/linux-x64/bins/linux-x64"
    (HERE / "blocks.json").write_text(json.dumps(blocks(libraries), indent=0) + "\n")
    (HERE / "tokens.json").write_text(json.dumps(tokens(modules / "node-llama-cpp")) + "\n")
