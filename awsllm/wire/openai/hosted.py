"""Chat Completions as a service hosts them for many models, which is how Bedrock has them: the body names the model and
says whether to stream, and the answer's limit is ``max_completion_tokens``.

Models that think write their thinking into the text, or beside it; both are read (``native``).
"""

from __future__ import annotations

from msgspec.structs import replace

from awsllm.errors import UnsupportedError
from awsllm.types import ConverseRequest, JsonObject
from awsllm.wire.body import Body, Payload, Settings
from awsllm.wire.openai.body import encode_error_payload
from awsllm.wire.openai.native import NativeChat
from awsllm.wire.openai.request import encode_request
from awsllm.wire.openai.schemas import is_strict
from awsllm.wire.payloads import write

_STATEFUL = ("previous_response_id", "conversation", "background")


class HostedChat(NativeChat):
    title = "Chat Completions"
    limit = "max_completion_tokens"

    def encode_request(self, request: ConverseRequest, settings: Settings, *, stream: bool = False) -> Payload:
        for name in _STATEFUL:
            if (request.extra or {}).get(name):
                raise UnsupportedError(f"{name} is the Responses API's, and this is {self.title}")
        wire = encode_request(request, stream=stream)
        limit, tier = wire.pop("max_tokens", None), request.service_tier
        added: JsonObject = {"model": wire["model"] or request.model}
        added |= {} if limit is None else {self.limit: limit}
        added |= {} if tier is None else {"service_tier": tier.type}
        for message in wire["messages"]:
            message.pop("reasoning_content", None)  # it has no documented place
        if request.output_config and (schema := request.output_config.json_schema):
            wire["response_format"]["json_schema"]["strict"] = is_strict(schema.schema)
        return write({**wire, **added})

    def warnings(self, request: ConverseRequest, settings: Settings) -> tuple[str, ...]:
        return super().warnings(replace(request, service_tier=None), settings)


_CHAT = HostedChat()
BODIES: tuple[Body, ...] = (Body("openai-hosted", _CHAT.title, _CHAT.decode_request, encode_error_payload, chat=_CHAT),)
