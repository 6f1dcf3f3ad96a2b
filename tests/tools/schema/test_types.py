"""Schemas of types."""

from __future__ import annotations

from dataclasses import dataclass

from awsllm.tools.schema.types import type_schema


def test_a_property_may_be_called_title() -> None:
    @dataclass
    class Book:
        title: str

    assert type_schema(Book, "test")["properties"] == {"title": {"type": "string"}}
