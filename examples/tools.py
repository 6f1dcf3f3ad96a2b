"""Python functions as tools: the model asks, the client validates the arguments and runs them, the model answers.

python examples/tools.py [MODEL]
"""

import sys
from typing import Annotated

from pydantic import Field

import awsllm


def get_weather(city: Annotated[str, Field(description="The city's name, for example Oslo")]) -> dict[str, object]:
    """The current weather in a city."""
    return {"city": city, "sky": "clear", "celsius": 21}


def main(model: str = "local:smollm2-135m-instruct") -> None:
    with awsllm.Client() as client:
        reply = client.converse(
            model, "What is the weather in Paris?", tools=[get_weather], tool_choice=get_weather, max_tokens=80
        )
    for message in reply.messages:
        for block in message.content:
            print(f"{message.role}: {block}")


if __name__ == "__main__":
    main(*sys.argv[1:])
