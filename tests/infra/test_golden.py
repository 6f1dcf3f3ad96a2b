"""What a template makes of its parameters, whole: a change of a template shows as a change of these files.

``AWSLLM_GOLDEN=write pytest tests/infra/test_golden.py`` writes them anew; read the difference before it is committed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.stacks import LEAST, MOST, NAMES, filled

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", NAMES)
def test_a_template_makes_what_it_made(name: str) -> None:
    made = {
        case: {"resources": stack.resources, "outputs": stack.outputs}
        for case, stack in (("least", filled(name)), ("most", filled(name, most=True)))
    }
    path = GOLDEN / f"{name}.json"
    if os.environ.get("AWSLLM_GOLDEN") == "write":
        path.write_text(json.dumps(made, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    assert made == json.loads(path.read_text(encoding="utf-8"))


def test_every_template_has_cases_and_a_golden_file() -> None:
    assert sorted(LEAST) == sorted(MOST) == NAMES
    assert sorted(path.stem for path in GOLDEN.glob("*.json")) == NAMES


def test_least_is_what_has_no_default() -> None:
    for name in NAMES:
        required = {key for key, each in filled(name).template.get("Parameters", {}).items() if "Default" not in each}
        assert required == LEAST[name].keys(), name


@pytest.mark.parametrize("name", NAMES)
def test_nothing_refers_to_what_is_not_made(name: str) -> None:
    """Whatever of its allowed values a parameter takes; the cases themselves are for the golden files."""
    for parameter, declared in filled(name).template.get("Parameters", {}).items():
        for value in declared.get("AllowedValues", []):
            for most in (False, True):
                stack = filled(name, {parameter: str(value)}, most=most)
                assert stack.resources
                assert stack.outputs.keys() <= stack.template.get("Outputs", {}).keys()
