"""The floor: what a reply costs Python itself. A raw socket, SigV4 by hand and json; no check, no error, no timeout, no
choice of credentials or endpoint, and a loop of callbacks for many calls at once. Nobody should call AWS like this."""

import hmac
import json
import os
import socket
import struct
import time
from hashlib import sha256
from zlib import crc32

URL = os.environ["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"]
HOST, PORT = URL.removeprefix("http://").split(":")
REGION, KEY = os.environ["AWS_REGION"], os.environ["AWS_ACCESS_KEY_ID"]
PATH = "/model/anthropic.claude-3-haiku-20240307-v1%3A0/"
NAMES = "content-type;host;x-amz-date"
REQUEST = {"messages": [{"role": "user", "content": [{"text": "Hello"}]}], "inferenceConfig": {"maxTokens": 64}}
CALL, STREAM = "converse", "converse-stream"


def signing_key(date):
    key = b"AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"].encode()
    for part in (date, REGION, "bedrock", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


SIGNING_KEYS: dict[str, bytes] = {}


def encode(operation):
    body = json.dumps(REQUEST).encode()
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    date = stamp[:8]
    scope = f"{date}/{REGION}/bedrock/aws4_request"
    path = PATH + operation
    canonical = (
        f"POST\n{path.replace('%', '%25')}\n\ncontent-type:application/json\nhost:{HOST}:{PORT}\nx-amz-date:{stamp}\n\n"
        f"{NAMES}\n{sha256(body).hexdigest()}"
    )
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
    key = SIGNING_KEYS.get(date)
    if key is None:
        key = SIGNING_KEYS[date] = signing_key(date)
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    return (
        f"POST {path} HTTP/1.1\r\nHost: {HOST}:{PORT}\r\nContent-Type: application/json\r\nX-Amz-Date: {stamp}\r\n"
        f"Authorization: AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={NAMES}, Signature={signature}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def make():
    client = socket.create_connection((HOST, int(PORT)))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def whole(data):
    """The body of a reply, None while it is not there."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    start = data.find(b"Content-Length: ", 0, end) + 16
    length = int(data[start : data.find(b"\r\n", start)])
    return data[end + 4 :] if len(data) == end + 4 + length else None


def text_of(body):
    return json.loads(body)["output"]["message"]["content"][0]["text"]


def call(client):
    client.sendall(encode(CALL))
    data = client.recv(65536)
    while (body := whole(data)) is None:
        data += client.recv(65536)
    assert text_of(body)


def stream(client):
    client.sendall(encode(STREAM))
    reader = client.makefile("rb")
    while reader.readline() != b"\r\n":
        pass
    events, rest = 0, b""
    while size := int(reader.readline(), 16):
        rest += reader.read(size)
        reader.readline()
        at = 0
        while len(rest) - at >= 12:
            total, headers, checksum = struct.unpack_from("!III", rest, at)
            if len(rest) - at < total:
                break
            assert crc32(rest[at : at + 8]) == checksum
            assert crc32(rest[at : at + total - 4]) == int.from_bytes(rest[at + total - 4 : at + total], "big")
            json.loads(rest[at + 12 + headers : at + total - 4])
            events += 1
            at += total
        rest = rest[at:]
    reader.readline()
    return events


def many(_client, calls, in_flight):
    import asyncio

    class Caller(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport, self.data = transport, b""
            self.ask()

        def ask(self):
            if next(todo, None) is not None:
                self.transport.write(encode(CALL))
                return
            self.transport.close()

        def data_received(self, data):
            self.data += data
            body = whole(self.data)
            if body is not None:
                assert text_of(body)
                self.data = b""
                self.ask()

        def connection_lost(self, error):
            closed.release()

    todo, closed = iter(range(calls)), asyncio.Semaphore(0)

    async def run():
        loop = asyncio.get_running_loop()
        for _ in range(in_flight):
            await loop.create_connection(Caller, HOST, int(PORT))
        for _ in range(in_flight):
            await closed.acquire()

    asyncio.run(run())
