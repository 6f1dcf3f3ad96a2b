"""Why CloudFormation failed, in the words of who must mend it: the first resource that failed, and common causes.

When one resource fails, those under way are cancelled and everything is rolled back, each with an event of its own; the
first failure that is no cancellation is the cause. What is said of causes is a table: a pattern of the reason that the
service gave, what it means, and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from awsllm.types import Value


class StackEvent(Value, frozen=True, kw_only=True):
    """One event of a stack: what became of a resource, or of the stack itself."""

    id: str
    resource: str
    type: str
    status: str
    reason: str = ""
    physical_id: str = ""
    of_stack: bool = False
    """Whether it is about the stack as a whole."""


def read_event(given: dict[str, Any]) -> StackEvent:
    """From DescribeStackEvents."""
    physical = str(given.get("PhysicalResourceId", ""))
    return StackEvent(
        id=given["EventId"],
        resource=str(given.get("LogicalResourceId", "")),
        type=str(given.get("ResourceType", "")),
        status=str(given.get("ResourceStatus", "")),
        reason=str(given.get("ResourceStatusReason", "")),
        physical_id=physical,
        of_stack=physical == given.get("StackId"),
    )


class StackFailure(Value, frozen=True, kw_only=True):
    """The resource that failed first, the service's own ``reason``, and what it means (``cause``, with its fix) where
    that is known."""

    resource: str
    type: str
    reason: str
    cause: str | None = None

    def __str__(self) -> str:
        """On one line."""
        kind = f" ({self.type})" if self.type else ""
        told = f"{self.resource}{kind} failed: {self.reason or 'no reason was given'}"
        return f"{told.rstrip('.')}. {self.cause}" if self.cause else told


_CANCELLED = re.compile(r"cancell?ed|following resource\(s\) failed|rollback requested", re.IGNORECASE)


def first_failure(events: Iterable[StackEvent]) -> StackFailure | None:
    """Of events in the order in which they happened; None where nothing failed."""
    failed = [event for event in events if event.status.endswith("_FAILED")]
    own = [event for event in failed if not event.of_stack and not _CANCELLED.search(event.reason)]
    found: Sequence[StackEvent] = own or failed
    if not found:
        return None
    event = found[0]
    return StackFailure(resource=event.resource, type=event.type, reason=event.reason, cause=cause_of(event.reason))


def cause_of(reason: str) -> str | None:
    """What a service's reason means and what to do; None where no row of the table knows it."""
    return next(_causes(reason), None)


def _causes(reason: str) -> Iterator[str]:
    for row in _CAUSES:
        if found := row.pattern.search(reason):
            yield row.meaning.format(*found.groups())


class _Cause(NamedTuple):
    pattern: re.Pattern[str]
    meaning: str


def _cause(pattern: str, meaning: str) -> _Cause:
    return _Cause(re.compile(pattern, re.IGNORECASE), meaning)


# The first row that fits tells. Reasons as services write them; sources: CloudFormation's troubleshooting guide and the
# error texts of the services' API references (read 2026-11-26).
_CAUSES = (
    _cause(
        r"not authorized to perform:? ([a-z0-9-]+:\w+)",
        "Whoever deploys lacks {0}: allow it, or deploy with a role that has it (role=).",
    ),
    _cause(
        r"(?:security token .* expired|ExpiredToken)",
        "The credentials ran out while CloudFormation worked with them: renew them and deploy again, or give a role "
        "(role=), whose rights do not run out.",
    ),
    _cause(
        r"S3 Error Code: NoSuchKey|key does not exist",
        "The code is not where CodeBucket and CodeKey say: give the package (code=), or correct them.",
    ),
    _cause(
        r"PermanentRedirect|S3 Error Code: (?:AuthorizationHeaderMalformed|301)|bucket .* (?:another|different) region",
        "The bucket of the code is in another region: it must be in the stack's.",
    ),
    _cause(
        r"role defined for the function cannot be assumed|cannot be assumed by Lambda",
        "IAM had not spread the new role yet: deploy again.",
    ),
    _cause(
        r"UnreservedConcurrentExecution below",
        "The account's Lambda concurrency leaves no room for what is reserved: reserve less, or ask for a higher quota "
        "'Concurrent executions' in Service Quotas.",
    ),
    _cause(
        r"(?:account-level service limit|ResourceLimitExceeded|LimitExceeded|ServiceQuotaExceeded|service quota)",
        "A quota of the account is used up: ask for more in Service Quotas, or take a smaller size.",
    ),
    _cause(
        r"already exists|AlreadyExists",
        "Something of that name is there already: choose another name parameter, or remove what holds it (a resource "
        "that an earlier stack retained, say).",
    ),
    _cause(
        r"bucket you tried to delete is not empty|BucketNotEmpty",
        "The bucket has objects: destroy with delete_data=True, which deletes them too.",
    ),
    _cause(
        r"has a dependent object|DependencyViolation|currently in use",
        "Something outside the stack still uses it: remove that first, then try again.",
    ),
    _cause(
        r"Unrecognized resource type|is not (?:available|supported) in (?:this|the) region",
        "The region does not offer this: take another region.",
    ),
    _cause(
        r"don'?t have access to the model|model access|not subscribed|aws-marketplace",
        "The account has no access to the model yet: ask for it in Bedrock's console, Model access.",
    ),
    _cause(r"Rate exceeded|Throttl|Internal ?Failure|ServiceUnavailable", "It may pass: deploy again."),
)
