"""On whose behalf the gateway calls models: sessions of a role with the caller's tags, and what invocation logs say.

With ``AWSLLM_CALLER_ROLE`` every key has credentials of its own, which its tags name (``awsllm-key``, ``awsllm-team``):
CloudTrail and, once they are cost allocation tags, the bill tell the callers apart. The role has to trust the
function's role with ``sts:AssumeRole`` and ``sts:TagSession``.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from msgspec.structs import replace

from awsllm.aws.session import AwsSession
from awsllm.backend import Backend
from awsllm.client_settings import Backends, ClientSettings, make_backend
from awsllm.policy.attempts import Policy
from awsllm.policy.keys import Key
from awsllm.server.places import POLICY, BlockingPlaces
from awsllm.types import ConverseRequest, Request

if TYPE_CHECKING:
    from awsllm.policy.groups import Group
    from awsllm.policy.observers import Observers
    from awsllm.policy.routing import GroupRoutes

Q = TypeVar("Q", bound=Request[Any])

KEY_TAG = "awsllm-key"
TEAM_TAG = "awsllm-team"
NAME_TAG = "awsllm-name"
REQUEST_TAG = "awsllm-request"

_MOST = 256  # callers whose credentials and connections are kept
_MOST_METADATA = 16  # pairs of requestMetadata, of at most 256 characters each (bedrock-runtime's service model)


class GatewayGroups(NamedTuple):
    """The groups that callers may name, what is known of their members, whoever calls, and who is told of calls."""

    groups: Callable[[], Mapping[str, Group]] = dict
    routes: GroupRoutes | None = None
    observers: Observers | None = None


class Callers:
    """The places where models run, for each key. Safe to share between threads."""

    def __init__(self, make: Callable[[Key], BlockingPlaces]) -> None:
        self._make = make
        self._made: OrderedDict[str, BlockingPlaces] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def together(cls, places: BlockingPlaces) -> Callers:
        """All by the function's own credentials."""
        return cls(lambda _: places)

    @classmethod
    def assuming(cls, role: str, session: AwsSession, groups: GatewayGroups) -> Callers:
        """Each by a session of ``role``."""
        return cls(lambda key: _assumed(role, key, session, groups))

    def close(self) -> None:
        """Close idle connections; the next calls open new ones."""
        with self._lock:
            for places in set(self._made.values()):
                places.close()

    def places(self, key: Key) -> BlockingPlaces:
        with self._lock:
            found = self._made.get(key.id)
            if found is None:
                found = self._made[key.id] = self._make(key)
                while len(self._made) > _MOST:  # whose connections end with it
                    self._made.popitem(last=False)
            self._made.move_to_end(key.id)
            return found


def places_of(
    session: Callable[[str | None], AwsSession], policy: Policy = POLICY, groups: GatewayGroups | None = None
) -> BlockingPlaces:
    """The places that are called as a session says, given the region that a reference names or None."""
    settings = ClientSettings(session, {})
    backends: Backends[Backend] = Backends(lambda reference: make_backend(settings, reference), None)
    groups = groups or GatewayGroups()
    return BlockingPlaces(backends, policy, *groups)


def _assumed(role: str, key: Key, session: AwsSession, groups: GatewayGroups) -> BlockingPlaces:
    from awsllm.aws.roles import AssumedRole, AssumedSession

    tags = {KEY_TAG: key.id} | ({TEAM_TAG: _tag(key.team)} if key.team else {})
    assumed = AssumedRole(session, role, name=key.id[:64], tags=tags)
    return places_of(lambda region: AssumedSession(assumed, region=region), groups=groups)


def marked(request: Q, target: str, key: Key, request_id: str) -> Q:
    """The request with the caller in its metadata, which Bedrock's invocation log keeps; as it was, where no
    conversation is asked of Bedrock."""
    if not (isinstance(request, ConverseRequest) and target.startswith("bedrock:")):
        return request
    named = {NAME_TAG: _tag(key.name)} if key.name else {}
    ours = {KEY_TAG: key.id, **named, REQUEST_TAG: _tag(request_id)}
    theirs = [pair for pair in (request.request_metadata or {}).items() if pair[0] not in ours]
    return replace(request, request_metadata={**dict(theirs[: _MOST_METADATA - len(ours)]), **ours})


def _tag(text: str) -> str:
    """A text as the value of a tag: ASCII letters, digits, spaces and the signs that both places take."""
    return re.sub(r"[^A-Za-z0-9 _.:/=+@-]", "-", text)[:256]
