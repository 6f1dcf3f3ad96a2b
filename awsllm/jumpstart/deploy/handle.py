"""What a deployment hands back: the model's reference with the client's calls bound to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from awsllm.errors import ConfigurationError

if TYPE_CHECKING:
    from awsllm.jumpstart.deploy.apply import Deployment


class DeployedModel:
    """One deployed model. ``str`` gives its reference, ``sagemaker:ENDPOINT[/COMPONENT]``."""

    def __init__(self, deployment: Deployment, caller: Any = None) -> None:
        self.deployment = deployment
        self._caller = caller

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

    def sagemaker_endpoint(self) -> Any:
        """This endpoint as the SageMaker SDK's ``sagemaker.core.resources.Endpoint``."""
        from awsllm.jumpstart.interop import to_endpoint

        return to_endpoint(self.deployment.endpoint, self.deployment.region)

    def _bound(self) -> Any:
        if self._caller is None:
            raise ConfigurationError(f"no client to call with: Client().converse({self.reference!r}, ...)")
        return self._caller
