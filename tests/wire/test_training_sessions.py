"""Operations of training sessions, both ways; botocore's service model judges what is written."""

from __future__ import annotations

import botocore.session
import msgspec
import pytest
from botocore.validate import ParamValidator

from awsllm.errors import ValidationError
from awsllm.jobs.sessions.remote import RUNTIME, SessionPlan
from awsllm.types import JsonObject
from awsllm.types.training import AdamSettings, SampledSequence, SampleSettings, TrainingDatum, TrainingPass
from awsllm.wire import training_sessions as wire

DATUM = TrainingDatum(
    tokens=(3, 50, 60),
    loss_inputs={
        "target_tokens": (50, 60, 2),
        "weights": (0.0, 1.0, 0.5),
        "advantages": (1.0, -1.0, 0.25),
        "logprobs": (-1.0, -2.0, -0.5),
    },
)


def valid(service: str, operation: str, request: JsonObject) -> JsonObject:
    shape = botocore.session.Session().get_service_model(service).operation_model(operation).input_shape
    report = ParamValidator().validate(request, shape)
    assert not report.has_errors(), report.generate_report()
    result: JsonObject = msgspec.json.decode(msgspec.json.encode(request))
    return result


def submitted(config: JsonObject, operation: str = "ExecuteTrainingOperation") -> JsonObject:
    whole: JsonObject = {"trainingSessionName": "s", "operationConfig": config}
    if operation == "ExecuteTrainingOperation":
        whole |= {"sequenceNumber": 1, "clientToken": "t"}
    read: JsonObject = valid(RUNTIME, operation, whole)["operationConfig"]
    return read


@pytest.mark.parametrize("backward", [True, False])
def test_a_pass_comes_back(backward: bool) -> None:
    config = submitted(wire.encode_pass([DATUM], "ppo", {"clip_low_threshold": 0.5}, backward=backward))
    [(kind, members)] = config.items()
    assert kind == ("forwardBackward" if backward else "forward")
    assert wire.decode_pass(members) == ((DATUM,), "ppo", {"clip_low_threshold": 0.5})


def test_what_a_pass_came_to_comes_back() -> None:
    found = TrainingPass(logprobs=((-1.0, -2.5), ()), metrics={"loss:sum": 3.5}, tokens=2)
    assert wire.decode_pass_result(wire.encode_pass_result(found)) == found
    assert found.loss == 3.5
    assert wire.decode_pass_result({}) == TrainingPass(logprobs=(), metrics={})


def test_a_step_comes_back() -> None:
    adam = AdamSettings(learning_rate=1e-3, beta1=0.8, beta2=0.99, epsilon=1e-9, weight_decay=0.1, clip=2.0)
    assert wire.decode_step(submitted(wire.encode_step(adam))["optimizerStep"]) == adam
    assert wire.decode_step({"adamParamsConfig": {"learningRate": 1e-4}}) == AdamSettings(clip=0.0)
    faster = AdamSettings(plus=16.0)
    assert wire.decode_step(submitted(wire.encode_step(faster))["optimizerStep"]) == faster


@pytest.mark.parametrize(
    "settings",
    [
        SampleSettings(),
        SampleSettings(count=3, max_tokens=600, temperature=0.0, top_p=0.5, top_k=4, seed=7, stop=("x",)),
    ],
)
def test_a_sample_comes_back(settings: SampleSettings) -> None:
    config = submitted(wire.encode_sample((1, 2), settings, "arn:x"), "ExecuteSamplingOperation")
    assert wire.decode_sample(config["sample"]) == ((1, 2), settings, "arn:x")


def test_what_was_sampled_comes_back() -> None:
    found = (SampledSequence(tokens=(5, 6), logprobs=(-0.5, -1.0), stop_reason="stop"), SampledSequence(tokens=()))
    assert wire.decode_sampled(wire.encode_sampled(found, 2)) == found


def test_tokens_are_scored() -> None:
    config = submitted(wire.encode_scoring((1, 2, 3)), "ExecuteSamplingOperation")
    assert wire.decode_tokens(config["computeLogprobs"]["prompt"]) == (1, 2, 3)
    assert wire.decode_scored({"logprobs": [None, -1.0, -2.0]}) == (-1.0, -2.0)
    assert wire.decode_scored(wire.encode_scored((-1.0, -2.0))) == (-1.0, -2.0)


@pytest.mark.parametrize(
    "members",
    [
        {"lossFnName": "ppo", "datumList": [{"modelInput": {"chunks": [{"tokens": ["x"]}]}}]},
        {"lossFnName": "ppo", "datumList": [{"modelInput": {"chunks": [{"tokens": [True]}]}}]},
        {"lossFnName": "ppo", "datumList": [{}]},
        {"datumList": []},
        {"lossFnName": "ppo", "datumList": [{"modelInput": {"chunks": []}, "lossFnInputs": {"a": {"data": "x"}}}]},
    ],
)
def test_what_is_no_pass_is_told(members: JsonObject) -> None:
    with pytest.raises(ValidationError):
        wire.decode_pass(members)


def test_a_session_is_asked_for_as_the_model_says() -> None:
    plan = SessionPlan(
        base="arn:aws:sagemaker:us-east-1:aws:hub-content/SageMakerPublicHub/Model/a-model/1.0.0",
        role="arn:aws:iam::111122223333:role/trainer",
        output="s3://bucket/out/",
        group="arn:aws:sagemaker:us-east-1:111122223333:model-package-group/g",
        tags={"team": "search"},
    )
    valid("sagemaker", "CreateTrainingSession", plan.request())
