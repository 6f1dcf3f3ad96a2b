"""What of moto may not be reached by those who call a server: moto was made for tests, whose author trusts himself.

- Its CloudFormation reads templates with PyYAML's unsafe loader, which runs what a tag names (getmoto/moto#9941). Here
  a template is plain data: no tags but CloudFormation's short forms, and no aliases, which AWS refuses too.
- Its SNS, Firehose and API Gateway call URLs that a request chose. Here nobody is called.
- Its Lambda and Batch run what they are given in Docker. Here they answer without.

All of it holds for the whole process, from the first ``harden`` until as many calls of ``soften``.
"""

from __future__ import annotations

import json
import logging
import threading
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from awsllm.errors import ConfigurationError

_LONGEST = 1_048_576  # characters of a template, as AWS takes them from S3
_READING = ("moto.cloudformation.models", "moto.cloudformation.responses")
_CALLING = (
    "moto.sns.models",
    "moto.firehose.models",
    "moto.apigateway.integration_parsers.aws_parser",
    "moto.apigateway.integration_parsers.http_parser",
)
_IN_DOCKER = ("lambda", "batch")

_lock = threading.Lock()
_users = 0
_replaced: list[tuple[Any, str, Any]] = []  # a module, one of its names and moto's own value of it
_configured: dict[str, Any] = {}  # moto's own configuration of what runs in Docker
_log = logging.getLogger(__name__)


def harden() -> None:
    """From now on nobody reaches what is not for strangers."""
    global _users
    from moto.core.config import default_user_config

    config: Any = default_user_config
    with _lock:
        _users += 1
        if _users == 1:
            for service in _IN_DOCKER:
                _configured[service] = config.get(service)
                config[service] = {"use_docker": False}


def complete() -> None:
    """Comes before anything is asked of moto, so that a server of models alone does not load its modules for it. Raises
    ``ConfigurationError`` if moto is not as it is known here: then it must not be asked."""
    templates = SimpleNamespace(load=_load, Loader=None, add_multi_constructor=lambda *_: None)
    nobody = SimpleNamespace(**dict.fromkeys(("get", "post", "put", "patch", "delete", "head", "options"), _call))
    with _lock:
        if _replaced or not _users:
            return
        for modules, name, value in ((_READING, "yaml", templates), (_CALLING, "requests", nobody)):
            for module in map(import_module, modules):
                if not hasattr(module, name):
                    raise ConfigurationError(f"{module.__name__} of moto is not as awsllm knows it: it has no {name}")
                _replaced.append((module, name, getattr(module, name)))
                setattr(module, name, value)


def soften() -> None:
    """Leave moto as it was, once no server needs it otherwise."""
    global _users
    from moto.core.config import default_user_config

    config: Any = default_user_config
    with _lock:
        _users -= 1
        if _users == 0:
            while _replaced:
                setattr(*_replaced.pop())
            config.update(_configured)


def _call(url: str, *_: Any, **__: Any) -> SimpleNamespace:
    """In place of a request to an address that a caller chose."""
    _log.warning("nothing was sent to an HTTP address that a caller chose: the server calls nobody")
    return SimpleNamespace(status_code=504, text="", content=b"", headers={})


# --- templates -------------------------------------------------------------------------------------------------------


def _load(template: str | bytes, Loader: Any = None) -> dict[str, Any]:  # noqa: N803 -- PyYAML's name
    """A template as data, written in YAML or JSON. Raises CloudFormation's refusal."""
    import yaml

    if len(template) > _LONGEST:
        raise _refused(f"Template may not exceed {_LONGEST} bytes in size.")
    text = template.decode("utf-8", "replace") if isinstance(template, bytes) else template
    try:
        read = yaml.load(text, Loader=_loader())  # noqa: S506 -- a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: 2000-13-45 is no date
        try:
            read = json.loads(text)
        except (ValueError, RecursionError):
            raise _refused("Template format error: YAML not well-formed.") from None
    resources = read.get("Resources", {}) if isinstance(read, dict) else None
    if not isinstance(read, dict) or not isinstance(resources, dict):
        raise _refused("Template format error: unsupported structure.")
    for name, resource in resources.items():
        if not isinstance(resource, dict) or "Type" not in resource:
            place = str(name)[:255]
            raise _refused(f"Template format error: [/Resources/{place}] Every Resources object must contain a Type.")
    return read


def _loader() -> Any:
    """PyYAML's safe loader with the short forms of CloudFormation's functions: ``!Ref``, ``!Sub`` …"""
    import yaml
    from moto.cloudformation.utils import yaml_tag_constructor

    class Templates(yaml.SafeLoader):  # type: ignore[misc]
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise _refused("Template error: YAML aliases are not allowed in CloudFormation templates")
            return super().compose_node(parent, index)

    def tagged(loader: Any, tag: str, node: Any) -> Any:
        if not tag.startswith("!") or not tag[1:].isalnum():
            raise _refused("Template format error: a tag of the template is none of CloudFormation's.")
        return yaml_tag_constructor(loader, tag, node)

    Templates.add_multi_constructor("", tagged)
    return Templates


def _refused(message: str) -> Exception:
    from moto.cloudformation.exceptions import ValidationError

    return ValidationError(message=message)
