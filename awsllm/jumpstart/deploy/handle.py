"""What a deployment hands back: the model's reference with the client's calls bound to it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from awsllm.errors import AwsllmError, ConfigurationError, ValidationError

if TYPE_CHECKING:
    from awsllm.jumpstart.deploy.apply import Deployment
    from awsllm.jumpstart.deploy.resources import Clients
    from awsllm.jumpstart.hub.document import ModelDocument
    from awsllm.wire.body import Payload

_JSON = "application/json"


class DeployedModel:
    """One deployed model. ``str`` gives its reference, ``sagemaker:ENDPOINT[/COMPONENT]``.

    ``clients`` gives boto3 clients by service, ``document`` what JumpStart says of the model: both are for ``invoke``.
    """

    def __init__(
        self,
        deployment: Deployment,
        caller: Any = None,
        *,
        clients: Clients | None = None,
        document: Callable[[], ModelDocument] | None = None,
    ) -> None:
        self.deployment = deployment
        self._caller = caller
        self._clients = clients
        self._read_document = document

    @property
    def reference(self) -> str:
        return self.deployment.reference

    @property
    def endpoint(self) -> str:
        return self.deployment.endpoint

    def __str__(self) -> str:
        return self.reference

    def __repr__(self) -> str:
        return f"DeployedModel({self.reference!r}, status={self.deployment.status!r})"

    def converse(self, messages: Any, **options: Any) -> Any:
        """``Client.converse`` of this model."""
        return self._bound().converse(self.reference, messages, **options)

    def converse_stream(self, messages: Any, **options: Any) -> Any:
        """``Client.converse_stream`` of this model."""
        return self._bound().converse_stream(self.reference, messages, **options)

    def embed(self, texts: Any, **options: Any) -> Any:
        """``Client.embed`` of this model."""
        return self._bound().embed(self.reference, texts, **options)

    def generate_image(self, prompt: str, **options: Any) -> Any:
        """``Client.generate_image`` of this model."""
        return self._bound().generate_image(self.reference, prompt, **options)

    def rerank(self, query: str, documents: Any, **options: Any) -> Any:
        """``Client.rerank`` of this model."""
        return self._bound().rerank(self.reference, query, documents, **options)

    def predict(self, data: Any, **options: Any) -> Any:
        """``Client.predict`` of this model."""
        return self._bound().predict(self.reference, data, **options)

    def invoke(
        self,
        body: Any,
        content_type: str | None = None,
        *,
        accept: str | None = None,
        custom_attributes: str | None = None,
    ) -> Payload:
        """What the container answers to a body of its own: for models that classify, detect or forecast, and for
        whatever no other call can say. Blocks, and is sent once.

        Bytes and text are sent as they are, other values as JSON. ``content_type`` and ``accept`` default to what the
        model's document names; its examples are ``client.jumpstart.get(MODEL).payloads``. The answer's ``body`` is
        bytes, its ``json()`` the value in them.

        Raises ``ValidationError`` for a body whose content type nobody names, and the container's refusals.
        """
        from awsllm.aws.control import translated
        from awsllm.wire.body import Payload

        if self._clients is None:
            raise ConfigurationError("no client to call with: use Client().jumpstart.deploy(...)")
        document = self._document if content_type is None or accept is None else None
        kind = content_type or _content_type(body, document)
        request = {
            "EndpointName": self.endpoint,
            "Body": _encoded(body, kind),
            "ContentType": kind,
            "Accept": accept or next(iter(document.accept_types if document else ()), _JSON),
            **({"InferenceComponentName": self.deployment.component} if self.deployment.component else {}),
            **({"CustomAttributes": custom_attributes} if custom_attributes else {}),
        }
        with translated():
            response = self._clients("sagemaker-runtime").invoke_endpoint(**request)
            data = response["Body"].read()
        return Payload(data, response.get("ContentType") or _JSON, attributes=response.get("CustomAttributes"))

    @cached_property
    def _document(self) -> ModelDocument | None:
        """None where it cannot be had: a caller who names the content type needs none."""
        try:
            return self._read_document() if self._read_document is not None else None
        except AwsllmError:
            return None

    def sagemaker_endpoint(self) -> Any:
        """This endpoint as the SageMaker SDK's ``sagemaker.core.resources.Endpoint``."""
        from awsllm.jumpstart.interop import to_endpoint

        return to_endpoint(self.deployment.endpoint, self.deployment.region)

    def _bound(self) -> Any:
        if self._caller is None:
            raise ConfigurationError(f"no client to call with: Client().converse({self.reference!r}, ...)")
        return self._caller


def _content_type(body: Any, document: ModelDocument | None) -> str:
    """The document's first that can carry the body."""
    named = [*document.content_types, *(each.content_type for each in document.payloads)] if document else []
    if not isinstance(body, bytes | str):
        return next((kind for kind in named if _is_json(kind)), _JSON)
    if not named:
        raise ValidationError("the model's document does not say what the container takes: give content_type")
    return named[0]


def _is_json(content_type: str) -> bool:
    """``application/list-text`` is a list of texts, in JSON (SageMaker SDK 3.27)."""
    return content_type.partition(";")[0].endswith(("json", "/list-text"))


def _encoded(body: Any, content_type: str) -> bytes:
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode()
    if not _is_json(content_type):
        raise ValidationError(f"a {type(body).__name__} is sent as JSON, not as {content_type}: give bytes or text")
    import msgspec

    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError) as error:
        raise ValidationError(f"the body cannot be sent as JSON: {error}") from error
