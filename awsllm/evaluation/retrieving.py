"""Knowledge bases in a model's place: what one finds, and what a model writes of it.

Jobs of Bedrock's evaluate both, in forms of their own: a record has ``conversationTurns``, of which there is one here,
and so has each line of the result. Datasets: docs.aws.amazon.com/bedrock/latest/userguide,
knowledge-base-evaluation-prompt-retrieve and -retrieve-generate; names of metrics: CreateEvaluationJob's documentation
of ``metricNames``, both read 2026-11-27. The results' form is unproved: AWS's guide has no page of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from awsllm.aws.iam import Arns, statement
from awsllm.errors import ConfigurationError, UnsupportedError
from awsllm.evaluation.cases import EvaluationCase
from awsllm.evaluation.metrics import EvaluatedAnswer
from awsllm.types import JsonObject, Value

if TYPE_CHECKING:
    from awsllm import Client

_PARAMETERS = {"max_tokens": "maxTokens", "temperature": "temperature", "top_p": "topP"}
_OF_PASSAGES = frozenset(("Builtin.ContextRelevance", "Builtin.ContextCoverage"))
_OF_ANSWERS = frozenset(
    (
        *("Builtin.Correctness", "Builtin.Completeness", "Builtin.Helpfulness", "Builtin.LogicalCoherence"),
        *("Builtin.Faithfulness", "Builtin.CitationPrecision", "Builtin.CitationCoverage"),
        *("Builtin.Harmfulness", "Builtin.Stereotyping", "Builtin.Refusal"),
    )
)


class KnowledgeBaseSource(Value, frozen=True, kw_only=True):
    """In a model's place: a knowledge base of Bedrock's, by its id or ARN. With ``model``, a reference, that one writes
    the answer (retrieve and generate); without, what is evaluated are the passages found (retrieve only), of which
    there are ``number_of_results`` at most. ``name`` is what reports call it."""

    knowledge_base: str
    model: str | None = None
    number_of_results: int | None = None
    name: str | None = None

    @property
    def title(self) -> str:
        """In a report."""
        return self.name or self.knowledge_base.rpartition("/")[2] + (f" and {self.model}" if self.model else "")

    def answer(self, client: Client, case: EvaluationCase, call: Mapping[str, Any]) -> EvaluatedAnswer:
        """What it has on a case. ``call`` are the options for the models. Raises what the call does."""
        _check_plain(case)
        began = perf_counter()
        searched: Any = {} if self.number_of_results is None else {"number_of_results": self.number_of_results}
        if self.model is None:
            found = client.retrieve(self.knowledge_base, case.prompt, **searched)
            return EvaluatedAnswer(text=_joined(one.text for one in found.results), latency=perf_counter() - began)
        known: Any = {name: call[name] for name in (*_PARAMETERS, "stop_sequences") if call.get(name) is not None}
        said = client.retrieve_and_generate(
            self.model, case.prompt, knowledge_base=self.knowledge_base, **searched, **known
        )
        return EvaluatedAnswer(text=said.text, latency=perf_counter() - began)


def _joined(passages: Any) -> str:
    return "\n\n".join(filter(None, passages))


def _check_plain(case: EvaluationCase) -> None:
    if case.messages or case.tools or case.system:
        raise UnsupportedError(
            f"case {case.id} has a system prompt, several turns or tools; a knowledge base is asked a prompt in one "
            "text"
        )


# --- jobs of Bedrock's -----------------------------------------------------------------------------------------------


def turn_line(case: EvaluationCase) -> JsonObject:
    """A case as a record of the dataset. Raises ``UnsupportedError`` for what it has no place for."""
    _check_plain(case)
    turn: JsonObject = {"prompt": {"content": [{"text": case.prompt}]}}
    if case.alternatives:
        turn["referenceResponses"] = [{"content": [{"text": case.alternatives[0]}]}]
    return {"conversationTurns": [turn]}


def check_metrics(source: KnowledgeBaseSource, metrics: Sequence[str], cases: Sequence[EvaluationCase]) -> None:
    """Raises ``ConfigurationError`` for what Bedrock does not score of passages, or of answers."""
    known = _OF_ANSWERS if source.model else _OF_PASSAGES
    other = sorted(set(metrics) - known)
    if other:
        what = f"answers of {source.title}" if source.model else f"passages of {source.title}, which has no model="
        raise ConfigurationError(f"{other[0]} is not scored of {what}; there are {', '.join(sorted(known))}")
    if "Builtin.ContextCoverage" in metrics:
        bare = next((case for case in cases if not case.alternatives), None)
        if bare is not None:
            raise ConfigurationError(f"Builtin.ContextCoverage needs what is expected, and case {bare.id} says nothing")


def rag_config(source: KnowledgeBaseSource, region: str, options: Mapping[str, Any]) -> JsonObject:
    """A ``ragConfigs`` of CreateEvaluationJob."""
    base = source.knowledge_base.rpartition("/")[2]
    count = {} if source.number_of_results is None else {"numberOfResults": source.number_of_results}
    search = {"vectorSearchConfiguration": count}
    if source.model is None:
        retrieve = {"knowledgeBaseId": base, "knowledgeBaseRetrievalConfiguration": search}
        return {"knowledgeBaseConfig": {"retrieveConfig": retrieve}}
    from awsllm.calls.knowledge import foundation_model_arn

    made: JsonObject = {"knowledgeBaseId": base, "modelArn": foundation_model_arn(source.model, lambda: region)}
    if count:
        made["retrievalConfiguration"] = search
    inference = {wire: options[name] for name, wire in _PARAMETERS.items() if options.get(name) is not None}
    if inference:
        made["generationConfiguration"] = {"kbInferenceConfig": {"textInferenceConfig": inference}}
    generate = {"type": "KNOWLEDGE_BASE", "knowledgeBaseConfiguration": made}
    return {"knowledgeBaseConfig": {"retrieveAndGenerateConfig": generate}}


def searching(source: KnowledgeBaseSource, arns: Arns) -> list[JsonObject]:
    """What the job's role needs beside its models (the guide's rag-eval-service-roles, read 2026-11-27)."""
    base = source.knowledge_base
    arn = base if base.startswith("arn:") else arns.of("bedrock", f"knowledge-base/{base}")
    found = [statement("Retrieve", "bedrock:Retrieve", arn)]
    if source.model is not None:  # an action that knows no resource
        found.append(statement("RetrieveAndGenerate", "bedrock:RetrieveAndGenerate", "*"))
    return found


def reading_passages(config: JsonObject) -> JsonObject:
    """An ``evaluationConfig`` whose rubrics are for what was found, which Bedrock calls ``context`` and not
    ``prediction``."""
    custom = config["automated"].get("customMetricConfig")
    if custom is None:
        return config
    metrics = [one["customMetricDefinition"] for one in custom["customMetrics"]]
    read = [{**one, "instructions": one["instructions"].replace("{{prediction}}", "{{context}}")} for one in metrics]
    made = {**custom, "customMetrics": [{"customMetricDefinition": one} for one in read]}
    return {"automated": {**config["automated"], "customMetricConfig": made}}


def as_model_line(line: JsonObject) -> JsonObject:
    """A line of a knowledge base's result in the form of a model's."""
    (turn,) = line["conversationTurns"]
    prompt = turn["inputRecord"]["prompt"]["content"][0]["text"]
    output = turn.get("output") or {}
    passages = output.get("retrievedPassages") or output.get("retrievedResults") or {}
    found = [one["content"]["text"] for one in passages.get("retrievalResults") or ()]
    said = output.get("text")
    answered = said is not None or found or passages
    return {
        "inputRecord": {"prompt": prompt},
        "automatedEvaluationResult": {"scores": turn["results"]},
        "modelResponses": [{"response": said if said is not None else _joined(found)}] if answered else [],
    }
