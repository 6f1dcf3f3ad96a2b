"""What moto lacks and is given for as long as somebody needs it: scaling of inference components (``scaling``); the
instance types that endpoints have today, where moto's list ends before them; that a template's names of SageMaker's
models, configurations and endpoints are theirs (docs.aws.amazon.com/AWSCloudFormation, AWS::SageMaker::Endpoint); and
that a stack made by a change set, as the CLI's ``deploy`` and CDK make it, has outputs.

moto's CloudFormation is a third of a second to import, so its part is done when the first template comes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from awsllm.server.moto import scaling
from awsllm.server.shapes import service_model

_lock = threading.Lock()
_users = 0
_replaced: list[tuple[Any, str, Any]] = []  # classes of moto's, with what they had under which name


def complete() -> None:
    """Add what is missing, until as many calls of ``restore``."""
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            scaling.complete()
            _replace(_additions())


def before_template() -> None:
    """Called before moto's CloudFormation is."""
    from moto.cloudformation.models import ChangeSet

    with _lock:
        if _users and vars(ChangeSet).get("apply") is not _apply:
            _replace([(ChangeSet, "apply", _apply)])


def _replace(additions: Iterable[tuple[Any, str, Any]]) -> None:
    for place, name, value in additions:
        _replaced.append((place, name, vars(place)[name]))
        setattr(place, name, value)


def restore() -> None:
    """Leave moto as it was, once nobody needs more."""
    global _users
    with _lock:
        _users -= 1
        if _users == 0:
            while _replaced:
                setattr(*_replaced.pop())
            scaling.restore()


def missing() -> list[str]:
    """What is to be replaced and is not there."""
    return [f"{place.__name__}.{name}" for place, name, _ in _additions() if name not in vars(place)]


def _additions() -> Iterator[tuple[Any, str, Any]]:
    from moto.sagemaker.models import FakeEndpoint, FakeEndpointConfig, Model

    yield FakeEndpointConfig, "validate_instance_type", _check_instance_type
    named = {FakeEndpoint: "EndpointName", FakeEndpointConfig: "EndpointConfigName", Model: "ModelName"}
    for place, member in named.items():
        yield place, "cloudformation_name_type", staticmethod(partial(str, member))


def _check_instance_type(config: Any, instance_type: str) -> None:
    known = service_model("sagemaker").shape_for("ProductionVariantInstanceType").enum
    if instance_type not in known:
        from moto.sagemaker.exceptions import ValidationError

        raise ValidationError(
            message=f"Value '{instance_type}' at 'instanceType' failed to satisfy constraint: Member must satisfy enum "
            f"value set: [{', '.join(known)}]"
        )


def _apply(change_set: Any) -> None:
    """What a change set does to its stack."""
    stack = change_set.stack
    stack.resource_map.update(change_set.template_dict, change_set.parameters)
    stack.template, stack.template_dict = change_set.template, change_set.template_dict
    stack.parameters = change_set.parameters or stack.parameters
    stack.output_map = stack._create_output_map()
