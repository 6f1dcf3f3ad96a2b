"""Directories as sentence-transformers writes them, of version 6 and of earlier ones, and what of them is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from awsllm.engine.encoder import Encoder, EncoderError
from awsllm.engine.encoder_config import kind_of
from awsllm.engine.encoder_pairs import PairEncoder
from tests.support import random_models
from tests.support.random_encoders import TEXTS, write, write_tokenizer

Make = Callable[..., Path]

# The types as 6.2 and as 2 write them.
NEW = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
    "LayerNorm": "sentence_transformers.sentence_transformer.modules.layer_norm.LayerNorm",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
    "Router": "sentence_transformers.base.modules.router.Router",
}
OLD = {name: f"sentence_transformers.models.{name}" for name in (*NEW, "Dropout", "Asym", "CNN")}


SAVED = {  # what 6.2 writes of the Transformer
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
}


def save(directory: Path, modules: list[tuple[str, dict[str, Any]]], kinds: dict[str, str] = NEW) -> None:
    """Modules and their configurations behind a Transformer whose files lie in the directory itself."""
    listed = [{"idx": 0, "name": "0", "path": "", "type": kinds["Transformer"]}]
    for n, (kind, config) in enumerate(modules, 1):
        listed.append({"idx": n, "name": str(n), "path": f"{n}_{kind}", "type": kinds[kind]})
        (directory / f"{n}_{kind}").mkdir()
        (directory / f"{n}_{kind}" / "config.json").write_text(json.dumps(config))
    (directory / "modules.json").write_text(json.dumps(listed))


def change(path: Path, **members: Any) -> None:
    data = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**data, **members}))


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    write(tmp_path, "bert")
    return tmp_path


@pytest.fixture
def token_vectors(bert: Path) -> list[Tensor]:
    """Those of each text by itself, (T, C), from a model without modules."""
    encoder = Encoder.load(bert)
    with torch.inference_mode():
        return [encoder._layers([encoder._truncate(encoder.encode(text))])[0] for text in TEXTS]


def expected(vectors: list[Tensor], pool: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.stack([pool(one) for one in vectors])


POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "cls": lambda x: x[0],
    "lasttoken": lambda x: x[-1],
    "max": lambda x: x.amax(0),
    "mean": lambda x: x.mean(0),
    "mean_sqrt_len_tokens": lambda x: x.sum(0) / len(x) ** 0.5,
    "weightedmean": lambda x: (x * torch.arange(1.0, len(x) + 1)[:, None]).sum(0) / (len(x) * (len(x) + 1) / 2),
}


@pytest.mark.parametrize("way", POOLS)
def test_tokens_are_pooled_in_each_way(way: str, bert: Path, token_vectors: list[Tensor]) -> None:
    save(bert, [("Pooling", {"embedding_dimension": 64, "pooling_mode": way, "include_prompt": True})])
    torch.testing.assert_close(Encoder.load(bert).embed(TEXTS), expected(token_vectors, POOLS[way]), atol=1e-4, rtol=0)


def test_several_ways_are_joined_and_earlier_versions_name_them_otherwise(
    bert: Path, token_vectors: list[Tensor]
) -> None:
    keys = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True, "pooling_mode_lasttoken": False}
    save(bert, [("Pooling", {"word_embedding_dimension": 64, **keys}), ("Normalize", {})], OLD)
    encoder = Encoder.load(bert)
    joined = expected(token_vectors, lambda x: functional.normalize(torch.cat((x[0], x.mean(0))), dim=0))
    torch.testing.assert_close(encoder.embed(TEXTS), joined, atol=1e-5, rtol=0)
    assert (encoder.dimensions, encoder.normalizes) == (128, True)


@pytest.mark.parametrize("residual", [False, True])
def test_vectors_are_mapped_and_scaled(residual: bool, bert: Path, token_vectors: list[Tensor]) -> None:
    dense = {"in_features": 64, "out_features": 32, "activation_function": "torch.nn.modules.activation.Tanh"}
    save(
        bert,
        [("Pooling", {"pooling_mode": "mean"}), ("Dense", {**dense, "use_residual": residual}), ("LayerNorm", {})],
    )
    weight, bias, around, norm = torch.randn(32, 64) / 8, torch.randn(32), torch.randn(32, 64) / 8, torch.randn(32)
    extra = {"residual.weight": around} if residual else {}
    save_file({"linear.weight": weight, "linear.bias": bias, **extra}, bert / "2_Dense/model.safetensors")
    save_file({"norm.weight": norm, "norm.bias": bias}, bert / "3_LayerNorm/model.safetensors")
    encoder = Encoder.load(bert)

    def mapped(x: Tensor) -> Tensor:
        out = torch.tanh(weight @ x.mean(0) + bias) + (around @ x.mean(0) if residual else 0)
        return functional.layer_norm(out, (32,), norm, bias)

    torch.testing.assert_close(encoder.embed(TEXTS), expected(token_vectors, mapped), atol=1e-4, rtol=0)
    assert encoder.dimensions == 32


def test_a_prompt_may_be_left_out_of_the_mean(bert: Path) -> None:
    save(bert, [("Pooling", {"pooling_mode": "mean", "include_prompt": False})])
    prompts = {"prompts": {"query": "the fox: ", "document": None}, "default_prompt_name": "query"}
    change(bert / "config_sentence_transformers.json", **prompts)
    encoder = Encoder.load(bert)
    assert (encoder.prompts, encoder.default_prompt) == ({"query": "the fox: ", "document": ""}, "query")
    count = encoder.prompt_tokens("the fox: ")
    row = encoder.encode("the fox: eats food")
    assert encoder.encode("the fox:")[:-1] == row[:count]
    with torch.inference_mode():
        rest = encoder._layers([row])[0, count:].mean(0)
    torch.testing.assert_close(encoder.embed_ids([row], prompt_tokens=count)[0], rest, atol=1e-5, rtol=0)


def test_vectors_are_cut_where_the_model_says_so(bert: Path) -> None:
    save(bert, [("Pooling", {"pooling_mode": "mean"}), ("Normalize", {})])
    change(bert / "sentence_bert_config.json", **SAVED)
    whole = Encoder.load(bert)
    assert (whole.dimensions, whole.sizes) == (64, ())
    first = functional.normalize(whole.embed(TEXTS)[:, :16], dim=-1)
    change(bert / "config.json", matryoshka_dimensions=[64, 16])
    cut = Encoder.load(bert)
    assert (cut.dimensions, cut.sizes) == (64, (64, 16))
    torch.testing.assert_close(cut.embed_ids(cut.encode_all(TEXTS), size=16), first, atol=1e-6, rtol=0)
    change(bert / "config_sentence_transformers.json", truncate_dim=16)
    always = Encoder.load(bert)
    assert always.dimensions == 16
    torch.testing.assert_close(always.embed(TEXTS), first, atol=1e-6, rtol=0)


def test_limits_and_small_letters_are_heeded(bert: Path) -> None:
    assert Encoder.load(bert).max_tokens == 60  # the tokenizer's
    change(bert / "sentence_bert_config.json", max_seq_length=7, do_lower_case=True)
    encoder = Encoder.load(bert)
    assert encoder.max_tokens == 7
    long = "the quick brown fox jumps over the lazy dog"
    kept = encoder._truncate(encoder.encode(long))
    assert len(kept) == 7
    assert kept == [*encoder.encode(long)[:6], encoder.encode("")[-1]]
    torch.testing.assert_close(encoder.embed([long.upper()]), encoder.embed([long]))
    change(bert / "tokenizer_config.json", truncation_side="left")
    last = Encoder.load(bert)
    assert last._truncate(last.encode(long)) == [kept[0], *encoder.encode(long)[-6:]]


def test_the_transformer_may_lie_in_a_folder(bert: Path) -> None:
    plain = Encoder.load(bert).embed(TEXTS)
    names = [file.name for file in bert.iterdir()]
    save(bert, [("Pooling", {"pooling_mode_mean_tokens": True})], OLD)
    listed = json.loads((bert / "modules.json").read_text())
    listed[0]["path"] = "0_Transformer"
    (bert / "modules.json").write_text(json.dumps(listed))
    (bert / "0_Transformer").mkdir()
    for name in names:
        (bert / name).rename(bert / "0_Transformer" / name)
    assert kind_of(bert) == "embed"
    torch.testing.assert_close(Encoder.load(bert).embed(TEXTS), plain)


def test_weights_may_be_in_parts_and_by_old_names(bert: Path) -> None:
    plain = Encoder.load(bert).embed(TEXTS)
    tensors = load_file(bert / "model.safetensors")
    (bert / "model.safetensors").unlink()
    renamed = {
        f"bert.{name}".replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): one
        for name, one in tensors.items()
    }
    parts: dict[str, dict[str, Tensor]] = {"a.safetensors": {}, "b.safetensors": {}}
    for n, (name, one) in enumerate(renamed.items()):
        parts[list(parts)[n % 2]][name] = one
    for file, part in parts.items():
        save_file(part, bert / file)
    index = {name: file for file, part in parts.items() for name in part}
    change(bert / "model.safetensors.index.json", weight_map=index)
    torch.testing.assert_close(Encoder.load(bert).embed(TEXTS), plain)
    change(bert / "model.safetensors.index.json", weight_map={"x": "../model.safetensors"})
    with pytest.raises(EncoderError, match="does not map tensors to files"):
        Encoder.load(bert)


JUNK: list[Any] = [None, True, -1, 0, 10**30, 1.5, "x", [], {"x": []}]
POOLING = ("Pooling", {"pooling_mode": "mean"})


@pytest.mark.parametrize(
    ("modules", "kinds", "named"),
    [
        ([("Router", {})], NEW, r"several models \(Router\)"),
        ([("Asym", {})], OLD, r"several models \(Asym\)"),
        ([("Normalize", {})], NEW, "'Normalize' where a Pooling is expected"),
        ([POOLING, ("CNN", {})], OLD, "'CNN' is not supported behind Pooling"),
        ([POOLING, ("Dense", {"activation_function": "os.system"})], NEW, "os.system"),
        ([POOLING, ("Dense", {})], NEW, r"model\.safetensors"),
        ([POOLING, ("Normalize", {"module_input_name": "token_embeddings"})], NEW, "token_embeddings"),
        ([("Pooling", {"pooling_mode": "median"})], NEW, "median"),
        ([POOLING], {**OLD, "Pooling": "custom.Pooling"}, "whose code is not loaded"),
        ([], NEW, "has no Pooling"),
    ],
)
def test_modules_that_are_not_known_are_refused(
    modules: list[tuple[str, dict[str, Any]]], kinds: dict[str, str], named: str, bert: Path
) -> None:
    save(bert, modules, kinds)
    with pytest.raises(EncoderError, match=named):
        Encoder.load(bert)


@pytest.mark.parametrize(
    "listed",
    [
        {},
        [],
        [{"type": "sentence_transformers.models.Transformer"}],
        [{"type": "sentence_transformers.models.Transformer", "path": "../elsewhere"}],
        [{"type": "sentence_transformers.models.Transformer", "path": "/etc"}],
        [{"type": "sentence_transformers.models.Transformer", "path": ""}] * 40,
    ],
)
def test_a_list_of_modules_that_leads_elsewhere_is_refused(listed: Any, bert: Path) -> None:
    (bert / "modules.json").write_text(json.dumps(listed))
    with pytest.raises(EncoderError, match=r"modules\.json"):
        Encoder.load(bert)


@pytest.mark.parametrize(
    ("file", "members", "named"),
    [
        ("config_sentence_transformers.json", {"default_prompt_name": "query"}, "none of its prompts"),
        ("config_sentence_transformers.json", {"prompts": {"query": 1}}, "not texts by name"),
        ("config_sentence_transformers.json", {"truncate_dim": 0}, "truncate_dim"),
        ("config.json", {"rope_parameters": {}}, "rope_parameters"),
        ("sentence_bert_config.json", {"query_expansion": {"length": 32}}, "query_expansion"),
        ("sentence_bert_config.json", {"processing_kwargs": {"text": {"max_length": 3}}}, "max_length"),
        ("sentence_bert_config.json", {"tokenizer_args": {"use_fast": False}}, "tokenizer_args"),
        ("sentence_bert_config.json", {"model_args": {"output_hidden_states": True}}, "output_hidden_states"),
        ("sentence_bert_config.json", {"modality_config": {"image": {}}}, "modality_config"),
        ("config.json", {"hidden_size": 1 << 40}, "hidden_size"),
    ],
)
def test_other_settings_are_refused_by_name(file: str, members: dict[str, Any], named: str, bert: Path) -> None:
    save(bert, [POOLING])
    change(bert / file, **members)
    with pytest.raises(EncoderError, match=named):
        Encoder.load(bert)


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"layer_types": ["chunked_attention"] * 4}, "chunked_attention"),
        ({"rope_parameters": {"full_attention": {"rope_type": "yarn", "factor": 4.0}}}, "rope_type"),
        ({"rope_parameters": {"linear_attention": {}}}, "linear_attention"),
        ({"rope_scaling": {"type": "linear"}, "rope_parameters": None}, "rope_scaling"),
        ({"global_rope_theta": -1.0, "rope_parameters": None}, "rope_theta"),
    ],
)
def test_other_positions_of_modernbert_are_refused(members: dict[str, Any], named: str, tmp_path: Path) -> None:
    write(tmp_path, "modernbert")
    change(tmp_path / "config.json", **members)
    with pytest.raises(ValueError, match=named):
        Encoder.load(tmp_path)


def test_modernbert_as_transformers_4_described_it(tmp_path: Path) -> None:
    """By two bases of angles, every which layer sees all, and keys that its class does not read."""
    write(tmp_path, "modernbert")
    plain = Encoder.load(tmp_path).embed(TEXTS)
    change(
        tmp_path / "config.json",
        rope_parameters=None,
        layer_types=None,
        global_rope_theta=160000.0,
        local_rope_theta=10000.0,
        global_attn_every_n_layers=3,
        position_embedding_type="absolute",
        layer_norm_eps=1e-5,
    )
    torch.testing.assert_close(Encoder.load(tmp_path).embed(TEXTS), plain)


@pytest.mark.parametrize("variant", ["roberta", "mpnet", "distilbert", "modernbert"])
def test_spoiled_configurations_are_refused_or_work(variant: str, tmp_path: Path) -> None:
    """Each value of a configuration in turn is something else: vectors are numbers, or an error names what is wrong."""
    write(tmp_path, variant)
    file = tmp_path / "config.json"
    described = json.loads(file.read_text())
    refused = 0
    for name in described:
        for value in JUNK:
            file.write_text(json.dumps({**described, name: value}))
            try:
                encoder = Encoder.load(tmp_path)
            except EncoderError:
                refused += 1
                continue
            assert encoder.embed(["a fox", "a longer text about the fox"]).isfinite().all()
    assert refused > 50


# --- which kind ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "saved", "kind"),
    [
        ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, None, "chat"),
        ({"model_type": "bert", "architectures": ["BertModel"]}, None, "embed"),
        ({"model_type": "modernbert", "architectures": ["ModernBertForMaskedLM"]}, None, "embed"),
        ({"model_type": "bert"}, None, "embed"),
        ({"model_type": "bert", "architectures": ["BertForSequenceClassification"]}, None, "rerank"),
        ({"model_type": "bert", "architectures": ["BertModel"]}, {"prompts": {}}, "embed"),
        ({"model_type": "bert"}, {"model_type": "CrossEncoder"}, "rerank"),
        ({}, None, "chat"),
        ({"model_type": ["bert"], "architectures": "x"}, None, "chat"),
    ],
)
def test_a_directory_says_what_it_is(
    config: dict[str, Any], saved: dict[str, Any] | None, kind: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    if saved is not None:
        (tmp_path / "modules.json").write_text("[]")
        (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(saved))
    assert kind_of(tmp_path) == kind


# --- decoders --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [True, False])
def test_a_decoder_makes_vectors_where_its_directory_says_so(whole: bool, tmp_path: Path) -> None:
    """As Qwen3-Embedding: the last token's vector before the head, from a file with a head or without."""
    import transformers

    size = write_tokenizer(tmp_path, "ModernBert")
    settings = {**random_models.SMALL, **random_models.VARIANTS["qwen3"][1], "vocab_size": size}
    torch.manual_seed(0)
    decoder = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**settings)).eval()
    (decoder if whole else decoder.model).save_pretrained(tmp_path)
    assert kind_of(tmp_path) == "chat"
    save(tmp_path, [("Pooling", {"pooling_mode": "lasttoken"}), ("Normalize", {})])
    assert kind_of(tmp_path) == "embed"
    encoder = Encoder.load(tmp_path)
    assert encoder.max_tokens == 60
    rows = [encoder._truncate(encoder.encode(text)) for text in TEXTS]
    with torch.no_grad():
        last = [decoder.model(torch.tensor([row])).last_hidden_state[0, -1] for row in rows]
    torch.testing.assert_close(encoder.embed(TEXTS), functional.normalize(torch.stack(last), dim=-1), atol=1e-4, rtol=0)


# --- rerankers -------------------------------------------------------------------------------------------------------

QUERY = "how do I open an account? " * 9


def test_a_reranker_is_saved_with_modules_or_without(tmp_path: Path) -> None:
    write(tmp_path, "bert", "ForSequenceClassification", num_labels=1)
    plain = PairEncoder.load(tmp_path)
    scores = plain.score_rows(plain.pairs(QUERY, TEXTS)[0])
    save(tmp_path, [])
    sigmoid = "torch.nn.modules.activation.Sigmoid"
    change(tmp_path / "config_sentence_transformers.json", model_type="CrossEncoder", activation_fn=sigmoid)
    change(tmp_path / "config.json", sentence_transformers={"activation_fn": sigmoid, "version": "4.1.0"})
    saved = PairEncoder.load(tmp_path)
    torch.testing.assert_close(saved.score_rows(saved.pairs(QUERY, TEXTS)[0]), scores)
    change(tmp_path / "sentence_bert_config.json", processing_kwargs={"text": {"truncation": "only_second"}})
    change(tmp_path / "tokenizer_config.json", model_max_length=58)
    whole = PairEncoder.load(tmp_path).pairs("the fox " * 10, ["the dog " * 40])[0][0][0]
    assert whole[1:21] == plain.tokenizer.ids(["the fox " * 10])[0]  # of the query nothing is cut
    assert len(whole) == 58


@pytest.mark.parametrize(
    ("file", "members", "named"),
    [
        ("config.json", {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Tanh"}}, "Tanh"),
        ("config.json", {"sbert_ce_default_activation_function": "os.system"}, "os.system"),
        ("sentence_bert_config.json", {"processing_kwargs": {"text": {"truncation": False}}}, "processed by"),
        ("config.json", {"model_type": "mpnet"}, "no tensor"),
    ],
)
def test_other_rerankers_are_refused(file: str, members: dict[str, Any], named: str, tmp_path: Path) -> None:
    write(tmp_path, "bert", "ForSequenceClassification", num_labels=1)
    change(tmp_path / file, **members)
    with pytest.raises(EncoderError, match=named):
        PairEncoder.load(tmp_path)


def test_a_classifier_of_several_labels_is_no_reranker(tmp_path: Path) -> None:
    write(tmp_path, "roberta", "ForSequenceClassification", num_labels=3)
    with pytest.raises(EncoderError, match="tells 3 classes apart"):
        PairEncoder.load(tmp_path)
