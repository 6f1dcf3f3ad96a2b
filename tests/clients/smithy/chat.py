"""AWS's own SDK for Python against the server: Converse, its stream, and a tool that must be called.

Prints what came as a line of JSON. Arguments: the server's URL, and its certificate. Needs Python 3.12, and
``environments/smithy.txt``.
"""

import asyncio
import faulthandler
import json
import sys

from aws_sdk_bedrock_runtime import models
from aws_sdk_bedrock_runtime.client import AsyncBedrockRuntimeClient
from aws_sdk_bedrock_runtime.config import AsyncBedrockRuntimeConfig
from awscrt import io as crt_io
from smithy_core.documents import Document
from smithy_http.aio.crt import AWSCRTHTTPClient

MODEL = "anthropic.claude-3-5-sonnet-20240620-v1:0"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def trusting(certificate):
    """The SDK's transport has no option for a private authority."""

    class Options(crt_io.TlsContextOptions):  # type: ignore[misc]
        def __init__(self):
            super().__init__()
            self.override_default_trust_store_from_path(None, certificate)

    crt_io.TlsContextOptions = Options


async def main(url, certificate):
    trusting(certificate)
    config = await AsyncBedrockRuntimeConfig.resolve(endpoint_uri=url, region="us-east-1", transport=AWSCRTHTTPClient())
    client = AsyncBedrockRuntimeClient(config=config)
    text = models.ContentBlockText(value="What is the weather in Oslo?")
    turns = [models.Message(role="user", content=[text])]
    whole = await client.converse(models.ConverseInput(model_id=MODEL, messages=turns))
    said = whole.output.value.content[0].value

    stream = await client.converse_stream(models.ConverseStreamInput(model_id=MODEL, messages=turns))
    kind = models.ConverseStreamOutputContentBlockDelta
    pieces = [event.value.delta.value async for event in stream.output_stream if isinstance(event, kind)]

    schema = models.ToolInputSchemaJson(value=Document(SCHEMA))
    spec = models.ToolToolSpec(value=models.ToolSpecification(name="get_weather", input_schema=schema))
    choice = models.ToolChoiceTool(value=models.SpecificToolChoice(name="get_weather"))
    tools = models.ToolConfiguration(tools=[spec], tool_choice=choice)
    asked = await client.converse(models.ConverseInput(model_id=MODEL, messages=turns, tool_config=tools))
    use = asked.output.value.content[0].value
    print(json.dumps([said, "".join(pieces), use.input.as_value()["city"]]))


faulthandler.dump_traceback_later(90, exit=True)
asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 60))
