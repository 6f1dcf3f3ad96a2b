"""Knowledge bases inside ``mock_aws`` in few words: a bucket with files, a base, a data source, a job."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

from tests.support.sagemaker_account import client

ROLE = "arn:aws:iam::123456789012:role/knowledge"
MODEL = "arn:aws:bedrock:us-east-1::foundation-model/amazon.titan-embed-text-v2:0"
NOVA_ARN = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"
BUCKET = "books"
VECTOR: Any = {"type": "VECTOR", "vectorKnowledgeBaseConfiguration": {"embeddingModelArn": MODEL}}
STORE: Any = {
    "type": "OPENSEARCH_SERVERLESS",
    "opensearchServerlessConfiguration": {
        "collectionArn": "arn:aws:aoss:us-east-1:123456789012:collection/books",
        "vectorIndexName": "index",
        "fieldMapping": {"vectorField": "v", "textField": "t", "metadataField": "m"},
    },
}
S3: Any = {"type": "S3", "s3Configuration": {"bucketArn": f"arn:aws:s3:::{BUCKET}"}}
CUSTOM: Any = {"type": "CUSTOM"}


def agent(region: str = "us-east-1") -> Any:
    return client("bedrock-agent", region)


def runtime(region: str = "us-east-1") -> Any:
    return client("bedrock-agent-runtime", region)


def put(files: Mapping[str, bytes | str]) -> None:
    """The files in the bucket, which is made where it is missing."""
    s3 = client("s3")
    if BUCKET not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
        s3.create_bucket(Bucket=BUCKET)
    for key, body in files.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=body)


def base(name: str = "base", **members: Any) -> str:
    """The id of a knowledge base."""
    request = {"name": name, "roleArn": ROLE, "knowledgeBaseConfiguration": VECTOR, "storageConfiguration": STORE}
    made: str = agent().create_knowledge_base(**{**request, **members})["knowledgeBase"]["knowledgeBaseId"]
    return made


def source(knowledge_base: str, configuration: Any = None, name: str = "source", **members: Any) -> dict[str, str]:
    """The ids of a data source and its base, as operations take them."""
    made = agent().create_data_source(
        knowledgeBaseId=knowledge_base, name=name, dataSourceConfiguration=configuration or S3, **members
    )["dataSource"]
    return {"knowledgeBaseId": knowledge_base, "dataSourceId": made["dataSourceId"]}


def ingest(ids: Mapping[str, str]) -> Any:
    """An ingestion job that has ended."""
    job = agent().start_ingestion_job(**ids)["ingestionJob"]
    return agent().get_ingestion_job(**ids, ingestionJobId=job["ingestionJobId"])["ingestionJob"]


def ingested(files: Mapping[str, bytes | str], chunking: Any = None, **members: Any) -> dict[str, str]:
    """A base that has the files."""
    put(files)
    how: Any = {"vectorIngestionConfiguration": {"chunkingConfiguration": chunking}} if chunking else {}
    ids = source(base(**members), **how)
    ingest(ids)
    return ids


def found(ids: Mapping[str, str], text: str, **search: Any) -> list[Any]:
    results: list[Any] = runtime().retrieve(
        knowledgeBaseId=ids["knowledgeBaseId"],
        retrievalQuery={"text": text},
        retrievalConfiguration={"vectorSearchConfiguration": search or {"numberOfResults": 100}},
    )["retrievalResults"]
    return results


def texts(results: list[Any]) -> list[str]:
    return [result["content"]["text"] for result in results]


def word_file(document: str | bytes, packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A .docx whose main part is this."""
    return office_file({"word/document.xml": document}, packing)


def office_file(parts: Mapping[str, str | bytes], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packing) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return out.getvalue()
