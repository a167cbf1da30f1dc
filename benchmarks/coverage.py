"""Do intervals and marks hold for methods? Simulated studies, through the functions that make the tables.

Eight benchmarks of 100 questions. A question has a chance of being answered, up to 10 points of it each method's own; a
training moves a method's chances by a normal deviate of `sd`. The two methods are equally good, but for the column
"marked at +5", where one is 5 points better. Prints, as a table in Markdown, for each sd and number of seeds:

    difference, ratio    how often the 95 % interval of the mean difference, and of the relative improvement, holds 0
    score                how often one method's interval holds its expected score
    single benchmark     as "difference", on each benchmark alone
    marked               how often p < 0.05 for the mean difference of equal methods
    any mark             how often Holm's correction leaves any of a row's nine marks
    marked at +5         as "marked", where there is something to find
    over questions       how often a test over questions alone, which ignores trainings, would mark equal methods

    python benchmarks/coverage.py

One seed has no mark in the tables; its row shows what marks and intervals would be worth.
"""

# ruff: noqa: T201  (a script that prints its measurements)
from __future__ import annotations

import argparse

import numpy as np

from mrsearch.evaluation import statistics
from mrsearch.evaluation.pairs import average_pair, pair, relative_improvement
from mrsearch.evaluation.significance import holm, sign_flip_test

BENCHMARKS, QUESTIONS, CONFIDENCE, GAIN = 8, 100, 0.95, 0.05
HEADER = (
    *("sd (points)", "seeds", "difference", "ratio", "score", "single benchmark"),
    *("marked", "any mark", "marked at +5", "over questions"),
)


def chances(rng, sd, seeds, studies, gain=0.0):
    """Two methods' chances [S, Q, studies] on each benchmark."""
    moves = rng.normal(0.0, sd, (2, seeds, 1, studies))
    moves[0] += gain
    for _ in range(BENCHMARKS):
        shared = rng.beta(1.2, 1.0, (QUESTIONS, studies))
        alone = np.clip(shared + rng.normal(0.0, 0.1, (2, QUESTIONS, studies)), 0.0, 1.0)
        yield np.clip(alone[:, None] + moves, 0.0, 1.0)


def simulate(rng, sd, seeds, studies, gain=0.0):
    """Scores [S, Q, studies] of both methods on each benchmark."""
    return [(rng.random(both.shape) < both).astype(float) for both in chances(rng, sd, seeds, studies, gain)]


def expected_score(rng, sd):
    """What a method scores on average over questions and trainings."""
    return float(np.mean([both.mean() for both in chances(rng, sd, 1, 20_000)]))


def row(rng, sd, seeds, studies):
    scores = simulate(rng, sd, seeds, studies)
    parts = [pair(*both) for both in scores]
    mean = average_pair(parts)
    _, low, high = relative_improvement(mean, CONFIDENCE)
    rates = np.ones(studies, dtype=bool)
    one = statistics.average([statistics.estimate(both[0], rates, CONFIDENCE) for both in scores])
    p_values = np.array([statistics.p_value(each.difference()) for each in [*parts, mean]])
    better = average_pair([pair(*both) for both in simulate(rng, sd, seeds, studies, GAIN)])
    flips = [
        sign_flip_test([(both[0] - both[1])[..., study].mean(axis=0) for both in scores], 1000, 0)
        for study in range(min(studies, 500))
    ]
    return (
        holds(statistics.interval(mean.difference(), CONFIDENCE), 0.0),
        holds((low, high), 0.0),
        holds(statistics.interval(one, CONFIDENCE), expected_score(rng, sd)),
        np.mean([holds(statistics.interval(part.difference(), CONFIDENCE), 0.0) for part in parts]),
        np.mean(p_values[-1] < 0.05),
        np.mean([min(holm(column)) < 0.05 for column in p_values.T]),
        np.mean(statistics.p_value(better.difference()) < 0.05),
        np.mean(np.array(flips) < 0.05),
    )


def holds(interval, truth):
    low, high = interval
    return np.mean((low <= truth) & (truth <= high))


def main():
    parser = argparse.ArgumentParser(description="Coverage of intervals and size of marks in simulated studies.")
    parser.add_argument("--studies", type=int, default=2000, help="simulated studies a row")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    print("| " + " | ".join(HEADER) + " |")
    print("|" + " ---: |" * len(HEADER))
    for sd in (0.0, 0.02, 0.04):
        for seeds in (1, 2, 3, 5, 10):
            shown = [f"{value:.3f}" for value in row(rng, sd, seeds, arguments.studies)]
            print("| " + " | ".join([f"{100 * sd:.0f}", str(seeds), *shown]) + " |", flush=True)


if __name__ == "__main__":
    main()
