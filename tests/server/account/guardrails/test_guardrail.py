"""A guardrail of the offline account: what it takes for a policy, and what a long text costs."""

import time

import pytest

from awsllm.calls.guardrails import CHECKS
from awsllm.errors import ConfigurationError
from awsllm.server.account.guardrails.guardrail import Guardrail
from awsllm.server.account.guardrails.private import PRIVATE, private_spans
from awsllm.server.shapes import service_model


@pytest.mark.parametrize("kind", PRIVATE)
@pytest.mark.parametrize("text", ["a", "1", "a.", "1-", "A1", "a@", "1 ", "http://"])
def test_a_long_text_is_searched_in_a_time_that_grows_as_it_does(kind: str, text: str) -> None:
    """The processor's time, which others do not take; a search that takes the square of 200,000 takes minutes."""
    began = time.thread_time()
    list(private_spans(text * 200_000, (kind,)))
    assert time.thread_time() - began < 10


def test_the_kinds_are_the_service_s() -> None:
    for service, shape in (("bedrock", "GuardrailPiiEntityType"), ("bedrock-runtime", "GuardrailPiiEntityType")):
        assert set(service_model(service).shape_for(shape).enum) == set(PRIVATE)
    assert set(CHECKS["sensitive_information"]) == set(PRIVATE)


def test_addresses_are_found_whole() -> None:
    text = "to a.b+c@d-e.example.org, x@y and f@g.de."
    assert [text[start:end] for _, start, end in private_spans(text, ("EMAIL",))] == [
        "a.b+c@d-e.example.org",
        "f@g.de",
    ]


def test_a_pattern_that_is_none_is_told_at_once() -> None:
    policy = {"sensitiveInformationPolicyConfig": {"regexesConfig": [{"name": "n", "pattern": "(", "action": "BLOCK"}]}}
    with pytest.raises(ConfigurationError, match="regular expression of guardrail g cannot be read"):
        Guardrail.of("g", policy)
