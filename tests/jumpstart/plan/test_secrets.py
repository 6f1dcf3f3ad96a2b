"""Values that look like secrets are not shown; limits that are called tokens are."""

from __future__ import annotations

from awsllm.jumpstart.plan.plan import Change, Step
from awsllm.jumpstart.plan.secrets import MASK, masked


def test_names_tell() -> None:
    env = {"HF_TOKEN": "a", "DB_PASS": "b", "API_KEY": "c", "MAX_TOTAL_TOKENS": "9", "BYPASS": "on", "EMPTY_TOKEN": ""}
    assert {name for name, value in masked(env).items() if value == MASK} == {"HF_TOKEN", "DB_PASS", "API_KEY"}


def test_what_may_be_logged_holds_none() -> None:
    env = {"HF_TOKEN": "hf_secret", "MAX_TOTAL_TOKENS": "9"}
    request = {"PrimaryContainer": {"Environment": env}, "Containers": [{"Environment": env}]}
    step = Step(id="model", service="sagemaker", operation="CreateModel", request=request, resource="m")
    one = Change(
        action="replace", resource="m", path="PrimaryContainer.Environment.HF_TOKEN", before="hf_secret", after=None
    )
    whole = Change(action="replace", resource="m", path="PrimaryContainer.Environment", before=env, after=env)
    for shown in map(repr, (step, one, whole)):
        assert "hf_secret" not in shown
        assert MASK in shown
    assert "'9'" in repr(step)
    assert step.request == request
