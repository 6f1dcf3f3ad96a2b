"""What a request becomes for the models behind a server."""

from __future__ import annotations

from awsllm.server.work import Models
from awsllm.types import ConverseRequest

NOVA = "us.amazon.nova-lite-v1:0"


def test_a_local_model_is_told_which_one_was_meant() -> None:
    """Its prompt cache counts as that one's does."""
    models = Models("smollm2", "minilm")
    assert models.rename(ConverseRequest(model=NOVA)) == ConverseRequest(model="smollm2", family=NOVA)
    named = models.rename(ConverseRequest(model="arn:…", family="anthropic.claude"))
    assert (named.model, named.family) == ("smollm2", "anthropic.claude")
    assert Models().rename(ConverseRequest(model=NOVA)) == ConverseRequest(model=NOVA)
