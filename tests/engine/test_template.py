"""Chat templates render as transformers renders them, and a hostile one is stopped."""

from typing import Any

import pytest

from awsllm.engine.template import ChatTemplate, TemplateError
from tests.support import chat_templates

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DATED = """{{- bos_token }}
{%- set ns = namespace(count=0) %}
{%- if tools %}
    {{- "Today is " + strftime_now("%Y") + ". Tools:\\n" }}
    {%- for tool in tools %}
        {{- tool | tojson(indent=2) }}
    {%- endfor %}
{%- endif %}
{%- for message in messages if message.role != 'tool' %}
    {%- if message.content is not string %}{% continue %}{% endif %}
    {%- set ns.count = ns.count + 1 %}
    {%- generation %}[{{ message.role | upper }} {{ ns.count }}]{{ message.content | trim }}{% endgeneration %}
{%- endfor %}
{{- eos_token if not add_generation_prompt }}
"""
LOOPING = """{% for m in messages %}{% if loop.index > 2 %}{% break %}{% endif %}
{{ m.content|indent(4) }}{% endfor %}{{ extra }}"""
TOOLS = [{"type": "function", "function": {"name": "ä", "parameters": {"type": "object", "properties": {}}}}]
CHAT = [
    {"role": "system", "content": '  Be <brief> & "exact".\n'},
    {"role": "user", "content": "Grüße 👋\nline"},
    {"role": "assistant", "content": ""},
    {"role": "user", "content": "again"},
]


@pytest.fixture(scope="module")
def judge():
    from transformers.utils.chat_template_utils import render_jinja_template

    def render(source, **variables):
        rendered: Any = render_jinja_template([CHAT], chat_template=source, **variables)
        [text], _ = rendered
        return text

    return render


@pytest.mark.parametrize("source", [CHATML, DATED, LOOPING])
@pytest.mark.parametrize("tools", [None, TOOLS])
@pytest.mark.parametrize("prompt", [True, False])
def test_renders_as_transformers_does(judge, source, tools, prompt):
    ours = ChatTemplate(source, bos_token="<s>", eos_token="</s>")
    theirs = judge(
        source, tools=tools, add_generation_prompt=prompt, bos_token="<s>", eos_token="</s>", extra="x", documents=None
    )
    assert ours.render(CHAT, tools=tools, add_generation_prompt=prompt, extra="x") == theirs


@pytest.mark.parametrize("family", chat_templates.ALL)
@pytest.mark.parametrize("tools", [None, TOOLS])
def test_renders_the_families_as_transformers_does(judge, family, tools):
    source, tokens = chat_templates.ALL[family], {"bos_token": "<s>", "eos_token": "</s>"}
    expected = judge(source, tools=tools, add_generation_prompt=True, documents=None, **tokens)
    assert ChatTemplate(source, **tokens).render(CHAT, tools=tools) == expected


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages | map(attribute='role') | unique | join(', ') }} {{ messages | length }}",
        "{{ messages | selectattr('role', 'in', ['user']) | map(attribute='content') | map('upper') | list }}",
        "{% for role, turns in messages | groupby('role') %}{{ role }} {{ turns | length }};{% endfor %}",
        "{% for a in [3, 1, 2] | sort(reverse=true) %}{{ loop.revindex }}{{ a }}{{ loop.nextitem }}{% endfor %}",
        "{% for k, v in {'b': 1, 'a': [2]} | dictsort %}{{ k ~ v }}{% endfor %}{{ {'a': 1}.get('b', 'none') }}",
        "{% for n in [[1, [2]], 3] recursive %}{{ loop(n) if n is iterable else n }}{% endfor %}",
        "{% for n in range(9) if n is odd %}{{ n }}{{ ',' if not loop.last }}{% else %}none{% endfor %}",
        "{{ 'a,b,c'.split(',')[1:] }}{{ '%s: %05.1f' % ('x', 2) }}{{ 'In 2024: {:>6}|{}'.format('a', 1 == 1.0) }}",
        "{{ 'x' * 3 ~ 7 // 2 ~ 2 ** 10 ~ -7 % 4 }}{{ 1 < 2 <= 2 }}{{ 'b' not in 'abc' }}{{ (1, 2) in [(1, 2)] }}",
        "{% macro f(a, b=2) %}{{ a }}{{ b }}{{ caller(1) if caller }}{% endmacro %}{{ f(1) }}"
        "{% call(x) f(3) %}<{{ x }}>{% endcall %}",
        "{% set x %}a{% if true %}b{% endif %}{% endset %}{% filter upper %}{{ x }}{% endfilter %}{{ x | title }}",
        "{% with a = 1, b = {'k': 2} %}{{ a + b.k }}{{ b | tojson(indent=2) }}{% endwith %}{{ 1.5 | round | int }}",
        "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ [1, 2, 3] | sum }}",
        "{{ [1, 2, 3, 4, 5] | batch(2, 0) | list }}{{ [1, 2, 3] | slice(2) | list }}{{ 'ab' | list | reverse | list }}",
        "{{ '<&>' | e }}{{ 'one two' | wordcount }}{{ 'a b' | urlencode }}{{ 'x' | center(5) }}|",
        "{{ 'a\nb\n\nc' | indent(2, true) }}{{ 'one two three' | truncate(9) }}{{ [3, 1] | max }}",
        "{{ messages[-1].content.replace('a', 'b', 1) | replace('n', 'm') }}{{ 'abc' | first }}{{ [1] | last }}",
        "{% block a %}A{{ self.b() }}{% endblock %}{% block b %}B{% endblock %}{{ missing | default('d') }}",
    ],
)
def test_renders_the_language_as_transformers_does(judge, source):
    expected = judge(source, tools=None, add_generation_prompt=True, documents=None)
    assert ChatTemplate(source).render(CHAT) == expected


def test_says_which_variables_it_reads():
    assert "tools" in ChatTemplate(DATED).variables
    assert "tools" not in ChatTemplate(CHATML).variables


def test_leaves_the_callers_messages_alone():
    chat = [{"role": "user", "content": "x"}]
    with pytest.raises(TemplateError):
        ChatTemplate("{{ messages.append(1) }}").render(chat)
    assert chat == [{"role": "user", "content": "x"}]


def test_a_refusal_carries_the_templates_own_words():
    with pytest.raises(TemplateError, match="roles must alternate"):
        ChatTemplate("{{ raise_exception('roles must alternate') }}").render(CHAT)


@pytest.mark.parametrize("source", ["{% for %}", "{{ x", "{{ 1 + }}"])
def test_a_broken_template_is_refused_when_loaded(source):
    with pytest.raises(TemplateError, match="does not compile"):
        ChatTemplate(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__ }}",
        "{{ messages|attr('__class__') }}{{ (messages|attr('__class__')).x }}",
        "{{ 'a' * 10000000000 }}",
        "{{ [1] * 10000000000 }}",
        "{{ 10000000000 * 'a' }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ '%9999999999d' % 1 }}",
        "{{ '%*d' % (999999999, 1) }}",
        "{{ '%999999999d' | format(1) }}",
        "{{ '{:9999999999}'.format(1) }}",
        "{{ '{:{w}}'.format(1, w=9999999999) }}",
        "{{ 'a'.ljust(9999999999) }}",
        "{{ 'a' | center(9999999999) }}",
        "{{ 'a' | indent(width=9999999999) }}",
        "{% for i in range(999999999) %}a{% endfor %}",
        "{% set ns = namespace(_x=1) %}",
        "{% set ns = namespace(a=1) %}{% set ns._x = 2 %}",
        "{{ messages[0].nope.nope }}",
        "{% for i in range(99999) %}{{ 'a' * 1000 }}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    ],
)
def test_a_hostile_template_is_stopped(source):
    with pytest.raises(TemplateError):
        ChatTemplate(source).render(CHAT)


def test_a_template_of_absurd_length_is_not_compiled():
    with pytest.raises(TemplateError, match="at most"):
        ChatTemplate("x" * (1 << 19))


def test_only_json_values_reach_a_template():
    with pytest.raises(TemplateError, match="JSON values, not object"):
        ChatTemplate("x").render([{"role": "user", "content": object()}])
