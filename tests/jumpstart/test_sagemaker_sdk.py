"""awsllm's plans beside what the SageMaker Python SDK itself sends for the same documents.

The SDK's requests were recorded by ``record_sagemaker_sdk.py`` with sagemaker 3.27; where the SDK is installed, a test
records them again. Every difference is in ``EXPLAINED`` with its reason, and each is still there: an explanation that
explains nothing fails, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import awsllm
from awsllm.jumpstart.hub.document import read_description
from awsllm.jumpstart.interop import read_model
from awsllm.jumpstart.plan.plan import Plan, PlanContext
from awsllm.jumpstart.plan.planner import make_plan
from awsllm.jumpstart.prices import Prices
from awsllm.testing import mock_aws
from tests.support.data import DATA

ALL = sorted((DATA / "sagemaker_sdk").glob("*.json"))
PACKAGE = DATA / "sagemaker_sdk" / "example-cohere-command+package.json"
RECORDS = [path for path in ALL if path != PACKAGE]
ROLE = "arn:aws:iam::111122223333:role/r"

NAMES = "names are awsllm's own: a digest of the request makes applying twice make nothing twice"
TAGS = "awsllm's own tags, and those of SDK version 2, by which an endpoint's model is known"
EMPTY = "the SDK sets a variable to nothing, which containers read as if it were not set"
TIMES = "the document's timeouts and AMI: the SDK drops them without an instance type (aws/sagemaker-python-sdk#5847)"
DRAFT = "a draft model has a licence of its own: where the caller accepts, it is accepted too; the SDK does not say so"
ROUTING = "requests go to the copy with the fewest under way"

EXPLAINED: dict[str, dict[str, str]] = {
    "CreateModel": {
        "ModelName": NAMES,
        "Tags": TAGS,
        "PrimaryContainer.Environment.SAGEMAKER_SUBMIT_DIRECTORY": EMPTY,
        "PrimaryContainer.Environment.SAGEMAKER_PROGRAM": EMPTY,
        "PrimaryContainer.AdditionalModelDataSources.0.S3DataSource.ModelAccessConfig": DRAFT,
    },
    "CreateEndpointConfig": {
        "EndpointConfigName": NAMES,
        "Tags": TAGS,
        "ProductionVariants.0.ModelName": NAMES,
        "ProductionVariants.0.ModelDataDownloadTimeoutInSeconds": TIMES,
        "ProductionVariants.0.ContainerStartupHealthCheckTimeoutInSeconds": TIMES,
        "ProductionVariants.0.InferenceAmiVersion": TIMES,
        "ProductionVariants.0.RoutingConfig": ROUTING,
    },
    "CreateEndpoint": {"EndpointConfigName": NAMES, "Tags": TAGS},
    "CreateInferenceComponent": {
        "Tags": TAGS,
        "Specification.ModelName": NAMES,
        "Specification.StartupParameters": TIMES,
    },
}


def planned(case: str) -> Plan:
    model_id, _, mode = case.partition("+")
    description = json.loads((DATA / "jumpstart" / f"{model_id}.json").read_text(encoding="utf-8"))
    document = read_description(description, region="us-east-1")
    options: dict[str, Any] = {"name": "e", "role": ROLE, "accept_eula": True}
    if mode == "components":
        options["components"] = {"copies": 1, "memory_mb": 24576, "accelerators": 1}
    context = PlanContext(region="us-east-1", role=ROLE, prices=Prices.default(), account="111122223333")
    return make_plan(document, options, context)


def differences(ours: Any, theirs: Any, path: str = "") -> dict[str, tuple[Any, Any]]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found: dict[str, tuple[Any, Any]] = {}
        for name in ours.keys() | theirs.keys():
            below = f"{path}.{name}" if path else name
            found |= differences(ours.get(name), theirs.get(name), below)
        return found
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs) and path != "Tags":
        return {
            k: v
            for i, pair in enumerate(zip(ours, theirs, strict=True))
            for k, v in differences(*pair, f"{path}.{i}").items()
        }
    return {} if ours == theirs else {path: (ours, theirs)}


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_the_plan_asks_for_what_the_sdk_asks_for(record: Path) -> None:
    recorded = json.loads(record.read_text(encoding="utf-8"))
    ours = {step.operation: step.request for step in planned(record.stem).steps}
    for call in recorded:
        operation, theirs = call["operation"], call["request"]
        unexplained = {
            path: values
            for path, values in differences(ours[operation], theirs).items()
            if not any(path == known or path.startswith(f"{known}.") for known in EXPLAINED[operation])
        }
        assert not unexplained, operation
    assert [call["operation"] for call in recorded] == [s.operation for s in planned(record.stem).steps]


def test_every_explanation_explains_something() -> None:
    seen: set[tuple[str, str]] = set()
    for record in RECORDS:
        ours = {step.operation: step.request for step in planned(record.stem).steps}
        for call in json.loads(record.read_text(encoding="utf-8")):
            operation = call["operation"]
            for path in differences(ours[operation], call["request"]):
                seen |= {
                    (operation, known)
                    for known in EXPLAINED[operation]
                    if path == known or path.startswith(f"{known}.")
                }
    assert seen == {(operation, path) for operation, paths in EXPLAINED.items() for path in paths}


def test_a_marketplace_model_is_the_package_that_the_sdk_finds() -> None:
    (recorded,) = json.loads(PACKAGE.read_text(encoding="utf-8"))
    ours = next(step.request for step in planned(PACKAGE.stem).steps if step.operation == "CreateModel")
    assert ours["PrimaryContainer"] == recorded["request"]["PrimaryContainer"]


def test_a_model_without_a_licence_is_not_asked_to_accept_one() -> None:
    records = {path.stem: path.read_text(encoding="utf-8") for path in RECORDS}
    assert "ModelAccessConfig" not in records["example-open-tgi-instruct"]
    assert '"AcceptEula": true' in records["example-gated-lmi-chat"]


class FakeConfig:
    """The fields of ``sagemaker.core.jumpstart.configs.JumpStartConfig``, 3.27."""

    model_id = "example-gated-lmi-chat"
    model_version = "1.*"
    hub_name = None
    hub_content_name = None
    accept_eula = True
    training_config_name = None
    inference_config_name = "lmi"


def test_a_config_is_read_without_the_sdk() -> None:
    assert read_model(FakeConfig()) == (
        "example-gated-lmi-chat",
        {"version": "1.*", "config": "lmi", "accept_eula": True},
    )


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("sagemaker"), reason="needs pip install 'awsllm[sagemaker]'")
@pytest.mark.parametrize("record", ALL, ids=lambda path: path.stem)
def test_the_record_is_what_the_sdk_sends(record: Path, tmp_path: Path) -> None:
    script = Path(__file__).parent.parent / "support/record_sagemaker_sdk.py"
    subprocess.run([sys.executable, str(script), record.stem, str(tmp_path)], check=True, capture_output=True)
    fresh = json.loads((tmp_path / record.name).read_text(encoding="utf-8"))
    assert _without_names(fresh) == _without_names(json.loads(record.read_text(encoding="utf-8")))


def _without_names(calls: Any) -> str:
    """The SDK names a model at random."""
    name = next(call["request"].get("ModelName") for call in calls if call["operation"] == "CreateModel")
    return json.dumps(calls).replace(name or "MODEL", "MODEL")


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("sagemaker"), reason="needs pip install 'awsllm[sagemaker]'")
def test_the_sdks_own_config_is_read() -> None:
    from sagemaker.core.jumpstart.configs import JumpStartConfig

    config = JumpStartConfig(model_id="m", model_version="2.0.0", accept_eula=True, inference_config_name="lmi")
    assert read_model(config) == ("m", {"version": "2.0.0", "config": "lmi", "accept_eula": True})


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("sagemaker"), reason="needs pip install 'awsllm[sagemaker]'")
def test_an_endpoint_is_handed_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    with mock_aws(reply="Hi"):
        model = awsllm.Client(region="us-east-1").jumpstart.deploy("example-open-tgi-instruct", role=ROLE)
        endpoint = model.sagemaker_endpoint()
        assert (endpoint.endpoint_name, endpoint.endpoint_status) == (model.endpoint, "InService")
        answer = endpoint.invoke(body='{"inputs": "Hi"}', content_type="application/json")
        assert json.loads(answer.body.read()) == [{"generated_text": "Hi"}]
