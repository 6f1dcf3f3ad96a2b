"""Which pattern means which model."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsllm.models.patterns import closest, fits, means

HAIKU = "us.anthropic.claude-3-haiku-20240307-v1:0"
ARN = "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0"
PROFILE = f"arn:aws:bedrock:eu-west-1:123456789012:inference-profile/{HAIKU}"
OPAQUE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"


@pytest.mark.parametrize("model", [HAIKU, HAIKU.removeprefix("us."), ARN, PROFILE, "claude-3-haiku-20240307"])
@pytest.mark.parametrize("pattern", ["anthropic.*", "anthropic.claude-3-haiku", "*haiku*", "*"])
def test_a_model_is_meant_by_any_of_its_names(pattern: str, model: str) -> None:
    assert means(pattern, model)


@pytest.mark.parametrize(
    ("pattern", "model"),
    [
        ("us.anthropic.*", "eu.anthropic.claude-3-haiku-20240307-v1:0"),
        ("anthropic.*", "amazon.nova-pro-v1:0"),
        ("anthropic.claude-3", HAIKU),
        ("anthropic.*", OPAQUE),
        ("*.", "anthropic.claude"),
    ],
)
def test_another_model_is_not(pattern: str, model: str) -> None:
    assert not means(pattern, model)


@pytest.mark.parametrize(
    ("model", "stem"),
    [
        ("amazon.nova-lite-v1:0:300k", "amazon.nova-lite"),
        ("openai.gpt-oss-20b-1:0", "openai.gpt-oss-20b"),
        ("gpt-oss-20b", "openai.gpt-oss-20b"),
        ("cohere.embed-english-v3", "cohere.embed-english"),
        ("claude-3-5-sonnet-latest", "anthropic.claude-3-5-sonnet"),
        ("mistral.mistral-7b-instruct-v0:2", "mistral.mistral-7b-instruct"),
    ],
)
def test_versions_may_be_left_out(model: str, stem: str) -> None:
    assert means(stem, model)


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (["*", "anthropic.*"], "anthropic.*"),
        (["anthropic.claude-3*", "anthropic.*"], "anthropic.claude-3*"),
        (["us.anthropic.*", "anthropic.*"], "us.anthropic.*"),
        (["us.anthropic.claude-3-haiku-20240307-v1*", "anthropic.claude-3-haiku"], "anthropic.claude-3-haiku"),
        (["anthropic.claude-3-haiku", HAIKU], HAIKU),
        (["amazon.*"], None),
        (["*a*", "*c*"], "*c*"),  # of equals the last
    ],
)
def test_the_most_specific_pattern_decides(patterns: list[str], found: str | None) -> None:
    assert closest(patterns, HAIKU) == found


texts = st.text("ab.", max_size=12)
globs = st.text("ab.*", max_size=8)


@given(globs, texts)
def test_stars_are_those_of_fnmatch(pattern: str, name: str) -> None:
    assert fits(pattern, name) == fnmatchcase(name, pattern)


@given(st.lists(globs, max_size=6), texts)
def test_the_order_of_patterns_decides_between_equals_alone(patterns: list[str], name: str) -> None:
    def weight(pattern: str | None) -> tuple[bool, bool, int]:
        return ("*" not in (pattern or "*"), pattern == name, len((pattern or "").replace("*", "")))

    found = closest(patterns, name)
    assert (found is None) == (not any(means(pattern, name) for pattern in patterns))
    assert weight(found) == weight(closest(patterns[::-1], name))


def test_a_hostile_name_takes_no_time() -> None:
    assert not fits("*a" * 30 + "b", "a" * 100_000)
