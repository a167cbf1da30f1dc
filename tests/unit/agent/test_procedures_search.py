"""IRCoT, Search-o1, parallel samples and adaptive stopping, on two tokenizers."""

from __future__ import annotations

import math

import pytest

from mrsearch.agent.ircot import sentence_end
from mrsearch.agent.meta_episode import agreed, training_sequences
from mrsearch.agent.record_files import read_records, write_records
from mrsearch.agent.records import ActionKind, StopReason
from mrsearch.config.methods import Method
from mrsearch.config.protocol import Protocol
from mrsearch.evaluation.scores import score_record

ANSWER, OTHER = "<answer> Bla </answer>", "<answer> Köln </answer>"
SENTENCE = "Gadurin won the prize of Köln . "


def test_ircot_searches_with_the_question_and_then_with_each_first_sentence(stage, tmp_path):
    policy = stage.policy([f"{SENTENCE} what is the city ? nothing", ANSWER])
    meta = stage.play(policy, procedure="ircot", max_turns=3)
    sentence = stage.engine.queries[1][0]
    assert stage.engine.queries[0] == (stage.question.question, 1)
    assert "Gadurin won the prize" in sentence
    assert "nothing" not in sentence
    turn = meta.episodes[0].turns[0]
    assert (turn.action, turn.content) == (ActionKind.search, sentence)
    assert turn.end - turn.start + turn.aside_tokens == len(policy.said[0].token_ids)
    assert (meta.episodes[0].answer, meta.stop) == ("Bla", StopReason.answered)
    assert "Gadurin won Bla" in turn.observation
    kept = policy.said[0].token_ids[: turn.end - turn.start]
    assert policy.calls[1][0][: len(policy.calls[0][0]) + len(kept)] == policy.calls[0][0] + kept, "token in, token out"
    assert sum(meta.loss_mask) == len(kept) + len(policy.said[1].token_ids)
    write_records(tmp_path / "a.jsonl.zst", [meta])
    assert list(read_records(tmp_path / "a.jsonl.zst")) == [meta]


def test_ircot_drops_what_follows_the_sentence(stages):
    stage = stages["bpe"]
    policy = stage.policy(["Gadurin won the prize. Then nothing. Then more", ANSWER])
    turn = stage.play(policy, procedure="ircot", max_turns=3).episodes[0].turns[0]
    assert turn.text.startswith("Gadurin won the prize.")
    assert "nothing" not in turn.text
    assert turn.aside_tokens > 0


def test_ircots_last_turn_asks_for_the_answer(stage):
    policy = stage.policy([SENTENCE, SENTENCE, "nothing"])
    meta = stage.play(policy, procedure="ircot", max_turns=3)
    assert meta.stop is StopReason.turn_limit
    asked = stage.renderer.conclusion(None)
    assert policy.calls[2][0][-len(asked) :] == asked
    assert len(stage.engine.queries) == 3
    only = stage.policy([ANSWER])
    meta = stage.play(only, procedure="ircot", max_turns=1)
    assert only.calls[0][0][-len(asked) :] == asked
    assert [hit.passage.id for hit in meta.prompt_hits] == ["p1"]


def test_every_search_counts_once(stage):
    ircot = stage.play(stage.policy([SENTENCE, ANSWER]), procedure="ircot", max_turns=3)
    assert len(stage.engine.queries) == sum(score_record(ircot)["searches"]) == 2
    samples = {"episodes": 3, "context": "independent", "temperature": 1.0}
    for procedure in ("ircot", "rag"):
        before = len(stage.engine.queries)
        meta = stage.play(stage.policy([ANSWER, OTHER, ANSWER]), procedure=procedure, **samples)
        assert len(stage.engine.queries) - before == sum(score_record(meta)["searches"]) == 1


def test_ircot_follows_a_query_by_tag_and_survives_silence(stage):
    policy = stage.policy(["<search> Köln </search>", "<|im_end|>", ANSWER])
    meta = stage.play(policy, procedure="ircot", max_turns=4)
    assert [query for query, _ in stage.engine.queries] == [stage.question.question, "Köln"]
    assert [turn.action for turn in meta.episodes[0].turns] == ["search", "invalid", "answer"]
    failing = stage.play(stage.policy(["<search> broken </search>"]), procedure="ircot", max_turns=2)
    assert (failing.stop, failing.search_failures) == (StopReason.search_failed, 1)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("Dr. Who is a series. It runs.", "Dr. Who is a series."),
        ("no end at all", "no end at all"),
        ("3.14 is not a sentence end here\nnext", "3.14 is not a sentence end here\n"),
        ("<think> a. b c d. e", "<think> a. b c d."),
        ("", ""),
    ],
)
def test_where_a_first_sentence_ends(text, first):
    assert text[: sentence_end(text)] == first


def test_search_o1_shows_what_was_read_and_not_the_passages(stage):
    policy = stage.policy(["<search> Gadurin </search>", "<answer> the city of Köln </answer>", ANSWER])
    meta = stage.play(policy, procedure="search_o1", max_turns=3)
    turn = meta.episodes[0].turns[0]
    assert "the city of Köln" in turn.observation
    assert "Gadurin won Bla" not in turn.observation
    assert [hit.passage.id for hit in turn.hits] == ["p1"]
    assert turn.aside_tokens == len(policy.said[1].token_ids)
    reading = policy.calls[1][0]
    assert reading == stage.renderer.reading_prompt(turn.text, "Gadurin", turn.hits)
    assert "Gadurin won Bla" in stage.renderer.decode(reading)
    assert policy.calls[2][0] == meta.token_ids[: meta.episodes[0].turns[1].start], "the reading left no demonstration"
    assert policy.calls[0][0] == stage.renderer.first_prompt("meta_episode", stage.question.question)
    assert len({sampling.seed for _, sampling, _ in policy.calls}) == 3
    assert (meta.episodes[0].answer, meta.stop) == ("Bla", StopReason.answered)


def test_search_o1_takes_everything_where_the_reading_gave_no_answer(stage):
    policy = stage.policy(["<search> Gadurin </search>", "nothing", ANSWER])
    turn = stage.play(policy, procedure="search_o1", max_turns=2).episodes[0].turns[0]
    assert "nothing" in turn.observation
    first = stage.renderer.first_prompt("meta_episode", stage.question.question)
    said = len(stage.encode("<search> Gadurin </search>"))
    small = stage.having(max_context_tokens=len(first) + said + 1, max_turn_tokens=said)
    meta = small.play(small.policy(["<search> Gadurin </search>"]), procedure="search_o1", max_turns=2)
    assert meta.stop is StopReason.context_limit


@pytest.mark.parametrize("procedure", ["direct", "rag", "meta_episode", "ircot"])
def test_independent_episodes_are_samples_of_one_prompt(stage, procedure):
    policy = stage.policy([ANSWER, OTHER, ANSWER])
    meta = stage.play(policy, procedure=procedure, episodes=3, context="independent", temperature=1.3)
    assert [episode.answer for episode in meta.episodes] == ["Bla", "Köln", "Bla"]
    contexts = [context for context, _, _ in policy.calls]
    assert contexts[0] == contexts[1] == contexts[2] == meta.token_ids[: meta.prompt_length]
    assert len({sampling.seed for _, sampling, _ in policy.calls}) == 3
    assert {sampling.temperature for _, sampling, _ in policy.calls} == {1.3}
    assert [meta.visible(n) for n in (1, 2)] == [[(0, meta.prompt_length)]] * 2
    for number, sequence in enumerate(training_sequences(meta, Protocol())):
        said = policy.said[number].token_ids
        assert sequence.token_ids == [*contexts[0], *said]
        assert sum(sequence.loss_mask) == len(said)


def test_one_full_sample_does_not_end_the_others(stage):
    prompt = stage.renderer.first_prompt("direct", stage.question.question)
    answer = stage.encode(ANSWER)
    tight = stage.having(max_context_tokens=len(prompt) + len(answer), max_turn_tokens=len(answer))
    policy = tight.policy(["what is the prize of Gadurin " * 9, ANSWER])
    meta = tight.play(policy, procedure="direct", episodes=2, context="independent", temperature=1.0)
    assert [episode.stop for episode in meta.episodes] == [StopReason.context_limit, StopReason.answered]


def test_two_answers_that_agree_end_a_meta_episode(stage):
    lines = [ANSWER, OTHER, "<answer> the Köln </answer>"]
    meta = stage.play(stage.policy(lines), episodes=5, stop_after_agreeing=2)
    assert (len(meta.episodes), meta.stop) == (3, StopReason.agreed)
    assert meta.episodes[-1].stop is StopReason.answered
    whole = stage.play(stage.policy([*lines, OTHER, OTHER]), episodes=5)
    assert whole.token_ids[: len(meta.token_ids)] == meta.token_ids, "stopping early changes nothing before"
    assert whole.stop is StopReason.answered
    last = stage.play(stage.policy([ANSWER, ANSWER]), episodes=2, stop_after_agreeing=2)
    assert last.stop is StopReason.answered, "nothing was saved"


def test_a_sure_answer_ends_a_meta_episode(stage):
    lines = [ANSWER, "nothing <answer> Köln </answer>", OTHER]
    whole = stage.play(stage.policy(lines), episodes=3, max_turns=1)
    sure = []
    for episode in whole.episodes:
        turn = episode.turns[0]
        tokens = [stage.renderer.decode(whole.token_ids[turn.start : end]) for end in range(turn.start, turn.end + 1)]
        inside = [
            whole.logprobs[turn.start + n]
            for n in range(turn.end - turn.start)
            if len(tokens[n]) >= turn.text.index("<answer>") + 8 and len(tokens[n]) < turn.text.index("</answer>")
        ]
        assert inside, "the answer has tokens of its own"
        sure.append(math.exp(sum(inside) / len(inside)))
    assert sure[0] > sure[1] > sure[2], "later tokens are less probable in this script"
    first = stage.play(stage.policy(lines), episodes=3, max_turns=1, stop_when_confident=sure[0] - 1e-6)
    assert (len(first.episodes), first.stop) == (1, StopReason.confident)
    assert first.token_ids == whole.token_ids[: len(first.token_ids)]
    never = stage.play(stage.policy(lines), episodes=3, max_turns=1, stop_when_confident=sure[0] + 1e-6)
    assert (len(never.episodes), never.stop) == (3, StopReason.answered)
    silent = stage.play(stage.policy(["nothing", ANSWER]), episodes=2, max_turns=1, stop_when_confident=1e-9)
    assert silent.stop is StopReason.answered, "an episode without an answer is never sure"


@pytest.mark.parametrize(
    ("answers", "count", "expected"),
    [
        (["a x", "x"], 2, True),
        (["x", "y"], 2, False),
        (["x", None, "x"], 2, False),
        ([None, None], 2, False),
        (["x"], 2, False),
        (["y", "x", "x", "x"], 3, True),
        (["x", "x"], None, False),
    ],
)
def test_agreement_is_in_normal_form_and_needs_answers(answers, count, expected):
    assert agreed(answers, count) is expected


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"procedure": "direct", "max_turns": 2}, "answers in one generation"),
        ({"procedure": "ircot", "episodes": 2}, "does not reflect"),
        ({"context": "independent", "episodes": 2}, "greedy samples would all be the same"),
        ({"context": "independent", "train": {"algorithm": "grpo"}}, "belong to evaluation"),
        ({"stop_after_agreeing": 3, "episodes": 2}, r"larger than episodes \(2\)"),
        ({"stop_when_confident": 0.9}, "needs more than one episode"),
        ({"stop_when_confident": 1.0, "episodes": 2}, "less than 1"),
        ({"stop_when_confident": 0.9, "episodes": 2, "train": {"algorithm": "grpo"}}, "belong to evaluation"),
    ],
)
def test_methods_that_make_no_sense_are_refused(keys, message):
    with pytest.raises(ValueError, match=message):
        Method.model_validate(keys)
    Method.model_validate({"procedure": "cot", "episodes": 5, "context": "independent", "temperature": 0.7})
    Method.model_validate({"episodes": 10, "stop_after_agreeing": 2})
