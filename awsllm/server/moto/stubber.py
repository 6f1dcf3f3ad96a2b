"""The object by which moto answers botocore, and what is asked before it.

moto answers botocore through one object, ``botocore_stubber``, registered for the event ``before-send`` of every
session made after its import. While at least one responder is installed, that object's ``__call__`` asks the innermost
first, and what it does not answer goes on to moto. What moto does not have either is refused in AWS's words. Besides
that, moto is completed for as long (``completed``). Nothing else of moto is changed, so clients that moto
answers are answered here too, whenever they were made, and a nested or foreign ``mock_aws`` changes nothing.

``check`` compares what is used with what is there and names moto's version where it differs.
"""

from __future__ import annotations

import functools
import inspect
import re
import threading
from collections.abc import Callable
from enum import Enum
from importlib.metadata import version
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from awsllm.errors import ConfigurationError
from awsllm.server.moto import completed, scaling
from awsllm.server.moto.requests import incoming_of, response_of
from awsllm.server.surfaces.elsewhere import unserved

Responder: TypeAlias = Callable[[Any], Any]
"""Given botocore's AWSPreparedRequest, returns an AWSResponse, or None to leave the request to moto."""

SUPPORTED = "moto>=5.2.5,<5.3"

_NOT_YET = b"Not yet implemented"  # what moto says of an address that it does not know

_AWS = re.compile(r"\.(amazonaws\.com(\.cn)?|amazonaws\.eu|api\.aws|api\.amazonwebservices\.com\.cn)$")

_lock = threading.Lock()
_keepers = 0  # of moto's state: servers of this process
_responders: list[Responder] = []
# Set by the first install and kept: a call on another thread may be on its way through ``_call`` during an uninstall.
_original: Callable[..., Any] | None = None


def check() -> None:
    """Raise ``ConfigurationError`` if moto is missing, works outside this process, or is not as this module knows
    it."""
    try:
        from moto import settings
    except ImportError as error:
        raise ConfigurationError("an offline AWS needs moto: pip install 'awsllm[test]' or 'awsllm[serve]'") from error
    if settings.TEST_SERVER_MODE or settings.is_test_proxy_mode():
        raise ConfigurationError("awsllm's mock_aws answers in-process: unset TEST_SERVER_MODE and TEST_PROXY_MODE")
    moved = [what for what, holds in _expectations().items() if not holds] + completed.missing()
    if moved:
        raise unknown(*moved)


def unknown(*moved: str) -> ConfigurationError:
    return ConfigurationError(
        f"moto {version('moto')} is not as awsllm.testing knows it ({', '.join(moved)}): install {SUPPORTED!r}"
    )


def _expectations() -> dict[str, bool]:
    from botocore.handlers import BUILTIN_HANDLERS
    from moto.core import models
    from moto.core.botocore_stubber import BotocoreStubber

    stubber = getattr(models, "botocore_stubber", None)
    models_of_scaling, scaling_responses = scaling.modules()
    answering = getattr(scaling_responses, "ApplicationAutoScalingResponse", None)
    dimensions = getattr(models_of_scaling, "ScalableDimensionValueSet", None)
    parameters = list(inspect.signature(_original or BotocoreStubber.__call__).parameters)
    return {
        "moto.core.models.botocore_stubber": isinstance(stubber, BotocoreStubber),
        "BotocoreStubber.enabled": isinstance(getattr(stubber, "enabled", None), bool),
        "BotocoreStubber.__call__": parameters[:3] == ["self", "event_name", "request"],
        "botocore.handlers.BUILTIN_HANDLERS": ("before-send", stubber) in BUILTIN_HANDLERS,
        "moto.applicationautoscaling.models.ScalableDimensionValueSet": isinstance(dimensions, type)
        and issubclass(dimensions, Enum)
        and getattr(scaling_responses, "ScalableDimensionValueSet", None) is dimensions,
        "ApplicationAutoScalingResponse.register_scalable_target": callable(
            getattr(answering, "register_scalable_target", None)
        ),
        "MockAWS.reset": callable(getattr(models.MockAWS, "reset", None)),
        "MockAWS._nested_count": isinstance(getattr(models.MockAWS, "_nested_count", None), int),
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
            completed.complete()


def uninstall(responder: Responder) -> None:
    """Undo ``install``; with the last responder, moto is as it was."""
    from moto.core.botocore_stubber import BotocoreStubber

    with _lock:
        _responders.remove(responder)
        if not _responders and _original is not None:
            BotocoreStubber.__call__ = _original  # type: ignore[method-assign]
            completed.restore()


def _call(stubber: Any, event_name: str, request: Any, **kwargs: Any) -> Any:
    original, responders = _original, tuple(reversed(_responders))
    if stubber.enabled:
        for responder in responders:
            response = responder(request)
            if response is not None:
                return response
    return None if original is None else _of_moto(original, stubber, event_name, request, **kwargs)


def answer(request: Any) -> Any:
    """What moto answers to botocore's ``request``, as if nobody were asked before it: an AWSResponse, or None for what
    is not to be answered."""
    from moto.core.models import botocore_stubber

    return None if _original is None else _of_moto(_original, botocore_stubber, "before-send", request)


def _of_moto(original: Callable[..., Any], stubber: Any, event_name: str, request: Any, **kwargs: Any) -> Any:
    """moto's response, and the refusal of what it has not."""
    if "://cloudformation." in request.url:
        completed.before_template()
    try:
        response = original(stubber, event_name, request, **kwargs)
    except NotImplementedError:
        return response_of(request.url, unserved(incoming_of(request)))
    if _is_unknown(response) if response is not None else stubber.enabled and _would_leave(request.url):
        return response_of(request.url, unserved(incoming_of(request)))
    return response


def _is_unknown(response: Any) -> bool:
    """Whether moto, whose bodies are ``BytesIO``, does not know the address."""
    return response.status_code == 404 and bool(getattr(response.raw, "getvalue", bytes)() == _NOT_YET)


def _would_leave(url: str) -> bool:
    """Whether a call that moto leaves alone would reach the real AWS, though nobody has said that it should."""
    from moto.backend_index import backend_url_patterns
    from moto.core.config import passthrough_url

    plain = url.partition("?")[0]
    if not is_aws(urlsplit(url).hostname or "") or passthrough_url(plain):
        return False
    return not any(pattern.match(plain) for _, pattern in backend_url_patterns)


def is_aws(host: str) -> bool:
    """Whether it is one of AWS's own names."""
    return _AWS.search(host) is not None


def keep() -> None:
    """Begin with fresh state of moto, unless somebody has some; it lasts until as many calls of ``give_up``."""
    global _keepers
    from moto.core.models import MockAWS

    with _lock:
        if _keepers == 0 and MockAWS._nested_count == 0:
            forget()
        _keepers += 1


def give_up() -> None:
    global _keepers
    with _lock:
        _keepers -= 1


def forget() -> None:
    """Empty all of moto's state."""
    from moto.core.models import MockAWS

    MockAWS().reset()


def is_kept() -> bool:
    """Whether moto's state is a server's, so not to be emptied."""
    return _keepers > 0


def passed_through(service: str, url: str) -> bool:
    """Whether moto's configuration sends these calls to the real AWS. ``service`` is moto's name of it."""
    from moto.core.config import passthrough_service, passthrough_url

    return bool(passthrough_service(service) or passthrough_url(url.partition("?")[0]))


def mock(config: Any) -> Any:
    """moto's own ``mock_aws``."""
    from moto import mock_aws

    return mock_aws(config=config)


def decorate_class(mock: Any, cls: type) -> type:
    """Decorate a class's test methods as moto's own decorator does. ``mock`` is called with each method and the keyword
    arguments ``reset`` and ``remove_data``.

    Two things are otherwise than moto's. What ``asyncSetUp`` makes stays for the test; moto knows of ``setUp`` alone,
    and forgets it. And pytest finds that ``setup_method(self)`` takes no method, which moto hides from it."""
    from moto.core.models import MockAWS

    own = dict(vars(cls))

    def decorate(method: Any, reset: bool, remove_data: bool) -> Any:
        if "asyncSetUp" in own:
            reset = method.__name__ == ("setUp" if "setUp" in own else "asyncSetUp")
            remove_data = False
        wrapped = mock(method, reset=reset, remove_data=remove_data)
        if method.__name__ in ("setup_method", "teardown_method") and method.__code__.co_argcount == 1:
            return functools.wraps(method)(lambda self: wrapped(self))
        return wrapped

    decorated: type = MockAWS._decorate_class(decorate, cls)  # type: ignore[arg-type]
    return decorated
