"""Files that go beside a question."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from awsllm.types import ContentBlock


def attachments(
    images: Iterable[Path], documents: Iterable[Path], beside: Iterable[ContentBlock] = ()
) -> list[ContentBlock]:
    """Files as blocks; documents get names that differ, from those ``beside`` them too, as the service wants."""
    from awsllm.calls.media import document, image
    from awsllm.types import Document
    from awsllm.wire.converse.rules import document_named

    blocks: list[ContentBlock] = [image(path) for path in images]
    taken = {block.name for block in beside if isinstance(block, Document)}
    for path in documents:
        block = document_named(document(path), taken)
        taken.add(block.name)
        blocks.append(block)
    return blocks
