"""Cuts of token sequences never fall inside a character."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.byte_pieces import PIECES

from mrsearch.agent.characters import CharacterBorders
from mrsearch.agent.ports import Hit, Passage
from mrsearch.agent.records import Question

from .conftest import PROTOCOL, CannedEngine, Stage

ODD = "It is 北京. 京都 é🎉 is \N{REPLACEMENT CHARACTER} here. 👩\N{ZERO WIDTH JOINER}🔬\n"


@cache
def stage_of(name: str) -> Stage:
    return Stage(name, PIECES[name](), PROTOCOL)


@pytest.mark.parametrize("name", PIECES)
@given(text=st.text(min_size=1, max_size=12))
def test_borders_are_those_of_the_text(name, text):
    stage, borders = stage_of(name), CharacterBorders(stage_of(name).tokenizer)
    token_ids = stage.encode(text)
    whole = {0}
    for count in range(1, len(token_ids) + 1):
        sizes = [len(stage.renderer.decode(token_ids[:count])), len(stage.renderer.decode(token_ids[count:]))]
        read = stage.renderer.decode(token_ids[:count]) + stage.renderer.decode(token_ids[count:])
        if read == text and "\ufffd" not in text and sum(sizes) == len(text):
            whole.add(count)
    if "\ufffd" not in text:
        assert {place for place in range(len(token_ids) + 1) if borders.is_border(token_ids, place)} == whole
    for place in range(len(token_ids) + 1):
        before, after = borders.before(token_ids, place), borders.after(token_ids, place)
        assert place - 3 <= before <= place <= after <= place + 3
        assert text.startswith(stage.renderer.decode(token_ids[:before]))
        assert text.endswith(stage.renderer.decode(token_ids[after:]))


@pytest.mark.parametrize("name", PIECES)
def test_bytes_that_are_no_text_are_cut_anywhere(name):
    tokenizer = stage_of(name).tokenizer
    byte = tokenizer.convert_tokens_to_ids("<0x80>" if name == "fallback" else "\u0122")
    borders = CharacterBorders(tokenizer)
    assert borders.before([byte] * 9, 5) == borders.after([byte] * 9, 4) + 1 == 5


@pytest.mark.parametrize("name", PIECES)
@pytest.mark.parametrize("said", [ODD, "那 是 北京.京都 is", "so it is 🎉.北", "北京 北京 北京\n京"])
def test_ircot_keeps_the_first_sentence_whole(name, said):
    stage = stage_of(name)
    policy = stage.policy([said, "<answer> x </answer>"])
    meta = stage.play(policy, procedure="ircot", max_turns=2)
    turn = meta.episodes[0].turns[0]
    assert said.startswith(turn.text) and turn.text, turn.text
    assert turn.end - turn.start + turn.aside_tokens == len(policy.said[0].token_ids)
    assert "\ufffd" not in stage.engine.queries[-1][0].replace("\ufffd here", "")


@pytest.mark.parametrize("name", PIECES)
def test_an_observation_is_clipped_between_characters(name):
    stage = stage_of(name)
    prompt = len(stage.renderer.first_prompt("search", stage.question.question))
    for room in range(40):
        small = stage.having(max_context_tokens=prompt + 20 + room, max_turn_tokens=20)
        small.engine = CannedEngine("北京", "é🎉京都" * 9)
        meta = small.play(small.policy(["<search>x</search>"] * 4), max_turns=1)
        turn = meta.episodes[0].turns[0]
        assert "\ufffd" not in (turn.observation or "")


@pytest.mark.parametrize("name", PIECES)
def test_a_rolling_context_begins_with_a_whole_character(name):
    stage = stage_of(name)
    for size in range(60, 90):
        small = stage.having(max_context_tokens=size, max_turn_tokens=20, context_overflow="rolling")
        small.question = Question("q", "北京é🎉京都" * 9, ("x",))
        policy = small.policy(["<answer>x</answer>"])
        small.play(policy)
        context = policy.calls[0][0]
        assert size - 3 <= len(context) <= size
        assert "\ufffd" not in small.renderer.decode(context)


@pytest.mark.parametrize("name", PIECES)
@pytest.mark.parametrize("counted", ["passages", "observation"])
def test_passages_are_cut_between_characters(name, counted):
    stage = stage_of(name)
    hits = [Hit(Passage("p", "北京", ODD.replace("\ufffd", "") * 3), 1.0)]
    for limit in range(1, 60):
        small = stage.having(max_observation_tokens=limit, observation_limit=counted)
        text, token_ids = small.renderer.observation(hits)
        assert "\ufffd" not in small.renderer.decode(token_ids) and "\ufffd" not in text
        assert counted == "passages" or len(token_ids) <= limit
