"""Which parts of an answer rest on which passages: the spans are of the text, follow each other and cover it."""

from __future__ import annotations

import pytest

from awsllm.server.citations import cite
from awsllm.types.retrieval import RetrievalCitation, RetrievalResult

CATS, DOGS = RetrievalResult(text="Cats sleep most of the day."), RetrievalResult(text="Dogs bark at night.")


def spans(answer: str, *results: RetrievalResult) -> list[tuple[str | None, tuple[str, ...]]]:
    text, citations = cite(answer, results)
    assert "".join(citation.text or "" for citation in citations) == (text if citations else "")
    for citation in citations:
        assert text[citation.start : citation.end] == citation.text
    return [(citation.text, tuple(one.text for one in citation.references)) for citation in citations]


def test_each_sentence_rests_on_what_holds_its_words() -> None:
    answer = "Cats sleep all day. They do sleep most. Dogs, however, bark at night! What a life."
    assert spans(answer, CATS, DOGS) == [
        ("Cats sleep all day. They do sleep most. ", (CATS.text,)),
        ("Dogs, however, bark at night! What a life.", (DOGS.text,)),
    ]
    assert spans("Well. Dogs bark.", CATS, DOGS) == [("Well. Dogs bark.", (DOGS.text,))]


def test_an_answer_in_other_words_rests_on_all() -> None:
    assert spans("Nothing alike", CATS, DOGS) == [("Nothing alike", (CATS.text, DOGS.text))]
    assert spans("", CATS) == [("", (CATS.text,))]


def test_without_passages_nothing_is_cited() -> None:
    assert cite("Cats sleep.", ()) == ("Cats sleep.", ())


def test_a_model_that_was_asked_for_its_sources_says_them() -> None:
    answer = (
        "<answer>\n<answer_part>\n<text>Felines rest. </text>\n<sources>\n<source>1</source>"
        "<source>9</source></sources>\n"
        "</answer_part><answer_part><text>The rest howl.</text><sources><source>2</source><source>1</source></sources>"
        "</answer_part></answer>"
    )
    text, citations = cite(answer, (CATS, DOGS))
    assert text == "Felines rest. The rest howl."
    assert citations == (
        RetrievalCitation(text="Felines rest. ", start=0, end=14, references=(CATS,)),
        RetrievalCitation(text="The rest howl.", start=14, end=28, references=(DOGS, CATS)),
    )


@pytest.mark.parametrize("answer", ["." * 50_000, "a" * 50_000, "\n" * 50_000, "<answer_part>" * 2_000, "a. " * 5_000])
def test_hostile_answers_are_covered_too(answer: str) -> None:
    assert "".join(text or "" for text, _ in spans(answer, CATS)) == answer
