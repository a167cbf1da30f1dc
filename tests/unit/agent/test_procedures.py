"""Procedures that answer in one generation, and how a study's method becomes an agent."""

from __future__ import annotations

import pytest

from mrsearch.agent.ports import SearchError
from mrsearch.agent.record_files import read_records, write_records
from mrsearch.agent.records import ActionKind, StopReason
from mrsearch.agent.spec import AgentSpec
from mrsearch.evaluation.scores import score_record

ANSWER = "<answer> Bla </answer>"


@pytest.mark.parametrize("procedure", ["direct", "cot"])
def test_direct_and_cot_answer_without_searching(stage, procedure):
    policy = stage.policy([ANSWER])
    meta = stage.play(policy, procedure=procedure)
    assert (meta.episodes[0].answer, meta.stop) == ("Bla", StopReason.answered)
    assert policy.calls[0][0] == stage.renderer.first_prompt(procedure, stage.question.question)
    assert stage.engine.queries == []
    stage.engine = None
    assert stage.play(stage.policy([ANSWER]), procedure=procedure) == meta, "no engine is needed"


def test_rag_reads_the_passages_of_one_search_with_the_question(stage, tmp_path):
    policy = stage.policy([ANSWER])
    meta = stage.play(policy, procedure="rag", topk=2)
    assert stage.engine.queries == [(stage.question.question, 2)]
    information = stage.renderer.passages(meta.episodes[0].turns[0].hits)
    assert "Gadurin won Bla" in information
    assert policy.calls[0][0] == stage.renderer.first_prompt("rag", stage.question.question, information)
    assert [hit.passage.id for hit in meta.episodes[0].turns[0].hits] == ["p1"]
    assert sum(meta.loss_mask) == len(policy.said[0].token_ids)
    write_records(tmp_path / "a.jsonl.zst", [meta])
    assert list(read_records(tmp_path / "a.jsonl.zst")) == [meta]


def test_a_failed_search_leaves_rag_without_episodes(stage):
    async def fail(query: str, topk: int) -> None:
        raise SearchError("down")

    stage.engine.search = fail
    meta = stage.play(stage.policy([]), procedure="rag")
    assert (meta.stop, meta.search_failures, meta.episodes, meta.token_ids) == (StopReason.search_failed, 1, [], [])
    stage.engine = None
    with pytest.raises(ValueError, match="procedure rag searches"):
        stage.play(stage.policy([]), procedure="rag")


@pytest.mark.parametrize("said", ["<search> Köln </search>", "what is the prize"])
def test_a_generation_without_an_answer_is_not_continued(stage, said):
    meta = stage.play(stage.policy([said]), procedure="direct")
    assert (meta.episodes[0].answer, meta.stop, stage.engine.queries) == (None, StopReason.turn_limit, [])


def test_the_context_limit_holds_for_one_generation_too(stage):
    prompt = stage.renderer.first_prompt("direct", stage.question.question)
    short = stage.having(max_context_tokens=len(prompt) + 1, max_turn_tokens=1)
    assert short.play(short.policy([ANSWER]), procedure="direct").episodes[0].stop is StopReason.context_limit
    full = stage.having(max_context_tokens=len(prompt), max_turn_tokens=1)
    meta = full.play(full.policy([]), procedure="direct")
    assert (meta.token_ids, meta.episodes, meta.stop) == (prompt, [], StopReason.context_limit)


@pytest.mark.parametrize("procedure", ["direct", "cot", "rag"])
def test_one_generation_cannot_search(stage, procedure):
    meta = stage.play(stage.policy(["<search> Gadurin </search>"]), procedure=procedure)
    turn = meta.episodes[0].turns[0]
    assert (turn.action, turn.content, meta.stop) == (ActionKind.invalid, "", StopReason.turn_limit)
    assert score_record(meta)["searches"] == [float(len(stage.engine.queries))] == [float(procedure == "rag")]


def test_a_spec_resolves_what_the_study_says(small_study):
    spec = AgentSpec.of(small_study, "search_r1_long")
    assert (spec.procedure, spec.episodes, spec.max_turns, spec.topk, spec.context) == ("meta_episode", 1, 9, 3, "full")
    assert AgentSpec.of(small_study, "mr_search").max_turns == small_study.protocol.max_turns
    assert AgentSpec.of(small_study, "mr_search").episodes == 3
    assert AgentSpec.of(small_study, "direct").procedure == "direct"


def test_a_watcher_sees_every_stage_of_a_meta_episode_in_order(stage):
    views = []

    def watch(meta):
        turns = [turn for episode in meta.episodes for turn in episode.turns]
        newest = [(len(turn.hits), turn.observation != "") for turn in turns[-1:]]
        views.append((len(meta.episodes), len(turns), *newest))

    policy = stage.policy(["<search> Köln </search>", ANSWER, ANSWER])
    meta = stage.play(policy, episodes=2, watch=watch)
    assert views == [
        (1, 0),  # the first episode begins
        (1, 1, (0, False)),  # before the search
        (1, 1, (1, False)),  # its passages
        (1, 1, (1, True)),  # as the policy reads them
        (2, 2, (0, False)),  # the second episode begins, the first one's answer is there
        (2, 3, (0, False)),  # the end
    ]
    assert stage.play(stage.policy(["<search> Köln </search>", ANSWER, ANSWER]), episodes=2) == meta, "unwatched too"


def test_a_watcher_sees_of_a_shortened_generation_what_is_kept(stage):
    texts = []

    def watch(meta):
        texts.extend(turn.text for episode in meta.episodes for turn in episode.turns)

    said = ["Gadurin won the prize of Köln . what is the city ? nothing", ANSWER]
    stage.play(stage.policy(said), procedure="ircot", max_turns=3, watch=watch)
    assert texts and "nothing" not in "".join(texts)
