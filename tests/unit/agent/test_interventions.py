"""What an agent reads under an intervention, token by token where a context changes."""

from __future__ import annotations

import asyncio

import pytest

from mrsearch.agent.interventions import DelayingEngine, SwappingEngine, swappable_texts
from mrsearch.agent.meta_episode import training_sequences
from mrsearch.agent.ports import Hit, Passage
from mrsearch.agent.record_lines import from_line, to_line
from mrsearch.agent.records import Question
from mrsearch.config.interventions import BlankedEpisode, BlankedPassages, DelayedPassages, SwappedPassages

SEARCH, ANSWER = "<search> Gadurin prize </search>", "<answer> Bla </answer>"


class EchoEngine:
    """Finds one passage, whose text is the query."""

    async def search(self, query: str, topk: int) -> list[Hit]:
        return [Hit(Passage(query, "", query), 1.0)]


def texts(engine: DelayingEngine | SwappingEngine, *queries: str) -> list[str]:
    """The text of the passage that each search shows, empty where it shows none."""

    async def ask() -> list[str]:
        shown = [await engine.search(query, 1) for query in queries]
        return ["".join(hit.passage.text for hit in hits) for hits in shown]

    return asyncio.run(ask())


def question(name: str, benchmark: str = "b") -> Question:
    return Question(name, f"who is {name} ?", ("Bla",), benchmark)


def test_blanked_passages_are_neither_searched_for_nor_read(stage) -> None:
    meta = stage.play(stage.policy([SEARCH, ANSWER]), intervention=BlankedPassages())
    turn = meta.episodes[0].turns[0]
    assert (turn.hits, stage.engine.queries) == ([], [])
    assert turn.observation == " <information> nothing </information> "
    assert meta.episodes[0].answer == "Bla"


def test_delayed_passages_come_one_search_later_through_all_episodes(stage) -> None:
    assert texts(DelayingEngine(EchoEngine()), "a", "b", "c") == ["", "a", "b"]
    policy = stage.policy([SEARCH, ANSWER, SEARCH, ANSWER])
    meta = stage.play(policy, episodes=2, intervention=DelayedPassages())
    shown = [[hit.passage.id for hit in episode.turns[0].hits] for episode in meta.episodes]
    assert shown == [[], ["p1"]]
    again = stage.play(stage.policy([SEARCH, ANSWER]), intervention=DelayedPassages())
    assert again.episodes[0].turns[0].hits == [], "nothing goes on from one question to the next"


def test_swapped_passages_are_those_of_another_question_of_the_benchmark() -> None:
    questions = [question(name) for name in "edcba"]
    pool = swappable_texts([*questions, question("far", "another")])
    assert pool == {"b": tuple(f"who is {name} ?" for name in "abcde"), "another": ("who is far ?",)}
    queries = [f"query {number}" for number in range(40)]
    shown = texts(SwappingEngine(EchoEngine(), questions[0], pool["b"], 0), *queries)
    assert set(shown) == set(pool["b"]) - {"who is e ?"}
    assert shown == texts(SwappingEngine(EchoEngine(), questions[0], pool["b"], 0), *reversed(queries))[::-1]
    assert shown != texts(SwappingEngine(EchoEngine(), questions[0], pool["b"], 1), *queries)
    assert shown != texts(SwappingEngine(EchoEngine(), questions[1], pool["b"], 0), *queries)


def test_a_question_alone_has_no_passages_to_swap(stage) -> None:
    with pytest.raises(ValueError, match=r"question 'q1': swapped passages .* there are none: evaluate a benchmark"):
        stage.play(stage.policy([ANSWER]), intervention=SwappedPassages())
    with pytest.raises(ValueError, match="there are none"):
        SwappingEngine(EchoEngine(), question("a"), ("who is a ?",), 0)


def test_a_blanked_episode_is_in_no_later_context_and_everything_else_is(stage) -> None:
    policy = stage.policy([SEARCH, ANSWER, SEARCH, "<answer> Köln </answer>", ANSWER])
    meta = stage.play(policy, episodes=3, intervention=BlankedEpisode(episode=1))
    prompt, first_reflection = meta.token_ids[: meta.prompt_length], stage.renderer.reflection(None)
    second = meta.token_ids[meta.episode_starts[1] : meta.episode_starts[2]]
    assert second[: len(first_reflection)] == first_reflection
    contexts = [context for context, _, _ in policy.calls]
    assert contexts[1][: len(prompt)] == prompt and len(contexts[1]) > len(prompt), "the first sees its own turns"
    assert contexts[2] == prompt + first_reflection
    assert contexts[4] == prompt + second + meta.token_ids[meta.episode_starts[2] : meta.episodes[2].turns[0].start]
    for number in (1, 2):
        seen = [token for start, end in meta.visible(number) for token in meta.token_ids[start:end]]
        first_turn = meta.episodes[number].turns[0].start
        assert contexts[2 * number] == seen + meta.token_ids[meta.episode_starts[number] : first_turn]
    assert meta.visible(0) == [(0, 0)]


def test_a_later_episode_can_be_the_blanked_one(stage) -> None:
    policy = stage.policy([ANSWER, "<answer> Köln </answer>", ANSWER])
    meta = stage.play(policy, episodes=3, intervention=BlankedEpisode(episode=2))
    reflection = stage.renderer.reflection(None)
    first = meta.token_ids[: meta.episode_starts[1]]
    assert policy.calls[1][0] == first + reflection
    assert policy.calls[2][0] == first + reflection + reflection


def test_records_keep_what_was_blanked_and_train_what_was_seen(stage) -> None:
    policy = stage.policy([SEARCH, ANSWER, ANSWER])
    meta = stage.play(policy, episodes=2, intervention=BlankedEpisode())
    kept = from_line(to_line(meta))
    assert (kept.blanked_episode, kept.visible(1)) == (0, meta.visible(1))
    assert b"blanked_episode" not in to_line(stage.play(stage.policy([ANSWER])))
    sequences = training_sequences(kept, stage.protocol)
    assert len(sequences) == 2
    length = len(policy.calls[2][0])
    assert sequences[1].token_ids[:length] == policy.calls[2][0]
    assert sequences[1].loss_mask[:length] == [0] * length
