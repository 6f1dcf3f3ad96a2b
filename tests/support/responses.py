"""Responses of OpenAI's Responses API as services write them, and the events of their streams."""

from awsllm.types import JsonObject

TOLD = {  # platform.openai.com/docs/api-reference/responses/create, 2026: the example of a text
    "id": "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b",
    "object": "response",
    "created_at": 1741476542,
    "status": "completed",
    "completed_at": 1741476543,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "model": "gpt-4.1-2025-04-14",
    "output": [
        {
            "type": "message",
            "id": "msg_67ccd2bf17f0819081ff3bb2cf6508e60bb6a6b452d3795b",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "In a peaceful grove", "annotations": []}],
        }
    ],
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "usage": {
        "input_tokens": 36,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 87,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 123,
    },
    "user": None,
    "metadata": {},
}

THOUGHT: JsonObject = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "First."}, {"type": "summary_text", "text": "Then, naïvely."}],
    "encrypted_content": "gAAAAABo",
}
CALL: JsonObject = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "weather",
    "arguments": '{"city":"Køln"}',
    "status": "completed",
}
CUSTOM: JsonObject = {
    "type": "custom_tool_call",
    "id": "ctc_1",
    "call_id": "call_2",
    "name": "run",
    "input": 'print("hé")\n',
    "status": "completed",
}
SEARCH: JsonObject = {
    "type": "web_search_call",
    "id": "ws_1",
    "status": "completed",
    "action": {"type": "search", "query": "rain"},
}
CITED: JsonObject = {
    "type": "url_citation",
    "start_index": 0,
    "end_index": 4,
    "title": "Rain",
    "url": "https://example.com/rain",
}


def message(*parts: JsonObject) -> JsonObject:
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": list(parts)}


def told(text: str, *annotations: JsonObject) -> JsonObject:
    return {"type": "output_text", "text": text, "annotations": list(annotations)}


def whole(*items: JsonObject, **members: object) -> JsonObject:
    usage = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 17,
    }
    head = {"id": "resp_1", "object": "response", "status": "completed", "error": None, "usage": usage}
    return {**head, "output": list(items), **members}


def events(response: JsonObject, end: str = "completed") -> list[JsonObject]:
    """The events by which a service tells a response, each text in pieces of three characters."""
    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    told: list[JsonObject] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for place, item in enumerate(response["output"]):
        told += _item(place, item)
    told.append({"type": f"response.{end}", "response": response})
    return [{**event, "sequence_number": number} for number, event in enumerate(told)]


def _item(place: int, item: JsonObject) -> list[JsonObject]:
    at = {"output_index": place, "item_id": item["id"]}
    inner: list[JsonObject] = []
    bare = dict(item)
    match item["type"]:
        case "message":
            bare["content"] = []
            for number, part in enumerate(item["content"]):
                where = {**at, "content_index": number}
                inner.append({"type": "response.content_part.added", **where, "part": {**part, "text": ""}})
                inner += _pieces("response.output_text.delta", part["text"], **where, logprobs=[])
                for index, annotation in enumerate(part["annotations"]):
                    cited = {"annotation_index": index, "annotation": annotation}
                    inner.append({"type": "response.output_text.annotation.added", **where, **cited})
                inner.append({"type": "response.output_text.done", **where, "text": part["text"], "logprobs": []})
                inner.append({"type": "response.content_part.done", **where, "part": part})
        case "reasoning":
            bare |= {"summary": [], "encrypted_content": "gAA"}
            for number, part in enumerate(item["summary"]):
                where = {**at, "summary_index": number}
                inner.append({"type": "response.reasoning_summary_part.added", **where, "part": {**part, "text": ""}})
                inner += _pieces("response.reasoning_summary_text.delta", part["text"], **where)
                inner.append({"type": "response.reasoning_summary_text.done", **where, "text": part["text"]})
                inner.append({"type": "response.reasoning_summary_part.done", **where, "part": part})
        case "function_call":
            bare["arguments"] = ""
            inner += _pieces("response.function_call_arguments.delta", item["arguments"], **at)
            done = {"arguments": item["arguments"], "name": item["name"]}
            inner.append({"type": "response.function_call_arguments.done", **at, **done})
        case "custom_tool_call":
            bare["input"] = ""
            inner += _pieces("response.custom_tool_call_input.delta", item["input"], **at)
            inner.append({"type": "response.custom_tool_call_input.done", **at, "input": item["input"]})
        case kind:
            inner.append({"type": f"response.{kind}.in_progress", **at})
            inner.append({"type": f"response.{kind}.completed", **at})
    added = {"type": "response.output_item.added", "output_index": place, "item": {**bare, "status": "in_progress"}}
    return [added, *inner, {"type": "response.output_item.done", "output_index": place, "item": item}]


def _pieces(kind: str, text: str, **members: object) -> list[JsonObject]:
    return [{"type": kind, **members, "delta": text[at : at + 3]} for at in range(0, len(text), 3)]
