"""What moto lacks and is given for as long as somebody needs it: scaling of inference components (``scaling``); the
instance types that endpoints have today, where moto's list ends before them; variants without a model, which
components have; that a template's names of SageMaker's models, configurations and endpoints are theirs
(docs.aws.amazon.com/AWSCloudFormation, AWS::SageMaker::Endpoint); a CloudFormation nearer to AWS's (``formation``);
and the quotas of Bedrock (``quotas``).

moto's CloudFormation is a third of a second to import, so its part is done when the first template comes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from functools import partial, partialmethod
from typing import Any

from awsllm.server.moto import formation, quotas, scaling
from awsllm.server.shapes import service_model

_lock = threading.Lock()
_users = 0
_has_templates = False  # whether CloudFormation's part is done
_ABSENT: Any = object()
_replaced: list[tuple[Any, str, Any]] = []  # classes of moto's, with what they had under which name


def complete() -> None:
    """Add what is missing, until as many calls of ``restore``."""
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            scaling.complete()
            _replace([*_additions(), *quotas.additions()])


def before_template() -> None:
    """Called before moto's CloudFormation is."""
    global _has_templates
    with _lock:
        if _users and not _has_templates:
            _has_templates = True
            _replace([*formation.additions()])


def _replace(additions: Iterable[tuple[Any, str, Any]]) -> None:
    for place, name, value in additions:
        _replaced.append((place, name, vars(place).get(name, _ABSENT)))
        setattr(place, name, value)


def restore() -> None:
    """Leave moto as it was, once nobody needs more."""
    global _users, _has_templates
    with _lock:
        _users -= 1
        if _users == 0:
            while _replaced:
                place, name, value = _replaced.pop()
                delattr(place, name) if value is _ABSENT else setattr(place, name, value)
            _has_templates = False
            scaling.restore()


def missing() -> list[str]:
    """What is to be replaced and is not there."""
    return [f"{place.__name__}.{name}" for place, name, _ in _additions() if name not in vars(place)]


def _additions() -> Iterator[tuple[Any, str, Any]]:
    from moto.sagemaker.models import FakeEndpoint, FakeEndpointConfig, Model, SageMakerModelBackend

    check = SageMakerModelBackend.validate_production_variants
    yield SageMakerModelBackend, "validate_production_variants", partialmethod(_check_variants, check)
    yield FakeEndpointConfig, "validate_instance_type", _check_instance_type
    named = {FakeEndpoint: "EndpointName", FakeEndpointConfig: "EndpointConfigName", Model: "ModelName"}
    for place, member in named.items():
        yield place, "cloudformation_name_type", staticmethod(partial(str, member))


def _check_variants(backend: Any, check: Any, production_variants: list[Any]) -> None:
    check(backend, [variant for variant in production_variants if "ModelName" in variant])


def _check_instance_type(config: Any, instance_type: str) -> None:
    known = service_model("sagemaker").shape_for("ProductionVariantInstanceType").enum
    if instance_type not in known:
        from moto.sagemaker.exceptions import ValidationError

        raise ValidationError(
            message=f"Value '{instance_type}' at 'instanceType' failed to satisfy constraint: Member must satisfy enum "
            f"value set: [{', '.join(known)}]"
        )
