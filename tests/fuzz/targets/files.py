"""What users, AWS and other programs write into files and answers: settings, recordings, documents, Lambda events."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from awsllm.aws.authorization import read_statements
from awsllm.errors import AwsllmError
from awsllm.infra.templates import read_template
from awsllm.jumpstart.hub.document import read_description, read_spec
from awsllm.lambdas.events import s3_events
from awsllm.lambdas.events.envelopes import json_or_none, sns_message, unwrapped
from awsllm.lambdas.http import events
from awsllm.policy import configuration, keys
from awsllm.policy.answers.kept import pack_response, unpack
from awsllm.server.account.knowledge.reading import UnreadableError, read_parts
from awsllm.server.account.knowledge.sidecar import read_sidecar
from awsllm.store import hub, installed
from awsllm.testing.script_files import read_script
from awsllm.testing.traffic import cassette
from awsllm.types import ConverseRequest, ConverseResponse, Message, Text, Usage
from tests.fuzz.harness import Target
from tests.fuzz.targets.engine import _at_path

_TESTS = Path(__file__).parents[2]
_REFUSALS = (AwsllmError,)
_CONFIGURATION = b"""
[aliases]
fast = "bedrock:us.amazon.nova-lite-v1:0"
[groups.chat]
models = ["fast", {model = "local:smollm2-135m-instruct", region = "us-west-2"}]
on = ["throttling"]
breaker = {minimum = 10, open_for = 60}
[policy]
max_attempts = 4
[prices."bedrock:us.amazon.nova-lite-v1:0"]
input = 0.05
"""
_SCRIPT = b'replies: ["Hello", {text: "Bye"}, {error: ThrottlingException}]\n'
_RECORDING = b"""awsllm-recording: 1
---
request: {service: bedrock-runtime, operation: Converse, region: us-east-1, path: /model/m/converse, json: {a: 1}}
response: {status: 200, seconds: 0.5, headers: {content-type: application/json}, json: {output: {}}}
"""
_VCR = b"""interactions:
- request:
    {method: POST, uri: 'https://bedrock-runtime.us-east-1.amazonaws.com/model/m/converse', body: '{}', headers: {}}
  response: {status: {code: 200, message: OK}, headers: {}, body: {string: '{}'}}
version: 1
"""
_TEMPLATE = b"""AWSTemplateFormatVersion: '2010-09-09'
Parameters:
  Name: {Type: String, Default: a}
Conditions:
  Named: !Not [!Equals [!Ref Name, '']]
Resources:
  Role:
    Type: AWS::IAM::Role
    Condition: Named
    Properties:
      RoleName: !Sub '${Name}-${AWS::Region}'
      Path: !GetAtt Other.Arn
Outputs:
  Arn: {Value: !GetAtt Role.Arn}
"""
_ASKED = ConverseRequest(model="m", messages=(Message.user("Hi"),))
_ANSWER = ConverseResponse(message=Message("assistant", (Text("Hello"),)), stop_reason="end_turn", usage=Usage(3, 5, 8))
_POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": ["bedrock:Invoke*"], "Resource": "*", "Condition": {"StringLike": {"aws:x": "y"}}}
    ],
}
_COMMIT = {
    "sha": "a" * 40,
    "siblings": [{"rfilename": "model.gguf", "size": 5, "lfs": {"sha256": "b" * 64, "size": 5}}],
    "gguf": {"context_length": 512, "architecture": "llama"},
    "cardData": {"license": "mit"},
}


def targets() -> Iterator[Target]:
    yield Target("configuration", lambda: [_CONFIGURATION], _at_path(configuration.read, "awsllm.toml"), _REFUSALS)
    yield Target("keys", _keys, _at_path(keys.read_keys, "keys.toml"), _REFUSALS)
    yield Target("script", lambda: [_SCRIPT], _at_path(_script, "script.yaml"), _REFUSALS)
    yield Target("recording", lambda: [_RECORDING, _VCR], _at_path(cassette.load, "recording.yaml"), _REFUSALS)
    yield Target("kept-answer", lambda: [pack_response(_ASKED, _ANSWER) or b""], lambda data: unpack(data, _ASKED), ())
    yield Target("template", _templates, lambda data: read_template(_text(data), name="t"), _REFUSALS)
    yield Target("iam-policy", lambda: [_json(_POLICY)], _statements, _REFUSALS)
    yield Target("hub-listing", lambda: [_json(_COMMIT)], _listing, _REFUSALS)
    yield Target("installed-model", _manifests, _at_path(_manifest, "awsllm.json"), ())
    yield Target("jumpstart-document", _documents, _describe, _REFUSALS)
    yield Target("jumpstart-spec", _documents, _spec, _REFUSALS)
    yield Target("lambda-event", _events("alb", "http", "rest"), _front, (*_REFUSALS, events.UnknownEventError))
    yield Target("lambda-notice", _events("s3", "sns", "sqs"), _notices, ())
    for suffix in ("docx", "xlsx", "html", "csv", "md"):
        yield Target(f"knowledge-{suffix}", _office(suffix), _part_reader(suffix), (UnreadableError,))


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _value(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


# --- settings and recordings -----------------------------------------------------------------------------------------


def _keys() -> list[bytes]:
    key, _ = keys.create(id="team", requests_per_minute=60)
    lines = "\n".join(keys._lines(key))
    return [f"stopped = false\n[[keys]]\n{lines}\n".encode()]


def _script(path: Path) -> None:
    read_script(path)


def _templates() -> list[bytes]:
    return [_TEMPLATE]


def _statements(data: bytes) -> None:
    list(read_statements(_text(data)))


# --- models ----------------------------------------------------------------------------------------------------------


def _listing(data: bytes) -> None:
    found = hub._listing("a/b", _value(data))
    hub.model_from("hf/a/b", found)


def _manifests() -> list[bytes]:
    return [_json({"name": "a", "kind": "chat", "license": "mit", "source": "x", "files": [{"path": "f", "size": 1}]})]


def _manifest(path: Path) -> None:
    installed.read(path.parent)


def _documents() -> list[bytes]:
    folder = _TESTS / "data" / "jumpstart"
    return [path.read_bytes() for path in sorted(folder.glob("*.json"))]


def _describe(data: bytes) -> None:
    if isinstance(found := _value(data), dict):
        read_description(found, region="us-east-1")


def _spec(data: bytes) -> None:
    if isinstance(found := _value(data), dict):
        read_spec(found, region="us-east-1")


# --- Lambda ----------------------------------------------------------------------------------------------------------


def _events(*kinds: str) -> Callable[[], list[bytes]]:
    """Events as AWS sends them."""
    folder = _TESTS / "lambdas" / "events"
    return lambda: [path.read_bytes() for kind in kinds for path in sorted(folder.glob(f"{kind}*.json"))]


def _front(data: bytes) -> None:
    request = events.read(_value(data))
    events.write(request, events.json_reply(200, {"a": 1}))


def _notices(data: bytes) -> None:
    event = json_or_none(data)
    s3_events.object_notices(event)
    s3_events.batch_tasks(event)
    s3_events.message_notices(unwrapped(event))
    sns_message(event)


# --- documents -------------------------------------------------------------------------------------------------------

_OOXML = "http://schemas.openxmlformats.org"
_WORD = f"""<w:document xmlns:w="{_OOXML}/wordprocessingml/2006/main">
<w:body><w:p><w:r><w:t>Hi</w:t></w:r></w:p></w:body></w:document>"""
_SHEET = f"""<worksheet xmlns="{_OOXML}/spreadsheetml/2006/main"><sheetData>
<row r="1"><c r="A1" t="inlineStr"><is><t>a</t></is></c></row></sheetData></worksheet>"""
_BOOK = (
    f"""<workbook xmlns="{_OOXML}/spreadsheetml/2006/main"><sheets><sheet name="S" sheetId="1"/></sheets></workbook>"""
)
_HTML = b"<html><head><title>T</title><script>x</script></head><body><p>Hi &amp; <b>you</b></p></body></html>"


def _office(suffix: str) -> Callable[[], list[bytes]]:
    def seeds() -> list[bytes]:
        match suffix:
            case "docx":
                return [_zip({"word/document.xml": _WORD})]
            case "xlsx":
                return [_zip({"xl/workbook.xml": _BOOK, "xl/worksheets/sheet1.xml": _SHEET})]
            case "html":
                return [_HTML]
            case "csv":
                return [b'a,b\n1,"x, y"\n']
            case _:
                return [b"# Title\n\nText with [a link](http://x).\n"]

    return seeds


def _zip(members: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def _part_reader(suffix: str) -> Callable[[bytes], Any]:
    sidecar = read_sidecar(b'{"metadataAttributes": {"a": "b"}}')
    return lambda data: read_parts(suffix, data, sidecar)
