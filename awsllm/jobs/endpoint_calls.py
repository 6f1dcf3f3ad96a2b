"""Calls of asynchronous endpoints as jobs, by the places where their answers will be.

SageMaker keeps no record of such a call but these places: none can be listed, and one that was never made looks as one
that is not answered yet. So ``name`` is the ``s3://`` URI of the answer, and a handle has the place of a failure's
message beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from awsllm.errors import AwsllmError, UnsupportedError
from awsllm.jobs.asynchronous import CALL, AsyncResult, plain_answer
from awsllm.jobs.job import JobState, JobSummary, ServiceJob
from awsllm.jumpstart import names
from awsllm.jumpstart.deploy import logs
from awsllm.jumpstart.deploy.progress import Listener, Pace
from awsllm.jumpstart.deploy.resources import Clients
from awsllm.types import JsonObject


@dataclass(frozen=True)
class EndpointCalls:
    """A ``JobKind``. ``failure`` is where a failure's message would be, ``endpoint`` whose log tells more."""

    failure: str | None = None
    endpoint: str | None = None
    noun: str = CALL
    step: str = "invoke"

    def create(self, clients: Clients, request: JsonObject) -> None:
        raise UnsupportedError("client.jumpstart.asynchronous(endpoint).invoke(…) makes such a call")

    def find(self, clients: Clients, name: str) -> JobState | None:
        end = self._answer(clients, name).peek()
        failed = end if isinstance(end, AwsllmError) else None
        status = "InProgress" if end is None else "Failed" if failed else "Completed"
        return JobState(
            name=name,
            status=status,
            phase=status,
            outcome=None if end is None else "failed" if failed else "completed",
            reason=failed.message if failed else None,
            description={"answer": None if end is None or isinstance(end, AwsllmError) else plain_answer(end)},
        )

    def stop(self, clients: Clients, name: str) -> None:
        raise UnsupportedError("a call of an endpoint cannot be stopped: SageMaker has no operation for it")

    def list(self, clients: Clients, *, status: str | None = None, contains: str | None = None) -> Iterator[JobSummary]:
        yield from ()

    def tags(self, clients: Clients, state: JobState) -> dict[str, str]:
        return {}

    def log(self, clients: Clients, name: str) -> logs.LogStream | None:
        return logs.newest_stream(clients, names.endpoint_logs(self.endpoint)) if self.endpoint else None

    def result(self, state: JobState, tags: Mapping[str, str]) -> Any:
        return state.description["answer"]

    def _answer(self, clients: Clients, name: str) -> AsyncResult[Any]:
        return AsyncResult(clients, plain_answer, output=name, failure=self.failure, inference_id=None, pace=Pace())


class EndpointCallJob(ServiceJob[Any]):
    """A call that any process made. Its result is a JSON value where the answer is one, else bytes."""

    def __init__(
        self,
        clients: Clients,
        output: str,
        on_progress: Listener | None = None,
        *,
        failure: str | None = None,
        endpoint: str | None = None,
    ) -> None:
        calls = EndpointCalls(failure, endpoint)
        super().__init__(calls, clients, output, on_progress, Pace(poll=5))
        self._options: JsonObject = {"failure": failure, "endpoint": endpoint}

    def _kept(self) -> JsonObject:
        return self._options
