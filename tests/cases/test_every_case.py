"""Each case has a test of its name."""

import re
from pathlib import Path

# Tools, thinking, caches, models, async, streams, errors, typed output, documents, usage, identity, guardrails,
# platforms, beside chat, weight, the local server: the last case of each.
CASES = ["t7", "r1", "k3", "m3", "a3", "s4", "e5", "o1", "d2", "u2", "i4", "g1", "p6", "b2", "w1", "l4"]
TO_COME = {"b1"}  # batch inference


def test_every_case_has_a_test_of_its_name() -> None:
    texts = (path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    found = {name for text in texts for name in re.findall(r"^def test_([a-z]\d)_", text, re.MULTILINE)}
    assert found == {f"{last[0]}{n}" for last in CASES for n in range(1, int(last[1]) + 1)} - TO_COME
