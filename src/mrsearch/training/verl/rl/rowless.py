"""Meta-episodes that train nothing: verl has no row for them, yet what they took is counted.

A meta-episode has none where the search behind its first prompt failed, or where its first prompt leaves no room to
generate. Its agent loop notes its counts in the run folder, which the trainer sees too.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import asdict
from pathlib import Path

from mrsearch.agent.tally import MetaEpisodeCounts
from mrsearch.files import read_json, write_json
from mrsearch.training.verl.run_files import RunFiles


def note_rowless(files: RunFiles, step: int, name: str, counts: MetaEpisodeCounts, search_retries: int) -> None:
    """Note the counts of one meta-episode of a step, by its name; again replaces the note."""
    file = _step(files, step) / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"
    write_json(file, {"counts": asdict(counts), "search_retries": search_retries})


def read_rowless(files: RunFiles, step: int) -> tuple[list[MetaEpisodeCounts], int]:
    """The counts noted for a step, and their tries again of the retriever's clients; ValueError for a broken note."""
    counts, retries = [], 0
    for file in sorted(_step(files, step).glob("[!.]*.json")):
        noted = read_json(file)
        if noted is None:
            raise ValueError(f"{file}: not a note of a meta-episode: remove it")
        counts.append(MetaEpisodeCounts(**noted["counts"]))
        retries += noted["search_retries"]
    return counts, retries


def forget_rowless(files: RunFiles) -> None:
    """Remove all notes: those of an earlier attempt are of meta-episodes that are made again."""
    shutil.rmtree(files.rowless, ignore_errors=True)


def _step(files: RunFiles, step: int) -> Path:
    return files.rowless / f"step{step:06d}"
