"""The records that the viewer shows of an evaluation: chosen among the ids of its scores, read from its records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mrsearch.agent.record_files import read_records
from mrsearch.agent.records import MetaEpisode
from mrsearch.config import Study
from mrsearch.config.layout import RecordKey
from mrsearch.data.subsets import hashed_id
from mrsearch.evaluation.score_files import REMEDY, read_scores


def question_ids(study: Study, key: RecordKey, scores: Path) -> list[str]:
    """The ids of a file of scores, those first that every part of its questions has; ValueError as of `read_scores`."""
    ids: list[str] = read_scores(study, key, scores, columns=["question_id"])["question_id"].to_pylist()
    return sorted(ids, key=hashed_id)


def records_of(path: Path, ids: Sequence[str]) -> Iterator[MetaEpisode]:
    """The records of these questions, in the order of the file, which is read no further than the last of them.

    Evaluations write the order of `question_ids`, so that the first ids are the file's first records. ValueError where
    the file lacks one.
    """
    missing = set(ids)
    for record in read_records(path):
        if record.question.id in missing:
            missing.remove(record.question.id)
            yield record
            if not missing:
                return
    if missing:
        raise ValueError(f"{path}: holds no record of question {min(missing)!r}, of which there are scores: {REMEDY}")
