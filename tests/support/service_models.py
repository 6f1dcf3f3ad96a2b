"""botocore's models of services, unpacked and read once, and decoded anew for each session that asks."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.loaders import JSONFileLoader


@contextlib.contextmanager
def reading_once() -> Iterator[None]:
    """Every session of botocore's reads models of megabytes, which takes longer than most tests. What was decoded is
    not shared: botocore rewrites the models that it makes clients of."""

    def load(loader: JSONFileLoader, path: str, opening: Callable[..., Any]) -> Any:
        return msgspec.json.decode(_content(path, opening)) if Path(path).is_file() else None

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(JSONFileLoader, "_load_file", load)
        yield


@functools.lru_cache(maxsize=64)
def _content(path: str, opening: Callable[..., Any]) -> bytes:
    with opening(path, "rb") as file:
        content: bytes = file.read()
    return content
