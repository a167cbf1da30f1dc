"""A small study with made-up records and training logs, for whatever reads the files of a run.

A conftest that imports the fixtures gives them to its tests.
"""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mrsearch.agent.record_files import read_records, write_records
from mrsearch.agent.records import ActionKind, Episode, MetaEpisode, Question, StopReason, Turn
from mrsearch.config import Study
from mrsearch.config.layout import TRAIN_LOG, all_record_files, all_score_files, seed_folder

ABILITY = {"direct": 0.1, "search_r1": 0.45, "search_r1_long": 0.6, "mr_search": 0.5}


@pytest.fixture(scope="session")
def small_study() -> Study:
    """Four methods, three benchmarks (one outside the mean), two decodings, two seeds."""
    return Study.model_validate(
        {
            "name": "small",
            "title": "Made-up records",
            "seeds": (0, 1),
            "data": {"kind": "world"},
            "retrieval": {
                "use": "dense",
                "retrievers": {"dense": {"kind": "dense", "encoder": {"kind": "bow"}}},
            },
            "models": {"tiny": {"kind": "tiny"}},
            "methods": {
                "direct": {"label": "Direct", "procedure": "direct"},
                "search_r1": {"label": "Search-R1", "train": {"algorithm": "grpo"}},
                "search_r1_long": {"label": "One long episode", "max_turns": 9, "train": {"algorithm": "grpo"}},
                "mr_search": {
                    "label": "MR-Search",
                    "episodes": 3,
                    "train": {"algorithm": "mr_search"},
                    "compare_with": "search_r1_long",
                },
            },
            "benchmarks": {
                "one": {"label": "One & only"},
                "two": {"label": "2 hops"},
                "extra": {"average": False},
            },
            "evaluation": {"decoding": {"greedy": {}, "sampled": {"temperature": 1.0}}},
        }
    )


@pytest.fixture(scope="session")
def make_records() -> Callable[..., Path]:
    """A function (study, folder, questions=12) that writes every file of records and of scores of a
    study and returns the folder."""
    return write_made_records


@pytest.fixture(scope="session")
def made_once(small_study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the records and scores of the small study; for reading alone."""
    return write_made_records(small_study, tmp_path_factory.mktemp("made") / "eval")


@pytest.fixture(scope="session")
def measured(small_study: Study, made_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of their scores.parquet and metrics.parquet; for reading alone."""
    folder = tmp_path_factory.mktemp("measured")
    write_made_metrics(small_study, made_once, folder)
    return folder


def write_made_records(study: Study, folder: Path, questions: int = 12) -> Path:
    for place, path in all_record_files(study, folder).items():
        write_records(path, [made_record(study, place, number) for number in range(questions)])
    return score_again(study, folder)


def score_again(study: Study, folder: Path) -> Path:
    """Scores of the records that are in the folder now, as evaluations write them; returns the folder."""
    from mrsearch.evaluation.score_files import write_scores

    records = all_record_files(study, folder)
    for place, path in all_score_files(study, folder).items():
        write_scores(study, place, read_records(records[place]), path)
    return folder


def write_made_metrics(study: Study, folder: Path, out: Path) -> None:
    """Write scores.parquet and metrics.parquet of the evaluations in a folder into `out`."""
    from mrsearch.evaluation.metrics import write_metrics

    write_metrics(study, folder, out / "scores.parquet", out / "metrics.parquet")


def made_record(study: Study, place: tuple[str, str, int, str, str], number: int) -> MetaEpisode:
    """Right with a probability that depends on the method, the question's difficulty and the episode."""
    from mrsearch.evaluation.scores import score_record

    _, method, _, decoding, benchmark = place
    difficulty = np.random.default_rng(zlib.crc32(f"{benchmark}/{number}".encode())).normal(0, 0.25)
    rng = np.random.default_rng(zlib.crc32("/".join(map(str, (*place, number))).encode()))
    episodes, length = [], 8
    for index in range(study.methods[method].episodes):
        chance = ABILITY.get(method, 0.4) + 0.15 * index - difficulty - 0.1 * (decoding == "sampled")
        answer = "right" if rng.random() < chance else ["wrong", "right or wrong", None][rng.integers(3)]
        kinds = [ActionKind.search] * int(rng.integers(0, 4)) + [ActionKind.answer if answer else ActionKind.invalid]
        turns = []
        for kind in kinds:
            turns.append(Turn(length, length + 6, "made up", kind, answer or ""))
            length += 10
        episodes.append(Episode(turns, answer, StopReason.answered if answer else StopReason.turn_limit))
    question = Question(f"{benchmark}-{number}", f"question {number}", ("right",), benchmark)
    ids = [0] * length
    record = MetaEpisode(question, ids, ids, ids, [0.0] * length, 8, episodes, episodes[-1].stop)
    record.context = study.methods[method].context
    names = ("model", "method", "seed", "decoding", "benchmark")
    record.tags = {"study": study.name, **dict(zip(names, place, strict=True)), "scores": score_record(record)}
    return record


@pytest.fixture(scope="session")
def make_train_logs() -> Callable[[Study, Path], Path]:
    """A function (study, folder) that writes a train.jsonl for every trained method and returns the folder."""
    return write_made_train_logs


@pytest.fixture(scope="session")
def make_groups() -> Callable[[Study, Path], Path]:
    """A function (study, folder) that writes the groups of MR-Search's training with the first seed; the folder."""
    return write_made_groups


def write_made_groups(study: Study, folder: Path, size: int = 3) -> Path:
    """Two groups at steps 0 and 4."""
    from mrsearch.agent.scoring import episode_scores
    from mrsearch.learning.advantages import advantages
    from mrsearch.training import groups
    from mrsearch.training.rl.rollouts import reward_tensors

    method, seed = "mr_search", study.seeds[0]
    train = study.methods[method].train
    assert train is not None
    for step in (0, 4):
        metas = []
        for question, member in itertools.product(range(2), range(size)):
            place = ("tiny", method, seed, f"{step}/{member}", "train")
            made = made_record(study, place, question)
            made.tags = {}
            metas.append(made)
        rewards, exists = reward_tensors([episode_scores(meta) for meta in metas], size, study.methods[method].episodes)
        gains = advantages(train.algorithm, rewards, exists)
        groups.keep(folder / "runs", step, metas, rewards, exists, gains)
    groups.publish(folder / "runs", seed_folder(folder, "tiny", method, seed) / "model")
    return folder


def write_made_train_logs(study: Study, folder: Path, steps: int = 30) -> Path:
    for model in study.models:
        for method, settings in study.methods.items():
            if not settings.train:
                continue
            for seed in study.seeds:
                rng = np.random.default_rng(zlib.crc32(f"{method}{seed}".encode()))
                path = seed_folder(folder, model, method, seed) / TRAIN_LOG
                path.parent.mkdir(parents=True)
                rows = []
                for step in range(1, steps + 1):
                    progress = step / steps
                    rewards = [0.2 + 0.4 * progress + 0.1 * n + rng.normal(0, 0.03) for n in range(settings.episodes)]
                    counts = {"searches": 2 + progress * settings.episodes, "generated_tokens": 60 * settings.episodes}
                    rows.append(
                        {
                            "step": step,
                            "total_tokens": 9000 * step,
                            "reward": rewards,
                            **counts,
                            "entropy": 0.5 - 0.3 * progress + rng.normal(0, 0.02),
                        }
                    )
                path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
