r"""Text completions of Claude 2: the ``\n\nHuman:`` prompt, published requests and replies, both ways."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awsllm.errors import ServerError, ThrottlingError, UnsupportedError, ValidationError
from awsllm.stream import replay
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    InferenceConfig,
    JsonObject,
    Message,
    Text,
    ToolSpec,
)
from awsllm.wire import invoke
from awsllm.wire.anthropic.text import CompletionsChat, parse, render
from awsllm.wire.body import Context
from awsllm.wire.framing import encode_sse
from tests.support.bodies import PLAIN, ask, payload, received, streamed, written

BODY = invoke.get("anthropic-text")
CHAT = CompletionsChat()
FEW = settings(max_examples=15)
LIMIT = InferenceConfig(max_tokens=200)


def test_a_request_becomes_the_published_body_and_back() -> None:
    """AWS, Anthropic Claude Text Completions API."""
    config = InferenceConfig(300, 0.1, 0.9, ("END",))
    request = ConverseRequest(
        model="ep",
        system=(Text("Be brief."),),
        messages=(Message.user("story of two dogs"), Message.assistant("Once"), Message.user("more")),
        inference_config=config,
        extra={"top_k": 250},
    )
    sent = CHAT.encode_request(request, PLAIN, stream=True)
    assert sent.json() == {
        "prompt": "Be brief.\n\nHuman: story of two dogs\n\nAssistant: Once\n\nHuman: more\n\nAssistant:",
        "max_tokens_to_sample": 300,
        "temperature": 0.1,
        "top_p": 0.9,
        "stop_sequences": ["END"],
        "top_k": 250,
    }
    assert BODY.read("ep", sent, PLAIN) == (request, False)


def test_a_limit_is_sent_because_it_must_be_and_said() -> None:
    assert CHAT.encode_request(ask(), PLAIN).json()["max_tokens_to_sample"] == 512
    assert any("512" in text for text in CHAT.warnings(ask(), PLAIN))
    assert CHAT.warnings(ask(inference_config=LIMIT), PLAIN) == ()


@pytest.mark.parametrize(
    ("prompt", "system", "turns"),
    [
        ("\n\nHuman: Hi\n\nAssistant:", "", [("user", "Hi")]),
        ("\n\nHuman:Hi\n\nAssistant: ", "", [("user", "Hi")]),
        ("\n\nHuman: Hi\n\nAssistant: {", "", [("user", "Hi"), ("assistant", "{")]),
        (
            "You\n\nare.\n\nHuman: a\n\nb\n\nAssistant: c\n\nHuman: d\n\nAssistant:",
            "You\n\nare.",
            [("user", "a\n\nb"), ("assistant", "c"), ("user", "d")],
        ),
    ],
)
def test_a_prompt_is_read_as_the_turns_it_makes(prompt: str, system: str, turns: list[tuple[str, str]]) -> None:
    found, messages = parse(prompt)
    assert "".join(block.text for block in found) == system
    assert [(message.role, message.text) for message in messages] == turns


@pytest.mark.parametrize("prompt", ["Hi", "\n\nAssistant: Hi\n\nHuman: a\n\nAssistant:", "\n\nHuman: Hi"])
def test_a_prompt_that_is_no_conversation_is_refused(prompt: str) -> None:
    with pytest.raises(ValidationError, match="must start with"):
        BODY.read("ep", payload({"prompt": prompt, "max_tokens_to_sample": 1}), PLAIN)


def test_what_has_no_place_in_a_prompt_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="tools"):
        CHAT.encode_request(ask(tools=(ToolSpec("f", {}),)), PLAIN)
    with pytest.raises(UnsupportedError, match="role 'system'"):
        render((), (Message("system", (Text("a"),)),))
    with pytest.raises(ValidationError, match="at least one turn"):
        render((), ())


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ({"stop_reason": "stop_sequence", "stop": "\n\nHuman:"}, "end_turn"),
        ({"stop_reason": "stop_sequence", "stop": "END"}, "stop_sequence"),
        ({"stop_reason": "max_tokens", "stop": None}, "max_tokens"),
    ],
)
def test_a_published_reply_is_read_whole_and_streamed(end: JsonObject, reason: str) -> None:
    """Recorded in public: {"completion": " 1+1 is equal to 2.", "stop_reason": "stop_sequence", "stop": "…Human:"}."""
    context = Context(request=ask(inference_config=InferenceConfig(stop_sequences=("END",))))
    response = CHAT.decode_response(payload({"type": "completion", "completion": " 1+1 is 2.", **end}), context)
    assert (response.text, response.stop_reason) == ("1+1 is 2.", reason)
    pieces = [
        {"type": "completion", "completion": text, "stop_reason": None, "stop": None} for text in (" 1+1", " is", " 2.")
    ]
    data = b"".join(map(encode_sse, [*pieces, {"type": "ping"}, {"type": "completion", "completion": "", **end}]))
    for cut in (1, 9, len(data)):
        back = streamed(CHAT, data, context, cut)
        assert (back.text, back.stop_reason) == ("1+1 is 2.", reason)


@pytest.mark.parametrize("messages", [(Message.user("a"),), (Message.user("a"), Message.assistant("{"))])
@FEW
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1), cut=st.integers(1, 40))
def test_an_answer_is_read_back_whole_and_streamed(messages: tuple[Message, ...], text: str, cut: int) -> None:
    request = ConverseRequest(model="ep", messages=messages, inference_config=LIMIT)
    context = received(BODY, CHAT.encode_request(request, PLAIN))
    answer = ConverseResponse(message=Message.assistant(text), stop_reason="end_turn")
    whole = CHAT.decode_response(CHAT.encode_response(answer, context), Context(request=request))
    parts = streamed(CHAT, written(CHAT, answer, context), Context(request=request), cut)
    assert (whole.text, whole.stop_reason) == (parts.text, parts.stop_reason) == (text, "end_turn")


@pytest.mark.parametrize(
    ("reason", "end"),
    [
        ("stop_sequence", {"stop_reason": "stop_sequence", "stop": "END"}),
        ("max_tokens", {"stop_reason": "max_tokens", "stop": None}),
        ("end_turn", {"stop_reason": "stop_sequence", "stop": "\n\nHuman:"}),
    ],
)
def test_an_end_is_written_as_the_model_says_it(reason: str, end: JsonObject) -> None:
    context = Context(request=ask(inference_config=InferenceConfig(stop_sequences=("END",))))
    answer = ConverseResponse(message=Message.assistant("a"), stop_reason=reason)
    assert CHAT.encode_response(answer, context).json() == {"type": "completion", "completion": " a", **end}


def test_failures_are_typed_on_both_sides() -> None:
    context = Context(request=ask())
    encoder = CHAT.stream_encoder(context)
    data = encoder.event(next(replay(ConverseResponse(message=Message.assistant("a"), stop_reason="end_turn"))))
    with pytest.raises(ThrottlingError, match="slow down"):
        streamed(CHAT, data + encoder.failure(ThrottlingError("slow down")), context)
    with pytest.raises(ServerError):
        CHAT.decode_response(payload({"content": []}), context)
