"""Qwens that see, each step against transformers' own: pixels, vectors, prompts, places on three axes, logits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from awsllm.engine import axes, choice, config_json, model, vision, vision_json
from awsllm.engine.errors import ModelError
from awsllm.engine.generate import Sampling
from awsllm.engine.interface import Chunk
from awsllm.engine.scheduler import Scheduler
from awsllm.engine.tokenizer import Tokenizer
from awsllm.engine.torch_model import TorchModel
from awsllm.engine.vectors import content_keys, part
from awsllm.engine.vision import FreeConfig, Texts
from awsllm.engine.vision_free import FreeEncoder
from awsllm.engine.vision_pixels import ImageError, cut, grid, numbers
from awsllm.engine.vision_qwen import MOST
from tests.support import random_qwen
from tests.support.random_vision import picture

FAMILIES = tuple(random_qwen.VISION)
TEXT = "<|im_start|>user\n{image}What is{image} this?<|im_end|>\n<|im_start|>assistant\n"
IMAGE = "<|vision_start|>{}<|vision_end|>"
PAD = Texts("<|image_pad|>", "<|image_pad|>")


@pytest.fixture(scope="module", params=FAMILIES)
def seeing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A model's directory, and transformers' model of it."""
    path = tmp_path_factory.mktemp(request.param)
    return path, random_qwen.write(path, request.param)


def config_of(path: Path) -> FreeConfig:
    config = vision_json.read(path, json.loads((path / "config.json").read_text()))
    assert isinstance(config, FreeConfig)
    return config


def prompt_of(path: Path, images: list[Image.Image]) -> tuple[list[int], dict[int, Any]]:
    """Tokens of the prompt, and its vectors, by this engine."""
    config = config_of(path)
    encoder = FreeEncoder.load(path, config, precision="float32")
    text, rows = TEXT, []
    for image in images:
        tiles = cut(image, config.tiling)
        rows += [row for tile in tiles.pixels for row in encoder.vectors(numbers(tile, config.tiling))]
        text = text.replace("{image}", IMAGE.format(vision.placeholder(config, tiles.rows, tiles.columns, PAD)), 1)
    tokens = Tokenizer.from_file(path / "tokenizer.json").encode(text)
    places = [place for place, token in enumerate(tokens) if token == config.image_token]
    return tokens, dict(zip(places, rows, strict=True))


def theirs(net: Any, path: Path, tokens: list[int], images: list[Image.Image]) -> torch.Tensor:
    """The logits after every token."""
    seen = random_qwen.image_processor()(images, return_tensors="pt")
    ids = torch.tensor([tokens])
    kinds = (ids == config_of(path).image_token).int()
    with torch.inference_mode():
        given = {"pixel_values": seen["pixel_values"].float(), "image_grid_thw": seen["image_grid_thw"]}
        logits: torch.Tensor = net(input_ids=ids, mm_token_type_ids=kinds, **given).logits[0]
    return logits


IMAGES = [picture(60, 40), picture(20, 45, seed=1)]


@pytest.mark.parametrize("size", [(64, 64), (16, 16), (5, 3), (100, 31), (31, 100), (300, 7), (33, 50), (640, 479)])
def test_vectors_and_pixels_equal_transformers(size: tuple[int, int], seeing: tuple[Path, Any]) -> None:
    """Also of images whose last windows are not whole, and of those that are made larger or smaller."""
    path, net = seeing
    config, image = config_of(path), picture(*size)
    expected = random_qwen.image_processor()(image, return_tensors="pt")
    tiles = cut(image, config.tiling)
    assert expected["image_grid_thw"].tolist() == [[1, tiles.rows * 2, tiles.columns * 2]]
    assert grid(size, config.tiling) == (tiles.rows, tiles.columns)
    got = FreeEncoder.load(path, config, precision="float32").vectors(numbers(tiles.pixels[0], config.tiling))
    with torch.inference_mode():
        seen = net.model.get_image_features(expected["pixel_values"].float(), expected["image_grid_thw"])
    torch.testing.assert_close(torch.from_numpy(got[:, : -axes.AXES]), seen.pooler_output[0], rtol=1e-4, atol=1e-4)


def test_bfloat16_vectors_are_close(seeing: tuple[Path, Any]) -> None:
    config = config_of(seeing[0])
    tile = numbers(cut(IMAGES[0], config.tiling).pixels[0], config.tiling)
    exact, packed = (
        FreeEncoder.load(seeing[0], config, precision=precision).vectors(tile) for precision in ("float32", "packed")
    )
    assert 0 < np.linalg.norm(exact - packed) < 0.06 * np.linalg.norm(exact)


def test_an_image_that_is_too_long_is_refused(seeing: tuple[Path, Any]) -> None:
    with pytest.raises(ImageError, match="more than 200 times as long as it is wide"):
        cut(picture(1, 201), config_of(seeing[0]).tiling)


def test_logits_equal_transformers_however_a_prompt_is_cut(seeing: tuple[Path, Any]) -> None:
    path, net = seeing
    tokens, vectors = prompt_of(path, IMAGES)
    expected = theirs(net, path, tokens, IMAGES)
    decoder = model.load(path, precision="float32")
    whole = decoder.forward([Chunk(tokens, decoder.new_cache(len(tokens)), vectors)], every_token=True)
    torch.testing.assert_close(whole, expected, rtol=1e-4, atol=1e-4)
    inside = max(vectors) - 3
    for middle in (min(vectors) + 5, inside, len(tokens) - 2):
        cache, other = decoder.new_cache(len(tokens)), decoder.new_cache(9)
        decoder.forward([Chunk([1, 2, 3], other), Chunk(tokens[:middle], cache, part(vectors, 0, middle))])
        copy = decoder.new_cache(len(tokens) + 5)
        copy.copy_prefix(cache, middle - 1)
        for taken in (cache, copy):
            rest = Chunk(tokens[taken.length :], taken, part(vectors, taken.length, len(tokens)))
            last = decoder.forward([Chunk([4], other), rest])[1]
            torch.testing.assert_close(last, expected[-1], rtol=1e-4, atol=1e-4)


def test_text_alone_equals_transformers(seeing: tuple[Path, Any]) -> None:
    path, net = seeing
    tokens = list(range(3, 60))
    with torch.inference_mode():
        expected = net(input_ids=torch.tensor([tokens])).logits[0]
    decoder = model.load(path, precision="float32")
    got = decoder.forward([Chunk(tokens, decoder.new_cache(64))], every_token=True)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_the_kernels_turn_by_three_axes(seeing: tuple[Path, Any]) -> None:
    path, _ = seeing
    kernels = choice.open_model(path, "cpu").model
    if isinstance(kernels, TorchModel):
        pytest.skip("there are no kernels for this processor")
    tokens, vectors = prompt_of(path, IMAGES)
    tiled = model.load(path, precision="tiled")
    expected = tiled.forward([Chunk(tokens, tiled.new_cache(len(tokens)), vectors)])[0].numpy()
    got = kernels.forward([Chunk(tokens, kernels.new_cache(len(tokens)), vectors)])[0].copy()
    assert np.abs(got - expected).mean() < 0.04 * expected.std()
    middle = min(vectors) + 5
    cache, copy = kernels.new_cache(len(tokens)), kernels.new_cache(len(tokens))
    kernels.forward([Chunk(tokens[:middle], cache, part(vectors, 0, middle))])
    copy.copy_prefix(cache, middle)
    rest = part(vectors, middle, len(tokens))
    np.testing.assert_array_equal(kernels.forward([Chunk(tokens[middle:], copy, rest)])[0], got)
    flat = {place: np.concatenate((row[: -axes.AXES], np.zeros(3, np.float32))) for place, row in vectors.items()}
    other = kernels.forward([Chunk(tokens, kernels.new_cache(len(tokens)), flat)])[0]
    assert np.abs(other - expected).mean() > 0.1 * expected.std()


def test_generations_share_what_was_seen_and_are_what_they_are_alone(seeing: tuple[Path, Any]) -> None:
    path, net = seeing
    decoder = TorchModel(model.load(path, precision="float32"))
    prompts = [prompt_of(path, [picture(60, 40), picture(20, 45, seed=seed)]) for seed in (1, 2)]
    alone = []
    for tokens, vectors in prompts:
        scheduler = Scheduler(decoder)
        alone.append(list(scheduler.submit(tokens, Sampling(max_tokens=8), vectors=vectors)))
        scheduler.close()
    ids = [*prompts[0][0], *alone[0][:-1]]
    expected = theirs(net, path, ids, [picture(60, 40), picture(20, 45, seed=1)])[len(prompts[0][0]) - 1 :]
    assert alone[0] == expected.argmax(-1).tolist()
    scheduler = Scheduler(decoder)
    for turn in (0, 1, 0):
        tokens, vectors = prompts[turn]
        generation = scheduler.submit(tokens, Sampling(max_tokens=8), vectors=vectors)
        assert list(generation) == alone[turn]
    scheduler.close()


def test_images_that_look_alike_in_other_shapes_are_told_apart(seeing: tuple[Path, Any]) -> None:
    """Every square of a white image looks as every other, and stands elsewhere."""
    white = [[Image.new("RGB", size, "white"), picture(9, 9)] for size in ((32, 64), (64, 32))]
    (tokens, wide), (same, high) = (prompt_of(seeing[0], images) for images in white)
    assert tokens == same
    place = min(wide) + 10
    np.testing.assert_allclose(wide[place][: -axes.AXES], high[place][: -axes.AXES], atol=1e-4)
    assert [list(rows[place][-axes.AXES :]) for rows in (wide, high)] == [[0, 2, 2], [0, 1, 2]]
    assert content_keys(tokens, {place: wide[place]}) != content_keys(tokens, {place: high[place]})


# --- what files say ---------------------------------------------------------------------------------------------------


def test_flat_files_as_they_are_published_say_the_same(seeing: tuple[Path, Any], tmp_path: Path) -> None:
    nested = json.loads((seeing[0] / "config.json").read_text())
    text = nested.pop("text_config")
    sections = text.pop("rope_parameters")["mrope_section"]
    nested_text = {**text, "rope_theta": 10000.0}
    del text["model_type"], text["layer_types"]
    flat = {**text, **nested, "rope_theta": 10000.0, "rope_scaling": {"type": "mrope", "mrope_section": sections}}
    flat |= {"vision_token_id": 9, "image_token_id": nested["image_token_id"], "sliding_window": 32768}
    flat["vision_config"] = {**nested["vision_config"], "in_chans": 3, "spatial_patch_size": 4}
    for name in ("in_channels", "rope_parameters", "temporal_patch_size", "spatial_merge_size"):
        del flat["vision_config"][name]
    (tmp_path / "config.json").write_text(json.dumps(flat))
    pixels = {"min_pixels": 256, "max_pixels": 4096, "patch_size": 4, "temporal_patch_size": 2, "merge_size": 2}
    rest = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
    described = {**pixels, **rest, "image_processor_type": "Qwen2VLImageProcessor", "processor_class": "x"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(described))
    assert config_of(tmp_path) == config_of(seeing[0])
    doubled = {**flat, "text_config": {**nested_text, "vision_token_id": 9, "video_token_id": None}}
    doubled["text_config"]["rope_scaling"] = {"mrope_section": sections, "rope_type": "default", "type": "default"}
    mine, other = (config_json.read(json.loads((at / "config.json").read_text())) for at in (tmp_path, seeing[0]))
    assert mine.rope is not None
    assert other.rope is not None
    assert mine.rope.axes == other.rope.axes == [0] * 2 + [1] * 3 + [2] * 3
    assert mine.rope.theta == other.rope.theta
    assert config_json.read(doubled) == mine  # as transformers 4.53 writes it: some of it twice


def test_an_image_has_no_more_pixels_than_can_be_looked_at(seeing: tuple[Path, Any], tmp_path: Path) -> None:
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_text((seeing[0] / name).read_text())
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"size": {"shortest_edge": 3136, "longest_edge": 12845056}, "patch_size": 4})
    )
    rows, columns = grid((8000, 6000), config_of(tmp_path).tiling)
    assert 0.9 * MOST < rows * columns * 64 <= MOST


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("config.json", {"vision_config": {"patch_size": 5}}, "patch_size is 4, which is not supported"),
        ("config.json", {"vision_config": {"num_heads": 5}}, "image encoder of 5 heads in 32 channels"),
        ("config.json", {"vision_config": {"hidden_act": "quick"}}, "hidden_act 'quick' is not supported"),
        ("config.json", {"vision_config": {"temporal_patch_size": 4}}, "temporal_patch_size is 4"),
        ("config.json", {"vision_config": {"in_channels": 4}}, "in_channels is 4"),
        ("config.json", {"vision_config": {"depth": 0}}, "layers is 0"),
        ("config.json", {"vision_config": {"registers": 4}}, "vision_config has registers = 4"),
        ("config.json", {"vision_config": {"rope_parameters": {"rope_type": "yarn"}}}, "rope_parameters is"),
        ("preprocessor_config.json", {"do_rescale": False}, "do_rescale is False, which is not supported"),
        ("preprocessor_config.json", {"merge_size": 3}, "merge_size is 3"),
        ("preprocessor_config.json", {"sharpen": 1}, "has sharpen = 1"),
        ("preprocessor_config.json", {"size": {"shortest_edge": 99, "longest_edge": 9}}, "of 99 to 9 pixels"),
        ("preprocessor_config.json", {"image_std": [0, 1, 1]}, "an image_std that cannot be computed with"),
        ("preprocessor_config.json", {"image_mean": ["x", 1, 1]}, "image_mean is no list of three numbers"),
    ],
)
def test_what_is_not_computed_is_refused(
    file: str, changes: dict[str, Any], message: str, seeing: tuple[Path, Any], tmp_path: Path
) -> None:
    for name in ("config.json", "preprocessor_config.json"):
        values = json.loads((seeing[0] / name).read_text())
        for key, value in (changes if name == file else {}).items():
            values[key] = values[key] | value if key == "vision_config" else value
        (tmp_path / name).write_text(json.dumps(values))
    with pytest.raises(ModelError, match=message):
        config_of(tmp_path)


@pytest.mark.parametrize(
    "scaling",
    [{"mrope_section": [2, 3, 4]}, {"mrope_section": [8]} | {"rope_type": "yarn", "factor": 2.0}, {"mrope_section": 8},
     {"mrope_section": [-2, 5, 5]}],
)  # fmt: skip
def test_axes_that_are_not_computed_are_refused(scaling: dict[str, Any], seeing: tuple[Path, Any]) -> None:
    source = json.loads((seeing[0] / "config.json").read_text())
    source["text_config"]["rope_parameters"] |= scaling
    with pytest.raises(ModelError, match=r"mrope_section .* is not supported"):
        config_json.read(source)
