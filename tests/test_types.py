"""Neutral values outside of awsllm: as plain JSON, in pydantic models, in what FastAPI makes of those."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pydantic
import pytest

import awsllm
from awsllm import types as t
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.types.media import ImageResponse

RESPONSE = t.ConverseResponse(
    message=t.Message.assistant(
        "Hello",
        t.ToolUse("1", "f", {"a": [1, None]}),
        t.Image("png", t.Bytes(b"\x89\xff")),
        t.Reasoning("Well", "signature"),
        t.Unknown("newer", {"x": 1}),
    ),
    stop_reason="tool_use",
    usage=t.Usage(1, 2, 3, cache_details=(t.CacheDetail("5m", 1),)),
    warnings=("careful",),
    tool_errors=(t.ToolError(tool_use_id="1", name="f", type="OSError", message="no", traceback="OSError: no\n"),),
)
REQUEST = t.ConverseRequest(
    model="m",
    messages=(t.Message.user("Hi", t.Document("d", t.DocumentContent(("a", "b")))),),
    tools=(t.ToolSpec("f", {"type": "object"}), t.CachePoint()),
    output_config=t.OutputConfig(json_schema=t.JsonSchema({"type": "object"})),
)
VALUES = [
    RESPONSE,
    REQUEST,
    EmbedResponse(vectors=[[0.5, 1.0]], usage=t.Usage(1)),
    t.ContentBlockDelta(0, t.TextDelta("x")),
    t.Metadata(t.Usage(1)),
]


class Row(pydantic.BaseModel):
    response: t.ConverseResponse
    turns: list[t.Message] = []
    block: t.ContentBlock | None = None
    event: t.StreamEvent | None = None


ROW = Row(
    response=RESPONSE,
    turns=[t.Message.user("Hi")],
    block=t.Image("png", t.Bytes(b"\xff")),
    event=t.ContentBlockDelta(0, t.ToolResultDelta((t.Text("x"),))),
)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_becomes_plain_json_and_comes_back_equal(value: Any) -> None:
    plain = value.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert type(value).from_dict(plain) == value
    assert pydantic.TypeAdapter(type(value)).validate_python(plain) == value


def test_what_stands_at_its_default_is_left_out() -> None:
    assert t.Message.user("Hi").to_dict() == {"role": "user", "content": [{"kind": "text", "text": "Hi"}]}


def test_a_typed_output_is_written_as_its_json() -> None:
    class City(pydantic.BaseModel):
        name: str

    response = t.ConverseResponse(message=t.Message.assistant("x"), stop_reason="end_turn", output=City(name="Ulm"))
    assert response.to_dict()["output"] == {"name": "Ulm"}
    assert Row(response=response).model_dump()["response"]["output"] == {"name": "Ulm"}


@pytest.mark.parametrize(
    ("kind", "data", "hint"),
    [
        (t.Message, {"role": "user", "content": [{"kind": "text", "text": 5}]}, r"Expected `str`, .*content\[0\].text"),
        (t.Message, {"role": "user", "content": [{"kind": "txt"}]}, r"Invalid value 'txt'.*content\[0\].kind"),
        (t.Message, {"content": []}, "missing required field `role`"),
        (t.Text, {"kind": "image", "text": "x"}, "Invalid value 'image'"),
        (t.Message, "user", "Expected `object`, got `str`"),
    ],
)
def test_what_is_no_value_is_named_with_its_place(kind: Any, data: Any, hint: str) -> None:
    with pytest.raises(awsllm.ValidationError, match=f"not the dict of a {kind.__name__}: .*{hint}"):
        kind.from_dict(data)
    with pytest.raises(pydantic.ValidationError, match=hint if isinstance(data, dict) else "give a Message or"):
        pydantic.TypeAdapter(kind).validate_python(data)


def test_values_are_members_of_pydantic_models() -> None:
    assert Row.model_validate_json(ROW.model_dump_json()) == ROW
    assert Row.model_validate(ROW.model_dump()) == ROW
    assert ROW.model_dump()["turns"] == [{"role": "user", "content": [{"kind": "text", "text": "Hi"}]}]
    assert Row(response=RESPONSE).response is RESPONSE
    with pytest.raises(pydantic.ValidationError, match="give a ConverseResponse or what its to_dict"):
        Row.model_validate({"response": "x"})


@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_the_json_schema_describes_what_is_written(mode: Any) -> None:
    """OpenAPI documents are made of it: each type has a name there."""
    schema = Row.model_json_schema(mode=mode)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    written = ROW.model_dump(mode="json")
    validator.validate(written)
    assert {"ConverseResponse", "Message", "Text", "ToolUse", "Usage"} <= schema["$defs"].keys()
    del written["response"]["message"]["content"][0]["kind"]
    assert not validator.is_valid(written)


@pytest.mark.parametrize("kind", [t.ConverseRequest, t.CountTokensRequest, EmbedRequest, ImageResponse, t.Tool])
def test_every_value_has_a_schema(kind: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(pydantic.TypeAdapter(kind).json_schema())
