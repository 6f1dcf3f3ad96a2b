"""What can be wrong with a model's files, apart from what their formats forbid."""

from __future__ import annotations


class WeightsError(ValueError):
    """The files are not weights that can be read; the message names the fix."""


class ModelError(ValueError):
    """The model is of a kind that this engine does not compute; the message says which it does."""
