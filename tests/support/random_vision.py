"""Small random models that see, written by transformers, with a tokenizer and a processor of their own."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
from PIL import Image
from tokenizers import decoders, models, pre_tokenizers
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3Processor,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    PreTrainedTokenizerFast,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

TEMPLATE = (  # SmolVLM's own
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
GRID = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
CONTROL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<end_of_utterance>", "<fake_token_around_image>", "<global-img>",
    "<image>", *GRID,
]  # fmt: skip
TILE = 16
VISION = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": TILE,
    "patch_size": 4,
}  # fmt: skip


GEMMA_TEMPLATE = (  # in the style of Gemma 3's
    "{{ bos_token }}{% for message in messages %}<start_of_turn>"
    "{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] | trim }}{% else %}"
    "{% for item in message['content'] %}{% if item['type'] == 'image' %}{{ '<start_of_image>' }}"
    "{% elif item['type'] == 'text' %}{{ item['text'] | trim }}{% endif %}{% endfor %}{% endif %}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
GEMMA_TILE = 32
GEMMA_IMAGE = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}


def tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=byte_vocabulary(CONTROL),
        eos_token="<end_of_utterance>",
        bos_token="<|im_start|>",
        pad_token="<|endoftext|>",
    )


def gemma_tokenizer() -> PreTrainedTokenizerFast:
    control = ["<pad>", "<bos>", "<start_of_turn>", "<end_of_turn>", *GEMMA_IMAGE.values()]
    return PreTrainedTokenizerFast(
        tokenizer_object=byte_vocabulary(control),
        eos_token="<end_of_turn>",
        bos_token="<bos>",
        pad_token="<pad>",
        extra_special_tokens=GEMMA_IMAGE,
    )


def byte_vocabulary(control: list[str]) -> tokenizers.Tokenizer:
    """The 256 bytes, one merge that joins two ends of a line, and the tokens that images need."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*alphabet, "ĊĊ"])}
    hf = tokenizers.Tokenizer(models.BPE(vocabulary, [("Ċ", "Ċ")]))
    hf.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    hf.decoder = decoders.ByteLevel()
    hf.add_special_tokens(control)
    return hf


def processor(*, longest: int = 64, **changes: Any) -> Idefics3Processor:
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": longest}, max_image_size={"longest_edge": TILE}, return_row_col_info=True, **changes
    )
    return Idefics3Processor(images, tokenizer(), image_seq_len=4, chat_template=TEMPLATE)


def make(family: str = "idefics3", *, vision: dict[str, Any] | None = None, scale_factor: int = 2) -> Any:
    text = tokenizer()
    ids = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    values: dict[str, Any] = {
        "image_token_id": text.convert_tokens_to_ids("<image>"),
        "scale_factor": scale_factor,
        "vision_config": VISION | (vision or {}),
        "text_config": {
            "model_type": "llama", "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, **ids,
            "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": len(text),
            "max_position_embeddings": 2048,
        },
    }  # fmt: skip
    torch.manual_seed(0)
    net: Any
    if family == "smolvlm":
        net = SmolVLMForConditionalGeneration(SmolVLMConfig(**values))
    else:
        net = Idefics3ForConditionalGeneration(Idefics3Config(**values))
    for name, parameter in net.named_parameters():
        mean = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        torch.nn.init.normal_(parameter, mean=mean, std=0.2)
    return net.eval()


def gemma_processor() -> Gemma3Processor:
    images = Gemma3ImageProcessorPil(size={"height": GEMMA_TILE, "width": GEMMA_TILE})
    return Gemma3Processor(images, gemma_tokenizer(), image_seq_length=64, chat_template=GEMMA_TEMPLATE)


def make_gemma(**vision: Any) -> Any:
    text = gemma_tokenizer()
    tokens: dict[str, Any] = {name: text.convert_tokens_to_ids(token) for name, token in GEMMA_IMAGE.items()}
    ids = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    config = Gemma3Config(
        text_config={
            "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, **ids,
            "num_key_value_heads": 2, "head_dim": 16, "vocab_size": len(text), "sliding_window": 23,
            "query_pre_attn_scalar": 16, "layer_types": kinds, "max_position_embeddings": 2048,
        },
        vision_config={
            "model_type": "siglip_vision_model", **VISION, "image_size": GEMMA_TILE, "patch_size": 2, **vision,
        },
        mm_tokens_per_image=64,
        image_token_index=tokens["image_token"],
        boi_token_index=tokens["boi_token"],
        eoi_token_index=tokens["eoi_token"],
    )  # fmt: skip
    config.text_config._attn_implementation = "eager"
    torch.manual_seed(0)
    net = Gemma3ForConditionalGeneration(config)
    for name, parameter in net.named_parameters():
        ones = "vision_tower" in name and "norm" in name and name.endswith("weight")
        torch.nn.init.normal_(parameter, mean=1.0 if ones else 0.0, std=0.2)
    return net.eval()


def write_gemma(path: Path) -> Any:
    net = make_gemma(vision_use_head=False)
    net.save_pretrained(path)
    gemma_processor().save_pretrained(path)
    return net


def write(path: Path, family: str = "idefics3", **changes: Any) -> Any:
    """The model's directory as published ones are; the model itself."""
    net = make(family)
    net.save_pretrained(path)
    processor(**changes).save_pretrained(path)
    (path / "chat_template.jinja").unlink(missing_ok=True)
    (path / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    return net


def picture(width: int, height: int, *, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """Noise over a gradient: edges and areas, so that any error of resizing is seen."""
    random = np.random.default_rng(seed)
    down, across = np.mgrid[0:height, 0:width]
    channels = [
        down * 255 // max(height - 1, 1),
        across * 255 // max(width - 1, 1),
        (down + across) % 256,
        255 - down % 256,
    ]
    noise = random.integers(-40, 40, (height, width, 4))
    pixels = np.clip(np.stack(channels, -1) + noise, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels, "RGBA").convert(mode)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()
