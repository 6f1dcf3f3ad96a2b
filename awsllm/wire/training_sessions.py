"""The operations of SageMaker's training sessions, both ways: ``operationConfig`` and ``operationResult``.

Facts of the wire: botocore's service model (``sagemakertrainingsessionruntime``). An operation is a union with one
member, submitted by one call and asked for by another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from awsllm.types import JsonObject
from awsllm.types.training import AdamSettings, SampledSequence, SampleSettings, TrainingDatum, TrainingPass
from awsllm.wire.reading import MalformedError, objects, optional, required, structure

_INTEGERS = frozenset(("target_tokens",))
_LOGPROBS = "logprobs"


# --- data ------------------------------------------------------------------------------------------------------------


def encode_tokens(tokens: Sequence[int]) -> JsonObject:
    return {"chunks": [{"type": "encoded_text", "tokens": list(tokens)}]}


def decode_tokens(wire: JsonObject) -> tuple[int, ...]:
    chunks = objects(wire, "chunks")
    return tuple(token for chunk in chunks for token in _numbers(required(chunk, "tokens", list), int, "tokens"))


def _encode_tensor(name: str, values: Sequence[float]) -> JsonObject:
    kind: Callable[[float], float] = int if name in _INTEGERS else float
    dtype = "int64" if name in _INTEGERS else "float32"
    return {"data": [kind(value) for value in values], "dtype": dtype, "shape": [len(values)]}


def _decode_tensor(wire: JsonObject) -> tuple[float, ...]:
    return _numbers(required(wire, "data", list), float, "data")


def _numbers(values: Sequence[Any], kind: type, name: str) -> tuple[Any, ...]:
    for index, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else int):
            raise MalformedError("must be a number", f"{name}.{index}")
    return tuple(values)


def _encode_datum(datum: TrainingDatum) -> JsonObject:
    inputs = {name: _encode_tensor(name, values) for name, values in datum.loss_inputs.items()}
    return {"modelInput": encode_tokens(datum.tokens), "lossFnInputs": inputs}


def _decode_datum(wire: JsonObject) -> TrainingDatum:
    inputs = optional(wire, "lossFnInputs", dict) or {}
    return TrainingDatum(
        tokens=structure(wire, "modelInput", decode_tokens),
        loss_inputs={name: structure(inputs, name, _decode_tensor) for name in inputs},
    )


# --- training --------------------------------------------------------------------------------------------------------


def encode_pass(
    data: Sequence[TrainingDatum], loss: str, settings: Mapping[str, float], *, backward: bool
) -> JsonObject:
    wire: JsonObject = {"lossFnName": loss, "datumList": list(map(_encode_datum, data))}
    if settings:
        wire["lossFnConfig"] = dict(settings)
    return {"forwardBackward" if backward else "forward": wire}


def decode_pass(wire: JsonObject) -> tuple[tuple[TrainingDatum, ...], str, dict[str, float]]:
    """The data, the loss and its settings, from ``forward`` or ``forwardBackward``."""
    settings = optional(wire, "lossFnConfig", dict) or {}
    data = tuple(map(_decode_datum, objects(wire, "datumList")))
    return data, required(wire, "lossFnName", str), {name: required(settings, name, float) for name in settings}


def encode_pass_result(result: TrainingPass) -> JsonObject:
    return {
        "lossFnOutputType": "ArrayRecord",
        "lossFnOutputs": [{_LOGPROBS: _encode_tensor(_LOGPROBS, values)} for values in result.logprobs],
        "metrics": dict(result.metrics),
        "tokenUsage": {"trainingTokens": result.tokens},
    }


def decode_pass_result(wire: JsonObject) -> TrainingPass:
    outputs = objects(wire, "lossFnOutputs")
    usage = optional(wire, "tokenUsage", dict) or {}
    return TrainingPass(
        logprobs=tuple(structure(each, _LOGPROBS, _decode_tensor) if _LOGPROBS in each else () for each in outputs),
        metrics=decode_metrics(wire),
        tokens=optional(usage, "trainingTokens", int) or 0,
    )


def decode_metrics(wire: JsonObject) -> dict[str, float]:
    metrics = optional(wire, "metrics", dict) or {}
    return {name: required(metrics, name, float) for name in metrics}


def encode_step(adam: AdamSettings) -> JsonObject:
    parameters: JsonObject = {
        "learningRate": adam.learning_rate,
        "beta1": adam.beta1,
        "beta2": adam.beta2,
        "eps": adam.epsilon,
        "weightDecay": adam.weight_decay,
        "gradClipNorm": adam.clip,
    }
    if adam.plus != 1:
        parameters["loraPlusLrRatio"] = adam.plus
    return {"optimizerStep": {"adamParamsConfig": parameters}}


def decode_step(wire: JsonObject) -> AdamSettings:
    given = required(wire, "adamParamsConfig", dict)
    plain = AdamSettings(clip=0.0)
    return AdamSettings(
        learning_rate=required(given, "learningRate", float),
        beta1=_or(optional(given, "beta1", float), plain.beta1),
        beta2=_or(optional(given, "beta2", float), plain.beta2),
        epsilon=_or(optional(given, "eps", float), plain.epsilon),
        weight_decay=_or(optional(given, "weightDecay", float), plain.weight_decay),
        clip=_or(optional(given, "gradClipNorm", float), plain.clip),
        plus=_or(optional(given, "loraPlusLrRatio", float), plain.plus),
    )


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


# --- samples ---------------------------------------------------------------------------------------------------------


def encode_sample(prompt: Sequence[int], settings: SampleSettings, weights: str | None = None) -> JsonObject:
    """``weights``: the ARN of a model package; None: those of the session as they are."""
    drawing: JsonObject = {"maxTokens": settings.max_tokens, "temperature": settings.temperature}
    drawing |= {"topP": settings.top_p} if settings.top_p < 1 else {}
    drawing |= {"topK": settings.top_k} if settings.top_k else {}
    drawing |= {"seed": settings.seed} if settings.seed is not None else {}
    drawing |= {"stop": list(settings.stop)} if settings.stop else {}
    wire: JsonObject = {
        "prompt": encode_tokens(prompt),
        "numSamples": settings.count,
        "samplingParams": drawing,
    }
    return {"sample": wire | ({"modelPackageArn": weights} if weights else {})}


def decode_sample(wire: JsonObject) -> tuple[tuple[int, ...], SampleSettings, str | None]:
    drawing = required(wire, "samplingParams", dict)
    stop = optional(drawing, "stop", list) or []
    settings = SampleSettings(
        count=required(wire, "numSamples", int),
        max_tokens=required(drawing, "maxTokens", int),
        temperature=_or(optional(drawing, "temperature", float), 1.0),
        top_p=_or(optional(drawing, "topP", float), 1.0),
        top_k=max(optional(drawing, "topK", int) or 0, 0),  # -1 is all of them, too
        seed=optional(drawing, "seed", int),
        stop=tuple(str(each) for each in stop),
    )
    return structure(wire, "prompt", decode_tokens), settings, optional(wire, "modelPackageArn", str)


def encode_sampled(sequences: Sequence[SampledSequence], prompt: int) -> JsonObject:
    """``prompt``: how many tokens it has."""
    return {
        "sequences": [
            {
                "stopReason": each.stop_reason,
                "tokens": list(each.tokens),
                "logprobs": list(each.logprobs),
                "tokenUsage": {"prefill": prompt, "decode": len(each.tokens)},
            }
            for each in sequences
        ]
    }


def decode_sampled(wire: JsonObject) -> tuple[SampledSequence, ...]:
    return tuple(
        SampledSequence(
            tokens=_numbers(required(each, "tokens", list), int, "tokens"),
            logprobs=_numbers(optional(each, "logprobs", list) or (), float, "logprobs"),
            stop_reason=required(each, "stopReason", str),
        )
        for each in objects(wire, "sequences")
    )


def encode_scoring(tokens: Sequence[int], weights: str | None = None) -> JsonObject:
    return {"computeLogprobs": {"prompt": encode_tokens(tokens)} | ({"modelPackageArn": weights} if weights else {})}


def encode_scored(logprobs: Sequence[float]) -> JsonObject:
    """One for each token of the prompt: the first, which nothing stands before, has none (sagemaker-train 1.27)."""
    return {"logprobs": [None, *logprobs]}


def decode_scored(wire: JsonObject) -> tuple[float, ...]:
    """Those of all tokens but the first."""
    return _numbers(required(wire, "logprobs", list)[1:], float, "logprobs")
