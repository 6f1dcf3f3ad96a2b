"""All that is known here of moto's insides, in one place that checks itself.

moto answers botocore through one object, ``botocore_stubber``, registered for the event ``before-send`` of every
session made after its import. While at least one responder is installed, that object's ``__call__`` asks the
innermost first, and what it does not answer goes on to moto. Nothing else of moto is changed, so clients that moto
answers are answered here too, whenever they were made, and a nested or foreign ``mock_aws`` changes nothing.

``check`` compares what is used with what is there and names moto's version where it differs.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, TypeAlias

from awsllm.errors import ConfigurationError

Responder: TypeAlias = Callable[[Any], Any]
"""Given botocore's AWSPreparedRequest, returns an AWSResponse, or None to leave the request to moto."""

SUPPORTED = "moto>=5.2.5,<5.3"

_lock = threading.Lock()
_responders: list[Responder] = []
# Set by the first install and kept: a call on another thread may be on its way through ``_call`` during an uninstall.
_original: Callable[..., Any] | None = None


def check() -> None:
    """Raise ``ConfigurationError`` if moto is missing, works outside this process, or is not as this module knows
    it."""
    try:
        from moto import settings
    except ImportError as error:
        raise ConfigurationError("mock_aws needs moto: pip install 'awsllm[test]'") from error
    if settings.TEST_SERVER_MODE or settings.is_test_proxy_mode():
        raise ConfigurationError("awsllm's mock_aws answers in-process: unset TEST_SERVER_MODE and TEST_PROXY_MODE")
    moved = [what for what, holds in _expectations().items() if not holds]
    if moved:
        raise ConfigurationError(
            f"moto {version('moto')} is not as awsllm.testing knows it ({', '.join(moved)}): install {SUPPORTED!r}"
        )


def _expectations() -> dict[str, bool]:
    from botocore.handlers import BUILTIN_HANDLERS
    from moto.core import models
    from moto.core.botocore_stubber import BotocoreStubber

    stubber = getattr(models, "botocore_stubber", None)
    parameters = list(inspect.signature(_original or BotocoreStubber.__call__).parameters)
    return {
        "moto.core.models.botocore_stubber": isinstance(stubber, BotocoreStubber),
        "BotocoreStubber.enabled": isinstance(getattr(stubber, "enabled", None), bool),
        "BotocoreStubber.__call__": parameters[:3] == ["self", "event_name", "request"],
        "botocore.handlers.BUILTIN_HANDLERS": ("before-send", stubber) in BUILTIN_HANDLERS,
        "MockAWS._decorate_class": callable(getattr(models.MockAWS, "_decorate_class", None)),
    }


def install(responder: Responder) -> None:
    """Ask ``responder`` before moto, and before those that are installed already."""
    global _original
    from moto.core.botocore_stubber import BotocoreStubber

    with _lock:
        _responders.append(responder)
        if _original is None:
            _original = BotocoreStubber.__call__
        if len(_responders) == 1:
            BotocoreStubber.__call__ = _call  # type: ignore[method-assign,assignment]


def uninstall(responder: Responder) -> None:
    """Undo ``install``; with the last responder, moto is as it was."""
    from moto.core.botocore_stubber import BotocoreStubber

    with _lock:
        _responders.remove(responder)
        if not _responders and _original is not None:
            BotocoreStubber.__call__ = _original  # type: ignore[method-assign]


def _call(stubber: Any, event_name: str, request: Any, **kwargs: Any) -> Any:
    original, responders = _original, tuple(reversed(_responders))
    if stubber.enabled:
        for responder in responders:
            response = responder(request)
            if response is not None:
                return response
    return original(stubber, event_name, request, **kwargs) if original is not None else None


def passed_through(service: str, url: str) -> bool:
    """Whether moto's configuration sends these calls to the real AWS. ``service`` is moto's name of it."""
    from moto.core.config import passthrough_service, passthrough_url

    return bool(passthrough_service(service) or passthrough_url(url.partition("?")[0]))


def endpoint_exists(name: str, region: str) -> bool:
    """Whether a SageMaker endpoint was created in moto's default account."""
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.sagemaker.models import sagemaker_backends

    return name in sagemaker_backends[DEFAULT_ACCOUNT_ID][region].endpoints


def decorate_class(mock: Any, cls: type) -> type:
    """Decorate a class's test methods as moto's own decorator does. ``mock`` is called with each method and the keyword
    arguments ``reset`` and ``remove_data``."""
    from moto.core.models import MockAWS

    decorated: type = MockAWS._decorate_class(mock, cls)
    return decorated
