"""Takes secrets out of values, texts and bytes.

Three nets, each for what passes the others:

* by **name**: members, headers and parameters that hold secrets (``secret_names``), also in JSON within text, in XML,
  in ``NAME=value`` and in a URL's query;
* by **shape**: access key ids, signatures, bearer tokens, keys of other services, private keys; and every number of
  twelve digits that stands alone, which is an account's id;
* by **value**: whatever signed the request, and what the environment calls a secret, wherever it turns up.

Text in base64 is looked into. Bytes that are no text are searched by shape and value, and keep their length. No pattern
goes over a text again and again: scrubbing takes time in proportion to it.

A request is scrubbed before it is compared with a recorded one, so the first two nets depend on nothing but the text,
and the third takes what never is in a request that means to be replayed.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any

from awsllm.policy.redaction import CREDENTIAL_SHAPES, KEY_ID, SCRUBBED
from awsllm.testing.traffic.bodies import write_json
from awsllm.testing.traffic.secret_names import is_secret, is_secret_parameter, plain
from awsllm.types import JsonObject

ACCOUNT = "123456789012"
"""What stands for every account: the one of AWS's documentation."""

_LITERAL = 16  # characters from which on a secret of the environment is no word of its own ("testing")
# Twelve digits alone, or at the end of a name; not the end of a UUID or a hash, nor of a fraction.
_ACCOUNT = re.compile(
    r"(?<![0-9A-Fa-f])(?<!-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-)(?<!\d\.)\d{12}(?![0-9A-Za-z])(?!\.\d)"
)
_NAME = re.compile(
    r"(?:(?<![\w.-])|(?<=%26)|(?<=%3F))(?P<name>[A-Za-z][\w.-]{1,80})"
    r"(?P<sign>\\*[\"']?\s{0,4}(?:[=:]|%3[Dd])\s{0,4})"
)
_VALUE = re.compile(
    r"(?P<quote>\\*[\"'])(?P<quoted>(?:(?!(?P=quote)).){1,8192})(?P=quote)|(?P<plain>[^\s\"'\\&<>,;(){}\[\]]{4,})",
    re.DOTALL,
)
_XML = re.compile(r"<(?P<name>[A-Za-z][\w.:-]{1,80})(?P<rest>(?:\s[^<>]*)?)>(?P<value>[^<]+)(?=</)")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{22,}={0,2}")


class Scrubber:
    """``secrets`` are values that are taken out wherever they stand, beside those of the environment."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        found = {secret for secret in (*secrets, *_environment()) if len(secret) >= _LITERAL and not _has_shape(secret)}
        self._secrets = sorted(found, key=len, reverse=True)

    def text(self, text: str) -> str:
        """``text`` without secrets; JSON and base64 within are looked into."""
        if len(text) < 6:
            return text
        if text[:1] in ("{", "[") and (value := _json(text)) is not None:
            scrubbed = self.value(value)
            text = text if scrubbed == value else write_json(scrubbed)
        elif (inner := _from_base64(text)) is not None:
            scrubbed = self._plain(inner)
            return text if scrubbed == inner else base64.b64encode(scrubbed.encode()).decode()
        return self._plain(text)

    def value(self, value: Any) -> Any:
        """A JSON value."""
        match value:
            case str():
                return self.text(value)
            case list():
                return [self.value(each) for each in value]
            case dict():
                return {self._plain(name): self._member(name, each, value) for name, each in value.items()}
            case _:
                return value

    def data(self, data: bytes) -> bytes:
        """Bytes that are no text, with what they hold of it masked, byte for byte."""
        text = data.decode("latin-1")
        for secret in self._secrets:
            text = text.replace(secret, "*" * len(secret))
        for shape, _ in CREDENTIAL_SHAPES:
            text = shape.sub(lambda found: "*" * len(found[0]), text)
        return _ACCOUNT.sub(ACCOUNT, text).encode("latin-1")

    def series(self, texts: list[str]) -> list[str]:
        """Texts that are parts of one. Those that hold a part of a secret get a part of what stands for it."""
        alone = [self.text(text) for text in texts]
        joined = "".join(texts)
        scrubbed = self.text(joined)
        if scrubbed in (joined, "".join(alone)):
            return alone
        ends = [min(end, len(scrubbed)) for end in accumulate(len(text) for text in texts)]
        ends[-1:] = [len(scrubbed)]
        return [scrubbed[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def _member(self, name: str, value: Any, siblings: JsonObject) -> Any:
        if isinstance(value, int) and "account" in plain(name) and len(str(value)) == len(ACCOUNT):
            return int(ACCOUNT)
        if not _is_secret_member(name, siblings):
            return self.value(value)
        if isinstance(value, list):
            return [SCRUBBED if isinstance(each, str) else self.value(each) for each in value]
        if not isinstance(value, str) or not value:
            return self.value(value)
        return KEY_ID if plain(name).endswith("accesskeyid") else SCRUBBED

    def _plain(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, SCRUBBED)
        for shape, stand_in in CREDENTIAL_SHAPES:
            text = shape.sub(stand_in, text)
        if "<" in text:
            text = _XML.sub(_tagged, text)
        if "=" in text or ":" in text or "%3" in text:
            text = _without_named(text)
        return _ACCOUNT.sub(ACCOUNT, text)


def _is_secret_member(name: str, siblings: JsonObject) -> bool:
    """Whether a member is a secret, by its name or by what stands beside it."""
    bare = plain(name)
    if bare == "token":  # of a model's output, beside its probability
        return not {"logprob", "score"} & siblings.keys()
    if bare == "value":
        kind = next((siblings[key] for key in siblings if plain(key) == "type"), None)
        named = [siblings[key] for key in siblings if plain(key) in ("name", "key", "parameterkey", "variable")]
        return kind == "SecureString" or any(isinstance(each, str) and is_secret(each) for each in named)
    return is_secret(name)


def _has_shape(secret: str) -> bool:
    """Whether a secret is told by its shape, also where nobody knows its value any more."""
    return any(shape.fullmatch(secret) for shape, _ in CREDENTIAL_SHAPES)


def _without_named(text: str) -> str:
    """Without the secrets of ``NAME=value``, ``name: value`` and ``"name": "value"``."""
    parts, at = [], 0
    for found in _NAME.finditer(text):
        if found.start() < at or not is_secret_parameter(found["name"].rpartition(".")[2]):
            continue
        value = _VALUE.match(text, found.end())
        if value is None or (value["plain"] and ":" in found["sign"] and not _is_key(value["plain"])):
            continue
        group = "plain" if value["plain"] else "quoted"
        if value[group] != KEY_ID:
            parts += [text[at : value.start(group)], SCRUBBED]
            at = value.end(group)
    return "".join((*parts, text[at:]))


def _is_key(value: str) -> bool:
    """Whether what stands after a colon in running text is no word of that text."""
    return len(value) >= 8 and not value.strip(".:!?").isalpha()


def _tagged(found: re.Match[str]) -> str:
    secret = is_secret(found["name"].rpartition(":")[2]) and found["value"].strip() not in ("", KEY_ID)
    return f"<{found['name']}{found['rest']}>{SCRUBBED}" if secret else found[0]


def _json(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def _from_base64(text: str) -> str | None:
    """The text that ``text`` is in base64, None where it is not."""
    if len(text) % 4 or not _BASE64.fullmatch(text):
        return None
    try:
        inner = base64.b64decode(text, validate=True).decode()
    except ValueError:
        return None
    return inner if inner.isprintable() or "\n" in inner else None


def _environment() -> Iterator[str]:
    """The secrets that this process was given, by the names of its variables."""
    for name, value in os.environ.items():
        if is_secret(name) and " " not in value and not value.startswith(("/", "~", ".")):  # which are paths
            yield value.strip()
