"""The end of a stack: what is deleted, what stays behind, and which data goes with it only when that is said.

CloudFormation does not delete a bucket with objects: a stack that has one would fail half-way. So buckets are looked
into first, and one that holds objects is refused unless ``delete_data`` is given. What a template retains (its
``DeletionPolicy``) outlives the stack, and is told by name; ``delete_data`` deletes the buckets, tables and queues
among it, once the stack is gone, protected tables with ``unprotect`` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from msgspec.structs import replace

from awsllm.errors import AwsllmError, DeploymentError, ModelNotFoundError
from awsllm.infra import stacks
from awsllm.infra.deployment import Site, failed, goes_on, protect
from awsllm.infra.stacks import SERVICE, StackDescription
from awsllm.infra.template_text import read_document
from awsllm.jumpstart.deploy.resources import call
from awsllm.types import JsonObject, Value

BUCKET, TABLE, QUEUE = "AWS::S3::Bucket", "AWS::DynamoDB::Table", "AWS::SQS::Queue"
_DATA = (BUCKET, TABLE, QUEUE)
_RETAINED = ("Retain", "RetainExceptOnCreate", "Snapshot")
_BATCH = 1000  # keys that DeleteObjects takes


class Doomed(Value, frozen=True, kw_only=True):
    """One resource of a stack that is to be deleted. ``retained`` is whether it outlives the stack, ``holds`` what data
    is in it, in words; empty where there is none or it is not known."""

    resource: str
    type: str
    physical_id: str
    retained: bool = False
    holds: str = ""


class Removal(Value, frozen=True, kw_only=True):
    """What destroying a stack does, or has done (``deleted``). ``data`` is whether data is deleted too. ``left`` is
    what could not be removed, and why."""

    stack: str
    resources: tuple[Doomed, ...] = ()
    data: bool = False
    deleted: bool = False
    left: tuple[str, ...] = ()

    @property
    def retained(self) -> tuple[Doomed, ...]:
        """What outlives the stack."""
        kept = [each for each in self.resources if each.retained]
        return tuple(each for each in kept if not (self.data and each.type in _DATA))

    def __str__(self) -> str:
        return "\n".join(_lines(self))


Agree = Callable[[Removal], bool]
"""Is shown what would be removed and says whether it shall be."""


def plan_removal(site: Site, stack: StackDescription, *, delete_data: bool) -> Removal:
    """What would go and what would stay; nothing is changed."""
    policies = _policies(site, stack)
    found = [each for each in stacks.resources(site.clients, stack.id or stack.name) if _is_there(each.status)]
    doomed = tuple(
        Doomed(
            resource=each.id,
            type=each.type,
            physical_id=each.physical_id,
            retained=policies.get(each.id) in _RETAINED,
            holds=_holding(site, each.type, each.physical_id),
        )
        for each in found
    )
    return Removal(stack=stack.name, resources=doomed, data=delete_data)


def _is_there(status: str) -> bool:
    return status not in ("DELETE_COMPLETE", "DELETE_SKIPPED")


def destroy(
    site: Site,
    name: str,
    *,
    approve: Agree | None = None,
    delete_data: bool = False,
    unprotect: bool = False,
    role: str | None = None,
) -> Removal | None:
    """Delete a stack and wait. One that is not there is no error; None where ``approve`` said no. Raises
    ``DeploymentError`` for a protected stack, one with objects in its buckets, and a deletion that failed."""
    stack = stacks.find(site.clients, name)
    if stack is None:
        return Removal(stack=name)
    if stack.protected and not unprotect:
        raise DeploymentError(f"{name} is protected from deletion: give unprotect=True to take that away and delete it")
    if not stack.settled and not stack.in_review:
        raise DeploymentError(f"{name} is in {stack.status}: wait until that is over, then destroy it")
    removal = plan_removal(site, stack, delete_data=delete_data)
    _refuse_data(removal)
    if approve is not None and not approve(removal):
        return None
    if stack.protected:
        protect(site, name, on=False)
    for each in removal.resources:
        if delete_data and each.type == BUCKET and not each.retained:
            _empty(site, each)
    _delete(site, stack, role)
    left = tuple(_clear(site, removal, unprotect=unprotect)) if delete_data else ()
    return replace(removal, deleted=True, left=left)


def _refuse_data(removal: Removal) -> None:
    full = [each for each in removal.resources if each.type == BUCKET and each.holds and not each.retained]
    if full and not removal.data:
        names = ", ".join(f"{each.resource} ({each.physical_id}: {each.holds})" for each in full)
        raise DeploymentError(
            f"{removal.stack} was not deleted: {names}. CloudFormation deletes no bucket with objects: save them, then "
            "empty it, or give delete_data=True, which deletes them"
        )


def _delete(site: Site, stack: StackDescription, role: str | None) -> None:
    since = stacks.newest_event(site.clients, stack.name)
    members: dict[str, Any] = {"StackName": stack.name, **({"RoleARN": role} if role else {})}
    call(site.clients, SERVICE, "delete_stack", **members)
    with goes_on(stack.name):
        try:
            found, happened = site.follow(stack.id or stack.name, since)
        except ModelNotFoundError:  # forgotten at once, as a stack in review is
            return
    if found.status != "DELETE_COMPLETE":
        raise failed(found, stacks.why_failed(site.clients, happened), "deletion")


# --- data ------------------------------------------------------------------------------------------------------------


def _policies(site: Site, stack: StackDescription) -> dict[str, str]:
    """Deletion policies by resource, from the template that the stack was made from."""
    if stack.in_review:  # it has none yet
        return {}
    body = call(site.clients, SERVICE, "get_template", StackName=stack.id or stack.name)["TemplateBody"]
    document: JsonObject = body if isinstance(body, dict) else read_document(str(body), f"the template of {stack.name}")
    made = document.get("Resources") or {}
    return {name: str(each.get("DeletionPolicy", "")) for name, each in made.items() if isinstance(each, dict)}


def _holding(site: Site, kind: str, name: str) -> str:
    try:
        if kind == BUCKET:
            found = call(site.clients, "s3", "list_object_versions", Bucket=name, MaxKeys=1)
            return "has objects" if found.get("Versions") or found.get("DeleteMarkers") else ""
        if kind == TABLE:
            items = int(call(site.clients, "dynamodb", "describe_table", TableName=name)["Table"].get("ItemCount", 0))
            return f"has about {items:,} items" if items else ""
        if kind == QUEUE:
            asked = {"QueueUrl": name, "AttributeNames": ["ApproximateNumberOfMessages"]}
            attributes = call(site.clients, "sqs", "get_queue_attributes", **asked).get("Attributes") or {}
            messages = int(attributes.get("ApproximateNumberOfMessages", 0))
            return f"has about {messages:,} messages" if messages else ""
    except AwsllmError:  # gone, or not to be looked into: deleting will tell
        return ""
    return ""


def _empty(site: Site, bucket: Doomed) -> None:
    """Every version of every object."""
    site.reporter.tell("data", bucket.physical_id, "emptying")
    while True:
        found = call(site.clients, "s3", "list_object_versions", Bucket=bucket.physical_id, MaxKeys=_BATCH)
        listed = [*(found.get("Versions") or ()), *(found.get("DeleteMarkers") or ())]
        if not listed:
            return
        keys = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in listed]
        answer = call(
            site.clients, "s3", "delete_objects", Bucket=bucket.physical_id, Delete={"Objects": keys, "Quiet": True}
        )
        if errors := answer.get("Errors"):
            first = errors[0]
            raise DeploymentError(
                f"{bucket.physical_id} could not be emptied: {first.get('Code')} for {len(errors)} objects, "
                f"{first.get('Key')!r} the first. The stack was not deleted"
            )


def _clear(site: Site, removal: Removal, *, unprotect: bool) -> Iterator[str]:
    """Delete the buckets, tables and queues that outlived their stack; what could not be deleted is told."""
    for each in removal.resources:
        if not each.retained or each.type not in _DATA:
            continue
        try:
            if each.type == BUCKET:
                _empty(site, each)
                call(site.clients, "s3", "delete_bucket", Bucket=each.physical_id)
            elif each.type == TABLE:
                if unprotect:
                    free = {"TableName": each.physical_id, "DeletionProtectionEnabled": False}
                    call(site.clients, "dynamodb", "update_table", **free)
                call(site.clients, "dynamodb", "delete_table", TableName=each.physical_id)
            else:
                call(site.clients, "sqs", "delete_queue", QueueUrl=each.physical_id)
        except AwsllmError as error:
            protected = each.type == TABLE and "protect" in error.message.lower() and not unprotect
            yield f"{each.physical_id}: {error.message}" + (
                ": give unprotect=True before, or delete the table yourself" if protected else ""
            )
        else:
            site.reporter.tell("data", each.physical_id, "removed")


def _lines(removal: Removal) -> Iterator[str]:
    yield f"{removal.stack}: {len(removal.resources)} resources"
    kept = {each.resource for each in removal.retained}
    for each in removal.resources:
        mark = "=" if each.resource in kept else "-"
        fate = "  stays" if mark == "=" else "  with its data" if each.holds else ""
        holds = f"  {each.holds}" if each.holds else ""
        yield f"  {mark} {each.resource}  {each.type}  {each.physical_id}{holds}{fate}"
    yield from (f"warning: {text}" for text in removal.left)
