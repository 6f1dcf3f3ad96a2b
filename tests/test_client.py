"""The facade: what callers write becomes the right request, and what comes back carries all that happened."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import awsllm
from awsllm import types as t
from awsllm.backend import UNLIMITED, Attempt
from awsllm.calls.options import ConverseOptions
from awsllm.testing import AsyncScriptedBackend, Broken, ScriptedBackend
from awsllm.types.embedding import EmbedRequest
from awsllm.types.media import ImageRequest

MODEL = "bedrock:us.amazon.nova-lite-v1:0"
TYPO = {"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}, "descripton": "Does."}}
FAST = awsllm.Policy(max_attempts=3, base_delay=0.001, max_delay=0.002)


def client_of(script: Any, **options: Any) -> tuple[awsllm.Client, ScriptedBackend]:
    backend = ScriptedBackend(script)
    backends = {"bedrock": backend, "sagemaker": backend, "local": backend}
    return awsllm.Client(backends=backends, policy=FAST, **options), backend


def run(script: Any, use: Any, **options: Any) -> Any:
    """``await use(client)`` with an AsyncClient on the script."""
    backend = AsyncScriptedBackend(script)

    async def main() -> Any:
        async with awsllm.AsyncClient(backends={"bedrock": backend}, policy=FAST, **options) as client:
            return await use(client)

    return asyncio.run(main())


def add(a: int, b: int) -> int:
    """The sum."""
    return a + b


def asks(*calls: tuple[str, str, Any]) -> t.Message:
    return t.Message("assistant", tuple(t.ToolUse(*call) for call in calls))


# --- requests --------------------------------------------------------------------------------------------------------


def test_a_string_is_a_user_turn() -> None:
    client, backend = client_of("Hi.")
    reply = client.converse(MODEL, "Hello")
    assert reply.text == "Hi."
    assert reply.model == MODEL
    assert reply.messages == (reply.message,)
    assert backend.requests[0] == t.ConverseRequest(
        model="us.amazon.nova-lite-v1:0", messages=(t.Message.user("Hello"),)
    )


def test_boto3_shaped_input_becomes_the_same_request() -> None:
    client, backend = client_of("Hi.")
    spec = {"name": "f", "inputSchema": {"json": {"type": "object", "properties": {}}}}
    client.converse(
        MODEL,
        [{"role": "user", "content": [{"text": "Hello"}]}],
        system=[{"text": "Be brief."}],
        tools=[{"toolSpec": spec}],
        tool_choice={"tool": {"name": "f"}},
    )
    client.converse(
        MODEL,
        "Hello",
        system="Be brief.",
        tools=[t.ToolSpec("f", {"type": "object", "properties": {}})],
        tool_choice=t.ToolChoice("tool", "f"),
    )
    assert backend.requests[0] == backend.requests[1]


def test_every_option_reaches_the_request() -> None:
    client, backend = client_of("Hi.")
    client.converse(
        MODEL,
        "Hello",
        max_tokens=5,
        temperature=0.5,
        top_p=0.9,
        stop_sequences=["x"],
        guardrail_config=t.GuardrailConfig("g", "1"),
        extra={"top_k": 3},
        prompt_variables={"a": "b"},
        additional_model_response_field_paths=["/x"],
        request_metadata={"team": "a"},
        performance_config="optimized",
        service_tier="flex",
        effort="low",
    )
    assert backend.requests[0] == t.ConverseRequest(
        model="us.amazon.nova-lite-v1:0",
        messages=(t.Message.user("Hello"),),
        inference_config=t.InferenceConfig(5, 0.5, 0.9, ("x",)),
        guardrail_config=t.GuardrailConfig("g", "1"),
        extra={"top_k": 3},
        prompt_variables={"a": "b"},
        additional_model_response_field_paths=("/x",),
        request_metadata={"team": "a"},
        performance_config=t.PerformanceConfig("optimized"),
        service_tier=t.ServiceTier("flex"),
        output_config=t.OutputConfig(effort="low"),
    )


def test_boto3_shaped_configurations_become_the_same_request() -> None:
    client, backend = client_of("Hi.")
    client.converse(
        MODEL,
        ({"role": "user", "content": ({"text": "Hello"},)},),
        inference_config={"maxTokens": 5, "stopSequences": []},
        guardrail_config={"guardrailIdentifier": "g", "guardrailVersion": "1", "streamProcessingMode": "sync"},
        performance_config={"latency": "optimized"},
        service_tier={"type": "flex"},
    )
    client.converse(
        MODEL,
        "Hello",
        max_tokens=5,
        guardrail_config=t.GuardrailConfig("g", "1", None, "sync"),
        performance_config="optimized",
        service_tier="flex",
    )
    assert backend.requests[0] == backend.requests[1]


def test_none_is_the_default_of_every_option() -> None:
    client, backend = client_of("Hi.")
    options: Any = dict.fromkeys(ConverseOptions.__annotations__)
    client.converse(MODEL, "Hello", **options)
    client.converse(MODEL, "Hello")
    assert backend.requests[0] == backend.requests[1]


def test_system_turns_at_the_beginning_are_the_system_prompt() -> None:
    client, backend = client_of("Hi.")
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}]
    client.converse(MODEL, turns, system="Be brief.")
    request: Any = backend.requests[0]
    assert request.system == (t.Text("Be brief."), t.Text("Be kind."))
    assert request.messages == (t.Message.user("Hello"),)


def test_what_a_model_left_blank_beside_its_calls_can_be_sent_back() -> None:
    client, backend = client_of("Hi.")
    thought = t.Reasoning("", "signature")
    use = t.ToolUse("1", "f", {})
    result = t.Message("user", (t.ToolResult("1", (t.Text("r"),)),))
    turns = [t.Message.user("a"), t.Message("assistant", (thought, t.Text("\n"), use)), result]
    client.converse(MODEL, turns, tools=[t.ToolSpec("f", {"type": "object"})])
    request: Any = backend.requests[0]
    assert request.messages[1].content == (thought, use)


def test_a_history_is_mended_with_a_warning_and_the_callers_own_stays() -> None:
    client, backend = client_of("Hi.")
    jpeg = t.Bytes(b"\xff\xd8\xff\xe0 rest")
    seen = t.ToolResult("call_1|fc", (t.Image("png", jpeg), t.Text(" ")))
    turns = [t.Message.user("a", " "), asks(("call_1|fc", "f", {})), t.Message("user", (seen,))]
    before = list(turns)
    reply = client.converse(MODEL, turns, tools=[t.ToolSpec("f", {"type": "object"})])
    request: Any = backend.requests[0]
    assert request.messages == (
        t.Message.user("a"),
        asks(("call_1_fc", "f", {})),
        t.Message("user", (t.ToolResult("call_1_fc", (t.Image("jpeg", jpeg),)),)),
    )
    assert turns == before
    assert [warning.partition(":")[0] for warning in reply.warnings] == [
        "ids of tool calls that Bedrock does not take, or that another call has, were changed",
        "blank text was left out",
        "an image labelled png holds jpeg and was sent as that",
    ]


@pytest.mark.parametrize("said", [t.Message("assistant", ()), t.Message.assistant(" "), t.Message.assistant("Well.")])
@pytest.mark.parametrize("stream", [False, True])
def test_what_an_answer_adds_can_be_sent_as_it_is(said: t.Message, stream: bool) -> None:
    client, backend = client_of([said, "Yes."])
    history = [t.Message.user("Hi")]
    reply = client.converse_stream(MODEL, history).response if stream else client.converse(MODEL, history)
    assert reply.text == said.text
    history += reply.messages
    reply = client.converse(MODEL, [*history, t.Message.user("Are you there?")])
    request: Any = backend.requests[1]
    assert request.messages[1] == t.Message.assistant(said.text.strip() or "(no output)")
    assert reply.warnings == ()


SPEC = t.ToolSpec("f", {"type": "object", "properties": {}})
PICTURE = t.Image("png", t.Bytes(b"\x89PNG\r\n\x1a\n"))
PAPER = t.Document("a", t.DocumentText("x"))


@pytest.mark.parametrize(
    ("model", "content", "options", "says"),
    [
        ("us.amazon.nova-micro-v1:0", [PICTURE], {}, r"reads no images, and messages\[0\].content\[1\] is one"),
        ("amazon.nova-micro-v1:0", [PAPER], {}, "reads no documents: pass their text"),
        (
            "amazon.titan-text-express-v1",
            [],
            {"system": "Be brief."},
            "takes no system prompt: say it in the first user",
        ),
        ("amazon.titan-text-express-v1", [], {"tools": [SPEC]}, "has no tools: leave tools"),
        ("amazon.titan-text-premier-v1:0", [PAPER], {}, "reads no documents"),
        ("meta.llama2-13b-chat-v1", [], {"tools": [add]}, "has no tools"),
        ("mistral.mistral-7b-instruct-v0:2", [], {"system": "Be brief."}, "takes no system prompt"),
        ("openai.gpt-oss-120b-1:0", [PICTURE], {}, "reads no images"),
        ("openai.gpt-oss-safeguard-20b", [PICTURE], {}, "reads no images"),
        ("us.writer.palmyra-x5-v1:0", [PICTURE], {}, "reads no images"),
        ("zai.glm-4.7", [PICTURE], {}, "reads no images"),
        ("amazon.titan-embed-text-v2:0", [], {}, "is no chat model"),
        ("stability.sd3-5-large-v1:0", [], {}, "is no chat model"),
    ],
)
def test_what_a_model_cannot_do_is_refused_before_anything_is_sent(
    model: str, content: list[Any], options: dict[str, Any], says: str
) -> None:
    client, backend = client_of("Hi.")
    for call in (client.converse, client.converse_stream, client.count_tokens):
        with pytest.raises(awsllm.UnsupportedError, match=says):
            call(f"bedrock:{model}", ["Look.", *content], **options)
    assert backend.requests == []


def test_an_image_in_a_tools_result_is_an_image() -> None:
    client, _ = client_of("Hi.")
    turns = [t.Message.user("a"), asks(("1", "f", {})), t.Message("user", (t.ToolResult("1", (PICTURE,)),))]
    with pytest.raises(awsllm.UnsupportedError, match=r"messages\[2\].content\[0\] is one"):
        client.converse("bedrock:qwen.qwen3-coder-480b-a35b-v1:0", turns, tools=[SPEC])


@pytest.mark.parametrize(
    "model", ["qwen.qwen3-vl-235b-a22b", "google.gemma-3-12b-it", "moonshotai.kimi-k2.5", "acme.new-v1"]
)
def test_who_reads_images_or_is_not_known_is_sent_them(model: str) -> None:
    client, backend = client_of("Hi.")
    client.converse(f"bedrock:{model}", ["Look.", PICTURE], system="Be brief.", tools=[SPEC])
    assert len(backend.requests) == 1


BETWEEN = [t.Message.user("a"), t.Message("system", (t.Text("Be brief."),)), t.Message.user("b")]


@pytest.mark.parametrize(
    ("model", "turns", "says"),
    [
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", [t.Message.assistant("x"), t.Message.user("a")], None),
        (
            "anthropic.claude-3-haiku-20240307-v1:0",
            [t.Message.assistant("x"), t.Message.user("a")],
            "begins with a user",
        ),
        ("us.amazon.nova-lite-v1:0", BETWEEN, None),
        ("anthropic.claude-3-haiku-20240307-v1:0", BETWEEN, "make one turn of them"),
        ("acme.new-v1", BETWEEN, None),
    ],
)
def test_whose_turn_it_is_depends_on_the_model(model: str, turns: Any, says: str | None) -> None:
    client, backend = client_of("Hi.")
    if says is None:
        client.converse(f"bedrock:{model}", turns)
        assert len(backend.requests) == 1
    else:
        with pytest.raises(awsllm.ValidationError, match=says):
            client.converse(f"bedrock:{model}", turns)


def test_a_component_is_part_of_the_endpoint() -> None:
    client, backend = client_of("Hi.")
    client.converse("sagemaker:endpoint/component", "Hello")
    assert backend.requests[0].model == "endpoint/component"


@pytest.mark.parametrize(
    ("model", "messages", "options", "error", "says"),
    [
        ("us.amazon.nova-lite-v1:0", "Hello", {}, awsllm.ConfigurationError, "bedrock:us.amazon.nova-lite-v1:0"),
        ("bedrok:x", "Hello", {}, awsllm.ConfigurationError, "bedrock:x"),
        (MODEL, "", {}, awsllm.ValidationError, "blank"),
        (MODEL, [], {}, awsllm.ValidationError, "message"),
        (MODEL, "Hello", {"max_token": 5}, awsllm.ValidationError, "max_tokens"),
        (MODEL, "Hello", {"tool_choice": "any"}, awsllm.ValidationError, "tools"),
        (MODEL, "Hello", {"tools": [3]}, awsllm.ValidationError, "function"),
        (MODEL, "Hello", {"max_turns": 0, "tools": [add]}, awsllm.ValidationError, "max_turns"),
        (MODEL, [b"\x00\x01 no image"], {}, awsllm.ValidationError, "png"),
        (MODEL, [{"role": "user", "content": "a", "tool_calls": [1]}], {}, awsllm.ValidationError, "tool_calls"),
        (MODEL, "Hello", {"tools": [TYPO]}, awsllm.ValidationError, "descripton"),
        (MODEL, "Hello", {"inference_config": {"max_tokens": 5}}, awsllm.ValidationError, "max_tokens"),
        (MODEL, "Hello", {"guardrail_config": "g"}, awsllm.ValidationError, "GuardrailConfig"),
    ],
)
def test_bad_input_is_named_before_anything_is_sent(
    model: str, messages: Any, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    client, backend = client_of("Hi.")
    with pytest.raises(error, match=says):
        client.converse(model, messages, **options)
    assert backend.requests == []


def test_given_backends_outlive_the_client() -> None:
    closed = []

    class Recorder(ScriptedBackend):
        def close(self) -> None:
            closed.append(self)

    client = awsllm.Client(backends={"bedrock": Recorder("Hi.")})
    client.close()
    assert closed == []
    assert client.converse(MODEL, "Hello").text == "Hi."  # and not AWS


def test_unknown_client_option() -> None:
    with pytest.raises(awsllm.ConfigurationError, match="retries"):
        awsllm.Client(retries=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("client", [awsllm.Client, awsllm.AsyncClient])
@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"read_timeout": "5"}, "read_timeout is '5'; it is an int or a float"),
        ({"max_connections": 1.5}, "max_connections is 1.5; it is an int"),
        ({"policy": {"max_attempts": 5}}, "policy is a dict; give awsllm.Policy(max_attempts=…)"),
        ({"prices": {MODEL: (1, 2)}}, f"the price of {MODEL} is (1, 2); give awsllm.Price(input=…, output=…)"),
        ({"formats": "tgi"}, "formats is a mapping, not a str"),
        (
            {"backends": {"bedrok": ScriptedBackend("Hi.")}},
            "no backend for 'bedrok': there are bedrock, sagemaker and local",
        ),
    ],
)
def test_a_client_option_that_is_not_what_it_is_to_be(client: Any, options: dict[str, Any], hint: str) -> None:
    with pytest.raises(awsllm.ConfigurationError) as caught:
        client(**options)
    assert caught.value.message == hint


@pytest.mark.parametrize("name", ["max_attempts", "timeout", "base_delay", "event_timeout"])
def test_a_policy_is_made_of_numbers(name: str) -> None:
    with pytest.raises(awsllm.ConfigurationError, match=f"^{name} is '5'; it is a number$"):
        awsllm.Policy(**{name: "5"})  # type: ignore[arg-type]


# --- policy ----------------------------------------------------------------------------------------------------------


def test_throttling_is_retried_and_validation_is_not() -> None:
    client, backend = client_of([awsllm.ThrottlingError("slow down"), "Hi."])
    assert client.converse(MODEL, "Hello").text == "Hi."
    assert len(backend.requests) == 2
    client, backend = client_of([awsllm.ValidationError("no"), "Hi."])
    with pytest.raises(awsllm.ValidationError):
        client.converse(MODEL, "Hello")
    assert len(backend.requests) == 1


def test_a_stream_is_retried_before_its_first_event_only() -> None:
    client, backend = client_of([awsllm.ThrottlingError("slow down"), Broken("one two three", after=3)])
    with pytest.raises(awsllm.StreamError) as caught, client.converse_stream(MODEL, "Hello") as stream:
        list(stream)
    assert len(backend.requests) == 2
    assert caught.value.partial is not None
    assert caught.value.partial.text.startswith("one")
    assert isinstance(caught.value.__cause__, awsllm.ServerError)


# --- tools -----------------------------------------------------------------------------------------------------------

PARALLEL = asks(("1", "add", {"a": 1, "b": 2}), ("2", "add", {"a": 3, "b": "x"}))


def check_loop(reply: awsllm.ConverseResponse, requests: list[Any]) -> None:
    assert reply.text == "Done."
    assert [m.role for m in reply.messages] == ["assistant", "user", "assistant"]
    first, second = reply.messages[1].content
    assert (first.tool_use_id, first.status) == ("1", "success")
    assert (second.tool_use_id, second.status) == ("2", "error")
    assert "b" in str(second.content)
    assert requests[1].messages == (t.Message.user("Go"), *reply.messages[:2])


def test_functions_are_run_for_the_model() -> None:
    client, backend = client_of([PARALLEL, "Done."])
    check_loop(client.converse(MODEL, "Go", tools=[add]), backend.requests)


def test_functions_are_run_for_the_model_async() -> None:
    async def aadd(a: int, b: int) -> int:
        """The sum."""
        await asyncio.sleep(0)
        return a + b

    aadd.__name__ = "add"
    reply = run([PARALLEL, "Done."], lambda client: client.converse(MODEL, "Go", tools=[aadd]))
    assert [m.role for m in reply.messages] == ["assistant", "user", "assistant"]


def test_the_loop_streams() -> None:
    client, backend = client_of([PARALLEL, "Done."])
    with client.converse_stream(MODEL, "Go", tools=[add]) as stream:
        events = list(stream)
    check_loop(stream.response, backend.requests)
    assert [event.role for event in events if isinstance(event, t.MessageStart)] == ["assistant", "user", "assistant"]
    check_result_events(events, stream.response)


def check_result_events(events: list[t.StreamEvent], response: awsllm.ConverseResponse) -> None:
    """They stand between two answers, and fold to the turn that the response has."""
    begins = [n for n, event in enumerate(events) if isinstance(event, t.MessageStart)]
    results = events[begins[1] : begins[2]]
    assert [e.start.status for e in results if isinstance(e, t.ContentBlockStart)] == ["success", "error"]
    assert not any(isinstance(event, t.MessageStop | t.Metadata) for event in results)
    assert awsllm.fold(events).messages == response.messages
    so_far = awsllm.fold(events[: begins[2]])
    assert (so_far.message, so_far.messages) == (response.messages[0], response.messages[:2])


def test_what_breaks_after_the_results_leaves_them_to_be_seen() -> None:
    client, _ = client_of([PARALLEL, awsllm.ValidationError("no")])
    with pytest.raises(awsllm.StreamError) as caught, client.converse_stream(MODEL, "Go", tools=[add]) as stream:
        list(stream)
    partial = caught.value.partial
    assert (partial.stop_reason, len(partial.tool_uses)) == ("tool_use", 2)
    assert [message.role for message in partial.messages] == ["assistant", "user"]


def test_results_of_any_kind_are_seen_in_a_stream() -> None:
    def draw() -> t.Image:
        return t.Image("png", t.Bytes(b"\x89PNG\r\n\x1a\n"))

    client, _ = client_of([asks(("1", "draw", {})), "Done."])
    with client.converse_stream(MODEL, "Go", tools=[draw]) as stream:
        (delta,) = [e.delta for e in stream if isinstance(getattr(e, "delta", None), t.ToolResultDelta)]
    assert delta.content == (draw(),)


def test_a_callers_own_results_are_not_taken_for_the_loops() -> None:
    client, _ = client_of(["Done."])
    turns = [t.Message.user("Go"), PARALLEL, t.Message.user(*(t.ToolResult(n, (t.Text("3"),)) for n in "12"))]
    with client.converse_stream(MODEL, turns, tools=[add]) as stream:
        assert [event.role for event in stream if isinstance(event, t.MessageStart)] == ["assistant"]


def test_the_loop_streams_async() -> None:
    async def use(client: awsllm.AsyncClient) -> awsllm.ConverseResponse:
        async with client.converse_stream(MODEL, "Go", tools=[add]) as stream:
            texts = [text async for text in stream.text_stream]
        assert "".join(texts) == "Done."
        async with client.converse_stream(MODEL, "Go", tools=[add]) as stream:
            check_result_events([event async for event in stream], await stream.response)
        return await stream.response

    reply = run([PARALLEL, "Done."] * 2, use)
    assert [m.role for m in reply.messages] == ["assistant", "user", "assistant"]


SECRET = "no such path: /home/ann"


def leak(a: int) -> int:
    """Fails."""
    raise OSError(SECRET)


async def leak_async(a: int) -> int:
    """Fails."""
    raise OSError(SECRET)


LEAK = asks(("1", "leak", {"a": 1}), ("2", "leak", {"a": "x"}))


def texts_of(reply: Any) -> list[str]:
    return [result.content[0].text for result in reply.messages[1].content]


@pytest.mark.parametrize(
    ("choice", "read"),
    [
        (None, f"OSError: {SECRET}"),
        ("message", f"OSError: {SECRET}"),
        ("type", "OSError"),
        (lambda call, error: f"{call.name} is out of order ({type(error).__name__})", "leak is out of order (OSError)"),
    ],
    ids=["default", "message", "type", "function"],
)
@pytest.mark.parametrize("how", ["sync", "async", "coroutine"])
def test_what_a_tool_raises_is_logged_kept_and_told_as_the_caller_wishes(
    choice: Any, read: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    if how == "sync":
        client, _ = client_of([LEAK, "Done."])
        reply = client.converse(MODEL, "Go", tools=[leak], on_tool_error=choice)
    else:
        tools = [leak if how == "async" else awsllm.function_tool(leak_async, name="leak")]
        reply = run([LEAK, "Done."], lambda client: client.converse(MODEL, "Go", tools=tools, on_tool_error=choice))
    told, bad_arguments = texts_of(reply)
    assert told == read
    assert bad_arguments.startswith("invalid arguments: a: ")
    (error,) = reply.tool_errors
    assert (error.tool_use_id, error.name, error.type, error.message) == ("1", "leak", "OSError", SECRET)
    assert error.traceback.rstrip().endswith(f"OSError: {SECRET}")
    assert "raise OSError(SECRET)" in error.traceback
    (record,) = caplog.records
    assert (record.name, record.levelname, record.message) == ("awsllm.tools", "WARNING", "the tool leak raised")
    assert isinstance(record.exc_info and record.exc_info[1], OSError)


def test_a_tools_exception_can_end_the_call() -> None:
    client, backend = client_of([LEAK, "unused"])
    with pytest.raises(OSError, match=SECRET):
        client.converse(MODEL, "Go", tools=[leak], on_tool_error="raise")
    assert len(backend.requests) == 1

    def refuse(call: t.ToolUse, error: Exception) -> str:
        raise RuntimeError(call.name) from error

    with pytest.raises(RuntimeError, match="leak"):
        client_of([LEAK])[0].converse(MODEL, "Go", tools=[leak], on_tool_error=refuse)


def test_a_tools_exception_ends_the_tools_beside_it() -> None:
    ended = []

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    script = [asks(("1", "slow", {}), ("2", "leak_async", {"a": 1}))]
    with pytest.raises(OSError, match=SECRET):
        run(script, lambda c: c.converse(MODEL, "Go", tools=[slow, leak_async], on_tool_error="raise"))
    assert ended == [True]


def test_an_unknown_choice_is_named() -> None:
    with pytest.raises(awsllm.ValidationError, match="on_tool_error is 'hide'"):
        client_of([])[0].converse(MODEL, "Go", tools=[leak], on_tool_error="hide")  # type: ignore[arg-type]


def test_one_plain_step() -> None:
    client, backend = client_of([PARALLEL])
    reply = client.converse(MODEL, "Go", tools=[add], max_turns=1)
    assert reply.stop_reason == "tool_use"
    assert reply.warnings == ()
    assert len(reply.tool_uses) == 2
    assert len(backend.requests) == 1


def test_turns_already_made_survive_an_error() -> None:
    client, _ = client_of([PARALLEL, awsllm.ValidationError("no")])
    with pytest.raises(awsllm.ValidationError) as caught:
        client.converse(MODEL, "Go", tools=[add])
    assert [m.role for m in caught.value.messages] == ["assistant", "user"]


# --- typed output, cost, embeddings ----------------------------------------------------------------------------------


class Point(BaseModel):
    x: int
    y: int


def answers(request: t.ConverseRequest) -> Any:
    """Whatever way the client chose to ask for the object."""
    if request.tools:
        return asks(("1", request.tools[0].name, {"x": 1, "y": 2}))
    return '{"x": 1, "y": 2}'


@pytest.mark.parametrize(
    "model", [MODEL, "local:smollm2-135m-instruct", "bedrock:us.anthropic.claude-sonnet-4-5-20250929-v1:0"]
)
def test_typed_output(model: str) -> None:
    client, _ = client_of(answers)
    assert client.converse(model, "Where?", output_type=Point).output == Point(x=1, y=2)
    with client.converse_stream(model, "Where?", output_type=Point) as stream:
        assert stream.response.output == Point(x=1, y=2)


def test_cost_is_unknown_without_a_price() -> None:
    reply = t.ConverseResponse(
        message=t.Message.assistant("Hi."), stop_reason="end_turn", usage=t.Usage(1000, 500, 1500, 100)
    )
    client, _ = client_of(reply)
    assert client.converse("bedrock:newcorp.brilliant-v1:0", "Hello").cost is None
    assert client.converse("local:m", "Hello").cost == 0.0
    client, _ = client_of(reply, prices={MODEL: awsllm.Price(1.0, 4.0)})
    assert client.converse(MODEL, "Hello").cost is None  # the cache reads have no price
    client, _ = client_of(reply, prices={MODEL: awsllm.Price(1.0, 4.0, cache_read=0.1)})
    assert client.converse(MODEL, "Hello").cost == pytest.approx((1000 + 4 * 500 + 10) / 1e6)


def test_embed() -> None:
    client, backend = client_of("unused")
    reply = client.embed("bedrock:amazon.titan-embed-text-v2:0", ["a", "b"], dimensions=8, normalize=True)
    assert [len(vector) for vector in reply.vectors] == [8, 8]
    request: Any = backend.requests[0]
    assert request.dimensions == 8
    for bad in ([], [""], "  "):
        with pytest.raises(awsllm.ValidationError):
            client.embed("local:all-minilm-l6-v2", bad)


TITAN_IMAGE = "bedrock:amazon.titan-embed-image-v1"
DOT = awsllm.Image("png", awsllm.Bytes(b"\x89PNG\r\n\x1a\n"))


@pytest.mark.parametrize(
    ("given", "inputs"),
    [
        (DOT, ((DOT,),)),
        (b"\x89PNG\r\n\x1a\n", ((DOT,),)),
        (["a cat", DOT], ((awsllm.Text("a cat"),), (DOT,))),
        ([["a cat", DOT], "a dog"], ((awsllm.Text("a cat"), DOT), (awsllm.Text("a dog"),))),
        (({"text": "a cat"}, (DOT,)), ((awsllm.Text("a cat"),), (DOT,))),
    ],
)
def test_embed_media(given: Any, inputs: Any) -> None:
    client, backend = client_of("unused")
    reply = client.embed(TITAN_IMAGE, given)
    request: Any = backend.requests[0]
    assert (request.inputs, request.texts, len(reply.vectors)) == (inputs, (), len(inputs))


@pytest.mark.parametrize("given", ["a", ["a"], [["a"]], (text for text in ("a",)), awsllm.Text("a"), [{"text": "a"}]])
def test_embed_texts_however_they_are_given(given: Any) -> None:
    client, backend = client_of("unused")
    client.embed(TITAN_IMAGE, given)
    request: Any = backend.requests[0]
    assert (request.texts, request.inputs) == (("a",), ())


def test_embed_a_file(tmp_path: Path) -> None:
    path = tmp_path / "dot.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    client, backend = client_of("unused")
    client.embed(TITAN_IMAGE, [path])
    request: Any = backend.requests[0]
    assert request.inputs == ((DOT,),)


@pytest.mark.parametrize("model", ["local:all-minilm-l6-v2", "sagemaker:ep", "bedrock:amazon.nova-micro-v1:0"])
def test_embed_media_where_texts_only_are_taken(model: str) -> None:
    client, _ = client_of("unused")
    with pytest.raises(awsllm.UnsupportedError, match=r"bedrock:amazon\.titan-embed-image-v1"):
        client.embed(model, [DOT])


def test_embed_what_is_nothing() -> None:
    client, _ = client_of("unused")
    for bad in ([DOT, []], [["a", " "]], [7], 7, [[DOT, None]]):
        with pytest.raises(awsllm.ValidationError):
            client.embed(TITAN_IMAGE, bad)  # type: ignore[arg-type]


def test_count_tokens() -> None:
    client, _ = client_of("unused")
    assert client.count_tokens(MODEL, "one two three") == 3
    assert client.count_tokens(MODEL, "one two three", output_type=int) > 3  # the tool that carries the answer, too
    assert run("unused", lambda client: client.count_tokens(MODEL, "one two three")) == 3


def test_the_policys_timeout_is_for_a_loop_as_a_whole() -> None:
    def slow(a: int) -> int:
        threading.Event().wait(0.06)
        return a

    backend = ScriptedBackend([asks(("1", "slow", {"a": 1})), "too late"])
    client = awsllm.Client(backends={"bedrock": backend}, policy=awsllm.Policy(timeout=0.05))
    with pytest.raises(awsllm.ModelTimeoutError):
        client.converse(MODEL, "Hello", tools=[slow])


def test_the_timeout_breaks_off_async_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled = []

    async def endless(a: int) -> int:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(a)
        return a

    left = iter([60, 60, 60, 0.001])  # a turn, its tool, a turn, its tool
    monkeypatch.setattr("awsllm.async_client.remaining", lambda deadline: next(left))
    script = [asks(("1", "add", {"a": 1, "b": 2})), asks(("2", "endless", {"a": 7})), "unused"]
    with pytest.raises(awsllm.ModelTimeoutError, match="endless") as caught:
        run(script, lambda client: client.converse(MODEL, "Hello", tools=[add, endless], timeout=60))
    assert cancelled == [7]
    assert len(caught.value.messages) == 2


# --- streams as the caller holds them --------------------------------------------------------------------------------


def test_leaving_a_stream_early_closes_it() -> None:
    client, backend = client_of("one two three four")
    with client.converse_stream(MODEL, "Hello") as stream:
        next(iter(stream))
    assert backend.cancelled.is_set()


def test_leaving_an_async_stream_early_closes_it() -> None:
    backend = AsyncScriptedBackend("one two three four")

    async def main() -> None:
        client = awsllm.AsyncClient(backends={"bedrock": backend})
        async with client, client.converse_stream(MODEL, "Hello") as stream:
            async for _ in stream:
                break

    asyncio.run(main())
    assert backend.cancelled.is_set()


def test_leaving_an_async_stream_of_a_loop_has_closed_it() -> None:
    backend = AsyncScriptedBackend("one two three four")

    async def main() -> bool:
        client = awsllm.AsyncClient(backends={"bedrock": backend})
        async with client.converse_stream(MODEL, "Hello", tools=[add]) as stream:
            async for _ in stream:
                break
        return backend.cancelled.is_set()  # now, not when the loop finds time

    assert asyncio.run(main())


def test_a_stream_interrupted_in_a_tool_is_no_whole_answer() -> None:
    def impatient(a: int) -> int:
        raise KeyboardInterrupt

    client, _ = client_of([asks(("1", "impatient", {"a": 1})), "unused"])
    with client.converse_stream(MODEL, "Hello", tools=[impatient]) as stream:
        with pytest.raises(KeyboardInterrupt):
            _ = stream.response
        with pytest.raises(awsllm.StreamError, match="KeyboardInterrupt") as caught:
            _ = stream.response
    assert caught.value.partial is not None
    assert caught.value.partial.tool_uses[0].name == "impatient"


@pytest.mark.parametrize("second", [awsllm.ValidationError("no"), Broken("two words", after=2)])
def test_turns_already_made_survive_an_error_of_a_stream(second: Any) -> None:
    script = [asks(("1", "add", {"a": 1, "b": 2})), second]

    def read() -> None:
        client, _ = client_of(list(script))
        with client.converse_stream(MODEL, "Hello", tools=[add]) as stream:
            list(stream)

    async def read_async(client: awsllm.AsyncClient) -> None:
        async with client.converse_stream(MODEL, "Hello", tools=[add]) as stream:
            await stream.response

    for call in (read, lambda: run(list(script), read_async)):
        with pytest.raises(awsllm.StreamError) as caught:
            call()
        assert [message.role for message in caught.value.messages] == ["assistant", "user"]


def test_an_endless_stream_is_handed_over_as_it_comes() -> None:
    def endless(_: t.ConverseRequest) -> Iterator[t.StreamEvent]:
        yield t.MessageStart("assistant")
        while True:
            yield t.ContentBlockDelta(0, t.TextDelta("x"))

    client, _ = client_of(endless)
    with client.converse_stream(MODEL, "Hello") as stream:
        assert [next(stream.text_stream) for _ in range(3)] == ["x", "x", "x"]


def test_an_arn_is_called_in_its_region(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the client's, where an endpoint of the same name may be another one."""
    from awsllm.aws.http import HttpTransport

    called: list[str] = []

    def send(self: Any, call: Any, attempt: Attempt = UNLIMITED) -> Any:
        called.append(self._session.endpoint(call.request.service).url)
        raise awsllm.ValidationError("far enough")

    monkeypatch.setattr(HttpTransport, "send", send)
    client = awsllm.Client(region="us-east-1", formats={"*": "openai"})
    for model in ("sagemaker:x", "arn:aws:sagemaker:eu-west-1:111122223333:endpoint/x", MODEL):
        with pytest.raises(awsllm.ValidationError, match="far enough"):
            client.converse(model, "Hello")
    hosts = ("runtime.sagemaker.us-east-1", "runtime.sagemaker.eu-west-1", "bedrock-runtime.us-east-1")
    assert called == [f"https://{host}.amazonaws.com" for host in hosts]


def test_boto3s_words_for_options_are_known() -> None:
    with pytest.raises(awsllm.ConfigurationError, match="here it is 'region'"):
        awsllm.Client(region_name="us-east-1")  # type: ignore[call-arg]


LLAMA = "bedrock:us.meta.llama3-3-70b-instruct-v1:0"
SONNET = "bedrock:us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NEW = "bedrock:acme.new-model-v1:0"
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}}


@pytest.mark.parametrize(
    ("model", "extra", "kept"),
    [
        (SONNET, None, True),
        (SONNET, THINKING, False),
        (LLAMA, None, False),
        ("bedrock:acme.new-model-v1:0", None, True),
    ],
)
def test_a_tool_is_forced_only_where_that_is_possible(model: str, extra: Any, kept: bool) -> None:
    client, backend = client_of("Hi.")
    spec = t.ToolSpec("f", {"type": "object", "properties": {}})
    reply = client.converse(model, "Hello", tools=[spec], tool_choice="any", extra=extra)
    request: Any = backend.requests[0]
    assert (request.tool_choice is not None) is kept
    assert ["was left to choose" in warning for warning in reply.warnings if "tool_choice" in warning] == [True] * (
        not kept
    )


def test_a_message_is_made_of_blocks() -> None:
    with pytest.raises(awsllm.ValidationError, match=r"not of a list.*awsllm\.image"):
        t.Message.user(["x"])  # type: ignore[arg-type]


def test_text_is_not_taken_for_bytes() -> None:
    client, backend = client_of("Hi.")
    image = {"image": {"format": "png", "source": {"bytes": "aGVsbG8="}}}
    with pytest.raises(awsllm.ValidationError, match="'bytes' is a text"):
        client.converse(MODEL, [{"role": "user", "content": [{"text": "x"}, image]}])
    assert backend.requests == []


def test_what_only_some_models_know_goes_into_extra() -> None:
    client, _ = client_of("Hi.")
    with pytest.raises(awsllm.ValidationError, match=r"extra=\{'top_k'"):
        client.converse(MODEL, "Hello", top_k=5)  # type: ignore[call-arg]


def test_boto3s_answer_is_a_script() -> None:
    answer = {
        "output": {"message": {"role": "assistant", "content": [{"text": "Hi."}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
        "metrics": {"latencyMs": 1},
    }
    client, _ = client_of(answer)
    assert client.converse(MODEL, "Hello").text == "Hi."


# --- endpoints, images, rankings -------------------------------------------------------------------------------------


def client_and_twin(*replies: Any) -> tuple[awsllm.Client, awsllm.AsyncClient, ScriptedBackend]:
    """A client and its asynchronous twin over one script, as a SageMaker endpoint."""
    backend = ScriptedBackend(*replies)
    sync = awsllm.Client(backends={"sagemaker": backend, "bedrock": backend})
    return sync, awsllm.AsyncClient(backends={"sagemaker": AsyncScriptedBackend(backend)}), backend


def test_how_an_endpoint_is_called() -> None:
    client, twin, backend = client_and_twin("Hi.")
    wanted = t.EndpointOptions(variant="blue", accept_eula=True)
    asked: tuple[Any, ...] = (wanted, {"variant": "blue", "accept_eula": True})
    for endpoint in asked:
        client.converse("sagemaker:ep", "Hello", endpoint=endpoint)
        client.converse_stream("sagemaker:ep", "Hello", endpoint=endpoint).response  # noqa: B018
        client.embed("sagemaker:ep", "Hello", input_type="search_query", endpoint=endpoint)
        client.generate_image("sagemaker:ep", "a cat", endpoint=endpoint)
        client.rerank("sagemaker:ep", "a", ["b"], endpoint=endpoint)
        asyncio.run(twin.embed("sagemaker:ep", "Hello", input_type="search_query", endpoint=endpoint))
    assert len(backend.requests) == 12
    requests: list[Any] = backend.requests
    assert all(request.endpoint == wanted for request in requests)
    embedded = backend.requests[2]
    assert isinstance(embedded, EmbedRequest)
    assert embedded.input_type == "search_query"


BAD_ENDPOINTS = [
    ("bedrock:amazon.nova-lite-v1:0", {"variant": "a"}, "sagemaker: endpoint"),
    ("sagemaker:ep", {"varient": "a"}, "'varient'.*variant"),
    ("sagemaker:ep", "blue", "not a str"),
    ("sagemaker:ep", {"accept_eula": "yes"}, "accept_eula"),
]


@pytest.mark.parametrize(("model", "endpoint", "says"), BAD_ENDPOINTS)
def test_endpoints_that_are_none(model: str, endpoint: Any, says: str) -> None:
    client, _, backend = client_and_twin("Hi.")
    calls: list[Any] = [
        lambda: client.converse(model, "Hello", endpoint=endpoint),
        lambda: client.embed(model, "Hello", endpoint=endpoint),
        lambda: client.generate_image(model, "a cat", endpoint=endpoint),
        lambda: client.rerank(model, "a", ["b"], endpoint=endpoint),
    ]
    for call in calls:
        with pytest.raises(awsllm.ValidationError, match=says):
            call()
    assert backend.requests == []


def test_images() -> None:
    client, twin, backend = client_and_twin()
    options: dict[str, Any] = {"count": 2, "width": 3, "height": 2, "seed": 7, "negative_prompt": "dogs", "steps": 9}
    reply = client.generate_image("sagemaker:ep", "a cat", **options)
    assert reply.model == "sagemaker:ep"
    first, second = (image.source.data for image in reply.images if isinstance(image.source, t.Bytes))
    assert first != second
    assert (first[:8], first[16:24]) == (b"\x89PNG\r\n\x1a\n", b"\0\0\0\x03\0\0\0\x02")
    assert asyncio.run(twin.generate_image("sagemaker:ep", "a cat", **options)) == reply
    request = backend.requests[0]
    assert isinstance(request, ImageRequest)
    assert (request.prompt, request.steps, request.negative_prompt) == ("a cat", 9, "dogs")


def test_rankings() -> None:
    client, twin, _ = client_and_twin()
    documents = ["a bird", "the black cat", "a cat"]
    reply = client.rerank("sagemaker:ep", "the cat", documents)
    assert [(item.index, item.score) for item in reply.results] == [(1, 1.0), (2, 0.5), (0, 0.0)]
    assert reply.results[0].document == "the black cat"
    best = asyncio.run(twin.rerank("sagemaker:ep", "the cat", documents, top_n=1))
    assert best.results == reply.results[:1]
    assert best.model == "sagemaker:ep"


def test_images_and_rankings_that_are_refused() -> None:
    client, _, backend = client_and_twin()
    refused: list[tuple[Any, str]] = [
        (lambda: client.generate_image("sagemaker:ep", "a", sead=1), "did you mean 'seed'"),  # type: ignore[call-arg]
        (lambda: client.generate_image("sagemaker:ep", " "), "blank"),
        (lambda: client.generate_image("sagemaker:ep", "a", count=0), "count is 0"),
        (lambda: client.rerank("sagemaker:ep", "a", []), "at least one document"),
        (lambda: client.rerank("sagemaker:ep", "a", "b"), "a list"),
        (lambda: client.rerank("sagemaker:ep", " ", ["b"]), "query"),
        (lambda: client.rerank("sagemaker:ep", "a", ["b", ""]), "document 1"),
        (lambda: client.rerank("sagemaker:ep", "a", ["b"], top_n=0), "top_n"),
        (lambda: client.embed("sagemaker:ep", "a", inputtype="x"), "did you mean 'input_type'"),  # type: ignore[call-arg]
    ]
    for call, says in refused:
        with pytest.raises(awsllm.ValidationError, match=says):
            call()
    assert backend.requests == []


def test_who_makes_images_and_rankings_is_named() -> None:
    with pytest.raises(awsllm.UnsupportedError, match="bedrock: and sagemaker: text-to-image models"):
        awsllm.Client().generate_image("local:smollm2-135m-instruct", "a cat")


def test_tools_need_a_container_that_has_them() -> None:
    client = awsllm.Client(region="us-east-1", formats={"ep": "mms"})
    for options in ({"tools": [add]}, {"output_type": dict[str, int]}):
        with pytest.raises(awsllm.UnsupportedError, match="sagemaker:ep"):
            client.converse("sagemaker:ep", "Hello", **options)
