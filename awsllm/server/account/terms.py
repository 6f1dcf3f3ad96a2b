"""The names that ``transitions`` and ``quotas`` of an account have: one that is none of these would change nothing, and
a test that rests on it would prove nothing."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from awsllm.errors import ConfigurationError

TRANSITIONS = frozenset(
    {
        *("endpoint", "endpoint-update", "endpoint-delete", "component", "component-update", "component-delete"),
        *("training", "transform", "async-invoke", "guardrail"),
        *("knowledge-base", "knowledge-base-delete", "data-source-delete", "ingestion"),
        *("model-invocation", "model-customization", "model-import", "model-copy", "custom-model"),
        "evaluation",
        *("custom-model-deployment", "custom-model-deployment-update"),
        *("provisioned-throughput", "provisioned-throughput-update"),
        *("training-session", "training-session-stop", "training-session-delete"),
    }
)
QUOTAS = frozenset(
    {
        *("endpoints", "inference-profiles", "custom-models", "custom-model-deployments", "imported-models"),
        *("prompt-routers", "model-units", "customization-records-min", "customization-steps"),
        *("batch-records-min", "batch-records-per-file", "batch-records-per-job"),
        *("training-sessions", "training-session-idle"),
    }
)
"""Those that are no type of instance."""


def check_transitions(transitions: Mapping[str, Any]) -> None:
    """Raises ``ConfigurationError``."""
    _check_names("transition", transitions.keys() - TRANSITIONS, TRANSITIONS)
    for name, lasting in transitions.items():
        if isinstance(lasting, bool) or not isinstance(lasting, (int, float)) or not lasting >= 0:
            raise ConfigurationError(
                f"the transition {name!r} lasts {lasting!r}; give a whole number of looks, or seconds as a float"
            )


def check_quotas(quotas: Mapping[str, Any]) -> None:
    """Raises ``ConfigurationError``."""
    _check_names("quota", {name for name in quotas if not str(name).startswith("ml.")} - QUOTAS, QUOTAS)
    for name, most in quotas.items():
        if isinstance(most, bool) or not isinstance(most, int) or most < 0:
            raise ConfigurationError(f"the quota {name!r} is {most!r}; give a whole number")


def _check_names(noun: str, unknown: Collection[str], known: Collection[str]) -> None:
    for name in sorted(map(str, unknown)):
        near = difflib.get_close_matches(name, known, n=1)
        meant = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}"
        raise ConfigurationError(f"an account has no {noun} {name!r}; {meant}")
