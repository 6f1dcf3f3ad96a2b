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
    "openai": "openai.body",
    "tgi": "endpoint.tgi",
    "lmi": "endpoint.lmi",
    "djl": "endpoint.djl",
    "dialogs": "endpoint.dialogs",
    "mms": "endpoint.mms",
    "mms-text": "endpoint.mms",
    "huggingface": "endpoint.huggingface",
    "tei": "endpoint.tei",
    "cohere-command": "cohere.body",
    "cohere-chat": "cohere.body",
    "cohere-embed": "cohere.body",
    "cohere-rerank": "cohere.body",
    "jurassic": "ai21.jurassic",
    "lighton": "endpoint.lighton",
    "lyra": "endpoint.lighton",
    "stable-diffusion": "images.stable_diffusion",
    "sdxl": "images.stable_diffusion",
}
"""Names of formats to the modules of this package that hold them."""


@cache
def get(name: str) -> Format:
    """The format of that name. Raises ``ConfigurationError`` naming the known ones."""
    if name not in FORMATS:
        raise ConfigurationError(f"{name!r} is no format of SageMaker containers; known are {', '.join(FORMATS)}")
    module = importlib.import_module(f"awsllm.wire.{FORMATS[name]}")
    found: Format = next(one for one in module.FORMATS if one.name == name)
    return found
