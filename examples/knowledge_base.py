"""A knowledge base: made on S3 Vectors, given documents, searched, asked for an answer with citations, and deleted.

python examples/knowledge_base.py --offline
python examples/knowledge_base.py --role arn:aws:iam::…:role/…     # an account; costs cents

The role is what Bedrock works with: it trusts bedrock.amazonaws.com, and may invoke the embedding model and use the
vector index (s3vectors:GetIndex, PutVectors, GetVectors, QueryVectors, DeleteVectors).
"""

import argparse
import contextlib
import time
import uuid
from pathlib import Path

import boto3

import awsllm
from awsllm.testing import mock_aws

HANDBOOK = Path(__file__).parent / "data" / "handbook"
# What Bedrock keeps beside each vector is more than S3 Vectors filters by (2 KB).
NOT_FILTERED = {"nonFilterableMetadataKeys": ["AMAZON_BEDROCK_TEXT", "AMAZON_BEDROCK_METADATA"]}


def create(region: str, role: str, undo: contextlib.ExitStack) -> tuple[str, str]:
    """The ids of a knowledge base and its data source; ``undo`` deletes all that was made, the last of it first."""
    agent, vectors = boto3.client("bedrock-agent", region_name=region), boto3.client("s3vectors", region_name=region)
    name = f"awsllm-example-{uuid.uuid4().hex[:8]}"
    vectors.create_vector_bucket(vectorBucketName=name)
    undo.callback(vectors.delete_vector_bucket, vectorBucketName=name)
    where = {"vectorBucketName": name, "indexName": "handbook"}
    vectors.create_index(
        **where, dataType="float32", dimension=1024, distanceMetric="cosine", metadataConfiguration=NOT_FILTERED
    )
    undo.callback(vectors.delete_index, **where)
    index = vectors.get_index(**where)["index"]["indexArn"]
    embedding = {"embeddingModelArn": f"arn:aws:bedrock:{region}::foundation-model/amazon.titan-embed-text-v2:0"}
    base = agent.create_knowledge_base(
        name=name,
        roleArn=role,
        knowledgeBaseConfiguration={"type": "VECTOR", "vectorKnowledgeBaseConfiguration": embedding},
        storageConfiguration={"type": "S3_VECTORS", "s3VectorsConfiguration": {"indexArn": index}},
    )["knowledgeBase"]["knowledgeBaseId"]
    undo.callback(agent.delete_knowledge_base, knowledgeBaseId=base)
    while (status := agent.get_knowledge_base(knowledgeBaseId=base)["knowledgeBase"]["status"]) == "CREATING":
        time.sleep(2)
    if status != "ACTIVE":
        raise SystemExit(f"the knowledge base is {status}")
    source = agent.create_data_source(
        knowledgeBaseId=base,
        name="handbook",
        dataSourceConfiguration={"type": "CUSTOM"},
        dataDeletionPolicy="RETAIN",  # the whole index goes, so nobody need wait for its vectors to
    )["dataSource"]["dataSourceId"]
    undo.callback(agent.delete_data_source, knowledgeBaseId=base, dataSourceId=source)
    return base, source


def ingest(region: str, base: str, source: str) -> None:
    agent, ids = boto3.client("bedrock-agent", region_name=region), {"knowledgeBaseId": base, "dataSourceId": source}
    documents = [
        {"dataSourceType": "CUSTOM", "custom": {
            "customDocumentIdentifier": {"id": path.name}, "sourceType": "IN_LINE",
            "inlineContent": {"type": "TEXT", "textContent": {"data": path.read_text(encoding="utf-8")}},
        }} for path in sorted(HANDBOOK.glob("*.md"))
    ]  # fmt: skip
    sent = agent.ingest_knowledge_base_documents(**ids, documents=[{"content": each} for each in documents])
    names = [each["identifier"] for each in sent["documentDetails"]]
    while True:
        found = agent.get_knowledge_base_documents(**ids, documentIdentifiers=names)["documentDetails"]
        if not {each["status"] for each in found} & {"PENDING", "STARTING", "IN_PROGRESS"}:
            print({each["identifier"]["custom"]["id"]: each["status"] for each in found})
            return
        time.sleep(2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", nargs="?", default="How long is the warranty of a battery?")
    parser.add_argument("--offline", action="store_true", help="no account: AWS is on this machine")
    parser.add_argument("--role", metavar="ARN", help="what Bedrock works with; needed with an account")
    parser.add_argument("--model", default="bedrock:amazon.nova-lite-v1:0")
    parser.add_argument("--region", default="us-east-1")
    options = parser.parse_args()
    if not (options.role or options.offline):
        parser.error("--role ARN is needed, or --offline")
    role = options.role or "arn:aws:iam::123456789012:role/knowledge-base"
    with mock_aws() if options.offline else contextlib.nullcontext(), contextlib.ExitStack() as undo:
        client = undo.enter_context(awsllm.Client(region=options.region))
        base, source = create(options.region, role, undo)
        ingest(options.region, base, source)
        for result in client.retrieve(base, options.question, number_of_results=2).results:
            print(f"{result.score:.2f}  {result.uri}: {result.text[:80]!r}")
        answer = client.retrieve_and_generate(options.model, options.question, knowledge_base=base)
        print(answer.text, [reference.uri for reference in answer.references])


if __name__ == "__main__":
    main()
