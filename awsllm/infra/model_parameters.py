"""The parameters of a template that say which model is meant, filled in from the model's reference.

A role that may call a model names every foundation model that may answer, in every region (``model_arns``). A template
takes them by parameters, which ``Metadata: awsllm: model:`` names: ``id`` (what is called), ``arns`` (the foundation
models), ``profile`` or ``profiles`` (the inference profiles, if any).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from awsllm.errors import ValidationError
from awsllm.infra.model_arns import ModelArnFinder, ModelArns
from awsllm.infra.templates import Template
from awsllm.models.references import parse_reference

_CALLED = ("foundation", "profile")


def model_parameters(
    template: Template, models: tuple[str, ...], given: Mapping[str, Any], finder: ModelArnFinder
) -> dict[str, str]:
    """What follows from ``models``, or from a model id among the parameters given. Raises ``ValidationError`` for
    models that the template cannot take."""
    names = template.model
    if not models and (named := given.get(names.get("id", ""))) and names.get("arns") not in given:
        models = (f"bedrock:{named}",)
    if not models:
        return {}
    if not names:
        raise ValidationError(f"{template.name} takes no model")
    if len(models) > 1 and "id" in names:
        raise ValidationError(f"{template.name} takes one model, not {len(models)}")
    found = [each for model in models for each in finder.of(model)]
    if other := [each for each in found if each.kind not in _CALLED]:
        raise ValidationError(
            f"{template.name} takes foundation models and inference profiles; for {other[0].reference} give the "
            f"parameters {', '.join(names.values())} themselves"
        )
    return {names[role]: value for role, value in _values(models, found).items() if role in names}


def _values(models: tuple[str, ...], found: list[ModelArns]) -> dict[str, str]:
    arns = [arn for each in found for arn in ((each.arn,) if each.kind == "foundation" else each.behind)]
    profiles = list(dict.fromkeys(each.arn for each in found if each.kind == "profile"))
    return {
        "id": parse_reference(models[0]).model,
        "arns": ",".join(dict.fromkeys(arns)),
        "profile": profiles[0] if profiles else "",
        "profiles": ",".join(profiles),
    }
