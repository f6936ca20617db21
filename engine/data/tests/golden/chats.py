"""Golden values of chat templates, by Hugging Face's transformers: run `python chats.py` in this folder, after
`converted.py`.

Writes `chats/`: for each template a folder with a tokenizer, the template (in `tokenizer_config.json`, or a file of its
own), and `golden.json` with what `apply_chat_template` makes of some chats, as text and as ids.
"""

import json
import pathlib
import shutil

import transformers

HERE = pathlib.Path(__file__).parent
OUT = HERE / "chats"

# Written for these tests, in the manner of the models they are named after.
TEMPLATES = {
    # Blocks of headers around trimmed messages, a system message that may be absent.
    "headers": """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined and false %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{{- "<|begin|>system<|end|>\\n\\n" }}
{{- "Today: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|stop|>" }}
{%- for message in messages %}
    {{- '<|begin|>' + message['role'] + '<|end|>\\n\\n' + message['content'] | trim + '<|stop|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|begin|>assistant<|end|>\\n\\n' }}
{%- endif %}
""",
    # Two roles, the assistant called otherwise, the system message inside the first message, alternation demanded.
    "turns": """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set first_user_prefix = messages[0]['content'] + '

' -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<|begin|>' + role + '
' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {{ item['text'] | trim }}
        {%- endfor -%}
    {%- endif -%}
    {{ '<|stop|>
' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<|begin|>model
'}}
{%- endif -%}
""",
    # No BOS; a namespace, a list from behind, Python's methods; a variable that turns thinking off.
    "thinking": """{%- if tools %}
    {{- '<|begin|>system\\n' + tools|tojson + '<|stop|>\\n' }}
{%- else %}
    {%- if messages[0].role == 'system' %}
        {{- '<|begin|>system\\n' + messages[0].content + '<|stop|>\\n' }}
    {%- endif %}
{%- endif %}
{%- set ns = namespace(last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if message.role == "user" and message.content is string and not(message.content.startswith('<tool>') and message.content.endswith('</tool>')) %}
        {%- set ns.last = index %}
        {%- break %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|begin|>' + message.role + '\\n' + content + '<|stop|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- if '</think>' in content %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|begin|>' + message.role + '\\n' + content }}
        {{- '<|stop|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|begin|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is true %}
        {{- '<think>\\n' }}
    {%- endif %}
{%- endif %}""",
    # Brackets in plain text, an end of text behind each answer, no generation prompt.
    "brackets": "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system = messages[0]['content'] %}"
    "{% else %}{% set loop_messages = messages %}{% set system = false %}{% endif %}{% for message in loop_messages %}"
    "{% if loop.index0 == 0 and system != false %}{% set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
    "{{ (bos_token if loop.first else '') + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    # Lines and a marked answer; white space that trimming decides on.
    "lines": """{% for message in messages %}
    {% if message['role'] == 'user' %}
<|begin|>user
{{ message['content'] }}<|stop|>
    {% elif message['role'] == 'system' %}
<|begin|>system
{{ message['content'] }}<|stop|>
    {% else %}
<|begin|>assistant
        {% generation %}
{{ message['content'] }}<|stop|>
        {% endgeneration %}
    {% endif %}
{% endfor %}
{% if add_generation_prompt %}
<|begin|>assistant
{% endif %}
""",
    # A macro, a dictionary, a filter with arguments, JSON of a message.
    "macros": """{%- macro say(name, text) -%}
{{ '<|begin|>' ~ name ~ '<|end|>' ~ text ~ '<|stop|>' }}
{%- endmacro -%}
{%- set names = {'user': 'Human', 'assistant': 'Machine', 'system': 'Rules'} -%}
{{ bos_token }}{%- for message in messages -%}
{{ say(names.get(message.role, message['role']|title), message['content']|replace('\\t', ' ')) }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|begin|>' ~ names['assistant'] ~ '<|end|>' }}{%- endif -%}""",
}

SPECIAL = ["<|begin|>", "<|end|>", "<|stop|>"]

CHATS = [
    [("user", "the river runs"), ("assistant", "through an old town")],
    [("system", "Be brief; <b>'quoted'</b> & \"plain\"."), ("user", "  река течёт \n"), ("assistant", " через старый город\n\n")],
    [("user", "河流\t穿过"), ("assistant", "老城 🙂"), ("user", "why?"), ("assistant", "it's late"), ("user", "and?"), ("assistant", "نعم")],
    [("system", ""), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")],
]


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    for number, (name, template) in enumerate(TEMPLATES.items()):
        base = ["gpt2", "gemma", "gpt2", "llama", "gemma", "llama"][number]
        tokenizer = transformers.AutoTokenizer.from_pretrained(HERE / "converted" / base)
        tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL})
        folder = OUT / name
        tokenizer.backend_tokenizer.save(str(make(folder) / "tokenizer.json"), pretty=False)
        config = {"bos_token": tokenizer.bos_token, "eos_token": tokenizer.eos_token}
        if number % 2:
            (folder / "chat_template.jinja").write_text(template)
        else:
            config["chat_template"] = template if number else [{"name": "other", "template": "x"}, {"name": "default", "template": template}]
        (folder / "tokenizer_config.json").write_text(json.dumps(config, ensure_ascii=False, indent=1) + "\n")
        tokenizer.chat_template = template
        cases = []
        for chat in CHATS:
            messages = [{"role": role, "content": text} for role, text in chat]
            for length in range(1, len(messages) + 1):
                if messages[length - 1]["role"] == "system":
                    continue
                asks = messages[length - 1]["role"] == "user"
                text = tokenizer.apply_chat_template(messages[:length], tokenize=False, add_generation_prompt=asks)
                ids = tokenizer.apply_chat_template(messages[:length], tokenize=True, return_dict=False, add_generation_prompt=asks)
                cases.append({"messages": messages[:length], "asks": asks, "text": text, "ids": ids})
        golden = {"by": f"transformers {transformers.__version__}", "cases": cases}
        (folder / "golden.json").write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n")


def make(folder):
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
