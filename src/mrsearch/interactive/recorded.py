"""Meta-episodes of a file of records, and the protocol that they were made under."""

from __future__ import annotations

import logging
from pathlib import Path

from mrsearch.agent.record_files import read_records
from mrsearch.agent.records import MetaEpisode
from mrsearch.config.layout import RUN_FILE
from mrsearch.config.protocol import Protocol
from mrsearch.config.study import Study
from mrsearch.files import read_json

log = logging.getLogger(__name__)
LISTED = 5
"""Ids that an error names."""


def records_of(path: Path, question_id: str) -> list[MetaEpisode]:
    """The records of one question: one, or in a file of a training's groups each member's.

    ValueError where there is no such file, or no such question in it; the message names some that are there.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file: evaluations write <benchmark>.<decoding>.jsonl.zst")
    records: list[MetaEpisode] = []
    further: list[str] = []
    for record in read_records(path):
        if record.question.id == question_id:
            records.append(record)
        elif len(further) < LISTED and record.question.id not in further:
            further.append(record.question.id)
    if not records:
        listed = ", ".join(map(repr, further)) or "none"
        raise ValueError(f"{path}: holds no question {question_id!r}; the first that it holds: {listed}")
    return records


def protocol_of(path: Path) -> Protocol:
    """The protocol of a file of records, from the run.json beside it; the default one, and a warning, where there is
    none that this version reads."""
    run = read_json(path.with_name(RUN_FILE)) or {}
    try:
        return Study.model_validate(run["config"]).of(run["method"]).protocol
    except (TypeError, KeyError, ValueError):
        log.warning(
            "%s: no readable %s beside it: tags and reflection prompts are taken to be the default ones", path, RUN_FILE
        )
        return Protocol()
