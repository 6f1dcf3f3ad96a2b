"""What Bedrock answers to a request that a model does not take, and what mends it: data, a row for each answer.

A rule (``models.rules``) keeps such a request from being sent. These rows are for what no rule knows yet: a model newer
than the rules, one behind an opaque ARN, a field that a model has lost. ``calls.repair`` carries them out.
"""

from __future__ import annotations

import msgspec


class Repair(msgspec.Struct, frozen=True):
    """``pattern`` is looked for in the service's message, in any case; its first group, where it has one, says how far
    ``action`` goes (a limit, a field). ``once``: it is about one conversation, and says nothing of the model.
    ``source`` shows the message, seen on the day of ``read``."""

    pattern: str
    action: str
    source: str
    read: str = "2026-11-26"
    once: bool = False


REPAIRS = (
    Repair(
        r"toolConfig\.toolChoice\.\w+ field",
        "no_tool_choice",
        "strands-agents/harness-sdk 1241; vercel/ai 4396; aws-samples/bedrock-access-gateway 92",
    ),
    Repair(
        r"thinking may not be enabled when tool_choice forces tool use",
        "no_tool_choice",
        "pydantic/pydantic-ai 3092",
    ),
    Repair(
        r"temperature`? and `?top_p`? cannot both be specified",
        "no_top_p",
        "BerriAI/litellm 15070; open-webui/open-webui 17922",
    ),
    Repair(
        r"temperature`? (?:is deprecated for this model|may only be set to 1 when thinking is enabled)",
        "no_temperature",
        "promptfoo/promptfoo 10307; opensearch-project/opensearch-build 6330; BerriAI/litellm 9524",
    ),
    Repair(
        r"top_p`? (?:is deprecated for this model|must be .{0,60}when thinking is enabled)",
        "no_top_p",
        "ziatdinovmax/SciLink 269",
    ),
    Repair(
        r"doesn't support the (?:\w+\.)*(temperature|topP|stopSequences) field",
        "no_field",
        "langgenius/dify-official-plugins 1767 (stopSequences); the others follow its words",
    ),
    Repair(
        r"(?:maximum tokens you requested exceeds? the model limit of|max_tokens: \d+ >) (\d+)",
        "at_most_tokens",
        "vercel/ai 2772; langgenius/dify 10390; charmbracelet/crush 946",
    ),
    Repair(
        r"thinking\.type\.enabled.{0,20} is not supported for this model",
        "adaptive_thinking",
        "tinovyatkin/amazon-bedrock-copilot-chat 526; coder/coder 26691",
    ),
    Repair(
        r"model does(?:n't| not) support the effort parameter",
        "no_effort",
        "anthropics/claude-code 30795; tailcallhq/forgecode 2924",
    ),
    Repair(
        r"expected .{0,3}thinking.{0,3} or .{0,3}redacted_thinking.{0,3}, but found",
        "no_thinking",
        "RooCodeInc/Roo-Code 11238",
        once=True,
    ),
    Repair(
        r"invalid .?signature.? in .?thinking.? block|thinking\.signature: field required",
        "no_bad_thinking",
        "can1357/oh-my-pi 333 and 10486",
        once=True,
    ),
    Repair(
        r"(?:doesn't support|extraneous key|unknown parameter).{0,60}reasoningContent",
        "no_old_thinking",
        "NousResearch/hermes-agent 105119",
    ),
    Repair(
        r"did not allow prompt caching|extraneous key \[cachePoint\]|cache point cannot be inserted",
        "no_cache_points",
        "strands-agents/harness-sdk 1807; zeroclaw-labs/zeroclaw 7315; earendil-works/pi 2053; opencode 36517",
    ),
    Repair(
        r"doesn't support system messages",
        "system_in_turn",
        "Mintplex-Labs/anything-llm 2486",
    ),
    Repair(
        r"conversation blocks and tool result blocks cannot be provided in the same turn",
        "text_in_results",
        "browser-use/browser-use 710",
    ),
    Repair(
        r"must alternate between user and assistant roles",
        "joined_turns",
        "strands-agents/harness-sdk 1160; opencode 15715",
    ),
)
