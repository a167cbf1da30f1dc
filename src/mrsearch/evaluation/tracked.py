"""Evaluations in Weights & Biases: scores, searches and costs by benchmark, and a few meta-episodes to read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mrsearch.agent.record_files import read_records
from mrsearch.agent.tally import searches
from mrsearch.config import Study
from mrsearch.config.layout import RECORDS, StudyFolder, record_file, score_file
from mrsearch.evaluation.measures import measures
from mrsearch.evaluation.score_files import read_scores
from mrsearch.tracking import Tracker

SHOWN = 4
"""Meta-episodes of each benchmark and decoding in the table."""
COLUMNS = (
    *("benchmark", "decoding", "question", "golden_answers", "episode"),
    *("transcript", "answer", "em", "f1", "searches", "stop"),
)
BY_EPISODE = ("em", "f1")
COUNTS = ("searches", "generated_tokens", "total_tokens", "invalid_actions", "search_failures", "episodes_run")
Key = tuple[str, str, int]
"""Model, method and seed."""


def report_evaluations(study: Study, root: Path) -> int:
    """Report every evaluation below `root`, a study's folder of results, that was not reported before, each as a run in
    the group of its training; how many there are, reported now or earlier.

    Those of models and methods that the study has no more are referred to without their scores. ValueError where a file
    of scores or records is damaged, or belongs to other settings.
    """
    folder, count = StudyFolder(root), 0
    for key in folder.evaluated():
        count += 1
        directory = folder.tracked(*key)
        if not list(directory.glob("wandb/*run-*")):
            directory.mkdir(parents=True, exist_ok=True)
            _report(study, key, folder.records(*key), directory)
    return count


def _report(study: Study, key: Key, out: Path, directory: Path) -> None:
    model, method, seed = key
    settings = study.methods.get(method) if model in study.models else None
    # Read before the run is begun: damaged files leave none that would pass for a report.
    rows = list(sample_rows(study, out)) if settings else []
    scores = means(study, key, out) if settings else {}
    trained = settings.policy if settings and settings.policy not in (None, "base") else method
    names = (study.name, model, method, seed, study.model_dump(mode="json"), directory)
    with Tracker.start(*names, job_type="evaluate", group=f"{study.name}/{model}/{trained}") as tracker:
        if settings:
            tracker.table(0, "meta_episodes", COLUMNS, rows)
            tracker.log(0, scores)
        tracker.reference(f"{model}-{method}-seed{seed}-records", "meta-episodes", sorted(out.glob(f"*{RECORDS}")))


def means(study: Study, key: Key, out: Path) -> dict[str, Any]:
    """Means over the questions of each file of scores, by `decoding/benchmark/metric`: EM and F1 of the answer that
    counts and of each episode (a list), shares of questions whose passages held a gold answer, searches and tokens."""
    by_name: dict[str, Any] = {}
    for benchmark, decoding in _files(study):
        path = score_file(out, benchmark, decoding)
        if not path.is_file():
            continue
        names, values_QK = measures(read_scores(study, (*key, decoding, benchmark), path))
        mean = dict(zip(names, values_QK.mean(axis=0).tolist(), strict=True))
        prefix = f"{decoding}/{benchmark}"
        for score in BY_EPISODE:
            episodes = [value for (name, episode), value in mean.items() if name == score and episode.isdigit()]
            by_name |= {f"{prefix}/{score}": mean[score, "final"], f"{prefix}/{score}_episode": episodes}
        hits = [name for name, _ in names if name.startswith("hit@")]
        by_name |= {f"{prefix}/{name}": mean[name, "all"] for name in (*COUNTS, *hits)}
        by_name[f"{prefix}/questions"] = len(values_QK)
    return by_name


def sample_rows(study: Study, out: Path) -> Iterator[list[Any]]:
    """A row for each episode of the first meta-episodes of every file, in the order of COLUMNS; observations stand in
    the transcript."""
    for benchmark, decoding in _files(study):
        path = record_file(out, benchmark, decoding)
        if not path.is_file():
            continue
        for record in itertools.islice(read_records(path), SHOWN):
            scores, counts = record.tags["scores"], searches(record)
            golds = " | ".join(record.question.golden_answers)
            for index, episode in enumerate(record.episodes):
                transcript = "\n".join(text for turn in episode.turns for text in (turn.text, turn.observation) if text)
                row = [benchmark, decoding, record.question.question, golds, index + 1, transcript]
                yield [
                    *row,
                    episode.answer or "",
                    scores["em"][index],
                    scores["f1"][index],
                    counts[index],
                    episode.stop.value,
                ]


def _files(study: Study) -> Iterator[tuple[str, str]]:
    """Benchmark and decoding of every file."""
    return itertools.product(study.benchmarks, study.evaluation.decoding)
