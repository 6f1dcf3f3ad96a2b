"""Names of tasks that mean one: as users, search keywords, documents and model ids spell them.

JumpStart's ids, and the ``@task:`` keywords made from them, abbreviate (``pytorch-ic-…``, ``@task:tcembedding``);
documents and the S3 manifest write words (``Image Classification``). The abbreviations are those of the table of models
in the SageMaker SDK's documentation (2.132).
"""

from __future__ import annotations

import re

_SAME = (
    ("textgeneration", "llm"),
    ("text2textgeneration", "text2text"),
    ("textembedding", "tcembedding", "sentencesimilarity"),
    ("textclassification", "tc"),
    ("zeroshottextclassification", "zeroshotclassification", "zstc"),
    ("sentencepairclassification", "spc"),
    ("questionanswering", "extractivequestionanswering", "eqa"),
    ("namedentityrecognition", "tokenclassification", "ner"),
    ("textsummarization", "summarization"),
    ("machinetranslation", "translation"),
    ("imageclassification", "ic"),
    ("imageembedding", "imagefeaturevector", "icembedding"),
    ("objectdetection", "od"),
    ("semanticsegmentation", "semseg"),
    ("instancesegmentation", "is"),
    ("texttoimage", "txt2img", "imagegeneration"),
    ("imageinpainting", "inpainting"),
    ("imageupscaling", "upscaling"),
    ("automaticspeechrecognition", "speechrecognition", "asr"),
)
_GROUPS = {name: group for group in _SAME for name in group}
_ABBREVIATION = 4  # letters at most: what is so short is a whole word or nothing


def bare(text: str) -> str:
    """What is left of a name without case, punctuation and spaces."""
    return re.sub(r"[^a-z0-9]", "", text.casefold())


def matches(wanted: str, words: tuple[str, ...]) -> bool:
    """Whether one of the words, or a part of a model's id, names the task or begins to."""
    plain = bare(wanted)
    known = [bare(word) for word in words]
    return any(_is_named(name, one) for name in _GROUPS.get(plain, (plain,)) for one in known)


def _is_named(name: str, word: str) -> bool:
    if len(name) <= _ABBREVIATION:
        return word.rstrip("0123456789") == name  # ``od1`` is the second algorithm of one task
    return name in word
