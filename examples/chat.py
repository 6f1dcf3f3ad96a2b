"""A conversation: the history is a list of messages, and each answer's messages are added to it.

python examples/chat.py [MODEL]
"""

import sys

import awsllm


def main(model: str = "local:smollm2-135m-instruct") -> None:
    history: list[awsllm.Message] = []
    with awsllm.Client() as client:
        for question in ("My name is Ada. What is a compiler?", "What is my name?"):
            history.append(awsllm.Message.user(question))
            reply = client.converse(model, history, system="Answer in one sentence.", max_tokens=60)
            history.extend(reply.messages)
            print(f"> {question}\n{reply.text}")
            print(f"  [{reply.usage.input_tokens} tokens in, {reply.usage.output_tokens} out, {reply.stop_reason}]")


if __name__ == "__main__":
    main(*sys.argv[1:])
