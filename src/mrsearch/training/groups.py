"""A few whole groups of a training, kept with their rewards and advantages for a reader."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mrsearch.agent.record_files import read_records, write_records
from mrsearch.agent.records import MetaEpisode
from mrsearch.config.layout import GROUPS_FILE, RECORDS

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)
GROUPS = 2
"""Groups of a step."""
CANDIDATES = 16
"""Groups of a step, about, that are sent to whoever keeps them, where rollouts happen in other processes."""
FOLDER = "groups"


def is_kept(step: int) -> bool:
    """Steps 0, 1, 2, 4, 8, ...: the beginning closely, and later ones wherever the training ends."""
    return step & (step - 1) == 0


def is_candidate(step: int, question_id: str, train_batch_size: int) -> bool:
    """Whether a question's group may be kept: decided from its name alone, so that all processes decide alike."""
    return is_kept(step) and _draw(step, question_id) * train_batch_size < CANDIDATES


def choose(step: int, candidates: Mapping[str, Sequence[MetaEpisode]], group_size: int) -> list[str]:
    """Names of the groups to keep: of those that are whole, the same ones whatever the order they came in."""
    complete = [name for name, metas in candidates.items() if len(metas) == group_size]
    return sorted(complete, key=lambda name: _draw(step, candidates[name][0].question.id))[:GROUPS]


def keep(
    run_dir: Path,
    step: int,
    metas: Sequence[MetaEpisode],
    rewards_QGN: Tensor,
    exists_QGN: Tensor,
    advantages_QGN: Tensor | None,
) -> None:
    """Write the first groups of a step into `run_dir`, tagged with what their group got; again gives the same bytes.

    Tags: step; member, counted from 0; rewards and advantages, both a list per member with a number per episode.
    Without advantages, as where a critic gives one to each token, that tag is left out.
    """
    count, size, _ = rewards_QGN.shape
    recorded = metas[: min(count, GROUPS) * size]
    for m, meta in enumerate(recorded):
        group, member = divmod(m, size)
        meta.tags = {**meta.tags, "step": step, "member": member}
        for name, values_QGN in (("rewards", rewards_QGN), ("advantages", advantages_QGN)):
            if values_QGN is not None:
                meta.tags[name] = _ragged(values_QGN[group], exists_QGN[group])
    write_records(run_dir / FOLDER / f"step{step:06d}{RECORDS}", recorded)


def publish(run_dir: Path, model: Path) -> None:
    """Write all groups that were kept in `run_dir` beside the exported model, step after step. They are for readers
    alone: of a damaged step a warning tells, and it is left out."""
    write_records(model.with_name(GROUPS_FILE), _recorded(run_dir))


def _recorded(run_dir: Path) -> Iterator[MetaEpisode]:
    for file in sorted((run_dir / FOLDER).glob(f"*{RECORDS}")):
        try:
            yield from list(read_records(file))
        except ValueError as error:
            log.warning("%s: the groups of this step are left out", error)


def _ragged(values_GN: Tensor, exists_GN: Tensor) -> list[list[float]]:
    """The numbers of episodes that took place, to 6 digits."""
    rows = zip(values_GN.tolist(), exists_GN.tolist(), strict=True)
    return [[round(value, 6) for value, exists in zip(*row, strict=True) if exists] for row in rows]


def _draw(step: int, question_id: str) -> float:
    """A number in [0, 1) for a step's question, as good as random."""
    return int.from_bytes(hashlib.sha256(f"{step}/{question_id}".encode()).digest()[:4], "big") / 2**32
