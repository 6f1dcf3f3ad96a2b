"""Which foundation models Bedrock customises, and in which ways. Data, for the offline account.

Source: docs.aws.amazon.com/bedrock/latest/userguide/custom-model-fine-tuning.html (its table of models), and of its
earlier version custom-model-supported.html what was continued in pre-training; read 2026-11-26.
"""

from __future__ import annotations

from awsllm.models.references import without_geography

_FINE_TUNED = (
    *("amazon.nova-2-lite-v1:0", "amazon.nova-canvas-v1:0", "amazon.nova-lite-v1:0", "amazon.nova-micro-v1:0"),
    *("amazon.nova-pro-v1:0", "amazon.titan-embed-image-v1", "amazon.titan-image-generator-v1"),
    *("amazon.titan-image-generator-v2:0", "amazon.titan-text-express-v1", "amazon.titan-text-lite-v1"),
    *("amazon.titan-text-premier-v1:0", "anthropic.claude-3-haiku-20240307-v1:0"),
    *("meta.llama3-1-70b-instruct-v1:0", "meta.llama3-1-8b-instruct-v1:0", "meta.llama3-2-11b-instruct-v1:0"),
    *("meta.llama3-2-1b-instruct-v1:0", "meta.llama3-2-3b-instruct-v1:0", "meta.llama3-2-90b-instruct-v1:0"),
    "meta.llama3-3-70b-instruct-v1:0",
)
_PRE_TRAINED = ("amazon.titan-text-express-v1", "amazon.titan-text-lite-v1")


def customizations(model: str) -> tuple[str, ...]:
    """The service's words for the ways; none for a model that is taken as it is. A version and a window behind the id
    (``:0:300k``) name another of the same model."""
    name = without_geography(model)
    fine = ("FINE_TUNING",) if name.startswith(_FINE_TUNED) else ()
    return (*fine, *(("CONTINUED_PRE_TRAINING",) if name.startswith(_PRE_TRAINED) else ()))
