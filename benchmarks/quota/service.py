"""A model behind a quota, as Bedrock keeps it: ``python -m benchmarks.quota.service --speed 60``.

Requests and tokens a minute are buckets that hold a minute's worth and fill evenly; they begin full. A request takes
its input and ``maxTokens`` of the tokens at its start; at its end what it used is taken instead: input, and output by
the burn-down rate. Where either bucket has too little, the answer is a 429 ThrottlingException without a hint, and
nothing is taken. How the real service fills its buckets is not documented; reservation and burn-down are
(docs.aws.amazon.com/bedrock/latest/userguide/quotas-token-burndown.html).

An answer takes half a second and ten milliseconds a token. All times are the service's, ``--speed`` times as fast as
the wall's. A token is four characters of the prompt; the answer's length is drawn from the prompt's number, so that
all who are compared are asked for the same.

It prints its port, starts its clock anew at each line of stdin, and answers with what it saw until then, in JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sys
import time
from typing import Any

from benchmarks.http_requests import RequestProtocol

LATENCY, A_TOKEN = 0.5, 0.01  # seconds
BURN_DOWN = 5  # quota tokens for one of the answer
CHARACTERS = 4
NUMBER = re.compile(r"#(\d+)#")
THROTTLED = b'{"message":"Too many tokens, please wait before trying again."}'


class Service:
    """The quota of one model."""

    def __init__(self, requests: float, tokens: float, speed: float) -> None:
        self.per_minute = {"requests": requests, "tokens": tokens}
        self._speed = speed
        self.reset()

    def reset(self) -> None:
        self._level = dict(self.per_minute)
        self._filled = self._began = time.monotonic()
        self.seen = {"requests": 0, "throttled": 0, "input": 0, "output": 0, "answers": 0}

    def report(self) -> dict[str, Any]:
        return {**self.seen, "seconds": (time.monotonic() - self._began) * self._speed}

    def admit(self, wanted: int) -> bool:
        now = time.monotonic()
        minutes, self._filled = (now - self._filled) * self._speed / 60, now
        for name, limit in self.per_minute.items():
            self._level[name] = min(limit, self._level[name] + limit * minutes)
        self.seen["requests"] += 1
        if self._level["requests"] < 1 or self._level["tokens"] < wanted:
            self.seen["throttled"] += 1
            return False
        self._level["requests"] -= 1
        self._level["tokens"] -= wanted
        return True

    def settle(self, wanted: int, read: int, output: int) -> None:
        self._level["tokens"] += wanted - read - BURN_DOWN * output
        self.seen["input"] += read
        self.seen["output"] += output
        self.seen["answers"] += 1

    def answer(self, body: dict[str, Any]) -> tuple[float, bytes, tuple[int, int, int]] | None:
        """Seconds of the wall until the answer, the answer, and what it reserved and used; None: throttled."""
        text = body["messages"][0]["content"][0]["text"]
        most = body["inferenceConfig"]["maxTokens"]
        number = NUMBER.search(text)
        assert number is not None
        read = len(text) // CHARACTERS
        output = min(most, random.Random(int(number[1])).randint(50, 600))  # noqa: S311 - the same for all
        if not self.admit(read + most):
            return None
        reply = {
            "output": {"message": {"role": "assistant", "content": [{"text": f"answer to #{number[1]}#"}]}},
            "stopReason": "end_turn",
            "usage": {"inputTokens": read, "outputTokens": output, "totalTokens": read + output},
            "metrics": {"latencyMs": 1},
        }
        seconds = (LATENCY + A_TOKEN * output) / self._speed
        return seconds, json.dumps(reply).encode(), (read + most, read, output)


def response(status: int, body: bytes, extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Connection(RequestProtocol):
    def __init__(self, service: Service) -> None:
        super().__init__()
        self._service = service

    def _asked(self, operation: bytes, body: bytes) -> None:
        answer = self._service.answer(json.loads(body))
        if answer is None:
            self._transport.write(response(429, THROTTLED, "x-amzn-ErrorType: ThrottlingException\r\n"))
            return
        seconds, reply, used = answer
        asyncio.get_running_loop().call_later(seconds, self._finish, reply, used)

    def _finish(self, reply: bytes, used: tuple[int, int, int]) -> None:
        self._service.settle(*used)
        self._transport.write(response(200, reply))


async def serve(service: Service) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(service), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(service.report()), flush=True)
        service.reset()
    server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=float, required=True)
    parser.add_argument("--tokens", type=float, required=True)
    parser.add_argument("--speed", type=float, required=True)
    given = parser.parse_args()
    asyncio.run(serve(Service(given.requests, given.tokens, given.speed)))
