"""Every format by name; a format's module is imported when it is first asked for, so that a call pays for one.

The module that holds a format exposes its instances as ``FORMATS``. ``Format.serves`` says what each can do.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache

from awsllm.errors import ConfigurationError
from awsllm.wire.endpoint.format import Format

FORMATS: Mapping[str, str] = {
    "openai": "openai",
    "tgi": "tgi",
    "lmi": "lmi",
    "djl": "djl",
    "dialogs": "dialogs",
    "mms": "mms",
    "mms-text": "mms",
    "huggingface": "huggingface",
    "tei": "embeddings",
    "cohere-command": "cohere",
    "cohere-chat": "cohere",
    "cohere-embed": "cohere",
    "cohere-rerank": "cohere",
    "jurassic": "ai21",
    "lighton": "lighton",
    "lyra": "lighton",
    "stable-diffusion": "images",
    "sdxl": "images",
}
"""Names of formats to the modules of this package that hold them."""


@cache
def get(name: str) -> Format:
    """The format of that name. Raises ``ConfigurationError`` naming the known ones."""
    if name not in FORMATS:
        raise ConfigurationError(f"{name!r} is no format of SageMaker containers; known are {', '.join(FORMATS)}")
    module = importlib.import_module(f"awsllm.wire.endpoint.{FORMATS[name]}")
    found: Format = next(one for one in module.FORMATS if one.name == name)
    return found
