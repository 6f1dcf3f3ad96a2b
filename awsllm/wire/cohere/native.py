"""Command R behind an operation that says whether the answer streams: the same body without ``stream``, which is
refused there as a member too many.

Sources: docs.aws.amazon.com, Cohere Command R and Command R+ models, 2024; recorded calls of command-r in
open-telemetry/opentelemetry-python-contrib, 2025.
"""

from __future__ import annotations

from awsllm.wire.body import Body
from awsllm.wire.cohere.chat import TITLE, CommandRChat
from awsllm.wire.cohere.errors import encode_error

_CHAT = CommandRChat(says_stream=False)

BODIES: tuple[Body, ...] = (Body("cohere-chat", TITLE, _CHAT.decode_request, encode_error, chat=_CHAT),)
