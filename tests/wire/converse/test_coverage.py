"""Every member that botocore's service model knows of Converse, ConverseStream and CountTokens survives our codec.

An example is built from the model for every member and every variant of every union, decoded and encoded again; a
member that is gone fails the test, unless it is listed here with the reason why it is not mapped.
"""

import copy
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape
from botocore.validate import ParamValidator

from awsllm.wire import converse

UNMAPPED = {
    "modelId": "stands in the URL, not in the body",
    "input.invokeModel": "a native body is read by its family's codec, not by Converse's",
}
EXAMPLES = {"JsonSchemaDefinition.schema": '{"type":"object"}'}  # text that must be JSON

MODEL = Loader().load_service_model("bedrock-runtime", "service-2")


def service(model: dict[str, Any] = MODEL) -> ServiceModel:
    return ServiceModel(model, "bedrock-runtime")


def examples(shape: Shape, seen: tuple[str, ...] = ()) -> list[Any]:
    """At least one example, and one for each variant that can stand inside."""
    if shape.name in seen:
        return []
    match shape.type_name:
        case "structure" if getattr(shape, "is_document_type", False):
            return [{"any": ["thing", 1, None, {"deep": 0.5}]}]
        case "structure" if shape.is_tagged_union:
            members = shape.members.items()
            return [{name: value} for name, member in members for value in examples(member, (*seen, shape.name))]
        case "structure":
            return structure_examples(shape, (*seen, shape.name))
        case "list":
            return [[value] for value in examples(shape.member, seen)]
        case "map":
            return [{"key": value} for value in examples(shape.value, seen)]
        case "string":
            return [shape.enum[0] if shape.enum else f"a {shape.name}"]
        case kind:
            return [
                {"integer": 7, "long": 70, "float": 0.5, "double": 0.25, "boolean": True, "blob": b"\x00\xff"}[kind]
            ]


def structure_examples(shape: Shape, seen: tuple[str, ...]) -> list[Any]:
    choices = {
        name: [EXAMPLES[key]] if (key := f"{shape.name}.{name}") in EXAMPLES else examples(member, seen)
        for name, member in shape.members.items()
    }
    full = {name: values[0] for name, values in choices.items() if values}
    return [full, *({**full, name: value} for name, values in choices.items() for value in values[1:])]


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    match value:
        case dict() if value:
            for name, inner in value.items():
                yield from leaves(inner, f"{path}.{name}" if path else name)
        case list() if value:
            for inner in value:
                yield from leaves(inner, path)
        case _:
            yield path, value


def lost(before: Any, after: Any) -> set[str]:
    """Members of ``before`` that ``after`` has not, or has changed."""
    kept = list(leaves(after))
    gone = {path for path, value in leaves(before) if (path, value) not in kept}
    return {path for path in gone if not any(path == known or path.startswith(f"{known}.") for known in UNMAPPED)}


def request_round_trip(operation: str, example: dict[str, Any]) -> dict[str, Any]:
    body = {name: value for name, value in example.items() if name != "modelId"}
    if operation == "CountTokens":
        if "converse" not in body["input"]:
            return {}
        return converse.encode_count_tokens(converse.decode_count_tokens_request("m", body))
    return converse.encode_request(converse.decode_request("m", body), stream=operation == "ConverseStream")


def lost_requests(model: ServiceModel, operation: str) -> set[str]:
    shape = model.operation_model(operation).input_shape
    return {path for example in examples(shape) for path in lost(example, request_round_trip(operation, example))}


def lost_response(model: ServiceModel) -> set[str]:
    shape = model.operation_model("Converse").output_shape
    return {
        path
        for example in examples(shape)
        for path in lost(example, converse.encode_response(converse.decode_response(example)))
    }


def lost_events(model: ServiceModel) -> set[str]:
    stream = model.shape_for("ConverseStreamOutput")
    events = {name: member for name, member in stream.members.items() if not member.metadata.get("exception")}
    gone = set()
    for name, member in events.items():
        for example in examples(member):
            encoded_name, encoded = converse.encode_event(converse.decode_event(name, example))
            gone |= {f"{name}.{path}" for path in lost(example, encoded)}
            assert encoded_name == name
    return gone


@pytest.mark.parametrize("operation", ["Converse", "ConverseStream", "CountTokens"])
def test_every_member_of_a_request_survives(operation):
    assert lost_requests(service(), operation) == set()


@pytest.mark.parametrize("operation", ["Converse", "ConverseStream", "CountTokens"])
def test_every_encoded_request_is_valid(operation):
    shape = service().operation_model(operation).input_shape
    for example in examples(shape):
        if encoded := request_round_trip(operation, example):
            report = ParamValidator().validate({"modelId": "m", **encoded}, shape)
            assert not report.has_errors(), report.generate_report()


def test_every_member_of_the_response_survives():
    assert lost_response(service()) == set()


def test_every_member_of_every_event_survives():
    assert lost_events(service()) == set()


def test_the_answer_of_count_tokens():
    members = service().operation_model("CountTokens").output_shape.members
    assert set(members) == {"inputTokens"}
    assert converse.decode_count_tokens({"inputTokens": 5}) == 5


def test_every_exception_of_the_stream_is_written():
    stream = service().shape_for("ConverseStreamOutput")
    for name, member in stream.members.items():
        if member.metadata.get("exception"):
            error = converse.error_for(name, "because")
            assert error.code == member.name
            decoder = converse.EventDecoder()
            with pytest.raises(type(error), match="because"):
                list(decoder.feed(converse.encode_error_frame(error)))


def test_what_is_unmapped_exists():
    paths = {path for path, _ in leaves(examples(service().operation_model("CountTokens").input_shape))}
    assert all(any(path.startswith(known) for path in paths) for known in UNMAPPED)


@pytest.mark.parametrize(
    ("shape", "find"),
    [
        ("InferenceConfiguration", lambda model: lost_requests(model, "Converse")),
        ("S3Location", lambda model: lost_requests(model, "ConverseStream")),
        ("ToolSpecification", lambda model: lost_requests(model, "CountTokens")),
        ("WebLocation", lost_response),
        ("ConverseStreamMetadataEvent", lost_events),
    ],
)
def test_a_member_that_the_service_adds_is_noticed(shape, find):
    newer = copy.deepcopy(MODEL)
    newer["shapes"][shape]["members"]["addedTomorrow"] = {"shape": "String"}
    assert any(path.endswith("addedTomorrow") for path in find(service(newer)))


@pytest.mark.parametrize("operation", ["Converse", "ConverseStream"])
def test_blobs_may_be_base64(operation):
    """Over HTTP the same request arrives with base64 text."""
    for example in examples(service().operation_model(operation).input_shape):
        body = {name: value for name, value in example.items() if name != "modelId"}
        over_http = msgspec.json.decode(msgspec.json.encode(body))
        assert converse.decode_request("m", over_http) == converse.decode_request("m", body)
