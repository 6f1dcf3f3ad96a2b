"""The same call within Ray Data, Spark and Dask, for whoever outgrows one machine.

Each adapter is the engine's own kind of callable over one block of rows; a client is made once in each process that
works, of arguments that can be pickled. Within a block, ``concurrency`` calls are made at once, under that client's
policy; to share a quota among processes, give ``client={"limits": …}`` a store that they share. A record that fails
keeps its error in its row, and fails nothing else. These engines run a lost task again, and its records are paid again
unless the client keeps answers (``response_cache``).

    ds.map_batches(awsllm.batch_for_ray(model, prompt="Summarise: {text}"))
    df.select("*", awsllm.batch_for_spark(model, prompt="Summarise: {text}")("text").alias("answers"))
    awsllm.batch_for_dask(model, prompt="Summarise: {text}")(ddf)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Unpack, cast

import msgspec

from awsllm.calls.options import check_names
from awsllm.errors import ConfigurationError, ValidationError
from awsllm.jobs.batch.answers import COLUMNS, decode_answer, output_row
from awsllm.jobs.batch.calls import RecordAsking, asked
from awsllm.jobs.batch.ledger import RecordOutcome, Waiting
from awsllm.jobs.batch.options import BatchOptions
from awsllm.jobs.batch.records import PromptTemplate, RecordReader
from awsllm.jobs.batch.values import BatchRow, RecordError
from awsllm.types import JsonObject, Value

if TYPE_CHECKING:
    from awsllm.types import ConverseResponse

_TAKEN = ("concurrency", "attempts", "answer")
_PAUSE = 1.0  # seconds before a record is asked again

MakeClient = Callable[..., Any]


class BlockCall(Value, frozen=True, kw_only=True):
    """What is asked of each row of a block: all that a process needs to know, and can be sent there. ``client`` are the
    arguments of the client that is made there."""

    model: Any
    prompt: str
    client: Mapping[str, Any]
    call: Mapping[str, Any]
    answer: str = "answer"
    concurrency: int = 8
    attempts: int = 3
    make: MakeClient | None = None

    @property
    def added(self) -> dict[str, type]:
        """The columns that rows get, with the types of their values."""
        return {f"{self.answer}{ending}": kind for ending, kind in COLUMNS.items()}

    def rows(self, given: Iterable[Mapping[str, Any]]) -> list[JsonObject]:
        """Of each row, the columns that are added, in the rows' order."""
        reader = RecordReader(self.prompt, None, self.answer)
        asked_for = frozenset(PromptTemplate(self.prompt).columns)  # what else there is may be no JSON
        rows = ({name: row[name] for name in asked_for & row.keys()} for row in given)
        records = [reader.record(number, number, row, of_file=True) for number, row in enumerate(rows)]
        client = _client(self)

        def ask(messages: Any, options: JsonObject) -> ConverseResponse:
            return cast("ConverseResponse", client.converse(self.model, messages, **{**self.call, **options}))

        asking = RecordAsking(ask=ask, concurrency=self.concurrency, attempts=self.attempts)
        with ThreadPoolExecutor(self.concurrency) as pool:
            found = list(pool.map(lambda record: _asked(record, asking), records))
        return [self._row(one) for one in found]

    def _row(self, outcome: RecordOutcome) -> JsonObject:
        response = None if outcome.answer is None else decode_answer(outcome.answer, outcome.cost)
        row = BatchRow(id="", number=outcome.number, response=response, error=outcome.error, columns={})
        found = output_row(row, self.answer, ())
        return {name: _cell(found.get(name), kind) for name, kind in self.added.items()}


def _asked(record: Any, asking: RecordAsking) -> RecordOutcome:
    """One record, as often as its errors may pass. Raises what ends all."""
    if record.invalid is not None:
        why = RecordError(type="ValidationError", message=record.invalid)
        return RecordOutcome(number=record.number, error=why)
    last = RecordOutcome(number=record.number)
    for attempt in range(asking.attempts):
        outcome = asked(Waiting(number=record.number, arguments=record.arguments, attempts=attempt), asking)
        if isinstance(outcome, BaseException):
            raise outcome
        last = outcome
        if not outcome.passing:
            break
        time.sleep(_PAUSE * (attempt + 1))
    return last


def _cell(value: Any, kind: type) -> Any:
    return msgspec.json.encode(value).decode() if kind is str and isinstance(value, dict | list) else value


_clients: dict[str, Any] = {}
_lock = threading.Lock()


def _client(call: BlockCall) -> Any:
    """This process's, one for all blocks of the same arguments."""
    key = repr((call.make, sorted(call.client.items(), key=lambda item: item[0])))
    with _lock:
        if key not in _clients:
            if call.make is None:
                from importlib import import_module

                made = import_module("awsllm").Client(**call.client)
            else:
                made = call.make(**call.client)
            _clients[key] = made
        return _clients[key]


def _call(
    model: Any, prompt: str, client: Mapping[str, Any] | MakeClient | None, options: Mapping[str, Any]
) -> BlockCall:
    check_names(options, BatchOptions)
    own = {name: options[name] for name in _TAKEN if name in options}
    unfit = sorted(set(options) & _UNFIT)
    if unfit:
        raise ValidationError(f"{', '.join(unfit)}: an engine has its own way for that")
    PromptTemplate(prompt)
    call = {name: value for name, value in options.items() if name not in own}
    make = client if callable(client) else None
    given = {} if client is None or make is not None else dict(cast("Mapping[str, Any]", client))
    return BlockCall(model=model, prompt=prompt, client=given, call=call, make=make, **own)


_UNFIT = frozenset(
    (
        *(
            "id",
            "ledger",
            "retry_failed",
            "shard",
            "on_invalid",
            "deadline",
            "s3",
            "role",
            "kms",
            "job_hours",
            "job_tags",
        ),
        *("instance_type", "format", "on_progress", "dry_run"),
    )
)


# --- Ray -------------------------------------------------------------------------------------------------------------


def batch_for_ray(
    model: Any,
    *,
    prompt: str,
    client: Mapping[str, Any] | MakeClient | None = None,
    **options: Unpack[BatchOptions],
) -> Callable[[Any], Any]:
    """A function for ``Dataset.map_batches``, in any of its batch formats: it gives the block with columns added
    ("answer", "answer_error" …). ``client`` are a client's arguments, or a function that makes one."""
    call = _call(model, prompt, client, options)

    def answered(batch: Any) -> Any:
        if hasattr(batch, "to_pylist"):  # pyarrow
            import pyarrow

            found = call.rows(batch.to_pylist())
            kinds = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
            for name, kind in call.added.items():
                batch = batch.append_column(name, pyarrow.array([row[name] for row in found], kinds[kind]))
            return batch
        if hasattr(batch, "assign"):  # pandas
            return _frame(call, batch)
        return _columns(call, batch)

    return answered


def _columns(call: BlockCall, batch: Mapping[str, Any]) -> dict[str, Any]:
    """A block as arrays by column: numpy's, whose values are made Python's."""
    import numpy

    names = list(batch)
    lists = [batch[name].tolist() for name in names]
    found = call.rows([dict(zip(names, row, strict=True)) for row in zip(*lists, strict=True)])
    added = {
        name: numpy.array([_number(row[name], kind) for row in found], dtype=float if kind is not str else object)
        for name, kind in call.added.items()
    }
    return {**batch, **added}


def _number(value: Any, kind: type) -> Any:
    return float("nan") if value is None and kind is not str else value


# --- pandas, which Dask and Spark have -------------------------------------------------------------------------------


def _frame(call: BlockCall, frame: Any) -> Any:
    """A frame of pandas with columns added; numbers that may be missing are of its nullable types."""
    found = call.rows(frame.to_dict("records")) if len(frame) else []
    import pandas

    kinds = {str: object, int: "Int64", float: "Float64"}
    added = {
        name: pandas.Series([row[name] for row in found], index=frame.index, dtype=kinds[kind])
        for name, kind in call.added.items()
    }
    return frame.assign(**added)


class BatchForDask:
    """Called with a Dask DataFrame it gives one with columns added, which is computed when Dask computes; called with
    one of pandas it asks at once. For ``map_partitions`` of one's own give ``meta=answers.meta(ddf)``: without it Dask
    tries the function on made-up rows, which would be asked and paid for."""

    def __init__(self, call: BlockCall) -> None:
        self.call = call

    def __call__(self, frame: Any) -> Any:
        if hasattr(frame, "map_partitions"):
            return frame.map_partitions(_partition, self.call, meta=self.meta(frame))
        return _frame(self.call, frame)

    def meta(self, frame: Any) -> Any:
        """The empty frame that says which columns there will be."""
        return _frame(self.call, getattr(frame, "_meta", frame).iloc[:0])


def _partition(frame: Any, call: BlockCall) -> Any:
    return _frame(call, frame)


def batch_for_dask(
    model: Any,
    *,
    prompt: str,
    client: Mapping[str, Any] | MakeClient | None = None,
    **options: Unpack[BatchOptions],
) -> BatchForDask:
    """What gives a Dask DataFrame the columns "answer", "answer_error" and so on. ``client`` are a client's arguments,
    or a function that makes one."""
    return BatchForDask(_call(model, prompt, client, options))


# --- Spark -----------------------------------------------------------------------------------------------------------


def batch_for_spark(
    model: Any,
    *,
    prompt: str,
    client: Mapping[str, Any] | MakeClient | None = None,
    **options: Unpack[BatchOptions],
) -> Any:
    """A ``pandas_udf`` that takes the columns that ``prompt`` names, in that order, and gives a struct with "answer",
    "answer_error" and so on. ``client`` are a client's arguments, or a function that makes one."""
    try:
        from pyspark.sql.functions import pandas_udf
    except ImportError as error:
        raise ConfigurationError("Spark needs pyspark: pip install 'awsllm[spark]'") from error
    import pandas

    call = _call(model, prompt, client, options)
    names = PromptTemplate(prompt).columns
    kinds = {str: "string", int: "long", float: "double"}
    schema = ", ".join(f"{name} {kinds[kind]}" for name, kind in call.added.items())

    def answered(*columns: Any) -> Any:
        rows = zip(*(column.tolist() for column in columns), strict=True)
        found = call.rows([dict(zip(names, row, strict=True)) for row in rows])
        return pandas.DataFrame(found, columns=list(call.added))

    answered.__annotations__ = {"columns": pandas.Series, "return": pandas.DataFrame}
    return pandas_udf(answered, schema)
