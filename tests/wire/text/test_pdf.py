"""PDFs as text: read in a child process within a budget, refused by name and with a fix."""

import gc
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awsllm.backends.local.dialects import TOLD
from awsllm.backends.local.prompt import chat
from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types import Bytes, ConverseRequest, Document, Message, Text, ToolResult
from awsllm.wire import converse, endpoint
from awsllm.wire.body import Settings
from awsllm.wire.text import pdf as parent
from awsllm.wire.text import pdf_reader
from awsllm.wire.text.blocks import block_text
from awsllm.wire.text.pdf import has_pdf, pdf_text
from awsllm.wire.text.pdf_reader import PdfError, extract
from tests.support.pdfs import encrypted, pdf

TWO_PAGES = pdf("The sky is blue: caf\xe9", "", "Grass is green")
TEXT = "The sky is blue: café\n\nGrass is green"
SECRET = "Xyzzy"


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    parent._read.cache_clear()


def fault(data: bytes) -> str:
    with pytest.raises(PdfError) as caught:
        extract(data)
    return caught.value.fault


def turn(data: bytes) -> ConverseRequest:
    return ConverseRequest(model="m", messages=(Message.user(Document("d", Bytes(data), "pdf"), "Sum up."),))


# --- what is read ----------------------------------------------------------------------------------------------------


def test_the_pages_are_read() -> None:
    assert extract(TWO_PAGES) == TEXT
    assert block_text(Document("d", Bytes(TWO_PAGES), "pdf")) == f'<document name="d">\n{TEXT}\n</document>'


def test_a_pdf_that_only_forbids_to_print_is_read() -> None:
    assert extract(encrypted(TWO_PAGES, "")) == TEXT


def test_the_local_model_and_containers_are_given_the_text() -> None:
    request = turn(TWO_PAGES)
    [told] = chat(request, TOLD).messages
    assert told["content"] == f'<document name="d">\n{TEXT}\n</document>\n\nSum up.'
    sent = endpoint.get("openai").codec(ConverseRequest).encode_request(request, Settings()).json()
    assert sent["messages"][0]["content"][0]["text"] == f'<document name="d">\n{TEXT}\n</document>'


def test_models_that_read_pdfs_are_given_the_bytes() -> None:
    [document, _] = converse.encode_request(turn(b"%PDF no matter"))["messages"][0]["content"]
    assert document["document"]["format"] == "pdf"
    assert "text" not in document["document"]["source"]


def test_a_pdf_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pdf_text("d", TWO_PAGES) == TEXT
    monkeypatch.setattr(sys, "executable", os.devnull)
    assert pdf_text("e", TWO_PAGES) == TEXT


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ((Document("d", Bytes(b"x"), "pdf"),), True),
        ((ToolResult("t", (Document("d", Bytes(b"x"), "pdf"),)),), True),
        ((Document("d", Bytes(b"x"), "txt"), Text("x")), False),
    ],
)
def test_a_request_with_a_pdf_is_known(content: Any, found: bool) -> None:
    assert has_pdf(ConverseRequest(model="m", messages=(Message("user", content),))) is found


# --- what is refused -------------------------------------------------------------------------------------------------


def test_the_fault_is_told() -> None:
    assert fault(b"no PDF") == "broken"
    assert fault(b"%PDF-1.7\n") == "broken"
    assert fault(pdf("", "")) == "empty"
    assert fault(encrypted(TWO_PAGES, "open sesame")) == "encrypted"
    assert fault(pdf(*["x"] * (pdf_reader.MAX_PAGES + 1))) == "pages"
    assert fault(pdf("x", unpacked=b" " * (pdf_reader.MAX_STREAM + 1))) in ("memory", "broken")


def test_the_text_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf_reader, "MAX_TEXT", 30)
    assert extract(pdf("a" * 30)) == "a" * 30
    assert fault(pdf("a" * 20, "b" * 11)) == "text"


@pytest.mark.parametrize("error", [RecursionError, MemoryError, KeyError, AssertionError, UnicodeDecodeError])
def test_whatever_pypdf_raises_is_a_fault(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> Any:
        raise error(*(("utf-8", b"", 0, 1, SECRET) if error is UnicodeDecodeError else (SECRET,)))

    monkeypatch.setattr("pypdf.PdfReader", fail)
    assert fault(TWO_PAGES) == ("memory" if error is MemoryError else "broken")


@pytest.mark.parametrize(
    ("data", "fix"),
    [
        (b"%PDF-1.7 " + SECRET.encode(), "'notes' is broken, .*its text; or ask a model that reads PDFs"),
        (pdf(""), "'notes' has no text, .*OCR"),
        (encrypted(pdf(SECRET), "pw"), "'notes' is encrypted: .*without a password"),
        (bytes(parent.MAX_FILE + 1), "'notes' has more than 32,000,000 bytes: pass the pages"),
    ],
)
def test_a_pdf_without_text_to_be_had_is_the_callers_to_mend(data: bytes, fix: str) -> None:
    with pytest.raises(ValidationError, match=fix) as caught:
        pdf_text("notes", data)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_every_fault_has_its_words() -> None:
    words = [pdf_reader.MAX_PAGES, f"{pdf_reader.MAX_TEXT:,}", pdf_reader.MAX_SECONDS]
    assert all(str(word) in " ".join(parent._FIXES.values()) for word in words)


def test_without_pypdf_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [path for path in sys.path if "site-packages" not in path])
    with pytest.raises(UnsupportedError, match=r"pip install 'awsllm\[local\]'"):
        pdf_text("notes", TWO_PAGES)


# --- the child process -----------------------------------------------------------------------------------------------


def test_a_child_that_takes_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent, "_CHILD", "while True: pass")
    monkeypatch.setattr(parent, "MAX_SECONDS", 0.5)
    began = time.monotonic()
    with pytest.raises(ValidationError, match="takes more than 10 seconds"):
        pdf_text("notes", TWO_PAGES)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("code", ["import os; os._exit(9)", "raise SystemExit('Xyzzy')", "print('Xyzzy')", "1 / 0"])
def test_a_child_that_crashes_has_read_a_broken_file(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent, "_CHILD", code)
    with pytest.raises(ValidationError, match="'notes' is broken") as caught:
        pdf_text("notes", TWO_PAGES)
    assert SECRET not in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit the address space")
def test_a_childs_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    greedy = "import sys; sys.path[:] = sys.argv[1:]; from awsllm.wire.text import pdf_reader as r; "
    greedy += "r._pages = lambda data: [str(bytearray(2 * r.MAX_MEMORY))]; r.main()"
    monkeypatch.setattr(parent, "_CHILD", greedy)
    with pytest.raises(ValidationError, match="takes too much memory"):
        pdf_text("notes", TWO_PAGES)


def test_a_child_knows_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setattr(parent, "_CHILD", "import os; print('ok'); print(*sorted(os.environ))")
    assert "AWS" not in pdf_text("notes", TWO_PAGES)


def test_without_a_process_to_read_in_it_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(UnsupportedError, match="cannot be started"):
        pdf_text("notes", TWO_PAGES)


# --- hostile files ---------------------------------------------------------------------------------------------------

EDIT = st.tuples(st.integers(0, len(TWO_PAGES)), st.integers(0, 12), st.binary(max_size=12))
CRAFTED = (b"[" * 3000, b"<<" * 3000, b"9" * 5000, b"2 0 R", b"/Kids [2 0 R]", b"/Count 99999999", b"/Prev 9")


@settings(max_examples=150, deadline=None)
@given(st.lists(EDIT, min_size=1, max_size=8))
@pytest.mark.filterwarnings("ignore")
def test_spoiled_bytes_give_text_or_a_fault(edits: list[tuple[int, int, bytes]]) -> None:
    data = TWO_PAGES
    for place, cut, instead in edits:
        data = data[:place] + instead + data[place + cut :]
    text_or_fault(data)


PIECES: tuple[bytes, ...] = (
    b"BT",
    b"ET",
    b"/F1 12 Tf",
    b"/F2 1e99 Tf",
    b"(x) Tj",
    b"[(x) -9 (y)] TJ",
    b"q",
    b"Q",
    b"1 0 0 1 0 0 cm",
    b"<<",
    b"]",
)
PIECES += (
    b"<fffe> Tj",
    b"/X Do",
    b"BI /W 1 /H 1 ID x EI",
    b"T*",
    b"(",
    b"\\",
    b"-",
    b"\xff\x00",
    b"/",
    b"'",
    b"Tm",
    b"1 2 Td",
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=4), max_size=30))
@pytest.mark.filterwarnings("ignore")
def test_spoiled_contents_give_text_or_a_fault(pieces: list[bytes]) -> None:
    text_or_fault(pdf("x", unpacked=b" ".join(pieces)))


@pytest.fixture
def _uncollected() -> Iterator[None]:
    """Nothing that another test left behind is finalised amid a recursion that is as deep as it can be."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("_uncollected")
@pytest.mark.parametrize("instead", CRAFTED)
def test_crafted_structures_give_text_or_a_fault(instead: bytes) -> None:
    for mark in (b"/Kids", b"/Type /Page ", b"/Contents", b"/Font <<", b"trailer", b"/Length", b"3 0 obj"):
        text_or_fault(TWO_PAGES.replace(mark, instead + b" " + mark, 1))
        text_or_fault(TWO_PAGES.replace(mark, instead, 1))


@pytest.mark.filterwarnings("ignore")
def test_a_cut_file_gives_text_or_a_fault() -> None:
    for end in range(0, len(TWO_PAGES), 37):
        text_or_fault(TWO_PAGES[:end])


def text_or_fault(data: bytes) -> None:
    try:
        outcome = extract(data)
    except PdfError as error:
        outcome = parent._FIXES[error.fault]
    assert outcome.encode()
