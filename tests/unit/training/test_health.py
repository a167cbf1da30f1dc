"""Alarms about reasoning: they come and end a training while its score still stands."""

from __future__ import annotations

import pytest
from support.transcripts import DEGENERATE, HEALTHY, transcript

from mrsearch.agent.reasoning import ReasoningCounts, reasoning_shares
from mrsearch.agent.scoring import episode_scores
from mrsearch.config.reasoning import ReasoningLimits
from mrsearch.config.wording import Tags
from mrsearch.training.health import ReasoningMonitor, Unhealthy, require_health

ALARMS = {
    "unclosed": "high_malformed_thinking",
    "empty": "high_empty_thinking",
    "loop": "high_repeated_ngrams",
    "same query": "high_repeated_queries",
    "searches on": "high_needless_searches",
    "made up": "high_unsupported_answers",
    "other script": "high_non_latin",
}
LIMITS = ReasoningLimits(
    action="stop",
    patience=2,
    max_malformed_thinking=0.4,
    max_non_latin=0.1,
    max_repeated_queries=0.5,
    max_needless_searches=0.5,
)


def row_of(names, transcripts=HEALTHY | DEGENERATE):
    metas = [transcript(transcripts[name]) for name in names]
    scores = [score for meta in metas for score in episode_scores(meta)]
    counts = (ReasoningCounts.of(meta, Tags()) for meta in metas)
    return {"reward": [sum(scores) / len(scores)], **reasoning_shares(counts)}


def test_healthy_transcripts_raise_no_alarm_alone_or_together():
    for names in ([name] for name in HEALTHY):
        assert ReasoningMonitor(LIMITS).look(row_of(names)) == {}
    assert ReasoningMonitor(LIMITS).look(row_of(HEALTHY)) == {}


@pytest.mark.parametrize("name", DEGENERATE)
def test_each_degenerate_transcript_raises_its_own_alarm(name):
    assert list(ReasoningMonitor(LIMITS).look(row_of([name]))) == [ALARMS[name]]


def test_it_ends_a_training_whose_score_has_not_fallen():
    """Ever more of the right answers come out of a loop: the score is 1 to the end."""
    monitor, rows = ReasoningMonitor(LIMITS), []
    for looping in range(4):
        rows.append(row_of(["two hops"] * (3 - looping) + ["loop"] * looping))
        if verdict := monitor.verdict(monitor.look(rows[-1])):
            break
    assert [row["reward"] for row in rows] == [[1.0]] * 4
    # Both transcripts have 17 runs of four tokens; the loop had 7 of its own before.
    assert [row["repeated_ngrams"] for row in rows] == pytest.approx([0, 7 / 51, 14 / 51, 21 / 51])
    assert verdict is None  # the fourth step is the first above 0.3
    verdict = monitor.verdict(monitor.look(rows[-1]))
    assert verdict == (
        "high_repeated_ngrams for 2 steps: repeated_ngrams (0.4118) is above 0.3. Look at the training log, then "
        "change the method or training.reasoning"
    )


def test_a_better_step_ends_a_streak_and_an_action_of_warn_or_off_ends_nothing():
    ill, well = row_of(["loop"]), row_of(HEALTHY)
    monitor = ReasoningMonitor(LIMITS)
    assert [monitor.verdict(monitor.look(row)) for row in (ill, well, ill, well)] == [None] * 4
    for action, alarms in (("warn", ["high_repeated_ngrams"]), ("off", [])):
        monitor = ReasoningMonitor(LIMITS.model_copy(update={"action": action}))
        for _ in range(3):
            seen = monitor.look(ill)
            assert (list(seen), monitor.verdict(seen)) == (alarms, None)


def test_a_training_that_an_alarm_ended_goes_on_only_once_its_rule_is_another():
    rows = [{"step": step, **row_of(["loop"])} for step in (3, 4)]
    ended = "the training does not go on after step 5: high_repeated_ngrams for 2 steps: .* or training.reasoning"
    with pytest.raises(Unhealthy, match=ended):
        require_health([ReasoningMonitor(LIMITS)], rows)
    changed = {"action": "warn"}, {"patience": 3}, {"max_repeated_ngrams": 0.9}
    for change in changed:
        require_health([ReasoningMonitor(LIMITS.model_copy(update=change))], rows)
    healthy = {"step": 5, **row_of(HEALTHY)}
    for earlier in (rows[:1], [*rows, healthy], []):
        require_health([ReasoningMonitor(LIMITS)], earlier)


def test_short_reasoning_is_watched_where_a_limit_says_so():
    limits = ReasoningLimits(min_thinking_characters=10.0)
    assert list(ReasoningMonitor(limits).look(row_of(["searches on"]))) == ["low_thinking_characters"]
    assert ReasoningMonitor(limits).look(row_of(["one search"])) == {}


def test_columns_of_searches_that_a_method_has_not_are_not_missed():
    counts = [ReasoningCounts.of(transcript(HEALTHY["one search"]), Tags())]
    assert ReasoningMonitor(LIMITS).look(reasoning_shares(counts, searches=False)) == {}
