"""Values of the operations that make or change pictures and videos."""

from __future__ import annotations

from typing import ClassVar

from awsllm.types import AttemptMade, EndpointOptions, Image, JsonObject, JsonValue, Request, S3Location, Value, Video


class ImageRequest(Request["ImageResponse"], frozen=True, kw_only=True):
    """One call of a text-to-image model. ``width`` and ``height`` are in pixels, ``aspect_ratio`` (16:9) is for models
    that choose the pixels themselves; ``steps`` are denoising steps, ``guidance_scale`` says how closely the prompt is
    followed. ``images`` are what the result shall be like, ``strength``, 0 to 1, how much they count, ``colors``
    (#ff8800) those it shall have. ``style``, ``quality`` and ``output_format`` are the model's own words. Unset means
    the model's own default."""

    operation: ClassVar[str] = "generate_image"
    served_by: ClassVar[str] = "bedrock: and sagemaker: text-to-image models"

    prompt: str
    negative_prompt: str | None = None
    count: int = 1
    width: int | None = None
    height: int | None = None
    aspect_ratio: str | None = None
    style: str | None = None
    quality: str | None = None
    images: tuple[Image, ...] = ()
    strength: float | None = None
    colors: tuple[str, ...] = ()
    steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    output_format: str | None = None
    extra: JsonObject | None = None
    endpoint: EndpointOptions | None = None
    request_metadata: dict[str, str] | None = None


class ImageResponse(Value, frozen=True, kw_only=True):
    """``images`` are in the order in which the model gave them; one that it withheld has ``error`` set."""

    images: tuple[Image, ...]
    model: str | None = None
    request_id: str | None = None
    cost: float | None = None
    warnings: tuple[str, ...] = ()
    raw: JsonValue = None
    attempts: tuple[AttemptMade, ...] = ()


TASKS: tuple[str, ...] = (
    *("inpaint", "outpaint", "variation", "remove_background", "try_on", "upscale", "erase"),
    *("search_replace", "search_recolor", "sketch", "structure", "style", "style_transfer"),
)
"""What can be done to an image; each model can do some of it."""


class ImageEditRequest(Request[ImageResponse], frozen=True, kw_only=True):
    """One change of an image. ``task`` says which (``TASKS``):

        inpaint            new content where ``mask`` or ``mask_prompt`` says
        outpaint           new surroundings: where the mask says, or ``left``, ``right``, ``up``, ``down`` pixels more
        variation          another image like these
        remove_background  transparent where the subject is not
        try_on             what the second image shows, put into the first
        upscale            more pixels
        erase              what the mask says is gone
        search_replace     what ``search_prompt`` names becomes what ``prompt`` says
        search_recolor     what ``search_prompt`` names gets the colour that ``prompt`` says
        sketch, structure  an image along the lines, or with the structure, of this one
        style              an image in the style of this one
        style_transfer     the first image in the style of the second

    ``images`` are the image and, for some tasks, those beside it. ``mask`` is an image, ``mask_prompt`` a text that
    names what is meant; which colour of a mask is changed is the family's: Amazon's change what is black, Stability's
    what is white. ``strength`` is 0 to 1 in the family's own sense: how close a variation stays to the image, how much
    a control image counts, how much an upscaler or an outpainter invents. Unset means the model's own default.
    """

    operation: ClassVar[str] = "edit_image"
    served_by: ClassVar[str] = "bedrock: image models"

    task: str
    images: tuple[Image, ...]
    prompt: str | None = None
    negative_prompt: str | None = None
    mask: Image | None = None
    mask_prompt: str | None = None
    search_prompt: str | None = None
    left: int | None = None
    right: int | None = None
    up: int | None = None
    down: int | None = None
    strength: float | None = None
    count: int = 1
    width: int | None = None
    height: int | None = None
    aspect_ratio: str | None = None
    quality: str | None = None
    guidance_scale: float | None = None
    steps: int | None = None
    seed: int | None = None
    style: str | None = None
    output_format: str | None = None
    extra: JsonObject | None = None
    endpoint: EndpointOptions | None = None
    request_metadata: dict[str, str] | None = None


class VideoShot(Value, frozen=True):
    """One shot of a video that is told shot by shot: what it shows, and the image that it begins with."""

    prompt: str
    image: Image | None = None


class VideoRequest(Request["VideoResponse"], frozen=True, kw_only=True):
    """One video. ``prompt`` says what it shows, or ``shots`` do, one after the other. ``images`` are the first frame
    and, where the model takes it, the last. ``duration`` is in seconds; ``resolution`` and ``aspect_ratio`` are as the
    model names them (720p, 1280x720; 16:9). ``loop``: the end leads into the beginning. Unset means the model's own
    default. ``extra`` is merged into what the model is sent."""

    operation: ClassVar[str] = "generate_video"
    served_by: ClassVar[str] = "video models of Bedrock, as jobs"

    prompt: str = ""
    images: tuple[Image, ...] = ()
    shots: tuple[VideoShot, ...] = ()
    duration: int | None = None
    resolution: str | None = None
    aspect_ratio: str | None = None
    loop: bool | None = None
    seed: int | None = None
    extra: JsonObject | None = None


class VideoResponse(Value, frozen=True, kw_only=True):
    """Where a video lies: ``folder`` is the ``s3://`` prefix with all that the model wrote, ``video`` the whole one in
    it. ``raw`` is what the service said of the invocation."""

    folder: str
    video: Video
    model: str | None = None
    request_id: str | None = None
    warnings: tuple[str, ...] = ()
    raw: JsonObject | None = None

    @property
    def uri(self) -> str:
        """The video's ``s3://BUCKET/KEY``."""
        return self.video.source.uri if isinstance(self.video.source, S3Location) else self.folder
