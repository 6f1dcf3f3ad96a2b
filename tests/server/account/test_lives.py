"""Whatever can be made, in any order: what was made is listed once and found by its names, its tags follow it, a token
makes it once, no other region knows it, and once deleted it is refused everywhere.

botocore's service model judges every response, and every refusal has a code that its operation lists.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from awsllm.errors import RequestError
from awsllm.server.account import dispatch, protocols
from awsllm.server.account.account import Account, Region
from awsllm.server.shapes import check, faults, service_model
from awsllm.types import JsonObject

ROLE = "arn:aws:iam::123456789012:role/any"
NOVA = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"
TITAN = "arn:aws:bedrock:us-east-1::foundation-model/amazon.titan-embed-text-v2:0"
ARN = re.compile(r"arn:aws:[a-z-]+:us-east-1:123456789012:[a-z-]+/[A-Za-z0-9:/-]+")
NAMES = ("a", "b", "c")

GUARDRAIL = {
    "blockedInputMessaging": "no",
    "blockedOutputsMessaging": "no",
    "wordPolicyConfig": {"wordsConfig": [{"text": "zebra"}]},
}
BASE = {
    "roleArn": ROLE,
    "knowledgeBaseConfiguration": {
        "type": "VECTOR",
        "vectorKnowledgeBaseConfiguration": {"embeddingModelArn": TITAN},
    },
    "storageConfiguration": {
        "type": "S3_VECTORS",
        "s3VectorsConfiguration": {"indexArn": "arn:aws:s3vectors:us-east-1:123456789012:bucket/abc/index/abc"},
    },
}
PLACE = {"s3Uri": "s3://data/in/"}
BATCH = {
    "roleArn": ROLE,
    "modelId": "amazon.nova-lite-v1:0",
    "inputDataConfig": {"s3InputDataConfig": PLACE},
    "outputDataConfig": {"s3OutputDataConfig": PLACE},
}


@dataclass(frozen=True, eq=False)
class Kind:
    """How one kind of resource is made and found. ``arn`` and ``id`` find it in what Create answers; ``named`` is the
    member by which Get and Delete are told of it, ``by_arn`` whether that may be its ARN; ``rows`` the member of a
    list, ``row`` the id in its rows."""

    service: str
    noun: str
    name: str
    fixed: JsonObject
    arn: Callable[[JsonObject], str]
    named: str
    rows: str
    row: str
    by_arn: bool = True
    token: str = "clientRequestToken"
    deletes: bool = True
    within: JsonObject = field(default_factory=dict)

    def operation(self, verb: str) -> str:
        return f"{verb}{self.noun}{'s' if verb == 'List' else ''}"


KINDS = (
    Kind(
        *("bedrock", "Guardrail", "name", GUARDRAIL, lambda r: r["guardrailArn"]),
        *("guardrailIdentifier", "guardrails", "id"),
    ),
    Kind(
        *("bedrock", "InferenceProfile", "inferenceProfileName", {"modelSource": {"copyFrom": NOVA}}),
        *(lambda r: r["inferenceProfileArn"], "inferenceProfileIdentifier"),
        *("inferenceProfileSummaries", "inferenceProfileId"),
        within={"typeEquals": "APPLICATION"},
    ),
    Kind(
        *("bedrock", "ModelInvocationJob", "jobName", BATCH, lambda r: r["jobArn"], "jobIdentifier"),
        *("invocationJobSummaries", "jobArn"),
        deletes=False,
    ),
    Kind(
        *("bedrock-agent", "KnowledgeBase", "name", BASE, lambda r: r["knowledgeBase"]["knowledgeBaseArn"]),
        *("knowledgeBaseId", "knowledgeBaseSummaries", "knowledgeBaseId"),
        by_arn=False,
        token="clientToken",
    ),
    Kind(
        *("bedrock-agent", "Prompt", "name", {}, lambda r: r["arn"], "promptIdentifier", "promptSummaries", "id"),
        token="clientToken",
    ),
)  # fmt: skip


def call(region: Region, service: str, operation: str, **request: Any) -> JsonObject:
    """The operation's response as botocore reads it."""
    check(service, operation, request)
    meant = protocols.Meant(service, operation, {})
    response = dispatch.SERVICES[service][operation](region, json.loads(json.dumps(request)))
    assert response is not None
    reply: JsonObject = json.loads(protocols.write(meant, response).body or b"{}")
    shape = service_model(service).operation_model(operation).output_shape
    assert shape is None or list(faults(shape, reply)) == []
    return reply


def code(region: Region, service: str, operation: str, **request: Any) -> str:
    """The code of the refusal, which the operation lists."""
    with pytest.raises(RequestError) as refusal:
        call(region, service, operation, **request)
    found = str(refusal.value.code)
    assert found in [shape.name for shape in service_model(service).operation_model(operation).error_shapes]
    return found


def listed(region: Region, kind: Kind, size: int) -> Iterator[str]:
    """The ids of all pages."""
    more: JsonObject = {}
    while True:
        page = call(region, kind.service, kind.operation("List"), maxResults=size, **kind.within, **more)
        assert len(page[kind.rows]) <= size
        yield from (row[kind.row] for row in page[kind.rows])
        if "nextToken" not in page:
            return
        assert page[kind.rows]
        more = {"nextToken": page["nextToken"]}


class Lives(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        account = Account()
        self.here, self.elsewhere = account.region("us-east-1"), account.region("eu-west-1")
        self.alive: dict[tuple[Kind, str], str] = {}
        self.dead: set[tuple[Kind, str]] = set()
        self.tags: dict[str, dict[str, str]] = {}
        self.tokens = 0

    @rule(kind=st.sampled_from(KINDS), name=st.sampled_from(NAMES))
    def make(self, kind: Kind, name: str) -> None:
        request = {kind.name: name, **kind.fixed}
        operation = kind.operation("Create")
        if (kind, name) in self.alive:
            assert code(self.here, kind.service, operation, **request) == "ConflictException"
            return
        self.tokens += 1
        tokened = {**request, kind.token: f"token-{self.tokens}".ljust(40, "x")}
        made = call(self.here, kind.service, operation, **tokened)
        arn = kind.arn(made)
        assert ARN.fullmatch(arn)
        assert kind.arn(call(self.here, kind.service, operation, **tokened)) == arn
        self.alive[kind, name], self.tags[arn] = arn, {}

    @rule(kind=st.sampled_from(KINDS), name=st.sampled_from(NAMES))
    def delete(self, kind: Kind, name: str) -> None:
        if not kind.deletes or (kind, name) not in self.alive:
            return
        arn = self.alive.pop((kind, name))
        self.tags.pop(arn)
        call(self.here, kind.service, kind.operation("Delete"), **{kind.named: _id(kind, arn)})
        self.dead.add((kind, arn))

    @rule(kind=st.sampled_from(KINDS), name=st.sampled_from(NAMES), key=st.sampled_from("xy"))
    def tag(self, kind: Kind, name: str, key: str) -> None:
        arn = self.alive.get((kind, name))
        if arn is None:
            return
        tags: Any = {key: name} if kind.service == "bedrock-agent" else [{"key": key, "value": name}]
        call(self.here, kind.service, "TagResource", **{_resource(kind): arn, "tags": tags})
        self.tags[arn][key] = name

    @rule(kind=st.sampled_from(KINDS), name=st.sampled_from(NAMES), key=st.sampled_from("xy"))
    def untag(self, kind: Kind, name: str, key: str) -> None:
        arn = self.alive.get((kind, name))
        if arn is not None:
            call(self.here, kind.service, "UntagResource", **{_resource(kind): arn, "tagKeys": [key]})
            self.tags[arn].pop(key, None)

    @invariant()
    def what_is_alive_is_found(self) -> None:
        for (kind, _), arn in self.alive.items():
            for name in {_id(kind, arn), *([arn] if kind.by_arn else [])}:
                call(self.here, kind.service, kind.operation("Get"), **{kind.named: name})
            found = call(self.here, kind.service, "ListTagsForResource", **{_resource(kind): arn})["tags"]
            tags = found if isinstance(found, dict) else {one["key"]: one["value"] for one in found}
            assert tags == self.tags[arn]
            code(self.elsewhere, kind.service, kind.operation("Get"), **{kind.named: _id(kind, arn)})

    @invariant()
    def what_is_alive_is_listed_once(self) -> None:
        for kind in KINDS:
            wanted = sorted(_row(kind, arn) for (one, _), arn in self.alive.items() if one is kind)
            assert sorted(listed(self.here, kind, 1)) == sorted(listed(self.here, kind, 2)) == wanted
            assert list(listed(self.elsewhere, kind, 5)) == []

    @invariant()
    def what_is_dead_is_refused(self) -> None:
        for kind, arn in self.dead:
            for verb in ("Get", "Delete"):
                request = {kind.named: _id(kind, arn)}
                assert code(self.here, kind.service, kind.operation(verb), **request) == "ResourceNotFoundException"


def _id(kind: Kind, arn: str) -> str:
    return arn.rpartition("/")[2]


def _row(kind: Kind, arn: str) -> str:
    return arn if kind.row.endswith("Arn") else _id(kind, arn)


def _resource(kind: Kind) -> str:
    """The member of the tags' operations that holds the ARN."""
    return "resourceArn" if kind.service == "bedrock-agent" else "resourceARN"


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)
