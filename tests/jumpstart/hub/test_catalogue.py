"""Finding models: every source, what is asked of AWS and when, the cache, and what is said when nothing answers."""

import functools
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber
from moto import mock_aws

from awsllm.aws.session import AwsSession
from awsllm.errors import AwsllmError, ConfigurationError, ConnectError, ModelNotFoundError, ValidationError
from awsllm.jumpstart.hub.catalogue import Catalogue
from awsllm.jumpstart.hub.sources import MANIFESTS, version_key
from awsllm.wire.endpoint.detect import PUBLIC_HUB
from tests.support.data import DATA

DOCUMENTS = DATA / "jumpstart"
REGION = "us-east-1"
BUCKET = f"jumpstart-cache-prod-{REGION}"
ARN = f"arn:aws:sagemaker:{REGION}:aws:hub-content/{PUBLIC_HUB}/Model/"
HUB_ARN = f"arn:aws:sagemaker:{REGION}:aws:hub/{PUBLIC_HUB}"
WHEN = "2026-01-01T00:00:00Z"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@functools.cache
def a_client(service: str) -> Any:
    """Made once, for it takes half a second."""
    return boto3.Session("k", "s", region_name=REGION).client(service)


class Calls:
    """boto3 clients whose calls are answered by a function, judged by botocore's model in both directions."""

    def __init__(self, **answer: Callable[[str, dict[str, Any]], dict[str, Any] | None]) -> None:
        self.made: list[tuple[str, dict[str, Any]]] = []
        self._lock = threading.Lock()
        self._clients = {service: self._client(service, reply) for service, reply in answer.items()}

    def __call__(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self._client(service, lambda name, request: None)
        return self._clients[service]

    def names(self) -> list[str]:
        return [name for name, _ in self.made]

    def _client(self, service: str, reply: Callable[[str, dict[str, Any]], dict[str, Any] | None]) -> Any:
        client = a_client(service)

        def call(name: str, request: dict[str, Any]) -> Any:
            with self._lock:  # one stubbed call at a time: a Stubber answers in order
                self.made.append((name, request))
                answer = reply(name, request)
                if answer is None:
                    raise EndpointConnectionError(endpoint_url=f"https://{service}")
                with Stubber(client) as stub:
                    method = "".join("_" + letter.lower() if letter.isupper() else letter for letter in name).lstrip(
                        "_"
                    )
                    if "Error" in answer:
                        error = answer["Error"]
                        stub.add_client_error(method, error["Code"], error["Message"], answer.get("Status", 400))
                    else:
                        stub.add_response(method, answer, request)
                    return original(name, request)

        original = type(client)._make_api_call.__get__(client)
        client._make_api_call = call
        return client


def content(**members: object) -> dict[str, Any]:
    return {
        "ModelTypes": ["OPEN_WEIGHTS"],
        "Url": "https://example.com",
        "TrainingSupported": False,
        "IncrementalTrainingSupported": False,
        "DefaultInferenceInstanceType": "ml.g5.xlarge",
        "SupportedInferenceInstanceTypes": ["ml.g5.xlarge"],
        **members,
    }


class FakeHub:
    """A hub's contents by type, answering as SageMaker does."""

    def __init__(self, page: int = 100, name: str = PUBLIC_HUB) -> None:
        self.models: dict[tuple[str, str, str], tuple[dict[str, Any], dict[str, Any]]] = {}
        self.page = page
        self.name = name
        self.refused: dict[str, Any] | None = None
        self.unreachable = False

    def add(
        self,
        name: str,
        version: str = "1.0.0",
        *,
        kind: str = "Model",
        about: dict[str, Any] | None = None,
        **members: Any,
    ) -> None:
        self.models[kind, name, version] = (content(**members), about or {})

    def __call__(self, operation: str, request: dict[str, Any]) -> dict[str, Any] | None:
        if self.unreachable:
            return None
        return self.refused or getattr(self, operation)(request)

    def ListHubContents(self, request: dict[str, Any]) -> dict[str, Any]:
        newest: dict[str, str] = {}
        for kind, name, version in self.models:
            if kind == request["HubContentType"]:
                newest[name] = max(newest.get(name, version), version, key=version_key)
        rows = [self._summary(request["HubContentType"], name, version) for name, version in sorted(newest.items())]
        return self._paged(rows, request)

    def ListHubContentVersions(self, request: dict[str, Any]) -> dict[str, Any]:
        rows = [
            self._summary(*key)
            for key in self.models
            if key[:2] == (request["HubContentType"], request["HubContentName"])
        ]
        return self._paged(rows, request) if rows else self._missing()

    def DescribeHubContent(self, request: dict[str, Any]) -> dict[str, Any]:
        wanted = (request["HubContentType"], request["HubContentName"])
        versions = [version for kind, name, version in self.models if (kind, name) == wanted]
        version = request.get("HubContentVersion") or max(versions, key=version_key, default=None)
        if version not in versions:
            return self._missing()
        document, _ = self.models[*wanted, version]
        summary = self._summary(*wanted, version)
        del summary["OriginalCreationTime"]
        return {**summary, "HubName": self.name, "HubArn": HUB_ARN, "HubContentDocument": json.dumps(document)}

    def _paged(self, rows: list[dict[str, Any]], request: dict[str, Any]) -> dict[str, Any]:
        assert request["MaxResults"] == 100
        start = int(request.get("NextToken", "0"))
        more = {"NextToken": str(start + self.page)} if start + self.page < len(rows) else {}
        return {"HubContentSummaries": rows[start : start + self.page], **more}

    def _summary(self, kind: str, name: str, version: str) -> dict[str, Any]:
        _, about = self.models[kind, name, version]
        return {
            "HubContentName": name,
            "HubContentArn": f"{ARN}{name}/{version}",
            "HubContentVersion": version,
            "HubContentType": kind,
            "DocumentSchemaVersion": "2.3.0",
            "HubContentStatus": "Available",
            "CreationTime": WHEN,
            "OriginalCreationTime": WHEN,
            **about,
        }

    def _missing(self) -> dict[str, Any]:
        return {"Error": {"Code": "ResourceNotFound", "Message": "hub content does not exist"}}


def a_catalogue(calls: Calls, tmp_path: Path, clock: Clock | None = None, **options: Any) -> Catalogue:
    session = AwsSession(region=REGION)
    return Catalogue(session, clients=calls, cache_dir=tmp_path / "cache", clock=clock or Clock(), **options)


@pytest.fixture
def hub() -> FakeHub:
    hub = FakeHub()
    words = ["@task:text-generation", "@framework:huggingface", "@provider:Meta"]
    llama = {"HubContentDisplayName": "Llama 3 8B Instruct", "HubContentSearchKeywords": words}
    hub.add("meta-textgeneration-llama-3-8b-instruct", "1.9.0", about=llama, GatedBucket=True)
    hub.add("meta-textgeneration-llama-3-8b-instruct", "1.10.0", about=llama, GatedBucket=True, TrainingSupported=True)
    hub.add("meta-textgeneration-llama-3-8b-instruct", "2.0.0", about=llama, GatedBucket=True, TrainingSupported=True)
    hub.add(
        "meta-textgeneration-llama-3-70b", about={**llama, "HubContentDisplayName": "Llama 3 70B"}, GatedBucket=True
    )
    hub.add(
        "huggingface-llm-falcon-7b",
        about={
            "HubContentDisplayName": "Falcon 7B",
            "HubContentDescription": "Not a llama, but it can chat.",
            "HubContentSearchKeywords": ["@task:text-generation", "@provider:TII"],
        },
        TrainingSupported=True,
    )
    hub.add("cohere-rerank", about={"HubContentSearchKeywords": ["@task:text-ranking"]}, ModelTypes=["PROPRIETARY"])
    hub.add("old-llama-8b-chat", about={"SupportStatus": "Deprecated"})
    return hub


def ids(found: tuple[Any, ...]) -> list[str]:
    return [one.model_id for one in found]


# --- the hub ---------------------------------------------------------------------------------------------------------


def test_search_wants_every_word_and_puts_the_best_first(hub: FakeHub, tmp_path: Path) -> None:
    catalogue = a_catalogue(Calls(sagemaker=hub), tmp_path)
    assert ids(catalogue.search("llama chat 8b")) == ["meta-textgeneration-llama-3-8b-instruct", "old-llama-8b-chat"]
    assert ids(catalogue.search("LLAMA")) == [
        "meta-textgeneration-llama-3-70b",
        "meta-textgeneration-llama-3-8b-instruct",
        "huggingface-llm-falcon-7b",
        "old-llama-8b-chat",
    ]
    assert catalogue.search("llama nothing-like-it") == ()
    assert len(catalogue.search()) == 5
    assert len(catalogue.search(limit=2)) == 2


def test_search_filters(hub: FakeHub, tmp_path: Path) -> None:
    catalogue = a_catalogue(Calls(sagemaker=hub), tmp_path)
    assert ids(catalogue.search(provider="meta", task="Text Generation", framework="HuggingFace")) == [
        "meta-textgeneration-llama-3-70b",
        "meta-textgeneration-llama-3-8b-instruct",
    ]
    assert ids(catalogue.search(task="text-ranking")) == ["cohere-rerank"]
    assert ids(catalogue.search(provider="nobody")) == []


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("image-classification", ["pytorch-ic-mobilenet", "tensorflow-vit"]),
        ("ic", ["pytorch-ic-mobilenet", "tensorflow-vit"]),
        ("Object Detection", ["mxnet-od1-yolo"]),
        ("text embedding", ["mxnet-tcembedding-bert"]),
        ("llm", ["huggingface-llm-falcon-7b", "meta-textgeneration-llama-3-8b"]),
        ("text-gen", ["meta-textgeneration-llama-3-8b"]),
        ("tc", []),
    ],
)
def test_tasks_have_more_names_than_one(wanted: str, found: list[str], tmp_path: Path) -> None:
    """As keywords with a name before them, as plain keywords, as a part of the model's id; in words or abbreviated."""
    hub = FakeHub()
    hub.add("pytorch-ic-mobilenet")
    hub.add("tensorflow-vit", about={"HubContentSearchKeywords": ["Image Classification", "TensorFlow"]})
    hub.add("mxnet-od1-yolo", about={"HubContentSearchKeywords": ["@framework:mxnet"]})
    hub.add("mxnet-tcembedding-bert", about={"HubContentSearchKeywords": ["@task:tcembedding"]})
    hub.add("huggingface-llm-falcon-7b")
    hub.add("meta-textgeneration-llama-3-8b")
    catalogue = a_catalogue(Calls(sagemaker=hub), tmp_path)
    assert ids(catalogue.search(task=wanted)) == found


def test_plain_keywords_tell_of_frameworks_too(tmp_path: Path) -> None:
    hub = FakeHub()
    hub.add("some-vit", about={"HubContentSearchKeywords": ["Image Classification", "TensorFlow"]})
    assert ids(a_catalogue(Calls(sagemaker=hub), tmp_path).search(framework="tensorflow")) == ["some-vit"]


def test_what_only_documents_tell_is_looked_up_once(hub: FakeHub, tmp_path: Path) -> None:
    calls, seen = Calls(sagemaker=hub), []
    catalogue = a_catalogue(calls, tmp_path)
    assert all(one.gated is None for one in catalogue.search())
    assert calls.names() == ["ListHubContents"]
    found = catalogue.search(gated=True, trainable=True, on_progress=lambda done, total: seen.append((done, total)))
    assert ids(found) == ["meta-textgeneration-llama-3-8b-instruct"]
    assert (found[0].gated, found[0].trainable, found[0].proprietary) == (True, True, False)
    assert seen == [(n, 5) for n in range(1, 6)]
    assert calls.names().count("DescribeHubContent") == 5
    assert ids(catalogue.search(proprietary=True)) == ["cohere-rerank"]
    assert ids(catalogue.search("falcon", gated=False)) == ["huggingface-llm-falcon-7b"]
    assert len(calls.made) == 6


def test_only_what_passes_the_other_filters_is_looked_up(hub: FakeHub, tmp_path: Path) -> None:
    calls = Calls(sagemaker=hub)
    a_catalogue(calls, tmp_path).search("falcon", trainable=True)
    asked = [request["HubContentName"] for name, request in calls.made if name == "DescribeHubContent"]
    assert asked == ["huggingface-llm-falcon-7b"]


def test_a_document_that_cannot_be_read_is_left_out_and_said(hub: FakeHub, tmp_path: Path) -> None:
    def failing(operation: str, request: dict[str, Any]) -> dict[str, Any] | None:
        if operation == "DescribeHubContent" and "falcon" in request["HubContentName"]:
            return {"Error": {"Code": "InternalFailure", "Message": "broken"}, "Status": 500}
        return hub(operation, request)

    catalogue = a_catalogue(Calls(sagemaker=failing), tmp_path)
    assert "huggingface-llm-falcon-7b" not in ids(catalogue.search(trainable=True))
    assert catalogue.notes == ("1 of 5 models are left out: their documents could not be read",)


def test_a_hub_that_lists_but_tells_nothing_gives_way(hub: FakeHub, tmp_path: Path) -> None:
    def listing_only(operation: str, request: dict[str, Any]) -> dict[str, Any] | None:
        if operation == "DescribeHubContent":
            return {"Error": {"Code": "AccessDeniedException", "Message": "no right"}, "Status": 403}
        return hub(operation, request)

    calls = Calls(sagemaker=listing_only)
    catalogue = a_catalogue(calls, tmp_path)
    with pytest.raises(ConfigurationError, match=r"no right.*S3 cache"):
        catalogue.search(gated=True)
    assert calls.names()[-1] == "GetObject"


def test_a_question_that_is_refused_is_no_reason_to_leave_a_hub(hub: FakeHub, tmp_path: Path) -> None:
    def strict(operation: str, request: dict[str, Any]) -> dict[str, Any] | None:
        if request.get("HubContentVersion") == "a.b.c":
            return {"Error": {"Code": "ValidationException", "Message": "a version is of numbers"}}
        return hub(operation, request)

    catalogue = a_catalogue(Calls(sagemaker=strict), tmp_path)
    with pytest.raises(AwsllmError, match="of numbers"):
        catalogue.get("cohere-rerank", version="a.b.c")
    assert catalogue.get("cohere-rerank").source == "hub"


def test_every_page_is_read(tmp_path: Path) -> None:
    hub = FakeHub(page=2)
    for n in range(5):
        hub.add(f"model-{n}")
    calls = Calls(sagemaker=hub)
    assert len(a_catalogue(calls, tmp_path).search()) == 5
    assert [request.get("NextToken") for _, request in calls.made] == [None, "2", "4"]


def test_get_is_one_call_and_then_none(hub: FakeHub, tmp_path: Path) -> None:
    calls, clock = Calls(sagemaker=hub), Clock()
    catalogue = a_catalogue(calls, tmp_path, clock)
    document = catalogue.get("meta-textgeneration-llama-3-8b-instruct")
    assert (document.version, document.source, document.gated) == ("2.0.0", "hub", True)
    assert document.hub_content_arn == f"{ARN}meta-textgeneration-llama-3-8b-instruct/2.0.0"
    assert calls.made == [
        (
            "DescribeHubContent",
            {
                "HubName": PUBLIC_HUB,
                "HubContentType": "Model",
                "HubContentName": "meta-textgeneration-llama-3-8b-instruct",
            },
        )
    ]
    another = a_catalogue(calls, tmp_path, clock)  # another process, say
    assert another.get("meta-textgeneration-llama-3-8b-instruct") == document
    assert another.get("meta-textgeneration-llama-3-8b-instruct", version="2.0.0") == document
    assert len(calls.made) == 1


def test_the_newest_is_asked_for_again_and_a_version_never(hub: FakeHub, tmp_path: Path) -> None:
    calls, clock = Calls(sagemaker=hub), Clock()
    catalogue = a_catalogue(calls, tmp_path, clock)
    assert catalogue.get("cohere-rerank").version == "1.0.0"
    hub.add("cohere-rerank", "1.1.0")
    assert catalogue.get("cohere-rerank").version == "1.0.0"
    clock.now += 3601
    assert catalogue.get("cohere-rerank").version == "1.1.0"
    made = len(calls.made)
    assert catalogue.get("cohere-rerank", version="1.0.0").version == "1.0.0"
    assert len(calls.made) == made


@pytest.mark.parametrize(
    ("pattern", "version"),
    [
        ("*", "2.0.0"),
        ("1.*", "1.10.0"),
        ("1.9.*", "1.9.0"),
        ("1.9.0", "1.9.0"),
        (None, "2.0.0"),
        ("1", "1.10.0"),
        ("1.9", "1.9.0"),
    ],
)
def test_versions_and_patterns(hub: FakeHub, tmp_path: Path, pattern: str | None, version: str) -> None:
    catalogue = a_catalogue(Calls(sagemaker=hub), tmp_path)
    assert catalogue.versions("meta-textgeneration-llama-3-8b-instruct") == ("2.0.0", "1.10.0", "1.9.0")
    assert catalogue.get("meta-textgeneration-llama-3-8b-instruct", version=pattern).version == version


@pytest.mark.parametrize("version", ["9.9.9", "9.*", "9"])
def test_a_version_that_is_not_there_names_those_that_are(hub: FakeHub, tmp_path: Path, version: str) -> None:
    catalogue = a_catalogue(Calls(sagemaker=hub), tmp_path)
    with pytest.raises(ModelNotFoundError, match=r"has no version '9.*there are 2\.0\.0, 1\.10\.0, 1\.9\.0"):
        catalogue.get("meta-textgeneration-llama-3-8b-instruct", version=version)


def test_an_unknown_model_comes_with_those_that_are_close(hub: FakeHub, tmp_path: Path) -> None:
    calls = Calls(sagemaker=hub)
    catalogue = a_catalogue(calls, tmp_path)
    with pytest.raises(ModelNotFoundError, match="did you mean 'meta-textgeneration-llama-3-8b-instruct'"):
        catalogue.get("meta-textgeneration-llama-8b-instruct")
    with pytest.raises(ModelNotFoundError, match="no JumpStart model 'zzz'"):
        catalogue.versions("zzz")
    made = len(calls.made)
    for odd in ("", "../../etc/passwd", "a/b", "a b"):
        with pytest.raises(ModelNotFoundError):
            catalogue.get(odd)
        with pytest.raises(ModelNotFoundError):
            catalogue.versions(odd)
    asked = {name for name, _ in calls.made[made:]}
    assert asked <= {"ListHubContents", "GetObject"}  # for what comes close; never for the odd name itself


# --- the cache -------------------------------------------------------------------------------------------------------


def test_a_listing_is_believed_for_an_hour(hub: FakeHub, tmp_path: Path) -> None:
    calls, clock = Calls(sagemaker=hub), Clock()
    catalogue = a_catalogue(calls, tmp_path, clock)
    catalogue.search()
    clock.now += 3599
    a_catalogue(calls, tmp_path, clock).search()
    assert calls.names() == ["ListHubContents"]
    clock.now += 2
    catalogue.search()
    assert calls.names() == ["ListHubContents"] * 2


def test_offline_the_cache_answers_and_says_so(hub: FakeHub, tmp_path: Path) -> None:
    calls, clock = Calls(sagemaker=hub), Clock()
    catalogue = a_catalogue(calls, tmp_path, clock)
    before = catalogue.search("llama")
    document = catalogue.get("cohere-rerank")
    assert catalogue.notes == ()
    hub.unreachable = True
    clock.now += 7200
    offline = a_catalogue(calls, tmp_path, clock)
    assert offline.search("llama") == before
    assert offline.get("cohere-rerank") == document
    assert any("offline" in note and "2 hours old" in note for note in offline.notes)
    with pytest.raises(ConfigurationError, match=r"no source.*AWSLLM_JUMPSTART_DIR"):
        offline.get("huggingface-llm-falcon-7b")


def test_who_is_away_is_not_asked_at_every_turn(hub: FakeHub, tmp_path: Path) -> None:
    hub.unreachable = True
    calls, clock = Calls(sagemaker=hub), Clock()
    catalogue = a_catalogue(calls, tmp_path, clock)
    for _ in range(3):
        with pytest.raises(AwsllmError):
            catalogue.search()
    assert calls.names() == ["ListHubContents", "GetObject"]
    hub.unreachable = False
    clock.now += 61
    assert catalogue.search("falcon")


def test_a_broken_cache_is_as_none(hub: FakeHub, tmp_path: Path) -> None:
    calls = Calls(sagemaker=hub)
    a_catalogue(calls, tmp_path).get("cohere-rerank")
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(files) == 2
    for file in files:
        file.write_bytes(b"\x00{")
    assert a_catalogue(calls, tmp_path).get("cohere-rerank").version == "1.0.0"
    for file in files:
        file.write_text('{"at": 1000000.0, "value": 3}')
    assert a_catalogue(calls, tmp_path).get("cohere-rerank").version == "1.0.0"
    assert len(calls.made) == 3


def test_a_cache_that_cannot_be_written_is_as_none(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a directory should be")
    calls = Calls(sagemaker=hub)
    assert a_catalogue(calls, tmp_path).get("cohere-rerank").version == "1.0.0"


def test_answers_of_an_interceptor_are_not_kept_on_disk(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """moto is imported here, so whoever gave no directory gets no file."""
    monkeypatch.setenv("AWSLLM_CACHE", str(tmp_path / "home"))
    catalogue = Catalogue(AwsSession(region=REGION), clients=Calls(sagemaker=hub))
    assert catalogue.search()
    assert not (tmp_path / "home").exists()


def test_another_endpoint_is_another_catalogue(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(sagemaker=hub)
    a_catalogue(calls, tmp_path).search()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    a_catalogue(calls, tmp_path).search()
    assert calls.names() == ["ListHubContents"] * 2


# --- the S3 cache, in moto -------------------------------------------------------------------------------------------


SPEC = json.loads((DOCUMENTS / "specs" / "example-open-tgi-instruct.json").read_text(encoding="utf-8"))


def manifest_row(name: str, version: str, **members: Any) -> dict[str, Any]:
    key = f"community_models/{name}/specs_v{version}.json"
    return {"model_id": name, "version": version, "min_version": "2.225.0", "spec_key": key, **members}


ROWS = [
    manifest_row("example-open-tgi-instruct", "3.0.1", provider="Example", search_keywords=["@task:text-generation"]),
    manifest_row("example-open-tgi-instruct", "3.0.0"),
    manifest_row("example-open-tgi-instruct", "3.1.0", deprecated=True),
    manifest_row("gone", "1.0.0", deprecated=True),
    {"model_id": "no-key", "version": "1.0.0"},
]


@pytest.fixture
def s3() -> Iterator[Any]:
    with mock_aws():
        session = boto3.Session("k", "s", region_name=REGION)
        client = session.client("s3")
        client.create_bucket(Bucket=BUCKET)
        publish(client, "models_manifest.json", ROWS)
        for row in ROWS[:4]:
            spec = {**SPEC, "model_id": row["model_id"], "version": row["version"]}
            publish(client, row["spec_key"], spec)
        yield client


def publish(client: Any, key: str, value: object) -> None:
    client.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(value), ACL="public-read")


def put_proprietary(client: Any) -> None:
    row = manifest_row("ai21-one", "1.0.0", provider="AI21")
    spec = {"model_id": "ai21-one", "version": "1.0.0", "hosting_model_package_arns": {REGION: "arn:package"}}
    publish(client, "proprietary-sdk-manifest.json", [row])
    publish(client, row["spec_key"], spec)


def test_without_a_hub_and_without_credentials_s3_answers(s3: Any) -> None:
    """Plain moto has no hub, and no credentials are set: the very clients that users get."""
    put_proprietary(s3)
    catalogue = Catalogue(AwsSession(region=REGION))
    assert ids(catalogue.search()) == ["ai21-one", "example-open-tgi-instruct", "gone"]
    found = catalogue.search("tgi")[0]
    assert (found.version, found.provider, found.task, found.source) == ("3.0.1", "Example", "text-generation", "cache")
    document = catalogue.get("example-open-tgi-instruct")
    assert (document.version, document.source, document.provider) == ("3.0.1", "cache", "Example")
    assert document.task == "text-generation"
    assert document.content["HostingArtifactUri"].startswith(f"s3://{BUCKET}/")
    assert catalogue.versions("example-open-tgi-instruct") == ("3.1.0", "3.0.1", "3.0.0")
    assert catalogue.get("example-open-tgi-instruct", version="3.0.*").version == "3.0.1"
    assert ids(catalogue.search(proprietary=True)) == ["ai21-one"]
    assert catalogue.get("ai21-one").proprietary
    assert catalogue.get("gone").support_status == "Deprecated"
    with pytest.raises(ModelNotFoundError, match="did you mean 'example-open-tgi-instruct'"):
        catalogue.get("example-open-tgi")


def test_the_clients_that_read_it_sign_nothing() -> None:
    from awsllm.aws import control

    client = control.anonymous("s3", AwsSession(region=REGION))
    assert client.meta.config.signature_version is UNSIGNED


def test_a_hub_that_refuses_leads_to_s3(s3: Any, tmp_path: Path) -> None:
    hub = FakeHub()
    hub.refused = {"Error": {"Code": "AccessDeniedException", "Message": "no right to list"}, "Status": 403}
    calls = Calls(sagemaker=hub)
    anonymous = boto3.client("s3", region_name=REGION, config=Config(signature_version=UNSIGNED))

    def clients(service: str) -> Any:
        return anonymous if service == "s3" else calls(service)

    catalogue = Catalogue(AwsSession(region=REGION), clients=clients, cache_dir=tmp_path)
    assert "example-open-tgi-instruct" in ids(catalogue.search())
    assert catalogue.get("example-open-tgi-instruct").source == "cache"
    assert calls.names() == ["ListHubContents"]  # refused once, and not asked again for the document


class CountedS3:
    """moto's S3 behind a client that counts."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.asked: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(**request: Any) -> Any:
            self.asked.append((name, request["Key"]))
            return getattr(self._client, name)(**request)

        return call


def test_a_manifest_that_did_not_change_is_not_read_again(s3: Any, tmp_path: Path) -> None:
    counted, clock = CountedS3(s3), Clock()
    away = Calls()

    def clients(service: str) -> Any:
        return counted if service == "s3" else away(service)

    def fresh() -> Catalogue:
        return Catalogue(AwsSession(region=REGION), clients=clients, cache_dir=tmp_path, clock=clock)

    assert len(fresh().search()) == 2
    assert counted.asked == [("get_object", key) for key in MANIFESTS]
    counted.asked.clear()
    fresh().search()
    assert counted.asked == []
    clock.now += 3601
    assert len(fresh().search()) == 2
    assert counted.asked == [("head_object", key) for key in MANIFESTS]
    counted.asked.clear()
    fresh().search()  # the check made it young again
    assert counted.asked == []
    clock.now += 3601
    put_proprietary(s3)
    assert len(fresh().search()) == 3
    assert [name for name, _ in counted.asked] == ["head_object", "head_object", "get_object", "get_object"]


def test_a_manifest_that_is_no_json_is_an_error_with_its_name(s3: Any, tmp_path: Path) -> None:
    s3.put_object(Bucket=BUCKET, Key="models_manifest.json", Body=b"<html>")

    def clients(service: str) -> Any:
        return s3 if service == "s3" else Calls()(service)

    catalogue = Catalogue(AwsSession(region=REGION), clients=clients, cache_dir=tmp_path)
    with pytest.raises(ConfigurationError, match=rf"s3://{BUCKET}/models_manifest\.json is not JSON"):
        catalogue.search()


def test_where_no_cache_is_nobody_says_that_there_is_no_such_model(s3: Any, tmp_path: Path) -> None:
    """A server that is no S3, or a region without JumpStart: neither says anything of a model."""
    s3.delete_object(Bucket=BUCKET, Key="models_manifest.json")

    def clients(service: str) -> Any:
        return s3 if service == "s3" else Calls()(service)

    catalogue = Catalogue(AwsSession(region=REGION), clients=clients, cache_dir=tmp_path)
    for ask in (catalogue.search, functools.partial(catalogue.get, "a"), functools.partial(catalogue.versions, "a")):
        with pytest.raises(ConfigurationError, match=rf"s3://{BUCKET}/models_manifest\.json is not there"):
            ask()


def test_what_is_no_text_is_named(s3: Any) -> None:
    catalogue = Catalogue(AwsSession(region=REGION))
    with pytest.raises(ValidationError, match=r"^version is 3; it is a text$"):
        catalogue.get("example-open-tgi-instruct", version=3)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match=r"^the search is None; it is a text$"):
        catalogue.search(None)  # type: ignore[arg-type]


# --- a private hub ---------------------------------------------------------------------------------------------------


@pytest.fixture
def private() -> FakeHub:
    hub = FakeHub(name="team-hub")
    hub.add("shared-model", "1.0.0", kind="ModelReference")
    hub.add("own-model", "1.2.0", kind="Model")
    return hub


def test_a_private_hub_has_references_and_models(private: FakeHub, tmp_path: Path) -> None:
    calls = Calls(sagemaker=private)
    catalogue = a_catalogue(calls, tmp_path)
    assert ids(catalogue.search(hub="team-hub")) == ["own-model", "shared-model"]
    document = catalogue.get("shared-model", hub="team-hub")
    assert (document.source, document.hub_name) == ("private-hub", "team-hub")
    assert catalogue.get("own-model", hub="team-hub").version == "1.2.0"
    assert catalogue.versions("own-model", hub="team-hub") == ("1.2.0",)
    kinds = [request["HubContentType"] for name, request in calls.made if name == "DescribeHubContent"]
    assert kinds == ["ModelReference", "ModelReference", "Model"]
    assert {request["HubName"] for _, request in calls.made} == {"team-hub"}
    with pytest.raises(ModelNotFoundError, match="did you mean 'own-model'"):
        catalogue.get("own-modell", hub="team-hub")


def test_only_a_hub_known_by_its_account_is_kept(private: FakeHub, tmp_path: Path) -> None:
    """Two accounts may each have a hub of one name."""
    calls = Calls(sagemaker=private)
    a_catalogue(calls, tmp_path, hub="team-hub").get("own-model")
    assert not (tmp_path / "cache").exists()
    arn = f"arn:aws:sagemaker:{REGION}:111122223333:hub/team-hub"
    a_catalogue(calls, tmp_path, hub=arn).get("own-model")
    made = len(calls.made)
    a_catalogue(calls, tmp_path, hub=arn).get("own-model")
    assert len(calls.made) == made
    assert calls.made[-1][1]["HubName"] == arn


def test_a_private_hub_out_of_reach_is_not_replaced_by_the_public_one(private: FakeHub, tmp_path: Path) -> None:
    private.unreachable = True
    calls = Calls(sagemaker=private)
    with pytest.raises(ConnectError):
        a_catalogue(calls, tmp_path).get("own-model", hub="team-hub")
    assert calls.names() == ["DescribeHubContent"]


# --- a directory -----------------------------------------------------------------------------------------------------


def test_a_directory_of_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_JUMPSTART_DIR", str(DOCUMENTS))
    calls = Calls()
    catalogue = a_catalogue(calls, tmp_path)
    assert len(catalogue.search()) == len(list(DOCUMENTS.glob("*.json")))
    gated = catalogue.search(gated=True)
    assert {one.model_id for one in gated} >= {"example-gated-lmi-chat", "example-llama2-dialogs"}
    assert all(one.source == "directory" for one in gated)
    assert catalogue.get("example-open-tgi-instruct").display_name  # the hub's form goes first
    assert calls.made == []


def test_every_form_of_file(tmp_path: Path) -> None:
    place = tmp_path / "documents"
    (place / "deep").mkdir(parents=True)
    (place / "bare@2.1.0.json").write_text(json.dumps(content(Task="text-generation")))
    (place / "bare.json").write_text(json.dumps(content()))
    (place / "deep" / "spec.json").write_text(json.dumps(SPEC))
    (place / "models_manifest.json").write_text(json.dumps(ROWS))
    (place / "other.json").write_text('{"hello": 1}')
    catalogue = Catalogue(AwsSession(region=REGION), directory=place)
    assert ids(catalogue.search()) == ["bare", "example-open-tgi-instruct"]
    assert catalogue.versions("bare") == ("2.1.0", "1.0.0")
    assert catalogue.get("bare").task == "text-generation"
    (place / "new.json").write_text(json.dumps(content()))
    assert catalogue.get("new").source == "directory"  # nothing of a directory is remembered


def test_a_directory_that_is_none_or_holds_what_is_no_json(tmp_path: Path) -> None:
    session = AwsSession(region=REGION)
    with pytest.raises(ConfigurationError, match="is not a directory"):
        Catalogue(session, directory=tmp_path / "none").search()
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"broken\.json cannot be read as JSON"):
        Catalogue(session, directory=tmp_path).search()


def test_a_directory_that_was_mended_is_read_at_once(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text("{")
    catalogue = Catalogue(AwsSession(region=REGION), directory=tmp_path)
    with pytest.raises(ConfigurationError):
        catalogue.get("one")
    (tmp_path / "one.json").write_text(json.dumps(content()))
    assert catalogue.get("one").version == "1.0.0"


def test_versions_are_ordered_by_number() -> None:
    versions = ["1.10.0", "1.9.0", "2.0.0", "1.9.0-rc1", "10.0.0"]
    assert sorted(versions, key=version_key) == ["1.9.0-rc1", "1.9.0", "1.10.0", "2.0.0", "10.0.0"]
