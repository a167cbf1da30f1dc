"""Which of a meta-episode's answers counts, after any number of its episodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import comb

from mrsearch.agent.scoring import normalize

HEADLINE = "final"
"""The answer that comparisons, tables and figures are about, the one that the method gives: the vote of parallel
samples, else the paper's metric, the last valid answer."""
Answers = Sequence[str | None]
"""The answers of the episodes that ran; None where one gave none."""


def last_valid(answers: Answers) -> int | None:
    """The last episode that gave an answer."""
    return max((index for index, answer in enumerate(answers) if answer is not None), default=None)


def vote(answers: Answers) -> int | None:
    """The first episode whose answer is the most frequent one in normal form: self-consistency (arXiv 2203.11171).

    Among equally frequent answers the one that came first wins; episodes without an answer do not vote.
    """
    forms = [None if answer is None else normalize(answer) for answer in answers]
    counts = Counter(form for form in forms if form is not None)
    if not counts:
        return None
    most = max(counts.values())
    return next(index for index, form in enumerate(forms) if form is not None and counts[form] == most)


def counted(answers: Answers, parallel: bool, answer: str = "last_valid") -> str | None:
    """The answer that a method gives, the one that `HEADLINE` scores; None where it gives none."""
    index = counted_episode(answers, parallel, answer)
    return None if index is None else answers[index]


def counted_episode(answers: Answers, parallel: bool, answer: str = "last_valid") -> int | None:
    """The episode of the answer that a method gives, from 0; None where there is none, and an episode without an answer
    where that one counts.

    The vote of parallel samples, else the one that `answer` names: last_valid, last or first.
    """
    if not answers:
        return None
    index = {"last": len(answers) - 1, "first": 0}.get(answer, last_valid(answers))
    return vote(answers) if parallel else index


def by_count(answers: Answers, scores: Sequence[float], episodes: int, parallel: bool) -> dict[str, list[float]]:
    """The score after 1 to `episodes` episodes of the last valid answer, of the vote and of the best answer.

    `scores` belong to `answers`. Where fewer episodes ran, what the last of them left stands for the later ones. The
    best is the largest score so far; of k parallel samples, where all n = `episodes` ran and scores are 0 or 1, it is
    pass@k without bias, 1 - C(n-c, k) / C(n, k) for c right ones (arXiv 2107.03374). Samples that ended because they
    agreed are no free choice of n, so that formula does not hold for them.
    """
    scores_of: dict[str, list[float]] = {"last_valid": [], "vote": [], "best": []}
    for count in range(1, episodes + 1):
        first_answers = answers[:count]
        for name, choose in (("last_valid", last_valid), ("vote", vote)):
            index = choose(first_answers)
            scores_of[name].append(0.0 if index is None else float(scores[index]))
        scores_of["best"].append(max(map(float, scores[:count]), default=0.0))
    if parallel and len(scores) == episodes and set(scores) <= {0.0, 1.0}:
        wrong = episodes - int(sum(scores))
        scores_of["best"] = [1.0 - comb(wrong, count) / comb(episodes, count) for count in range(1, episodes + 1)]
    return scores_of
