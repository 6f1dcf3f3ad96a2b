"""Ingestion jobs as boto3 sees them: what is read of S3, what is counted, how they end, and documents one by one."""

from __future__ import annotations

import json
import zipfile
from typing import Any

import pytest

from awsllm.errors import ServerError
from awsllm.server.account import records
from awsllm.server.account.knowledge import office, sync
from awsllm.testing import ScriptedBackend, mock_aws
from awsllm.types.embedding import EmbedRequest
from tests.support.knowledge import (
    BUCKET,
    CUSTOM,
    MODEL,
    NOVA_ARN,
    S3,
    VECTOR,
    agent,
    base,
    found,
    ingest,
    ingested,
    office_file,
    put,
    runtime,
    source,
    texts,
    word_file,
)
from tests.support.pdfs import pdf
from tests.support.sagemaker_account import client, refusal

SOME = {"chunkingStrategy": "FIXED_SIZE", "fixedSizeChunkingConfiguration": {"maxTokens": 4, "overlapPercentage": 25}}
WORD = (
    '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>'
    "<w:p><w:r><w:t>A goat</w:t></w:r><w:r><w:tab/><w:t>eats &amp; drinks.</w:t></w:r></w:p>"
    "<w:p><w:r><w:t>Twice.</w:t></w:r></w:p></w:body></w:document>"
)


SHEET = (
    '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>{}</sheetData></worksheet>'
)
BOOK = {
    "xl/sharedStrings.xml": (
        '<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><si><t>animal</t></si>'
        "<si><r><t>le</t></r><r><t>gs</t></r><rPh><t>spoken</t></rPh></si><si><t>spider</t></si></sst>"
    ),
    "xl/worksheets/sheet10.xml": SHEET.format(
        '<row><c t="inlineStr"><is><t>crab</t></is></c><c t="str"><f>A1</f><v>ten</v></c></row>'
    ),
    "xl/worksheets/sheet2.xml": SHEET.format(
        '<row><c t="s"><v>0</v></c><c t="s"><v>1</v></c></row><row><c t="s"><v>2</v></c><c><v>8</v></c></row>'
    ),
}


def counted(job: Any) -> dict[str, int]:
    """What a job has counted, without the zeros, in fewer letters."""
    short = {name.removeprefix("numberOf"): count for name, count in job["statistics"].items()}
    return {name: count for name, count in short.items() if count}


def attributes(values: Any) -> str:
    return json.dumps({"metadataAttributes": values})


def test_every_format_that_is_read() -> None:
    files: dict[str, bytes | str] = {
        "a.txt": "A cat.",
        "b.md": "# A dog",
        "c.html": "<title>No</title><script>no()</script><h1>A&nbsp;cow</h1><p>says\n moo.<!-- no --><p>Twice",
        "d.csv": "name,sound\r\nhen,cluck\r\n",
        "e.json": '{"animal": "pig"}',
        "f.pdf": pdf("A horse."),
        "deep/g.docx": word_file(WORD),
        "i.xlsx": office_file(BOOK),
        "H.TXT": "\ufeffA bat.".encode(),
        "folder/": b"",
    }
    with mock_aws(reply="x"):
        put(files)
        ids = source(base())
        job = ingest(ids)
        assert (job["status"], counted(job)) == (
            "COMPLETE",
            {"DocumentsScanned": 9, "NewDocumentsIndexed": 9},
        )
        results = found(ids, "anything")
        assert {one["location"]["s3Location"]["uri"].rpartition("/")[2]: one["content"]["text"] for one in results} == {
            "a.txt": "A cat.",
            "b.md": "# A dog",
            "c.html": "A cow\n\nsays moo.\n\nTwice",
            "d.csv": "name,sound\r\nhen,cluck",
            "e.json": '{"animal": "pig"}',
            "f.pdf": "A horse.",
            "i.xlsx": "animal\tlegs\nspider\t8\n\ncrab\tten",
            "g.docx": "A goat\teats & drinks.\n\nTwice.",
            "H.TXT": "A bat.",
        }


def test_a_second_job_does_what_has_changed() -> None:
    with mock_aws(reply="x"):
        ids = ingested({"a.txt": "A cat.", "b.txt": "A dog.", "c.txt": "A cow.", "d.txt": "A hen."})
        assert counted(ingest(ids)) == {"DocumentsScanned": 4}
        put({"a.txt": "A lion.", "c.txt.metadata.json": attributes({"farm": True}), "e.txt": "A pig."})
        client("s3").delete_object(Bucket=BUCKET, Key="d.txt")
        assert counted(ingest(ids)) == {
            "DocumentsScanned": 4,
            "MetadataDocumentsScanned": 1,
            "NewDocumentsIndexed": 1,
            "ModifiedDocumentsIndexed": 1,
            "MetadataDocumentsModified": 1,
            "DocumentsDeleted": 1,
        }
        assert sorted(texts(found(ids, "x"))) == ["A cow.", "A dog.", "A lion.", "A pig."]
        farm = {"equals": {"key": "farm", "value": True}}
        assert texts(found(ids, "x", filter=farm)) == ["A cow."]
        client("s3").delete_object(Bucket=BUCKET, Key="c.txt.metadata.json")
        assert counted(ingest(ids)) == {"DocumentsScanned": 4, "MetadataDocumentsModified": 1}
        assert found(ids, "x", filter=farm) == []


def test_prefixes() -> None:
    configuration = {"type": "S3", "s3Configuration": {**S3["s3Configuration"], "inclusionPrefixes": ["in/"]}}
    with mock_aws(reply="x"):
        put({"in/a.txt": "A cat.", "out/b.txt": "A dog."})
        ids = source(base(), configuration)
        assert counted(ingest(ids))["DocumentsScanned"] == 1
        assert texts(found(ids, "x")) == ["A cat."]


def test_attributes_have_their_types() -> None:
    sidecar = {
        "year": 1990,
        "genre": "essay",
        "free": True,
        "tags": ["a", "b"],
        "pages": {"value": {"type": "NUMBER", "numberValue": 12}, "includeForEmbedding": True},
        "author": {"value": {"type": "STRING", "stringValue": "Ann"}},
    }
    with mock_aws(reply="x"):
        ids = ingested({"a.txt": "A cat.", "a.txt.metadata.json": attributes(sidecar)})
        metadata = found(ids, "cat")[0]["metadata"]
    assert {name: value for name, value in metadata.items() if not name.startswith("x-amz")} == {
        "year": 1990,
        "genre": "essay",
        "free": True,
        "tags": ["a", "b"],
        "pages": 12,
        "author": "Ann",
    }
    assert metadata["x-amz-bedrock-kb-source-uri"] == "s3://books/a.txt"
    assert metadata["x-amz-bedrock-kb-data-source-id"] == ids["dataSourceId"]
    assert len(metadata["x-amz-bedrock-kb-chunk-id"]) == 32


@pytest.mark.parametrize(
    ("specification", "columns"),
    [
        (None, {"year", "place"}),
        ({"fieldsToInclude": [{"fieldName": "year"}], "fieldsToExclude": []}, {"year"}),
        ({"fieldsToExclude": [{"fieldName": "year"}]}, {"place"}),
    ],
)
def test_rows_of_a_table(specification: Any, columns: set[str]) -> None:
    structure: dict[str, Any] = {"contentFields": [{"fieldName": "text"}]}
    structure |= {"metadataFieldsSpecification": specification} if specification else {}
    sidecar = {
        "metadataAttributes": {"table": "animals"},
        "documentStructureConfiguration": {
            "type": "RECORD_BASED_STRUCTURE_METADATA",
            "recordBasedStructureMetadata": structure,
        },
    }
    rows = 'text,year,place\n"A cat, asleep.",1990,Rome\nA dog.,2001,Oslo\n,1,2\n'
    with mock_aws(reply="x"):
        ids = ingested({"a.csv": rows, "a.csv.metadata.json": json.dumps(sidecar)})
        results = found(ids, "cat")
        assert texts(results) == ["A cat, asleep.", "A dog."]
        assert results[0]["metadata"]["table"] == "animals"
        assert {name for name in results[0]["metadata"] if not name.startswith("x-amz")} == {"table", *columns}
        if "year" in columns:  # as the user guide has it, a column is a text
            assert texts(found(ids, "x", filter={"equals": {"key": "year", "value": "2001"}})) == ["A dog."]


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><w:document>&b;</w:document>'
HOSTILE: dict[str, tuple[bytes, str, str]] = {
    "nul.txt": (b"a\0b", "FAILED", "holds NULs"),
    "latin.txt": ("é".encode("latin-1"), "FAILED", "not UTF-8"),
    "empty.txt": (b" \n", "FAILED", "has no text"),
    "broken.json": (b"{", "FAILED", "not JSON"),
    "deep.json": (b"[" * 100_000, "FAILED", "not JSON"),
    "broken.pdf": (b"%PDF-1.7 no", "FAILED", "is broken"),
    "scan.pdf": (pdf(""), "FAILED", "has no text"),
    "entities.docx": (word_file(BOMB), "FAILED", "document type"),
    "bomb.docx": (word_file(b"a" * 1_100_000), "FAILED", "unpacks to more than"),
    "packed.docx": (word_file("<a/>", zipfile.ZIP_BZIP2), "FAILED", "packed in a way"),
    "bomb.xlsx": (
        office_file({f"xl/worksheets/sheet{n}.xml": " " * 400_000 + "<a/>" for n in (1, 2, 3)}),
        "FAILED",
        "unpacks",
    ),
    "lost.xlsx": (
        office_file({"xl/worksheets/sheet1.xml": SHEET.format('<row><c t="s"><v>7</v></c></row>')}),
        "FAILED",
        "refers",
    ),
    "broken.docx": (b"PK\x03\x04", "FAILED", "not of the format"),
    "unclosed.docx": (word_file(b"<w:document>"), "FAILED", "not of the format"),
    "picture.exe": (b"MZ", "IGNORED", "format is not supported"),
    "nameless": (b"text", "IGNORED", "format is not supported"),
}


def test_what_cannot_be_read_says_why_and_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(office, "MAX_UNPACKED", 1_000_000)
    with mock_aws(reply="x"):
        put({**{name: data for name, (data, _, _) in HOSTILE.items()}, "good.txt": "A cat."})
        ids = source(base())
        for _ in range(2):
            job = ingest(ids)
            assert job["status"] == "COMPLETE"
            assert counted(job)["DocumentsFailed"] == len(HOSTILE)
            for name, (_, _, reason) in HOSTILE.items():
                assert any(reason in told and f"s3://{BUCKET}/{name}" in told for told in job["failureReasons"]), name
        details = agent().list_knowledge_base_documents(**ids, maxResults=100)["documentDetails"]
        states = {one["identifier"]["s3"]["uri"].rpartition("/")[2]: one["status"] for one in details}
        assert states == {**{name: status for name, (_, status, _) in HOSTILE.items()}, "good.txt": "INDEXED"}
        assert texts(found(ids, "x")) == ["A cat."]
        put({"nul.txt": "Mended."})
        assert counted(ingest(ids))["NewDocumentsIndexed"] == 1


@pytest.mark.parametrize(
    "sidecar",
    [
        b"{",
        b"[]",
        b"{}",
        b"\xff",
        attributes({"a": None}).encode(),
        attributes({"a": [1]}).encode(),
        attributes({"a": {"value": {"type": "NUMBER", "stringValue": "1"}}}).encode(),
        attributes({"a": "b" * 10_240}).encode(),
        b'{"metadataAttributes": {}, "documentStructureConfiguration": {"type": 1}}',
        b"[" * 5_000,
    ],
)
def test_a_metadata_file_that_cannot_be_read_is_ignored_and_told(sidecar: bytes) -> None:
    with mock_aws(reply="x"):
        put({"a.txt": "A cat.", "a.txt.metadata.json": sidecar})
        ids = source(base())
        job = ingest(ids)
        assert counted(job)["NewDocumentsIndexed"] == 1
        assert "a.txt.metadata.json" in job["failureReasons"][0]
        assert texts(found(ids, "cat")) == ["A cat."]


def test_the_states_of_a_job() -> None:
    now = [100.0]
    with mock_aws(reply="x", transitions={"ingestion": 2}, clock=lambda: now[0]):
        put({"a.txt": "A cat."})
        ids = source(base())
        job = agent().start_ingestion_job(**ids, description="First.", clientToken="t" * 40)["ingestionJob"]
        assert (job["status"], job["description"], counted(job)) == ("STARTING", "First.", {})
        assert (
            agent().start_ingestion_job(**ids, clientToken="t" * 40)["ingestionJob"]["ingestionJobId"]
            == (job["ingestionJobId"])
        )
        code, message = refusal(agent().start_ingestion_job, **ids)
        assert code == "ConflictException"
        assert job["ingestionJobId"] in message
        named = {**ids, "ingestionJobId": job["ingestionJobId"]}
        assert found(ids, "cat") == []
        now[0] = 160.0
        states = [agent().get_ingestion_job(**named)["ingestionJob"]["status"] for _ in range(3)]
        assert states == ["IN_PROGRESS", "IN_PROGRESS", "COMPLETE"]
        ended = agent().get_ingestion_job(**named)["ingestionJob"]
        assert (ended["startedAt"].timestamp(), ended["updatedAt"].timestamp()) == (100.0, 160.0)
        assert texts(found(ids, "cat")) == ["A cat."]
        assert refusal(agent().stop_ingestion_job, **named)[0] == "ConflictException"


def test_a_job_that_is_stopped_does_nothing() -> None:
    with mock_aws(reply="x", transitions={"ingestion": 3}):
        put({"a.txt": "A cat."})
        ids = source(base())
        named = {**ids, "ingestionJobId": agent().start_ingestion_job(**ids)["ingestionJob"]["ingestionJobId"]}
        assert agent().stop_ingestion_job(**named)["ingestionJob"]["status"] == "STOPPING"
        assert refusal(agent().start_ingestion_job, **ids)[0] == "ConflictException"
        states = [agent().get_ingestion_job(**named)["ingestionJob"]["status"] for _ in range(2)]
        assert states == ["STOPPING", "STOPPED"]
        assert found(ids, "cat") == []
        assert agent().start_ingestion_job(**ids)["ingestionJob"]["status"] == "STARTING"


def test_how_many_jobs_go_on_at_once() -> None:
    with mock_aws(reply="x", transitions={"ingestion": 9}):
        put({})
        first = source(base())
        agent().start_ingestion_job(**first)
        beside = source(first["knowledgeBaseId"], name="beside")
        code, message = refusal(agent().start_ingestion_job, **beside)
        assert (code, "Knowledge Base" in message) == ("ConflictException", True)
        others = [source(base(f"b{number}")) for number in range(5)]
        for ids in others[:4]:
            agent().start_ingestion_job(**ids)
        assert refusal(agent().start_ingestion_job, **others[4])[0] == "ServiceQuotaExceededException"


def test_lists_of_jobs() -> None:
    now = [0.0]
    with mock_aws(reply="x", clock=lambda: now[0]) as aws:
        put({})
        ids = source(base())
        for number in range(3):
            now[0] = float(number)
            if number == 1:
                aws.plane.fail(ids["dataSourceId"], "No reason.")
            ingest(ids)
        jobs = agent().list_ingestion_jobs(**ids)["ingestionJobSummaries"]
        assert [job["startedAt"].timestamp() for job in jobs] == [2.0, 1.0, 0.0]
        failed = [{"attribute": "STATUS", "operator": "EQ", "values": ["FAILED"]}]
        assert [
            job["startedAt"].timestamp()
            for job in agent().list_ingestion_jobs(**ids, filters=failed)["ingestionJobSummaries"]
        ] == [1.0]
        ordered = {"attribute": "STARTED_AT", "order": "ASCENDING"}
        page = agent().list_ingestion_jobs(**ids, sortBy=ordered, maxResults=2)
        assert [job["startedAt"].timestamp() for job in page["ingestionJobSummaries"]] == [0.0, 1.0]
        assert "nextToken" in page
        unknown = {**ids, "ingestionJobId": "AAAAAAAAAA"}
        assert refusal(agent().get_ingestion_job, **unknown)[0] == "ResourceNotFoundException"


TRANSFORMED = {
    "customTransformationConfiguration": {
        "intermediateStorage": {"s3Location": {"uri": "s3://books/between"}},
        "transformations": [
            {
                "stepToApply": "POST_CHUNKING",
                "transformationFunction": {
                    "transformationLambdaConfiguration": {
                        "lambdaArn": "arn:aws:lambda:us-east-1:123456789012:function:change"
                    }
                },
            }
        ],
    }
}


def test_jobs_that_fail_say_why() -> None:
    web = {"sourceConfiguration": {"urlConfiguration": {"seedUrls": [{"url": "https://a.example"}]}}}
    nowhere = {"type": "S3", "s3Configuration": {"bucketArn": "arn:aws:s3:::nowhere"}}
    with mock_aws(reply="x") as aws:
        made = base()
        put({})
        ids = source(made)
        aws.plane.fail(ids["dataSourceId"], "The role may not.")
        assert (ingest(ids)["status"], ingest(ids)["status"]) == ("FAILED", "COMPLETE")
        for configuration, reason in (
            (nowhere, "The specified bucket does not exist: nowhere"),
            ({"type": "WEB", "webConfiguration": web}, "data sources of the type WEB are not read"),
        ):
            job = ingest(source(made, configuration, str(configuration["type"])))
            assert job["status"] == "FAILED"
            assert reason in job["failureReasons"][0]
        job = ingest(source(made, S3, "changed", vectorIngestionConfiguration=TRANSFORMED))
        assert "transformation functions are not run" in job["failureReasons"][0]
        code, message = refusal(agent().start_ingestion_job, **source(made, CUSTOM, "custom"))
        assert code == "ValidationException"
        assert "IngestKnowledgeBaseDocuments" in message


class _Failing(ScriptedBackend):
    def ask(self, request: Any, *rest: Any) -> Any:
        if isinstance(request, EmbedRequest):
            raise ServerError("out of memory")
        return super().ask(request, *rest)


def test_an_embedding_model_that_fails_fails_the_job() -> None:
    with mock_aws(reply=_Failing("x")) as aws:
        aws.plane.models = type(aws.plane.models)(embed="encoder")
        put({"a.txt": "A cat."})
        job = ingest(source(base()))
    assert job["status"] == "FAILED"
    assert job["failureReasons"] == ["The embedding model failed: out of memory"]


# --- one by one ------------------------------------------------------------------------------------------------------


def inline(name: str, text: str, **metadata: Any) -> dict[str, Any]:
    values = [{"key": key, "value": value} for key, value in metadata.items()]
    document: dict[str, Any] = {
        "content": {
            "dataSourceType": "CUSTOM",
            "custom": {
                "customDocumentIdentifier": {"id": name},
                "sourceType": "IN_LINE",
                "inlineContent": {"type": "TEXT", "textContent": {"data": text}},
            },
        }
    }
    return document | ({"metadata": {"type": "IN_LINE_ATTRIBUTE", "inlineAttributes": values}} if values else {})


def named(*ids: str) -> list[dict[str, Any]]:
    return [{"dataSourceType": "CUSTOM", "custom": {"id": one}} for one in ids]


def test_documents_are_ingested_read_listed_and_deleted() -> None:
    year = {"type": "NUMBER", "numberValue": 1990}
    tags = {"type": "STRING_LIST", "stringListValue": ["a"]}
    with mock_aws(reply="x", transitions={"ingestion": 1}):
        ids = source(base(), CUSTOM)
        sent = [inline("one", "A cat.", year=year, tags=tags), inline("two", "A dog.")]
        made = agent().ingest_knowledge_base_documents(**ids, documents=sent)["documentDetails"]
        assert [(one["identifier"], one["status"]) for one in made] == [
            (identifier, "STARTING") for identifier in named("one", "two")
        ]
        assert found(ids, "cat") == []
        for states in (["STARTING", "STARTING", "NOT_FOUND"], ["INDEXED", "INDEXED", "NOT_FOUND"]):
            details = agent().get_knowledge_base_documents(**ids, documentIdentifiers=named("one", "two", "three"))
            assert [one["status"] for one in details["documentDetails"]] == states
        result = found(ids, "cat")[0]
        assert result["location"] == {"type": "CUSTOM", "customDocumentLocation": {"id": "one"}}
        assert (result["metadata"]["year"], result["metadata"]["tags"]) == (1990, ["a"])
        page = agent().list_knowledge_base_documents(**ids, maxResults=1)
        assert (len(page["documentDetails"]), page["nextToken"]) == (1, "from-1")
        gone = agent().delete_knowledge_base_documents(**ids, documentIdentifiers=named("one", "three"))
        assert [one["status"] for one in gone["documentDetails"]] == ["DELETING", "NOT_FOUND"]
        for _ in range(2):
            agent().get_knowledge_base_documents(**ids, documentIdentifiers=named("one"))
        assert texts(found(ids, "cat")) == ["A dog."]


def test_a_document_is_replaced_by_one_of_its_name() -> None:
    with mock_aws(reply="x"):
        ids = source(base(), CUSTOM)
        for text in ("A cat.", "A lion."):
            agent().ingest_knowledge_base_documents(**ids, documents=[inline("one", text)])
        assert texts(found(ids, "x")) == ["A lion."]


def custom(id: str, **content: Any) -> dict[str, Any]:
    return {"content": {"dataSourceType": "CUSTOM", "custom": {"customDocumentIdentifier": {"id": id}, **content}}}


def in_bytes(id: str, media_type: str, data: bytes) -> dict[str, Any]:
    content = {"type": "BYTE", "byteContent": {"mimeType": media_type, "data": data}}
    return custom(id, sourceType="IN_LINE", inlineContent=content)


def test_bytes_and_objects_are_ingested_directly() -> None:
    place = {"uri": f"s3://{BUCKET}/a.txt"}
    with mock_aws(reply="x"):
        put({"a.txt": "A cat.", "m.json": attributes({"year": 3}), "b.txt": "A hen."})
        ids = source(base(), CUSTOM)
        documents = [
            in_bytes("pdf", "application/pdf", pdf("A horse.")),
            in_bytes("odd", "image/gif", b"GIF"),
            {
                **custom("object", sourceType="S3_LOCATION", s3Location=place),
                "metadata": {"type": "S3_LOCATION", "s3Location": {"uri": f"s3://{BUCKET}/m.json"}},
            },
            custom("nowhere", sourceType="S3_LOCATION", s3Location={"uri": f"s3://{BUCKET}/nowhere.txt"}),
        ]
        agent().ingest_knowledge_base_documents(**ids, documents=documents)
        details = agent().list_knowledge_base_documents(**ids)["documentDetails"]
        assert [(one["identifier"]["custom"]["id"], one["status"]) for one in details] == [
            ("pdf", "INDEXED"),
            ("odd", "IGNORED"),
            ("object", "INDEXED"),
            ("nowhere", "FAILED"),
        ]
        assert details[3]["statusReason"] == f"The specified key does not exist: s3://{BUCKET}/nowhere.txt"
        assert sorted(texts(found(ids, "x"))) == ["A cat.", "A horse."]
        assert texts(found(ids, "x", filter={"equals": {"key": "year", "value": 3}})) == ["A cat."]


def test_objects_of_a_data_source_in_s3_and_the_job_after() -> None:
    def s3(key: str) -> Any:
        return {"dataSourceType": "S3", "s3": {"s3Location": {"uri": f"s3://{BUCKET}/{key}"}}}

    configuration = {"type": "S3", "s3Configuration": {**S3["s3Configuration"], "inclusionPrefixes": ["in/"]}}
    with mock_aws(reply="x"):
        put({"in/a.txt": "A cat.", "in/a.txt.metadata.json": attributes({"year": 3}), "out/b.txt": "A dog."})
        ids = source(base(), configuration)
        documents = [{"content": s3("in/a.txt")}, {"content": s3("out/b.txt")}]
        agent().ingest_knowledge_base_documents(**ids, documents=documents)
        assert sorted(texts(found(ids, "x"))) == ["A cat.", "A dog."]
        assert found(ids, "cat")[0]["metadata"]["year"] == 3
        assert counted(ingest(ids)) == {"DocumentsScanned": 1, "MetadataDocumentsScanned": 1, "DocumentsDeleted": 1}
        assert texts(found(ids, "x")) == ["A cat."]


def test_documents_that_cannot_be_are_refused() -> None:
    place = {"dataSourceType": "S3", "s3": {"s3Location": {"uri": "s3://books/a.txt"}}}
    with mock_aws(reply="x"):
        made = base()
        ids, objects = source(made, CUSTOM), source(made, S3, "objects")
        year = {"type": "NUMBER", "numberValue": 1}
        listed = {"accessControlList": [{"name": "ann", "type": "USER", "access": "ALLOW"}]}
        metadata = {"type": "IN_LINE_ATTRIBUTE", "inlineAttributes": [{"key": "year", "value": year}]}
        for target, document, words in (
            (ids, {"content": place}, "does not match the data source's, CUSTOM"),
            (objects, inline("a", "b"), "does not match the data source's, S3"),
            (objects, {"content": place, "metadata": metadata}, "has its metadata in S3"),
            (ids, custom("a", sourceType="S3_LOCATION"), "s3Location is required"),
            (ids, {**inline("a", "b"), "metadata": {"type": "S3_LOCATION"}}, "s3Location is required"),
            (ids, {**inline("a", "b"), "metadata": {**metadata, **listed}}, "leave out accessControlList"),
            (ids, custom("a", sourceType="IN_LINE"), "inlineContent is required"),
        ):
            code, message = refusal(agent().ingest_knowledge_base_documents, **target, documents=[document])
            assert (code, words in message) == ("ValidationException", True)
        twice = refusal(agent().ingest_knowledge_base_documents, **ids, documents=[inline("a", "b")] * 2)
        assert "identifier of its own" in twice[1]
        many = [inline(str(number), "x") for number in range(11)]
        assert refusal(agent().ingest_knowledge_base_documents, **ids, documents=many)[0] == "ValidationException"
        web = {"sourceConfiguration": {"urlConfiguration": {"seedUrls": [{"url": "https://a.example"}]}}}
        pages = source(made, {"type": "WEB", "webConfiguration": web}, "web")
        assert "not of WEB" in refusal(agent().list_knowledge_base_documents, **pages)[1]


def test_pieces_are_cut_as_the_data_source_says() -> None:
    with mock_aws(reply="x"):
        ids = ingested({"a.txt": "one two three four five six"}, SOME)
        assert sorted(texts(found(ids, "x"))) == ["four five six", "one two three four"]


def test_all_that_is_kept_of_it_is_data() -> None:
    """Whatever state it is in, a base is the same after it was written and read (``server.keeping``)."""
    with mock_aws(reply="x") as aws:
        ids = ingested({"a.txt": "A cat.", "b.exe": "x"}, knowledgeBaseConfiguration=VECTOR)
        runtime().retrieve_and_generate(
            input={"text": "What?"},
            retrieveAndGenerateConfiguration={
                "type": "KNOWLEDGE_BASE",
                "knowledgeBaseConfiguration": {"knowledgeBaseId": ids["knowledgeBaseId"], "modelArn": NOVA_ARN},
            },
        )
        agent().create_prompt_version(promptIdentifier=agent().create_prompt(name="p")["id"])
        aws.plane.transitions.update({"ingestion": 1, "knowledge-base": 1})
        agent().start_ingestion_job(**ids)
        made = source(ids["knowledgeBaseId"], CUSTOM, "custom")
        agent().ingest_knowledge_base_documents(**made, documents=[inline("one", "A dog.")])
        base("other")
        tables = aws.plane.state("us-east-1").tables
        kept = {kind: table for kind, table in tables.items() if table}
        assert set(kept) == {
            *("knowledge-base", "data-source", "ingestion-job", "knowledge-base-document", "knowledge-base-session"),
            *("prompt", "had"),
        }
        for table in kept.values():
            for record in table.values():
                assert records.decode(type(record).__name__, records.encode(record)) == record


def test_an_embedding_model_is_asked_in_batches_and_once() -> None:
    backend = ScriptedBackend("x")
    with mock_aws(reply=backend) as aws:
        aws.plane.models = type(aws.plane.models)(embed="encoder")
        heading = {"topic": {"value": {"type": "STRING", "stringValue": "zoo"}, "includeForEmbedding": True}}
        files: dict[str, bytes | str] = {f"{number:03}.txt": f"Text {number}." for number in range(130)}
        ids = ingested(
            {**files, "000.txt.metadata.json": attributes(heading)},
            knowledgeBaseConfiguration={
                "type": "VECTOR",
                "vectorKnowledgeBaseConfiguration": {"embeddingModelArn": MODEL},
            },
        )
        asked = [request.texts for request in backend.requests if isinstance(request, EmbedRequest)]
        assert [len(texts) for texts in asked] == [128, 2]
        assert asked[0][:2] == ("topic: zoo\nText 0.", "Text 1.")
        ingest(ids)
        assert len(backend.requests) == 2


def test_what_a_script_raises_is_raised_once_and_fails_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("mine")

    with mock_aws(reply="x"):
        put({"a.txt": "A cat."})
        ids = source(base())
        with monkeypatch.context() as patched:
            patched.setattr(sync, "run", broken)
            with pytest.raises(KeyError, match="mine"):
                agent().start_ingestion_job(**ids)
        (job,) = agent().list_ingestion_jobs(**ids)["ingestionJobSummaries"]
        assert job["status"] == "FAILED"
        assert ingest(ids)["status"] == "COMPLETE"
