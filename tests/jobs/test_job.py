"""The life cycle alone: a made-up kind with Bedrock's words, that no SageMaker module knows."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from awsllm.errors import (
    ConfigurationError,
    ConnectError,
    DeploymentError,
    ModelTimeoutError,
    RequestError,
    ValidationError,
)
from awsllm.jobs.job import JobKind, JobPlan, JobState, JobSummary, Outcome, resume, start
from awsllm.jumpstart.deploy.logs import LogStream
from awsllm.jumpstart.deploy.progress import Pace, Progress
from awsllm.jumpstart.deploy.resources import Clients
from awsllm.jumpstart.plan.plan import Cost
from awsllm.jumpstart.tags import PLAN_TAG
from awsllm.types import JsonObject

PACE = Pace(sleep=lambda seconds: None)
OUTCOMES: dict[str, Outcome] = {"Completed": "completed", "Failed": "failed", "Stopped": "stopped"}


class Bedrock:
    """A service with batch jobs: each look moves the newest one on by a step of ``steps``."""

    def __init__(self, *steps: str) -> None:
        self.steps = steps or ("Submitted", "InProgress", "Completed")
        self.jobs: dict[str, JsonObject] = {}
        self.made = self.lost = 0

    def create_model_invocation_job(self, **request: Any) -> None:
        self.made += 1
        self.jobs[request["jobName"]] = {**request, "left": list(self.steps), "status": self.steps[0]}

    def get_model_invocation_job(self, name: str) -> JsonObject | None:
        if self.lost:
            self.lost -= 1
            raise ConnectError("connection reset")
        job = self.jobs.get(name)
        if job is not None and job["left"]:
            job["status"] = job["left"].pop(0)
        return job


class BatchJobs:
    noun, step = "batch inference job", "batch"

    def create(self, clients: Clients, request: JsonObject) -> None:
        clients("bedrock").create_model_invocation_job(**request)

    def find(self, clients: Clients, name: str) -> JobState | None:
        job = clients("bedrock").get_model_invocation_job(name)
        if job is None:
            return None
        status, outcome = job["status"], OUTCOMES.get(job["status"])
        return JobState(
            name=name, status=status, phase=status, outcome=outcome, reason=job.get("message"), description=job
        )

    def stop(self, clients: Clients, name: str) -> None:
        clients("bedrock").jobs[name] |= {"status": "Stopped", "left": []}

    def list(self, clients: Clients, *, status: str | None = None, contains: str | None = None) -> Iterator[JobSummary]:
        return (JobSummary(name=name, status=job["status"]) for name, job in clients("bedrock").jobs.items())

    def tags(self, clients: Clients, state: JobState) -> dict[str, str]:
        return {tag["key"]: tag["value"] for tag in state.description["tags"]}

    def log(self, clients: Clients, name: str) -> LogStream | None:
        return None

    def result(self, state: JobState, tags: Mapping[str, str]) -> str:
        return str(state.description["output"])


BATCH: JobKind[str] = BatchJobs()


def plan(name: str = "nightly", digest: str = "d1") -> JobPlan:
    request = {"jobName": name, "output": "s3://out/", "tags": [{"key": PLAN_TAG, "value": digest}]}
    return JobPlan(
        region="us-east-1", name=name, request=request, digest=digest, cost=Cost(per_hour=None), permissions={}
    )


def test_from_the_plan_to_the_result() -> None:
    service, seen = Bedrock(), list[Progress]()
    job = start(BATCH, plan(), lambda _: service, on_progress=seen.append, pace=PACE)
    assert job.result() == "s3://out/"
    assert [(one.step, one.state) for one in seen] == [
        ("batch", "submitted"),
        ("batch", "in_progress"),
        ("batch", "completed"),
    ]
    assert start(BATCH, plan(), lambda _: service, pace=PACE).result() == "s3://out/"
    assert service.made == 1
    assert [one.name for one in BATCH.list(lambda _: service)] == ["nightly"]


def test_another_process_takes_it_up_by_its_name() -> None:
    service = Bedrock()
    start(BATCH, plan(), lambda _: service)
    job = resume(BATCH, "nightly", lambda _: service, pace=PACE)
    assert not job.done()
    assert job.wait().done()
    assert job.result() == "s3://out/"
    with pytest.raises(ConfigurationError, match="no batch inference job other"):
        resume(BATCH, "other", lambda _: service)


def test_stopping() -> None:
    service = Bedrock("Submitted", "InProgress", "InProgress")
    job = start(BATCH, plan(), lambda _: service, pace=PACE)
    assert job.stop()
    assert not job.stop()
    with pytest.raises(DeploymentError, match="was stopped"):
        job.result()


def test_what_failed_is_told_and_a_name_is_used_once() -> None:
    service = Bedrock("Failed")
    job = start(BATCH, plan(), lambda _: service, pace=PACE)
    service.jobs["nightly"]["message"] = "no such bucket"
    assert job.wait().done()
    with pytest.raises(DeploymentError, match="nightly failed: no such bucket") as caught:
        job.result()
    assert caught.value.reason == "no such bucket"
    with pytest.raises(DeploymentError) as again:
        start(BATCH, plan(), lambda _: service)
    assert "attempt=2" in again.value.__notes__[-1]


def test_a_job_of_another_digest_is_somebody_else_s() -> None:
    service = Bedrock()
    start(BATCH, plan(), lambda _: service)
    with pytest.raises(ConfigurationError, match="another batch inference job has the name nightly"):
        start(BATCH, plan(digest="d2"), lambda _: service)


def test_lost_looks_are_repeated_and_in_the_end_given_up() -> None:
    service = Bedrock()
    job = start(BATCH, plan(), lambda _: service, pace=PACE)
    service.lost = 5
    assert job.result() == "s3://out/"
    again = resume(BATCH, "nightly", lambda _: service, pace=PACE)
    service.lost = 100
    with pytest.raises(DeploymentError, match="cannot be found"):
        again.wait()


def test_a_wait_that_ends_early_says_how_to_come_back() -> None:
    service, now = Bedrock("InProgress"), [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    pace = Pace(sleep=sleep, clock=lambda: now[0])
    job = start(BATCH, plan(), lambda _: service, pace=pace)
    with pytest.raises(ModelTimeoutError, match="after 5 seconds batch inference job nightly goes on"):
        job.result(5)

    def interrupt(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        resume(BATCH, "nightly", lambda _: service, on_progress=interrupt, pace=pace).wait()
    assert "goes on" in caught.value.__notes__[0]


def test_what_the_service_refuses_is_raised() -> None:
    class Refusing(Bedrock):
        def create_model_invocation_job(self, **request: Any) -> None:
            raise RequestError("no", code="ValidationException")

    with pytest.raises(RequestError, match="no"):
        start(BATCH, plan(), lambda _: Refusing())


def test_a_plan_is_saved_and_read() -> None:
    assert JobPlan.from_json(plan().to_json()) == plan()
    with pytest.raises(ValidationError, match="not a plan"):
        JobPlan.from_json(b'{"name": 1}')
