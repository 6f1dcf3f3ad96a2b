"""A template with its parameters filled in: as a document of its own, and as the command that deploys it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from awsllm.errors import ValidationError
from awsllm.infra.parameters import HIDDEN, checked
from awsllm.infra.template_text import write_json, write_yaml
from awsllm.infra.templates import Template
from awsllm.types import JsonObject, Value

FORMATS = ("yaml", "json")


class Rendering(Value, frozen=True, kw_only=True):
    """``document`` has the values as its parameters' defaults, those of secrets left out; ``values`` are all values,
    defaults included, with secrets hidden."""

    template: str
    document: JsonObject
    values: dict[str, str]
    capabilities: tuple[str, ...] = ()

    def text(self, format: str = "yaml") -> str:
        """As ``yaml`` or ``json``; both are in long forms, and CloudFormation takes both."""
        if format not in FORMATS:
            raise ValidationError(f"format={format!r}: a template is written as {' or '.join(FORMATS)}")
        return write_yaml(self.document) if format == "yaml" else write_json(self.document) + "\n"

    def command(self, stack: str, file: str) -> str:
        """What deploys the rendering with AWS's own command line. It runs as it stands where no value is secret."""
        words = ["aws", "cloudformation", "deploy", "--stack-name", stack, "--template-file", file]
        words += ["--capabilities", *self.capabilities] if self.capabilities else []
        hidden = [name for name, value in self.values.items() if value == HIDDEN]
        words += ["--parameter-overrides", *(f"{name}=..." for name in hidden)] if hidden else []
        return shlex.join(words)


def render(template: Template, parameters: Mapping[str, Any] | None = None) -> Rendering:
    """Raises ``ValidationError`` that tells everything that is missing, wrong or unknown."""
    known = template.parameters
    values = checked(known, parameters or {})
    sections = dict(template.document)
    if known:
        sections["Parameters"] = {
            parameter.name: _filled(
                sections["Parameters"][parameter.name], values.get(parameter.name), parameter.secret
            )
            for parameter in known
        }
    shown = {
        parameter.name: HIDDEN if parameter.secret else values.get(parameter.name, parameter.default or "")
        for parameter in known
    }
    return Rendering(template=template.name, document=sections, values=shown, capabilities=template.capabilities())


def _filled(parameter: JsonObject, value: str | None, secret: bool) -> JsonObject:
    return parameter if value is None or secret else {**parameter, "Default": value}
