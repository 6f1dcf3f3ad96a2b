"""The names, held against the package of OpenTelemetry's conventions."""

from __future__ import annotations

import inspect
from types import ModuleType

from opentelemetry.semconv._incubating.attributes import aws_attributes, gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.attributes import error_attributes, server_attributes

from awsllm.telemetry import names


def texts(module: ModuleType) -> set[str]:
    return {value for name, value in vars(module).items() if name.isupper() and isinstance(value, str)}


def test_every_name_is_one_of_the_conventions_or_known_to_be_newer() -> None:
    known = texts(aws_attributes) | texts(gen_ai_attributes) | texts(gen_ai_metrics)
    known |= texts(error_attributes) | texts(server_attributes)
    ours = {name for name in texts(names) if name.startswith(("gen_ai.", "aws.bedrock.", "server.", "error."))}
    assert ours - known == names.NEWER
    assert not names.NEWER & known


def test_every_operation_and_provider_is_a_value_of_the_conventions() -> None:
    operations = {value.value for value in gen_ai_attributes.GenAiOperationNameValues}
    assert set(names.OPERATIONS.values()) <= operations
    assert names.EXECUTE_TOOL in operations
    providers = {value.value for value in gen_ai_attributes.GenAiProviderNameValues}
    assert set(names.PROVIDERS.values()) - providers == {"aws.sagemaker", "awsllm.local"}


def test_no_deprecated_name_is_used() -> None:
    text = inspect.getsource(names)
    for old in ('gen_ai.system"', "gen_ai.prompt", "gen_ai.completion", "prompt_tokens", "completion_tokens"):
        assert old not in text
