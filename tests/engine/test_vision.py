"""Images on their way to the decoder, each step against transformers' own: pixels, vectors, prompts, logits."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from awsllm.engine import choice, config_json, model, vision, vision_json, vision_pixels, weights
from awsllm.engine.errors import ModelError
from awsllm.engine.generate import Sampling
from awsllm.engine.interface import Chunk, Floats
from awsllm.engine.scheduler import Scheduler
from awsllm.engine.tokenizer import Tokenizer
from awsllm.engine.torch_model import TorchModel
from awsllm.engine.vectors import content_keys, part
from awsllm.engine.vision import Texts, VisionConfig
from awsllm.engine.vision_encoder import VisionEncoder
from awsllm.engine.vision_pixels import ImageError, cut, decode, numbers
from tests.support import random_vision
from tests.support.random_vision import encoded, picture

IDEFICS3 = Texts("<image>", "<image>")
GEMMA = Texts("<start_of_image>", "<image_soft_token>", "<end_of_image>")
SIZES = [(64, 64), (16, 16), (5, 3), (100, 31), (31, 100), (300, 7), (7, 300), (1, 90), (33, 50), (640, 479), (2, 1)]


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A model's directory, and transformers' model of it."""
    path = tmp_path_factory.mktemp("idefics3")
    return path, random_vision.write(path)


def config_of(path: Path) -> VisionConfig:
    config = vision_json.read(path, json.loads((path / "config.json").read_text()))
    assert isinstance(config, VisionConfig)
    return config


def of_processor(path: Path, **changes: Any) -> VisionConfig:
    random_vision.processor(**changes).save_pretrained(path)
    random_vision.make().config.save_pretrained(path)
    return config_of(path)


def pixels(image: Image.Image, config: VisionConfig) -> torch.Tensor:
    """(tiles, 3, H, W)."""
    tiles = cut(image, config.tiling).pixels
    return torch.from_numpy(np.stack([numbers(tile, config.tiling) for tile in tiles]))


# --- pixels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"longest": 40},
        {"longest": 16},
        {"do_image_splitting": False},
        {"do_resize": False},
        {"resample": 3, "image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]},
    ],
)
def test_tiles_equal_those_of_transformers(changes: dict[str, Any], tmp_path: Path) -> None:
    config, theirs = of_processor(tmp_path, **changes), random_vision.processor(**changes).image_processor
    for size in SIZES:
        image = picture(*size)
        expected = theirs(image, return_tensors="pt", return_row_col_info=True)
        torch.testing.assert_close(pixels(image, config), expected["pixel_values"][0].float(), rtol=0, atol=1e-6)
        tiles = cut(image, config.tiling)
        assert [[tiles.rows]] == expected["rows"], size
        assert [[tiles.columns]] == expected["cols"], size


def test_an_edge_is_never_made_longer_than_4096() -> None:
    processor = random_vision.processor(longest=5000).image_processor
    tiling = vision.Tiling(
        longest=5000, tile=512, split=True, resample=1, scale=1 / 255, mean=(0.5,) * 3, std=(0.5,) * 3
    )
    tiles = cut(picture(60, 30), tiling)
    expected = processor(picture(60, 30), max_image_size={"longest_edge": 512}, return_row_col_info=True)
    assert [[[tiles.rows]], [[tiles.columns]]] == [expected["rows"], expected["cols"]] == [[[4]], [[8]]]


@pytest.mark.parametrize(
    ("form", "mode", "options"),
    [
        ("PNG", "RGB", {}), ("PNG", "RGBA", {}), ("PNG", "L", {}), ("PNG", "P", {}), ("PNG", "1", {}),
        ("PNG", "LA", {}), ("JPEG", "RGB", {}), ("JPEG", "L", {}), ("JPEG", "CMYK", {}), ("GIF", "P", {}),
        ("GIF", "P", {"transparency": 3}), ("WEBP", "RGB", {}), ("WEBP", "RGBA", {"lossless": True}),
    ],
)  # fmt: skip
def test_every_kind_of_file_becomes_the_colours_that_transformers_sees(
    form: str, mode: str, options: dict[str, Any], tmp_path: Path
) -> None:
    config, theirs = of_processor(tmp_path), random_vision.processor().image_processor
    data = encoded(picture(40, 30, mode="RGBA").convert(mode), form, **options)
    expected = theirs(Image.open(io.BytesIO(data)), return_tensors="pt")["pixel_values"][0].float()
    torch.testing.assert_close(pixels(decode(data), config), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_the_first_of_several_frames_is_seen(form: str) -> None:
    frames = [picture(20, 20, seed=seed) for seed in (1, 2, 3)]
    moving = encoded(frames[0], form, save_all=True, append_images=frames[1:], lossless=True)
    still = encoded(frames[0], form, lossless=True)
    assert np.abs(np.asarray(decode(moving)).astype(int) - np.asarray(decode(still)).astype(int)).max() <= 1


def test_an_image_is_turned_as_its_camera_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the top is at the right
    image = picture(40, 20)
    turned = decode(encoded(image, exif=exif))
    assert np.array_equal(np.asarray(turned), np.asarray(image.transpose(Image.Transpose.ROTATE_270)))


def bomb(width: int, height: int) -> bytes:
    """A PNG that claims to be large, of some bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def test_an_image_of_very_many_tiles_is_refused() -> None:
    """Where a model scales none, a line of pixels would be filled up to gigabytes."""
    unscaled = vision.Tiling(longest=None, tile=32, split=True, resample=1, scale=1.0, mean=(0,) * 3, std=(1,) * 3)
    assert vision_pixels.grid((2048, 2048), unscaled) == (64, 64)
    for size, tile in (((2049, 2048), 32), ((1, 1 << 26), 512)):
        with pytest.raises(ImageError, match="pixels: too many"):
            vision_pixels.grid(size, replace(unscaled, tile=tile))


@pytest.mark.parametrize("size", [(9000, 9000), (12000, 12000), (60000, 60000), (2**31 - 1, 2**31 - 1), (1, 2**30)])
def test_a_bomb_is_refused_before_it_is_decoded(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match=r"pixels; at most 67,108,864 are decoded"):
        decode(bomb(*size))


def test_damaged_files_are_refused_without_a_word_of_the_decoder() -> None:
    whole = {form: encoded(picture(64, 64), form) for form in ("PNG", "JPEG", "GIF", "WEBP")}
    spoiled = [b"", b"?", *(data[: len(data) // 2] for data in whole.values()), bomb(100, 100)]
    spoiled += [encoded(picture(8, 8), form) for form in ("BMP", "TIFF", "PPM", "ICO")]
    for data in spoiled:
        with pytest.raises(ImageError, match=r"^cannot be decoded: it is damaged, or no PNG, JPEG, GIF or WebP image$"):
            decode(data)


def test_no_change_of_a_byte_makes_anything_but_an_image_or_a_refusal() -> None:
    random = np.random.default_rng(0)
    for form in ("PNG", "JPEG", "GIF", "WEBP"):
        data = encoded(picture(24, 24), form)
        for _ in range(60):
            changed = bytearray(data)
            for place in random.integers(0, len(data), 3):
                changed[place] = int(random.integers(0, 256))
            with suppress(ImageError):
                assert decode(bytes(changed)).mode == "RGB"


# --- vectors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "shape", "scale_factor"),
    [
        ("idefics3", {}, 2),
        ("smolvlm", {}, 4),
        ("idefics3", {"image_size": 16, "patch_size": 5, "hidden_act": "gelu"}, 3),
        ("smolvlm", {"image_size": 16, "patch_size": 3, "layer_norm_eps": 1e-3}, 1),
        ("idefics3", {"image_size": 54, "patch_size": 2}, 3),  # 27 patches, whose fractions are no whole numbers
    ],
)
def test_vectors_equal_transformers(family: str, shape: dict[str, Any], scale_factor: int, tmp_path: Path) -> None:
    net = random_vision.make(family, vision=shape, scale_factor=scale_factor)
    net.save_pretrained(tmp_path)
    edge = shape.get("image_size", random_vision.TILE)
    described = {"max_image_size": {"longest_edge": edge}, "size": {"longest_edge": 2 * edge}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(described))
    config = config_of(tmp_path)
    encoder = VisionEncoder.load(tmp_path, config, precision="float32")
    given = pixels(picture(50, 30), config)
    with torch.inference_mode():
        expected = net.model.get_image_features(given[None]).pooler_output[0]
    got = torch.from_numpy(np.concatenate([encoder.vectors(tile.numpy()) for tile in given]))
    assert len(got) == len(given) * config.tokens
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_bfloat16_vectors_are_close(seeing: tuple[Path, Any]) -> None:
    config = config_of(seeing[0])
    tile = numbers(cut(picture(50, 30), config.tiling).pixels[0], config.tiling)
    exact, packed = (
        VisionEncoder.load(seeing[0], config, precision=precision).vectors(tile) for precision in ("float32", "packed")
    )
    assert np.linalg.norm(exact - packed) < 0.05 * np.linalg.norm(exact)


# --- prompts and logits -----------------------------------------------------------------------------------------------


def prompt_of(
    path: Path, text: str, images: list[Image.Image], texts: Texts = IDEFICS3
) -> tuple[list[int], dict[int, Any]]:
    """Tokens of the prompt, and its vectors, by this engine."""
    config = config_of(path)
    tokenizer, encoder = (
        Tokenizer.from_file(path / "tokenizer.json"),
        VisionEncoder.load(path, config, precision="float32"),
    )
    rows: list[Any] = []
    for image in images:
        tiles = cut(image, config.tiling)
        rows += [row for tile in tiles.pixels for row in encoder.vectors(numbers(tile, config.tiling))]
        before, _, after = text.partition(texts.mark)
        written = vision.placeholder(config, tiles.rows, tiles.columns, texts).replace("<", "<\0")
        text = f"{before}{written}{after}"
    tokens = tokenizer.encode(text.replace("\0", ""))
    places = [place for place, token in enumerate(tokens) if token == config.image_token]
    return tokens, dict(zip(places, rows, strict=True))


TEXT = "<|im_start|>User:<image>What is<image> this?\n\n<end_of_utterance>\nAssistant:"


def test_prompts_equal_those_of_transformers_and_so_do_logits(seeing: tuple[Path, Any]) -> None:
    path, net = seeing
    images = [picture(60, 40), picture(10, 30, seed=1)]
    theirs = random_vision.processor()(images=images, text=TEXT, return_tensors="pt")
    tokens, vectors = prompt_of(path, TEXT, images)
    assert tokens == theirs["input_ids"][0].tolist()
    with torch.inference_mode():
        expected = net(input_ids=theirs["input_ids"], pixel_values=theirs["pixel_values"].float()).logits[0]
    decoder = model.load(path, precision="float32")
    whole = decoder.forward([Chunk(tokens, decoder.new_cache(len(tokens)), vectors)], every_token=True)
    torch.testing.assert_close(whole, expected, rtol=1e-4, atol=1e-4)
    other, cache = decoder.new_cache(9), decoder.new_cache(len(tokens))  # beside others, and in parts
    first = {place: row for place, row in vectors.items() if place < 40}
    rest = {place - 40: row for place, row in vectors.items() if place >= 40}
    decoder.forward([Chunk([1, 2, 3], other), Chunk(tokens[:40], cache, first)])
    last = decoder.forward([Chunk([4, 5], other), Chunk(tokens[40:], cache, rest)])[1]
    torch.testing.assert_close(last, expected[-1], rtol=1e-4, atol=1e-4)


def test_one_small_tile_is_told_without_a_grid(tmp_path: Path) -> None:
    config, theirs = of_processor(tmp_path, longest=16), random_vision.processor(longest=16)
    tokens = theirs(images=[picture(16, 16)], text="<image>?")["input_ids"][0]
    tokenizer = Tokenizer.from_file(tmp_path / "tokenizer.json")
    assert tokenizer.encode(vision.placeholder(config, 0, 0, IDEFICS3) + "?") == tokens


def test_the_kernels_take_vectors_in_the_place_of_tokens(seeing: tuple[Path, Any]) -> None:
    path, net = seeing
    kernels = choice.open_model(path, "cpu").model
    if isinstance(kernels, TorchModel):
        pytest.skip("there are no kernels for this processor")
    theirs = random_vision.processor()(images=[picture(60, 40), picture(10, 30)], text=TEXT, return_tensors="pt")
    tokens, vectors = prompt_of(path, TEXT, [picture(60, 40), picture(10, 30)])
    with torch.inference_mode():
        expected = net(input_ids=theirs["input_ids"], pixel_values=theirs["pixel_values"].float()).logits[0, -1]
    cache = kernels.new_cache(len(tokens))
    for start in range(0, len(tokens), kernels.block):
        stop = min(start + kernels.block, len(tokens))
        got = kernels.forward([Chunk(tokens[start:stop], cache, part(vectors, start, stop))])[0]
    logarithms, wanted = torch.from_numpy(got).log_softmax(-1), expected.log_softmax(-1)
    assert (wanted.exp() * (wanted - logarithms)).sum() < 0.1  # Kullback-Leibler, nats
    blind = kernels.forward([Chunk(tokens, kernels.new_cache(len(tokens)))])[0]
    assert (wanted.exp() * (wanted - torch.from_numpy(blind).log_softmax(-1))).sum() > 0.2


# --- Gemma 3 ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    path = tmp_path_factory.mktemp("gemma3")
    return path, random_vision.write_gemma(path)


GEMMA_TEXT = (
    "<bos><start_of_turn>user\n<start_of_image>What is<start_of_image> this?<end_of_turn>\n<start_of_turn>model\n"
)


def test_gemma_prompts_equal_those_of_transformers_and_so_do_logits(gemma: tuple[Path, Any]) -> None:
    path, net = gemma
    images = [picture(60, 40), picture(10, 30, seed=1)]
    theirs = random_vision.gemma_processor()(
        images=images, text=GEMMA_TEXT, return_tensors="pt", add_special_tokens=False
    )
    tokens, vectors = prompt_of(path, GEMMA_TEXT, images, GEMMA)
    assert tokens == theirs["input_ids"][0].tolist()
    given = {name: theirs[name] for name in ("input_ids", "token_type_ids")}
    with torch.inference_mode():
        pixel_values = theirs["pixel_values"].float()
        seen = net.model.get_image_features(pixel_values).pooler_output.flatten(0, 1)
        expected = net(**given, pixel_values=pixel_values).logits[0]
    got = torch.from_numpy(np.stack(list(vectors.values())))
    torch.testing.assert_close(got, seen, rtol=1e-4, atol=1e-4)
    decoder = model.load(path, precision="float32")
    whole = decoder.forward([Chunk(tokens, decoder.new_cache(len(tokens)), vectors)], every_token=True)
    torch.testing.assert_close(whole, expected, rtol=1e-4, atol=1e-4)
    middle = max(vectors) - 63  # where the second image begins
    cache, other = decoder.new_cache(len(tokens)), decoder.new_cache(9)
    decoder.forward([Chunk([1, 2, 3], other), Chunk(tokens[:middle], cache, part(vectors, 0, middle))])
    rest = Chunk(tokens[middle:], cache, part(vectors, middle, len(tokens)))
    torch.testing.assert_close(decoder.forward([Chunk([4], other), rest])[1], expected[-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("own", ["model.vision_tower.vision_model.", "vision_tower.vision_model."])
def test_gemma_with_the_names_of_other_versions(own: str, gemma: tuple[Path, Any], tmp_path: Path) -> None:
    """And with the summary of images that SigLIP has, which goes unused."""
    net = random_vision.make_gemma()
    net.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    beside = own.partition("vision_tower.")[0]
    renamed = {
        name.replace("vision_tower.", own) if "vision_tower." in name else name: t for name, t in tensors.items()
    }
    renamed = {
        name.replace("multi_modal_projector.", f"{beside}multi_modal_projector."): t for name, t in renamed.items()
    }
    assert any(".head." in name for name in renamed)
    save_file(renamed, tmp_path / "model.safetensors")
    config = config_of(gemma[0])
    tile = numbers(cut(picture(50, 30), config.tiling).pixels[0], config.tiling)
    found = [VisionEncoder.load(path, config, precision="float32").vectors(tile) for path in (tmp_path, gemma[0])]
    with torch.inference_mode():
        expected = net.model.get_image_features(torch.from_numpy(tile)[None]).pooler_output[0]
    torch.testing.assert_close(torch.from_numpy(found[0]), expected, rtol=1e-4, atol=1e-4)
    assert len(found[1]) == len(found[0])
    model.load(tmp_path)


def test_the_kernels_let_the_vectors_of_an_image_see_each_other(gemma: tuple[Path, Any]) -> None:
    """In layers with a window and without, however many rows attend together."""
    path, _ = gemma
    kernels = choice.open_model(path, "cpu").model
    if isinstance(kernels, TorchModel):
        pytest.skip("there are no kernels for this processor")
    images = [picture(60, 40), picture(10, 30, seed=1)]
    tokens, vectors = prompt_of(path, GEMMA_TEXT, images, GEMMA)
    tiled = model.load(path, precision="tiled")
    expected = tiled.forward([Chunk(tokens, tiled.new_cache(len(tokens)), vectors)])[0]
    got = kernels.forward([Chunk(tokens, kernels.new_cache(len(tokens)), vectors)])[0].copy()
    assert np.abs(got - expected.numpy()).mean() < 0.015 * expected.std()
    middle = max(vectors) - 63  # where the second image begins
    cache, other = kernels.new_cache(len(tokens)), kernels.new_cache(9)
    kernels.forward([Chunk([1, 2, 3], other), Chunk(tokens[:middle], cache, part(vectors, 0, middle))])
    rest = Chunk(tokens[middle:], cache, part(vectors, middle, len(tokens)))
    np.testing.assert_array_equal(kernels.forward([Chunk([4], other), rest])[1], got)
    tiled.attention.whole_images = False
    blind = tiled.forward([Chunk(tokens, tiled.new_cache(len(tokens)), vectors)])[0]
    assert np.abs(got - blind.numpy()).mean() > 0.05 * expected.std()


class Noting(TorchModel):
    """Notes where the chunks that it computes begin and end in their sequences."""

    def __init__(self, decoder: model.Decoder) -> None:
        super().__init__(decoder)
        self.ends: list[tuple[int, int]] = []

    def forward(self, chunks: Sequence[Chunk]) -> Floats:
        self.ends += [(chunk.cache.length, chunk.cache.length + len(chunk.tokens)) for chunk in chunks]
        return super().forward(chunks)


def test_an_image_that_sees_itself_is_computed_at_once(gemma: tuple[Path, Any]) -> None:
    """However blocks cut its prompt, and whatever is known of its beginning."""
    path, _ = gemma
    first, others = picture(60, 40), (picture(9, 9), picture(9, 9, seed=1))
    prompts = [prompt_of(path, GEMMA_TEXT, [first, other], GEMMA) for other in others]
    prompts.append(prompt_of(path, f"{GEMMA_TEXT}{'So' * 60}", [first, others[0]], GEMMA))
    noting = Noting(model.load(path))
    vectors = prompts[0][1]
    inside = {place for place in vectors if place - 1 in vectors}
    assert {noting.block, 2 * noting.block} <= inside
    alone = []
    for tokens, rows in prompts:
        scheduler = Scheduler(noting)
        alone.append(list(scheduler.submit(tokens, greedy(), None, None, rows)))
        scheduler.close()
    scheduler = Scheduler(noting)
    turns = [scheduler.submit(tokens, greedy(), None, None, rows) for tokens, rows in prompts]
    assert [list(turn) for turn in turns] == alone
    again = scheduler.submit(prompts[2][0], greedy(), None, None, prompts[2][1])
    assert list(again) == alone[2]
    assert again.cached_tokens >= 3 * noting.block
    assert not inside & {end for ends in noting.ends for end in ends}
    scheduler.close()


def greedy() -> Sampling:
    return Sampling(max_tokens=12)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("config.json", {"mm_tokens_per_image": 60}, "mm_tokens_per_image is 60, which is no grid"),
        ("config.json", {"mm_tokens_per_image": 25}, "which is no grid that 16 patches a side make"),
        ("preprocessor_config.json", {"do_pan_and_scan": True}, "do_pan_and_scan is True, which is not supported"),
        ("preprocessor_config.json", {"size": {"height": 32, "width": 16}}, "16 x 32 pixels, which are no square"),
        ("preprocessor_config.json", {"do_resize": False}, "do_resize is False, which is not supported"),
    ],
)
def test_a_gemma_that_is_not_computed_is_refused(
    file: str, changes: dict[str, Any], message: str, gemma: tuple[Path, Any], tmp_path: Path
) -> None:
    described = json.loads((gemma[0] / "processor_config.json").read_text())["image_processor"]
    files = {"config.json": json.loads((gemma[0] / "config.json").read_text()), "preprocessor_config.json": described}
    for name, values in files.items():
        (tmp_path / name).write_text(json.dumps(values | (changes if name == file else {})))
    with pytest.raises(ModelError, match=message):
        config_of(tmp_path)


def test_a_decoder_taken_out_of_gemma_sees_nothing(gemma: tuple[Path, Any], tmp_path: Path) -> None:
    assert vision_json.read(tmp_path, json.loads((gemma[0] / "config.json").read_text())) is None


# --- the scheduler ----------------------------------------------------------------------------------------------------


def test_prompts_share_what_was_seen_and_not_what_looks_alike(seeing: tuple[Path, Any]) -> None:
    """The tokens of two images of one size are the same; what was computed of one is not what the other shows."""
    path, _ = seeing
    prompts = [prompt_of(path, TEXT, [picture(60, 40, seed=seed), picture(10, 30)]) for seed in (5, 6)]
    assert prompts[0][0] == prompts[1][0]
    decoder = TorchModel(model.load(path))
    assert len(prompts[0][0]) > 2 * decoder.block
    alone = []
    for tokens, vectors in prompts:
        scheduler = Scheduler(decoder)
        alone.append(list(scheduler.submit(tokens, Sampling(max_tokens=12), vectors=vectors)))
        scheduler.close()
    assert alone[0] != alone[1]
    scheduler = Scheduler(decoder)
    for turn in (0, 1, 0, 1):
        tokens, vectors = prompts[turn]
        generation = scheduler.submit(tokens, Sampling(max_tokens=12), vectors=vectors)
        assert list(generation) == alone[turn]
    assert generation.cached_tokens >= 2 * decoder.block
    scheduler.close()


def test_keys_are_tokens_and_what_vectors_hold() -> None:
    row = np.arange(4, dtype=np.float32)
    assert content_keys([7, 8, 9], None) == [7, 8, 9]
    first, again, other = (content_keys([7, 8, 9], {1: value}) for value in (row, row.copy(), row + 1))
    assert first == again
    assert first != other
    assert first[1] < 0
    assert [first[0], first[2]] == [7, 9]


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("config.json", {"vision_config": {"hidden_size": 30}}, "4 heads in 30 channels"),
        ("config.json", {"vision_config": {"image_size": 1 << 20}}, "image_size is 1048576, not a whole number"),
        ("config.json", {"vision_config": {"patch_size": 17}}, "0 patches a side"),
        ("config.json", {"vision_config": {"patch_size": -4}}, "patch_size is -4"),
        ("config.json", {"vision_config": {"num_channels": 4}}, "num_channels is 4, which is not supported"),
        ("config.json", {"vision_config": {"hidden_act": "quick"}}, "hidden_act 'quick' is not supported"),
        ("config.json", {"vision_config": {"register_tokens": 4}}, "vision_config has register_tokens = 4"),
        ("config.json", {"scale_factor": 3}, "4 patches a side cannot be joined by 3"),
        ("config.json", {"use_resampler": True}, "config.json has use_resampler = True"),
        ("processor_config.json", {"image_seq_len": 169}, "says 169 vectors a tile, the encoder makes 4"),
        ("preprocessor_config.json", {"max_image_size": {"longest_edge": 32}}, "tiles of 32 pixels do not fit"),
        ("preprocessor_config.json", {"size": {"longest_edge": 999}}, "of 999 pixels into tiles of 16: not supported"),
        ("preprocessor_config.json", {"size": {"height": 9, "width": 9}}, "has no 'longest_edge'"),
        ("preprocessor_config.json", {"do_rescale": False}, "do_rescale is False, which is not supported"),
        ("preprocessor_config.json", {"sharpen": 1}, "has sharpen = 1"),
        ("preprocessor_config.json", {"image_std": [0, 1, 1]}, "an image_std that cannot be computed with"),
        ("preprocessor_config.json", {"image_mean": ["x", 1, 1]}, "image_mean is no list of three numbers"),
        ("preprocessor_config.json", {"resample": 9}, "a resample or an image_std"),
    ],
)
def test_configurations_that_are_not_computed_are_refused(
    file: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    of_processor(tmp_path)
    plain = json.loads((tmp_path / "processor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(plain["image_processor"]))
    values = json.loads((tmp_path / file).read_text())
    for name, value in changes.items():
        nested = isinstance(value, dict) and name == "vision_config"
        values[name] = values[name] | value if nested else value
    (tmp_path / file).write_text(json.dumps(values))
    with pytest.raises(ModelError, match=message):
        config_of(tmp_path)


SMOLVLM: dict[str, dict[str, Any]] = {  # as SmolVLM-256M-Instruct is published
    "config.json": {
        "architectures": ["Idefics3ForConditionalGeneration"], "image_token_id": 49190, "model_type": "idefics3",
        "scale_factor": 4, "tie_word_embeddings": False, "torch_dtype": "bfloat16", "pad_token_id": 2,
        "transformers_version": "4.46.0", "transformers.js_config": {"dtype": "q4"}, "use_cache": True,
        "use_reentrant_checkpoint": False, "vocab_size": 49280,
        "text_config": {
            "_flash_attn_2_enabled": True, "_name_or_path": "None", "architectures": ["VLlama3ForCausalLM"],
            "head_dim": 64, "hidden_size": 576, "intermediate_size": 1536, "is_llama_config": True,
            "max_position_embeddings": 8192, "model_type": "llama", "neftune_noise_alpha": 0.0,
            "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3, "pad_token_id": 2,
            "perceiver_config": {"attention_dropout": 0.0}, "pixel_shuffle_factor": 4, "qk_layer_norms": False,
            "rms_norm_eps": 1e-05, "rope_interleaved": False, "rope_theta": 100000, "torch_dtype": "bfloat16",
            "use_resampler": False, "vocab_size": 49280,
        },
        "vision_config": {
            "hidden_size": 768, "image_size": 512, "max_image_size": {"longest_edge": 512}, "model_type": "idefics3",
            "num_attention_heads": 12, "patch_size": 16, "size": {"longest_edge": 2048}, "torch_dtype": "bfloat16",
            "tie_word_embeddings": False, "use_base_siglip": True,
        },
    },
    "preprocessor_config.json": {
        "do_convert_rgb": True, "do_image_splitting": True, "do_normalize": True, "do_pad": True, "do_rescale": True,
        "do_resize": True, "image_mean": [0.5, 0.5, 0.5], "image_processor_type": "Idefics3ImageProcessor",
        "image_std": [0.5, 0.5, 0.5], "max_image_size": {"longest_edge": 512}, "processor_class": "Idefics3Processor",
        "resample": 1, "rescale_factor": 0.00392156862745098, "size": {"longest_edge": 2048},
    },
    "processor_config.json": {"image_seq_len": 64, "processor_class": "Idefics3Processor"},
}  # fmt: skip
GEMMA_4B: dict[str, dict[str, Any]] = {  # as gemma-3-4b-it is
    "config.json": {
        "architectures": ["Gemma3ForConditionalGeneration"], "boi_token_index": 255999, "eoi_token_index": 256000,
        "eos_token_id": [1, 106], "image_token_index": 262144, "initializer_range": 0.02, "mm_tokens_per_image": 256,
        "model_type": "gemma3", "torch_dtype": "bfloat16", "transformers_version": "4.50.0.dev0",
        "text_config": {
            "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024,
        },
        "vision_config": {
            "hidden_size": 1152, "image_size": 896, "intermediate_size": 4304, "model_type": "siglip_vision_model",
            "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14, "vision_use_head": False,
        },
    },
    "preprocessor_config.json": {
        "do_convert_rgb": None, "do_normalize": True, "do_pan_and_scan": None, "do_rescale": True, "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5], "image_processor_type": "Gemma3ImageProcessor", "image_seq_length": 256,
        "image_std": [0.5, 0.5, 0.5], "pan_and_scan_max_num_crops": None, "pan_and_scan_min_crop_size": None,
        "pan_and_scan_min_ratio_to_activate": None, "processor_class": "Gemma3Processor", "resample": 2,
        "rescale_factor": 0.00392156862745098, "size": {"height": 896, "width": 896},
    },
    "processor_config.json": {"image_seq_length": 256, "processor_class": "Gemma3Processor"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("files", "tokens", "size", "grid"), [(SMOLVLM, 64, 576, (3, 4)), (GEMMA_4B, 256, 2560, (0, 0))]
)
def test_published_models_are_read(
    files: dict[str, dict[str, Any]], tokens: int, size: int, grid: tuple[int, int], tmp_path: Path
) -> None:
    for name, values in files.items():
        (tmp_path / name).write_text(json.dumps(values))
    config = config_of(tmp_path)
    assert (config.tokens, config.text_size) == (tokens, size)
    assert vision_pixels.grid((640, 480), config.tiling) == grid
    decoder = config_json.read(files["config.json"])
    assert decoder.hidden_size == size
    assert decoder.whole_images == config.averaged


@pytest.mark.parametrize("text", ["[", "[]", "{" * 5000, "1" * (1 << 20)])
def test_files_that_are_no_objects_are_refused(text: str, tmp_path: Path) -> None:
    of_processor(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(ModelError, match=r"preprocessor_config.json is no JSON object"):
        config_of(tmp_path)


def test_an_encoder_with_other_tensors_is_refused(seeing: tuple[Path, Any]) -> None:
    config = config_of(seeing[0])
    tensors = dict(weights.read(seeing[0]).tensors)
    for change, message in [
        ({"model.vision_model.other.weight": tensors["model.text_model.norm.weight"]}, "tensors that are not used"),
        ({"model.vision_model.post_layernorm.bias": tensors["model.text_model.norm.weight"]}, r"has shape \(64,\)"),
    ]:
        with pytest.raises(ModelError, match=message):
            VisionEncoder(config, tensors | change, "float32", torch.device("cpu"))


def test_a_model_that_sees_nothing_has_no_encoder(tmp_path: Path) -> None:
    assert vision_json.read(tmp_path, {"model_type": "llama"}) is None
    assert vision_pixels.MAX_PIXELS == 1 << 26


def test_what_is_seen_is_told_without_pytorch() -> None:
    names = ("vision", "vision_json", "vision_pixels", "vectors")
    imports = "; ".join(f"import awsllm.engine.{name}" for name in names)
    command = f"import sys; {imports}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0
