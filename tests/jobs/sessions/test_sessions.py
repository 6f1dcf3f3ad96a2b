"""The same loop in two places: on this machine, and in SageMaker as botocore's service model describes it."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import torch
from botocore.validate import ParamValidator

import awsllm
from awsllm.aws.session import AwsSession
from awsllm.engine.train import decoder
from awsllm.engine.train.export import write_gguf
from awsllm.engine.train.lora import Lora
from awsllm.errors import ConfigurationError, ServerError, UnsupportedError, ValidationError
from awsllm.jobs.sessions import remote
from awsllm.jobs.sessions.local import LocalSession
from awsllm.jobs.sessions.remote import RUNTIME, RemoteSession
from awsllm.jobs.sessions.session import TrainingSession
from awsllm.types import JsonObject
from awsllm.wire import training_sessions as wire
from tests.support import tiny_gguf

QUESTION, ANSWER = "Hi", "HiHi"
CONVERSATION = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>{% endif %}"
)
ARN = "arn:aws:sagemaker:us-east-1:aws:hub-content/SageMakerPublicHub/Model/a-model/1.0.0"
PLAN = {"role": "arn:aws:iam::111122223333:role/trainer", "output": "s3://bucket/out/"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights, of which something can be learned."""
    folder = tmp_path_factory.mktemp("model")
    described = tiny_gguf.metadata() | {"tokenizer.chat_template": TEMPLATE}
    still = tiny_gguf.write(folder / "still.gguf", described, says=5)
    torch.manual_seed(0)
    values = {n: torch.randn_like(each) * 0.2 for n, each in decoder.load(still).named_parameters() if each.ndim > 1}
    write_gguf(still, values, folder / "base.gguf", kind="F32")
    return folder / "base.gguf"


class Service:
    """SageMaker's control plane and the sessions' runtime, over a local session; requests are held against botocore."""

    def __init__(self, base: Path, states: list[str]) -> None:
        self.base, self.states, self.calls = base, states, list[tuple[str, JsonObject]]()
        self.place: LocalSession | None = None
        self.results: dict[str, JsonObject] = {}
        self.failure: str | None = None

    def client(self, service: str, session: Any = None) -> Any:
        return _Client(self, service)

    def create_training_session(self, **request: Any) -> JsonObject:
        self.place = LocalSession(self.base, Lora(rank=request["LoraConfig"]["Rank"]))
        return {}

    def describe_training_session(self, **_: Any) -> JsonObject:
        status = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return {"TrainingSessionDetail": {"TrainingSessionStatus": status, "ErrorDetails": "no capacity"}}

    def stop_training_session(self, **_: Any) -> JsonObject:
        self.states = ["Stopping", "Stopped"]
        return {}

    def delete_training_session(self, **_: Any) -> JsonObject:
        return {}

    def execute_training_operation(self, **request: Any) -> JsonObject:
        [(kind, members)] = request["operationConfig"].items()
        assert self.place is not None
        result: JsonObject = {}
        match kind:
            case "forward" | "forwardBackward":
                data, loss, settings = wire.decode_pass(members)
                found = self.place.run(data, loss, settings, backward=kind == "forwardBackward")
                result = wire.encode_pass_result(found)
            case "optimizerStep":
                result = {"metrics": dict(self.place.step(wire.decode_step(members)))}
            case "saveWeights" | "saveState":
                result = {"modelPackageArn": f"arn:aws:sagemaker:us-east-1:111122223333:model-package/g/{kind}"}
        return self._kept({kind: result})

    def execute_sampling_operation(self, **request: Any) -> JsonObject:
        assert self.place is not None
        [(kind, members)] = request["operationConfig"].items()
        if kind == "sample":
            prompt, settings, _ = wire.decode_sample(members)
            return self._kept({kind: wire.encode_sampled(self.place.sample(prompt, settings), len(prompt))})
        if kind == "loadWeightsForSampling":
            return self._kept({kind: {}})
        return self._kept({kind: wire.encode_scored(self.place.logprobs(wire.decode_tokens(members["prompt"])))})

    def _kept(self, result: JsonObject) -> JsonObject:
        operation = f"op-{len(self.results)}"
        done: JsonObject = {"status": "Completed", "operationResult": result}
        self.results[operation] = done if self.failure is None else {"status": "Failed", "errorDetails": self.failure}
        return {"operationId": operation}

    def get_training_operation_result(self, **request: Any) -> JsonObject:
        return self.results[request["operationId"]]

    get_sampling_operation_result = get_training_operation_result


class _Client:
    def __init__(self, service: Service, name: str) -> None:
        self._service, self._model = service, botocore.session.Session().get_service_model(name)

    def __getattr__(self, method: str) -> Any:
        operation = "".join(part.capitalize() for part in method.split("_"))

        def call(**request: Any) -> JsonObject:
            shape = self._model.operation_model(operation).input_shape
            report = ParamValidator().validate(request, shape)
            assert not report.has_errors(), report.generate_report()
            self._service.calls.append((operation, request))
            answer: JsonObject = getattr(self._service, method)(**request)
            return answer

        return call


@pytest.fixture
def service(base: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    made = Service(base, ["Scheduled", "Running"])
    monkeypatch.setattr("awsllm.aws.control.client", made.client)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return made


def open_one(kind: str, base: Path, request: pytest.FixtureRequest) -> TrainingSession:
    if kind == "local":
        return awsllm.Client().training_session(f"local:{base}", rank=4)
    request.getfixturevalue("service")
    return awsllm.Client(region="us-east-1").training_session(ARN, rank=4, tokenizer=base, **PLAN)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_one_loop_learns_in_both_places(kind: str, base: Path, request: pytest.FixtureRequest) -> None:
    with open_one(kind, base, request) as session:
        prompt = session.tokens(QUESTION)
        first = session.forward([CONVERSATION])
        for _ in range(25):
            session.forward_backward([CONVERSATION])
            session.step(learning_rate=1e-2)
        last = session.forward([CONVERSATION])
        assert first.loss is not None
        assert last.loss is not None
        assert last.loss < first.loss / 2
        [drawn] = session.sample(QUESTION, max_tokens=512, temperature=0.0, seed=1)
        assert drawn.text is not None
        assert drawn.text.startswith("Hi")
        assert len(session.logprobs([*prompt, *drawn.tokens])) == len(prompt) + len(drawn.tokens) - 1


def test_what_was_learned_here_answers(base: Path, tmp_path: Path) -> None:
    with awsllm.Client().training_session(f"local:{base}", rank=4) as session:
        for _ in range(40):
            session.forward_backward([CONVERSATION])
            session.step(learning_rate=1e-2)
        state = session.save_state(str(tmp_path / "state"))
        expected = session.forward([CONVERSATION]).loss
        model = session.save(str(tmp_path / "tuned"))
    reply = awsllm.Client().converse(model, QUESTION, temperature=0, max_tokens=8)
    assert reply.text.startswith("HiHi")
    with awsllm.Client().training_session(f"local:{base}", rank=4) as again:
        again.load_state(state)
        assert again.forward([CONVERSATION]).loss == pytest.approx(expected)


def test_a_session_that_was_made_is_stopped_and_deleted(service: Service, base: Path) -> None:
    with awsllm.Client(region="us-east-1").training_session(ARN, tokenizer=base, **PLAN) as session:  # type: ignore[arg-type]
        session.forward_backward([CONVERSATION])
        assert session.save("first") == "arn:aws:sagemaker:us-east-1:111122223333:model-package/g/saveWeights"
        session.load_state(session.save_state())
    numbers = [request["sequenceNumber"] for name, request in service.calls if name == "ExecuteTrainingOperation"]
    assert numbers == [1, 2, 3, 4]
    assert [name for name, _ in service.calls][-1] == "DeleteTrainingSession"
    assert "StopTrainingSession" in [name for name, _ in service.calls]


def test_what_is_sampled_are_the_weights_as_they_are(service: Service, base: Path) -> None:
    """The service samples what was saved: a package is made where something was learned since, and not for each."""
    saved = "arn:aws:sagemaker:us-east-1:111122223333:model-package/g/saveWeights"
    with awsllm.Client(region="us-east-1").training_session(ARN, tokenizer=base, **PLAN) as session:  # type: ignore[arg-type]
        session.sample([1], max_tokens=512)
        session.forward_backward([CONVERSATION])
        session.step()
        session.sample([1], max_tokens=512)
        session.logprobs([1, 2])
        session.forward_backward([CONVERSATION])
        session.step()
        session.sample([1], max_tokens=512)
    sent = [request["operationConfig"] for name, request in service.calls if name.startswith("Execute")]
    kinds = [next(iter(config)) for config in sent]
    saving, once = ["saveWeights", "loadWeightsForSampling", "sample"], ["forwardBackward", "optimizerStep"]
    # The package of the second save has the name of the first here, so it is not loaded again.
    assert kinds == ["sample", *once, *saving, "computeLogprobs", *once, "saveWeights", "sample"]
    packages = [config["sample"].get("modelPackageArn") for config in sent if "sample" in config]
    assert packages == [None, saved, saved]


def test_one_that_nobody_closed_is_named(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="awsllm.jobs"):
        made = RemoteSession.start(AwsSession(region="us-east-1"), remote.checked_plan(ARN, {**PLAN, "name": "mine"}))
        assert "the training session mine is made" in caplog.text
        del made
        gc.collect()
    assert "the training session mine was not closed" in caplog.text


def test_one_that_has_expired_is_left(service: Service, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> JsonObject:
        raise ValidationError("no")

    with awsllm.Client(region="us-east-1").training_session(ARN, tokenizer=base, **PLAN):  # type: ignore[arg-type]
        service.states = ["Expired"]
        monkeypatch.setattr(service, "delete_training_session", refuse)
    assert "StopTrainingSession" not in [name for name, _ in service.calls]


def test_a_session_that_ran_before_goes_on(service: Service, base: Path) -> None:
    service.create_training_session(LoraConfig={"Rank": 4})
    with awsllm.Client(region="us-east-1").training_session(ARN, session="mine", tokenizer=base) as session:
        session.forward([CONVERSATION])
    assert not {"CreateTrainingSession", "StopTrainingSession", "DeleteTrainingSession"} & {n for n, _ in service.calls}


def test_one_that_never_runs_is_told_and_deleted(service: Service, base: Path) -> None:
    service.states = ["Blocked"]
    with pytest.raises(ServerError, match="is Blocked: no capacity"):
        awsllm.Client(region="us-east-1").training_session(ARN, tokenizer=base, **PLAN)  # type: ignore[arg-type]
    service.states = ["Failed"]
    with pytest.raises(ServerError, match="is Failed: no capacity"):
        awsllm.Client(region="us-east-1").training_session(ARN, tokenizer=base, **PLAN)  # type: ignore[arg-type]
    assert [name for name, _ in service.calls][-1] == "DeleteTrainingSession"


def test_one_that_cannot_be_ended_is_named(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> JsonObject:
        raise ServerError("no")

    service.states = ["Failed"]
    monkeypatch.setattr(service, "delete_training_session", refuse)
    with pytest.raises(ServerError) as caught:
        RemoteSession.start(AwsSession(region="us-east-1"), remote.checked_plan(ARN, {**PLAN, "name": "mine"}))
    assert any("the training session mine may still run" in note for note in caught.value.__notes__)


def test_an_operation_that_failed_says_why(service: Service, base: Path) -> None:
    with awsllm.Client(region="us-east-1").training_session(ARN, tokenizer=base, **PLAN) as session:  # type: ignore[arg-type]
        service.failure = "out of memory"
        with pytest.raises(ValidationError, match=r"forwardBackward of the training session .*: Failed: out of memory"):
            session.forward_backward([CONVERSATION])


@pytest.mark.parametrize(
    ("base_model", "options", "message"),
    [
        ("local:x", {"role": "r"}, "role is of SageMaker's sessions"),
        ("local:x", {"rank": 0}, "rank is a whole number"),
        (ARN, {}, "needs role and output"),
        ("bedrock:x", {}, "is no base of a session"),
        (ARN, {**PLAN, "seed": 1, "rankk": 1}, "options are role, output"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_made(
    service: Service, base: Path, base_model: str, options: dict[str, Any], message: str
) -> None:
    base_model = f"local:{base}" if base_model == "local:x" else base_model
    with pytest.raises(ConfigurationError, match=message):
        awsllm.Client(region="us-east-1").training_session(base_model, **options)
    assert not service.calls


def test_tokens_are_all_that_is_taken_without_a_tokenizer(service: Service) -> None:
    with awsllm.Client(region="us-east-1").training_session(ARN, **PLAN) as session:  # type: ignore[arg-type]
        with pytest.raises(UnsupportedError, match="tokenizer="):
            session.sample("Hi")
        [drawn] = session.sample([1, 2], max_tokens=512, temperature=0.0)
        assert drawn.text is None
        with pytest.raises(ValidationError, match="a step's options are"):
            session.step(learning=1)
        with pytest.raises(ValidationError, match="a sample's options are"):
            session.sample([1], tokens=3)


def test_a_conversation_without_an_answer_teaches_nothing(base: Path) -> None:
    with (
        awsllm.Client().training_session(f"local:{base}") as session,
        pytest.raises(ValidationError, match="nothing to learn"),
    ):
        session.forward_backward(["Hi"])
    assert RUNTIME in botocore.session.Session().get_available_services()
