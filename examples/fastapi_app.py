"""A web service that streams: server-sent events from FastAPI, and a model that stops when nobody listens any more.

pip install fastapi uvicorn
python examples/fastapi_app.py [--model REF] [--port 8000]
curl -N http://127.0.0.1:8000/chat -H 'content-type: application/json' -d '{"question": "Why is the sky blue?"}'
"""

import argparse
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

import awsllm

client = awsllm.AsyncClient()  # one for the process


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with client:
        yield


app = FastAPI(lifespan=lifespan)


class Question(BaseModel):
    question: str = Field(max_length=4000)


def sse(event: str, data: object) -> str:
    return f"event: {event}\ndata: {json.dumps(data)}\n\n"


async def events(stream: awsllm.AsyncConverseStream) -> AsyncIterator[str]:
    """A client that leaves ends this generator, and with it the stream: the model generates no further."""
    async with stream:
        try:
            async for text in stream.text_stream:
                yield sse("text", text)
            response = await stream.response
            yield sse("end", {"stop_reason": response.stop_reason, "usage": response.usage.to_dict()})
        except awsllm.AwsllmError as error:  # the 200 is out, so it is said in the stream; its text is for the log
            yield sse("error", {"type": type(error).__name__})


@app.post("/chat")
async def chat(question: Question) -> StreamingResponse:
    model = os.environ.get("MODEL", "local:smollm2-135m-instruct")
    try:
        stream = client.converse_stream(model, question.question, max_tokens=200)
        await anext(stream)  # what is refused is refused before the 200 has been sent
    except awsllm.AwsllmError as error:
        status = error.status or (400 if isinstance(error, awsllm.ValidationError) else 502)
        raise HTTPException(status, type(error).__name__) from error
    return StreamingResponse(events(stream), media_type="text/event-stream", headers={"cache-control": "no-cache"})


def main() -> None:
    import uvicorn

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="local:smollm2-135m-instruct", metavar="REF")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    os.environ["MODEL"] = options.model
    uvicorn.run(app, port=options.port)


if __name__ == "__main__":
    main()
