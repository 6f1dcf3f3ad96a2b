"""Model references and their errors."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsllm.errors import ConfigurationError
from awsllm.models.references import Reference, parse_reference

FOUNDATION = "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0"
APPLICATION = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1b2c3"
ENDPOINT = "arn:aws-cn:sagemaker:cn-north-1:123456789012:endpoint/my-endpoint"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bedrock:amazon.nova-lite-v1:0", Reference("bedrock", "amazon.nova-lite-v1:0")),
        ("  local:smollm2-135m-instruct ", Reference("local", "smollm2-135m-instruct")),
        ("local:/models/a:b.gguf", Reference("local", "/models/a:b.gguf")),
        ("sagemaker:my-endpoint", Reference("sagemaker", "my-endpoint")),
        ("sagemaker:my-endpoint/adapter-1", Reference("sagemaker", "my-endpoint/adapter-1")),
        (FOUNDATION, Reference("bedrock", FOUNDATION, region="us-east-1")),
        (f"bedrock:{APPLICATION}", Reference("bedrock", APPLICATION, region="eu-west-1")),
        (ENDPOINT, Reference("sagemaker", "my-endpoint", region="cn-north-1")),
        (f"sagemaker:{ENDPOINT}", Reference("sagemaker", "my-endpoint", region="cn-north-1")),
        (f"bedrock:{ENDPOINT}", Reference("bedrock", ENDPOINT, region="cn-north-1")),  # Converse takes endpoints' ARNs
    ],
)
def test_references_are_read(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected


def test_a_reference_knows_its_component() -> None:
    assert parse_reference("sagemaker:my-endpoint/adapter-1").component == "adapter-1"
    assert parse_reference("sagemaker:my-endpoint").component is None
    assert parse_reference("local:models/tiny.gguf").component is None


@given(st.sampled_from(["bedrock", "local"]), st.text("abcAB.:-_/", min_size=1).filter(lambda s: s.strip("/")))
def test_a_reference_reads_back_as_written(scheme: str, model: str) -> None:
    reference = parse_reference(f"{scheme}:{model}")
    assert reference.model == model
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("anthropic.claude-3-haiku-20240307-v1:0", "did you mean 'bedrock:anthropic.claude-3-haiku-20240307-v1:0'"),
        ("us.amazon.nova-lite-v1:0", "did you mean 'bedrock:us.amazon.nova-lite-v1:0'"),
        ("us-gov.anthropic.claude-3-haiku", "bedrock:us-gov."),
        ("smollm2-135m-instruct", "did you mean 'local:smollm2-135m-instruct'"),
        ("models/tiny.gguf", "did you mean 'local:models/tiny.gguf'"),
        ("my-endpoint", "bedrock:MODEL_ID, sagemaker:ENDPOINT or local:NAME"),
        ("bedrok:amazon.nova-lite-v1:0", "did you mean 'bedrock:amazon.nova-lite-v1:0'"),
        ("Sagemaker:x", "did you mean 'sagemaker:x'"),
        ("openai:gpt-4o", "unknown scheme 'openai'"),
        ("bedrock:", "names no model"),
        ("sagemaker:/x", "write sagemaker:ENDPOINT"),
        ("sagemaker:a/b/c", "write sagemaker:ENDPOINT"),
        ("", "a model reference is a text"),
        ("arn:aws:s3:::bucket", "not the ARN of a Bedrock model"),
        ("arn:aws", "not the ARN of a Bedrock model"),
        ("arn:aws:sagemaker:us-east-1:1:inference-component/ic", "write sagemaker:ENDPOINT/ic"),
    ],
)
def test_a_bad_reference_suggests_a_good_one(text: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_reference(text)
    assert hint in caught.value.message


@pytest.mark.parametrize("text", ["bedrock:a\ud800", "bedrock:a\r\nX-Header: b", "sagemaker:a\0", "arn:a:\nx"])
def test_characters_that_no_head_of_a_request_carries_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be printed"):
        parse_reference(text)


def test_a_reference_that_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        parse_reference(None)  # type: ignore[arg-type]


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ConfigurationError):
        assert parse_reference(text).scheme in ("bedrock", "sagemaker", "local")
