"""What an evaluation job does: reads its prompts in S3, asks the model, scores the answers, writes them beside.

Each line of the dataset has ``prompt``, and may have ``referenceResponse``, ``category`` and, where the answers are
there already, ``modelResponses``; of a knowledge base ``conversationTurns`` (``rag_run``). For each dataset a file of
JSON Lines says ``automatedEvaluationResult``, ``inputRecord`` and ``modelResponses``. Forms:
docs.aws.amazon.com/bedrock/latest/userguide, model-evaluation-prompt-datasets-judge and model-evaluation-report-s3,
read 2026-11-27.

What is scored is scored for real. Accuracy is F1 for questions, equality for classes, and for general text whether
the reference is in it; the model that judges is asked, in words of this server's own, and what it says that is no
verdict is no score. Robustness, toxicity and the accuracy of summaries take models that are not here: such a job fails.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import msgspec

from awsllm.errors import AwsllmError, ConfigurationError, ServerError
from awsllm.evaluation import texts
from awsllm.server.account.account import Region
from awsllm.server.account.bedrock import rag_run
from awsllm.server.account.bedrock.resolve import family_of
from awsllm.server.account.jobs import JobFailure, JobRecord, check_stopped, read_under, write
from awsllm.server.surfaces.bedrock import plan
from awsllm.server.work import Ask, Incoming
from awsllm.tools.typed import json_values
from awsllm.types import JsonObject
from awsllm.wire.reading import JSON

_MOST = 1_000
_SCALE = 5
_BUILTIN = "Builtin."
_COMPUTED = frozenset(("Accuracy", "Robustness", "Toxicity"))
_ACCURACY: Mapping[str, Callable[[str, str], float]] = {
    "QuestionAndAnswer": texts.f1,
    "Classification": lambda answer, expected: float(texts.normalised(answer) == texts.normalised(expected)),
    "Generation": lambda answer, expected: float(texts.normalised(expected) in texts.normalised(answer)),
}


def run(region: Region, job: JobRecord) -> str | None:
    config = job.request["evaluationConfig"].get("automated")
    if config is None:
        raise JobFailure("Offline, there are no people to rate answers.")
    if "ragConfigs" in job.request["inferenceConfig"]:
        _run_source(region, job, config)
        return None
    (model,) = job.request["inferenceConfig"]["models"]
    place = f"{job.request['outputDataConfig']['s3Uri'].rstrip('/')}/{job.name}/{uuid.uuid4()}"
    for one in config["datasetMetricConfigs"]:
        _check_metrics(one, config)
        records = list(_records(region, one["dataset"]))
        lines = []
        for record in records:
            check_stopped(region, job)
            lines.append(msgspec.json.encode(_line(region, record, model, (one, config))))
        _write(region, f"{place}/models/{_name(model)}", one, lines)
    return None


def _write(region: Region, place: str, one: JsonObject, lines: list[bytes]) -> None:
    folder = f"{place}/taskTypes/{one['taskType']}/datasets/{one['dataset']['name']}"
    write(region, f"{folder}/{uuid.uuid4()}_output.jsonl", b"\n".join(lines) + b"\n")


def _run_source(region: Region, job: JobRecord, config: JsonObject) -> None:
    """Ask a knowledge base, and judge what it found or what a model wrote of it."""
    (source,) = job.request["inferenceConfig"]["ragConfigs"]
    place = f"{job.request['outputDataConfig']['s3Uri'].rstrip('/')}/{job.name}/{uuid.uuid4()}"
    for one in config["datasetMetricConfigs"]:
        _check_metrics(one, config)
        rag_run.check_metrics(source, one["metricNames"])
        lines = []
        for number, line in _lines(region, one["dataset"]):
            check_stopped(region, job)
            turns = []
            for turn, output in rag_run.answered(region, source, rag_run.turns_of(number, line, source)):
                record = rag_run.judged_as(turn, output)
                answer = rag_run.read(source, output)
                scores = list(_scores(region, record, answer, (one, config)))
                turns.append({"inputRecord": turn, "output": output, "results": scores})
            lines.append(msgspec.json.encode({"conversationTurns": turns}))
        _write(region, f"{place}/inference_configs/{rag_run.base_of(source)}", one, lines)


def _name(model: JsonObject) -> str:
    """The model's folder; an ARN's last part."""
    if "bedrockModel" in model:
        return str(model["bedrockModel"]["modelIdentifier"]).rpartition("/")[2]
    return str(model["precomputedInferenceSource"]["inferenceSourceIdentifier"])


def _line(region: Region, record: JsonObject, model: JsonObject, configs: tuple[JsonObject, JsonObject]) -> JsonObject:
    identifier = _name(model)
    if "bedrockModel" in model:
        answer = _answer(region, record["prompt"], model["bedrockModel"])
        responses = [{"response": answer, "modelIdentifier": identifier}]
    else:
        responses = record.get("modelResponses") or [{}]
        answer = responses[0].get("response")
        if len(responses) != 1 or not isinstance(answer, str) or responses[0].get("modelIdentifier") != identifier:
            raise JobFailure(
                f"Each record of the dataset needs one modelResponses, whose modelIdentifier is {identifier}."
            )
    scores = [] if answer is None else list(_scores(region, record, answer, configs))
    return {
        "automatedEvaluationResult": {"scores": scores},
        "inputRecord": record,
        "modelResponses": responses,
    }


# --- what is read ----------------------------------------------------------------------------------------------------


def _lines(region: Region, dataset: JsonObject) -> Iterator[tuple[int, bytes]]:
    uri = dataset.get("datasetLocation", {}).get("s3Uri")
    if uri is None:
        raise JobFailure(f"The dataset {dataset['name']} is not offline: give one in S3 (datasetLocation).")
    found = read_under(region, uri).get(uri)
    if found is None or not uri.endswith(".jsonl"):
        raise JobFailure(f"There is no .jsonl file at {uri}.")
    lines = [(number, line) for number, line in enumerate(found.splitlines(), 1) if line.strip()]
    if not 0 < len(lines) <= _MOST:
        raise JobFailure(f"The dataset has {len(lines)} prompts; it may have 1 to {_MOST}.")
    yield from lines


def _records(region: Region, dataset: JsonObject) -> Iterator[JsonObject]:
    for number, line in _lines(region, dataset):
        try:
            record = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError):
            record = None
        if not isinstance(record, dict) or not isinstance(record.get("prompt"), str):
            raise JobFailure(f"Line {number} of the dataset is no JSON object with a prompt, which is a text.")
        yield record


def _check_metrics(one: JsonObject, config: JsonObject) -> None:
    """Raise ``JobFailure`` for metrics that cannot be told here."""
    custom = [metric["customMetricDefinition"]["name"] for metric in _custom(config)]
    for metric in one["metricNames"]:
        name = metric.removeprefix(_BUILTIN)
        if name in _COMPUTED and (name != "Accuracy" or one["taskType"] not in _ACCURACY):
            raise JobFailure(f"Offline, {metric} of {one['taskType']} is not computed.")
        if name not in _COMPUTED and metric not in custom and "evaluatorModelConfig" not in config:
            raise JobFailure(f"The metric {metric} needs an evaluatorModelConfig.")
        if not metric.startswith(_BUILTIN) and metric not in custom:
            raise JobFailure(f"The metric {metric} is not defined.")


def _custom(config: JsonObject) -> list[JsonObject]:
    return [
        one for one in config.get("customMetricConfig", {}).get("customMetrics", ()) if "customMetricDefinition" in one
    ]


# --- what is asked ---------------------------------------------------------------------------------------------------


def _answer(region: Region, prompt: str, model: JsonObject) -> str | None:
    """None where the model refuses: then the record has no response."""
    given = _parameters(model.get("inferenceParams"))
    try:
        return _converse(region, model["modelIdentifier"], prompt, given)
    except ConfigurationError:
        raise  # what is missing here is not the record's fault
    except AwsllmError:
        return None


def _parameters(text: str | None) -> JsonObject:
    """Converse's members, and beside them those of the model's own."""
    try:
        given = msgspec.json.decode(text) if text else {}
    except msgspec.DecodeError:
        given = None
    if not isinstance(given, dict):
        raise JobFailure("inferenceParams is no JSON object.")
    known = {name: given.pop(name) for name in ("inferenceConfig", "additionalModelRequestFields") if name in given}
    return known | ({"additionalModelRequestFields": given} if given else {})


def _converse(region: Region, model: str, prompt: str, members: JsonObject) -> str:
    """No lock is held while the model computes."""
    account = region.account
    if account.backend is None:
        raise ServerError("no model answers behind this control plane")
    body = msgspec.json.encode({**members, "messages": [{"role": "user", "content": [{"text": prompt}]}]})
    incoming = Incoming("POST", "", {"content-type": JSON}, body, family=family_of(region, model))
    work = cast("Ask[Any]", plan("converse", model, incoming))  # it does not stream
    reply = work.encode(account.backend.ask(account.models.rename(work.request)))
    content = msgspec.json.decode(reply.body)["output"]["message"]["content"]
    return "".join(block.get("text", "") for block in content)


def _scores(
    region: Region, record: JsonObject, answer: str, configs: tuple[JsonObject, JsonObject]
) -> Iterator[JsonObject]:
    one, config = configs
    custom = {metric["customMetricDefinition"]["name"]: metric["customMetricDefinition"] for metric in _custom(config)}
    for metric in one["metricNames"]:
        if metric == f"{_BUILTIN}Accuracy":
            expected = str(record.get("referenceResponse") or "")
            yield {"metricName": "Accuracy", "result": _ACCURACY[one["taskType"]](answer, expected)}
        elif metric in custom:
            judge = config["customMetricConfig"]["evaluatorModelConfig"]["bedrockEvaluatorModels"][0]["modelIdentifier"]
            yield _judged(region, metric, judge, _custom_question(custom[metric], record, answer))
        else:
            judge = config["evaluatorModelConfig"]["bedrockEvaluatorModels"][0]["modelIdentifier"]
            yield _judged(region, metric, judge, _builtin_question(metric, record, answer))


def _builtin_question(metric: str, record: JsonObject, answer: str) -> tuple[str, Mapping[str, Any]]:
    """What the judge is asked, and what each of its verdicts is worth."""
    asked = f"Judge the {metric.removeprefix(_BUILTIN)} of an answer from 1 (none) to {_SCALE} (nothing is missing)."
    verdicts = {str(points): (points - 1) / (_SCALE - 1) for points in range(1, _SCALE + 1)}
    expected = record.get("referenceResponse")
    reference = f"\n\nExpected answer: {expected}" if expected else ""
    found = f"\n\nPassages that were found: {record['context']}" if "context" in record else ""
    said = f"\n\nAnswer: {answer}" if answer or not found else ""
    return f"{asked}\n\nQuestion: {record['prompt']}{reference}{found}{said}", verdicts


def _custom_question(definition: JsonObject, record: JsonObject, answer: str) -> tuple[str, Mapping[str, Any]]:
    variables = {
        "prompt": record["prompt"],
        "prediction": answer,
        "ground_truth": record.get("referenceResponse", ""),
        "context": record.get("context", ""),
    }
    pieces = definition["instructions"].split("{{")
    question = (
        pieces[0]
        + "".join(  # one pass: what an answer says of variables is no variable
            f"{variables.get(piece.partition('}}')[0].strip(), '')}{piece.partition('}}')[2]}" for piece in pieces[1:]
        )
    )
    scale = definition.get("ratingScale", ())
    return question, {item["definition"]: next(iter(item["value"].values())) for item in scale}


def _judged(region: Region, metric: str, judge: str, question: tuple[str, Mapping[str, Any]]) -> JsonObject:
    """The score of one answer; null where what the judge says is no verdict."""
    asked, verdicts = question
    choice = f", one of {', '.join(map(repr, verdicts))}" if verdicts else ""
    form = f'\n\nReply with a JSON object alone: {{"reason": why, "verdict": your verdict{choice}}}.'
    try:
        said = _converse(region, judge, asked + form, {})
    except ConfigurationError:
        raise
    except AwsllmError:
        said = ""
    found = next((value for value in json_values(said) if isinstance(value, dict) and "verdict" in value), {})
    verdict = found.get("verdict")
    result = verdicts.get(str(verdict)) if verdicts else verdict
    details = {"modelIdentifier": judge, "explanation": str(found.get("reason") or said)}
    return {"metricName": metric, "result": result, "evaluatorDetails": [details]}
