"""A conversation: the history is a list of messages, and each answer's messages are added to it.

python examples/chat.py [--model REF]
"""

import argparse

import awsllm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="local:smollm2-135m-instruct", metavar="REF")
    options = parser.parse_args()
    history: list[awsllm.Message] = []
    with awsllm.Client() as client:
        for question in ("My name is Ada. What is a compiler?", "What is my name?"):
            history.append(awsllm.Message.user(question))
            reply = client.converse(options.model, history, system="Answer in one sentence.", max_tokens=60)
            history.extend(reply.messages)
            print(f"> {question}\n{reply.text}")
            print(f"  [{reply.usage.input_tokens} tokens in, {reply.usage.output_tokens} out, {reply.stop_reason}]")


if __name__ == "__main__":
    main()
