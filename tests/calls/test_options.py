"""Every option of every operation is documented where ``help`` shows it, and a misspelt one is named."""

from __future__ import annotations

from typing import Any

import pytest

import awsllm
from awsllm.calls.options import (
    AgenticOptions,
    AgentOptions,
    ChecksOptions,
    ConverseOptions,
    EmbedOptions,
    GenerateOptions,
    GuardOptions,
    GuardrailOptions,
    ImageOptions,
    InlineAgentOptions,
    RerankOptions,
    RetrieveOptions,
    check_names,
    documented,
)
from awsllm.client_options import ClientOptions
from awsllm.errors import ValidationError

METHODS = [
    ("converse", ConverseOptions),
    ("converse_stream", ConverseOptions),
    ("count_tokens", ConverseOptions),
    ("embed", EmbedOptions),
    ("generate_image", ImageOptions),
    ("rerank", RerankOptions),
    ("retrieve", RetrieveOptions),
    ("retrieve_and_generate", GenerateOptions),
    ("retrieve_and_generate_stream", GenerateOptions),
    ("agentic_retrieve", AgenticOptions),
    ("agentic_retrieve_stream", AgenticOptions),
    ("invoke_agent", AgentOptions),
    ("invoke_agent_stream", AgentOptions),
    ("invoke_inline_agent", InlineAgentOptions),
    ("invoke_inline_agent_stream", InlineAgentOptions),
    ("apply_guardrail", GuardrailOptions),
    ("guardrail_checks", ChecksOptions),
    ("guard", GuardOptions),
    ("__init__", ClientOptions),
]


@pytest.mark.parametrize("client", [awsllm.Client, awsllm.AsyncClient])
@pytest.mark.parametrize(("method", "options"), METHODS)
def test_every_option_is_documented_at_its_method(client: type, method: str, options: Any) -> None:
    text = getattr(client, method).__doc__
    named = [line.partition(":")[0] for line in text.splitlines() if not line.startswith(" ")]
    assert not [name for name in options.__annotations__ if name not in named]


def test_documentation_keeps_what_the_method_says() -> None:
    def rerank() -> None:
        """Order them.

        The best first.
        """

    text = documented(RerankOptions)(rerank).__doc__
    assert text is not None
    assert text.startswith("Order them.\n\nThe best first.\n\nOptions:\n\napi: ")


@pytest.mark.parametrize(
    ("name", "kind", "hint"),
    [
        ("max_token", ConverseOptions, "did you mean 'max_tokens'?"),
        ("top_k", ConverseOptions, "what only some models know goes into extra={'top_k': ...}"),
        ("qwertz", EmbedOptions, "pass what only the provider knows in extra={...}"),
        ("normalise", EmbedOptions, "did you mean 'normalize'?"),
    ],
)
def test_an_unknown_option_is_named(name: str, kind: type, hint: str) -> None:
    with pytest.raises(ValidationError) as caught:
        check_names({name: 1}, kind)
    assert hint in caught.value.message


def test_known_options_pass() -> None:
    check_names({"seed": 1, "timeout": 3}, ImageOptions)
