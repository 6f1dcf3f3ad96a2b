"""Chat templates that write calls, results and thoughts in the marks of the families that awsllm tells apart. They are
this project's own, and as short as what they write allows."""

from __future__ import annotations

_CHATML_TOOLS = """
{%- if tools or messages[0].role == 'system' %}<|im_start|>system
{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}
{%- if tools %}
# Tools
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}{% block_how %}{% endif %}<|im_end|>
{% endif %}"""
_JSON_HOW = """<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>"""

QWEN3 = (
    _CHATML_TOOLS.replace("{% block_how %}", _JSON_HOW)
    + """
{%- for m in messages if m.role != 'system' %}
{%- if m.role == 'tool' %}<|im_start|>user
<tool_response>
{{ m.content }}
</tool_response><|im_end|>
{% else %}<|im_start|>{{ m.role }}
{% if m.role == 'assistant' and message_thought(m, loop) %}<think>
{{ m.reasoning_content }}
</think>

{% endif %}{{ m.content }}
{%- for call in m.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endif %}{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is defined and enable_thinking is false %}<think>

</think>

{% endif %}{% endif %}"""
).replace(
    "message_thought(m, loop)",
    "m.reasoning_content and not (messages[loop.index:] | selectattr('role', 'equalto', 'user') | list)",
)

QWEN3_CODER = (
    _CHATML_TOOLS.replace(
        "{% block_how %}",
        "<tool_call>\n<function=name>\n<parameter=key>\nvalue\n</parameter>\n</function>\n</tool_call>",
    )
    + """
{%- for m in messages if m.role != 'system' %}
{%- if m.role == 'tool' %}<|im_start|>user
<tool_response>
{{ m.content }}
</tool_response>
<|im_end|>
{% else %}<|im_start|>{{ m.role }}
{{ m.content }}
{%- for call in m.tool_calls or [] %}
<tool_call>
<function={{ call.function.name }}>
{% for key, value in call.function.arguments | items %}<parameter={{ key }}>
{{ value | tojson if value is mapping or value is not string else value }}
</parameter>
{% endfor %}</function>
</tool_call>{% endfor %}<|im_end|>
{% endif %}{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
)

GLM = """[gMASK]<sop>
{%- if tools %}<|system|>
# Tools
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<tool_call>{function-name}
<arg_key>{arg-key-1}</arg_key>
<arg_value>{arg-value-1}</arg_value>
</tool_call>{% endif %}
{%- for m in messages %}
{%- if m.role == 'tool' %}<|observation|>
<tool_response>
{{ m.content }}
</tool_response>
{%- else %}<|{{ m.role }}|>
{% if m.role == 'assistant' %}<think></think>
{% endif %}{{ m.content }}
{%- for call in m.tool_calls or [] %}
<tool_call>{{ call.function.name }}
{% for key, value in call.function.arguments | items %}<arg_key>{{ key }}</arg_key>
<arg_value>{{ value if value is string else value | tojson }}</arg_value>
{% endfor %}</tool_call>{% endfor %}
{%- endif %}{% endfor %}
{%- if add_generation_prompt %}<|assistant|>{% endif %}"""

# Past calls are told in the text of their turn: this template knows no other place for them.
SMOLLM3 = """
{%- if enable_thinking is not defined %}{% set enable_thinking = true %}{% endif -%}
<|im_start|>system
Reasoning Mode: {{ "/think" if enable_thinking else "/no_think" }}
{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}
{%- if xml_tools or python_tools or tools %}
<tools>
{% for tool in (tools or xml_tools) %}{{ tool | string }}
{% endfor %}</tools>
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>{% endif %}<|im_end|>
{% for m in messages if m.role != 'system' %}<|im_start|>{{ 'user' if m.role == 'tool' else m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% if not enable_thinking %}<think>

</think>
{% endif %}{% endif %}"""

LLAMA = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}{% set messages = messages[1:] %}
{%- endif %}<|start_header_id|>system<|end_header_id|>

{{ system }}<|eot_id|>
{%- for m in messages %}
{%- if not (m.role == 'tool' or 'tool_calls' in m) %}<|start_header_id|>{{ m.role }}<|end_header_id|>

{% if loop.first and tools %}Respond in the format {"name": function name, "parameters": dictionary}.
{% for t in tools %}{{ t | tojson(indent=4) }}

{% endfor %}{% endif %}{{ m.content | trim }}<|eot_id|>
{%- elif 'tool_calls' in m %}
{%- if not m.tool_calls | length == 1 %}{{ raise_exception("This model only supports single tool-calls at once!") }}
{%- endif %}{% set call = m.tool_calls[0].function %}<|start_header_id|>assistant<|end_header_id|>

{{ '{"name": "' + call.name + '", ' }}{{ '"parameters": ' }}{{ call.arguments | tojson }}{{ "}" }}<|eot_id|>
{%- else %}<|start_header_id|>ipython<|end_header_id|>

{{ m.content | tojson }}<|eot_id|>
{%- endif %}{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>

{% endif %}"""

MISTRAL = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}{% set messages = messages[1:] %}
{%- endif %}{% set users = messages | selectattr('role', 'equalto', 'user') | list %}
{%- for m in messages %}
{%- if m.role == 'user' %}
{%- if tools and m == users[-1] %}[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}[INST] {{
    (system + '\n\n' if system and loop.last else '') + m.content }}[/INST]
{%- elif m.tool_calls is defined %}[TOOL_CALLS] [
{%- for call in m.tool_calls %}
{%- if call.id is not defined or call.id | length != 9 %}{{ raise_exception("ids have nine characters") }}{% endif %}
{{- (call.function | tojson)[:-1] }}, "id": "{{ call.id }}"}{{ ", " if not loop.last else "]" + eos_token }}
{%- endfor %}
{%- elif m.role == 'assistant' %} {{ m.content | trim + eos_token }}
{%- elif m.role == 'tool' %}[TOOL_RESULTS] {"content": {{ m.content | tojson }}, "call_id": "{{ m.tool_call_id }}"}[
{{- '/TOOL_RESULTS]' }}{% endif %}{% endfor %}"""

MISTRAL_NAMED = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' %}[SYSTEM_PROMPT]{{ messages[0]['content'] }}[/SYSTEM_PROMPT]
{%- set messages = messages[1:] %}{% endif %}
{%- if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}
{%- for m in messages %}
{%- if m.role == 'user' %}[INST]{{ m.content }}[/INST]
{%- elif m.role == 'assistant' %}
{%- if m.reasoning_content %}[THINK]{{ m.reasoning_content }}[/THINK]{% endif %}{{ m.content }}
{%- for call in m.tool_calls or [] %}
{%- set arguments = call.function.arguments %}
{{- '[TOOL_CALLS]' + call.function.name + '[ARGS]' + (arguments if arguments is string else arguments | tojson) }}
{%- endfor %}{{ eos_token }}
{%- else %}[TOOL_RESULTS]{{ m.content }}[/TOOL_RESULTS]{% endif %}{% endfor %}"""

GRANITE = """
{%- set system = messages[0]['content'] if messages[0]['role'] == 'system' else 'You are an assistant.' %}
{%- if tools %}{% set system = system + ' When a tool is required to answer the query, respond only with <|tool_call|>'
 + ' followed by a JSON list of tools used.' %}{% endif %}
{%- if thinking %}{% set system = system + ' Write your thoughts between <think></think> and your response between'
 + ' <response></response>.' %}{% endif -%}
<|start_of_role|>system<|end_of_role|>{{ system }}<|end_of_text|>
{% if tools %}<|start_of_role|>available_tools<|end_of_role|>{{ tools | tojson(indent=4) }}<|end_of_text|>
{% endif %}{% for m in messages if m.role != 'system' %}<|start_of_role|>{{ m.role }}<|end_of_role|>
{%- if m.tool_calls %}<|tool_call|>[{% for call in m.tool_calls %}{{ call.function | tojson }}
{{- ", " if not loop.last }}{% endfor %}]{% else %}{{ m.content }}{% endif %}<|end_of_text|>
{% endfor %}{% if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %}"""

# Granite 3.1 writes its mark letter by letter, and past calls as any text.
GRANITE_TAGS = GRANITE.replace("<|tool_call|>", "<tool_call>")

PHI = """{% for m in messages %}
{%- if m['role'] == 'system' and 'tools' in m and m['tools'] is not none %}<|system|>{{ m['content'] + '<|tool|>' +
 m['tools'] + '<|/tool|>' }}<|end|>{% else %}{{ '<|' + m['role'] + '|>' + m['content'] }}<|end|>{% endif %}
{%- endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"""

PHI_TEMPLATE = """<|system|>{{ messages[0].content if messages[0].role == 'system' }}
{%- for tool in tools or [] %}<|tool|>{{ tool.function | tojson }}<|/tool|>{% endfor %}<|end|>
{%- for m in messages if m.role != 'system' %}
{%- if m.role == 'tool' %}<|tool_response|>{{ m.content | tojson }}<|end|>
{%- else %}<|{{ m.role }}|>{{ m.content }}
{%- for call in m.tool_calls or [] %}<|tool_call|>{{ call.function | tojson }}<|/tool_call|>{% endfor %}<|end|>
{%- endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"""

# Arguments are put beside other texts, so they must be one.
DEEPSEEK = """{{ bos_token }}
{%- for m in messages if m.role == 'system' %}{{ m.content }}{% endfor %}
{%- for tool in tools or [] %}{{ tool | tojson }}
{% endfor %}
{%- for m in messages %}
{%- if m.role == 'user' %}<｜User｜>{{ m.content }}
{%- elif m.role == 'assistant' %}
{%- for call in m.tool_calls or [] %}
{{- '<｜Assistant｜><｜tool▁calls▁begin｜>' if loop.first else '\n' }}
{{- '<｜tool▁call▁begin｜>function<｜tool▁sep｜>' + call.function.name + '\n```json\n' + call.function.arguments }}
{{- '\n```<｜tool▁call▁end｜>' }}{{ '<｜tool▁calls▁end｜><｜end▁of▁sentence｜>' if loop.last }}{% endfor %}
{%- if m.content is not none %}<｜Assistant｜>{{ m.content.split('</think>')[-1] }}<｜end▁of▁sentence｜>{% endif %}
{%- elif m.role == 'tool' %}<｜tool▁output▁begin｜>{{ m.content }}<｜tool▁output▁end｜>
{%- endif %}{% endfor %}{% if add_generation_prompt %}<｜Assistant｜><think>
{% endif %}"""

R1_DISTILL = """{{ bos_token }}{% for m in messages %}
{%- if m.role == 'assistant' %}<｜Assistant｜>{{ m.content.split('</think>')[-1] }}<｜end▁of▁sentence｜>
{%- elif m.role == 'user' %}<｜User｜>{{ m.content }}{% else %}{{ m.content }}{% endif %}
{%- endfor %}{% if add_generation_prompt %}<｜Assistant｜><think>
{% endif %}"""

FUNCTION_GEMMA = """{%- macro value(v) -%}
{%- if v is string %}<escape>{{ v }}<escape>{% elif v is boolean %}{{ 'true' if v else 'false' }}
{%- elif v is mapping %}{{ '{' }}{% for k, w in v | dictsort %}{{ k }}:{{ value(w) }}{{ ',' if not loop.last }}
{%- endfor %}{{ '}' }}{% elif v is iterable %}[{% for w in v %}{{ value(w) }}{{ ',' if not loop.last }}{% endfor %}]
{%- else %}{{ v }}{% endif %}
{%- endmacro -%}
{{ bos_token }}
{%- if tools or messages[0].role == 'system' %}<start_of_turn>developer
{{ messages[0].content if messages[0].role == 'system' }}
{%- for tool in tools or [] %}<start_function_declaration>declaration:{{ tool.function.name }}
{{- value(tool.function.parameters) }}<end_function_declaration>{% endfor %}<end_of_turn>
{% endif %}{% for m in messages if m.role != 'system' %}
{%- if m.role == 'tool' %}<start_function_response>response:{{ m.name }}{value:{{ value(m.content) }}}
{{- '<end_function_response>' }}{% else %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}
{{ m.content }}{% for call in m.tool_calls or [] %}<start_function_call>call:{{ call.function.name }}
{{- value(call.function.arguments) }}<end_function_call>{% endfor %}
{%- if not m.tool_calls %}<end_of_turn>
{% endif %}{% endif %}{% endfor %}{% if add_generation_prompt %}<start_of_turn>model
{% endif %}"""

GPT_OSS = """
{%- macro the_system() %}{% if reasoning_effort is not defined %}{% set reasoning_effort = "medium" %}{% endif -%}
Reasoning: {{ reasoning_effort }}
# Valid channels: analysis, commentary, final.{% endmacro -%}
<|start|>system<|message|>{{ the_system() }}<|end|>
{%- set told = messages[0].content if messages[0].role == 'system' else '' %}
{%- if told or tools %}<|start|>developer<|message|># Instructions

{{ told }}{% for tool in tools or [] %}
type {{ tool.function.name }} = (_: {{ tool.function.parameters | tojson }}) => any;{% endfor %}<|end|>{% endif %}
{%- set last = namespace(name=none) %}
{%- for m in messages if m.role != 'system' %}
{%- if m.role == 'assistant' %}
{%- if 'tool_calls' in m %}
{%- if m.content and m.thinking %}{{ raise_exception("Cannot pass both content and thinking") }}{% endif %}
{%- if m.content or m.thinking %}<|start|>assistant<|channel|>analysis<|message|>{{ m.content or m.thinking }}<|end|>
{%- endif %}{% set call = m.tool_calls[0].function %}{% set last.name = call.name -%}
<|start|>assistant to=functions.{{ call.name }}<|channel|>commentary json<|message|>
{{- call.arguments | tojson }}<|call|>
{%- else %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}<|end|>{% endif %}
{%- elif m.role == 'tool' %}
{%- if last.name is none %}{{ raise_exception("no call before a result") }}{% endif -%}
<|start|>functions.{{ last.name }} to=assistant<|channel|>commentary<|message|>{{ m.content | tojson }}<|end|>
{%- else %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endif %}
{%- endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}"""
