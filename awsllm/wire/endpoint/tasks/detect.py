"""Which task a deployment has, from what is known of it: the document that it was deployed from, and its tags.

How such a container is spoken to follows from the task, where JumpStart's own handler runs; what an image tells is
``wire.endpoint.detect``'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from awsllm.types import JsonObject
from awsllm.wire.body import Settings
from awsllm.wire.endpoint import PREDICTS, Detected
from awsllm.wire.endpoint.detect import SDK_MODEL_TAG, from_tags
from awsllm.wire.endpoint.tasks.names import canonical, of_model_id


def from_task(task: str | None) -> Detected | None:
    """The handler of a model whose document states its task, if that is one of ``predict``'s."""
    name = canonical(task)
    if name is None:
        return None
    settings, evidence = Settings(task=name), f"the task {task!r} in the document"
    return Detected(format="jumpstart", settings=settings, source="document", evidence=evidence)


def task_from_document(document: JsonObject, keywords: Iterable[str], tags: Mapping[str, str]) -> Detected | None:
    """By the document's task, the ``@task:`` of its keywords, or the task that JumpStart's id of the model states: of
    all that may be missing or worded anew."""
    words = [word.removeprefix("@").removeprefix("task:") for word in keywords if "task:" in word]
    for stated in (document.get("Task"), *words):
        if isinstance(stated, str) and (found := from_task(stated)):
            return found
    task = of_model_id(tags.get(SDK_MODEL_TAG, ""))
    if task is None:
        return None
    evidence = f"the tag {SDK_MODEL_TAG}={tags[SDK_MODEL_TAG]}"
    return Detected(format="jumpstart", settings=Settings(task=task), source="tags", evidence=evidence)


ALSO_ELSEWHERE = frozenset(("text_embedding", "image_embedding", "summarization", "translation"))
"""Tasks that containers for text have, too, in their own formats."""


def task_apart(document: JsonObject, keywords: Iterable[str], tags: Mapping[str, str]) -> str | None:
    """The task of a model that neither talks nor embeds, so that nothing but ``predict`` has a use for it."""
    found = task_from_document(document, keywords, tags)
    task = found.settings.task if found is not None else None
    return None if task in ALSO_ELSEWHERE else task


def task_from_tags(tags: Mapping[str, str]) -> Detected | None:
    """What awsllm's own tag says, where that is spoken by ``predict``."""
    found = from_tags(tags)
    return found if found is not None and found.format in PREDICTS else None
