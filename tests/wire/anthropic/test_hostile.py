"""Whatever JSON comes, in the dialect's own words, is read or refused: nothing else is raised."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awsllm.errors import AwsllmError
from awsllm.types import JsonObject, JsonValue
from awsllm.wire import invoke
from awsllm.wire.anthropic.body import MessagesChat
from awsllm.wire.anthropic.text import CompletionsChat
from awsllm.wire.body import Context
from tests.support.bodies import PLAIN, ask, payload

WORDS = (
    "type text content role messages system tools name input_schema tool_choice output_config format schema source "
    "media_type data title citations enabled document_index cited_text url id input tool_use_id is_error thinking "
    "signature cache_control ttl index delta content_block message usage input_tokens cache_creation stop_reason "
    "stop_sequence partial_json citation max_tokens prompt completion stop anthropic_version tool context"
)
KINDS = (
    "text image document search_result thinking redacted_thinking tool_use server_tool_use tool_result "
    "web_search_tool_result tool_addition base64 content url char_location message_start content_block_start "
    "content_block_delta content_block_stop message_delta message_stop message error text_delta input_json_delta "
    "thinking_delta signature_delta citations_delta custom json_schema user assistant bedrock-2023-05-31"
)
LEAVES = st.sampled_from([None, True, 0, 1.5, "", "YWJj", "\n\nHuman: a\n\nAssistant:", *KINDS.split()])
OBJECTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS.split()), inner, max_size=5),
)
BLOCKS = st.builds(
    lambda kind, more: {**more, "type": kind},
    st.sampled_from(KINDS.split()),
    st.dictionaries(st.sampled_from(WORDS.split()), OBJECTS, max_size=6),
)
REQUESTS = st.builds(
    lambda blocks, more: {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 1,
        "messages": [{"role": "user", "content": blocks}],
        **more,
    },
    st.lists(BLOCKS, max_size=3),
    st.dictionaries(st.sampled_from(("system", "tools", "tool_choice", "output_config")), OBJECTS),
)
CHATS = [MessagesChat(names_model=False), CompletionsChat()]


@pytest.mark.parametrize("chat", CHATS)
@settings(max_examples=20)
@given(value=OBJECTS | BLOCKS | REQUESTS, content=st.lists(BLOCKS, max_size=3), events=st.lists(BLOCKS, max_size=4))
def test_any_json_is_read_or_refused(
    chat: MessagesChat | CompletionsChat, value: JsonValue, content: list[JsonObject], events: list[JsonObject]
) -> None:
    context = Context(request=ask())
    decoder = chat.stream_decoder(context)
    reads: list[Callable[[], object]] = [
        lambda: chat.decode_request("m", payload(value), PLAIN),
        lambda: chat.decode_response(payload(value), context),
        lambda: chat.decode_response(payload({"content": content, "usage": value}), context),
        lambda: [event for wire in events for event in decoder.push(wire)],
        lambda: [*decoder.finish(done=True)],
    ]
    for read in reads:
        with suppress(AwsllmError):
            read()


@settings(max_examples=20)
@given(REQUESTS)
def test_what_is_read_of_a_request_is_written_or_refused(wire: JsonObject) -> None:
    chat = invoke.get("anthropic-messages").chat
    with suppress(AwsllmError):
        request, _ = chat.decode_request("m", payload(wire), PLAIN)
        again, _ = chat.decode_request("m", chat.encode_request(request, PLAIN), PLAIN)
        assert again.inference_config == request.inference_config
