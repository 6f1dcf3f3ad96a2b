"""Which parts of an answer rest on which of the passages that were found.

A model that was asked for it says so: ``FORMAT`` is what ``$output_format_instructions$`` asks for, the shape of the
service's own default prompts. Of any other answer each sentence rests on the passages that hold most of its words; of
an answer without a word of any passage the whole rests on all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from awsllm.server.account.knowledge.words import words
from awsllm.types.retrieval import RetrievalCitation, RetrievalResult

FORMAT = (
    "Write the answer in this format; the sources of a part are the numbers of the search results that it rests on:\n"
    "<answer><answer_part><text>first part</text><sources><source>1</source></sources></answer_part></answer>"
)

_CitedText: TypeAlias = tuple[str, tuple[RetrievalResult, ...]]
_PART = re.compile(r"<answer_part>\s*<text>(.*?)</text>\s*(?:<sources>(.*?)</sources>)?", re.DOTALL)
_SOURCE = re.compile(r"<source>\s*(\d{1,4})\s*</source>")
_SENTENCE = re.compile("[^.!?\u3002\uff01\uff1f\n]*[.!?\u3002\uff01\uff1f\n]*[\"')\\]\u201d\u2019]*\\s*")
_ENOUGH = 0.5  # of a sentence's words
_TELLING = 4  # letters of a word that is counted, where the sentence has such words


def cite(answer: str, results: Sequence[RetrievalResult]) -> tuple[str, tuple[RetrievalCitation, ...]]:
    """The answer's text, and its citations: their spans follow each other and are of this text."""
    if not results:
        return answer, ()
    if parts := _PART.findall(answer):
        stated = [(text, _stated(sources, results)) for text, sources in parts]
        return "".join(text for text, _ in stated), tuple(_placed(stated))
    found = [(sentence, _resting(sentence, results)) for sentence in _SENTENCE.findall(answer) if sentence]
    if not any(references for _, references in found):
        found = [(answer, tuple(results))]
    return answer, tuple(_placed(_joined(found)))


def _stated(sources: str, results: Sequence[RetrievalResult]) -> tuple[RetrievalResult, ...]:
    numbers = [int(number) for number in _SOURCE.findall(sources)]
    return tuple(results[number - 1] for number in numbers if 0 < number <= len(results))


def _resting(sentence: str, results: Sequence[RetrievalResult]) -> tuple[RetrievalResult, ...]:
    said = set(words(sentence))
    said = {word for word in said if len(word) >= _TELLING} or said
    if not said:
        return ()
    shares = [len(said & set(words(result.text))) / len(said) for result in results]
    best = max(shares)
    return tuple(result for result, share in zip(results, shares, strict=True) if share >= max(_ENOUGH, best))


def _joined(parts: Sequence[_CitedText]) -> Iterator[_CitedText]:
    """Neighbours that rest on the same are one; what rests on nothing goes with what is before it."""
    text, references = parts[0]
    for sentence, others in parts[1:]:
        if not others or others == references:
            text += sentence
        elif not references:
            text, references = text + sentence, others
        else:
            yield text, references
            text, references = sentence, others
    yield text, references


def _placed(
    parts: Iterable[_CitedText],
) -> Iterator[RetrievalCitation]:
    start = 0
    for text, references in parts:
        yield RetrievalCitation(text=text, start=start, end=start + len(text), references=references)
        start += len(text)
