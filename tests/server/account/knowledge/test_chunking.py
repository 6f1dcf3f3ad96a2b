"""A text in pieces: what each strategy makes of it, and that nothing of the text is lost or changed."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

import pytest

from awsllm.server.account.knowledge.chunking import Cut, UncuttableError, cut

STORY = "Cats sleep. Dogs bark at night. Cows eat grass all day. Hens lay eggs."


def fixed(tokens: int, overlap: int) -> Any:
    how = {"maxTokens": tokens, "overlapPercentage": overlap}
    return {"chunkingStrategy": "FIXED_SIZE", "fixedSizeChunkingConfiguration": how}


def hierarchical(large: int, small: int, overlap: int) -> Any:
    how = {"levelConfigurations": [{"maxTokens": large}, {"maxTokens": small}], "overlapTokens": overlap}
    return {"chunkingStrategy": "HIERARCHICAL", "hierarchicalChunkingConfiguration": how}


def semantic(percentile: int, most: int = 300, beside: int = 0) -> Any:
    how = {"maxTokens": most, "bufferSize": beside, "breakpointPercentileThreshold": percentile}
    return {"chunkingStrategy": "SEMANTIC", "semanticChunkingConfiguration": how}


def pieces(text: str, configuration: Any = None, embed: Any = None) -> list[str]:
    return [one.text for one in cut(text, configuration, embed)]


def test_without_a_strategy_a_piece_is_about_300_tokens_of_whole_sentences() -> None:
    sentence = "This one has seven words in it."  # eight tokens
    made = pieces(" ".join([sentence] * 100))
    assert [piece.count(sentence) for piece in made] == [37, 37, 26]
    assert all(piece == " ".join([sentence] * piece.count(sentence)) for piece in made)
    assert pieces("Short.") == ["Short."]
    assert pieces(" \n") == []


def test_fixed_sizes_share_their_ends() -> None:
    assert pieces(STORY, fixed(9, 1)) == [
        "Cats sleep. Dogs bark at night.",
        "Cows eat grass all day.",
        "Hens lay eggs.",
    ]
    words = " ".join(map(str, range(10)))
    assert pieces(words, fixed(4, 50)) == ["0 1 2 3", "2 3 4 5", "4 5 6 7", "6 7 8 9"]


def test_a_paragraph_ends_a_sentence_and_so_do_the_marks_of_other_scripts() -> None:
    assert pieces("One two\n\nthree four five", fixed(4, 1)) == ["One two", "three four five"]
    assert pieces("\u732b\u3002\u72ac\u3002\u725b", fixed(3, 1)) == ["\u732b\u3002", "\u72ac\u3002\u725b"]
    assert pieces('He said "no." She went', fixed(6, 1)) == ['He said "no."', "She went"]


def test_small_pieces_have_large_ones_around_them() -> None:
    assert cut(STORY, hierarchical(9, 4, 1)) == [
        Cut("Cats sleep.", "Cats sleep. Dogs bark at night."),
        Cut(". Dogs bark at", "Cats sleep. Dogs bark at night."),
        Cut("at night.", "Cats sleep. Dogs bark at night."),
        Cut(". Cows eat grass", ". Cows eat grass all day."),
        Cut("grass all day.", ". Cows eat grass all day."),
        Cut(". Hens lay eggs", ". Hens lay eggs."),
        Cut("eggs.", ". Hens lay eggs."),
    ]


def test_by_meaning_a_text_is_cut_where_neighbours_differ_most() -> None:
    text = "Cats purr. Cats sleep. Stocks fell. Stocks rose."
    vectors = {"Cats": [1.0, 0.0], "Stoc": [0.0, 1.0]}
    made = pieces(text, semantic(50), lambda texts: [vectors[one[:4]] for one in texts])
    assert made == ["Cats purr. Cats sleep.", "Stocks fell. Stocks rose."]
    assert pieces(text, semantic(50)) == made  # by words
    assert pieces(text, semantic(99)) == [text]
    assert pieces(text, semantic(99, most=4)) == ["Cats purr.", "Cats sleep.", "Stocks fell.", "Stocks rose."]
    seen: list[str] = []

    def embed(texts: Sequence[str]) -> list[list[float]]:
        seen.extend(texts)
        return [[1.0]] * len(texts)

    pieces(text, semantic(50, beside=1), embed)
    assert seen[:2] == ["Cats purr. Cats sleep.", "Cats purr. Cats sleep. Stocks fell."]


def test_a_text_too_long_to_be_cut_by_meaning() -> None:
    with pytest.raises(UncuttableError, match="exceeds size limit of 1000000 for semantic chunking"):
        cut("a" * 1_000_001, semantic(50))


def test_no_strategy_at_all() -> None:
    assert pieces(f" {STORY}\n", {"chunkingStrategy": "NONE"}) == [STORY]
    assert pieces(" ", {"chunkingStrategy": "NONE"}) == []


@pytest.mark.parametrize("seed", range(20))
def test_pieces_follow_each_other_through_the_whole_text(seed: int) -> None:
    """Each is a slice; where they share nothing, there is but space between two of them."""
    chance = random.Random(seed)
    text = "".join(chance.choice(["word", " ", " ", ".", "\n\n", "?", "“", "ü", "b1", ","]) for _ in range(400))
    size, overlap = chance.randint(1, 30), chance.randint(1, 99)
    for configuration in (None, fixed(size, overlap), semantic(50, size), hierarchical(size + 1, size, 1)):
        place = 0
        for piece in cut(text, configuration):
            whole = piece.parent or piece.text
            assert piece.text in whole
            start = text.find(whole)
            assert start >= 0
            if configuration is None or configuration["chunkingStrategy"] == "SEMANTIC":
                assert not text[place : text.find(whole, place)].strip()
                place = text.find(whole, place) + len(whole)


@pytest.mark.parametrize("text", ["a " * 50_000, "." * 50_000, "a." * 50_000, "\n\n" * 50_000, "x" * 500_000])
def test_a_long_text_is_cut_in_a_time_that_grows_as_it_does(text: str) -> None:
    began = time.thread_time()
    pieces(text, fixed(300, 99))
    pieces(text)
    assert time.thread_time() - began < 20
