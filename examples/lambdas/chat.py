"""A chat API that knows the shop's orders, behind API Gateway, a function URL or a load balancer.

awsllm lambda events http --path /chat --body '{"message": "Where is order A-17?"}' > event.json
awsllm lambda invoke event.json --handler examples.lambdas.chat.handler
"""

from awsllm import ConverseResponse
from awsllm.lambdas.chat import ChatTurn, answer, chat_handler

ORDERS = {"A-17": "packed", "A-18": "on its way"}


def order_status(number: str) -> str:
    """The status of an order, such as A-17."""
    return ORDERS.get(number, "there is no such order")


def respond(turn: ChatTurn) -> ConverseResponse:
    return answer(turn, system="You are a support bot. Answer in one sentence.", tools=[order_status])


handler = chat_handler(respond=respond)  # the model is AWSLLM_MODEL's
