"""The groups of a step that are kept for a reader, out of a batch of verl's."""

from __future__ import annotations

from mrsearch.agent.record_lines import from_line
from mrsearch.agent.records import MetaEpisode
from mrsearch.learning.advantages import advantages
from mrsearch.training import groups
from mrsearch.training.estimators import estimator_of
from mrsearch.training.run import TrainingRun
from mrsearch.training.verl.rl.advantage import group_tensors
from mrsearch.training.verl.rl.batches import FetchedBatch


def keep_groups(run: TrainingRun, step: int, fetched: FetchedBatch) -> list[MetaEpisode]:
    """Write some groups of the step (counted from 0) into the run's folder and return their meta-episodes.

    Their advantages are those of the whole batch, since an estimator may compare across groups.
    """
    train, episodes = run.settings, run.study.methods[run.method].episodes
    candidates = groups_of(fetched)
    names = groups.choose(step, candidates, run.study.training.group_size)
    if not names:
        return []
    rewards_QGN, exists_QGN, positions = group_tensors(fetched.rows, episodes)
    numbers = {group: q for (group, _), (q, _) in positions.items()}
    picked = [numbers[name] for name in names]
    advantages_QGN = None
    if train.algorithm != "ppo":
        advantages_QGN = advantages(
            estimator_of(train), rewards_QGN, exists_QGN, gamma=train.gamma, episode_mask=train.episode_mask
        )[picked]
    metas = [meta for name in names for meta in candidates[name]]
    groups.keep(run.folder, step, metas, rewards_QGN[picked], exists_QGN[picked], advantages_QGN)
    return metas


def groups_of(fetched: FetchedBatch) -> dict[str, list[MetaEpisode]]:
    """The meta-episodes that came as records, by group and in the order of their members; padding left out."""
    by_group: dict[str, dict[str, MetaEpisode]] = {}
    for row, record in zip(fetched.rows, fetched.records, strict=True):
        if record and not row.padding:
            by_group.setdefault(row.group, {})[row.member] = from_line(record)
    return {group: [members[name] for name in sorted(members)] for group, members in by_group.items()}
