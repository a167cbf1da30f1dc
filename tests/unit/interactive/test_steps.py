"""The steps of meta-episodes of every procedure, live and from their records."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
from unit.agent.conftest import Stage, tokenizer_named

from mrsearch.agent.ports import SearchError
from mrsearch.agent.records import MetaEpisode
from mrsearch.interactive.as_data import as_data, costs, final_answer
from mrsearch.interactive.steps import Step, steps

ANSWER, OTHER = "<answer> Bla </answer>", "<answer> Köln </answer>"
SENTENCE = "Gadurin won the prize of Köln . "
SEARCH = "<think> what prize </think> <search> prize of Gadurin </search>"
READ = "<answer> Gadurin won Bla city </answer>"

PLAYS: dict[str, tuple[Sequence[str], dict[str, Any], list[str]]] = {
    "two episodes": (
        [SEARCH, ANSWER, OTHER],
        {"episodes": 2},
        ["episode", "reasoning", "search", "passages", "answer", "reflection", "episode", "answer"],
    ),
    "a hint, and no answer": (
        ["find nothing", "find nothing"],
        {},
        ["episode", "invalid", "hint", "invalid", "hint", "stop"],
    ),
    "agreement": (
        [ANSWER, ANSWER],
        {"episodes": 3, "stop_after_agreeing": 2},
        ["episode", "answer", "reflection", "episode", "answer", "stop"],
    ),
    "samples": (
        [ANSWER, OTHER, OTHER],
        {"episodes": 3, "context": "independent"},
        ["episode", "answer", "episode", "answer", "episode", "answer"],
    ),
    "summaries": (
        [SEARCH, ANSWER, "what is left", OTHER],
        {"episodes": 2, "context": "summary"},
        ["episode", "reasoning", "search", "passages", "answer", "summary", "reflection", "episode", "answer"],
    ),
    "a failed search": (["<search> broken </search>"], {"episodes": 2}, ["episode", "search", "stop"]),
    "rag": ([ANSWER], {"procedure": "rag"}, ["episode", "passages", "answer"]),
    "ircot": (
        [f"{SENTENCE} nothing", ANSWER],
        {"procedure": "ircot"},
        ["passages", "episode", "search", "passages", "answer"],
    ),
    "search-o1": (
        [SEARCH, READ, ANSWER],
        {"procedure": "search_o1"},
        ["episode", "reasoning", "search", "passages", "notes", "answer"],
    ),
    "direct": (["what is the prize"], {"procedure": "direct"}, ["episode", "invalid", "stop"]),
}


def play(stage: Stage, lines: Sequence[str], spec: dict[str, Any]) -> tuple[MetaEpisode, list[list[Step]]]:
    """The finished meta-episode, and the steps that a watcher saw each time."""
    seen: list[list[Step]] = []
    record = stage.play(
        stage.policy(lines),
        watch=lambda meta: seen.append(steps(copy.deepcopy(meta), stage.protocol, over=False)),
        **{"max_turns": 2, **spec},
    )
    return record, seen


@pytest.fixture(params=["word", "bpe"])
def stage(request: pytest.FixtureRequest) -> Stage:
    return Stage(request.param, tokenizer_named(request.param))


@pytest.mark.parametrize("name", PLAYS)
def test_every_procedure_is_shown_in_the_order_in_which_it_happened(stage: Stage, name: str) -> None:
    lines, spec, kinds = PLAYS[name]
    record, _ = play(stage, lines, spec)
    assert [step.kind.value for step in steps(record, stage.protocol)] == kinds


@pytest.mark.parametrize("name", PLAYS)
def test_what_a_watcher_has_seen_stays(stage: Stage, name: str) -> None:
    lines, spec, _ = PLAYS[name]
    record, seen = play(stage, lines, spec)
    for earlier, later in zip(seen, [*seen[1:], steps(record, stage.protocol)], strict=True):
        assert later[: len(earlier)] == earlier
    assert len({len(view) for view in seen}) > 1, "nothing came step by step"


def test_texts_stand_without_their_tags(stage: Stage) -> None:
    record, _ = play(stage, [SEARCH, ANSWER, OTHER], {"episodes": 2})
    texts = {step.kind.value: step.text for step in steps(record, stage.protocol)}
    assert (texts["reasoning"], texts["search"], texts["answer"]) == ("what prize", "prize of Gadurin", "Köln")
    assert texts["reflection"] == "reflect and search again"


def test_a_repeated_question_stands_in_the_reflection(stage: Stage) -> None:
    repeating = stage.protocol.reflection.model_copy(update={"repeats": "question"})
    stage = stage.having(reflection=repeating)
    record, _ = play(stage, [ANSWER, OTHER], {"episodes": 2})
    (text,) = [step.text for step in steps(record, stage.protocol) if step.kind == "reflection"]
    assert text == stage.renderer.reflection_text(record.question.question)
    assert "prize of Gadurin" in text


def test_notes_are_told_from_passages_that_were_cut(stage: Stage) -> None:
    stage = stage.having(max_observation_tokens=3)
    record, _ = play(stage, [SEARCH, ANSWER], {})
    assert "notes" not in [step.kind.value for step in steps(record, stage.protocol)]
    record, _ = play(stage, [SEARCH, "<answer> nothing </answer>", ANSWER], {"procedure": "search_o1"})
    assert [step.text for step in steps(record, stage.protocol) if step.kind == "notes"] == ["nothing"]


def test_a_search_without_hits_shows_what_the_policy_read(stage: Stage) -> None:
    async def nothing(query: str, topk: int) -> list[Any]:
        return []

    stage.engine.search = nothing  # type: ignore[method-assign]
    record, _ = play(stage, [SEARCH, ANSWER], {})
    (passages,) = [step for step in steps(record, stage.protocol) if step.kind == "passages"]
    assert (passages.hits, "nothing" in passages.text) == ((), True)


def test_a_question_without_any_episode_says_why(stage: Stage) -> None:
    async def fail(query: str, topk: int) -> list[Any]:
        raise SearchError("down")

    stage.engine.search = fail  # type: ignore[method-assign]
    record, _ = play(stage, [], {"procedure": "rag"})
    assert [(step.kind.value, step.text) for step in steps(record, stage.protocol)] == [("stop", "search_failed")]
    data = as_data(record, stage.protocol)
    assert (data["answer"], data["right"], data["episodes"]) == (None, False, [])
    assert (data["costs"]["searches"], data["costs"]["search_failures"]) == (1, 1)


def test_data_holds_what_was_said_found_and_spent(stage: Stage) -> None:
    record, _ = play(stage, [SEARCH, ANSWER, OTHER], {"episodes": 2})
    data = as_data(record, stage.protocol, seconds=1.25)
    assert (data["id"], data["answer"], data["right"], data["stop"]) == ("q1", "Köln", False, "answered")
    assert [episode["right"] for episode in data["episodes"]] == [True, False]
    assert [episode["searches"] for episode in data["episodes"]] == [1, 0]
    turn = data["episodes"][0]["turns"][0]
    assert (turn["reasoning"], turn["action"], turn["content"]) == ("what prize", "search", "prize of Gadurin")
    assert turn["passages"] == [{"id": "p1", "title": "Gadurin", "text": "Gadurin won Bla", "score": 0.5}]
    assert data["costs"] == {**costs(record), "seconds": 1.25}
    assert data["costs"]["generated_tokens"] == sum(record.loss_mask)


@pytest.mark.parametrize(
    ("context", "answer", "counts"),
    [("full", "last_valid", "Köln"), ("full", "first", "Bla"), ("full", "last", None), ("independent", "last", "Bla")],
)
def test_the_answer_that_counts_is_the_protocols_or_the_vote(context: str, answer: str, counts: str | None) -> None:
    stage = Stage("word", tokenizer_named("word")).having(answer=answer)
    lines = [ANSWER, OTHER, "<|im_end|>"] if context == "full" else [ANSWER, OTHER, ANSWER]
    record, _ = play(stage, lines, {"episodes": 3, "context": context, "max_turns": 1})
    assert final_answer(record, stage.protocol) == counts


def test_no_gold_answers_no_verdict(stage: Stage) -> None:
    stage.question = type(stage.question)("", "what is the prize of Gadurin ?", ())
    record, _ = play(stage, [ANSWER], {})
    data = as_data(record, stage.protocol)
    assert data["answer"] == "Bla"
    assert not {"right", "golden_answers"} & data.keys()
    assert "right" not in data["episodes"][0]
