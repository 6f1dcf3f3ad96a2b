"""SentencePiece's vocabularies, from their own files and GGUF's, against SentencePiece and llama.cpp; and BERT's."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece as oracle
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, normalizers, pre_tokenizers

from awsllm.engine import sentencepiece, vocabulary
from awsllm.engine import tokenizer as tokenizer_module
from awsllm.engine.grammar import GrammarCompiler
from awsllm.engine.tokenizer import BREAK, TextDecoder, Tokenizer, TokenizerError
from awsllm.store import Store
from tests.support import llama_cpp

BPE, UNIGRAM = (llama_cpp.HERE / f"{name}.model" for name in ("bpe", "unigram"))
PIECES = [*"aabeehhtt   .-=(\n\t éß東👋_/0", "the", " and", "----", "\u2581", "<0x0A>", "</s>", "<s>"]
SPELT = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=BREAK), max_size=40)


@pytest.fixture(scope="module", params=[BPE, UNIGRAM], ids=["bpe", "unigram"])
def pair(request: pytest.FixtureRequest) -> tuple[Tokenizer, Any]:
    """A tokenizer, and SentencePiece's own of the same file."""
    return Tokenizer.from_file(request.param), oracle.SentencePieceProcessor(model_file=str(request.param))


def streamed(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    decoder = TextDecoder(tokenizer)
    return [*(decoder.feed(number) for number in ids), decoder.flush()]


def test_a_space_that_goes_on_with_a_text_is_kept(pair: tuple[Tokenizer, Any]) -> None:
    tokenizer, _ = pair
    ids = tokenizer.encode("the", special=False)
    within = TextDecoder(tokenizer, within=True)
    assert "".join(streamed(tokenizer, ids)) == "the"
    assert "".join(within.feed(number) for number in ids) == " the"


@given(SPELT | ANY)
def test_token_ids_are_sentencepieces(pair: tuple[Tokenizer, Any], text: str) -> None:
    tokenizer, judge = pair
    if tokenizer.add_eos:  # Unigram's is the text that is normalised
        text = text.replace("\r\n", "\n").replace("\u2581", " ")  # \r\n is one space here, U+2581 is one there
    assert tokenizer.encode(text, special=False) == judge.encode(text)


def test_token_ids_of_many_languages(pair: tuple[Tokenizer, Any]) -> None:
    tokenizer, judge = pair
    for text in llama_cpp.TEXTS:
        assert tokenizer.encode(text, special=False) == judge.encode(text), text


@given(SPELT | ANY)
def test_bytes_come_back_whole_and_streamed(text: str) -> None:
    tokenizer, judge = Tokenizer.from_file(BPE), oracle.SentencePieceProcessor(model_file=str(BPE))
    ids = tokenizer.encode(text, special=False)
    parts = streamed(tokenizer, ids)
    assert "".join(parts) == tokenizer.decode(ids) == judge.decode(ids) == text.replace("\u2581", " ")
    assert "\ufffd" in text or not any("\ufffd" in part for part in parts)


@given(st.lists(st.integers(0, 459), max_size=12))
def test_any_tokens_decode_alike_streamed_and_at_once(ids: list[int]) -> None:
    tokenizer = Tokenizer.from_file(BPE)
    assert "".join(streamed(tokenizer, ids)) == tokenizer.decode(ids)


@pytest.mark.parametrize("name", ["bpe", "unigram"])
@pytest.mark.parametrize("special", [True, False])
def test_a_gguf_file_is_read_as_llama_cpp_reads_it(name: str, special: bool) -> None:
    tokenizer = Tokenizer.from_gguf(llama_cpp.described(name))
    judged = llama_cpp.kept("tokens.json")["models"][name]["special" if special else "plain"]
    for text, theirs in zip(llama_cpp.TEXTS, judged, strict=True):
        assert llama_cpp.checksum(tokenizer.encode(text, special=special)) == theirs, text


def test_what_begins_and_ends_a_prompt() -> None:
    described = llama_cpp.described("bpe")
    tokenizer = Tokenizer.from_gguf(described)
    assert (tokenizer.bos_id, tokenizer.add_bos, tokenizer.add_eos) == (1, True, False)
    assert tokenizer.eos_ids == {2}
    assert tokenizer.encode_prompt(lambda guard: "hi") == [1, *tokenizer.encode("hi")]
    silent = Tokenizer.from_gguf({**described, "tokenizer.ggml.add_bos_token": False})
    assert silent.encode_prompt(lambda guard: "hi") == tokenizer.encode("hi")
    unigram = Tokenizer.from_gguf(llama_cpp.described("unigram"))
    assert (unigram.add_bos, unigram.add_eos) == (False, True)
    assert unigram.hf.encode("a", add_special_tokens=True).ids[-1] == 2


def test_a_space_is_put_before_words_where_the_model_was_taught_one() -> None:
    described = llama_cpp.described("bpe")
    texts = {
        "with": Tokenizer.from_gguf(described),
        "without": Tokenizer.from_gguf({**described, "tokenizer.ggml.add_space_prefix": False}),
    }
    pieces = {name: [t.hf.id_to_token(n) for n in t.encode("a<s>a<|user|>a")] for name, t in texts.items()}
    assert pieces["with"] == ["▁a", "<s>", "▁a", "<|user|>", "▁a"]
    assert pieces["without"] == ["a", "<s>", "a", "<|user|>", "a"]
    assert [t.decode(t.encode(" a")) for t in texts.values()] == [" a", " a"]


def test_gemma_4s_vocabulary_is_bpe_by_merges_in_this_spelling() -> None:
    described = llama_cpp.described("bpe")
    merges = [" ".join(pair) for pair in vocabulary._merges_by_score(vocabulary.from_gguf(described))]
    by_score = Tokenizer.from_gguf({**described, "tokenizer.ggml.add_space_prefix": False})
    del described["tokenizer.ggml.scores"]
    by_merges = Tokenizer.from_gguf(
        {**described, "tokenizer.ggml.model": "gemma4", "tokenizer.ggml.pre": "gemma4", "tokenizer.ggml.merges": merges}
    )
    for text in llama_cpp.TEXTS:
        assert by_merges.encode(text) == by_score.encode(text)
        assert by_merges.decode(by_merges.encode(text, special=False)) == text.replace("\u2581", " ")
    assert by_merges.encode_prompt(lambda guard: "a")[0] == 1


@given(ANY | SPELT)
def test_the_least_number_of_tokens_is_never_more_than_there_are(text: str) -> None:
    tokenizer = Tokenizer.from_gguf(llama_cpp.described("bpe"))
    assert tokenizer.least_tokens(text) <= len(tokenizer.encode(text, special=False))
    assert tokenizer.least_tokens("a" * 1000) > 10


def test_a_long_text_in_parts_has_the_same_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, text = Tokenizer.from_file(BPE), " ".join(llama_cpp.TEXTS * 3)
    whole = tokenizer.encode(text)
    monkeypatch.setattr(tokenizer_module, "_PART", 20)
    assert len(list(tokenizer._parts(text))) > 10
    assert tokenizer.encode(text) == whole


def test_phi3s_tokens_between_turns_swallow_spaces() -> None:
    described = {**llama_cpp.described("bpe"), "general.architecture": "phi3"}
    tokenizer = Tokenizer.from_gguf(described)
    assert tokenizer.encode("<|user|>" + " " * 999, limit=1) == [tokenizer.encode("<|user|>")[-1]]
    assert [tokenizer.hf.id_to_token(n) for n in tokenizer.encode("<|user|>\n a<s> a")] == [
        "<|user|>",
        "▁a",
        "<s>",
        "▁▁",
        "a",
    ]


@given(st.lists(SPELT, min_size=1, max_size=3))
def test_foreign_strings_cannot_make_a_control_token_or_a_byte(strings: list[str]) -> None:
    for path in (BPE, UNIGRAM):
        tokenizer = Tokenizer.from_file(path)
        ids = tokenizer.encode_prompt(lambda guard: "<s>" + "".join(map(guard, strings)) + "</s>")
        assert [n for n in ids if tokenizer.is_control(n) and n] == [1, 2]  # 0 is what is unknown
    whole = "".join(strings).replace(BREAK, "").replace("\u2581", " ")
    tokenizer = Tokenizer.from_file(BPE)
    assert tokenizer.decode(tokenizer.encode_prompt(lambda guard: "<s>" + "".join(map(guard, strings)))) == whole


def test_a_byte_in_letters_is_no_byte() -> None:
    described = llama_cpp.described("unigram")
    for number in range(256):
        described["tokenizer.ggml.tokens"].append(f"<0x{number:02X}>")
        described["tokenizer.ggml.token_type"].append(6)
        described["tokenizer.ggml.scores"].append(0.0)
    tokenizer = Tokenizer.from_gguf(described)
    assert tokenizer.decode(tokenizer.encode("é<0x41>é", special=False)) == "é<0x41>é"


def test_an_answer_may_be_held_to_a_grammar() -> None:
    tokenizer = Tokenizer.from_gguf(llama_cpp.described("bpe"))
    matcher, rest = GrammarCompiler(tokenizer).json_schema({"enum": ["é a"]}), '"é a"'.encode()
    while rest:
        mask = matcher.mask()
        allowed = [n for n in range(tokenizer.vocab_size) if int(mask[n // 32]) >> (n % 32) & 1]
        assert all(rest.startswith(tokenizer.token_bytes(number)) for number in allowed)
        matcher.advance(allowed[0])
        rest = rest[len(tokenizer.token_bytes(allowed[0])) :]
    assert matcher.complete


# --- tokenizer.json ---------------------------------------------------------------------------------------------------


def saved(
    path: Path, *, normalizer: Any, pre_tokenizer: Any, rstrip: bool = False, strip: bool = True
) -> tuple[Tokenizer, tokenizers.Tokenizer]:
    """A tokenizer.json of ``bpe.model``'s vocabulary, read by us and by its own library."""
    hf = Tokenizer.from_file(BPE).hf
    whole = tokenizers.Tokenizer(hf.model)
    whole.normalizer, whole.pre_tokenizer = normalizer, pre_tokenizer
    steps: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    whole.decoder = decoders.Sequence([*steps, *([decoders.Strip(" ", 1, 0)] if strip else [])])
    whole.add_special_tokens([AddedToken(text, normalized=False, rstrip=rstrip) for text in ("<unk>", "<s>", "</s>")])
    whole.save(str(path / "tokenizer.json"))
    return Tokenizer.from_file(path / "tokenizer.json"), whole


SPACED = normalizers.Replace(" ", "▁")
LEGACY = normalizers.Sequence([normalizers.Prepend("▁"), SPACED])


def metaspace(scheme: Any) -> pre_tokenizers.Metaspace:
    return pre_tokenizers.Metaspace("▁", prepend_scheme=scheme, split=False)


SHAPES: dict[str, dict[str, Any]] = {
    "Llama 2": {"normalizer": LEGACY, "pre_tokenizer": None},
    "Phi-3": {"normalizer": LEGACY, "pre_tokenizer": None, "rstrip": True},
    "Mistral 0.3": {"normalizer": None, "pre_tokenizer": metaspace("first")},
    "always": {"normalizer": None, "pre_tokenizer": metaspace("always")},
    "Gemma": {"normalizer": SPACED, "pre_tokenizer": None, "strip": False},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_tokenizer_json_is_read_as_its_library_reads_it(shape: str, tmp_path: Path) -> None:
    tokenizer, judge = saved(tmp_path, **SHAPES[shape])
    for text in [*llama_cpp.TEXTS, "<s> a", "a<s>", "<s><s>b", "<s>\n b </s> c", "▁a"]:
        ids = judge.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode(text) == ids, text
        assert tokenizer.decode(ids) == "".join(streamed(tokenizer, ids)) == judge.decode(ids)


def test_t5s_own_tokenizer_json_is_left_as_it_is(tmp_path: Path) -> None:
    """It cuts at white space before it puts U+2581 before each word."""
    whole = tokenizers.Tokenizer(Tokenizer.from_file(UNIGRAM).hf.model)
    whole.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace("▁")])
    whole.decoder = decoders.Metaspace("▁")
    whole.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.from_file(tmp_path / "tokenizer.json")
    for text in ["the  quick brown", " and the", "a", ""]:
        ids = whole.encode(text).ids
        assert tokenizer.encode(text) == ids
        assert tokenizer.decode(ids) == "".join(streamed(tokenizer, ids)) == whole.decode(ids)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_cut_in_a_text_makes_no_space(shape: str, tmp_path: Path) -> None:
    tokenizer, _ = saved(tmp_path, **SHAPES[shape])
    text = "one </s> two <s three</s>"
    assert tokenizer.decode(tokenizer.encode(text, special=False)) == text


# --- BERT -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bert() -> tuple[Tokenizer, Tokenizer]:
    """MiniLM's vocabulary as GGUF has it, and its own tokenizer.json."""
    own = Tokenizer.from_file(Store().path("all-minilm-l6-v2") / "tokenizer.json")
    tokens = [str(own.hf.id_to_token(n)) for n in range(own.vocab_size)]
    special = set(own.control)
    spelt = [t if t in special else t[2:] if t.startswith("##") else f"▁{t}" for t in tokens]
    types = [3 if token in special else 1 for token in tokens]
    described = {"model": "bert", "tokens": spelt, "token_type": types}
    return Tokenizer.from_gguf({f"tokenizer.ggml.{key}": value for key, value in described.items()}), own


def test_wordpieces_are_those_of_the_models_own_file(bert: tuple[Tokenizer, Tokenizer]) -> None:
    ours, own = bert
    for text in llama_cpp.TEXTS:
        assert ours.hf.encode(text).ids == own.hf.encode(text).ids, text


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tokenizer.ggml.scores": [0.0]}, "tokens but 1 scores"),
        ({"tokenizer.ggml.scores": []}, "no scores"),
        ({"tokenizer.ggml.scores": ["x"]}, "not a list of numbers"),
        ({"tokenizer.ggml.treat_whitespace_as_suffix": True}, "at the end of words"),
        ({"tokenizer.ggml.precompiled_charsmap": [300]}, "not a list of bytes"),
        ({"tokenizer.ggml.precompiled_charsmap": [1, 2, 3]}, "wrong size"),
        ({"tokenizer.ggml.precompiled_charsmap": [0, 4, 0, 0] + [255] * 1028}, "not text"),
        ({"tokenizer.ggml.precompiled_charsmap": [0, 4, 0, 0] + [1, 0, 0, 64] * 256 + [0]}, "leads outside itself"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    with pytest.raises(TokenizerError, match=named):
        Tokenizer.from_gguf({**llama_cpp.described("unigram"), **change})


def test_a_normalising_trie_that_names_what_it_lacks_is_refused() -> None:
    charsmap = bytes(llama_cpp.described("unigram")["tokenizer.ggml.precompiled_charsmap"])
    vocabulary.check_charsmap(charsmap)
    size = 4 + int.from_bytes(charsmap[:4], "little")
    with pytest.raises(TokenizerError, match="texts that it lacks"):
        vocabulary.check_charsmap(charsmap[: size + 2])


def test_a_number_beyond_all_vocabularies_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, **SHAPES["Gemma"])
    value = json.loads((tmp_path / "tokenizer.json").read_text())
    value["model"]["vocab"]["the"] = 2**31
    (tmp_path / "tokenizer.json").write_text(json.dumps(value))
    with pytest.raises(TokenizerError, match="numbers up to 2,147,483,648; at most"):
        Tokenizer.from_file(tmp_path / "tokenizer.json")


def test_merges_that_would_end_the_process_are_refused(tmp_path: Path) -> None:
    saved(tmp_path, **SHAPES["Gemma"])
    value = json.loads((tmp_path / "tokenizer.json").read_text())
    value["model"]["continuing_subword_prefix"] = "##"
    (tmp_path / "tokenizer.json").write_text(json.dumps(value))
    with pytest.raises(TokenizerError, match="does not go on as its model says"):
        Tokenizer.from_file(tmp_path / "tokenizer.json")


def test_a_normalising_trie_is_looked_at_however_deep_it_lies(tmp_path: Path) -> None:
    Tokenizer.from_file(UNIGRAM).hf.save(str(tmp_path / "tokenizer.json"))
    value = json.loads((tmp_path / "tokenizer.json").read_text())
    outside = (1024).to_bytes(4, "little") + bytes([1, 0, 0, 64]) * 256 + b"\0"
    trie = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(outside).decode()}
    deep = {"type": "Sequence", "normalizers": [{"type": "Sequence", "normalizers": [trie]}]}
    (tmp_path / "tokenizer.json").write_text(json.dumps({**value, "normalizer": deep}))
    with pytest.raises(TokenizerError, match="leads outside itself"):
        Tokenizer.from_file(tmp_path / "tokenizer.json")


def train(**settings: Any) -> bytes:
    out = io.BytesIO()
    lines = iter(["the quick brown fox jumps over the lazy dog"] * 20)
    oracle.SentencePieceTrainer.train(
        sentence_iterator=lines, model_writer=out, vocab_size=40, hard_vocab_limit=False, minloglevel=2, **settings
    )
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "0 tokens"),
        (b"\x0a\x7f", "cut off"),
        (b"\x0f", "wire type 7"),
        (b"\xff" * 12, "cut off"),
        (b"\x0a\x03\x0a\x01\xff", "not text"),
        (b"\x0a\x05\x15\x00\x00\x80\x7f", "not a number"),
        (b"\x0a\x02\x18\x09", "unknown type"),
    ],
)
def test_what_is_no_sentencepiece_model_is_refused(data: bytes, named: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(data)
    with pytest.raises(TokenizerError, match=named):
        sentencepiece.read(tmp_path / "tokenizer.model")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"model_type": "char"}, "BPE and Unigram"),
        ({"treat_whitespace_as_suffix": True}, "otherwise than before words"),
    ],
)
def test_other_kinds_of_sentencepiece_models_are_refused(settings: dict[str, Any], named: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(train(**settings))
    with pytest.raises(TokenizerError, match=named):
        sentencepiece.read(tmp_path / "tokenizer.model")


def test_a_models_own_settings_are_read(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(train(model_type="bpe", bos_id=-1, pad_id=5, add_dummy_prefix=False))
    read = sentencepiece.read(tmp_path / "tokenizer.model")
    assert (read.kind, read.prefix, read.collapse, read.ids) == (
        "llama",
        False,
        True,
        {"unknown": 0, "eos": 2, "padding": 5},
    )
