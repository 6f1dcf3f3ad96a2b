"""Small random models of architectures that the engine does not compute, written by transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import tokenizers
import torch
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors

from tests.support import tiny_gguf

SMALL = {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "stablelm": ("StableLm", {"intermediate_size": 48, "num_key_value_heads": 2}),
    "bloom": ("Bloom", {}),
    "mamba": ("Mamba", {"state_size": 8}),
    "rwkv": ("Rwkv", {"attention_hidden_size": 32}),  # keeps a state by another name than all others
}
READER: dict[str, Any] = {
    "vocab_size": 320, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "init_std": 0.3,
}  # fmt: skip
READERS: dict[str, tuple[str, dict[str, Any]]] = {  # with an encoder, which reads one text
    "bart": ("Bart", READER),
    "pegasus": ("Pegasus", READER),
    "m2m100": ("M2M100", READER),
    "umt5": ("UMT5", {"vocab_size": 320, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4,
                      "decoder_start_token_id": 0}),
}  # fmt: skip
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOKENS = [(5 * n + 2) % 300 for n in range(30)]


def make(name: str) -> Any:
    import transformers

    kind, changes = VARIANTS[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SMALL | changes, bos_token_id=None, eos_token_id=257)
    net = transformers.AutoModelForCausalLM.from_config(config).eval()
    for parameter in net.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    return net


def write(name: str, path: Path) -> torch.Tensor:
    """A model of the variant in the directory; the logits of TOKENS, (T, V)."""
    net = make(name)
    net.save_pretrained(path)
    with torch.inference_mode():
        logits: torch.Tensor = net(torch.tensor([TOKENS]), use_cache=False).logits[0]
    return logits


def write_whole(name: str, path: Path) -> None:
    """A model that chats, with a token for each byte."""
    write(name, path)
    tokenizer = _bytes_alone(["<|im_start|>", "<|im_end|>"])
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>"}))
    (path / "chat_template.jinja").write_text(TEMPLATE)


def _bytes_alone(special: list[str]) -> tokenizers.Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = tokenizers.Tokenizer(models.BPE({byte: n for n, byte in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    return tokenizer


def make_reader(name: str, **changes: Any) -> Any:
    import transformers

    kind, described = READERS[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**described | changes)
    return transformers.AutoModelForSeq2SeqLM.from_config(config).eval()


def write_summariser(path: Path) -> tokenizers.Tokenizer:
    """BART with its frame of a text, ``<s>`` … ``</s>``, and an answer that begins with ``</s><s>``."""
    tokenizer = _bytes_alone(["<s>", "<pad>", "</s>"])
    start, end = 256, 258
    ids = {"bos_token_id": start, "pad_token_id": 257, "eos_token_id": end, "decoder_start_token_id": end}
    make_reader("bart", **ids).save_pretrained(path)
    (path / "generation_config.json").write_text(json.dumps({"forced_bos_token_id": start}))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", start), ("</s>", end)]
    )
    tokenizer.save(str(path / "tokenizer.json"))
    return tokenizer


def write_gguf(path: Path) -> torch.Tensor:
    """StableLM as a GGUF file that chats, with a token for each byte; the logits of its first tokens, (T, V)."""
    import transformers

    described = tiny_gguf.metadata()
    size = len(described["tokenizer.ggml.tokens"])
    torch.manual_seed(0)
    config = transformers.StableLmConfig(**SMALL | VARIANTS["stablelm"][1] | {"vocab_size": size})
    net = transformers.StableLmForCausalLM(config).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    writer = gguf.GGUFWriter(path, "stablelm")
    for key, value in described.items():
        if key.startswith("llama."):
            continue
        if type(value) is int:
            writer.add_uint32(key, value)
        else:
            writer.add_key_value(key, value, gguf.GGUFValueType.get_type(value))
    writer.add_context_length(512)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_rope_dimension_count(2)  # a quarter of a head's
    writer.add_rope_freq_base(10000.0)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_parallel_residual(False)
    writer.add_layer_norm_eps(config.layer_norm_eps)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.STABLELM, config.num_hidden_layers)
    for name, tensor in net.state_dict().items():
        writer.add_tensor(str(names.get_name(name, (".weight", ".bias"))), tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with torch.inference_mode():
        logits: torch.Tensor = net(torch.tensor([[token % size for token in TOKENS]])).logits[0]
    return logits
