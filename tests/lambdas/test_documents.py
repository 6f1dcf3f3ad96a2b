"""Objects of S3: which events are about them, what is done with each, and what comes again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import msgspec
import pytest
from aws_lambda_powertools.utilities.data_classes import S3BatchOperationEvent, S3Event, S3EventBridgeNotificationEvent

import awsllm
from awsllm.errors import ConfigurationError, ContextWindowError, ServerError, ThrottlingError
from awsllm.lambdas import documents_handler
from awsllm.lambdas.events import document_tasks
from awsllm.lambdas.events.document_tasks import MAX_CHUNKS, SourceDocument, cut
from awsllm.lambdas.events.errors import PermanentError, TransientError
from awsllm.lambdas.events.s3_events import ObjectNotice, batch_tasks, message_notices, object_notices
from awsllm.lambdas.events.s3_objects import ObjectPlace, place_of
from awsllm.testing import ScriptedBackend
from awsllm.types import Document, Image
from tests.support.knowledge import word_file
from tests.support.lambdas import FakeContext, event
from tests.support.pdfs import pdf
from tests.support.queues import batch, failed

MODEL = "bedrock:amazon.nova-lite-v1:0"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
WORD = (
    '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body><w:p><w:r>'
    "<w:t>In Word.</w:t></w:r></w:p></w:body></w:document>"
)


class Bucket:
    """A bucket of moto's, and events about its objects."""

    def __init__(self, name: str = "documents") -> None:
        self.name = name
        self._s3 = boto3.client("s3", "us-east-1")
        self._s3.create_bucket(Bucket=name)

    def put(self, key: str, body: str | bytes = "Some text.", content_type: str = "text/plain") -> str:
        data = body.encode() if isinstance(body, str) else body
        return str(self._s3.put_object(Bucket=self.name, Key=key, Body=data, ContentType=content_type)["ETag"])

    def notice(self, key: str, body: str | bytes = "Some text.", **options: Any) -> dict[str, Any]:
        """Put the object, and the event that S3 then sends."""
        return self.about(key, self.put(key, body, **options), len(body))

    def about(self, key: str, etag: str = "", size: int = 1, name: str = "ObjectCreated:Put") -> dict[str, Any]:
        from urllib.parse import quote_plus

        found = event("s3_put")
        record = found["Records"][0]
        record["eventName"] = name
        record["s3"]["bucket"]["name"] = self.name
        record["s3"]["object"] = {"key": quote_plus(key), "size": size, "eTag": etag.strip('"')}
        return found

    def read(self, key: str) -> Any:
        return json.loads(self._s3.get_object(Bucket=self.name, Key=key)["Body"].read())

    def names(self) -> list[str]:
        return [item["Key"] for item in self._s3.list_objects_v2(Bucket=self.name).get("Contents", ())]

    def delete(self, key: str) -> None:
        self._s3.delete_object(Bucket=self.name, Key=key)

    def remove(self) -> None:
        for key in self.names():
            self.delete(key)
        self._s3.delete_bucket(Bucket=self.name)


@pytest.fixture
def bucket(in_aws: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    monkeypatch.setenv("AWSLLM_TASK", "summarise")
    made = Bucket()
    yield made
    made.remove()


@pytest.fixture
def out(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    monkeypatch.setenv("AWSLLM_OUTPUT_BUCKET", "out")
    made = Bucket("out")
    yield made
    made.remove()


def client(replies: Any = "A summary.") -> tuple[awsllm.Client, ScriptedBackend]:
    backend = ScriptedBackend(replies)
    policy = awsllm.Policy(max_attempts=1)
    return awsllm.Client(region="us-east-1", backends={"bedrock": backend}, policy=policy), backend


def handler(replies: Any = "A summary.", **options: Any) -> Any:
    return documents_handler(MODEL, client=client(replies)[0], **options)


def said(backend: ScriptedBackend, number: int) -> str:
    """All texts that a model was given."""
    request: Any = backend.requests[number]
    parts = [*request.system, *(block for message in request.messages for block in message.content)]
    schema = request.output_config.json_schema if request.output_config else request.tools
    return "\n".join([*(part.text for part in parts if hasattr(part, "text")), repr(msgspec.to_builtins(schema))])


def words(source: SourceDocument) -> Any:
    return {"words": len(source.text().split())}


# --- events ----------------------------------------------------------------------------------------------------------


def notices(event: Any) -> list[ObjectNotice]:
    found = object_notices(event)
    assert found is not None
    return found


def test_keys_are_decoded_as_their_source_writes_them() -> None:
    """Powertools, which others use, reads the same."""
    (notice,) = notices(event("s3_put"))
    assert notice.place.key == S3Event(event("s3_put")).object_key
    assert notice.place == ObjectPlace(
        "documents", "in/a b+c ä.txt", "096fKKXTRTtl3on89fVO.nfljtsv6qko", "d41d8cd98f00b204e9800998ecf8427e", 12
    )
    bridge = event("s3_eventbridge")
    (notice,) = notices(bridge)
    assert notice.place.key == "in/a b+c%20ä.txt" == S3EventBridgeNotificationEvent(bridge).detail.object["key"]
    for version in ("v1", "v2"):
        told = event(f"s3_batch_{version}")
        tasks = batch_tasks(told)
        assert tasks is not None
        (task,) = tasks
        assert task.place.key == "in/a b+c.txt" == S3BatchOperationEvent(told).task.s3_key
        assert task.place.bucket == "documents"
        assert task.place.version == S3BatchOperationEvent(told).task.s3_version_id


def test_what_sns_and_sqs_wrap_is_found() -> None:
    notification = event("s3_put")
    (direct,) = notices(notification)
    wrapped = event("sns")
    wrapped["Records"][0]["Sns"]["Message"] = json.dumps(notification)
    for shape in (
        object_notices(wrapped),
        message_notices(wrapped["Records"][0]["Sns"]),
        message_notices(notification),
    ):
        assert shape == [direct]


@pytest.mark.parametrize(
    "shape",
    [
        *(None, [], "x", {}, {"Records": []}, {"Records": [{}]}, {"Records": [{"eventSource": "aws:s3", "s3": {}}]}),
        *({"source": "aws.s3", "detail": {}}, {"source": "aws.ec2", "detail": {}}, {"Records": [event("s3_put"), 1]}),
    ],
)
def test_what_is_about_no_object_is_acknowledged(
    bucket: Bucket, shape: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert object_notices(shape) is None
    assert handler()(shape, FakeContext()) == {"done": 0}
    assert "about no object" in capsys.readouterr().out


def test_s3s_test_event_is_acknowledged(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    assert handler()(event("s3_test"), FakeContext()) == {"done": 0}
    assert capsys.readouterr().out == ""
    assert failed(handler()(batch(event("s3_test"), "no JSON"), FakeContext())) == []


@pytest.mark.parametrize("name", ["ObjectRemoved:Delete", "ObjectRemoved:DeleteMarkerCreated", "ObjectTagging:Put"])
def test_what_is_not_new_is_passed_over(bucket: Bucket, name: str) -> None:
    bucket.put("a.txt")
    assert handler([])(bucket.about("a.txt", name=name), FakeContext()) == {"done": 1}
    assert bucket.names() == ["a.txt"]
    deleted = event("s3_eventbridge") | {"detail-type": "Object Deleted"}
    assert [notice.created for notice in object_notices(deleted) or ()] == [False]


def test_a_place_is_an_object_in_s3() -> None:
    assert place_of("s3://bucket/a b/ä?x#y") == ObjectPlace("bucket", "a b/ä?x#y")
    for wrong in (None, 1, "", "s3://bucket", "s3:///key", "https://bucket/key", "file:///etc/passwd"):
        with pytest.raises(awsllm.ValidationError):
            place_of(wrong)


# --- results ---------------------------------------------------------------------------------------------------------


def test_the_result_lies_beside_the_object(bucket: Bucket) -> None:
    told = bucket.notice("in/a b+ä.txt", "One two three.")
    assert handler()(told, FakeContext()) == {"done": 1}
    result = bucket.read("awsllm/in/a b+ä.txt.json")
    etag = told["Records"][0]["s3"]["object"]["eTag"]
    source = {"bucket": "documents", "key": "in/a b+ä.txt", "version": None, "etag": etag, "size": 14}
    assert result["source"] == source
    assert result["task"] == "summarise"
    assert result["status"] == "succeeded"
    assert result["result"] == "A summary."
    assert result["model"] == MODEL
    assert result["usage"]["output_tokens"] == 2
    assert result["cost"] > 0
    assert result["request_id"] == FakeContext.aws_request_id


def test_the_result_lies_where_the_environment_says(
    bucket: Bucket, out: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWSLLM_OUTPUT_PREFIX", "done/")
    handler()(bucket.notice("a.txt"), FakeContext())
    assert out.names() == ["done/a.txt.json"]
    assert bucket.names() == ["a.txt"]


def test_a_result_of_a_long_name_has_a_name_too(bucket: Bucket) -> None:
    handler()(bucket.notice("k" * 1020), FakeContext())
    (name,) = [key for key in bucket.names() if key.startswith("awsllm/")]
    assert len(name) < 100
    assert bucket.read(name)["source"]["key"] == "k" * 1020


def test_an_own_result_calls_nothing(bucket: Bucket) -> None:
    told = bucket.notice("awsllm/a.txt.json", "{}")
    assert handler([])(told, FakeContext()) == {"done": 1}
    assert bucket.names() == ["awsllm/a.txt.json"]


def test_the_loop_guard_is_of_the_bucket_that_is_written_to(bucket: Bucket, out: Bucket) -> None:
    handler()(bucket.notice("awsllm/a.txt"), FakeContext())
    handler([])(out.about("awsllm/awsllm/a.txt.json"), FakeContext())
    assert out.names() == ["awsllm/awsllm/a.txt.json"]


def test_a_wrong_prefix_is_told_when_the_function_starts(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_OUTPUT_PREFIX", "/results")
    with pytest.raises(ConfigurationError, match="AWSLLM_OUTPUT_PREFIX"):
        handler()


def test_a_function_of_ones_own_is_given_the_document(bucket: Bucket) -> None:
    seen: list[SourceDocument] = []

    def task(source: SourceDocument) -> Any:
        seen.append(source)
        return words(source)

    documents_handler(task=task)(bucket.notice("a.md", "# One two"), FakeContext(10_000))
    assert bucket.read("awsllm/a.md.json")["result"] == {"words": 3}
    assert bucket.read("awsllm/a.md.json")["task"] == "task"
    assert (seen[0].format, seen[0].place.key, seen[0].event["eventName"]) == ("md", "a.md", "ObjectCreated:Put")
    assert seen[0].timeout == pytest.approx(8, abs=0.1)


# --- tasks -----------------------------------------------------------------------------------------------------------


def test_a_document_is_classified_by_the_labels(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_TASK", "classify")
    monkeypatch.setenv("AWSLLM_LABELS", "invoice, letter")
    mine, backend = client('{"label": "letter"}')
    documents_handler(MODEL, client=mine)(bucket.notice("a.txt"), FakeContext())
    assert bucket.read("awsllm/a.txt.json")["result"] == "letter"
    assert "invoice" in said(backend, 0)


def test_data_is_extracted_by_the_schema(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_TASK", "extract")
    schema = {"type": "object", "properties": {"total": {"type": "number"}}, "required": ["total"]}
    monkeypatch.setenv("AWSLLM_SCHEMA", json.dumps(schema))
    handler('{"total": 12.5}')(bucket.notice("a.txt"), FakeContext())
    assert bucket.read("awsllm/a.txt.json")["result"] == {"total": 12.5}
    monkeypatch.setenv("AWSLLM_IDEMPOTENCY_TABLE", "")
    handler("no JSON at all")(bucket.notice("b.txt"), FakeContext())
    told = bucket.read("awsllm/b.txt.json")
    assert told["status"] == "failed"
    assert told["error"]["type"] == "OutputValidationError"


def test_a_document_is_embedded_piece_by_piece(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_TASK", "embed")
    monkeypatch.setattr(document_tasks, "EMBED_CHUNK", 20)
    text = "one two three four five\n\nsix seven eight"
    handler()(bucket.notice("a.txt", text), FakeContext())
    pieces = bucket.read("awsllm/a.txt.json")["result"]
    assert "".join(text[piece["start"] : piece["end"]] + " " for piece in pieces).split() == text.split()
    assert {len(piece["vector"]) for piece in pieces} == {384}
    handler()(bucket.notice("a.png", PNG, content_type="image/png"), FakeContext())
    assert len(bucket.read("awsllm/a.png.json")["result"]) == 1


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("AWSLLM_TASK", "", "AWSLLM_TASK"),
        ("AWSLLM_TASK", "translate", "summarise, classify, extract, embed"),
        ("AWSLLM_TASK", "classify", "AWSLLM_LABELS"),
        ("AWSLLM_TASK", "extract", "AWSLLM_SCHEMA"),
    ],
)
def test_what_a_task_needs_is_told_when_the_function_starts(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=why):
        handler()
    monkeypatch.setenv("AWSLLM_TASK", "summarise")
    with pytest.raises(ConfigurationError, match="AWSLLM_MODEL"):
        documents_handler()


def test_a_schema_that_is_none_is_told_when_the_function_starts(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWSLLM_TASK", "extract")
    monkeypatch.setenv("AWSLLM_SCHEMA", '{"type": "object", "properties": {"n": {"type": "intger"}}}')
    with pytest.raises(ConfigurationError, match=r"AWSLLM_SCHEMA: .*'intger'"):
        handler()


def test_a_long_text_is_summarised_in_chunks(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_tasks, "CHUNK", 100)
    monkeypatch.setenv("AWSLLM_SYSTEM", "Write for children.")
    mine, backend = client("Short.")
    text = "\n\n".join(f"Paragraph {number} " + "x " * 30 for number in range(6))
    documents_handler(MODEL, client=mine)(bucket.notice("a.txt", text), FakeContext())
    told = bucket.read("awsllm/a.txt.json")
    assert told["result"] == "Short."
    requests: list[Any] = backend.requests
    assert len(requests) == 7  # six chunks, and the summaries
    assert "Short.\n\nShort." in str(requests[-1].messages[0].content[0].text)
    assert all(request.system[0].text.startswith("Write for children.") for request in requests)
    assert told["usage"]["output_tokens"] == 7
    assert told["cost"] > 0


def test_what_is_found_in_chunks_is_merged(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_tasks, "CHUNK", 100)
    monkeypatch.setenv("AWSLLM_TASK", "extract")
    monkeypatch.setenv("AWSLLM_SCHEMA", '{"type": "object", "properties": {"n": {"type": "integer"}}}')
    mine, backend = client('{"n": 1}')
    documents_handler(MODEL, client=mine)(bucket.notice("a.txt", "word " * 50), FakeContext())
    assert bucket.read("awsllm/a.txt.json")["result"] == {"n": 1}
    assert '[{"n":1},{"n":1},{"n":1}]' in said(backend, -1)


def test_summaries_that_do_not_shorten_end(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_tasks, "CHUNK", 100)
    handler("long " * 30)(bucket.notice("a.txt", "word " * 60), FakeContext())
    assert "as long as the document" in bucket.read("awsllm/a.txt.json")["error"]["message"]


def test_texts_are_cut_where_something_ends() -> None:
    text = "One two three.\n\nFour five six seven eight nine. " + "x" * 40
    pieces = cut(text, 20)
    assert pieces[0] == "One two three."
    assert max(map(len, pieces)) <= 20
    assert "".join(pieces).replace(" ", "") == text.replace(" ", "").replace("\n", "")
    assert cut(" \n", 20) == []
    with pytest.raises(PermanentError, match="at most"):
        cut("x" * (MAX_CHUNKS * document_tasks.CHUNK + 1), 100)


# --- kinds of files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["a.pdf", "b.docx", "c.png", "without-a-suffix"])
def test_a_model_that_reads_files_is_given_them(bucket: Bucket, key: str) -> None:
    body = {"b.docx": word_file(WORD), "c.png": PNG}.get(key, pdf("On the page."))
    mine, backend = client()
    documents_handler(MODEL, client=mine)(bucket.notice(key, body, content_type="binary/octet-stream"), FakeContext())
    request: Any = backend.requests[0]
    block = request.messages[0].content[0]
    assert isinstance(block, Image if key == "c.png" else Document)
    assert block.source.data == body
    assert block.format == {"b.docx": "docx", "c.png": "png"}.get(key, "pdf")


@pytest.mark.parametrize(
    ("key", "body", "text"),
    [
        ("a.pdf", pdf("On the page."), "On the page."),
        ("b.docx", word_file(WORD), "In Word."),
        ("c.html", b"<p>In a paragraph.</p>", "In a paragraph."),
        ("d.json", b'{"a": "In JSON."}', '{"a": "In JSON."}'),
        ("e.log", "Umläute.".encode(), "Umläute."),
    ],
)
def test_a_model_that_reads_text_only_is_given_the_text(bucket: Bucket, key: str, body: bytes, text: str) -> None:
    mine, backend = client()
    documents_handler("bedrock:amazon.nova-micro-v1:0", client=mine)(bucket.notice(key, body), FakeContext())
    request: Any = backend.requests[0]
    assert text in request.messages[0].content[0].text


def test_a_file_that_is_too_long_for_the_model_is_read_as_text(bucket: Bucket) -> None:
    mine, backend = client([ContextWindowError("too long"), "A summary."])
    documents_handler(MODEL, client=mine)(bucket.notice("a.pdf", pdf("On the page.")), FakeContext())
    assert bucket.read("awsllm/a.pdf.json")["result"] == "A summary."
    assert "On the page." in said(backend, 1)


@pytest.mark.parametrize(
    ("key", "body", "why"),
    [
        ("a.txt", b"", "empty"),
        ("a.bin", b"\x00\x01\x02", "format is not supported"),
        ("a.zip", b"PK\x03\x04", "format is not supported"),
        ("a.txt", b"\xff\xfe\x00", "not UTF-8"),
        ("a.txt", b"x" * 200, "AWSLLM_MAX_OBJECT_BYTES"),
        ("a.json", b"{", "not JSON"),
        ("a.docx", b"no zip", ""),
    ],
)
def test_what_can_never_be_worked_on_is_told_beside_it(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, key: str, body: bytes, why: str
) -> None:
    monkeypatch.setenv("AWSLLM_MAX_OBJECT_BYTES", "100")
    made = documents_handler(task=words)
    told = bucket.notice(key, body, content_type="application/octet-stream")
    assert made(told, FakeContext()) == {"done": 1}
    result = bucket.read(f"awsllm/{key}.json")
    assert result["status"] == "failed"
    assert why in result["error"]["message"]
    assert failed(made(batch(told), FakeContext())) == []


def test_the_size_that_an_event_claims_is_not_believed(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_MAX_OBJECT_BYTES", "100")
    etag = bucket.put("a.txt", "x" * 200)
    documents_handler(task=words)(bucket.about("a.txt", etag, size=1), FakeContext())
    assert bucket.read("awsllm/a.txt.json")["error"]["type"] == "ObjectTooLargeError"


def test_folders_and_what_is_gone_or_replaced_are_done_with(bucket: Bucket) -> None:
    made = documents_handler(task=words)
    assert made(bucket.notice("folder/", b""), FakeContext()) == {"done": 1}
    old = bucket.notice("a.txt", "old")
    bucket.put("a.txt", "new")
    assert made(old, FakeContext()) == {"done": 1}
    gone = bucket.notice("b.txt")
    bucket.delete("b.txt")
    assert made(gone, FakeContext()) == {"done": 1}
    assert sorted(bucket.names()) == ["a.txt", "folder/"]


# --- what comes again ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ThrottlingError("slowly"), ServerError("an outage"), RuntimeError("a secret")])
def test_what_may_pass_comes_again(bucket: Bucket, error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def task(source: SourceDocument) -> Any:
        raise error

    made = documents_handler(task=task)
    told = bucket.notice("a.txt", "canary")
    with pytest.raises(TransientError, match="1 of 1 objects"):
        made(told, FakeContext())
    assert failed(made(batch(told), FakeContext())) == ["m0"]
    assert bucket.names() == ["a.txt"]
    out = capsys.readouterr().out
    assert type(error).__name__ in out
    assert "secret" not in out
    assert "canary" not in out


def test_a_bucket_that_may_not_be_read_comes_again(bucket: Bucket) -> None:
    told = event("s3_put")
    told["Records"][0]["s3"]["bucket"]["name"] = "elsewhere"
    assert failed(documents_handler(task=words)(batch(told), FakeContext())) == ["m0"]


def test_no_object_is_begun_without_time_for_it(bucket: Bucket) -> None:
    told = bucket.notice("a.txt")
    made = documents_handler(task=words)
    with pytest.raises(TransientError):
        made(told, FakeContext(2_500))
    assert failed(made(batch(told), FakeContext(2_500))) == ["m0"]


def test_an_object_is_worked_on_once(bucket: Bucket) -> None:
    counted: list[str] = []

    def task(source: SourceDocument) -> Any:
        counted.append(source.place.key)
        return "done"

    made = documents_handler(task=task)
    told = bucket.notice("a.txt", "one")
    other_way = event("s3_eventbridge")
    detail = told["Records"][0]["s3"]["object"]
    other_way["detail"]["object"] = {"key": "a.txt", "size": 3, "etag": detail["eTag"]}
    for again in (told, told, other_way, batch(told), batch(other_way)):
        made(again, FakeContext())
    assert counted == ["a.txt"]
    made(bucket.notice("a.txt", "two"), FakeContext())  # another content is another object
    assert counted == ["a.txt", "a.txt"]


# --- S3 Batch Operations ---------------------------------------------------------------------------------------------


def test_tasks_of_a_batch_are_answered_one_by_one(bucket: Bucket) -> None:
    def task(source: SourceDocument) -> Any:
        if source.place.key == "throttled.txt":
            raise ServerError("an outage")
        return words(source)

    told = event("s3_batch_v2")
    names = ["good+one.txt", "empty.txt", "throttled.txt", "gone.txt"]
    told["tasks"] = [{**told["tasks"][0], "taskId": name, "s3Key": name} for name in names]
    for name, body in (("good one.txt", "one two"), ("empty.txt", ""), ("throttled.txt", "x")):
        bucket.put(name, body)
    answer = documents_handler(task=task)(told, FakeContext())
    assert answer["invocationSchemaVersion"] == "2.0"
    assert answer["invocationId"] == told["invocationId"]
    codes = {one["taskId"]: (one["resultCode"], one["resultString"]) for one in answer["results"]}
    assert codes == {
        "good+one.txt": ("Succeeded", "s3://documents/awsllm/good one.txt.json"),
        "empty.txt": ("PermanentFailure", "s3://documents/awsllm/empty.txt.json"),
        "throttled.txt": ("TemporaryFailure", "ServerError"),
        "gone.txt": ("PermanentFailure", "gone"),
    }


def test_a_batch_without_time_comes_again(bucket: Bucket) -> None:
    answer = documents_handler(task=words)(event("s3_batch_v1"), FakeContext(100))
    assert answer["results"][0]["resultCode"] == "TemporaryFailure"
