"""Python functions as tools: the model asks, the client validates the arguments and runs them, the model answers.

python examples/tools.py [--model REF]
"""

import argparse
from typing import Annotated

from pydantic import Field

import awsllm


def get_weather(city: Annotated[str, Field(description="The city's name, for example Oslo")]) -> dict[str, object]:
    """The current weather in a city."""
    return {"city": city, "sky": "clear", "celsius": 21}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="local:smollm2-135m-instruct", metavar="REF")
    options = parser.parse_args()
    with awsllm.Client() as client:
        reply = client.converse(
            options.model, "What is the weather in Paris?", tools=[get_weather], tool_choice=get_weather, max_tokens=80
        )
    for message in reply.messages:
        for block in message.content:
            print(f"{message.role}: {block}")


if __name__ == "__main__":
    main()
