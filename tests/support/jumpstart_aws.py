"""A small AWS for the tests of deployments: SageMaker's control plane, autoscaling, alarms, logs and quotas in memory.

The methods are boto3's, and botocore's validator judges every request. The test
sets how many looks a transition takes, what fails, and what a call is preceded by. ``serve`` lets another process use
the same account over a socket of this machine.
"""

import contextlib
import functools
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

from botocore.exceptions import ClientError

from awsllm.jumpstart.plan.plan import Cost, Plan, Step

ACCOUNT = "123456789012"
REGION = "us-east-1"
KEY = b"a test"


def error(code: str, text: str, operation: str, status: int = 400) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": text}, "ResponseMetadata": {"HTTPStatusCode": status}}, operation
    )


@functools.cache
def _client(service: str) -> Any:
    import boto3  # a process that only calls does without

    return boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name=REGION).client(service)


class _Methods:
    """A boto3 client's methods, each ending in ``Aws.call``."""

    def __init__(self, meta: Any, aws: "Aws") -> None:
        self.meta = meta
        self._aws = aws

    def __getattr__(self, name: str) -> Any:
        if name not in self.meta.method_to_api_mapping:
            raise AttributeError(name)
        operation = self.meta.method_to_api_mapping[name]
        return lambda **request: self._aws.call(operation, request, self.meta.service_model)


class Aws:
    """``looks`` is how many descriptions of an endpoint or component show a transition before it is over. ``fails``
    maps names of endpoints and components to the reason for which they become Failed; ``rolls_back`` to that of a
    failed update. ``before`` is called with each operation and its request, and may raise."""

    def __init__(self, looks: int = 1) -> None:
        self.looks = looks
        self.fails: dict[str, str] = {}
        self.rolls_back: dict[str, str] = {}
        self.before: Callable[[str, dict[str, Any]], None] = lambda operation, request: None
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.store: dict[str, dict[str, dict[str, Any]]] = {
            kind: {} for kind in ("Model", "EndpointConfig", "Endpoint", "InferenceComponent")
        }
        self.tags: dict[str, dict[str, str]] = {}
        self.targets: dict[str, dict[str, Any]] = {}
        self.policies: dict[tuple[str, str], dict[str, Any]] = {}
        self.actions: dict[tuple[str, str], dict[str, Any]] = {}
        self.alarms: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, dict[str, list[tuple[float, str]]]] = {}
        self.quotas: dict[str, float] = {}
        self._pending: dict[tuple[str, str], int] = {}
        self._clients: dict[str, Any] = {}
        self._lock = threading.RLock()

    # --- as boto3 ----------------------------------------------------------------------------------------------------

    def clients(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = _Methods(_client(service).meta, self)
        return self._clients[service]

    def call(self, operation: str, request: dict[str, Any], model: Any = None) -> dict[str, Any]:
        if model is not None:
            from botocore.validate import validate_parameters

            validate_parameters(request, model.operation_model(operation).input_shape)
        with self._lock:
            self.calls.append((operation, request))
            self.before(operation, request)
            handler = getattr(self, operation, None)
            if handler is not None:
                return handler(request)
            for verb in ("Create", "Describe", "Delete"):
                if operation.startswith(verb) and operation.removeprefix(verb) in self.store:
                    return getattr(self, f"_{verb.lower()}")(operation.removeprefix(verb), request)
        raise AssertionError(f"the small AWS does not know {operation}")

    def made(self) -> dict[str, list[str]]:
        """What exists, by kind; kinds without anything left out."""
        found = {kind: sorted(things) for kind, things in self.store.items()}
        found |= {"Target": sorted(self.targets), "Policy": sorted(name for _, name in self.policies)}
        found |= {"Action": sorted(name for _, name in self.actions), "Alarm": sorted(self.alarms)}
        return {kind: names for kind, names in found.items() if names}

    def operations(self, *prefixes: str) -> list[str]:
        return [operation for operation, _ in self.calls if operation.startswith(prefixes)]

    def log(self, group: str, stream: str, *lines: str, at: float | None = None) -> None:
        written = self.logs.setdefault(group, {}).setdefault(stream, [])
        written += [(time.time() if at is None else at, line) for line in lines]

    # --- SageMaker ---------------------------------------------------------------------------------------------------

    def _create(self, kind: str, request: dict[str, Any]) -> dict[str, Any]:
        name, store = request[f"{kind}Name"], self.store[kind]
        if name in store:
            raise error("ValidationException", f"Cannot create already existing {kind.lower()} {name}", f"Create{kind}")
        self._refer(kind, request)
        arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{kind.lower()}/{name}"
        self.tags[arn] = {tag["Key"]: tag["Value"] for tag in request.get("Tags", [])}
        members = {key: value for key, value in request.items() if key != "Tags"}
        store[name] = {**members, f"{kind}Arn": arn, "CreationTime": datetime.now(UTC)}
        if kind in ("Endpoint", "InferenceComponent"):
            self._move(kind, name, "Creating")
        if kind == "Endpoint":
            self._set_variants(name)
        if kind == "InferenceComponent":
            copies = request["RuntimeConfig"]["CopyCount"]
            store[name]["RuntimeConfig"] = {"DesiredCopyCount": copies, "CurrentCopyCount": copies}
        return {f"{kind}Arn": arn}

    def _refer(self, kind: str, request: dict[str, Any]) -> None:
        """What a request names has to exist."""
        if kind == "Endpoint":
            self._get("EndpointConfig", request["EndpointConfigName"], "CreateEndpoint")
        for variant in request.get("ProductionVariants", []) if kind == "EndpointConfig" else []:
            if "ModelName" in variant:
                self._get("Model", variant["ModelName"], "CreateEndpointConfig")
        if kind == "InferenceComponent":
            self._get("Endpoint", request["EndpointName"], "CreateInferenceComponent")

    def _get(self, kind: str, name: str, operation: str) -> dict[str, Any]:
        if name not in self.store[kind]:
            raise error("ValidationException", f'Could not find {kind.lower()} "{name}".', operation)
        return self.store[kind][name]

    def _status(self, kind: str) -> str:
        return f"{kind}Status"

    def _move(self, kind: str, name: str, status: str) -> None:
        self.store[kind][name][self._status(kind)] = status
        self._pending[kind, name] = self.looks

    def _settle(self, kind: str, name: str) -> None:
        if (kind, name) not in self._pending:
            return
        self._pending[kind, name] -= 1
        if self._pending[kind, name] >= 0:
            return
        del self._pending[kind, name]
        found = self.store[kind][name]
        if found[self._status(kind)] == "Deleting":
            del self.store[kind][name]
        elif name in self.fails and found[self._status(kind)] == "Creating":
            found |= {self._status(kind): "Failed", "FailureReason": self.fails[name]}
        else:
            found[self._status(kind)] = "InService"

    def _describe(self, kind: str, request: dict[str, Any]) -> dict[str, Any]:
        name = request[f"{kind}Name"]
        self._get(kind, name, f"Describe{kind}")
        self._settle(kind, name)
        return dict(self._get(kind, name, f"Describe{kind}"))

    def _delete(self, kind: str, request: dict[str, Any]) -> dict[str, Any]:
        name = request[f"{kind}Name"]
        self._get(kind, name, f"Delete{kind}")
        if kind == "Endpoint" and any(c["EndpointName"] == name for c in self.store["InferenceComponent"].values()):
            raise error("ValidationException", "Endpoint has inference components attached", "DeleteEndpoint")
        components = self.store["InferenceComponent"].values() if kind == "InferenceComponent" else ()
        if any(c["Specification"].get("BaseInferenceComponentName") == name for c in components):
            raise error("ValidationException", "Inference component is in use by adapters", f"Delete{kind}")
        if kind in ("Endpoint", "InferenceComponent"):
            self._move(kind, name, "Deleting")
        else:
            del self.store[kind][name]
        return {}

    def _set_variants(self, name: str) -> None:
        endpoint = self.store["Endpoint"][name]
        config = self.store["EndpointConfig"][endpoint["EndpointConfigName"]]
        endpoint["ProductionVariants"] = [
            {
                "VariantName": variant["VariantName"],
                "CurrentInstanceCount": variant.get("InitialInstanceCount", 1),
                "DesiredInstanceCount": variant.get("InitialInstanceCount", 1),
            }
            for variant in config["ProductionVariants"]
        ]

    def UpdateEndpoint(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["EndpointName"]
        endpoint = self._get("Endpoint", name, "UpdateEndpoint")
        if endpoint["EndpointStatus"] != "InService":
            raise error("ValidationException", "Cannot update in-progress endpoint", "UpdateEndpoint")
        self._get("EndpointConfig", request["EndpointConfigName"], "UpdateEndpoint")
        self._move("Endpoint", name, "Updating")
        if name in self.rolls_back:
            endpoint["FailureReason"] = self.rolls_back[name]
        else:
            endpoint["EndpointConfigName"] = request["EndpointConfigName"]
        return {"EndpointArn": endpoint["EndpointArn"]}

    def UpdateInferenceComponent(self, request: dict[str, Any]) -> dict[str, Any]:
        found = self._get("InferenceComponent", request["InferenceComponentName"], "UpdateInferenceComponent")
        if "Specification" in request:
            found["Specification"] = request["Specification"]
        if "RuntimeConfig" in request:
            copies = request["RuntimeConfig"]["CopyCount"]
            found["RuntimeConfig"] = {"DesiredCopyCount": copies, "CurrentCopyCount": copies}
        self._move("InferenceComponent", request["InferenceComponentName"], "Updating")
        return {"InferenceComponentArn": found["InferenceComponentArn"]}

    def UpdateInferenceComponentRuntimeConfig(self, request: dict[str, Any]) -> dict[str, Any]:
        name, config = request["InferenceComponentName"], request["DesiredRuntimeConfig"]
        return self.UpdateInferenceComponent({"InferenceComponentName": name, "RuntimeConfig": config})

    def UpdateEndpointWeightsAndCapacities(self, request: dict[str, Any]) -> dict[str, Any]:
        endpoint = self._get("Endpoint", request["EndpointName"], "UpdateEndpointWeightsAndCapacities")
        for wanted in request["DesiredWeightsAndCapacities"]:
            for variant in endpoint["ProductionVariants"]:
                if variant["VariantName"] == wanted["VariantName"]:
                    variant["CurrentInstanceCount"] = wanted["DesiredInstanceCount"]
        self._move("Endpoint", request["EndpointName"], "Updating")
        return {"EndpointArn": endpoint["EndpointArn"]}

    def _list(self, kind: str, request: dict[str, Any]) -> dict[str, Any]:
        """One item a page, so that paging is tried."""
        if kind == "InferenceComponent":
            self._settle_all(kind)
        names = [name for name in self.store[kind] if request.get("NameContains", "") in name]
        if "EndpointNameEquals" in request:
            names = [n for n in names if self.store[kind][n]["EndpointName"] == request["EndpointNameEquals"]]
        at = int(request.get("NextToken", "0"))
        page = {f"{kind}s": [self.store[kind][name] for name in names[at : at + 1]]}
        return page | ({"NextToken": str(at + 1)} if at + 1 < len(names) else {})

    def _settle_all(self, kind: str) -> None:
        for name in list(self.store[kind]):
            self._settle(kind, name)

    def ListModels(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._list("Model", request)

    def ListEndpointConfigs(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._list("EndpointConfig", request)

    def ListEndpoints(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._list("Endpoint", request)

    def ListInferenceComponents(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._list("InferenceComponent", request)

    def ListTags(self, request: dict[str, Any]) -> dict[str, Any]:
        tags = self.tags.get(request["ResourceArn"], {})
        return {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}

    def AddTags(self, request: dict[str, Any]) -> dict[str, Any]:
        self.tags[request["ResourceArn"]] |= {tag["Key"]: tag["Value"] for tag in request["Tags"]}
        return {}

    def DeleteTags(self, request: dict[str, Any]) -> dict[str, Any]:
        for key in request["TagKeys"]:
            self.tags[request["ResourceArn"]].pop(key, None)
        return {}

    # --- autoscaling, alarms -----------------------------------------------------------------------------------------

    def RegisterScalableTarget(self, request: dict[str, Any]) -> dict[str, Any]:
        arn = f"arn:aws:application-autoscaling:{REGION}:{ACCOUNT}:scalable-target/{request['ResourceId']}"
        self.tags.setdefault(arn, {}).update(request.get("Tags", {}))
        members = {key: value for key, value in request.items() if key != "Tags"} | {"ScalableTargetARN": arn}
        self.targets[request["ResourceId"]] = {**self.targets.get(request["ResourceId"], {}), **members}
        return {"ScalableTargetARN": arn}

    def ListTagsForResource(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"Tags": self.tags.get(request["ResourceARN"], {})}

    def DescribeScalableTargets(self, request: dict[str, Any]) -> dict[str, Any]:
        wanted = request.get("ResourceIds")
        return {"ScalableTargets": [t for t in self.targets.values() if wanted is None or t["ResourceId"] in wanted]}

    def DeregisterScalableTarget(self, request: dict[str, Any]) -> dict[str, Any]:
        resource = request["ResourceId"]
        if self.targets.pop(resource, None) is None:
            raise error("ObjectNotFoundException", "No scalable target found", "DeregisterScalableTarget")
        self.policies = {key: policy for key, policy in self.policies.items() if key[0] != resource}
        return {}

    def PutScalingPolicy(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["ResourceId"] not in self.targets:
            raise error("ObjectNotFoundException", "No scalable target registered", "PutScalingPolicy")
        arn = f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:scalingPolicy:1:{request['PolicyName']}"
        self.policies[request["ResourceId"], request["PolicyName"]] = {**request, "PolicyARN": arn}
        return {"PolicyARN": arn, "Alarms": []}

    def DescribeScalingPolicies(self, request: dict[str, Any]) -> dict[str, Any]:
        names = request.get("PolicyNames")
        found = [p for (resource, _), p in self.policies.items() if resource == request.get("ResourceId")]
        return {"ScalingPolicies": [p for p in found if names is None or p["PolicyName"] in names]}

    def DeleteScalingPolicy(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.policies.pop((request["ResourceId"], request["PolicyName"]), None) is None:
            raise error("ObjectNotFoundException", "No scaling policy found", "DeleteScalingPolicy")
        return {}

    def PutScheduledAction(self, request: dict[str, Any]) -> dict[str, Any]:
        self.actions[request["ResourceId"], request["ScheduledActionName"]] = dict(request)
        return {}

    def DescribeScheduledActions(self, request: dict[str, Any]) -> dict[str, Any]:
        names = request.get("ScheduledActionNames")
        found = [a for (resource, _), a in self.actions.items() if resource == request.get("ResourceId")]
        return {"ScheduledActions": [a for a in found if names is None or a["ScheduledActionName"] in names]}

    def DeleteScheduledAction(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.actions.pop((request["ResourceId"], request["ScheduledActionName"]), None) is None:
            raise error("ObjectNotFoundException", "No scheduled action found", "DeleteScheduledAction")
        return {}

    def PutMetricAlarm(self, request: dict[str, Any]) -> dict[str, Any]:
        self.alarms[request["AlarmName"]] = dict(request)
        return {}

    def DescribeAlarms(self, request: dict[str, Any]) -> dict[str, Any]:
        names, prefix = request.get("AlarmNames"), request.get("AlarmNamePrefix", "")
        found = [a for name, a in self.alarms.items() if name.startswith(prefix)]
        return {"MetricAlarms": [a for a in found if names is None or a["AlarmName"] in names]}

    def DeleteAlarms(self, request: dict[str, Any]) -> dict[str, Any]:
        for name in request["AlarmNames"]:
            self.alarms.pop(name, None)
        return {}

    # --- logs, quotas ------------------------------------------------------------------------------------------------

    def _group(self, request: dict[str, Any], operation: str) -> dict[str, list[tuple[float, str]]]:
        if request["logGroupName"] not in self.logs:
            raise error("ResourceNotFoundException", "The specified log group does not exist.", operation)
        return self.logs[request["logGroupName"]]

    def DescribeLogStreams(self, request: dict[str, Any]) -> dict[str, Any]:
        group = self._group(request, "DescribeLogStreams")
        streams = [{"logStreamName": n, "lastEventTimestamp": int(w[-1][0] * 1000)} for n, w in group.items()]
        return {"logStreams": streams}

    def GetLogEvents(self, request: dict[str, Any]) -> dict[str, Any]:
        lines = self._group(request, "GetLogEvents")[request["logStreamName"]][-request["limit"] :]
        return {"events": [{"timestamp": int(at * 1000), "message": text} for at, text in lines]}

    def FilterLogEvents(self, request: dict[str, Any]) -> dict[str, Any]:
        group, start = self._group(request, "FilterLogEvents"), request.get("startTime", 0)
        events = [
            {"timestamp": int(at * 1000), "message": text, "logStreamName": name}
            for name, lines in group.items()
            for at, text in lines
        ]
        return {"events": [event for event in events if event["timestamp"] >= start]}

    def ListServiceQuotas(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"Quotas": [{"QuotaName": f"{k} for endpoint usage", "Value": v} for k, v in self.quotas.items()]}


# --- plans by hand ---------------------------------------------------------------------------------------------------


def plan(
    name: str = "chat",
    *,
    version: str = "1",
    instances: int = 1,
    components: bool = False,
    wake: bool = False,
    eula: str | None = None,
    ttl: float | None = None,
    copies: int = 1,
) -> Plan:
    """A plan as the planner writes them: digests in names, the plan's digest in tags."""
    digest = f"{version}{instances}{int(components)}{int(wake)}{copies}".ljust(8, "0")
    tags = [{"Key": "awsllm:plan", "Value": digest}, {"Key": "awsllm:model-id", "Value": "a-model"}]
    model, config = f"{name}-m{version}", f"{name}-c{version}{instances}{int(components)}"
    variant: dict[str, Any] = {
        "VariantName": "AllTraffic", "InstanceType": "ml.g5.xlarge", "InitialInstanceCount": instances,
    }  # fmt: skip
    if not components:
        variant |= {"ModelName": model, "InitialVariantWeight": 1.0}
    container = {"Image": "djl-inference:1", "Environment": {"OPTION_X": version, "HF_TOKEN": "hf_secret"}}
    steps = [
        _step("model", "CreateModel", model, {
            "ModelName": model, "PrimaryContainer": container, "ExecutionRoleArn": ROLE, "Tags": tags}),
        _step("config", "CreateEndpointConfig", config, {
            "EndpointConfigName": config, "ProductionVariants": [variant], "Tags": tags}),
        _step("endpoint", "CreateEndpoint", name, {
            "EndpointName": name, "EndpointConfigName": config, "Tags": tags}, wait="endpoint_in_service"),
    ]  # fmt: skip
    component = f"{name}-ic" if components else None
    if component is not None:
        steps += _component_steps(name, component, model, tags, wake=wake, copies=copies)
    return Plan(
        model_id="a-model", model_version=version, region=REGION, endpoint=name, component=component,
        steps=tuple(steps), digest=digest, cost=Cost(per_hour=1.4), permissions={}, eula_url=eula, expires_after=ttl,
    )  # fmt: skip


def _step(id: str, operation: str, resource: str, request: dict[str, Any], *, wait: str | None = None) -> Step:
    service = SERVICES.get(operation, "sagemaker")
    return Step(id=id, service=service, operation=operation, request=request, resource=resource, wait=wait)


SERVICES = {
    "RegisterScalableTarget": "application-autoscaling",
    "PutScalingPolicy": "application-autoscaling",
    "PutScheduledAction": "application-autoscaling",
    "PutMetricAlarm": "cloudwatch",
}
ROLE = f"arn:aws:iam::{ACCOUNT}:role/a-role"


def _component_steps(
    name: str, component: str, model: str, tags: list[dict[str, str]], *, wake: bool, copies: int
) -> list[Step]:
    needs = {"MinMemoryRequiredInMb": 1024, "NumberOfAcceleratorDevicesRequired": 1}
    steps = [
        _step("component", "CreateInferenceComponent", component, {
            "InferenceComponentName": component, "EndpointName": name, "VariantName": "AllTraffic",
            "Specification": {"ModelName": model, "ComputeResourceRequirements": needs},
            "RuntimeConfig": {"CopyCount": copies}, "Tags": tags}, wait="component_in_service"),
        _step("adapter", "CreateInferenceComponent", f"{component}-lora", {
            "InferenceComponentName": f"{component}-lora", "EndpointName": name, "VariantName": "AllTraffic",
            "Specification": {"BaseInferenceComponentName": component, "Container": {"ArtifactUrl": "s3://b/l.tar.gz"}},
            "RuntimeConfig": {"CopyCount": 1}, "Tags": tags}, wait="component_in_service"),
    ]  # fmt: skip
    target = {
        "ServiceNamespace": "sagemaker", "ResourceId": f"inference-component/{component}",
        "ScalableDimension": "sagemaker:inference-component:DesiredCopyCount",
    }  # fmt: skip
    policy = {
        "AdjustmentType": "ChangeInCapacity", "MetricAggregationType": "Maximum", "Cooldown": 60,
        "StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}],
    }  # fmt: skip
    if wake:
        steps += [
            _step("target", "RegisterScalableTarget", target["ResourceId"], {
                **target, "MinCapacity": 0, "MaxCapacity": 2}),
            _step("wake", "PutScalingPolicy", f"{component}-wake", {
                **target, "PolicyName": f"{component}-wake", "PolicyType": "StepScaling",
                "StepScalingPolicyConfiguration": policy}),
            _step("alarm", "PutMetricAlarm", f"{component}-wake", {
                "AlarmName": f"{component}-wake", "AlarmActions": ["${wake.PolicyARN}"], "Namespace": "AWS/SageMaker",
                "MetricName": "NoCapacityInvocationFailures", "Statistic": "Maximum", "Period": 30,
                "Dimensions": [{"Name": "InferenceComponentName", "Value": component}], "EvaluationPeriods": 1,
                "Threshold": 1.0, "ComparisonOperator": "GreaterThanOrEqualToThreshold"}),
            _step("night", "PutScheduledAction", f"{component}-night", {
                **target, "ScheduledActionName": f"{component}-night", "Schedule": "cron(0 20 * * ? *)",
                "ScalableTargetAction": {"MinCapacity": 0, "MaxCapacity": 0}}),
        ]  # fmt: skip
    return steps


# --- another process ------------------------------------------------------------------------------------------------


def serve(aws: Aws) -> str:
    """The address at which another process finds this account (``Remote``), until this process ends."""
    listener = Listener(family="AF_UNIX", authkey=KEY)

    def accept() -> None:
        while True:
            try:
                connection = listener.accept()
            except (OSError, EOFError):
                continue
            threading.Thread(target=_answer, args=(aws, connection), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return str(listener.address)


def _answer(aws: Aws, connection: Connection) -> None:
    """One call, one connection: a caller that is interrupted leaves no answer behind for its next call."""
    with connection, contextlib.suppress(EOFError, OSError):  # the caller may be gone
        service, method, request = connection.recv()
        try:
            answer: Any = getattr(aws.clients(service), method)(**request)
        except ClientError as refused:
            answer = (refused.response, refused.operation_name)
        connection.send(answer)


class Remote:
    """``clients`` of a child process: each call goes to the parent's ``Aws``."""

    def __init__(self, address: str) -> None:
        self._address = address

    def clients(self, service: str) -> Any:
        return _RemoteMethods(self._address, service)


class _RemoteMethods:
    def __init__(self, address: str, service: str) -> None:
        self._address, self._service = address, service

    def __getattr__(self, method: str) -> Any:
        def call(**request: Any) -> dict[str, Any]:
            with Client(self._address, authkey=KEY) as connection:
                connection.send((self._service, method, request))
                answer = connection.recv()
            if isinstance(answer, tuple):
                raise ClientError(*answer)
            return answer

        return call
