"""Guardrails before they are asked: who is meant, and the content to be judged."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from awsllm.calls import content
from awsllm.calls.media import FilePath, media
from awsllm.calls.options import ChecksOptions, GuardrailOptions, check_names
from awsllm.errors import AwsllmError, ConfigurationError, ValidationError
from awsllm.models.references import Reference
from awsllm.types import Bytes, GuardContent, GuardImage, GuardText, Image, Text
from awsllm.types.guardrails import ApplyGuardrailRequest, GuardrailChecksRequest
from awsllm.wire.guardrails import decode_content

GuardrailInput: TypeAlias = (
    str | GuardText | GuardImage | GuardContent | Text | Image | bytes | FilePath | Mapping[str, Any]
)

_ARN = re.compile(r"arn:aws[a-z-]*:bedrock:([a-z0-9-]+):\d{12}:guardrail/[a-z0-9]+")
_ID = re.compile(r"[a-z0-9]{1,64}")
_VERSION = re.compile(r"DRAFT|[1-9][0-9]{0,7}")
_SOURCES = ("INPUT", "OUTPUT")

# What InvokeGuardrailChecks can look for (botocore 1.44.5; a test holds them against it).
CHECKS: dict[str, tuple[str, ...]] = {
    "content_filter": ("VIOLENCE", "HATE", "SEXUAL", "MISCONDUCT", "INSULTS"),
    "prompt_attack": ("JAILBREAK", "PROMPT_INJECTION", "PROMPT_LEAKAGE"),
    "sensitive_information": (
        *("ADDRESS", "AGE", "AWS_ACCESS_KEY", "AWS_SECRET_KEY", "CA_HEALTH_NUMBER", "CA_SOCIAL_INSURANCE_NUMBER"),
        *("CREDIT_DEBIT_CARD_CVV", "CREDIT_DEBIT_CARD_EXPIRY", "CREDIT_DEBIT_CARD_NUMBER", "DRIVER_ID", "EMAIL"),
        *("INTERNATIONAL_BANK_ACCOUNT_NUMBER", "IP_ADDRESS", "LICENSE_PLATE", "MAC_ADDRESS", "NAME", "PASSWORD"),
        *("PHONE", "PIN", "SWIFT_CODE", "UK_NATIONAL_HEALTH_SERVICE_NUMBER", "UK_NATIONAL_INSURANCE_NUMBER"),
        *("UK_UNIQUE_TAXPAYER_REFERENCE_NUMBER", "URL", "USERNAME", "US_BANK_ACCOUNT_NUMBER"),
        *("US_BANK_ROUTING_NUMBER", "US_INDIVIDUAL_TAX_IDENTIFICATION_NUMBER", "US_PASSPORT_NUMBER"),
        *("US_SOCIAL_SECURITY_NUMBER", "VEHICLE_IDENTIFICATION_NUMBER"),
    ),
}


def guardrail(name: str, version: str | int | None) -> tuple[Reference, str]:
    """A guardrail's id or ARN, checked, with the region of an ARN, and its version."""
    if not isinstance(name, str):
        raise ConfigurationError(f"a guardrail is named by its id or ARN, not by a {type(name).__name__}")
    name, known = name.strip(), str("DRAFT" if version is None else version)
    if not _VERSION.fullmatch(known):
        raise ConfigurationError(f"a guardrail's version is 'DRAFT' or a number, not {version!r}")
    if found := _ARN.fullmatch(name):
        return Reference("bedrock", name, region=found[1]), known
    if not _ID.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} is not a guardrail: give its id (small letters and digits, such as 'gr1abc2def3') or its ARN; "
            "boto3's bedrock, list_guardrails(), has both"
        )
    return Reference("bedrock", name), known


def prepare_apply(
    name: str, items: GuardrailInput | Iterable[GuardrailInput], options: GuardrailOptions
) -> tuple[Reference, ApplyGuardrailRequest]:
    check_names(options, GuardrailOptions)
    reference, version = guardrail(name, options.get("version"))
    source = str(options.get("source", "INPUT")).upper()
    if source not in _SOURCES:
        raise ValidationError(f"source is {options.get('source')!r}; it is 'INPUT' or 'OUTPUT'")
    return reference, ApplyGuardrailRequest(
        model=reference.model,
        version=version,
        content=guarded(items),
        source=source,
        output_scope="FULL" if options.get("full") else None,
    )


def guarded(items: GuardrailInput | Iterable[GuardrailInput]) -> tuple[GuardText | GuardImage, ...]:
    """What is to be judged, as blocks: texts, images, or any number of them."""
    single = isinstance(items, (str, bytes, bytearray, os.PathLike, Mapping)) or hasattr(items, "__struct_fields__")
    blocks = tuple(_block(item) for item in ([items] if single else items))  # type: ignore[union-attr]
    if not blocks or all(isinstance(block, GuardText) and not block.text for block in blocks):
        raise ValidationError("nothing to judge: pass a text or an image")
    return blocks


def _block(item: Any) -> GuardText | GuardImage:
    if isinstance(item, GuardContent):
        item = item.content
    if isinstance(item, bytes | bytearray | memoryview | os.PathLike):
        item = media(item)
    match item:
        case str():
            return GuardText(item)
        case Text(text):
            return GuardText(text)
        case GuardText() | GuardImage():
            return item
        case Image(format, Bytes() as source):
            if format not in ("png", "jpeg"):
                raise ValidationError(f"a guardrail judges png and jpeg images; this one is {format}: convert it")
            return GuardImage(format, source)
        case Mapping():
            try:
                return decode_content(dict(item))
            except AwsllmError as error:
                raise ValidationError(f"content is not what the service takes: {error.message}") from error
        case _:
            raise ValidationError(f"a {type(item).__name__} cannot be judged: pass texts, and png or jpeg images")


def prepare_checks(messages: Any, options: ChecksOptions) -> tuple[Reference, GuardrailChecksRequest]:
    check_names(options, ChecksOptions)
    wanted: dict[str, Any] = {name: _wanted(name, options.get(name, False)) for name in CHECKS}
    if not any(wanted.values()):
        raise ValidationError(f"say what to look for: {', '.join(f'{name}=True' for name in CHECKS)}, or their names")
    turns = content.messages(messages)
    for turn in turns:
        for block in turn.content:
            if not isinstance(block, Text) or not block.text:
                raise ValidationError(f"guardrail_checks judges texts alone; a message has a {type(block).__name__}")
    return Reference("bedrock", ""), GuardrailChecksRequest(model="", messages=turns, **wanted)


def _wanted(check: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, bool) or value is None:
        return CHECKS[check] if value else ()
    names = tuple(str(name).upper() for name in ([value] if isinstance(value, str) else value))
    for name in names:
        if name not in CHECKS[check]:
            raise ValidationError(f"{check} cannot look for {name!r}; it can for {', '.join(CHECKS[check])}")
    return names
