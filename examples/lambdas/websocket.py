"""A chat over API Gateway's WebSocket API: pieces of the answer are sent to the connection as they come.

awsllm lambda events websocket --body '{"message": "Hello"}' > event.json      # put the ids of a connection into it
awsllm lambda invoke event.json --handler examples.lambdas.websocket.handler --aws
"""

from awsllm import ConverseStream
from awsllm.lambdas.websocket import ChatTurn, answers, websocket_handler


def respond(turn: ChatTurn) -> ConverseStream | str:
    if turn.text.strip().lower() == "help":
        return "Ask me anything about bicycles."  # no model is asked
    return answers(turn, system="You are a bicycle shop's assistant. Answer in two sentences.")


handler = websocket_handler(respond=respond)
