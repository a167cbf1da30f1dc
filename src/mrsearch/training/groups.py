"""A few whole groups of a training, kept with their rewards and advantages for a reader."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from mrsearch.agent.records import MetaEpisode, read_records, write_records
from mrsearch.config.training import Train
from mrsearch.learning.advantages import advantages

GROUPS = 2
"""Groups of a step, the first ones."""
FILE = "groups.jsonl.gz"
"""Beside the exported model."""
PARTS = "groups"


def is_kept(step: int) -> bool:
    """Steps 0, 1, 2, 4, 8, ...: the beginning closely, and later ones wherever the training ends."""
    return step & (step - 1) == 0


def keep(
    run_dir: Path, step: int, metas: Sequence[MetaEpisode], rewards_QGN: Tensor, exists_QGN: Tensor, train: Train
) -> None:
    """Write the first groups of a step into `run_dir`, tagged with what their group got; again gives the same bytes.

    Tags: step; member, counted from 0; rewards and advantages, both a list per member with a number per episode.
    """
    rewards_QGN, exists_QGN = rewards_QGN[:GROUPS], exists_QGN[:GROUPS]
    advantages_QGN = advantages(
        train.algorithm, rewards_QGN, exists_QGN, gamma=train.gamma, episode_mask=train.episode_mask
    )
    groups, size, _ = rewards_QGN.shape
    for m, meta in enumerate(metas[: groups * size]):
        group, member = divmod(m, size)
        rewards, gains = (_ragged(values[group], exists_QGN[group]) for values in (rewards_QGN, advantages_QGN))
        meta.tags = {**meta.tags, "step": step, "member": member, "rewards": rewards, "advantages": gains}
    write_records(run_dir / PARTS / f"step{step:06d}.jsonl.gz", metas[: groups * size])


def publish(run_dir: Path, out: Path) -> None:
    """Write all groups that were kept in `run_dir` to `out`, step after step."""
    write_records(out, (record for part in sorted((run_dir / PARTS).glob("*.gz")) for record in read_records(part)))


def _ragged(values_GN: Tensor, exists_GN: Tensor) -> list[list[float]]:
    """The numbers of episodes that took place, to 6 digits."""
    rows = zip(values_GN.tolist(), exists_GN.tolist(), strict=True)
    return [[round(value, 6) for value, there in zip(*row, strict=True) if there] for row in rows]
