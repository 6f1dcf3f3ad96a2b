"""What callers write, as neutral values; what is refused before anything is sent, and how the refusal names the fix."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pydantic
import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import validate_parameters
from hypothesis import given
from hypothesis import strategies as st

from awsllm.calls import content as coerce
from awsllm.errors import ValidationError
from awsllm.tools.loop import ToolFunction, tool
from awsllm.types import (
    Audio,
    Bytes,
    CachePoint,
    ConverseRequest,
    Document,
    DocumentText,
    Image,
    InferenceConfig,
    Message,
    Reasoning,
    S3Location,
    SystemTool,
    Text,
    ToolChoice,
    ToolResult,
    ToolSpec,
    ToolUse,
    Video,
)
from awsllm.wire.converse import encode_request

PNG = b"\x89PNG\r\n\x1a\n rest"
JPEG = b"\xff\xd8\xff\xe0 rest"
PDF = b"%PDF-1.7 rest"
RUNTIME = ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2"), "bedrock-runtime")


def request(*messages: Message, **members: Any) -> ConverseRequest:
    return ConverseRequest(model="m", messages=messages or (Message.user("Hello"),), **members)


def assert_botocore_takes(value: ConverseRequest) -> None:
    validate_parameters({"modelId": "m", **encode_request(value)}, RUNTIME.operation_model("Converse").input_shape)


@tool
def search(query: str) -> str:
    """Search."""
    return query


# --- messages --------------------------------------------------------------------------------------------------------

HELLO = Message.user("Hello")
BOTO3 = [
    {"role": "user", "content": [{"text": "Hello"}, {"image": {"format": "png", "source": {"bytes": PNG}}}]},
    {
        "role": "assistant",
        "content": [
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
            {"toolUse": {"toolUseId": "t1", "name": "search", "input": {"query": "x"}}},
        ],
    },
    {
        "role": "user",
        "content": [{"toolResult": {"toolUseId": "t1", "content": [{"json": {"a": 1}}], "status": "success"}}],
    },
]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Hello", (HELLO,)),
        (HELLO, (HELLO,)),
        (Text("Hello"), (HELLO,)),
        ([HELLO], (HELLO,)),
        ((HELLO, Message.assistant("Hi")), (HELLO, Message.assistant("Hi"))),
        (["a", Text("b")], (Message.user("a", "b"),)),
        (PNG, (Message.user(Image("png", Bytes(PNG))),)),
        (["look", PNG, bytearray(JPEG)], (Message.user("look", Image("png", Bytes(PNG)), Image("jpeg", Bytes(JPEG))),)),
        ({"role": "user", "content": [{"text": "Hello"}]}, (HELLO,)),
        ({"role": "user", "content": "Hello"}, (HELLO,)),
        ({"text": "Hello"}, (HELLO,)),
        ([{"text": "a"}, "b"], (Message.user("a", "b"),)),
        ([{"role": "system", "content": "Be brief."}, HELLO], (Message("system", (Text("Be brief."),)), HELLO)),
        ([HELLO, {"role": "assistant", "content": [{"text": "Hi"}]}], (HELLO, Message.assistant("Hi"))),
        ([HELLO, Message.user("Again")], (Message.user("Hello", "Again"),)),
        ([], (Message("user", ()),)),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_conversation_is_read(value: Any, expected: tuple[Message, ...]) -> None:
    if value == []:
        assert coerce.messages(value) == ()
    else:
        assert coerce.messages(value) == expected


def test_boto3s_conversation_is_read_and_written_as_botocore_wants_it() -> None:
    messages = coerce.messages(BOTO3)  # type: ignore[arg-type]
    assert messages[1].content == (
        Reasoning(text="hm", signature="s"),
        ToolUse(id="t1", name="search", input={"query": "x"}),
    )
    made = request(*messages, system=coerce.system([{"text": "Be brief."}, {"cachePoint": {"type": "default"}}]))
    specs, _ = coerce.tools([{"toolSpec": {"name": "search", "inputSchema": {"json": {"type": "object"}}}}])
    made = msgspec.structs.replace(made, tools=specs, tool_choice=coerce.tool_choice({"auto": {}}))
    coerce.check_request(made)
    assert_botocore_takes(made)
    assert encode_request(made)["messages"] == BOTO3


@given(
    st.lists(
        st.sampled_from(
            [HELLO, "text", Text("block"), PNG, {"role": "user", "content": [{"text": "d"}]}, {"text": "b"}]
        ),
        min_size=1,
        max_size=4,
    )
)
def test_what_is_read_can_be_sent(value: list[Any]) -> None:
    try:
        messages = coerce.messages(value)
    except ValidationError as error:
        assert "messages mixes turns" in error.message  # noqa: PT017
        return
    made = request(*messages)
    coerce.check_request(made)
    assert_botocore_takes(made)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ([HELLO, "stray"], "write Message.user(...)"),
        ([HELLO, 3], "mixes turns with a bare int"),
        ([3], "a int is no content"),
        (3, "a int is no content"),
        (None, "a NoneType is no content"),
        ({"role": "user"}, "content: is required"),
        ({"role": "user", "content": [{"text": 3}]}, "content.0.text"),
        ({"role": "user", "content": [{"image": {}}]}, "content.0.image"),
        (b"no medium", "9 bytes: of an unknown format; an image is png, jpeg, gif or webp: convert it"),
    ],
    ids=str,
)
def test_what_is_no_conversation_is_refused(value: Any, hint: str) -> None:
    with pytest.raises(ValidationError) as caught:
        coerce.messages(value)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ()),
        ("Be brief.", (Text("Be brief."),)),
        (Text("Be brief."), (Text("Be brief."),)),
        ({"text": "Be brief."}, (Text("Be brief."),)),
        (["a", {"text": "b"}, CachePoint()], (Text("a"), Text("b"), CachePoint())),
    ],
    ids=str,
)
def test_a_system_prompt_is_read(value: Any, expected: tuple[Any, ...]) -> None:
    assert coerce.system(value) == expected


@pytest.mark.parametrize("value", [3, [3], Image("png", Bytes(PNG))], ids=str)
def test_what_is_no_system_prompt_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError, match="is no system prompt"):
        coerce.system(value)


# --- media -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("cat.png", PNG, Image("png", Bytes(PNG))),
        ("cat.jpg", PNG, Image("png", Bytes(PNG))),  # the bytes know better than the name
        ("cat", b"GIF89a", Image("gif", Bytes(b"GIF89a"))),
        ("cat.webp", b"RIFF1234WEBPx", Image("webp", Bytes(b"RIFF1234WEBPx"))),
        ("My report_v2.final.pdf", PDF, Document("My report v2 final", Bytes(PDF), "pdf")),
        ("table.csv", b"a,b", Document("table", Bytes(b"a,b"), "csv")),
        ("page.htm", b"<p>", Document("page", Bytes(b"<p>"), "html")),
        ("notes.markdown", b"# x", Document("notes", Bytes(b"# x"), "md")),
        ("program.py", b"print()", Document("program py", Bytes(b"print()"), "txt")),
        ("sheet.xlsx", b"PK\x03\x04", Document("sheet", Bytes(b"PK\x03\x04"), "xlsx")),
        ("film.mp4", b"1234ftypisom", Video("mp4", Bytes(b"1234ftypisom"))),
        ("film.3gp", b"x", Video("three_gp", Bytes(b"x"))),
        ("song.mp3", b"ID3x", Audio("mp3", Bytes(b"ID3x"))),
        ("song", b"fLaCx", Audio("flac", Bytes(b"fLaCx"))),
    ],
)
def test_a_file_becomes_the_block_of_its_kind(tmp_path: Path, name: str, data: bytes, expected: Any) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert coerce.messages(["look", path]) == (Message.user("look", expected),)
    coerce.check_request(request(Message.user("look", expected)))
    assert_botocore_takes(request(Message.user("look", expected)))


@pytest.mark.parametrize(
    ("name", "data", "hint"),
    [
        ("cat.png", b"text", "cat.png: of an unknown format; an image is png, jpeg, gif or webp: convert it"),
        ("cat.heic", b"\x00\x00", "cat.heic: of an unknown format; an image is png, jpeg, gif or webp"),
        ("cat.svg", b"<svg/>", "an image is png, jpeg, gif or webp"),
        ("data.bin", b"\xff\x00", "data.bin is of an unknown kind"),
        ("nothing.txt", b"", "is empty"),
    ],
)
def test_a_file_of_no_known_kind_is_refused(tmp_path: Path, name: str, data: bytes, hint: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValidationError) as caught:
        coerce.messages([tmp_path / name])
    assert hint in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(ValidationError, match="cannot read"):
            coerce.messages([path])


def test_documents_named_after_files_get_different_names(tmp_path: Path) -> None:
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "report.txt").write_text("x")
    given_name = Document("report (2)", DocumentText("y"))
    pieces = ["Compare", tmp_path / "a/report.txt", given_name, tmp_path / "b/report.txt", tmp_path / "c/report.txt"]
    (turn,) = coerce.messages(pieces)
    names = [block.name for block in turn.content if isinstance(block, Document)]
    assert names == ["report", "report (2)", "report (3)", "report (4)"]
    coerce.check_request(request(turn))


def test_media_is_made_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.pdf"
    path.write_bytes(PDF)
    assert coerce.image(PNG) == Image("png", Bytes(PNG))
    assert coerce.image("s3://bucket/cat.jpg") == Image("jpeg", S3Location("s3://bucket/cat.jpg"))
    assert coerce.image("s3://bucket/cat", format="gif") == Image("gif", S3Location("s3://bucket/cat"))
    assert coerce.document(str(path), name="A/B: c", citations=True) == Document("B c", Bytes(PDF), "pdf", None, True)
    assert coerce.document(b"plain") == Document("document", Bytes(b"plain"), "txt")
    assert coerce.document("s3://bucket/y.docx") == Document("y", S3Location("s3://bucket/y.docx"), "docx")
    assert coerce.video("s3://bucket/v.mov") == Video("mov", S3Location("s3://bucket/v.mov"))
    assert coerce.audio(b"raw", format="pcm") == Audio("pcm", Bytes(b"raw"))
    assert coerce.audio("s3://bucket/a.mp4") == Audio("mp4", S3Location("s3://bucket/a.mp4"))


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda: coerce.image(b"text"), "4 bytes is not an image of a known format"),
        (lambda: coerce.image(b"text", format="png"), "4 bytes is not an image of a known format"),
        (lambda: coerce.image("s3://bucket/x"), "'s3://bucket/x' is not an image of a known format"),
        (lambda: coerce.document(b"\xff\x00"), "pass format=, one of csv, doc"),
        (lambda: coerce.document(b"x", format="rtf"), "pass format=, one of csv, doc"),
        (lambda: coerce.video(b"x"), "is no video of a known format; pass format="),
        (lambda: coerce.audio(b"x", format="midi"), "is no audio of a known format; pass format="),
    ],
)
def test_media_of_no_known_format_is_refused(make: Any, hint: str) -> None:
    with pytest.raises(ValidationError) as caught:
        make()
    assert hint in str(caught.value)


def test_formats_are_botocores() -> None:
    shapes = {"image": "ImageFormat", "document": "DocumentFormat", "video": "VideoFormat", "audio": "AudioFormat"}
    for kind, shape in shapes.items():
        assert coerce.FORMATS[kind] == frozenset(RUNTIME.shape_for(shape).enum), kind


@given(st.text(max_size=300))
def test_any_text_makes_a_document_name(text: str) -> None:
    name = coerce.document_name(text)
    assert re.fullmatch(r"[A-Za-z0-9()\[\] -]{1,200}", name)
    assert "  " not in name
    coerce.check_request(request(Message.user("Read", Document(name, DocumentText("x")))))


# --- tools -----------------------------------------------------------------------------------------------------------


class Lookup(pydantic.BaseModel):
    """Look it up."""

    key: str


def plain(a: int) -> int:
    return a


class Desk:
    @tool
    def find(self, a: int) -> int:
        return a


def test_tools_of_every_shape() -> None:
    dict_tool = {"toolSpec": {"name": "d", "inputSchema": {"json": {"type": "object"}}}}
    spec = ToolSpec(name="s", input_schema={"type": "object"})
    specs, functions = coerce.tools([search, plain, spec, dict_tool, Lookup, SystemTool("nova_grounding"), Desk().find])
    assert [getattr(s, "name", None) for s in specs] == [
        *("search", "plain", "s", "d", "Lookup", "nova_grounding", "find")
    ]
    assert list(functions) == ["search", "plain", "find"]
    assert all(isinstance(f, ToolFunction) for f in functions.values())
    made = request(tools=specs)
    coerce.check_request(made)
    assert_botocore_takes(made)


def test_one_tool_needs_no_list() -> None:
    assert coerce.tools(search) == ((search.spec,), {"search": search})


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (["search"], "'search' is not a function"),
        ([3], "3 is not a function"),
        ([int], "the class int is no tool"),
        ([search, search], "two tools are named 'search'"),
        ([Desk.find], "is a method without its object: pass object.find"),
        ([{"toolSpec": {"name": "x"}}], "inputSchema"),
        ([{"name": "x"}], "tool is not what Converse takes: 'name' is unknown"),
        ([lambda a: a], "a lambda has no name"),
    ],
)
def test_what_is_no_tool_is_refused(value: Any, hint: str) -> None:
    with pytest.raises(ValidationError) as caught:
        coerce.tools(value)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("auto", ToolChoice("auto")),
        ("any", ToolChoice("any")),
        ("search", ToolChoice("tool", "search")),
        (search, ToolChoice("tool", "search")),
        (plain, ToolChoice("tool", "plain")),
        (search.spec, ToolChoice("tool", "search")),
        (ToolChoice("any"), ToolChoice("any")),
        ({"any": {}}, ToolChoice("any")),
        ({"tool": {"name": "search"}}, ToolChoice("tool", "search")),
    ],
)
def test_a_tool_choice_is_read(value: Any, expected: ToolChoice | None) -> None:
    assert coerce.tool_choice(value) == expected


@pytest.mark.parametrize(
    ("value", "hint"), [("required", "'any'"), ("none", "leave tools out"), (3, "3 is not a function")]
)
def test_what_is_no_tool_choice_is_refused(value: Any, hint: str) -> None:
    with pytest.raises(ValidationError, match=hint):
        coerce.tool_choice(value)


# --- checks ----------------------------------------------------------------------------------------------------------

DOCUMENT = Document("report", DocumentText("x"))


@pytest.mark.parametrize(
    "fine",
    [
        request(),
        request(Message.user("Read", DOCUMENT), Message.assistant("Yes"), Message.user("Why?")),
        request(Message("system", (Text("Be brief."),)), HELLO),
        request(Message.user("x", Image("png", S3Location("s3://b/k")))),
        request(tools=(ToolSpec(name="a-B_9", input_schema={"type": "object"}), CachePoint())),
        ConverseRequest(model="arn:aws:bedrock:us-east-1:1:prompt/p", prompt_variables={"a": "b"}),
    ],
)
def test_what_converse_takes_passes(fine: ConverseRequest) -> None:
    coerce.check_request(fine)


def spec(name: str = "a", schema: Any = None, description: str | None = None) -> ToolSpec:
    return ToolSpec(name=name, input_schema={"type": "object"} if schema is None else schema, description=description)


@pytest.mark.parametrize(
    ("bad", "hint"),
    [
        (ConverseRequest(model="m"), "no messages: pass what the user says"),
        (request(Message.assistant("Hi")), "a conversation begins with a user turn"),
        (request(Message("human", (Text("x"),))), "messages[0].role is 'human'; it is user, assistant or system"),
        (request(HELLO, Message.assistant()), "messages[1] is empty: give it some content"),
        (request(Message.user(" \n")), "messages[0].content[0] is blank text"),
        (request(system=(Text(" "),)), "system[0] has no text"),
        (request(Message.user(DOCUMENT)), "messages[0] has a document and no text: say beside it"),
        (request(Message.user("x", DOCUMENT), Message.user("y", DOCUMENT)), "second document named 'report'"),
        (request(Message.user("x", Document("a_b", DocumentText("x")))), "'a b' would do"),
        (request(Message.user("x", Document("a  b", DocumentText("x")))), "'a b' would do"),
        (request(Message.user("x", Document("a", Bytes(b"x"), "rtf"))), "is of format 'rtf'; known: csv"),
        (request(Message.user("x", Document("a", Bytes(b""), "txt"))), "is an empty document"),
        (request(Message.user("x", Image("bmp", Bytes(b"BM")))), "format 'bmp'; an image is png, jpeg, gif or webp"),
        (request(Message.user("x", Image("png", Bytes(b"text")))), "bytes that are no image of a known format"),
        (request(Message.user("x", Image("png", Bytes(JPEG)))), "says png and holds a jpeg image: write format='jpeg'"),
        (
            request(HELLO, Message.user(ToolResult(tool_use_id="t", content=(Image("bmp", Bytes(b"BM")),)))),
            "messages[1].content[0].content[0] is an image of format 'bmp'",
        ),
        (request(inference_config=InferenceConfig(temperature=1.5)), "temperature is 1.5; it is between 0 and 1"),
        (request(inference_config=InferenceConfig(top_p=-0.1)), "top_p is -0.1; it is between 0 and 1"),
        (request(inference_config=InferenceConfig(max_tokens=0)), "max_tokens is 0; it is at least 1"),
        (request(tools=(spec("a b"),)), "tool name 'a b' is not taken: 1 to 64 letters"),
        (request(tools=(spec("a" * 65),)), "is not taken: 1 to 64 letters"),
        (request(tools=(spec("é"),)), "is not taken: 1 to 64 letters"),
        (request(tools=(spec(schema={"type": "string"}),)), "is not a JSON schema of type object"),
        (request(tools=(spec(schema="x"),)), "is not a JSON schema of type object"),
        (request(tools=(spec(description=" "),)), "has a blank description"),
        (request(tool_choice=ToolChoice("any")), "tool_choice needs tools"),
        (request(tools=(spec("search"),), tool_choice=ToolChoice("tool", "serch")), "did you mean 'search'?"),
        (request(tools=(spec("a"),), tool_choice=ToolChoice("tool", "zzz")), "known: a"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_converse_refuses_is_refused_before(bad: ConverseRequest, hint: str) -> None:
    with pytest.raises(ValidationError) as caught:
        coerce.check_request(bad)
    assert hint in caught.value.message
