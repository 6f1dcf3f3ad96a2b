"""The service models' patterns over texts that nobody's client sends."""

from __future__ import annotations

import itertools
import re
import signal
from collections.abc import Iterator

import pytest

from awsllm.server.shapes import _AMBIGUOUS, _compiled, service_model

SERVICES = ("sagemaker", "bedrock", "bedrock-agent", "bedrock-runtime", "sagemaker-runtime", "bedrock-agent-runtime")
BEGINNINGS = ("", "a", "arn:aws:bedrock:us-east-1:123456789012:", "s3://", "https://")
REPEATED = ("a", "0", "-", "a-", "a.", "a/", "/", ".", ":", " ", "_", "a,", "aA0", "@a")


def patterns() -> Iterator[tuple[str, int]]:
    """Those with something repeated in a group that is repeated, each with the longest text that it may be tried on."""
    found: dict[str, int] = {}
    for model in map(service_model, SERVICES):
        for shape in map(model.shape_for, model.shape_names):
            pattern = shape.metadata.get("pattern", "")
            if re.search(r"[*+}]\)[*+{]|[*+}][^()]*\)[*+{]", pattern):
                found[pattern] = max(found.get(pattern, 0), min(shape.metadata.get("max", 10_000), 10_000))
    yield from found.items()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="nothing else interrupts a match")
def test_no_pattern_keeps_the_server_from_answering() -> None:
    tried = list(patterns())
    assert len(tried) > 10
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("a pattern takes for ever"))
    signal.setitimer(signal.ITIMER_REAL, 60)
    try:
        for pattern, most in tried:
            for begin, part in itertools.product(BEGINNINGS, REPEATED):
                _compiled(pattern).fullmatch((begin + part * most)[: most - 1] + "\0")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.mark.parametrize(("ambiguous", "plain"), _AMBIGUOUS.items())
def test_a_pattern_that_is_replaced_means_the_same(ambiguous: str, plain: str) -> None:
    texts = ("".join(letters) for size in range(6) for letters in itertools.product("a0-/.", repeat=size))
    for text in texts:
        assert bool(re.fullmatch(ambiguous, text)) == bool(re.fullmatch(plain, text)), text
