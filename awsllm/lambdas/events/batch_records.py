"""The records of a finished batch inference job: what came of each, joined on their ids.

Outputs come in any order and repeat their inputs; a record that has no output (the job was stopped, or out of time) is
found in the input alone. One without a ``recordId`` was given one in the output, so it is found by its body.

Forms: bedrock/latest/userguide, batch-inference-data and batch-inference-results, read 2026-11-26: each ``NAME.jsonl``
gives ``OUTPUT/JOB_ID/NAME.jsonl.out``, beside ``manifest.json.out`` with the counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from awsllm.lambdas.events.envelopes import json_or_none
from awsllm.lambdas.events.s3_objects import ObjectPlace, S3Objects, place_of
from awsllm.types import JsonObject, Value

_SUFFIX = ".jsonl"
_PASSING = frozenset((408, 409, 424, 429))
"""Statuses below 500 of errors that may pass; 424 is a model's own failure."""


class BatchRecord(Value, frozen=True):
    """One record: ``output`` is the model's, ``error`` its ``{"errorCode", "errorMessage"}``; neither where the job
    ended before it."""

    id: str | None
    input: JsonObject
    output: JsonObject | None = None
    error: JsonObject | None = None

    @property
    def may_pass(self) -> bool:
        """Whether it may succeed when it is tried again."""
        if self.error is None:
            return self.output is None
        code = self.error.get("errorCode")
        return not isinstance(code, int) or code >= 500 or code in _PASSING

    def line(self) -> bytes:
        """It as a line of JSON, with what came of it."""
        named = {"recordId": self.id} if self.id else {}
        ends = {"modelOutput": self.output, "error": self.error}
        known = {name: value for name, value in ends.items() if value is not None}
        return msgspec.json.encode({**named, "modelInput": self.input, **known}) + b"\n"


class BatchFiles:
    """The files of one job, by what GetModelInvocationJob says of it. ``tick`` is called with each line, and may raise
    to end the reading."""

    def __init__(self, objects: S3Objects, job: JsonObject, tick: Callable[[], None]) -> None:
        self._objects, self._tick = objects, tick
        self._input = str(job["inputDataConfig"]["s3InputDataConfig"]["s3Uri"])
        output = str(job["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"]).rstrip("/")
        self.output = f"{output}/{str(job['jobArn']).rpartition('/')[2]}/"

    def records(self) -> Iterator[BatchRecord]:
        """Every record of the job, first those with an output or an error, in the order in which they lie there."""
        seen: set[str] = set()
        for place in self._beneath(self.output, f"{_SUFFIX}.out"):
            for line in self._lines(place):
                seen |= {str(line.get("recordId")), _digest(line.get("modelInput"))}
                yield _record(line)
        for place in self._beneath(self._input, _SUFFIX):
            for line in self._lines(place):
                name = line.get("recordId")
                if (str(name) if name else _digest(line.get("modelInput"))) not in seen:
                    yield _record({"recordId": name, "modelInput": line.get("modelInput")})

    def manifest(self) -> JsonObject:
        """The counts that the service wrote, empty where it wrote none."""
        places = self._beneath(self.output, "manifest.json.out")
        return next((line for place in places for line in self._lines(place)), {})

    def _beneath(self, uri: str, suffix: str) -> list[ObjectPlace]:
        place = place_of(uri)
        keys = self._objects.beneath(place.bucket, place.key)
        folder = f"{place.key.rstrip('/')}/"
        found = [key for key in keys if (key == place.key or key.startswith(folder)) and key.endswith(suffix)]
        return [ObjectPlace(place.bucket, key) for key in found]

    def _lines(self, place: ObjectPlace) -> Iterator[JsonObject]:
        for line in self._objects.lines(place):
            self._tick()
            value = json_or_none(line)
            if isinstance(value, dict):
                yield value


def _record(line: JsonObject) -> BatchRecord:
    body, output, error = (line.get(name) for name in ("modelInput", "modelOutput", "error"))
    name = line.get("recordId")
    return BatchRecord(
        str(name) if name else None,
        body if isinstance(body, dict) else {},
        output if isinstance(output, dict) else None,
        error if isinstance(error, dict) else None,
    )


def _digest(body: Any) -> str:
    return hashlib.blake2b(msgspec.json.encode(body, order="deterministic"), digest_size=16).hexdigest()
