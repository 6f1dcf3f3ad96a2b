"""Groups against AWS as it is on a bad day, by the faults of ``awsllm.testing``: calls made, lost, generated twice."""

from __future__ import annotations

import asyncio

import pytest

import awsllm
from awsllm.models.references import Reference, parse_reference
from awsllm.policy.groups import MOVES
from awsllm.testing import mock_aws, server
from awsllm.testing.faults import cut, error, throttle

FIRST, SECOND = "amazon.nova-lite-v1:0", "amazon.nova-pro-v1:0"
GROUP = awsllm.Group([f"bedrock:{FIRST}", f"bedrock:{SECOND}"], breaker=None)
POLICY = awsllm.Policy(max_attempts=3, base_delay=0, retries_a_second=1000)
CALLS = 100


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def test_of_a_hundred_calls_none_is_lost_in_a_storm_and_none_is_generated_twice() -> None:
    """Half the calls of the first model are throttled or fail; what fails so has not been generated."""
    faults = [
        throttle(model=FIRST, probability=0.3, seed=1),
        error("ServiceUnavailableException", model=FIRST, probability=0.2, seed=2),
    ]
    generated: list[str] = []

    def reply(request: awsllm.ConverseRequest) -> str:
        generated.append(request.model)
        return "Hello."

    lost = 0
    with mock_aws(reply=reply, faults=faults), awsllm.Client(region="us-east-1", policy=POLICY) as client:
        tries = []
        for number in range(CALLS):
            try:
                if number % 2:
                    response = client.converse_stream(GROUP, "Hi").response
                else:
                    response = client.converse(GROUP, "Hi")
            except awsllm.AwsllmError:
                lost += 1
            else:
                tries.append(len(response.attempts))
    assert lost == 0
    assert len(generated) == CALLS  # nothing was paid for twice
    moved = sum(made > 1 for made in tries)
    assert 30 < moved < 60
    assert generated.count(SECOND) == moved
    assert sum(tries) == CALLS + moved  # one more request for each call that moved


def test_a_cut_answer_is_generated_twice_only_where_that_is_allowed() -> None:
    """Over sockets: the connection ends in the middle of the first model's answer."""
    generated: list[str] = []

    def reply(request: awsllm.ConverseRequest) -> str:
        generated.append(request.model)
        return "Hello."

    async def ask(url: str, group: awsllm.Group) -> awsllm.ConverseResponse:
        async with awsllm.AsyncClient(region="us-east-1", endpoint_url=url, policy=POLICY) as client:
            return await client.converse(group, "Hi")

    allowed = awsllm.Group(GROUP.models, on=(*MOVES, "timeout"))
    with server(reply=reply, faults=[cut(at=30, model=FIRST)]) as aws:
        with awsllm.Client(region="us-east-1", endpoint_url=aws.url, policy=POLICY) as client:
            with pytest.raises(awsllm.ServerError) as caught:
                client.converse(GROUP, "Hi")
            assert caught.value.may_have_run
            assert generated == [FIRST]
            assert client.converse(allowed, "Hi").attempts[-1].model == f"bedrock:{SECOND}"
        assert generated == [FIRST, FIRST, SECOND]
        assert asyncio.run(ask(aws.url, allowed)).text == "Hello."
        assert generated == [FIRST, FIRST, SECOND, FIRST, SECOND]


def test_a_member_is_called_as_its_role_in_its_region() -> None:
    role = "arn:aws:iam::444455556666:role/models"
    member = awsllm.GroupMember(f"bedrock:{FIRST}", region="us-west-2", role=role)
    assert member.reference == Reference("bedrock", FIRST, "us-west-2", role)
    with mock_aws(reply="Hello."), awsllm.Client(region="us-east-1") as client:
        response = client.converse([member, f"bedrock:{FIRST}"], "Hi")
        assert [made.region for made in response.attempts] == ["us-west-2"]
        session = client._settings.session_of(member.reference)
        other = client._settings.session_of(Reference("bedrock", FIRST, "eu-west-1", role))
        assert (session.region, other.region) == ("us-west-2", "eu-west-1")
        assert session.credentials().access_key.startswith("ASIA")  # a session's
        assert session.credentials() == other.credentials()
        own = client._settings.session_of(parse_reference(f"bedrock:{FIRST}"))
        assert not own.credentials().access_key.startswith("ASIA")
        assert {key[1:] for key in client._backends._made} == {("us-west-2", role)}
