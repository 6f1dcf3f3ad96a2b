"""The forms in which data are handed on: to this machine's own trainer, to Bedrock, to JumpStart's scripts.

Bedrock takes what the base model was made for (docs.aws.amazon.com/bedrock/latest/userguide, preparing-text-data;
Anthropic's form after platform.claude.com/cookbook, finetuning-on-bedrock; read 2026-11-27).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from awsllm.errors import UnsupportedError
from awsllm.jobs.data.examples import TrainingExample, spoken, system_of
from awsllm.jobs.data.training import TrainingData
from awsllm.types import JsonObject

BedrockForm: TypeAlias = Literal["conversation", "pairs", "anthropic"]


def bedrock_lines(data: TrainingData, form: BedrockForm) -> bytes:
    """JSON Lines for CreateModelCustomizationJob. Raises ``UnsupportedError`` for what the form cannot say."""
    write = _texts if data.form == "text" else _WRITERS[form]
    return _joined(_each(data, write))


def _each(data: TrainingData, write: Callable[[TrainingExample], Any]) -> Iterable[Any]:
    for example in data.examples:
        try:
            yield write(example)
        except UnsupportedError as error:
            raise UnsupportedError(f"{data.source}, line {example.line}: {error.message}") from error


def _joined(records: Iterable[Any]) -> bytes:
    return b"".join(msgspec.json.encode(record) + b"\n" for record in records)


def _conversation(example: TrainingExample) -> JsonObject:
    _check_plain(example)
    system = system_of(example)
    return {
        "schemaVersion": "bedrock-conversation-2024",
        **({"system": [{"text": system}]} if system else {}),
        "messages": [{"role": turn["role"], "content": [{"text": turn["content"]}]} for turn in spoken(example)],
        **example.extra,
    }


def _anthropic(example: TrainingExample) -> JsonObject:
    _check_plain(example)
    system = system_of(example)
    messages = [{"role": turn["role"], "content": turn["content"]} for turn in spoken(example)]
    return {**({"system": system} if system else {}), "messages": messages}


def _pairs(example: TrainingExample) -> JsonObject:
    """One question and its answer; what has more turns is a conversation."""
    turns = spoken(example)
    if len(turns) > 2 or system_of(example):
        return _conversation(example)
    _check_plain(example)
    answered = {"completion": turns[1]["content"]} if len(turns) > 1 else {}
    return {"prompt": turns[0]["content"], **answered}


def _texts(example: TrainingExample) -> JsonObject:
    return {"input": example.text or ""}


def _check_plain(example: TrainingExample) -> None:
    if example.form == "preference":
        raise UnsupportedError("pairs of answers are not trained on in Bedrock's fine-tuning")
    if example.tools or any("tool_calls" in turn or turn["role"] == "tool" for turn in example.turns):
        raise UnsupportedError("calls of tools are not trained on in Bedrock's fine-tuning")


_WRITERS: Mapping[BedrockForm, Callable[[TrainingExample], JsonObject]] = {
    "conversation": _conversation,
    "pairs": _pairs,
    "anthropic": _anthropic,
}


# --- JumpStart -------------------------------------------------------------------------------------------------------

JUMPSTART_TEMPLATE: JsonObject = {"prompt": "{prompt}", "completion": "{completion}"}
"""``template.json`` beside the data: how its members make a prompt and what is to be written."""


def jumpstart_lines(data: TrainingData) -> bytes:
    """Prompts and completions. Raises ``UnsupportedError`` for what has more than a question and its answer."""
    return _joined(_each(data, _question))


def _question(example: TrainingExample) -> JsonObject:
    turns = spoken(example)
    if example.form != "chat" or len(turns) != 2 or example.tools:
        raise UnsupportedError("JumpStart's training scripts take one question and its answer a line")
    prompt = "\n\n".join(filter(None, (system_of(example), str(turns[0]["content"]))))
    return {"prompt": prompt, "completion": turns[1]["content"]}


# --- serverless customisation ----------------------------------------------------------------------------------------

Technique: TypeAlias = Literal["SFT", "DPO", "RLVR", "RLAIF"]
"""SageMaker's words for how a model learns: from answers, pairs of them, what a function judges, what a model does."""


def serverless_lines(data: TrainingData, technique: Technique, *, nova: bool = False) -> bytes:
    """JSON Lines for SageMaker's serverless customisation (docs.aws.amazon.com/sagemaker/latest/dg, its pages
    customizing-models-sft, -dpo and -rft, for Amazon's own models nova-dpo; read 2026-11-27). Raises
    ``UnsupportedError`` for what it cannot say."""
    if technique in ("RLVR", "RLAIF"):
        return _joined(_each(data, lambda example: _judged(example, technique)))
    ways = {"SFT": (_messages, _conversation), "DPO": (_two_answers, _candidates)}
    return _joined(_each(data, ways[technique][nova]))


def _messages(example: TrainingExample) -> JsonObject:
    _check_spoken(example)
    return {"messages": [{"role": turn["role"], "content": turn["content"]} for turn in example.turns]}


def _two_answers(example: TrainingExample) -> JsonObject:
    _check_spoken(example)
    before = [{"role": turn["role"], "content": turn["content"]} for turn in example.turns]
    answers = {"chosen": example.chosen, "rejected": example.rejected}
    return {name: [*before, {"role": "assistant", "content": text}] for name, text in answers.items()}


def _candidates(example: TrainingExample) -> JsonObject:
    _check_spoken(example)
    system = system_of(example)
    labelled = (("preferred", example.chosen), ("non-preferred", example.rejected))
    candidates = [{"content": [{"text": text}], "preferenceLabel": label} for label, text in labelled]
    turns = [{"role": turn["role"], "content": [{"text": turn["content"]}]} for turn in spoken(example)]
    return {
        "schemaVersion": "bedrock-conversation-2024",
        **({"system": [{"text": system}]} if system else {}),
        "messages": [*turns, {"role": "assistant", "candidates": candidates}],
    }


def _judged(example: TrainingExample, technique: str) -> JsonObject:
    """A question, and what its judge is told: ``reward_model`` or ``reference_answer`` of the line, or its answer."""
    _check_spoken(example)
    answered = example.form == "chat"
    turns = example.turns[:-1] if answered else example.turns
    truth = example.extra.get("reference_answer", example.turns[-1]["content"] if answered else "")
    style = "rule" if technique == "RLVR" else "llmj"
    return {
        "data_source": "awsllm",
        "prompt": [{"role": turn["role"], "content": turn["content"]} for turn in turns],
        "ability": "chat",
        "reward_model": {"ground_truth": truth, "style": style},
        **{name: value for name, value in example.extra.items() if name != "reference_answer"},
    }


def _check_spoken(example: TrainingExample) -> None:
    if example.tools or any("tool_calls" in turn or turn["role"] == "tool" for turn in example.turns):
        raise UnsupportedError("calls of tools are not trained on in SageMaker's customisation")


def script_lines(data: TrainingData) -> bytes:
    """JSON Lines for a caller's own script: conversations and pairs in the form of ``serverless_lines``, or texts."""
    writers: Mapping[str, Callable[[TrainingExample], JsonObject]] = {
        "preference": _two_answers,
        "text": lambda example: {"text": example.text or ""},
    }
    return _joined(_each(data, writers.get(data.form, _spoken_messages)))


def _spoken_messages(example: TrainingExample) -> JsonObject:
    """With calls of tools and what else the line says: a script of one's own knows what to do with them."""
    tools = {"tools": list(example.tools)} if example.tools else {}
    return {"messages": list(example.turns), **tools, **example.extra}


# --- this machine ----------------------------------------------------------------------------------------------------


def local_lines(data: TrainingData) -> bytes:
    """Examples as they are, for ``read_local``."""
    return _joined(data.examples)


def read_local(lines: bytes) -> tuple[TrainingExample, ...]:
    """What ``local_lines`` wrote."""
    decoder = msgspec.json.Decoder(TrainingExample)
    return tuple(decoder.decode(line) for line in lines.splitlines() if line.strip())
