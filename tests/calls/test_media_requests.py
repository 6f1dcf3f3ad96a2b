"""Calls that change pictures or make videos, before they are made."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import awsllm
from awsllm.calls.media_requests import prepare_edit, prepare_image, prepare_video
from awsllm.errors import UnsupportedError, ValidationError
from awsllm.testing import AsyncScriptedBackend, ScriptedBackend
from awsllm.types import Bytes, Image
from awsllm.types.media import TASKS, ImageEditRequest
from awsllm.wire.amazon.images import CANVAS, TITAN
from awsllm.wire.stability.edit import SERVICES
from tests.support.media import MASK, OTHER, PICTURE, PIXELS

CANVAS_ID = "bedrock:amazon.nova-canvas-v1:0"


def test_pictures_are_paths_bytes_and_images(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PIXELS)
    reference, request = prepare_edit(CANVAS_ID, [path, str(path), PIXELS, PICTURE], {"mask": PIXELS})
    assert (reference.scheme, request.model) == ("bedrock", "amazon.nova-canvas-v1:0")
    assert request.images == (PICTURE,) * 4
    assert request.mask == PICTURE
    _, painted = prepare_image(CANVAS_ID, "a cat", {"images": [path], "colors": ["#ff8800"], "strength": 0.5})
    assert (painted.images, painted.colors, painted.strength) == ((PICTURE,), ("#ff8800",), 0.5)


@pytest.mark.parametrize(
    ("model", "options", "task"),
    [
        (CANVAS_ID, {}, "variation"),
        (CANVAS_ID, {"mask": MASK}, "inpaint"),
        (CANVAS_ID, {"mask_prompt": "the hat"}, "inpaint"),
        (CANVAS_ID, {"task": "outpaint", "mask": MASK}, "outpaint"),
        ("bedrock:us.stability.stable-image-remove-background-v1:0", {}, "remove_background"),
        ("bedrock:us.stability.stable-image-erase-object-v1:0", {"mask": MASK}, "erase"),
        ("bedrock:us.stability.stable-fast-upscale-v1:0", {}, "upscale"),
        ("bedrock:stability.stable-diffusion-xl-v1", {}, "variation"),
    ],
)
def test_a_task_that_is_not_named_is_what_the_model_does(model: str, options: Any, task: str) -> None:
    _, request = prepare_edit(model, PICTURE, options)
    assert request.task == task


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        ([], {}, "no image to edit"),
        (PICTURE, {"task": "resize"}, "unknown task 'resize': it is one of inpaint, outpaint"),
        (PICTURE, {"count": 0}, "count is 0; it is at least 1"),
        (PICTURE, {"maks": MASK}, "did you mean 'mask'"),
        (PICTURE, {"count": "2"}, "count is '2'; it is an int"),
        (PICTURE, {"strength": "0.5"}, "strength is '0.5'; it is an int or a float"),
        (PICTURE, {"prompt": 7}, "prompt: a int is no text"),
        (b"no picture", {}, "10 bytes is not an image of a known format"),
        ("missing.png", {}, "cannot read 'missing.png'"),
    ],
)
def test_what_cannot_be_is_refused(image: Any, options: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        prepare_edit(CANVAS_ID, image, options)


def test_every_task_is_known_to_a_model_and_named() -> None:
    known = CANVAS.tasks | TITAN.tasks | {service.task for service in SERVICES.values()}
    assert known == set(TASKS)


def test_a_video_is_only_on_bedrock() -> None:
    _, request = prepare_video("bedrock:luma.ray-v2:0", "a cat", {"images": [PICTURE, OTHER], "duration": 5})
    assert (request.images, request.duration, request.shots) == ((PICTURE, OTHER), 5, ())
    with pytest.raises(ValidationError, match="duration is '6'; it is an int"):
        prepare_video("bedrock:luma.ray-v2:0", "a cat", {"duration": "6"})  # type: ignore[typeddict-item]
    with pytest.raises(UnsupportedError, match="not possible with local: models"):
        prepare_video("local:a", "a cat", {})


def test_a_prompt_does_not_stand_in_a_request_s_repr() -> None:
    _, edit = prepare_edit(CANVAS_ID, Image("png", Bytes(PIXELS)), {"prompt": "secret"})
    _, video = prepare_video("bedrock:luma.ray-v2:0", "secret", {})
    assert "secret" not in repr(edit) + repr(video)


def test_both_clients_hand_the_request_to_the_backend() -> None:
    backend = ScriptedBackend("unused")
    with awsllm.Client(region="us-east-1", backends={"bedrock": backend}) as client:
        response = client.edit_image(CANVAS_ID, PICTURE, task="variation", prompt="at night", count=2)
    assert (len(response.images), response.model) == (2, CANVAS_ID)

    async def run() -> int:
        async with awsllm.AsyncClient(
            region="us-east-1", backends={"bedrock": AsyncScriptedBackend(backend)}
        ) as client:
            return len((await client.edit_image(CANVAS_ID, PICTURE, mask=MASK, prompt="a hat")).images)

    assert asyncio.run(run()) == 1
    assert [request.task for request in backend.requests if isinstance(request, ImageEditRequest)] == [
        "variation",
        "inpaint",
    ]
