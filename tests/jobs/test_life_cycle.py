"""The whole life of a job, of every kind, against the offline AWS: begun twice and made once, listed, saved and taken
up by another, followed by two at once, paid for or not, stopped, and told of."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from awsllm.aws import control
from awsllm.client import Client
from awsllm.errors import ConfigurationError
from awsllm.jobs.job import JobHandle
from awsllm.jobs.kinds import ROWS
from awsllm.jumpstart.deploy.progress import Pace, Progress
from awsllm.testing import MockAws, mock_aws
from tests.support import tiny_chat
from tests.support.data import DATA
from tests.support.job_cases import CASES, REGION, JobCase
from tests.support.sagemaker_account import client as boto

LOOKS = 2
PATIENCE = 120.0
SLOWLY = dict.fromkeys(
    (
        *("training", "transform", "async-invoke", "model-invocation", "model-customization", "model-import"),
        *("model-copy", "evaluation", "custom-model-deployment", "provisioned-throughput"),
    ),
    LOOKS,
)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks come one after the other, and boto3's clients are those of all tests."""

    def ticks(self: Pace, timeout: float | None) -> Iterator[None]:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            yield
            time.sleep(0.005)

    monkeypatch.setattr(Pace, "ticks", ticks)
    monkeypatch.setattr(control, "client", lambda service, session: boto(service, session.region))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_chat.write(tmp_path_factory.mktemp("base"))


@pytest.fixture
def aws(request: pytest.FixtureRequest) -> Iterator[MockAws]:
    """Scripted, but for what trains in the account."""
    documents = json.loads((DATA / "jumpstart" / "example-finetune-llm.json").read_text())
    few = {"batch-records-min": 1}
    is_session = "session" in request.node.name
    answers: Any = {"models": {"*": request.getfixturevalue("base")}} if is_session else {"reply": "Merrow"}
    with mock_aws(transitions=SLOWLY, documents=documents, quotas=few, **answers) as mock:
        boto("s3").create_bucket(Bucket="data")
        yield mock


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> JobCase:
    return CASES[request.param]


def test_each_kind_has_a_case() -> None:
    assert {row.noun for row in ROWS} == {case.noun for case in CASES.values()}


def test_the_whole_life(case: JobCase, aws: MockAws, tmp_path: Path) -> None:
    with Client(region=REGION) as client, Client(region=REGION) as other:
        job = case.begin(client, tmp_path)
        assert job.kind.noun == case.noun
        again = case.begin(client, tmp_path)
        assert again.name == job.name
        kept = job.to_json()
        seen: list[Progress] = []
        watchers: list[Callable[[], Any]] = [
            lambda: other.jobs.load(kept, on_progress=seen.append).wait().result(),
            lambda: other.jobs.watch(kept),
        ]
        with ThreadPoolExecutor(2) as threads:
            results = [one.result(PATIENCE) for one in [threads.submit(watch) for watch in watchers]]
        assert all(map(case.ends, results))
        assert case.ends(job.result())
        check_told(case, job)
        check_found(case, job, other)
        check_made_once(case, aws)
        assert job.kind.step in {one.step for one in seen}
        assert job.state().name == job.name
        assert job.stop() is case.ended


def check_told(case: JobCase, job: Any) -> None:
    cost = job.cost
    assert (cost.actual == case.actual) if case.actual is not None else (cost.actual is not None or cost.reason)
    assert isinstance(job.logs(), tuple)
    assert len(job.losses()) == (3 if case.noun == "local training" else 0)
    assert job.state().outcome == "completed"


def check_found(case: JobCase, job: Any, other: Client) -> None:
    """By its name or ARN, by a handle, and among all of them."""
    region = job.region or None
    handle = JobHandle(noun=case.noun, name=job.name, region=region)
    assert other.jobs.attach(handle).state().outcome == "completed"
    if region in (None, "", REGION):
        assert other.jobs.get(job.name).state().outcome == "completed"
        listed = [one for one in other.jobs.list().jobs if one.noun == case.noun]
        names = {Path(one.name).name.removesuffix(".ledger") for one in listed}
        expected = job.name.rpartition("/")[2] if job.name.startswith("arn:") else Path(job.name).name
        if job.kind.noun in ("custom model deployment", "provisioned throughput"):
            assert len(listed) == 1
        else:
            assert (expected in names) is case.is_listed


def check_made_once(case: JobCase, aws: MockAws) -> None:
    if case.creates is not None:
        assert [name for name, _ in aws.plane.calls].count(case.creates) <= 1


def test_what_was_begun_and_not_heard_of_is_found_not_made_twice(
    case: JobCase, aws: MockAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends after the request is sent, before its answer is read."""
    if case.creates is None or case.noun == "asynchronous endpoint call":
        pytest.skip("nothing is sent, or each call is another")
    from botocore.client import BaseClient

    real, ends = BaseClient._make_api_call, [case.creates]

    def cut(self: Any, operation: str, parameters: Any) -> Any:
        answer = real(self, operation, parameters)
        if ends and operation == ends[0]:
            ends.clear()
            raise KeyboardInterrupt
        return answer

    monkeypatch.setattr(BaseClient, "_make_api_call", cut)
    with Client(region=REGION) as client, pytest.raises(KeyboardInterrupt):
        case.begin(client, tmp_path)
    with Client(region=REGION) as client:
        assert case.ends(case.begin(client, tmp_path).result())
        if case.noun != "copy job":  # which is in another region
            assert len([one for one in client.jobs.list().jobs if one.noun == case.noun]) == 1


def test_what_is_there_only_where_it_was_made(aws: MockAws) -> None:
    with Client(region=REGION) as client:
        with pytest.raises(ConfigurationError, match="there is no job"):
            client.jobs.get("arn:aws:bedrock:us-east-1:123456789012:model-customization-job/none")
        with pytest.raises(ConfigurationError, match="there is no job"):
            client.jobs.get("nothing.ledger")
