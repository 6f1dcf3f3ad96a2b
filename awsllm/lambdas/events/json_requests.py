"""What a JSON request asks of a model, and the JSON that answers it: the bodies of queue messages and of states.

    {"message": "…"} or {"messages": [{"role": "user", "content": …}]}    chat: {"text", "stop_reason", "usage", …}
        with system, max_tokens, temperature, top_p, stop_sequences,
        schema (a JSON schema: the answer's object is "output"), metadata
    {"texts": ["…"]}  with dimensions                                     vectors: {"vectors", "usage", …}
    {"image": "…"}    with width, height, count, seed                     images: {"images": [{"format", "data"}], …}

``messages`` are as Converse has them in JSON (bytes in base64) or with a text as their content. A request names its
``model`` only where the function has none: who may send a message shall not thereby choose what it costs. An
``s3Location`` is refused: the model would read it with the function's rights, which are not the sender's.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any

import msgspec

from awsllm.errors import ValidationError
from awsllm.lambdas import settings
from awsllm.lambdas.events.results import answer_json, usage_json
from awsllm.types import Bytes, Image, JsonObject, JsonValue, Value

if TYPE_CHECKING:
    from awsllm.client import Client


class JsonRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A request as it is written."""

    message: str | None = None
    messages: list[JsonObject] | None = None
    texts: list[str] | None = None
    image: str | None = None
    model: str | None = None
    system: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: list[str] | None = None
    schema: JsonObject | None = None
    metadata: dict[str, str] | None = None
    dimensions: int | None = None
    width: int | None = None
    height: int | None = None
    count: int | None = None
    seed: int | None = None

    def __repr__(self) -> str:  # a traceback with the variables of its frames must not tell a prompt
        return "JsonRequest(…)"

    def kind(self) -> str:
        """``chat``, ``embed`` or ``image``. Raises ``ValidationError`` where it is none of them, or several."""
        asked = {
            "chat": self.message is not None or self.messages is not None,
            "embed": self.texts is not None,
            "image": self.image is not None,
        }
        kinds = [kind for kind, is_asked in asked.items() if is_asked]
        if len(kinds) != 1 or (self.message is not None and self.messages is not None):
            raise ValidationError("a request has one of message, messages (chat), texts (vectors) and image")
        return kinds[0]


class AskDefaults(Value, frozen=True, kw_only=True):
    """What the function's environment says of each request, whose ``options`` go before these. Their ``max_tokens`` is
    the most that one may ask for."""

    model: str | None = None
    options: Any = msgspec.field(default_factory=dict)


def ask_defaults(model: str | None) -> AskDefaults:
    """The environment's, with ``model`` before AWSLLM_MODEL. Raises ``ConfigurationError``."""
    has_one = model is not None or settings.text("AWSLLM_MODEL") is not None
    return AskDefaults(model=settings.model(model) if has_one else None, options=settings.call_options())


class Asker:
    """Answers JSON requests by one client. Safe to share between threads."""

    def __init__(self, client: Client, defaults: AskDefaults) -> None:
        self._client, self._defaults = client, defaults

    def answer(self, wire: JsonValue, timeout: float) -> JsonObject:
        """Raises ``ValidationError`` for what is no request, and the model's errors."""
        try:
            return self._answer(wire, timeout)
        except RecursionError:
            raise ValidationError("the request is nested too deeply") from None

    def _answer(self, wire: JsonValue, timeout: float) -> JsonObject:
        request = read_request(wire)
        kind, model = request.kind(), self._model(request)
        if kind == "embed":
            return self._vectors(model, request, timeout)
        return self._images(model, request, timeout) if kind == "image" else self._chat(model, request, timeout)

    def _model(self, request: JsonRequest) -> str:
        own = self._defaults.model
        if own and request.model not in (None, own):
            raise ValidationError("the request names a model, and this function has its own: leave 'model' out")
        if found := own or request.model:
            return found
        raise ValidationError("no model: set AWSLLM_MODEL, or name one in the request's 'model'")

    def _chat(self, model: str, request: JsonRequest, timeout: float) -> JsonObject:
        most = self._defaults.options.get("max_tokens")
        asked: dict[str, Any] = {
            "system": request.system,
            "max_tokens": min((one for one in (request.max_tokens, most) if one is not None), default=None),
            "temperature": request.temperature,
            "top_p": request.top_p,
            "stop_sequences": request.stop_sequences,
            "request_metadata": request.metadata,
            "output_type": request.schema,
        }
        given: Any = {**self._defaults.options, **{name: one for name, one in asked.items() if one is not None}}
        if _names_s3(request.messages):
            raise ValidationError("an s3Location is refused: send the bytes")
        prompt: Any = request.message if request.message is not None else request.messages
        response = self._client.converse(model, prompt, timeout=timeout, **given)
        answer: JsonObject = {"text": response.text, **answer_json(response)}
        if request.schema is not None:
            answer["output"] = msgspec.to_builtins(response.output)
        return answer

    def _vectors(self, model: str, request: JsonRequest, timeout: float) -> JsonObject:
        texts = request.texts or []
        response = self._client.embed(model, texts, dimensions=request.dimensions, timeout=timeout)
        known = {"model": response.model, "usage": usage_json(response.usage), "cost": response.cost}
        return {"vectors": response.vectors, **known}

    def _images(self, model: str, request: JsonRequest, timeout: float) -> JsonObject:
        names = ("width", "height", "count", "seed")
        options: Any = {name: value for name in names if (value := getattr(request, name)) is not None}
        response = self._client.generate_image(model, request.image or "", timeout=timeout, **options)
        return {"images": [_image(one) for one in response.images], "model": response.model, "cost": response.cost}


def read_request(wire: JsonValue) -> JsonRequest:
    """Raises ``ValidationError`` saying what is wrong, and nothing that the request holds."""
    try:
        return msgspec.convert(wire, JsonRequest)
    except msgspec.ValidationError as error:
        raise ValidationError(f"the request is not what this function takes: {error}") from None


def _names_s3(value: JsonValue) -> bool:
    waiting = [value]
    while waiting:  # however deep it is
        found = waiting.pop()
        if isinstance(found, dict):
            if "s3Location" in found:
                return True
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)
    return False


def _image(image: Image) -> JsonObject:
    if image.error is not None:  # the model withheld it
        return {"format": image.format, "error": image.error}
    data = image.source.data if isinstance(image.source, Bytes) else b""
    return {"format": image.format, "data": b64encode(data).decode("ascii")}
