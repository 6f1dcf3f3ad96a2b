"""What JumpStart says of one model: the hub document, read leniently.

Two forms of the same facts exist. The hub API gives ``PascalCase`` with whole URIs, the S3 cache ``snake_case`` with
keys and aliases. ``ModelDocument.content`` is always the hub's form (schema 2.3.0): the cache's is brought into it when
it is read, so that resolution and planning know one form. ``raw`` is what came, untouched.
"""

from __future__ import annotations

import msgspec

from awsllm.types import JsonObject, Value


class ExamplePayload(Value, frozen=True, kw_only=True):
    """One of ``DefaultPayloads``: a request that the model's container is known to take."""

    name: str
    body: JsonObject | str
    content_type: str = "application/json"
    prompt_key: str | None = None
    output_keys: dict[str, str] = msgspec.field(default_factory=dict)
    custom_attributes: str | None = None


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
    search keywords without their ``@``."""

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
