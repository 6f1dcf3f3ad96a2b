"""The search for what an endpoint speaks: what it asks, whom it believes, and what it keeps."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from functools import cache
from typing import Any

import msgspec
import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from awsllm import errors
from awsllm.aws.call import Call, HttpResponse, StreamCall
from awsllm.backend import UNLIMITED, Attempt
from awsllm.backends.sagemaker import backend as sagemaker
from awsllm.backends.sagemaker.backend import AsyncSageMakerBackend, SageMakerBackend
from awsllm.backends.sagemaker.search import Known, Outcome, control_call, drive, search
from awsllm.backends.sagemaker.target import Target, read_target
from awsllm.types import ConverseRequest, ConverseResponse, EndpointOptions, JsonObject, Message, Usage
from awsllm.wire import endpoint as bodies
from awsllm.wire.body import Context, Payload, Settings
from awsllm.wire.endpoint import Detected

ASKED = ConverseRequest(model="ep", messages=(Message.user("Hello"),))
ENDPOINT = "arn:aws:sagemaker:us-east-1:111122223333:endpoint/ep"
COMPONENT = "arn:aws:sagemaker:us-east-1:111122223333:inference-component/part"
TGI_IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/huggingface-pytorch-tgi-inference:2.1.1-tgi1.4.0-gpu"
VLLM_IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/vllm:0.11.0-gpu"
JUMPSTART = {"jumpstart-model-id": "a-model", "jumpstart-model-version": "1.2.3"}
CHAT = {"DefaultPayloads": {"hello": {"Body": {"messages": []}, "PromptKey": "messages"}}}


@cache
def control_model() -> ServiceModel:
    return ServiceModel(Loader().load_service_model("sagemaker", "service-2"), "sagemaker")


def service_error(code: str, status: int, message: str = "no") -> HttpResponse:
    body = msgspec.json.encode({"__type": code, "Message": message, "message": message})
    return HttpResponse(status, {"x-amzn-errortype": code}, body)


DENIED = service_error("AccessDeniedException", 400)
UNKNOWN = service_error("ValidationException", 400, 'Could not find endpoint "ep".')


class Cloud:
    """SageMaker with one endpoint. ``plane`` has the control plane's answers by operation (missing: denied),
    ``speaks`` is the format of the container, whose own half of it answers."""

    def __init__(self, speaks: str, plane: dict[str, Any] | None = None) -> None:
        self.speaks = speaks
        self.plane = plane or {}
        self.settings = Settings()
        self.asked: list[tuple[str, JsonObject]] = []
        self.invoked: list[Any] = []
        self.refusal: HttpResponse | None = None
        self.reply: bytes | None = None

    def answer(self, request: Any) -> HttpResponse:
        if request.service == "sagemaker":
            return self._control(request)
        assert request.service == "sagemaker-runtime"
        self.invoked.append(request)
        if self.refusal is not None:
            return self.refusal
        if self.reply is not None:
            return HttpResponse(200, {}, self.reply)
        return self._container(Payload(request.body, request.headers["Content-Type"]))

    def _control(self, request: Any) -> HttpResponse:
        operation, members = (
            request.headers["X-Amz-Target"].removeprefix("SageMaker."),
            msgspec.json.decode(request.body),
        )
        self.asked.append((operation, members))
        answer = self.plane.get(operation, DENIED)
        if callable(answer):
            answer = answer(members)
        if isinstance(answer, errors.AwsllmError):
            raise answer
        return answer if isinstance(answer, HttpResponse) else HttpResponse(200, {}, msgspec.json.encode(answer))

    def _container(self, payload: Payload) -> HttpResponse:
        body = bodies.get(self.speaks)
        try:
            request, _ = body.read("ep", payload, self.settings)
            assert isinstance(request, ConverseRequest)
        except errors.AwsllmError as error:
            status, told = body.encode_error(error)
            message = {"OriginalStatusCode": status, "OriginalMessage": told.body.decode(), "Message": "Received …"}
            return HttpResponse(424, {"x-amzn-errortype": "ModelError"}, msgspec.json.encode(message))
        answer = ConverseResponse(message=Message.assistant("Hi!"), stop_reason="end_turn", usage=Usage(1, 1, 2))
        context = Context(request=request, settings=self.settings)
        response = body.codec(ConverseRequest).encode_response(answer, context)
        return HttpResponse(200, {"x-amzn-requestid": "r"}, response.body)

    def send(self, call: Call[Any], attempt: Attempt = UNLIMITED) -> Any:
        reply = self.answer(call.request)
        if reply.status >= 300:
            raise call.error(reply)
        return call.decode(reply)

    def stream(self, call: StreamCall[Any], attempt: Attempt = UNLIMITED) -> Iterator[Any]:
        raise AssertionError("nothing is streamed here")

    def close(self) -> None:
        """Nothing to close."""

    def found(self, model: str = "ep", options: EndpointOptions | None = None) -> Detected:
        return drive(search(read_target(model, options), options), self.send).detected

    @property
    def operations(self) -> list[str]:
        return [operation for operation, _ in self.asked]


class AsyncCloud(Cloud):
    async def send(self, call: Call[Any], attempt: Attempt = UNLIMITED) -> Any:
        await asyncio.sleep(0)
        return super().send(call, attempt)

    async def stream(self, call: StreamCall[Any], attempt: Attempt = UNLIMITED) -> AsyncIterator[Any]:  # type: ignore[override]
        for event in super().stream(call, attempt):
            yield event

    async def close(self) -> None:  # type: ignore[override]
        """Nothing to close."""


def endpoint(**members: Any) -> JsonObject:
    return {"EndpointArn": ENDPOINT, "EndpointConfigName": "config", **members}


def tags(**named: str) -> JsonObject:
    return {"Tags": [{"Key": f"sagemaker-sdk:{n.replace('_', '-')}", "Value": value} for n, value in named.items()]}


def jumpstart_tags(**more: str) -> JsonObject:
    return tags(**{name.replace("-", "_"): value for name, value in JUMPSTART.items()}, **more)


def document(content: JsonObject) -> JsonObject:
    return {"HubContentDocument": msgspec.json.encode(content).decode()}


# --- whom it believes ------------------------------------------------------------------------------------------------


def test_tags_come_first() -> None:
    own = [{"Key": "awsllm:format", "Value": "tgi"}, {"Key": "awsllm:prompt", "Value": "chatml"}]
    cloud = Cloud("openai", {"DescribeEndpoint": endpoint(), "ListTags": {"Tags": own}})
    found = cloud.found()
    assert (found.format, found.source, found.settings.prompt) == ("tgi", "tags", "chatml")
    assert cloud.operations == ["DescribeEndpoint", "ListTags"]
    assert cloud.asked[1][1] == {"ResourceArn": ENDPOINT}
    assert not cloud.invoked


def test_tags_on_several_pages() -> None:
    def page(members: JsonObject) -> JsonObject:
        if "NextToken" in members:
            return {"Tags": [{"Key": "awsllm:format", "Value": "lmi"}]}
        return {"Tags": [{"Key": "a", "Value": "b"}], "NextToken": "more"}

    assert Cloud("openai", {"DescribeEndpoint": endpoint(), "ListTags": page}).found().format == "lmi"


def test_the_document_of_the_very_version() -> None:
    plane = {"DescribeEndpoint": endpoint(), "ListTags": jumpstart_tags(), "DescribeHubContent": document(CHAT)}
    cloud = Cloud("tgi", plane)
    found = cloud.found()
    assert (found.format, found.source) == ("openai", "document")
    assert cloud.asked[-1] == (
        "DescribeHubContent",
        {
            "HubName": "SageMakerPublicHub",
            "HubContentType": "Model",
            "HubContentName": "a-model",
            "HubContentVersion": "1.2.3",
        },
    )


def test_the_documents_configuration_and_hub() -> None:
    content = {
        "DefaultPayloads": {"p": {"Body": {"text_inputs": "x"}}},
        "InferenceConfigs": {"fast": {"ComponentNames": ["one", "two"]}},
        "InferenceConfigComponents": {"one": {}, "two": CHAT},
    }
    arn = "arn:aws:sagemaker:us-east-1:111122223333:hub-content/mine/ModelReference/a-model/1.2.3"
    told = jumpstart_tags(jumpstart_inference_config_name="fast", hub_content_arn=arn)
    cloud = Cloud("tgi", {"DescribeEndpoint": endpoint(), "ListTags": told, "DescribeHubContent": document(content)})
    assert cloud.found().format == "openai"
    assert (cloud.asked[-1][1]["HubName"], cloud.asked[-1][1]["HubContentType"]) == ("mine", "ModelReference")
    del content["InferenceConfigs"]
    cloud.plane["DescribeHubContent"] = document(content)
    assert cloud.found().format == "mms"


@pytest.mark.parametrize("version", [None, "*", "1.*"])
def test_a_model_id_alone_tells_nothing(version: str | None) -> None:
    told = tags(jumpstart_model_id="a-model", **({"jumpstart_model_version": version} if version else {}))
    cloud = Cloud("openai", {"DescribeEndpoint": endpoint(), "ListTags": told, "DescribeHubContent": document(CHAT)})
    assert cloud.found().source == "probe"
    assert "DescribeHubContent" not in cloud.operations


def test_the_image_that_runs() -> None:
    variants = [
        {"VariantName": "old", "DeployedImages": [{"SpecifiedImage": TGI_IMAGE}]},
        {"VariantName": "new", "DeployedImages": [{"SpecifiedImage": VLLM_IMAGE}]},
    ]
    cloud = Cloud("openai", {"DescribeEndpoint": endpoint(ProductionVariants=variants)})
    assert (cloud.found().format, cloud.found().source) == ("tgi", "image")
    assert cloud.found(options=EndpointOptions(variant="new")).format == "openai"


def test_the_models_image_and_environment() -> None:
    container = {"Image": TGI_IMAGE, "Environment": {"MESSAGES_API_ENABLED": "true"}}
    config = {"ProductionVariants": [{"VariantName": "a", "ModelName": "m"}]}
    plane: dict[str, Any] = {"DescribeEndpoint": endpoint(), "DescribeEndpointConfig": config}
    assert Cloud("tgi", {**plane, "DescribeModel": {"PrimaryContainer": container}}).found().format == "openai"
    container["Environment"] = {}
    assert Cloud("tgi", {**plane, "DescribeModel": {"PrimaryContainer": container}}).found().format == "tgi"
    package = {"PrimaryContainer": {"ModelPackageName": "arn:aws:sagemaker:us-east-1:1:model-package/cohere-rerank-v3"}}
    assert Cloud("tgi", {**plane, "DescribeModel": package}).found().format == "cohere-rerank"
    several = [
        {"ContainerHostname": "first", "Image": TGI_IMAGE},
        {"ContainerHostname": "second", "Image": VLLM_IMAGE},
    ]
    cloud = Cloud("tgi", {**plane, "DescribeModel": {"Containers": several}})
    assert cloud.found(options=EndpointOptions(target_container="second")).format == "openai"


def test_components_are_described_by_themselves() -> None:
    container = {"DeployedImage": {"SpecifiedImage": TGI_IMAGE}, "Environment": {"MESSAGES_API_ENABLED": "true"}}
    answers = {
        "part": {"InferenceComponentArn": COMPONENT, "Specification": {"Container": container}},
        "adapter": {"InferenceComponentArn": "arn:adapter", "Specification": {"BaseInferenceComponentName": "part"}},
        "named": {"InferenceComponentArn": COMPONENT, "Specification": {"ModelName": "m"}},
    }
    plane = {
        "DescribeInferenceComponent": lambda members: answers[members["InferenceComponentName"]],
        "ListTags": {"Tags": []},
        "DescribeModel": {"PrimaryContainer": {"Image": VLLM_IMAGE}},
    }
    cloud = Cloud("tgi", plane)
    assert cloud.found("ep/part").format == "openai"
    assert cloud.asked[1] == ("ListTags", {"ResourceArn": COMPONENT})
    assert cloud.found("ep/adapter").format == "openai"
    assert cloud.found("ep/named").format == "openai"
    assert "DescribeEndpoint" not in cloud.operations


# --- the probe -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("speaks", ["openai", "tgi", "lmi", "mms", "jurassic"])
@pytest.mark.parametrize("refusal", [DENIED, UNKNOWN, service_error("UnknownOperationException", 404)])
def test_who_may_only_invoke_finds_out_by_asking(speaks: str, refusal: HttpResponse) -> None:
    cloud = Cloud(speaks, {"DescribeEndpoint": refusal})
    found = cloud.found()
    assert (found.format, found.source) == (speaks, "probe")
    assert cloud.operations == ["DescribeEndpoint"]


def test_a_control_plane_out_of_reach_is_asked_once() -> None:
    cloud = Cloud("openai", {"DescribeEndpoint": endpoint(), "ListTags": errors.ConnectError("no route")})
    assert cloud.found().source == "probe"
    assert cloud.operations == ["DescribeEndpoint", "ListTags"]


def test_nonsense_in_the_control_planes_answers() -> None:
    several: list[Any] = [[], "x", {"EndpointArn": 7, "ProductionVariants": {"a": 1}}, endpoint(ProductionVariants=[3])]
    for nonsense in several:
        plane: dict[str, Any] = dict.fromkeys(("DescribeEndpoint", "ListTags", "DescribeEndpointConfig"), nonsense)
        assert Cloud("openai", plane).found().source == "probe"
    told = {"Tags": ["x", {"Key": 1}, *jumpstart_tags()["Tags"]]}
    plane = {"DescribeEndpoint": endpoint(), "ListTags": told, "DescribeHubContent": {"HubContentDocument": "{"}}
    assert Cloud("openai", plane).found().source == "probe"


def test_a_probe_goes_where_the_call_goes() -> None:
    cloud = Cloud("openai")
    options = EndpointOptions(variant="v", target_model="m.tar.gz", session_id="NEW_SESSION", accept_eula=True)
    cloud.found("ep/part", options)
    names = {name.removeprefix("X-Amzn-SageMaker-") for name in cloud.invoked[0].headers}
    assert names >= {"Inference-Component", "Target-Variant", "Target-Model", "Custom-Attributes"}
    assert "Session-Id" not in names


def test_what_is_no_answer_to_a_probe_is_raised() -> None:
    asleep = service_error("ValidationError", 400, "Inference Component has no capacity to process this request.")
    starting = HttpResponse(
        424, {"x-amzn-errortype": "ModelError"}, b'{"OriginalStatusCode":503,"OriginalMessage":"loading"}'
    )
    for refusal, kind in (
        (service_error("ValidationError", 400, "Endpoint ep of account 1 not found."), errors.ModelNotFoundError),
        (service_error("AccessDeniedException", 403), errors.AccessDeniedError),
        (starting, errors.ModelNotReadyError),
        (asleep, errors.ModelNotReadyError),
    ):
        cloud = Cloud("openai")
        cloud.refusal = refusal
        with pytest.raises(kind) as caught:
            cloud.found()
        assert len(cloud.invoked) == 1
        assert getattr(caught.value, "scaled_to_zero", False) is (refusal is asleep)


def test_nothing_found_says_how_to_go_on() -> None:
    cloud = Cloud("openai")
    cloud.reply = b'{"weather": "fine"}'
    with pytest.raises(errors.ConfigurationError, match=r'endpoint=\{"format": .*openai, tgi, .*DescribeEndpoint: no'):
        cloud.found()


# --- what it asks, by the service's model ----------------------------------------------------------------------------


def test_control_calls_are_the_services() -> None:
    variants = [{"VariantName": "a", "ModelName": "m"}]
    plane = {
        "DescribeEndpoint": endpoint(),
        "DescribeInferenceComponent": {"InferenceComponentArn": COMPONENT, "Specification": {"ModelName": "m"}},
        "ListTags": jumpstart_tags(),
        "DescribeEndpointConfig": {"ProductionVariants": variants},
        "DescribeHubContent": {},
        "DescribeModel": {},
    }
    cloud = Cloud("openai", plane)
    cloud.found()
    cloud.found("ep/part")
    assert set(cloud.operations) == set(plane)
    for operation, members in cloud.asked:
        shape = control_model().operation_model(operation).input_shape
        report = ParamValidator().validate(members, shape)
        assert not report.has_errors(), report.generate_report()
    metadata = control_model().metadata
    request = control_call("ListTags", {}).request
    assert request.headers["X-Amz-Target"] == f"{metadata['targetPrefix']}.ListTags"
    assert request.headers["Content-Type"] == f"application/x-amz-json-{metadata['jsonVersion']}"


def test_the_answers_members_are_the_services() -> None:
    """Every name that the search reads is one of the service's."""
    read = {
        "DescribeEndpoint": ("EndpointArn", "EndpointConfigName", "ProductionVariants"),
        "DescribeInferenceComponent": ("InferenceComponentArn", "Specification"),
        "ListTags": ("Tags", "NextToken"),
        "DescribeEndpointConfig": ("ProductionVariants",),
        "DescribeModel": ("PrimaryContainer", "Containers"),
        "DescribeHubContent": ("HubContentDocument",),
    }
    for operation, names in read.items():
        output = control_model().operation_model(operation).output_shape
        assert set(names) <= set(output.members)
    shapes = {
        "ProductionVariantSummary": {"VariantName", "DeployedImages"},
        "DeployedImage": {"SpecifiedImage"},
        "InferenceComponentSpecificationSummary": {"ModelName", "Container", "BaseInferenceComponentName"},
        "InferenceComponentContainerSpecificationSummary": {"DeployedImage", "Environment"},
        "ContainerDefinition": {"Image", "Environment", "ModelPackageName", "ContainerHostname"},
    }
    for shape, members in shapes.items():
        assert members <= set(control_model().shape_for(shape).members)


# --- what it keeps ---------------------------------------------------------------------------------------------------


def test_the_callers_word_is_the_first() -> None:
    cloud = Cloud("tgi")
    backend = SageMakerBackend(cloud, formats={"sagemaker:ep/part": "lmi/chatml", "ep": "tgi", "*": "openai"})
    assert backend.ask(ASKED).text == "Hi!"
    said = msgspec.structs.replace(ASKED, endpoint=EndpointOptions(format="mms"))
    assert backend.format_of(said).format == "mms"
    found = backend.format_of(msgspec.structs.replace(ASKED, model="ep/part"))
    assert (found.format, found.settings.prompt, found.source) == ("lmi", "chatml", "caller")
    assert backend.format_of(msgspec.structs.replace(ASKED, model="other")).format == "openai"
    assert not cloud.asked
    with pytest.raises(errors.ConfigurationError, match="openai, tgi"):
        backend.ask(msgspec.structs.replace(ASKED, endpoint=EndpointOptions(format="tgy")))


def test_one_search_for_many_callers() -> None:
    cloud = Cloud("tgi")
    backend = SageMakerBackend(cloud)
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(backend.ask(ASKED).text)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["Hi!"] * 8
    assert cloud.operations == ["DescribeEndpoint"]


def test_one_search_for_many_callers_awaited() -> None:
    cloud = AsyncCloud("tgi")

    async def run() -> list[ConverseResponse]:
        backend = AsyncSageMakerBackend(cloud)
        answers = await asyncio.gather(*(backend.ask(ASKED, UNLIMITED) for _ in range(8)))
        await backend.close()
        return answers

    assert [answer.text for answer in asyncio.run(run())] == ["Hi!"] * 8
    assert cloud.operations == ["DescribeEndpoint"]


def test_a_search_that_failed_is_not_kept() -> None:
    cloud = Cloud("openai")
    backend = SageMakerBackend(cloud)
    cloud.refusal = service_error("ValidationError", 400, "Inference Component has no capacity")
    with pytest.raises(errors.ModelNotReadyError, match="sagemaker:ep"):
        backend.ask(ASKED)
    cloud.refusal = None
    assert backend.ask(ASKED).text == "Hi!"


def test_a_reply_that_does_not_decode_is_paid_once_and_looked_into() -> None:
    cloud = Cloud("openai")
    backend = SageMakerBackend(cloud)
    backend.ask(ASKED)
    cloud.reply = b'{"weather": "fine"}'
    with pytest.raises(errors.ServerError) as caught:
        backend.ask(ASKED)
    assert not caught.value.retryable
    assert "taken to speak openai (probe" in caught.value.__notes__[0]
    cloud.reply, cloud.speaks = None, "tgi"
    assert backend.ask(ASKED).text == "Hi!"
    assert backend.format_of(ASKED).format == "tgi"


def test_refusals_make_old_knowledge_doubtful(monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = Cloud("openai")
    backend = SageMakerBackend(cloud)
    backend.ask(ASKED)
    cloud.speaks = "tgi"
    with pytest.raises(errors.ValidationError):
        backend.ask(ASKED)
    assert backend.format_of(ASKED).format == "openai"  # what was just found is believed
    monkeypatch.setattr(sagemaker, "_DOUBTFUL", 0.0)
    with pytest.raises(errors.ValidationError) as caught:
        backend.ask(ASKED)
    assert "taken to speak openai" in caught.value.__notes__[0]
    assert backend.ask(ASKED).text == "Hi!"


def test_times() -> None:
    now = [0.0]
    known, target = Known(clock=lambda: now[0]), Target("ep")
    detected = Detected(format="tgi", source="probe", evidence="")
    known.remember(target, Outcome(detected))
    now[0] = 299.0
    known.forget(target, older=300.0)
    assert known.get(target, None) is not None
    now[0] = 300.0
    known.forget(target, older=300.0)
    known.forget(target)
    assert known.get(target, None) is None
    for seconds in (60, 120, 240, 480, 960, 1920, 3600, 3600):  # longer, the oftener the same is found
        known.remember(target, Outcome(detected, lasting=False))
        now[0] += seconds - 1
        assert known.get(target, None) == detected
        now[0] += 1
        assert known.get(target, None) is None
    known.remember(target, Outcome(msgspec.structs.replace(detected, format="lmi"), lasting=False))
    now[0] += 60
    assert known.get(target, None) is None


@pytest.mark.parametrize("busy", [service_error("ThrottlingException", 400), service_error("InternalFailure", 500)])
def test_a_busy_control_plane_is_asked_again_later(busy: HttpResponse) -> None:
    """The call does not fail for it: only the runtime is needed."""
    cloud = Cloud("openai", {"DescribeEndpoint": endpoint(), "ListTags": busy})
    outcome = drive(search(Target("ep")), cloud.send)
    assert (outcome.detected.source, outcome.lasting) == ("probe", False)
    assert drive(search(Target("ep")), Cloud("openai").send).lasting


@pytest.mark.parametrize("error", [errors.ConnectError("reset"), errors.ModelTimeoutError("slow")])
def test_a_control_plane_out_of_reach_is_asked_again_later(error: errors.AwsllmError) -> None:
    cloud = Cloud("openai", {"DescribeEndpoint": endpoint(), "ListTags": error})
    outcome = drive(search(Target("ep")), cloud.send)
    assert (outcome.detected.source, outcome.lasting) == ("probe", False)
    assert cloud.operations == ["DescribeEndpoint", "ListTags"]


def failing_once(status: int) -> Cloud:
    """A container that fails on its first request, and answers whatever comes next as TGI does."""

    class Restarting(Cloud):
        def _container(self, payload: Payload) -> HttpResponse:
            if len(self.invoked) > 1:
                return HttpResponse(200, {}, b'[{"generated_text": "a"}]')
            told = {"OriginalStatusCode": status, "OriginalMessage": "worker restarted", "Message": "x"}
            return HttpResponse(424, {"x-amzn-errortype": "ModelError"}, msgspec.json.encode(told))

    return Restarting("openai")


@pytest.mark.parametrize(("status", "lasting"), [(400, True), (422, True), (500, False), (424, False), (403, False)])
def test_what_was_found_after_a_failed_probe_is_doubted(status: int, lasting: bool) -> None:
    outcome = drive(search(Target("ep")), failing_once(status).send)
    assert (outcome.detected.format, outcome.lasting) == ("tgi", lasting)


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_a_container_that_gives_no_answer_tells_nothing(status: int) -> None:
    cloud = failing_once(status)
    with pytest.raises(errors.ServiceError, match="worker restarted"):
        cloud.found()
    assert len(cloud.invoked) == 1


@pytest.mark.parametrize("awaited", [False, True])
def test_an_unknown_container_is_not_probed_by_each_call(awaited: bool) -> None:
    cloud = AsyncCloud("openai") if awaited else Cloud("openai")
    cloud.reply = b'{"weather": "fine"}'
    now = [0.0]
    backend: Any = AsyncSageMakerBackend(cloud) if awaited else SageMakerBackend(cloud)  # type: ignore[arg-type]
    backend._known._clock = lambda: now[0]

    def failure(**options: Any) -> str:
        request = msgspec.structs.replace(ASKED, endpoint=EndpointOptions(**options))
        with pytest.raises(errors.ConfigurationError) as caught:
            asyncio.run(backend.ask(request)) if awaited else backend.ask(request)
        return str(caught.value)

    first, probes = failure(), len(cloud.invoked)
    now[0] = 59.0
    assert failure(session_id="s", inference_id="i") == first
    assert len(cloud.invoked) == probes
    failure(accept_eula=True)  # a container may refuse for want of that
    assert len(cloud.invoked) == 2 * probes
    now[0] = 119.0
    cloud.reply = b'{"choices": []}'
    known = backend.format_of(ASKED)
    assert (asyncio.run(known) if awaited else known).format == "openai"


def test_a_caller_without_credentials_is_told_so_each_time() -> None:
    cloud = Cloud("openai")
    sent = cloud.send

    def unsigned(*_: Any, **__: Any) -> Any:
        raise errors.ConfigurationError("no credentials")

    backend = SageMakerBackend(cloud)
    cloud.send = unsigned  # type: ignore[method-assign]
    with pytest.raises(errors.ConfigurationError, match="no credentials"):
        backend.ask(ASKED)
    cloud.send = sent  # type: ignore[method-assign]
    assert backend.ask(ASKED).text == "Hi!"


@pytest.mark.parametrize("reply", [b'{"generated_image": [[1]]}', b'{"artifacts": [{"base64": "AA=="}]}'])
def test_a_container_that_paints_is_asked_once(reply: bytes) -> None:
    cloud = Cloud("openai")
    cloud.reply = reply
    assert bodies.get(cloud.found().format).images
    assert len(cloud.invoked) == 1


def test_a_deadline_bounds_the_wait_for_a_search() -> None:
    inside, leave = threading.Event(), threading.Event()

    class Slow(Cloud):
        def send(self, call: Call[Any], attempt: Attempt = UNLIMITED) -> Any:
            inside.set()
            assert leave.wait(10)
            return super().send(call, attempt)

    backend = SageMakerBackend(Slow("openai"))
    thread = threading.Thread(target=backend.ask, args=(ASKED,))
    thread.start()
    assert inside.wait(10)
    with pytest.raises(errors.ModelTimeoutError, match="format"):
        backend.ask(ASKED, Attempt(deadline=1.0))  # an instant long past
    leave.set()
    thread.join()


def test_a_deadline_bounds_the_wait_for_a_search_awaited() -> None:
    inside, leave = asyncio.Event(), asyncio.Event()

    class Slow(AsyncCloud):
        async def send(self, call: Call[Any], attempt: Attempt = UNLIMITED) -> Any:
            inside.set()
            await leave.wait()
            return await super().send(call, attempt)

    async def run() -> None:
        backend = AsyncSageMakerBackend(Slow("openai"))
        first = asyncio.create_task(backend.ask(ASKED))
        await inside.wait()
        with pytest.raises(errors.ModelTimeoutError, match="format"):
            await backend.ask(ASKED, Attempt(deadline=1.0))
        leave.set()
        assert (await first).text == "Hi!"

    asyncio.run(run())


def test_a_connection_that_broke_late_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise errors.ServerError("the connection was closed")

    cloud = Cloud("openai")
    cloud.send = broken  # type: ignore[method-assign]
    backend = SageMakerBackend(cloud, formats={"*": "openai"})

    def retryable() -> bool:
        with pytest.raises(errors.ServerError) as caught:
            backend.ask(ASKED)
        return caught.value.retryable

    assert retryable()
    monkeypatch.setattr(sagemaker, "_COSTLY", 0.0)
    assert not retryable()
