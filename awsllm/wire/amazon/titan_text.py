"""Amazon's Titan Text: a text in, results out; the knobs stand in an object of their own.

In a conversational style the text is ``User: …`` and ``Bot:`` (the prompt style titan). Sources: docs.aws.amazon.com,
Amazon Titan Text models, 2024; recorded calls of titan-text-lite in open-telemetry/opentelemetry-python-contrib, 2025.
"""

from __future__ import annotations

from collections.abc import Callable

from awsllm.types import ConverseRequest, JsonObject
from awsllm.wire.body import Body, Context, Payload, Settings
from awsllm.wire.payloads import read_body, write
from awsllm.wire.reading import MalformedError, objects, optional, required, unknown_members, without_none
from awsllm.wire.text.generated import Generated
from awsllm.wire.text.prompted import PromptChat, counts, prompt_body
from awsllm.wire.text.request import ConfigNames, check_request, decode_prompt, encode_prompt

_CONFIG = "textGenerationConfig"
_STOP_REASONS = {
    "FINISH": "end_turn",  # what it says
    "FINISHED": "end_turn",  # what is documented
    "LENGTH": "max_tokens",
    "STOP_CRITERIA_MET": "stop_sequence",
    "CONTENT_FILTERED": "content_filtered",
}
_FINISH_REASONS = {reason: finish for finish, reason in _STOP_REASONS.items() if finish != "FINISHED"}


class TitanText(PromptChat):
    title = "the format of Amazon's Titan Text"
    names = ConfigNames(
        max_tokens="maxTokenCount", temperature="temperature", top_p="topP", stop_sequences="stopSequences"
    )
    begun = False

    def encode_request(self, request: ConverseRequest, settings: Settings, *, stream: bool = False) -> Payload:
        check_request(request, self.title)
        prompt = encode_prompt(request, settings)
        extra = dict(request.extra or {})
        config = without_none(self.names.encode(request.inference_config, prompt.stops), extra.pop(_CONFIG, None))
        return write(without_none({"inputText": prompt.text, _CONFIG: config or None}, extra))

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[ConverseRequest, bool]:
        wire = read_body(payload)
        config = optional(wire, _CONFIG, dict) or {}
        extra = unknown_members(wire, {"inputText", _CONFIG})
        if more := unknown_members(config, self.names.all):
            extra = {**(extra or {}), _CONFIG: more}
        prompt = required(wire, "inputText", str)
        return decode_prompt(model, prompt, settings, self.names.decode(config), extra), False

    def read_answer(self, wire: JsonObject) -> Generated:
        results = objects(wire, "results")
        if not results:
            raise MalformedError("must hold an answer", "results")
        usage = counts(wire.get("inputTextTokenCount"), results[0].get("tokenCount"))
        return Generated(required(results[0], "outputText", str), _read_reason(results[0]), usage, wire)

    def read_piece(self, wire: JsonObject) -> Generated | None:
        text = optional(wire, "outputText", str)
        if text is None and "completionReason" not in wire:
            return None
        usage = counts(wire.get("inputTextTokenCount"), wire.get("totalOutputTextTokenCount"))
        return Generated(text or "", _read_reason(wire), usage)

    def write_answer(self, whole: Generated, context: Context) -> JsonObject:
        result = {
            "tokenCount": whole.usage.output_tokens or 0,
            "outputText": whole.text,
            "completionReason": _write_reason(whole),
        }
        return {"inputTextTokenCount": whole.usage.input_tokens or 0, "results": [result]}

    def piece_writer(self, context: Context) -> Callable[[str, Generated | None], JsonObject]:
        return lambda text, whole: {
            "outputText": text,
            "index": 0,
            "totalOutputTextTokenCount": whole and whole.usage.output_tokens,
            "completionReason": whole and _write_reason(whole),
            "inputTextTokenCount": whole and whole.usage.input_tokens,
        }


def _read_reason(wire: JsonObject) -> str | None:
    reason = optional(wire, "completionReason", str)
    return None if reason is None else _STOP_REASONS.get(reason, reason)


def _write_reason(whole: Generated) -> str:
    return _FINISH_REASONS.get(whole.finish_reason or "end_turn", "FINISH")


BODIES: tuple[Body, ...] = (prompt_body("titan-text", TitanText()),)
