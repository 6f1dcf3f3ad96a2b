"""The tasks of ``predict``, and the names that mean one: as users, documents, search keywords and model ids spell them.

JumpStart's ids, and the ``@task:`` keywords made from them, abbreviate (``pytorch-ic-…``, ``@task:tcembedding``);
documents and the S3 manifest write words (``Image Classification``). The abbreviations are those of the table of models
in the SageMaker SDK's documentation (2.132).
"""

from __future__ import annotations

import re

SAME = (
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
"""Groups of names that mean one task, bare."""

TASKS: dict[str, tuple[str, ...]] = {
    "text_classification": ("textclassification", "sentimentanalysis"),
    "sentence_pair_classification": ("sentencepairclassification", "sentencepair"),
    "question_answering": ("questionanswering",),
    "named_entity_recognition": ("namedentityrecognition",),
    "summarization": ("textsummarization",),
    "translation": ("machinetranslation",),
    "zero_shot_classification": ("zeroshottextclassification", "zeroshot"),
    "fill_mask": ("fillmask",),
    "text_embedding": ("textembedding", "featureextraction"),
    "image_classification": ("imageclassification",),
    "image_embedding": ("imageembedding", "imagefeatureextraction"),
    "object_detection": ("objectdetection",),
    "semantic_segmentation": ("semanticsegmentation",),
    "instance_segmentation": ("instancesegmentation",),
    "tabular_classification": ("tabularclassification", "classification", "tabtransformerclassification"),
    "tabular_regression": ("tabularregression", "regression", "tabtransformerregression"),
    "speech_recognition": ("automaticspeechrecognition", "speechtotext"),
    "forecasting": ("forecasting", "timeseriesforecasting", "timeseries"),
    "tensors": ("tensors",),
}
"""What ``predict`` does, by the name that it is told; each with a name of its group in ``SAME``, and others."""


def bare(text: str) -> str:
    """What is left of a name without case, punctuation and spaces."""
    return re.sub(r"[^a-z0-9]", "", text.casefold())


def _names() -> dict[str, str]:
    found: dict[str, str] = {}
    for task, words in TASKS.items():
        for word in (bare(task), *words):
            found |= dict.fromkeys(next((group for group in SAME if word in group), (word,)), task)
    return found


_NAMES = _names()


def canonical(text: str | None) -> str | None:
    """The task of ``TASKS`` that a name means, translation_en_to_de included; None where it is none of them."""
    plain = bare(text or "")
    found = _NAMES.get(plain) or _NAMES.get(plain.rstrip("0123456789"))  # ``od1`` is the second algorithm of one task
    return found or ("translation" if plain.startswith("translation") else None)


def of_model_id(model_id: str) -> str | None:
    """The task that JumpStart's id of a model states: FRAMEWORK-TASK-MODEL."""
    parts = model_id.split("-")
    return canonical(parts[1]) if len(parts) > 2 else None
