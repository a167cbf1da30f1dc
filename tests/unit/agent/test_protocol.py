"""Reading actions, and where a generation ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mrsearch.agent.protocol import StopRule, read_action

CLOSING = ("</search>", "</answer>")


@pytest.mark.parametrize(
    ("text", "action", "content"),
    [
        ("<think> x </think> <search> Gadurin prize </search>", "search", "Gadurin prize"),
        ("<think>x</think><answer>Bla</answer>", "answer", "Bla"),
        ("<answer>\n Bla \n</answer>\n", "answer", "Bla"),
        ("<answer>Bla\nand more</answer>", "answer", "Bla\nand more"),
        ("<search> one </search> <answer> two </answer>", "search", "one"),
        ("<answer> two </answer> <search> one </search>", "answer", "two"),
        ("<search> never closed <answer> two </answer>", "answer", "two"),
        ("<search> a <answer> b </search>", "search", "a <answer> b"),
        ("<answer>a<answer>Paris</answer></answer>", "answer", "a<answer>Paris"),
        ("<think> I could <answer> guess </answer> </think>", "answer", "guess"),
        ("<information> the answer is Bla </information> <answer> Bla </answer>", "answer", "Bla"),
        ("<search> Ålesund 北京 🎉 </search>", "search", "Ålesund 北京 🎉"),
        ("<information> Bla </information>", "invalid", ""),
        ("<search>   </search>", "invalid", ""),
        ("<answer></answer>", "invalid", ""),
        ("<search></search><answer> two </answer>", "invalid", ""),
        ("Bla </answer>", "invalid", ""),
        ("<answer> Bla", "invalid", ""),
        ("<answer> Bla </search>", "invalid", ""),
        ("<ANSWER> Bla </ANSWER>", "invalid", ""),
        ("< answer > Bla </ answer >", "invalid", ""),
        ("", "invalid", ""),
    ],
)
def test_the_first_complete_block_is_the_action(text, action, content):
    assert read_action(text) == (action, content)


PIECES = [
    "</search>",
    "</answer>",
    "<search>",
    "<answer>",
    "</",
    "search",
    "answer",
    ">",
    ">\n",
    "?",
    " ",
    "\n",
    "Köln",
    "x",
]
PIECES += ["</think>", "</information>", "<|im_end|>", "<|endoftext|>", "<|im_start|>", "北", "🎉"]


@given(pieces=st.lists(st.sampled_from(PIECES), max_size=12), name=st.sampled_from(["word", "bpe"]))
def test_a_generation_ends_at_the_first_closing_tag_or_end_of_turn(stages, pieces, name):
    stage = stages[name]
    token_ids = stage.encode((" " if name == "word" else "").join(pieces))
    ends = [n for n in range(1, len(token_ids) + 1) if stage.stop_rule.is_end(token_ids[:n])]
    expected = [
        n
        for n in range(1, len(token_ids) + 1)
        if any(tag in stage.renderer.decode(token_ids[:n]) for tag in CLOSING)
        or stage.tokenizer.decode([token_ids[n - 1]]) in ("<|im_end|>", "<|endoftext|>")
    ]
    assert ends[:1] == expected[:1]
    assert all(token_ids[n - 1] in stage.stop_rule.candidates for n in ends)
    for start in range(len(token_ids) + 1):
        assert stage.stop_rule.first_end(token_ids, start) == next((n for n in ends if n > start), None)


def test_the_byte_level_tokenizer_puts_the_tests_to_the_test(stages):
    """Its closing tags are several tokens, and a line break or a question mark can share a token with their ends."""
    stage = stages["bpe"]
    assert len(stage.encode("</search>")) > 1
    merged = [token for token in stage.encode("x?</answer>\n\n") if stage.renderer.decode([token]) in (">\n\n", "?</")]
    assert len(merged) == 2


def test_only_the_token_that_completes_the_tag_is_the_end(stage):
    token_ids = stage.encode("<answer> Bla </answer> <think> > </think>")
    ends = [n for n in range(1, len(token_ids) + 1) if stage.stop_rule.is_end(token_ids[:n])]
    assert len(ends) == 1


def test_a_tag_may_be_as_many_tokens_as_characters():
    backend = Tokenizer(models.BPE({symbol: n for n, symbol in enumerate(dict.fromkeys("</answersch>x"))}, []))
    backend.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    text = "x<search>x</search>"
    token_ids = tokenizer.encode(text)
    assert len(token_ids) == len(text)
    rule = StopRule(tokenizer)
    assert [n for n in range(1, len(text) + 1) if rule.is_end(token_ids[:n])] == [len(text)]
    assert rule.first_end(token_ids) == len(text) and rule.first_end(token_ids[:-1]) is None


def test_a_tag_that_is_one_token_with_its_neighbours_ends_a_generation():
    vocabulary = {word: n for n, word in enumerate(["<unk>", "<eos>", "x</answer>\ny", "</search>", "a>b", "user"])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", unk_token="<unk>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}"
    rule = StopRule(tokenizer)
    assert [rule.is_end([n]) for n in range(len(vocabulary))] == [False, True, True, True, False, False]
    assert rule.end_of_turn == {1}, "an ordinary word at the start of the user's turn is no end-of-turn token"


def test_end_of_sequence_and_end_of_turn_both_end(stage):
    ids = {stage.tokenizer.convert_tokens_to_ids(token) for token in ("<|endoftext|>", "<|im_end|>")}
    assert stage.stop_rule.end_of_turn == ids
    assert all(stage.stop_rule.is_end([token]) for token in ids)
    assert not stage.stop_rule.is_end([])


def test_a_template_that_hides_earlier_turns_is_refused(stage):
    stage.tokenizer = type(stage.tokenizer)(tokenizer_object=stage.tokenizer.backend_tokenizer, eos_token="<|im_end|>")
    stage.tokenizer.chat_template = "{{ messages[-1]['content'] }}"
    with pytest.raises(ValueError, match="needs a template that keeps earlier turns"):
        StopRule(stage.tokenizer)
