"""What is refused or warned of before anything is made.

Refusals are what SageMaker is known to refuse: a rule is a row, its condition beside its text. Sources: the user
guide's exclusions of serverless inference, the scaling of endpoints to zero, and botocore's service model (1.44).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from awsllm.aws import iam
from awsllm.errors import ValidationError
from awsllm.jumpstart import names
from awsllm.jumpstart.hub import members
from awsllm.jumpstart.hub.document import ModelDocument
from awsllm.jumpstart.hub.spec import OTHER_PACKAGES
from awsllm.jumpstart.plan import scaling
from awsllm.jumpstart.plan.options import ResolvedOptions
from awsllm.jumpstart.plan.plan import PlanContext
from awsllm.jumpstart.plan.requests import Placed, lowest, takes_key
from awsllm.jumpstart.plan.resolve import DataSource, accelerated
from awsllm.types import Value

MAX_ENVIRONMENT = 100
MAX_ADDITIONAL = 5
MAX_VARIANTS = 10


class PlanRequest(Value, frozen=True, kw_only=True):
    """A model's document and what is wanted of it, resolved: what the rules look at."""

    document: ModelDocument
    options: ResolvedOptions
    placed: tuple[Placed, ...]
    context: PlanContext

    @property
    def role(self) -> str | None:
        """The ARN of the execution role, where one is known."""
        return self.options.role or self.context.role

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
        if self.options.components is not None:
            return "component"
        if self.options.serverless is not None:
            return "serverless"
        return "asynchronous" if self.options.async_ is not None else "variant"


# --- combinations ----------------------------------------------------------------------------------------------------


def _is_accelerated_only(request: PlanRequest) -> bool:
    first = request.placed[0]
    supported = members.texts(first.hosting.content, "SupportedInferenceInstanceTypes") or [first.instance_type]
    return all(accelerated(machine) for machine in supported if machine)


def _takes_source(request: PlanRequest) -> bool:
    return any(source.compression != "Gzip" or source.gated or source.channel is not None for source in request.sources)


def _scales_to_zero(request: PlanRequest) -> bool:
    return request.options.autoscaling is not None and lowest(request.options.autoscaling) == 0


_SERVERLESS: tuple[tuple[Callable[[PlanRequest], object], str], ...] = (
    (lambda request: request.options.components, "inference components need instances; leave components out"),
    (lambda request: request.options.variants, "it has one variant; leave variants out"),
    (lambda request: request.options.async_, "asynchronous inference needs instances; leave async_ out"),
    (lambda request: request.options.vpc, "it cannot be put into a VPC; leave vpc out"),
    (lambda request: request.options.data_capture, "it cannot capture data; leave data_capture out"),
    (lambda request: request.options.enable_network_isolation, "it cannot isolate the container from the network"),
    (lambda request: request.options.instance_type, "it has no instance type; leave instance_type out"),
    (lambda request: request.options.volume_size_gb, "it has no volume; leave volume_size_gb out"),
    (lambda request: request.packaged, "Marketplace packages cannot be hosted so"),
    (_is_accelerated_only, "it has no GPU, and the model supports only accelerated instances"),
    (_takes_source, "it takes the model as one open .tar.gz only, not as files or with a licence to accept"),
    (
        lambda request: request.options.autoscaling and not request.options.serverless.provisioned_concurrency,  # type: ignore[union-attr]
        "it scales by itself; only provisioned concurrency can follow autoscaling: give provisioned_concurrency",
    ),
)
_REST: tuple[tuple[Callable[[PlanRequest], object], str], ...] = (
    (
        lambda request: request.options.components and request.options.variants,
        "an endpoint of inference components has one variant of awsllm's: give components or variants",
    ),
    (
        lambda request: request.options.components and request.packaged,
        "a Marketplace package cannot be an inference component: leave components out",
    ),
    (
        lambda request: request.options.components and request.options.async_,
        "asynchronous endpoints hold the model in the variant: give components or async_",
    ),
    (
        lambda request: _scales_to_zero(request) and not scaling.reaches_zero(request.kind),
        "only inference components and asynchronous endpoints scale to zero: give components=True or async_, or "
        "autoscaling with min=1",
    ),
    (
        lambda request: request.packaged and (request.options.env or any(each.variant.env for each in request.placed)),
        "a Marketplace package brings its own environment: leave env out",
    ),
    (
        lambda request: request.packaged and request.options.model_data,
        "a Marketplace package brings its own artifact: give model_data or model_package_arn",
    ),
    (
        lambda request: request.packaged and request.options.enable_network_isolation is False,
        "a Marketplace package must be isolated from the network: leave enable_network_isolation out",
    ),
)


def refuse(request: PlanRequest) -> None:
    """Raises ``ValidationError`` for what cannot work, in the words of the option that has to change."""
    document, context = request.document, request.context
    if document.region != context.region:
        raise ValidationError(
            f"{document.model_id} was read in {document.region}, whose images and files {context.region} cannot use: "
            f"read it there"
        )
    if request.role is not None:
        iam.check_role(request.role)
    rules = [(rule, f"a serverless endpoint: {text}") for rule, text in _SERVERLESS if request.options.serverless]
    for rule, text in [*rules, *_REST]:
        if rule(request):
            raise ValidationError(text)
    _refuse_scaling(request)
    _refuse_variants(request)
    for each in request.placed:
        _refuse_container(each, request)


def _refuse_scaling(request: PlanRequest) -> None:
    bounds, components = request.options.autoscaling, request.options.components
    if bounds is not None and components is not None and components.copies > bounds.max:
        raise ValidationError(f"components.copies is {components.copies}, above autoscaling.max, {bounds.max}")
    if bounds is not None and (request.kind, bounds.metric) == ("serverless", "invocations"):
        raise ValidationError("a serverless endpoint scales on the use of its concurrency: leave metric out")


def _refuse_variants(request: PlanRequest) -> None:
    variants = [each.variant for each in request.placed]
    seen = [variant.name for variant in variants]
    if len(variants) > MAX_VARIANTS or len(set(seen)) < len(seen):
        raise ValidationError(f"variants: at most {MAX_VARIANTS}, each with a name of its own; these are {seen}")
    for variant in variants:
        names.check(variant.name, "a variant's name")
        if variant.count < 1 or variant.weight < 0:
            raise ValidationError(f"the variant {variant.name!r} needs a count from 1 and a weight from 0")
    if not any(variant.weight > 0 for variant in variants):
        raise ValidationError("variants: one weight must be above 0, else none gets a request")


def _refuse_container(placed: Placed, request: PlanRequest) -> None:
    hosting, document = placed.hosting, request.document
    where = f" on {placed.instance_type}" if placed.instance_type else ""
    if not placed.instance_type and request.options.serverless is None:
        raise ValidationError(f"{document.model_id} names no default instance type: give instance_type")
    if document.proprietary and not hosting.package_arn:
        raise ValidationError(
            f"{document.model_id} has no Marketplace package{where}: choose one of "
            f"{', '.join(document.instance_types) or 'its instance types'} or give model_package_arn"
        )
    if not hosting.package_arn and (regions := members.mapping(hosting.content, OTHER_PACKAGES)):
        raise ValidationError(
            f"{document.model_id} is a package that {document.region} does not have: it is in "
            f"{', '.join(sorted(regions))}; deploy it there or give model_package_arn"
        )
    if not hosting.package_arn and not hosting.image:
        raise ValidationError(f"{document.model_id} has no image{where}: choose another instance_type or config")
    if hosting.script is not None and not hosting.package_arn:
        raise ValidationError(
            f"{document.model_id} runs the inference script {hosting.script}, which is not packed with its artifact: "
            f"unpack {hosting.artifact.uri if hosting.artifact else 'the weights'} and the script's archive into the "
            "folders . and code of one model.tar.gz, and give its S3 URI as model_data"
        )
    if len(hosting.env) > MAX_ENVIRONMENT:
        raise ValidationError(f"the container's environment has {len(hosting.env)} entries, above {MAX_ENVIRONMENT}")
    if len(hosting.additional) > MAX_ADDITIONAL:
        raise ValidationError(f"the model has {len(hosting.additional)} more data sources, above {MAX_ADDITIONAL}")


# --- warnings --------------------------------------------------------------------------------------------------------


def warn(request: PlanRequest) -> Iterator[str]:
    """What to tell of a plan that can be made."""
    options = request.options
    for each in request.placed:
        yield from each.hosting.warnings
    if request.role is None:
        yield "no execution role is known, and SageMaker needs one: give role, or set AWSLLM_SAGEMAKER_ROLE"
    yield from _licences(request)
    if request.packaged and request.document.subscription_url:
        yield f"subscribe to the model first: {request.document.subscription_url}"
    if options.components is not None and not request.placed[0].hosting.components_supported:
        yield "the document does not say that the model can be an inference component"
    if options.components is not None and options.components.adapters and not _loads_adapters(request):
        yield "adapters need a container that loads LoRA adapters at run time, such as DJL LMI; this image is another"
    if options.kms is not None and options.serverless is None and not takes_key(request.placed):
        yield "kms is not used for the disks of these instances: their hardware encrypts them, and takes no other key"
    if options.volume_size_gb is not None and any(each.hosting.volume_gb is None for each in request.placed):
        yield "volume_size_gb is not used: these instances have disks of their own"


def _licences(request: PlanRequest) -> Iterator[str]:
    if not request.options.accept_eula:
        for url in dict.fromkeys(licences(request)):
            yield f"a licence is to be accepted before this can be applied: read {url}, then give accept_eula=True"


def licences(request: PlanRequest) -> Iterator[str]:
    """Where to read the licence of everything gated; the place of what it is for, where no text is known."""
    return (source.eula_url or source.uri for source in request.sources if source.gated)


def _loads_adapters(request: PlanRequest) -> bool:
    return any(name in (request.placed[0].hosting.image or "") for name in ("djl-inference", "vllm"))
