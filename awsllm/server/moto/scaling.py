"""What moto's application autoscaling lacks: the scalable dimension of inference components, tags of scalable targets,
and that a target's policies and scheduled actions go with it."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

from awsllm.jumpstart.plan.scaling import DIMENSIONS

COMPONENT_DIMENSION = DIMENSIONS["component"]

_dimensions: Any = None  # moto's own enumeration, while another stands in its place
# moto's own methods of scalable targets, None where it has none, while others stand there
_replaced: dict[str, Any] = {}


def complete() -> None:
    """Add what is missing. ``completed`` calls this once, and ``restore`` once nobody needs it any more."""
    _allow_components()
    _complete_targets()


def restore() -> None:
    """Leave moto as it was."""
    _forbid_components()
    _restore_targets()


def _allow_components() -> None:
    """moto's list of what can be scaled ends before inference components. An enumeration with members cannot be
    extended, so the two modules that read it get another."""
    global _dimensions
    models, responses = modules()
    _dimensions = models.ScalableDimensionValueSet
    named = {member.name: member.value for member in _dimensions if member.value != COMPONENT_DIMENSION}
    named["SAGEMAKER_COMPONENT_COPIES"] = COMPONENT_DIMENSION
    extended = Enum("ScalableDimensionValueSet", named)  # type: ignore[misc]
    models.ScalableDimensionValueSet = responses.ScalableDimensionValueSet = extended


def _forbid_components() -> None:
    models, responses = modules()
    models.ScalableDimensionValueSet = responses.ScalableDimensionValueSet = _dimensions


# What moto leaves out: the tags of a scalable target, which live on moto's record of it, and that its policies and
# scheduled actions go with it.


def _list_tags(response: Any) -> str:
    return json.dumps({"Tags": _tags(response)})


def _tag(response: Any) -> str:
    _tags(response).update(json.loads(response.body)["Tags"])
    return "{}"


def _untag(response: Any) -> str:
    tags = _tags(response)
    for key in json.loads(response.body)["TagKeys"]:
        tags.pop(key, None)
    return "{}"


def _register_with_tags(response: Any) -> str:
    """Tags are taken when a target is made, and not when it is registered again."""
    before = {target.arn for target in _targets(response)}
    answer: str = _replaced["register_scalable_target"](response)
    for target in _targets(response):
        if target.arn not in before:
            target.tags = dict(json.loads(response.body).get("Tags") or {})
    return answer


def _deregister_with_parts(response: Any) -> str:
    answer: str = _replaced["deregister_scalable_target"](response)
    backend, request = response.applicationautoscaling_backend, json.loads(response.body)
    key = (request["ServiceNamespace"], request["ResourceId"], request["ScalableDimension"])
    for policy in [each for each in backend.policies.values() if _key(each) == key]:
        backend.delete_scaling_policy(policy.policy_name, *key)
    backend.scheduled_actions = [each for each in backend.scheduled_actions if _key(each) != key]
    return answer


def _key(part: Any) -> tuple[str, str, str]:
    return part.service_namespace, part.resource_id, part.scalable_dimension


def _targets(response: Any) -> list[Any]:
    kinds = response.applicationautoscaling_backend.targets.values()
    return [target for targets in kinds for target in targets.values()]


def _tags(response: Any) -> dict[str, str]:
    arn = json.loads(response.body)["ResourceARN"]
    for target in _targets(response):
        if target.arn == arn:
            found: dict[str, str] = vars(target).setdefault("tags", {})
            return found
    from moto.core.exceptions import JsonRESTError

    raise JsonRESTError("ResourceNotFoundException", f"No scalable target found for ARN {arn}")


_ADDED = {
    "list_tags_for_resource": _list_tags,
    "tag_resource": _tag,
    "untag_resource": _untag,
    "register_scalable_target": _register_with_tags,
    "deregister_scalable_target": _deregister_with_parts,
}


def _complete_targets() -> None:
    answering = modules()[1].ApplicationAutoScalingResponse
    _replaced.update({name: vars(answering).get(name) for name in _ADDED})
    for name, method in _ADDED.items():
        setattr(answering, name, method)


def _restore_targets() -> None:
    answering = modules()[1].ApplicationAutoScalingResponse
    for name, method in _replaced.items():
        if method is None:
            delattr(answering, name)
        else:
            setattr(answering, name, method)


def modules() -> tuple[Any, Any]:
    """moto's models of scaling, and its responses."""
    from moto.applicationautoscaling import models, responses

    return models, responses
