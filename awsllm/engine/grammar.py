"""Constrained decoding: at each step, which tokens can still lead to an answer that satisfies a grammar.

llguidance compiles a JSON schema or a Lark grammar and follows the bytes of the tokens that were chosen; per step it
gives a packed mask, bit ``i % 32`` of word ``i // 32`` for token ``i``. The tokens that end a turn are in the mask
exactly where the grammar may end. JSON is written as ``json.dumps`` would write it, one space after comma and colon and
none elsewhere: a free choice of white space is a loop that small models do not leave.

A schema with a keyword that cannot be expressed is refused rather than loosened, so an answer that was not cut off
always validates. A format that is not known judges nothing, as JSON schema has it, and is left out.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import llguidance
import numpy as np

if TYPE_CHECKING:
    from awsllm.engine.interface import Words
    from awsllm.engine.tokenizer import Tokenizer

# lenient: what cannot be expressed is a warning, which tells the kinds apart; all but formats are refused here.
_JSON_STYLE: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "lenient": True}
_NO_MATTER = "Unknown format"
_CACHED = 64  # compiled grammars kept; a server sees the same tools again and again


class GrammarError(ValueError):
    """The grammar cannot be compiled (says which part), or a token was forced on it that it does not allow."""


class Matcher:
    """The state of one generation under a grammar. Not safe to share between threads."""

    def __init__(self, matcher: llguidance.LLMatcher, vocab_size: int) -> None:
        self._matcher = matcher
        self._mask = np.zeros((vocab_size + 31) // 32, np.int32)

    def mask(self) -> Words:
        """Tokens allowed next: packed int32 ``(ceil(V / 32),)``. The array is reused by the next call."""
        self._matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
        self._raise_error()
        return self._mask

    def advance(self, token_id: int) -> None:
        """Follow the token that was chosen. Raises GrammarError where the mask did not allow it."""
        self._matcher.consume_token(token_id)
        self._raise_error()

    @property
    def finished(self) -> bool:
        """Nothing more may follow: the answer is whole."""
        return bool(self._matcher.is_stopped())

    @property
    def complete(self) -> bool:
        """The answer may end here, though more may follow."""
        return bool(self._matcher.is_accepting())

    def _raise_error(self) -> None:
        if self._matcher.is_error():
            raise GrammarError(f"the grammar cannot go on: {_first_line(self._matcher.get_error())}")


class GrammarCompiler:
    """Compiles grammars for one tokenizer. Safe to share between threads."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        if not tokenizer.eos_ids:
            raise GrammarError("the tokenizer names no token that ends a turn")
        self._vocab_size = tokenizer.vocab_size
        self._tokenizer = llguidance.LLTokenizer(tokenizer.hf.to_str(), eos_token=sorted(tokenizer.eos_ids))
        self._compiled: OrderedDict[str, llguidance.LLMatcher] = OrderedDict()
        self._lock = threading.Lock()

    def is_special(self, token_id: int) -> bool:
        """Whether no text of a grammar matches the token, so that it must be named by its number (``<[5]>``). So are
        control tokens, and of those that were added later all of the form ``<…>``."""
        return bool(self._tokenizer.is_special_token(token_id))

    def json_schema(self, schema: dict[str, Any]) -> Matcher:
        """A matcher of the JSON values that satisfy the schema."""
        try:
            source = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=_JSON_STYLE)
        except (TypeError, ValueError) as error:
            raise GrammarError(f"not a JSON schema: {error}") from error
        return self._matcher(source, "the JSON schema")

    def lark(self, text: str) -> Matcher:
        """A matcher of a Lark grammar in llguidance's dialect (``%json {...}`` for parts given by a schema)."""
        return self._matcher(llguidance.LLMatcher.grammar_from_lark(text), "the grammar")

    def _matcher(self, source: str, what: str) -> Matcher:
        with self._lock:
            pristine = self._compiled.pop(source, None)
            if pristine is not None:
                self._compiled[source] = pristine
        if pristine is None:
            pristine = self._compile(source, what)
        return Matcher(pristine.deep_copy(), self._vocab_size)

    def _compile(self, source: str, what: str) -> llguidance.LLMatcher:
        failed, messages = llguidance.LLMatcher.validate_grammar_with_warnings(source, self._tokenizer)
        if refused := messages if failed else [message for message in messages if not message.startswith(_NO_MATTER)]:
            raise GrammarError(f"{what} cannot be used for constrained decoding: {_first_line(refused[0])}")
        matcher = llguidance.LLMatcher(self._tokenizer, source, log_level=0)
        if matcher.is_error():
            raise GrammarError(f"{what} cannot be compiled: {_first_line(matcher.get_error())}")
        with self._lock:
            self._compiled[source] = matcher
            while len(self._compiled) > _CACHED:
                self._compiled.popitem(last=False)
        return matcher


def json_rule(schema: dict[str, Any]) -> str:
    """The schema as a terminal of a Lark grammar, in this module's JSON style."""
    return "%json " + json.dumps({**schema, "x-guidance": {**_JSON_STYLE, **schema.get("x-guidance", {})}})


def _first_line(message: str) -> str:
    """What a compiler message says: its last 'error:' line, or its first line; the source it quotes is left out."""
    lines = [line.strip() for line in message.strip().splitlines() if line.strip()]
    named = [line for line in lines if line.startswith("error:")]
    return " ".join(lines[:1] + named) if lines else "no reason given"
