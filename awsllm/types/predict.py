"""Values of ``predict``: what the models that are no chat take, and what each task of theirs gives.

Loaded when one of them is asked: chat does not pay for these types.
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias

import msgspec

from awsllm.types import AttemptMade, EndpointOptions, JsonObject, JsonValue, Request, Tagged, Usage, Value

Cell: TypeAlias = str | int | float | bool | None
"""One value of a table."""


class Series(Value, frozen=True, kw_only=True):
    """One time series, the oldest value first; None where a value is missing. ``start`` is the instant of the first
    one; ``extra`` holds what only the model knows, such as covariates."""

    target: tuple[float | None, ...]
    item_id: str | None = None
    start: str | None = None
    extra: JsonObject | None = None


class Tensor(Value, frozen=True, kw_only=True):
    """A tensor of Triton's inference protocol. ``datatype`` is its name of the type (FP32, INT64, BYTES ...); ``data``
    are the values, flat, in row-major order, or raw bytes, little-endian, as they travel behind the JSON."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    data: tuple[Cell, ...] | bytes


class PredictRequest(Request["PredictResponse"], frozen=True, kw_only=True):
    """One call of a model for one of ``TASKS`` (``wire.endpoint.tasks.names``); None: the endpoint's own.

    The data are in the member of their kind: ``texts`` (a pair of sentences, or question and context, are two),
    ``media`` (the bytes of an image or a sound) with its ``media_type``, ``rows`` of a table, ``series``, ``tensors``,
    or ``body``, a JSON object of the caller's own that is sent as it is.

    ``labels`` are those to choose from (zero-shot), of which several may hold if ``multi_label``; ``count`` is how many
    objects or guesses to give at most; ``horizon`` how many values of a series to foretell, at the ``quantiles``, and
    ``frequency`` how far they are apart (pandas' words); ``language`` that of the speech. ``extra`` goes where the
    body has its parameters.
    """

    operation: ClassVar[str] = "predict"
    served_by: ClassVar[str] = "sagemaker: endpoints, and local: models as stand-ins"

    task: str | None = None
    texts: tuple[str, ...] = ()
    media: bytes | None = None
    media_type: str | None = None
    rows: tuple[tuple[Cell, ...], ...] = ()
    series: tuple[Series, ...] = ()
    tensors: tuple[Tensor, ...] = ()
    body: JsonObject | None = None
    labels: tuple[str, ...] = ()
    multi_label: bool | None = None
    count: int | None = None
    horizon: int | None = None
    quantiles: tuple[float, ...] = ()
    frequency: str | None = None
    language: str | None = None
    extra: JsonObject | None = None
    endpoint: EndpointOptions | None = None


# --- what a task gives -----------------------------------------------------------------------------------------------


class LabelScore(Value, frozen=True):
    """How likely a label is. Of a model that names no labels it is the index of the class, as a text."""

    label: str
    score: float


class Classification(Tagged, frozen=True, kw_only=True, tag="classification"):
    """``label`` is the likeliest of ``scores``, which has the best first."""

    label: str
    scores: tuple[LabelScore, ...] = ()

    @property
    def score(self) -> float | None:
        """How likely ``label`` is."""
        return next((each.score for each in self.scores if each.label == self.label), None)


class RowClasses(Tagged, frozen=True, tag="row_classes"):
    """A classification for each row of a table."""

    rows: tuple[Classification, ...]


class RowValues(Tagged, frozen=True, tag="row_values"):
    """A number for each row of a table."""

    values: tuple[float, ...]


class Answer(Tagged, frozen=True, kw_only=True, tag="answer"):
    """What answers a question. ``start`` and ``end`` are its place in the context, in characters."""

    text: str
    score: float | None = None
    start: int | None = None
    end: int | None = None


class Entity(Value, frozen=True, kw_only=True):
    """A name in a text: its ``type`` (such as PER) and its place, in characters."""

    text: str
    type: str
    score: float | None = None
    start: int | None = None
    end: int | None = None


class Entities(Tagged, frozen=True, tag="entities"):
    entities: tuple[Entity, ...]


class PredictedText(Tagged, frozen=True, tag="predicted_text"):
    """A summary, a translation, what was said: ``text`` is the first of ``texts``."""

    texts: tuple[str, ...]

    @property
    def text(self) -> str:
        return self.texts[0] if self.texts else ""


class MaskGuess(Value, frozen=True, kw_only=True):
    """What may stand at the mask: the token, and the whole text with it."""

    token: str | None = None
    text: str | None = None
    score: float | None = None


class MaskGuesses(Tagged, frozen=True, tag="mask_guesses"):
    """The best first."""

    guesses: tuple[MaskGuess, ...]


class Embedding(Tagged, frozen=True, tag="embedding"):
    """A vector for each text, or of the image."""

    vectors: list[list[float]]


class FoundObject(Value, frozen=True, kw_only=True):
    """An object in an image. ``box`` is left, top, right, bottom: as shares of the image's size, or in pixels where
    ``in_pixels``. ``mask`` says of each pixel, row by row, how far it belongs to the object."""

    label: str
    score: float | None = None
    box: tuple[float, float, float, float] | None = None
    in_pixels: bool = False
    mask: list[list[float]] | None = None


class FoundObjects(Tagged, frozen=True, tag="found_objects"):
    """In the order in which the model gave them."""

    objects: tuple[FoundObject, ...]


class LabelMap(Tagged, frozen=True, kw_only=True, tag="label_map"):
    """The class of each pixel, row by row: the index of one of ``labels``. ``present`` are those in the image."""

    pixels: list[list[int]]
    labels: tuple[str, ...] = ()
    present: tuple[str, ...] = ()


class Forecast(Value, frozen=True, kw_only=True):
    """What is foretold of one series; ``quantiles`` by the text of their level, such as ``0.1``."""

    mean: tuple[float, ...] = ()
    quantiles: dict[str, tuple[float, ...]] = msgspec.field(default_factory=dict)
    item_id: str | None = None
    start: str | None = None


class Forecasts(Tagged, frozen=True, tag="forecasts"):
    """One of each series, in their order."""

    series: tuple[Forecast, ...]


class Tensors(Tagged, frozen=True, tag="tensors"):
    tensors: tuple[Tensor, ...]

    def __getitem__(self, name: str) -> Tensor:
        return next(tensor for tensor in self.tensors if tensor.name == name)


Prediction: TypeAlias = (
    Classification
    | RowClasses
    | RowValues
    | Answer
    | Entities
    | PredictedText
    | MaskGuesses
    | Embedding
    | FoundObjects
    | LabelMap
    | Forecasts
    | Tensors
)


class PredictResponse(Value, frozen=True, kw_only=True):
    """``result`` is the value of the task (``Classification`` and the like); ``raw`` is the whole reply."""

    result: Prediction
    task: str | None = None
    usage: Usage = Usage()
    model: str | None = None
    request_id: str | None = None
    cost: float | None = None
    warnings: tuple[str, ...] = ()
    raw: JsonValue = None
    attempts: tuple[AttemptMade, ...] = ()
