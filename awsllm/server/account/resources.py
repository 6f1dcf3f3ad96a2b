"""What resources of a region share: they are found by kind and name, and they change.

A change begins with a request and ends at a look (``state.Wait``). Nothing runs meanwhile: whoever looks settles what
is due.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from awsllm.server.account.account import Region
from awsllm.server.account.refusals import could_not_find, invalid
from awsllm.server.account.state import PendingChange, ResourceRecord
from awsllm.types import JsonObject

NOUNS = {
    "model": "model",
    "endpoint-config": "endpoint configuration",
    "endpoint": "endpoint",
    "inference-component": "inference component",
}
GONE = "gone"
"""The status that ends a resource."""
_DELETED = "deleted"

End: TypeAlias = Callable[[Region, ResourceRecord, JsonObject, str | None], str]
"""Given what a change was requested with and why it failed, or None; returns the status that follows."""
ENDS: dict[str, End] = {"gone": lambda region, resource, request, reason: GONE}
"""What happens at the end of a change, by its name; those who begin changes add theirs (``ending``)."""


def ending(name: str) -> Callable[[End], End]:
    """Register what happens at the end of the changes of this name."""

    def register(end: End) -> End:
        ENDS[name] = end
        return end

    return register


def find(region: Region, kind: str, name: str) -> Any:
    """The record, or None if the name was made elsewhere. Raises AWS's refusal if there is none."""
    found = region.state.table(kind).get(name)
    if found is None and not region.elsewhere(kind, name):
        raise could_not_find(NOUNS[kind], region.arn(kind, name))
    return found


def deleted(region: Region, kind: str, name: str) -> bool:
    """Whether there was a resource of this name, and is none."""
    return f"{kind}/{name}" in region.state.table(_DELETED) and name not in region.state.table(kind)


def refuse_existing(region: Region, kind: str, name: str) -> None:
    if name in region.state.table(kind) or region.elsewhere(kind, name):
        raise invalid(f'Cannot create already existing {NOUNS[kind]} "{region.arn(kind, name)}".')


def find_resource(region: Region, kind: str, name: str, *, look: bool = False) -> ResourceRecord | None:
    """An endpoint or a component, settled; None if it was made elsewhere. Raises AWS's refusal if there is none."""
    resource: ResourceRecord | None = find(region, kind, name)
    if resource is not None:
        settle(region, resource, look=look)
        if resource.status == GONE:
            raise could_not_find(NOUNS[kind], resource.arn)
    return resource


def existing(region: Region, kind: str) -> list[ResourceRecord]:
    resources: list[ResourceRecord] = list(region.state.table(kind).values())
    for resource in resources:
        settle(region, resource, look=False)
    return [resource for resource in resources if resource.status != GONE]


def begin(region: Region, resource: ResourceRecord, change: PendingChange) -> None:
    """Start a change; one that takes no time is over at once."""
    resource.change, resource.status, resource.modified = change, change.status, region.now()
    settle(region, resource, look=False)


def settle(region: Region, resource: ResourceRecord, *, look: bool) -> None:
    """End the resource's change if its time has come. A ``look`` counts; a glance (a list) does not."""
    change = resource.change
    if change is None or (not look and change.wait.looks > 0) or not change.wait.look(region.now()):
        return
    resource.change = None
    resource.reason = region.account.take_failure(resource.name) if change.status != "Deleting" else None
    resource.status = ENDS[change.end](region, resource, change.request, resource.reason)
    resource.modified = region.now()
    if resource.status == GONE:
        region.state.table(resource.kind).pop(resource.name, None)
        region.state.table(_DELETED)[f"{resource.kind}/{resource.name}"] = resource.modified
        region.state.tags.pop(resource.arn, None)


def refuse_in_progress(resource: ResourceRecord) -> None:
    if resource.change is not None:
        raise invalid(f'Cannot update in-progress {NOUNS[resource.kind]} "{resource.arn}".')
