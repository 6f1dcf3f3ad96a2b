"""Which files of a repository make a model."""

import pytest

from awsllm.errors import ConfigurationError, ModelNotFoundError
from awsllm.store import File
from awsllm.store.choice import choose, is_safe, quantisation


def listed(*names: str, size: int = 2_000_000_000) -> list[File]:
    return [File(name, size) for name in names]


def chosen(*names: str, wanted: str | None = None, size: int = 2_000_000_000) -> list[str]:
    return [file.path for file in choose(listed(*names, size=size), wanted, "org/repo").files]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("SmolLM3-Q4_K_M.gguf", "Q4_K_M"),
        ("smollm2-1.7b-instruct-q4_k_m.gguf", "Q4_K_M"),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "Q4_1"),
        ("Qwen3-4B-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("model-IQ4_XS.gguf", "IQ4_XS"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("sub/Q2-F16.gguf", "F16"),
        ("ggml-model-bf16.gguf", "BF16"),
        ("tiny.gguf", None),
        ("Qwen3-4B.gguf", None),
    ],
)
def test_what_a_name_says_of_the_weights(path: str, kind: str | None) -> None:
    assert quantisation(path) == kind


@pytest.mark.parametrize(
    ("names", "best"),
    [
        (("a-Q2_K.gguf", "a-Q4_K_M.gguf", "a-Q8_0.gguf", "a-F16.gguf"), "a-Q4_K_M.gguf"),
        (("a-Q8_0.gguf", "a-F16.gguf"), "a-Q8_0.gguf"),
        (("a-F16.gguf", "a-Q5_K_M.gguf", "a-Q6_K.gguf"), "a-Q5_K_M.gguf"),
        (("a-odd.gguf", "a-F32.gguf"), "a-F32.gguf"),
        (("b.gguf", "a.gguf"), "a.gguf"),
        (("mmproj-Q8_0.gguf", "a-F32.gguf", "a.imatrix.gguf"), "a-F32.gguf"),
        (("a-Q4_K_M-00001-of-00002.gguf", "a-Q8_0.gguf"), "a-Q8_0.gguf"),  # a part is missing
    ],
)
def test_the_quantisation_that_serves_best(names: tuple[str, ...], best: str) -> None:
    assert chosen(*names) == [best]


def test_eight_bits_while_that_is_small() -> None:
    assert chosen("a-Q4_K_M.gguf", "a-Q8_0.gguf", size=600_000_000) == ["a-Q8_0.gguf"]


def test_what_was_chosen_is_told_where_there_was_a_choice() -> None:
    assert choose(listed("a-Q4_K_M.gguf", "a-F16.gguf"), None, "org/repo").chosen == "Q4_K_M"
    assert choose(listed("a-Q4_K_M.gguf"), None, "org/repo").chosen is None
    assert choose(listed("a-Q4_K_M.gguf", "a-F16.gguf"), "F16", "org/repo").chosen is None


def test_all_parts_of_a_split_file() -> None:
    parts = [f"Q8_0/a-Q8_0-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    assert chosen(*reversed(parts), "a-Q2_K.gguf") == parts
    assert chosen(*parts, "a-Q2_K.gguf", wanted=parts[1]) == parts
    assert chosen(*parts, "a-Q2_K.gguf", wanted="q8_0") == parts


def test_an_encoder_is_a_directory_though_it_has_gguf_files_too() -> None:
    names = ("config.json", "modules.json", "model.safetensors", "encoder-Q8_0.gguf")
    assert "encoder-Q8_0.gguf" not in chosen(*names)


def test_of_a_directory_configuration_tokenizer_and_safetensors() -> None:
    needed = ["chat_template.jinja", "config.json", "tokenizer.json", "model-00001-of-00002.safetensors"]
    needed += ["model-00002-of-00002.safetensors", "model.safetensors.index.json"]
    others = ["vocab.json", "merges.txt", "pytorch_model.bin", "modeling.py", "consolidated.safetensors", "README.md"]
    others += ["onnx/model.onnx", "adapter_model.safetensors", "sub/config.json", ".gitattributes", "training_args.bin"]
    assert sorted(chosen(*needed, *others)) == sorted(needed)


def test_a_vocabulary_where_there_is_no_tokenizer_json() -> None:
    names = ("config.json", "vocab.json", "merges.txt", "model.safetensors")
    assert sorted(chosen(*names)) == sorted(names)


@pytest.mark.parametrize(
    ("wanted", "kind", "said"),
    [
        ("Q3_K_S", ModelNotFoundError, "has no 'Q3_K_S'; it has Q4_K_M"),
        ("weights.pt", ConfigurationError, "is a pickle"),
        ("README.md", ConfigurationError, "is no model file"),
    ],
)
def test_what_is_not_there(wanted: str, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        chosen("a-Q4_K_M.gguf", "README.md", wanted=wanted)


@pytest.mark.parametrize(
    ("path", "safe"),
    [
        ("a/b.gguf", True),
        *(
            (path, False)
            for path in ("", "/a", "a//b", "../a", "a/..", "a/./b", "C:a", "a\\b", "a\nb", "a" * 300, "...")
        ),
    ],
)
def test_paths(path: str, safe: bool) -> None:
    assert is_safe(path) is safe
