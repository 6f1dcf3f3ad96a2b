"""Each family's way of calling tools and of thinking: told by its template, written into it, read out of answers and
kept to by grammars, whether its marks are tokens of their own or spelt letter by letter."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from awsllm import types as t
from awsllm.backends.local.channels import ChannelReader
from awsllm.backends.local.dialects import CODER, FUNCTION_GEMMA, Dialect
from awsllm.backends.local.output import AnswerReading, OutputReader
from awsllm.errors import UnsupportedError, ValidationError
from awsllm.stream import fold
from tests.support import chat_templates, tool_templates
from tests.support.token_models import ADDED, CONTROL, answer, chat_model, tokenizer
from tests.support.tool_families import FAMILIES, KITCHEN, LIGHT, PARIS, WEATHER, Family, recognised

QUESTION = t.Message.user("Paris?")
NAMES = {"smollm3": "hermes"}
EACH = pytest.mark.parametrize("name", FAMILIES)
SPELLINGS = pytest.mark.parametrize("kind", [CONTROL, ADDED, None], ids=["control", "added", "letters"])


def tokens_of(family: Family, kind: int | None) -> Any:
    return tokenizer(family.marks if kind else (), kind or CONTROL)


def ask(*messages: t.Message, tools: tuple[t.ToolSpec, ...] = (WEATHER, LIGHT), **options: Any) -> t.ConverseRequest:
    config = t.InferenceConfig(max_tokens=options.pop("max_tokens", 4000))
    return t.ConverseRequest(
        model="m", messages=messages or (QUESTION,), tools=tools, inference_config=config, **options
    )


def without_ids(message: t.Message) -> tuple[t.ContentBlock, ...]:
    return tuple(
        t.ToolUse("id", block.name, block.input) if isinstance(block, t.ToolUse) else block
        for block in message.content
    )  # fmt: skip


def read(dialect: Dialect, pieces: list[str], *, cut: bool = False, **options: Any) -> tuple[t.ContentBlock, ...]:
    reader: OutputReader | ChannelReader
    stops = options.get("stops", ())
    if dialect.channels:
        reader = ChannelReader(stops, tools=options.get("tools", True))
    else:
        schemas = {tool.name: tool.input_schema for tool in (WEATHER, LIGHT)}
        reading = AnswerReading(dialect, options.get("thinking", False), schemas)
        reader = OutputReader(stops, tools=options.get("tools", True), reading=reading)
    events: list[t.StreamEvent] = [t.MessageStart("assistant")]
    for piece in pieces:
        events += reader.push(piece)
    events += reader.finish(cut=cut)
    message = fold([*events, t.MessageStop("end_turn")]).message
    assert reader.calls == len(message.tool_uses)
    opened = {e.index for e in events if isinstance(e, t.ContentBlockDelta)}
    closed = [e.index for e in events if isinstance(e, t.ContentBlockStop)]
    assert sorted(opened) == closed == list(range(len(closed)))
    return without_ids(message)


# --- which it is -----------------------------------------------------------------------------------------------------


@EACH
def test_a_template_says_whose_it_is(name: str) -> None:
    assert FAMILIES[name].dialect.name == NAMES.get(name, name)


@pytest.mark.parametrize(
    ("template", "name", "opens"),
    [
        (chat_templates.SMOLLM2, "plain", None),
        (chat_templates.GEMMA, "plain", None),
        (chat_templates.DEEPSEEK, "plain", "<think>"),
        (tool_templates.R1_DISTILL, "plain", "<think>"),
        (tool_templates.SMOLLM3, "hermes", "<think>"),
        (tool_templates.MISTRAL_NAMED, "mistral-named", "[THINK]"),
        (tool_templates.GPT_OSS, "gpt-oss", None),
        (chat_templates.GRANITE, "told", None),
        ("{% for t in tools %}{{ t }}{% endfor %}", "told", None),
        ("{{ messages }}<|channel>thought\n<channel|>", "plain", "<|channel>thought\n"),
    ],
)
def test_a_template_says_how_its_model_thinks(template: str, name: str, opens: str | None) -> None:
    dialect = recognised(template)
    assert dialect.name == name
    assert (dialect.thoughts.opens if dialect.thoughts else None) == opens


# --- reading ---------------------------------------------------------------------------------------------------------


def answers(name: str) -> list[tuple[str, tuple[t.ContentBlock, ...]]]:
    family = FAMILIES[name]
    found: list[tuple[str, tuple[t.ContentBlock, ...]]] = [(family.one, (PARIS,))]
    if family.two:
        found.append((family.two, (PARIS, KITCHEN)))
    if family.dialect.channels:
        thought = f"<|channel|>analysis<|message|> Hm: <b>. \n<|end|><|start|>assistant{family.one}"
        header = "<|start|>assistant to=functions.get_weather<|channel|>commentary json"
        late = header + "<|message|>" + json.dumps(PARIS.input)
        said = f"<|channel|>commentary<|message|>Let me see.<|end|>{late}<|call|>"
        return [*found, (thought, (t.Reasoning("Hm: <b>."), PARIS)), (said, (t.Text("Let me see."), PARIS))]
    if family.dialect.form.opens:
        found.append((f"Let me see.\n{family.one}", (t.Text("Let me see.\n"), PARIS)))
        found.append((f"{family.one} So.", (PARIS, t.Text(" So."))))
    if thoughts := family.dialect.thoughts:
        lead = f"{thoughts.opens}\nHm: <b>.\n{thoughts.closes}\n\n"
        found.append((lead + family.one, (t.Reasoning("Hm: <b>."), PARIS)))
        found.append((f"{lead}Sunny.", (t.Reasoning("Hm: <b>."), t.Text("Sunny."))))
        found.append((f"{thoughts.opens}\n\n{thoughts.closes}\n\nSunny.", (t.Text("Sunny."),)))
    return found


@EACH
def test_an_answer_is_read_whole_and_however_it_is_cut(name: str) -> None:
    dialect = FAMILIES[name].dialect
    for text, expected in answers(name):
        assert read(dialect, [text]) == expected
        assert read(dialect, list(text)) == expected
        for at in range(1, len(text)):
            assert read(dialect, [text[:at], text[at:]]) == expected


@EACH
def test_calls_are_text_where_no_tools_were_offered(name: str) -> None:
    family = FAMILIES[name]
    if family.dialect.channels:
        assert read(family.dialect, [family.one], tools=False) == (t.Text('{"city": "Paris", "days": 3}'),)
    else:
        assert read(family.dialect, [family.one], tools=False) == (t.Text(family.one),)


@EACH
def test_a_broken_call_is_text_and_a_cut_one_is_nothing(name: str) -> None:
    family = FAMILIES[name]
    half = family.one[: family.one.index("Pa")]
    assert read(family.dialect, list(half)) == (t.Text(half),)
    for end in range(1, len(half) + 1):
        content = read(family.dialect, [half[:end]], cut=True)
        assert not [block for block in content if not isinstance(block, t.Text)]
        assert content == () or not family.dialect.form.opens.startswith(half[:1])


def test_what_is_almost_a_call_is_text() -> None:
    llama, mistral = FAMILIES["llama"].dialect, FAMILIES["mistral"].dialect
    for text in ('{"answer": 3}', "{", '{"name": 3}', "Well: " + FAMILIES["llama"].one, "[1, 2]"):
        assert read(llama, list(text)) == (t.Text(text),)
    for text in ("[TOOL_CALLS] nothing", "[TOOL_CALLS] [{}]", "[TOOL_CALLS]"):
        assert read(mistral, list(text)) == (t.Text(text),)
    coder = FAMILIES["qwen3-coder"].dialect
    text = "<tool_call>\n<function=get_weather>\nParis\n</function>\n</tool_call>"
    assert read(coder, list(text)) == (t.Text(text),)


def test_text_before_nothing_is_not_held_back() -> None:
    """A call may stand where this answer begins, and does not."""
    reader = OutputReader((), tools=True, reading=AnswerReading(FAMILIES["llama"].dialect))
    assert reader.push("It") == [t.ContentBlockDelta(0, t.TextDelta("It"))]


def test_what_families_write_beside_the_usual() -> None:
    llama = FAMILIES["llama"]
    assert read(llama.dialect, ["<|python_tag|>" + llama.one]) == (PARIS,)
    with_ids = '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}, "id": "abc123456"}]'
    assert read(FAMILIES["mistral"].dialect, list(with_ids)) == (PARIS,)
    with_id = '[TOOL_CALLS]get_weather[CALL_ID]abc123456[ARGS]{"city": "Paris", "days": 3}'
    assert read(FAMILIES["mistral-named"].dialect, list(with_id)) == (PARIS,)
    coder = FAMILIES["qwen3-coder"]
    spoken = coder.two.replace("\ntrue\n", "\nTrue\n")
    assert read(coder.dialect, [spoken]) == (PARIS, KITCHEN)


def test_arguments_that_nest_for_ever_or_do_not_close_are_text() -> None:
    gemma = FAMILIES["functiongemma"]
    opens, closes = gemma.dialect.form.opens, gemma.dialect.form.closes
    for inside in ("{a:" * 5000 + "1" + "}" * 5000, "{a:[1,2}", "{:1}", "{a}", "{a:<escape>b}", "{a:1} b", "{a:,b:}"):
        text = f"{opens}call:f{inside}{closes}"
        assert read(gemma.dialect, [text]) == (t.Text(text),)
    hermes = FAMILIES["hermes"].dialect
    deep = '{"a": ' * 5000 + "1" + "}" * 5000
    call = f'<tool_call>{{"name": "f", "arguments": {deep}}}</tool_call>'
    [use] = read(hermes, [call])
    assert use == t.ToolUse("id", "f", deep)  # no JSON that can be read, so nothing of it is lost


def test_what_never_becomes_a_call_is_given_back_to_the_letter() -> None:
    for name, family in FAMILIES.items():
        for text in ("{" * 3000, " " * 3000 + "x", "<" * 3000, family.one[:12] + "[{" * 1500):
            content = read(family.dialect, list(text))
            assert "".join(block.text for block in content if isinstance(block, t.Text)) == text, name


def test_a_thought_that_the_prompt_opens_needs_no_mark_and_may_have_one() -> None:
    dialect = FAMILIES["deepseek"].dialect
    for text in ("Hm.</think>\n\nSunny.", "<think>\nHm.\n</think>Sunny."):
        for pieces in ([text], list(text)):
            assert read(dialect, pieces, thinking=True) == (t.Reasoning("Hm."), t.Text("Sunny."))
    assert read(dialect, ["Hm.</thi"], thinking=True, cut=True) == (t.Reasoning("Hm."),)
    assert read(dialect, ["A <think> is no thought."]) == (t.Text("A <think> is no thought."),)


def test_stop_sequences_act_on_answers_alone() -> None:
    dialect = FAMILIES["hermes"].dialect
    text = f"<think>STOP</think>one STOP two{FAMILIES['hermes'].one}"
    assert read(dialect, list(text), stops=("STOP",)) == (t.Reasoning("STOP"), t.Text("one "))
    channels = FAMILIES["gpt-oss"].dialect
    text = (
        "<|channel|>analysis<|message|>STOP<|end|><|start|>assistant<|channel|>final<|message|>one STOP two<|return|>"
    )
    assert read(channels, list(text), stops=("STOP",)) == (t.Reasoning("STOP"), t.Text("one "))


def test_marks_around_an_answer_are_no_part_of_it() -> None:
    text = "<think>Hm.</think>\n<response>Sunny.</response>"
    assert read(FAMILIES["granite"].dialect, list(text)) == (t.Reasoning("Hm."), t.Text("Sunny."))


def test_an_answer_without_channels_is_text() -> None:
    dialect = FAMILIES["gpt-oss"].dialect
    for text in ("Sunny.", "to be", "assistants"):
        for pieces in ([text], list(text)):
            assert read(dialect, pieces) == (t.Text(text),)


# --- prompts ---------------------------------------------------------------------------------------------------------

ROUND = (
    t.Message.user("Paris?"),
    t.Message("assistant", (t.Reasoning("Hm."), t.ToolUse("a", "get_weather", {"city": "Paris", "days": 3}))),
    t.Message("user", (t.ToolResult("a", (t.Json({"sky": "clear"}),)),)),
)


@EACH
@SPELLINGS
def test_a_conversation_is_told_as_its_model_knows_it(name: str, kind: int | None) -> None:
    family = FAMILIES[name]
    model = chat_model(family.template, tokens_of(family, kind), "")
    assert model._dialect_with_past.past == family.past
    told = b"".join(map(model.tokenizer.token_bytes, model.encode(ask(*ROUND)))).decode()
    assert "get_weather" in told
    assert '"sky": "clear"' in told.replace('\\"', '"')
    call = family.one.partition("<|constrain|>")[0] if name != "gpt-oss" else "to=functions.get_weather<|channel|>"
    written = told.replace(', "id": "000000001"', "").replace('"parameters": {"city"', '"parameters": {"city"')
    assert call.strip() in written
    assert told.index("Paris?") < told.index(call.strip()[:12], told.index("Paris?")) < told.index("clear")
    count = model.tokenizer.encode(told)
    assert len(count) <= len(model.encode(ask(*ROUND)))


def test_a_turn_of_calls_alone_says_nothing_where_a_template_would_write_it() -> None:
    model = chat_model(FAMILIES["deepseek"].template, tokenizer(), "")
    told = model.tokenizer.decode(model.encode(ask(*ROUND)))
    assert told.count("<｜Assistant｜>") == 2  # the call, and the answer that is asked for
    said = t.Message("assistant", (t.Text("Let me see."), *ROUND[1].content[1:]))
    assert "Let me see." in model.tokenizer.decode(model.encode(ask(QUESTION, said, ROUND[2])))


@pytest.mark.parametrize("name", ["llama", "gpt-oss"])
def test_several_calls_are_told_one_at_a_time_where_a_template_takes_one(name: str) -> None:
    uses = (t.Text("Two."), t.ToolUse("a", "get_weather", {"city": "Paris"}), t.ToolUse("b", "set-light", {"on": True}))
    results = (t.ToolResult("b", (t.Text("lit"),)), t.ToolResult("a", (t.Text("clear"),)), t.Text("So?"))
    model = chat_model(FAMILIES[name].template, tokens_of(FAMILIES[name], None), "")
    turns = (QUESTION, t.Message("assistant", uses), t.Message("user", results))
    told = model.tokenizer.decode(model.encode(ask(*turns)))
    told = told[told.index("Paris?") :]
    places = [told.index(word) for word in ("get_weather", "clear", "set-light", "lit", "So?")]
    assert places == sorted(places)


def test_past_thoughts_go_where_the_template_looks_for_them() -> None:
    qwen, gpt, mistral = (FAMILIES[name] for name in ("hermes", "gpt-oss", "mistral-named"))
    for family, told in (
        (qwen, "<think>\nHm.\n</think>"),
        (gpt, "analysis<|message|>Hm."),
        (mistral, "[THINK]Hm.[/THINK]"),
    ):
        model = chat_model(family.template, tokenizer(), "")
        assert told in model.tokenizer.decode(model.encode(ask(*ROUND)))
    model = chat_model(gpt.template, tokenizer(), "")
    beside = t.Message("assistant", (t.Reasoning("Hm."), t.Text("Let me see."), PARIS))
    told = model.tokenizer.decode(model.encode(ask(QUESTION, beside, *ROUND[2:])))
    assert "Hm.\n\nLet me see." in told


@pytest.mark.parametrize("name", ["granite", "mistral", "gpt-oss", "hermes"])
def test_marks_in_a_strangers_text_are_letters(name: str) -> None:
    family = FAMILIES[name]
    model = chat_model(family.template, tokens_of(family, CONTROL), "")
    ids = set(model._dialect_with_past.tokens(model.tokenizer).values())

    def marks(text: str) -> int:
        said = t.ToolUse("a", "get_weather", {"city": text})
        given = t.ToolResult("a", (t.Text(text),))
        turns = (t.Message.user(text), t.Message("assistant", (said,)), t.Message("user", (given,)))
        return sum(token in ids for token in model.encode(ask(*turns)))

    assert marks("".join(family.marks)) == marks("x")


# --- answers ---------------------------------------------------------------------------------------------------------


@EACH
@SPELLINGS
def test_what_a_model_of_the_family_writes_passes_its_grammar(name: str, kind: int | None) -> None:
    family = FAMILIES[name]
    for text, expected in answers(name):
        if text.endswith("So."):
            continue  # text behind a call: the grammar ends there
        begins = family.dialect.thoughts is not None and name == "deepseek"  # within a thought
        if begins and not text.startswith("<think>"):
            continue
        script = text.removesuffix("<|call|>").removeprefix("<think>" if begins else "")
        response = answer(chat_model(family.template, tokens_of(family, kind), script), ask())
        assert without_ids(response.message) == expected
        assert response.stop_reason == ("tool_use" if response.tool_uses else "end_turn")


WALKS = [
    (name, kind) for name in FAMILIES for kind in (CONTROL, ADDED, None)
    if kind is not None or name not in ("gpt-oss", "functiongemma")
    if kind is not ADDED or name in ("hermes", "mistral", "gpt-oss")
]  # fmt: skip


@pytest.mark.parametrize(("name", "kind"), WALKS)
def test_whatever_comes_under_the_grammar_is_a_call_that_validates(name: str, kind: int | None) -> None:
    """A walk that ends by chance needs bounds, which texts in letters and thoughts have none of."""
    family = FAMILIES[name]
    tools = (LIGHT,) if name in ("qwen3-coder", "glm", "functiongemma") else (WEATHER, LIGHT)
    schemas = {tool.name: tool.input_schema for tool in tools}
    for seed, choice in enumerate((t.ToolChoice("any"), t.ToolChoice("tool", "set-light"))):
        model = chat_model(family.template, tokens_of(family, kind), None, seed)
        model.dialect = model.dialect._replace(thoughts=None)
        response = answer(model, ask(tools=tools, tool_choice=choice))
        assert response.stop_reason == "tool_use"
        assert 1 <= len(response.tool_uses) <= (4 if seed == 0 else 1)
        assert all(isinstance(block, t.ToolUse | t.Reasoning) for block in response.message.content)
        for use in response.tool_uses:
            jsonschema.validate(use.input, schemas[use.name])


@EACH
def test_a_forced_call_is_forced_and_a_named_one_named(name: str) -> None:
    family = FAMILIES[name]
    lead = "Hm.</think>" if name == "deepseek" else ""
    for choice in (t.ToolChoice("any"), t.ToolChoice("tool", "get_weather")):
        model = chat_model(family.template, tokens_of(family, CONTROL), lead + family.one)
        assert without_ids(answer(model, ask(tool_choice=choice)).message)[-1] == PARIS
    model = chat_model(family.template, tokens_of(family, CONTROL), lead + "Sunny.")
    response = answer(model, ask(tool_choice=t.ToolChoice("any"), max_tokens=12))
    assert not [block for block in response.message.content if isinstance(block, t.Text)]


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_glm_calls_are_read_however_they_are_broken(step: int) -> None:
    """Later models of the family leave out the ends of lines, and write calls without arguments."""
    glm = FAMILIES["glm"]
    one = glm.one.replace("\n", "")
    assert read(glm.dialect, [one[n : n + step] for n in range(0, len(one), step)]) == (PARIS,)
    bare = "<tool_call>get_weather</tool_call>"
    assert read(glm.dialect, [bare[n : n + step] for n in range(0, len(bare), step)]) == (
        t.ToolUse("id", "get_weather", {}),
    )
    broken = "<tool_call>get_weather\n<arg_key>city</arg_key>\nParis</tool_call>"
    assert read(glm.dialect, [broken]) == (t.Text(broken),)
    for spelling in (None, CONTROL):
        model = chat_model(glm.template, tokens_of(glm, spelling), one)
        assert without_ids(answer(model, ask(tool_choice=t.ToolChoice("any"))).message) == (PARIS,)


def test_calls_side_by_side_can_be_ruled_out() -> None:
    for name in ("hermes", "granite", "mistral-named", "functiongemma", "qwen3-coder", "glm"):
        family = FAMILIES[name]
        model = chat_model(family.template, tokens_of(family, CONTROL), family.two)
        response = answer(model, ask(extra={"parallel_tool_calls": False}))
        assert without_ids(response.message) == (PARIS,)


def test_json_may_follow_a_thought() -> None:
    schema = t.OutputConfig(
        t.JsonSchema({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
    )
    for name, lead in (("hermes", "<think>\nHm.\n</think>\n\n"), ("deepseek", "\nHm.\n</think>\n\n")):
        for kind in (CONTROL, ADDED, None):
            model = chat_model(FAMILIES[name].template, tokens_of(FAMILIES[name], kind), lead + '{"a": 3}')
            response = answer(model, ask(tools=(), output_config=schema))
            assert response.message.content == (t.Reasoning("Hm."), t.Text('{"a": 3}'))
    family = FAMILIES["gpt-oss"]
    script = '<|channel|>final <|constrain|>json<|message|>{"a": 3}'
    for kind in (CONTROL, ADDED, None):
        response = answer(
            chat_model(family.template, tokens_of(family, kind), script), ask(tools=(), output_config=schema)
        )
        assert response.message.content == (t.Text('{"a": 3}'),)
    model = chat_model(FAMILIES["hermes"].template, tokens_of(FAMILIES["hermes"], ADDED), '{"a": 3}')
    response = answer(model, ask(output_config=schema))
    assert response.message.content == (t.Text('{"a": 3}'),)


def test_a_thought_that_is_switched_off_is_not_begun() -> None:
    family = FAMILIES["hermes"]
    model = chat_model(family.template, tokens_of(family, ADDED), "<think>Hm.</think>Sunny.")
    response = answer(model, ask(extra={"enable_thinking": False}, max_tokens=20))
    assert not [block for block in response.message.content if isinstance(block, t.Reasoning)]


def test_thoughts_are_kept_apart_without_tools_too() -> None:
    for name, script in (
        ("smollm3", "<think>\nHm.\n</think>\nSunny."),
        ("deepseek", "Hm.\n</think>\n\nSunny."),
        ("gpt-oss", "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Sunny."),
        ("mistral-named", "[THINK]Hm.[/THINK]Sunny."),
    ):
        for kind in (CONTROL, ADDED, None):
            family = FAMILIES[name]
            response = answer(chat_model(family.template, tokens_of(family, kind), script), ask(tools=()))
            assert response.message.content == (t.Reasoning("Hm."), t.Text("Sunny."))
            assert response.stop_reason == "end_turn"


def test_a_thought_whose_tokens_run_out_is_no_answer() -> None:
    family = FAMILIES["deepseek"]
    model = chat_model(family.template, tokens_of(family, ADDED), "Hm, and so on")
    response = answer(model, ask(tools=(), max_tokens=3))
    assert response.message.content == (t.Reasoning("Hm,"),)
    assert response.stop_reason == "max_tokens"


def test_marks_that_are_no_one_elses_business_stay_hidden() -> None:
    """Without tools a mark of calls is a control token like any other."""
    family = FAMILIES["granite"]
    response = answer(chat_model(family.template, tokens_of(family, CONTROL), "a<|tool_call|>b"), ask(tools=()))
    assert response.message.content == (t.Text("ab"),)


def test_a_strict_tool_whose_texts_are_bounded_is_refused_where_texts_have_no_quotes() -> None:
    strict = t.ToolSpec("get_weather", WEATHER.input_schema, strict=True)
    for name in ("qwen3-coder", "glm", "functiongemma"):
        model = chat_model(FAMILIES[name].template, tokens_of(FAMILIES[name], CONTROL), "")
        with pytest.raises(UnsupportedError, match="maxLength"):
            answer(model, ask(tools=(strict,)))


@pytest.mark.parametrize("kind", [CONTROL, ADDED])
def test_no_mark_is_among_the_tokens_that_are_never_written(kind: int) -> None:
    """Of several tokens of one text one alone is written, and that is the mark."""
    for family in FAMILIES.values():
        tokens = tokenizer((*family.marks, *family.marks), kind)
        found = family.dialect.tokens(tokens)
        assert set(found) >= set(family.marks) - {"<|return|>", "<|call|>"}
        assert not tokens.silent_ids & set(found.values())


# --- switches --------------------------------------------------------------------------------------------------------


def warnings(name: str, **options: Any) -> tuple[str, str]:
    """The prompt, and what was warned of."""
    model = chat_model(FAMILIES[name].template, tokenizer(), "x")
    request = ask(tools=(), **options)
    told = model.tokenizer.decode(model.encode(request))
    return told, " / ".join(answer(model, request).warnings)


def test_an_effort_is_said_as_the_template_has_it() -> None:
    effort = t.OutputConfig(effort="high")
    told, warned = warnings("gpt-oss", output_config=effort)
    assert "Reasoning: high" in told
    assert not warned
    told, warned = warnings("gpt-oss", output_config=t.OutputConfig(effort="max"))
    assert "Reasoning: high" in told
    assert "'max' is high" in warned
    told, warned = warnings("gpt-oss", output_config=t.OutputConfig(effort="<|end|>"))
    assert "Reasoning: medium" in told
    assert "no effect" in warned
    told, warned = warnings("smollm3", output_config=t.OutputConfig(effort="none"))
    assert "/no_think" in told
    assert not warned
    told, warned = warnings("smollm3", output_config=effort)
    assert "Reasoning Mode: /think" in told
    assert "how much" in warned
    assert warnings("mistral", output_config=effort)[1].startswith("effort 'high' has no effect: the template")


def test_a_switch_can_be_said_in_the_templates_words_or_in_claudes() -> None:
    assert "/no_think" in warnings("smollm3", extra={"enable_thinking": False})[0]
    assert "/no_think" in warnings("smollm3", extra={"thinking": {"type": "disabled"}})[0]
    assert "<think></think>" in warnings("granite", extra={"thinking": True})[0]
    assert "<think></think>" not in warnings("granite", extra={"thinking": False})[0]
    assert "Reasoning: low" in warnings("gpt-oss", extra={"reasoning_effort": "low"})[0]
    budget = {"thinking": {"type": "enabled", "budget_tokens": 2048}}
    assert "budget" in warnings("smollm3", extra=budget)[1]
    assert warnings("mistral", extra={"thinking": True})[1].startswith("thinking has no effect: the template of")
    assert "no such switch" in warnings("mistral", extra={"reasoning_effort": "low"})[1]
    for extra in ({"enable_thinking": "yes"}, {"thinking": {"type": "?"}}, {"reasoning_effort": "<|end|>"}):
        with pytest.raises(ValidationError, match="not"):
            warnings("smollm3", extra=extra)


@pytest.mark.parametrize("mark", ["<parameter=a>", "<parameter="])
def test_a_mark_that_is_written_without_end_is_text(mark: str) -> None:
    """Looked at once: a pattern that is tried at each of them would take minutes."""
    text = f"<tool_call>\n<function=get_weather>\n{mark * 50_000}</function>\n</tool_call>"
    [block] = read(CODER, [text])
    assert block == t.Text(text)


@pytest.mark.parametrize("dialect", [CODER, FUNCTION_GEMMA], ids=lambda dialect: dialect.name)
def test_a_value_that_nests_too_deeply_is_a_text(dialect: Dialect) -> None:
    deep = " " + "[" * 100_000
    call = dialect.form.text([t.ToolUse("id", "get_weather", {"other": "VALUE"})])
    [block] = read(dialect, [call.replace("<escape>", "").replace("VALUE", deep)])
    assert isinstance(block, t.ToolUse)
    assert str(block.input["other"]).strip() == deep.strip()
