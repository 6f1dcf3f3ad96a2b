"""The events that `awsllm lambda events` prints have the shape of those that AWS sends."""

from typing import Any

import pytest

from awsllm.errors import ConfigurationError
from awsllm.lambdas.emulator.sample_events import SAMPLES, sample
from awsllm.lambdas.http.events import read
from tests.support.lambdas import event

RECORDED = {
    "rest": "rest",
    "http": "http",
    "url": "url",
    "alb": "alb",
    "alb-multi": "alb_multi",
    "websocket": "websocket_message",
    "sqs": "sqs",
}


def shape(value: Any) -> Any:
    """The kinds of a value and of what is in it; headers and the like, by name, are texts or lists."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items()}
    return [shape(member) for member in value] if isinstance(value, list) else type(value).__name__


def strays(made: Any, recorded: Any, where: str = "") -> list[str]:
    """What is in ``made`` and of another kind, or not there at all, in ``recorded``."""
    if not (isinstance(made, dict) and isinstance(recorded, dict)):
        return [] if type(made) is type(recorded) or "NoneType" in (made, recorded) else [where]
    found = [f"{where}.{name}" for name in made if name not in recorded]
    return found + [one for name in made if name in recorded for one in strays(made[name], recorded[name], name)]


@pytest.mark.parametrize("name", RECORDED)
def test_a_sample_has_the_shape_of_the_recorded_event(name: str) -> None:
    made, recorded = sample(name), event(RECORDED[name])
    for open_to_anything in ("headers", "multiValueHeaders", "queryStringParameters", "pathParameters"):
        kinds = {type(one) for one in (recorded.pop(open_to_anything, None) or {}).values()}
        assert {type(one) for one in (made.pop(open_to_anything, None) or {}).values()} <= kinds | {str}
    assert strays(shape(made), shape(recorded)) == []


@pytest.mark.parametrize("name", ["rest", "http", "url", "alb", "alb-multi"])
def test_the_front_doors_read_theirs(name: str) -> None:
    front = read(sample(name, '{"message": "é"}', "/chat"))
    assert (front.door, front.method, front.path) == (name.partition("-")[0], "POST", "/chat")
    assert front.body == '{"message": "é"}'.encode()


def test_values_are_made_for_the_moment() -> None:
    assert all(sample(name) != sample(name) for name in SAMPLES if not name.startswith("alb"))


def test_a_body_is_asked_for_by_name() -> None:
    with pytest.raises(ConfigurationError, match="there is no event 'x'; there are rest"):
        sample("x")
