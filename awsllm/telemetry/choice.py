"""Which observers a client has asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from awsllm.errors import ConfigurationError
from awsllm.policy.observers import GivenObserver, Observer
from awsllm.policy.redaction import checked_redaction
from awsllm.types import Value


class TelemetryTable(Value, frozen=True, kw_only=True):
    """``[telemetry]`` of an awsllm.toml. ``forms`` are otel, log and emf; ``content`` is what ``OpenTelemetry`` takes,
    ``file`` where the log form's lines go; ``redact`` as the client's option of that name."""

    forms: str | tuple[str, ...] = ()
    content: bool | str | None = None
    file: str | None = None
    redact: Any = None

    def __post_init__(self) -> None:
        for names in (self.forms,) if isinstance(self.forms, str) else self.forms:
            _forms(names)
        checked_redaction(self.redact)


def chosen(wanted: Any, redact: Any = None) -> tuple[Observer, ...]:
    """The observers that ``wanted`` names: a form, several with commas between them, an observer, a list of these, or
    the table of an awsllm.toml. ``redact`` is the client's, for those that are made here. Raises
    ``ConfigurationError``."""
    if isinstance(wanted, TelemetryTable):
        wanted = wanted if redact is None else replace(wanted, redact=redact)
        forms = (wanted.forms,) if isinstance(wanted.forms, str) else wanted.forms
        return tuple(observer for form in forms for observer in _named(form, wanted))
    if isinstance(wanted, str):
        return _named(wanted, TelemetryTable(redact=redact))
    if isinstance(wanted, Sequence):
        return tuple(observer for one in wanted for observer in chosen(one, redact))
    if hasattr(wanted, "began") and hasattr(wanted, "close"):
        return (GivenObserver(wanted),)
    kinds = ", ".join(map(repr, _FORMS))
    raise ConfigurationError(f"telemetry is a {type(wanted).__name__}; it is one of {kinds}, an Observer, or a list")


def _named(names: str, table: TelemetryTable) -> tuple[Observer, ...]:
    return tuple(_FORMS[form](table) for form in _forms(names))


def _forms(names: str) -> list[str]:
    """Of a text with commas."""
    found = [name for each in names.split(",") if (name := each.strip()) not in ("", "off")]
    for form in found:
        if form not in _FORMS:
            raise ConfigurationError(f"forms of telemetry: {form!r:.40} is none of {', '.join(map(repr, _FORMS))}")
    return found


def _otel(table: TelemetryTable) -> Observer:
    from awsllm.telemetry.open_telemetry import OpenTelemetry

    return OpenTelemetry(content=table.content, redact=checked_redaction(table.redact))


def _log(table: TelemetryTable) -> Observer:
    from awsllm.telemetry.log_lines import LogLines

    return LogLines(table.file)


def _emf(_: TelemetryTable) -> Observer:
    from awsllm.telemetry.emf import EmbeddedMetrics

    return EmbeddedMetrics()


_FORMS: Mapping[str, Callable[[TelemetryTable], Observer]] = {"otel": _otel, "log": _log, "emf": _emf}
