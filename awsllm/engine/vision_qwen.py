"""What ``config.json`` and the image processor's file say of the encoders of Qwen 2-VL and 2.5-VL (``vision_json``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from awsllm.engine import config_json
from awsllm.engine.described import Description
from awsllm.engine.errors import ModelError
from awsllm.engine.vision import FreeConfig, Tiling

if TYPE_CHECKING:
    from collections.abc import Mapping

FAMILIES: Final[Mapping[str, Mapping[str, Any]]] = {  # as the families' classes have them by default
    "qwen2_vl": {"depth": 32, "embed_dim": 1280, "hidden_size": 3584, "hidden_act": "quick_gelu", "mlp_ratio": 4,
                 "num_heads": 16},
    "qwen2_5_vl": {"depth": 32, "hidden_size": 3584, "hidden_act": "silu", "intermediate_size": 3420, "num_heads": 16,
                   "out_hidden_size": 3584, "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31]},
}  # fmt: skip
_SQUARE: Final = {"patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2}
MOST: Final = 1280 * 28 * 28
"""Pixels of an image at most, whatever a file says: every patch sees all others, which takes time by their square."""
_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
_STD: Final = (0.26862954, 0.26130258, 0.27577711)
_WITHOUT_EFFECT: Final = config_json.WITHOUT_EFFECT | {"tokens_per_second", "spatial_patch_size"}
PROCESSOR: Final = frozenset((
    "do_convert_rgb", "do_pad", "image_processor_type", "processor_class", "return_row_col_info", "video_sampling",
    "feature_extractor_type", "input_data_format", "data_format", "device", "disable_grouping", "return_tensors",
    "default_to_square", "pad_size", "_processor_class", "crop_size", "image_seq_length",
    "pan_and_scan_min_crop_size", "pan_and_scan_max_num_crops", "pan_and_scan_min_ratio_to_activate",
))  # fmt: skip


def read(source: Mapping[str, Any], processor: Description) -> FreeConfig:
    family = str(source["model_type"])
    whole = Description({"vision_config": {}, **source}, "config.json")
    described = Description({**FAMILIES[family], **_SQUARE, **whole.mapping("vision_config")}, "vision_config")
    config_json.expect_what_is_computed(described)
    described.expect("in_channels", 3)
    described.expect("in_chans", 3)
    described.expect("temporal_patch_size", 2)
    described.expect("rope_parameters", {"rope_type": "axial", "rope_theta": 10000.0}, {})
    patch, joined = described.whole("patch_size"), described.whole("spatial_merge_size")
    token = whole.whole("image_token_id", 151655)
    config = FreeConfig(
        layers=described.whole("depth"),
        heads=described.whole("num_heads"),
        patch_size=patch,
        joined=joined,
        activation=_activation(described),
        image_token=token,
        mark_token=token,
        tiling=_tiling(processor, patch, joined),
        **(_gated(described, patch * joined) if family == "qwen2_5_vl" else _plain(described)),
    )
    described.finish(_WITHOUT_EFFECT)
    return config


def _plain(described: Description) -> dict[str, Any]:
    channels = described.whole("embed_dim")
    return {
        "hidden_size": channels,
        "intermediate_size": channels * described.whole("mlp_ratio"),
        "text_size": described.whole("hidden_size"),
        "gated": False,
        "window": None,
        "wide": frozenset(),
    }


def _gated(described: Description, square: int) -> dict[str, Any]:
    wide = described.items("fullatt_block_indexes", 0)
    listed = described.get("fullatt_block_indexes")
    if wide is None or not all(type(layer) is int for layer in listed):
        raise ModelError(f"{described.where}'s fullatt_block_indexes is no list of layers")
    return {
        "hidden_size": described.whole("hidden_size"),
        "intermediate_size": described.whole("intermediate_size"),
        "text_size": described.whole("out_hidden_size"),
        "gated": True,
        "window": described.whole("window_size") // max(square, 1),
        "wide": frozenset(listed),
    }


def _activation(described: Description) -> str:
    if described.get("hidden_act") == "quick_gelu":
        return described.text("hidden_act")
    return config_json.activation(described, "hidden_act", "")


def _tiling(described: Description, patch: int, joined: int) -> Tiling:
    for name in ("do_resize", "do_rescale", "do_normalize"):
        described.expect(name, True)
    described.expect("do_center_crop", False)
    for name, only in (("patch_size", patch), ("merge_size", joined), ("temporal_patch_size", 2)):
        described.expect(name, only)
    size = Description(described.mapping("size"), f"{described.where}'s size")
    least, most = (
        described.whole(f"{word}_pixels", size.whole(f"{word}_pixels", size.whole(edge, default)))
        for word, edge, default in (("min", "shortest_edge", 56 * 56), ("max", "longest_edge", MOST))
    )
    size.finish(frozenset())
    if not 1 <= least <= MOST or most < least:
        raise ModelError(f"{described.where} makes images of {least} to {most} pixels: not supported")
    tiling = Tiling(
        longest=None,
        tile=patch * joined,
        split=False,
        resample=described.whole("resample", 3),
        scale=described.number("rescale_factor", 1 / 255),
        mean=of_channels(described, "image_mean", _MEAN),
        std=of_channels(described, "image_std", _STD),
        area=(least, min(most, MOST)),
    )
    described.finish(PROCESSOR)
    if not 0 <= tiling.resample <= 5 or min(tiling.std) <= 0:
        raise ModelError(f"{described.where} has a resample or an image_std that cannot be computed with")
    return tiling


def of_channels(described: Description, name: str, default: tuple[float, float, float]) -> tuple[float, float, float]:
    """A number for each of red, green and blue."""
    values = described.items(name, 3) or list(default)
    if not all(type(value) in (int, float) and abs(value) < 1e6 for value in values):
        raise ModelError(f"{described.where}'s {name} is no list of three numbers")
    return float(values[0]), float(values[1]), float(values[2])
