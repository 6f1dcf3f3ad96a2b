"""What of a request is judged: qualifiers, guardContent, tags in prompts. One account for all; they change nothing.

No local model may be asked here: the account's script stands in for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from botocore.exceptions import ClientError

from awsllm.testing import mock_aws
from tests.support.guardrails import (
    GROUNDING,
    MESSAGES,
    NOVA,
    QUERY,
    SOURCE,
    TAG,
    applied,
    bedrock,
    converse,
    made,
    qualified,
    runtime,
    said,
    tagged,
    turn,
)

GUARDED = {"guardContent": {"text": {"text": "acme"}}}


class Shared(NamedTuple):
    """One account for tests that change nothing in it: a guardrail of ``POLICIES``, one of ``GROUNDING``."""

    plain: str
    grounding: str


@pytest.fixture(scope="module")
def shared() -> Iterator[Shared]:
    with mock_aws(reply="Fine."):
        grounding = bedrock().create_guardrail(name="h", **MESSAGES, contextualGroundingPolicyConfig=GROUNDING)
        yield Shared(made(), grounding["guardrailId"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([QUERY, {"text": {"text": "x"}}], "does not contain the grounding source"),
        ([SOURCE, {"text": {"text": "x"}}], "does not contain the query"),
        ([SOURCE, QUERY], "does not contain the content to guard"),
        ([SOURCE, qualified("x" * 1001, "query"), {"text": {"text": "x"}}], "query is longer than 1000"),
        ([SOURCE, QUERY, {"text": {"text": "x" * 5001}}], "content to guard is longer than 5000"),
    ],
)
def test_grounding_needs_its_parts(shared: Shared, content: Any, message: str) -> None:
    with pytest.raises(ClientError, match=message):
        applied(shared.grounding, "", content=content)
    assert applied(shared.grounding, "x", "INPUT")["action"] == "NONE"


@pytest.mark.parametrize(
    ("system", "content", "blocked"),
    [
        ([{"text": "acme"}], ["fine"], False),
        ([GUARDED], ["fine"], True),
        ([{"guardContent": {"text": {"text": "fine"}}}], ["acme"], True),
        ([], ["acme", {"guardContent": {"text": {"text": "fine"}}}], False),
        ([], ["fine", GUARDED], True),
        ([], ["fine", {"guardContent": {"text": {"text": "acme", "qualifiers": ["query"]}}}], False),
        ([], [{"guardContent": {"text": {"text": "acme", "qualifiers": ["query", "guard_content"]}}}], True),
    ],
)
def test_what_of_the_input_is_judged(shared: Shared, system: Any, content: Any, blocked: bool) -> None:
    answer = converse(shared.plain, *content, **({"system": system} if system else {}))
    assert said(answer) == ("Not in." if blocked else "Fine.")


@pytest.mark.parametrize(
    ("text", "suffix", "blocked"),
    [
        (f"About acme: {tagged('guardContent', 'fine')}", "x1", False),
        (f"About: {tagged('guardContent', 'acme')} please", "x1", True),
        ("No tags, acme", "x1", True),
        (f"About: {tagged('guardContent', 'fine')} acme", "y2", True),
        (f"<{TAG.format('guardContent')}> is not closed, acme", "x1", True),
    ],
)
@pytest.mark.parametrize("streams", [False, True])
def test_tags_say_what_of_a_prompt_is_judged(
    shared: Shared, text: str, suffix: str, blocked: bool, streams: bool
) -> None:
    body = json.dumps({"messages": turn(text), "amazon-bedrock-guardrailConfig": {"tagSuffix": suffix}})
    call: Any = {"modelId": NOVA, "body": body, "guardrailIdentifier": shared.plain, "guardrailVersion": "DRAFT"}
    if streams:
        events = runtime().invoke_model_with_response_stream(**call)["body"]
        action = [json.loads(event["chunk"]["bytes"]) for event in events][-1]["amazon-bedrock-guardrailAction"]
    else:
        action = json.loads(runtime().invoke_model(**call)["body"].read())["amazon-bedrock-guardrailAction"]
    assert action == ("INTERVENED" if blocked else "NONE")


@pytest.mark.parametrize(
    ("config", "message"),
    [({"tagSuffix": "x y"}, "1 to 20 letters and digits"), ({"streamProcessingMode": "LATER"}, "SYNCHRONOUS")],
)
def test_what_a_body_says_of_the_guardrail_is_checked(shared: Shared, config: Any, message: str) -> None:
    body = json.dumps({"messages": turn("Hi"), "amazon-bedrock-guardrailConfig": config})
    with pytest.raises(ClientError, match=message):
        runtime().invoke_model(modelId=NOVA, body=body, guardrailIdentifier=shared.plain, guardrailVersion="DRAFT")
