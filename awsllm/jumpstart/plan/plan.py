"""A deployment as a value: the exact AWS requests, in order, before any of them is made.

The same document and options give the same plan, names included: a step's resource is named by the endpoint's name and,
where it cannot change once made (models, endpoint configurations), by a digest of its own request. So whoever applies a
plan twice makes nothing twice, and a changed plan makes new resources beside the old ones and moves the endpoint over.

A request may need what an earlier one answered: a string ``${STEP.MEMBER}`` stands for it.

Here are the values, how two are compared, and how one reads as text; ``planner`` makes them. All of it is pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from awsllm.errors import EulaNotAcceptedError, ValidationError
from awsllm.jumpstart import names, tags
from awsllm.jumpstart.plan.secrets import without_secrets
from awsllm.jumpstart.prices import Prices
from awsllm.types import JsonObject, JsonValue, Value
from awsllm.wire.endpoint import Detected

T = TypeVar("T")

PLACEHOLDER = re.compile(r"\$\{([^{}]+)\.([A-Za-z]+)\}")
"""``${STEP.MEMBER}``: the step's id, the member of its response. Other text in braces is the caller's."""
DIGEST = 12  # hexadecimal digits
HOURS = 730  # of an average month


class PlanContext(Value, frozen=True, kw_only=True):
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

    def __repr__(self) -> str:
        """Without the secrets of its environment, as it may be logged."""
        return Value.__repr__(replace(self, request=without_secrets(self.request)))


class Cost(Value, frozen=True, kw_only=True):
    """US dollars an hour while it runs, at least and at most (autoscaling); None where the table has no price.
    ``total`` is the most that it can come to, of what ends by itself. ``as_of`` is the day of the table."""

    per_hour: float | None
    per_hour_max: float | None = None
    as_of: str | None = None
    note: str = ""
    total: float | None = None


class Change(Value, frozen=True, kw_only=True):
    """``action`` is create, update, replace, delete or keep. ``path`` is within the resource's request, empty for the
    resource as a whole."""

    action: str
    resource: str
    path: str = ""
    before: JsonValue = None
    after: JsonValue = None

    def __repr__(self) -> str:
        """Without the secrets of its environment, as it may be logged."""
        before, after = (without_secrets(value, self.path) for value in (self.before, self.after))
        return Value.__repr__(replace(self, before=before, after=after))


class Changes(tuple[Change, ...]):
    """What is different, in the order of the plan; a table in a notebook."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        from awsllm.notebook import table

        rows = [
            (change.action, change.resource, change.path, *_shown(change)) for change in self if change.action != "keep"
        ]
        if not rows:
            return table([("changes", "none")])
        return table(rows, header=("action", "resource", "member", "before", "after"))


def _shown(change: Change) -> tuple[JsonValue, JsonValue]:
    """Before and after, without the secrets of an environment; a resource as a whole is only named."""
    values = (without_secrets(value, change.path) for value in (change.before, change.after))
    before, after = (None if isinstance(value, dict) and not change.path else value for value in values)
    return before, after


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

    def diff(self, existing: Iterable[Step]) -> Changes:
        """What applying this plan would change of what ``existing`` made, leaf by leaf."""
        return Changes(changes(self.steps, tuple(existing)))

    def to_json(self) -> bytes:
        return msgspec.json.encode(self, order="deterministic")

    @classmethod
    def from_json(cls, data: bytes | str) -> Plan:
        """Raises ``ValidationError`` for what is no plan, or one that was edited."""
        plan = read_saved(data, cls)
        check_digest(plan)
        return plan

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def _repr_html_(self) -> str:
        from awsllm.notebook import table

        steps = [(number, step.operation, step.resource, step.note) for number, step in enumerate(self.steps, 1)]
        about = [*_rows(self), *(("warning", warning) for warning in self.warnings)]
        return table(about, caption=_title(self)) + table(steps, header=("", "step", "resource", "for"))


# --- saving ----------------------------------------------------------------------------------------------------------


def read_saved(data: bytes | str, kind: type[T]) -> T:
    """A plan of any kind from its JSON. Raises ``ValidationError`` for what is none."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError) as cause:
        raise ValidationError(f"this is not a plan: {cause}") from cause


def digest_of(model_id: str, version: str, region: str, steps: tuple[Step, ...], ttl: float | None) -> str:
    """What names a plan: it follows from the requests, the tag that carries it left out."""
    untagged = [msgspec.structs.replace(step, request=_without_tags(step.request, (tags.PLAN_TAG,))) for step in steps]
    return names.digest([model_id, version, region, untagged, None if ttl is None else float(ttl)], DIGEST)


def check_digest(plan: Plan) -> None:
    """Raises ``ValidationError`` for a plan whose requests were changed after it was made: neither its cost nor its
    permissions are theirs."""
    if plan.digest != digest_of(plan.model_id, plan.model_version, plan.region, plan.steps, plan.expires_after):
        raise ValidationError(
            "this plan was changed after it was made, so its cost and permissions are wrong: plan again"
        )


def _without_tags(request: JsonObject, left_out: Iterable[str]) -> JsonObject:
    """``request`` without the tags of these keys. Application Auto Scaling takes tags as a mapping."""
    given = request.get("Tags")
    if isinstance(given, dict):
        return {**request, "Tags": {key: value for key, value in given.items() if key not in left_out}}
    if isinstance(given, list):
        return {**request, "Tags": [tag for tag in given if tag["Key"] not in left_out]}
    return request


def licence_error(model_id: str, urls: Iterable[str]) -> EulaNotAcceptedError:
    """For a gated model whose licence the caller has not accepted; it carries the first URL."""
    places = tuple(urls)
    error = EulaNotAcceptedError(
        f"{model_id} has a licence to accept first. Read {' and '.join(places) or 'it'}, then pass accept_eula=True."
    )
    error.url = places[0] if places else None
    return error


# --- what a plan changes of what exists ------------------------------------------------------------------------------
#
# Two lists of steps are compared resource by resource, leaf by leaf. A resource that can change is found by its name.
# Models and endpoint configurations cannot: a changed one has another name, is made beside the old one, and the pair
# reads as a replacement. Paths go down by members; a list whose items have a name of their own is walked by it
# (``ProductionVariants[AllTraffic].InstanceType``, ``Tags[team]``), else by place.

# What cannot change once made, with the member that names it.
_REPLACED = {"CreateModel": "ModelName", "CreateEndpointConfig": "EndpointConfigName"}
# Tags that apply writes, or that follow from the plan as a whole.
_OWN_TAGS = (tags.PLAN_TAG, tags.EXPIRES_TAG, tags.ENDPOINT_TAG)
_KEYS = ("Key", "VariantName", "ChannelName", "Name")


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
    if step.operation not in _REPLACED:
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
    name = _REPLACED.get(after.operation)
    others = (_tag_names(before.request) - _tag_names(after.request)).difference(tags.OPTIONAL)
    yield from _differences("", _without(before.request, name, others), _without(after.request, name))


def _without(request: JsonObject, name: str | None, others: Iterable[str] = ()) -> JsonObject:
    """``others`` are tags that the plan does not know: applying it lets them be."""
    kept = {member: value for member, value in request.items() if member != name}
    return _without_tags(kept, (*_OWN_TAGS, *others))


def _tag_names(request: JsonObject) -> set[str]:
    given = request.get("Tags") or []
    return set(given) if isinstance(given, dict) else {tag["Key"] for tag in given}


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
    return isinstance(value, str) and isinstance(placeholder, str) and bool(PLACEHOLDER.search(placeholder))


# --- as a page to read before it is applied --------------------------------------------------------------------------


def _title(plan: Plan) -> str:
    return f"{plan.model_id} {plan.model_version} as {plan.reference} in {plan.region}"


def _lines(plan: Plan) -> Iterator[str]:
    yield _title(plan)
    for name, value in _rows(plan):
        yield f"  {name:<10} {value}"
    yield "steps"
    width = max((len(step.operation) for step in plan.steps), default=0)
    for number, step in enumerate(plan.steps, 1):
        note = f"  {step.note}" if step.note else ""
        yield f"  {number:>2}  {step.operation:<{width}}  {step.resource}{note}"
    for warning in plan.warnings:
        yield f"warning: {warning}"


def _rows(plan: Plan) -> Iterator[tuple[str, str]]:
    for step in plan.steps:
        if step.operation == "CreateModel":
            yield from _model(step)
        if step.operation == "CreateEndpointConfig":
            yield from (("variant", _variant(each)) for each in step.request["ProductionVariants"])
        if step.operation == "CreateInferenceComponent" and "RuntimeConfig" in step.request:
            yield "component", _component(step)
    yield "cost", _cost(plan.cost)
    if plan.format is not None:
        style = f", prompts in the style {plan.format.settings.prompt}" if plan.format.settings.prompt else ""
        yield "format", f"{plan.format.format} ({plan.format.evidence}){style}"
    for url in plan.licences:
        yield "licence", f"{'accepted' if plan.eula_accepted else 'NOT accepted'}: {url}"
    if plan.expires_after is not None:
        yield "expires", f"{plan.expires_after:g} s after it is made"
    yield "digest", plan.digest


def _model(step: Step) -> Iterator[tuple[str, str]]:
    container = step.request["PrimaryContainer"]
    if "ModelPackageName" in container:
        yield "package", container["ModelPackageName"]
        return
    yield "image", container["Image"]
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    artifact = container.get("ModelDataUrl") or source.get("S3Uri")
    if artifact:
        yield "artifact", artifact
    for extra in container.get("AdditionalModelDataSources", ()):
        yield "beside it", f"{extra['ChannelName']}: {extra['S3DataSource']['S3Uri']}"


def _variant(variant: JsonObject) -> str:
    if "ServerlessConfig" in variant:
        size = variant["ServerlessConfig"]
        return f"{variant['VariantName']}: serverless, {size['MemorySizeInMB']} MB, {size['MaxConcurrency']} at once"
    managed = variant.get("ManagedInstanceScaling")
    bounds = f", {managed['MinInstanceCount']} to {managed['MaxInstanceCount']}" if managed else ""
    return f"{variant['VariantName']}: {variant['InitialInstanceCount']} x {variant['InstanceType']}{bounds}"


def _component(step: Step) -> str:
    needs = step.request["Specification"]["ComputeResourceRequirements"]
    copies = step.request["RuntimeConfig"]["CopyCount"]
    devices = needs.get("NumberOfAcceleratorDevicesRequired")
    size = f"{needs['MinMemoryRequiredInMb']} MB" + (f", accelerators: {devices:g}" if devices else "")
    return f"{step.resource}: {copies} x {size}"


def _cost(cost: Cost) -> str:
    """US dollars an hour, and a month of it."""
    note = f"; {cost.note}" if cost.note else ""
    day = f", prices of {cost.as_of}" if cost.as_of else ""
    if cost.per_hour is None:
        return (cost.note or "no price known") + day
    if cost.per_hour_max is None:
        return f"${cost.per_hour:.2f} an hour (about ${cost.per_hour * HOURS:,.0f} a month){day}{note}"
    return f"${cost.per_hour:.2f} to ${cost.per_hour_max:.2f} an hour{day}{note}"
