"""Lambda handlers: an event in, a model asked, what the front door expects out.

Each kind has a module with a factory, one line of a function's code:

    from awsllm.lambdas import chat_handler

    handler = chat_handler("bedrock:amazon.nova-lite-v1:0")

and an attribute ``handler``, made of the environment alone (``settings`` has the table of its variables), so that a
function needs no code at all: ``Handler: awsllm.lambdas.chat.handler``. What a factory is not given it reads from the
environment when it is called, while Lambda initialises the function and gives it a whole CPU. The names here, factories
and what functions of one's own are given, are resolved at first use: a handler loads its own kind alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from awsllm.lambdas.callbacks import AsyncCallback as AsyncCallback
    from awsllm.lambdas.callbacks import callback_handler as callback_handler
    from awsllm.lambdas.chat import chat_handler as chat_handler
    from awsllm.lambdas.context import DeadlineError as DeadlineError
    from awsllm.lambdas.context import Handler as Handler
    from awsllm.lambdas.context import LambdaContext as LambdaContext
    from awsllm.lambdas.context import seconds_left as seconds_left
    from awsllm.lambdas.documents import documents_handler as documents_handler
    from awsllm.lambdas.eventbridge import FinishedBatch as FinishedBatch
    from awsllm.lambdas.eventbridge import batch_handler as batch_handler
    from awsllm.lambdas.events.document_tasks import SourceDocument as SourceDocument
    from awsllm.lambdas.events.document_tasks import TaskAnswer as TaskAnswer
    from awsllm.lambdas.events.errors import PermanentError as PermanentError
    from awsllm.lambdas.events.errors import TransientError as TransientError
    from awsllm.lambdas.events.grading import Grade as Grade
    from awsllm.lambdas.events.grading import GradedSample as GradedSample
    from awsllm.lambdas.events.queue_batches import QueueRecord as QueueRecord
    from awsllm.lambdas.gateway import GatewayCall as GatewayCall
    from awsllm.lambdas.gateway import gateway_handler as gateway_handler
    from awsllm.lambdas.grader import grader_handler as grader_handler
    from awsllm.lambdas.http.chat_turns import ChatTurn as ChatTurn
    from awsllm.lambdas.http.events import FrontRequest as FrontRequest
    from awsllm.lambdas.http.failures import Refusal as Refusal
    from awsllm.lambdas.http.stream_head import StreamHead as StreamHead
    from awsllm.lambdas.mcp import mcp_handler as mcp_handler
    from awsllm.lambdas.sqs import sqs_handler as sqs_handler
    from awsllm.lambdas.stepfunctions import StateInput as StateInput
    from awsllm.lambdas.stepfunctions import step_handler as step_handler
    from awsllm.lambdas.stream import stream_handler as stream_handler
    from awsllm.lambdas.websocket import websocket_handler as websocket_handler

_HOMES = {
    "AsyncCallback": "callbacks",
    "ChatTurn": "http.chat_turns",
    "DeadlineError": "context",
    "FinishedBatch": "eventbridge",
    "FrontRequest": "http.events",
    "GatewayCall": "gateway",
    "Grade": "events.grading",
    "GradedSample": "events.grading",
    "Handler": "context",
    "LambdaContext": "context",
    "PermanentError": "events.errors",
    "QueueRecord": "events.queue_batches",
    "Refusal": "http.failures",
    "SourceDocument": "events.document_tasks",
    "StateInput": "stepfunctions",
    "StreamHead": "http.stream_head",
    "TaskAnswer": "events.document_tasks",
    "TransientError": "events.errors",
    "batch_handler": "eventbridge",
    "callback_handler": "callbacks",
    "chat_handler": "chat",
    "documents_handler": "documents",
    "gateway_handler": "gateway",
    "grader_handler": "grader",
    "mcp_handler": "mcp",
    "seconds_left": "context",
    "sqs_handler": "sqs",
    "step_handler": "stepfunctions",
    "stream_handler": "stream",
    "websocket_handler": "websocket",
}

__all__ = [
    "AsyncCallback",
    "ChatTurn",
    "DeadlineError",
    "FinishedBatch",
    "FrontRequest",
    "GatewayCall",
    "Grade",
    "GradedSample",
    "Handler",
    "LambdaContext",
    "PermanentError",
    "QueueRecord",
    "Refusal",
    "SourceDocument",
    "StateInput",
    "StreamHead",
    "TaskAnswer",
    "TransientError",
    "batch_handler",
    "callback_handler",
    "chat_handler",
    "documents_handler",
    "gateway_handler",
    "grader_handler",
    "mcp_handler",
    "seconds_left",
    "sqs_handler",
    "step_handler",
    "stream_handler",
    "websocket_handler",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
