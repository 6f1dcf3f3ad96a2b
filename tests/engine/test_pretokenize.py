"""Every rule of cutting text cuts as llama.cpp does (``tests.support.llama_cpp``), over SmolLM2's vocabulary."""

from __future__ import annotations

from typing import Any

import pytest

from awsllm.engine.gguf import read
from awsllm.engine.pretokenize import SPLITS, SplitRule
from awsllm.engine.tokenizer import Tokenizer
from awsllm.store import Store
from tests.support import llama_cpp

KEPT = llama_cpp.kept("tokens.json")
ELSEWHERE = {  # where llama.cpp goes its own way, by the first letters of the texts
    "default": (
        "Hello",
        "Grüße",
        "def f",
        "3.14",
        "$5 + ",
        "\x01",
        "<s>",
    ),  # its rule for files of which it knows nothing
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "qwen35"), ("e\u0301 ",)),  # it does not compose characters
    **dict.fromkeys(("tiny_aya", "cohere2moe", "afmoe"), ("    42",)),  # its spaces before a number
}


@pytest.fixture(scope="module")
def metadata() -> dict[str, Any]:
    return read(Store().path("smollm2-135m-instruct")).metadata


BY_RULE: dict[SplitRule, list[str]] = {}
for _name, _rule in SPLITS.items():
    BY_RULE.setdefault(_rule, []).append(_name)


@pytest.mark.parametrize(
    "names", [names for rule, names in BY_RULE.items() if not rule.spaced], ids=lambda names: names[0]
)
def test_cuts_as_llama_cpp_does(names: list[str], metadata: dict[str, Any]) -> None:
    tokenizer = Tokenizer.from_gguf({**metadata, "tokenizer.ggml.pre": names[0]})
    got = [llama_cpp.checksum(tokenizer.encode(text, special=False)) for text in llama_cpp.TEXTS]
    for name in names:
        judged = KEPT["cuts"][KEPT["rules"][name]]
        differ = [text for text, ours, theirs in zip(llama_cpp.TEXTS, got, judged, strict=True) if ours != theirs]
        assert len(differ) == len(ELSEWHERE.get(name, ())), (name, differ)
        assert all(text.startswith(ELSEWHERE[name]) for text in differ), (name, differ)


def test_every_rule_was_judged() -> None:
    assert {name for name, rule in SPLITS.items() if not rule.spaced} == set(KEPT["rules"])
