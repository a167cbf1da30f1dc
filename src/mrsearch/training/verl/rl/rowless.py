"""Meta-episodes that train nothing: verl has no row for them, yet what they took is counted.

A meta-episode has none where the search behind its first prompt failed, or where its first prompt leaves no room to
generate. Its agent loop notes its counts in the run folder, which the trainer sees too.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import asdict

from mrsearch.agent.tally import MetaEpisodeCounts
from mrsearch.files import read_json, write_json
from mrsearch.training.verl.run_files import RunFiles


def note_rowless(files: RunFiles, group: str, member: int, counts: MetaEpisodeCounts, search_retries: int) -> None:
    """Note the counts of one meta-episode by its group, a question's id in its step, and its number in it; again
    replaces the note."""
    file = files.rowless / f"{group}_{member}.json"
    write_json(file, {"counts": asdict(counts), "search_retries": search_retries})


def read_rowless(files: RunFiles, groups: Iterable[str] | None = None) -> tuple[list[MetaEpisodeCounts], int]:
    """The counts noted for these groups, None being all, and their tries again of the retriever's clients; ValueError
    for a broken note."""
    counts, retries = [], 0
    names = None if groups is None else set(groups)
    for file in sorted(files.rowless.glob("[!.]*.json")):
        if names is not None and file.stem.rpartition("_")[0] not in names:
            continue
        noted = read_json(file)
        if noted is None:
            raise ValueError(f"{file}: not a note of a meta-episode: remove it")
        counts.append(MetaEpisodeCounts(**noted["counts"]))
        retries += noted["search_retries"]
    return counts, retries


def forget_rowless(files: RunFiles) -> None:
    """Remove all notes: before a step whose meta-episodes all begin with it, and so are made again after an
    interruption."""
    shutil.rmtree(files.rowless, ignore_errors=True)
