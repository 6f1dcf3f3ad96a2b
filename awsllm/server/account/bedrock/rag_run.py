"""What an evaluation job asks of a knowledge base of the account, and what it writes of it.

Each line of the dataset has ``conversationTurns``: of passages one, of answers five at most, each with a ``prompt`` and
``referenceResponses`` (docs.aws.amazon.com/bedrock/latest/userguide, knowledge-base-evaluation-prompt, read
2026-11-27). The form of results, and the folder they lie in, are unproved: AWS's guide has no page of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from awsllm.errors import AwsllmError, ConfigurationError, RequestError, ServerError, ValidationError
from awsllm.server.account.account import Region
from awsllm.server.account.jobs import JobFailure
from awsllm.types import JsonObject
from awsllm.wire.agents import generation, retrieval

_MOST_TURNS = 5
_OF_PASSAGES = frozenset(("Builtin.ContextRelevance", "Builtin.ContextCoverage"))


def base_of(source: JsonObject) -> str:
    """The id of the knowledge base; empty for answers that are there already."""
    found = source.get("knowledgeBaseConfig", {})
    generate = found.get("retrieveAndGenerateConfig", {}).get("knowledgeBaseConfiguration")
    return str((generate or found.get("retrieveConfig") or {}).get("knowledgeBaseId", ""))


def _generates(source: JsonObject) -> bool:
    return "retrieveAndGenerateConfig" in source.get("knowledgeBaseConfig", {})


def check_metrics(source: JsonObject, names: Sequence[str]) -> None:
    """Raises ``JobFailure`` for a metric of passages where answers are written, and the other way round."""
    for name in names:
        if name.startswith("Builtin.") and (name in _OF_PASSAGES) == _generates(source):
            kind = "retrieve-and-generate" if _generates(source) else "retrieve-only"
            raise JobFailure(f"The metric {name} is not valid for {kind} evaluation jobs.")


def turns_of(number: int, line: bytes, source: JsonObject) -> list[JsonObject]:
    """Raises ``JobFailure`` for a line that is no record."""
    try:
        turns = msgspec.json.decode(line)["conversationTurns"]
        whole = all(isinstance(prompt_of(turn), str) and isinstance(_reference(turn), str) for turn in turns)
    except (msgspec.DecodeError, RecursionError, KeyError, TypeError, IndexError, AttributeError):
        turns, whole = [], False
    most = _MOST_TURNS if _generates(source) else 1
    if not whole or not 0 < len(turns) <= most:
        raise JobFailure(f"Line {number} of the dataset has no conversationTurns, 1 to {most}, with a prompt each.")
    return list(turns)


def prompt_of(turn: JsonObject) -> Any:
    return turn["prompt"]["content"][0]["text"]


def _reference(turn: JsonObject) -> Any:
    return turn["referenceResponses"][0]["content"][0]["text"] if turn.get("referenceResponses") else ""


def answered(region: Region, source: JsonObject, turns: list[JsonObject]) -> Iterator[tuple[JsonObject, JsonObject]]:
    """Each turn with what the knowledge base has on it. Raises ``JobFailure`` where there is none."""
    if not base_of(source):
        raise JobFailure("Offline, answers of another RAG source are not evaluated.")
    session = None
    for turn in turns:
        try:
            if _generates(source):
                output, session = _generated(region, source, prompt_of(turn), session)
            else:
                output = _retrieved(region, source["knowledgeBaseConfig"]["retrieveConfig"], prompt_of(turn))
        except (RequestError, ValidationError) as error:
            raise JobFailure(f"The knowledge base {base_of(source)} could not be asked: {error.message}") from error
        yield turn, output


def _retrieved(region: Region, config: JsonObject, prompt: str) -> JsonObject:
    base = config["knowledgeBaseId"]
    wire = {"retrievalQuery": {"text": prompt}, "retrievalConfiguration": config["knowledgeBaseRetrievalConfiguration"]}
    found = retrieval.encode_response(_ask(region, retrieval.decode_retrieve(base, wire)))
    return {"knowledgeBaseIdentifier": base, "retrievedResults": {"retrievalResults": found["retrievalResults"]}}


def _generated(region: Region, source: JsonObject, prompt: str, session: str | None) -> tuple[JsonObject, str | None]:
    config = source["knowledgeBaseConfig"]["retrieveAndGenerateConfig"]
    wire: JsonObject = {"input": {"text": prompt}, "retrieveAndGenerateConfiguration": _as_runtime(config)}
    if session is not None:
        wire["sessionId"] = session
    found = _ask(region, generation.decode_request(wire))
    said = generation.encode_response(found)
    citations = said.get("citations") or []
    passages = [reference for one in citations for reference in one.get("retrievedReferences") or ()]
    base = config["knowledgeBaseConfiguration"]
    output = {
        "text": said["output"]["text"],
        "knowledgeBaseIdentifier": base["knowledgeBaseId"],
        "modelIdentifier": base["modelArn"],
        "retrievedPassages": {"retrievalResults": passages},
        "citations": citations,
    }
    return output, found.session_id


def _as_runtime(config: JsonObject) -> JsonObject:
    """The runtime calls ``inferenceConfig`` what an evaluation calls ``kbInferenceConfig``."""
    base = config["knowledgeBaseConfiguration"]
    how = dict(base.get("generationConfiguration") or {})
    if (inference := how.pop("kbInferenceConfig", None)) is not None:
        how["inferenceConfig"] = inference
    return {**config, "knowledgeBaseConfiguration": {**base, **({"generationConfiguration": how} if how else {})}}


def _ask(region: Region, request: Any) -> Any:
    """No lock is held while a model computes."""
    backend = region.account.backend_in(region.name)
    if backend is None:
        raise ServerError("no model answers behind this control plane")
    try:
        return backend.ask(request)
    except (RequestError, ValidationError, ConfigurationError):
        raise
    except AwsllmError as error:
        raise JobFailure(f"A model could not be asked: {type(error).__name__}") from error


def judged_as(turn: JsonObject, output: JsonObject) -> JsonObject:
    """The turn as a judge is shown it."""
    found = output.get("retrievedResults") or output.get("retrievedPassages") or {}
    texts = [str((one.get("content") or {}).get("text") or "") for one in found.get("retrievalResults") or ()]
    return {"prompt": prompt_of(turn), "referenceResponse": _reference(turn), "context": "\n\n".join(texts)}


def read(source: JsonObject, output: JsonObject) -> str:
    """The answer; of passages there is none."""
    return str(output["text"]) if _generates(source) else ""
