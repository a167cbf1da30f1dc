"""Chat templates that read the clock, or that take arguments."""

from __future__ import annotations

from datetime import datetime

import pytest
from support.families import family_tokenizer

from mrsearch.agent.protocol import StopRule
from mrsearch.agent.renderer import Renderer
from mrsearch.config.chat import ChatTemplate
from mrsearch.config.load import digest
from mrsearch.config.protocol import Protocol

EACH = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
TODAY = {
    "Llama 3": "{% set d = date_string if date_string is defined else strftime_now('%d %b %Y') %}Today: {{ d }}\n",
    "Granite": "{% if strftime_now is defined %}Today's Date: {{ strftime_now('%B %d, %Y') }}.\n{% endif %}",
    "gpt-oss": "{%- macro day() %}Current date: {{ strftime_now('%Y-%m-%d') }}\n{%- endmacro %}{{ day() }}",
    "with the time": "{{ strftime_now('%A %H:%M:%S %j %U') }}",
    "by loop": "{% for part in ['%Y', '%m'] %}{{ strftime_now(part) }}/{% endfor %}",
}
THINKING = "{% if add_generation_prompt %}<|im_start|>assistant\n{% if not (enable_thinking | default(true)) %}<think>"
THINKING += "\n\n</think>\n\n{% endif %}{% endif %}"


def tokenizer_with(template: str):
    tokenizer = family_tokenizer("qwen 3")
    tokenizer.chat_template = template
    return tokenizer


class Tomorrow(datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2031, 12, 24, 23, 59, 58)


@pytest.mark.parametrize("family", TODAY)
def test_a_prompt_is_the_same_tomorrow_and_tells_the_protocols_date(family, monkeypatch):
    tokenizer = tokenizer_with(TODAY[family] + EACH)

    def prompts(protocol):
        renderer = Renderer(tokenizer, protocol)
        return [renderer.first_prompt("search", "who"), renderer.reflection(None)]

    today = prompts(Protocol())
    assert "2031" not in tokenizer.decode(today[0]) and prompts(Protocol()) == today
    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Tomorrow)
    assert prompts(Protocol()) == today
    other = Protocol(chat_template=ChatTemplate(date="2031-12-24"))
    assert prompts(other) != today and digest(other) != digest(Protocol())


def test_arguments_reach_every_use_of_the_template():
    tokenizer = tokenizer_with(EACH + THINKING)
    plain = Renderer(tokenizer, Protocol())
    quiet = Renderer(tokenizer, Protocol(chat_template=ChatTemplate(arguments={"enable_thinking": False})))
    empty = quiet.tokenizer.encode("<think>\n\n</think>\n\n", add_special_tokens=False)
    for ask in (
        lambda r: r.first_prompt("search", "who"),
        lambda r: r.first_prompt("direct", "who"),
        lambda r: r.reading_prompt("a", "b", []),
        lambda r: r.reflection(None),
        lambda r: r.conclusion(None),
    ):
        assert ask(quiet) == ask(plain) + empty


def test_where_a_turn_ends_is_asked_with_the_arguments_too():
    template = "{% if style is not defined %}{{ raise_exception('style?') }}{% endif %}" + EACH
    tokenizer = tokenizer_with(template.replace("<|im_end|>", "{{ end }}"))
    for end in ("<|im_end|>", "</think>"):
        told = ChatTemplate(arguments={"style": 1, "end": end})
        assert tokenizer.convert_tokens_to_ids(end) in StopRule(tokenizer, template=told).end_of_turn
        assert Renderer(tokenizer, Protocol(chat_template=told)).stop_rule.end_of_turn


@pytest.mark.parametrize("name", ["messages", "tokenize", "strftime_now", "add_generation_prompt", "a b", "", "chat-x"])
def test_arguments_that_are_not_the_studys_are_refused(name):
    with pytest.raises(ValueError, match="no variable that a study can set"):
        ChatTemplate(arguments={name: 1})


@pytest.mark.parametrize("date", [0, 86400, 1.5, True, "today", "2025-13-01", None])
def test_a_date_is_a_day(date):
    with pytest.raises(ValueError, match="date"):
        ChatTemplate(date=date)
