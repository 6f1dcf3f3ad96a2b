"""Stability AI's services on Bedrock: a model id each, whose name says what it does.

    stability.stable-image-inpaint-v1:0      inpaint
    us.stability.stable-fast-upscale-v1:0    fast-upscale
    stability.sd3-5-large-v1:0               sd3-5-large

Source: docs.aws.amazon.com/bedrock/latest/userguide/stable-image-services.html, read 2026-11-26.
"""

from __future__ import annotations

import re
from functools import cache

_NAME = r"stability\.(?:stable-)?(?:image-)?([a-z0-9-]+?)-v\d"


def stability_service(model: str) -> str | None:
    """The service that a model id, a profile of one or an ARN with one names; None where it does not say."""
    found = _pattern().search(model.lower())
    return found[1] if found else None


@cache
def _pattern() -> re.Pattern[str]:
    return re.compile(_NAME)
