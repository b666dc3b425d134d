#!/usr/bin/env python3
"""Make Fixtures/tokenization/chat.json: templates in the manner of well-known families, and what jinja2 makes of them.

usage: make_chat_fixtures.py [--out Fixtures/tokenization/chat.json]

The environment is the one in which transformers renders chat templates. What is scored is worked out here from the
conversation itself: each thing that the assistant says, with the token that ends its turn, and with what stands before
it and is not given to the model where it is asked for an answer.
"""

import argparse
import json
from pathlib import Path

from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

ALTERNATE = (
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
)
# name: (template, bos_token, eos_token, what ends an assistant's turn, whether content is trimmed)
FAMILIES = {
    "chatml": (
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
        "<s>", "<|im_end|>", "<|im_end|>", False,
    ),
    "smollm2": (
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
        "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
        "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
        "<|im_start|>", "<|im_end|>", "<|im_end|>", False,
    ),
    "qwen2.5": (
        "{%- if tools %}\n    {{- '<|im_start|>system\\n' }}\n    {%- for tool in tools %}\n        {{- \"\\n\" }}\n"
        "        {{- tool | tojson }}\n    {%- endfor %}\n{%- else %}\n    {%- if messages[0]['role'] == 'system' %}\n"
        "        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}\n    {%- else %}\n"
        "        {{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\\n' }}\n"
        "    {%- endif %}\n{%- endif %}\n{%- for message in messages %}\n"
        "    {%- if (message.role == \"user\") or (message.role == \"system\" and not loop.first) or "
        "(message.role == \"assistant\" and not message.tool_calls) %}\n"
        "        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n    {%- endif %}\n"
        "{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n",
        "", "<|im_end|>", "<|im_end|>", False,
    ),
    "llama-2": (
        "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
        "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
        "{% set system_message = false %}{% endif %}{% for message in loop_messages %}" + ALTERNATE +
        "{% if loop.index0 == 0 and system_message != false %}"
        "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
        "{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
        "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
        "{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
        "<s>", "</s>", " </s>", True,
    ),
    "llama-3": (
        "{% set loop_messages = messages %}{% for message in loop_messages %}"
        "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'"
        "+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}"
        "{% endif %}{{ content }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
        "<|begin_of_text|>", "<|eot_id|>", "<|eot_id|>", True,
    ),
    "llama-3.2": (
        "{{- bos_token }}\n{%- if not date_string is defined %}\n    {%- if strftime_now is defined %}\n"
        "        {%- set date_string = strftime_now(\"%d %b %Y\") %}\n    {%- else %}\n"
        "        {%- set date_string = \"26 Jul 2024\" %}\n    {%- endif %}\n{%- endif %}\n"
        "{%- if not tools is defined %}\n    {%- set tools = none %}\n{%- endif %}\n\n"
        "{#- The system message is slotted into the right place. #}\n"
        "{%- if messages[0]['role'] == 'system' %}\n    {%- set system_message = messages[0]['content']|trim %}\n"
        "    {%- set messages = messages[1:] %}\n{%- else %}\n    {%- set system_message = \"\" %}\n{%- endif %}\n\n"
        "{{- \"<|start_header_id|>system<|end_header_id|>\\n\\n\" }}\n{%- if tools is not none %}\n"
        "    {{- \"Environment: ipython\\n\" }}\n{%- endif %}\n{{- \"Cutting Knowledge Date: December 2023\\n\" }}\n"
        "{{- \"Today Date: \" + date_string + \"\\n\\n\" }}\n{{- system_message }}\n{{- \"<|eot_id|>\" }}\n\n"
        "{%- for message in messages %}\n"
        "    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}\n"
        "        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}\n"
        "    {%- elif 'tool_calls' in message %}\n        {%- if not message.tool_calls|length == 1 %}\n"
        "            {{- raise_exception(\"This model only supports single tool-calls at once!\") }}\n        {%- endif %}\n"
        "    {%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n"
        "    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\n{%- endif %}\n",
        "<|begin_of_text|>", "<|eot_id|>", "<|eot_id|>", True,
    ),
    "mistral": (
        "{{ bos_token }}{% for message in messages %}" + ALTERNATE +
        "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}"
        "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}",
        "<s>", "</s>", "</s>", False,
    ),
    "mistral-system": (
        "{%- if messages[0]['role'] == 'system' %}\n    {%- set system_message = messages[0]['content'] %}\n"
        "    {%- set loop_messages = messages[1:] %}\n{%- else %}\n    {%- set loop_messages = messages %}\n{%- endif %}\n\n"
        "{{- bos_token }}\n{%- for message in loop_messages %}\n"
        "    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\n"
        "        {{- raise_exception('After the optional system message, roles must alternate!') }}\n    {%- endif %}\n"
        "    {%- if message['role'] == 'user' %}\n        {%- if loop.first and system_message is defined %}\n"
        "            {{- ' [INST] ' + system_message + '\\n\\n' + message['content'] + ' [/INST]' }}\n        {%- else %}\n"
        "            {{- ' [INST] ' + message['content'] + ' [/INST]' }}\n        {%- endif %}\n"
        "    {%- elif message['role'] == 'assistant' %}\n        {{- ' ' + message['content'] + eos_token}}\n"
        "    {%- else %}\n        {{- raise_exception('Only user and assistant roles are supported!') }}\n    {%- endif %}\n"
        "{%- endfor %}\n",
        "<s>", "</s>", "</s>", False,
    ),
    "zephyr": (
        "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\\n' + message['content'] + eos_token }}\n"
        "{% elif message['role'] == 'system' %}\n{{ '<|system|>\\n' + message['content'] + eos_token }}\n"
        "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\\n'  + message['content'] + eos_token }}\n"
        "{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
        "<s>", "</s>", "</s>", False,
    ),
    "gemma": (
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "{% for message in messages %}" + ALTERNATE +
        "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}"
        "{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}",
        "<bos>", "<eos>", "<end_of_turn>", True,
    ),
    "phi-3": (
        "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\\n' + message['content'] + '<|end|>\\n'}}"
        "{% elif message['role'] == 'user' %}{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}"
        "{% elif message['role'] == 'assistant' %}{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}",
        "<s>", "<|endoftext|>", "<|end|>", False,
    ),
    # Thoughts after the last question alone, found from the end; calls and answers of tools.
    "qwen3": (
        "{%- if tools %}\n    {{- '<|im_start|>system\\n' }}\n    {%- if messages[0].role == 'system' %}\n"
        "        {{- messages[0].content + '\\n\\n' }}\n    {%- endif %}\n    {%- for tool in tools %}\n"
        "        {{- \"\\n\" }}\n        {{- tool | tojson }}\n    {%- endfor %}\n    {{- \"<|im_end|>\\n\" }}\n{%- else %}\n"
        "    {%- if messages[0].role == 'system' %}\n"
        "        {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}\n    {%- endif %}\n{%- endif %}\n"
        "{%- set ns = namespace(open=true, last=messages|length - 1) %}\n{%- for message in messages[::-1] %}\n"
        "    {%- set index = (messages|length - 1) - loop.index0 %}\n"
        "    {%- if ns.open and message.role == \"user\" and message.content is string and "
        "not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}\n"
        "        {%- set ns.open = false %}\n        {%- set ns.last = index %}\n    {%- endif %}\n{%- endfor %}\n"
        "{%- for message in messages %}\n    {%- if message.content is string %}\n"
        "        {%- set content = message.content %}\n    {%- else %}\n        {%- set content = '' %}\n    {%- endif %}\n"
        "    {%- if (message.role == \"user\") or (message.role == \"system\" and not loop.first) %}\n"
        "        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}\n"
        "    {%- elif message.role == \"assistant\" %}\n        {%- set thoughts = '' %}\n"
        "        {%- if message.reasoning_content is string %}\n            {%- set thoughts = message.reasoning_content %}\n"
        "        {%- elif '</think>' in content %}\n"
        "            {%- set thoughts = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}\n"
        "            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}\n        {%- endif %}\n"
        "        {%- if loop.index0 > ns.last and (loop.last or (not loop.last and thoughts)) %}\n"
        "            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + thoughts.strip('\\n') + '\\n</think>\\n\\n' "
        "+ content.lstrip('\\n') }}\n        {%- else %}\n            {{- '<|im_start|>' + message.role + '\\n' + content }}\n"
        "        {%- endif %}\n        {%- if message.tool_calls %}\n            {%- for call in message.tool_calls %}\n"
        "                {%- if (loop.first and content) or (not loop.first) %}\n                    {{- '\\n' }}\n"
        "                {%- endif %}\n                {{- call.arguments | tojson }}\n            {%- endfor %}\n"
        "        {%- endif %}\n        {{- '<|im_end|>\\n' }}\n    {%- elif message.role == \"tool\" %}\n"
        "        {%- if loop.first or (messages[loop.index0 - 1].role != \"tool\") %}\n"
        "            {{- '<|im_start|>user' }}\n        {%- endif %}\n        {{- content }}\n"
        "        {%- if loop.last or (messages[loop.index0 + 1].role != \"tool\") %}\n            {{- '<|im_end|>\\n' }}\n"
        "        {%- endif %}\n    {%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n"
        "    {{- '<|im_start|>assistant\\n' }}\n    {%- if enable_thinking is defined and enable_thinking is false %}\n"
        "        {{- '<think>\\n\\n</think>\\n\\n' }}\n    {%- endif %}\n{%- endif %}",
        "", "<|im_end|>", "<|im_end|>", False,
    ),
    # The same by a range that counts down, as Qwen3's first ones did, and QwQ's opened thoughts.
    "qwen3-countdown": (
        "{%- set ns = namespace(open=true, last=messages|length - 1) %}\n{%- for index in range(ns.last, -1, -1) %}\n"
        "    {%- set message = messages[index] %}\n    {%- if ns.open and message.role == \"user\" and "
        "not('<tool_response>' in message.content and '</tool_response>' in message.content) %}\n"
        "        {%- set ns.open = false %}\n        {%- set ns.last = index %}\n    {%- endif %}\n{%- endfor %}\n"
        "{%- for message in messages %}\n    {%- set content = message.content if message.content is not none else '' %}\n"
        "    {%- if message.role == \"assistant\" %}\n        {%- set thoughts = '' %}\n"
        "        {%- if message.reasoning_content is defined and message.reasoning_content is not none %}\n"
        "            {%- set thoughts = message.reasoning_content %}\n        {%- elif '</think>' in message.content %}\n"
        "            {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}\n"
        "            {%- set thoughts = message.content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}\n"
        "        {%- endif %}\n        {{- '<|im_start|>' + message.role + '\\n' }}\n"
        "        {%- if loop.index0 > ns.last and thoughts|length > 0 %}\n"
        "            {{- '<think>\\n' ~ thoughts ~ '\\n</think>\\n\\n' }}\n        {%- endif %}\n"
        "        {{- content + '<|im_end|>\\n' }}\n    {%- else %}\n"
        "        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}\n    {%- endif %}\n"
        "{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n<think>\\n' }}\n{%- endif %}\n",
        "", "<|im_end|>", "<|im_end|>", False,
    ),
    # Macros over what a message may hold, as Qwen3-Coder's and Qwen3.5's have them.
    "qwen3.5": (
        "{%- macro shown(content, counts=false, quiet=false) %}\n    {%- if content is string %}\n        {{- content }}\n"
        "    {%- elif content is iterable and content is not mapping %}\n        {%- for item in content %}\n"
        "            {%- if 'image' in item or item.type == 'image' %}\n                {%- if quiet %}\n"
        "                    {{- raise_exception('The first turn holds no images.') }}\n                {%- endif %}\n"
        "                {{- '<|vision_start|><|image_pad|><|vision_end|>' }}\n            {%- elif 'text' in item %}\n"
        "                {{- item.text }}\n            {%- endif %}\n        {%- endfor %}\n"
        "    {%- elif content is none or content is undefined %}\n        {{- '' }}\n    {%- else %}\n"
        "        {{- raise_exception('This content has no form.') }}\n    {%- endif %}\n{%- endmacro %}\n"
        "{%- macro members(object, known=[]) %}\n    {%- if object is mapping %}\n"
        "        {%- for key in object if key not in known %}\n            {{- key ~ '=' ~ (object[key] | string) ~ ';' }}\n"
        "        {%- endfor %}\n    {%- endif %}\n{%- endmacro %}\n"
        "{%- if not tools is defined or tools is none %}\n    {%- set tools = [] %}\n{%- endif %}\n"
        "{%- if not messages %}\n    {{- raise_exception('No messages.') }}\n{%- endif %}\n"
        "{%- if tools and tools is iterable and tools | length > 0 %}\n    {{- tools[0] | tojson }}\n{%- endif %}\n"
        "{%- if messages[0].role == 'system' %}\n"
        "    {{- '<|im_start|>system\\n' + shown(messages[0].content, false, true)|trim + '<|im_end|>\\n' }}\n{%- endif %}\n"
        "{%- for message in messages %}\n    {%- set content = shown(message.content, true)|trim %}\n"
        "    {%- if message.role == 'system' %}\n        {%- if not loop.first %}\n"
        "            {{- raise_exception('A system turn must come first.') }}\n        {%- endif %}\n"
        "    {%- elif message.role == 'assistant' and message.tool_calls is defined and message.tool_calls is iterable "
        "and message.tool_calls | length > 0 %}\n        {%- for call in message.tool_calls %}\n"
        "            {%- for name, value in call.arguments|items %}\n                {{- name }}{{- value | tojson }}\n"
        "            {%- endfor %}\n        {%- endfor %}\n    {%- else %}\n"
        "        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}\n    {%- endif %}\n"
        "{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n"
        "    {%- if enable_thinking is defined and enable_thinking is true %}\n        {{- '<think>\\n' }}\n    {%- else %}\n"
        "        {{- '<think>\\n\\n</think>\\n\\n' }}\n    {%- endif %}\n{%- endif %}",
        "", "<|im_end|>", "<|im_end|>", True,
    ),
    # Values as JSON.
    "tojson": (
        "{%- for message in messages %}\n{{ message.role }} {{ message.content | tojson }}<e>\n{%- endfor %}\n"
        "{{ {'a': [1, -2, true, none, {}], \"b\": {'c': \"q\\\"\\\\ \\t\"}, 'd': []} | tojson }} {{ [] | tojson }} {{ tools | tojson }}\n"
        "{{ ('tab\t' + '\u0001\u007f\u2028 \u00e9\U0001f600</s>') | tojson }} {{ range(5, 0, -2) | list | tojson }} {{ range(1, 6, 3) | join(',') }}",
        "<s>", "</s>", "<e>", False,
    ),
    # DeepSeek's distillations into Qwen: no thoughts of earlier turns, nor of this one.
    "r1-distill": (
        "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
        "{% set ns = namespace(is_first=false, is_tool=false, system_prompt='') %}{%- for message in messages %}"
        "{%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}"
        "{{bos_token}}{{ns.system_prompt}}{%- for message in messages %}{%- if message['role'] == 'user' %}"
        "{%- set ns.is_tool = false -%}{{'<\uff5cUser\uff5c>' + message['content']}}{%- endif %}"
        "{%- if message['role'] == 'assistant' and message['content'] is not none %}{%- if ns.is_tool %}"
        "{{message['content'] + '<\uff5cend\u2581of\u2581sentence\uff5c>'}}{%- set ns.is_tool = false -%}{%- else %}"
        "{% set content = message['content'] %}{% if '</think>' in content %}"
        "{% set content = content.split('</think>')[-1] %}{% endif %}"
        "{{'<\uff5cAssistant\uff5c>' + content + '<\uff5cend\u2581of\u2581sentence\uff5c>'}}{%- endif %}{%- endif %}"
        "{%- endfor -%}{% if add_generation_prompt and not ns.is_tool %}{{'<\uff5cAssistant\uff5c>'}}{% endif %}",
        "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>",
        "<\uff5cend\u2581of\u2581sentence\uff5c>", False,
    ),
    # No model's: the rest of what the interpreter knows.
    "constructs": (
        "{%- macro turn(name, body='-', sep=\": \") -%}\n  {{ name ~ sep ~ body }}\n{%- endmacro -%}\n"
        "{%- set ns = namespace(count=0, last='') -%}\n"
        "{%- for m in messages if m.role != 'system' -%}\n"
        "  {%- set ns.count = ns.count + 1 -%}\n  {%- set ns.last = m['role'] -%}\n"
        "  {%- if m.content is string and m.content|length > 3 or loop.last -%}\n"
        "    {{ turn(m.role | upper, m.content) }}{{ '<e>\\n' }}\n"
        "  {%- elif m.content[:2] == 'go' -%}{%- continue -%}\n"
        "  {%- else -%}{{ turn(name=m.role.title() if false else m['role'].capitalize(), body=m.content) }}<e>\n{% endif -%}\n"
        "{%- endfor -%}\n"
        "  {# a comment #}\n"
        "{{ ns.count }} {{ ns.last }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 2 + 3 * 4 }} {{ none }} {{ true and 'yes' or 'no' }} {{ nothing }}|\n"
        "{% for k, v in {'a': 1, 'b': [2, 3]}.items() %}\n"
        "    {% if v is iterable and v is not string %}\n{{ k }}={{ v | join('+') }}\n    {% else %}\n{{ k }}={{ v }};\n    {% endif %}\n"
        "{% endfor %}\n"
        "{{ ('x' in 'xyz') and not 'q' in ['r'] }} {{ messages[::-1][0].role }} {{ messages[-1]['role'][1:-1] }}\n"
        "{%+ set t %} [{{ 'a-b-c'.split('-')[-1] }}{{ 'abc'.replace('b', '\\u00e9') }}] {% endset %}{{ t | trim }}\n"
        "{{ missing | default('standard') }} {{ '' | default('empty', true) }} {{ 1 if messages | length > 100 else 2 }}\n"
        "{{ (messages | selectattr('role', 'equalto', 'user') | list) | length }} {{ range(3) | join(',') }} {{ 1 < 2 <= 2 }}\n"
        "{% for x in [] %}{% else %}none at all{% endfor %} {{ 'a' 'b' }} {{- '!' -}} {{ {'k': 'v'}.get('k') }}\n",
        "<s>", "</s>", "<e>", False,
    ),
}
CONVERSATIONS = {
    "one question": [("user", "Hi there"), ("assistant", "Hello!")],
    "several turns": [
        ("system", "Be brief."), ("user", " What is 2+2? "), ("assistant", " 4. "), ("user", "And\n3+3?"),
        ("assistant", "It is 6.\n"),
    ],
    "prompt only": [("user", "Name a colour")],
    "special text inside": [("user", "<|im_end|></s>[INST]"), ("assistant", "caf\u00e9 <b>bold</b> \U0001f600\u00a0")],
    "roles that do not alternate": [("user", "a"), ("user", "b"), ("assistant", "cc")],
    "thoughts": [
        ("user", "Is it late?"), ("assistant", "<think>\nThe moon is up.\n</think>\n\nIt is."), ("user", "How late?"),
        ("assistant", "<think>\nThe train\nleft.\n</think>\n\nAfter nine."),
    ],
    "thoughts of one turn": [("user", "7*6?"), ("assistant", "<think>six sevens</think>42"), ("user", "+1?"), ("assistant", "43")],
}
# What a family shows of `<think>thoughts</think>answer`: both in a new form after the last question and the answer before,
# or the answer, or (others) all as it stands.
THOUGHTS = {"qwen3": "after the question", "qwen3-countdown": "after the question", "r1-distill": "never"}


# What an answer begins with before its words: white space where nothing is said for whose turn it is, or thoughts.
OPENINGS = {"llama-2": [" "], "mistral-system": [" "], "qwen3": ["<think>\n\n</think>\n\n", "<think>\n"]}


def raise_exception(message):
    raise ValueError(message)


def shown_content(content, thoughts, is_last):
    if thoughts is None or "</think>" not in content:
        return content
    before, answer = content.split("</think>")
    if thoughts == "never":
        return answer
    answer = answer.lstrip("\n")
    return before.replace("<think>", "").strip("\n") + "\n</think>\n\n" + answer if is_last else answer


def scored_stretches(text, conversation, end, trims, thoughts, openings):
    stretches = []
    place = 0
    for index, (role, content) in enumerate(conversation):
        if role == "assistant":
            content = shown_content(content, thoughts, index == len(conversation) - 1)
        shown = content.strip() if trims else content
        at = text.index(shown, place)
        place = at + len(shown)
        if role == "assistant":
            assert text.startswith(end, place), (text, place, end)
            opening = next((opening for opening in openings if text[:at].endswith(opening)), "")
            stretches.append(opening + shown + end)
    return stretches


def tojson(value):
    """As transformers has it."""
    return json.dumps(value, ensure_ascii=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[2] / "Fixtures" / "tokenization" / "chat.json")
    options = parser.parse_args()
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.globals["raise_exception"] = raise_exception
    environment.filters["tojson"] = tojson
    families = []
    for name, (template, bos, eos, end, trims) in FAMILIES.items():
        compiled = environment.from_string(template)
        cases = []
        for title, conversation in CONVERSATIONS.items():
            for prompt in (False, True):
                messages = [{"role": role, "content": content} for role, content in conversation]
                variables = {"messages": messages, "add_generation_prompt": prompt, "tools": None, "documents": None}
                variables |= {k: v for k, v in (("bos_token", bos), ("eos_token", eos)) if v}
                case = {"name": title, "messages": messages, "addingGenerationPrompt": prompt}
                try:
                    case["text"] = compiled.render(**variables)
                    if name not in ("constructs", "tojson"):
                        visible = [turn for turn in conversation if turn[0] != "system"]
                        case["scored"] = scored_stretches(
                            case["text"], visible, end, trims, THOUGHTS.get(name), OPENINGS.get(name, []))
                except ValueError as error:
                    case["refused"] = str(error)
                cases.append(case)
        families.append({"name": name, "template": template, "bos": bos, "eos": eos, "cases": cases})
    body = ",\n".join(json.dumps(f, ensure_ascii=False, separators=(",", ":")) for f in families)
    options.out.write_text('{"families":[\n' + body + "\n]}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
