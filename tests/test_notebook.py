"""What a notebook shows of values: a table of what is known, and no text of anybody's as HTML."""

from html.parser import HTMLParser

import pytest
from msgspec.structs import replace

import awsllm
from awsllm.infra.change_sets import PropertyChange, ResourceChange, StackPlan
from awsllm.infra.templates import IdleCost
from awsllm.jumpstart.plan.plan import Change, Changes, Plan
from awsllm.notebook import table
from awsllm.testing import mock_aws

EVIL = "<script>alert('x')</script>&<img src=x onerror=alert(1)>"


class Cells(HTMLParser):
    """Rows of cells, the tags that there are, and every address."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert {name for name, _ in attrs} <= {"style"}
        if tag in ("tr", "caption"):
            self.rows.append([])
        if tag in ("td", "th", "caption"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.rows[-1][-1] += data


def cells(value: object) -> list[list[str]]:
    return checked(value._repr_html_())  # type: ignore[attr-defined]


def checked(html: str) -> list[list[str]]:
    found = Cells(html)
    assert found.tags <= {"table", "caption", "tr", "th", "td"}
    return found.rows


def test_every_text_of_a_table_is_escaped() -> None:
    rows = checked(table([[EVIL, EVIL]], caption=EVIL, header=[EVIL]))
    assert rows == [[EVIL], [EVIL], [EVIL, EVIL]]


def test_usage_shows_what_is_known() -> None:
    usage = awsllm.Usage(input_tokens=1200, output_tokens=0, cache_read_input_tokens=7)
    assert cells(usage) == [["tokens"], ["in", "1,200"], ["out", "0"], ["read from the cache", "7"]]
    assert cells(awsllm.Usage(estimated=True)) == [["estimated tokens"]]


def test_a_response_shows_its_answer_and_what_it_cost() -> None:
    use = awsllm.ToolUse("1", "f", {"x": EVIL})
    response = awsllm.ConverseResponse(
        message=awsllm.Message("assistant", (awsllm.Text(EVIL), use)),
        stop_reason="tool_use",
        usage=awsllm.Usage(input_tokens=3, estimated=True),
        model="bedrock:x",
        cost=0.00012,
        warnings=("seed was left out",),
    )
    assert cells(response) == [
        ["bedrock:x"],
        ["answer", EVIL],
        ["tool use", f"f {use.input}"],
        ["stop reason", "tool_use"],
        ["tokens", "3 in (estimated)"],
        ["cost", "$0.000120"],
        ["warning", "seed was left out"],
    ]
    assert ["cost", "unknown"] in cells(replace(response, cost=None))


@pytest.fixture
def plan() -> Plan:
    with mock_aws(reply="x"):
        jumpstart = awsllm.Client(region="us-east-1").jumpstart
        env = {"API_KEY": "s3cret"}
        return jumpstart.plan("example-open-tgi-instruct", role="arn:aws:iam::123456789012:role/r", env=env)


def test_a_plan_shows_its_cost_and_its_steps_but_no_secret(plan: Plan) -> None:
    rows = cells(plan)
    assert rows[0] == [str(plan).splitlines()[0]]
    assert [row[1] for row in rows if row[0] == "cost"] == [
        line[13:] for line in str(plan).splitlines() if "cost" in line
    ]
    assert [row[1:3] for row in rows[-len(plan.steps) :]] == [[step.operation, step.resource] for step in plan.steps]
    assert "s3cret" not in plan._repr_html_()


def test_a_comparison_shows_what_changes_but_no_secret(plan: Plan) -> None:
    steps = plan.steps
    assert plan.diff(steps) == tuple(plan.diff(steps))  # a tuple, as ever
    assert cells(plan.diff(steps)) == [["changes", "none"]]
    made = cells(plan.diff(()))
    assert made[0] == ["action", "resource", "member", "before", "after"]
    assert made[1:] == [["create", step.resource, "", "", ""] for step in steps]
    path = "PrimaryContainer.Environment.API_KEY"
    changed = Changes((Change(action="update", resource="m", path=path, before="s3cret", after="n3w"),))
    assert cells(changed)[1] == ["update", "m", path, "****", "****"]


def test_a_stack_shows_its_changes_and_its_cost() -> None:
    member = PropertyChange(path="Name", before="a", after=EVIL)
    change = ResourceChange(action="modify", resource="Queue", type="AWS::SQS::Queue", properties=(member,))
    plan = StackPlan(
        stack="s", region="eu-west-1", template="t", action="update", changes=(change,), warnings=("mind",)
    )
    rows = cells(plan)
    assert rows[0] == ["t as s in eu-west-1: changes"]
    assert rows[1:3] == [["idle cost", "not known"], ["warning", "mind"]]
    assert rows[3] == ["action", "resource", "type", "members"]
    assert rows[4][:2] == ["modify", "Queue"]
    assert rows[4][3].startswith("Name: a -> <script>")
    assert cells(replace(plan, cost=IdleCost(usd_per_month=1.0)))[1] == ["idle cost", "$1.00 a month"]
