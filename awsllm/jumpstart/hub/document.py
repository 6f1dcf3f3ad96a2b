"""What JumpStart says of one model: the hub document, read leniently.

Two forms of the same facts exist. The hub API gives ``PascalCase`` with whole URIs, the S3 cache ``snake_case`` with
keys and aliases. ``ModelDocument.content`` is always the hub's form (schema 2.3.0): the cache's is brought into it when
it is read, so that resolution and planning know one form. ``raw`` is what came, untouched.

Reading never raises over what is missing or has another type than expected: a member that cannot be read is as one
that is not there. Words of an enumeration stay the strings they are.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from awsllm.jumpstart.hub.members import is_true
from awsllm.jumpstart.hub.spec import Buckets, https_url, to_hub_form
from awsllm.types import JsonObject, JsonValue, Value


class ExamplePayload(Value, frozen=True, kw_only=True):
    """One of ``DefaultPayloads``: a request that the model's container is known to take. ``config`` is the hosting
    configuration whose container takes it; None: the document's own."""

    name: str
    body: JsonObject | str
    content_type: str = "application/json"
    prompt_key: str | None = None
    output_keys: dict[str, str] = msgspec.field(default_factory=dict)
    custom_attributes: str | None = None
    config: str | None = None


class HostingConfig(Value, frozen=True, kw_only=True):
    """One of ``InferenceConfigs``. ``rank`` is its place in the overall ranking, 0 first, None where it has none."""

    name: str
    components: tuple[str, ...]
    rank: int | None = None
    instance_types: tuple[str, ...] = ()
    default_instance_type: str | None = None
    benchmarks: JsonObject = msgspec.field(default_factory=dict)


class ModelDocument(Value, frozen=True, kw_only=True):
    """One version of one model. ``source`` is hub, cache, private-hub or directory. ``gated`` says that a licence has
    to be accepted; ``eula_url`` is where to read it. ``proprietary`` is a Marketplace model. ``keywords`` are the hub's
    search keywords without their ``@``. ``content_types`` and ``accept_types`` are what the container takes and gives,
    the default first."""

    model_id: str
    version: str
    source: str
    region: str
    content: JsonObject
    raw: JsonObject
    schema_version: str | None = None
    hub_name: str | None = None
    hub_content_arn: str | None = None
    display_name: str | None = None
    description: str | None = None
    url: str | None = None
    provider: str | None = None
    task: str | None = None
    framework: str | None = None
    license: str | None = None
    keywords: tuple[str, ...] = ()
    support_status: str | None = None
    min_sdk_version: str | None = None
    proprietary: bool = False
    subscription_url: str | None = None
    gated: bool = False
    eula_url: str | None = None
    capabilities: tuple[str, ...] = ()
    fine_tunable: bool = False
    components_supported: bool = False
    default_instance_type: str | None = None
    instance_types: tuple[str, ...] = ()
    default_training_instance_type: str | None = None
    training_instance_types: tuple[str, ...] = ()
    configs: tuple[HostingConfig, ...] = ()
    payloads: tuple[ExamplePayload, ...] = ()
    content_types: tuple[str, ...] = ()
    accept_types: tuple[str, ...] = ()


# --- readers ---------------------------------------------------------------------------------------------------------


def read_description(description: JsonObject, *, region: str, source: str = "hub") -> ModelDocument:
    """What ``DescribeHubContent`` answered. Its document is a JSON string; an object is read as well."""
    content = _document(description.get("HubContentDocument"))
    document = read_content(
        content,
        model_id=_text(description.get("HubContentName")) or "",
        version=_text(description.get("HubContentVersion")) or "",
        region=region,
        source=source,
        keywords=_strings(description.get("HubContentSearchKeywords")),
    )
    return msgspec.structs.replace(
        document,
        raw=description,
        schema_version=_text(description.get("DocumentSchemaVersion")),
        hub_name=_text(description.get("HubName")),
        hub_content_arn=_text(description.get("HubContentArn")),
        display_name=_text(description.get("HubContentDisplayName")),
        description=_text(description.get("HubContentDescription")),
        support_status=_text(description.get("SupportStatus")),
    )


def read_spec(
    spec: JsonObject,
    *,
    region: str,
    source: str = "cache",
    buckets: Buckets | None = None,
    keywords: tuple[str, ...] = (),
) -> ModelDocument:
    """A document of the S3 cache. ``buckets`` are the region's unless given."""
    document = read_content(
        to_hub_form(spec, region=region, buckets=buckets),
        model_id=_text(spec.get("model_id")) or "",
        version=_text(spec.get("version")) or "",
        region=region,
        source=source,
        keywords=keywords,
    )
    return msgspec.structs.replace(
        document, raw=spec, support_status="Deprecated" if is_true(spec.get("deprecated")) else document.support_status
    )


def read_content(
    content: JsonObject, *, model_id: str, version: str, region: str, source: str, keywords: tuple[str, ...] = ()
) -> ModelDocument:
    """A document in the hub's form (schema 2.3.0). ``keywords`` may have their ``@``."""
    words = tuple(word.removeprefix("@") for word in keywords)
    configs = _configs(content)
    return ModelDocument(
        model_id=model_id,
        version=version,
        source=source,
        region=region,
        content=content,
        raw=content,
        url=_text(content.get("Url")),
        provider=_provider(content) or keyword(words, "provider"),
        task=_text(content.get("Task")) or keyword(words, "task"),
        framework=_text(content.get("Framework")) or keyword(words, "framework"),
        license=_text(content.get("License")) or keyword(words, "license"),
        keywords=words,
        min_sdk_version=_text(content.get("MinSdkVersion")),
        proprietary=_is_proprietary(content),
        subscription_url=_text(content.get("ModelSubscriptionLink")),
        gated=is_gated(content),
        eula_url=https_url(content.get("HostingEulaUri"), region) or https_url(_eula_link(content), region),
        capabilities=_strings(content.get("Capabilities")),
        fine_tunable=_is_fine_tunable(content),
        components_supported=is_true(content.get("DynamicContainerDeploymentSupported")),
        default_instance_type=_text(content.get("DefaultInferenceInstanceType"))
        or next((one.default_instance_type for one in configs if one.default_instance_type), None),
        instance_types=_strings(content.get("SupportedInferenceInstanceTypes"))
        or tuple(dict.fromkeys(kind for config in configs for kind in config.instance_types)),
        default_training_instance_type=_text(content.get("DefaultTrainingInstanceType")),
        training_instance_types=_strings(content.get("SupportedTrainingInstanceTypes")),
        configs=configs,
        payloads=tuple(_payloads(content, configs)),
        content_types=_media_types(content, configs, "Content"),
        accept_types=_media_types(content, configs, "Accept"),
    )


def is_gated(content: JsonObject) -> bool:
    """Whether the model's weights stand behind a licence."""
    return is_true(content.get("GatedBucket")) or bool(content.get("HostingEulaUri"))


def keyword(keywords: tuple[str, ...], name: str) -> str | None:
    """The value of the keyword ``NAME:VALUE``; with several, the first."""
    prefix = f"{name}:"
    found = (word.removeprefix("@") for word in keywords)
    return next((word.removeprefix(prefix) for word in found if word.startswith(prefix) and word != prefix), None)


def _document(value: JsonValue) -> JsonObject:
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError:
            return {}
    return value if isinstance(value, dict) else {}


def _is_proprietary(content: JsonObject) -> bool:
    """``PROPRIETARY`` among the model's types, or a Marketplace package in the place of an image."""
    kinds = {kind.upper() for kind in _strings(content.get("ModelTypes"))}
    return "PROPRIETARY" in kinds or bool(content.get("HostingModelPackageArn"))


def _is_fine_tunable(content: JsonObject) -> bool:
    """The S3 cache knows only whether a model trains; the hub tells both."""
    own = content.get("FineTuningSupported")
    return is_true(content.get("TrainingSupported") if own is None else own)


def _eula_link(content: JsonObject) -> JsonValue:
    """Some documents give the licence's address beside, or instead of, its object."""
    return content.get("HostingEulaExternalLink") if is_true(content.get("GatedBucket")) else None


def _provider(content: JsonObject) -> str | None:
    provider = content.get("Provider")
    return _text(provider.get("Name")) if isinstance(provider, dict) else _text(provider)


def _configs(content: JsonObject) -> tuple[HostingConfig, ...]:
    """In the order of their ranking, those without a place last, by name."""
    ranking = _mapping(_mapping(content.get("InferenceConfigRankings")).get("overall"))
    ranks = {name: place for place, name in enumerate(_strings(ranking.get("Rankings")))}
    found = (
        _config(name, _mapping(config), content, ranks.get(name))
        for name, config in _mapping(content.get("InferenceConfigs")).items()
    )
    return tuple(sorted(found, key=lambda config: (config.rank is None, config.rank or 0, config.name)))


def _config(name: str, config: JsonObject, content: JsonObject, rank: int | None) -> HostingConfig:
    components = _strings(config.get("ComponentNames"))
    every = _mapping(content.get("InferenceConfigComponents"))
    layers = [content, *(_mapping(every.get(component)) for component in components)]
    types = [layer["SupportedInferenceInstanceTypes"] for layer in layers if "SupportedInferenceInstanceTypes" in layer]
    default = [layer["DefaultInferenceInstanceType"] for layer in layers if "DefaultInferenceInstanceType" in layer]
    return HostingConfig(
        name=name,
        components=components,
        rank=rank,
        instance_types=_strings(types[-1]) if types else (),
        default_instance_type=_text(default[-1]) if default else None,
        benchmarks=_mapping(config.get("BenchmarkMetrics")),
    )


def _layers(content: JsonObject, configs: tuple[HostingConfig, ...]) -> Iterator[tuple[str | None, JsonObject]]:
    """The document, then the components of each configuration, by the configuration's name."""
    yield None, content
    every = _mapping(content.get("InferenceConfigComponents"))
    for config in configs:
        for component in config.components:
            yield config.name, _mapping(every.get(component))


def _payloads(content: JsonObject, configs: tuple[HostingConfig, ...]) -> Iterator[ExamplePayload]:
    """Those of the document itself, then what configurations have beside or instead of them."""
    seen: list[JsonObject] = []
    for config, layer in _layers(content, configs):
        for name, payload in _mapping(layer.get("DefaultPayloads")).items():
            body = _mapping(payload).get("Body")
            if not isinstance(body, dict | str) or payload in seen:
                continue
            seen.append(payload)
            yield ExamplePayload(
                name=name,
                body=body,
                content_type=_text(payload.get("ContentType")) or "application/json",
                prompt_key=_text(payload.get("PromptKey")),
                output_keys={k: v for k, v in _mapping(payload.get("OutputKeys")).items() if isinstance(v, str)},
                custom_attributes=_text(payload.get("CustomAttributes")),
                config=config,
            )


def _media_types(content: JsonObject, configs: tuple[HostingConfig, ...], what: str) -> tuple[str, ...]:
    """``what`` is Content or Accept."""
    for _, layer in _layers(content, configs):
        specifications = _mapping(layer.get("SageMakerSdkPredictorSpecifications"))
        default = _text(specifications.get(f"Default{what}Type"))
        supported = _strings(specifications.get(f"Supported{what}Types"))
        if found := tuple(dict.fromkeys([*([default] if default else []), *supported])):
            return found
    return ()


def _text(value: JsonValue) -> str | None:
    return value if isinstance(value, str) and value else None


def _strings(value: JsonValue) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list | tuple) else ()


def _mapping(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {}
