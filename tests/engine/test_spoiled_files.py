"""Model files, spoiled at random: they are read, or refused with an error of the engine. Whatever was read works."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from awsllm.engine import errors, gguf, model, text, weights
from awsllm.engine.tokenizer import TextDecoder, Tokenizer, TokenizerError
from tests.engine.test_vocabulary import SHAPES, UNIGRAM, saved
from tests.support import llama_cpp, tiny_gguf

REFUSED = (gguf.GGUFError, TokenizerError, errors.WeightsError, errors.ModelError)
SOURCES = ["", "a b", "  the quick\n\té 東京 <s> </s> <0x0A>\u2581 123 ,.;", "x" * 200]
JUNK: list[Any] = [
    *(None, True, 0, 1, -1, 2**31, 2**63, 1.5, "", "x", "\u2581", "A" * 999, [], {}, [1], ["a", "b"]),
    *({"type": "BPE"}, {"Regex": "("}, {"Regex": "(a+)+$"}, {"String": ""}, {"type": "ByteFallback"}),
]
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True), st.sampled_from(["flip", "fill", "cut", "twice"]), st.integers(0, 255)
    ),
    min_size=1,
    max_size=4,
)
few = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def spoiled(data: bytes, edits: list[tuple[float, str, int]]) -> bytes:
    changed = bytearray(data)
    for place, kind, value in edits:
        at = int(place * len(changed))
        match kind:
            case "flip":
                changed[at : at + 1] = bytes([changed[at] ^ (value or 1)] if at < len(changed) else [])
            case "fill":
                changed[at : at + 8] = bytes([value]) * len(changed[at : at + 8])
            case "cut":
                del changed[at : at + value]
            case _:
                changed[at:at] = changed[at : at + value]
    return bytes(changed)


def use(tokenizer: Tokenizer) -> None:
    for source in SOURCES:
        for special in (True, False):
            ids = tokenizer.encode(source, special=special)
            assert all(0 <= number < tokenizer.vocab_size for number in ids)
            decoder = TextDecoder(tokenizer)
            whole = tokenizer.decode(ids)
            if tokenizer.spells:
                assert "".join(map(decoder.feed, ids)) + decoder.flush() == whole


@few
@given(edits=EDITS)
def test_gguf_files(edits: list[tuple[float, str, int]], tmp_path: Path) -> None:
    described = {**tiny_gguf.metadata(), **llama_cpp.described("bpe")}
    if not (good := tmp_path / "good.gguf").exists():
        tiny_gguf.write(good, described, says=65, rows=460)
    (bad := tmp_path / "bad.gguf").write_bytes(spoiled(good.read_bytes(), edits))
    try:
        checkpoint = weights.read(bad)
        use(text.of_gguf(checkpoint.source).tokenizer)
        model.load(checkpoint)
    except REFUSED:
        return


@few
@given(edits=EDITS)
def test_safetensors_files(edits: list[tuple[float, str, int]], tmp_path: Path) -> None:
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    if not good.exists():
        save_file({"a": torch.ones(3, 4), "b": torch.ones(5).half()}, good)
    bad.write_bytes(spoiled(good.read_bytes(), edits))
    try:
        read = weights.read_safetensors(bad)
    except REFUSED:
        return
    assert sum(stored.float().numel() for stored in read.values()) <= good.stat().st_size


@pytest.mark.parametrize("name", ["bpe", "unigram"])
@few
@given(edits=EDITS)
def test_sentencepiece_models(name: str, edits: list[tuple[float, str, int]], tmp_path: Path) -> None:
    shutil.copy(llama_cpp.HERE / f"{name}.model", tmp_path / "tokenizer.model")
    (tmp_path / "tokenizer.model").write_bytes(spoiled((llama_cpp.HERE / f"{name}.model").read_bytes(), edits))
    try:
        use(Tokenizer.from_file(tmp_path / "tokenizer.model"))
    except REFUSED:
        return


def nodes(value: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    """Each place of a JSON value, as what holds it and where; of long lists the first ones."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys if depth < 2 else keys[:20]:
        yield value, key
        yield from nodes(value[key], depth + 1)


@pytest.mark.parametrize("shape", ["Llama 2", "Mistral 0.3", "Unigram"])
@few
@given(data=st.data())
def test_tokenizer_jsons(shape: str, data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    if not (good := tmp_path / "good.json").exists():
        if shape in SHAPES:
            saved(tmp_path, **SHAPES[shape])
        else:
            Tokenizer.from_file(UNIGRAM).hf.save(str(path))
        path.rename(good)
    value = json.loads(good.read_text())
    for place in data.draw(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=3)):
        found = list(nodes(value))
        assume(found)
        holder, key = found[int(place * len(found))]
        holder[key] = copy.deepcopy(data.draw(st.sampled_from(JUNK)))
    path.write_text(json.dumps(value))
    try:
        use(Tokenizer.from_file(path))
    except REFUSED:
        return


@few
@given(data=st.data())
def test_metadata_of_tokenizers(data: st.DataObject) -> None:
    described = llama_cpp.described(data.draw(st.sampled_from(["bpe", "unigram"])))
    for key in data.draw(st.lists(st.sampled_from(sorted(described)), min_size=1, max_size=2)):
        if isinstance(described[key], list) and described[key] and data.draw(st.booleans()):
            described[key][data.draw(st.integers(0, len(described[key]) - 1))] = data.draw(st.sampled_from(JUNK))
        else:
            described[key] = data.draw(st.sampled_from(JUNK))
    try:
        use(Tokenizer.from_gguf(described))
    except REFUSED:
        return


def test_a_rule_that_takes_for_ever_is_given_up(tmp_path: Path) -> None:
    saved(tmp_path, **SHAPES["Gemma"])
    value = json.loads((tmp_path / "tokenizer.json").read_text())
    pattern = {"Regex": "(a+)+$"}
    value["pre_tokenizer"] = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    (tmp_path / "tokenizer.json").write_text(json.dumps(value))
    with pytest.raises(TokenizerError, match="cannot take the text apart"):
        Tokenizer.from_file(tmp_path / "tokenizer.json").encode("a" * 40 + "b")
