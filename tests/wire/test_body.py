"""Every body of both tables keeps the contract: what it is, what it reads, what it streams, how it fails."""

import ast
import json
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awsllm import errors, wire
from awsllm.errors import AwsllmError, ConfigurationError, StreamError, UnsupportedError, ValidationError
from awsllm.stream import replay
from awsllm.types import (
    Bytes,
    ConverseRequest,
    ConverseResponse,
    CountTokensRequest,
    EndpointOptions,
    Image,
    InferenceConfig,
    JsonSchema,
    JsonValue,
    Message,
    OutputConfig,
    Request,
    ToolSpec,
    Usage,
    Video,
)
from awsllm.types.embedding import EmbedRequest
from awsllm.types.media import ImageEditRequest, ImageRequest, VideoRequest
from awsllm.types.reranking import RerankRequest
from awsllm.wire import endpoint, invoke
from awsllm.wire.body import MEMBERS, Body, Codec, Context, Payload, Settings
from awsllm.wire.endpoint.errors import decode_error
from awsllm.wire.images.pixels import encode_png
from tests.support.bodies import PLAIN, ask, payload, received, streamed, written
from tests.support.spoiled import spoiled

PNG = encode_png(320, [bytes(320 * 3)] * 320)
FEW = settings(max_examples=25)
ALL = [*((endpoint, name) for name in endpoint.BODIES), *((invoke, name) for name in invoke.BODIES)]
CHATS = [name for name in endpoint.BODIES if endpoint.get(name).chat is not None]
STREAMING = [name for name in CHATS if (chat := endpoint.get(name).chat) is not None and chat.streams]
WHOLE_ONLY = [name for name in CHATS if name not in STREAMING]
REQUESTS: dict[type[Request[Any]], Request[Any]] = {
    ConverseRequest: ask(endpoint=EndpointOptions(accept_eula=True)),  # dialogs demands that
    EmbedRequest: EmbedRequest(model="ep", texts=("a",)),
    ImageRequest: ImageRequest(model="ep", prompt="a cat"),
    RerankRequest: RerankRequest(model="ep", query="q", documents=("a", "b")),
    ImageEditRequest: ImageEditRequest(model="ep", task="variation", prompt="a", images=(Image("png", Bytes(PNG)),)),
    VideoRequest: VideoRequest(model="ep", prompt="a cat"),
}
# Where a body cannot take the one above.
OWN: dict[tuple[str, type[Request[Any]]], Request[Any]] = {
    ("pegasus", ConverseRequest): ConverseRequest(
        model="ep", messages=(Message.user(Video("mp4", Bytes(b"0000ftyp")), "What happens?"),)
    ),
    ("stability-edit", ImageEditRequest): ImageEditRequest(
        model="ep", task="remove_background", images=(Image("png", Bytes(PNG)),)
    ),
}
EMBEDDING = Settings(task="embedding")
TASKS = {"huggingface": Settings(task="feature-extraction"), "lmi": EMBEDDING, "mms": EMBEDDING}


def settings_for(name: str, kind: type[Request[Any]]) -> Settings:
    """Some containers are of one task."""
    return TASKS.get(name, PLAIN) if kind is EmbedRequest else PLAIN


# --- the tables ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("table", "name"), ALL)
def test_a_body_is_what_its_row_says(table: Any, name: str) -> None:
    body = table.get(name)
    assert isinstance(body, Body)
    assert (body.name, bool(body.title)) == (name, True)
    assert table.get(name) is body
    assert any(getattr(body, member) for member in MEMBERS.values())
    for kind in REQUESTS:
        member = MEMBERS[kind.operation]
        if getattr(body, member) is None:
            with pytest.raises(UnsupportedError, match=kind.operation):
                body.codec(kind)
        else:
            assert body.codec(kind) is getattr(body, member)
    if body.embed is not None:
        assert body.embed.max_texts is None or body.embed.max_texts > 0


@pytest.mark.parametrize("table", [endpoint, invoke])
def test_a_name_that_is_none_names_the_known(table: Any) -> None:
    with pytest.raises(ConfigurationError, match=", ".join(table.BODIES)):
        table.get("nothing such")
    with pytest.raises(UnsupportedError, match="count_tokens"):
        table.get(next(iter(table.BODIES))).codec(CountTokensRequest)


def test_a_new_family_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("made_up")
    module.BODIES = (endpoint.get("openai")._replace(name="made-up"),)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "made_up", module)
    monkeypatch.setitem(endpoint.BODIES, "made-up", "made_up")
    assert endpoint.get("made-up") is module.BODIES[0]


PLACES = re.compile(r"\b(sagemaker|bedrock|containers?|endpoints?)\b", re.IGNORECASE)
WIRE_VALUES = ("bedrock-2023-05-31",)  # what a format demands, whoever carries it
DIALECTS = (
    *("ai21", "amazon", "anthropic", "cohere", "deepseek", "images", "luma", "meta", "mistral", "openai", "stability"),
    *("text", "twelvelabs", "writer"),
)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_dialect_does_not_say_who_is_calling(dialect: str) -> None:
    """Errors and warnings name no place: whoever calls adds that."""
    for path in (Path(wire.__path__[0]) / dialect).glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
                assert node.value in WIRE_VALUES or not PLACES.search(node.value), f"{path.name}:{node.lineno}"


# --- requests and responses ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("table", "name"), ALL)
def test_what_is_written_is_read(table: Any, name: str) -> None:
    body: Body = table.get(name)
    for kind in REQUESTS:
        if getattr(body, MEMBERS[kind.operation]) is not None:
            codec: Codec[Any, Any] = body.codec(kind)
            given_settings = settings_for(name, kind)
            wanted = OWN.get((name, kind), REQUESTS[kind])
            assert isinstance(codec.warnings(wanted, given_settings), tuple)
            sent = codec.encode_request(wanted, given_settings)
            request, streams = body.read("ep", sent, given_settings)
            assert (type(request), request.model, streams) == (kind, "ep", False)


@pytest.mark.parametrize("name", CHATS)
@FEW
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1), counts=st.tuples(*[st.integers(0, 99)] * 2))
def test_what_a_server_answers_is_what_the_client_reads(name: str, text: str, counts: tuple[int, int]) -> None:
    body = endpoint.get(name)
    assert body.chat is not None
    answer = ConverseResponse(message=Message.assistant(text), stop_reason="end_turn", usage=Usage(*counts))
    config, options = InferenceConfig(stop_sequences=("no such text",)), EndpointOptions(accept_eula=True)
    request = ask(inference_config=config, endpoint=options)
    context = received(body, body.chat.encode_request(request, PLAIN))
    back = body.chat.decode_response(body.chat.encode_response(answer, context), Context(request=request))
    assert (back.text, back.stop_reason) == (text, "end_turn")
    assert (back.usage.input_tokens, back.usage.output_tokens) in ((None, None), (None, counts[1]), counts)


@pytest.mark.parametrize("name", CHATS)
def test_a_reply_of_another_shape_is_a_server_error(name: str) -> None:
    codec = endpoint.get(name).codec(ConverseRequest)
    texts = [] if name == "mms-text" else [b"<html>", b"7"]  # which takes any text for an answer
    for reply in (*texts, b"[]", b"{}", b"[7]", b'{"generations": 1}', b'{"responses": [1]}'):
        with pytest.raises(errors.ServerError):
            codec.decode_response(Payload(reply), Context(request=ask()))


@pytest.mark.parametrize(("table", "name"), [(table, name) for table, name in ALL if name != "mms-text"])
@pytest.mark.parametrize("sent", [b"<html>", b"[]", b"{}"])
def test_a_malformed_body_is_refused(table: Any, name: str, sent: bytes) -> None:
    wanted = {"accept": "application/json;jpeg", "attributes": "accept_eula=true"}  # by stable-diffusion and dialogs
    with pytest.raises(ValidationError):
        table.get(name).read("ep", Payload(sent, **wanted), PLAIN)


@pytest.mark.parametrize("name", [name for name in CHATS if name not in ("openai", "cohere-chat")])
def test_messages_say_which_format_has_tools(name: str) -> None:
    spec = ToolSpec("find", {"type": "object", "properties": {}})
    with pytest.raises(UnsupportedError, match="openai"):
        endpoint.get(name).codec(ConverseRequest).encode_request(ask(tools=(spec,)), PLAIN)


@pytest.mark.parametrize("name", [name for name in CHATS if name not in ("openai", "tgi")])
def test_messages_say_which_format_takes_a_schema_for_the_answer(name: str) -> None:
    request = ask(output_config=OutputConfig(json_schema=JsonSchema({"type": "object"})))
    with pytest.raises(UnsupportedError, match="openai"):
        endpoint.get(name).codec(ConverseRequest).encode_request(request, PLAIN)


# --- streams ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WHOLE_ONLY)
def test_a_chat_without_streams_says_so(name: str) -> None:
    chat = endpoint.get(name).chat
    assert chat is not None
    makers: tuple[Callable[[], object], ...] = (
        lambda: chat.encode_request(ask(), PLAIN, stream=True),
        lambda: chat.stream_decoder(Context(request=ask())),
        lambda: chat.stream_encoder(Context(request=ask())),
    )
    for make in makers:
        with pytest.raises(UnsupportedError):
            make()


@pytest.mark.parametrize("name", STREAMING)
@FEW
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1), cut=st.integers(1, 60)
)
def test_a_stream_folds_to_its_text_wherever_it_is_cut(name: str, texts: list[str], cut: int) -> None:
    body = endpoint.get(name)
    assert body.chat is not None
    answer = ConverseResponse(message=Message.assistant(*texts), stop_reason="end_turn")
    context = received(body, body.chat.encode_request(ask(), PLAIN, stream=True))
    assert body.read("ep", body.chat.encode_request(ask(), PLAIN, stream=True), PLAIN)[1]
    data = written(body.chat, answer, context)
    back = streamed(body.chat, data, Context(request=ask(), warnings=("w",)), cut)
    assert (back.text, back.stop_reason, back.warnings) == ("".join(texts), "end_turn", ("w",))


@pytest.mark.parametrize("name", [name for name in STREAMING if name != "djl"])  # nothing marks the end of its streams
def test_a_stream_that_was_cut_raises_on_both_sides(name: str) -> None:
    body = endpoint.get(name)
    assert body.chat is not None
    encoder = body.chat.stream_encoder(received(body, body.chat.encode_request(ask(), PLAIN, stream=True)))
    cut = ConverseResponse(message=Message.assistant("half"), stop_reason=None)
    data = b"".join(map(encoder.event, replay(cut)))
    with pytest.raises(StreamError):
        encoder.end()
    with pytest.raises(StreamError):
        streamed(body.chat, data, Context(request=ask()))


FAILURES = {  # those that have no other words
    "lmi": (errors.ServerError, "stopped generating with an error"),
    "djl": (errors.ServerError, "invoke handler failure"),
}


@pytest.mark.parametrize("name", STREAMING)
def test_a_failure_inside_a_stream_is_the_servers_error(name: str) -> None:
    body = endpoint.get(name)
    assert body.chat is not None
    context = received(body, body.chat.encode_request(ask(), PLAIN, stream=True))
    data = body.chat.stream_encoder(context).failure(errors.ThrottlingError("slow down"))
    kind, message = FAILURES.get(name, (errors.ThrottlingError, "slow down"))
    with pytest.raises(kind, match=message):
        streamed(body.chat, data, Context(request=ask()))


# --- errors ----------------------------------------------------------------------------------------------------------


JSON_BODIES = [(table, name) for table, name in ALL if name != "mms-text"]  # that one is any text


@pytest.mark.parametrize(("table", "name"), JSON_BODIES)
def test_a_spoiled_request_raises_nothing_but_what_is_typed(table: Any, name: str) -> None:
    body: Body = table.get(name)
    for kind in REQUESTS:
        if getattr(body, MEMBERS[kind.operation]) is None:
            continue
        own_settings = settings_for(name, kind)
        sent = body.codec(kind).encode_request(OWN.get((name, kind), REQUESTS[kind]), own_settings)
        for value in spoiled(msgspec.json.decode(sent.body)):
            with suppress(AwsllmError):
                body.read("ep", msgspec.structs.replace(sent, body=json.dumps(value).encode()), own_settings)


def failure_of(call: Callable[[], object]) -> str:
    try:
        call()
    except AwsllmError as error:
        return str(error)
    return ""


SECRET = "the model's words"


@pytest.mark.parametrize(("table", "name"), JSON_BODIES)
@pytest.mark.parametrize("reply", [SECRET, f'"{SECRET}"', f'["{SECRET}"]', f'{{"other": "{SECRET}"}}'])
def test_a_reply_that_cannot_be_read_is_not_shown(table: Any, name: str, reply: str) -> None:
    body: Body = table.get(name)
    for kind in REQUESTS:
        if getattr(body, MEMBERS[kind.operation]) is not None:
            context = Context(request=OWN.get((name, kind), REQUESTS[kind]))
            failure = failure_of(partial(body.codec(kind).decode_response, Payload(reply.encode()), context))
            assert SECRET not in failure


KINDS: dict[str, type[AwsllmError]] = {  # what those tell of it that do not say by a status that they are not ready
    "tgi": errors.ThrottlingError,
    "djl": errors.ServerError,
    "dialogs": errors.ServerError,
    "mms": errors.ServerError,
    "mms-text": errors.ServerError,
}


@pytest.mark.parametrize("name", endpoint.BODIES)
def test_an_error_of_the_server_keeps_its_kind_through_the_service(name: str) -> None:
    status, sent = endpoint.get(name).encode_error(errors.ModelNotReadyError("still loading"))
    wrapped = {"OriginalStatusCode": status, "OriginalMessage": sent.body.decode(), "Message": "m"}
    error = decode_error(424, {"x-amzn-errortype": "ModelError"}, json.dumps(wrapped).encode())
    assert isinstance(error, KINDS.get(name, errors.ModelNotReadyError))
    assert error.message == ("still loading" if status != 424 else "invoke handler failure")


WORDS = (
    "text message chat_history tools tool_results tool_calls documents call outputs name parameters type description "
    "parameter_definitions finish_reason meta billed_units tokens token_count citations document_ids id event_type "
    "response generations completions data finishReason reason prompt responses output_text execution_metadata cost "
    "endpoint params messages role content inputs texts embeddings results index relevance_score score query weight "
    "generated_text artifacts base64 generated_images generated_image text_prompts is_finished title url snippet error "
    "inputText dimensions normalize embeddingTypes embedding embeddingsByType inputTextTokenCount choices delta usage "
    "taskType textToImageParams inPaintingParams imageVariationParams virtualTryOnParams image images "
    "imageGenerationConfig maskImage seeds finish_reasons init_image textToVideoParams multiShotManualParams shots "
    "keyframes frame0 source inputPrompt mediaSource base64String s3Location uri message finishReason invocationArn "
    "outputDataConfig s3OutputDataConfig s3Uri"
)
LEAVES = st.sampled_from(
    [None, True, 0, 1.5, 10**30, 10**400, "", "x", "USER", "TOOL", "llm/chat", "stream-end", "COMPLETE", "INPAINTING"]
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS.split()), inner, max_size=4),
)


@pytest.mark.parametrize(("table", "name"), ALL)
@settings(max_examples=60)
@given(value=TREES)
def test_any_json_is_read_or_refused(table: Any, name: str, value: JsonValue) -> None:
    body, sent = table.get(name), payload(value, accept="application/json;jpeg")
    readers: list[Callable[[], object]] = [lambda: body.read("ep", sent, PLAIN)]
    for kind in REQUESTS:
        if getattr(body, MEMBERS[kind.operation]) is not None:
            readers += [partial(body.codec(kind).decode_response, sent, Context(request=REQUESTS[kind]))]
    if body.chat is not None and body.chat.streams:
        readers.append(lambda: [*body.chat.stream_decoder(Context(request=ask())).push(value)])
    for read in readers:
        with suppress(AwsllmError):
            read()
