"""One meta-episode's scores: what the evaluator tags, and the row that the tables are computed from."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from mrsearch.agent import scoring
from mrsearch.agent.records import ActionKind, MetaEpisode, Turn

SCORES = ("em", "f1", "sub_em")
COUNTS = ("searches", "turns", "generated_tokens")


def score_record(record: MetaEpisode) -> dict[str, list[float]]:
    """Per episode that ran: EM, F1 and sub-EM of its answer (0.0 without one), searches, turns and generated tokens."""
    golds = record.question.golden_answers
    answers = [episode.answer for episode in record.episodes]
    return {
        "em": [0.0 if answer is None else float(scoring.em(answer, golds)) for answer in answers],
        "f1": [0.0 if answer is None else float(scoring.f1(answer, golds)) for answer in answers],
        "sub_em": [0.0 if answer is None else float(scoring.sub_em(answer, golds)) for answer in answers],
        "searches": [float(sum(_searched(turn) for turn in episode.turns)) for episode in record.episodes],
        "turns": [float(len(episode.turns)) for episode in record.episodes],
        "generated_tokens": [
            float(sum(turn.end - turn.start for turn in episode.turns)) for episode in record.episodes
        ],
    }


def score_row(record: MetaEpisode, episodes: int) -> dict[str, Any]:
    """The row of `scores.parquet`: lists hold one value for each of the method's `episodes`.

    An episode that never ran (the context was full) or gave no answer scores 0. Raises ValueError when the record
    carries no scores or more episodes than its method has.
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
    answered = [index for index, episode in enumerate(record.episodes) if episode.answer is not None]
    row: dict[str, Any] = {"question_id": record.question.id, "episodes_run": len(record.episodes)}
    for name in SCORES:
        values = _pad(scores[name], episodes)
        row[name] = values
        row[f"{name}_last_valid"] = values[answered[-1]] if answered else 0.0
        row[f"{name}_last"] = values[-1]
        row[f"{name}_best"] = max(values)
    row.update(transitions(row["em"]))
    for name in COUNTS:
        row[name] = _pad(scores[name], episodes)
    turns = [turn for episode in record.episodes for turn in episode.turns]
    row["total_tokens"] = float(len(record.token_ids))
    row["invalid_actions"] = float(sum(turn.action is ActionKind.invalid for turn in turns))
    row["search_failures"] = float(record.search_failures)
    row["stop"] = record.stop.value
    return row


def transitions(em: Sequence[float]) -> dict[str, list[float]]:
    """Per pair of consecutive episodes: corrected (wrong, right), corrupted (right, wrong), kept (right, right).

    EM of the later episode is corrected + kept, EM of the earlier one corrupted + kept.
    """
    pairs = [(before == 1.0, after == 1.0) for before, after in itertools.pairwise(em)]
    return {
        "corrected": [float(not before and after) for before, after in pairs],
        "corrupted": [float(before and not after) for before, after in pairs],
        "kept": [float(before and after) for before, after in pairs],
    }


def _searched(turn: Turn) -> bool:
    """Whether the turn searched, or its prompt held passages that the procedure had searched for (rag)."""
    return turn.action is ActionKind.search or bool(turn.hits)


def _pad(values: Sequence[float], length: int) -> list[float]:
    return [float(value) for value in values] + [0.0] * (length - len(values))
