"""Files of models: GGUF and safetensors through all that loads them, tokenizers, templates, images, schemas."""

from __future__ import annotations

import io
import json
import struct
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from awsllm.errors import AwsllmError
from tests.fuzz.harness import Target

# What the local backend tells of as a model that cannot be loaded or computed; see ``backends.local.backend``.
_REFUSALS = (ValueError, RuntimeError, MemoryError, OSError)
_LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 32,
    "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 40,
    "rms_norm_eps": 1e-5, "max_position_embeddings": 64, "rope_theta": 10000.0, "hidden_act": "silu",
}  # fmt: skip
_BERT = {
    "architectures": ["BertModel"], "model_type": "bert", "hidden_size": 32, "num_attention_heads": 4,
    "num_hidden_layers": 1, "intermediate_size": 32, "vocab_size": 40, "max_position_embeddings": 64,
    "type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu",
}  # fmt: skip
_SCHEMA = {
    "type": "object", "properties": {"a": {"type": "string", "maxLength": 3}, "b": {"enum": [1, "x", None]}},
    "required": ["a"], "additionalProperties": False,
}  # fmt: skip


def targets() -> Iterator[Target]:
    yield Target("gguf", lambda: [_gguf()], _at_path(_read_gguf), _REFUSALS)
    yield Target("gguf-model", lambda: [_gguf()], _at_path(_compute), _REFUSALS)
    yield Target("safetensors", lambda: [_safetensors()], _at_path(_read_safetensors), _REFUSALS)
    yield Target("config-json", lambda: [json.dumps(_LLAMA).encode()], _read_config, _REFUSALS)
    yield Target("encoder-config", lambda: [json.dumps(_BERT).encode()], _read_encoder, _REFUSALS)
    yield Target("tokenizer-json", lambda: [_tokenizer()], _at_path(_read_tokenizer, "tokenizer.json"), _REFUSALS)
    yield Target("sentencepiece", _sentencepieces, _at_path(_read_tokenizer, "tokenizer.model"), _REFUSALS)
    yield Target("chat-template", _templates, _render, _REFUSALS)
    yield Target("image", _images, _decode_image, _REFUSALS)
    yield Target("packed-weights", lambda: [b"not", b""], _at_path(_read_packed), ())
    yield Target("json-schema", lambda: [json.dumps(_SCHEMA).encode()], _check, (*_REFUSALS, AwsllmError))


def _at_path(read: Callable[[Path], Any], name: str = "file") -> Callable[[bytes], Any]:
    """A reader of a file with these bytes."""

    def of_bytes(data: bytes) -> None:
        path = _folder() / name
        path.unlink(missing_ok=True)  # a file that is still mapped must not change
        path.write_bytes(data)
        read(path)

    return of_bytes


@cache
def _folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="awsllm-fuzz-")
    _KEPT.append(folder)
    return Path(folder.name)


_KEPT: list[Any] = []  # folders, until the process ends


# --- weights ---------------------------------------------------------------------------------------------------------


@cache
def _gguf() -> bytes:
    from tests.support import tiny_gguf

    path = _folder() / "seed.gguf"
    return tiny_gguf.write(path, tiny_gguf.metadata(), says=1).read_bytes()


def _read_gguf(path: Path) -> None:
    from awsllm.engine import config_gguf, weights
    from awsllm.engine.tokenizer import Tokenizer

    checkpoint = weights.read(path)
    config_gguf.read(checkpoint.source, dict(checkpoint.tensors))
    Tokenizer.from_gguf(checkpoint.source).encode("Hi")


def _compute(path: Path) -> None:
    """Load it whole, and compute a step."""
    from awsllm.engine.choice import open_model
    from awsllm.engine.interface import Chunk

    model = open_model(path, "cpu").model
    cache = model.new_cache(8)
    model.forward([Chunk((1, 2, 3), cache)])


def _safetensors() -> bytes:
    header = json.dumps(
        {
            "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
            "b": {"dtype": "BF16", "shape": [3], "data_offsets": [16, 22]},
        }
    ).encode()
    return struct.pack("<Q", len(header)) + header + bytes(22)


def _read_safetensors(path: Path) -> None:
    from awsllm.engine import weights

    for stored in weights.read_safetensors(path).values():
        _ = stored.shape, stored.data.shape


def _read_packed(path: Path) -> None:
    from awsllm.engine.native import files

    files.read(path, "whose")


def _read_config(data: bytes) -> None:
    from awsllm.engine import config_json

    config_json.read(_object(data))


def _read_encoder(data: bytes) -> None:
    from awsllm.engine.encoder_config import read_config

    read_config(_object(data))


def _object(data: bytes) -> dict[str, Any]:
    found = json.loads(data)
    return found if isinstance(found, dict) else {"a": found}


# --- text ------------------------------------------------------------------------------------------------------------


def _tokenizer() -> bytes:
    import tokenizers
    from tokenizers import models, pre_tokenizers

    made = tokenizers.Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "ab": 2, "</s>": 3}, merges=[("a", "b")]))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens([tokenizers.AddedToken("</s>", special=True)])
    return made.to_str().encode()


def _sentencepieces() -> list[bytes]:
    folder = Path(__file__).parents[2] / "support" / "llama_cpp"
    return [path.read_bytes() for path in sorted(folder.glob("*.model"))]


def _read_tokenizer(path: Path) -> None:
    from awsllm.engine.tokenizer import Tokenizer

    read = Tokenizer.from_file(path)
    read.encode("ab </s> é")


def _templates() -> list[bytes]:
    from tests.support import tool_templates

    sources = {name: value for name, value in vars(tool_templates).items() if isinstance(value, str)}
    return [source.encode() for name, source in sources.items() if not name.startswith("_") and "{%" in source]


def _render(data: bytes) -> None:
    from awsllm.engine.template import ChatTemplate

    template = ChatTemplate(data.decode("utf-8", "replace"), bos_token="<s>", eos_token="</s>")
    tool = {"type": "function", "function": {"name": "f", "description": "d", "parameters": _SCHEMA}}
    template.render([{"role": "user", "content": "Hi"}], tools=[tool])


def _check(data: bytes) -> None:
    from awsllm.tools.schema.fit import fit
    from awsllm.tools.schema.judge import check_schema, violations

    schema = _object(data)
    check_schema(schema)
    fit(schema)
    list(violations({"a": "xyz"}, schema, schema))


# --- images ----------------------------------------------------------------------------------------------------------


def _images() -> list[bytes]:
    from PIL import Image

    found = []
    for form in ("PNG", "JPEG", "GIF", "WEBP"):
        buffer = io.BytesIO()
        Image.new("RGB", (9, 7), (200, 30, 40)).save(buffer, form)
        found.append(buffer.getvalue())
    return found


def _decode_image(data: bytes) -> None:
    from awsllm.engine.vision_pixels import decode
    from awsllm.wire.formats import begins_as, format_of, size_of

    begins_as(data), format_of(data, "image"), size_of(data)
    decode(data)
