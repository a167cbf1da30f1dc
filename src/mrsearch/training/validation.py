"""Which validation is the best, whoever trains: one that is better by more than chance over the same questions."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from statistics import NormalDist, fmean, stdev

from mrsearch.agent.records import MetaEpisode
from mrsearch.agent.scoring import Score, episode_scores

CONFIDENCE = 0.9
"""Of the interval of a difference, so that an equal policy passes for a better one at most once in twenty times."""


def held_out(questions: int, count: int) -> list[int]:
    """Numbers of the training questions that are validated on, in order: a fixed draw."""
    return sorted(random.Random("validation").sample(range(questions), count))


def final_score(meta: MetaEpisode, kind: Score) -> float:
    """The score of the last answer given, 0 without one."""
    scores = episode_scores(meta, kind)
    answered = [score for episode, score in zip(meta.episodes, scores, strict=True) if episode.answer is not None]
    return answered[-1] if answered else 0.0


def gain(scores: Mapping[str, float], best: Mapping[str, float]) -> tuple[float, float]:
    """The interval of the mean difference, `scores` minus `best`, over the questions that both have, by their id.

    Student's t of the paired differences, which are alike in how hard a question is. One question says nothing of
    chance: its interval has no ends. ValueError where no question is in both.
    """
    questions = sorted(scores.keys() & best.keys())
    if not questions:
        raise ValueError("two validations share no question: they cannot be compared")
    if len(questions) == 1:
        return -math.inf, math.inf
    differences = [scores[question] - best[question] for question in questions]
    mean, error = fmean(differences), stdev(differences) / math.sqrt(len(questions))
    reach = student_quantile((1 + CONFIDENCE) / 2, len(questions) - 1) * error
    return mean - reach, mean + reach


def student_quantile(probability: float, freedom: int) -> float:
    """The quantile of Student's t with so many degrees of freedom, to a thousandth from 4 on: Abramowitz and Stegun,
    Handbook of Mathematical Functions, 26.7.5. The environments of trainings have no SciPy.
    """
    x = NormalDist().inv_cdf(probability)
    terms = (
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160,
    )
    return x + sum(term / freedom**power for power, term in enumerate(terms, 1))


def mean_score(scores: Mapping[str, float]) -> float:
    """The mean over questions."""
    return fmean(scores.values())
