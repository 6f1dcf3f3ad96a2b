"""What a call of a model reaches: the ARN that it names, and every foundation model that may answer it.

A foundation model answers in the region that is called. A geography's profile answers in any of its destinations, whose
list is Bedrock's (``GetInferenceProfile``) or, where that cannot be asked, the table of ``models.geographies``. A
global profile answers anywhere. What an opaque ARN (an application's profile, a prompt, a router) stands for only
Bedrock knows, or the caller: ``behind``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from awsllm.aws.iam import Arns, region_of
from awsllm.errors import ConfigurationError, ValidationError
from awsllm.models.geographies import GLOBAL, REGIONS, geographies_at
from awsllm.models.opaque import Question, question
from awsllm.models.references import Reference, geography, parse_reference, without_geography
from awsllm.types import Value

Ask = Callable[[Question], Mapping[str, Any] | None]
"""Asks Bedrock's control plane; None where it may not or cannot be asked."""
_MOST_STEPS = 4
_PROFILES = ("inference-profile", "application-inference-profile")
_INVOKED_AS_THEY_ARE = ("imported-model", "custom-model-deployment", "provisioned-model")
_STAND_FOR_OTHERS = ("prompt", "prompt-router", "default-prompt-router")


class ModelArns(Value, frozen=True, kw_only=True):
    """``kind`` is foundation, profile, endpoint, marketplace, custom, or the kind of resource that ``arn`` names;
    ``behind`` are the ARNs of what stands behind it: the foundation models of a profile, those of no region included,
    or an endpoint's component."""

    reference: str
    kind: str
    arn: str
    behind: tuple[str, ...] = ()
    note: str | None = None

    @property
    def is_global(self) -> bool:
        return any(not region_of(arn) for arn in self.behind)

    @property
    def application(self) -> bool:
        return ":application-inference-profile/" in self.arn


class ModelArnFinder:
    """Finds what references reach from one account and region. ``behind`` says of opaque ARNs what they stand for."""

    def __init__(self, arns: Arns, ask: Ask | None = None, behind: Mapping[str, str] | None = None) -> None:
        self._arns, self._ask, self._behind = arns, ask, behind or {}

    def of(self, text: str | Reference) -> tuple[ModelArns, ...]:
        """In the order in which a call touches them: a prompt before its model. Raises ``ConfigurationError`` for what
        only Bedrock could say where it says nothing, ``ValidationError`` for what takes no permission."""
        reference = text if isinstance(text, Reference) else parse_reference(text)
        if reference.scheme == "local":
            raise ValidationError(f"{reference} runs on this machine and needs no permission of AWS")
        if reference.scheme == "sagemaker":
            return (self._endpoint(str(reference), reference.model, reference.region),)
        here = self if reference.region in (None, self._arns.region) else self._in(reference.region)
        return tuple(here._bedrock(str(reference), reference.model, _MOST_STEPS))

    def _in(self, region: str) -> ModelArnFinder:
        return ModelArnFinder(Arns(region, self._arns.account), self._ask, self._behind)

    def _endpoint(self, text: str, model: str, region: str | None) -> ModelArns:
        if model.startswith("router/"):
            raise ValidationError(
                f"{text}: IAM's service reference names no action for inference routers yet; name the endpoints that "
                "the router sends to"
            )
        name, _, component = model.partition("/")
        arns = self._arns if region is None else Arns(region, self._arns.account)
        # Names in the ARNs of SageMaker are in lower case (jumpstart.plan.permissions).
        behind = (arns.of("sagemaker", f"inference-component/{component.lower()}"),) if component else ()
        return ModelArns(
            reference=text, kind="endpoint", arn=arns.of("sagemaker", f"endpoint/{name.lower()}"), behind=behind
        )

    def _bedrock(self, text: str, model: str, steps: int) -> Iterator[ModelArns]:
        if not model.startswith("arn:"):
            place = geography(model)
            kind = "inference-profile" if place else "foundation-model"
            arns = self._arns if place else Arns(self._arns.region, "")
            yield from self._bedrock(text, arns.of("bedrock", f"{kind}/{model}"), steps)
            return
        kind, _, name = model.split(":", 5)[-1].partition("/")
        if kind == "foundation-model":
            yield ModelArns(reference=text, kind="foundation", arn=model)
        elif kind in _PROFILES:
            yield self._profile(text, model, kind, name)
        elif kind in _INVOKED_AS_THEY_ARE:
            yield ModelArns(reference=text, kind=kind, arn=model)
        elif kind == "endpoint":
            yield ModelArns(reference=text, kind="marketplace", arn=model)
        elif kind == "custom-model":
            yield ModelArns(reference=text, kind="custom", arn=model)
        elif kind in _STAND_FOR_OTHERS:
            yield ModelArns(reference=text, kind=kind, arn=model)
            for each in self._models_behind(model, steps):
                yield from self._bedrock(text, each, steps - 1)
        else:
            raise ConfigurationError(f"{text}: awsllm does not know what calling a {kind} needs")

    def _models_behind(self, arn: str, steps: int) -> list[str]:
        if said := self._behind.get(arn):
            return [parse_reference(said).model if ":" in said.partition(".")[0] else said]
        reply = self._ask(question(arn)) if self._ask is not None and steps else None
        if reply is None:
            raise _unknown(arn)
        variants = [variant.get("modelId") for variant in reply.get("variants", ())]
        routed = [each.get("modelArn") for each in (*reply.get("models", ()), reply.get("fallbackModel") or {})]
        found = [each for each in (*variants, *routed) if each]
        if not found:
            raise _unknown(arn)
        return list(dict.fromkeys(found))

    # --- profiles ----------------------------------------------------------------------------------------------------

    def _profile(self, text: str, arn: str, kind: str, name: str) -> ModelArns:
        identifier = arn if kind == "application-inference-profile" else name  # an ARN may lack its account
        asked = Question("bedrock", "get_inference_profile", {"inferenceProfileIdentifier": identifier})
        reply = self._ask(asked) if self._ask is not None else None
        if reply is not None and reply.get("models"):
            found = tuple(str(model["modelArn"]) for model in reply["models"])
            return ModelArns(reference=text, kind="profile", arn=arn, behind=self._with_source(found, arn))
        if kind == "application-inference-profile":
            if not (name := self._behind.get(arn, "")):
                raise _unknown(arn)
            name = name.removeprefix("bedrock:").rpartition("/")[2]
        where = Arns(region_of(arn) or self._arns.region, "")
        return ModelArns(reference=text, kind="profile", arn=arn, **_by_table(name, where))

    @staticmethod
    def _with_source(models: tuple[str, ...], arn: str) -> tuple[str, ...]:
        """A global profile is used in the region of the call too, whether or not the answer lists it."""
        unplaced = [each for each in models if not region_of(each)]
        here = [each.replace(":bedrock::", f":bedrock:{region_of(arn)}:", 1) for each in unplaced]
        return tuple(dict.fromkeys((*here, *models)))


def _by_table(name: str, arns: Arns) -> dict[str, Any]:
    place, model = geography(name), without_geography(name)
    here = arns.of("bedrock", f"foundation-model/{model}")
    if place == GLOBAL:
        return {"behind": (here, here.replace(f":{arns.region}:", "::", 1))}
    if place is None:  # an application's profile of one region's model
        return {"behind": (here,)}
    if place not in REGIONS:
        raise ConfigurationError(
            f"the destinations of {name} are in no table here: let Bedrock be asked (credentials with "
            "bedrock:GetInferenceProfile)"
        )
    source = [arns.region] if place in geographies_at(arns.region) else []
    regions = sorted({*source, *REGIONS[place]})
    found = tuple(Arns(region, "").of("bedrock", f"foundation-model/{model}") for region in regions)
    return {
        "behind": found,
        "note": f"the destinations of {name} are those of awsllm's table (read 2026-11-26): Bedrock was not asked",
    }


def _unknown(arn: str) -> ConfigurationError:
    return ConfigurationError(
        f"only Bedrock knows which model is behind {arn}: give credentials that may read it "
        f"(bedrock:Get... of its kind), or say it: behind={{{arn!r}: 'us.amazon.nova-lite-v1:0'}} "
        "(--behind ARN=MODEL on the command line)"
    )
