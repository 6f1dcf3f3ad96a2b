"""A guardrail of the offline account. Its policies are given as CreateGuardrail takes them; what of them is found
offline, and how well, stands at the top of this package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from awsllm.errors import ConfigurationError
from awsllm.server.account.guardrails.patterns import fault
from awsllm.server.account.guardrails.rules import INPUT, PRIVATE_THINGS, SideRules, listed
from awsllm.types import JsonObject

_BLOCKED = "Sorry, the model cannot answer this question."  # the console's own message


@dataclass(frozen=True)
class Guardrail:
    """One version of a guardrail. ``config`` has CreateGuardrail's members; ``arn`` is None for one that was only
    named, not created."""

    id: str
    version: str
    config: JsonObject
    arn: str | None = None
    _rules: dict[str, SideRules] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, name: str, config: Any) -> Guardrail:
        """One that a test names. Raises ``ConfigurationError`` for what is no guardrail."""
        if not isinstance(config, Mapping) or not any(member.endswith("PolicyConfig") for member in config):
            raise ConfigurationError(f"guardrail {name} is a dict as create_guardrail takes it, with a policy in it")
        for one in listed(config, PRIVATE_THINGS, "regexesConfig"):
            if reason := fault(str(one.get("pattern", ""))):
                raise ConfigurationError(f"a regular expression of guardrail {name} cannot be read: {reason}")
        return cls(name, "DRAFT", dict(config))

    def rules(self, source: str) -> SideRules:
        """What is looked for in the INPUT, or the OUTPUT."""
        if source not in self._rules:
            self._rules[source] = SideRules.of(self.config, source)
        return self._rules[source]

    def message(self, source: str) -> str:
        """What stands in place of what is blocked."""
        member = "blockedInputMessaging" if source == INPUT else "blockedOutputsMessaging"
        return str(self.config.get(member) or _BLOCKED)
