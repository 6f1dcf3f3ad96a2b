"""Whatever a grammar lets through satisfies it, and what cannot be expressed is refused by name."""

import json
import random
from typing import Any

import numpy as np
import pytest

from awsllm.engine.generate import apply_mask
from awsllm.engine.gguf import read
from awsllm.engine.grammar import GrammarCompiler, GrammarError, json_rule
from awsllm.engine.tokenizer import Tokenizer
from awsllm.store import Store

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
        "home": {"$ref": "#/$defs/Home"},
    },
    "required": ["name", "age", "home"],
    "additionalProperties": False,
    "$defs": {"Home": {"type": "object", "properties": {"zip": {"type": "string", "pattern": "^[0-9]{5}$"}}}},
}


@pytest.fixture(scope="session")
def tokenizer():
    return Tokenizer.from_gguf(read(Store().path("smollm2-135m-instruct")).metadata)


@pytest.fixture(scope="session")
def compiler(tokenizer):
    return GrammarCompiler(tokenizer)


def allowed(matcher):
    bits = matcher.mask()[:, None] >> np.arange(32) & 1
    return np.flatnonzero(bits).tolist()


def accepts(matcher, tokenizer, text):
    for token in tokenizer.encode(text):
        if token not in allowed(matcher):
            return False
        matcher.advance(token)
    return matcher.complete


@pytest.mark.parametrize("seed", range(6))
def test_a_random_walk_through_the_mask_validates(compiler, tokenizer, seed):
    random_choice = random.Random(seed).choice
    matcher, ids = compiler.json_schema({**PERSON, "properties": {**PERSON["properties"], "home": {"const": {}}}}), []
    while not matcher.finished:
        ids.append(random_choice(allowed(matcher)))
        matcher.advance(ids[-1])
    value = json.loads(tokenizer.decode(ids))
    assert 0 <= value["age"] <= 150
    assert len(value["name"]) <= 8
    assert value["home"] == {}
    assert set(value) <= {"name", "age", "tags", "home"}


def test_the_mask_is_packed_and_ends_a_turn_only_where_the_grammar_may(compiler, tokenizer):
    matcher = compiler.json_schema({"type": "integer", "minimum": 10, "maximum": 19})
    assert matcher.mask().dtype == np.int32
    assert matcher.mask().shape == ((tokenizer.vocab_size + 31) // 32,)
    [one] = tokenizer.encode("1")
    assert allowed(matcher) == [one]
    matcher.advance(one)
    assert not tokenizer.eos_ids & set(allowed(matcher))
    matcher.advance(one)
    assert matcher.finished
    assert matcher.complete


def test_a_token_outside_the_mask_is_an_error(compiler, tokenizer):
    matcher = compiler.json_schema({"type": "integer"})
    with pytest.raises(GrammarError, match="cannot go on"):
        matcher.advance(tokenizer.encode("x")[0])


def test_matchers_of_one_grammar_do_not_share_their_state(compiler, tokenizer):
    first, second = compiler.json_schema(PERSON), compiler.json_schema(PERSON)
    assert accepts(first, tokenizer, '{"name": "Al", "age": 3, "home": {"zip": "12345"}}')
    assert accepts(second, tokenizer, '{"name": "Al", "age": 3, "home": {}}')


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"not": {"type": "string"}}, "not"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "object", "dependentRequired": {"a": ["b"]}}, "dependentRequired"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
        ({"type": "array", "items": {"type": "string", "format": "klingon"}, "uniqueItems": True}, "uniqueItems"),
        ({"type": "string", "pattern": "^(?=a)b"}, "look-around"),
        ({"$ref": "#/$defs/Nowhere"}, "Nowhere"),
        ({"$ref": "https://example.com/schema"}, "example.com"),
        ({"type": "klingon"}, "klingon"),
        ({"type": "integer", "minimum": 5, "maximum": 1}, "greater than maximum"),
        ({"enum": {1, 2}}, "not JSON serializable"),
    ],
)
def test_a_schema_that_cannot_be_expressed_is_refused_by_name(compiler, schema, named):
    with pytest.raises(GrammarError, match=named):
        compiler.json_schema(schema)


@pytest.mark.parametrize("format", ["klingon", "path", "binary", "password", "uri-reference", "regex"])
def test_a_format_that_is_not_known_judges_nothing(compiler, tokenizer, format):
    schema = {"type": "string", "format": format}
    assert accepts(compiler.json_schema(schema), tokenizer, '"any text"')
    assert accepts(compiler.lark(f"start: {json_rule(schema)}"), tokenizer, '"any text"')


def test_a_broken_grammar_is_refused(compiler):
    with pytest.raises(GrammarError, match="grammar"):
        compiler.lark("start: missing_rule")


def test_a_schema_is_a_rule_of_a_grammar(compiler, tokenizer):
    grammar = f'start: "<a>" body "</a>"\nbody: {json_rule(PERSON)}'
    text = '<a>{"name": "Al", "age": 3, "home": {}}</a>'
    assert accepts(compiler.lark(grammar), tokenizer, text)
    assert not accepts(compiler.lark(grammar), tokenizer, text.replace("3", "-3"))


def test_masked_logits_are_those_of_allowed_tokens(compiler, tokenizer):
    matcher = compiler.json_schema({"enum": ["yes", "no"]})
    logits = np.random.default_rng(0).standard_normal((2, tokenizer.vocab_size), np.float32)
    masked = apply_mask(logits, matcher.mask())
    finite = np.isfinite(masked)
    assert masked.dtype == np.float32
    assert np.flatnonzero(finite[0]).tolist() == allowed(matcher)
    assert np.array_equal(masked[finite], logits[finite])
    assert np.array_equal(apply_mask(logits[1], matcher.mask()), masked[1])


def test_a_tokenizer_without_an_end_cannot_be_constrained(tokenizer):
    with pytest.raises(GrammarError, match="ends a turn"):
        GrammarCompiler(Tokenizer(tokenizer.hf, control={}))
