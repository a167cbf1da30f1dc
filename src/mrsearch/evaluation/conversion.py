"""Results of earlier versions: their records in today's form, and the scores that evaluations did not write then."""

from __future__ import annotations

import itertools
import logging
from functools import lru_cache
from pathlib import Path

from mrsearch.agent.old_records import read_old_records
from mrsearch.agent.pieces import Pieces, vocabulary_pieces
from mrsearch.agent.record_files import read_records, write_records
from mrsearch.config import Study, read_study
from mrsearch.config.layout import (
    GROUPS_FILE,
    RUN_FILE,
    RecordKey,
    StudyFolder,
    all_record_files,
    all_score_files,
    old_record_file,
    seed_folder,
)
from mrsearch.evaluation.score_files import read_scores, write_scores
from mrsearch.files import read_json

log = logging.getLogger(__name__)


def convert_results(root: Path) -> tuple[int, int]:
    """Convert the results of a study, in its folder: (files of records converted, files of scores written).

    A file of version 1 goes when the new one is whole, so that an interrupted conversion can be run again. Scores are
    written where there are none, or where they were scored by other settings than the study has now. ValueError where
    the folder holds no study, or a file is damaged.
    """
    folder = StudyFolder(root)
    if not folder.study.is_file():
        raise ValueError(f"{root}: holds no {folder.study.name}: name the folder of a study's results")
    study = read_study(folder.study)
    converted = sum(_convert(path, path.parent) for path in all_record_files(study, folder.evaluations).values())
    for names in itertools.product(study.models, study.methods, study.seeds):
        groups = seed_folder(folder.models, *names) / GROUPS_FILE
        converted += _convert(groups, folder.records(*names))
    records, scores = (files(study, folder.evaluations) for files in (all_record_files, all_score_files))
    return converted, sum(_score(study, key, records[key], path) for key, path in scores.items())


def _convert(path: Path, evaluation: Path) -> bool:
    """Whether a file of version 1 was there; texts are left out where the evaluation's policy still has its
    tokenizer."""
    old = old_record_file(path)
    if not old.is_file():
        return False
    count = write_records(path, read_old_records(old), _pieces(evaluation))
    log.info("%s: %d records, %d bytes of %d", path, count, path.stat().st_size, old.stat().st_size)
    old.unlink()
    return True


def _score(study: Study, key: RecordKey, records: Path, path: Path) -> bool:
    """Whether scores were written."""
    if not records.is_file():
        return False
    if path.is_file():
        try:
            read_scores(study, key, path)
        except ValueError as error:
            log.info("%s", error)
        else:
            return False
    write_scores(study, key, read_records(records), path)
    return True


def _pieces(evaluation: Path) -> Pieces | None:
    run = read_json(evaluation / RUN_FILE)
    policy = run.get("inputs", {}).get("policy", {}).get("path") if isinstance(run, dict) else None
    return _pieces_of(Path(policy)) if policy else None


@lru_cache(maxsize=4)
def _pieces_of(policy: Path) -> Pieces | None:
    from mrsearch.policy.tokenizer import load_tokenizer

    if not (policy / "tokenizer.json").is_file():
        return None
    return vocabulary_pieces(load_tokenizer(policy))
