"""Sentence vectors equal those of transformers' BertModel with sentence-transformers' pooling on the same weights."""

import json
import os
import shutil

import pytest
import torch

from awsllm.engine.encoder import Encoder, EncoderError
from awsllm.store import Store

TEXTS = [
    "A man is eating food.",
    "",
    "Grüße aus Zürich 👋, naïve café — 東京タワー",
    "word " * 400,
    "def f(x):\n    return x ** 2  # code\n",
    "[CLS] looks like a token [SEP] [PAD]",
    *(f"sentence number {n} " * n for n in range(0, 40, 3)),
]


@pytest.fixture(scope="session")
def minilm():
    return Store().path("all-minilm-l6-v2")


@pytest.fixture(scope="session")
def encoder(minilm):
    return Encoder.load(minilm)


def test_vectors_equal_the_reference(minilm, encoder):
    from transformers import AutoTokenizer, BertModel

    reference = BertModel.from_pretrained(minilm, local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(minilm, local_files_only=True)
    batch = tokenizer(TEXTS, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        hidden = reference(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None].float()
    expected = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9), dim=1)
    vectors = encoder.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), 384)
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=0)
    full = [tokenizer(text)["input_ids"] for text in TEXTS]
    assert [encoder.encode(text) for text in TEXTS] == full


def test_a_text_alone_has_the_vector_it_has_in_a_batch(encoder):
    together = encoder.embed(TEXTS[:5])
    alone = torch.cat([encoder.embed([text]) for text in TEXTS[:5]])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)


def test_near_texts_are_near(encoder):
    food, pasta, plane = encoder.embed(
        ["Someone eats pasta.", "A person is having spaghetti.", "The plane landed late."]
    )
    assert food @ pasta > 0.6 > 0.2 > food @ plane


def test_no_texts_give_no_vectors(encoder):
    assert encoder.embed([]).shape == (0, 384)


@pytest.fixture
def copy(minilm, tmp_path):
    """The model's directory with one file changed."""

    def change(name, **members):
        shutil.copytree(minilm, tmp_path / "m", copy_function=os.symlink)
        data = json.loads((tmp_path / "m" / name).read_text())
        (tmp_path / "m" / name).unlink()
        (tmp_path / "m" / name).write_text(json.dumps({**data, **members}))
        return tmp_path / "m"

    return change


@pytest.mark.parametrize(
    ("name", "members", "named"),
    [
        ("config.json", {"model_type": "electra"}, "electra.*supported are bert, roberta"),
        ("config.json", {"hidden_act": "quick_gelu"}, "quick_gelu"),
        ("config.json", {"position_embedding_type": "relative_key"}, "relative_key"),
        ("config.json", {"is_decoder": True}, "is_decoder"),
        ("config.json", {"alibi": True}, "alibi.*not known"),
        ("config.json", {"num_hidden_layers": 7}, "encoder.layer.6"),
        ("config.json", {"num_hidden_layers": 5}, "encoder.layer.5"),
        ("config.json", {"vocab_size": 30000}, "tokenizer has 30,522 tokens"),
        ("config.json", {"vocab_size": 40000}, "30,522 tokens"),
        ("1_Pooling/config.json", {"pooling_mode_median": True}, "pooling"),
        ("1_Pooling/config.json", {"pooling_mode": ["mean", "median"]}, "median"),
        ("sentence_bert_config.json", {"query_length": 32}, "query_length"),
    ],
)
def test_another_shape_is_refused_by_name(copy, name, members, named):
    with pytest.raises(EncoderError, match=named):
        Encoder.load(copy(name, **members))


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("config.json", {"num_hidden_layers": "6"}),
        ("config.json", {"num_attention_heads": 5}),
        ("config.json", {"num_attention_heads": 0}),
        ("config.json", {"hidden_size": [384]}),
        ("config.json", {"hidden_act": ["gelu"]}),
        ("config.json", {"max_position_embeddings": None}),
        ("config.json", {"pad_token_id": "x"}),
        ("sentence_bert_config.json", {"max_seq_length": None}),
        ("sentence_bert_config.json", {"max_seq_length": {}}),
    ],
)
def test_values_of_a_wrong_type_are_refused_when_loaded(copy, name, members):
    try:
        encoder = Encoder.load(copy(name, **members))
    except EncoderError:
        return
    assert encoder.embed(["a", "a longer text"]).isfinite().all()


def test_more_tokens_than_positions_are_refused(copy):
    path = copy("config.json", max_position_embeddings=1024)
    (path / "sentence_bert_config.json").unlink()
    (path / "sentence_bert_config.json").write_text('{"max_seq_length": 1024}')
    with pytest.raises(EncoderError, match="512 positions for 1024 tokens"):
        Encoder.load(path)


def test_cls_pooling_takes_the_first_token(copy):
    path = copy("1_Pooling/config.json", pooling_mode_mean_tokens=False, pooling_mode_cls_token=True)
    [vector] = Encoder.load(path).embed(["x"])
    assert vector.norm().item() == pytest.approx(1, abs=1e-5)


def test_a_directory_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(EncoderError, match=r"config\.json"):
        Encoder.load(tmp_path)


def test_cut_weights_are_refused(copy):
    path = copy("config.json")
    whole = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").unlink()
    (path / "model.safetensors").write_bytes(whole[:100_000])
    with pytest.raises(EncoderError, match=r"model\.safetensors"):
        Encoder.load(path)
