"""What numbers that identify something must satisfy, beside their form.

Each function is given the characters of a candidate, and says how many of them, from the first, are the number: 0 if it
is none. Sources: ISO/IEC 7812 (cards), ISO 13616 (IBAN), ISO 9362 (SWIFT), ISO 3779 and 49 CFR 565 (VIN), the American
Bankers Association (routing numbers), NHS Data Dictionary, and the issuers' rules for the ranges that are not given.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

_CARD_PREFIX = re.compile(r"3[0-9]|4|5[0-9]|6[0-9]|2[2-7]")
_IBAN_LENGTHS = {
    "AD": 24,
    "AE": 23,
    "AL": 28,
    "AT": 20,
    "AZ": 28,
    "BA": 20,
    "BE": 16,
    "BG": 22,
    "BH": 22,
    "BR": 29,
    "BY": 28,
    "CH": 21,
    "CR": 22,
    "CY": 28,
    "CZ": 24,
    "DE": 22,
    "DK": 18,
    "DO": 28,
    "EE": 20,
    "EG": 29,
    "ES": 24,
    "FI": 18,
    "FO": 18,
    "FR": 27,
    "GB": 22,
    "GE": 22,
    "GI": 23,
    "GL": 18,
    "GR": 27,
    "GT": 28,
    "HR": 21,
    "HU": 28,
    "IE": 22,
    "IL": 23,
    "IQ": 23,
    "IS": 26,
    "IT": 27,
    "JO": 30,
    "KW": 30,
    "KZ": 20,
    "LB": 28,
    "LC": 32,
    "LI": 21,
    "LT": 20,
    "LU": 20,
    "LV": 21,
    "LY": 25,
    "MC": 27,
    "MD": 24,
    "ME": 22,
    "MK": 19,
    "MR": 27,
    "MT": 31,
    "MU": 30,
    "NL": 18,
    "NO": 15,
    "PK": 24,
    "PL": 28,
    "PS": 29,
    "PT": 25,
    "QA": 29,
    "RO": 24,
    "RS": 22,
    "SA": 24,
    "SC": 31,
    "SD": 18,
    "SE": 24,
    "SI": 19,
    "SK": 24,
    "SM": 27,
    "ST": 25,
    "SV": 28,
    "TL": 23,
    "TN": 24,
    "TR": 26,
    "UA": 29,
    "VA": 22,
    "VG": 24,
    "XK": 20,
}
_VIN_VALUES = dict(zip("ABCDEFGHJKLMNPRSTUVWXYZ", "12345678123457923456789", strict=True))
_VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)


def luhn(digits: str) -> bool:
    """The check digit of cards and of Canada's Social Insurance Numbers."""
    numbers = [int(digit) for digit in digits if digit.isdigit()]
    doubled = [2 * number - 9 * (number > 4) for number in numbers[-2::-2]]
    return (sum(numbers[-1::-2]) + sum(doubled)) % 10 == 0


def card(text: str) -> int:
    """13 to 19 digits, in groups or not, of a network that exists; the longest that holds."""
    for end, digits in _digits_to_each_end(text):
        if 13 <= len(digits) <= 19 and _CARD_PREFIX.match(digits) and len(set(digits)) > 1 and luhn(digits):
            return end
    return 0


def _digits_to_each_end(text: str) -> Iterator[tuple[int, str]]:
    """The places where a group of digits ends, the last first, and the digits up to there."""
    for end in range(len(text), 0, -1):
        if text[end - 1].isdigit() and not (end < len(text) and text[end].isdigit()):
            yield end, "".join(filter(str.isdigit, text[:end]))


def iban(text: str) -> int:
    """As long as its country's are, with the remainder 1 by 97."""
    length = _IBAN_LENGTHS.get(text[:2].upper(), 0)
    places = [place for place, character in enumerate(text) if not character.isspace()]
    if not length or len(places) < length:
        return 0
    number = "".join(text[place] for place in places[:length]).upper()
    end = places[length - 1] + 1
    if end < len(text) and text[end].isalnum():
        return 0
    value = int("".join(str(int(character, 36)) for character in number[4:] + number[:4]))
    return end if value % 97 == 1 else 0


def social_security(text: str) -> int:
    area, group, serial = re.findall(r"[0-9]+", text)[:3] if not text.isdigit() else (text[:3], text[3:5], text[5:])
    given = area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"
    return len(text) if given and text not in ("123-45-6789", "078-05-1120") else 0


def taxpayer(text: str) -> int:
    """An Individual Taxpayer Identification Number: 9, and a group that is given."""
    digits = "".join(filter(str.isdigit, text))
    group = int(digits[3:5])
    is_given = 50 <= group <= 65 or 70 <= group <= 88 or 90 <= group <= 92 or 94 <= group <= 99
    return len(text) if digits[0] == "9" and is_given else 0


def routing(text: str) -> int:
    digits = [int(digit) for digit in text]
    total = 3 * sum(digits[0::3]) + 7 * sum(digits[1::3]) + sum(digits[2::3])
    return len(text) if any(digits) and total % 10 == 0 else 0


def social_insurance(text: str) -> int:
    return len(text) if text[0] not in "08" and luhn(text) else 0


def national_health(text: str) -> int:
    """The tenth digit checks the nine before it, by 11."""
    digits = [int(digit) for digit in text if digit.isdigit()]
    check = 11 - sum(weight * digit for weight, digit in zip(range(10, 1, -1), digits, strict=False)) % 11
    return len(text) if check % 11 == digits[9] and check != 10 and len(set(digits)) > 1 else 0


def vehicle(text: str) -> int:
    """The ninth character checks the others."""
    values = [int(_VIN_VALUES.get(character, character)) for character in text.upper()]
    check = "0123456789X"[sum(weight * value for weight, value in zip(_VIN_WEIGHTS, values, strict=True)) % 11]
    return len(text) if text[8].upper() == check and re.search(r"[0-9]", text) else 0


def address(text: str) -> int:
    """An address of IPv4 or IPv6. ``::`` alone, and what loses its end to make one, is none."""
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return 0
    return len(text) if parsed.version == 4 or sum(map(str.isalnum, text)) > 2 else 0


def secret_key(text: str) -> int:
    """40 characters that are mixed as random ones are, and no hash in hexadecimal digits."""
    is_mixed = re.search("[a-z]", text) and re.search("[A-Z]", text) and re.search("[0-9]", text)
    return len(text) if is_mixed and len(set(text)) > 18 else 0
