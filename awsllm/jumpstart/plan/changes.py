"""What a plan would change of what exists: two lists of steps, compared resource by resource, leaf by leaf.

A resource that can change is found by its name. Models and endpoint configurations cannot: a changed one has another
name, is made beside the old one, and the pair reads as a replacement. Paths go down by members; a list whose items have
a name of their own is walked by it (``ProductionVariants[AllTraffic].InstanceType``, ``Tags[team]``), else by place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from awsllm.jumpstart.plan.plan import Change, Step
from awsllm.types import JsonObject, JsonValue

# What cannot change once made, with the member that names it.
REPLACED = {"CreateModel": "ModelName", "CreateEndpointConfig": "EndpointConfigName"}
# Tags that apply writes, or that follow from the plan as a whole.
OWN_TAGS = ("awsllm:plan", "awsllm:expires", "awsllm:endpoint")
_KEYS = ("Key", "VariantName", "ChannelName", "Name")
_PLACEHOLDER = re.compile(r"\$\{[^{}]+\}")


def changes(wanted: tuple[Step, ...], existing: tuple[Step, ...]) -> tuple[Change, ...]:
    """In the order of the plan; deletions last. A resource without a difference is one ``keep``."""
    found: list[Change] = []
    left = {_key(step): step for step in existing}
    pairs = [(step, left.pop(_key(step), None)) for step in wanted]
    for step, same in pairs:
        found += _of(step, same or _predecessor(step, left), replaced=same is None)
    return (*found, *(Change(action="delete", resource=step.resource, before=step.request) for step in left.values()))


def _key(step: Step) -> tuple[str, str]:
    return step.operation, step.resource


def _predecessor(step: Step, left: dict[tuple[str, str], Step]) -> Step | None:
    """The old resource that ``step`` takes the place of, taken out of ``left``: the likest of its operation."""
    if step.operation not in REPLACED:
        return None
    same = [each for each in left.values() if each.operation == step.operation]
    if not same:
        return None
    nearest = min(same, key=lambda each: sum(1 for _ in _leaves(each, step)))
    return left.pop(_key(nearest))


def _of(step: Step, before: Step | None, *, replaced: bool) -> Iterator[Change]:
    if before is None:
        yield Change(action="create", resource=step.resource, after=step.request)
        return
    differences = list(_leaves(before, step))
    if replaced:
        yield Change(action="replace", resource=step.resource, before=before.resource, after=step.resource)
    elif not differences:
        yield Change(action="keep", resource=step.resource)
    action = "replace" if replaced else "update"
    for path, old, new in differences:
        yield Change(action=action, resource=step.resource, path=path, before=old, after=new)


def _leaves(before: Step, after: Step) -> Iterator[tuple[str, JsonValue, JsonValue]]:
    name = REPLACED.get(after.operation)
    yield from _differences("", _without(before.request, name), _without(after.request, name))


def _without(request: JsonObject, name: str | None) -> JsonObject:
    kept = {member: value for member, value in request.items() if member != name}
    tags = kept.get("Tags")
    if isinstance(tags, list):
        kept["Tags"] = [tag for tag in tags if tag["Key"] not in OWN_TAGS]
    elif isinstance(tags, dict):
        kept["Tags"] = {key: value for key, value in tags.items() if key not in OWN_TAGS}
    return kept


def _differences(path: str, before: JsonValue, after: JsonValue) -> Iterator[tuple[str, JsonValue, JsonValue]]:
    old, new = _members(before), _members(after)
    if old is None or new is None:
        if before != after and not _stands_for(after, before):
            yield path, before, after
        return
    for name in dict.fromkeys([*old, *new]):
        yield from _differences(_join(path, name), old.get(name), new.get(name))


def _members(value: JsonValue) -> JsonObject | None:
    """The parts of an object or list by name; None for a leaf."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, list):
        return None
    key = next((key for key in _KEYS if value and all(isinstance(item, dict) and key in item for item in value)), None)
    if key is None:
        return {f"[{place}]": item for place, item in enumerate(value)}
    return {f"[{item[key]}]": item.get("Value", item) if key == "Key" else item for item in value}


def _join(path: str, name: str) -> str:
    return path + name if name.startswith("[") or not path else f"{path}.{name}"


def _stands_for(placeholder: JsonValue, value: JsonValue) -> bool:
    """Whether ``value`` may be what a placeholder of a request became."""
    return isinstance(value, str) and isinstance(placeholder, str) and bool(_PLACEHOLDER.search(placeholder))
