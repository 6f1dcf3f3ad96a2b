"""A base and data to a plan: what is trained on this machine, and how, before anything is begun."""

from __future__ import annotations

import math
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final, Literal, TypeAlias, get_args, get_origin, get_type_hints

import msgspec

from awsllm.engine.devices import NAMES, is_name
from awsllm.errors import ConfigurationError, UnsupportedError, ValidationError
from awsllm.jobs.data.training import TrainingData
from awsllm.jobs.data.written import local_lines
from awsllm.jobs.job import JobPlan
from awsllm.jobs.local.kind import LocalJobs
from awsllm.jobs.sagemaker import check_attempt
from awsllm.jumpstart import names
from awsllm.jumpstart.plan.plan import Cost
from awsllm.types import JsonObject, Value

LocalMethod: TypeAlias = Literal["lora", "full", "dpo"]
_RATES: dict[str, float] = {"lora": 5e-4, "full": 2e-5, "dpo": 5e-5}
_FEW = 256  # examples; fewer are not packed, so that there are steps enough
_STEPS = 30  # that a training has at least, if its epochs are not given
_MOST_EPOCHS = 10
_DIGEST = 16
_PATIENCE = 10.0  # seconds, with another who lays the same folder out
_BIG = 2**31 - 1
_WHOLE: tuple[tuple[str, int, int], ...] = (
    ("rows", 1, _BIG),
    ("length", 2, _BIG),  # a token, and the one that is predicted by it
    ("rank", 1, 4096),
    ("accumulation", 1, _BIG),
    ("save_every", 1, _BIG),
    ("steps", 1, _BIG),
    ("warm_up", 0, _BIG),
    ("seed", 0, _BIG),
)


_KINDS: Final[Mapping[Any, str]] = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


class LocalTraining(Value, frozen=True, kw_only=True):
    """How to train on this machine. What is None follows from the data. ``rows`` of at most ``length`` tokens are one
    batch; ``evaluate`` is the share of the examples that is held out. ``memory``: whether it is refused, or tried all
    the same, where this machine seems to have too little of it."""

    method: LocalMethod | None = None
    epochs: float | None = None
    steps: int | None = None
    learning_rate: float | None = None
    schedule: Literal["cosine", "wsd", "linear", "constant"] = "cosine"
    warm_up: int | None = None
    rows: int | None = None
    length: int = 1024
    rank: int = 16
    alpha: float | None = None
    dropout: float = 0.0
    accumulation: int = 1
    evaluate: float = 0.0
    save_every: int = 50
    seed: int = 0
    device: str = "cpu"
    checkpointed: bool = False
    merged: bool = True
    memory: Literal["check", "ignore"] = "check"
    precision: Literal["float32", "bfloat16"] = "float32"

    def filled(self, data: TrainingData) -> LocalTraining:
        """With what follows from the data. Raises ``ValidationError`` or ``UnsupportedError`` for what cannot be."""
        method = self.method or ("dpo" if data.form == "preference" else "lora")
        if method == "dpo":
            data.check_form("preference", what="method='dpo'")
        else:
            data.check_form("chat", "text", what=f"method={method!r}")
        if method not in _RATES:
            raise UnsupportedError(f"a model is trained here by {', '.join(_RATES)}, not {method!r:.40}")
        rows = self.rows or (4 if len(data) < _FEW else 8)
        epochs = self.epochs
        if epochs is None and self.steps is None:
            enough = math.ceil(_STEPS * rows * self.accumulation / len(data))
            epochs = float(min(_MOST_EPOCHS, max(3, enough)))
        rate = _RATES[method] if self.learning_rate is None else self.learning_rate
        _check(self, rate, epochs)
        data.split(self.evaluate)  # or it raises
        return msgspec.structs.replace(self, method=method, rows=rows, epochs=epochs, learning_rate=rate)


def _check(training: LocalTraining, rate: float, epochs: float | None) -> None:
    if training.steps is not None and training.epochs is not None:
        raise ValidationError("how long it trains is said by steps= or by epochs=, not by both")
    if not 0 < rate < 1:
        raise ValidationError(f"learning_rate={rate!r} is no number between 0 and 1")
    if epochs is not None and not 0 < epochs < 1e4:
        raise ValidationError(f"epochs={epochs!r} is no number above 0")
    for name, least, most in _WHOLE:
        value = getattr(training, name)
        if value is not None and not least <= value <= most:
            raise ValidationError(f"{_called(name)}={value!r} is no whole number from {least} to {most}")
    if not 0 <= training.dropout < 1:
        raise ValidationError(f"dropout={training.dropout!r} is no share from 0 to 1")
    if training.alpha is not None and not 0 < training.alpha < math.inf:
        raise ValidationError(f"alpha={training.alpha!r} is no number above 0")
    if not is_name(training.device):
        raise ValidationError(f"there is no device {training.device!r:.40}; write {NAMES}")


def training_of(options: JsonObject) -> LocalTraining:
    """The options of a local training. Raises ``ValidationError`` that names the one that is none."""
    known = get_type_hints(LocalTraining)
    if unknown := sorted(options.keys() - known):
        near = get_close_matches(unknown[0], known, 1)
        instead = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
        raise ValidationError(f"fine-tuning on this machine has no option {', '.join(unknown)}: {instead}")
    for name, value in options.items():
        try:
            msgspec.convert(value, known[name])
        except msgspec.ValidationError as error:
            raise ValidationError(f"{_called(name)}={value!r:.60} is not {_words(known[name])}") from error
    return msgspec.convert(options, LocalTraining)


def _called(name: str) -> str:
    """An option as callers write it."""
    return "batch_size" if name == "rows" else name


def _words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    if parts := [part for part in get_args(kind) if part is not type(None)]:
        return " or ".join(map(_words, parts))
    return _KINDS[kind]


def plan_local(base: str, path: str, data: TrainingData, training: LocalTraining, **named: Any) -> JobPlan:
    """``path`` is where the model ``base`` lies. ``named``: ``name`` and ``attempt``."""
    filled, attempt = training.filled(data), named.get("attempt", 1)
    check_attempt(attempt)
    request: JsonObject = {"base": base, "path": path, "training": msgspec.structs.asdict(filled)}
    digest = names.digest([base, data.digest, request["training"], attempt], _DIGEST)
    name = named.get("name") or names.job_name(names.slug(base.rpartition("/")[2], 40), digest, attempt)
    return JobPlan(
        region="",
        name=names.check(name, "the training's name"),
        request={**request, "name": name, "digest": digest},
        digest=digest,
        cost=Cost(per_hour=0.0, per_hour_max=0.0, total=0.0, note="on this machine"),
        permissions={},
    )


def lay_out(jobs: LocalJobs, plan: JobPlan, data: TrainingData) -> None:
    """Put data and plan into the folder, unless the job is there already."""
    folder = jobs.folder(plan.name)
    if folder.state() is not None:
        return
    learned, held_out = data.split(plan.request["training"]["evaluate"])
    try:
        folder.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with folder.held(_PATIENCE) as lock:
            if lock is None or folder.state() is not None:
                return  # another was faster; whose the name is, ``follow`` sees
            folder.write(folder.data.name, local_lines(learned))
            if held_out is not None:
                folder.write(folder.held_out.name, local_lines(held_out))
            folder.write_plan(plan.request)
    except OSError as error:
        raise ConfigurationError(
            f"{folder.path} cannot hold a training ({error.strerror}): set AWSLLM_JOBS to another folder"
        ) from error
