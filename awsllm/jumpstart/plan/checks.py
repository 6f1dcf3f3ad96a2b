"""What is refused or warned of before anything is made.

Refusals are what SageMaker is known to refuse: a rule is a row, its condition beside its text. Sources: the user
guide's exclusions of serverless inference, the scaling of endpoints to zero, and botocore's service model (1.44).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from awsllm.errors import ValidationError
from awsllm.jumpstart import names
from awsllm.jumpstart.hub.document import ModelDocument
from awsllm.jumpstart.plan import scaling
from awsllm.jumpstart.plan.options import Wanted
from awsllm.jumpstart.plan.requests import Placed, lowest, takes_key
from awsllm.jumpstart.plan.resolve import DataSource, accelerated
from awsllm.types import Value

if TYPE_CHECKING:
    from awsllm.jumpstart.plan.plan import Context

MAX_ENVIRONMENT = 100
MAX_ADDITIONAL = 5
MAX_VARIANTS = 10
MAX_TAGS = 50
_TAG = re.compile(r"[\w\s.:/=+\-@]*")  # the API's pattern of keys and values


class Asked(Value, frozen=True, kw_only=True):
    """What the rules look at."""

    document: ModelDocument
    wanted: Wanted
    placed: tuple[Placed, ...]

    @property
    def sources(self) -> Iterator[DataSource]:
        for each in self.placed:
            if each.hosting.artifact is not None and not each.hosting.package_arn:
                yield each.hosting.artifact
            yield from each.hosting.additional

    @property
    def packaged(self) -> bool:
        return any(each.hosting.package_arn for each in self.placed)

    @property
    def kind(self) -> str:
        """What scales: the kinds of ``scaling``."""
        if self.wanted.components is not None:
            return "component"
        if self.wanted.serverless is not None:
            return "serverless"
        return "asynchronous" if self.wanted.async_ is not None else "variant"


# --- combinations ----------------------------------------------------------------------------------------------------


def _is_accelerated_only(asked: Asked) -> bool:
    supported = asked.placed[0].hosting.content.get("SupportedInferenceInstanceTypes") or [
        asked.placed[0].instance_type
    ]
    return all(accelerated(machine) for machine in supported if machine)


def _takes_source(asked: Asked) -> bool:
    return any(source.compression != "Gzip" or source.gated or source.channel is not None for source in asked.sources)


def _scales_to_zero(asked: Asked) -> bool:
    return asked.wanted.autoscaling is not None and lowest(asked.wanted.autoscaling) == 0


_SERVERLESS: tuple[tuple[Callable[[Asked], object], str], ...] = (
    (lambda asked: asked.wanted.components, "inference components need instances; leave components out"),
    (lambda asked: asked.wanted.variants, "it has one variant; leave variants out"),
    (lambda asked: asked.wanted.async_, "asynchronous inference needs instances; leave async_ out"),
    (lambda asked: asked.wanted.vpc, "it cannot be put into a VPC; leave vpc out"),
    (lambda asked: asked.wanted.data_capture, "it cannot capture data; leave data_capture out"),
    (lambda asked: asked.wanted.enable_network_isolation, "it cannot isolate the container from the network"),
    (lambda asked: asked.wanted.instance_type, "it has no instance type; leave instance_type out"),
    (lambda asked: asked.wanted.volume_size_gb, "it has no volume; leave volume_size_gb out"),
    (lambda asked: asked.packaged, "Marketplace packages cannot be hosted so"),
    (_is_accelerated_only, "it has no GPU, and the model supports only accelerated instances"),
    (_takes_source, "it takes the model as one open .tar.gz only, not as files or with a licence to accept"),
    (
        lambda asked: asked.wanted.autoscaling and not asked.wanted.serverless.provisioned_concurrency,  # type: ignore[union-attr]
        "it scales by itself; only provisioned concurrency can follow autoscaling: give provisioned_concurrency",
    ),
)
_REST: tuple[tuple[Callable[[Asked], object], str], ...] = (
    (
        lambda asked: asked.wanted.components and asked.wanted.variants,
        "an endpoint of inference components has one variant of awsllm's: give components or variants",
    ),
    (
        lambda asked: asked.wanted.components and asked.packaged,
        "a Marketplace package cannot be an inference component: leave components out",
    ),
    (
        lambda asked: asked.wanted.components and asked.wanted.async_,
        "asynchronous endpoints hold the model in the variant: give components or async_",
    ),
    (
        lambda asked: _scales_to_zero(asked) and not scaling.reaches_zero(asked.kind),
        "only inference components and asynchronous endpoints scale to zero: give components=True or async_, or "
        "autoscaling with min=1",
    ),
    (
        lambda asked: asked.packaged and (asked.wanted.env or any(each.variant.env for each in asked.placed)),
        "a Marketplace package brings its own environment: leave env out",
    ),
    (
        lambda asked: asked.packaged and asked.wanted.model_data,
        "a Marketplace package brings its own artifact: give model_data or model_package_arn",
    ),
    (
        lambda asked: asked.packaged and asked.wanted.enable_network_isolation is False,
        "a Marketplace package must be isolated from the network: leave enable_network_isolation out",
    ),
)


_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/?[a-zA-Z0-9+=,.@_/-]+")


def refuse(asked: Asked, context: Context) -> None:
    """Raises ``ValidationError`` for what cannot work, in the words of the option that has to change."""
    document = asked.document
    if document.region != context.region:
        raise ValidationError(
            f"{document.model_id} was read in {document.region}, whose images and files {context.region} cannot use: "
            f"read it there"
        )
    role = context.role or asked.wanted.role
    if role is not None and not _ROLE.fullmatch(role):
        raise ValidationError(f"role={role!r} is not a role's ARN, such as arn:aws:iam::123456789012:role/sagemaker")
    rules = [(rule, f"a serverless endpoint: {text}") for rule, text in _SERVERLESS if asked.wanted.serverless]
    for rule, text in [*rules, *_REST]:
        if rule(asked):
            raise ValidationError(text)
    _refuse_scaling(asked)
    _refuse_variants(asked)
    for each in asked.placed:
        _refuse_container(each, asked)


def _refuse_scaling(asked: Asked) -> None:
    bounds, components = asked.wanted.autoscaling, asked.wanted.components
    if bounds is not None and components is not None and components.copies > bounds.max:
        raise ValidationError(f"components.copies is {components.copies}, above autoscaling.max, {bounds.max}")
    if bounds is not None and (asked.kind, bounds.metric) == ("serverless", "invocations"):
        raise ValidationError("a serverless endpoint scales on the use of its concurrency: leave metric out")


def _refuse_variants(asked: Asked) -> None:
    variants = [each.variant for each in asked.placed]
    seen = [variant.name for variant in variants]
    if len(variants) > MAX_VARIANTS or len(set(seen)) < len(seen):
        raise ValidationError(f"variants: at most {MAX_VARIANTS}, each with a name of its own; these are {seen}")
    for variant in variants:
        names.check(variant.name, "a variant's name")
        if variant.count < 1 or variant.weight < 0:
            raise ValidationError(f"the variant {variant.name!r} needs a count from 1 and a weight from 0")
    if not any(variant.weight > 0 for variant in variants):
        raise ValidationError("variants: one weight must be above 0, else none gets a request")


def _refuse_container(placed: Placed, asked: Asked) -> None:
    hosting, document = placed.hosting, asked.document
    where = f" on {placed.instance_type}" if placed.instance_type else ""
    if not placed.instance_type and asked.wanted.serverless is None:
        raise ValidationError(f"{document.model_id} names no default instance type: give instance_type")
    if document.proprietary and not hosting.package_arn:
        raise ValidationError(
            f"{document.model_id} has no Marketplace package{where}: choose one of "
            f"{', '.join(document.instance_types) or 'its instance types'} or give model_package_arn"
        )
    if not hosting.package_arn and not hosting.image:
        raise ValidationError(f"{document.model_id} has no image{where}: choose another instance_type or config")
    if len(hosting.env) > MAX_ENVIRONMENT:
        raise ValidationError(f"the container's environment has {len(hosting.env)} entries, above {MAX_ENVIRONMENT}")
    if len(hosting.additional) > MAX_ADDITIONAL:
        raise ValidationError(f"the model has {len(hosting.additional)} more data sources, above {MAX_ADDITIONAL}")


def refuse_tags(tags: dict[str, str], reserved: int) -> None:
    """``reserved`` more are added when the plan is applied. Raises ``ValidationError``."""
    if len(tags) + reserved > MAX_TAGS:
        raise ValidationError(
            f"tags: {len(tags)} with awsllm's own, and {reserved} more are added on creation; at most {MAX_TAGS}"
        )
    for key, value in tags.items():
        if not 1 <= len(key) <= 128 or key.lower().startswith("aws:") or not _TAG.fullmatch(key):
            raise ValidationError(f"tags: {key!r} cannot be a tag's key")
        if len(value) > 256 or not _TAG.fullmatch(value):
            raise ValidationError(f"tags: {value!r} cannot be the value of {key!r}")


# --- warnings --------------------------------------------------------------------------------------------------------


def warn(asked: Asked, context: Context) -> Iterator[str]:
    """What to tell of a plan that can be made."""
    wanted = asked.wanted
    for each in asked.placed:
        yield from each.hosting.warnings
    if context.role is None:
        yield "no execution role is known, and SageMaker needs one: give role, or set AWSLLM_SAGEMAKER_ROLE"
    yield from _licences(asked)
    if asked.packaged and asked.document.subscription_url:
        yield f"subscribe to the model first: {asked.document.subscription_url}"
    if wanted.components is not None and not asked.placed[0].hosting.components_supported:
        yield "the document does not say that the model can be an inference component"
    if wanted.components is not None and wanted.components.adapters and not _loads_adapters(asked):
        yield "adapters need a container that loads LoRA adapters at run time, such as DJL LMI; this image is another"
    if wanted.kms is not None and wanted.serverless is None and not takes_key(asked.placed):
        yield "kms is not used for the disks of these instances: their hardware encrypts them, and takes no other key"
    if wanted.volume_size_gb is not None and any(each.hosting.volume_gb is None for each in asked.placed):
        yield "volume_size_gb is not used: these instances have disks of their own"


def _licences(asked: Asked) -> Iterator[str]:
    if not asked.wanted.accept_eula:
        for url in dict.fromkeys(licences(asked)):
            yield f"a licence is to be accepted before this can be applied: read {url}, then give accept_eula=True"


def licences(asked: Asked) -> Iterator[str]:
    """Where to read the licence of everything gated; the place of what it is for, where no text is known."""
    return (source.eula_url or source.uri for source in asked.sources if source.gated)


def _loads_adapters(asked: Asked) -> bool:
    return any(name in (asked.placed[0].hosting.image or "") for name in ("djl-inference", "vllm"))
