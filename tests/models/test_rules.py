"""The rows of the table of models."""

from __future__ import annotations

from awsllm.models.profiles import Profile
from awsllm.models.rules import RULES


def test_each_rule_says_why_and_since_when() -> None:
    for rule in RULES:
        assert rule.reason, rule.patterns
        assert "." in rule.source, rule.patterns
        assert rule.read.count("-") == 2, rule.patterns
        assert rule.changes.keys() <= set(Profile.__struct_fields__), rule.patterns
