"""What holds for every rollout, whatever the policy says."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrsearch.agent.meta_episode import training_sequences
from mrsearch.agent.records import ActionKind, StopReason
from mrsearch.config.protocol import Protocol

pytestmark = pytest.mark.slow

LINES = [
    "<think> find </think> <search> Gadurin prize </search>",
    "<answer> Bla </answer>",
    "<answer> Köln </answer> <|im_end|>",
    "what is the prize",
    "what <|im_end|>",
    "Bla <|endoftext|>",
    "<search> </search>",
    "<search> Ålesund <search> Köln </search>",
    "<search> never closed <answer> Bla </answer>",
    "<information> Gadurin won Köln </information> <answer> Köln </answer>",
    "</answer>",
    "<answer> never closed",
]
PLAYS = {
    "lines": st.lists(st.sampled_from(LINES), min_size=15, max_size=15),
    "name": st.sampled_from(["word", "bpe"]),
    "context": st.sampled_from(["full", "previous", "summary"]),
    "episodes": st.integers(1, 4),
    "max_turns": st.integers(1, 3),
    "limit": st.integers(2, 400),
    "max_turn_tokens": st.sampled_from([1, 5, 60]),
}


def play(stages, lines, name, context, episodes, max_turns, limit, max_turn_tokens):
    stage = stages[name].having(max_context_tokens=limit, max_turn_tokens=max_turn_tokens)
    policy = stage.policy(lines)
    return stage, policy, stage.play(policy, context=context, episodes=episodes, max_turns=max_turns)


@settings(max_examples=300)
@given(**PLAYS)
def test_lists_agree_and_masks_mark_exactly_what_was_sampled(stages, **script):
    stage, policy, meta = play(stages, **script)
    length = len(meta.token_ids)
    assert length == len(meta.loss_mask) == len(meta.episode_ids) == len(meta.logprobs)
    turns = [(number, turn) for number, episode in enumerate(meta.episodes) for turn in episode.turns]
    mask, logprobs = [0] * length, [0.0] * length
    for (number, turn), said in zip(turns, policy.said, strict=True):
        assert meta.token_ids[turn.start : turn.end] == said.token_ids
        assert set(meta.episode_ids[turn.start : turn.end]) == {number}
        mask[turn.start : turn.end] = [1] * len(said.token_ids)
        logprobs[turn.start : turn.end] = said.logprobs
    assert meta.loss_mask == mask
    assert meta.logprobs == logprobs
    assert meta.episode_ids == sorted(meta.episode_ids)
    assert meta.token_ids[: meta.prompt_length] == stage.renderer.first_prompt("search", stage.question.question)


@settings(max_examples=300)
@given(**{**PLAYS, "context": st.sampled_from(["full", "previous"])})
def test_decoding_the_concatenation_gives_the_transcript(stages, **script):
    """The decoded ids are the pieces in order; `<unk>` stands wherever the word tokenizer lacks a word."""
    stage, _, meta = play(stages, **script)
    pieces = [stage.renderer.decode(meta.token_ids[: meta.prompt_length])]
    position, last = meta.prompt_length, None
    for number, episode in enumerate(meta.episodes):
        if number:
            reflection = stage.renderer.reflection(last)
            pieces.append(stage.renderer.decode(reflection))
            position += len(reflection)
        for turn in episode.turns:
            assert turn.start == position, "nothing stands between the pieces"
            pieces.append(turn.text)
            following = [start for start in meta.episode_starts if start >= turn.end]
            following += [later.start for one in meta.episodes for later in one.turns if later.start >= turn.end]
            position = min([*following, len(meta.token_ids)])
            observed = meta.token_ids[turn.end : position]
            clipped = position == len(meta.token_ids) and meta.stop is StopReason.context_limit
            shown = stage.renderer.decode(observed)
            assert clipped or turn.observation.split() == [word for word in shown.split() if word in turn.observation]
            pieces.append(shown)
            last = meta.token_ids[position - 1]
    assert position == len(meta.token_ids)
    whole = stage.renderer.decode(meta.token_ids)
    if stage.name == "word":
        assert whole.split() == " ".join(pieces).split()
    elif "\N{REPLACEMENT CHARACTER}" not in "".join(pieces):
        assert whole == "".join(pieces)


@settings(max_examples=300)
@given(**PLAYS)
def test_every_turn_saw_what_the_record_says_and_stayed_within_the_limit(stages, **script):
    _, policy, meta = play(stages, **script)
    turns = [(number, turn) for number, episode in enumerate(meta.episodes) for turn in episode.turns]
    for (number, turn), (seen, sampling, _) in zip(turns, policy.calls, strict=True):
        visible = [token for start, end in meta.visible(number) for token in meta.token_ids[start:end]]
        assert seen == visible + meta.token_ids[meta.episode_starts[number] : turn.start]
        assert sampling.max_tokens == min(script["max_turn_tokens"], script["limit"] - len(seen)) > 0


def sampled_tokens(policy):
    """Context, token and log-probability of everything that the policy sampled, in its order."""
    return [
        (tuple(seen) + tuple(said.token_ids[:n]), token, said.logprobs[n])
        for (seen, _, _), said in zip(policy.calls, policy.said, strict=True)
        for n, token in enumerate(said.token_ids)
    ]


def trained_tokens(sequences):
    """The same of everything that sequences train."""
    trained = []
    for sequence in sequences:
        lists = (sequence.token_ids, sequence.loss_mask, sequence.episode_ids, sequence.logprobs)
        assert len(set(map(len, lists))) == 1
        for n, (token, mask, _, logprob) in enumerate(zip(*lists, strict=True)):
            if mask:
                trained.append((tuple(sequence.token_ids[:n]), token, logprob))
            else:
                assert logprob == 0.0
    return trained


@settings(max_examples=300)
@given(**PLAYS)
def test_training_sequences_cover_each_sampled_token_once_under_its_context(stages, **script):
    _, policy, meta = play(stages, **script)
    sequences = training_sequences(meta, Protocol())
    assert all(len(sequence.token_ids) <= script["limit"] for sequence in sequences)
    assert trained_tokens(sequences) == sampled_tokens(policy)
    assert len(sequences) == (1 if script["context"] == "full" and meta.episodes else len(meta.episodes))
    # Turns are counted through all episodes, however many sequences they are in: credit and masks are by their numbers.
    numbers = [turn for each in sequences for turn, mask in zip(each.turn_ids, each.loss_mask, strict=True) if mask]
    sizes = [turn.end - turn.start for episode in meta.episodes for turn in episode.turns]
    assert numbers == [number for number, size in enumerate(sizes) for _ in range(size)]


@settings(max_examples=300)
@given(**PLAYS)
def test_a_rolling_context_trains_what_was_sampled_under_a_whole_one(stages, lines, name, limit, **script):
    length = script.pop("max_turn_tokens")
    keys = {"max_context_tokens": limit, "max_turn_tokens": length, "context_overflow": "rolling"}
    stage = stages[name].having(**keys)
    policy = stage.policy(lines)
    meta = stage.play(policy, **script)
    sequences = training_sequences(meta, stage.renderer.protocol)
    sampled, trained = sampled_tokens(policy), trained_tokens(sequences)
    turns = [(number, turn) for number, episode in enumerate(meta.episodes) for turn in episode.turns]
    whole, first = [], 0
    for (seen, _, _), said, (number, turn) in zip(policy.calls, policy.said, turns, strict=True):
        visible = [token for start, end in meta.visible(number) for token in meta.token_ids[start:end]]
        if seen == visible + meta.token_ids[meta.episode_starts[number] : turn.start]:
            whole += sampled[first : first + len(said.token_ids)]
        first += len(said.token_ids)
    assert trained == whole
    assert all(len(seen) <= limit and sampling.max_tokens == length for seen, sampling, _ in policy.calls)
    assert all(len(sequence.token_ids) <= stage.renderer.protocol.longest_sequence for sequence in sequences)


@settings(max_examples=300)
@given(**PLAYS)
def test_episodes_keep_to_their_budgets_and_their_reasons(stages, **script):
    _, _, meta = play(stages, **script)
    assert len(meta.episodes) <= script["episodes"]
    for number, episode in enumerate(meta.episodes):
        noted = [turn.action for turn in episode.turns].count(ActionKind.summary)
        if script["context"] == "summary" and number + 1 < len(meta.episodes):
            assert episode.turns[-1].action is ActionKind.summary
        episode.turns[:] = episode.turns[: len(episode.turns) - noted]
        assert noted <= (script["context"] == "summary" and number + 1 < script["episodes"])
        last = episode.turns[-1]
        assert (
            (episode.answer is not None) == (episode.stop is StopReason.answered) == (last.action is ActionKind.answer)
        )
        assert all(turn.action in (ActionKind.search, ActionKind.invalid) for turn in episode.turns[:-1])
        assert 1 <= len(episode.turns) <= script["max_turns"]
        assert episode.stop is not StopReason.turn_limit or len(episode.turns) == script["max_turns"]
    if meta.stop is not StopReason.context_limit:
        assert len(meta.episodes) == script["episodes"]
        assert meta.stop is meta.episodes[-1].stop
