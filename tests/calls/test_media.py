"""Files and bytes as the blocks of their kinds."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsllm.calls import content, media
from awsllm.calls.checks import check_request
from awsllm.errors import ValidationError
from awsllm.types import Audio, Bytes, Document, DocumentText, Image, Message, S3Location, Video
from tests.support.requests import PDF, PNG, RUNTIME, assert_botocore_takes, request


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
    assert content.messages(["look", path]) == (Message.user("look", expected),)
    check_request(request(Message.user("look", expected)))
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
        content.messages([tmp_path / name])
    assert hint in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(ValidationError, match="cannot read"):
            content.messages([path])


def test_documents_named_after_files_get_different_names(tmp_path: Path) -> None:
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "report.txt").write_text("x")
    given_name = Document("report (2)", DocumentText("y"))
    files = [tmp_path / folder / "report.txt" for folder in ("a", "b", "c")]
    pieces: list[Any] = ["Compare", files[0], given_name, *files[1:]]
    (turn,) = content.messages(pieces)
    names = [block.name for block in turn.content if isinstance(block, Document)]
    assert names == ["report", "report (2)", "report (3)", "report (4)"]
    check_request(request(turn))


def test_media_is_made_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.pdf"
    path.write_bytes(PDF)
    assert media.image(PNG) == Image("png", Bytes(PNG))
    assert media.image("s3://bucket/cat.jpg") == Image("jpeg", S3Location("s3://bucket/cat.jpg"))
    assert media.image("s3://bucket/cat", format="gif") == Image("gif", S3Location("s3://bucket/cat"))
    assert media.document(str(path), name="A/B: c", citations=True) == Document("B c", Bytes(PDF), "pdf", None, True)
    assert media.document(b"plain") == Document("document", Bytes(b"plain"), "txt")
    assert media.document("s3://bucket/y.docx") == Document("y", S3Location("s3://bucket/y.docx"), "docx")
    assert media.video("s3://bucket/v.mov") == Video("mov", S3Location("s3://bucket/v.mov"))
    assert media.audio(b"raw", format="pcm") == Audio("pcm", Bytes(b"raw"))
    assert media.audio("s3://bucket/a.mp4") == Audio("mp4", S3Location("s3://bucket/a.mp4"))


def test_data_urls_are_read() -> None:
    encoded = base64.b64encode(PNG).decode()
    assert media.image(f"data:image/png;base64,{encoded}") == Image("png", Bytes(PNG))
    assert media.document("data:,a%20b", name="it") == Document("it", Bytes(b"a b"), "txt")
    assert media.document("data:text/csv;charset=utf-8,a%2Cb") == Document("document", Bytes(b"a,b"), "csv")
    assert media.audio("data:audio/mpeg;base64,AAAA") == Audio("mp3", Bytes(b"\0\0\0"))
    assert media.video("data:video/mp4;base64,AAAA") == Video("mp4", Bytes(b"\0\0\0"))


@pytest.mark.parametrize(
    "url", ["data:", "data:image/png;base64", "data:image/png;base64,se*cret", "data:image/png;base64,c2VjcmV0"]
)
def test_a_data_url_that_is_none_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ValidationError, match="data URL") as caught:
        media.image(url)
    assert "cret" not in str(caught.value)
    assert "c2Vj" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda: media.image("https://host/cat.png"), "awsllm fetches nothing from the web"),
        (lambda: media.image(b"text"), "4 bytes is not an image of a known format"),
        (lambda: media.image(b"text", format="png"), "4 bytes is not an image of a known format"),
        (lambda: media.image("s3://bucket/x"), "'s3://bucket/x' is not an image of a known format"),
        (lambda: media.document(b"\xff\x00"), "pass format=, one of csv, doc"),
        (lambda: media.document(b"x", format="rtf"), "pass format=, one of csv, doc"),
        (lambda: media.video(b"x"), "is no video of a known format; pass format="),
        (lambda: media.audio(b"x", format="midi"), "is no audio of a known format; pass format="),
    ],
)
def test_media_of_no_known_format_is_refused(make: Any, hint: str) -> None:
    with pytest.raises(ValidationError) as caught:
        make()
    assert hint in str(caught.value)


def test_formats_are_botocores() -> None:
    shapes = {"image": "ImageFormat", "document": "DocumentFormat", "video": "VideoFormat", "audio": "AudioFormat"}
    for kind, shape in shapes.items():
        assert media.FORMATS[kind] == frozenset(RUNTIME.shape_for(shape).enum), kind


@given(st.text(max_size=300))
def test_any_text_makes_a_document_name(text: str) -> None:
    name = media.document_name(text)
    assert re.fullmatch(r"[A-Za-z0-9()\[\] -]{1,200}", name)
    assert "  " not in name
    check_request(request(Message.user("Read", Document(name, DocumentText("x")))))
