"""What files say of text, of a directory as of a GGUF file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

import awsllm
from awsllm.engine import text
from awsllm.engine.tokenizer import TokenizerError
from tests.support import llama_cpp, tiny_gguf

TEMPLATE = "{{ bos_token }}{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}"
ADDED = {
    "1": {"content": "<s>", "special": True},
    "470": {"content": "<|end|>", "special": True, "rstrip": True},
    "472": {"content": "<think>", "special": False},
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    shutil.copy(llama_cpp.HERE / "bpe.model", tmp_path / "tokenizer.model")
    config = {
        "bos_token": {"content": "<s>"},
        "eos_token": "</s>",
        "chat_template": TEMPLATE,
        "added_tokens_decoder": ADDED,
    }
    put(tmp_path, "tokenizer_config.json", config)
    put(tmp_path, "generation_config.json", {"eos_token_id": [2, 471, "x"]})
    return tmp_path


def put(path: Path, name: str, value: Any) -> None:
    (path / name).write_text(json.dumps(value))


def test_a_sentencepiece_model_with_what_was_added_to_it(directory: Path) -> None:
    tokenizer, template, bos, eos = text.of_directory(directory)
    assert (template, bos, eos) == (TEMPLATE, "<s>", "</s>")
    assert tokenizer.vocab_size == 473
    assert not tokenizer.add_bos
    assert tokenizer.encode("<think>") == [472]
    assert tokenizer.decode([472, 470, 470]) == "<think>"
    assert tokenizer.eos_ids == {2, 470, 471}
    assert {461, 469} <= tokenizer.silent_ids


def test_templates_by_name_and_in_a_file_of_their_own(directory: Path) -> None:
    named = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}, "x"]
    put(directory, "tokenizer_config.json", {"chat_template": named})
    assert text.of_directory(directory).template == "D"
    (directory / "chat_template.jinja").write_text("F")
    assert text.of_directory(directory).template == "F"


def test_a_tokenizer_json_comes_first(directory: Path) -> None:
    text.of_directory(directory).tokenizer.hf.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer.model").write_bytes(b"?")
    tokenizer = text.of_directory(directory).tokenizer
    assert tokenizer.vocab_size == 473
    assert tokenizer.eos_ids == {2, 470, 471}


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("tokenizer_config.json", "{", "is not JSON"),
        ("tokenizer_config.json", "[" * 100_000, "is not JSON"),
        ("config.json", "[]", "not a JSON object"),
        ("added_tokens.json", '{"x": 99999999}', "a number outside"),
        ("tokenizer.json", "{}", "not a tokenizer.json"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(directory: Path, name: str, content: str, named: str) -> None:
    (directory / name).write_text(content)
    with pytest.raises(TokenizerError, match=named):
        text.of_directory(directory)


def test_a_directory_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"neither tokenizer\.json nor tokenizer\.model"):
        text.of_directory(tmp_path)


def test_gguf_metadata_names_its_tokens() -> None:
    read = text.of_gguf({**tiny_gguf.metadata(), "tokenizer.ggml.bos_token_id": 257})
    assert (read.bos, read.eos) == ("<|im_start|>", "<|im_end|>")
    assert read.template == tiny_gguf.TEMPLATE


def test_a_chat_model_in_a_directory_answers(directory: Path) -> None:
    shape: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64}
    LlamaForCausalLM(
        LlamaConfig(vocab_size=473, hidden_size=32, intermediate_size=32, num_hidden_layers=1, **shape)
    ).save_pretrained(directory)
    put(directory, "generation_config.json", {"eos_token_id": 2})
    response = awsllm.Client().converse(f"local:{directory}", "Hi", max_tokens=3)
    assert response.usage.input_tokens == 1 + len(text.of_directory(directory).tokenizer.encode("[INST] Hi [/INST]"))
    assert response.usage.output_tokens in (1, 2, 3)
