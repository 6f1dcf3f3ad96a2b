"""Small random Qwens that see, written by transformers, with a tokenizer and a processor of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from tests.support.random_vision import byte_vocabulary

TEMPLATE = (  # in the style of Qwen 2-VL's
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for item in message['content'] %}{% if item['type'] == 'image' %}"
    "{{ '<|vision_start|><|image_pad|><|vision_end|>' }}{% else %}{{ item['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CONTROL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
    "<|video_pad|>",
]  # fmt: skip
PATCH = 4
SIZE = {"shortest_edge": 256, "longest_edge": 4096}
VISION: dict[str, dict[str, Any]] = {
    "qwen2_vl": {"depth": 2, "embed_dim": 32, "hidden_size": 64, "mlp_ratio": 2, "num_heads": 4, "patch_size": PATCH},
    "qwen2_5_vl": {
        "depth": 3, "hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 48, "num_heads": 4,
        "patch_size": PATCH, "window_size": 16, "fullatt_block_indexes": [1],
    },
}  # fmt: skip
_CLASSES: dict[str, tuple[Any, Any]] = {
    "qwen2_vl": (Qwen2VLConfig, Qwen2VLForConditionalGeneration),
    "qwen2_5_vl": (Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration),
}


def tokenizer() -> PreTrainedTokenizerFast:
    found = byte_vocabulary(CONTROL)
    return PreTrainedTokenizerFast(tokenizer_object=found, eos_token="<|im_end|>", pad_token="<|endoftext|>")


def image_processor(**changes: Any) -> Qwen2VLImageProcessorPil:
    return Qwen2VLImageProcessorPil(**{"patch_size": PATCH, "size": SIZE, **changes})


def make(family: str) -> Any:
    text = tokenizer()
    described, network = _CLASSES[family]
    config = described(
        text_config={
            "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "vocab_size": len(text), "max_position_embeddings": 2048, "bos_token_id": None,
            "eos_token_id": None,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
        },
        vision_config=VISION[family],
        **{f"{name}_token_id": text.convert_tokens_to_ids(f"<|{name}_pad|>") for name in ("image", "video")},
        vision_start_token_id=text.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=text.convert_tokens_to_ids("<|vision_end|>"),
    )  # fmt: skip
    torch.manual_seed(0)
    net = network(config)
    for name, parameter in net.named_parameters():
        ones = ("norm" in name or "ln_q" in name) and name.endswith("weight")
        torch.nn.init.normal_(parameter, mean=1.0 if ones else 0.0, std=0.2)
    return net.eval()


def write(path: Path, family: str) -> Any:
    """The model's directory as published ones are; the model itself."""
    net = make(family)
    net.save_pretrained(path)
    image_processor().save_pretrained(path)
    text = tokenizer()
    text.chat_template = TEMPLATE
    text.save_pretrained(path)
    return net
