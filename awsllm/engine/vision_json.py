"""``config.json`` and the files beside it, as transformers 4 and 5 write them, as a ``VisionConfig``.

What a file leaves out is what transformers' classes for the family take; what would change the computation and is not
known is refused, as for decoders (``config_json``).
"""

from __future__ import annotations

import json
from math import isqrt
from typing import TYPE_CHECKING, Any, Final

from awsllm.engine import config_json, vision_qwen
from awsllm.engine.described import Description
from awsllm.engine.errors import ModelError
from awsllm.engine.vision import MAX_TILE, FreeConfig, Tiling, VisionConfig
from awsllm.engine.vision_qwen import PROCESSOR, of_channels

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MAX_JSON: Final = 1 << 20  # bytes
_IDEFICS3: Final = {  # encoders, as the families' classes have them by default
    "hidden_size": 1152, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 16,
    "image_size": 224, "patch_size": 32, "layer_norm_eps": 1e-6,
}  # fmt: skip
_SIGLIP: Final = _IDEFICS3 | {"hidden_size": 768, "num_attention_heads": 12, "patch_size": 16}
_FAMILIES: Final = {"idefics3": _IDEFICS3, "smolvlm": _IDEFICS3, "gemma3": _SIGLIP}
_WITHOUT_EFFECT: Final = config_json.WITHOUT_EFFECT | {  # transformers' classes for these families do not read them
    "text_config", "vocab_size", "tie_word_embeddings", "_pad_token_id", "use_reentrant_checkpoint",
    "use_base_siglip", "max_image_size", "size", "initializer_range", "freeze_config", "vision_use_head",
}  # fmt: skip


def read(directory: Path, source: Mapping[str, Any]) -> VisionConfig | FreeConfig | None:
    """What ``config.json`` (``source``) and the files beside it say; None where the model sees nothing."""
    family = source.get("model_type")
    if type(family) is str and family in vision_qwen.FAMILIES:
        processor, where = _image_processor(directory)
        return vision_qwen.read(source, Description(processor, where)) if processor else None
    if type(family) is not str or family not in _FAMILIES:
        return None
    processor, where = _image_processor(directory)
    if family == "gemma3" and not (processor and source.get("vision_config")):
        return None  # a decoder that was taken out of a model that saw
    whole = Description({"vision_config": {}, "text_config": {}, **source}, "config.json")
    described = Description({**_FAMILIES[family], **whole.mapping("vision_config")}, "vision_config")
    config_json.expect_what_is_computed(described)
    described.expect("num_channels", 3)
    side = described.whole("image_size") // max(described.whole("patch_size"), 1)
    config = VisionConfig(
        hidden_size=described.whole("hidden_size"),
        intermediate_size=described.whole("intermediate_size"),
        layers=described.whole("num_hidden_layers"),
        heads=described.whole("num_attention_heads"),
        image_size=described.whole("image_size"),
        patch_size=described.whole("patch_size"),
        norm_eps=described.number("layer_norm_eps"),
        activation=config_json.activation(described, "hidden_act", "gelu_pytorch_tanh"),
        text_size=Description(whole.mapping("text_config"), "text_config").whole("hidden_size"),
        **(_gemma(whole, side) if family == "gemma3" else _idefics3(whole)),
        tiling=_tiling(Description(processor, where), family),
    )
    whole.finish(_WITHOUT_EFFECT)
    described.finish(_WITHOUT_EFFECT)
    _expect_length(directory, config.tokens)
    return config


def _idefics3(whole: Description) -> dict[str, Any]:
    token = whole.whole("image_token_id", 128257)
    return {
        "joined": whole.whole("scale_factor", 2),
        "averaged": False,
        "image_token": token,
        "mark_token": token,
        "end_token": None,
    }


def _gemma(whole: Description, side: int) -> dict[str, Any]:
    tokens = whole.whole("mm_tokens_per_image", 256)
    across = isqrt(max(tokens, 0))
    if across**2 != tokens or not across or side % across:
        raise ModelError(f"mm_tokens_per_image is {tokens}, which is no grid that {side} patches a side make")
    return {
        "joined": side // across,
        "averaged": True,
        "image_token": whole.whole("image_token_index", whole.whole("image_token_id", 262144)),
        "mark_token": whole.whole("boi_token_index", 255999),
        "end_token": whole.whole("eoi_token_index", 256000),
    }


def _tiling(described: Description, family: str) -> Tiling:
    for name in ("do_rescale", "do_normalize"):
        described.expect(name, True)
    for name in ("do_center_crop", "do_pan_and_scan"):
        described.expect(name, False)
    longest: int | None = None
    if family == "gemma3":
        described.expect("do_resize", True)
        tile, split = _square(described), False
    else:
        tile = _edge(described, "max_image_size", 364)
        longest = _edge(described, "size", 4 * 364)
        split = described.flag("do_image_splitting", True)
        if not described.flag("do_resize", True):
            longest = None
    if not 1 <= tile <= MAX_TILE or (longest is not None and not 1 <= longest <= 16 * tile):
        raise ModelError(f"{described.where} cuts images of {longest} pixels into tiles of {tile}: not supported")
    tiling = Tiling(
        longest=longest,
        tile=tile,
        split=split,
        resample=described.whole("resample", 2 if family == "gemma3" else 1),
        scale=described.number("rescale_factor", 1 / 255),
        mean=of_channels(described, "image_mean", (0.5, 0.5, 0.5)),
        std=of_channels(described, "image_std", (0.5, 0.5, 0.5)),
    )
    described.finish(PROCESSOR)
    if not 0 <= tiling.resample <= 5 or min(tiling.std) <= 0:
        raise ModelError(f"{described.where} has a resample or an image_std that cannot be computed with")
    return tiling


def _edge(described: Description, name: str, default: int) -> int:
    size = Description(described.mapping(name) or {"longest_edge": default}, f"{described.where}'s {name}")
    edge = size.whole("longest_edge")
    size.finish(frozenset())
    return edge


def _square(described: Description) -> int:
    size = Description(described.mapping("size") or {"height": 224, "width": 224}, f"{described.where}'s size")
    height, width = size.whole("height"), size.whole("width")
    size.finish(frozenset())
    if height != width:
        raise ModelError(f"{described.where} makes images of {width} x {height} pixels, which are no square")
    return height


# --- the files --------------------------------------------------------------------------------------------------------


def _image_processor(directory: Path) -> tuple[dict[str, Any], str]:
    """Written by transformers 4 as a file of its own, and by 5 as a part of ``processor_config.json``."""
    file = directory / "preprocessor_config.json"
    if file.is_file():
        return _object(file), file.name
    part = _processor(directory).get("image_processor")
    return (part if isinstance(part, dict) else {}), "processor_config.json"


def _expect_length(directory: Path, tokens: int) -> None:
    described = _processor(directory)
    length = described.get("image_seq_len", described.get("image_seq_length", tokens))
    if length != tokens:
        raise ModelError(f"processor_config.json says {str(length)[:20]} vectors a tile, the encoder makes {tokens}")


def _processor(directory: Path) -> dict[str, Any]:
    file = directory / "processor_config.json"
    return _object(file) if file.is_file() else {}


def _object(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        data = file.read(_MAX_JSON + 1)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or len(data) > _MAX_JSON:
        raise ModelError(f"{path.name} is no JSON object; download it again")
    return value
