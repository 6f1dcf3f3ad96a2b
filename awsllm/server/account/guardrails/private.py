"""Private things of the 31 kinds that a guardrail can look for, as far as their form tells them.

How each kind is found, and so how far it can be trusted:

    a form with a check     cards, IBAN, SSN, ITIN, SIN, NHS numbers, VIN, IP addresses, secret keys of AWS
    a form of its own       e-mail, URL, MAC addresses, access keys of AWS, NINO, phone numbers
    a form after its name   passwords, user names, PIN, CVV, expiry dates, bank accounts and routing numbers, SWIFT
                            codes, passports, driving licences, licence plates, health numbers, UTR: ``PIN: 1234`` is
                            one, a lone ``1234`` is not
    words                   ages (a number of years with old, aged, age), addresses (a number, a name and a word for a
                            street, or a box; what follows it as far as a postcode), names

Names are those that are introduced (my name is, Dear, Mr) and those that begin with a common English, Spanish, German
or French given name and go on with a capital. Not found: names from elsewhere that nothing introduces, a surname alone,
addresses that are not written as English ones are, and whatever is spelled out in words.

Every pattern takes a time that grows as the text does: one that begins with a repetition does not begin in the middle
of a run. Behind a thing none looks further than one character, so that a stream need not wait for more (``patterns``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from awsllm.server.account.guardrails import checksums
from awsllm.server.account.guardrails.forms import (
    Form,
    coded,
    form,
    full_name,
    link,
    named,
    password,
    person,
    said,
    telephone,
)
from awsllm.server.account.guardrails.patterns import PatternBudget

_STREETS = (
    "Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Drive|Dr|Lane|Ln|Court|Ct|Place|Pl|Square|Sq|Terrace|Way|Parkway|Pkwy|"
    "Highway|Hwy|Crescent|Close|Circle|Trail|Row|Gardens|Grove|Mews|Walk|Hill|Alley|Quay"
)
_STATES = (
    "AL|AK|AZ|AR|CA|CO|CT|DE|FL|GA|HI|ID|IL|IN|IA|KS|KY|LA|ME|MD|MA|MI|MN|MS|MO|MT|NE|NV|NH|NJ|NM|NY|NC|ND|OH|OK|OR|PA|"
    "RI|SC|SD|TN|TX|UT|VT|VA|WA|WV|WI|WY|DC"
)
_PLACE = (
    r"(?:,? (?:Apt|Apartment|Suite|Ste|Unit|Flat|Floor|#)\.? ?[A-Z0-9]{1,5})?"
    r"(?:,? [A-Z][a-z]+(?: [A-Z][a-z]+){0,2})?"
    rf"(?:,? (?:{_STATES})\b)?"
    r"(?:,? (?:[0-9]{5}(?:-[0-9]{4})?|[A-Z]{1,2}[0-9][A-Z0-9]? [0-9][A-Z]{2})\b)?"
)
_NAME = r"\p{Lu}(?:\p{Ll}+|\.)(?:[-'\u2019]\p{Lu}\p{Ll}+)?"
_FULL_NAME = rf"{_NAME}(?: (?:(?:van|von|de|da|del|la|bin|al) )*{_NAME}){{0,3}}"
_MONTHS = (
    "Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sep(?:t(?:ember)?)?|Oct(?:ober)?|"
    "Nov(?:ember)?|Dec(?:ember)?"
)
_THREE_THREE_FOUR = r"[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{4}\b"
_HEXES = "[0-9A-Fa-f]{2}"

PRIVATE: Mapping[str, tuple[Form, ...]] = {
    "ADDRESS": (
        form(
            r"(?<![\w.,-])[0-9]{1,6}[A-Za-z]?,? (?:[NSEW]\.? )?(?:[A-Z][a-z']+ |[0-9]{1,3}(?:st|nd|rd|th) ){1,3}",
            rf"(?:{_STREETS})\b\.?{_PLACE}",
        ),
        form(rf"\b(?i:P\.? ?O\.? Box) [0-9]{{1,6}}\b{_PLACE}"),
    ),
    "AGE": (
        form(r"(?<![\w.,$€£-])[1-9][0-9]{0,2}[ -]?(?:years?|yrs?|months?|weeks?)[ -](?i:old|of age)\b"),
        form(r"(?<![\w.,$€£-])[1-9][0-9]{0,2} ?(?:y/o|yo|y\.o\.)(?!\w)"),
        form(
            r"(?i:\b(?:aged|age[sd]?(?: is| was|:)|at the age of|turn(?:s|ed|ing)?))\s",
            r"(?P<it>[1-9][0-9]{0,2})(?![\w%/:$-])",
        ),
        form(r"(?i:\b(?:i am|i'm|she is|he is|she's|he's))\s(?P<it>[1-9][0-9])(?=[.,;!)])"),
    ),
    "NAME": (
        form(
            r"(?i:\b(?:my (?:full |first |last )?name is|name:|i am called|call me|signed by|sincerely,|regards,|",
            rf"known as))\s+(?P<it>{_FULL_NAME})(?!\w)",
            measure=person,
        ),
        form(rf"\b(?:Dear|Mr|Mrs|Ms|Miss|Dr|Prof|Professor|Sir|Madam)\b\.? (?P<it>{_FULL_NAME})(?!\w)", measure=person),
        form(rf"(?<!\w){_NAME}(?: {_NAME}){{1,2}}(?!\w)", measure=full_name),
    ),
    "EMAIL": (form(r"(?<![\w.+-])[\w.+-]++@[\w-]++(?:\.[\w-]++)++"),),
    "PHONE": (
        form(
            r"(?<![\w.+-])\+[1-9][0-9]{0,2}[ .-]?(?:\(0?[0-9]{1,4}\)[ .-]?)?[0-9]{1,4}(?:[ .-]?[0-9]{2,5}){1,4}\b",
            measure=telephone,
        ),
        form(
            r"(?<![\w.+-])(?<!\+[0-9]{1,3} )(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])",
            r"[2-9][0-9]{2}[ .-][0-9]{4}\b(?:[ .-]?[0-9]{3,})*+",
            measure=lambda text: telephone(text) if sum(map(str.isdigit, text)) < 12 else 0,
        ),
        form(r"(?<![\w.+-])0[1-9][0-9]{1,3}[ -][0-9]{3,4}[ -]?[0-9]{3,4}\b"),
        form(
            r"(?i:\b(?:phone|tel|telephone|mobile|cell|fax|pager)\b\.?\s*(?:number|no\.?)?\s*(?:is|was|:|=)?\s*)",
            r"(?P<it>[+(]?[0-9][0-9 ().-]{5,18}[0-9]\b)",
            measure=telephone,
        ),
    ),
    "USERNAME": (
        said(
            r"user(?:[ -]?name|[ _-]?id)?|login(?: name)?|screen ?name|handle|nick(?:name)?",
            r"@?[A-Za-z0-9][\w.-]{2,30}\w",
        ),
        form(r"(?<![\w@./])@[A-Za-z][A-Za-z0-9_]{2,30}\b"),
    ),
    "PASSWORD": (said("password|passwd|passphrase|pwd|passcode|pass", r"[^\s\"'`]{4,64}", password),),
    "DRIVER_ID": (
        named(
            r"driver'?s?'?[ -]licen[cs]e|driving licen[cs]e|DLN?|driver id",
            r"(?=[A-Z]*[0-9])[A-Z0-9][A-Z0-9 -]{4,19}[A-Z0-9]\b",
            coded,
        ),
    ),
    "LICENSE_PLATE": (
        named(
            r"(?:licen[cs]e|number|registration) plates?|plates?|registration|vehicle reg",
            r"(?=[A-Z]*[0-9])[A-Z0-9]{1,4}[ -]?[A-Z0-9]{2,5}\b",
        ),
    ),
    "VEHICLE_IDENTIFICATION_NUMBER": (
        form(r"(?<![\w-])[A-HJ-NPR-Z0-9]{17}\b", measure=checksums.vehicle),
        named("VIN|vehicle identification", r"[A-HJ-NPR-Z0-9]{17}\b"),
    ),
    "CREDIT_DEBIT_CARD_CVV": (named("CVV2?|CVC2?|CID|security code|verification", r"[0-9]{3,4}\b"),),
    "CREDIT_DEBIT_CARD_EXPIRY": (
        form(
            r"(?i:\b(?:exp(?:\.|iry|ires?|iring|iration)?(?: date)?|valid (?:thru|through|until|to)|good thru)\b)",
            rf"(?:\s*(?::|is|on|in|-))?\s*(?P<it>(?:0[1-9]|1[0-2]) ?[/-] ?(?:20)?[2-4][0-9](?![\w/-])|(?:{_MONTHS}) ",
            r"(?:20)[2-4][0-9]\b)",
        ),
    ),
    "CREDIT_DEBIT_CARD_NUMBER": (form(r"(?<![\w])[2-6](?:[ -]?[0-9]){12,18}(?![0-9])", measure=checksums.card),),
    "PIN": (named("PIN|personal identification|access PIN|ATM code", r"[0-9]{4,6}\b"),),
    "INTERNATIONAL_BANK_ACCOUNT_NUMBER": (form(r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}", measure=checksums.iban),),
    "SWIFT_CODE": (named("SWIFT(?:/BIC| or BIC)?|BIC(?:/SWIFT)?", r"[A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?\b"),),
    "IP_ADDRESS": (
        form(r"(?<![\w.:])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:\.?\w+)*+", measure=checksums.address),
        form(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{1,4}(?![\w:])", measure=checksums.address),
    ),
    "MAC_ADDRESS": (
        form(rf"(?<![\w:-])(?:{_HEXES}:){{5}}{_HEXES}(?![\w:-])"),
        form(rf"(?<![\w:-])(?:{_HEXES}-){{5}}{_HEXES}(?![\w:-])"),
    ),
    "URL": (
        form(r"\b(?i:https?|ftp)://[^\s<>\"']+", measure=link),
        form(r"(?<![\w./@-])www\.[\w-]+\.[^\s<>\"']+", measure=link),
    ),
    "AWS_ACCESS_KEY": (form(r"(?<![A-Za-z0-9])(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])"),),
    "AWS_SECRET_KEY": (form(r"(?<![A-Za-z0-9/+])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])", measure=checksums.secret_key),),
    "US_SOCIAL_SECURITY_NUMBER": (
        form(r"(?<![\w-])[0-9]{3}-[0-9]{2}-[0-9]{4}(?![\w-])", measure=checksums.social_security),
        named("SSN|social security", r"[0-9]{3}[ -]?[0-9]{2}[ -]?[0-9]{4}\b", checksums.social_security),
    ),
    "US_INDIVIDUAL_TAX_IDENTIFICATION_NUMBER": (
        form(r"(?<![\w-])9[0-9]{2}-[5-9][0-9]-[0-9]{4}(?![\w-])", measure=checksums.taxpayer),
        named("ITIN|taxpayer identification", r"9[0-9]{2}[ -]?[5-9][0-9][ -]?[0-9]{4}\b", checksums.taxpayer),
    ),
    "US_PASSPORT_NUMBER": (named("passport", r"[A-Z]?[0-9]{8,9}\b"),),
    "US_BANK_ACCOUNT_NUMBER": (named(r"(?:bank |checking |savings )?account|acct", r"[0-9](?:[ -]?[0-9]){6,16}\b"),),
    "US_BANK_ROUTING_NUMBER": (named(r"routing(?: transit)?|ABA|RTN", r"[0-9]{9}\b", checksums.routing),),
    "CA_HEALTH_NUMBER": (
        named(
            r"(?:provincial |canadian |ontario )?health(?: card| insurance)?|OHIP|PHN",
            r"[0-9]{4}[ -]?[0-9]{3}[ -]?[0-9]{3}(?:[ -]?[A-Z]{2})?\b",
        ),
    ),
    "CA_SOCIAL_INSURANCE_NUMBER": (
        form(r"(?<![\w-])[0-9]{3}[ -][0-9]{3}[ -][0-9]{3}(?![\w-])", measure=checksums.social_insurance),
        named("SIN|social insurance", r"[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{3}\b", checksums.social_insurance),
    ),
    "UK_NATIONAL_HEALTH_SERVICE_NUMBER": (
        form(
            r"(?<![\w-])(?<!\+[0-9]{1,3} )[0-9]{3}[ -][0-9]{3}[ -][0-9]{4}(?![\w-])", measure=checksums.national_health
        ),
        named("NHS", _THREE_THREE_FOUR, checksums.national_health),
    ),
    "UK_NATIONAL_INSURANCE_NUMBER": (
        form(
            r"(?<!\w)(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]",
            r" ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]\b",
        ),
    ),
    "UK_UNIQUE_TAXPAYER_REFERENCE_NUMBER": (
        named("UTR|unique taxpayer reference|tax reference", r"[0-9]{5} ?[0-9]{5}\b"),
    ),
}
"""By the service's word for each kind."""


def private_spans(
    text: str, kinds: Iterable[str], budget: PatternBudget | None = None
) -> Iterator[tuple[str, int, int]]:
    """Kind, start and end of each private thing of ``kinds`` that can be found, once."""
    budget = PatternBudget()  # none of these patterns spends it
    for kind in kinds:
        spans = {span[1:] for one in PRIVATE.get(kind, ()) for span in one.found(text, 0, budget)}
        for begin, end in sorted(spans):
            yield kind, begin, end
