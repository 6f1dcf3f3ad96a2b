"""The rows of the tables of models."""

from __future__ import annotations

import pytest

from awsllm.models.profiles import _FAMILIES, Profile, profile
from awsllm.models.rules import all_rules, rules_for
from awsllm.wire.text.prompts import STYLES

# The names that all rooms share: the bodies of InvokeModel, the templates of those that take one prompt, the routes.
BODIES = {
    *("anthropic-messages", "anthropic-text", "jurassic", "jamba", "cohere-command", "cohere-chat", "llama"),
    *("mistral-text", "mistral-chat", "titan-text", "nova", "deepseek-text", "openai-chat", "writer"),
    *("titan-embed-text-v1", "titan-embed-text-v2", "titan-embed-image", "nova-embed", "marengo", "marengo-3"),
    *("cohere-embed", "cohere-embed-v4", "titan-image", "nova-canvas", "stability-sdxl", "stability-core"),
    *("stability-edit", "cohere-rerank", "amazon-rerank", "nova-reel", "luma-ray", "pegasus"),
}
ROUTES = {
    *("converse", "invoke", "invoke_stream", "openai_chat", "openai_responses", "mantle_chat", "mantle_responses"),
    *("mantle_messages", "async_invoke", "bidirectional"),
}


def test_each_rule_says_why_and_since_when() -> None:
    for rule in all_rules():
        assert rule.reason, rule.patterns
        assert "." in rule.source, rule.patterns
        assert rule.read.count("-") == 2, rule.patterns
        assert rule.changes.keys() <= set(Profile.__struct_fields__), rule.patterns


def test_each_rule_speaks_of_what_there_is() -> None:
    for rule in all_rules():
        assert rule.changes.get("invoke_body", "nova") in {*BODIES, None}, rule.patterns
        assert rule.changes.get("routes", ROUTES) <= ROUTES, rule.patterns
        assert rule.changes.get("invoke_prompt", "llama3") in {*STYLES, None}
        assert rule.changes.get("thinking", set()) <= {"budget", "adaptive", "effort"}, rule.patterns
        assert rule.changes.get("cache_ttls", set()) <= {"5m", "1h"}, rule.patterns


def test_each_rule_stands_in_the_file_that_its_models_load() -> None:
    for rule in all_rules():
        for pattern in rule.patterns:
            key = pattern.replace("moonshot*.", "moonshotai.").replace("*", "")
            assert rule in rules_for(key), pattern


@pytest.mark.parametrize("family", _FAMILIES)
def test_a_familys_name_gives_its_rules(family: str) -> None:
    found = profile("bedrock", "arn:aws:bedrock:us-east-1:1:imported-model/x", family)
    assert (found.family, found.known) == (family, True)
    assert found.routes
