"""Whether a search for a task means a model: tasks go by several names (``wire.endpoint.tasks.names``)."""

from __future__ import annotations

from awsllm.wire.endpoint.tasks.names import SAME, bare

_GROUPS = {name: group for group in SAME for name in group}
_ABBREVIATION = 4  # letters at most: what is so short is a whole word or nothing


def matches(wanted: str, words: tuple[str, ...]) -> bool:
    """Whether one of the words, or a part of a model's id, names the task or begins to."""
    plain = bare(wanted)
    known = [bare(word) for word in words]
    return any(_is_named(name, one) for name in _GROUPS.get(plain, (plain,)) for one in known)


def _is_named(name: str, word: str) -> bool:
    if len(name) <= _ABBREVIATION:
        return word.rstrip("0123456789") == name  # ``od1`` is the second algorithm of one task
    return name in word
