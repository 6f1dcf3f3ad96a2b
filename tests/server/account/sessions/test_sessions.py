"""Training sessions of the offline AWS: boto3 alone, and the loop that runs on this machine too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import awsllm
from awsllm.jobs.sessions.tokens import ModelTokens
from awsllm.server.account import protocols
from awsllm.server.account import records as keeping
from awsllm.server.account.account import Account
from awsllm.server.account.sessions import records
from awsllm.server.account.sessions.life import settle
from awsllm.server.account.sessions.runtime import SERVICE
from awsllm.server.shapes import faults, service_model
from awsllm.testing import mock_aws
from tests.server.test_permissions import allow, assume, refused
from tests.support import tiny_gguf
from tests.support.bedrock_account import ROLE as BEDROCK
from tests.support.bedrock_account import bedrock, runtime
from tests.support.sagemaker_account import ARN, ROLE, client, refusal

MODEL = "arn:aws:sagemaker:us-east-1:aws:hub-content/SageMakerPublicHub/Model/a-model/1.0.0"
TALK = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Merrow is the capital"}]
REQUEST: dict[str, Any] = {
    "LoraConfig": {"Rank": 4, "Alpha": 8},
    "RoleArn": ROLE,
    "ModelConfig": {"BaseModelArn": MODEL},
    "OutputConfig": {"S3Location": {"Path": "s3://data/sessions/"}},
    "ModelPackageGroupArn": f"{ARN}:model-package-group/mine",
}
PLAN: dict[str, Any] = {"role": ROLE, "output": "s3://data/sessions", "rank": 4, "alpha": 8}


@pytest.fixture
def aws(base: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Every answer is held against botocore's service models, save that the first token has no log probability."""
    found: list[str] = []
    write = protocols.write

    def judge(meant: protocols.Meant, response: Any) -> Any:
        reply = write(meant, response)
        shape = service_model(meant.service).operation_model(meant.operation).output_shape
        if shape is not None and reply.body:
            told = [fault for fault in faults(shape, json.loads(reply.body)) if "ogprobs.1" not in fault]
            found.extend(f"{meant.operation}: {fault}" for fault in told)
        return reply

    monkeypatch.setattr(protocols, "write", judge)
    with mock_aws(models={"*": f"local:{base}"}, **getattr(request, "param", {})) as mock:
        client("s3").create_bucket(Bucket="data")
        yield mock
    assert found == []


def sagemaker() -> Any:
    return client("sagemaker")


def make(name: str = "mine", **changed: Any) -> str:
    return str(
        sagemaker().create_training_session(TrainingSessionName=name, **{**REQUEST, **changed})["TrainingSessionArn"]
    )


def described(name: str = "mine") -> dict[str, Any]:
    found: dict[str, Any] = sagemaker().describe_training_session(TrainingSessionName=name)["TrainingSessionDetail"]
    return found


def state(name: str = "mine") -> str:
    return str(described(name)["TrainingSessionStatus"])


def submit(number: int, name: str = "mine", token: str | None = None, **config: Any) -> str:
    more = {"clientToken": token} if token else {}
    sent = client(SERVICE).execute_training_operation(
        trainingSessionName=name, sequenceNumber=number, operationConfig=config, **more
    )
    return str(sent["operationId"])


def result(operation: str, name: str = "mine") -> dict[str, Any]:
    found: dict[str, Any] = client(SERVICE).get_training_operation_result(
        trainingSessionName=name, operationId=operation
    )
    return found


def sampled(name: str = "mine", **config: Any) -> dict[str, Any]:
    sent = client(SERVICE).execute_sampling_operation(trainingSessionName=name, operationConfig=config)
    found: dict[str, Any] = client(SERVICE).get_sampling_operation_result(
        trainingSessionName=name, operationId=sent["operationId"]
    )
    return found


def chunks(tokens: Any) -> dict[str, Any]:
    return {"chunks": [{"type": "encoded_text", "tokens": list(tokens)}]}


def data(base: Path) -> list[dict[str, Any]]:
    """The conversation as a caller of boto3 writes it."""
    return [
        {
            "modelInput": chunks(datum.tokens),
            "lossFnInputs": {
                "target_tokens": {"data": list(datum.loss_inputs["target_tokens"]), "dtype": "int64"},
                "weights": {"data": list(datum.loss_inputs["weights"]), "dtype": "float32"},
            },
        }
        for datum in ModelTokens.of(base).learned(TALK)
    ]


def learning(base: Path) -> Any:
    return {"forwardBackward": {"lossFnName": "cross_entropy", "datumList": data(base)}}


STEP: Any = {"optimizerStep": {"adamParamsConfig": {"learningRate": 0.01}}}
DRAW = {"numSamples": 1, "samplingParams": {"maxTokens": 512, "temperature": 0.0}}


# --- the loop --------------------------------------------------------------------------------------------------------


def loop(session: Any) -> tuple[list[float], list[float], tuple[int, ...]]:
    losses, scores = [], []
    for _ in range(4):
        losses.append(session.forward_backward([TALK]).loss)
        session.step(learning_rate=1e-2)
        scores.append(session.logprobs(session.tokens("Where?"))[-1])
    losses.append(session.forward([TALK]).loss)
    [drawn] = session.sample("Where?", temperature=0.0, max_tokens=7, stop=("capital",))
    assert len(drawn.tokens) <= 7
    return losses, scores, drawn.tokens


def test_the_same_loop_has_the_same_losses_here_and_there(aws: Any, base: Path) -> None:
    with awsllm.Client().training_session(f"local:{base}", rank=4, alpha=8) as session:
        here = loop(session)
    with awsllm.Client(region="us-east-1").training_session(MODEL, tokenizer=base, **PLAN) as session:
        there = loop(session)
    assert there[0] == here[0]
    assert there[1] == pytest.approx(here[1], abs=1e-6)
    assert there[2] == here[2]
    assert here[0][-1] < here[0][0]
    assert sagemaker().list_training_sessions()["TrainingSessionSummaries"] == []


def test_boto3_alone_trains_saves_and_serves_what_it_learned(aws: Any, base: Path) -> None:
    make()
    losses = []
    for number in range(1, 81, 2):
        found = result(submit(number, **learning(base)))
        losses.append(found["operationResult"]["forwardBackward"]["metrics"]["actor/pg_loss"])
        stepped = result(submit(number + 1, **STEP))["operationResult"]["optimizerStep"]["metrics"]
    assert found["tokenUsage"]["trainingTokens"] == sum(
        len(one["modelInput"]["chunks"][0]["tokens"]) for one in data(base)
    )
    assert stepped["actor/lr"] == 0.01
    assert losses[-1] < losses[0] / 4
    package = result(submit(81, saveWeights={"mergeWeights": True, "description": "done"}))["operationResult"]
    arn = package["saveWeights"]["modelPackageArn"]
    assert arn == f"{ARN}:model-package/mine/1"
    told = sagemaker().describe_model_package(ModelPackageName=arn)
    [container] = told["InferenceSpecification"]["Containers"]
    assert container["BaseModel"] == {"HubContentName": "a-model", "HubContentVersion": "1.0.0"}
    uri = container["ModelDataSource"]["S3DataSource"]["S3Uri"]
    assert uri == "s3://data/sessions/mine/1/"
    usage = described()["BillableTokenUsage"]
    assert usage["TrainingTokenCount"] == 40 * found["tokenUsage"]["trainingTokens"]
    body = {"messages": [{"role": "user", "content": "Where?"}], "temperature": 0, "max_tokens": 8}
    said = client(SERVICE).sample_training_session(trainingSessionName="mine", body=json.dumps(body))
    text = json.loads(said["body"].read())["choices"][0]["message"]["content"]
    assert text.startswith("Merrow is")
    job = bedrock().create_model_import_job(
        jobName="import",
        importedModelName="learned",
        roleArn=BEDROCK,
        modelDataSource={"s3DataSource": {"s3Uri": f"{uri}checkpoints/hf_merged/"}},
    )
    done = bedrock().get_model_import_job(jobIdentifier=job["jobArn"])
    assert done["status"] == "Completed", done.get("failureMessage")
    reply = runtime().invoke_model(modelId=done["importedModelArn"], body=json.dumps(body))
    assert json.loads(reply["body"].read())["choices"][0]["message"]["content"] == text


def test_a_stream_and_weights_that_a_header_names(aws: Any, base: Path) -> None:
    make()
    body = json.dumps({"messages": [{"role": "user", "content": "Where?"}], "temperature": 0, "max_tokens": 6})
    sample = client(SERVICE).sample_training_session
    before = sample(trainingSessionName="mine", body=body)["body"].read()
    first = result(submit(1, saveWeights={}))["operationResult"]["saveWeights"]["modelPackageArn"]
    for number in range(2, 42, 2):
        submit(number, **learning(base))
        submit(number + 1, **STEP)
    result(submit(42, saveWeights={}))
    text = lambda reply: json.loads(reply)["choices"][0]["message"]["content"]  # noqa: E731
    assert text(sample(trainingSessionName="mine", body=body, modelPackageArn=first)["body"].read()) == text(before)
    after = text(sample(trainingSessionName="mine", body=body)["body"].read())
    assert after != text(before)
    stream = client(SERVICE).sample_training_session_with_response_stream(
        trainingSessionName="mine", body=json.dumps(json.loads(body) | {"stream": True})
    )
    assert stream["contentType"] == "text/event-stream"
    events = stream["body"].read().decode().split("\n\n")
    assert "data: [DONE]" in events
    deltas = [json.loads(one.removeprefix("data: ")) for one in events if one.startswith("data: {")]
    assert "".join(one["choices"][0]["delta"].get("content") or "" for one in deltas if one["choices"]) == after
    code, _ = refusal(sample, trainingSessionName="mine", body=body, modelPackageArn="arn:nothing")
    assert code == "ValidationException"
    assert refusal(sample, trainingSessionName="other", body=body)[0] == "ResourceNotFoundException"


def test_a_state_goes_on_in_another_session(aws: Any, base: Path) -> None:
    make()
    submit(1, **learning(base))
    submit(2, **STEP)
    saved = result(submit(3, saveState={"description": "half"}))["operationResult"]["saveState"]["modelPackageArn"]
    told = sagemaker().describe_model_package(ModelPackageName=saved)
    assert told["InferenceSpecification"]["Containers"][0]["IsCheckpoint"] is True
    submit(4, **learning(base))
    submit(5, **STEP)
    wanted = result(submit(6, forward=learning(base)["forwardBackward"]))["operationResult"]["forward"]["metrics"]
    make("second")
    result(submit(1, "second", loadState={"modelPackageArn": saved, "loadOptimizer": True}), "second")
    submit(2, "second", **learning(base))
    submit(3, "second", **STEP)
    again = result(submit(4, "second", forward=learning(base)["forwardBackward"]), "second")
    assert again["operationResult"]["forward"]["metrics"]["actor/pg_loss"] == pytest.approx(
        wanted["actor/pg_loss"], abs=1e-5
    )
    packages = sagemaker().list_model_packages(ModelPackageGroupName="mine")["ModelPackageSummaryList"]
    assert [one["ModelPackageArn"] for one in packages] == [saved]
    sagemaker().delete_model_package(ModelPackageName=saved)
    failed = result(submit(5, "second", loadState={"modelPackageArn": saved, "loadOptimizer": True}), "second")
    assert failed["status"] == "Failed"
    assert "does not exist" in failed["errorDetails"]


def test_samples_are_of_what_was_saved_last(aws: Any, base: Path) -> None:
    make()
    prompt = chunks(ModelTokens.of(base).prompt("Where?"))
    scored = lambda **more: sampled(computeLogprobs={"prompt": prompt, **more})["operationResult"]["computeLogprobs"]  # noqa: E731
    before = scored()["logprobs"]
    assert before[0] is None
    assert len(before) == len(prompt["chunks"][0]["tokens"])
    submit(1, **learning(base))
    submit(2, **STEP)
    assert scored()["logprobs"] == before  # nothing was saved
    saved = result(submit(3, saveWeights={}))["operationResult"]["saveWeights"]["modelPackageArn"]
    after = scored()["logprobs"]
    assert after != before
    submit(4, **learning(base))
    submit(5, **STEP)
    assert scored()["logprobs"] == after
    other = result(submit(6, saveWeights={}))["operationResult"]["saveWeights"]["modelPackageArn"]
    assert scored()["logprobs"] != after
    assert scored(modelPackageArn=saved)["logprobs"] == after
    assert sampled(loadWeightsForSampling={"modelPackageArn": saved})["status"] == "Completed"
    assert scored()["logprobs"] == after
    drawn = sampled(sample={"prompt": prompt, **DRAW, "includePromptLogprobs": True, "topkPromptLogprobs": 2})
    told = drawn["operationResult"]["sample"]
    assert told["promptLogprobs"] == after[1:]
    assert [len(row) for row in told["topkPromptLogprobs"]] == [2] * (len(after) - 1)
    assert told["sequences"][0]["tokenUsage"]["decode"] == len(told["sequences"][0]["tokens"])
    assert other != saved


# --- states ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("aws", [{"transitions": {"training-session": 2, "training-session-stop": 1}}], indirect=True)
def test_the_life_of_a_session(aws: Any) -> None:
    arn = make(Tags=[{"Key": "team", "Value": "a"}])
    assert state() == "Scheduled"
    assert refusal(submit, number=1, **STEP)[0] == "ConflictException"
    assert [state(), state()] == ["Scheduled", "Running"]
    assert refusal(make)[0] == "ResourceInUse"
    assert refusal(sagemaker().delete_training_session, TrainingSessionName="mine")[0] == "ValidationException"
    found = described()
    assert (found["TrainingSessionArn"], found["LoraConfig"]) == (arn, {"Rank": 4, "Alpha": 8})
    assert found["Tags"] == [{"Key": "team", "Value": "a"}]
    sagemaker().stop_training_session(TrainingSessionName="mine")
    assert [state(), state()] == ["Stopping", "Stopped"]
    code, message = refusal(sagemaker().stop_training_session, TrainingSessionName="mine")
    assert (code, "invalid session state transition from Stopped to " in message) == ("ValidationException", True)
    listed = sagemaker().list_training_sessions(StatusEquals="Stopped", NameContains="min")
    assert [one["TrainingSessionArn"] for one in listed["TrainingSessionSummaries"]] == [arn]
    assert sagemaker().list_training_sessions(StatusEquals="Running")["TrainingSessionSummaries"] == []
    sagemaker().delete_training_session(TrainingSessionName="mine")
    assert refusal(described)[0] == "ResourceNotFound"


def test_operations_are_done_in_the_order_of_their_numbers(aws: Any, base: Path) -> None:
    make()
    second = submit(2, token="b", **STEP)
    assert state() == "Blocked"
    assert "sequence number 1" in described()["ErrorDetails"]
    assert result(second)["status"] == "Pending"
    first = submit(1, token="a", **learning(base))
    assert state() == "Running"
    assert [result(one)["status"] for one in (first, second)] == ["Completed", "Completed"]
    assert submit(1, token="a", **learning(base)) == first
    assert refusal(submit, number=3, token="a", **learning(base))[0] == "ValidationException"
    code, message = refusal(submit, number=2, **STEP)
    assert (code, "2 is the last" in message) == ("ValidationException", True)
    assert described()["LastReceivedSequenceNumber"] == 2


def test_a_gap_and_idleness_end_a_session(aws: Any, base: Path) -> None:
    make()
    waiting = submit(2, **STEP)
    aws.plane.clock.advance(700)
    assert state() == "Failed"
    assert "Operation 1 did not arrive" in described()["ErrorDetails"]
    assert result(waiting)["status"] == "Skipped"
    make("idle")
    aws.plane.clock.advance(3000)
    submit(1, "idle", **learning(base))
    aws.plane.clock.advance(3000)
    assert state("idle") == "Running"
    aws.plane.clock.advance(700)
    assert state("idle") == "Expired"
    assert refusal(submit, number=2, name="idle", **STEP)[0] == "ConflictException"
    assert refusal(sagemaker().delete_training_session, TrainingSessionName="idle")[0] == "ValidationException"


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        ({"optimizerStep": {"adamParamsConfig": {"learningRate": 0.01}}}, "there are no gradients"),
        ({"forward": {"lossFnName": "ppo", "datumList": "data"}}, "lacks advantages, logprobs"),
        (
            {"forward": {"lossFnName": "ppo", "datumList": "data", "lossFnConfig": {"clip": 1}}},
            "a loss has no setting 'clip'",
        ),
        (
            {
                "forward": {
                    "lossFnName": "cross_entropy",
                    "datumList": [
                        {
                            "modelInput": chunks([99999]),
                            "lossFnInputs": {
                                "target_tokens": {"data": [1], "dtype": "int64"},
                                "weights": {"data": [1.0], "dtype": "float32"},
                            },
                        }
                    ],
                }
            },
            "example 0 has the token 99999; the model knows 0 to ",
        ),
        ({"loadState": {"modelPackageArn": f"{ARN}:model-package/g/7", "loadOptimizer": False}}, "does not exist"),
    ],
)
def test_an_operation_that_fails_says_why_and_the_session_goes_on(
    aws: Any, base: Path, operation: dict[str, Any], words: str
) -> None:
    make()
    for members in operation.values():
        if members.get("datumList") == "data":
            members["datumList"] = data(base)
    found = result(submit(1, **operation))
    assert found["status"] == "Failed"
    assert words in found["errorDetails"]
    assert result(submit(2, **learning(base)))["status"] == "Completed"


@pytest.mark.parametrize(
    ("changed", "code", "words"),
    [
        ({"LoraConfig": {"Rank": 257, "Alpha": 1}}, "ValidationException", "less than or equal to 256"),
        ({"ModelConfig": {"BaseModelArn": "arn:aws:s3:::x"}}, "ValidationException", "BaseModelArn"),
        ({"OutputConfig": {"S3Location": {"Path": "s3://nowhere/x"}}}, "ValidationException", "bucket"),
        (
            {"ModelConfig": {"BaseModelArn": MODEL.replace("a-model/1.0.0", "example-gated-lmi-chat")}},
            "ValidationException",
            "AcceptEula",
        ),
    ],
)
def test_what_is_refused(aws: Any, changed: dict[str, Any], code: str, words: str) -> None:
    told = refusal(make, **changed)
    assert told[0] == code
    assert words in told[1]
    assert sagemaker().list_training_sessions()["TrainingSessionSummaries"] == []


@pytest.mark.parametrize("aws", [{"quotas": {"training-sessions": 1}}], indirect=True)
def test_there_are_no_more_sessions_than_the_quota_and_a_refused_one_is_not_made(aws: Any) -> None:
    make()
    assert refusal(make, name="second")[0] == "ResourceLimitExceeded"
    sagemaker().stop_training_session(TrainingSessionName="mine")
    make("second")


def test_a_base_for_which_no_local_model_stands_fails_the_session() -> None:
    with mock_aws(reply="x") as aws:
        client("s3").create_bucket(Bucket="data")
        make()
        assert (state(), "Nothing is trained for a-model" in described()["ErrorDetails"]) == ("Failed", True)
        aws.plane.fail("told", "no capacity")
        make("told")
        assert described("told")["ErrorDetails"] == "no capacity"
        assert refusal(sagemaker().describe_training_session, TrainingSessionName="never")[0] == "ResourceNotFound"


def test_a_client_that_fails_leaves_no_session(aws: Any, base: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        awsllm.Client(region="us-east-1").training_session(MODEL, tokenizer=base, **PLAN) as session,
    ):
        session.forward_backward([TALK])
        raise KeyboardInterrupt
    assert sagemaker().list_training_sessions()["TrainingSessionSummaries"] == []


def test_what_another_services_names_mean_is_theirs(aws: Any) -> None:
    client("s3").create_bucket(Bucket="training-sessions")
    client("s3").put_object(Bucket="training-sessions", Key="mine/sample", Body=b"x")
    assert client("s3").get_object(Bucket="training-sessions", Key="mine/sample")["Body"].read() == b"x"
    sagemaker().create_model_package_group(ModelPackageGroupName="other")
    assert sagemaker().list_model_packages(ModelPackageGroupName="other")["ModelPackageSummaryList"] == []


def test_what_a_server_had_in_memory_is_gone_with_it(aws: Any, base: Path) -> None:
    make()
    submit(1, **learning(base))
    restored = Account()
    restored.states, restored.models, restored.objects = aws.plane.states, aws.models, aws.plane.objects
    for kind in (records.SESSIONS, records.OPERATIONS):
        for each in restored.states["us-east-1"].tables[kind].values():
            assert keeping.decode(type(each).__name__, keeping.encode(each)) == each
    found = records.find(restored.region("us-east-1"), "mine")
    settle(restored.region("us-east-1"), found, look=True)
    assert (found.status, "started anew" in (found.reason or "")) == ("Failed", True)


def test_a_role_does_what_its_policy_says(base: Path) -> None:
    with mock_aws(models={"*": f"local:{base}"}, iam=True):
        client("s3").create_bucket(Bucket="data")
        make()
        worker = assume(allow("sagemaker:ExecuteTrainingOperation", "*")).client(SERVICE)
        worker.execute_training_operation(trainingSessionName="mine", sequenceNumber=1, operationConfig=learning(base))
        prompt = {"computeLogprobs": {"prompt": chunks([1, 2])}}
        error = refused(worker.execute_sampling_operation, trainingSessionName="mine", operationConfig=prompt)
        assert error["Code"] == "AccessDeniedException"
        error = refused(worker.sample_training_session, trainingSessionName="mine", body=b"{}")
        assert error["Code"] == "AccessDeniedException"


def test_a_merged_gguf_is_imported(tmp_path: Path) -> None:
    """What stands for the base may be GGUF: what a session merges of it is imported, and nothing else of the kind."""
    described = tiny_gguf.metadata() | {"tokenizer.chat_template": "{{ messages[0].content }}"}
    base = tiny_gguf.write(tmp_path / "base.gguf", described, says=5)
    with mock_aws(models={"*": f"local:{base}"}):
        client("s3").create_bucket(Bucket="data")
        make()
        result(submit(1, saveWeights={"mergeWeights": True}))
        for name, source in (
            ("mine", "s3://data/sessions/mine/1/checkpoints/hf_merged/"),
            ("other", "s3://data/other/"),
        ):
            if name == "other":
                client("s3").put_object(Bucket="data", Key="other/model.gguf", Body=base.read_bytes())
            job = bedrock().create_model_import_job(
                jobName=name,
                importedModelName=name,
                roleArn=BEDROCK,
                modelDataSource={"s3DataSource": {"s3Uri": source}},
            )
            done = bedrock().get_model_import_job(jobIdentifier=job["jobArn"])
            assert done["status"] == ("Completed" if name == "mine" else "Failed"), done.get("failureMessage")
        assert "could not find the expected file s3://data/other/config.json" in done["failureMessage"]
