"""What redaction takes out of content, and what it leaves."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest

from awsllm import Client, Redaction
from awsllm.errors import ConfigurationError
from awsllm.policy.configuration import Configuration
from awsllm.policy.redaction import WITHHELD, ContentScreen, checked_redaction, without_credentials
from awsllm.testing import ScriptedBackend
from awsllm.types import ConverseRequest, Message, ToolUse

EVERYTHING = Redaction()


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ("write to ann.b+c@mail.example.com, please", "write to [email], please"),
        ("card 4111 1111 1111 1111 or 378282246310005.", "card [card] or [card]."),
        ("order 12 4111-1111-1111-1111", "order 12 [card]"),
        ("DE89 3704 0044 0532 0130 00 and GB82WEST12345698765432", "[iban] and [iban]"),
        ("call +49 30 901820 or (030) 901 820 12 or 212-555-0123", "call [phone] or [phone] or [phone]"),
        ("ssn 123-45-6789", "ssn [ssn]"),
        ("from 192.168.0.255", "from [ip]"),
        ("key AKIAABCDEFGHIJKLMNOP", "key AKIAIOSFODNN7EXAMPLE"),
        ("Authorization: Bearer abc123def456ghi", "Authorization: scrubbed"),
    ],
)
def test_every_pattern_finds_its_own(given: str, left: str) -> None:
    assert EVERYTHING(given) == left


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112 has a wrong check",
        "0000 0000 0000 0000",
        "DE89 3704 1144 0532 1130 05",
        "version 1.2.3 of 2026-11-27, 10:30",
        "999.1.1.1 and 1.2.3.4.5",
        "000-12-3456",
        "an @mention and a@b",
        "us-east-1, 1000000 tokens, 0.0000012 dollars",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert EVERYTHING(text) == text


def test_names_choose_and_functions_follow() -> None:
    redaction = Redaction("email", lambda text: text.replace("Ann", "[name]"))
    assert redaction("Ann, ann@example.com, 4111111111111111") == "[name], [email], 4111111111111111"
    with pytest.raises(ConfigurationError, match="no pattern 'mail': there are email"):
        Redaction("mail")
    with pytest.raises(ConfigurationError, match="not of a int"):
        Redaction(3)  # type: ignore[arg-type]


def test_what_redact_may_be() -> None:
    assert checked_redaction(None) is None
    assert checked_redaction(False) is None
    for given in (True, "email, card", ["email"], str.upper, EVERYTHING):
        assert isinstance(checked_redaction(given), Redaction)
    with pytest.raises(ConfigurationError, match="not a int"):
        checked_redaction(7)


@pytest.mark.parametrize("hook", [lambda text: 1 / 0, lambda text: None, lambda text: text.encode()])
def test_a_hook_that_fails_withholds_the_content(hook: object, caplog: pytest.LogCaptureFixture) -> None:
    redaction = Redaction(hook)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING, "awsllm.policy"):
        assert [redaction("my secret"), redaction("and another")] == [WITHHELD, WITHHELD]
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text


def test_credentials_go_whatever_the_hook_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted/secret/of/forty/characters/0123456")
    clean = ContentScreen(Redaction(lambda text: text))
    text = clean.text("it is planted/secret/of/forty/characters/0123456 and AKIAABCDEFGHIJKLMNOP")
    assert text == "it is scrubbed and AKIAIOSFODNN7EXAMPLE"
    assert without_credentials("nothing here") == "nothing here"


def test_json_is_looked_into_and_pieces_are_looked_at_joined() -> None:
    clean = ContentScreen(Redaction("email"))
    assert clean.value({"ann@example.com": [{"id": "bob@example.com", "n": 1}]}) == {
        "[email]": [{"id": "[email]", "n": 1}]
    }
    pieces = clean.series(["to ann@exa", "mple.com", " and on"])
    assert "".join(pieces) == "to [email] and on"
    assert len(pieces) == 3
    same = ["as", "it is"]
    assert clean.series(same) is same


@pytest.mark.parametrize(
    "text",
    [
        "eyJ" * 70_000,
        "eyJ-" * 50_000,
        "eyJ_" * 50_000,
        "&Signature=" * 20_000,
        "a" * 200_000,
        "1 " * 100_000,
        "1" * 200_000,
        "a." * 100_000,
        "AB12 " * 40_000,
        "(1" * 99_999,
    ],
)
def test_hostile_texts_take_time_in_proportion(text: str) -> None:
    """A pattern that went back over a text would take minutes."""
    started = time.process_time()
    EVERYTHING(text)
    assert time.process_time() - started < 5


def test_what_opentelemetry_is_given_passes_it() -> None:
    """Ids and types in a tool's arguments are content; those of a part are not."""
    from awsllm.telemetry.content import TelemetryContent

    use = ToolUse("use-1", "look", {"id": "ann@example.com", "key": "AKIAABCDEFGHIJKLMNOP"})
    request = ConverseRequest(model="m", messages=(Message("assistant", (use,)),))
    (message,) = TelemetryContent(Redaction("email")).input(request)
    assert message["parts"] == [
        {
            "type": "tool_call",
            "id": "use-1",
            "name": "look",
            "arguments": {"id": "[email]", "key": "AKIAIOSFODNN7EXAMPLE"},
        }
    ]
    (message,) = TelemetryContent(None).input(request)
    assert "AKIAABCDEFGHIJKLMNOP" not in str(message)
    assert "ann@example.com" in str(message)


def test_a_clients_redaction_is_its_telemetrys(monkeypatch: pytest.MonkeyPatch) -> None:
    from awsllm.telemetry import open_telemetry
    from awsllm.telemetry.choice import TelemetryTable

    given: list[Any] = []

    class Made:
        def __init__(self, *, content: Any, redact: Any) -> None:
            given.append(redact)

        def close(self) -> None:
            """Nothing to close."""

    monkeypatch.setattr(open_telemetry, "OpenTelemetry", Made)
    backends = {"bedrock": ScriptedBackend("x")}
    Client("us-east-1", telemetry="otel", redact="email", backends=backends)
    table = Configuration(tables={"telemetry": TelemetryTable(forms="otel", redact=("email",))})
    Client("us-east-1", configuration=table, backends=backends)
    assert [redact("to ann@example.com") for redact in given] == ["to [email]"] * 2


CARD = "4111111111111111"


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (r'{"note": "pay with\n4111111111111111"}', r'{"note": "pay with\n[card]"}'),
        ("4111\u00a01111\u00a01111\u00a01111", "[card]"),
        ("4111\u20111111\u20111111\u20111111", "[card]"),
        ("4111\u200b1111\u200b1111\u200b1111", "[card]"),
        ("".join(chr(0xFF10 + int(digit)) for digit in CARD), "[card]"),
        ("".join(chr(0x660 + int(digit)) for digit in CARD), "[card]"),
        (f"card_{CARD}", "card_[card]"),
        ("q=%204111111111111111", "q=%20[card]"),
        ("DE89\u00a03704\u00a00044\u00a00532\u00a00130\u00a000", "[iban]"),
        (r"x\nDE89370400440532013000", r"x\n[iban]"),
        ("ann\u200b@ex\u00adample.com", "[email]"),
        ("ann\uff20example.com", "[email]"),
        ("ann@exämple.de", "[email]"),
        ("メールはann@example.comまで", "[email]まで"),
        (f"{'日' * 300}ann@example.com", f"{'日' * 47}[email]"),
        ("+49\u00a030\u00a0901820", "[phone]"),
        (r"a\n212-555-0123", r"a\n[phone]"),
        (r"a\t192.168.0.255", r"a\t[ip]"),
        (r"a\n123-45-6789", r"a\n[ssn]"),
    ],
)
def test_what_is_written_otherwise_is_found(given: str, left: str) -> None:
    assert EVERYTHING(given) == left


def test_typography_without_anything_to_find_stays() -> None:
    text = "2019\u20132026, 10\u00a0000 people\u200b and a\u00adb"
    assert EVERYTHING(text) == text


SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYPLANTEDKEY"
HEX = "ab" * 32


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"AWS_SECRET_ACCESS_KEY={SECRET}", SECRET),
        (f"export AWS_SECRET_ACCESS_KEY='{SECRET}'", SECRET),
        (r'{"out": "key\nAKIAABCDEFGHIJKLMNOP"}', "AKIAABCDEFGHIJKLMNOP"),
        ("credential%2FASIAABCDEFGHIJKLMNOP%2F2026", "ASIAABCDEFGHIJKLMNOP"),
        (r"a\nBearer abc123def456ghi", "abc123def456ghi"),
        (r"a\nsk-abcdefghijklmnopqrstuv", "sk-abcdefghijklmnopqrstuv"),
        (f"https://b.s3.amazonaws.com/k?X-Amz-Date=2026&X-Amz-Signature={HEX}", HEX),
        ("https://b.s3.amazonaws.com/k?Expires=1&Signature=vjbyPxybdZaNmGa%2ByT272YEAiv4%3D", "vjbyPxybdZaNmGa"),
        ("x-api-key: 0123456789abcdef0123", "0123456789abcdef0123"),
        ('{"headers": {"Authorization": "abcdefghijkl"}}', "abcdefghijkl"),
        (r'"{\"Cookie\": \"session=abcdefghijkl\"}"', "abcdefghijkl"),
        (r'"GET / HTTP/1.1\r\nx-amz-security-token: abcdefghijkl\r\n"', "abcdefghijkl"),
    ],
)
def test_credentials_are_found_in_every_corner(text: str, secret: str) -> None:
    assert secret not in without_credentials(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"cookie": "with chocolate"}',
        "a risk-assessment-of-long-words",
        "the signature=none of them",
        "BASIC training 101",
    ],
)
def test_what_only_looks_like_a_credential_stays(text: str) -> None:
    assert without_credentials(text) == text


def test_numbers_and_names_in_json_are_content() -> None:
    from awsllm.telemetry.content import TelemetryContent

    given = {"card": int(CARD), "ann@example.com": [1.5, "bob@example.com"], "many": 10**5000, "few": 17, "yes": True}
    left = {"card": "[card]", "[email]": [1.5, "[email]"], "many": 10**5000, "few": 17, "yes": True}
    assert ContentScreen(EVERYTHING).value(given) == left
    assert ContentScreen().value(given) == given
    assert TelemetryContent(EVERYTHING)._clean({"arguments": given})["arguments"] == left
