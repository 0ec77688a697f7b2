"""Renders chat templates of every family with Jinja in the environment of transformers'
apply_chat_template. The templates are our own, after the formats that the models' makers publish.

    python tools/golden/chat_templates.py

writes crates/orion-llm/tests/golden/tokenizer/chat.json.
"""

import json
from pathlib import Path

from jinja2.exceptions import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

OUT = Path(__file__).resolve().parents[2] / "crates/orion-llm/tests/golden/tokenizer/chat.json"

TEMPLATES = {
    "chatml": """\
{%- for message in messages %}
    {%- if loop.first and message.role != 'system' %}
        {{- '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}
    {%- endif %}
    {{- '<|im_start|>' ~ message['role'] + '\\n' + message['content'] | trim + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
""",
    "llama2": """\
{% set offset = 0 %}{% set preamble = '' %}
{% if messages[0]['role'] == 'system' %}
    {% set offset = 1 %}
    {% set preamble = '<<SYS>>\\n' + messages[0]['content'].strip() + '\\n<</SYS>>\\n\\n' %}
{% endif %}
{% for message in messages[offset:] %}
    {% if (message.role == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception('Roles must alternate user/assistant') }}
    {% endif %}
    {% if message.role == 'user' %}
        {%- set body = preamble + message.content if loop.index0 == 0 else message.content -%}
        {{- bos_token + '[INST] ' + body.strip() + ' [/INST]' -}}
    {% else %}
        {{- ' ' + message.content.strip() + ' ' + eos_token -}}
    {% endif %}
{% endfor %}
""",
    "llama3": """\
{{- bos_token }}
{%- set turns = messages %}
{%- if messages[0].role == "system" %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set turns = messages[1:] %}
{%- else %}
    {%- set system = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}{{- "Tools: " + tools | tojson }}{% endif %}
{{- "Cutting Knowledge Date: December 2023\\n" + system + "<|eot_id|>" }}
{%- for turn in turns %}
    {{- '<|start_header_id|>' + turn['role'] + '<|end_header_id|>\\n\\n' + turn['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}
""",
    "mistral": """\
{%- set ns = namespace(count=0) %}
{{- bos_token }}
{%- for message in messages if message.role in ['user', 'assistant'] %}
    {%- if (message['role'] == 'user') != (ns.count % 2 == 0) %}
        {{- raise_exception('After the optional system message, roles must alternate user/assistant') }}
    {%- endif %}
    {%- set ns.count = ns.count + 1 %}
    {%- if message['role'] == 'user' %}
        {{- '[INST]' + message['content'] + '[/INST]' }}
    {%- elif message['role'] == 'assistant' %}
        {{- message['content'].rstrip() + eos_token }}
    {%- endif %}
{%- endfor %}
""",
    "gemma": """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{% for message in messages %}
{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}
{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}
{% endfor %}
{% if add_generation_prompt %}
<start_of_turn>model
{% endif %}
""",
    "python": """\
{%- macro shout(text) %}{{ text.upper() }}{% endmacro -%}
{%- for message in messages -%}
    {%- if message.content is not string or not message.content %}{% continue %}{% endif -%}
    {%- if message.content.startswith(' ') and message.content.endswith('\\n') %}{{ '[padded]' }}{% endif -%}
    {{- message.role.title() }}: {{ message.content.split('</think>')[-1].lstrip('\\n') | replace('Sea', shout('sea')) }}
    {%- if not loop.last %} | {% endif -%}
    {%- if '?' in message['content'] %}{{ message.content.count('?') }}{% endif -%}
{%- endfor -%}
{{- messages | map(attribute='role') | unique | join(',') }}
{{ messages[-1].get('tool', 'none') }} {{ messages | length }} {{ undefined_name is defined }}
{%- set last = messages | selectattr('role', 'equalto', 'user') | list | last %} {{ last.content | length }}
{%- for key, value in messages[0].items() %}{{ key ~ '=' ~ value[:3] }};{% endfor %}
{%- for turn in messages[::-1] %}{{ turn.role[0] }}{% break %}{% endfor %}
""",
}

CONVERSATIONS = [
    [("user", "What is the capital of France?")],
    [("system", " Be brief.\n"), ("user", "Hi"), ("assistant", "Hello! "), ("user", "The Sea? Why?\n")],
    [("user", " padded\n"), ("assistant", "<think>hm</think>\nYes.")],
    [("assistant", "I begin"), ("user", "")],
]


def refuse(message):
    raise TemplateError(message)


def main():
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.globals["raise_exception"] = refuse
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    conversations = [[{"role": role, "content": content} for role, content in turns] for turns in CONVERSATIONS]
    families = {}
    for name, source in TEMPLATES.items():
        template = environment.from_string(source)
        prompts = []
        for messages in conversations:
            try:
                prompts.append({"prompt": template.render(
                    messages=messages, add_generation_prompt=True, bos_token="<s>", eos_token="</s>",
                    tools=None, documents=None,
                )})
            except TemplateError as error:
                prompts.append({"refusal": error.message})
        families[name] = {"template": source, "results": prompts}
    golden = {"conversations": conversations, "families": families}
    OUT.write_text(json.dumps(golden, indent=1) + "\n")


main()
