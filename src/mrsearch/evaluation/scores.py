"""One meta-episode's scores: what the evaluator tags, and the row that the tables are computed from."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from mrsearch.agent import scoring
from mrsearch.agent.evidence import is_supported, is_wordless
from mrsearch.agent.records import ActionKind, MetaEpisode, StopReason, Turn
from mrsearch.agent.tally import searches
from mrsearch.evaluation.choices import by_count, counted_episode
from mrsearch.evaluation.search_hits import first_hit

SCORES = ("em", "f1", "sub_em")
COUNTS = ("searches", "turns", "generated_tokens")
TRANSITIONS = ("corrected", "corrupted", "unanswered", "kept")
CHOICES = ("last_valid", "last", "best", "vote", "final")
EVIDENCE = ("supported", "wordless")
ENOUGH = (StopReason.agreed, StopReason.confident)
"""Ends of a meta-episode after which its last answer stands for the episodes that were not needed."""


def score_record(record: MetaEpisode) -> dict[str, list[float]]:
    """Per episode that ran: EM, F1 and sub-EM of its answer (0.0 without one), searches, turns and generated tokens.

    The search behind the first prompt counts in the first episode, tokens that left the transcript in the episode that
    generated them.
    """
    golds, episodes = record.question.golden_answers, record.episodes
    answers = [episode.answer for episode in episodes]
    return {
        "em": [scoring.score(answer, golds, "em") for answer in answers],
        "f1": [scoring.score(answer, golds, "f1") for answer in answers],
        "sub_em": [scoring.score(answer, golds, "sub_em") for answer in answers],
        "searches": [float(count) for count in searches(record)],
        "turns": [float(len(episode.turns)) for episode in episodes],
        "generated_tokens": [float(sum(_generated(turn) for turn in episode.turns)) for episode in episodes],
    }


def score_row(
    record: MetaEpisode, episodes: int, topk: int, yes_no_rule: bool = False, answer: str = "last_valid"
) -> dict[str, Any]:
    """The row of `scores.parquet`: lists hold one value for each of the method's `episodes`.

    An episode that never ran (the context was full) or gave no answer scores 0; one that was not needed, because the
    answers agreed or the agent was sure, scores as the last that ran. `final` is the answer that the method gives: the
    vote of parallel samples, else the one that `answer`, a protocol's key, names.
    `hit@k` for k up to `topk`: whether a gold answer stood in the
    first k passages of any search. `supported`: whether that answer stands in a passage that the agent had read then;
    `wordless`: whether it is one that no passage says. `yes_no_rule` scores F1 by HotpotQA's rule. Raises ValueError
    when the record carries no scores or more episodes than its method has.
    """
    scores = record.tags.get("scores")
    if not isinstance(scores, dict) or any(
        len(scores.get(name, ())) != len(record.episodes) for name in SCORES + COUNTS
    ):
        raise ValueError(f"question {record.question.id!r} carries no complete scores: evaluate it again")
    if len(record.episodes) > episodes:
        raise ValueError(
            f"question {record.question.id!r} has {len(record.episodes)} episodes, but its method has {episodes}"
        )
    answers = [episode.answer for episode in record.episodes]
    if yes_no_rule:
        golds = record.question.golden_answers
        scores = {**scores, "f1": [scoring.score(answer, golds, "f1", yes_no_rule=True) for answer in answers]}
    row: dict[str, Any] = {"question_id": record.question.id, "episodes_run": len(record.episodes)}
    for name in SCORES:
        row |= _by_choice(record, name, scores[name], answers, episodes, answer)
    row |= transitions(row["em"], _answered(record, episodes))
    row |= {name: _pad(scores[name], episodes) for name in COUNTS}
    turns = [turn for episode in record.episodes for turn in episode.turns]
    row["total_tokens"] = float(len(record.token_ids) + sum(turn.aside_tokens for turn in turns))
    row["invalid_actions"] = float(sum(turn.action is ActionKind.invalid for turn in turns))
    row["search_failures"] = float(record.search_failures)
    rank = first_hit(record)
    row |= {f"hit@{k}": float(rank <= k) for k in range(1, topk + 1)}
    row |= _evidence(record, counted_episode(answers, _is_parallel(record, episodes), answer))
    row["stop"] = record.stop.value
    return row


def transitions(em: Sequence[float], answered: Sequence[bool]) -> dict[str, list[float]]:
    """Per pair of consecutive episodes: corrected (wrong, then right), corrupted (right, then a wrong answer),
    unanswered (right, then no answer, or the episode never ran) and kept (right, then right).

    EM of the later episode is corrected + kept, EM of the earlier one corrupted + unanswered + kept.
    """
    pairs = [(before == 1.0, after == 1.0) for before, after in itertools.pairwise(em)]
    lost = [before and not after for before, after in pairs]
    return {
        "corrected": [float(not before and after) for before, after in pairs],
        "corrupted": [float(wrong and answer) for wrong, answer in zip(lost, answered[1:], strict=True)],
        "unanswered": [float(wrong and not answer) for wrong, answer in zip(lost, answered[1:], strict=True)],
        "kept": [float(before and after) for before, after in pairs],
    }


def _answered(record: MetaEpisode, episodes: int) -> list[bool]:
    """Whether each episode gave an answer; those that were not needed have the last one's."""
    ran = [episode.answer is not None for episode in record.episodes]
    return ran + [record.stop in ENOUGH and ran[-1]] * (episodes - len(ran))


def _by_choice(
    record: MetaEpisode,
    name: str,
    scores: Sequence[float],
    answers: Sequence[str | None],
    episodes: int,
    answer: str,
) -> dict[str, Any]:
    """One score of every episode, of every choice among the answers, and, for EM, of the choices by number of
    episodes."""
    parallel = _is_parallel(record, episodes)
    after = by_count(answers, scores, episodes, parallel)
    values = _pad(scores, episodes, fill=scores[-1] if record.stop in ENOUGH else 0.0)
    row: dict[str, Any] = {name: values, f"{name}_last": values[-1]}
    row |= {f"{name}_{choice}": reached[-1] for choice, reached in after.items()}
    single = values[0] if answer == "first" else row[f"{name}_{answer}"]
    row[f"{name}_final"] = row[f"{name}_vote"] if parallel else single
    if name == "em":
        row |= {f"{name}_{choice}_after": reached for choice, reached in after.items()}
    return row


def _evidence(record: MetaEpisode, episode: int | None) -> dict[str, float]:
    """Values of `EVIDENCE` for the answer of one episode, from 0; None has no answer."""
    answer = None if episode is None else record.episodes[episode].answer
    if episode is None or answer is None:
        return dict.fromkeys(EVIDENCE, 0.0)
    return {"supported": float(is_supported(record, episode)), "wordless": float(is_wordless(answer))}


def _is_parallel(record: MetaEpisode, episodes: int) -> bool:
    return record.context == "independent" and episodes > 1


def _generated(turn: Turn) -> int:
    return turn.end - turn.start + turn.aside_tokens


def _pad(values: Sequence[float], length: int, fill: float = 0.0) -> list[float]:
    return [float(value) for value in values] + [float(fill)] * (length - len(values))
