"""What InvokeModel's bodies, and OpenAI's, say of a guardrail beside its headers: ``amazon-bedrock-guardrailConfig``.

``tagSuffix`` names tags around the parts of a prompt that are to be judged, with a suffix that a writer of those parts
cannot guess; without such tags all of it is. ``streamProcessingMode`` is Converse's, in capitals. Source: user guide,
"Apply tags to user input to filter content", "Configure streaming response behavior", "Use contextual grounding check".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec
from msgspec.structs import replace

from awsllm.server.account.refusals import invalid
from awsllm.server.work import Incoming
from awsllm.types import (
    ContentBlock,
    ConverseRequest,
    GuardContent,
    GuardrailConfig,
    GuardText,
    JsonObject,
    SystemContentBlock,
    Text,
)

_MEMBER = "amazon-bedrock-guardrailConfig"
_SUFFIX = re.compile(r"[A-Za-z0-9]{1,20}")
_MODES = {"SYNCHRONOUS": "sync", "ASYNCHRONOUS": "async"}
_HEADERS = {"guardrail_identifier": "guardrailidentifier", "guardrail_version": "guardrailversion", "trace": "trace"}
_QUALIFIERS: Mapping[str, tuple[str, ...]] = {
    "guardContent": (),
    "groundingSource": ("grounding_source",),
    "query": ("query",),
}


def without_config(body: bytes) -> tuple[bytes, JsonObject]:
    """A body as its model reads it, and what it says of the guardrail."""
    if _MEMBER.encode() not in body:
        return body, {}
    try:
        wire = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return body, {}  # whoever reads the body says what is wrong with it
    config = wire.pop(_MEMBER, None) if isinstance(wire, dict) else None
    return (msgspec.json.encode(wire), config) if isinstance(config, dict) else (body, {})


def under_guardrail(request: ConverseRequest, incoming: Incoming, config: JsonObject) -> ConverseRequest:
    """The request with the guardrail that its headers name, if they do. Raises ``ValidationError``."""
    found = {name: incoming.headers.get(f"x-amzn-bedrock-{header}") for name, header in _HEADERS.items()}
    if found["guardrail_identifier"] is None:
        return replace(request, guardrail_config=None)
    trace, mode = found.pop("trace"), str(config.get("streamProcessingMode") or "SYNCHRONOUS").upper()
    if mode not in _MODES:
        raise invalid(f"{_MEMBER}.streamProcessingMode must be one of {', '.join(_MODES)}")
    said = GuardrailConfig(**found, trace=trace.lower() if trace else None, stream_processing_mode=_MODES[mode])
    request = replace(request, guardrail_config=said)
    suffix = config.get("tagSuffix")
    if suffix is None:
        return request
    if not isinstance(suffix, str) or not _SUFFIX.fullmatch(suffix):
        raise invalid(f"{_MEMBER}.tagSuffix must be 1 to 20 letters and digits")
    messages = tuple(
        replace(message, content=tuple(part for block in message.content for part in _parts(block, suffix)))
        for message in request.messages
    )
    system = tuple(part for block in request.system for part in _parts(block, suffix))
    return replace(request, messages=messages, system=system)


def _parts(block: ContentBlock | SystemContentBlock, suffix: str) -> Iterator[ContentBlock]:
    """A text in its parts; those in tags are to be judged. A tag that is not closed is text."""
    if not isinstance(block, Text):
        yield block
        return
    text, start, opened = block.text, 0, None
    for tag in re.finditer(rf"<(/?)amazon-bedrock-guardrails-({'|'.join(_QUALIFIERS)})_{suffix}>", text):
        if not tag[1]:
            opened = opened or tag
        elif opened is not None and opened[2] == tag[2]:
            if opened.start() > start:
                yield replace(block, text=text[start : opened.start()])
            yield GuardContent(GuardText(text[opened.end() : tag.start()], _QUALIFIERS[tag[2]]))
            start, opened = tag.end(), None
    if start < len(text) or not start:
        yield replace(block, text=text[start:])
