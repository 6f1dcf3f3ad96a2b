"""How texts, shares and sizes are shown."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from awsllm.explanation.anatomy import Peculiarities, of_decoder, of_encoder
from awsllm.explanation.words import amount, likely, percent, quoted, shown, size
from tests.support.explanations import ANATOMY


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b", "a b"),
        ("\n\t\x1b[0m", r"\n\t\x1b[0m"),
        ("\u202eabc\u200b", r"\u202eabc\u200b"),
        ("日本 é", "日本 é"),
        ("a\u2028b\ud800", r"a\u2028b\ud800"),
        ("\U000e0001", r"\U000e0001"),
    ],
)
def test_what_cannot_be_seen_is_spelt_out(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_texts_are_cut() -> None:
    assert shown("abcdef", 4) == "abc…"
    assert quoted("", 17) == "#17"
    assert likely(" " * 40, 1, 0.5) == f'"{" " * 20}…" 50.0%'


@pytest.mark.parametrize(
    ("probability", "expected"),
    [
        (0, "0.0%"),
        (1e-9, "<0.1%"),
        (0.0005, "0.1%"),
        (0.25, "25.0%"),
        (0.9994, "99.9%"),
        (0.99999, ">99.9%"),
        (1, "100.0%"),
    ],
)
def test_what_is_not_certain_is_not_shown_so(probability: float, expected: str) -> None:
    assert percent(probability) == expected


def test_amounts_and_sizes() -> None:
    assert [amount(n) for n in (999, 35136, 134515008, 1.7e9)] == ["999", "35,136", "135 M", "1.7 B"]
    assert [size(n) for n in (12, 46080, 96.6e6, 3.4e9)] == ["12 bytes", "46.1 kB", "96.6 MB", "3.4 GB"]


def test_what_a_decoder_has_is_said() -> None:
    said = " ".join(of_decoder(ANATOMY, Peculiarities(window=64, windowed=1, experts=8, used=2), 10))
    for words in (
        "2 x 1 layers x 1 heads x 4 numbers of 4 bytes = 32 bytes a token, 320 bytes for these 10, 16.4 kB for the 512",
        "In 1 of the layers a token sees the last 64 tokens only",
        "There are 8 of them, the experts, and a router chooses 2 a token",
        "2 of them share keys and values",
        "the table of embeddings, used a second time",
        "32.0 bits a parameter",
    ):
        assert words in said
    plain = " ".join(of_decoder(ANATOMY, Peculiarities(), 10))
    assert "experts" not in plain
    assert "tokens only" not in plain


def test_an_encoder_keeps_nothing() -> None:
    said = " ".join(of_encoder(replace(ANATOMY, kind="encoder"), 8))
    assert "one vector of 8 numbers" in said
    assert "no cache" in said
    assert "from the others" in said
