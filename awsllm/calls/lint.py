"""What Bedrock would refuse of a call, and what would surprise its caller: found before anything is sent.

``check`` takes what ``converse`` takes and says everything at once, where ``converse`` stops at the first fault. Its
findings are errors (the call raises, or is refused by the service) and warnings (it is sent, but not as it was written,
or does not do what it seems to). Each names the fix. Nothing is sent and nobody is asked: of an ARN of the account's
own only ``family=`` says what it is.

Limits of media: APIReference/API_runtime_Message; of metadata and paths: botocore's service model; of strict schemas:
``tools.schema.fit``; read 2026-11-26.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from awsllm.calls.caching import tokens_of
from awsllm.calls.checks import check_request, fit_to_profile, lacks, matters
from awsllm.calls.options import ConverseOptions
from awsllm.calls.prepare import cache_choice, mended_request, thoughtful, translated
from awsllm.calls.wellformed import malformed
from awsllm.errors import AwsllmError
from awsllm.models import catalogue
from awsllm.models.profiles import Profile, profile
from awsllm.models.references import Reference
from awsllm.types import (
    Bytes,
    CachePoint,
    ContentBlock,
    ConverseRequest,
    Document,
    Image,
    Message,
    ToolResult,
    ToolSpec,
    Value,
)
from awsllm.wire.converse.rules import Violation, violations
from awsllm.wire.formats import size_of

if TYPE_CHECKING:
    from awsllm.calls.content import Prompt
    from awsllm.policy.limiting.limits import Limits

MAX_IMAGES, MAX_IMAGE_BYTES, MAX_IMAGE_SIDE = 20, 3_750_000, 8000
MAX_DOCUMENTS, MAX_DOCUMENT_BYTES = 5, 4_500_000
MAX_METADATA, MAX_METADATA_LENGTH, MAX_PATHS = 16, 256, 10
HUGE_ANSWER = 32_000
"""A max_tokens from here on is told of: it is taken from the quota when the call begins."""


class Finding(Value, frozen=True, kw_only=True):
    """``rule`` is its name, ``where`` the place in the request (messages[0].content[1], tools, max_tokens …; empty for
    the whole), ``message`` says what is wrong and how to mend it. ``is_error``: the call would raise or be refused."""

    rule: str
    where: str
    message: str
    is_error: bool = True


def check(
    model: str,
    messages: Prompt,
    options: ConverseOptions,
    limits: Callable[[Reference], Limits | None] = lambda _: None,
) -> tuple[Finding, ...]:
    """All that is found of a call, errors first. ``limits`` are the client's own."""
    try:
        reference, request, _ = translated(model, messages, options)
        if reason := malformed(request):
            raise reason
        request, thoughts = thoughtful(reference, request, options)
        _, cached = cache_choice(reference, options)
        mended, notes = mended_request(reference, request)
        _, fitted = fit_to_profile(reference, mended)
    except AwsllmError as error:  # it is no request: there is nothing to look at
        return (Finding(rule="request", where="", message=error.message),)
    can = profile(reference.scheme, reference.model, request.family)
    found = [
        *_refused(reference, mended, can, typed=options.get("output_type") is not None),
        *(Finding(rule="changed", where="", message=note, is_error=False) for note in notes + fitted),
        *(Finding(rule="option", where="", message=note, is_error=False) for note in thoughts + cached),
        *_model(reference, request, can),
        *_limit(reference, request, limits(reference)),
    ]
    if reference.scheme == "bedrock":
        found += [*_media(mended), *_cache(mended, can), *_strict(mended), *_sizes(mended)]
    return tuple(sorted(dict.fromkeys(found), key=lambda finding: not finding.is_error))


def _refused(reference: Reference, request: ConverseRequest, can: Profile, *, typed: bool) -> Iterator[Finding]:
    """What ``converse`` raises, all of it."""
    if not can.converse:
        yield Finding(rule="chat", where="", message=f"{reference} is no chat model")
    for lack in lacks(can, request):
        yield _finding(lack, f"{reference} {lack.fix}")
    broken = [rule for rule in violations(request) if matters(rule, request, reference.scheme, typed=typed)]
    for violation in broken:
        yield _finding(violation, violation.fix)
    try:
        check_request(request, reference.scheme, typed=typed)
    except AwsllmError as error:
        if error.message not in {violation.fix for violation in broken}:
            yield Finding(rule="request", where="", message=error.message)


def _finding(violation: Violation, message: str) -> Finding:
    where = re.sub(r"\.(\d+)", r"[\1]", violation.path.removeprefix("toolConfig.")).replace(".toolResult", "")
    return Finding(rule=violation.rule, where=where, message=message)


# --- the model -------------------------------------------------------------------------------------------------------


def _model(reference: Reference, request: ConverseRequest, can: Profile) -> Iterator[Finding]:
    if reference.scheme != "bedrock":
        return
    if not can.known:
        message = f"it is not known which model {reference} is, so what it can do was not looked at; family=… says it"
        yield Finding(rule="unknown-model", where="model", message=message, is_error=False)
    model = request.family or reference.model
    if ending := catalogue.lifecycle_warning(model, time.strftime("%Y-%m-%d", time.gmtime())):
        yield Finding(rule="lifecycle", where="model", message=ending, is_error=False)
    limit = (catalogue.row(model) or {}).get("max_output_tokens")
    wanted = request.inference_config.max_tokens
    if wanted is None and request.prompt_variables is not None:
        return  # a managed prompt brings its own
    if wanted is None:
        most = f", {limit:,} tokens," if limit else ""
        message = f"max_tokens is not set: the longest answer that the model can give{most} is taken from the quota"
        yield Finding(rule="quota", where="max_tokens", message=message, is_error=False)
    elif limit is not None and wanted > limit:
        message = f"max_tokens is {wanted:,} and this model writes {limit:,} at most: lower it"
        yield Finding(rule="max-tokens", where="max_tokens", message=message)
    elif wanted >= HUGE_ANSWER:
        message = f"max_tokens is {wanted:,}: so many are taken from the quota as the call begins; set what is needed"
        yield Finding(rule="quota", where="max_tokens", message=message, is_error=False)


def _limit(reference: Reference, request: ConverseRequest, limits: Limits | None) -> Iterator[Finding]:
    """What a call takes of a quota a minute when it begins."""
    most = None if limits is None else limits.count("tokens_per_minute")
    if most is None:
        return
    from awsllm.policy.limiting.estimating import NOTABLE, ModelUsage, estimate

    given, answer = estimate(request, ModelUsage(request.family or reference.model, 1))
    said = f"the call takes about {given + answer:,} of the {most:,} tokens a minute when it begins"
    if given + answer > most:
        fix = "the call is refused: set max_tokens to what the answer needs, or shorten the prompt"
        yield Finding(rule="limit", where="max_tokens", message=f"{said}; {fix}")
    elif answer >= most * NOTABLE:
        message = f"{said}; set max_tokens to what the answer needs, so that others can run beside it"
        yield Finding(rule="limit", where="max_tokens", message=message, is_error=False)


# --- media -----------------------------------------------------------------------------------------------------------


def _media(request: ConverseRequest) -> Iterator[Finding]:
    for number, message in enumerate(request.messages):
        counts = {Image: 0, Document: 0}
        for where, block in _blocks(message, f"messages[{number}]"):
            if not isinstance(block, Image | Document):
                continue
            counts[type(block)] += 1
            if message.role != "user":
                name = type(block).__name__.lower()
                fix = f"{where} is an {name} of the {message.role}'s: images and documents stand in user turns"
                yield Finding(rule="media-role", where=where, message=fix)
            if isinstance(block.source, Bytes):
                yield from _size(block, block.source.data, where)
        for kind, most in ((Image, MAX_IMAGES), (Document, MAX_DOCUMENTS)):
            if counts[kind] > most:
                name = f"{kind.__name__.lower()}s"
                fix = f"messages[{number}] has {counts[kind]} {name}, and {most} are taken: leave some out"
                yield Finding(rule=f"{name}-count", where=f"messages[{number}]", message=fix)


def _blocks(message: Message, where: str) -> Iterator[tuple[str, ContentBlock]]:
    """The blocks of a turn, those in tool results too, and where they stand."""
    for index, block in enumerate(message.content):
        place = f"{where}.content[{index}]"
        yield place, block
        if isinstance(block, ToolResult):
            for inner, part in enumerate(block.content):
                if isinstance(part, Image | Document):
                    yield f"{place}.content[{inner}]", part


def _size(block: Image | Document, data: bytes, where: str) -> Iterator[Finding]:
    name = type(block).__name__.lower()
    most = MAX_IMAGE_BYTES if isinstance(block, Image) else MAX_DOCUMENT_BYTES
    if len(data) > most:
        fix = f"{where} is an {name} of {len(data) / 1e6:.2f} MB, and {most / 1e6:.2f} are taken: make it smaller"
        if isinstance(block, Document):
            fix = f"{fix}, or pass it from S3 where the model reads there"
        yield Finding(rule=f"{name}-size", where=where, message=fix.replace("an document", "a document"))
    if isinstance(block, Image) and (sides := size_of(data)) and max(sides) > MAX_IMAGE_SIDE:
        fix = f"{where} is {sides[0]} by {sides[1]} pixels, and {MAX_IMAGE_SIDE} a side are taken: scale it down"
        yield Finding(rule="image-sides", where=where, message=fix)


# --- the cache, schemas, sizes ---------------------------------------------------------------------------------------


def _cache(request: ConverseRequest, can: Profile) -> Iterator[Finding]:
    """Points that nothing is cached by: before them there is too little. What stands first is tools, then system."""
    if not can.cache_minimum or not can.cache_points:
        return
    before = 0
    places: list[tuple[str, Iterable[object]]] = [("tools", request.tools), ("system", request.system)]
    places += [(f"messages[{number}]", message.content) for number, message in enumerate(request.messages)]
    for where, blocks in places:
        for block in blocks:
            before += tokens_of((block,))
            if not isinstance(block, CachePoint):
                continue
            if before < can.cache_minimum:
                message = f"a cache point behind about {before} tokens caches nothing: it needs {can.cache_minimum}"
                yield Finding(rule="cache-minimum", where=where, message=message, is_error=False)
            if block.ttl is not None and block.ttl not in can.cache_ttls:
                message = f"a cache point of {block.ttl}: models of the family {can.family} have five minutes alone"
                yield Finding(rule="cache-ttl", where=where, message=message)


def _strict(request: ConverseRequest) -> Iterator[Finding]:
    for tool in request.tools:
        if isinstance(tool, ToolSpec) and tool.strict:
            from awsllm.tools.schema.fit import misfits

            for misfit in misfits(tool.input_schema):
                message = f"the strict tool {tool.name!r} has a schema that is refused: {misfit}"
                yield Finding(rule="strict-schema", where=f"tools {tool.name}", message=message)


def _sizes(request: ConverseRequest) -> Iterator[Finding]:
    metadata = request.request_metadata or {}
    longest = max((len(text) for pair in metadata.items() for text in pair), default=0)
    if len(metadata) > MAX_METADATA or longest > MAX_METADATA_LENGTH:
        message = f"request_metadata is {MAX_METADATA} pairs of at most {MAX_METADATA_LENGTH} characters"
        yield Finding(rule="metadata", where="request_metadata", message=message)
    if len(request.additional_model_response_field_paths) > MAX_PATHS:
        message = f"additional_model_response_field_paths are {MAX_PATHS} at most"
        yield Finding(rule="paths", where="additional_model_response_field_paths", message=message)
