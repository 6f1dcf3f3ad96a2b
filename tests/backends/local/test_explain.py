"""What ``explain`` tells of local models: whose words a token is of, how likely it was, and what cannot be asked."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import awsllm
from awsllm import ConfigurationError, ModelNotFoundError, UnsupportedError, ValidationError
from awsllm.backends.local import explain as explaining
from awsllm.backends.local.explain import Precision, look
from awsllm.errors import ContextWindowError
from awsllm.explanation.values import ExplainedToken, Explanation
from tests.support import random_encoders, random_t5, tiny_gguf

HI = 256  # a token of the tiny model
MODULES = list(enumerate((("", "Transformer"), ("1_Pooling", "Pooling"))))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that says "Hi" for ever."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    return f"local:{tiny_gguf.write(path, tiny_gguf.metadata(), says=HI)}"


@pytest.fixture(scope="module")
def paris() -> Explanation:
    return awsllm.explain("What is the capital of France?", max_tokens=8, near="cat")


def written(tokens: tuple[ExplainedToken, ...]) -> str:
    return b"".join(bytes.fromhex(token.bytes) for token in tokens).decode()


def test_a_prompt_and_its_answer(paris: Explanation) -> None:
    assert paris.answer == "The capital of France is Paris."
    assert paris.stop_reason == "end"
    assert written(paris.part("template", "prompt")) == paris.rendered
    assert paris.rendered.endswith(
        "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert written(paris.part("prompt")) == "What is the capital of France?"
    assert written(paris.part("answer")) == paris.answer + "<|im_end|>"
    assert {token.text for token in paris.tokens if token.special} == {"<|im_start|>", "<|im_end|>"}
    assert not any(token.layers for token in paris.part("template", "prompt"))


def test_probabilities_surprise_and_perplexity_go_together(paris: Explanation) -> None:
    first, *others = paris.tokens
    assert (first.probability, first.surprise, first.entropy, first.likeliest) == (None, None, None, ())
    for token in others:
        assert token.probability is not None
        assert token.surprise == pytest.approx(-math.log2(token.probability))
        shares = [one.probability for one in token.likeliest]
        assert len(shares) == 5
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) <= 1 + 1e-6
        assert token.entropy is not None
    for part, perplexity in (("prompt", paris.perplexity), ("answer", paris.answer_perplexity)):
        own = [token.probability or 0 for token in paris.tokens if token.part == part]
        assert perplexity == pytest.approx(math.prod(own) ** (-1 / len(own)))


def test_an_answer_s_tokens_are_the_likeliest_and_the_last_layer_s(paris: Explanation) -> None:
    for token in paris.part("answer"):
        assert token.id == token.likeliest[0].id == token.layers[-1].id
        assert len(token.layers) == paris.anatomy.layers + 1
        assert token.layers[-1].chosen == pytest.approx(token.probability, rel=1e-3)


def test_attention_is_of_each_token_on_those_up_to_itself(paris: Explanation) -> None:
    attention = paris.attention
    (mean,) = attention.maps
    assert (attention.layer, attention.window, mean.head) == (15, None, None)
    assert [len(row) for row in mean.weights] == list(range(1, len(paris.tokens) + 1))
    assert all(sum(row) == pytest.approx(1, abs=1e-4) for row in mean.weights)
    assert [head.head for head in attention.heads] == list(range(9))


def test_anatomy_is_that_of_the_file(paris: Explanation) -> None:
    anatomy = paris.anatomy
    assert (anatomy.kind, anatomy.layers, anatomy.heads, anatomy.key_heads) == ("decoder", 30, 9, 3)
    assert sum(anatomy.parts.values()) == anatomy.parameters == 134_515_008
    assert anatomy.cache_token_bytes == 2 * 30 * 3 * 64 * 4
    said = " ".join(anatomy.sentences)
    for number in ("135 M", "30 layers", "9 heads", "49,152", "46.1 kB a token", "float32"):
        assert number in said


def test_words_near_another(paris: Explanation) -> None:
    assert paris.near is not None
    assert paris.near.pieces == (" cat",)
    assert {" Cat", " cats", " dog"} <= {near.text for near in paris.near.neighbours}


def test_all_that_is_told_is_json_and_comes_back(paris: Explanation) -> None:
    document = paris.to_dict()
    assert set(document) == set(Explanation.__struct_fields__)
    assert set(document["tokens"][0]) == set(ExplainedToken.__struct_fields__)  # those without a value, too
    assert Explanation.from_dict(document) == paris


def test_a_notebook_shows_a_table(paris: Explanation) -> None:
    shown = paris._repr_html_()
    assert "&lt;|im_start|&gt;" in shown
    assert "&quot; Paris&quot;" in shown


# --- a tiny model: what is asked of it -------------------------------------------------------------------------------


def test_an_answer_is_cut_at_max_tokens(tiny: str) -> None:
    found = awsllm.explain("Hi", tiny, max_tokens=3)
    assert (found.answer, found.stop_reason) == ("HiHiHi", "max_tokens")
    none = awsllm.explain("Hi", tiny, max_tokens=0)
    assert (none.answer, none.answer_perplexity, none.part("answer")) == ("", None, ())


def test_what_looks_like_a_special_token_in_a_prompt_is_the_prompt_s(tiny: str) -> None:
    found = awsllm.explain(" <|im_end|> Hi", tiny, max_tokens=1)
    assert written(found.part("prompt")).strip() == "<|im_end|> Hi"
    assert not any(token.special for token in found.part("prompt"))
    assert [token.text for token in found.part("template")] == ["<|im_start|>", "<|im_end|>", "<|im_start|>"]


@pytest.mark.parametrize("prompt", ["a", "aa", "im_start", "<", ">", "ä", "日本", "s\nu"])
def test_a_prompt_is_told_from_its_template(tiny: str, prompt: str) -> None:
    assert written(awsllm.explain(prompt, tiny, max_tokens=0).part("prompt")) == prompt


def test_half_a_character_is_spelt(tiny: str) -> None:
    tokens = awsllm.explain("é", tiny, max_tokens=0).part("prompt")
    assert [(token.text, token.bytes) for token in tokens] == [(r"\xc3", "c3"), (r"\xa9", "a9")]


def test_a_raw_text_is_read_without_template(tiny: str) -> None:
    found = awsllm.explain("Hi<|im_end|>", tiny, raw=True, max_tokens=2)
    assert found.rendered == "Hi<|im_end|>"
    assert not any(token.special for token in found.tokens)
    assert written(found.part("prompt")) == "Hi<|im_end|>"


def test_a_system_prompt_is_the_template_s_part(tiny: str) -> None:
    found = awsllm.explain("Hi", tiny, system="Be kind", max_tokens=0)
    assert "Be kind" in found.rendered
    assert written(found.part("prompt")) == "Hi"


def test_heads_one_or_all(tiny: str) -> None:
    one = awsllm.explain("Hi", tiny, head=3, max_tokens=0, layer=0)
    assert [shown.head for shown in one.attention.maps] == [3]
    every = awsllm.explain("Hi", tiny, head="all", max_tokens=0)
    assert [shown.head for shown in every.attention.maps] == [None, 0, 1, 2, 3]


def test_other_precisions_say_so(tiny: str) -> None:
    precisions: tuple[Precision, ...] = ("bfloat16", "packed")
    for precision in precisions:
        found = awsllm.explain("Hi", tiny, precision=precision, max_tokens=1)
        assert found.anatomy.precision == precision
        assert found.anatomy.cache_token_bytes == 1 * 2 * 2 * 8 * 2
        assert precision in found.anatomy.sentences[-1]


def test_a_large_model_is_computed_as_chat_computes_it(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "_SMALL", 10)
    assert awsllm.explain("Hi", tiny, max_tokens=0).anatomy.precision == "packed"
    assert awsllm.explain("Hi", tiny, max_tokens=0, precision="float32").anatomy.precision == "float32"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 1}, "layer is 1, not a whole number from 0 to 0"),
        ({"layer": -1}, "layer is -1"),
        ({"head": 4}, "head is 4, not a whole number from 0 to 3"),
        ({"head": "some"}, "head is 'some'"),
        ({"max_tokens": -1}, "max_tokens is -1"),
        ({"max_tokens": True}, "max_tokens is True"),
        ({"top": 0}, "top is 0"),
        ({"precision": "float8"}, "precision is 'float8'"),
        ({"near": " "}, "near is empty"),
        ({"near": "word " * 30}, "near is a word of at most 16 tokens"),
        ({"temperature": 1}, "no option 'temperature'; it has system"),
    ],
)
def test_what_is_out_of_range_is_refused(tiny: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        awsllm.explain("Hi", tiny, **options)


def test_empty_and_long_prompts_are_refused(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="the prompt is empty"):
        awsllm.explain(" \n", tiny)
    with pytest.raises(ContextWindowError, match="takes 512"):
        awsllm.explain("ab " * 200, tiny)
    with pytest.raises(ValidationError, match="the prompt has at least 6,000 tokens, and 1,024 can be explained"):
        awsllm.explain("ab " * 2000, tiny, raw=True)
    with pytest.raises(ValidationError, match="the prompt has 600 tokens, and 512 can be explained at once"):
        awsllm.explain("ab " * 200, tiny, raw=True)
    monkeypatch.setattr(explaining, "MAX_TOKENS", 10)
    with pytest.raises(ValidationError, match="the prompt has 33 tokens, and 10 can"):
        awsllm.explain("ab " * 10, tiny, max_tokens=9)
    assert len(awsllm.explain("abc", tiny, max_tokens=9).tokens) == 10  # the answer has what room is left


def test_a_lone_surrogate_is_no_text(tiny: str) -> None:
    with pytest.raises(ValidationError, match="not Unicode"):
        awsllm.explain("\ud800", tiny)


def test_models_that_cannot_be_looked_into() -> None:
    with pytest.raises(UnsupportedError, match="only local models can be looked into"):
        awsllm.explain("Hi", "bedrock:us.amazon.nova-lite-v1:0")
    with pytest.raises(ModelNotFoundError, match="no local model 'smollm'"):
        awsllm.explain("Hi", "local:smollm")
    with pytest.raises(UnsupportedError, match="all-minilm-l6-v2 makes vectors and writes nothing: give it texts"):
        awsllm.explain("Hi", "local:all-minilm-l6-v2")
    with pytest.raises(ConfigurationError, match="local:smollm2"):
        awsllm.explain("Hi", "smollm2-135m-instruct")


def test_a_model_that_is_no_decoder_cannot_be_looked_into(tmp_path: Path) -> None:
    random_t5.write_whole("flan-t5", tmp_path)
    with pytest.raises(UnsupportedError, match=r"explain knows encoders and decoders of the engine; architecture 't5'"):
        awsllm.explain("Hi", f"local:{tmp_path}")


def test_a_spoiled_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "spoiled.gguf"
    path.write_bytes(b"GGUF" + b"\xff" * 60)
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        awsllm.explain("Hi", f"local:{path}")


def test_a_page_has_every_head_unless_one_is_asked_for(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def maps(options: Any) -> int:
        found = look(["Hi"], tiny, options, page=True)
        assert isinstance(found, Explanation)
        return len(found.attention.maps)

    assert maps({}) == 5
    assert maps({"head": 1}) == 1
    monkeypatch.setattr(explaining, "_PAGE", 3)
    assert maps({}) == 1


# --- an encoder ------------------------------------------------------------------------------------------------------


def test_texts_of_an_encoder() -> None:
    texts = ["A man eats food.", "Someone has dinner.", "word " * 300]
    found = awsllm.explain_texts(texts, near="lunch")
    assert [read.text for read in found.texts] == texts
    assert found.texts[0].tokens == ("[CLS]", "a", "man", "eats", "food", ".", "[SEP]")
    assert [(len(read.ids), read.cut) for read in found.texts] == [(7, 0), (6, 0), (256, 46)]
    assert found.texts[2].tokens[-1] == "[SEP]"
    with awsllm.Client() as client:
        vectors = client.embed("local:all-minilm-l6-v2", texts).vectors
    for mine, row in zip(vectors, found.similarities, strict=True):
        assert row == pytest.approx(
            [sum(a * b for a, b in zip(mine, other, strict=True)) for other in vectors], abs=1e-5
        )
    assert found.near is not None
    assert found.near.pieces == ("[CLS]", "lunch", "[SEP]")
    assert found.near.neighbours[0].text == "Someone has dinner."
    cosines = [near.similarity for near in found.near.neighbours]
    assert cosines == sorted(cosines, reverse=True)
    assert (found.anatomy.kind, found.anatomy.layers, found.anatomy.heads, found.dimensions) == ("encoder", 6, 12, 384)
    assert found.anatomy.parameters == sum(found.anatomy.parts.values()) == 22_713_216
    assert "there is no cache" in " ".join(found.anatomy.sentences)
    assert "Someone has dinner." in found._repr_html_()


@pytest.mark.parametrize("family", ["roberta", "mpnet", "distilbert", "modernbert"])
def test_encoders_of_other_families(family: str, tmp_path: Path) -> None:
    net = random_encoders.write(tmp_path, family)
    modules = [{"idx": n, "path": path, "type": f"sentence_transformers.models.{kind}"} for n, (path, kind) in MODULES]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling/config.json").write_text(
        '{"pooling_mode_mean_tokens": true, "word_embedding_dimension": 64}'
    )
    prompts = {"prompts": {"query": "the "}, "default_prompt_name": "query"}
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    found = awsllm.explain_texts(["A man eats.", "word " * 100], f"local:{tmp_path}")
    anatomy = found.anatomy
    assert (anatomy.family, anatomy.heads, anatomy.width) == (family, 4, 64)
    assert anatomy.parameters == sum(parameter.numel() for parameter in net.parameters())
    assert anatomy.parts.keys() >= {"embeddings", "attention", "mlp", "norms"}
    assert "the" in found.texts[0].tokens[1]  # the prompt is read, too
    assert found.texts[1].cut > 0
    assert len(found.texts[1].ids) == anatomy.context


def test_what_an_encoder_is_not_asked() -> None:
    with pytest.raises(ValidationError, match=r"is an encoder, .* only chat models take layer, head"):
        look(["Hi"], "local:all-minilm-l6-v2", {"near": "x", "layer": 1, "head": 2})
    with pytest.raises(ValidationError, match="there is no text"):
        awsllm.explain_texts([])
    with pytest.raises(ValidationError, match="a text is empty"):
        awsllm.explain_texts(["a", ""])
    with pytest.raises(ValidationError, match="near is empty"):
        awsllm.explain_texts(["a"], near="")
    with pytest.raises(ValidationError, match="there are 257 texts"):
        awsllm.explain_texts(["a"] * 257)


def test_a_chat_model_is_no_encoder(tiny: str) -> None:
    with pytest.raises(UnsupportedError, match="is a chat model"):
        awsllm.explain_texts(["a"], tiny)
