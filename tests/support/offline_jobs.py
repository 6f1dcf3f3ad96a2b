"""boto3 clients of SageMaker, its runtime and S3 whose requests a control plane answers: botocore builds each request
from tests.support.data import DATA
from its service model and parses each reply with it, so both sides are judged by it."""

import functools
import json
from typing import Any
from urllib.parse import unquote, urlsplit

import boto3
from botocore.awsrequest import AWSResponse
from botocore.config import Config

from awsllm.errors import AwsllmError
from awsllm.jumpstart.deploy.progress import Pace
from awsllm.jumpstart.hub.document import ModelDocument, read_description
from awsllm.jumpstart.prices import Prices
from awsllm.server.account import jobs
from awsllm.server.account.plane import ControlPlane, Neighbours
from awsllm.server.surfaces.routes import failure
from awsllm.server.work import Incoming, Reply
from awsllm.testing.answer import LazyBody
from tests.support.data import DATA

REGION = "us-east-1"
ROLE = "arn:aws:iam::111122223333:role/awsllm-sagemaker-exec"
PRICES = Prices.default()


class Memory:
    """An ``ObjectStore``; ``missing`` is the status of a missing object over HTTP."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.missing = 404

    def read(self, uri: str) -> bytes:
        return self.objects[uri]

    def write(self, uri: str, data: bytes) -> None:
        self.objects[uri] = data

    def list(self, uri: str) -> list[str]:
        return sorted(one for one in self.objects if one.startswith(uri))


class Logs(Neighbours):
    """CloudWatch Logs, as far as these tests read them."""

    def __init__(self) -> None:
        self.lines: dict[tuple[str, str], list[str]] = {}

    def log(self, region: str, group: str, stream: str, lines: Any) -> None:
        self.lines.setdefault((group, stream), []).extend(lines)

    def describe_log_streams(self, **asked: str) -> dict[str, Any]:
        group, prefix = asked["logGroupName"], asked["logStreamNamePrefix"]
        names = [name for place, name in self.lines if place == group and name.startswith(prefix)]
        return {"logStreams": [{"logStreamName": name, "lastEventTimestamp": 1} for name in names]}

    def get_log_events(self, **asked: Any) -> dict[str, Any]:
        lines = self.lines[asked["logGroupName"], asked["logStreamName"]]
        return {"events": [{"timestamp": 1, "message": line} for line in lines[-asked["limit"] :]]}


@functools.cache
def _session() -> boto3.Session:
    """One for all tests: it keeps the service models that it has read."""
    return boto3.Session("AKIAEXAMPLE", "made-up", region_name=REGION)


class Offline:
    """An account: ``clients(service)`` as JumpStart's functions take it. ``times`` counts the pauses of ``pace``."""

    def __init__(self, *, backend: Any = None, **options: Any) -> None:
        self.objects = Memory()
        self.logs = Logs()
        self.plane = ControlPlane(objects=self.objects, neighbours=self.logs, **options)
        self.plane.backend = backend
        self.now = 0.0
        self.pace = Pace(poll=1, sleep=self._sleep, clock=lambda: self.now)
        self._made: dict[str, Any] = {"logs": self.logs}

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def clients(self, service: str) -> Any:
        if service not in self._made:
            plain = Config(request_checksum_calculation="when_required")  # bodies as they are, not in chunks
            self._made[service] = _session().client(service, config=plain)
            self._made[service].meta.events.register("before-send", self._send)
        return self._made[service]

    @property
    def operations(self) -> list[str]:
        return [operation for operation, _ in self.plane.calls]

    def _send(self, request: Any, **_: Any) -> AWSResponse:
        url = urlsplit(request.url)
        headers = {name.lower(): v.decode() if isinstance(v, bytes) else str(v) for name, v in request.headers.items()}
        body = request.body or b""
        if hasattr(body, "read"):
            body = body.read()
        incoming = Incoming(request.method, url.path, headers, body.encode() if isinstance(body, str) else body)
        reply = self._reply(str(url.hostname), incoming)
        return AWSResponse(request.url, reply.status, reply.headers, LazyBody(reply.body))

    def _reply(self, host: str, incoming: Incoming) -> Reply:
        if ".s3." in host or host.startswith("s3."):
            return self._s3(host.partition(".s3.")[0], unquote(incoming.path), incoming)
        if host.startswith("runtime."):
            return self._runtime(incoming)
        reply = self.plane.answer(incoming, REGION)
        assert reply is not None, incoming.headers.get("x-amz-target")
        return reply

    def _runtime(self, incoming: Incoming) -> Reply:
        try:
            reply = jobs.invoke_async(self.plane, REGION, incoming.path.split("/")[2], incoming)
        except AwsllmError as error:
            return failure(incoming, error)
        assert reply is not None
        return reply

    def _s3(self, bucket: str, path: str, incoming: Incoming) -> Reply:
        uri = f"s3://{bucket}{path}"
        if incoming.method == "PUT":
            self.objects.write(uri, incoming.body)
            return Reply(200, {}, b"")
        if uri in self.objects.objects:
            return Reply(200, {"Content-Type": "application/json"}, self.objects.read(uri))
        code = {404: "NoSuchKey", 403: "AccessDenied"}[self.objects.missing]
        told = f"<Error><Code>{code}</Code><Message>no</Message></Error>"
        return Reply(self.objects.missing, {"Content-Type": "application/xml"}, told.encode())


def document(name: str = "example-finetune-llm", **changed: Any) -> ModelDocument:
    """A synthetic hub document, with members of its content replaced; None takes one away."""
    description = json.loads((DATA / f"jumpstart/{name}.json").read_text())
    content = description["HubContentDocument"] | changed
    content = {key: value for key, value in content.items() if value is not None}
    description["HubContentDocument"] = json.dumps(content)
    return read_description(description, region=REGION)
