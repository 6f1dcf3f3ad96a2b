"""A regression gate: the answers of an application are as good as those of a baseline that lies beside the tests.

    pytest examples/evaluation_gate
    python -m examples.evaluation_gate.test_quality     the baseline is written anew, after a change that is wanted

Here a script answers, so that it runs without an account. Without ``mock_aws`` the same tests ask Bedrock; then keep
``max_cost``, and take hundreds of questions, for the gate fails on what is shown to be worse and not on one bad day.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import awsllm
from awsllm.testing import MockAws, mock_aws
from examples.evaluation_gate import shop  # your application

HERE = Path(__file__).parent
QUESTIONS, BASELINE = HERE / "questions.jsonl", HERE / "baseline.json"
Enter = Callable[..., MockAws]
SAYS = {
    "return": "Yes, within 30 days.",
    "shipping take": "It takes 3 days.",
    "warranty": "The warranty is 2 years.",
    "Norway": "No, in this country alone.",
    "wrapped": "Yes, for free.",
    "call": "Until 6 pm.",
}


def reply(request: awsllm.ConverseRequest) -> str:
    """In the model's place: it knows what the prompt tells it."""
    asked = request.messages[-1].text
    told = "Returns" in str(request.system)
    return next(said for about, said in SAYS.items() if about in asked) if told else "Please ask our staff."


def output_words(answer: awsllm.EvaluatedAnswer, case: awsllm.EvaluationCase) -> float:
    return len(answer.text.split())


def evaluated(client: awsllm.Client, prompt: str = shop.PROMPT) -> awsllm.EvaluationResult:
    """Every question asked once, and what is measured of the answers."""
    application = {"shop": lambda question: shop.answer(client, question, prompt)}
    return awsllm.evaluate(application, QUESTIONS, ["contains", output_words], client=client)


@pytest.fixture
def client() -> Iterator[awsllm.Client]:
    with awsllm.Client(region="us-east-1") as client:
        yield client


def test_answers_are_as_good_as_they_were(mock_aws: Enter, client: awsllm.Client) -> None:
    mock_aws(reply=reply)
    awsllm.assert_no_regression(evaluated(client), BASELINE)


def test_a_prompt_that_lost_what_it_knew_is_caught(mock_aws: Enter, client: awsllm.Client) -> None:
    """What the gate is for: it names the metric, and how much worse it is."""
    mock_aws(reply=reply)
    worse = evaluated(client, prompt="Answer for a lamp shop in one short sentence.")
    with pytest.raises(AssertionError, match="contains of shop"):
        awsllm.assert_no_regression(worse, BASELINE)


if __name__ == "__main__":
    with mock_aws(reply=reply), awsllm.Client(region="us-east-1") as made:
        evaluated(made).save(BASELINE)
