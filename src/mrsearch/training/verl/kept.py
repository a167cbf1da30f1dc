"""The groups of a step that are kept for a reader, out of a batch of verl's."""

from __future__ import annotations

from pathlib import Path

from mrsearch.agent.records import MetaEpisode, from_json
from mrsearch.config import Study
from mrsearch.learning.advantages import advantages
from mrsearch.training import groups
from mrsearch.training.verl.advantage import group_tensors
from mrsearch.training.verl.batches import Fetched


def keep_groups(run_dir: Path, study: Study, method: str, step: int, fetched: Fetched) -> list[MetaEpisode]:
    """Write some groups of the step (counted from 0) into `run_dir` and return their meta-episodes.

    Their advantages are those of the whole batch, since an estimator may compare across groups.
    """
    train, episodes = study.methods[method].train, study.methods[method].episodes
    assert train is not None
    candidates = groups_of(fetched)
    names = groups.chosen(step, candidates, study.training.group_size)
    if not names:
        return []
    rewards_QGN, exists_QGN, places = group_tensors(fetched.rows, episodes)
    numbers = {group: q for (group, _), (q, _) in places.items()}
    picked = [numbers[name] for name in names]
    gains = None
    if train.algorithm != "ppo":
        gains = advantages(
            train.algorithm, rewards_QGN, exists_QGN, gamma=train.gamma, episode_mask=train.episode_mask
        )[picked]
    metas = [meta for name in names for meta in candidates[name]]
    groups.keep(run_dir, step, metas, rewards_QGN[picked], exists_QGN[picked], gains)
    return metas


def groups_of(fetched: Fetched) -> dict[str, list[MetaEpisode]]:
    """The meta-episodes that came as records, by group and in the order of their members; padding left out."""
    found: dict[str, dict[str, MetaEpisode]] = {}
    for row, record in zip(fetched.rows, fetched.records, strict=True):
        if record and not row.padding:
            found.setdefault(row.group, {})[row.member] = from_json(record)
    return {group: [members[name] for name in sorted(members)] for group, members in found.items()}
