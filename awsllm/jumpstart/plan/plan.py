"""A deployment as a value: the exact AWS requests, in order, before any of them is made.

``make_plan`` is pure. The same document and options give the same plan, names included: a step's resource is named by
the endpoint's name and, where it cannot change once made (models, endpoint configurations), by a digest of its own
request. So whoever applies a plan twice makes nothing twice, and a changed plan makes new resources beside the old ones
and moves the endpoint over.

A request may need what an earlier one answered: a string ``${STEP.MEMBER}`` stands for it.

Here are the values; ``planner`` makes them, ``changes`` compares them, ``plan_text`` writes them for people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from awsllm.errors import ValidationError
from awsllm.types import JsonObject, JsonValue, Value
from awsllm.wire.endpoint.format import Detected

if TYPE_CHECKING:
    from awsllm.jumpstart.hub.document import ModelDocument
    from awsllm.jumpstart.prices import Prices


class Context(Value, frozen=True, kw_only=True):
    """What a plan depends on beside the model and the options. ``role`` is the ARN of the execution role, ``account``
    the caller's; without them a plan can be read, and its ARNs are wider."""

    region: str
    prices: Prices
    role: str | None = None
    account: str | None = None


class Step(Value, frozen=True, kw_only=True):
    """One AWS request. ``service`` is boto3's name (``sagemaker``), ``operation`` the API's (``CreateModel``),
    ``resource`` the name of what it makes, ``wait`` what must be reached before the next step: endpoint_in_service,
    component_in_service or None. ``note`` says in a few words what it is for."""

    id: str
    service: str
    operation: str
    request: JsonObject
    resource: str
    wait: str | None = None
    note: str = ""


class Cost(Value, frozen=True, kw_only=True):
    """US dollars an hour while it runs, at least and at most (autoscaling); None where the table has no price.
    ``as_of`` is the day of the table."""

    per_hour: float | None
    per_hour_max: float | None = None
    as_of: str | None = None
    note: str = ""


class Plan(Value, frozen=True, kw_only=True):
    """``steps`` in the order in which they are made; deletion goes the other way. ``digest`` names the plan: equal
    plans, equal digests. ``permissions`` is an IAM policy document with what applying, calling and deleting needs.
    ``eula_urls`` are the licences of a gated model and of what is hosted with it, ``eula_url`` the first of them;
    ``eula_accepted`` says whether the caller accepted them all. ``format`` is what the container will speak."""

    model_id: str
    model_version: str
    region: str
    endpoint: str
    component: str | None = None
    steps: tuple[Step, ...]
    digest: str
    cost: Cost
    permissions: JsonObject
    warnings: tuple[str, ...] = ()
    eula_url: str | None = None
    eula_accepted: bool = False
    format: Detected | None = None
    expires_after: float | None = None
    """Seconds after its creation (``ttl``)."""
    eula_urls: tuple[str, ...] = ()

    @property
    def licences(self) -> tuple[str, ...]:
        """Where to read all that ``accept_eula`` accepts; of a plan that was written before there was a list, too."""
        return self.eula_urls or ((self.eula_url,) if self.eula_url is not None else ())

    @property
    def reference(self) -> str:
        """What ``Client.converse`` takes: ``sagemaker:ENDPOINT[/COMPONENT]``."""
        return f"sagemaker:{self.endpoint}" + (f"/{self.component}" if self.component else "")

    def diff(self, existing: Iterable[Step]) -> tuple[Change, ...]:
        """What applying this plan would change of what ``existing`` made, leaf by leaf."""
        from awsllm.jumpstart.plan.changes import changes

        return changes(self.steps, tuple(existing))

    def to_json(self) -> bytes:
        return msgspec.json.encode(self, order="deterministic")

    @classmethod
    def from_json(cls, data: bytes | str) -> Plan:
        """Raises ``ValidationError`` for what is no plan, or one that was edited."""
        from awsllm.jumpstart.plan import planner

        try:
            plan = msgspec.json.decode(data, type=cls)
        except (msgspec.DecodeError, RecursionError) as cause:
            raise ValidationError(f"this is not a plan: {cause}") from cause
        planner.check_digest(plan)
        return plan

    def __str__(self) -> str:
        from awsllm.jumpstart.plan.text import describe

        return describe(self)


class Change(Value, frozen=True, kw_only=True):
    """``action`` is create, update, replace, delete or keep. ``path`` is within the resource's request, empty for the
    resource as a whole."""

    action: str
    resource: str
    path: str = ""
    before: JsonValue = None
    after: JsonValue = None


def make_plan(document: ModelDocument, options: Mapping[str, Any], context: Context) -> Plan:
    """The plan that deploys ``document`` as ``options`` (``PlanOptions``) say. Pure.

    Raises ``ValidationError`` for options that exclude each other or that SageMaker would refuse.
    """
    from awsllm.jumpstart.plan import planner

    return planner.make_plan(document, options, context)
