"""Command R behind InvokeModel: a recorded call, and nothing of streams in the body."""

from __future__ import annotations

from awsllm.types import ConverseResponse, InferenceConfig, Message, ToolSpec, ToolUse, Usage
from awsllm.wire import endpoint, invoke
from awsllm.wire.body import Chat, Context
from tests.support.bodies import PLAIN, ask, payload, streamed, written


def command_r() -> Chat:
    chat = invoke.get("cohere-chat").chat
    assert chat is not None
    return chat


# open-telemetry/opentelemetry-python-contrib, test_invoke_model_with_content[cohere.command-r].yaml
REQUEST = {
    "message": "Say this is a test",
    "max_tokens": 10,
    "temperature": 0.8,
    "p": 0.99,
    "stop_sequences": ["|"],
}
REPLY = {
    "response_id": "379ed018/aa2df2bf",
    "text": "This is a test. How are you doing today",
    "generation_id": "2d74c447",
    "chat_history": [
        {"role": "USER", "message": "Say this is a test"},
        {"role": "CHATBOT", "message": "This is a test. How are you doing today"},
    ],
    "finish_reason": "MAX_TOKENS",
}


def test_the_recorded_request_is_written_and_read() -> None:
    request = ask("Say this is a test", inference_config=InferenceConfig(10, 0.8, 0.99, ("|",)))
    for stream in (False, True):
        assert command_r().encode_request(request, PLAIN, stream=stream).json() == REQUEST
    assert command_r().decode_request("ep", payload(REQUEST), PLAIN) == (request, False)


def test_the_recorded_reply_is_read() -> None:
    response = command_r().decode_response(payload(REPLY), Context(request=ask()))
    assert (response.text, response.stop_reason) == ("This is a test. How are you doing today", "max_tokens")
    assert (response.usage, response.raw) == (Usage(), REPLY)


def test_the_container_still_says_whether_it_streams() -> None:
    chat = endpoint.get("cohere-chat").chat
    assert chat is not None
    assert chat.encode_request(ask(), PLAIN, stream=True).json() == {"message": "Hi", "stream": True}


def test_a_stream_folds_to_the_whole_answer() -> None:
    tool = ToolSpec("find", {"type": "object", "properties": {"q": {"type": "string"}}})
    context = Context(request=ask(tools=(tool,)))
    use = ToolUse(id="call_0", name="find", input={"q": "x"})
    answer = ConverseResponse(message=Message.assistant("I look.", use), stop_reason="tool_use", usage=Usage(1, 2))
    whole = command_r().decode_response(command_r().encode_response(answer, context), context)
    data = written(command_r(), answer, context)
    for cut in (1, 11, len(data)):
        folded = streamed(command_r(), data, context, cut)
        assert (folded.message, folded.stop_reason, folded.usage) == (answer.message, "tool_use", Usage(1, 2))
    assert whole.message == answer.message
