"""Answers as the ledger keeps them and as rows of the output show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from awsllm.jobs.batch.values import BatchRow
from awsllm.types import ConverseResponse, JsonObject, Text
from awsllm.wire.converse.responses import decode_response, encode_response

COLUMNS: Mapping[str, type] = {
    "": str,
    "_stop_reason": str,
    "_input_tokens": int,
    "_output_tokens": int,
    "_cost": float,
    "_output": str,
    "_message": str,
    "_error": str,
}
"""What is added to a row, behind the name of the column of answers."""


def encode_answer(response: ConverseResponse) -> bytes:
    """Converse's answer, and beside it what only awsllm knows of it. ``raw`` is left out: it doubles the rest."""
    own: JsonObject = {"model": response.model, "request_id": response.request_id, "warnings": list(response.warnings)}
    if response.output is not None:
        own["output"] = _plain(response.output)
    return msgspec.json.encode({**encode_response(response), "awsllm": own})


def decode_answer(answer: bytes, cost: float | None, output_type: Any = None) -> ConverseResponse:
    wire: JsonObject = msgspec.json.decode(answer)
    own = wire.pop("awsllm", {})
    response = decode_response(wire, model=own.get("model"), request_id=own.get("request_id"))
    output = own.get("output")
    if output is not None and output_type is not None and not isinstance(output_type, Mapping):
        from pydantic import TypeAdapter

        output = TypeAdapter(output_type).validate_python(output)
    warnings = (*own.get("warnings", ()), *response.warnings)
    return replace(response, cost=cost, output=output, warnings=warnings, raw=None)


def _plain(value: Any) -> Any:
    """A typed output as JSON has it."""
    from pydantic import TypeAdapter

    return TypeAdapter(Any).dump_python(value, mode="json")


def output_row(row: BatchRow, name: str, ids: Iterable[str]) -> JsonObject:
    """The record's columns, its id, and what came of it, in columns that begin with ``name``. ``ids`` are the columns
    that an id may stand in."""
    columns = row.columns or {}
    found: JsonObject = dict(columns) if any(key in columns for key in ids) else {"id": row.id, **columns}
    if row.response is not None:
        response = row.response
        found[name] = response.text
        found[f"{name}_stop_reason"] = response.stop_reason
        found[f"{name}_input_tokens"] = response.usage.input_tokens
        found[f"{name}_output_tokens"] = response.usage.output_tokens
        found[f"{name}_cost"] = response.cost
        if response.output is not None:
            found[f"{name}_output"] = response.output
        if any(not isinstance(block, Text) for block in response.message.content):
            found[f"{name}_message"] = encode_response(response)["output"]["message"]
    if row.error is not None:
        found[f"{name}_error"] = f"{row.error.type}: {row.error.message}"
    return found
