"""What resources of a region share: they are found by kind and name, and they change.

A change begins with a request and ends at a look (``state.Wait``). Nothing runs meanwhile: whoever looks settles what
is due.
"""

from __future__ import annotations

from typing import Any

from awsllm.server.account.account import Region
from awsllm.server.account.refusals import could_not_find, invalid
from awsllm.server.account.state import PendingChange, ResourceRecord

NOUNS = {
    "model": "model",
    "endpoint-config": "endpoint configuration",
    "endpoint": "endpoint",
    "inference-component": "inference component",
}
GONE = "gone"
"""The status that ends a resource."""


def find(region: Region, kind: str, name: str) -> Any:
    """The record, or None if the name was made elsewhere. Raises AWS's refusal if there is none."""
    found = region.state.table(kind).get(name)
    if found is None and not region.elsewhere(kind, name):
        raise could_not_find(NOUNS[kind], region.arn(kind, name))
    return found


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
    resource.status = change.end(resource.reason)
    resource.modified = region.now()
    if resource.status == GONE:
        region.state.table(resource.kind).pop(resource.name, None)
        region.state.tags.pop(resource.arn, None)


def refuse_in_progress(resource: ResourceRecord) -> None:
    if resource.change is not None:
        raise invalid(f'Cannot update in-progress {NOUNS[resource.kind]} "{resource.arn}".')
