"""Redaction: what is taken out of content before it leaves for a log, a span or a file. A model is sent none of it.

``Client(redact=…)`` takes names of patterns, a function from text to text, or both in a ``Redaction``. The call log,
and the content that OpenTelemetry is given, pass it. A function that raises, or gives what is no text, makes the
content be withheld: what could not be looked at is not passed on.

Two nets are always there and are nobody's to choose. The keys of AWS and of other services, signatures, bearer tokens
and authorization headers go by their shape (``CREDENTIAL_SHAPES``, which ``testing.record`` uses, too), and what the
environment gives this process as AWS's secrets goes by its value, wherever it stands.

No pattern goes over a text again and again: each takes time in proportion to it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import accumulate
from typing import Any, TypeAlias

from awsllm.errors import ConfigurationError

TextHook: TypeAlias = Callable[[str], str]

SCRUBBED = "scrubbed"
"""What stands for every secret."""
KEY_ID = "AKIAIOSFODNN7EXAMPLE"
"""What stands for every access key id: the one of AWS's documentation."""
WITHHELD = "[withheld: the redaction failed]"
"""What stands for content that a hook could not be asked about."""

_SECRETS = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
)
_SHORT_NUMBER = 10**8  # below which a number is no card, no telephone and no account
_LONG_NUMBER = 4096  # bits; none of these is so long, and Python writes longer ones slowly or not at all
_LITERAL = 16  # characters from which on a secret of the environment is no word of its own ("testing")
# Where a word begins: also after an escape of a JSON text in a text, and after one of a URL.
_START = r"(?:(?<![^\W_])|(?<=\\[nrtbf])|(?<=\\u[0-9A-Fa-f]{4})|(?<=%[0-9A-Fa-f]{2}))"
CREDENTIAL_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{12,124}"), KEY_ID),
    (re.compile(rf"{_START}(?:AROA|AIDA|AGPA|AIPA|ANPA|ANVA|APKA|ASCA)[A-Z0-9]{{16,124}}"), "AROAIOSFODNN7EXAMPLE"),
    (
        re.compile(r"AWS4-(?:HMAC|ECDSA-P256)-SHA256[ +](?:(?!AWS4-)[^\n\"'<>]){0,2000}?Signature=[0-9a-f]+"),
        f"AWS4-HMAC-SHA256 {SCRUBBED}",
    ),
    (  # with a digit: "basic understanding" is none
        re.compile(rf"(?i){_START}(Bearer|Basic)(?:\s+|%20|\+)(?=[A-Za-z._~+/%=-]{{0,60}}\d)[A-Za-z0-9._~+/%=-]{{8,}}"),
        rf"\1 {SCRUBBED}",
    ),
    (re.compile(rf"{_START}(?:ABSK|bedrock-api-key-)[A-Za-z0-9+/=_-]{{20,}}"), SCRUBBED),
    (re.compile(r"(?:IQoJb3JpZ2lu|FwoGZXIvYXdz|FQoGZXIvYXdz|AQoDYXdz)[A-Za-z0-9+/=_%-]{16,}"), SCRUBBED),
    (re.compile(rf"(?<!-){_START}(?<!_)eyJ[A-Za-z0-9_-]{{8,}}\.eyJ[A-Za-z0-9_-]{{8,}}\.[A-Za-z0-9_-]*"), SCRUBBED),
    (re.compile(r"k8s-aws-v1\.[A-Za-z0-9_-]{16,}"), SCRUBBED),
    (re.compile(rf"{_START}hf_[A-Za-z0-9]{{20,}}"), SCRUBBED),
    (re.compile(rf"{_START}(?:gh[pousr]_|github_pat_|xox[abprs]-|glpat-)[A-Za-z0-9_-]{{16,}}"), SCRUBBED),
    (re.compile(rf"{_START}sk-[A-Za-z0-9_-]{{20,}}"), SCRUBBED),
    (re.compile(r"(?i)((?:X-(?:Amz|Goog)-|[?&])Signature(?:=|%3D))[A-Za-z0-9%+/=_-]{16,}"), rf"\1{SCRUBBED}"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), SCRUBBED),
    (  # a secret key, after what announces one
        re.compile(
            rf"((?:(?i:secret)|{KEY_ID})[\s\S]{{0,30}}?)(?<![A-Za-z0-9/+])[A-Za-z0-9/+]{{40}}(?![A-Za-z0-9/+=])"
        ),
        rf"\1{SCRUBBED}",
    ),
    (  # the lines of a request that somebody quotes
        re.compile(r"(?im)^((?:set-)?cookie|(?:proxy-)?authorization|x-amz-security-token|x-api-key)(\s*:\s*)[^\r\n]+"),
        rf"\1\2{SCRUBBED}",
    ),
    (  # and as a JSON text has them
        re.compile(
            r"(?i)((?:\\[rn]|[\"'])(?:(?:proxy-)?authorization|x-amz-security-token|x-api-key|(?:set-)?cookie(?=[^=]{1,80}=))"
            r"(?:\\?[\"'])?\s*:\s*(?:\\?[\"'])?)[^\r\n\"'\\]+"
        ),
        rf"\1{SCRUBBED}",
    ),
    (re.compile(r"(?<=://)[^/\s:@\"']+:[^/\s@\"']+(?=@)"), SCRUBBED),
)


def without_credentials(text: str) -> str:
    """``text`` without what is a credential by its shape, or by its value: one of this process's environment."""
    if len(text) < _LITERAL:
        return text
    for name in _SECRETS:
        secret = os.environ.get(name, "")
        if len(secret) >= _LITERAL and secret in text:
            text = text.replace(secret, SCRUBBED)
    for shape, stand_in in CREDENTIAL_SHAPES:
        text = shape.sub(stand_in, text)
    return text


# --- named patterns --------------------------------------------------------------------------------------------------

# What stands before it is taken backwards: in a script without spaces, a sentence does.
_HOST = re.compile(r"@(?:[\w-]{1,63}\.){1,8}(?:[A-Za-z]{2,24}(?![A-Za-z0-9_-])|[^\W\d_A-Za-z]{2,24})")
_LOCAL = re.compile(r"[\w.+%-]*\Z")
_LONGEST_LOCAL = 256  # characters
# +49 30 901820, 0049…, (030) 901 820 12, 212-555-0123: a sign or separators, or it is a number like any other.
_PHONE = re.compile(
    rf"(?:(?<![\w.+-])|{_START}(?<![.+-]))(?:(?:\+|00)[1-9]\d?(?:[ ./()-]{{0,2}}\d){{6,13}}"
    r"|\(\d{2,5}\)[ -]?\d{3,4}(?:[ -]?\d{2,4}){1,2}|\d{3}[-. ]\d{3}[-. ]\d{4})(?![\w-])"
)
_DIGITS = re.compile(rf"{_START}(?<![.%])(?<!%[0-9A-Fa-f])\d(?:[ -]?\d){{12,40}}(?![^\W_])")
_GROUP = re.compile(r"\d{3,}")
_LONGEST_CARD = 24  # characters: 19 digits and what stands between their groups
_IBAN = re.compile(rf"{_START}[A-Z]{{2}}\d{{2}}(?: ?[A-Z0-9]{{4}}){{2,7}}(?: ?[A-Z0-9]{{1,3}})?(?![^\W_])")
_SSN = re.compile(rf"{_START}(?<!-)(?!000|666|9)\d{{3}}-(?!00)\d{{2}}-(?!0000)\d{{4}}(?![\w-])")
_ADDRESS = re.compile(rf"{_START}(?<!\.)(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){{3}}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w.])")


# As programs and people write them: dashes and spaces that do not break, signs as wide as ideographs, and what nobody
# sees between two letters.
_TYPOGRAPHY: dict[int, str | None] = {
    **dict.fromkeys([0xA0, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000], " "),
    **dict.fromkeys([*range(0x2010, 0x2016), 0x2212, 0xFE58, 0xFE63, 0xFF0D], "-"),
    **dict.fromkeys([0xFE6B, 0xFF20], "@"),
    **dict.fromkeys([0xFF0E], "."),
    **dict.fromkeys([0xFF0B], "+"),
    **dict.fromkeys([0xAD, 0x34F, 0x180E, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070)]),
    **dict.fromkeys([0xFEFF, *range(0xFE00, 0xFE10)]),
}


def _seen_plainly(find: TextHook, text: str) -> str:
    """What a pattern leaves of a text, or of what one reads in it."""
    if text.isascii():
        return find(text)
    plain = text.translate(_TYPOGRAPHY)
    clean = find(plain)
    return text if clean == plain else clean


def _without_emails(text: str) -> str:
    parts: list[str] = []
    end = 0
    for host in _HOST.finditer(text):
        local = _LOCAL.search(text, max(end, host.start() - _LONGEST_LOCAL), host.start())
        if local is not None and local[0]:
            parts += (text[end : local.start()], "[email]")
            end = host.end()
    return "".join((*parts, text[end:])) if parts else text


def _without_cards(text: str) -> str:
    return _DIGITS.sub(_card_masked, text)


def _card_masked(found: re.Match[str]) -> str:
    """The run of digits, or the groups of three digits and more in it, that make a card's number: what stands before
    them may be a number of its own."""
    run = found[0]
    if _is_card(run):
        return "[card]"
    groups = [group.span() for group in _GROUP.finditer(run)]
    for first, (start, _) in enumerate(groups):
        for _, end in groups[first + 1 :]:
            if end - start > _LONGEST_CARD:
                break
            if _is_card(run[start:end]):
                return f"{run[:start]}[card]{_without_cards(run[end:])}"
    return run


def _is_card(run: str) -> bool:
    """13 to 19 digits whose last is the check of the others (ISO/IEC 7812, Luhn), and not all of them alike."""
    digits = [int(each) for each in run if each.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _without_ibans(text: str) -> str:
    return _IBAN.sub(lambda found: "[iban]" if _is_iban(found[0].replace(" ", "")) else found[0], text)


def _is_iban(code: str) -> bool:
    """ISO 13616: with its head moved to the end and letters as numbers, it is 1 modulo 97."""
    return 15 <= len(code) <= 34 and int("".join(str(int(each, 36)) for each in code[4:] + code[:4])) % 97 == 1


# IBANs before cards and phones, whose digits they hold.
_PATTERNS: dict[str, TextHook] = {
    "email": lambda text: _without_emails(text) if "@" in text else text,
    "iban": _without_ibans,
    "card": _without_cards,
    "ssn": lambda text: _SSN.sub("[ssn]", text),
    "phone": lambda text: _PHONE.sub("[phone]", text),
    "ip": lambda text: _ADDRESS.sub("[ip]", text),
    "credentials": without_credentials,
}
PATTERNS = tuple(_PATTERNS)
"""The names that ``Redaction`` takes."""


class Redaction:
    """Takes out of content what the named patterns find, then what functions do, in the order in which they are given.

    >>> Redaction("email", "card")("write to ann@example.com")
    'write to [email]'

    Patterns are ``email``, ``phone``, ``card`` (payment cards, by Luhn's check), ``iban`` (by its check), ``ssn``,
    ``ip`` and ``credentials``, which is always on where content is written. Without any, it is all of them. A function
    is given one text and returns what may be known of it.
    """

    def __init__(self, *rules: str | TextHook) -> None:
        named = [rule for rule in rules if isinstance(rule, str)]
        for name in named:
            if name not in _PATTERNS:
                raise ConfigurationError(f"redaction has no pattern {name!r:.40}: there are {', '.join(PATTERNS)}")
        hooks = [rule for rule in rules if not isinstance(rule, str)]
        for hook in hooks:
            if not callable(hook):
                raise ConfigurationError(f"a redaction is made of names and functions, not of a {type(hook).__name__}")
        wanted = set(named) if rules else _PATTERNS.keys()
        self._hooks: tuple[TextHook, ...] = (
            *(partial(_seen_plainly, find) for name, find in _PATTERNS.items() if name in wanted),
            *hooks,
        )
        self._told = False

    def __call__(self, text: str) -> str:
        """``text`` without what is not to be known."""
        for hook in self._hooks:
            try:
                found: Any = hook(text)
            except Exception as error:  # whatever it is: the text is not passed on
                return self._withheld(type(error).__name__)
            if not isinstance(found, str):
                return self._withheld(f"a {type(found).__name__} in place of a text")
            text = found
        return text

    def _withheld(self, why: str) -> str:
        if not self._told:
            self._told = True
            from awsllm import log

            log.logger("policy").warning("the redaction gave %s: content is withheld", why)
        return WITHHELD


def checked_redaction(given: Any) -> Redaction | None:
    """What ``redact=`` may be: None, True (all patterns), a name, a function, a list of both, a ``Redaction``."""
    if given is None or given is False or isinstance(given, Redaction):
        return given or None
    if given is True:
        return Redaction()
    if isinstance(given, str):
        return Redaction(*(name.strip() for name in given.split(",")))
    if callable(given):
        return Redaction(given)
    if isinstance(given, Iterable):
        return Redaction(*given)
    raise ConfigurationError(f"redact is names of patterns or a function, not a {type(given).__name__}")


def without_numbers(number: int, hook: TextHook) -> int | str:
    """A whole number, or what the hook leaves of its digits."""
    if -_SHORT_NUMBER < number < _SHORT_NUMBER or number.bit_length() > _LONG_NUMBER:
        return number
    text = str(number)
    clean = hook(text)
    return number if clean == text else clean


class ContentScreen:
    """What all content passes on its way to a file or a log: the caller's redaction, and always credentials."""

    def __init__(self, redaction: Redaction | None = None) -> None:
        self._redaction = redaction

    def text(self, text: str) -> str:
        return without_credentials(text if self._redaction is None else self._redaction(text))

    def value(self, value: Any) -> Any:
        """A JSON value, all of which is content: its texts and the names of its members."""
        match value:
            case str():
                return self.text(value)
            case int() if not isinstance(value, bool):
                return self.number(value)
            case list() | tuple():
                return [self.value(each) for each in value]
            case Mapping():
                return {self.text(str(name)): self.value(each) for name, each in value.items()}
            case _:
                return value

    def number(self, number: int) -> int | str:
        """A whole number is content where it is long enough to be a card's or a telephone's."""
        return number if self._redaction is None else without_numbers(number, self.text)

    def series(self, texts: list[str]) -> list[str]:
        """Texts that are parts of one, as a stream cuts it: what stands for a secret is cut as the secret was."""
        joined = "".join(texts)
        clean = self.text(joined)
        if clean == joined:
            return texts
        ends = [min(end, len(clean)) for end in accumulate(map(len, texts))]
        ends[-1:] = [len(clean)]
        return [clean[start:end] for start, end in zip([0, *ends], ends, strict=False)]
