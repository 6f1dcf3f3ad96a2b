"""Weights of JumpStart's models: what SageMaker is asked is held against botocore, S3 is on this machine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from awsllm.errors import ConfigurationError, EulaNotAcceptedError, ModelNotFoundError, RequestError
from awsllm.store import Store
from tests.support.loopback import Received, Response, serving
from tests.support.scripted_aws import ScriptedAws, refusal

NAME = "jumpstart/meta-textgeneration-llama-3-2-1b-instruct"
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b"{}",
    "model.safetensors": b"\0" * 300_000,
    "original/consolidated.00.pth": b"\x80\x04",
    "LICENSE.txt": b"read me",
}


class Bucket:
    """S3, whose URLs are good until they have ``expired``."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[str, str]] = []
        self.expired: set[str] = set()
        self.cut_after: int | None = None
        self.round = 0

    def respond(self, request: Received) -> Response:
        path, _, signature = request.path.strip("/").partition("?")
        wanted = request.header("Range")
        self.asked.append((path, wanted))
        if signature in self.expired:
            return Response(status=403)
        data, start = FILES[path], int(wanted.removeprefix("bytes=").rstrip("-") or 0)
        if start >= len(data):
            return Response(status=416)
        body, self.cut_after = data[start:][: self.cut_after], None
        return Response(body, 206 if wanted else 200, length=len(data) - start)

    def urls(self, request: dict[str, Any]) -> dict[str, Any]:
        self.round += 1
        if not request["AccessConfig"]["AcceptEula"]:
            raise refusal("ValidationException", "The model requires EULA acceptance.")
        configs = [{"Url": f"{self.url}/{path}?v{self.round}", "LocalPath": f"/pre/v1/{path}"} for path in FILES]
        if "NextToken" in request:
            return {"AuthorizedUrlConfigs": configs[2:]}
        self.round -= 1
        return {"AuthorizedUrlConfigs": configs[:2], "NextToken": "further"}


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    made = Bucket()
    with serving(made.respond) as url:
        made.url = url
        yield made


@pytest.fixture
def aws(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> ScriptedAws:
    scripted = ScriptedAws({"sagemaker.create_hub_content_presigned_urls": bucket.urls})
    monkeypatch.setattr("awsllm.aws.control.client", scripted.clients)
    return scripted


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.delenv("AWSLLM_MODELS", raising=False)
    return Store(tmp_path / "cache")


def test_a_licence_is_accepted_by_whoever_says_so(store: Store, aws: ScriptedAws, bucket: Bucket) -> None:
    with pytest.raises(EulaNotAcceptedError, match=f"awsllm models pull --accept-eula {NAME}"):
        store.path(NAME)
    path = store.pull(NAME, accept_eula=True)
    assert {one.name for one in path.iterdir() if not one.name.startswith(".")} == {
        "config.json",
        "tokenizer.json",
        "model.safetensors",
    }
    assert (path / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert store.path(NAME) == path
    (_, request) = aws.sent[-1]
    assert request == {
        "HubName": "SageMakerPublicHub",
        "HubContentType": "Model",
        "HubContentName": "meta-textgeneration-llama-3-2-1b-instruct",
        "AccessConfig": {"AcceptEula": True},
        "NextToken": "further",
    }
    found = store.described(NAME)
    assert found is not None
    assert all(file.is_pinned for file in found.files)


def test_a_version(store: Store, aws: ScriptedAws) -> None:
    store.pull(f"{NAME}@1.2.3", accept_eula=True)
    assert aws.sent[-1][1]["HubContentVersion"] == "1.2.3"


def test_urls_that_expired_meanwhile_are_asked_for_again(store: Store, aws: ScriptedAws, bucket: Bucket) -> None:
    bucket.expired = {"v1"}
    assert store.pull(NAME, accept_eula=True).is_dir()
    assert bucket.round == 2
    bucket.expired = {"v3", "v4"}
    store.remove(NAME)
    with pytest.raises(ConfigurationError, match=r"S3 answers with status 403 for config\.json"):
        store.pull(NAME, accept_eula=True)


def test_a_broken_connection_is_resumed(store: Store, aws: ScriptedAws, bucket: Bucket) -> None:
    bucket.cut_after = 10
    assert (store.pull(NAME, accept_eula=True) / "config.json").read_bytes() == FILES["config.json"]
    assert ("config.json", "bytes=10-") in bucket.asked


def test_what_was_fetched_whole_before_is_not_asked_beyond_its_end(
    store: Store, aws: ScriptedAws, bucket: Bucket
) -> None:
    half = store.cache_dir / "staging" / NAME.replace("/", "--")
    half.mkdir(parents=True)
    (half / "config.json.part").write_bytes(FILES["config.json"])
    assert (store.pull(NAME, accept_eula=True) / "config.json").read_bytes() == FILES["config.json"]
    assert bucket.asked[:2] == [("config.json", f"bytes={len(FILES['config.json'])}-"), ("config.json", "")]


def test_a_url_without_https_elsewhere_is_not_fetched(store: Store, aws: ScriptedAws, bucket: Bucket) -> None:
    bucket.url = "http://s3.example.com"
    with pytest.raises(ConfigurationError, match="a URL that is not https"):
        store.pull(NAME, accept_eula=True)


def test_a_refusal_of_another_kind_stays(store: Store, aws: ScriptedAws) -> None:
    aws.answers = {"sagemaker.create_hub_content_presigned_urls": refusal("ResourceNotFound", "no such content")}
    with pytest.raises(RequestError, match="no such content"):
        store.pull(NAME)
    aws.answers = {"sagemaker.create_hub_content_presigned_urls": {"AuthorizedUrlConfigs": []}}
    with pytest.raises(ModelNotFoundError, match="gives no files"):
        store.pull(NAME)


@pytest.mark.parametrize("name", ["jumpstart/", "jumpstart/a/b", "jumpstart/../x", "jumpstart/a@1", "jumpstart/-a"])
def test_names_that_are_none(name: str, store: Store) -> None:
    for use in (store.check, store.pull, store.remove):
        with pytest.raises(ConfigurationError, match="is no model of JumpStart"):
            use(name)
