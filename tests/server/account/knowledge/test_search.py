"""How pieces are found: by words, by vectors, by both, with and without numpy; and what markup and filters make."""

from __future__ import annotations

import time
from typing import Any

import pytest

from awsllm.errors import ValidationError
from awsllm.server.account.knowledge import search, words
from awsllm.server.account.knowledge.filters import judge, operators
from awsllm.server.account.knowledge.markup import markup_text
from awsllm.server.account.knowledge.search import KnowledgeBase, Piece
from awsllm.types.retrieval import AllOf, AnyOf, Condition, attribute

DOCUMENTS = ["the cat sat on the mat", "the dog", "a cat and a cat", "the the the the"]


@pytest.fixture(params=["numpy", "lists"])
def arithmetic(request: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "lists":
        monkeypatch.setattr(words, "import_numpy", lambda: None)
        monkeypatch.setattr(search, "import_numpy", lambda: None)
    return str(request.param)


def found(base: KnowledgeBase, scores: Any) -> list[str]:
    return [base.pieces[number].text for number, _ in base.ranked(scores, None)]


def test_a_rare_word_tells_more_than_a_common_one(arithmetic: str) -> None:
    base = KnowledgeBase.of("b", DOCUMENTS)
    assert found(base, base.by_words("the dog"))[:2] == ["the dog", "the the the the"]
    assert found(base, base.by_words("the cat"))[:2] == ["the cat sat on the mat", "a cat and a cat"]
    assert found(base, base.by_words("Dog?"))[0] == "the dog"
    assert list(base.by_words("nothing here")) == [0, 0, 0, 0]
    assert list(base.by_words("")) == [0, 0, 0, 0]
    assert list(KnowledgeBase.of("b", []).by_words("cat")) == []
    assert 0 < max(base.by_words("cat")) < 1


def test_both_ways_of_computing_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    def scores() -> list[list[float]]:
        base = KnowledgeBase.of("b", DOCUMENTS)
        base.set_vectors([[3, 4], [0, 1], [1, 0], [0, 0]])
        return [list(base.by_words("the cat")), list(base.by_vector([2, 0])), list(base.by_both("the cat", [2, 0]))]

    by_numpy = scores()
    monkeypatch.setattr(words, "import_numpy", lambda: None)
    monkeypatch.setattr(search, "import_numpy", lambda: None)
    for one, other in zip(by_numpy, scores(), strict=True):
        assert one == pytest.approx(other)
    assert by_numpy[1] == pytest.approx([0.6, 0, 1, 0])


def test_both_scores_count_alike(arithmetic: str) -> None:
    """The nearest by its vector has no word of the query, the one with the words is far: one that has some of both is
    first."""
    base = KnowledgeBase.of("b", ["near", "query words", "query near"])
    base.set_vectors([[1, 0], [0, 1], [0.9, 0.1]])
    assert found(base, base.by_both("query words", [1, 0]))[0] == "query near"


def test_of_one_parent_the_best_piece_counts() -> None:
    pieces = [Piece(text, "s3://b/a", {}, parent=("p", "a whole")) for text in ("cat", "cat cat dog")]
    base = KnowledgeBase("b", [*pieces, Piece("cow", "s3://b/b", {})])
    ranked = base.ranked(base.by_words("cat"), None)
    assert [base.result(*one).text for one in ranked] == ["a whole", "cow"]


YEAR = {"year": 1990, "genre": "essay", "tags": ["a", "b"], "free": True}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (attribute("year") == 1990, True),
        (attribute("year") != 1990, False),
        (attribute("other") != 1990, True),
        (attribute("other") == 1990, False),
        (attribute("year") > 1989, True),
        (attribute("year") >= 1990, True),
        (attribute("year") < 1990, False),
        (attribute("year") <= 1990, True),
        (attribute("year").is_in(1, 1990), True),
        (attribute("year").is_not_in(1, 1990), False),
        (attribute("other").is_not_in(1), True),
        (attribute("genre").starts_with("ess"), True),
        (attribute("year").starts_with("1"), False),
        (attribute("genre").contains("ssa"), True),
        (attribute("tags").contains("b"), True),
        (attribute("tags").has_member("c"), False),
        (attribute("free") == 1, False),
        (attribute("free") != 1, True),
        (attribute("free").is_in(1, 2), False),
        (attribute("free").is_not_in(1, 2), True),
        (attribute("free").is_in(True), True),
        (AllOf((attribute("free") == True, attribute("year") > 1)), True),  # noqa: E712
        (AnyOf((attribute("free") == False, attribute("year") > 1)), True),  # noqa: E712
        (AllOf((AnyOf((attribute("year") > 1990, attribute("genre") == "x")), attribute("year") > 1)), False),
    ],
)
def test_filters(condition: Any, holds: bool) -> None:
    assert judge(condition)(YEAR) is holds


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValidationError, match="greaterThan cannot compare the attribute genre"):
        judge(attribute("genre") > 3)(YEAR)
    for operator, key, value in (("in", "genre", "essays"), ("notIn", "genre", "x"), ("lessThan", "free", 2)):
        with pytest.raises(ValidationError, match=f"{operator} cannot compare the attribute {key}"):
            judge(Condition(operator, key, value))(YEAR)
    assert operators(AllOf((Condition("in", "a", []), AnyOf((attribute("b") == 1, attribute("c") > 1))))) == {
        "in",
        "equals",
        "greaterThan",
    }


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<p>a<p>b", "a\n\nb"),
        ("a<br>b<BR/>c", "a\nb\nc"),
        ("<ul><li>a</li><li>b</li></ul>", "a\n\nb"),
        ("<head><title>t</title><style>s</style></head><body>b</body>", "b"),
        ("a<script>never closed <body>b", "a"),
        ("a<!-- never closed", "a"),
        ('a<b title="never closed>b', "a"),
        ("<head><meta><body>b", "b"),
        ("&lt;b&gt; &amp;amp; &#x41;", "<b> &amp; A"),
        ("<script>a</script >b<svg><text>c</text></svg>", "b"),
        ("plain", "plain"),
        ("<", "<"),
        ("<a href='https://x.example/'>link</a>", "link"),
    ],
)
def test_markup(source: str, text: str) -> None:
    assert markup_text(source) == text


@pytest.mark.parametrize(
    "source",
    ["<p" * 100_000, "<p>" * 100_000, "<!--" * 100_000, "&" * 100_000, "<a b=" * 100_000, "<script>" * 100_000],
)
def test_hostile_markup_is_read_in_a_time_that_grows_as_it_does(source: str) -> None:
    began = time.thread_time()
    markup_text(source)
    assert time.thread_time() - began < 10
