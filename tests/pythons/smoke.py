"""What an installed awsllm does on the Python that runs this: ``__main__`` runs it in each environment.

A stub of Bedrock's runtime answers on loopback: the first call is throttled, the rest are answered as they ask.
"""

import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pydantic import BaseModel

import awsllm
from awsllm.lambdas.packaging.build import build
from awsllm.lambdas.packaging.closure import own_modules
from awsllm.lambdas.packaging.contents import every_handler
from awsllm.wire.eventstream import encode_event_frame

MODEL = "bedrock:us.amazon.nova-lite-v1:0"
FUNCTION = f"""
import awsllm

client = awsllm.Client()


def handler(event, context):
    return client.converse({MODEL!r}, event).text
"""
ASKED: list[dict] = []


class Stub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        ASKED.append(request)
        text = str(request["messages"][-1]["content"])
        if len(ASKED) == 1:
            self.reply(429, b'{"message": "slow down"}', ("x-amzn-ErrorType", "ThrottlingException"))
        elif "forbidden" in text:
            self.reply(403, b'{"message": "no"}', ("x-amzn-ErrorType", "AccessDeniedException"))
        elif self.path.endswith("converse-stream"):
            self.reply(200, streamed("one ", "two"), ("Content-Type", "application/vnd.amazon.eventstream"))
        elif "toolConfig" in request and "toolResult" not in text:
            self.reply(200, answer({"toolUse": called(request["toolConfig"])}, "tool_use"))
        else:
            self.reply(200, answer({"text": "Hello."}))

    def reply(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


def called(config: dict) -> dict:
    """The tool that is there; typed output comes as one that is forced."""
    name = config["tools"][0]["toolSpec"]["name"]
    values: dict[str, object] = {"number": 21} if name == "double" else {"name": "Rome", "people": 2_800_000}
    return {"toolUseId": "t1", "name": name, "input": values}


def answer(block: dict, reason: str = "end_turn") -> bytes:
    usage = {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}
    message = {"role": "assistant", "content": [block]}
    return json.dumps({"output": {"message": message}, "stopReason": reason, "usage": usage}).encode()


def streamed(*texts: str) -> bytes:
    events: list[tuple[str, dict]] = [("messageStart", {"role": "assistant"})]
    events += [("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}}) for text in texts]
    events += [("contentBlockStop", {"contentBlockIndex": 0}), ("messageStop", {"stopReason": "end_turn"})]
    return b"".join(encode_event_frame(name, json.dumps(body).encode()) for name, body in events)


def calls(client: awsllm.Client) -> None:
    assert client.converse(MODEL, "Hi").text == "Hello."
    assert len(ASKED) == 2, "a throttled call is made again"
    with client.converse_stream(MODEL, "Go on") as stream:
        deltas = [getattr(event, "delta", None) for event in stream]
    assert [delta.text for delta in deltas if isinstance(delta, awsllm.TextDelta)] == ["one ", "two"]
    try:
        client.converse(MODEL, "forbidden")
    except awsllm.AccessDeniedError as error:
        if error.status == 403:
            return
    raise AssertionError("a refusal raises")


def double(number: int) -> int:
    """Twice the number."""
    return 2 * number


class City(BaseModel):
    name: str
    people: int


def tools(client: awsllm.Client) -> None:
    assert client.converse(MODEL, "Double 21", tools=[double]).text == "Hello."
    assert "42" in json.dumps(ASKED[-1]["messages"])
    assert client.converse(MODEL, "Rome, as data", output_type=City).output == City(name="Rome", people=2_800_000)


def lambdas() -> None:
    """Every handler's module loads; the package of one answers with the standard library alone beside it."""
    for handler in every_handler(own_modules()):
        __import__(handler.rpartition(".")[0])
    if not sys.platform.startswith("linux"):
        return  # a package holds wheels for Linux, which could not run here
    arch = "arm64" if platform.machine() == "aarch64" else "x86_64"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    with tempfile.TemporaryDirectory() as place:
        folder, task = Path(place, "source"), Path(place, "task")
        folder.mkdir()
        (folder / "app.py").write_text(FUNCTION, encoding="utf-8")
        built = build(Path(place, "app.zip"), source=folder, handlers=["app.handler"], arch=arch, python=python)
        assert built.bytecode
        zipfile.ZipFile(built.path).extractall(task)
        program = f"import sys; sys.path.insert(0, {str(task)!r}); import app; print(app.handler('Hi', None))"
        command = [sys.executable, "-I", "-S", "-c", program]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.stdout == "Hello.\n", done.stderr


def commands() -> None:
    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "awsllm", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8").stdout

    assert run("--version").split()[-1] == awsllm.__version__
    shown = run("--help")
    assert "lambda" in shown
    if "infra" in shown:
        assert "chat-api" in run("infra", "list")


def kernels() -> None:
    """A platform's wheel brings kernels that compute here; the wheel for every machine has none."""
    from awsllm.engine.native import library

    tags = next(Path(awsllm.__file__).parent.parent.glob("awsllm-*.dist-info/WHEEL")).read_text(encoding="utf-8")
    built = library.built()
    if "Root-Is-Purelib: true" in tags:
        assert not library.PATH.exists()
        return
    assert built.library is not None, built.why
    assert built.names, built.why
    sys.path.insert(0, str(Path(__file__).parent.parent.parent / "tests" / "support"))
    import numpy as np

    random_packed = importlib.import_module("random_packed")
    from awsllm.engine.interface import Chunk
    from awsllm.engine.native.decoder import KernelDecoder

    for number, name in built.names:
        for bits, expected in LOGITS.items():
            model = KernelDecoder(
                random_packed.packed(bits=bits), library.Kernels(built.library, name, number), threads=2
            )
            cache = model.new_cache(16)
            model.forward([Chunk([1, 2, 3, 4, 5], cache)])
            found = model.forward([Chunk([6], cache)])[0]
            assert np.allclose(found[:4], expected, atol=0.5), (name, bits, found[:4].tolist())


LOGITS = {4: [11.632, -9.882, -3.872, -2.792], 8: [-3.737, -5.114, 15.347, -5.377]}
"""The first logits of small random models, as kernels computed them on another machine."""


def main() -> None:
    assert "site-packages" in awsllm.__file__, f"{awsllm.__file__} is not what was installed"
    for name in awsllm.__all__:
        getattr(awsllm, name)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] = f"http://127.0.0.1:{server.server_address[1]}"
    with awsllm.Client(policy=awsllm.Policy(max_attempts=3, max_delay=0.01)) as client:
        calls(client)
        tools(client)
    lambdas()
    commands()
    kernels()
    server.shutdown()
    server.server_close()


if __name__ == "__main__":
    main()
