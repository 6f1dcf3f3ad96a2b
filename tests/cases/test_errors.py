"""What goes wrong, and what is asked for in vain: the cases E1 to E5."""

import json
import socket
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest

import awsllm
from awsllm.testing import mock_aws
from awsllm.types import CachePoint, Document, DocumentText, Message, ToolSpec, ToolUse
from awsllm.wire.eventstream import encode_event_frame
from tests.support.cases import CLAUDE, NOVA, ONCE, REPLY, answering, asking, last, turns
from tests.support.loopback import Received, Response, serving

EMPTY = {"type": "object", "properties": {}}
REPORT = Document("report", DocumentText("x"), "txt")


@pytest.mark.parametrize(
    ("history", "roles", "words"),
    [
        ([Message.user("a", " "), Message.assistant("b", ""), Message.user("c")], 3, "blank text was left out"),
        ([Message.user("a"), Message.user("b")], 1, None),
        ([Message.user("a"), Message.assistant(""), Message.user("b")], 3, "without content"),
        ([Message.user("a"), Message("assistant", (ToolUse("1", "f", {}),)), Message.user("b")], 3, "call"),
    ],
    ids=["blank text", "neighbours", "blank turn", "call without a result"],
)
def test_e1_what_keeps_its_meaning_is_mended(history: list[Message], roles: int, words: str | None) -> None:
    """Blank texts, neighbouring turns and calls that nobody answered are mended, and a warning says what was."""
    before = [message.to_dict() for message in history]
    with mock_aws(reply="Hi.") as aws, awsllm.Client(region="us-east-1") as client:
        reply = client.converse(NOVA, history, tools=[ToolSpec("f", EMPTY)])
    assert turns(last(aws)) == ["user", "assistant", "user"][:roles]
    assert words is None or any(words in warning for warning in reply.warnings)
    assert [message.to_dict() for message in history] == before


@pytest.mark.parametrize(
    ("messages", "tools", "words"),
    [
        ([Message.assistant("a")], [], r"messages\[0\] is the assistant's"),
        (" ", [], r"messages\[0\].content\[0\] is blank"),
        ([], [], "no messages"),
        (Message.user("a", REPORT, REPORT), [], "the second document named 'report'"),
        (Message.user("a", Document("a/b", DocumentText("x"), "txt")), [], "a/b"),
        ("a", [ToolSpec("f" * 65, EMPTY)], "1 to 64 letters"),
    ],
)
def test_e1_what_would_change_its_meaning_is_named(messages: Any, tools: list[ToolSpec], words: str) -> None:
    """The error says where in Python's words, and nothing is sent."""
    with mock_aws(reply="Hi.") as aws, awsllm.Client(region="us-east-1") as client:
        with pytest.raises(awsllm.ValidationError, match=words):
            client.converse("bedrock:amazon.nova-lite-v1:0", messages, tools=tools)
        assert aws.requests == []


def closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def hung_up(request: Received) -> Response:
    raise ConnectionResetError


def refused(status: int, code: str) -> Callable[[Received], Response]:
    return lambda request: answering({"message": "no"}, status, **{"x-amzn-errortype": code})


@pytest.mark.parametrize(
    ("respond", "kind"),
    [
        (None, awsllm.ConnectError),
        (hung_up, awsllm.ServerError),
        (refused(429, "ThrottlingException"), awsllm.ThrottlingError),
        (refused(503, "ServiceUnavailableException"), awsllm.ServerError),
        (refused(408, "ModelTimeoutException"), awsllm.ModelTimeoutError),
        (refused(404, "ResourceNotFoundException"), awsllm.ModelNotFoundError),
        (refused(403, "AccessDeniedException"), awsllm.AccessDeniedError),
    ],
    ids=lambda value: getattr(value, "__name__", "closed"),
)
def test_e2_every_failure_reaches_a_fallback(respond: Any, kind: type[awsllm.AwsllmError]) -> None:
    """A program that catches awsllm's errors and goes elsewhere sees each of them, streamed or not."""

    caught: list[awsllm.AwsllmError] = []

    def answer(ask: Callable[[awsllm.Client], str], url: str) -> str:
        try:
            with awsllm.Client(region="us-east-1", endpoint_url=url, policy=ONCE) as first:
                return ask(first)
        except awsllm.AwsllmError as error:
            caught.append(error)
        with mock_aws(reply="From elsewhere."), awsllm.Client(region="us-west-2") as second:
            return ask(second)

    def streamed(client: awsllm.Client) -> str:
        with client.converse_stream(NOVA, "Hi") as stream:
            return "".join(stream.text_stream)

    with serving(respond) if respond else nullcontext(closed_port()) as url:
        answers = [answer(ask, url) for ask in (lambda client: client.converse(NOVA, "Hi").text, streamed)]
    assert answers == ["From elsewhere."] * 2
    assert [type(error) for error in caught] == [kind] * 2


def test_e2_silence_reaches_a_fallback() -> None:
    """A service that takes the call and says nothing is a timeout of awsllm's own."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        client = awsllm.Client(region="us-east-1", endpoint_url=url, policy=ONCE, read_timeout=0.2)
        with client, pytest.raises(awsllm.ModelTimeoutError):
            client.converse(NOVA, "Hi")


def test_e3_throttling_is_waited_out() -> None:
    """The service's own pause is kept, else it grows; the request that is sent again is the same to its last byte."""
    pauses: list[float] = []
    policy = awsllm.Policy(max_attempts=4, sleep=pauses.append)
    throttled = {"x-amzn-errortype": "ThrottlingException"}
    replies = [answering({"message": "slow"}, 429, **throttled, **{"Retry-After": "7"})]
    replies += [answering({"message": "slow"}, 429, **throttled), answering()]
    with asking(*replies, policy=policy) as (client, seen):
        assert client.converse(CLAUDE, Message.user("a", CachePoint())).text == "Hi."
    assert pauses[0] >= 7  # so that those who were refused together do not return together
    assert 0 <= pauses[1] <= 1
    assert len({request.body for request in seen}) == 1  # so that the prompt cache is met


def test_e4_parameters_are_passed() -> None:
    """Each of them is on the wire, what only a provider knows included."""
    options: dict[str, Any] = {
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 7,
        "stop_sequences": ["END"],
        "extra": {"top_k": 3, "anthropic_beta": ["context-1m-2025-08-07"]},
        "guardrail_config": {"guardrailIdentifier": "g", "guardrailVersion": "1"},
        "performance_config": "optimized",
        "service_tier": "flex",
        "request_metadata": {"team": "a"},
    }
    with asking(answering()) as (client, seen):
        client.converse(CLAUDE, "Hi", **options)
    wire = json.loads(seen[0].body)
    assert wire["inferenceConfig"] == {"maxTokens": 7, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"]}
    assert wire["additionalModelRequestFields"] == options["extra"]
    assert wire["guardrailConfig"] == options["guardrail_config"]
    assert (wire["performanceConfig"], wire["serviceTier"]) == ({"latency": "optimized"}, {"type": "flex"})
    assert wire["requestMetadata"] == {"team": "a"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"top_k": 3}, "extra="),
        ({"temprature": 0.5}, "did you mean 'temperature'"),
        ({"guardrail_config": {"guardrailId": "g"}}, "guardrailId"),
        ({"frequency_penalty": 1.0}, "extra="),
    ],
)
def test_e4_what_is_not_known_is_refused(options: Any, words: str) -> None:
    """A name that nobody reads is an error that says where it belongs."""
    with mock_aws(reply="Hi.") as aws, awsllm.Client(region="us-east-1") as client:
        with pytest.raises(awsllm.ValidationError, match=words):
            client.converse(NOVA, "Hi", **options)
        assert aws.requests == []


def test_e4_a_knob_that_a_body_lacks_is_a_warning() -> None:
    """A format that has no place for a knob says so in the reply."""
    with mock_aws(reply="Hi."), awsllm.Client(region="us-east-1") as client:
        mistral = "bedrock:mistral.mistral-7b-instruct-v0:2"
        reply = client.converse(mistral, "Hi", api="invoke", max_tokens=9, effort="low")
    assert any("effort" in warning for warning in reply.warnings)


@pytest.mark.parametrize("wire", [{}, {**REPLY, "output": {}}, {**REPLY, "output": {"text": "Hi."}}])
def test_e5_a_reply_of_another_version_is_an_error(wire: dict[str, Any]) -> None:
    """What has no message where this version looks for it is no empty answer."""
    with asking(answering(wire), policy=ONCE) as (client, _), pytest.raises(awsllm.ServerError):
        client.converse(NOVA, "Hi")


def test_e5_blocks_and_events_of_another_version_are_kept() -> None:
    """A block of a kind that came later is there to be read, and a stream of nothing but such events is an error."""
    newer = {**REPLY, "output": {"message": {"role": "assistant", "content": [{"hologram": {"depth": 3}}]}}}
    frames = encode_event_frame("hologramDelta", b'{"depth":3}')
    stream = Response(frames, 200, {"Content-Type": "application/vnd.amazon.eventstream"})
    with asking(answering(newer), stream, policy=ONCE) as (client, _):
        (block,) = client.converse(NOVA, "Hi").message.content
        assert block == awsllm.Unknown("hologram", {"depth": 3})
        with pytest.raises(awsllm.StreamError):
            list(client.converse_stream(NOVA, "Hi"))
