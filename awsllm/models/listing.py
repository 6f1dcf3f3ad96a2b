"""The models that an account has, as Bedrock's control plane lists them: values, and how its lists are read. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypedDict

from awsllm.models.catalogue import row
from awsllm.models.profiles import ARCHITECTURE, profile
from awsllm.models.references import geography, is_bedrock_id
from awsllm.types import Value

Reply = Mapping[str, Any]


class AccountModel(Value, frozen=True, kw_only=True):
    """One model as an account can call it.

    ``reference`` is what every call takes, ``kind`` is foundation, profile (cross-region), application_profile, custom,
    deployment (of a custom model), imported or provisioned. ``base`` is the model behind it where the list says so.
    ``streaming`` is None where it does not. ``lifecycle`` is active, legacy or end_of_life for what Bedrock serves, and
    the resource's own status in lower case for what the account made. ``routes`` are those of its profile.
    """

    reference: str
    id: str
    arn: str | None
    name: str
    kind: str
    region: str
    provider: str | None = None
    base: str | None = None
    input_modalities: tuple[str, ...] = ()
    output_modalities: tuple[str, ...] = ()
    streaming: bool | None = None
    lifecycle: str | None = None
    legacy: str | None = None
    end_of_life: str | None = None
    routes: tuple[str, ...] = ()


class AccountModels(Value, frozen=True):
    """Models, and the lists that could not be read."""

    models: tuple[AccountModel, ...] = ()
    warnings: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[AccountModel]:
        return iter(self.models)

    def __len__(self) -> int:
        return len(self.models)


class ModelFilters(TypedDict, total=False):
    """What ``models`` leaves in.

    kind: "foundation", "profile", "application_profile", "custom", "deployment", "imported" or "provisioned".
    provider: such as "anthropic".
    input: a modality that it reads: "text", "image", "video", "audio", "speech".
    output: a modality that it makes: "text", "image", "video", "embedding", "speech".
    route: a way to call it: "converse", "invoke", "openai_chat" and the like (see Profile).
    name: a text within its id or name.
    """

    kind: str
    provider: str
    input: str
    output: str
    route: str
    name: str


class Listing(NamedTuple):
    """One list of the control plane: the boto3 method, its arguments, the member that holds the items, how one is
    read, and the permission that it needs."""

    operation: str
    parameters: dict[str, str]
    member: str
    read: Callable[[Reply, str], AccountModel]
    action: str


def selected(models: Iterable[AccountModel], filters: ModelFilters) -> tuple[AccountModel, ...]:
    return tuple(model for model in models if _is_selected(model, filters))


def _is_selected(model: AccountModel, filters: ModelFilters) -> bool:
    for name, value in filters.items():
        match name:
            case "name":
                kept = str(value).lower() in f"{model.id} {model.name}".lower()
            case "route":
                kept = value in model.routes
            case "input" | "output":
                kept = value in getattr(model, f"{name}_modalities")
            case _:
                kept = str(value).lower() == (getattr(model, name) or "").lower()
        if not kept:
            return False
    return True


# --- how each list is read -------------------------------------------------------------------------------------------


def _described(base: str | None) -> dict[str, Any]:
    """What profile and catalogue say of the model behind an item."""
    if not base:
        return {}
    can, figures = profile("bedrock", base), row(base) or {}
    return {
        "base": base,
        "provider": can.provider if can.provider != "unknown" else None,
        "routes": tuple(sorted(can.routes)) if can.known else (),
        "input_modalities": tuple(figures.get("input", ())),
        "output_modalities": tuple(figures.get("output", ())),
    }


def _base(arn: str | None) -> str | None:
    """The id that the ARN of a foundation model ends in."""
    name = (arn or "").rpartition("/")[2]
    return name if is_bedrock_id(name) else None


def _foundation(item: Reply, region: str) -> AccountModel:
    life = item.get("modelLifecycle") or {}
    known = _described(item["modelId"])
    listed = {
        "input_modalities": item.get("inputModalities"),
        "output_modalities": item.get("outputModalities"),
    }
    # The service's words are TEXT, IMAGE and EMBEDDING; the catalogue tells films and sound apart from those.
    modes = {name: known.get(name) or tuple(word.lower() for word in words or ()) for name, words in listed.items()}
    return AccountModel(
        reference=f"bedrock:{item['modelId']}",
        id=item["modelId"],
        arn=item.get("modelArn"),
        name=item.get("modelName") or item["modelId"],
        kind="foundation",
        region=region,
        streaming=item.get("responseStreamingSupported"),
        lifecycle=(life.get("status") or "ACTIVE").lower(),
        legacy=_day(life.get("legacyTime")),
        end_of_life=_day(life.get("endOfLifeTime")),
        **{**known, "base": None, **modes},
    )


def _day(instant: Any) -> str | None:
    return instant.date().isoformat() if instant is not None else None


def _profile(item: Reply, region: str) -> AccountModel:
    """System profiles are called by their id, applications' by their ARN."""
    system = item.get("type") != "APPLICATION"
    models = item.get("models") or [{}]
    name = item["inferenceProfileId"]
    base = name if system and geography(name) else _base(models[0].get("modelArn"))
    return AccountModel(
        reference=f"bedrock:{name if system else item['inferenceProfileArn']}",
        id=name,
        arn=item.get("inferenceProfileArn"),
        name=item.get("inferenceProfileName") or name,
        kind="profile" if system else "application_profile",
        region=region,
        lifecycle=(item.get("status") or "ACTIVE").lower(),
        **_described(base),
    )


def _of_account(kind: str, arn: str, name: str) -> Callable[[Reply, str], AccountModel]:
    """How an item is read whose ARN and name are these members."""

    def read(item: Reply, region: str) -> AccountModel:
        base = _base(item.get("baseModelArn") or item.get("foundationModelArn"))
        described = _described(base)
        if architecture := item.get("modelArchitecture"):
            can = profile("bedrock", item[arn], f"{ARCHITECTURE}{architecture}")
            described = {"base": architecture, "routes": tuple(sorted(can.routes)) if can.known else ()}
        return AccountModel(
            reference=f"bedrock:{item[arn]}",
            id=item[arn].rpartition("/")[2],
            arn=item[arn],
            name=item.get(name) or item[arn],
            kind=kind,
            region=region,
            lifecycle=(item.get("status") or item.get("modelStatus") or "active").lower(),
            **described,
        )

    return read


LISTINGS: tuple[Listing, ...] = (
    Listing("list_foundation_models", {}, "modelSummaries", _foundation, "bedrock:ListFoundationModels"),
    Listing(
        "list_inference_profiles",
        {"typeEquals": "SYSTEM_DEFINED"},
        "inferenceProfileSummaries",
        _profile,
        "bedrock:ListInferenceProfiles",
    ),
    Listing(
        "list_inference_profiles",
        {"typeEquals": "APPLICATION"},
        "inferenceProfileSummaries",
        _profile,
        "bedrock:ListInferenceProfiles",
    ),
    Listing(
        "list_custom_models",
        {},
        "modelSummaries",
        _of_account("custom", "modelArn", "modelName"),
        "bedrock:ListCustomModels",
    ),
    Listing(
        "list_custom_model_deployments",
        {},
        "modelDeploymentSummaries",
        _of_account("deployment", "customModelDeploymentArn", "customModelDeploymentName"),
        "bedrock:ListCustomModelDeployments",
    ),
    Listing(
        "list_imported_models",
        {},
        "modelSummaries",
        _of_account("imported", "modelArn", "modelName"),
        "bedrock:ListImportedModels",
    ),
    Listing(
        "list_provisioned_model_throughputs",
        {},
        "provisionedModelSummaries",
        _of_account("provisioned", "provisionedModelArn", "provisionedModelName"),
        "bedrock:ListProvisionedModelThroughputs",
    ),
)
KINDS = ("foundation", "profile", "application_profile", "custom", "deployment", "imported", "provisioned")
"""The kind of each of ``LISTINGS``, in order: a filter by kind reads one list."""
