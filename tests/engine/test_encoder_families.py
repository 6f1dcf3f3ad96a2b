"""Every family of encoders against transformers, on small random models: vectors of tokens, and scores of pairs."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch

from awsllm.engine.encoder import Encoder
from awsllm.engine.encoder_config import EncoderPrecision
from awsllm.engine.encoder_pairs import PairEncoder
from tests.support.random_encoders import TEXTS, VARIANTS, write

CLOSE = 1e-4
QUERY = "how do I open an account?"


@pytest.mark.parametrize("variant", VARIANTS)
def test_vectors_are_those_of_transformers(variant: str, tmp_path: Path) -> None:
    """Of all tokens of a padded batch, and so of texts cut to what the model reads; and alone as in the batch."""
    from transformers import AutoTokenizer

    reference = write(tmp_path, variant)
    encoder = Encoder.load(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert [encoder.encode(text) for text in TEXTS] == [tokenizer(text)["input_ids"] for text in TEXTS]
    batch = tokenizer(TEXTS, padding=True, truncation=True, max_length=encoder.max_tokens, return_tensors="pt")
    with torch.no_grad():
        hidden = reference(**batch).last_hidden_state
    rows = [encoder._truncate(encoder.encode(text)) for text in TEXTS]
    with torch.inference_mode():
        ours = encoder._layers(rows)
    real = batch["attention_mask"].bool()
    assert ours.shape == hidden.shape
    assert hidden[real].std() > 0.1
    torch.testing.assert_close(ours[real], hidden[real], atol=CLOSE, rtol=0)
    mask = batch["attention_mask"][..., None]
    torch.testing.assert_close(encoder.embed(TEXTS), (hidden * mask).sum(1) / mask.sum(1), atol=CLOSE, rtol=0)
    alone = torch.cat([encoder.embed([text]) for text in TEXTS])
    torch.testing.assert_close(encoder.embed(TEXTS), alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_bfloat16_is_near(variant: str, tmp_path: Path) -> None:
    write(tmp_path, variant)
    whole, half = (Encoder.load(tmp_path, precision=one).embed(TEXTS) for one in get_args(EncoderPrecision))
    assert half.dtype == torch.float32
    assert not torch.equal(whole, half)
    assert torch.nn.functional.cosine_similarity(whole, half).min() > 0.98


@pytest.mark.parametrize("variant", VARIANTS)
def test_scores_are_those_of_transformers(variant: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    reference = write(tmp_path, variant, "ForSequenceClassification", num_labels=1)
    encoder = PairEncoder.load(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    for query in (QUERY, "how do I open an account? " * 9):
        batch = tokenizer(
            [query] * len(TEXTS), TEXTS, padding=True, truncation=True, max_length=encoder.max_tokens,
            return_tensors="pt",
        )  # fmt: skip
        rows, cut = encoder.pairs(query, TEXTS)
        real = batch["attention_mask"].bool()
        assert [row for row, _ in rows] == [
            ids[kept].tolist() for ids, kept in zip(batch["input_ids"], real, strict=True)
        ]
        whole = [len(ids) for ids in tokenizer([query] * len(TEXTS), TEXTS)["input_ids"]]
        assert cut == [total - len(row) for total, (row, _) in zip(whole, rows, strict=True)]
        with torch.no_grad():
            logits = reference(**batch).logits[:, 0]
        assert logits.std() > 0.01
        torch.testing.assert_close(encoder.score_rows(rows), logits, atol=CLOSE, rtol=0)
