"""AWS's own SDK for Python against the server: one spoken conversation. Needs Python 3.12.

Prints the names of the events that came, a line of JSON. Arguments: the server's URL, and its certificate.
"""

import asyncio
import base64
import faulthandler
import json
import sys

from aws_sdk_bedrock_runtime import models
from aws_sdk_bedrock_runtime.client import AsyncBedrockRuntimeClient, InvokeModelWithBidirectionalStreamOperationInput
from aws_sdk_bedrock_runtime.config import AsyncBedrockRuntimeConfig
from awscrt import io as crt_io
from smithy_http.aio.crt import AWSCRTHTTPClient

MODEL = "amazon.nova-2-sonic-v1:0"
PROMPT = {"promptName": "prompt"}
TEXT = {"mediaType": "text/plain"}
LPCM = {"mediaType": "audio/lpcm", "sampleSizeBits": 16, "channelCount": 1, "encoding": "base64", "audioType": "SPEECH"}
LOUD, SILENT = b"\x00\x40\x00\xc0" * 512, bytes(2048)


def trusting(certificate):
    """The SDK's transport has no option for a private authority."""

    class Options(crt_io.TlsContextOptions):  # type: ignore[misc]
        def __init__(self):
            super().__init__()
            self.override_default_trust_store_from_path(None, certificate)

    crt_io.TlsContextOptions = Options


def opening():
    """As in AWS's samples (nova_sonic.py in aws-samples/amazon-nova-samples)."""
    yield "sessionStart", {"inferenceConfiguration": {"maxTokens": 1024, "topP": 0.9, "temperature": 0.7}}
    yield (
        "promptStart",
        {
            **PROMPT,
            "textOutputConfiguration": TEXT,
            "audioOutputConfiguration": {**LPCM, "sampleRateHertz": 24000, "voiceId": "matthew"},
            "toolUseOutputConfiguration": {"mediaType": "application/json"},
            "toolConfiguration": {"tools": []},
        },
    )
    system = {**PROMPT, "contentName": "system"}
    start = {"type": "TEXT", "interactive": True, "role": "SYSTEM", "textInputConfiguration": TEXT}
    yield "contentStart", {**system, **start}
    yield "textInput", {**system, "content": "Be brief."}
    yield "contentEnd", system
    audio = {**PROMPT, "contentName": "audio"}
    start = {"type": "AUDIO", "interactive": True, "role": "USER"}
    yield "contentStart", {**audio, **start, "audioInputConfiguration": {**LPCM, "sampleRateHertz": 16000}}
    for piece in [LOUD] * 10 + [SILENT] * 30:
        yield "audioInput", {**audio, "content": base64.b64encode(piece).decode()}


def closing():
    yield "contentEnd", {**PROMPT, "contentName": "audio"}
    yield "promptEnd", PROMPT
    yield "sessionEnd", {}


async def main(url, certificate):
    trusting(certificate)
    config = await AsyncBedrockRuntimeConfig.resolve(endpoint_uri=url, region="us-east-1", transport=AWSCRTHTTPClient())
    client = AsyncBedrockRuntimeClient(config=config)
    stream = await client.invoke_model_with_bidirectional_stream(
        InvokeModelWithBidirectionalStreamOperationInput(model_id=MODEL)
    )

    async def send(events):
        for name, value in events:
            part = models.BidirectionalInputPayloadPart(bytes_=json.dumps({"event": {name: value}}).encode())
            await stream.input_stream.send(models.InvokeModelWithBidirectionalStreamInputChunk(value=part))

    await send(opening())
    _, output = await stream.await_output()
    names = []
    while (event := await output.receive()) is not None:
        ((name, value),) = json.loads(event.value.bytes_)["event"].items()
        names.append(value["content"] if name == "textOutput" else name)
        if name == "contentEnd" and (value["type"], value["stopReason"]) == ("AUDIO", "END_TURN"):
            await send(closing())
            await stream.input_stream.close()
    print(json.dumps(names))


faulthandler.dump_traceback_later(90, exit=True)
asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 60))
